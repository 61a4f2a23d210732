//! Cached answers are those that would be computed, whatever was written, flushed and asked before.

use std::sync::Arc;

use obs_model::limits::Limits;
use obs_model::metrics::Sample;
use obs_model::{Answer, Budget, Labels, MetricBatch, Series, Tenant, TimeRange, Timestamp, Value};
use obs_storage::{Hidden, Kind, OpenPart, PartWriter};
use obs_tsdb::{Memory, Metrics, Snapshot};
use proptest::prelude::*;

use super::*;
use crate::request::{Language, Request, When};
use crate::run::{Query, Sources, run};

/// Seconds between samples.
const STEP: i64 = 15;

/// A store of metrics that is written and flushed by hand.
#[derive(Default)]
struct Store {
    memory: Arc<Memory>,
    parts: Vec<Arc<OpenPart<Metrics>>>,
    hidden: Vec<Hidden<Metrics>>,
}

impl Store {
    fn write(&self, series: usize, from: i64, count: i64) {
        let sample = |n: i64| Sample {
            time: Timestamp::from_seconds(n * STEP),
            start: None,
            value: Value::Float(((n * 7 + series as i64 * 3) % 50) as f64),
        };
        let series = Series {
            labels: Labels::from_pairs([
                ("__name__", "c_total"),
                ("s", &series.to_string()),
                ("half", &(series % 2).to_string()),
            ]),
            samples: (from..from + count).map(sample).collect(),
            ..Series::default()
        };
        let batch = MetricBatch {
            series: vec![series],
            ..MetricBatch::default()
        };
        self.memory.insert(batch);
    }

    fn flush(&mut self) {
        let mut writer = PartWriter::in_memory(Metrics::NAME, &Tenant::anonymous());
        Metrics::flush(&self.memory, TimeRange::ALL, &mut writer).unwrap();
        let part = writer.finish_in_memory();
        if part.rows() > 0 {
            self.parts.push(Arc::new(OpenPart::open(part).unwrap()));
        }
        self.memory = Arc::default();
    }

    /// Deletes samples of a series.
    fn delete(&mut self, series: usize, from: i64, count: i64) {
        let series = Matcher::equal("s", series.to_string());
        let selector = Metrics::selector(&obs_tsdb::selector(&[series])).unwrap();
        let [from, to] = [from, from + count].map(|n| Timestamp::from_seconds(n * STEP));
        let range = TimeRange::new(from, to);
        self.hidden.push(Hidden::new(selector, range));
    }

    /// What a rule hides goes on until a time.
    fn age(&mut self, to: i64) {
        if let Some(rule) = self.hidden.first_mut() {
            rule.range.end = rule.range.end.max(Timestamp::from_seconds(to * STEP));
        }
    }

    fn ask(
        &self,
        text: &str,
        (start, count): (i64, i64),
        cache: Option<TenantCache>,
    ) -> Vec<MatrixSeries> {
        let limits = Limits::default();
        let when = When::Range {
            start: Timestamp::from_seconds(start * 60),
            end: Timestamp::from_seconds((start + count) * 60),
            step: 60_000_000_000,
        };
        let query = Query::parse(Language::Promql, text, &limits).unwrap();
        let plan = query.plan(&Request::new(when), &limits).unwrap();
        let mut snapshot = Snapshot::from_parts(Vec::new(), Vec::new()).unwrap();
        snapshot.memories = vec![Arc::clone(&self.memory)];
        snapshot.parts = self.parts.clone();
        let snapshot = snapshot.with_hidden(self.hidden.clone());
        let sources = Sources {
            metrics: Some(snapshot),
            cache,
            ..Sources::default()
        };
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let reply = run(&plan, &sources, &Budget::new(&limits), &pool).unwrap();
        match reply.answer {
            Answer::Matrix(series) => series,
            other => panic!("{other:?}"),
        }
    }
}

fn cache(bytes_max: usize) -> TenantCache {
    TenantCache {
        cache: Arc::new(ResultCache::new(bytes_max)),
        tenant: Tenant::anonymous(),
    }
}

fn same(a: &[MatrixSeries], b: &[MatrixSeries]) -> bool {
    let bits = |all: &[f64]| all.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| {
            a.labels == b.labels
                && a.samples.times == b.samples.times
                && bits(&a.samples.floats) == bits(&b.samples.floats)
        })
}

/// Queries whose steps do not depend on each other by rounding.
const QUERIES: [&str; 7] = [
    "c_total",
    "sum by (half) (rate(c_total[5m]))",
    "max_over_time(c_total[10m] offset 3m)",
    "c_total offset -5m > 20",
    "topk(1, increase(c_total[2m]))",
    "max_over_time(rate(c_total[1m])[4m:30s])",
    "absent(c_total{s=\"1\"}) or count by (s) (c_total) + on () group_left vector(time())",
];

