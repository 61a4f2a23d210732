//! A journal record of metrics: one batch, self-contained.
//!
//! version (u8), then one zstd run. In it: series with front-coded packed labels, then columns over
//! all samples of all series, one behind the other: counts, times, floats, starts, histograms; then
//! exemplars and metadata. Bytes: `docs/formats/metric-record.md`.
//! Invariant: labels stay packed from here to the head, so that a known series is found by one hash
//! of bytes; nothing is allocated per sample.

use std::sync::Arc;

use obs_model::metrics::{Exemplar, Metadata, MetricBatch, MetricKind, Sample};
use obs_model::time::NANOS_PER_MILLI;
use obs_model::{Labels, Series, Timestamp, Value};
use obs_storage::Corrupt;
use obs_storage::codec::{Reader, bytes, floats, ints, put_bytes, varint};

use crate::column::{Column, NO_START};
use crate::histograms;

const VERSION: u8 = 1;
/// The same with the time of receipt at the end, for batches of nothing but metadata: metadata has
/// no time of its own, and what becomes a part needs a place in time.
const VERSION_RECEIVED: u8 = 2;
/// Bytes of one record once decompressed; several times the largest accepted request.
const RECORD_BYTES_MAX: usize = 1 << 30;
/// Bytes of all labels of one record; front coding makes them dense, so they have their own bound.
pub(crate) const LABELS_BYTES_MAX: usize = 1 << 28;
/// Samples of one record, a hundred times what senders put in one request. Constant columns need no
/// bytes per sample, so this is what bounds their memory when a record is read: 64 MiB each.
pub const RECORD_SAMPLES_MAX: usize = 1 << 23;
/// Largest magnitude of a stored time: what a timestamp in nanoseconds can say.
const MILLIS_MAX: i64 = i64::MAX / NANOS_PER_MILLI + 1;

/// A decoded record. Series are runs of the columns.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Packed labels of all series, one behind the other; not checked yet.
    pub(crate) labels: Vec<u8>,
    /// End of each series' labels and of its samples.
    pub(crate) ends: Vec<(usize, usize)>,
    /// Samples, in order of arrival within a series.
    pub(crate) column: Column,
    /// Series (by index) and exemplar.
    pub(crate) exemplars: Vec<(usize, Exemplar)>,
    /// Metadata of families.
    pub(crate) metadata: Vec<Metadata>,
    /// When it was received, in milliseconds; only where there is nothing but metadata.
    pub(crate) received: Option<i64>,
}

/// Appends the journal record of a batch that was received at a time, as [`encode()`] does. A batch
/// of nothing but metadata is kept as long as a sample of that time would be.
pub fn encode_received(batch: &MetricBatch, received: Timestamp, out: &mut Vec<u8>) {
    let is_row = |s: &Series| !s.samples.is_empty() || !s.exemplars.is_empty();
    if batch.series.iter().any(is_row) {
        return encode(batch, out);
    }
    let mut body = encode_body(batch);
    varint::put_signed(received.millis(), &mut body);
    out.push(VERSION_RECEIVED);
    bytes::encode(&body, bytes::LEVEL_FAST, out);
}

/// Appends the journal record of a batch. A batch holds at most [`RECORD_SAMPLES_MAX`] samples;
/// [`admit`](crate::admit()) sees to that.
pub fn encode(batch: &MetricBatch, out: &mut Vec<u8>) {
    out.push(VERSION);
    bytes::encode(&encode_body(batch), bytes::LEVEL_FAST, out);
}

fn encode_body(batch: &MetricBatch) -> Vec<u8> {
    let mut body = Vec::new();
    encode_labels(batch, &mut body);
    encode_samples(batch, &mut body);
    encode_exemplars(batch, &mut body);
    encode_metadata(&batch.metadata, &mut body);
    body
}

fn encode_labels(batch: &MetricBatch, out: &mut Vec<u8>) {
    varint::put(batch.series.len() as u64, out);
    let mut last: &[u8] = &[];
    for series in &batch.series {
        let packed = series.labels.packed();
        put_front_coded(last, packed, out);
        last = packed;
    }
}

