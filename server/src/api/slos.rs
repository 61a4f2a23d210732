//! `/api/v1/slos`: objectives, what is left of their budgets, and how fast that goes.
//!
//! Invariant: what is told of an objective is what its rules say and have recorded, so that rules
//! which Sloth itself wrote are told like those of obs.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use obs_alerting::rules::AlertState;
use obs_collector::HttpError;
use obs_model::{Answer, Labels, Timestamp};
use obs_query::{Language, Request, When};
use serde_json::{Value, json};

use super::prometheus::groups_of;
use super::{Asker, evaluate, json, timeout};
use crate::app::App;
use crate::clock;
use crate::enforced::Visible;
use crate::params::{Clock, Params};
use crate::ruler::{GroupView, RuleView};

/// What every objective records, whoever wrote its rules.
const INFO: &str = "sloth_slo_info";
/// Shares of failures; the window stands behind it.
const RATIO: &str = "slo:sli_error:ratio_rate";
/// The labels that are told apart from the others.
const OWN: [&str; 8] = [
    "__name__",
    "sloth_id",
    "sloth_service",
    "sloth_slo",
    "sloth_window",
    "sloth_mode",
    "sloth_spec",
    "sloth_objective",
];

/// Below `/api/v1`.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/slos", get(list))
}

/// An objective as its rules say it.
struct Told {
    id: String,
    file: String,
    info: Labels,
    /// Constants that are recorded, by name.
    numbers: BTreeMap<String, f64>,
}

/// What was recorded of one group of an objective's series.
#[derive(Default)]
struct Measured {
    /// Shares of failures by window.
    ratios: BTreeMap<String, f64>,
    burn: Option<f64>,
    left: Option<f64>,
}

