//! One batch of log records as one self-contained journal record; `docs/formats/log-record.md`.
//!
//! Invariant: what is decoded is what was encoded, byte for byte and in order; a record that is
//! not wholly readable is refused as a whole.

use std::cell::RefCell;
use std::ops::Range;

use hashbrown::HashTable;
use obs_model::{Labels, LogBatch, LogRecord, LogStream, Timestamp};
use obs_storage::Corrupt;
use obs_storage::codec::{Reader, bytes, put_bytes, varint};

/// First byte of a record.
const VERSION: u8 = 1;
/// Largest record once decompressed; four times the largest request body that is accepted.
pub(crate) const RECORD_BYTES_MAX: usize = 1 << 30;
/// More than the numbers of one row, set or stream take, lengths included.
pub(crate) const ROW_BYTES: usize = 32;

thread_local! {
    /// Rows and body of the last batch: their room is used again.
    static SCRATCH: RefCell<[Vec<u8>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// Room that is kept.
const SCRATCH_BYTES_KEPT: usize = 1 << 20;

/// Appends a batch.
pub fn encode(batch: &LogBatch, out: &mut Vec<u8>) {
    SCRATCH.with_borrow_mut(|[rows, body]| {
        put_body(batch, rows, body);
        out.push(VERSION);
        bytes::encode_fast(body, out);
        for scratch in [rows, body] {
            scratch.clear();
            scratch.shrink_to(SCRATCH_BYTES_KEPT);
        }
    });
}

/// Appends what is compressed.
fn put_body(batch: &LogBatch, rows: &mut Vec<u8>, body: &mut Vec<u8>) {
    let mut sets = Sets::default();
    let mut lines = 0;
    varint::put(batch.streams.len() as u64, rows);
    for stream in &batch.streams {
        varint::put(sets.index(&stream.labels), rows);
        varint::put(stream.records.len() as u64, rows);
        let mut last = 0i64;
        for record in &stream.records {
            let time = record.time.nanos();
            varint::put_signed(time.wrapping_sub(last), rows);
            varint::put(sets.index(&record.metadata), rows);
            varint::put(record.line.len() as u64, rows);
            last = time;
            lines += record.line.len();
        }
    }
    body.reserve(sets.bytes + rows.len() + lines);
    varint::put(sets.all.len() as u64, body);
    for set in &sets.all {
        put_bytes(set.packed(), body);
    }
    body.append(rows);
    for record in batch.streams.iter().flat_map(|s| &s.records) {
        body.extend_from_slice(&record.line);
    }
}

/// Reads a batch back.
pub fn decode(record: &[u8]) -> Result<LogBatch, Corrupt> {
    let decoded = Decoded::read(record)?;
    let mut streams = Vec::with_capacity(decoded.streams.len());
    for stream in &decoded.streams {
        let records = stream.rows.iter().map(|row| LogRecord {
            time: Timestamp::from_nanos(row.time),
            line: decoded.line(row).to_vec(),
            metadata: decoded.sets[row.metadata].clone(),
        });
        streams.push(LogStream {
            labels: decoded.sets[stream.labels].clone(),
            records: records.collect(),
        });
    }
    Ok(LogBatch { streams })
}

/// The distinct label and metadata sets of a batch, in order of first use.
#[derive(Default)]
struct Sets<'a> {
    all: Vec<&'a Labels>,
    seen: HashTable<(u64, u64)>,
    /// The set that was asked for last: rows mostly share that of the row before.
    last: Option<(&'a Labels, u64)>,
    bytes: usize,
}

impl<'a> Sets<'a> {
    fn index(&mut self, labels: &'a Labels) -> u64 {
        let address = |labels: &Labels| labels.packed().as_ptr();
        if let Some((_, index)) = self.last.filter(|(l, _)| address(l) == address(labels)) {
            return index;
        }
        let hash = labels.hash64();
        let same = |(known, at): &(u64, u64)| *known == hash && self.all[*at as usize] == labels;
        let index = match self.seen.find(hash, same) {
            Some((_, index)) => *index,
            None => {
                let index = self.all.len() as u64;
                self.seen
                    .insert_unique(hash, (hash, index), |(hash, _)| *hash);
                self.all.push(labels);
                self.bytes += labels.packed().len() + varint::BYTES_MAX;
                index
            }
        };
        self.last = Some((labels, index));
        index
    }
}

/// A record that was read and checked, before it goes anywhere.
pub(crate) struct Decoded {
    /// Label and metadata sets, each once.
    pub(crate) sets: Vec<Labels>,
    /// The streams as they came; a stream may occur more than once.
    pub(crate) streams: Vec<DecodedStream>,
    body: Vec<u8>,
}

/// The rows of one stream.
pub(crate) struct DecodedStream {
    /// Index of its labels in `sets`.
    pub(crate) labels: usize,
    /// Its rows in order of arrival.
    pub(crate) rows: Vec<DecodedRow>,
}

/// One row; its line stands in the record's body.
pub(crate) struct DecodedRow {
    /// Nanoseconds since the epoch.
    pub(crate) time: i64,
    /// Index of its structured metadata in `sets`.
    pub(crate) metadata: usize,
    line: Range<usize>,
}

impl Decoded {
    /// Reads and checks a whole record.
    pub(crate) fn read(record: &[u8]) -> Result<Self, Corrupt> {
        let mut outer = Reader::new("log record", record);
        let version = outer.u8()?;
        if version != VERSION {
            return Err(outer.corrupt(format!("version {VERSION}, found {version}")));
        }
        let body = bytes::decode(&mut outer, RECORD_BYTES_MAX)?;
        outer.finish()?;

        let mut reader = Reader::new("log record/body", &body);
        let count = reader.count(reader.remaining())?;
        let mut sets = Vec::new();
        for _ in 0..count {
            let packed = reader.bytes(reader.remaining())?;
            let set = Labels::from_packed(packed).map_err(|e| reader.corrupt(e.to_string()))?;
            sets.push(set);
        }
        let count = reader.count(reader.remaining())?;
        let mut streams = Vec::new();
        let mut end = 0usize;
        for _ in 0..count {
            streams.push(read_stream(&mut reader, sets.len(), &mut end)?);
        }
        // Lengths were summed from zero; now it is known where the lines begin.
        let begin = reader.position();
        if reader.remaining() != end {
            return Err(reader.corrupt(format!("{end} bytes of lines")));
        }
        for row in streams.iter_mut().flat_map(|s| &mut s.rows) {
            row.line = begin + row.line.start..begin + row.line.end;
        }
        Ok(Self {
            sets,
            streams,
            body,
        })
    }

    /// The bytes of a row's line.
    pub(crate) fn line(&self, row: &DecodedRow) -> &[u8] {
        &self.body[row.line.clone()]
    }
}

fn read_stream(
    reader: &mut Reader<'_>,
    sets: usize,
    end: &mut usize,
) -> Result<DecodedStream, Corrupt> {
    let index = |reader: &mut Reader<'_>| {
        let index = reader.count(sets)?;
        if index == sets {
            return Err(reader.corrupt(format!("an index below {sets}")));
        }
        Ok(index)
    };
    let labels = index(reader)?;
    let count = reader.count(reader.remaining())?;
    let mut rows = Vec::new();
    let mut time = 0i64;
    for _ in 0..count {
        time = time.wrapping_add(reader.signed()?);
        let metadata = index(reader)?;
        let start = *end;
        let length = reader.count(RECORD_BYTES_MAX)?;
        *end = start.saturating_add(length);
        rows.push(DecodedRow {
            time,
            metadata,
            line: start..*end,
        });
    }
    Ok(DecodedStream { labels, rows })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::batches;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn round_trips(batch in batches()) {
            let mut out = Vec::new();
            encode(&batch, &mut out);
            assert_eq!(decode(&out), Ok(batch));
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_read(
            mut bytes: Vec<u8>,
            batch in batches(),
            flip in any::<(usize, u8)>(),
        ) {
            let check = |bytes: &[u8]| {
                if let Ok(batch) = decode(bytes) {
                    let mut out = Vec::new();
                    encode(&batch, &mut out);
                    assert_eq!(decode(&out), Ok(batch));
                }
            };
            check(&bytes);
            let mut framed = vec![VERSION];
            bytes::encode_raw(&bytes, &mut framed);
            check(&framed);
            bytes.clear();
            encode(&batch, &mut bytes);
            let index = flip.0 % bytes.len();
            bytes[index] ^= flip.1;
            check(&bytes);
            let packed = decode(&bytes[..index]);
            assert!(packed.is_err());
        }
    }
}
