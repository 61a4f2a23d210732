//! The JSON of Loki's HTTP API: query answers with statistics, lists, index statistics.
//!
//! Invariants: times of lines are strings of nanoseconds, times of samples are seconds; each
//! entry is printed under exactly one stream. Lines that are not UTF-8 are printed with U+FFFD.
//! Errors have no shape here: Loki sends them as plain text.
//! Reference: <https://grafana.com/docs/loki/latest/reference/loki-http-api/>

use std::collections::BTreeMap;

use obs_model::answer::LogLines;
use obs_model::logs::LogRecord;
use obs_model::{Answer, Labels, Reply, Timestamp, Value};

use crate::error::WireError;
use crate::json::Writer;
use crate::number;

/// The media type of all answers.
pub const CONTENT_TYPE: &str = "application/json; charset=UTF-8";

/// The request header that chooses how labels of lines are told.
pub const ENCODING_FLAGS_HEADER: &str = "X-Loki-Response-Encoding-Flags";

const CATEGORIZE: &str = "categorize-labels";

/// How the labels of a line are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LabelEncoding {
    /// All labels of a line make its stream.
    #[default]
    Merged,
    /// Structured metadata and parsed labels stand apart, beside each line.
    Categorized,
}

impl LabelEncoding {
    /// From the value of [`ENCODING_FLAGS_HEADER`]: flags with commas between them.
    pub fn from_header(value: &str) -> Self {
        match value.split(',').any(|flag| flag.trim() == CATEGORIZE) {
            true => Self::Categorized,
            false => Self::Merged,
        }
    }
}

/// What the server measured of a query.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timing {
    /// Seconds of work.
    pub exec_seconds: f64,
    /// Seconds of waiting before it.
    pub queue_seconds: f64,
}

/// Writes the answer of a query. Texts and traces have no shape in this API.
pub fn query(
    reply: &Reply,
    encoding: LabelEncoding,
    timing: Timing,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    let (kind, returned) = match &reply.answer {
        Answer::Scalar(..) => ("scalar", 1),
        Answer::Vector(samples) => ("vector", samples.len()),
        Answer::Matrix(series) => ("matrix", series.len()),
        Answer::Streams(streams) => {
            let lines = streams.iter().map(|s| s.stream.records.len()).sum();
            ("streams", lines)
        }
        Answer::String(..) => return Err(no_shape("an answer of text")),
        Answer::Traces(_) | Answer::SpanSeries(_) => {
            return Err(no_shape("an answer of traces"));
        }
    };
    let mut json = Writer::new(out);
    json.object();
    json.field("status", "success");
    json.key("data");
    json.object();
    json.field("resultType", kind);
    if encoding == LabelEncoding::Categorized {
        json.key("encodingFlags");
        json.strings([CATEGORIZE]);
    }
    json.key("result");
    result(&mut json, &reply.answer, encoding);
    json.key("stats");
    stats(&mut json, reply, timing, returned as u64);
    json.end_object();
    if !reply.annotations.warnings.is_empty() {
        json.key("warnings");
        json.strings(&reply.annotations.warnings);
    }
    json.end_object();
    Ok(())
}

fn no_shape(what: &str) -> WireError {
    WireError::Unsupported {
        what: format!("{what} in Loki's API"),
        expected: "a query for logs or metrics of logs",
    }
}

fn result(json: &mut Writer<'_>, answer: &Answer, encoding: LabelEncoding) {
    if let Answer::Scalar(time, value) = answer {
        return point(json, *time, *value);
    }
    json.array();
    match answer {
        Answer::Vector(samples) => {
            for sample in samples {
                json.object();
                json.key("metric");
                json.pairs(&sample.labels);
                json.key("value");
                point(json, sample.time, float(&sample.value));
                json.end_object();
            }
        }
        Answer::Matrix(series) => {
            for series in series {
                json.object();
                json.key("metric");
                json.pairs(&series.labels);
                json.key("values");
                json.array();
                for (time, value) in series.samples.times.iter().zip(&series.samples.floats) {
                    point(json, *time, *value);
                }
                json.end_array();
                json.end_object();
            }
        }
        Answer::Streams(lines) => match encoding {
            LabelEncoding::Merged => merged(json, lines),
            LabelEncoding::Categorized => lines.iter().for_each(|l| categorized(json, l)),
        },
        Answer::Scalar(..) | Answer::String(..) | Answer::Traces(_) | Answer::SpanSeries(_) => {}
    }
    json.end_array();
}

