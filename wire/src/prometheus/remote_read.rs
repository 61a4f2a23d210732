//! Remote read: `prometheus.ReadRequest` in; `ReadResponse` (samples) or frames of
//! `ChunkedReadResponse` (chunks) out.
//!
//! Invariants: a request has a bounded number of queries and matchers; a frame holds one series, or
//! a run of its chunks, of about [`FRAME_BYTES_MAX`] at most, with its length and checksum before it.
//! Format: <https://prometheus.io/docs/prometheus/latest/querying/remote_read_api/>

use obs_model::limits::Limits;
use obs_model::matcher::MatchOp;
use obs_model::{Labels, Matcher, Samples, TimeRange, Timestamp, Value};

use super::chunk;
use super::remote_write::{put_labels, put_sample};
use crate::capped::LIMIT;
use crate::error::WireError;
use crate::number;
use crate::protobuf::{Message, Wire, put, read_varint};

const FORMAT: &str = "remote read request";

/// Queries of one request: Prometheus itself asks one at a time.
const QUERIES_MAX: usize = 64;
/// Matchers of one query.
const MATCHERS_MAX: usize = 1024;

/// Bytes of one frame before another begins; as Prometheus' `storage.remote.read-max-bytes-in-frame`.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// The content type of an answer with samples.
pub const SAMPLES_TYPE: &str = "application/x-protobuf";
/// The content type of an answer with chunks.
pub const STREAMED_TYPE: &str =
    "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadRequest {
    /// One answer for each.
    pub queries: Vec<ReadQuery>,
    /// Whether the answer is to be frames of chunks.
    pub streamed: bool,
}

/// One selection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadQuery {
    /// From and to, both included.
    pub range: TimeRange,
    /// All must be met.
    pub matchers: Vec<Matcher>,
}

/// Reads a request that was already decompressed.
pub fn decode(body: &[u8], limits: &Limits) -> Result<ReadRequest, WireError> {
    let max = limits.decompressed_bytes_max;
    if body.len() > max {
        return Err(WireError::too_large(FORMAT, LIMIT, max));
    }
    let mut request = ReadRequest::default();
    let mut accepted = Vec::new();
    let mut fields = Message::new(FORMAT, body).fields();
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (1, Wire::Bytes(message)) => {
                if request.queries.len() == QUERIES_MAX {
                    return Err(message.fault(format!("at most {QUERIES_MAX} queries")));
                }
                request.queries.push(query(message)?);
            }
            (2, Wire::Varint(kind)) if accepted.len() < QUERIES_MAX => accepted.push(kind),
            (2, Wire::Bytes(packed)) => {
                let mut rest = packed.bytes;
                while let Some((kind, length)) = read_varint(rest) {
                    if accepted.len() < QUERIES_MAX {
                        accepted.push(kind);
                    }
                    rest = &rest[length..];
                }
            }
            (1, _) => return Err(fields.mistyped(number, "a message")),
            _ => {}
        }
    }
    // The first that is known counts; nothing said means samples.
    let known = accepted.iter().find(|kind| **kind <= 1);
    match (known, accepted.is_empty()) {
        (None, false) => Err(WireError::Unsupported {
            what: format!("accepted response types {accepted:?}"),
            expected: "SAMPLES (0) or STREAMED_XOR_CHUNKS (1)",
        }),
        (known, _) => {
            request.streamed = known == Some(&1);
            Ok(request)
        }
    }
}

/// Writes a request of one query per list of matchers, all of the same range.
pub fn encode(queries: &[Vec<Matcher>], range: TimeRange, streamed: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for matchers in queries {
        put::message(&mut out, 1, |out| {
            put::uint(out, 1, range.start.millis() as u64);
            put::uint(out, 2, range.end.millis() as u64);
            for matcher in matchers {
                put::message(out, 3, |out| {
                    let kind = match matcher.op {
                        MatchOp::Equal => 0,
                        MatchOp::NotEqual => 1,
                        MatchOp::Regex => 2,
                        MatchOp::NotRegex => 3,
                    };
                    put::uint(out, 1, kind);
                    put::bytes(out, 2, matcher.name.as_bytes());
                    put::bytes(out, 3, matcher.value.as_bytes());
                });
            }
        });
    }
    put::uint(&mut out, 2, u64::from(streamed));
    out
}

