//! The state of a cluster's objects over HTTP: `/metrics`, `/healthz`, `/livez`, `/readyz` as
//! kube-state-metrics serves them, and what it tells of itself on an address of its own.
//!
//! Invariant: an answer is made while it is sent, in pieces, so that a scrape of many objects costs
//! no memory beyond a piece.

use std::convert::Infallible;
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, Method, StatusCode, Uri, header};
use http_body::Frame;
use obs_kubernetes::state::{Scrape, StateMetrics};
use obs_kubernetes::{Client, Error};
use obs_model::Labels;
use obs_model::family::{Family, Point};
use obs_model::metrics::MetricKind;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::{Guard, guarded};
use crate::clock::Stopwatch;
use crate::connections::Guarded;
use crate::node_exporter::{PAGE_POLICY, TEXT_FORMAT};
use crate::start::Peer;
use crate::{process, telemetry};

/// Bytes of text that are made at once: some 0.2 ms of work, between which others have their turn.
const PIECE_BYTES: usize = 64 << 10;
/// The text of many objects shrinks to a tenth at the cheapest level.
const GZIP_LEVEL: u32 = 1;
/// Prometheus' default buckets, in seconds.
const BUCKETS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The two listeners.
#[derive(Debug)]
pub struct KubeStateListeners {
    /// `/metrics` of the objects.
    pub metrics: TcpListener,
    /// What the exporter tells of itself; left out where there is no place for it.
    pub telemetry: Option<TcpListener>,
}

/// Logs to standard error, as the server does.
///
/// # Errors
/// The subscriber cannot be set up.
pub fn start_logging() -> anyhow::Result<()> {
    let nobody = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let export = telemetry::Export {
        to: nobody,
        own: None,
        logs: false,
        traces: false,
    };
    let level = tracing_subscriber::filter::LevelFilter::INFO;
    telemetry::start(telemetry::LogFormat::Text, level, export).map(|_| ())
}

/// Follows the API server and serves until `stop` is cancelled.
///
/// # Errors
/// The state cannot be followed at all, or a listener fails.
pub async fn serve(
    state: StateMetrics,
    client: Client,
    listeners: KubeStateListeners,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    serve_behind(state, client, listeners, (stop, None)).await
}

/// The same where somebody may stand before the listeners.
pub(crate) async fn serve_behind(
    state: StateMetrics,
    client: Client,
    listeners: KubeStateListeners,
    (stop, guard): (CancellationToken, Option<Guard>),
) -> anyhow::Result<()> {
    let (tasks, cut) = (TaskTracker::new(), CancellationToken::new());
    let shown = Arc::new(Shown {
        state: state.clone(),
        client: client.clone(),
        durations: Durations::default(),
    });
    let spawn = |listener: TcpListener, routes: Router| {
        let (stopped, cut) = (stop.clone().cancelled_owned(), cut.clone());
        let routes = match &guard {
            Some(guard) => guarded(guard.clone(), routes),
            None => routes,
        };
        // Who asks too often with a wrong password is locked out by its own address.
        let routes = routes.into_make_service_with_connect_info::<Peer>();
        tasks.spawn(async move {
            let served = axum::serve(Guarded::new(listener, cut), routes);
            if let Err(error) = served.with_graceful_shutdown(stopped).await {
                tracing::error!(%error, "a listener of kube-state failed");
            }
        });
    };
    spawn(listeners.metrics, metrics_routes(&shown));
    if let Some(listener) = listeners.telemetry {
        spawn(listener, telemetry_routes(&shown));
    }
    let followed = state.run(client, stop.clone()).await;
    if followed.is_err() {
        stop.cancel();
    }
    tasks.close();
    // Requests in flight have a moment, then their connections are cut.
    let moment = std::time::Duration::from_secs(3);
    drop(tokio::time::timeout(moment, tasks.wait()).await);
    cut.cancel();
    tasks.wait().await;
    followed.context("follow the API server")
}

#[derive(Debug)]
struct Shown {
    state: StateMetrics,
    client: Client,
    durations: Durations,
}

fn metrics_routes(shown: &Arc<Shown>) -> Router {
    let home = "<h1>kube-state</h1><p><a href=\"/metrics\">Metrics</a> \
                <a href=\"/healthz\">Healthz</a> <a href=\"/livez\">Livez</a></p>";
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "OK" }))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/", get(move || async move { (PAGE_POLICY, Html(home)) }))
        .with_state(Arc::clone(shown))
}

fn telemetry_routes(shown: &Arc<Shown>) -> Router {
    Router::new()
        .route("/metrics", get(own_metrics))
        .route("/healthz", get(|| async { "OK" }))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .with_state(Arc::clone(shown))
}

