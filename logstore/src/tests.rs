//! The log store against a model: whatever arrives in whatever order, is flushed, merged and
//! retried, reads give each record once, byte for byte, in order of time and arrival.

use std::collections::BTreeMap;
use std::sync::Arc;

use obs_model::limits::Limits;
use obs_model::matcher::all_match;
use obs_model::{
    Budget, BudgetError, Labels, LogBatch, LogRecord, LogStream, MatchOp, Matcher, Pattern, Tenant,
    TimeRange, Timestamp,
};
use obs_storage::{
    Blob, Force, Kind, OpenPart, Options, PartReader, PartWriter, Record, SimDisk, Snapshot, Store,
};
use proptest::prelude::*;

use crate::Selector;
use crate::memory::Memory;
use crate::scan::{Direction, LogFilter, Visitor};
use crate::{
    LineCondition, LineTest, Logs, Minutes, Rows, SelectError, ShapeVisitor, encode, label_names,
    label_values, scan, stats, streams,
};

fn metadata() -> impl Strategy<Value = Labels> {
    let key = prop::sample::select(vec!["detected_level", "trace_id", "a", "zz", "é"]);
    let value = prop_oneof![Just("info".to_owned()), "[a-f0-9]{8}", "[ -~]{0,4}"];
    prop::collection::vec((key, value), 0..4).prop_map(Labels::from_pairs)
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "error",
        "GET /index.html",
        "averyveryverylongwordwithoutend",
        "user=4711",
        "user=47",
        " ",
        "=",
        "ü",
        "trace",
        "a1b2c3d4e5f6",
        "a1b2c3",
    ]);
    prop_oneof![
        4 => prop::collection::vec(word, 0..8).prop_map(|words| words.concat().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

/// Few distinct times, so that equal times are common.
fn time() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => (0i64..40).prop_map(|t| t * 15_000_000_000),
        2 => any::<i32>().prop_map(i64::from),
        1 => prop::sample::select(vec![i64::MIN, i64::MAX, 0]),
    ]
}

pub(crate) fn records() -> impl Strategy<Value = LogRecord> {
    (time(), line(), metadata()).prop_map(|(time, line, metadata)| LogRecord {
        time: Timestamp::from_nanos(time),
        line,
        metadata,
    })
}

fn stream_labels() -> impl Strategy<Value = Labels> {
    (0..6u8, 0..3u8).prop_map(|(app, pod)| {
        let app = ["", "a", "b", "api", "db", "é"][app as usize];
        Labels::from_pairs([("app", app), ("pod", ["", "1", "2"][pod as usize])])
    })
}

pub(crate) fn batches() -> impl Strategy<Value = LogBatch> {
    let stream = (stream_labels(), prop::collection::vec(records(), 0..8));
    let stream = stream.prop_map(|(labels, records)| LogStream { labels, records });
    prop::collection::vec(stream, 0..4).prop_map(|streams| LogBatch { streams })
}

/// What happens to a store.
#[derive(Clone, Debug)]
enum Step {
    Write(LogBatch),
    /// The same batch again, as after a lost acknowledgement.
    Retry(prop::sample::Index),
    /// The active memory is sealed.
    Seal,
    /// The oldest memory becomes parts, split at this time.
    Flush(i64),
    /// So many parts from this one on become one.
    Merge(prop::sample::Index, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => batches().prop_map(Step::Write),
        1 => any::<prop::sample::Index>().prop_map(Step::Retry),
        1 => Just(Step::Seal),
        2 => time().prop_map(Step::Flush),
        1 => (any::<prop::sample::Index>(), 2..4usize).prop_map(|(i, n)| Step::Merge(i, n)),
    ];
    prop::collection::vec(step, 1..25)
}

#[derive(Default)]
struct Engine {
    memories: Vec<Arc<Memory>>,
    parts: Vec<Arc<OpenPart<Logs>>>,
    written: Vec<LogBatch>,
    made: usize,
}

