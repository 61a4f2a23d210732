//! The push gateway's API: `/metrics/job/…`, `/api/v1/metrics`, `/api/v1/status`, the wipe, and
//! the page `/pushgateway/metrics` (and `/metrics` on a listener of its own) with all groups.
//!
//! Invariant: a path that names no group changes nothing. Reference:
//! <https://github.com/prometheus/pushgateway#api>

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, StatusCode, Uri, header};
use obs_model::Timestamp;
use obs_model::labels::is_legacy_name;
use obs_model::limits::Limits;
use obs_wire::prometheus::pushed::{
    self, Distribution, Pairs, Pushed, PushedFamily, PushedMetric, PushedValue, decode_delimited,
    decode_text, encode_text,
};
use obs_wire::prometheus::text;
use obs_wire::{Position, WireError};
use serde_json::{Map, Value, json};

use super::{Receiver, RequestTenant, content_encoding, media_type, text_header};
use crate::http_error::{Dialect, ErrorKind, HttpError};
use crate::metrics::Door;
use crate::push::{Gateway, Group, PushError, PushOutcome};

/// What marks a name whose value is in base 64.
const BASE64: &str = "@base64";

#[derive(Clone, Debug)]
struct Here {
    receiver: Receiver,
    gateway: Gateway,
}

/// The route that deletes everything. Whoever serves it keeps pages of other sites away.
pub fn wipe_routes(receiver: Receiver, gateway: Gateway) -> Router {
    let here = Here { receiver, gateway };
    Router::new()
        .route("/api/v1/admin/wipe", put(wipe))
        .with_state(here)
}

/// The routes on the main port.
pub fn routes(receiver: Receiver, gateway: Gateway) -> Router {
    let here = Here { receiver, gateway };
    shared()
        .route("/pushgateway/metrics", get(page))
        .with_state(here)
}

/// The routes of a listener that is nothing but a gateway.
pub fn own_routes(receiver: Receiver, gateway: Gateway) -> Router {
    let here = Here { receiver, gateway };
    shared()
        .route("/metrics", get(page))
        .route("/-/healthy", get(|| async { "OK" }))
        .route("/-/ready", get(|| async { "OK" }))
        .with_state(here)
}

fn shared() -> Router<Here> {
    let change = || put(push).post(push).delete(delete);
    let mut router = Router::new()
        .route("/metrics/job/{*rest}", change())
        .route("/metrics/job@base64/{*rest}", change())
        .route("/api/v1/metrics", get(groups))
        .route("/api/v1/status", get(status));
    for path in ["/metrics/job/", "/metrics/job", "/metrics/job@base64/"] {
        router = router.route(path, change());
    }
    router
}

async fn push(
    State(here): State<Here>,
    RequestTenant(tenant): RequestTenant,
    request: Request,
) -> Response {
    let mut bytes = 0;
    let outcome = async {
        let tenant = tenant?;
        let (parts, body) = request.into_parts();
        let labels = grouping(parts.uri.path())?;
        let mut body = here.receiver.body(body).await?;
        bytes = body.bytes.len();
        let delimited = is_delimited(text_header(&parts.headers, &header::CONTENT_TYPE))
            && media_type(&parts.headers) == "application/vnd.google.protobuf";
        // A fault is told in the gateway's words, so it comes out of decoding as a value.
        let work = move |bytes: &[u8], limits: &Limits| match delimited {
            true => decode_delimited(bytes, limits).map(Ok),
            false => match decode_text(bytes, limits) {
                Err(fault @ WireError::Malformed { .. }) => Ok(Err(fault)),
                other => other.map(Ok),
            },
        };
        let compression = content_encoding(&parts.headers);
        let form = (compression.as_str(), usize::MAX);
        let decoded = here.receiver.decode(&mut body, form, work).await?;
        let pushed: Pushed = decoded.map_err(malformed)?;
        let replace = parts.method == Method::PUT;
        told(here.gateway.push(tenant, labels, pushed, replace).await)
    }
    .await;
    here.receiver.count(Door::Pushgateway, bytes, &outcome);
    match outcome {
        Ok(status) => status.into_response(),
        Err(error) => error.render(Dialect::Plain),
    }
}

fn malformed(fault: WireError) -> HttpError {
    match fault {
        WireError::Malformed {
            position: Position::Line { line, .. },
            expected,
            ..
        } => HttpError::bad_data(format!(
            "text format parsing error in line {line}: expected {expected}"
        )),
        other => other.into(),
    }
}

fn told(outcome: PushOutcome) -> Result<StatusCode, HttpError> {
    match outcome {
        PushOutcome::Kept { checked: true } => Ok(StatusCode::OK),
        PushOutcome::Kept { checked: false } => Ok(StatusCode::ACCEPTED),
        PushOutcome::Refused(fault @ PushError::Full(_)) => {
            Err(HttpError::too_large(fault.to_string()))
        }
        PushOutcome::Refused(fault) => Err(HttpError::bad_data(format!(
            "pushed metrics are invalid or inconsistent with existing metrics: {fault}"
        ))),
        PushOutcome::Failed(error) => Err(HttpError::unavailable(
            format!("the group could not be kept: {error}"),
            crate::sink::RETRY_AFTER_SECONDS,
        )),
    }
}

