//! Columns of 64-bit integers: the cheapest of several encodings, chosen per column.
//!
//! tag (u8), count (varint), body. The tag says what is written (the values, their differences,
//! or the differences of those) and how (varints, or frames of 128 bit-packed values above the
//! frame's minimum). Constant and linear columns have a body of one or two varints. Differences
//! wrap, so that every i64 and u64 comes back exactly.
//! Sketch: a regular column of timestamps is 15 bytes at any length.

use super::{Reader, room, varint};
use crate::error::Corrupt;

/// All values are the same: the value.
const CONSTANT: u8 = 0;
/// All differences are the same: first value, difference.
const LINEAR: u8 = 1;
/// Varints; the order of differences (0, 1, 2) is added to the tag.
const VARINT: u8 = 2;
/// Bit-packed frames; the order of differences (0, 1, 2) is added to the tag.
const PACKED: u8 = 5;
/// Values of one bit-packed frame: two cache lines at 8 bits, small enough that one outlier costs
/// little.
const FRAME: usize = 128;

/// Appends the smallest encoding.
pub fn encode(values: &[i64], out: &mut Vec<u8>) {
    write(values, true, out);
}

/// Appends the smallest of the encodings that keep to byte borders: for columns that zstd
/// compresses afterwards, which sees nothing in packed bits.
pub fn encode_aligned(values: &[i64], out: &mut Vec<u8>) {
    write(values, false, out);
}

/// Appends the smallest encoding of unsigned integers.
pub fn encode_u64(values: &[u64], out: &mut Vec<u8>) {
    let signed: Vec<i64> = values.iter().map(|v| *v as i64).collect();
    encode(&signed, out);
}

/// Reads a column of at most `count_max` values.
pub fn decode(reader: &mut Reader<'_>, count_max: usize) -> Result<Vec<i64>, Corrupt> {
    let mut values = Vec::new();
    decode_into(reader, count_max, &mut values)?;
    Ok(values)
}

/// Reads a column of at most `count_max` unsigned values.
pub fn decode_u64(reader: &mut Reader<'_>, count_max: usize) -> Result<Vec<u64>, Corrupt> {
    let values = decode(reader, count_max)?;
    Ok(values.into_iter().map(|v| v as u64).collect())
}

/// Reads a column of at most `count_max` values behind those that `values` holds already.
pub fn decode_into(
    reader: &mut Reader<'_>,
    count_max: usize,
    values: &mut Vec<i64>,
) -> Result<(), Corrupt> {
    let place = reader.clone();
    let tag = reader.u8()?;
    let count = reader.count(count_max)?;
    let start = values.len();
    match tag {
        CONSTANT if count == 0 => {}
        CONSTANT => {
            let value = reader.signed()?;
            values.resize(start + count, value);
        }
        LINEAR => {
            let (first, step) = (reader.signed()?, reader.signed()?);
            values.reserve(count);
            let mut value = first;
            for _ in 0..count {
                values.push(value);
                value = value.wrapping_add(step);
            }
        }
        2..=4 => {
            values.reserve(room(count, reader, 1));
            for _ in 0..count {
                values.push(reader.signed()?);
            }
            integrate(&mut values[start..], tag - VARINT);
        }
        5..=7 => {
            let heads = usize::from(tag - PACKED).min(count);
            for _ in 0..heads {
                values.push(reader.signed()?);
            }
            unpack(reader, count - heads, values)?;
            integrate(&mut values[start..], tag - PACKED);
        }
        _ => return Err(place.corrupt("the tag of an integer column (0 to 7)")),
    }
    Ok(())
}