#[derive(Clone, Debug)]
enum Step {
    Write(usize, i64, i64),
    Flush,
    Delete(usize, i64, i64),
    Age(i64),
    Ask(usize, i64, i64),
}

fn steps_of_a_day() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0usize..3, 0i64..400, 1i64..120).prop_map(|(s, from, n)| Step::Write(s, from, n)),
        1 => Just(Step::Flush),
        1 => (0usize..3, 0i64..400, 1i64..40).prop_map(|(s, from, n)| Step::Delete(s, from, n)),
        1 => (0i64..400).prop_map(Step::Age),
        4 => (0usize..QUERIES.len(), 0i64..80, 0i64..60).prop_map(|(q, s, n)| Step::Ask(q, s, n)),
    ];
    prop::collection::vec(step, 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn cached_is_computed(steps in steps_of_a_day()) {
        let mut store = Store::default();
        let cache = cache(1 << 20);
        for step in steps {
            match step {
                Step::Write(series, from, count) => store.write(series, from, count),
                Step::Flush => store.flush(),
                Step::Delete(series, from, count) => store.delete(series, from, count),
                Step::Age(to) => store.age(to),
                Step::Ask(query, start, count) => {
                    let text = QUERIES[query];
                    let expect = store.ask(text, (start, count), None);
                    for _ in 0..2 {
                        let found = store.ask(text, (start, count), Some(cache.clone()));
                        prop_assert!(same(&found, &expect), "{}: {:?} not {:?}", text, found, expect);
                    }
                }
            }
        }
    }
}

#[test]
fn only_what_is_in_parts_is_reused() {
    let mut store = Store::default();
    let cache = cache(1 << 20);
    let counts = || {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let stats = cache.cache.stats();
        (read(&stats.steps_reused), read(&stats.steps_computed))
    };
    let ask = |store: &Store, range| store.ask("rate(c_total[5m])", range, Some(cache.clone()));
    store.write(0, 0, 200);
    ask(&store, (0, 40));
    assert_eq!(counts(), (0, 41), "the memory may still change");
    store.flush();
    ask(&store, (0, 40));
    assert_eq!(counts(), (0, 82), "what was kept before is of other parts");
    ask(&store, (10, 50));
    assert_eq!(counts(), (31, 102), "steps 41 to 60 are new");
    store.write(0, 200, 20);
    ask(&store, (10, 50));
    assert_eq!(
        counts(),
        (31 + 40, 102 + 11),
        "from minute 50 on there is a memory"
    );
    store.flush();
    ask(&store, (10, 50));
    assert_eq!(
        counts(),
        (71 + 40, 113 + 11),
        "the new part covers minutes 50 to 55"
    );
}

#[test]
fn what_was_deleted_is_not_reused() {
    let mut store = Store::default();
    store.write(0, 0, 400);
    store.flush();
    let cache = cache(1 << 20);
    let reused = || cache.cache.stats().steps_reused.load(Ordering::Relaxed);
    let ask = |store: &Store| store.ask("c_total", (0, 90), Some(cache.clone()));
    let before = ask(&store);
    store.delete(0, 80, 40);
    let after = ask(&store);
    assert!(!same(&before, &after) && same(&after, &store.ask("c_total", (0, 90), None)));
    let kept = reused();
    assert!((50..90).contains(&kept), "the steps beside it: {kept}");
    store.age(200);
    assert!(same(&ask(&store), &store.ask("c_total", (0, 90), None)));
    assert!(reused() - kept < kept);
}

#[test]
fn bytes_are_bounded() {
    let mut store = Store::default();
    for series in 0..3 {
        store.write(series, 0, 400);
    }
    store.flush();
    let cache = cache(16 << 10);
    for offset in 0..20 {
        let text = format!("rate(c_total[5m] offset {offset}s)");
        store.ask(&text, (0, 60), Some(cache.clone()));
        let held = cache.cache.held();
        assert!(held.bytes <= 16 << 10 && !held.entries.is_empty());
        let weights: usize = held.entries.values().map(|e| e.bytes).sum();
        assert_eq!(held.bytes, weights);
    }
}

#[test]
fn some_plans_have_no_key() {
    let check = |text: &str, expect: bool| {
        let limits = Limits::default();
        let when = When::Range {
            start: Timestamp::from_seconds(0),
            end: Timestamp::from_seconds(6000),
            step: 60_000_000_000,
        };
        let expr = crate::promql::parse(text, &limits).unwrap();
        let plan = crate::promql::plan(&expr, text, &Request::new(when), &limits).unwrap();
        let found = Key::of(&plan, &Tenant::anonymous(), &[]).is_some();
        assert_eq!(found, expect, "{text}");
    };
    check("rate(a[5m])", true);
    check("rate(a[5m] @ 100)", false);
    check("sum(a @ end()) + b", false);
    check("rate(a[5m] smoothed)", false);
    check("vector(1)", false);
    check("a - a offset 1w", true);
}
