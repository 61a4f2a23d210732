//! Messages of Jaeger's query services over gRPC, `jaeger.api_v2.QueryService` and
//! `jaeger.api_v3.QueryService`.
//!
//! Invariants: both generations have the same numbers of fields in their requests; what is not told
//! is `None`, zero or empty; unknown fields are passed by.

use std::collections::BTreeMap;

use obs_model::spans::{ResourceSpans, ScopeSpans, SpanKind};
use obs_model::{SpanBatch, Timestamp};

use super::proto::seconds_and_nanos;
use super::ui::{Dependency, kind_text};
use super::v3::Summary;
use crate::error::WireError;
use crate::otlp;
use crate::protobuf::{Message, Wire, put};

type Result<T> = std::result::Result<T, WireError>;

const FORMAT: &str = "Jaeger query in protobuf";
/// Spans of one message in OTLP: with a few kilobytes each it stays below what clients take.
const SPANS_MAX: usize = 500;

/// `TraceQueryParameters` of both generations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Find {
    /// The service.
    pub service: String,
    /// The name of spans.
    pub operation: String,
    /// Tags or attributes.
    pub tags: BTreeMap<String, String>,
    /// The first begin.
    pub start: Option<Timestamp>,
    /// The last begin.
    pub end: Option<Timestamp>,
    /// The least duration in nanoseconds.
    pub duration_min: Option<i64>,
    /// The greatest duration in nanoseconds.
    pub duration_max: Option<i64>,
    /// Most traces; 0 is not told.
    pub depth: i64,
    /// There is a filter expression.
    pub filter: bool,
}

/// `FindTracesRequest`, `FindTraceSummariesRequest`; `None` without a query.
pub fn find(bytes: &[u8]) -> Result<Option<Find>> {
    let mut found = None;
    let mut fields = Message::new(FORMAT, bytes).fields();
    while let Some(field) = fields.next()? {
        if let (1, Wire::Bytes(message)) = field {
            found = Some(parameters(message)?);
        }
    }
    Ok(found)
}

fn parameters(message: Message<'_>) -> Result<Find> {
    let mut find = Find::default();
    let mut fields = message.fields();
    while let Some(field) = fields.next()? {
        match field {
            (1, Wire::Bytes(text)) => find.service = text.text()?.to_owned(),
            (2, Wire::Bytes(text)) => find.operation = text.text()?.to_owned(),
            (3, Wire::Bytes(entry)) => {
                let (key, value) = pair(entry)?;
                find.tags.insert(key, value);
            }
            (4, Wire::Bytes(inner)) => find.start = time(inner)?,
            (5, Wire::Bytes(inner)) => find.end = time(inner)?,
            (6, Wire::Bytes(inner)) => find.duration_min = nanos(inner)?,
            (7, Wire::Bytes(inner)) => find.duration_max = nanos(inner)?,
            // A negative number has ten bytes, as 64 bits.
            (8, Wire::Varint(number)) => find.depth = number as i64,
            (10, Wire::Bytes(_)) => find.filter = true,
            _ => {}
        }
    }
    Ok(find)
}

/// An entry of a map, or a message of two texts.
fn pair(message: Message<'_>) -> Result<(String, String)> {
    let (mut first, mut second) = (String::new(), String::new());
    let mut fields = message.fields();
    while let Some(field) = fields.next()? {
        match field {
            (1, Wire::Bytes(text)) => first = text.text()?.to_owned(),
            (2, Wire::Bytes(text)) => second = text.text()?.to_owned(),
            _ => {}
        }
    }
    Ok((first, second))
}

/// `google.protobuf.Timestamp` and `Duration` in nanoseconds; the nearest that there is.
fn nanos(message: Message<'_>) -> Result<Option<i64>> {
    let (seconds, nanos) = seconds_and_nanos(message)?;
    let whole = seconds.saturating_mul(1_000_000_000);
    Ok(Some(whole.saturating_add(nanos)))
}

/// A time; Go's zero, a time of the year 1, is none.
fn time(message: Message<'_>) -> Result<Option<Timestamp>> {
    let nanos = nanos(message)?.filter(|nanos| *nanos > 0);
    Ok(nanos.map(Timestamp::from_nanos))
}

/// `GetTraceRequest` of the first generation: the bytes of the id.
pub fn trace_id_bytes(bytes: &[u8]) -> Result<&[u8]> {
    let field = first_field(bytes)?;
    Ok(field.map(|field| field.bytes).unwrap_or_default())
}

/// `GetTraceRequest` of the third: the id as text.
pub fn trace_id_text(bytes: &[u8]) -> Result<&str> {
    first_field(bytes)?.map_or(Ok(""), Message::text)
}

