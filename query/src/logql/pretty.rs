//! LogQL laid out over lines, as Loki's `format_query` does: what fits into a line stays in one,
//! anything longer is split at its stages, arguments and operators, two spaces deeper each.

use obs_model::limits::Limits;

use super::ast::{Expr, Grouping, LogExpr, LogRange, MetricExpr, Stage};
use super::parse;
use super::printer::{Selector, quote, range_text};
use crate::error::ParseError;

/// Longest text of an expression that stays in one line, in bytes.
const LINE_BYTES_MAX: usize = 100;

/// Parses a query and lays it out.
pub fn pretty(text: &str, limits: &Limits) -> Result<String, ParseError> {
    Ok(match parse(text, limits)? {
        Expr::Logs(logs) => pretty_logs(&logs, 0),
        Expr::Metric(metric) => pretty_metric(&metric, 0),
    })
}

fn indent(level: usize) -> String {
    "  ".repeat(level)
}

/// The one line of an expression, if it is short enough.
fn short(expr: &impl ToString, level: usize) -> Result<String, String> {
    let text = expr.to_string();
    match text.len() <= LINE_BYTES_MAX {
        true => Ok(indent(level) + &text),
        false => Err(text),
    }
}

fn pretty_logs(logs: &LogExpr, level: usize) -> String {
    let selector = indent(level) + &Selector(&logs.matchers).to_string();
    if logs.stages.is_empty() {
        return selector;
    }
    if let Ok(line) = short(logs, level) {
        return line;
    }
    let mut lines = vec![selector];
    // Line filters that follow each other are one stage to Loki.
    let both = |a: &Stage, b: &Stage| matches!((a, b), (Stage::Line(_), Stage::Line(_)));
    for run in logs.stages.chunk_by(both) {
        let texts: Vec<String> = run.iter().map(ToString::to_string).collect();
        let joined = texts.join(" ");
        if joined.len() <= LINE_BYTES_MAX {
            lines.push(indent(level + 1) + &joined);
        } else {
            lines.extend(texts.iter().map(|text| indent(level + 1) + text));
        }
    }
    lines.join("\n")
}

fn pretty_range(logs: &LogRange, level: usize) -> String {
    let mut out = pretty_logs(&logs.logs, level);
    if let Some(unwrap) = &logs.unwrap {
        let inner = indent(level + 1);
        out = format!("{out}\n{inner}{}", unwrap.head());
        for filter in &unwrap.filters {
            out = format!("{out}\n{inner}| {filter}");
        }
    }
    out = format!("{out} [{}]", range_text(logs.range));
    if logs.offset != 0 {
        out = format!("{out} offset {}", range_text(logs.offset));
    }
    out
}

fn pretty_grouping(grouping: Option<&Grouping>) -> String {
    match grouping {
        Some(grouping) if grouping.without && grouping.labels.is_empty() => {
            " without ()".to_owned()
        }
        Some(grouping) if !grouping.labels.is_empty() => {
            let word = if grouping.without { "without" } else { "by" };
            format!(" {word} ({})", grouping.labels.join(", "))
        }
        _ => String::new(),
    }
}

/// `name(…)` with each argument in lines of its own.
fn call(name: &str, arguments: &[String], level: usize) -> String {
    let arguments = arguments.join(",\n");
    let outer = indent(level);
    format!("{outer}{name}(\n{arguments}\n{outer})")
}

fn pretty_metric(metric: &MetricExpr, level: usize) -> String {
    if let Ok(line) = short(metric, level) {
        return line;
    }
    let inner = indent(level + 1);
    match metric {
        MetricExpr::Range {
            op,
            parameter,
            logs,
            grouping,
        } => {
            let mut arguments: Vec<String> = Vec::new();
            arguments.extend(parameter.map(|number| format!("{inner}{number}")));
            arguments.push(pretty_range(logs, level + 1));
            call(op.as_str(), &arguments, level) + &pretty_grouping(grouping.as_ref())
        }
        MetricExpr::Vector {
            op,
            parameter,
            expr,
            grouping,
        } => {
            let mut arguments: Vec<String> = Vec::new();
            arguments.extend(parameter.map(|k| format!("{inner}{k}")));
            arguments.push(pretty_metric(expr, level + 1));
            let name = format!("{}{}", op.as_str(), pretty_grouping(grouping.as_ref()));
            call(&name, &arguments, level)
        }
        MetricExpr::Binary {
            op,
            left,
            right,
            matching,
        } => {
            let operator = format!("{}{}", op.as_str(), matching.text(", "));
            let (left, right) = (operand(left, level + 1), operand(right, level + 1));
            format!("{left}\n{}{operator}\n{right}", indent(level))
        }
        MetricExpr::LabelReplace {
            expr,
            destination,
            replacement,
            source,
            regex,
        } => {
            let mut arguments = vec![pretty_metric(expr, level + 1)];
            let texts = [destination, replacement, source, regex];
            arguments.extend(texts.map(|text| format!("{inner}{}", quote(text))));
            call("label_replace", &arguments, level)
        }
        MetricExpr::Number(_) | MetricExpr::Literal(_) => indent(level) + &metric.to_string(),
    }
}

/// An operand; one that is split itself stands in parentheses, so that it stays one.
fn operand(metric: &MetricExpr, level: usize) -> String {
    let split = matches!(metric, MetricExpr::Binary { .. }) && short(metric, 0).is_err();
    if !split {
        return pretty_metric(metric, level);
    }
    let inside = pretty_metric(metric, level + 1);
    let outer = indent(level);
    format!("{outer}(\n{inside}\n{outer})")
}
