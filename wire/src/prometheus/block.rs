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
use crate::error::{Position, WireError};
use crate::protobuf::{read_varint, zigzag};

const INDEX: &str = "index of a TSDB block";
const SEGMENT: &str = "chunk of a TSDB block";
const TOMBSTONES: &str = "tombstones of a TSDB block";

const INDEX_MAGIC: u32 = 0xBAAA_D700;
const TOMBSTONES_MAGIC: u32 = 0x0130_BA30;
/// First bytes of a segment: magic and version.
pub const SEGMENT_HEAD: [u8; 8] = [0x85, 0xBD, 0x40, 0xDD, 1, 0, 0, 0];
/// Magic and version.
pub const CONTENTS_HEAD_BYTES: usize = 5;
/// Six offsets and a checksum.
pub const CONTENTS_BYTES: usize = 6 * 8 + 4;
/// Bytes of one series of an index: a million chunks, where a block has some tens.
const SERIES_BYTES_MAX: usize = 16 << 20;
/// Bytes of a length.
const LENGTH_BYTES_MAX: usize = 10;
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

/// Where the sections of an index are that give its series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    version: u8,
    /// Where the symbols begin.
    pub symbols: u64,
    /// Where the series begin and end.
    pub series: (u64, u64),
}

/// The texts of an index, held once: all that is in memory of it, whatever its size.
#[derive(Debug)]
pub struct Symbols {
    text: String,
    /// Per symbol where it ends in the text, and of version 1 where it is in the file.
    ends: Vec<u32>,
    offsets: Vec<u32>,
}

/// A walk through the series of an index, which is shown its bytes piece by piece.
#[derive(Debug)]
pub struct Index {
    version: u8,
    symbols: Symbols,
    at: u64,
    end: u64,
}

/// What a walk finds.
#[derive(Debug)]
pub enum Step {
    /// It is to be asked again with so many bytes from [`Index::position`] on, or more.
    More(usize),
    /// The next series, or why it cannot be read; the one behind it can be asked for all the same.
    Series(Result<BlockSeries, WireError>),
    /// There are no more.
    End,
}

/// Reads big-endian and variable-length numbers; every fault has its offset in the file.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    format: &'static str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// At the begin of a piece of an index.
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            format: INDEX,
            bytes,
            at: 0,
        }
    }

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

impl Contents {
    /// Reads the first [`CONTENTS_HEAD_BYTES`] and the last [`CONTENTS_BYTES`] of an index that has
    /// so many bytes in all.
    pub fn decode(head: &[u8], tail: &[u8], length: u64) -> Result<Self, WireError> {
        let mut head = Cursor::new(head);
        if head.u32()? != INDEX_MAGIC {
            return Err(WireError::at_byte(INDEX, 0, "the magic number of an index"));
        }
        let version = head.take(1)?[0];
        if !(1..=2).contains(&version) {
            return Err(head.fault(format!("version 1 or 2, found {version}")));
        }
        let contents = length.checked_sub(CONTENTS_BYTES as u64);
        let contents = contents.filter(|at| *at >= CONTENTS_HEAD_BYTES as u64);
        let contents = contents.ok_or_else(|| head.fault("a table of contents"))?;
        let place = move |error| moved(error, contents);
        let mut offsets = [0u64; 6];
        let checked = Cursor::new(tail).checked(CONTENTS_BYTES - 4);
        let mut table = Cursor::new(checked.map_err(place)?);
        for offset in &mut offsets {
            *offset = table.u64().map_err(place)?;
            if *offset > contents {
                return Err(place(table.fault("offsets within the file")));
            }
        }
        let [symbols, series, rest @ ..] = offsets;
        // The series end where the next section begins.
        let end = rest.into_iter().filter(|offset| *offset > series).min();
        Ok(Self {
            version,
            symbols,
            series: (series, end.unwrap_or(contents)),
        })
    }
}

/// An error in a piece that begins at an offset of the file.
fn moved(error: WireError, begin: u64) -> WireError {
    match error {
        WireError::Malformed {
            format,
            position: Position::Byte(at),
            expected,
        } => {
            let at = usize::try_from(begin)
                .unwrap_or(usize::MAX)
                .saturating_add(at);
            WireError::at_byte(format, at, expected)
        }
        other => other,
    }
}

