//! The life of tiers: made when a window is over, kept for longer than what they are made of.

use std::sync::Arc;

use obs_model::{Tenant, TimeRange, Timestamp};

use super::toy::{Remainder, Row, Toy, read, records};
use super::*;
use crate::plan::Tier;
use crate::sim::SimDisk;
use crate::{Retention, RetentionRule};

/// Windows of 1000, tiers of 100 and 500; rows are kept for 3000, tiers for 6000 and 9000.
fn options() -> Options {
    let tier = |resolution: i64, age: i64| Tier {
        resolution,
        age: Some(age),
    };
    Options {
        window: 1000,
        flush_age: 1,
        reserve_bytes: 0,
        tiers: vec![tier(100, 6000), tier(500, 9000)],
        tier_delay: 50,
        retention: Retention {
            age: Some(3000),
            bytes: None,
        },
        ..Options::default()
    }
}

struct World {
    disk: SimDisk,
    store: Option<Store<Toy>>,
}

impl World {
    fn new(options: Options) -> Self {
        let disk = SimDisk::new(1);
        let mut world = Self { disk, store: None };
        world.reopen(options);
        world
    }

    fn store(&self) -> &Store<Toy> {
        self.store.as_ref().unwrap()
    }

    fn reopen(&mut self, options: Options) {
        self.store = None;
        let store = Store::open(Arc::new(self.disk.clone()), options, &|_| {});
        self.store = Some(store.unwrap());
    }

    /// Rows `(number, time)`, flushed.
    fn write(&self, list: &[(u64, i64)]) {
        let row = |(number, at): &(u64, i64)| Row {
            number: *number,
            at: *at,
        };
        let list: Vec<Row> = list.iter().map(row).collect();
        let appended = records(&Tenant::anonymous(), &list, |records| {
            self.store().append(records)
        });
        appended.unwrap();
        self.store().run(Job::Flush).unwrap();
    }

    fn delete(&self, is: u8, start: i64, end: i64) {
        let selector = Remainder { of: 2, is }.bytes();
        let range = TimeRange::new(at(start), at(end));
        let deleted = self.store().delete(&Tenant::anonymous(), &selector, range);
        deleted.unwrap();
    }

    /// Does everything that is to be done at a time.
    fn upkeep(&self, now: i64) {
        let mut jobs = 0;
        while let Some(job) = self.store().next_job(at(now)) {
            self.store().run(job).unwrap();
            jobs += 1;
            assert!(jobs < 50, "upkeep does not end");
        }
    }

    /// Numbers of the rows of each part on the disk: tier, whether it is closed, rows.
    fn parts(&self) -> Vec<(i64, bool, Vec<u64>)> {
        let snapshot = self.store().snapshot(&Tenant::anonymous());
        let part = |index: usize| {
            let rows = read(&snapshot.parts[index].part).unwrap();
            let tag = snapshot.tag(index);
            let numbers = rows.iter().map(|row| row.number).collect();
            (tag.tier, tag.closed, numbers)
        };
        let mut parts: Vec<_> = (0..snapshot.parts.len()).map(part).collect();
        parts.sort();
        parts
    }
}

