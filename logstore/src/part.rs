//! A log part: streams with postings, an index of blocks in pages, and groups of rows.
//! `docs/formats/log-part.md` has the byte tables.
//!
//! Kept in memory for an open part: a few numbers per page, per 256 streams and per label name.
//! All else is read when asked for. Invariant: what is read is checked against the index before it
//! is used; a part that contradicts itself is `Corrupt`, never a panic.

use std::ops::{Range, RangeInclusive};

use obs_model::{Labels, Matcher, TimeRange, Timestamp};
use obs_storage::codec::{Reader, bitmap, bytes, ints, strings};
use obs_storage::{Corrupt, PartReader};
use roaring::RoaringBitmap;

use crate::counts::Counts;
use crate::group::{ColumnLengths, GROUP_ROWS_MAX, OpenGroup};
use crate::index::{Resolved, TokenIndex};
use crate::lines::Search;
use crate::postings::{Postings, lookups};
use crate::tokens::Need;

/// First byte of the directory.
pub(crate) const VERSION: u8 = 3;
/// Parts of this version have no counts and no windows in their filters; all else is the same.
const VERSION_BEFORE: u8 = 2;
/// Streams per compressed frame of labels.
pub(crate) const FRAME_STREAMS: usize = 256;
/// The section that is read when a part is opened.
pub(crate) const DIRECTORY: &str = "directory";
/// The section of index pages.
pub(crate) const INDEX: &str = "index";
/// The section of stream labels.
pub(crate) const STREAMS: &str = "streams";
/// The section of values and stream sets per label name.
pub(crate) const POSTINGS: &str = "postings";
/// The section of the token index.
pub(crate) const TOKENS: &str = "tokens";
/// Bound on a decompressed index page, label frame or postings list.
const BODY_BYTES_MAX: usize = 1 << 30;
/// Most blocks of one page: a page ends after its 1024th block, and one group may follow.
const PAGE_BLOCKS_MAX: usize = 1024 + GROUP_ROWS_MAX;

/// The name of the n-th section of rows.
pub(crate) fn rows_section(number: u32) -> String {
    format!("rows/{number}")
}

/// The name of the section with the token filters of the n-th section of rows.
pub(crate) fn filters_section(number: u32) -> String {
    format!("filters/{number}")
}

/// The name of the section with the counts of the groups in the n-th section of rows.
pub(crate) fn counts_section(number: u32) -> String {
    format!("counts/{number}")
}

/// An opened part.
#[derive(Debug)]
pub struct Part {
    reader: PartReader,
    version: u8,
    stream_count: u32,
    /// Where each frame of labels ends.
    frame_ends: Vec<usize>,
    pages: Vec<PageHead>,
    /// What the sections of rows are called in errors.
    row_places: Vec<String>,
    /// Label names in ascending order, each with the end of its postings.
    names: Vec<String>,
    name_ends: Vec<usize>,
}

/// What is known of an index page before it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PageHead {
    pub(crate) streams: RangeInclusive<u32>,
    /// The numbers of its groups in the part.
    pub(crate) groups: Range<u32>,
    pub(crate) min: i64,
    pub(crate) max: i64,
    pub(crate) bytes: Range<usize>,
}

/// A page of the index.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) groups: Vec<Group>,
    pub(crate) blocks: Vec<Block>,
}

/// Where the columns of a group stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// Its number in the part.
    pub(crate) number: u32,
    pub(crate) section: u32,
    pub(crate) offset: usize,
    pub(crate) lengths: ColumnLengths,
    pub(crate) filter: Range<usize>,
    /// Where its counts stand; empty where it has none.
    pub(crate) counts: Range<usize>,
    /// Its blocks in the page.
    pub(crate) blocks: Range<usize>,
}

/// The rows of one stream in one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) stream: u32,
    pub(crate) min: i64,
    pub(crate) max: i64,
    pub(crate) rows: usize,
    /// Bytes of the lines.
    pub(crate) bytes: u64,
}

impl Block {
    /// The smallest range that holds the rows.
    pub(crate) fn range(&self) -> TimeRange {
        nanos(self.min, self.max)
    }
}

/// A range of nanoseconds.
pub(crate) fn nanos(min: i64, max: i64) -> TimeRange {
    TimeRange::new(Timestamp::from_nanos(min), Timestamp::from_nanos(max))
}

