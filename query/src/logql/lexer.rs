//! LogQL's tokens, as Loki cuts them.
//!
//! Invariant: a text that cannot be cut further ends in one [`Token::Fault`], so that the parser
//! tells of it only where it gets that far. Places are Loki's: characters from 1, and line 0 where
//! its scanner looked ahead inside the token.

use super::ast::{RANGE_OPS, VECTOR_OPS};
use crate::tokens::{go_duration, parse_duration, string_literal};

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A name that is no keyword, or a character that means nothing.
    Word(String),
    /// A keyword or sign.
    Key(&'static str),
    /// A function's name before its parenthesis.
    Function(&'static str),
    /// A quoted text, without quotes and escapes.
    Text(String),
    /// A number as written.
    Number(String),
    /// A duration in nanoseconds.
    Duration(i64),
    /// `[5m]` in nanoseconds.
    Range(i64),
    /// A size in bytes.
    Bytes(u64),
    /// `--strict` or `--keep-empty`.
    Flag(&'static str),
    /// Why there is no token.
    Fault(String),
    /// The end of the text.
    End,
}

impl Token {
    /// What Loki calls it in errors.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Word(_) => "IDENTIFIER".to_owned(),
            Self::Key(key) => (*key).to_owned(),
            Self::Function(name @ ("bytes" | "duration" | "duration_seconds")) => {
                format!("{}_CONV", name.to_ascii_uppercase())
            }
            Self::Function(name @ ("ip" | "label_replace")) => (*name).to_owned(),
            Self::Function(name) => name.to_ascii_uppercase(),
            Self::Text(_) => "STRING".to_owned(),
            Self::Number(_) => "NUMBER".to_owned(),
            Self::Duration(_) => "DURATION".to_owned(),
            Self::Range(_) => "RANGE".to_owned(),
            Self::Bytes(_) => "BYTES".to_owned(),
            Self::Flag(_) => "FUNCTION_FLAG".to_owned(),
            Self::Fault(reason) => reason.clone(),
            Self::End => "$end".to_owned(),
        }
    }
}

/// A token and where Loki says it is.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) token: Token,
    pub(super) line: u32,
    pub(super) column: u32,
}

/// Words that can never be label names.
const KEYWORDS: [&str; 22] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "or",
    "and",
    "unless",
    "offset",
    "json",
    "logfmt",
    "regexp",
    "pattern",
    "unpack",
    "line_format",
    "label_format",
    "decolorize",
    "drop",
    "keep",
    "unwrap",
];

/// Functions besides the aggregations.
const FUNCTIONS: [&str; 6] = [
    "vector",
    "label_replace",
    "ip",
    "bytes",
    "duration",
    "duration_seconds",
];

/// Longer signs come before their prefixes.
const SIGNS: [&str; 27] = [
    "|=", "|~", "|>", "!=", "!~", "!>", "==", "=~", ">=", "<=", "=", ">", "<", "|", "+", "-", "*",
    "/", "%", "^", "(", ")", "{", "}", "]", ",", ".",
];

const FLAGS: [&str; 2] = ["--keep-empty", "--strict"];

/// Cuts a text into tokens; the last is [`Token::End`] or [`Token::Fault`].
pub(super) fn tokens(text: &str) -> Vec<Placed> {
    let mut scanner = Scanner {
        rest: text.strip_prefix('\u{feff}').unwrap_or(text),
        line: 1,
        column: 1,
    };
    let mut all = Vec::new();
    loop {
        let skipped = scanner.skip();
        let (line, column) = (scanner.line, scanner.column);
        let (token, looked_ahead) = match skipped {
            Ok(()) => scanner.token(),
            Err(reason) => (Token::Fault(reason), false),
        };
        let last = matches!(token, Token::End | Token::Fault(_));
        let (line, column) = match (text.is_empty(), looked_ahead) {
            (true, _) => (0, 0),
            (false, true) => (0, column),
            (false, false) => (line, column),
        };
        all.push(Placed {
            token,
            line,
            column,
        });
        if last {
            return all;
        }
    }
}

struct Scanner<'a> {
    rest: &'a str,
    line: u32,
    column: u32,
}

impl<'a> Scanner<'a> {
    /// Goes behind so many bytes.
    fn advance(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        for c in taken.chars() {
            if c == '\n' {
                self.line = self.line.saturating_add(1);
                self.column = 1;
            } else {
                self.column = self.column.saturating_add(1);
            }
        }
        self.rest = rest;
        taken
    }

    /// Goes behind white space and comments: `# …`, and Go's `// …` and `/* … */`.
    fn skip(&mut self) -> Result<(), String> {
        loop {
            let space = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r');
            let spaces = self.rest.len() - self.rest.trim_start_matches(space).len();
            self.advance(spaces);
            if self.rest.starts_with('#') || self.rest.starts_with("//") {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.advance(end);
            } else if let Some(comment) = self.rest.strip_prefix("/*") {
                let Some(end) = comment.find("*/") else {
                    return Err("comment not terminated".to_owned());
                };
                self.advance(end + 4);
            } else {
                return Ok(());
            }
        }
    }

