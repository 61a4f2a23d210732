//! Merges parts into one.
//!
//! A group that stands for itself is taken over as it is: a merge costs what it copies. Rows are
//! written anew only where that makes something better: of small groups, of groups that reach out
//! of what is kept or have hidden rows, and of groups that overlap in time with rows of the same
//! stream in another part, where order and repeats must be settled.
//! Invariant: of rows with equal times those of an earlier part come first, so that order of
//! arrival is kept and the first of equal records stays. Memory: the groups that rows are taken
//! from at one time, at least one of each part.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;

use obs_model::{Labels, TimeRange, Timestamp};
use obs_storage::codec::bytes;
use obs_storage::{Corrupt, Hidden, Input, PartWriter};
use roaring::RoaringBitmap;

use crate::deletion::Hides;
use crate::group::{GROUP_BYTES, GROUP_ROWS_MAX, OpenGroup};
use crate::kind::Logs;
use crate::lines::Search;
use crate::part::{Block, Group, Part, Terms};
use crate::write::Writer;

/// Groups with fewer bytes of lines are put together with others.
const SMALL_BYTES: u64 = GROUP_BYTES as u64 / 4;
/// Open groups that are kept beside one of each part, so that the small streams of a group do not
/// open it once each.
const OPEN_MORE: usize = 4;

/// A group of one of the parts.
struct Source<'a> {
    /// Index of its part.
    rank: usize,
    part: &'a Part,
    group: Group,
    blocks: Vec<(Labels, Block)>,
    rows: usize,
}

/// Rows of a stream that stand together.
#[derive(Clone, Copy)]
struct Run {
    rank: usize,
    source: usize,
    block: Block,
    first_row: usize,
}

/// Writes the visible rows of all parts inside `keep`, each record once.
pub(crate) fn merge(
    inputs: &[Input<'_, Logs>],
    keep: TimeRange,
    out: &mut PartWriter,
) -> Result<(), Corrupt> {
    let mut sources = Vec::new();
    for (rank, input) in inputs.iter().enumerate() {
        gather(rank, input.part, keep, &mut sources)?;
    }
    let anew = written_anew(inputs, &sources, keep);
    let mut writer = Writer::new(out, bytes::LEVEL);
    Rewrite::new(inputs, &sources, &anew, keep).run(&mut writer)?;
    let mut terms: Option<(usize, Terms)> = None;
    for (source, anew) in sources.iter().zip(&anew) {
        if *anew {
            continue;
        }
        let near = |(rank, terms): &(usize, Terms)| {
            *rank == source.rank && terms.of(&source.group).is_some()
        };
        let known = match terms.take().filter(near) {
            Some(known) => known,
            None => (source.rank, source.part.terms_near(&source.group)?),
        };
        let (_, found) = terms.insert(known);
        let columns = source.part.columns(&source.group)?;
        let filter = source.part.filter(&source.group)?;
        let counts = source.part.counts_bytes(&source.group)?;
        let terms = found.of(&source.group).into_iter().flatten();
        let beside = (filter, counts);
        writer.copy(&source.group, columns, beside, terms, &source.blocks)?;
        fits(&writer)?;
    }
    writer.finish()
}

fn fits(writer: &Writer<'_>) -> Result<(), Corrupt> {
    if writer.labels_fit() {
        return Ok(());
    }
    // The parts stay as they are; they can be read, what is made of them could not.
    Err(Corrupt::new("merged part", 0, "fewer bytes of labels"))
}

/// The groups of a part with rows to keep.
fn gather<'a>(
    rank: usize,
    part: &'a Part,
    keep: TimeRange,
    sources: &mut Vec<Source<'a>>,
) -> Result<(), Corrupt> {
    let mut streams: HashMap<u32, Labels> = HashMap::new();
    for head in part.pages() {
        let page = part.page(head)?;
        let missing = page.blocks.iter().map(|block| block.stream);
        let missing = missing.filter(|stream| !streams.contains_key(stream));
        let missing: RoaringBitmap = missing.collect();
        part.labels(&missing, |stream, labels| {
            streams.insert(stream, labels);
        })?;
        for group in page.groups {
            let blocks = &page.blocks[group.blocks.clone()];
            if !blocks.iter().any(|block| block.range().overlaps(keep)) {
                continue;
            }
            let rows = blocks.iter().map(|block| block.rows).sum();
            let blocks = blocks.iter().map(|b| (streams[&b.stream].clone(), *b));
            sources.push(Source {
                rank,
                part,
                blocks: blocks.collect(),
                rows,
                group,
            });
        }
    }
    Ok(())
}

