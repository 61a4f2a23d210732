//! The head: samples that are not in a part yet, of one tenant.
//!
//! One lock around all samples: the writer takes it once per record, so that a reader sees a record
//! whole or not at all; readers hold it while they find what they select, and read from then on what
//! was there at that moment ([`Frozen`]). Series that come together
//! share the times of a [`Group`]; what does not fit its rows is kept per series and merged at read
//! and flush. Which series there are is said by a [`Registry`] that memories share.
//! Invariants: where a row and a series' own samples have the same time, the row came first; the
//! registry is locked before the samples.
//! Sketch per series: labels 16 + ~200 bytes, index ~10 × labels, journal dictionary 16, open rows
//! at most 128, closed rows 1 to 2 a sample.

mod group;
mod index;
mod registry;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Deref;
use std::sync::Arc;

use obs_model::metrics::{Exemplar, Metadata, MetricBatch};
use obs_model::time::{NANOS_PER_DAY, NANOS_PER_MILLI};
use obs_model::{Labels, TimeRange, Timestamp};
use obs_storage::Corrupt;
use parking_lot::{RwLock, RwLockReadGuard, RwLockUpgradableReadGuard, RwLockWriteGuard};
use roaring::RoaringBitmap;

use crate::column::{Column, MilliRange, NO_START};
use crate::histograms;
use crate::postings::Index;
use crate::record::{self, Dictionary, Entries};
use group::{Group, fits_row};
pub(crate) use registry::Registry;

/// Exemplars that are kept of one series, the newest; as many as a graph can show.
pub(crate) const EXEMPLARS_MAX: usize = 128;
/// Fewer series that come together are not worth a group.
const GROUP_SERIES_MIN: usize = 8;
/// No group.
const NONE: u32 = u32::MAX;

/// A registry is given up when fewer of its series, in percent, had samples in the last memory.
const LIVE_PERCENT_MIN: usize = 90;

/// Memory of metrics: everything that was written since the last flush.
#[derive(Debug, Default)]
pub struct Memory {
    registry: Arc<RwLock<Registry>>,
    head: RwLock<Head>,
}

impl Memory {
    /// The memory after a sealed one. It knows the same series by the same numbers, unless too
    /// many of them had no samples lately.
    pub(crate) fn follow(&self) -> Self {
        let head = self.read();
        let live = head.series.iter().filter(|slot| slot.is_live()).count();
        if 100 * live < LIVE_PERCENT_MIN * head.registry.len() {
            return Self {
                registry: Arc::new(RwLock::new(Registry::after(&self.registry))),
                head: RwLock::default(),
            };
        }
        Self {
            registry: Arc::clone(&self.registry),
            head: RwLock::default(),
        }
    }

    /// Whether two memories know series by the same numbers.
    pub(crate) fn shares(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.registry, &other.registry)
    }

    /// Number of series that it knows.
    pub fn series_count(&self) -> usize {
        self.registry.read_recursive().len()
    }

    /// Number of them that the memory before it, if that is still there, does not know.
    pub(crate) fn added_count(&self) -> usize {
        let registry = self.registry.read_recursive();
        registry.len() - registry.repeated
    }

    /// Whether this memory has the series.
    pub(crate) fn knows(&self, labels: &Labels) -> bool {
        self.registry.read_recursive().find(labels).is_some()
    }

    /// The registry, for a reader who may have others locked.
    pub(crate) fn registry(&self) -> RwLockReadGuard<'_, Registry> {
        self.registry.read_recursive()
    }

    /// The registry, to add series; lock it before the samples. Only one at a time has it so, but
    /// readers have it meanwhile, and wait only while a series is new.
    pub(crate) fn registry_mut(&self) -> RegistryWriter<'_> {
        RegistryWriter(self.registry.upgradable_read())
    }

    /// The samples alone, of a memory that takes no more of them: whoever has these may lock the
    /// registry.
    pub(crate) fn sealed(&self) -> RwLockReadGuard<'_, Head> {
        self.head.read()
    }

    pub(crate) fn read(&self) -> HeadReader<'_> {
        // Registries are shared: whoever holds one must not wait behind a writer for it again.
        let registry = self.registry.read_recursive();
        HeadReader {
            registry,
            head: self.head.read(),
        }
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Head> {
        self.head.write()
    }

    /// Bytes of it all, and of those the ones that a flush does not give back.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        let registry = self.registry.read_recursive().bytes();
        let head = self.head.read();
        let fixed = registry + head.fixed_bytes();
        (fixed + head.data_bytes(), fixed)
    }

    /// Puts a batch into a memory that has no journal; its samples have labels.
    pub fn insert(&self, batch: MetricBatch) {
        let mut registry = self.registry_mut();
        let mut entries = Entries::default();
        for series in batch.series {
            entries.add_series(&mut registry, series);
        }
        entries.metadata = batch.metadata;
        let mut head = self.head.write();
        head.make_room(registry.len());
        head.apply(&entries);
    }

    pub(crate) fn apply(&self, segment: u64, bytes: &[u8]) -> Result<(), Corrupt> {
        let mut registry = self.registry_mut();
        registry.enter(segment);
        let mut head = self.head.write();
        head.enter(segment);
        let mut dictionary = std::mem::take(&mut head.dictionary);
        let mut find = |labels| registry.find_or_add(labels);
        let entries = record::decode(bytes, &mut dictionary, &mut find);
        head.dictionary = dictionary;
        head.make_room(registry.len());
        head.apply(&entries?);
        Ok(())
    }
}

