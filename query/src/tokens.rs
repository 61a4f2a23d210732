//! What the LogQL and TraceQL parsers share: a cursor over tokens, and Go's literals in nom.
//!
//! Invariant: whatever the text, the cursor stays inside its tokens and the nesting stays below
//! the bound it was made with.

use nom::IResult;
use nom::bytes::complete::take_while;

use crate::error::ParseError;
use obs_model::limits::Limits;

/// Operators above one another in a tree; a chain such as `a + b + c` is a tree as deep as it is
/// long, and trees are walked by recursion.
pub(crate) const HEIGHT_MAX: usize = 256;

/// Longest piece of the query that an error repeats, in characters.
const FOUND_CHARS_MAX: usize = 60;

/// An error at an extent of the text, in bytes.
pub(crate) fn fault_at(
    text: &str,
    start: usize,
    end: usize,
    expected: impl Into<String>,
) -> ParseError {
    let piece = text.get(start..end).unwrap_or("");
    let mut found: String = piece.chars().take(FOUND_CHARS_MAX).collect();
    if found.len() < piece.len() {
        found.push('…');
    }
    if !found.is_empty() && found.trim().is_empty() {
        "white space".clone_into(&mut found);
    } else if found.is_empty() {
        "end of query".clone_into(&mut found);
    } else if found.len() < 2 || !found.starts_with(['"', '`']) {
        // Texts bring their own quotes.
        found = format!("{found:?}");
    }
    ParseError::at(text, start, expected.into(), found)
}

/// A token and its extent in the text, in bytes.
#[derive(Clone, Debug)]
pub(crate) struct Spanned<T> {
    pub(crate) token: T,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Why no token could be read: what was expected at the rest of the text.
#[derive(Clone, Debug)]
pub(crate) struct Fault<'a> {
    pub(crate) rest: &'a str,
    pub(crate) expected: &'static str,
}

impl<'a> nom::error::ParseError<&'a str> for Fault<'a> {
    fn from_error_kind(rest: &'a str, _: nom::error::ErrorKind) -> Self {
        Self {
            rest,
            expected: "a token of the query language",
        }
    }

    fn append(_: &'a str, _: nom::error::ErrorKind, other: Self) -> Self {
        other
    }
}

/// The result of reading one token.
pub(crate) type Lexed<'a, T> = IResult<&'a str, T, Fault<'a>>;

/// A fault that no alternative can mend.
pub(crate) fn failure<'a, T>(rest: &'a str, expected: &'static str) -> Lexed<'a, T> {
    Err(nom::Err::Failure(Fault { rest, expected }))
}

/// A fault after which another alternative may be tried.
pub(crate) fn mismatch<T>(rest: &str) -> Lexed<'_, T> {
    Err(nom::Err::Error(Fault {
        rest,
        expected: "a token of the query language",
    }))
}

/// Cuts a text into tokens; spaces and `#` comments between them vanish.
pub(crate) fn tokenize<'a, T>(
    text: &'a str,
    limits: &Limits,
    token: impl Fn(&'a str) -> Lexed<'a, T>,
) -> Result<Vec<Spanned<T>>, ParseError> {
    if text.len() > limits.query_text_bytes_max {
        let expected = format!(
            "at most {} bytes of query (obs.limits.query_text_bytes_max)",
            limits.query_text_bytes_max
        );
        return Err(ParseError::at(
            "",
            0,
            expected,
            format!("{} bytes", text.len()),
        ));
    }
    let mut tokens = Vec::new();
    let mut rest = skip(text);
    while !rest.is_empty() {
        let start = text.len() - rest.len();
        match token(rest) {
            Ok((after, token)) => {
                let end = text.len() - after.len();
                tokens.push(Spanned { token, start, end });
                rest = skip(after);
            }
            Err(nom::Err::Error(fault) | nom::Err::Failure(fault)) => {
                let at = text.len() - fault.rest.len();
                let end = fault.rest.chars().next().map_or(at, |c| at + c.len_utf8());
                return Err(fault_at(text, at, end, fault.expected));
            }
            Err(nom::Err::Incomplete(_)) => {
                return Err(fault_at(text, start, text.len(), "a complete token"));
            }
        }
    }
    Ok(tokens)
}

fn skip(mut rest: &str) -> &str {
    loop {
        let trimmed = rest.trim_start();
        let Some(comment) = trimmed.strip_prefix('#') else {
            return trimmed;
        };
        rest = comment
            .find('\n')
            .and_then(|end| comment.get(end..))
            .unwrap_or("");
    }
}

