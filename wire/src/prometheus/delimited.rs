//! The protobuf exposition format: `io.prometheus.client.MetricFamily` messages, each behind its
//! length, read by hand.
//!
//! Invariants: a histogram comes out as a native one, as classic series, or as both, as was asked
//! for; what comes out holds at most `decompressed_bytes_max` bytes of labels, however often the
//! buckets of a histogram repeat those of the metric; no declared length is trusted.
//! Format: <https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto>

use obs_model::histogram::{BUCKETS_MAX, Histogram, ResetHint};
use obs_model::limits::Limits;
use obs_model::metrics::{Metadata, MetricKind};
use obs_model::{Labels, Timestamp, labels::METRIC_NAME, time::NANOS_PER_SECOND};

use super::exposition::{
    Exposition, ScrapedExemplar, ScrapedHistogram, ScrapedSample, label_number,
};
use super::remote_write::{absolute, push_deltas, push_doubles, push_span};
use crate::cursor;
use crate::error::WireError;
use crate::number;
use crate::protobuf::{Fields, Message, Wire, read_varint, zigzag};

const FORMAT: &str = "prometheus protobuf";

/// What histograms come out as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histograms {
    /// Native ones where the metric has them; without this they are left out.
    pub native: bool,
    /// Classic series even where a native histogram comes out.
    pub classic: bool,
}

/// Reads an exposition.
pub fn decode(
    bytes: &[u8],
    limits: &Limits,
    histograms: Histograms,
) -> Result<Exposition, WireError> {
    let most = limits.decompressed_bytes_max;
    if bytes.len() > most {
        return Err(WireError::too_large(FORMAT, "decompressed_bytes_max", most));
    }
    let mut reader = Reader {
        limits,
        histograms,
        room: most,
        exposition: Exposition::default(),
    };
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let family = read_varint(rest).and_then(|(length, size)| {
            let end = size.checked_add(usize::try_from(length).ok()?)?;
            Some((rest.get(size..end)?, size, end))
        });
        let Some((family, size, end)) = family else {
            let expected = "a length of at most what follows it";
            return Err(WireError::at_byte(FORMAT, at, expected));
        };
        reader.family(Message {
            format: FORMAT,
            bytes: family,
            begin: at + size,
        })?;
        at += end;
    }
    Ok(reader.exposition)
}

/// The native histogram of a message `io.prometheus.client.Histogram`; `None` where it has none.
pub(super) fn native_histogram(
    message: Message<'_>,
    kind: MetricKind,
    limits: &Limits,
) -> Result<Option<Histogram>, WireError> {
    let reader = Reader {
        limits,
        histograms: Histograms::default(),
        room: limits.decompressed_bytes_max,
        exposition: Exposition::default(),
    };
    reader.native_value(message, kind)
}

/// What the metrics of a family share.
#[derive(Clone, Copy, Debug)]
struct Family<'a> {
    name: &'a str,
    kind: MetricKind,
}

/// One metric but its value.
#[derive(Debug, Default)]
struct Metric<'a> {
    pairs: Vec<(&'a str, &'a str)>,
    time: Option<Timestamp>,
}

/// A value with what may come with it.
#[derive(Debug, Default)]
struct Single {
    value: f64,
    start: Option<Timestamp>,
    exemplar: Option<Box<ScrapedExemplar>>,
}

struct Reader<'l> {
    limits: &'l Limits,
    histograms: Histograms,
    /// Bytes of labels that may still come out.
    room: usize,
    exposition: Exposition,
}