async fn metrics(
    State(shown): State<Arc<Shown>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let accept = header_text(&headers, &header::ACCEPT);
    let version = open_metrics_version(&accept);
    let query = uri.query().unwrap_or_default();
    let (wanted, excluded) = (
        listed(query, "resources"),
        listed(query, "exclude_resources"),
    );
    let scrape = shown
        .state
        .scrape(wanted.as_deref(), excluded.as_deref(), version.is_some());
    let gzip = header_text(&headers, &header::ACCEPT_ENCODING);
    let gzip = gzip.split(',').map(str::trim).any(accepts_gzip);
    let kind = match version {
        Some(version) => {
            format!("application/openmetrics-text; version={version}; charset=utf-8")
        }
        None => TEXT_FORMAT.to_owned(),
    };
    let body = Body::new(Pieces {
        scrape,
        gzip: gzip.then(|| GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL))),
        watch: Timed {
            shown,
            method,
            since: Stopwatch::start(),
        },
        ended: false,
    });
    let mut response = Response::new(body);
    if let Ok(kind) = kind.parse() {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    if gzip {
        let gzip = header::HeaderValue::from_static("gzip");
        response
            .headers_mut()
            .insert(header::CONTENT_ENCODING, gzip);
    }
    response
}

/// A healthy process that cannot reach the API server shows what was: so says the probe.
async fn live(State(shown): State<Arc<Shown>>) -> Response {
    let answer: Result<serde_json::Value, Error> = shown.client.get("/livez").await;
    match answer {
        Ok(_) => "OK".into_response(),
        // It answered, if only that it is not JSON, or that this is not for us to see.
        Err(Error::Malformed { .. }) => "OK".into_response(),
        Err(error) if error.status().is_some_and(|status| status < 500) => "OK".into_response(),
        Err(error) => {
            tracing::warn!(%error, "the API server is not alive");
            (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable").into_response()
        }
    }
}

async fn ready(State(shown): State<Arc<Shown>>) -> Response {
    if shown.state.is_ready() {
        return "OK".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable").into_response()
}

async fn own_metrics(State(shown): State<Arc<Shown>>) -> Response {
    let mut families = shown.state.telemetry();
    families.push(shown.durations.family());
    families.extend(process::families());
    let mut text = Vec::new();
    obs_wire::prometheus::text::encode(&families, &mut text);
    ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response()
}

fn header_text(headers: &HeaderMap, name: &header::HeaderName) -> String {
    let values = headers.get_all(name).into_iter();
    let values: Vec<_> = values.filter_map(|value| value.to_str().ok()).collect();
    values.join(",")
}

/// `gzip`, unless it is refused by `q=0`.
fn accepts_gzip(coding: &str) -> bool {
    let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
    let quality = parameters.trim().strip_prefix("q=").map(str::parse::<f64>);
    name.trim() == "gzip" && !matches!(quality, Some(Ok(quality)) if quality == 0.0)
}

/// The version of OpenMetrics that is wished for more than the text format.
fn open_metrics_version(accept: &str) -> Option<&'static str> {
    let mut best: Option<(f64, Option<&'static str>)> = None;
    for clause in accept.split(',') {
        let mut parts = clause.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let (mut quality, mut version) = (1.0, "");
        for part in parts {
            match part.split_once('=') {
                Some(("q", value)) => quality = value.parse().unwrap_or(1.0),
                Some(("version", value)) => version = value.trim_matches('"'),
                _ => {}
            }
        }
        let form = match (kind, version) {
            ("application/openmetrics-text", "1.0.0") => Some("1.0.0"),
            ("application/openmetrics-text", "" | "0.0.1") => Some("0.0.1"),
            ("text/plain" | "text/*" | "*/*", _) => None,
            _ => continue,
        };
        if quality > 0.0 && best.is_none_or(|(known, _)| quality > known) {
            best = Some((quality, form));
        }
    }
    best.and_then(|(_, form)| form)
}

/// The names that a parameter lists, with commas between or several times; nothing where it is not
/// there at all.
fn listed(query: &str, name: &str) -> Option<Vec<String>> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    let values: Vec<_> = pairs
        .filter(|(key, _)| key == name)
        .map(|(_, value)| value)
        .collect();
    let names = values.iter().flat_map(|value| value.split(','));
    let names = names.map(str::trim).filter(|name| !name.is_empty());
    let names: Vec<_> = names.map(str::to_owned).collect();
    (!values.is_empty()).then_some(names)
}

/// The body of a scrape, made while it is sent.
struct Pieces {
    scrape: Scrape,
    gzip: Option<GzEncoder<Vec<u8>>>,
    watch: Timed,
    ended: bool,
}

impl Pieces {
    /// The next piece; nothing at the end.
    fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let Some(gzip) = &mut self.gzip else {
            let mut text = Vec::with_capacity(PIECE_BYTES + 1024);
            self.ended = !self.scrape.write(PIECE_BYTES, &mut text);
            return (!text.is_empty()).then(|| text.into());
        };
        let mut text = Vec::with_capacity(PIECE_BYTES + 1024);
        while gzip.get_ref().is_empty() {
            text.clear();
            if !self.scrape.write(PIECE_BYTES, &mut text) {
                self.ended = true;
                let gzip = self.gzip.take()?;
                return gzip.finish().ok().map(Bytes::from);
            }
            // Writing to a vector does not fail.
            gzip.write_all(&text).ok()?;
        }
        Some(std::mem::take(gzip.get_mut()).into())
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.next();
        if self.ended || piece.is_none() {
            self.watch.end();
        }
        Poll::Ready(piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// How long an answer took, counted once.
struct Timed {
    shown: Arc<Shown>,
    method: Method,
    since: Stopwatch,
}

impl Timed {
    fn end(&mut self) {
        if self.method == Method::GET {
            self.shown.durations.count(self.since.elapsed_seconds());
            // Counted: a second end says nothing.
            self.method = Method::HEAD;
        }
    }
}

/// `http_request_duration_seconds` of `/metrics`.
#[derive(Debug, Default)]
struct Durations {
    buckets: [AtomicU64; BUCKETS.len()],
    count: AtomicU64,
    nanos: AtomicU64,
}

impl Durations {
    fn count(&self, seconds: f64) {
        for (bound, bucket) in BUCKETS.iter().zip(&self.buckets) {
            if seconds <= *bound {
                bucket.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let nanos = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let nanos = u64::try_from(nanos.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    fn family(&self) -> Family {
        let mut family = Family::new(
            "http_request_duration_seconds",
            MetricKind::Histogram,
            "How long answers of the metrics took.",
        );
        let labels = [("handler", "metrics"), ("method", "get")];
        let count = self.count.load(Ordering::Relaxed) as f64;
        let bounds = BUCKETS.iter().map(f64::to_string).zip(&self.buckets);
        let buckets = bounds.map(|(le, count)| (le, count.load(Ordering::Relaxed) as f64));
        for (le, value) in buckets.chain([("+Inf".to_owned(), count)]) {
            let labels = labels.into_iter().chain([("le", le.as_str())]);
            family.points.push(Point {
                suffix: "_bucket",
                labels: Labels::from_pairs(labels),
                value,
            });
        }
        let sum = self.nanos.load(Ordering::Relaxed) as f64 / 1e9;
        for (suffix, value) in [("_sum", sum), ("_count", count)] {
            family.points.push(Point {
                suffix,
                labels: Labels::from_pairs(labels),
                value,
            });
        }
        family
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_that_is_wished_for() {
        let check = |accept: &str, expect| assert_eq!(open_metrics_version(accept), expect);
        check("", None);
        check("text/plain", None);
        check("*/*", None);
        check("application/openmetrics-text", Some("0.0.1"));
        check(
            "application/vnd.google.protobuf;q=0.7,application/openmetrics-text;version=1.0.0;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            Some("1.0.0"),
        );
        check("application/openmetrics-text;q=0.2,text/plain;q=0.9", None);
        check("application/openmetrics-text;q=0", None);
        check("application/openmetrics-text; version=9.9", None);
    }

    #[test]
    fn gzip_is_taken_unless_refused() {
        assert!(accepts_gzip("gzip") && accepts_gzip("gzip;q=0.5"));
        assert!(!accepts_gzip("gzip;q=0") && !accepts_gzip("br") && !accepts_gzip(""));
    }

    #[test]
    fn resources_of_a_scrape() {
        let some = |names: &[&str]| Some(names.iter().map(|n| (*n).to_owned()).collect());
        assert_eq!(listed("", "resources"), None);
        assert_eq!(listed("resources=", "resources"), some(&[]));
        let query = "resources=pods,%20nodes&resources=jobs&exclude_resources=pods";
        assert_eq!(listed(query, "resources"), some(&["pods", "nodes", "jobs"]));
        assert_eq!(listed(query, "exclude_resources"), some(&["pods"]));
    }

    #[test]
    fn durations_are_a_histogram() {
        let durations = Durations::default();
        durations.count(0.02);
        durations.count(20.0);
        let family = durations.family();
        let values: Vec<_> = family.points.iter().map(|point| point.value).collect();
        let buckets = [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0];
        assert_eq!(values[..12], buckets);
        assert_eq!(values[12..], [20.02, 2.0]);
    }
}
