//! What to do next, decided from plain values: which memory to flush, which parts to merge, which
//! to drop. Nothing here touches a disk.
//!
//! Invariants: a merge takes parts of one tenant and one window that follow each other in the order
//! of arrival, so that the order of the merged parts is still the order of arrival; parts never
//! straddle a window, so that retention removes files and rewrites none.

use std::collections::{BTreeMap, BTreeSet};

use obs_model::time::{NANOS_PER_DAY, NANOS_PER_SECOND};
use obs_model::{Tenant, TimeRange, Timestamp};

use crate::manifest::PartEntry;

/// How long and how much of a tenant is kept. `None`: without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Nanoseconds after which a row may go.
    pub age: Option<i64>,
    /// Bytes of parts above which the oldest windows go; the newest part always stays.
    pub bytes: Option<u64>,
}

/// Rows that stand for many, made of parts whose window is over and kept for longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Nanoseconds that a row stands for; divides the window.
    pub resolution: i64,
    /// Nanoseconds after which a row may go; `None` keeps for ever.
    pub age: Option<i64>,
}

/// The settings of a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// Length of a window in nanoseconds, aligned to UTC; parts never straddle one. At least 1.
    pub window: i64,
    /// Memory is flushed when it holds that many bytes of rows, over all tenants; where what stays
    /// after a flush is large, half of that.
    pub flush_bytes: u64,
    /// Memory is flushed when its oldest record is that old, in nanoseconds.
    pub flush_age: i64,
    /// Writes are refused while memory, sealed memory included, holds that many bytes.
    pub memory_bytes_max: u64,
    /// A journal segment ends when it has that many bytes.
    pub journal_segment_bytes: u64,
    /// Memory is flushed when the journal has that many bytes: bounds the replay.
    pub journal_bytes_max: u64,
    /// Mixed into the journal's checksums; should be hard to guess, so that a record cannot pass
    /// for a journal frame when its surroundings are damaged.
    pub journal_salt: u32,
    /// Parts are merged when that many of similar size follow each other. At least 2.
    pub merge_parts: usize,
    /// A merge makes no part above that many bytes.
    pub part_bytes_max: u64,
    /// Bytes that are kept free for retention to work on a full disk; zero for none.
    pub reserve_bytes: u64,
    /// The tiers that are made, for signals that have any.
    pub tiers: Vec<Tier>,
    /// Tiers of a window are made that many nanoseconds after its end, when little comes late.
    pub tier_delay: i64,
    /// What is kept of tenants that are not in `tenants`.
    pub retention: Retention,
    /// What is kept of single tenants.
    pub tenants: BTreeMap<Tenant, Retention>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            window: NANOS_PER_DAY,
            flush_bytes: 32 << 20,
            flush_age: 3600 * NANOS_PER_SECOND,
            memory_bytes_max: 2 << 30,
            journal_segment_bytes: 64 << 20,
            journal_bytes_max: 512 << 20,
            journal_salt: 0,
            merge_parts: 4,
            part_bytes_max: 1 << 30,
            // Two copies of a manifest snapshot with thousands of parts.
            reserve_bytes: 512 << 10,
            tiers: Vec::new(),
            tier_delay: 2 * 3600 * NANOS_PER_SECOND,
            retention: Retention::default(),
            tenants: BTreeMap::new(),
        }
    }
}

impl Options {
    /// Whether memory with so many bytes, of which some are `fixed`, is to be flushed. A flush costs
    /// the same for each series, however few samples it has, so that many series wait for more; but
    /// never for so many that writes would have to wait for the flush.
    pub(crate) fn flush_is_due(&self, bytes: u64, fixed: u64) -> bool {
        let room = (self.memory_bytes_max / 2).saturating_sub(fixed);
        let enough = self.flush_bytes.max(fixed / 2);
        bytes.saturating_sub(fixed) >= enough.min(room).max(self.flush_bytes / 4)
    }

