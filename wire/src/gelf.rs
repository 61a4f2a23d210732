//! GELF 1.1: messages, plain or packed with gzip or zlib, and the chunks of large datagrams.
//!
//! Invariants: chunks that wait are bounded in number, in bytes and in time; what is packed is
//! bounded by what a message may be.
//! Format: <https://go2docs.graylog.org/current/getting_in_log_data/gelf.html>

use std::borrow::Cow;
use std::collections::HashMap;

use obs_model::Timestamp;
use obs_model::limits::Limits;
use obs_model::logs::LogBatch;
use obs_model::time::NANOS_PER_SECOND;

use crate::capped;
use crate::event::{Context, Event, Gather, Given};
use crate::moment;
use crate::raw::{self, Values};
use crate::rejects::{Decoded, Rejects};
use crate::syslog::SEVERITIES;

/// What streams without labels are called.
const JOB: &str = "gelf";
/// What a chunk starts with.
const CHUNK_MAGIC: [u8; 2] = [0x1e, 0x0f];
/// Bytes in front of a chunk's data: magic, id, number, count.
const CHUNK_HEAD: usize = 12;
/// Most chunks of a message, as the format says.
const CHUNKS_MAX: u8 = 128;
/// Messages whose chunks wait for more.
const WAITING_MAX: usize = 1024;
/// Bytes of all chunks that wait.
const WAITING_BYTES_MAX: usize = 32 << 20;
/// Bytes that the packed messages of one batch may come to.
const UNPACKED_BYTES_MAX: usize = 32 << 20;
/// How long chunks wait, as the format says.
const WAITING_NANOS: i64 = 5 * NANOS_PER_SECOND;

/// Messages that become one batch.
#[derive(Debug)]
pub struct Messages<'a> {
    context: Context<'a>,
    gather: Gather,
    rejects: Rejects,
    /// Bytes that may still be unpacked.
    room: usize,
}

impl<'a> Messages<'a> {
    /// None yet.
    pub fn new(context: Context<'a>) -> Self {
        Self {
            context,
            gather: Gather::new(context.limits),
            rejects: Rejects::default(),
            room: UNPACKED_BYTES_MAX,
        }
    }

    /// Adds what one datagram, frame or body has: usually one message.
    pub fn add(&mut self, bytes: &[u8]) {
        let limits = self.context.limits;
        let max = message_bytes_max(limits).min(self.room);
        let unpacked = match bytes {
            [0x1f, 0x8b, ..] => capped::gzip(bytes, max).map(Cow::Owned),
            [0x78, _, ..] => capped::deflate(bytes, max).map(Cow::Owned),
            _ => Ok(Cow::Borrowed(bytes)),
        };
        match unpacked {
            Ok(text) => {
                if let Cow::Owned(unpacked) = &text {
                    self.room -= unpacked.len();
                }
                for value in Values::new(text.trim_ascii()) {
                    self.message(value);
                }
            }
            Err(error) => self.rejects.add(1, error.to_string()),
        }
    }

    fn message(&mut self, value: &[u8]) {
        if let Err(reason) = raw::check(value) {
            return self.rejects.add(1, format!("expected {reason}"));
        }
        let Some(short) = raw::member(value, "short_message").and_then(raw::text) else {
            return self
                .rejects
                .add(1, "expected an object with short_message".to_owned());
        };
        let limits = self.context.limits;
        let (mut event, mut given) = (Event::default(), Given::default());
        for (name, value) in raw::members(value) {
            let Some(text) = raw::text(value) else {
                continue;
            };
            match &*name {
                "short_message" | "version" => {}
                "timestamp" => given.time = moment::parse(&text),
                "level" => {
                    let word = text.parse().ok().and_then(|at: usize| SEVERITIES.get(at));
                    let word = word.map_or(text, |word| (*word).into());
                    event.push("severity", word, limits);
                }
                path => event.push(path.strip_prefix('_').unwrap_or(path), text, limits),
            }
        }
        given.time.get_or_insert(self.context.now);
        let line = short.as_bytes().to_vec();
        let (labels, record) = event.into_record_of(line, given, || value.to_vec(), self.context);
        self.gather.add(labels, record, JOB);
    }

    /// The records, and what was no message.
    pub fn into_decoded(self) -> Decoded<LogBatch> {
        self.gather.into_decoded(self.rejects)
    }
}

/// Longest message: a line and what is around it.
pub fn message_bytes_max(limits: &Limits) -> usize {
    limits.line_bytes_max.saturating_add(64 << 10)
}

/// Puts the chunks of large datagrams together.
#[derive(Debug, Default)]
pub struct Chunks {
    waiting: HashMap<[u8; 8], Waiting>,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    since: Timestamp,
    parts: Vec<Option<Vec<u8>>>,
    missing: usize,
    bytes: usize,
}

