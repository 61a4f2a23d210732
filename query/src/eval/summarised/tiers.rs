//! Answers from tiers are those of the samples, bit by bit where they are taken unasked.

use std::sync::Arc;

use obs_storage::{Options, Retention, SimDisk, Store, Tier};
use obs_tsdb::MetricDraft;

use super::tests::{bits, fleet_of};
use super::*;
use crate::request::{Language, Plan, Request, SourceResolution, When};
use crate::run::{Query, Sources, run};
use obs_model::limits::Limits;
use obs_model::metrics::Sample;
use obs_model::{Answer, Budget, MetricBatch, Series, Tenant};
use obs_tsdb::Metrics;

const HOUR: i64 = 3600;
const NANOS: i64 = 1_000_000_000;
/// Samples of a day, 15 s apart.
const SAMPLES: usize = 24 * 240;

/// A store with tiers of five minutes and an hour, and the samples that were written.
struct World {
    store: Store<Metrics>,
    series: Vec<crate::plan::SelectedSeries>,
    pool: rayon::ThreadPool,
}

impl World {
    fn new(seed: u64) -> Self {
        let tier = |seconds: i64| Tier {
            resolution: seconds * NANOS,
            age: None,
        };
        let options = Options {
            window: 12 * HOUR * NANOS,
            tiers: vec![tier(300), tier(HOUR)],
            tier_delay: 0,
            flush_age: 1,
            reserve_bytes: 0,
            retention: Retention {
                age: Some(48 * HOUR * NANOS),
                bytes: None,
            },
            ..Options::default()
        };
        let store = Store::open(Arc::new(SimDisk::new(1)), options, &|_| {}).unwrap();
        let series = fleet_of(seed, SAMPLES);
        let batch = MetricBatch {
            series: series
                .iter()
                .map(|one| Series {
                    labels: one.labels.clone(),
                    samples: one
                        .samples
                        .iter()
                        .map(|(time, value)| Sample {
                            time,
                            start: None,
                            value,
                        })
                        .collect(),
                    ..Series::default()
                })
                .collect(),
            ..MetricBatch::default()
        };
        let mut draft = MetricDraft::new(vec![batch], Timestamp::default());
        store
            .append_drafts(&mut [(&Tenant::anonymous(), &mut draft)])
            .unwrap();
        store.run(obs_storage::Job::Flush).unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        let world = Self {
            store,
            series,
            pool: pool.unwrap(),
        };
        world.upkeep(25);
        world
    }

    fn upkeep(&self, hours: i64) {
        let now = Timestamp::from_seconds(hours * HOUR);
        for _ in 0..50 {
            match self.store.next_job(now) {
                Some(job) => self.store.run(job).unwrap(),
                None => return,
            }
        }
        panic!("upkeep does not end");
    }

    /// The answer from the store, and how many samples were read.
    fn ask(&self, text: &str, when: When, resolution: SourceResolution) -> (Plan, Answer, u64) {
        let limits = Limits::default();
        let query = Query::parse(Language::Promql, text, &limits).unwrap();
        let request = Request {
            resolution,
            ..Request::new(when)
        };
        let plan = query.plan(&request, &limits).unwrap();
        let sources = Sources {
            metrics: Some(self.store.snapshot(&Tenant::anonymous())),
            ..Sources::default()
        };
        let reply = run(&plan, &sources, &Budget::new(&limits), &self.pool).unwrap();
        (plan, reply.answer, reply.samples_read)
    }

    fn naive(&self, plan: &Plan) -> Answer {
        let Plan::Metric(plan) = plan else {
            panic!("{plan}");
        };
        let all = plan.leaves.iter().map(|read| {
            let crate::plan::Leaf::Metrics(matchers) = &read.leaf else {
                panic!("{plan}");
            };
            let wanted = |labels| obs_model::matcher::all_match(matchers, labels);
            let series = self.series.iter().filter(|one| wanted(&one.labels));
            series.cloned().collect::<Vec<_>>()
        });
        let all: Vec<_> = all.collect();
        let budget = Budget::new(&Limits::default());
        crate::eval::eval(plan, &all, &budget, &self.pool)
            .unwrap()
            .0
    }

    fn check(&self, text: &str, when: When) -> u64 {
        let (plan, answer, read) = self.ask(text, when, SourceResolution::Same);
        assert_eq!(bits(answer), bits(self.naive(&plan)), "{text}");
        read
    }
}

