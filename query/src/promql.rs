//! PromQL as in Prometheus 3: text to expression (`parse`), expression to text (`Display`,
//! [`pretty`]) or JSON ([`tree`]), expression to plan (`plan`).

pub mod ast;
mod check;
mod lexer;
mod lower;
mod parser;
mod parts;
mod print;
mod selector;
mod signatures;
pub(crate) mod strings;
#[cfg(test)]
mod tests;
mod tree;

use obs_model::Matcher;
use obs_model::limits::Limits;
use obs_model::pattern::PatternError;

pub(crate) use lexer::duration_or_zero;
pub use parts::{Part, parts};
pub use print::pretty;
pub use signatures::{Meaning, Signature, all as signatures};
pub use strings::quote;
pub use tree::tree;

use crate::error::{ParseError, QueryError};
use crate::plan::MetricPlan;
use crate::request::Request;

/// What of the language Prometheus has behind switches (`--enable-feature`). On by default, since
/// none of it changes what other queries mean; [`Features::PROMETHEUS`] is Prometheus' default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// `promql-experimental-functions`: functions, `limitk`, `limit_ratio`.
    pub experimental_functions: bool,
    /// `promql-extended-range-selectors`: `anchored`, `smoothed`.
    pub extended_range_selectors: bool,
    /// `promql-binop-fill-modifiers`: `fill`, `fill_left`, `fill_right`.
    pub fill_modifiers: bool,
}

impl Default for Features {
    fn default() -> Self {
        Self {
            experimental_functions: true,
            extended_range_selectors: true,
            fill_modifiers: true,
        }
    }
}

impl Features {
    /// What Prometheus has without any switch.
    pub const PROMETHEUS: Self = Self {
        experimental_functions: false,
        extended_range_selectors: false,
        fill_modifiers: false,
    };

    /// Prometheus' names of what can be switched.
    pub const NAMES: [&str; 3] = [
        "promql-experimental-functions",
        "promql-extended-range-selectors",
        "promql-binop-fill-modifiers",
    ];

    /// Turns a feature of Prometheus' name on; `false` for one that is not of the language.
    pub fn enable(&mut self, name: &str) -> bool {
        match name {
            "promql-experimental-functions" => self.experimental_functions = true,
            "promql-extended-range-selectors" => self.extended_range_selectors = true,
            "promql-binop-fill-modifiers" => self.fill_modifiers = true,
            // Part of the language by now.
            "promql-duration-expr" | "promql-at-modifier" | "promql-negative-offset" => {}
            _ => return false,
        }
        true
    }
}

/// Parses a query with all features. The text and its nesting are bounded by the limits.
pub fn parse(text: &str, limits: &Limits) -> Result<ast::Expr, ParseError> {
    parser::parse(text, Features::default(), limits)
}

/// Parses a query with some features.
pub fn parse_with(
    text: &str,
    features: Features,
    limits: &Limits,
) -> Result<ast::Expr, ParseError> {
    parser::parse(text, features, limits)
}

/// Parses a bare series selector, as the parameter `match[]` has it.
pub fn parse_selector(text: &str, limits: &Limits) -> Result<Vec<Matcher>, ParseError> {
    let expr = parser::parse_selector(text, limits)?;
    let ast::Kind::Selector(selector) = expr.kind else {
        return Err(ParseError::promql(text, 0, "not a selector"));
    };
    let matchers = selector.all_matchers();
    if matchers.iter().all(|m| m.matches("")) {
        return Err(ParseError {
            place: None,
            text: "match[] must contain at least one non-empty matcher".to_owned(),
        });
    }
    Ok(matchers)
}

/// Parses a selector as test files write metrics: it may be empty.
pub(crate) fn parse_metric(text: &str, limits: &Limits) -> Result<ast::Expr, ParseError> {
    parser::parse_selector(text, limits)
}

/// What is wrong with a regular expression, in the words of Go where they are known.
fn regex_fault(pattern: &str, fault: &PatternError) -> String {
    let PatternError::Syntax { reason, .. } = fault else {
        return fault.to_string();
    };
    let code = [
        ("unclosed group", "missing closing )"),
        ("unopened group", "unexpected )"),
        ("unclosed character class", "missing closing ]"),
        (
            "invalid character class range",
            "invalid character class range",
        ),
        (
            "repetition operator missing expression",
            "missing argument to repetition operator",
        ),
        ("unrecognized escape sequence", "invalid escape sequence"),
        (
            "incomplete escape sequence",
            "trailing backslash at end of expression",
        ),
        ("invalid repetition count range", "invalid repeat count"),
    ];
    let code = code.iter().find(|(ours, _)| reason.contains(ours));
    let code = code.map_or(reason.as_str(), |(_, theirs)| theirs);
    format!("error parsing regexp: {code}: `{pattern}`")
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
