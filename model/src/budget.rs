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
    /// All samples that were ever charged, for reports.
    samples_total: AtomicU64,
    bytes: AtomicU64,
    bytes_max: u64,
    /// All bytes that were ever charged, for reports.
    bytes_total: AtomicU64,
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
            samples_total: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            bytes_max: limits.query_bytes_max,
            bytes_total: AtomicU64::new(0),
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

    /// Charges samples, rows or spans read. What is held no more is given back through
    /// [`Budget::release_samples`].
    pub fn samples(&self, count: u64) -> Result<(), BudgetError> {
        self.samples_total.fetch_add(count, Ordering::Relaxed);
        self.charge(&self.samples, count, self.samples_max, "query_samples_max")
    }

    /// Charges bytes that are held until the query ends. What is given back earlier goes through
    /// [`Budget::holding`].
    pub fn bytes(&self, count: u64) -> Result<(), BudgetError> {
        self.bytes_total.fetch_add(count, Ordering::Relaxed);
        self.charge(&self.bytes, count, self.bytes_max, "query_bytes_max")
    }

    /// Gives back samples that were charged and are held no more.
    pub fn release_samples(&self, count: u64) {
        release(&self.samples, count);
    }

    /// Gives back bytes that were charged and are held no more.
    pub fn release_bytes(&self, count: u64) {
        release(&self.bytes, count);
    }

    /// Bytes that are charged now.
    pub fn bytes_held(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// A charge for bytes that are held for a while; dropping it gives them back.
    pub fn holding(&self) -> HeldBytes<'_> {
        HeldBytes {
            budget: self,
            bytes: 0,
        }
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

    /// Samples, bytes and series charged so far; what was given back counts too.
    pub fn spent(&self) -> (u64, u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let bytes = read(&self.bytes_total);
        (read(&self.samples_total), bytes, read(&self.series))
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

/// Never below zero, or one mistake would lift the limit.
fn release(counter: &AtomicU64, count: u64) {
    let less = |held: u64| Some(held.saturating_sub(count));
    let order = Ordering::Relaxed;
    let updated = counter.fetch_update(order, order, less);
    updated.expect("it always gives a value");
}

/// Bytes that a part of a query holds now: the budget gets them back when this is dropped.
#[derive(Debug)]
pub struct HeldBytes<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl HeldBytes<'_> {
    /// Charges more bytes.
    pub fn add(&mut self, count: u64) -> Result<(), BudgetError> {
        self.bytes = self.bytes.saturating_add(count);
        self.budget.bytes(count)
    }

    /// Charges or gives back what `count` differs from what is held.
    pub fn set(&mut self, count: u64) -> Result<(), BudgetError> {
        match count.checked_sub(self.bytes) {
            Some(more) => self.add(more),
            None => {
                self.give_back(self.bytes - count);
                self.budget.check()
            }
        }
    }

    /// Gives back some bytes; never more than are held.
    pub fn give_back(&mut self, count: u64) {
        let count = count.min(self.bytes);
        self.bytes -= count;
        self.budget.release_bytes(count);
    }

    /// Gives all back, as if nothing was held.
    pub fn clear(&mut self) {
        self.give_back(self.bytes);
    }

    /// Leaves all charged until the query ends.
    pub fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for HeldBytes<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_no_more_can_be_held_again() {
        let budget = Budget::new(&Limits {
            query_bytes_max: 10,
            ..Limits::default()
        });
        for _ in 0..100 {
            let mut held = budget.holding();
            assert_eq!(held.add(6), Ok(()));
            held.clear();
            assert_eq!(held.add(10), Ok(()));
        }
        assert_eq!(budget.bytes(4), Ok(()));
        let mut held = budget.holding();
        assert!(held.add(7).is_err());
        drop(held);
        assert_eq!(budget.bytes_held(), 4);
        budget.release_bytes(100);
        assert_eq!(budget.bytes_held(), 0);
        // Reports tell all that was read.
        assert_eq!(budget.spent().1, 100 * 16 + 4 + 7);
    }

    #[test]
    fn what_is_held_follows_what_is_told() {
        let budget = Budget::new(&Limits {
            query_bytes_max: 10,
            ..Limits::default()
        });
        let mut held = budget.holding();
        for (count, fits) in [(7, true), (3, true), (10, true), (11, false), (0, true)] {
            assert_eq!(held.set(count).is_ok(), fits, "{count}");
            assert_eq!(budget.bytes_held(), count);
        }
        assert_eq!(held.set(5), Ok(()));
        held.give_back(2);
        held.keep();
        assert_eq!(budget.bytes_held(), 3);
    }

    #[test]
    fn samples_are_counted_while_they_are_held() {
        let budget = Budget::new(&Limits {
            query_samples_max: 10,
            ..Limits::default()
        });
        for _ in 0..3 {
            assert_eq!(budget.samples(8), Ok(()));
            budget.release_samples(8);
        }
        assert!(budget.samples(11).is_err());
        assert_eq!(budget.spent().0, 3 * 8 + 11);
    }

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