fn steps(start: i64, step: i64, count: i64) -> When {
    When::Range {
        start: Timestamp::from_seconds(start),
        end: Timestamp::from_seconds(start + step * (count - 1)),
        step: step * NANOS,
    }
}

/// What tiers keep exactly; W is the window.
const KEPT: [&str; 11] = [
    "rate(m[W])",
    "sum by (half) (increase(m[W]))",
    "delta(m[W])",
    "min_over_time(m[W])",
    "max_over_time(m[W])",
    "count_over_time(m[W])",
    "last_over_time(m[W])",
    "first_over_time(m[W])",
    "absent_over_time(m[W])",
    "ts_of_first_over_time(m[W])",
    "m - m offset W",
];

#[test]
fn tiers_answer_as_samples_do() {
    for seed in 0..3 {
        let world = World::new(seed);
        for (window, step, start) in [
            (HOUR, HOUR, HOUR),
            (2 * HOUR, 600, 3 * HOUR),
            (300, 300, 900),
        ] {
            for function in KEPT {
                let text = function.replace('W', &format!("{window}s"));
                let read = world.check(&text, steps(start, step, 20));
                let all = SAMPLES as u64 * 8;
                let falls = text.contains("rate") || text.contains("increase");
                assert!(
                    falls || step < HOUR || read < all / 20,
                    "{text}: {read} of {all}"
                );
            }
        }
        // Borders that split buckets, and functions that tiers do not know.
        for (text, step) in [
            ("rate(m[1h])", 3601),
            ("rate(m[61m])", 3600),
            ("irate(m[1h])", 3600),
        ] {
            world.check(text, steps(HOUR, step, 20));
        }
        world.check(
            "avg_over_time(m[1h]) + stddev_over_time(m[1h])",
            steps(HOUR, HOUR, 20),
        );
        world.check("max_over_time(rate(m[5m])[1h:5m])", steps(HOUR, HOUR, 20));
    }
}

#[test]
fn what_is_only_in_tiers_answers_as_well_as_it_can() {
    let world = World::new(7);
    world.upkeep(24 + 48 + 12);
    for function in KEPT {
        // Of what falls often the order of adding counts: all but counters.
        let function = match function.contains("rate") || function.contains("increase") {
            true => function.replace("m[", "m{n=~\"[0345]\"}["),
            false => function.to_owned(),
        };
        let text = function.replace('W', "1h");
        world.check(&text, steps(HOUR, HOUR, 20));
        let text = function.replace('W', "5m");
        world.check(&text, steps(HOUR, 300, 20));
    }
    // Sums of fractions may differ in their last bits.
    for text in [
        "sum_over_time(m{n=\"2\"}[1h])",
        "avg_over_time(m{n=\"2\"}[1h])",
    ] {
        let (plan, answer, _) = world.ask(text, steps(HOUR, HOUR, 20), SourceResolution::Same);
        let (found, expect) = (bits(answer), bits(world.naive(&plan)));
        assert_eq!(found.len(), expect.len());
        for (found, expect) in found.iter().zip(expect) {
            let (a, b) = (f64::from_bits(found.2), f64::from_bits(expect.2));
            assert!((a - b).abs() <= 1e-12 * b.abs(), "{text}: {a} not {b}");
        }
    }
    // Steps between buckets find the sample before, however coarse it is.
    let (_, answer, _) = world.ask(
        "count(m{n!=\"5\"})",
        steps(2 * HOUR + 7, 61, 100),
        SourceResolution::Same,
    );
    let counts: Vec<f64> = bits(answer)
        .iter()
        .map(|row| f64::from_bits(row.2))
        .collect();
    assert_eq!(counts, [7.0; 100]);
}

#[test]
fn who_asks_for_a_tier_gets_it() {
    let world = World::new(3);
    let when = steps(HOUR, 600, 20);
    let up_to = |seconds: i64| SourceResolution::UpTo(seconds * NANOS);
    let read = |resolution| {
        world
            .ask("avg_over_time(m{n=\"1\"}[10m])", when, resolution)
            .2
    };
    assert!(read(SourceResolution::Raw) > 600);
    assert!(read(SourceResolution::Same) > 600);
    assert!(read(up_to(300)) <= 45, "{}", read(up_to(300)));
    assert!(read(up_to(HOUR)) <= 6);
    // Tiers are not taken unasked where samples were asked for.
    let read = |resolution| {
        world
            .ask("rate(m{n=\"3\"}[1h])", steps(HOUR, HOUR, 20), resolution)
            .2
    };
    assert!(read(SourceResolution::Raw) > 1000 && read(SourceResolution::Same) < 30);
}
