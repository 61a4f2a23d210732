//! Tables: what parses, how it prints, where errors are; and that nothing panics.

use obs_model::Pattern;
use obs_model::limits::Limits;
use obs_model::spans::{SpanKind, StatusCode};
use proptest::prelude::*;

use super::ast::*;
use super::metric::{Metric, MetricExpr, MetricPipeline, OverTime, Stage};
use super::{parse, parse_attribute, parse_lenient};

fn check(text: &str, expect: &str) {
    let limits = Limits::default();
    match parse(text, &limits) {
        Ok(query) => {
            let printed = query.to_string();
            assert_eq!(printed, expect, "{text}");
            assert_eq!(parse(&printed, &limits), Ok(query), "{text}");
        }
        Err(error) => assert_eq!(error.to_string(), expect, "{text}"),
    }
}

fn same(text: &str) {
    check(text, text);
}

#[test]
fn fields() {
    check("{}", "{ }");
    same(r#"{ .http.status = 500 }"#);
    same(r#"{ span.a-b/c = "x" }"#);
    check(r#"{ span."a b".c = `x` }"#, r#"{ span."a b.c" = "x" }"#);
    check(
        r#"{.a="x"&&resource.b!=5}"#,
        r#"{ (.a = "x") && (resource.b != 5) }"#,
    );
    check(
        "{ .a = 1 || .b = 2 && .c = 3 }",
        "{ ((.a = 1) || (.b = 2)) && (.c = 3) }",
    );
    check(
        "{ 1 + .a * 2 ^ 3 ^ 2 > 5 }",
        "{ (1 + (.a * (2 ^ (3 ^ 2)))) > 5 }",
    );
    same("{ duration > 1h30m }");
    check("{ duration > 1.5s }", "{ duration > 1s500ms }");
    check("{ .x = 1.0 }", "{ .x = 1.0 }");
    check("{ .x = -5 }", "{ .x = -5 }");
    check(
        "{ .x = minInt || .x = maxInt }",
        "{ (.x = minInt) || (.x = 9223372036854775807) }",
    );
    check("{ !.a && -.b = 3 }", "{ (!.a) && ((-.b) = 3) }");
    same("{ status = error }");
    same("{ kind != server }");
    same(r#"{ name =~ "a.*" }"#);
    same(r#"{ name !~ "a.*" }"#);
    same("{ span.x != nil }");
    check("{ nil = span.x }", "{ span.x = nil }");
    same("{ parent = nil }");
    same("{ parent.span.x = true }");
    same("{ event.x = 1 }");
    check("{ span:duration > 5ms }", "{ duration > 5ms }");
    same("{ trace:id = \"x\" }");
    same("{ event:name = \"x\" }");
    same("{ .a }");
}

/// Where a text is no query: what is unexpected there.
fn unexpected(text: &str, line: u32, column: u32, found: &str) {
    let error = parse(text, &Limits::default()).unwrap_err().to_string();
    let expect = format!(
        "parse error at line {line}, col {column}: syntax error: unexpected {found}, expecting "
    );
    assert!(error.starts_with(&expect), "{text}: {error}");
}

#[test]
fn syntax_errors() {
    unexpected("", 1, 1, "$end");
    unexpected("{", 1, 2, "$end");
    unexpected("{ .a = }", 1, 8, "}");
    unexpected("{ .a = 1", 1, 9, "$end");
    unexpected("{ .a = 1 } }", 1, 12, "}");
    unexpected("{\n .a = 1 }\n  5", 3, 3, "INTEGER 5");
    unexpected("{ unknown = 1 }", 1, 3, "IDENTIFIER unknown");
    unexpected("{ .a = 5x }", 1, 8, "INTEGER 5");
    unexpected("{ . = 1 }", 1, 4, "white space");
    unexpected("{ span.\"a = 1 }", 1, 8, "\"");
    unexpected("{ .a =~ 5 }", 1, 9, "INTEGER 5");
    unexpected("{ .a > nil }", 1, 6, ">");
    unexpected("{ nil }", 1, 3, "nil");
    unexpected("{ -nil }", 1, 3, "-");
    unexpected("{ childCount > 1 }", 1, 3, "childCount");
    unexpected("{ } && ", 1, 8, "$end");
    unexpected("{ } | count()", 1, 14, "$end");
    unexpected("{ } | count(1) > 1", 1, 13, "INTEGER 1");
    unexpected("{ } | 5 > 3", 1, 7, "5 > 3");
    unexpected("5 > 3", 1, 1, "5 > 3");
    unexpected("coalesce()", 1, 1, "coalesce");
    unexpected("{ } | select()", 1, 14, ")");
    unexpected("{ } with(a)", 1, 11, ")");
    unexpected("rate()", 1, 1, "rate");
    unexpected("{ } | rate() | count() > 1", 1, 16, "count");
    unexpected("{ } | rate() by ()", 1, 18, ")");
    unexpected("{ } | rate() by (1)", 1, 18, "INTEGER 1");
    unexpected("{ } | quantile_over_time(duration)", 1, 34, ")");
    unexpected(
        "{ } | quantile_over_time(0.5, duration)",
        1,
        26,
        "FLOAT 0.5",
    );
    unexpected("{ } | compare({ status = error }, 5, 6)", 1, 39, ")");
    unexpected("{ } | rate() | topk(x)", 1, 21, "IDENTIFIER x");
    unexpected("{ } | rate() + 1", 1, 14, "+");
    unexpected("({ } | rate()) % 2", 1, 16, "%");
    unexpected("({ } | rate()) + (1 + 2", 1, 24, "$end");
    unexpected("(1 + 2) + ({ } | rate()", 1, 24, "$end");
}

/// What is wrong though it is of the grammar.
fn invalid(text: &str, expect: &str) {
    let error = parse(text, &Limits::default()).unwrap_err().to_string();
    assert_eq!(error, expect, "{text}");
}

#[test]
fn validations() {
    invalid(
        "{ 5 }",
        "span filter field expressions must resolve to a boolean: { 5 }",
    );
    invalid(
        "{ .a + 1 }",
        "span filter field expressions must resolve to a boolean: { .a + 1 }",
    );
    invalid(
        r#"{ duration = "x" }"#,
        r#"binary operations must operate on the same type: duration = "x""#,
    );
    invalid(
        "{ status = server }",
        "binary operations must operate on the same type: status = server",
    );
    invalid(
        "{ status > error }",
        "illegal operation for the given types: status > error",
    );
    invalid(
        "{ name + 1 = 2 }",
        "binary operations must operate on the same type: name + 1",
    );
    invalid(
        "{ name && .a }",
        "illegal operation for the given types: name && .a",
    );
    invalid(
        "{ true > false }",
        "illegal operation for the given types: true > false",
    );
    invalid(
        "{ duration =~ \"x\" }",
        "binary operations must operate on the same type: duration =~ \"x\"",
    );
    invalid("{ !5 = 1 }", "illegal operation for the given type: !(5)");
    invalid(
        "{ -name = 1 }",
        "illegal operation for the given type: -name",
    );
    invalid(
        "{ parent = 5 }",
        "binary operations must operate on the same type: parent = 5",
    );
    invalid(
        "{ duration = nil }",
        "duration=nil is not valid because intrinsics cannot be nil",
    );
    invalid(
        "{ nil = resource.service.name }",
        "resource.service.name=nil is not valid because resource.service.name cannot be nil",
    );
}

#[test]
fn validations_of_pipelines() {
    invalid(
        "{ } | avg(name) > 1",
        "aggregate field expressions must resolve to a number type: avg(name)",
    );
    invalid(
        "{ } | avg(1) > 1",
        "aggregate field expressions must reference the span: avg(1)",
    );
    invalid(
        "{ } | by(1)",
        "grouping field expressions must reference the span: by(1)",
    );
    invalid(
        "{ } | quantile_over_time(duration, 1.5)",
        "quantile must be between 0 and 1: 1.5",
    );
    invalid("{ } | rate() | topk(0)", "limit must be greater than 0");
    invalid(
        "{ } | compare({ }, 0)",
        "compare() top number of values must be an integer between 1 and 1000",
    );
    invalid(
        "{ } | compare({ }, 5, 9, 8)",
        "compare() end timestamp must be greater than start timestamp",
    );
    invalid(
        "{ } | compare({ }, 5, 0, 8)",
        "compare() timestamps must be positive integer unix nanoseconds",
    );
    invalid(
        "{ } | compare({ }) | topk(5)",
        "`compare()` cannot be used with second stage functions",
    );
    invalid(
        "({ } | compare({ })) + 1",
        "`compare()` cannot be used in metrics arithmetic",
    );
    invalid(
        "({ } | rate()) * 5s",
        "duration cannot be used as a scalar operand in metric arithmetic",
    );
    invalid(
        "({ } | rate()) * (1 + 5s)",
        "duration cannot be used in scalar arithmetic",
    );
    invalid("({ } | rate()) * (1 / 0)", "division by zero");
}

#[test]
fn nil_and_signs() {
    same("{ duration != nil }");
    same("{ resource.service.name != nil }");
    same("{ (.a + 1) != nil }");
    check("{ nil != nil }", "{ false }");
    check("{ nil = nil }", "{ false }");
    check("{ -.a * 2 < 5 }", "{ (-(.a * 2)) < 5 }");
    check("{ -.a + 2 < 5 }", "{ ((-.a) + 2) < 5 }");
    check("{ .a = -5 ^ 2 }", "{ .a = (-(5 ^ 2)) }");
    check("{ .a = --5 }", "{ .a = 5 }");
    check("{ !.a = .b }", "{ (!.a) = .b }");
    check("{ .a = 1 - -1 }", "{ .a = (1 - -1) }");
    check(
        "{ trace:rootService = \"x\" }",
        "{ rootServiceName = \"x\" }",
    );
}

#[test]
fn metrics() {
    same("{ } | rate()");
    same("{ } | count_over_time() by (resource.service.name, span.\"a b\", .x, name)");
    check(
        "{ } | min_over_time(duration)by(name)",
        "{ } | min_over_time(duration) by (name)",
    );
    same("{ } | avg_over_time(span.x)");
    same("{ } | sum_over_time(span.x)");
    same("{ } | max_over_time(span.x)");
    same("{ } | histogram_over_time(duration) by (name)");
    same("{ } | quantile_over_time(duration, 0.5, 0.99, 1) by (name)");
    check(
        "{ } | compare({status=error})",
        "{ } | compare({ status = error }, 10)",
    );
    same("{ } | compare({ }, 5, 1700000000000000000, 1700000001000000000)");
    same("{ } | rate() | topk(5) | bottomk(2)");
    check(
        "{ } | rate() > 5 | topk(5) < 100ms",
        "{ } | rate() > 5 | topk(5) < 100ms",
    );
    check("{ } | rate() = (2 + 3) / 2", "{ } | rate() = 2");
    same("{ } > { } | count() > 2 | rate() with(exemplars=10, sample=true)");
    check(
        "{ } | rate() with(a=1) with(b=2)",
        "{ } | rate() with(a=1, b=2)",
    );
    check("({ } | rate())", "{ } | rate()");
    check("(({ } | rate()))", "{ } | rate()");
    check(
        "({status=error}|rate()) / ({}|rate()) * 100",
        "(({ status = error } | rate()) / ({ } | rate())) * 100",
    );
    check(
        "1 / 2 + -2.0 * ({} | rate())",
        "0 + (-2.0 * ({ } | rate()))",
    );
    check(
        "({} | rate() by (name) | topk(2)) - (({} > {}) | rate()) | topk(1) > 5",
        "({ } | rate() by (name) | topk(2)) - ({ } > { } | rate()) | topk(1) > 5",
    );
    check("(({} | rate()) + 1) * 2", "(({ } | rate()) + 1) * 2");
    check(
        "({} | rate() | topk(3)) | topk(2)",
        "{ } | rate() | topk(3) | topk(2)",
    );
    check(
        "(({} | count() > 1) && {}) | rate()",
        "({ } | count() > 1) && { } | rate()",
    );
    same("({ } | avg(duration)) > ({ .a } | avg(duration))");
    check(
        "(({ } | count()) + 1) / 2 > 3",
        "(({ } | count()) + 1) / 2 > 3",
    );
    same("({ } | count() > 1 | max(duration)) > 5s");
}

#[test]
fn unfinished_queries() {
    let check = |text: &str, expect: Option<&str>| {
        let found = parse_lenient(text, &Limits::default()).map(|q| q.to_string());
        assert_eq!(found.as_deref(), expect, "{text}");
    };
    check("{ .a = 1 }", Some("{ .a = 1 }"));
    check("{ resource.x = }", Some("{ true }"));
    check("{ .a = 1 && name = }", Some("{ (.a = 1) && true }"));
    check("{ name =~ && .a = 1", Some("{ true && (.a = 1) }"));
    check("{ .a = 1 && .b = \"x", Some("{ (.a = 1) && (.b = \"x\") }"));
    check("{ .a = 1 &&", None);
    check("{ (.a = || .b = 2", Some("{ true || (.b = 2) }"));
    check("nonsense", None);
    check("", None);
}

#[test]
fn pipelines() {
    same("{ } | count() > 5");
    same("{ } | avg(duration) >= 1s");
    check(
        "{ } | sum(span.x) / count() - 1 != 2.5",
        "{ } | (sum(span.x) / count()) - 1 != 2.5",
    );
    same("{ } | by(resource.service.name) | count() > 1 | coalesce()");
    same("{ } | select(status, span.x, resource.service.name)");
    same("{ } | { status = error } | max(duration) > min(duration)");
    same("{ } with(most_recent=true, sample=0.5)");
    check(
        "{ .a = 1 } > { } >> { } && { }",
        "(({ .a = 1 } > { }) >> { }) && { }",
    );
    check("{ } && { } || { }", "({ } && { }) || { }");
    check("({ } &>> { }) !~ ({ })", "({ } &>> { }) !~ { }");
    same("({ } | count() > 1) || { }");
    same("by(name) | count() > 1");
    same("select(name)");
    same("{ } | min(duration) < max(span.x)");
}

#[test]
fn bounds() {
    let limits = Limits::default();
    for (open, inside, close) in [("(", "{ }", ")"), ("{ ", ".a", " }")] {
        let deep = if open == "(" {
            format!("{}{inside}{}", "(".repeat(500), close.repeat(500))
        } else {
            format!(
                "{open}{}{inside}{}{close}",
                "(".repeat(500),
                ")".repeat(500)
            )
        };
        let error = parse(&deep, &limits).unwrap_err().to_string();
        assert!(error.contains("64 levels of nesting"), "{error}");
    }
    let minus = format!("{{ {}.a = 1 }}", "-".repeat(500));
    assert!(
        parse(&minus, &limits)
            .unwrap_err()
            .to_string()
            .contains("nesting")
    );
    let long = format!("{{ {} }}", vec![".a"; 1000].join(" && "));
    assert!(
        parse(&long, &limits)
            .unwrap_err()
            .to_string()
            .contains("256 operators")
    );
    let wide = format!("{{ {} }}", vec![".a = 1"; 200].join(" || "));
    assert!(parse(&wide, &limits).is_ok());
    let mut piped = "{ }".to_owned();
    for _ in 0..10 {
        piped = format!("({piped}{} | count() > 1)", " || { }".repeat(50));
    }
    let error = parse(&piped, &limits).unwrap_err().to_string();
    assert!(error.contains("256 operators"), "{error}");
    let sets = vec!["{ }"; 1000].join(" || ");
    assert!(
        parse(&sets, &limits)
            .unwrap_err()
            .to_string()
            .contains("256 operators")
    );
}

#[test]
fn lone_attributes() {
    let service = Attribute::Named {
        parent: false,
        scope: Scope::Resource,
        name: "service.name".to_owned(),
    };
    assert_eq!(parse_attribute("resource.service.name"), Some(service));
    assert_eq!(
        parse_attribute("status"),
        Some(Attribute::Intrinsic(Intrinsic::Status))
    );
    assert_eq!(parse_attribute("span.a = 1"), None);
    assert_eq!(parse_attribute("x"), None);
}

fn attribute() -> impl Strategy<Value = Attribute> {
    let scope = prop_oneof![
        Just(Scope::Any),
        Just(Scope::Span),
        Just(Scope::Resource),
        Just(Scope::Event),
        Just(Scope::Instrumentation)
    ];
    (scope, "[a-z0-9. \"\\\\é=]{1,5}|span\\.x", any::<bool>()).prop_map(|(scope, name, parent)| {
        Attribute::Named {
            parent: parent && matches!(scope, Scope::Any | Scope::Span | Scope::Resource),
            scope,
            name,
        }
    })
}

fn number() -> impl Strategy<Value = Static> {
    prop_oneof![
        any::<i64>().prop_map(Static::Int),
        (-1e9..1e9f64).prop_map(Static::Float),
        any::<i32>().prop_map(|n| Static::Duration(i64::from(n) * 1_000_003)),
    ]
}

fn field() -> impl Strategy<Value = FieldExpr> {
    let value = prop_oneof![
        number(),
        ".{0,4}".prop_map(Static::String),
        Just(Static::Status(StatusCode::Error)),
        Just(Static::Kind(SpanKind::Client)),
        any::<bool>().prop_map(Static::Bool),
    ];
    let operation = |op, left, right| FieldExpr::Operation {
        op,
        left: Box::new(left),
        right: Box::new(right),
    };
    let leaf = prop_oneof![
        (attribute(), value).prop_map(move |(a, v)| operation(
            Operator::Equal,
            FieldExpr::Attribute(a),
            FieldExpr::Static(v)
        )),
        (attribute(), attribute(), number()).prop_map(move |(a, b, n)| operation(
            Operator::Less,
            operation(
                Operator::Sub,
                FieldExpr::Negate(Box::new(FieldExpr::Attribute(a))),
                FieldExpr::Static(n)
            ),
            FieldExpr::Attribute(b),
        )),
        (attribute(), any::<bool>()).prop_map(|(a, e)| match a {
            Attribute::Named {
                scope: Scope::Resource,
                ..
            } => FieldExpr::Attribute(a),
            a => FieldExpr::Exists(Box::new(FieldExpr::Attribute(a)), e),
        }),
        (attribute(), "[a-z.*]{0,3}", any::<bool>()).prop_filter_map(
            "a pattern",
            |(a, p, positive)| {
                let pattern = Pattern::anchored(&p).ok()?;
                Some(FieldExpr::Matches(
                    Box::new(FieldExpr::Attribute(a)),
                    pattern,
                    positive,
                ))
            }
        ),
    ];
    leaf.prop_recursive(3, 10, 2, move |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(move |(a, b)| operation(Operator::And, a, b)),
            (inner.clone(), inner.clone()).prop_map(move |(a, b)| operation(Operator::Or, a, b)),
            inner.prop_map(|a| FieldExpr::Not(Box::new(a))),
        ]
    })
}

fn spans() -> impl Strategy<Value = SpansetExpr> {
    let leaf = proptest::option::of(field()).prop_map(SpansetExpr::Filter);
    leaf.prop_recursive(3, 8, 2, |inner| {
        (inner.clone(), inner, 0usize..17).prop_map(|(left, right, op)| SpansetExpr::Operation {
            op: match op {
                15 => SpansetOp::And,
                16 => SpansetOp::Union,
                n => SpansetOp::Structural(STRUCTURAL[n].1, STRUCTURAL[n].2),
            },
            left: Box::new(left),
            right: Box::new(right),
        })
    })
}

fn pipeline() -> impl Strategy<Value = Vec<Element>> {
    let element = prop_oneof![
        spans().prop_map(Element::Spans),
        proptest::collection::vec(attribute(), 1..3).prop_map(Element::Select),
        attribute().prop_map(|a| Element::By(FieldExpr::Attribute(a))),
        Just(Element::Coalesce),
        (attribute(), number()).prop_map(|(a, n)| Element::Scalar(ScalarFilter {
            left: ScalarExpr::Operation {
                op: Operator::Mul,
                left: Box::new(ScalarExpr::Aggregate(
                    Aggregate::Avg,
                    Some(FieldExpr::Attribute(a))
                )),
                right: Box::new(ScalarExpr::Static(n.clone())),
            },
            op: Operator::GreaterEqual,
            right: ScalarExpr::Static(n),
        })),
    ];
    (spans(), proptest::collection::vec(element, 0..3)).prop_map(|(first, rest)| {
        let mut pipeline = vec![Element::Spans(first)];
        pipeline.extend(rest);
        pipeline
    })
}

fn series() -> impl Strategy<Value = MetricExpr> {
    let metric = prop_oneof![
        Just(Metric::Rate),
        Just(Metric::Count),
        attribute().prop_map(|a| Metric::Over(OverTime::Avg, a)),
        attribute().prop_map(Metric::Histogram),
        (attribute(), 0.0..1.0f64).prop_map(|(a, q)| Metric::Quantile(a, vec![q, 1.0])),
    ];
    let by = proptest::collection::vec(attribute(), 0..3);
    (pipeline(), metric, by).prop_map(|(pipeline, metric, by)| {
        MetricExpr::Series(Box::new(MetricPipeline {
            pipeline,
            metric,
            by,
        }))
    })
}

fn stages() -> impl Strategy<Value = Vec<Stage>> {
    let stage = prop_oneof![
        (1usize..9).prop_map(Stage::Top),
        (1usize..9).prop_map(Stage::Bottom),
        (-99i64..99).prop_map(|n| Stage::Keep(Operator::Greater, Static::Int(n))),
    ];
    proptest::collection::vec(stage, 0..3)
}

fn staged(inner: MetricExpr, stages: Vec<Stage>) -> MetricExpr {
    if stages.is_empty() {
        return inner;
    }
    MetricExpr::Staged {
        inner: Box::new(inner),
        stages,
    }
}

fn metric() -> impl Strategy<Value = MetricExpr> {
    let leaf = (series(), stages()).prop_map(|(inner, stages)| staged(inner, stages));
    let tree = leaf.prop_recursive(2, 4, 2, |inner| {
        let op = prop_oneof![
            Just(Operator::Add),
            Just(Operator::Sub),
            Just(Operator::Mul),
            Just(Operator::Div)
        ];
        let number = prop_oneof![
            (-99i64..99).prop_map(Static::Int),
            (-9.0..9.0f64).prop_map(Static::Float)
        ];
        prop_oneof![
            (op.clone(), inner.clone(), inner.clone()).prop_map(|(op, left, right)| {
                MetricExpr::Binary {
                    op,
                    left: Box::new(left),
                    right: Box::new(right),
                }
            }),
            (op, number, any::<bool>(), inner).prop_map(|(op, value, left, inner)| {
                MetricExpr::Scalar {
                    op,
                    value,
                    left,
                    inner: Box::new(inner),
                }
            }),
        ]
    });
    (tree, stages()).prop_map(|(tree, stages)| match tree {
        MetricExpr::Staged { .. } => tree,
        tree => staged(tree, stages),
    })
}

fn query() -> impl Strategy<Value = Query> {
    let root = prop_oneof![
        pipeline().prop_map(Root::Search),
        metric().prop_map(Root::Metrics)
    ];
    root.prop_map(|root| Query {
        root,
        hints: Vec::new(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn prints_and_parses(query in query()) {
        let text = query.to_string();
        prop_assert_eq!(parse(&text, &Limits::default()), Ok(query), "{}", text);
    }

    #[test]
    fn arbitrary_text_never_panics(
        text in ".{0,60}",
        near in "(\\{|\\}|span\\.|duration|count\\(\\)|rate\\(\\)|topk|by|nil|error|[|=!~<>&(){}\",`.0-9a-z +-]){0,30}",
    ) {
        for text in [text, near] {
            if let Some(query) = parse_lenient(&text, &Limits::default()) {
                prop_assert!(!query.to_string().is_empty());
            }
            if let Ok(query) = parse(&text, &Limits::default()) {
                prop_assert_eq!(parse(&query.to_string(), &Limits::default()), Ok(query));
            }
        }
    }
}
