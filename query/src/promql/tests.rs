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
    check("{__name__=\"up\"}", "{__name__=\"up\"}");
    check(
        "{\"a.b\", \"c.d\"=~\"x|y\"}",
        "{\"c.d\"=~\"x|y\",__name__=\"a.b\"}",
    );
    check("+a", "+a");
    check("up offset 0s", "up");
    check("up[((5m))] offset (-1m)", "up[(5m)] offset (-1m)");
    check("up offset -STEP()", "up offset -step()");
    check("up smoothed @ end()", "up @ end() smoothed");
    check("sum", "sum");
    check("and offset 5m", "and offset 5m");
    check("up[5m] offset -1h30m", "up[5m] offset -1h30m");
    check("up offset 1w @ 1.5", "up @ 1.500 offset 1w");
    check("up @ start() offset 5m", "up @ start() offset 5m");
    check("up[300]", "up[5m]");
    check("up[1.5:0.5]", "up[1s500ms:500ms]");
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

/// Texts and what Prometheus says about them.
const ERRORS: &[(&str, &str)] = &[
    (
        "",
        "unknown position: parse error: no expression found in input",
    ),
    (" ", "1:1: parse error: no expression found in input"),
    (
        "rate(http_reqs[])",
        "1:16: parse error: unexpected \"]\" in subquery or range selector, expected number, duration, step(), or range()",
    ),
    (
        "sum(\n  rate(a[5q])\n)",
        "2:10: parse error: bad number or duration syntax: \"5\"",
    ),
    ("a +", "1:4: parse error: unexpected end of input"),
    ("a b", "1:3: parse error: unexpected identifier \"b\""),
    ("a sum b", "1:3: parse error: unexpected <aggr:sum>"),
    ("a by b", "1:3: parse error: unexpected <by>"),
    ("a * / b", "1:5: parse error: unexpected <op:/>"),
    (
        "sum(a b)",
        "1:7: parse error: unexpected identifier \"b\" in aggregation",
    ),
    ("rate(a b)", "1:8: parse error: unexpected identifier \"b\""),
    (
        "sum by (x y) (a)",
        "1:11: parse error: unexpected identifier \"y\" in grouping opts, expected \",\" or \")\"",
    ),
    (
        "sum by x (a)",
        "1:8: parse error: unexpected identifier \"x\" in grouping opts, expected \"(\"",
    ),
    (
        "sum by (1) (a)",
        "1:9: parse error: unexpected number \"1\" in grouping opts, expected label",
    ),
    (
        "{a=\"\"}",
        "1:1: parse error: vector selector must contain at least one non-empty matcher",
    ),
    (
        "a{__name__=\"b\"}",
        "1:1: parse error: metric name must not be set twice: \"a\" or \"b\"",
    ),
    (
        "a{b=~\"(\"}",
        "1:3: parse error: error parsing regexp: missing closing ): `(`",
    ),
    (
        "foo(a)",
        "1:1: parse error: unknown function with name \"foo\"",
    ),
    (
        "rate(a)",
        "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector",
    ),
    (
        "rate(a[5m], 1)",
        "1:1: parse error: expected 1 argument(s) in call to \"rate\", got 2",
    ),
    (
        "label_join(a, \"b\")",
        "1:1: parse error: expected at least 3 argument(s) in call to \"label_join\", got 2",
    ),
    (
        "rate(a[5m],)",
        "1:11: parse error: trailing commas not allowed in function call args",
    ),
    (
        "1 == 2",
        "1:3: parse error: comparisons between scalars must use BOOL modifier",
    ),
    (
        "1 and a",
        "1:1: parse error: set operator \"and\" not allowed in binary scalar expression",
    ),
    (
        "a and on(b) group_left a",
        "1:1: parse error: no grouping allowed for \"and\" operation",
    ),
    (
        "a + bool b",
        "1:3: parse error: bool modifier can only be used on comparison operators",
    ),
    (
        "a + on(x) 1",
        "1:1: parse error: vector matching only allowed between instant vectors",
    ),
    (
        "a + on(x) group_left(x) b",
        "1:3: parse error: label \"x\" must not occur in ON and GROUP clause at once",
    ),
    (
        "a[5m] + 1",
        "1:1: parse error: binary expression must contain only scalar and instant vector types",
    ),
    (
        "-a[5m]",
        "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got \"range vector\"",
    ),
    (
        "(a)[5m]",
        "1:4: parse error: ranges only allowed for vector selectors",
    ),
    (
        "1[5m:]",
        "1:1: parse error: subquery is only allowed on instant vector, got scalar instead",
    ),
    (
        "a offset 5m [5m]",
        "1:13: parse error: no offset modifiers allowed before range",
    ),
    ("a[5m:1m", "1:8: parse error: unclosed left bracket"),
    (
        "sum(a) offset 5m",
        "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
    ),
    (
        "a offset b",
        "1:10: parse error: unexpected identifier \"b\" in offset, expected number, duration, step(), or range()",
    ),
    (
        "a @ b",
        "1:5: parse error: unexpected identifier \"b\" in @, expected timestamp",
    ),
    (
        "a @ Inf",
        "1:1: parse error: timestamp out of bounds for @ modifier: +Inf",
    ),
    ("a[0s]", "1:3: parse error: duration must be greater than 0"),
    ("a[5m / 0]", "1:6: parse error: division by zero"),
    (
        "a offset 5m offset 5m",
        "1:1: parse error: offset may not be set multiple times",
    ),
    ("\"open", "1:1: parse error: unterminated quoted string"),
    (
        "a{b=\"c\"",
        "1:8: parse error: unexpected end of input inside braces",
    ),
    (
        "a{b=\"c\" d=\"e\"}",
        "1:9: parse error: unexpected identifier \"d\" in label matching, expected \",\" or \"}\"",
    ),
    (
        "a{b}",
        "1:4: parse error: unexpected \"}\" in label matching, expected label matching operator",
    ),
    (
        "a{b=c}",
        "1:5: parse error: unexpected identifier \"c\" in label matching, expected string",
    ),
    (
        "a{,}",
        "1:3: parse error: unexpected \",\" in label matching, expected identifier or \"}\"",
    ),
    (
        "sum(5)",
        "1:5: parse error: expected type instant vector in aggregation expression, got scalar",
    ),
    (
        "topk(a, a)",
        "1:6: parse error: expected type scalar in aggregation parameter, got instant vector",
    ),
    (
        "topk(a)",
        "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1",
    ),
    (
        "sum()",
        "1:1: parse error: no arguments for aggregate expression provided",
    ),
    ("a ~ b", "1:3: parse error: unexpected character: '~'"),
    (
        "a ! b",
        "1:3: parse error: unexpected character after '!': ' '",
    ),
    ("(a", "1:3: parse error: unclosed left parenthesis"),
    ("a)", "1:3: parse error: unexpected right parenthesis ')'"),
    ("a}", "1:2: parse error: unexpected character: '}'"),
    ("a]", "1:2: parse error: unexpected right bracket ']'"),
    (
        "1h5h",
        "1:1: parse error: not a valid duration string: \"1h5h\"",
    ),
    ("ü", "1:1: parse error: unexpected character: 'ü'"),
    (
        "info(a, b)",
        "1:9: parse error: expected label selectors only, got vector selector instead",
    ),
];

