//! What a scrape becomes: a pure function from an exposition, the target and what the scrape
//! before left, to a batch and what the next scrape needs to know.
//!
//! Invariants: a scrape is stored as a whole or fails as a whole (limits, names); every series
//! that ends gets exactly one staleness marker; the series about the scrape itself are always
//! written.

use std::collections::{HashMap, HashSet};

use obs_model::labels::is_legacy_name;
use obs_model::metrics::{Metadata, Sample};
use obs_model::sample::stale;
use obs_model::{Labels, MetricBatch, Series, Timestamp, Value, labels::METRIC_NAME};
use obs_wire::prometheus::{Exposition, ScrapedSample};

use crate::config::{Job, NameValidation};
use crate::relabel;

/// What the next scrape of a target needs to know.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// Series that get a marker when they are gone.
    series: HashSet<Labels>,
    /// Metadata already sent, by family.
    metadata: HashMap<String, Metadata>,
    /// Whether the series about the scrape were ever written.
    reported: bool,
}

impl State {
    /// Takes over what an earlier state knew, because the batch between them was not stored.
    pub(crate) fn keep(&mut self, earlier: &Self) {
        self.series.extend(earlier.series.iter().cloned());
        self.metadata.clone_from(&earlier.metadata);
        self.reported |= earlier.reported;
    }
}

/// Counts of one scrape, for its own series.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    /// Samples in the body.
    pub scraped: usize,
    /// Samples after relabelling.
    pub kept: usize,
    /// Series that the scrape before did not have.
    pub added: usize,
}

/// Facts about the attempt that only the clock and the network know.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attempt {
    /// When it began.
    pub time: Timestamp,
    /// How long it took.
    pub seconds: f64,
    /// Bytes of the body; -1 when it was over its limit.
    pub body_bytes: i64,
}

/// A batch ready for the sink.
#[derive(Debug, Default)]
pub(crate) struct Assembled {
    pub batch: MetricBatch,
    pub state: State,
    pub counts: Counts,
}

/// Why a scrape fails although there was a body, and what was counted all the same: who is over a
/// limit sees by how much.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Refused {
    pub fault: String,
    pub counts: Counts,
}

impl From<String> for Refused {
    fn from(fault: String) -> Self {
        let counts = Counts::default();
        Self { fault, counts }
    }
}

/// The samples of a successful scrape, without the series about it.
pub(crate) fn assemble(
    job: &Job,
    target: &Labels,
    exposition: Exposition,
    previous: &State,
    time: Timestamp,
) -> Result<Assembled, Refused> {
    let mut out = Assembled::default();
    let mut tracked = HashSet::with_capacity(exposition.samples.len());
    out.counts.scraped = exposition.samples.len();
    for scraped in exposition.samples {
        let Some(labels) = rewrite(job, target, &scraped) else {
            continue;
        };
        if let Err(fault) = check(job, &labels) {
            let counts = out.counts;
            return Err(Refused { fault, counts });
        }
        out.counts.kept += 1;
        if over_sample_limit(job, out.counts) {
            continue; // Only to count the rest.
        }
        let own_time = scraped.time.filter(|_| job.honor_timestamps);
        let track = own_time.is_none() || job.track_timestamps_staleness;
        if track && !tracked.insert(labels.clone()) && own_time.is_none() {
            continue; // The same series twice in one body: the first one counts.
        }
        if track && !previous.series.contains(&labels) {
            out.counts.added += 1;
        }
        out.batch
            .series
            .push(series(labels, scraped, own_time.unwrap_or(time)));
    }
    if over_sample_limit(job, out.counts) {
        return Err(Refused {
            fault: format!("sample limit exceeded (limit: {})", job.limits.samples),
            counts: Counts {
                added: 0,
                ..out.counts
            },
        });
    }
    for gone in previous.series.difference(&tracked) {
        out.batch.series.push(one(gone.clone(), time, stale()));
    }
    out.state.series = tracked;
    out.state.metadata = previous.metadata.clone();
    for entry in exposition.metadata {
        if out.state.metadata.get(&entry.family) != Some(&entry) {
            out.batch.metadata.push(entry.clone());
            out.state.metadata.insert(entry.family.clone(), entry);
        }
    }
    Ok(out)
}

fn over_sample_limit(job: &Job, counts: Counts) -> bool {
    job.limits.samples > 0 && counts.kept as u64 > job.limits.samples
}

/// Staleness markers for all that the scrape before wrote, because this one failed.
pub(crate) fn failed(previous: &State, time: Timestamp) -> Assembled {
    let ended = previous.series.iter();
    let series = ended.map(|labels| one(labels.clone(), time, stale()));
    Assembled {
        batch: MetricBatch {
            series: series.collect(),
            metadata: Vec::new(),
            ..Default::default()
        },
        state: State {
            series: HashSet::new(),
            metadata: previous.metadata.clone(),
            reported: previous.reported,
        },
        counts: Counts::default(),
    }
}

