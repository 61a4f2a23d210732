//! The journal record: the spans of one request, self-contained.
//!
//! Invariant: `decode(encode(batch))` holds the same spans with the same resources and scopes.
//! Bytes: `docs/formats/span-record.md`.

use std::fmt;
use std::sync::Arc;

use obs_model::SpanBatch;
use obs_model::packed::{Arriving, PackedSpans};
use obs_storage::codec::{Reader, varint};
use obs_storage::{Corrupt, Draft, Target};

use crate::block::Block;
use crate::build::{Builder, PackedKeys};
use crate::encode as write;
use crate::kind::Spans;
use crate::memory::Memory;
use crate::row;

/// First byte of a record: its version.
const VERSION: u8 = 2;
/// Most rows of one record that is read; a body of 256 MiB cannot hold as many honest spans.
const ROWS_MAX: usize = 16 << 20;

/// A batch on its way through the journal into memory: it becomes columns once, which are written
/// and then held.
pub struct SpanDraft {
    blocks: Vec<Block>,
}

impl fmt::Debug for SpanDraft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpanDraft({} blocks)", self.blocks.len())
    }
}

impl SpanDraft {
    /// The columns of a batch that went through `admit`.
    pub fn new(batch: &Arriving) -> Self {
        let blocks = match batch {
            Arriving::Whole(batch) => blocks(batch),
            Arriving::Packed(batch) => packed(batch),
        };
        Self { blocks }
    }

    /// The blocks that it made.
    #[cfg(test)]
    pub(crate) fn into_blocks(self) -> Vec<Block> {
        self.blocks
    }

    /// About how many bytes of the journal it will take, before compression.
    pub fn bytes(&self) -> usize {
        self.blocks.iter().map(Block::bytes).sum()
    }
}

impl Draft<Spans> for SpanDraft {
    fn encode(&mut self, _: &Target<'_, Spans>, record: &mut Vec<u8>) {
        put(&self.blocks, record);
    }

    fn apply(&mut self, memory: &Memory) -> Result<(), Corrupt> {
        memory.push(std::mem::take(&mut self.blocks));
        Ok(())
    }

    fn abort(&mut self, _: &Memory) {
        self.blocks.clear();
    }
}

/// Appends a batch that went through `admit` as a record for the journal.
pub fn encode(batch: &SpanBatch, out: &mut Vec<u8>) {
    put(&blocks(batch), out);
}

fn blocks(batch: &SpanBatch) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut builder = Builder::default();
    for group in &batch.resources {
        let resource = Arc::new(group.resource.clone());
        for inner in &group.scopes {
            let scope = Arc::new(inner.scope.clone());
            for span in &inner.spans {
                builder.push(&resource, &scope, span);
                if builder.is_full() {
                    blocks.push(std::mem::take(&mut builder).finish());
                }
            }
        }
    }
    if builder.len() > 0 {
        blocks.push(builder.finish());
    }
    blocks
}

fn packed(batch: &PackedSpans) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut builder = Builder::default();
    let mut keys = PackedKeys::default();
    for group in &batch.resources {
        for inner in &group.scopes {
            for span in &inner.spans {
                builder.pack((&group.resource, &inner.scope), batch, span, &mut keys);
                if builder.is_full() {
                    blocks.push(std::mem::take(&mut builder).finish());
                    keys = PackedKeys::default();
                }
            }
        }
    }
    if builder.len() > 0 {
        blocks.push(builder.finish());
    }
    blocks
}

pub(crate) fn put(blocks: &[Block], out: &mut Vec<u8>) {
    out.push(VERSION);
    varint::put(blocks.len() as u64, out);
    for block in blocks {
        write::frame(block, out);
    }
}

/// Reads a record.
pub fn decode(record: &[u8]) -> Result<SpanBatch, Corrupt> {
    let mut rows = Vec::new();
    for block in read(record)? {
        rows.extend((0..block.len()).map(|row| block.row(row)));
    }
    Ok(row::batch(rows))
}

/// The blocks of a record, in order.
pub(crate) fn read(record: &[u8]) -> Result<Vec<Block>, Corrupt> {
    let mut reader = Reader::new("span record", record);
    let version = reader.u8()?;
    if version != VERSION {
        return Err(reader.corrupt(format!("version {VERSION}, found {version}")));
    }
    let count = reader.count(reader.remaining())?;
    let mut blocks = Vec::new();
    let mut rows = 0;
    for _ in 0..count {
        let block = Block::read(&mut reader)?;
        rows += block.len();
        if rows > ROWS_MAX {
            return Err(reader.corrupt(format!("at most {ROWS_MAX} spans")));
        }
        blocks.push(block);
    }
    reader.finish()?;
    Ok(blocks)
}
