//! What is in the queue of a destination: requests that are ready to be sent.
//! Format: docs/formats/ship-record.md.
//!
//! Invariants: a request has at most about [`TEXT_BYTES`] of content, so that every server takes
//! it; a payload that is not of this format is told, not guessed at.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use obs_model::spans::{Attribute, ResourceSpans, ScopeSpans};
use obs_model::{Labels, LogBatch, LogStream, MetricBatch, SpanBatch, Timestamp};
use obs_wire::prometheus::remote_write::{self, v2};
use obs_wire::{loki, otlp, snappy};

use crate::config::{Ship, ShipKind};

/// First byte of a payload.
const VERSION: u8 = 1;
/// Version, signal, items, time.
const HEAD_BYTES: usize = 1 + 1 + 4 + 8;
/// Bytes of lines of one request.
const TEXT_BYTES: usize = 1 << 20;
/// Samples of one request.
const SAMPLES: usize = 5000;
/// Spans of one request.
const SPANS: usize = 1000;

/// What is in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Metrics,
    Logs,
    Traces,
}

impl Signal {
    pub(super) const ALL: [Self; 3] = [Self::Metrics, Self::Logs, Self::Traces];

    /// As configurations, folders and metrics call it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Logs => "logs",
            Self::Traces => "traces",
        }
    }

    /// What tells identities of batches of signals apart.
    pub(super) fn letter(self) -> char {
        match self {
            Self::Metrics => 'm',
            Self::Logs => 'l',
            Self::Traces => 't',
        }
    }

    /// Where a destination takes it.
    pub(super) fn url(self, ship: &Ship) -> Option<&str> {
        let url = match self {
            Self::Metrics => &ship.metrics,
            Self::Logs => &ship.logs,
            Self::Traces => &ship.traces,
        };
        url.as_deref()
    }
}

/// A batch that becomes requests.
pub(super) trait Shipped: Clone + Default + Send + 'static {
    /// What it is of.
    const SIGNAL: Signal;
    /// Puts labels on what does not have them.
    fn label(&mut self, external: &Labels);
    /// Puts another batch behind this one.
    fn join(&mut self, other: Self);
    /// The requests for a destination.
    fn made(self, ship: &Ship, now: Timestamp) -> Vec<Made>;
}

fn with_external(labels: &Labels, external: &Labels) -> Labels {
    let mut builder = labels.to_builder();
    for (name, value) in external {
        if labels.get(name).is_none() {
            builder.set(name, value);
        }
    }
    builder.build()
}

impl Shipped for MetricBatch {
    const SIGNAL: Signal = Signal::Metrics;

    fn label(&mut self, external: &Labels) {
        for series in &mut self.series {
            series.labels = with_external(&series.labels, external);
        }
    }

    fn join(&mut self, mut other: Self) {
        self.series.append(&mut other.series);
        self.metadata.append(&mut other.metadata);
    }

    fn made(self, ship: &Ship, now: Timestamp) -> Vec<Made> {
        metrics(ship, self, now)
    }
}

impl Shipped for LogBatch {
    const SIGNAL: Signal = Signal::Logs;

    fn label(&mut self, external: &Labels) {
        for stream in &mut self.streams {
            stream.labels = with_external(&stream.labels, external);
        }
    }

    fn join(&mut self, mut other: Self) {
        self.streams.append(&mut other.streams);
    }

    fn made(self, ship: &Ship, now: Timestamp) -> Vec<Made> {
        logs(ship, self, now)
    }
}

impl Shipped for SpanBatch {
    const SIGNAL: Signal = Signal::Traces;

    fn label(&mut self, external: &Labels) {
        for resource in &mut self.resources {
            let attributes = &mut resource.resource.attributes;
            for (name, value) in external {
                if obs_model::spans::attribute(attributes, name).is_none() {
                    attributes.push(Attribute::string(name, value));
                }
            }
        }
    }

    fn join(&mut self, mut other: Self) {
        self.resources.append(&mut other.resources);
    }

    fn made(self, _: &Ship, now: Timestamp) -> Vec<Made> {
        spans(self, now)
    }
}

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Metrics,
    Logs,
    Traces,
    /// What is told of families of which there is no sample.
    Families,
}

impl Content {
    const ALL: [Self; 4] = [Self::Metrics, Self::Logs, Self::Traces, Self::Families];

    pub(super) fn signal(self) -> Signal {
        match self {
            Self::Metrics | Self::Families => Signal::Metrics,
            Self::Logs => Signal::Logs,
            Self::Traces => Signal::Traces,
        }
    }

    /// How a payload calls it.
    fn number(self) -> u8 {
        match self {
            Self::Metrics => 1,
            Self::Logs => 2,
            Self::Traces => 3,
            Self::Families => 4,
        }
    }
}

