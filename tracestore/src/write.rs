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
    carried: Vec<i64>,
    traces: Vec<i64>,
    table_ends: Vec<i64>,
}

/// The traces in order of writing: their ids, and what else is known of them, block by block.
#[derive(Default)]
struct Table {
    ids: Vec<TraceId>,
    bytes: Vec<u8>,
}

impl Table {
    /// Adds the traces that begin in a block.
    fn add(&mut self, traces: &[(TraceId, TimeRange, usize)]) {
        let length = |range: &TimeRange| range.end.nanos().wrapping_sub(range.start.nanos());
        let of = |value: &dyn Fn(&TimeRange, usize) -> i64| -> Vec<i64> {
            traces
                .iter()
                .map(|(_, range, rows)| value(range, *rows))
                .collect()
        };
        self.ids.extend(traces.iter().map(|(id, ..)| *id));
        ints::encode(&of(&|range, _| range.start.nanos()), &mut self.bytes);
        ints::encode(&of(&|range, _| length(range)), &mut self.bytes);
        ints::encode(&of(&|_, rows| rows as i64), &mut self.bytes);
    }
}

/// What a block says of itself in the index.
struct Zone {
    rows: usize,
    hull: TimeRange,
    duration_max: i64,
    /// Rows whose trace began in an earlier block.
    carried: usize,
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
    /// Its rows before the first trace that begins in it.
    carried: usize,
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
            carried: 0,
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
        if self.pending.is_empty() {
            self.carried = self.builder.len();
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
        let zone = Zone {
            rows: copied.rows,
            hull: copied.hull,
            duration_max: copied.duration_max,
            carried: 0,
        };
        self.zone(zone, traces);
        self.rows += copied.rows as u64;
        Ok(())
    }

    /// Ends a block in which traces begin.
    fn zone(&mut self, zone: Zone, traces: &[(TraceId, TimeRange, usize)]) {
        self.table.add(traces);
        let zones = &mut self.zones;
        zones.rows.push(zone.rows as i64);
        zones.starts.push(zone.hull.start.nanos());
        zones.ends.push(zone.hull.end.nanos());
        zones.durations.push(zone.duration_max);
        zones.filter_ends.push(self.filters.len() as i64);
        zones.carried.push(zone.carried as i64);
        zones.traces.push(traces.len() as i64);
        zones.table_ends.push(self.table.bytes.len() as i64);
    }

    fn close(&mut self) {
        let block = std::mem::take(&mut self.builder).finish();
        self.maps.clear();
        self.goes_on = false;
        let traces = std::mem::take(&mut self.pending);
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
        let carried = if traces.is_empty() {
            block.len()
        } else {
            self.carried
        };
        let zone = Zone {
            rows: block.len(),
            hull: range,
            duration_max: durations.max().unwrap_or(0),
            carried,
        };
        self.zone(zone, &traces);
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
        let also = [
            &zones.filter_ends,
            &zones.carried,
            &zones.traces,
            &zones.table_ends,
        ];
        for column in columns.into_iter().chain(also) {
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
        self.out.section("traces", &self.table.bytes);
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
