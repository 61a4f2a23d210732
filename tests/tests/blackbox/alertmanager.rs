//! Alerts from the sample to the receiver: rules, the built-in Alertmanager, Alertmanagers
//! elsewhere; told once and once again, through kills, restarts and storms.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::list;
use crate::process::{Obs, Stop, now, until};
use crate::send::{remote_write, series};

/// A server that takes whatever is posted to it.
pub(super) struct Hook {
    pub(super) address: String,
    bodies: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Hook {
    pub(super) fn serve() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let bodies: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let taken = Arc::clone(&bodies);
        // Ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let taken = Arc::clone(&taken);
                std::thread::spawn(move || stream.map(|stream| take(stream, &taken)));
            }
        });
        Self { address, bodies }
    }

    /// Path and body of each request.
    pub(super) fn bodies(&self) -> Vec<(String, Value)> {
        self.bodies.lock().expect("no thread panicked").clone()
    }

    /// How often an alert was told of with a status.
    fn told(&self, name: &str, status: &str) -> usize {
        let bodies = self.bodies();
        let alerts = bodies.iter().flat_map(|(_, body)| list(&body["alerts"]));
        let same =
            |alert: &&Value| alert["labels"]["alertname"] == name && alert["status"] == status;
        alerts.filter(same).count()
    }
}

/// Takes the requests of a connection.
fn take(stream: TcpStream, taken: &Mutex<Vec<(String, Value)>>) -> Option<()> {
    let mut answers = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let (mut path, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if path.is_empty() {
                path = line.split(' ').nth(1)?.to_owned();
            } else if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            } else if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let body = serde_json::from_slice(&body).ok()?;
        taken.lock().expect("no thread panicked").push((path, body));
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        answers.write_all(answer.as_bytes()).ok()?;
    }
}

/// A server with rules that fire while the last sample of `level` is above zero. A request to the
/// hook has the time of its group: five minutes, longer than any machine stands still, since what
/// is not answered in time is told again.
fn watching(hook: &Hook, more: &str) -> Obs {
    watching_each("5m", hook, more)
}

/// The same with another time of groups.
fn watching_each(interval: &str, hook: &Hook, more: &str) -> Obs {
    let config = format!(
        "global:\n  evaluation_interval: 200ms\n  external_labels: {{region: eu}}\n\
         rule_files: [rules.yml]\n{more}\nobs:\n  alertmanager:\n    route:\n      \
         receiver: hook\n      group_by: ['...']\n      group_wait: 0s\n      \
         group_interval: {interval}\n      repeat_interval: never\n      resolve_wait: 0s\n    \
         receivers:\n    - name: hook\n      webhook_configs:\n      - url: http://{}/hook\n",
        hook.address
    );
    let rules = "groups:\n- name: levels\n  rules:\n  - alert: Level\n    \
                 expr: last_over_time(level[1h]) > 0\n    labels: {severity: page}\n    \
                 annotations: {summary: 'level of {{ $labels.tank }}'}\n";
    Obs::with_files(&[("obs.yml", &config), ("rules.yml", rules)])
}

/// Sets the level of a tank; the alert's name is that of the rule.
fn level(obs: &Obs, tank: &str, value: f64) {
    let pairs = [("__name__", "level"), ("tank", tank)];
    let batch = obs_model::MetricBatch {
        series: vec![series(&pairs, [(now(), value)])],
        ..Default::default()
    };
    let answer = remote_write(obs, &batch);
    assert!(answer.status < 300, "{}", answer.text());
}

/// How often a tank's alert was told of with a status.
fn told(hook: &Hook, tank: &str, status: &str) -> usize {
    let bodies = hook.bodies();
    let hooks = bodies.iter().filter(|(path, _)| path == "/hook");
    let alerts = hooks.flat_map(|(_, body)| list(&body["alerts"]));
    let same = |alert: &&Value| alert["labels"]["tank"] == tank && alert["status"] == status;
    alerts.filter(same).count()
}

/// Until the server says something of itself: what the hook has heard of, it need not have noted.
pub(super) fn until_known(obs: &Obs, metric: &str) {
    until(metric, || {
        let metrics = obs.get("/metrics", &[]).text();
        metrics.lines().any(|line| line == metric).then_some(())
    });
}