/// A request as it is queued.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub payload: Vec<u8>,
    pub items: u64,
}

/// A request as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Queued<'a> {
    pub content: Content,
    pub items: u64,
    /// When it was queued.
    pub time: Timestamp,
    pub body: &'a [u8],
}

fn made(content: Content, items: usize, time: Timestamp, body: &[u8]) -> Made {
    let mut payload = Vec::with_capacity(HEAD_BYTES + body.len());
    payload.push(VERSION);
    payload.push(content.number());
    let count = u32::try_from(items).unwrap_or(u32::MAX);
    payload.extend_from_slice(&count.to_le_bytes());
    payload.extend_from_slice(&time.nanos().to_le_bytes());
    payload.extend_from_slice(body);
    Made {
        payload,
        items: items as u64,
    }
}

/// Reads a payload; `None` where it is not one.
pub(super) fn read(payload: &[u8]) -> Option<Queued<'_>> {
    let (head, body) = payload.split_at_checked(HEAD_BYTES)?;
    let content = Content::ALL.into_iter().find(|one| one.number() == head[1]);
    let content = content.filter(|_| head[0] == VERSION)?;
    let items = u32::from_le_bytes(head[2..6].try_into().ok()?);
    let time = i64::from_le_bytes(head[6..14].try_into().ok()?);
    Some(Queued {
        content,
        items: u64::from(items),
        time: Timestamp::from_nanos(time),
        body,
    })
}

/// OTLP's usual compression, at its fastest.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    let written = encoder.write_all(bytes);
    written
        .and_then(|()| encoder.finish())
        .expect("a vector takes every byte")
}

/// Requests with log records.
fn logs(ship: &Ship, batch: LogBatch, now: Timestamp) -> Vec<Made> {
    let mut all = Vec::new();
    let mut bytes = Vec::new();
    for some in split_logs(batch) {
        bytes.clear();
        let body = match ship.kind {
            ShipKind::Obs | ShipKind::Loki => {
                loki::encode::encode(&some, &mut bytes);
                snappy::encode(&bytes)
            }
            ShipKind::Otlp => {
                otlp::encode::logs(&some, &mut bytes);
                gzip(&bytes)
            }
        };
        all.push(made(Content::Logs, some.record_count(), now, &body));
    }
    all
}

fn split_logs(batch: LogBatch) -> Vec<LogBatch> {
    let mut all = vec![LogBatch::default()];
    let mut held = 0;
    for stream in batch.streams {
        let labels = stream.labels;
        let mut records = Vec::new();
        for record in stream.records {
            let size = record.line.len() + record.metadata.packed().len() + 32;
            if held + size > TEXT_BYTES && held > 0 {
                push_stream(&mut all, &labels, std::mem::take(&mut records));
                all.push(LogBatch::default());
                held = 0;
            }
            held += size;
            records.push(record);
        }
        push_stream(&mut all, &labels, records);
    }
    all.retain(|batch| !batch.streams.is_empty());
    all
}

fn push_stream(all: &mut [LogBatch], labels: &Labels, records: Vec<obs_model::LogRecord>) {
    if let Some(last) = all.last_mut().filter(|_| !records.is_empty()) {
        let labels = labels.clone();
        last.streams.push(LogStream { labels, records });
    }
}

/// Requests with samples.
fn metrics(ship: &Ship, batch: MetricBatch, now: Timestamp) -> Vec<Made> {
    let mut all = Vec::new();
    let mut bytes = Vec::new();
    let alone = match ship.kind {
        ShipKind::Obs => v2::without_series(&batch),
        // OTLP has no place for what is told of a family by itself.
        ShipKind::Loki | ShipKind::Otlp => Vec::new(),
    };
    for some in split_metrics(batch) {
        bytes.clear();
        let body = match ship.kind {
            ShipKind::Obs | ShipKind::Loki => {
                v2::encode(&some, &mut bytes);
                snappy::encode(&bytes)
            }
            ShipKind::Otlp => {
                otlp::encode::metrics(&some, &mut bytes);
                gzip(&bytes)
            }
        };
        all.push(made(Content::Metrics, some.sample_count(), now, &body));
    }
    for some in alone.chunks(SAMPLES) {
        let told = MetricBatch {
            metadata: some.to_vec(),
            ..MetricBatch::default()
        };
        bytes.clear();
        remote_write::encode_v1(&told, &mut bytes);
        all.push(made(Content::Families, 0, now, &snappy::encode(&bytes)));
    }
    all
}

