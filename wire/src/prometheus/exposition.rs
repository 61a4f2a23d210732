//! What one scrape brought, and the lines that both text formats share.
//!
//! Invariants: samples keep the order of the lines; labels are made once per line; there is one
//! entry of metadata per family.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use obs_model::limits::Limits;
use obs_model::metrics::{Exemplar, MetricKind, Sample, Series};
use obs_model::metrics::{Metadata, MetricBatch};
use obs_model::{Histogram, Labels, Timestamp, Value, labels::METRIC_NAME};

use crate::cursor::{self, Cursor, Escapes, Pair};
use crate::error::WireError;
use crate::number;

/// An exemplar of a scraped line.
#[derive(Clone, Debug, PartialEq)]
pub struct ScrapedExemplar {
    /// Labels such as `trace_id`.
    pub labels: Labels,
    /// The observed value.
    pub value: f64,
    /// When, if the line says so.
    pub time: Option<Timestamp>,
}

impl ScrapedExemplar {
    /// The exemplar, at the time of its sample when it has none of its own.
    pub fn into_exemplar(self, time: Timestamp) -> Exemplar {
        Exemplar {
            labels: self.labels,
            value: self.value,
            time: self.time.unwrap_or(time),
        }
    }
}

/// One line with a value.
#[derive(Clone, Debug)]
pub struct ScrapedSample {
    /// The labels, with the metric's name as `__name__`.
    pub labels: Labels,
    /// Names of labels that the line gives an empty value: it says that it has no such label.
    pub unset: Vec<String>,
    /// When, if the line says so.
    pub time: Option<Timestamp>,
    /// When the counter began, where the format says so.
    pub start: Option<Timestamp>,
    /// The value.
    pub value: f64,
    /// Its exemplar; boxed, because nearly no line has one.
    pub exemplar: Option<Box<ScrapedExemplar>>,
}

/// A native histogram.
#[derive(Clone, Debug)]
pub struct ScrapedHistogram {
    /// The labels, with the metric's name as `__name__`.
    pub labels: Labels,
    /// Names of labels with an empty value.
    pub unset: Vec<String>,
    /// When, if it is said.
    pub time: Option<Timestamp>,
    /// When the counter began, if it is said.
    pub start: Option<Timestamp>,
    /// The value.
    pub value: Histogram,
    /// Its exemplars.
    pub exemplars: Vec<ScrapedExemplar>,
}

/// A number as the labels `le` and `quantile` hold it: as OpenMetrics writes floats.
pub(super) fn label_number(value: f64) -> String {
    let mut out = Vec::new();
    number::general(&mut out, value);
    let mut text = String::from_utf8(out).expect("digits are UTF-8");
    if value.is_finite() && !text.contains(['.', 'e']) {
        text.push_str(".0");
    }
    text
}

/// The text of a number as `le` and `quantile` should have it; `None` where it is that already, or
/// no number.
pub fn normal_number(text: &str) -> Option<String> {
    let normal = label_number(number::parse(text)?);
    (normal != text).then_some(normal)
}

/// What follows name and labels on a line.
#[derive(Clone, Debug)]
pub struct Tail {
    /// The value.
    pub value: f64,
    /// When, if the line says so.
    pub time: Option<Timestamp>,
    /// Its exemplar; boxed, because nearly no line has one.
    pub exemplar: Option<Box<ScrapedExemplar>>,
}

/// What one scrape brought.
#[derive(Clone, Debug, Default)]
pub struct Exposition {
    /// The lines, in order.
    pub samples: Vec<ScrapedSample>,
    /// Native histograms, in order.
    pub histograms: Vec<ScrapedHistogram>,
    /// One entry per family, in order of first mention.
    pub metadata: Vec<Metadata>,
}

impl Exposition {
    /// As a batch; lines without a time of their own get `now`.
    pub fn into_batch(self, now: Timestamp) -> MetricBatch {
        let series = self.samples.into_iter().map(|line| {
            let time = line.time.unwrap_or(now);
            let exemplar = line.exemplar.map(|e| e.into_exemplar(time));
            Series {
                labels: line.labels,
                samples: vec![Sample {
                    time,
                    start: line.start,
                    value: Value::Float(line.value),
                }],
                exemplars: exemplar.into_iter().collect(),
                ..Default::default()
            }
        });
        let histograms = self.histograms.into_iter().map(|one| {
            let time = one.time.unwrap_or(now);
            let exemplars = one.exemplars.into_iter();
            Series {
                labels: one.labels,
                samples: vec![Sample {
                    time,
                    start: one.start,
                    value: Value::Histogram(Arc::new(one.value)),
                }],
                exemplars: exemplars.map(|e| e.into_exemplar(time)).collect(),
                ..Default::default()
            }
        });
        MetricBatch {
            series: series.chain(histograms).collect(),
            metadata: self.metadata,
            ..Default::default()
        }
    }
}

