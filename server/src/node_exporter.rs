//! The node exporter over HTTP: `/metrics` as node_exporter serves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use axum::Router;
use axum::extract::Query;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use obs_collector::{Dialect, HttpError, enrich};
use obs_model::Labels;
use obs_model::family::Family;
use obs_model::metrics::MetricKind;
use obs_node_exporter::{
    ContainerKey, ContainerNames, Lookup, Options, Source, exposition, gather,
};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::auth::{Guard, guarded};
use crate::process;
use crate::start::Peer;

/// The content type of the text format.
pub(crate) const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Pages of exporters have links and nothing else.
pub(crate) const PAGE_POLICY: [(header::HeaderName, &str); 1] = [(
    header::CONTENT_SECURITY_POLICY,
    "default-src 'none'; frame-ancestors 'none'",
)];

/// Scrapes that may run at one time inside a server, whose threads are those that queries and
/// decoders need.
const SCRAPES_MAX: usize = 4;

/// What is served, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the kernel's files are.
    pub source: Source,
    /// What is collected.
    pub options: Options,
    /// `--web.telemetry-path`
    pub telemetry_path: String,
    /// `--web.max-requests`; 0 is no bound.
    pub requests_max: usize,
    /// Whether the exporter tells of itself: `process_*` and `promhttp_*`.
    pub own_metrics: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            source: Source::default(),
            options: Options::default(),
            telemetry_path: "/metrics".to_owned(),
            requests_max: SCRAPES_MAX,
            own_metrics: true,
        }
    }
}

/// A node exporter whose address is bound, and that is not served yet.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) listener: TcpListener,
    pub(crate) settings: Settings,
}

impl Bound {
    /// Names containers after the pods that are watched.
    pub(crate) fn naming(mut self, pods: &enrich::Pods) -> Self {
        if pods.is_watched() {
            let pods = pods.clone();
            let lookup = Lookup::new(move |key| names(&pods, key));
            self.settings.options = self.settings.options.with_containers(lookup);
        }
        self
    }
}

/// How a container is called, or its pod where the container is not known, as that which only
/// holds the pod's network.
fn names(pods: &enrich::Pods, key: &ContainerKey<'_>) -> Option<ContainerNames> {
    let known = key.container_id.and_then(|id| pods.by_container(id));
    let (pod, container) = match known {
        Some((pod, container)) => (pod, container.into_string()),
        None => (pods.by_uid(key.pod_uid?)?, String::new()),
    };
    let image = pod.container(&container);
    Some(ContainerNames {
        namespace: pod.key.namespace.to_string(),
        pod: pod.key.name.to_string(),
        image: image.map_or_else(String::new, |container| container.image.to_string()),
        container,
    })
}

/// Serves until `stop` is ready.
pub async fn serve(
    listener: TcpListener,
    settings: Settings,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    serve_behind(listener, settings, None, stop).await
}

/// The same where somebody may stand before it.
pub(crate) async fn serve_behind(
    listener: TcpListener,
    settings: Settings,
    guard: Option<Guard>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let path = settings.telemetry_path.clone();
    let exporter = Exporter::new(settings);
    let metrics = async move |Query(query): Query<Vec<(String, String)>>| {
        let exporter = Arc::clone(&exporter);
        exporter.answer(&query).await
    };
    let mut routes = Router::new().route(&path, get(metrics));
    if path != "/" {
        let page = format!("<h1>Node Exporter</h1><a href=\"{path}\">Metrics</a>");
        routes = routes.route("/", get(async move || (PAGE_POLICY, Html(page.clone()))));
    }
    if let Some(guard) = guard {
        routes = guarded(guard, routes);
    }
    // Who asks too often with a wrong password is locked out by its own address.
    let routes = routes.into_make_service_with_connect_info::<Peer>();
    axum::serve(listener, routes)
        .with_graceful_shutdown(stop)
        .await
        .context("serve the node exporter")
}

