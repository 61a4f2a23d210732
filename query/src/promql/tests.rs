//! Parsing, printing and planning of PromQL.

use expect_test::{Expect, expect};
use obs_model::Timestamp;
use obs_model::limits::Limits;
use proptest::prelude::*;

use super::{parse, plan};
use crate::request::{Request, When};

/// What a text prints as after parsing, or its error.
fn printed(text: &str) -> String {
    match parse(text, &Limits::default()) {
        Ok(expr) => expr.to_string(),
        Err(error) => error.to_string(),
    }
}

fn check(text: &str, expect: &str) {
    assert_eq!(printed(text), expect, "{text}");
    if parse(text, &Limits::default()).is_ok() {
        assert_eq!(printed(expect), expect, "printing is stable");
    }
}

#[test]
fn selectors() {
    check("up", "up");
    check("job:up:sum", "job:up:sum");
    check("up{job='a', b!=\"c\",}", "up{b!=\"c\",job=\"a\"}");
    check("{__name__=\"up\"}", "up");
    check("{\"a.b\", \"c.d\"=~\"x|y\"}", "{\"a.b\",\"c.d\"=~\"x|y\"}");
    check("sum", "sum");
    check("and offset 5m", "and offset 5m");
    check("up[5m] offset -1h30m", "up[5m] offset -1h30m");
    check("up offset 1w @ 1.5", "up @ 1.500 offset 1w");
    check("up @ start() offset 5m", "up @ start() offset 5m");
    check("up[300]", "up[300]");
    check("up[1m + 5 * step()]", "up[1m + 5 * step()]");
    check("up[5m] anchored", "up[5m] anchored");
    check("up{a=\"\\u00fc\\n\"} # a comment", "up{a=\"ü\\n\"}");
    check(
        "sum_over_time(up[10m:1m] offset 5m)",
        "sum_over_time(up[10m:1m] offset 5m)",
    );
    check("(a + b)[5m:]", "(a + b)[5m:]");
}

#[test]
fn operators_and_calls() {
    check("1+2*3^2^-1", "1 + 2 * 3 ^ 2 ^ -1");
    check("-1^2", "-1 ^ 2");
    check("-a or b unless c and d", "-a or b unless c and d");
    check("a </ 5", "a </ 5");
    check("a > BOOL 1", "a > bool 1");
    check("1 > bool 2", "1 > bool 2");
    check("a / on(x,) group_left(y) b", "a / on (x) group_left (y) b");
    check("a + fill(0) b", "a + fill (0) b");
    check(
        "a + ignoring(z) fill_left(1) fill_right(-Inf) b",
        "a + ignoring (z) fill_left (1) fill_right (-Inf) b",
    );
    check("sum(a) by (x, \"y.z\")", "sum by (x, \"y.z\") (a)");
    check("topk without(x) (5, a)", "topk without (x) (5, a)");
    check("sum by () (a)", "sum(a)");
    check(
        "0x1F + 1_000 + .5 + 1e3 + 1h30m + Inf",
        "31 + 1000 + 0.5 + 1000 + 1h30m + +Inf",
    );
    check("rate(a[5m]) * 2", "rate(a[5m]) * 2");
    check(
        "label_replace(a, \"x\", '$1', `y`, \"(.*)\")",
        "label_replace(a, \"x\", \"$1\", \"y\", \"(.*)\")",
    );
    check("\"text\"", "\"text\"");
}

#[test]
fn errors_tell_place_and_expectation() {
    check("rate(http_reqs[])", "1:16: expected duration, found \"]\"");
    check(
        "sum(\n  rate(a[5q])\n)",
        "2:10: expected a number or duration, found \"5q\"",
    );
    check("", "1:1: expected an expression, found end of query");
    check("a +", "1:4: expected an expression, found end of query");
    check(
        "a b",
        "1:3: expected an operator or end of query, found \"b\"",
    );
    check(
        "{a=\"\"}",
        "1:1: expected at least one matcher that does not match the empty string, found none",
    );
    check(
        "a{b=~\"(\"}",
        "1:6: expected a regular expression, found invalid regular expression \"(\": unclosed group",
    );
    check(
        "foo(a)",
        "1:1: expected a function, found unknown function with name \"foo\"",
    );
    check(
        "rate(a)",
        "1:6: expected type range vector in call to function \"rate\", found instant vector",
    );
    check(
        "rate(a[5m], 1)",
        "1:1: expected 1 argument(s) in call to \"rate\", found 2",
    );
    check(
        "1 == 2",
        "1:6: expected bool in a comparison between scalars, found none",
    );
    check(
        "1 and a",
        "1:7: expected no scalar beside a set operator, found one",
    );
    check(
        "a[5m] + 1",
        "1:1: expected type scalar or instant vector in a binary expression, found range vector",
    );
    check(
        "(a)[5m]",
        "1:4: expected a range only behind a vector selector, found instant vector",
    );
    check(
        "sum(a) offset 5m",
        "1:8: expected offset only behind a vector selector, range selector or subquery, found another expression before it",
    );
    for text in ["a{__name__=\"b\"}", "{__name__=~\"b\", \"a\"}"] {
        let twice = "1:1: expected the metric name only once, found \"a\" and \"b\"";
        check(text, twice);
    }
    check("a[0s]", "1:3: expected a duration greater than 0, found 0");
    check(
        "a offset 5m offset 5m",
        "1:13: expected offset only once, found it twice",
    );
    check("\"open", "1:6: expected a closing quote, found end of line");
    check(
        "a{b=\"c\"",
        "1:8: expected \",\" or \"}\", found end of query",
    );
    check(
        "sum(5)",
        "1:5: expected type instant vector in aggregation \"sum\", found scalar",
    );
    check("a ~ b", "1:3: expected an expression, found \"~\"");
}

