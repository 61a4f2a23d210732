//! Objectives become recording rules and alerts.
//!
//! Invariant: series have Sloth's names and labels, so that what reads Sloth's reads these; the
//! budget is of events: failures over the whole window through all events over the whole window.

use std::collections::BTreeMap;

use obs_model::duration;
use obs_model::time::NANOS_PER_DAY;
use serde::Serialize;

use super::windows::{self, Burn};
use super::{BurnAlert, Indicator, Slo};

/// Where long windows are recorded less often: within the five minutes that series are looked for.
const LONG_INTERVAL: &str = "2m";
/// From which window on.
const LONG: i64 = NANOS_PER_DAY;
/// For how long a metric is away before that is an alert.
const ABSENT_HOLD: &str = "10m";
/// The runbook of all alerts of budgets.
const RUNBOOK: &str = "{{ $externalURL }}/runbooks/ErrorBudgetBurn";
const ABSENT_RUNBOOK: &str = "{{ $externalURL }}/runbooks/SLOMetricAbsent";

/// A rule file, for writing.
#[derive(Debug, Serialize)]
struct File {
    groups: Vec<Group>,
}

#[derive(Debug, Serialize)]
struct Group {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<&'static str>,
    rules: Vec<Rule>,
}

#[derive(Debug, Default, Serialize)]
struct Rule {
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alert: Option<String>,
    expr: String,
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    hold: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

/// What may go wrong: 1 less the objective, without what floats leave over.
pub(super) fn budget(objective: f64) -> f64 {
    ((1.0 - objective) * 1e12).round() / 1e12
}

/// The expression of the share of failures over a window such as `5m`; no series where nothing
/// happened.
pub fn error_ratio(indicator: &Indicator, window: &str) -> String {
    match indicator {
        Indicator::Events { bad, total } => {
            let (bad, total) = (bad.at(window), total.at(window));
            format!("(({bad}) or 0 * ({total})) / (({total}) > 0)")
        }
        Indicator::Ratio(ratio) => format!("({})", ratio.at(window)),
    }
}

/// The rules of objectives as a rule file of Prometheus.
pub fn rules(slos: &[Slo]) -> Result<String, String> {
    let file = File {
        groups: slos.iter().flat_map(groups).collect(),
    };
    to_yaml(&file)
}

/// Writes YAML.
pub fn to_yaml<T: Serialize>(value: &T) -> Result<String, String> {
    serde_yaml_ng::to_string(value).map_err(|error| error.to_string())
}

fn groups(slo: &Slo) -> Vec<Group> {
    let mut short = Vec::new();
    let mut long = Vec::new();
    for window in recorded(slo) {
        match window < LONG {
            true => short.push(ratio(slo, window)),
            false => long.push(ratio(slo, window)),
        }
    }
    short.extend(meta(slo));
    short.extend(slo.alerts.iter().map(|alert| burn_alert(slo, alert)));
    short.extend(absent_alerts(slo));
    long.extend(period(slo));
    vec![
        Group {
            name: format!("slo:{}", slo.id),
            interval: None,
            rules: short,
        },
        Group {
            name: format!("slo:{}:long", slo.id),
            interval: Some(LONG_INTERVAL),
            rules: long,
        },
    ]
}

/// The windows that are recorded, sorted: the usual ones, those of alerts and the objective's.
fn recorded(slo: &Slo) -> Vec<i64> {
    let burns = slo.alerts.iter().flat_map(|alert| &alert.burns);
    let mut all = windows::standard(slo.window);
    all.extend(burns.flat_map(|burn| [burn.short, burn.long]));
    all.push(slo.window);
    all.sort_unstable();
    all.dedup();
    all
}

fn series(window: i64) -> String {
    format!("slo:sli_error:ratio_rate{}", duration::format(window))
}

/// The labels that say whose a series is.
fn own_labels(slo: &Slo) -> BTreeMap<String, String> {
    let mut labels = slo.labels.clone();
    let own = [
        ("sloth_id", &slo.id),
        ("sloth_service", &slo.service),
        ("sloth_slo", &slo.name),
    ];
    labels.extend(own.map(|(key, value)| (key.to_owned(), value.clone())));
    labels
}

/// The matchers of the same.
fn selector(slo: &Slo) -> String {
    format!(
        "{{sloth_id={}, sloth_service={}, sloth_slo={}}}",
        quoted(&slo.id),
        quoted(&slo.service),
        quoted(&slo.name)
    )
}

fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", text.replace('\n', "\\n"))
}

fn record(slo: &Slo, name: impl Into<String>, expr: String) -> Rule {
    Rule {
        record: Some(name.into()),
        expr,
        labels: own_labels(slo),
        ..Rule::default()
    }
}

