//! Rules through the binary: they fire, live through reloads and restarts, and are shown as
//! Prometheus shows them.

use serde_json::Value;

use super::derived::{SERVER, Told, send};
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
    write(
        &obs,
        "rules2.yml",
        "groups: [{name: x, rules: [{record: y, expr: 'sum('}]}]",
    );
    let (status, told) = reload(&obs);
    assert_eq!(status, 500, "{told}");
    assert!(told.contains("rules2.yml:1:"), "{told}");
    let groups = obs.get("/api/v1/rules", &[]).json();
    assert_eq!(list(&groups["data"]["groups"]).len(), 2, "{groups}");
    // A rule more, another group, and a changed rule beside it.
    let more = RULES.replace("load > 10\n    for: 1h", "load > 11\n    for: 1h");
    write(&obs, "rules.yml", &more);
    write(
        &obs,
        "rules2.yml",
        "groups: [{name: x, rules: [{record: y, expr: '1'}]}]",
    );
    assert_eq!(reload(&obs).0, 200);
    same(&obs, "after a reload");
    let pending = alert(&obs, "Slow", "pending");
    assert_eq!(
        pending["activeAt"], waits["activeAt"],
        "its states are taken over"
    );
    until("the rule that is new", || {
        let found = obs.get("/api/v1/query", &[("query", "y")]).json();
        Some(()).filter(|()| vector(&found) == [("y{}".to_owned(), 1.0)])
    });
    evaluated_again(&obs, "Busy");
    obs.restart(Stop::Kill);
    same(&obs, "after a kill");
    obs.restart(Stop::Terminate);
    same(&obs, "after a restart");
    // What was recorded before a restart is known again with the first evaluation.
    evaluated_again(&obs, "Busy");
    // A group that is gone takes its alerts and series with it.
    write(&obs, "rules.yml", "groups: []");
    assert_eq!(reload(&obs).0, 200);
    until("the end of the alerts", || {
        let found = obs.get("/api/v1/alerts", &[]).json();
        list(&found["data"]["alerts"]).is_empty().then_some(())
    });
    until("the end of the series", || {
        let asked = [(
            "query",
            "ALERTS or ALERTS_FOR_STATE or {__name__=\"job:load:sum\"}",
        )];
        vector(&obs.get("/api/v1/query", &asked).json())
            .is_empty()
            .then_some(())
    });
}

#[test]
fn a_reload_changes_the_external_labels_of_all_that_leaves() {
    let other = Obs::start();
    let config = |cluster: &str| {
        format!(
            "global: {{evaluation_interval: 200ms, external_labels: {{cluster: {cluster}}}}}\n\
             rule_files: ['rules*.yml']\nremote_write: [{{url: '{}/api/v1/write'}}]\n",
            other.url()
        )
    };
    let files = [("obs.yml", config("eu")), ("rules.yml", RULES.to_owned())];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let obs = Obs::with_files_and_flags(&files, &["--web.enable-lifecycle"]);
    let check = |cluster: &str| {
        push(&obs, &[("__name__", "load"), ("job", "a")], 20.0);
        until("the template", || {
            let summary = alert(&obs, "Busy", "firing")["annotations"]["summary"].clone();
            (summary == format!("a of {cluster} is at 20")).then_some(())
        });
        let federated = obs.get("/federate", &[("match[]", "load")]).text();
        let label = format!("cluster=\"{cluster}\"");
        assert!(federated.contains(&label), "{federated}");
        until("what was forwarded", || {
            let query = format!("load{{{label}}}");
            let found = other.get("/api/v1/query", &[("query", &query)]).json();
            (vector(&found).len() == 1).then_some(())
        });
    };
    check("eu");
    write(&obs, "obs.yml", &config("us"));
    assert_eq!(reload(&obs).0, 200);
    check("us");
    assert!(!obs.log().contains("next start"), "nothing waits");
}

