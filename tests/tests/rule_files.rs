//! `obs check rules` and `obs test rules` beside promtool, where it is installed: the same files,
//! the same verdicts.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::process::command;

const RULES: &str = r#"
groups:
- name: a
  interval: 1m
  rules:
  - {record: "job:up:avg", expr: "avg by (job) (up)", labels: {kind: mean}}
  - alert: Down
    expr: up{job=~"a|b"} == 0
    for: 5m
    labels: {severity: page, where: "{{ $externalLabels.cluster }}"}
    annotations:
      summary: '{{ $labels.instance }} of {{ $labels.job }}: {{ $value | humanize }}'
      url: "{{ $externalURL }}/x"
- name: b
  rules:
  - {alert: Many, expr: 'count(ALERTS{alertstate="firing",alertname="Down"}) > 1'}
  - {alert: Mean, expr: "job:up:avg < 0.5", labels: {level: "{{ printf \"%.1f\" $value }}"}}
"#;

const TESTS: &str = r#"
rule_files: [rules.yml]
evaluation_interval: 1m
group_eval_order: [a, b]
tests:
- name: two are down
  interval: 1m
  external_labels: {cluster: eu}
  external_url: http://obs.example
  input_series:
  - {series: 'up{job="a",instance="1"}', values: '1x3 0x20'}
  - {series: 'up{job="a",instance="2"}', values: '1 0+0x30'}
  - {series: 'up{job="c",instance="3"}', values: '0x5 _x3 1x10 stale'}
  alert_rule_test:
  - {eval_time: 5m, alertname: Down, exp_alerts: []}
  - eval_time: 6m
    alertname: Down
    exp_alerts:
    - exp_labels: {severity: page, where: eu, job: a, instance: "2"}
      exp_annotations: {summary: "2 of a: 0", url: "http://obs.example/x"}
  - {eval_time: 10m, alertname: Many, exp_alerts: [{}]}
  - eval_time: 10m
    alertname: Mean
    exp_alerts:
    - exp_labels: {level: "0.0", job: a, kind: mean}
  promql_expr_test:
  - expr: job:up:avg
    eval_time: 1m
    exp_samples:
    - {labels: 'job:up:avg{job="a",kind="mean"}', value: 0.5}
    - {labels: 'job:up:avg{job="c",kind="mean"}', value: 0}
  - {expr: 'sum(up) > 100', eval_time: 4m, exp_samples: []}
  - {expr: 'up{job="c"}', eval_time: 20m, exp_samples: []}
  - {expr: 'count(up)', eval_time: 7m30s, exp_samples: [{labels: '{}', value: 3}]}
"#;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder for the test");
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("the folder is writable");
    }
    folder
}

fn obs(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = command(arguments);
    command.current_dir(folder).output().expect("obs runs")
}

/// Nothing where promtool is not installed.
fn promtool(folder: &Path, arguments: &[&str]) -> Option<Output> {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(folder).output().ok()
}

