//! Unit tests of rules, tested.

use obs_model::limits::Limits;

use super::{Options, TestFile, run};
use crate::rules::{Parsing, RuleFile};

const RULES: &str = r#"
groups:
- name: second
  rules:
  - {record: "job:up:sum", expr: "sum by (job) (up)"}
  - alert: Down
    expr: up == 0
    for: 5m
    labels: {severity: page, cluster: "{{ $externalLabels.cluster }}"}
    annotations: {summary: "{{ $labels.instance }} of {{ $labels.job }} is {{ $value }}"}
- name: first
  rules:
  - {record: a, expr: "count(b) or vector(0)"}
  - {record: b, expr: "vector(1)"}
  - {alert: Chain, expr: 'ALERTS{alertname="Down",alertstate="firing"}'}
"#;

fn failures(tests: &str) -> Vec<String> {
    let rules = RuleFile::parse(RULES, &Parsing::default()).expect("valid rules");
    let file = TestFile::parse(tests).expect("valid tests");
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .expect("a pool");
    let options = Options {
        wanted: None,
        difference: false,
        dump: true,
        delayed_names: false,
        limits: &Limits::default(),
        pool: &pool,
    };
    let cases = run(&file, &rules.groups, &options);
    let told = |case: &super::Case| case.dump.is_some() || !case.failures.is_empty();
    assert!(cases.iter().all(told));
    cases.into_iter().flat_map(|case| case.failures).collect()
}

fn check(tests: &str, expect: &[&str]) {
    let found = failures(tests);
    assert_eq!(found.len(), expect.len(), "{tests}: {found:#?}");
    for (found, words) in found.iter().zip(expect) {
        assert!(found.contains(words), "{found}\n  has no {words:?}");
    }
}

const SERIES: &str = "  input_series:\n  - {series: 'up{job=\"j\",instance=\"i\"}', values: \
                      '1x4 0x20'}\n  external_labels: {cluster: eu}\n";

#[test]
fn alerts_that_fire_and_do_not() {
    let alert = |time: &str, alerts: &str| {
        format!(
            "tests:\n- interval: 1m\n{SERIES}  alert_rule_test:\n  \
             - {{eval_time: {time}, alertname: Down, exp_alerts: {alerts}}}\n"
        )
    };
    let fires = "[{exp_labels: {severity: page, cluster: eu, job: j, instance: i}, \
                 exp_annotations: {summary: i of j is 0}}]";
    check(&alert("5m", "[]"), &[]);
    check(&alert("9m59s", "[]"), &[]);
    check(&alert("10m", fires), &[]);
    check(&alert("10m30s", fires), &[]);
    check(
        &alert("10m", "[]"),
        &["alertname: Down, time: 10m, \n        exp:[], \n        got:["],
    );
    check(&alert("9m", fires), &["got:[]"]);
    let nameless = "tests:\n- alert_rule_test: [{eval_time: 1m}]\n";
    check(
        nameless,
        &["misses required attribute alertname at eval_time 1m"],
    );
}

#[test]
fn queries_see_what_rules_write_in_order() {
    let query = |head: &str, expr: &str, time: &str, samples: &str| {
        format!(
            "{head}tests:\n- interval: 1m\n{SERIES}  promql_expr_test:\n  \
             - {{expr: '{expr}', eval_time: {time}, exp_samples: {samples}}}\n"
        )
    };
    let sum = "[{labels: 'job:up:sum{job=\"j\"}', value: 1}]";
    check(&query("", "job:up:sum", "4m", sum), &[]);
    check(
        &query("", "job:up:sum", "5m", sum),
        &["exp: {__name__=\"job:up:sum\", job=\"j\"} 1E+00\n        got: {__name__"],
    );
    // `a` is evaluated before `b` of the same group; it sees the one of the round before.
    check(&query("", "a", "0", "[{labels: a, value: 0}]"), &[]);
    check(&query("", "a", "1m", "[{labels: a, value: 1}]"), &[]);
    // Groups go in the order that is told.
    let chain = "ALERTS{alertname=\"Chain\"}";
    let fires = "[{labels: 'ALERTS{alertname=\"Chain\",alertstate=\"firing\",job=\"j\",instance=\"i\"\
                 ,severity=\"page\",cluster=\"eu\"}', value: 1}]";
    let order = "group_eval_order: [first, second]\n";
    check(&query("", chain, "10m", fires), &[]);
    check(&query(order, chain, "10m", "[]"), &[]);
    check(&query(order, chain, "11m", fires), &[]);
    check(&query("", "x[1m]", "1m", "[]"), &["not a vector or scalar"]);
    check(
        &query("", "x +", "1m", "[]"),
        &["expr: \"x +\", time: 1m, err: "],
    );
}

#[test]
fn histograms_stale_and_start() {
    let tests = "start_timestamp: 1\n";
    assert!(TestFile::parse(tests).is_err(), "it is one of a test");
    check(
        "fuzzy_compare: true\ntests:\n- interval: 30s\n  start_timestamp: 2024-01-01T00:00:00Z\n  \
         input_series:\n  - {series: h, values: '{{schema:1 sum:3 count:2 buckets:[2]}}x3'}\n  \
         - {series: s, values: '1 _ 2 stale'}\n  promql_expr_test:\n  \
         - expr: h\n    eval_time: 1m\n    exp_samples:\n    - labels: h\n      \
         histogram: '{{schema:1 count:2 sum:3 counter_reset_hint:not_reset buckets:[2]}}'\n  \
         - {expr: s, eval_time: 1m, exp_samples: [{labels: s, value: 2}]}\n  \
         - {expr: s, eval_time: 2m, exp_samples: []}\n  \
         - {expr: 0.1 + 0.2, eval_time: 0, exp_samples: [{labels: '{}', value: 0.3}]}\n  \
         - {expr: time(), eval_time: 1m, exp_samples: [{value: 1704067260}]}\n",
        &[],
    );
}

#[test]
fn faults_have_places() {
    let fault = |text: &str| TestFile::parse(text).expect_err("faulty").to_string();
    let found = fault("tests:\n- interval: 1m\n  input: []\n");
    assert!(
        found.starts_with("3:3: ") && found.contains("input"),
        "{found}"
    );
    let found = fault("group_eval_order: [a, b, a]\n");
    assert_eq!(found, "group name repeated in evaluation order: a");
    check(
        "tests:\n- input_series: [{series: 'x{', values: 1}]\n",
        &["input_series x{: "],
    );
    check(
        "tests:\n- input_series: [{series: up, values: 1}, {series: 'up{a=\"\"}', values: 1}]\n  \
         promql_expr_test: [{expr: up, eval_time: 1m, exp_samples: [{labels: up, value: 1}]}]\n",
        &[],
    );
}
