//! Once, whatever happens between a plan and what comes of it.

use std::sync::Arc;

use super::super::tests::{SIMPLE, Stage, alert, at, shown};
use super::super::{Config, Log, Silence, Silences, matchers};
use super::*;

const NEVER: &str = "
route: {receiver: a, group_by: [alertname], group_wait: 0s, group_interval: 1m, repeat_interval: never}
receivers: [{name: a, webhook_configs: [{url: 'http://x', send_resolved: SENT}]}]
";

fn one(i: &str, from: i64, to: i64, now: i64) -> Received {
    alert(&[("alertname", "A"), ("i", i)], from, to, now)
}

fn silence(from: i64, to: i64) -> Silence {
    Silence {
        id: String::new(),
        matchers: matchers::parse("i=1").expect("matchers"),
        starts_at: at(from),
        ends_at: at(to),
        updated_at: at(from),
        created_by: "me".to_owned(),
        comment: "x".to_owned(),
        annotations: Default::default(),
    }
}

#[test]
fn what_ends_while_it_is_quiet_is_news_when_it_fires_anew() {
    let mut stage = Stage::new(&NEVER.replace("SENT", "true"));
    stage.groups.receive(vec![one("1", 0, 100_000, 0)], at(0));
    assert_eq!(stage.tell(0), ["a first notification: +1"]);
    let set = stage.silences.set(silence(10, 200), "x".to_owned(), at(10));
    assert!(set.is_ok());
    stage.groups.receive(vec![one("1", 0, 50, 50)], at(50));
    assert!(stage.tell(60).is_empty());
    assert_eq!(stage.groups.iter().count(), 0);
    let changed = stage.log.take_changed();
    assert_eq!(changed.len(), 1, "a start must know of it");
    assert!(changed[0].1.firing.is_empty());
    stage
        .groups
        .receive(vec![one("1", 300, 100_000, 300)], at(300));
    assert_eq!(stage.tell(300), ["a first notification: +1"]);
}

#[test]
fn what_ends_untold_is_news_when_it_fires_anew() {
    let mut stage = Stage::new(&NEVER.replace("SENT", "false"));
    let both = vec![one("1", 0, 100_000, 0), one("2", 0, 100_000, 0)];
    stage.groups.receive(both, at(0));
    assert_eq!(stage.tell(0), ["a first notification: +1 +2"]);
    stage.groups.receive(vec![one("1", 0, 50, 50)], at(50));
    assert!(stage.tell(60).is_empty());
    assert_eq!(stage.log.take_changed().len(), 1);
    stage
        .groups
        .receive(vec![one("1", 100, 100_000, 100)], at(100));
    assert_eq!(stage.tell(120), ["a new alerts in group: +1 +2"]);
    let over = vec![one("1", 100, 130, 130), one("2", 0, 130, 130)];
    stage.groups.receive(over, at(130));
    assert_eq!(stage.tell(180), ["a all alerts resolved:  (silent)"]);
}

#[test]
fn of_a_receiver_one_notification_is_on_its_way_also_across_reloads() {
    for arrives in [true, false] {
        let mut stage = Stage::new(SIMPLE);
        stage
            .groups
            .receive(vec![one("1", 0, 100_000, 100)], at(100));
        let told = stage.plan_and_tell(100);
        assert_eq!(told.len(), 1);
        let same = Arc::clone(stage.groups.config());
        stage.groups.reload(same, at(101));
        // An alert that is over meanwhile waits for it too.
        stage.groups.receive(vec![one("1", 0, 102, 102)], at(102));
        assert!(stage.plan_and_tell(103).is_empty(), "it is on its way");
        assert_eq!(stage.groups.iter().count(), 1);
        let first = &told[0].notification;
        stage.groups.done(first, arrives, &mut stage.log, at(104));
        let expect: &[&str] = match arrives {
            true => &["a all alerts resolved: -1"],
            false => &[],
        };
        assert_eq!(stage.tell(104), expect);
        assert_eq!(stage.groups.iter().count(), 0);
        assert!(stage.groups.flying.is_empty());
    }
}

#[test]
fn a_late_answer_frees_nothing_of_the_group_that_came_after_a_reload() {
    let mut stage = Stage::new(SIMPLE);
    stage
        .groups
        .receive(vec![one("1", 0, 100_000, 100)], at(100));
    let old = stage.plan_and_tell(100);
    let same = Arc::clone(stage.groups.config());
    stage.groups.reload(same, at(101));
    assert!(stage.plan_and_tell(101).is_empty());
    stage
        .groups
        .done(&old[0].notification, false, &mut stage.log, at(101));
    let new = stage.plan_and_tell(101);
    assert_eq!(new.len(), 1, "it is told anew, at once");
    let busy = |stage: &Stage| {
        stage
            .groups
            .iter()
            .map(|(_, group)| group.busy)
            .sum::<usize>()
    };
    assert_eq!(busy(&stage), 1);
}

