//! The common form of an attribute in protobuf: its key, then one plain value, and nothing else.
//!
//! Invariant: what is read here is what the walk over all fields gives; anything else, damage too,
//! is left to that walk. Fifteen attributes a span make it worth its lines.

use crate::protobuf::read_varint;

/// A plain value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Plain<'a> {
    /// Not yet known to be UTF-8.
    Text(&'a [u8]),
    Bool(bool),
    Int(i64),
    Double(f64),
}

/// Field 1 or 2 of a message as a run of bytes.
const FIRST: u8 = 0x0a;
const SECOND: u8 = 0x12;

/// The bytes of a field with this tag, and what follows it.
fn field(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if *first != tag {
        return None;
    }
    let (length, rest) = match rest {
        [length @ 0..0x80, rest @ ..] => (usize::from(*length), rest),
        [low, high @ 0..0x80, rest @ ..] => {
            (usize::from(*low & 0x7f) | usize::from(*high) << 7, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// Key and value of a `KeyValue` in the common form.
pub(crate) fn plain(pair: &[u8]) -> Option<(&[u8], Plain<'_>)> {
    let (key, rest) = field(pair, FIRST)?;
    let (value, rest) = field(rest, SECOND)?;
    if !rest.is_empty() {
        return None;
    }
    let value = match value {
        [FIRST, ..] => {
            let (text, rest) = field(value, FIRST)?;
            rest.is_empty().then_some(Plain::Text(text))?
        }
        [0x10, truth @ 0..0x80] => Plain::Bool(*truth != 0),
        [0x18, rest @ ..] => {
            let (number, length) = read_varint(rest)?;
            (length == rest.len()).then_some(Plain::Int(number.cast_signed()))?
        }
        [0x21, rest @ ..] => Plain::Double(f64::from_le_bytes(rest.try_into().ok()?)),
        _ => return None,
    };
    Some((key, value))
}
