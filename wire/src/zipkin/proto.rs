//! Version 2 in protobuf: `zipkin.proto3.ListOfSpans`.
//!
//! Invariant: fields are lent from the input; unknown ones are passed by.

use obs_model::limits::Limits;
use obs_model::spans::SpanKind;
use obs_model::{SpanBatch, SpanId, TraceId};

use super::{Endpoint, ZipkinSpan, address, batch};
use crate::error::WireError;
use crate::protobuf::{Message, Wire};
use crate::rejects::{Decoded, Rejects};

/// Reads a list of spans.
pub fn decode(body: &[u8], limits: &Limits) -> Result<Decoded<SpanBatch>, WireError> {
    const FORMAT: &str = "Zipkin spans in protobuf";
    if body.len() > limits.decompressed_bytes_max {
        let max = limits.decompressed_bytes_max;
        return Err(WireError::too_large(FORMAT, "decompressed_bytes_max", max));
    }
    let mut rejects = Rejects::default();
    let mut spans = Vec::new();
    let mut fields = Message::new(FORMAT, body).fields();
    while let Some(field) = fields.next()? {
        if let (1, Wire::Bytes(message)) = field {
            match span(message)? {
                Ok(span) => spans.push(span),
                Err(reason) => rejects.add(1, format!("span: {reason}")),
            }
        }
    }
    Ok(batch(spans, limits, rejects))
}

/// Right-aligned bytes of an id; none is all zeroes.
fn id<const N: usize>(message: Message<'_>, name: &str) -> Result<[u8; N], String> {
    let mut id = [0; N];
    let bytes = message.bytes;
    if bytes.len() > N {
        return Err(format!(
            "{name} has {} bytes, expected at most {N}",
            bytes.len()
        ));
    }
    id[N - bytes.len()..].copy_from_slice(bytes);
    Ok(id)
}

fn span(message: Message<'_>) -> Result<Result<ZipkinSpan, String>, WireError> {
    let mut span = ZipkinSpan::default();
    let mut fault = None;
    let mut fields = message.fields();
    while let Some(field) = fields.next()? {
        match field {
            (1, Wire::Bytes(bytes)) => match id(bytes, "trace id") {
                Ok(id) => span.trace_id = TraceId(id),
                Err(reason) => fault = Some(reason),
            },
            (2, Wire::Bytes(bytes)) => match id(bytes, "parent id") {
                Ok(id) => span.parent = SpanId(id),
                Err(reason) => fault = Some(reason),
            },
            (3, Wire::Bytes(bytes)) => match id(bytes, "span id") {
                Ok(id) => span.id = SpanId(id),
                Err(reason) => fault = Some(reason),
            },
            (4, Wire::Varint(kind)) => {
                span.kind = match kind {
                    1 => SpanKind::Client,
                    2 => SpanKind::Server,
                    3 => SpanKind::Producer,
                    4 => SpanKind::Consumer,
                    _ => SpanKind::Unspecified,
                };
            }
            (5, Wire::Bytes(text)) => span.name = text.text()?.to_owned(),
            (6, Wire::Fixed64(micros)) => span.timestamp = signed(micros),
            (7, Wire::Varint(micros)) => span.duration = signed(micros),
            (8, Wire::Bytes(inner)) => span.local = Some(endpoint(inner)?),
            (9, Wire::Bytes(inner)) => span.remote = Some(endpoint(inner)?),
            (10, Wire::Bytes(inner)) => span.annotations.push(annotation(inner)?),
            (11, Wire::Bytes(inner)) => span.tags.push(pair(inner)?),
            (12, Wire::Varint(truth)) => span.debug = truth != 0,
            (13, Wire::Varint(truth)) => span.shared = truth != 0,
            _ => {}
        }
    }
    Ok(fault.map_or(Ok(span), Err))
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn endpoint(message: Message<'_>) -> Result<Endpoint, WireError> {
    let mut endpoint = Endpoint::default();
    let mut fields = message.fields();
    while let Some(field) = fields.next()? {
        match field {
            (1, Wire::Bytes(text)) => endpoint.service = text.text()?.to_owned(),
            (2, Wire::Bytes(ip)) => endpoint.ipv4 = address(ip.bytes),
            (3, Wire::Bytes(ip)) => endpoint.ipv6 = address(ip.bytes),
            (4, Wire::Varint(port)) => endpoint.port = signed(port),
            _ => {}
        }
    }
    Ok(endpoint)
}

fn annotation(message: Message<'_>) -> Result<(i64, String), WireError> {
    let (mut time, mut value) = (0, String::new());
    let mut fields = message.fields();
    while let Some(field) = fields.next()? {
        match field {
            (1, Wire::Fixed64(micros)) => time = signed(micros),
            (2, Wire::Bytes(text)) => value = text.text()?.to_owned(),
            _ => {}
        }
    }
    Ok((time, value))
}

fn pair(message: Message<'_>) -> Result<(String, String), WireError> {
    let (mut key, mut value) = (String::new(), String::new());
    let mut fields = message.fields();
    while let Some(field) = fields.next()? {
        match field {
            (1, Wire::Bytes(text)) => key = text.text()?.to_owned(),
            (2, Wire::Bytes(text)) => value = text.text()?.to_owned(),
            _ => {}
        }
    }
    Ok((key, value))
}