#[test]
fn errors_are_in_the_words_of_prometheus() {
    for (text, expect) in ERRORS {
        assert_eq!(printed(text), *expect, "{text}");
    }
}

#[test]
fn features_can_be_off() {
    let check = |text: &str, expect: &str| {
        let parsed = super::parse_with(text, super::Features::PROMETHEUS, &Limits::default());
        assert_eq!(parsed.unwrap_err().to_string(), expect);
        assert!(parse(text, &Limits::default()).is_ok(), "{text}");
    };
    check(
        "info(a)",
        "1:1: parse error: function \"info\" is not enabled",
    );
    check(
        "limitk(1, a)",
        "1:1: parse error: limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
    );
    check(
        "rate(a[5m] anchored)",
        "1:6: parse error: anchored modifier is experimental and not enabled",
    );
    check(
        "a + fill(0) b",
        "1:1: parse error: binop fill modifiers are experimental and not enabled",
    );
    let mut features = super::Features::PROMETHEUS;
    assert!(features.enable("promql-experimental-functions"));
    assert!(!features.enable("exemplar-storage"));
    assert!(super::parse_with("info(a)", features, &Limits::default()).is_ok());
}

#[test]
fn long_expressions_are_laid_out() {
    let check = |text: &str, expect: &str| {
        let expr = parse(text, &Limits::default()).unwrap();
        let pretty = super::pretty(&expr);
        assert_eq!(pretty, expect);
        assert_eq!(parse(&pretty, &Limits::default()).unwrap(), expr);
    };
    check("sum(a)by(b)", "sum by (b) (a)");
    let long = "x".repeat(90);
    check(
        &format!("sum(rate({long}[5m]))by(b)/count({long}) > bool -rate({long}[1m:])"),
        &format!(
            "    sum by (b) (
      rate({long}[5m])
    )
  /
    count({long})
> bool
  -rate(
{long}[1m:]
  )"
        ),
    );
    check(
        &format!("topk(5, (a{{b=\"{long}\"}} + c) * d)"),
        &format!(
            "topk(
  5,
    (
        a{{b=\"{long}\"}}
      +
        c
    )
  *
    d
)"
        ),
    );
}

