//! Sample values, and columns of samples as the stores give them to the evaluator.

use std::sync::Arc;

use crate::histogram::Histogram;
use crate::time::Timestamp;

/// Bits of the marker that ends a series; Prometheus' `StaleNaN`.
pub const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The marker that ends a series.
pub fn stale() -> f64 {
    f64::from_bits(STALE_BITS)
}

/// Whether a value is the marker that ends a series.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_BITS
}

/// The value of a sample.
#[derive(Clone, Debug)]
pub enum Value {
    /// A float; all bits are kept.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

impl Value {
    /// Whether this marks the end of a series.
    pub fn is_stale(&self) -> bool {
        match self {
            Self::Float(value) => is_stale(*value),
            Self::Histogram(histogram) => histogram.is_stale(),
        }
    }

    /// Bit-exact comparison.
    pub fn bit_eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::Histogram(a), Self::Histogram(b)) => a.bit_eq(b),
            (Self::Float(_), Self::Histogram(_)) | (Self::Histogram(_), Self::Float(_)) => false,
        }
    }
}

/// A column of samples in ascending order of time, no time twice.
///
/// Invariants: `times` and `floats` have the same length; `histograms` is sorted by index, and
/// where it has an entry the float is a NaN without meaning; `starts` is empty or as long.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// When.
    pub times: Vec<Timestamp>,
    /// Values of float samples.
    pub floats: Vec<f64>,
    /// Values of histogram samples, by index into `times`; empty for nearly every series.
    pub histograms: Vec<(u32, Arc<Histogram>)>,
    /// When the counter behind each sample started, in milliseconds since the epoch, 0 where that
    /// is not known; empty where it is known of none.
    pub starts: Vec<i64>,
}

impl Samples {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Appends a sample; its time must be later than the last one.
    pub fn push(&mut self, time: Timestamp, value: Value) {
        debug_assert!(
            self.times.last().is_none_or(|last| *last < time),
            "times ascend"
        );
        match value {
            Value::Float(float) => self.floats.push(float),
            Value::Histogram(histogram) => {
                self.histograms.push((self.times.len() as u32, histogram));
                self.floats.push(f64::NAN);
            }
        }
        self.times.push(time);
        if !self.starts.is_empty() {
            self.starts.push(0);
        }
    }

    /// Appends a sample whose counter started at `start` (milliseconds; 0 is not known).
    pub fn push_started(&mut self, time: Timestamp, value: Value, start: i64) {
        self.push(time, value);
        if start != 0 {
            self.starts.resize(self.times.len(), 0);
            if let Some(last) = self.starts.last_mut() {
                *last = start;
            }
        }
    }

    /// When the counter of a sample started; 0 is not known.
    pub fn start(&self, index: usize) -> i64 {
        self.starts.get(index).copied().unwrap_or(0)
    }

    /// The value at an index.
    pub fn value(&self, index: usize) -> Value {
        match self
            .histograms
            .binary_search_by_key(&index, |(i, _)| *i as usize)
        {
            Ok(found) => Value::Histogram(Arc::clone(&self.histograms[found].1)),
            Err(_) => Value::Float(self.floats[index]),
        }
    }

    /// All samples in order.
    pub fn iter(&self) -> impl Iterator<Item = (Timestamp, Value)> + '_ {
        self.times
            .iter()
            .enumerate()
            .map(|(index, time)| (*time, self.value(index)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_mix_floats_and_histograms() {
        let mut samples = Samples::default();
        samples.push(Timestamp::from_millis(1), Value::Float(stale()));
        samples.push(Timestamp::from_millis(2), Value::Histogram(Arc::default()));
        samples.push(Timestamp::from_millis(3), Value::Float(3.0));
        assert!(samples.value(0).is_stale());
        assert!(matches!(samples.value(1), Value::Histogram(_)));
        assert!(samples.value(2).bit_eq(&Value::Float(3.0)));
        assert_eq!(samples.iter().count(), 3);
        assert!(!is_stale(f64::NAN));
    }

    #[test]
    fn starts_are_as_many_as_samples() {
        let mut samples = Samples::default();
        samples.push(Timestamp::from_millis(1), Value::Float(1.0));
        assert_eq!(samples.start(0), 0);
        samples.push_started(Timestamp::from_millis(2), Value::Float(1.0), 7);
        samples.push(Timestamp::from_millis(3), Value::Float(1.0));
        samples.push_started(Timestamp::from_millis(4), Value::Float(1.0), 0);
        samples.push_started(Timestamp::from_millis(5), Value::Float(1.0), 9);
        assert_eq!(samples.starts, [0, 7, 0, 0, 9]);
    }
}
