//! The metric store on the real engine over a disk that crashes, fills and fails: whatever was
//! acknowledged is found exactly once with its first value, whatever arrives late, twice or in
//! conflict, but for what was deleted or is kept for a shorter time. `OBS_SIM_SEED=n` runs one seed and `OBS_SIM_SEEDS=n` that many.

use obs_model::numbers::{KeySeed, SeriesKey, SeriesNumbers};
use obs_storage::sim::Random;
use obs_storage::{AppendError, DeleteError, JobError, OpenError, Retention, RetentionRule, Tier};

use super::*;
use crate::{Need, Selection, TimesTable};

const SEEDS: u64 = 150;
const STEPS: u64 = 60;
/// Milliseconds of a window.
const WINDOW: u64 = 10_000;

/// A row is its number: series, time and value follow from it, and no two share series and time.
fn row_of(number: u64, late: bool) -> Row {
    let millis = number * 37 + if late { 0 } else { WINDOW };
    // Late rows go where others are already, at times of their own.
    let time = if late {
        millis % WINDOW * 4 + 1 + number % 3
    } else {
        millis * 4
    };
    Row {
        series: (number % 11) as usize,
        time: time as i64 * 1000 + number as i64 % 1000,
        value: match number % 9 {
            4 => TestValue::Histogram((number % 10) as u8),
            7 => TestValue::Float(STALE_BITS),
            _ => TestValue::Float((number as f64 * 0.5).to_bits()),
        },
        start: number.is_multiple_of(5).then_some(3),
    }
}

/// The series that some worlds keep for a shorter time.
fn short() -> Matcher {
    Matcher::new("index", MatchOp::Regex, "[02468]").unwrap()
}

fn tier(seconds: i64) -> Tier {
    Tier {
        resolution: Timestamp::from_seconds(seconds).nanos(),
        age: None,
    }
}