/// How many bytes the section of symbols has, from its first four.
pub fn symbols_bytes(head: &[u8]) -> Result<u64, WireError> {
    let length = Cursor::new(head).u32()?;
    Ok(4 + u64::from(length) + 4)
}

impl Symbols {
    /// Reads the whole section of symbols.
    pub fn decode(section: &[u8], contents: &Contents) -> Result<Self, WireError> {
        let place = |error| moved(error, contents.symbols);
        let mut cursor = Cursor::new(section);
        let length = cursor.u32().map_err(place)? as usize;
        let body = cursor.checked(length).map_err(place)?;
        let mut inside = Cursor::new(body);
        let mut symbols = Self {
            text: String::new(),
            ends: Vec::new(),
            offsets: Vec::new(),
        };
        for _ in 0..inside.u32().map_err(place)? {
            if contents.version == 1 {
                let offset = contents.symbols + 4 + inside.at as u64;
                let offset = u32::try_from(offset);
                let offset = offset.map_err(|_| place(inside.fault("an offset")))?;
                symbols.offsets.push(offset);
            }
            let length = inside.length().map_err(place)?;
            let text = std::str::from_utf8(inside.take(length).map_err(place)?);
            symbols.text += text.map_err(|_| place(inside.fault("UTF-8")))?;
            // The section has less than 2^32 bytes.
            symbols.ends.push(symbols.text.len() as u32);
        }
        Ok(symbols)
    }

    /// By number in version 2, by offset in version 1.
    fn get(&self, reference: u64, version: u8) -> Option<&str> {
        let reference = u32::try_from(reference).ok()?;
        let at = match version {
            1 => self.offsets.binary_search(&reference).ok()?,
            _ => reference as usize,
        };
        let end = *self.ends.get(at)? as usize;
        let begin = at
            .checked_sub(1)
            .map_or(0, |before| self.ends[before] as usize);
        self.text.get(begin..end)
    }
}

impl Index {
    /// A walk from the first series on.
    pub fn new(contents: &Contents, symbols: Symbols) -> Self {
        let (at, end) = contents.series;
        Self {
            version: contents.version,
            symbols,
            at,
            end,
        }
    }

    /// Where in the file the bytes are that [`Self::next_series`] is to see first.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// How far the series were read, in bytes of all.
    pub fn progress(&self) -> (u64, u64) {
        (self.at, self.end)
    }

    /// The next series, from bytes that begin at [`Self::position`].
    pub fn next_series(&mut self, bytes: &[u8]) -> Step {
        let padded = match self.version {
            2 => self.at.next_multiple_of(16),
            _ => self.at,
        };
        if padded >= self.end {
            return Step::End;
        }
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let padding = (padded - self.at) as usize;
        let mut cursor = Cursor::new(&bytes[..bytes.len().min(left)]);
        cursor.at = padding;
        let head = left.min(padding + LENGTH_BYTES_MAX);
        if bytes.len() < head {
            return Step::More(head);
        }
        let length = cursor.length();
        let whole = length
            .as_ref()
            .ok()
            .and_then(|l| l.checked_add(cursor.at + 4));
        // Without its length nothing behind it is found.
        let Some(whole) = whole.filter(|whole| *whole <= left.min(SERIES_BYTES_MAX)) else {
            let told = length.and_then(|_| Err(cursor.fault("a series within its section")));
            let error = told.map_err(|error| moved(error, self.at));
            self.at = self.end;
            return Step::Series(error);
        };
        if bytes.len() < whole {
            return Step::More(whole);
        }
        let reference = match self.version {
            1 => padded,
            _ => padded / 16,
        };
        let begin = cursor.at;
        let read = cursor.checked(whole - begin - 4).and_then(|body| {
            let parts = self.parts(reference, &mut Cursor::new(body));
            parts.map_err(|error| moved(error, begin as u64))
        });
        let read = read.map_err(|error| moved(error, self.at));
        self.at += whole as u64;
        Step::Series(read)
    }

    fn parts(&self, reference: u64, cursor: &mut Cursor<'_>) -> Result<BlockSeries, WireError> {
        let mut pairs = Vec::new();
        let symbol = |number| self.symbols.get(number, self.version);
        for _ in 0..cursor.uvarint()? {
            let (name, value) = (cursor.uvarint()?, cursor.uvarint()?);
            match (symbol(name), symbol(value)) {
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
