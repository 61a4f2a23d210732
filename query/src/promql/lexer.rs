//! From text to tokens, with Prometheus' rules of where what may stand: keywords are names inside
//! braces, and only durations are read inside brackets.
//!
//! Invariant: the tokens end with exactly one [`Token::End`] or [`Token::Fault`]. A fault is a token
//! because the parser may find another error before it gets there.

use super::strings::unquote;
use crate::functions::aggregation;
use crate::operators::{AggregateOp, BinaryOp};

/// A word of the language.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    /// A number.
    Number(f64),
    /// A duration, in seconds.
    Duration(f64),
    /// A text, unquoted.
    Text(String),
    /// A name that is no keyword.
    Name,
    /// A name with colons.
    MetricName,
    /// A keyword, in lower case.
    Keyword(Keyword),
    /// An operator that is spelled in signs, or a bracket.
    Symbol(&'static str),
    /// What is no token, with what Prometheus says about it.
    Fault(String),
    /// Nothing follows.
    End,
}

/// Words with a meaning of their own outside of braces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    /// `and`, `or`, `unless`, `atan2`
    Operator(BinaryOp),
    /// `sum` and the like.
    Aggregate(AggregateOp),
    /// `by`, `offset` and the like.
    Modifier(&'static str),
    /// `start`, `step` and the like, which are called.
    Call(&'static str),
}

const MODIFIERS: [&str; 13] = [
    "offset",
    "smoothed",
    "anchored",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "fill",
    "fill_left",
    "fill_right",
    "bool",
];

const CALLS: [&str; 6] = ["start", "end", "step", "range", "max_of", "min_of"];

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
const SYMBOLS: [&str; 24] = [
    "==", "!=", "<=", ">=", "</", ">/", "=", "<", ">", "+", "-", "*", "/", "%", "^", "(", ")", "{",
    "}", "[", "]", ",", ":", "@",
];

const SYMBOLS_IN_BRACES: [&str; 7] = ["=~", "!~", "!=", "=", ",", "}", "{"];

/// Units of durations with their milliseconds, in the order in which they may stand.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Whether a character may stand in a name.
fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// What is wrong, and at which byte offset.
type Fault = (usize, String);

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    parens: usize,
    braces: bool,
    /// Inside brackets: whether the colon of a subquery was there.
    brackets: Option<bool>,
}