/// A registry that series may be added to.
#[derive(Debug)]
pub(crate) struct RegistryWriter<'a>(RwLockUpgradableReadGuard<'a, Registry>);

impl Deref for RegistryWriter<'_> {
    type Target = Registry;

    fn deref(&self) -> &Registry {
        &self.0
    }
}

impl RegistryWriter<'_> {
    /// The number of a series; readers are waited for where it is new.
    pub(crate) fn find_or_add(&mut self, labels: Labels) -> u32 {
        match self.find(&labels) {
            Some(id) => id,
            None => {
                // Nobody adds to a registry that was given up, so it is not waited for.
                let earlier = self.0.earlier.upgrade();
                let repeated = earlier.is_some_and(|e| e.read_recursive().find(&labels).is_some());
                self.0.with_upgraded(|registry| {
                    registry.repeated += usize::from(repeated);
                    registry.add(labels)
                })
            }
        }
    }

    /// Goes on in a journal segment.
    pub(crate) fn enter(&mut self, segment: u64) {
        if self.epoch == 0 {
            self.0.with_upgraded(|registry| registry.epoch = segment);
        }
    }
}

/// Memory as a reader sees it: nothing changes as long as this is held.
#[derive(Debug)]
pub(crate) struct HeadReader<'a> {
    pub(crate) registry: RwLockReadGuard<'a, Registry>,
    head: RwLockReadGuard<'a, Head>,
}

impl Deref for HeadReader<'_> {
    type Target = Head;

    fn deref(&self) -> &Head {
        &self.head
    }
}

impl HeadReader<'_> {
    /// The labels of a series.
    pub(crate) fn labels(&self, id: u32) -> &Labels {
        self.registry.labels(id)
    }

    /// The series that have something here, where the registry knows more than those.
    pub(crate) fn live(&self) -> Option<RoaringBitmap> {
        if self.series.len() == self.registry.len() && self.series.iter().all(Slot::is_live) {
            return None;
        }
        let live = |(id, slot): (usize, &Slot)| slot.is_live().then_some(id as u32);
        Some(self.series.iter().enumerate().filter_map(live).collect())
    }
}

/// One series in memory.
#[derive(Debug)]
struct Slot {
    /// Its group and column there.
    group: u32,
    column: u32,
    /// What is not in rows.
    own: Option<Arc<Own>>,
}

impl Slot {
    const EMPTY: Self = Self {
        group: NONE,
        column: 0,
        own: None,
    };

    fn is_live(&self) -> bool {
        self.group != NONE || self.own.is_some()
    }

    fn read(
        &self,
        group: Option<&Group>,
        own: Option<&Own>,
        range: MilliRange,
        column: &mut Column,
    ) -> Result<(), Corrupt> {
        column.clear();
        if let Some(group) = group {
            group.read(self.column as usize, range, column)?;
        }
        if let Some(own) = own {
            let (from, to) = range.find(&own.column.times);
            if from < to {
                column.merge_later(&own.column.slice(from, to));
            }
        }
        Ok(())
    }
}

