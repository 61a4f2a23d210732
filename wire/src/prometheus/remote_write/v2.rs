//! Remote write 2.0: `io.prometheus.write.v2.Request` after snappy, read and written by hand.
//!
//! Invariants: texts come from one table of symbols, so that a few bytes can name a long text; what
//! the references of one request amount to is bounded by `decompressed_bytes_max` before it is
//! copied. A series that cannot be taken is rejected alone; bytes that are not the message fail the
//! request. Symbols may stand behind the series that use them.
//! Format: <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use obs_model::limits::Limits;
use obs_model::metrics::{Exemplar, Metadata, MetricBatch, MetricKind, Sample, Series};
use obs_model::{Labels, Timestamp, Value};

use super::{KINDS, PAIRS_READ_MAX, Pairs, Sent, absolute, histogram_field, put_histogram, time};
use crate::capped::LIMIT;
use crate::cursor;
use crate::error::WireError;
use crate::protobuf::{Fields, Message, Wire, put, read_varint};
use crate::rejects::{Decoded, Rejects, shown};

const FORMAT: &str = "remote write 2.0 request";

/// The name of the message, as content types have it.
pub const MESSAGE: &str = "io.prometheus.write.v2.Request";

/// Symbols of one request: far above what the largest request of a sender names, and few enough
/// that the table itself stays small.
const SYMBOLS_MAX: usize = 1 << 20;

/// Suffixes of the series of one family, by which the family's name is found.
const SUFFIXES: [&str; 5] = ["_bucket", "_count", "_sum", "_gcount", "_gsum"];

/// Reads a request that was already decompressed.
pub fn decode(body: &[u8], limits: &Limits) -> Result<Decoded<MetricBatch>, WireError> {
    let max = limits.decompressed_bytes_max;
    if body.len() > max {
        return Err(WireError::too_large(FORMAT, LIMIT, max));
    }
    let mut reader = Reader {
        symbols: symbols(body)?,
        limits,
        left: max,
        pairs: Vec::new(),
        families: HashMap::new(),
        rejects: Rejects::default(),
        batch: MetricBatch::default(),
    };
    let mut index = 0;
    let mut fields = Message::new(FORMAT, body).fields();
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (5, Wire::Bytes(message)) => {
                reader.series(message, index)?;
                index += 1;
            }
            (4 | 5, Wire::Varint(_) | Wire::Fixed64(_) | Wire::Fixed32(_)) => {
                return Err(fields.mistyped(number, "a text or message"));
            }
            _ => {}
        }
    }
    Ok(reader.rejects.into_decoded(reader.batch))
}

/// The table of texts; the first one is empty.
fn symbols(body: &[u8]) -> Result<Vec<&str>, WireError> {
    let mut symbols = Vec::new();
    let mut fields = Message::new(FORMAT, body).fields();
    while let Some((number, wire)) = fields.next()? {
        if let (4, Wire::Bytes(text)) = (number, wire) {
            if symbols.len() == SYMBOLS_MAX {
                return Err(text.fault(format!("at most {SYMBOLS_MAX} symbols")));
            }
            symbols.push(text.text()?);
        }
    }
    match symbols.first() {
        None | Some(&"") => Ok(symbols),
        Some(first) => Err(WireError::at_path(
            FORMAT,
            "symbols[0]",
            format!("the empty text, found {}", shown(first)),
        )),
    }
}

struct Reader<'a> {
    symbols: Vec<&'a str>,
    limits: &'a Limits,
    /// Bytes of texts that may still be copied out of the table.
    left: usize,
    pairs: Pairs<'a>,
    /// What is known of families already, by index into the batch.
    families: HashMap<&'a str, usize>,
    rejects: Rejects,
    batch: MetricBatch,
}

/// One series as sent.
#[derive(Default)]
struct Raw<'a> {
    references: Vec<u32>,
    samples: Vec<Sample>,
    /// Samples that are not well-formed, and why the first is not.
    faults: usize,
    fault: String,
    exemplars: Vec<Message<'a>>,
    metadata: Option<Message<'a>>,
    created: i64,
}