    /// The next token, and whether Loki's scanner looks ahead inside it.
    fn token(&mut self) -> (Token, bool) {
        let Some(first) = self.rest.chars().next() else {
            return (Token::End, false);
        };
        match first {
            '"' | '`' => (self.text(), false),
            '\'' => (self.character(), false),
            '[' => (self.range(), true),
            '-' => {
                if let Some(flag) = self.flag() {
                    return (Token::Flag(flag), true);
                }
                match self.quantity("-") {
                    Some(token @ Token::Duration(_)) => (token, true),
                    _ => self.sign(),
                }
            }
            c if c == '_' || c.is_alphabetic() => (self.word(), false),
            c if c.is_ascii_digit() => self.number(),
            '.' if self.rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit) => self.number(),
            _ => self.sign(),
        }
    }

    fn text(&mut self) -> Token {
        let start = self.rest;
        match string_literal(start) {
            Ok((rest, text)) => {
                self.advance(start.len() - rest.len());
                Token::Text(text)
            }
            Err(nom::Err::Error(fault) | nom::Err::Failure(fault)) => {
                let reason = match fault.expected {
                    expected if expected.contains("clos") => "literal not terminated",
                    expected if expected.contains("UTF-8") => "invalid UTF-8 rune",
                    _ => "invalid char escape",
                };
                Token::Fault(reason.to_owned())
            }
            Err(nom::Err::Incomplete(_)) => Token::Fault("literal not terminated".to_owned()),
        }
    }

    /// Go's character literals mean nothing here, as single signs do.
    fn character(&mut self) -> Token {
        let inside = &self.rest[1..];
        let end = inside.find(['\'', '\n']);
        let Some(end) = end.filter(|end| inside[*end..].starts_with('\'')) else {
            return Token::Fault("literal not terminated".to_owned());
        };
        if inside[..end].chars().count() != 1 {
            return Token::Fault("invalid char literal".to_owned());
        }
        Token::Word(self.advance(end + 2).to_owned())
    }

    fn range(&mut self) -> Token {
        let Some(end) = self.rest.find(']') else {
            return Token::Fault("missing closing ']' in duration".to_owned());
        };
        let inside = &self.rest[1..end];
        match range_duration(inside) {
            Ok(0) => Token::Fault("a range must be longer than 0".to_owned()),
            Ok(nanos) => {
                self.advance(end + 1);
                Token::Range(nanos)
            }
            Err(reason) => Token::Fault(reason),
        }
    }

    fn flag(&mut self) -> Option<&'static str> {
        let flag = FLAGS.into_iter().find(|flag| {
            let after = self.rest.strip_prefix(flag);
            after.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphabetic() || c == '-'))
        })?;
        self.advance(flag.len());
        Some(flag)
    }

    fn word(&mut self) -> Token {
        let part = |c: char| c == '_' || c.is_alphanumeric();
        let length = self.rest.find(|c| !part(c)).unwrap_or(self.rest.len());
        let word = self.advance(length);
        let lower = word.to_lowercase();
        if let Some(function) = function_named(&lower) {
            return match is_call(self.rest) {
                true => Token::Function(function),
                false => Token::Word(word.to_owned()),
            };
        }
        match KEYWORDS.into_iter().find(|keyword| *keyword == lower) {
            Some(keyword) => Token::Key(keyword),
            None => Token::Word(word.to_owned()),
        }
    }

    /// A number, and the duration or size that it begins.
    fn number(&mut self) -> (Token, bool) {
        let length = number_length(self.rest);
        let number = &self.rest[..length];
        if let Some(token) = self.quantity(number) {
            return (token, true);
        }
        let number = number.to_owned();
        self.advance(length);
        (Token::Number(number), false)
    }

    /// A duration or a size that begins with the number given; it ends where its letters end.
    fn quantity(&mut self, number: &str) -> Option<Token> {
        let behind = &self.rest[number.len()..];
        let run = |letters: &str| {
            let part = |c: char| c.is_numeric() || c == '.' || letters.contains(c);
            let length = behind.find(|c| !part(c)).unwrap_or(behind.len());
            (length > 0).then(|| number.len() + length)
        };
        let duration = run("nuµμmshdwy").and_then(|length| {
            let text = &self.rest[..length];
            let signed = text
                .strip_prefix('-')
                .and_then(|t| Some(-parse_duration(t)?));
            Some((
                length,
                go_duration(text)
                    .or_else(|| parse_duration(text))
                    .or(signed)?,
            ))
        });
        if let Some((length, nanos)) = duration {
            self.advance(length);
            return Some(Token::Duration(nanos));
        }
        let length = run("BikKMGTP")?;
        let bytes = parse_size(&self.rest[..length]).ok()?;
        self.advance(length);
        Some(Token::Bytes(bytes))
    }

    fn sign(&mut self) -> (Token, bool) {
        let found = SIGNS.into_iter().find(|sign| self.rest.starts_with(sign));
        match found {
            Some(sign) => {
                self.advance(sign.len());
                (Token::Key(sign), sign.len() > 1)
            }
            None => {
                let length = self.rest.chars().next().map_or(0, char::len_utf8);
                (Token::Word(self.advance(length).to_owned()), false)
            }
        }
    }
}

