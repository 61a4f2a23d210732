//! The sockets of the server and what is served on them. They are bound before anything else is
//! touched, so that a wrong address is found at once.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use axum::extract::Request;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::serve::IncomingStream;
use axum::{Extension, Router};
use obs_collector::enrich;
use obs_collector::probe::Probes;
use obs_collector::push::Gateway;
use obs_collector::receive::metric_sockets::MetricSockets;
use obs_collector::receive::sockets::{Sockets, Wanted};
use obs_collector::receive::trace_sockets::TraceSockets;
use obs_collector::receive::{self, Receiver, pushgateway};
use rustls::pki_types::CertificateDer;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config_folder;
use crate::about::About;
use crate::app::App;
use crate::auth::{Auth, Guard, guarded, own_only};
use crate::config::Config;
use crate::connections::Guarded;
use crate::kube_state::KubeStateListeners;
use crate::tls::{self, TlsListener};
use crate::{Options, api, node_exporter, resource_metrics, unread};

/// The sockets.
pub(super) struct Listeners {
    pub(super) http: TcpListener,
    pub(super) otlp_grpc: TcpListener,
    pub(super) otlp_http: TcpListener,
    pub(super) node_exporter: Option<node_exporter::Bound>,
    pub(super) kube_state: Option<KubeStateListeners>,
    pub(super) pushgateway: Option<TcpListener>,
    pub(super) resource_metrics: Option<resource_metrics::Bound>,
    /// Who may ask what.
    pub(super) auth: Option<Arc<Auth>>,
    /// Where this process asks itself, where others are asked who they are.
    pub(super) own: Option<TcpListener>,
    /// Syslog and the like.
    pub(super) logs: Sockets,
    /// Jaeger and Zipkin.
    pub(super) traces: TraceSockets,
    /// StatsD and Graphite.
    pub(super) metrics: MetricSockets,
}

impl Listeners {
    /// Where obs scrapes itself and its node exporter.
    pub(super) fn own_targets(
        &self,
        about: &mut About,
    ) -> anyhow::Result<(SocketAddr, Option<SocketAddr>)> {
        let http = reachable(self.http.local_addr()?);
        about.own_pool("obs", http);
        let node = self.node_exporter.as_ref();
        let node = node.map(|bound| bound.listener.local_addr());
        let node = node.transpose()?.map(reachable);
        if let Some(node) = node {
            about.own_pool("node", node);
        }
        Ok((http, node))
    }

    /// Where this process asks itself and what it shows there, where others are asked who they are.
    pub(super) fn own_place(&self) -> anyhow::Result<Option<(SocketAddr, String)>> {
        match (&self.auth, &self.own) {
            (Some(auth), Some(own)) => Ok(Some((own.local_addr()?, auth.own().to_owned()))),
            _ => Ok(None),
        }
    }
}

/// Sockets of protocols that are not HTTP.
pub(super) struct OwnSockets {
    logs: Sockets,
    traces: TraceSockets,
    metrics: MetricSockets,
}

impl OwnSockets {
    /// Hands what comes in to `receiver` until `stop`.
    pub(super) fn serve(self, receiver: &Receiver, tasks: &TaskTracker, stop: &CancellationToken) {
        self.logs.serve(receiver, tasks, stop);
        self.traces.serve(receiver, tasks, stop);
        self.metrics.serve(receiver, tasks, stop);
    }
}

