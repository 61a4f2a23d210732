//! Types: which expressions may stand where. Called for every expression as it is made.

use super::ast::{Aggregate, Binary, Duration, Expr, Kind, Type};
use super::selector::literal;
use super::signatures::Signature;
use crate::error::ParseError;
use crate::operators::{AggregateOp, BinaryOp, Cardinality, Matching};

/// Checks an expression whose parts have been checked.
pub(crate) fn check(text: &str, expr: &Expr) -> Result<(), ParseError> {
    match &expr.kind {
        Kind::Number(..)
        | Kind::Text(_)
        | Kind::Selector(_)
        | Kind::Range(..)
        | Kind::Binary(_)
        | Kind::Paren(_) => Ok(()),
        Kind::Negate(inner) => sign(text, inner),
        Kind::Subquery(subquery) => {
            let inner = &subquery.expr;
            wanted(text, inner, Type::Vector, "in a subquery")
        }
        Kind::Call(signature, arguments) => call(text, expr, signature, arguments),
        Kind::Aggregate(aggregate) => self::aggregate(text, aggregate),
    }
}

fn wanted(text: &str, expr: &Expr, expected: Type, place: &str) -> Result<(), ParseError> {
    let found = expr.value_type();
    if found == expected {
        return Ok(());
    }
    let expected = format!("type {} {place}", expected.as_str());
    Err(ParseError::at(
        text,
        expr.span.start,
        expected,
        found.as_str(),
    ))
}

/// Only numbers have a sign.
pub(crate) fn sign(text: &str, expr: &Expr) -> Result<(), ParseError> {
    let found = expr.value_type();
    match found {
        Type::Scalar | Type::Vector => Ok(()),
        Type::Text | Type::Range => {
            let expected = "type scalar or instant vector behind a sign";
            Err(ParseError::at(
                text,
                expr.span.start,
                expected,
                found.as_str(),
            ))
        }
    }
}

fn call(
    text: &str,
    expr: &Expr,
    signature: &Signature,
    arguments: &[Expr],
) -> Result<(), ParseError> {
    let most = signature.arguments.len().saturating_add(signature.more);
    let least = signature.arguments.len() - signature.optional;
    if arguments.len() < least || arguments.len() > most {
        let bound = match (least, most) {
            (least, most) if least == most => least.to_string(),
            (least, usize::MAX) => format!("at least {least}"),
            (least, most) => format!("{least} to {most}"),
        };
        let expected = format!("{bound} argument(s) in call to {:?}", signature.name);
        let found = arguments.len().to_string();
        return Err(ParseError::at(text, expr.span.start, expected, found));
    }
    let place = format!("in call to function {:?}", signature.name);
    for (index, argument) in arguments.iter().enumerate() {
        let last = signature.arguments.len() - 1;
        let expected = signature.arguments[index.min(last)];
        wanted(text, argument, expected, &place)?;
    }
    Ok(())
}

fn aggregate(text: &str, aggregate: &Aggregate) -> Result<(), ParseError> {
    let place = format!("in aggregation {:?}", aggregate.op.as_str());
    if let Some(parameter) = &aggregate.parameter {
        let expected = match aggregate.op {
            AggregateOp::CountValues => Type::Text,
            _ => Type::Scalar,
        };
        wanted(text, parameter, expected, &place)?;
    }
    wanted(text, &aggregate.expr, Type::Vector, &place)
}

/// A range or step that is a literal must be greater than zero; others are known only when asked.
pub(crate) fn positive(text: &str, offset: usize, value: &Duration) -> Result<(), ParseError> {
    match literal(value) {
        Some(seconds) if seconds.is_nan() || seconds <= 0.0 => Err(ParseError::at(
            text,
            offset,
            "a duration greater than 0",
            seconds.to_string(),
        )),
        Some(_) | None => Ok(()),
    }
}

/// Checks the sides of a binary operator and puts it together. `place` is behind the operator.
pub(crate) fn matching(
    text: &str,
    place: usize,
    op: BinaryOp,
    return_bool: bool,
    matching: Option<Matching>,
    lhs: Expr,
    rhs: Expr,
) -> Result<Binary, ParseError> {
    let fault = |expected: &str, found: &str| Err(ParseError::at(text, place, expected, found));
    for side in [&lhs, &rhs] {
        let found = side.value_type();
        if matches!(found, Type::Text | Type::Range) {
            let expected = "type scalar or instant vector in a binary expression";
            return Err(ParseError::at(
                text,
                side.span.start,
                expected,
                found.as_str(),
            ));
        }
    }
    if return_bool && !op.is_comparison() {
        return fault("bool only with a comparison operator", op.as_str());
    }
    let vectors = [&lhs, &rhs].map(|side| side.value_type() == Type::Vector);
    if vectors == [false, false] && op.is_comparison() && !return_bool {
        return fault("bool in a comparison between scalars", "none");
    }
    if vectors != [true, true] {
        if op.is_set() {
            return fault("no scalar beside a set operator", "one");
        }
        if matching.is_some() {
            return fault("vector matching only between instant vectors", "a scalar");
        }
    }
    let matching = (vectors == [true, true]).then(|| {
        matching.unwrap_or_else(|| Matching {
            cardinality: if op.is_set() {
                Cardinality::ManyToMany
            } else {
                Cardinality::OneToOne
            },
            ..Matching::default()
        })
    });
    Ok(Binary {
        op,
        return_bool,
        matching,
        lhs,
        rhs,
    })
}
