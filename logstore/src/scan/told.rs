//! What is told of pieces without a look at their rows: how many there are, in all or by minute
//! and level.
//!
//! Invariant: a piece is told so only when all of its rows are wanted, none of them is hidden, and
//! no other piece of its stream meets it in time, where a record could be stored twice.

use std::collections::HashSet;

use obs_model::{Budget, Labels, TimeRange};
use obs_storage::{Corrupt, Snapshot};

use super::{Found, GroupId, Piece, Source, Visitor};
use crate::counts::{Counts, Minutes};
use crate::deletion::Hides;
use crate::error::SelectError;
use crate::extents::{Extent, VisitExtent};
use crate::kind::Logs;
use crate::memory::{Memory, TimedRow};
use crate::part::nanos;

/// The counts of the group that was asked for last: pieces of a group follow each other.
#[derive(Default)]
struct LastCounts(Option<(GroupId, Option<Counts>)>);

impl LastCounts {
    fn of<'s>(&'s mut self, piece: &Piece<'_>) -> Result<Option<&'s Counts>, Corrupt> {
        let Source::Part { part, group, .. } = &piece.source else {
            return Ok(None);
        };
        let known = self.0.take().filter(|(id, _)| *id == group.id);
        let known = match known {
            Some(known) => known,
            None => (group.id, part.counts(&group.group)?),
        };
        Ok(self.0.insert(known).1.as_ref())
    }
}

impl Found<'_> {
    /// For each piece whether it decides alone on its time.
    fn alone(&self, snapshot: &Snapshot<Logs>) -> Vec<bool> {
        let pieces = &self.pieces;
        let mut order: Vec<usize> = (0..pieces.len()).collect();
        order.sort_by_key(|at| (pieces[*at].stream, pieces[*at].order.1, pieces[*at].max));
        // A part has each record once; a memory keeps retries.
        let store = |at: usize| match &pieces[at].source {
            Source::Part { .. } => (pieces[at].order.0, 0),
            Source::Memory { .. } => (pieces[at].order.0, at),
        };
        let mut alone = vec![false; pieces.len()];
        for same in order.chunk_by(|a, b| pieces[*a].stream == pieces[*b].stream) {
            // When the next rows of another store begin.
            let mut begin: Option<i64> = None;
            let mut behind: Option<usize> = None;
            for &at in same.iter().rev() {
                if let Some(behind) = behind.filter(|behind| store(*behind) != store(at)) {
                    begin = Some(pieces[behind].order.1);
                }
                behind = Some(at);
                alone[at] = begin.is_none_or(|begin| pieces[at].max < begin);
            }
            // Up to when rows were met, by the store that reaches furthest and by the others.
            let mut reach: [Option<((usize, usize), i64)>; 2] = [None; 2];
            for &at in same {
                let (own, max) = (store(at), pieces[at].max);
                let others = reach.iter().flatten().filter(|(store, _)| *store != own);
                let met = others.map(|(_, max)| *max).max();
                alone[at] &= met.is_none_or(|met| met < pieces[at].order.1)
                    && self.shows_all(&pieces[at], snapshot);
                let slot = match reach {
                    [Some((store, _)), _] if store == own => 0,
                    [None, _] => 0,
                    [_, Some((store, _))] if store == own => 1,
                    [_, None] => 1,
                    // Of two other stores the nearer one does not matter any more.
                    [Some(_), Some((_, second))] if second <= max => 1,
                    _ => continue,
                };
                let before = reach[slot].filter(|(store, _)| *store == own);
                reach[slot] = Some((own, before.map_or(max, |(_, before)| before.max(max))));
                if reach[1].map(|(_, max)| max) > reach[0].map(|(_, max)| max) {
                    reach.swap(0, 1);
                }
            }
        }
        alone
    }

    /// Whether nothing of a piece is hidden.
    fn shows_all(&self, piece: &Piece<'_>, snapshot: &Snapshot<Logs>) -> bool {
        let rank = piece.order.0;
        let hidden = match rank.checked_sub(snapshot.parts.len()) {
            None => snapshot.hidden.in_part(rank),
            Some(memory) => snapshot.hidden.in_memory(memory),
        };
        let hides = Hides::new(hidden);
        let labels = &self.streams[piece.stream];
        hides.of_stream(labels, piece.span()).is_empty()
    }

    /// Tells the visitor of pieces that it need not look into, which are then gone.
    pub(super) fn tell(
        &mut self,
        snapshot: &Snapshot<Logs>,
        range: TimeRange,
        visitor: &mut dyn Visitor,
    ) -> Result<(), SelectError> {
        let alone = self.alone(snapshot);
        let by_minute = visitor.wants_minutes();
        let mut counts = LastCounts::default();
        let mut told = Vec::with_capacity(alone.len());
        for (piece, alone) in self.pieces.iter().zip(alone) {
            if !alone || matches!(piece.source, Source::Memory { .. }) {
                told.push(false);
                continue;
            }
            let labels = &self.streams[piece.stream];
            let whole =
                piece.is_inside(range) && visitor.whole(labels, piece.span(), piece.rows as u64)?;
            told.push(
                whole || by_minute && tell_minutes(piece, labels, range, &mut counts, visitor)?,
            );
        }
        self.retain_others(told);
        Ok(())
    }

    fn retain_others(&mut self, told: Vec<bool>) {
        let mut told = told.into_iter();
        self.pieces.retain(|_| !told.next().unwrap_or(false));
    }

    /// Tells where the rows of pieces lie, of those that need no look at the rows; the others stay.
    /// Gives the number of all.
    pub(crate) fn tell_extents(
        &mut self,
        snapshot: &Snapshot<Logs>,
        range: TimeRange,
        budget: &Budget,
        visit: &mut VisitExtent<'_>,
    ) -> Result<u64, SelectError> {
        let count = self.pieces.len() as u64;
        let alone = self.alone(snapshot);
        let mut counts = LastCounts::default();
        for piece in self.pieces.iter().zip(&alone).filter(|(_, alone)| **alone) {
            let piece = piece.0;
            let labels = &self.streams[piece.stream];
            budget.check()?;
            if let Source::Memory {
                memory,
                stream,
                rows,
                first_row,
            } = &piece.source
            {
                let rows = &rows[*first_row..first_row + piece.rows];
                extents_of_memory(memory, *stream, rows, labels, visit)?;
                continue;
            }
            match minutes_of(piece, &mut counts)? {
                Some(minutes) => extents_of_minutes(piece, &minutes, labels, range, visit)?,
                None => visit(Extent {
                    labels,
                    range: piece.span(),
                    records: piece.rows as u64,
                    bytes: piece.bytes,
                })?,
            }
        }
        self.retain_others(alone);
        Ok(count)
    }
}

