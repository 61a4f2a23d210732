//! Random writes, retries, jobs, crashes and disk faults over all three stores on one disk, against
//! a model: every acknowledged record is found exactly once, and nothing else.
//!
//! `OBS_SIM_SEED=n` runs one seed, `OBS_SIM_SEEDS=n` that many. A seed that fails prints itself
//! and what happened last.

mod below;
mod logs;
mod metrics;
mod model;
pub(crate) mod side;
pub(crate) mod signal;
mod spans;
pub(crate) mod world;

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use self::world::{Log, Seen, run};

const SEEDS: u64 = 1000;

/// What every thread adds to.
#[derive(Default)]
struct Total {
    next: AtomicU64,
    failed: AtomicBool,
    seen: Mutex<Seen>,
    failures: Mutex<Vec<String>>,
}

#[test]
fn every_acknowledged_record_is_found_exactly_once() {
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let seeds = match number("OBS_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("OBS_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let total = Total {
        next: AtomicU64::new(seeds.start),
        ..Total::default()
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work(&total, seeds.end));
        }
    });
    let failures = total
        .failures
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    let mut seen = total
        .seen
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    let text = format!("{seen:?}");
    println!("{} seeds: {text}", seeds.end - seeds.start);
    let many = seeds.end - seeds.start >= SEEDS;
    let least = seen.counts().into_iter().min();
    assert!(
        !many || least.is_some_and(|least| *least >= 100),
        "too little happened: {text}"
    );
}

/// Runs seeds until there is none, or one failed.
fn work(total: &Total, end: u64) {
    while !total.failed.load(Ordering::Relaxed) {
        let seed = total.next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return;
        }
        let log: Log = Arc::new(Mutex::new(VecDeque::new()));
        match catch_unwind(AssertUnwindSafe(|| run(seed, Arc::clone(&log)))) {
            Ok(mut seen) => {
                let mut sum = total.seen.lock().unwrap_or_else(PoisonError::into_inner);
                for (sum, one) in sum.counts().into_iter().zip(seen.counts()) {
                    *sum += *one;
                }
            }
            Err(panic) => {
                total.failed.store(true, Ordering::Relaxed);
                let failure = failure(seed, &*panic, &log);
                let mut failures = total
                    .failures
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                failures.push(failure);
            }
        }
    }
}

/// Everything that helps to look into a failure.
fn failure(seed: u64, panic: &(dyn Any + Send), log: &Log) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    let log = log.lock().unwrap_or_else(PoisonError::into_inner);
    let log: Vec<&str> = log.iter().map(String::as_str).collect();
    format!(
        "OBS_SIM_SEED={seed} fails: {}\nthe last operations:\n  {}",
        text.unwrap_or("a panic without text"),
        log.join("\n  ")
    )
}
