//! Snappy blocks (not the framing format), as remote write and Loki push send them.
//!
//! Invariant: the declared length is checked against the limit and against what the compressed
//! bytes can possibly yield before anything is allocated.
//! Format: <https://github.com/google/snappy/blob/main/format_description.txt>

use crate::capped::LIMIT;
use crate::error::WireError;

const FORMAT: &str = "snappy block";

/// The densest element is a copy of 64 bytes in 3 bytes (tag and two bytes of offset).
const YIELD_MAX: usize = 64 / 3 + 1;

/// Decodes a block to at most `max` bytes.
pub fn decode(bytes: &[u8], max: usize) -> Result<Vec<u8>, WireError> {
    let declared = snap::raw::decompress_len(bytes).map_err(|error| malformed(&error))?;
    if declared > max {
        return Err(WireError::too_large(FORMAT, LIMIT, max));
    }
    let possible = bytes.len().saturating_mul(YIELD_MAX);
    if declared > possible {
        return Err(WireError::at_byte(
            FORMAT,
            0,
            format!("a length of at most {possible}, found {declared}"),
        ));
    }
    let mut out = vec![0; declared];
    let written = snap::raw::Decoder::new()
        .decompress(bytes, &mut out)
        .map_err(|error| malformed(&error))?;
    out.truncate(written);
    Ok(out)
}

/// Encodes a block.
///
/// # Panics
/// When the input is longer than 4 GiB, which no sender of ours makes.
pub fn encode(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new()
        .compress_vec(bytes)
        .expect("input is below the 4 GiB of the format")
}

fn malformed(error: &snap::Error) -> WireError {
    let (offset, expected) = match error {
        snap::Error::Empty => (0, "a length, found nothing".to_owned()),
        snap::Error::Header => (0, "a length as a varint below 2^32".to_owned()),
        snap::Error::Offset { dst_pos, .. } => (
            0,
            format!(
                "copies that point into what was written, found another at output byte {dst_pos}"
            ),
        ),
        other => (0, format!("well-formed elements ({other})")),
    };
    WireError::at_byte(FORMAT, offset, expected)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_are_not_trusted() {
        // 4 GiB - 1 declared in five bytes.
        let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f];
        assert_eq!(
            decode(&bomb, 1 << 20),
            Err(WireError::too_large(FORMAT, LIMIT, 1 << 20))
        );
        let error = decode(&bomb, usize::MAX).unwrap_err().to_string();
        assert!(error.contains("a length of at most 110"), "{error}");
        assert!(decode(&[], 10).is_err());
        assert_eq!(decode(&[0], 10), Ok(Vec::new()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn round_trip(bytes in proptest::collection::vec(0u8..4, 0..2000)) {
            prop_assert_eq!(decode(&encode(&bytes), bytes.len()), Ok(bytes));
        }

        #[test]
        fn arbitrary_bytes_are_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(out) = decode(&bytes, 1000) {
                prop_assert!(out.len() <= 1000);
            }
        }
    }
}
