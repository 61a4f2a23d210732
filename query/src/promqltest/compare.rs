//! Whether an answer is the one that a file expects.

use obs_model::histogram::{BucketSpan, ResetHint};
use obs_model::sample::is_stale;
use obs_model::{Annotations, Answer, Histogram, Labels, Timestamp, Value};

use super::command::{Eval, Expected, Notes};
use super::series::{Item, Row};
use crate::request::When;

/// Relative difference that floats may have.
const EPSILON: f64 = 1e-6;

/// Equal, but for rounding.
fn close(a: f64, b: f64) -> bool {
    if is_stale(a) || is_stale(b) {
        return is_stale(a) && is_stale(b);
    }
    if (a.is_nan() && b.is_nan()) || a == b {
        return true;
    }
    let sum = a.abs() + b.abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return (a - b).abs() < EPSILON * f64::MIN_POSITIVE;
    }
    (a - b).abs() / sum.min(f64::MAX) < EPSILON
}

fn same(expected: &Item, found: &Value) -> bool {
    match (&expected.value, found) {
        (Value::Float(a), Value::Float(b)) => close(*a, *b),
        (Value::Histogram(a), Value::Histogram(b)) => same_histogram(a, b, expected.hinted),
        (Value::Float(_), Value::Histogram(_)) | (Value::Histogram(_), Value::Float(_)) => false,
    }
}

fn same_histogram(a: &Histogram, b: &Histogram, hinted: bool) -> bool {
    let (x, y) = (
        crate::eval::filled_buckets(a),
        crate::eval::filled_buckets(b),
    );
    a.schema == b.schema
        && close(a.count, b.count)
        && close(a.sum, b.sum)
        && close(a.zero_count, b.zero_count)
        && a.zero_threshold == b.zero_threshold
        && a.custom_bounds == b.custom_bounds
        && x.len() == y.len()
        && x.iter().zip(&y).all(|(x, y)| x.0 == y.0 && close(x.1, y.1))
        && (!hinted || a.reset_hint == b.reset_hint)
}

/// A value as a failure shows it.
fn shown(value: &Value) -> String {
    match value {
        Value::Float(value) => crate::eval::float(*value),
        Value::Histogram(histogram) => notation(histogram),
    }
}

/// A histogram as the files write it.
pub(super) fn notation(histogram: &Histogram) -> String {
    let buckets = |spans: &[BucketSpan], counts: &[f64]| {
        let (mut all, mut counts) = (Vec::new(), counts.iter());
        for (at, span) in spans.iter().enumerate() {
            // What lies between two spans is empty.
            let gap = if at == 0 { 0 } else { span.offset.max(0) };
            all.extend((0..gap).map(|_| "0".to_owned()));
            let inside = counts.by_ref().take(span.length as usize);
            all.extend(inside.map(|count| crate::eval::float(*count)));
        }
        all.join(" ")
    };
    let float = crate::eval::float;
    let mut out = format!(
        "{{{{schema:{} count:{} sum:{}",
        histogram.schema,
        float(histogram.count),
        float(histogram.sum)
    );
    let mut add = |name: &str, text: String| out.push_str(&format!(" {name}:{text}"));
    if histogram.zero_count != 0.0 {
        add("z_bucket", float(histogram.zero_count));
        add("z_bucket_w", float(histogram.zero_threshold));
    }
    if !histogram.custom_bounds.is_empty() {
        let bounds: Vec<String> = histogram.custom_bounds.iter().map(|b| float(*b)).collect();
        add("custom_values", format!("[{}]", bounds.join(" ")));
    }
    let sides = [
        (
            "offset",
            "buckets",
            &histogram.positive_spans,
            &histogram.positive,
        ),
        (
            "n_offset",
            "n_buckets",
            &histogram.negative_spans,
            &histogram.negative,
        ),
    ];
    for (offset, name, spans, counts) in sides {
        if let Some(first) = spans.first() {
            if first.offset != 0 {
                add(offset, first.offset.to_string());
            }
            add(name, format!("[{}]", buckets(spans, counts)));
        }
    }
    let hint = match histogram.reset_hint {
        ResetHint::Unknown => "",
        ResetHint::Reset => " counter_reset_hint:reset",
        ResetHint::NotReset => " counter_reset_hint:not_reset",
        ResetHint::Gauge => " counter_reset_hint:gauge",
    };
    out + hint + "}}"
}

/// Compares warnings and infos.
pub(super) fn annotations(eval: &Eval<'_>, found: &Annotations) -> Result<(), String> {
    let kinds = [
        ("warn", &eval.warn, &found.warnings),
        ("info", &eval.info, &found.infos),
    ];
    for (word, notes, found) in kinds {
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        notes_fit(word, notes, &found)?;
    }
    Ok(())
}

fn notes_fit(word: &str, notes: &Notes<'_>, found: &[&str]) -> Result<(), String> {
    let wanted = notes.some || !notes.said.is_empty();
    if wanted && found.is_empty() {
        return Err(format!("expected {word} annotations but none were found"));
    }
    if notes.none && !found.is_empty() {
        return Err(format!("unexpected {word} annotations: {found:?}"));
    }
    for said in &notes.said {
        if !found.iter().any(|text| said.fits(text)) {
            return Err(format!(
                "expected {word} annotation {said}, found {found:?}"
            ));
        }
    }
    let covered = |text: &&&str| notes.said.iter().any(|said| said.fits(text));
    match found.iter().find(|text| !covered(text)) {
        Some(extra) if !notes.said.is_empty() => {
            Err(format!("unexpected {word} annotation {extra:?}"))
        }
        Some(_) | None => Ok(()),
    }
}

