//! What a body would allocate, found out before anything is built.
//!
//! An empty span takes 2 bytes of protobuf (3 of JSON) and hundreds of bytes of memory, so that a
//! body within its limit could still ask for a hundred times its size. A walk over the tags alone
//! (no copies) adds up what the repeated messages would take. Invariant: a body that passes costs
//! at most `ALLOWANCE_FLOOR + ALLOWANCE_FACTOR × its length` and at most twice
//! `decompressed_bytes_max` in structs, besides the bytes of its texts.

use obs_model::limits::Limits;
use obs_model::spans::Attribute;

use super::pair::plain;
use super::proto::{logs, metrics, trace, values};
use crate::error::WireError;

/// Bytes of structs that any body may cost.
const ALLOWANCE_FLOOR: usize = 64 << 10;
/// Bytes of structs per byte of body; honest bodies need up to 12 in protobuf (a log record of 16
/// bytes) and 25 in JSON (an attribute of 33).
const ALLOWANCE_FACTOR: usize = 48;
/// Nesting of messages; prost itself stops at 100.
const MESSAGES_DEEP_MAX: usize = 96;
/// Vectors grow by doubling, and the model's structs live beside the schema's for a moment.
const GROWTH: usize = 2;

/// The repeated or nested messages of a message.
pub(crate) struct Shape(&'static [(u32, usize, &'static Shape)]);

const fn size<T>() -> usize {
    size_of::<T>() * GROWTH
}

static LEAF: Shape = Shape(&[]);
static ANY: Shape = Shape(&[(5, 0, &ARRAY), (6, 0, &LIST)]);
static ARRAY: Shape = Shape(&[(1, size::<values::AnyValue>(), &ANY)]);
static LIST: Shape = Shape(&[(1, KEY_VALUE, &PAIR)]);
static PAIR: Shape = Shape(&[(2, 0, &ANY)]);
const KEY_VALUE: usize = size::<values::KeyValue>();
const _: () = assert!(size_of::<Attribute>() <= size_of::<values::KeyValue>());

static RESOURCE: Shape = Shape(&[(1, KEY_VALUE, &PAIR)]);
static SCOPE: Shape = Shape(&[(3, KEY_VALUE, &PAIR)]);

/// `TracesData`.
pub(crate) static TRACES: Shape = Shape(&[(1, size::<trace::ResourceSpans>(), &RESOURCE_SPANS)]);
static RESOURCE_SPANS: Shape = Shape(&[
    (1, 0, &RESOURCE),
    (2, size::<trace::ScopeSpans>(), &SCOPE_SPANS),
]);
static SCOPE_SPANS: Shape = Shape(&[(1, 0, &SCOPE), (2, size::<trace::Span>(), &SPAN)]);
static SPAN: Shape = Shape(&[
    (9, KEY_VALUE, &PAIR),
    (11, size::<trace::Event>(), &EVENT),
    (13, size::<trace::Link>(), &LINK),
    (15, 0, &LEAF),
]);
static EVENT: Shape = Shape(&[(3, KEY_VALUE, &PAIR)]);
static LINK: Shape = Shape(&[(4, KEY_VALUE, &PAIR)]);

/// `LogsData`.
pub(crate) static LOGS: Shape = Shape(&[(1, size::<logs::ResourceLogs>(), &RESOURCE_LOGS)]);
static RESOURCE_LOGS: Shape = Shape(&[
    (1, 0, &RESOURCE),
    (2, size::<logs::ScopeLogs>(), &SCOPE_LOGS),
]);
static SCOPE_LOGS: Shape = Shape(&[(1, 0, &SCOPE), (2, size::<logs::LogRecord>(), &RECORD)]);
static RECORD: Shape = Shape(&[(5, 0, &ANY), (6, KEY_VALUE, &PAIR)]);

/// `MetricsData`.
pub(crate) static METRICS: Shape =
    Shape(&[(1, size::<metrics::ResourceMetrics>(), &RESOURCE_METRICS)]);
static RESOURCE_METRICS: Shape = Shape(&[
    (1, 0, &RESOURCE),
    (2, size::<metrics::ScopeMetrics>(), &SCOPE_METRICS),
]);
static SCOPE_METRICS: Shape = Shape(&[(1, 0, &SCOPE), (2, size::<metrics::Metric>(), &METRIC)]);
static METRIC: Shape = Shape(&[
    (5, 0, &NUMBERS),
    (7, 0, &NUMBERS),
    (9, 0, &HISTOGRAMS),
    (10, 0, &EXPONENTIALS),
    (11, 0, &SUMMARIES),
]);
static NUMBERS: Shape = Shape(&[(1, size::<metrics::NumberDataPoint>(), &NUMBER_POINT)]);
static NUMBER_POINT: Shape = Shape(&[
    (7, KEY_VALUE, &PAIR),
    (5, size::<metrics::Exemplar>(), &EXEMPLAR),
]);
static HISTOGRAMS: Shape = Shape(&[(1, size::<metrics::HistogramDataPoint>(), &HISTOGRAM_POINT)]);
static HISTOGRAM_POINT: Shape = Shape(&[
    (9, KEY_VALUE, &PAIR),
    (8, size::<metrics::Exemplar>(), &EXEMPLAR),
]);
static EXPONENTIALS: Shape = Shape(&[(
    1,
    size::<metrics::ExponentialHistogramDataPoint>(),
    &EXPONENTIAL_POINT,
)]);
static EXPONENTIAL_POINT: Shape = Shape(&[
    (1, KEY_VALUE, &PAIR),
    (8, 0, &LEAF),
    (9, 0, &LEAF),
    (11, size::<metrics::Exemplar>(), &EXEMPLAR),
]);
static SUMMARIES: Shape = Shape(&[(1, size::<metrics::SummaryDataPoint>(), &SUMMARY_POINT)]);
static SUMMARY_POINT: Shape = Shape(&[
    (7, KEY_VALUE, &PAIR),
    (6, size::<metrics::ValueAtQuantile>(), &LEAF),
]);
static EXEMPLAR: Shape = Shape(&[(7, KEY_VALUE, &PAIR)]);