    /// What is kept of a tenant.
    pub fn retention_of(&self, tenant: &Tenant) -> Retention {
        self.tenants.get(tenant).copied().unwrap_or(self.retention)
    }

    /// The rows of a tenant that are still wanted at `now`.
    ///
    /// Where there are tiers these are whole windows, so that a tier stands for all or nothing of
    /// what a window has.
    pub fn kept(&self, tenant: &Tenant, now: Timestamp) -> TimeRange {
        let age = self.retention_of(tenant).age;
        let start = age.map_or(Timestamp::MIN, |age| now.saturating_sub(age));
        match self.tiers.is_empty() {
            true => TimeRange::new(start, Timestamp::MAX),
            false => TimeRange::new(self.window_of(start).start, Timestamp::MAX),
        }
    }

    /// The same of the rows of a tier. One that is no longer made is kept like what it is made of.
    pub(crate) fn kept_of(&self, tenant: &Tenant, tier: i64, now: Timestamp) -> TimeRange {
        let known = self.tiers.iter().find(|known| known.resolution == tier);
        let Some(known) = known.filter(|_| tier != 0) else {
            return self.kept(tenant, now);
        };
        let start = known
            .age
            .map_or(Timestamp::MIN, |age| now.saturating_sub(age));
        TimeRange::new(self.window_of(start).start, Timestamp::MAX)
    }

    /// The window that holds a point.
    pub fn window_of(&self, at: Timestamp) -> TimeRange {
        window_of(at, self.window)
    }
}

/// The window of some length that holds a point.
pub(crate) fn window_of(at: Timestamp, window: i64) -> TimeRange {
    let window = i128::from(window.max(1));
    let start = i128::from(at.nanos()).div_euclid(window) * window;
    let clamp = |nanos: i128| {
        let clamped = nanos.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        Timestamp::from_nanos(i64::try_from(clamped).expect("it was clamped"))
    };
    TimeRange::new(clamp(start), clamp(start + window - 1))
}

/// Something to do; a value, so that deciding and doing are separate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Turn memory into parts, then cut the journal.
    Flush,
    /// Turn several parts into one, or one into one without what is hidden in it.
    Merge {
        /// Whose.
        tenant: Tenant,
        /// Numbers of the parts, in order of arrival.
        parts: Vec<u64>,
        /// Rows outside are dropped on the way.
        keep: TimeRange,
    },
    /// Make the rows of a tier of all parts of a window, in place of those made before.
    Downsample {
        /// Whose.
        tenant: Tenant,
        /// Nanoseconds that a row stands for.
        tier: i64,
        /// Numbers of the parts, in order of arrival.
        parts: Vec<u64>,
    },
    /// Remove parts that retention does not keep.
    Drop {
        /// Whose.
        tenant: Tenant,
        /// Numbers of the parts.
        parts: Vec<u64>,
    },
}

impl Job {
    /// Whether both jobs need a part that the other one has.
    pub(crate) fn needs_any_of(&self, other: &Self) -> bool {
        other.parts().iter().any(|part| self.parts().contains(part))
    }

    fn parts(&self) -> &[u64] {
        match self {
            Self::Flush => &[],
            Self::Merge { parts, .. }
            | Self::Downsample { parts, .. }
            | Self::Drop { parts, .. } => parts,
        }
    }
}

/// What an administrator may ask for: call `forced` and `run` until there is no job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// Everything in memory becomes parts.
    Flush,
    /// As few parts as `part_bytes_max` allows, without what is deleted.
    Merge,
    /// What is deleted, or kept for a shorter time than the rest, goes from the disk.
    Clean,
}

/// Sizes below this are all the same size: merging them costs next to nothing.
const SMALL_PART_BYTES: u64 = 256 << 10;
/// The most inputs of one merge: bounds the memory that a merge holds open.
const MERGE_PARTS_MAX: usize = 32;

