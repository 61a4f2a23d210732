//! What StatsD's lines add up to between two writes: counters, gauges, sets, summaries and
//! histograms.
//!
//! Invariants: the series are bounded, further ones are counted and not kept; a name has one kind;
//! counters never go down; a series without lines for its time to live ends with a stale marker.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use obs_model::labels::METRIC_NAME;
use obs_model::metrics::{Metadata, MetricKind, Sample};
use obs_model::{Labels, LabelsBuilder, MetricBatch, Series, Timestamp, Value};
use obs_wire::influx::clean;
use obs_wire::prometheus::pushed::shown;
use obs_wire::statsd::{Change, Line};

use crate::renaming::{ObserverKind, Renamed, Renaming, StatsdKind};

/// Series, without a word about it.
pub(crate) const SERIES_MAX: usize = 100_000;
/// Observations that quantiles are taken of; the newest.
const OBSERVATIONS_MAX: usize = 1024;
/// How long they count, as in statsd_exporter.
const OBSERVATIONS_AGE: Duration = Duration::from_secs(600);
/// Members of one set between two writes.
const MEMBERS_MAX: usize = 10_000;

#[derive(Debug)]
enum State {
    Counter(f64),
    Gauge(f64),
    Set(HashSet<String>),
    Summary {
        quantiles: Vec<f64>,
        seen: VecDeque<(Timestamp, f64)>,
        sum: f64,
        count: f64,
    },
    Histogram {
        bounds: Vec<f64>,
        counts: Vec<f64>,
        sum: f64,
        count: f64,
    },
}

impl State {
    fn kind(&self) -> MetricKind {
        match self {
            Self::Counter(_) => MetricKind::Counter,
            Self::Gauge(_) | Self::Set(_) => MetricKind::Gauge,
            Self::Summary { .. } => MetricKind::Summary,
            Self::Histogram { .. } => MetricKind::Histogram,
        }
    }

    /// Series of the store that it makes.
    fn series(&self) -> usize {
        match self {
            Self::Counter(_) | Self::Gauge(_) | Self::Set(_) => 1,
            Self::Summary { quantiles, .. } => quantiles.len() + 2,
            Self::Histogram { bounds, .. } => bounds.len() + 3,
        }
    }
}

#[derive(Debug)]
struct Metric {
    name: String,
    state: State,
    touched: Timestamp,
    ttl: Option<Duration>,
}

/// Everything that was counted.
#[derive(Debug)]
pub(crate) struct Registry {
    renaming: Renaming,
    metrics: HashMap<Labels, Metric>,
    kinds: HashMap<String, (MetricKind, String)>,
    series: usize,
    series_max: usize,
}

impl Registry {
    pub(crate) fn new(renaming: Renaming, series_max: usize) -> Self {
        Self {
            renaming,
            metrics: HashMap::new(),
            kinds: HashMap::new(),
            series: 0,
            series_max,
        }
    }

    /// Takes a line; false where it could not be kept.
    pub(crate) fn add(&mut self, line: &Line, now: Timestamp) -> bool {
        let kind = match &line.change {
            Change::Count(_) => StatsdKind::Counter,
            Change::Set(_) | Change::Add(_) | Change::Member(_) => StatsdKind::Gauge,
            Change::Time(..) | Change::Observe(..) => StatsdKind::Observer,
        };
        // What a mapping drops was asked to be dropped.
        let Some((renamed, _)) = self.renaming.apply(&line.name, kind) else {
            return true;
        };
        let labels = labels(line, &renamed);
        if !self.metrics.contains_key(&labels) && !self.begin(&labels, &renamed, &line.change, now)
        {
            return false;
        }
        let Some(metric) = self.metrics.get_mut(&labels) else {
            return false;
        };
        metric.touched = now;
        change(&mut metric.state, &line.change, renamed.scale, now)
    }

    fn begin(
        &mut self,
        labels: &Labels,
        renamed: &Renamed,
        change: &Change,
        now: Timestamp,
    ) -> bool {
        let state = match change {
            Change::Count(_) => State::Counter(0.0),
            Change::Set(_) | Change::Add(_) => State::Gauge(0.0),
            Change::Member(_) => State::Set(HashSet::new()),
            Change::Time(..) | Change::Observe(..) => match renamed.kind {
                ObserverKind::Summary => State::Summary {
                    quantiles: renamed.quantiles.clone(),
                    seen: VecDeque::new(),
                    sum: 0.0,
                    count: 0.0,
                },
                ObserverKind::Histogram => State::Histogram {
                    bounds: renamed.buckets.clone(),
                    counts: vec![0.0; renamed.buckets.len()],
                    sum: 0.0,
                    count: 0.0,
                },
            },
        };
        let known = self.kinds.get(&renamed.name).map(|(kind, _)| *kind);
        let fits = known.is_none_or(|kind| kind == state.kind());
        if !fits || self.series + state.series() > self.series_max {
            return false;
        }
        self.series += state.series();
        let told = (state.kind(), renamed.help.clone());
        self.kinds.insert(renamed.name.clone(), told);
        let metric = Metric {
            name: renamed.name.clone(),
            state,
            touched: now,
            ttl: renamed.ttl,
        };
        self.metrics.insert(labels.clone(), metric);
        true
    }

