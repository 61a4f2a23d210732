//! Lines and results through monitors, as data.

use proptest::prelude::*;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_nanos(seconds * 1_000_000_000)
}

fn monitor(rules: &str) -> Monitor {
    let text = format!(
        r#"{{"plugin":"kmsg","source":"kernel-monitor","bufferSize":4,"skipList":["noise"],
        "conditions":[{{"type":"KernelDeadlock","reason":"KernelHasNoDeadlock","message":"kernel has no deadlock"}}],
        "rules":[{rules}]}}"#
    );
    Monitor::new(Definition::parse(&text).unwrap(), at(0))
}

/// Lines, one second after the other, and what each gives: `time type reason: message`.
fn check(rules: &str, lines: &[(&str, &[&str])]) {
    let mut monitor = monitor(rules);
    for (number, (line, expect)) in lines.iter().enumerate() {
        let report = monitor.take_line(at(number as i64), line);
        let events = report.events.iter().map(|event| {
            let kind = if event.warning { "Warning" } else { "Normal" };
            let seconds = event.time.nanos() / 1_000_000_000;
            format!("{seconds} {kind} {}: {}", event.reason, event.message)
        });
        assert_eq!(events.collect::<Vec<_>>(), *expect, "line {number}");
    }
}

const OOM: &str = r#"{"type":"temporary","reason":"OOMKilling","pattern":"Killed process \\d+ (.+) total-vm:\\d+kB, anon-rss:\\d+kB, file-rss:\\d+kB.*"}"#;

#[test]
fn a_temporary_problem_happens_with_each_line() {
    let line = "Killed process 7 (stress) total-vm:9kB, anon-rss:8kB, file-rss:1kB, shmem-rss:0kB";
    let said = format!("1 Warning OOMKilling: {line}");
    let again = format!("3 Warning OOMKilling: {line}");
    let noise = format!("noise: {line}");
    check(
        OOM,
        &[
            ("all is well", &[]),
            (line, &[said.as_str()]),
            ("all is well", &[]),
            (line, &[again.as_str()]),
            (noise.as_str(), &[]),
        ],
    );
}

#[test]
fn a_pattern_spans_lines_of_the_buffer() {
    let rule = r#"{"type":"temporary","reason":"Oops","pattern":"BUG: .*\\n.*IP: .*","patternGeneratedMessageSuffix":"look"}"#;
    check(
        rule,
        &[
            ("BUG: null", &[]),
            ("IP: here", &["0 Warning Oops: BUG: null\nIP: here; look"]),
            ("IP: there", &[]),
            ("BUG: null", &[]),
            ("between", &[]),
            ("IP: here", &[]),
        ],
    );
    let far = r#"{"type":"temporary","reason":"Far","pattern":"first(.*\\n)+last"}"#;
    check(
        far,
        &[
            ("first", &[]),
            ("2", &[]),
            ("3", &[]),
            ("last", &["0 Warning Far: first\n2\n3\nlast"]),
            // The first line has left the buffer.
            ("last", &[]),
        ],
    );
    // A pattern whose ways do not all go to the end is news with its own line only.
    let either = r#"{"type":"temporary","reason":"Either","pattern":"one|two"}"#;
    check(
        either,
        &[
            ("one thing", &["0 Warning Either: one thing"]),
            ("nothing", &[]),
            ("two", &["2 Warning Either: two"]),
        ],
    );
}

#[test]
fn a_permanent_problem_changes_its_condition_once() {
    let rules = r#"{"type":"permanent","condition":"KernelDeadlock","reason":"DockerHung","pattern":"task docker:\\w+ blocked .*"},
        {"type":"permanent","condition":"KernelDeadlock","reason":"AUFSUmountHung","pattern":"task umount\\.aufs:\\w+ blocked .*"}"#;
    let docker = "task docker:7 blocked for more than 120 seconds.";
    let aufs = "task umount.aufs:8 blocked for more than 120 seconds.";
    let now = |reason| format!("Node condition KernelDeadlock is now: True, reason: {reason}");
    let (first, second) = (
        format!("0 Normal DockerHung: {}", now("DockerHung")),
        format!("2 Normal AUFSUmountHung: {}", now("AUFSUmountHung")),
    );
    check(
        rules,
        &[
            (docker, &[first.as_str()]),
            (docker, &[]),
            (aufs, &[second.as_str()]),
        ],
    );

    let mut monitor = monitor(rules);
    let initial = |reason: &str| {
        [
            Count::Holds("KernelDeadlock".to_owned(), reason.to_owned(), false),
            Count::Happened(reason.to_owned(), 0),
        ]
    };
    let expect = [initial("DockerHung"), initial("AUFSUmountHung")].concat();
    assert_eq!(monitor.initial_counts(), expect);
    assert_eq!(monitor.conditions()[0].holds, Holds::False);
    let report = monitor.take_line(at(9), docker);
    assert!(report.changed);
    let holds = Count::Holds("KernelDeadlock".to_owned(), "DockerHung".to_owned(), true);
    let happened = Count::Happened("DockerHung".to_owned(), 1);
    assert_eq!(report.counts, [happened, holds.clone()]);
    let expect = NodeCondition {
        kind: "KernelDeadlock".to_owned(),
        holds: Holds::True,
        since: at(9),
        reason: "DockerHung".to_owned(),
        message: docker.to_owned(),
    };
    assert_eq!(monitor.conditions(), [expect]);
    let again = monitor.take_line(at(10), docker);
    assert!(!again.changed);
    assert_eq!((again.counts, again.events), (vec![holds], vec![]));
    assert_eq!(monitor.conditions()[0].since, at(9));
}

