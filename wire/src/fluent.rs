//! Fluentd's forward protocol, version 1: messages in all four modes, Fluent Bit's records with
//! metadata, and the handshake's words.
//!
//! Invariants: a message is decoded only when it is whole; what is compressed in it is bounded; an
//! entry that cannot be read costs the rest of its message, for its end cannot be known.
//! Format: <https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1>

use std::borrow::Cow;

use obs_model::Timestamp;
use obs_model::limits::Limits;
use obs_model::logs::LogBatch;

use crate::capped;
use crate::error::WireError;
use crate::event::{Context, Event, Gather, Given};
use crate::msgpack::{Fault, Scanner, Token, Tokens, key_of, put_text, text_of, to_json};
use crate::rejects::{Decoded, Rejects};

const FORMAT: &str = "fluent forward message";
/// What streams without labels are called.
const JOB: &str = "fluent";
/// Longer tags are no index labels.
const TAG_BYTES_MAX: usize = 256;

/// What a client sent.
#[derive(Debug)]
pub struct Message {
    /// Its entries, and what of them was not taken.
    pub entries: Decoded<LogBatch>,
    /// What is to be acknowledged once the entries are stored.
    pub chunk: Option<String>,
}

/// Cuts a stream into messages.
#[derive(Debug, Default)]
pub struct Framer {
    held: Vec<u8>,
    scanner: Scanner,
}

impl Framer {
    /// Adds bytes as they arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// Bytes that wait for the rest of their message.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The next message that is whole.
    pub fn next_message(&mut self) -> Result<Option<Vec<u8>>, WireError> {
        match self.scanner.end(&self.held) {
            Ok(end) => {
                self.scanner = Scanner::default();
                let rest = self.held.split_off(end);
                Ok(Some(std::mem::replace(&mut self.held, rest)))
            }
            Err(Fault::Unfinished) => Ok(None),
            Err(Fault::Malformed) => Err(malformed("a value of MessagePack")),
        }
    }
}

fn malformed(expected: impl Into<String>) -> WireError {
    WireError::at_byte(FORMAT, 0, expected)
}

impl From<Fault> for WireError {
    fn from(_: Fault) -> Self {
        malformed("a whole value of MessagePack")
    }
}

/// Reads one message; nothing for a heartbeat.
pub fn decode(message: &[u8], context: Context<'_>) -> Result<Option<Message>, WireError> {
    let mut tokens = Tokens::new(message);
    let count = match tokens.token()? {
        Token::Nil => return Ok(None),
        Token::Array(count @ 2..) => count,
        _ => return Err(malformed("an array of a tag and entries")),
    };
    let tag = match tokens.token()? {
        Token::Text(text) | Token::Bytes(text) => String::from_utf8_lossy(text).into_owned(),
        _ => return Err(malformed("a tag")),
    };
    let mut reader = Reader {
        context,
        tag,
        gather: Gather::new(context.limits),
        rejects: Rejects::default(),
    };
    let second = tokens.value()?;
    let single = is_single(second);
    let record = if single { Some(tokens.value()?) } else { None };
    let read = if single { 3 } else { 2 };
    let options = if count > read {
        Options::read(tokens.value()?)
    } else {
        Options::default()
    };
    if options.other_signal {
        reader.rejects.add(
            1,
            "metrics and traces of Fluent Bit are not read here".to_owned(),
        );
    } else if let Some(record) = record {
        reader.entry(second, record);
    } else {
        reader.entries(second, &options)?;
    }
    Ok(Some(Message {
        entries: reader.gather.into_decoded(reader.rejects),
        chunk: options.chunk,
    }))
}

/// Reads entries one after the other without a message around them, as Fluent Bit's `http` output
/// sends them in the format `msgpack`.
pub fn decode_entries(body: &[u8], context: Context<'_>) -> Result<Decoded<LogBatch>, WireError> {
    let max = context.limits.decompressed_bytes_max;
    if body.len() > max {
        return Err(WireError::too_large(FORMAT, capped::LIMIT, max));
    }
    let mut reader = Reader {
        context,
        tag: String::new(),
        gather: Gather::new(context.limits),
        rejects: Rejects::default(),
    };
    reader.packed(body);
    Ok(reader.gather.into_decoded(reader.rejects))
}

