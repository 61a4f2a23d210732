//! Writes the sections of one part, trace by trace. Bytes: `docs/formats/span-part.md`.
//!
//! Invariants: traces come in order of their start, rows of a trace stand together; every block,
//! filter and zone is derived from the very rows that it covers. Only one block is held.

use std::collections::HashSet;
use std::sync::Arc;

use obs_model::{TimeRange, TraceId};
use obs_storage::PartWriter;
use obs_storage::codec::{bytes, ints, varint};

use crate::block::{self, Filling};
use crate::bloom;
use crate::catalog::Catalog;
use crate::filter::{resource_terms, scope_terms, span_terms};
use crate::part::{VERSION, block_name, id_hash};
use crate::row::{Row, hull};

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

/// A part in the making.
pub(crate) struct Writer<'a> {
    out: &'a mut PartWriter,
    pending: Vec<Row>,
    filling: Filling,
    zones: Zones,
    filters: Vec<u8>,
    table: Table,
    catalog: Catalog,
    rows: u64,
    starts: Option<TimeRange>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(out: &'a mut PartWriter) -> Self {
        Self {
            out,
            pending: Vec::new(),
            filling: Filling::default(),
            zones: Zones::default(),
            filters: Vec::new(),
            table: Table::default(),
            catalog: Catalog::default(),
            rows: 0,
            starts: None,
        }
    }

    /// Adds the rows of one trace: each identity once, in order of start.
    pub(crate) fn trace(&mut self, id: TraceId, rows: Vec<Row>) {
        let Some(range) = hull(&rows) else {
            return;
        };
        assert!(
            rows.iter().all(|r| r.span.trace_id == id),
            "rows of one trace"
        );
        self.table.ids.push(id);
        self.table.starts.push(range.start.nanos());
        let length = range.end.nanos().wrapping_sub(range.start.nanos());
        self.table.lengths.push(length);
        self.table.rows.push(rows.len() as i64);
        for row in rows {
            let start = row.span.start;
            let at = TimeRange::new(start, start);
            self.starts = Some(self.starts.map_or(at, |r| r.including(start)));
            self.rows += 1;
            let full = self.filling.add(&row);
            self.pending.push(row);
            if full {
                self.close();
            }
        }
    }

    fn close(&mut self) {
        let rows = std::mem::take(&mut self.pending);
        self.filling = Filling::default();
        let Some(range) = hull(&rows) else {
            return;
        };
        let mut bytes = Vec::new();
        block::encode_pieces(&rows, bytes::LEVEL, &mut bytes);
        self.out.section(&block_name(self.zones.rows.len()), &bytes);
        let mut terms = HashSet::new();
        let mut visit = |term: u64| {
            terms.insert(term);
        };
        let mut seen = HashSet::new();
        for row in &rows {
            if seen.insert(Arc::as_ptr(&row.resource).addr()) {
                resource_terms(&row.resource, &mut visit);
            }
            if seen.insert(Arc::as_ptr(&row.scope).addr()) {
                scope_terms(&row.scope, &mut visit);
            }
            span_terms(&row.span, &mut visit);
            self.catalog.add(row);
        }
        self.catalog.release();
        bloom::encode(terms.into_iter(), &mut self.filters);
        let durations = rows.iter().map(|r| r.span.duration_nanos());
        self.zones.rows.push(rows.len() as i64);
        self.zones.starts.push(range.start.nanos());
        self.zones.ends.push(range.end.nanos());
        self.zones.durations.push(durations.max().unwrap_or(0));
        self.zones.filter_ends.push(self.filters.len() as i64);
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