impl Part {
    /// Reads and checks the directory.
    pub(crate) fn open(reader: PartReader) -> Result<Self, Corrupt> {
        let place = place(&reader, DIRECTORY);
        let mut directory = Reader::new(&place, reader.section(DIRECTORY)?);
        let version = directory.u8()?;
        if !(VERSION_BEFORE..=VERSION).contains(&version) {
            return Err(directory.corrupt(format!("version {VERSION}, found {version}")));
        }
        let stream_count = directory.u32_varint()?;
        let frames = (stream_count as usize).div_ceil(FRAME_STREAMS);
        // Each item of these sections takes a byte at least, so their lengths bound the counts.
        let length = |name: &str| {
            let found = reader.sections().find(|(section, _)| *section == name);
            usize::try_from(found.map_or(0, |(_, bytes)| bytes)).unwrap_or(usize::MAX)
        };
        let frame_ends = read_ends(&mut directory, length(STREAMS))?;
        if frame_ends.len() != frames {
            return Err(directory.corrupt(format!("{frames} frames of labels")));
        }
        let pages = read_page_heads(&mut directory, stream_count, length(INDEX))?;
        let texts = strings::decode_texts(&mut directory, length(POSTINGS), BODY_BYTES_MAX)?;
        let names: Vec<String> = texts.iter().map(str::to_owned).collect();
        let name_ends = read_ends(&mut directory, names.len())?;
        if name_ends.len() != names.len() || !names.is_sorted_by(|a, b| a < b) {
            return Err(directory.corrupt("label names in ascending order, each with an end"));
        }
        directory.finish()?;
        let rows = reader
            .sections()
            .filter(|(name, _)| name.starts_with("rows/"));
        let row_places =
            (0..rows.count() as u32).map(|n| crate::part::place(&reader, &rows_section(n)));
        Ok(Self {
            row_places: row_places.collect(),
            reader,
            version,
            stream_count,
            frame_ends,
            pages,
            names,
            name_ends,
        })
    }

    /// Whether it is of the version before: without counts, and with filters of whole identifiers.
    pub(crate) fn is_old(&self) -> bool {
        self.version == VERSION_BEFORE
    }

    /// The smallest range that holds every row.
    pub(crate) fn range(&self) -> TimeRange {
        self.reader.range()
    }

    /// The label names of all streams, ascending.
    pub(crate) fn label_names(&self) -> &[String] {
        &self.names
    }

    /// The values of a label of all streams, ascending.
    pub(crate) fn label_values(&self, name: &str) -> Result<Vec<String>, Corrupt> {
        let Some(body) = self.postings_body(name)? else {
            return Ok(Vec::new());
        };
        let place = place(&self.reader, POSTINGS);
        let values = self.read_values(&mut Reader::new(&place, &body))?;
        Ok(values.iter().map(str::to_owned).collect())
    }

    /// Calls `visit` with number and labels of each of the streams, ascending.
    pub(crate) fn labels(
        &self,
        streams: &RoaringBitmap,
        mut visit: impl FnMut(u32, Labels),
    ) -> Result<(), Corrupt> {
        let mut frame = None;
        let mut labels: Vec<Labels> = Vec::new();
        for stream in streams {
            let wanted = stream as usize / FRAME_STREAMS;
            if frame != Some(wanted) {
                labels = self.label_frame(wanted)?;
                frame = Some(wanted);
            }
            match labels.get(stream as usize % FRAME_STREAMS) {
                Some(found) => visit(stream, found.clone()),
                None => return Err(self.corrupt(STREAMS, format!("stream {stream}"))),
            }
        }
        Ok(())
    }

    /// The labels of the streams from `frame` times 256.
    pub(crate) fn label_frame(&self, frame: usize) -> Result<Vec<Labels>, Corrupt> {
        let place = place(&self.reader, STREAMS);
        let section = self.reader.section(STREAMS)?;
        let body = slice_between(section, &self.frame_ends, frame)
            .ok_or_else(|| self.corrupt(STREAMS, format!("frame {frame}")))?;
        let body = bytes::decode(&mut Reader::new(&place, body), BODY_BYTES_MAX)?;
        let mut reader = Reader::new(&place, &body);
        let mut labels = Vec::new();
        while !reader.is_empty() && labels.len() < FRAME_STREAMS {
            let packed = reader.bytes(reader.remaining())?;
            labels.push(Labels::from_packed(packed).map_err(|e| reader.corrupt(e.to_string()))?);
        }
        reader.finish()?;
        Ok(labels)
    }

    /// The heads of the pages, in order.
    pub(crate) fn pages(&self) -> &[PageHead] {
        &self.pages
    }

