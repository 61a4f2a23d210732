//! Series lines of test files: `metric{labels} 1 2 3+1x4 _ stale {{schema:0 count:1}}`.

use std::sync::Arc;

use obs_model::histogram::{BucketSpan, CUSTOM_BUCKETS_SCHEMA, ResetHint};
use obs_model::limits::Limits;
use obs_model::sample::stale;
use obs_model::{Histogram, Labels, MatchOp, Value};

use crate::promql::ast::Kind;

/// Values that one item of a line may stand for, at most.
const REPEAT_MAX: usize = 1_000_000;

/// A value of a line.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// The value.
    pub(super) value: Value,
    /// Whether the line tells the hint of counter resets.
    pub(super) hinted: bool,
}

/// Labels and values; `None` is a gap.
pub(super) type Row = (Labels, Vec<Option<Item>>);

/// Reads a line.
pub(super) fn row(line: &str) -> Result<Row, String> {
    let (metric, values) = split(line);
    Ok((labels(metric)?, items(values)?))
}

/// The metric of a line and what follows it.
pub(super) fn split(line: &str) -> (&str, &str) {
    let mut quote = None;
    let mut depth = 0;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some('"' | '\''), '\\') => escaped = true,
            (Some(q), c) if q == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') => depth -= 1,
            (None, ' ' | '\t') if depth == 0 => {
                let rest = line[at..].trim_start();
                // A space may stand between name and braces.
                if rest.starts_with('{') && !rest.starts_with("{{") && !line[..at].contains('{') {
                    continue;
                }
                return (&line[..at], rest);
            }
            (None, _) => {}
        }
    }
    (line, "")
}

/// The labels that a metric is written with.
pub(super) fn labels(metric: &str) -> Result<Labels, String> {
    let expr = crate::promql::parse_metric(metric, &Limits::default());
    let Kind::Selector(selector) = expr.map_err(|e| e.to_string())?.kind else {
        return Err(format!("{metric:?} is not a metric"));
    };
    let matchers = selector.all_matchers();
    if let Some(other) = matchers.iter().find(|m| m.op != MatchOp::Equal) {
        return Err(format!("expected \"=\" in {metric:?}, found {other}"));
    }
    let pairs = matchers.iter().map(|m| (m.name.as_str(), m.value.as_str()));
    Ok(Labels::from_pairs(pairs))
}

/// The values behind a metric.
fn items(text: &str) -> Result<Vec<Option<Item>>, String> {
    let mut out = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if rest.starts_with("{{") {
            rest = histograms(rest, &mut out)?;
        } else {
            let end = rest.find([' ', '\t']).unwrap_or(rest.len());
            floats(&rest[..end], &mut out)?;
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    Ok(out)
}

fn count(text: &str) -> Result<usize, String> {
    let count = text.parse::<usize>().ok().filter(|n| *n <= REPEAT_MAX);
    count.ok_or_else(|| format!("invalid repetition in series values: {text:?}"))
}

/// Reads a histogram, perhaps with a step and a repetition; gives what follows.
fn histograms<'a>(text: &'a str, out: &mut Vec<Option<Item>>) -> Result<&'a str, String> {
    let (first, mut hinted, mut rest) = one_histogram(text)?;
    let sign = rest.chars().next().filter(|c| "+-".contains(*c));
    let mut step = None;
    if sign.is_some() {
        let (found, told, behind) = one_histogram(&rest[1..])?;
        (step, hinted, rest) = (Some(found), told, behind);
    }
    let mut times = 0;
    if let Some(after) = rest.strip_prefix('x') {
        let end = after.find([' ', '\t']).unwrap_or(after.len());
        times = count(&after[..end])?;
        rest = &after[end..];
    }
    let item = |histogram: Histogram| {
        Some(Item {
            value: Value::Histogram(Arc::new(histogram)),
            hinted,
        })
    };
    let mut now = crate::eval::compacted(&first);
    out.push(item(first));
    for _ in 0..times {
        if let Some(step) = &step {
            let factor = if sign == Some('-') { -1.0 } else { 1.0 };
            now = crate::eval::stepped(&now, step, factor)
                .ok_or("error combining histograms: their buckets do not go together")?;
        }
        out.push(item(now.clone()));
    }
    Ok(rest)
}

fn one_histogram(text: &str) -> Result<(Histogram, bool, &str), String> {
    let inner = text.strip_prefix("{{").ok_or("expected \"{{\"")?;
    let (inner, rest) = inner.split_once("}}").ok_or("expected \"}}\"")?;
    Ok((
        histogram(inner)?,
        inner.contains("counter_reset_hint"),
        rest,
    ))
}

