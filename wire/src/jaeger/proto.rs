//! `jaeger.api_v2.PostSpansRequest`, which `CollectorService` takes over gRPC.
//!
//! Invariant: fields are lent from the input; unknown ones are passed by.

use obs_model::limits::Limits;
use obs_model::spans::{Attribute, AttributeValue};
use obs_model::{SpanBatch, SpanId, TraceId};

use super::batch::{JaegerSpan, Process, Reference, batch};
use crate::error::WireError;
use crate::protobuf::{Message, Wire};
use crate::rejects::Decoded;

type Result<T> = std::result::Result<T, WireError>;

/// Reads a request.
pub fn decode(body: &[u8], limits: &Limits) -> Result<Decoded<SpanBatch>> {
    const FORMAT: &str = "Jaeger batch in protobuf";
    if body.len() > limits.decompressed_bytes_max {
        let max = limits.decompressed_bytes_max;
        return Err(WireError::too_large(FORMAT, "decompressed_bytes_max", max));
    }
    let (mut process, mut spans) = (Process::default(), Vec::new());
    let mut fields = Message::new(FORMAT, body).fields();
    while let Some(field) = fields.next()? {
        let (1, Wire::Bytes(message)) = field else {
            continue;
        };
        let mut fields = message.fields();
        while let Some(field) = fields.next()? {
            match field {
                (1, Wire::Bytes(message)) => spans.push(span(message)?),
                (2, Wire::Bytes(message)) => process = read_process(message)?,
                _ => {}
            }
        }
    }
    Ok(batch(&process, spans, limits))
}

/// Right-aligned bytes; too many are no id.
fn id<const N: usize>(message: Message<'_>) -> [u8; N] {
    let mut id = [0; N];
    let bytes = message.bytes;
    if bytes.len() <= N {
        id[N - bytes.len()..].copy_from_slice(bytes);
    }
    id
}

fn span(message: Message<'_>) -> Result<JaegerSpan> {
    let mut span = JaegerSpan {
        start: Some(0),
        duration: Some(0),
        ..JaegerSpan::default()
    };
    let mut fields = message.fields();
    while let Some(field) = fields.next()? {
        match field {
            (1, Wire::Bytes(bytes)) => span.trace_id = TraceId(id(bytes)),
            (2, Wire::Bytes(bytes)) => span.span_id = SpanId(id(bytes)),
            (3, Wire::Bytes(text)) => span.name = text.text()?.to_owned(),
            (4, Wire::Bytes(inner)) => span.references.push(reference(inner)?),
            (5, Wire::Varint(flags)) => span.flags = flags as u32,
            (6, Wire::Bytes(inner)) => span.start = nanos(inner)?,
            (7, Wire::Bytes(inner)) => span.duration = nanos(inner)?,
            (8, Wire::Bytes(inner)) => span.tags.push(tag(inner)?),
            (9, Wire::Bytes(inner)) => span.logs.push(log(inner)?),
            (10, Wire::Bytes(inner)) => span.process = Some(read_process(inner)?),
            _ => {}
        }
    }
    Ok(span)
}

fn reference(message: Message<'_>) -> Result<Reference> {
    let mut reference = Reference::default();
    let mut fields = message.fields();
    while let Some(field) = fields.next()? {
        match field {
            (1, Wire::Bytes(bytes)) => reference.trace_id = TraceId(id(bytes)),
            (2, Wire::Bytes(bytes)) => reference.span_id = SpanId(id(bytes)),
            (3, Wire::Varint(kind)) => reference.follows = kind == 1,
            _ => {}
        }
    }
    Ok(reference)
}

/// `google.protobuf.Timestamp` and `Duration`; none where it does not fit.
fn nanos(message: Message<'_>) -> Result<Option<i64>> {
    let (seconds, nanos) = seconds_and_nanos(message)?;
    let whole = seconds.checked_mul(1_000_000_000);
    Ok(whole.and_then(|whole| whole.checked_add(nanos)))
}

/// The fields of `google.protobuf.Timestamp` and `Duration`.
pub(super) fn seconds_and_nanos(message: Message<'_>) -> Result<(i64, i64)> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    let mut fields = message.fields();
    while let Some(field) = fields.next()? {
        match field {
            (1, Wire::Varint(number)) => seconds = number as i64,
            (2, Wire::Varint(number)) => nanos = number as i64,
            _ => {}
        }
    }
    Ok((seconds, nanos))
}

fn log(message: Message<'_>) -> Result<(Option<i64>, Vec<Attribute>)> {
    let (mut time, mut tags) = (Some(0), Vec::new());
    let mut fields = message.fields();
    while let Some(field) = fields.next()? {
        match field {
            (1, Wire::Bytes(inner)) => time = nanos(inner)?,
            (2, Wire::Bytes(inner)) => tags.push(tag(inner)?),
            _ => {}
        }
    }
    Ok((time, tags))
}

