//! What may come in: checks a batch against the limits before it is journaled.
//!
//! Invariant: a batch that was admitted can be encoded, journaled and applied. A series that the
//! memory knows goes on when the limit of series is reached; only new ones are refused.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use obs_model::limits::Limits;
use obs_model::metrics::{Metadata, Sample};
use obs_model::{Histogram, Labels, MetricBatch, Series, Value};

use crate::head::Memory;
use crate::histograms::BUCKETS_TOTAL_MAX;
use crate::record::{LABELS_BYTES_MAX, RECORD_SAMPLES_MAX};

/// Bytes of the labels of one exemplar: eight times what OpenMetrics allows, so that a trace id, a
/// span id and a few more fit.
pub const EXEMPLAR_BYTES_MAX: usize = 1024;

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// A series without a metric name.
    NoName,
    /// More labels than `labels_max`.
    Labels,
    /// A label name longer than `label_name_bytes_max`.
    LabelName,
    /// A label value longer than `label_value_bytes_max`.
    LabelValue,
    /// A new series while `series_max` is reached.
    SeriesMax,
    /// A new series while `series_total_max` is reached.
    SeriesTotalMax,
    /// A histogram that is not well-formed.
    Histogram,
    /// An exemplar with labels above [`EXEMPLAR_BYTES_MAX`]; its series goes on.
    Exemplar,
    /// Metadata with texts longer than `label_value_bytes_max`; its series go on.
    Metadata,
    /// More samples, bytes of labels or histogram buckets than one record holds.
    BatchSize,
}

impl Reason {
    /// As metrics and logs name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoName => "no_metric_name",
            Self::Labels => "labels_max",
            Self::LabelName => "label_name_bytes_max",
            Self::LabelValue => "label_value_bytes_max",
            Self::SeriesMax => "series_max",
            Self::SeriesTotalMax => "series_total_max",
            Self::Histogram => "histogram_malformed",
            Self::Exemplar => "exemplar_bytes_max",
            Self::Metadata => "metadata_bytes_max",
            Self::BatchSize => "batch_samples_max",
        }
    }
}

/// What was refused for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// Series of which something was refused.
    pub series: u64,
    /// Samples refused.
    pub samples: u64,
    /// The first case, for the sender.
    pub example: String,
}

/// What was refused of a batch; empty when all of it may go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// One entry per reason.
    pub refusals: Vec<Refusal>,
    /// Series of what is left that may be new: none, where none is.
    pub fresh_max: usize,
}

impl Refused {
    /// Whether nothing was refused.
    pub fn is_empty(&self) -> bool {
        self.refusals.is_empty()
    }

    /// Samples refused for any reason.
    pub fn samples(&self) -> u64 {
        self.refusals.iter().map(|r| r.samples).sum()
    }

    /// Whether something was refused, and all of it because there are too many series.
    pub fn is_crowded(&self) -> bool {
        let crowded = |r: &Refusal| matches!(r.reason, Reason::SeriesMax | Reason::SeriesTotalMax);
        !self.refusals.is_empty() && self.refusals.iter().all(crowded)
    }

    /// Series refused for one reason.
    pub fn series(&self, reason: Reason) -> u64 {
        let found = self.refusals.iter().find(|r| r.reason == reason);
        found.map_or(0, |r| r.series)
    }

    fn add(&mut self, reason: Reason, samples: u64, example: impl FnOnce() -> String) {
        match self.refusals.iter_mut().find(|r| r.reason == reason) {
            Some(refusal) => {
                refusal.series += 1;
                refusal.samples += samples;
            }
            None => self.refusals.push(Refusal {
                reason,
                series: 1,
                samples,
                example: example(),
            }),
        }
    }
}

/// `3 series, 7 samples refused (series_max): …; …`
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, refusal) in self.refusals.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(
                f,
                "{} series, {} samples refused ({}): {}",
                refusal.series,
                refusal.samples,
                refusal.reason.as_str(),
                refusal.example
            )?;
        }
        Ok(())
    }
}

