//! Starts, silence of senders, and clocks that are set.

use super::super::tests::{SIMPLE, Stage, alert, at};
use super::*;

const SECOND: i64 = NANOS_PER_SECOND;
const NEVER: &str = "
route: {receiver: a, group_by: [alertname], group_wait: 0s, group_interval: 1m, repeat_interval: never, resolve_wait: 0s}
receivers: [{name: a, webhook_configs: [{url: 'http://x'}]}]
";

fn one(from: i64, to: i64, now: i64) -> Received {
    alert(&[("alertname", "A"), ("i", "1")], from, to, now)
}

fn end(stage: &Stage) -> i64 {
    let ends = stage.groups.alerts().map(|alert| alert.ends_at - at(0));
    ends.sum::<i64>() / SECOND
}

/// One round, with the time that has really passed.
fn round(stage: &mut Stage, now: i64, elapsed: i64) -> Vec<String> {
    let log = &mut stage.log;
    stage.groups.begin(log, at(now), elapsed * SECOND);
    stage.tell(now)
}

#[test]
fn alerts_from_before_a_start_live_as_long_as_they_were_told_to() {
    let mut stage = Stage::new(NEVER);
    stage.groups.receive(vec![one(0, 240, 0)], at(0));
    assert_eq!(stage.tell(0), ["a first notification: +1"]);
    // An hour later there is another server, with the same log.
    stage.groups = Groups::new(Arc::clone(stage.groups.config()));
    stage.groups.restore(vec![one(0, 240, 0)], at(3600));
    assert_eq!(end(&stage), 3840);
    // Its stores open for long, and so long nobody can speak for the alert.
    for now in (3600..9000).step_by(60) {
        assert!(round(&mut stage, now, 60).is_empty(), "at {now}");
    }
    stage.groups.release(at(9000));
    assert_eq!(end(&stage), 9240);
    assert!(round(&mut stage, 9239, 299).is_empty());
    assert_eq!(round(&mut stage, 9240, 1), ["a all alerts resolved: -1"]);
}

#[test]
fn what_is_heard_of_again_needs_no_holding() {
    let mut stage = Stage::new(NEVER);
    stage.groups.restore(vec![one(0, 240, 0)], at(3600));
    stage.groups.receive(vec![one(0, 3700, 3650)], at(3650));
    let ended = stage.groups.restored.is_empty();
    assert!(ended, "its sender speaks for it");
    stage.groups.release(at(9000));
    assert!(end(&stage) <= 3840, "{}", end(&stage));
}

#[test]
fn what_ended_without_a_word_stays_so() {
    let mut stage = Stage::new(NEVER);
    stage.groups.receive(vec![one(0, 240, 0)], at(0));
    assert_eq!(stage.tell(0), ["a first notification: +1"]);
    assert_eq!(stage.tell(240), ["a all alerts resolved: -1"]);
    let ended = stage.groups.take_timed_out();
    assert_eq!(ended.len(), 1, "a start must know of it");
    assert!(ended[0].is_over());
    assert!(stage.groups.take_timed_out().is_empty());
    let kept = vec![ended[0].as_ref().clone()];
    stage.groups = Groups::new(Arc::clone(stage.groups.config()));
    stage.groups.restore(kept, at(300));
    assert!(stage.tell(300).is_empty());
    assert_eq!(end(&stage), 240);
    // One whose group is not due is found too.
    stage.groups.receive(vec![one(400, 500, 400)], at(400));
    stage.groups.time_out_all(&mut stage.log, at(501), 0);
    assert_eq!(stage.groups.take_timed_out().len(), 1);
}

#[test]
fn looking_for_ends_ends_nothing_that_is_held_or_whose_clock_was_set() {
    let mut stage = Stage::new(NEVER);
    // A short life from before a start: its sender cannot say more yet.
    stage.groups.restore(vec![one(0, 20, 0)], at(3600));
    stage.groups.time_out_all(&mut stage.log, at(3600), 0);
    stage
        .groups
        .time_out_all(&mut stage.log, at(3660), 60 * SECOND);
    assert_eq!(end(&stage), 3680);
    stage.groups.release(at(3660));
    // The clock is set on by an hour, of which a second has passed.
    stage.groups.time_out_all(&mut stage.log, at(7261), SECOND);
    assert!(stage.groups.take_timed_out().is_empty());
    assert_eq!(end(&stage), 7280);
    stage
        .groups
        .time_out_all(&mut stage.log, at(7281), 20 * SECOND);
    assert_eq!(stage.groups.take_timed_out().len(), 1);
}

#[test]
fn a_clock_that_is_set_stops_and_ends_nothing() {
    const HOUR: i64 = 3600;
    for jump in [-HOUR, HOUR] {
        let mut stage = Stage::new(SIMPLE);
        stage
            .groups
            .receive(vec![one(9_900, 10_240, 10_000)], at(10_000));
        assert_eq!(round(&mut stage, 10_000, 0), ["a first notification: +1"]);
        let two = alert(&[("alertname", "A"), ("i", "2")], 10_010, 10_240, 10_010);
        stage.groups.receive(vec![two], at(10_010));
        let now = 10_060 + jump;
        assert_eq!(round(&mut stage, now - 1, 59), [""; 0], "{jump}");
        let told = round(&mut stage, now, 1);
        assert_eq!(told, ["a new alerts in group: +1 +2"], "{jump}");
        assert_eq!(end(&stage), 2 * (10_240 + jump));
        // What is repeated is repeated when it would have been.
        let mut stage = Stage::new(SIMPLE);
        stage
            .groups
            .receive(vec![one(9_900, 900_000, 10_000)], at(10_000));
        assert_eq!(round(&mut stage, 10_000, 0).len(), 1);
        let repeats = (1..=61).map(|minute| {
            let now = 10_000 + jump + minute * 60;
            round(&mut stage, now, 60).concat().contains("repeat")
        });
        let first = repeats.collect::<Vec<bool>>().iter().position(|told| *told);
        assert_eq!(first, Some(60), "{jump}");
    }
}
