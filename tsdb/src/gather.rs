//! What was read of series so far: samples of several sources, put together in order of arrival, and
//! the time columns that they share.
//!
//! Invariant: of two samples at one time the one that was added first stays; numbers of time columns
//! hold until a reader goes on to the next chunk.

use std::collections::HashMap;
use std::sync::Arc;

use obs_model::Timestamp;

use crate::column::{Column, MilliRange};
use crate::part::TimesCache;
use crate::selection::Need;
use crate::summary::{EXACT_MAX, Fallen, Summary, is_whole};

/// Time columns that a reader remembers between chunks.
const TIMES_MAX: usize = 4096;

/// The samples of one series so far.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    /// The time columns that follow each other, while nothing had to be merged.
    pieces: Vec<u32>,
    last: i64,
    /// With times of its own only once something had to be merged.
    pub(crate) samples: Column,
    merged: bool,
    /// Some values may be NaN.
    pub(crate) special: bool,
    /// The last time and the milliseconds of sources that are coarser than what was asked for.
    pub(crate) rough: Option<(i64, i64)>,
    /// Blocks came as summaries.
    pub(crate) condensed: bool,
}

impl Gathering {
    /// Whether what starts at a time is behind all of this.
    pub(crate) fn follows(&self, time: i64) -> bool {
        !self.merged && (self.samples.values.is_empty() || self.last < time)
    }

    /// Whether summaries of blocks give the same answer as their samples.
    pub(crate) fn suffices(&self, need: Need) -> bool {
        let Need::Windows { sums, falls, .. } = need else {
            return false;
        };
        let all = &self.samples;
        let fallen = || all.summaries.iter().map(|(_, one)| one.fallen);
        let often = falls && fallen().any(|f| matches!(f, Fallen::Often(_) | Fallen::Unknown));
        let exact = || has_exact_sums(&all.values, &all.summaries);
        all.histograms.is_empty() && (!(sums || often) || exact())
    }

    pub(crate) fn append(&mut self, piece: u32, last: i64, floats: &[f64]) {
        self.pieces.push(piece);
        self.samples.values.extend_from_slice(floats);
        self.last = last;
    }

    /// Adds what is visible of samples that arrived later than all of this.
    pub(crate) fn add_column(&mut self, times: &mut TimesTable, column: Column) {
        if !column.is_empty() {
            let piece = times.intern(&column.times);
            self.add(times, piece, column);
        }
    }

    /// Adds what arrived later than all of this; its times are those of the piece.
    pub(crate) fn add(&mut self, times: &TimesTable, piece: u32, mut later: Column) {
        let mine = times.millis(piece);
        let (Some(first), Some(last)) = (mine.first(), mine.last()) else {
            return;
        };
        if self.follows(*first) {
            self.pieces.push(piece);
            self.last = *last;
            if self.samples.values.is_empty() {
                later.times.clear();
                self.samples = later;
            } else {
                self.samples.append_untimed(&later);
            }
            return;
        }
        if !self.merged {
            self.merged = true;
            let pieces = self.pieces.iter();
            self.samples.times = pieces.flat_map(|p| times.millis(*p)).copied().collect();
        }
        later.times.clear();
        later.times.extend_from_slice(mine);
        self.samples.merge_later(&later);
    }
}

/// Whether the sums of summaries and samples are exact in whatever order they are added.
fn has_exact_sums(values: &[f64], summaries: &[(u32, Summary)]) -> bool {
    let mut amount = 0.0;
    let mut next = summaries.iter().peekable();
    for (index, value) in values.iter().enumerate() {
        match next.next_if(|(at, _)| *at as usize == index) {
            Some((_, summary)) if !summary.exact => return false,
            Some((_, summary)) => amount += summary.amount(),
            None if !is_whole(*value) => return false,
            None => amount += value.abs(),
        }
    }
    amount <= EXACT_MAX
}

