//! Fluentd's forward protocol over TCP: Fluentd, Fluent Bit, fluent-logger and Docker speak it.
//!
//! Invariants: a chunk is acknowledged only after the sink said that its entries are durable; where
//! there is a shared key nothing is read as entries before the client showed that it knows it; what
//! a connection holds counts among the bytes of all bodies in flight.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use obs_model::LogBatch;
use obs_wire::event::{Context, Mapping};
use obs_wire::fluent::{self, Framer, Message};
use ring::digest::{self, SHA512};
use ring::rand::SystemRandom;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::lines::{FREE_BYTES, grown};
use super::sockets::{HANDSHAKE, IDLE, SocketError, Way, read_secret};
use crate::clock;
use crate::config::FluentConfig;
use crate::http_error::HttpError;
use crate::metrics::Door;
use crate::sink::{Accepted, SinkError};

/// Bytes that are read at first, and at most, at one time.
const READ_BYTES: (usize, usize) = (4 << 10, 256 << 10);
/// Pauses after the sink refused.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How long an acknowledgement may take to be written.
const WRITE: Duration = Duration::from_secs(30);
/// Largest message of the handshake.
const PING_BYTES_MAX: usize = 16 << 10;

/// What all connections of a listener know.
#[derive(Debug)]
pub(super) struct Setting {
    key: Option<Vec<u8>>,
    host: String,
}

impl Setting {
    pub(super) async fn new(config: &FluentConfig, folder: &Path) -> Result<Self, SocketError> {
        let key = match (&config.shared_key, &config.shared_key_file) {
            (Some(_), Some(_)) => {
                return Err(SocketError::Settings(
                    "obs.logs.fluent: expected shared_key or shared_key_file, found both".into(),
                ));
            }
            (Some(key), None) => Some(key.reveal().as_bytes().to_vec()),
            (None, Some(path)) => Some(read_secret(folder, path).await?.into_bytes()),
            (None, None) => None,
        };
        let host = config.self_hostname.clone();
        Ok(Self {
            key,
            host: host.unwrap_or_else(|| "obs".to_owned()),
        })
    }
}

/// One connection, to its end.
pub(super) async fn connection(stream: TcpStream, setting: Arc<Setting>, way: Way) {
    let mut connection = Connection {
        stream,
        framer: Framer::default(),
        buffer: vec![0; READ_BYTES.0],
        share: None,
        way,
    };
    if let Some(key) = &setting.key {
        let shaken = connection.handshake(key, &setting.host);
        match tokio::time::timeout(HANDSHAKE, shaken).await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => {
                tracing::warn!(reason, "a client of the forward protocol was turned away");
                connection
                    .way
                    .receiver
                    .counters
                    .request(Door::Fluent, 0, true);
                return;
            }
            Err(_) => return,
        }
    }
    if let Err(reason) = connection.run().await {
        tracing::debug!(reason, "a connection of the forward protocol ended");
    }
}

struct Connection {
    stream: TcpStream,
    framer: Framer,
    buffer: Vec<u8>,
    share: Option<OwnedSemaphorePermit>,
    way: Way,
}

impl Connection {
    async fn run(&mut self) -> Result<(), String> {
        loop {
            while let Some(message) = self.framer.next_message().map_err(|e| e.to_string())? {
                self.message(message).await?;
            }
            if self.framer.held() == 0 {
                self.share = None;
            }
            if !self.read().await? {
                return Ok(());
            }
            let held = self.framer.held();
            if held > self.way.receiver.limits.body_bytes_max {
                self.refused();
                return Err("a message is longer than body_bytes_max".to_owned());
            }
            if held > READ_BYTES.1 && !grown(&mut self.share, held, &self.way.receiver) {
                self.refused();
                return Err("too many bytes are in flight".to_owned());
            }
        }
    }

    fn refused(&self) {
        self.way.receiver.counters.request(Door::Fluent, 0, true);
    }

    /// Reads what there is; false at the end and at the stop.
    async fn read(&mut self) -> Result<bool, String> {
        let read = self.stream.read(&mut self.buffer);
        let read = tokio::select! {
            () = self.way.stop.cancelled() => return Ok(false),
            read = tokio::time::timeout(IDLE, read) => read,
        };
        let count = match read {
            Ok(Ok(count)) => count,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Ok(false),
        };
        self.framer.push(&self.buffer[..count]);
        if count == self.buffer.len() && count < READ_BYTES.1 {
            self.buffer.resize(count * 2, 0);
        }
        Ok(count > 0)
    }