fn first_field(bytes: &[u8]) -> Result<Option<Message<'_>>> {
    let mut found = None;
    let mut fields = Message::new(FORMAT, bytes).fields();
    while let Some(field) = fields.next()? {
        if let (1, Wire::Bytes(message)) = field {
            found = Some(message);
        }
    }
    Ok(found)
}

/// `GetOperationsRequest`: service and kind.
pub fn operations_request(bytes: &[u8]) -> Result<(String, String)> {
    pair(Message::new(FORMAT, bytes))
}

/// `GetDependenciesRequest`: begin and end.
pub fn dependencies_request(bytes: &[u8]) -> Result<(Option<Timestamp>, Option<Timestamp>)> {
    let (mut start, mut end) = (None, None);
    let mut fields = Message::new(FORMAT, bytes).fields();
    while let Some(field) = fields.next()? {
        match field {
            (1, Wire::Bytes(inner)) => start = time(inner)?,
            (2, Wire::Bytes(inner)) => end = time(inner)?,
            _ => {}
        }
    }
    Ok((start, end))
}

/// `GetServicesResponse`
pub fn services(names: &[String]) -> Vec<u8> {
    let mut out = Vec::new();
    for name in names {
        put::bytes(&mut out, 1, name.as_bytes());
    }
    out
}

fn operation(out: &mut Vec<u8>, field: u32, name: &str, kind: &str) {
    put::message(out, field, |out| {
        put::bytes(out, 1, name.as_bytes());
        put::bytes(out, 2, kind.as_bytes());
    });
}

/// `GetOperationsResponse` of the first generation: names alone too, as older clients read them.
pub fn operations_v2(all: &[(String, SpanKind)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    for name in names {
        put::bytes(&mut out, 1, name.as_bytes());
    }
    for (name, kind) in all {
        operation(&mut out, 2, name, kind_text(*kind));
    }
    out
}

/// `GetOperationsResponse` of the third; a kind that is not told is internal there.
pub fn operations_v3(all: &[(String, SpanKind)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, kind) in all {
        let kind = match kind_text(*kind) {
            "" => "internal",
            kind => kind,
        };
        operation(&mut out, 1, name, kind);
    }
    out
}

/// The dependencies of both generations.
pub fn dependencies(all: &[Dependency]) -> Vec<u8> {
    let mut out = Vec::new();
    for one in all {
        put::message(&mut out, 1, |out| {
            put::bytes(out, 1, one.parent.as_bytes());
            put::bytes(out, 2, one.child.as_bytes());
            put::uint(out, 3, one.calls);
        });
    }
    out
}

/// Messages of `SpansResponseChunk`: those of one trace are never with those of another.
pub fn traces_v2(traces: &[SpanBatch]) -> Vec<Vec<u8>> {
    traces.iter().flat_map(super::spans::chunks).collect()
}

/// Messages of OTLP's `TracesData`, likewise.
pub fn traces_v3(traces: Vec<SpanBatch>) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for trace in traces {
        for piece in pieces(trace) {
            let mut message = Vec::new();
            otlp::traces::encode_protobuf(&piece, &mut message);
            all.push(message);
        }
    }
    all
}

/// A trace in batches of at most [`SPANS_MAX`] spans.
fn pieces(trace: SpanBatch) -> Vec<SpanBatch> {
    if trace.span_count() <= SPANS_MAX {
        return vec![trace];
    }
    let (mut all, mut now, mut count) = (Vec::new(), SpanBatch::default(), 0);
    for group in trace.resources {
        for mut scope in group.scopes {
            while !scope.spans.is_empty() {
                let take = scope.spans.len().min(SPANS_MAX - count);
                let rest = scope.spans.split_off(take);
                now.resources.push(ResourceSpans {
                    resource: group.resource.clone(),
                    scopes: vec![ScopeSpans {
                        scope: scope.scope.clone(),
                        spans: std::mem::replace(&mut scope.spans, rest),
                    }],
                });
                count += take;
                if count == SPANS_MAX {
                    all.push(std::mem::take(&mut now));
                    count = 0;
                }
            }
        }
    }
    if count > 0 {
        all.push(now);
    }
    all
}

