//! Random writes, retries, flushes, merges, crashes and disk faults over the real stores, against
//! a set of numbers: every acknowledged record is found exactly once. `OBS_SIM_SEED=n` runs one
//! seed, `OBS_SIM_SEEDS=n` that many of each store; a seed that fails prints itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use obs_logstore::{Direction, LogFilter, Logs, Visitor};
use obs_model::limits::Limits;
use obs_model::metrics::Sample;
use obs_model::time::NANOS_PER_DAY;
use obs_model::{
    Budget, BudgetError, Labels, LogBatch, LogRecord, LogStream, Matcher, MetricBatch, Series,
    Tenant, TimeRange, Timestamp, Value,
};
use obs_storage::sim::Random;
use obs_storage::{
    AppendError, Force, JobError, Kind, OpenError, Options, Record, SimDisk, Snapshot, Store,
};
use obs_tsdb::Metrics;

/// Seeds of each store; the engine itself is simulated in its own room with 1,000 more.
const SEEDS: u64 = 400;
const STEPS: u64 = 60;
const MILLI: i64 = 1_000_000;

/// A signal whose records are numbers: where a number lies in time, how a batch of them is
/// journaled, and which ones a reader finds, in any order, as often as it finds them.
trait Signal: Kind {
    fn record(numbers: &[u64]) -> Vec<u8>;
    fn find(snapshot: &Snapshot<Self>) -> Vec<u64>
    where
        Self: Sized;
}

/// Four days, so that there are several windows; no two numbers share a time.
fn time_of(number: u64) -> Timestamp {
    let day = (number % 4) as i64 * NANOS_PER_DAY;
    Timestamp::from_nanos(day + number as i64 * MILLI)
}

fn budget() -> Budget {
    Budget::new(&Limits::default())
}

impl Signal for Metrics {
    fn record(numbers: &[u64]) -> Vec<u8> {
        let series = |number: &u64| Series {
            labels: Labels::from_pairs([
                ("__name__", "numbers".to_owned()),
                ("rest", (number % 5).to_string()),
            ]),
            samples: vec![Sample {
                time: time_of(*number),
                start: None,
                value: Value::Float(*number as f64),
            }],
            exemplars: Vec::new(),
        };
        let batch = MetricBatch {
            series: numbers.iter().map(series).collect(),
            ..MetricBatch::default()
        };
        let mut out = Vec::new();
        obs_tsdb::encode(&batch, &mut out);
        out
    }

    fn find(snapshot: &Snapshot<Self>) -> Vec<u64> {
        let matchers = [Matcher::equal("__name__", "numbers")];
        let found = obs_tsdb::select(snapshot, &matchers, TimeRange::ALL, &budget());
        let found = found.expect("whole parts are readable");
        let mut numbers = Vec::new();
        for series in found {
            for (time, value) in series.samples.iter() {
                let Value::Float(value) = value else {
                    panic!("only floats were written");
                };
                let number = value as u64;
                assert_eq!(time, time_of(number));
                assert_eq!(series.labels.get("rest"), Some(&*(number % 5).to_string()));
                numbers.push(number);
            }
        }
        numbers
    }
}

struct Lines(Vec<u64>);

impl Visitor for Lines {
    fn slice(&mut self, _range: TimeRange) -> bool {
        true
    }

    fn stream(&mut self, labels: &Labels, records: Vec<LogRecord>) -> Result<(), BudgetError> {
        for record in records {
            let text = String::from_utf8(record.line).expect("only text was written");
            let number = text.strip_prefix("number ").expect("as it was written");
            let number: u64 = number.parse().expect("as it was written");
            assert_eq!(record.time, time_of(number));
            assert_eq!(labels.get("rest"), Some(&*(number % 5).to_string()));
            self.0.push(number);
        }
        Ok(())
    }
}

impl Signal for Logs {
    fn record(numbers: &[u64]) -> Vec<u8> {
        let stream = |number: &u64| LogStream {
            labels: Labels::from_pairs([("rest", (number % 5).to_string())]),
            records: vec![LogRecord {
                time: time_of(*number),
                line: format!("number {number}").into_bytes(),
                metadata: Labels::from_pairs([("trace_id", format!("{number:032x}"))]),
            }],
        };
        let batch = LogBatch {
            streams: numbers.iter().map(stream).collect(),
        };
        let mut out = Vec::new();
        obs_logstore::encode(&batch, &mut out);
        out
    }

    fn find(snapshot: &Snapshot<Self>) -> Vec<u64> {
        let filter = LogFilter {
            matchers: &[],
            range: TimeRange::ALL,
            needles: &[],
            direction: Direction::Backward,
        };
        let mut lines = Lines(Vec::new());
        obs_logstore::scan(snapshot, &filter, &budget(), &mut lines)
            .expect("whole parts are readable");
        lines.0
    }
}

struct World<S: Signal> {
    seed: u64,
    random: Random,
    disk: SimDisk,
    store: Option<Store<S>>,
    acknowledged: BTreeSet<u64>,
    /// Written when the disk failed: there or not, and written again by the client.
    unknown: Vec<u64>,
    next: u64,
    flushed: u64,
}

