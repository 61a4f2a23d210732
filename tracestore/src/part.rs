//! An opened part: its zones, how a trace is found in it, and its blocks.
//!
//! Invariant: only the zones stay in memory; everything else is read when asked and checked then.

use obs_model::{TimeRange, Timestamp, TraceId};
use obs_storage::codec::{Reader, bytes, ints};
use obs_storage::{Corrupt, PartReader};
use xxhash_rust::xxh3::xxh3_64;

use crate::attributes::read_ints;
use crate::block::{Block, Pieces, ROWS_MAX};
use crate::bloom;
use crate::catalog::Catalog;
use crate::filter::Hints;

/// First byte of the section `index`: the version of all sections.
pub(crate) const VERSION: u8 = 3;
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
}

/// An opened part of spans.
#[derive(Debug)]
pub struct Part {
    reader: PartReader,
    zones: Vec<Zone>,
    /// From the first start to the last end of any span.
    hull: TimeRange,
    traces: usize,
}

/// A block of a part on its way into another.
pub(crate) struct Copied<'a> {
    pub(crate) section: &'a [u8],
    pub(crate) filter: &'a [u8],
    pub(crate) rows: usize,
    pub(crate) hull: TimeRange,
    pub(crate) duration_max: i64,
}

/// The table of the traces of a part, by place in order of start.
#[derive(Debug)]
pub(crate) struct Traces {
    starts: Vec<i64>,
    lengths: Vec<i64>,
    ends: Vec<usize>,
}

impl Traces {
    /// A range that holds all spans of a trace in this part.
    pub(crate) fn hull(&self, place: usize) -> TimeRange {
        let start = self.starts[place];
        let end = start.wrapping_add(self.lengths[place]);
        TimeRange::new(Timestamp::from_nanos(start), Timestamp::from_nanos(end))
    }

    /// The rows of a trace, as numbers within the part.
    pub(crate) fn rows(&self, place: usize) -> std::ops::Range<usize> {
        place.checked_sub(1).map_or(0, |p| self.ends[p])..self.ends[place]
    }

    /// The traces that have some of these rows, as places; no rows have none.
    pub(crate) fn places(&self, rows: std::ops::Range<usize>) -> std::ops::Range<usize> {
        let first = self.ends.partition_point(|end| *end <= rows.start);
        let last = self.ends.partition_point(|end| *end < rows.end);
        first..(last + 1).min(self.ends.len()).max(first)
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        24 * self.starts.len()
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
        let traces = section_bytes(&reader, "ids") / ID_BYTES;
        Ok(Self {
            reader,
            zones,
            hull,
            traces,
        })
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

    /// Reads the table of traces.
    pub(crate) fn traces(&self) -> Result<Traces, Corrupt> {
        let place = format!("{}/traces", self.reader.name());
        let mut reader = Reader::new(&place, self.reader.section("traces")?);
        let starts = read_ints(&mut reader, self.traces)?;
        let lengths = read_ints(&mut reader, self.traces)?;
        let counts = ints::decode(&mut reader, self.traces)?;
        let mut end = 0usize;
        let mut ends = Vec::with_capacity(counts.len());
        for count in counts {
            end = usize::try_from(count).map_or(usize::MAX, |c| end.saturating_add(c));
            ends.push(end);
        }
        if ends.len() != self.traces || end as u64 != self.reader.rows() {
            return Err(reader.corrupt("traces with all rows of the part"));
        }
        reader.finish()?;
        Ok(Traces {
            starts,
            lengths,
            ends,
        })
    }

    /// The traces by id, each with its place in order of start.
    pub(crate) fn ids(&self) -> Result<Ids<'_>, Corrupt> {
        let bytes = self.reader.section("ids")?;
        if bytes.len() != self.traces * ID_BYTES {
            return Err(self.reader.corrupt(0, "a whole number of ids"));
        }
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
    let filters = section_bytes(reader, "filters");
    let mut zones: Vec<Zone> = Vec::with_capacity(blocks);
    let mut hull = TimeRange::new(Timestamp::MAX, Timestamp::MIN);
    for (block, duration_max) in durations.into_iter().enumerate() {
        let (rows, filter) = zones.last().map_or((0, 0), |z| (z.rows_end, z.filter_end));
        let count = usize::try_from(counts[block]).unwrap_or(usize::MAX);
        if count == 0 || count > ROWS_MAX {
            return Err(index.corrupt(format!("blocks of 1 to {ROWS_MAX} rows")));
        }
        let start = Timestamp::from_nanos(starts[block]);
        let range = TimeRange::new(start, Timestamp::from_nanos(ends[block]));
        let filter_end = usize::try_from(filter_ends[block]).unwrap_or(usize::MAX);
        if range.is_empty() || filter_end < filter || filter_end > filters {
            return Err(index.corrupt("ranges and filters in order"));
        }
        hull = hull.union(range);
        zones.push(Zone {
            rows_end: rows + count,
            hull: range,
            duration_max,
            filter_end,
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
