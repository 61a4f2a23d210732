//! Tiers of metrics on the real engine: what they say is what samples say.

use obs_storage::{Job, Retention, RetentionRule, Tier};

use super::*;
use crate::{Need, Resolution, Selection, TimesTable};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const FIVE: i64 = 5 * MINUTE;
const NANOS: i64 = 1_000_000;

fn options() -> Options {
    let tier = |millis: i64| Tier {
        resolution: millis * NANOS,
        age: None,
    };
    Options {
        window: 6 * HOUR * NANOS,
        tiers: vec![tier(FIVE), tier(HOUR)],
        tier_delay: 0,
        retention: Retention {
            age: Some(24 * HOUR * NANOS),
            bytes: None,
        },
        merge_parts: 2,
        reserve_bytes: 0,
        ..Options::default()
    }
}

fn open() -> Engine<Metrics> {
    let disk = SimDisk::new(1);
    Engine::open(Arc::new(disk), options(), &|_| {}).unwrap()
}

/// Samples `(series, time, value)`, flushed.
fn write(store: &Engine<Metrics>, samples: impl Iterator<Item = (usize, i64, f64)>) {
    let row = |(series, time, value): (usize, i64, f64)| Row {
        series,
        time,
        value: TestValue::Float(value.to_bits()),
        start: None,
    };
    let rows: Vec<Row> = samples.map(row).collect();
    let tenant = Tenant::anonymous();
    let mut draft = crate::MetricDraft::new(vec![batch_of(&rows)], RECEIVED);
    store.append_drafts(&mut [(&tenant, &mut draft)]).unwrap();
    store.run(Job::Flush).unwrap();
}

fn upkeep(store: &Engine<Metrics>, hours: i64) {
    let mut jobs = 0;
    while let Some(job) = store.next_job(Timestamp::from_millis(hours * HOUR + 1)) {
        store.run(job).unwrap();
        jobs += 1;
        assert!(jobs < 100, "upkeep does not end");
    }
}

/// Times and values of a series: of each sample when and what it is, when the first one was that it
/// stands for, and how many these are.
fn read(
    store: &Engine<Metrics>,
    series: usize,
    resolution: Resolution,
) -> Vec<(i64, f64, i64, u64)> {
    let snapshot = store.snapshot(&Tenant::anonymous());
    let matchers: Vec<Matcher> = series_labels(series)
        .iter()
        .map(|(name, value)| Matcher::equal(name, value))
        .collect();
    let budget = budget();
    let selection =
        Selection::open(&snapshot, &matchers, TimeRange::ALL, resolution, &budget).unwrap();
    let mut found = Vec::new();
    let whole = 0..selection.len();
    let mut times = TimesTable::default();
    let read = selection.read(whole, Need::Values, &mut times, &budget, |one| {
        for (index, time) in one.times.iter().enumerate() {
            let known = one.summaries.iter().find(|(i, _)| *i as usize == index);
            let (first, count) = known.map_or((*time, 1), |(_, one)| (one.first_time, one.count));
            found.push((time.millis(), one.floats[index], first.millis(), count));
        }
        Ok::<(), SelectError>(())
    });
    read.unwrap();
    found
}

fn same(millis: i64) -> Resolution {
    Resolution {
        same: millis * NANOS,
        ..Resolution::default()
    }
}

/// A sample a minute for some hours.
fn minutes(series: usize, hours: std::ops::Range<i64>) -> impl Iterator<Item = (usize, i64, f64)> {
    let minutes = hours.start * 60..hours.end * 60;
    minutes.map(move |minute| (series, minute * MINUTE, minute as f64))
}

