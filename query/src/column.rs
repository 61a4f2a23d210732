//! What the evaluator computes with: a series as one column of steps and a bitmap of presence.
//!
//! Napkin: 8 bytes and 1 bit per step and series; 1,000 series × 180 steps are 1.5 MB.

use std::sync::Arc;

use obs_model::{Histogram, Labels, Timestamp, Value};

/// Points of time with equal distance: what a query is evaluated at. An instant is one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// The first step.
    pub start: Timestamp,
    /// Nanoseconds between steps; at least 1.
    pub step: i64,
    /// Number of steps.
    pub count: usize,
}

impl Grid {
    /// The grid of one step.
    pub fn instant(at: Timestamp) -> Self {
        Self {
            start: at,
            step: 1,
            count: 1,
        }
    }

    /// The time of a step.
    pub fn at(&self, index: usize) -> Timestamp {
        self.start
            .saturating_add(self.step.saturating_mul(index as i64))
    }

    /// The time of the last step (of the first where there is none).
    pub fn end(&self) -> Timestamp {
        self.at(self.count.saturating_sub(1))
    }
}

/// One bit per step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bitmap {
    words: Vec<u64>,
}

impl Bitmap {
    /// All clear.
    pub fn new(len: usize) -> Self {
        Self {
            words: vec![0; len.div_ceil(64)],
        }
    }

    /// All set.
    pub fn full(len: usize) -> Self {
        let mut words = vec![u64::MAX; len.div_ceil(64)];
        if let (Some(last), rest @ 1..) = (words.last_mut(), len % 64) {
            *last = (1 << rest) - 1;
        }
        Self { words }
    }

    /// Sets a bit.
    pub fn set(&mut self, index: usize) {
        self.words[index / 64] |= 1 << (index % 64);
    }

    /// Clears a bit.
    pub fn clear(&mut self, index: usize) {
        self.words[index / 64] &= !(1 << (index % 64));
    }

    /// Reads a bit.
    pub fn get(&self, index: usize) -> bool {
        self.words[index / 64] >> (index % 64) & 1 == 1
    }

    /// Whether no bit is set.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|w| *w == 0)
    }

    /// Number of set bits.
    pub fn count(&self) -> usize {
        self.words.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// Whether a bit is set in both.
    pub fn intersects(&self, other: &Self) -> bool {
        self.words.iter().zip(&other.words).any(|(a, b)| a & b != 0)
    }

    /// Keeps what is set in both.
    pub fn and(&mut self, other: &Self) {
        for (a, b) in self.words.iter_mut().zip(&other.words) {
            *a &= b;
        }
    }

    /// Adds what is set in the other.
    pub fn or(&mut self, other: &Self) {
        for (a, b) in self.words.iter_mut().zip(&other.words) {
            *a |= b;
        }
    }

    /// Removes what is set in the other.
    pub fn and_not(&mut self, other: &Self) {
        for (a, b) in self.words.iter_mut().zip(&other.words) {
            *a &= !b;
        }
    }

    /// Indices of set bits, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(index, word)| {
            std::iter::successors((*word != 0).then_some(*word), |w| {
                let rest = w & (w - 1);
                (rest != 0).then_some(rest)
            })
            .map(move |w| index * 64 + w.trailing_zeros() as usize)
        })
    }
}

/// Values over the steps of a grid.
///
/// Invariants: `values` has one entry per step; where `present` is clear the value has no meaning;
/// `histograms` is sorted by step, and holds an entry only where `present` is set.
#[derive(Clone, Debug, Default)]
pub struct Column {
    /// Floats by step.
    pub values: Vec<f64>,
    /// Which steps have a value.
    pub present: Bitmap,
    /// Values that are native histograms; empty for nearly every series.
    pub histograms: Vec<(u32, Arc<Histogram>)>,
}

impl Column {
    /// A column without values.
    pub fn new(len: usize) -> Self {
        Self {
            values: vec![0.0; len],
            present: Bitmap::new(len),
            histograms: Vec::new(),
        }
    }

    /// A column of floats that is present everywhere.
    pub fn full(values: Vec<f64>) -> Self {
        let present = Bitmap::full(values.len());
        Self {
            values,
            present,
            histograms: Vec::new(),
        }
    }

    /// Number of steps.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are no steps.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Sets a float; steps may come in any order.
    pub fn set(&mut self, step: usize, value: f64) {
        self.values[step] = value;
        self.present.set(step);
    }