impl<S: Signal> World<S> {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            random: Random::new(seed ^ 0x5eed),
            disk: SimDisk::new(seed),
            store: None,
            acknowledged: BTreeSet::new(),
            unknown: Vec::new(),
            next: 0,
            flushed: 0,
        }
    }

    fn store(&self) -> &Store<S> {
        self.store.as_ref().expect("the store is open")
    }

    fn restart(&mut self) {
        let old = self.store.take();
        self.flushed += old.map_or(0, |store| store.stats().flushes);
        self.disk.set_capacity(None);
        self.disk.fail_syncs(0);
        self.disk.crash();
        for attempt in 0.. {
            if attempt < 3 && self.random.once_in(5) {
                self.disk.crash_after(self.random.below(12));
            }
            let options = Options {
                flush_bytes: 4096,
                journal_segment_bytes: 2048,
                reserve_bytes: 1024,
                ..Options::default()
            };
            match Store::open(Arc::new(self.disk.clone()), options, &|_| {}) {
                Ok(store) => {
                    assert!(store.quarantined().is_empty(), "seed {}", self.seed);
                    self.store = Some(store);
                    return;
                }
                Err(OpenError::Manifest(error)) => panic!("seed {}: {error}", self.seed),
                Err(OpenError::Disk(_) | OpenError::Replay(_)) => {
                    assert!(attempt < 4, "seed {}: does not open", self.seed);
                    self.disk.crash();
                }
            }
        }
    }

    /// One write: new numbers, or those whose fate is unknown, or some that are stored already.
    fn append(&mut self) {
        let mut numbers = match self.random.below(8) {
            0 => self.acknowledged.iter().rev().take(5).copied().collect(),
            1 | 2 => std::mem::take(&mut self.unknown),
            _ => Vec::new(),
        };
        if numbers.is_empty() {
            let count = 1 + self.random.below(20);
            numbers.extend(self.next..self.next + count);
            self.next += count;
        }
        let payload = S::record(&numbers);
        let tenant = Tenant::anonymous();
        let record = Record {
            tenant: &tenant,
            payload: &payload,
        };
        match self.store().append(&[record]) {
            Ok(()) => self.acknowledged.extend(numbers),
            Err(AppendError::Record(error)) => panic!("seed {}: {error}", self.seed),
            Err(_) => self.unknown.extend(numbers),
        }
    }

    fn upkeep(&mut self) {
        let job = match self.random.below(6) {
            0 => self.store().forced(Force::Merge),
            1 => self.store().forced(Force::Flush),
            _ => self.store().next_job(Timestamp::from_nanos(0)),
        };
        match job.map_or(Ok(()), |job| self.store().run(job)) {
            Err(JobError::Corrupt(error)) => panic!("seed {}: {error}", self.seed),
            Ok(()) | Err(JobError::DiskFull(_) | JobError::Poisoned(_) | JobError::Disk(_)) => {}
        }
    }

    fn check(&self) {
        let list = S::find(&self.store().snapshot(&Tenant::anonymous()));
        let found: BTreeSet<u64> = list.iter().copied().collect();
        assert_eq!(found.len(), list.len(), "seed {}: found twice", self.seed);
        let lost = self.acknowledged.difference(&found).next();
        assert_eq!(
            lost, None,
            "seed {}: an acknowledged record is lost",
            self.seed
        );
        let mut extra = found.difference(&self.acknowledged);
        let extra = extra.find(|number| !self.unknown.contains(number));
        assert_eq!(extra, None, "seed {}: a record from nowhere", self.seed);
    }

    fn run(mut self) -> u64 {
        self.restart();
        for _ in 0..STEPS {
            if self.store().poisoned().is_some() && self.random.once_in(3) {
                self.restart();
            }
            match self.random.below(30) {
                0..=15 => self.append(),
                16..=24 => self.upkeep(),
                25 => self.restart(),
                26 => self.disk.crash_after(self.random.below(20)),
                27 => self.disk.fail_syncs(1),
                28 => {
                    let room = self.random.below(4096);
                    self.disk.set_capacity(Some(self.disk.used() + room));
                }
                _ => {
                    self.disk.set_capacity(None);
                    self.check();
                }
            }
        }
        self.restart();
        self.check();
        self.flushed
    }
}

fn simulate<S: Signal>() {
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok());
    let seeds = match number(option_env!("OBS_SIM_SEED")) {
        Some(seed) => seed..seed + 1,
        None => 0..number(option_env!("OBS_SIM_SEEDS")).unwrap_or(SEEDS),
    };
    let many = seeds.end - seeds.start >= SEEDS;
    let mut flushed = 0;
    for seed in seeds {
        let ran = std::panic::catch_unwind(|| World::<S>::new(seed).run());
        let Ok(flushes) = ran else {
            panic!(
                "{}: seed {seed} fails: run it with OBS_SIM_SEED={seed}",
                S::NAME
            );
        };
        flushed += flushes;
    }
    assert!(!many || flushed >= SEEDS, "only {flushed} flushes");
}

#[test]
fn samples_are_found_exactly_once() {
    simulate::<Metrics>();
}

#[test]
fn lines_are_found_exactly_once() {
    simulate::<Logs>();
}
