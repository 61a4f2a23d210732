//! Which spans stand for others: spread over the time of a query, one of a trace.
//!
//! Invariant: at most as many as were asked for, at most two of each slice of time; the same spans
//! in the same order give the same exemplars.

use std::collections::HashSet;

use obs_model::{SpanId, Timestamp, TraceId};

use super::steps::Steps;

/// Exemplars of one slice of time.
const SLICE_MAX: usize = 2;

/// A chosen span.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pick {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    pub(super) name: String,
    pub(super) time: Timestamp,
    /// The measured value; NaN for counts.
    pub(super) value: f64,
}

/// Chooses.
#[derive(Debug)]
pub(super) struct Picker {
    left: usize,
    slices: Vec<usize>,
    start: i64,
    width: i64,
    /// The traces that have one: spans of a trace need not follow each other.
    taken: HashSet<TraceId>,
}

impl Picker {
    pub(super) fn new(most: usize, steps: &Steps) -> Self {
        let range = steps.range();
        let slices = (most / SLICE_MAX).max(1);
        // Slices are at most 5,000.
        let width = (range.end - range.start) / slices as i64 + 1;
        Self {
            left: most,
            slices: vec![0; slices],
            start: range.start.nanos(),
            width,
            taken: HashSet::new(),
        }
    }

    /// Whether no more are chosen.
    pub(super) fn is_full(&self) -> bool {
        self.left == 0
    }

    /// Whether a span of this time would be chosen.
    pub(super) fn wants(&self, time: Timestamp) -> bool {
        let free = self.slice(time).and_then(|s| self.slices.get(s));
        self.left > 0 && free.is_some_and(|taken| *taken < SLICE_MAX)
    }

    /// Chooses a span that is wanted, unless its trace has one.
    pub(super) fn take(&mut self, trace: TraceId, time: Timestamp) -> bool {
        if !self.wants(time) || !self.taken.insert(trace) {
            return false;
        }
        if let Some(slice) = self.slice(time) {
            self.slices[slice] += 1;
        }
        self.left -= 1;
        true
    }

    fn slice(&self, time: Timestamp) -> Option<usize> {
        let offset = time.nanos().checked_sub(self.start)?;
        let slice = usize::try_from(offset / self.width).ok()?;
        (slice < self.slices.len()).then_some(slice)
    }
}
