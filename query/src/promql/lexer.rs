//! From text to tokens, in nom. Every token knows its byte offset, so that errors can point at it.
//!
//! Invariant: the tokens end with exactly one [`Token::End`].

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::{char, digit1, one_of};
use nom::combinator::{map, opt, recognize, verify};
use nom::multi::many1_count;
use nom::sequence::{pair, preceded};
use nom::{IResult, Parser};

use super::strings::unquote;
use crate::error::ParseError;

/// A word of the language.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    /// A number.
    Number(f64),
    /// A duration, in seconds.
    Duration(f64),
    /// A text, unquoted.
    Text(String),
    /// A name or keyword; outside of brackets and braces it may have colons.
    Name(String),
    /// An operator or a bracket.
    Symbol(&'static str),
    /// Nothing follows.
    End,
}

/// A token and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Lexeme {
    /// The token.
    pub(crate) token: Token,
    /// Byte offset of its begin.
    pub(crate) start: usize,
    /// Byte offset behind its end.
    pub(crate) end: usize,
}

/// Longer symbols first.
const SYMBOLS: [&str; 27] = [
    "==", "!=", "=~", "!~", "<=", ">=", "</", ">/", "=", "<", ">", "+", "-", "*", "/", "%", "^",
    "(", ")", "{", "}", "[", "]", ",", ":", "@", "!",
];

/// Units of durations with their seconds, in the order in which they may stand.
const UNITS: [(&str, f64); 7] = [
    ("y", 365.0 * 86_400.0),
    ("w", 7.0 * 86_400.0),
    ("d", 86_400.0),
    ("h", 3600.0),
    ("m", 60.0),
    ("s", 1.0),
    ("ms", 0.001),
];

/// Cuts a text into tokens.
pub(crate) fn lex(text: &str) -> Result<Vec<Lexeme>, ParseError> {
    let mut lexemes = Vec::new();
    let (mut brackets, mut braces) = (0usize, 0usize);
    let mut rest = skip_blank(text);
    while !rest.is_empty() {
        let start = text.len() - rest.len();
        let colons = brackets == 0 && braces == 0;
        let (next, token) = token(text, rest, colons)?;
        match token {
            Token::Symbol("[") => brackets += 1,
            Token::Symbol("]") => brackets = brackets.saturating_sub(1),
            Token::Symbol("{") => braces += 1,
            Token::Symbol("}") => braces = braces.saturating_sub(1),
            _ => {}
        }
        let end = text.len() - next.len();
        lexemes.push(Lexeme { token, start, end });
        rest = skip_blank(next);
    }
    let (start, end) = (text.len(), text.len());
    lexemes.push(Lexeme {
        token: Token::End,
        start,
        end,
    });
    Ok(lexemes)
}

/// Behind white space and comments.
fn skip_blank(mut text: &str) -> &str {
    loop {
        text = text.trim_start_matches([' ', '\t', '\n', '\r']);
        match text.strip_prefix('#') {
            Some(comment) => text = comment.find('\n').map_or("", |at| &comment[at..]),
            None => return text,
        }
    }
}

fn token<'a>(text: &str, rest: &'a str, colons: bool) -> Result<(&'a str, Token), ParseError> {
    let offset = text.len() - rest.len();
    if rest.starts_with(['"', '\'', '`']) {
        let (value, length) = unquote(rest).map_err(|fault| {
            ParseError::at(text, offset + fault.offset, fault.expected, fault.found)
        })?;
        return Ok((&rest[length..], Token::Text(value)));
    }
    if rest.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return quantity(text, rest);
    }
    let name = |input: &'a str| name(input, colons);
    let mut any = alt((map(name, |n: &str| Token::Name(n.to_owned())), symbol));
    any.parse(rest).map_err(|_| {
        let found = rest.chars().next().map(|c| format!("{:?}", c.to_string()));
        ParseError::at(text, offset, "an expression", found.unwrap_or_default())
    })
}

fn symbol(input: &str) -> IResult<&str, Token> {
    for symbol in SYMBOLS {
        if let Some(rest) = input.strip_prefix(symbol) {
            return Ok((rest, Token::Symbol(symbol)));
        }
    }
    let code = nom::error::ErrorKind::Tag;
    Err(nom::Err::Error(nom::error::Error::new(input, code)))
}

