//! A run of bytes, compressed with zstd where that makes it smaller.
//! Specified in docs/formats/columns-bytes.md.
//!
//! Layout: tag (0 = as is, 1 = zstd), varint length as it was, then for zstd a varint length as
//! stored, then the bytes. Invariants: the length told is checked against the caller's limit
//! before anything else; memory is taken in proportion to the bytes that are there, or as they
//! come out of the decompressor, never because a length says so.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::io::Read;

use super::{Reader, varint};
use crate::error::Corrupt;

const RAW: u8 = 0;
const ZSTD: u8 = 1;
/// Shorter runs are kept as they are: a zstd frame has about 12 bytes of its own.
const COMPRESS_BYTES_MIN: usize = 32;
/// Up to so many bytes for each stored byte are taken at once; what claims to be denser is read
/// as a stream that grows by what really comes.
const TRUSTED_RATIO: usize = 32;
/// Largest window that is read (8 MiB): the largest that levels up to 19 write.
const WINDOW_LOG_MAX: u32 = 23;
/// Levels whose windows are within [`WINDOW_LOG_MAX`].
const LEVEL_MIN: i32 = -100;
const LEVEL_MAX: i32 = 19;
/// The usual level: the best ratio that still writes above 200 MB/s a core.
pub const LEVEL: i32 = 3;
/// For what lives shortly, such as journal records.
pub const LEVEL_FAST: i32 = 1;

thread_local! {
    /// Its 160 KiB are taken once, not once a run: runs are often smaller than that.
    static DECODER: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
    /// As the decoder: a journal gets a run per batch.
    static FAST: RefCell<Encoder> = const { RefCell::new(Encoder::new(LEVEL_FAST)) };
}

/// Appends the bytes, compressed at `level` (up to 19; below 1 is faster still) when that is
/// smaller. Who writes many runs keeps an [`Encoder`].
pub fn encode(bytes: &[u8], level: i32, out: &mut Vec<u8>) {
    Encoder::new(level).encode(bytes, out);
}

/// Appends the bytes, compressed at [`LEVEL_FAST`] when that is smaller.
pub fn encode_fast(bytes: &[u8], out: &mut Vec<u8>) {
    FAST.with_borrow_mut(|encoder| encoder.encode(bytes, out));
}

/// Writes runs at one level; its tables are made once, with the first run that needs them.
pub struct Encoder {
    level: i32,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    /// The last frame: its room is used again, since fresh memory costs more than the copy.
    packed: Vec<u8>,
}

/// Room of frames that is kept.
const PACKED_BYTES_KEPT: usize = 1 << 20;

impl Encoder {
    /// An encoder for one level.
    pub const fn new(level: i32) -> Self {
        let level = match level {
            ..LEVEL_MIN => LEVEL_MIN,
            LEVEL_MIN..=LEVEL_MAX => level,
            _ => LEVEL_MAX,
        };
        Self {
            level,
            zstd: None,
            packed: Vec::new(),
        }
    }

    /// Appends the bytes, compressed when that is smaller.
    pub fn encode(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self.pack(bytes) {
            Some(()) => {
                out.push(ZSTD);
                varint::put(bytes.len() as u64, out);
                super::put_bytes(&self.packed, out);
            }
            None => encode_raw(bytes, out),
        }
        self.packed.clear();
        self.packed.shrink_to(PACKED_BYTES_KEPT);
    }

    /// Makes the frame; nothing unless it is smaller than the bytes.
    fn pack(&mut self, bytes: &[u8]) -> Option<()> {
        if bytes.len() < COMPRESS_BYTES_MIN {
            return None;
        }
        if self.zstd.is_none() {
            self.zstd = zstd::bulk::Compressor::new(self.level).ok();
        }
        self.packed.clear();
        self.packed.reserve(zstd::compress_bound(bytes.len()));
        let zstd = self.zstd.as_mut()?;
        zstd.compress_to_buffer(bytes, &mut self.packed).ok()?;
        (self.packed.len() < bytes.len()).then_some(())
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encoder(level {})", self.level)
    }
}

/// Appends the bytes as they are.
pub fn encode_raw(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(RAW);
    super::put_bytes(bytes, out);
}

/// Reads a run of at most `bytes_max` bytes.
pub fn decode(reader: &mut Reader<'_>, bytes_max: usize) -> Result<Vec<u8>, Corrupt> {
    match reader.u8()? {
        RAW => Ok(reader.bytes(bytes_max)?.to_vec()),
        ZSTD => {
            let length = reader.count(bytes_max)?;
            let place = reader.clone();
            let packed = reader.bytes(place.remaining())?;
            unpack(packed, length)
                .filter(|bytes| bytes.len() == length)
                .ok_or_else(|| place.corrupt(format!("a zstd frame of {length} bytes")))
        }
        tag => Err(reader.corrupt(format!("the tag of a run of bytes, found {tag}"))),
    }
}