impl Reader<'_> {
    fn family(&mut self, message: Message<'_>) -> Result<(), WireError> {
        let mut metadata = Metadata::default();
        let mut kind = 0;
        let mut fields = message.fields();
        while let Some((number, wire)) = fields.next()? {
            match (number, wire) {
                (1, Wire::Bytes(text)) => text.text()?.clone_into(&mut metadata.family),
                (2, Wire::Bytes(text)) => text.text()?.clone_into(&mut metadata.help),
                (3, Wire::Varint(value)) => kind = value,
                (5, Wire::Bytes(text)) => text.text()?.clone_into(&mut metadata.unit),
                (1 | 2 | 5, _) => return Err(fields.mistyped(number, "a string")),
                (3, _) => return Err(fields.mistyped(number, "an integer")),
                _ => {}
            }
        }
        if metadata.family.is_empty() {
            return Err(message.fault("a family with a name"));
        }
        metadata.kind = match kind {
            0 => MetricKind::Counter,
            1 => MetricKind::Gauge,
            2 => MetricKind::Summary,
            4 => MetricKind::Histogram,
            5 => MetricKind::GaugeHistogram,
            _ => MetricKind::Unknown,
        };
        let family = Family {
            name: &metadata.family,
            kind: metadata.kind,
        };
        let mut fields = message.fields();
        while let Some((number, wire)) = fields.next()? {
            match (number, wire) {
                (4, Wire::Bytes(metric)) => self.metric(family, metric)?,
                (4, _) => return Err(fields.mistyped(number, "a message")),
                _ => {}
            }
        }
        self.exposition.metadata.push(metadata);
        Ok(())
    }

    fn metric(&mut self, family: Family<'_>, message: Message<'_>) -> Result<(), WireError> {
        let mut metric = Metric::default();
        let mut body = None;
        let mut fields = message.fields();
        while let Some((number, wire)) = fields.next()? {
            match (number, wire) {
                (1, Wire::Bytes(pair)) => self.pair(pair, &mut metric.pairs)?,
                (2..=5 | 7, Wire::Bytes(value)) => body = Some((number, value)),
                (6, Wire::Varint(millis)) => {
                    let millis = millis.cast_signed();
                    let time = number::time_from_millis(millis);
                    let time = time.ok_or_else(|| message.fault("a timestamp in milliseconds"))?;
                    metric.time = Some(time).filter(|_| millis != 0);
                }
                (1..=5 | 7, _) => return Err(fields.mistyped(number, "a message")),
                (6, _) => return Err(fields.mistyped(number, "an integer")),
                _ => {}
            }
        }
        match (family.kind, body) {
            (MetricKind::Summary, Some((4, body))) => self.summary(family, &metric, body),
            (MetricKind::Histogram | MetricKind::GaugeHistogram, Some((7, body))) => {
                self.histogram(family, &metric, body)
            }
            (MetricKind::Counter, Some((3, body)))
            | (MetricKind::Gauge, Some((2, body)))
            | (MetricKind::Unknown, Some((5, body))) => {
                let single = self.single(body)?;
                self.sample(family.name, &metric, None, single, message)
            }
            _ => Err(message.fault(format!("the value of a {}", family.kind.as_str()))),
        }
    }

    fn pair<'a>(
        &self,
        message: Message<'a>,
        pairs: &mut Vec<(&'a str, &'a str)>,
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
        if name.is_empty() {
            return Err(message.fault("a name for every label"));
        }
        if pairs.len() > self.limits.labels_max {
            let max = self.limits.labels_max;
            return Err(WireError::too_large(FORMAT, "labels_max", max));
        }
        pairs.push((name, value));
        Ok(())
    }

    /// Counters, gauges and untyped values have the same fields.
    fn single(&self, message: Message<'_>) -> Result<Single, WireError> {
        let mut single = Single::default();
        let mut fields = message.fields();
        while let Some((number, wire)) = fields.next()? {
            match (number, wire) {
                (1, Wire::Fixed64(bits)) => single.value = f64::from_bits(bits),
                (2, Wire::Bytes(message)) => {
                    single.exemplar = Some(Box::new(self.exemplar(message)?));
                }
                (3, Wire::Bytes(message)) => single.start = timestamp(message)?,
                (1, _) => return Err(fields.mistyped(number, "a double")),
                (2 | 3, _) => return Err(fields.mistyped(number, "a message")),
                _ => {}
            }
        }
        Ok(single)
    }

    fn exemplar(&self, message: Message<'_>) -> Result<ScrapedExemplar, WireError> {
        let mut pairs = Vec::new();
        let (mut value, mut time) = (0.0, None);
        let mut fields = message.fields();
        while let Some((number, wire)) = fields.next()? {
            match (number, wire) {
                (1, Wire::Bytes(pair)) => self.pair(pair, &mut pairs)?,
                (2, Wire::Fixed64(bits)) => value = f64::from_bits(bits),
                (3, Wire::Bytes(message)) => time = timestamp(message)?,
                (1 | 3, _) => return Err(fields.mistyped(number, "a message")),
                (2, _) => return Err(fields.mistyped(number, "a double")),
                _ => {}
            }
        }
        Ok(ScrapedExemplar {
            labels: self.labels(&mut pairs, message)?,
            value,
            time,
        })
    }

    fn labels(
        &self,
        pairs: &mut [(&str, &str)],
        message: Message<'_>,
    ) -> Result<Labels, WireError> {
        let labels = cursor::labels(pairs, self.limits);
        labels.map_err(|fault| fault.into_error(FORMAT, |expected| message.fault(expected)))
    }

    /// The labels of a series of a metric; takes them out of what there is room for.
    fn series(
        &mut self,
        name: &str,
        metric: &Metric<'_>,
        extra: Option<(&str, &str)>,
        message: Message<'_>,
    ) -> Result<(Labels, Vec<String>), WireError> {
        let mut pairs = metric.pairs.clone();
        pairs.push((METRIC_NAME, name));
        pairs.extend(extra);
        let bytes: usize = pairs.iter().map(|(n, v)| n.len() + v.len() + 2).sum();
        let left = self.room.checked_sub(bytes);
        let most = self.limits.decompressed_bytes_max;
        self.room =
            left.ok_or_else(|| WireError::too_large(FORMAT, "decompressed_bytes_max", most))?;
        let unset = metric.pairs.iter().filter(|(_, value)| value.is_empty());
        let unset = unset.map(|(name, _)| (*name).to_owned()).collect();
        Ok((self.labels(&mut pairs, message)?, unset))
    }

    fn sample(
        &mut self,
        name: &str,
        metric: &Metric<'_>,
        extra: Option<(&str, &str)>,
        single: Single,
        message: Message<'_>,
    ) -> Result<(), WireError> {
        let (labels, unset) = self.series(name, metric, extra, message)?;
        self.exposition.samples.push(ScrapedSample {
            labels,
            unset,
            time: metric.time,
            start: single.start,
            value: single.value,
            exemplar: single.exemplar,
        });
        Ok(())
    }

    fn summary(
        &mut self,
        family: Family<'_>,
        metric: &Metric<'_>,
        message: Message<'_>,
    ) -> Result<(), WireError> {
        let (mut count, mut sum, mut start) = (0.0, 0.0, None);
        let mut quantiles = Vec::new();
        let mut fields = message.fields();
        while let Some((number, wire)) = fields.next()? {
            match (number, wire) {
                (1, Wire::Varint(value)) => count = value as f64,
                (2, Wire::Fixed64(bits)) => sum = f64::from_bits(bits),
                (3, Wire::Bytes(message)) if quantiles.len() < BUCKETS_MAX => {
                    quantiles.push(quantile(message)?);
                }
                (4, Wire::Bytes(message)) => start = timestamp(message)?,
                (1..=4, _) => {
                    return Err(fields.mistyped(number, "the type of the schema"));
                }
                _ => {}
            }
        }
        let single = |value| Single {
            value,
            start,
            exemplar: None,
        };
        let Family { name, .. } = family;
        let mut part = |suffix: &str, value: f64| {
            let name = format!("{name}{suffix}");
            self.sample(&name, metric, None, single(value), message)
        };
        part("_count", count)?;
        part("_sum", sum)?;
        for (at, value) in quantiles {
            let at = label_number(at);
            let extra = Some(("quantile", at.as_str()));
            self.sample(name, metric, extra, single(value), message)?;
        }
        Ok(())
    }

    fn histogram(
        &mut self,
        family: Family<'_>,
        metric: &Metric<'_>,
        message: Message<'_>,
    ) -> Result<(), WireError> {
        let mut sent = Sent::default();
        sent.histogram.integer = true;
        let mut fields = message.fields();
        while let Some((number, wire)) = fields.next()? {
            self.histogram_field(&mut sent, number, wire, &fields)?;
        }
        let native = sent.is_native() && self.histograms.native;
        if native {
            self.native(family, metric, &mut sent, message)?;
        }
        if !native || self.histograms.classic {
            self.classic(family, metric, sent, message)?;
        }
        Ok(())
    }

    fn histogram_field(
        &self,
        sent: &mut Sent,
        number: u32,
        wire: Wire<'_>,
        fields: &Fields<'_>,
    ) -> Result<(), WireError> {
        let h = &mut sent.histogram;
        match (number, wire) {
            (1, Wire::Varint(count)) => h.count = count as f64,
            (4, Wire::Fixed64(bits)) => (h.count, h.integer) = (f64::from_bits(bits), false),
            (2, Wire::Fixed64(bits)) => h.sum = f64::from_bits(bits),
            (3, Wire::Bytes(message)) if sent.buckets.len() < BUCKETS_MAX => {
                let bucket = self.bucket(message)?;
                sent.buckets.push(bucket);
            }
            (5, Wire::Varint(schema)) => h.schema = zigzag(schema) as i32,
            (6, Wire::Fixed64(bits)) => h.zero_threshold = f64::from_bits(bits),
            (7, Wire::Varint(count)) => h.zero_count = count as f64,
            (8, Wire::Fixed64(bits)) => h.zero_count = f64::from_bits(bits),
            (9, Wire::Bytes(message)) => push_span(message, &mut h.negative_spans)?,
            (12, Wire::Bytes(message)) => push_span(message, &mut h.positive_spans)?,
            (10, _) => push_deltas(wire, fields, &mut sent.negative_deltas)?,
            (13, _) => push_deltas(wire, fields, &mut sent.positive_deltas)?,
            (11, _) => push_doubles(wire, fields, &mut h.negative)?,
            (14, _) => push_doubles(wire, fields, &mut h.positive)?,
            (15, Wire::Bytes(message)) => sent.start = timestamp(message)?,
            (16, Wire::Bytes(message)) if sent.exemplars.len() < BUCKETS_MAX => {
                let exemplar = self.exemplar(message)?;
                sent.exemplars.push(exemplar);
            }
            (3 | 16, Wire::Bytes(message)) => {
                return Err(message.fault(format!("at most {BUCKETS_MAX} in one histogram")));
            }
            (1..=16, _) => return Err(fields.mistyped(number, "the type of the schema")),
            _ => {}
        }
        Ok(())
    }

    /// The native histogram of a message; `None` where it has none.
    fn native_value(
        &self,
        message: Message<'_>,
        kind: MetricKind,
    ) -> Result<Option<Histogram>, WireError> {
        let mut sent = Sent::default();
        sent.histogram.integer = true;
        let mut fields = message.fields();
        while let Some((number, wire)) = fields.next()? {
            self.histogram_field(&mut sent, number, wire, &fields)?;
        }
        if !sent.is_native() {
            return Ok(None);
        }
        sent.native(kind, message).map(Some)
    }

    fn bucket(&self, message: Message<'_>) -> Result<Bucket, WireError> {
        let mut bucket = Bucket::default();
        let mut fields = message.fields();
        while let Some((number, wire)) = fields.next()? {
            match (number, wire) {
                (1, Wire::Varint(count)) => bucket.count = count as f64,
                (4, Wire::Fixed64(bits)) => bucket.count = f64::from_bits(bits),
                (2, Wire::Fixed64(bits)) => bucket.bound = f64::from_bits(bits),
                (3, Wire::Bytes(message)) => {
                    bucket.exemplar = Some(Box::new(self.exemplar(message)?));
                }
                (1..=4, _) => return Err(fields.mistyped(number, "the type of the schema")),
                _ => {}
            }
        }
        Ok(bucket)
    }

    fn native(
        &mut self,
        family: Family<'_>,
        metric: &Metric<'_>,
        sent: &mut Sent,
        message: Message<'_>,
    ) -> Result<(), WireError> {
        let value = sent.native(family.kind, message)?;
        let (labels, unset) = self.series(family.name, metric, None, message)?;
        // Those of the classic buckets where the histogram has none of its own; then only those
        // with a time, because one bucket would hide another.
        let exemplars = match sent.exemplars.is_empty() {
            false => sent.exemplars.clone(),
            true => {
                let of_buckets = sent.buckets.iter().filter_map(|b| b.exemplar.as_deref());
                of_buckets.filter(|e| e.time.is_some()).cloned().collect()
            }
        };
        self.exposition.histograms.push(ScrapedHistogram {
            labels,
            unset,
            time: metric.time,
            start: sent.start,
            value,
            exemplars,
        });
        Ok(())
    }

    fn classic(
        &mut self,
        family: Family<'_>,
        metric: &Metric<'_>,
        sent: Sent,
        message: Message<'_>,
    ) -> Result<(), WireError> {
        let (start, count, sum) = (sent.start, sent.histogram.count, sent.histogram.sum);
        let single = |value, exemplar| Single {
            value,
            start,
            exemplar,
        };
        for (suffix, value) in [("_count", count), ("_sum", sum)] {
            let name = format!("{}{suffix}", family.name);
            self.sample(&name, metric, None, single(value, None), message)?;
        }
        let name = format!("{}_bucket", family.name);
        let has_last = sent
            .buckets
            .last()
            .is_some_and(|b| b.bound == f64::INFINITY);
        let last = Bucket {
            bound: f64::INFINITY,
            count,
            exemplar: None,
        };
        let last = (!has_last).then_some(last);
        for bucket in sent.buckets.into_iter().chain(last) {
            let bound = label_number(bucket.bound);
            let extra = Some(("le", bound.as_str()));
            let single = single(bucket.count, bucket.exemplar);
            self.sample(&name, metric, extra, single, message)?;
        }
        Ok(())
    }
}