/// Markers for everything of a target that is gone, the series about its scrapes included.
pub(crate) fn ended(job: &Job, target: &Labels, previous: &State, time: Timestamp) -> MetricBatch {
    let mut batch = failed(previous, time).batch;
    if previous.reported {
        let names = report_values(job, &Attempt::default(), Counts::default(), false, 0.0);
        for (name, _) in names {
            batch
                .series
                .push(one(report_labels(target, name), time, stale()));
        }
    }
    batch
}

/// Adds the series about the scrape.
pub(crate) fn report(
    job: &Job,
    target: &Labels,
    assembled: &mut Assembled,
    attempt: &Attempt,
    timeout_seconds: f64,
    up: bool,
) {
    for (name, value) in report_values(job, attempt, assembled.counts, up, timeout_seconds) {
        let labels = report_labels(target, name);
        assembled
            .batch
            .series
            .push(one(labels, attempt.time, value));
    }
    assembled.state.reported = true;
}

fn report_values(
    job: &Job,
    attempt: &Attempt,
    counts: Counts,
    up: bool,
    timeout_seconds: f64,
) -> Vec<(&'static str, f64)> {
    let mut values = vec![
        ("up", f64::from(u8::from(up))),
        ("scrape_duration_seconds", attempt.seconds),
        ("scrape_samples_scraped", counts.scraped as f64),
        ("scrape_samples_post_metric_relabeling", counts.kept as f64),
        ("scrape_series_added", counts.added as f64),
    ];
    if job.extra_metrics {
        values.push(("scrape_timeout_seconds", timeout_seconds));
        values.push(("scrape_sample_limit", job.limits.samples as f64));
        values.push(("scrape_body_size_bytes", attempt.body_bytes as f64));
    }
    values
}

fn report_labels(target: &Labels, name: &str) -> Labels {
    target.to_builder().set(METRIC_NAME, name).build()
}

fn one(labels: Labels, time: Timestamp, value: f64) -> Series {
    Series {
        labels,
        samples: vec![Sample {
            time,
            start: None,
            value: Value::Float(value),
        }],
        exemplars: Vec::new(),
        ..Default::default()
    }
}

fn series(labels: Labels, scraped: ScrapedSample, time: Timestamp) -> Series {
    let exemplar = scraped.exemplar.map(|e| e.into_exemplar(time));
    Series {
        exemplars: exemplar.into_iter().collect(),
        ..one(labels, time, scraped.value)
    }
}

/// Joins the labels of a sample and its target, then relabels; `None` where it is dropped.
fn rewrite(job: &Job, target: &Labels, scraped: &ScrapedSample) -> Option<Labels> {
    let mut builder = scraped.labels.to_builder();
    for (name, value) in target {
        if job.honor_labels && scraped.unset.iter().any(|unset| unset == name) {
            continue; // Said to be empty, as the push gateway does: it has no such label.
        }
        match builder.get(name).map(str::to_owned) {
            Some(_) if job.honor_labels => {}
            Some(exposed) => {
                let mut renamed = format!("exported_{name}");
                while builder.get(&renamed).is_some() || target.get(&renamed).is_some() {
                    renamed.insert_str(0, "exported_");
                }
                builder.set(&renamed, &exposed);
                builder.set(name, value);
            }
            None => {
                builder.set(name, value);
            }
        }
    }
    if !job.metric_relabel.is_empty() && !relabel::apply(&job.metric_relabel, &mut builder) {
        return None;
    }
    let labels = builder.build();
    (!labels.is_empty()).then_some(labels)
}

fn check(job: &Job, labels: &Labels) -> Result<(), String> {
    let Some(metric) = labels.metric_name() else {
        return Err(format!("missing metric name ({labels})"));
    };
    if job.validation == NameValidation::Legacy {
        let invalid = |name: &str| !is_legacy_name(name);
        // Metric names may hold colons.
        if invalid(&metric.replace(':', "_")) || labels.iter().any(|(name, _)| invalid(name)) {
            return Err(format!("invalid metric name or label names: {labels}"));
        }
    }
    let limits = &job.limits;
    let over = |length: usize, limit: u64| limit > 0 && length as u64 > limit;
    if over(labels.len(), limits.labels) {
        return Err(format!(
            "label_limit exceeded (metric: {metric:.50}, number of labels: {}, limit: {})",
            labels.len(),
            limits.labels
        ));
    }
    for (name, value) in labels {
        if over(name.len(), limits.label_name_bytes) {
            return Err(format!(
                "label_name_length_limit exceeded (metric: {metric:.50}, label name: {name:.50}, length: {}, limit: {})",
                name.len(),
                limits.label_name_bytes
            ));
        }
        if over(value.len(), limits.label_value_bytes) {
            return Err(format!(
                "label_value_length_limit exceeded (metric: {metric:.50}, label name: {name:.50}, value: {value:.50}, length: {}, limit: {})",
                value.len(),
                limits.label_value_bytes
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