/// What may still be allocated.
struct Allowance {
    format: &'static str,
    left: usize,
    limits_max: usize,
}

impl Allowance {
    fn new(format: &'static str, body: &[u8], limits: &Limits) -> Self {
        let ceiling = limits.decompressed_bytes_max.saturating_mul(2);
        let wish = body.len().saturating_mul(ALLOWANCE_FACTOR);
        Self {
            format,
            left: wish.saturating_add(ALLOWANCE_FLOOR).min(ceiling),
            limits_max: limits.decompressed_bytes_max,
        }
    }

    fn charge(&mut self, bytes: usize) -> Result<(), WireError> {
        let over = || WireError::too_large(self.format, "decompressed_bytes_max", self.limits_max);
        self.left = self.left.checked_sub(bytes).ok_or_else(over)?;
        Ok(())
    }
}

/// Refuses a protobuf body that is cut, has unknown wire types, nests too deep or costs too much.
pub(crate) fn check_protobuf(
    format: &'static str,
    body: &[u8],
    shape: &'static Shape,
    limits: &Limits,
) -> Result<(), WireError> {
    let mut allowance = Allowance::new(format, body, limits);
    walk(
        Cursor {
            body,
            at: 0,
            end: body.len(),
            format,
        },
        shape,
        0,
        &mut allowance,
    )
}

/// Refuses a JSON body whose objects would cost too much.
pub(crate) fn check_json(
    format: &'static str,
    body: &[u8],
    limits: &Limits,
) -> Result<(), WireError> {
    // Which message an object is, only the parser knows: each counts as the largest.
    const OBJECT: usize = size_of::<trace::Span>();
    const { assert!(size_of::<metrics::ExponentialHistogramDataPoint>() <= OBJECT) };
    const { assert!(size_of::<metrics::Metric>() <= OBJECT) };
    const { assert!(size_of::<logs::LogRecord>() <= OBJECT) };
    let mut allowance = Allowance::new(format, body, limits);
    let (mut quoted, mut escaped) = (false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'{' if !quoted => allowance.charge(OBJECT)?,
            _ => {}
        }
    }
    Ok(())
}

struct Cursor<'a> {
    body: &'a [u8],
    at: usize,
    end: usize,
    format: &'static str,
}

impl Cursor<'_> {
    fn fault(&self, at: usize, expected: &str) -> WireError {
        WireError::at_byte(self.format, at, expected)
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let begin = self.at;
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let Some(byte) = self.body[..self.end].get(self.at) else {
                return Err(self.fault(begin, "a varint, found the end"));
            };
            self.at += 1;
            value |= u64::from(byte & 0x7f).wrapping_shl(shift);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.fault(begin, "a varint of at most 10 bytes"))
    }

    /// Skips `length` bytes and gives where they begin.
    fn skip(&mut self, length: u64, expected: &str) -> Result<usize, WireError> {
        let begin = self.at;
        let end = usize::try_from(length)
            .ok()
            .and_then(|l| begin.checked_add(l))
            .filter(|end| *end <= self.end)
            .ok_or_else(|| self.fault(begin, expected))?;
        self.at = end;
        Ok(begin)
    }
}

fn walk(
    mut cursor: Cursor<'_>,
    shape: &'static Shape,
    depth: usize,
    allowance: &mut Allowance,
) -> Result<(), WireError> {
    if depth > MESSAGES_DEEP_MAX {
        return Err(cursor.fault(cursor.at, "at most 96 messages inside one another"));
    }
    while cursor.at < cursor.end {
        let begin = cursor.at;
        let key = cursor.varint()?;
        match key & 7 {
            0 => {
                cursor.varint()?;
            }
            1 => {
                cursor.skip(8, "8 bytes of a fixed64")?;
            }
            5 => {
                cursor.skip(4, "4 bytes of a fixed32")?;
            }
            2 => {
                let length = cursor.varint()?;
                let from = cursor.skip(length, "as many bytes as the length says")?;
                let Some((_, cost, child)) = shape
                    .0
                    .iter()
                    .find(|(tag, _, _)| u64::from(*tag) == key >> 3)
                else {
                    continue;
                };
                allowance.charge(*cost)?;
                if std::ptr::eq(*child, &PAIR) && plain(&cursor.body[from..cursor.at]).is_some() {
                    continue;
                }
                let (body, format, end) = (cursor.body, cursor.format, cursor.at);
                let inner = Cursor {
                    body,
                    at: from,
                    end,
                    format,
                };
                walk(inner, child, depth + 1, allowance)?;
            }
            _ => return Err(cursor.fault(begin, "a field with wire type 0, 1, 2 or 5")),
        }
    }
    Ok(())
}