/// Whether the second item is a time, or a time with metadata, and not entries.
fn is_single(second: &[u8]) -> bool {
    let mut tokens = Tokens::new(second);
    match tokens.token() {
        Ok(Token::Array(_)) => !matches!(tokens.token(), Ok(Token::Array(_)) | Err(_)),
        Ok(Token::Text(_) | Token::Bytes(_)) => false,
        _ => true,
    }
}

#[derive(Debug, Default)]
struct Options {
    chunk: Option<String>,
    compressed: String,
    /// Fluent Bit sends metrics and traces the same way.
    other_signal: bool,
}

impl Options {
    fn read(value: &[u8]) -> Self {
        let mut options = Self::default();
        for (name, value) in pairs(value) {
            let text = text_of(value);
            match name.as_str() {
                "chunk" => options.chunk = text,
                "compressed" => options.compressed = text.unwrap_or_default(),
                "fluent_signal" => options.other_signal = text.is_some_and(|t| t != "0"),
                _ => {}
            }
        }
        options
    }
}

/// The pairs of a map; nothing of other values.
fn pairs(value: &[u8]) -> impl Iterator<Item = (String, &[u8])> {
    let mut tokens = Tokens::new(value);
    let count = match tokens.token() {
        Ok(Token::Map(count)) => count,
        _ => 0,
    };
    let mut left = count;
    std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let name = key_of(tokens.value().ok()?);
        Some((name, tokens.value().ok()?))
    })
}

struct Reader<'a> {
    context: Context<'a>,
    tag: String,
    gather: Gather,
    rejects: Rejects,
}

impl Reader<'_> {
    fn entries(&mut self, value: &[u8], options: &Options) -> Result<(), WireError> {
        let mut tokens = Tokens::new(value);
        match tokens.token()? {
            Token::Array(count) => {
                for _ in 0..count {
                    let entry = tokens.value()?;
                    self.pair(entry);
                }
            }
            Token::Text(packed) | Token::Bytes(packed) => {
                let encoding = match options.compressed.as_str() {
                    "text" => "",
                    other => other,
                };
                let max = self.context.limits.decompressed_bytes_max;
                let plain: Cow<'_, [u8]> = capped::decode(encoding, packed, max)?;
                self.packed(&plain);
            }
            _ => return Err(malformed("entries")),
        }
        Ok(())
    }

    /// Entries one after the other.
    fn packed(&mut self, plain: &[u8]) {
        let mut tokens = Tokens::new(plain);
        while !tokens.is_empty() {
            let Ok(entry) = tokens.value() else {
                self.rejects.add(1, "an entry is not whole".to_owned());
                break;
            };
            self.pair(entry);
        }
    }

    /// `[time, record]`
    fn pair(&mut self, entry: &[u8]) {
        let mut tokens = Tokens::new(entry);
        let parts = (|| {
            let Token::Array(2..) = tokens.token()? else {
                return Err(Fault::Malformed);
            };
            Ok((tokens.value()?, tokens.value()?))
        })();
        match parts {
            Ok((time, record)) => self.entry(time, record),
            Err(_) => self
                .rejects
                .add(1, "expected entries of a time and a record".to_owned()),
        }
    }

    fn entry(&mut self, time: &[u8], record: &[u8]) {
        let limits = self.context.limits;
        let (time, metadata) = split_time(time);
        let Ok(Token::Map(_)) = Tokens::new(record).token() else {
            self.rejects
                .add(1, "expected records that are maps".to_owned());
            return;
        };
        let mut event = Event::from_msgpack(record, limits);
        for (name, value) in metadata.into_iter().flat_map(pairs) {
            if let Some(text) = text_of(value) {
                event.push(&name, text.into(), limits);
            }
        }
        let mut given = Given {
            labels: Vec::new(),
            time: time.and_then(moment),
        };
        // In Kubernetes the tag is a path with the container's id; its pod says it better.
        let crowded = event.has("kubernetes.pod_name") || self.tag.len() > TAG_BYTES_MAX;
        if crowded {
            event.push("tag", self.tag.as_str().into(), limits);
        } else {
            given.labels.push(("tag".to_owned(), self.tag.clone()));
        }
        let (labels, record) = event.into_record(given, || to_json(record), self.context);
        self.gather.add(labels, record, JOB);
    }
}