fn settle(obs: &Obs, hook: &Hook, tank: &str) {
    level(obs, tank, 1.0);
    until("the other tank to fire", || {
        (told(hook, tank, "firing") > 0).then_some(())
    });
    level(obs, tank, 0.0);
    until("the other tank to recover", || {
        (told(hook, tank, "resolved") > 0).then_some(())
    });
}

#[test]
fn once_when_it_fires_and_once_when_it_recovers_through_kills() {
    let hook = Hook::serve();
    let mut obs = watching(&hook, "");
    obs.restart(Stop::Kill);
    level(&obs, "north", 1.0);
    until("firing", || {
        (told(&hook, "north", "firing") > 0).then_some(())
    });
    until_known(&obs, "obs_alertmanager_log_entries 1");
    obs.restart(Stop::Kill);
    settle(&obs, &hook, "south");
    level(&obs, "north", 0.0);
    until("resolved", || {
        (told(&hook, "north", "resolved") > 0).then_some(())
    });
    let idle = "alertmanager_dispatcher_aggregation_groups 0";
    until_known(&obs, idle);
    obs.restart(Stop::Kill);
    settle(&obs, &hook, "east");
    until_known(&obs, idle);
    obs.restart(Stop::Terminate);
    settle(&obs, &hook, "west");
    let counts = ["firing", "resolved"].map(|status| told(&hook, "north", status));
    assert_eq!(counts, [1, 1], "{:#?}", hook.bodies());
    let bodies = hook.bodies();
    let (_, first) = &bodies[0];
    assert_eq!(first["version"], "4");
    assert_eq!(first["receiver"], "hook");
    let alert = &first["alerts"][0];
    let labels = json!({"alertname": "Level", "region": "eu", "severity": "page", "tank": "north"});
    assert_eq!(alert["labels"], labels);
    assert_eq!(alert["annotations"], json!({"summary": "level of north"}));
    let link = alert["generatorURL"].as_str().unwrap_or_default();
    assert!(link.contains("/graph?g0.expr=last_over_time"), "{link}");
}

#[test]
fn alertmanagers_elsewhere_are_told_the_same() {
    let (hook, elsewhere) = (Hook::serve(), Hook::serve());
    let more = format!(
        "alerting:\n  alert_relabel_configs:\n  - {{regex: severity, action: labeldrop}}\n  \
         alertmanagers:\n  - path_prefix: /am\n    static_configs: [{{targets: ['{}', 'dropped:1']}}]\n    \
         relabel_configs:\n    - {{source_labels: [__address__], regex: 'dropped.*', action: drop}}\n",
        elsewhere.address
    );
    let obs = watching(&hook, &more);
    level(&obs, "north", 1.0);
    until("firing here", || {
        (told(&hook, "north", "firing") == 1).then_some(())
    });
    let (path, body) = until("firing there", || elsewhere.bodies().into_iter().next());
    assert_eq!(path, "/am/api/v2/alerts");
    let labels = json!({"alertname": "Level", "region": "eu", "tank": "north"});
    assert_eq!(body[0]["labels"], labels);
    let known = obs.get("/api/v1/alertmanagers", &[]).json();
    let url = |address: &str| json!([{"url": format!("http://{address}/am/api/v2/alerts")}]);
    assert_eq!(
        known["data"]["activeAlertmanagers"],
        url(&elsewhere.address)
    );
    assert_eq!(known["data"]["droppedAlertmanagers"], url("dropped:1"));
    level(&obs, "north", 0.0);
    until("resolved there", || {
        let bodies = elsewhere.bodies();
        let (_, last) = bodies.last()?;
        (last[0]["endsAt"].as_str()? <= last_second().as_str()).then_some(())
    });
}

/// Now, as text: what is over ended before it.
fn last_second() -> String {
    obs_model::Timestamp::from_nanos(now()).to_string()
}