#[test]
fn metrics_that_a_server_does_not_have_are_told() {
    let obs = Obs::start();
    push(&obs, &[("__name__", "load"), ("job", "a")], 1.0);
    let rules = "groups: [{name: g, rules: [{record: r, expr: 'load + on () nothing'}, \
                 {record: s, expr: 'r + load{job=\"b\"}'}]}]";
    std::fs::write(obs.path("r.yml"), rules).expect("the folder is writable");
    let (url, file) = (obs.url(), obs.path("r.yml").display().to_string());
    let check = |expr: &str, expect: i32, words: &[&str]| {
        write(&obs, "r.yml", &rules.replace("load + on () nothing", expr));
        let flags = [
            "--lint",
            "absent-metrics",
            "--lint-fatal",
            "--url",
            &url,
            &file,
        ];
        let mut command = crate::process::command(&[&["check", "rules"], &flags[..]].concat());
        let output = command.output().expect("obs runs");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(expect), "{told}");
        assert!(words.iter().all(|words| told.contains(words)), "{told}");
        assert!(!told.contains("\"r\""), "a rule writes it: {told}");
    };
    check(
        "load + on () nothing",
        3,
        &["no metric \"nothing\" for a day"],
    );
    check("load{job=\"c\"}", 3, &["no series matches {", "job=\"c\""]);
    write(
        &obs,
        "r.yml",
        "groups: [{name: g, rules: [{record: r, expr: load}]}]",
    );
    let flags = [
        "check",
        "rules",
        "--lint",
        "absent-metrics",
        "--lint-fatal",
        "--url",
    ];
    let mut command = crate::process::command(&[&flags[..], &[&url, &file]].concat());
    assert!(command.output().expect("obs runs").status.success());
}