/// Tells the counts of a piece by minutes; `false` where it has none, where a minute reaches over
/// an end of the range, or where they do not suffice.
fn tell_minutes(
    piece: &Piece<'_>,
    labels: &Labels,
    range: TimeRange,
    counts: &mut LastCounts,
    visitor: &mut dyn Visitor,
) -> Result<bool, SelectError> {
    let Some(mut minutes) = minutes_of(piece, counts)? else {
        return Ok(false);
    };
    let all = minutes.counts;
    let from = all.partition_point(|count| count.range().end < range.start);
    let to = all.partition_point(|count| count.range().start <= range.end);
    minutes.counts = &all[from..to.max(from)];
    let ends = [minutes.counts.first(), minutes.counts.last()];
    // What reaches over an end of the range may have no row there.
    let inside = |minute: TimeRange| {
        let minute = minute.intersect(piece.span());
        range.start <= minute.start && minute.end <= range.end
    };
    if !ends.iter().flatten().all(|count| inside(count.range())) {
        return Ok(false);
    }
    Ok(minutes.counts.is_empty() || visitor.minutes(labels, &minutes)?)
}

fn minutes_of<'s>(
    piece: &Piece<'_>,
    counts: &'s mut LastCounts,
) -> Result<Option<Minutes<'s>>, Corrupt> {
    let Source::Part { nth, .. } = &piece.source else {
        return Ok(None);
    };
    let found = counts.of(piece)?;
    found
        .map(|counts| counts.of(*nth, piece.rows, piece.bytes))
        .transpose()
}

fn extents_of_minutes(
    piece: &Piece<'_>,
    minutes: &Minutes<'_>,
    labels: &Labels,
    range: TimeRange,
    visit: &mut VisitExtent<'_>,
) -> Result<(), SelectError> {
    for count in minutes.counts {
        let minute = count.range();
        // From one whole minute to before the next: a record on the border counts for the minute
        // that ends there.
        let before = |at: i64| at.saturating_sub(1);
        let told = nanos(before(minute.start.nanos()), before(minute.end.nanos()));
        let told = told.intersect(piece.span());
        let told = if told.is_empty() { piece.span() } else { told };
        // The border itself may be all that the range has of it.
        let exact = minute.intersect(piece.span());
        let told = if told.overlaps(range) { told } else { exact };
        if !told.overlaps(range) {
            continue;
        }
        visit(Extent {
            labels,
            range: told,
            records: count.records,
            bytes: count.bytes,
        })?;
    }
    Ok(())
}

/// Each row of a memory, repeats once.
fn extents_of_memory(
    memory: &Memory,
    stream: u32,
    rows: &[TimedRow],
    labels: &Labels,
    visit: &mut VisitExtent<'_>,
) -> Result<(), SelectError> {
    memory.read(|inner| {
        let stream = &inner.streams[stream as usize];
        for same in rows.chunk_by(|a, b| a.time == b.time) {
            let mut seen = HashSet::new();
            for timed in same {
                let row = stream.row(timed.row);
                if same.len() > 1 && !seen.insert(row) {
                    continue;
                }
                visit(Extent {
                    labels,
                    range: nanos(timed.time, timed.time),
                    records: 1,
                    bytes: row.0.len() as u64,
                })?;
            }
        }
        Ok(())
    })
}
