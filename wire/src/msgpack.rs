//! MessagePack: the tokens of a value, where a value ends on a stream, a value as JSON text.
//!
//! Invariants: a declared length is compared with the bytes that are there before anything is done
//! with it; nesting is bounded; nothing is allocated from a declared count.
//! Format: <https://github.com/msgpack/msgpack/blob/master/spec.md>

use crate::json::Writer;

/// Deepest nesting that is followed.
const DEPTH_MAX: usize = 64;

/// What a value starts with; texts and bytes are whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Token<'a> {
    Nil,
    Bool(bool),
    Int(i64),
    Unsigned(u64),
    Float(f64),
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    Extension(i8, &'a [u8]),
    /// So many values follow.
    Array(u32),
    /// So many pairs of values follow.
    Map(u32),
}

/// Why there is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The bytes end before it does.
    Unfinished,
    /// It is none.
    Malformed,
}

/// Reads tokens one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Tokens<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Tokens<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let end = self.at.checked_add(count).ok_or(Fault::Unfinished)?;
        let taken = self.bytes.get(self.at..end).ok_or(Fault::Unfinished)?;
        self.at = end;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| Fault::Unfinished)
    }

    /// A length of one, two or four bytes.
    fn length(&mut self, width: usize) -> Result<u32, Fault> {
        let bytes = self.take(width)?;
        Ok(bytes.iter().fold(0, |n, byte| n << 8 | u32::from(*byte)))
    }

    fn sized(&mut self, width: usize) -> Result<&'a [u8], Fault> {
        let length = self.length(width)?;
        self.take(length as usize)
    }

    fn extension(&mut self, length: u32) -> Result<Token<'a>, Fault> {
        let [kind] = self.fixed::<1>()?;
        Ok(Token::Extension(kind as i8, self.take(length as usize)?))
    }

    /// The next token. After a fault the place is undefined.
    pub(crate) fn token(&mut self) -> Result<Token<'a>, Fault> {
        let [first] = self.fixed::<1>()?;
        Ok(match first {
            0x00..=0x7f => Token::Unsigned(first.into()),
            0x80..=0x8f => Token::Map((first & 0x0f).into()),
            0x90..=0x9f => Token::Array((first & 0x0f).into()),
            0xa0..=0xbf => Token::Text(self.take((first & 0x1f).into())?),
            0xc0 => Token::Nil,
            0xc1 => return Err(Fault::Malformed),
            0xc2 => Token::Bool(false),
            0xc3 => Token::Bool(true),
            0xc4 => Token::Bytes(self.sized(1)?),
            0xc5 => Token::Bytes(self.sized(2)?),
            0xc6 => Token::Bytes(self.sized(4)?),
            0xc7..=0xc9 => {
                let length = self.length(1 << (first - 0xc7))?;
                self.extension(length)?
            }
            0xca => Token::Float(f32::from_be_bytes(self.fixed()?).into()),
            0xcb => Token::Float(f64::from_be_bytes(self.fixed()?)),
            0xcc => Token::Unsigned(u8::from_be_bytes(self.fixed()?).into()),
            0xcd => Token::Unsigned(u16::from_be_bytes(self.fixed()?).into()),
            0xce => Token::Unsigned(u32::from_be_bytes(self.fixed()?).into()),
            0xcf => Token::Unsigned(u64::from_be_bytes(self.fixed()?)),
            0xd0 => Token::Int(i8::from_be_bytes(self.fixed()?).into()),
            0xd1 => Token::Int(i16::from_be_bytes(self.fixed()?).into()),
            0xd2 => Token::Int(i32::from_be_bytes(self.fixed()?).into()),
            0xd3 => Token::Int(i64::from_be_bytes(self.fixed()?)),
            0xd4..=0xd8 => self.extension(1 << (first - 0xd4))?,
            0xd9 => Token::Text(self.sized(1)?),
            0xda => Token::Text(self.sized(2)?),
            0xdb => Token::Text(self.sized(4)?),
            0xdc => Token::Array(self.length(2)?),
            0xdd => Token::Array(self.length(4)?),
            0xde => Token::Map(self.length(2)?),
            0xdf => Token::Map(self.length(4)?),
            0xe0..=0xff => Token::Int((first as i8).into()),
        })
    }

    /// The next value, whole, as its bytes.
    pub(crate) fn value(&mut self) -> Result<&'a [u8], Fault> {
        let rest = &self.bytes[self.at.min(self.bytes.len())..];
        let length = Scanner::default().end(rest)?;
        self.take(length)
    }
}

/// Finds the end of a value whose bytes arrive in pieces; what was looked at is not looked at
/// again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scanner {
    at: usize,
    /// Values that are left of each array and map that is open.
    open: Vec<u64>,
    started: bool,
}

impl Scanner {
    /// The length of the value in front of `bytes`, which are those of the last call and more.
    pub(crate) fn end(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        while !self.started || !self.open.is_empty() {
            if let Some(0) = self.open.last() {
                self.open.pop();
                continue;
            }
            let mut tokens = Tokens { bytes, at: self.at };
            let token = tokens.token()?;
            self.at = tokens.offset();
            self.started = true;
            if let Some(left) = self.open.last_mut() {
                *left -= 1;
            }
            let inside = match token {
                Token::Array(count) => u64::from(count),
                Token::Map(count) => 2 * u64::from(count),
                _ => continue,
            };
            if self.open.len() >= DEPTH_MAX {
                return Err(Fault::Malformed);
            }
            self.open.push(inside);
        }
        Ok(self.at)
    }
}

