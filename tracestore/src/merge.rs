//! Merges parts: the traces of all, each once, late spans beside their trace.
//!
//! Invariants: the first part in order of arrival wins where an identity is in several. A block
//! whose traces are in no other part is copied as it is, without being decoded.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use obs_model::{TimeRange, Timestamp, TraceId};
use obs_storage::{Corrupt, PartWriter};
use xxhash_rust::xxh3::Xxh3DefaultBuilder;

use crate::block::Block;
use crate::part::Part;
use crate::row::Identity;
use crate::source::Source;
use crate::write::{PART_ROWS, Writer};

/// Blocks with fewer rows are put together with others.
const COPIED_ROWS_MIN: usize = PART_ROWS / 2;

/// What is written in one go.
enum Step {
    /// The rows of a trace, from wherever they are.
    Trace(TraceId),
    /// A block of a part.
    Block(usize, usize),
}

/// Traces of a part in order of rows: id, range, rows.
type Listed = Vec<(TraceId, TimeRange, usize)>;

/// Writes the rows of all parts that start inside `keep`.
pub(crate) fn merge(parts: &[&Part], keep: TimeRange, out: &mut PartWriter) -> Result<(), Corrupt> {
    let mut source = Source::new(parts.to_vec());
    let mut listed: Vec<Listed> = Vec::with_capacity(parts.len());
    for (number, part) in parts.iter().enumerate() {
        listed.push(list(part, &mut source, number)?);
    }
    // The first start of a trace, and the part that it is in if it is in one alone.
    let mut known: HashMap<TraceId, (Timestamp, Option<usize>), Xxh3DefaultBuilder> =
        HashMap::default();
    for (number, traces) in listed.iter().enumerate() {
        for (id, range, _) in traces {
            match known.entry(*id) {
                Entry::Vacant(empty) => {
                    empty.insert((range.start, Some(number)));
                }
                Entry::Occupied(mut known) => {
                    let (start, _) = *known.get();
                    known.insert((start.min(range.start), None));
                }
            }
        }
    }
    let inside = |part: &&Part| {
        let starts = part.starts();
        keep.contains(starts.start) && keep.contains(starts.end)
    };
    let all_kept = parts.iter().all(inside);
    let mut steps: Vec<(Timestamp, TraceId, Step)> = Vec::new();
    let mut copied: HashMap<(usize, usize), std::ops::Range<usize>> = HashMap::new();
    for (number, part) in parts.iter().enumerate() {
        for (block, traces) in whole(part, &listed[number]) {
            let alone = |(id, ..): &(TraceId, TimeRange, usize)| {
                known.get(id).is_some_and(|(_, part)| *part == Some(number))
            };
            let stands = all_kept
                && part.block_rows(block).len() >= COPIED_ROWS_MIN
                && listed[number][traces.clone()].iter().all(alone);
            if !stands {
                continue;
            }
            for (id, ..) in &listed[number][traces.clone()] {
                known.remove(id);
            }
            let (id, range, _) = listed[number][traces.start];
            steps.push((range.start, id, Step::Block(number, block)));
            copied.insert((number, block), traces);
        }
    }
    steps.extend(
        known
            .into_iter()
            .map(|(id, (start, _))| (start, id, Step::Trace(id))),
    );
    steps.sort_unstable_by_key(|(start, id, _)| (*start, *id));
    let mut writer = if all_kept {
        Writer::of_parts(out, parts)?
    } else {
        Writer::new(out)
    };
    for (_, _, step) in steps {
        match step {
            Step::Block(number, block) => {
                let traces = &listed[number][copied[&(number, block)].clone()];
                writer.copy(parts[number], block, traces)?;
            }
            Step::Trace(id) => writer.trace(id, &rows(&mut source, id, keep)?),
        }
    }
    writer.finish();
    Ok(())
}

/// The traces of a part in order of rows.
fn list(part: &Part, source: &mut Source<'_>, number: usize) -> Result<Listed, Corrupt> {
    let mut listed = Vec::with_capacity(part.trace_count());
    for block in 0..part.block_count() {
        let table = source.table(number, block)?;
        let known = (0..table.len()).map(|n| (table.hull(n), table.rows(n).len()));
        listed.extend(known.map(|(hull, rows)| (TraceId::default(), hull, rows)));
    }
    let ids = part.ids()?;
    for index in 0..part.trace_count() {
        // Places are below the number of traces, and tables have as many.
        listed[ids.place(index)?].0 = ids.id(index);
    }
    Ok(listed)
}

/// The blocks that hold whole traces only, each with the numbers of these.
fn whole(part: &Part, listed: &Listed) -> Vec<(usize, std::ops::Range<usize>)> {
    let mut found = Vec::new();
    let (mut row, mut trace) = (0, 0);
    for block in 0..part.block_count() {
        let rows = part.block_rows(block);
        // A trace that began in an earlier block and does not end before this one.
        let begins = row == rows.start;
        let first = trace;
        while row < rows.end && trace < listed.len() {
            row += listed[trace].2;
            trace += 1;
        }
        if begins && row == rows.end && trace > first {
            found.push((block, first..trace));
        }
    }
    found
}

/// The rows of a trace in all parts that start inside `keep`, each identity once, in order.
fn rows(
    source: &mut Source<'_>,
    id: TraceId,
    keep: TimeRange,
) -> Result<Vec<(Arc<Block>, usize)>, Corrupt> {
    let mut rows = Vec::new();
    source.places(id, &mut rows)?;
    let start = |block: &Block, row: usize| Timestamp::from_nanos(block.starts[row]);
    rows.retain(|(block, row)| keep.contains(start(block, *row)));
    let mut seen: std::collections::HashSet<Identity> = std::collections::HashSet::new();
    rows.retain(|(block, row)| seen.insert(block.identity(*row)));
    rows.sort_by_key(|(block, row)| block.order(*row));
    Ok(rows)
}
