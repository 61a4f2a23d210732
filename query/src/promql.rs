//! PromQL as in Prometheus 3: text to expression (`parse`), expression to text (`Display`),
//! expression to plan (`plan`).

pub mod ast;
mod check;
mod lexer;
mod lower;
mod parser;
mod print;
mod selector;
mod signatures;
pub(crate) mod strings;
#[cfg(test)]
mod tests;

use obs_model::Matcher;
use obs_model::labels::METRIC_NAME;
use obs_model::limits::Limits;

#[cfg(test)]
pub(crate) use lexer::duration_seconds;
pub use signatures::{Meaning, Signature};

use crate::error::{ParseError, QueryError};
use crate::plan::MetricPlan;
use crate::request::Request;

/// Parses a query. The text and its nesting are bounded by the limits.
pub fn parse(text: &str, limits: &Limits) -> Result<ast::Expr, ParseError> {
    parser::parse(text, limits)
}

/// Parses a bare series selector, as the parameter `match[]` has it.
pub fn parse_selector(text: &str, limits: &Limits) -> Result<Vec<Matcher>, ParseError> {
    let refuse = |found: &str| Err(ParseError::at(text, 0, "a series selector", found));
    let ast::Kind::Selector(selector) = parse(text, limits)?.kind else {
        return refuse("another expression");
    };
    if selector.modifiers != ast::Modifiers::default() {
        return refuse("a selector with modifiers");
    }
    let name = selector.name.map(|name| Matcher::equal(METRIC_NAME, name));
    Ok(name.into_iter().chain(selector.matchers).collect())
}

/// Resolves the times of an expression for a request. `text` is what the expression was parsed
/// from; annotations point into it.
pub fn plan(
    expr: &ast::Expr,
    text: &str,
    request: &Request,
    limits: &Limits,
) -> Result<MetricPlan, QueryError> {
    lower::plan(expr, text, request, limits)
}