#[test]
fn silences_and_routes_from_the_command_line() {
    let hook = Hook::serve();
    // The silence is looked at again when the group is due.
    let obs = watching_each("200ms", &hook, "");
    let run = |arguments: &[&str]| {
        let output = obs.client(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let id = run(&["silence", "add", "-c", "why", "-a", "me", "tank=north"]);
    let id = id.trim();
    level(&obs, "north", 1.0);
    settle(&obs, &hook, "south");
    assert_eq!(told(&hook, "north", "firing"), 0);
    let shown = until("the alert to be known", || {
        let shown = run(&["alerts", "list", "tank=north"]);
        shown.contains("suppressed").then_some(shown)
    });
    assert!(shown.contains("Level") && shown.contains("hook"), "{shown}");
    let route = run(&["alerts", "route", "alertname=X", "tank=north"]);
    assert!(
        route.contains("hook") && route.contains("webhook[0]"),
        "{route}"
    );
    assert!(run(&["silence", "list", "-o", "json"]).contains(id));
    assert_eq!(run(&["silence", "expire", id]).trim(), id);
    until("firing", || {
        (told(&hook, "north", "firing") > 0).then_some(())
    });
}

#[test]
fn a_reload_takes_another_alertmanager() {
    let (hook, other) = (Hook::serve(), Hook::serve());
    let obs = watching(&hook, "");
    level(&obs, "north", 1.0);
    until("firing", || {
        (told(&hook, "north", "firing") == 1).then_some(())
    });
    let path = obs.path("obs.yml");
    let text = std::fs::read_to_string(&path).expect("the configuration");
    std::fs::write(&path, text.replace("receiver: hook", "receiver: nobody")).expect("written");
    let hangup = || {
        let id = obs.process_id().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-HUP", &id])
            .status();
        assert!(sent.expect("kill runs").success());
    };
    hangup();
    until("the fault to be told", || {
        let metrics = obs.get("/metrics", &[]).text();
        metrics
            .contains("prometheus_config_last_reload_successful 0")
            .then_some(())
    });
    let known = obs.get("/api/v2/receivers", &[]).json();
    assert_eq!(known, json!([{"name": "hook"}]));
    std::fs::write(&path, text.replace(&hook.address, &other.address)).expect("written");
    hangup();
    until("the reload", || {
        let status = obs.get("/api/v2/status", &[]).json();
        status["config"]["original"]
            .as_str()?
            .contains(&other.address)
            .then_some(())
    });
    level(&obs, "north", 0.0);
    until("resolved", || {
        (told(&other, "north", "resolved") == 1).then_some(())
    });
    assert_eq!(
        told(&hook, "north", "resolved") + told(&other, "north", "firing"),
        0
    );
}

/// Resident bytes of a process.
fn resident(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    kib.expect("a number") << 10
}

#[test]
fn a_storm_of_alerts_is_bounded() {
    const ALERTS: usize = 100_000;
    let hook = Hook::serve();
    let config = format!(
        "obs:\n  alertmanager:\n    route: {{receiver: hook, group_by: [alertname], group_wait: 0s}}\n    \
         receivers:\n    - name: hook\n      webhook_configs: [{{url: 'http://{}/hook', max_alerts: 3}}]\n",
        hook.address
    );
    let obs = Obs::with_config(&config);
    for batch in 0..20 {
        let alerts: Vec<Value> = (0..ALERTS / 20)
            .map(|n| {
                json!({"labels": {
                    "alertname": format!("Storm{batch}"), "instance": format!("node-{n}:9100"),
                    "namespace": "default", "severity": "page",
                }, "annotations": {"summary": "a node does not answer any more"},
                    "endsAt": "2099-01-01T00:00:00Z"})
            })
            .collect();
        let body = json!(alerts).to_string().into_bytes();
        let answer = obs.post(
            "/api/v2/alerts",
            &[("content-type", "application/json")],
            body,
        );
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    until("all groups to be told", || {
        let names: std::collections::BTreeSet<String> = hook
            .bodies()
            .iter()
            .map(|(_, body)| body["groupLabels"]["alertname"].to_string())
            .collect();
        (names.len() == 20).then_some(())
    });
    let (_, first) = &hook.bodies()[0];
    assert_eq!(list(&first["alerts"]).len(), 3);
    until_known(&obs, "alertmanager_alerts{state=\"active\"} 100000");
    let bytes = resident(obs.process_id());
    assert!(bytes < 700 << 20, "{} MiB", bytes >> 20);
    assert!(hook.told("Storm0", "firing") >= 3);
}
