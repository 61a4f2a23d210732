//! Random writes, jobs, crashes and faults against a model. `OBS_SIM_SEED=n` runs one seed and
//! `OBS_SIM_SEEDS=n` that many; a seed that fails prints itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use obs_model::{Tenant, TimeRange, Timestamp};

use super::toy::{Remainder, Row, Toy, records, rows, tenant};
use super::*;
use crate::sim::{Random, SimDisk};
use crate::{DeleteError, Force, JobError, OpenError, Retention, RetentionRule};

const SEEDS: u64 = 1000;
const STEPS: u64 = 150;
const WINDOW: i64 = 1000;
const WINDOWS: u64 = 4;
const TENANTS: [&str; 3] = ["a", "b", "c"];
/// Rows that some worlds keep for a shorter time.
const EVEN: Remainder = Remainder { of: 2, is: 0 };

/// What must be found, per tenant.
#[derive(Default)]
struct Model {
    acknowledged: BTreeMap<Tenant, BTreeSet<Row>>,
    /// Written when the disk failed: may be found or not, but all of one write or nothing.
    unknown: Vec<(Tenant, Vec<Row>)>,
    /// Rows of deletions that failed when the disk did: all of one may be gone, or none.
    doubted: Vec<(Tenant, BTreeSet<Row>)>,
}

/// What happened, so that a simulation that does nothing fails too.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    flushes: u64,
    merges: u64,
    drops: u64,
    failed_jobs: u64,
    poisoned: u64,
    torn: u64,
    full: u64,
    opens_failed: u64,
    deleted: u64,
    cleaned: u64,
    aged: u64,
}

struct World {
    seen: Seen,
    seed: u64,
    random: Random,
    disk: SimDisk,
    store: Option<Store<Toy>>,
    model: Model,
    retention: Option<i64>,
    /// The age of rows whose number is even, where it is not that of the others.
    even: Option<i64>,
    next_number: u64,
    now: i64,
}