    /// Everything as samples; sets begin anew, and what is too old ends.
    pub(crate) fn collect(&mut self, now: Timestamp) -> MetricBatch {
        let mut batch = MetricBatch::default();
        let mut ended = Vec::new();
        for (labels, metric) in &mut self.metrics {
            let old = |ttl: Duration| {
                now.seconds_f64() - metric.touched.seconds_f64() > ttl.as_secs_f64()
            };
            let over = metric.ttl.is_some_and(old);
            let first = batch.series.len();
            samples(labels, metric, now, &mut batch.series);
            if over {
                let series = batch.series[first..].iter_mut();
                for sample in series.flat_map(|s| &mut s.samples) {
                    sample.value = Value::Float(obs_model::sample::stale());
                }
                ended.push(labels.clone());
            }
        }
        for labels in ended {
            if let Some(metric) = self.metrics.remove(&labels) {
                self.series -= metric.state.series();
            }
        }
        let living: HashSet<&str> = self.metrics.values().map(|m| m.name.as_str()).collect();
        self.kinds.retain(|name, _| living.contains(name.as_str()));
        let told = self.kinds.iter().map(|(name, (kind, help))| Metadata {
            family: name.clone(),
            kind: *kind,
            unit: String::new(),
            help: help.clone(),
        });
        batch.metadata.extend(told);
        batch
    }
}

fn labels(line: &Line, renamed: &Renamed) -> Labels {
    let mut labels = LabelsBuilder::default();
    let tags = line.tags.iter().map(|(n, v)| (clean(n, false), v));
    let tags: Vec<_> = tags.collect();
    for (name, value) in &tags {
        labels.set(name, value);
    }
    for (name, value) in &renamed.labels {
        if !renamed.honor_labels || labels.get(name).is_none() {
            labels.set(name, value);
        }
    }
    labels.set(METRIC_NAME, &renamed.name);
    labels.build()
}

/// False where the change is not one of the state's kind.
fn change(state: &mut State, change: &Change, scale: f64, now: Timestamp) -> bool {
    match (state, change) {
        (State::Counter(total), Change::Count(by)) => *total += by * scale,
        (State::Gauge(value), Change::Set(to)) => *value = to * scale,
        (State::Gauge(value), Change::Add(by)) => *value += by * scale,
        (State::Set(members), Change::Member(member)) => {
            if members.len() >= MEMBERS_MAX && !members.contains(member) {
                return false;
            }
            members.insert(member.clone());
        }
        // Timers are told in milliseconds and kept in seconds.
        (state, Change::Time(millis, weight)) => {
            return observe(state, millis * scale / 1000.0, *weight, now);
        }
        (state, Change::Observe(value, weight)) => {
            return observe(state, value * scale, *weight, now);
        }
        _ => return false,
    }
    true
}

fn observe(state: &mut State, value: f64, weight: f64, now: Timestamp) -> bool {
    match state {
        State::Summary {
            seen, sum, count, ..
        } => {
            *sum += value * weight;
            *count += weight;
            if seen.len() >= OBSERVATIONS_MAX {
                seen.pop_front();
            }
            seen.push_back((now, value));
        }
        State::Histogram {
            bounds,
            counts,
            sum,
            count,
        } => {
            *sum += value * weight;
            *count += weight;
            for (bound, count) in bounds.iter().zip(counts) {
                if value <= *bound {
                    *count += weight;
                }
            }
        }
        State::Counter(_) | State::Gauge(_) | State::Set(_) => return false,
    }
    true
}

