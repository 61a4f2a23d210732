//! Which records of a batch are taken in. What is over a limit is dropped with its reason and the
//! rest is kept, as Loki's partial accept does.
//!
//! Invariant: what is left in the batch is within every limit given; nothing is changed or cut.

use std::collections::HashSet;
use std::fmt;

use obs_model::limits::Limits;
use obs_model::{Labels, LogBatch};

use crate::record::{RECORD_BYTES_MAX, ROW_BYTES};

/// Why records were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The stream has no label.
    NoLabels,
    /// The stream has more labels than `labels_max`.
    TooManyLabels,
    /// A label name is longer than `label_name_bytes_max`.
    LabelNameTooLong,
    /// A label value is longer than `label_value_bytes_max`.
    LabelValueTooLong,
    /// The stream is new and there are `streams_max` already.
    TooManyStreams,
    /// The line is longer than `line_bytes_max`.
    LineTooLong,
    /// The record has more structured metadata than `metadata_max`.
    TooMuchMetadata,
    /// A name or value of structured metadata is over the limits of labels.
    MetadataTooLong,
    /// The batch does not fit in one journal record; the rest must be sent again in another.
    BatchTooLarge,
}

impl Reason {
    /// As Loki names it in its counters of discarded samples; stable, for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoLabels => "missing_labels",
            Self::TooManyLabels => "max_label_names_per_series",
            Self::LabelNameTooLong => "label_name_too_long",
            Self::LabelValueTooLong => "label_value_too_long",
            Self::TooManyStreams => "stream_limit",
            Self::LineTooLong => "line_too_long",
            Self::TooMuchMetadata => "structured_metadata_too_many",
            Self::MetadataTooLong => "structured_metadata_too_large",
            Self::BatchTooLarge => "batch_too_large",
        }
    }
}

/// Records that were dropped for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// How many records.
    pub records: u64,
    /// Bytes of their lines.
    pub bytes: u64,
    /// Labels of the first stream that it happened to.
    pub example: Labels,
    /// The limit's value.
    pub max: usize,
    /// What the first one had.
    pub found: usize,
}

/// In Loki's words, with the limits' names here.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (found, max, example) = (self.found, self.max, clip(&self.example));
        match self.reason {
            Reason::NoLabels => write!(f, "at least one label pair is required per stream")?,
            Reason::TooManyLabels => write!(
                f,
                "entry for stream '{example}' has {found} label names; limit {max} (obs.limits.labels_max)"
            )?,
            Reason::LabelNameTooLong => write!(
                f,
                "stream '{example}' has label name too long: {found} bytes, limit {max} (obs.limits.label_name_bytes_max)"
            )?,
            Reason::LabelValueTooLong => write!(
                f,
                "stream '{example}' has label value too long: {found} bytes, limit {max} (obs.limits.label_value_bytes_max)"
            )?,
            Reason::TooManyStreams => write!(
                f,
                "Maximum active stream limit exceeded when trying to create stream {example}, reduce the number of active streams (reduce labels or reduce label values), or raise obs.limits.streams_max = {max}"
            )?,
            Reason::LineTooLong => write!(
                f,
                "max entry size '{max}' bytes exceeded for stream '{example}' while adding an entry with length '{found}' bytes (obs.limits.line_bytes_max)"
            )?,
            Reason::TooMuchMetadata => write!(
                f,
                "stream '{example}' has too many structured metadata labels: '{found}', limit: '{max}' (obs.limits.metadata_max)"
            )?,
            Reason::MetadataTooLong => write!(
                f,
                "stream '{example}' has structured metadata too large: '{found}' bytes, limit: '{max}' bytes (obs.limits.label_name_bytes_max a name, obs.limits.label_value_bytes_max a value)"
            )?,
            Reason::BatchTooLarge => write!(
                f,
                "one request of more than {max} bytes of lines, labels and structured metadata, from stream {example} on; send less at once"
            )?,
        }
        write!(f, " ({} records dropped)", self.records)
    }
}