/// Parts that must go from a tenant by age, or else by size. `parts` are all parts of the tenant.
pub(crate) fn drops(
    options: &Options,
    tenant: &Tenant,
    parts: &[&PartEntry],
    now: Timestamp,
) -> Option<Job> {
    let retention = options.retention_of(tenant);
    let old = |p: &&&PartEntry| p.range.end < options.kept_of(tenant, p.tier, now).start;
    let mut going: BTreeSet<u64> = parts.iter().filter(old).map(|p| p.number).collect();
    if let Some(limit) = retention.bytes {
        // A tier that can be made again goes after what it is made of.
        let mut staying: Vec<_> = parts
            .iter()
            .filter(|p| !going.contains(&p.number) && (p.tier == 0 || p.closed))
            .collect();
        // Rows as they came go first: what stands for them takes little.
        staying.sort_by_key(|p| {
            let window = options.window_of(p.range.start).start;
            (p.tier != 0, window, p.range.end, p.order)
        });
        let newest = staying.iter().rposition(|p| p.tier == 0);
        newest.map(|newest| staying.remove(newest));
        let mut total: u64 = parts.iter().map(|p| p.bytes).sum();
        let gone = parts.iter().filter(|p| going.contains(&p.number));
        total -= gone.map(|p| p.bytes).sum::<u64>();
        for part in staying {
            if total <= limit {
                break;
            }
            total -= part.bytes;
            going.insert(part.number);
        }
    }
    let parts: Vec<u64> = going.into_iter().collect();
    let tenant = tenant.clone();
    (!parts.is_empty()).then_some(Job::Drop { tenant, parts })
}

/// The numbers of parts worth merging. `parts` are the parts of one tenant in order of arrival;
/// `skip` holds parts that could not be merged.
pub(crate) fn merges(
    options: &Options,
    parts: &[&PartEntry],
    skip: &BTreeSet<u64>,
    forced: bool,
) -> Option<Vec<u64>> {
    let closed = closed_until(options, parts);
    let mut windows: BTreeMap<(Timestamp, bool), Vec<&PartEntry>> = BTreeMap::new();
    for part in parts.iter().filter(|part| part.tier == 0) {
        let window = options.window_of(part.range.start).start;
        // What a closed tier stands for is not mixed with what it does not know.
        let late = closed.get(&window).is_some_and(|until| part.until > *until);
        windows.entry((window, late)).or_default().push(part);
    }
    // The newest window first: it is read most and written to most.
    windows.values().rev().find_map(|parts| {
        // A part that cannot be merged splits its neighbours, so that order is kept.
        let mut groups = parts.split(|p| skip.contains(&p.number));
        groups.find_map(|group| {
            if forced {
                first_fitting(options, group)
            } else {
                first_similar(options, group)
            }
        })
    })
}

/// Per window with a closed tier: the newest part that it was made of.
fn closed_until(options: &Options, parts: &[&PartEntry]) -> BTreeMap<Timestamp, u64> {
    let mut windows = BTreeMap::new();
    for part in parts.iter().filter(|part| part.tier != 0 && part.closed) {
        let until = windows.entry(options.window_of(part.range.start).start);
        let until: &mut u64 = until.or_default();
        *until = part.until.max(*until);
    }
    windows
}

/// The tier that is to be made next, the oldest window first. `parts` are the parts of one tenant in
/// order of arrival; `skip` holds parts of which none could be made.
pub(crate) fn downsample(
    options: &Options,
    tenant: &Tenant,
    parts: &[&PartEntry],
    skip: &BTreeSet<u64>,
    now: Timestamp,
) -> Option<Job> {
    let mut windows: BTreeMap<Timestamp, Vec<&PartEntry>> = BTreeMap::new();
    for part in parts {
        let window = options.window_of(part.range.start).start;
        windows.entry(window).or_default().push(part);
    }
    for (window, parts) in windows {
        let (rows, tiers): (Vec<&PartEntry>, Vec<&PartEntry>) =
            parts.into_iter().partition(|part| part.tier == 0);
        let end = options.window_of(window).end;
        let over = end.saturating_add(options.tier_delay) < now;
        let skipped = rows.iter().any(|part| skip.contains(&part.number));
        let closed = tiers.iter().any(|part| part.closed);
        let Some(newest) = rows.iter().map(|part| part.until).max() else {
            continue;
        };
        if !over || skipped || closed {
            continue;
        }
        let missing = options
            .tiers
            .iter()
            .map(|tier| tier.resolution)
            .find(|tier| {
                let mut made = tiers.iter().filter(|part| part.tier == *tier);
                end >= options.kept_of(tenant, *tier, now).start
                    && !made.any(|part| part.until >= newest)
            });
        if let Some(tier) = missing {
            let parts = rows.iter().map(|part| part.number).collect();
            let tenant = tenant.clone();
            return Some(Job::Downsample {
                tenant,
                tier,
                parts,
            });
        }
    }
    None
}

