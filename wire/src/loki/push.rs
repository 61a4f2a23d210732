//! Loki's push API: JSON and protobuf (after snappy) to a batch of log records.
//!
//! Invariants: the bytes of a line are kept as they are, also where they are not UTF-8; a stream
//! has at least one label and its names are of LogQL's alphabet; JSON is read without a tree, and
//! what is unknown is skipped without recursion. As in Loki, a stream whose labels are wrong costs
//! its own records only. Lines, labels and metadata over their limits are read all the same: the
//! store drops those records alone and keeps the rest of the request. What would grow memory
//! beyond the body's own size, or has no place in time, is refused here, that record alone.
//! Format: <https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs>

mod json;

use std::borrow::Cow;

use obs_model::labels::is_legacy_name;
use obs_model::limits::Limits;
use obs_model::logs::{LogBatch, LogRecord, LogStream};
use obs_model::time::NANOS_PER_SECOND;
use obs_model::{Labels, Timestamp};

use crate::cursor::{self, Cursor, Escapes, LabelFault};
use crate::error::WireError;
use crate::otlp::metrics::name::label_name;
use crate::protobuf::{Message, Wire};
use crate::rejects::{Decoded, Rejects, clipped, shown};

pub use json::decode_json;

const FORMAT: &str = "loki push request";
const LABELS_FORMAT: &str = "loki stream labels";
/// What an empty label set should be.
const NO_LABELS: &str = "a stream with at least one label";
/// Pairs of one label set that are read so that a smaller limit can be told; the pairs take more
/// memory than their text.
const PAIRS_READ_MAX: usize = 1024;

/// Reads a `logproto.PushRequest` that was already decompressed.
pub fn decode_protobuf(body: &[u8], limits: &Limits) -> Result<Decoded<LogBatch>, WireError> {
    check_size(body, limits)?;
    let builder = Builder::new(limits);
    let (mut batch, mut rejects) = (LogBatch::default(), Rejects::default());
    let mut fields = Message::new(FORMAT, body).fields();
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (1, Wire::Bytes(message)) => {
                let (labels, entries) = stream(message, &builder)?;
                entries.under(labels, &mut batch, &mut rejects);
            }
            (1, _) => return Err(fields.mistyped(number, "a message")),
            _ => {}
        }
    }
    Ok(rejects.into_decoded(batch))
}

fn check_size(body: &[u8], limits: &Limits) -> Result<(), WireError> {
    let max = limits.decompressed_bytes_max;
    if body.len() > max {
        return Err(WireError::too_large(FORMAT, crate::capped::LIMIT, max));
    }
    Ok(())
}

/// Labels, or what is wrong with them, and what came under them.
type Read = (Result<Labels, WireError>, Entries);

/// Why a record is not taken, while the rest of its stream is.
#[derive(Debug)]
enum RecordFault {
    /// So many pairs of structured metadata, and how many there may be.
    Metadata(usize, usize),
    /// Seconds and nanoseconds that are no point in time.
    Time(i64, i64),
}

impl RecordFault {
    /// In Loki's words.
    fn told(&self, stream: &str) -> String {
        match self {
            Self::Metadata(found, max) => format!(
                "stream '{stream}' has too many structured metadata labels: '{found}', limit: '{max}'"
            ),
            Self::Time(seconds, nanos) => format!(
                "entry for stream '{stream}' has timestamp out of range: {seconds} seconds and \
                 {nanos} nanoseconds, expected one of the years 1677 to 2262"
            ),
        }
    }
}

/// The entries of a stream: records, and the first of each kind that are none.
#[derive(Debug, Default)]
struct Entries {
    records: Vec<LogRecord>,
    metadata: Option<(usize, RecordFault)>,
    time: Option<(usize, RecordFault)>,
}

impl Entries {
    fn add(&mut self, entry: Result<LogRecord, RecordFault>) {
        let fault = match entry {
            Ok(record) => return self.records.push(record),
            Err(fault) => fault,
        };
        let first = match fault {
            RecordFault::Metadata(..) => &mut self.metadata,
            RecordFault::Time(..) => &mut self.time,
        };
        first.get_or_insert((0, fault)).0 += 1;
    }