/// Takes out of a batch what may not be stored and tells what and why. `memories` are those of its
/// tenant, and `total_left` is how many series may be new before `series_total_max` is reached.
/// Exact as long as everything that was admitted before is in the memories.
pub fn admit(
    memories: &[Arc<Memory>],
    batch: &mut MetricBatch,
    limits: &Limits,
    total_left: usize,
) -> Refused {
    let mut refused = Refused::default();
    let own_left = limits.series_max.saturating_sub(active_series(memories));
    let left = own_left.min(total_left);
    let mut room = if left >= batch.series.len() {
        Room::Plenty
    } else {
        Room::Left(left, HashSet::new())
    };
    let full = match own_left <= total_left {
        true => (Reason::SeriesMax, limits.series_max),
        false => (Reason::SeriesTotalMax, limits.series_total_max),
    };
    let mut samples_left = RECORD_SAMPLES_MAX;
    let mut labels_left = LABELS_BYTES_MAX;
    let mut buckets_left = BUCKETS_TOTAL_MAX;
    batch.series.retain_mut(|series| {
        let samples = series.samples.len() as u64;
        let labels = series.labels.packed().len();
        let fault = fault_of(&series.labels, limits).or_else(|| {
            let fits = series.samples.len() <= samples_left && labels <= labels_left;
            (!fits).then(|| (Reason::BatchSize, batch_size()))
        });
        if let Some((reason, example)) = fault {
            refused.add(reason, samples, || example);
            return false;
        }
        if !room.admits(memories, &series.labels) {
            let (reason, max) = full;
            refused.add(reason, samples, || {
                let name = reason.as_str();
                format!(
                    "limit {name} of {max} reached, new series {}",
                    series.labels
                )
            });
            return false;
        }
        drop_bad_histograms(series, &mut buckets_left, &mut refused);
        series.exemplars.retain(|exemplar| {
            let bytes = exemplar.labels.packed().len();
            if bytes > EXEMPLAR_BYTES_MAX {
                refused.add(Reason::Exemplar, 0, || {
                    format!(
                        "labels of an exemplar have {bytes} bytes, at most {EXEMPLAR_BYTES_MAX}"
                    )
                });
            }
            bytes <= EXEMPLAR_BYTES_MAX
        });
        samples_left -= series.samples.len();
        labels_left -= labels;
        !(series.samples.is_empty() && series.exemplars.is_empty())
    });
    drop_long_metadata(batch, limits, &mut refused);
    refused.fresh_max = match room {
        Room::Plenty => batch.series.len(),
        Room::Left(_, admitted) => admitted.len(),
    };
    refused
}

/// What a batch holds, in the words for the sender.
fn batch_size() -> String {
    format!(
        "a batch holds at most {RECORD_SAMPLES_MAX} samples, {LABELS_BYTES_MAX} bytes of labels \
         and {BUCKETS_TOTAL_MAX} histogram buckets; send it in parts"
    )
}

/// Series in the memories of a tenant, oldest first: what counts against `series_max`. One that is
/// in a sealed memory and in the active one counts once.
pub fn active_series(memories: &[Arc<Memory>]) -> usize {
    let count = |(index, memory): (usize, &Arc<Memory>)| {
        let before = &memories[..index];
        match before.last() {
            None => memory.series_count(),
            Some(_) if before.iter().any(|other| other.shares(memory)) => 0,
            Some(_) => memory.added_count(),
        }
    };
    memories.iter().enumerate().map(count).sum()
}

/// About how many bytes of the journal a batch takes at most, so that no group of batches grows
/// beyond what a record may have.
pub fn weight(batch: &MetricBatch) -> usize {
    const SAMPLE: usize = 16;
    let histogram = |sample: &Sample| match &sample.value {
        Value::Float(_) => 0,
        Value::Histogram(histogram) => 16 * buckets(histogram) + 64,
    };
    let series = |series: &Series| {
        let histograms: usize = series.samples.iter().map(histogram).sum();
        let exemplars = series
            .exemplars
            .iter()
            .map(|e| e.labels.packed().len() + 32);
        series.labels.packed().len() + histograms + exemplars.sum::<usize>()
    };
    let metadata = |m: &Metadata| m.family.len() + m.unit.len() + m.help.len() + 8;
    SAMPLE * batch.sample_count()
        + batch.series.iter().map(series).sum::<usize>()
        + batch.metadata.iter().map(metadata).sum::<usize>()
}

