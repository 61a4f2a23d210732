//! Searches in both generations of parameters, and the TraceQL that they are.
//!
//! Invariant: all conditions hold on one span, as in Jaeger; texts of a client never become syntax.

use std::collections::BTreeMap;

use obs_collector::HttpError;
use obs_model::time::{NANOS_PER_SECOND, parse_rfc3339};
use obs_model::{TimeRange, Timestamp, TraceId, duration};
use obs_wire::jaeger::query::Find;
use serde_json::Value;

use super::{Result, trace_id};
use crate::clock;
use crate::params::{Params, go_duration};

/// Traces without a limit, in both generations.
const TRACES_DEFAULT: usize = 100;
/// How far a search without a begin looks back: two days.
const LOOKBACK: i64 = 48 * 3600 * NANOS_PER_SECOND;

/// How far dependencies look back without a begin: a day.
pub(super) const DEPENDENCIES_LOOKBACK: i64 = 24 * 3600 * NANOS_PER_SECOND;

/// A search.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Search {
    pub(super) service: String,
    pub(super) operation: String,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) range: TimeRange,
    pub(super) limit: usize,
    pub(super) duration_min: Option<i64>,
    pub(super) duration_max: Option<i64>,
    pub(super) ids: Vec<TraceId>,
}

/// A fault in Jaeger's words.
fn unparsable(name: &str, why: impl std::fmt::Display) -> HttpError {
    HttpError::bad_data(format!("unable to parse param '{name}': {why}"))
}

/// A whole number of units since the epoch.
pub(super) fn unix(params: &Params, name: &str, unit: i64) -> Result<Option<Timestamp>> {
    let Some(text) = params.get(name) else {
        return Ok(None);
    };
    let number: i64 = text.parse().map_err(|_| {
        unparsable(
            name,
            format!("strconv.ParseInt: parsing {text:?}: invalid syntax"),
        )
    })?;
    Ok(Some(Timestamp::from_nanos(number.saturating_mul(unit))))
}

/// A duration as Go writes it.
fn go(name: &str, text: &str) -> Result<i64> {
    let nanos = go_duration(text).or_else(|| duration::parse(text));
    nanos.ok_or_else(|| unparsable(name, format!("time: invalid duration {text:?}")))
}

impl Search {
    /// `/api/traces?service=…`
    pub(super) fn legacy(params: &Params) -> Result<Self> {
        let ids = params
            .all("traceID")
            .map(trace_id)
            .collect::<Result<Vec<_>>>()?;
        let service = params.get("service").unwrap_or_default().to_owned();
        if service.is_empty() && ids.is_empty() {
            return Err(HttpError::bad_data("parameter 'service' is required"));
        }
        let end = unix(params, "end", 1000)?.unwrap_or_else(clock::now);
        let start = match unix(params, "start", 1000)? {
            Some(start) => start,
            None => {
                let lookback = match params.get("lookback") {
                    None | Some("custom") => LOOKBACK,
                    Some(text) => go("lookback", text)?,
                };
                end.saturating_sub(lookback)
            }
        };
        let limit = match params.get("limit") {
            None => TRACES_DEFAULT,
            Some(text) => text.parse::<i64>().map_or_else(
                |_| Err(unparsable("limit", format!("{text:?} is no number"))),
                |limit| Ok(usize::try_from(limit).unwrap_or(0)),
            )?,
        };
        let duration = |name: &str| params.get(name).map(|text| go(name, text)).transpose();
        let search = Self {
            service,
            operation: params.get("operation").unwrap_or_default().to_owned(),
            tags: legacy_tags(params)?,
            range: TimeRange::new(start, end),
            limit,
            duration_min: duration("minDuration")?.filter(|d| *d > 0),
            duration_max: duration("maxDuration")?.filter(|d| *d > 0),
            ids,
        };
        match (search.duration_min, search.duration_max) {
            (Some(min), Some(max)) if max < min => Err(HttpError::bad_data(
                "'maxDuration' should be greater than 'minDuration'",
            )),
            _ => Ok(search),
        }
    }