/// The start of a stream's labels, short enough for a message: it is the labels that may be too
/// many or too long.
fn clip(labels: &Labels) -> String {
    const CHARACTERS_MAX: usize = 300;
    let text = labels.to_string();
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The streams that a tenant has already.
pub trait KnownStreams {
    /// How many are active.
    fn count(&self) -> usize;
    /// Whether a stream is one of them.
    fn has(&self, labels: &Labels) -> bool;
}

/// Drops what is over the limits; gives one entry per reason, in order of reason. What is left
/// fits in one journal record.
pub fn admit(batch: &mut LogBatch, limits: &Limits, known: &dyn KnownStreams) -> Vec<Refused> {
    admit_within(batch, limits, known, RECORD_BYTES_MAX)
}

fn admit_within(
    batch: &mut LogBatch,
    limits: &Limits,
    known: &dyn KnownStreams,
    bytes_max: usize,
) -> Vec<Refused> {
    let mut refused: Vec<Refused> = Vec::new();
    let mut fresh: HashSet<Labels> = HashSet::new();
    let count = known.count();
    let mut size = 0;
    batch.streams.retain_mut(|stream| {
        let labels = &stream.labels;
        let mut fault = stream_fault(labels, limits);
        if fault.is_none() && !fresh.contains(labels) && !known.has(labels) {
            if count + fresh.len() >= limits.streams_max {
                fault = Some(Fault {
                    reason: Reason::TooManyStreams,
                    max: limits.streams_max,
                    found: count,
                });
            } else {
                fresh.insert(labels.clone());
            }
        }
        if let Some(fault) = fault {
            let bytes = stream.records.iter().map(|r| r.line.len() as u64).sum();
            refuse(
                &mut refused,
                fault,
                labels,
                stream.records.len() as u64,
                bytes,
            );
            return false;
        }
        size += labels.packed().len() + ROW_BYTES;
        // Metadata that repeats stands once in a journal record; sharing is seen by its address.
        let mut last: *const u8 = std::ptr::null();
        stream.records.retain(|record| {
            let mut fault = record_fault(&record.line, &record.metadata, limits);
            if fault.is_none() {
                let packed = record.metadata.packed();
                let fresh = if packed.as_ptr() == last {
                    0
                } else {
                    packed.len()
                };
                last = packed.as_ptr();
                size += record.line.len() + fresh + ROW_BYTES;
                fault = over(Reason::BatchTooLarge, size, bytes_max);
            }
            let kept = fault.is_none();
            if let Some(fault) = fault {
                refuse(&mut refused, fault, labels, 1, record.line.len() as u64);
            }
            kept
        });
        !stream.records.is_empty()
    });
    refused
}

#[derive(Clone, Copy)]
struct Fault {
    reason: Reason,
    max: usize,
    found: usize,
}

fn refuse(refused: &mut Vec<Refused>, fault: Fault, labels: &Labels, records: u64, bytes: u64) {
    let index = match refused.binary_search_by_key(&fault.reason, |r| r.reason) {
        Ok(index) => index,
        Err(index) => {
            let first = Refused {
                reason: fault.reason,
                records: 0,
                bytes: 0,
                example: labels.clone(),
                max: fault.max,
                found: fault.found,
            };
            refused.insert(index, first);
            index
        }
    };
    refused[index].records += records;
    refused[index].bytes += bytes;
}

fn over(reason: Reason, found: usize, max: usize) -> Option<Fault> {
    (found > max).then_some(Fault { reason, max, found })
}

fn stream_fault(labels: &Labels, limits: &Limits) -> Option<Fault> {
    if labels.is_empty() {
        return Some(Fault {
            reason: Reason::NoLabels,
            max: 0,
            found: 0,
        });
    }
    over(Reason::TooManyLabels, labels.len(), limits.labels_max).or_else(|| {
        labels.iter().find_map(|(name, value)| {
            over(
                Reason::LabelNameTooLong,
                name.len(),
                limits.label_name_bytes_max,
            )
            .or_else(|| {
                over(
                    Reason::LabelValueTooLong,
                    value.len(),
                    limits.label_value_bytes_max,
                )
            })
        })
    })
}

fn record_fault(line: &[u8], metadata: &Labels, limits: &Limits) -> Option<Fault> {
    if let Some(fault) = over(Reason::LineTooLong, line.len(), limits.line_bytes_max) {
        return Some(fault);
    }
    // Both bounds hold for every set this short; the usual record is decided here.
    if metadata.packed().len() <= limits.metadata_max.min(limits.label_name_bytes_max) {
        return None;
    }
    over(Reason::TooMuchMetadata, metadata.len(), limits.metadata_max).or_else(|| {
        metadata.iter().find_map(|(name, value)| {
            over(
                Reason::MetadataTooLong,
                name.len(),
                limits.label_name_bytes_max,
            )
            .or_else(|| {
                over(
                    Reason::MetadataTooLong,
                    value.len(),
                    limits.label_value_bytes_max,
                )
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use obs_model::{LogRecord, LogStream, Timestamp};

    use super::*;

    struct Known(Vec<Labels>);

    impl KnownStreams for Known {
        fn count(&self) -> usize {
            self.0.len()
        }
        fn has(&self, labels: &Labels) -> bool {
            self.0.contains(labels)
        }
    }

    fn stream(labels: &[(&str, &str)], records: &[(&str, &[(&str, &str)])]) -> LogStream {
        let records = records.iter().map(|(line, metadata)| LogRecord {
            time: Timestamp::from_nanos(0),
            line: line.as_bytes().to_vec(),
            metadata: Labels::from_pairs(metadata.iter().copied()),
        });
        LogStream {
            labels: Labels::from_pairs(labels.iter().copied()),
            records: records.collect(),
        }
    }

    fn limits() -> Limits {
        Limits {
            line_bytes_max: 4,
            labels_max: 2,
            label_name_bytes_max: 8,
            label_value_bytes_max: 10,
            metadata_max: 1,
            streams_max: 2,
            ..Limits::default()
        }
    }

    fn check(streams: Vec<LogStream>, kept: usize, expect: &[(&str, u64)]) {
        let known = Known(vec![Labels::from_pairs([("old", "1")])]);
        let mut batch = LogBatch { streams };
        let refused = admit(&mut batch, &limits(), &known);
        let told: Vec<(&str, u64)> = refused
            .iter()
            .map(|r| (r.reason.as_str(), r.records))
            .collect();
        assert_eq!((batch.record_count(), told.as_slice()), (kept, expect));
        assert!(
            refused
                .iter()
                .all(|r| r.to_string().contains("records dropped"))
        );
    }

    #[test]
    fn over_a_limit_is_dropped_and_counted() {
        let long = "x".repeat(11);
        check(
            vec![stream(&[("a", "1")], &[("1234", &[]), ("12345", &[])])],
            1,
            &[("line_too_long", 1)],
        );
        check(
            vec![stream(&[], &[("a", &[]), ("b", &[])])],
            0,
            &[("missing_labels", 2)],
        );
        let three = [("a", "1"), ("b", "1"), ("c", "1")];
        check(
            vec![stream(&three, &[("a", &[])])],
            0,
            &[("max_label_names_per_series", 1)],
        );
        check(
            vec![stream(&[("a", &long)], &[("a", &[])])],
            0,
            &[("label_value_too_long", 1)],
        );
        check(
            vec![stream(&[("abcdefghi", "1")], &[("a", &[])])],
            0,
            &[("label_name_too_long", 1)],
        );
        let metadata: &[(&str, &str)] = &[("a", "1"), ("b", "2")];
        check(
            vec![stream(
                &[("a", "1")],
                &[
                    ("a", metadata),
                    ("a", &[("a", &long)]),
                    ("b", &[("a", "1")]),
                ],
            )],
            1,
            &[
                ("structured_metadata_too_many", 1),
                ("structured_metadata_too_large", 1),
            ],
        );
    }

    #[test]
    fn a_reason_is_short_although_the_labels_are_long() {
        let value = "ä".repeat(1 << 20);
        let mut batch = LogBatch {
            streams: vec![stream(&[("a", &value)], &[("x", &[])])],
        };
        let refused = admit(&mut batch, &limits(), &Known(Vec::new()));
        let told = refused[0].to_string();
        assert!(told.len() < 1000, "{} bytes", told.len());
        assert!(told.contains("label_value_bytes_max"), "{told}");
    }

    #[test]
    fn a_batch_that_one_record_cannot_hold_is_cut() {
        let known = Known(Vec::new());
        let records: Vec<(&str, &[(&str, &str)])> = vec![("1234", &[]); 100];
        let mut batch = LogBatch {
            streams: vec![
                stream(&[("a", "1")], &records),
                stream(&[("b", "1")], &records),
            ],
        };
        let refused = admit_within(&mut batch, &limits(), &known, 5000);
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].reason, Reason::BatchTooLarge);
        assert!(batch.record_count() > 50);
        assert_eq!(batch.record_count() as u64 + refused[0].records, 200);
        let mut record = Vec::new();
        crate::encode(&batch, &mut record);
        assert!(record.len() < 5000);
    }

    #[test]
    fn known_streams_go_on_at_the_limit() {
        let streams = ["1", "2", "1"].map(|v| stream(&[("new", v)], &[("a", &[])]));
        let mut streams = streams.to_vec();
        streams.push(stream(&[("old", "1")], &[("a", &[])]));
        check(streams, 3, &[("stream_limit", 1)]);
    }
}
