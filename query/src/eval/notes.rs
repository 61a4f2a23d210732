//! The texts of warnings and infos, as Prometheus writes them.

use obs_model::{Annotations, Labels, Timestamp};

use crate::error::Place;

/// The metric's name as annotations show it.
fn metric(labels: &Labels) -> String {
    let name = labels.metric_name().unwrap_or("");
    format!(" {}", crate::promql::strings::quote(name))
}

/// For which metric; nothing where it has no name.
fn for_metric(labels: &Labels) -> String {
    match labels.metric_name() {
        Some(_) => format!(" for metric name{}", metric(labels)),
        None => String::new(),
    }
}

/// The same where names are told at all.
fn for_named(labels: &Labels, named: bool) -> String {
    if named { for_metric(labels) } else { String::new() }
}

/// Notes that are told once for many samples, with what they have in common.
#[derive(Clone, Debug)]
pub(super) enum Counted {
    /// Samples that start before the one before.
    Overlap {
        text: String,
        place: Place,
        count: usize,
    },
    /// Classic buckets that were not monotonic.
    Forced {
        text: String,
        place: Place,
        times: (Timestamp, Timestamp),
        buckets: (f64, f64),
        difference_max: f64,
        count: usize,
    },
}

impl Counted {
    pub(super) fn overlap(labels: &Labels, place: Place, count: usize) -> Self {
        let text = format!(
            "PromQL warning: sample has start time that overlaps with previous sample timestamp for metric{}",
            metric(labels)
        );
        Self::Overlap { text, place, count }
    }

    pub(super) fn forced(
        labels: &Labels,
        place: Place,
        time: Timestamp,
        (first, last, difference_max): (f64, f64, f64),
    ) -> Self {
        let text = format!(
            "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){}",
            for_metric(labels)
        );
        Self::Forced {
            text,
            place,
            times: (time, time),
            buckets: (first, last),
            difference_max,
            count: 1,
        }
    }

    /// What is the same in all that are told as one.
    pub(super) fn key(&self) -> String {
        match self {
            Self::Overlap { text, .. } | Self::Forced { text, .. } => text.clone(),
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::Overlap { count, .. }, Self::Overlap { count: more, .. }) => *count += more,
            (
                Self::Forced {
                    times,
                    buckets,
                    difference_max,
                    count,
                    ..
                },
                Self::Forced {
                    times: other_times,
                    buckets: other_buckets,
                    difference_max: other_max,
                    count: more,
                    ..
                },
            ) => {
                *times = (times.0.min(other_times.0), times.1.max(other_times.1));
                *buckets = (
                    buckets.0.min(other_buckets.0),
                    buckets.1.max(other_buckets.1),
                );
                *difference_max = difference_max.max(*other_max);
                *count += more;
            }
            (Self::Overlap { .. }, Self::Forced { .. })
            | (Self::Forced { .. }, Self::Overlap { .. }) => {}
        }
    }

    pub(super) fn tell(&self, notes: &mut Annotations) {
        match self {
            Self::Overlap { text, place, count } if *count > 1 => {
                notes.warn(format!("{text} ({count} occurrences) ({place})"));
            }
            Self::Overlap { text, place, .. } => notes.warn(format!("{text} ({place})")),
            Self::Forced {
                text,
                place,
                times,
                buckets,
                difference_max,
                count,
            } => {
                let float = crate::eval::answer::float;
                // Whole seconds, as RFC 3339 has them.
                let [from, to] =
                    [times.0, times.1].map(|t| Timestamp::from_seconds(t.millis() / 1000));
                notes.info(format!(
                    "{text}, from buckets {} to {}, with a max diff of {}, over {count} samples from {from} to {to} ({place})",
                    float(buckets.0),
                    float(buckets.1),
                    two_digits(*difference_max),
                ));
            }
        }
    }
}

