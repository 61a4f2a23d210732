//! Remote write 1.0: `prometheus.WriteRequest` after snappy, read and written by hand.
//!
//! Invariants: series come out with sorted, unique labels and a name; those that cannot are rejected
//! alone, as by Prometheus, because a sender drops a refused request as a whole. Labels over their
//! limits are read all the same: the store refuses their series. Bucket counts are absolute;
//! nothing is allocated but what the bytes themselves hold (a bucket is at least one byte).
//! Format: <https://prometheus.io/docs/specs/prw/remote_write_spec/>

mod plain;
pub mod v2;

use std::sync::Arc;

use obs_model::histogram::{BUCKETS_MAX, BucketSpan, Histogram, ResetHint};
use obs_model::limits::Limits;
use obs_model::metrics::{Exemplar, Metadata, MetricBatch, MetricKind, Sample, Series};
use obs_model::numbers::{KeySeed, Numbers, SeriesKey};
use obs_model::{Labels, Timestamp, Value};

use crate::cursor;
use crate::error::WireError;
use crate::number;
use crate::protobuf::{Fields, Message, Wire, put, read_varint, zigzag};
use crate::rejects::{Decoded, Rejects};

const FORMAT: &str = "remote write request";

/// The types of `MetricMetadata.MetricType`, by their numbers.
const KINDS: [MetricKind; 8] = [
    MetricKind::Unknown,
    MetricKind::Counter,
    MetricKind::Gauge,
    MetricKind::Histogram,
    MetricKind::GaugeHistogram,
    MetricKind::Summary,
    MetricKind::Info,
    MetricKind::StateSet,
];

/// Labels of one series that are read so that a smaller limit can be told; the pairs take more
/// memory than their text.
const PAIRS_READ_MAX: usize = 1024;

/// The reset hints, by their numbers.
const HINTS: [ResetHint; 4] = [
    ResetHint::Unknown,
    ResetHint::Reset,
    ResetHint::NotReset,
    ResetHint::Gauge,
];

/// Reads a request that was already decompressed. Float samples of series whose numbers are known
/// come as such, without labels.
pub fn decode_v1(
    body: &[u8],
    limits: &Limits,
    numbers: Option<&Numbers>,
) -> Result<Decoded<MetricBatch>, WireError> {
    let max = limits.decompressed_bytes_max;
    if body.len() > max {
        return Err(WireError::too_large(FORMAT, crate::capped::LIMIT, max));
    }
    let limits = Limits {
        labels_max: limits.labels_max.max(PAIRS_READ_MAX),
        label_name_bytes_max: usize::MAX,
        label_value_bytes_max: usize::MAX,
        ..*limits
    };
    let (mut batch, mut rejects) = (MetricBatch::default(), Rejects::default());
    let (mut index, mut pairs) = (0, Vec::new());
    let mut lookup = numbers.map(Numbers::lookup);
    batch.known.epoch = numbers.map_or(0, Numbers::epoch);
    let mut fields = Message::new(FORMAT, body).fields();
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (1, Wire::Bytes(message)) => {
                let split = plain::split(message.bytes);
                if let (Some((labels, samples)), Some(lookup)) = (split, &mut lookup)
                    && let Some(number) = lookup.get(SeriesKey::of(labels, KeySeed::RemoteWrite))
                    && plain::samples(samples, number, &mut batch.known)
                {
                    index += 1;
                    continue;
                }
                let (mut series, fault) = series(message, index, &limits, &mut pairs)?;
                match fault {
                    None => {
                        series.key =
                            split.map(|(labels, _)| SeriesKey::of(labels, KeySeed::RemoteWrite));
                        batch.series.push(series);
                    }
                    Some(fault) => rejects.add(series.samples.len(), fault.to_string()),
                }
                index += 1;
            }
            (3, Wire::Bytes(message)) => batch.metadata.push(metadata(message)?),
            (1 | 3, _) => return Err(fields.mistyped(number, "a message")),
            _ => {}
        }
    }
    Ok(rejects.into_decoded(batch))
}

type Pairs<'a> = Vec<(&'a str, &'a str)>;

/// A series, and what is wrong with its labels.
fn series<'a>(
    message: Message<'a>,
    index: usize,
    limits: &Limits,
    pairs: &mut Pairs<'a>,
) -> Result<(Series, Option<WireError>), WireError> {
    pairs.clear();
    let mut series = Series::default();
    let mut fields = message.fields();
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (1, Wire::Bytes(label)) => push_label(label, limits, pairs)?,
            (2, Wire::Bytes(sample)) => series.samples.push(float_sample(sample)?),
            (3, Wire::Bytes(exemplar_message)) => {
                series.exemplars.push(exemplar(exemplar_message, limits)?);
            }
            (4, Wire::Bytes(histogram)) => series.samples.push(histogram_sample(histogram, index)?),
            (1..=4, _) => return Err(fields.mistyped(number, "a message")),
            _ => {}
        }
    }
    let path = || format!("timeseries[{index}].labels");
    let fault = match labels(pairs, limits, path) {
        Ok(labels) => {
            series.labels = labels;
            let unnamed = series.labels.metric_name().is_none();
            unnamed.then(|| WireError::at_path(FORMAT, path(), "the label __name__ with a value"))
        }
        Err(fault @ WireError::Malformed { .. }) => Some(fault),
        Err(limit) => return Err(limit),
    };
    Ok((series, fault))
}

