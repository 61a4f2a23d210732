//! Where the time of a trace went: self time, critical path, and two traces side by side.
//!
//! Invariant: whatever parents and times say (cycles, missing parents, clocks that differ), every
//! span is counted once and no time is negative.

use std::collections::{BTreeMap, HashMap, HashSet};

use obs_model::spans::StatusCode;
use obs_model::{Span, SpanBatch, SpanId};

use crate::table::{Table, one_line};
use crate::waterfall::{nanos_text, service};

/// What one span's time was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    /// Nanoseconds in which no child ran.
    pub(crate) own: i64,
    /// Nanoseconds of the critical path that it spent itself.
    pub(crate) critical: i64,
}

/// Begin and end of a span, in nanoseconds.
fn bounds(span: &Span) -> (i64, i64) {
    let start = span.start.nanos();
    (start, start.saturating_add(span.duration_nanos()))
}

/// The times of each span, in the order of the batch.
pub(crate) fn times(trace: &SpanBatch) -> Vec<Times> {
    let spans: Vec<&Span> = trace.iter().map(|(_, _, span)| span).collect();
    let mut by_id: HashMap<SpanId, usize> = HashMap::new();
    for (index, span) in spans.iter().enumerate() {
        by_id.entry(span.span_id).or_insert(index);
    }
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); spans.len()];
    let mut roots = Vec::new();
    for (index, span) in spans.iter().enumerate() {
        match by_id.get(&span.parent_id) {
            Some(parent) if !span.parent_id.is_zero() && *parent != index => {
                children[*parent].push(index);
            }
            _ => roots.push(index),
        }
    }
    let mut all: Vec<Times> = (0..spans.len())
        .map(|index| Times {
            own: own_time(index, &spans, &children[index]),
            critical: 0,
        })
        .collect();
    // The path of a trace is that of its longest root.
    let longest = roots
        .iter()
        .max_by_key(|root| spans[**root].duration_nanos());
    if let Some(root) = longest {
        mark_path(*root, &spans, &children, &mut all);
    }
    all
}

/// What is left of a span without its children, which may overlap each other and its ends.
fn own_time(index: usize, spans: &[&Span], children: &[usize]) -> i64 {
    let (start, end) = bounds(spans[index]);
    let mut busy: Vec<(i64, i64)> = children
        .iter()
        .map(|child| bounds(spans[*child]))
        .map(|(from, to)| (from.clamp(start, end), to.clamp(start, end)))
        .collect();
    busy.sort_unstable();
    let (mut own, mut at) = (0, start);
    for (from, to) in busy {
        own += (from - at).max(0);
        at = at.max(to);
    }
    own + (end - at).max(0)
}

/// Walks back from the end of a span: the child that ended last held it up, before that child began
/// the one that had ended by then, and so on; between them the span itself did.
fn mark_path(root: usize, spans: &[&Span], children: &[Vec<usize>], all: &mut [Times]) {
    let mut seen = HashSet::from([root]);
    let mut stack = vec![(root, bounds(spans[root]).1)];
    while let Some((index, until)) = stack.pop() {
        let (start, end) = bounds(spans[index]);
        let until = until.min(end);
        let mut at = until;
        let mut below: Vec<(i64, usize)> = children[index]
            .iter()
            .map(|child| (bounds(spans[*child]).1.min(until), *child))
            .collect();
        below.sort_unstable_by(|a, b| b.cmp(a));
        for (child_end, child) in below {
            let child_start = bounds(spans[child]).0;
            if child_end > at || child_end <= start || child_start >= at || !seen.insert(child) {
                continue;
            }
            all[index].critical += at - child_end;
            stack.push((child, child_end));
            at = child_start.max(start);
        }
        all[index].critical += (at - start).max(0);
    }
}

/// Where the critical path spent most, at most `rows` lines.
pub(crate) fn path_table(trace: &SpanBatch, times: &[Times], rows: usize) -> String {
    let total: i64 = times.iter().map(|t| t.critical).sum();
    let mut spent: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for ((resource, _, span), times) in trace.iter().zip(times) {
        if times.critical > 0 {
            *spent.entry((service(resource), &span.name)).or_default() += times.critical;
        }
    }
    let mut spent: Vec<_> = spent.into_iter().collect();
    spent.sort_by_key(|(_, nanos)| std::cmp::Reverse(*nanos));
    let mut table = Table::new(["critical path", "operation", "time", "share"]);
    for ((service, name), nanos) in spent.into_iter().take(rows) {
        let share = nanos as f64 * 100.0 / total.max(1) as f64;
        table.push(vec![
            one_line(service),
            one_line(name),
            nanos_text(nanos),
            format!("{share:.0}%"),
        ]);
    }
    table.text()
}

/// What the spans of one operation took together.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    spans: u64,
    errors: u64,
    own: i64,
}

