//! What is added to Alertmanager's ways, through whole groups.

use std::sync::Arc;

use obs_model::{Labels, Timestamp};

use super::super::{Ack, Config, Fingerprint, Groups, Log, Received, Silences};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn alert(labels: &[(&str, &str)], from: i64, to: i64, told: i64) -> Received {
    let labels = Labels::from_pairs(labels.iter().copied());
    Received {
        fingerprint: Fingerprint::of(&labels),
        labels,
        annotations: Labels::empty(),
        starts_at: at(from),
        ends_at: at(to),
        updated_at: at(told),
        generator_url: String::new(),
        guessed_end: false,
    }
}

struct Stage {
    groups: Groups,
    log: Log,
}

impl Stage {
    fn new(config: &str) -> Self {
        let config = Config::parse(config).unwrap_or_else(|error| panic!("{config}: {error}"));
        let mut groups = Groups::new(Arc::new(config));
        groups.begin_pulse();
        Self {
            groups,
            log: Log::default(),
        }
    }

    fn receive(&mut self, labels: &[(&str, &str)], from: i64, to: i64, now: i64) -> Fingerprint {
        let alert = alert(labels, from, to, now);
        let print = alert.fingerprint;
        self.groups.receive(vec![alert], at(now));
        print
    }

    /// What is told, as receiver, reason and names of alerts; all of it arrives.
    fn tell(&mut self, now: i64) -> Vec<String> {
        let silences = Silences::default();
        self.groups.begin(&mut self.log, at(now), 0);
        self.groups.pace = None;
        let plans = self.groups.plan(&silences, &self.log, 1000, at(now));
        assert!(!plans.more);
        let told = self.groups.tell(plans, &mut self.log, at(now));
        let mut shown = Vec::new();
        for telling in told {
            let one = &telling.notification;
            let names = one.alerts.iter().map(|alert| {
                let sign = if alert.is_resolved(at(now)) { "-" } else { "+" };
                format!(" {sign}{}", alert.labels.get("alertname").unwrap_or("?"))
            });
            let names: Vec<String> = names.collect();
            let more = match telling.of.len() {
                0 => String::new(),
                count => format!(" ({count} in one)"),
            };
            let reason = one.reason.as_str();
            shown.push(format!(
                "{}: {reason}:{}{more}",
                one.key.receiver,
                names.concat()
            ));
            for done in telling.of.iter().chain([one]) {
                self.groups.done(done, true, &mut self.log, at(now));
            }
        }
        shown
    }
}

const ESCALATING: &str = "
route:
  receiver: team
  group_by: [alertname]
  group_wait: 0s
  group_interval: 5m
  repeat_interval: never
  obs: {escalate: [{after: 30m, receiver: director}, {after: 10m, receiver: boss}]}
receivers:
- {name: team, webhook_configs: [{url: 'http://x'}]}
- {name: boss, webhook_configs: [{url: 'http://x'}]}
- {name: director, webhook_configs: [{url: 'http://x'}]}
";

#[test]
fn what_nobody_cares_for_goes_up() {
    let mut stage = Stage::new(ESCALATING);
    stage.receive(&[("alertname", "A")], 0, 100_000, 0);
    assert_eq!(stage.tell(0), ["team: first notification: +A"]);
    assert!(stage.tell(300).is_empty());
    // At the step, not at the next interval.
    assert_eq!(stage.groups.next_due(), Some(at(600)));
    assert_eq!(stage.tell(600), ["boss: first notification: +A"]);
    assert!(stage.tell(900).is_empty());
    let print = Fingerprint::of(&Labels::from_pairs([("alertname", "A")]));
    let ack = Ack {
        by: "me".to_owned(),
        comment: "on it".to_owned(),
        at: at(1000),
        until: None,
    };
    let ack = stage.groups.acknowledgement(print, ack, at(1000));
    stage.groups.acknowledge(print, ack.expect("it fires"));
    for now in (1200..5000).step_by(300) {
        assert!(stage.tell(now).is_empty(), "at {now}");
    }
    stage.receive(&[("alertname", "A")], 0, 5000, 5000);
    let over = [
        "team: all alerts resolved: -A",
        "boss: all alerts resolved: -A",
    ];
    assert_eq!(stage.tell(5400), over);
    // Firing anew is another story.
    stage.receive(&[("alertname", "A")], 6000, 100_000, 6000);
    assert_eq!(stage.tell(6000), ["team: first notification: +A"]);
    assert_eq!(stage.groups.take_ended_acks(), [print]);
    assert_eq!(stage.groups.acks().iter().count(), 0);
}

#[test]
fn who_heard_of_it_further_up_hears_of_its_end_also_where_there_is_news() {
    let mut stage = Stage::new(&ESCALATING.replace("[alertname]", "[cluster]"));
    let print = stage.receive(&[("alertname", "A")], 0, 100_000, 0);
    assert_eq!(stage.tell(0), ["team: first notification: +A"]);
    assert_eq!(stage.tell(600), ["boss: first notification: +A"]);
    let ack = Ack {
        by: "me".to_owned(),
        comment: String::new(),
        at: at(700),
        until: None,
    };
    stage.groups.acknowledge(print, ack);
    stage.receive(&[("alertname", "A")], 0, 800, 800);
    stage.receive(&[("alertname", "B")], 800, 100_000, 800);
    let told = [
        "team: new alerts in group: -A +B",
        "boss: all alerts resolved: -A",
    ];
    assert_eq!(stage.tell(900), told);
    stage.receive(&[("alertname", "B")], 800, 1000, 1000);
    assert_eq!(stage.tell(1200), ["team: all alerts resolved: -B"]);
}

