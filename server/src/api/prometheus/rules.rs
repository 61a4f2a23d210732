//! `/rules`, `/alerts` and `/alertmanagers`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use obs_alerting::rules::AlertState;
use obs_alerting::rules::group::Health;
use obs_model::time::NANOS_PER_SECOND;
use obs_model::{Labels, Matcher, Tenant, Timestamp, matcher};
use obs_query::Language;
use serde_json::{Map, Value, json};

use super::{Result, labels_json, success};
use crate::api::Asker;
use crate::app::App;
use crate::enforced::Visible;
use crate::params::{Params, invalid};
use crate::ruler::{AlertView, AlertingView, GroupView, RuleView};

/// Go's zero time, which stands for never.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// What is asked for.
struct Wanted {
    alerts: bool,
    records: bool,
    names: Vec<String>,
    groups: Vec<String>,
    files: Vec<String>,
    matchers: Vec<Vec<Matcher>>,
    with_alerts: bool,
    page: Option<(usize, Option<String>)>,
}

impl Wanted {
    fn of(params: &Params, app: &App) -> Result<Self> {
        let kind = params
            .get("type")
            .map(str::to_lowercase)
            .unwrap_or_default();
        if !["", "alert", "record"].contains(&kind.as_str()) {
            return Err(invalid("type", format!("not supported value {kind:?}")));
        }
        let all = |name: &str| params.all(name).map(str::to_owned).collect();
        let limit = params.positive("group_limit")?;
        let token = params
            .get("group_next_token")
            .filter(|token| !token.is_empty());
        if limit.is_none() && token.is_some() {
            return Err(invalid(
                "group_next_token",
                "group_limit needs to be present in order to paginate over the groups",
            ));
        }
        Ok(Self {
            alerts: kind != "record",
            records: kind != "alert",
            names: all("rule_name[]"),
            groups: all("rule_group[]"),
            files: all("file[]"),
            matchers: super::selectors(params, app)?,
            with_alerts: params.flag("exclude_alerts")? != Some(true),
            page: limit.map(|limit| (limit, token.map(str::to_owned))),
        })
    }

    fn group(&self, group: &GroupView) -> bool {
        let among = |names: &[String], name: &str| {
            names.is_empty() || names.iter().any(|wanted| wanted == name)
        };
        among(&self.groups, &group.name) && among(&self.files, &group.file)
    }

    fn rule(&self, rule: &RuleView) -> bool {
        let kind = match rule.alerting {
            Some(_) => self.alerts,
            None => self.records,
        };
        let named = self.names.is_empty() || self.names.contains(&rule.name);
        let matching = |matchers: &Vec<Matcher>| matcher::all_match(matchers, &rule.labels);
        kind && named && (self.matchers.is_empty() || self.matchers.iter().any(matching))
    }
}

