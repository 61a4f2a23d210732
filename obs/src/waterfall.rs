//! A trace as a waterfall: one row a span, children under their parent, bars on a common clock.
//!
//! Spans whose parent did not arrive are roots; a cycle of parents is cut where it closes, so that
//! every span is drawn exactly once.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use obs_model::spans::{AttributeValue, Resource, StatusCode, attribute};
use obs_model::{Span, SpanBatch, SpanId, Timestamp};

use crate::table::{Table, one_line};
use crate::trace_path::{self, Times};

/// Columns for the tree of names.
const NAME_COLUMNS: usize = 46;
/// Columns for the duration.
const DURATION_COLUMNS: usize = 9;

struct Row<'a> {
    depth: usize,
    service: &'a str,
    span: &'a Span,
    times: Times,
}

/// Lines of the table behind the waterfall.
const PATH_ROWS: usize = 5;

/// The trace as lines of text: the duration of each span, `*` where it is on the critical path, and
/// the time in which none of its children ran.
pub(crate) fn draw(trace: &SpanBatch, columns: usize, colour: bool) -> String {
    let times = trace_path::times(trace);
    let rows = rows(trace, &times);
    let Some(start) = rows.iter().map(|r| r.span.start).min() else {
        return "the trace has no spans\n".to_owned();
    };
    let end = rows
        .iter()
        .map(|r| r.span.start.saturating_add(r.span.duration_nanos()))
        .max();
    let total = (end.unwrap_or(start) - start).max(1);
    let services: HashSet<&str> = rows.iter().map(|r| r.service).collect();
    let errors = rows
        .iter()
        .filter(|r| r.span.status == StatusCode::Error)
        .count();
    let mut out = String::new();
    // Writing to a String cannot fail.
    writeln!(
        out,
        "trace {}  {}  {}  {} spans  {} services  {errors} errors\n",
        rows[0].span.trace_id,
        start,
        nanos_text(total),
        rows.len(),
        services.len(),
    )
    .expect("strings grow");
    let bar_columns = columns
        .saturating_sub(NAME_COLUMNS + 2 * DURATION_COLUMNS + 7)
        .max(10);
    for row in &rows {
        out.push_str(&line(row, start, total, bar_columns, colour));
    }
    if rows.len() > 1 {
        out.push('\n');
        out.push_str(&trace_path::path_table(trace, &times, PATH_ROWS));
    }
    out
}

/// One row for each span, in the order of the waterfall.
pub(crate) fn table(trace: &SpanBatch) -> Table {
    let times = trace_path::times(trace);
    let head = [
        "start", "ms", "own ms", "service", "name", "status", "span", "parent",
    ];
    let mut table = Table::new(head);
    let millis = |nanos: i64| format!("{:.3}", nanos as f64 / 1e6);
    for row in rows(trace, &times) {
        let parent = row.span.parent_id;
        let is_root = parent == SpanId::default();
        table.push(vec![
            row.span.start.to_string(),
            millis(row.span.duration_nanos()),
            millis(row.times.own),
            row.service.to_owned(),
            row.span.name.clone(),
            format!("{:?}", row.span.status).to_lowercase(),
            row.span.span_id.to_string(),
            if is_root {
                String::new()
            } else {
                parent.to_string()
            },
        ]);
    }
    table
}

fn line(row: &Row<'_>, start: Timestamp, total: i64, columns: usize, colour: bool) -> String {
    let failed = row.span.status == StatusCode::Error;
    let name = format!(
        "{}{} {}{}",
        "  ".repeat(row.depth.min(12)),
        one_line(row.service),
        one_line(&row.span.name),
        if failed { " !" } else { "" }
    );
    let name: String = if name.chars().count() > NAME_COLUMNS {
        name.chars().take(NAME_COLUMNS - 1).chain(['…']).collect()
    } else {
        format!("{name:<NAME_COLUMNS$}")
    };
    // Eighths of a column, so that short spans differ.
    let scale = |nanos: i64| (nanos as f64 / total as f64 * (columns * 8) as f64) as usize;
    let begin = scale(row.span.start - start).min(columns * 8 - 1);
    let length = scale(row.span.duration_nanos())
        .max(1)
        .min(columns * 8 - begin);
    let bar = bar(begin, length);
    let (on, off) = match (colour, failed) {
        (false, _) => ("", ""),
        (true, true) => ("\x1b[31m", "\x1b[0m"),
        (true, false) => ("\x1b[36m", "\x1b[0m"),
    };
    let duration = nanos_text(row.span.duration_nanos());
    let own = format!("({})", nanos_text(row.times.own));
    let path = if row.times.critical > 0 { '*' } else { ' ' };
    format!(
        "{name} {path} {own:>DURATION_COLUMNS$} {duration:>DURATION_COLUMNS$}  {on}{}{off}\n",
        bar.trim_end()
    )
}

/// A bar from `begin` for `length` eighths of a column.
fn bar(begin: usize, length: usize) -> String {
    const LEFT: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let mut bar = " ".repeat(begin / 8);
    let end = begin + length;
    let first_full = begin.div_ceil(8);
    if !begin.is_multiple_of(8) {
        // Only left-aligned eighths exist; a right half stands for a bar that begins mid-column.
        bar.push(if end >= first_full * 8 { '▐' } else { '▏' });
    }
    if end / 8 > first_full {
        bar.extend(std::iter::repeat_n('█', end / 8 - first_full));
    }
    if end >= first_full * 8 && !end.is_multiple_of(8) {
        bar.push(LEFT[end % 8]);
    }
    bar
}

