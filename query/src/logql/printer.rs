//! LogQL's printer: one canonical text for each tree.
//!
//! Invariant: `parse(print(tree)) == tree`. Binary operations inside others stand in parentheses,
//! so that no precedence is needed to read them.

use std::fmt::{self, Display, Formatter};

use obs_model::Matcher;

use super::ast::{
    Conversion, Expr, Extraction, Grouping, LabelChoice, LabelFilter, LabelFormat, LineFilter,
    LineMatch, LogExpr, LogRange, Matching, MetricExpr, Side, Stage, Unwrap,
};
use crate::tokens::{format_duration, quote};

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Logs(logs) => logs.fmt(f),
            Self::Metric(metric) => metric.fmt(f),
        }
    }
}

fn list<T>(
    f: &mut Formatter<'_>,
    items: &[T],
    separator: &str,
    mut write: impl FnMut(&mut Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(separator)?;
        }
        write(f, item)?;
    }
    Ok(())
}

fn matcher(f: &mut Formatter<'_>, m: &Matcher) -> fmt::Result {
    write!(f, "{}{}{}", m.name, m.op.as_str(), quote(&m.value))
}

impl Display for LogExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        list(f, &self.matchers, ", ", matcher)?;
        f.write_str("}")?;
        self.stages
            .iter()
            .try_for_each(|stage| write!(f, " {stage}"))
    }
}

impl Display for LineFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.op.as_str())?;
        list(f, &self.alternatives, " or ", |f, m| match m {
            LineMatch::Text(text) => f.write_str(&quote(text)),
            LineMatch::Ip(range) => write!(f, "ip({})", quote(range)),
        })
    }
}

fn extractions(f: &mut Formatter<'_>, fields: &[Extraction]) -> fmt::Result {
    if fields.is_empty() {
        return Ok(());
    }
    f.write_str(" ")?;
    list(f, fields, ", ", |f, field| {
        if field.label == field.path {
            f.write_str(&field.label)
        } else {
            write!(f, "{}={}", field.label, quote(&field.path))
        }
    })
}

fn choices(f: &mut Formatter<'_>, keyword: &str, labels: &[LabelChoice]) -> fmt::Result {
    write!(f, "| {keyword} ")?;
    list(f, labels, ", ", |f, choice| match choice {
        LabelChoice::Name(name) => f.write_str(name),
        LabelChoice::Matcher(m) => matcher(f, m),
    })
}

impl Display for Stage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(filter) => filter.fmt(f),
            Self::Json(fields) => {
                f.write_str("| json")?;
                extractions(f, fields)
            }
            Self::Logfmt {
                strict,
                keep_empty,
                fields,
            } => {
                f.write_str("| logfmt")?;
                if *strict {
                    f.write_str(" --strict")?;
                }
                if *keep_empty {
                    f.write_str(" --keep-empty")?;
                }
                extractions(f, fields)
            }
            Self::Regexp(text) => write!(f, "| regexp {}", quote(text)),
            Self::Pattern(text) => write!(f, "| pattern {}", quote(text)),
            Self::Unpack => f.write_str("| unpack"),
            Self::Filter(filter) => write!(f, "| {filter}"),
            Self::LineFormat(text) => write!(f, "| line_format {}", quote(text)),
            Self::LabelFormat(formats) => {
                f.write_str("| label_format ")?;
                list(f, formats, ", ", |f, format| match format {
                    LabelFormat::Rename { to, from } => write!(f, "{to}={from}"),
                    LabelFormat::Template { to, template } => {
                        write!(f, "{to}={}", quote(template))
                    }
                })
            }
            Self::Decolorize => f.write_str("| decolorize"),
            Self::Drop(labels) => choices(f, "drop", labels),
            Self::Keep(labels) => choices(f, "keep", labels),
        }
    }
}