/// `/rules`
pub(super) async fn rules(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response> {
    listed(&app, groups_of(&app, &tenant), &params)
}

/// The same of groups with rules over logs, as Loki shows them.
pub(super) async fn log_rules(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Result<Response> {
    listed(&app, log_groups(&app, &tenant), &params)
}

/// The groups of a tenant with rules over logs.
fn log_groups(app: &App, tenant: &Visible) -> Vec<GroupView> {
    let mut groups = groups_of(app, tenant);
    groups.retain(of_logs);
    groups
}

fn of_logs(group: &GroupView) -> bool {
    let logs = |rule: &RuleView| rule.language == Language::Logql;
    group.rules.iter().any(logs)
}

fn listed(app: &App, all: Vec<GroupView>, params: &Params) -> Result<Response> {
    let wanted = Wanted::of(params, app)?;
    let mut groups = Vec::new();
    for group in all {
        if !wanted.group(&group) {
            continue;
        }
        let rules = group.rules.iter().filter(|rule| wanted.rule(rule));
        let rules: Vec<Value> = rules
            .map(|rule| rule_json(rule, wanted.with_alerts))
            .collect();
        if rules.is_empty() {
            continue;
        }
        groups.push((token(&group), group_json(&group, rules)));
    }
    let Some((limit, from)) = wanted.page else {
        let groups: Vec<Value> = groups.into_iter().map(|(_, group)| group).collect();
        return Ok(success(&json!({"groups": groups})));
    };
    let first = match from {
        None => 0,
        Some(from) => {
            let found = groups.iter().position(|(token, _)| *token == from);
            found.ok_or_else(|| {
                let what = format!("invalid group_next_token '{from}'. were rule groups changed?");
                invalid("group_next_token", what)
            })?
        }
    };
    let next = groups
        .get(first.saturating_add(limit))
        .map(|(token, _)| token.clone());
    let page = groups.into_iter().skip(first).take(limit);
    let page: Vec<Value> = page.map(|(_, group)| group).collect();
    let mut data = json!({"groups": page});
    if let Some(next) = next {
        data["groupNextToken"] = next.into();
    }
    Ok(success(&data))
}

/// What is seen of the groups of a tenant.
pub(crate) fn groups_of(app: &App, tenant: &Visible) -> Vec<GroupView> {
    seen_of(whole_groups_of(app, tenant), tenant)
}

/// All groups of a tenant.
fn whole_groups_of(app: &App, tenant: &Tenant) -> Vec<GroupView> {
    let own = app.ruler.get().map(|ruler| ruler.groups_of(tenant));
    let own = own.unwrap_or_default();
    own.iter().map(|member| member.view()).collect()
}

/// Rules by the labels that they give, and of their alerts those whose labels are seen; a group
/// without such rules is not there.
fn seen_of(mut groups: Vec<GroupView>, seen: &Visible) -> Vec<GroupView> {
    if !seen.is_confined() {
        return groups;
    }
    for group in &mut groups {
        group.rules.retain(|rule| seen.sees(&rule.labels));
        let alerting = group.rules.iter_mut().filter_map(|r| r.alerting.as_mut());
        for of in alerting {
            let alerts = of.alerts.iter().filter(|alert| seen.sees(&alert.labels));
            of.alerts = alerts.cloned().collect();
        }
    }
    groups.retain(|group| !group.rules.is_empty());
    groups
}

fn token(group: &GroupView) -> String {
    let labels = Labels::from_pairs([("file", &group.file), ("name", &group.name)]);
    format!("{:016x}", labels.hash64())
}

fn seconds(nanos: i64) -> f64 {
    nanos as f64 / NANOS_PER_SECOND as f64
}

fn time(time: Option<Timestamp>) -> Value {
    time.map_or_else(|| NEVER.to_owned(), |time| time.to_string())
        .into()
}

fn group_json(group: &GroupView, rules: Vec<Value>) -> Value {
    json!({
        "name": group.name,
        "file": group.file,
        "rules": rules,
        "interval": seconds(group.interval),
        "limit": group.limit,
        "evaluationTime": group.last.map_or(0.0, |(_, took)| took),
        "lastEvaluation": time(group.last.map(|(at, _)| at)),
    })
}

fn rule_json(rule: &RuleView, with_alerts: bool) -> Value {
    let mut shown = Map::new();
    if let Some(alerting) = &rule.alerting {
        alerting_json(rule, alerting, with_alerts, &mut shown);
    }
    shown.insert("name".to_owned(), rule.name.clone().into());
    shown.insert("query".to_owned(), rule.query.clone().into());
    let language = match rule.language {
        Language::Promql => None,
        Language::Logql => Some("logql"),
        Language::Traceql => Some("traceql"),
    };
    if let Some(language) = language {
        shown.insert("lang".to_owned(), language.into());
    }
    let labels = &rule.labels;
    if rule.alerting.is_some() || !labels.is_empty() {
        shown.insert("labels".to_owned(), labels_json(labels));
    }
    shown.insert("health".to_owned(), rule.health.as_str().into());
    if let Health::Bad(error) = &rule.health {
        shown.insert("lastError".to_owned(), error.clone().into());
    }
    shown.insert("evaluationTime".to_owned(), rule.evaluation_seconds.into());
    shown.insert("lastEvaluation".to_owned(), time(rule.last_evaluation));
    let kind = match rule.alerting {
        Some(_) => "alerting",
        None => "recording",
    };
    shown.insert("type".to_owned(), kind.into());
    Value::Object(shown)
}

fn alerting_json(
    rule: &RuleView,
    alerting: &AlertingView,
    with_alerts: bool,
    shown: &mut Map<String, Value>,
) {
    let state = match rule.last_evaluation {
        Some(_) => alerting.state.as_str(),
        None => "unknown",
    };
    let alerts = alerting.alerts.iter().filter(|_| with_alerts);
    let alerts: Vec<Value> = alerts.map(alert_json).collect();
    shown.insert("state".to_owned(), state.into());
    shown.insert("duration".to_owned(), seconds(alerting.hold).into());
    shown.insert(
        "keepFiringFor".to_owned(),
        seconds(alerting.keep_firing).into(),
    );
    shown.insert("annotations".to_owned(), labels_json(&alerting.annotations));
    shown.insert("alerts".to_owned(), alerts.into());
}

fn alert_json(alert: &AlertView) -> Value {
    let mut shown = json!({
        "labels": labels_json(&alert.labels),
        "annotations": labels_json(&alert.annotations),
        "state": alert.state.as_str(),
        "activeAt": alert.active_at.to_string(),
        "value": exponential(alert.value),
    });
    if let Some(since) = alert.keep_firing_since {
        shown["keepFiringSince"] = since.to_string().into();
    }
    shown
}

/// A number as Go's `%e` with as few digits as give it back: `1e+00`.
fn exponential(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// `/alerts`
pub(super) async fn alerts(State(app): State<Arc<App>>, Asker(tenant): Asker) -> Response {
    alerts_of(&whole_groups_of(&app, &tenant), &tenant)
}

/// The same of groups with rules over logs.
pub(super) async fn log_alerts(State(app): State<Arc<App>>, Asker(tenant): Asker) -> Response {
    let mut groups = whole_groups_of(&app, &tenant);
    groups.retain(of_logs);
    alerts_of(&groups, &tenant)
}

fn alerts_of(groups: &[GroupView], seen: &Visible) -> Response {
    let rules = groups.iter().flat_map(|group| &group.rules);
    let alerts = rules.flat_map(|rule| rule.alerting.iter().flat_map(|a| a.alerts.iter()));
    let alerts: Vec<Value> = alerts
        .filter(|alert| alert.state != AlertState::Inactive && seen.sees(&alert.labels))
        .map(alert_json)
        .collect();
    success(&json!({"alerts": alerts}))
}

/// `/alertmanagers`
pub(super) async fn alertmanagers(State(app): State<Arc<App>>) -> Response {
    let known = app.notifier.get().map(|notifier| notifier.alertmanagers());
    let (active, dropped) = known.unwrap_or_default();
    let shown = |urls: Vec<String>| -> Vec<Value> {
        urls.into_iter().map(|url| json!({"url": url})).collect()
    };
    success(&json!({
        "activeAlertmanagers": shown(active),
        "droppedAlertmanagers": shown(dropped),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        let cases = [
            (1.0, "1e+00"),
            (0.0, "0e+00"),
            (-123.5, "-1.235e+02"),
            (1e-7, "1e-07"),
            (1e100, "1e+100"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
        ];
        for (value, expect) in cases {
            assert_eq!(exponential(value), expect);
        }
        assert_eq!(labels_json(&Labels::empty()), json!({}));
    }
}
