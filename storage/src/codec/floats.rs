//! Columns of 64-bit floats: the cheapest of several encodings, chosen per column, bit by bit
//! exact (NaN payloads, stale markers and negative zero included).
//!
//! tag (u8), count (varint), body. Constant: the bits. Decimal: every value is an integer divided
//! by the same power of ten, the integers are a column of [`ints`]; the few values for which that
//! is not bit-exact (stale markers, usually) stand in a list of patches. Xor: each value against
//! the one before, its non-zero middle bytes, all controls before all bytes.

use super::{Reader, ints, varint};
use crate::error::Corrupt;

/// All values have the same bits.
const CONSTANT: u8 = 0;
/// Scaled integers with patches.
const DECIMAL: u8 = 1;
/// Differences of bits to the value before.
const XOR: u8 = 2;
/// Largest power of ten that is tried; a float has 15 to 17 significant digits.
pub(super) const EXPONENT_MAX: usize = 17;
/// Integers up to here are exact in a float.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
/// From here on a float has no bits below one.
const ROUNDING: f64 = 4_503_599_627_370_496.0;
/// One value in so many may be a patch: a patch costs some 10 bytes, as a bad xor does.
const PATCH_SHARE: usize = 8;

/// Powers of ten; all of them are exact floats.
const POWERS: [f64; EXPONENT_MAX + 1] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17,
];

/// Appends the smallest encoding.
pub fn encode(values: &[f64], out: &mut Vec<u8>) {
    write(values, ints::encode, out);
}

/// Appends the smallest of the encodings that keep to byte borders: for columns that zstd
/// compresses afterwards.
pub fn encode_aligned(values: &[f64], out: &mut Vec<u8>) {
    write(values, ints::encode_aligned, out);
}

/// Reads a column of at most `count_max` values.
pub fn decode(reader: &mut Reader<'_>, count_max: usize) -> Result<Vec<f64>, Corrupt> {
    let place = reader.clone();
    let tag = reader.u8()?;
    let count = reader.count(count_max)?;
    match tag {
        CONSTANT if count == 0 => Ok(Vec::new()),
        CONSTANT => Ok(vec![reader.f64()?; count]),
        DECIMAL => decode_decimal(reader, count),
        XOR => decode_xor(reader, count),
        _ => Err(place.corrupt("the tag of a float column (0 to 2)")),
    }
}

fn write(values: &[f64], encode_ints: fn(&[i64], &mut Vec<u8>), out: &mut Vec<u8>) {
    let Some(first) = values.first() else {
        out.extend_from_slice(&[CONSTANT, 0]);
        return;
    };
    let bits = first.to_bits();
    if values.iter().all(|v| v.to_bits() == bits) {
        head(CONSTANT, values.len(), out);
        out.extend_from_slice(&bits.to_le_bytes());
        return;
    }
    let start = out.len();
    let mut decimal = Decimal::default();
    if decimal.fit(values).is_some() {
        head(DECIMAL, values.len(), out);
        decimal.write(encode_ints, out);
        if out.len() - start <= values.len() {
            return; // at most a byte a value: xor cannot be smaller
        }
        let mut other = Vec::new();
        encode_xor(values, &mut other);
        if other.len() < out.len() - start {
            out.truncate(start);
            out.extend_from_slice(&other);
        }
        return;
    }
    encode_xor(values, out);
}

fn head(tag: u8, count: usize, out: &mut Vec<u8>) {
    out.push(tag);
    varint::put(count as u64, out);
}

/// A column as integers over a power of ten; keeps its buffers between columns.
#[derive(Debug, Default)]
pub(super) struct Decimal {
    exponent: usize,
    integers: Vec<i64>,
    /// Index and bits of the values that the integers do not give back exactly; ascending.
    patches: Vec<(usize, u64)>,
}

/// The integer that divided by the power gives exactly these bits.
#[inline]
fn scaled(value: f64, power: f64) -> Option<i64> {
    let product = value * power;
    // NaN and the infinities fail here; negative zero has no integer, so it fails below. Adding and
    // taking away rounds to even, without a call: the sum has no bits below one.
    if product.abs() > EXACT_MAX || product.is_nan() {
        return None;
    }
    let rounded = if product.abs() < ROUNDING {
        let rounding = ROUNDING.copysign(product);
        (product + rounding) - rounding
    } else {
        product
    };
    let integer = rounded as i64;
    (integer as f64 / power)
        .to_bits()
        .eq(&value.to_bits())
        .then_some(integer)
}

