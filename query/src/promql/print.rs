//! Writes expressions as Prometheus does; what is written parses to the same expression.

use std::fmt;

use obs_model::Matcher;
use obs_model::labels::{METRIC_NAME, is_legacy_name};

use super::ast::{At, Duration, Expr, Kind, Modifiers, Selector};
use super::strings::quote;
use crate::operators::{BinaryOp, Cardinality, Matching};
use crate::plan::Borders;

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Number(value, written) => number(f, *value, *written),
            Kind::Text(text) => f.write_str(&quote(text)),
            Kind::Selector(selector) => {
                head(f, selector)?;
                modifiers(f, &selector.modifiers)
            }
            Kind::Range(selector, range) => {
                head(f, selector)?;
                write!(f, "[{range}]")?;
                modifiers(f, &selector.modifiers)
            }
            Kind::Subquery(subquery) => {
                write!(f, "{}[{}:", subquery.expr, subquery.range)?;
                if let Some(step) = &subquery.step {
                    write!(f, "{step}")?;
                }
                f.write_str("]")?;
                modifiers(f, &subquery.modifiers)
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
                f.write_str(aggregate.op.as_str())?;
                if let Some(grouping) = &aggregate.grouping {
                    // Prometheus does not print the empty `by ()`.
                    if grouping.without || !grouping.labels.is_empty() {
                        write!(f, " {grouping} ")?;
                    }
                }
                f.write_str("(")?;
                if let Some(parameter) = &aggregate.parameter {
                    write!(f, "{parameter}, ")?;
                }
                write!(f, "{})", aggregate.expr)
            }
            Kind::Binary(binary) => {
                write!(f, "{} {}", binary.lhs, binary.op.as_str())?;
                if binary.return_bool {
                    f.write_str(" bool")?;
                }
                if let Some(found) = &binary.matching {
                    matching(f, found)?;
                }
                write!(f, " {}", binary.rhs)
            }
            Kind::Negate(inner) => write!(f, "-{inner}"),
            Kind::Paren(inner) => write!(f, "({inner})"),
        }
    }
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

/// Milliseconds in the fewest units; weeks and years only where nothing is left over.
fn duration(f: &mut fmt::Formatter<'_>, seconds: f64) -> fmt::Result {
    let mut ms = (seconds.abs() * 1000.0).round() as u64;
    if ms == 0 {
        return f.write_str("0s");
    }
    if seconds < 0.0 {
        f.write_str("-")?;
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

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(seconds, written) => number(f, *seconds, *written),
            Self::Negate(inner) => write!(f, "-{inner}"),
            Self::Binary(op, a, b) => write!(f, "{a} {} {b}", op.as_str()),
            Self::Step => f.write_str("step()"),
            Self::Range => f.write_str("range()"),
            Self::MinOf(a, b) => write!(f, "min_of({a}, {b})"),
            Self::MaxOf(a, b) => write!(f, "max_of({a}, {b})"),
            Self::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

/// Name and matchers. A name that is not of the old alphabet stands in the braces.
fn head(f: &mut fmt::Formatter<'_>, selector: &Selector) -> fmt::Result {
    let mut parts: Vec<String> = selector.matchers.iter().map(matcher).collect();
    if let Some(name) = &selector.name {
        let plain = name
            .split(':')
            .all(|part| part.is_empty() || is_legacy_tail(part))
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && !name.is_empty();
        let reserved = [
            "bool",
            "on",
            "ignoring",
            "group_left",
            "group_right",
            "inf",
            "nan",
        ];
        if plain && !reserved.iter().any(|r| r.eq_ignore_ascii_case(name)) {
            f.write_str(name)?;
        } else {
            parts.insert(0, quote(name));
        }
    }
    if parts.is_empty() {
        return Ok(());
    }
    write!(f, "{{{}}}", parts.join(","))
}

fn is_legacy_tail(part: &str) -> bool {
    part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn matcher(matcher: &Matcher) -> String {
    let name = if is_legacy_name(&matcher.name) || matcher.name == METRIC_NAME {
        matcher.name.clone()
    } else {
        quote(&matcher.name)
    };
    format!("{name}{}{}", matcher.op.as_str(), quote(&matcher.value))
}

fn modifiers(f: &mut fmt::Formatter<'_>, modifiers: &Modifiers) -> fmt::Result {
    match modifiers.borders {
        Borders::Plain => {}
        Borders::Anchored => f.write_str(" anchored")?,
        Borders::Smoothed => f.write_str(" smoothed")?,
    }
    match modifiers.at {
        None => {}
        Some(At::Start) => f.write_str(" @ start()")?,
        Some(At::End) => f.write_str(" @ end()")?,
        Some(At::Millis(ms)) => {
            let sign = if ms < 0 { "-" } else { "" };
            let ms = ms.unsigned_abs();
            write!(f, " @ {sign}{}.{:03}", ms / 1000, ms % 1000)?;
        }
    }
    match &modifiers.offset {
        None => Ok(()),
        Some(offset) => write!(f, " offset {offset}"),
    }
}

fn matching(f: &mut fmt::Formatter<'_>, matching: &Matching) -> fmt::Result {
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
    let fill = |f: &mut fmt::Formatter<'_>, word: &str, value: f64| {
        write!(f, " {word} (")?;
        number(f, value, false)?;
        f.write_str(")")
    };
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if left.to_bits() == right.to_bits() => fill(f, "fill", left),
        (left, right) => {
            left.map_or(Ok(()), |value| fill(f, "fill_left", value))?;
            right.map_or(Ok(()), |value| fill(f, "fill_right", value))
        }
    }
}

/// Used where only the operator is known.
impl fmt::Display for BinaryOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
