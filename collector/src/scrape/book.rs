//! What is remembered of a target from scrape to scrape: its series with their numbers in the
//! store, which of them the last stored scrape wrote, and the lines that it had, in order.
//!
//! Invariants: what decides about staleness markers changes only in [`Book::commit`]; everything
//! else can be forgotten at the cost of time. Lines mean something only under the rules of the job
//! that they were read by.

use std::collections::HashMap;
use std::sync::Arc;

use obs_model::numbers::{KeySeed, Numbers, SeriesKey};
use obs_model::{Labels, labels::METRIC_NAME};

use super::bits::Bits;
use crate::config::Job;

/// No number: the store did not tell one, or forgot it.
const UNKNOWN: u32 = u32::MAX;
/// Series beyond those in use that are remembered before the book is cleared of them.
const SPARE_SERIES: usize = 64;

/// What a line stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// A sample of a series of the book.
    Series(u32),
    /// A sample that relabelling drops.
    Dropped,
    /// Comments.
    Comment,
}

/// A stretch of a body: name and labels of a line, or comments with their ends of lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) key: SeriesKey,
    pub(super) bytes: u32,
    /// A series, or one of the two numbers behind the last series.
    code: u32,
}

const DROPPED: u32 = u32::MAX;
const COMMENT: u32 = u32::MAX - 1;

impl Item {
    /// `None` for stretches too long to remember.
    pub(super) fn new(stretch: &[u8], means: Means) -> Option<Self> {
        Some(Self {
            key: SeriesKey::of(stretch, KeySeed::Line),
            bytes: u32::try_from(stretch.len()).ok()?,
            code: match means {
                Means::Series(series) => series,
                Means::Dropped => DROPPED,
                Means::Comment => COMMENT,
            },
        })
    }

    pub(super) fn means(&self) -> Means {
        match self.code {
            DROPPED => Means::Dropped,
            COMMENT => Means::Comment,
            series => Means::Series(series),
        }
    }

    /// The end of this stretch, when a body has it at a place.
    #[inline]
    pub(super) fn end_at(&self, body: &[u8], at: usize) -> Option<usize> {
        let end = at + self.bytes as usize;
        let stretch = body.get(at..end)?;
        (SeriesKey::of(stretch, KeySeed::Line) == self.key).then_some(end)
    }
}

/// A series that a target has or had.
#[derive(Debug)]
pub(super) struct Known {
    /// Shared with the memory of the store.
    pub(super) labels: Labels,
    pub(super) key: SeriesKey,
    number: u32,
}

impl Known {
    /// Its number in the book's epoch.
    pub(super) fn number(&self) -> Option<u32> {
        (self.number != UNKNOWN).then_some(self.number)
    }
}

/// What is remembered of a target.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// By whose rules the lines were read.
    rules: Option<Arc<Job>>,
    /// The stretches of the last body, in order.
    pub(super) items: Vec<Item>,
    pub(super) series: Vec<Known>,
    /// Series that get a marker when they are gone.
    pub(super) tracked: Bits,
    /// Hash of all comments whose metadata was sent.
    pub(super) comments: u64,
    /// Hashes of metadata already sent, by the hash of the family.
    pub(super) metadata: HashMap<u64, u64>,
    /// The series about the scrapes.
    reports: Vec<(&'static str, u32)>,
    /// Whether they were ever written.
    pub(super) reported: bool,
    /// The epoch of the numbers.
    epoch: Option<u64>,
    /// Series without number.
    unresolved: usize,
}

/// What a scrape changes in the book once it was stored.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Series that get a marker when they are gone.
    pub(super) tracked: Bits,
    /// Hash of the comments; `None` leaves it as it is.
    pub(super) comments: Option<u64>,
    /// Hashes of what is new in the metadata.
    pub(super) metadata: Vec<(u64, u64)>,
    /// Whether the series about the scrape were written.
    pub(super) reported: bool,
}

