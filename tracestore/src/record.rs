//! The journal record: the spans of one request, self-contained.
//!
//! Invariant: `decode(encode(batch))` holds the same spans with the same resources and scopes.
//! Bytes: `docs/formats/span-record.md`.

use obs_model::SpanBatch;
use obs_storage::Corrupt;
use obs_storage::codec::{Reader, bytes, varint};

use crate::block::{self, Block, Filling};
use crate::row::{self, Row};

/// First byte of a record: its version.
const VERSION: u8 = 1;
/// Most rows of one record that is read; a body of 256 MiB cannot hold as many honest spans.
const ROWS_MAX: usize = 16 << 20;

/// Appends a batch that went through `admit` as a record for the journal.
pub fn encode(batch: &SpanBatch, out: &mut Vec<u8>) {
    let rows = row::rows(batch);
    let mut ends = Vec::new();
    let mut filling = Filling::default();
    for (index, row) in rows.iter().enumerate() {
        if filling.add(row) || index + 1 == rows.len() {
            ends.push(index + 1);
            filling = Filling::default();
        }
    }
    out.push(VERSION);
    varint::put(ends.len() as u64, out);
    let mut start = 0;
    for end in ends {
        block::encode(&rows[start..end], bytes::LEVEL_FAST, out);
        start = end;
    }
}

/// Reads a record.
pub fn decode(record: &[u8]) -> Result<SpanBatch, Corrupt> {
    read(record).map(row::batch)
}

/// The rows of a record, in order.
pub(crate) fn read(record: &[u8]) -> Result<Vec<Row>, Corrupt> {
    let mut reader = Reader::new("span record", record);
    let version = reader.u8()?;
    if version != VERSION {
        return Err(reader.corrupt(format!("version {VERSION}, found {version}")));
    }
    let blocks = reader.count(reader.remaining())?;
    let mut rows = Vec::new();
    for _ in 0..blocks {
        let block = Block::read(&mut reader)?;
        if rows.len() + block.len() > ROWS_MAX {
            return Err(reader.corrupt(format!("at most {ROWS_MAX} spans")));
        }
        rows.extend((0..block.len()).map(|row| block.row(row)));
    }
    reader.finish()?;
    Ok(rows)
}