fn text(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// Both end with this code.
#[expect(clippy::print_stderr, reason = "a test that does not run says so")]
fn both(folder: &Path, arguments: &[&str], expect: i32) -> String {
    let found = obs(folder, arguments);
    assert_eq!(found.status.code(), Some(expect), "obs: {}", text(&found));
    match promtool(folder, arguments) {
        Some(other) => {
            let told = text(&other);
            assert_eq!(other.status.code(), Some(expect), "promtool: {told}");
        }
        None => eprintln!("skipped: promtool is not installed"),
    }
    text(&found)
}

#[test]
fn tests_pass_and_fail_as_with_promtool() {
    let check = |change: (&str, &str), expect: i32, words: &str| {
        let tests = TESTS.replace(change.0, change.1);
        assert!(change.0.is_empty() || tests != TESTS, "{change:?}");
        let folder = folder(&[("rules.yml", RULES), ("tests.yml", &tests)]);
        let told = both(folder.path(), &["test", "rules", "tests.yml"], expect);
        assert!(told.contains(words), "{told}\n  has no {words:?}");
    };
    check(("", ""), 0, "Unit Testing:  tests.yml\n  SUCCESS");
    check(("eval_time: 6m", "eval_time: 5m59s"), 1, "got:[]");
    check(("where: eu", "where: us"), 1, "alertname: Down, time: 6m");
    check(("2 of a: 0", "2 of a: 1"), 1, "alertname: Down");
    check(
        ("value: 0.5", "value: 0.25"),
        1,
        "expr: \"job:up:avg\", time: 1m",
    );
    check(("stale'", "1'"), 1, "expr: ");
    check(("exp_alerts: [{}]", "exp_alerts: []"), 1, "alertname: Many");
    check(("[a, b]", "[a, b, a]"), 1, "group name repeated");
    check(
        ("interval: 1m\n  external", "intervall: 1m\n  external"),
        1,
        "intervall",
    );
    check(
        ("alertname: Many, ", ""),
        1,
        "misses required attribute alertname",
    );
    check(("sum(up) > 100", "sum(up"), 1, "sum(up");
    check(
        ("sum(up) > 100", "up[5m]"),
        1,
        "rule result is not a vector or scalar",
    );
    check(("0+0x30", "0+0x"), 1, "input_series");
    check(("rules.yml]", "none.yml]"), 1, "no file match pattern");
}

#[test]
fn rules_are_valid_or_not_as_with_promtool() {
    let check = |rules: &str, arguments: &[&str], expect: i32, words: &str| {
        let folder = folder(&[("rules.yml", rules)]);
        let arguments = [&["check", "rules"], arguments, &["rules.yml"]].concat();
        let told = both(folder.path(), &arguments, expect);
        assert!(told.contains(words), "{told}\n  has no {words:?}");
    };
    check(
        RULES,
        &[],
        0,
        "Checking rules.yml\n  SUCCESS: 4 rules found",
    );
    check("groups: []", &[], 0, "SUCCESS: 0 rules found");
    let group = |rules: &str| format!("groups:\n- name: g\n  rules:\n{rules}");
    let twice = group("  - {record: a, expr: b}\n  - {record: a, expr: c}\n");
    check(&twice, &[], 0, "1 duplicate rule(s) found");
    check(&twice, &["--lint-fatal"], 3, "Metric: a\nLabel(s):\n");
    check(&twice, &["--lint", "none", "--lint-fatal"], 0, "SUCCESS: 2");
    for (rules, words) in [
        ("  - {record: a}\n", "rules.yml:4:"),
        ("  - {expr: a}\n", "one of 'record' or 'alert' must be set"),
        ("  - {record: a, alert: b, expr: c}\n", "only one of"),
        ("  - {record: a, expr: 'sum('}\n", "rules.yml:4:"),
        ("  - {record: a, expr: b, for: 5m}\n", "'for'"),
        (
            "  - {record: a, expr: b, annotations: {c: d}}\n",
            "'annotations'",
        ),
        ("  - {record: 'a{b}', expr: c}\n", "a{b}"),
        ("  - {alert: a, expr: b, fro: 5m}\n", "fro"),
        ("  - {alert: a, expr: b, for: 5minutes}\n", "5minutes"),
        (
            "  - {alert: a, expr: b, labels: {__name__: c}}\n",
            "__name__",
        ),
        (
            "  - {alert: a, expr: b, labels: {c: '{{ $x }}'}}\n",
            "undefined variable",
        ),
        (
            "  - {alert: a, expr: b, annotations: {c: '{{ none 1 }}'}}\n",
            "none",
        ),
    ] {
        check(&group(rules), &[], 1, words);
    }
    check(
        "groups: [{name: a}, {name: a}]",
        &[],
        1,
        "repeated in the same file",
    );
    check("groups: [{rules: []}]", &[], 1, "name");
}

#[test]
fn what_promtool_of_debian_does_not_know() {
    let rules = "groups:\n- name: g\n  rules:\n  - {alert: A, expr: 'up{a=~\"b$c\"}', \
                 labels: {v: '{{ $value }}'}, extra: 1}\n";
    let tests = "rule_files: [rules.yml]\ntests:\n- name: good\n  promql_expr_test:\n  \
                 - {expr: '1', eval_time: 0, exp_samples: [{labels: '', value: 1}]}\n\
                 - name: bad\n  promql_expr_test:\n  \
                 - {expr: '1', eval_time: 0, exp_samples: [{labels: '', value: 2}]}\n";
    let folder = folder(&[("rules.yml", rules), ("tests.yml", tests)]);
    let run = |arguments: &[&str], expect: i32| {
        let output = obs(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(expect), "{}", text(&output));
        text(&output)
    };
    let lenient = "--ignore-unknown-fields";
    let told = run(&["check", "rules", "rules.yml"], 1);
    assert!(
        told.contains("rules.yml:4:") && told.contains("extra"),
        "{told}"
    );
    let told = run(
        &["check", "rules", lenient, "--lint", "all", "rules.yml"],
        0,
    );
    for lint in ["value-in-labels", "missing-for", "never-matches"] {
        assert!(told.contains(lint), "{told}");
    }
    assert!(told.contains("rules.yml:4:6: lint error"), "{told}");
    run(
        &[
            "check",
            "rules",
            lenient,
            "--lint",
            "all",
            "--lint-fatal",
            "rules.yml",
        ],
        3,
    );
    run(
        &["check", "rules", "--lint", "absent-metrics", "rules.yml"],
        1,
    );
    run(&["test", "rules", "tests.yml"], 1);
    run(&["test", "rules", lenient, "tests.yml"], 1);
    run(
        &["test", "rules", lenient, "--run", "^good$", "tests.yml"],
        0,
    );
    let alerts = "rule_files: [rules.yml]\ntests:\n- name: alerts\n  interval: 1m\n  input_series: \
                  [{series: 'up{a=\"x\"}', values: '1x5'}]\n  alert_rule_test:\n  \
                  - {eval_time: 1m, alertname: A, exp_alerts: [{exp_labels: {a: b}}]}\n";
    std::fs::write(folder.path().join("alerts.yml"), alerts).expect("writable");
    let whole = run(&["test", "rules", lenient, "alerts.yml"], 1);
    assert!(
        whole.contains("exp:[") && !whole.contains("diff:"),
        "{whole}"
    );
    let lines = run(&["test", "rules", lenient, "--diff", "alerts.yml"], 1);
    assert!(
        lines.contains("diff:") && !lines.contains("exp:["),
        "{lines}"
    );
    let told = run(
        &[
            "test",
            "rules",
            lenient,
            "--debug",
            "--junit",
            "out.xml",
            "tests.yml",
        ],
        1,
    );
    assert!(told.contains("DEBUG: Dump of all data"), "{told}");
    let junit = std::fs::read_to_string(folder.path().join("out.xml")).expect("it was written");
    assert!(
        junit.contains("tests=\"2\" failures=\"1\" errors=\"0\""),
        "{junit}"
    );
}