fn write(values: &[i64], bits: bool, out: &mut Vec<u8>) {
    let Some(first) = values.first() else {
        out.extend_from_slice(&[CONSTANT, 0]);
        return;
    };
    if values.iter().all(|v| v == first) {
        head(CONSTANT, values.len(), out);
        varint::put_signed(*first, out);
        return;
    }
    let step = values[1].wrapping_sub(*first);
    if values.windows(2).all(|w| w[1].wrapping_sub(w[0]) == step) {
        head(LINEAR, values.len(), out);
        varint::put_signed(*first, out);
        varint::put_signed(step, out);
        return;
    }
    let mut residuals = values.to_vec();
    let (mut best_tag, mut best_size) = (0, usize::MAX);
    for order in 0..=2 {
        if order > 0 {
            differentiate(&mut residuals, order);
        }
        let varints = varints_size(&residuals);
        if varints < best_size {
            (best_tag, best_size) = (VARINT + order, varints);
        }
        if bits {
            let (heads, rest) = residuals.split_at(usize::from(order).min(residuals.len()));
            let packed = varints_size(heads) + packed_size(rest);
            if packed < best_size {
                (best_tag, best_size) = (PACKED + order, packed);
            }
        }
    }
    let packed = best_tag >= PACKED;
    let order = best_tag - if packed { PACKED } else { VARINT };
    residuals.copy_from_slice(values);
    for o in 1..=order {
        differentiate(&mut residuals, o);
    }
    head(best_tag, values.len(), out);
    // The first entries are not differences: packed among them they would widen their frame.
    let heads = if packed {
        usize::from(order).min(values.len())
    } else {
        values.len()
    };
    for head in &residuals[..heads] {
        varint::put_signed(*head, out);
    }
    pack(&residuals[heads..], out);
}

fn head(tag: u8, count: usize, out: &mut Vec<u8>) {
    out.push(tag);
    varint::put(count as u64, out);
}

/// Turns values (or differences of order `order - 1`) into differences of order `order`; the
/// first `order` entries keep what is needed to come back.
fn differentiate(values: &mut [i64], order: u8) {
    let order = usize::from(order);
    for index in (order..values.len()).rev() {
        values[index] = values[index].wrapping_sub(values[index - 1]);
    }
}

/// The inverse of all differences up to `order`.
fn integrate(values: &mut [i64], order: u8) {
    for o in (1..=usize::from(order)).rev() {
        for index in o..values.len() {
            values[index] = values[index].wrapping_add(values[index - 1]);
        }
    }
}

fn varints_size(values: &[i64]) -> usize {
    values
        .iter()
        .map(|v| varint::length(varint::zigzag(*v)))
        .sum()
}

/// Minimum of a frame, and the bits that the largest distance from it needs.
fn frame_shape(frame: &[i64]) -> (i64, u32) {
    let min = frame.iter().copied().min().unwrap_or(0);
    let spread = frame
        .iter()
        .map(|v| v.wrapping_sub(min) as u64)
        .max()
        .unwrap_or(0);
    (min, 64 - spread.leading_zeros())
}

fn packed_size(values: &[i64]) -> usize {
    let size = |frame: &[i64]| {
        let (min, width) = frame_shape(frame);
        varint::length(varint::zigzag(min)) + 1 + (frame.len() * width as usize).div_ceil(8)
    };
    values.chunks(FRAME).map(size).sum()
}

fn pack(values: &[i64], out: &mut Vec<u8>) {
    for frame in values.chunks(FRAME) {
        let (min, width) = frame_shape(frame);
        varint::put_signed(min, out);
        out.push(width as u8);
        let mut pending = 0u128;
        let mut filled = 0;
        for value in frame {
            pending |= u128::from(value.wrapping_sub(min) as u64) << filled;
            filled += width;
            while filled >= 8 {
                out.push(pending as u8);
                pending >>= 8;
                filled -= 8;
            }
        }
        if filled > 0 {
            out.push(pending as u8);
        }
    }
}

/// Bytes behind a frame that a read of its last value may touch.
const BEHIND: usize = 16;
/// Bits of a value that lie within eight bytes wherever it begins.
const WIDTH_WITHIN: usize = 57;

/// Appends the values of a frame whose bytes hold all of them.
fn unpack_frame(packed: &[u8], min: i64, width: usize, length: usize, values: &mut Vec<i64>) {
    if width == 0 {
        values.resize(values.len() + length, min);
        return;
    }
    // With room behind it each value is one read at the byte where it begins.
    let mut frame = [0; FRAME * 8 + BEHIND];
    frame[..packed.len()].copy_from_slice(packed);
    let mask = u64::MAX >> (64 - width);
    let value = |bits: u64| min.wrapping_add((bits & mask) as i64);
    if width <= WIDTH_WITHIN {
        values.extend((0..length).map(|index| {
            let bit = index * width;
            value(u64::from_le_bytes(array(&frame, bit / 8)) >> (bit % 8))
        }));
    } else {
        values.extend((0..length).map(|index| {
            let bit = index * width;
            value((u128::from_le_bytes(array(&frame, bit / 8)) >> (bit % 8)) as u64)
        }));
    }
}

/// The bytes of a number that begins at `at`.
fn array<const N: usize>(frame: &[u8; FRAME * 8 + BEHIND], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&frame[at..at + N]);
    array
}

