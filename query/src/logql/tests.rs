//! Tables: what parses, how it prints, where errors are; and that nothing panics.

use obs_model::limits::Limits;
use obs_model::{MatchOp, Matcher};
use proptest::prelude::*;

use super::ast::*;
use super::parse;

/// Parses and prints.
fn check(text: &str, expect: &str) {
    let limits = Limits::default();
    match parse(text, &limits) {
        Ok(expr) => {
            let printed = expr.to_string();
            assert_eq!(printed, expect, "{text}");
            assert_eq!(parse(&printed, &limits), Ok(expr), "{text}");
        }
        Err(error) => assert_eq!(error.to_string(), expect, "{text}"),
    }
}

fn same(text: &str) {
    check(text, text);
}

#[test]
fn selectors() {
    same(r#"{app="x"}"#);
    same(r#"{app="x", b!="y", c=~"z.+", d!~"w"}"#);
    check(" {  app = `a\"b` } # comment", r#"{app="a\"b"}"#);
    check("(({app=\"x\"}))", r#"{app="x"}"#);
    check(
        r#"{rate="a", sum="b", variants="c", of="d"}"#,
        r#"{rate="a", sum="b", variants="c", of="d"}"#,
    );
    check("{", "1:2: expected a label name, found end of query");
    check("{app}", "1:5: expected =, !=, =~ or !~, found \"}\"");
    check("{app=x}", "1:6: expected a quoted text, found \"x\"");
    check(r#"{app="x",}"#, "1:10: expected a label name, found \"}\"");
    check(r#"{by="x"}"#, "1:2: expected a label name, found \"by\"");
    check(
        "{app=\"x",
        "1:6: expected a closing quote on the same line, found \"\\\"\"",
    );
    check(
        r#"{app="x"} }"#,
        "1:11: expected an operator or the end of the query, found \"}\"",
    );
    check(
        "",
        "1:1: expected a metric query such as rate({app=\"x\"}[5m]), a number or (, found end of query",
    );
    check(
        "{app=\"x\"} ; ",
        "1:11: expected a token of LogQL, found \";\"",
    );
    check(
        "{a=\"x\"}\n |= 5",
        "2:5: expected a quoted text or ip(…), found \"5\"",
    );
    let all = parse(r#"{app=~"("}"#, &Limits::default()).unwrap_err();
    assert!(
        all.to_string()
            .starts_with("1:7: expected a regular expression (invalid"),
        "{all}"
    );
}

#[test]
fn selectors_that_select_everything_are_refused() {
    for text in [
        "{}",
        r#"{app=""}"#,
        r#"{app=~".*"}"#,
        r#"{app!="x"}"#,
        r#"sum(rate({app=~".*"}[5m]))"#,
    ] {
        let error = parse(text, &Limits::default()).unwrap_err().to_string();
        assert!(
            error.contains("queries require at least one regexp or equality matcher that does not have an empty-compatible value. For instance, app=~\".*\" does not meet this requirement, but app=~\".+\" will"),
            "{error}"
        );
    }
    same(r#"{app=~".+"}"#);
    same(r#"{app!=""}"#);
}

#[test]
fn line_filters() {
    same(r#"{a="b"} |= "x" != "y" |~ "z" !~ "w""#);
    same(r#"{a="b"} |= "x" or "y" or "z""#);
    same(r#"{a="b"} |> "<_> x" !> "y <_>""#);
    same(r#"{a="b"} |= ip("10.0.0.0/8") or "x""#);
    check(
        r#"{a="b"} |~ ip("1.2.3.4")"#,
        "1:12: expected a quoted text (ip() goes with |= and !=), found \"ip\"",
    );
    check(
        r#"{a="b"} |= ip("x")"#,
        "1:15: expected an address, a range (a-b) or a network (a/n), found \"x\"",
    );
    check(
        r#"{a="b"} |= "x" or"#,
        "1:18: expected a quoted text or ip(…), found end of query",
    );
    let named = parse(r#"{a="b"} |> "<x>""#, &Limits::default())
        .unwrap_err()
        .to_string();
    assert!(named.contains("no named captures"), "{named}");
}

#[test]
fn stages() {
    same(r#"{a="b"} | json"#);
    same(r#"{a="b"} | json x, y="a.b[0]""#);
    same(r#"{a="b"} | logfmt --strict --keep-empty x, y="z""#);
    same(r#"{a="b"} | regexp "(?P<x>.)" | pattern "<x> <_>" | unpack"#);
    same(r#"{a="b"} | line_format "{{.x}}" | label_format x=y, z="{{.w}}" | decolorize"#);
    same(r#"{a="b"} | drop x, y="z" | keep v, w=~"u""#);
    check("{a=\"b\"} | JSON |= \"x\"", "{a=\"b\"} | json |= \"x\"");
    check(
        r#"{a="b"} | json x="a..b""#,
        "1:16: expected paths such as a.b[0] or a[\"b c\"], found \"x\"",
    );
    check(
        r#"{a="b"} | regexp "x""#,
        "1:18: expected at least one named group such as (?P<name>…), found \"x\"",
    );
    check(
        r#"{a="b"} | pattern "<a><b>""#,
        "1:19: expected text between captures (found two captures without text between them), found \"<a><b>\"",
    );
    check(
        r#"{a="b"} | label_format x=y, x=z"#,
        "1:29: expected each label at most once in label_format, found \"x\"",
    );
    check(
        r#"{a="b"} | unwrap x"#,
        "1:11: expected a stage of a log query (unwrap stands inside a range aggregation), found \"unwrap\"",
    );
    check(
        r#"{a="b"} | "#,
        "1:11: expected a pipeline stage or a label filter, found end of query",
    );
}

#[test]
fn label_filters() {
    same(r#"{a="b"} | x="y""#);
    same(r#"{a="b"} | x == 5"#);
    check(
        r#"{a="b"} | x=5 | y > -2.5"#,
        r#"{a="b"} | x == 5 | y > -2.5"#,
    );
    check(
        r#"{a="b"} | d >= 1h30m | e < 1500us | f == 14d"#,
        r#"{a="b"} | d >= 1h30m | e < 1ms500us | f == 2w"#,
    );
    check(r#"{a="b"} | size > 1.5KiB"#, r#"{a="b"} | size > 1536B"#);
    same(r#"{a="b"} | addr=ip("10.0.0.0/8") | addr!=ip("::1")"#);
    check(
        r#"{a="b"} | x="1" y="2", z="3" or w="4""#,
        r#"{a="b"} | (x="1" and y="2" and z="3") or w="4""#,
    );
    same(r#"{a="b"} | x="1" and (y="2" or z="3")"#);
    same(r#"{a="b"} | logfmt | rate="a""#);
    check(
        r#"{a="b"} | x == "y""#,
        "1:16: expected a number, a duration or a size, found \"y\"",
    );
    check(
        r#"{a="b"} | x"#,
        "1:12: expected =, !=, =~, !~, ==, >, >=, < or <=, found end of query",
    );
    check(
        r#"{a="b"} | x > 5mb"#,
        "1:15: expected a number, a duration such as 5m or a size such as 10KB, found \"5\"",
    );
    check(
        r#"{a="b"} | x > 0x1A"#,
        "1:15: expected a number, a duration such as 5m or a size such as 10KB, found \"0\"",
    );
}

#[test]
fn range_aggregations() {
    same(r#"rate({a="b"} [5m])"#);
    check(
        r#"count_over_time({a="b"}[1d] |= "x")"#,
        r#"count_over_time({a="b"} |= "x" [1d])"#,
    );
    check(
        r#"count_over_time(({a="b"} |= "x")[5m] offset -1h)"#,
        r#"count_over_time({a="b"} |= "x" [5m] offset -1h)"#,
    );
    check(
        r#"rate(({a="b"}[5m] offset 1h))"#,
        r#"rate({a="b"} [5m] offset 1h)"#,
    );
    check(
        r#"sum_over_time({a="b"}[5m] | json | unwrap x)"#,
        r#"sum_over_time({a="b"} | json | unwrap x [5m])"#,
    );
    check(
        r#"quantile_over_time(0.99, {a="b"} | logfmt | unwrap duration_seconds(x) | __error__="" [5m]) by (c, d)"#,
        r#"quantile_over_time(0.99, {a="b"} | logfmt | unwrap duration(x) | __error__="" [5m]) by (c, d)"#,
    );
    same(r#"max_over_time({a="b"} | unwrap bytes(x) [5m]) without (c)"#);
    same(r#"rate({a="b"} | unwrap x [5m])"#);
    same(r#"absent_over_time({a="b"} [5m])"#);
    check(
        r#"sum_over_time({a="b"}[5m])"#,
        "1:1: expected | unwrap inside sum_over_time, found \"sum_over_time\"",
    );
    check(
        r#"count_over_time({a="b"} | unwrap x [5m])"#,
        "1:1: expected an aggregation for unwrapped values, not count_over_time, found \"count_over_time\"",
    );
    check(
        r#"rate({a="b"}[5m]) by (c)"#,
        "1:19: expected no grouping for rate, found \"by\"",
    );
    check(
        r#"rate(0.5, {a="b"}[5m])"#,
        "1:6: expected no parameter for rate, found \"0.5\"",
    );
    check(
        r#"quantile_over_time({a="b"} | unwrap x [5m])"#,
        "1:20: expected the quantile as first parameter, found \"{\"",
    );
    check(
        r#"rate({a="b"})"#,
        "1:13: expected a range such as [5m], found \")\"",
    );
    check(
        r#"rate({a="b"}[5])"#,
        "1:14: expected a duration such as 5m, found \"5\"",
    );
    check(
        r#"rate({a="b"}[0s])"#,
        "1:14: expected a duration such as 5m, found \"0s\"",
    );
}

#[test]
fn metric_expressions() {
    same("vector(1) + vector(1)");
    same("1");
    check("-2 ^ 2", "-2 ^ 2");
    check("1 + 2 * 3 ^ 4 ^ 5 - 6", "(1 + (2 * (3 ^ (4 ^ 5)))) - 6");
    check(
        r#"sum(rate({a="b"}[5m])) by (c) > bool 5"#,
        r#"sum by (c) (rate({a="b"} [5m])) > bool 5"#,
    );
    check(
        r#"topk(3, rate({a="b"}[5m])) without (c)"#,
        r#"topk without (c) (3, rate({a="b"} [5m]))"#,
    );
    same(r#"sort_desc(rate({a="b"} [5m]))"#);
    same(r#"rate({a="b"} [5m]) / on (c) group_left (d) rate({a="b"} [1h])"#);
    check(
        r#"rate({a="b"} [5m]) / ignoring (c) group_right () rate({a="b"} [1h])"#,
        r#"rate({a="b"} [5m]) / ignoring (c) group_right () rate({a="b"} [1h])"#,
    );
    check(
        r#"vector(1) / on (c) group_left (vector(2))"#,
        r#"vector(1) / on (c) group_left () vector(2)"#,
    );
    same(r#"label_replace(rate({a="b"} [5m]), "x", "$1", "y", "(.*)")"#);
    same(r#"rate({a="b"} [5m]) unless rate({c="d"} [5m])"#);
    check(
        "topk(1.2, vector(1))",
        "1:6: expected a whole number from 1, found \"1.2\"",
    );
    check(
        "topk(0, vector(1))",
        "1:6: expected a whole number from 1, found \"0\"",
    );
    check(
        "topk(vector(1))",
        "1:6: expected a whole number from 1 and a comma, found \"vector\"",
    );
    check(
        "sum(2, vector(1))",
        "1:5: expected no parameter for sum, found \"2\"",
    );
    check(
        "sum(1)",
        "1:5: expected series to aggregate, not a number, found \"1\"",
    );
    check(
        "sort(vector(1)) by (a)",
        "1:1: expected no grouping with sort, found \"sort\"",
    );
    check(
        "1 and vector(1)",
        "1:3: expected series on both sides of and, not a number, found \"and\"",
    );
    check(
        "vector(1) + bool vector(1)",
        "1:13: expected bool only after a comparison, found \"bool\"",
    );
    check("-vector(1)", "1:2: expected a number, found \"vector\"");
    check(
        "quantile(1, vector(1))",
        "1:1: expected a metric query such as rate({app=\"x\"}[5m]), a number or (, found \"quantile\"",
    );
}

#[test]
fn bounds() {
    let limits = Limits::default();
    let deep = format!("{}1{}", "(".repeat(1000), ")".repeat(1000));
    let error = parse(&deep, &limits).unwrap_err().to_string();
    assert!(error.contains("64 levels of nesting"), "{error}");
    let filters = format!("{{a=\"b\"}} | {}x=1{}", "(".repeat(1000), ")".repeat(1000));
    assert!(
        parse(&filters, &limits)
            .unwrap_err()
            .to_string()
            .contains("nesting")
    );
    let ranges = format!("rate({}{{a=\"b\"}}[5m]{})", "(".repeat(20), ")".repeat(20));
    assert!(parse(&ranges, &limits).is_ok());
    let long = vec!["1"; 1000].join("+");
    assert!(
        parse(&long, &limits)
            .unwrap_err()
            .to_string()
            .contains("256 operators")
    );
    // Chains inside parentheses: the tree is as deep as all of them together.
    let mut nested = "1".to_owned();
    for _ in 0..30 {
        nested = format!("({nested}{})", "+1".repeat(100));
    }
    assert!(
        parse(&nested, &limits)
            .unwrap_err()
            .to_string()
            .contains("256 operators")
    );
    let wide = vec!["sum(vector(1)) * 2 > 3"; 200].join(" or ");
    assert!(parse(&wide, &limits).is_ok());
    let large = format!("{{a=\"{}\"}}", "x".repeat(200_000));
    assert!(
        parse(&large, &limits)
            .unwrap_err()
            .to_string()
            .contains("query_text_bytes_max")
    );
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("app"),
        Just("rate"),
        Just("x_1"),
        Just("duration"),
        Just("__error__")
    ]
    .prop_map(str::to_owned)
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let op = prop_oneof![
        Just(MatchOp::Equal),
        Just(MatchOp::NotEqual),
        Just(MatchOp::Regex),
        Just(MatchOp::NotRegex)
    ];
    (name(), op, "[a-z\"\\n ]{1,4}")
        .prop_map(|(name, op, value)| Matcher::new(name, op, value).unwrap())
}

fn comparison() -> impl Strategy<Value = Comparison> {
    prop_oneof![
        Just(Comparison::Equal),
        Just(Comparison::NotEqual),
        Just(Comparison::Greater),
        Just(Comparison::LessEqual)
    ]
}

fn label_filter() -> impl Strategy<Value = LabelFilter> {
    let leaf =
        prop_oneof![
            matcher().prop_map(LabelFilter::Matcher),
            (name(), comparison(), -1e6..1e6f64)
                .prop_map(|(name, op, value)| LabelFilter::Number { name, op, value }),
            (name(), comparison(), any::<i32>()).prop_map(|(name, op, n)| LabelFilter::Duration {
                name,
                op,
                nanos: i64::from(n) * 1000
            }),
            (name(), comparison(), 0u64..1 << 40)
                .prop_map(|(name, op, bytes)| LabelFilter::Bytes { name, op, bytes }),
        ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 2..4).prop_map(LabelFilter::And),
            proptest::collection::vec(inner, 2..4).prop_map(LabelFilter::Or),
        ]
    })
}

fn stage() -> impl Strategy<Value = Stage> {
    let text = ".{0,6}";
    let choice = prop_oneof![
        name().prop_map(LabelChoice::Name),
        matcher().prop_map(LabelChoice::Matcher)
    ];
    let choices = proptest::collection::vec(choice, 1..3);
    let fields = || {
        proptest::collection::vec(
            (name(), "[a-z]{1,3}").prop_map(|(label, path)| Extraction { label, path }),
            0..3,
        )
    };
    prop_oneof![
        proptest::collection::vec(text, 1..3).prop_map(|texts| Stage::Line(LineFilter {
            op: LineOp::Contains,
            alternatives: texts.into_iter().map(LineMatch::Text).collect(),
        })),
        fields().prop_map(Stage::Json),
        (any::<bool>(), any::<bool>(), fields()).prop_map(|(strict, keep_empty, fields)| {
            Stage::Logfmt {
                strict,
                keep_empty,
                fields,
            }
        }),
        label_filter().prop_map(Stage::Filter),
        text.prop_map(Stage::LineFormat),
        choices.clone().prop_map(Stage::Drop),
        choices.prop_map(Stage::Keep),
        Just(Stage::Decolorize),
        Just(Stage::Unpack),
    ]
}

fn logs() -> impl Strategy<Value = LogExpr> {
    (
        proptest::collection::vec(matcher(), 0..2),
        proptest::collection::vec(stage(), 0..4),
    )
        .prop_map(|(mut matchers, stages)| {
            matchers.push(Matcher::equal("job", "x"));
            LogExpr { matchers, stages }
        })
}

fn metric() -> impl Strategy<Value = MetricExpr> {
    let range = (logs(), 1i64..1 << 50, any::<i32>(), any::<bool>()).prop_map(
        |(logs, range, offset, unwrapped)| MetricExpr::Range {
            op: if unwrapped {
                RangeOp::Quantile
            } else {
                RangeOp::Rate
            },
            parameter: unwrapped.then_some(0.5),
            logs: LogRange {
                logs,
                unwrap: unwrapped.then(|| Unwrap {
                    label: "x".into(),
                    conversion: Conversion::Bytes,
                    filters: Vec::new(),
                }),
                range,
                offset: i64::from(offset),
            },
            grouping: unwrapped.then(|| Grouping {
                without: true,
                labels: vec!["a".into()],
            }),
        },
    );
    let leaf = prop_oneof![range, (-1e9..1e9f64).prop_map(MetricExpr::Literal)];
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            (inner.clone(), any::<bool>()).prop_map(|(expr, k)| MetricExpr::Vector {
                op: if k { VectorOp::Topk } else { VectorOp::Sum },
                parameter: k.then_some(7),
                expr: Box::new(expr),
                grouping: Some(Grouping {
                    without: k,
                    labels: vec!["a".into(), "b".into()]
                }),
            }),
            (inner.clone(), inner, comparison(), any::<bool>()).prop_map(
                |(left, right, op, grouped)| MetricExpr::Binary {
                    op: BinaryOp::Compare(op),
                    left: Box::new(left),
                    right: Box::new(right),
                    matching: Matching {
                        return_bool: grouped,
                        labels: grouped.then(|| (false, vec!["a".into()])),
                        group: grouped.then(|| (Side::Left, vec!["b".into()])),
                    },
                }
            ),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn prints_and_parses_logs(logs in logs()) {
        let expr = Expr::Logs(logs);
        prop_assert_eq!(parse(&expr.to_string(), &Limits::default()), Ok(expr));
    }

    #[test]
    fn prints_and_parses_metrics(metric in metric()) {
        let expr = Expr::Metric(metric);
        prop_assert_eq!(parse(&expr.to_string(), &Limits::default()), Ok(expr));
    }

    #[test]
    fn arbitrary_text_never_panics(
        text in ".{0,60}",
        near in "(\\{a=\"b\"\\}|rate|sum|by|json|unwrap|or|and|[|=!~<>(){}\\[\\]\",`.0-9a-z -]){0,30}",
    ) {
        for text in [text, near] {
            if let Ok(expr) = parse(&text, &Limits::default()) {
                prop_assert_eq!(parse(&expr.to_string(), &Limits::default()), Ok(expr));
            }
        }
    }
}
