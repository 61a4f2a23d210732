//! A draft: the batches of one tenant in one group commit, on their way into the journal and the
//! head.
//!
//! Invariants: what is encoded is what is applied; a sample whose number belongs to a memory that
//! is gone is never guessed, its batch is told to come again.

use obs_model::metrics::{KnownSamples, MetricBatch, Sample, Series};
use obs_model::numbers::SeriesKey;
use obs_model::{Labels, Timestamp, Value};
use obs_storage::{Corrupt, Draft, Target};

use crate::column::{Column, NO_START};
use crate::head::{Memory, RegistryWriter};
use crate::kind::Metrics;
use crate::record::{self, Entries, Scratch};

/// Batches of one tenant that are journaled and applied together.
#[derive(Debug)]
pub struct MetricDraft {
    batches: Vec<MetricBatch>,
    /// Whether each batch was taken; filled by encoding.
    taken: Vec<bool>,
    entries: Entries,
    learned: Vec<(SeriesKey, u32)>,
    epoch: u64,
    scratch: Scratch,
}

impl MetricDraft {
    /// A draft of admitted batches, received at a time.
    pub fn new(batches: Vec<MetricBatch>, received: Timestamp) -> Self {
        Self::with_buffers(batches, received, Buffers::default())
    }

    /// The same with buffers that an earlier draft gave back.
    pub fn with_buffers(batches: Vec<MetricBatch>, received: Timestamp, buffers: Buffers) -> Self {
        Self {
            batches,
            taken: Vec::new(),
            entries: Entries {
                received: received.millis(),
                ..buffers.entries
            },
            learned: Vec::new(),
            epoch: 0,
            scratch: buffers.scratch,
        }
    }

    /// Whether a batch was taken. One that was not has numbers of a memory that is gone; its
    /// sender must send it again.
    pub fn taken(&self, batch: usize) -> bool {
        self.taken.get(batch).copied().unwrap_or(false)
    }

    /// The epoch of the memory, and the numbers of new series in it.
    pub fn learned(&self) -> (u64, &[(SeriesKey, u32)]) {
        (self.epoch, &self.learned)
    }

    /// The buffers, for another draft.
    pub fn into_buffers(self) -> Buffers {
        let mut entries = self.entries;
        entries.series.clear();
        entries.times.clear();
        entries.values.clear();
        Buffers {
            entries: Entries {
                series: entries.series,
                times: entries.times,
                values: entries.values,
                ..Entries::default()
            },
            scratch: self.scratch,
        }
    }
}

/// Memory that drafts use one after the other.
#[derive(Debug, Default)]
pub struct Buffers {
    entries: Entries,
    scratch: Scratch,
}

impl Draft<Metrics> for MetricDraft {
    fn encode(&mut self, target: &Target<'_, Metrics>, out: &mut Vec<u8>) {
        let memory = target.memory;
        let batches = std::mem::take(&mut self.batches);
        let mut registry = memory.registry_mut();
        registry.enter(target.segment);
        self.epoch = registry.epoch;
        for batch in batches {
            self.entries.breaks.push(self.entries.series.len());
            let known = add_known(&mut self.entries, &mut registry, target, batch.known);
            self.taken.push(known);
            if !known {
                continue;
            }
            for series in batch.series {
                let key = series.key;
                let number = self.entries.add_series(&mut registry, series);
                self.learned.extend(key.map(|key| (key, number)));
            }
            self.entries.metadata.extend(batch.metadata);
        }
        if self.entries.is_empty() {
            return;
        }
        let mut head = memory.write();
        head.make_room(registry.len());
        head.enter(target.segment);
        let labels = |id: u32| registry.labels(id);
        record::encode(
            &self.entries,
            &mut head.dictionary,
            labels,
            &mut self.scratch,
            out,
        );
    }

    fn apply(&mut self, memory: &Memory) -> Result<(), Corrupt> {
        memory.write().apply(&self.entries);
        Ok(())
    }

    fn abort(&mut self, memory: &Memory) {
        memory.write().dictionary.abort();
    }
}