/// Spans in the order of a depth-first walk, siblings by begin.
fn rows<'a>(trace: &'a SpanBatch, times: &[Times]) -> Vec<Row<'a>> {
    let ids: HashSet<SpanId> = trace.iter().map(|(_, _, span)| span.span_id).collect();
    let mut children: BTreeMap<SpanId, Vec<Entry<'_>>> = BTreeMap::new();
    let mut roots = Vec::new();
    for ((resource, _, span), times) in trace.iter().zip(times) {
        let entry = (service(resource), span, *times);
        let orphan = span.parent_id.is_zero() || !ids.contains(&span.parent_id);
        if orphan || span.parent_id == span.span_id {
            roots.push(entry);
        } else {
            children.entry(span.parent_id).or_default().push(entry);
        }
    }
    let mut rows = Vec::new();
    walk(roots, &mut children, &mut rows);
    // What is left hangs in cycles: cut each at its earliest span.
    while let Some((parent, _)) = children
        .iter()
        .min_by_key(|(_, spans)| spans.iter().map(|(_, s, _)| s.start).min())
    {
        let parent = *parent;
        let spans = children.remove(&parent).unwrap_or_default();
        walk(spans, &mut children, &mut rows);
    }
    rows
}

/// A span with its service.
type Entry<'a> = (&'a str, &'a Span, Times);

fn walk<'a>(
    mut roots: Vec<Entry<'a>>,
    children: &mut BTreeMap<SpanId, Vec<Entry<'a>>>,
    rows: &mut Vec<Row<'a>>,
) {
    let by_begin = |spans: &mut Vec<Entry<'_>>| spans.sort_by_key(|(_, s, _)| (s.start, s.span_id));
    by_begin(&mut roots);
    let mut stack: Vec<(usize, Entry<'_>)> =
        roots.into_iter().rev().map(|entry| (0, entry)).collect();
    while let Some((depth, (service, span, times))) = stack.pop() {
        rows.push(Row {
            depth,
            service,
            span,
            times,
        });
        let mut below = children.remove(&span.span_id).unwrap_or_default();
        by_begin(&mut below);
        stack.extend(below.into_iter().rev().map(|entry| (depth + 1, entry)));
    }
}

/// The service of a resource.
pub(crate) fn service(resource: &Resource) -> &str {
    match attribute(&resource.attributes, "service.name") {
        Some(AttributeValue::String(name)) => name,
        _ => "unknown_service",
    }
}

/// A duration with three digits and a unit: `1.23ms`.
pub(crate) fn nanos_text(nanos: i64) -> String {
    let value = nanos as f64;
    let (value, unit) = match nanos {
        n if n < 1_000 => (value, "ns"),
        n if n < 1_000_000 => (value / 1e3, "µs"),
        n if n < 1_000_000_000 => (value / 1e6, "ms"),
        _ => (value / 1e9, "s"),
    };
    let text = match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    };
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_model::spans::{Attribute, ResourceSpans, Scope, ScopeSpans};

    fn span(id: u8, parent: u8, start: i64, end: i64) -> Span {
        Span {
            span_id: SpanId([0, 0, 0, 0, 0, 0, 0, id]),
            parent_id: SpanId([0, 0, 0, 0, 0, 0, 0, parent]),
            name: format!("op{id}"),
            start: Timestamp::from_nanos(start),
            end: Timestamp::from_nanos(end),
            ..Span::default()
        }
    }

    fn trace(spans: Vec<Span>) -> SpanBatch {
        let resource = Resource {
            attributes: vec![Attribute::string("service.name", "shop")],
            ..Resource::default()
        };
        let scopes = vec![ScopeSpans {
            scope: Scope::default(),
            spans,
        }];
        SpanBatch {
            resources: vec![ResourceSpans { resource, scopes }],
        }
    }

    fn order(spans: Vec<Span>) -> Vec<(usize, String)> {
        let batch = trace(spans);
        rows(&batch, &trace_path::times(&batch))
            .iter()
            .map(|r| (r.depth, r.span.name.clone()))
            .collect()
    }

    #[test]
    fn children_stand_under_their_parents() {
        let spans = vec![
            span(3, 1, 20, 30),
            span(1, 0, 0, 100),
            span(2, 1, 10, 15),
            span(4, 3, 21, 22),
        ];
        let expect = [(0, "op1"), (1, "op2"), (1, "op3"), (2, "op4")];
        assert_eq!(order(spans), expect.map(|(d, n)| (d, n.to_owned())));
    }

    #[test]
    fn orphans_and_cycles_are_drawn_once() {
        let spans = vec![
            span(1, 2, 0, 1),
            span(2, 1, 1, 2),
            span(3, 9, 5, 6),
            span(4, 4, 7, 8),
        ];
        let mut names: Vec<String> = order(spans).into_iter().map(|(_, n)| n).collect();
        names.sort();
        assert_eq!(names, ["op1", "op2", "op3", "op4"]);
    }

    #[test]
    fn bars_lie_on_a_common_clock() {
        let text = draw(
            &trace(vec![span(1, 0, 0, 800), span(2, 1, 400, 800)]),
            81,
            false,
        );
        let bars: Vec<&str> = text.lines().skip(2).collect();
        assert!(
            bars[0].ends_with(" *   (400ns)     800ns  ██████████"),
            "{text}"
        );
        assert!(
            bars[1].ends_with(" *   (400ns)     400ns       █████"),
            "{text}"
        );
        assert!(
            text.contains("critical path") && text.contains("50%"),
            "{text}"
        );
        assert_eq!(bar(4, 8), "▐▌");
        assert_eq!(nanos_text(1_234_567), "1.23ms");
        assert_eq!(nanos_text(250_000_000), "250ms");
        assert!(draw(&SpanBatch::default(), 80, false).contains("no spans"));
    }
}
