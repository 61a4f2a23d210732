//! An opened part: its zones, how a trace is found in it, and its blocks.
//!
//! Invariant: only the zones stay in memory; everything else is read when asked and checked then.

use obs_model::{TimeRange, Timestamp, TraceId};
use obs_storage::codec::{Reader, bytes};
use obs_storage::{Corrupt, PartReader};
use xxhash_rust::xxh3::xxh3_64;

use crate::attributes::read_ints;
use crate::block::{Block, Pieces, ROWS_MAX};
use crate::bloom;
use crate::catalog::Catalog;
use crate::filter::Hints;
use crate::shared::Shared;

/// First byte of the section `index`: the version of all sections.
pub(crate) const VERSION: u8 = 4;
/// Bytes of a trace in the section `ids`: its id and its place in order of start.
const ID_BYTES: usize = 20;
/// Largest catalog that is read; the bounds of its writer give less.
const CATALOG_BYTES_MAX: usize = 256 << 20;

/// The section of a block.
pub(crate) fn block_name(number: usize) -> String {
    format!("block.{number}")
}

/// What the filter of ids holds.
pub(crate) fn id_hash(id: TraceId) -> u64 {
    xxh3_64(&id.0)
}

/// What is known about a block without reading it.
#[derive(Clone, Copy, Debug)]
struct Zone {
    /// Rows of this block and all before it.
    rows_end: usize,
    hull: TimeRange,
    duration_max: i64,
    filter_end: usize,
    /// Rows at its begin whose trace began in an earlier block.
    carried: usize,
    /// Traces that begin in this block and all before it.
    traces_end: usize,
    /// Where its piece of the section `traces` ends.
    table_end: usize,
}

/// An opened part of spans.
#[derive(Debug)]
pub struct Part {
    reader: PartReader,
    zones: Vec<Zone>,
    /// From the first start to the last end of any span.
    hull: TimeRange,
    traces: usize,
    shared: Shared,
}

/// A block of a part on its way into another.
pub(crate) struct Copied<'a> {
    pub(crate) section: &'a [u8],
    pub(crate) filter: &'a [u8],
    pub(crate) rows: usize,
    pub(crate) hull: TimeRange,
    pub(crate) duration_max: i64,
}

/// The traces that begin in a block, in order of rows.
#[derive(Debug)]
pub(crate) struct Traces {
    /// The place of the first one among those of the part.
    first: usize,
    /// The first row of the first one, as a number within the part.
    first_row: usize,
    starts: Vec<i64>,
    lengths: Vec<i64>,
    ends: Vec<usize>,
}

impl Traces {
    /// Number of traces.
    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    /// The number of a trace in here, given its place among those of the part.
    pub(crate) fn number(&self, place: usize) -> Option<usize> {
        place.checked_sub(self.first).filter(|n| *n < self.len())
    }

    /// A range that holds all spans of a trace in this part.
    pub(crate) fn hull(&self, number: usize) -> TimeRange {
        let start = self.starts[number];
        let end = start.wrapping_add(self.lengths[number]);
        TimeRange::new(Timestamp::from_nanos(start), Timestamp::from_nanos(end))
    }

    /// The rows of a trace, as numbers within the part; the last one may go on in later blocks.
    pub(crate) fn rows(&self, number: usize) -> std::ops::Range<usize> {
        let before = number.checked_sub(1).map(|n| self.ends[n]);
        before.unwrap_or(self.first_row)..self.ends[number]
    }
}

impl Part {
    /// Reads and checks the zones.
    pub(crate) fn open(reader: PartReader) -> Result<Self, Corrupt> {
        let place = format!("{}/index", reader.name());
        let mut index = Reader::new(&place, reader.section("index")?);
        let version = index.u8()?;
        if version != VERSION {
            return Err(index.corrupt(format!("version {VERSION}, found {version}")));
        }
        let (zones, hull) = read_zones(&reader, &mut index)?;
        index.finish()?;
        let traces = zones.last().map_or(0, |z| z.traces_end);
        if section_bytes(&reader, "ids") != traces * ID_BYTES {
            return Err(reader.corrupt(0, "an id for each trace"));
        }
        Ok(Self {
            reader,
            zones,
            hull,
            traces,
            shared: Shared::default(),
        })
    }

    /// What it shares with other parts.
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// From the first start to the last end of any span.
    pub(crate) fn hull(&self) -> TimeRange {
        self.hull
    }

    /// From the first to the last start of a span.
    pub(crate) fn starts(&self) -> TimeRange {
        self.reader.range()
    }