/// Time columns that many series share, as a reader remembers them between chunks.
#[derive(Debug, Default)]
pub struct TimesTable {
    pub(crate) caches: HashMap<u32, TimesCache>,
    columns: Vec<TimesColumn>,
    /// By the address of a column of a part, which `columns` keeps alive.
    by_address: HashMap<usize, u32>,
    /// Columns of the last time of others, by the address of those, which `columns` keeps alive.
    lasts: HashMap<usize, u32>,
    /// By the hash of the times, for columns of memories.
    by_hash: HashMap<u64, u32>,
    /// The column interned last.
    recent: u32,
    /// Columns put together from several.
    joined: HashMap<Vec<u32>, Arc<Vec<Timestamp>>>,
}

/// A column of times, and which of them are in the range of the selection.
#[derive(Debug)]
struct TimesColumn {
    millis: Arc<Vec<i64>>,
    from: usize,
    to: usize,
    times: Arc<Vec<Timestamp>>,
}

impl TimesTable {
    /// Forgets everything where it became too much. Only between chunks: numbers change.
    pub(crate) fn shrink(&mut self) {
        if self.columns.len() > TIMES_MAX || self.joined.len() > TIMES_MAX {
            *self = Self::default();
        }
    }

    fn millis(&self, piece: u32) -> &[i64] {
        let column = &self.columns[piece as usize];
        &column.millis[column.from..column.to]
    }

    pub(crate) fn cut(&self, piece: u32) -> (usize, usize) {
        let column = &self.columns[piece as usize];
        (column.from, column.to)
    }

    fn push(&mut self, millis: Arc<Vec<i64>>, from: usize, to: usize) -> u32 {
        let times = millis[from..to].iter().copied();
        self.columns.push(TimesColumn {
            times: Arc::new(times.map(Timestamp::from_millis).collect()),
            millis,
            from,
            to,
        });
        self.columns.len() as u32 - 1
    }

    /// The number of a column of a part.
    pub(crate) fn piece(&mut self, column: &Arc<Vec<i64>>, range: MilliRange) -> u32 {
        let address = Arc::as_ptr(column) as usize;
        if let Some(known) = self.by_address.get(&address) {
            return *known;
        }
        let (from, to) = range.find(column);
        let number = self.push(Arc::clone(column), from, to);
        self.by_address.insert(address, number);
        number
    }

    /// The number of the last time of a column of a part.
    pub(crate) fn last_of(&mut self, column: &Arc<Vec<i64>>) -> u32 {
        let address = Arc::as_ptr(column) as usize;
        if let Some(known) = self.lasts.get(&address) {
            return *known;
        }
        let number = self.push(Arc::clone(column), column.len() - 1, column.len());
        self.lasts.insert(address, number);
        number
    }

    /// The number of times that are not shared where they come from.
    pub(crate) fn intern(&mut self, times: &[i64]) -> u32 {
        let same = |number: u32, columns: &[TimesColumn]| {
            let column = columns.get(number as usize);
            column.is_some_and(|c| c.millis[c.from..c.to] == *times)
        };
        if same(self.recent, &self.columns) {
            return self.recent;
        }
        // Fibonacci hashing; what it finds is compared.
        let hash = times.iter().fold(times.len() as u64, |hash, time| {
            (hash ^ *time as u64)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29)
        });
        let known = self.by_hash.get(&hash).copied();
        let number = match known.filter(|n| same(*n, &self.columns)) {
            Some(number) => number,
            None => {
                let number = self.push(Arc::new(times.to_vec()), 0, times.len());
                self.by_hash.insert(hash, number);
                number
            }
        };
        self.recent = number;
        number
    }

    /// The times of a series.
    pub(crate) fn resolve(&mut self, one: &mut Gathering) -> Arc<Vec<Timestamp>> {
        if one.merged {
            let own = one.samples.times.iter().copied();
            return Arc::new(own.map(Timestamp::from_millis).collect());
        }
        if let [piece] = one.pieces[..] {
            return Arc::clone(&self.columns[piece as usize].times);
        }
        if let Some(known) = self.joined.get(&one.pieces) {
            return Arc::clone(known);
        }
        let mut all = Vec::with_capacity(one.samples.values.len());
        for piece in &one.pieces {
            all.extend_from_slice(&self.columns[*piece as usize].times);
        }
        let all = Arc::new(all);
        self.joined
            .insert(std::mem::take(&mut one.pieces), Arc::clone(&all));
        all
    }
}
