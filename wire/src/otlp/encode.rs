//! Log records and samples as OTLP requests in protobuf, for those who take only that.
//!
//! Labels that have a name among OTLP's attributes become attributes of the resource
//! ([`obs_model::resource`]), the rest attributes of the record or the point. Invariants: every
//! sample and record of a batch is written once; what OTLP's own decoders here read back has the
//! same values and times; classic histograms stay the series that they are.

use std::collections::{BTreeMap, HashMap};

use obs_model::histogram::Histogram;
use obs_model::metrics::{Exemplar, MetricBatch, MetricKind, Sample, Series};
use obs_model::resource::of_label;
use obs_model::{Labels, LogBatch, LogRecord, Timestamp, Value};

use crate::protobuf::put;

/// Cumulative, as `AggregationTemporality` has it.
const CUMULATIVE: u64 = 2;
/// `DataPointFlags`: there is no value any more.
const NO_RECORDED_VALUE: u64 = 1;

fn fixed64(out: &mut Vec<u8>, number: u32, value: u64) {
    put::varint(out, u64::from(number) << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

fn time(out: &mut Vec<u8>, number: u32, at: Timestamp) {
    fixed64(out, number, u64::try_from(at.nanos()).unwrap_or(0));
}

/// A text attribute in field `number`.
fn attribute(out: &mut Vec<u8>, number: u32, key: &str, value: &str) {
    put::message(out, number, |pair| {
        put::bytes(pair, 1, key.as_bytes());
        put::message(pair, 2, |any| put::bytes(any, 1, value.as_bytes()));
    });
}

/// Writes `ExportLogsServiceRequest`.
pub fn logs(batch: &LogBatch, out: &mut Vec<u8>) {
    for stream in &batch.streams {
        put::message(out, 1, |resource_logs| {
            put::message(resource_logs, 1, |resource| {
                for (name, value) in &stream.labels {
                    let key = of_label(name).map_or(name, |naming| naming.attribute);
                    attribute(resource, 1, key, value);
                }
            });
            put::message(resource_logs, 2, |scope| {
                for record in &stream.records {
                    put::message(scope, 2, |out| log_record(out, record));
                }
            });
        });
    }
}

/// OTLP's number of a level's name; zero where it is none.
fn severity(level: &str) -> u64 {
    match level {
        "trace" => 1,
        "debug" => 5,
        "info" => 9,
        "warn" => 13,
        "error" => 17,
        "critical" | "fatal" => 21,
        _ => 0,
    }
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

fn log_record(out: &mut Vec<u8>, record: &LogRecord) {
    time(out, 1, record.time);
    let level = record.metadata.get("detected_level").unwrap_or("");
    put::uint(out, 2, severity(level));
    if severity(level) > 0 {
        put::bytes(out, 3, level.as_bytes());
    }
    put::message(out, 5, |any| match std::str::from_utf8(&record.line) {
        Ok(text) => put::bytes(any, 1, text.as_bytes()),
        Err(_) => put::bytes(any, 7, &record.line),
    });
    for (name, value) in &record.metadata {
        let id = match name {
            "trace_id" => hex::<16>(value).map(|id| (9, id.to_vec())),
            "span_id" => hex::<8>(value).map(|id| (10, id.to_vec())),
            _ => None,
        };
        match id {
            Some((number, id)) => put::bytes(out, number, &id),
            None => attribute(out, 6, name, value),
        }
    }
    time(out, 11, record.time);
}

/// The labels that say who sends, as OTLP's attributes.
const RESOURCE: [(&str, &str); 2] = [("job", "service.name"), ("instance", "service.instance.id")];

/// Writes `ExportMetricsServiceRequest`. Samples with numbers instead of labels are not written:
/// who forwards has labels.
pub fn metrics(batch: &MetricBatch, out: &mut Vec<u8>) {
    let kinds: HashMap<&str, MetricKind> = batch
        .metadata
        .iter()
        .map(|m| (m.family.as_str(), m.kind))
        .collect();
    let mut resources: BTreeMap<[&str; 2], BTreeMap<&str, Vec<&Series>>> = BTreeMap::new();
    for series in &batch.series {
        let of = RESOURCE.map(|(name, _)| series.labels.get(name).unwrap_or(""));
        let name = series.labels.metric_name().unwrap_or("");
        let metrics = resources.entry(of).or_default();
        metrics.entry(name).or_default().push(series);
    }
    for (of, metrics) in resources {
        put::message(out, 1, |resource_metrics| {
            put::message(resource_metrics, 1, |resource| {
                for ((_, key), value) in RESOURCE.iter().zip(of) {
                    if !value.is_empty() {
                        attribute(resource, 1, key, value);
                    }
                }
            });
            put::message(resource_metrics, 2, |scope| {
                for (name, series) in metrics {
                    metric(scope, name, kind_of(name, &kinds), &series);
                }
            });
        });
    }
}

/// By its metadata, or by the endings that counters have.
fn kind_of(name: &str, kinds: &HashMap<&str, MetricKind>) -> MetricKind {
    let endings = ["_total", "_bucket", "_count", "_sum", "_created"];
    let base = endings.iter().find_map(|ending| name.strip_suffix(ending));
    match kinds.get(name).or_else(|| kinds.get(base?)) {
        Some(MetricKind::Counter) => MetricKind::Counter,
        Some(MetricKind::Histogram | MetricKind::Summary) if base.is_some() => MetricKind::Counter,
        Some(MetricKind::Unknown) | None if name.ends_with("_total") => MetricKind::Counter,
        Some(_) | None => MetricKind::Gauge,
    }
}

fn metric(out: &mut Vec<u8>, name: &str, kind: MetricKind, series: &[&Series]) {
    let floats = |s: &&&Series| s.samples.iter().any(|s| matches!(s.value, Value::Float(_)));
    let natives = |s: &&&Series| {
        s.samples
            .iter()
            .any(|s| matches!(s.value, Value::Histogram(_)))
    };
    let with = |out: &mut Vec<u8>, number: u32, write: &dyn Fn(&mut Vec<u8>)| {
        put::message(out, 2, |metric| {
            put::bytes(metric, 1, name.as_bytes());
            put::message(metric, number, |data| write(data));
        });
    };
    if series.iter().any(|s| floats(&s)) {
        let number = if kind == MetricKind::Counter { 7 } else { 5 };
        with(out, number, &|data| {
            for one in series {
                number_points(data, one);
            }
            if kind == MetricKind::Counter {
                put::uint(data, 2, CUMULATIVE);
                put::uint(data, 3, 1);
            }
        });
    }
    if series.iter().any(|s| natives(&s)) {
        with(out, 10, &|data| {
            for one in series {
                histogram_points(data, one);
            }
            put::uint(data, 2, CUMULATIVE);
        });
    }
}

fn point_labels(out: &mut Vec<u8>, number: u32, labels: &Labels) {
    for (name, value) in labels {
        let resource = RESOURCE.iter().any(|(label, _)| *label == name);
        if name != obs_model::labels::METRIC_NAME && !resource {
            attribute(out, number, name, value);
        }
    }
}

fn point_times(out: &mut Vec<u8>, sample: &Sample) {
    if let Some(start) = sample.start {
        time(out, 2, start);
    }
    time(out, 3, sample.time);
}

fn number_points(out: &mut Vec<u8>, series: &Series) {
    let last = series.samples.len().saturating_sub(1);
    for (index, sample) in series.samples.iter().enumerate() {
        let Value::Float(value) = sample.value else {
            continue;
        };
        put::message(out, 1, |point| {
            point_labels(point, 7, &series.labels);
            point_times(point, sample);
            if obs_model::sample::is_stale(value) {
                put::uint(point, 8, NO_RECORDED_VALUE);
            } else {
                // Written even when zero: it says which kind of number it is.
                fixed64(point, 4, value.to_bits());
            }
            if index == last {
                exemplars(point, 5, &series.exemplars);
            }
        });
    }
}

fn exemplars(out: &mut Vec<u8>, number: u32, all: &[Exemplar]) {
    for exemplar in all {
        put::message(out, number, |out| {
            time(out, 2, exemplar.time);
            fixed64(out, 3, exemplar.value.to_bits());
            for (name, value) in &exemplar.labels {
                match name {
                    "span_id" if hex::<8>(value).is_some() => {
                        put::bytes(out, 4, &hex::<8>(value).unwrap_or_default());
                    }
                    "trace_id" if hex::<16>(value).is_some() => {
                        put::bytes(out, 5, &hex::<16>(value).unwrap_or_default());
                    }
                    _ => attribute(out, 7, name, value),
                }
            }
        });
    }
}

fn histogram_points(out: &mut Vec<u8>, series: &Series) {
    for sample in &series.samples {
        let Value::Histogram(histogram) = &sample.value else {
            continue;
        };
        // Custom buckets have no place in exponential ones, and an end has no buckets.
        if histogram.has_custom_buckets() {
            continue;
        }
        put::message(out, 1, |point| {
            point_labels(point, 1, &series.labels);
            point_times(point, sample);
            if histogram.is_stale() {
                put::uint(point, 10, NO_RECORDED_VALUE);
                return;
            }
            fixed64(point, 4, histogram.count as u64);
            fixed64(point, 5, histogram.sum.to_bits());
            put::sint(point, 6, i64::from(histogram.schema));
            fixed64(point, 7, histogram.zero_count as u64);
            buckets(point, 8, histogram, true);
            buckets(point, 9, histogram, false);
            put::double(point, 14, histogram.zero_threshold);
        });
    }
}

/// Buckets without gaps; OTLP's first bucket lies one lower than Prometheus'.
fn buckets(out: &mut Vec<u8>, number: u32, histogram: &Histogram, positive: bool) {
    let (spans, counts) = match positive {
        true => (&histogram.positive_spans, &histogram.positive),
        false => (&histogram.negative_spans, &histogram.negative),
    };
    let Some(first) = spans.first() else {
        return;
    };
    let mut dense = Vec::new();
    let mut counts = counts.iter();
    for (index, span) in spans.iter().enumerate() {
        let gap = if index == 0 {
            0
        } else {
            usize::try_from(span.offset).unwrap_or(0)
        };
        if dense.len() + gap > obs_model::histogram::BUCKETS_MAX {
            break;
        }
        dense.resize(dense.len() + gap, 0);
        dense.extend(
            counts
                .by_ref()
                .take(span.length as usize)
                .map(|count| *count as u64),
        );
    }
    put::message(out, number, |out| {
        put::sint(out, 1, i64::from(first.offset) - 1);
        put::message(out, 2, |packed| {
            for count in dense {
                put::varint(packed, count);
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use obs_model::LogStream;
    use obs_model::histogram::BucketSpan;
    use obs_model::limits::Limits;
    use obs_model::metrics::Metadata;

    use super::*;
    use crate::otlp::{logs as decode_logs, metrics as decode_metrics};

    #[test]
    fn records_come_back() {
        let batch = LogBatch {
            streams: vec![LogStream {
                labels: Labels::from_pairs([("service_name", "shop"), ("namespace", "eu")]),
                records: vec![LogRecord {
                    time: Timestamp::from_nanos(1_234_567_890_123),
                    line: b"hello".to_vec(),
                    metadata: Labels::from_pairs([
                        ("detected_level", "error"),
                        ("trace_id", "0af7651916cd43dd8448eb211c80319c"),
                        ("user", "7"),
                    ]),
                }],
            }],
        };
        let mut bytes = Vec::new();
        logs(&batch, &mut bytes);
        let read = decode_logs::decode_protobuf(&bytes, &Limits::default()).unwrap();
        assert_eq!(read.rejected, 0);
        let stream = &read.batch.streams[0];
        assert_eq!(stream.labels.get("k8s_namespace_name"), Some("eu"));
        assert_eq!(stream.labels.get("service_name"), Some("shop"));
        let record = &stream.records[0];
        assert_eq!(record.line, b"hello");
        assert_eq!(record.time, batch.streams[0].records[0].time);
        for (name, value) in [
            ("user", "7"),
            ("trace_id", "0af7651916cd43dd8448eb211c80319c"),
        ] {
            assert_eq!(record.metadata.get(name), Some(value));
        }
    }

    #[test]
    fn samples_come_back() {
        let histogram = Histogram {
            integer: true,
            schema: 1,
            zero_threshold: 0.5,
            zero_count: 1.0,
            count: 7.0,
            sum: 9.5,
            positive_spans: vec![
                BucketSpan {
                    offset: 0,
                    length: 2,
                },
                BucketSpan {
                    offset: 1,
                    length: 1,
                },
            ],
            positive: vec![1.0, 2.0, 3.0],
            ..Histogram::default()
        };
        let series = |name: &str, value: Value| Series {
            labels: Labels::from_pairs([
                ("__name__", name),
                ("job", "j"),
                ("instance", "i"),
                ("a", "b"),
            ]),
            samples: vec![Sample {
                time: Timestamp::from_millis(1_700_000_000_000),
                start: None,
                value,
            }],
            ..Series::default()
        };
        let batch = MetricBatch {
            series: vec![
                series("requests_total", Value::Float(5.0)),
                series("temperature", Value::Float(0.0)),
                series("gone", Value::Float(obs_model::sample::stale())),
                series("latency", Value::Histogram(Arc::new(histogram.clone()))),
            ],
            metadata: vec![Metadata {
                family: "requests_total".into(),
                kind: MetricKind::Counter,
                ..Metadata::default()
            }],
            ..MetricBatch::default()
        };
        let mut bytes = Vec::new();
        metrics(&batch, &mut bytes);
        let options = decode_metrics::Options::default();
        let read = decode_metrics::decode_protobuf(&bytes, &Limits::default(), &options).unwrap();
        assert_eq!((read.rejected, read.message.as_str()), (0, ""));
        let find = |name: &str| {
            let found = read.batch.series.iter();
            let mut found = found.filter(|s| s.labels.metric_name() == Some(name));
            found.next().unwrap_or_else(|| panic!("{name}")).clone()
        };
        for original in &batch.series {
            let name = original.labels.metric_name().unwrap();
            let back = find(name);
            assert_eq!(back.labels, original.labels);
            assert_eq!(back.samples[0].time, original.samples[0].time);
            match (&back.samples[0].value, &original.samples[0].value) {
                (Value::Float(a), Value::Float(b)) => assert_eq!(a.to_bits(), b.to_bits()),
                (Value::Histogram(a), Value::Histogram(_)) => {
                    assert_eq!((a.count, a.sum, a.zero_count), (7.0, 9.5, 1.0));
                    let sum: f64 = a.positive.iter().sum();
                    assert_eq!((a.schema, sum), (1, 6.0));
                }
                pair => panic!("{pair:?}"),
            }
        }
    }
}
