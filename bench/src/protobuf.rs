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
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::MAX] {
            out.clear();
            varint(value, &mut out);
            assert_eq!(out.len(), varint_length(value), "{value}");
        }
    }
}
