//! Batches of metric samples, as every way in produces them.

use crate::labels::Labels;
use crate::numbers::SeriesKey;
use crate::sample::Value;
use crate::time::Timestamp;

/// The type of a metric, as in OpenMetrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MetricKind {
    /// Not told.
    #[default]
    Unknown,
    /// Only goes up, but for resets.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Classic or native histogram.
    Histogram,
    /// A histogram whose buckets go up and down.
    GaugeHistogram,
    /// Quantiles computed by the source.
    Summary,
    /// Labels with the constant value 1.
    Info,
    /// One of several states.
    StateSet,
}

impl MetricKind {
    /// As written in exposition formats and APIs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }

    /// From the text of exposition formats (`untyped` is the old word for unknown).
    pub fn from_text(text: &str) -> Option<Self> {
        Some(match text {
            "unknown" | "untyped" => Self::Unknown,
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "gaugehistogram" => Self::GaugeHistogram,
            "summary" => Self::Summary,
            "info" => Self::Info,
            "stateset" => Self::StateSet,
            _ => return None,
        })
    }
}

/// What a metric means. Keyed by metric family name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Name of the metric family.
    pub family: String,
    /// Its type.
    pub kind: MetricKind,
    /// Its unit, possibly empty.
    pub unit: String,
    /// Its help text, possibly empty.
    pub help: String,
}

/// One sample.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When; stored with millisecond resolution.
    pub time: Timestamp,
    /// When the counter started, where the source says so.
    pub start: Option<Timestamp>,
    /// The value.
    pub value: Value,
}

/// An example of what went into a sample, usually with a trace id.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Labels such as `trace_id`.
    pub labels: Labels,
    /// The observed value.
    pub value: f64,
    /// When it was observed.
    pub time: Timestamp,
}

/// Samples of one series, in any order of time.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// The labels, with the metric's name.
    pub labels: Labels,
    /// The samples.
    pub samples: Vec<Sample>,
    /// The exemplars.
    pub exemplars: Vec<Exemplar>,
    /// What the sender will call the same series again, where it is worth remembering.
    pub key: Option<SeriesKey>,
}

/// Float samples of series whose numbers the decoder knew: columns of the same length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KnownSamples {
    /// The epoch that the numbers are of.
    pub epoch: u64,
    /// Numbers of the series.
    pub numbers: Vec<u32>,
    /// Milliseconds since the epoch.
    pub times: Vec<i64>,
    /// The values; all bits are kept.
    pub values: Vec<f64>,
}

impl KnownSamples {
    /// Adds one sample.
    pub fn push(&mut self, number: u32, millis: i64, value: f64) {
        self.numbers.push(number);
        self.times.push(millis);
        self.values.push(value);
    }

    /// Keeps the samples whose milliseconds are accepted; each run of equal ones is asked once.
    pub fn retain(&mut self, mut keep: impl FnMut(i64) -> bool) {
        let mut kept = 0;
        let mut last = None;
        for at in 0..self.times.len() {
            let time = self.times[at];
            let accepted = match last {
                Some((asked, accepted)) if asked == time => accepted,
                _ => keep(time),
            };
            last = Some((time, accepted));
            if accepted {
                self.numbers[kept] = self.numbers[at];
                self.times[kept] = time;
                self.values[kept] = self.values[at];
                kept += 1;
            }
        }
        self.numbers.truncate(kept);
        self.times.truncate(kept);
        self.values.truncate(kept);
    }
}

/// What one scrape or one request brought.
#[derive(Clone, Debug, Default)]
pub struct MetricBatch {
    /// Samples that need no labels any more. They arrived before those of `series`.
    pub known: KnownSamples,
    /// The series; the same labels may occur more than once.
    pub series: Vec<Series>,
    /// Metadata of metric families.
    pub metadata: Vec<Metadata>,
}

impl MetricBatch {
    /// Number of samples in all series.
    pub fn sample_count(&self) -> usize {
        let samples: usize = self.series.iter().map(|s| s.samples.len()).sum();
        samples + self.known.times.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.known.times.is_empty() && self.series.is_empty() && self.metadata.is_empty()
    }
}
