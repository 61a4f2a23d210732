//! OTLP metrics as Prometheus takes them by default (`UnderscoreEscapingWithSuffixes`).
//!
//! Gauges and cumulative sums become float series, explicit histograms classic `_bucket`, `_sum`
//! and `_count`, exponential ones native histograms, summaries quantiles; what identifies a
//! resource becomes `job` and `instance`, the rest of it `target_info`.
//!
//! Invariants: a data point is taken whole or rejected whole with a reason; the labels made for one
//! request take at most `decompressed_bytes_max` bytes, however many buckets share large attributes.

mod histogram;
pub(crate) mod name;
mod strategy;

use std::collections::BTreeMap;

use obs_model::labels::{Labels, LabelsBuilder, METRIC_NAME};
use obs_model::limits::Limits;
use obs_model::metrics::{Exemplar, Metadata, MetricBatch, MetricKind, Sample, Series};
use obs_model::sample::{Value, stale};
use obs_model::spans::Attribute;
use obs_model::time::{NANOS_PER_SECOND, Timestamp};

use super::attributes::{self, check_labels, hex_id, to_text};
use super::proto::metrics as proto;
use super::{Decoded, Rejects, Room, from_json, from_protobuf, shape, shown, timestamp};
use crate::error::WireError;
use name::{NameKind, unit_name};
pub use strategy::{Options, Promoted, Strategy};

/// Distance of `target_info` samples: half of the default lookback, so that joins never miss one.
const TARGET_INFO_NANOS: i64 = 150 * NANOS_PER_SECOND;
/// Most `target_info` samples of one resource in one request, about 42 hours of them.
const TARGET_INFO_MAX: usize = 1000;
/// Most characters of an exemplar's labels, as in OpenMetrics 1.0.
const EXEMPLAR_CHARS_MAX: usize = 128;

/// Reads `ExportMetricsServiceRequest` or `MetricsData`.
pub fn decode_protobuf(
    body: &[u8],
    limits: &Limits,
    options: &Options,
) -> Result<Decoded<MetricBatch>, WireError> {
    let data = from_protobuf("OTLP metrics", body, &shape::METRICS, limits)?;
    Ok(convert(data, limits, options))
}

/// Reads the same in OTLP/JSON.
pub fn decode_json(
    body: &[u8],
    limits: &Limits,
    options: &Options,
) -> Result<Decoded<MetricBatch>, WireError> {
    let data = from_json("OTLP metrics in JSON", body, limits)?;
    Ok(convert(data, limits, options))
}

fn convert(data: proto::MetricsData, limits: &Limits, options: &Options) -> Decoded<MetricBatch> {
    let mut translation = Translation {
        limits,
        options,
        series: Vec::new(),
        metadata: BTreeMap::new(),
        rejects: Rejects::default(),
        room: Room::new(limits),
    };
    for from in data.resource_metrics {
        translation.resource(from);
    }
    let mut batch = MetricBatch {
        series: translation.series,
        ..MetricBatch::default()
    };
    batch.metadata = translation.metadata.into_values().collect();
    translation.rejects.into_decoded(batch)
}

/// What every point of a resource gets, and what the resource itself becomes.
struct Target {
    job: String,
    instance: String,
    /// Attributes of the resource that each series has.
    promoted: LabelsBuilder,
    /// `target_info`, where there is something to tell.
    info: Option<Labels>,
    /// First and last time of its points.
    span: Option<(Timestamp, Timestamp)>,
}

/// A metric's name and what goes with each of its series.
struct Family<'a> {
    name: String,
    target: &'a Target,
    /// What is told of the scope.
    scope: &'a LabelsBuilder,
}

/// One point on its way to series.
struct Point {
    base: LabelsBuilder,
    time: Timestamp,
    start: Option<Timestamp>,
    stale: bool,
}

impl Point {
    fn sample(&self, value: f64) -> Sample {
        let value = if self.stale { stale() } else { value };
        self.sample_of(Value::Float(value))
    }

    fn sample_of(&self, value: Value) -> Sample {
        Sample {
            time: self.time,
            start: self.start,
            value,
        }
    }
}

