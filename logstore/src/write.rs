//! Writes a log part: from rows that come sorted (stream by stream, in a stream rows in order of
//! time, equal times in order of arrival), and from groups of other parts that are taken over as
//! they are. `docs/formats/log-part.md`.
//!
//! Invariants: a record that is equal to an earlier one of the same stream and time is dropped;
//! a stream without rows is not written; memory holds one group, one section and the index.

use std::collections::{HashMap, HashSet};

use obs_model::{Labels, TimeRange, Timestamp};
use obs_storage::codec::{bitmap, bytes, ints, put_bytes, strings, varint};
use obs_storage::{Corrupt, PartWriter};
use xxhash_rust::xxh3::xxh3_128;

use crate::counts::CountsBuilder;
use crate::group::{ColumnLengths, GroupBuilder};
use crate::index::Builder;
use crate::part::{
    Block, DIRECTORY, FRAME_STREAMS, Group, INDEX, POSTINGS, PageHead, STREAMS, TOKENS, VERSION,
    counts_section, filters_section, rows_section,
};
use crate::postings::{GrowingPostings, Postings};

/// A section of rows ends once it has so many bytes: a reader verifies whole sections.
/// Small in tests, so that few rows make several sections; the same for pages.
const SECTION_BYTES: usize = if cfg!(test) { 1024 } else { 4 << 20 };
/// A page of the index ends once it has so many blocks or groups.
const PAGE_BLOCKS: usize = 1024;
const PAGE_GROUPS: usize = if cfg!(test) { 3 } else { 128 };

/// Writes one part.
pub(crate) struct Writer<'a> {
    out: &'a mut PartWriter,
    stream: Labels,
    /// Number of `stream`, once it has a row.
    stream_id: Option<u32>,
    /// Whether the next row begins a block, although it is of the same stream.
    new_block: bool,
    repeats: Repeats,
    ids: HashMap<Labels, u32>,
    postings: GrowingPostings,
    labels: LabelFrames,
    tokens: Builder,

    group: GroupBuilder,
    group_blocks: Vec<Block>,
    counts: CountsBuilder,
    zstd: bytes::Encoder,
    section: u32,
    section_rows: Vec<u8>,
    section_filters: Vec<u8>,
    section_counts: Vec<u8>,

    page_groups: Vec<Group>,
    page_blocks: Vec<Block>,
    pages: Vec<PageHead>,
    index: Vec<u8>,

    rows: u64,
    range: Option<TimeRange>,
}

impl<'a> Writer<'a> {
    /// Compresses rows at `level`.
    pub(crate) fn new(out: &'a mut PartWriter, level: i32) -> Self {
        Self {
            out,
            stream: Labels::empty(),
            stream_id: None,
            new_block: false,
            repeats: Repeats::default(),
            ids: HashMap::new(),
            postings: GrowingPostings::default(),
            labels: LabelFrames::default(),
            tokens: Builder::new(),
            group: GroupBuilder::new(level),
            group_blocks: Vec::new(),
            counts: CountsBuilder::default(),
            zstd: bytes::Encoder::new(level),
            section: 0,
            section_rows: Vec::new(),
            section_filters: Vec::new(),
            section_counts: Vec::new(),
            page_groups: Vec::new(),
            page_blocks: Vec::new(),
            pages: Vec::new(),
            index: Vec::new(),
            rows: 0,
            range: None,
        }
    }

    /// Begins the next stream.
    pub(crate) fn stream(&mut self, labels: &Labels) {
        self.stream = labels.clone();
        self.stream_id = None;
        self.repeats.clear();
    }

