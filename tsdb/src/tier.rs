//! Tiers: samples that stand for all samples of some minutes, and which sources a reader takes where
//! there are both.
//!
//! Invariants: a sample of a tier stands at the time of the last one that it stands for, with its
//! value; none stands for samples of two buckets, which are `(k·r, (k+1)·r]`, so that no window
//! whose borders are multiples of `r` splits one. Markers of ended series stay as they are.
//! See decision 0084.

use std::collections::BTreeMap;
use std::sync::Arc;

use obs_model::histogram::{Histogram, ResetHint};
use obs_model::{Matcher, TimeRange, Timestamp};
use obs_storage::{Corrupt, PartTag, Snapshot};

use crate::column::{Column, MilliRange, NO_START};
use crate::kind::Metrics;
use crate::postings::find;
use crate::summary::Run;

/// A run of so many samples ends before a second fall, so that what a counter had when it was reset
/// is added in its order; values that fall more often are no counter's.
const FALL_SAMPLES_MIN: u64 = 8;

/// What a run is when it goes on.
struct Going {
    bucket: i64,
    run: Run,
    time: i64,
    value: f64,
}

/// The samples of a tier for those of an ascending column, one for about so many milliseconds.
///
/// Tells whether histograms were left out.
pub(crate) fn thin(column: &Column, resolution: i64) -> (Column, bool) {
    let mut thinned = false;
    let mut out = Column::default();
    let mut going: Option<Going> = None;
    let mut histograms = 0;
    for (index, (time, value)) in column.times.iter().zip(&column.values).enumerate() {
        let bucket = (time - 1).div_euclid(resolution);
        let histogram = column.histograms.get(histograms);
        if let Some((_, histogram)) = histogram.filter(|(at, _)| *at as usize == index) {
            end(&mut going, &mut out);
            match is_between(column, histograms, resolution) {
                true => thinned = true,
                false => out.push(*time, Err(Arc::clone(histogram)), NO_START),
            }
            histograms += 1;
            continue;
        }
        if value.is_nan() {
            end(&mut going, &mut out);
            out.push(*time, Ok(*value), NO_START);
            continue;
        }
        let goes_on = |going: &&mut Going| {
            let falls = going.run.falls_again(*value) && going.run.count() >= FALL_SAMPLES_MIN;
            going.bucket == bucket && !falls
        };
        if let Some(going) = going.as_mut().filter(goes_on) {
            going.run.add(*value);
            (going.time, going.value) = (*time, *value);
            continue;
        }
        end(&mut going, &mut out);
        going = Some(Going {
            bucket,
            run: Run::new(*time, *value),
            time: *time,
            value: *value,
        });
    }
    end(&mut going, &mut out);
    (out, thinned)
}

fn end(going: &mut Option<Going>, out: &mut Column) {
    if let Some(Going {
        run, time, value, ..
    }) = going.take()
    {
        let summary = run.finish();
        if summary.count > 1 {
            out.summaries.push((out.times.len() as u32, summary));
        }
        out.push(time, Ok(value), NO_START);
    }
}

/// Whether a histogram may be left out: its neighbours are histograms of the same bucket, and from
/// one to the other everything only grows.
fn is_between(column: &Column, at: usize, resolution: i64) -> bool {
    let place = |at: usize| {
        let (index, histogram) = column.histograms.get(at)?;
        let time = column.times.get(*index as usize)?;
        Some((*index, (time - 1).div_euclid(resolution), histogram))
    };
    let before = at.checked_sub(1).and_then(place);
    let (Some(before), Some(this), Some(next)) = (before, place(at), place(at + 1)) else {
        return false;
    };
    let neighbours = before.0 + 1 == this.0 && this.0 + 1 == next.0;
    let together = before.1 == this.1 && this.1 == next.1;
    neighbours && together && grows(before.2, this.2) && grows(this.2, next.2)
}

fn grows(before: &Histogram, now: &Histogram) -> bool {
    let hints = [ResetHint::Unknown, ResetHint::NotReset];
    let ascends = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a <= b);
    hints.contains(&now.reset_hint)
        && hints.contains(&before.reset_hint)
        && !before.is_stale()
        && !now.is_stale()
        && before.schema == now.schema
        && before.zero_threshold == now.zero_threshold
        && before.custom_bounds == now.custom_bounds
        && before.positive_spans == now.positive_spans
        && before.negative_spans == now.negative_spans
        && before.count <= now.count
        && before.zero_count <= now.zero_count
        && ascends(&before.positive, &now.positive)
        && ascends(&before.negative, &now.negative)
}

/// How coarse samples may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    /// A tier that divides these nanoseconds gives the same answer; 0 for none.
    pub same: i64,
    /// Falls of counters are made up for.
    pub falls: bool,
    /// A tier of up to so many nanoseconds is welcome, whatever the answer.
    pub most: i64,
}

impl Resolution {
    fn is_same(self, tier: i64) -> bool {
        self.same != 0 && self.same % tier == 0
    }

    fn fits(self, tier: i64) -> bool {
        tier <= self.most || self.is_same(tier)
    }
}

