//! Series, and what can be told from when they were seen.

use std::collections::BTreeMap;

use obs_model::Labels;

use crate::cluster::Names;
use crate::usage::INTERVAL;

/// A series: times in nanoseconds and values, in order of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its labels.
    pub labels: Labels,
    /// Its points.
    pub points: Vec<(i64, f64)>,
}

impl Series {
    /// The value of a label; empty where there is none.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).unwrap_or_default()
    }

    /// Its last value.
    pub(super) fn value(&self) -> f64 {
        self.points.last().map_or(0.0, |point| point.1)
    }

    /// Its last value as a time told in seconds.
    pub(super) fn time(&self) -> Option<i64> {
        time(self.value())
    }

    /// Labels with this prefix, without it.
    pub(super) fn names(&self, prefix: &str) -> Names {
        let named = self.labels.iter().filter_map(|(name, value)| {
            let name = name.strip_prefix(prefix)?;
            Some((name.to_owned(), value.to_owned()))
        });
        named.collect()
    }
}

/// Seconds as a time, where it is one.
pub(super) fn time(seconds: f64) -> Option<i64> {
    let fits = seconds > 0.0 && seconds < 9e9;
    fits.then_some((seconds * 1e9).round() as i64)
}

/// Answers by the names of their questions.
#[derive(Clone, Debug, Default)]
pub struct Answers(BTreeMap<String, Vec<Series>>);

impl Answers {
    /// Keeps an answer.
    pub fn insert(&mut self, name: String, series: Vec<Series>) {
        self.0.insert(name, series);
    }

    /// The answer to a question.
    pub(super) fn get(&self, name: &str) -> &[Series] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// When each object of a name was seen, with the labels that tell of it.
    pub(super) fn seen(&self, name: &str) -> Vec<(Series, Seen)> {
        let part = |part: &str| self.get(&format!("{name}.{part}"));
        let plain = |series: &Series| series.labels.without(|name| name == "__name__");
        let values = |name: &str| -> BTreeMap<Labels, f64> {
            part(name).iter().map(|s| (plain(s), s.value())).collect()
        };
        let (first, count, now) = (values("first"), values("count"), values("now"));
        let all = part("last").iter().filter_map(|series| {
            let labels = plain(series);
            let last = series.time()?;
            let first = first.get(&labels).copied().and_then(time).unwrap_or(last);
            let seen = Seen {
                first: first.min(last),
                last,
                count: count.get(&labels).copied().unwrap_or(1.0),
                unmarked: now.contains_key(&labels),
            };
            Some((series.clone(), seen))
        });
        all.collect()
    }
}

/// When something was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) first: i64,
    pub(super) last: i64,
    /// How often.
    pub(super) count: f64,
    /// Whether nothing said that it went.
    pub(super) unmarked: bool,
}

impl Seen {
    /// The usual distance of two looks.
    pub(super) fn gap(&self) -> i64 {
        if self.count < 2.0 {
            return INTERVAL;
        }
        (((self.last - self.first) as f64 / (self.count - 1.0)) as i64).max(1)
    }

    /// Both together.
    pub(super) fn with(self, other: Self) -> Self {
        let later = if other.last > self.last { other } else { self };
        Self {
            first: self.first.min(other.first),
            last: later.last,
            count: self.count.max(other.count),
            unmarked: later.unmarked || self.last == other.last && self.unmarked,
        }
    }
}