    /// `/api/v3/traces?query.serviceName=…`; the names with underscores are the older ones.
    pub(super) fn v3(params: &Params) -> Result<Self> {
        let get = |name: &'static str, older: &'static str| {
            let named = |name: &'static str| params.get(name).map(|text| (name, text));
            named(name).or_else(|| named(older))
        };
        let text = |name, older| get(name, older).map_or("", |(_, text)| text).to_owned();
        let tags = match params.get("query.attributes") {
            None => BTreeMap::new(),
            Some(text) => {
                serde_json::from_str(text).map_err(|error| malformed("query.attributes", error))?
            }
        };
        if params.get("query.filter").is_some() {
            return Err(malformed(
                "query.filter",
                "filter expressions are not read here",
            ));
        }
        let first = get("query.startTimeMin", "query.start_time_min");
        let last = get("query.startTimeMax", "query.start_time_max");
        let (Some(first), Some(last)) = (first, last) else {
            return Err(HttpError::bad_data(
                "query.startTimeMin and query.startTimeMax are required",
            ));
        };
        let time = |(name, text): (&str, &str)| {
            parse_rfc3339(text)
                .ok_or_else(|| malformed(name, format!("parsing time {text:?} as RFC 3339")))
        };
        let (start, end) = (time(first)?, time(last)?);
        if start >= end {
            return Err(HttpError::bad_data(
                "query.startTimeMin must be before query.startTimeMax",
            ));
        }
        let depth = get("query.searchDepth", "query.search_depth");
        let depth = depth.or_else(|| {
            params
                .get("query.num_traces")
                .map(|t| ("query.num_traces", t))
        });
        let limit = match depth {
            None => TRACES_DEFAULT,
            Some((name, text)) => {
                let depth = text.parse::<i64>();
                let depth = depth.map_err(|error| malformed(name, error))?;
                usize::try_from(depth).unwrap_or(0)
            }
        };
        let duration = |name, older| {
            let read = |(name, text)| go(name, text).map_err(|e| malformed(name, e.message));
            get(name, older).map(read).transpose()
        };
        if let Some((name, text)) = get("query.rawTraces", "query.raw_traces")
            && params.flag(name).is_err()
        {
            return Err(malformed(
                name,
                format!("{text:?} is neither true nor false"),
            ));
        }
        Ok(Self {
            service: text("query.serviceName", "query.service_name"),
            operation: text("query.operationName", "query.operation_name"),
            tags,
            range: TimeRange::new(start, end),
            limit,
            duration_min: duration("query.durationMin", "query.duration_min")?.filter(|d| *d > 0),
            duration_max: duration("query.durationMax", "query.duration_max")?.filter(|d| *d > 0),
            ids: Vec::new(),
        })
    }

    /// `jaeger.api_v2.FindTracesRequest`: without times the last two days.
    pub(super) fn grpc_v2(asked: Option<Find>) -> Result<Self> {
        let mut asked = asked.ok_or_else(|| HttpError::bad_data("missing query"))?;
        let end = *asked.end.get_or_insert_with(clock::now);
        asked
            .start
            .get_or_insert_with(|| end.saturating_sub(LOOKBACK));
        Self::grpc(asked)
    }

    /// `jaeger.api_v3.FindTracesRequest`: times must be told.
    pub(super) fn grpc_v3(asked: Option<Find>) -> Result<Self> {
        let asked = asked.ok_or_else(|| HttpError::bad_data("missing query"))?;
        if asked.start.is_none() || asked.end.is_none() {
            return Err(HttpError::bad_data(
                "start time min and max are required parameters",
            ));
        }
        Self::grpc(asked)
    }

    fn grpc(asked: Find) -> Result<Self> {
        if asked.filter {
            return Err(malformed("filter", "filter expressions are not read here"));
        }
        let (start, end) = (
            asked.start.unwrap_or(Timestamp::MIN),
            asked.end.unwrap_or(Timestamp::MAX),
        );
        if start >= end {
            return Err(HttpError::bad_data(
                "start_time_min must be before start_time_max",
            ));
        }
        Ok(Self {
            service: asked.service,
            operation: asked.operation,
            tags: asked.tags,
            range: TimeRange::new(start, end),
            limit: match asked.depth {
                0 => TRACES_DEFAULT,
                depth => usize::try_from(depth).unwrap_or(0),
            },
            duration_min: asked.duration_min.filter(|d| *d > 0),
            duration_max: asked.duration_max.filter(|d| *d > 0),
            ids: Vec::new(),
        })
    }

    /// The search in TraceQL.
    pub(super) fn traceql(&self) -> String {
        let mut all = Vec::new();
        if !self.service.is_empty() {
            all.push(format!("resource.service.name = {}", quoted(&self.service)));
        }
        if !self.operation.is_empty() {
            all.push(format!("name = {}", quoted(&self.operation)));
        }
        all.extend(self.tags.iter().map(|(key, value)| condition(key, value)));
        all.extend(
            self.duration_min
                .map(|nanos| format!("duration >= {nanos}ns")),
        );
        all.extend(
            self.duration_max
                .map(|nanos| format!("duration <= {nanos}ns")),
        );
        format!("{{ {} }}", all.join(" && "))
    }
}

