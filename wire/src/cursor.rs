//! Reading text formats byte by byte: names, quoted strings, label sets in braces.
//!
//! Invariants: the cursor stands on a character's border; strings without escapes are lent, not
//! copied; a fault is told as line and column.

use std::borrow::Cow;

use obs_model::Labels;
use obs_model::limits::Limits;

use crate::error::{Position, WireError};
use crate::rejects::shown;

/// A label as read: name and value, lent where nothing was escaped.
pub(crate) type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Which escapes a quoted string knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Escapes {
    /// `\\`, `\"` and `\n`; any other backslash stands for itself.
    Exposition,
    /// All of a Go string; any other escape is a fault.
    Go,
}

/// A place in a text.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    format: &'static str,
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// At the begin of bytes that must be UTF-8 and within the limit for bodies.
    pub(crate) fn open(
        format: &'static str,
        bytes: &'a [u8],
        limits: &Limits,
    ) -> Result<Self, WireError> {
        let max = limits.decompressed_bytes_max;
        if bytes.len() > max {
            return Err(WireError::too_large(format, crate::capped::LIMIT, max));
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(format, text)),
            Err(error) => Err(WireError::Malformed {
                format,
                position: Position::in_text(bytes, error.valid_up_to()),
                expected: "UTF-8".to_owned(),
            }),
        }
    }

    pub(crate) fn new(format: &'static str, text: &'a str) -> Self {
        Self {
            format,
            text,
            at: 0,
        }
    }

    /// The same in another place, which must be a character's border.
    pub(crate) fn seek(&mut self, at: usize) {
        self.at = at;
    }

    pub(crate) fn format(&self) -> &'static str {
        self.format
    }

    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Steps over the ASCII character that was peeked.
    pub(crate) fn bump(&mut self) {
        self.at += 1;
    }

    /// Steps over spaces and tabs; says whether there were any.
    pub(crate) fn blanks(&mut self) -> bool {
        let start = self.at;
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
        self.at > start
    }

    /// Up to the next blank or the end of the line.
    pub(crate) fn token(&mut self) -> &'a str {
        self.until(|byte| matches!(byte, b' ' | b'\t' | b'\n'))
    }

    /// Up to the end of the line.
    pub(crate) fn line(&mut self) -> &'a str {
        self.until(|byte| byte == b'\n')
    }

    /// A name of the old alphabet, possibly empty; metric names may have colons.
    pub(crate) fn name(&mut self, colon: bool) -> &'a str {
        if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return "";
        }
        self.until(|byte| {
            !(byte.is_ascii_alphanumeric() || byte == b'_' || (colon && byte == b':'))
        })
    }

    /// A string in double quotes; in Go's syntax also one in backticks.
    pub(crate) fn quoted(&mut self, escapes: Escapes) -> Result<Cow<'a, str>, WireError> {
        let start = self.at;
        let quote = match self.peek() {
            Some(b'"') => b'"',
            Some(b'`') if escapes == Escapes::Go => b'`',
            _ => return Err(self.fault("a string in double quotes")),
        };
        self.bump();
        let plain = self.until(|byte| byte == quote || (byte == b'\\' && quote == b'"'));
        if self.peek() == Some(quote) {
            self.bump();
            return Ok(Cow::Borrowed(plain));
        }
        let mut bytes = plain.as_bytes().to_vec();
        loop {
            match self.peek() {
                None => return Err(self.fault_at(start, "a string that is closed")),
                Some(byte) if byte == quote => {
                    self.bump();
                    break;
                }
                Some(_) => self.escape(escapes, &mut bytes)?,
            }
            let plain = self.until(|byte| byte == quote || byte == b'\\');
            bytes.extend_from_slice(plain.as_bytes());
        }
        String::from_utf8(bytes)
            .map(Cow::Owned)
            .map_err(|_| self.fault_at(start, "escapes that give UTF-8"))
    }

    /// Labels in braces, appended to `pairs`. A string without value is given back: it is the
    /// metric's name in `{"a.b",c="d"}`.
    pub(crate) fn braces(
        &mut self,
        escapes: Escapes,
        limits: &Limits,
        pairs: &mut Vec<Pair<'a>>,
    ) -> Result<Option<Cow<'a, str>>, WireError> {
        if self.peek() != Some(b'{') {
            return Err(self.fault("\"{\""));
        }
        self.bump();
        let mut bare = None;
        loop {
            self.blanks();
            let start = self.at;
            let name = match self.peek() {
                Some(b'}') => break,
                Some(b'"') => self.quoted(escapes)?,
                _ => Cow::Borrowed(self.name(false)),
            };
            if name.is_empty() {
                return Err(self.fault_at(start, "a label name or \"}\""));
            }
            let quoted = self.text.as_bytes()[start] == b'"';
            self.blanks();
            if self.peek() == Some(b'=') {
                self.bump();
                self.blanks();
                let value = self.quoted(escapes)?;
                if pairs.len() > limits.labels_max {
                    let max = limits.labels_max;
                    return Err(WireError::too_large(self.format, "labels_max", max));
                }
                pairs.push((name, value));
            } else if quoted && bare.is_none() {
                bare = Some(name);
            } else {
                return Err(self.fault("\"=\""));
            }
            self.blanks();
            match self.peek() {
                Some(b',') => self.bump(),
                Some(b'}') => {}
                _ => return Err(self.fault("\",\" or \"}\"")),
            }
        }
        self.bump();
        Ok(bare)
    }

    /// A fault here.
    pub(crate) fn fault(&self, expected: &str) -> WireError {
        self.fault_at(self.at, expected)
    }

    /// A fault at an offset.
    pub(crate) fn fault_at(&self, at: usize, expected: &str) -> WireError {
        let rest = self.text.get(at..).unwrap_or("");
        let word = rest.split(['\n', ' ', '\t']).next().unwrap_or("");
        let found = match word.char_indices().nth(40) {
            Some((end, _)) => &word[..end],
            None => word,
        };
        let found = match (found.is_empty(), rest.chars().next()) {
            (true, None) => "the end".to_owned(),
            (true, Some(first)) => format!("{:?}", first.to_string()),
            (false, _) => format!("{found:?}"),
        };
        WireError::Malformed {
            format: self.format,
            position: Position::in_text(self.text.as_bytes(), at),
            expected: format!("{expected}, found {found}"),
        }
    }

    fn until(&mut self, stop: impl Fn(u8) -> bool) -> &'a str {
        let start = self.at;
        let rest = &self.text.as_bytes()[start..];
        self.at += rest.iter().position(|b| stop(*b)).unwrap_or(rest.len());
        &self.text[start..self.at]
    }

    /// Steps over one escape and appends what it stands for.
    fn escape(&mut self, escapes: Escapes, out: &mut Vec<u8>) -> Result<(), WireError> {
        let start = self.at;
        self.bump();
        let Some(byte) = self.peek() else {
            return Err(self.fault_at(start, "an escape"));
        };
        let simple = match byte {
            b'\\' | b'"' => byte,
            b'n' => b'\n',
            _ if escapes == Escapes::Exposition => {
                out.push(b'\\');
                return Ok(());
            }
            b'a' => 0x07,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0b,
            b'x' => return self.code(start, 1, 2, 16, out),
            b'u' => return self.code(start, 1, 4, 16, out),
            b'U' => return self.code(start, 1, 8, 16, out),
            b'0'..=b'7' => return self.code(start, 0, 3, 8, out),
            _ => return Err(self.fault_at(start, "an escape of Go")),
        };
        self.bump();
        out.push(simple);
        Ok(())
    }

    /// A character or byte by its code of so many digits, `skip` bytes behind the cursor.
    fn code(
        &mut self,
        start: usize,
        skip: usize,
        digits: usize,
        base: u32,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        let from = self.at + skip;
        let code = self
            .text
            .get(from..from + digits)
            .filter(|text| !text.starts_with('+'))
            .and_then(|text| u32::from_str_radix(text, base).ok());
        self.at = from;
        let byte = digits < 4;
        match code {
            Some(code) if byte && code < 256 => out.push(code as u8),
            Some(code) if !byte && char::from_u32(code).is_some() => {
                let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => return Err(self.fault_at(start, "an escape of Go")),
        }
        self.at = from + digits;
        Ok(())
    }
}