fn function_named(lower: &str) -> Option<&'static str> {
    let range = RANGE_OPS.iter().map(|(name, _)| *name);
    let vector = VECTOR_OPS.iter().map(|(name, _)| *name);
    let mut all = range.chain(vector).chain(FUNCTIONS);
    all.find(|name| *name == lower)
}

/// Whether what follows a name makes it a function: `(`, or `by (` and `without (`.
fn is_call(rest: &str) -> bool {
    let rest = rest.trim_start();
    if rest.starts_with('(') {
        return true;
    }
    ["by", "without"].into_iter().any(|word| {
        let head = rest.get(..word.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(word))
            && rest[word.len()..].trim_start().starts_with('(')
    })
}

/// Bytes of the number at the begin of a text, as Go's scanner takes them.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let lower = |at: usize| bytes.get(at).map(u8::to_ascii_lowercase);
    let digits = |mut at: usize, is_digit: fn(&u8) -> bool| {
        while bytes.get(at).is_some_and(|b| is_digit(b) || *b == b'_') {
            at += 1;
        }
        at
    };
    let decimal: fn(&u8) -> bool = u8::is_ascii_digit;
    let (mut at, is_digit, marker) = match (bytes.first(), lower(1), lower(2)) {
        (Some(b'0'), Some(b'x'), _) => (2, u8::is_ascii_hexdigit as fn(&u8) -> bool, b'p'),
        (Some(b'0'), Some(b'o'), _) => (2, decimal, b'e'),
        (Some(b'0'), Some(b'b'), Some(b'0' | b'1')) => (2, decimal, b'e'),
        _ => (0, decimal, b'e'),
    };
    at = digits(at, is_digit);
    if bytes.get(at) == Some(&b'.') {
        at = digits(at + 1, is_digit);
    }
    if lower(at) == Some(marker) {
        let sign = matches!(bytes.get(at + 1), Some(b'+' | b'-'));
        let from = at + 1 + usize::from(sign);
        let end = digits(from, decimal);
        if end > from {
            at = end;
        }
    }
    at
}

/// A range as Prometheus writes durations; the errors are its.
fn range_duration(text: &str) -> Result<i64, String> {
    const UNITS: [(&str, u64); 7] = [
        ("y", 365 * 86_400_000_000_000),
        ("w", 7 * 86_400_000_000_000),
        ("d", 86_400_000_000_000),
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
    ];
    match text {
        "0" => return Ok(0),
        "" => return Err("empty duration string".to_owned()),
        _ => {}
    }
    let invalid = || format!("not a valid duration string: {text:?}");
    let out_of_range = || "duration out of range".to_owned();
    let (mut rest, mut total, mut from) = (text, 0u64, 0);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit());
        let (unit, after) = rest.split_at(letters.unwrap_or(rest.len()));
        if unit.is_empty() {
            return Err(invalid());
        }
        let Some(place) = UNITS.iter().position(|(name, _)| *name == unit) else {
            return Err(format!("unknown unit {unit:?} in duration {text:?}"));
        };
        if place < from {
            return Err(invalid());
        }
        from = place + 1;
        let nanos = number
            .checked_mul(UNITS[place].1)
            .ok_or_else(out_of_range)?;
        total = total.checked_add(nanos).ok_or_else(out_of_range)?;
        rest = after;
    }
    i64::try_from(total).map_err(|_| out_of_range())
}

const SIZES: [(&str, u64); 13] = [
    ("", 1),
    ("k", 1000),
    ("ki", 1 << 10),
    ("m", 1_000_000),
    ("mi", 1 << 20),
    ("g", 1_000_000_000),
    ("gi", 1 << 30),
    ("t", 1_000_000_000_000),
    ("ti", 1 << 40),
    ("p", 1_000_000_000_000_000),
    ("pi", 1 << 50),
    ("e", 1_000_000_000_000_000_000),
    ("ei", 1 << 60),
];

/// A size such as `1.5KiB`, `5 MB`, `2k` or `1,024`, in bytes; the error is Loki's.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let part = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',');
    let length = text.find(|c| !part(c)).unwrap_or(text.len());
    let digits = text[..length].replace(',', "");
    let number: f64 = digits
        .parse()
        .map_err(|_| format!("strconv.ParseFloat: parsing {digits:?}: invalid syntax"))?;
    let unit = text[length..].trim().to_lowercase();
    let plain = unit.strip_suffix('b').unwrap_or(&unit);
    let scale = SIZES
        .iter()
        .find(|(name, _)| *name == plain)
        .ok_or_else(|| format!("unhandled size name: {unit}"))?;
    let bytes = number * scale.1 as f64;
    if bytes >= 18_446_744_073_709_551_615.0 {
        return Err(format!("too large: {text}"));
    }
    // Below 2^64, so that the cast holds it; fractions of a byte are cut.
    Ok(bytes as u64)
}