impl<'a> Reader<'a> {
    fn series(&mut self, message: Message<'a>, index: usize) -> Result<(), WireError> {
        let raw = raw_series(message, index)?;
        let count = raw.samples.len();
        let labels = match self.labels(&raw.references, message)? {
            Ok(labels) => labels,
            Err(expected) => {
                let path = format!("timeseries[{index}].labels_refs");
                let reason = WireError::at_path(FORMAT, path, expected).to_string();
                self.rejects.add(count + raw.faults, reason);
                return Ok(());
            }
        };
        if raw.faults > 0 {
            self.rejects.add(raw.faults, raw.fault);
        }
        if let Some(metadata) = raw.metadata {
            self.metadata(metadata, &labels)?;
        }
        let exemplars = self.exemplars(&raw.exemplars, index)?;
        if count == 0 && exemplars.is_empty() {
            if raw.faults == 0 {
                let path = format!("timeseries[{index}]");
                let expected = format!("at least one sample or histogram for series {labels}");
                let reason = WireError::at_path(FORMAT, path, expected);
                self.rejects.fault(reason.to_string());
            }
            return Ok(());
        }
        let mut samples = raw.samples;
        if let Some(created) = start_time(message, raw.created)? {
            for sample in samples.iter_mut().filter(|s| s.start.is_none()) {
                sample.start = (created <= sample.time).then_some(created);
            }
        }
        let mut series = Series {
            labels,
            samples,
            ..Series::default()
        };
        series.exemplars = exemplars;
        self.batch.series.push(series);
        Ok(())
    }

    /// The labels of a series; inside, what is wrong with them.
    fn labels(
        &mut self,
        references: &[u32],
        message: Message<'a>,
    ) -> Result<Result<Labels, String>, WireError> {
        let labels = self.resolve(references, message)?;
        Ok(labels.and_then(|labels| match labels.metric_name() {
            Some(_) => Ok(labels),
            None => Err("the label __name__ with a value".to_owned()),
        }))
    }

    /// Pairs of references as labels.
    fn resolve(
        &mut self,
        references: &[u32],
        message: Message<'a>,
    ) -> Result<Result<Labels, String>, WireError> {
        let (pairs, rest) = references.as_chunks::<2>();
        if !rest.is_empty() {
            let found = references.len();
            return Ok(Err(format!("an even number of references, found {found}")));
        }
        if pairs.len() > self.limits.labels_max.max(PAIRS_READ_MAX) {
            let max = self.limits.labels_max;
            return Ok(Err(format!(
                "at most {max} labels (obs.limits.labels_max), found {}",
                pairs.len()
            )));
        }
        self.pairs.clear();
        for [name, value] in pairs {
            let (Some(name), Some(value)) = (self.symbol(*name), self.symbol(*value)) else {
                let count = self.symbols.len();
                return Ok(Err(format!("references to the {count} symbols")));
            };
            if name.is_empty() {
                return Ok(Err("a name for every label".to_owned()));
            }
            self.take(name.len() + value.len())?;
            self.pairs.push((name, value));
        }
        let unbounded = Limits {
            labels_max: usize::MAX,
            label_name_bytes_max: usize::MAX,
            label_value_bytes_max: usize::MAX,
            ..*self.limits
        };
        let mut fault = String::new();
        let labels = cursor::labels(&mut self.pairs, &unbounded).map_err(|found| {
            found.into_error(FORMAT, |expected| {
                fault = expected;
                message.fault("labels")
            })
        });
        Ok(labels.map_err(|_| fault))
    }

