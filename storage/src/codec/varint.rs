//! Integers in as few bytes as they need: seven bits a byte, low bits first, 0x80 = more follow.
//!
//! Invariant: at most ten bytes; an encoding that does not fit in 64 bits is refused.

/// Most bytes of one varint.
pub const BYTES_MAX: usize = 10;

/// Appends an unsigned integer.
#[inline]
pub fn put(value: u64, out: &mut Vec<u8>) {
    let mut rest = value;
    while rest >= 0x80 {
        out.push((rest as u8) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends a signed integer, zigzag.
#[inline]
pub fn put_signed(value: i64, out: &mut Vec<u8>) {
    put(zigzag(value), out);
}

/// The integer at the start of the bytes and its length; `None` when it is cut or too long.
#[inline]
pub fn get(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    if first < 0x80 {
        return Some((u64::from(first), 1));
    }
    let mut value = u64::from(first & 0x7f);
    for (index, byte) in bytes.iter().enumerate().take(BYTES_MAX).skip(1) {
        let bits = u64::from(byte & 0x7f);
        if index == BYTES_MAX - 1 && *byte > 1 {
            return None;
        }
        value |= bits << (7 * index);
        if *byte < 0x80 {
            return Some((value, index + 1));
        }
    }
    None
}

/// Number of bytes that [`put`] appends.
#[inline]
pub fn length(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Small negative and positive numbers to small unsigned ones: 0, -1, 1, -2, … to 0, 1, 2, 3, …
#[inline]
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
#[inline]
pub fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_encodings() {
        let check = |value: u64, expect: &[u8]| {
            let mut out = Vec::new();
            put(value, &mut out);
            assert_eq!(out, expect);
        };
        check(0, &[0]);
        check(127, &[127]);
        check(128, &[0x80, 1]);
        check(300, &[0xac, 2]);
        assert_eq!(get(&[0x80; 11]), None);
        assert_eq!(
            get(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]),
            None
        );
        assert_eq!(get(&[]), None);
        assert_eq!(get(&[0x80]), None);
    }

    proptest! {
        #[test]
        fn round_trips(value: u64, shift in 0u32..64, tail: u8) {
            let value = value >> shift;
            let mut out = Vec::new();
            put(value, &mut out);
            prop_assert_eq!(out.len(), length(value));
            let size = out.len();
            out.push(tail);
            prop_assert_eq!(get(&out), Some((value, size)));
            prop_assert_eq!(zigzag(unzigzag(value)), value);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            if let Some((_, length)) = get(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
