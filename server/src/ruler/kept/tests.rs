//! States of alerts through kills, also more of them than fit into one write.

use obs_alerting::rules::{AlertState, Group, Parsing};
use obs_model::Labels;
use obs_storage::SimDisk;

use super::*;

fn group() -> Group {
    let text = "{name: g, rules: [{alert: A, expr: '1', for: 1m}]}";
    Group::parse(text, &Parsing::default()).expect("valid")
}

fn key() -> GroupKey {
    GroupKey {
        tenant: Tenant::anonymous(),
        file: "f.yml".to_owned(),
        name: "g".to_owned(),
        origin: Origin::File,
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

/// The rule of the group with as many alerts, active since then.
fn slots(count: usize, since: i64, summary: &str) -> Vec<Slot> {
    let alert = |n: usize| Alert {
        labels: Labels::from_pairs([("alertname", "A"), ("n", n.to_string().as_str())]),
        annotations: Labels::from_pairs([("summary", summary)]),
        value: 1.0,
        state: AlertState::Firing,
        active_at: at(since),
        fired_at: Some(at(since)),
        resolved_at: None,
        keep_firing_since: None,
        sent_at: None,
    };
    let group = group();
    let mut running = Running::new(&group.rules[0], &group);
    running.restore((0..count).map(alert).collect(), 0);
    vec![Slot::new(running)]
}

fn open(disk: &SimDisk) -> Kept {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Kept::open(&disk, 7).expect("opened")
}

/// When the alerts that a start knows are active since.
fn restored(kept: &Kept) -> Vec<Timestamp> {
    let group = group();
    let mut rules = vec![Running::new(&group.rules[0], &group)];
    kept.restore(&key(), &mut rules, at(100));
    let alerts = rules[0].alerting().expect("it alerts").alerts();
    alerts.map(|alert| alert.active_at).collect()
}

/// Does something in pieces, killed ever later until it comes to its end; all that a start may find.
fn check(work: impl Fn(&Kept) -> bool, expect: &[Vec<Timestamp>]) {
    for kill in 0..1000 {
        let disk = SimDisk::new(kill);
        let mut kept = open(&disk);
        kept.together_bytes = 500;
        let before = kept.keep(&key(), &slots(20, 1, "before"), at(1));
        before.expect("the disk works");
        disk.kill_after(kill);
        let done = work(&kept);
        disk.kill();
        drop(kept);
        let found = restored(&open(&disk));
        assert!(expect.contains(&found), "after {kill} changes: {found:?}");
        if done && Some(&found) == expect.last() {
            assert!(kill > 3, "it was one piece");
            return;
        }
    }
    panic!("it never comes to its end");
}

#[test]
fn a_group_is_kept_whole_or_not_at_all() {
    let (before, after) = (vec![at(1); 20], vec![at(2); 30]);
    check(
        |kept| {
            let slots = slots(30, 2, "after");
            kept.keep(&key(), &slots, at(2)).is_ok()
        },
        &[before.clone(), Vec::new(), after],
    );
    check(
        |kept| {
            kept.forget([key()].iter());
            let table = lock(&kept.states);
            table.rows(&Tenant::anonymous()).next().is_none()
        },
        &[before, Vec::new()],
    );
}

#[test]
fn more_is_kept_than_fits_into_one_write() {
    let disk = SimDisk::new(1);
    let kept = open(&disk);
    // 66 MiB.
    let slots = slots(66, 1, &"x".repeat(1 << 20));
    kept.keep(&key(), &slots, at(1)).expect("written in pieces");
    drop(kept);
    assert_eq!(restored(&open(&disk)).len(), 66);
}
