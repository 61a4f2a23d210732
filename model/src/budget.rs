//! What one query may spend. Shared by all its threads; every room that reads charges it.
//!
//! The rooms below the server have no clock: the server stops a budget when the deadline passes
//! or the client leaves, and the next charge fails.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::limits::Limits;

const RUNNING: u8 = 0;
const TIMED_OUT: u8 = 1;
const CANCELLED: u8 = 2;

/// A query may not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// A limit was reached.
    #[error(
        "query exceeds the limit {limit} of {max}; narrow the query or raise obs.limits.{limit}"
    )]
    Exceeded {
        /// Name of the limit in [`Limits`].
        limit: &'static str,
        /// Its value.
        max: u64,
    },
    /// The deadline passed.
    #[error(
        "query timed out after {0} ms (obs.limits.query_time_ms_max, or the request's timeout)"
    )]
    TimedOut(u64),
    /// The client left.
    #[error("query was cancelled")]
    Cancelled,
}

/// Counters and bounds of one query.
#[derive(Debug)]
pub struct Budget {
    samples: AtomicU64,
    samples_max: u64,
    bytes: AtomicU64,
    bytes_max: u64,
    series: AtomicU64,
    series_max: u64,
    time_ms_max: u64,
    stop: AtomicU8,
}

impl Budget {
    /// A fresh budget within the limits.
    pub fn new(limits: &Limits) -> Self {
        Self {
            samples: AtomicU64::new(0),
            samples_max: limits.query_samples_max,
            bytes: AtomicU64::new(0),
            bytes_max: limits.query_bytes_max,
            series: AtomicU64::new(0),
            series_max: limits.query_series_max,
            time_ms_max: limits.query_time_ms_max,
            stop: AtomicU8::new(RUNNING),
        }
    }

    /// A fresh budget with another time limit (only for the text of its error).
    pub fn with_time_ms(mut self, time_ms: u64) -> Self {
        self.time_ms_max = time_ms;
        self
    }

    /// Charges samples, rows or spans read.
    pub fn samples(&self, count: u64) -> Result<(), BudgetError> {
        self.charge(&self.samples, count, self.samples_max, "query_samples_max")
    }

    /// Charges bytes decoded or held.
    pub fn bytes(&self, count: u64) -> Result<(), BudgetError> {
        self.charge(&self.bytes, count, self.bytes_max, "query_bytes_max")
    }

    /// Charges series, streams or traces touched.
    pub fn series(&self, count: u64) -> Result<(), BudgetError> {
        self.charge(&self.series, count, self.series_max, "query_series_max")
    }

    /// Fails when the query was stopped. Cheap; call it in every outer loop.
    pub fn check(&self) -> Result<(), BudgetError> {
        match self.stop.load(Ordering::Relaxed) {
            RUNNING => Ok(()),
            TIMED_OUT => Err(BudgetError::TimedOut(self.time_ms_max)),
            _ => Err(BudgetError::Cancelled),
        }
    }

    /// The deadline passed.
    pub fn time_out(&self) {
        self.stop.store(TIMED_OUT, Ordering::Relaxed);
    }

    /// The client left.
    pub fn cancel(&self) {
        self.stop.store(CANCELLED, Ordering::Relaxed);
    }

    /// Samples, bytes and series charged so far.
    pub fn spent(&self) -> (u64, u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.samples), read(&self.bytes), read(&self.series))
    }

    fn charge(
        &self,
        counter: &AtomicU64,
        count: u64,
        max: u64,
        limit: &'static str,
    ) -> Result<(), BudgetError> {
        let before = counter.fetch_add(count, Ordering::Relaxed);
        if before.saturating_add(count) > max {
            return Err(BudgetError::Exceeded { limit, max });
        }
        self.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_limit_and_stops() {
        let budget = Budget::new(&Limits {
            query_samples_max: 10,
            ..Limits::default()
        });
        assert_eq!(budget.samples(10), Ok(()));
        let expect = BudgetError::Exceeded {
            limit: "query_samples_max",
            max: 10,
        };
        assert_eq!(budget.samples(1), Err(expect));
        budget.time_out();
        assert_eq!(budget.series(1), Err(BudgetError::TimedOut(120_000)));
        budget.cancel();
        assert_eq!(budget.check(), Err(BudgetError::Cancelled));
        assert_eq!(budget.spent(), (11, 0, 1));
    }
}