async fn list(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response, HttpError> {
    let at = params.time("time", Clock::Seconds)?;
    let at = at.unwrap_or_else(clock::now);
    let groups = groups_of(&app, &tenant);
    let wanted = |told: &Told| {
        let is = |key: &str, value: &str| params.get(key).is_none_or(|wanted| wanted == value);
        is("id", &told.id)
            && is(
                "service",
                told.info.get("sloth_service").unwrap_or_default(),
            )
    };
    let all: Vec<Told> = groups.iter().filter_map(told).filter(wanted).collect();
    let mut measured = match all.is_empty() {
        true => BTreeMap::new(),
        false => measure(&app, &tenant, at, &params).await?,
    };
    let shown: Vec<Value> = all
        .iter()
        .map(|told| {
            let series = measured.remove(&told.id).unwrap_or_default();
            let alerts = alerts(&groups, &told.id);
            shown(told, &series, &alerts)
        })
        .collect();
    let body = json!({"status": "success", "data": {"slos": shown}});
    Ok(json(body.to_string().into_bytes()))
}

/// The number of a rule such as `vector(0.999)`.
fn constant(rule: &RuleView) -> Option<f64> {
    let inner = rule
        .query
        .trim()
        .strip_prefix("vector(")?
        .strip_suffix(')')?;
    let parts: Option<Vec<f64>> = inner.split('-').map(|n| n.trim().parse().ok()).collect();
    // Sloth writes the budget as a difference: `vector(1-0.999)`.
    match parts?[..] {
        [number] => Some(number),
        [whole, part] => Some(whole - part),
        _ => None,
    }
}

/// The objective of a group, where it has the rules of one.
fn told(group: &GroupView) -> Option<Told> {
    let info = group.rules.iter().find(|rule| rule.name == INFO)?;
    let numbers = group.rules.iter().filter_map(|rule| {
        let number = constant(rule)?;
        Some((rule.name.clone(), number))
    });
    Some(Told {
        id: info.labels.get("sloth_id")?.to_owned(),
        file: group.file.clone(),
        info: info.labels.clone(),
        numbers: numbers.collect(),
    })
}

/// The labels of a series that tell it from others of its objective.
fn more(labels: &Labels) -> Labels {
    labels.without(|name| OWN.contains(&name))
}

type Series = BTreeMap<Labels, Measured>;

/// What was recorded of all objectives, by their ids.
async fn measure(
    app: &App,
    tenant: &Visible,
    at: Timestamp,
    params: &Params,
) -> Result<BTreeMap<String, Series>, HttpError> {
    let text = format!(
        "{{__name__=~\"{RATIO}.+|slo:current_burn_rate:ratio|\
         slo:period_error_budget_remaining:ratio\",sloth_id!=\"\"}}"
    );
    let request = Request::new(When::At(at));
    let language = Language::Promql;
    let reply = evaluate(app, tenant, language, &text, request, timeout(params)?).await?;
    let mut all: BTreeMap<String, Series> = BTreeMap::new();
    let Answer::Vector(samples) = reply.answer else {
        return Ok(all);
    };
    for sample in samples {
        let obs_model::Value::Float(value) = sample.value else {
            continue;
        };
        let labels = &sample.labels;
        let name = labels.get("__name__").unwrap_or_default();
        let id = labels.get("sloth_id").unwrap_or_default();
        let series = all.entry(id.to_owned()).or_default();
        let one = series.entry(more(labels)).or_default();
        match name.strip_prefix(RATIO) {
            Some(window) => drop(one.ratios.insert(window.to_owned(), value)),
            None if name == "slo:current_burn_rate:ratio" => one.burn = Some(value),
            None => one.left = Some(value),
        }
    }
    Ok(all)
}

/// The alerts of an objective: name, severity and state.
fn alerts(groups: &[GroupView], id: &str) -> Vec<Value> {
    let mine = |group: &&GroupView| {
        let labelled = |rule: &RuleView| rule.labels.get("sloth_id") == Some(id);
        group.rules.iter().any(labelled)
    };
    let rules = groups.iter().filter(mine).flat_map(|group| &group.rules);
    let told = rules.filter_map(|rule| {
        let alerting = rule.alerting.as_ref()?;
        let state = match alerting.state {
            AlertState::Firing => "firing",
            AlertState::Pending => "pending",
            AlertState::Inactive => "inactive",
        };
        let severity = rule.labels.get("severity");
        Some(json!({"name": rule.name, "severity": severity, "state": state}))
    });
    told.collect()
}

fn map(labels: &Labels) -> Value {
    let pairs = labels
        .iter()
        .map(|(name, value)| (name.to_owned(), value.into()));
    Value::Object(pairs.collect())
}

/// A number that JSON can have; what cannot be told is null.
fn number(value: Option<f64>) -> Value {
    value
        .filter(|value| value.is_finite())
        .map_or(Value::Null, Value::from)
}

fn shown(told: &Told, series: &Series, alerts: &[Value]) -> Value {
    let of = |name: &str| told.numbers.get(name).copied();
    let objective = of("slo:objective:ratio");
    let budget = of("slo:error_budget:ratio").filter(|budget| *budget > 0.0);
    let burn = |ratio: f64| budget.map(|budget| ratio / budget);
    let series: Vec<Value> = series
        .iter()
        .map(|(labels, one)| {
            let rates = one.ratios.iter();
            let rates = rates.map(|(window, ratio)| (window.clone(), number(burn(*ratio))));
            let ratios = one.ratios.iter();
            let ratios = ratios.map(|(window, ratio)| (window.clone(), number(Some(*ratio))));
            json!({
                "labels": map(labels),
                "budgetRemaining": number(one.left),
                "burnRate": number(one.burn),
                "burnRates": rates.collect::<serde_json::Map<_, _>>(),
                "errorRatios": ratios.collect::<serde_json::Map<_, _>>(),
            })
        })
        .collect();
    let text = |name: &str| told.info.get(name).unwrap_or_default();
    let more =
        more(&told.info).without(|name| name == "sloth_description" || name == "sloth_version");
    json!({
        "id": told.id,
        "service": text("sloth_service"),
        "name": text("sloth_slo"),
        "description": text("sloth_description"),
        "format": text("sloth_spec"),
        "file": told.file,
        "objective": number(objective),
        "budget": number(budget),
        "windowDays": number(of("slo:time_period:days")),
        "labels": map(&more),
        "alerts": alerts,
        "series": series,
    })
}

#[cfg(test)]
mod tests {
    use obs_alerting::rules::group::Health;

    use super::*;
    use crate::api::tests::{JSON, Rig, check};

    fn rule(name: &str, query: &str, more: &[(&str, &str)]) -> RuleView {
        let own = [
            ("sloth_id", "shop-a"),
            ("sloth_service", "shop"),
            ("sloth_slo", "a"),
        ];
        RuleView {
            name: name.to_owned(),
            query: query.to_owned(),
            language: Language::Promql,
            labels: Labels::from_pairs(own.iter().chain(more).copied()),
            health: Health::Good,
            last_evaluation: None,
            evaluation_seconds: 0.0,
            alerting: None,
        }
    }

    #[test]
    fn an_objective_is_told_from_its_rules() {
        let group = GroupView {
            file: "slo.yml".to_owned(),
            name: "slo:shop-a".to_owned(),
            interval: 0,
            limit: 0,
            last: None,
            rules: vec![
                rule("slo:objective:ratio", "vector(0.999)", &[]),
                rule("slo:error_budget:ratio", "vector(1-0.75)", &[]),
                rule("slo:time_period:days", "vector(30)", &[]),
                rule(INFO, "vector(1)", &[("team", "x"), ("sloth_spec", "sloth")]),
            ],
        };
        let told = told(&group).expect("it has one");
        let measured = Measured {
            ratios: BTreeMap::from([("5m".to_owned(), 0.5)]),
            burn: Some(f64::NAN),
            left: Some(0.2),
        };
        let series = Series::from([(Labels::from_pairs([("cluster", "c")]), measured)]);
        let expect = json!({
            "id": "shop-a", "service": "shop", "name": "a", "description": "", "format": "sloth",
            "file": "slo.yml", "objective": 0.999, "budget": 0.25, "windowDays": 30.0,
            "labels": {"team": "x"}, "alerts": [],
            "series": [{
                "labels": {"cluster": "c"}, "budgetRemaining": 0.2, "burnRate": null,
                "burnRates": {"5m": 2.0}, "errorRatios": {"5m": 0.5},
            }],
        });
        assert_eq!(shown(&told, &series, &[]), expect);
    }

    #[tokio::test]
    async fn no_rules_no_objectives() {
        let mut rig = Rig::start();
        let told = rig.get("/api/v1/slos").await;
        check(&told, 200, JSON, r#"{"slos":[]}"#);
    }
}