fn at(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

#[test]
fn tiers_are_made_outlive_their_rows_and_go() {
    let mut world = World::new(options());
    world.write(&[(1, 10), (2, 20), (3, 150), (4, 700)]);
    let rows = (0, false, vec![1, 2, 3, 4]);
    world.upkeep(1049);
    assert_eq!(world.parts(), std::slice::from_ref(&rows));
    world.upkeep(1051);
    let fine = |closed| (100, closed, vec![2, 3, 4]);
    let coarse = |closed| (500, closed, vec![3, 4]);
    let all = [rows, fine(false), coarse(false)];
    assert_eq!(world.parts(), all);
    world.reopen(options());
    world.upkeep(3999);
    assert_eq!(world.parts(), all);
    // Whole windows go.
    world.upkeep(4000);
    assert_eq!(world.parts(), [fine(true), coarse(true)]);
    world.reopen(options());
    world.upkeep(6999);
    assert_eq!(world.parts(), [fine(true), coarse(true)]);
    world.upkeep(7000);
    assert_eq!(world.parts(), [coarse(true)]);
    world.upkeep(10_000);
    assert_eq!(world.parts(), []);
    let left = world.disk.paths();
    assert!(!left.iter().any(|p| p.contains("/parts/")), "{left:?}");
}

#[test]
fn what_comes_late_is_in_the_tier_as_long_as_it_can_be_made() {
    let world = World::new(options());
    world.write(&[(1, 10), (2, 700)]);
    world.upkeep(2000);
    world.write(&[(3, 20)]);
    world.upkeep(2000);
    let tiers = |parts: Vec<(i64, bool, Vec<u64>)>| -> Vec<_> {
        parts.into_iter().filter(|part| part.0 != 0).collect()
    };
    let made = [(100, false, vec![3, 2]), (500, false, vec![3, 2])];
    assert_eq!(tiers(world.parts()), made);
    // A merge of what it was made of changes nothing.
    world
        .store()
        .run(world.store().forced(Force::Merge).unwrap())
        .unwrap();
    assert_eq!(world.store().next_job(at(2000)), None);
    // The window is gone; what comes now goes too, and the tier is not made of it alone.
    world.upkeep(4100);
    world.write(&[(4, 30)]);
    world.upkeep(4100);
    let closed = made.map(|(tier, _, rows)| (tier, true, rows));
    assert_eq!(world.parts(), closed);
}

#[test]
fn rows_that_have_no_tier_yet_wait_for_it() {
    let world = World::new(options());
    world.write(&[(1, 10)]);
    world.upkeep(5000);
    assert_eq!(world.parts(), [(100, true, vec![1]), (500, true, vec![1])]);
}

#[test]
fn a_full_disk_does_not_keep_rows_for_their_tiers() {
    let world = World::new(options());
    world.write(&[(1, 10)]);
    world.disk.set_capacity(Some(world.disk.used() + 400));
    let job = world.store().next_job(at(5000)).unwrap();
    assert!(matches!(job, Job::Downsample { .. }), "{job:?}");
    let made = world.store().run(job);
    if made.is_err() {
        let job = world.store().next_job(at(5000)).unwrap();
        assert!(matches!(job, Job::Drop { .. }), "{job:?}");
    }
    world.disk.set_capacity(None);
    world.upkeep(5000);
    assert!(world.parts().iter().all(|part| part.0 != 0));
}

#[test]
fn deletions_take_from_tiers() {
    let world = World::new(options());
    world.write(&[(1, 10), (2, 20), (3, 150), (4, 700)]);
    world.upkeep(2000);
    world.delete(0, 0, 900);
    world.upkeep(2000);
    let fine = (100, false, vec![1, 3]);
    assert_eq!(
        world.parts(),
        [(0, false, vec![1, 3]), fine, (500, false, vec![3])]
    );
    assert_eq!(world.store().deletions(), 0);
    // Of closed tiers what is deleted is merged out.
    world.upkeep(4100);
    world.delete(1, 100, 900);
    world.upkeep(4100);
    assert_eq!(world.parts(), [(100, true, vec![1])]);
    assert_eq!(world.store().deletions(), 0);
}

#[test]
fn rules_of_retention_hold_for_tiers() {
    let world = World::new(options());
    let rule = RetentionRule {
        selector: Remainder { of: 2, is: 0 }.bytes().to_vec(),
        age: 2000,
    };
    world.store().set_retention_rules(&[rule], at(0)).unwrap();
    world.write(&[(1, 10), (2, 20), (3, 150), (4, 700)]);
    world.upkeep(2000);
    assert_eq!(world.parts()[1].2, [2, 3, 4]);
    world.upkeep(3500);
    let fine = (100, false, vec![1, 3]);
    assert_eq!(
        world.parts(),
        [(0, false, vec![1, 3]), fine, (500, false, vec![3])]
    );
}

#[test]
fn a_tier_stands_for_rows_that_were_damaged() {
    let mut world = World::new(options());
    world.write(&[(1, 10), (2, 700)]);
    world.upkeep(2000);
    let path = "toy/parts/00000000000000000000.part";
    assert!(world.disk.flip(path, 64));
    world.reopen(options());
    assert_eq!(world.store().scrub().unwrap().len(), 1);
    let closed = [(100, true, vec![1, 2]), (500, true, vec![1, 2])];
    assert_eq!(world.parts(), closed);
    world.write(&[(3, 800)]);
    world.upkeep(2000);
    assert_eq!(world.parts()[1..], closed);
    world.reopen(options());
    assert_eq!(world.parts()[1..], closed);
    // The same when damage is found while opening.
    let mut world = World::new(options());
    world.write(&[(1, 10), (2, 700)]);
    world.upkeep(2000);
    let length = world.disk.blob(path).unwrap().len() as u64;
    assert!(world.disk.flip(path, 8 * (length - 1)));
    world.reopen(options());
    assert_eq!(world.parts(), closed);
}

#[test]
fn a_damaged_tier_is_made_again() {
    let mut world = World::new(options());
    world.write(&[(1, 10), (2, 700)]);
    world.upkeep(2000);
    assert!(world.disk.flip("toy/parts/00000000000000000001.part", 64));
    world.reopen(options());
    assert_eq!(world.store().scrub().unwrap().len(), 1);
    assert_eq!(world.parts().len(), 2);
    world.upkeep(2000);
    assert_eq!(world.parts().len(), 3);
    assert!(world.parts().iter().all(|part| !part.1));
}

#[test]
fn rows_go_by_size_before_tiers() {
    let world = World::new(Options {
        retention: Retention {
            age: None,
            bytes: Some(0),
        },
        ..options()
    });
    world.write(&[(1, 10)]);
    world.write(&[(2, 1010)]);
    world.upkeep(2500);
    // The newest rows stay, and what can be made of them again.
    let fine = (100, false, vec![2]);
    assert_eq!(
        world.parts(),
        [(0, false, vec![2]), fine, (500, false, vec![2])]
    );
    let world = World::new(Options {
        retention: Retention {
            age: None,
            bytes: Some(600),
        },
        ..options()
    });
    world.write(&[(1, 10)]);
    world.write(&[(2, 1010)]);
    world.upkeep(2500);
    let closed: Vec<_> = world.parts().into_iter().filter(|part| part.1).collect();
    assert_eq!(closed, [(100, true, vec![1]), (500, true, vec![1])]);
}

#[test]
fn copies_have_tiers() {
    let world = World::new(options());
    world.write(&[(1, 10), (2, 700)]);
    world.upkeep(2000);
    let paths = world.disk.paths().len();
    world.store().snapshot_to("copy").unwrap();
    let copied = world.disk.paths().len() - paths;
    assert_eq!(copied, 4, "three parts and an edit");
}