    fn symbol(&self, reference: u32) -> Option<&'a str> {
        let at = usize::try_from(reference).ok()?;
        match (at, self.symbols.is_empty()) {
            // Nothing to refer to: a sender without any text leaves the table out.
            (0, true) => Some(""),
            _ => self.symbols.get(at).copied(),
        }
    }

    /// Counts bytes that are copied out of the table.
    fn take(&mut self, bytes: usize) -> Result<(), WireError> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                let max = self.limits.decompressed_bytes_max;
                Err(WireError::too_large(FORMAT, LIMIT, max))
            }
        }
    }

    fn exemplars(
        &mut self,
        messages: &[Message<'a>],
        index: usize,
    ) -> Result<Vec<Exemplar>, WireError> {
        let mut exemplars = Vec::new();
        for message in messages {
            let (mut references, mut bits, mut millis) = (Vec::new(), 0, 0);
            let mut fields = message.fields();
            while let Some((number, wire)) = fields.next()? {
                match (number, wire) {
                    (1, _) => push_references(wire, &fields, &mut references)?,
                    (2, Wire::Fixed64(value)) => bits = value,
                    (3, Wire::Varint(value)) => millis = value,
                    (2, _) => return Err(fields.mistyped(number, "a double")),
                    (3, _) => return Err(fields.mistyped(number, "an integer")),
                    _ => {}
                }
            }
            match self.resolve(&references, *message)? {
                Ok(labels) => exemplars.push(Exemplar {
                    labels,
                    value: f64::from_bits(bits),
                    time: time(*message, millis)?,
                }),
                Err(expected) => {
                    let path = format!("timeseries[{index}].exemplars");
                    let reason = WireError::at_path(FORMAT, path, expected);
                    self.rejects.fault(reason.to_string());
                }
            }
        }
        Ok(exemplars)
    }

    /// Notes what a series tells about its family. References to no symbol mean nothing is told.
    fn metadata(&mut self, message: Message<'a>, labels: &Labels) -> Result<(), WireError> {
        let (mut kind, mut help, mut unit) = (MetricKind::Unknown, 0, 0);
        let mut fields = message.fields();
        while let Some((number, wire)) = fields.next()? {
            match (number, wire) {
                (1, Wire::Varint(value)) => {
                    let found = usize::try_from(value).ok().and_then(|at| KINDS.get(at));
                    kind = found.copied().unwrap_or_default();
                }
                (3, Wire::Varint(value)) => help = value,
                (4, Wire::Varint(value)) => unit = value,
                (1 | 3 | 4, _) => return Err(fields.mistyped(number, "an integer")),
                _ => {}
            }
        }
        let text = |at: u64| u32::try_from(at).ok().and_then(|at| self.symbol(at));
        let (help, unit) = (text(help).unwrap_or(""), text(unit).unwrap_or(""));
        let told = kind != MetricKind::Unknown || !help.is_empty() || !unit.is_empty();
        let name = labels.metric_name().unwrap_or("");
        // The name as a symbol lives as long as the request.
        let Some(symbol) = self.pairs.iter().find(|(key, _)| *key == "__name__") else {
            return Ok(());
        };
        debug_assert_eq!(symbol.1, name, "the pairs are those of the series");
        let family = family(symbol.1, kind);
        if !told || self.families.contains_key(family) {
            return Ok(());
        }
        self.take(family.len() + help.len() + unit.len())?;
        self.families.insert(family, self.batch.metadata.len());
        self.batch.metadata.push(Metadata {
            family: family.to_owned(),
            kind,
            unit: unit.to_owned(),
            help: help.to_owned(),
        });
        Ok(())
    }
}

/// The family of a series: histograms and summaries have several series.
fn family(name: &str, kind: MetricKind) -> &str {
    let several = matches!(
        kind,
        MetricKind::Histogram | MetricKind::GaugeHistogram | MetricKind::Summary
    );
    let stripped = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix));
    match stripped {
        Some(family) if several && !family.is_empty() => family,
        _ => name,
    }
}

fn raw_series<'a>(message: Message<'a>, index: usize) -> Result<Raw<'a>, WireError> {
    let mut raw = Raw::default();
    let mut fields = message.fields();
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (1, _) => push_references(wire, &fields, &mut raw.references)?,
            (2, Wire::Bytes(sample)) => raw.samples.push(float_sample(sample)?),
            (3, Wire::Bytes(histogram)) => match histogram_sample(histogram)? {
                Ok(sample) => raw.samples.push(sample),
                Err(expected) => {
                    raw.faults += 1;
                    let path = format!("timeseries[{index}].histograms");
                    raw.fault = WireError::at_path(FORMAT, path, expected).to_string();
                }
            },
            (4, Wire::Bytes(exemplar)) => raw.exemplars.push(exemplar),
            (5, Wire::Bytes(metadata)) => raw.metadata = Some(metadata),
            (6, Wire::Varint(millis)) => raw.created = millis as i64,
            (2..=5, _) => return Err(fields.mistyped(number, "a message")),
            (6, _) => return Err(fields.mistyped(number, "an integer")),
            _ => {}
        }
    }
    Ok(raw)
}

