//! The head: samples that are not in a part yet, of one tenant.
//!
//! One lock around everything: the writer takes it once per record, so that a reader sees a record
//! whole or not at all; readers hold it while they copy what they select. A record is checked
//! before anything of it is applied, so that a refused one changes nothing.
//! Sketch per series: labels ~150 bytes, columns 96 + 16 a sample, postings ~10 × labels.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Bound;
use std::sync::Arc;

use obs_model::metrics::{Exemplar, Metadata};
use obs_model::time::{NANOS_PER_DAY, NANOS_PER_MILLI};
use obs_model::{Labels, TimeRange, Timestamp};
use obs_storage::Corrupt;
use parking_lot::{RwLock, RwLockReadGuard};
use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_64;

use crate::column::{Column, MilliRange};
use crate::histograms;
use crate::postings::Index;
use crate::record::{self, Record};

/// Exemplars that are kept of one series, the newest; as many as a graph can show.
pub(crate) const EXEMPLARS_MAX: usize = 128;
/// What one entry of the postings costs beside its value: tree node, bitmap, container.
const POSTING_BYTES: usize = 96;

/// Memory of metrics: everything that was written since the last flush.
#[derive(Debug, Default)]
pub struct Memory {
    head: RwLock<Head>,
}

impl Memory {
    /// Number of series.
    pub fn series_count(&self) -> usize {
        self.head.read().series.len()
    }

    /// For each of the labels whether this memory has the series.
    pub(crate) fn knows(&self, labels: &Labels) -> bool {
        self.head
            .read()
            .find(labels.hash64(), labels.packed())
            .is_some()
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Head> {
        self.head.read()
    }

    pub(crate) fn apply(&self, bytes: &[u8]) -> Result<(), Corrupt> {
        let record = record::decode(bytes)?;
        self.head.write().apply(&record)
    }
}

/// One series in memory.
#[derive(Debug)]
pub(crate) struct HeadSeries {
    pub(crate) labels: Labels,
    pub(crate) column: Column,
    /// Ascending by time.
    pub(crate) exemplars: Vec<Exemplar>,
    /// The next series whose labels have the same hash.
    same_hash: Option<u32>,
}

/// What the lock guards.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) series: Vec<HeadSeries>,
    by_hash: HashMap<u64, u32, BuildHasherDefault<Hashed>>,
    postings: BTreeMap<Arc<str>, BTreeMap<Arc<str>, RoaringBitmap>>,
    pub(crate) metadata: BTreeMap<String, Metadata>,
    /// When metadata was last received, where that is known.
    received: Option<i64>,
    range: Option<MilliRange>,
    /// Days (UTC) that have a sample or exemplar.
    days: BTreeSet<i64>,
    pub(crate) bytes: usize,
}