pub(super) fn push_label<'a>(
    message: Message<'a>,
    limits: &Limits,
    pairs: &mut Pairs<'a>,
) -> Result<(), WireError> {
    let (mut name, mut value) = ("", "");
    let mut fields = message.fields();
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (1, Wire::Bytes(text)) => name = text.text()?,
            (2, Wire::Bytes(text)) => value = text.text()?,
            (1 | 2, _) => return Err(fields.mistyped(number, "a string")),
            _ => {}
        }
    }
    if pairs.len() > limits.labels_max {
        return Err(WireError::too_large(
            FORMAT,
            "labels_max",
            limits.labels_max,
        ));
    }
    pairs.push((name, value));
    Ok(())
}

/// Senders must sort; those that do not are sorted here, as Prometheus does.
fn labels(
    pairs: &mut Pairs<'_>,
    limits: &Limits,
    path: impl FnOnce() -> String,
) -> Result<Labels, WireError> {
    if pairs.iter().any(|(name, _)| name.is_empty()) {
        return Err(WireError::at_path(FORMAT, path(), "a name for every label"));
    }
    cursor::labels(pairs, limits).map_err(|fault| {
        fault.into_error(FORMAT, |expected| {
            WireError::at_path(FORMAT, path(), expected)
        })
    })
}

fn time(message: Message<'_>, millis: u64) -> Result<Timestamp, WireError> {
    number::time_from_millis(millis as i64).ok_or_else(|| {
        message.fault(format!(
            "a timestamp in milliseconds of the years 1677 to 2262, found {}",
            millis as i64
        ))
    })
}

fn float_sample(message: Message<'_>) -> Result<Sample, WireError> {
    let (mut bits, mut millis) = (0, 0);
    let mut fields = message.fields();
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (1, Wire::Fixed64(value)) => bits = value,
            (2, Wire::Varint(value)) => millis = value,
            (1, _) => return Err(fields.mistyped(number, "a double")),
            (2, _) => return Err(fields.mistyped(number, "an integer")),
            _ => {}
        }
    }
    Ok(Sample {
        time: time(message, millis)?,
        start: None,
        value: Value::Float(f64::from_bits(bits)),
    })
}

fn exemplar(message: Message<'_>, limits: &Limits) -> Result<Exemplar, WireError> {
    let mut pairs = Vec::new();
    let (mut bits, mut millis) = (0, 0);
    let mut fields = message.fields();
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (1, Wire::Bytes(label)) => push_label(label, limits, &mut pairs)?,
            (2, Wire::Fixed64(value)) => bits = value,
            (3, Wire::Varint(value)) => millis = value,
            (1, _) => return Err(fields.mistyped(number, "a message")),
            (2, _) => return Err(fields.mistyped(number, "a double")),
            (3, _) => return Err(fields.mistyped(number, "an integer")),
            _ => {}
        }
    }
    Ok(Exemplar {
        labels: labels(&mut pairs, limits, || {
            format!("exemplar at byte {}", message.begin)
        })?,
        value: f64::from_bits(bits),
        time: time(message, millis)?,
    })
}

/// A histogram as sent: bucket counts as deltas (integers) or absolute (floats).
#[derive(Default)]
struct Sent {
    histogram: Histogram,
    millis: u64,
    positive_deltas: Vec<i64>,
    negative_deltas: Vec<i64>,
}

fn histogram_sample(message: Message<'_>, index: usize) -> Result<Sample, WireError> {
    let mut sent = Sent::default();
    // Proto3 leaves zeroes out; a float histogram says so by its count.
    sent.histogram.integer = true;
    let mut fields = message.fields();
    while let Some((number, wire)) = fields.next()? {
        histogram_field(&mut sent, number, wire, &fields)?;
    }
    let mut histogram = sent.histogram;
    let fault = |expected: String| {
        let path = format!("timeseries[{index}].histograms");
        WireError::at_path(FORMAT, path, expected)
    };
    if histogram.integer {
        histogram.positive = absolute(&sent.positive_deltas);
        histogram.negative = absolute(&sent.negative_deltas);
    }
    histogram
        .validate()
        .map_err(|error| fault(format!("a well-formed histogram ({error})")))?;
    Ok(Sample {
        time: time(message, sent.millis)?,
        start: None,
        value: Value::Histogram(Arc::new(histogram)),
    })
}

