//! What is sent, and what is asked afterwards: the same for every system of a run.

use form_urlencoded::Serializer;

use crate::fleet::Fleet;
use crate::targets::Plan;

/// A seeded stream of request bodies. One source feeds one connection, so that the order of a
/// series, stream or trace is kept.
pub(crate) trait Source: Send {
    /// Writes the next body; says what is in it, or `None` at the end.
    fn next(&mut self, body: &mut Vec<u8>) -> Option<Sent>;
}

/// What a body holds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    /// Samples, log lines or spans.
    pub(crate) items: u64,
    /// Bytes of what the unit of the signal counts: lines without their frame; else the body
    /// before compression.
    pub(crate) raw_bytes: u64,
}

/// What is counted for one signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Samples over remote write 1.0.
    Metrics,
    /// Lines over Loki's push API, JSON.
    Logs,
    /// Spans over OTLP HTTP, protobuf.
    Traces,
}

impl Signal {
    /// Lower-case name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Logs => "logs",
            Self::Traces => "traces",
        }
    }

    /// Headers of the bodies.
    pub(crate) fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Metrics => &[
                ("Content-Type", "application/x-protobuf"),
                ("Content-Encoding", "snappy"),
                ("X-Prometheus-Remote-Write-Version", "0.1.0"),
            ],
            Self::Logs => &[("Content-Type", "application/json")],
            Self::Traces => &[("Content-Type", "application/x-protobuf")],
        }
    }

    /// What one item is called.
    pub(crate) fn item(self) -> &'static str {
        match self {
            Self::Metrics => "sample",
            Self::Logs => "line",
            Self::Traces => "span",
        }
    }
}

/// A question with a known kind of answer.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    /// What the table calls it.
    pub(crate) name: String,
    /// Path and parameters.
    pub(crate) path: String,
    /// The same for systems with a language of their own.
    pub(crate) other: Option<String>,
    /// A text that a right answer holds.
    pub(crate) holds: Option<String>,
    /// What a right answer sums up to: lines, traces, or the numbers of all series.
    pub(crate) total: Option<f64>,
}

impl Query {
    /// A query of a path with parameters.
    pub(crate) fn new(name: &str, path: &str, parameters: &[(&str, &str)]) -> Self {
        Self {
            name: name.to_owned(),
            path: with_parameters(path, parameters),
            other: None,
            holds: None,
            total: None,
        }
    }

    /// The same with what others are asked.
    pub(crate) fn or(self, path: &str, parameters: &[(&str, &str)]) -> Self {
        Self {
            other: Some(with_parameters(path, parameters)),
            ..self
        }
    }

    /// The same with what the answer must sum up to.
    pub(crate) fn totalling(self, total: f64) -> Self {
        Self {
            total: Some(total),
            ..self
        }
    }

    /// The same with a text that the answer must hold.
    pub(crate) fn holding(self, text: impl Into<String>) -> Self {
        Self {
            holds: Some(text.into()),
            ..self
        }
    }
}

/// A query whose one number is known: nothing may be lost or doubled.
#[derive(Clone, Debug)]
pub(crate) struct Count {
    /// Path and parameters.
    pub(crate) path: String,
    /// The same for systems with a language of their own.
    pub(crate) other: Option<String>,
    /// The number.
    pub(crate) expect: f64,
}

impl Count {
    /// A count over a path with parameters.
    pub(crate) fn new(path: &str, parameters: &[(&str, &str)], expect: f64) -> Self {
        Self {
            path: with_parameters(path, parameters),
            other: None,
            expect,
        }
    }

    /// The same with what others are asked.
    pub(crate) fn or(self, path: &str, parameters: &[(&str, &str)]) -> Self {
        Self {
            other: Some(with_parameters(path, parameters)),
            ..self
        }
    }
}

fn with_parameters(path: &str, parameters: &[(&str, &str)]) -> String {
    let mut text = Serializer::new(String::new());
    if parameters.is_empty() {
        return path.to_owned();
    }
    text.extend_pairs(parameters);
    format!("{path}?{}", text.finish())
}

/// Everything of one signal's run.
pub(crate) struct Workload {
    /// The signal.
    pub(crate) signal: Signal,
    /// What is scraped, where nothing is sent.
    pub(crate) scraped: Option<Plan>,
    /// One line for the head of the report.
    pub(crate) title: String,
    /// Makes the sources of a number of connections, from the start each time.
    pub(crate) sources: Box<dyn Fn(usize) -> Vec<Box<dyn Source>>>,
    /// The same series with one sample each, where it is asked what a new series costs.
    pub(crate) registration: Option<Fleet>,
    /// Series or streams; zero when the signal has none.
    pub(crate) series: u64,
    /// The fixed questions.
    pub(crate) queries: Vec<Query>,
    /// Proves that everything is there.
    pub(crate) count: Option<Count>,
}