impl Display for LabelFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let inner = |f: &mut Formatter<'_>, filter: &Self| match filter {
            Self::And(_) | Self::Or(_) => write!(f, "({filter})"),
            _ => filter.fmt(f),
        };
        match self {
            Self::Matcher(m) => matcher(f, m),
            Self::Number { name, op, value } => write!(f, "{name} {} {value}", op.as_str()),
            Self::Duration { name, op, nanos } => {
                write!(f, "{name} {} {}", op.as_str(), format_duration(*nanos))
            }
            Self::Bytes { name, op, bytes } => write!(f, "{name} {} {bytes}B", op.as_str()),
            Self::Ip {
                name,
                negative,
                range,
            } => {
                let op = if *negative { "!=" } else { "=" };
                write!(f, "{name}{op}ip({})", quote(range))
            }
            Self::And(filters) => list(f, filters, " and ", inner),
            Self::Or(filters) => list(f, filters, " or ", inner),
        }
    }
}

impl Display for Unwrap {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.conversion {
            Conversion::Number => write!(f, "| unwrap {}", self.label)?,
            Conversion::Duration => write!(f, "| unwrap duration({})", self.label)?,
            Conversion::Bytes => write!(f, "| unwrap bytes({})", self.label)?,
        }
        self.filters
            .iter()
            .try_for_each(|filter| write!(f, " | {filter}"))
    }
}

impl Display for LogRange {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.logs.fmt(f)?;
        if let Some(unwrap) = &self.unwrap {
            write!(f, " {unwrap}")?;
        }
        write!(f, " [{}]", format_duration(self.range))?;
        if self.offset != 0 {
            write!(f, " offset {}", format_duration(self.offset))?;
        }
        Ok(())
    }
}

impl Display for Grouping {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let word = if self.without { "without" } else { "by" };
        write!(f, "{word} ({})", self.labels.join(", "))
    }
}

impl Display for Matching {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.return_bool {
            f.write_str(" bool")?;
        }
        if let Some((on, labels)) = &self.labels {
            let word = if *on { "on" } else { "ignoring" };
            write!(f, " {word} ({})", labels.join(", "))?;
        }
        if let Some((side, labels)) = &self.group {
            let word = match side {
                Side::Left => "group_left",
                Side::Right => "group_right",
            };
            write!(f, " {word} ({})", labels.join(", "))?;
        }
        Ok(())
    }
}

impl Display for MetricExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range {
                op,
                parameter,
                logs,
                grouping,
            } => {
                write!(f, "{}(", op.as_str())?;
                if let Some(number) = parameter {
                    write!(f, "{number}, ")?;
                }
                write!(f, "{logs})")?;
                match grouping {
                    Some(grouping) => write!(f, " {grouping}"),
                    None => Ok(()),
                }
            }
            Self::Vector {
                op,
                parameter,
                expr,
                grouping,
            } => {
                f.write_str(op.as_str())?;
                if let Some(grouping) = grouping {
                    write!(f, " {grouping} ")?;
                }
                f.write_str("(")?;
                if let Some(k) = parameter {
                    write!(f, "{k}, ")?;
                }
                write!(f, "{expr})")
            }
            Self::Binary {
                op,
                left,
                right,
                matching,
            } => {
                operand(f, left)?;
                write!(f, " {}{matching} ", op.as_str())?;
                operand(f, right)
            }
            Self::Number(number) => write!(f, "{number}"),
            Self::Literal(number) => write!(f, "vector({number})"),
            Self::LabelReplace {
                expr,
                destination,
                replacement,
                source,
                regex,
            } => write!(
                f,
                "label_replace({expr}, {}, {}, {}, {})",
                quote(destination),
                quote(replacement),
                quote(source),
                quote(regex)
            ),
        }
    }
}

fn operand(f: &mut Formatter<'_>, expr: &MetricExpr) -> fmt::Result {
    if matches!(expr, MetricExpr::Binary { .. }) {
        write!(f, "({expr})")
    } else {
        expr.fmt(f)
    }
}