struct World {
    seed: u64,
    random: Random,
    disk: SimDisk,
    store: Option<Engine<Metrics>>,
    acknowledged: Oracle,
    /// Rows whose write failed when the disk did: all of a write may be found, or nothing.
    unknown: Vec<Vec<Row>>,
    /// Rows of deletions that failed when the disk did: all of one may be gone, or none.
    doubted: Vec<Vec<Row>>,
    /// What upkeep takes for now, but for some nanoseconds.
    clock: i64,
    /// Milliseconds for which rows are kept as they came, in some worlds; tiers stay.
    age: Option<i64>,
    /// Rows before this time of the series of [`short`] are not to be found.
    first_short: Option<i64>,
    written: Vec<Row>,
    /// The numbers that the store gave to series, as receivers know them.
    numbers: SeriesNumbers,
    number: u64,
    now: i64,
    /// Flushes, merges and deletions that were done, and samples read from tiers.
    jobs: (u64, u64, u64, u64),
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x7db);
        let first = random.below(60_000_000) as i64;
        let first_short = random.once_in(3).then_some(first);
        let clock = first + random.below(60_000_000) as i64;
        let age = random.once_in(3).then(|| random.below(20_000_000) as i64);
        Self {
            seed,
            random,
            disk: SimDisk::new(seed),
            store: None,
            acknowledged: Oracle::new(),
            unknown: Vec::new(),
            doubted: Vec::new(),
            clock,
            age,
            first_short,
            written: Vec::new(),
            numbers: SeriesNumbers::default(),
            number: 0,
            now: 1,
            jobs: (0, 0, 0, 0),
        }
    }

    fn store(&self) -> &Engine<Metrics> {
        self.store.as_ref().expect("the store is open")
    }

    fn open(&mut self) {
        self.store = None;
        self.numbers = SeriesNumbers::default();
        for _ in 0..20 {
            if self.random.once_in(6) {
                self.disk.crash_after(self.random.below(12));
            }
            let options = Options {
                window: Timestamp::from_millis(WINDOW as i64 * 1000).nanos(),
                flush_bytes: 25_000,
                flush_age: 300,
                memory_bytes_max: 80_000,
                journal_segment_bytes: 2000,
                journal_bytes_max: 20_000,
                part_bytes_max: 30_000,
                merge_parts: 2,
                reserve_bytes: 0,
                tiers: [2500, 5000].map(tier).to_vec(),
                tier_delay: 0,
                retention: Retention {
                    age: self.age.map(|age| Timestamp::from_millis(age).nanos()),
                    bytes: None,
                },
                ..Options::default()
            };
            let seed = self.seed;
            match Engine::open(Arc::new(self.disk.clone()), options, &|_| {}) {
                Ok(store) => {
                    let found = store.quarantined();
                    assert!(found.is_empty(), "seed {seed}: {found:?}");
                    self.store = Some(store);
                    self.set_rules();
                    return;
                }
                Err(OpenError::Manifest(error)) => panic!("seed {seed}: {error}"),
                Err(OpenError::Disk(_) | OpenError::Replay(_)) => self.disk.crash(),
            }
        }
        panic!("seed {}: does not open", self.seed);
    }

    fn restart(&mut self) {
        let stats = self.store().stats();
        self.jobs.0 += stats.flushes;
        self.jobs.1 += stats.merges;
        self.store = None;
        self.disk.set_capacity(None);
        self.disk.fail_syncs(0);
        if self.random.once_in(4) {
            self.disk.kill();
        } else {
            self.disk.crash();
        }
        self.open();
        self.check();
    }

    /// The rule hides what is before a time that moves less than a millisecond.
    fn set_rules(&mut self) {
        let Some(first) = self.first_short else {
            return;
        };
        let rule = RetentionRule {
            selector: crate::selector(&[short()]),
            age: (self.clock - first + 1) * 1_000_000,
        };
        let now = Timestamp::from_millis(self.clock) + self.now;
        self.store().set_retention_rules(&[rule], now).unwrap();
    }

    /// The first millisecond that retention keeps.
    fn first_kept(&self) -> i64 {
        let Some(age) = self.age else {
            return i64::MIN;
        };
        let window = WINDOW as i64 * 1000;
        (self.clock - age).div_euclid(window) * window
    }

    /// Whether retention does not keep a row.
    fn aged(&self, row: &Row) -> bool {
        let first = self.first_short.unwrap_or(i64::MIN);
        let short = row.time < first && short().matches_labels(&series_labels(row.series));
        short || row.time < self.first_kept()
    }

    /// Where tiers are said to tell the same as samples, they do, in whole buckets.
    fn check_tiers(&mut self, snapshot: &Snapshot<Metrics>, found: &BTreeMap<Labels, Samples>) {
        let (seed, kept) = (self.seed, self.first_kept());
        let some = self.random.below(4) as usize;
        for (labels, samples) in found.iter().skip(some).step_by(4) {
            let matchers: Vec<Matcher> = labels
                .iter()
                .map(|(name, value)| Matcher::equal(name, value))
                .collect();
            let resolution = crate::Resolution {
                same: tier(5000).resolution,
                falls: true,
                most: 0,
            };
            let budget = budget();
            let selection =
                Selection::open(snapshot, &matchers, TimeRange::ALL, resolution, &budget);
            let selection = selection.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            // Another series may have these labels and more.
            let same = (0..selection.len()).find(|index| selection.labels(*index) == labels);
            let index = same.unwrap_or_else(|| panic!("seed {seed}: no series {labels}"));
            let mut rest = 0;
            let mut times = TimesTable::default();
            let need = Need::Values;
            let read = selection.read(index..index + 1, need, &mut times, &budget, |one| {
                let kept = |(_, time): &(usize, &Timestamp)| time.millis() >= kept;
                for (at, time) in one.times.iter().enumerate().filter(kept) {
                    let known = one.summaries.iter().find(|(i, _)| *i as usize == at);
                    let (first, count) =
                        known.map_or((*time, 1), |(_, one)| (one.first_time, one.count));
                    let run = samples.times.get(rest..rest + count as usize);
                    let run = run.unwrap_or_else(|| panic!("seed {seed}: too many samples"));
                    let ends = (run.first(), run.last());
                    assert_eq!(ends, (Some(&first), Some(time)), "seed {seed}: {labels}");
                    if let Some((_, summary)) = known {
                        let floats = &samples.floats[rest..rest + count as usize];
                        let naive = crate::summary::of_chunk(&[0], floats);
                        let naive = naive.unwrap_or_else(|| panic!("seed {seed}: a NaN"));
                        assert_eq!((naive.min, naive.max), (summary.min, summary.max));
                        assert_eq!(naive.fallen.sum(), summary.fallen.sum(), "seed {seed}");
                        assert!((naive.sum - summary.sum).abs() <= 1e-9 * naive.sum.abs());
                        self.jobs.3 += 1;
                    }
                    rest += count as usize;
                }
                Ok::<(), SelectError>(())
            });
            read.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert_eq!(rest, samples.times.len(), "seed {seed}: {labels}");
        }
    }

    fn delete(&mut self) {
        let matchers = match self.random.below(4) {
            0 => vec![Matcher::equal("__name__", "up")],
            1 => vec![short()],
            2 => vec![Matcher::new("index", MatchOp::NotRegex, "1|2|3").unwrap()],
            _ => vec![
                Matcher::equal("__name__", "cpu"),
                Matcher::equal("index", "8"),
            ],
        };
        let last = self.number as i64 * 160_000;
        let start = self.random.below(last as u64 + 1) as i64;
        let end = start + self.random.below(last as u64 / 4 + 1) as i64;
        let taken = |row: &Row| {
            (start..=end).contains(&row.time) && all_match(&matchers, &series_labels(row.series))
        };
        let (tenant, range) = (Tenant::anonymous(), millis(start, end));
        let deleted = crate::delete(self.store(), &tenant, &matchers, range);
        let doubt = match deleted {
            Ok(()) => false,
            Err(DeleteError::Job(JobError::DiskFull(_))) => return,
            Err(DeleteError::Job(JobError::Poisoned(_) | JobError::Disk(_))) => true,
            Err(error) => panic!("seed {}: {error}", self.seed),
        };
        let written = std::mem::take(&mut self.written).into_iter();
        let (gone, left): (Vec<Row>, Vec<Row>) = written.partition(taken);
        self.written = left;
        for row in &gone {
            let labels = series_labels(row.series);
            let samples = self.acknowledged.get_mut(&labels).unwrap();
            samples.remove(&row.time);
            if samples.is_empty() {
                self.acknowledged.remove(&labels);
            }
        }
        if doubt {
            self.doubted.push(gone);
        } else {
            self.jobs.2 += u64::from(!gone.is_empty());
        }
    }

    fn append(&mut self) {
        let mut rows = Vec::new();
        for _ in 0..=self.random.below(20) {
            self.number += 1;
            rows.push(row_of(self.number, self.random.once_in(4)));
        }
        let mut sent = rows.clone();
        // A sender repeats what was acknowledged, sometimes with another value.
        for _ in 0..self.random.below(4) {
            if self.written.is_empty() {
                break;
            }
            let again = self.random.below(self.written.len() as u64) as usize;
            let mut again = self.written[again].clone();
            if self.random.once_in(2) {
                again.value = TestValue::Float((-1.0f64).to_bits());
            }
            sent.push(again);
        }
        let mut batch = self.numbered(batch_of(&sent));
        let mut stored = self.store_batch(batch);
        if stored == Ok(false) {
            batch = batch_of(&sent);
            stored = self.store_batch(batch);
            assert_ne!(
                stored,
                Ok(false),
                "seed {}: labels are never stale",
                self.seed
            );
        }
        match stored {
            Ok(_) => self.acknowledge(rows),
            Err(AppendError::DiskFull | AppendError::MemoryFull { .. }) => {}
            Err(AppendError::Poisoned(_) | AppendError::Disk(_)) => {
                self.unknown.push(rows);
                // What is dead does not stay dead for long.
                if self.random.once_in(3) {
                    self.restart();
                }
            }
            Err(error @ (AppendError::TooLarge { .. } | AppendError::Record(_))) => {
                panic!("seed {}: {error}", self.seed)
            }
        }
    }

    /// A batch in which plain samples of known series come by number, as receivers have it.
    fn numbered(&mut self, mut batch: MetricBatch) -> MetricBatch {
        let plain = |s: &Sample| s.start.is_none() && matches!(s.value, Value::Float(_));
        let known = self.numbers.of(&Tenant::anonymous());
        let mut lookup = known.as_ref().map(|numbers| numbers.lookup());
        batch.known.epoch = known.as_ref().map_or(0, |numbers| numbers.epoch());
        for series in std::mem::take(&mut batch.series) {
            let key = SeriesKey::of(series.labels.packed(), KeySeed::Packed);
            let number = lookup.as_mut().and_then(|lookup| lookup.get(key));
            match number.filter(|_| series.samples.iter().all(plain)) {
                Some(number) => {
                    for sample in series.samples {
                        if let Value::Float(value) = sample.value {
                            batch.known.push(number, sample.time.millis(), value);
                        }
                    }
                }
                None => batch.series.push(Series {
                    key: Some(key),
                    ..series
                }),
            }
        }
        batch
    }

    /// Whether the batch was taken; `false` when its numbers are of a registry that is gone.
    fn store_batch(&mut self, batch: MetricBatch) -> Result<bool, AppendError> {
        let tenant = Tenant::anonymous();
        let mut draft = crate::MetricDraft::new(vec![batch], Timestamp::default());
        self.store().append_drafts(&mut [(&tenant, &mut draft)])?;
        let (epoch, learned) = draft.learned();
        self.numbers.learn(&tenant, epoch, learned);
        Ok(draft.taken(0))
    }

    fn acknowledge(&mut self, rows: Vec<Row>) {
        for row in &rows {
            let samples = self
                .acknowledged
                .entry(series_labels(row.series))
                .or_default();
            let before = samples.insert(row.time, (row.value.value(), row.start));
            assert!(before.is_none(), "no two rows share series and time");
        }
        self.written.extend(rows);
    }

    fn upkeep(&mut self) {
        let job = match self.random.below(8) {
            0 => self.store().forced(Force::Flush),
            1 => self.store().forced(Force::Merge),
            2 => self.store().forced(Force::Clean),
            _ => {
                let start = Timestamp::from_millis(self.clock);
                self.store().next_job(start + self.now)
            }
        };
        let Some(job) = job else { return };
        match self.store().run(job) {
            Ok(()) | Err(JobError::DiskFull(_) | JobError::Poisoned(_) | JobError::Disk(_)) => {}
            Err(JobError::Corrupt(error)) => panic!("seed {}: {error}", self.seed),
        }
    }

    fn step(&mut self) {
        self.now += self.random.below(100) as i64;
        match self.random.below(42) {
            40 => self.delete(),
            0..=19 => self.append(),
            20..=33 => self.upkeep(),
            34 => self.restart(),
            35 => self.disk.crash_after(self.random.below(30)),
            36 => self.disk.fail_syncs(1),
            37 => {
                let room = self.random.below(8000);
                self.disk.set_capacity(Some(self.disk.used() + room));
            }
            38 => self.disk.set_capacity(None),
            _ => self.check(),
        }
    }

    /// Does all that is to be done, after a restart that goes well.
    fn settle(&mut self) {
        self.store = None;
        self.disk.crash();
        self.disk.set_capacity(None);
        self.open();
        self.disk.crash_after(u64::MAX);
        let now = Timestamp::from_millis(self.clock) + self.now;
        for jobs in 0.. {
            let store = self.store();
            let job = store.forced(Force::Flush).or_else(|| store.next_job(now));
            let Some(job) = job else { break };
            assert!(jobs < 1000, "seed {}: upkeep does not end", self.seed);
            if let Err(error) = store.run(job) {
                // A crash that opening did not come to.
                assert!(
                    !matches!(error, JobError::Corrupt(_)),
                    "seed {}: {error}",
                    self.seed
                );
                return self.restart();
            }
        }
        self.check();
    }

    /// What is found is what was acknowledged, and whole writes that may have reached the disk.
    fn check(&mut self) {
        let seed = self.seed;
        let snapshot = self.store().snapshot(&Tenant::anonymous());
        let found = crate::select(&snapshot, &[], TimeRange::ALL, &budget());
        let found = found.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let mut found: BTreeMap<Labels, Samples> =
            found.into_iter().map(|s| (s.labels, s.samples)).collect();
        // What retention takes may be there, or only in tiers.
        let kept = self.first_kept();
        for samples in found.values_mut() {
            let gone = samples.times.partition_point(|time| time.millis() < kept);
            samples.times.drain(..gone);
            samples.floats.drain(..gone);
            samples.starts.drain(..gone.min(samples.starts.len()));
            samples
                .histograms
                .retain(|(index, _)| *index as usize >= gone);
            let moved = samples.histograms.iter_mut();
            moved.for_each(|(index, _)| *index -= gone as u32);
        }
        found.retain(|_, samples| !samples.times.is_empty());
        self.check_tiers(&snapshot, &found);
        let has = |row: &Row| {
            let samples = found.get(&series_labels(row.series));
            let time = Timestamp::from_millis(row.time);
            samples.is_some_and(|s| s.times.binary_search(&time).is_ok())
        };
        let poisoned = self.store().stats().poisoned.is_some();
        let mut still: Vec<Row> = Vec::new();
        for rows in std::mem::take(&mut self.doubted) {
            let there = rows.iter().filter(|row| has(row)).count();
            let wanted = rows.iter().filter(|row| !self.aged(row)).count();
            let whole = there == 0 || there == wanted;
            assert!(whole, "seed {seed}: half of a deletion is there");
            if poisoned {
                still.extend(rows.iter().filter(|row| has(row)).cloned());
                self.doubted.push(rows);
            } else if there > 0 {
                self.acknowledge(rows);
            }
        }
        let mut expect = self.acknowledged.clone();
        for row in &still {
            let samples = expect.entry(series_labels(row.series)).or_default();
            samples.insert(row.time, (row.value.value(), row.start));
        }
        for rows in std::mem::take(&mut self.unknown) {
            let there = rows.iter().filter(|row| has(row)).count();
            let wanted = rows.iter().filter(|row| !self.aged(row)).count();
            assert!(
                there == 0 || there == wanted,
                "seed {seed}: half of a write is there"
            );
            if there > 0 {
                for row in &rows {
                    let samples = expect.entry(series_labels(row.series)).or_default();
                    samples.insert(row.time, (row.value.value(), row.start));
                }
            }
            if poisoned {
                self.unknown.push(rows);
            } else if there > 0 {
                self.acknowledge(rows);
            }
        }
        let first = self.first_short.unwrap_or(i64::MIN);
        expect.retain(|labels, samples| {
            samples.retain(|time, _| *time >= kept);
            samples.retain(|time, _| *time >= first || !short().matches_labels(labels));
            !samples.is_empty()
        });
        assert!(found.keys().eq(expect.keys()), "seed {seed}: other series");
        for (samples, expect) in found.values().zip(expect.values()) {
            let expect: Vec<(i64, &Value)> = expect.iter().map(|(t, (v, _))| (*t, v)).collect();
            assert_samples(samples, &expect);
        }
    }
}

