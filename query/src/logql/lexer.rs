//! LogQL's tokens, in nom.
//!
//! Invariant: words stay words; the parser decides from their place whether they are keywords,
//! because LogQL lets most function names be label names.

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{tag, take_while};
use nom::combinator::{map, value};

use crate::tokens::{
    Lexed, failure, mismatch, number_run, parse_duration, parse_float, string_literal,
};

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A label name or keyword.
    Word(String),
    /// A quoted text, without quotes and escapes.
    Text(String),
    /// A number.
    Number(f64),
    /// A duration in nanoseconds.
    Duration(i64),
    /// A size in bytes.
    Bytes(u64),
    /// An operator, bracket or flag.
    Sign(&'static str),
}

/// Longer signs come before their prefixes.
const SIGNS: [&str; 29] = [
    "--keep-empty",
    "--strict",
    "|=",
    "|~",
    "|>",
    "!=",
    "!~",
    "!>",
    "==",
    "=~",
    ">=",
    "<=",
    "=",
    ">",
    "<",
    "|",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ",",
];

/// Reads one token.
pub(super) fn token(input: &str) -> Lexed<'_, Token> {
    alt((
        map(string_literal, Token::Text),
        quantity,
        map(word, |w: &str| Token::Word(w.to_owned())),
        sign,
    ))
    .parse(input)
    .map_err(|e| match e {
        nom::Err::Error(fault) => nom::Err::Error(crate::tokens::Fault {
            expected: "a token of LogQL",
            ..fault
        }),
        other => other,
    })
}

fn word(input: &str) -> Lexed<'_, &str> {
    if !input.starts_with(|c: char| c.is_alphabetic() || c == '_') {
        return mismatch(input);
    }
    take_while(|c: char| c.is_alphanumeric() || c == '_')(input)
}

fn sign(input: &str) -> Lexed<'_, Token> {
    for sign in SIGNS {
        let found: Lexed<'_, Token> = value(Token::Sign(sign), tag(sign)).parse(input);
        if found.is_ok() {
            return found;
        }
    }
    mismatch(input)
}

/// A number, a duration or a size.
fn quantity(input: &str) -> Lexed<'_, Token> {
    let mut bytes = input.bytes();
    let starts = match bytes.next() {
        Some(b'.') => bytes.next().is_some_and(|b| b.is_ascii_digit()),
        Some(b) => b.is_ascii_digit(),
        None => false,
    };
    if !starts {
        return mismatch(input);
    }
    let run = number_run(input);
    let rest = input.get(run.len()..).unwrap_or("");
    if let Some(number) = parse_float(run) {
        Ok((rest, Token::Number(number)))
    } else if let Some(nanos) = parse_duration(run) {
        Ok((rest, Token::Duration(nanos)))
    } else if let Some(bytes) = parse_size(run, true) {
        Ok((rest, Token::Bytes(bytes)))
    } else {
        failure(
            input,
            "a number, a duration such as 5m or a size such as 10KB",
        )
    }
}

const SIZES: [(&str, u64); 12] = [
    ("B", 1),
    ("kB", 1000),
    ("KB", 1000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
    ("PB", 1_000_000_000_000_000),
    ("PiB", 1 << 50),
];

/// A size such as `1.5KiB` in bytes. `exact` asks for the spelling that queries need; values of
/// labels may be in any case, with a space, without the B or without a unit.
pub(crate) fn parse_size(text: &str, exact: bool) -> Option<u64> {
    let count = text
        .bytes()
        .take_while(|b| b.is_ascii_digit() || *b == b'.')
        .count();
    let number: f64 = text.get(..count)?.parse().ok()?;
    let unit = text.get(count..)?;
    let scale = if exact {
        SIZES.iter().find(|(name, _)| *name == unit)?.1
    } else {
        let unit = unit.trim();
        let same = |name: &str| {
            name.eq_ignore_ascii_case(unit)
                || name
                    .strip_suffix('B')
                    .is_some_and(|n| n.eq_ignore_ascii_case(unit))
        };
        SIZES.iter().find(|(name, _)| same(name))?.1
    };
    let bytes = number * scale as f64;
    // Below 2^64, so that the cast holds it; fractions of a byte are cut as humanize does.
    (bytes.is_finite() && bytes < 18_446_744_073_709_551_615.0).then_some(bytes as u64)
}
