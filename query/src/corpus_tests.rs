//! Runs the `.test` files of Prometheus against the evaluator (tests only).
//!
//! The files lie beside the repository and are not part of it; where they are absent, the test
//! says so and passes. Counts that were reached are floors: less is a regression.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use obs_model::answer::{MatrixSeries, VectorSample};
use obs_model::budget::Budget;
use obs_model::histogram::{BucketSpan, CUSTOM_BUCKETS_SCHEMA, ResetHint};
use obs_model::limits::Limits;
use obs_model::sample::{is_stale, stale};
use obs_model::{Annotations, Answer, Histogram, Labels, Samples, Timestamp, Value};

use crate::plan::{Leaf, SelectedSeries};
use crate::promql::ast::Kind;
use crate::request::{Request, When};

/// Series in memory.
#[derive(Default)]
pub(crate) struct Memory {
    series: BTreeMap<Labels, Samples>,
}

impl Memory {
    /// Adds series in the notation of the files: `load 1m` and lines below it.
    pub(crate) fn load(&mut self, step: i64, lines: &[&str]) -> Result<(), String> {
        for line in lines {
            let (metric, values) = split_series(line)?;
            if metric.ends_with("@st") {
                continue;
            }
            let samples = self.series.entry(labels(metric)?).or_default();
            let mut time = 0;
            let mut before = None;
            for value in expand(values)? {
                if let Some(value) = value {
                    let value = hinted(before.as_ref(), value);
                    samples.push(Timestamp::from_nanos(time), value.clone());
                    before = Some(value);
                }
                time += step;
            }
        }
        Ok(())
    }

    /// Evaluates a query with delayed name removal as asked.
    pub(crate) fn run(
        &self,
        text: &str,
        when: When,
        delayed_names: bool,
    ) -> Result<(Answer, Annotations), String> {
        let limits = Limits::default();
        let expr = crate::promql::parse(text, &limits).map_err(|e| e.to_string())?;
        let request = Request {
            delayed_names,
            ..Request::new(when)
        };
        let plan =
            crate::promql::plan(&expr, text, &request, &limits).map_err(|e| e.to_string())?;
        let mut selected = Vec::new();
        for read in &plan.leaves {
            let Leaf::Metrics(matchers) = &read.leaf else {
                return Err("a leaf of another language".to_owned());
            };
            let matching = self
                .series
                .iter()
                .filter(|(labels, _)| obs_model::matcher::all_match(matchers, labels));
            let cut = matching.map(|(labels, samples)| {
                let mut kept = Samples::default();
                for (time, value) in samples.iter().filter(|(t, _)| read.range.contains(*t)) {
                    kept.push(time, value);
                }
                SelectedSeries {
                    labels: labels.clone(),
                    samples: kept,
                }
            });
            selected.push(cut.filter(|s| !s.samples.is_empty()).collect());
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        let pool = pool.map_err(|e| e.to_string())?;
        let budget = Budget::new(&limits);
        crate::eval::eval(&plan, &selected, &budget, &pool).map_err(|e| e.to_string())
    }
}

/// The value as Prometheus' storage gives it back: behind a histogram without a reset, the hint
/// says so; behind anything else nothing is known.
fn hinted(before: Option<&Value>, value: Value) -> Value {
    let Value::Histogram(histogram) = &value else {
        return value;
    };
    if histogram.reset_hint == ResetHint::Gauge || histogram.is_stale() {
        return value;
    }
    let follows = match before {
        Some(Value::Histogram(before)) => !crate::eval::was_reset(before, histogram),
        Some(Value::Float(_)) | None => false,
    };
    let reset_hint = if follows {
        ResetHint::NotReset
    } else {
        ResetHint::Unknown
    };
    Value::Histogram(Arc::new(Histogram {
        reset_hint,
        ..histogram.as_ref().clone()
    }))
}

/// The metric of a series line and what follows it.
fn split_series(line: &str) -> Result<(&str, &str), String> {
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
                return Ok((&line[..at], rest));
            }
            (None, _) => {}
        }
    }
    Ok((line, ""))
}

