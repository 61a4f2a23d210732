//! Which events were told lately, and how much a source may still tell.
//!
//! Invariant: at most [`KNOWN_MAX`] events and [`SOURCES_MAX`] sources are remembered.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::NodeEvent;

/// Events that are remembered; client-go's.
const KNOWN_MAX: usize = 4096;
/// Sources that have a budget of their own.
const SOURCES_MAX: usize = 256;
/// For so long an equal event counts on; the API server forgets events after an hour.
const KNOWN_FOR: Duration = Duration::from_secs(3300);
/// Events that a source may tell at once; client-go's.
const BURST: f64 = 25.0;
/// One more every five minutes, as client-go's; a node has few sources, so they get ten times that.
const PER_SECOND: f64 = 10.0 / 300.0;

/// What is done with an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is made.
    New,
    /// The event of this name counts on.
    Again {
        /// Its name.
        name: String,
        /// How often it happened, with this time.
        count: u64,
    },
    /// The source has told too much.
    Quiet,
}

#[derive(Debug)]
struct Known {
    name: String,
    count: u64,
    at: Instant,
}

#[derive(Debug)]
struct Budget {
    left: f64,
    at: Instant,
}

/// What was told lately.
#[derive(Debug, Default)]
pub(super) struct Recent {
    known: HashMap<(String, String, String), Known>,
    budgets: HashMap<String, Budget>,
}

fn key(event: &NodeEvent) -> (String, String, String) {
    (
        event.source.clone(),
        event.reason.clone(),
        event.message.clone(),
    )
}

impl Recent {
    /// What is done with an event now.
    pub(super) fn turn(&self, event: &NodeEvent, now: Instant) -> Turn {
        let left = self.budgets.get(&event.source);
        if left.is_some_and(|budget| budget.at(now) < 1.0) {
            return Turn::Quiet;
        }
        let known = self.known.get(&key(event));
        match known.filter(|known| now.duration_since(known.at) < KNOWN_FOR) {
            Some(known) => Turn::Again {
                name: known.name.clone(),
                count: known.count + 1,
            },
            None => Turn::New,
        }
    }

    /// An event was told under this name.
    pub(super) fn told(&mut self, event: &NodeEvent, name: String, now: Instant) {
        if self.budgets.len() >= SOURCES_MAX {
            self.budgets.retain(|_, budget| budget.at(now) < BURST);
        }
        let budget = self.budgets.entry(event.source.clone());
        let budget = budget.or_insert(Budget {
            left: BURST,
            at: now,
        });
        *budget = Budget {
            left: budget.at(now) - 1.0,
            at: now,
        };
        if self.known.len() >= KNOWN_MAX {
            self.forget_older_half();
        }
        let known = self.known.entry(key(event)).or_insert(Known {
            name: name.clone(),
            count: 0,
            at: now,
        });
        if known.name != name {
            (known.name, known.count) = (name, 0);
        }
        known.count += 1;
        known.at = now;
    }

    /// The API server does not know this event any more.
    pub(super) fn forget(&mut self, event: &NodeEvent) {
        self.known.remove(&key(event));
    }

    fn forget_older_half(&mut self) {
        let mut all: Vec<Instant> = self.known.values().map(|known| known.at).collect();
        let middle = all.len() / 2;
        let (_, median, _) = all.select_nth_unstable(middle);
        let median = *median;
        self.known.retain(|_, known| known.at > median);
    }
}

impl Budget {
    fn at(&self, now: Instant) -> f64 {
        let more = now.duration_since(self.at).as_secs_f64() * PER_SECOND;
        (self.left + more).min(BURST)
    }
}

#[cfg(test)]
mod tests {
    use obs_model::Timestamp;

    use super::*;

    fn event(message: &str) -> NodeEvent {
        NodeEvent {
            source: "kernel-monitor".to_owned(),
            warning: true,
            time: Timestamp::from_nanos(0),
            reason: "OOMKilling".to_owned(),
            message: message.to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn equal_events_count_on() {
        let start = Instant::now();
        let mut recent = Recent::default();
        assert_eq!(recent.turn(&event("a"), start), Turn::New);
        recent.told(&event("a"), "n.1".to_owned(), start);
        let again = |count| Turn::Again {
            name: "n.1".to_owned(),
            count,
        };
        assert_eq!(recent.turn(&event("a"), start), again(2));
        recent.told(&event("a"), "n.1".to_owned(), start);
        assert_eq!(recent.turn(&event("a"), start), again(3));
        assert_eq!(recent.turn(&event("b"), start), Turn::New);
        assert_eq!(recent.turn(&event("a"), start + KNOWN_FOR), Turn::New);
        recent.forget(&event("a"));
        assert_eq!(recent.turn(&event("a"), start), Turn::New);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_has_a_budget_and_memory_a_bound() {
        let start = Instant::now();
        let mut recent = Recent::default();
        for number in 0..25 {
            let event = event(&number.to_string());
            assert_eq!(recent.turn(&event, start), Turn::New);
            recent.told(&event, format!("n.{number}"), start);
        }
        assert_eq!(recent.turn(&event("more"), start), Turn::Quiet);
        let later = start + Duration::from_secs(31);
        assert_eq!(recent.turn(&event("more"), later), Turn::New);
        for number in 0..2 * KNOWN_MAX {
            let at = start + Duration::from_secs(number as u64);
            recent.told(&event(&number.to_string()), "n".to_owned(), at);
        }
        assert!(recent.known.len() <= KNOWN_MAX);
    }
}
