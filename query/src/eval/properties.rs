//! Properties: a range is its instants, shards are the whole, the store is the memory.

use obs_model::answer::MatrixSeries;
use obs_model::limits::Limits;
use obs_model::matcher::all_match;
use obs_model::metrics::Sample;
use obs_model::sample::stale;
use obs_model::{
    Answer, Budget, Labels, MetricBatch, Samples, Series, Tenant, TimeRange, Timestamp, Value,
};
use obs_storage::{Kind, PartWriter};
use obs_tsdb::{Memory, Metrics, Snapshot};
use proptest::prelude::*;

use crate::plan::{Leaf, LeafRead, MetricPlan, SelectedSeries};
use crate::request::{Language, Plan, Request, When};
use crate::run::{Query, Sources, run};

/// Every function whose windows slide, in a form that gives floats.
const FUNCTIONS: [&str; 34] = [
    "rate(m[W])",
    "increase(m[W])",
    "delta(m[W])",
    "irate(m[W])",
    "idelta(m[W])",
    "deriv(m[W])",
    "predict_linear(m[W], 60)",
    "resets(m[W])",
    "changes(m[W])",
    "avg_over_time(m[W])",
    "min_over_time(m[W])",
    "max_over_time(m[W])",
    "sum_over_time(m[W])",
    "count_over_time(m[W])",
    "quantile_over_time(0.3, m[W])",
    "stddev_over_time(m[W])",
    "stdvar_over_time(m[W])",
    "last_over_time(m[W])",
    "present_over_time(m[W])",
    "mad_over_time(m[W])",
    "ts_of_min_over_time(m[W])",
    "ts_of_max_over_time(m[W])",
    "first_over_time(m[W])",
    "double_exponential_smoothing(m[W], 0.3, 0.6)",
    "quantile_over_time(0.99, m[W])",
    "ts_of_last_over_time(m[W])",
    "rate(m[W] anchored)",
    "changes(m[W] anchored)",
    "resets(m[W] anchored)",
    "increase(m[W] smoothed)",
    "delta(m[W] smoothed)",
    "m smoothed",
    "ts_of_first_over_time(m[W])",
    "m offset W",
];

fn pool(threads: usize) -> rayon::ThreadPool {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build().unwrap()
}

fn plan(text: &str, when: When) -> MetricPlan {
    let limits = Limits::default();
    let query = Query::parse(Language::Promql, text, &limits).unwrap();
    match query.plan(&Request::new(when), &limits).unwrap() {
        Plan::Metric(plan) => plan,
        other => panic!("{other}"),
    }
}

fn range(start: i64, count: i64, step: i64) -> When {
    When::Range {
        start: Timestamp::from_seconds(start),
        end: Timestamp::from_seconds(start + count * step),
        step: step * 1_000_000_000,
    }
}

/// The floats of an answer by labels and time.
fn floats(answer: Answer) -> Vec<(Labels, Timestamp, f64)> {
    let mut all: Vec<(Labels, Timestamp, f64)> = match answer {
        Answer::Matrix(series) => series
            .into_iter()
            .flat_map(|MatrixSeries { labels, samples }| {
                let floats = samples.times.into_iter().zip(samples.floats);
                floats.map(move |(t, v)| (labels.clone(), t, v))
            })
            .collect(),
        Answer::Vector(samples) => samples
            .into_iter()
            .filter_map(|s| match s.value {
                Value::Float(float) => Some((s.labels, s.time, float)),
                Value::Histogram(_) => None,
            })
            .collect(),
        other => panic!("{other:?}"),
    };
    all.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
    all
}

/// Equal but for rounding of sums.
fn close(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-7 * (1.0 + a.abs() + b.abs())
}

/// Samples at irregular times; some are NaN, infinite or stale, counters fall now and then.
fn samples() -> impl Strategy<Value = Samples> {
    let value = prop_oneof![
        20 => (0..1000i32).prop_map(f64::from),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(f64::NEG_INFINITY),
        1 => Just(stale()),
    ];
    prop::collection::vec((1..90i64, value), 0..80).prop_map(|steps| {
        let mut samples = Samples::default();
        let mut time = 0;
        for (gap, value) in steps {
            time += gap;
            samples.push(Timestamp::from_seconds(time), Value::Float(value));
        }
        samples
    })
}

fn selected(all: Vec<Samples>) -> Vec<SelectedSeries> {
    let series = all.into_iter().enumerate().map(|(n, samples)| {
        let number = n.to_string();
        let half = (n % 2).to_string();
        let pairs = [("__name__", "m"), ("half", &half), ("n", &number)];
        SelectedSeries {
            labels: Labels::from_pairs(pairs),
            samples,
        }
    });
    let mut series: Vec<SelectedSeries> = series.filter(|s| !s.samples.is_empty()).collect();
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    series
}

