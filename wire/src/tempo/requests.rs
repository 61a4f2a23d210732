//! Requests of Tempo's gRPC service `tempopb.StreamingQuerier`, which its HTTP API asks for too.
//!
//! Invariant: times are as the schema has them (seconds for searches and tags, nanoseconds for
//! metrics); zero means "not given".

use prost::Message;

use super::proto;
use crate::error::WireError;

/// A search for traces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchRequest {
    /// Attributes and what their values hold, where there is no query; sorted by name.
    pub tags: Vec<(String, String)>,
    /// Least duration in milliseconds, beside the tags.
    pub min_duration_ms: u32,
    /// Greatest duration in milliseconds, beside the tags.
    pub max_duration_ms: u32,
    /// Most traces.
    pub limit: u32,
    /// First second.
    pub start: u32,
    /// Last second.
    pub end: u32,
    /// The query in TraceQL.
    pub query: String,
    /// Most spans of each set.
    pub spans_per_set: u32,
}

/// A search for names of attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagsRequest {
    /// Only names of this scope.
    pub scope: String,
    /// Only names on spans that this finds.
    pub query: String,
    /// First second.
    pub start: u32,
    /// Last second.
    pub end: u32,
    /// Most names of each scope.
    pub limit: u32,
}

/// A search for values of an attribute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagValuesRequest {
    /// The attribute.
    pub name: String,
    /// Only values on spans that this finds.
    pub query: String,
    /// First second.
    pub start: u32,
    /// Last second.
    pub end: u32,
    /// Most values.
    pub limit: u32,
}

/// A query for series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricsRequest {
    /// The query in TraceQL.
    pub query: String,
    /// First nanosecond.
    pub start: u64,
    /// Last nanosecond.
    pub end: u64,
    /// Nanoseconds between steps.
    pub step: u64,
    /// Most exemplars.
    pub exemplars: u32,
    /// Most series.
    pub series_max: u32,
}

fn decode<M: Message + Default>(format: &'static str, bytes: &[u8]) -> Result<M, WireError> {
    M::decode(bytes).map_err(|error| {
        let expected = format!("a valid field, found {error}");
        WireError::at_path(format, "message", expected)
    })
}

impl SearchRequest {
    /// Reads `tempopb.SearchRequest`.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let from: proto::SearchRequest = decode("Tempo search request", bytes)?;
        let mut tags: Vec<(String, String)> = from.tags.into_iter().collect();
        tags.sort();
        Ok(Self {
            tags,
            min_duration_ms: from.min_duration_ms,
            max_duration_ms: from.max_duration_ms,
            limit: from.limit,
            start: from.start,
            end: from.end,
            query: from.query,
            spans_per_set: from.spans_per_span_set,
        })
    }
}

impl TagsRequest {
    /// Reads `tempopb.SearchTagsRequest`.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let from: proto::SearchTagsRequest = decode("Tempo tags request", bytes)?;
        Ok(Self {
            scope: from.scope,
            query: from.query,
            start: from.start,
            end: from.end,
            limit: from.max_tags_per_scope,
        })
    }
}

impl TagValuesRequest {
    /// Reads `tempopb.SearchTagValuesRequest`.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let from: proto::SearchTagValuesRequest = decode("Tempo tag values request", bytes)?;
        Ok(Self {
            name: from.tag_name,
            query: from.query,
            start: from.start,
            end: from.end,
            limit: from.max_tag_values,
        })
    }
}

impl MetricsRequest {
    /// Reads `tempopb.QueryRangeRequest` and `tempopb.QueryInstantRequest`.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let from: proto::QueryRangeRequest = decode("Tempo metrics request", bytes)?;
        Ok(Self {
            query: from.query,
            start: from.start,
            end: from.end,
            step: from.step,
            exemplars: from.exemplars,
            series_max: from.max_series,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn searches_read_back(
            tags in proptest::collection::hash_map("[a-z.]{1,8}", ".{0,8}", 0..4),
            numbers in any::<[u32; 6]>(),
            query in ".{0,20}",
        ) {
            let message = proto::SearchRequest {
                tags: tags.clone(),
                min_duration_ms: numbers[0],
                max_duration_ms: numbers[1],
                limit: numbers[2],
                start: numbers[3],
                end: numbers[4],
                query: query.clone(),
                spans_per_span_set: numbers[5],
            };
            let read = SearchRequest::decode(&message.encode_to_vec()).unwrap();
            prop_assert_eq!(read.tags.into_iter().collect::<std::collections::HashMap<_, _>>(), tags);
            prop_assert_eq!((read.limit, read.end, read.query), (numbers[2], numbers[4], query));
        }

        #[test]
        fn metrics_requests_read_back(query in ".{0,20}", times in any::<[u64; 3]>(), exemplars in any::<u32>()) {
            let message = proto::QueryRangeRequest {
                query: query.clone(),
                start: times[0],
                end: times[1],
                step: times[2],
                exemplars,
                max_series: 7,
            };
            let read = MetricsRequest::decode(&message.encode_to_vec()).unwrap();
            let expect = MetricsRequest {
                query, start: times[0], end: times[1], step: times[2], exemplars, series_max: 7,
            };
            prop_assert_eq!(read, expect);
        }

        #[test]
        fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(SearchRequest::decode(&bytes));
            drop(TagsRequest::decode(&bytes));
            drop(TagValuesRequest::decode(&bytes));
            if let Ok(read) = MetricsRequest::decode(&bytes) {
                prop_assert!(read.query.len() <= bytes.len());
            }
        }
    }
}
