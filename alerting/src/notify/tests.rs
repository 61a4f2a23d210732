//! From alerts to notifications: timing, grouping, quiet, and what is remembered.

use std::sync::Arc;

use obs_model::{Labels, Timestamp};

use super::*;

const SECOND: i64 = 1_000_000_000;

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

pub(super) fn alert(labels: &[(&str, &str)], from: i64, to: i64, told: i64) -> Received {
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

pub(super) struct Stage {
    pub(super) groups: Groups,
    pub(super) log: Log,
    pub(super) silences: Silences,
}

impl Stage {
    pub(super) fn new(config: &str) -> Self {
        let config = Config::parse(config).expect("it is good");
        Self {
            groups: Groups::new(Arc::new(config)),
            log: Log::default(),
            silences: Silences::default(),
        }
    }

    /// What is told at a time, as receiver, reason and states; all of it reaches them.
    pub(super) fn tell(&mut self, now: i64) -> Vec<String> {
        self.attempt(now, true)
    }

    fn attempt(&mut self, now: i64, reached: bool) -> Vec<String> {
        let mut told = Vec::new();
        for telling in self.plan_and_tell(now) {
            told.push(shown(&telling.notification, now));
            for one in telling.of.iter().chain([&telling.notification]) {
                self.groups.done(one, reached, &mut self.log, at(now));
            }
        }
        told
    }

    pub(super) fn plan_and_tell(&mut self, now: i64) -> Vec<Telling> {
        let plans = self.groups.plan(&self.silences, &self.log, 1000, at(now));
        self.groups.tell(plans, &mut self.log, at(now))
    }
}

pub(super) fn shown(notification: &Notification, now: i64) -> String {
    let alerts = notification.alerts.iter().map(|alert| {
        let over = if alert.is_resolved(at(now)) { "-" } else { "+" };
        format!("{over}{}", alert.labels.get("i").unwrap_or("?"))
    });
    let alerts: Vec<String> = alerts.collect();
    let receiver = &notification.key.receiver;
    let quiet = if notification.silent { " (silent)" } else { "" };
    format!(
        "{receiver} {}: {}{quiet}",
        notification.reason.as_str(),
        alerts.join(" ")
    )
}

pub(super) const SIMPLE: &str = "
route: {receiver: a, group_by: [alertname], group_wait: 10s, group_interval: 60s, repeat_interval: 1h}
receivers: [{name: a, webhook_configs: [{url: 'http://x'}]}]
";

#[test]
fn a_group_waits_tells_and_repeats() {
    let mut stage = Stage::new(SIMPLE);
    let one = alert(&[("alertname", "A"), ("i", "1")], 100, 1_000_000, 100);
    stage.groups.receive(vec![one.clone()], at(100));
    assert_eq!(stage.groups.next_due(), Some(at(110)));
    assert!(stage.tell(109).is_empty());
    let two = alert(&[("alertname", "A"), ("i", "2")], 105, 1_000_000, 105);
    stage.groups.receive(vec![two], at(105));
    assert_eq!(stage.tell(110), ["a first notification: +1 +2"]);
    let three = alert(&[("alertname", "A"), ("i", "3")], 120, 1_000_000, 120);
    stage.groups.receive(vec![three], at(120));
    assert!(stage.tell(169).is_empty());
    assert_eq!(stage.tell(170), ["a new alerts in group: +1 +2 +3"]);
    assert!(stage.tell(230).is_empty());
    // One is over.
    stage.groups.receive(
        vec![alert(&[("alertname", "A"), ("i", "1")], 100, 240, 240)],
        at(240),
    );
    assert_eq!(stage.tell(290), ["a new resolved alerts: -1 +2 +3"]);
    assert!(stage.tell(350).is_empty());
    for now in (410..3890).step_by(60) {
        assert!(stage.tell(now).is_empty(), "at {now}");
    }
    assert_eq!(stage.tell(3950), ["a repeat interval elapsed: +2 +3"]);
}

#[test]
fn what_failed_is_told_again_and_all_over_ends_the_group() {
    let mut stage = Stage::new(SIMPLE);
    let one = alert(&[("alertname", "A"), ("i", "1")], 0, 1_000_000, 100);
    stage.groups.receive(vec![one], at(100));
    // It began long ago: nothing is waited for.
    assert_eq!(stage.attempt(100, false), ["a first notification: +1"]);
    stage.groups.receive(
        vec![alert(&[("alertname", "A"), ("i", "1")], 0, 130, 130)],
        at(130),
    );
    // Nobody knows of it, so nobody hears that it is over.
    assert!(stage.tell(160).is_empty());
    assert_eq!(stage.groups.iter().count(), 0);
    let again = alert(&[("alertname", "A"), ("i", "1")], 200, 1_000_000, 200);
    stage.groups.receive(vec![again], at(200));
    assert_eq!(stage.tell(210), ["a first notification: +1"]);
    stage.groups.receive(
        vec![alert(&[("alertname", "A"), ("i", "1")], 200, 220, 220)],
        at(220),
    );
    assert_eq!(stage.attempt(270, false), ["a all alerts resolved: -1"]);
    assert_eq!(stage.tell(330), ["a all alerts resolved: -1"]);
    assert_eq!(stage.groups.iter().count(), 0);
    let over = stage.groups.over(at(330));
    assert_eq!(stage.groups.forget(&over, at(330)).len(), 1);
}

#[test]
fn never_means_once_and_a_recovery_is_told_at_once() {
    let config = "
route: {receiver: a, group_by: ['...'], group_wait: 0s, group_interval: 5m, repeat_interval: never, resolve_wait: 0s}
receivers: [{name: a, webhook_configs: [{url: 'http://x'}]}]
";
    let mut stage = Stage::new(config);
    let one = alert(&[("alertname", "A"), ("i", "1")], 100, 100_000_000, 100);
    stage.groups.receive(vec![one], at(100));
    assert_eq!(stage.tell(100), ["a first notification: +1"]);
    for now in (400..4_000_000).step_by(100_000) {
        assert!(stage.tell(now).is_empty(), "at {now}");
        assert!(
            stage.log.old(at(now), 60 * SECOND, |_| true).is_empty(),
            "it is remembered"
        );
    }
    let over = alert(&[("alertname", "A"), ("i", "1")], 100, 4_000_001, 4_000_001);
    stage.groups.receive(vec![over], at(4_000_001));
    assert_eq!(stage.tell(4_000_001), ["a all alerts resolved: -1"]);
    // One whose sender says nothing more is over when its time is.
    let left = alert(
        &[("alertname", "A"), ("i", "2")],
        4_000_100,
        4_000_150,
        4_000_100,
    );
    stage.groups.receive(vec![left], at(4_000_100));
    assert_eq!(stage.tell(4_000_100), ["a first notification: +2"]);
    assert!(stage.tell(4_000_149).is_empty());
    assert_eq!(stage.tell(4_000_150), ["a all alerts resolved: -2"]);
}

#[test]
fn routes_choose_and_continue() {
    let config = "
route:
  receiver: root
  routes:
  - {receiver: db, matchers: ['team = db'], continue: true}
  - receiver: page
    matchers: ['severity =~ \"page|critical\"']
    routes: [{receiver: night, match: {shift: night}}]
receivers: [{name: root}, {name: db}, {name: page}, {name: night}]
";
    let config = Config::parse(config).expect("it is good");
    let check = |pairs: &[(&str, &str)], expect: &[&str]| {
        let labels = Labels::from_pairs(pairs.iter().copied());
        let found: Vec<&str> = config
            .route
            .find(&labels)
            .iter()
            .map(|r| r.options.receiver.as_str())
            .collect();
        assert_eq!(found, expect, "{pairs:?}");
    };
    check(&[], &["root"]);
    check(&[("team", "db")], &["db"]);
    check(&[("team", "db"), ("severity", "page")], &["db", "page"]);
    check(&[("severity", "critical"), ("shift", "night")], &["night"]);
    let labels = Labels::from_pairs([("severity", "critical")]);
    let route = config.route.find(&labels)[0];
    assert_eq!(
        route.group_key(&Labels::empty()),
        "{}/{severity=~\"page|critical\"}:{}"
    );
}

#[test]
fn quiet_comes_from_inhibition_silences_and_times() {
    let config = "
route:
  receiver: a
  group_by: [alertname]
  group_wait: 0s
  routes: [{receiver: a, matchers: [alertname = Muted], mute_time_intervals: [always]}]
receivers: [{name: a, webhook_configs: [{url: 'http://x'}]}]
inhibit_rules: [{source_matchers: [severity = page], target_matchers: [severity = info], equal: [cluster]}]
time_intervals: [{name: always, time_intervals: [{years: ['1970:2100']}]}]
";
    let mut stage = Stage::new(config);
    let own = |name, severity, cluster| {
        alert(
            &[
                ("alertname", name),
                ("severity", severity),
                ("cluster", cluster),
                ("i", name),
            ],
            10,
            100_000,
            10,
        )
    };
    stage.groups.receive(
        vec![
            own("Page", "page", "x"),
            own("Info", "info", "x"),
            own("Other", "info", "y"),
            own("Muted", "", ""),
            own("Silent", "", ""),
        ],
        at(10),
    );
    let silence = Silence {
        id: String::new(),
        matchers: matchers::parse("alertname=Silent").expect("matchers"),
        starts_at: at(0),
        ends_at: at(400),
        updated_at: at(0),
        created_by: "me".to_owned(),
        comment: "x".to_owned(),
        annotations: Default::default(),
    };
    stage
        .silences
        .set(silence, "1".to_owned(), at(10))
        .expect("it is valid");
    assert_eq!(
        stage.tell(10),
        [
            "a first notification: +Other",
            "a first notification: +Page"
        ]
    );
    // The silence is over, and what inhibited as well.
    stage.groups.receive(
        vec![alert(
            &[
                ("alertname", "Page"),
                ("severity", "page"),
                ("cluster", "x"),
                ("i", "Page"),
            ],
            10,
            300,
            300,
        )],
        at(300),
    );
    let told = stage.tell(410);
    assert_eq!(
        told,
        [
            "a first notification: +Info",
            "a all alerts resolved: -Page",
            "a first notification: +Silent"
        ]
    );
}

#[test]
fn a_reload_tells_nothing_twice() {
    let mut stage = Stage::new(SIMPLE);
    stage.groups.receive(
        vec![alert(&[("alertname", "A"), ("i", "1")], 0, 1_000_000, 100)],
        at(100),
    );
    assert_eq!(stage.tell(100), ["a first notification: +1"]);
    let same = Config::parse(SIMPLE).expect("it is good");
    stage.groups.reload(Arc::new(same), at(120));
    assert!(stage.tell(120).is_empty());
    let renamed = SIMPLE
        .replace("receiver: a", "receiver: b")
        .replace("name: a,", "name: b,");
    let renamed = Config::parse(&renamed).expect("it is good");
    stage.groups.reload(Arc::new(renamed), at(130));
    assert_eq!(stage.tell(130), ["b first notification: +1"]);
}

#[test]
fn faults_of_configurations_are_told() {
    let check = |text: &str, expect: &str| {
        let error = Config::parse(text).expect_err("it is wrong").to_string();
        assert!(error.contains(expect), "{text}: {error}");
    };
    let receivers = "receivers: [{name: a}]";
    check("", "no route provided");
    check("route: {receiver: b}", "undefined receiver \"b\"");
    check("route: {}", "must specify a default receiver");
    check(
        "route: {receiver: a, continue: true}",
        "cannot have continue",
    );
    check(
        "route: {receiver: a, matchers: [a=b]}",
        "must not have any matchers",
    );
    let with = |route: &str| format!("route: {{receiver: a, {route}}}\n{receivers}\n");
    check(&with("group_by: ['...', b]"), "wildcard group_by");
    check(&with("group_interval: 0s"), "group_interval cannot be zero");
    check(&with("repeat_interval: soon"), "or never, found \"soon\"");
    check(&with("group_wait: 5"), "not a valid duration string: \"5\"");
    check(
        &with("routes: [{matchers: ['a=~\"(\"']}]"),
        "bad matcher format",
    );
    check(
        &with("routes: [{mute_time_intervals: [x]}]"),
        "undefined time interval \"x\"",
    );
    check(&with("reciever: b"), "unknown field `reciever`");
    check(
        "route: {receiver: a}\nreceivers: [{name: a}, {name: a}]",
        "is not unique",
    );
    check(
        "route: {receiver: a}\nreceivers: [{name: a, webhook_configs: [{}]}]",
        "one of url or url_file",
    );
}