fn labels(metric: &str) -> Result<Labels, String> {
    if metric == "{}" {
        return Ok(Labels::empty());
    }
    let expr = crate::promql::parse(metric, &Limits::default()).map_err(|e| e.to_string())?;
    let Kind::Selector(selector) = expr.kind else {
        return Err(format!("{metric} is not a metric"));
    };
    let name = selector.name.iter().map(|n| ("__name__", n.as_str()));
    let others = selector
        .matchers
        .iter()
        .map(|m| (m.name.as_str(), m.value.as_str()));
    Ok(Labels::from_pairs(name.chain(others)))
}

/// The values of a series line; `None` is a gap.
fn expand(text: &str) -> Result<Vec<Option<Value>>, String> {
    let mut out = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if rest.starts_with("{{") {
            let end = rest.find("}}").ok_or("no }}")? + 2;
            let first = histogram(&rest[..end])?;
            rest = &rest[end..];
            let sign = rest.chars().next().filter(|c| "+-".contains(*c));
            let step = match sign {
                Some(_) => {
                    let end = rest.find("}}").ok_or("no }}")? + 2;
                    let step = histogram(&rest[1..end])?;
                    rest = &rest[end..];
                    Some(step)
                }
                None => None,
            };
            let times = match rest.strip_prefix('x') {
                Some(after) => {
                    let end = after.find([' ', '\t']).unwrap_or(after.len());
                    rest = &after[end..];
                    after[..end].parse::<usize>().map_err(|e| e.to_string())?
                }
                None => 0,
            };
            let mut parts = crate::eval::parts(&first);
            out.push(Some(Value::Histogram(Arc::new(first))));
            for _ in 0..times {
                if let Some(step) = &step {
                    let factor = if sign == Some('-') { -1.0 } else { 1.0 };
                    parts = crate::eval::sum(&parts, step, factor).ok_or("layouts differ")?;
                }
                out.push(Some(Value::Histogram(Arc::new(parts.clone()))));
            }
        } else {
            let end = rest.find([' ', '\t']).unwrap_or(rest.len());
            floats(&rest[..end], &mut out)?;
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    Ok(out)
}

fn floats(token: &str, out: &mut Vec<Option<Value>>) -> Result<(), String> {
    let fault = || format!("{token} is not a value");
    // There are no hexadecimal numbers here: `0x3` is four zeroes.
    let (base, times) = match token.rsplit_once('x') {
        Some((base, times)) => (base, times.parse::<usize>().map_err(|_| fault())?),
        None => (token, 0),
    };
    if base == "_" {
        // `_` is one gap, `_xN` N of them.
        let gaps = if token.contains('x') { times } else { 1 };
        out.extend(std::iter::repeat_n(None, gaps));
        return Ok(());
    }
    if base == "stale" {
        out.extend(std::iter::repeat_n(Some(Value::Float(stale())), times + 1));
        return Ok(());
    }
    // A sign behind the first character, but not of an exponent, separates the step.
    let bytes = base.as_bytes();
    let sign = (1..bytes.len()).find(|i| {
        b"+-".contains(&bytes[*i]) && !b"eE".contains(&bytes[*i - 1]) && times_given(token)
    });
    let (first, step) = match sign {
        Some(at) => (&base[..at], number(&base[at..]).ok_or_else(fault)?),
        None => (base, 0.0),
    };
    let mut value = number(first).ok_or_else(fault)?;
    for _ in 0..=times {
        out.push(Some(Value::Float(value)));
        value += step;
    }
    Ok(())
}

fn times_given(token: &str) -> bool {
    token.contains('x')
}

fn number(text: &str) -> Option<f64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    Some(sign * digits.parse::<f64>().ok()?)
}

fn histogram(text: &str) -> Result<Histogram, String> {
    let inner = text.trim_start_matches("{{").trim_end_matches("}}");
    let mut histogram = Histogram::default();
    let mut offsets = [0i32; 2];
    let mut rest = inner.trim();
    while !rest.is_empty() {
        let (key, after) = rest.split_once(':').ok_or("no colon")?;
        let (value, next) = match after.strip_prefix('[') {
            Some(list) => list.split_once(']').ok_or("no ]")?,
            None => after.split_once([' ', '\t']).unwrap_or((after, "")),
        };
        let list = || -> Result<Vec<f64>, String> {
            let words = value.split([' ', ',']).filter(|w| !w.is_empty());
            words
                .map(|w| number(w).ok_or_else(|| format!("bad {w}")))
                .collect()
        };
        let one = || number(value.trim()).ok_or_else(|| format!("bad value {value}"));
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
                    "reset" => ResetHint::Reset,
                    "not_reset" => ResetHint::NotReset,
                    "gauge" => ResetHint::Gauge,
                    _ => ResetHint::Unknown,
                };
            }
            other => return Err(format!("unknown key {other}")),
        }
        rest = next.trim_start();
    }
    let span = |offset, counts: &[f64]| match counts.is_empty() {
        true => Vec::new(),
        false => vec![BucketSpan {
            offset,
            length: counts.len() as u32,
        }],
    };
    histogram.positive_spans = span(offsets[0], &histogram.positive);
    histogram.negative_spans = span(offsets[1], &histogram.negative);
    if histogram.schema != CUSTOM_BUCKETS_SCHEMA {
        histogram.custom_bounds.clear();
    }
    Ok(histogram)
}