/// A classic bucket.
#[derive(Debug, Default)]
struct Bucket {
    bound: f64,
    /// With those of all buckets below.
    count: f64,
    exemplar: Option<Box<ScrapedExemplar>>,
}

/// A histogram as sent: counts of native buckets as deltas (integers) or absolute (floats).
#[derive(Debug, Default)]
struct Sent {
    histogram: Histogram,
    positive_deltas: Vec<i64>,
    negative_deltas: Vec<i64>,
    buckets: Vec<Bucket>,
    exemplars: Vec<ScrapedExemplar>,
    start: Option<Timestamp>,
}

impl Sent {
    /// The native histogram, checked.
    fn native(&self, kind: MetricKind, message: Message<'_>) -> Result<Histogram, WireError> {
        let mut value = self.histogram.clone();
        if value.integer {
            value.positive = absolute(&self.positive_deltas);
            value.negative = absolute(&self.negative_deltas);
        }
        if kind == MetricKind::GaugeHistogram {
            value.reset_hint = ResetHint::Gauge;
        }
        let valid = value.validate();
        valid.map_err(|e| message.fault(format!("a well-formed histogram ({e})")))?;
        Ok(value)
    }

    fn is_native(&self) -> bool {
        let h = &self.histogram;
        !h.positive_spans.is_empty()
            || !h.negative_spans.is_empty()
            || h.zero_threshold > 0.0
            || h.zero_count > 0.0
    }
}

