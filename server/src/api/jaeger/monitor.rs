//! Jaeger's service performance monitoring, computed from spans.
//!
//! Invariant: rates at a point are of the spans of `ratePer` before it; latencies in milliseconds
//! are of the spans of one step.

use std::sync::Arc;

use axum::extract::State;
use obs_collector::HttpError;
use obs_model::TimeRange;
use obs_model::answer::SpanSeries;
use obs_model::spans::AttributeValue;
use obs_model::time::{NANOS_PER_MILLI, NANOS_PER_SECOND};
use obs_wire::jaeger::ui::{self, Monitored};

use super::legacy::Answer;
use super::search::{quoted, unix};
use super::{Asking, Result, span_series};
use crate::api::{Asker, json};
use crate::app::App;
use crate::clock;
use crate::enforced::Visible;
use crate::params::Params;

/// Defaults in milliseconds: as Jaeger.
const LOOKBACK: i64 = 3600 * 1000;
const STEP: i64 = 5000;
const RATE_PER: i64 = 600_000;

/// What is asked for.
struct Asked {
    filter: String,
    by_operation: bool,
    range: TimeRange,
    step: i64,
    per: i64,
}

impl Asked {
    fn new(params: &Params) -> Result<Self> {
        let services: Vec<String> = params.all("service").map(quoted).collect();
        if services.is_empty() {
            return Err(HttpError::bad_data(
                "unable to parse param 'service': please provide at least one service name",
            ));
        }
        let either = |name: &str, values: Vec<String>| {
            let each = values.into_iter().map(|value| format!("{name} = {value}"));
            format!("( {} )", each.collect::<Vec<_>>().join(" || "))
        };
        let mut kinds: Vec<String> = Vec::new();
        for kind in params.all("spanKind") {
            const KINDS: [&str; 6] = [
                "unspecified",
                "internal",
                "server",
                "client",
                "producer",
                "consumer",
            ];
            if !KINDS.contains(&kind) {
                return Err(HttpError::bad_data(format!(
                    "unable to parse param 'spanKind': unsupported span kind: '{kind}'"
                )));
            }
            kinds.push(kind.to_owned());
        }
        if kinds.is_empty() {
            kinds.push("server".to_owned());
        }
        let millis =
            |name: &str, default: i64| {
                let number = params.get(name).map_or(Ok(default), str::parse::<i64>);
                let number = number.ok().filter(|n| *n > 0);
                number.and_then(|n| n.checked_mul(NANOS_PER_MILLI)).ok_or_else(|| {
                HttpError::bad_data(format!(
                    "unable to parse param '{name}': expected a positive number of milliseconds"
                ))
            })
            };
        let end = unix(params, "endTs", NANOS_PER_MILLI)?.unwrap_or_else(clock::now);
        let start = end.saturating_sub(millis("lookback", LOOKBACK)?);
        Ok(Self {
            filter: format!(
                "{} && {}",
                either("resource.service.name", services),
                either("kind", kinds)
            ),
            by_operation: params.flag("groupByOperation")?.unwrap_or(false),
            range: TimeRange::new(start, end),
            step: millis("step", STEP)?,
            per: millis("ratePer", RATE_PER)?,
        })
    }

    fn by(&self) -> &'static str {
        if self.by_operation {
            "by (resource.service.name, name)"
        } else {
            "by (resource.service.name)"
        }
    }

    /// The name and description of a family.
    fn named(&self, name: &str, help: &str) -> (String, String) {
        if self.by_operation {
            let name = name.replacen("service", "service_operation", 1);
            (name, format!("{help} & operation"))
        } else {
            (name.to_owned(), help.to_owned())
        }
    }

    /// Counts of spans in each step, beginning so early that the first rate is whole.
    async fn counts(&self, app: &App, tenant: &Visible, more: &str) -> Result<Vec<Monitored>> {
        let text = format!(
            "{{ {}{more} }} | count_over_time() {}",
            self.filter,
            self.by()
        );
        let start = self.range.start.saturating_sub(self.per);
        let range = TimeRange::new(start, self.range.end);
        let series = span_series(app, tenant, &text, range, Some(self.step)).await?;
        Ok(series.iter().map(monitored).collect())
    }

    /// Spans per second.
    fn rates(&self, counts: Vec<Monitored>) -> Vec<Monitored> {
        let (per, first) = (self.per / NANOS_PER_MILLI, self.range.start.millis());
        let seconds = self.per as f64 / NANOS_PER_SECOND as f64;
        let rate = |mut series: Monitored| {
            let counts = std::mem::take(&mut series.points);
            let (mut sum, mut oldest) = (0.0, 0);
            for (time, count) in &counts {
                sum += count;
                while counts[oldest].0 <= time - per {
                    sum -= counts[oldest].1;
                    oldest += 1;
                }
                if *time >= first {
                    series.points.push((*time, sum / seconds));
                }
            }
            series
        };
        counts.into_iter().map(rate).collect()
    }
}