fn query(message: Message<'_>) -> Result<ReadQuery, WireError> {
    let (mut start, mut end, mut matchers) = (0, 0, Vec::new());
    let mut fields = message.fields();
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (1, Wire::Varint(millis)) => start = millis as i64,
            (2, Wire::Varint(millis)) => end = millis as i64,
            (3, Wire::Bytes(one)) => {
                if matchers.len() == MATCHERS_MAX {
                    return Err(one.fault(format!("at most {MATCHERS_MAX} matchers")));
                }
                matchers.push(matcher(one)?);
            }
            (1 | 2, _) => return Err(fields.mistyped(number, "an integer")),
            (3, _) => return Err(fields.mistyped(number, "a message")),
            _ => {}
        }
    }
    // What lies beyond all time is asked for as "since ever" and "for ever".
    let clamp = |millis: i64, otherwise| number::time_from_millis(millis).unwrap_or(otherwise);
    let beyond = |millis: i64| {
        if millis < 0 {
            Timestamp::MIN
        } else {
            Timestamp::MAX
        }
    };
    Ok(ReadQuery {
        range: TimeRange::new(clamp(start, beyond(start)), clamp(end, beyond(end))),
        matchers,
    })
}

fn matcher(message: Message<'_>) -> Result<Matcher, WireError> {
    let (mut kind, mut name, mut value) = (0, "", "");
    let mut fields = message.fields();
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (1, Wire::Varint(number)) => kind = number,
            (2, Wire::Bytes(text)) => name = text.text()?,
            (3, Wire::Bytes(text)) => value = text.text()?,
            (1, _) => return Err(fields.mistyped(number, "an integer")),
            (2 | 3, _) => return Err(fields.mistyped(number, "a string")),
            _ => {}
        }
    }
    let op = match kind {
        0 => MatchOp::Equal,
        1 => MatchOp::NotEqual,
        2 => MatchOp::Regex,
        3 => MatchOp::NotRegex,
        other => return Err(message.fault(format!("a matcher type of 0 to 3, found {other}"))),
    };
    Matcher::new(name, op, value).map_err(|error| message.fault(format!("a matcher ({error})")))
}

/// Writes one result (of one query, in order) of an answer with samples: a whole answer is the
/// results one after the other, compressed with [`crate::snappy::encode`].
pub fn put_result<'a>(
    series: impl IntoIterator<Item = (&'a Labels, &'a Samples)>,
    out: &mut Vec<u8>,
) {
    put::message(out, 1, |out| {
        for (labels, samples) in series {
            put::message(out, 1, |out| {
                put_labels(out, labels);
                for (time, value) in samples.iter() {
                    put_sample(out, time, &value);
                }
            });
        }
    });
}

/// Writes the frames of one series of one query.
pub fn put_frames(query: usize, labels: &Labels, samples: &Samples, out: &mut Vec<u8>) {
    let samples = samples.iter().map(|(time, value)| (time.millis(), value));
    let mut name = Vec::new();
    put_labels(&mut name, labels);
    let mut series = name.clone();
    for chunk in chunk::encode(samples) {
        if series.len() > name.len() && series.len() + chunk.data.len() > FRAME_BYTES_MAX {
            put_frame(query, &series, out);
            series.truncate(name.len());
        }
        put::message(&mut series, 2, |out| {
            put::uint(out, 1, chunk.first as u64);
            put::uint(out, 2, chunk.last as u64);
            put::uint(out, 3, chunk.encoding as u64);
            put::bytes(out, 4, &chunk.data);
        });
    }
    if series.len() > name.len() {
        put_frame(query, &series, out);
    }
}

fn put_frame(query: usize, series: &[u8], out: &mut Vec<u8>) {
    let mut message = Vec::with_capacity(series.len() + 16);
    put::bytes(&mut message, 1, series);
    put::uint(&mut message, 2, query as u64);
    put::varint(out, message.len() as u64);
    out.extend_from_slice(&crc32c::crc32c(&message).to_be_bytes());
    out.extend_from_slice(&message);
}

/// One series of a streamed answer.
#[derive(Clone, Debug)]
pub struct StreamedSeries {
    /// Which query it answers.
    pub query: usize,
    /// Its labels.
    pub labels: Labels,
    /// Its samples (milliseconds, value).
    pub samples: Vec<(i64, Value)>,
}

