//! Rule files: what is read, and where faults are told.

use super::*;

fn parse(text: &str) -> Result<RuleFile, String> {
    RuleFile::parse(text, &Parsing::default()).map_err(|error| error.to_string())
}

const GOOD: &str = r#"
groups:
  - name: a
    interval: 30s
    query_offset: 1m
    limit: 5
    labels: {team: x, tier: one}
    rules:
      - record: job:up:sum
        expr: sum by (job) (up)
        labels: {tier: two}
      - alert: Down
        expr: |
          up == 0
        for: 5m
        keep_firing_for: 1h
        labels: {severity: page}
        annotations:
          summary: "{{ $labels.instance }} is down"
  - name: empty
"#;

#[test]
fn files_are_read() {
    let file = parse(GOOD).expect("it is good");
    assert_eq!(file.groups.len(), 2);
    let group = &file.groups[0];
    const SECOND: i64 = 1_000_000_000;
    assert_eq!(group.interval, Some(30 * SECOND));
    assert_eq!(group.query_offset, Some(60 * SECOND));
    assert_eq!((group.limit, group.rules.len()), (5, 2));
    let labels = group.rules[0].labels_in(group);
    let labels: Vec<_> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(labels, ["team=x", "tier=two"]);
    assert_eq!(group.rules[1].expression.text, "up == 0");
    let RuleKind::Alert {
        hold, keep_firing, ..
    } = &group.rules[1].kind
    else {
        panic!("an alert");
    };
    assert_eq!((*hold, *keep_firing), (300 * SECOND, 3600 * SECOND));
    assert_eq!(parse(""), Ok(RuleFile::default()));
    assert_eq!(parse("groups: []"), Ok(RuleFile::default()));
}

#[test]
fn objects_of_the_operator_are_files_too() {
    let text = "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata: {name: x}\n\
                spec:\n  groups:\n  - name: a\n    partial_response_strategy: abort\n    rules:\n    \
                - record: b\n      expr: 1\n---\nkind: PrometheusRule\nspec: {groups: [{name: c}]}\n";
    let file = parse(text).expect("it is good");
    let names: Vec<_> = file.groups.iter().map(|g| g.name.as_str()).collect();
    assert_eq!(names, ["a", "c"]);
    let wrong = parse("kind: Pod\nspec: {groups: []}\n");
    assert_eq!(
        wrong,
        Err("kind: expected PrometheusRule, found Pod".to_owned())
    );
}

#[test]
fn languages_are_chosen_by_rule() {
    let text = "groups:\n- name: a\n  rules:\n  - record: b\n    lang: logql\n    expr: \
                sum(rate({app=\"x\"} |= \"e\" [5m]))\n  - record: c\n    lang: traceql\n    expr: \
                '{ status = error } | rate()'\n";
    let file = parse(text).expect("it is good");
    let languages = file.groups[0].rules.iter().map(|r| r.expression.language);
    let languages: Vec<Language> = languages.collect();
    assert_eq!(languages, [Language::Logql, Language::Traceql]);
    let lines =
        "groups:\n- name: a\n  rules:\n  - record: b\n    lang: logql\n    expr: '{a=\"b\"}'\n";
    let error = parse(lines).expect_err("lines are no numbers");
    assert!(
        error.contains("gives numbers") && error.starts_with("6:12:"),
        "{error}"
    );
}

/// Each fault with the place at which it stands.
#[test]
fn faults_name_their_place() {
    let rule = |lines: &str| {
        let lines: String = lines.lines().map(|l| format!("    {l}\n")).collect();
        format!("groups:\n- name: g\n  rules:\n{lines}")
    };
    let cases = [
        (
            rule("- alert: A\n  expr: sum(\n"),
            "5:13: group \"g\", rule 1: \"A\": could not parse expression: 1:5: parse error",
        ),
        (
            rule("- record: r\n  expr: up\n- alert: B\n  expr: up ==\n"),
            "7:13: group \"g\", rule 2: \"B\": could not parse",
        ),
        (
            rule("- alert: A\n  record: b\n  expr: up\n"),
            "only one of 'record' and 'alert' must be set",
        ),
        (
            rule("- expr: up\n"),
            "one of 'record' or 'alert' must be set",
        ),
        (rule("- alert: A\n"), "field 'expr' must be set in rule"),
        (
            rule("- record: a\n  expr: up\n  for: 1m\n"),
            "invalid field 'for' in recording rule",
        ),
        (
            rule("- record: a\n  expr: up\n  annotations: {a: b}\n"),
            "invalid field 'annotations'",
        ),
        (rule("- record: a{b=\"c\"}\n  expr: up\n"), "braces present"),
        (
            rule("- alert: A\n  expr: up\n  labels: {__name__: b}\n"),
            "invalid label name: __name__",
        ),
        (
            rule("- alert: A\n  expr: up\n  annotations: {a: '{{ nosuch }}'}\n"),
            "function \"nosuch\" not defined",
        ),
        (
            rule("- alert: A\n  expr: up\n  fro: 5m\n"),
            "unknown field `fro`",
        ),
        (
            rule("- alert: A\n  expr: up\n  for: 5x\n"),
            "not a valid duration string: \"5x\"",
        ),
        (
            rule("- alert: A\n  expr: up\n  lang: sql\n"),
            "expected promql, logql or traceql, found \"sql\"",
        ),
        (
            "groups:\n- name: g\n- name: h\n- name: g\n".to_owned(),
            "4:3: groupname: \"g\" is repeated",
        ),
        ("groups:\n- rules: []\n".to_owned(), "missing field `name`"),
        ("groups:\n- name: ''\n".to_owned(), "found an empty one"),
        (
            "groups:\n- name: g\n  limit: -1\n".to_owned(),
            "limit: expected 0 or more, found -1",
        ),
        ("rules: []\n".to_owned(), "1:1: unknown field `rules`"),
        (
            "groups: [\n".to_owned(),
            "did not find expected node content",
        ),
    ];
    for (text, expect) in cases {
        let error = parse(&text).expect_err("it is wrong");
        assert!(error.contains(expect), "{text}\n{error}\nexpected {expect}");
        let placed = error
            .split(':')
            .take(2)
            .all(|n| n.trim().parse::<usize>().is_ok());
        assert!(placed, "no place: {error}");
    }
}

#[test]
fn unknown_keys_pass_where_asked() {
    let text = "groups:\n- name: a\n  source_tenants: [x]\n  rules:\n  - record: b\n    expr: up\n    \
                debug: true\nwhat: 1\n";
    assert!(parse(text).is_err());
    let lenient = Parsing {
        lenient: true,
        ..Parsing::default()
    };
    let file = RuleFile::parse(text, &lenient).expect("unknown keys pass");
    assert_eq!(file.groups[0].rules.len(), 1);
}