fn fixed64(out: &mut Vec<u8>, number: u32, value: u64) {
    put::varint(out, u64::from(number) << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

/// `FindTraceSummariesResponse`
pub fn summaries(traces: &[SpanBatch]) -> Vec<u8> {
    let mut out = Vec::new();
    for summary in traces.iter().filter_map(Summary::of) {
        put::message(&mut out, 1, |out| {
            put::bytes(out, 1, summary.id.to_string().as_bytes());
            put::bytes(out, 2, summary.service.as_bytes());
            put::bytes(out, 3, summary.operation.as_bytes());
            fixed64(out, 4, summary.start.nanos().max(0).unsigned_abs());
            fixed64(out, 5, summary.end.nanos().max(0).unsigned_abs());
            put::uint(out, 6, summary.spans());
            put::uint(out, 7, summary.errors());
            put::uint(out, 8, summary.orphans);
            for one in &summary.services {
                put::message(out, 9, |out| {
                    put::bytes(out, 1, one.name.as_bytes());
                    put::uint(out, 2, one.spans);
                    put::uint(out, 3, one.errors);
                });
            }
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use obs_model::{Span, SpanId, TraceId};
    use proptest::prelude::*;

    use super::super::spans::write_nanos;
    use super::*;

    fn request(find: &Find) -> Vec<u8> {
        let mut out = Vec::new();
        put::message(&mut out, 1, |out| {
            put::bytes(out, 1, find.service.as_bytes());
            put::bytes(out, 2, find.operation.as_bytes());
            for (key, value) in &find.tags {
                put::message(out, 3, |out| {
                    put::bytes(out, 1, key.as_bytes());
                    put::bytes(out, 2, value.as_bytes());
                });
            }
            for (number, value) in [
                (4, find.start.map(Timestamp::nanos)),
                (5, find.end.map(Timestamp::nanos)),
                (6, find.duration_min),
                (7, find.duration_max),
            ] {
                if let Some(nanos) = value {
                    put::message(out, number, |out| write_nanos(out, nanos));
                }
            }
            put::uint(out, 8, find.depth as u64);
            if find.filter {
                put::bytes(out, 10, b"");
            }
        });
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn searches_read_back(
            texts in any::<[String; 2]>(),
            tags in prop::collection::btree_map(".{0,4}", ".{0,4}", 0..3),
            times in prop::option::of(1i64..4_000_000_000_000_000_000),
            duration in prop::option::of(0i64..1 << 50),
            depth in any::<i32>(),
            filter in any::<bool>(),
        ) {
            let [service, operation] = texts;
            let find = Find {
                service, operation, tags, filter,
                start: times.map(Timestamp::from_nanos),
                end: times.map(Timestamp::from_nanos),
                duration_min: duration,
                duration_max: duration,
                depth: depth.into(),
            };
            prop_assert_eq!(super::find(&request(&find)).unwrap(), Some(find));
        }

        #[test]
        fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Some(found)) = find(&bytes) {
                prop_assert!(found.service.len() + found.tags.len() <= bytes.len());
            }
            drop((trace_id_bytes(&bytes), trace_id_text(&bytes)));
            drop((operations_request(&bytes), dependencies_request(&bytes)));
        }
    }

    #[test]
    fn large_traces_are_told_in_pieces() {
        let span = |n: usize| Span {
            trace_id: TraceId([1; 16]),
            span_id: SpanId((n as u64 + 1).to_be_bytes()),
            ..Span::default()
        };
        let scope = |spans: Vec<Span>| ScopeSpans {
            spans,
            ..ScopeSpans::default()
        };
        let check = |counts: &[usize], expect: &[usize]| {
            let mut next = 0;
            let mut spans = |count: usize| {
                next += count;
                scope((next - count..next).map(span).collect())
            };
            let trace = SpanBatch {
                resources: vec![ResourceSpans {
                    scopes: counts.iter().map(|count| spans(*count)).collect(),
                    ..ResourceSpans::default()
                }],
            };
            let all = pieces(trace);
            let found: Vec<usize> = all.iter().map(SpanBatch::span_count).collect();
            assert_eq!(found, expect, "{counts:?}");
            let ids = all.iter().flat_map(SpanBatch::iter);
            let ids: Vec<u64> = ids
                .map(|(_, _, s)| u64::from_be_bytes(s.span_id.0))
                .collect();
            let count: usize = counts.iter().sum();
            assert_eq!(ids, (1..=count as u64).collect::<Vec<_>>());
        };
        check(&[3], &[3]);
        check(&[400, 100], &[500]);
        check(&[400, 200], &[500, 100]);
        check(&[1200, 300], &[500, 500, 500]);
    }

    #[test]
    fn a_zero_time_of_go_is_none() {
        // The year 1.
        let mut out = Vec::new();
        put::message(&mut out, 1, |out| {
            put::uint(out, 1, -62_135_596_800i64 as u64);
        });
        assert_eq!(dependencies_request(&out).unwrap(), (None, None));
    }
}