/// Cuts a text into tokens.
pub(crate) fn lex(text: &str) -> Vec<Lexeme> {
    let mut lexemes = Vec::new();
    let mut lexer = Lexer {
        text,
        at: 0,
        parens: 0,
        braces: false,
        brackets: None,
    };
    loop {
        lexer.skip_blank();
        let start = lexer.at;
        let lexeme = match lexer.token() {
            Ok(token) => Lexeme {
                token,
                start,
                end: lexer.at,
            },
            Err((start, message)) => Lexeme {
                token: Token::Fault(message),
                start,
                end: text.len(),
            },
        };
        let last = matches!(lexeme.token, Token::End | Token::Fault(_));
        lexemes.push(lexeme);
        if last {
            return lexemes;
        }
    }
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Behind white space and comments.
    fn skip_blank(&mut self) {
        loop {
            let rest = self.rest().trim_start_matches([' ', '\t', '\n', '\r']);
            self.at = self.text.len() - rest.len();
            if !rest.starts_with('#') {
                return;
            }
            self.at += rest.find(['\n', '\r']).unwrap_or(rest.len());
        }
    }

    fn fault<T>(&self, message: impl Into<String>) -> Result<T, Fault> {
        Err((self.at, message.into()))
    }

    fn token(&mut self) -> Result<Token, Fault> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return self.end();
        };
        if matches!(first, '"' | '\'' | '`') {
            let (value, length) = unquote(rest).or_else(|fault| self.fault(fault))?;
            self.at += length;
            return Ok(Token::Text(value));
        }
        if self.braces {
            return self.in_braces(first);
        }
        let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        if first.is_ascii_digit() || (first == '.' && digit(rest.chars().nth(1))) {
            return self.quantity();
        }
        if first.is_ascii_alphabetic() || first == '_' || (first == ':' && self.brackets.is_none())
        {
            return self.word(first);
        }
        self.symbol(first)
    }

    fn end(&self) -> Result<Token, Fault> {
        if self.braces {
            return self.fault("unexpected end of input inside braces");
        }
        if self.parens > 0 {
            return self.fault("unclosed left parenthesis");
        }
        if self.brackets.is_some() {
            return self.fault("unclosed left bracket");
        }
        Ok(Token::End)
    }

    fn in_braces(&mut self, first: char) -> Result<Token, Fault> {
        let rest = self.rest();
        if first.is_ascii_alphabetic() || first == '_' {
            self.at += rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            return Ok(Token::Name);
        }
        let Some(symbol) = SYMBOLS_IN_BRACES.iter().find(|s| rest.starts_with(**s)) else {
            if first == '!' {
                let next = rune(rest.chars().nth(1));
                return self.fault(format!(
                    "unexpected character after '!' inside braces: {next}"
                ));
            }
            return self.fault(format!(
                "unexpected character inside braces: {}",
                rune(Some(first))
            ));
        };
        match *symbol {
            "{" => return self.fault("unexpected left brace '{'"),
            "}" => self.braces = false,
            _ => {}
        }
        self.at += symbol.len();
        Ok(Token::Symbol(symbol))
    }

    fn symbol(&mut self, first: char) -> Result<Token, Fault> {
        let rest = self.rest();
        let second = rest.chars().nth(1);
        if first == '=' && second == Some('~') {
            return self.fault("unexpected character after '=': '~'");
        }
        let Some(symbol) = SYMBOLS.iter().find(|s| rest.starts_with(**s)) else {
            if first == '!' {
                let next = rune(second);
                return self.fault(format!("unexpected character after '!': {next}"));
            }
            return self.fault(format!("unexpected character: {}", rune(Some(first))));
        };
        let behind = self.at + symbol.len();
        match *symbol {
            "(" => self.parens += 1,
            ")" if self.parens == 0 => {
                return Err((behind, "unexpected right parenthesis ')'".to_owned()));
            }
            ")" => self.parens -= 1,
            "{" => self.braces = true,
            "[" if self.brackets.is_some() => {
                return self.fault("unexpected left bracket '['");
            }
            "[" => self.brackets = Some(false),
            "]" if self.brackets.is_none() => {
                return self.fault("unexpected right bracket ']'");
            }
            "]" => self.brackets = None,
            ":" if self.brackets == Some(true) => return self.fault("unexpected colon ':'"),
            ":" => self.brackets = Some(true),
            _ => {}
        }
        self.at = behind;
        Ok(Token::Symbol(symbol))
    }

    /// A name or keyword outside of braces.
    fn word(&mut self, first: char) -> Result<Token, Fault> {
        let rest = self.rest();
        let colons = self.brackets.is_none();
        let length = rest
            .find(|c| !(is_word(c) || (colons && c == ':')))
            .unwrap_or(rest.len());
        let word = rest[..length].to_ascii_lowercase();
        if self.brackets.is_some() {
            let call = CALLS[2..].iter().find(|call| **call == word);
            let Some(call) = call else {
                let first = rune(Some(first));
                return self.fault(format!("unexpected character: {first}, expected ':'"));
            };
            self.at += length;
            return Ok(Token::Keyword(Keyword::Call(call)));
        }
        self.at += length;
        if let Some(keyword) = keyword(&word) {
            let fill = matches!(keyword, Keyword::Modifier(m) if m.starts_with("fill"));
            let called = self.rest().trim_start().starts_with('(');
            // A metric may be called so: only with a parenthesis it fills.
            if !fill || called {
                return Ok(Token::Keyword(keyword));
            }
        }
        Ok(match word.as_str() {
            "inf" => Token::Number(f64::INFINITY),
            "nan" => Token::Number(f64::NAN),
            _ if word.contains(':') => Token::MetricName,
            _ => Token::Name,
        })
    }

    /// A number or a duration; refuses letters that follow directly.
    fn quantity(&mut self) -> Result<Token, Fault> {
        let rest = self.rest();
        let (mut length, number) = scan_number(rest);
        let next = |length: usize| rest[length..].chars().next();
        if number && !next(length).is_some_and(is_word) {
            let found = &rest[..length];
            let value = value_of(found).or_else(|fault| self.fault(fault))?;
            self.at += length;
            return Ok(Token::Number(value));
        }
        if scan_duration(rest, &mut length) {
            let found = &rest[..length];
            let ms = duration_millis(found).or_else(|fault| self.fault(fault))?;
            self.at += length;
            return Ok(Token::Duration(ms as f64 / 1000.0));
        }
        let found = super::strings::quote(&rest[..length]);
        self.fault(format!("bad number or duration syntax: {found}"))
    }
}

