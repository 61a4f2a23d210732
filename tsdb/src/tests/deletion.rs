//! Deletion and retention by matchers, asked for through the engine: every read hides alike, before
//! and after the rows are gone from the disk.

use obs_storage::{DeleteError, Hidden, RetentionRule};

use super::*;
use crate::Selector;

fn open(disk: &SimDisk) -> Engine<Metrics> {
    let options = Options {
        reserve_bytes: 0,
        ..Options::default()
    };
    Engine::open(Arc::new(disk.clone()), options, &|_| {}).unwrap()
}

/// Series `up` and `cpu` with the indices 0 to 2, a sample and an exemplar at each time.
fn write(store: &Engine<Metrics>, times: &[i64]) {
    let mut batch = MetricBatch::default();
    for name in ["cpu", "up"] {
        for index in ["0", "1", "2"] {
            let sample = |time: &i64| Sample {
                time: Timestamp::from_millis(*time),
                start: None,
                value: Value::Float(*time as f64),
            };
            batch.series.push(Series {
                labels: labels(&[("__name__", name), ("index", index)]),
                samples: times.iter().map(sample).collect(),
                exemplars: times.iter().map(|time| exemplar(*time)).collect(),
            });
        }
    }
    let mut payload = Vec::new();
    crate::encode(&batch, &mut payload);
    let tenant = Tenant::anonymous();
    let record = Record {
        tenant: &tenant,
        payload: &payload,
    };
    store.append(&[record]).unwrap();
}

fn force(store: &Engine<Metrics>, what: Force) {
    while let Some(job) = store.forced(what) {
        store.run(job).unwrap();
    }
}

/// All that is found: `name index: times of samples/times of exemplars`.
fn found(store: &Engine<Metrics>) -> Vec<String> {
    let snapshot = store.snapshot(&Tenant::anonymous());
    let all = crate::select(&snapshot, &[], TimeRange::ALL, &budget()).unwrap();
    let mut exemplars: BTreeMap<Labels, Vec<i64>> = BTreeMap::new();
    for (labels, list) in crate::exemplars(&snapshot, &[], TimeRange::ALL, &budget()).unwrap() {
        exemplars.insert(labels, list.iter().map(|e| e.time.millis()).collect());
    }
    let text = |one: &crate::SelectedSeries| {
        let times: Vec<i64> = one.samples.times.iter().map(|t| t.millis()).collect();
        let more = exemplars.get(&one.labels);
        assert_eq!(more, Some(&times), "exemplars go with the samples");
        let get = |name| one.labels.get(name).unwrap_or("");
        format!("{} {}: {times:?}", get("__name__"), get("index"))
    };
    let found: Vec<String> = all.iter().map(text).collect();
    assert_eq!(exemplars.len(), found.len());
    let listed = crate::series(&snapshot, &[], TimeRange::ALL, &budget()).unwrap();
    let selected: Vec<Labels> = all.into_iter().map(|one| one.labels).collect();
    assert_eq!(listed, selected, "series are listed that have samples");
    found
}

fn values(store: &Engine<Metrics>, name: &str) -> Vec<String> {
    let snapshot = store.snapshot(&Tenant::anonymous());
    crate::label_values(&snapshot, name, &[], TimeRange::ALL, &budget()).unwrap()
}

fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
    Matcher::new(name, op, value).unwrap()
}

#[test]
fn reads_hide_alike_before_and_after_the_rows_are_gone() {
    let check = |matchers: &[Matcher], range: (i64, i64), expect: &[&str]| {
        let disk = SimDisk::new(1);
        let mut store = open(&disk);
        write(&store, &[1, 3]);
        force(&store, Force::Flush);
        write(&store, &[2, 3, 4]);
        let (tenant, range) = (Tenant::anonymous(), millis(range.0, range.1));
        crate::delete(&store, &tenant, matchers, range).unwrap();
        assert_eq!(found(&store), expect, "in memory and in a part");
        store = open(&disk);
        assert_eq!(found(&store), expect, "after a restart");
        force(&store, Force::Flush);
        assert_eq!(found(&store), expect, "in parts");
        force(&store, Force::Merge);
        assert_eq!(found(&store), expect, "merged");
        force(&store, Force::Clean);
        assert_eq!(
            (found(&store), store.deletions()),
            (expect.iter().map(|e| (*e).to_owned()).collect(), 0)
        );
        store = open(&disk);
        assert_eq!(found(&store), expect, "after another restart");
        let rows: usize = expect
            .iter()
            .map(|e| 2 * (e.matches(',').count() + 1))
            .sum();
        assert_eq!(
            store.stats().part_rows,
            rows as u64,
            "nothing else is on disk"
        );
    };
    let all = "[1, 2, 3, 4]";
    let up = Matcher::equal("__name__", "up");
    check(
        &[up.clone(), matcher("index", MatchOp::Regex, "[01]")],
        (2, 3),
        &[
            &format!("cpu 0: {all}"),
            &format!("cpu 1: {all}"),
            &format!("cpu 2: {all}"),
            "up 0: [1, 4]",
            "up 1: [1, 4]",
            &format!("up 2: {all}"),
        ],
    );
    check(
        &[matcher("index", MatchOp::NotEqual, "1")],
        (i64::MIN / 1_000_000, i64::MAX / 1_000_000),
        &[&format!("cpu 1: {all}"), &format!("up 1: {all}")],
    );
    check(
        &[matcher("index", MatchOp::NotRegex, "2|3"), up],
        (1, 4),
        &[
            &format!("cpu 0: {all}"),
            &format!("cpu 1: {all}"),
            &format!("cpu 2: {all}"),
            &format!("up 2: {all}"),
        ],
    );
    check(&[], (0, 9), &[]);
}