/// Whether parameters of a content type name messages after their lengths.
fn is_delimited(content_type: &str) -> bool {
    let has = |name: &str, value: &str| {
        content_type.split(';').skip(1).any(|parameter| {
            let (n, v) = parameter.split_once('=').unwrap_or((parameter, ""));
            n.trim().eq_ignore_ascii_case(name) && v.trim().trim_matches('"') == value
        })
    };
    has("encoding", "delimited") && has("proto", "io.prometheus.client.MetricFamily")
}

async fn delete(
    State(here): State<Here>,
    RequestTenant(tenant): RequestTenant,
    uri: Uri,
) -> Response {
    let outcome = async {
        let labels = grouping(uri.path())?;
        gone(here.gateway.delete(&tenant?, &labels).await)
    };
    plain(outcome.await)
}

async fn wipe(State(here): State<Here>, RequestTenant(tenant): RequestTenant) -> Response {
    let outcome = async {
        if !here.gateway.admin() {
            return Err(HttpError::new(ErrorKind::NotFound, "404 page not found"));
        }
        gone(here.gateway.wipe(&tenant?).await)
    };
    plain(outcome.await)
}

fn gone(outcome: Result<(), String>) -> Result<StatusCode, HttpError> {
    match outcome {
        Ok(()) => Ok(StatusCode::ACCEPTED),
        Err(error) => Err(HttpError::internal(error)),
    }
}

fn plain(outcome: Result<StatusCode, HttpError>) -> Response {
    match outcome {
        Ok(status) => status.into_response(),
        Err(error) => error.render(Dialect::Plain),
    }
}

/// The grouping labels of a path.
fn grouping(path: &str) -> Result<Pairs, HttpError> {
    let bad = |text: String| HttpError::bad_data(text);
    let path = unescape(path).ok_or_else(|| bad("the path is not valid UTF-8".to_owned()))?;
    let rest = path.split_once("/metrics/job").map_or("", |(_, rest)| rest);
    let (encoded, rest) = match rest.strip_prefix(BASE64) {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.strip_prefix('/').unwrap_or(rest);
    let (job, labels) = match rest.split_once('/') {
        Some((job, labels)) => (job, labels),
        None => (rest, ""),
    };
    let job = match encoded {
        false => job.to_owned(),
        true => decode_base64(job)
            .map_err(|e| bad(format!("invalid base64 encoding in job name {job:?}: {e}")))?,
    };
    let mut pairs = Pairs::new();
    if !labels.is_empty() {
        let parts: Vec<&str> = labels.split('/').collect();
        if !parts.len().is_multiple_of(2) {
            let text = format!(
                "odd number of components in label string {:?}",
                format!("/{labels}")
            );
            return Err(bad(text));
        }
        for pair in parts.chunks_exact(2) {
            let (name, value) = label(pair[0], pair[1])?;
            pairs.insert(name, value);
        }
    }
    if job.is_empty() {
        return Err(bad("job name is required".to_owned()));
    }
    pairs.insert("job".to_owned(), job);
    Ok(pairs)
}

fn label(name: &str, value: &str) -> Result<(String, String), HttpError> {
    let short = name.strip_suffix(BASE64).unwrap_or(name);
    if !is_legacy_name(short) || short.starts_with("__") {
        return Err(HttpError::bad_data(format!(
            "improper label name {short:?}"
        )));
    }
    if short == name {
        return Ok((name.to_owned(), value.to_owned()));
    }
    let decoded = decode_base64(value).map_err(|error| {
        HttpError::bad_data(format!(
            "invalid base64 encoding for label {short}={value:?}: {error}"
        ))
    })?;
    Ok((short.to_owned(), decoded))
}

/// The alphabet for URLs, padded or not; a padding alone is the empty text.
fn decode_base64(text: &str) -> Result<String, String> {
    let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('='));
    let bytes = bytes.map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|_| "expected UTF-8".to_owned())
}

/// `%XX` in a path.
fn unescape(path: &str) -> Option<String> {
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        if *byte == b'%' {
            out.push(u8::from_str_radix(path.get(at + 1..at + 3)?, 16).ok()?);
            at += 3;
        } else {
            out.push(*byte);
            at += 1;
        }
    }
    String::from_utf8(out).ok()
}

/// All groups as a target of scrapes.
async fn page(State(here): State<Here>, RequestTenant(tenant): RequestTenant) -> Response {
    let tenant = match tenant {
        Ok(tenant) => tenant,
        Err(error) => return error.render(Dialect::Plain),
    };
    let body = here
        .gateway
        .read(&tenant, |groups| exposition(&groups))
        .await;
    ([(header::CONTENT_TYPE, text::CONTENT_TYPE)], body).into_response()
}

