//! Answers from parts with summaries are those of the samples, bit by bit.

use obs_model::limits::Limits;
use obs_model::metrics::Sample;
use obs_model::sample::stale;
use obs_model::{
    Answer, Budget, Labels, MetricBatch, Samples, Series, Tenant, TimeRange, Timestamp, Value,
};
use obs_storage::{Kind, PartWriter};
use obs_tsdb::{Memory, Metrics, Snapshot};
use proptest::prelude::*;

use crate::plan::SelectedSeries;
use crate::request::{Language, Plan, Request, When};
use crate::run::{Query, Sources, run};

/// Samples of each series, 15 s apart: two blocks and the begin of a third.
const SAMPLES: usize = 4600;
/// Functions; W is the window.
const FUNCTIONS: [&str; 17] = [
    "rate(m[W])",
    "increase(m[W])",
    "delta(m[W])",
    "min_over_time(m[W])",
    "max_over_time(m[W])",
    "sum_over_time(m[W])",
    "avg_over_time(m[W])",
    "count_over_time(m[W])",
    "last_over_time(m[W])",
    "first_over_time(m[W])",
    "present_over_time(m[W])",
    "absent_over_time(m[W])",
    "ts_of_first_over_time(m[W])",
    "ts_of_last_over_time(m[W])",
    "sum by (half) (increase(m[W]))",
    "stddev_over_time(m[W])",
    "changes(m[W])",
];

/// The samples of a series of some kind.
fn samples(kind: u64, seed: u64, count: usize) -> Samples {
    let mut samples = Samples::default();
    let mut total = 0.0;
    for at in 0..count as u64 {
        let noise = (seed ^ (kind << 40) ^ at).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44;
        total += (noise % 7) as f64;
        let value = match kind {
            0 => 1.0,
            1 => noise as f64 - 400_000.0,
            2 => noise as f64 / 7.0,
            3 => total,
            // Falls: one, then many.
            4 if at == 1000 || (at > 3000 && noise.is_multiple_of(300)) => {
                total = 0.0;
                0.25
            }
            4 => total / 10.0,
            5 if at == 700 => stale(),
            5 if at == 2900 => f64::NAN,
            5 => total,
            6 => 9e15 + noise as f64,
            _ if at > 2500 => noise as f64 / 3.0,
            _ => noise as f64,
        };
        if kind != 3 || !noise.is_multiple_of(40) {
            samples.push(Timestamp::from_seconds(at as i64 * 15), Value::Float(value));
        }
    }
    samples
}

fn fleet(seed: u64) -> Vec<SelectedSeries> {
    fleet_of(seed, SAMPLES)
}

/// A series of each kind, with so many samples.
pub(super) fn fleet_of(seed: u64, count: usize) -> Vec<SelectedSeries> {
    let one = |kind: u64| SelectedSeries {
        labels: Labels::from_pairs([
            ("__name__", "m".to_owned()),
            ("half", (kind % 2).to_string()),
            ("n", kind.to_string()),
        ]),
        samples: samples(kind, seed, count),
    };
    (0..8).map(one).collect()
}

/// Some of the samples of all series as a memory.
fn memory(series: &[SelectedSeries], keep: &dyn Fn(Timestamp) -> bool) -> Memory {
    let memory = Memory::default();
    let series = series.iter().map(|one| {
        let samples = one.samples.iter().filter(|(time, _)| keep(*time));
        let sample = |(time, value)| Sample {
            time,
            start: None,
            value,
        };
        Series {
            labels: one.labels.clone(),
            samples: samples.map(sample).collect(),
            ..Series::default()
        }
    });
    memory.insert(MetricBatch {
        series: series.collect(),
        ..MetricBatch::default()
    });
    memory
}

