//! The samples of one series as columns, and how two of them become one.
//!
//! Invariants: `times` (milliseconds) and `values` have the same length; `starts` has it too, or is
//! empty; `histograms` is sorted by index, and where it has an entry the value is a NaN without
//! meaning. In a sorted column times ascend strictly. Of two samples at one time the one that
//! arrived first stays, whatever their values: an equal one is a repetition, a different one is a
//! conflict that every order of merges must solve alike.

use std::sync::Arc;

use obs_model::histogram::Histogram;
use obs_model::time::NANOS_PER_MILLI;
use obs_model::{TimeRange, Timestamp};

use crate::summary::Summary;

/// Stands in `starts` for a sample without a start timestamp.
pub(crate) const NO_START: i64 = i64::MIN;

/// Columns of samples; see the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Column {
    /// Milliseconds since the epoch.
    pub(crate) times: Vec<i64>,
    /// Floats.
    pub(crate) values: Vec<f64>,
    /// Native histograms by index.
    pub(crate) histograms: Vec<(u32, Arc<Histogram>)>,
    /// Start timestamps in milliseconds, or nothing when no sample has one.
    pub(crate) starts: Vec<i64>,
    /// What stands for more than one sample, by index; its time and value are those of the last.
    pub(crate) summaries: Vec<(u32, Summary)>,
}

/// The milliseconds that lie in a range of nanoseconds, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MilliRange {
    /// First millisecond.
    pub(crate) start: i64,
    /// Last millisecond.
    pub(crate) end: i64,
}

impl MilliRange {
    /// A stored millisecond belongs to a range when its nanosecond does. The ends of all time
    /// stand for themselves: the first millisecond begins before the first nanosecond.
    pub(crate) fn of(range: TimeRange) -> Self {
        let start = match range.start {
            Timestamp::MIN => i64::MIN,
            start => {
                let part = i64::from(start.nanos().rem_euclid(NANOS_PER_MILLI) > 0);
                start.millis() + part
            }
        };
        let end = match range.end {
            Timestamp::MAX => i64::MAX,
            end => end.millis(),
        };
        Self { start, end }
    }

    /// The same range in nanoseconds.
    pub(crate) fn nanos(self) -> TimeRange {
        TimeRange::new(
            Timestamp::from_millis(self.start),
            Timestamp::from_millis(self.end),
        )
    }

    /// Whether a millisecond belongs to the range.
    pub(crate) fn contains(self, time: i64) -> bool {
        self.start <= time && time <= self.end
    }

    /// Whether some millisecond belongs to both.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.start.max(other.start) <= self.end.min(other.end)
    }

    /// What belongs to both, where they overlap.
    pub(crate) fn intersect(self, other: Self) -> Self {
        Self {
            start: self.start.max(other.start),
            end: self.end.min(other.end),
        }
    }

    /// The smallest range that holds both.
    pub(crate) fn union(self, other: Self) -> Self {
        Self {
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        }
    }

    /// Indices (from, to) of the ascending times that belong to the range.
    pub(crate) fn find(self, times: &[i64]) -> (usize, usize) {
        let from = times.partition_point(|t| *t < self.start);
        let to = times.partition_point(|t| *t <= self.end);
        (from, to.max(from))
    }
}

