//! Rules through the binary: they fire, live through reloads and restarts, and are shown as
//! Prometheus shows them.

use serde_json::Value;

use super::{list, texts, vector};
use crate::process::{Obs, Stop, until};
use crate::send::{SECOND, remote_write, series};

/// Rules that are evaluated often.
const CONFIG: &str = "global: {evaluation_interval: 200ms, external_labels: {cluster: eu}}\n\
                      rule_files: ['rules*.yml']\n";
const RULES: &str = r#"
groups:
- name: g
  labels: {team: x}
  rules:
  - record: "job:load:sum"
    expr: sum by (job) (load)
  - alert: Busy
    expr: job:load:sum > 10
    labels: {severity: page}
    annotations: {summary: "{{ $labels.job }} of {{ $externalLabels.cluster }} is at {{ $value }}"}
  - alert: Slow
    expr: load > 10
    for: 1h
  - alert: Both
    expr: load * on (job) other > 0
- name: h
  interval: 1h
  rules:
  - {alert: Never, expr: 'load > 1e9', for: 5m, keep_firing_for: 1m}
"#;

fn push(obs: &Obs, labels: &[(&str, &str)], value: f64) {
    let time = crate::process::now();
    // Also behind now, so that what is late does not hide it from the next evaluations.
    let times = (-1..300).map(|i| (time + i * SECOND, value));
    let batch = obs_model::MetricBatch {
        series: vec![series(labels, times)],
        ..Default::default()
    };
    assert_eq!(remote_write(obs, &batch).status, 204);
}

fn start() -> Obs {
    let files = [("obs.yml", CONFIG), ("rules.yml", RULES)];
    let obs = Obs::with_files_and_flags(&files, &["--web.enable-lifecycle"]);
    push(&obs, &[("__name__", "load"), ("job", "a")], 20.0);
    push(&obs, &[("__name__", "other"), ("job", "a")], 1.0);
    obs
}

/// The alert of this name in this state.
fn alert(obs: &Obs, name: &str, state: &str) -> Value {
    until(&format!("{name} to be {state}"), || {
        let answer = obs.get("/api/v1/alerts", &[]).json();
        let all = list(&answer["data"]["alerts"]).to_vec();
        all.into_iter()
            .find(|a| a["labels"]["alertname"] == name && a["state"] == state)
    })
}

fn rule(obs: &Obs, name: &str) -> Value {
    let answer = obs.get("/api/v1/rules", &[("rule_name[]", name)]).json();
    list(&answer["data"]["groups"])[0]["rules"][0].clone()
}

/// Waits for another evaluation: the states of the one before it are on disk then.
fn evaluated_again(obs: &Obs, name: &str) {
    let before = rule(obs, name)["lastEvaluation"].clone();
    until("another evaluation", || {
        Some(()).filter(|()| rule(obs, name)["lastEvaluation"] != before)
    });
}

fn reload(obs: &Obs) -> (u16, String) {
    let answer = obs.post("/-/reload", &[], Vec::new());
    (answer.status, answer.text())
}

fn write(obs: &Obs, name: &str, text: &str) {
    std::fs::write(obs.path(name), text).expect("the folder is writable");
}

#[test]
fn alerts_live_through_reloads_and_kills() {
    let mut obs = start();
    let fires = alert(&obs, "Busy", "firing");
    let waits = alert(&obs, "Slow", "pending");
    assert_eq!(fires["value"], "2e+01", "{fires}");
    assert_eq!(
        fires["annotations"]["summary"], "a of eu is at 20",
        "{fires}"
    );
    assert_eq!(fires["labels"]["team"], "x", "{fires}");
    evaluated_again(&obs, "Busy");
    let same = |obs: &Obs, when: &str| {
        let now = alert(obs, "Busy", "firing");
        assert_eq!(now["activeAt"], fires["activeAt"], "{when}");
        now
    };
    // One bad file, and all stays as it was.
    write(&obs, "rules2.yml", "groups: [{name: x, rules: [{record: y, expr: 'sum('}]}]");
    let (status, told) = reload(&obs);
    assert_eq!(status, 500, "{told}");
    assert!(told.contains("rules2.yml:1:"), "{told}");
    let groups = obs.get("/api/v1/rules", &[]).json();
    assert_eq!(list(&groups["data"]["groups"]).len(), 2, "{groups}");
    // A rule more, another group, and a changed rule beside it.
    let more = RULES.replace("load > 10\n    for: 1h", "load > 11\n    for: 1h");
    write(&obs, "rules.yml", &more);
    write(&obs, "rules2.yml", "groups: [{name: x, rules: [{record: y, expr: '1'}]}]");
    assert_eq!(reload(&obs).0, 200);
    same(&obs, "after a reload");
    let pending = alert(&obs, "Slow", "pending");
    assert_eq!(pending["activeAt"], waits["activeAt"], "its states are taken over");
    until("the rule that is new", || {
        let found = obs.get("/api/v1/query", &[("query", "y")]).json();
        Some(()).filter(|()| vector(&found) == [("y{}".to_owned(), 1.0)])
    });
    evaluated_again(&obs, "Busy");
    obs.restart(Stop::Kill);
    same(&obs, "after a kill");
    obs.restart(Stop::Terminate);
    same(&obs, "after a restart");
    // A group that is gone takes its alerts and series with it.
    write(&obs, "rules.yml", "groups: []");
    assert_eq!(reload(&obs).0, 200);
    until("the end of the alerts", || {
        let found = obs.get("/api/v1/alerts", &[]).json();
        list(&found["data"]["alerts"]).is_empty().then_some(())
    });
    until("the end of the series", || {
        let asked = [("query", "ALERTS or ALERTS_FOR_STATE or {__name__=\"job:load:sum\"}")];
        vector(&obs.get("/api/v1/query", &asked).json())
            .is_empty()
            .then_some(())
    });
}