/// For each group whether its rows are written anew.
///
/// Groups that meet in time in some stream are decided together: what is copied then never meets
/// what is written, and order and repeats are settled inside what is written.
fn written_anew(inputs: &[Input<'_, Logs>], sources: &[Source<'_>], keep: TimeRange) -> Vec<bool> {
    let mut sets = Sets::new(sources.len());
    let mut by_stream: HashMap<&Labels, Vec<(i64, i64, usize)>> = HashMap::new();
    for (index, source) in sources.iter().enumerate() {
        for (labels, block) in &source.blocks {
            let place = (block.min, block.max, index);
            by_stream.entry(labels).or_default().push(place);
        }
    }
    for places in by_stream.values_mut() {
        places.sort_unstable();
        let mut reach: Option<(i64, usize)> = None;
        for &(min, max, index) in places.iter() {
            if let Some((end, before)) = reach
                && end >= min
            {
                sets.join(before, index);
            }
            if reach.is_none_or(|(end, _)| end <= max) {
                reach = Some((max, index));
            }
        }
    }
    // By set: the part of its first group, and whether it is written anew.
    let mut decided: HashMap<usize, (usize, bool)> = HashMap::new();
    for (index, source) in sources.iter().enumerate() {
        let stays = stays(source, inputs[source.rank].hidden, keep);
        let set = decided
            .entry(sets.find(index))
            .or_insert((source.rank, false));
        set.1 |= !stays || set.0 != source.rank;
    }
    (0..sources.len())
        .map(|index| decided[&sets.find(index)].1)
        .collect()
}

/// Whether a group is worth taking over as it is.
fn stays(source: &Source<'_>, hidden: &[Hidden<Logs>], keep: TimeRange) -> bool {
    let bytes: u64 = source.blocks.iter().map(|(_, block)| block.bytes).sum();
    let whole = source.blocks.iter().all(|(labels, block)| {
        let mut hidden = hidden.iter();
        let inside = keep.start.nanos() <= block.min && block.max <= keep.end.nanos();
        inside && !hidden.any(|h| h.range.overlaps(block.range()) && h.selector.takes(labels))
    });
    // What fills a group beside its lines.
    let many = source.rows >= GROUP_ROWS_MAX / 4;
    let wide = 4 * source.group.lengths.metadata as u64 >= SMALL_BYTES;
    // Old groups get counts and filters as new ones have them.
    (bytes >= SMALL_BYTES || many || wide) && whole && !source.part.is_old()
}

/// Disjoint sets of numbers from 0.
struct Sets(Vec<usize>);

impl Sets {
    fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    fn find(&mut self, mut number: usize) -> usize {
        while self.0[number] != number {
            self.0[number] = self.0[self.0[number]];
            number = self.0[number];
        }
        number
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.find(one), self.find(other));
        self.0[one.max(other)] = one.min(other);
    }
}

/// Writes the rows of some groups, stream by stream.
struct Rewrite<'s, 'a> {
    sources: &'s [Source<'a>],
    hides: Vec<Hides<'s>>,
    keep: TimeRange,
    streams: BTreeMap<&'s Labels, Vec<Run>>,
    /// Where blocks begin that are copied, by stream, ascending: rows on both sides of one must not
    /// become one block, which would reach over it.
    copied: HashMap<&'s Labels, Vec<i64>>,
    /// Recently opened groups, the last one used last.
    open: VecDeque<(usize, Rc<OpenGroup<'a>>)>,
    everything: Search,
}

/// The rows of a stream in one part, in order of time.
struct Cursor<'a> {
    runs: Vec<Run>,
    /// The run it stands in, and the row of its group.
    run: usize,
    row: usize,
    group: Rc<OpenGroup<'a>>,
}