pub(super) async fn bind(
    options: &Options,
    config: &Config,
    auth: Option<Arc<Auth>>,
) -> anyhow::Result<Listeners> {
    refuse_open(options, config, auth.as_ref())?;
    let listen = async |what: &str, address: SocketAddr| {
        TcpListener::bind(address)
            .await
            .with_context(|| format!("listen on {address} for {what}"))
    };
    Ok(Listeners {
        http: listen("HTTP", options.listen).await?,
        otlp_grpc: listen("OTLP over gRPC", options.otlp_grpc_listen).await?,
        otlp_http: listen("OTLP over HTTP", options.otlp_http_listen).await?,
        node_exporter: match &config.obs.node_exporter {
            Some(exporter) => Some(node_exporter::Bound {
                listener: listen("the node exporter", exporter.listen).await?,
                settings: exporter.settings.clone(),
            }),
            None => None,
        },
        kube_state: match config.obs.kubernetes.wanted_state() {
            Some(state) => Some(KubeStateListeners {
                metrics: listen("kube-state", state.listen).await?,
                telemetry: Some(listen("kube-state's telemetry", state.telemetry_listen).await?),
            }),
            None => None,
        },
        pushgateway: match config.obs.collector.pushgateway.listen {
            Some(address) => Some(listen("the push gateway", address).await?),
            None => None,
        },
        resource_metrics: match &config.obs.resource_metrics {
            Some(settings) => Some(resource_metrics::Bound {
                listener: listen("the resource-metrics APIs", settings.listen).await?,
                settings: settings.clone(),
            }),
            None => None,
        },
        own: match &auth {
            Some(_) => Some(listen("obs itself", SocketAddr::from(([127, 0, 0, 1], 0))).await?),
            None => None,
        },
        auth,
        logs: Sockets::bind(Wanted {
            syslog: config.obs.logs.syslog.as_ref(),
            fluent: config.obs.logs.fluent.as_ref(),
            gelf: config.obs.logs.gelf.as_ref(),
            folder: config_folder(options),
        })
        .await?,
        traces: TraceSockets::bind(&config.obs.traces).await?,
        metrics: MetricSockets::bind(
            &config.obs.collector.statsd,
            &config.obs.collector.graphite,
            config_folder(options),
        )
        .await?,
    })
}

/// Whoever reaches a server may read and change everything, unless somebody asks who they are: so
/// it listens on this machine only until one of both is said.
fn refuse_open(options: &Options, config: &Config, auth: Option<&Arc<Auth>>) -> anyhow::Result<()> {
    if options.insecure_listen || auth.is_some_and(|auth| auth.asks()) {
        return Ok(());
    }
    let traces = &config.obs.traces;
    let others = [
        (
            "obs.collector.pushgateway.listen",
            config.obs.collector.pushgateway.listen,
        ),
        (
            "obs.traces.zipkin.listen",
            traces.zipkin.as_ref().map(|zipkin| zipkin.listen),
        ),
        ("obs.traces.jaeger.grpc", traces.jaeger.grpc),
        ("obs.traces.jaeger.thrift_http", traces.jaeger.thrift_http),
    ];
    let mut all = vec![
        ("--listen", options.listen),
        ("--otlp-grpc-listen", options.otlp_grpc_listen),
        ("--otlp-http-listen", options.otlp_http_listen),
    ];
    all.extend(
        others
            .into_iter()
            .filter_map(|(name, address)| Some((name, address?))),
    );
    let open = all
        .iter()
        .find(|(_, address)| !address.ip().to_canonical().is_loopback());
    match open {
        None => Ok(()),
        Some((name, address)) => anyhow::bail!(
            "{name} {address}: others could read and change everything, for nobody is asked who \
             they are. Configure obs.auth (docs/security.md) or --web.config.file, listen on \
             127.0.0.1, or say --insecure-listen where the network keeps strangers away"
        ),
    }
}

/// The address by which this process reaches its own listener.
pub(crate) fn reachable(bound: SocketAddr) -> SocketAddr {
    if bound.ip().is_unspecified() {
        let loopback: std::net::IpAddr = if bound.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        };
        return SocketAddr::new(loopback, bound.port());
    }
    bound
}

