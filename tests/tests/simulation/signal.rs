//! What the simulation writes: rows. A row is a place in time, a member of its group and a variant;
//! everything that a store is given follows from it, so that what is found can be compared whole.
//!
//! Invariant: two rows of one tenant and signal have the same identity only when they differ in
//! nothing but the variant, and then only where the signal says [`Signal::FIRST_WINS`].

use obs_model::limits::Limits;
use obs_model::{Budget, Tenant, TimeRange, Timestamp};
use obs_storage::{AppendError, Corrupt, DeleteError, Kind, Record, Snapshot, Store};

/// Groups of rows get their number in the time of the group, in milliseconds: every group has a
/// time of its own, wherever in time it lies.
pub(crate) const SLOT: i64 = 100_000;
/// Milliseconds of a retention window.
pub(crate) const WINDOW: i64 = 4 * SLOT;
/// Rows of a group.
pub(crate) const MEMBERS: u8 = 8;
/// Whose rows.
pub(crate) const TENANTS: [&str; 3] = ["anonymous", "team-a", "team-b"];

/// Something that is written and must be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    /// Index in [`TENANTS`].
    pub(crate) tenant: u8,
    /// Milliseconds; tells the group too.
    pub(crate) at: i64,
    /// Which row of the group.
    pub(crate) member: u8,
    /// 0, or 1 for other content under the same identity.
    pub(crate) variant: u8,
}

impl Row {
    /// The number of the group.
    pub(crate) fn group(self) -> i64 {
        self.at.rem_euclid(SLOT)
    }

    /// Whether it is one of some members, a bit each.
    pub(crate) fn is_of(self, members: u8) -> bool {
        members >> self.member & 1 == 1
    }

    /// A number that no other row of the signal has, small enough for a float.
    pub(crate) fn tag(self) -> i64 {
        let inner = i64::from(self.tenant) * 2 + i64::from(self.variant);
        (self.group() * i64::from(MEMBERS) + i64::from(self.member)) * 8 + inner
    }

    /// The row that a tag names, if the group is at `at`.
    pub(crate) fn of_tag(tag: i64, at: i64) -> Self {
        let (inner, outer) = (tag.rem_euclid(8), tag.div_euclid(8));
        let row = Self {
            tenant: (inner / 2) as u8,
            at,
            member: outer.rem_euclid(i64::from(MEMBERS)) as u8,
            variant: (inner % 2) as u8,
        };
        assert_eq!(row.tag(), tag, "a record whose time is not that of its tag");
        row
    }
}

/// Which rows retention keeps.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// The first time, by tenant.
    pub(crate) first: Vec<Timestamp>,
    /// Members whose rows are kept for a shorter time, and the first one.
    pub(crate) short: Option<(u8, Timestamp)>,
}

impl Kept {
    /// Whether a rule hides a row.
    pub(crate) fn hides<S: Signal>(&self, row: Row) -> bool {
        self.short
            .is_some_and(|(members, first)| row.is_of(members) && S::time(row) < first)
    }

    /// Whether a row must stay.
    pub(crate) fn keeps<S: Signal>(&self, row: Row) -> bool {
        S::time(row) >= self.first[usize::from(row.tenant)] && !self.hides::<S>(row)
    }
}

/// What a reader finds.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// In the order in which the store gave them.
    pub(crate) rows: Vec<Row>,
    /// Of metrics: the rows whose exemplars were found.
    pub(crate) exemplars: Vec<Row>,
}

/// A signal as the simulation sees it.
pub(crate) trait Signal: Kind + Sized {
    /// Whether a record with the identity of an earlier one is dropped; otherwise the content is
    /// part of the identity.
    const FIRST_WINS: bool;
    /// Whether a write may lean on earlier ones of its journal segment, so that damage to one takes
    /// those with it.
    const LEANS: bool = false;
    /// Where a row lies in time.
    fn time(row: Row) -> Timestamp;

    /// What rows share that come back in order of arrival when their times are equal.
    fn stream(row: Row) -> Option<u8>;

    /// Rows of one tenant as one record for the journal, the way the server makes it, with so
    /// many rows among them that must be refused; and how many were. Nothing is written to `out`
    /// when nothing is left.
    fn encode(
        store: &Store<Self>,
        tenant: &Tenant,
        rows: &[Row],
        bad: usize,
        out: &mut Vec<u8>,
    ) -> u64;

    /// Writes rows of some tenants, each at most once, as one group commit, the way the server does,
    /// with so many rows among them that must be refused; tells how many were.
    fn append(
        store: &Store<Self>,
        writes: &[(Tenant, Vec<Row>, usize)],
    ) -> (u64, Result<(), AppendError>) {
        let mut refused = 0;
        let mut payloads = Vec::with_capacity(writes.len());
        for (tenant, rows, bad) in writes {
            let mut payload = Vec::new();
            refused += Self::encode(store, tenant, rows, *bad, &mut payload);
            if !payload.is_empty() {
                payloads.push((tenant, payload));
            }
        }
        let records = payloads.iter();
        let records: Vec<Record<'_>> = records
            .map(|(tenant, payload)| Record { tenant, payload })
            .collect();
        (refused, store.append(&records))
    }

    /// The selector of the rows of some members; `None` where rows are not deleted.
    fn selector_of(members: u8) -> Option<Vec<u8>> {
        let _ = members;
        None
    }

    /// Deletes the rows of some members inside a range; `None` where rows are not deleted.
    fn delete(
        store: &Store<Self>,
        tenant: &Tenant,
        members: u8,
        range: TimeRange,
    ) -> Option<Result<(), DeleteError>> {
        let selector = Self::selector_of(members)?;
        Some(store.delete(tenant, &selector, range))
    }

    /// Reads everything, in one of several ways, and checks every record whole. Fails only when a
    /// part is damaged.
    fn find(snapshot: &Snapshot<Self>, way: u64) -> Result<Found, Corrupt>;
}

/// What a query may spend; no simulated query comes near.
pub(crate) fn budget() -> Budget {
    Budget::new(&Limits::default())
}