fn quantile(message: Message<'_>) -> Result<(f64, f64), WireError> {
    let (mut at, mut value) = (0.0, 0.0);
    let mut fields = message.fields();
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (1, Wire::Fixed64(bits)) => at = f64::from_bits(bits),
            (2, Wire::Fixed64(bits)) => value = f64::from_bits(bits),
            (1 | 2, _) => return Err(fields.mistyped(number, "a double")),
            _ => {}
        }
    }
    Ok((at, value))
}

/// `google.protobuf.Timestamp`; nothing where it is zero.
fn timestamp(message: Message<'_>) -> Result<Option<Timestamp>, WireError> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut fields = message.fields();
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (1, Wire::Varint(value)) => seconds = value.cast_signed(),
            (2, Wire::Varint(value)) => nanos = value.cast_signed(),
            (1 | 2, _) => return Err(fields.mistyped(number, "an integer")),
            _ => {}
        }
    }
    let whole = seconds.checked_mul(NANOS_PER_SECOND);
    let all = whole.and_then(|whole| whole.checked_add(nanos));
    let all = all.ok_or_else(|| message.fault("a time of the years 1677 to 2262"))?;
    Ok((all != 0).then(|| Timestamp::from_nanos(all)))
}

#[cfg(test)]
mod tests;
