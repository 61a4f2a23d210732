//! Batches of log records as Loki's push API takes them: protobuf, before snappy.
//!
//! Invariant: [`super::push::decode_protobuf`] reads back what was written, but for labels that
//! Loki's alphabet does not have, which are written by the names that it would give them.

use obs_model::logs::LogBatch;
use obs_model::time::NANOS_PER_SECOND;
use obs_model::{Labels, Timestamp};

use crate::otlp::metrics::name::label_name;
use crate::protobuf::put;

/// Writes a `logproto.PushRequest`; the sender compresses it with [`crate::snappy::encode`].
pub fn encode(batch: &LogBatch, out: &mut Vec<u8>) {
    let mut entry = Vec::new();
    let mut stream_bytes = Vec::new();
    for stream in &batch.streams {
        stream_bytes.clear();
        put::bytes(&mut stream_bytes, 1, label_text(&stream.labels).as_bytes());
        // Records of a stream usually share their metadata.
        let mut last: Option<(&Labels, Vec<u8>)> = None;
        for record in &stream.records {
            entry.clear();
            put_time(&mut entry, record.time);
            put::bytes(&mut entry, 2, &record.line);
            if !record.metadata.is_empty() {
                let known = last
                    .as_ref()
                    .is_some_and(|(labels, _)| *labels == &record.metadata);
                if !known {
                    last = Some((&record.metadata, metadata(&record.metadata)));
                }
                if let Some((_, bytes)) = &last {
                    entry.extend_from_slice(bytes);
                }
            }
            put::bytes(&mut stream_bytes, 2, &entry);
        }
        put::bytes(out, 1, &stream_bytes);
    }
}

fn put_time(out: &mut Vec<u8>, time: Timestamp) {
    let nanos = time.nanos();
    // The length goes before the fields: at most 17 bytes, so it is one byte of its own.
    out.extend_from_slice(&[1 << 3 | 2, 0]);
    let begin = out.len();
    put::uint(out, 1, nanos.div_euclid(NANOS_PER_SECOND) as u64);
    put::uint(out, 2, nanos.rem_euclid(NANOS_PER_SECOND) as u64);
    let length = out.len() - begin;
    out[begin - 1] = length as u8;
}

fn metadata(labels: &Labels) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in labels {
        put::message(&mut out, 3, |pair| {
            put::bytes(pair, 1, name.as_bytes());
            put::bytes(pair, 2, value.as_bytes());
        });
    }
    out
}

/// `{name="value", …}`; of a stream without labels, the one that Loki asks for.
fn label_text(labels: &Labels) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("{");
    for (name, value) in labels {
        if text.len() > 1 {
            text.push_str(", ");
        }
        text.push_str(&label_name(name));
        text.push_str("=\"");
        for c in value.chars() {
            match c {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                c if c.is_control() => {
                    write!(text, "\\u{:04x}", u32::from(c)).expect("a string has room");
                }
                c => text.push(c),
            }
        }
        text.push('"');
    }
    if text.len() == 1 {
        text.push_str("service_name=\"unknown_service\"");
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use obs_model::limits::Limits;
    use obs_model::logs::{LogRecord, LogStream};
    use proptest::prelude::*;

    use super::*;
    use crate::loki::push::decode_protobuf;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn comes_back(
            value in "[ -~\\n\\té\u{1}]{1,12}",
            lines in proptest::collection::vec((any::<i32>(), proptest::collection::vec(any::<u8>(), 0..40), "[a-z]{0,3}"), 1..8),
        ) {
            let records = lines.into_iter().map(|(at, line, id)| LogRecord {
                time: Timestamp::from_nanos(i64::from(at) * 1_234_567_891),
                line,
                metadata: Labels::from_pairs([("id", id)]),
            });
            let batch = LogBatch {
                streams: vec![LogStream {
                    labels: Labels::from_pairs([("app", value.as_str()), ("b", "c")]),
                    records: records.collect(),
                }],
            };
            let mut bytes = Vec::new();
            encode(&batch, &mut bytes);
            let read = decode_protobuf(&bytes, &Limits::default()).unwrap();
            prop_assert_eq!(read.batch, batch);
        }
    }
}
