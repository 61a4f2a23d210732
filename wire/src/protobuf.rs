//! The protobuf wire format by hand: fields lent from the input, no structs, no recursion.
//!
//! Invariants: a length never reaches beyond the message that holds it; positions in errors are
//! offsets in the whole body. Format: <https://protobuf.dev/programming-guides/encoding/>

use crate::error::WireError;

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(Message<'a>),
}

/// The bytes of a message (or text), and where they begin in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) format: &'static str,
    pub(crate) bytes: &'a [u8],
    pub(crate) begin: usize,
}

impl<'a> Message<'a> {
    pub(crate) fn new(format: &'static str, bytes: &'a [u8]) -> Self {
        Self {
            format,
            bytes,
            begin: 0,
        }
    }

    pub(crate) fn fields(self) -> Fields<'a> {
        Fields {
            message: self,
            at: 0,
        }
    }

    pub(crate) fn text(self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes).map_err(|error| {
            WireError::at_byte(self.format, self.begin + error.valid_up_to(), "UTF-8")
        })
    }

    pub(crate) fn fault(self, expected: impl Into<String>) -> WireError {
        WireError::at_byte(self.format, self.begin, expected)
    }
}

/// Walks over the fields of a message.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    message: Message<'a>,
    at: usize,
}

impl<'a> Fields<'a> {
    /// The next field; `None` at the end.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Wire<'a>)>, WireError> {
        if self.at == self.message.bytes.len() {
            return Ok(None);
        }
        let start = self.at;
        let key = self.varint()?;
        let number = match u32::try_from(key >> 3) {
            Ok(number) if number != 0 => number,
            _ => return Err(self.fault(start, "a field number from 1 to 2^29")),
        };
        let wire = match key & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.take()?)),
            2 => Wire::Bytes(self.bytes()?),
            5 => Wire::Fixed32(u32::from_le_bytes(self.take()?)),
            other => {
                let expected = format!("wire type 0, 1, 2 or 5, found {other}");
                return Err(self.fault(start, expected));
            }
        };
        Ok(Some((number, wire)))
    }

    /// A fault at an offset in this message.
    pub(crate) fn fault(&self, at: usize, expected: impl Into<String>) -> WireError {
        WireError::at_byte(self.message.format, self.message.begin + at, expected)
    }

    /// The fault of a known field with another wire type than its own.
    pub(crate) fn mistyped(&self, number: u32, expected: &str) -> WireError {
        self.fault(self.at, format!("{expected} in field {number}"))
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let rest = &self.message.bytes[self.at..];
        match read_varint(rest) {
            Some((value, length)) => {
                self.at += length;
                Ok(value)
            }
            None => Err(self.fault(self.at, "a varint of at most 10 bytes")),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let rest = &self.message.bytes[self.at..];
        match rest.first_chunk::<N>() {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(self.fault(self.at, format!("{N} bytes, found {}", rest.len()))),
        }
    }

    fn bytes(&mut self) -> Result<Message<'a>, WireError> {
        let start = self.at;
        let length = self.varint()?;
        let left = self.message.bytes.len() - self.at;
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= left)
            .ok_or_else(|| self.fault(start, format!("a length of at most {left}")))?;
        let message = Message {
            format: self.message.format,
            bytes: &self.message.bytes[self.at..self.at + length],
            begin: self.message.begin + self.at,
        };
        self.at += length;
        Ok(message)
    }
}

/// Reads a varint; gives it and its length.
pub(crate) fn read_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return (index < 9 || *byte <= 1).then_some((value, index + 1));
        }
    }
    None
}

/// The number that a zigzag varint stands for.
pub(crate) fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Writing of fields.
pub(crate) mod put {
    pub(crate) fn varint(out: &mut Vec<u8>, mut value: u64) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }

    pub(crate) fn uint(out: &mut Vec<u8>, number: u32, value: u64) {
        if value != 0 {
            varint(out, u64::from(number) << 3);
            varint(out, value);
        }
    }

    pub(crate) fn sint(out: &mut Vec<u8>, number: u32, value: i64) {
        uint(out, number, zigzag(value));
    }

    pub(crate) fn zigzag(value: i64) -> u64 {
        (value << 1 ^ value >> 63) as u64
    }

    pub(crate) fn double(out: &mut Vec<u8>, number: u32, value: f64) {
        if value.to_bits() != 0 {
            varint(out, u64::from(number) << 3 | 1);
            out.extend_from_slice(&value.to_le_bytes());
        }
    }

    pub(crate) fn bytes(out: &mut Vec<u8>, number: u32, value: &[u8]) {
        varint(out, u64::from(number) << 3 | 2);
        varint(out, value.len() as u64);
        out.extend_from_slice(value);
    }

    pub(crate) fn message(out: &mut Vec<u8>, number: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let mut inner = Vec::new();
        write(&mut inner);
        bytes(out, number, &inner);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn walk(bytes: &[u8]) -> Result<Vec<(u32, Wire<'_>)>, String> {
        let mut fields = Message::new("test", bytes).fields();
        let mut all = Vec::new();
        while let Some(field) = fields.next().map_err(|error| error.to_string())? {
            all.push(field);
        }
        Ok(all)
    }

    #[test]
    fn fields_read_back() {
        let mut out = Vec::new();
        put::uint(&mut out, 1, 300);
        put::sint(&mut out, 2, -3);
        put::double(&mut out, 3, 1.5);
        put::message(&mut out, 4, |inner| put::uint(inner, 1, 7));
        let fields = walk(&out).unwrap();
        assert_eq!(fields[0], (1, Wire::Varint(300)));
        assert!(matches!(fields[1], (2, Wire::Varint(z)) if zigzag(z) == -3));
        assert_eq!(fields[2], (3, Wire::Fixed64(1.5f64.to_bits())));
        assert!(matches!(fields[3], (4, Wire::Bytes(m)) if m.bytes == [8, 7]));
    }

    #[test]
    fn faults_name_the_byte() {
        let check = |bytes: &[u8], expect: &str| {
            let error = walk(bytes).unwrap_err();
            assert_eq!(error, format!("test is malformed at {expect}"));
        };
        check(&[0x0a, 5, 1], "byte 1: expected a length of at most 1");
        check(&[0x08], "byte 1: expected a varint of at most 10 bytes");
        check(&[0x00, 0], "byte 0: expected a field number from 1 to 2^29");
        check(&[0x0b], "byte 0: expected wire type 0, 1, 2 or 5, found 3");
        check(&[0x09, 1], "byte 1: expected 8 bytes, found 1");
        check(&[0xff; 11], "byte 0: expected a varint of at most 10 bytes");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn numbers_read_back(value in any::<u64>(), signed in any::<i64>()) {
            let mut out = Vec::new();
            put::varint(&mut out, value);
            prop_assert_eq!(read_varint(&out), Some((value, out.len())));
            prop_assert_eq!(zigzag(put::zigzag(signed)), signed);
        }

        #[test]
        fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(fields) = walk(&bytes) {
                prop_assert!(fields.len() <= bytes.len());
            }
        }
    }
}
