//! TraceQL: text to syntax tree and back.
//!
//! Grammar: Tempo 3's, searches and metrics, and beyond it what Tempo parses but does not run. A
//! tree prints to a text that parses to the same tree. Errors are in Tempo's words.

pub mod ast;
mod lenient;
mod lexer;
pub mod metric;
mod metric_parser;
mod parser;
mod printer;
mod scalar;
#[cfg(test)]
mod tests;
mod types;

use obs_model::limits::Limits;

pub use ast::Query;
pub use lenient::parse_lenient;

use crate::error::ParseError;

/// Parses a query.
pub fn parse(text: &str, limits: &Limits) -> Result<Query, ParseError> {
    parser::parse(text, limits).map_err(in_tempos_words)
}

/// `1:3: expected x, found "y"` as Tempo says it: what is wrong with the grammar has line and
/// column in its text, what is wrong with types has none.
fn in_tempos_words(error: ParseError) -> ParseError {
    let Some(place) = error.place else {
        return error;
    };
    let text = error.text.strip_prefix("expected ").unwrap_or(&error.text);
    let said = match text.rsplit_once(", found ") {
        Some((expected, found)) => {
            format!("unexpected {}, expecting {expected}", token_name(found))
        }
        None => text.to_owned(),
    };
    ParseError {
        place: None,
        text: format!(
            "parse error at line {}, col {}: syntax error: {said}",
            place.line, place.column
        ),
    }
}

/// Words that errors call by their own name; others are identifiers.
const KEYWORDS: [&str; 40] = [
    "avg",
    "avg_over_time",
    "bottomk",
    "by",
    "childCount",
    "client",
    "coalesce",
    "compare",
    "consumer",
    "count",
    "count_over_time",
    "error",
    "false",
    "histogram_over_time",
    "id",
    "internal",
    "max",
    "max_over_time",
    "min",
    "min_over_time",
    "nil",
    "ok",
    "parentID",
    "producer",
    "quantile_over_time",
    "rate",
    "rootService",
    "select",
    "server",
    "spanID",
    "sum",
    "sum_over_time",
    "timeSinceStart",
    "topk",
    "traceID",
    "true",
    "unset",
    "unspecified",
    "version",
    "with",
];

/// A token as Tempo's parser names it, with what it was.
fn token_name(found: &str) -> String {
    if found == "end of query" {
        return "$end".to_owned();
    }
    let inner = found.strip_prefix('"').and_then(|f| f.strip_suffix('"'));
    let text = inner.unwrap_or(found).replace("\\\"", "\"");
    let word = |c: char| c.is_alphanumeric() || c == '_';
    if found.starts_with('`') {
        format!("STRING {found}")
    } else if text.parse::<i64>().is_ok() {
        format!("INTEGER {text}")
    } else if text.parse::<f64>().is_ok() && text.starts_with(|c: char| c.is_ascii_digit()) {
        format!("FLOAT {text}")
    } else if inner.is_some() && text.chars().all(word) && !KEYWORDS.contains(&text.as_str()) {
        format!("IDENTIFIER {text}")
    } else {
        text
    }
}

/// An attribute or intrinsic written alone, as the tag value APIs take it.
pub fn parse_attribute(text: &str) -> Option<ast::Attribute> {
    lexer::lone_attribute(text)
}

/// A pipeline as the printer writes it.
pub(crate) fn pipeline_text(elements: &[ast::Element]) -> String {
    Query {
        root: ast::Root::Search(elements.to_vec()),
        hints: Vec::new(),
    }
    .to_string()
}