fn encode_samples(batch: &MetricBatch, out: &mut Vec<u8>) {
    let counts: Vec<u64> = batch
        .series
        .iter()
        .map(|s| s.samples.len() as u64)
        .collect();
    ints::encode_u64(&counts, out);
    let mut column = Column::default();
    for sample in batch.series.iter().flat_map(|s| &s.samples) {
        let start = sample.start.map_or(NO_START, Timestamp::millis);
        column.push(sample.time.millis(), value_of(sample), start);
    }
    ints::encode_aligned(&column.times, out);
    floats::encode_aligned(&column.values, out);
    ints::encode_aligned(&column.starts, out);
    put_histograms(&column, out);
}

fn value_of(sample: &Sample) -> Result<f64, Arc<obs_model::Histogram>> {
    match &sample.value {
        Value::Float(float) => Ok(*float),
        Value::Histogram(histogram) => Err(Arc::clone(histogram)),
    }
}

fn encode_exemplars(batch: &MetricBatch, out: &mut Vec<u8>) {
    let count: usize = batch.series.iter().map(|s| s.exemplars.len()).sum();
    varint::put(count as u64, out);
    for (index, series) in batch.series.iter().enumerate() {
        for exemplar in &series.exemplars {
            varint::put(index as u64, out);
            put_exemplar(exemplar, out);
        }
    }
}

/// Appends one exemplar.
pub(crate) fn put_exemplar(exemplar: &Exemplar, out: &mut Vec<u8>) {
    varint::put_signed(exemplar.time.millis(), out);
    out.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
    put_bytes(exemplar.labels.packed(), out);
}

/// Reads one exemplar.
pub(crate) fn read_exemplar(reader: &mut Reader<'_>) -> Result<Exemplar, Corrupt> {
    let time = reader.signed()?;
    check_times(&[time], reader)?;
    let value = reader.f64()?;
    let packed = reader.bytes(reader.remaining())?;
    let labels = Labels::from_packed(packed).map_err(|e| reader.corrupt(e.to_string()))?;
    Ok(Exemplar {
        labels,
        value,
        time: Timestamp::from_millis(time),
    })
}

/// Appends the number of histograms, their indices and the histograms.
pub(crate) fn put_histograms(column: &Column, out: &mut Vec<u8>) {
    let indices: Vec<u64> = column
        .histograms
        .iter()
        .map(|(i, _)| u64::from(*i))
        .collect();
    ints::encode_u64(&indices, out);
    for (_, histogram) in &column.histograms {
        histograms::encode(histogram, out);
    }
}

/// Reads what [`put_histograms`] wrote into a column that has its times and values already.
pub(crate) fn read_histograms(
    reader: &mut Reader<'_>,
    allowance: &mut usize,
    column: &mut Column,
) -> Result<(), Corrupt> {
    // A histogram has at least 40 bytes, so a larger number is not honest.
    let count_max = column.len().min(reader.remaining());
    let indices = ints::decode_u64(reader, count_max)?;
    let ascending = indices.windows(2).all(|w| w[0] < w[1]);
    let inside = indices.last().is_none_or(|i| *i < column.len() as u64);
    if !ascending || !inside {
        return Err(reader.corrupt("ascending indices of histograms before here"));
    }
    for index in indices {
        let histogram = Arc::new(histograms::decode(reader, allowance)?);
        column.values[index as usize] = f64::NAN;
        column.histograms.push((index as u32, histogram));
    }
    Ok(())
}

/// Appends metadata of families.
pub(crate) fn encode_metadata(metadata: &[Metadata], out: &mut Vec<u8>) {
    varint::put(metadata.len() as u64, out);
    for entry in metadata {
        put_bytes(entry.family.as_bytes(), out);
        out.push(match entry.kind {
            MetricKind::Unknown => 0,
            MetricKind::Counter => 1,
            MetricKind::Gauge => 2,
            MetricKind::Histogram => 3,
            MetricKind::GaugeHistogram => 4,
            MetricKind::Summary => 5,
            MetricKind::Info => 6,
            MetricKind::StateSet => 7,
        });
        put_bytes(entry.unit.as_bytes(), out);
        put_bytes(entry.help.as_bytes(), out);
    }
}