    /// Reads a page.
    pub(crate) fn page(&self, head: &PageHead) -> Result<Page, Corrupt> {
        let place = place(&self.reader, INDEX);
        let section = self.reader.section(INDEX)?;
        let body = section
            .get(head.bytes.clone())
            .ok_or_else(|| self.corrupt(INDEX, "the page".to_owned()))?;
        let body = bytes::decode(&mut Reader::new(&place, body), BODY_BYTES_MAX)?;
        let mut page = read_page(Reader::new(&place, &body), self.stream_count, self.version)?;
        if page.groups.len() != head.groups.len() {
            return Err(self.corrupt(INDEX, format!("{} groups", head.groups.len())));
        }
        for (group, number) in page.groups.iter_mut().zip(head.groups.clone()) {
            group.number = number;
        }
        Ok(page)
    }

    /// What the token index can tell of each of these lists of needs; it is not opened where nothing
    /// is needed.
    pub(crate) fn candidates(&self, lists: &[Vec<Need>]) -> Result<Vec<Candidates>, Corrupt> {
        let windowed = !self.is_old();
        let mut index = None;
        let mut all = Vec::with_capacity(lists.len());
        for needs in lists {
            let mut found = Candidates::default();
            for need in needs {
                let index = match &index {
                    Some(index) => index,
                    None => index.insert(self.token_index()?),
                };
                found.needs.push(index.resolve(need, windowed)?);
            }
            all.push(found);
        }
        Ok(all)
    }

    fn token_index(&self) -> Result<TokenIndex, Corrupt> {
        let place = place(&self.reader, TOKENS);
        TokenIndex::open(&place, &self.reader.shared_section(TOKENS)?)
    }

    /// The terms of this group and of those near it: they are read for so many groups at once that
    /// few walks over the index take all, and memory stays bounded.
    pub(crate) fn terms_near(&self, group: &Group) -> Result<Terms, Corrupt> {
        let index = self.token_index()?;
        let first = group.number / TERMS_GROUPS * TERMS_GROUPS;
        let groups = first..first.saturating_add(TERMS_GROUPS);
        let mut terms = Terms {
            first,
            all: Vec::new(),
            by_group: vec![Vec::new(); TERMS_GROUPS as usize],
        };
        index.for_terms(groups, |term, found| {
            let number = terms.all.len() as u32;
            for group in found {
                if let Some(of_group) = terms.by_group.get_mut((group - first) as usize) {
                    of_group.push(number);
                }
            }
            terms.all.push(term.to_vec());
        })?;
        Ok(terms)
    }

    /// The filter of a group's identifiers.
    pub(crate) fn filter(&self, group: &Group) -> Result<&[u8], Corrupt> {
        let name = filters_section(group.section);
        let section = self.reader.section(&name)?;
        section
            .get(group.filter.clone())
            .ok_or_else(|| self.corrupt(&name, "the filter of a group".to_owned()))
    }

    /// The counts of a group as they are stored; empty where it has none.
    pub(crate) fn counts_bytes(&self, group: &Group) -> Result<&[u8], Corrupt> {
        if group.counts.is_empty() {
            return Ok(&[]);
        }
        let name = counts_section(group.section);
        let section = self.reader.section(&name)?;
        section
            .get(group.counts.clone())
            .ok_or_else(|| self.corrupt(&name, "the counts of a group".to_owned()))
    }

    /// The counts of a group, if it has any.
    pub(crate) fn counts(&self, group: &Group) -> Result<Option<Counts>, Corrupt> {
        let bytes = self.counts_bytes(group)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let place = place(&self.reader, &counts_section(group.section));
        Counts::decode(Reader::new(&place, bytes), group.blocks.len()).map(Some)
    }

    /// The columns of a group.
    pub(crate) fn columns(&self, group: &Group) -> Result<&[u8], Corrupt> {
        let name = rows_section(group.section);
        let section = self.reader.section(&name)?;
        let end = group.offset.saturating_add(group.lengths.total());
        section
            .get(group.offset..end)
            .ok_or_else(|| self.corrupt(&name, "a group".to_owned()))
    }