/// What a series has for itself; copied once where a reader holds it.
#[derive(Clone, Debug, Default)]
struct Own {
    column: Column,
    /// Ascending by time.
    exemplars: Vec<Exemplar>,
}

/// Samples of some series as they were at one moment, whatever comes later.
#[derive(Debug, Default)]
pub(crate) struct Frozen {
    groups: HashMap<u32, Group>,
    own: HashMap<u32, Arc<Own>>,
}

/// What the lock of the samples guards.
#[derive(Debug, Default)]
pub(crate) struct Head {
    /// By the registry's numbers; the registry may have more.
    series: Vec<Slot>,
    groups: Vec<Group>,
    pub(crate) metadata: BTreeMap<String, Metadata>,
    pub(crate) dictionary: Dictionary,
    /// When metadata was last received.
    received: Option<i64>,
    range: Option<MilliRange>,
    /// Days (UTC) that have a sample or exemplar.
    days: BTreeSet<i64>,
    /// Bytes of metadata and of what series have for themselves.
    own_bytes: usize,
    group_bytes: usize,
    pub(crate) samples: u64,
}

impl Head {
    /// Goes on in a journal segment.
    pub(crate) fn enter(&mut self, segment: u64) {
        self.dictionary.enter(segment);
    }

    /// Makes room for so many series.
    pub(crate) fn make_room(&mut self, series: usize) {
        if self.series.len() < series {
            self.series.resize_with(series, || Slot::EMPTY);
        }
    }

    fn slot(&self, id: u32) -> &Slot {
        self.series.get(id as usize).unwrap_or(&Slot::EMPTY)
    }

    /// Puts entries into memory; every series in them is one of memory's.
    pub(crate) fn apply(&mut self, entries: &Entries) {
        let ends = entries.breaks.iter().copied().chain([entries.times.len()]);
        let mut from = 0;
        for end in ends {
            // Runs of one time: what one scrape brought, or what is left of it.
            for run in entries.times[from..end].chunk_by(|a, b| a == b) {
                let to = from + run.len();
                self.cover(run[0], run[0]);
                self.add_run(&entries.series[from..to], run[0], &entries.values[from..to]);
                from = to;
            }
        }
        self.samples += entries.times.len() as u64;
        for (id, column) in &entries.others {
            self.samples += column.len() as u64;
            self.add_column(*id, column);
        }
        for (id, exemplar) in &entries.exemplars {
            self.add_exemplar(*id, exemplar);
        }
        if !entries.metadata.is_empty() {
            self.received = self.received.max(Some(entries.received));
        }
        for metadata in &entries.metadata {
            let size = |m: &Metadata| 2 * m.family.len() + m.unit.len() + m.help.len() + 128;
            let family = metadata.family.clone();
            let old = self.metadata.insert(family, metadata.clone());
            // What is replaced may have been shorter.
            let before = old.as_ref().map_or(0, size);
            self.own_bytes = (self.own_bytes + size(metadata)).saturating_sub(before);
        }
    }

    /// Adds samples of one time.
    fn add_run(&mut self, ids: &[u32], time: i64, values: &[f64]) {
        let home = self.slot(ids[0]).group;
        if home == NONE {
            return self.add_new_group(ids, time, values);
        }
        let group = &mut self.groups[home as usize];
        let rows = group.takes(time) && values.iter().all(|v| fits_row(*v));
        if rows && *group.series == ids {
            let before = group.bytes();
            group.push_row(time, values);
            self.group_bytes = self.group_bytes + group.bytes() - before;
            return;
        }
        if self.add_scattered(home, ids, time, values) {
            return;
        }
        for (id, value) in ids.iter().zip(values) {
            self.add_own(*id, time, *value);
        }
    }

    /// Makes a group of series that were not seen in another one.
    fn add_new_group(&mut self, ids: &[u32], time: i64, values: &[f64]) {
        let number = self.groups.len() as u32;
        let mut members = Vec::with_capacity(ids.len());
        let mut cells = Vec::with_capacity(ids.len());
        let mut left = Vec::new();
        for (id, value) in ids.iter().zip(values) {
            let series = &mut self.series[*id as usize];
            let free = series.group == NONE && series.own.is_none() && fits_row(*value);
            if ids.len() >= GROUP_SERIES_MIN && free {
                (series.group, series.column) = (number, members.len() as u32);
                members.push(*id);
                cells.push(*value);
            } else {
                left.push((*id, *value));
            }
        }
        if !members.is_empty() {
            let mut group = Group::new(members);
            group.push_row(time, &cells);
            self.group_bytes += group.bytes();
            self.groups.push(group);
        }
        for (id, value) in left {
            self.add_own(id, time, value);
        }
    }