fn options(retention: Option<i64>) -> Options {
    Options {
        window: WINDOW,
        flush_bytes: 400,
        flush_age: 300,
        memory_bytes_max: 2000,
        journal_segment_bytes: 300,
        journal_bytes_max: 4000,
        part_bytes_max: 4000,
        reserve_bytes: 600,
        retention: Retention {
            age: retention,
            bytes: None,
        },
        ..Options::default()
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x0b5e_55ed);
        let retention = random.once_in(4).then_some(1500);
        let random_even = random.once_in(4).then_some(700);
        Self {
            seen: Seen::default(),
            seed,
            random,
            disk: SimDisk::new(seed),
            store: None,
            model: Model::default(),
            retention,
            even: random_even,
            next_number: 0,
            now: 0,
        }
    }

    fn store(&self) -> &Store<Toy> {
        self.store.as_ref().expect("the store is open")
    }

    /// Ends the store, and remembers what it went through.
    fn end(&mut self) {
        let Some(store) = self.store.take() else {
            return;
        };
        let stats = store.stats();
        let seen = &mut self.seen;
        seen.flushes += stats.flushes;
        seen.merges += stats.merges;
        seen.drops += stats.drops;
        seen.failed_jobs += stats.failed_jobs;
        seen.poisoned += u64::from(stats.poisoned.is_some());
        seen.torn += u64::from(stats.torn_bytes > 0);
    }

    fn open(&mut self) {
        self.end();
        for attempt in 0..20 {
            if self.random.once_in(6) {
                self.go_down_after(12);
            }
            let disk = Arc::new(self.disk.clone());
            match Store::open(disk, options(self.retention), &|_| {}) {
                Ok(store) => {
                    let found = store.quarantined();
                    assert!(found.is_empty(), "seed {}: {found:?}", self.seed);
                    let now = Timestamp::from_nanos(self.now);
                    store.set_retention_rules(&self.rules(), now).unwrap();
                    self.store = Some(store);
                    return;
                }
                Err(OpenError::Manifest(error)) => panic!("seed {}: {error}", self.seed),
                Err(OpenError::Disk(_) | OpenError::Replay(_)) => {
                    self.seen.opens_failed += 1;
                    assert!(attempt < 19, "seed {}: does not open", self.seed);
                    self.go_down();
                }
            }
        }
    }

    /// Loses power, or only the process, after a few more changes.
    fn go_down_after(&mut self, bound: u64) {
        let changes = self.random.below(bound);
        if self.random.once_in(2) {
            self.disk.kill_after(changes);
        } else {
            self.disk.crash_after(changes);
        }
    }

    /// Power or the process is gone; a kill after lost power is lost power.
    fn go_down(&mut self) {
        if self.random.once_in(2) {
            self.disk.kill();
        } else {
            self.disk.crash();
        }
    }

    fn restart(&mut self) {
        self.end();
        self.disk.set_capacity(None);
        self.disk.fail_syncs(0);
        self.go_down();
        self.open();
        self.check();
    }

    fn rules(&self) -> Vec<RetentionRule> {
        let rule = |age| RetentionRule {
            selector: EVEN.bytes().to_vec(),
            age,
        };
        self.even.map(rule).into_iter().collect()
    }

    /// Whether a row is hidden by a rule of retention.
    fn aged(&self, row: &Row) -> bool {
        let first = self.even.map_or(i64::MIN, |age| self.now - age);
        EVEN.takes(row) && row.at < first
    }

    /// Whether a row must be there.
    fn kept(&self, row: &Row) -> bool {
        row.at >= self.retention.map_or(i64::MIN, |age| self.now - age) && !self.aged(row)
    }

    fn delete(&mut self) {
        let tenant = tenant(TENANTS[self.random.below(3) as usize]);
        let of = 2 + self.random.below(4) as u8;
        let is = self.random.below(u64::from(of)) as u8;
        let selector = Remainder { of, is };
        let end = self.now - self.random.below(2 * WINDOW as u64) as i64;
        let start = end - self.random.below(2 * WINDOW as u64) as i64;
        let takes = |row: &&Row| selector.takes(row) && (start..=end).contains(&row.at);
        let at = Timestamp::from_nanos;
        let range = TimeRange::new(at(start), at(end));
        let deleted = self.store().delete(&tenant, &selector.bytes(), range);
        let known = self.model.acknowledged.entry(tenant.clone()).or_default();
        let taken: BTreeSet<Row> = known.iter().filter(takes).copied().collect();
        match deleted {
            Ok(()) => {
                self.seen.deleted += taken.len() as u64;
                known.retain(|row| !taken.contains(row));
            }
            Err(DeleteError::Job(JobError::DiskFull(_)) | DeleteError::TooMany { .. }) => {}
            Err(DeleteError::Job(JobError::Poisoned(_) | JobError::Disk(_))) => {
                known.retain(|row| !taken.contains(row));
                self.model.doubted.push((tenant, taken));
            }
            Err(error) => panic!("seed {}: {error}", self.seed),
        }
    }

    fn append(&mut self) {
        let tenant = tenant(TENANTS[self.random.below(3) as usize]);
        let mut batch = Vec::new();
        for _ in 0..=self.random.below(6) {
            self.next_number += 1;
            let start = self.now - self.random.below(WINDOWS) as i64 * WINDOW;
            let at = start - self.random.below(100) as i64;
            batch.push(Row {
                number: self.next_number,
                at,
            });
        }
        match records(&tenant, &batch, |records| self.store().append(records)) {
            Ok(()) => {
                let known = self.model.acknowledged.entry(tenant).or_default();
                known.extend(batch);
            }
            Err(AppendError::DiskFull) => self.seen.full += 1,
            Err(AppendError::MemoryFull { .. }) => {}
            Err(AppendError::Poisoned(_)) => self.model.unknown.push((tenant, batch)),
            Err(error @ (AppendError::Disk(_) | AppendError::TooLarge { .. })) => {
                // Power was lost before anything was written; it is found by the next check.
                assert!(error.to_string().contains("power"), "{error}");
                self.model.unknown.push((tenant, batch));
            }
            Err(AppendError::Record(error)) => panic!("seed {}: {error}", self.seed),
        }
    }

    fn upkeep(&mut self) {
        let now = Timestamp::from_nanos(self.now);
        let job = match self.random.below(10) {
            0 => self.store().forced(Force::Flush),
            1 => self.store().forced(Force::Merge),
            2 => self.store().forced(Force::Clean),
            _ => self.store().next_job(now),
        };
        let Some(job) = job else { return };
        let cleans = matches!(&job, Job::Merge { parts, .. } if parts.len() == 1);
        self.seen.cleaned += u64::from(cleans);
        match self.store().run(job) {
            Ok(()) | Err(JobError::DiskFull(_) | JobError::Poisoned(_) | JobError::Disk(_)) => {}
            Err(JobError::Corrupt(error)) => panic!("seed {}: {error}", self.seed),
        }
    }

    fn step(&mut self) {
        self.now += self.random.below(100) as i64;
        if self.store().poisoned().is_some() && self.random.once_in(4) {
            return self.restart();
        }
        match self.random.below(40) {
            0..=19 => self.append(),
            20..=32 => self.upkeep(),
            33 => self.restart(),
            34 => self.go_down_after(30),
            38 => self.delete(),
            35 => self.disk.fail_syncs(1),
            36 if self.random.once_in(2) => {
                let room = self.random.below(800);
                self.disk.set_capacity(Some(self.disk.used() + room));
            }
            36 | 37 => self.disk.set_capacity(None),
            _ => self.check(),
        }
    }

    /// Everything acknowledged is found exactly once and in order of arrival; everything else that
    /// is found was written, as a whole, when the disk failed.
    fn check(&mut self) {
        let seed = self.seed;
        self.store().set_now(Timestamp::from_nanos(self.now));
        let mut found: BTreeMap<Tenant, BTreeSet<Row>> = BTreeMap::new();
        for tenant in self.store().tenants() {
            let (list, damaged) = rows(&self.store().snapshot(&tenant));
            assert_eq!(damaged, 0, "seed {seed}: a damaged part");
            let set: BTreeSet<Row> = list.iter().copied().collect();
            assert_eq!(set.len(), list.len(), "seed {seed}: a row is there twice");
            let mut last: BTreeMap<i64, u64> = BTreeMap::new();
            for row in &list {
                let before = last.insert(row.at.div_euclid(WINDOW), row.number);
                assert!(before < Some(row.number), "seed {seed}: out of order");
            }
            let aged = set.iter().find(|row| self.aged(row));
            assert_eq!(
                aged, None,
                "seed {seed}: a row beyond its retention is found"
            );
            found.insert(tenant, set);
        }
        self.settle(&mut found);
        let mut aged = 0;
        for (tenant, known) in &self.model.acknowledged {
            let set = found.remove(tenant).unwrap_or_default();
            let lost = known.difference(&set).find(|row| self.kept(row));
            assert_eq!(lost, None, "seed {seed}: an acknowledged row is lost");
            let extra = set.difference(known).next();
            assert_eq!(extra, None, "seed {seed}: a row from nowhere");
            aged += known.iter().filter(|row| self.aged(row)).count() as u64;
        }
        self.seen.aged += aged;
        let extra = found.values().flatten().next();
        assert_eq!(extra, None, "seed {seed}: a row from nowhere");
    }

    /// What is known after a restart of writes and deletions that failed when the disk did.
    fn settle(&mut self, found: &mut BTreeMap<Tenant, BTreeSet<Row>>) {
        let seed = self.seed;
        let poisoned = self.store().poisoned().is_some();
        for (tenant, taken) in std::mem::take(&mut self.model.doubted) {
            let set = found.entry(tenant.clone()).or_default();
            let there = taken.iter().filter(|row| set.contains(row)).count();
            let wanted = taken.iter().filter(|row| self.kept(row)).count();
            let whole = there == 0 || there >= wanted;
            assert!(whole, "seed {seed}: half of a deletion is there");
            if poisoned {
                set.retain(|row| !taken.contains(row));
                self.model.doubted.push((tenant, taken));
            } else if there > 0 {
                let known = self.model.acknowledged.entry(tenant).or_default();
                known.extend(taken);
            }
        }
        for (tenant, batch) in std::mem::take(&mut self.model.unknown) {
            let set = found.entry(tenant.clone()).or_default();
            let there = batch.iter().filter(|r| set.contains(r)).count();
            let wanted = batch.iter().filter(|row| self.kept(row)).count();
            assert!(
                there == 0 || there >= wanted,
                "seed {seed}: half of a write is there"
            );
            if poisoned {
                self.model.unknown.push((tenant, batch));
            } else if there > 0 {
                let known = self.model.acknowledged.entry(tenant).or_default();
                known.extend(batch);
            }
        }
    }

    /// One flipped bit, anywhere but in the manifest: what is lost is named, and nothing else.
    fn rot(&mut self) {
        self.restart();
        self.disk.crash();
        let paths: Vec<String> = self.disk.paths();
        let rots = |path: &&String| path.contains("/parts/") || path.contains("/journal/");
        let holds = |path: &&String| !self.disk.blob(path).unwrap().is_empty();
        let paths: Vec<&String> = paths.iter().filter(rots).filter(holds).collect();
        if paths.is_empty() {
            return;
        }
        let path = paths[self.random.below(paths.len() as u64) as usize];
        self.store = None;
        let bits = self.disk.blob(path).unwrap().len() as u64 * 8;
        self.disk.flip(path, self.random.below(bits));
        let disk = Arc::new(self.disk.clone());
        let store = Store::<Toy>::open(disk, options(self.retention), &|_| {}).unwrap();
        let now = Timestamp::from_nanos(self.now);
        store.set_retention_rules(&self.rules(), now).unwrap();
        let (mut lost, mut damaged) = (0, 0);
        for (tenant, known) in &self.model.acknowledged {
            let (list, bad) = rows(&store.snapshot(tenant));
            damaged += bad;
            let set: BTreeSet<Row> = list.iter().copied().collect();
            assert_eq!(
                set.len(),
                list.len(),
                "seed {}: a row is there twice",
                self.seed
            );
            assert!(
                set.is_subset(known),
                "seed {}: damage was served",
                self.seed
            );
            lost += known.difference(&set).filter(|r| self.kept(r)).count();
        }
        // The last write of all cannot be told from one that was never acknowledged.
        let told = damaged > 0 || !store.quarantined().is_empty() || store.stats().torn_bytes > 0;
        assert!(
            told || lost == 0,
            "seed {}: {lost} rows lost in silence",
            self.seed
        );
        let scrubbed = store.scrub().unwrap();
        assert_eq!(scrubbed.len(), damaged, "seed {}", self.seed);
    }
}