/// `DATA/addresses.json`: where the server listens; tools and tests with port 0 read it.
#[expect(
    clippy::disallowed_methods,
    reason = "not data: a note for tools, made anew at each start"
)]
pub(super) fn write_addresses(data: &Path, listeners: &Listeners) -> anyhow::Result<()> {
    let address = |listener: &TcpListener| listener.local_addr().map(|a| a.to_string());
    let mut addresses = json!({
        "http": address(&listeners.http)?,
        "otlp_grpc": address(&listeners.otlp_grpc)?,
        "otlp_http": address(&listeners.otlp_http)?,
    });
    if let Some(bound) = &listeners.node_exporter {
        addresses["node_exporter"] = address(&bound.listener)?.into();
    }
    if let Some(listeners) = &listeners.kube_state {
        addresses["kube_state"] = address(&listeners.metrics)?.into();
    }
    if let Some(listener) = &listeners.pushgateway {
        addresses["pushgateway"] = address(listener)?.into();
    }
    if let Some(bound) = &listeners.resource_metrics {
        addresses["resource_metrics"] = address(&bound.listener)?.into();
    }
    let traces = listeners.traces.addresses();
    let others = traces.into_iter().chain(listeners.metrics.addresses());
    for (name, address) in listeners.logs.addresses().into_iter().chain(others) {
        addresses[name] = address.to_string().into();
    }
    tracing::info!(%addresses, "listening");
    // Renamed into place, so that nobody reads half of it.
    let (path, draft) = (data.join("addresses.json"), data.join("addresses.json.tmp"));
    std::fs::write(&draft, format!("{addresses:#}\n"))?;
    std::fs::rename(&draft, &path).with_context(|| format!("write {}", path.display()))
}

/// What the HTTP listener serves.
pub(crate) fn main_routes(
    app: &Arc<App>,
    receiver: &Receiver,
    gateway: &Gateway,
    probes: Option<Probes>,
) -> Router {
    let pushes = pushgateway::routes(receiver.clone(), gateway.clone());
    let wipe = pushgateway::wipe_routes(receiver.clone(), gateway.clone());
    let all = api::routes(app).merge(receive::routes(receiver.clone()));
    let all = all.merge(pushes).merge(api::own_site(wipe));
    match probes {
        Some(probes) => all.merge(probes.routes()),
        None => all,
    }
}

/// What the push gateway's own listener serves.
pub(crate) fn pushgateway_routes(receiver: &Receiver, gateway: &Gateway) -> Router {
    let wipe = pushgateway::wipe_routes(receiver.clone(), gateway.clone());
    let own = pushgateway::own_routes(receiver.clone(), gateway.clone());
    own.merge(api::own_site(wipe))
}

/// What the listener of OTLP over gRPC serves.
pub(crate) fn grpc_routes(app: &Arc<App>, receiver: &Receiver) -> Router {
    receive::grpc::routes(receiver.clone()).merge(api::grpc_routes(app))
}

/// What the listeners run in and end by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Serving<'a> {
    pub(crate) tasks: &'a TaskTracker,
    pub(crate) stop: &'a CancellationToken,
    pub(crate) cut: &'a CancellationToken,
    /// Who stands before the routes.
    pub(crate) auth: Option<&'a Arc<Auth>>,
}

impl<'a> Serving<'a> {
    /// Nobody stands before the routes.
    pub(crate) fn new(
        tasks: &'a TaskTracker,
        stop: &'a CancellationToken,
        cut: &'a CancellationToken,
    ) -> Self {
        Self {
            tasks,
            stop,
            cut,
            auth: None,
        }
    }

    pub(super) fn listen(
        self,
        app: &Arc<App>,
        listeners: Listeners,
        (receiver, gateway, probes): (Receiver, Gateway, Option<Probes>),
    ) -> OwnSockets {
        let mut listeners = listeners;
        for (listener, routes) in listeners.traces.take_streams(&receiver) {
            self.serve(listener, routes);
        }
        let all = main_routes(app, &receiver, &gateway, probes);
        if let Some(listener) = listeners.pushgateway {
            self.serve(listener, pushgateway_routes(&receiver, &gateway));
        }
        if let (Some(own), Some(auth)) = (listeners.own, self.auth) {
            let routes = api::own_metrics(app).merge(receive::otlp_routes(receiver.clone()));
            let routes = own_only(auth, routes);
            let alone = Self { auth: None, ..self };
            alone.serve(own, routes);
        }
        let prefix = &app.about.route_prefix;
        self.serve_below(listeners.http, prefix, all);
        let otlp = receive::otlp_routes(receiver.clone());
        self.serve(listeners.otlp_http, otlp);
        self.serve(listeners.otlp_grpc, grpc_routes(app, &receiver));
        if let Some(bound) = listeners.node_exporter {
            self.node_exporter(bound.naming(&app.pods));
        }
        OwnSockets {
            logs: listeners.logs,
            traces: listeners.traces,
            metrics: listeners.metrics,
        }
    }