#[test]
fn nesting_is_bounded() {
    let deep = format!("{}1{}", "(".repeat(10_000), ")".repeat(10_000));
    assert!(
        printed(&deep).contains("obs.limits.depth_max"),
        "{}",
        printed(&deep)
    );
    let long = vec!["1"; 10_000].join("+");
    assert!(printed(&long).contains("levels of expressions"));
    let minus = format!("a[{}1s]", "-".repeat(10_000));
    assert!(printed(&minus).contains("obs.limits.depth_max"));
    let durations = format!("a[{}]", vec!["1s"; 10_000].join("+"));
    assert!(printed(&durations).contains("shorter duration"));
    let text = " ".repeat(200_000);
    assert!(printed(&text).contains("query_text_bytes_max"));
}

fn check_plan(text: &str, when: When, expect: Expect) {
    let limits = Limits::default();
    let expr = parse(text, &limits).unwrap();
    let plan = plan(&expr, text, &Request::new(when), &limits);
    expect.assert_eq(&match plan {
        Ok(plan) => plan.to_string(),
        Err(error) => format!("{error}\n"),
    });
}

#[test]
fn plans_read() {
    let at = When::At(Timestamp::from_seconds(3600));
    let range = When::Range {
        start: Timestamp::from_seconds(3600),
        end: Timestamp::from_seconds(7200),
        step: 60_000_000_000,
    };
    check_plan(
        "sum by (job) (rate(a{b=\"c\"}[5m] offset 1m)) / on (job) a{b=\"c\"} > bool 1",
        range,
        expect![[r##"
            from 1970-01-01T01:00:00Z to 1970-01-01T02:00:00Z step 60s (61 steps)
              > bool
                / on (job)
                  sum by (job)
                    rate [300s] offset 60s of #0
                  last [300s] of #0
                1
            read #0 metrics {__name__="a", b="c"} from 1970-01-01T00:54:00.000000001Z to 1970-01-01T02:00:00Z
        "##]],
    );
    check_plan(
        "quantile_over_time(0.9, max(a @ end())[10m:2m])",
        at,
        expect![[r##"
            at 1970-01-01T01:00:00Z
              quantile_over_time [600s] every 120s of
                max by ()
                  last [300s] @ 1970-01-01T01:00:00Z of #0
                0.9
            read #0 metrics {__name__="a"} from 1970-01-01T00:55:00.000000001Z to 1970-01-01T01:00:00Z
        "##]],
    );
    check_plan(
        "a[step()]",
        at,
        expect![[r#"
            duration must be greater than 0, got step()
        "#]],
    );
}

/// Texts of random expressions.
fn texts() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("a".to_owned()),
        Just("job:x{b=\"1\",c!~\"x.*\"}".to_owned()),
        Just("{\"ü.b\"} offset -5m".to_owned()),
        Just("vector(1h30m)".to_owned()),
        (0u32..5000).prop_map(|n| format!("vector({n})")),
        ("[ -~]{0,8}", 1u32..100).prop_map(|(value, minutes)| {
            let value = super::strings::quote(&value);
            format!("rate(m_total{{l={value}}}[{minutes}m] @ {minutes}.5)")
        }),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let op = prop::sample::select(vec!["+", "-", "*", "^", "and", "or", "== bool", "atan2"]);
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            inner.clone().prop_map(|a| format!("({a})")),
            inner.clone().prop_map(|a| format!("-{a}")),
            inner.clone().prop_map(|a| format!("sum by (x) ({a})")),
            inner.clone().prop_map(|a| format!("topk(3, {a}) ")),
            inner
                .clone()
                .prop_map(|a| format!("max_over_time(({a})[1h:5m])")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("{a} / on (z) group_left (y) {b}")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn printing_and_parsing_are_inverse(text in texts()) {
        let limits = Limits::default();
        let expr = parse(&text, &limits).unwrap();
        let printed = expr.to_string();
        prop_assert_eq!(parse(&printed, &limits).unwrap(), expr, "{}", printed);
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "[a-z0-9(){}\\[\\]\"'`@:,+*/^ =~!<>.#\\\\\n-]{0,40}") {
        if let Err(error) = parse(&text, &Limits::default()) {
            prop_assert!(error.line >= 1 && error.column >= 1);
        }
    }

    #[test]
    fn any_unicode_is_parsed_or_refused(text in "\\PC{0,20}") {
        prop_assert!(parse(&text, &Limits::default()).is_ok_and(|e| e.height > 0)
            || parse(&text, &Limits::default()).is_err());
    }
}
