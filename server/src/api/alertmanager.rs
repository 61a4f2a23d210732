//! Alertmanager's HTTP API v2: its paths, shapes, statuses and texts.
//!
//! Invariant: a fault that Alertmanager finds itself is a text in JSON; one that its schema finds
//! is an object with a code, as its clients expect.

mod acks;
mod alerts;
mod body;
mod preview;
mod silences;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, OriginalUri, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use http::{HeaderValue, Method, StatusCode, header};
use obs_alerting::notify::matchers;
use obs_collector::HttpError;
use obs_model::{Labels, MatchOp, Matcher, Timestamp};
use serde_json::{Value, json};

use super::Asker;
use crate::alertmanager::Alertmanager;
use crate::app::App;
use crate::enforced::Visible;
use crate::params::Params;

/// The version of the API that is spoken here; clients decide by it what they can ask.
const VERSION: &str = "0.34.0";

/// Below `/api/v2` and `/alertmanager/api/v2`.
pub(super) fn routes(app: &Arc<App>) -> Router<Arc<App>> {
    // Grafana asks there to tell Mimir from Prometheus' Alertmanager: an answer would mean Mimir.
    let other = common().route("/status", get(no_status));
    let own = common().route("/status", only(get(status), "GET"));
    let with = |routes: Router<Arc<App>>| routes.fallback(not_found);
    Router::new()
        .nest("/api/v2", with(own))
        .nest("/alertmanager/api/v2", with(other))
        .route("/api/v1/alertmanager/route", get(preview::route))
        .route(
            "/api/v1/alertmanager/acks",
            get(acks::list).merge(own_site(post(acks::post))),
        )
        .route(
            "/api/v1/alertmanager/acks/{fingerprint}",
            own_site(delete(acks::delete)),
        )
        .layer(DefaultBodyLimit::max(app.rules.limits.body_bytes_max))
}

/// Runs what computes for long where there are many alerts off the event loop.
#[expect(
    clippy::disallowed_methods,
    reason = "reading and writing many alerts computes for long"
)]
async fn off_loop<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    let lost = |_| {
        let text = "the request was not finished";
        Box::new(wrong(StatusCode::INTERNAL_SERVER_ERROR, text))
    };
    tokio::task::spawn_blocking(work).await.map_err(lost)
}

fn common() -> Router<Arc<App>> {
    Router::new()
        .route("/receivers", only(get(receivers), "GET"))
        .route(
            "/alerts",
            only(get(alerts::list).post(alerts::post), "GET,POST"),
        )
        .route("/alerts/groups", only(get(alerts::groups), "GET"))
        .route(
            "/silences",
            only(
                get(silences::list).merge(own_site(post(silences::post))),
                "GET,POST",
            ),
        )
        .route(
            "/silence/{id}",
            only(
                get(silences::one).merge(own_site(delete(silences::delete))),
                "DELETE,GET",
            ),
        )
}

/// What keeps alerts quiet: no page of another site must make a browser do it.
fn own_site(route: MethodRouter<Arc<App>>) -> MethodRouter<Arc<App>> {
    route.layer(axum::middleware::from_fn(super::admin::same_site))
}

/// A route that says which methods it has.
fn only(route: MethodRouter<Arc<App>>, methods: &'static str) -> MethodRouter<Arc<App>> {
    route.fallback(async move |method: Method| {
        let message = format!("method {method} is not allowed, but [{methods}] are");
        coded(StatusCode::METHOD_NOT_ALLOWED, 405, &message)
    })
}

async fn not_found(OriginalUri(uri): OriginalUri) -> Response {
    let message = format!("path {} was not found", uri.path());
    coded(StatusCode::NOT_FOUND, 404, &message)
}

async fn no_status() -> Response {
    let message = "the status of the Alertmanager is at /api/v2/status: an answer here would make Grafana take this server for Mimir";
    coded(StatusCode::NOT_FOUND, 404, message)
}

/// An answer in JSON.
fn answer(status: StatusCode, body: &Value) -> Response {
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, format!("{body}\n")).into_response()
}

fn ok(body: &Value) -> Response {
    answer(StatusCode::OK, body)
}

/// An answer without a body.
fn empty(status: StatusCode) -> Response {
    let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (status, headers).into_response()
}

/// An answer in place of what was asked for.
type Refusal = Box<Response>;

/// A fault that Alertmanager finds.
fn wrong(status: StatusCode, text: &str) -> Response {
    answer(status, &Value::from(text))
}