/// The time of an entry, and the metadata that Fluent Bit puts beside it.
fn split_time(value: &[u8]) -> (Option<Token<'_>>, Option<&[u8]>) {
    let mut tokens = Tokens::new(value);
    match tokens.token() {
        Ok(Token::Array(count)) => {
            let time = (count > 0).then(|| tokens.token().ok()).flatten();
            let metadata = (count > 1).then(|| tokens.value().ok()).flatten();
            (time, metadata)
        }
        token => (token.ok(), None),
    }
}

/// Seconds, or an EventTime: seconds and nanoseconds, both of 32 bits.
fn moment(token: Token<'_>) -> Option<Timestamp> {
    match token {
        Token::Unsigned(seconds) => {
            let seconds = i64::try_from(seconds).ok()?;
            Some(Timestamp::from_nanos(seconds.checked_mul(1_000_000_000)?))
        }
        Token::Float(seconds) => Timestamp::from_seconds_f64(seconds),
        Token::Extension(0, bytes) | Token::Bytes(bytes) => {
            let (seconds, nanos) = bytes.split_first_chunk::<4>()?;
            let nanos = nanos.first_chunk::<4>()?;
            let seconds = i64::from(u32::from_be_bytes(*seconds));
            let nanos = i64::from(u32::from_be_bytes(*nanos));
            Some(Timestamp::from_nanos(seconds * 1_000_000_000 + nanos))
        }
        _ => None,
    }
}

impl Event {
    /// The fields of a map; those of maps inside have dotted paths.
    fn from_msgpack(map: &[u8], limits: &Limits) -> Self {
        let mut event = Self::default();
        event.allow(map.len());
        event.map("", map, limits.depth_max, limits);
        event
    }

    fn map(&mut self, prefix: &str, map: &[u8], depth: usize, limits: &Limits) {
        for (name, value) in pairs(map) {
            if self.is_partial() {
                return;
            }
            let path = self.join(prefix, &name);
            let nested = matches!(Tokens::new(value).token(), Ok(Token::Map(_)));
            if nested && depth > 0 {
                self.bounded_path(&path, limits);
                self.map(&path, value, depth - 1, limits);
            } else if let Some(text) = text_of(value) {
                self.push(&path, text.into(), limits);
            }
        }
    }
}

/// `{"ack": chunk}`
pub fn ack(chunk: &str) -> Vec<u8> {
    let mut out = vec![0x81];
    put_text(&mut out, "ack");
    put_text(&mut out, chunk);
    out
}

/// The server's first word where there is a shared key.
pub fn helo(nonce: &str) -> Vec<u8> {
    let mut out = vec![0x92];
    put_text(&mut out, "HELO");
    out.push(0x83);
    put_text(&mut out, "nonce");
    put_text(&mut out, nonce);
    put_text(&mut out, "auth");
    put_text(&mut out, "");
    put_text(&mut out, "keepalive");
    out.push(0xc3);
    out
}

/// The client's answer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ping {
    /// The client's host name.
    pub host: Vec<u8>,
    /// The client's salt.
    pub salt: Vec<u8>,
    /// SHA-512 of salt, host name, nonce and key, in hexadecimal.
    pub digest: Vec<u8>,
}

/// Reads a `PING`.
pub fn decode_ping(message: &[u8]) -> Result<Ping, WireError> {
    let mut tokens = Tokens::new(message);
    let Token::Array(4..) = tokens.token()? else {
        return Err(malformed("PING with a host name, a salt and a digest"));
    };
    let mut next = || match tokens.token()? {
        Token::Text(text) | Token::Bytes(text) => Ok(text.to_vec()),
        _ => Err(malformed("texts in PING")),
    };
    if next()? != b"PING" {
        return Err(malformed("PING"));
    }
    Ok(Ping {
        host: next()?,
        salt: next()?,
        digest: next()?,
    })
}

/// The server's word about a `PING`: its host name and digest, or why not.
pub fn pong(outcome: Result<(&str, &str), &str>) -> Vec<u8> {
    let mut out = vec![0x95];
    put_text(&mut out, "PONG");
    let (yes, reason, host, digest) = match outcome {
        Ok((host, digest)) => (0xc3, "", host, digest),
        Err(reason) => (0xc2, reason, "", ""),
    };
    out.push(yes);
    for text in [reason, host, digest] {
        put_text(&mut out, text);
    }
    out
}

#[cfg(test)]
mod tests;
