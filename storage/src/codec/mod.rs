//! Column codecs that all stores share, and the bounded reader that every decoder reads through.
//!
//! Every codec has the shape `encode(values, &mut Vec<u8>)` and
//! `decode(&mut Reader, count_max) -> Result<Vec<_>, Corrupt>`. Invariants: an encoding describes
//! itself (tag, count, body), so that columns can stand one behind the other; a decoder gives back
//! exactly what was encoded, bit by bit; a decoder allocates at most for `count_max` values and
//! never from a length that the bytes declare alone. Byte tables: `docs/formats/columns.md`.

pub mod varint;

pub mod bitmap;
pub mod bundle;
pub mod bytes;
pub mod dense;
pub mod floats;
pub mod ints;
pub mod strings;

use crate::error::Corrupt;

/// Reads bytes from front to back; knows where it stands, so that an error can name the place.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    place: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`; `place` names them in errors, such as `part 17/symbols`.
    pub fn new(place: &'a str, bytes: &'a [u8]) -> Self {
        Self {
            place,
            bytes,
            at: 0,
        }
    }

    /// Offset of the next byte.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Number of bytes that are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// What the bytes are called in errors.
    pub fn place(&self) -> &'a str {
        self.place
    }

    /// An error at the present offset.
    pub fn corrupt(&self, expected: impl Into<String>) -> Corrupt {
        Corrupt::new(self.place, self.at as u64, expected)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Result<u8, Corrupt> {
        let Some(byte) = self.bytes.get(self.at) else {
            return Err(self.corrupt("one more byte"));
        };
        self.at += 1;
        Ok(*byte)
    }

    /// The next `length` bytes, not copied.
    pub fn slice(&mut self, length: usize) -> Result<&'a [u8], Corrupt> {
        let slice = self
            .at
            .checked_add(length)
            .and_then(|end| self.bytes.get(self.at..end));
        let Some(slice) = slice else {
            return Err(self.corrupt(format!("{length} more bytes")));
        };
        self.at += length;
        Ok(slice)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        let mut array = [0; N];
        array.copy_from_slice(self.slice(N)?);
        Ok(array)
    }

    /// A u32, little endian.
    pub fn u32(&mut self) -> Result<u32, Corrupt> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// A u64, little endian.
    pub fn u64(&mut self) -> Result<u64, Corrupt> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A float by its bits, little endian.
    pub fn f64(&mut self) -> Result<f64, Corrupt> {
        Ok(f64::from_bits(self.u64()?))
    }

    /// An unsigned varint.
    pub fn varint(&mut self) -> Result<u64, Corrupt> {
        match varint::get(&self.bytes[self.at..]) {
            Some((value, length)) => {
                self.at += length;
                Ok(value)
            }
            None => Err(self.corrupt("a varint of at most 64 bits")),
        }
    }

    /// A signed (zigzag) varint.
    pub fn signed(&mut self) -> Result<i64, Corrupt> {
        self.varint().map(varint::unzigzag)
    }

    /// A varint that may be at most `max`: a count, an index, a length.
    pub fn count(&mut self, max: usize) -> Result<usize, Corrupt> {
        let before = self.at;
        let value = self.varint()?;
        match usize::try_from(value) {
            Ok(value) if value <= max => Ok(value),
            _ => Err(Corrupt::new(
                self.place,
                before as u64,
                format!("a number of at most {max}, found {value}"),
            )),
        }
    }

    /// A varint that fits in 32 bits.
    pub fn u32_varint(&mut self) -> Result<u32, Corrupt> {
        self.count(u32::MAX as usize).map(|value| value as u32)
    }

    /// A length and as many bytes, at most `max`.
    pub fn bytes(&mut self, max: usize) -> Result<&'a [u8], Corrupt> {
        let length = self.count(max)?;
        self.slice(length)
    }

    /// A length and as many bytes of UTF-8, at most `max`.
    pub fn text(&mut self, max: usize) -> Result<&'a str, Corrupt> {
        let bytes = self.bytes(max)?;
        std::str::from_utf8(bytes).map_err(|e| {
            let start = self.at - bytes.len();
            Corrupt::new(
                self.place,
                (start + e.valid_up_to()) as u64,
                "text in UTF-8",
            )
        })
    }

    /// Fails unless everything was read.
    pub fn finish(self) -> Result<(), Corrupt> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(self.corrupt(format!("the end, found {} more bytes", self.remaining())))
        }
    }
}

/// Appends a length and the bytes; the inverse of [`Reader::bytes`] and [`Reader::text`].
pub fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    varint::put(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// How many values to make room for before any was read: what is declared, but never more than
/// the bytes can hold at `values_per_byte`. Beyond that a vector grows by what was really read.
pub(crate) fn room(count: usize, reader: &Reader<'_>, values_per_byte: usize) -> usize {
    count.min(reader.remaining().saturating_mul(values_per_byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_was_put() {
        let mut out = vec![7];
        out.extend_from_slice(&9u32.to_le_bytes());
        out.extend_from_slice(&f64::MIN.to_bits().to_le_bytes());
        varint::put_signed(-3, &mut out);
        put_bytes("é".as_bytes(), &mut out);
        let mut reader = Reader::new("here", &out);
        assert_eq!(reader.u8().unwrap(), 7);
        assert_eq!(reader.u32().unwrap(), 9);
        assert_eq!(reader.f64().unwrap(), f64::MIN);
        assert_eq!(reader.signed().unwrap(), -3);
        assert_eq!(reader.text(2).unwrap(), "é");
        assert!(reader.is_empty());
        assert!(reader.finish().is_ok());
    }

    #[test]
    fn names_place_and_expectation() {
        let check = |bytes: &[u8], read: fn(&mut Reader<'_>) -> bool, offset: u64, text: &str| {
            let mut reader = Reader::new("here", bytes);
            assert!(read(&mut reader), "{bytes:?} is refused");
            let fault = reader.clone().corrupt("");
            assert_eq!(fault.place, "here");
            assert_eq!(fault.offset, offset, "{text}");
        };
        check(b"", |r| r.u8().is_err(), 0, "empty");
        check(b"ab", |r| r.u32().is_err(), 0, "short number");
        check(
            b"a\x80",
            |r| r.u8().is_ok() && r.varint().is_err(),
            1,
            "cut varint",
        );
        check(b"\x05ab", |r| r.bytes(9).is_err(), 1, "cut bytes");
        check(
            b"\x05ab",
            |r| r.bytes(4).is_err(),
            1,
            "bytes above the limit",
        );
        check(b"\x01\xff", |r| r.text(4).is_err(), 2, "not text");
        check(b"a", |r| r.clone().finish().is_err(), 0, "rest");
        let fault = Reader::new("here", b"\x05").bytes(4).unwrap_err();
        assert_eq!(fault.offset, 0);
        assert_eq!(fault.expected, "a number of at most 4, found 5");
    }
}
