//! Objectives: what is read of each format, what becomes of it, and that budgets count events.

use obs_model::time::NANOS_PER_DAY;
use proptest::prelude::*;

use super::*;
use crate::rules::{Parsing, RuleFile, RuleKind};

fn read(text: &str) -> Result<Vec<Slo>, String> {
    parse(text, &Limits::default()).map_err(|error| error.to_string())
}

fn one(text: &str) -> Slo {
    let mut all = read(text).expect("it is good");
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// The rules of a file, as they are evaluated.
fn made(text: &str) -> RuleFile {
    let slos = read(text).expect("it is good");
    let yaml = rules(&slos).expect("it can be written");
    RuleFile::parse(&yaml, &Parsing::default()).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

const SLOTH: &str = r#"
version: "prometheus/v1"
service: shop
labels: {team: a}
slos:
  - name: requests
    objective: 99.9
    description: Requests succeed.
    labels: {tier: one}
    sli:
      events:
        error_query: sum(rate(http_requests_total{code=~"5.."}[{{.window}}]))
        total_query: sum(rate(http_requests_total[{{ .window }}]))
    alerting:
      name: ShopRequests
      labels: {category: availability}
      annotations: {summary: Too many requests of the shop fail.}
      page_alert: {labels: {severity: pageteam}}
      ticket_alert: {disable: true}
"#;

const PYRRA: &str = r#"
apiVersion: pyrra.dev/v1alpha1
kind: ServiceLevelObjective
metadata:
  name: latency
  namespace: shop
  labels: {pyrra.dev/team: a, app: shop}
spec:
  target: "99.5"
  window: 4w
  indicator:
    latency:
      success: {metric: 'http_seconds_bucket{le="1"}'}
      total: {metric: http_seconds_count}
      grouping: [route]
"#;

const OPENSLO: &str = r#"
apiVersion: openslo/v1
kind: Service
metadata: {name: shop}
spec: {description: a shop}
---
apiVersion: openslo/v1
kind: SLI
metadata: {name: good-requests}
spec:
  ratioMetric:
    counter: true
    good: {metricSource: {type: Prometheus, spec: {query: 'http_requests_total{code!~"5.."}'}}}
    total: {metricSource: {type: Prometheus, spec: {query: sum by (env) (http_requests_total)}}}
---
apiVersion: openslo/v1
kind: AlertCondition
metadata: {name: FastBurn}
spec:
  severity: page
  condition: {kind: burnrate, op: gte, threshold: 2, lookbackWindow: 1h, alertAfter: 5m}
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: requests, labels: {team: [a, b]}}
spec:
  service: shop
  indicatorRef: good-requests
  timeWindow: [{duration: 7d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{target: 0.99}]
  alertPolicies:
    - apiVersion: openslo/v1
      kind: AlertPolicy
      metadata: {name: policy}
      spec:
        conditions: [{conditionRef: FastBurn}]
        notificationTargets: []
"#;

#[test]
fn sloths_files() {
    let slo = one(SLOTH);
    assert_eq!((slo.id.as_str(), slo.objective), ("shop-requests", 0.999));
    assert_eq!(slo.window, 30 * NANOS_PER_DAY);
    assert_eq!(slo.labels.len(), 2);
    let [alert] = &slo.alerts[..] else {
        panic!("{:?}", slo.alerts)
    };
    assert_eq!(alert.name, "ShopRequests");
    assert_eq!(alert.labels["severity"], "pageteam");
    assert_eq!(alert.labels["sloth_severity"], "page");
    let object = SLOTH
        .replace("version: \"prometheus/v1\"\n", "")
        .replace("error_query", "errorQuery")
        .replace("total_query", "totalQuery")
        .replace("page_alert", "pageAlert")
        .replace("ticket_alert", "ticketAlert")
        .replace('\n', "\n  ");
    let object = format!(
        "apiVersion: sloth.slok.dev/v1\nkind: PrometheusServiceLevel\nmetadata: {{name: a}}\nspec:{object}"
    );
    assert_eq!(one(&object), slo);
}

#[test]
fn pyrras_objects() {
    let slo = one(PYRRA);
    assert_eq!((slo.id.as_str(), slo.objective), ("shop-latency", 0.995));
    assert_eq!(slo.labels, BTreeMap::from([("team".into(), "a".into())]));
    let Indicator::Events { bad, total } = &slo.indicator else {
        panic!("{:?}", slo.indicator)
    };
    let all = "sum by (route) (increase(http_seconds_count[5m]))";
    assert_eq!(total.at("5m"), all);
    let good = r#"sum by (route) (increase(http_seconds_bucket{le="1"}[5m]))"#;
    assert_eq!(bad.at("5m"), format!("({all}) - (({good}) or 0 * ({all}))"));
    let names: Vec<&str> = slo.alerts.iter().map(|alert| alert.name.as_str()).collect();
    assert_eq!(names, ["ErrorBudgetBurn", "ErrorBudgetBurn"]);
    assert_eq!(slo.absent[0].selector, "http_seconds_count");
    let check = |indicator: &str| {
        let head = PYRRA.split_once("    latency:\n").expect("it has one").0;
        made(&format!("{head}    {indicator}\n"));
    };
    check("ratio: {errors: {metric: 'x{code=\"500\"}'}, total: {metric: x}}");
    check("latencyNative: {latency: 500ms, total: {metric: x}, grouping: [route]}");
    check("bool_gauge: {metric: probe_success}");
}

#[test]
fn objects_of_openslo() {
    let slo = one(OPENSLO);
    assert_eq!((slo.id.as_str(), slo.objective), ("shop-requests", 0.99));
    assert_eq!(slo.labels["team"], "a,b");
    let Indicator::Events { total, .. } = &slo.indicator else {
        panic!("{:?}", slo.indicator)
    };
    assert_eq!(
        total.at("1h"),
        "sum by (env) (increase(http_requests_total[1h]))"
    );
    let [alert] = &slo.alerts[..] else {
        panic!("{:?}", slo.alerts)
    };
    assert_eq!(alert.name, "FastBurn");
    assert_eq!((alert.burns[0].factor, alert.burns[0].compare), (2.0, ">="));
    let slices = "budgetingMethod: Timeslices\n  objectives: [{target: 0.99, timeSliceTarget: \
                  0.95, timeSliceWindow: 5m}]";
    let whole = "budgetingMethod: Occurrences\n  objectives: [{target: 0.99}]";
    made(&OPENSLO.replace(whole, slices));
    made(&OPENSLO.replace(whole, &slices.replace("Timeslices", "RatioTimeslices")));
    let two = whole.replace("[{", "[{targetPercent: 99.9}, {");
    let ids = read(&OPENSLO.replace(whole, &two)).expect("it is good");
    let ids: Vec<&str> = ids.iter().map(|slo| slo.id.as_str()).collect();
    assert_eq!(ids, ["shop-requests-0", "shop-requests-1"]);
}

#[test]
fn rules_of_an_objective() {
    let file = made(SLOTH);
    let names: Vec<&str> = file
        .groups
        .iter()
        .map(|group| group.name.as_str())
        .collect();
    assert_eq!(names, ["slo:shop-requests", "slo:shop-requests:long"]);
    let rules: Vec<&str> = file
        .groups
        .iter()
        .flat_map(|group| &group.rules)
        .map(|rule| rule.name())
        .collect();
    let expect = [
        "slo:sli_error:ratio_rate5m",
        "slo:sli_error:ratio_rate30m",
        "slo:sli_error:ratio_rate1h",
        "slo:sli_error:ratio_rate2h",
        "slo:sli_error:ratio_rate6h",
        "slo:objective:ratio",
        "slo:error_budget:ratio",
        "slo:time_period:days",
        "slo:current_burn_rate:ratio",
        "sloth_slo_info",
        "ShopRequests",
        "slo:sli_error:ratio_rate1d",
        "slo:sli_error:ratio_rate3d",
        "slo:sli_error:ratio_rate30d",
        "slo:period_burn_rate:ratio",
        "slo:period_error_budget_remaining:ratio",
    ];
    assert_eq!(rules, expect);
    let alert = &file.groups[0].rules[10];
    assert_eq!(alert.labels["tier"], "one");
    let text = &alert.expression.text;
    assert!(text.contains("> (14.4 * 0.001)"), "{text}");
    let RuleKind::Alert { annotations, .. } = &alert.kind else {
        panic!("{alert:?}")
    };
    assert_eq!(
        annotations["summary"],
        "Too many requests of the shop fail."
    );
    assert!(annotations["runbook_url"].ends_with("/runbooks/ErrorBudgetBurn"));
}

#[test]
fn faults_have_places() {
    let check = |text: &str, from: &str, to: &str, expect: &str| {
        let changed = text.replace(from, to);
        assert_ne!(changed, text, "{from:?} is there");
        let error = read(&changed).expect_err("it is wrong");
        assert!(error.contains(expect), "{error:?}, not {expect:?}");
    };
    check(
        SLOTH,
        "objective: 99.9",
        "objective: 100",
        "6:11: \"shop-requests\"",
    );
    check(SLOTH, "objective: 99.9", "objektive: 99.9", "objektive");
    check(
        SLOTH,
        "{{ .window }}",
        "5m",
        "13:22: \"requests\": total_query: expected {{.window}}",
    );
    check(SLOTH, "{{ .window }}", "{{ .x }}", "found {{ .x }}");
    check(
        SLOTH,
        "sum(rate(http_requests_total[{{ .window }}]))",
        "sum([{{.window}}])",
        "could not parse",
    );
    check(
        SLOTH,
        "prometheus/v1",
        "prometheus/v2",
        "2:11: expected version",
    );
    check(SLOTH, "tier: one", "t-er: one", "invalid label name: t-er");
    check(PYRRA, "99.5", "often", "target: expected a percentage");
    check(
        PYRRA,
        "window: 4w",
        "window: soon",
        "10:11: \"latency\": window",
    );
    check(
        PYRRA,
        "window: 4w",
        "window: 1h",
        "expected 1d to 366d, found 1h",
    );
    check(
        PYRRA,
        "metric: http_seconds_count",
        "metric: sum(x)",
        "expected a selector",
    );
    check(OPENSLO, "indicatorRef: good", "indicatorRef: bad", "no SLI");
    check(
        OPENSLO,
        "isRolling: true",
        "isRolling: false",
        "windows of the calendar",
    );
    check(
        OPENSLO,
        "conditionRef: Fast",
        "conditionRef: Slow",
        "no AlertCondition",
    );
    check(
        OPENSLO,
        "kind: Service\n",
        "kind: Circle\n",
        "found \"Circle\"",
    );
    check(OPENSLO, "counter: true", "countr: true", "countr");
    let twice = format!("{SLOTH}---{SLOTH}");
    let error = read(&twice).expect_err("it is there twice");
    assert!(
        error.contains("\"shop-requests\" is there twice"),
        "{error}"
    );
    assert_eq!(read("").map(|all| all.len()), Ok(0));
}

#[test]
fn percentages_are_the_nearest_shares() {
    for (percent, expect) in [(99.9, 0.999), (99.99, 0.9999), (50.0, 0.5), (99.5, 0.995)] {
        assert_eq!(share(percent), expect);
    }
}

/// Numbers of events per scrape: failures and all.
fn scrapes() -> impl Strategy<Value = Vec<(u32, u32)>> {
    prop::collection::vec((0u32..50).prop_flat_map(|all| (0..=all, Just(all))), 30..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The recorded share over a window is failures through events of the scrapes in it, however
    /// they are spread and though the counter starts anew.
    #[test]
    fn budgets_count_events(scrapes in scrapes(), window in 5usize..25, back in 0usize..40) {
        let last = scrapes.len() - 1;
        // A new start inside the window, or none: what counters tell of one before it is a guess.
        let reset = (back + 2 <= window).then(|| last - back);
        let (mut bad, mut all) = (1e6, 2e6);
        let (mut bads, mut totals) = (String::new(), String::new());
        for (index, (failed, events)) in scrapes.iter().enumerate() {
            if Some(index) == reset {
                (bad, all) = (0.0, 0.0);
            }
            bad += f64::from(*failed);
            all += f64::from(*events);
            bads.push_str(&format!(" {bad}"));
            totals.push_str(&format!(" {all}"));
        }
        // A window that ends at a scrape holds as many scrapes as minutes: what the first of them
        // counted came before it.
        let inside = &scrapes[last + 2 - window..];
        let sum = |of: fn(&(u32, u32)) -> u32| inside.iter().map(of).sum::<u32>();
        let (failed, events) = (sum(|s| s.0), sum(|s| s.1));
        let indicator = Indicator::Events {
            bad: expression::events("sum(bad_total)", expression::Counting::Counter, &Limits::default()).unwrap(),
            total: expression::events("all_total", expression::Counting::Counter, &Limits::default()).unwrap(),
        };
        let ratio = error_ratio(&indicator, &format!("{window}m"));
        let expect = match events {
            0 => String::new(),
            _ => format!("  {{}} {}\n", f64::from(failed) / f64::from(events)),
        };
        let script = format!(
            "load 1m\n  bad_total{bads}\n  all_total{totals}\n\neval instant at {last}m {ratio}\n{expect}"
        );
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let outcome = obs_query::promqltest::run(&script, false, &pool);
        prop_assert!(outcome.failures.is_empty(), "{:?}\n{script}", outcome.failures);
    }

    #[test]
    fn hostile_files_are_faults(text in "[a-z:{}\\[\\]\\- \n\"]{0,200}") {
        for head in ["version: prometheus/v1", "apiVersion: openslo/v1\nkind: SLO"] {
            let found = read(&format!("{head}\n{text}"));
            prop_assert!(found.is_err(), "{text:?}");
        }
    }
}
