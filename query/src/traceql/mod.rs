//! TraceQL: text to syntax tree and back.
//!
//! Grammar: Tempo 3's searches; its metrics functions are refused by name until the evaluator
//! reads spans. A tree prints to a text that parses to the same tree.

pub mod ast;
mod lexer;
mod parser;
mod printer;
mod scalar;
#[cfg(test)]
mod tests;
mod types;

pub use ast::Query;
pub use parser::parse;

/// An attribute or intrinsic written alone, as the tag value APIs take it.
pub fn parse_attribute(text: &str) -> Option<ast::Attribute> {
    lexer::lone_attribute(text)
}