fn close(a: f64, b: f64) -> bool {
    if is_stale(a) || is_stale(b) {
        return is_stale(a) && is_stale(b);
    }
    if (a.is_nan() && b.is_nan()) || a == b {
        return true;
    }
    let sum = a.abs() + b.abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return (a - b).abs() < 1e-6 * f64::MIN_POSITIVE;
    }
    (a - b).abs() / sum.min(f64::MAX) < 1e-6
}

fn same(expect: &Value, found: &Value, hint: bool) -> bool {
    match (expect, found) {
        (Value::Float(a), Value::Float(b)) => close(*a, *b),
        (Value::Histogram(a), Value::Histogram(b)) => {
            let buckets = |h: &Histogram| crate::eval::buckets(h);
            let (x, y) = (buckets(a), buckets(b));
            a.schema == b.schema
                && close(a.count, b.count)
                && close(a.sum, b.sum)
                && close(a.zero_count, b.zero_count)
                && a.zero_threshold == b.zero_threshold
                && a.custom_bounds == b.custom_bounds
                && x.len() == y.len()
                && x.iter().zip(&y).all(|(x, y)| x.0 == y.0 && close(x.1, y.1))
                && (!hint || a.reset_hint == b.reset_hint)
        }
        (Value::Float(_), Value::Histogram(_)) | (Value::Histogram(_), Value::Float(_)) => false,
    }
}

/// A series by steps.
type Row = (Labels, Vec<Option<Value>>);

/// One evaluation of a file.
struct Case<'a> {
    line: usize,
    query: &'a str,
    when: When,
    expect: Vec<&'a str>,
}

fn seconds(text: &str) -> Result<i64, String> {
    if text == "0" {
        return Ok(0);
    }
    let negative = text.starts_with('-');
    let seconds = crate::promql::duration_seconds(text.trim_start_matches('-'))
        .ok_or_else(|| format!("bad duration {text}"))?;
    let nanos = (seconds * 1000.0).round() as i64 * 1_000_000;
    Ok(if negative { -nanos } else { nanos })
}

impl<'a> Case<'a> {
    fn parse(line: usize, head: &'a str, expect: Vec<&'a str>) -> Result<Self, String> {
        let (_, rest) = head.split_once(char::is_whitespace).ok_or("no form")?;
        let at = |text: &str| seconds(text).map(Timestamp::from_nanos);
        let (when, query) = if let Some(rest) = rest.trim().strip_prefix("instant at ") {
            let (time, query) = rest
                .trim()
                .split_once(char::is_whitespace)
                .ok_or("no query")?;
            (When::At(at(time)?), query)
        } else {
            let words: Vec<&str> = rest.split_whitespace().take(7).collect();
            let ["range", "from", start, "to", end, "step", step] = words[..] else {
                return Err(format!("bad head {head}"));
            };
            let mut query = rest;
            for word in &words {
                query = query.trim_start().strip_prefix(word).unwrap_or(query);
            }
            let when = When::Range {
                start: at(start)?,
                end: at(end)?,
                step: seconds(step)?,
            };
            (when, query)
        };
        Ok(Self {
            line,
            query: query.trim(),
            when,
            expect,
        })
    }

