//! Columns of 64-bit integers that scatter: by their distribution, where that is smaller.
//!
//! Tag (0 = an integer column of `ints`, 1 = dense). Dense: a varint length and as many bytes of
//! the pco format: bins of values, each with a code by how common it is and an offset inside it,
//! of the values or of their differences. Specified in docs/formats/columns.md. Invariants: as in
//! `ints`, and the number of values is the caller's, so that no length in the bytes decides how
//! much is taken.

use pco::standalone::{simple_compress, simple_decompress_into};
use pco::{ChunkConfig, ModeSpec};

use super::{Reader, ints, put_bytes};
use crate::error::Corrupt;

const INTS: u8 = 0;
const DENSE: u8 = 1;
/// Fewer values are not worth the bins.
const DENSE_MIN: usize = 96;
/// Effort of pco, 0 to 12: above it columns hardly get smaller.
const LEVEL: usize = 4;

/// Appends a column.
pub fn encode(values: &[i64], out: &mut Vec<u8>) {
    out.push(INTS);
    let start = out.len();
    ints::encode_aligned(values, out);
    if values.len() < DENSE_MIN || out.len() - start <= DENSE_MIN {
        return;
    }
    let config = ChunkConfig::default()
        .with_compression_level(LEVEL)
        .with_mode_spec(ModeSpec::Auto);
    // What pco refuses stays as it is.
    if let Ok(dense) = simple_compress(values, &config)
        && dense.len() < out.len() - start
    {
        out.truncate(start - 1);
        out.push(DENSE);
        put_bytes(&dense, out);
    }
}

/// Appends a column as integers of `ints`: cheaper to write, for what lives shortly.
pub fn encode_plain(values: &[i64], out: &mut Vec<u8>) {
    out.push(INTS);
    ints::encode_aligned(values, out);
}

/// Whether the bytes of a column are dense: nothing makes them smaller.
pub fn is_dense(column: &[u8]) -> bool {
    column.first() == Some(&DENSE)
}

/// Reads a column of exactly `count` values.
pub fn decode(reader: &mut Reader<'_>, count: usize) -> Result<Vec<i64>, Corrupt> {
    let place = reader.clone();
    let values = match reader.u8()? {
        INTS => ints::decode(reader, count)?,
        DENSE => {
            let bytes = reader.bytes(reader.remaining())?;
            let mut values = vec![0; count];
            let read = simple_decompress_into(bytes, &mut values);
            let whole = read.is_ok_and(|read| read.finished && read.n_processed == count);
            if !whole {
                return Err(place.corrupt(format!("{count} dense integers")));
            }
            values
        }
        tag => return Err(place.corrupt(format!("the tag of a dense column, found {tag}"))),
    };
    if values.len() != count {
        return Err(place.corrupt(format!("{count} integers, found {}", values.len())));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn columns() -> impl Strategy<Value = Vec<i64>> {
        let value = prop_oneof![4 => 0i64..100_000, 1 => any::<i64>()];
        prop_oneof![
            prop::collection::vec(value, 0..400),
            prop::collection::vec(any::<i64>(), 0..300),
            (any::<i64>(), -9i64..9, 0usize..400).prop_map(|(first, step, count)| {
                let nth = |n: usize| first.wrapping_add(step.wrapping_mul(n as i64));
                (0..count).map(nth).collect()
            }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn round_trips(values in columns(), flip in any::<(usize, u8)>()) {
            let mut out = Vec::new();
            encode(&values, &mut out);
            let mut reader = Reader::new("here", &out);
            prop_assert_eq!(decode(&mut reader, values.len()), Ok(values.clone()));
            prop_assert!(reader.is_empty());
            let at = flip.0 % out.len();
            out[at] ^= flip.1;
            // Damage is refused or gives other values; it never panics.
            if let Ok(others) = decode(&mut Reader::new("here", &out), values.len()) {
                prop_assert_eq!(others.len(), values.len());
            }
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_read(mut bytes: Vec<u8>, count in 0usize..500) {
            if let Ok(values) = decode(&mut Reader::new("here", &bytes), count) {
                prop_assert_eq!(values.len(), count);
            }
            let mut dense = vec![DENSE];
            put_bytes(&bytes, &mut dense);
            bytes = dense;
            if let Ok(values) = decode(&mut Reader::new("here", &bytes), count) {
                prop_assert_eq!(values.len(), count);
            }
        }
    }

    #[test]
    fn scattered_numbers_take_little_more_than_their_entropy() {
        // A multiplicative generator: five digits, about 16.5 bits each.
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
            10_000 + (state >> 33) as i64 % 90_000
        };
        let values: Vec<i64> = (0..4096).map(|_| next()).collect();
        let mut out = Vec::new();
        encode(&values, &mut out);
        assert!(out.len() < 4096 * 17 / 8 + 100, "{}", out.len());
    }
}