impl ScrapedSample {
    /// A line of its two parts.
    pub(super) fn new((labels, unset): (Labels, Vec<String>), tail: Tail) -> Self {
        Self {
            labels,
            unset,
            start: None,
            time: tail.time,
            value: tail.value,
            exemplar: tail.exemplar,
        }
    }
}

/// What a comment line tells about a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Help,
    Type,
    Unit,
}

/// Reads the parts that lines of both formats are made of.
pub(super) struct Lines<'a, 'l> {
    pub(super) cursor: Cursor<'a>,
    limits: &'l Limits,
    pairs: Vec<Pair<'a>>,
    families: HashMap<Cow<'a, str>, usize>,
    pub(super) exposition: Exposition,
}

impl<'a, 'l> Lines<'a, 'l> {
    pub(super) fn open(
        format: &'static str,
        bytes: &'a [u8],
        limits: &'l Limits,
    ) -> Result<Self, WireError> {
        Ok(Self::of(Cursor::open(format, bytes, limits)?, limits))
    }

    /// Reads where a cursor stands.
    pub(super) fn of(cursor: Cursor<'a>, limits: &'l Limits) -> Self {
        Self {
            cursor,
            limits,
            pairs: Vec::new(),
            families: HashMap::new(),
            exposition: Exposition::default(),
        }
    }

    /// Name and labels of a sample, and the names of its labels that have an empty value.
    pub(super) fn head(&mut self) -> Result<(Labels, Vec<String>), WireError> {
        let labels = self.series()?;
        Ok((labels, self.unset()))
    }

    /// Name and labels of a sample.
    fn series(&mut self) -> Result<Labels, WireError> {
        self.pairs.clear();
        let start = self.cursor.offset();
        let name = self.cursor.name(true);
        if !name.is_empty() {
            // First, because it sorts before what labels are usually called.
            let name = (Cow::Borrowed(METRIC_NAME), Cow::Borrowed(name));
            self.pairs.push(name);
        }
        self.cursor.blanks();
        let mut bare = None;
        if self.cursor.peek() == Some(b'{') {
            let escapes = Escapes::Exposition;
            bare = self.cursor.braces(escapes, self.limits, &mut self.pairs)?;
        }
        match (name, bare) {
            ("", None)
                if self
                    .pairs
                    .iter()
                    .any(|(n, v)| n == METRIC_NAME && !v.is_empty()) => {}
            ("", None) => return Err(self.cursor.fault_at(start, "a metric name")),
            ("", Some(name)) => self.pairs.push((Cow::Borrowed(METRIC_NAME), name)),
            (_, None) => {}
            (_, Some(_)) => return Err(self.cursor.fault_at(start, "one metric name, not two")),
        }
        self.labels(start)
    }

    /// Labels of the series read last that have an empty value.
    fn unset(&self) -> Vec<String> {
        let empty = self.pairs.iter().filter(|(_, value)| value.is_empty());
        empty.map(|(name, _)| name.clone().into_owned()).collect()
    }

    /// Labels of an exemplar.
    pub(super) fn exemplar_labels(&mut self) -> Result<Labels, WireError> {
        self.pairs.clear();
        let start = self.cursor.offset();
        let escapes = Escapes::Exposition;
        match self.cursor.braces(escapes, self.limits, &mut self.pairs)? {
            None => self.labels(start),
            Some(_) => Err(self.cursor.fault_at(start, "labels with values")),
        }
    }

    /// A value.
    pub(super) fn value(&mut self) -> Result<f64, WireError> {
        self.cursor.blanks();
        let start = self.cursor.offset();
        number::parse(self.cursor.token()).ok_or_else(|| self.cursor.fault_at(start, "a number"))
    }

