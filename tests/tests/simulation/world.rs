//! Three stores on one disk, as the server has them, and everything that may happen to them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use obs_logstore::Logs;
use obs_model::Timestamp;
use obs_storage::sim::Random;
use obs_storage::{Disk, OpenError, Options, Retention, RetentionRule, SimDisk, Tier};
use obs_tracestore::Spans;
use obs_tsdb::Metrics;

use super::side::{Holdings, Side, tenant};
use super::signal::{Kept, SLOT, Signal, TENANTS, WINDOW};

/// Things that happen in one run.
const STEPS: u64 = 60;
/// Operations that a failing seed tells.
const LOG_LINES: usize = 40;
const NANOS_PER_MILLI: i64 = 1_000_000;

/// The last operations; outlives the panic of a seed.
pub(crate) type Log = Arc<Mutex<VecDeque<String>>>;

/// What happened, so that a simulation that does nothing fails too.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) rows: u64,
    pub(crate) found: u64,
    pub(crate) repeated: u64,
    pub(crate) rivals: u64,
    pub(crate) refused: u64,
    pub(crate) flushes: u64,
    pub(crate) merges: u64,
    pub(crate) drops: u64,
    pub(crate) failed_jobs: u64,
    pub(crate) poisoned: u64,
    pub(crate) torn: u64,
    pub(crate) full: u64,
    pub(crate) restarts: u64,
    pub(crate) opens_failed: u64,
    pub(crate) damaged_parts: u64,
    pub(crate) damaged_journals: u64,
    pub(crate) deleted: u64,
    pub(crate) copies: u64,
    pub(crate) tiers: u64,
}

impl Seen {
    /// Every count, for sums and for the least of them.
    pub(crate) fn counts(&mut self) -> [&mut u64; 19] {
        [
            &mut self.rows,
            &mut self.found,
            &mut self.repeated,
            &mut self.rivals,
            &mut self.refused,
            &mut self.flushes,
            &mut self.merges,
            &mut self.drops,
            &mut self.failed_jobs,
            &mut self.poisoned,
            &mut self.torn,
            &mut self.full,
            &mut self.restarts,
            &mut self.opens_failed,
            &mut self.damaged_parts,
            &mut self.damaged_journals,
            &mut self.deleted,
            &mut self.copies,
            &mut self.tiers,
        ]
    }
}

/// What the three stores have in common.
pub(crate) struct Shared {
    pub(crate) random: Random,
    pub(crate) disk: SimDisk,
    pub(crate) options: Options,
    pub(crate) now: Timestamp,
    /// Members whose rows are kept for a shorter time, and that time in nanoseconds.
    short: Option<(u8, i64)>,
    pub(crate) seen: Seen,
    log: Log,
}

impl Shared {
    pub(crate) fn new(seed: u64, log: Log) -> Self {
        let mut random = Random::new(seed ^ 0x0b5_5eed);
        // Some live in 1970, where late rows have negative times.
        let start = if random.once_in(8) {
            0
        } else {
            1_795_000_000_000
        };
        let members = random.draw() as u8 | 1;
        let short = random
            .once_in(4)
            .then_some((members, 3 * SLOT * NANOS_PER_MILLI));
        Self {
            short,
            disk: SimDisk::new(seed),
            options: options(&mut random),
            now: Timestamp::from_millis(start),
            seen: Seen::default(),
            random,
            log,
        }
    }

    /// Lets all rows of a tenant be kept alike.
    pub(crate) fn without_rules(&mut self) {
        self.short = None;
    }

    /// Remembers an operation for the case that the seed fails.
    pub(crate) fn log(&self, line: impl FnOnce() -> String) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() == LOG_LINES {
            log.pop_front();
        }
        log.push_back(line());
    }

    /// Which rows retention keeps.
    pub(crate) fn kept<S: Signal>(&self) -> Kept {
        let tenants = (0..TENANTS.len() as u8).map(tenant);
        let start = |tenant| self.options.kept(&tenant, self.now).start;
        let short = self
            .short
            .filter(|(members, _)| S::selector_of(*members).is_some());
        Kept {
            first: tenants.map(start).collect(),
            short: short.map(|(members, age)| (members, self.now.saturating_sub(age))),
        }
    }

    /// The rules of retention of a signal.
    pub(crate) fn retention_rules<S: Signal>(&self) -> Vec<RetentionRule> {
        let rule = |(members, age)| {
            Some(RetentionRule {
                selector: S::selector_of(members)?,
                age,
            })
        };
        self.short.and_then(rule).into_iter().collect()
    }

    /// Whether rows of some tenant go.
    pub(crate) fn has_retention(&self) -> bool {
        let all = self.options.tenants.values();
        let mut all = all.chain([&self.options.retention]);
        self.short.is_some() || all.any(|retention| *retention != Retention::default())
    }

    /// Loses power, or only the process, after a few more changes.
    fn go_down_after(&mut self, bound: u64) {
        let changes = self.random.below(bound);
        let kill = self.random.once_in(2);
        self.log(|| format!("goes down after {changes} changes, kill: {kill}"));
        if kill {
            self.disk.kill_after(changes);
        } else {
            self.disk.crash_after(changes);
        }
    }

    /// Power or the process is gone.
    fn go_down(&mut self) {
        let kill = self.random.once_in(2);
        self.log(|| format!("goes down, kill: {kill}"));
        if kill {
            self.disk.kill();
        } else {
            self.disk.crash();
        }
    }
}