#[test]
fn an_evaluation_that_fails_resolves_nothing() {
    let obs = start();
    let fires = alert(&obs, "Both", "firing");
    // A second series on the other side: the match is many-to-many and fails.
    push(&obs, &[("__name__", "other"), ("job", "a"), ("x", "y")], 1.0);
    until("the failure", || {
        Some(()).filter(|()| rule(&obs, "Both")["health"] == "err")
    });
    let failed = rule(&obs, "Both");
    let error = failed["lastError"].as_str().unwrap_or_default();
    assert!(error.contains("many-to-many"), "{failed}");
    assert_eq!(failed["state"], "firing", "{failed}");
    let still = alert(&obs, "Both", "firing");
    assert_eq!(still["activeAt"], fires["activeAt"]);
    let counted = obs.get("/metrics", &[]).text();
    let failures = counted
        .lines()
        .find_map(|line| line.strip_prefix("prometheus_rule_evaluation_failures_total "));
    assert!(failures.is_some_and(|count| count != "0"), "{failures:?}");
}

#[test]
fn rules_and_alerts_are_shown_as_prometheus_does() {
    let obs = start();
    alert(&obs, "Busy", "firing");
    alert(&obs, "Slow", "pending");
    let shown = rule(&obs, "Busy");
    let keys: Vec<&String> = shown.as_object().expect("an object").keys().collect();
    assert_eq!(
        keys,
        [
            "alerts", "annotations", "duration", "evaluationTime", "health", "keepFiringFor",
            "labels", "lastEvaluation", "name", "query", "state", "type"
        ]
    );
    assert_eq!(shown["query"], "job:load:sum > 10");
    assert_eq!(shown["type"], "alerting");
    assert_eq!(shown["health"], "ok");
    assert_eq!(shown["labels"], serde_json::json!({"severity": "page", "team": "x"}));
    assert_eq!(list(&shown["alerts"]).len(), 1);
    let recorded = rule(&obs, "job:load:sum");
    assert_eq!(recorded["type"], "recording");
    assert_eq!(recorded["query"], "sum by (job) (load)");
    let never = rule(&obs, "Never");
    assert_eq!(never["duration"], 300.0);
    assert_eq!(never["keepFiringFor"], 60.0);
    let names = |params: &[(&str, &str)]| -> Vec<String> {
        let answer = obs.get("/api/v1/rules", params).json();
        let groups = list(&answer["data"]["groups"]).iter();
        groups
            .flat_map(|group| list(&group["rules"]).to_vec())
            .map(|rule| rule["name"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    let file = obs.path("rules.yml").display().to_string();
    let all = ["job:load:sum", "Busy", "Slow", "Both", "Never"];
    assert_eq!(names(&[]), all);
    assert_eq!(names(&[("type", "alert")]), all[1..]);
    assert_eq!(names(&[("type", "record")]), all[..1]);
    assert_eq!(names(&[("rule_group[]", "h")]), all[4..]);
    assert_eq!(names(&[("rule_name[]", "Slow"), ("rule_name[]", "Never")]), ["Slow", "Never"]);
    assert_eq!(names(&[("file[]", &file)]), all);
    assert_eq!(names(&[("file[]", "none")]), [""; 0]);
    assert_eq!(names(&[("match[]", "{severity=\"page\"}")]), ["Busy"]);
    let answer = obs.get("/api/v1/rules", &[("exclude_alerts", "true")]).json();
    assert!(!answer.to_string().contains("activeAt"), "{answer}");
    let page = obs.get("/api/v1/rules", &[("group_limit", "1")]).json();
    let token = page["data"]["groupNextToken"].as_str().expect("one more");
    assert_eq!(page["data"]["groups"][0]["name"], "g");
    let next = [("group_limit", "1"), ("group_next_token", token)];
    let next = obs.get("/api/v1/rules", &next).json();
    assert_eq!(next["data"]["groups"][0]["name"], "h");
    assert_eq!(next["data"]["groupNextToken"], Value::Null);
    for (name, value, words) in [
        ("type", "x", "not supported value \"x\""),
        ("group_limit", "0", "group_limit"),
        ("group_next_token", "x", "group_limit needs to be present"),
        ("exclude_alerts", "x", "exclude_alerts"),
        ("match[]", "{", "match[]"),
    ] {
        let answer = obs.get("/api/v1/rules", &[(name, value)]);
        assert_eq!(answer.status, 400, "{name}: {}", answer.text());
        assert!(answer.text().contains(words), "{name}: {}", answer.text());
    }
    let query = |text: &str| {
        until(text, || {
            let found = vector(&obs.get("/api/v1/query", &[("query", text)]).json());
            Some(found).filter(|found| !found.is_empty())
        })
    };
    let alerts = query("ALERTS{alertname=\"Busy\"}");
    let labels = "ALERTS{alertname=Busy,alertstate=firing,job=a,severity=page,team=x}";
    let bare: Vec<String> = alerts.iter().map(|(name, _)| name.replace('"', "")).collect();
    assert_eq!(bare, [labels]);
    let since = query("ALERTS_FOR_STATE{alertname=\"Slow\"} > 1.6e9");
    assert_eq!(since.len(), 1);
    assert!(texts(&obs.get("/api/v1/label/alertname/values", &[]).json()["data"]).contains(&"Both"));
}
