//! Writes expressions as Prometheus does, in one line or laid out; what is written parses to the
//! same expression.

use std::fmt;

use obs_model::Matcher;
use obs_model::labels::is_legacy_name;

use super::ast::{At, Binary, Duration, DurationKind, Expr, Kind, Modifiers, Selector, Subquery};
use super::strings::quote;
use crate::eval::float;
use crate::operators::{Cardinality, Matching};
use crate::plan::Borders;

/// Longer expressions are split, where they can be.
const LINE_BYTES_MAX: usize = 100;

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Number(value, written) => number(f, *value, *written),
            Kind::Text(text) => f.write_str(&quote(text)),
            Kind::Selector(selector) => {
                head(f, selector)?;
                at(f, &selector.modifiers)?;
                borders(f, &selector.modifiers)?;
                offset(f, &selector.modifiers)
            }
            Kind::Range(selector, range) => {
                head(f, selector)?;
                f.write_str("[")?;
                literal(f, range)?;
                f.write_str("]")?;
                borders(f, &selector.modifiers)?;
                at(f, &selector.modifiers)?;
                offset(f, &selector.modifiers)
            }
            Kind::Subquery(subquery) => {
                write!(f, "{}", subquery.expr)?;
                times(f, subquery)
            }
            Kind::Call(signature, arguments) => {
                write!(f, "{}(", signature.name)?;
                for (index, argument) in arguments.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}{argument}")?;
                }
                f.write_str(")")
            }
            Kind::Aggregate(aggregate) => {
                write!(f, "{}(", aggregate_head(self))?;
                if let Some(parameter) = &aggregate.parameter {
                    write!(f, "{parameter}, ")?;
                }
                write!(f, "{})", aggregate.expr)
            }
            Kind::Binary(binary) => {
                write!(f, "{} {} {}", binary.lhs, operator(binary), binary.rhs)
            }
            Kind::Sign(negative, inner) => write!(f, "{}{inner}", sign(*negative)),
            Kind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

pub(super) fn sign(negative: bool) -> char {
    if negative { '-' } else { '+' }
}

/// The operator of an aggregation with its groups.
pub(super) fn aggregate_head(expr: &Expr) -> String {
    let Kind::Aggregate(aggregate) = &expr.kind else {
        return String::new();
    };
    match &aggregate.grouping {
        Some(grouping) => format!("{} {grouping} ", aggregate.op.as_str()),
        None => aggregate.op.as_str().to_owned(),
    }
}

/// A binary operator with all that stands between its sides.
pub(super) fn operator(binary: &Binary) -> String {
    let is_bool = if binary.return_bool { " bool" } else { "" };
    let matching = binary
        .matching
        .as_ref()
        .map(|m| MatchingText(m).to_string());
    format!(
        "{}{is_bool}{}",
        binary.op.as_str(),
        matching.unwrap_or_default()
    )
}

/// A number as Go prints it; a duration with units.
fn number(f: &mut fmt::Formatter<'_>, value: f64, written: bool) -> fmt::Result {
    if written {
        return duration(f, value);
    }
    if value.is_infinite() {
        return f.write_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    }
    write!(f, "{value}")
}

/// Whole milliseconds in the fewest units; weeks and years only where nothing is left over.
fn duration(f: &mut fmt::Formatter<'_>, seconds: f64) -> fmt::Result {
    // Through whole nanoseconds, so that 1.001 s has 1001 ms.
    let mut ms = (seconds.abs() * 1e9).round() as u64 / 1_000_000;
    if seconds < 0.0 {
        f.write_str("-")?;
    }
    if ms == 0 {
        return f.write_str("0s");
    }
    const DAY: u64 = 86_400_000;
    let units = [
        ("y", 365 * DAY, true),
        ("w", 7 * DAY, true),
        ("d", DAY, false),
        ("h", 3_600_000, false),
        ("m", 60_000, false),
        ("s", 1000, false),
        ("ms", 1, false),
    ];
    for (unit, size, exact) in units {
        if ms < size || (exact && !ms.is_multiple_of(size)) {
            continue;
        }
        write!(f, "{}{unit}", ms / size)?;
        ms %= size;
    }
    Ok(())
}

