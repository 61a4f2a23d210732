//! The store against a model: whatever is flushed and merged in whatever order, reads answer alike.

mod deletion;
mod registry;
mod simulation;
mod tiers;

use std::collections::BTreeMap;
use std::sync::Arc;

use obs_model::histogram::{BucketSpan, Histogram, ResetHint};
use obs_model::limits::Limits;
use obs_model::matcher::all_match;
use obs_model::metrics::{Exemplar, Metadata, MetricBatch, MetricKind, Sample};
use obs_model::sample::{STALE_BITS, stale};
use obs_model::time::NANOS_PER_DAY;
use obs_model::{
    Budget, BudgetError, Labels, MatchOp, Matcher, Samples, Series, Tenant, TimeRange, Timestamp,
    Value,
};
use obs_storage::codec::{Reader, bytes};
use obs_storage::{
    Blob, Corrupt, Force, Kind, Options, PartReader, PartWriter, Record, SimDisk, Snapshot,
    Store as Engine,
};
use proptest::prelude::*;

use crate::column::NO_START;
use crate::part::{Part, TimesCache};
use crate::{Memory, Metrics, SelectError};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied())
}

fn millis(start: i64, end: i64) -> TimeRange {
    TimeRange::new(Timestamp::from_millis(start), Timestamp::from_millis(end))
}

fn budget() -> Budget {
    Budget::new(&Limits::default())
}

/// When batches of tests are received.
const RECEIVED: Timestamp = Timestamp::from_nanos(0);

fn apply(memory: &Memory, batch: &MetricBatch) {
    let mut record = Vec::new();
    crate::encode(batch, RECEIVED, &mut record);
    // A batch without anything in it has no record.
    if !record.is_empty() {
        Metrics::apply(memory, 1, &record).unwrap();
    }
}

/// A part of the rows of a memory; `None` without rows.
fn flush(memory: &Memory, range: TimeRange) -> Option<PartReader> {
    let mut writer = PartWriter::in_memory(Metrics::NAME, &Tenant::anonymous());
    Metrics::flush(memory, range, &mut writer).unwrap();
    let part = writer.finish_in_memory();
    (part.rows() > 0).then_some(part)
}

fn merge(parts: &[PartReader], keep: TimeRange) -> Result<Option<PartReader>, Corrupt> {
    let opened: Result<Vec<Part>, Corrupt> = parts.iter().cloned().map(Metrics::open).collect();
    let opened = opened?;
    let mut writer = PartWriter::in_memory(Metrics::NAME, &Tenant::anonymous());
    Metrics::merge(&opened.iter().collect::<Vec<_>>(), keep, &mut writer)?;
    let part = writer.finish_in_memory();
    Ok((part.rows() > 0).then_some(part))
}

/// A memory, flushed memories and merged parts at once.
struct Store {
    parts: Vec<PartReader>,
    memories: Vec<Memory>,
}

/// What happens between batches.
#[derive(Clone, Debug)]
enum Step {
    Write(Vec<Row>),
    Seal,
    /// Flushes the oldest memory in windows that meet at this millisecond.
    Flush(i64),
    /// Merges some parts that follow each other.
    Merge(usize, usize),
}

#[derive(Clone, Debug)]
struct Row {
    series: usize,
    time: i64,
    value: TestValue,
    start: Option<i64>,
}

#[derive(Clone, Debug)]
enum TestValue {
    Float(u64),
    Histogram(u8),
}

impl TestValue {
    fn value(&self) -> Value {
        match self {
            Self::Float(bits) => Value::Float(f64::from_bits(*bits)),
            Self::Histogram(n) => Value::Histogram(Arc::new(histogram(*n))),
        }
    }
}

fn histogram(n: u8) -> Histogram {
    Histogram {
        integer: n.is_multiple_of(2),
        reset_hint: [
            ResetHint::Unknown,
            ResetHint::Reset,
            ResetHint::NotReset,
            ResetHint::Gauge,
        ][usize::from(n % 4)],
        schema: if n.is_multiple_of(3) { -53 } else { 2 },
        zero_threshold: 0.001,
        zero_count: f64::from(n),
        count: f64::from(n) * 2.0,
        sum: if n == 7 { stale() } else { 0.1 * f64::from(n) },
        positive_spans: vec![
            BucketSpan {
                offset: -4,
                length: 1,
            },
            BucketSpan {
                offset: 2,
                length: 2,
            },
        ],
        positive: vec![1.0, f64::from(n), 0.5],
        negative_spans: vec![BucketSpan {
            offset: 0,
            length: 1,
        }],
        negative: vec![3.0],
        custom_bounds: if n.is_multiple_of(3) {
            vec![0.5, 1.0]
        } else {
            Vec::new()
        },
    }
}

fn series_labels(series: usize) -> Labels {
    let names = ["up", "up", "cpu", "cpu", "mem"];
    let index = series.to_string();
    // An upper-case name sorts before `__name__`.
    let extra = if series.is_multiple_of(2) {
        "Zone"
    } else {
        "zone"
    };
    labels(&[
        ("__name__", names[series % 5]),
        ("index", &index),
        (extra, "z"),
    ])
}