/// A number as Go's `%.2g` writes it.
fn two_digits(value: f64) -> String {
    let rounded: f64 = format!("{value:.1e}").parse().unwrap_or(value);
    let text = crate::eval::answer::float(rounded);
    if rounded.abs() < 100.0 {
        return text;
    }
    let scientific = format!("{rounded:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    format!("{mantissa}e+{exponent:0>2}")
}

pub(super) fn bad_quantile(q: f64, place: Place) -> String {
    let q = crate::eval::answer::float(q);
    format!("PromQL warning: quantile value should be between 0 and 1, got {q} ({place})")
}

pub(super) fn bad_ratio(ratio: f64, capped: f64, place: Place) -> String {
    let (ratio, capped) = (
        crate::eval::answer::float(ratio),
        crate::eval::answer::float(capped),
    );
    format!(
        "PromQL warning: ratio value should be between -1 and 1, got {ratio}, capping to {capped} ({place})"
    )
}

pub(super) fn not_a_counter(labels: &Labels, by_label: bool, place: Place) -> Option<String> {
    let name = labels.metric_name().filter(|name| !name.is_empty())?;
    if by_label {
        let kind = labels.get("__type__").unwrap_or("");
        if kind == "counter" || kind == "histogram" {
            return None;
        }
        return Some(format!(
            "PromQL info: metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", got {kind:?}:{} ({place})",
            metric(labels)
        ));
    }
    let ends = ["_total", "_sum", "_count", "_bucket"];
    if ends.iter().any(|end| name.ends_with(end)) {
        return None;
    }
    Some(format!(
        "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket:{} ({place})",
        metric(labels)
    ))
}

pub(super) fn mixed_range(labels: &Labels, place: Place) -> String {
    format!(
        "PromQL warning: encountered a mix of histograms and floats for metric name{} ({place})",
        metric(labels)
    )
}

pub(super) fn mixed_aggregation(place: Place) -> String {
    format!("PromQL warning: encountered a mix of histograms and floats for aggregation ({place})")
}

pub(super) fn ignored_in_aggregation(name: &str, place: Place) -> String {
    format!("PromQL info: ignored histogram in {name} aggregation ({place})")
}

pub(super) fn ignored_in_range(labels: &Labels, place: Place) -> String {
    format!(
        "PromQL info: ignored histograms in a range containing both floats and histograms for metric name{} ({place})",
        metric(labels)
    )
}

pub(super) fn incompatible(lhs: &str, op: &str, rhs: &str, place: Place) -> String {
    format!(
        "PromQL info: incompatible sample types encountered for binary operator {op:?}: {lhs} {op} {rhs} ({place})"
    )
}

pub(super) fn bad_bucket(labels: &Labels, named: bool, place: Place) -> String {
    let le = labels.get("le").unwrap_or("");
    format!(
        "PromQL warning: bucket label \"le\" is missing or has a malformed value of {}{} ({place})",
        crate::promql::strings::quote(le),
        for_named(labels, named)
    )
}

pub(super) fn mixed_kinds(labels: &Labels, named: bool, place: Place) -> String {
    format!(
        "PromQL warning: vector contains a mix of classic and native histograms{} ({place})",
        for_named(labels, named)
    )
}

pub(super) fn sort_in_range(place: Place) -> String {
    format!(
        "PromQL warning: sort is ineffective for range queries since results are always ordered by labels ({place})"
    )
}

pub(super) fn mixed_layouts(labels: &Labels, place: Place) -> String {
    format!(
        "PromQL warning: vector contains a mix of histograms with exponential and custom buckets schemas for metric name{} ({place})",
        metric(labels)
    )
}

pub(super) fn incompatible_layout(op: &str, place: Place) -> String {
    format!(
        "PromQL warning: incompatible bucket layout encountered for binary operator {op} ({place})"
    )
}

pub(super) fn conflicting_resets(what: &str, place: Place) -> String {
    format!("PromQL warning: conflicting counter resets during histogram {what} ({place})")
}

pub(super) fn reconciled(what: &str, place: Place) -> String {
    format!("PromQL info: mismatched custom buckets were reconciled during {what} ({place})")
}

pub(super) fn not_counter_histogram(labels: &Labels, place: Place) -> String {
    let name = metric(labels);
    format!("PromQL warning: this native histogram metric is not a counter:{name} ({place})")
}

pub(super) fn not_gauge_histogram(labels: &Labels, place: Place) -> String {
    let name = metric(labels);
    format!("PromQL warning: this native histogram metric is not a gauge:{name} ({place})")
}

pub(super) fn nan_observations(
    function: &str,
    what: &str,
    labels: &Labels,
    place: Place,
) -> String {
    format!(
        "PromQL info: input to {function} has NaN observations, {what}{} ({place})",
        for_metric(labels)
    )
}
