//! Answers of Tempo's searches and tags in protobuf, as its gRPC service streams them.
//!
//! Invariant: they say what the JSON in [`api`](super::api) says.

use obs_model::answer::{FoundSpan, FoundTrace, SpanSet};
use prost::Message;

use super::api::{NO_ROOT, SearchMetrics, TagValue, short_hex};
use super::proto;
use crate::otlp::attributes;

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub(super) fn metrics_message(from: &SearchMetrics) -> proto::SearchMetrics {
    proto::SearchMetrics {
        inspected_traces: from.inspected_traces,
        inspected_bytes: from.inspected_bytes,
        total_blocks: from.total_blocks,
        completed_jobs: from.completed_jobs,
        total_jobs: from.total_jobs,
        inspected_spans: from.inspected_spans,
    }
}

/// `tempopb.SearchResponse`.
pub fn search(traces: &[FoundTrace], metrics: &SearchMetrics) -> Vec<u8> {
    let message = proto::SearchResponse {
        traces: traces.iter().map(trace).collect(),
        metrics: Some(metrics_message(metrics)),
    };
    message.encode_to_vec()
}

fn trace(from: &FoundTrace) -> proto::TraceSearchMetadata {
    let sets: Vec<_> = from.span_sets.iter().map(span_set).collect();
    let services = from.services.iter().map(|stats| {
        let counts = proto::ServiceStats {
            span_count: stats.spans,
            error_count: stats.errors,
        };
        (stats.service.clone(), counts)
    });
    let millis = from.duration_nanos.max(0) / 1_000_000;
    proto::TraceSearchMetadata {
        trace_id: short_hex(from.trace_id),
        root_service_name: from.root_service.as_deref().unwrap_or(NO_ROOT).to_owned(),
        root_trace_name: from.root_name.clone().unwrap_or_default(),
        start_time_unix_nano: unsigned(from.start.nanos()),
        duration_ms: u32::try_from(millis).unwrap_or(u32::MAX),
        span_set: sets.first().cloned(),
        span_sets: sets,
        service_stats: services.collect(),
    }
}

fn span_set(from: &SpanSet) -> proto::SpanSet {
    proto::SpanSet {
        spans: from.spans.iter().map(span).collect(),
        matched: from.matched,
        attributes: attributes::to_proto(&from.attributes),
    }
}

fn span(from: &FoundSpan) -> proto::Span {
    proto::Span {
        span_id: from.span_id.to_string(),
        name: from.name.clone(),
        start_time_unix_nano: unsigned(from.start.nanos()),
        duration_nanos: unsigned(from.duration_nanos),
        attributes: attributes::to_proto(&from.attributes),
    }
}

fn metadata(inspected_bytes: u64) -> Option<proto::MetadataMetrics> {
    Some(proto::MetadataMetrics {
        inspected_bytes,
        total_jobs: 0,
        completed_jobs: 0,
    })
}

/// `tempopb.SearchTagsResponse`.
pub fn tags_v1(names: &[String]) -> Vec<u8> {
    let message = proto::Names {
        names: names.to_vec(),
        metrics: metadata(0),
    };
    message.encode_to_vec()
}

/// `tempopb.SearchTagsV2Response`.
pub fn tags_v2(scopes: &[(&str, Vec<String>)], inspected_bytes: u64) -> Vec<u8> {
    let scope = |(name, tags): &(&str, Vec<String>)| proto::SearchTagsV2Scope {
        name: (*name).to_owned(),
        tags: tags.clone(),
    };
    let message = proto::SearchTagsV2Response {
        scopes: scopes.iter().map(scope).collect(),
        metrics: metadata(inspected_bytes),
    };
    message.encode_to_vec()
}

/// `tempopb.SearchTagValuesResponse`.
pub fn tag_values_v1(values: &[TagValue]) -> Vec<u8> {
    let message = proto::Names {
        names: values.iter().map(TagValue::text).collect(),
        metrics: metadata(0),
    };
    message.encode_to_vec()
}

/// `tempopb.SearchTagValuesV2Response`.
pub fn tag_values_v2(values: &[TagValue], inspected_bytes: u64) -> Vec<u8> {
    let value = |value: &TagValue| proto::TagValue {
        kind: value.kind().to_owned(),
        value: value.text(),
    };
    let message = proto::SearchTagValuesV2Response {
        tag_values: values.iter().map(value).collect(),
        metrics: metadata(inspected_bytes),
    };
    message.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use obs_model::TraceId;
    use obs_model::answer::ServiceStats;
    use obs_model::spans::{Attribute, SpanId};
    use obs_model::time::Timestamp;

    use super::*;

    #[test]
    fn searches_read_back() {
        let set = SpanSet {
            matched: 4,
            spans: vec![FoundSpan {
                span_id: SpanId([2; 8]),
                name: "get".to_owned(),
                start: Timestamp::from_nanos(5),
                duration_nanos: 7,
                attributes: vec![Attribute::string("a", "b")],
            }],
            attributes: Vec::new(),
        };
        let found = FoundTrace {
            trace_id: TraceId::from_hex("ab").unwrap(),
            root_service: None,
            root_name: None,
            start: Timestamp::from_nanos(5),
            duration_nanos: 3_000_000,
            span_sets: vec![set],
            services: vec![ServiceStats {
                service: "shop".to_owned(),
                spans: 2,
                errors: 1,
            }],
        };
        let metrics = SearchMetrics {
            inspected_traces: 1,
            ..SearchMetrics::default()
        };
        let bytes = search(&[found], &metrics);
        let read = proto::SearchResponse::decode(&bytes[..]).unwrap();
        let trace = &read.traces[0];
        assert_eq!((trace.trace_id.as_str(), trace.duration_ms), ("ab", 3));
        assert_eq!(trace.root_service_name, NO_ROOT);
        assert_eq!(trace.span_sets[0].spans[0].span_id, "0202020202020202");
        assert_eq!(trace.span_set.as_ref(), Some(&trace.span_sets[0]));
        assert_eq!(trace.service_stats["shop"].error_count, 1);
        assert_eq!(read.metrics.unwrap().inspected_traces, 1);
    }

    #[test]
    fn tags_read_back() {
        let bytes = tags_v2(&[("span", vec!["a".to_owned()])], 3);
        let read = proto::SearchTagsV2Response::decode(&bytes[..]).unwrap();
        assert_eq!(
            (read.scopes[0].name.as_str(), read.scopes[0].tags.len()),
            ("span", 1)
        );
        let values = [TagValue::Keyword("server".to_owned()), TagValue::Int(4)];
        let read =
            proto::SearchTagValuesV2Response::decode(&tag_values_v2(&values, 0)[..]).unwrap();
        assert_eq!(
            (
                read.tag_values[0].kind.as_str(),
                read.tag_values[1].value.as_str()
            ),
            ("keyword", "4")
        );
        let read = proto::Names::decode(&tag_values_v1(&values)[..]).unwrap();
        assert_eq!(read.names, ["server", "4"]);
        assert_eq!(
            proto::Names::decode(&tags_v1(&["x".to_owned()])[..])
                .unwrap()
                .names,
            ["x"]
        );
    }
}
