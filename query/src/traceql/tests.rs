//! Tables: what parses, how it prints, where errors are; and that nothing panics.

use obs_model::Pattern;
use obs_model::limits::Limits;
use obs_model::spans::{SpanKind, StatusCode};
use proptest::prelude::*;

use super::ast::*;
use super::{parse, parse_attribute};

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

#[test]
fn field_errors() {
    check(
        "{",
        "1:2: expected an attribute, a constant, -, ! or (, found end of query",
    );
    check(
        "{ .a = }",
        "1:8: expected an attribute, a constant, -, ! or (, found \"}\"",
    );
    check(
        "{ .a = 1",
        "1:9: expected an operator or }, found end of query",
    );
    check(
        "{ .a = 1 } }",
        "1:12: expected an operator, | or the end of the query, found \"}\"",
    );
    check(
        "{ 5 }",
        "1:3: expected a condition, not a number, found \"5\"",
    );
    check(
        "{ .a + 1 }",
        "1:3: expected a condition, not a number, found \".a + 1\"",
    );
    check(
        r#"{ duration = "x" }"#,
        "1:12: expected values of one type on both sides of =, not a number and a text, found \"=\"",
    );
    check(
        "{ status > error }",
        "1:10: expected numbers or texts on both sides of >, not a status and a status, found \">\"",
    );
    check(
        "{ status = server }",
        "1:10: expected values of one type on both sides of =, not a status and a kind, found \"=\"",
    );
    check(
        "{ name + 1 = 2 }",
        "1:8: expected a number on both sides of +, not a text and a number, found \"+\"",
    );
    check(
        "{ name && .a }",
        "1:8: expected a boolean on both sides of &&, not a text and an attribute, found \"&&\"",
    );
}

#[test]
fn nil_and_lexical_errors() {
    check(
        "{ duration != nil }",
        "1:12: expected a value for duration, which is never nil, found \"!=\"",
    );
    check(
        "{ resource.service.name = nil }",
        "1:25: expected a value for resource.service.name, which is never nil, found \"=\"",
    );
    check(
        "{ nil != nil }",
        "1:7: expected an attribute and = or != beside nil, found \"!=\"",
    );
    check(
        "{ .a > nil }",
        "1:6: expected an attribute and = or != beside nil, found \">\"",
    );
    check("{ nil }", "1:3: expected a value beside nil, found \"nil\"");
    check(
        "{ parent = 5 }",
        "1:10: expected values (parent is only compared to nil) on both sides of =, not the parent span and a number, found \"=\"",
    );
    check(
        "{ .a =~ 5 }",
        "1:9: expected a regular expression in quotes, found \"5\"",
    );
    check(
        "{ duration =~ \"x\" }",
        "1:12: expected a text before the expression, not a number, found \"=~\"",
    );
    check(
        "{ !5 = 1 }",
        "1:4: expected a boolean, not a number, found \"5\"",
    );
    check(
        "{ . = 1 }",
        "1:4: expected an attribute's name, found white space",
    );
    check(
        "{ unknown = 1 }",
        "1:3: expected an attribute, a constant, -, ! or (, found \"unknown\"",
    );
    check(
        "{ .a = 5x }",
        "1:8: expected a number or a duration such as 1.5s, found \"5\"",
    );
    check(
        "{ span.\"a = 1 }",
        "1:8: expected a closing quote (escapes are \\\" and \\\\), found \"\\\"\"",
    );
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
    check(
        "{ } | 5 > 3",
        "1:7: expected an aggregate such as count() on one side, found \"5 > 3\"",
    );
    check(
        "{ } | count()",
        "1:14: expected a comparison such as > 5, found end of query",
    );
    check("{ } | count(1) > 1", "1:13: expected ), found \"1\"");
    check(
        "{ } | avg(name) > 1",
        "1:11: expected a number of the span, found \"name\"",
    );
    check(
        "{ } | avg(1) > 1",
        "1:11: expected a number of the span, found \"1\"",
    );
    check(
        "{ } | by(1)",
        "1:10: expected an expression over the span, found \"1\"",
    );
    check(
        "coalesce()",
        "1:1: expected a span set before coalesce(), found \"coalesce\"",
    );
    check(
        "{ } | rate()",
        "1:7: expected a search (the metrics function rate() is not supported yet), found \"rate\"",
    );
    check(
        "{ } | quantile_over_time(duration, 0.9) by (name)",
        "1:7: expected a search (the metrics function quantile_over_time() is not supported yet), found \"quantile_over_time\"",
    );
    check(
        "{ } && ",
        "1:8: expected a span set such as { status = error }, found end of query",
    );
    check(
        "{ } | select()",
        "1:14: expected an attribute such as span.http.method, found \")\"",
    );
    check(
        "",
        "1:1: expected a span set such as { status = error }, an aggregate such as count() or a number, found end of query",
    );
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
            a => FieldExpr::Exists(a, e),
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

fn query() -> impl Strategy<Value = Query> {
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
        Query {
            pipeline,
            hints: Vec::new(),
        }
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
        near in "(\\{|\\}|span\\.|duration|count\\(\\)|by|nil|error|[|=!~<>&(){}\",`.0-9a-z +-]){0,30}",
    ) {
        for text in [text, near] {
            if let Ok(query) = parse(&text, &Limits::default()) {
                prop_assert_eq!(parse(&query.to_string(), &Limits::default()), Ok(query));
            }
        }
    }
}