struct Translation<'a> {
    limits: &'a Limits,
    options: &'a Options,
    series: Vec<Series>,
    metadata: BTreeMap<String, Metadata>,
    rejects: Rejects,
    room: Room,
}

impl Translation<'_> {
    fn resource(&mut self, from: proto::ResourceMetrics) {
        let list = from.resource.unwrap_or_default().attributes;
        let target = attributes::from_proto(list, self.limits)
            .and_then(|list| target(&list, self.limits, self.options));
        let mut target = match target {
            Ok(target) => target,
            Err(reason) => {
                let metrics = from.scope_metrics.iter().flat_map(|s| &s.metrics);
                let count = metrics.map(points).sum();
                self.rejects.add(count, format!("resource: {reason}"));
                return;
            }
        };
        for of_scope in from.scope_metrics {
            let scope = match self.scope(of_scope.scope, of_scope.schema_url) {
                Ok(scope) => scope,
                Err(reason) => {
                    let count = of_scope.metrics.iter().map(points).sum();
                    self.rejects.add(count, format!("scope: {reason}"));
                    continue;
                }
            };
            for metric in of_scope.metrics {
                let first = self.series.len();
                self.metric(metric, &target, &scope);
                for sample in self.series[first..].iter().flat_map(|s| &s.samples) {
                    let (low, high) = target.span.unwrap_or((sample.time, sample.time));
                    target.span = Some((low.min(sample.time), high.max(sample.time)));
                }
            }
        }
        self.target_info(target);
    }

    /// The labels that tell the scope, where that is wanted.
    fn scope(
        &self,
        from: Option<super::proto::values::InstrumentationScope>,
        schema_url: String,
    ) -> Result<LabelsBuilder, String> {
        let mut labels = LabelsBuilder::default();
        if !self.options.promote_scope {
            return Ok(labels);
        }
        let from = from.unwrap_or_default();
        for attribute in attributes::from_proto(from.attributes, self.limits)? {
            let name = format!("otel_scope_{}", attribute.key);
            labels.set(&self.options.label_name(&name), &to_text(&attribute.value));
        }
        labels.set("otel_scope_name", &from.name);
        labels.set("otel_scope_version", &from.version);
        labels.set("otel_scope_schema_url", &schema_url);
        Ok(labels)
    }

    fn target_info(&mut self, target: Target) {
        let (Some(labels), Some((first, last))) = (target.info, target.span) else {
            return;
        };
        let sample = |time| Sample {
            time,
            start: None,
            value: Value::Float(1.0),
        };
        // From the last one back, so that a hostile first time costs the oldest ones only.
        let mut samples = vec![sample(last)];
        let mut time = last - TARGET_INFO_NANOS;
        while time >= first && samples.len() < TARGET_INFO_MAX {
            samples.push(sample(time));
            time = time - TARGET_INFO_NANOS;
        }
        samples.reverse();
        self.series.push(Series {
            labels,
            samples,
            ..Series::default()
        });
        let help = "Target metadata";
        self.describe("target_info".to_owned(), MetricKind::Gauge, "", help);
    }

    fn describe(&mut self, family: String, kind: MetricKind, unit: &str, help: &str) {
        let (unit, help) = (unit_name(unit), help.to_owned());
        let metadata = Metadata {
            family: family.clone(),
            kind,
            unit,
            help,
        };
        self.metadata.insert(family, metadata);
    }

    fn metric(&mut self, from: proto::Metric, target: &Target, scope: &LabelsBuilder) {
        let count = points(&from);
        let (kind, name_kind) = kinds(&from);
        let temporality = [
            from.sum.as_ref().map(|s| s.aggregation_temporality),
            from.histogram.as_ref().map(|h| h.aggregation_temporality),
            from.exponential_histogram
                .as_ref()
                .map(|h| h.aggregation_temporality),
        ];
        if temporality
            .into_iter()
            .flatten()
            .any(|t| t != proto::CUMULATIVE)
        {
            let reason = "only cumulative temporality is supported, delta and unspecified are not";
            self.rejects
                .add(count, format!("metric {}: {reason}", shown(&from.name)));
            return;
        }
        let Some(name) = self.options.metric_name(&from.name, &from.unit, name_kind) else {
            let reason = "nothing of the name is valid";
            self.rejects
                .add(count, format!("metric {}: {reason}", shown(&from.name)));
            return;
        };
        if count == 0 {
            return;
        }
        self.describe(name.clone(), kind, &from.unit, &from.description);
        let family = Family {
            name,
            target,
            scope,
        };
        let counter = name_kind == NameKind::Counter;
        let reject = |result: Result<(), String>, rejects: &mut Rejects| {
            if let Err(reason) = result {
                rejects.add(1, format!("metric {}: {reason}", shown(&from.name)));
            }
        };
        let gauge = from.gauge.into_iter().flat_map(|g| g.data_points);
        for point in gauge.chain(from.sum.into_iter().flat_map(|s| s.data_points)) {
            let result = self.number(point, &family, counter);
            reject(result, &mut self.rejects);
        }
        for point in from.histogram.into_iter().flat_map(|h| h.data_points) {
            let result = if self.options.convert_to_native {
                self.custom(point, &family)
            } else {
                self.classic(point, &family)
            };
            reject(result, &mut self.rejects);
        }
        for point in from
            .exponential_histogram
            .into_iter()
            .flat_map(|h| h.data_points)
        {
            let result = self.native(point, &family);
            reject(result, &mut self.rejects);
        }
        for point in from.summary.into_iter().flat_map(|s| s.data_points) {
            let result = self.summary(point, &family);
            reject(result, &mut self.rejects);
        }
    }

    fn point(
        &self,
        list: Vec<super::proto::values::KeyValue>,
        family: &Family<'_>,
        (start, time, flags): (u64, u64, u32),
    ) -> Result<Point, String> {
        let list = attributes::from_proto(list, self.limits)?;
        let mut base = labels_of(list.iter(), self.options);
        for (name, value) in family.target.promoted.iter().chain(family.scope.iter()) {
            if base.get(name).is_none() {
                base.set(name, value);
            }
        }
        // Without a job of its own, a point's attribute of that name stays.
        for (name, own) in [
            ("job", &family.target.job),
            ("instance", &family.target.instance),
        ] {
            if !own.is_empty() {
                base.set(name, own);
            }
        }
        base.set(METRIC_NAME, &family.name);
        check_labels(&base, self.limits, "labels_max", self.limits.labels_max)?;
        Ok(Point {
            base,
            time: timestamp(time)?,
            start: (start != 0).then(|| timestamp(start)).transpose()?,
            stale: flags & proto::NO_RECORDED_VALUE != 0,
        })
    }

    /// One series of a point: the family's name with a suffix and up to one label more.
    fn series(
        &mut self,
        point: &Point,
        suffix: &str,
        label: Option<(&str, &str)>,
        sample: Sample,
    ) -> Result<Series, String> {
        let mut labels = point.base.clone();
        if !suffix.is_empty() {
            let name = format!(
                "{}{suffix}",
                point.base.get(METRIC_NAME).unwrap_or_default()
            );
            labels.set(METRIC_NAME, &name);
        }
        if let Some((name, value)) = label {
            labels.set(name, value);
        }
        let labels = labels.build();
        self.room
            .take(labels.packed().len() + size_of::<Series>() + size_of::<Sample>())?;
        Ok(Series {
            labels,
            samples: vec![sample],
            ..Series::default()
        })
    }

    fn number(
        &mut self,
        from: proto::NumberDataPoint,
        family: &Family<'_>,
        counter: bool,
    ) -> Result<(), String> {
        let times = (from.start_time_unix_nano, from.time_unix_nano, from.flags);
        let point = self.point(from.attributes, family, times)?;
        let value = from.as_double.or(from.as_int.map(|n| n as f64));
        let value = match value {
            Some(value) => value,
            None if point.stale => stale(),
            None => return Err("a data point has no value".to_owned()),
        };
        let mut series = self.series(&point, "", None, point.sample(value))?;
        if counter {
            series.exemplars = exemplars(from.exemplars, self.limits)?;
        }
        self.series.push(series);
        Ok(())
    }

    fn classic(
        &mut self,
        from: proto::HistogramDataPoint,
        family: &Family<'_>,
    ) -> Result<(), String> {
        let times = (from.start_time_unix_nano, from.time_unix_nano, from.flags);
        let point = self.point(from.attributes, family, times)?;
        let buckets = histogram::classic(&from.explicit_bounds, &from.bucket_counts, from.count)?;
        let mut all = Vec::with_capacity(buckets.len() + 2);
        if let Some(sum) = from.sum {
            all.push(self.series(&point, "_sum", None, point.sample(sum))?);
        }
        let count = from.count as f64;
        all.push(self.series(&point, "_count", None, point.sample(count))?);
        let first_bucket = all.len();
        for (bound, count) in &buckets {
            let label = ("le", float_text(*bound));
            let label = Some((label.0, label.1.as_str()));
            all.push(self.series(&point, "_bucket", label, point.sample(*count))?);
        }
        for exemplar in exemplars(from.exemplars, self.limits)? {
            let at = buckets.partition_point(|(bound, _)| *bound < exemplar.value);
            if let Some(series) = all.get_mut(first_bucket + at) {
                series.exemplars.push(exemplar);
            }
        }
        self.series.append(&mut all);
        Ok(())
    }

    fn native_histogram(
        &mut self,
        attributes: Vec<super::proto::values::KeyValue>,
        family: &Family<'_>,
        times: (u64, u64, u32),
        (histogram, list): (obs_model::Histogram, Vec<proto::Exemplar>),
    ) -> Result<(), String> {
        let point = self.point(attributes, family, times)?;
        let sample = point.sample_of(Value::Histogram(histogram.into()));
        let mut series = self.series(&point, "", None, sample)?;
        series.exemplars = exemplars(list, self.limits)?;
        self.series.push(series);
        Ok(())
    }

    /// A classic histogram as a native one with its bounds.
    fn custom(
        &mut self,
        from: proto::HistogramDataPoint,
        family: &Family<'_>,
    ) -> Result<(), String> {
        let times = (from.start_time_unix_nano, from.time_unix_nano, from.flags);
        let native = histogram::custom(&from)?;
        self.native_histogram(from.attributes, family, times, (native, from.exemplars))
    }

    fn native(
        &mut self,
        from: proto::ExponentialHistogramDataPoint,
        family: &Family<'_>,
    ) -> Result<(), String> {
        let times = (from.start_time_unix_nano, from.time_unix_nano, from.flags);
        let native = histogram::native(&from)?;
        self.native_histogram(from.attributes, family, times, (native, from.exemplars))
    }

    fn summary(
        &mut self,
        from: proto::SummaryDataPoint,
        family: &Family<'_>,
    ) -> Result<(), String> {
        let times = (from.start_time_unix_nano, from.time_unix_nano, from.flags);
        let point = self.point(from.attributes, family, times)?;
        let count = from.count as f64;
        let mut all = vec![
            self.series(&point, "_sum", None, point.sample(from.sum))?,
            self.series(&point, "_count", None, point.sample(count))?,
        ];
        for at in &from.quantile_values {
            let label = float_text(at.quantile);
            let label = Some(("quantile", label.as_str()));
            all.push(self.series(&point, "", label, point.sample(at.value))?);
        }
        self.series.append(&mut all);
        Ok(())
    }
}

