//! The table of targets: what `/api/v1/targets` shows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use obs_model::{Labels, Timestamp};

use crate::discovery::Target;

/// Dropped targets of one job that are remembered, where the configuration sets no bound.
const DROPPED_MAX: usize = 10_000;

/// How a target does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Not scraped yet.
    #[default]
    Unknown,
    /// The last scrape succeeded.
    Up,
    /// The last scrape failed.
    Down,
}

impl Health {
    /// As the API says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// One target and its last scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetStatus {
    /// `job_name` of its scrape configuration.
    pub pool: String,
    /// The target.
    pub target: Target,
    /// How it does.
    pub health: Health,
    /// Why the last scrape failed; else empty.
    pub last_error: String,
    /// When the last scrape began.
    pub last_scrape: Option<Timestamp>,
    /// Seconds that it took.
    pub last_seconds: f64,
}

/// All targets at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TargetsSnapshot {
    /// Active targets by pool, then labels.
    pub active: Vec<TargetStatus>,
    /// Labels of dropped targets (bounded), with their pool.
    pub dropped: Vec<(String, Labels)>,
    /// Number of dropped targets of each pool.
    pub dropped_counts: BTreeMap<String, u64>,
    /// Discovery's faults of each pool.
    pub faults: Vec<(String, String)>,
}

#[derive(Debug, Default)]
struct Pool {
    active: BTreeMap<(Labels, String), TargetStatus>,
    dropped: Vec<Labels>,
    dropped_count: u64,
    faults: Vec<String>,
}

/// The table; clones share it. The lock is held for look-ups only, never across a wait.
#[derive(Clone, Debug, Default)]
pub struct Targets(Arc<Mutex<BTreeMap<String, Pool>>>);

impl Targets {
    /// All targets now.
    pub fn snapshot(&self) -> TargetsSnapshot {
        let pools = self.lock();
        let mut out = TargetsSnapshot::default();
        for (name, pool) in pools.iter() {
            out.active.extend(pool.active.values().cloned());
            let dropped = pool.dropped.iter().map(|l| (name.clone(), l.clone()));
            out.dropped.extend(dropped);
            out.dropped_counts.insert(name.clone(), pool.dropped_count);
            let faults = pool.faults.iter().map(|f| (name.clone(), f.clone()));
            out.faults.extend(faults);
        }
        out
    }

    /// Names of all pools.
    pub fn pools(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// A job has these targets from now on; those it had keep their last scrape.
    pub(crate) fn set(
        &self,
        pool: &str,
        active: &[Target],
        dropped: &[Labels],
        keep: u64,
        faults: &[String],
    ) {
        let mut pools = self.lock();
        let entry = pools.entry(pool.to_owned()).or_default();
        let mut before = std::mem::take(&mut entry.active);
        for target in active {
            let key = (target.labels.clone(), target.url.clone());
            let status = before.remove(&key).unwrap_or_else(|| TargetStatus {
                pool: pool.to_owned(),
                target: target.clone(),
                health: Health::Unknown,
                last_error: String::new(),
                last_scrape: None,
                last_seconds: 0.0,
            });
            let target = target.clone();
            entry.active.insert(key, TargetStatus { target, ..status });
        }
        let keep = match usize::try_from(keep) {
            Ok(0) | Err(_) => DROPPED_MAX,
            Ok(own) => own.min(DROPPED_MAX),
        };
        entry.dropped_count = dropped.len() as u64;
        entry.dropped = dropped.iter().take(keep).cloned().collect();
        entry.faults = faults.to_vec();
    }

    /// A scrape ended; `fault` is empty where it succeeded.
    pub(crate) fn scraped(
        &self,
        pool: &str,
        target: &Target,
        time: Timestamp,
        took: Duration,
        fault: &str,
    ) {
        let mut pools = self.lock();
        let key = (target.labels.clone(), target.url.clone());
        let entry = pools.get_mut(pool).and_then(|p| p.active.get_mut(&key));
        if let Some(status) = entry {
            status.health = if fault.is_empty() {
                Health::Up
            } else {
                Health::Down
            };
            fault.clone_into(&mut status.last_error);
            status.last_scrape = Some(time);
            status.last_seconds = took.as_secs_f64();
        }
    }

    /// A job is gone.
    pub(crate) fn remove(&self, pool: &str) {
        self.lock().remove(pool);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Pool>> {
        // A panic while the table was locked leaves it readable: every change is one insertion.
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