    /// Appends a row to the stream, unless it is there already.
    pub(crate) fn row(&mut self, time: i64, line: &[u8], metadata: &Labels) -> Result<(), Corrupt> {
        if !self.repeats.is_new(time, line, metadata) {
            return Ok(());
        }
        let stream = match self.stream_id {
            Some(id) => id,
            None => {
                let labels = self.stream.clone();
                let id = self.id(&labels);
                self.stream_id = Some(id);
                id
            }
        };
        match self.group_blocks.last_mut() {
            Some(block) if block.stream == stream && !self.new_block => {
                debug_assert!(block.max <= time, "rows of a stream come in order of time");
                block.max = time;
                block.rows += 1;
                block.bytes += line.len() as u64;
            }
            _ => {
                self.counts.block();
                self.group_blocks.push(Block {
                    stream,
                    min: time,
                    max: time,
                    rows: 1,
                    bytes: line.len() as u64,
                });
            }
        }
        self.counts.row(time, line.len(), metadata);
        self.new_block = false;
        let at = Timestamp::from_nanos(time);
        self.count(1, TimeRange::new(at, at));
        self.group.push(time, line, metadata);
        if self.group.is_full() {
            self.end_group()?;
        }
        Ok(())
    }

    /// The rows that follow are not in one block with those before.
    pub(crate) fn end_block(&mut self) {
        self.new_block = true;
    }

    /// Takes over a group of another part: its columns, its filter and counts, its terms, and its
    /// blocks with the labels of their streams.
    pub(crate) fn copy<'t>(
        &mut self,
        group: &Group,
        columns: &[u8],
        (filter, counts): (&[u8], &[u8]),
        terms: impl Iterator<Item = &'t [u8]>,
        blocks: &[(Labels, Block)],
    ) -> Result<(), Corrupt> {
        self.end_group()?;
        for (labels, block) in blocks {
            let stream = self.id(labels);
            self.count(block.rows as u64, block.range());
            self.group_blocks.push(Block { stream, ..*block });
        }
        self.tokens.terms(terms)?;
        let offset = self.section_rows.len();
        self.section_rows.extend_from_slice(columns);
        let starts = (self.section_filters.len(), self.section_counts.len());
        self.section_filters.extend_from_slice(filter);
        self.section_counts.extend_from_slice(counts);
        self.put_group(offset, group.lengths, starts);
        Ok(())
    }

    /// The number of a stream.
    fn id(&mut self, labels: &Labels) -> u32 {
        if let Some(id) = self.ids.get(labels) {
            return *id;
        }
        self.labels.push(labels);
        let id = self.postings.push(labels);
        self.ids.insert(labels.clone(), id);
        id
    }

    fn count(&mut self, rows: u64, range: TimeRange) {
        self.range = Some(self.range.map_or(range, |all| all.union(range)));
        self.rows += rows;
    }

    /// Whether the labels so far fit into frames and postings that can be read back.
    pub(crate) fn labels_fit(&self) -> bool {
        self.labels.total <= LABELS_BYTES_MAX
    }

    /// Writes what is left, the index and the directory. Without rows nothing is written.
    pub(crate) fn finish(mut self) -> Result<(), Corrupt> {
        self.end_group()?;
        self.end_section();
        self.end_page();
        let Some(range) = self.range else {
            return Ok(());
        };
        let mut tokens = Vec::new();
        self.tokens.finish(&mut tokens)?;
        let (labels, frame_ends) = self.labels.finish();
        let mut postings = Vec::new();
        let mut directory = vec![VERSION];
        varint::put(u64::from(self.postings.stream_count()), &mut directory);
        ints::encode(&frame_ends, &mut directory);
        encode_pages(&self.pages, &mut directory);
        encode_postings(&self.postings, &mut postings, &mut directory);
        self.out.section(INDEX, &self.index);
        self.out.section(STREAMS, &labels);
        self.out.section(POSTINGS, &postings);
        self.out.section(TOKENS, &tokens);
        self.out.section(DIRECTORY, &directory);
        self.out.rows(self.rows, range);
        Ok(())
    }

    fn end_group(&mut self) -> Result<(), Corrupt> {
        if self.group_blocks.is_empty() {
            return Ok(());
        }
        let offset = self.section_rows.len();
        let starts = (self.section_filters.len(), self.section_counts.len());
        let lengths = self.group.finish(&mut self.section_rows);
        self.group.tokens.filter.finish(&mut self.section_filters);
        self.tokens.group(&mut self.group.tokens)?;
        self.counts.finish(&mut self.zstd, &mut self.section_counts);
        self.put_group(offset, lengths, starts);
        Ok(())
    }

    /// Puts the group of `group_blocks` into the index; its columns, filter and counts begin there.
    fn put_group(
        &mut self,
        offset: usize,
        lengths: ColumnLengths,
        (filter, counts): (usize, usize),
    ) {
        self.page_groups.push(Group {
            number: 0,
            section: self.section,
            offset,
            lengths,
            filter: filter..self.section_filters.len(),
            counts: counts..self.section_counts.len(),
            blocks: self.page_blocks.len()..self.page_blocks.len() + self.group_blocks.len(),
        });
        self.page_blocks.append(&mut self.group_blocks);
        if self.section_rows.len() >= SECTION_BYTES {
            self.end_section();
        }
        if self.page_blocks.len() >= PAGE_BLOCKS || self.page_groups.len() >= PAGE_GROUPS {
            self.end_page();
        }
    }

    fn end_section(&mut self) {
        if self.section_rows.is_empty() {
            return;
        }
        self.out
            .section(&rows_section(self.section), &self.section_rows);
        self.out
            .section(&filters_section(self.section), &self.section_filters);
        self.out
            .section(&counts_section(self.section), &self.section_counts);
        self.section_rows.clear();
        self.section_filters.clear();
        self.section_counts.clear();
        self.section += 1;
    }

    fn end_page(&mut self) {
        let streams = self.page_blocks.iter().map(|b| b.stream);
        let (Some(first), Some(last)) = (streams.clone().min(), streams.max()) else {
            return;
        };
        let min = self.page_blocks.iter().map(|b| b.min).min();
        let max = self.page_blocks.iter().map(|b| b.max).max();
        let offset = self.index.len();
        encode_page(&self.page_groups, &self.page_blocks, &mut self.index);
        self.pages.push(PageHead {
            streams: first..=last,
            groups: 0..self.page_groups.len() as u32,
            min: min.expect("a page has a block"),
            max: max.expect("a page has a block"),
            bytes: offset..self.index.len(),
        });
        self.page_groups.clear();
        self.page_blocks.clear();
    }
}