/// The keys are hashes already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Head {
    fn find(&self, hash: u64, packed: &[u8]) -> Option<u32> {
        let mut next = self.by_hash.get(&hash).copied();
        while let Some(id) = next {
            let series = &self.series[id as usize];
            if series.labels.packed() == packed {
                return Some(id);
            }
            next = series.same_hash;
        }
        None
    }

    fn apply(&mut self, record: &Record) -> Result<(), Corrupt> {
        let mut found = Vec::with_capacity(record.ends.len());
        let mut start = 0;
        for (end, _) in &record.ends {
            let packed = &record.labels[start..*end];
            let known = self.find(xxh3_64(packed), packed);
            found.push(match known {
                Some(id) => Ok(id),
                // Only labels that were not seen yet can be malformed.
                None => Err(Labels::from_packed(packed).map_err(|e| {
                    Corrupt::new("labels of a metric record", start as u64, e.to_string())
                })?),
            });
            start = *end;
        }
        let new = found.iter().filter(|f| f.is_err()).count();
        if self.series.len() + new > u32::MAX as usize {
            return Err(Corrupt::new("metric record", 0, "fewer than 2^32 series"));
        }
        let mut ids = Vec::with_capacity(found.len());
        let mut from = 0;
        for (found, (_, to)) in found.into_iter().zip(&record.ends) {
            let id = found.unwrap_or_else(|labels| self.find_or_add(labels));
            self.add_samples(id, &record.column, from, *to);
            ids.push(id);
            from = *to;
        }
        for (index, exemplar) in &record.exemplars {
            self.add_exemplar(ids[*index], exemplar);
        }
        self.received = self.received.max(record.received);
        for metadata in &record.metadata {
            let size = |m: &Metadata| 2 * m.family.len() + m.unit.len() + m.help.len() + 128;
            let old = self
                .metadata
                .insert(metadata.family.clone(), metadata.clone());
            // What is replaced may have been shorter.
            let before = old.as_ref().map_or(0, size);
            self.bytes = (self.bytes + size(metadata)).saturating_sub(before);
        }
        Ok(())
    }

    /// The same new labels may stand in a record twice.
    fn find_or_add(&mut self, labels: Labels) -> u32 {
        let hash = labels.hash64();
        if let Some(id) = self.find(hash, labels.packed()) {
            return id;
        }
        let id = self.series.len() as u32;
        for (name, value) in &labels {
            if !self.postings.contains_key(name) {
                self.postings.insert(Arc::from(name), BTreeMap::new());
                self.bytes += name.len() + POSTING_BYTES;
            }
            let values = self.postings.get_mut(name).expect("it was just put there");
            match values.get_mut(value) {
                Some(set) => {
                    set.insert(id);
                    self.bytes += 2; // a container of few members has two bytes each
                }
                None => {
                    values.insert(Arc::from(value), RoaringBitmap::from([id]));
                    self.bytes += value.len() + POSTING_BYTES;
                }
            }
        }
        self.bytes += labels.packed().len() + size_of::<HeadSeries>() + 40;
        let same_hash = self.by_hash.insert(hash, id);
        self.series.push(HeadSeries {
            labels,
            column: Column::default(),
            exemplars: Vec::new(),
            same_hash,
        });
        id
    }

    fn add_samples(&mut self, id: u32, batch: &Column, from: usize, to: usize) {
        let times = &batch.times[from..to];
        let (Some(min), Some(max)) = (times.iter().min(), times.iter().max()) else {
            return;
        };
        self.cover(*min, *max);
        if day_of(*min) < day_of(*max) {
            self.days.extend(times.iter().map(|t| day_of(*t)));
        }
        let column = &mut self.series[id as usize].column;
        let before = column.bytes();
        let count = column.histograms.len();
        if times.windows(2).all(|w| w[0] < w[1])
            && column.times.last().is_none_or(|last| *last < times[0])
        {
            column.extend(batch, from, to);
        } else {
            column.merge_later(&batch.sorted(from, to));
        }
        self.bytes = (self.bytes + column.bytes()).saturating_sub(before);
        // Histograms of one record are new or repeated; a repetition is few of them.
        let added = column.histograms.len() - count;
        if let (true, Some((_, histogram))) = (added > 0, column.histograms.last()) {
            self.bytes += added * histograms::bytes(histogram);
        }
    }

    fn add_exemplar(&mut self, id: u32, exemplar: &Exemplar) {
        let time = exemplar.time.millis();
        let all = &mut self.series[id as usize].exemplars;
        if push_exemplar(all, exemplar) {
            self.bytes += exemplar.labels.packed().len() + size_of::<Exemplar>();
            self.cover(time, time);
        }
    }

    fn cover(&mut self, min: i64, max: i64) {
        let range = MilliRange {
            start: min,
            end: max,
        };
        self.range = Some(self.range.map_or(range, |r| r.union(range)));
        self.days.extend([day_of(min), day_of(max)]);
    }

    /// Where metadata stands that has no samples around it: when it was received. A record that
    /// does not say when is from 1970.
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
        let first = |series: &HeadSeries| {
            let (at, _) = range.find(&series.column.times);
            let sample = series.column.times.get(at).copied();
            let mut exemplars = series.exemplars.iter().map(|e| e.time.millis());
            let exemplar = exemplars.find(|t| range.contains(*t));
            sample.into_iter().chain(exemplar).min()
        };
        let first = self.series.iter().filter_map(first).min()?;
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

impl Index for Head {
    fn all(&self) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.series.len() as u32);
        all
    }

    fn with_value(&self, name: &str, value: &str) -> Result<RoaringBitmap, Corrupt> {
        let set = self.postings.get(name).and_then(|values| values.get(value));
        Ok(set.cloned().unwrap_or_default())
    }

    fn with_name(&self, name: &str) -> Result<RoaringBitmap, Corrupt> {
        self.with_values(name, "", &|_| true)
    }

    fn with_values(
        &self,
        name: &str,
        prefix: &str,
        accept: &dyn Fn(&str) -> bool,
    ) -> Result<RoaringBitmap, Corrupt> {
        let mut found = RoaringBitmap::new();
        let Some(values) = self.postings.get(name) else {
            return Ok(found);
        };
        let from = (Bound::Included(prefix), Bound::Unbounded);
        for (value, set) in values.range::<str, _>(from) {
            if !value.starts_with(prefix) {
                break;
            }
            if accept(value) {
                found |= set;
            }
        }
        Ok(found)
    }

    fn names(&self) -> Vec<String> {
        self.postings.keys().map(|n| n.to_string()).collect()
    }

    fn values(&self, name: &str, each: &mut dyn FnMut(&str) -> bool) -> Result<(), Corrupt> {
        for value in self.postings.get(name).into_iter().flat_map(BTreeMap::keys) {
            if !each(value) {
                break;
            }
        }
        Ok(())
    }
}