    fn check(&self, memory: &Memory) -> Result<(), String> {
        let mut series = Vec::new();
        let mut notes = Vec::new();
        let (mut fail, mut ordered) = (None, false);
        for line in &self.expect {
            match line.strip_prefix("expect ") {
                Some("ordered") => ordered = true,
                Some(rest) if rest.starts_with("fail") => fail = Some(rest["fail".len()..].trim()),
                Some(rest) if rest.starts_with("range vector") => {
                    return Err("expect range vector is not supported".to_owned());
                }
                Some(rest) => notes.push(rest),
                None => series.push(*line),
            }
        }
        match (memory.run(self.query, self.when, true), fail) {
            (Err(_), Some("")) => Ok(()),
            (Err(error), Some(wanted)) => said(wanted, std::slice::from_ref(&error)),
            (Err(error), None) => Err(format!("failed: {error}")),
            (Ok(_), Some(_)) => Err("did not fail".to_owned()),
            (Ok((answer, annotations)), None) => {
                self.annotations(&notes, &annotations)?;
                self.answer(&series, &answer, ordered, &notes)
            }
        }
    }

    fn annotations(&self, notes: &[&str], found: &Annotations) -> Result<(), String> {
        for (word, none, found) in [
            ("warn", "no_warn", &found.warnings),
            ("info", "no_info", &found.infos),
        ] {
            let found: Vec<String> = found.iter().cloned().collect();
            if notes.contains(&none) && !found.is_empty() {
                return Err(format!("unexpected {found:?}"));
            }
            let wanted: Vec<&str> = notes.iter().filter_map(|n| n.strip_prefix(word)).collect();
            for wanted in &wanted {
                if found.is_empty() {
                    return Err(format!("no {word}, wanted {wanted}"));
                }
                said(wanted.trim(), &found)?;
            }
            let all = wanted.iter().filter(|w| !w.trim().is_empty()).count();
            if all > 0 && all == wanted.len() {
                let covered = |text: &String| {
                    wanted
                        .iter()
                        .any(|w| said(w.trim(), std::slice::from_ref(text)).is_ok())
                };
                if let Some(extra) = found.iter().find(|text| !covered(text)) {
                    return Err(format!("unexpected {extra}"));
                }
            }
        }
        Ok(())
    }

    fn answer(
        &self,
        lines: &[&str],
        answer: &Answer,
        ordered: bool,
        notes: &[&str],
    ) -> Result<(), String> {
        if let Some(text) = notes.iter().find_map(|n| n.strip_prefix("string ")) {
            return match answer {
                Answer::String(_, found) if crate::promql::strings::quote(found) == text => Ok(()),
                other => Err(format!("{other:?} instead of {text}")),
            };
        }
        if let Answer::Scalar(_, found) = answer {
            let [line] = lines else {
                return Err(format!("scalar {found}"));
            };
            let wanted = number(line).ok_or_else(|| format!("scalar {found} for {line}"))?;
            return match close(wanted, *found) {
                true => Ok(()),
                false => Err(format!("{found} instead of {wanted}")),
            };
        }
        let mut expected: Vec<(Labels, Vec<Option<Value>>, bool)> = Vec::new();
        for line in lines {
            let (metric, values) = split_series(line)?;
            let hint = values.contains("counter_reset_hint");
            expected.push((labels(metric)?, expand(values)?, hint));
        }
        let (count, found): (usize, Vec<Row>) = match (answer, self.when) {
            (Answer::Vector(found), _) => {
                let one = |s: &VectorSample| (s.labels.clone(), vec![Some(s.value.clone())]);
                (1, found.iter().map(one).collect())
            }
            (Answer::Matrix(found), When::Range { start, end, step }) => {
                let count = ((end - start) / step + 1) as usize;
                let one = |s: &MatrixSeries| {
                    let mut values = vec![None; count];
                    for (time, value) in s.samples.iter() {
                        values[((time - start) / step) as usize] = Some(value);
                    }
                    (s.labels.clone(), values)
                };
                (count, found.iter().map(one).collect())
            }
            (other, _) => return Err(format!("unexpected {other:?}")),
        };
        if ordered {
            let order = |labels: &Labels| labels.clone();
            let left: Vec<Labels> = expected.iter().map(|(l, ..)| order(l)).collect();
            let right: Vec<Labels> = found.iter().map(|(l, _)| order(l)).collect();
            if left != right {
                return Err(format!("order {right:?}"));
            }
        }
        compare(expected, found, count)
    }
}