#[test]
fn a_tier_is_read_where_it_says_the_same_or_is_all_there_is() {
    let store = open();
    write(&store, minutes(1, 0..8));
    let raw = Resolution::default();
    assert_eq!(read(&store, 1, same(HOUR)).len(), 8 * 60);
    upkeep(&store, 8);
    // The first window is over, the second is not.
    assert_eq!(read(&store, 1, raw).len(), 8 * 60);
    assert_eq!(read(&store, 1, same(MINUTE)).len(), 8 * 60);
    let fine = read(&store, 1, same(FIVE));
    // The sample at zero is the end of a bucket; the last bucket ends before the window does.
    assert_eq!(fine[0], (0, 0.0, 0, 1));
    assert_eq!(fine[1], (FIVE, 5.0, MINUTE, 5));
    assert_eq!(fine.len(), 1 + 72 + 2 * 60);
    let coarse = read(&store, 1, same(2 * HOUR));
    assert_eq!(coarse[1], (HOUR, 60.0, MINUTE, 60));
    assert_eq!(coarse.len(), 1 + 6 + 2 * 60);
    // Who asks for it gets it.
    let most = Resolution {
        most: FIVE * NANOS,
        ..Resolution::default()
    };
    assert_eq!(read(&store, 1, most), fine);
    // The samples are gone: the finest tier is taken, or a coarser one that says the same.
    upkeep(&store, 30);
    assert_eq!(read(&store, 1, raw)[..73], fine[..73]);
    assert_eq!(read(&store, 1, same(HOUR))[..7], coarse[..7]);
}

#[test]
fn what_may_make_a_difference_is_read_from_samples() {
    let store = open();
    write(&store, minutes(1, 0..6));
    upkeep(&store, 8);
    assert_eq!(read(&store, 1, same(FIVE)).len(), 73);
    // A late sample, in memory and then in a part, until the tier is made again.
    let late = [(1, 7 * MINUTE + 1, 0.5)];
    let tenant = Tenant::anonymous();
    let rows = late.map(|(series, time, value)| Row {
        series,
        time,
        value: TestValue::Float(f64::to_bits(value)),
        start: None,
    });
    let mut draft = crate::MetricDraft::new(vec![batch_of(&rows)], RECEIVED);
    store.append_drafts(&mut [(&tenant, &mut draft)]).unwrap();
    assert_eq!(read(&store, 1, same(FIVE)).len(), 361);
    store.run(Job::Flush).unwrap();
    assert_eq!(read(&store, 1, same(FIVE)).len(), 361);
    upkeep(&store, 8);
    let made = read(&store, 1, same(FIVE));
    assert_eq!((made.len(), made[2]), (73, (2 * FIVE, 10.0, 6 * MINUTE, 6)));
    // A deletion that cuts a bucket.
    let all = [Matcher::equal("index", "1")];
    crate::delete(&store, &tenant, &all, millis(0, 7 * MINUTE)).unwrap();
    assert_eq!(read(&store, 1, same(FIVE)).len(), 361 - 8);
    upkeep(&store, 8);
    let made = read(&store, 1, same(FIVE));
    assert_eq!(made[0], (2 * FIVE, 10.0, 7 * MINUTE + 1, 4));
}

#[test]
fn a_deletion_takes_whole_buckets_of_what_is_only_in_a_tier() {
    let store = open();
    write(&store, minutes(1, 0..6).chain(minutes(2, 0..6)));
    upkeep(&store, 30);
    let tenant = Tenant::anonymous();
    let matchers: Vec<Matcher> = series_labels(1)
        .iter()
        .map(|(name, value)| Matcher::equal(name, value))
        .collect();
    let before = read(&store, 1, Resolution::default());
    assert_eq!(before.len(), 73);
    // From within the second bucket to within the fourth.
    let range = millis(9 * MINUTE, 16 * MINUTE);
    crate::delete(&store, &tenant, &matchers, range).unwrap();
    let left: Vec<_> = [&before[..2], &before[5..]].concat();
    assert_eq!(read(&store, 1, Resolution::default()), left);
    assert_eq!(read(&store, 2, Resolution::default()).len(), 73);
    upkeep(&store, 30);
    assert_eq!(store.deletions(), 0);
    assert_eq!(read(&store, 1, Resolution::default()), left);
    assert_eq!(read(&store, 2, Resolution::default()).len(), 73);
    // Rules of retention hold for tiers too.
    let rule = RetentionRule {
        selector: crate::selector(&matchers),
        age: HOUR * NANOS,
    };
    let now = Timestamp::from_millis(30 * HOUR);
    store.set_retention_rules(&[rule], now).unwrap();
    assert_eq!(read(&store, 1, Resolution::default()), []);
    assert_eq!(read(&store, 2, Resolution::default()).len(), 73);
}