fn unpack(reader: &mut Reader<'_>, count: usize, values: &mut Vec<i64>) -> Result<(), Corrupt> {
    let mut left = count;
    while left > 0 {
        let length = left.min(FRAME);
        let min = reader.signed()?;
        let width = u32::from(reader.u8()?);
        if width > 64 {
            return Err(reader.corrupt("a width of at most 64 bits before here"));
        }
        let packed = reader.slice((length * width as usize).div_ceil(8))?;
        unpack_frame(packed, min, width as usize, length, values);
        left -= length;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(values: &[i64], tag: u8, size: usize) {
        let mut out = Vec::new();
        encode(values, &mut out);
        assert_eq!((out[0], out.len()), (tag, size), "{values:?}");
        let mut reader = Reader::new("test", &out);
        assert_eq!(decode(&mut reader, values.len()).unwrap(), values);
        assert!(reader.is_empty());
    }

    #[test]
    fn picks_the_cheapest() {
        let column = |f: fn(i64) -> i64| (0..256).map(f).collect::<Vec<i64>>();
        check(&[], CONSTANT, 2);
        check(&[-1], CONSTANT, 3);
        check(&column(|_| i64::MIN), CONSTANT, 13);
        check(&column(|i| 1_795_255_200_000 + i * 15_000), LINEAR, 12);
        check(&[1, 5, 2, 9], VARINT, 6);
        check(&column(|i| 1_000_000 + (i * 7) % 4), PACKED, 75);
        check(&column(|i| i * 15_000 + i % 2), PACKED + 1, 76);
        check(&[i64::MIN, i64::MAX, 0], VARINT, 23);
    }

    #[test]
    fn every_width() {
        for width in 0..=64u32 {
            let spread = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
            let narrow = |i: u64| spread(i).checked_shr(64 - width).unwrap_or(0);
            let values: Vec<i64> = (0..300).map(|i| narrow(i) as i64 ^ i64::MIN).collect();
            let mut out = Vec::new();
            pack(&values, &mut out);
            let (mut reader, mut read) = (Reader::new("test", &out), vec![7]);
            unpack(&mut reader, values.len(), &mut read).unwrap();
            assert_eq!(read[1..], values, "{width} bits");
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn refuses_what_is_not_a_column() {
        let check = |bytes: &[u8], max: usize| {
            assert!(
                decode(&mut Reader::new("test", bytes), max).is_err(),
                "{bytes:?}"
            );
        };
        check(&[], 9);
        check(&[8, 1, 1], 9);
        check(&[CONSTANT, 10, 1], 9);
        check(&[PACKED, 1, 0, 65, 0], 9);
        check(&[PACKED, 9, 0, 8, 0], 9);
        check(&[VARINT, 2, 1], 9);
    }

    fn shapes() -> impl Strategy<Value = Vec<i64>> {
        let step = prop_oneof![-3i64..3, -100_000i64..100_000, any::<i64>()];
        let steps = prop::collection::vec(step, 0..400);
        (any::<i64>(), 0i64..100_000, steps, 0u8..3).prop_map(|(first, slope, steps, order)| {
            let mut values = steps;
            if let Some(value) = values.first_mut() {
                *value = first;
            }
            integrate(&mut values, order);
            for (index, value) in values.iter_mut().enumerate() {
                *value = value.wrapping_add(slope * index as i64);
            }
            values
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn round_trips(values in shapes()) {
            for encode in [encode, encode_aligned] {
                let mut out = Vec::new();
                encode(&values, &mut out);
                let mut reader = Reader::new("test", &out);
                prop_assert_eq!(&decode(&mut reader, values.len()).unwrap(), &values);
                prop_assert!(reader.is_empty());
            }
            let unsigned: Vec<u64> = values.iter().map(|v| *v as u64).collect();
            let mut out = Vec::new();
            encode_u64(&unsigned, &mut out);
            prop_assert_eq!(decode_u64(&mut Reader::new("test", &out), 400).unwrap(), unsigned);
        }

        #[test]
        fn arbitrary_bytes_neither_panic_nor_over_allocate(
            tag in 0u8..9,
            tail in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut bytes = vec![tag];
            bytes.extend(tail);
            if let Ok(values) = decode(&mut Reader::new("test", &bytes), 1000) {
                prop_assert!(values.capacity() <= 2048);
            }
        }
    }
}