/// LogQL makes floats only.
fn float(value: &Value) -> f64 {
    match value {
        Value::Float(value) => *value,
        Value::Histogram(histogram) => histogram.sum,
    }
}

fn point(json: &mut Writer<'_>, time: Timestamp, value: f64) {
    json.array();
    json.value(|out| number::seconds(out, time));
    json.value(|out| {
        out.push(b'"');
        number::fixed(out, value);
        out.push(b'"');
    });
    json.end_array();
}

fn categorized(json: &mut Writer<'_>, lines: &LogLines) {
    json.object();
    json.key("stream");
    json.pairs(&lines.stream.labels);
    json.key("values");
    json.array();
    for (index, record) in lines.stream.records.iter().enumerate() {
        json.array();
        entry(json, record);
        json.object();
        if !record.metadata.is_empty() {
            json.key("structuredMetadata");
            json.pairs(&record.metadata);
        }
        if let Some(parsed) = lines.parsed.get(index).filter(|p| !p.is_empty()) {
            json.key("parsed");
            json.pairs(parsed);
        }
        json.end_object();
        json.end_array();
    }
    json.end_array();
    json.end_object();
}

/// One stream for each set of all labels, in order of labels; lines keep their order.
fn merged(json: &mut Writer<'_>, lines: &[LogLines]) {
    let mut streams: BTreeMap<Labels, Vec<&LogRecord>> = BTreeMap::new();
    for lines in lines {
        for (index, record) in lines.stream.records.iter().enumerate() {
            let parsed = lines.parsed.get(index);
            let labels = all_labels(&lines.stream.labels, &record.metadata, parsed);
            streams.entry(labels).or_default().push(record);
        }
    }
    for (labels, records) in streams {
        json.object();
        json.key("stream");
        json.pairs(&labels);
        json.key("values");
        json.array();
        for record in records {
            json.array();
            entry(json, record);
            json.end_array();
        }
        json.end_array();
        json.end_object();
    }
}

/// The stream's labels, overlaid by metadata, overlaid by parsed labels.
fn all_labels(stream: &Labels, metadata: &Labels, parsed: Option<&Labels>) -> Labels {
    let parsed = parsed.filter(|p| !p.is_empty());
    if metadata.is_empty() && parsed.is_none() {
        return stream.clone();
    }
    let mut builder = stream.to_builder();
    for (name, value) in metadata.iter().chain(parsed.into_iter().flatten()) {
        builder.set(name, value);
    }
    builder.build()
}

fn entry(json: &mut Writer<'_>, record: &LogRecord) {
    let nanos = record.time.nanos();
    json.value(|out| {
        out.push(b'"');
        out.extend_from_slice(nanos.to_string().as_bytes());
        out.push(b'"');
    });
    json.text(&record.line);
}

/// What a tail leaves out because its client is slow.
pub type Dropped = (Labels, Timestamp);

/// Writes one frame of a tail.
pub fn tail(lines: &[LogLines], dropped: &[Dropped], encoding: LabelEncoding, out: &mut Vec<u8>) {
    let mut json = Writer::new(out);
    json.object();
    json.key("streams");
    json.array();
    match encoding {
        LabelEncoding::Merged => merged(&mut json, lines),
        LabelEncoding::Categorized => lines.iter().for_each(|l| categorized(&mut json, l)),
    }
    json.end_array();
    if !dropped.is_empty() {
        json.key("dropped_entries");
        json.array();
        for (labels, time) in dropped {
            json.object();
            json.key("labels");
            json.pairs(labels);
            json.field("timestamp", &time.nanos().to_string());
            json.end_object();
        }
        json.end_array();
    }
    if encoding == LabelEncoding::Categorized {
        json.key("encodingFlags");
        json.strings([CATEGORIZE]);
    }
    json.end_object();
}

/// Writes one line of an export: a stream as the push API takes it, with one record, and a newline.
/// What a query's parsers made counts as structured metadata.
pub fn export_line(stream: &Labels, record: &LogRecord, parsed: &Labels, out: &mut Vec<u8>) {
    let mut json = Writer::new(out);
    json.object();
    json.key("stream");
    json.pairs(stream);
    json.key("values");
    json.array();
    json.array();
    entry(&mut json, record);
    if !record.metadata.is_empty() || !parsed.is_empty() {
        json.pairs(&all_labels(&record.metadata, parsed, None));
    }
    json.end_array();
    json.end_array();
    json.end_object();
    out.push(b'\n');
}