/// What a reader does with a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Another part stands for it.
    Skip,
    /// Its samples are read.
    Read,
    /// They are read, and are coarser than what was asked for.
    Rough,
}

/// What a reader does with each part of a snapshot. Samples as they came are read where they all are
/// there, unless a tier surely gives the same answer or was asked for.
pub(crate) fn choose(
    snapshot: &Snapshot<Metrics>,
    matchers: &[Matcher],
    range: TimeRange,
    resolution: Resolution,
) -> Result<Vec<Use>, Corrupt> {
    let mut uses = vec![Use::Read; snapshot.parts.len()];
    if snapshot.tags.iter().all(|tag| tag.tier == 0) {
        return Ok(uses);
    }
    let mut windows: BTreeMap<Timestamp, Vec<usize>> = BTreeMap::new();
    for (index, tag) in snapshot.tags.iter().enumerate() {
        windows.entry(tag.window).or_default().push(index);
    }
    for parts in windows.values() {
        let (rows, tiers): (Vec<usize>, Vec<usize>) = parts
            .iter()
            .partition(|index| snapshot.tags[**index].tier == 0);
        let mut ranges = parts.iter().map(|part| snapshot.parts[*part].part.range());
        if tiers.is_empty() || !ranges.any(|held| held.overlaps(range)) {
            continue;
        }
        let taken = choose_tier(snapshot, matchers, (&rows, &tiers), resolution)?;
        tiers.iter().for_each(|tier| uses[*tier] = Use::Skip);
        let Some(taken) = taken else {
            continue;
        };
        let tag = snapshot.tags[taken];
        uses[taken] = match resolution.is_same(tag.tier) {
            true => Use::Read,
            false => Use::Rough,
        };
        let stands_for = |row: &&usize| snapshot.tags[**row].until <= tag.until;
        let known = rows.iter().filter(stands_for);
        known.for_each(|row| uses[*row] = Use::Skip);
    }
    Ok(uses)
}

/// The tier of a window that is read in place of rows as they came, if any is.
fn choose_tier(
    snapshot: &Snapshot<Metrics>,
    matchers: &[Matcher],
    (rows, tiers): (&[usize], &[usize]),
    resolution: Resolution,
) -> Result<Option<usize>, Corrupt> {
    let tag = |index: &usize| -> PartTag { snapshot.tags[*index] };
    let coarsest = |fitting: &dyn Fn(&&usize) -> bool| {
        let fitting = tiers.iter().filter(fitting);
        fitting.max_by_key(|tier| tag(tier).tier).copied()
    };
    if rows.is_empty() || tiers.iter().any(|tier| tag(tier).closed) {
        let last = |tier: &&usize| rows.is_empty() || tag(tier).closed;
        let fitting = coarsest(&|tier| last(tier) && resolution.fits(tag(tier).tier));
        let finest = tiers.iter().filter(last).min_by_key(|tier| tag(tier).tier);
        return Ok(fitting.or(finest.copied()));
    }
    let newest = rows.iter().map(|row| tag(row).until).max().unwrap_or(0);
    let mut fitting: Vec<usize> = tiers.to_vec();
    fitting.retain(|tier| tag(tier).until >= newest && resolution.fits(tag(tier).tier));
    fitting.sort_by_key(|tier| std::cmp::Reverse(tag(tier).tier));
    for tier in fitting {
        let asked = tag(&tier).tier <= resolution.most;
        if asked || is_exact(snapshot, tier, matchers, resolution.falls)? {
            return Ok(Some(tier));
        }
    }
    Ok(None)
}

/// Whether a tier says of its window what the rows that it was made of say now.
fn is_exact(
    snapshot: &Snapshot<Metrics>,
    tier: usize,
    matchers: &[Matcher],
    falls: bool,
) -> Result<bool, Corrupt> {
    let part = &snapshot.parts[tier].part;
    let range = TimeRange::new(snapshot.tags[tier].window, part.range().end);
    // What hides a bucket in part hides it whole in a tier.
    let hides = |hidden: TimeRange| hidden.overlaps(range) && hidden.intersect(range) != range;
    let mut hidden = snapshot.hidden.in_part(tier).iter();
    let mut memories = snapshot
        .memories
        .iter()
        .filter_map(|m| m.read().time_range());
    if hidden.any(|hidden| hides(hidden.range)) || memories.any(|held| held.overlaps(range)) {
        return Ok(false);
    }
    let (falling, thinned) = part.differing()?;
    let differing = match falls {
        true => falling | thinned,
        false => thinned,
    };
    Ok(differing.is_empty() || find(part, matchers)?.is_disjoint(&differing))
}

/// The smallest range of milliseconds that holds all that a sample stands for.
pub(crate) fn reach(column: &Column, index: usize) -> MilliRange {
    let end = column.times[index];
    let found = column
        .summaries
        .binary_search_by_key(&index, |(i, _)| *i as usize);
    let start = found.map_or(end, |at| column.summaries[at].1.first_time.millis());
    MilliRange { start, end }
}