    pub(crate) fn node_exporter(self, bound: node_exporter::Bound) {
        let stopped = self.stop.clone().cancelled_owned();
        let guard = self.auth.map(Guard::of_exporter);
        self.tasks.spawn(async move {
            let node_exporter::Bound { listener, settings } = bound;
            let served = node_exporter::serve_behind(listener, settings, guard, stopped);
            if let Err(error) = served.await {
                tracing::error!(%error, "the node exporter failed");
            }
        });
    }

    pub(crate) fn serve(self, listener: TcpListener, routes: Router) {
        self.serve_below(listener, "", routes);
    }

    /// Serves routes that are at the root and below `prefix`.
    fn serve_below(self, listener: TcpListener, prefix: &str, routes: Router) {
        let routes = match self.auth {
            Some(auth) => guarded(Guard::new(auth), routes),
            None => routes,
        };
        let mut routes = routes
            .layer(from_fn(unread::read))
            .layer(from_fn(with_peer));
        if let Ok(bound) = listener.local_addr() {
            routes = routes.layer(Extension(api::Bound(bound.ip())));
        }
        let routes = api::below(prefix, routes).into_make_service_with_connect_info::<Peer>();
        let stopped = self.stop.clone().cancelled_owned();
        let listener = Guarded::new(listener, self.cut.clone());
        let tls = self.auth.filter(|auth| auth.has_tls()).cloned();
        let (tasks, stop) = (self.tasks.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let served = match tls {
                None => {
                    let served = axum::serve(listener, routes);
                    served.with_graceful_shutdown(stopped).await
                }
                Some(auth) => {
                    let terms = move || auth.tls();
                    match TlsListener::start(listener.encrypted(), terms, (&tasks, stop)) {
                        Ok(listener) => {
                            let served = axum::serve(listener, routes);
                            served.with_graceful_shutdown(stopped).await
                        }
                        Err(error) => Err(error),
                    }
                }
            };
            if let Err(error) = served {
                tracing::error!(%error, "an HTTP listener failed");
            }
        });
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    address: SocketAddr,
    shown: tls::Peer,
}

impl Peer {
    /// Somebody without a certificate.
    #[cfg(test)]
    pub(crate) fn at(address: SocketAddr) -> Self {
        let shown = tls::Peer::default();
        Self { address, shown }
    }

    /// Its address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificates that it showed, its own first.
    pub(crate) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.shown.0
    }
}

impl Connected<IncomingStream<'_, Guarded>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Guarded>) -> Self {
        Self {
            address: *stream.remote_addr(),
            shown: tls::Peer::default(),
        }
    }
}

impl Connected<IncomingStream<'_, TcpListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self {
            address: *stream.remote_addr(),
            shown: tls::Peer::default(),
        }
    }
}

impl Connected<IncomingStream<'_, TlsListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        Self {
            address: *stream.remote_addr(),
            shown: tls::Peer::connect_info(stream),
        }
    }
}

/// Runs a request with the address that it came from, by which senders are known.
pub(super) async fn with_peer(request: Request, next: Next) -> Response {
    match request.extensions().get::<ConnectInfo<Peer>>() {
        Some(ConnectInfo(peer)) => {
            let address = peer.address.ip().to_canonical();
            enrich::PEER.scope(address, next.run(request)).await
        }
        None => next.run(request).await,
    }
}