    /// Takes a line of metadata: family name and text.
    pub(super) fn metadata(&mut self, told: Told, escapes_quotes: bool) -> Result<(), WireError> {
        self.cursor.blanks();
        let start = self.cursor.offset();
        let family = match self.cursor.peek() {
            Some(b'"') => self.cursor.quoted(Escapes::Exposition)?,
            _ => Cow::Borrowed(self.cursor.name(true)),
        };
        if family.is_empty() {
            return Err(self.cursor.fault_at(start, "a metric name"));
        }
        if family.len() > self.limits.label_value_bytes_max {
            let max = self.limits.label_value_bytes_max;
            let format = self.cursor.format();
            return Err(WireError::too_large(format, "label_value_bytes_max", max));
        }
        if !self.cursor.blanks() && !matches!(self.cursor.peek(), None | Some(b'\n')) {
            return Err(self.cursor.fault("a blank after the metric name"));
        }
        let start = self.cursor.offset();
        let text = self.cursor.line();
        let kind = match told {
            Told::Type => Some(MetricKind::from_text(text.trim_ascii_end()).ok_or_else(|| {
                self.cursor
                    .fault_at(start, "a metric type such as counter or gauge")
            })?),
            Told::Help | Told::Unit => None,
        };
        if told == Told::Unit && !text.is_empty() && !has_unit(&family, text) {
            let expected = "a unit that ends the metric name after an underscore";
            return Err(self.cursor.fault_at(start, expected));
        }
        let entry = self.family(family);
        match (told, kind) {
            (Told::Help, _) => entry.help = unescape_help(text, escapes_quotes),
            (Told::Unit, _) => text.clone_into(&mut entry.unit),
            (Told::Type, kind) => entry.kind = kind.unwrap_or_default(),
        }
        Ok(())
    }

    /// The end of a line or of the text.
    pub(super) fn end_of_line(&mut self) -> Result<(), WireError> {
        self.cursor.blanks();
        match self.cursor.peek() {
            None => Ok(()),
            Some(b'\n') => {
                self.cursor.bump();
                Ok(())
            }
            Some(_) => Err(self.cursor.fault("the end of the line")),
        }
    }

    fn labels(&mut self, start: usize) -> Result<Labels, WireError> {
        cursor::labels(&mut self.pairs, self.limits).map_err(|fault| {
            let malformed = |expected: String| self.cursor.fault_at(start, &expected);
            fault.into_error(self.cursor.format(), malformed)
        })
    }

    fn family(&mut self, family: Cow<'a, str>) -> &mut Metadata {
        let all = &mut self.exposition.metadata;
        let index = *self.families.entry(family).or_insert_with_key(|family| {
            all.push(Metadata {
                family: family.clone().into_owned(),
                ..Metadata::default()
            });
            all.len() - 1
        });
        &mut all[index]
    }
}

fn has_unit(family: &str, unit: &str) -> bool {
    family
        .strip_suffix(unit)
        .is_some_and(|rest| rest.ends_with('_'))
}

/// `\\` and `\n`, in OpenMetrics also `\"`; any other backslash stands for itself.
fn unescape_help(text: &str, quotes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let (character, length) = match rest.as_bytes().get(at + 1) {
            Some(b'\\') => ('\\', 2),
            Some(b'n') => ('\n', 2),
            Some(b'"') if quotes => ('"', 2),
            _ => ('\\', 1),
        };
        out.push(character);
        rest = &rest[at + length..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_escapes() {
        for (text, quotes, expect) in [
            (r"a\\b\nc\d", false, "a\\b\nc\\d"),
            (r#"say \"x\""#, true, "say \"x\""),
            (r#"say \"x\""#, false, r#"say \"x\""#),
            (r"end\", true, r"end\"),
        ] {
            assert_eq!(unescape_help(text, quotes), expect);
        }
    }

    #[test]
    fn numbers_in_labels() {
        for (text, expect) in [
            ("1", Some("1.0")),
            ("0.5", None),
            ("+Inf", None),
            ("Inf", Some("+Inf")),
            ("1e6", Some("1e+06")),
            ("1e+06", None),
            ("-3", Some("-3.0")),
            ("x", None),
        ] {
            assert_eq!(normal_number(text).as_deref(), expect, "{text}");
        }
    }

    #[test]
    fn lines_without_time_get_now() {
        let exposition = Exposition {
            samples: vec![ScrapedSample {
                labels: Labels::from_pairs([(METRIC_NAME, "a")]),
                unset: Vec::new(),
                time: None,
                start: None,
                value: 1.0,
                exemplar: Some(Box::new(ScrapedExemplar {
                    labels: Labels::empty(),
                    value: 2.0,
                    time: None,
                })),
            }],
            ..Exposition::default()
        };
        let now = Timestamp::from_seconds(5);
        let batch = exposition.into_batch(now);
        assert_eq!(batch.series[0].samples[0].time, now);
        assert_eq!(batch.series[0].exemplars[0].time, now);
    }
}