    /// Opens a group of `rows` rows; `None` when no row of it is wanted.
    pub(crate) fn group(
        &self,
        group: &Group,
        rows: usize,
        search: &mut Search,
    ) -> Result<Option<OpenGroup<'_>>, Corrupt> {
        let columns = self.columns(group)?;
        let place = self.row_places.get(group.section as usize);
        let place = place.map_or("rows", String::as_str);
        OpenGroup::open(place, columns, group.lengths, rows, search)
    }

    fn postings_body(&self, name: &str) -> Result<Option<Vec<u8>>, Corrupt> {
        let Ok(index) = self.names.binary_search_by(|n| n.as_str().cmp(name)) else {
            return Ok(None);
        };
        let place = place(&self.reader, POSTINGS);
        let section = self.reader.section(POSTINGS)?;
        let body = slice_between(section, &self.name_ends, index)
            .ok_or_else(|| self.corrupt(POSTINGS, format!("postings of {name}")))?;
        bytes::decode(&mut Reader::new(&place, body), BODY_BYTES_MAX).map(Some)
    }

    fn read_values(&self, reader: &mut Reader<'_>) -> Result<strings::Texts, Corrupt> {
        let values = strings::decode_texts(reader, self.stream_count as usize, BODY_BYTES_MAX)?;
        let ascending = values.iter().is_sorted_by(|a, b| a < b);
        if ascending {
            Ok(values)
        } else {
            Err(reader.corrupt("label values in ascending order"))
        }
    }

    /// A finding about a section.
    pub(crate) fn corrupt(&self, section: &str, expected: String) -> Corrupt {
        Corrupt::new(place(&self.reader, section), 0, expected)
    }
}

/// Which groups may hold what is searched.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    needs: Vec<Resolved>,
}