fn eval(plan: &MetricPlan, series: &[SelectedSeries], threads: usize) -> Answer {
    let budget = Budget::new(&Limits::default());
    let read = |read: &LeafRead| match &read.leaf {
        Leaf::Metrics(matchers) => {
            let met = |one: &&SelectedSeries| all_match(matchers, &one.labels);
            series.iter().filter(met).cloned().collect()
        }
        Leaf::Logs(_) => Vec::new(),
    };
    let leaves: Vec<Vec<SelectedSeries>> = plan.leaves.iter().map(read).collect();
    let (answer, _) = super::eval(plan, &leaves, &budget, &pool(threads)).unwrap();
    answer
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_range_is_its_instants(
        samples in samples(),
        function in 0..FUNCTIONS.len(),
        window in 1..1200i64,
        step in 1..300i64,
        start in -100..2000i64,
    ) {
        let text = FUNCTIONS[function].replace('W', &format!("{window}s"));
        let series = selected(vec![samples]);
        let sliding = floats(eval(&plan(&text, range(start, 30, step)), &series, 1));
        let mut naive = Vec::new();
        for n in 0..=30 {
            let at = When::At(Timestamp::from_seconds(start + n * step));
            naive.extend(floats(eval(&plan(&text, at), &series, 1)));
        }
        prop_assert_eq!(sliding.len(), naive.len(), "{}", text);
        for (a, b) in sliding.iter().zip(&naive) {
            prop_assert!((&a.0, a.1) == (&b.0, b.1) && close(a.2, b.2), "{text}: {a:?} not {b:?}");
        }
    }
}

/// Aggregations whose numbers must not depend on threads, chunks or where samples lie.
const AGGREGATIONS: [&str; 27] = [
    "sum(rate(m[5m]))",
    "sum by (half) (rate(m[5m]))",
    "avg by (half) (m)",
    "stddev without (n) (m)",
    "max by (half) (max_over_time(m[10m]))",
    "min(m)",
    "count by (__name__) (m)",
    "group by (half) (m)",
    "topk(3, m)",
    "quantile by (half) (0.9, m)",
    "sum(rate(m[5m])) / count(rate(m[5m])) + sum(rate(m[5m]))",
    "absent_over_time(m[1m])",
    // Pipes, with and without something above them.
    "sum by (half) (rate(m[5m]) * 8)",
    "avg(clamp(-m, -500, scalar(m{n=\"1\"})) ^ 2)",
    "count by (half) (m > 1000)",
    "max by (half) (1000 < bool m)",
    "round(rate(m[5m]), 0.5)",
    "-m % 7",
    "bottomk by (half) (2, m)",
    "topk(5, rate(m[5m]) * 8)",
    "topk(time() % 7, m % 13)",
    "limitk by (half) (3, m)",
    "limit_ratio(0.3, m)",
    "limit_ratio(-0.7, m > 50)",
    "quantile(0.5, m / 3)",
    "count_values(\"v\", floor(m / 500))",
    "count_values by (half) (\"n\", m > bool 100)",
];

/// Enough series and samples for several chunks and threads.
fn fleet(seed: u64) -> Vec<SelectedSeries> {
    let samples = |n: u64| {
        let mut samples = Samples::default();
        for at in 0..40u64 {
            let noise = (seed ^ (n << 20) ^ at).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            let time = (at * 30 + n % 3) as i64;
            if !noise.is_multiple_of(50) {
                let value = at as f64 * (n as f64 + 0.1) + noise as f64 / 3e6;
                samples.push(Timestamp::from_seconds(time), Value::Float(value));
            }
        }
        samples
    };
    selected((0..700).map(samples).collect())
}

fn bits(answer: Answer) -> Vec<(Labels, Timestamp, u64)> {
    let all = floats(answer).into_iter();
    all.map(|(l, t, v)| (l, t, v.to_bits())).collect()
}

fn write(memory: &Memory, series: &[SelectedSeries], keep: impl Fn(usize) -> bool) {
    let series = series.iter().map(|one| {
        let samples = one.samples.iter().enumerate().filter(|(i, _)| keep(*i));
        Series {
            labels: one.labels.clone(),
            samples: samples
                .map(|(_, (time, value))| Sample {
                    time,
                    start: None,
                    value,
                })
                .collect(),
            ..Series::default()
        }
    });
    let batch = MetricBatch {
        series: series.collect(),
        ..MetricBatch::default()
    };
    memory.insert(batch);
}

#[test]
fn shards_are_the_whole_and_the_store_is_the_memory() {
    let series = fleet(7);
    let old = Memory::default();
    write(&old, &series, |i| i < 25 && i % 5 != 3);
    let mut writer = PartWriter::in_memory(Metrics::NAME, &Tenant::anonymous());
    Metrics::flush(&old, TimeRange::ALL, &mut writer).unwrap();
    let part = writer.finish_in_memory();
    let new = Memory::default();
    write(&new, &series, |i| i >= 25 || i % 5 == 3);
    let sources = Sources {
        metrics: Some(Snapshot::from_parts(vec![new], vec![part]).unwrap()),
        ..Sources::default()
    };
    for text in AGGREGATIONS {
        for when in [range(0, 25, 60), When::At(Timestamp::from_seconds(900))] {
            let plan = plan(text, when);
            let expect = bits(eval(&plan, &series, 1));
            assert_eq!(bits(eval(&plan, &series, 3)), expect, "{text}");
            let budget = Budget::new(&Limits::default());
            let reply = run(&Plan::Metric(plan), &sources, &budget, &pool(2)).unwrap();
            assert_eq!(bits(reply.answer), expect, "{text} from the store");
        }
    }
}