/// Bytes of all labels of one part: half of what one frame or list of postings may have, so that
/// none of them can be too large. Small in tests.
const LABELS_BYTES_MAX: usize = if cfg!(test) { 64 << 10 } else { 1 << 29 };

/// The labels of the streams in frames of [`FRAME_STREAMS`], each compressed on its own.
#[derive(Default)]
struct LabelFrames {
    frame: Vec<u8>,
    in_frame: usize,
    bytes: Vec<u8>,
    ends: Vec<i64>,
    /// Bytes of all labels.
    total: usize,
}

impl LabelFrames {
    fn push(&mut self, labels: &Labels) {
        self.total += labels.packed().len();
        put_bytes(labels.packed(), &mut self.frame);
        self.in_frame += 1;
        if self.in_frame == FRAME_STREAMS {
            self.end_frame();
        }
    }

    fn end_frame(&mut self) {
        bytes::encode(&self.frame, bytes::LEVEL, &mut self.bytes);
        self.ends.push(self.bytes.len() as i64);
        self.frame.clear();
        self.in_frame = 0;
    }

    fn finish(mut self) -> (Vec<u8>, Vec<i64>) {
        if self.in_frame > 0 {
            self.end_frame();
        }
        (self.bytes, self.ends)
    }
}

fn encode_page(groups: &[Group], blocks: &[Block], out: &mut Vec<u8>) {
    let mut body = Vec::new();
    let mut column = |values: &mut dyn Iterator<Item = i64>| {
        let values: Vec<i64> = values.collect();
        ints::encode(&values, &mut body);
    };
    column(&mut groups.iter().map(|g| i64::from(g.section)));
    column(&mut groups.iter().map(|g| g.offset as i64));
    column(&mut groups.iter().map(|g| g.lengths.times as i64));
    column(&mut groups.iter().map(|g| g.lengths.lines as i64));
    column(&mut groups.iter().map(|g| g.lengths.metadata as i64));
    column(&mut groups.iter().map(|g| g.filter.start as i64));
    column(&mut groups.iter().map(|g| g.filter.len() as i64));
    column(&mut groups.iter().map(|g| g.blocks.len() as i64));
    column(&mut groups.iter().map(|g| g.counts.start as i64));
    column(&mut groups.iter().map(|g| g.counts.len() as i64));
    column(&mut blocks.iter().map(|b| i64::from(b.stream)));
    column(&mut blocks.iter().map(|b| b.min));
    column(&mut blocks.iter().map(|b| b.max.wrapping_sub(b.min)));
    column(&mut blocks.iter().map(|b| b.rows as i64));
    column(&mut blocks.iter().map(|b| b.bytes as i64));
    bytes::encode(&body, bytes::LEVEL, out);
}