/// Settings so small that everything happens often.
fn options(random: &mut Random) -> Options {
    let age = Some(5 * SLOT * NANOS_PER_MILLI);
    let bytes = Some(4000 + random.below(20_000));
    let retention = match random.below(6) {
        0 => Retention { age, bytes: None },
        1 => Retention { age: None, bytes },
        2 => Retention { age, bytes },
        _ => Retention::default(),
    };
    let mut tenants = BTreeMap::new();
    if random.once_in(3) && retention != Retention::default() {
        tenants.insert(tenant(1), Retention::default());
    }
    // They must change nothing for who asks for rows. Where these go before their tiers, a reader
    // gets tiers instead, which is in the simulation of metrics alone.
    let tiers = retention == Retention::default() && random.once_in(2);
    let tier = |milliseconds: i64| Tier {
        resolution: milliseconds * NANOS_PER_MILLI,
        age: None,
    };
    Options {
        window: WINDOW * NANOS_PER_MILLI,
        flush_bytes: 5_000 + random.below(60_000),
        flush_age: WINDOW * NANOS_PER_MILLI,
        memory_bytes_max: 150_000,
        journal_segment_bytes: 500 + random.below(8_000),
        journal_bytes_max: 4_000 + random.below(60_000),
        journal_salt: random.draw() as u32,
        merge_parts: 2 + random.below(3) as usize,
        part_bytes_max: 5_000 + random.below(100_000),
        reserve_bytes: random.below(2) * 2_000,
        retention,
        tenants,
        tiers: match tiers {
            true => [SLOT, 2 * SLOT].map(tier).to_vec(),
            false => Vec::new(),
        },
        tier_delay: 0,
    }
}

/// Everything of one seed.
pub(crate) struct World {
    shared: Shared,
    metrics: Side<Metrics>,
    logs: Side<Logs>,
    spans: Side<Spans>,
}

impl World {
    fn new(seed: u64, log: Log) -> Self {
        Self {
            shared: Shared::new(seed, log),
            metrics: Side::new(),
            logs: Side::new(),
            spans: Side::new(),
        }
    }

    fn close(&mut self) {
        self.metrics.close(&mut self.shared);
        self.logs.close(&mut self.shared);
        self.spans.close(&mut self.shared);
    }

    fn open_all(&mut self) -> Result<(), OpenError> {
        self.metrics.open(&mut self.shared)?;
        self.logs.open(&mut self.shared)?;
        self.spans.open(&mut self.shared)
    }

    /// Opens the stores, with crashes on the way.
    fn open(&mut self) {
        for attempt in 0.. {
            if attempt < 10 && self.shared.random.once_in(6) {
                self.shared.go_down_after(30);
            }
            match self.open_all() {
                Ok(()) => return,
                Err(error @ OpenError::Manifest(_)) => panic!("{error}"),
                Err(error @ (OpenError::Disk(_) | OpenError::Replay(_))) => {
                    self.shared.log(|| format!("open: {error}"));
                    self.shared.seen.opens_failed += 1;
                    assert!(attempt < 12, "does not open: {error}");
                    self.close();
                    self.shared.go_down();
                }
            }
        }
    }

    /// Ends and starts again; what was acknowledged must be there.
    fn restart(&mut self) {
        self.close();
        self.shared.seen.restarts += 1;
        self.shared.disk.fail_syncs(0);
        // Now and then the disk is still full.
        if !self.shared.random.once_in(4) {
            self.shared.disk.set_capacity(None);
        }
        self.shared.go_down();
        self.open();
        self.check(true);
    }

    fn check(&mut self, reopened: bool) {
        self.metrics.check(&mut self.shared, reopened);
        self.logs.check(&mut self.shared, reopened);
        self.spans.check(&mut self.shared, reopened);
    }

    fn append(&mut self) {
        match self.shared.random.below(3) {
            0 => self.metrics.append(&mut self.shared),
            1 => self.logs.append(&mut self.shared),
            _ => self.spans.append(&mut self.shared),
        }
    }

    fn upkeep(&mut self) {
        match self.shared.random.below(3) {
            0 => self.metrics.upkeep(&mut self.shared),
            1 => self.logs.upkeep(&mut self.shared),
            _ => self.spans.upkeep(&mut self.shared),
        }
    }

    fn poisoned(&self) -> bool {
        self.metrics.poisoned() || self.logs.poisoned() || self.spans.poisoned()
    }