/// Why pairs are not a label set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LabelFault {
    /// A name occurs twice.
    Duplicate(String),
    /// A limit, by name and value.
    Limit(&'static str, usize),
}

impl LabelFault {
    /// The error, where `malformed` knows the place.
    pub(crate) fn into_error(
        self,
        format: &'static str,
        malformed: impl FnOnce(String) -> WireError,
    ) -> WireError {
        match self {
            Self::Duplicate(name) => malformed(format!(
                "label names once each, found {} twice",
                shown(&name)
            )),
            Self::Limit(limit, max) => WireError::too_large(format, limit, max),
        }
    }
}

/// Makes labels of pairs in any order: drops empty values, refuses equal names and what is
/// beyond the limits. Sorts `pairs`.
pub(crate) fn labels<N: AsRef<str>, V: AsRef<str>>(
    pairs: &mut [(N, V)],
    limits: &Limits,
) -> Result<Labels, LabelFault> {
    let sorted = pairs.windows(2).all(|w| w[0].0.as_ref() < w[1].0.as_ref());
    if !sorted {
        pairs.sort_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
        let equal = pairs
            .windows(2)
            .find(|w| w[0].0.as_ref() == w[1].0.as_ref());
        if let Some(pair) = equal {
            return Err(LabelFault::Duplicate(pair[0].0.as_ref().to_owned()));
        }
    }
    // One more for the metric's name, which is not counted as a label by users.
    if pairs.len() > limits.labels_max.saturating_add(1) {
        return Err(LabelFault::Limit("labels_max", limits.labels_max));
    }
    for (name, value) in pairs.iter() {
        if name.as_ref().len() > limits.label_name_bytes_max {
            let max = limits.label_name_bytes_max;
            return Err(LabelFault::Limit("label_name_bytes_max", max));
        }
        if value.as_ref().len() > limits.label_value_bytes_max {
            let max = limits.label_value_bytes_max;
            return Err(LabelFault::Limit("label_value_bytes_max", max));
        }
    }
    let kept = pairs
        .iter()
        .map(|(name, value)| (name.as_ref(), value.as_ref()))
        .filter(|(name, value)| !name.is_empty() && !value.is_empty());
    Ok(Labels::from_sorted(kept).expect("pairs were sorted, made unique and cleaned"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, escapes: Escapes, expect: Result<&str, &str>) {
        let result = Cursor::new("text", text)
            .quoted(escapes)
            .map(Cow::into_owned)
            .map_err(|error| error.to_string());
        let expect = expect
            .map(str::to_owned)
            .map_err(|error| format!("text is malformed at {error}"));
        assert_eq!(result, expect, "{text}");
    }

    #[test]
    fn strings() {
        use Escapes::{Exposition, Go};
        check(r#""plain" rest"#, Exposition, Ok("plain"));
        check(r#""a\\b\"c\nd\x""#, Exposition, Ok("a\\b\"c\nd\\x"));
        check(r#""\é""#, Exposition, Ok("\\é"));
        check(r#""\x41\101\u00e9\U0001F600\t""#, Go, Ok("AAé😀\t"));
        check("`a\\b`", Go, Ok("a\\b"));
        check(
            r#""\xff""#,
            Go,
            Err("1:1: expected escapes that give UTF-8, found \"\\\"\\\\xff\\\"\""),
        );
        check(
            r#""\q""#,
            Go,
            Err("1:2: expected an escape of Go, found \"\\\\q\\\"\""),
        );
        check(
            r#""\u12é""#,
            Go,
            Err("1:2: expected an escape of Go, found \"\\\\u12é\\\"\""),
        );
        check(
            "\"open",
            Go,
            Err("1:1: expected a string that is closed, found \"\\\"open\""),
        );
        check(
            "\"open\\",
            Go,
            Err("1:6: expected an escape, found \"\\\\\""),
        );
        check(
            "bare",
            Go,
            Err("1:1: expected a string in double quotes, found \"bare\""),
        );
    }
}