fn split_metrics(batch: MetricBatch) -> Vec<MetricBatch> {
    let mut all: Vec<MetricBatch> = Vec::new();
    let mut held = SAMPLES;
    for mut series in batch.series {
        loop {
            if held >= SAMPLES {
                all.push(MetricBatch {
                    metadata: batch.metadata.clone(),
                    ..MetricBatch::default()
                });
                held = 0;
            }
            let room = SAMPLES - held;
            let rest = series.samples.split_off(series.samples.len().min(room));
            let labels = series.labels.clone();
            held += series.samples.len().max(1);
            series.key = None;
            if let Some(last) = all.last_mut() {
                last.series.push(series);
            }
            if rest.is_empty() {
                break;
            }
            series = obs_model::metrics::Series {
                labels,
                samples: rest,
                ..obs_model::metrics::Series::default()
            };
        }
    }
    all
}

/// Requests with spans.
fn spans(batch: SpanBatch, now: Timestamp) -> Vec<Made> {
    let mut all = Vec::new();
    let mut bytes = Vec::new();
    for some in split_spans(batch) {
        bytes.clear();
        otlp::traces::encode_protobuf(&some, &mut bytes);
        all.push(made(Content::Traces, some.span_count(), now, &gzip(&bytes)));
    }
    all
}

fn split_spans(batch: SpanBatch) -> Vec<SpanBatch> {
    let mut all = Vec::new();
    let (mut now, mut held) = (SpanBatch::default(), 0);
    for from in batch.resources {
        for scope in from.scopes {
            let mut spans = scope.spans;
            while !spans.is_empty() {
                let rest = spans.split_off(spans.len().min(SPANS - held));
                held += spans.len();
                now.resources.push(ResourceSpans {
                    resource: from.resource.clone(),
                    scopes: vec![ScopeSpans {
                        scope: scope.scope.clone(),
                        spans,
                    }],
                });
                if held >= SPANS {
                    all.push(std::mem::take(&mut now));
                    held = 0;
                }
                spans = rest;
            }
        }
    }
    if held > 0 {
        all.push(now);
    }
    all
}

#[cfg(test)]
mod tests {
    use obs_model::LogRecord;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn payloads_come_back(body in proptest::collection::vec(any::<u8>(), 0..50), items in 0usize..9, at in any::<i64>()) {
            let time = Timestamp::from_nanos(at);
            for content in Content::ALL {
                let made = made(content, items, time, &body);
                let queued = Queued { content, items: items as u64, time, body: &body };
                prop_assert_eq!(read(&made.payload), Some(queued));
                prop_assert_eq!(read(&made.payload[..HEAD_BYTES - 1]), None);
            }
        }

        #[test]
        fn arbitrary_payloads(payload in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Some(queued) = read(&payload) {
                prop_assert_eq!(queued.body.len() + HEAD_BYTES, payload.len());
            }
        }

        #[test]
        fn requests_are_bounded_and_whole(sizes in proptest::collection::vec(0usize..600_000, 0..12)) {
            let record = |size: &usize| LogRecord {
                time: Timestamp::from_seconds(1),
                line: vec![b'x'; *size],
                metadata: Labels::empty(),
            };
            let batch = LogBatch {
                streams: vec![LogStream {
                    labels: Labels::from_pairs([("a", "b")]),
                    records: sizes.iter().map(record).collect(),
                }],
            };
            let all = split_logs(batch.clone());
            for some in &all {
                let bytes: usize = some.streams.iter().flat_map(|s| &s.records).map(|r| r.line.len()).sum();
                prop_assert!(bytes <= TEXT_BYTES);
            }
            let back = all.into_iter().flat_map(|b| b.streams).flat_map(|s| s.records);
            let original = batch.streams.into_iter().flat_map(|s| s.records);
            prop_assert!(back.eq(original));
        }
    }

    #[test]
    fn samples_and_spans_are_split() {
        use obs_model::metrics::{Sample, Series};
        let sample = |at| Sample {
            time: Timestamp::from_millis(at),
            start: None,
            value: obs_model::Value::Float(1.0),
        };
        let series = |count| Series {
            labels: Labels::from_pairs([("__name__", "a")]),
            samples: (0..count).map(sample).collect(),
            ..Series::default()
        };
        let batch = MetricBatch {
            series: vec![series(3), series(12_000), series(2)],
            ..MetricBatch::default()
        };
        let all = split_metrics(batch);
        assert_eq!(
            all.iter().map(MetricBatch::sample_count).sum::<usize>(),
            12_005
        );
        assert!(all.iter().all(|some| some.sample_count() <= SAMPLES));
        let scope = ScopeSpans {
            spans: vec![obs_model::spans::Span::default(); 2500],
            ..ScopeSpans::default()
        };
        let batch = SpanBatch {
            resources: vec![ResourceSpans {
                scopes: vec![scope],
                ..ResourceSpans::default()
            }],
        };
        let counts: Vec<usize> = split_spans(batch)
            .iter()
            .map(SpanBatch::span_count)
            .collect();
        assert_eq!(counts, [1000, 1000, 500]);
    }
}