fn run(seed: u64) -> Seen {
    let mut world = World::new(seed);
    world.open();
    for _ in 0..STEPS {
        world.step();
    }
    world.restart();
    world.rot();
    world.seen
}

#[test]
fn every_acknowledged_row_is_found_exactly_once() {
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok());
    let seeds = match number(option_env!("OBS_SIM_SEED")) {
        Some(seed) => seed..seed + 1,
        None => 0..number(option_env!("OBS_SIM_SEEDS")).unwrap_or(SEEDS),
    };
    let many = seeds.end - seeds.start >= SEEDS;
    let mut all = Seen::default();
    for seed in seeds {
        let Ok(seen) = std::panic::catch_unwind(|| run(seed)) else {
            panic!("seed {seed} fails: run it with OBS_SIM_SEED={seed}");
        };
        all.flushes += seen.flushes;
        all.merges += seen.merges;
        all.drops += seen.drops;
        all.failed_jobs += seen.failed_jobs;
        all.poisoned += seen.poisoned;
        all.torn += seen.torn;
        all.full += seen.full;
        all.opens_failed += seen.opens_failed;
        all.deleted += seen.deleted;
        all.cleaned += seen.cleaned;
        all.aged += seen.aged;
    }
    let least = [
        all.flushes,
        all.merges,
        all.drops,
        all.failed_jobs,
        all.poisoned,
        all.torn,
        all.full,
        all.opens_failed,
        all.deleted,
        all.cleaned,
        all.aged,
    ];
    assert!(!many || least.iter().all(|count| *count >= 100), "{all:?}");
}
