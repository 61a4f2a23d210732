//! What a scrape becomes: from what was read and what the book remembers, a batch and what changes
//! in the book once the batch is stored.
//!
//! Invariants: every series that ends gets exactly one staleness marker; the series about the
//! scrape itself are always written; samples of series whose numbers are known carry no labels.

use std::sync::Arc;

use obs_model::labels::is_legacy_name;
use obs_model::limits::Limits;
use obs_model::metrics::{Exemplar, KnownSamples, Sample};
use obs_model::numbers::Numbers;
use obs_model::sample::stale;
use obs_model::{Labels, MetricBatch, Series, Timestamp, Value};
use obs_wire::prometheus::normal_number;

use super::book::{Book, Changes, Known};
use crate::config::{HistogramSettings, Job, NameValidation};
use crate::relabel;

/// What a body is read for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scrape<'a> {
    pub job: &'a Job,
    pub target: &'a Labels,
    pub limits: &'a Limits,
    /// When it began.
    pub time: Timestamp,
    /// What is made of histograms.
    pub histograms: HistogramSettings,
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
    /// The book's series of the samples that carry a number only.
    places: Vec<u32>,
    pub(super) changes: Changes,
    pub counts: Counts,
}

impl Assembled {
    /// With room for the samples of a scrape like the last one.
    pub(super) fn for_book(book: &Book, samples: usize) -> Self {
        let known = KnownSamples {
            epoch: book.epoch(),
            numbers: Vec::with_capacity(samples),
            times: Vec::with_capacity(samples),
            values: Vec::with_capacity(samples),
        };
        Self {
            batch: MetricBatch {
                known,
                ..MetricBatch::default()
            },
            places: Vec::with_capacity(samples),
            ..Self::default()
        }
    }

    /// Adds a sample.
    #[inline]
    pub(super) fn push(&mut self, book: &Book, series: u32, millis: i64, value: f64) {
        let known = &book.series[series as usize];
        match known.number() {
            Some(number) => {
                self.batch.known.push(number, millis, value);
                self.places.push(series);
            }
            None => self.batch.series.push(labelled(known, millis, value)),
        }
    }

    /// Adds a sample that no number can stand for.
    pub(super) fn labelled(
        &mut self,
        book: &Book,
        series: u32,
        sample: Sample,
        exemplars: Vec<Exemplar>,
    ) {
        let known = &book.series[series as usize];
        self.batch.series.push(Series {
            labels: known.labels.clone(),
            samples: vec![sample],
            exemplars,
            key: None,
        });
    }

    /// Adds an exemplar of the sample added last.
    pub(super) fn exemplar(&mut self, book: &Book, series: u32, exemplar: Exemplar) {
        let known = &book.series[series as usize];
        let last = self.batch.series.last_mut();
        match last.filter(|_| known.number().is_none()) {
            Some(with_sample) => with_sample.exemplars.push(exemplar),
            None => self.batch.series.push(Series {
                labels: known.labels.clone(),
                exemplars: vec![exemplar],
                ..Series::default()
            }),
        }
    }

    /// Adds the marker of a series that is gone.
    pub(super) fn end(&mut self, book: &Book, series: u32, millis: i64) {
        self.push(book, series, millis, stale());
    }

    /// The places of the samples that carry a number only, for [`labelled_again`].
    pub(crate) fn places(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.places)
    }
}

/// The batch with labels instead of numbers, because the store forgot the numbers.
pub(crate) fn labelled_again(book: &Book, mut batch: MetricBatch, places: &[u32]) -> MetricBatch {
    let known = std::mem::take(&mut batch.known);
    let samples = known.times.iter().zip(&known.values);
    let series = places
        .iter()
        .zip(samples)
        .map(|(place, (millis, value))| labelled(&book.series[*place as usize], *millis, *value));
    // They arrived before the others.
    let mut all: Vec<Series> = series.collect();
    all.append(&mut batch.series);
    batch.series = all;
    batch
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

pub(super) fn over_sample_limit(job: &Job, counts: Counts) -> bool {
    job.limits.samples > 0 && counts.kept as u64 > job.limits.samples
}

/// A scrape over its sample limit.
pub(super) fn sample_limit(job: &Job, counts: Counts) -> Refused {
    Refused {
        fault: format!("sample limit exceeded (limit: {})", job.limits.samples),
        counts: Counts { added: 0, ..counts },
    }
}

/// Staleness markers for all that the scrape before wrote, because this one failed. The book was
/// opened.
pub(crate) fn failed(book: &Book, time: Timestamp) -> Assembled {
    let mut out = Assembled::for_book(book, 0);
    for gone in book
        .tracked
        .without(&out.changes.tracked)
        .collect::<Vec<_>>()
    {
        out.end(book, gone, time.millis());
    }
    out
}

/// Markers for everything of a target that is gone, the series about its scrapes included.
pub(crate) fn ended(
    job: &Arc<Job>,
    target: &Labels,
    book: &mut Book,
    numbers: Option<&Numbers>,
    time: Timestamp,
) -> Assembled {
    book.open(job, numbers);
    let mut out = failed(book, time);
    if book.reported {
        let names = report_values(job, &Attempt::default(), Counts::default(), false, 0.0);
        for (name, _) in names {
            let series = book.report(target, name);
            out.end(book, series, time.millis());
        }
    }
    out
}

/// Adds the series about the scrape.
pub(crate) fn report(
    job: &Job,
    target: &Labels,
    book: &mut Book,
    assembled: &mut Assembled,
    attempt: &Attempt,
    timeout_seconds: f64,
    up: bool,
) {
    for (name, value) in report_values(job, attempt, assembled.counts, up, timeout_seconds) {
        let series = book.report(target, name);
        assembled.push(book, series, attempt.time.millis(), value);
    }
    assembled.changes.reported = true;
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

/// A sample with the labels of its series, and the key by which its number is asked for later.
fn labelled(known: &Known, millis: i64, value: f64) -> Series {
    Series {
        labels: known.labels.clone(),
        samples: vec![Sample {
            time: Timestamp::from_millis(millis),
            start: None,
            value: Value::Float(value),
        }],
        exemplars: Vec::new(),
        key: Some(known.key),
    }
}

/// Joins the labels of a sample and its target, then relabels; `None` where it is dropped. `unset`
/// are the labels that the sample says it does not have.
pub(super) fn rewrite(
    job: &Job,
    target: &Labels,
    scraped: &Labels,
    unset: &[String],
) -> Option<Labels> {
    let mut builder = scraped.to_builder();
    // As Prometheus: numbers that are equal must make labels that are equal.
    for name in ["le", "quantile"] {
        let normal = scraped.get(name).and_then(normal_number);
        if let Some(normal) = normal {
            builder.set(name, &normal);
        }
    }
    for (name, value) in target {
        if job.honor_labels && unset.iter().any(|unset| unset == name) {
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

/// Whether the job takes labels.
pub(super) fn check(job: &Job, labels: &Labels) -> Result<(), String> {
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
pub(super) mod tests;
