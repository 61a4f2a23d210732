//! `/api/search`: traces by TraceQL, or by tags and durations as before it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use obs_collector::HttpError;
use obs_model::answer::FoundTrace;
use obs_model::time::{NANOS_PER_MILLI, NANOS_PER_SECOND};
use obs_model::{Answer, TimeRange, Timestamp, duration};
use obs_query::{Language, Request, When};
use obs_wire::tempo::api::{self as write, SearchMetrics};
use obs_wire::tempo::messages;
use obs_wire::tempo::requests::SearchRequest;

use super::{RECENT, Result, answered, count, seconds, told};
use crate::api::{Asker, Told, evaluate};
use crate::app::App;
use crate::clock;
use crate::enforced::Visible;
use crate::params::{Params, invalid};

/// Traces without a `limit`, as Tempo.
const TRACES_DEFAULT: u32 = 20;
/// Spans of a set without `spss`, as Tempo.
const SPANS_DEFAULT: u32 = 3;

/// Parameters that are not attributes.
const RESERVED: [&str; 9] = [
    "q",
    "tags",
    "minDuration",
    "maxDuration",
    "limit",
    "spss",
    "start",
    "end",
    "mode",
];

pub(super) async fn http(
    State(app): State<Arc<App>>,
    Told(Asker(tenant)): Told<Asker>,
    headers: HeaderMap,
    Told(params): Told<Params>,
) -> Result<Response> {
    let asked = Asked::new(&request(&params)?)?;
    let (traces, metrics) = find(&app, &tenant, &asked, asked.range).await?;
    Ok(answered(
        &headers,
        || messages::search(&traces, &metrics),
        |body| write::search(&traces, &metrics, body),
    ))
}

/// What an address asks for.
fn request(params: &Params) -> std::result::Result<SearchRequest, HttpError> {
    let mut request = SearchRequest {
        query: params.get("q").unwrap_or_default().to_owned(),
        start: seconds(params, "start")?,
        end: seconds(params, "end")?,
        min_duration_ms: millis(params, "minDuration")?,
        max_duration_ms: millis(params, "maxDuration")?,
        limit: count(params, "limit")?,
        spans_per_set: match params.get("spss") {
            Some(_) => count(params, "spss")?,
            None => SPANS_DEFAULT,
        },
        tags: Vec::new(),
    };
    if params.get("limit").is_some() && request.limit == 0 {
        return Err(invalid("limit", "must be a positive number"));
    }
    match params.get("tags") {
        Some(_) if !request.query.is_empty() => {
            return Err(HttpError::bad_data(
                "invalid request: can't specify tags and q in the same query",
            ));
        }
        Some(tags) => request.tags = logfmt(tags)?,
        // The first Grafana told tags one by one.
        None if request.query.is_empty() && request.start == 0 && request.end == 0 => {
            let pairs = params
                .pairs()
                .filter(|(n, v)| !RESERVED.contains(n) && !v.is_empty());
            request.tags = pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        }
        None => {}
    }
    let (min, max) = (request.min_duration_ms, request.max_duration_ms);
    if max != 0 && min > max {
        return Err(invalid("maxDuration", "must be greater than minDuration"));
    }
    Ok(request)
}

fn millis(params: &Params, name: &str) -> std::result::Result<u32, HttpError> {
    let Some(text) = params.get(name) else {
        return Ok(0);
    };
    let nanos = duration::parse(text).or_else(|| crate::params::go_duration(text));
    let nanos = nanos
        .ok_or_else(|| invalid(name, format!("{text:?}, expected a duration such as 1.5s")))?;
    Ok(u32::try_from(nanos / NANOS_PER_MILLI).unwrap_or(u32::MAX))
}

/// A search, checked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) text: String,
    pub(super) range: TimeRange,
    limit: usize,
    spans_per_set: usize,
}

impl Asked {
    pub(super) fn new(request: &SearchRequest) -> std::result::Result<Self, HttpError> {
        let text = match request.query.as_str() {
            "" => from_tags(request)?,
            query => query.to_owned(),
        };
        let time = |seconds: u32| Timestamp::from_seconds(i64::from(seconds));
        let end = match request.end {
            0 => clock::now(),
            end => time(end),
        };
        let start = match request.start {
            0 => end.saturating_sub(RECENT),
            start => time(start),
        };
        if end <= start {
            return Err(HttpError::bad_data(format!(
                "http parameter start must be before end. received start={} end={}",
                request.start, request.end
            )));
        }
        Ok(Self {
            text,
            range: TimeRange::new(start, end),
            limit: match request.limit {
                0 => TRACES_DEFAULT as usize,
                limit => limit as usize,
            },
            spans_per_set: request.spans_per_set as usize,
        })
    }
}

/// The newest traces of a range, and what they cost.
pub(super) async fn find(
    app: &App,
    tenant: &Visible,
    asked: &Asked,
    range: TimeRange,
) -> std::result::Result<(Vec<FoundTrace>, SearchMetrics), HttpError> {
    let when = When::Range {
        start: range.start,
        end: range.end,
        step: NANOS_PER_SECOND,
    };
    let mut request = Request::new(when);
    request.limit = asked.limit;
    request.spans_per_set = asked.spans_per_set;
    let evaluated = evaluate(app, tenant, Language::Traceql, &asked.text, request, None);
    let reply = evaluated.await.map_err(told)?;
    let Answer::Traces(traces) = reply.answer else {
        return Err(HttpError::bad_data(
            "this is a metrics query; ask /api/metrics/query_range for it",
        ));
    };
    let metrics = SearchMetrics {
        inspected_traces: u32::try_from(traces.len()).unwrap_or(u32::MAX),
        inspected_bytes: reply.bytes_read,
        completed_jobs: 1,
        total_jobs: 1,
        ..SearchMetrics::default()
    };
    Ok((traces, metrics))
}

