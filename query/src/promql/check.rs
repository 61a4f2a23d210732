//! Types: which expressions may stand where. Run over a whole expression once it has been parsed,
//! in the order in which Prometheus looks, so that the same error comes first.

use obs_model::labels::METRIC_NAME;

use super::ast::{Aggregate, Binary, Duration, Expr, Kind, Selector, Type};
use super::signatures::{Meaning, Signature};
use super::strings::quote;
use crate::error::ParseError;
use crate::operators::{AggregateOp, Cardinality};

/// Checks an expression and all below it.
pub(crate) fn check(text: &str, expr: &Expr) -> Result<(), ParseError> {
    let fault = |message: &str| Err(ParseError::promql(text, expr.span.start, message));
    match &expr.kind {
        Kind::Number(..) | Kind::Text(_) => Ok(()),
        Kind::Selector(selector) | Kind::Range(selector, _) => check_selector(text, expr, selector),
        Kind::Binary(binary) => check_binary(text, expr, binary),
        Kind::Paren(inner) => check(text, inner),
        Kind::Sign(_, inner) => {
            check(text, inner)?;
            match inner.value_type() {
                Type::Scalar | Type::Vector => Ok(()),
                found => fault(&format!(
                    "unary expression only allowed on expressions of type scalar or instant vector, got {}",
                    quote(found.as_str())
                )),
            }
        }
        Kind::Subquery(subquery) => {
            check(text, &subquery.expr)?;
            match subquery.expr.value_type() {
                Type::Vector => Ok(()),
                found => fault(&format!(
                    "subquery is only allowed on instant vector, got {} instead",
                    found.value_name()
                )),
            }
        }
        Kind::Call(signature, arguments) => check_call(text, expr, signature, arguments),
        Kind::Aggregate(aggregate) => check_aggregate(text, aggregate),
    }
}

/// Checks an expression that must be of a type.
fn wanted(text: &str, expr: &Expr, want: Type, place: &str) -> Result<(), ParseError> {
    check(text, expr)?;
    let found = expr.value_type();
    if found == want {
        return Ok(());
    }
    let message = format!(
        "expected type {} in {place}, got {}",
        want.as_str(),
        found.as_str()
    );
    Err(ParseError::promql(text, expr.span.start, message))
}

fn check_selector(text: &str, expr: &Expr, selector: &Selector) -> Result<(), ParseError> {
    let fault = |message: &str| Err(ParseError::promql(text, expr.span.start, message));
    let Some(name) = &selector.name else {
        if selector.matchers.iter().all(|m| m.matches("")) {
            return fault("vector selector must contain at least one non-empty matcher");
        }
        return Ok(());
    };
    match selector.matchers.iter().find(|m| m.name == METRIC_NAME) {
        Some(second) => fault(&format!(
            "metric name must not be set twice: {} or {}",
            quote(name),
            quote(&second.value)
        )),
        None => Ok(()),
    }
}

fn check_call(
    text: &str,
    expr: &Expr,
    signature: &Signature,
    arguments: &[Expr],
) -> Result<(), ParseError> {
    let fault =
        |place: &Expr, message: &str| Err(ParseError::promql(text, place.span.start, message));
    let most = signature.arguments.len().saturating_add(signature.more);
    let least = signature.arguments.len() - signature.optional;
    let found = arguments.len();
    if found < least || found > most {
        let bound = match (least, most) {
            (least, most) if least == most => format!("{least}"),
            (least, _) if found < least => format!("at least {least}"),
            (_, most) => format!("at most {most}"),
        };
        let name = quote(signature.name);
        return fault(
            expr,
            &format!("expected {bound} argument(s) in call to {name}, got {found}"),
        );
    }
    let place = format!("call to function {}", quote(signature.name));
    let info = signature.meaning == Meaning::Info;
    for (index, argument) in arguments.iter().enumerate() {
        let want = signature.arguments[index.min(signature.arguments.len() - 1)];
        if !info || index == 0 {
            wanted(text, argument, want, &place)?;
            continue;
        }
        match &argument.kind {
            Kind::Selector(selector) if selector.name.is_some() => {
                return fault(
                    argument,
                    "expected label selectors only, got vector selector instead",
                );
            }
            // It may match anything: it only picks labels.
            Kind::Selector(_) => {}
            _ => {
                wanted(text, argument, want, &place)?;
                return fault(argument, "expected label selectors only");
            }
        }
    }
    Ok(())
}