fn drop_long_metadata(batch: &mut MetricBatch, limits: &Limits, refused: &mut Refused) {
    let max = limits.label_value_bytes_max;
    batch.metadata.retain(|entry| {
        let longest = entry
            .family
            .len()
            .max(entry.unit.len())
            .max(entry.help.len());
        if longest > max {
            refused.add(Reason::Metadata, 0, || {
                let family = clip(&entry.family);
                format!("metadata of {family} has a text of {longest} bytes, at most {max}")
            });
        }
        longest <= max
    });
}

/// Why labels may not be stored, with the words for the sender.
fn fault_of(labels: &Labels, limits: &Limits) -> Option<(Reason, String)> {
    if labels.metric_name().is_none() {
        return Some((
            Reason::NoName,
            format!("{} has no __name__", clip(&labels.to_string())),
        ));
    }
    let mut count = 0;
    for (name, value) in labels {
        count += 1;
        let too_long = |reason, bytes: usize, max| {
            let text = format!("label {} has {bytes} bytes, at most {max}", clip(name));
            Some((reason, text))
        };
        if name.len() > limits.label_name_bytes_max {
            return too_long(Reason::LabelName, name.len(), limits.label_name_bytes_max);
        }
        if value.len() > limits.label_value_bytes_max {
            return too_long(
                Reason::LabelValue,
                value.len(),
                limits.label_value_bytes_max,
            );
        }
    }
    (count > limits.labels_max).then(|| {
        let metric = labels.metric_name().unwrap_or_default();
        let max = limits.labels_max;
        (
            Reason::Labels,
            format!("{} has {count} labels, at most {max}", clip(metric)),
        )
    })
}

/// The start of a text, short enough for a message.
fn clip(text: &str) -> String {
    text.chars().take(100).collect()
}

/// What counts towards [`BUCKETS_TOTAL_MAX`].
fn buckets(histogram: &Histogram) -> usize {
    histogram.positive.len()
        + histogram.negative.len()
        + histogram.custom_bounds.len()
        + histogram.positive_spans.len()
        + histogram.negative_spans.len()
}

fn drop_bad_histograms(series: &mut Series, buckets_left: &mut usize, refused: &mut Refused) {
    let before = series.samples.len();
    let mut first: Option<(Reason, String)> = None;
    series.samples.retain(|sample| {
        let Value::Histogram(histogram) = &sample.value else {
            return true;
        };
        let size = buckets(histogram);
        let spans = histogram
            .positive_spans
            .len()
            .max(histogram.negative_spans.len());
        let fault = if let Err(error) = histogram.validate() {
            Some((Reason::Histogram, error.to_string()))
        } else if spans.max(histogram.custom_bounds.len()) > obs_model::histogram::BUCKETS_MAX {
            Some((
                Reason::Histogram,
                "more spans or bounds than buckets are accepted".to_owned(),
            ))
        } else if size > *buckets_left {
            Some((
                Reason::BatchSize,
                format!("at most {BUCKETS_TOTAL_MAX} buckets a batch"),
            ))
        } else {
            *buckets_left -= size;
            None
        };
        let good = fault.is_none();
        first = first.take().or(fault);
        good
    });
    if let Some((reason, example)) = first {
        let dropped = (before - series.samples.len()) as u64;
        refused.add(reason, dropped, || example);
    }
}

/// How many new series there is room for.
enum Room {
    /// The whole batch could be new: no series need be looked up.
    Plenty,
    /// So many new ones, and those that were admitted.
    Left(usize, HashSet<Labels>),
}