#[test]
fn acknowledged_alerts_are_not_repeated() {
    let mut stage = Stage::new(
        "
route: {receiver: a, group_wait: 0s, group_interval: 1m, repeat_interval: 10m}
receivers: [{name: a, webhook_configs: [{url: 'http://x'}]}]
",
    );
    let print = stage.receive(&[("alertname", "A")], 0, 100_000, 0);
    assert_eq!(stage.tell(0), ["a: first notification: +A"]);
    let ack = Ack {
        by: String::new(),
        comment: String::new(),
        at: at(10),
        until: Some(at(2000)),
    };
    stage.groups.acknowledge(print, ack.clone());
    assert!(stage.tell(1000).is_empty());
    // Another one does not hide behind it.
    stage.receive(&[("alertname", "B")], 1010, 100_000, 1010);
    assert_eq!(stage.tell(1060), ["a: new alerts in group: +A +B"]);
    assert_eq!(stage.tell(1700), ["a: repeat interval elapsed: +A +B"]);
    assert!(stage.groups.unacknowledge(print).is_some());
    let found = |print, ack, now| stage.groups.acknowledgement(print, ack, at(now));
    assert_eq!(found(Fingerprint(1), ack.clone(), 10), None);
    assert_eq!(found(print, ack.clone(), 100_000), None);
    // Given before the alert began, by a clock that is behind.
    let early = Ack { at: at(-5), ..ack };
    assert_eq!(found(print, early, 10).map(|ack| ack.at), Some(at(0)));
}

#[test]
fn children_are_quiet_where_their_parents_fire() {
    let mut stage = Stage::new(
        "
route: {receiver: a, group_by: [alertname], group_wait: 0s, group_interval: 5m}
receivers: [{name: a, webhook_configs: [{url: 'http://x'}]}]
obs:
  dependencies:
  - {parents: [alertname = HostDown], children: ['alertname =~ \"Service.*\"'], equal: [host], wait: 1m}
",
    );
    stage.receive(
        &[("alertname", "ServiceDown"), ("host", "x")],
        0,
        100_000,
        0,
    );
    stage.receive(
        &[("alertname", "ServiceSlow"), ("host", "y")],
        0,
        100_000,
        0,
    );
    assert!(stage.tell(0).is_empty());
    stage.receive(&[("alertname", "HostDown"), ("host", "x")], 30, 100_000, 30);
    assert_eq!(stage.tell(30), ["a: first notification: +HostDown"]);
    // Its parent does not fire.
    assert_eq!(stage.groups.next_due(), Some(at(60)));
    assert_eq!(stage.tell(60), ["a: first notification: +ServiceSlow"]);
    // The host is back, its service is not.
    stage.receive(&[("alertname", "HostDown"), ("host", "x")], 30, 340, 340);
    let told = [
        "a: all alerts resolved: -HostDown",
        "a: first notification: +ServiceDown",
    ];
    assert_eq!(stage.tell(400), told);
}

#[test]
fn what_flaps_is_told_once_and_once_it_rests() {
    let mut stage = Stage::new(
        "
route: {receiver: a, group_by: ['...'], group_wait: 0s, group_interval: 1m, repeat_interval: never, resolve_wait: 0s}
receivers: [{name: a, webhook_configs: [{url: 'http://x'}]}]
obs: {flapping: {window: 20m, starts: 30, ends: 10}}
",
    );
    let mut told = Vec::new();
    for minute in 0..60 {
        let now = minute * 60;
        let end = if minute % 2 == 0 { now + 300 } else { now };
        stage.receive(&[("alertname", "A")], now - now % 120, end, now);
        told.push(stage.tell(now).len());
    }
    // It is told of until it flaps, which is in its first minutes.
    assert!(told[..12].iter().sum::<usize>() >= 2, "{told:?}");
    assert_eq!(told[12..].iter().sum::<usize>(), 0, "{told:?}");
    let rest: Vec<String> = (60..120)
        .flat_map(|minute| stage.tell(minute * 60))
        .collect();
    assert_eq!(rest, ["a: all alerts resolved: -A"]);
}