fn encode_pages(pages: &[PageHead], out: &mut Vec<u8>) {
    let mut column = |values: &mut dyn Iterator<Item = i64>| {
        let values: Vec<i64> = values.collect();
        ints::encode(&values, out);
    };
    column(&mut pages.iter().map(|p| i64::from(*p.streams.start())));
    column(&mut pages.iter().map(|p| i64::from(*p.streams.end())));
    column(&mut pages.iter().map(|p| p.min));
    column(&mut pages.iter().map(|p| p.max.wrapping_sub(p.min)));
    column(
        &mut pages
            .iter()
            .map(|p| i64::from(p.groups.end - p.groups.start)),
    );
    column(&mut pages.iter().map(|p| p.bytes.end as i64));
}

/// Appends each name's values and sets to `postings`, and the names with their ends to
/// `directory`.
fn encode_postings(from: &GrowingPostings, postings: &mut Vec<u8>, directory: &mut Vec<u8>) {
    let mut names: Vec<&str> = Vec::new();
    let mut ends = Vec::new();
    for (name, values) in from.names() {
        let mut body = Vec::new();
        let texts: Vec<&str> = values.keys().map(String::as_str).collect();
        strings::encode_open(&texts, &mut body);
        for set in values.values() {
            bitmap::encode(set, &mut body);
        }
        bytes::encode(&body, bytes::LEVEL, postings);
        names.push(name);
        ends.push(postings.len() as i64);
    }
    strings::encode(&names, directory);
    ints::encode(&ends, directory);
}

/// Knows a record of the present time again. Keeps 128-bit hashes, so that its memory is bounded
/// by rows and not by lines; see `docs/decisions/0030-log-identity.md`. Most times have one record
/// only, which is kept as it is and never hashed.
#[derive(Default)]
struct Repeats {
    time: Option<i64>,
    line: Vec<u8>,
    metadata: Option<Labels>,
    /// Once there was a second record.
    seen: HashSet<u128>,
}

impl Repeats {
    fn clear(&mut self) {
        self.time = None;
    }

    fn is_new(&mut self, time: i64, line: &[u8], metadata: &Labels) -> bool {
        if self.time != Some(time) {
            self.time = Some(time);
            self.line.clear();
            self.line.extend_from_slice(line);
            self.metadata = Some(metadata.clone());
            self.seen.clear();
            return true;
        }
        if let Some(metadata) = self.metadata.take() {
            self.seen.insert(identity(&self.line, &metadata));
        }
        self.seen.insert(identity(line, metadata))
    }
}

/// A hash of all that makes a record beside its stream and time.
pub(crate) fn identity(line: &[u8], metadata: &Labels) -> u128 {
    // Turned, so that a line and metadata with equal bytes do not cancel each other.
    xxh3_128(line).rotate_left(1) ^ xxh3_128(metadata.packed())
}