/// The float that an integer over a power of ten stands for; `exponent` is at most
/// [`EXPONENT_MAX`].
pub(super) fn decimal(integer: i64, exponent: u8) -> f64 {
    integer as f64 / POWERS[usize::from(exponent)]
}

/// Appends the floats that integers over a power of ten stand for.
pub(super) fn decimals(integers: &[i64], exponent: u8, out: &mut Vec<f64>) {
    if exponent == 0 {
        out.extend(integers.iter().map(|i| *i as f64));
    } else {
        let power = POWERS[usize::from(exponent)];
        out.extend(integers.iter().map(|i| *i as f64 / power));
    }
}

impl Decimal {
    /// Takes a column; its exponent, or `None` when too many values are not short decimal numbers.
    pub(super) fn fit(&mut self, values: &[f64]) -> Option<usize> {
        self.integers.clear();
        self.patches.clear();
        self.exponent = 0;
        let patches_max = values.len() / PATCH_SHARE + 1;
        let mut power = POWERS[0];
        let mut last = 0;
        for (index, value) in values.iter().enumerate() {
            let mut found = scaled(*value, power);
            if found.is_none()
                && let Some(larger) = self.larger(*value)
            {
                self.exponent = larger;
                power = POWERS[larger];
                last = self.again(&values[..index], patches_max)?;
                found = scaled(*value, power);
            }
            match found {
                Some(integer) => last = integer,
                // The integer before stands in: it costs nothing as a difference.
                None if self.patches.len() < patches_max => {
                    self.patches.push((index, value.to_bits()));
                }
                None => return None,
            }
            self.integers.push(last);
        }
        Some(self.exponent)
    }

    /// The smallest larger exponent that fits a value.
    fn larger(&self, value: f64) -> Option<usize> {
        (self.exponent + 1..=EXPONENT_MAX).find(|larger| scaled(value, POWERS[*larger]).is_some())
    }

    /// Takes the values so far at a larger exponent; the last integer.
    fn again(&mut self, values: &[f64], patches_max: usize) -> Option<i64> {
        self.integers.clear();
        self.patches.clear();
        let power = POWERS[self.exponent];
        let mut last = 0;
        for (index, value) in values.iter().enumerate() {
            match scaled(*value, power) {
                Some(integer) => last = integer,
                None if self.patches.len() < patches_max => {
                    self.patches.push((index, value.to_bits()));
                }
                None => return None,
            }
            self.integers.push(last);
        }
        Some(last)
    }

    /// Exponent and integer of a single value.
    pub(super) fn of_one(value: f64) -> Option<(usize, i64)> {
        let exponents = 0..=EXPONENT_MAX;
        exponents.into_iter().find_map(|exponent| {
            let integer = scaled(value, POWERS[exponent])?;
            Some((exponent, integer))
        })
    }

    /// The integers of the column last taken.
    pub(super) fn integers(&self) -> &[i64] {
        &self.integers
    }

    /// Index and bits of the values that the integers do not give; ascending.
    pub(super) fn patches(&self) -> &[(usize, u64)] {
        &self.patches
    }

    fn write(&self, encode_ints: fn(&[i64], &mut Vec<u8>), out: &mut Vec<u8>) {
        out.push(self.exponent as u8);
        encode_ints(&self.integers, out);
        varint::put(self.patches.len() as u64, out);
        let mut last = 0;
        for (index, bits) in &self.patches {
            varint::put((index - last) as u64, out);
            out.extend_from_slice(&bits.to_le_bytes());
            last = *index;
        }
    }
}

fn decode_decimal(reader: &mut Reader<'_>, count: usize) -> Result<Vec<f64>, Corrupt> {
    let exponent = usize::from(reader.u8()?);
    let Some(power) = POWERS.get(exponent) else {
        return Err(reader.corrupt("a power of ten of at most 17 before here"));
    };
    let integers = ints::decode(reader, count)?;
    if integers.len() != count {
        return Err(reader.corrupt(format!("{count} integers before here")));
    }
    let mut values: Vec<f64> = integers.iter().map(|i| *i as f64 / power).collect();
    let mut index = 0;
    for _ in 0..reader.count(count)? {
        index += reader.count(count)?;
        let value = reader.f64()?;
        match values.get_mut(index) {
            Some(slot) => *slot = value,
            None => return Err(reader.corrupt("the index of a patch in the column")),
        }
    }
    Ok(values)
}

