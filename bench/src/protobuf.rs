//! Just enough of protobuf's encoding to write requests without building a tree of them first.

/// Appends a varint.
pub(crate) fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a field of a number; zero is left out, as proto3 does.
pub(crate) fn number(field: u32, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        varint(u64::from(field) << 3, out);
        varint(value, out);
    }
}

/// Appends a field of eight fixed bytes.
pub(crate) fn fixed64(field: u32, value: u64, out: &mut Vec<u8>) {
    varint((u64::from(field) << 3) | 1, out);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a field of bytes, a string or an encoded message.
pub(crate) fn bytes(field: u32, value: &[u8], out: &mut Vec<u8>) {
    header(field, value.len(), out);
    out.extend_from_slice(value);
}

/// Appends the start of a field of `length` bytes; the caller appends these.
pub(crate) fn header(field: u32, length: usize, out: &mut Vec<u8>) {
    varint((u64::from(field) << 3) | 2, out);
    varint(length as u64, out);
}

/// Bytes that a varint takes.
pub(crate) fn varint_length(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// The pairs of `Label` messages in a row (field 1 of field 1 and 2 of it), as this file writes them.
pub(crate) fn pairs(mut bytes: &[u8]) -> Vec<(&str, &str)> {
    let mut pairs = Vec::new();
    while let Some((mut label, rest)) = field(bytes) {
        bytes = rest;
        let mut texts = [""; 2];
        for text in &mut texts {
            let Some((found, rest)) = field(label) else {
                break;
            };
            *text = std::str::from_utf8(found).unwrap_or("");
            label = rest;
        }
        pairs.push((texts[0], texts[1]));
    }
    pairs
}

/// The bytes of the first field, and what follows.
fn field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, mut rest) = bytes.split_first()?;
    let (mut length, mut shift) = (0, 0);
    loop {
        let (byte, after) = rest.split_first()?;
        rest = after;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if *byte < 0x80 {
            return rest.split_at_checked(length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_as_the_encoding_guide_has_them() {
        let mut out = Vec::new();
        number(1, 150, &mut out);
        assert_eq!(out, [0x08, 0x96, 0x01]);
        out.clear();
        bytes(2, b"testing", &mut out);
        assert_eq!(out, [0x12, 7, b't', b'e', b's', b't', b'i', b'n', b'g']);
        out.clear();
        for label in [&b"\x0a\x01a\x12\x02bc"[..], b"\x0a\x01d\x12\x01e"] {
            bytes(1, label, &mut out);
        }
        assert_eq!(pairs(&out), [("a", "bc"), ("d", "e")]);
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::MAX] {
            out.clear();
            varint(value, &mut out);
            assert_eq!(out.len(), varint_length(value), "{value}");
        }
    }
}