#[test]
fn labels_of_what_is_gone_are_not_listed() {
    let store = open(&SimDisk::new(1));
    write(&store, &[1, 3]);
    force(&store, Force::Flush);
    write(&store, &[2]);
    let (tenant, up) = (Tenant::anonymous(), Matcher::equal("__name__", "up"));
    crate::delete(&store, &tenant, std::slice::from_ref(&up), millis(1, 2)).unwrap();
    assert_eq!(values(&store, "__name__"), ["cpu", "up"]);
    crate::delete(&store, &tenant, std::slice::from_ref(&up), millis(1, 3)).unwrap();
    assert_eq!(values(&store, "__name__"), ["cpu"]);
    let other = Tenant::new("other").unwrap();
    crate::delete(&store, &other, &[], TimeRange::ALL).unwrap();
    assert_eq!(values(&store, "__name__"), ["cpu"]);
    // What is written again is there again.
    write(&store, &[3]);
    assert_eq!(values(&store, "__name__"), ["cpu", "up"]);
    assert_eq!(found(&store)[3..], ["up 0: [3]", "up 1: [3]", "up 2: [3]"]);
    let large = Matcher::equal("a", "x".repeat(100_000));
    let refused = crate::delete(&store, &tenant, &[large], TimeRange::ALL);
    assert!(matches!(refused, Err(DeleteError::TooLarge { .. })));
}

#[test]
fn growth_tells_what_is_new_whatever_was_merged() {
    let store = open(&SimDisk::new(1));
    write(&store, &[1, 5]);
    let mut batch = MetricBatch::default();
    for pod in 0..20 {
        let pod = format!("pod-{pod}");
        let sample = Sample {
            time: Timestamp::from_millis(8),
            start: None,
            value: Value::Float(1.0),
        };
        batch.series.push(Series {
            labels: labels(&[("__name__", "up"), ("index", "0"), ("pod", &pod)]),
            samples: vec![sample],
            exemplars: Vec::new(),
        });
    }
    force(&store, Force::Flush);
    let mut payload = Vec::new();
    crate::encode(&batch, &mut payload);
    let tenant = Tenant::anonymous();
    let record = Record {
        tenant: &tenant,
        payload: &payload,
    };
    store.append(&[record]).unwrap();
    let cpu = Matcher::equal("__name__", "cpu");
    crate::delete(&store, &tenant, &[cpu], millis(5, 5)).unwrap();
    let one = |name: &str, count: u64| vec![(name.to_owned(), count)];
    for _ in 0..2 {
        let snapshot = store.snapshot(&tenant);
        let found = crate::growth(&snapshot, millis(0, 4), millis(5, 9), 1, &budget()).unwrap();
        let expect = crate::Growth {
            before: 6,
            new: 20,
            gone: 3,
            new_by_metric: one("up", 20),
            new_by_label: one("pod", 20),
        };
        assert_eq!(found, expect);
        force(&store, Force::Flush);
        force(&store, Force::Merge);
    }
}