/// Packed or not, as every reader of protobuf must accept.
fn push_references(
    wire: Wire<'_>,
    fields: &Fields<'_>,
    out: &mut Vec<u32>,
) -> Result<(), WireError> {
    match wire {
        Wire::Varint(value) => out.push(reference(value)),
        Wire::Bytes(message) => {
            let mut at = 0;
            while at < message.bytes.len() {
                let Some((value, length)) = read_varint(&message.bytes[at..]) else {
                    return Err(message.fault("packed varints"));
                };
                out.push(reference(value));
                at += length;
            }
        }
        Wire::Fixed32(_) | Wire::Fixed64(_) => {
            return Err(fields.mistyped(1, "references to symbols"));
        }
    }
    Ok(())
}

/// A number that no symbol has stays one that no symbol has.
fn reference(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// A time of zero says that none is known.
fn start_time(message: Message<'_>, millis: i64) -> Result<Option<Timestamp>, WireError> {
    match millis {
        0 => Ok(None),
        millis => time(message, millis as u64).map(Some),
    }
}

fn float_sample(message: Message<'_>) -> Result<Sample, WireError> {
    let (mut bits, mut millis, mut start) = (0, 0, 0);
    let mut fields = message.fields();
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (1, Wire::Fixed64(value)) => bits = value,
            (2, Wire::Varint(value)) => millis = value,
            (3, Wire::Varint(value)) => start = value as i64,
            (1, _) => return Err(fields.mistyped(number, "a double")),
            (2 | 3, _) => return Err(fields.mistyped(number, "an integer")),
            _ => {}
        }
    }
    Ok(Sample {
        time: time(message, millis)?,
        start: start_time(message, start)?,
        value: Value::Float(f64::from_bits(bits)),
    })
}

/// A histogram; inside, what is wrong with it.
fn histogram_sample(message: Message<'_>) -> Result<Result<Sample, String>, WireError> {
    let mut sent = Sent::default();
    // Proto3 leaves zeroes out; a float histogram says so by its count.
    sent.histogram.integer = true;
    let mut start = 0;
    let mut fields = message.fields();
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (17, Wire::Varint(millis)) => start = millis as i64,
            (17, _) => return Err(fields.mistyped(number, "an integer")),
            _ => histogram_field(&mut sent, number, wire, &fields)?,
        }
    }
    let mut histogram = sent.histogram;
    if histogram.integer {
        histogram.positive = absolute(&sent.positive_deltas);
        histogram.negative = absolute(&sent.negative_deltas);
    }
    if let Err(error) = histogram.validate() {
        return Ok(Err(format!("a well-formed histogram ({error})")));
    }
    Ok(Ok(Sample {
        time: time(message, sent.millis)?,
        start: start_time(message, start)?,
        value: Value::Histogram(Arc::new(histogram)),
    }))
}

/// The texts of a request, each once.
#[derive(Default)]
struct Symbols<'a> {
    numbers: HashMap<&'a str, u32>,
    texts: Vec<&'a str>,
}

impl<'a> Symbols<'a> {
    fn number(&mut self, text: &'a str) -> u64 {
        let next = self.texts.len() as u32;
        let number = *self.numbers.entry(text).or_insert(next);
        if number == next {
            self.texts.push(text);
        }
        u64::from(number)
    }

    fn metadata(&mut self, out: &mut Vec<u8>, metadata: &'a Metadata) {
        put::message(out, 5, |out| {
            let kind = KINDS.iter().position(|kind| *kind == metadata.kind);
            put::uint(out, 1, kind.unwrap_or(0) as u64);
            put::uint(out, 3, self.number(&metadata.help));
            put::uint(out, 4, self.number(&metadata.unit));
        });
    }

    fn references(&mut self, out: &mut Vec<u8>, labels: &'a Labels) {
        if labels.is_empty() {
            return;
        }
        put::message(out, 1, |out| {
            for (name, value) in labels {
                put::varint(out, self.number(name));
                put::varint(out, self.number(value));
            }
        });
    }
}

/// The families that a series may be of, by its name: that name, and the one without the ending
/// that series of histograms and summaries have.
pub fn families_of(name: &str) -> impl Iterator<Item = &str> {
    let stripped = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix));
    std::iter::once(name).chain(stripped)
}