/// Reads metadata of families.
pub(crate) fn decode_metadata(reader: &mut Reader<'_>) -> Result<Vec<Metadata>, Corrupt> {
    let count = reader.count(reader.remaining())?;
    let mut metadata = Vec::new();
    for _ in 0..count {
        let family = reader.text(reader.remaining())?.to_owned();
        let kind = match reader.u8()? {
            0 => MetricKind::Unknown,
            1 => MetricKind::Counter,
            2 => MetricKind::Gauge,
            3 => MetricKind::Histogram,
            4 => MetricKind::GaugeHistogram,
            5 => MetricKind::Summary,
            6 => MetricKind::Info,
            7 => MetricKind::StateSet,
            _ => return Err(reader.corrupt("a metric type (0 to 7) before here")),
        };
        metadata.push(Metadata {
            family,
            kind,
            unit: reader.text(reader.remaining())?.to_owned(),
            help: reader.text(reader.remaining())?.to_owned(),
        });
    }
    Ok(metadata)
}

/// Appends how many bytes are as in `last`, and the others.
pub(crate) fn put_front_coded(last: &[u8], bytes: &[u8], out: &mut Vec<u8>) {
    let shared = last.iter().zip(bytes).take_while(|(a, b)| a == b).count();
    varint::put(shared as u64, out);
    put_bytes(&bytes[shared..], out);
}

/// Reads a record.
pub(crate) fn decode(record: &[u8]) -> Result<Record, Corrupt> {
    let mut outer = Reader::new("metric record", record);
    let version = outer.u8()?;
    if version != VERSION && version != VERSION_RECEIVED {
        return Err(Corrupt::new("metric record", 0, "version 1 or 2"));
    }
    let body = bytes::decode(&mut outer, RECORD_BYTES_MAX)?;
    outer.finish()?;
    let mut reader = Reader::new("metric record", &body);
    let mut decoded = Record::default();
    let label_ends = decode_labels(&mut reader, &mut decoded.labels)?;
    decode_samples(&mut reader, &label_ends, &mut decoded)?;
    let exemplars = reader.count(reader.remaining())?;
    for _ in 0..exemplars {
        let series = reader.varint()? as usize;
        if series >= label_ends.len() {
            return Err(reader.corrupt("the index of a series before here"));
        }
        decoded
            .exemplars
            .push((series, read_exemplar(&mut reader)?));
    }
    decoded.metadata = decode_metadata(&mut reader)?;
    if version == VERSION_RECEIVED {
        let received = reader.signed()?;
        check_times(&[received], &reader)?;
        decoded.received = Some(received);
    }
    reader.finish()?;
    Ok(decoded)
}

/// Reads the labels of all series; gives where each ends.
fn decode_labels(reader: &mut Reader<'_>, labels: &mut Vec<u8>) -> Result<Vec<usize>, Corrupt> {
    let count = reader.count(reader.remaining())?;
    let mut ends = Vec::with_capacity(count.min(reader.remaining() / 2));
    let mut last = 0..0;
    for _ in 0..count {
        let shared = reader.count(last.len())?;
        let suffix = reader.bytes(reader.remaining())?;
        let start = labels.len();
        if start + shared + suffix.len() > LABELS_BYTES_MAX {
            return Err(reader.corrupt("labels within the limit of a record before here"));
        }
        labels.extend_from_within(last.start..last.start + shared);
        labels.extend_from_slice(suffix);
        last = start..labels.len();
        ends.push(labels.len());
    }
    Ok(ends)
}

fn decode_samples(
    reader: &mut Reader<'_>,
    label_ends: &[usize],
    decoded: &mut Record,
) -> Result<(), Corrupt> {
    let counts = ints::decode_u64(reader, label_ends.len())?;
    let mut total = 0u64;
    for (count, label_end) in counts.iter().zip(label_ends) {
        total = total.saturating_add(*count);
        decoded.ends.push((*label_end, total as usize));
    }
    if counts.len() != label_ends.len() || total > RECORD_SAMPLES_MAX as u64 {
        return Err(reader.corrupt("a sample count for each series before here"));
    }
    let total = total as usize;
    let column = &mut decoded.column;
    column.times = ints::decode(reader, total)?;
    check_times(&column.times, reader)?;
    column.values = floats::decode(reader, total)?;
    column.starts = ints::decode(reader, total)?;
    let starts = column.starts.len();
    if column.len() != total || column.values.len() != total || (starts > 0 && starts != total) {
        return Err(reader.corrupt(format!("columns of {total} samples before here")));
    }
    let mut allowance = histograms::BUCKETS_TOTAL_MAX;
    read_histograms(reader, &mut allowance, column)
}