impl Column {
    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Takes all samples out; what they took stays reserved.
    pub(crate) fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
        self.histograms.clear();
        self.starts.clear();
        self.summaries.clear();
    }

    /// Appends one sample.
    pub(crate) fn push(&mut self, time: i64, value: Result<f64, Arc<Histogram>>, start: i64) {
        match value {
            Ok(float) => self.values.push(float),
            Err(histogram) => {
                self.histograms.push((self.times.len() as u32, histogram));
                self.values.push(f64::NAN);
            }
        }
        if start != NO_START || !self.starts.is_empty() {
            self.starts.resize(self.times.len(), NO_START);
            self.starts.push(start);
        }
        self.times.push(time);
    }

    /// Appends the samples of another column from one index to another.
    pub(crate) fn extend(&mut self, other: &Self, from: usize, to: usize) {
        self.extend_untimed(other, from, to);
        self.times.extend_from_slice(&other.times[from..to]);
    }

    /// Appends the samples of another column, where times are kept elsewhere.
    pub(crate) fn append_untimed(&mut self, other: &Self) {
        self.extend_untimed(other, 0, other.values.len());
    }

    fn extend_untimed(&mut self, other: &Self, from: usize, to: usize) {
        let base = self.values.len();
        let moved = |index: u32| (index as usize - from + base) as u32;
        if !other.histograms.is_empty() {
            let list = &other.histograms;
            let before = |end: usize| list.partition_point(|(i, _)| (*i as usize) < end);
            let some = list[before(from)..before(to)].iter();
            let some = some.map(|(index, one)| (moved(*index), Arc::clone(one)));
            self.histograms.extend(some);
        }
        if !other.summaries.is_empty() {
            let list = &other.summaries;
            let before = |end: usize| list.partition_point(|(i, _)| (*i as usize) < end);
            let some = list[before(from)..before(to)].iter();
            self.summaries
                .extend(some.map(|(index, one)| (moved(*index), *one)));
        }
        let has_starts = other
            .starts
            .get(from..to)
            .is_some_and(|all| !self.starts.is_empty() || all.iter().any(|s| *s != NO_START));
        if has_starts {
            self.starts.resize(base, NO_START);
            self.starts.extend_from_slice(&other.starts[from..to]);
        } else if !self.starts.is_empty() {
            self.starts.resize(base + to - from, NO_START);
        }
        self.values.extend_from_slice(&other.values[from..to]);
    }

    /// Keeps only the samples from one index to another, where times are kept elsewhere.
    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        self.values.truncate(to);
        self.values.drain(..from);
        self.starts.truncate(to);
        self.starts.drain(..from.min(self.starts.len()));
        let inside = |index: u32| (from..to).contains(&(index as usize));
        self.histograms.retain(|(index, _)| inside(*index));
        self.summaries.retain(|(index, _)| inside(*index));
        let histograms = self.histograms.iter_mut().map(|(index, _)| index);
        let summaries = self.summaries.iter_mut().map(|(index, _)| index);
        histograms
            .chain(summaries)
            .for_each(|index| *index -= from as u32);
    }

    /// The samples from one index to another as a column of their own.
    pub(crate) fn slice(&self, from: usize, to: usize) -> Self {
        let mut slice = Self::default();
        slice.extend(self, from, to);
        slice
    }

    /// The samples of an ascending column that belong to a range.
    pub(crate) fn within(&self, range: MilliRange) -> Self {
        let (from, to) = range.find(&self.times);
        self.slice(from, to)
    }

    /// The samples from one index to another in order of time, of equal times the first one.
    pub(crate) fn sorted(&self, from: usize, to: usize) -> Self {
        let mut order: Vec<usize> = (from..to).collect();
        order.sort_by_key(|index| self.times[*index]); // stable: the first arrival stays first
        order.dedup_by_key(|index| self.times[*index]);
        let mut sorted = Self::default();
        for index in order {
            sorted.extend(self, index, index + 1);
        }
        sorted
    }

    /// Both ascending columns in one; at equal times `first` wins.
    pub(crate) fn merge(first: &Self, second: &Self) -> Self {
        let mut merged = Self::default();
        merged.times.reserve_exact(first.len() + second.len());
        merged.values.reserve_exact(first.len() + second.len());
        let (mut i, mut j) = (0, 0);
        while i < first.len() && j < second.len() {
            let (a, b) = (first.times[i], second.times[j]);
            if a == b {
                j += 1;
            } else if a < b {
                let run = first.times[i..].partition_point(|t| *t < b);
                merged.extend(first, i, i + run);
                i += run;
            } else {
                let run = second.times[j..].partition_point(|t| *t < a);
                merged.extend(second, j, j + run);
                j += run;
            }
        }
        merged.extend(first, i, first.len());
        merged.extend(second, j, second.len());
        merged
    }

    /// Adds an ascending column that arrived later.
    pub(crate) fn merge_later(&mut self, later: &Self) {
        match (self.times.last(), later.times.first()) {
            (Some(last), Some(first)) if last >= first => *self = Self::merge(self, later),
            _ => self.extend(later, 0, later.len()),
        }
    }

    /// Estimate of the resident bytes without the histograms' own.
    pub(crate) fn bytes(&self) -> usize {
        8 * (self.times.capacity() + self.values.capacity() + self.starts.capacity())
            + 16 * self.histograms.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(samples: &[(i64, f64)]) -> Column {
        let mut column = Column::default();
        for (time, value) in samples {
            column.push(*time, Ok(*value), NO_START);
        }
        column
    }

    #[test]
    fn the_first_arrival_wins() {
        let check = |first: &[(i64, f64)], second: &[(i64, f64)], expect: &[(i64, f64)]| {
            let mut merged = column(first);
            merged.merge_later(&column(second));
            let found: Vec<_> = merged.times.iter().copied().zip(merged.values).collect();
            assert_eq!(found, expect);
        };
        check(&[(1, 1.0)], &[(2, 2.0)], &[(1, 1.0), (2, 2.0)]);
        check(
            &[(2, 2.0)],
            &[(1, 1.0), (2, 9.0), (3, 3.0)],
            &[(1, 1.0), (2, 2.0), (3, 3.0)],
        );
        check(&[], &[(1, 1.0)], &[(1, 1.0)]);
        check(
            &[(1, 1.0), (5, 5.0)],
            &[(3, 3.0)],
            &[(1, 1.0), (3, 3.0), (5, 5.0)],
        );
        let unsorted = column(&[(9, 0.0), (3, 1.0), (1, 2.0), (3, 4.0)]).sorted(1, 4);
        assert_eq!(
            (unsorted.times, unsorted.values),
            (vec![1, 3], vec![2.0, 1.0])
        );
    }

    #[test]
    fn histograms_and_starts_move_with_their_samples() {
        let mut first = column(&[(1, 1.0), (4, 4.0)]);
        let mut second = Column::default();
        second.push(2, Err(Arc::default()), 7);
        second.push(3, Ok(3.0), NO_START);
        first.merge_later(&second);
        assert_eq!(first.times, [1, 2, 3, 4]);
        assert_eq!(first.starts, [NO_START, 7, NO_START, NO_START]);
        assert_eq!(first.histograms[0].0, 1);
        assert_eq!(first.slice(1, 3).histograms[0].0, 0);
        assert!(first.slice(2, 4).starts.is_empty());
    }

    #[test]
    fn milliseconds_of_a_range_of_nanoseconds() {
        let check = |start: i64, end: i64, expect: (i64, i64)| {
            let range = TimeRange::new(Timestamp::from_nanos(start), Timestamp::from_nanos(end));
            let found = MilliRange::of(range);
            assert_eq!((found.start, found.end), expect);
        };
        check(0, 0, (0, 0));
        check(1, 999_999, (1, 0));
        check(-1, 1_000_000, (0, 1));
        check(i64::MIN, i64::MAX, (i64::MIN, i64::MAX));
    }
}