/// A position in the tokens of one text.
#[derive(Debug)]
pub(crate) struct Cursor<'a, T> {
    text: &'a str,
    tokens: Vec<Spanned<T>>,
    at: usize,
    depth: usize,
    depth_max: usize,
    height: usize,
}

impl<'a, T: PartialEq> Cursor<'a, T> {
    pub(crate) fn new(text: &'a str, tokens: Vec<Spanned<T>>, limits: &Limits) -> Self {
        Self {
            text,
            tokens,
            at: 0,
            depth: 0,
            depth_max: limits.depth_max,
            height: 0,
        }
    }

    pub(crate) fn peek(&self) -> Option<&T> {
        self.peek_at(0)
    }

    pub(crate) fn peek_at(&self, ahead: usize) -> Option<&T> {
        self.tokens.get(self.at + ahead).map(|t| &t.token)
    }

    /// The token at a position.
    pub(crate) fn token_at(&self, position: usize) -> Option<&T> {
        self.tokens.get(position).map(|t| &t.token)
    }

    /// Goes back to a position after a reading failed: no level is open then.
    pub(crate) fn restart(&mut self, position: usize) {
        self.at = position;
        self.depth = 0;
    }

    /// The number of the token that comes next, for [`Self::error_at`].
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Goes back to a position taken before.
    pub(crate) fn rewind(&mut self, position: usize) {
        self.at = position;
    }

    pub(crate) fn advance(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len());
    }

    pub(crate) fn eat(&mut self, token: &T) -> bool {
        let found = self.peek() == Some(token);
        if found {
            self.advance();
        }
        found
    }

    pub(crate) fn expect(&mut self, token: &T, what: &str) -> Result<(), ParseError> {
        if self.eat(token) {
            Ok(())
        } else {
            Err(self.error(what))
        }
    }

    pub(crate) fn at_end(&self) -> bool {
        self.at >= self.tokens.len()
    }

    /// An error at the next token.
    pub(crate) fn error(&self, expected: impl Into<String>) -> ParseError {
        self.error_at(self.at, expected)
    }

    /// An error at an earlier token.
    pub(crate) fn error_at(&self, position: usize, expected: impl Into<String>) -> ParseError {
        let (start, end) = self
            .tokens
            .get(position)
            .map_or((self.text.len(), self.text.len()), |t| (t.start, t.end));
        fault_at(self.text, start, end, expected)
    }

    /// An error that covers the tokens from a position up to the next token.
    pub(crate) fn error_from(&self, position: usize, expected: impl Into<String>) -> ParseError {
        let start = self
            .tokens
            .get(position)
            .map_or(self.text.len(), |t| t.start);
        let last = self.tokens.get(self.at.saturating_sub(1).max(position));
        let end = last.map_or(self.text.len(), |t| t.end);
        fault_at(self.text, start, end, expected)
    }

    /// Goes one level deeper; [`Self::leave`] comes back.
    pub(crate) fn enter(&mut self) -> Result<(), ParseError> {
        if self.depth >= self.depth_max {
            return Err(self.error(format!(
                "at most {} levels of nesting (obs.limits.depth_max)",
                self.depth_max
            )));
        }
        self.depth += 1;
        Ok(())
    }

    /// Begins an operand and whatever operators follow it.
    pub(crate) fn begin_height(&mut self) {
        self.height = 0;
    }

    /// Operators above one another in what was parsed last.
    pub(crate) fn height(&self) -> usize {
        self.height
    }

    /// What was parsed last stands beside something of the given height.
    pub(crate) fn raise_height(&mut self, other: usize) {
        self.height = self.height.max(other);
    }

    /// Puts an operator above a left side of the given height and the right side, parsed last.
    pub(crate) fn grow(&mut self, left: usize) -> Result<(), ParseError> {
        self.height = self.height.max(left) + 1;
        if self.height > HEIGHT_MAX {
            return Err(self.error(format!("at most {HEIGHT_MAX} operators in a chain")));
        }
        Ok(())
    }

    /// Comes back from a level.
    pub(crate) fn leave(&mut self) {
        self.depth -= 1;
    }
}