impl Engine {
    fn run(steps: &[Step]) -> Self {
        let mut engine = Self::default();
        engine.memories.push(Arc::default());
        for step in steps {
            engine.step(step);
        }
        engine
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Write(batch) => self.write(batch.clone()),
            Step::Retry(index) if !self.written.is_empty() => {
                self.write(index.get(&self.written).clone());
            }
            Step::Seal => self.memories.push(Arc::default()),
            Step::Flush(split) => {
                let memory = self.memories.remove(0);
                if self.memories.is_empty() {
                    self.memories.push(Arc::default());
                }
                let split = Timestamp::from_nanos(*split);
                let before = TimeRange::new(Timestamp::MIN, split);
                self.part(self.parts.len(), |out| Logs::flush(&memory, before, out));
                if split < Timestamp::MAX {
                    let after = TimeRange::new(split + 1, Timestamp::MAX);
                    self.part(self.parts.len(), |out| Logs::flush(&memory, after, out));
                }
            }
            Step::Merge(index, count) if !self.parts.is_empty() => {
                let first = index.index(self.parts.len());
                let last = (first + count).min(self.parts.len());
                let inputs: Vec<_> = self.parts.drain(first..last).collect();
                let parts: Vec<&crate::part::Part> = inputs.iter().map(|p| &p.part).collect();
                self.part(first, |out| Logs::merge(&parts, TimeRange::ALL, out));
            }
            Step::Retry(_) | Step::Merge(..) => {}
        }
    }

    fn write(&mut self, batch: LogBatch) {
        let mut record = Vec::new();
        encode(&batch, &mut record);
        let memory = self.memories.last().unwrap();
        Logs::apply(memory, 1, &record).unwrap();
        assert!(Logs::apply(memory, 1, &record[..record.len() - 1]).is_err());
        self.written.push(batch);
    }

    fn part(
        &mut self,
        at: usize,
        write: impl FnOnce(&mut PartWriter) -> Result<(), obs_storage::Corrupt>,
    ) {
        let mut out = PartWriter::in_memory(Logs::NAME, &Tenant::anonymous());
        write(&mut out).unwrap();
        let reader = out.finish_in_memory();
        self.made += 1;
        if reader.rows() > 0 {
            self.parts
                .insert(at, Arc::new(OpenPart::open(reader).unwrap()));
        }
    }

    fn snapshot(&self) -> Snapshot<Logs> {
        Snapshot {
            memories: self.memories.clone(),
            parts: self.parts.clone(),
            tags: Vec::new(),
            manifest: 0,
            hidden: obs_storage::Hiding::default(),
            confined: Arc::default(),
        }
    }

    /// Every stream's records: by time, then arrival, each once.
    fn oracle(&self) -> BTreeMap<Labels, Vec<LogRecord>> {
        let mut all: BTreeMap<Labels, Vec<LogRecord>> = BTreeMap::new();
        for stream in self.written.iter().flat_map(|b| &b.streams) {
            for record in &stream.records {
                let records = all.entry(stream.labels.clone()).or_default();
                if !records.contains(record) {
                    records.push(record.clone());
                }
            }
        }
        for records in all.values_mut() {
            records.sort_by_key(|r| r.time);
        }
        all
    }
}

/// Gathers a scan and checks the contract of slices on the way.
struct Gather {
    direction: Direction,
    slices: Vec<TimeRange>,
    in_slice: BTreeMap<Labels, Vec<LogRecord>>,
    all: BTreeMap<Labels, Vec<LogRecord>>,
    slices_max: usize,
}

impl Gather {
    fn new(direction: Direction) -> Self {
        Self {
            direction,
            slices: Vec::new(),
            in_slice: BTreeMap::new(),
            all: BTreeMap::new(),
            slices_max: usize::MAX,
        }
    }

    fn end_slice(&mut self) {
        for (labels, records) in std::mem::take(&mut self.in_slice) {
            let all = self.all.entry(labels).or_default();
            match self.direction {
                Direction::Forward => all.extend(records),
                Direction::Backward => {
                    all.splice(0..0, records);
                }
            }
        }
    }
}

impl Visitor for Gather {
    fn slice(&mut self, range: TimeRange) -> bool {
        self.end_slice();
        assert!(!range.is_empty());
        if let Some(last) = self.slices.last() {
            match self.direction {
                Direction::Forward => assert_eq!(last.end + 1, range.start),
                Direction::Backward => assert_eq!(last.start - 1, range.end),
            }
        }
        self.slices.push(range);
        self.slices.len() <= self.slices_max
    }

    fn stream(&mut self, labels: &Labels, rows: &Rows<'_>) -> Result<(), SelectError> {
        let records = rows.records()?;
        let range = self.slices.last().unwrap();
        assert!(records.iter().all(|r| range.contains(r.time)) && !records.is_empty());
        let before = self.in_slice.insert(labels.clone(), records);
        assert_eq!(before, None, "a stream comes once in a slice");
        Ok(())
    }
}

fn budget() -> Budget {
    Budget::new(&Limits::default())
}

fn scanned(snapshot: &Snapshot<Logs>, filter: &LogFilter<'_>) -> Gather {
    let mut gather = Gather::new(filter.direction);
    scan(snapshot, filter, &budget(), &mut gather).unwrap();
    gather.end_slice();
    gather
}

fn contains(line: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || line.windows(needle.len()).any(|w| w == needle)
}

fn matchers() -> impl Strategy<Value = Vec<Matcher>> {
    let ops = vec![
        MatchOp::Equal,
        MatchOp::NotEqual,
        MatchOp::Regex,
        MatchOp::NotRegex,
    ];
    let name = prop::sample::select(vec!["app", "pod", "none"]);
    let value = prop::sample::select(vec!["", "a", "1", "a|b", "a.*", ".+", "x"]);
    let matcher = (name, prop::sample::select(ops), value);
    let matcher = matcher.prop_map(|(name, op, value)| Matcher::new(name, op, value).unwrap());
    prop::collection::vec(matcher, 0..3)
}

fn needle() -> impl Strategy<Value = Vec<u8>> {
    let text = prop::sample::select(vec![
        "error",
        "rro",
        "user=4711 ",
        "4711",
        "47",
        "=47 ",
        " ",
        "",
        "/index.h",
        "index",
        "GET /index.html",
        "traceü",
        "verylo",
        "gwordwithouten",
        "hout ",
        "end",
        "é",
        "b2c3d4",
        "1b2c",
        " a1b2c3d4e5f6 ",
        "d4e5f6 ",
        "=a1b2",
        "a1b2c4",
    ]);
    text.prop_map(|n| n.as_bytes().to_vec())
}