fn compare(
    expected: Vec<(Labels, Vec<Option<Value>>, bool)>,
    mut found: Vec<Row>,
    count: usize,
) -> Result<(), String> {
    for (labels, mut values, hint) in expected {
        let Some(at) = found.iter().position(|(l, _)| *l == labels) else {
            if values.iter().all(Option::is_none) {
                continue;
            }
            return Err(format!("no {labels} in {found:?}"));
        };
        let (_, have) = found.swap_remove(at);
        if values.len() > count {
            return Err(format!("too many values for {labels}"));
        }
        values.resize(count, None);
        for (step, (want, have)) in values.iter().zip(&have).enumerate() {
            let fine = match (want, have) {
                (None, None) => true,
                (Some(want), Some(have)) => same(want, have, hint),
                (None, Some(_)) | (Some(_), None) => false,
            };
            if !fine {
                return Err(format!(
                    "{labels} at step {step}: {have:?} instead of {want:?}"
                ));
            }
        }
    }
    match found.first() {
        Some((labels, values)) => Err(format!("unexpected {labels} {values:?}")),
        None => Ok(()),
    }
}

/// Whether a text was told: `msg: …` is exact, `regex: …` searches.
fn said(wanted: &str, found: &[String]) -> Result<(), String> {
    let fits = |text: &String| match (wanted.strip_prefix("msg:"), wanted.strip_prefix("regex:")) {
        (Some(exact), _) => text.trim() == exact.trim(),
        (_, Some(regex)) => regex::Regex::new(regex.trim()).is_ok_and(|r| r.is_match(text)),
        (None, None) => true,
    };
    match found.iter().any(fits) {
        true => Ok(()),
        false => Err(format!("{found:?} instead of {wanted}")),
    }
}

/// Runs a file; gives passed, failed and a line per failure.
pub(crate) fn run_file(text: &str) -> (usize, usize, String) {
    let (mut passed, mut failed, mut report) = (0, 0, String::new());
    let mut memory = Memory::default();
    let lines: Vec<&str> = text
        .lines()
        .map(|l| l.trim())
        .map(|l| if l.starts_with('#') { "" } else { l })
        .collect();
    let mut at = 0;
    while at < lines.len() {
        let (line, head) = (at + 1, lines[at]);
        at += 1;
        let block = lines[at..].iter().take_while(|l| !l.is_empty()).count();
        let is_command = |l: &&str| ["eval", "load", "clear"].iter().any(|w| l.starts_with(w));
        let block = lines[at..at + block]
            .iter()
            .position(is_command)
            .unwrap_or(block);
        if head.starts_with("clear") {
            memory = Memory::default();
        } else if head.starts_with("load") {
            let result = head.split_whitespace().nth(1).ok_or("no step".to_owned());
            let result = result
                .and_then(seconds)
                .and_then(|s| memory.load(s, &lines[at..at + block]));
            if let Err(error) = result {
                report.push_str(&format!("{line}: load: {error}\n"));
            }
            at += block;
        } else if head.starts_with("eval") {
            let expect = lines[at..at + block].to_vec();
            at += block;
            let result = Case::parse(line, head, expect).and_then(|case| {
                case.check(&memory)
                    .map_err(|e| format!("{}: {} => {e}", case.line, case.query))
            });
            match result {
                Ok(()) => passed += 1,
                Err(error) => {
                    failed += 1;
                    report.push_str(&error);
                    report.push('\n');
                }
            }
        }
    }
    (passed, failed, report)
}

#[test]
fn corpus_reaches_its_floors() {
    // Evaluations that pass, by file; raise them when more do.
    let floors = [
        ("duration_expression", 59),
        ("extended_vectors", 169),
        ("fill-modifier", 46),
        ("info", 53),
        ("limit", 36),
        ("name_label_dropping", 30),
        ("native_histograms", 513),
        ("start_timestamps", 2),
        ("type_and_unit", 58),
    ];
    // Beside the repository, or beside what holds its worktrees.
    let room = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folder = room
        .ancestors()
        .map(|up| up.join("shared/promqltest"))
        .find(|f| f.is_dir());
    let Some(folder) = folder else {
        println!("skipped: no folder shared/promqltest beside the repository");
        return;
    };
    let mut short = Vec::new();
    for (name, floor) in floors {
        let path = folder.join(format!("{name}.test"));
        let text = std::fs::read_to_string(&path).unwrap();
        let (passed, failed, report) = run_file(&text);
        print!("{report}");
        println!("{name}: {passed} passed, {failed} failed");
        if passed < floor {
            short.push(format!("{name}: {passed} of {floor}"));
        }
    }
    assert!(short.is_empty(), "{short:?}");
}