/// Compares the value.
pub(super) fn answer(eval: &Eval<'_>, found: &Answer) -> Result<(), String> {
    match (found, &eval.expected) {
        (Answer::Scalar(_, found), Expected::Scalar(expected)) => {
            if close(*expected, *found) {
                return Ok(());
            }
            let found = crate::eval::float(*found);
            Err(format!("expected scalar {expected}, found {found}"))
        }
        (Answer::String(_, found), Expected::Text(expected)) => match found == expected {
            true => Ok(()),
            false => Err(format!("expected string {expected:?}, found {found:?}")),
        },
        (Answer::Vector(found), Expected::Series(rows)) => {
            let found = found.iter().map(|s| (&s.labels, &s.value));
            vector(eval, rows, &found.collect::<Vec<_>>())
        }
        (Answer::Matrix(found), Expected::Series(rows)) => {
            if eval.ordered {
                return Err("expected ordered result, but query returned a matrix".to_owned());
            }
            if !found.is_sorted_by(|a, b| a.labels < b.labels) {
                return Err("matrix results are not sorted by labels".to_owned());
            }
            let found = found.iter().map(|s| {
                let points: Vec<(Timestamp, Value)> = s.samples.iter().collect();
                (&s.labels, points)
            });
            matrix(rows, found.collect(), eval.points)
        }
        (found, expected) => {
            let kind = |expected: &Expected| match expected {
                Expected::Scalar(_) => "a scalar",
                Expected::Text(_) => "a string",
                Expected::Series(_) => "series",
            };
            let found = match found {
                Answer::Scalar(..) => "a scalar".to_owned(),
                Answer::String(..) => "a string".to_owned(),
                Answer::Vector(all) => format!("a vector of {} series", all.len()),
                Answer::Matrix(all) => format!("a matrix of {} series", all.len()),
                Answer::Streams(_) | Answer::Traces(_) | Answer::SpanSeries(_) => {
                    "no answer of PromQL".to_owned()
                }
            };
            Err(format!("expected {}, found {found}", kind(expected)))
        }
    }
}

/// Compares the series of one point in time.
pub(super) fn vector(
    eval: &Eval<'_>,
    rows: &[Row],
    found: &[(&Labels, &Value)],
) -> Result<(), String> {
    for (position, (labels, value)) in found.iter().enumerate() {
        let Some(at) = rows.iter().position(|(of, _)| of == *labels) else {
            let value = shown(value);
            return Err(format!(
                "unexpected metric {labels} in result, has value {value}"
            ));
        };
        if eval.ordered && at != position {
            return Err(format!(
                "expected metric {labels} at position {} but was at {}",
                at + 1,
                position + 1
            ));
        }
        let Some(Some(expected)) = rows[at].1.first() else {
            return Err(format!(
                "expected no value for {labels}, found {}",
                shown(value)
            ));
        };
        if !same(expected, value) {
            let expected = shown(&expected.value);
            return Err(format!(
                "expected {expected} for {labels}, found {}",
                shown(value)
            ));
        }
    }
    let missing = |row: &&Row| !found.iter().any(|(labels, _)| **labels == row.0);
    match rows.iter().find(missing) {
        Some((labels, values)) if values.iter().any(Option::is_some) => {
            Err(format!("expected metric {labels} not found"))
        }
        Some(_) | None => Ok(()),
    }
}

/// Compares series over a range.
fn matrix(
    rows: &[Row],
    found: Vec<(&Labels, Vec<(Timestamp, Value)>)>,
    points: When,
) -> Result<(), String> {
    let When::Range { start, end, step } = points else {
        return Err("expected a vector, found a matrix".to_owned());
    };
    for (labels, points) in &found {
        let Some((_, items)) = rows.iter().find(|(of, _)| of == *labels) else {
            let shown: Vec<String> = points.iter().map(|(_, v)| shown(v)).collect();
            return Err(format!(
                "unexpected metric {labels} in result, has {shown:?}"
            ));
        };
        let time = |index: usize| start.saturating_add(step.saturating_mul(index as i64));
        if items.len() > 1 && time(items.len() - 1) > end {
            return Err(format!(
                "expected {} points for {labels}, but query time range cannot return this many points",
                items.len()
            ));
        }
        let expected: Vec<(Timestamp, &Item)> = items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| Some((time(index), item.as_ref()?)))
            .collect();
        if expected.len() != points.len() {
            let shown: Vec<String> = points.iter().map(|(_, v)| shown(v)).collect();
            return Err(format!(
                "expected {} points for {labels}, found {}: {shown:?}",
                expected.len(),
                points.len()
            ));
        }
        for ((at, item), (time, value)) in expected.iter().zip(points) {
            if at != time || !same(item, value) {
                let expected = shown(&item.value);
                let found = shown(value);
                return Err(format!(
                    "expected {expected} at {at} for {labels}, found {found} at {time}"
                ));
            }
        }
    }
    let missing = |row: &&Row| !found.iter().any(|(labels, _)| **labels == row.0);
    match rows
        .iter()
        .filter(|row| row.1.iter().any(Option::is_some))
        .find(missing)
    {
        Some((labels, _)) => Err(format!("expected metric {labels} not found")),
        None => Ok(()),
    }
}
