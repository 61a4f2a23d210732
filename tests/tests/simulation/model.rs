//! What must be found: the oracle of one store.

use std::collections::{BTreeMap, BTreeSet};

use obs_model::TimeRange;

use super::signal::{Found, Kept, Row, Signal};

/// What is known of an acknowledged row.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// The write that brought it.
    write: u64,
    /// Place in the order of arrival.
    arrival: u64,
    /// Retention or damage may have taken it: it is there once or not at all.
    loose: bool,
}

/// The rows of one store.
#[derive(Debug, Default)]
pub(crate) struct Model {
    known: BTreeMap<Row, Known>,
    /// Sent under the identity of a row that was there: never to be found.
    rivals: BTreeSet<Row>,
    /// Writes that failed when the disk did: whether they are there is known after a restart,
    /// but each of them is there as a whole or not at all.
    unsure: Vec<(u64, Vec<(Row, u64)>)>,
    /// Deletions that failed when the disk did: all of one is gone, or nothing of it.
    doubted: Vec<Vec<Row>>,
    /// Rows that certainly were not stored, for the sender to send again.
    again: Vec<Row>,
    writes: u64,
    arrivals: u64,
    /// Bits were flipped: rivals may have become the first of their identity.
    pub(crate) damaged: bool,
}

impl Model {
    /// Puts the rows of one write in order of arrival.
    pub(crate) fn arrive(&mut self, rows: &[Row]) -> Vec<(Row, u64)> {
        self.writes += 1;
        let mut arrive = |row: &Row| {
            self.arrivals += 1;
            (*row, self.arrivals)
        };
        rows.iter().map(&mut arrive).collect()
    }

    /// The write was acknowledged. `kept`: where retention begins, by tenant.
    pub(crate) fn acknowledge<S: Signal>(&mut self, rows: Vec<(Row, u64)>, kept: &Kept) {
        let write = self.writes;
        self.store::<S>(write, rows, kept);
    }

    fn store<S: Signal>(&mut self, write: u64, rows: Vec<(Row, u64)>, kept: &Kept) {
        for (row, arrival) in rows {
            let old = self.known.get(&row);
            let there = |k: &Known| !k.loose && kept.keeps::<S>(row);
            if self.rivals.contains(&row) || old.is_some_and(there) {
                continue;
            }
            let new = Known {
                write,
                arrival,
                loose: false,
            };
            self.known.insert(row, new);
        }
    }

    /// The write was certainly not stored.
    pub(crate) fn refuse(&mut self, rows: Vec<(Row, u64)>) {
        let rivals = &self.rivals;
        let rows = rows.into_iter().map(|(row, _)| row);
        self.again.extend(rows.filter(|row| !rivals.contains(row)));
    }

    /// Nobody knows whether the write was stored.
    pub(crate) fn doubt(&mut self, rows: Vec<(Row, u64)>) {
        self.unsure.push((self.writes, rows));
    }

    /// Rows of a tenant to send again because they were not stored.
    pub(crate) fn take_again(&mut self, tenant: u8) -> Vec<Row> {
        let (mine, others) = self.again.iter().partition(|row| row.tenant == tenant);
        self.again = others;
        mine
    }

    /// Up to eight rows of a tenant that were acknowledged and that nothing took away; `pick`
    /// chooses where they start.
    pub(crate) fn some_known(&self, tenant: u8, pick: u64) -> Vec<Row> {
        let mine = self.known.iter();
        let mine = mine.filter(|(row, known)| row.tenant == tenant && !known.loose);
        let mine: Vec<Row> = mine.map(|(row, _)| *row).collect();
        let start = (pick % mine.len().max(1) as u64) as usize;
        let end = (start + 8).min(mine.len());
        mine[start..end].to_vec()
    }

    /// The row will be sent although its identity is taken.
    pub(crate) fn expect_rival(&mut self, row: Row) {
        self.rivals.insert(row);
    }

    /// Retention takes parts of this range.
    pub(crate) fn loosen<S: Signal>(&mut self, tenant: u8, range: TimeRange) {
        for (row, known) in &mut self.known {
            known.loose |= row.tenant == tenant && range.contains(S::time(*row));
        }
    }

    /// Rows of a tenant were deleted, or, in doubt, may have been: that is known after a restart.
    /// Gives how many.
    pub(crate) fn delete<S: Signal>(
        &mut self,
        tenant: u8,
        members: u8,
        range: TimeRange,
        doubt: bool,
    ) -> usize {
        let taken =
            |row: &Row| row.tenant == tenant && row.is_of(members) && range.contains(S::time(*row));
        let before = self.known.len();
        if !doubt {
            self.known.retain(|row, _| !taken(row));
            return before - self.known.len();
        }
        let mut doubted = Vec::new();
        for (row, known) in &mut self.known {
            if taken(row) && !known.loose {
                known.loose = true;
                doubted.push(*row);
            }
        }
        self.doubted.push(doubted);
        0
    }