fn row() -> impl Strategy<Value = Row> {
    let value = prop_oneof![
        6 => (0u8..20).prop_map(|n| TestValue::Float(f64::from(n).to_bits())),
        1 => any::<u64>().prop_map(TestValue::Float),
        1 => Just(TestValue::Float(STALE_BITS)),
        2 => (0u8..10).prop_map(TestValue::Histogram),
    ];
    let start = prop::option::weighted(0.3, 0i64..50);
    (0usize..7, -20i64..80, value, start).prop_map(|(series, time, value, start)| Row {
        series,
        time,
        value,
        start,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => prop::collection::vec(row(), 0..30).prop_map(Step::Write),
        2 => Just(Step::Seal),
        2 => (-10i64..70).prop_map(Step::Flush),
        2 => (0usize..8, 2usize..5).prop_map(|(at, count)| Step::Merge(at, count)),
    ]
}

fn batch_of(rows: &[Row]) -> MetricBatch {
    let series = |row: &Row| Series {
        labels: series_labels(row.series),
        samples: vec![Sample {
            time: Timestamp::from_millis(row.time),
            start: row.start.map(Timestamp::from_millis),
            value: row.value.value(),
        }],
        exemplars: Vec::new(),
        ..Default::default()
    };
    let mut batch = MetricBatch::default();
    for row in rows {
        let one = series(row);
        // Some series come as one run of samples, some as several series with the same labels.
        let last = batch.series.last_mut().filter(|l| l.labels == one.labels);
        match last {
            Some(last) => last.samples.extend(one.samples),
            None => batch.series.push(one),
        }
    }
    batch
}

type Oracle = BTreeMap<Labels, BTreeMap<i64, (Value, Option<i64>)>>;

impl Store {
    fn new() -> Self {
        Self {
            parts: Vec::new(),
            memories: vec![Memory::default()],
        }
    }

    fn step(&mut self, step: &Step, oracle: &mut Oracle) {
        match step {
            Step::Write(rows) => {
                let active = self.memories.last().unwrap();
                apply(active, &batch_of(rows));
                for row in rows {
                    let samples = oracle.entry(series_labels(row.series)).or_default();
                    let arrived = (row.value.value(), row.start);
                    samples.entry(row.time).or_insert(arrived);
                }
            }
            Step::Seal => self.memories.push(Memory::default()),
            Step::Flush(at) => {
                let memory = self.memories.remove(0);
                if self.memories.is_empty() {
                    self.memories.push(Memory::default());
                }
                let first = TimeRange::new(Timestamp::MIN, Timestamp::from_millis(*at) - 1);
                let second = TimeRange::new(Timestamp::from_millis(*at), Timestamp::MAX);
                let windows = [first, second].map(|range| flush(&memory, range));
                self.parts.extend(windows.into_iter().flatten());
            }
            Step::Merge(at, count) => {
                let from = (*at).min(self.parts.len());
                let to = (from + count).min(self.parts.len());
                let inputs: Vec<PartReader> = self.parts.drain(from..to).collect();
                if let Some(merged) = merge(&inputs, TimeRange::ALL).unwrap() {
                    self.parts.insert(from, merged);
                }
            }
        }
    }

    fn snapshot(self) -> Snapshot<Metrics> {
        Snapshot::from_parts(self.memories, self.parts).unwrap()
    }
}

fn assert_samples(found: &Samples, expect: &[(i64, &Value)]) {
    let times: Vec<i64> = found.times.iter().map(|t| t.millis()).collect();
    let expected: Vec<i64> = expect.iter().map(|(t, _)| *t).collect();
    assert_eq!(times, expected);
    for (index, (time, value)) in expect.iter().enumerate() {
        assert!(found.value(index).bit_eq(value), "sample at {time}");
    }
}

fn assert_answers(snapshot: &Snapshot<Metrics>, oracle: &Oracle, range: (i64, i64)) {
    let matchers = [
        vec![],
        vec![Matcher::equal("__name__", "up")],
        vec![Matcher::new("index", MatchOp::Regex, "[0-4]").unwrap()],
    ];
    for matchers in &matchers {
        let time = millis(range.0, range.1);
        let found = crate::select(snapshot, matchers, time, &budget()).unwrap();
        let mut found = found.iter();
        for (labels, samples) in oracle.iter().filter(|(l, _)| all_match(matchers, l)) {
            let within: Vec<(i64, &Value)> = samples
                .iter()
                .filter(|(t, _)| (range.0..=range.1).contains(*t))
                .map(|(t, (value, _))| (*t, value))
                .collect();
            if within.is_empty() {
                continue;
            }
            let series = found.next().unwrap();
            assert_eq!(&series.labels, labels);
            assert_samples(&series.samples, &within);
        }
        assert!(found.next().is_none());
    }
}

/// The start timestamps of everything, by merging all that there is into one part.
fn starts(snapshot: &Snapshot<Metrics>) -> BTreeMap<(Labels, i64), i64> {
    let mut parts: Vec<PartReader> = snapshot.parts.iter().map(|p| p.reader.clone()).collect();
    let memories = snapshot.memories.iter();
    parts.extend(memories.filter_map(|m| flush(m, TimeRange::ALL)));
    let mut found = BTreeMap::new();
    let Some(merged) = merge(&parts, TimeRange::ALL).unwrap() else {
        return found;
    };
    let part = Metrics::open(merged).unwrap();
    let mut cache = TimesCache::new();
    for group in &part.groups {
        let labels = part.labels(group).unwrap();
        for block in &part.blocks[group.blocks.clone()] {
            let open = part.open_block(group, block).unwrap();
            for (place, labels) in labels.iter().enumerate() {
                let Some(times) = part.times(&open, place, &mut cache).unwrap() else {
                    continue;
                };
                let column = part.column(&open, place, &times, &mut cache).unwrap();
                for (time, start) in column.times.iter().zip(&column.starts) {
                    if *start != NO_START {
                        found.insert((labels.clone(), *time), *start);
                    }
                }
            }
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_order_of_flushes_and_merges_answers_alike(
        steps in prop::collection::vec(step(), 1..20),
        from in -20i64..80,
        length in 0i64..100,
    ) {
        let mut store = Store::new();
        let mut oracle = Oracle::new();
        for step in &steps {
            store.step(step, &mut oracle);
        }
        let snapshot = store.snapshot();
        assert_answers(&snapshot, &oracle, (-1000, 1000));
        assert_answers(&snapshot, &oracle, (from, from + length));
        let expect: BTreeMap<(Labels, i64), i64> = oracle
            .iter()
            .flat_map(|(labels, samples)| {
                let with_start = samples.iter().filter_map(|(t, (_, s))| s.map(|s| (*t, s)));
                with_start.map(|(time, start)| ((labels.clone(), time), start))
            })
            .collect();
        prop_assert_eq!(starts(&snapshot), expect);
        let all: Vec<Labels> = oracle.keys().cloned().collect();
        let found = crate::series(&snapshot, &[], TimeRange::ALL, &budget()).unwrap();
        prop_assert_eq!(found, all);
    }

    #[test]
    fn matchers_select_what_a_filter_selects(
        sets in prop::collection::vec(prop::collection::vec(("[abc]", "[xyz]{0,3}"), 0..4), 1..60),
        flushed in 0usize..60,
        conditions in prop::collection::vec((prop::sample::select(vec!["a", "b", "c", "d"]),
            0usize..4, prop::sample::select(PATTERNS.to_vec())), 0..4),
    ) {
        let matchers: Vec<Matcher> = conditions
            .iter()
            .map(|(name, op, value)| {
                let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
                Matcher::new(*name, ops[*op], *value).unwrap()
            })
            .collect();
        let mut all: Vec<Labels> = sets.iter().map(|set| Labels::from_pairs(set.clone())).collect();
        let memories = [Memory::default(), Memory::default()];
        for (index, labels) in all.iter().enumerate() {
            let sample = Sample {
                time: Timestamp::from_millis(5),
                start: None,
                value: Value::Float(1.0),
            };
            let series = Series {
                labels: labels.clone(),
                samples: vec![sample],
                exemplars: Vec::new(), ..Default::default()
};
            let batch = MetricBatch {
                series: vec![series],
                metadata: Vec::new(), ..Default::default()
};
            apply(&memories[usize::from(index >= flushed)], &batch);
        }
        let [first, second] = memories;
        let parts = flush(&first, TimeRange::ALL).into_iter().collect();
        let snapshot = Snapshot::<Metrics>::from_parts(vec![second], parts).unwrap();
        all.sort();
        all.dedup();
        all.retain(|labels| all_match(&matchers, labels));
        let found = crate::select(&snapshot, &matchers, TimeRange::ALL, &budget()).unwrap();
        prop_assert_eq!(found.into_iter().map(|s| s.labels).collect::<Vec<_>>(), all.clone());
        let found = crate::series(&snapshot, &matchers, TimeRange::ALL, &budget()).unwrap();
        prop_assert_eq!(&found, &all);

        let mut names: Vec<&str> = all.iter().flat_map(|l| l.iter().map(|(n, _)| n)).collect();
        names.sort_unstable();
        names.dedup();
        let found = crate::label_names(&snapshot, &matchers, TimeRange::ALL, &budget()).unwrap();
        prop_assert_eq!(found, names);
        let mut values: Vec<&str> = all.iter().filter_map(|l| l.get("a")).collect();
        values.sort_unstable();
        values.dedup();
        let found = crate::label_values(&snapshot, "a", &matchers, TimeRange::ALL, &budget());
        prop_assert_eq!(found.unwrap(), values);
    }

    #[test]
    fn damage_behind_a_sound_checksum_does_not_panic(
        section in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        noise in prop::option::of(prop::collection::vec(any::<u8>(), 0..100)),
    ) {
        let good = full_part();
        let names: Vec<String> = good.sections().map(|(name, _)| name.to_owned()).collect();
        let target = section.get(&names);
        let mut writer = PartWriter::in_memory(Metrics::NAME, &Tenant::anonymous());
        for name in &names {
            let mut bytes = good.section(name).unwrap().to_vec();
            if name == target {
                for (at, bits) in &flips {
                    let at = at.index(bytes.len());
                    bytes[at] ^= bits;
                }
                bytes = noise.clone().unwrap_or(bytes);
            }
            writer.section(name, &bytes);
        }
        writer.rows(good.rows(), good.range());
        let damaged = writer.finish_in_memory();
        // It may be refused at any point, or be read where the damage does no harm.
        if let Ok(snapshot) = Snapshot::<Metrics>::from_parts(Vec::new(), vec![damaged.clone()]) {
            let matchers = [Matcher::new("index", MatchOp::Regex, "[0-9].*").unwrap()];
            let selected = crate::select(&snapshot, &matchers, TimeRange::ALL, &budget());
            if let Ok(selected) = selected {
                prop_assert!(selected.len() <= 200);
            }
            let all = TimeRange::ALL;
            let values = crate::label_values(&snapshot, "index", &[], all, &budget());
            prop_assert!(values.map_or(0, |v| v.len()) <= 1000);
            let exemplars = crate::exemplars(&snapshot, &[], all, &budget());
            prop_assert!(exemplars.map_or(0, |e| e.len()) <= 200);
            let metadata = crate::metadata(&snapshot, &budget());
            prop_assert!(metadata.map_or(0, |m| m.len()) <= 1000);
        }
        if let Ok(Some(merged)) = merge(&[good.clone(), damaged], TimeRange::ALL) {
            prop_assert!(merged.rows() > 0);
        }
    }
}

const PATTERNS: [&str; 17] = [
    "x.+|yy?.*|x",
    "(z|xz|[é-ü]).*",
    "zz.*|xyx.*|xy.*",
    "",
    "x",
    "xy",
    "x.*",
    ".*",
    ".+",
    "x|y",
    "|x",
    "x|",
    "xy?z?",
    "[xy]+",
    "(?i)X.",
    "xx.+|xy.*",
    "q",
];

fn exemplar(time: i64) -> Exemplar {
    Exemplar {
        labels: labels(&[("trace_id", &time.to_string())]),
        value: 0.25,
        time: Timestamp::from_millis(time),
    }
}

/// A part with everything that a part can hold.
fn full_part() -> PartReader {
    let memory = Memory::default();
    apply(&memory, &full_batch());
    flush(&memory, TimeRange::ALL).unwrap()
}

fn full_batch() -> MetricBatch {
    let mut batch = MetricBatch::default();
    for index in 0..100i64 {
        let value = |time: i64| match (index, time % 7) {
            (3, 0) => Value::Histogram(Arc::new(histogram((time % 10) as u8))),
            _ => Value::Float(time as f64 * 0.5),
        };
        let sample = |time: i64| Sample {
            time: Timestamp::from_millis(time * 10 + index % 2),
            start: (index == 4).then(|| Timestamp::from_millis(1)),
            value: value(time),
        };
        batch.series.push(Series {
            labels: series_labels(index as usize),
            samples: (0..20).map(sample).collect(),
            exemplars: if index == 5 {
                vec![exemplar(7), exemplar(3)]
            } else {
                Vec::new()
            },
            ..Default::default()
        });
    }
    batch.metadata.push(Metadata {
        family: "up".into(),
        kind: MetricKind::Gauge,
        unit: "seconds".into(),
        help: "help".into(),
    });
    batch
}

/// The series of an instance lie at nearly the same distances in each metric.
#[test]
fn large_sets_of_series_are_small() {
    let mut batch = MetricBatch::default();
    for number in 0..3200 {
        let (metric, instance) = (
            format!("m{:02}", number % 80),
            format!("i{:02}", number / 80),
        );
        batch.series.push(Series {
            labels: labels(&[("__name__", &metric), ("instance", &instance)]),
            samples: vec![Sample {
                time: Timestamp::from_millis(1),
                start: None,
                value: Value::Float(1.0),
            }],
            ..Default::default()
        });
    }
    for _ in 0..70 {
        let mut more = batch.series[0].clone();
        let name = format!("{:03}", batch.series.len());
        more.labels = labels(&[("__name__", "other"), ("instance", "i00"), ("x", &name)]);
        batch.series.push(more);
    }
    let memory = Memory::default();
    apply(&memory, &batch);
    let part = flush(&memory, TimeRange::ALL).unwrap();
    let postings = part
        .sections()
        .find(|(name, _)| *name == "postings")
        .unwrap();
    // Those of instances would take 7000 alone as bitmaps.
    assert!(postings.1 < 4500, "{}", postings.1);
    let snapshot = Snapshot::from_parts(Vec::new(), vec![part]).unwrap();
    for instance in 0..40 {
        let value = format!("i{instance:02}");
        let matcher = Matcher::equal("instance", &value);
        let found = crate::select(&snapshot, &[matcher], TimeRange::ALL, &budget()).unwrap();
        let expect = if instance == 0 { 150 } else { 80 };
        assert_eq!(found.len(), expect, "{value}");
        assert!(
            found
                .iter()
                .all(|one| one.labels.get("instance") == Some(&*value))
        );
    }
}

#[test]
fn blocks_are_cut_and_read_selectively() {
    let memory = Memory::default();
    let sample = |time: i64| Sample {
        time: Timestamp::from_millis(time * 15_000),
        start: None,
        value: Value::Float(time as f64),
    };
    let series = |index: usize| Series {
        labels: series_labels(index),
        samples: (0..5000).map(sample).collect(),
        exemplars: Vec::new(),
        ..Default::default()
    };
    let batch = MetricBatch {
        series: (0..10).map(series).collect(),
        metadata: Vec::new(),
        ..Default::default()
    };
    apply(&memory, &batch);
    let part = flush(&memory, TimeRange::ALL).unwrap();
    assert_eq!(part.rows(), 50_000);
    assert!(part.bytes() < 60_000, "{} bytes", part.bytes());
    let opened = Metrics::open(part.clone()).unwrap();
    assert_eq!(opened.groups.len(), 3);
    assert_eq!(opened.blocks.len(), 9);
    let snapshot = Snapshot::<Metrics>::from_parts(Vec::new(), vec![part]).unwrap();
    let budget = budget();
    let range = millis(4000 * 15_000, 4009 * 15_000);
    let found = crate::select(&snapshot, &[Matcher::equal("index", "3")], range, &budget).unwrap();
    assert_eq!(found[0].samples.len(), 10);
    assert_eq!(budget.spent().0, 10);
}

#[test]
fn a_part_goes_on_where_the_budget_ends() {
    let snapshot = Snapshot::<Metrics>::from_parts(Vec::new(), vec![full_part()]).unwrap();
    let check = |limits: Limits, limit: &str| {
        let found = crate::select(&snapshot, &[], TimeRange::ALL, &Budget::new(&limits));
        let Err(SelectError::Budget(BudgetError::Exceeded { limit: found, .. })) = found else {
            panic!("the budget {limit} is kept");
        };
        assert_eq!(found, limit);
    };
    let limits = Limits::default();
    check(
        Limits {
            query_samples_max: 100,
            ..limits
        },
        "query_samples_max",
    );
    check(
        Limits {
            query_series_max: 10,
            ..limits
        },
        "query_series_max",
    );
    check(
        Limits {
            query_bytes_max: 1000,
            ..limits
        },
        "query_bytes_max",
    );
}

#[test]
fn the_budget_bounds_what_is_held_at_a_time() {
    let memory = Memory::default();
    let samples = |seed: u64| {
        let value = move |n: u64| {
            f64::from_bits((seed * 1000 + n).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2)
        };
        let sample = move |n: u64| Sample {
            time: Timestamp::from_millis(n as i64),
            start: None,
            value: Value::Float(value(n)),
        };
        (0..1000).map(sample).collect()
    };
    // Metrics of their own stand in groups and blocks of their own.
    let series = |n: u64| Series {
        labels: labels(&[("__name__", &format!("m{n:02}"))]),
        samples: samples(n),
        exemplars: Vec::new(),
        ..Default::default()
    };
    let batch = MetricBatch {
        series: (0..40).map(series).collect(),
        metadata: Vec::new(),
        ..Default::default()
    };
    apply(&memory, &batch);
    let part = flush(&memory, TimeRange::ALL).unwrap();
    let snapshot = Snapshot::<Metrics>::from_parts(Vec::new(), vec![part]).unwrap();
    let budget = Budget::new(&Limits {
        query_bytes_max: 30_000,
        ..Limits::default()
    });
    let found = crate::select(&snapshot, &[], millis(5, 5), &budget).unwrap();
    assert_eq!(found.len(), 40);
    assert!(budget.spent().1 > 90_000, "{:?}", budget.spent());
    assert!(budget.bytes_held() < 2000, "{}", budget.bytes_held());
}

#[test]
fn metadata_without_samples_is_kept() {
    let disk = SimDisk::new(1);
    let options = Options {
        retention: obs_storage::Retention {
            age: Some(10 * NANOS_PER_DAY),
            bytes: None,
        },
        ..Options::default()
    };
    let open =
        || Engine::<Metrics>::open(Arc::new(disk.clone()), options.clone(), &|_| {}).unwrap();
    let tenant = Tenant::anonymous();
    let write = |store: &Engine<Metrics>, family: &str, received: i64| {
        let entry = Metadata {
            family: family.to_owned(),
            kind: MetricKind::Gauge,
            unit: "bytes".to_owned(),
            help: format!("what {family} is"),
        };
        let batch = MetricBatch {
            series: Vec::new(),
            metadata: vec![entry],
            ..Default::default()
        };
        let mut payload = Vec::new();
        let received = Timestamp::from_nanos(received);
        crate::encode(&batch, received, &mut payload);
        let record = Record {
            tenant: &tenant,
            payload: &payload,
        };
        store.append(&[record]).unwrap();
    };
    let run = |store: &Engine<Metrics>, force: Force| {
        while let Some(job) = store.forced(force) {
            store.run(job).unwrap();
        }
    };
    let families = |store: &Engine<Metrics>| -> Vec<String> {
        let all = crate::metadata(&store.snapshot(&tenant), &budget()).unwrap();
        all.into_iter().map(|m| m.help).collect()
    };
    let day = 20_000 * NANOS_PER_DAY;
    let store = open();
    write(&store, "a", day + 5);
    assert_eq!(store.snapshot(&tenant).memory_days(), [20_000].into());
    run(&store, Force::Flush);
    assert_eq!(families(&store), ["what a is"]);
    write(&store, "b", day + 6);
    run(&store, Force::Flush);
    drop(store);
    disk.crash();
    let store = open();
    assert_eq!(families(&store), ["what a is", "what b is"]);
    run(&store, Force::Merge);
    assert_eq!(store.snapshot(&tenant).parts.len(), 1);
    assert_eq!(families(&store), ["what a is", "what b is"]);
    let selected = crate::select(&store.snapshot(&tenant), &[], TimeRange::ALL, &budget());
    assert!(selected.unwrap().is_empty());
    // It goes with the samples of its day.
    assert_eq!(
        store.next_job(Timestamp::from_nanos(day + 10 * NANOS_PER_DAY)),
        None
    );
    let job = store
        .next_job(Timestamp::from_nanos(day + 11 * NANOS_PER_DAY))
        .unwrap();
    store.run(job).unwrap();
    assert_eq!(families(&store), Vec::<String>::new());
}

#[test]
fn long_labels_and_many_exemplars_make_several_runs() {
    let series = |n: i64| Series {
        labels: labels(&[
            ("__name__", "up"),
            ("long", &format!("{n:02}{}", "x".repeat(4000))),
        ]),
        samples: Vec::new(),
        exemplars: (0..10).map(|at| exemplar(100 * n + at)).collect(),
        ..Default::default()
    };
    let entry = |n: i64| Metadata {
        family: format!("family_{n:03}"),
        help: "x".repeat(30),
        ..Metadata::default()
    };
    let batch = MetricBatch {
        series: (0..20).map(series).collect(),
        metadata: (0..50).map(entry).collect(),
        ..Default::default()
    };
    let memory = Memory::default();
    apply(&memory, &batch);
    let part = flush(&memory, TimeRange::ALL).unwrap();
    let merged = merge(&[part.clone(), part.clone()], TimeRange::ALL);
    for part in [part, merged.unwrap().unwrap()] {
        let sections = |what: &str| part.sections().filter(|(n, _)| n.starts_with(what)).count();
        assert!(
            sections("exemplars") > 2 && sections("metadata") > 2,
            "{part:?}"
        );
        assert!(Part::open(part.clone()).unwrap().groups.len() > 4);
        let snapshot = Snapshot::<Metrics>::from_parts(Vec::new(), vec![part]).unwrap();
        let found = crate::exemplars(&snapshot, &[], TimeRange::ALL, &budget()).unwrap();
        let expect = batch
            .series
            .iter()
            .map(|s| (s.labels.clone(), s.exemplars.clone()));
        assert_eq!(found, expect.collect::<Vec<_>>());
        assert_eq!(
            crate::metadata(&snapshot, &budget()).unwrap(),
            batch.metadata
        );
    }
}

#[test]
fn metadata_that_grows_is_weighed() {
    let memory = Memory::default();
    let weigh = |help: usize| {
        let entry = Metadata {
            family: "up".to_owned(),
            help: "x".repeat(help),
            ..Metadata::default()
        };
        let metadata = vec![entry];
        let series = Vec::new();
        apply(
            &memory,
            &MetricBatch {
                series,
                metadata,
                ..Default::default()
            },
        );
        Metrics::bytes(&memory).all
    };
    let small = weigh(0);
    assert_eq!(weigh(50_000), small + 50_000);
    assert_eq!(weigh(10), small + 10);
}

#[test]
fn days_in_memory_are_told() {
    let check = |times: &[i64], expect: &[i64]| {
        let memory = Memory::default();
        let row = |time: &i64| Row {
            series: 1,
            time: *time,
            value: TestValue::Float(0),
            start: None,
        };
        let rows: Vec<Row> = times.iter().map(row).collect();
        apply(&memory, &batch_of(&rows));
        let found: Vec<i64> = Metrics::days(&memory).into_iter().collect();
        assert_eq!(found, expect, "{times:?}");
    };
    check(&[], &[]);
    check(&[0, 86_399_999], &[0]);
    check(&[-1, 86_400_000], &[-1, 1]);
    check(
        &[5 * 86_400_000, 3 * 86_400_000, 7 * 86_400_000],
        &[3, 5, 7],
    );
}

#[test]
fn exemplars_metadata_and_cardinality_come_from_everywhere() {
    let memory = Memory::default();
    let mut batch = batch_of(&[Row {
        series: 5,
        time: 900,
        value: TestValue::Float(0),
        start: None,
    }]);
    batch.series[0].exemplars = vec![exemplar(3), exemplar(900)];
    batch.metadata = vec![Metadata {
        family: "up".into(),
        kind: MetricKind::Counter,
        ..Metadata::default()
    }];
    apply(&memory, &batch);
    let merged = merge(&[full_part(), full_part()], TimeRange::ALL)
        .unwrap()
        .unwrap();
    assert_eq!(merged.rows(), full_part().rows());
    let snapshot = Snapshot::<Metrics>::from_parts(vec![memory], vec![merged]).unwrap();

    let all = [Matcher::equal("__name__", "up")];
    let found = crate::exemplars(&snapshot, &all, TimeRange::ALL, &budget()).unwrap();
    let expect = vec![(
        series_labels(5),
        vec![exemplar(3), exemplar(7), exemplar(900)],
    )];
    assert_eq!(found, expect);
    let found = crate::exemplars(&snapshot, &all, millis(4, 8), &budget()).unwrap();
    assert_eq!(found, vec![(series_labels(5), vec![exemplar(7)])]);

    let metadata = crate::metadata(&snapshot, &budget()).unwrap();
    assert_eq!(metadata.len(), 1);
    assert_eq!(metadata[0].kind, MetricKind::Counter);

    let found = crate::cardinality(&snapshot, TimeRange::ALL, 2, &budget()).unwrap();
    assert_eq!((found.series, found.samples, found.pairs), (100, 2001, 105));
    let entry = |name: &str, count| (name.to_owned(), count);
    assert_eq!(found.series_by_metric, [entry("cpu", 40), entry("up", 40)]);
    assert_eq!(
        found.values_by_label,
        [entry("index", 100), entry("__name__", 3)]
    );
    assert_eq!(
        found.series_by_pair,
        [entry("Zone=z", 50), entry("zone=z", 50)]
    );
}

#[test]
fn a_refused_record_changes_nothing() {
    let memory = Memory::default();
    let rows = [Row {
        series: 1,
        time: 1,
        value: TestValue::Float(0),
        start: None,
    }];
    let mut record = Vec::new();
    crate::encode(&batch_of(&rows), RECEIVED, &mut record);
    for end in 0..record.len() {
        assert!(Metrics::apply(&memory, 1, &record[..end]).is_err());
    }
    assert_eq!((memory.series_count(), Metrics::bytes(&memory).all), (0, 0));
    assert_eq!(Metrics::range(&memory), None);
    Metrics::apply(&memory, 1, &record).unwrap();
    Metrics::apply(&memory, 1, &record).unwrap();
    assert_eq!(memory.series_count(), 1);
    assert_eq!(Metrics::range(&memory), Some(millis(1, 1)));
    let first = |from| Metrics::first_row(&memory, Timestamp::from_nanos(from));
    assert_eq!(first(i64::MIN), Some(Timestamp::from_millis(1)));
    assert_eq!(first(1_000_001), None);
    assert!(Metrics::bytes(&memory).all > 0);
}

#[test]
fn the_engine_drives_it() {
    let disk = SimDisk::new(1);
    let open = || Engine::<Metrics>::open(Arc::new(disk.clone()), Options::default(), &|_| {});
    let tenant = Tenant::anonymous();
    let write = |store: &Engine<Metrics>, times: std::ops::Range<i64>| {
        let row = |time| Row {
            series: (time % 7) as usize,
            time: time * 1000,
            value: TestValue::Float((time as f64).to_bits()),
            start: None,
        };
        let mut payload = Vec::new();
        crate::encode(
            &batch_of(&times.map(row).collect::<Vec<_>>()),
            RECEIVED,
            &mut payload,
        );
        let record = Record {
            tenant: &tenant,
            payload: &payload,
        };
        store.append(&[record]).unwrap();
    };
    let samples = |store: &Engine<Metrics>| -> usize {
        let snapshot = store.snapshot(&tenant);
        let found = crate::select(&snapshot, &[], TimeRange::ALL, &budget()).unwrap();
        found.iter().map(|s| s.samples.len()).sum()
    };
    let run = |store: &Engine<Metrics>, force: Force| {
        while let Some(job) = store.forced(force) {
            store.run(job).unwrap();
        }
    };
    let store = open().unwrap();
    write(&store, 0..100);
    run(&store, Force::Flush);
    write(&store, 50..200);
    run(&store, Force::Flush);
    write(&store, 150..250);
    assert_eq!(samples(&store), 250);
    run(&store, Force::Merge);
    assert_eq!(store.snapshot(&tenant).parts.len(), 1);
    assert_eq!(samples(&store), 250);
    drop(store);
    assert_eq!(samples(&open().unwrap()), 250);
}

/// Written by the first released versions; what is read from them never changes.
const RECORD_V1: &[u8] = include_bytes!("../fixtures/v1/metric-record.bin");
const PART_V2: &[u8] = include_bytes!("../fixtures/v2/metric.part");

#[test]
fn every_flipped_bit_of_a_part_is_found() {
    let part = PART_V2;
    let step = (part.len() / 1000).max(1);
    for at in (0..part.len()).step_by(step) {
        for bit in 0..8 {
            let mut flipped = part.to_vec();
            flipped[at] ^= 1 << bit;
            let found = PartReader::open("flipped", Blob::heap(flipped)).and_then(|p| p.verify());
            assert!(found.is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn files_of_old_versions_are_read_and_written_alike() {
    let memory = Memory::default();
    Metrics::apply(&memory, 1, RECORD_V1).unwrap();
    let part = PartReader::open("metric.part", Blob::heap(PART_V2.to_vec())).unwrap();
    part.verify().unwrap();

    // Compressed bytes may differ with the version of zstd, what is in them may not.
    let body = |record: &[u8]| bytes::decode(&mut Reader::new("", &record[1..]), 1 << 20).unwrap();
    let mut record = Vec::new();
    crate::encode(&full_batch(), RECEIVED, &mut record);
    assert_eq!((record[0], body(&record)), (RECORD_V1[0], body(RECORD_V1)));
    for section in ["times", "postings"] {
        let (old, new) = (part.section(section), full_part());
        assert_eq!(old.unwrap(), new.section(section).unwrap(), "{section}");
    }

    let mut oracle = Oracle::new();
    for series in full_batch().series {
        let samples = series.samples.into_iter();
        let samples = samples.map(|s| (s.time.millis(), (s.value, s.start.map(Timestamp::millis))));
        oracle.insert(series.labels, samples.collect());
    }
    for (memories, parts) in [(vec![memory], Vec::new()), (Vec::new(), vec![part])] {
        let snapshot = Snapshot::<Metrics>::from_parts(memories, parts).unwrap();
        assert_answers(&snapshot, &oracle, (0, 1000));
        let exemplars = crate::exemplars(&snapshot, &[], TimeRange::ALL, &budget()).unwrap();
        assert_eq!(
            exemplars,
            [(series_labels(5), vec![exemplar(3), exemplar(7)])]
        );
        let metadata = crate::metadata(&snapshot, &budget()).unwrap();
        assert_eq!(metadata, full_batch().metadata);
    }
}

/// A batch of one time: series `from..to`, each with its number.
fn scrape(numbers: std::ops::Range<i64>, time: i64) -> MetricBatch {
    let one = |number: i64| Series {
        labels: labels(&[("__name__", "m"), ("n", &format!("{number:03}"))]),
        samples: vec![Sample {
            time: Timestamp::from_millis(time),
            start: None,
            value: Value::Float(number as f64),
        }],
        ..Series::default()
    };
    MetricBatch {
        series: numbers.map(one).collect(),
        ..MetricBatch::default()
    }
}

#[test]
fn what_comes_after_a_selection_is_opened_is_not_in_it() {
    let memory = Memory::default();
    // Rows of a group that fill a chunk and begin another, a row that was filled in part, and
    // series of their own.
    (0..20).for_each(|n| memory.insert(scrape(0..40, n * 10)));
    memory.insert(scrape(0..30, 200));
    memory.insert(scrape(100..102, 200));
    let snapshot = Snapshot::<Metrics>::from_parts(vec![memory], Vec::new()).unwrap();
    let all = [Matcher::equal("__name__", "m")];
    let range = millis(0, 10_000);
    let budget = budget();
    let one = crate::Resolution::default();
    let reads = [(&all[..], range, one), (&all[..], range, one)];
    let selections = crate::Selection::open_all(&snapshot, &reads, &budget).unwrap();
    let read = |selection: &crate::Selection<'_>| {
        let mut found = Vec::new();
        let mut times = crate::TimesTable::default();
        for chunk in selection.chunks(16) {
            let need = crate::Need::Values;
            let each = |one: crate::selection::Samples<'_>| {
                found.push((one.index, one.times.to_vec(), one.floats.to_vec()));
                Ok::<(), SelectError>(())
            };
            let read = selection.read(chunk, need, &mut times, &budget, each);
            read.unwrap();
        }
        found
    };
    let before = read(&selections[0]);
    assert_eq!(before.len(), 42);
    // The rest of the row, further rows until they are closed, new series, late samples.
    let memory = &snapshot.memories[0];
    memory.insert(scrape(30..42, 200));
    (21..60).for_each(|n| memory.insert(scrape(0..45, n * 10)));
    memory.insert(scrape(100..103, 300));
    memory.insert(scrape(0..3, 5));
    assert_eq!(read(&selections[1]), before);
    let after = crate::Selection::open(&snapshot, &all, range, one, &budget).unwrap();
    assert_eq!(after.len(), 48);
    let samples: usize = read(&after).iter().map(|(_, times, _)| times.len()).sum();
    assert_eq!(samples, 20 * 40 + 42 + 2 + 39 * 45 + 3 + 3);
}

/// The full part as a tier of 70 ms.
const TIER_V3: &[u8] = include_bytes!("../fixtures/v3/metric-tier.part");

fn full_tier() -> PartReader {
    let part = Metrics::open(full_part()).unwrap();
    let input = obs_storage::Input {
        part: &part,
        hidden: &[],
    };
    let mut writer = PartWriter::in_memory(Metrics::NAME, &Tenant::anonymous());
    Metrics::downsample(&[input], TimeRange::ALL, 70_000_000, &mut writer).unwrap();
    writer.finish_in_memory()
}

#[test]
fn tiers_of_old_versions_are_read_and_written_alike() {
    let part = PartReader::open("metric.part", Blob::heap(TIER_V3.to_vec())).unwrap();
    part.verify().unwrap();
    let new = full_tier();
    for section in ["times", "postings", "differing"] {
        let (old, new) = (part.section(section), new.section(section));
        assert_eq!(old.unwrap(), new.unwrap(), "{section}");
    }
    let snapshot = Snapshot::<Metrics>::from_parts(Vec::new(), vec![part]).unwrap();
    let one = crate::Resolution::default();
    let matcher = [
        Matcher::equal("index", "8"),
        Matcher::equal("__name__", "cpu"),
    ];
    let budget = budget();
    let selection = crate::Selection::open(&snapshot, &matcher, TimeRange::ALL, one, &budget);
    let selection = selection.unwrap();
    let mut found = Vec::new();
    let mut times = crate::TimesTable::default();
    let read = selection.read(0..1, crate::Need::Values, &mut times, &budget, |one| {
        found.extend(one.times.iter().map(|time| time.millis()));
        let (at, first) = one.summaries[0];
        assert_eq!((at, first.first_time.millis(), first.count), (1, 10, 7));
        assert_eq!(
            (first.first, first.min, first.max, first.sum),
            (0.5, 0.5, 3.5, 14.0)
        );
        Ok::<(), SelectError>(())
    });
    read.unwrap();
    assert_eq!(found, [0, 70, 140, 190]);
}