/// A Go string literal: `"…"` with escapes, or raw between back quotes.
pub(crate) fn string_literal(input: &str) -> Lexed<'_, String> {
    if let Some(raw) = input.strip_prefix('`') {
        let (rest, body) = take_while(|c| c != '`')(raw)?;
        let Some(after) = rest.strip_prefix('`') else {
            return failure(input, "a closing back quote");
        };
        return Ok((after, body.replace('\r', "")));
    }
    let Some(mut rest) = input.strip_prefix('"') else {
        return mismatch(input);
    };
    let mut bytes = Vec::new();
    loop {
        let mut chars = rest.chars();
        match chars.next() {
            None | Some('\n') => return failure(input, "a closing quote on the same line"),
            Some('"') => {
                let Ok(text) = String::from_utf8(bytes) else {
                    return failure(input, "a string whose escapes make UTF-8");
                };
                return Ok((chars.as_str(), text));
            }
            Some('\\') => {
                let Some((value, after)) = escape(chars.as_str()) else {
                    return failure(rest, "an escape of Go such as \\n, \\\" or \\u00e9");
                };
                bytes.extend_from_slice(&value);
                rest = after;
            }
            Some(c) => {
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                rest = chars.as_str();
            }
        }
    }
}

/// What stands behind a backslash: the bytes it means and the text after it.
fn escape(rest: &str) -> Option<(Vec<u8>, &str)> {
    let mut chars = rest.chars();
    let kind = chars.next()?;
    let after = chars.as_str();
    let one = |byte: u8| Some((vec![byte], after));
    match kind {
        'a' => one(7),
        'b' => one(8),
        'f' => one(12),
        'n' => one(b'\n'),
        'r' => one(b'\r'),
        't' => one(b'\t'),
        'v' => one(11),
        '\\' => one(b'\\'),
        '"' => one(b'"'),
        '0'..='7' => {
            let value = u32::from_str_radix(digits(rest, 3)?, 8).ok()?;
            Some((vec![u8::try_from(value).ok()?], rest.get(3..)?))
        }
        'x' => {
            let value = u8::from_str_radix(digits(after, 2)?, 16).ok()?;
            Some((vec![value], after.get(2..)?))
        }
        'u' | 'U' => {
            let count = if kind == 'u' { 4 } else { 8 };
            let value = u32::from_str_radix(digits(after, count)?, 16).ok()?;
            let c = char::from_u32(value)?;
            Some((c.to_string().into_bytes(), after.get(count..)?))
        }
        _ => None,
    }
}

fn digits(text: &str, count: usize) -> Option<&str> {
    let piece = text.get(..count)?;
    piece
        .bytes()
        .all(|b| b.is_ascii_hexdigit())
        .then_some(piece)
}

/// The run of characters that a number, duration or size is made of, with exponent signs.
pub(crate) fn number_run(input: &str) -> &str {
    let mut end = 0;
    let mut last = ' ';
    for (at, c) in input.char_indices() {
        let sign = matches!(c, '+' | '-')
            && matches!(last, 'e' | 'E' | 'p' | 'P')
            && input
                .get(..at)
                .is_some_and(|run| exponent_base(run) && follows_digit(input, at));
        if !(c.is_ascii_alphanumeric() || matches!(c, '.' | 'µ' | 'μ') || sign) {
            break;
        }
        last = c;
        end = at + c.len_utf8();
    }
    input.get(..end).unwrap_or("")
}

fn exponent_base(run: &str) -> bool {
    let hex = run.starts_with("0x") || run.starts_with("0X");
    if hex {
        return run.ends_with(['p', 'P']);
    }
    let body = run.get(..run.len() - 1).unwrap_or("");
    run.ends_with(['e', 'E']) && body.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

fn follows_digit(input: &str, at: usize) -> bool {
    input.as_bytes().get(at + 1).is_some_and(u8::is_ascii_digit)
}

/// A number as Go's `ParseFloat` reads it: decimal, or hexadecimal with a `p` exponent.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        let (mantissa, exponent) = hex.split_once(['p', 'P'])?;
        let exponent: i32 = exponent.parse().ok()?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.len() + fraction.len() == 0 {
            return None;
        }
        let mut value = 0.0f64;
        for c in whole.chars().chain(fraction.chars()) {
            value = value * 16.0 + f64::from(c.to_digit(16)?);
        }
        let scale = exponent.checked_sub(i32::try_from(fraction.len()).ok()?.checked_mul(4)?)?;
        let value = value * 2f64.powi(scale);
        return value.is_finite().then_some(value);
    }
    let plain = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-');
    let value: f64 = text.bytes().all(plain).then(|| text.parse().ok())??;
    value.is_finite().then_some(value)
}

const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Prometheus' units in the order that it asks for.
const DAY_UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000_000_000),
    ("w", 7 * 86_400_000_000_000),
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
];

/// A duration in nanoseconds: Prometheus' form (`1d`, `5m30s`), else Go's (`1.5h`, `100µs`).
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    day_duration(text).or_else(|| go_duration(text))
}

