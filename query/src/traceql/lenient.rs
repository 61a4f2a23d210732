//! Queries that are still being typed: the tag APIs are asked with `{ resource.x = }`.
//!
//! Invariant: a text that is a query stays that query; otherwise comparisons without a right side
//! become `true`, and what is no query even then filters nothing.

use obs_model::limits::Limits;

use super::ast::Query;
use super::lexer::{Token, token};
use super::parse;
use crate::tokens::{Spanned, tokenize};

const COMPARISONS: [&str; 8] = ["=", "!=", "=~", "!~", ">", ">=", "<", "<="];

/// Parses a query that may be incomplete; `None` where nothing can be made of it.
pub fn parse_lenient(text: &str, limits: &Limits) -> Option<Query> {
    parse(text, limits)
        .or_else(|_| parse(&completed(text, limits)?, limits))
        .ok()
}

/// The text with `true` for every comparison that has no right side, and its braces closed.
fn completed(text: &str, limits: &Limits) -> Result<String, crate::error::ParseError> {
    // A text that is being typed is often inside a string.
    let quotes = text.bytes().filter(|b| *b == b'"').count();
    let closed = if quotes % 2 == 1 {
        format!("{text}\"")
    } else {
        text.to_owned()
    };
    let tokens = tokenize(&closed, limits, token)?;
    let mut out = String::with_capacity(closed.len() + 8);
    let mut open: Vec<char> = Vec::new();
    let mut at = 0;
    while let Some(next) = tokens.get(at) {
        if is_unfinished(&tokens, at) {
            out.push_str(" true ");
            at += 2;
            continue;
        }
        match next.token {
            Token::Sign("{") => open.push('}'),
            Token::Sign("(") => open.push(')'),
            Token::Sign("}" | ")") => {
                open.pop();
            }
            _ => {}
        }
        out.push(' ');
        out.push_str(closed.get(next.start..next.end).unwrap_or_default());
        at += 1;
    }
    out.extend(open.into_iter().rev());
    Ok(out)
}

/// Whether an attribute and a comparison stand here without a right side.
fn is_unfinished(tokens: &[Spanned<Token>], at: usize) -> bool {
    let token = |index: usize| tokens.get(index).map(|t| &t.token);
    let compares = |token: Option<&Token>| matches!(token, Some(Token::Sign(sign)) if COMPARISONS.contains(sign));
    matches!(token(at), Some(Token::Attribute(_)))
        && compares(token(at + 1))
        && matches!(
            token(at + 2),
            None | Some(Token::Sign("}" | ")" | "&&" | "||"))
        )
}