fn plugin(follow: bool) -> Monitor {
    let text = format!(
        r#"{{"plugin":"custom","source":"ntp","pluginConfig":{{"enable_message_change_based_condition_update":{follow}}},
        "conditions":[{{"type":"NTPProblem","reason":"NTPIsUp","message":"ntp is up"}}],
        "rules":[{{"type":"temporary","reason":"NTPIsDown","path":"/p"}},
                 {{"type":"permanent","condition":"NTPProblem","reason":"NTPIsDown","path":"/p"}}]}}"#
    );
    Monitor::new(Definition::parse(&text).unwrap(), at(0))
}

#[test]
fn results_of_programs() {
    use Verdict::{Fine, Problem, Unknown};
    // Verdict, message; status, reason, message of the condition; whether it changed.
    let steps = [
        (Fine, "ok", "False NTPIsUp ntp is up", false),
        (Problem, "down", "True NTPIsDown down", true),
        (Problem, "still down", "True NTPIsDown down", false),
        (Unknown, "timeout", "Unknown NTPIsUp timeout", true),
        (Problem, "down", "True NTPIsDown down", true),
        (Fine, "ok", "False NTPIsUp ntp is up", true),
        (Unknown, "timeout", "Unknown NTPIsUp timeout", true),
    ];
    let mut monitor = plugin(false);
    for (number, (verdict, message, expect, changed)) in steps.into_iter().enumerate() {
        let report = monitor.take_result(1, at(number as i64), verdict, message.to_owned());
        let condition = &monitor.conditions()[0];
        let found = format!(
            "{} {} {}",
            condition.holds.name(),
            condition.reason,
            condition.message
        );
        assert_eq!(
            (found.as_str(), report.changed),
            (expect, changed),
            "{number}"
        );
        assert_eq!(report.events.len(), usize::from(changed), "{number}");
    }
    let mut monitor = plugin(true);
    monitor.take_result(1, at(0), Problem, "down".to_owned());
    let report = monitor.take_result(1, at(1), Problem, "still down".to_owned());
    assert!(report.changed && monitor.conditions()[0].message == "still down");

    let report = monitor.take_result(0, at(2), Problem, "down".to_owned());
    assert_eq!(report.counts, [Count::Happened("NTPIsDown".to_owned(), 1)]);
    assert!(!report.changed && report.events[0].warning);
    assert_eq!(
        monitor.take_result(0, at(3), Fine, String::new()),
        Report::default()
    );
    assert_eq!(
        monitor.take_result(9, at(3), Problem, String::new()),
        Report::default()
    );
}

#[test]
fn lines_are_bounded() {
    let mut monitor = monitor(OOM);
    let long = "é".repeat(LINE_BYTES_MAX);
    for second in 0..100 {
        monitor.take_line(at(second), &long);
    }
    assert_eq!(monitor.lines.len(), 4);
    assert!(
        monitor
            .lines
            .iter()
            .all(|(_, line)| line.len() <= LINE_BYTES_MAX)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_lines_are_taken(lines in proptest::collection::vec("\\PC{0,40}", 0..20)) {
        let rules = r#"{"type":"temporary","reason":"A","pattern":"a?"},
            {"type":"permanent","condition":"KernelDeadlock","reason":"B","pattern":".*\\n.*"}"#;
        let mut monitor = monitor(rules);
        for line in &lines {
            let report = monitor.take_line(at(0), line);
            prop_assert!(report.events.len() <= 2);
        }
        prop_assert!(monitor.lines.len() <= 4);
    }
}