/// One control byte a value: leading zero bytes, then (low nibble) trailing zero bytes of the xor;
/// 0x80 for no difference.
fn encode_xor(values: &[f64], out: &mut Vec<u8>) {
    head(XOR, values.len(), out);
    let mut last = 0;
    for value in values {
        let xor = value.to_bits() ^ last;
        last = value.to_bits();
        out.push(if xor == 0 {
            0x80
        } else {
            (((xor.leading_zeros() / 8) << 4) | (xor.trailing_zeros() / 8)) as u8
        });
    }
    last = 0;
    for value in values {
        let xor = value.to_bits() ^ last;
        last = value.to_bits();
        if xor != 0 {
            let bytes = xor.to_le_bytes();
            let from = (xor.trailing_zeros() / 8) as usize;
            let to = 8 - (xor.leading_zeros() / 8) as usize;
            out.extend_from_slice(&bytes[from..to]);
        }
    }
}

fn decode_xor(reader: &mut Reader<'_>, count: usize) -> Result<Vec<f64>, Corrupt> {
    let controls = reader.slice(count)?;
    let mut values = Vec::with_capacity(count);
    let mut bits = 0;
    for control in controls {
        let (leading, trailing) = (usize::from(control >> 4), usize::from(control & 15));
        if leading + trailing > 8 {
            return Err(reader.corrupt("controls of at most 8 zero bytes"));
        }
        let mut bytes = [0; 8];
        let middle = reader.slice(8 - leading - trailing)?;
        bytes[trailing..8 - leading].copy_from_slice(middle);
        bits ^= u64::from_le_bytes(bytes);
        values.push(f64::from_bits(bits));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_model::sample::{STALE_BITS, stale};
    use proptest::prelude::*;

    fn bits(values: &[f64]) -> Vec<u64> {
        values.iter().map(|v| v.to_bits()).collect()
    }

    fn check(values: &[f64], tag: u8, size: usize) {
        let mut out = Vec::new();
        encode(values, &mut out);
        assert_eq!((out[0], out.len()), (tag, size), "{values:?}");
        let mut reader = Reader::new("test", &out);
        assert_eq!(
            bits(&decode(&mut reader, values.len()).unwrap()),
            bits(values)
        );
        assert!(reader.is_empty());
    }

    #[test]
    fn picks_the_cheapest() {
        check(&[], CONSTANT, 2);
        check(&[stale(); 100], CONSTANT, 10);
        check(&[1.5, 2.25, 3.0], DECIMAL, 10);
        let counter: Vec<f64> = (0..100).map(|i| f64::from(i * 3)).collect();
        check(&counter, DECIMAL, 8);
        let mut ended = counter;
        ended.push(stale());
        assert_eq!(ended[100].to_bits(), STALE_BITS);
        check(&ended, DECIMAL, 43);
        check(&[0.0, -0.0, 1.0 / 3.0, f64::NAN, f64::INFINITY], XOR, 25);
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
        check(&[3, 1, 1], 9);
        check(&[XOR, 1, 0x81], 9);
        check(&[XOR, 2, 0x80], 9);
        check(&[DECIMAL, 1, 18, 0, 1, 0, 0], 9);
        check(&[DECIMAL, 2, 0, 0, 1, 0, 0], 9);
        check(&[DECIMAL, 1, 0, 0, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0], 9);
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            4 => (-1_000_000i64..1_000_000, 0usize..5).prop_map(|(i, e)| i as f64 / POWERS[e]),
            1 => any::<u64>().prop_map(f64::from_bits),
            1 => any::<f64>(),
            1 => prop::sample::select(vec![0.0, -0.0, stale(), f64::NAN, f64::INFINITY]),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn round_trips(
            mixed in prop::collection::vec(value(), 0..300),
            short in prop::collection::vec(-5000i64..5000, 0..300),
            exponent in 0usize..6,
            ended: bool,
        ) {
            let mut decimal: Vec<f64> = short.iter().map(|i| *i as f64 / POWERS[exponent]).collect();
            if ended {
                decimal.push(stale());
            }
            for values in [mixed, decimal] {
                for encode in [encode, encode_aligned] {
                    let mut out = Vec::new();
                    encode(&values, &mut out);
                    let mut reader = Reader::new("test", &out);
                    let back = decode(&mut reader, values.len()).unwrap();
                    prop_assert_eq!(bits(&back), bits(&values));
                    prop_assert!(reader.is_empty());
                }
            }
        }

        #[test]
        fn arbitrary_bytes_neither_panic_nor_over_allocate(
            tag in 0u8..4,
            tail in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut bytes = vec![tag];
            bytes.extend(tail);
            if let Ok(values) = decode(&mut Reader::new("test", &bytes), 1000) {
                prop_assert!(values.len() <= 1000);
            }
        }
    }
}
