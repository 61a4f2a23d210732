//! The series that the evaluations of a test file read.

use std::collections::BTreeMap;
use std::sync::Arc;

use obs_model::budget::Budget;
use obs_model::histogram::{BucketSpan, CUSTOM_BUCKETS_SCHEMA, ResetHint};
use obs_model::labels::METRIC_NAME;
use obs_model::limits::Limits;
use obs_model::{Annotations, Answer, Histogram, Labels, Samples, Timestamp, Value};

use super::series;
use crate::error::QueryError;
use crate::plan::{Leaf, MetricPlan, SelectedSeries};
use crate::request::{Plan, Request, When};
use crate::run::Query;

/// Series in memory, as Prometheus' storage would give them back.
#[derive(Debug, Default)]
pub(super) struct Memory {
    series: BTreeMap<Labels, Samples>,
}

/// What a `load` command brings: per series times in milliseconds, values and starts.
type Loaded = BTreeMap<Labels, Vec<(i64, Value, i64)>>;

impl Memory {
    /// Adds the series of a command; `Err` has the place among the lines.
    pub(super) fn load(
        &mut self,
        step_ms: i64,
        lines: &[&str],
        custom_buckets: bool,
    ) -> Result<(), (usize, String)> {
        let mut loaded = Loaded::new();
        let mut pending: Option<(Labels, Vec<Option<i64>>)> = None;
        for (at, line) in lines.iter().enumerate() {
            let fault = |text: String| (at, text);
            let (metric, values) = series::split(line);
            if let Some(metric) = metric.strip_suffix("@st") {
                if pending.is_some() {
                    return Err(fault("@st line has no following sample line".to_owned()));
                }
                let labels = series::labels(metric).map_err(fault)?;
                pending = Some((labels, series::starts(values).map_err(fault)?));
                continue;
            }
            let (labels, items) = series::row(line).map_err(fault)?;
            let mut starts = Vec::new();
            if let Some((of, found)) = pending.take() {
                if of != labels {
                    let text = "@st metric does not match the following sample line metric";
                    return Err(fault(text.to_owned()));
                }
                if found.len() != items.len() {
                    let (a, b) = (found.len(), items.len());
                    let text = format!("@st line has {a} values but sample line has {b}");
                    return Err(fault(text));
                }
                starts = found;
            }
            let mut samples = Vec::new();
            for (index, item) in items.into_iter().enumerate() {
                let time = step_ms.saturating_mul(index as i64);
                let start = starts.get(index).copied().flatten();
                let start = start.map_or(0, |start| time.saturating_add(start));
                samples.extend(item.map(|item| (time, item.value, start)));
            }
            loaded.insert(labels, samples);
        }
        let last = lines.len().saturating_sub(1);
        if pending.is_some() {
            return Err((last, "@st line has no following sample line".to_owned()));
        }
        if custom_buckets {
            let converted = native(&loaded).map_err(|text| (last, text))?;
            loaded.extend(converted);
        }
        self.append(loaded).map_err(|text| (last, text))
    }

    fn append(&mut self, loaded: Loaded) -> Result<(), String> {
        for (labels, found) in loaded {
            let samples = self.series.entry(labels.clone()).or_default();
            for (time, value, start) in found {
                let time = Timestamp::from_millis(time);
                let last = samples.len().checked_sub(1);
                let before = last.map(|last| samples.value(last));
                match samples.times.last() {
                    Some(known) if *known == time => {
                        if before.is_some_and(|before| before.bit_eq(&value)) {
                            continue;
                        }
                        return Err(format!("duplicate sample for timestamp in {labels}"));
                    }
                    Some(known) if *known > time => {
                        return Err(format!("out of order sample in {labels}"));
                    }
                    Some(_) | None => {}
                }
                samples.push_started(time, hinted(before.as_ref(), value), start);
            }
        }
        Ok(())
    }

    /// Evaluates a query as the files want it: with all features.
    pub(super) fn run(
        &self,
        text: &str,
        when: When,
        delayed_names: bool,
        pool: &rayon::ThreadPool,
    ) -> Result<(Answer, Annotations), String> {
        let limits = Limits::default();
        let expr = crate::promql::parse(text, &limits).map_err(|e| e.to_string())?;
        let request = Request {
            delayed_names,
            start_timestamps: true,
            ..Request::new(when)
        };
        let plan = crate::promql::plan(&expr, text, &request, &limits);
        let plan = plan.map_err(|e| e.to_string())?;
        self.eval(&plan, &limits, pool).map_err(|e| e.to_string())
    }

    /// Answers a query as it is asked.
    pub(super) fn answer(
        &self,
        query: &Query,
        request: &Request,
        limits: &Limits,
        pool: &rayon::ThreadPool,
    ) -> Result<(Answer, Annotations), QueryError> {
        match query.plan(request, limits)? {
            Plan::Metric(plan) => self.eval(&plan, limits, pool),
            Plan::Logs(_) | Plan::Traces(_) | Plan::SpanMetrics(_) => Err(other_language()),
        }
    }