impl Candidates {
    /// Whether a group may hold all that is needed.
    pub(crate) fn may_hold(&self, part: &Part, group: &Group) -> Result<bool, Corrupt> {
        for need in &self.needs {
            if !need.may_hold(group.number, || part.filter(group))? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Groups whose terms are read at once. Small in tests.
const TERMS_GROUPS: u32 = if cfg!(test) { 3 } else { 256 };

/// The terms of some groups.
#[derive(Debug)]
pub(crate) struct Terms {
    /// Number of the first of the groups.
    first: u32,
    all: Vec<Vec<u8>>,
    /// By group, numbers of terms.
    by_group: Vec<Vec<u32>>,
}

impl Terms {
    /// The terms of a group, if they were read.
    pub(crate) fn of(&self, group: &Group) -> Option<impl Iterator<Item = &[u8]>> {
        let nth = group.number.checked_sub(self.first)?;
        let numbers = self.by_group.get(nth as usize)?;
        let term = |number: &u32| self.all[*number as usize].as_slice();
        Some(numbers.iter().map(term))
    }
}

impl Postings for Part {
    fn stream_count(&self) -> u32 {
        self.stream_count
    }

    fn with_value(&self, matcher: &Matcher, accepted: bool) -> Result<RoaringBitmap, Corrupt> {
        let mut found = RoaringBitmap::new();
        let Some(body) = self.postings_body(&matcher.name)? else {
            return Ok(found);
        };
        let place = place(&self.reader, POSTINGS);
        let mut reader = Reader::new(&place, &body);
        let values = self.read_values(&mut reader)?;
        let lookups = lookups(matcher, accepted);
        for value in values.iter() {
            let wanted = match &lookups {
                Some(texts) => texts.binary_search(&value).is_ok(),
                None => matcher.matches(value) == accepted,
            };
            if wanted {
                found |= bitmap::decode(&mut reader, u64::from(self.stream_count))?;
            } else {
                bitmap::skip(&mut reader)?;
            }
        }
        Ok(found)
    }
}

/// How a section is called in errors.
fn place(reader: &PartReader, section: &str) -> String {
    format!("{}/{section}", reader.name())
}

/// The bytes of item `index`, where each item ends at `ends[index]`.
fn slice_between<'a>(bytes: &'a [u8], ends: &[usize], index: usize) -> Option<&'a [u8]> {
    let start = match index.checked_sub(1) {
        Some(before) => *ends.get(before)?,
        None => 0,
    };
    bytes.get(start..*ends.get(index)?)
}

/// Ascending offsets.
fn read_ends(reader: &mut Reader<'_>, count_max: usize) -> Result<Vec<usize>, Corrupt> {
    let ends = read_sizes(reader, count_max)?;
    if ends.is_sorted() {
        Ok(ends)
    } else {
        Err(reader.corrupt("ascending offsets"))
    }
}

fn read_sizes(reader: &mut Reader<'_>, count_max: usize) -> Result<Vec<usize>, Corrupt> {
    let values = ints::decode(reader, count_max)?;
    let sizes: Option<Vec<usize>> = values
        .into_iter()
        // Above 2^40 nothing of a part lies; the bound keeps sums of sizes from overflowing.
        .map(|v| usize::try_from(v).ok().filter(|size| *size <= 1 << 40))
        .collect();
    sizes.ok_or_else(|| reader.corrupt("offsets and lengths"))
}

fn read_numbers(reader: &mut Reader<'_>, count_max: usize) -> Result<Vec<u32>, Corrupt> {
    let values = ints::decode(reader, count_max)?;
    let numbers: Option<Vec<u32>> = values.into_iter().map(|v| u32::try_from(v).ok()).collect();
    numbers.ok_or_else(|| reader.corrupt("numbers of streams and sections"))
}

fn read_page_heads(
    reader: &mut Reader<'_>,
    streams: u32,
    pages_max: usize,
) -> Result<Vec<PageHead>, Corrupt> {
    let firsts = read_numbers(reader, pages_max)?;
    let count = firsts.len();
    let lasts = read_numbers(reader, count)?;
    let mins = ints::decode(reader, count)?;
    let spans = ints::decode(reader, count)?;
    let groups = read_numbers(reader, count)?;
    let ends = read_ends(reader, count)?;
    if [
        lasts.len(),
        mins.len(),
        spans.len(),
        groups.len(),
        ends.len(),
    ] != [count; 5]
    {
        return Err(reader.corrupt(format!("{count} values in every column of page heads")));
    }
    let mut start = 0;
    let mut number = 0u32;
    let mut pages = Vec::with_capacity(count);
    for index in 0..count {
        let (first, last) = (firsts[index], lasts[index]);
        if first > last || last >= streams {
            return Err(reader.corrupt(format!("pages of streams below {streams}")));
        }
        let next = number.checked_add(groups[index]);
        let next = next.ok_or_else(|| reader.corrupt("fewer than 2^32 groups"))?;
        pages.push(PageHead {
            streams: first..=last,
            groups: number..next,
            min: mins[index],
            max: mins[index].wrapping_add(spans[index]),
            bytes: start..ends[index],
        });
        (start, number) = (ends[index], next);
    }
    Ok(pages)
}

fn read_page(mut reader: Reader<'_>, streams: u32, version: u8) -> Result<Page, Corrupt> {
    let sections = read_numbers(&mut reader, PAGE_BLOCKS_MAX)?;
    let count = sections.len();
    let mut sizes = Vec::new();
    let columns = match version {
        VERSION_BEFORE => 7,
        _ => 9,
    };
    for _ in 0..columns {
        let column = read_sizes(&mut reader, count)?;
        if column.len() != count {
            return Err(reader.corrupt(format!("{count} values in every column of groups")));
        }
        sizes.push(column);
    }
    let block_streams = read_numbers(&mut reader, PAGE_BLOCKS_MAX)?;
    let blocks_count = block_streams.len();
    let mins = ints::decode(&mut reader, blocks_count)?;
    let spans = ints::decode(&mut reader, blocks_count)?;
    let rows = read_sizes(&mut reader, blocks_count)?;
    let line_bytes = read_sizes(&mut reader, blocks_count)?;
    let counts = [mins.len(), spans.len(), rows.len(), line_bytes.len()];
    if counts != [blocks_count; 4] || block_streams.iter().any(|s| *s >= streams) {
        return Err(reader.corrupt(format!("{blocks_count} values in every column of blocks")));
    }
    let blocks: Vec<Block> = (0..blocks_count)
        .map(|index| Block {
            stream: block_streams[index],
            min: mins[index],
            max: mins[index].wrapping_add(spans[index]),
            rows: rows[index],
            bytes: line_bytes[index] as u64,
        })
        .collect();
    let mut groups = Vec::with_capacity(count);
    let mut start = 0usize;
    for index in 0..count {
        let end = start + sizes[6][index];
        let rows = blocks
            .get(start..end)
            .map(|b| b.iter().map(|b| b.rows).sum());
        if rows.is_none_or(|rows: usize| rows > GROUP_ROWS_MAX) {
            return Err(reader.corrupt("groups of blocks"));
        }
        groups.push(Group {
            number: 0,
            section: sections[index],
            offset: sizes[0][index],
            lengths: ColumnLengths {
                times: sizes[1][index],
                lines: sizes[2][index],
                metadata: sizes[3][index],
            },
            filter: sizes[4][index]..sizes[4][index] + sizes[5][index],
            counts: match sizes.get(7..) {
                Some([starts, lengths]) => starts[index]..starts[index] + lengths[index],
                _ => 0..0,
            },
            blocks: start..end,
        });
        start = end;
    }
    if start != blocks_count || !blocks.iter().all(|b| b.rows > 0 && b.min <= b.max) {
        return Err(reader.corrupt("blocks with rows, each in a group"));
    }
    reader.finish()?;
    Ok(Page { groups, blocks })
}
