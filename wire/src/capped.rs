//! Decompression with a bound on the output: gzip, zlib or raw deflate, zstd, snappy blocks.
//!
//! Invariant: no more than the bound (and one block) is ever held, whatever the input declares;
//! the bound is checked while decoding, so that a bomb costs no more than an honest body.

use std::borrow::Cow;
use std::io::Read;

use crate::error::WireError;
use crate::snappy;

/// The limit that bounds decompressed bodies, by its name in `obs_model::limits::Limits`.
pub const LIMIT: &str = "decompressed_bytes_max";

/// Bytes decoded between two checks of the bound.
const BLOCK_BYTES: usize = 32 << 10;

/// Largest window of a zstd frame that is accepted, as a power of two: 8 MiB, the window that
/// RFC 8878 asks every decoder to support.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Decodes a body by the token of its `Content-Encoding`; bodies that are not encoded are lent.
pub fn decode<'a>(encoding: &str, bytes: &'a [u8], max: usize) -> Result<Cow<'a, [u8]>, WireError> {
    match encoding.trim().to_ascii_lowercase().as_str() {
        "" | "identity" if bytes.len() > max => Err(WireError::too_large("body", LIMIT, max)),
        "" | "identity" => Ok(Cow::Borrowed(bytes)),
        "gzip" | "x-gzip" => gzip(bytes, max).map(Cow::Owned),
        "deflate" => deflate(bytes, max).map(Cow::Owned),
        "zstd" => zstd(bytes, max).map(Cow::Owned),
        "snappy" => snappy::decode(bytes, max).map(Cow::Owned),
        other => Err(WireError::Unsupported {
            what: format!("content encoding {other:?}"),
            expected: "identity, gzip, deflate, zstd or snappy",
        }),
    }
}

/// Decodes gzip (one or more members) to at most `max` bytes.
pub fn gzip(bytes: &[u8], max: usize) -> Result<Vec<u8>, WireError> {
    let mut rest = bytes;
    let end = read(&mut flate2::bufread::MultiGzDecoder::new(&mut rest), max);
    end.into_result("gzip stream", bytes.len() - rest.len(), max)
}

/// Decodes HTTP's `deflate`: zlib, or raw deflate as some clients send it, to at most `max` bytes.
pub fn deflate(bytes: &[u8], max: usize) -> Result<Vec<u8>, WireError> {
    // RFC 1950: method 8 in the low bits, and the first two bytes a multiple of 31.
    let zlib = matches!(bytes, [first, second, ..]
        if first & 0x0f == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31));
    let mut rest = bytes;
    if zlib {
        let end = read(&mut flate2::bufread::ZlibDecoder::new(&mut rest), max);
        end.into_result("zlib stream", bytes.len() - rest.len(), max)
    } else {
        let end = read(&mut flate2::bufread::DeflateDecoder::new(&mut rest), max);
        end.into_result("deflate stream", bytes.len() - rest.len(), max)
    }
}

/// Decodes zstd (one or more frames) to at most `max` bytes.
pub fn zstd(bytes: &[u8], max: usize) -> Result<Vec<u8>, WireError> {
    let mut rest = bytes;
    let end = match open_zstd(&mut rest) {
        Ok(mut decoder) => read(&mut decoder, max),
        Err(error) => End::Malformed(error),
    };
    end.into_result("zstd stream", bytes.len() - rest.len(), max)
}

fn open_zstd<'a, 'b>(
    rest: &'a mut &'b [u8],
) -> std::io::Result<zstd::stream::read::Decoder<'static, &'a mut &'b [u8]>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(rest)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    Ok(decoder)
}

/// How decoding ended.
enum End {
    Done(Vec<u8>),
    TooLarge,
    Malformed(std::io::Error),
}

impl End {
    fn into_result(
        self,
        format: &'static str,
        consumed: usize,
        max: usize,
    ) -> Result<Vec<u8>, WireError> {
        match self {
            Self::Done(out) => Ok(out),
            Self::TooLarge => Err(WireError::too_large(format, LIMIT, max)),
            Self::Malformed(error) => Err(WireError::at_byte(
                format,
                consumed,
                format!("well-formed compressed data ({error})"),
            )),
        }
    }
}