/// `a=b c="d \" e" f`
fn logfmt(text: &str) -> std::result::Result<Vec<(String, String)>, HttpError> {
    let mut tags: Vec<(String, String)> = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_whitespace());
        let (key, tail) = rest.split_at(end.unwrap_or(rest.len()));
        let fault = |what: &str| HttpError::bad_data(format!("invalid tags: {what} at {rest:?}"));
        if key.is_empty() {
            return Err(fault("unexpected '='"));
        }
        let (value, tail) = match tail.strip_prefix('=') {
            None => (String::new(), tail),
            Some(tail) => match tail.strip_prefix('"') {
                Some(quoted) => {
                    unquoted(quoted).ok_or_else(|| fault("unterminated quoted value"))?
                }
                None => {
                    let end = tail.find(char::is_whitespace).unwrap_or(tail.len());
                    (tail[..end].to_owned(), &tail[end..])
                }
            },
        };
        if tags.iter().any(|(known, _)| known == key) {
            return Err(HttpError::bad_data(format!(
                "invalid tags: tag {key} has been set twice"
            )));
        }
        tags.push((key.to_owned(), value));
        rest = tail.trim_start();
    }
    Ok(tags)
}

/// A text up to its closing quote, and what follows.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            }),
            c => value.push(c),
        }
    }
    None
}

/// The TraceQL query of a search by tags and durations. A tag is met by any span of the trace whose
/// text holds it, in any case of letters, or whose number or truth it is.
fn from_tags(request: &SearchRequest) -> std::result::Result<String, HttpError> {
    let mut filters = Vec::new();
    for (key, value) in &request.tags {
        let wrong =
            |c: char| c.is_whitespace() || c.is_control() || "{}()=~!<>&|^,\"\\".contains(c);
        if key.is_empty() || key.contains(wrong) {
            return Err(HttpError::bad_data(format!(
                "invalid tags: {key:?} is no name of an attribute"
            )));
        }
        filters.push(format!("{{ {} }}", tag_condition(key, value)));
    }
    let mut durations = Vec::new();
    if request.min_duration_ms > 0 {
        durations.push(format!("traceDuration >= {}ms", request.min_duration_ms));
    }
    if request.max_duration_ms > 0 {
        durations.push(format!("traceDuration <= {}ms", request.max_duration_ms));
    }
    if !durations.is_empty() || filters.is_empty() {
        filters.push(format!("{{ {} }}", durations.join(" && ")));
    }
    Ok(filters.join(" && "))
}

fn tag_condition(key: &str, value: &str) -> String {
    let pattern = quoted(&format!("(?is).*{}.*", escaped(value)));
    match (key, value) {
        ("status" | "status.code", "ok" | "error" | "unset") => format!("status = {value}"),
        ("error", "true") => "status = error".to_owned(),
        ("name", _) => format!("name =~ {pattern}"),
        ("root.name", _) => format!("rootName =~ {pattern}"),
        ("root.service.name", _) => format!("rootServiceName =~ {pattern}"),
        _ => {
            let mut text = format!(".{key} =~ {pattern}");
            if value.parse::<i64>().is_ok_and(|n| n >= 0) || value == "true" || value == "false" {
                text.push_str(&format!(" || .{key} = {value}"));
            }
            text
        }
    }
}

/// A text of TraceQL.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A text as a regular expression.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\.+*?()|[]{}^$#&-~".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod unit {
    use super::*;

    fn asked(tags: &str, min: u32) -> std::result::Result<String, HttpError> {
        let request = SearchRequest {
            tags: logfmt(tags)?,
            min_duration_ms: min,
            ..SearchRequest::default()
        };
        from_tags(&request)
    }

    #[test]
    fn searches_by_tags() {
        let check = |tags: &str, min: u32, expect: &str| {
            let text = asked(tags, min).unwrap();
            assert_eq!(text, expect);
            let limits = obs_model::limits::Limits::default();
            obs_query::Query::parse(Language::Traceql, &text, &limits).expect("a query");
        };
        check("", 0, "{  }");
        check("", 1000, "{ traceDuration >= 1000ms }");
        check(
            "a=b c=\"d \\\" e\"",
            0,
            r#"{ .a =~ "(?is).*b.*" } && { .c =~ "(?is).*d \" e.*" }"#,
        );
        check(
            "http.status_code=500",
            5,
            r#"{ .http.status_code =~ "(?is).*500.*" || .http.status_code = 500 } && { traceDuration >= 5ms }"#,
        );
        check(
            "error=true name=get",
            0,
            r#"{ status = error } && { name =~ "(?is).*get.*" }"#,
        );
        check("a=x.y", 0, r#"{ .a =~ "(?is).*x\\.y.*" }"#);
        for wrong in ["a}=b", "=b", "a=\"b", "a=1 a=2"] {
            assert!(asked(wrong, 0).is_err(), "{wrong}");
        }
    }
}