    /// Adds samples as a row of a group whose series are mostly the same, or as more of its newest
    /// row; `false` when they are not.
    fn add_scattered(&mut self, home: u32, ids: &[u32], time: i64, values: &[f64]) -> bool {
        let series = |id: &u32| self.slot(*id);
        let members = ids.iter().filter(|id| series(id).group == home).count();
        let group = &self.groups[home as usize];
        let (begins, fills) = (group.takes(time), group.fills(time));
        let mostly = 4 * members >= 3 * ids.len() && (fills || 4 * members >= group.series.len());
        if !mostly || !(begins || fills) {
            return false;
        }
        let mut new: Vec<u32> = Vec::new();
        let width = group.series.len() as u32;
        for id in ids {
            let series = &mut self.series[*id as usize];
            if series.group == NONE && series.own.is_none() {
                (series.group, series.column) = (home, width + new.len() as u32);
                new.push(*id);
            }
        }
        let group = &mut self.groups[home as usize];
        let before = group.bytes();
        if begins {
            group.push_absent(time);
        }
        if !new.is_empty() {
            group.widen(&new);
        }
        self.group_bytes = self.group_bytes + group.bytes() - before;
        for (id, value) in ids.iter().zip(values) {
            let series = &self.series[*id as usize];
            let group = &mut self.groups[home as usize];
            let column = series.column as usize;
            let fits = series.group == home && fits_row(*value);
            if !(fits && group.fill(column, *value)) {
                self.add_own(*id, time, *value);
            }
        }
        true
    }

    fn add_own(&mut self, id: u32, time: i64, value: f64) {
        self.change_own(id, time, |own| {
            let last = own.column.times.last();
            if last.is_none_or(|last| *last < time) {
                own.column.push(time, Ok(value), NO_START);
            } else {
                let mut later = Column::default();
                later.push(time, Ok(value), NO_START);
                own.column.merge_later(&later);
            }
        });
    }

    fn add_column(&mut self, id: u32, column: &Column) {
        let (Some(min), Some(max)) = (column.times.iter().min(), column.times.iter().max()) else {
            return;
        };
        self.cover(*min, *max);
        if day_of(*min) < day_of(*max) {
            self.days.extend(column.times.iter().map(|t| day_of(*t)));
        }
        let sorted = column.sorted(0, column.len());
        self.change_own(id, *max, |own| own.column.merge_later(&sorted));
        let histograms = column.histograms.iter();
        self.own_bytes += histograms.map(|(_, h)| histograms::bytes(h)).sum::<usize>();
    }

    fn add_exemplar(&mut self, id: u32, exemplar: &Exemplar) {
        let time = exemplar.time.millis();
        self.cover(time, time);
        let size = exemplar.labels.packed().len() + size_of::<Exemplar>();
        let series = &mut self.series[id as usize];
        let own = Arc::make_mut(series.own.get_or_insert_default());
        if push_exemplar(&mut own.exemplars, exemplar) {
            self.own_bytes += size;
        }
    }

    /// Changes a series' own samples, whose newest is then at least `time`.
    fn change_own(&mut self, id: u32, time: i64, change: impl FnOnce(&mut Own)) {
        let series = &mut self.series[id as usize];
        if let Some(group) = self.groups.get_mut(series.group as usize) {
            group.irregular = group.irregular.max(time);
        }
        if series.own.is_none() {
            self.own_bytes += size_of::<Own>() + 32;
        }
        let own = Arc::make_mut(series.own.get_or_insert_default());
        let before = own.column.bytes();
        change(own);
        self.own_bytes = (self.own_bytes + own.column.bytes()).saturating_sub(before);
    }

