//! Writes the sections of one part, trace by trace. Bytes: `docs/formats/span-part.md`.
//!
//! Invariants: rows of a trace stand together, and in one block where they fit into one; every
//! block, filter and zone is derived from the very rows that it covers, or is the copy of a block
//! of another part with its filter and zone. Only one block is held.

use std::collections::HashMap;
use std::sync::Arc;

use hashbrown::HashTable;
use obs_model::{TimeRange, Timestamp, TraceId};
use obs_storage::codec::{bytes, ints, varint};
use obs_storage::{Corrupt, PartWriter};

use crate::block::{Block, ROWS_MAX};
use crate::build::{Builder, Map};
use crate::catalog::Catalog;
use crate::filter::block_terms;
use crate::part::{Part, VERSION, block_name, id_hash};
use crate::{bloom, encode};

/// Rows after which a block of a part is closed: large enough to compress well, small enough to be
/// read for one trace.
pub(crate) const PART_ROWS: usize = 4096;
const _: () = assert!(PART_ROWS <= ROWS_MAX);
/// Blocks that are mapped at a time; beyond them mapping starts again, which only costs time.
const MAPS_MAX: usize = 256;

/// Columns of the index: one value for each block.
#[derive(Default)]
struct Zones {
    rows: Vec<i64>,
    starts: Vec<i64>,
    ends: Vec<i64>,
    durations: Vec<i64>,
    filter_ends: Vec<i64>,
}

/// Columns of the trace table: one value for each trace, in order of writing.
#[derive(Default)]
struct Table {
    ids: Vec<TraceId>,
    starts: Vec<i64>,
    lengths: Vec<i64>,
    rows: Vec<i64>,
}

impl Table {
    fn extend(&mut self, traces: &[(TraceId, TimeRange, usize)]) {
        for (id, range, rows) in traces {
            self.ids.push(*id);
            self.starts.push(range.start.nanos());
            let length = range.end.nanos().wrapping_sub(range.start.nanos());
            self.lengths.push(length);
            self.rows.push(*rows as i64);
        }
    }
}