/// Times must be sayable in nanoseconds, or two of them would become one.
pub(crate) fn check_times(times: &[i64], reader: &Reader<'_>) -> Result<(), Corrupt> {
    if times.iter().all(|t| (-MILLIS_MAX..=MILLIS_MAX).contains(t)) {
        Ok(())
    } else {
        Err(reader.corrupt("times in the years 1677 to 2262 before here"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_model::histogram::BucketSpan;
    use proptest::prelude::*;

    fn batch(values: &[u64]) -> MetricBatch {
        let histogram = obs_model::Histogram {
            integer: true,
            schema: 3,
            sum: 5.5,
            positive_spans: vec![BucketSpan {
                offset: -3,
                length: 2,
            }],
            positive: vec![1.0, 4.0],
            ..Default::default()
        };
        let sample = |millis: i64, value| Sample {
            time: Timestamp::from_millis(millis),
            start: (millis % 3 == 0).then(|| Timestamp::from_millis(7)),
            value,
        };
        let mut samples: Vec<Sample> = values
            .iter()
            .enumerate()
            .map(|(i, bits)| {
                sample(
                    1_795_255_200_000 - i as i64,
                    Value::Float(f64::from_bits(*bits)),
                )
            })
            .collect();
        samples.push(sample(3, Value::Histogram(Arc::new(histogram))));
        let exemplar = Exemplar {
            labels: Labels::from_pairs([("trace_id", "abc")]),
            value: 0.5,
            time: Timestamp::from_millis(5),
        };
        let series = |name: &str, samples| Series {
            labels: Labels::from_pairs([("__name__", name), ("job", "a")]),
            samples,
            exemplars: vec![exemplar.clone()],
        };
        let metadata = Metadata {
            family: "up".into(),
            kind: MetricKind::Gauge,
            unit: String::new(),
            help: "is it up".into(),
        };
        MetricBatch {
            series: vec![series("up", samples), series("upper", Vec::new())],
            metadata: vec![metadata],
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_went_in_comes_out(values in prop::collection::vec(any::<u64>(), 0..50)) {
            let batch = batch(&values);
            let mut bytes = Vec::new();
            encode(&batch, &mut bytes);
            let record = decode(&bytes).unwrap();
            prop_assert_eq!(record.ends.len(), 2);
            prop_assert_eq!(&record.labels[..record.ends[0].0], batch.series[0].labels.packed());
            prop_assert_eq!(&record.labels[record.ends[0].0..], batch.series[1].labels.packed());
            prop_assert_eq!(record.ends[1].1, values.len() + 1);
            let bits: Vec<u64> = record.column.values.iter().map(|v| v.to_bits()).collect();
            prop_assert_eq!(&bits[..values.len()], &values[..]);
            let (index, histogram) = &record.column.histograms[0];
            prop_assert_eq!(*index as usize, values.len());
            let Value::Histogram(expect) = &batch.series[0].samples[values.len()].value else {
                panic!("the last sample is a histogram");
            };
            prop_assert!(histogram.bit_eq(expect));
            prop_assert_eq!(&record.exemplars[1].1, &batch.series[1].exemplars[0]);
            prop_assert_eq!(&record.metadata, &batch.metadata);
        }

        #[test]
        fn arbitrary_bodies_do_not_panic(
            flips in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4),
            noise in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut good = Vec::new();
            encode(&batch(&[1, 2, 3]), &mut good);
            let mut body = bytes::decode(&mut Reader::new("", &good[1..]), 1 << 20).unwrap();
            for (at, bits) in flips {
                let index = at % body.len();
                body[index] ^= bits;
            }
            for body in [body, noise] {
                for version in [VERSION, VERSION_RECEIVED] {
                    let mut record = vec![version];
                    bytes::encode_raw(&body, &mut record);
                    if let Ok(record) = decode(&record) {
                        prop_assert_eq!(record.column.times.len(), record.column.values.len());
                    }
                }
            }
        }
    }
}