fn check_aggregate(text: &str, aggregate: &Aggregate) -> Result<(), ParseError> {
    wanted(
        text,
        &aggregate.expr,
        Type::Vector,
        "aggregation expression",
    )?;
    let Some(parameter) = &aggregate.parameter else {
        return Ok(());
    };
    let want = match aggregate.op {
        AggregateOp::CountValues => Type::Text,
        _ => Type::Scalar,
    };
    wanted(text, parameter, want, "aggregation parameter")
}

/// A range or step that is a literal must be greater than zero; others are known only when asked.
pub(crate) fn positive(text: &str, value: &Duration) -> Result<(), ParseError> {
    match value.literal() {
        Some(seconds) if seconds.is_nan() || seconds <= 0.0 => {
            let message = "duration must be greater than 0";
            Err(ParseError::promql(text, value.span.start, message))
        }
        Some(_) | None => Ok(()),
    }
}

fn check_binary(text: &str, expr: &Expr, binary: &Binary) -> Result<(), ParseError> {
    check(text, &binary.lhs)?;
    check(text, &binary.rhs)?;
    // Where the operator stands.
    let behind = text.get(binary.lhs.span.end..).unwrap_or("");
    let operator = text.len() - behind.trim_start_matches([' ', '\t', '\n', '\r']).len();
    let fault = |offset: usize, message: &str| Err(ParseError::promql(text, offset, message));
    let types = [&binary.lhs, &binary.rhs].map(Expr::value_type);
    if binary.return_bool && !binary.op.is_comparison() {
        let message = "bool modifier can only be used on comparison operators";
        return fault(operator, message);
    }
    if binary.op.is_comparison() && !binary.return_bool && types == [Type::Scalar; 2] {
        let message = "comparisons between scalars must use BOOL modifier";
        return fault(operator, message);
    }
    if let Some(matching) = binary.matching.as_ref().filter(|m| m.on) {
        let both = |label: &&String| matching.include.contains(label);
        if let Some(label) = matching.labels.iter().find(both) {
            let label = quote(label);
            let message =
                format!("label {label} must not occur in ON and GROUP clause at once");
            return fault(operator, &message);
        }
    }
    for (side, found) in [&binary.lhs, &binary.rhs].into_iter().zip(types) {
        if matches!(found, Type::Text | Type::Range) {
            let message = "binary expression must contain only scalar and instant vector types";
            return fault(side.span.start, message);
        }
    }
    let start = expr.span.start;
    if let Some(matching) = &binary.matching {
        let fills = matching.fill_left.or(matching.fill_right).is_some();
        let vectors = types == [Type::Vector; 2];
        if !vectors && !matching.labels.is_empty() {
            return fault(
                start,
                "vector matching only allowed between instant vectors",
            );
        }
        if !vectors && fills {
            let message = "filling in missing series only allowed between instant vectors";
            return fault(start, message);
        }
        if binary.op.is_set() && matching.cardinality != Cardinality::ManyToMany {
            let op = quote(binary.op.as_str());
            return fault(start, &format!("no grouping allowed for {op} operation"));
        }
        if binary.op.is_set() && fills {
            let message = "filling in missing series not allowed for set operators";
            return fault(start, message);
        }
    }
    if binary.op.is_set() && types != [Type::Vector; 2] {
        let op = quote(binary.op.as_str());
        let message = format!("set operator {op} not allowed in binary scalar expression");
        return fault(start, &message);
    }
    Ok(())
}
