//! LogQL: text to syntax tree and back.
//!
//! Grammar: Loki 3's, complete but for sharding's internal functions. A tree prints to a text
//! that parses to the same tree.

pub mod ast;
pub(crate) mod lexer;
mod lower;
mod metric;
mod parser;
mod pretty;
mod printer;
#[cfg(test)]
mod tests;

pub use ast::Expr;
pub use lower::plan;
pub(crate) use parser::regex_fault;
pub use parser::{parse, parse_matchers};
pub use pretty::pretty;
pub use printer::go_duration_text;
pub(crate) use printer::size_text;
