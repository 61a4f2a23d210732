//! Sets of small integers (row, series and stream numbers): roaring bitmaps in their portable
//! format, with run containers where those are smaller.
//!
//! Layout: varint length, then the portable roaring serialisation. Invariants: every member is
//! below the caller's bound; memory is bounded by `bound / 8` bytes and the size of the input,
//! because the container keys are checked before a container is made.

use roaring::RoaringBitmap;

use super::{Reader, put_bytes};
use crate::error::Corrupt;

/// First number of a serialisation without run containers; the container count follows.
const COOKIE_PLAIN: u32 = 12_346;
/// Low half of the first number of a serialisation with run containers; the high half is the
/// container count less one and a bit set of the run containers follows.
const COOKIE_RUNS: u32 = 12_347;
/// Members of one container.
const CONTAINER: u64 = 1 << 16;

/// Appends a set.
pub fn encode(set: &RoaringBitmap, out: &mut Vec<u8>) {
    let mut best = set.clone();
    best.optimize();
    let mut bytes = Vec::with_capacity(best.serialized_size());
    best.serialize_into(&mut bytes)
        .expect("writing to a vector cannot fail");
    put_bytes(&bytes, out);
}

/// Reads a set whose members are all below `bound`.
pub fn decode(reader: &mut Reader<'_>, bound: u64) -> Result<RoaringBitmap, Corrupt> {
    let place = reader.clone();
    let bytes = reader.bytes(place.remaining())?;
    let corrupt = || place.corrupt(format!("a roaring bitmap with members below {bound}"));
    if !keys_are_below(bytes, bound) {
        return Err(corrupt());
    }
    let mut rest = bytes;
    let set = RoaringBitmap::deserialize_from(&mut rest).map_err(|_| corrupt())?;
    if !rest.is_empty() || set.max().is_some_and(|max| u64::from(max) >= bound) {
        return Err(corrupt());
    }
    Ok(set)
}

/// Passes over a set.
pub fn skip(reader: &mut Reader<'_>) -> Result<(), Corrupt> {
    reader.bytes(reader.remaining()).map(|_| ())
}

/// Whether the header's container keys ascend and leave no container wholly above the bound.
fn keys_are_below(bytes: &[u8], bound: u64) -> bool {
    let word = |at: usize| {
        let word = bytes.get(at..at + 4)?;
        Some(u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
    };
    let Some(cookie) = word(0) else {
        return false;
    };
    let (count, keys_at) = if cookie == COOKIE_PLAIN {
        match word(4) {
            Some(count) => (count as usize, 8),
            None => return false,
        }
    } else if cookie & 0xffff == COOKIE_RUNS {
        let count = (cookie >> 16) as usize + 1;
        (count, 4 + count.div_ceil(8))
    } else {
        return false;
    };
    let Some(keys) = count
        .checked_mul(4)
        .and_then(|length| bytes.get(keys_at..keys_at.checked_add(length)?))
    else {
        return false;
    };
    let mut next = 0u64;
    for key in keys.chunks_exact(4) {
        let key = u64::from(u16::from_le_bytes([key[0], key[1]]));
        if key < next || key * CONTAINER >= bound {
            return false;
        }
        next = key + 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(set: &RoaringBitmap) -> usize {
        let bound = set.max().map_or(0, |max| u64::from(max) + 1);
        let mut out = Vec::new();
        encode(set, &mut out);
        let mut reader = Reader::new("here", &out);
        assert_eq!(&decode(&mut reader, bound).unwrap(), set);
        assert!(reader.is_empty());
        if bound > 0 {
            assert!(decode(&mut Reader::new("here", &out), bound - 1).is_err());
        }
        out.len()
    }

    #[test]
    fn sets_of_every_shape() {
        round_trip(&RoaringBitmap::new());
        round_trip(&RoaringBitmap::from([0, 5, u32::MAX]));
        assert!(round_trip(&(10..1_000_000).collect()) < 250);
        round_trip(&(0..200_000).filter(|n| n % 3 == 0).collect());
    }

    #[test]
    fn many_full_containers_are_refused_by_their_keys() {
        let mut full = RoaringBitmap::new();
        full.insert_range(0..=u32::MAX);
        let mut out = Vec::new();
        encode(&full, &mut out);
        assert!(decode(&mut Reader::new("here", &out), 70_000).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn round_trips(members in prop::collection::vec(0u32..300_000, 0..300)) {
            round_trip(&members.into_iter().collect());
        }

        #[test]
        fn arbitrary_bytes_are_safe(
            bytes: Vec<u8>,
            members in prop::collection::vec(0u32..300_000, 0..50),
            flip in any::<(usize, u8)>(),
        ) {
            let check = |bytes: &[u8]| {
                if let Ok(set) = decode(&mut Reader::new("here", bytes), 300_000) {
                    assert!(set.max().is_none_or(|max| max < 300_000));
                    assert_eq!(set.len(), set.iter().count() as u64);
                }
            };
            check(&bytes);
            let mut framed = Vec::new();
            put_bytes(&bytes, &mut framed);
            check(&framed);
            let mut good = Vec::new();
            encode(&members.into_iter().collect(), &mut good);
            let index = flip.0 % good.len();
            good[index] ^= flip.1;
            check(&good);
        }
    }
}
