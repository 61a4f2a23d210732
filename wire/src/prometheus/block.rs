//! Blocks of Prometheus' TSDB as they lie in a directory: the index (version 1 and 2), the segments
//! of chunks, the tombstones.
//!
//! Invariants: what a checksum does not hold for is an error that names the place; a reader goes
//! from one series to the next, so that damage costs one series; offsets and lengths of the file
//! are checked before they are followed.
//! Format: <https://github.com/prometheus/prometheus/tree/main/tsdb/docs/format>

use std::collections::HashMap;

use obs_model::Labels;

use super::chunk::Encoding;
use crate::error::WireError;
use crate::protobuf::{read_varint, zigzag};

const INDEX: &str = "index of a TSDB block";
const SEGMENT: &str = "chunk of a TSDB block";
const TOMBSTONES: &str = "tombstones of a TSDB block";

const INDEX_MAGIC: u32 = 0xBAAA_D700;
const TOMBSTONES_MAGIC: u32 = 0x0130_BA30;
/// First bytes of a segment: magic and version.
pub const SEGMENT_HEAD: [u8; 8] = [0x85, 0xBD, 0x40, 0xDD, 1, 0, 0, 0];
/// Six offsets and a checksum.
const CONTENTS_BYTES: usize = 6 * 8 + 4;
/// The longest head of a chunk in a segment: its length and its encoding.
pub const CHUNK_HEAD_BYTES: usize = 10 + 1;
/// Bytes of one chunk: a thousand times what one of 120 samples has.
const CHUNK_BYTES_MAX: u64 = 64 << 20;

/// Where a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkPlace {
    /// Milliseconds of its first sample.
    pub first: i64,
    /// Milliseconds of its last sample.
    pub last: i64,
    /// The number of the segment's file, from 0 (`chunks/000001`).
    pub segment: u32,
    /// The offset in it.
    pub offset: u32,
}

/// One series of an index.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockSeries {
    /// Its number, as tombstones have it.
    pub reference: u64,
    /// Its labels.
    pub labels: Labels,
    /// Its chunks.
    pub chunks: Vec<ChunkPlace>,
}

/// An index, and how far it was read.
#[derive(Debug)]
pub struct Index<'a> {
    bytes: &'a [u8],
    version: u8,
    /// By number in version 2, by offset in version 1.
    symbols: Vec<(u32, &'a str)>,
    at: usize,
    end: usize,
}

/// Reads big-endian and variable-length numbers; every fault has its offset in the file.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    format: &'static str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn fault(&self, expected: impl Into<String>) -> WireError {
        WireError::at_byte(self.format, self.at, expected)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let end = self.at.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| self.fault(format!("{count} more bytes")))?;
        self.at += count;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        let bytes = self.take(4)?;
        Ok(bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        let (high, low) = (self.u32()?, self.u32()?);
        Ok(u64::from(high) << 32 | u64::from(low))
    }

    fn uvarint(&mut self) -> Result<u64, WireError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let (value, length) =
            read_varint(rest).ok_or_else(|| self.fault("a varint of at most 10 bytes"))?;
        self.at += length;
        Ok(value)
    }

    fn length(&mut self) -> Result<usize, WireError> {
        let value = self.uvarint()?;
        usize::try_from(value).map_err(|_| self.fault("a length"))
    }

    fn varint(&mut self) -> Result<i64, WireError> {
        self.uvarint().map(zigzag)
    }

    /// Bytes and the checksum behind them.
    fn checked(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let start = self.at;
        let bytes = self.take(count)?;
        if self.u32()? == crc32c::crc32c(bytes) {
            return Ok(bytes);
        }
        let expected = format!("{count} bytes that their checksum holds for");
        Err(WireError::at_byte(self.format, start, expected))
    }
}

