//! OTLP 1.x: traces, logs and metrics in protobuf and JSON, and the answers to them.
//!
//! Invariants: a part of a request that cannot be kept is rejected with a reason and counted, the
//! rest is taken (partial success); only a body that cannot be read at all is an error. The structs
//! of the schema stay inside. Before anything is built, [`shape`] bounds what a body can make this
//! process allocate. Protocol: <https://opentelemetry.io/docs/specs/otlp/>.

pub(crate) mod attributes;
pub mod encode;
pub(crate) mod json;
mod lenient;
pub mod logs;
pub mod metrics;
mod pair;
pub(crate) mod proto;
mod repair;
mod reply;
mod shape;
pub mod traces;

use obs_model::limits::Limits;
use serde::de::DeserializeOwned;

use crate::error::{Position, WireError};
use crate::rejects::{Rejects, shown};

pub use crate::rejects::Decoded;
pub use attributes::to_text as attribute_text;
pub use reply::{Encoding, Signal, response, status};

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