/// A range, step or offset: a number alone is a duration there.
fn literal(f: &mut fmt::Formatter<'_>, value: &Duration) -> fmt::Result {
    match value.literal() {
        Some(seconds) => duration(f, seconds),
        None => write!(f, "{value}"),
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use DurationKind as D;
        match &self.kind {
            D::Number(seconds, written) => number(f, *seconds, *written),
            D::Negate(inner) => write!(f, "-{inner}"),
            D::Binary(op, a, b) => write!(f, "{a} {} {b}", op.as_str()),
            D::Step => f.write_str("step()"),
            D::Range => f.write_str("range()"),
            D::MinOf(a, b) => write!(f, "min_of({a}, {b})"),
            D::MaxOf(a, b) => write!(f, "max_of({a}, {b})"),
            D::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

/// Name and matchers.
fn head(f: &mut fmt::Formatter<'_>, selector: &Selector) -> fmt::Result {
    f.write_str(selector.name.as_deref().unwrap_or(""))?;
    let matchers = selector.sorted();
    if matchers.is_empty() {
        return Ok(());
    }
    write!(f, "{{{}}}", matchers.join(","))
}

/// A matcher with the quotes that it needs.
pub(super) fn matcher(matcher: &Matcher) -> String {
    let name = if is_legacy_name(&matcher.name) {
        matcher.name.clone()
    } else {
        quote(&matcher.name)
    };
    format!("{name}{}{}", matcher.op.as_str(), quote(&matcher.value))
}

fn at(f: &mut fmt::Formatter<'_>, modifiers: &Modifiers) -> fmt::Result {
    match modifiers.at {
        None => Ok(()),
        Some(At::Start) => f.write_str(" @ start()"),
        Some(At::End) => f.write_str(" @ end()"),
        Some(At::Millis(ms)) => {
            let sign = if ms < 0 { "-" } else { "" };
            let ms = ms.unsigned_abs();
            write!(f, " @ {sign}{}.{:03}", ms / 1000, ms % 1000)
        }
    }
}

fn borders(f: &mut fmt::Formatter<'_>, modifiers: &Modifiers) -> fmt::Result {
    match modifiers.borders {
        Borders::Plain => Ok(()),
        Borders::Anchored => f.write_str(" anchored"),
        Borders::Smoothed => f.write_str(" smoothed"),
    }
}

fn offset(f: &mut fmt::Formatter<'_>, modifiers: &Modifiers) -> fmt::Result {
    let Some(offset) = &modifiers.offset else {
        return Ok(());
    };
    f.write_str(" offset ")?;
    literal(f, offset)
}

/// Range, step and modifiers of a subquery.
fn times(f: &mut fmt::Formatter<'_>, subquery: &Subquery) -> fmt::Result {
    f.write_str("[")?;
    literal(f, &subquery.range)?;
    f.write_str(":")?;
    if let Some(step) = &subquery.step {
        literal(f, step)?;
    }
    f.write_str("]")?;
    at(f, &subquery.modifiers)?;
    offset(f, &subquery.modifiers)
}

/// Range, step and modifiers of a subquery as a text.
pub(super) fn subquery_times(subquery: &Subquery) -> String {
    Times(subquery).to_string()
}

struct Times<'a>(&'a Subquery);

impl fmt::Display for Times<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        times(f, self.0)
    }
}

struct MatchingText<'a>(&'a Matching);

impl fmt::Display for MatchingText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let matching = self.0;
        let grouped = matches!(
            matching.cardinality,
            Cardinality::ManyToOne | Cardinality::OneToMany
        );
        if matching.on || !matching.labels.is_empty() || grouped {
            f.write_str(if matching.on { " on " } else { " ignoring " })?;
            crate::operators::write_names(f, &matching.labels)?;
        }
        if grouped {
            let left = matching.cardinality == Cardinality::ManyToOne;
            f.write_str(if left {
                " group_left "
            } else {
                " group_right "
            })?;
            crate::operators::write_names(f, &matching.include)?;
        }
        match (matching.fill_left, matching.fill_right) {
            (Some(left), Some(right)) if left == right => write!(f, " fill ({})", float(left)),
            (left, right) => {
                if let Some(left) = left {
                    write!(f, " fill_left ({})", float(left))?;
                }
                if let Some(right) = right {
                    write!(f, " fill_right ({})", float(right))?;
                }
                Ok(())
            }
        }
    }
}

/// An expression over several lines where one line would be too long, as `promtool promql format`
/// lays it out.
pub fn pretty(expr: &Expr) -> String {
    let mut out = String::new();
    lay_out(expr, 0, &mut out);
    out
}

fn indent(level: usize, out: &mut String) {
    for _ in 0..level {
        out.push_str("  ");
    }
}

/// Writes an expression whose first line is indented by the level.
fn lay_out(expr: &Expr, level: usize, out: &mut String) {
    let one_line = expr.to_string();
    // Prometheus lays out the inside of signs whatever their length.
    let short = one_line.len() <= LINE_BYTES_MAX && !matches!(expr.kind, Kind::Sign(..));
    if short {
        // A subquery forgets its indent, here as there.
        if !matches!(expr.kind, Kind::Subquery(_)) {
            indent(level, out);
        }
        out.push_str(&one_line);
        return;
    }
    match &expr.kind {
        Kind::Number(..) | Kind::Text(_) | Kind::Selector(_) | Kind::Range(..) => {
            indent(level, out);
            out.push_str(&one_line);
        }
        Kind::Aggregate(aggregate) => {
            let head = aggregate_head(expr);
            let arguments = aggregate.parameter.iter().chain([&aggregate.expr]);
            block(&head, arguments, level, out);
        }
        Kind::Call(signature, arguments) => block(signature.name, arguments, level, out),
        Kind::Paren(inner) => block("", [inner.as_ref()], level, out),
        Kind::Binary(binary) => {
            lay_out(&binary.lhs, level + 1, out);
            out.push('\n');
            indent(level, out);
            out.push_str(&operator(binary));
            out.push('\n');
            lay_out(&binary.rhs, level + 1, out);
        }
        Kind::Subquery(subquery) => {
            lay_out(&subquery.expr, level, out);
            out.push_str(&Times(subquery).to_string());
        }
        Kind::Sign(negative, inner) => {
            let mut laid_out = String::new();
            lay_out(inner, level, &mut laid_out);
            indent(level, out);
            out.push(sign(*negative));
            out.push_str(laid_out.trim());
        }
    }
}

/// Something in parentheses, one argument a line.
fn block<'a>(
    head: &str,
    arguments: impl IntoIterator<Item = &'a Expr>,
    level: usize,
    out: &mut String,
) {
    indent(level, out);
    out.push_str(head);
    out.push('(');
    for (index, argument) in arguments.into_iter().enumerate() {
        out.push_str(if index > 0 { ",\n" } else { "\n" });
        lay_out(argument, level + 1, out);
    }
    out.push('\n');
    indent(level, out);
    out.push(')');
}