#[test]
fn an_evaluation_that_fails_resolves_nothing() {
    let obs = start();
    let fires = alert(&obs, "Both", "firing");
    // A second series on the other side: the match is many-to-many and fails.
    push(
        &obs,
        &[("__name__", "other"), ("job", "a"), ("x", "y")],
        1.0,
    );
    until("the failure", || {
        Some(()).filter(|()| rule(&obs, "Both")["health"] == "err")
    });
    let failed = rule(&obs, "Both");
    let error = failed["lastError"].as_str().unwrap_or_default();
    assert!(error.contains("many-to-many"), "{failed}");
    assert_eq!(failed["state"], "firing", "{failed}");
    let still = alert(&obs, "Both", "firing");
    assert_eq!(still["activeAt"], fires["activeAt"]);
    until("the failure to be counted", || {
        let counted = obs.get("/metrics", &[]).text();
        let mut lines = counted.lines();
        lines
            .any(|line| {
                line.starts_with("prometheus_rule_evaluation_failures_total{")
                    && line.contains(";g\"")
                    && !line.ends_with(" 0")
            })
            .then_some(())
    });
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story from start to end")]
fn rules_and_alerts_are_shown_as_prometheus_does() {
    let obs = start();
    alert(&obs, "Busy", "firing");
    alert(&obs, "Slow", "pending");
    let shown = rule(&obs, "Busy");
    let keys: Vec<&String> = shown.as_object().expect("an object").keys().collect();
    assert_eq!(
        keys,
        [
            "alerts",
            "annotations",
            "duration",
            "evaluationTime",
            "health",
            "keepFiringFor",
            "labels",
            "lastEvaluation",
            "name",
            "query",
            "state",
            "type"
        ]
    );
    assert_eq!(shown["query"], "job:load:sum > 10");
    assert_eq!(shown["type"], "alerting");
    assert_eq!(shown["health"], "ok");
    assert_eq!(
        shown["labels"],
        serde_json::json!({"severity": "page", "team": "x"})
    );
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
    assert_eq!(
        names(&[("rule_name[]", "Slow"), ("rule_name[]", "Never")]),
        ["Slow", "Never"]
    );
    assert_eq!(names(&[("file[]", &file)]), all);
    assert_eq!(names(&[("file[]", "none")]), [""; 0]);
    assert_eq!(names(&[("match[]", "{severity=\"page\"}")]), ["Busy"]);
    let answer = obs
        .get("/api/v1/rules", &[("exclude_alerts", "true")])
        .json();
    assert!(!answer.to_string().contains("activeAt"), "{answer}");
    let page = obs.get("/api/v1/rules", &[("group_limit", "1")]).json();
    let token = page["data"]["groupNextToken"].as_str().expect("one more");
    assert_eq!(page["data"]["groups"][0]["name"], "g");
    let next = [("group_limit", "1"), ("group_next_token", token)];
    let next = obs.get("/api/v1/rules", &next).json();
    assert_eq!(next["data"]["groups"][0]["name"], "h");
    assert_eq!(next["data"]["groupNextToken"], Value::Null);
    for (name, value, words) in [
        ("type", "x", "not supported value"),
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
    let bare: Vec<String> = alerts
        .iter()
        .map(|(name, _)| name.replace('"', ""))
        .collect();
    assert_eq!(bare, [labels]);
    let since = query("ALERTS_FOR_STATE{alertname=\"Slow\"} > 1.6e9");
    assert_eq!(since.len(), 1);
    // The first evaluations may have come between the two pushes.
    until("the other alert", || {
        let names = obs.get("/api/v1/label/alertname/values", &[]).json();
        texts(&names["data"]).contains(&"Both").then_some(())
    });
}

#[test]
fn rules_over_spans_are_evaluated_and_tried_out() {
    let rules = "groups:\n- name: g\n  interval: 1s\n  rules:\n\
                 \x20 - {record: 'spans:failed', lang: traceql, \
                 expr: '{ status = error } | count_over_time() by (resource.service.name)'}\n\
                 \x20 - {alert: Failing, lang: traceql, for: 10s, \
                 expr: '{ status = error } | rate() by (resource.service.name) > 0'}\n\
                 \x20 - {alert: Silent, lang: traceql, expr: '{ name = \"none\" } | rate() > 0'}\n";
    let config = "rule_files: [rules.yml]\n";
    let obs = Obs::with_files(&[("obs.yml", config), ("rules.yml", rules)]);
    let told = |id, failed| Told {
        service: "shop",
        trace: id,
        id,
        kind: SERVER,
        failed,
        ..Told::default()
    };
    let spans = [told(1, true), told(2, true), told(3, false)];
    send(&obs, &spans, crate::process::now() - 30 * SECOND);
    until("the series", || {
        let query = "{__name__=\"spans:failed\"}";
        let found = obs.get("/api/v1/query", &[("query", query)]).json();
        let found = vector(&found);
        let labels = "\"resource.service.name\"=\"shop\"";
        let same = found.len() == 1 && found[0].1 == 2.0 && found[0].0.contains("service.name");
        assert!(found.is_empty() || same, "{found:?}, expected {labels}");
        same.then_some(())
    });
    alert(&obs, "Failing", "firing");
    assert_eq!(rule(&obs, "Silent")["health"], "ok");
    assert_eq!(rule(&obs, "Silent")["state"], "inactive");
    let (url, file) = (obs.url(), obs.path("rules.yml").display().to_string());
    let against = [
        "test",
        "rules",
        "--against",
        "2m",
        "--url",
        &url,
        "-o",
        "json",
        &file,
    ];
    let output = crate::process::command(&against)
        .output()
        .expect("obs runs");
    assert!(output.status.success(), "{output:?}");
    let groups: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let tried = list(&groups[0]["rules"]);
    assert_eq!(tried[0]["name"], "Failing", "{groups}");
    assert_eq!(
        (&tried[0]["fired"], &tried[0]["failures"]),
        (&1.into(), &0.into()),
        "{groups}"
    );
    assert_eq!(
        (&tried[1]["fired"], &tried[1]["failures"]),
        (&0.into(), &0.into()),
        "{groups}"
    );
}

const GROUP: &str = "name: errors\ninterval: 200ms\nrules:\n- alert: Errors\n  expr: 'sum by (app) \
                     (count_over_time({app=\"shop\"} |= \"error\" [1h])) > 0'\n  labels: \
                     {severity: page}\n- record: shop:lines\n  expr: \
                     'sum(count_over_time({app=\"shop\"}[1h]))'\n";

#[test]
#[expect(clippy::too_many_lines, reason = "one story from start to end")]
fn rulers_of_loki_and_mimir_keep_their_groups() {
    let mut obs = Obs::start();
    let line = [(crate::process::now(), "an error", &[][..])];
    assert_eq!(
        crate::send::loki_json(&obs, &[("app", "shop")], &line).status,
        204
    );
    let yaml = [("content-type", "application/yaml")];
    let put = |obs: &Obs, path: &str, text: &str| {
        let answer = obs.post(path, &yaml, text.as_bytes().to_vec());
        (answer.status, answer.text())
    };
    let none = obs.get("/loki/api/v1/rules", &[]);
    assert_eq!(
        (none.status, none.text().trim()),
        (404, "no rule groups found")
    );
    assert_eq!(put(&obs, "/loki/api/v1/rules/team%2Fshop", GROUP).0, 202);
    let metrics = "{name: m, interval: 200ms, rules: [{record: one, expr: '1'}]}";
    assert_eq!(put(&obs, "/api/v1/rules/team", metrics).0, 202);
    for (text, words) in [
        ("name: x\nrules:\n- {record: y, expr: 'sum('}\n", "3:"),
        ("rules: []", "name"),
        ("[]", "a map with name"),
        ("name: x\nrules: [{alert: y, expr: '{a=\"b\"}'}]", "numbers"),
    ] {
        let (status, told) = put(&obs, "/loki/api/v1/rules/team", text);
        assert_eq!(status, 400, "{told}");
        assert!(told.contains(words), "{told}");
    }
    let fires = alert(&obs, "Errors", "firing");
    assert_eq!(fires["labels"]["app"], "shop", "{fires}");
    let recorded = |obs: &Obs, name: &str| {
        until(name, || {
            let found = vector(&obs.get("/api/v1/query", &[("query", name)]).json());
            Some(found).filter(|found| !found.is_empty())
        })
    };
    assert_eq!(recorded(&obs, "shop:lines")[0].1, 1.0);
    assert_eq!(recorded(&obs, "one")[0].1, 1.0);
    let check = |obs: &Obs, when: &str| {
        for path in ["/loki/api/v1/rules", "/api/prom/rules"] {
            let all = obs.get(path, &[]);
            assert!(all.content_type.starts_with("application/yaml"), "{when}");
            let all: Value = serde_yaml_ng::from_str(&all.text()).expect("YAML");
            let group = &all["team/shop"][0];
            assert_eq!(group["name"], "errors", "{when}: {all}");
            assert_eq!(group["interval"], "200ms");
            assert_eq!(group["rules"][0]["alert"], "Errors");
            assert_eq!(all.as_object().map(|all| all.len()), Some(1), "{all}");
        }
        let one = obs.get("/loki/api/v1/rules/team%2Fshop/errors", &[]);
        assert!(one.text().starts_with("name: errors\n"), "{}", one.text());
        let mimir = obs.get("/prometheus/config/v1/rules", &[]).text();
        assert!(mimir.starts_with("team:\n- name: m\n"), "{mimir}");
        let own = obs.get("/api/v1/rules/team/m", &[]).text();
        assert!(
            own.contains("record: one") && !own.contains("lang"),
            "{own}"
        );
        let shown = obs.get("/prometheus/api/v1/rules", &[]).json();
        let groups = list(&shown["data"]["groups"]);
        assert_eq!(groups.len(), 1, "{shown}");
        assert_eq!(groups[0]["file"], "team/shop");
        assert_eq!(
            list(&obs.get("/api/v1/rules", &[]).json()["data"]["groups"]).len(),
            2
        );
        until("the alert", || {
            let alerts = obs.get("/prometheus/api/v1/alerts", &[]).json();
            Some(()).filter(|()| list(&alerts["data"]["alerts"]).len() == 1)
        });
    };
    check(&obs, "at first");
    obs.restart(Stop::Kill);
    check(&obs, "after a kill");
    obs.restart(Stop::Terminate);
    check(&obs, "after a restart");
    obs.set_tenant(Some("other"));
    assert_eq!(obs.get("/loki/api/v1/rules", &[]).status, 404);
    assert_eq!(obs.delete("/loki/api/v1/rules/team%2Fshop").status, 404);
    obs.set_tenant(None);
    assert_eq!(obs.get("/loki/api/v1/rules/none", &[]).status, 404);
    assert_eq!(obs.get("/loki/api/v1/rules/none/x", &[]).status, 404);
    assert_eq!(
        obs.delete("/loki/api/v1/rules/team%2Fshop/none").status,
        404
    );
    assert_eq!(
        obs.delete("/loki/api/v1/rules/team%2Fshop/errors").status,
        202
    );
    assert_eq!(obs.delete("/prometheus/config/v1/rules/team").status, 202);
    obs.restart(Stop::Kill);
    assert_eq!(obs.get("/loki/api/v1/rules", &[]).status, 404);
    assert_eq!(obs.get("/api/v1/rules/team", &[]).status, 404);
    let left = obs.get("/api/v1/rules", &[]).json();
    assert!(list(&left["data"]["groups"]).is_empty(), "{left}");
}

#[test]
fn rules_of_the_cluster_are_evaluated() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let api = runtime.block_on(obs_tests::kube_api::KubeApi::start());
    let object = |expr: &str| {
        let rules = serde_json::json!([{"record": "of_cluster", "expr": expr}]);
        serde_json::json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule",
            "metadata": {"namespace": "shop", "name": "r"},
            "spec": {"groups": [{"name": "g", "interval": "200ms", "rules": rules}]}})
    };
    api.put(object("vector(1)"));
    let config = "obs: {kubernetes: {kubeconfig_file: kubeconfig, monitors: {}}}\n";
    let kubeconfig = api.kubeconfig(None);
    let files = [("obs.yml", config), ("kubeconfig", kubeconfig.as_str())];
    let obs = Obs::with_files(&files);
    let recorded = |value: f64| {
        until("the rule of the cluster", || {
            let found = obs.get("/api/v1/query", &[("query", "of_cluster")]).json();
            Some(()).filter(|()| vector(&found) == [("of_cluster{}".to_owned(), value)])
        });
    };
    recorded(1.0);
    api.put(object("vector(2)"));
    recorded(2.0);
    let shown = obs.get("/api/v1/rules", &[]).json();
    assert_eq!(shown["data"]["groups"][0]["file"], "PrometheusRule/shop/r");
    api.delete("PrometheusRule", "shop", "r");
    until("the end of the group", || {
        let shown = obs.get("/api/v1/rules", &[]).json();
        list(&shown["data"]["groups"]).is_empty().then_some(())
    });
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story from start to end")]
fn rules_are_tried_out_and_filled_in_over_stored_data() {
    let obs = Obs::start();
    let minute = 60 * SECOND;
    let end = crate::process::now() / minute * minute;
    // Three hours: load is 1, but for the minutes 60 to 79 and the last five.
    let value = |i: i64| match i {
        60..80 | 175.. => 20.0,
        _ => 1.0,
    };
    let times = (0..=180).map(|i| (end - (180 - i) * minute, value(i)));
    let batch = obs_model::MetricBatch {
        series: vec![series(&[("__name__", "load"), ("job", "a")], times)],
        ..Default::default()
    };
    assert_eq!(remote_write(&obs, &batch).status, 204);
    let rules = "groups:\n- name: g\n  interval: 1m\n  rules:\n\
                 \x20 - {record: 'job:load:max', expr: 'max by (job) (load)'}\n\
                 \x20 - {record: 'load:twice', expr: '2 * job:load:max'}\n\
                 \x20 - {alert: Busy, expr: 'job:load:max > 10', for: 5m}\n\
                 \x20 - {alert: Chain, expr: 'ALERTS{alertstate=\"firing\",alertname=\"Busy\"}'}\n";
    std::fs::write(obs.path("r.yml"), rules).expect("the folder is writable");
    let file = obs.path("r.yml").display().to_string();
    let url = obs.url();
    let run = |arguments: &[&str]| {
        let output = crate::process::command(arguments)
            .output()
            .expect("obs runs");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let faults = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}{faults}");
        told
    };
    let against = ["test", "rules", "--against", "4h", "--url", &url];
    let tried = run(&[&against[..], &["-o", "json", &file]].concat());
    let groups: Value = serde_json::from_str(&tried).expect("JSON");
    let rules = list(&groups[0]["rules"]);
    assert_eq!(rules.len(), 2, "{groups}");
    let busy = &rules[0];
    assert_eq!(busy["name"], "Busy");
    assert_eq!(
        (&busy["fired"], &busy["pending"]),
        (&2.into(), &2.into()),
        "{busy}"
    );
    assert_eq!(busy["failures"], 0, "{busy}");
    let first = &busy["alerts"][0];
    // Five minutes behind the rise, until the fall.
    let at = |i: i64| obs_model::Timestamp::from_nanos(end - (180 - i) * minute).to_string();
    assert_eq!(first["activeAt"], at(60), "{first}");
    assert_eq!(first["firedAt"], at(65), "{first}");
    assert_eq!(first["resolvedAt"], at(80), "{first}");
    assert_eq!(
        first["labels"],
        serde_json::json!({"alertname": "Busy", "job": "a"})
    );
    assert_eq!(rules[1]["alerts"][0]["firedAt"], at(65), "{}", rules[1]);
    let table = run(&[&against[..], &[&file]].concat());
    assert!(
        table.contains("Busy") && table.contains("{job=\"a\"}"),
        "{table}"
    );
    let query = |text: &str| vector(&obs.get("/api/v1/query", &[("query", text)]).json());
    assert_eq!(
        query("{__name__=~\".*:.*\"}"),
        [],
        "a try-out writes nothing"
    );
    let (from, to) = (at(0), at(180));
    let fill = [
        "rules", "backfill", "--server", &url, "--from", &from, "--to", &to, &file,
    ];
    let told = run(&fill);
    assert!(
        told.starts_with("recorded 362 samples of 2 rules"),
        "{told}"
    );
    let count = format!("count_over_time(load:twice[4h] @ {})", end / SECOND);
    assert_eq!(query(&count)[0].1, 181.0);
    run(&fill);
    assert_eq!(query(&count)[0].1, 181.0, "a repetition adds nothing");
    let sum = format!("sum_over_time(load:twice[4h] @ {})", end / SECOND);
    assert_eq!(query(&sum)[0].1, 2.0 * (155.0 + 26.0 * 20.0));
    let listed = obs.client(&["rules", "list"]);
    assert!(listed.status.success());
}