/// As [`decode`], but bytes that are not compressed stay where they stand.
pub fn read<'a>(reader: &mut Reader<'a>, bytes_max: usize) -> Result<Cow<'a, [u8]>, Corrupt> {
    let mut raw = reader.clone();
    if raw.u8()? != RAW {
        return decode(reader, bytes_max).map(Cow::Owned);
    }
    let bytes = raw.bytes(bytes_max)?;
    *reader = raw;
    Ok(Cow::Borrowed(bytes))
}

/// Passes over a run without decompressing it.
pub fn skip(reader: &mut Reader<'_>) -> Result<(), Corrupt> {
    let tag = reader.u8()?;
    if tag == ZSTD {
        reader.varint()?;
    } else if tag != RAW {
        return Err(reader.corrupt(format!("the tag of a run of bytes, found {tag}")));
    }
    reader.bytes(reader.remaining()).map(|_| ())
}

/// At most `length + 1` bytes of a frame; `None` when it is broken or too large.
fn unpack(packed: &[u8], length: usize) -> Option<Vec<u8>> {
    if length <= packed.len().saturating_mul(TRUSTED_RATIO) {
        return DECODER.with_borrow_mut(|decoder| {
            if decoder.is_none() {
                *decoder = zstd::bulk::Decompressor::new().ok();
            }
            decoder.as_mut()?.decompress(packed, length).ok()
        });
    }
    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed).ok()?;
    decoder.window_log_max(WINDOW_LOG_MAX).ok()?;
    let mut bytes = Vec::new();
    let mut bounded = decoder.take((length as u64).saturating_add(1));
    bounded.read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(bytes: &[u8], level: i32) -> usize {
        let mut out = Vec::new();
        encode(bytes, level, &mut out);
        let size = out.len();
        out.extend_from_slice(b"rest");
        let mut reader = Reader::new("here", &out);
        assert_eq!(decode(&mut reader, bytes.len()).unwrap(), bytes);
        assert_eq!(reader.position(), size);
        let mut reader = Reader::new("here", &out);
        skip(&mut reader).unwrap();
        assert_eq!(reader.position(), size);
        if !bytes.is_empty() {
            assert!(decode(&mut Reader::new("here", &out), bytes.len() - 1).is_err());
        }
        size
    }

    #[test]
    fn smaller_where_it_can() {
        assert_eq!(round_trip(b"", 3), 2);
        assert_eq!(round_trip(b"abc", 3), 5);
        assert!(round_trip(&[7; 20_000_000], 1) < 10_000);
        assert!(round_trip(&b"some words, some words, ".repeat(100), 19) < 100);
    }

    #[test]
    fn a_bomb_is_refused_before_it_goes_off() {
        let packed = zstd::bulk::compress(&vec![0; 1 << 26], 3).unwrap();
        let claim = |length: u64| {
            let mut out = vec![ZSTD];
            varint::put(length, &mut out);
            super::super::put_bytes(&packed, &mut out);
            out
        };
        let check = |length: u64, max: usize| {
            let bytes = claim(length);
            assert!(decode(&mut Reader::new("here", &bytes), max).is_err());
        };
        check(1 << 26, 1 << 20);
        check(100, 1 << 20);
        check(u64::MAX, usize::MAX);
        check(1 << 40, usize::MAX);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn round_trips(bytes in prop::collection::vec(any::<u8>(), 0..300), times in 1usize..50) {
            round_trip(&bytes.repeat(times), 3);
        }

        #[test]
        fn arbitrary_bytes_are_safe(mut bytes: Vec<u8>, tag in 0u8..3, cut in 0usize..200) {
            if let Ok(found) = decode(&mut Reader::new("here", &bytes), 1000) {
                prop_assert!(found.len() <= 1000);
            }
            bytes.insert(0, tag);
            if let Ok(found) = decode(&mut Reader::new("here", &bytes), 1000) {
                prop_assert!(found.len() <= 1000);
            }
            let mut good = Vec::new();
            encode(&b"text ".repeat(40), 3, &mut good);
            let index = cut % good.len();
            good[index] ^= 1 << (cut % 8);
            if let Ok(found) = decode(&mut Reader::new("here", &good), 1000) {
                prop_assert!(found.len() <= 1000);
            }
        }
    }
}