/// Data points of a metric.
fn points(metric: &proto::Metric) -> usize {
    metric.gauge.as_ref().map_or(0, |g| g.data_points.len())
        + metric.sum.as_ref().map_or(0, |s| s.data_points.len())
        + metric.histogram.as_ref().map_or(0, |h| h.data_points.len())
        + metric
            .exponential_histogram
            .as_ref()
            .map_or(0, |h| h.data_points.len())
        + metric.summary.as_ref().map_or(0, |s| s.data_points.len())
}

fn kinds(metric: &proto::Metric) -> (MetricKind, NameKind) {
    if metric.gauge.is_some() {
        (MetricKind::Gauge, NameKind::Gauge)
    } else if let Some(sum) = &metric.sum {
        if sum.is_monotonic {
            (MetricKind::Counter, NameKind::Counter)
        } else {
            (MetricKind::Gauge, NameKind::Other)
        }
    } else if metric.histogram.is_some() || metric.exponential_histogram.is_some() {
        (MetricKind::Histogram, NameKind::Other)
    } else if metric.summary.is_some() {
        (MetricKind::Summary, NameKind::Other)
    } else {
        (MetricKind::Unknown, NameKind::Other)
    }
}

/// Labels of attributes; values whose names become equal are joined by `;` in order of the
/// original names.
fn labels_of<'a>(list: impl Iterator<Item = &'a Attribute>, options: &Options) -> LabelsBuilder {
    let mut sorted: Vec<&Attribute> = list.collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    let mut labels = LabelsBuilder::default();
    for attribute in sorted {
        let name = options.label_name(&attribute.key);
        let value = to_text(&attribute.value);
        match labels.get(&name) {
            Some(before) => {
                let joined = format!("{before};{value}");
                labels.set(&name, &joined);
            }
            None => {
                labels.set(&name, &value);
            }
        }
    }
    labels
}

