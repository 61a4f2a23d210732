//! The texts of warnings and infos, as Prometheus writes them.

use obs_model::Labels;

use crate::error::Place;

/// The metric's name as annotations show it; nothing where there is none.
fn metric(labels: &Labels) -> String {
    match labels.metric_name() {
        Some(name) => format!(" {}", crate::promql::strings::quote(name)),
        None => String::new(),
    }
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

pub(super) fn not_a_counter(labels: &Labels, place: Place) -> Option<String> {
    let name = labels.metric_name()?;
    if let Some(kind) = labels.get("__type__") {
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

pub(super) fn bad_bucket(labels: &Labels, place: Place) -> String {
    let le = labels.get("le").unwrap_or("");
    format!(
        "PromQL warning: bucket label \"le\" is missing or has a malformed value of {le:?} for metric name{} ({place})",
        metric(labels)
    )
}

pub(super) fn mixed_kinds(labels: &Labels, place: Place) -> String {
    format!(
        "PromQL warning: vector contains a mix of classic and native histograms for metric name{} ({place})",
        metric(labels)
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

pub(super) fn forced_monotonic(labels: &Labels, place: Place) -> String {
    format!(
        "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile) for metric name{} ({place})",
        metric(labels)
    )
}

pub(super) fn nan_observations(
    function: &str,
    what: &str,
    labels: &Labels,
    place: Place,
) -> String {
    format!(
        "PromQL info: input to {function} has NaN observations, {what} for metric name{} ({place})",
        metric(labels)
    )
}