    fn cover(&mut self, min: i64, max: i64) {
        let range = MilliRange {
            start: min,
            end: max,
        };
        if self
            .range
            .is_some_and(|r| r.contains(min) && r.contains(max))
            && min == max
        {
            // Within what is covered the day may still be new.
            if self.days.contains(&day_of(min)) {
                return;
            }
        }
        self.range = Some(self.range.map_or(range, |r| r.union(range)));
        self.days.extend([day_of(min), day_of(max)]);
    }

    /// Estimate of the resident bytes that a flush gives back.
    fn data_bytes(&self) -> usize {
        self.own_bytes + self.group_bytes
    }

    /// Estimate of the bytes that each series takes, whatever its samples.
    fn fixed_bytes(&self) -> usize {
        size_of::<Slot>() * self.series.capacity() + self.dictionary.bytes()
    }

    /// The samples of a series inside a range, ascending.
    pub(crate) fn column(&self, id: u32, range: MilliRange) -> Result<Column, Corrupt> {
        let mut column = Column::default();
        self.read_column(id, range, &mut column)?;
        Ok(column)
    }

    /// The same into a column that had other samples before.
    pub(crate) fn read_column(
        &self,
        id: u32,
        range: MilliRange,
        column: &mut Column,
    ) -> Result<(), Corrupt> {
        let series = self.slot(id);
        let group = self.groups.get(series.group as usize);
        series.read(group, series.own.as_deref(), range, column)
    }

    /// Holds the samples of a series as they are now; gives the bytes that this takes.
    pub(crate) fn freeze(&self, id: u32, frozen: &mut Frozen) -> usize {
        let mut bytes = 0;
        let series = self.slot(id);
        if let Some(group) = self.groups.get(series.group as usize) {
            frozen.groups.entry(series.group).or_insert_with(|| {
                bytes += group.clone_bytes();
                group.clone()
            });
        }
        if let Some(own) = &series.own {
            bytes += 32;
            frozen.own.insert(id, Arc::clone(own));
        }
        bytes
    }

    /// The samples of a series inside a range as they were when they were frozen.
    pub(crate) fn read_frozen(
        &self,
        frozen: &Frozen,
        id: u32,
        range: MilliRange,
        column: &mut Column,
    ) -> Result<(), Corrupt> {
        // A series keeps its group and column once it has them; the frozen group knows whether it
        // had them then.
        let series = self.slot(id);
        let group = frozen.groups.get(&series.group);
        let own = frozen.own.get(&id).map(Arc::as_ref);
        series.read(group, own, range, column)
    }

    /// How many samples a series can have inside a range.
    pub(crate) fn samples_at_most(&self, id: u32, range: MilliRange) -> usize {
        let series = self.slot(id);
        let own = series.own.as_ref().map_or(0, |own| {
            let (from, to) = range.find(&own.column.times);
            to - from
        });
        let group = self.groups.get(series.group as usize);
        own + group.map_or(0, |group| group.rows_in(range))
    }

    /// Whether a series has samples inside a range.
    pub(crate) fn has_samples(&self, id: u32, range: MilliRange) -> Result<bool, Corrupt> {
        let series = self.slot(id);
        if let Some(own) = &series.own {
            let (from, to) = range.find(&own.column.times);
            if from < to {
                return Ok(true);
            }
        }
        match self.groups.get(series.group as usize) {
            Some(group) => group.has(series.column as usize, range),
            None => Ok(false),
        }
    }

    /// The exemplars of a series, ascending by time.
    pub(crate) fn exemplars(&self, id: u32) -> &[Exemplar] {
        let own = self.slot(id).own.as_ref();
        own.map_or(&[], |own| &own.exemplars)
    }

    /// Where metadata stands that has no samples around it: when it was received.
    pub(crate) fn lone_metadata(&self) -> Option<MilliRange> {
        let at = self.received.unwrap_or(0);
        let lone = self.range.is_none() && !self.metadata.is_empty();
        lone.then_some(MilliRange { start: at, end: at })
    }

    /// The smallest range that holds every sample and exemplar, or metadata without them.
    pub(crate) fn time_range(&self) -> Option<TimeRange> {
        let range = self.range.or_else(|| self.lone_metadata());
        range.map(MilliRange::nanos)
    }

    /// The days (UTC, since the epoch) that have rows.
    pub(crate) fn days(&self) -> BTreeSet<i64> {
        let lone = self.lone_metadata();
        let lone = lone.map(|at| day_of(at.start));
        self.days.iter().copied().chain(lone).collect()
    }