fn target(list: &[Attribute], limits: &Limits, options: &Options) -> Result<Target, String> {
    const IDENTIFYING: [&str; 3] = ["service.name", "service.namespace", "service.instance.id"];
    let text = |key: &str| obs_model::spans::attribute(list, key).map_or_else(String::new, to_text);
    let [name, namespace, instance] = IDENTIFYING.map(text);
    let job = match (name.is_empty(), namespace.is_empty()) {
        (true, _) => String::new(),
        (false, true) => name,
        (false, false) => format!("{namespace}/{name}"),
    };
    let others = || {
        list.iter()
            .filter(|a| options.keep_identifying || !IDENTIFYING.contains(&a.key.as_str()))
    };
    let identified = !job.is_empty() || !instance.is_empty();
    let info = if identified && others().next().is_some() {
        let mut labels = labels_of(others(), options);
        labels.set("job", &job);
        labels.set("instance", &instance);
        labels.set(METRIC_NAME, "target_info");
        check_labels(&labels, limits, "labels_max", limits.labels_max)?;
        Some(labels.build())
    } else {
        None
    };
    let promoted = list.iter().filter(|a| options.promoted.has(&a.key));
    let promoted = labels_of(promoted, options);
    Ok(Target {
        job,
        instance,
        promoted,
        info,
        span: None,
    })
}