pub(super) fn bits(answer: Answer) -> Vec<(String, i64, u64)> {
    let Answer::Matrix(series) = answer else {
        panic!("a range query answers with a matrix");
    };
    let rows = series.into_iter().flat_map(|one| {
        let labels = one.labels.to_string();
        let bits = |value: Value| match value {
            Value::Float(value) => value.to_bits(),
            Value::Histogram(_) => panic!("no histogram was written"),
        };
        let rows = one.samples.iter();
        let rows = rows.map(|(time, value)| (labels.clone(), time.nanos(), bits(value)));
        rows.collect::<Vec<_>>()
    });
    rows.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]
    #[test]
    fn summaries_answer_as_samples_do(
        seed: u64,
        window in prop_oneof![Just(69_000i64), Just(30_720), 20_000..80_000i64, 100..4000i64],
        step in prop_oneof![Just(30_720i64), 5000..40_000i64],
        start in 0..70_000i64,
        late in 0..SAMPLES as i64,
    ) {
        let series = fleet(seed);
        // One sample came late: its source lies among the others.
        let is_late = |time: Timestamp| time.millis() / 15_000 == late;
        let old = memory(&series, &|time| !is_late(time));
        let mut writer = PartWriter::in_memory(Metrics::NAME, &Tenant::anonymous());
        Metrics::flush(&old, TimeRange::ALL, &mut writer).unwrap();
        let part = writer.finish_in_memory();
        let mut memories = Vec::new();
        if late % 2 == 0 {
            memories.push(memory(&series, &is_late));
        }
        let there: Vec<SelectedSeries> = series.iter().map(|one| {
            let kept = one.samples.iter().filter(|(time, _)| late % 2 == 0 || !is_late(*time));
            let mut samples = Samples::default();
            kept.for_each(|(time, value)| samples.push(time, value));
            SelectedSeries { labels: one.labels.clone(), samples }
        }).collect();
        let sources = Sources {
            metrics: Some(Snapshot::from_parts(memories, vec![part]).unwrap()),
            ..Sources::default()
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let limits = Limits::default();
        let when = When::Range {
            start: Timestamp::from_seconds(start),
            end: Timestamp::from_seconds(start + 3 * step),
            step: step * 1_000_000_000,
        };
        let mut fewest = u64::MAX;
        for function in FUNCTIONS {
            let text = function.replace('W', &format!("{window}s"));
            let query = Query::parse(Language::Promql, &text, &limits).unwrap();
            let plan = query.plan(&Request::new(when), &limits).unwrap();
            let Plan::Metric(metric) = &plan else { panic!("{plan}") };
            let budget = Budget::new(&limits);
            let (expect, _) = crate::eval::eval(metric, std::slice::from_ref(&there), &budget, &pool).unwrap();
            let reply = run(&plan, &sources, &Budget::new(&limits), &pool).unwrap();
            prop_assert_eq!(bits(reply.answer), bits(expect), "{}", text);
            fewest = fewest.min(reply.samples_read);
        }
        if window == 69_000 && late % 2 == 1 && start >= 69_000 {
            prop_assert!(fewest < SAMPLES as u64 * 8 * 3 / 4, "{fewest} samples were read");
        }
    }
}

#[test]
fn a_window_over_whole_blocks_decodes_none() {
    let series = fleet(1);
    let mut writer = PartWriter::in_memory(Metrics::NAME, &Tenant::anonymous());
    Metrics::flush(&memory(&series, &|_| true), TimeRange::ALL, &mut writer).unwrap();
    let part = writer.finish_in_memory();
    let sources = Sources {
        metrics: Some(Snapshot::from_parts(Vec::new(), vec![part]).unwrap()),
        ..Sources::default()
    };
    let limits = Limits::default();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    let check = |text: &str, expect: u64| {
        let query = Query::parse(Language::Promql, text, &limits).unwrap();
        let at = When::At(Timestamp::from_seconds(69_000));
        let plan = query.plan(&Request::new(at), &limits).unwrap();
        let reply = run(&plan, &sources, &Budget::new(&limits), &pool).unwrap();
        assert_eq!(reply.samples_read, expect, "{text}");
    };
    // The third block is too short for a summary.
    let rest = SAMPLES as u64 - 2 * 2048;
    check("max_over_time(m{n=\"2\"}[70000s])", 2 + rest);
    check("increase(m{n=\"0\"}[1d])", 2 + rest);
    // Fractions that fall often.
    check("increase(m{n=\"2\"}[1d])", 2 + rest + SAMPLES as u64);
    check("avg_over_time(m{n=\"1\"}[1d])", 2 + rest);
    // Sums of fractions depend on their order, and sums of large integers round.
    check("avg_over_time(m{n=\"2\"}[1d])", 2 + rest + SAMPLES as u64);
    check("sum_over_time(m{n=\"6\"}[1d])", 2 + rest + SAMPLES as u64);
}
