//! What a container used: the integral of a counter or of a gauge over its life.
//!
//! Invariant: segments are in order and do not overlap, so that amounts of parts of a span add up
//! to the amount of the span; a counter's increase is never counted twice nor outside of a life.

use crate::span::Span;

/// A stretch of time with its mean rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Segment {
    /// When.
    pub span: Span,
    /// Amount per second, or the level of a gauge.
    pub rate: f64,
}

impl Segment {
    /// An amount over a while, if there is one.
    fn of(start: i64, end: i64, amount: f64) -> Option<Self> {
        let span = Span::new(start, end);
        let rate = amount / span.seconds();
        (!span.is_empty()).then_some(Self { span, rate })
    }
}

/// Rates by time; where none is known it is 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage(Vec<Segment>);

/// How often something is looked at where that cannot be seen: a minute.
pub(crate) const INTERVAL: i64 = 60_000_000_000;

/// The usual distance of samples.
pub(crate) fn interval(points: &[(i64, f64)]) -> i64 {
    let mut gaps: Vec<i64> = points.windows(2).map(|p| p[1].0 - p[0].0).collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2).copied().unwrap_or(INTERVAL).max(1)
}

impl Usage {
    /// From segments in any order; of two that overlap the earlier one counts.
    pub fn new(mut segments: Vec<Segment>) -> Self {
        segments.retain(|s| !s.span.is_empty() && s.rate.is_finite());
        segments.sort_by_key(|s| (s.span.start, s.span.end));
        let mut end = i64::MIN;
        for segment in &mut segments {
            segment.span = Span::new(segment.span.start.max(end), segment.span.end.max(end));
            end = segment.span.end;
        }
        segments.retain(|s| !s.span.is_empty());
        Self(segments)
    }

    /// From samples of one counter, in order of time, of a container with these lives. A counter
    /// begins at 0 with a life; after its last sample the last rate goes on for two intervals.
    pub fn of_counter(points: &[(i64, f64)], lives: &[Span]) -> Self {
        let life_at = |at: i64| lives.iter().rev().find(|life| life.start <= at);
        let mut segments: Vec<Segment> = Vec::with_capacity(points.len() + 1);
        if let Some((at, value)) = points.first().copied()
            && let Some(life) = life_at(at)
        {
            segments.extend(Segment::of(life.start, at, value));
        }
        for pair in points.windows(2) {
            let [(before, old), (at, value)] = [pair[0], pair[1]];
            if value >= old {
                segments.extend(Segment::of(before, at, value - old));
                continue;
            }
            // The counter began anew, in a life that began since or after a restart unseen. Until
            // then the old one went on as before.
            let begin = life_at(at).map_or(before, |life| life.start.max(before));
            if let Some(last) = segments.last().copied()
                && let Some(life) = life_at(before)
            {
                let span = Span::new(before, life.end.min(begin));
                segments.push(Segment { span, ..last });
            }
            segments.extend(Segment::of(begin, at, value));
        }
        if let Some((at, _)) = points.last().copied()
            && let Some(last) = segments.last().copied()
            && let Some(life) = life_at(at)
        {
            let gap = interval(points).max(if points.len() < 2 { INTERVAL } else { 1 });
            let end = life.end.min(at.saturating_add(gap.saturating_mul(2)));
            let span = Span::new(at, end);
            segments.push(Segment {
                span,
                rate: last.rate,
            });
        }
        Self::new(within(segments, lives))
    }

    /// From samples of a gauge, in order of time: each level holds until the next sample, the
    /// first from the begin and the last to the end of the life, where these are near.
    pub fn of_gauge(points: &[(i64, f64)], lives: &[Span]) -> Self {
        let gap = interval(points).saturating_mul(5).max(5 * INTERVAL);
        let mut segments = Vec::with_capacity(points.len() + 1);
        for (index, (at, level)) in points.iter().copied().enumerate() {
            let life = lives.iter().rev().find(|life| life.start <= at);
            let next = points.get(index + 1).map_or(i64::MAX, |point| point.0);
            let end = next.min(at.saturating_add(gap));
            let first = points[..index]
                .last()
                .is_none_or(|before| life.is_some_and(|life| before.0 < life.start));
            let start = match life {
                Some(life) if first && at - life.start <= gap => life.start,
                _ => at,
            };
            let span = Span::new(start, end);
            segments.push(Segment { span, rate: level });
        }
        Self::new(within(segments, lives))
    }

    /// Several series of one container, such as one for each of its restarts.
    pub fn joined(parts: impl IntoIterator<Item = Self>) -> Self {
        Self::new(parts.into_iter().flat_map(|part| part.0).collect())
    }