#[test]
fn trees_are_json() {
    let check = |text: &str, expect: &str| {
        let expr = parse(text, &Limits::default()).unwrap();
        assert_eq!(super::tree(&expr), expect);
    };
    check("1.5", r#"{"type":"numberLiteral","val":"1.5"}"#);
    check(
        "-a{b!=\"\\n\"} @ start() offset -5m",
        r#"{"expr":{"anchored":false,"matchers":[{"name":"b","type":"!=","value":"\n"},{"name":"__name__","type":"=","value":"a"}],"name":"a","offset":-300000,"offsetExpr":null,"smoothed":false,"startOrEnd":"start","timestamp":null,"type":"vectorSelector"},"op":"-","type":"unaryExpr"}"#,
    );
    check(
        "rate((a + on (x) fill_left (2) b)[(5m):])",
        r#"{"args":[{"expr":{"expr":{"bool":false,"lhs":{"anchored":false,"matchers":[{"name":"__name__","type":"=","value":"a"}],"name":"a","offset":0,"offsetExpr":null,"smoothed":false,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"},"matching":{"card":"one-to-one","fillValues":{"lhs":2,"rhs":null},"include":[],"labels":["x"],"on":true},"op":"+","rhs":{"anchored":false,"matchers":[{"name":"__name__","type":"=","value":"b"}],"name":"b","offset":0,"offsetExpr":null,"smoothed":false,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"},"type":"binaryExpr"},"type":"parenExpr"},"offset":0,"offsetExpr":null,"range":0,"rangeExpr":{"lhs":null,"op":"+","rhs":{"duration":true,"type":"numberLiteral","val":"300"},"type":"durationExpr","wrapped":true},"startOrEnd":null,"step":0,"stepExpr":null,"timestamp":null,"type":"subquery"}],"func":{"argTypes":["matrix"],"name":"rate","returnType":"vector","variadic":0},"type":"call"}"#,
    );
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
    assert!(
        printed(&durations).contains("shorter duration"),
        "{durations}"
    );
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
            2:8: duration must be greater than 0
        "#]],
    );
}

/// Texts of random durations.
fn durations() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        (1u32..100).prop_map(|n| format!("{n}m")),
        (1u32..100_000).prop_map(|n| format!("{n}")),
        (1u32..1000).prop_map(|n| format!("{}.5", n)),
        Just("1w2d3h4m5s6ms".to_owned()),
        Just("step()".to_owned()),
        Just("RANGE()".to_owned()),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        let op = prop::sample::select(vec!["+", "-", "*", "/", "%", "^"]);
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            inner.clone().prop_map(|a| format!("({a})")),
            inner.clone().prop_map(|a| format!("-{a}")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("min_of({a}, {b})")),
        ]
    })
}