/// The first neighbours that fit into one part.
fn first_fitting(options: &Options, parts: &[&PartEntry]) -> Option<Vec<u64>> {
    let mut start = 0;
    while start + 1 < parts.len() {
        let group = fitting(options, &parts[start..]);
        if group.len() >= 2 {
            return Some(group);
        }
        start += 1;
    }
    None
}

/// As many parts from the front as fit into one.
fn fitting(options: &Options, parts: &[&PartEntry]) -> Vec<u64> {
    let mut total = 0u64;
    let fits = parts.iter().take(MERGE_PARTS_MAX).take_while(|part| {
        total = total.saturating_add(part.bytes);
        total <= options.part_bytes_max
    });
    fits.map(|p| p.number).collect()
}

/// Neighbours of similar size, the smallest first: sizes are compared by their logarithm, and a
/// run of parts of at most one level is merged when it is long enough. Each row is rewritten about
/// once per level.
fn first_similar(options: &Options, parts: &[&PartEntry]) -> Option<Vec<u64>> {
    let at_least = options.merge_parts.max(2);
    let level = |part: &PartEntry| {
        (part.bytes.max(SMALL_PART_BYTES) / SMALL_PART_BYTES).ilog(at_least as u64)
    };
    let levels: BTreeSet<u32> = parts.iter().map(|p| level(p)).collect();
    levels.iter().find_map(|highest| {
        let mut runs = parts.split(|p| level(p) > *highest);
        runs.find_map(|run| {
            let mut starts = 0..run.len();
            starts.find_map(|start| {
                let group = fitting(options, &run[start..]);
                (group.len() >= at_least).then_some(group)
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_is_due_by_what_it_gives_back() {
        let options = Options {
            flush_bytes: 100,
            memory_bytes_max: 1000,
            ..Options::default()
        };
        let check = |bytes, fixed, expect| {
            let due = options.flush_is_due(bytes, fixed);
            assert_eq!(due, expect, "{bytes} bytes, {fixed} fixed");
        };
        check(99, 0, false);
        check(100, 0, true);
        check(150, 60, false);
        check(160, 60, true);
        // Half of what is fixed.
        check(300 + 149, 300, false);
        check(300 + 150, 300, true);
        // No more than leaves room for writes meanwhile, and never next to nothing.
        check(400 + 99, 400, false);
        check(400 + 100, 400, true);
        check(800 + 24, 800, false);
        check(800 + 25, 800, true);
    }

    const DAY: i64 = NANOS_PER_DAY;

    /// `(day, kilobytes)` per part, in order of arrival; numbers are 0, 1, …
    fn entries(parts: &[(i64, u64)]) -> Vec<PartEntry> {
        let entry = |(number, (day, kilobytes)): (usize, &(i64, u64))| PartEntry {
            number: number as u64,
            order: number as u64,
            tenant: Tenant::anonymous(),
            rows: 1,
            bytes: kilobytes << 10,
            range: TimeRange::new(
                Timestamp::from_nanos(day * DAY + 1),
                Timestamp::from_nanos(day * DAY + 2),
            ),
            deletions_from: 0,
            tier: 0,
            until: number as u64,
            closed: false,
        };
        parts.iter().enumerate().map(entry).collect()
    }

    fn check_merge(parts: &[(i64, u64)], skip: &[u64], forced: bool, expect: Option<&[u64]>) {
        let options = Options {
            part_bytes_max: 10 << 20,
            ..Options::default()
        };
        let entries = entries(parts);
        let entries: Vec<_> = entries.iter().collect();
        let skip = skip.iter().copied().collect();
        let found = merges(&options, &entries, &skip, forced);
        assert_eq!(found.as_deref(), expect, "{parts:?}");
    }

    #[test]
    fn merges_take_neighbours_of_similar_size() {
        check_merge(&[(0, 1), (0, 1), (0, 1)], &[], false, None);
        check_merge(
            &[(0, 1), (0, 9), (0, 1), (0, 200)],
            &[],
            false,
            Some(&[0, 1, 2, 3]),
        );
        check_merge(&[(0, 1), (1, 1), (0, 1), (0, 1)], &[], false, None);
        check_merge(
            &[(0, 1), (1, 1), (0, 1), (0, 1), (0, 1)],
            &[],
            false,
            Some(&[0, 2, 3, 4]),
        );
        // A large part splits small ones, until there are enough behind it.
        let split = [(0, 1), (0, 1), (0, 4000), (0, 1), (0, 1)];
        check_merge(&split, &[], false, Some(&[0, 1, 2, 3, 4]));
        let split = [(0, 4000), (0, 1), (0, 1), (0, 1), (0, 1)];
        check_merge(&split, &[], false, Some(&[1, 2, 3, 4]));
        check_merge(&split, &[2], false, None);
        check_merge(&[(0, 6000); 8], &[], false, None);
    }

    #[test]
    fn forced_merges_end() {
        check_merge(&[(0, 1), (0, 1)], &[], true, Some(&[0, 1]));
        check_merge(&[(0, 1), (1, 1)], &[], true, None);
        check_merge(&[(0, 9000), (0, 6000), (0, 4000)], &[], true, Some(&[1, 2]));
        check_merge(&[(0, 9000), (0, 9000)], &[], true, None);
    }

    fn check_drop(parts: &[(i64, u64)], retention: Retention, expect: Option<&[u64]>) {
        let options = Options {
            retention,
            ..Options::default()
        };
        let entries = entries(parts);
        let entries: Vec<_> = entries.iter().collect();
        let now = Timestamp::from_nanos(10 * DAY);
        let tenant = Tenant::anonymous();
        let expect = expect.map(|parts| Job::Drop {
            tenant: tenant.clone(),
            parts: parts.to_vec(),
        });
        assert_eq!(drops(&options, &tenant, &entries, now), expect);
    }

    #[test]
    fn retention_by_age_and_by_size() {
        let by = |days: Option<i64>, kilobytes: Option<u64>| Retention {
            age: days.map(|d| d * DAY),
            bytes: kilobytes.map(|k| k << 10),
        };
        let parts = [(2, 10), (9, 10), (8, 10), (9, 10)];
        check_drop(&parts, by(None, None), None);
        check_drop(&parts, by(Some(7), None), Some(&[0]));
        check_drop(&parts, by(Some(8), None), None);
        check_drop(&parts, by(None, Some(30)), Some(&[0]));
        check_drop(&parts, by(Some(7), Some(20)), Some(&[0, 2]));
        check_drop(&parts, by(None, Some(0)), Some(&[0, 1, 2]));
    }

    #[test]
    fn windows_cover_all_of_time() {
        let options = Options::default();
        for nanos in [i64::MIN, -1, 0, 1, DAY - 1, DAY, i64::MAX] {
            let at = Timestamp::from_nanos(nanos);
            let window = options.window_of(at);
            assert!(window.contains(at), "{window:?}");
            assert_eq!(options.window_of(window.start), window);
            assert_eq!(options.window_of(window.end), window);
        }
    }
}
