//! Ways into obs, as other programs use them: each function makes the bytes itself, sends them and
//! says whether they were acknowledged.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use obs_model::metrics::{Metadata, MetricKind, Sample, Series};
use obs_model::{Labels, MetricBatch, Timestamp, Value};
use serde_json::json;

use crate::process::{Answer, Obs};

pub(crate) const SECOND: i64 = 1_000_000_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");
const SNAPPY: (&str, &str) = ("content-encoding", "snappy");

/// Labels of a series.
pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied())
}

/// A series of floats.
pub(crate) fn series(
    pairs: &[(&str, &str)],
    samples: impl IntoIterator<Item = (i64, f64)>,
) -> Series {
    let sample = |(nanos, value)| Sample {
        time: Timestamp::from_nanos(nanos),
        start: None,
        value: Value::Float(value),
    };
    Series {
        labels: labels(pairs),
        samples: samples.into_iter().map(sample).collect(),
        exemplars: Vec::new(),
        ..Default::default()
    }
}

/// What a metric means.
pub(crate) fn metadata(family: &str, kind: MetricKind, help: &str) -> Metadata {
    Metadata {
        family: family.to_owned(),
        kind,
        unit: String::new(),
        help: help.to_owned(),
    }
}

/// The body of remote write 1.0.
pub(crate) fn remote_write_body(batch: &MetricBatch) -> Vec<u8> {
    let mut body = Vec::new();
    obs_wire::prometheus::remote_write::encode_v1(batch, &mut body);
    obs_wire::snappy::encode(&body)
}

/// Remote write 1.0.
pub(crate) fn remote_write(obs: &Obs, batch: &MetricBatch) -> Answer {
    let version = ("x-prometheus-remote-write-version", "0.1.0");
    obs.post(
        "/api/v1/write",
        &[PROTOBUF, SNAPPY, version],
        remote_write_body(batch),
    )
}

/// One line: nanoseconds, text, structured metadata.
pub(crate) type Line<'a> = (i64, &'a str, &'a [(&'a str, &'a str)]);

fn object(pairs: &[(&str, &str)]) -> serde_json::Value {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect()
}

/// The JSON body of Loki's push.
pub(crate) fn loki_json_body(stream: &[(&str, &str)], lines: &[Line<'_>]) -> Vec<u8> {
    let values: Vec<serde_json::Value> = lines
        .iter()
        .map(|(nanos, text, metadata)| match metadata.is_empty() {
            true => json!([nanos.to_string(), text]),
            false => json!([nanos.to_string(), text, object(metadata)]),
        })
        .collect();
    let body = json!({"streams": [{"stream": object(stream), "values": values}]});
    body.to_string().into_bytes()
}

/// Loki's push in JSON.
pub(crate) fn loki_json(obs: &Obs, stream: &[(&str, &str)], lines: &[Line<'_>]) -> Answer {
    obs.post("/loki/api/v1/push", &[JSON], loki_json_body(stream, lines))
}

/// Loki's push in protobuf: `logproto.PushRequest` after its published schema.
pub(crate) fn loki_protobuf(obs: &Obs, stream: &[(&str, &str)], lines: &[Line<'_>]) -> Answer {
    let pairs: Vec<String> = stream.iter().map(|(n, v)| format!("{n}={v:?}")).collect();
    let mut body = Vec::new();
    bytes_field(1, format!("{{{}}}", pairs.join(", ")).as_bytes(), &mut body);
    for (nanos, text, metadata) in lines {
        let (mut time, mut entry) = (Vec::new(), Vec::new());
        number_field(1, nanos.div_euclid(SECOND), &mut time);
        number_field(2, nanos.rem_euclid(SECOND), &mut time);
        bytes_field(1, &time, &mut entry);
        bytes_field(2, text.as_bytes(), &mut entry);
        for (name, value) in *metadata {
            let mut pair = Vec::new();
            bytes_field(1, name.as_bytes(), &mut pair);
            bytes_field(2, value.as_bytes(), &mut pair);
            bytes_field(3, &pair, &mut entry);
        }
        bytes_field(2, &entry, &mut body);
    }
    let mut request = Vec::new();
    bytes_field(1, &body, &mut request);
    obs.post(
        "/loki/api/v1/push",
        &[PROTOBUF],
        obs_wire::snappy::encode(&request),
    )
}

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn number_field(field: u64, number: i64, out: &mut Vec<u8>) {
    varint(field << 3, out);
    varint(number as u64, out);
}

fn bytes_field(field: u64, bytes: &[u8], out: &mut Vec<u8>) {
    varint(field << 3 | 2, out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// How an OTLP body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Otlp {
    Protobuf,
    ProtobufGzip,
    Json,
    JsonGzip,
}

/// OTLP over HTTP to its own listener; `signal` is `metrics`, `logs` or `traces`.
pub(crate) fn otlp(obs: &Obs, signal: &str, encoding: Otlp, body: Vec<u8>) -> Answer {
    let path = format!("/v1/{signal}");
    let kind = match encoding {
        Otlp::Protobuf | Otlp::ProtobufGzip => PROTOBUF,
        Otlp::Json | Otlp::JsonGzip => JSON,
    };
    let answer = match encoding {
        Otlp::Protobuf | Otlp::Json => obs.try_post("otlp_http", &path, &[kind], body),
        Otlp::ProtobufGzip | Otlp::JsonGzip => {
            let headers = [kind, ("content-encoding", "gzip")];
            obs.try_post("otlp_http", &path, &headers, gzip(&body))
        }
    };
    answer.unwrap_or_else(|error| panic!("OTLP {signal}: {error}"))
}

/// gzip.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory is writable");
    encoder.finish().expect("memory is writable")
}