/// A condition on metadata.
fn condition() -> impl Strategy<Value = (String, String)> {
    let name = prop::sample::select(vec!["detected_level", "trace_id", "app"]);
    let value = prop_oneof![Just("info".to_owned()), "[a-f0-9]{8}", Just("a".to_owned())];
    (name.prop_map(str::to_owned), value)
}

fn range() -> impl Strategy<Value = TimeRange> {
    prop_oneof![
        Just(TimeRange::ALL),
        (time(), time()).prop_map(|(a, b)| crate::part::nanos(a.min(b), a.max(b))),
        (time(), time()).prop_map(|(a, b)| crate::part::nanos(a, b)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    #[test]
    fn reads_give_what_the_model_gives(
        steps in steps(),
        matchers in matchers(),
        needles in prop::collection::vec((needle(), prop::bool::weighted(0.2)), 0..3),
        condition in condition(),
        range in range(),
        backward: bool,
    ) {
        let engine = Engine::run(&steps);
        let snapshot = engine.snapshot();
        let direction = if backward { Direction::Backward } else { Direction::Forward };
        let lines: Vec<LineCondition> = needles
            .iter()
            .map(|(text, negative)| LineCondition {
                negative: *negative,
                tests: vec![LineTest::contains(text)],
            })
            .collect();
        let mut filter = LogFilter {
            matchers: &matchers,
            range,
            lines: &lines,
            labels: &[],
            direction,
        };
        let mut in_range = engine.oracle();
        in_range.retain(|labels, records| {
            records.retain(|r| range.contains(r.time));
            all_match(&matchers, labels) && !records.is_empty()
        });

        let found: Vec<Labels> = streams(&snapshot, &matchers, range, &budget()).unwrap();
        prop_assert!(in_range.keys().all(|labels| found.contains(labels)));
        let told = stats(&snapshot, &matchers, range, &budget()).unwrap();
        prop_assert!(in_range.len() as u64 <= told.streams && told.streams <= found.len() as u64);
        let records = || in_range.values().flatten();
        let exact = [records().count() as u64, records().map(|r| r.line.len() as u64).sum()];
        if range == TimeRange::ALL {
            prop_assert_eq!([told.entries, told.bytes], exact);
        }
        let counted = Counted::of(&snapshot, &matchers, range);
        prop_assert_eq!(counted.by, Counted::expect(&in_range));
        if range == TimeRange::ALL {
            prop_assert_eq!(&found, &in_range.keys().cloned().collect::<Vec<_>>());
            let names = label_names(&snapshot, &matchers, range, &budget()).unwrap();
            for name in ["app", "pod"] {
                let mut values: Vec<&str> = found.iter().filter_map(|l| l.get(name)).collect();
                values.sort_unstable();
                values.dedup();
                prop_assert_eq!(names.iter().any(|n| n == name), !values.is_empty());
                let told = label_values(&snapshot, name, &matchers, range, &budget()).unwrap();
                prop_assert_eq!(told, values);
            }
        }

        in_range.retain(|_, records| {
            records.retain(|r| needles.iter().all(|(n, negative)| contains(&r.line, n) != *negative));
            !records.is_empty()
        });
        let all = scanned(&snapshot, &filter).all;
        prop_assert_eq!(&all, &in_range);

        let mut shapes = CheckShapes::default();
        scan(&snapshot, &filter, &budget(), &mut shapes).unwrap();
        prop_assert_eq!(shapes.0, all.values().map(Vec::len).sum::<usize>());

        if lines.is_empty() {
            let mut whole = Whole::default();
            scan(&snapshot, &filter, &budget(), &mut whole).unwrap();
            let counts = |records: &Vec<LogRecord>| records.len() as u64;
            let expect: BTreeMap<Labels, u64> =
                all.iter().map(|(labels, records)| (labels.clone(), counts(records))).collect();
            prop_assert_eq!(whole.0, expect);
        }

        // Conditions on metadata may let others through, but never leave a wanted record out.
        let condition = [condition];
        filter.labels = &condition;
        let [(name, value)] = &condition;
        let found = scanned(&snapshot, &filter).all;
        for (labels, records) in &all {
            let none = Vec::new();
            let found = found.get(labels).unwrap_or(&none);
            prop_assert!(found.iter().all(|record| records.contains(record)));
            for record in records {
                let wanted = labels.get(name).is_some() || record.metadata.get(name) == Some(value);
                prop_assert!(!wanted || found.contains(record));
            }
        }
    }

    #[test]
    fn memory_tells_its_first_row_and_range(batches in prop::collection::vec(batches(), 0..5), from in time()) {
        let steps: Vec<Step> = batches.into_iter().map(Step::Write).collect();
        let engine = Engine::run(&steps);
        let memory = &engine.memories[0];
        let times = || engine.written.iter().flat_map(|b| &b.streams).flat_map(|s| &s.records).map(|r| r.time);
        let from = Timestamp::from_nanos(from);
        prop_assert_eq!(Logs::first_row(memory, from), times().filter(|t| *t >= from).min());
        let range = times().min().zip(times().max()).map(|(a, b)| TimeRange::new(a, b));
        prop_assert_eq!(Logs::range(memory), range);
        prop_assert_eq!(Logs::bytes(memory).all > 0, engine.written.iter().any(|b| b.record_count() > 0));
    }

    #[test]
    fn merge_keeps_only_what_is_inside(steps in steps(), keep in range()) {
        let mut engine = Engine::run(&steps);
        for _ in 0..engine.memories.len() {
            engine.step(&Step::Flush(0));
        }
        let inputs = std::mem::take(&mut engine.parts);
        let parts: Vec<&crate::part::Part> = inputs.iter().map(|p| &p.part).collect();
        engine.part(0, |out| Logs::merge(&parts, keep, out));
        let mut expect = engine.oracle();
        expect.retain(|_, records| {
            records.retain(|r| keep.contains(r.time));
            !records.is_empty()
        });
        let rows: usize = expect.values().map(Vec::len).sum();
        prop_assert_eq!(engine.parts.iter().map(|p| p.reader.rows()).sum::<u64>(), rows as u64);
        let filter = LogFilter {
            matchers: &[],
            range: TimeRange::ALL,
            lines: &[],
            labels: &[],
            direction: Direction::Forward,
        };
        prop_assert_eq!(scanned(&engine.snapshot(), &filter).all, expect);
    }

    #[test]
    fn damaged_sections_are_refused_or_read(
        batches in prop::collection::vec(batches(), 1..4),
        section in any::<prop::sample::Index>(),
        byte in any::<prop::sample::Index>(),
        flip in 1u8..,
    ) {
        let steps: Vec<Step> = batches.into_iter().map(Step::Write).collect();
        let mut engine = Engine::run(&steps);
        engine.step(&Step::Flush(i64::MAX));
        if let Some(part) = engine.parts.pop() {
            let section = section.index(part.reader.sections().count());
            // The index is tantivy's, which trusts its files: a checksum stands before it.
            if part.reader.sections().nth(section).unwrap().0 != "tokens" {
                damage(&part.reader, section, byte, flip);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_engine_keeps_every_record(steps in steps(), seed: u64) {
        let disk = SimDisk::new(seed);
        let open = || Store::<Logs>::open(Arc::new(disk.clone()), Options::default(), &|_| {});
        let mut store = open().unwrap();
        let tenant = Tenant::anonymous();
        let mut oracle = Engine::default();
        for step in &steps {
            let batch = match step {
                Step::Write(batch) => batch.clone(),
                Step::Retry(index) if !oracle.written.is_empty() => index.get(&oracle.written).clone(),
                Step::Retry(_) => continue,
                Step::Seal => {
                    drop(store);
                    disk.crash();
                    store = open().unwrap();
                    continue;
                }
                Step::Flush(_) | Step::Merge(..) => {
                    let merge = matches!(step, Step::Merge(..));
                    let force = if merge { Force::Merge } else { Force::Flush };
                    while let Some(job) = store.forced(force) {
                        store.run(job).unwrap();
                    }
                    continue;
                }
            };
            let mut payload = Vec::new();
            encode(&batch, &mut payload);
            store.append(&[Record { tenant: &tenant, payload: &payload }]).unwrap();
            oracle.written.push(batch);
        }
        let filter = LogFilter {
            matchers: &[],
            range: TimeRange::ALL,
            lines: &[],
            labels: &[],
            direction: Direction::Backward,
        };
        prop_assert_eq!(scanned(&store.snapshot(&tenant), &filter).all, oracle.oracle());
    }
}

/// Writes the part anew with one byte changed, under right checksums, and reads all of it.
fn damage(good: &PartReader, section: usize, byte: prop::sample::Index, flip: u8) {
    let mut out = PartWriter::in_memory(Logs::NAME, &Tenant::anonymous());
    for (index, (name, _)) in good.sections().enumerate() {
        let mut bytes = good.section(name).unwrap().to_vec();
        if index == section && !bytes.is_empty() {
            bytes[byte.index(good.section(name).unwrap().len())] ^= flip;
        }
        out.section(name, &bytes);
    }
    out.rows(good.rows(), good.range());
    let Ok(part) = OpenPart::<Logs>::open(out.finish_in_memory()) else {
        return;
    };
    let mut merged = PartWriter::in_memory(Logs::NAME, &Tenant::anonymous());
    let merge = Logs::merge(&[&part.part], TimeRange::ALL, &mut merged);
    let snapshot = Snapshot {
        memories: Vec::new(),
        parts: vec![Arc::new(part)],
        tags: Vec::new(),
        manifest: 0,
        hidden: obs_storage::Hiding::default(),
        confined: Arc::default(),
    };
    let mut rows = 0;
    let matchers = [Matcher::new("app", MatchOp::NotEqual, "zzz").unwrap()];
    for direction in [Direction::Forward, Direction::Backward] {
        let filter = LogFilter {
            matchers: &matchers,
            range: TimeRange::ALL,
            lines: &[],
            labels: &[],
            direction,
        };
        let mut count = Count(0);
        if scan(&snapshot, &filter, &budget(), &mut count).is_ok() {
            rows = rows.max(count.0);
        }
    }
    assert!(rows as u64 <= good.rows() && (merge.is_err() || merged.bytes() < 1 << 20));
}

/// Counts without looking into what stands alone.
#[derive(Default)]
struct Whole(BTreeMap<Labels, u64>);

impl Visitor for Whole {
    fn slice(&mut self, _range: TimeRange) -> bool {
        true
    }

    fn whole(&mut self, labels: &Labels, range: TimeRange, rows: u64) -> Result<bool, SelectError> {
        assert!(!range.is_empty() && rows > 0);
        *self.0.entry(labels.clone()).or_default() += rows;
        Ok(true)
    }

    fn stream(&mut self, labels: &Labels, rows: &Rows<'_>) -> Result<(), SelectError> {
        *self.0.entry(labels.clone()).or_default() += rows.len() as u64;
        Ok(())
    }
}

/// Records and bytes by stream, minute and level.
type ByMinute = BTreeMap<(Labels, i64, String), (u64, u64)>;

/// Counts by minute and level, from counts where there are any.
#[derive(Default)]
struct Counted {
    by: ByMinute,
    /// Records that were told without their rows.
    told: u64,
}

impl Counted {
    fn of(snapshot: &Snapshot<Logs>, matchers: &[Matcher], range: TimeRange) -> Self {
        let filter = LogFilter {
            matchers,
            range,
            lines: &[],
            labels: &[],
            direction: Direction::Forward,
        };
        let mut counted = Self::default();
        scan(snapshot, &filter, &budget(), &mut counted).unwrap();
        counted
    }

    fn add(&mut self, labels: &Labels, time: i64, level: &str, count: (u64, u64)) {
        let minute = time.saturating_sub(1).div_euclid(crate::MINUTE);
        let key = (labels.clone(), minute, level.to_owned());
        let sum = self.by.entry(key).or_default();
        *sum = (sum.0 + count.0, sum.1 + count.1);
    }

    fn expect(oracle: &BTreeMap<Labels, Vec<LogRecord>>) -> ByMinute {
        let mut all = Self::default();
        for (labels, records) in oracle {
            for record in records {
                let level = record.metadata.get("detected_level").unwrap_or("");
                all.add(
                    labels,
                    record.time.nanos(),
                    level,
                    (1, record.line.len() as u64),
                );
            }
        }
        all.by
    }
}

impl Visitor for Counted {
    fn slice(&mut self, _range: TimeRange) -> bool {
        true
    }

    fn wants_minutes(&self) -> bool {
        true
    }

    fn minutes(&mut self, labels: &Labels, minutes: &Minutes<'_>) -> Result<bool, SelectError> {
        for count in minutes.counts {
            let level = &minutes.levels[count.level as usize];
            assert!(level.is_empty() || minutes.keys.iter().any(|k| k == "detected_level"));
            self.told += count.records;
            let end = count.range().end.nanos();
            self.add(labels, end, level, (count.records, count.bytes));
        }
        Ok(true)
    }

    fn stream(&mut self, labels: &Labels, rows: &Rows<'_>) -> Result<(), SelectError> {
        let mut levels = Vec::new();
        rows.for_metadata(&["detected_level", "none"], &mut |time, metadata| {
            assert!(metadata.iter().all(|(name, _)| name == "detected_level"));
            let level = metadata.get("detected_level").unwrap_or("");
            levels.push((time, level.to_owned()));
            Ok(())
        })?;
        for (index, (time, level)) in levels.into_iter().enumerate() {
            assert_eq!(rows.time(index)?, time);
            let bytes = rows.with_line(index, <[u8]>::len)? as u64;
            self.add(labels, time.nanos(), &level, (1, bytes));
        }
        Ok(())
    }
}

#[test]
fn counts_answer_for_parts_and_merges_of_them() {
    let mut engine = Engine::run(&[
        Step::Write(many(3, 200)),
        Step::Flush(1000),
        Step::Write(many(2, 50)),
        Step::Flush(i64::MAX),
    ]);
    let all = |engine: &Engine| Counted::of(&engine.snapshot(), &[], TimeRange::ALL);
    // What is written twice is settled by rows, the rest is not.
    let found = all(&engine);
    assert_eq!(found.by, Counted::expect(&engine.oracle()));
    assert!((200..600).contains(&found.told), "{}", found.told);
    let parts: Vec<_> = engine.parts.drain(..).collect();
    let inputs: Vec<&crate::part::Part> = parts.iter().map(|p| &p.part).collect();
    engine.part(0, |out| Logs::merge(&inputs, TimeRange::ALL, out));
    let found = all(&engine);
    assert_eq!(found.by, Counted::expect(&engine.oracle()));
    assert_eq!(found.told, 600);
}

/// Tells lines by their shapes.
#[derive(Default)]
struct Shaped {
    shapes: Vec<Vec<u8>>,
    rows: Vec<(Timestamp, String, Option<usize>)>,
    lines: usize,
}

impl ShapeVisitor for Shaped {
    fn shape(&mut self, text: &[u8]) -> Option<usize> {
        self.shapes.push(text.to_vec());
        Some(self.shapes.len() - 1)
    }

    fn row(&mut self, shape: usize, time: Timestamp, level: &str) -> Result<(), SelectError> {
        self.rows.push((time, level.to_owned(), Some(shape)));
        Ok(())
    }

    fn line(&mut self, _line: &[u8], time: Timestamp, level: &str) -> Result<(), SelectError> {
        self.rows.push((time, level.to_owned(), None));
        self.lines += 1;
        Ok(())
    }
}

/// Compares shapes with the lines.
#[derive(Default)]
struct CheckShapes(usize, usize);

impl Visitor for CheckShapes {
    fn slice(&mut self, _range: TimeRange) -> bool {
        true
    }

    fn stream(&mut self, _labels: &Labels, rows: &Rows<'_>) -> Result<(), SelectError> {
        let mut shaped = Shaped::default();
        rows.for_shapes(&mut shaped)?;
        let records = rows.records()?;
        assert_eq!(shaped.rows.len(), records.len());
        for (record, (time, level, shape)) in records.iter().zip(&shaped.rows) {
            assert_eq!(record.time, *time);
            assert_eq!(record.metadata.get("detected_level").unwrap_or(""), level);
            let Some(shape) = shape else { continue };
            // The pieces stand in the line in their order.
            let mut rest = &record.line[..];
            for piece in shaped.shapes[*shape].split(|b| *b == crate::HOLE) {
                let at = memchr::memmem::find(rest, piece).unwrap();
                rest = &rest[at + piece.len()..];
            }
        }
        self.0 += records.len();
        self.1 += shaped.lines;
        Ok(())
    }
}

#[test]
fn lines_of_one_template_have_one_shape() {
    let engine = Engine::run(&[Step::Write(many(2, 100)), Step::Flush(i64::MAX)]);
    let filter = LogFilter {
        matchers: &[],
        range: TimeRange::ALL,
        lines: &[],
        labels: &[],
        direction: Direction::Forward,
    };
    let mut check = CheckShapes::default();
    scan(&engine.snapshot(), &filter, &budget(), &mut check).unwrap();
    assert_eq!((check.0, check.1), (200, 0));
}

struct Count(usize);

impl Visitor for Count {
    fn slice(&mut self, _range: TimeRange) -> bool {
        true
    }
    fn stream(&mut self, _labels: &Labels, rows: &Rows<'_>) -> Result<(), SelectError> {
        let records = rows.records()?;
        self.0 += records.len();
        Ok(())
    }
}

fn record(nanos: i64, line: &str) -> LogRecord {
    LogRecord {
        time: Timestamp::from_nanos(nanos),
        line: line.as_bytes().to_vec(),
        metadata: Labels::empty(),
    }
}

/// Streams `n=0..streams` with `rows` rows each, ten nanoseconds apart.
fn many(streams: usize, rows: usize) -> LogBatch {
    let stream = |n: usize| LogStream {
        labels: Labels::from_pairs([("n", n.to_string()), ("all", "yes".to_owned())]),
        records: (0..rows)
            .map(|row| {
                record(
                    row as i64 * 10 + n as i64 % 7,
                    &format!("line {row} of {n}"),
                )
            })
            .collect(),
    };
    LogBatch {
        streams: (0..streams).map(stream).collect(),
    }
}

#[test]
fn a_reader_that_stops_early_reads_little() {
    let engine = Engine::run(&[Step::Write(many(3, 2000)), Step::Flush(i64::MAX)]);
    let filter = LogFilter {
        matchers: &[],
        range: TimeRange::ALL,
        lines: &[],
        labels: &[],
        direction: Direction::Backward,
    };
    let budget = budget();
    let mut gather = Gather::new(Direction::Backward);
    gather.slices_max = 2;
    scan(&engine.snapshot(), &filter, &budget, &mut gather).unwrap();
    gather.end_slice();
    let times = gather.all.values().flatten().map(|r| r.time.nanos());
    assert!(times.min().unwrap() > 19_000);
    let (samples, bytes, series) = budget.spent();
    assert!(samples < 200 && bytes < 100_000, "{samples} {bytes}");
    assert_eq!(series, 3);
}

#[test]
fn the_budget_bounds_what_is_held_at_a_time() {
    for flush in [true, false] {
        let mut steps = vec![Step::Write(many(3, 8000))];
        steps.extend(flush.then_some(Step::Flush(i64::MAX)));
        let engine = Engine::run(&steps);
        for direction in [Direction::Forward, Direction::Backward] {
            let filter = LogFilter {
                matchers: &[],
                range: TimeRange::ALL,
                lines: &[],
                labels: &[],
                direction,
            };
            let budget = budget();
            let mut count = Count(0);
            scan(&engine.snapshot(), &filter, &budget, &mut count).unwrap();
            let read = budget.spent().1;
            assert_eq!((count.0, budget.bytes_held()), (24_000, 0));
            let half = Budget::new(&Limits {
                query_bytes_max: read / 2,
                ..Limits::default()
            });
            scan(&engine.snapshot(), &filter, &half, &mut Count(0)).unwrap();
        }
    }
}

#[test]
fn parts_with_more_labels_than_one_can_have_stay_apart() {
    let stream = |n: usize| LogStream {
        labels: Labels::from_pairs([("long", format!("{n:0300}"))]),
        records: vec![record(n as i64, "x")],
    };
    let half = |streams: std::ops::Range<usize>| {
        let streams = streams.map(stream).collect();
        [Step::Write(LogBatch { streams }), Step::Flush(i64::MAX)]
    };
    let engine = Engine::run(&[half(0..150), half(150..300)].concat());
    let merged = |parts: &[&crate::part::Part]| {
        let mut out = PartWriter::in_memory(Logs::NAME, &Tenant::anonymous());
        Logs::merge(parts, TimeRange::ALL, &mut out)
    };
    let parts: Vec<_> = engine.parts.iter().map(|p| &p.part).collect();
    assert_eq!(merged(&parts[..1]), Ok(()));
    let refused = merged(&parts).unwrap_err();
    assert!(refused.to_string().contains("bytes of labels"), "{refused}");
}

#[test]
fn days_in_memory_are_told() {
    let engine = Engine::run(&[Step::Write(LogBatch {
        streams: vec![LogStream {
            labels: Labels::from_pairs([("a", "b")]),
            records: [-1, 0, 1, 86_400_000_000_000, -2]
                .map(|at| record(at, "x"))
                .to_vec(),
        }],
    })]);
    let days: Vec<i64> = engine.snapshot().memory_days().into_iter().collect();
    assert_eq!(days, [-1, 0, 1]);
}

#[test]
fn many_streams_make_several_frames_and_pages() {
    let engine = Engine::run(&[Step::Write(many(600, 3)), Step::Flush(i64::MAX)]);
    let snapshot = engine.snapshot();
    let matcher = [Matcher::new("n", MatchOp::Regex, "5.9").unwrap()];
    let found = streams(&snapshot, &matcher, TimeRange::ALL, &budget()).unwrap();
    assert_eq!(found.len(), 10);
    let values = label_values(&snapshot, "n", &[], TimeRange::ALL, &budget()).unwrap();
    assert_eq!(values.len(), 600);
    let filter = LogFilter {
        matchers: &matcher,
        range: crate::part::nanos(0, 9),
        lines: &[],
        labels: &[],
        direction: Direction::Forward,
    };
    assert_eq!(scanned(&snapshot, &filter).all.len(), 10);
    let told = stats(&snapshot, &matcher, TimeRange::ALL, &budget()).unwrap();
    assert_eq!((told.streams, told.entries), (10, 30));
}

#[test]
fn a_query_over_its_budget_is_told_so() {
    let engine = Engine::run(&[Step::Write(many(10, 10)), Step::Flush(i64::MAX)]);
    let check = |limits: Limits, limit: &str| {
        let filter = LogFilter {
            matchers: &[],
            range: TimeRange::ALL,
            lines: &[],
            labels: &[],
            direction: Direction::Forward,
        };
        let told = scan(
            &engine.snapshot(),
            &filter,
            &Budget::new(&limits),
            &mut Count(0),
        );
        match told {
            Err(SelectError::Budget(BudgetError::Exceeded { limit: found, .. })) => {
                assert_eq!(found, limit);
            }
            other => panic!("{other:?}"),
        }
    };
    let limits = Limits::default;
    check(
        Limits {
            query_samples_max: 99,
            ..limits()
        },
        "query_samples_max",
    );
    check(
        Limits {
            query_series_max: 9,
            ..limits()
        },
        "query_series_max",
    );
    check(
        Limits {
            query_bytes_max: 999,
            ..limits()
        },
        "query_bytes_max",
    );
}

#[test]
fn a_part_that_is_no_log_part_is_refused() {
    let mut out = PartWriter::in_memory(Logs::NAME, &Tenant::anonymous());
    out.section("directory", &[9]);
    out.rows(1, TimeRange::ALL);
    let fault = OpenPart::<Logs>::open(out.finish_in_memory()).unwrap_err();
    assert!(fault.place.ends_with("directory") && fault.expected.contains("version 3"));
    assert!(PartReader::open("x", Blob::heap(vec![1, 2, 3])).is_err());
}

/// The batch of the golden files. Never change it: old files must stay readable.
fn golden() -> LogBatch {
    let labels = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied());
    let entry = |nanos, line: &[u8], metadata: &[(&str, &str)]| LogRecord {
        time: Timestamp::from_nanos(nanos),
        line: line.to_vec(),
        metadata: labels(metadata),
    };
    let api = LogStream {
        labels: labels(&[("app", "api"), ("pod", "1")]),
        records: vec![
            entry(
                1_795_255_200_000_000_001,
                b"level=info user=4711 done",
                &[("detected_level", "info")],
            ),
            entry(1_795_255_200_000_000_001, b"not UTF-8: \xff\xfe", &[]),
            entry(
                1_795_255_100_000_000_000,
                b"",
                &[("trace_id", "00ff"), ("detected_level", "warn")],
            ),
        ],
    };
    let db = LogStream {
        labels: labels(&[("app", "db")]),
        records: vec![entry(-5, b"before the epoch", &[])],
    };
    LogBatch {
        streams: vec![api, db],
    }
}

#[test]
fn golden_files_are_read_and_written_alike() {
    let record = include_bytes!("../fixtures/v1/record.bin");
    assert_eq!(crate::decode(record), Ok(golden()));
    let mut written = Vec::new();
    encode(&golden(), &mut written);
    assert_eq!(written, record, "a new encoding needs a new version");

    let engine = Engine::run(&[Step::Write(golden())]);
    // The version before has no counts; it is read for ever.
    let old = golden_part(include_bytes!("../fixtures/v2/part.bin"), &engine);
    assert!(
        old.reader
            .sections()
            .all(|(name, _)| !name.starts_with("counts"))
    );
    let part = golden_part(include_bytes!("../fixtures/v3/part.bin"), &engine);
    let mut flushed = PartWriter::in_memory(Logs::NAME, &Tenant::anonymous());
    Logs::flush(&engine.memories[0], TimeRange::ALL, &mut flushed).unwrap();
    let flushed = flushed.finish_in_memory();
    for (name, _) in part.reader.sections() {
        let same = flushed.section(name).unwrap() == part.reader.section(name).unwrap();
        assert!(same, "a new encoding of {name} needs a new version");
    }
    // What is merged of old parts is read as well, with counts or without.
    let mut merged = PartWriter::in_memory(Logs::NAME, &Tenant::anonymous());
    Logs::merge(&[&old.part], TimeRange::ALL, &mut merged).unwrap();
    let merged = OpenPart::<Logs>::open(merged.finish_in_memory()).unwrap();
    assert_eq!(merged.part.range(), part.part.range());
}

/// Opens a part of the golden batch and reads it in both ways.
fn golden_part(bytes: &[u8], engine: &Engine) -> Arc<OpenPart<Logs>> {
    let part = PartReader::open("golden", Blob::heap(bytes.to_vec()));
    let part = Arc::new(OpenPart::<Logs>::open(part.unwrap()).unwrap());
    let snapshot = Snapshot {
        memories: Vec::new(),
        parts: vec![Arc::clone(&part)],
        tags: Vec::new(),
        manifest: 0,
        hidden: obs_storage::Hiding::default(),
        confined: Arc::default(),
    };
    let filter = LogFilter {
        matchers: &[],
        range: TimeRange::ALL,
        lines: &[],
        labels: &[],
        direction: Direction::Backward,
    };
    assert_eq!(scanned(&snapshot, &filter).all, engine.oracle());
    let counted = Counted::of(&snapshot, &[], TimeRange::ALL);
    assert_eq!(counted.by, Counted::expect(&engine.oracle()));
    part
}

fn selectors() -> impl Strategy<Value = Selector> {
    let condition = (needle(), prop::bool::weighted(0.2), any::<bool>());
    let condition = condition.prop_map(|(text, negative, regex)| {
        let source = regex_syntax_escape(&text);
        let test = match Pattern::search(&source) {
            Ok(pattern) if regex => LineTest::Matches(pattern),
            _ => LineTest::contains(&text),
        };
        LineCondition {
            negative,
            tests: vec![test],
        }
    });
    let lines = prop::collection::vec(condition, 0..2);
    (matchers(), lines).prop_map(|(matchers, lines)| Selector { matchers, lines })
}

/// A text as a regular expression.
fn regex_syntax_escape(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.replace('.', "[.]")
}

/// What happens to a store from which lines are deleted.
#[derive(Clone, Debug)]
enum Event {
    Write(LogBatch),
    Delete(Selector, TimeRange),
    Flush,
    Merge,
    Crash,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => batches().prop_map(Event::Write),
        3 => (selectors(), range()).prop_map(|(s, r)| Event::Delete(s, r)),
        2 => Just(Event::Flush),
        1 => Just(Event::Merge),
        1 => Just(Event::Crash),
    ];
    prop::collection::vec(event, 1..16)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn what_was_deleted_is_not_found_and_nothing_else_is_missed(events in events(), seed: u64) {
        let disk = SimDisk::new(seed);
        let open = || Store::<Logs>::open(Arc::new(disk.clone()), Options::default(), &|_| {});
        let mut store = open().unwrap();
        let tenant = Tenant::anonymous();
        let mut left: BTreeMap<Labels, Vec<LogRecord>> = BTreeMap::new();
        for event in &events {
            match event {
                Event::Write(batch) => {
                    let mut payload = Vec::new();
                    encode(batch, &mut payload);
                    store.append(&[Record { tenant: &tenant, payload: &payload }]).unwrap();
                    for stream in &batch.streams {
                        let all = left.entry(stream.labels.clone()).or_default();
                        for record in &stream.records {
                            if !all.contains(record) {
                                all.push(record.clone());
                            }
                        }
                    }
                }
                Event::Delete(selector, range) => {
                    crate::delete(&store, &tenant, selector, *range).unwrap();
                    for (labels, records) in &mut left {
                        let taken = |r: &LogRecord| {
                            all_match(&selector.matchers, labels)
                                && range.contains(r.time)
                                && selector.lines.iter().all(|c| c.holds(&r.line))
                        };
                        records.retain(|r| !taken(r));
                    }
                }
                Event::Flush | Event::Merge => {
                    let merge = matches!(event, Event::Merge);
                    while let Some(job) = store.forced(if merge { Force::Merge } else { Force::Flush }) {
                        store.run(job).unwrap();
                    }
                }
                Event::Crash => {
                    drop(store);
                    disk.crash();
                    store = open().unwrap();
                }
            }
            let filter = LogFilter {
                matchers: &[],
                range: TimeRange::ALL,
                lines: &[],
                labels: &[],
                direction: Direction::Forward,
            };
            let mut expect = left.clone();
            expect.retain(|_, records| !records.is_empty());
            expect.values_mut().for_each(|records| records.sort_by_key(|r| r.time));
            let mut found = scanned(&store.snapshot(&tenant), &filter).all;
            // A record that was deleted and came again has a new place among its equals.
            let order = |r: &LogRecord| (r.time, r.line.clone(), r.metadata.clone());
            for records in found.values_mut().chain(expect.values_mut()) {
                records.sort_by_key(order);
            }
            prop_assert_eq!(found, expect);
        }
    }

    #[test]
    fn selectors_come_back(selector in selectors(), cut in any::<prop::sample::Index>(), bytes: Vec<u8>) {
        let written = selector.encode().unwrap();
        let read = Selector::decode(&written).unwrap();
        prop_assert_eq!(format!("{read:?}"), format!("{selector:?}"));
        prop_assert!(Selector::decode(&written[..cut.index(written.len())]).is_err());
        if let Ok(other) = Selector::decode(&bytes) {
            prop_assert!(other.encode().is_ok());
        }
    }
}
