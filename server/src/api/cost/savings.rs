//! `/api/v1/cost/savings`, `/forecast` and `/what-if`: what could be saved, what comes, what would be.
//!
//! Invariant: nothing is computed here; each answer tells what it was found from.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use obs_collector::HttpError;
use obs_cost::savings::rightsize::{Recommendation, Size, Strategy};
use obs_cost::savings::{abandoned, repack, rightsize, unused};
use obs_cost::{Change, Span};
use serde_json::{Value, json};

use super::own::{Own, answer, number};
use super::{Asker, length, shape, window};
use crate::app::App;
use crate::params::{Params, invalid};
use crate::{clock, cost};

/// Days that a forecast is made of, and is about, where nobody says.
const FORECAST_DAYS: usize = 30;
/// Most days of a forecast.
const FORECAST_DAYS_MAX: usize = 366;
const DAY: i64 = 24 * obs_cost::HOUR;

/// A number of at least 0.
fn amount(params: &Params, name: &str) -> Result<Option<f64>, HttpError> {
    let Some(text) = params.get(name) else {
        return Ok(None);
    };
    let found = text
        .parse()
        .ok()
        .filter(|n: &f64| n.is_finite() && *n >= 0.0);
    let fault = || invalid(name, format!("{text:?}, expected a number of at least 0"));
    found.map(Some).ok_or_else(fault)
}

/// The window that is asked about, or the days until now; never later than now.
fn until_now(params: &Params, days: f64) -> Result<Span, Own> {
    let now = clock::now().nanos();
    let span = match params.get("window") {
        Some(_) => window(params).map_err(super::Fault::from)?,
        None => Span::new(now.saturating_sub((days * DAY as f64) as i64), now),
    };
    Ok(Span::new(span.start, span.end.min(now)))
}

fn size(size: Size) -> Value {
    json!({"cpuCores": number(size.cpu), "ramBytes": number(size.ram)})
}

fn recommendation(one: &Recommendation) -> Value {
    let evidence = one.evidence;
    json!({
        "cluster": one.cluster,
        "namespace": one.namespace,
        "controllerKind": one.controller.kind,
        "controller": one.controller.name,
        "container": one.container,
        "pods": one.pods,
        "current": size(one.current),
        "recommended": one.proposed.map(size),
        "lowerBound": one.bounds.map(|bounds| size(bounds.0)),
        "upperBound": one.bounds.map(|bounds| size(bounds.1)),
        "evidence": {
            "points": evidence.points,
            "days": number(evidence.days),
            "cpuMedian": number(evidence.cpu_median),
            "cpuP95": number(evidence.cpu_p95),
            "cpuMax": number(evidence.cpu_max),
            "ramMax": number(evidence.ram_max),
            "oomKilled": evidence.killed,
        },
        "note": if one.proposed.is_none() { Value::from("not enough data") } else { Value::Null },
        "monthlySavings": number(one.monthly),
        "confidence": number(one.confidence),
        "patch": one.patch(),
    })
}

fn abandoned_shown(one: &abandoned::Abandoned) -> Value {
    json!({
        "cluster": one.cluster,
        "namespace": one.namespace,
        "pod": one.pod,
        "controllerKind": one.controller.kind,
        "controller": one.controller.name,
        "ingressBytesPerSecond": number(one.received),
        "egressBytesPerSecond": number(one.sent),
        "ageDays": number(one.age_days),
        "cpuUsedOfRequest": one.cpu_share.map(number),
        "verdict": if one.safe { "safe" } else { "review" },
        "monthlySavings": number(one.monthly),
        "confidence": number(one.confidence),
    })
}

fn unused_shown(one: &obs_cost::savings::Unused) -> Value {
    let (namespace, claim) = one.claim.clone().unwrap_or_default();
    json!({
        "type": one.kind.name(),
        "cluster": one.cluster,
        "name": one.name,
        "claimNamespace": namespace,
        "claimName": claim,
        "bytes": number(one.bytes),
        "unusedDays": number(one.days),
        "monthlySavings": number(one.monthly),
        "confidence": number(one.confidence),
    })
}

fn plan_shown(plan: &repack::Plan) -> Value {
    let drains = plan.drains.iter().map(|drain| {
        let moves = drain.moves.iter();
        let moves = moves.map(|m| json!({"namespace": m.namespace, "pod": m.pod, "to": m.to}));
        json!({
            "cluster": drain.cluster,
            "node": drain.node,
            "moves": moves.collect::<Vec<_>>(),
            "monthlySavings": number(drain.monthly),
        })
    });
    let kept = plan.kept.iter();
    let kept = kept.map(|k| json!({"cluster": k.cluster, "node": k.node, "reason": k.reason}));
    json!({
        "drain": drains.collect::<Vec<_>>(),
        "keep": kept.collect::<Vec<_>>(),
        "monthlySavings": number(plan.drains.iter().map(|d| d.monthly).sum()),
        "confidence": plan.confidence,
    })
}