    /// Sets a value; histograms must come in ascending order of steps.
    pub fn push(&mut self, step: usize, value: Value) {
        match value {
            Value::Float(float) => self.set(step, float),
            Value::Histogram(histogram) => {
                debug_assert!(
                    self.histograms
                        .last()
                        .is_none_or(|(s, _)| (*s as usize) < step),
                    "steps ascend"
                );
                self.histograms.push((step as u32, histogram));
                self.present.set(step);
            }
        }
    }

    /// The histogram at a step.
    pub fn histogram(&self, step: usize) -> Option<&Arc<Histogram>> {
        if self.histograms.is_empty() {
            return None;
        }
        let found = self
            .histograms
            .binary_search_by_key(&step, |(s, _)| *s as usize)
            .ok()?;
        Some(&self.histograms[found].1)
    }

    /// The value at a step.
    pub fn get(&self, step: usize) -> Option<Value> {
        if !self.present.get(step) {
            return None;
        }
        Some(match self.histogram(step) {
            Some(histogram) => Value::Histogram(Arc::clone(histogram)),
            None => Value::Float(self.values[step]),
        })
    }

    /// The float at a step; `None` for histograms too.
    pub fn float(&self, step: usize) -> Option<f64> {
        (self.present.get(step) && self.histogram(step).is_none()).then(|| self.values[step])
    }

    /// Keeps only the steps of the mask.
    pub fn mask(&mut self, mask: &Bitmap) {
        self.present.and(mask);
        let present = &self.present;
        self.histograms.retain(|(s, _)| present.get(*s as usize));
    }

    /// Takes over the other's values; `false` where both have one at the same step.
    pub fn merge(&mut self, other: &Self) -> bool {
        if self.present.intersects(&other.present) {
            return false;
        }
        for step in other.present.iter() {
            self.values[step] = other.values[step];
        }
        self.present.or(&other.present);
        if !other.histograms.is_empty() {
            self.histograms.extend(other.histograms.iter().cloned());
            self.histograms.sort_by_key(|(s, _)| *s);
        }
        true
    }

    /// The first step repeated over `len` steps.
    pub fn broadcast(self, len: usize) -> Self {
        let mut out = Self::new(len);
        if let Some(value) = self.get(0) {
            for step in 0..len {
                out.push(step, value.clone());
            }
        }
        out
    }

    /// Resident bytes, for the budget.
    pub fn bytes(&self) -> u64 {
        (self.values.len() * 8 + self.values.len() / 8 + self.histograms.len() * 256) as u64
    }
}

/// A series over a grid.
#[derive(Clone, Debug, Default)]
pub struct SeriesColumn {
    /// The labels.
    pub labels: Labels,
    /// The metric's name leaves at the end of evaluation (delayed name removal).
    pub drop_name: bool,
    /// The values.
    pub column: Column,
}

/// What a node evaluates to, over the steps of a grid.
#[derive(Clone, Debug)]
pub enum Evaluated {
    /// One number per step.
    Scalar(Vec<f64>),
    /// A text.
    Text(String),
    /// Series.
    Vector(Vec<SeriesColumn>),
}

impl Evaluated {
    /// Resident bytes, for the budget.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Scalar(values) => 8 * values.len() as u64,
            Self::Text(text) => text.len() as u64,
            Self::Vector(series) => {
                let one = |s: &SeriesColumn| size_of::<SeriesColumn>() as u64 + s.column.bytes();
                series.iter().map(one).sum()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitmaps() {
        let mut bits = Bitmap::new(130);
        for index in [0, 63, 64, 129] {
            bits.set(index);
        }
        assert_eq!(bits.iter().collect::<Vec<_>>(), [0, 63, 64, 129]);
        let mut full = Bitmap::full(130);
        assert_eq!(full.count(), 130);
        full.and_not(&bits);
        assert_eq!(full.count(), 126);
        assert!(!full.intersects(&bits));
        bits.clear(64);
        assert!(!bits.get(64));
    }

    #[test]
    fn columns_merge_only_without_overlap() {
        let mut a = Column::new(3);
        a.set(0, 1.0);
        let mut b = Column::new(3);
        b.push(2, Value::Histogram(Arc::default()));
        assert!(a.merge(&b));
        assert!(!a.merge(&b));
        assert_eq!(a.float(0), Some(1.0));
        assert_eq!(a.float(2), None);
        assert!(a.get(1).is_none());
    }
}