    /// The earliest sample or exemplar at or after a time, or metadata without them.
    pub(crate) fn first_row(&self, from: Timestamp) -> Option<Timestamp> {
        if let Some(at) = self.lone_metadata() {
            let at = Timestamp::from_millis(at.start);
            return (at >= from).then_some(at);
        }
        let range = MilliRange::of(TimeRange::new(from, Timestamp::MAX));
        let own = self.series.iter().filter_map(|s| s.own.as_ref());
        let own = own.filter_map(|own| {
            let (at, _) = range.find(&own.column.times);
            let sample = own.column.times.get(at).copied();
            let mut exemplars = own.exemplars.iter().map(|e| e.time.millis());
            let exemplar = exemplars.find(|t| range.contains(*t));
            sample.into_iter().chain(exemplar).min()
        });
        let rows = self.groups.iter().filter_map(|g| g.first_row(range));
        let first = own.chain(rows).min()?;
        Some(Timestamp::from_millis(first))
    }
}

/// The day of a millisecond, since the epoch.
fn day_of(millis: i64) -> i64 {
    millis.div_euclid(NANOS_PER_DAY / NANOS_PER_MILLI)
}

/// Puts an exemplar at its place in ascending time, unless it is there; keeps the newest
/// [`EXEMPLARS_MAX`]. Tells whether it is new.
pub(crate) fn push_exemplar(all: &mut Vec<Exemplar>, exemplar: &Exemplar) -> bool {
    let same = |other: &Exemplar| {
        other.time == exemplar.time
            && other.value.to_bits() == exemplar.value.to_bits()
            && other.labels == exemplar.labels
    };
    // Among equal times order of labels and value, so that arrival does not matter.
    let key = |e: &Exemplar| (e.time, e.labels.clone(), e.value.to_bits());
    if all.iter().any(same) {
        return false;
    }
    let at = all.partition_point(|other| key(other) < key(exemplar));
    all.insert(at, exemplar.clone());
    if all.len() > EXEMPLARS_MAX {
        all.remove(0);
    }
    true
}

impl Index for HeadReader<'_> {
    fn all(&self) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.registry.len() as u32);
        all
    }

    fn with_value(&self, name: &str, value: &str) -> Result<RoaringBitmap, Corrupt> {
        Ok(self.registry.index.with_value(name, value))
    }

    fn with_name(&self, name: &str) -> Result<RoaringBitmap, Corrupt> {
        Ok(self.registry.index.with_values(name, |_| true))
    }

    fn with_values(
        &self,
        name: &str,
        prefix: &str,
        accept: &dyn Fn(&str) -> bool,
    ) -> Result<RoaringBitmap, Corrupt> {
        let accept = |value: &str| value.starts_with(prefix) && accept(value);
        Ok(self.registry.index.with_values(name, accept))
    }

    fn names(&self) -> Vec<String> {
        self.registry.index.names()
    }

    fn values(&self, name: &str, each: &mut dyn FnMut(&str) -> bool) -> Result<(), Corrupt> {
        for value in self.registry.index.values(name) {
            if !each(value) {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrapes_of_one_time_and_commit_have_groups_of_their_own() {
        let memory = Memory::default();
        let mut head = memory.head.write();
        let label = |n: usize| Labels::from_pairs([("__name__", "up"), ("n", &n.to_string())]);
        let mut registry = memory.registry_mut();
        let ids: Vec<u32> = (0..40).map(|n| registry.find_or_add(label(n))).collect();
        head.make_room(registry.len());
        let entries = |ids: &[u32], time: i64, breaks: &[usize]| Entries {
            series: ids.to_vec(),
            times: vec![time; ids.len()],
            values: vec![1.0; ids.len()],
            breaks: breaks.to_vec(),
            ..Entries::default()
        };
        head.apply(&entries(&ids, 1, &[0, 10, 10, 30]));
        assert_eq!(head.groups.len(), 3);
        // Each goes on alone or with others, in any order.
        head.apply(&entries(&ids[10..30], 2, &[0]));
        let others = [&ids[30..], &ids[..10]].concat();
        head.apply(&entries(&others, 3, &[0, 10]));
        assert_eq!(head.groups.len(), 3);
        assert!(head.series.iter().all(|slot| slot.own.is_none()));
    }
}