impl<'s, 'a> Rewrite<'s, 'a> {
    fn new(
        inputs: &'s [Input<'_, Logs>],
        sources: &'s [Source<'a>],
        anew: &[bool],
        keep: TimeRange,
    ) -> Self {
        let mut streams: BTreeMap<&Labels, Vec<Run>> = BTreeMap::new();
        let mut copied: HashMap<&Labels, Vec<i64>> = HashMap::new();
        for (index, source) in sources.iter().enumerate() {
            if !anew[index] {
                for (labels, block) in &source.blocks {
                    copied.entry(labels).or_default().push(block.min);
                }
                continue;
            }
            let mut first_row = 0;
            for (labels, block) in &source.blocks {
                if block.range().overlaps(keep) {
                    streams.entry(labels).or_default().push(Run {
                        rank: source.rank,
                        source: index,
                        block: *block,
                        first_row,
                    });
                }
                first_row += block.rows;
            }
        }
        copied
            .values_mut()
            .for_each(|begins| begins.sort_unstable());
        Self {
            copied,
            sources,
            hides: inputs
                .iter()
                .map(|input| Hides::new(input.hidden))
                .collect(),
            keep,
            streams,
            open: VecDeque::new(),
            everything: Search::new(&[]),
        }
    }

    fn run(mut self, writer: &mut Writer<'_>) -> Result<(), Corrupt> {
        for (labels, mut runs) in std::mem::take(&mut self.streams) {
            writer.stream(labels);
            // Stable, so that equal times of one part stay in order.
            runs.sort_by_key(|run| (run.rank, run.block.min, run.block.max));
            let mut cursors = Vec::new();
            for runs in runs.chunk_by(|a, b| a.rank == b.rank) {
                cursors.push(Cursor {
                    group: self.group(runs[0].source)?,
                    row: runs[0].first_row,
                    runs: runs.to_vec(),
                    run: 0,
                });
            }
            self.stream(labels, cursors, writer)?;
            fits(writer)?;
        }
        Ok(())
    }

    fn stream(
        &mut self,
        labels: &Labels,
        mut cursors: Vec<Cursor<'a>>,
        writer: &mut Writer<'_>,
    ) -> Result<(), Corrupt> {
        let mut times = Vec::with_capacity(cursors.len());
        for cursor in &cursors {
            times.push(cursor.group.times()?[cursor.row]);
        }
        let mut line = Vec::new();
        let copied = self.copied.remove(labels).unwrap_or_default();
        let mut copied = copied.into_iter().peekable();
        // The first of equal times is the one that arrived first.
        while let Some(at) = (0..times.len()).min_by_key(|at| times[*at]) {
            let cursor = &mut cursors[at];
            let time = times[at];
            while copied.next_if(|begin| *begin <= time).is_some() {
                writer.end_block();
            }
            if self.keep.contains(Timestamp::from_nanos(time)) {
                line.clear();
                cursor.group.write_line(cursor.row, &mut line)?;
                let hides = &self.hides[cursor.runs[0].rank];
                if !hides.row(labels, time, &line) {
                    writer.row(time, &line, &cursor.group.metadata(cursor.row)?)?;
                }
            }
            if self.advance(&mut cursors[at])? {
                let next = cursors[at].group.times()?[cursors[at].row];
                if next < time {
                    let expected = "rows of a stream in order of time";
                    return Err(Corrupt::new("merged part", 0, expected));
                }
                times[at] = next;
            } else {
                times.remove(at);
                cursors.remove(at);
            }
        }
        Ok(())
    }

    /// Goes to the next row; `false` at the end.
    fn advance(&mut self, cursor: &mut Cursor<'a>) -> Result<bool, Corrupt> {
        let run = cursor.runs[cursor.run];
        cursor.row += 1;
        if cursor.row < run.first_row + run.block.rows {
            return Ok(true);
        }
        cursor.run += 1;
        let Some(next) = cursor.runs.get(cursor.run) else {
            return Ok(false);
        };
        cursor.row = next.first_row;
        cursor.group = self.group(next.source)?;
        Ok(true)
    }

    fn group(&mut self, source: usize) -> Result<Rc<OpenGroup<'a>>, Corrupt> {
        if let Some(at) = self.open.iter().position(|(open, _)| *open == source) {
            let (_, group) = self.open.remove(at).expect("found just now");
            self.open.push_back((source, Rc::clone(&group)));
            return Ok(group);
        }
        let found = &self.sources[source];
        let group = found
            .part
            .group(&found.group, found.rows, &mut self.everything)?;
        let group = Rc::new(group.expect("a search without conditions wants every group"));
        if self.open.len() == self.hides.len() + OPEN_MORE {
            self.open.pop_front();
        }
        self.open.push_back((source, Rc::clone(&group)));
        Ok(group)
    }
}