/// Reads to the end; stops as soon as the output is longer than `max`.
fn read(decoder: &mut dyn Read, max: usize) -> End {
    let mut out = Vec::new();
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        match decoder.read(&mut block) {
            Ok(0) => return End::Done(out),
            Ok(count) if out.len() + count > max => return End::TooLarge,
            Ok(count) => out.extend_from_slice(&block[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return End::Malformed(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    fn encode(encoding: &str, bytes: &[u8]) -> Vec<u8> {
        let level = Compression::best();
        match encoding {
            "gzip" => {
                let mut out = GzEncoder::new(Vec::new(), level);
                out.write_all(bytes).unwrap();
                out.finish().unwrap()
            }
            "deflate" => {
                let mut out = ZlibEncoder::new(Vec::new(), level);
                out.write_all(bytes).unwrap();
                out.finish().unwrap()
            }
            "raw" => {
                let mut out = DeflateEncoder::new(Vec::new(), level);
                out.write_all(bytes).unwrap();
                out.finish().unwrap()
            }
            "zstd" => zstd::stream::encode_all(bytes, 3).unwrap(),
            "snappy" => snappy::encode(bytes),
            other => panic!("{other}"),
        }
    }

    fn decode_any(encoding: &str, bytes: &[u8], max: usize) -> Result<Vec<u8>, WireError> {
        let token = if encoding == "raw" {
            "deflate"
        } else {
            encoding
        };
        decode(token, bytes, max).map(Cow::into_owned)
    }

    const ENCODINGS: [&str; 5] = ["gzip", "deflate", "raw", "zstd", "snappy"];

    #[test]
    fn bombs_are_refused() {
        let zeroes = vec![0; 4 << 20];
        for encoding in ENCODINGS {
            let bomb = encode(encoding, &zeroes);
            assert_eq!(
                decode_any(encoding, &bomb, zeroes.len()).as_deref(),
                Ok(zeroes.as_slice())
            );
            let error = decode_any(encoding, &bomb, zeroes.len() - 1).unwrap_err();
            assert!(
                matches!(error, WireError::TooLarge { limit: LIMIT, .. }),
                "{encoding}: {error}"
            );
        }
    }

    #[test]
    fn torn_streams_are_malformed() {
        for encoding in ENCODINGS {
            let whole = encode(encoding, b"a line of text, a line of text, another");
            let error = decode_any(encoding, &whole[..whole.len() - 3], 1000).unwrap_err();
            assert!(
                matches!(error, WireError::Malformed { .. }),
                "{encoding}: {error}"
            );
        }
    }

    #[test]
    fn tokens() {
        assert_eq!(decode("", b"a", 1).as_deref(), Ok(&b"a"[..]));
        assert_eq!(decode(" Identity", b"a", 1).as_deref(), Ok(&b"a"[..]));
        assert!(matches!(
            decode("", b"ab", 1),
            Err(WireError::TooLarge { .. })
        ));
        let error = decode("br", b"", 1).unwrap_err().to_string();
        assert!(
            error.starts_with("content encoding \"br\" is not"),
            "{error}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn round_trips(bytes in proptest::collection::vec(0u8..4, 0..3000)) {
            for encoding in ENCODINGS {
                let packed = encode(encoding, &bytes);
                let unpacked = decode_any(encoding, &packed, bytes.len());
                prop_assert_eq!(unpacked, Ok(bytes.clone()));
            }
        }

        #[test]
        fn arbitrary_bytes_are_bounded(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            at in 0usize..5,
            good in any::<bool>(),
        ) {
            // Half of the cases start as a good stream and are then overwritten in part.
            let mut input = if good { encode(ENCODINGS[at], &bytes) } else { bytes };
            let middle = input.len() / 2;
            if let Some(byte) = input.get_mut(middle) {
                *byte ^= 0x55;
            }
            if let Ok(out) = decode_any(ENCODINGS[at], &input, 500) {
                prop_assert!(out.len() <= 500);
            }
        }
    }
}