impl Room {
    fn admits(&mut self, memories: &[Arc<Memory>], labels: &Labels) -> bool {
        let Self::Left(left, admitted) = self else {
            return true;
        };
        if admitted.contains(labels) || memories.iter().any(|m| m.knows(labels)) {
            return true;
        }
        if *left == 0 {
            return false;
        }
        *left -= 1;
        admitted.insert(labels.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Metrics;
    use obs_model::Timestamp;
    use obs_storage::Kind;

    fn series(pairs: &[(&str, &str)], value: Value) -> Series {
        Series {
            labels: Labels::from_pairs(pairs.iter().copied()),
            samples: vec![Sample {
                time: Timestamp::from_millis(1),
                start: None,
                value,
            }],
            exemplars: Vec::new(),
            ..Default::default()
        }
    }

    fn named(name: &str) -> Series {
        series(&[("__name__", name)], Value::Float(1.0))
    }

    #[test]
    fn known_series_go_on_when_the_limit_is_reached() {
        let memory = Memory::default();
        let mut record = Vec::new();
        let known = MetricBatch {
            series: vec![named("a"), named("b")],
            metadata: Vec::new(),
            ..Default::default()
        };
        crate::encode(&known, Timestamp::from_nanos(0), &mut record);
        Metrics::apply(&memory, 1, &record).unwrap();
        let memories = vec![Arc::new(memory)];
        let limits = Limits {
            series_max: 3,
            ..Limits::default()
        };
        let mut batch = MetricBatch {
            series: ["a", "new", "newer", "b", "new"].map(named).to_vec(),
            metadata: Vec::new(),
            ..Default::default()
        };
        let refused = admit(&memories, &mut batch, &limits, 9);
        let names: Vec<_> = batch
            .series
            .iter()
            .map(|s| s.labels.metric_name())
            .collect();
        assert_eq!(names, [Some("a"), Some("new"), Some("b"), Some("new")]);
        assert_eq!(refused.series(Reason::SeriesMax), 1);
        let expect = "1 series, 1 samples refused (series_max): limit series_max of 3 reached, \
                      new series {__name__=\"newer\"}";
        assert_eq!(refused.to_string(), expect);
    }

    #[test]
    fn what_is_malformed_is_told() {
        let limits = Limits {
            labels_max: 2,
            label_name_bytes_max: 8,
            label_value_bytes_max: 3,
            ..Limits::default()
        };
        let check = |series: Series, reason: Option<Reason>| {
            let mut batch = MetricBatch {
                series: vec![series],
                metadata: Vec::new(),
                ..Default::default()
            };
            let refused = admit(&[], &mut batch, &limits, 9);
            assert_eq!(refused.refusals.first().map(|r| r.reason), reason);
            assert_eq!(batch.series.is_empty(), reason.is_some());
        };
        let float = || Value::Float(1.0);
        check(named("a"), None);
        check(series(&[("job", "a")], float()), Some(Reason::NoName));
        check(
            series(&[("__name__", "a"), ("longer_than", "b")], float()),
            Some(Reason::LabelName),
        );
        check(named("abcd"), Some(Reason::LabelValue));
        let three = [("__name__", "a"), ("b", "1"), ("c", "1")];
        check(series(&three, float()), Some(Reason::Labels));
        let bad = Histogram {
            schema: 99,
            ..Histogram::default()
        };
        let bad = Value::Histogram(Arc::new(bad));
        check(series(&[("__name__", "a")], bad), Some(Reason::Histogram));
    }

    #[test]
    fn long_exemplars_and_metadata_are_left_out() {
        let exemplar = |length: usize| obs_model::metrics::Exemplar {
            labels: Labels::from_pairs([("trace_id", "x".repeat(length))]),
            value: 1.0,
            time: Timestamp::from_millis(1),
        };
        let metadata = |length: usize| Metadata {
            family: "a".into(),
            help: "x".repeat(length),
            ..Default::default()
        };
        let mut one = named("a");
        one.exemplars = vec![exemplar(10), exemplar(2000)];
        let mut batch = MetricBatch {
            series: vec![one],
            metadata: vec![metadata(10), metadata(100_000)],
            ..Default::default()
        };
        let refused = admit(&[], &mut batch, &Limits::default(), 9);
        assert_eq!(batch.series[0].exemplars, [exemplar(10)]);
        assert_eq!(batch.metadata, [metadata(10)]);
        assert_eq!(refused.series(Reason::Exemplar), 1);
        assert_eq!(refused.series(Reason::Metadata), 1);
        assert_eq!(refused.samples(), 0);
    }

    #[test]
    fn what_a_batch_weighs_is_more_than_its_samples() {
        let weigh = |buckets: usize| {
            let histogram = Histogram {
                positive: vec![1.0; buckets],
                ..Histogram::default()
            };
            let one = series(&[("__name__", "h")], Value::Histogram(Arc::new(histogram)));
            weight(&MetricBatch {
                series: vec![one],
                ..MetricBatch::default()
            })
        };
        assert!(weigh(1000) >= weigh(0) + 8 * 1000);
        // A group ends at a mebibyte, long before the buckets that a record may have.
        assert!(weigh(BUCKETS_TOTAL_MAX / 64) > 1 << 20);
    }
}
