//! Version 1 in JSON and thrift: annotations tell the kind and times of a span, each with its host.
//!
//! Invariant: what version 2 has a field for is taken out of the annotations; the rest stays.

use obs_model::limits::Limits;
use obs_model::spans::SpanKind;
use obs_model::{SpanBatch, SpanId, TraceId};
use serde::Deserialize;

use super::json::{JsonEndpoint, elements, micros};
use super::{Endpoint, ZipkinSpan, address, batch, span_id, trace_id};
use crate::error::WireError;
use crate::rejects::{Decoded, Rejects};
use crate::thrift::{Kind, Protocol, Reader};

/// An annotation with its host.
#[derive(Default)]
struct Annotation {
    time: i64,
    value: String,
    host: Option<Endpoint>,
}

/// A tag with its host; an address (`ca`, `sa`) is only the host.
#[derive(Default)]
struct Tag {
    key: String,
    value: String,
    host: Option<Endpoint>,
}

#[derive(Default)]
struct Span {
    span: ZipkinSpan,
    annotations: Vec<Annotation>,
    tags: Vec<Tag>,
}

impl Span {
    fn finish(self) -> ZipkinSpan {
        let mut span = self.span;
        let (mut first, mut last) = (None, None);
        let timed = span.timestamp > 0;
        for one in self.annotations {
            let (kind, begins) = match one.value.as_str() {
                "cs" => (SpanKind::Client, true),
                "cr" => (SpanKind::Client, false),
                "sr" => (SpanKind::Server, true),
                "ss" => (SpanKind::Server, false),
                "ms" => (SpanKind::Producer, true),
                "mr" => (SpanKind::Consumer, true),
                _ => {
                    span.local = span.local.or(one.host);
                    span.annotations.push((one.time, one.value));
                    continue;
                }
            };
            span.kind = kind;
            if begins {
                first = Some(one.time);
            } else {
                last = Some(one.time);
            }
            // Who did this is who tells the span.
            span.local = one.host.or(span.local);
        }
        if !timed && let Some(first) = first {
            span.timestamp = first;
            span.duration = last.map_or(0, |last| last.saturating_sub(first));
            // Who began the span tells its time; the other side shares it.
            span.shared = span.kind == SpanKind::Server && !span.parent.is_zero();
        }
        for tag in self.tags {
            match tag.key.as_str() {
                "ca" | "sa" | "ma" => span.remote = tag.host,
                "lc" => {
                    span.local = span.local.or(tag.host);
                    if !tag.value.is_empty() {
                        span.tags.push((tag.key, tag.value));
                    }
                }
                _ => {
                    span.local = span.local.or(tag.host);
                    span.tags.push((tag.key, tag.value));
                }
            }
        }
        span
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct JsonSpan {
    trace_id: String,
    parent_id: Option<String>,
    id: String,
    name: Option<String>,
    timestamp: Option<f64>,
    duration: Option<f64>,
    debug: Option<bool>,
    annotations: Option<Vec<JsonAnnotation>>,
    binary_annotations: Option<Vec<JsonTag>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct JsonAnnotation {
    timestamp: f64,
    value: String,
    endpoint: Option<JsonEndpoint>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct JsonTag {
    key: String,
    value: serde_json::Value,
    endpoint: Option<JsonEndpoint>,
}

/// Reads a list of spans in JSON.
pub fn decode_json(body: &[u8], limits: &Limits) -> Result<Decoded<SpanBatch>, WireError> {
    let mut rejects = Rejects::default();
    let mut spans = Vec::new();
    for from in elements::<JsonSpan>("Zipkin spans of version 1 in JSON", body, limits)? {
        match json_span(from) {
            Ok(span) => spans.push(span),
            Err(reason) => rejects.add(1, format!("span: {reason}")),
        }
    }
    Ok(batch(spans, limits, rejects))
}

fn json_span(from: JsonSpan) -> Result<ZipkinSpan, String> {
    let parent = match from.parent_id.as_deref() {
        None | Some("") => SpanId::default(),
        Some(text) => span_id(text)?,
    };
    let annotations = from.annotations.unwrap_or_default().into_iter();
    let tags = from.binary_annotations.unwrap_or_default().into_iter();
    let span = Span {
        span: ZipkinSpan {
            trace_id: trace_id(&from.trace_id)?,
            id: span_id(&from.id)?,
            parent,
            name: from.name.unwrap_or_default(),
            timestamp: micros(from.timestamp.unwrap_or(0.0)),
            duration: micros(from.duration.unwrap_or(0.0)),
            debug: from.debug.unwrap_or(false),
            ..ZipkinSpan::default()
        },
        annotations: annotations
            .map(|a| Annotation {
                time: micros(a.timestamp),
                value: a.value,
                host: a.endpoint.map(Endpoint::from),
            })
            .collect(),
        tags: tags
            .map(|tag| Tag {
                key: tag.key,
                value: match tag.value {
                    serde_json::Value::String(text) => text,
                    other => other.to_string(),
                },
                host: tag.endpoint.map(Endpoint::from),
            })
            .collect(),
    };
    Ok(span.finish())
}

/// Reads a list of spans in thrift's binary protocol.
pub fn decode_thrift(body: &[u8], limits: &Limits) -> Result<Decoded<SpanBatch>, WireError> {
    const FORMAT: &str = "Zipkin spans in thrift";
    if body.len() > limits.decompressed_bytes_max {
        let max = limits.decompressed_bytes_max;
        return Err(WireError::too_large(FORMAT, "decompressed_bytes_max", max));
    }
    let mut reader = Reader::new(FORMAT, body, Protocol::Binary);
    let spans = read_spans(&mut reader, Kind::List)?;
    Ok(batch(spans, limits, Rejects::default()))
}

/// The spans of a list.
pub(crate) fn read_spans(
    reader: &mut Reader<'_>,
    kind: Kind,
) -> Result<Vec<ZipkinSpan>, WireError> {
    let mut spans = Vec::new();
    reader.list(kind, &mut |reader, kind| {
        spans.push(read_span(reader, kind)?);
        Ok(())
    })?;
    Ok(spans)
}

fn need_struct(reader: &Reader<'_>, kind: Kind) -> Result<(), WireError> {
    match kind {
        Kind::Struct => Ok(()),
        other => Err(reader.fault(format!("a struct, found {other:?}"))),
    }
}

fn read_span(reader: &mut Reader<'_>, kind: Kind) -> Result<ZipkinSpan, WireError> {
    need_struct(reader, kind)?;
    let mut span = Span::default();
    let (mut low, mut high) = (0, 0);
    reader.fields(&mut |reader, id, kind| {
        match id {
            1 => low = reader.integer(kind)?,
            3 => span.span.name = reader.text(kind)?,
            4 => span.span.id = SpanId(reader.integer(kind)?.to_be_bytes()),
            5 => span.span.parent = SpanId(reader.integer(kind)?.to_be_bytes()),
            6 => reader.list(kind, &mut |reader, kind| {
                span.annotations.push(read_annotation(reader, kind)?);
                Ok(())
            })?,
            8 => reader.list(kind, &mut |reader, kind| {
                span.tags.push(read_tag(reader, kind)?);
                Ok(())
            })?,
            9 => span.span.debug = reader.truth(kind)?,
            10 => span.span.timestamp = reader.integer(kind)?,
            11 => span.span.duration = reader.integer(kind)?,
            12 => high = reader.integer(kind)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    span.span.trace_id = wide(high, low);
    Ok(span.finish())
}

/// A trace id of two halves.
pub(crate) fn wide(high: i64, low: i64) -> TraceId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&high.to_be_bytes());
    id[8..].copy_from_slice(&low.to_be_bytes());
    TraceId(id)
}

fn read_annotation(reader: &mut Reader<'_>, kind: Kind) -> Result<Annotation, WireError> {
    need_struct(reader, kind)?;
    let mut annotation = Annotation::default();
    reader.fields(&mut |reader, id, kind| {
        match id {
            1 => annotation.time = reader.integer(kind)?,
            2 => annotation.value = reader.text(kind)?,
            3 => annotation.host = Some(read_endpoint(reader, kind)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(annotation)
}

fn read_tag(reader: &mut Reader<'_>, kind: Kind) -> Result<Tag, WireError> {
    need_struct(reader, kind)?;
    let mut tag = Tag::default();
    let (mut value, mut value_kind): (&[u8], i64) = (&[], 6);
    reader.fields(&mut |reader, id, kind| {
        match id {
            1 => tag.key = reader.text(kind)?,
            2 => value = reader.binary(kind)?,
            3 => value_kind = reader.integer(kind)?,
            4 => tag.host = Some(read_endpoint(reader, kind)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    tag.value = tag_text(value, value_kind);
    Ok(tag)
}

/// The text of a value by its `AnnotationType`.
fn tag_text(value: &[u8], kind: i64) -> String {
    let number = match (kind, value.len()) {
        (0, 1) => return (value[0] != 0).to_string(),
        (2, 2) => value
            .try_into()
            .ok()
            .map(|b| i64::from(i16::from_be_bytes(b))),
        (3, 4) => value
            .try_into()
            .ok()
            .map(|b| i64::from(i32::from_be_bytes(b))),
        (4, 8) => value.try_into().ok().map(i64::from_be_bytes),
        (5, 8) => {
            let double = value.try_into().map(f64::from_be_bytes);
            return double.map(|d| d.to_string()).unwrap_or_default();
        }
        _ => None,
    };
    number.map_or_else(
        || String::from_utf8_lossy(value).into_owned(),
        |number| number.to_string(),
    )
}

fn read_endpoint(reader: &mut Reader<'_>, kind: Kind) -> Result<Endpoint, WireError> {
    need_struct(reader, kind)?;
    let mut endpoint = Endpoint::default();
    reader.fields(&mut |reader, id, kind| {
        match id {
            1 => {
                let packed = reader.integer(kind)? as i32;
                endpoint.ipv4 = address(&packed.to_be_bytes());
            }
            2 => endpoint.port = reader.integer(kind)? & 0xffff,
            3 => endpoint.service = reader.text(kind)?,
            4 => endpoint.ipv6 = address(reader.binary(kind)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(endpoint)
}
