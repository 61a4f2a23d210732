//! What obs adds to Alertmanager's ways, from the alert to the receiver: acknowledgements, storms,
//! escalation, heartbeats; and that nothing is told twice when it has long been told.

use serde_json::{Value, json};

use super::alertmanager::{Hook, until_known};
use super::list;
use crate::process::{Obs, Stop, until};

/// A server that groups each alert by itself and tells at once, and what changes five times a second.
/// A request has ten seconds: on a machine that stands still for longer, it is told again.
fn serving(hook: &Hook, route: &str, more: &str) -> Obs {
    serving_each("200ms", hook, route, more)
}

/// The same with a request that has as much time as a group.
fn serving_each(interval: &str, hook: &Hook, route: &str, more: &str) -> Obs {
    let receiver = |name: &str| {
        format!(
            "    - name: {name}\n      webhook_configs: [{{url: 'http://{}/{name}'}}]\n",
            hook.address
        )
    };
    let config = format!(
        "obs:\n  alertmanager:\n    route:\n      receiver: team\n      group_by: ['...']\n      \
         group_wait: 0s\n      group_interval: {interval}\n      resolve_wait: 0s\n      {route}\n    \
         receivers:\n{}{}{}    {more}\n",
        receiver("team"),
        receiver("boss"),
        receiver("dead-man"),
    );
    Obs::with_config(&config)
}

const OPEN: &str = "2099-01-01T00:00:00Z";
const OVER: &str = "2024-01-02T00:00:00Z";