fn floats(token: &str, out: &mut Vec<Option<Item>>) -> Result<(), String> {
    let fault = || format!("{token:?} is not a value");
    // There are no hexadecimal numbers here: `0x3` is four zeroes.
    let (base, times) = match token.rsplit_once('x') {
        Some((base, times)) => (base, Some(count(times)?)),
        None => (token, None),
    };
    if base == "_" {
        // `_` is one gap, `_xN` N of them.
        out.extend(std::iter::repeat_n(None, times.unwrap_or(1)));
        return Ok(());
    }
    let item = |value: f64| {
        Some(Item {
            value: Value::Float(value),
            hinted: false,
        })
    };
    if base == "stale" {
        let many = times.unwrap_or(0) + 1;
        out.extend(std::iter::repeat_n(item(stale()), many));
        return Ok(());
    }
    // A sign behind the first character, but not of an exponent, separates the step.
    let bytes = base.as_bytes();
    let sign = (1..bytes.len())
        .find(|i| b"+-".contains(&bytes[*i]) && !b"eE".contains(&bytes[*i - 1]) && times.is_some());
    let (first, step) = match sign {
        Some(at) => (&base[..at], number(&base[at..]).ok_or_else(fault)?),
        None => (base, 0.0),
    };
    let mut value = number(first).ok_or_else(fault)?;
    for index in 0..=times.unwrap_or(0) {
        if index > 0 && sign.is_some() {
            value += step;
        }
        out.push(item(value));
    }
    Ok(())
}

/// A number with a sign, decimal or named.
pub(super) fn number(text: &str) -> Option<f64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    if let Some(hex) = digits.strip_prefix("0x") {
        return Some(sign * i64::from_str_radix(hex, 16).ok()? as f64);
    }
    let plain = digits.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '.');
    plain.then(|| digits.parse::<f64>().ok())?.map(|v| sign * v)
}

/// The insides of `{{…}}`.
fn histogram(inner: &str) -> Result<Histogram, String> {
    let mut histogram = Histogram::default();
    let mut offsets = [0i32; 2];
    let mut rest = inner.trim();
    while !rest.is_empty() {
        let fault = || {
            format!("expected a histogram description key, e.g. buckets:[5 10 7], found {rest:?}")
        };
        let (key, after) = rest.split_once(':').ok_or_else(fault)?;
        let (value, next) = match after.strip_prefix('[') {
            Some(list) => list.split_once(']').ok_or("expected \"]\"")?,
            None => after.split_once([' ', '\t']).unwrap_or((after, "")),
        };
        let bad = || format!("bad value {value:?} of {key:?} in a histogram");
        let list = || -> Result<Vec<f64>, String> {
            let words = value.split([' ', ',']).filter(|w| !w.is_empty());
            words.map(|w| number(w).ok_or_else(bad)).collect()
        };
        let one = || number(value.trim()).ok_or_else(bad);
        match key.trim() {
            "schema" => histogram.schema = one()? as i32,
            "sum" => histogram.sum = one()?,
            "count" => histogram.count = one()?,
            "z_bucket" => histogram.zero_count = one()?,
            "z_bucket_w" => histogram.zero_threshold = one()?,
            "buckets" => histogram.positive = list()?,
            "offset" => offsets[0] = one()? as i32,
            "n_buckets" => histogram.negative = list()?,
            "n_offset" => offsets[1] = one()? as i32,
            "custom_values" => histogram.custom_bounds = list()?,
            "counter_reset_hint" => {
                histogram.reset_hint = match value {
                    "unknown" => ResetHint::Unknown,
                    "reset" => ResetHint::Reset,
                    "not_reset" => ResetHint::NotReset,
                    "gauge" => ResetHint::Gauge,
                    _ => return Err(bad()),
                };
            }
            other => return Err(format!("bad histogram descriptor found: {other:?}")),
        }
        rest = next.trim_start();
    }
    let span = |offset, counts: &[f64]| match counts.is_empty() {
        true => Vec::new(),
        false => vec![BucketSpan {
            offset,
            length: counts.len() as u32, // as many as the line has
        }],
    };
    histogram.positive_spans = span(offsets[0], &histogram.positive);
    histogram.negative_spans = span(offsets[1], &histogram.negative);
    if histogram.schema != CUSTOM_BUCKETS_SCHEMA {
        histogram.custom_bounds.clear();
    }
    Ok(histogram)
}

/// The start timestamps of a line `metric@st …`, in milliseconds before (or behind) the samples.
pub(super) fn starts(text: &str) -> Result<Vec<Option<i64>>, String> {
    let mut out = Vec::new();
    for token in text.split_whitespace() {
        let fault = |what: &str| format!("invalid @st sequence: invalid ST item {token:?}: {what}");
        if let Some(gap) = token.strip_prefix('_') {
            let times = match gap.strip_prefix('x') {
                Some(times) => count(times).map_err(|e| fault(&e))?,
                None if gap.is_empty() => 1,
                None => return Err(fault("unexpected characters")),
            };
            out.extend(std::iter::repeat_n(None, times));
            continue;
        }
        let (base, times) = match token.rsplit_once('x') {
            Some((base, times)) => (base, count(times).map_err(|e| fault(&e))?),
            None => (token, 0),
        };
        let step_at = base[1..].find(['+', '-']).map(|at| at + 1);
        let (first, step) = match step_at {
            Some(at) => (&base[..at], millis(&base[at..]).map_err(|e| fault(&e))?),
            None => (base, 0),
        };
        let mut value = millis(first).map_err(|e| fault(&e))?;
        for _ in 0..=times {
            out.push(Some(value));
            value = value.saturating_add(step);
        }
    }
    Ok(out)
}

/// Milliseconds of a duration with a sign.
fn millis(text: &str) -> Result<i64, String> {
    let positive = text.trim_start_matches(['+', '-']);
    let value = crate::promql::duration_or_zero(positive)?;
    Ok(if text.starts_with('-') { -value } else { value })
}