    async fn message(&mut self, message: Vec<u8>) -> Result<(), String> {
        let (bytes, now) = (message.len(), clock::now());
        let message = Arc::new(message);
        let mut pause = BACKOFF.0;
        loop {
            match self.store(Arc::clone(&message), now).await {
                Ok(chunk) => {
                    self.way
                        .receiver
                        .counters
                        .request(Door::Fluent, bytes, false);
                    return match chunk {
                        Some(chunk) => self.write(&fluent::ack(&chunk)).await,
                        None => Ok(()),
                    };
                }
                Err(Refusal::Final(reason)) => {
                    // Without an acknowledgement the client sends it again or keeps it.
                    self.way
                        .receiver
                        .counters
                        .request(Door::Fluent, bytes, true);
                    return Err(reason);
                }
                Err(Refusal::Later(reason)) => {
                    tracing::debug!(reason, "entries wait");
                    tokio::select! {
                        () = self.way.stop.cancelled() => return Err(reason),
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(BACKOFF.1);
                }
            }
        }
    }

    /// Stores a message; gives the chunk that is to be acknowledged.
    async fn store(
        &self,
        message: Arc<Vec<u8>>,
        now: obs_model::Timestamp,
    ) -> Result<Option<String>, Refusal> {
        let receiver = &self.way.receiver;
        let limits = receiver.limits;
        let bytes = message.len();
        let work = move || {
            let mapping = Mapping::default();
            let context = Context {
                mapping: &mapping,
                now,
                limits: &limits,
            };
            fluent::decode(&message, context)
        };
        let lost = |error: HttpError| Refusal::Later(error.message);
        // What is packed may be much more than it looks like.
        let cost = if bytes > 1024 { usize::MAX } else { bytes };
        let decoded = receiver.decoder.run(cost, work).await.map_err(lost)?;
        let decoded = decoded.map_err(|error| Refusal::Final(error.to_string()))?;
        let Some(Message { entries, chunk }) = decoded else {
            return Ok(None);
        };
        let _share = self.room_for(&entries.batch)?;
        let accepted = if entries.batch.streams.is_empty() {
            Accepted::default()
        } else {
            let stored = receiver.sink.logs(self.way.tenant.clone(), entries.batch);
            stored.await.map_err(|error| match error {
                SinkError::Refused { reason } => Refusal::Final(reason),
                other => Refusal::Later(other.to_string()),
            })?
        };
        let refused = accepted.refused + entries.rejected;
        if refused > 0 {
            let reason = [entries.message, accepted.reason].concat();
            tracing::warn!(
                refused,
                reason,
                "entries of the forward protocol were refused"
            );
            receiver.counters.lines_refused(Door::Fluent, refused);
        }
        Ok(chunk)
    }

    /// The share of the memory for bodies in flight of what was unpacked.
    fn room_for(&self, batch: &LogBatch) -> Result<Option<OwnedSemaphorePermit>, Refusal> {
        let records = batch.streams.iter().flat_map(|stream| &stream.records);
        let bytes = records
            .map(|r| r.line.len() + r.metadata.packed().len())
            .sum::<usize>();
        if bytes <= FREE_BYTES {
            return Ok(None);
        }
        let share = self.way.receiver.share(bytes.div_ceil(1024));
        share
            .map(Some)
            .map_err(|error| Refusal::Later(error.message))
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        match tokio::time::timeout(WRITE, self.stream.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the client does not read".to_owned()),
        }
    }

    /// HELO, PING, PONG.
    async fn handshake(&mut self, key: &[u8], host: &str) -> Result<(), String> {
        let nonce: [u8; 16] = ring::rand::generate(&SystemRandom::new())
            .map_err(|_| "no random numbers".to_owned())?
            .expose();
        let nonce = hex(&nonce);
        self.write(&fluent::helo(&nonce)).await?;
        let ping = loop {
            if let Some(message) = self.framer.next_message().map_err(|e| e.to_string())? {
                break fluent::decode_ping(&message).map_err(|e| e.to_string())?;
            }
            if self.framer.held() > PING_BYTES_MAX || !self.read().await? {
                return Err("expected PING".to_owned());
            }
        };
        let nonce = nonce.as_bytes();
        let expected = sha512(&[&ping.salt, &ping.host, nonce, key]);
        // Digests of digests: how long the comparison takes tells nothing about the key.
        let same = sha512(&[expected.as_bytes()]) == sha512(&[&ping.digest]);
        if !same {
            self.write(&fluent::pong(Err("shared_key mismatch")))
                .await?;
            return Err("shared_key mismatch".to_owned());
        }
        let own = sha512(&[&ping.salt, host.as_bytes(), nonce, key]);
        self.write(&fluent::pong(Ok((host, &own)))).await
    }
}

/// Whether it helps to try again.
enum Refusal {
    Final(String),
    Later(String),
}

/// SHA-512 of the parts together, in hexadecimal.
fn sha512(parts: &[&[u8]]) -> String {
    let mut context = digest::Context::new(&SHA512);
    for part in parts {
        context.update(part);
    }
    hex(context.finish().as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").expect("writing to a string does not fail");
        out
    })
}