/// Alerts by name, until then; without a time for as long as `resolve_timeout` says.
fn say(obs: &Obs, names: &[&str], end: Option<&str>) {
    let alerts: Vec<Value> = names
        .iter()
        .map(|name| {
            let mut alert =
                json!({"labels": {"alertname": name}, "startsAt": "2024-01-01T00:00:00Z"});
            if let Some(end) = end {
                alert["endsAt"] = end.into();
            }
            alert
        })
        .collect();
    let headers = [("content-type", "application/json")];
    let answer = obs.post(
        "/api/v2/alerts",
        &headers,
        json!(alerts).to_string().into_bytes(),
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// How often a receiver was told of an alert with a status.
fn told(hook: &Hook, receiver: &str, name: &str, status: &str) -> usize {
    let bodies = hook.bodies();
    let bodies = bodies
        .iter()
        .filter(|(_, body)| body["receiver"] == receiver);
    let alerts = bodies.flat_map(|(_, body)| list(&body["alerts"]));
    let same = |alert: &&Value| alert["labels"]["alertname"] == name && alert["status"] == status;
    alerts.filter(same).count()
}

fn until_told(hook: &Hook, receiver: &str, name: &str, status: &str, times: usize) {
    until(&format!("{name} to be {status} for {receiver}"), || {
        (told(hook, receiver, name, status) >= times).then_some(())
    });
}

fn run(obs: &Obs, arguments: &[&str]) -> String {
    let output = obs.client(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn an_acknowledged_alert_is_quiet_until_it_is_over() {
    let hook = Hook::serve();
    let mut obs = serving(&hook, "repeat_interval: 1s", "");
    say(&obs, &["A", "Beat"], Some(OPEN));
    until_told(&hook, "team", "A", "firing", 2);
    let print = run(
        &obs,
        &["alerts", "ack", "-c", "on it", "-a", "me", "alertname=A"],
    );
    let shown = run(&obs, &["alerts", "acks", "-o", "json"]);
    assert!(
        shown.contains(print.trim()) && shown.contains("on it"),
        "{shown}"
    );
    let beats = |more: usize| {
        let before = told(&hook, "team", "Beat", "firing");
        until_told(&hook, "team", "Beat", "firing", before + more);
    };
    // What was on its way may still come, once more where its answer came too late.
    beats(3);
    let most = told(&hook, "team", "A", "firing") + 1;
    beats(3);
    obs.restart(Stop::Kill);
    beats(3);
    assert!(told(&hook, "team", "A", "firing") <= most);
    assert_eq!(told(&hook, "team", "A", "resolved"), 0);
    say(&obs, &["A"], Some(OVER));
    until_told(&hook, "team", "A", "resolved", 1);
    beats(3);
    // Firing anew it is another one.
    say(&obs, &["A"], Some(OPEN));
    until_told(&hook, "team", "A", "firing", most + 1);
    let print = print.trim();
    assert_eq!(run(&obs, &["alerts", "ack", print]).trim(), print);
    assert_eq!(
        run(&obs, &["alerts", "ack", "--remove", print]).trim(),
        print
    );
    assert!(
        !obs.client(&["alerts", "ack", "alertname=None"])
            .status
            .success()
    );
}

#[test]
fn pages_of_other_sites_keep_nothing_quiet() {
    let hook = Hook::serve();
    let obs = serving(&hook, "repeat_interval: never", "");
    say(&obs, &["A"], Some(OPEN));
    until_told(&hook, "team", "A", "firing", 1);
    let found = obs.get("/api/v2/alerts", &[]).json();
    let print = found[0]["fingerprint"]
        .as_str()
        .expect("an alert")
        .to_owned();
    let ack = json!({"fingerprint": print, "createdBy": "me"}).to_string();
    let quiet = json!({
        "matchers": [{"name": "alertname", "value": "A", "isRegex": false}],
        "startsAt": "2024-01-01T00:00:00Z", "endsAt": OPEN, "createdBy": "me", "comment": "x",
    });
    let quiet = quiet.to_string();
    let own = ("content-type", "application/json");
    let check = |headers: &[(&str, &str)], expect: u16| {
        let acks = "/api/v1/alertmanager/acks";
        for (path, body) in [(acks, &ack), ("/api/v2/silences", &quiet)] {
            let answer = obs.post(path, headers, body.clone().into_bytes());
            assert_eq!(
                answer.status,
                expect,
                "{path} {headers:?}: {}",
                answer.text()
            );
        }
    };
    check(&[("content-type", "text/plain")], 415);
    check(&[own, ("sec-fetch-site", "cross-site")], 403);
    check(&[own, ("origin", "http://elsewhere.example")], 403);
    assert_eq!(obs.get("/api/v2/silences", &[]).json(), json!([]));
    assert_eq!(obs.get("/api/v1/alertmanager/acks", &[]).json(), json!([]));
    check(&[own, ("sec-fetch-site", "same-origin")], 200);
    check(&[own], 200);
}

#[test]
fn a_storm_is_one_summary_that_is_closed() {
    let hook = Hook::serve();
    let more = "obs: {storm: {notifications: 3, per: 1s}}";
    let obs = serving_each("5m", &hook, "repeat_interval: never", more);
    let names: Vec<String> = (0..20).map(|n| format!("S{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    say(&obs, &names, Some(OPEN));
    let summary = until("the summary", || {
        let mut bodies = hook.bodies().into_iter();
        bodies.find(|(_, body)| body["groupLabels"]["alertname"] == "NotificationStorm")
    });
    let labels = &summary.1["groupLabels"];
    assert_eq!(
        (&labels["groups"], &labels["alerts"]),
        (&json!("17"), &json!("17"))
    );
    assert_eq!(list(&summary.1["alerts"]).len(), 17);
    let key = summary.1["groupKey"].clone();
    say(&obs, &names, Some(OVER));
    until("the summary to be closed", || {
        let bodies = hook.bodies();
        let mut own = bodies.iter().filter(|(_, body)| body["groupKey"] == key);
        own.any(|(_, body)| body["status"] == "resolved")
            .then_some(())
    });
    // All of them were told: by themselves or in the summary.
    for name in &names {
        assert_eq!(told(&hook, "team", name, "firing"), 1, "{name}");
    }
}

#[test]
fn what_nobody_cares_for_goes_up_and_its_end_as_well() {
    let hook = Hook::serve();
    let route = "repeat_interval: never\n      obs: {escalate: [{after: 1s, receiver: boss}]}";
    let mut obs = serving_each("5m", &hook, route, "");
    say(&obs, &["A"], Some(OPEN));
    until_told(&hook, "boss", "A", "firing", 1);
    run(&obs, &["alerts", "ack", "alertname=A"]);
    until_known(&obs, "obs_alertmanager_log_entries 2");
    obs.restart(Stop::Kill);
    say(&obs, &["A"], Some(OVER));
    for receiver in ["team", "boss"] {
        until_told(&hook, receiver, "A", "resolved", 1);
    }
    // Another one takes the same way, behind which nothing of the first comes any more.
    say(&obs, &["B"], Some(OPEN));
    until_told(&hook, "boss", "B", "firing", 1);
    for (receiver, status) in [("team", "firing"), ("boss", "firing"), ("boss", "resolved")] {
        assert_eq!(told(&hook, receiver, "A", status), 1, "{receiver} {status}");
    }
}

#[test]
fn heartbeats_go_out_and_are_missed() {
    let hook = Hook::serve();
    let more = "obs:\n      heartbeats: [{receiver: dead-man, every: 1s}]\n      \
                expected: [{name: prod, matchers: [alertname = Watchdog], within: 1s}]";
    let obs = serving(&hook, "repeat_interval: never", more);
    until_told(&hook, "dead-man", "Heartbeat", "firing", 3);
    until_told(&hook, "team", "HeartbeatMissing", "firing", 1);
    until("the watchdog to be heard", || {
        say(&obs, &["Watchdog"], Some(OPEN));
        (told(&hook, "team", "HeartbeatMissing", "resolved") > 0).then_some(())
    });
    assert_eq!(told(&hook, "dead-man", "HeartbeatMissing", "firing"), 0);
}

#[test]
fn what_ended_without_a_word_is_not_told_again_by_the_next_server() {
    let hook = Hook::serve();
    let mut obs = serving(
        &hook,
        "repeat_interval: never",
        "global: {resolve_timeout: 1s}",
    );
    let counts = |name: &str| ["firing", "resolved"].map(|s| told(&hook, "team", name, s));
    // However long the machine takes: told of until it is known, and then never again.
    let cycle = |obs: &Obs, name: &str| {
        until("it to fire", || {
            say(obs, &[name], None);
            (counts(name)[0] > 0).then_some(())
        });
        until("it to be over, and all to be told", || {
            let [_, resolved] = counts(name);
            let metrics = obs.get("/metrics", &[]).text();
            let idle = metrics.contains("\nalertmanager_dispatcher_aggregation_groups 0\n");
            (idle && resolved > 0).then_some(())
        });
        counts(name)
    };
    let first = cycle(&obs, "A");
    obs.restart(Stop::Kill);
    // What would be told late has had its time when another has lived through all of it.
    let second = cycle(&obs, "B");
    obs.restart(Stop::Terminate);
    cycle(&obs, "C");
    assert_eq!((counts("A"), counts("B")), (first, second));
}