/// A series with Jaeger's names of labels.
fn monitored(series: &SpanSeries) -> Monitored {
    let mut labels = Vec::new();
    for label in &series.labels {
        let name = match label.key.as_str() {
            "resource.service.name" => "service_name",
            "name" => "operation",
            _ => continue,
        };
        if let AttributeValue::String(value) = &label.value {
            labels.push((name.to_owned(), value.clone()));
        }
    }
    let points = series.samples.iter();
    Monitored {
        labels,
        points: points
            .map(|(time, value)| (time.millis(), *value))
            .collect(),
    }
}

pub(super) async fn latencies(
    State(app): State<Arc<App>>,
    asker: Asking,
    params: Result<Params>,
) -> Answer {
    let (Asker(tenant), params) = (asker?, params?);
    let quantile = params.get("quantile").unwrap_or_default();
    let quantile = quantile
        .parse::<f64>()
        .ok()
        .filter(|q| (0.0..=1.0).contains(q));
    let quantile = quantile.ok_or_else(|| {
        HttpError::bad_data("unable to parse param 'quantile': expected a number from 0 to 1")
    })?;
    let asked = Asked::new(&params)?;
    let text = format!(
        "{{ {} }} | quantile_over_time(duration, {quantile}) {}",
        asked.filter,
        asked.by()
    );
    let found = span_series(&app, &tenant, &text, asked.range, Some(asked.step)).await?;
    let mut series: Vec<Monitored> = found.iter().map(monitored).collect();
    let points = series.iter_mut().flat_map(|s| &mut s.points);
    points.for_each(|(_, seconds)| *seconds *= 1000.0);
    let help = format!("{quantile:.2}th quantile latency, grouped by service");
    let (name, help) = asked.named("service_latencies", &help);
    let mut body = Vec::new();
    ui::family(&name, &help, &series, &mut body);
    Ok(json(body))
}

pub(super) async fn calls(
    State(app): State<Arc<App>>,
    asker: Asking,
    params: Result<Params>,
) -> Answer {
    let (Asker(tenant), params) = (asker?, params?);
    let asked = Asked::new(&params)?;
    let series = asked.rates(asked.counts(&app, &tenant, "").await?);
    let (name, help) = asked.named("service_call_rate", "calls/sec, grouped by service");
    let mut body = Vec::new();
    ui::family(&name, &help, &series, &mut body);
    Ok(json(body))
}

pub(super) async fn errors(
    State(app): State<Arc<App>>,
    asker: Asking,
    params: Result<Params>,
) -> Answer {
    let (Asker(tenant), params) = (asker?, params?);
    let asked = Asked::new(&params)?;
    let failed = asked.counts(&app, &tenant, " && status = error").await?;
    let failed = asked.rates(failed);
    let mut series = asked.rates(asked.counts(&app, &tenant, "").await?);
    for one in &mut series {
        let failed = failed.iter().find(|f| f.labels == one.labels);
        for (time, rate) in &mut one.points {
            let found = failed.and_then(|f| {
                let at = f.points.binary_search_by_key(time, |(t, _)| *t).ok()?;
                Some(f.points[at].1)
            });
            *rate = found.unwrap_or(0.0) / *rate;
        }
        one.points.retain(|(_, share)| share.is_finite());
    }
    let help =
        "error rate, computed as a fraction of errors/sec over calls/sec, grouped by service";
    let (name, help) = asked.named("service_error_rate", help);
    let mut body = Vec::new();
    ui::family(&name, &help, &series, &mut body);
    Ok(json(body))
}