#[test]
fn storms_are_told_in_one() {
    let mut stage = Stage::new(
        "
route: {receiver: a, group_by: ['...'], group_wait: 0s, group_interval: 1m, repeat_interval: 1h}
receivers: [{name: a, webhook_configs: [{url: 'http://x'}]}]
obs: {storm: {notifications: 2, per: 1m}}
",
    );
    for i in 0..50 {
        let i = i.to_string();
        stage.receive(&[("alertname", "A"), ("i", i.as_str())], 0, 100_000, 0);
    }
    let told = stage.tell(0);
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(
        told[2].starts_with("a: storm of notifications:") && told[2].ends_with("(48 in one)"),
        "{told:?}"
    );
    // All of them are told.
    assert!(stage.tell(60).is_empty());
    assert_eq!(
        stage
            .log
            .iter()
            .filter(|(key, _)| !key.group.contains("Storm"))
            .count(),
        50
    );
    // All that was told alone is over, and all but one that stood in the summary.
    let end = |stage: &mut Stage, range: std::ops::Range<i32>, now| {
        for i in range {
            let i = i.to_string();
            stage.receive(&[("alertname", "A"), ("i", i.as_str())], 0, now, now);
        }
        let mut told = stage.tell(now + 60);
        told.extend(stage.tell(now + 180));
        let storms = told.into_iter().filter(|one| one.contains("Storm"));
        storms.collect::<Vec<String>>()
    };
    assert!(end(&mut stage, 0..49, 300).is_empty());
    let closed = ["a: all alerts resolved: -NotificationStorm"];
    assert_eq!(end(&mut stage, 49..50, 600), closed);
    assert!(stage.tell(2000).is_empty());
}

#[test]
fn heartbeats_go_out_and_are_waited_for() {
    let mut stage = Stage::new(
        "
route: {receiver: a, group_wait: 0s, group_interval: 1m, repeat_interval: never}
receivers: [{name: a, webhook_configs: [{url: 'http://x'}]}, {name: dead-man, webhook_configs: [{url: 'http://x'}]}]
obs:
  heartbeats: [{receiver: dead-man, every: 1m}]
  expected: [{name: prod, matchers: [alertname = Watchdog], within: 5m, labels: {severity: page}}]
",
    );
    let beat = "dead-man: heartbeat: +Heartbeat";
    assert_eq!(stage.tell(0), [beat]);
    assert!(stage.tell(59).is_empty());
    assert_eq!(stage.tell(60), [beat]);
    let told: Vec<String> = (2..6).flat_map(|minute| stage.tell(minute * 60)).collect();
    let missing = "a: first notification: +HeartbeatMissing";
    assert_eq!(told, [beat, beat, beat, beat, missing]);
    stage.receive(&[("alertname", "Watchdog")], 310, 100_000, 310);
    let told: Vec<String> = (6..9).flat_map(|minute| stage.tell(minute * 60)).collect();
    let over = told.iter().any(|one| one.contains("-HeartbeatMissing"));
    assert!(over, "{told:?}");
}

#[test]
fn alerts_may_be_called_heartbeats_too() {
    let mut stage = Stage::new(
        "
route: {receiver: a, group_by: [alertname], group_wait: 0s, group_interval: 1m, repeat_interval: never}
receivers: [{name: a, webhook_configs: [{url: 'http://x'}]}]
obs: {heartbeats: [{receiver: a, every: 1m}]}
",
    );
    stage.receive(&[("alertname", "Heartbeat")], 0, 100_000, 0);
    stage.groups.begin(&mut stage.log, at(0), 0);
    let plans = stage
        .groups
        .plan(&Silences::default(), &stage.log, 9, at(0));
    let told = stage.groups.tell(plans, &mut stage.log, at(0));
    assert_eq!(told.len(), 2);
    let ids: Vec<_> = told.iter().map(|t| &t.notification.group).collect();
    assert_ne!(ids[0], ids[1]);
    // That the heartbeat arrived says nothing of the alert.
    let beat = &told[0].notification;
    stage.groups.done(beat, true, &mut stage.log, at(0));
    assert_eq!(
        stage.groups.next_due(),
        Some(at(60)),
        "the alert is on its way"
    );
    assert!(stage.groups.due(at(100)).is_empty());
}

#[test]
fn faults_of_what_is_added_are_told() {
    let check = |obs: &str, expect: &str| {
        let text = format!("route: {{receiver: a}}\nreceivers: [{{name: a}}]\nobs: {{{obs}}}\n");
        let error = Config::parse(&text).expect_err(obs).to_string();
        assert!(error.contains(expect), "{obs}: {error}");
    };
    check("flap: {}", "unknown field `flap`");
    check("flapping: {starts: 10, ends: 20}", "ends <= starts");
    check("flapping: {window: 0s}", "more than nothing");
    check("storm: {notifications: 0, per: 1m}", "at least 1");
    check(
        "dependencies: [{parents: [], children: [a=b]}]",
        "need matchers",
    );
    check(
        "heartbeats: [{receiver: b, every: 1m}]",
        "undefined receiver \"b\"",
    );
    check(
        "expected: [{name: x, matchers: [], within: 1m}]",
        "at least one matcher",
    );
    check(
        "expected: [{name: x, matchers: [a=b], within: 1m}, {name: x, matchers: [a=b], within: 1m}]",
        "not unique",
    );
    let text =
        "route: {receiver: a, obs: {escalate: [{after: 1m, receiver: b}]}}\nreceivers: [{name: a}]";
    let error = Config::parse(text).expect_err("it is wrong").to_string();
    assert!(error.contains("undefined receiver \"b\""), "{error}");
}