impl Book {
    /// Gets ready for a scrape: forgets what does not hold any more and learns numbers.
    pub(super) fn open(&mut self, job: &Arc<Job>, numbers: Option<&Numbers>) {
        let same = |rules: &Arc<Job>| Arc::ptr_eq(rules, job);
        if !self.rules.as_ref().is_some_and(same) {
            self.items = Vec::new();
            self.reports.clear();
            self.rules = Some(Arc::clone(job));
        }
        self.clear_out();
        self.learn(numbers);
    }

    /// Whether the next body is probably read by what is remembered.
    pub(crate) fn is_warm(&self) -> bool {
        !self.items.is_empty()
    }

    /// Looks up the numbers that are missing.
    pub(super) fn learn(&mut self, numbers: Option<&Numbers>) {
        let epoch = numbers.map(Numbers::epoch);
        if self.epoch != epoch {
            for series in &mut self.series {
                series.number = UNKNOWN;
            }
            (self.epoch, self.unresolved) = (epoch, self.series.len());
        }
        let Some(numbers) = numbers.filter(|_| self.unresolved > 0) else {
            return;
        };
        let mut lookup = numbers.lookup();
        self.unresolved = 0;
        for series in &mut self.series {
            if series.number == UNKNOWN {
                match lookup.get(series.key) {
                    Some(number) => series.number = number,
                    None => self.unresolved += 1,
                }
            }
        }
    }

    /// The epoch of the numbers; 0 where there are none.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.unwrap_or(0)
    }

    /// Adds a series.
    pub(super) fn add(&mut self, labels: Labels, key: SeriesKey) -> u32 {
        self.series.push(Known {
            labels,
            key,
            number: UNKNOWN,
        });
        self.unresolved += 1;
        self.series.len() as u32 - 1
    }

    /// The series of a name about the scrapes of a target.
    pub(super) fn report(&mut self, target: &Labels, name: &'static str) -> u32 {
        if let Some((_, series)) = self.reports.iter().find(|(known, _)| *known == name) {
            return *series;
        }
        let labels = target.to_builder().set(METRIC_NAME, name).build();
        let key = key_of(&labels);
        let series = self.add(labels, key);
        self.reports.push((name, series));
        series
    }

    /// Takes over what a scrape changes. Where it was not stored, what was known before and what
    /// may have been written both need markers later.
    pub(super) fn commit(&mut self, changes: Changes, stored: bool) {
        self.reported |= changes.reported;
        if !stored {
            self.tracked.add(&changes.tracked);
            return;
        }
        self.tracked = changes.tracked;
        self.comments = changes.comments.unwrap_or(self.comments);
        self.metadata.extend(changes.metadata);
    }

    /// Forgets series that nothing needs, when they are many.
    fn clear_out(&mut self) {
        let lines = self.items.len() + self.reports.len();
        if self.series.len() <= 2 * lines + SPARE_SERIES {
            return;
        }
        let mut needed = self.tracked.clone();
        for item in &self.items {
            if let Means::Series(series) = item.means() {
                needed.insert(series);
            }
        }
        for (_, series) in &self.reports {
            needed.insert(*series);
        }
        let mut places = vec![0; self.series.len()];
        let (mut kept, mut at, mut tracked) = (0, 0, Bits::default());
        self.series.retain(|_| {
            let keep = needed.contains(at);
            if keep {
                places[at as usize] = kept;
                if self.tracked.contains(at) {
                    tracked.insert(kept);
                }
                kept += 1;
            }
            at += 1;
            keep
        });
        self.series.shrink_to_fit();
        for item in &mut self.items {
            if let Means::Series(series) = item.means() {
                item.code = places[series as usize];
            }
        }
        for (_, series) in &mut self.reports {
            *series = places[*series as usize];
        }
        self.tracked = tracked;
        let unknown = self.series.iter().filter(|s| s.number == UNKNOWN);
        self.unresolved = unknown.count();
    }
}

/// What a series is called in the table of numbers.
pub(super) fn key_of(labels: &Labels) -> SeriesKey {
    SeriesKey::of(labels.packed(), KeySeed::Packed)
}