pub(super) async fn savings(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response, Own> {
    let strategy = params.get("strategy").unwrap_or("krr");
    let strategy = Strategy::named(strategy)
        .ok_or_else(|| invalid("strategy", format!("{strategy:?}, expected krr or vpa")))?;
    let mut rule = abandoned::Rule::default();
    rule.days = amount(&params, "days")?.unwrap_or(rule.days).min(366.0);
    rule.threshold = amount(&params, "threshold")?.unwrap_or(rule.threshold);
    let span = until_now(&params, strategy.days())?;
    let step = length(&params, "resolution").map_err(super::Fault::from)?;
    let made = cost::read(&app, &tenant, (span, step), move |cluster, book| {
        let sizes = rightsize::rightsize(cluster, book, span, strategy);
        let silent = abandoned::abandoned(cluster, book, span, rule);
        let unused = unused(cluster, book, span);
        let plan = repack::repack(cluster, book, span.end);
        json!({
            "currency": "USD",
            "window": shape::window(span),
            "rightSizing": sizes.iter().map(recommendation).collect::<Vec<_>>(),
            "abandonedWorkloads": silent.iter().map(abandoned_shown).collect::<Vec<_>>(),
            "unused": unused.iter().map(unused_shown).collect::<Vec<_>>(),
            "nodes": plan_shown(&plan),
        })
    });
    Ok(answer(&made.await?))
}

pub(super) async fn forecast(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response, Own> {
    let days = params.positive("days")?.unwrap_or(FORECAST_DAYS);
    let history = params.positive("history")?.unwrap_or(FORECAST_DAYS);
    for (name, value) in [("days", days), ("history", history)] {
        if value > FORECAST_DAYS_MAX {
            let text = format!("{value}, expected at most {FORECAST_DAYS_MAX}");
            return Err(invalid(name, text).into());
        }
    }
    let today = clock::now().nanos().div_euclid(DAY) * DAY;
    let span = Span::new(today - history as i64 * DAY, today);
    let seen = cost::read(&app, &tenant, (span, None), move |cluster, book| {
        let whole = span.cut((0..history).map(|day| span.start + day as i64 * DAY));
        let days = whole
            .iter()
            .map(|day| (*day, obs_cost::ledger(cluster, book, *day).paid()));
        // Days before the first that is known were not free.
        days.skip_while(|(_, paid)| *paid <= 0.0)
            .collect::<Vec<_>>()
    });
    let seen = seen.await?;
    let paid: Vec<f64> = seen.iter().map(|day| day.1).collect();
    let made = obs_cost::forecast(&paid, days).map(|made| {
        json!({
            "days": made.days,
            "totalCost": number(made.total),
            "low": made.band.map(|band| number(band.0)),
            "high": made.band.map(|band| number(band.1)),
            "band": 0.95,
            "perDayMore": number(made.slope),
        })
    });
    let seen: Vec<Value> = seen
        .iter()
        .map(|(day, paid)| json!({"window": shape::window(*day), "totalCost": number(*paid)}))
        .collect();
    Ok(answer(
        &json!({"currency": "USD", "history": seen, "forecast": made}),
    ))
}

/// What would be: `replicas=namespace/name:5`, `node=cores,gib,price`, `growth=0.2`.
fn change(params: &Params) -> Result<Change, HttpError> {
    let mut change = Change::default();
    if let Some(text) = params.get("replicas") {
        let fault = || invalid("replicas", format!("{text:?}, expected namespace/name:5"));
        let (name, count) = text.rsplit_once(':').ok_or_else(fault)?;
        let (namespace, name) = name.split_once('/').ok_or_else(fault)?;
        let count = count.parse().map_err(|_| fault())?;
        change.replicas = Some((namespace.to_owned(), name.to_owned(), count));
    }
    if let Some(text) = params.get("node") {
        let numbers: Option<Vec<f64>> = text.split(',').map(|n| n.trim().parse().ok()).collect();
        let right = |n: &f64| n.is_finite() && *n >= 0.0;
        match numbers.as_deref() {
            Some([cores, gib, price]) if [cores, gib, price].into_iter().all(right) => {
                change.node = Some((*cores, *gib, *price));
            }
            _ => {
                return Err(invalid(
                    "node",
                    format!("{text:?}, expected cores,GiB,dollars an hour"),
                ));
            }
        }
    }
    if let Some(text) = params.get("growth") {
        let (number, scale) = match text.strip_suffix('%') {
            Some(number) => (number, 0.01),
            None => (text, 1.0),
        };
        let growth = number.parse::<f64>().ok().filter(|n| n.is_finite());
        let growth = growth.map(|n| n * scale).filter(|n| *n >= -1.0);
        let fault = || invalid("growth", format!("{text:?}, expected a share such as 20%"));
        change.growth = growth.ok_or_else(fault)?;
    }
    Ok(change)
}

pub(super) async fn what_if(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response, Own> {
    let change = change(&params)?;
    let now = clock::now().nanos();
    let span = Span::new(now - obs_cost::HOUR, now);
    let made = cost::read(&app, &tenant, (span, None), move |cluster, book| {
        let found = obs_cost::what_if(cluster, book, span.end, &change);
        let pair = |(now, then): (f64, f64)| json!({"now": number(now), "then": number(then)});
        json!({
            "currency": "USD",
            "allocatedMonthly": pair(found.allocated),
            "paidMonthly": pair(found.paid),
            "nodes": {"now": found.nodes.0, "then": found.nodes.1},
            "cpuCores": pair(found.cores),
            "ramBytes": pair(found.bytes),
        })
    });
    Ok(answer(&made.await?))
}
