//! TraceQL's tokens, in nom.
//!
//! An attribute such as `span.http.status` or `resource."a b".c` is one token, because its
//! characters are nearly all that are not operators: only here is that decided.

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{tag, take_while1};
use nom::combinator::{map, value};

use super::ast::{Attribute, INTRINSICS, STRUCTURAL, Scope};
use crate::tokens::{
    Fault, Lexed, failure, mismatch, number_run, parse_duration, parse_float, string_literal,
};

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A keyword or a function's name.
    Word(String),
    /// A value of a span.
    Attribute(Attribute),
    /// A quoted text, without quotes and escapes.
    Text(String),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// A duration in nanoseconds.
    Duration(i64),
    /// An operator or bracket.
    Sign(&'static str),
}

/// Other signs; longer ones come before their prefixes.
const SIGNS: [&str; 20] = [
    "&&", "||", "=~", "!=", ">=", "<=", "=", "!", "|", "+", "-", "*", "/", "%", "^", "(", ")", "{",
    "}", ",",
];

/// Reads one token.
pub(super) fn token(input: &str) -> Lexed<'_, Token> {
    alt((
        map(string_literal, Token::Text),
        quantity,
        named,
        word,
        sign,
    ))
    .parse(input)
    .map_err(|e| match e {
        nom::Err::Error(fault) => nom::Err::Error(Fault {
            expected: "a token of TraceQL",
            ..fault
        }),
        other => other,
    })
}

fn sign(input: &str) -> Lexed<'_, Token> {
    // `>=` and `!=` before the structural `>` and `!`; `>>` before both.
    let longest = STRUCTURAL
        .iter()
        .map(|(text, _, _)| *text)
        .chain(SIGNS)
        .filter(|text| input.starts_with(text))
        .max_by_key(|text| text.len());
    match longest {
        Some(text) => value(Token::Sign(text), tag(text)).parse(input),
        None => mismatch(input),
    }
}

/// Characters of attribute names, as Tempo's lexer has them.
fn is_attribute_char(c: char) -> bool {
    !c.is_whitespace() && !"{}()=~!<>&|^,\"".contains(c)
}

fn word(input: &str) -> Lexed<'_, Token> {
    map(
        take_while1(|c: char| c.is_alphanumeric() || c == '_'),
        |w: &str| Token::Word(w.to_owned()),
    )
    .parse(input)
}

/// An intrinsic or an attribute with its scope.
fn named(input: &str) -> Lexed<'_, Token> {
    if let Some(rest) = input.strip_prefix("parent.") {
        for scope in [Scope::Span, Scope::Resource] {
            if let Some(rest) = rest.strip_prefix(scope.as_str()) {
                return attribute(rest, true, scope);
            }
        }
        return attribute(rest, true, Scope::Any);
    }
    for scope in [
        Scope::Any,
        Scope::Span,
        Scope::Resource,
        Scope::Event,
        Scope::Link,
        Scope::Instrumentation,
    ] {
        if let Some(rest) = input.strip_prefix(scope.as_str()) {
            return attribute(rest, false, scope);
        }
    }
    let end = input
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == ':' || c == '_'))
        .unwrap_or(input.len());
    let (run, rest) = input.split_at(end);
    match INTRINSICS.iter().find(|(text, _)| *text == run) {
        Some((_, intrinsic)) => Ok((rest, Token::Attribute(Attribute::Intrinsic(*intrinsic)))),
        None => mismatch(input),
    }
}

fn attribute(input: &str, parent: bool, scope: Scope) -> Lexed<'_, Token> {
    let mut name = String::new();
    let mut rest = input;
    while let Some(c) = rest.chars().next() {
        if c == '"' {
            let Some((part, after)) = quoted(rest) else {
                return failure(rest, "a closing quote (escapes are \\\" and \\\\)");
            };
            name.push_str(&part);
            rest = after;
        } else if is_attribute_char(c) {
            name.push(c);
            rest = rest.get(c.len_utf8()..).unwrap_or("");
        } else {
            break;
        }
    }
    if name.is_empty() {
        return failure(input, "an attribute's name");
    }
    Ok((
        rest,
        Token::Attribute(Attribute::Named {
            parent,
            scope,
            name,
        }),
    ))
}

/// A quoted part of a name: its text and what follows.
fn quoted(input: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut chars = input.strip_prefix('"')?.chars();
    loop {
        match chars.next()? {
            '"' => return Some((text, chars.as_str())),
            '\\' => match chars.next()? {
                c @ ('"' | '\\') => text.push(c),
                _ => return None,
            },
            c => text.push(c),
        }
    }
}

/// An attribute's name as it must be written.
pub(super) fn write_name(name: &str) -> String {
    let plain = name.chars().all(|c| is_attribute_char(c) && c != '\\');
    if plain && !name.is_empty() {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

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
    if let Ok(int) = run.parse() {
        Ok((rest, Token::Int(int)))
    } else if let Some(float) = parse_float(run) {
        Ok((rest, Token::Float(float)))
    } else if let Some(nanos) = parse_duration(run) {
        Ok((rest, Token::Duration(nanos)))
    } else {
        failure(input, "a number or a duration such as 1.5s")
    }
}

/// An attribute written alone, as the tag value APIs take it.
pub(super) fn lone_attribute(text: &str) -> Option<Attribute> {
    match named(text) {
        Ok(("", Token::Attribute(attribute))) => Some(attribute),
        _ => None,
    }
}