fn exposition(groups: &[&Group]) -> Vec<u8> {
    let mut families = BTreeMap::<&str, PushedFamily>::new();
    for group in groups {
        for (name, (family, _)) in &group.families {
            let merged = families.entry(name).or_insert_with(|| PushedFamily {
                metrics: Vec::new(),
                ..family.clone()
            });
            merged.metrics.extend(family.metrics.iter().cloned());
        }
    }
    for family in families.values_mut() {
        // The order of Prometheus' libraries: by how many labels, then by their values.
        let order = |a: &PushedMetric, b: &PushedMetric| {
            let values = a.labels.values().cmp(b.labels.values());
            a.labels.len().cmp(&b.labels.len()).then(values)
        };
        family.metrics.sort_by(order);
    }
    let mut out = Vec::new();
    encode_text(families.values(), &mut out);
    out
}

async fn groups(State(here): State<Here>, RequestTenant(tenant): RequestTenant) -> Response {
    let tenant = match tenant {
        Ok(tenant) => tenant,
        Err(error) => return error.render(Dialect::Prometheus),
    };
    let all = |groups: Vec<&Group>| groups.into_iter().map(group_json).collect::<Vec<_>>();
    let data = here.gateway.read(&tenant, all).await;
    success(&json!(data))
}

fn success(data: &Value) -> Response {
    let body = json!({"status": "success", "data": data}).to_string();
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn group_json(group: &Group) -> Value {
    let mut out = Map::new();
    for (name, (family, time)) in &group.families {
        let metrics = family.metrics.iter().map(|metric| {
            let mut one = Map::new();
            one.insert("labels".to_owned(), json!(metric.labels));
            match &metric.value {
                PushedValue::Simple(value) => {
                    one.insert("value".to_owned(), pushed::shown(*value).into());
                }
                PushedValue::Summary(d) => distribution_json("quantiles", d, &mut one),
                PushedValue::Histogram(d) => distribution_json("buckets", d, &mut one),
            }
            Value::Object(one)
        });
        let mut told = json!({
            "time_stamp": rfc3339(*time),
            "type": pushed::kind_word(family.kind).to_uppercase(),
            "metrics": metrics.collect::<Vec<_>>(),
        });
        if !family.help.is_empty() {
            told["help"] = family.help.as_str().into();
        }
        out.insert(name.clone(), told);
    }
    // Last, as these names belong to the group.
    out.insert("labels".to_owned(), json!(group.labels));
    let succeeded = group.last_push_succeeded();
    out.insert("last_push_successful".to_owned(), succeeded.into());
    Value::Object(out)
}

fn distribution_json(name: &str, d: &Distribution, out: &mut Map<String, Value>) {
    let points = d.points.iter();
    let points = points.map(|(at, v)| (pushed::shown(*at), Value::from(pushed::shown(*v))));
    out.insert(name.to_owned(), Value::Object(points.collect()));
    out.insert("count".to_owned(), pushed::shown(d.count).into());
    out.insert("sum".to_owned(), pushed::shown(d.sum).into());
}

fn rfc3339(time: Timestamp) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(time.nanos()));
    time.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

async fn status(State(here): State<Here>) -> Response {
    let version = env!("CARGO_PKG_VERSION");
    success(&json!({
        "build_information": {
            "branch": "", "buildDate": "", "buildUser": "", "goVersion": "", "revision": "",
            "version": version,
        },
        "flags": {"web.enable-admin-api": here.gateway.admin().to_string()},
        "start_time": rfc3339(here.gateway.started()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expect: Result<&[(&str, &str)], &str>) {
        let found = grouping(path).map_err(|e| e.message);
        let expect = expect.map(|pairs| {
            let pairs = pairs.iter();
            pairs
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect::<Pairs>()
        });
        assert_eq!(found, expect.map_err(str::to_owned), "{path}");
    }

    #[test]
    fn paths_are_grouping_labels() {
        check("/metrics/job/a", Ok(&[("job", "a")]));
        check("/metrics/job/a/", Ok(&[("job", "a")]));
        check("/metrics/job/a%20b/l/v", Ok(&[("job", "a b"), ("l", "v")]));
        check(
            "/metrics/job@base64/L3Zhcg/l@base64/=",
            Ok(&[("job", "/var"), ("l", "")]),
        );
        check("/metrics/job@base64/L3Zhcg==", Ok(&[("job", "/var")]));
        check("/metrics/job/a/job/b", Ok(&[("job", "a")]));
        check("/metrics/job/", Err("job name is required"));
        check(
            "/metrics/job/a/l",
            Err("odd number of components in label string \"/l\""),
        );
        check("/metrics/job/a/l-x/v", Err("improper label name \"l-x\""));
        check("/metrics/job/a/__l/v", Err("improper label name \"__l\""));
        let fault = grouping("/metrics/job/a/l@base64/!").expect_err("a fault");
        assert!(
            fault
                .message
                .starts_with("invalid base64 encoding for label l=\"!\": "),
            "{fault:?}"
        );
    }

    #[test]
    fn types_of_content() {
        let full = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
        assert!(is_delimited(full));
        assert!(!is_delimited("text/plain; version=0.0.4"));
    }
}