fn bad(text: &str) -> Response {
    wrong(StatusCode::BAD_REQUEST, text)
}

/// A fault that the schema finds.
fn coded(status: StatusCode, code: u16, message: &str) -> Response {
    answer(status, &json!({"code": code, "message": message}))
}

/// The Alertmanager, once it is open.
fn open(app: &App) -> Result<&Arc<Alertmanager>, Refusal> {
    let starting = || wrong(StatusCode::SERVICE_UNAVAILABLE, &app.opening.tell());
    let open = app.alertmanager.get();
    open.ok_or_else(|| Box::new(starting()))
}

/// A time as the API says it: to the millisecond.
fn time(time: Timestamp) -> String {
    let text = Timestamp::from_millis(time.millis()).to_string();
    match text.strip_suffix('Z') {
        Some(whole) if !whole.contains('.') => format!("{whole}.000Z"),
        _ => text,
    }
}

/// Labels as an object.
fn object(labels: &Labels) -> Value {
    let pairs = labels.iter();
    let pairs = pairs.map(|(name, value)| (name.to_owned(), Value::from(value)));
    Value::Object(pairs.collect())
}

/// A parameter that is true or false; as Alertmanager reads it, other words are false.
fn flag(params: &Params, name: &str) -> bool {
    const TRUE: [&str; 10] = [
        "1", "checked", "enabled", "ok", "on", "selected", "t", "true", "y", "yes",
    ];
    match params.get(name) {
        None | Some("") => true,
        Some(word) => TRUE.contains(&word.to_ascii_lowercase().as_str()),
    }
}

/// The matchers of a parameter that may be there many times.
fn filters(params: &Params, name: &str) -> Result<Vec<Matcher>, String> {
    let texts = params.all(name);
    let read = |text: &str| {
        matchers::parse_one(text).map_err(|fault| {
            // The reason is ours, the rest is what clients know.
            let plain = format!("bad matcher format: {text}");
            if fault.starts_with(&plain) {
                plain
            } else {
                fault
            }
        })
    };
    texts.map(read).collect()
}

/// The parameter `receiver`, anchored at both ends.
fn receiver(params: &Params) -> Result<Option<Matcher>, Refusal> {
    let Some(text) = params.get("receiver") else {
        return Ok(None);
    };
    let matcher = Matcher::new("receiver", MatchOp::Regex, text);
    let fault = |e| Box::new(bad(&format!("failed to parse receiver param: {e}")));
    matcher.map(Some).map_err(fault)
}

/// Refuses who does not see everything of the tenant.
fn whole(seen: &Visible, what: &str) -> Result<(), Refusal> {
    let refused = |error: HttpError| Box::new(wrong(StatusCode::FORBIDDEN, &error.message));
    seen.must_be_whole(what).map_err(refused)
}

/// `/status`
async fn status(State(app): State<Arc<App>>, Asker(seen): Asker) -> Response {
    if let Err(response) = whole(&seen, "the configuration of the Alertmanager") {
        return *response;
    }
    let alertmanager = match open(&app) {
        Ok(alertmanager) => alertmanager,
        Err(response) => return *response,
    };
    ok(&json!({
        "cluster": {"status": "disabled", "peers": []},
        "versionInfo": {
            "version": VERSION,
            "revision": concat!("obs-", env!("CARGO_PKG_VERSION")),
            "branch": "",
            "buildUser": "",
            "buildDate": "",
            "goVersion": "",
        },
        "config": {"original": alertmanager.loaded().original},
        "uptime": time(app.started),
    }))
}

/// `/receivers`
async fn receivers(State(app): State<Arc<App>>, params: Params) -> Response {
    let alertmanager = match open(&app) {
        Ok(alertmanager) => alertmanager,
        Err(response) => return *response,
    };
    let wanted = match filters(&params, "receiver_matchers") {
        Ok(wanted) => wanted,
        Err(e) => return bad(&format!("failed to parse receiver_matchers param: {e}")),
    };
    let loaded = alertmanager.loaded();
    let all = loaded.config.receivers.iter();
    let all = all.filter(|r| alerts::labels_match(&wanted, &r.labels));
    let shown = all.map(|receiver| match receiver.labels.is_empty() {
        true => json!({"name": receiver.name}),
        false => json!({"name": receiver.name, "labels": receiver.labels}),
    });
    ok(&Value::Array(shown.collect()))
}

#[cfg(test)]
mod tests;