/// Reads the frames of a streamed answer.
pub fn decode_frames(mut bytes: &[u8], limits: &Limits) -> Result<Vec<StreamedSeries>, WireError> {
    const FORMAT: &str = "streamed remote read answer";
    let (whole, mut all) = (bytes.len(), Vec::new());
    while !bytes.is_empty() {
        let at = whole - bytes.len();
        let fault = |expected: &str| WireError::at_byte(FORMAT, at, expected);
        let (length, used) = read_varint(bytes).ok_or_else(|| fault("a length"))?;
        let rest = &bytes[used..];
        let (sum, rest) = rest
            .split_first_chunk::<4>()
            .ok_or_else(|| fault("a checksum"))?;
        let length = usize::try_from(length).ok().filter(|l| *l <= rest.len());
        let length = length.ok_or_else(|| fault("a length within the answer"))?;
        let (frame, rest) = rest.split_at(length);
        if crc32c::crc32c(frame) != u32::from_be_bytes(*sum) {
            return Err(fault("a frame that its checksum holds for"));
        }
        all.push(streamed_series(Message::new(FORMAT, frame), limits)?);
        bytes = rest;
    }
    Ok(all)
}

fn streamed_series(frame: Message<'_>, limits: &Limits) -> Result<StreamedSeries, WireError> {
    let (mut query, mut pairs, mut samples) = (0, Vec::new(), Vec::new());
    let mut fields = frame.fields();
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (1, Wire::Bytes(series)) => {
                let mut fields = series.fields();
                while let Some((number, wire)) = fields.next()? {
                    match (number, wire) {
                        (1, Wire::Bytes(label)) => {
                            super::remote_write::push_label(label, limits, &mut pairs)?;
                        }
                        (2, Wire::Bytes(chunk)) => decode_chunk(chunk, &mut samples)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Varint(number)) => query = usize::try_from(number).unwrap_or(usize::MAX),
            _ => {}
        }
    }
    let labels = crate::cursor::labels(&mut pairs, limits)
        .map_err(|fault| fault.into_error(frame.format, |expected| frame.fault(expected)))?;
    Ok(StreamedSeries {
        query,
        labels,
        samples,
    })
}

