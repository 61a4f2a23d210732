//! OTLP 1.x: traces, logs and metrics in protobuf and JSON, and the answers to them.
//!
//! Invariants: a part of a request that cannot be kept is rejected with a reason and counted, the
//! rest is taken (partial success); only a body that cannot be read at all is an error. The structs
//! of the schema stay inside. Before anything is built, [`shape`] bounds what a body can make this
//! process allocate. Protocol: <https://opentelemetry.io/docs/specs/otlp/>.

mod attributes;
pub(crate) mod json;
mod lenient;
pub mod logs;
pub mod metrics;
pub(crate) mod proto;
mod reply;
mod shape;
pub mod traces;

use obs_model::limits::Limits;
use serde::de::DeserializeOwned;

use crate::error::{Position, WireError};

pub use reply::{Encoding, Signal, response, status};

/// What a request brought, and what of it was not taken.
#[derive(Clone, Debug, Default)]
pub struct Decoded<B> {
    /// What was taken.
    pub batch: B,
    /// Spans, log records or data points that were not.
    pub rejected: u64,
    /// Why they were not; a warning where nothing was rejected; else empty.
    pub message: String,
}

/// Distinct reasons told in one message; the rest is only counted.
const REASONS_MAX: usize = 5;
/// Characters of a foreign text shown in a message.
const SHOWN_CHARS: usize = 100;

/// Collects what was rejected and why.
#[derive(Default)]
struct Rejects {
    count: u64,
    reasons: Vec<String>,
    untold: bool,
}

impl Rejects {
    fn add(&mut self, count: usize, reason: String) {
        self.count += count as u64;
        if self.reasons.contains(&reason) {
            return;
        }
        if self.reasons.len() < REASONS_MAX {
            self.reasons.push(reason);
        } else {
            self.untold = true;
        }
    }

    fn into_decoded<B>(mut self, batch: B) -> Decoded<B> {
        if self.untold {
            self.reasons.push("and other reasons".to_owned());
        }
        Decoded {
            batch,
            rejected: self.count,
            message: self.reasons.join("; "),
        }
    }
}

/// Bytes that the labels and records made for one request may still take: attributes of a resource
/// are copied into each of its series and records, which multiplies them.
struct Room {
    left: usize,
    max: usize,
}

impl Room {
    fn new(limits: &Limits) -> Self {
        let max = limits.decompressed_bytes_max;
        Self { left: max, max }
    }

    fn take(&mut self, bytes: usize) -> Result<(), String> {
        let max = self.max;
        let over =
            || format!("the request unfolds beyond the limit decompressed_bytes_max of {max}");
        self.left = self.left.checked_sub(bytes).ok_or_else(over)?;
        Ok(())
    }
}

/// A foreign text, quoted and cut for a message.
fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// A point in time as OTLP has it.
fn timestamp(nanos: u64) -> Result<obs_model::Timestamp, String> {
    i64::try_from(nanos)
        .map(obs_model::Timestamp::from_nanos)
        .map_err(|_| format!("time {nanos} is after the year 2262"))
}

fn check_size(format: &'static str, body: &[u8], limits: &Limits) -> Result<(), WireError> {
    if body.len() > limits.decompressed_bytes_max {
        let max = limits.decompressed_bytes_max;
        return Err(WireError::too_large(format, "decompressed_bytes_max", max));
    }
    Ok(())
}

fn from_protobuf<M: prost::Message + Default>(
    format: &'static str,
    body: &[u8],
    shape: &'static shape::Shape,
    limits: &Limits,
) -> Result<M, WireError> {
    check_size(format, body, limits)?;
    shape::check_protobuf(format, body, shape, limits)?;
    M::decode(body).map_err(|e| {
        let text = e.to_string();
        let text = text
            .strip_prefix("failed to decode Protobuf message: ")
            .unwrap_or(&text);
        WireError::at_path(format, "message", format!("a valid field, found {text}"))
    })
}

fn from_json<M: DeserializeOwned + Default>(
    format: &'static str,
    body: &[u8],
    limits: &Limits,
) -> Result<M, WireError> {
    check_size(format, body, limits)?;
    if body.trim_ascii().is_empty() {
        return Ok(M::default());
    }
    shape::check_json(format, body, limits)?;
    serde_json::from_slice(body).map_err(|e| {
        let (line, column) = (e.line(), e.column());
        let place = format!(" at line {line} column {column}");
        let text = e.to_string();
        let text = text.strip_suffix(place.as_str()).unwrap_or(&text);
        WireError::Malformed {
            format,
            position: Position::Line { line, column },
            expected: format!("OTLP/JSON ({text})"),
        }
    })
}

#[cfg(test)]
mod tests;