/// Gives the number of flushes, merges and deletions, and of samples read from tiers.
fn run(seed: u64) -> (u64, u64, u64, u64) {
    let mut world = World::new(seed);
    world.open();
    for _ in 0..STEPS {
        world.step();
    }
    world.restart();
    world.settle();
    assert_eq!(world.store().stats().quarantined, 0, "seed {seed}");
    assert!(
        !world.acknowledged.is_empty(),
        "seed {seed}: nothing was written"
    );
    world.jobs
}

#[test]
fn every_acknowledged_sample_is_found_exactly_once() {
    #[expect(clippy::disallowed_methods, reason = "a developer chooses the seed")]
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seeds = match number("OBS_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("OBS_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let (mut flushes, mut merges, mut deletions, mut tiers) = (0, 0, 0, 0);
    for seed in seeds {
        match std::panic::catch_unwind(|| run(seed)) {
            Ok(jobs) => {
                flushes += jobs.0;
                merges += jobs.1;
                deletions += jobs.2;
                tiers += jobs.3;
            }
            Err(_) => panic!("seed {seed} fails: run it with OBS_SIM_SEED={seed}"),
        }
    }
    // One seed alone may have had no time for it.
    let many = number("OBS_SIM_SEED").is_none();
    assert!(
        !many || (flushes > 0 && merges > 0 && deletions > 0 && tiers > 0),
        "{flushes} flushes, {merges} merges, {deletions} deletions, {tiers} of tiers"
    );
}