fn samples(labels: &Labels, metric: &mut Metric, now: Timestamp, out: &mut Vec<Series>) {
    let name = &metric.name;
    let mut push = |suffix: &str, further: Option<(&str, f64)>, value: f64| {
        let mut builder = labels.to_builder();
        builder.set(METRIC_NAME, &format!("{name}{suffix}"));
        if let Some((label, at)) = further {
            builder.set(label, &shown(at));
        }
        out.push(Series {
            labels: builder.build(),
            samples: vec![Sample {
                time: now,
                start: None,
                value: Value::Float(value),
            }],
            ..Series::default()
        });
    };
    match &mut metric.state {
        State::Counter(value) | State::Gauge(value) => push("", None, *value),
        State::Set(members) => {
            push("", None, members.len() as f64);
            members.clear();
        }
        State::Summary {
            quantiles,
            seen,
            sum,
            count,
        } => {
            let oldest = now.seconds_f64() - OBSERVATIONS_AGE.as_secs_f64();
            seen.retain(|(time, _)| time.seconds_f64() >= oldest);
            let mut sorted: Vec<f64> = seen.iter().map(|(_, value)| *value).collect();
            sorted.sort_by(f64::total_cmp);
            for quantile in quantiles {
                push("", Some(("quantile", *quantile)), rank(&sorted, *quantile));
            }
            push("_sum", None, *sum);
            push("_count", None, *count);
        }
        State::Histogram {
            bounds,
            counts,
            sum,
            count,
        } => {
            for (bound, count) in bounds.iter().zip(counts) {
                push("_bucket", Some(("le", *bound)), *count);
            }
            push("_bucket", Some(("le", f64::INFINITY)), *count);
            push("_sum", None, *sum);
            push("_count", None, *count);
        }
    }
}

/// The value below which a part of the sorted values is; not a number without any.
fn rank(sorted: &[f64], quantile: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let at = (quantile * sorted.len() as f64).ceil() - 1.0;
    let at = (at.max(0.0) as usize).min(last);
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, lines: &str, expect: &[&str], refused: usize) -> Registry {
        let renaming = Renaming::parse(file).expect(file);
        let mut registry = Registry::new(renaming, 12);
        let mut parsed = Vec::new();
        assert_eq!(obs_wire::statsd::decode(lines.as_bytes(), &mut parsed), 0);
        let now = Timestamp::from_seconds(1000);
        let kept = parsed.iter().filter(|line| registry.add(line, now)).count();
        assert_eq!(parsed.len() - kept, refused, "{lines}");
        assert_eq!(tell(registry.collect(now)), expect, "{lines}");
        registry
    }

    fn tell(batch: MetricBatch) -> Vec<String> {
        let mut out: Vec<String> = batch
            .series
            .iter()
            .map(|s| match s.samples[0].value {
                Value::Float(value) if obs_model::sample::is_stale(value) => {
                    format!("{} stale", s.labels)
                }
                Value::Float(value) => format!("{} {value}", s.labels),
                Value::Histogram(_) => String::new(),
            })
            .collect();
        out.sort();
        out
    }

    #[test]
    fn lines_add_up() {
        check(
            "",
            "a.b:1|c|#x-y:z\na.b:2|c|@0.5|#x-y:z\ng:5|g\ng:-2|g\nu:a|s\nu:b|s\nu:a|s\ng:1|c",
            &[
                r#"{__name__="a_b", x_y="z"} 5"#,
                r#"{__name__="g"} 3"#,
                r#"{__name__="u"} 2"#,
            ],
            1,
        );
        check(
            "",
            "t:100|ms\nt:200|ms|@0.5",
            &[
                r#"{__name__="t", quantile="0.5"} 0.1"#,
                r#"{__name__="t", quantile="0.9"} 0.2"#,
                r#"{__name__="t", quantile="0.99"} 0.2"#,
                r#"{__name__="t_count"} 3"#,
                r#"{__name__="t_sum"} 0.5"#,
            ],
            0,
        );
        check(
            "defaults: {observer_type: histogram, buckets: [1, 2]}",
            "h:1.5|h\nh:1|d",
            &[
                r#"{__name__="h_bucket", le="+Inf"} 2"#,
                r#"{__name__="h_bucket", le="1"} 1"#,
                r#"{__name__="h_bucket", le="2"} 2"#,
                r#"{__name__="h_count"} 2"#,
                r#"{__name__="h_sum"} 2.5"#,
            ],
            0,
        );
    }

    #[test]
    fn series_are_bounded_and_end() {
        let lines: String = (0..14).map(|n| format!("c{n}:1|c\n")).collect();
        let renaming = Renaming::parse("defaults: {ttl: 10s}").expect("a file");
        let mut registry = Registry::new(renaming, 12);
        let mut parsed = Vec::new();
        obs_wire::statsd::decode(lines.as_bytes(), &mut parsed);
        let now = Timestamp::from_seconds(1000);
        let kept = parsed.iter().filter(|line| registry.add(line, now)).count();
        assert_eq!(kept, 12);
        let later = Timestamp::from_seconds(1011);
        assert!(registry.add(&parsed[0], later));
        let told = tell(registry.collect(later));
        assert_eq!(
            told.iter().filter(|line| line.ends_with("stale")).count(),
            11
        );
        assert_eq!((registry.series, registry.kinds.len()), (1, 1));
    }
}