/// Metadata of families of which a batch has no series.
pub fn without_series(batch: &MetricBatch) -> Vec<Metadata> {
    if batch.metadata.is_empty() {
        return Vec::new();
    }
    let names = batch.series.iter().filter_map(|s| s.labels.metric_name());
    let there: HashSet<&str> = names.flat_map(families_of).collect();
    let alone = |m: &&Metadata| !there.contains(m.family.as_str());
    batch.metadata.iter().filter(alone).cloned().collect()
}

/// As [`encode`], and families without a series have one without samples. Only [`decode`] reads
/// their metadata; other servers refuse such a request.
pub fn encode_whole(batch: &MetricBatch, out: &mut Vec<u8>) {
    let alone = without_series(batch);
    if alone.is_empty() {
        return encode(batch, out);
    }
    let named = |m: &Metadata| Series {
        labels: Labels::from_pairs([("__name__", m.family.as_str())]),
        ..Series::default()
    };
    let series: Vec<Series> = alone.iter().map(named).collect();
    let told = series.iter().zip(&alone).collect();
    write(batch, told, out);
}

/// Writes a request; the sender compresses it with [`crate::snappy::encode`]. Metadata goes with
/// the series of its family; families without a series here have no place.
pub fn encode(batch: &MetricBatch, out: &mut Vec<u8>) {
    write(batch, Vec::new(), out);
}

/// `told` are families without samples.
fn write(batch: &MetricBatch, told: Vec<(&Series, &Metadata)>, out: &mut Vec<u8>) {
    let families: BTreeMap<&str, &Metadata> = batch
        .metadata
        .iter()
        .map(|metadata| (metadata.family.as_str(), metadata))
        .collect();
    let mut symbols = Symbols::default();
    symbols.number("");
    let mut body = Vec::new();
    for series in &batch.series {
        let name = series.labels.metric_name().unwrap_or("");
        let metadata = families.get(name).or_else(|| {
            let stripped = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix));
            let found = stripped.and_then(|family| families.get(family))?;
            (family(name, found.kind) != name).then_some(found)
        });
        let mut histograms = false;
        // A series has samples or histograms, not both.
        for wanted in [false, true] {
            let is_wanted = |s: &&Sample| matches!(s.value, Value::Histogram(_)) == wanted;
            let samples: Vec<&Sample> = series.samples.iter().filter(is_wanted).collect();
            let exemplars = match wanted {
                false if samples.is_empty() && !series.samples.is_empty() => &[][..],
                true if histograms => &[][..],
                _ => &series.exemplars[..],
            };
            if samples.is_empty() && (wanted || exemplars.is_empty()) {
                continue;
            }
            histograms = true;
            put::message(&mut body, 5, |out| {
                symbols.references(out, &series.labels);
                put_samples(out, &samples);
                for exemplar in exemplars {
                    put::message(out, 4, |out| {
                        symbols.references(out, &exemplar.labels);
                        put::double(out, 2, exemplar.value);
                        put::uint(out, 3, exemplar.time.millis() as u64);
                    });
                }
                if let Some(metadata) = metadata {
                    symbols.metadata(out, metadata);
                }
                // The place of start times in receivers that know none of samples.
                let created = samples.first().and_then(|sample| sample.start);
                let created = created.filter(|_| samples.iter().all(|s| s.start == created));
                put::uint(out, 6, created.map_or(0, Timestamp::millis) as u64);
            });
        }
    }
    for (series, metadata) in told {
        put::message(&mut body, 5, |out| {
            symbols.references(out, &series.labels);
            symbols.metadata(out, metadata);
        });
    }
    for text in &symbols.texts {
        put::bytes(out, 4, text.as_bytes());
    }
    out.extend_from_slice(&body);
}

fn put_samples(out: &mut Vec<u8>, samples: &[&Sample]) {
    for sample in samples {
        let millis = sample.time.millis() as u64;
        let start = sample.start.map_or(0, Timestamp::millis) as u64;
        match &sample.value {
            Value::Float(value) => put::message(out, 2, |out| {
                put::double(out, 1, *value);
                put::uint(out, 2, millis);
                put::uint(out, 3, start);
            }),
            Value::Histogram(histogram) => put::message(out, 3, |out| {
                put_histogram(out, histogram);
                put::uint(out, 15, millis);
                put::uint(out, 17, start);
            }),
        }
    }
}

#[cfg(test)]
mod tests;
