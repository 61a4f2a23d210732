//! Low bits of residuals, and floats as integers that ascend with them.

/// The integer of a float: smaller floats have smaller integers, neighbours differ by one.
pub(super) fn integer(value: f64) -> i64 {
    let bits = value.to_bits() as i64;
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}

/// The float of an integer.
pub(super) fn float(integer: i64) -> f64 {
    let bits = integer ^ ((integer >> 63) as u64 >> 1) as i64;
    f64::from_bits(bits as u64)
}

/// Appends the low bits of each number, without gaps, low bits first; whole bytes at the end.
pub(super) fn pack(numbers: impl Iterator<Item = u64>, width: u8, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let width = u32::from(width);
    let mask = (1u64 << width) - 1;
    let (mut pending, mut filled) = (0u64, 0u32);
    for number in numbers {
        let number = number & mask;
        pending |= number << filled;
        filled += width;
        if filled >= 64 {
            out.extend_from_slice(&pending.to_le_bytes());
            filled -= 64;
            // The bits that did not fit; a shift by the whole width cannot be, as filled < 64.
            pending = if filled == 0 {
                0
            } else {
                number >> (width - filled)
            };
        }
    }
    let left = pending.to_le_bytes();
    out.extend_from_slice(&left[..filled.div_ceil(8) as usize]);
}

/// Appends `base + (symbol, low bits)` for each symbol; the low bits start at byte `at` of `raw`
/// and have a width of 1 to 57. The caller has checked that they are there.
pub(super) fn unpack(
    raw: &[u8],
    at: usize,
    width: u8,
    symbols: &[u8],
    base: i64,
    out: &mut Vec<i64>,
) {
    let width = usize::from(width);
    let mask = (1u64 << width) - 1;
    let packed = &raw[at..];
    // So many symbols can be read by loads of 8 bytes.
    let fast = (packed.len().saturating_sub(7) * 8).div_ceil(width);
    let fast = fast.min(symbols.len());
    let (head, tail) = symbols.split_at(fast);
    let start = out.len();
    out.resize(start + symbols.len(), 0);
    let (fast, slow) = out[start..].split_at_mut(fast);
    let mut bit = 0usize;
    for (slot, symbol) in fast.iter_mut().zip(head) {
        let at = bit / 8;
        let Some(word) = packed[at..].first_chunk::<8>() else {
            break; // `fast` is as many as have eight bytes
        };
        let low = (u64::from_le_bytes(*word) >> (bit % 8)) & mask;
        *slot = base.wrapping_add((u64::from(*symbol) << width | low) as i64);
        bit += width;
    }
    for (slot, symbol) in slow.iter_mut().zip(tail) {
        let mut word = [0; 8];
        let rest = &packed[(bit / 8).min(packed.len())..];
        let length = rest.len().min(8);
        word[..length].copy_from_slice(&rest[..length]);
        let low = (u64::from_le_bytes(word) >> (bit % 8)) & mask;
        *slot = base.wrapping_add((u64::from(*symbol) << width | low) as i64);
        bit += width;
    }
}