impl<'a> Index<'a> {
    /// Opens an index and reads its symbols.
    pub fn open(bytes: &'a [u8]) -> Result<Self, WireError> {
        let cursor = |at| Cursor {
            format: INDEX,
            bytes,
            at,
        };
        let mut head = cursor(0);
        if head.u32()? != INDEX_MAGIC {
            return Err(cursor(0).fault("the magic number of an index"));
        }
        let version = head.take(1)?[0];
        if !(1..=2).contains(&version) {
            return Err(cursor(4).fault(format!("version 1 or 2, found {version}")));
        }
        let contents = bytes.len().checked_sub(CONTENTS_BYTES);
        let contents = contents.ok_or_else(|| head.fault("a table of contents"))?;
        let checked = cursor(contents).checked(CONTENTS_BYTES - 4)?;
        let mut offsets = [0u64; 6];
        let mut table = Cursor {
            format: INDEX,
            bytes: checked,
            at: 0,
        };
        for offset in &mut offsets {
            *offset = table.u64()?;
            if *offset > contents as u64 {
                return Err(cursor(contents).fault("offsets within the file"));
            }
        }
        let [symbols, series, rest @ ..] = offsets.map(|offset| offset as usize);
        // The series end where the next section begins.
        let end = rest.into_iter().filter(|offset| *offset > series).min();
        Ok(Self {
            bytes,
            version,
            symbols: read_symbols(cursor(symbols))?,
            at: series,
            end: end.unwrap_or(contents),
        })
    }

    /// How far the series were read, in bytes of all.
    pub fn progress(&self) -> (u64, u64) {
        (self.at as u64, self.end as u64)
    }

    /// The next series, or why it cannot be read; the one behind it can be asked for all the same.
    pub fn next_series(&mut self) -> Option<Result<BlockSeries, WireError>> {
        if self.version == 2 {
            self.at = self.at.next_multiple_of(16);
        }
        if self.at >= self.end {
            return None;
        }
        let reference = match self.version {
            1 => self.at as u64,
            _ => (self.at / 16) as u64,
        };
        let mut cursor = Cursor {
            format: INDEX,
            bytes: &self.bytes[..self.end],
            at: self.at,
        };
        let length = match cursor.length() {
            Ok(length) => length,
            Err(error) => {
                self.at = self.end;
                return Some(Err(error));
            }
        };
        let begin = cursor.at;
        let whole = length.checked_add(4).and_then(|l| begin.checked_add(l));
        // Without its length nothing behind it is found.
        self.at = whole.filter(|end| *end <= self.end).unwrap_or(self.end);
        let read = cursor
            .checked(length)
            .and_then(|body| self.series(reference, body, begin));
        Some(read)
    }

    fn series(&self, reference: u64, body: &[u8], begin: usize) -> Result<BlockSeries, WireError> {
        let mut cursor = Cursor {
            format: INDEX,
            bytes: body,
            at: 0,
        };
        let place = |error: WireError| match error {
            WireError::Malformed { expected, .. } => WireError::at_byte(INDEX, begin, expected),
            other => other,
        };
        self.parts(reference, &mut cursor).map_err(place)
    }

    fn parts(&self, reference: u64, cursor: &mut Cursor<'_>) -> Result<BlockSeries, WireError> {
        let mut pairs = Vec::new();
        for _ in 0..cursor.uvarint()? {
            let (name, value) = (cursor.uvarint()?, cursor.uvarint()?);
            match (self.symbol(name), self.symbol(value)) {
                (Some(name), Some(value)) => pairs.push((name, value)),
                _ => return Err(cursor.fault("references to symbols")),
            }
        }
        let mut chunks: Vec<ChunkPlace> = Vec::new();
        let mut place = 0u64;
        for index in 0..cursor.uvarint()? {
            let first = match chunks.last() {
                None => cursor.varint()?,
                Some(last) => last.last.wrapping_add(cursor.uvarint()? as i64),
            };
            let last = first.wrapping_add(cursor.uvarint()? as i64);
            place = match index {
                0 => cursor.uvarint()?,
                _ => place.wrapping_add(cursor.varint()? as u64),
            };
            chunks.push(ChunkPlace {
                first,
                last,
                segment: (place >> 32) as u32,
                offset: place as u32,
            });
        }
        Ok(BlockSeries {
            reference,
            labels: Labels::from_pairs(pairs),
            chunks,
        })
    }