#[test]
fn markers_histograms_and_falls_are_kept() {
    let store = open();
    let mut rows: Vec<Row> = Vec::new();
    for minute in 0..60i64 {
        let value = match minute {
            12 => TestValue::Float(STALE_BITS),
            30 => TestValue::Float(f64::NAN.to_bits()),
            // Two falls in an hour.
            22 | 41 => TestValue::Float(0.25f64.to_bits()),
            _ => TestValue::Float((minute as f64 + 0.1).to_bits()),
        };
        rows.push(Row {
            series: 1,
            time: minute * MINUTE + 1,
            value,
            start: None,
        });
        // Counts of these grow until 44.
        rows.push(Row {
            series: 2,
            time: minute * MINUTE + 1,
            value: TestValue::Histogram(if minute < 45 { 2 } else { 0 }),
            start: None,
        });
    }
    let tenant = Tenant::anonymous();
    let mut draft = crate::MetricDraft::new(vec![batch_of(&rows)], RECEIVED);
    store.append_drafts(&mut [(&tenant, &mut draft)]).unwrap();
    store.run(Job::Flush).unwrap();
    upkeep(&store, 7);
    let coarse = Resolution {
        most: HOUR * NANOS,
        ..Resolution::default()
    };
    let found = read(&store, 1, coarse);
    let counts: Vec<u64> = found.iter().map(|one| one.3).collect();
    // A marker and a NaN stand alone, and a second fall would end a run.
    assert_eq!(counts, [12, 1, 17, 1, 29]);
    assert!(found[1].1.to_bits() == STALE_BITS && found[3].1.is_nan());
    // Histograms are there: where a count falls, both sides of it.
    let times: Vec<i64> = read(&store, 2, coarse)
        .iter()
        .map(|one| one.0 / MINUTE)
        .collect();
    assert_eq!(times, [0, 44, 45, 59]);
    // Functions that count would see fewer, so that the tier is not taken for the same.
    assert_eq!(read(&store, 2, same(HOUR)).len(), 60);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever flushes and merges came before, a tier has the same samples, and each says what a
    /// naive walk over the samples of its bucket finds.
    #[test]
    fn tiers_are_what_samples_say(
        samples in prop::collection::vec((0..3usize, 0..6 * 60 * 4i64, 0..50i64), 1..200),
        cuts in prop::collection::vec(0..200usize, 0..4),
        merges in prop::collection::vec(any::<bool>(), 4),
    ) {
        let rows = |part: &[(usize, i64, i64)]| -> Vec<(usize, i64, f64)> {
            let row = |(series, at, value): &(usize, i64, i64)| {
                (*series, at * 15_000 + 1, *value as f64 * 0.5)
            };
            part.iter().map(row).collect()
        };
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c % samples.len()).collect();
        cuts.sort_unstable();
        let store = open();
        let mut from = 0;
        for (cut, merge) in cuts.into_iter().chain([samples.len()]).zip(merges.iter().chain([&true])) {
            if from < cut {
                write(&store, rows(&samples[from..cut]).into_iter());
                from = cut;
            }
            if *merge && let Some(job) = store.forced(Force::Merge) {
                store.run(job).unwrap();
            }
        }
        write(&store, rows(&samples[from..]).into_iter());
        // The first arrival of a sample wins.
        let mut model: BTreeMap<(usize, i64), f64> = BTreeMap::new();
        for (series, time, value) in rows(&samples) {
            model.entry((series, time)).or_insert(value);
        }
        upkeep(&store, 8);
        for resolution in [FIVE, HOUR] {
            for series in 0..3 {
                let found = read(&store, series, same(resolution));
                let mine = model.range((series, i64::MIN)..=(series, i64::MAX));
                let mine: Vec<(i64, f64)> = mine.map(|((_, time), value)| (*time, *value)).collect();
                let mut rest = &mine[..];
                for (time, value, first, count) in found {
                    prop_assert!(count as usize <= rest.len());
                    let (run, others) = rest.split_at(count as usize);
                    prop_assert_eq!((run[0].0, run[run.len() - 1]), (first, (time, value)));
                    let bucket = |time: i64| (time - 1).div_euclid(resolution);
                    prop_assert_eq!(bucket(first), bucket(time));
                    rest = others;
                }
                prop_assert!(rest.is_empty());
            }
        }
        let snapshot = store.snapshot(&Tenant::anonymous());
        prop_assert_eq!(snapshot.tags.iter().filter(|tag| tag.tier != 0).count(), 2);
    }
}
