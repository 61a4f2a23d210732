//! Batches of metric samples, as every way in produces them.

use crate::labels::Labels;
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
}

/// What one scrape or one request brought.
#[derive(Clone, Debug, Default)]
pub struct MetricBatch {
    /// The series; the same labels may occur more than once.
    pub series: Vec<Series>,
    /// Metadata of metric families.
    pub metadata: Vec<Metadata>,
}

impl MetricBatch {
    /// Number of samples in all series.
    pub fn sample_count(&self) -> usize {
        self.series.iter().map(|s| s.samples.len()).sum()
    }
}