/// Texts of random selectors with modifiers, without and with a range.
fn selectors_of(range: bool) -> impl Strategy<Value = String> {
    let head = prop_oneof![
        Just("a".to_owned()),
        Just("offset".to_owned()),
        Just("job:x{b=\"1\",c!~\"x.*\"}".to_owned()),
        Just("{\"ü.b\", 'x y'!=`z`}".to_owned()),
        "[ -~]{0,8}".prop_map(|value| format!("m{{l={}}}", super::strings::quote(&value))),
    ];
    let at = prop::sample::select(vec!["", " @ 1.5", " @ -3", " @ start()", " @ end()"]);
    let borders = prop::sample::select(vec!["", " smoothed"]);
    let offset = prop_oneof![
        Just(String::new()),
        Just(" offset -5m".to_owned()),
        Just(" offset 0".to_owned()),
        durations().prop_map(|d| format!(" offset ({d})")),
        durations().prop_map(|d| format!(" offset -({d})")),
    ];
    (head, durations(), at, borders, offset).prop_map(
        move |(head, duration, at, borders, offset)| {
            let range = match range {
                true => format!("[{duration} + 1]"),
                false => String::new(),
            };
            format!("{head}{range}{offset}{at}{borders}")
        },
    )
}

/// Texts of random expressions.
fn texts() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        selectors_of(false),
        selectors_of(true).prop_map(|range| format!("rate({range})")),
        (0u32..5000).prop_map(|n| format!("vector({n})")),
        Just("vector(1h30m + Inf)".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let op = prop::sample::select(vec![
            "+",
            "-",
            "*",
            "^",
            "and",
            "or",
            "== bool",
            "atan2",
            ">/",
            "unless on (a, \"b.c\")",
            "+ ignoring () fill (0)",
            "/ on (z) group_left (y)",
            "> on () group_right fill_left (-Inf) fill_right (NaN)",
        ]);
        prop_oneof![
            3 => (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            1 => inner.clone().prop_map(|a| format!("({a})")),
            1 => inner.clone().prop_map(|a| format!("-{a}")),
            1 => inner.clone().prop_map(|a| format!("+{a}")),
            1 => inner.clone().prop_map(|a| format!("sum by (x, \"y z\") ({a})")),
            1 => inner.clone().prop_map(|a| format!("topk(3, {a}) without ()")),
            1 => inner.clone().prop_map(|a| format!("label_replace({a}, \"a\", '$1', `b`, \"(.*)\")")),
            1 => (inner, durations()).prop_map(|(a, d)| format!("max_over_time(({a})[1h:{d} + 1] @ 5)")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn printing_and_parsing_are_inverse(text in texts()) {
        let limits = Limits::default();
        let parsed = parse(&text, &limits);
        prop_assert!(parsed.is_ok(), "{text}: {parsed:?}");
        let expr = parsed.unwrap();
        let same = |other: &super::ast::Expr| format!("{other:?}") == format!("{expr:?}") || *other == expr;
        for printed in [expr.to_string(), super::pretty(&expr)] {
            let again = parse(&printed, &limits);
            prop_assert!(again.is_ok(), "{printed}: {again:?}");
            let again = again.unwrap();
            // NaN is not equal to itself, so that printing decides then.
            prop_assert!(same(&again) || text.contains("NaN") && again.to_string() == expr.to_string(), "{text} as {printed}");
        }
        prop_assert!(serde_json::from_str::<serde_json::Value>(&super::tree(&expr)).is_ok());
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "[a-z0-9(){}\\[\\]\"'`@:,+*/^ =~!<>.#\\\\\n-]{0,40}") {
        if let Err(error) = parse(&text, &Limits::default()) {
            prop_assert!(error.place.is_some() || text.is_empty());
        }
    }

    #[test]
    fn any_unicode_is_parsed_or_refused(text in "\\PC{0,20}") {
        prop_assert!(parse(&text, &Limits::default()).is_ok_and(|e| e.height > 0)
            || parse(&text, &Limits::default()).is_err());
    }
}