#[derive(Debug)]
struct Exporter {
    settings: Settings,
    places: Arc<Semaphore>,
    /// Answers by status: 200, 500, 503, as promhttp counts them.
    answers: [AtomicU64; CODES.len()],
}

const CODES: [StatusCode; 3] = [
    StatusCode::OK,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::SERVICE_UNAVAILABLE,
];

impl Exporter {
    fn new(settings: Settings) -> Arc<Self> {
        let places = match settings.requests_max {
            0 => Semaphore::MAX_PERMITS,
            bound => bound.min(Semaphore::MAX_PERMITS),
        };
        Arc::new(Self {
            settings,
            places: Arc::new(Semaphore::new(places)),
            answers: Default::default(),
        })
    }

    async fn answer(self: Arc<Self>, query: &[(String, String)]) -> Response {
        let options = match self.asked(query) {
            Ok(options) => options,
            Err(text) => return HttpError::bad_data(text).render(Dialect::Plain),
        };
        let response = Arc::clone(&self).scrape(options).await;
        let code = CODES.iter().position(|code| *code == response.status());
        if let Some(count) = code.and_then(|at| self.answers.get(at)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        response
    }

    /// The collectors that `collect[]` or `exclude[]` leave.
    fn asked(&self, query: &[(String, String)]) -> Result<Options, String> {
        let named = |key: &str| -> Vec<&str> {
            let of_key = query.iter().filter(|(name, _)| name == key);
            of_key.map(|(_, value)| value.as_str()).collect()
        };
        let (collect, exclude) = (named("collect[]"), named("exclude[]"));
        let options = &self.settings.options;
        match (collect.is_empty(), exclude.is_empty()) {
            (true, true) => Ok(options.clone()),
            (true, false) => Ok(options.without(&exclude)),
            (false, true) => options.only(collect).map_err(|error| {
                let text = "Couldn't create filtered metrics handler: couldn't create collector";
                format!("{text}: {error}")
            }),
            (false, false) => {
                Err("Combined collect and exclude queries are not allowed.".to_owned())
            }
        }
    }

    /// Reading `/proc` blocks for milliseconds, a hung mount for seconds: not on the event loop.
    #[expect(
        clippy::disallowed_methods,
        reason = "reads kernel files; a door off the event loop"
    )]
    async fn scrape(self: Arc<Self>, options: Options) -> Response {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let bound = self.settings.requests_max;
            let text = format!("Limit of concurrent requests reached ({bound}), try again later.");
            return HttpError::unavailable(text, 1).render(Dialect::Plain);
        };
        let text = tokio::task::spawn_blocking(move || {
            let _place = place;
            let mut gathered = gather(&self.settings.source, &options);
            for (collector, fault) in &gathered.faults {
                tracing::debug!(collector, %fault, "node exporter collector failed");
            }
            if self.settings.own_metrics {
                gathered.families.extend(process::families());
                gathered.families.extend(self.own_families());
                gathered.families.sort_by(|a, b| a.name.cmp(&b.name));
            }
            exposition(&gathered.families)
        });
        match text.await {
            Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
            Err(error) => HttpError::internal(error.to_string()).into_response(),
        }
    }

    /// What promhttp tells of its handler.
    fn own_families(&self) -> [Family; 2] {
        let bound = match self.settings.requests_max {
            0 => Semaphore::MAX_PERMITS,
            bound => bound.min(Semaphore::MAX_PERMITS),
        };
        let running = bound.saturating_sub(self.places.available_permits());
        let in_flight = Family::new(
            "promhttp_metric_handler_requests_in_flight",
            MetricKind::Gauge,
            "Current number of scrapes being served.",
        );
        let mut total = Family::new(
            "promhttp_metric_handler_requests_total",
            MetricKind::Counter,
            "Total number of scrapes by HTTP status code.",
        );
        for (code, count) in CODES.iter().zip(&self.answers) {
            let labels = Labels::from_pairs([("code", code.as_str())]);
            total.push(labels, count.load(Ordering::Relaxed) as f64);
        }
        [in_flight.with(running as f64), total]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exporter(requests_max: usize) -> Arc<Exporter> {
        Exporter::new(Settings {
            requests_max,
            ..Settings::default()
        })
    }

    async fn ask(exporter: &Arc<Exporter>, query: &[(&str, &str)]) -> (StatusCode, String) {
        let query: Vec<(String, String)> = query
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let response = Arc::clone(exporter).answer(&query).await;
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await;
        (status, String::from_utf8(body.unwrap().to_vec()).unwrap())
    }

    #[test]
    fn containers_have_the_names_of_their_pods() {
        use obs_kubernetes::pods::{Pods, Settings};
        let watched = Pods::new(Settings::default());
        let pod = br#"{"kind":"Pod","metadata":{"namespace":"shop","name":"cart-0","uid":"u1"},
            "spec":{"containers":[{"name":"app","image":"registry/app:1"}]},
            "status":{"containerStatuses":[{"name":"app","containerID":"containerd://c1"}]}}"#;
        assert_eq!(watched.insert_json(pod).unwrap(), 1);
        let pods = enrich::Pods::from(watched);
        let check = |pod_uid, container_id, expect: Option<&str>| {
            let key = ContainerKey {
                pod_uid,
                container_id,
            };
            let found = names(&pods, &key)
                .map(|n| format!("{}/{}/{} {}", n.namespace, n.pod, n.container, n.image));
            assert_eq!(found.as_deref(), expect);
        };
        check(
            Some("u1"),
            Some("c1"),
            Some("shop/cart-0/app registry/app:1"),
        );
        // What holds the network of a pod is none of its containers.
        check(Some("u1"), Some("pause"), Some("shop/cart-0/ "));
        check(Some("u1"), None, Some("shop/cart-0/ "));
        check(Some("u2"), Some("c2"), None);
        check(None, None, None);
    }

    #[tokio::test]
    async fn scrapes_are_bounded() {
        let exporter = exporter(1);
        assert_eq!(ask(&exporter, &[]).await.0, 200);
        let held = Arc::clone(&exporter.places).try_acquire_owned();
        let held = held.expect("the place came back");
        let refused = Arc::clone(&exporter).answer(&[]).await;
        assert_eq!(refused.status(), 503);
        assert!(refused.headers().contains_key("retry-after"));
        drop(held);
        let (status, text) = ask(&exporter, &[]).await;
        assert_eq!(status, 200);
        for line in [
            "promhttp_metric_handler_requests_in_flight 1",
            "promhttp_metric_handler_requests_total{code=\"200\"} 1",
            "promhttp_metric_handler_requests_total{code=\"503\"} 1",
            "# TYPE process_cpu_seconds_total counter",
        ] {
            assert!(text.contains(line), "{line} is missing");
        }
    }

    #[tokio::test]
    async fn a_scrape_may_choose_collectors() {
        let exporter = exporter(0);
        let (_, text) = ask(
            &exporter,
            &[("collect[]", "loadavg"), ("collect[]", "uname")],
        )
        .await;
        assert!(text.contains("node_load1 ") && text.contains("node_uname_info{"));
        assert!(!text.contains("node_cpu_seconds_total"));
        let (_, text) = ask(&exporter, &[("exclude[]", "loadavg")]).await;
        assert!(!text.contains("node_load1 ") && text.contains("node_uname_info{"));
        for (query, expect) in [
            (
                &[("collect[]", "cpu"), ("exclude[]", "cpu")][..],
                "Combined collect and exclude queries are not allowed.",
            ),
            (&[("collect[]", "nope")], "missing collector: nope"),
            (&[("collect[]", "systemd")], "disabled collector: systemd"),
        ] {
            let (status, text) = ask(&exporter, query).await;
            assert_eq!(status, 400);
            assert!(text.contains(expect), "{text}");
        }
    }
}