    /// All rates together, such as those of several interfaces.
    pub fn sum(parts: &[Self]) -> Self {
        if let [one] = parts {
            return one.clone();
        }
        let segments = parts.iter().flat_map(|part| &part.0);
        let mut edges: Vec<i64> = segments.flat_map(|s| [s.span.start, s.span.end]).collect();
        edges.sort_unstable();
        edges.dedup();
        let pieces = edges.windows(2).map(|pair| Segment {
            span: Span::new(pair[0], pair[1]),
            rate: parts.iter().map(|part| part.at(pair[0])).sum(),
        });
        Self::new(pieces.collect())
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The segments in order.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// The rate at a time.
    pub fn at(&self, at: i64) -> f64 {
        let after = self.0.partition_point(|s| s.span.start <= at);
        let found = self.0[..after].last();
        found.map_or(0.0, |s| if s.span.contains(at) { s.rate } else { 0.0 })
    }

    /// The times at which the rate changes, within a span.
    pub fn edges(&self, span: Span) -> impl Iterator<Item = i64> + '_ {
        let from = self.0.partition_point(|s| s.span.end <= span.start);
        let inside = self.0[from..].iter();
        let inside = inside.take_while(move |s| s.span.start < span.end);
        inside.flat_map(|s| [s.span.start, s.span.end])
    }

    /// Rate × seconds over a span.
    pub fn amount(&self, span: Span) -> f64 {
        let from = self.0.partition_point(|s| s.span.end <= span.start);
        let inside = self.0[from..].iter();
        let inside = inside.take_while(|s| s.span.start < span.end);
        inside
            .map(|s| s.rate * s.span.intersect(span).seconds())
            .sum()
    }

    /// The highest rate in a span.
    pub fn max(&self, span: Span) -> f64 {
        let inside = self.0.iter().filter(|s| !s.span.intersect(span).is_empty());
        inside.map(|s| s.rate).fold(0.0, f64::max)
    }
}

/// The parts of segments that lie in lives.
fn within(segments: Vec<Segment>, lives: &[Span]) -> Vec<Segment> {
    let mut kept = Vec::with_capacity(segments.len());
    for segment in segments {
        for life in lives {
            let span = segment.span.intersect(*life);
            kept.push(Segment { span, ..segment });
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    fn spans(lives: &[(i64, i64)]) -> Vec<Span> {
        lives.iter().map(|l| Span::new(l.0 * S, l.1 * S)).collect()
    }

    fn points(points: &[(i64, f64)]) -> Vec<(i64, f64)> {
        points.iter().map(|p| (p.0 * S, p.1)).collect()
    }

    #[test]
    fn counters_are_integrated_from_begin_to_end() {
        let check = |samples: &[(i64, f64)], lives: &[(i64, i64)], expect: f64| {
            let usage = Usage::of_counter(&points(samples), &spans(lives));
            let found = usage.amount(Span::new(i64::MIN / 2, i64::MAX / 2));
            assert!((found - expect).abs() < 1e-9, "{found} is not {expect}");
        };
        // Half a core for 100 s, seen every 30 s: what came before and after counts.
        let seen = [(20, 5.0), (50, 20.0), (80, 35.0)];
        check(&seen, &[(10, 110)], 50.0);
        // One look is enough.
        check(&[(30, 10.0)], &[(10, 50)], 20.0);
        // A restart: the counter begins anew.
        check(&[(30, 20.0), (60, 10.0)], &[(10, 40), (50, 60)], 40.0);
        // Nothing outside of lives.
        check(&[(30, 20.0), (60, 50.0)], &[], 0.0);
        check(&[], &[(0, 10)], 0.0);
    }

    #[test]
    fn gauges_hold() {
        let check = |samples: &[(i64, f64)], lives: &[(i64, i64)], expect: f64| {
            let usage = Usage::of_gauge(&points(samples), &spans(lives));
            let found = usage.amount(Span::new(0, i64::MAX / 2));
            assert!((found - expect).abs() < 1e-9, "{found} is not {expect}");
        };
        check(
            &[(20, 2.0), (50, 4.0)],
            &[(10, 60)],
            40.0 * 2.0 + 10.0 * 4.0,
        );
        check(&[(20, 2.0)], &[(10, 30)], 40.0);
        // Nothing is known of the time long after the last sample.
        check(&[(0, 1.0)], &[(0, 100_000)], 300.0);
        check(&[(0, f64::NAN)], &[(0, 10)], 0.0);
    }
}