/// A whole value as JSON text.
pub(crate) fn to_json(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut tokens = Tokens::new(value);
    // A value that was found by the scanner has no fault; on another the text is cut short.
    let _cut = write_json(&mut tokens, &mut Writer::new(&mut out));
    out
}

fn write_json(tokens: &mut Tokens<'_>, json: &mut Writer<'_>) -> Result<(), Fault> {
    match tokens.token()? {
        Token::Nil => json.null(),
        Token::Bool(yes) => json.bool(yes),
        Token::Int(number) => json.integer(number),
        Token::Unsigned(number) => json.unsigned(number),
        Token::Float(number) => json.number(number),
        Token::Text(text) | Token::Bytes(text) | Token::Extension(_, text) => json.text(text),
        Token::Array(count) => {
            json.array();
            let wrote = (0..count).try_for_each(|_| write_json(tokens, json));
            json.end_array();
            wrote?;
        }
        Token::Map(count) => {
            json.object();
            let wrote = (0..count).try_for_each(|_| {
                json.key(&key_of(tokens.value()?));
                write_json(tokens, json)
            });
            json.end_object();
            wrote?;
        }
    }
    Ok(())
}

/// A whole value as text: texts as they are, maps and arrays as JSON; nil is nothing.
pub(crate) fn text_of(value: &[u8]) -> Option<String> {
    Some(match Tokens::new(value).token().ok()? {
        Token::Nil => return None,
        Token::Bool(yes) => yes.to_string(),
        Token::Int(number) => number.to_string(),
        Token::Unsigned(number) => number.to_string(),
        Token::Float(number) => number.to_string(),
        Token::Text(text) | Token::Bytes(text) | Token::Extension(_, text) => {
            String::from_utf8_lossy(text).into_owned()
        }
        Token::Array(_) | Token::Map(_) => String::from_utf8_lossy(&to_json(value)).into_owned(),
    })
}

/// A key as text. Maps and arrays are none: quoted inside of each other they would double with
/// every level.
pub(crate) fn key_of(value: &[u8]) -> String {
    match Tokens::new(value).token() {
        Ok(Token::Array(_) | Token::Map(_)) | Err(_) => String::new(),
        Ok(_) => text_of(value).unwrap_or_default(),
    }
}

/// Appends a text.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = text.len();
    match length {
        0..=31 => out.push(0xa0 | length as u8),
        32..=255 => out.extend_from_slice(&[0xd9, length as u8]),
        _ => {
            out.push(0xdb);
            out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(bytes: &[u8]) -> String {
        String::from_utf8(to_json(bytes)).unwrap()
    }

    #[test]
    fn every_kind() {
        let check = |bytes: &[u8], expect: &str| {
            assert_eq!(Tokens::new(bytes).value(), Ok(bytes), "{bytes:?}");
            assert_eq!(json(bytes), expect);
        };
        check(b"\x07", "7");
        check(b"\xff", "-1");
        check(b"\xc0", "null");
        check(b"\xc2", "false");
        check(b"\xcb\x3f\xf8\0\0\0\0\0\0", "1.5");
        check(b"\xca\x3f\xc0\0\0", "1.5");
        check(
            b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
            "18446744073709551615",
        );
        check(b"\xd3\x80\0\0\0\0\0\0\0", "-9223372036854775808");
        check(b"\xa2hi", "\"hi\"");
        check(b"\xd9\x02hi", "\"hi\"");
        check(b"\xc4\x02hi", "\"hi\"");
        check(b"\x92\x01\x90", "[1,[]]");
        check(
            b"\x82\xa1a\x01\x02\x81\xa1b\xc3",
            r#"{"a":1,"2":{"b":true}}"#,
        );
        check(b"\xd4\x05x", "\"x\"");
        check(b"\xc7\x02\x05xy", "\"xy\"");
    }

    #[test]
    fn faults() {
        let end = |bytes: &[u8]| Scanner::default().end(bytes);
        assert_eq!(end(b""), Err(Fault::Unfinished));
        assert_eq!(end(b"\xdb\xff\xff\xff\xffx"), Err(Fault::Unfinished));
        assert_eq!(end(b"\xdd\xff\xff\xff\xff\x01"), Err(Fault::Unfinished));
        assert_eq!(end(b"\xc1"), Err(Fault::Malformed));
        assert_eq!(end(&[0x91; 100]), Err(Fault::Malformed));
        assert_eq!(end(b"\x01\x02"), Ok(1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn pieces_do_not_matter(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let whole = Scanner::default().end(&bytes);
            let mut scanner = Scanner::default();
            let mut found = Err(Fault::Unfinished);
            for length in 0..=bytes.len() {
                found = scanner.end(&bytes[..length]);
                if found != Err(Fault::Unfinished) {
                    break;
                }
            }
            prop_assert_eq!(found, whole);
            if let Ok(end) = whole {
                // Values are valid JSON, whatever their keys are.
                let text = to_json(&bytes[..end]);
                prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_ok());
            }
        }
    }
}