/// A float as labels have it: all digits, no exponent.
fn float_text(value: f64) -> String {
    if value.is_infinite() {
        let text = if value > 0.0 { "+Inf" } else { "-Inf" };
        return text.to_owned();
    }
    value.to_string()
}

fn exemplars(list: Vec<proto::Exemplar>, limits: &Limits) -> Result<Vec<Exemplar>, String> {
    list.into_iter().map(|e| exemplar(e, limits)).collect()
}

fn exemplar(from: proto::Exemplar, limits: &Limits) -> Result<Exemplar, String> {
    let ids = [
        ("trace_id", hex_id(&from.trace_id)),
        ("span_id", hex_id(&from.span_id)),
    ];
    let mut labels = LabelsBuilder::default();
    let mut chars = 0;
    for (name, value) in &ids {
        let more = name.len() + value.len();
        if !value.is_empty() && chars + more <= EXEMPLAR_CHARS_MAX {
            chars += more;
            labels.set(name, value);
        }
    }
    // All attributes or none: some of them would mislead.
    let list = attributes::from_proto(from.filtered_attributes, limits)?;
    let texts: Vec<(String, String)> = list
        .into_iter()
        .map(|a| {
            let value = to_text(&a.value);
            (a.key, value)
        })
        .collect();
    let more: usize = texts
        .iter()
        .map(|(k, v)| k.chars().count() + v.chars().count())
        .sum();
    if chars + more <= EXEMPLAR_CHARS_MAX {
        for (name, value) in &texts {
            labels.set(name, value);
        }
    }
    Ok(Exemplar {
        labels: labels.build(),
        value: from
            .as_double
            .or(from.as_int.map(|n| n as f64))
            .unwrap_or_default(),
        time: timestamp(from.time_unix_nano)?,
    })
}

#[cfg(test)]
mod tests;