    /// Puts the records under their labels, and counts those that are refused.
    fn under(self, labels: Result<Labels, WireError>, batch: &mut LogBatch, rejects: &mut Rejects) {
        let faults = [self.metadata, self.time];
        match labels {
            Ok(labels) => {
                for (count, fault) in faults.into_iter().flatten() {
                    rejects.add(count, fault.told(&clipped(&labels.to_string())));
                }
                let records = self.records;
                batch.streams.push(LogStream { labels, records });
            }
            Err(fault) => {
                let odd: usize = faults.iter().flatten().map(|(count, _)| count).sum();
                rejects.add(self.records.len() + odd, fault.to_string());
            }
        }
    }
}

fn stream(message: Message<'_>, builder: &Builder) -> Result<Read, WireError> {
    let mut labels = Err(message.fault(NO_LABELS));
    let mut entries = Entries::default();
    let mut fields = message.fields();
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (1, Wire::Bytes(text)) => labels = builder.label_text(text),
            (2, Wire::Bytes(entry)) => entries.add(record(entry, builder)?),
            (1, _) => return Err(fields.mistyped(number, "a string")),
            (2, _) => return Err(fields.mistyped(number, "a message")),
            _ => {}
        }
    }
    Ok((labels, entries))
}

fn record(
    message: Message<'_>,
    builder: &Builder,
) -> Result<Result<LogRecord, RecordFault>, WireError> {
    let mut record = LogRecord {
        time: Timestamp::default(),
        line: Vec::new(),
        metadata: builder.empty.clone(),
    };
    let mut fault = None;
    let (mut pairs, mut found) = (Vec::new(), 0);
    let mut fields = message.fields();
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (1, Wire::Bytes(time)) => match timestamp(time)? {
                Ok(time) => record.time = time,
                Err(odd) => fault = Some(odd),
            },
            (2, Wire::Bytes(line)) => record.line = line.bytes.to_vec(),
            (3, Wire::Bytes(pair)) => {
                found += 1;
                if found <= builder.limits.metadata_max {
                    pairs.push(metadata_pair(pair)?);
                }
            }
            (1 | 3, _) => return Err(fields.mistyped(number, "a message")),
            (2, _) => return Err(fields.mistyped(number, "a string")),
            _ => {}
        }
    }
    if found > pairs.len() {
        fault = Some(builder.too_much_metadata(found));
    }
    if let Some(fault) = fault {
        return Ok(Err(fault));
    }
    if !pairs.is_empty() {
        record.metadata = builder.metadata(&mut pairs)?;
    }
    Ok(Ok(record))
}

fn timestamp(message: Message<'_>) -> Result<Result<Timestamp, RecordFault>, WireError> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    let mut fields = message.fields();
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (1, Wire::Varint(value)) => seconds = value as i64,
            // An int32: negative ones are sign-extended to ten bytes.
            (2, Wire::Varint(value)) => nanos = value as i64,
            (1 | 2, _) => return Err(fields.mistyped(number, "an integer")),
            _ => {}
        }
    }
    let whole = seconds.checked_mul(NANOS_PER_SECOND);
    Ok(match whole.and_then(|whole| whole.checked_add(nanos)) {
        Some(time) if (0..NANOS_PER_SECOND).contains(&nanos) => Ok(Timestamp::from_nanos(time)),
        _ => Err(RecordFault::Time(seconds, nanos)),
    })
}

/// Bytes that are not UTF-8 become U+FFFD: one of them must not cost the request.
fn metadata_pair<'a>(message: Message<'a>) -> Result<(Cow<'a, str>, Cow<'a, str>), WireError> {
    let (mut name, mut value) = (Cow::Borrowed(""), Cow::Borrowed(""));
    let mut fields = message.fields();
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (1, Wire::Bytes(text)) => name = String::from_utf8_lossy(text.bytes),
            (2, Wire::Bytes(text)) => value = String::from_utf8_lossy(text.bytes),
            (1 | 2, _) => return Err(fields.mistyped(number, "a string")),
            _ => {}
        }
    }
    Ok((name, value))
}

/// Reads a label set such as `{job="a", host="b"}` with Go's escapes, as clients of the protobuf
/// form send it.
pub fn parse_labels(text: &str, limits: &Limits) -> Result<Labels, WireError> {
    Builder::new(limits).parse(text)
}