fn ratio(slo: &Slo, window: i64) -> Rule {
    let shown = duration::format(window);
    let mut rule = record(slo, series(window), error_ratio(&slo.indicator, &shown));
    rule.labels.insert("sloth_window".to_owned(), shown);
    rule
}

/// A series through the budget.
fn through_budget(slo: &Slo, window: i64) -> String {
    let (series, selector) = (series(window), selector(slo));
    format!(
        "{series}{selector} / on (sloth_id, sloth_slo, sloth_service) group_left () \
         slo:error_budget:ratio{selector}"
    )
}

/// What is to be known of an objective.
fn meta(slo: &Slo) -> Vec<Rule> {
    let number = |value: f64| format!("vector({value})");
    let days = slo.window as f64 / NANOS_PER_DAY as f64;
    let shortest = windows::standard(slo.window).first().copied();
    let mut info = record(slo, "sloth_slo_info", number(1.0));
    let more = [
        ("sloth_mode", "obs".to_owned()),
        ("sloth_spec", slo.format.as_str().to_owned()),
        ("sloth_objective", format!("{}", percent(slo.objective))),
        ("sloth_description", slo.description.clone()),
    ];
    let more = more.map(|(key, value)| (key.to_owned(), value));
    info.labels
        .extend(more.into_iter().filter(|(_, value)| !value.is_empty()));
    let mut all = vec![
        record(slo, "slo:objective:ratio", number(slo.objective)),
        record(slo, "slo:error_budget:ratio", number(budget(slo.objective))),
        record(slo, "slo:time_period:days", number(days)),
    ];
    let burn = shortest.map(|window| {
        let expr = through_budget(slo, window);
        record(slo, "slo:current_burn_rate:ratio", expr)
    });
    all.extend(burn);
    all.push(info);
    all
}

fn percent(share: f64) -> f64 {
    (share * 1e12).round() / 1e10
}

/// What is left of the budget.
fn period(slo: &Slo) -> Vec<Rule> {
    let burn = through_budget(slo, slo.window);
    let left = format!("1 - slo:period_burn_rate:ratio{}", selector(slo));
    vec![
        record(slo, "slo:period_burn_rate:ratio", burn),
        record(slo, "slo:period_error_budget_remaining:ratio", left),
    ]
}

fn burns(slo: &Slo, burn: &Burn) -> String {
    let budget = budget(slo.objective);
    let Burn {
        long,
        short,
        factor,
        compare,
    } = *burn;
    let over = |window: i64| {
        let (series, selector) = (series(window), selector(slo));
        format!("max without (sloth_window) ({series}{selector} {compare} ({factor} * {budget}))")
    };
    match short == long {
        true => over(long),
        false => format!("({} and {})", over(short), over(long)),
    }
}

fn burn_alert(slo: &Slo, alert: &BurnAlert) -> Rule {
    let all: Vec<String> = alert.burns.iter().map(|one| burns(slo, one)).collect();
    let mut labels = slo.labels.clone();
    labels.extend(alert.labels.clone());
    let window = duration::format(slo.window);
    let mut annotations = annotations(
        format!(
            "{} {} uses up its error budget too fast.",
            slo.service, slo.name
        ),
        format!(
            "{{{{ $value | humanizePercentage }}}} of the events fail now; {}% may fail over {window}. \
             At this rate the budget is gone long before the window ends.",
            percent(budget(slo.objective))
        ),
        RUNBOOK,
    );
    annotations.extend(alert.annotations.clone());
    Rule {
        alert: Some(alert.name.clone()),
        expr: all.join("\nor\n"),
        hold: (alert.hold > 0).then(|| duration::format(alert.hold)),
        labels,
        annotations,
        ..Rule::default()
    }
}

fn annotations(summary: String, description: String, runbook: &str) -> BTreeMap<String, String> {
    let link = "{{ $externalURL }}/d/obs-slo?var-slo={{ $labels.sloth_id | urlquery }}";
    let all = [
        ("summary", summary),
        ("description", description),
        ("runbook_url", runbook.to_owned()),
        ("dashboard_url", link.to_owned()),
    ];
    all.map(|(key, text)| (key.to_owned(), text)).into()
}

fn absent_alerts(slo: &Slo) -> impl Iterator<Item = Rule> + '_ {
    slo.absent.iter().map(|alert| {
        let mut labels = own_labels(slo);
        labels.extend(alert.labels.clone());
        Rule {
            alert: Some(alert.name.clone()),
            expr: format!("absent({}) == 1", alert.selector),
            hold: Some(ABSENT_HOLD.to_owned()),
            labels,
            annotations: annotations(
                format!("The metric of {} {} is missing.", slo.service, slo.name),
                "Without it nobody knows whether the objective is met.".to_owned(),
                ABSENT_RUNBOOK,
            ),
            ..Rule::default()
        }
    })
}
