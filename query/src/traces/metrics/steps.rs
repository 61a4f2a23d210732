//! The steps of a metrics query: which span counts where, and what time a step has.
//!
//! Invariant: a step counts the spans that begin after the step before it and not after itself.

use std::fmt;

use obs_model::time::NANOS_PER_SECOND;
use obs_model::{TimeRange, Timestamp};

use crate::error::QueryError;

/// Steps, or one for a whole range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::traces) struct Steps {
    /// The first nanosecond that is counted, minus one.
    before: i64,
    step: i64,
    count: usize,
    /// What rates are of, in nanoseconds.
    length: i64,
}

impl Steps {
    /// One step over a range, both ends included.
    pub(super) fn whole(start: Timestamp, end: Timestamp) -> Result<Self, QueryError> {
        let length = end.nanos().checked_sub(start.nanos()).filter(|l| *l > 0);
        let parts = length.and_then(|length| {
            Some(Self {
                before: start.nanos().checked_sub(1)?,
                step: length.checked_add(1)?,
                count: 1,
                length,
            })
        });
        parts.ok_or_else(|| QueryError::Execution("end must be greater than start".to_owned()))
    }

    /// Steps at multiples of themselves; the first and the last one hold start and end.
    pub(super) fn aligned(start: Timestamp, end: Timestamp, step: i64) -> Result<Self, QueryError> {
        let parts = || {
            let first = start.nanos().div_euclid(step).checked_mul(step)?;
            let last = end.nanos().checked_add(step - 1)?.div_euclid(step);
            let last = last.checked_mul(step)?;
            let count = last.checked_sub(first)? / step + 1;
            let before = first.checked_sub(step)?;
            // What is counted is a length too.
            last.checked_sub(before)?;
            Some(Self {
                before,
                step,
                count: usize::try_from(count).ok()?,
                length: step,
            })
        };
        parts().ok_or_else(|| QueryError::Execution("start and end are out of range".to_owned()))
    }

    /// The step that a time belongs to.
    pub(super) fn of(&self, time: Timestamp) -> Option<usize> {
        let nanos = time.nanos();
        if nanos <= self.before {
            return None;
        }
        let offset = nanos.checked_sub(self.before)? - 1;
        let step = usize::try_from(offset / self.step).ok()?;
        (step < self.count).then_some(step)
    }

    /// The time of a step: its end.
    pub(super) fn time(&self, step: usize) -> Timestamp {
        Timestamp::from_nanos(self.before + (step as i64 + 1) * self.step)
    }

    /// Number of steps.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Seconds that a rate of one step is of.
    pub(super) fn seconds(&self) -> f64 {
        self.length as f64 / NANOS_PER_SECOND as f64
    }

    /// The time that is counted, both ends included.
    pub(super) fn range(&self) -> TimeRange {
        let last = self.time(self.count.saturating_sub(1));
        TimeRange::new(Timestamp::from_nanos(self.before + 1), last)
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = self.range();
        write!(f, "from {} to {}", range.start, range.end)?;
        if self.count > 1 {
            let (step, count) = (self.seconds(), self.count);
            write!(f, " step {step}s ({count} steps)")?;
        }
        Ok(())
    }
}