/// Makes labels and checks what both forms must keep to.
struct Builder {
    limits: Limits,
    metadata_limits: Limits,
    /// The limit that senders are told; the store keeps to it.
    told_metadata_max: usize,
    /// Most records have no metadata; they share one allocation.
    empty: Labels,
}

impl Builder {
    fn new(limits: &Limits) -> Self {
        let told_metadata_max = limits.metadata_max;
        let limits = Limits {
            labels_max: limits.labels_max.max(PAIRS_READ_MAX),
            metadata_max: limits.metadata_max.max(PAIRS_READ_MAX),
            label_name_bytes_max: usize::MAX,
            label_value_bytes_max: usize::MAX,
            ..*limits
        };
        Self {
            limits,
            metadata_limits: Limits {
                labels_max: limits.metadata_max,
                ..limits
            },
            told_metadata_max,
            empty: Labels::empty(),
        }
    }

    /// Label text inside of a message: faults tell the byte in the body.
    fn label_text(&self, message: Message<'_>) -> Result<Labels, WireError> {
        self.parse(message.text()?).map_err(|error| match error {
            WireError::Malformed {
                position, expected, ..
            } => message.fault(format!("stream labels; at {position} of them: {expected}")),
            other => other,
        })
    }

    fn parse(&self, text: &str) -> Result<Labels, WireError> {
        let mut cursor = Cursor::new(LABELS_FORMAT, text);
        let mut pairs = Vec::new();
        cursor.blanks();
        let bare = cursor.braces(Escapes::Go, &self.limits, &mut pairs)?;
        cursor.blanks();
        if cursor.peek().is_some() {
            return Err(cursor.fault("the end of the labels"));
        }
        if bare.is_some() {
            return Err(cursor.fault_at(0, "labels with values"));
        }
        self.labels(&mut pairs, |expected| cursor.fault_at(0, &expected))
    }

    fn labels<N: AsRef<str>, V: AsRef<str>>(
        &self,
        pairs: &mut [(N, V)],
        malformed: impl Fn(String) -> WireError,
    ) -> Result<Labels, WireError> {
        let odd = pairs
            .iter()
            .find(|(name, _)| !is_legacy_name(name.as_ref()));
        if let Some((name, _)) = odd {
            let name = shown(name.as_ref());
            let expected = format!("label names of letters, digits and _ only, found {name}");
            return Err(malformed(expected));
        }
        let labels = cursor::labels(pairs, &self.limits)
            .map_err(|fault| fault.into_error(FORMAT, &malformed))?;
        if labels.is_empty() {
            return Err(malformed(NO_LABELS.to_owned()));
        }
        Ok(labels)
    }

    /// The fault of a record with so many pairs that they were not read.
    fn too_much_metadata(&self, found: usize) -> RecordFault {
        RecordFault::Metadata(found, self.told_metadata_max)
    }

    /// Structured metadata: names become such that LogQL can speak of, as Loki makes them; of equal
    /// names the last one wins.
    fn metadata<N: AsRef<str>, V: AsRef<str>>(
        &self,
        pairs: &mut Vec<(N, V)>,
    ) -> Result<Labels, WireError> {
        if pairs.iter().all(|(name, _)| is_legacy_name(name.as_ref())) {
            return self.named(pairs);
        }
        let named = pairs
            .iter()
            .map(|(name, value)| (label_name(name.as_ref()), value.as_ref()));
        self.named(&mut named.collect::<Vec<(String, &str)>>())
    }

    fn named<N: AsRef<str>, V: AsRef<str>>(
        &self,
        pairs: &mut Vec<(N, V)>,
    ) -> Result<Labels, WireError> {
        match cursor::labels(pairs, &self.metadata_limits) {
            Ok(labels) => Ok(labels),
            Err(LabelFault::Limit(limit, max)) => Err(WireError::too_large(FORMAT, limit, max)),
            Err(LabelFault::Duplicate(_)) => {
                pairs.reverse();
                pairs.sort_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
                pairs.dedup_by(|a, b| a.0.as_ref() == b.0.as_ref());
                self.named(pairs)
            }
        }
    }
}

#[cfg(test)]
mod tests;