    fn step(&mut self) {
        let shared = &mut self.shared;
        let pause = shared.random.below(SLOT as u64 / 2) as i64 * NANOS_PER_MILLI;
        let nanos = shared.random.below(1000) as i64;
        shared.now = shared.now.saturating_add(pause + nanos);
        if self.poisoned() && self.shared.random.once_in(4) {
            return self.restart();
        }
        match self.shared.random.below(40) {
            0..=18 => self.append(),
            19..=31 => self.upkeep(),
            32 => self.restart(),
            33 => self.shared.go_down_after(30),
            34 => {
                self.shared.log(|| "the next sync fails".to_owned());
                self.shared.disk.fail_syncs(1);
            }
            35 => {
                let room = self.shared.random.below(6000);
                self.shared.log(|| format!("{room} bytes are left"));
                let used = self.shared.disk.used();
                self.shared.disk.set_capacity(Some(used + room));
            }
            36 | 37 => self.shared.disk.set_capacity(None),
            39 if self.shared.random.once_in(2) => match self.shared.random.below(3) {
                0 => self.metrics.copy(&mut self.shared),
                1 => self.logs.copy(&mut self.shared),
                _ => self.spans.copy(&mut self.shared),
            },
            38 if self.shared.random.once_in(2) => self.metrics.delete(&mut self.shared),
            _ => self.check(false),
        }
    }

    /// Everything is flushed and merged without faults, and read once more after a restart.
    fn drain(&mut self) {
        self.shared.disk.set_capacity(None);
        self.restart_without_faults();
        self.metrics.drain(&mut self.shared);
        self.logs.drain(&mut self.shared);
        self.spans.drain(&mut self.shared);
        self.check(false);
        self.restart_without_faults();
        self.check(false);
    }

    fn restart_without_faults(&mut self) {
        self.close();
        self.shared.disk.set_capacity(None);
        self.shared.disk.fail_syncs(0);
        self.shared.disk.crash();
        let opened = self.open_all();
        assert!(opened.is_ok(), "{opened:?}");
        self.check(true);
    }

    /// Flips a bit in some files of one store.
    fn rot(&mut self) {
        self.restart_without_faults();
        let which = self.shared.random.below(3);
        let (folder, holdings) = match which {
            0 => ("metrics", self.metrics.holdings()),
            1 => ("logs", self.logs.holdings()),
            _ => ("spans", self.spans.holdings()),
        };
        self.close();
        self.shared.disk.crash();
        let flipped = self.flip(folder);
        match which {
            0 => self.metrics.model.damaged = true,
            1 => self.logs.model.damaged = true,
            _ => self.spans.model.damaged = true,
        }
        let opened = self.open_all();
        assert!(opened.is_ok(), "after damage: {opened:?}");
        self.check_damage(which, &holdings, &flipped);
        self.check(false);
    }

    fn check_damage(&mut self, which: u64, holdings: &Holdings, flipped: &[String]) {
        let shared = &mut self.shared;
        match which {
            0 => self.metrics.check_damage(shared, holdings, flipped),
            1 => self.logs.check_damage(shared, holdings, flipped),
            _ => self.spans.check_damage(shared, holdings, flipped),
        }
    }

    /// One bit each of one to three files, anywhere but in the manifest.
    fn flip(&mut self, folder: &str) -> Vec<String> {
        let shared = &mut self.shared;
        let length = |path: &str| shared.disk.blob(path).map_or(0, |blob| blob.len() as u64);
        let data = [format!("{folder}/parts/"), format!("{folder}/journal/")];
        let paths = shared.disk.paths().into_iter();
        let paths = paths.filter(|path| data.iter().any(|start| path.starts_with(start)));
        let mut paths: Vec<(String, u64)> = paths
            .map(|path| (length(&path), path))
            .filter(|(length, _)| *length > 0)
            .map(|(length, path)| (path, length))
            .collect();
        let mut flipped = Vec::new();
        for _ in 0..1 + shared.random.below(3) {
            if paths.is_empty() {
                break;
            }
            let index = shared.random.below(paths.len() as u64) as usize;
            let (path, length) = paths.swap_remove(index);
            let bit = shared.random.below(length * 8);
            assert!(shared.disk.flip(&path, bit), "the file has the bit");
            shared.log(|| format!("flips bit {bit} of {path} with {length} bytes"));
            flipped.push(path);
        }
        flipped
    }
}

/// Runs one seed; panics when it fails.
pub(crate) fn run(seed: u64, log: Log) -> Seen {
    let mut world = World::new(seed, log);
    world.open();
    for _ in 0..STEPS {
        world.step();
    }
    world.restart();
    if world.shared.random.once_in(3) {
        world.rot();
    }
    world.drain();
    world.close();
    let (metrics, logs) = (world.metrics.model.len(), world.logs.model.len());
    world.shared.seen.rows += (metrics + logs + world.spans.model.len()) as u64;
    world.shared.seen
}