fn keyword(word: &str) -> Option<Keyword> {
    let operators = [
        BinaryOp::And,
        BinaryOp::Or,
        BinaryOp::Unless,
        BinaryOp::Atan2,
    ];
    if let Some(op) = operators.into_iter().find(|op| op.as_str() == word) {
        return Some(Keyword::Operator(op));
    }
    if let Some(op) = aggregation(word) {
        return Some(Keyword::Aggregate(op));
    }
    if let Some(modifier) = MODIFIERS.into_iter().find(|m| *m == word) {
        return Some(Keyword::Modifier(modifier));
    }
    let call = CALLS.into_iter().find(|call| *call == word)?;
    Some(Keyword::Call(call))
}

/// A character in single quotes, as Go writes it; nothing is the end of the text.
fn rune(c: Option<char>) -> String {
    match c {
        None => "'\u{fffd}'".to_owned(),
        Some('\'') => "'\\''".to_owned(),
        Some('"') => "'\"'".to_owned(),
        Some(c) => {
            let quoted = super::strings::quote(c.encode_utf8(&mut [0; 4]));
            format!("'{}'", &quoted[1..quoted.len() - 1])
        }
    }
}

/// How far a number goes, and whether it is one. Where it is none, the length is how far was read.
fn scan_number(text: &str) -> (usize, bool) {
    let bytes = text.as_bytes();
    let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
    let hex = byte(0) == b'0' && matches!(byte(1), b'x' | b'X');
    let digit = |b: u8| b.is_ascii_digit() || (hex && b.is_ascii_hexdigit());
    let mut at = if hex { 2 } else { 0 };
    if hex && byte(at) == b'_' {
        at += 1;
    }
    let (mut dot, mut exponent) = (false, false);
    if byte(at) == b'.' {
        at += 1;
    }
    loop {
        match byte(at) {
            b if digit(b) => at += 1,
            b'.' => {
                at += 1;
                if dot || hex {
                    return (at, false);
                }
                dot = true;
                if matches!(byte(at), b'.' | b'_') {
                    return (at + 1, false);
                }
            }
            b'e' | b'E' => {
                at += 1;
                if exponent {
                    return (at, false);
                }
                exponent = true;
                if matches!(byte(at), b'+' | b'-') {
                    at += 1;
                }
                if matches!(byte(at), b'.' | b'_' | b'e' | b'E') {
                    return (at + 1, false);
                }
                if at == bytes.len() {
                    return (at, false);
                }
            }
            b'_' => {
                at += 1;
                if matches!(byte(at), b'.' | b'_' | b'e' | b'E') {
                    return (at + 1, false);
                }
                if at == bytes.len() {
                    return (at, false);
                }
            }
            _ => return (at, at > 0),
        }
    }
}

/// Goes on behind the digits of a duration; `false` where it is none.
fn scan_duration(text: &str, at: &mut usize) -> bool {
    let bytes = text.as_bytes();
    let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
    let mut units: &[u8] = b"smhdwy";
    loop {
        if !units.contains(&byte(*at)) {
            return false;
        }
        *at += 1;
        if byte(*at) == b's' {
            *at += 1;
        }
        if !byte(*at).is_ascii_digit() {
            break;
        }
        while byte(*at).is_ascii_digit() {
            *at += 1;
        }
        units = b"smhdw";
    }
    match text[*at..].chars().next() {
        Some(c) if is_word(c) => {
            *at += 1;
            false
        }
        _ => true,
    }
}

