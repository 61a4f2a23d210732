//! LogQL's printer: one canonical text for each tree, in Loki's form.
//!
//! Invariant: `parse(print(tree)) == tree` for trees that the parser made. Sizes are printed
//! rounded only where the rounded text means the same.

use std::fmt::{self, Display, Formatter};

use obs_model::Matcher;

use super::ast::{
    Conversion, Expr, Extraction, Grouping, LabelChoice, LabelFilter, LabelFormat, LineFilter,
    LineMatch, LogExpr, LogRange, Matching, MetricExpr, Side, Stage, Unwrap,
};
use super::lexer::parse_size;

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

/// `{a="b", c=~"d"}`
pub(super) struct Selector<'a>(pub(super) &'a [Matcher]);

impl Display for Selector<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        list(f, self.0, ", ", matcher)?;
        f.write_str("}")
    }
}

impl Display for LogExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Selector(&self.matchers).fmt(f)?;
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
    list(f, fields, ",", |f, field| {
        write!(f, "{}={}", field.label, quote(&field.path))
    })
}

fn choices(f: &mut Formatter<'_>, keyword: &str, labels: &[LabelChoice]) -> fmt::Result {
    write!(f, "| {keyword} ")?;
    list(f, labels, ",", |f, choice| match choice {
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
                list(f, formats, ",", |f, format| match format {
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
        match self {
            Self::Matcher(m) => matcher(f, m),
            Self::Number { name, op, value } => write!(f, "{name}{}{}", op.as_str(), value + 0.0),
            Self::Duration { name, op, nanos } => {
                write!(f, "{name}{}{}", op.as_str(), go_duration_text(*nanos))
            }
            Self::Bytes { name, op, bytes } => {
                write!(f, "{name}{}{}", op.as_str(), size_text(*bytes))
            }
            Self::Ip {
                name,
                negative,
                range,
            } => {
                let op = if *negative { "!=" } else { "=" };
                write!(f, "{name}{op}ip({})", quote(range))
            }
            Self::And(filters) => joined(f, filters, " , "),
            Self::Or(filters) => joined(f, filters, " or "),
        }
    }
}

fn joined(f: &mut Formatter<'_>, filters: &[LabelFilter], separator: &str) -> fmt::Result {
    f.write_str("( ")?;
    list(f, filters, separator, |f, filter| filter.fmt(f))?;
    f.write_str(" )")
}

impl Unwrap {
    /// The stage without the filters behind it.
    pub(super) fn head(&self) -> String {
        let label = &self.label;
        match self.conversion {
            Conversion::Number => format!("| unwrap {label}"),
            Conversion::Duration => format!("| unwrap duration({label})"),
            Conversion::DurationSeconds => format!("| unwrap duration_seconds({label})"),
            Conversion::Bytes => format!("| unwrap bytes({label})"),
        }
    }
}

impl Display for Unwrap {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.head())?;
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
        write!(f, "[{}]", range_text(self.range))?;
        if self.offset != 0 {
            write!(f, " offset {}", go_duration_text(self.offset))?;
        }
        Ok(())
    }
}

impl Display for Grouping {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let word = if self.without { "without" } else { "by" };
        write!(f, "{word} ({})", self.labels.join(","))
    }
}

impl Display for Matching {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(","))
    }
}

impl Matching {
    /// What stands behind the operator, with a space before it and, as Loki has it, one behind it
    /// where series are matched.
    pub(super) fn text(&self, comma: &str) -> String {
        let mut out = if self.return_bool { " bool" } else { "" }.to_owned();
        let Some((on, labels)) = &self.labels else {
            return out;
        };
        let word = if *on { "on" } else { "ignoring" };
        out.push_str(&format!(" {word} ({}) ", labels.join(comma)));
        if let Some((side, labels)) = &self.group {
            out.push_str(match side {
                Side::Left => "group_left",
                Side::Right => "group_right",
            });
            if !labels.is_empty() {
                out.push_str(&format!(" ({})", labels.join(comma)));
            }
        }
        out
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
                    write!(f, "{number},")?;
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
                    write!(f, " {grouping}")?;
                }
                f.write_str("(")?;
                if let Some(k) = parameter {
                    write!(f, "{k},")?;
                }
                write!(f, "{expr})")
            }
            Self::Binary {
                op,
                left,
                right,
                matching,
            } => write!(f, "({left} {}{matching} {right})", op.as_str()),
            Self::Number(number) => f.write_str(&go_float(*number)),
            Self::Literal(number) => {
                let text = format!("{number:.6}");
                match text.parse() == Ok(*number) {
                    true => write!(f, "vector({text})"),
                    false => write!(f, "vector({number})"),
                }
            }
            Self::LabelReplace {
                expr,
                destination,
                replacement,
                source,
                regex,
            } => write!(
                f,
                "label_replace({expr},{},{},{},{})",
                quote(destination),
                quote(replacement),
                quote(source),
                quote(regex)
            ),
        }
    }
}

/// A text as Go quotes it.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c != ' ' && (c.is_control() || c.is_whitespace()) => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A number as Go's `%v` writes it.
fn go_float(number: f64) -> String {
    // Zero has no sign here: `-0` is a duration.
    let number = number + 0.0;
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..21).contains(&exponent) {
        return format!("{number}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// A duration as Prometheus writes it; years and weeks only where nothing is left over.
pub(super) fn range_text(nanos: i64) -> String {
    const UNITS: [(&str, u64, bool); 7] = [
        ("y", 365 * 86_400_000, true),
        ("w", 7 * 86_400_000, true),
        ("d", 86_400_000, false),
        ("h", 3_600_000, false),
        ("m", 60_000, false),
        ("s", 1000, false),
        ("ms", 1, false),
    ];
    let mut rest = nanos.unsigned_abs() / 1_000_000;
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut out = if nanos < 0 { "-" } else { "" }.to_owned();
    for (unit, length, exact) in UNITS {
        if rest >= length && (!exact || rest.is_multiple_of(length)) {
            out.push_str(&format!("{}{unit}", rest / length));
            rest %= length;
        }
    }
    out
}

/// A duration as Go writes it: `1h0m5.25s`, `20ms`, `1.5µs`.
pub fn go_duration_text(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let rest = nanos.unsigned_abs();
    let fraction = |value: u64, unit: u64| {
        let part = value % unit;
        if part == 0 {
            return format!("{}", value / unit);
        }
        let width = unit.ilog10() as usize;
        let digits = format!("{part:0width$}");
        format!("{}.{}", value / unit, digits.trim_end_matches('0'))
    };
    match rest {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{rest}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", fraction(rest, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", fraction(rest, 1_000_000)),
        _ => {
            const MINUTE: u64 = 60_000_000_000;
            let seconds = fraction(rest % MINUTE, 1_000_000_000);
            let minutes = rest / MINUTE;
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// A size in the largest unit of 1000 with at most one decimal, or in bytes where that would say
/// another size.
pub(crate) fn size_text(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let (mut unit, mut scale) = (0, 1u64);
    while unit + 1 < UNITS.len() && bytes / scale >= 1000 {
        unit += 1;
        scale *= 1000;
    }
    let value = bytes as f64 / scale as f64;
    let short = match value < 10.0 && unit > 0 {
        true => format!("{value:.1}{}", UNITS[unit]),
        false => format!("{value:.0}{}", UNITS[unit]),
    };
    match parse_size(&short) {
        Ok(same) if same == bytes => short,
        _ => format!("{bytes}B"),
    }
}