fn day_duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total = 0i64;
    let mut from = 0;
    while !rest.is_empty() {
        let count = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: i64 = rest.get(..count)?.parse().ok()?;
        let unit_text = rest.get(count..)?;
        let length = unit_text
            .bytes()
            .take_while(|b| !b.is_ascii_digit())
            .count();
        let unit = unit_text.get(..length)?;
        let index = DAY_UNITS.iter().position(|(name, _)| *name == unit)?;
        if index < from {
            return None;
        }
        from = index + 1;
        total = total.checked_add(number.checked_mul(DAY_UNITS[index].1)?)?;
        rest = unit_text.get(length..)?;
    }
    (!text.is_empty()).then_some(total)
}

/// A duration as Go's `time.ParseDuration` reads it, with a sign.
pub(crate) fn go_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0i64;
    while !rest.is_empty() {
        let count = rest
            .bytes()
            .take_while(|b| b.is_ascii_digit() || *b == b'.')
            .count();
        let number = rest.get(..count)?;
        let unit_text = rest.get(count..)?;
        let length = unit_text
            .bytes()
            .take_while(|b| !b.is_ascii_digit() && *b != b'.')
            .count();
        let unit = unit_text.get(..length)?;
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') {
            return None;
        }
        let whole: i64 = if whole.is_empty() {
            0
        } else {
            whole.parse().ok()?
        };
        total = total.checked_add(whole.checked_mul(*scale)?)?;
        if !fraction.is_empty() {
            // Digits behind the 18th are below a nanosecond of any unit.
            let digits = fraction.get(..18.min(fraction.len()))?;
            let part: i64 = digits.parse().ok()?;
            let units = *scale as f64 / 10f64.powi(digits.len() as i32);
            // Less than one unit, so it fits; truncation is what Go does too.
            total = total.checked_add((part as f64 * units) as i64)?;
        }
        rest = unit_text.get(length..)?;
    }
    Some(if negative { -total } else { total })
}

/// A duration as the printers write it; [`parse_duration`] reads it back.
pub(crate) fn format_duration(nanos: i64) -> String {
    let mut out = String::new();
    if nanos < 0 {
        out.push('-');
    }
    let mut rest = nanos.unsigned_abs();
    let day = 86_400_000_000_000u64;
    if rest == 0 {
        return "0s".to_owned();
    }
    if rest.is_multiple_of(day) {
        let days = rest / day;
        return if days.is_multiple_of(7) {
            format!("{out}{}w", days / 7)
        } else {
            format!("{out}{days}d")
        };
    }
    for (unit, scale) in [
        ("h", 3_600_000_000_000u64),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ] {
        if rest >= scale {
            out.push_str(&format!("{}{unit}", rest / scale));
            rest %= scale;
        }
    }
    out
}

/// A text as a Go string literal that [`string_literal`] reads back.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        let check = |text: &str, expect: Option<i64>| {
            assert_eq!(parse_duration(text), expect, "{text}");
        };
        check("5m", Some(300_000_000_000));
        check("1d2h", Some(93_600_000_000_000));
        check("1.5h", Some(5_400_000_000_000));
        check("100µs", Some(100_000));
        check("34m51.12704s", Some(2_091_127_040_000));
        check("0.1234567891234567891234s", Some(123_456_789));
        check("-1ns", Some(-1));
        check("5", None);
        check("", None);
        check("5x", None);
        check("1..5s", None);
        check("99999999999y", None);
    }

    #[test]
    fn floats() {
        let check =
            |text: &str, expect: Option<f64>| assert_eq!(parse_float(text), expect, "{text}");
        check("1e3", Some(1000.0));
        check(".5", Some(0.5));
        check("0x1p3", Some(8.0));
        check("0x1A", None);
        check("1e999", None);
        check("nan", None);
    }

    proptest! {
        #[test]
        fn strings_round_trip(text in ".*") {
            let quoted = quote(&text);
            let (rest, back) = string_literal(&quoted).unwrap();
            prop_assert_eq!(rest, "");
            prop_assert_eq!(back, text);
        }

        #[test]
        fn durations_round_trip(nanos in any::<i64>().prop_filter("no negation", |n| *n != i64::MIN)) {
            let text = format_duration(nanos);
            let back = match text.strip_prefix('-') {
                Some(positive) => parse_duration(positive).map(|n| -n),
                None => parse_duration(&text),
            };
            prop_assert_eq!(back, Some(nanos));
        }
    }
}