#[test]
fn a_plan_holds_only_as_long_as_the_log_says_what_it_said() {
    let mut stage = Stage::new(SIMPLE);
    stage
        .groups
        .receive(vec![one("1", 0, 100_000, 100)], at(100));
    let (silences, now) = (Silences::default(), at(100));
    let stale = stage.groups.plan(&silences, &stage.log, 9, now);
    // Somebody else told it, of those that share the log.
    let mut other = stage.groups.clone();
    let plans = other.plan(&silences, &stage.log, 9, now);
    let told = other.tell(plans, &mut stage.log, now);
    other.done(&told[0].notification, true, &mut stage.log, now);
    assert!(stage.groups.tell(stale, &mut stage.log, now).is_empty());
    assert_eq!(stage.groups.next_due(), Some(at(101)), "it looks again");
    assert!(stage.tell(101).is_empty());
    // A plan from before a reload says nothing.
    stage
        .groups
        .receive(vec![one("2", 0, 100_000, 170)], at(170));
    let old = stage.groups.plan(&silences, &stage.log, 9, at(170));
    let same = Arc::clone(stage.groups.config());
    stage.groups.reload(same, at(170));
    assert!(stage.groups.tell(old, &mut stage.log, at(170)).is_empty());
    assert_eq!(stage.tell(170), ["a new alerts in group: +1 +2"]);
}

#[test]
fn alerts_that_come_between_a_plan_and_its_doing_are_not_lost() {
    let config = SIMPLE.replace("group_wait: 10s", "group_wait: 0s, resolve_wait: 0s");
    let mut stage = Stage::new(&config);
    stage
        .groups
        .receive(vec![one("1", 0, 100_000, 100)], at(100));
    assert_eq!(stage.tell(100), ["a first notification: +1"]);
    let plans = stage.groups.plan(&stage.silences, &stage.log, 9, at(160));
    stage.groups.receive(vec![one("1", 0, 161, 161)], at(161));
    assert!(stage.groups.tell(plans, &mut stage.log, at(161)).is_empty());
    assert_eq!(stage.tell(161), ["a all alerts resolved: -1"]);
}

/// Two servers that hear the same and share the log of notifications.
#[test]
fn two_that_share_a_log_tell_once() {
    let config = Arc::new(Config::parse(SIMPLE).expect("it is good"));
    let mut servers = [Stage::new(SIMPLE), Stage::new(SIMPLE)];
    let mut log = Log::default();
    let mut told: Vec<String> = Vec::new();
    let mut round = |servers: &mut [Stage; 2], log: &mut Log, now: i64, first: usize| {
        told.clear();
        for at_place in [first, 1 - first] {
            let groups = &mut servers[at_place].groups;
            groups.begin(log, at(now), 0);
            groups.pace = None;
            let plans = groups.plan(&Silences::default(), log, 9, at(now));
            for telling in groups.tell(plans, log, at(now)) {
                told.push(shown(&telling.notification, now));
                groups.done(&telling.notification, true, log, at(now));
            }
        }
        told.clone()
    };
    let hear = |servers: &mut [Stage; 2], alert: Received, now| {
        for server in servers {
            server.groups.receive(vec![alert.clone()], at(now));
        }
    };
    hear(&mut servers, one("1", 90, 100_000, 100), 100);
    assert_eq!(
        round(&mut servers, &mut log, 110, 0),
        ["a first notification: +1"]
    );
    hear(&mut servers, one("2", 120, 100_000, 120), 120);
    assert_eq!(
        round(&mut servers, &mut log, 170, 1),
        ["a new alerts in group: +1 +2"]
    );
    assert!(round(&mut servers, &mut log, 230, 0).is_empty());
    // One of them starts anew, without anything of its own.
    servers[0].groups = Groups::new(config);
    servers[0].groups.receive(
        vec![one("1", 90, 100_000, 240), one("2", 120, 100_000, 240)],
        at(240),
    );
    assert!(round(&mut servers, &mut log, 300, 0).is_empty());
    for i in ["1", "2"] {
        hear(&mut servers, one(i, 90, 310, 310), 310);
    }
    assert_eq!(
        round(&mut servers, &mut log, 400, 1),
        ["a all alerts resolved: -1 -2"]
    );
    assert!(round(&mut servers, &mut log, 460, 0).is_empty());
    // Logs that were apart are joined: the newer word holds.
    let mut apart = Log::default();
    for (key, entry) in log.iter() {
        apart.merge(key.clone(), entry.clone());
        let older = super::super::LogEntry {
            at: at(1),
            ..entry.clone()
        };
        apart.merge(key.clone(), older);
    }
    assert!(apart.iter().eq(log.iter()));
}

#[test]
fn looking_at_a_copy_costs_the_others_nothing() {
    let mut stage = Stage::new(SIMPLE);
    stage
        .groups
        .receive(vec![one("1", 0, 100_000, 100)], at(100));
    let seen = stage.groups.clone();
    stage
        .groups
        .receive(vec![one("2", 0, 100_000, 101)], at(101));
    assert_eq!((seen.len(), stage.groups.len()), (1, 2));
    let groups = |groups: &Groups| groups.iter().map(|(_, g)| g.alerts.len()).sum::<usize>();
    assert_eq!((groups(&seen), groups(&stage.groups)), (1, 2));
    let print = one("1", 0, 1, 1).fingerprint;
    assert!(Arc::ptr_eq(
        &seen.alerts[&print],
        &stage.groups.alerts[&print]
    ));
}