    fn eval(
        &self,
        plan: &MetricPlan,
        limits: &Limits,
        pool: &rayon::ThreadPool,
    ) -> Result<(Answer, Annotations), QueryError> {
        let mut selected = Vec::new();
        for read in &plan.leaves {
            let Leaf::Metrics(matchers) = &read.leaf else {
                return Err(other_language());
            };
            let all = self.series.iter();
            let matching = all.filter(|(l, _)| obs_model::matcher::all_match(matchers, l));
            let cut = matching.map(|(labels, samples)| {
                let from = samples.times.partition_point(|t| *t < read.range.start);
                let mut kept = Samples::default();
                for index in from..samples.len() {
                    let time = samples.times[index];
                    if !read.range.contains(time) {
                        break;
                    }
                    kept.push_started(time, samples.value(index), samples.start(index));
                }
                SelectedSeries {
                    labels: labels.clone(),
                    samples: kept,
                }
            });
            selected.push(cut.filter(|s| !s.samples.is_empty()).collect());
        }
        let budget = Budget::new(limits);
        crate::eval::eval(plan, &selected, &budget, pool)
    }

    /// Adds a sample; `false` where a younger one, or another of the same time, is there.
    pub(super) fn push(&mut self, labels: &Labels, time: Timestamp, value: Value) -> bool {
        let samples = self.series.entry(labels.clone()).or_default();
        let last = samples.len().checked_sub(1);
        let before = last.map(|last| (samples.times[last], samples.value(last)));
        match &before {
            Some((known, before)) if *known == time => return before.bit_eq(&value),
            Some((known, _)) if *known > time => return false,
            Some(_) | None => {}
        }
        let value = hinted(before.as_ref().map(|(_, value)| value), value);
        samples.push(time, value);
        true
    }

    /// All series.
    pub(super) fn series(&self) -> impl Iterator<Item = (&Labels, &Samples)> {
        self.series.iter()
    }
}

fn other_language() -> QueryError {
    QueryError::Unsuitable("a test of rules has samples only: expected PromQL".to_owned())
}

/// The value as Prometheus' storage gives it back: behind a histogram without a reset, the hint
/// says so; behind anything else nothing is known.
fn hinted(before: Option<&Value>, value: Value) -> Value {
    let Value::Histogram(histogram) = &value else {
        return value;
    };
    if histogram.reset_hint == ResetHint::Gauge || histogram.is_stale() {
        return value;
    }
    let follows = match before {
        Some(Value::Histogram(before)) => !crate::eval::was_reset(before, histogram),
        Some(Value::Float(_)) | None => false,
    };
    let reset_hint = if follows {
        ResetHint::NotReset
    } else {
        ResetHint::Unknown
    };
    Value::Histogram(Arc::new(Histogram {
        reset_hint,
        ..histogram.as_ref().clone()
    }))
}

/// A classic histogram at one time.
#[derive(Debug, Default)]
struct Classic {
    /// Upper bounds with cumulative counts.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// The classic histograms of a command as native ones with custom buckets.
fn native(loaded: &Loaded) -> Result<Loaded, String> {
    let mut classics: BTreeMap<Labels, BTreeMap<i64, Classic>> = BTreeMap::new();
    for (labels, samples) in loaded {
        let name = labels.metric_name().unwrap_or("");
        let part = ["_bucket", "_sum", "_count"]
            .into_iter()
            .find_map(|end| name.strip_suffix(end).map(|base| (base, end)));
        let Some((base, part)) = part else {
            continue;
        };
        let bound = labels.get("le").unwrap_or("").parse::<f64>();
        let bound = bound.ok().filter(|bound| !bound.is_nan());
        if part == "_bucket" && bound.is_none() {
            continue;
        }
        let mut builder = labels.without(|name| name == "le").to_builder();
        builder.set(METRIC_NAME, base);
        let times = classics.entry(builder.build()).or_default();
        for (time, value, _) in samples {
            let Value::Float(value) = value else {
                continue;
            };
            let classic = times.entry(*time).or_default();
            match (part, bound) {
                ("_sum", _) => classic.sum = *value,
                ("_count", _) => classic.count = Some(*value),
                (_, Some(bound)) => classic.buckets.push((bound, *value)),
                (_, None) => {}
            }
        }
    }
    let mut out = Loaded::new();
    for (labels, times) in classics {
        let mut samples = Vec::new();
        for (time, classic) in times {
            let histogram = classic.histogram()?;
            samples.push((time, Value::Histogram(Arc::new(histogram)), 0));
        }
        out.insert(labels, samples);
    }
    Ok(out)
}

impl Classic {
    fn histogram(mut self) -> Result<Histogram, String> {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.buckets.dedup_by_key(|(bound, _)| *bound);
        let highest = self.buckets.last().copied();
        let count = self
            .count
            .or(highest.map(|(_, count)| count))
            .unwrap_or(0.0);
        if highest.is_none_or(|(bound, _)| bound != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let mut histogram = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count,
            sum: self.sum,
            ..Histogram::default()
        };
        let mut before = 0.0;
        for (bound, total) in self.buckets {
            if total < before || total < 0.0 {
                return Err(format!("count is not cumulative: {total} < {before}"));
            }
            histogram.positive.push(total - before);
            before = total;
            if bound != f64::INFINITY {
                histogram.custom_bounds.push(bound);
            }
        }
        if before != count {
            return Err(format!(
                "count mismatch: count={count} != le=+Inf count={before}"
            ));
        }
        histogram.positive_spans = vec![BucketSpan {
            offset: 0,
            length: histogram.positive.len() as u32, // as many as there are series
        }];
        Ok(crate::eval::compacted(&histogram))
    }
}