fn histogram_field(
    sent: &mut Sent,
    number: u32,
    wire: Wire<'_>,
    fields: &Fields<'_>,
) -> Result<(), WireError> {
    let h = &mut sent.histogram;
    match (number, wire) {
        (1, Wire::Varint(count)) => (h.count, h.integer) = (count as f64, true),
        (2, Wire::Fixed64(bits)) => (h.count, h.integer) = (f64::from_bits(bits), false),
        (3, Wire::Fixed64(bits)) => h.sum = f64::from_bits(bits),
        (4, Wire::Varint(value)) => h.schema = zigzag(value) as i32,
        (5, Wire::Fixed64(bits)) => h.zero_threshold = f64::from_bits(bits),
        (6, Wire::Varint(count)) => h.zero_count = count as f64,
        (7, Wire::Fixed64(bits)) => h.zero_count = f64::from_bits(bits),
        (8, Wire::Bytes(message)) => push_span(message, &mut h.negative_spans)?,
        (11, Wire::Bytes(message)) => push_span(message, &mut h.positive_spans)?,
        (9, _) => push_deltas(wire, fields, &mut sent.negative_deltas)?,
        (12, _) => push_deltas(wire, fields, &mut sent.positive_deltas)?,
        (10, _) => push_doubles(wire, fields, &mut h.negative)?,
        (13, _) => push_doubles(wire, fields, &mut h.positive)?,
        (14, Wire::Varint(hint)) => {
            let hint = usize::try_from(hint).ok().and_then(|at| HINTS.get(at));
            h.reset_hint = hint.copied().unwrap_or_default();
        }
        (15, Wire::Varint(value)) => sent.millis = value,
        (16, _) => push_doubles(wire, fields, &mut h.custom_bounds)?,
        (1..=15, _) => return Err(fields.mistyped(number, "the type of the schema")),
        _ => {}
    }
    Ok(())
}

pub(super) fn push_span(message: Message<'_>, out: &mut Vec<BucketSpan>) -> Result<(), WireError> {
    let mut span = BucketSpan {
        offset: 0,
        length: 0,
    };
    let mut fields = message.fields();
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (1, Wire::Varint(value)) => span.offset = zigzag(value) as i32,
            (2, Wire::Varint(value)) => span.length = value as u32,
            (1 | 2, _) => return Err(fields.mistyped(number, "an integer")),
            _ => {}
        }
    }
    bounded(out.len(), message)?;
    out.push(span);
    Ok(())
}

/// Packed or not, as every reader of protobuf must accept.
pub(super) fn push_deltas(
    wire: Wire<'_>,
    fields: &Fields<'_>,
    out: &mut Vec<i64>,
) -> Result<(), WireError> {
    match wire {
        Wire::Varint(value) if out.len() < BUCKETS_MAX => out.push(zigzag(value)),
        Wire::Bytes(message) => {
            let mut at = 0;
            while at < message.bytes.len() {
                let Some((value, length)) = read_varint(&message.bytes[at..]) else {
                    return Err(message.fault("packed varints"));
                };
                bounded(out.len(), message)?;
                out.push(zigzag(value));
                at += length;
            }
        }
        _ => return Err(fields.mistyped(9, "at most 10000 deltas of buckets")),
    }
    Ok(())
}

pub(super) fn push_doubles(
    wire: Wire<'_>,
    fields: &Fields<'_>,
    out: &mut Vec<f64>,
) -> Result<(), WireError> {
    match wire {
        Wire::Fixed64(bits) if out.len() < BUCKETS_MAX => out.push(f64::from_bits(bits)),
        Wire::Bytes(message) => {
            let (chunks, rest) = message.bytes.as_chunks::<8>();
            if !rest.is_empty() {
                return Err(message.fault("packed doubles of 8 bytes each"));
            }
            bounded(
                out.len().saturating_add(chunks.len()).saturating_sub(1),
                message,
            )?;
            out.extend(chunks.iter().map(|chunk| f64::from_le_bytes(*chunk)));
        }
        _ => return Err(fields.mistyped(10, "at most 10000 counts of buckets")),
    }
    Ok(())
}

fn bounded(held: usize, message: Message<'_>) -> Result<(), WireError> {
    if held < BUCKETS_MAX {
        return Ok(());
    }
    Err(message.fault(format!("at most {BUCKETS_MAX} buckets in one histogram")))
}

/// Deltas to counts. Sums that leave 64 bits become negative and are refused by `validate`.
pub(super) fn absolute(deltas: &[i64]) -> Vec<f64> {
    let mut sum = 0i64;
    let add = |delta: &i64| {
        sum = sum.checked_add(*delta).unwrap_or(i64::MIN);
        sum as f64
    };
    deltas.iter().map(add).collect()
}

