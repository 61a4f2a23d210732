//! The memory of the bodies that scrapes hold at one time.
//!
//! Invariants: all bodies together stay below [`BYTES`], but for one that may go beyond them by its
//! own limit, so that bodies that wait for each other's memory do not wait for ever. A target that
//! answers slowly holds what it sent and nothing else: it holds nobody up.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Memory for bodies on their way and until they are decoded: 64 targets of 4 MiB.
const BYTES: usize = 256 << 20;
/// What is counted at one time.
const STEP: usize = 4 << 10;

/// What all scrapes share.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    steps: Arc<Semaphore>,
    /// For the one body that may go beyond.
    beyond: Arc<Semaphore>,
}

/// The memory of one body, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    memory: Memory,
    steps: Option<OwnedSemaphorePermit>,
    beyond: Option<OwnedSemaphorePermit>,
}

impl Memory {
    /// Memory for the bodies of everybody who has a clone.
    pub(crate) fn new() -> Self {
        Self::of(BYTES)
    }

    fn of(bytes: usize) -> Self {
        Self {
            steps: Arc::new(Semaphore::new(bytes / STEP)),
            beyond: Arc::new(Semaphore::new(1)),
        }
    }

    /// Bytes that nobody holds.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.steps.available_permits() * STEP
    }

    /// Nothing yet.
    pub(crate) fn hold(&self) -> Held {
        Held {
            memory: self.clone(),
            steps: None,
            beyond: None,
        }
    }
}

impl Held {
    /// Waits until there is memory for a body of so many bytes in all.
    pub(crate) async fn grow(&mut self, bytes: usize) {
        if self.beyond.is_some() {
            return;
        }
        let have = self.steps.as_ref().map_or(0, |s| s.num_permits());
        let more = bytes.div_ceil(STEP).saturating_sub(have);
        let Some(more) = u32::try_from(more).ok().filter(|more| *more > 0) else {
            return;
        };
        tokio::select! {
            biased;
            more = Arc::clone(&self.memory.steps).acquire_many_owned(more) => match (&mut self.steps, more) {
                (Some(steps), Ok(more)) => steps.merge(more),
                (steps @ None, Ok(more)) => *steps = Some(more),
                // Nobody closes it; without it there would be no bound to keep.
                (_, Err(_)) => {}
            },
            beyond = Arc::clone(&self.memory.beyond).acquire_owned() => self.beyond = beyond.ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_held_is_bounded_and_one_goes_on() {
        let memory = Memory::of(10 * STEP);
        let (mut slow, mut large, mut other) = (memory.hold(), memory.hold(), memory.hold());
        slow.grow(1).await;
        assert_eq!(memory.steps.available_permits(), 9);
        large.grow(STEP).await;
        large.grow(8 * STEP).await;
        large.grow(8 * STEP).await;
        assert_eq!(memory.steps.available_permits(), 1);
        // One that does not fit goes beyond; the next waits until there is memory.
        large.grow(20 * STEP).await;
        assert!(large.beyond.is_some());
        other.grow(STEP).await;
        assert_eq!(memory.steps.available_permits(), 0);
        {
            let more = other.grow(2 * STEP);
            let mut more = std::pin::pin!(more);
            tokio::select! {
                biased;
                () = &mut more => panic!("there is no memory"),
                () = tokio::task::yield_now() => {}
            }
            drop(large);
            more.await;
        }
        drop((slow, other));
        assert_eq!(memory.steps.available_permits(), 10);
        assert_eq!(memory.beyond.available_permits(), 1);
    }

    #[tokio::test]
    async fn many_slow_ones_leave_room() {
        let memory = Memory::new();
        let mut slow = Vec::new();
        for _ in 0..10_000 {
            let mut held = memory.hold();
            held.grow(100).await;
            slow.push(held);
        }
        let mut next = memory.hold();
        next.grow(4 << 20).await;
        assert!(next.beyond.is_none() && slow.iter().all(|s| s.beyond.is_none()));
    }
}