fn read_process(message: Message<'_>) -> Result<Process> {
    let mut process = Process::default();
    let mut fields = message.fields();
    while let Some(field) = fields.next()? {
        match field {
            (1, Wire::Bytes(text)) => process.service = text.text()?.to_owned(),
            (2, Wire::Bytes(inner)) => process.tags.push(tag(inner)?),
            _ => {}
        }
    }
    Ok(process)
}

fn tag(message: Message<'_>) -> Result<Attribute> {
    let (mut key, mut kind) = (String::new(), 0);
    let (mut text, mut truth, mut int, mut double) = (String::new(), false, 0, 0.0);
    let mut bytes: &[u8] = &[];
    let mut fields = message.fields();
    while let Some(field) = fields.next()? {
        match field {
            (1, Wire::Bytes(name)) => key = name.text()?.to_owned(),
            (2, Wire::Varint(number)) => kind = number,
            (3, Wire::Bytes(value)) => text = value.text()?.to_owned(),
            (4, Wire::Varint(value)) => truth = value != 0,
            (5, Wire::Varint(value)) => int = value as i64,
            (6, Wire::Fixed64(bits)) => double = f64::from_bits(bits),
            (7, Wire::Bytes(value)) => bytes = value.bytes,
            _ => {}
        }
    }
    let value = match kind {
        0 => AttributeValue::String(text),
        1 => AttributeValue::Bool(truth),
        2 => AttributeValue::Int(int),
        3 => AttributeValue::Double(double),
        4 => AttributeValue::Bytes(bytes.to_vec()),
        _ => AttributeValue::Empty,
    };
    Ok(Attribute { key, value })
}

#[cfg(test)]
mod tests {
    use obs_model::spans::{SpanKind, StatusCode, attribute};
    use proptest::prelude::*;

    use super::*;
    use crate::protobuf::put;

    fn request(name: &str, seconds: u64, own_process: bool) -> Vec<u8> {
        let process = |out: &mut Vec<u8>, service: &str| {
            put::bytes(out, 1, service.as_bytes());
        };
        let tag = |out: &mut Vec<u8>, key: &str, kind: u64, write: &dyn Fn(&mut Vec<u8>)| {
            put::message(out, 8, |out| {
                put::bytes(out, 1, key.as_bytes());
                put::uint(out, 2, kind);
                write(out);
            });
        };
        let mut out = Vec::new();
        put::message(&mut out, 1, |out| {
            put::message(out, 1, |out| {
                put::bytes(out, 1, &[1; 16]);
                put::bytes(out, 2, &[2; 8]);
                put::bytes(out, 3, name.as_bytes());
                put::message(out, 4, |out| {
                    put::bytes(out, 1, &[1; 16]);
                    put::bytes(out, 2, &[3; 8]);
                });
                put::message(out, 6, |out| put::uint(out, 1, seconds));
                put::message(out, 7, |out| put::uint(out, 2, 500));
                tag(out, "span.kind", 0, &|out| put::bytes(out, 3, b"server"));
                tag(out, "otel.status_code", 0, &|out| put::bytes(out, 3, b"OK"));
                tag(out, "n", 2, &|out| put::uint(out, 5, 7));
                if own_process {
                    put::message(out, 10, |out| process(out, "own"));
                }
            });
            put::message(out, 2, |out| process(out, "shop"));
        });
        out
    }

    #[test]
    fn requests() {
        for (own, expect) in [(false, "shop"), (true, "own")] {
            let decoded = decode(&request("get", 5, own), &Limits::default()).unwrap();
            let (resource, _, span) = decoded.batch.iter().next().unwrap();
            let service = AttributeValue::String(expect.to_owned());
            assert_eq!(
                attribute(&resource.attributes, "service.name"),
                Some(&service)
            );
            assert_eq!((span.parent_id, span.links.len()), (SpanId([3; 8]), 0));
            assert_eq!(
                (span.start.nanos(), span.duration_nanos()),
                (5_000_000_000, 500)
            );
            assert_eq!((span.kind, span.status), (SpanKind::Server, StatusCode::Ok));
            assert_eq!(span.attributes.len(), 1);
        }
        let late = decode(&request("get", u64::MAX >> 8, false), &Limits::default()).unwrap();
        assert_eq!(late.rejected, 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn names_and_times_read_back(name in ".{0,20}", seconds in 0u64..9_000_000_000) {
            let decoded = decode(&request(&name, seconds, false), &Limits::default()).unwrap();
            let (_, _, span) = decoded.batch.iter().next().unwrap();
            prop_assert_eq!(&span.name, &name);
            prop_assert_eq!(span.start.nanos(), seconds as i64 * 1_000_000_000);
        }

        #[test]
        fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(decoded) = decode(&bytes, &Limits::default()) {
                prop_assert!(decoded.batch.span_count() <= bytes.len());
            }
        }
    }
}