    /// A block as it stands, with what is known of it.
    pub(crate) fn copied(&self, number: usize) -> Result<Copied<'_>, Corrupt> {
        let zone = self.zones[number];
        let start = number
            .checked_sub(1)
            .map_or(0, |b| self.zones[b].filter_end);
        Ok(Copied {
            section: self.reader.section(&block_name(number))?,
            // `open` has checked that the ends ascend and lie inside.
            filter: &self.reader.section("filters")?[start..zone.filter_end],
            rows: self.block_rows(number).len(),
            hull: zone.hull,
            duration_max: zone.duration_max,
        })
    }

    /// Number of traces.
    pub(crate) fn trace_count(&self) -> usize {
        self.traces
    }

    /// Reads the table of the traces that begin in a block.
    pub(crate) fn table(&self, block: usize) -> Result<Traces, Corrupt> {
        let (first, start) = block.checked_sub(1).map_or((0, 0), |b| {
            let zone = &self.zones[b];
            (zone.traces_end, zone.table_end)
        });
        let zone = &self.zones[block];
        let count = zone.traces_end - first;
        let place = format!("{}/traces", self.reader.name());
        // `open` has checked that the ends ascend and lie inside.
        let bytes = &self.reader.section("traces")?[start..zone.table_end];
        let mut reader = Reader::new(&place, bytes);
        let starts = read_ints(&mut reader, count)?;
        let lengths = read_ints(&mut reader, count)?;
        let counts = read_ints(&mut reader, count)?;
        let rows = self.block_rows(block);
        let first_row = rows.start + zone.carried;
        let mut end = first_row;
        let mut ends = Vec::with_capacity(counts.len());
        for count in counts {
            let begin = end;
            end = usize::try_from(count).map_or(usize::MAX, |c| end.saturating_add(c));
            if begin >= rows.end || end as u64 > self.reader.rows() {
                return Err(reader.corrupt("traces that begin in their block"));
            }
            ends.push(end);
        }
        if end < rows.end {
            return Err(reader.corrupt("traces with all rows of their block"));
        }
        reader.finish()?;
        Ok(Traces {
            first,
            first_row,
            starts,
            lengths,
            ends,
        })
    }

    /// The block in which a trace begins, by its place.
    pub(crate) fn block_of_trace(&self, place: usize) -> usize {
        self.zones.partition_point(|z| z.traces_end <= place)
    }

    /// Rows at the begin of a block whose trace began in an earlier one.
    pub(crate) fn carried(&self, block: usize) -> usize {
        self.zones[block].carried
    }

    /// The traces by id, each with its place in order of start.
    pub(crate) fn ids(&self) -> Result<Ids<'_>, Corrupt> {
        let bytes = self.reader.section("ids")?;
        let (ids, places) = bytes.split_at(16 * self.traces);
        Ok(Ids {
            part: self,
            ids,
            places,
        })
    }

    /// The place of a trace in order of start.
    pub(crate) fn find(&self, id: TraceId) -> Result<Option<usize>, Corrupt> {
        if !bloom::may_have(self.reader.section("ids.filter")?, id_hash(id)) {
            return Ok(None);
        }
        let ids = self.ids()?;
        let (mut low, mut high) = (0, self.traces);
        while low < high {
            let middle = (low + high) / 2;
            if ids.id(middle) < id {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if low < self.traces && ids.id(low) == id {
            return ids.place(low).map(Some);
        }
        Ok(None)
    }

    /// The block of a row and its number in there.
    pub(crate) fn block_of(&self, row: usize) -> (usize, usize) {
        let block = self.zones.partition_point(|z| z.rows_end <= row);
        let start = block.checked_sub(1).map_or(0, |b| self.zones[b].rows_end);
        (block, row - start)
    }

    /// Reads a block.
    pub(crate) fn block(&self, number: usize) -> Result<Block, Corrupt> {
        let name = block_name(number);
        let place = format!("{}/{name}", self.reader.name());
        let mut reader = Reader::new(&place, self.reader.section(&name)?);
        let block = Block::read_pieces(&mut reader)?;
        let start = number.checked_sub(1).map_or(0, |b| self.zones[b].rows_end);
        if start + block.len() != self.zones[number].rows_end {
            return Err(reader.corrupt("as many rows as the index says"));
        }
        reader.finish()?;
        Ok(block)
    }

    /// The part's name, for errors.
    pub(crate) fn name(&self) -> &str {
        self.reader.name()
    }

    /// Number of blocks.
    pub(crate) fn block_count(&self) -> usize {
        self.zones.len()
    }

    /// From the first start to the last end of the spans of a block.
    pub(crate) fn block_hull(&self, number: usize) -> TimeRange {
        self.zones[number].hull
    }

    /// The rows of a block, as numbers within the part.
    pub(crate) fn block_rows(&self, number: usize) -> std::ops::Range<usize> {
        let start = number.checked_sub(1).map_or(0, |b| self.zones[b].rows_end);
        start..self.zones[number].rows_end
    }

    /// Finds the pieces of a block.
    pub(crate) fn pieces(&self, number: usize) -> Result<Pieces<'_>, Corrupt> {
        let name = block_name(number);
        let mut reader = Reader::new(self.reader.name(), self.reader.section(&name)?);
        let pieces = Pieces::read(&mut reader)?;
        reader.finish()?;
        Ok(pieces)
    }

    /// Which conditions each block may fulfil.
    pub(crate) fn masks(&self, hints: &Hints<'_>) -> Result<Vec<u64>, Corrupt> {
        let filters = self.reader.section("filters")?;
        let mut start = 0;
        let mut masks = Vec::with_capacity(self.zones.len());
        for zone in &self.zones {
            // `open` has checked that the ends ascend and lie inside.
            masks.push(hints.of_block(&filters[start..zone.filter_end], zone.duration_max));
            start = zone.filter_end;
        }
        Ok(masks)
    }

    /// Adds the names and values of this part.
    pub(crate) fn catalog(&self, into: &mut Catalog) -> Result<(), Corrupt> {
        let place = format!("{}/catalog", self.reader.name());
        let mut reader = Reader::new(&place, self.reader.section("catalog")?);
        let content = bytes::decode(&mut reader, CATALOG_BYTES_MAX)?;
        reader.finish()?;
        into.read(Reader::new(&place, &content))
    }
}