fn sums(trace: &SpanBatch) -> BTreeMap<(String, String), Sum> {
    let mut all: BTreeMap<(String, String), Sum> = BTreeMap::new();
    for ((resource, _, span), times) in trace.iter().zip(times(trace)) {
        let key = (service(resource).to_owned(), span.name.clone());
        let sum = all.entry(key).or_default();
        sum.spans += 1;
        sum.errors += u64::from(span.status == StatusCode::Error);
        sum.own += times.own;
    }
    all
}

/// Operations of two traces side by side, those that differ most first.
pub(crate) fn compare(a: &SpanBatch, b: &SpanBatch) -> Table {
    let (left, right) = (sums(a), sums(b));
    let mut keys: Vec<&(String, String)> = left.keys().chain(right.keys()).collect();
    keys.sort();
    keys.dedup();
    let of = |sums: &BTreeMap<_, Sum>, key: &(String, String)| sums.get(key).copied();
    let mut rows: Vec<_> = keys
        .into_iter()
        .map(|key| {
            let (a, b) = (of(&left, key), of(&right, key));
            (key, a.unwrap_or_default(), b.unwrap_or_default())
        })
        .collect();
    rows.sort_by_key(|(_, a, b)| std::cmp::Reverse((b.own - a.own).abs()));
    let mut table = Table::new([
        "service",
        "operation",
        "spans A",
        "spans B",
        "errors A",
        "errors B",
        "self A",
        "self B",
        "difference",
    ]);
    for ((service, name), a, b) in rows {
        let difference = b.own - a.own;
        let sign = match difference {
            0 => "",
            d if d > 0 => "+",
            _ => "-",
        };
        table.push(vec![
            one_line(service),
            one_line(name),
            a.spans.to_string(),
            b.spans.to_string(),
            a.errors.to_string(),
            b.errors.to_string(),
            nanos_text(a.own),
            nanos_text(b.own),
            format!("{sign}{}", nanos_text(difference.abs())),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_model::Timestamp;
    use obs_model::spans::{ResourceSpans, ScopeSpans};

    fn trace(spans: &[(u8, u8, i64, i64)]) -> SpanBatch {
        let span = |(id, parent, start, end): &(u8, u8, i64, i64)| Span {
            span_id: SpanId([*id; 8]),
            parent_id: SpanId([*parent; 8]),
            name: format!("op{id}"),
            start: Timestamp::from_nanos(*start),
            end: Timestamp::from_nanos(*end),
            ..Span::default()
        };
        SpanBatch {
            resources: vec![ResourceSpans {
                scopes: vec![ScopeSpans {
                    spans: spans.iter().map(span).collect(),
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        }
    }

    #[test]
    fn time_is_shared_out() {
        let check = |spans: &[(u8, u8, i64, i64)], expect: &[(i64, i64)]| {
            let found = times(&trace(spans));
            let found: Vec<_> = found.iter().map(|t| (t.own, t.critical)).collect();
            assert_eq!(found, expect, "{spans:?}");
        };
        // One after the other.
        check(
            &[(1, 0, 0, 100), (2, 1, 10, 40), (3, 1, 50, 90)],
            &[(30, 30), (30, 30), (40, 40)],
        );
        // The one that ended last held the parent up; the other ran beside it.
        check(
            &[(1, 0, 0, 100), (2, 1, 10, 60), (3, 1, 20, 100)],
            &[(10, 20), (50, 0), (80, 80)],
        );
        // A child longer than its parent is cut.
        check(&[(1, 0, 0, 100), (2, 1, 50, 300)], &[(50, 50), (250, 50)]);
        // A cycle has no root, and no path; orphans have one.
        check(&[(1, 2, 0, 10), (2, 1, 0, 10)], &[(0, 0), (0, 0)]);
        check(&[(1, 9, 0, 10), (2, 2, 0, 5)], &[(10, 10), (5, 0)]);
        check(&[(1, 0, 10, 0)], &[(0, 0)]);
    }

    #[test]
    fn the_path_of_a_trace_is_as_long_as_its_root() {
        let batch = trace(&[
            (1, 0, 0, 100),
            (2, 1, 10, 40),
            (3, 2, 15, 20),
            (4, 1, 35, 80),
        ]);
        let all = times(&batch);
        assert_eq!(all.iter().map(|t| t.critical).sum::<i64>(), 100);
        let text = path_table(&batch, &all, 2);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("op1") && text.contains("55%"), "{text}");
    }

    #[test]
    fn differences_come_first() {
        let a = trace(&[(1, 0, 0, 100), (2, 1, 0, 40)]);
        let b = trace(&[(1, 0, 0, 300), (2, 1, 0, 40), (2, 1, 50, 260)]);
        let csv = compare(&a, &b).csv();
        let rows: Vec<&str> = csv.lines().skip(1).collect();
        assert_eq!(rows[0], "unknown_service,op2,1,2,0,0,40ns,250ns,+210ns");
        assert_eq!(rows[1], "unknown_service,op1,1,1,0,0,60ns,50ns,-10ns");
    }
}
