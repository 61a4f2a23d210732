//! Stretches of time, and values that hold for a while.
//!
//! Times are nanoseconds since 1970. Invariant: a span includes its start and not its end.

/// A stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first nanosecond.
    pub start: i64,
    /// The nanosecond after the last.
    pub end: i64,
}

/// The length of so many nanoseconds in hours.
pub fn hours(nanos: i64) -> f64 {
    nanos as f64 / 3.6e12
}

impl Span {
    /// From `start` to `end`; empty where that is backward.
    pub fn new(start: i64, end: i64) -> Self {
        Self {
            start,
            end: end.max(start),
        }
    }

    /// Whether there is no time in it.
    pub fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// What both have.
    pub fn intersect(self, other: Self) -> Self {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// The smallest span with both; an empty one adds nothing.
    pub fn union(self, other: Self) -> Self {
        match (self.is_empty(), other.is_empty()) {
            (_, true) => self,
            (true, false) => other,
            _ => Self::new(self.start.min(other.start), self.end.max(other.end)),
        }
    }

    /// Whether a time lies in it.
    pub fn contains(self, at: i64) -> bool {
        self.start <= at && at < self.end
    }

    /// Its length.
    pub fn nanos(self) -> i64 {
        self.end.saturating_sub(self.start).max(0)
    }

    /// Its length in hours.
    pub fn hours(self) -> f64 {
        hours(self.nanos())
    }

    /// Its length in seconds.
    pub fn seconds(self) -> f64 {
        self.nanos() as f64 / 1e9
    }

    /// The pieces between edges, in order; edges outside do not count.
    pub fn cut(self, edges: impl IntoIterator<Item = i64>) -> Vec<Span> {
        if self.is_empty() {
            return Vec::new();
        }
        let inside = edges.into_iter().filter(|at| self.contains(*at));
        let mut all: Vec<i64> = inside.chain([self.start, self.end]).collect();
        all.sort_unstable();
        all.dedup();
        all.windows(2)
            .map(|pair| Span::new(pair[0], pair[1]))
            .collect()
    }
}

/// A value by time: each holds from its time to the next. Before the first, the first holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Steps(Vec<(i64, f64)>);

impl Steps {
    /// Always the same.
    pub fn constant(value: f64) -> Self {
        Self(vec![(i64::MIN, value)])
    }

    /// Values from their times on, in any order; of one time the last counts.
    pub fn new(mut points: Vec<(i64, f64)>) -> Self {
        points.sort_by_key(|point| point.0);
        let mut kept: Vec<(i64, f64)> = Vec::with_capacity(points.len());
        for (at, value) in points {
            match kept.last_mut() {
                Some(last) if last.0 == at => last.1 = value,
                Some(last) if last.1 == value => {}
                _ => kept.push((at, value)),
            }
        }
        Self(kept)
    }

    /// The value at a time; 0 where nothing is known.
    pub fn at(&self, at: i64) -> f64 {
        let after = self.0.partition_point(|point| point.0 <= at);
        let found = self.0.get(after.saturating_sub(1));
        found.map_or(0.0, |point| point.1)
    }

    /// The times at which it changes.
    pub fn edges(&self) -> impl Iterator<Item = i64> + '_ {
        self.0.iter().skip(1).map(|point| point.0)
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The largest value.
    pub fn max(&self) -> f64 {
        self.0.iter().map(|point| point.1).fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_a_span_once() {
        let check = |span: (i64, i64), edges: &[i64], expect: &[(i64, i64)]| {
            let pieces = Span::new(span.0, span.1).cut(edges.iter().copied());
            let found: Vec<(i64, i64)> = pieces.iter().map(|s| (s.start, s.end)).collect();
            assert_eq!(found, expect);
        };
        check((0, 10), &[], &[(0, 10)]);
        check((0, 10), &[5, 5, 0, 10, 11, -1], &[(0, 5), (5, 10)]);
        check((3, 3), &[3], &[]);
        check((5, 1), &[3], &[]);
    }

    #[test]
    fn values_hold_until_the_next() {
        let steps = Steps::new(vec![(20, 2.0), (10, 1.0), (30, 2.0)]);
        let found: Vec<f64> = [0, 10, 19, 20, 99].map(|at| steps.at(at)).to_vec();
        assert_eq!(found, [1.0, 1.0, 1.0, 2.0, 2.0]);
        assert_eq!(steps.edges().collect::<Vec<_>>(), [20]);
        assert_eq!(Steps::default().at(7), 0.0);
        assert_eq!(Steps::constant(3.0).at(i64::MIN), 3.0);
    }
}
