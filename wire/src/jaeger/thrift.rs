//! `jaeger.thrift`: a batch as it comes by HTTP, and the call `emitBatch` of a datagram.
//!
//! Invariant: fields that are not known are passed by. Schema:
//! <https://github.com/jaegertracing/jaeger-idl/blob/main/thrift/jaeger.thrift>.

use obs_model::limits::Limits;
use obs_model::spans::{Attribute, AttributeValue};
use obs_model::{SpanBatch, SpanId};

use super::batch::{JaegerSpan, Process, Reference, batch};
use crate::error::WireError;
use crate::rejects::{Decoded, Rejects};
use crate::thrift::{Kind, Protocol, Reader};
use crate::zipkin;

type Result<T> = std::result::Result<T, WireError>;

const FORMAT: &str = "Jaeger batch in thrift";

/// Reads a `Batch`.
pub fn decode(body: &[u8], protocol: Protocol, limits: &Limits) -> Result<Decoded<SpanBatch>> {
    check_size(body, limits)?;
    let mut reader = Reader::new(FORMAT, body, protocol);
    read_batch(&mut reader, Kind::Struct, limits)
}

/// Reads a call of `emitBatch` or `emitZipkinBatch`.
pub fn decode_datagram(
    body: &[u8],
    protocol: Protocol,
    limits: &Limits,
) -> Result<Decoded<SpanBatch>> {
    check_size(body, limits)?;
    let mut reader = Reader::new(FORMAT, body, protocol);
    let name = reader.call()?;
    let mut found = None;
    reader.fields(&mut |reader, id, kind| {
        match (id, name.as_str()) {
            (1, "emitBatch") => found = Some(read_batch(reader, kind, limits)?),
            (1, "emitZipkinBatch") => {
                let spans = zipkin::read_spans(reader, kind)?;
                found = Some(zipkin::batch(spans, limits, Rejects::default()));
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    found.ok_or_else(|| reader.fault("a call of emitBatch or emitZipkinBatch"))
}

fn check_size(body: &[u8], limits: &Limits) -> Result<()> {
    if body.len() > limits.decompressed_bytes_max {
        let max = limits.decompressed_bytes_max;
        return Err(WireError::too_large(FORMAT, "decompressed_bytes_max", max));
    }
    Ok(())
}

fn read_batch(reader: &mut Reader<'_>, kind: Kind, limits: &Limits) -> Result<Decoded<SpanBatch>> {
    need_struct(reader, kind)?;
    let (mut process, mut spans) = (Process::default(), Vec::new());
    reader.fields(&mut |reader, id, kind| {
        match id {
            1 => process = read_process(reader, kind)?,
            2 => reader.list(kind, &mut |reader, kind| {
                spans.push(read_span(reader, kind)?);
                Ok(())
            })?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(batch(&process, spans, limits))
}

fn need_struct(reader: &Reader<'_>, kind: Kind) -> Result<()> {
    match kind {
        Kind::Struct => Ok(()),
        other => Err(reader.fault(format!("a struct, found {other:?}"))),
    }
}

fn read_process(reader: &mut Reader<'_>, kind: Kind) -> Result<Process> {
    need_struct(reader, kind)?;
    let mut process = Process::default();
    reader.fields(&mut |reader, id, kind| {
        match id {
            1 => process.service = reader.text(kind)?,
            2 => process.tags = read_tags(reader, kind)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(process)
}

fn read_tags(reader: &mut Reader<'_>, kind: Kind) -> Result<Vec<Attribute>> {
    let mut tags = Vec::new();
    reader.list(kind, &mut |reader, kind| {
        tags.push(read_tag(reader, kind)?);
        Ok(())
    })?;
    Ok(tags)
}

fn read_tag(reader: &mut Reader<'_>, kind: Kind) -> Result<Attribute> {
    need_struct(reader, kind)?;
    let mut key = String::new();
    let mut told = 0;
    let mut values = [const { None }; 5];
    reader.fields(&mut |reader, id, kind| {
        match id {
            1 => key = reader.text(kind)?,
            2 => told = reader.integer(kind)?,
            3 => values[0] = Some(AttributeValue::String(reader.text(kind)?)),
            4 => values[1] = Some(AttributeValue::Double(reader.double(kind)?)),
            5 => values[2] = Some(AttributeValue::Bool(reader.truth(kind)?)),
            6 => values[3] = Some(AttributeValue::Int(reader.integer(kind)?)),
            7 => values[4] = Some(AttributeValue::Bytes(reader.binary(kind)?.to_vec())),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let value = usize::try_from(told)
        .ok()
        .and_then(|n| values.get_mut(n)?.take());
    let value = value.unwrap_or(match told {
        0 => AttributeValue::String(String::new()),
        1 => AttributeValue::Double(0.0),
        2 => AttributeValue::Bool(false),
        3 => AttributeValue::Int(0),
        _ => AttributeValue::Empty,
    });
    Ok(Attribute { key, value })
}

fn span_id(number: i64) -> SpanId {
    SpanId(number.to_be_bytes())
}

fn read_span(reader: &mut Reader<'_>, kind: Kind) -> Result<JaegerSpan> {
    need_struct(reader, kind)?;
    let mut span = JaegerSpan {
        start: Some(0),
        duration: Some(0),
        ..JaegerSpan::default()
    };
    let (mut low, mut high) = (0, 0);
    reader.fields(&mut |reader, id, kind| {
        match id {
            1 => low = reader.integer(kind)?,
            2 => high = reader.integer(kind)?,
            3 => span.span_id = span_id(reader.integer(kind)?),
            4 => span.parent = span_id(reader.integer(kind)?),
            5 => span.name = reader.text(kind)?,
            6 => reader.list(kind, &mut |reader, kind| {
                span.references.push(read_reference(reader, kind)?);
                Ok(())
            })?,
            7 => span.flags = reader.integer(kind)? as u32,
            8 => span.start = reader.integer(kind)?.checked_mul(1000),
            9 => span.duration = reader.integer(kind)?.checked_mul(1000),
            10 => span.tags = read_tags(reader, kind)?,
            11 => reader.list(kind, &mut |reader, kind| {
                span.logs.push(read_log(reader, kind)?);
                Ok(())
            })?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    span.trace_id = zipkin::wide(high, low);
    Ok(span)
}

fn read_reference(reader: &mut Reader<'_>, kind: Kind) -> Result<Reference> {
    need_struct(reader, kind)?;
    let mut reference = Reference::default();
    let (mut low, mut high) = (0, 0);
    reader.fields(&mut |reader, id, kind| {
        match id {
            1 => reference.follows = reader.integer(kind)? == 1,
            2 => low = reader.integer(kind)?,
            3 => high = reader.integer(kind)?,
            4 => reference.span_id = span_id(reader.integer(kind)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    reference.trace_id = zipkin::wide(high, low);
    Ok(reference)
}

fn read_log(reader: &mut Reader<'_>, kind: Kind) -> Result<(Option<i64>, Vec<Attribute>)> {
    need_struct(reader, kind)?;
    let (mut time, mut fields) = (Some(0), Vec::new());
    reader.fields(&mut |reader, id, kind| {
        match id {
            1 => time = reader.integer(kind)?.checked_mul(1000),
            2 => fields = read_tags(reader, kind)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok((time, fields))
}

#[cfg(test)]
mod tests {
    use obs_model::spans::{SpanKind, StatusCode, attribute};
    use proptest::prelude::*;

    use super::*;
    use crate::thrift::put::Writer;

    fn tag(protocol: Protocol, key: &str, kind: i32, write: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut out = Writer::new(protocol);
        out.text(1, key.as_bytes());
        out.i32(2, kind);
        write(&mut out);
        out.end()
    }

    /// A batch of one span of the service `shop`.
    pub(super) fn one(protocol: Protocol, name: &str, ids: [i64; 3], times: [i64; 2]) -> Vec<u8> {
        let p = protocol;
        let mut process = Writer::new(p);
        process.text(1, b"shop");
        process.structs(2, &[tag(p, "host", 0, |out| out.text(3, b"h"))]);
        let mut log = Writer::new(p);
        log.i64(1, times[0]);
        log.structs(2, &[tag(p, "event", 0, |out| out.text(3, b"cache"))]);
        let mut reference = Writer::new(p);
        reference.i32(1, 1);
        reference.i64(2, 9);
        reference.i64(3, 0);
        reference.i64(4, 8);
        let mut span = Writer::new(p);
        span.i64(1, ids[0]);
        span.i64(2, ids[1]);
        span.i64(3, ids[2]);
        span.i64(4, 5);
        span.text(5, name.as_bytes());
        span.structs(6, &[reference.end()]);
        span.i32(7, 1);
        span.i64(8, times[0]);
        span.i64(9, times[1]);
        let tags = [
            tag(p, "span.kind", 0, |out| out.text(3, b"client")),
            tag(p, "error", 2, |out| out.truth(5, true)),
            tag(p, "n", 3, |out| out.i64(6, -7)),
            tag(p, "f", 1, |out| out.double(4, 1.5)),
            tag(p, "b", 4, |out| out.text(7, &[1, 2])),
        ];
        span.structs(10, &tags);
        span.structs(11, &[log.end()]);
        let mut batch = Writer::new(p);
        batch.inner(1, &process.end());
        batch.structs(2, &[span.end()]);
        batch.i64(3, 1);
        batch.end()
    }

    fn call(protocol: Protocol, batch: &[u8]) -> Vec<u8> {
        let mut out = match protocol {
            Protocol::Binary => vec![0x80, 1, 0, 4, 0, 0, 0, 9],
            Protocol::Compact => vec![0x82, 0x81, 0, 9],
        };
        out.extend_from_slice(b"emitBatch");
        if protocol == Protocol::Binary {
            out.extend_from_slice(&[0; 4]);
        }
        let mut arguments = Writer::new(protocol);
        arguments.inner(1, batch);
        out.extend_from_slice(&arguments.end());
        out
    }

    #[test]
    fn batches_and_datagrams() {
        for protocol in [Protocol::Binary, Protocol::Compact] {
            let bytes = one(protocol, "get", [0xab, 1, 2], [1_000_000, 2000]);
            let limits = Limits::default();
            let decoded = decode(&bytes, protocol, &limits).unwrap();
            let (resource, _, span) = decoded.batch.iter().next().unwrap();
            assert_eq!(resource.attributes.len(), 2);
            assert_eq!(
                span.trace_id.to_string(),
                "000000000000000100000000000000ab"
            );
            assert_eq!(
                (span.kind, span.status),
                (SpanKind::Client, StatusCode::Error)
            );
            assert_eq!(
                (span.start.nanos(), span.duration_nanos()),
                (1_000_000_000, 2_000_000)
            );
            assert_eq!(
                attribute(&span.attributes, "n"),
                Some(&AttributeValue::Int(-7))
            );
            assert_eq!(
                attribute(&span.attributes, "f"),
                Some(&AttributeValue::Double(1.5))
            );
            assert_eq!(
                attribute(&span.attributes, "b"),
                Some(&AttributeValue::Bytes(vec![1, 2]))
            );
            assert_eq!(
                (span.attributes.len(), span.events[0].name.as_str()),
                (3, "cache")
            );
            assert_eq!(span.links[0].span_id, span_id(8));
            assert_eq!(span.parent_id, span_id(5));
            let datagram = decode_datagram(&call(protocol, &bytes), protocol, &limits).unwrap();
            assert_eq!(datagram.batch, decoded.batch);
            assert!(decode_datagram(&bytes, protocol, &limits).is_err());
        }
    }

    #[test]
    fn spans_without_ids_are_refused() {
        let bytes = one(Protocol::Binary, "get", [0, 0, 2], [1, 1]);
        let decoded = decode(&bytes, Protocol::Binary, &Limits::default()).unwrap();
        assert_eq!((decoded.rejected, decoded.batch.span_count()), (1, 0));
        let bytes = one(Protocol::Binary, "get", [1, 0, 2], [i64::MAX, 1]);
        let decoded = decode(&bytes, Protocol::Binary, &Limits::default()).unwrap();
        assert!(
            decoded.message.contains("out of range"),
            "{}",
            decoded.message
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn spans_read_back(name in ".{0,20}", ids in any::<[i64; 3]>(), start in 0..1i64 << 50, long in 0..1i64 << 40) {
            prop_assume!((ids[0] != 0 || ids[1] != 0) && ids[2] != 0);
            for protocol in [Protocol::Binary, Protocol::Compact] {
                let bytes = one(protocol, &name, ids, [start, long]);
                let decoded = decode(&bytes, protocol, &Limits::default()).unwrap();
                let (_, _, span) = decoded.batch.iter().next().unwrap();
                prop_assert_eq!(&span.name, &name);
                prop_assert_eq!(span.trace_id, zipkin::wide(ids[1], ids[0]));
                prop_assert_eq!(span.start.nanos(), start * 1000);
                prop_assert_eq!(span.duration_nanos(), long * 1000);
            }
        }

        #[test]
        fn cut_and_arbitrary_bytes(cut in 0usize..400, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for protocol in [Protocol::Binary, Protocol::Compact] {
                let whole = one(protocol, "get", [1, 2, 3], [4, 5]);
                if cut < whole.len() {
                    prop_assert!(decode(&whole[..cut], protocol, &Limits::default()).is_err());
                }
                drop(decode(&bytes, protocol, &Limits::default()));
                drop(decode_datagram(&bytes, protocol, &Limits::default()));
            }
        }
    }
}
