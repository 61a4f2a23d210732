//! Series outlive the flush of their samples: numbers go on, and what is idle is not shown.

use obs_model::metrics::KnownSamples;
use obs_storage::Kind;

use super::*;
use crate::MetricDraft;

fn open() -> Engine<Metrics> {
    let options = Options {
        reserve_bytes: 0,
        ..Options::default()
    };
    Engine::open(Arc::new(SimDisk::new(7)), options, &|_| {}).unwrap()
}

/// Stores a batch; whether it was taken, and the epoch of the numbers.
fn store(engine: &Engine<Metrics>, batch: MetricBatch) -> (bool, u64) {
    let tenant = Tenant::anonymous();
    let mut draft = MetricDraft::new(vec![batch], Timestamp::default());
    engine.append_drafts(&mut [(&tenant, &mut draft)]).unwrap();
    (draft.taken(0), draft.learned().0)
}

/// Samples of the first `count` series, by their labels.
fn labelled(count: usize, millis: i64) -> MetricBatch {
    let series = |index: usize| Series {
        labels: labels(&[("__name__", "m"), ("index", &format!("{index:02}"))]),
        samples: vec![Sample {
            time: Timestamp::from_millis(millis),
            start: None,
            value: Value::Float(index as f64),
        }],
        ..Default::default()
    };
    MetricBatch {
        series: (0..count).map(series).collect(),
        ..Default::default()
    }
}

/// The same by their numbers, which are those of the order in which they came first.
fn numbered(count: usize, millis: i64, epoch: u64) -> MetricBatch {
    let mut known = KnownSamples {
        epoch,
        ..Default::default()
    };
    for index in 0..count {
        known.push(index as u32, millis, index as f64);
    }
    MetricBatch {
        known,
        ..Default::default()
    }
}

fn flush(engine: &Engine<Metrics>) {
    while let Some(job) = engine.forced(Force::Flush) {
        engine.run(job).unwrap();
    }
}

fn shown(engine: &Engine<Metrics>, from: i64) -> Vec<String> {
    let range = TimeRange::new(Timestamp::from_millis(from), Timestamp::MAX);
    let snapshot = engine.snapshot(&Tenant::anonymous());
    crate::label_values(&snapshot, "index", &[], range, &budget()).unwrap()
}

#[test]
fn numbers_outlive_a_flush() {
    let engine = open();
    let (taken, epoch) = store(&engine, labelled(20, 1));
    assert!(taken);
    flush(&engine);
    // Half of them come by their numbers, and what has not come is not shown.
    assert_eq!(store(&engine, numbered(10, 2, epoch)), (true, epoch));
    assert_eq!(shown(&engine, 2).len(), 10);
    assert_eq!(shown(&engine, 0).len(), 20);
    let snapshot = engine.snapshot(&Tenant::anonymous());
    let all = crate::select(&snapshot, &[], TimeRange::ALL, &budget()).unwrap();
    let samples: usize = all.iter().map(|one| one.samples.times.len()).sum();
    assert_eq!((all.len(), samples), (20, 30));
    // What is fixed does not make a flush due.
    let bytes = Metrics::bytes(snapshot.memories.last().unwrap());
    assert!(
        bytes.fixed > 20 * 40 && bytes.fixed < bytes.all,
        "{bytes:?}"
    );
}

#[test]
fn a_registry_of_idle_series_ends() {
    let engine = open();
    let (_, epoch) = store(&engine, labelled(20, 1));
    flush(&engine);
    store(&engine, numbered(17, 2, epoch));
    flush(&engine);
    // The numbers mean nothing any more: their sender must tell labels.
    let (taken, later) = store(&engine, numbered(17, 3, epoch));
    assert!(!taken && later != epoch);
    assert_eq!(store(&engine, labelled(17, 3)), (true, later));
    let snapshot = engine.snapshot(&Tenant::anonymous());
    assert_eq!(snapshot.memories.last().unwrap().series_count(), 17);
    assert_eq!(store(&engine, numbered(17, 4, later)), (true, later));
    assert_eq!(shown(&engine, 3).len(), 17);
}

#[test]
fn a_flush_keeps_nobody_from_writing() {
    let engine = open();
    let (_, epoch) = store(&engine, labelled(20, 1));
    let tenant = Tenant::anonymous();
    // A reader of the sealed memory holds what both memories share.
    let before = engine.snapshot(&tenant);
    flush(&engine);
    let reader = before.memories[0].read();
    assert_eq!(store(&engine, numbered(20, 2, epoch)), (true, epoch));
    assert_eq!(store(&engine, labelled(20, 3)), (true, epoch));
    drop(reader);
    assert_eq!(shown(&engine, 2).len(), 20);
}