/// A part in the making.
pub(crate) struct Writer<'a> {
    out: &'a mut PartWriter,
    builder: Builder,
    /// By address; a block is held as long as it is in here.
    maps: HashMap<usize, (Arc<Block>, Map)>,
    encoder: bytes::Encoder,
    zones: Zones,
    filters: Vec<u8>,
    table: Table,
    /// Traces whose first row is in the block that is made.
    pending: Vec<(TraceId, TimeRange, usize)>,
    /// Whether the block that is made goes on with a trace of the block before.
    goes_on: bool,
    catalog: Catalog,
    /// Whether what blocks say goes into the catalog, which did not get it otherwise.
    catalogs_blocks: bool,
    rows: u64,
    starts: Option<TimeRange>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(out: &'a mut PartWriter) -> Self {
        Self {
            out,
            builder: Builder::default(),
            maps: HashMap::new(),
            encoder: bytes::Encoder::new(bytes::LEVEL),
            zones: Zones::default(),
            filters: Vec::new(),
            table: Table::default(),
            pending: Vec::new(),
            goes_on: false,
            catalog: Catalog::default(),
            catalogs_blocks: true,
            rows: 0,
            starts: None,
        }
    }

    /// A part whose rows are those of other parts, all of them: it says what they say.
    pub(crate) fn of_parts(out: &'a mut PartWriter, parts: &[&Part]) -> Result<Self, Corrupt> {
        let mut writer = Self::new(out);
        for part in parts {
            part.catalog(&mut writer.catalog)?;
            let starts = part.starts();
            writer.starts = Some(writer.starts.map_or(starts, |r| r.union(starts)));
        }
        writer.catalogs_blocks = false;
        Ok(writer)
    }

    /// Adds the rows of one trace: each identity once, in order of start.
    pub(crate) fn trace(&mut self, id: TraceId, rows: &[(Arc<Block>, usize)]) {
        let ranges = rows.iter().map(|(block, row)| block.range(*row));
        let Some(range) = ranges.reduce(TimeRange::union) else {
            return;
        };
        if self.builder.len() > 0 && self.builder.len() + rows.len() > PART_ROWS {
            self.close();
        }
        self.pending.push((id, range, rows.len()));
        for (index, (block, row)) in rows.iter().enumerate() {
            assert!(block.trace_id(*row) == id, "rows of one trace");
            let start = Timestamp::from_nanos(block.starts[*row]);
            let at = TimeRange::new(start, start);
            self.starts = Some(self.starts.map_or(at, |r| r.including(start)));
            let address = Arc::as_ptr(block).addr();
            if self.maps.len() >= MAPS_MAX && !self.maps.contains_key(&address) {
                self.maps.clear();
            }
            let entry = self.maps.entry(address);
            let (_, map) = entry.or_insert_with(|| (Arc::clone(block), Map::default()));
            self.builder.copy(block, *row, map);
            if self.builder.is_full() || self.builder.len() >= PART_ROWS {
                self.close();
                self.goes_on = index + 1 < rows.len();
            }
        }
        self.rows += rows.len() as u64;
    }

    /// Adds a block of another part as it is, with all its traces: id, range, rows. It comes before
    /// the traces of the block that is made.
    pub(crate) fn copy(
        &mut self,
        part: &Part,
        block: usize,
        traces: &[(TraceId, TimeRange, usize)],
    ) -> Result<(), Corrupt> {
        if self.goes_on {
            self.close();
        }
        let copied = part.copied(block)?;
        self.out
            .section(&block_name(self.zones.rows.len()), copied.section);
        self.filters.extend_from_slice(copied.filter);
        self.zone(copied.rows, copied.hull, copied.duration_max);
        self.table.extend(traces);
        self.rows += copied.rows as u64;
        Ok(())
    }

    fn zone(&mut self, rows: usize, hull: TimeRange, duration_max: i64) {
        self.zones.rows.push(rows as i64);
        self.zones.starts.push(hull.start.nanos());
        self.zones.ends.push(hull.end.nanos());
        self.zones.durations.push(duration_max);
        self.zones.filter_ends.push(self.filters.len() as i64);
    }

    fn close(&mut self) {
        let block = std::mem::take(&mut self.builder).finish();
        self.maps.clear();
        self.goes_on = false;
        self.table.extend(&std::mem::take(&mut self.pending));
        let Some(range) = block.hull() else {
            return;
        };
        let mut bytes = Vec::new();
        encode::in_pieces(&block, &mut self.encoder, &mut bytes);
        self.out.section(&block_name(self.zones.rows.len()), &bytes);
        let mut terms = HashTable::new();
        block_terms(&block, &mut |term| {
            terms.entry(term, |t| *t == term, |t| *t).or_insert(term);
        });
        bloom::encode(terms.into_iter(), &mut self.filters);
        if self.catalogs_blocks {
            self.catalog.add_block(&block);
        }
        let durations = (0..block.len()).map(|row| block.duration(row));
        self.zone(block.len(), range, durations.max().unwrap_or(0));
    }

    /// Ends the part. Without rows nothing is written.
    pub(crate) fn finish(mut self) {
        self.close();
        let Some(range) = self.starts else {
            return;
        };
        self.out.section("filters", &self.filters);
        let mut index = vec![VERSION];
        varint::put(self.zones.rows.len() as u64, &mut index);
        let zones = &self.zones;
        let columns = [&zones.rows, &zones.starts, &zones.ends, &zones.durations];
        for column in columns.into_iter().chain([&zones.filter_ends]) {
            ints::encode(column, &mut index);
        }
        self.out.section("index", &index);
        self.traces();
        let (mut content, mut catalog) = (Vec::new(), Vec::new());
        self.catalog.encode(&mut content);
        bytes::encode(&content, bytes::LEVEL, &mut catalog);
        self.out.section("catalog", &catalog);
        self.out.rows(self.rows, range);
    }

    fn traces(&mut self) {
        let mut table = Vec::new();
        let columns = [&self.table.starts, &self.table.lengths, &self.table.rows];
        columns
            .into_iter()
            .for_each(|c| ints::encode(c, &mut table));
        self.out.section("traces", &table);
        let ids = &self.table.ids;
        let count = u32::try_from(ids.len()).expect("a part has fewer than 2^32 traces");
        let mut order: Vec<u32> = (0..count).collect();
        order.sort_unstable_by_key(|o| ids[*o as usize]);
        let mut sorted = Vec::with_capacity(20 * ids.len());
        order
            .iter()
            .for_each(|o| sorted.extend_from_slice(&ids[*o as usize].0));
        order
            .iter()
            .for_each(|o| sorted.extend_from_slice(&o.to_le_bytes()));
        self.out.section("ids", &sorted);
        let mut filter = Vec::new();
        bloom::encode(ids.iter().map(|id| id_hash(*id)), &mut filter);
        self.out.section("ids.filter", &filter);
    }
}