#[test]
fn series_may_be_kept_for_a_shorter_time() {
    let disk = SimDisk::new(1);
    let rule = RetentionRule {
        selector: crate::selector(&[matcher("index", MatchOp::Regex, "[12]")]),
        age: 10_000_000,
    };
    let now = Timestamp::from_millis;
    let store = open(&disk);
    store.set_retention_rules(&[rule], now(12)).unwrap();
    write(&store, &[1, 2, 3]);
    let all = ["cpu 0: [1, 2, 3]", "cpu 1: [2, 3]", "cpu 2: [2, 3]"];
    assert_eq!(found(&store)[..3], all);
    force(&store, Force::Flush);
    assert_eq!(found(&store)[..3], all);
    let run = |at: i64| {
        while let Some(job) = store.next_job(now(at)) {
            store.run(job).unwrap();
        }
    };
    run(13);
    assert_eq!(
        found(&store)[..3],
        ["cpu 0: [1, 2, 3]", "cpu 1: [3]", "cpu 2: [3]"]
    );
    run(14);
    assert_eq!(found(&store), ["cpu 0: [1, 2, 3]", "up 0: [1, 2, 3]"]);
    assert_eq!(
        store.stats().part_rows,
        12,
        "the rest is gone from the disk"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn selectors_round_trip(
        list in prop::collection::vec((0usize..4, "[a-z.é]{0,5}", "[a-z.|é]{0,8}"), 0..5),
        cut in any::<prop::sample::Index>(),
    ) {
        let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
        let list = list.into_iter().map(|(op, name, value)| Matcher::new(name, ops[op], value));
        let list: Vec<Matcher> = list.collect::<Result<_, _>>().unwrap();
        let bytes = crate::selector(&list);
        let read = Selector::decode(&bytes).unwrap();
        prop_assert_eq!(read.matchers(), &list[..]);
        let cut = Selector::decode(&bytes[..cut.index(bytes.len())]);
        prop_assert!(cut.is_err() || cut.unwrap().matchers().len() < list.len());
    }

    #[test]
    fn arbitrary_selectors_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(selector) = Selector::decode(&bytes) {
            prop_assert!(selector.matchers().len() <= bytes.len() / 3);
        }
    }

    /// Hidden in the memories and parts of one snapshot, or left out by one merge of all.
    #[test]
    fn a_merge_leaves_out_what_reads_hide(
        steps in prop::collection::vec(step(), 1..12),
        cuts in prop::collection::vec((0usize..4, -20i64..80, 0i64..60), 1..4),
    ) {
        let conditions = [
            vec![Matcher::equal("__name__", "up")],
            vec![Matcher::new("index", MatchOp::Regex, "[0-4]").unwrap()],
            vec![Matcher::new("index", MatchOp::NotEqual, "3").unwrap(), Matcher::equal("zone", "z")],
            vec![],
        ];
        let (mut store, mut oracle) = (Store::new(), Oracle::new());
        steps.iter().for_each(|step| store.step(step, &mut oracle));
        let hidden: Vec<Hidden<Metrics>> = cuts
            .iter()
            .map(|(condition, start, length)| {
                let selector = crate::selector(&conditions[*condition]);
                let selector = Selector::decode(&selector).unwrap();
                Hidden::new(selector, millis(*start, start + length))
            })
            .collect();
        for (condition, start, length) in &cuts {
            for (labels, samples) in &mut oracle {
                if all_match(&conditions[*condition], labels) {
                    samples.retain(|time, _| !(*start..=start + length).contains(time));
                }
            }
        }
        oracle.retain(|_, samples| !samples.is_empty());
        let snapshot = store.snapshot().with_hidden(hidden.clone());
        assert_answers(&snapshot, &oracle, (-100, 200));
        assert_answers(&snapshot, &oracle, (0, 30));
        let mut parts: Vec<PartReader> = snapshot.parts.iter().map(|p| p.reader.clone()).collect();
        parts.extend(snapshot.memories.iter().filter_map(|m| flush(m, TimeRange::ALL)));
        let opened: Vec<Part> = parts.into_iter().map(|p| Metrics::open(p).unwrap()).collect();
        let input = |part| obs_storage::Input { part, hidden: &hidden };
        let inputs: Vec<_> = opened.iter().map(input).collect();
        let mut out = PartWriter::in_memory(Metrics::NAME, &Tenant::anonymous());
        Metrics::merge_visible(&inputs, TimeRange::ALL, &mut out).unwrap();
        let merged = out.finish_in_memory();
        prop_assert_eq!(merged.rows() > 0, !oracle.is_empty());
        if merged.rows() > 0 {
            let merged = Snapshot::from_parts(Vec::new(), vec![merged]).unwrap();
            assert_answers(&merged, &oracle, (-100, 200));
            let listed = crate::series(&merged, &[], TimeRange::ALL, &budget()).unwrap();
            prop_assert!(listed.iter().eq(oracle.keys()));
        }
    }
}