/// The parameters of a body: `{"query": {…}}` says the same as an address, in either spelling.
pub(super) fn of_body(body: &[u8]) -> Result<Params> {
    let body: Value = serde_json::from_slice(body).map_err(|error| malformed("body", error))?;
    let Some(query) = body["query"].as_object() else {
        return Err(malformed("body", "expected {\"query\": {…}}"));
    };
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        // Attributes are JSON in addresses too.
        other => other.to_string(),
    };
    let named = |(name, value): (&String, &Value)| (format!("query.{name}"), text(value));
    Ok(Params::of(query.iter().map(named)))
}

pub(super) fn malformed(name: &str, why: impl std::fmt::Display) -> HttpError {
    HttpError::bad_data(format!("malformed parameter {name}: {why}"))
}

/// `tag=key:value` and `tags={"key":"value"}`, both repeatable.
fn legacy_tags(params: &Params) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for tag in params.all("tag").filter(|tag| !tag.is_empty()) {
        let (key, value) = tag.split_once(':').ok_or_else(|| {
            HttpError::bad_data(format!(
                "malformed 'tag' parameter, expecting key:value, received: {tag}"
            ))
        })?;
        all.insert(key.to_owned(), value.to_owned());
    }
    for tags in params.all("tags").filter(|tags| !tags.is_empty()) {
        let read: BTreeMap<String, String> = serde_json::from_str(tags).map_err(|error| {
            HttpError::bad_data(format!(
                "malformed 'tags' parameter, cannot unmarshal JSON: {error}"
            ))
        })?;
        all.extend(read);
    }
    Ok(all)
}

/// A text of TraceQL.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A tag is a text, which may be the text of a number or truth, and stands on the span, its resource
/// or one of its events.
fn condition(key: &str, value: &str) -> String {
    match (key, value) {
        ("error", "true") => return "( status = error || .error = true )".to_owned(),
        ("span.kind", "server" | "client" | "producer" | "consumer" | "internal") => {
            return format!("kind = {value}");
        }
        ("otel.status_code", "OK" | "ERROR") => {
            return format!("status = {}", value.to_lowercase());
        }
        ("otel.status_description", _) => return format!("statusMessage = {}", quoted(value)),
        ("otel.scope.name" | "otel.library.name", _) => {
            return format!("instrumentation:name = {}", quoted(value));
        }
        ("otel.scope.version" | "otel.library.version", _) => {
            return format!("instrumentation:version = {}", quoted(value));
        }
        _ => {}
    }
    let name = quoted(key);
    let mut any = vec![
        format!(".{name} = {}", quoted(value)),
        format!("event.{name} = {}", quoted(value)),
    ];
    let number = value.parse::<f64>().is_ok_and(f64::is_finite)
        && value
            .bytes()
            .all(|b| b.is_ascii_digit() || b == b'.' || b == b'-')
        && value.starts_with(|c: char| c.is_ascii_digit() || c == '-')
        && value.ends_with(|c: char| c.is_ascii_digit());
    if number || value == "true" || value == "false" {
        any.push(format!(".{name} = {value}"));
    }
    format!("( {} )", any.join(" || "))
}

#[cfg(test)]
mod unit {
    use super::*;
    use obs_query::{Language, Query};

    #[test]
    fn every_search_is_a_query() {
        let check = |tags: &[(&str, &str)], expect: &str| {
            let search = Search {
                service: "a\"b".to_owned(),
                operation: "GET \\x".to_owned(),
                tags: tags
                    .iter()
                    .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                    .collect(),
                range: TimeRange::ALL,
                limit: 1,
                duration_min: Some(5),
                duration_max: None,
                ids: Vec::new(),
            };
            let text = search.traceql();
            assert!(text.contains(expect), "{text}");
            let limits = obs_model::limits::Limits::default();
            Query::parse(Language::Traceql, &text, &limits).expect("a query");
        };
        check(
            &[],
            r#"{ resource.service.name = "a\"b" && name = "GET \\x" && duration >= 5ns }"#,
        );
        check(&[("error", "true")], "status = error");
        check(
            &[("http.status_code", "500")],
            r#"."http.status_code" = 500 )"#,
        );
        check(&[("a b", "-1.5")], r#"."a b" = -1.5"#);
        check(&[("x", "1.2.3")], r#"event."x" = "1.2.3" )"#);
        check(&[("} || {", "\"")], r#"."} || {" = "\"""#);
        check(&[("span.kind", "server")], "kind = server");
    }
}