/// The rest of Loki's statistics: where this engine has no word for a number, it is zero.
const STATS_STORE: &str = r#"{"totalChunksRef":0,"totalChunksDownloaded":0,"chunksDownloadTime":0,"queryReferencedStructuredMetadata":false,"chunk":{"headChunkBytes":0,"headChunkLines":0,"decompressedBytes":0,"decompressedLines":0,"compressedBytes":0,"totalDuplicates":0,"postFilterLines":0,"headChunkStructuredMetadataBytes":0,"decompressedStructuredMetadataBytes":0},"chunkRefsFetchTime":0,"congestionControlLatency":0,"pipelineWrapperFilteredLines":0}"#;
const STATS_CACHE: [&str; 8] = [
    "chunk",
    "index",
    "result",
    "statsResult",
    "volumeResult",
    "seriesResult",
    "labelResult",
    "instantMetricResult",
];

/// The statistics that clients of Loki read.
fn stats(json: &mut Writer<'_>, reply: &Reply, timing: Timing, returned: u64) {
    let per_second = |count: u64| {
        let rate = count as f64 / timing.exec_seconds;
        if rate.is_finite() { rate as u64 } else { 0 }
    };
    json.object();
    json.key("summary");
    json.object();
    for (name, count) in [
        ("bytesProcessedPerSecond", per_second(reply.bytes_read)),
        ("linesProcessedPerSecond", per_second(reply.samples_read)),
        ("totalBytesProcessed", reply.bytes_read),
        ("totalLinesProcessed", reply.samples_read),
        ("totalEntriesReturned", returned),
        ("totalPostFilterLines", returned),
        ("totalStructuredMetadataBytesProcessed", 0),
        ("subqueries", 0),
        ("splits", 0),
        ("shards", 0),
    ] {
        json.key(name);
        json.unsigned(count);
    }
    json.key("execTime");
    json.number(timing.exec_seconds);
    json.key("queueTime");
    json.number(timing.queue_seconds);
    json.end_object();
    let store = |json: &mut Writer<'_>| {
        json.key("store");
        json.value(|out| out.extend_from_slice(STATS_STORE.as_bytes()));
    };
    json.key("querier");
    json.object();
    store(json);
    json.end_object();
    json.key("ingester");
    json.object();
    for name in [
        "totalReached",
        "totalChunksMatched",
        "totalBatches",
        "totalLinesSent",
    ] {
        json.key(name);
        json.unsigned(0);
    }
    store(json);
    json.end_object();
    json.key("cache");
    json.object();
    for name in STATS_CACHE {
        json.key(name);
        json.object();
        for count in [
            "entriesFound",
            "entriesRequested",
            "entriesStored",
            "bytesReceived",
        ] {
            json.key(count);
            json.unsigned(0);
        }
        json.end_object();
    }
    json.end_object();
    json.end_object();
}

/// Writes a list of texts: label names or values.
pub fn strings<S: AsRef<str>>(texts: &[S], out: &mut Vec<u8>) {
    envelope(out, |json| json.strings(texts));
}

/// Writes a list of label sets.
pub fn series(series: &[Labels], out: &mut Vec<u8>) {
    envelope(out, |json| {
        json.array();
        for labels in series {
            json.pairs(labels);
        }
        json.end_array();
    });
}

fn envelope(out: &mut Vec<u8>, data: impl FnOnce(&mut Writer<'_>)) {
    let mut json = Writer::new(out);
    json.object();
    json.field("status", "success");
    json.key("data");
    data(&mut json);
    json.end_object();
}

/// How much matches a selector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexStats {
    /// Streams.
    pub streams: u64,
    /// Parts that hold some of them; Loki's word is chunks.
    pub chunks: u64,
    /// Lines.
    pub entries: u64,
    /// Bytes of lines.
    pub bytes: u64,
}

/// Writes `index/stats`, which has no envelope.
pub fn index_stats(stats: IndexStats, out: &mut Vec<u8>) {
    let mut json = Writer::new(out);
    json.object();
    for (name, count) in [
        ("streams", stats.streams),
        ("chunks", stats.chunks),
        ("bytes", stats.bytes),
        ("entries", stats.entries),
    ] {
        json.key(name);
        json.unsigned(count);
    }
    json.end_object();
}

#[cfg(test)]
mod tests;