/// The zones of all blocks, and from the first start to the last end of any span.
fn read_zones(
    reader: &PartReader,
    index: &mut Reader<'_>,
) -> Result<(Vec<Zone>, TimeRange), Corrupt> {
    let blocks = index.count(reader.sections().count())?;
    let counts = read_ints(index, blocks)?;
    let starts = read_ints(index, blocks)?;
    let ends = read_ints(index, blocks)?;
    let durations = read_ints(index, blocks)?;
    let filter_ends = read_ints(index, blocks)?;
    let carried = read_ints(index, blocks)?;
    let trace_counts = read_ints(index, blocks)?;
    let table_ends = read_ints(index, blocks)?;
    let filters = section_bytes(reader, "filters");
    let tables = section_bytes(reader, "traces");
    let number = |value: i64| usize::try_from(value).unwrap_or(usize::MAX);
    let mut zones: Vec<Zone> = Vec::with_capacity(blocks);
    let mut hull = TimeRange::new(Timestamp::MAX, Timestamp::MIN);
    for (block, duration_max) in durations.into_iter().enumerate() {
        let (rows, filter) = zones.last().map_or((0, 0), |z| (z.rows_end, z.filter_end));
        let (traces, table) = zones.last().map_or((0, 0), |z| (z.traces_end, z.table_end));
        let count = number(counts[block]);
        if count == 0 || count > ROWS_MAX {
            return Err(index.corrupt(format!("blocks of 1 to {ROWS_MAX} rows")));
        }
        let start = Timestamp::from_nanos(starts[block]);
        let range = TimeRange::new(start, Timestamp::from_nanos(ends[block]));
        let filter_end = number(filter_ends[block]);
        let (carried, begun) = (number(carried[block]), number(trace_counts[block]));
        let table_end = number(table_ends[block]);
        // A trace that begins in a block has a row in it.
        if carried > count || begun > count - carried || (begun == 0) != (carried == count) {
            return Err(index.corrupt("traces that begin in their blocks"));
        }
        if table_end < table || table_end > tables {
            return Err(index.corrupt("tables of traces in order"));
        }
        if range.is_empty() || filter_end < filter || filter_end > filters {
            return Err(index.corrupt("ranges and filters in order"));
        }
        hull = hull.union(range);
        zones.push(Zone {
            rows_end: rows + count,
            hull: range,
            duration_max,
            filter_end,
            carried,
            traces_end: traces + begun,
            table_end,
        });
    }
    let rows = zones.last().map_or(0, |z| z.rows_end);
    if rows as u64 != reader.rows() {
        return Err(index.corrupt("blocks with all rows of the part"));
    }
    Ok((zones, hull))
}

/// The length of a section; 0 when there is none.
fn section_bytes(reader: &PartReader, name: &str) -> usize {
    let found = reader.sections().find(|(other, _)| *other == name);
    found.map_or(0, |(_, bytes)| bytes as usize)
}

/// The sorted ids of a part.
#[derive(Clone, Copy)]
pub(crate) struct Ids<'a> {
    part: &'a Part,
    ids: &'a [u8],
    places: &'a [u8],
}

impl Ids<'_> {
    /// The id at an index in order of ids.
    pub(crate) fn id(&self, index: usize) -> TraceId {
        let mut id = TraceId::default();
        id.0.copy_from_slice(&self.ids[16 * index..16 * index + 16]);
        id
    }

    /// The place in order of start of the id at an index.
    pub(crate) fn place(&self, index: usize) -> Result<usize, Corrupt> {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.places[4 * index..4 * index + 4]);
        let place = u32::from_le_bytes(bytes) as usize;
        if place >= self.part.traces {
            return Err(self
                .part
                .reader
                .corrupt(0, "places of traces in the section ids"));
        }
        Ok(place)
    }
}