/// Adds samples of known series, by their numbers in this registry or through their labels in one
/// that waits to become a part; `false` when that registry is gone.
fn add_known(
    entries: &mut Entries,
    registry: &mut RegistryWriter<'_>,
    target: &Target<'_, Metrics>,
    known: KnownSamples,
) -> bool {
    if known.numbers.is_empty() {
        return true;
    }
    if known.epoch == registry.epoch {
        // A number comes from this registry, so it can only be too large by a fault of ours.
        let inside = |number: &u32| (*number as usize) < registry.len();
        if !known.numbers.iter().all(inside) {
            return false;
        }
        entries.series.extend_from_slice(&known.numbers);
    } else {
        let Some(labels) = earlier_labels(target, &known) else {
            return false;
        };
        let numbers = labels
            .into_iter()
            .map(|labels| registry.find_or_add(labels));
        entries.series.extend(numbers);
    }
    entries.times.extend_from_slice(&known.times);
    entries.values.extend_from_slice(&known.values);
    entries.keep_order(entries.series.len() - known.times.len());
    true
}

/// The labels of samples whose numbers are of a registry that only sealed memories have.
fn earlier_labels(target: &Target<'_, Metrics>, known: &KnownSamples) -> Option<Vec<Labels>> {
    for memory in &target.sealed {
        // One that shares the registry of the active memory is not to be locked again; its epoch
        // is another one anyway.
        if memory.shares(target.memory) {
            continue;
        }
        let registry = memory.registry();
        if registry.epoch == known.epoch {
            let labels = |number: &u32| registry.get(*number).cloned();
            return known.numbers.iter().map(labels).collect();
        }
    }
    None
}

impl Entries {
    /// Moves samples from an index on behind the other samples of their series, if there are some.
    fn keep_order(&mut self, from: usize) {
        if self.others.is_empty() {
            return;
        }
        let mut kept = from;
        for at in from..self.series.len() {
            let (series, time, value) = (self.series[at], self.times[at], self.values[at]);
            if self.with_others.contains(&series) {
                let mut column = Column::default();
                column.push(time, Ok(value), NO_START);
                self.others.push((series, column));
                continue;
            }
            (self.series[kept], self.times[kept], self.values[kept]) = (series, time, value);
            kept += 1;
        }
        self.series.truncate(kept);
        self.times.truncate(kept);
        self.values.truncate(kept);
    }

    /// Adds what a batch has of one series; gives its number.
    pub(crate) fn add_series(&mut self, registry: &mut RegistryWriter<'_>, series: Series) -> u32 {
        let number = registry.find_or_add(series.labels);
        let plain = |s: &Sample| s.start.is_none() && matches!(s.value, Value::Float(_));
        // Samples of one series stay in the order in which they came.
        let in_order = self.with_others.contains(&number);
        let plain = !in_order && series.samples.iter().all(plain);
        let mut other = Column::default();
        for sample in series.samples {
            let time = sample.time.millis();
            match sample.value {
                Value::Float(float) if plain => {
                    self.series.push(number);
                    self.times.push(time);
                    self.values.push(float);
                    continue;
                }
                Value::Float(float) => other.push(time, Ok(float), start_of(sample.start)),
                Value::Histogram(histogram) => {
                    other.push(time, Err(histogram), start_of(sample.start));
                }
            }
        }
        if !other.is_empty() {
            self.others.push((number, other));
            self.with_others.insert(number);
        }
        let exemplars = series.exemplars.into_iter();
        self.exemplars.extend(exemplars.map(|e| (number, e)));
        number
    }
}

fn start_of(start: Option<Timestamp>) -> i64 {
    start.map_or(NO_START, Timestamp::millis)
}

/// Appends the record of one batch that leans on no other record, for
/// [`Store::append`](obs_storage::Store::append).
pub fn encode(batch: &MetricBatch, received: Timestamp, out: &mut Vec<u8>) {
    let memory = Memory::default();
    memory.write().dictionary.abort();
    let target = Target {
        memory: &memory,
        sealed: Vec::new(),
        segment: 0,
    };
    MetricDraft::new(vec![batch.clone()], received).encode(&target, out);
}