/// The value of a number as Go reads it: as an integer of any base, else as a decimal float.
fn value_of(text: &str) -> Result<f64, String> {
    let fault = |why: &str| {
        let text = super::strings::quote(text);
        Err(format!(
            "error parsing number: strconv.ParseFloat: parsing {text}: {why}"
        ))
    };
    let digits = text.replace('_', "");
    if let Some(hex) = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
    {
        return match i64::from_str_radix(hex, 16) {
            Ok(value) => Ok(value as f64),
            Err(_) => fault("invalid syntax"),
        };
    }
    // A leading zero means octal where all digits allow it.
    if digits.len() > 1
        && digits.starts_with('0')
        && let Ok(octal) = i64::from_str_radix(&digits, 8)
    {
        return Ok(octal as f64);
    }
    match digits.parse::<f64>() {
        Ok(value) if value.is_infinite() => fault("value out of range"),
        Ok(value) => Ok(value),
        Err(_) => fault("invalid syntax"),
    }
}

/// Milliseconds of a duration such as `1h30m`: units descend, none occurs twice, at most 292 years.
fn duration_millis(text: &str) -> Result<u64, String> {
    let invalid = || {
        let text = super::strings::quote(text);
        format!("not a valid duration string: {text}")
    };
    let range = || "duration out of range".to_owned();
    let mut total_ms = Some(0u64);
    let mut rest = text;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .ok_or_else(invalid)?;
        let after = &rest[digits..];
        let length = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let names = units.by_ref();
        let (_, unit_ms) = names
            .find(|(unit, _)| digits > 0 && *unit == &after[..length])
            .ok_or_else(invalid)?;
        let part = rest[..digits].parse::<u64>().ok();
        let part = part.and_then(|number| number.checked_mul(*unit_ms));
        total_ms = total_ms.zip(part).and_then(|(a, b)| a.checked_add(b));
        rest = &after[length..];
    }
    if text.is_empty() {
        return Err("empty duration string".to_owned());
    }
    let max_ms = i64::MAX as u64 / 1_000_000;
    total_ms.filter(|ms| *ms <= max_ms).ok_or_else(range)
}

/// Milliseconds of a duration as Prometheus' files have it: also a bare zero.
pub(crate) fn duration_or_zero(text: &str) -> Result<i64, String> {
    match text {
        "0" => Ok(0),
        // At most 292 years in nanoseconds, so it fits.
        _ => duration_millis(text).map(|ms| ms as i64),
    }
}

/// A token as errors show it.
pub(crate) fn describe(token: &Token, text: &str) -> String {
    let quote = super::strings::quote;
    // Long texts are cut in the middle of a word, as Prometheus cuts them.
    let short = || match text.len() > 10 {
        true => format!("{}...", quote(&text.chars().take(10).collect::<String>())),
        false => quote(text),
    };
    match token {
        Token::End => "end of input".to_owned(),
        Token::Fault(message) => message.clone(),
        Token::Text(_) => format!("string {}", short()),
        Token::Number(_) => format!("number {}", short()),
        Token::Duration(_) => format!("duration {}", short()),
        Token::Name => format!("identifier {}", quote(text)),
        Token::MetricName => format!("metric identifier {}", quote(text)),
        Token::Keyword(Keyword::Operator(_)) => format!("<op:{text}>"),
        Token::Keyword(Keyword::Aggregate(_)) => format!("<aggr:{text}>"),
        Token::Keyword(Keyword::Modifier(_)) => format!("<{text}>"),
        Token::Keyword(Keyword::Call(_)) => short(),
        Token::Symbol("=" | "(" | ")" | "{" | "}" | "[" | "]" | "," | ":") => quote(text),
        Token::Symbol(_) => format!("<op:{text}>"),
    }
}