    fn symbol(&self, reference: u64) -> Option<&'a str> {
        if self.version == 2 {
            let at = usize::try_from(reference).ok()?;
            return self.symbols.get(at).map(|(_, text)| *text);
        }
        let offset = u32::try_from(reference).ok()?;
        let at = self.symbols.binary_search_by_key(&offset, |(o, _)| *o);
        at.ok().map(|at| self.symbols[at].1)
    }
}

/// The symbols with their offsets in the file.
fn read_symbols(mut cursor: Cursor<'_>) -> Result<Vec<(u32, &str)>, WireError> {
    let length = cursor.u32()? as usize;
    let begin = cursor.at;
    let body = cursor.checked(length)?;
    let mut inside = Cursor {
        format: INDEX,
        bytes: body,
        at: 0,
    };
    let count = inside.u32()?;
    let mut symbols = Vec::new();
    for _ in 0..count {
        let offset = u32::try_from(begin + inside.at).map_err(|_| inside.fault("an offset"))?;
        let length = inside.length()?;
        let text = std::str::from_utf8(inside.take(length)?);
        symbols.push((offset, text.map_err(|_| inside.fault("UTF-8"))?));
    }
    Ok(symbols)
}

/// How many bytes a chunk has, from its first [`CHUNK_HEAD_BYTES`] (or what the file has of them).
pub fn chunk_bytes(head: &[u8]) -> Result<usize, WireError> {
    let mut cursor = Cursor {
        format: SEGMENT,
        bytes: head,
        at: 0,
    };
    let data = cursor.uvarint()?;
    if data > CHUNK_BYTES_MAX {
        return Err(cursor.fault(format!("a chunk of at most {CHUNK_BYTES_MAX} bytes")));
    }
    Ok(cursor.at + 1 + data as usize + 4)
}

/// The encoding and the data of a chunk, from all its bytes.
pub fn chunk(bytes: &[u8]) -> Result<(Encoding, &[u8]), WireError> {
    let mut cursor = Cursor {
        format: SEGMENT,
        bytes,
        at: 0,
    };
    let length = cursor.length()?;
    let whole = length
        .checked_add(1)
        .ok_or_else(|| cursor.fault("a length"))?;
    let body = cursor.checked(whole)?;
    let (encoding, data) = body
        .split_first()
        .ok_or_else(|| cursor.fault("an encoding"))?;
    Ok((Encoding::from_number(*encoding)?, data))
}

/// What was deleted: ranges of milliseconds, both ends included, by reference of the series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tombstones(HashMap<u64, Vec<(i64, i64)>>);

impl Tombstones {
    /// Reads the file `tombstones`.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut cursor = Cursor {
            format: TOMBSTONES,
            bytes,
            at: 0,
        };
        if cursor.u32()? != TOMBSTONES_MAGIC || cursor.take(1)?[0] != 1 {
            return Err(WireError::at_byte(
                TOMBSTONES,
                0,
                "the magic number and version 1",
            ));
        }
        let length = bytes.len().checked_sub(cursor.at + 4);
        let length = length.ok_or_else(|| cursor.fault("a checksum"))?;
        let mut inside = Cursor {
            format: TOMBSTONES,
            bytes: cursor.checked(length)?,
            at: 0,
        };
        let mut all: HashMap<u64, Vec<(i64, i64)>> = HashMap::new();
        while inside.at < length {
            let reference = inside.uvarint()?;
            let range = (inside.varint()?, inside.varint()?);
            all.entry(reference).or_default().push(range);
        }
        Ok(Self(all))
    }

    /// Whether the sample of a series at a time is deleted.
    pub fn cover(&self, reference: u64, millis: i64) -> bool {
        let ranges = self.0.get(&reference).map_or(&[][..], Vec::as_slice);
        ranges
            .iter()
            .any(|(from, to)| *from <= millis && millis <= *to)
    }

    /// Number of series that have something deleted.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is deleted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests;