impl Chunks {
    /// A datagram: gives it back where it is whole, or the message that it makes whole.
    pub fn add<'a>(&mut self, datagram: &'a [u8], now: Timestamp) -> Option<Cow<'a, [u8]>> {
        if !datagram.starts_with(&CHUNK_MAGIC) {
            return Some(Cow::Borrowed(datagram));
        }
        let (head, data) = datagram.split_at_checked(CHUNK_HEAD)?;
        let id: [u8; 8] = head[2..10].try_into().ok()?;
        let (number, count) = (head[10], head[11]);
        if count == 0 || count > CHUNKS_MAX || number >= count {
            return None;
        }
        self.forget(now);
        let full = self.bytes + data.len() > WAITING_BYTES_MAX;
        if full || (self.waiting.len() >= WAITING_MAX && !self.waiting.contains_key(&id)) {
            return None;
        }
        let message = self.waiting.entry(id).or_insert_with(|| Waiting {
            since: now,
            parts: vec![None; count.into()],
            missing: count.into(),
            bytes: 0,
        });
        let part = message.parts.get_mut(usize::from(number))?;
        if part.is_none() {
            *part = Some(data.to_vec());
            message.missing -= 1;
            message.bytes += data.len();
            self.bytes += data.len();
        }
        if message.missing > 0 {
            return None;
        }
        let message = self.waiting.remove(&id)?;
        self.bytes -= message.bytes;
        let parts: Vec<Vec<u8>> = message.parts.into_iter().flatten().collect();
        Some(Cow::Owned(parts.concat()))
    }

    fn forget(&mut self, now: Timestamp) {
        let bytes = &mut self.bytes;
        self.waiting.retain(|_, message| {
            let keep = now - message.since < WAITING_NANOS;
            if !keep {
                *bytes -= message.bytes;
            }
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;
    use crate::event::Mapping;
    use crate::event::shown;

    fn read(bytes: &[u8]) -> (Vec<String>, u64) {
        let (mapping, limits) = (Mapping::default(), Limits::default());
        let mut messages = Messages::new(Context {
            mapping: &mapping,
            now: Timestamp::from_seconds(5),
            limits: &limits,
        });
        messages.add(bytes);
        let decoded = messages.into_decoded();
        (shown(&decoded.batch), decoded.rejected)
    }

    const MESSAGE: &str = r#"{"version":"1.1","host":"h","short_message":"short","full_message":"long\nlines","timestamp":1795255200.5,"level":3,"_user":7,"_app":"a"}"#;
    const EXPECT: &str = r#"{app="a", host="h"} 2026-11-21T10:00:00.500Z short {full_message="long\nlines", severity="error", user="7"}"#;

    #[test]
    fn plain_and_packed() {
        let one = (vec![EXPECT.to_owned()], 0);
        assert_eq!(read(MESSAGE.as_bytes()), one);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(MESSAGE.as_bytes()).unwrap();
        assert_eq!(read(&gzip.finish().unwrap()), one);
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(MESSAGE.as_bytes()).unwrap();
        assert_eq!(read(&zlib.finish().unwrap()), one);
        let minimal = r#"{"host":"h","short_message":"s"}"#;
        let expect = r#"{host="h"} 1970-01-01T00:00:05Z s {}"#.to_owned();
        assert_eq!(read(minimal.as_bytes()), (vec![expect], 0));
        assert_eq!(read(b"{\"host\":\"h\"}"), (vec![], 1));
        assert_eq!(read(b"\x1f\x8bxx").1, 1);
        assert_eq!(read(b"no"), (vec![], 1));
    }

    fn chunk(id: u8, number: u8, count: u8, data: &[u8]) -> Vec<u8> {
        let head = [0x1e, 0x0f, id, 0, 0, 0, 0, 0, 0, 0, number, count];
        [&head[..], data].concat()
    }

    #[test]
    fn chunks_come_in_any_order_and_expire() {
        let mut chunks = Chunks::default();
        let at = Timestamp::from_seconds;
        let mut add = |datagram: Vec<u8>, seconds| {
            let whole = chunks.add(&datagram, at(seconds));
            whole.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        assert_eq!(add(b"{}".to_vec(), 0).as_deref(), Some("{}"));
        assert_eq!(add(chunk(1, 1, 2, b"b"), 0), None);
        assert_eq!(add(chunk(1, 1, 2, b"b"), 0), None);
        assert_eq!(add(chunk(2, 0, 1, b"x"), 0).as_deref(), Some("x"));
        assert_eq!(add(chunk(1, 0, 2, b"a"), 1).as_deref(), Some("ab"));
        assert_eq!(add(chunk(3, 0, 2, b"a"), 1), None);
        assert_eq!(add(chunk(3, 1, 2, b"b"), 6), None);
        for bad in [
            chunk(4, 2, 2, b""),
            chunk(4, 0, 129, b""),
            chunk(4, 0, 0, b""),
            vec![0x1e, 0x0f],
        ] {
            assert_eq!(add(bad, 6), None);
        }
        assert_eq!(chunks.waiting.len(), 1);
        assert_eq!(chunks.bytes, 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn arbitrary_bytes(
            bytes in proptest::collection::vec(any::<u8>(), 0..120),
            datagrams in proptest::collection::vec((0u8..3, 0u8..4, 0u8..4), 0..40),
        ) {
            let (lines, rejected) = read(&bytes);
            prop_assert!(lines.len() as u64 + rejected <= bytes.len() as u64 + 1);
            let mut chunks = Chunks::default();
            for (at, (id, number, count)) in datagrams.into_iter().enumerate() {
                let _whole = chunks.add(&chunk(id, number, count, b"xy"), Timestamp::from_seconds(at as i64));
                let held: usize = chunks.waiting.values().map(|w| w.bytes).sum();
                prop_assert_eq!(held, chunks.bytes);
            }
        }
    }
}