fn decode_chunk(message: Message<'_>, out: &mut Vec<(i64, Value)>) -> Result<(), WireError> {
    let (mut kind, mut data) = (0, &[][..]);
    let mut fields = message.fields();
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (3, Wire::Varint(number)) => kind = number,
            (4, Wire::Bytes(bytes)) => data = bytes.bytes,
            _ => {}
        }
    }
    let kind = chunk::Encoding::from_number(u8::try_from(kind).unwrap_or(0))?;
    chunk::decode(kind, data, |time, value| {
        out.push((time, value));
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use obs_model::histogram::Histogram;
    use proptest::prelude::*;

    use super::*;

    fn request(kinds: &[u64], queries: &[(i64, i64, u64, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (start, end, kind, value) in queries {
            put::message(&mut out, 1, |out| {
                put::uint(out, 1, *start as u64);
                put::uint(out, 2, *end as u64);
                put::message(out, 3, |out| {
                    put::uint(out, 1, *kind);
                    put::bytes(out, 2, b"job");
                    put::bytes(out, 3, value.as_bytes());
                });
                put::message(out, 4, |out| put::uint(out, 1, 15));
            });
        }
        for kind in kinds {
            put::uint(&mut out, 2, *kind);
            if *kind == 0 {
                out.extend_from_slice(&[0x10, 0]);
            }
        }
        out
    }

    #[test]
    fn requests() {
        let body = request(&[1, 0], &[(-5, 7, 3, "a|b"), (i64::MIN, i64::MAX, 0, "")]);
        let read = decode(&body, &Limits::default()).unwrap();
        assert!(read.streamed);
        let range = TimeRange::new(Timestamp::from_millis(-5), Timestamp::from_millis(7));
        assert_eq!(read.queries[0].range, range);
        assert_eq!(read.queries[0].matchers[0].op, MatchOp::NotRegex);
        assert_eq!(read.queries[1].range, TimeRange::ALL);
        assert!(!decode(&[], &Limits::default()).unwrap().streamed);
        assert!(
            !decode(&[0x12, 2, 9, 0], &Limits::default())
                .unwrap()
                .streamed
        );
        let check = |body: &[u8], expect: &str| {
            let error = decode(body, &Limits::default()).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check(
            &request(&[7], &[]),
            "accepted response types [7] is not supported",
        );
        check(
            &request(&[], &[(0, 1, 4, "")]),
            "a matcher type of 0 to 3, found 4",
        );
        check(&request(&[], &[(0, 1, 2, "(")]), "a matcher");
        check(&request(&[], &[(0, 1, 0, ""); 65]), "at most 64 queries");
    }

    #[test]
    fn requests_read_back() {
        let matcher = |op| Matcher::new("job", op, "a.*").unwrap();
        let queries = [
            vec![matcher(MatchOp::Equal), matcher(MatchOp::NotRegex)],
            vec![matcher(MatchOp::Regex), matcher(MatchOp::NotEqual)],
        ];
        let range = TimeRange::new(Timestamp::from_millis(-3), Timestamp::from_millis(9));
        let read = decode(&encode(&queries, range, true), &Limits::default()).unwrap();
        assert!(read.streamed && read.queries.iter().all(|q| q.range == range));
        assert_eq!(read.queries.map_matchers(), queries);
    }

    trait MapMatchers {
        fn map_matchers(self) -> Vec<Vec<Matcher>>;
    }

    impl MapMatchers for Vec<ReadQuery> {
        fn map_matchers(self) -> Vec<Vec<Matcher>> {
            self.into_iter().map(|query| query.matchers).collect()
        }
    }

    fn samples(count: i64) -> Samples {
        let mut samples = Samples::default();
        for index in 0..count {
            let value = if index % 7 == 6 {
                Value::Histogram(Arc::new(Histogram {
                    count: index as f64,
                    ..Histogram::default()
                }))
            } else {
                // Values without a pattern, so that chunks are large.
                Value::Float(f64::from_bits(
                    (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
                ))
            };
            samples.push(Timestamp::from_millis(index * 1000), value);
        }
        samples
    }

    #[test]
    fn frames_are_bounded_and_read_back() {
        let labels = Labels::from_pairs([("__name__", "a"), ("job", "b")]);
        let (samples, mut out) = (samples(200_000), Vec::new());
        put_frames(3, &labels, &samples, &mut out);
        let read = decode_frames(&out, &Limits::default()).unwrap();
        assert!(read.len() > 1 && out.len() < read.len() * (FRAME_BYTES_MAX + 1000));
        assert!(read.iter().all(|s| s.query == 3 && s.labels == labels));
        let all: Vec<_> = read.into_iter().flat_map(|s| s.samples).collect();
        assert_eq!(all.len(), samples.len());
        for ((time, value), (sent_time, sent)) in all.iter().zip(samples.iter()) {
            assert!(*time == sent_time.millis() && value.bit_eq(&sent) | !is_float(&sent));
        }
        out[20] ^= 1;
        let error = decode_frames(&out, &Limits::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains("checksum"), "{error}");
    }

    fn is_float(value: &Value) -> bool {
        matches!(value, Value::Float(_))
    }

    #[test]
    fn results_are_read_as_series() {
        let labels = Labels::from_pairs([("__name__", "a")]);
        let (samples, mut out) = (samples(10), Vec::new());
        put_result([(&labels, &samples)], &mut out);
        // A result has the shape of a write request inside.
        let mut fields = Message::new(FORMAT, &out).fields();
        let Some((1, Wire::Bytes(result))) = fields.next().unwrap() else {
            panic!("no result");
        };
        let read =
            super::super::remote_write::decode_v1(result.bytes, &Limits::default(), None).unwrap();
        assert_eq!(read.batch.series[0].labels, labels);
        assert_eq!(read.batch.sample_count(), 10);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn arbitrary_bytes(
            at in any::<proptest::sample::Index>(),
            byte in any::<u8>(),
            noise in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let mut body = request(&[1], &[(1, 2, 1, "x"), (1, 2, 2, "x.*")]);
            let at = at.index(body.len());
            body[at] = byte;
            for input in [&body, &noise] {
                if let Ok(read) = decode(input, &Limits::default()) {
                    prop_assert!(read.queries.len() <= input.len());
                }
                if let Ok(read) = decode_frames(input, &Limits::default()) {
                    prop_assert!(read.len() <= input.len());
                }
            }
        }
    }
}