fn name(input: &str, colons: bool) -> IResult<&str, &str> {
    let first = move |c: char| c.is_ascii_alphabetic() || c == '_' || (colons && c == ':');
    let more = move |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
    recognize(pair(
        verify(take_while1(more), move |s: &str| s.starts_with(first)),
        take_while(more),
    ))
    .parse(input)
}

/// A number or a duration; refuses letters that follow directly.
fn quantity<'a>(text: &str, rest: &'a str) -> Result<(&'a str, Token), ParseError> {
    let offset = text.len() - rest.len();
    let fault = |expected: &str, length: usize| {
        let found = format!("{:?}", &rest[..length]);
        ParseError::at(text, offset, expected, found)
    };
    let found = alt((hex, duration, decimal)).parse(rest);
    let Ok((next, raw)) = found else {
        return Err(fault("a number", 1));
    };
    let glued = next.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.');
    let glued = glued.unwrap_or(next.len());
    if glued > 0 {
        return Err(fault(
            "a number or duration",
            rest.len() - next.len() + glued,
        ));
    }
    let token = match raw {
        Raw::Hex(digits) => u64::from_str_radix(&digits, 16)
            .ok()
            .map(|n| Token::Number(n as f64)),
        Raw::Decimal(digits) => decimal_value(&digits).map(Token::Number),
        Raw::Duration(digits) => duration_seconds(digits).map(Token::Duration),
    };
    match token {
        Some(token) => Ok((next, token)),
        None => Err(fault(
            "a number or duration in range",
            rest.len() - next.len(),
        )),
    }
}

enum Raw<'a> {
    Hex(String),
    Decimal(String),
    Duration(&'a str),
}

fn hex(input: &str) -> IResult<&str, Raw<'_>> {
    let digits = take_while1(|c: char| c.is_ascii_hexdigit() || c == '_');
    map(preceded(alt((tag("0x"), tag("0X"))), digits), |d: &str| {
        Raw::Hex(d.replace('_', ""))
    })
    .parse(input)
}

fn duration(input: &str) -> IResult<&str, Raw<'_>> {
    let unit = alt((
        tag("ms"),
        tag("y"),
        tag("w"),
        tag("d"),
        tag("h"),
        tag("m"),
        tag("s"),
    ));
    map(recognize(many1_count(pair(digit1, unit))), Raw::Duration).parse(input)
}

fn decimal(input: &str) -> IResult<&str, Raw<'_>> {
    let digits = || take_while1(|c: char| c.is_ascii_digit() || c == '_');
    let exponent = (one_of("eE"), opt(one_of("+-")), digit1);
    let whole = alt((
        recognize((
            digits(),
            opt((char('.'), take_while(|c: char| c.is_ascii_digit()))),
        )),
        recognize((char('.'), digit1)),
    ));
    map(recognize((whole, opt(exponent))), |d: &str| {
        Raw::Decimal(d.replace('_', ""))
    })
    .parse(input)
}

/// As Prometheus: a leading zero means octal where all digits allow it.
fn decimal_value(digits: &str) -> Option<f64> {
    if digits.len() > 1
        && digits.starts_with('0')
        && let Ok(octal) = i64::from_str_radix(digits, 8)
    {
        return Some(octal as f64);
    }
    digits.parse().ok()
}

/// Seconds of a duration such as `1h30m`: units descend, none occurs twice, at most 292 years.
pub(crate) fn duration_seconds(text: &str) -> Option<f64> {
    let mut total_ms = 0u64;
    let mut rest = text;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let length = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (_, seconds) = units.find(|(unit, _)| *unit == &after[..length])?;
        let unit_ms = (seconds * 1000.0).round() as u64;
        total_ms = total_ms.checked_add(number.checked_mul(unit_ms)?)?;
        rest = &after[length..];
    }
    let max_ms = i64::MAX as u64 / 1_000_000;
    (total_ms <= max_ms && !text.is_empty()).then(|| total_ms as f64 / 1000.0)
}

/// A token as errors show it.
pub(crate) fn describe(token: &Token, text: &str) -> String {
    match token {
        Token::End => "end of query".to_owned(),
        Token::Text(_) => format!("string {text}"),
        Token::Number(_) => format!("number {text}"),
        Token::Duration(_) => format!("duration {text}"),
        Token::Name(_) | Token::Symbol(_) => format!("{text:?}"),
    }
}