    /// What a restart shows of deletions that failed.
    fn settle_deletions<S: Signal>(&mut self, set: &BTreeSet<Row>, kept: &Kept) {
        for rows in std::mem::take(&mut self.doubted) {
            let there = rows.iter().filter(|row| set.contains(row)).count();
            let wanted = rows.iter().filter(|row| kept.keeps::<S>(**row)).count();
            let whole = there == 0 || there >= wanted || self.damaged;
            assert!(whole, "{}: half of a deletion is there", S::NAME);
            for row in rows {
                if there == 0 && !self.damaged {
                    self.known.remove(&row);
                } else if let Some(known) = self.known.get_mut(&row) {
                    known.loose = self.damaged;
                }
            }
        }
    }

    /// The rows that must be there are there, each once, and nothing else. `reopened`: what was
    /// unsure shows itself now.
    pub(crate) fn check<S: Signal>(&mut self, found: &Found, kept: &Kept, reopened: bool) {
        let set: BTreeSet<Row> = found.rows.iter().copied().collect();
        if set.len() != found.rows.len() {
            let mut seen = BTreeSet::new();
            let twice = found.rows.iter().find(|row| !seen.insert(**row));
            panic!("{}: a record is found twice: {twice:?}", S::NAME);
        }
        let aged = set.iter().find(|row| kept.hides::<S>(**row));
        assert_eq!(aged, None, "{}: beyond its retention", S::NAME);
        if reopened {
            self.settle_deletions::<S>(&set, kept);
        }
        self.settle::<S>(&set, kept, reopened);
        let lost = self.lost::<S>(&set, kept);
        let lost = lost.iter().map(|(row, _)| row).next();
        assert_eq!(lost, None, "{}: an acknowledged record is lost", S::NAME);
        self.check_nothing_else::<S>(&set);
        if !self.damaged {
            let exemplars: BTreeSet<Row> = found.exemplars.iter().copied().collect();
            let wanted = set.iter().filter(|row| row.member == 0 && row.variant == 0);
            let wanted: BTreeSet<Row> = wanted.copied().collect();
            let same = S::NAME != "metrics" || exemplars == wanted;
            assert!(same, "exemplars {exemplars:?}\nof {wanted:?}");
            assert_eq!(exemplars.len(), found.exemplars.len(), "an exemplar twice");
        }
    }

    /// Rows that are no row of ours.
    pub(crate) fn check_nothing_else<S: Signal>(&self, set: &BTreeSet<Row>) {
        let ours = |row: &&Row| {
            self.known.contains_key(row) || (self.damaged && self.rivals.contains(row))
        };
        let extra = set.iter().find(|row| !ours(row));
        assert_eq!(extra, None, "{}: a record from nowhere", S::NAME);
    }

    fn settle<S: Signal>(&mut self, set: &BTreeSet<Row>, kept: &Kept, reopened: bool) {
        for (write, rows) in std::mem::take(&mut self.unsure) {
            let new = |row: &Row| !self.known.contains_key(row) && !self.rivals.contains(row);
            let new: BTreeSet<Row> = rows.iter().map(|(row, _)| *row).filter(new).collect();
            let there = new.intersection(set).count();
            let wanted = new.iter().filter(|row| !kept.hides::<S>(**row)).count();
            let whole = there == 0 || (reopened && there == wanted);
            assert!(whole, "{}: half of a write is there: {new:?}", S::NAME);
            if !reopened {
                self.unsure.push((write, rows));
            } else if there > 0 {
                self.store::<S>(write, rows, kept);
            } else {
                self.again.extend(new);
            }
        }
    }

    /// Acknowledged rows that must be there and are not, with their writes.
    pub(crate) fn lost<S: Signal>(&self, set: &BTreeSet<Row>, kept: &Kept) -> Vec<(Row, u64)> {
        let must = |(row, known): &(&Row, &Known)| {
            !known.loose && kept.keeps::<S>(**row) && !set.contains(row)
        };
        let lost = self.known.iter().filter(must);
        lost.map(|(row, known)| (*row, known.write)).collect()
    }

    /// Rows of one stream and time are in order of arrival. Only where nothing was taken away: a
    /// row that is gone and comes again arrives anew.
    pub(crate) fn check_order<S: Signal>(&self, found: &Found) {
        let mut last: BTreeMap<(u8, u8, i64), u64> = BTreeMap::new();
        for row in &found.rows {
            let (Some(stream), Some(known)) = (S::stream(*row), self.known.get(row)) else {
                continue;
            };
            let before = last.insert((row.tenant, stream, row.at), known.arrival);
            assert!(
                before < Some(known.arrival),
                "{}: {row:?} is out of order among equal times",
                S::NAME
            );
        }
    }

    /// Damage took these rows.
    pub(crate) fn forgive(&mut self, rows: impl IntoIterator<Item = Row>) {
        for row in rows {
            if let Some(known) = self.known.get_mut(&row) {
                known.loose = true;
            }
        }
        self.damaged = true;
    }

    /// Rows that were acknowledged.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}