fn metadata(message: Message<'_>) -> Result<Metadata, WireError> {
    let mut metadata = Metadata::default();
    let mut fields = message.fields();
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (1, Wire::Varint(kind)) => {
                let kind = usize::try_from(kind).ok().and_then(|at| KINDS.get(at));
                metadata.kind = kind.copied().unwrap_or_default();
            }
            (2, Wire::Bytes(text)) => text.text()?.clone_into(&mut metadata.family),
            (4, Wire::Bytes(text)) => text.text()?.clone_into(&mut metadata.help),
            (5, Wire::Bytes(text)) => text.text()?.clone_into(&mut metadata.unit),
            (1, _) => return Err(fields.mistyped(number, "an integer")),
            (2 | 4 | 5, _) => return Err(fields.mistyped(number, "a string")),
            _ => {}
        }
    }
    Ok(metadata)
}

/// Writes a request; the sender compresses it with [`crate::snappy::encode`]. Start times of
/// samples have no place in version 1.
pub fn encode_v1(batch: &MetricBatch, out: &mut Vec<u8>) {
    for series in &batch.series {
        put::message(out, 1, |out| {
            put_labels(out, &series.labels);
            for sample in &series.samples {
                put_sample(out, sample.time, &sample.value);
            }
            for exemplar in &series.exemplars {
                put::message(out, 3, |out| {
                    put_labels(out, &exemplar.labels);
                    put::double(out, 2, exemplar.value);
                    put::uint(out, 3, exemplar.time.millis() as u64);
                });
            }
        });
    }
    for metadata in &batch.metadata {
        put::message(out, 3, |out| {
            let kind = KINDS.iter().position(|kind| *kind == metadata.kind);
            put::uint(out, 1, kind.unwrap_or(0) as u64);
            put::bytes(out, 2, metadata.family.as_bytes());
            put::bytes(out, 4, metadata.help.as_bytes());
            put::bytes(out, 5, metadata.unit.as_bytes());
        });
    }
}

pub(super) fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    for (name, value) in labels {
        put::message(out, 1, |out| {
            put::bytes(out, 1, name.as_bytes());
            put::bytes(out, 2, value.as_bytes());
        });
    }
}

pub(super) fn put_sample(out: &mut Vec<u8>, time: Timestamp, value: &Value) {
    let millis = time.millis() as u64;
    match value {
        Value::Float(value) => put::message(out, 2, |out| {
            put::double(out, 1, *value);
            put::uint(out, 2, millis);
        }),
        Value::Histogram(histogram) => put::message(out, 4, |out| {
            put_histogram(out, histogram);
            put::uint(out, 15, millis);
        }),
    }
}

fn put_histogram(out: &mut Vec<u8>, h: &Histogram) {
    if h.integer {
        put::uint(out, 1, h.count as u64);
        put::uint(out, 6, h.zero_count as u64);
    } else {
        // Members of a oneof are written even when they are zero: they say which kind it is.
        put::varint(out, 2 << 3 | 1);
        out.extend_from_slice(&h.count.to_le_bytes());
        put::varint(out, 7 << 3 | 1);
        out.extend_from_slice(&h.zero_count.to_le_bytes());
    }
    put::double(out, 3, h.sum);
    put::sint(out, 4, i64::from(h.schema));
    put::double(out, 5, h.zero_threshold);
    put_buckets(out, 8, &h.negative_spans, &h.negative, h.integer);
    put_buckets(out, 11, &h.positive_spans, &h.positive, h.integer);
    let hint = HINTS.iter().position(|hint| *hint == h.reset_hint);
    put::uint(out, 14, hint.unwrap_or(0) as u64);
    put_doubles(out, 16, &h.custom_bounds);
}

/// Spans at `number`, deltas at the next, absolute counts at the one after.
fn put_buckets(
    out: &mut Vec<u8>,
    number: u32,
    spans: &[BucketSpan],
    counts: &[f64],
    integer: bool,
) {
    for span in spans {
        put::message(out, number, |out| {
            put::sint(out, 1, i64::from(span.offset));
            put::uint(out, 2, u64::from(span.length));
        });
    }
    if !integer {
        put_doubles(out, number + 2, counts);
    } else if !counts.is_empty() {
        put::message(out, number + 1, |out| {
            let mut last = 0;
            for count in counts {
                put::varint(out, put::zigzag(*count as i64 - last));
                last = *count as i64;
            }
        });
    }
}

fn put_doubles(out: &mut Vec<u8>, number: u32, values: &[f64]) {
    if !values.is_empty() {
        put::message(out, number, |out| {
            for value in values {
                out.extend_from_slice(&value.to_le_bytes());
            }
        });
    }
}

#[cfg(test)]
mod tests;
