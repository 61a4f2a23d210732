//! The tree of an expression as JSON, as Prometheus' `/api/v1/parse_query` gives it: keys sorted,
//! times in milliseconds.

use std::collections::BTreeMap;
use std::fmt;

use obs_model::Matcher;

use super::ast::{At, Duration, DurationKind, Expr, Kind, Modifiers, Selector, Type};
use super::signatures::Signature;
use crate::operators::{BinaryOp, Cardinality, Matching};
use crate::plan::Borders;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
enum Json {
    Null,
    Bool(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    List(Vec<Self>),
    Map(BTreeMap<&'static str, Self>),
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            // JSON knows no other numbers.
            Self::Number(value) if value.is_finite() => write!(f, "{value}"),
            Self::Number(_) => f.write_str("null"),
            Self::Text(text) => write_text(f, text),
            Self::List(list) => {
                f.write_str("[")?;
                for (index, value) in list.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    write!(f, "{comma}{value}")?;
                }
                f.write_str("]")
            }
            Self::Map(map) => {
                f.write_str("{")?;
                for (index, (key, value)) in map.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    write!(f, "{comma}\"{key}\":{value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if u32::from(c) < 0x20 => write!(f, "\\u{:04x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

fn text(value: impl Into<String>) -> Json {
    Json::Text(value.into())
}

fn texts(values: &[String]) -> Json {
    Json::List(values.iter().map(text).collect())
}

fn map<const N: usize>(kind: &str, entries: [(&'static str, Json); N]) -> Json {
    let kind = [("type", text(kind))];
    Json::Map(kind.into_iter().chain(entries).collect())
}

/// The tree of an expression as JSON.
pub fn tree(expr: &Expr) -> String {
    node(expr).to_string()
}

fn node(expr: &Expr) -> Json {
    match &expr.kind {
        Kind::Number(value, _) => map("numberLiteral", [("val", text(plain(*value)))]),
        Kind::Text(value) => map("stringLiteral", [("val", text(value))]),
        Kind::Selector(selector) => Json::Map(select("vectorSelector", selector)),
        Kind::Range(selector, range) => {
            let mut entries = select("matrixSelector", selector);
            entries.extend(duration(["range", "rangeExpr"], Some(range)));
            Json::Map(entries)
        }
        Kind::Subquery(subquery) => {
            let mut entries = BTreeMap::from([
                ("type", text("subquery")),
                ("expr", node(&subquery.expr)),
            ]);
            entries.extend(duration(["range", "rangeExpr"], Some(&subquery.range)));
            entries.extend(duration(["step", "stepExpr"], subquery.step.as_ref()));
            entries.extend(moved(&subquery.modifiers));
            Json::Map(entries)
        }
        Kind::Call(signature, arguments) => map(
            "call",
            [
                ("func", function(signature)),
                ("args", Json::List(arguments.iter().map(node).collect())),
            ],
        ),
        Kind::Aggregate(aggregate) => {
            let grouping = aggregate.grouping.as_ref();
            map(
                "aggregation",
                [
                    ("op", text(aggregate.op.as_str())),
                    ("expr", node(&aggregate.expr)),
                    (
                        "param",
                        aggregate.parameter.as_ref().map_or(Json::Null, node),
                    ),
                    (
                        "grouping",
                        texts(grouping.map_or(&[], |g| g.labels.as_slice())),
                    ),
                    ("without", Json::Bool(grouping.is_some_and(|g| g.without))),
                ],
            )
        }
        Kind::Binary(binary) => map(
            "binaryExpr",
            [
                ("op", text(binary.op.as_str())),
                ("lhs", node(&binary.lhs)),
                ("rhs", node(&binary.rhs)),
                (
                    "matching",
                    binary.matching.as_ref().map_or(Json::Null, matching),
                ),
                ("bool", Json::Bool(binary.return_bool)),
            ],
        ),
        Kind::Sign(negative, inner) => map(
            "unaryExpr",
            [
                ("op", text(if *negative { "-" } else { "+" })),
                ("expr", node(inner)),
            ],
        ),
        Kind::Paren(inner) => map("parenExpr", [("expr", node(inner))]),
    }
}

/// A float without an exponent.
fn plain(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    }
}

fn select(kind: &str, selector: &Selector) -> BTreeMap<&'static str, Json> {
    let name = selector.name.as_ref();
    let named = name.map(|name| Matcher::equal(obs_model::labels::METRIC_NAME, name));
    let matchers = selector.matchers.iter().cloned().chain(named);
    let matchers = matchers.map(|m| {
        Json::Map(BTreeMap::from([
            ("name", text(m.name)),
            ("value", text(m.value)),
            ("type", text(m.op.as_str())),
        ]))
    });
    let borders = selector.modifiers.borders;
    let mut entries = BTreeMap::from([
        ("type", text(kind)),
        ("name", text(name.map_or("", String::as_str))),
        ("matchers", Json::List(matchers.collect())),
        ("anchored", Json::Bool(borders == Borders::Anchored)),
        ("smoothed", Json::Bool(borders == Borders::Smoothed)),
    ]);
    entries.extend(moved(&selector.modifiers));
    entries
}

/// `offset` and `@`.
fn moved(modifiers: &Modifiers) -> [(&'static str, Json); 4] {
    let (timestamp, word) = match modifiers.at {
        None => (Json::Null, Json::Null),
        Some(At::Millis(ms)) => (Json::Integer(ms), Json::Null),
        Some(At::Start) => (Json::Null, text("start")),
        Some(At::End) => (Json::Null, text("end")),
    };
    let [offset, offset_expr] = duration(["offset", "offsetExpr"], modifiers.offset.as_ref());
    [
        offset,
        offset_expr,
        ("timestamp", timestamp),
        ("startOrEnd", word),
    ]
}

/// A literal in milliseconds, or an expression.
fn duration(names: [&'static str; 2], value: Option<&Duration>) -> [(&'static str, Json); 2] {
    let literal = value.and_then(Duration::literal);
    let ms = literal.map_or(0, |seconds| (seconds * 1e9).round() as i64 / 1_000_000);
    let expr = value.filter(|_| literal.is_none());
    [
        (names[0], Json::Integer(ms)),
        (names[1], expr.map_or(Json::Null, duration_node)),
    ]
}

fn duration_node(value: &Duration) -> Json {
    use DurationKind as D;
    // Parentheses are a property of what they hold.
    let (kind, wrapped) = match &value.kind {
        D::Paren(inner) => (&inner.kind, true),
        kind => (kind, false),
    };
    let (op, lhs, rhs) = match kind {
        D::Number(value, written) if !wrapped => {
            return map(
                "numberLiteral",
                [
                    ("val", text(plain(*value))),
                    ("duration", Json::Bool(*written)),
                ],
            );
        }
        D::Number(seconds, written) => {
            let kind = D::Number(*seconds, *written);
            let span = value.span;
            ("+", None, Some(Duration { kind, span }))
        }
        D::Negate(inner) => ("-", None, Some(inner.as_ref().clone())),
        D::Binary(op, a, b) => (
            BinaryOp::as_str(*op),
            Some(a.as_ref()),
            Some(b.as_ref().clone()),
        ),
        D::Step => ("step", None, None),
        D::Range => ("range", None, None),
        D::MinOf(a, b) => ("min_of", Some(a.as_ref()), Some(b.as_ref().clone())),
        D::MaxOf(a, b) => ("max_of", Some(a.as_ref()), Some(b.as_ref().clone())),
        D::Paren(inner) => return duration_node(inner),
    };
    map(
        "durationExpr",
        [
            ("op", text(op)),
            ("lhs", lhs.map_or(Json::Null, duration_node)),
            ("rhs", rhs.as_ref().map_or(Json::Null, duration_node)),
            ("wrapped", Json::Bool(wrapped)),
        ],
    )
}

fn function(signature: &Signature) -> Json {
    let name = |kind: &Type| text(kind.value_name());
    Json::Map(BTreeMap::from([
        ("name", text(signature.name)),
        (
            "argTypes",
            Json::List(signature.arguments.iter().map(name).collect()),
        ),
        ("variadic", Json::Integer(signature.variadic())),
        ("returnType", name(&signature.returns)),
    ]))
}

fn matching(matching: &Matching) -> Json {
    let card = match matching.cardinality {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    };
    let fill = |value: Option<f64>| value.map_or(Json::Null, Json::Number);
    let fills = BTreeMap::from([
        ("lhs", fill(matching.fill_left)),
        ("rhs", fill(matching.fill_right)),
    ]);
    Json::Map(BTreeMap::from([
        ("card", text(card)),
        ("labels", texts(&matching.labels)),
        ("on", Json::Bool(matching.on)),
        ("include", texts(&matching.include)),
        ("fillValues", Json::Map(fills)),
    ]))
}
