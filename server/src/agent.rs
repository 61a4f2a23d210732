//! `obs agent`: the collector of `obs serve` without stores. What comes in goes to a buffer on disk
//! and from there to the destinations of the configuration.
//!
//! Invariants: a sender is told "stored" when its data is durable in the buffer; reading of files
//! stops while the buffer is full; ready means that the buffer is open and data is taken in.

mod reloading;
mod unserved;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use axum::Router;
use axum::extract::{FromRef, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use obs_collector::config::Job;
use obs_collector::metrics::Counters;
use obs_collector::probe::Probes;
use obs_collector::push::Gateway;
use obs_collector::receive::metric_sockets::MetricSockets;
use obs_collector::receive::sockets::{Sockets, Wanted};
use obs_collector::receive::trace_sockets::TraceSockets;
use obs_collector::receive::{self, Receiver, pushgateway, splunk};
use obs_collector::scrape::{Scraper, Setting};
use obs_collector::{Decoder, Elsewhere, HttpError, Shipper, Sink};
use obs_collector::{Dialect, cluster, enrich, tail};
use obs_model::family::Family;
use obs_model::limits::Limits;
use obs_model::metrics::MetricKind::Gauge;
use obs_model::{Tenant, Timestamp};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing_subscriber::filter::LevelFilter;

use reloading::{Destinations, Following, Reloader};

use crate::api::{Scraped, own_site, target_routes};
use crate::config::Config;
use crate::node_exporter::TEXT_FORMAT;
use crate::reload::Reload;
use crate::start::{
    Collected, Serving, buffer_folder, gateway, load, open_queues, open_ships, probes, reachable,
    refining, stop_signal, strategies, within,
};
use crate::{LogFormat, clock, metrics, node_exporter, pods, process, reload, stores, telemetry};

/// What the command line says.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// The folder for the buffer and the checkpoints.
    pub data: PathBuf,
    /// Receivers over HTTP, health and own metrics.
    pub listen: SocketAddr,
    /// OTLP over gRPC; the usual port, if it is free, where absent.
    pub otlp_grpc_listen: Option<SocketAddr>,
    /// OTLP over HTTP; the usual port, if it is free, where absent.
    pub otlp_http_listen: Option<SocketAddr>,
    /// The node that this runs on.
    pub node_name: Option<String>,
    /// Shape of the log.
    pub log_format: LogFormat,
    /// How much more than usual is logged: 1 debug, 2 trace.
    pub verbose: u8,
}

/// What handlers share.
#[derive(Debug)]
struct Agent {
    sink: Sink,
    shipper: Shipper,
    counters: Arc<Counters>,
    scraper: Scraper,
    ready: AtomicBool,
    started: Timestamp,
    reload: Reload,
}

struct Listeners {
    http: TcpListener,
    otlp_grpc: Option<TcpListener>,
    otlp_http: Option<TcpListener>,
    node_exporter: Option<node_exporter::Bound>,
    pushgateway: Option<TcpListener>,
    logs: Sockets,
    traces: TraceSockets,
    metrics: MetricSockets,
}

/// Runs the agent until SIGINT or SIGTERM.
pub async fn agent(options: AgentOptions) -> anyhow::Result<()> {
    let (config, collected, text) = load(options.config.as_deref()).await?;
    let listeners = bind(&options, &config).await?;
    let folder = options.data.clone();
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let telemetry = start_telemetry(&options, &listeners).await?;
    for notice in config.notices() {
        tracing::warn!("{notice}");
    }
    unserved::check(&config, &collected.jobs, &collected.destinations)?;
    let disk = stores::lock(&folder).await?;
    write_addresses(&folder, &listeners)?;
    let running = Running::start(&options, (&config, text), collected, listeners);
    let running = Box::pin(running).await?;
    stop_signal().await?;
    tracing::info!("stopping");
    running.stop().await;
    stop_telemetry(telemetry).await;
    drop(disk);
    Ok(())
}

async fn bind(options: &AgentOptions, config: &Config) -> anyhow::Result<Listeners> {
    let listen = async |what: &str, address: SocketAddr| {
        let bound = TcpListener::bind(address).await;
        bound.with_context(|| format!("listen on {address} for {what}"))
    };
    let otlp = async |what: &str, wanted: Option<SocketAddr>, usual: u16| match wanted {
        Some(address) => listen(what, address).await.map(Some),
        None => Ok(TcpListener::bind(("127.0.0.1", usual)).await.ok()),
    };
    let folder = config_folder(options);
    Ok(Listeners {
        http: listen("HTTP", options.listen).await?,
        otlp_grpc: otlp("OTLP over gRPC", options.otlp_grpc_listen, 4317).await?,
        otlp_http: otlp("OTLP over HTTP", options.otlp_http_listen, 4318).await?,
        node_exporter: match &config.obs.node_exporter {
            Some(exporter) => Some(node_exporter::Bound {
                listener: listen("the node exporter", exporter.listen).await?,
                settings: exporter.settings.clone(),
            }),
            None => None,
        },
        pushgateway: match config.obs.collector.pushgateway.listen {
            Some(address) => Some(listen("the push gateway", address).await?),
            None => None,
        },
        logs: Sockets::bind(Wanted {
            syslog: config.obs.logs.syslog.as_ref(),
            fluent: config.obs.logs.fluent.as_ref(),
            gelf: config.obs.logs.gelf.as_ref(),
            folder,
        })
        .await?,
        traces: TraceSockets::bind(&config.obs.traces).await?,
        metrics: MetricSockets::bind(
            &config.obs.collector.statsd,
            &config.obs.collector.graphite,
            folder,
        )
        .await?,
    })
}

#[expect(clippy::disallowed_methods, reason = "once, before the agent starts")]
async fn start_telemetry(
    options: &AgentOptions,
    listeners: &Listeners,
) -> anyhow::Result<telemetry::Telemetry> {
    let verbose = match options.verbose {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    // An agent's own logs are followed like those of any other container.
    let export = telemetry::Export {
        to: reachable(listeners.http.local_addr()?),
        own: None,
        logs: false,
        traces: false,
    };
    let format = options.log_format;
    tokio::task::spawn_blocking(move || telemetry::start(format, verbose, export)).await?
}

#[expect(clippy::disallowed_methods, reason = "once, at the end")]
async fn stop_telemetry(telemetry: telemetry::Telemetry) {
    within("own telemetry", async {
        drop(tokio::task::spawn_blocking(move || telemetry.stop()).await);
    })
    .await;
}

/// `DATA/addresses.json`, as the server writes it.
#[expect(
    clippy::disallowed_methods,
    reason = "not data: a note for tools, made anew at each start"
)]
fn write_addresses(data: &Path, listeners: &Listeners) -> anyhow::Result<()> {
    let mut addresses = json!({ "http": listeners.http.local_addr()?.to_string() });
    for (name, listener) in [
        ("otlp_grpc", listeners.otlp_grpc.as_ref()),
        ("otlp_http", listeners.otlp_http.as_ref()),
        (
            "node_exporter",
            listeners
                .node_exporter
                .as_ref()
                .map(|bound| &bound.listener),
        ),
        ("pushgateway", listeners.pushgateway.as_ref()),
    ] {
        if let Some(listener) = listener {
            addresses[name] = listener.local_addr()?.to_string().into();
        }
    }
    let traces = listeners.traces.addresses();
    let others = traces.into_iter().chain(listeners.metrics.addresses());
    for (name, address) in listeners.logs.addresses().into_iter().chain(others) {
        addresses[name] = address.to_string().into();
    }
    tracing::info!(%addresses, "listening");
    let (path, draft) = (data.join("addresses.json"), data.join("addresses.json.tmp"));
    std::fs::write(&draft, format!("{addresses:#}\n"))?;
    std::fs::rename(&draft, &path).with_context(|| format!("write {}", path.display()))
}

/// An agent that runs.
struct Running {
    agent: Arc<Agent>,
    serving: TaskTracker,
    intake: TaskTracker,
    shipping: TaskTracker,
    stop_intake: CancellationToken,
    stop_listening: CancellationToken,
    cut: CancellationToken,
}

impl Running {
    async fn start(
        options: &AgentOptions,
        (config, text): (&Config, String),
        collected: Collected,
        mut listeners: Listeners,
    ) -> anyhow::Result<Self> {
        let (intake, shipping, serving) = <(TaskTracker, TaskTracker, TaskTracker)>::default();
        let (stop_intake, stop_listening) = <(CancellationToken, CancellationToken)>::default();
        let (cut, counters) = <(CancellationToken, Arc<Counters>)>::default();
        let from = config_folder(options);
        let scope = pods::Scope::Node(options.node_name.clone());
        let until = (&intake, &stop_intake);
        let pods = pods::watch(config, from, scope, counters.kubernetes(), until)?;
        let outward = Outward {
            intake: &intake,
            shipping: &shipping,
            stop: &stop_intake,
        };
        let (sink, destinations) = outward.open(options, config, &collected).await?;
        let sink = sink.enriching(pods.clone());
        let (sink, redactor) = refining(sink, config, &options.data).await?;
        let (reload, requests) = Reload::new(true);
        let agent = Arc::new(Agent {
            sink: sink.clone(),
            shipper: destinations.shipper.clone(),
            counters: Arc::clone(&counters),
            scraper: Scraper::new(),
            ready: AtomicBool::new(false),
            started: clock::now(),
            reload: reload.clone(),
        });
        let common = Common {
            sink,
            limits: config.obs.limits.limits(),
            decoder: Decoder::new(2),
            counters,
            from,
        };
        let receiver = common.receiver(config).await?;
        let http = reachable(listeners.http.local_addr()?);
        let node = node_address(&listeners)?;
        let gateway = gateway(config, &options.data, &common.sink).await?;
        let probes = probes(config, from).await?;
        let listening = Serving::new(&serving, &stop_listening, &cut);
        let ways = (receiver.clone(), gateway.clone(), probes);
        listeners.node_exporter = listeners.node_exporter.map(|bound| bound.naming(&pods));
        let (logs, traces, metrics) = listen(listening, &agent, listeners, ways);
        logs.serve(&receiver, until.0, until.1);
        traces.serve(&receiver, until.0, until.1);
        metrics.serve(&receiver, until.0, until.1);
        intake.spawn(gateway.run(stop_intake.clone()));
        let name = options.node_name.as_deref();
        let places = (http, node);
        let own = own_jobs(config, places, (name, &collected))?;
        let jobs = [collected.jobs, own].concat();
        let (jobs, followed) = watch::channel(jobs);
        common.scrape(config, (followed, agent.scraper.clone()), until)?;
        let told = (&common.sink, &common.counters, name);
        crate::problems::start(until, config, from, told).await?;
        let setting = common.tail(options, pods);
        let reloader = Reloader {
            options: options.clone(),
            places,
            jobs,
            destinations,
            redactor,
            following: Following::start(setting, config, stop_intake.clone()),
            external: collected.external,
            text,
            reload,
        };
        intake.spawn(reload::run(reloader, requests, stop_intake.clone()));
        agent.ready.store(true, Ordering::Release);
        tracing::info!("ready: http://{http}");
        Ok(Self {
            agent,
            serving,
            intake,
            shipping,
            stop_intake,
            stop_listening,
            cut,
        })
    }

    async fn stop(self) {
        self.stop_intake.cancel();
        self.intake.close();
        within("scraping and tailing", self.intake.wait()).await;
        self.stop_listening.cancel();
        self.serving.close();
        within("requests", self.serving.wait()).await;
        self.cut.cancel();
        // The last handle on the queues: what waits is made durable, then they end.
        drop(self.agent);
        self.shipping.close();
        within("shipping", self.shipping.wait()).await;
    }
}

/// What all that takes in has in common.
struct Common<'a> {
    sink: Sink,
    limits: Limits,
    decoder: Decoder,
    counters: Arc<Counters>,
    /// What relative paths start from.
    from: &'a Path,
}

impl Common<'_> {
    /// What hands to the sink all that is pushed.
    async fn receiver(&self, config: &Config) -> anyhow::Result<Receiver> {
        let hec = splunk::Setting::new(&config.obs.logs.splunk_hec, self.from).await?;
        let strategies = strategies(config, self.from).await?;
        let (sink, decoder) = (self.sink.clone(), self.decoder.clone());
        let receiver = Receiver::new(sink, self.limits, decoder, Arc::clone(&self.counters))
            .with_otlp(config.otlp.options())
            .with_origins(config.obs.traces.cors_allowed_origins.clone())
            .with_strategies(strategies)
            .with_splunk(hec);
        Ok(receiver)
    }

    /// Scrapes jobs, and what is wanted of a cluster.
    fn scrape(
        &self,
        config: &Config,
        (jobs, scraper): (watch::Receiver<Vec<Job>>, Scraper),
        (tasks, stop): (&TaskTracker, &CancellationToken),
    ) -> anyhow::Result<()> {
        let setting = Setting {
            sink: self.sink.clone(),
            tenant: Tenant::anonymous(),
            limits: self.limits,
            decoder: self.decoder.clone(),
            counters: Arc::clone(&self.counters),
        };
        // It applies the jobs of the file, whatever is wanted of a cluster.
        let cluster = cluster::Setting {
            global: config.global.clone(),
            addresses: config.obs.collector.outgoing.addresses(),
            config: config.cluster(self.from).map_err(anyhow::Error::msg)?,
            jobs,
            scraper: scraper.clone(),
            sink: self.sink.clone(),
            tenant: Tenant::anonymous(),
            counters: self.counters.kubernetes(),
            rules: None,
        };
        tasks.spawn(cluster::run(cluster, stop.clone()));
        let stopped = stop.clone();
        tasks.spawn(async move { scraper.run(setting, stopped).await });
        Ok(())
    }

    /// What following of logs needs.
    fn tail(self, options: &AgentOptions, pods: enrich::Pods) -> tail::Setting {
        tail::Setting {
            sink: self.sink,
            tenant: Tenant::anonymous(),
            limits: self.limits,
            counters: self.counters,
            checkpoint: options.data.join("tail.checkpoint"),
            worker: self.decoder,
            pods,
        }
    }
}

/// What runs to send.
struct Outward<'a> {
    intake: &'a TaskTracker,
    shipping: &'a TaskTracker,
    stop: &'a CancellationToken,
}

impl Outward<'_> {
    /// The sink of an agent, which ends in the buffer.
    async fn open(
        &self,
        options: &AgentOptions,
        config: &Config,
        collected: &Collected,
    ) -> anyhow::Result<(Sink, Destinations)> {
        let folder = buffer_folder(&options.data, "buffer", collected);
        // A reload may bring the first destination of either kind.
        let forwarder = open_queues(folder.clone(), config, collected).await?;
        let shipper = open_ships(&folder, config, collected).await?;
        let limits = config.obs.limits.limits();
        let bounds = (limits.write_queue_max, limits.buffer_waiting_bytes_max);
        let elsewhere = Elsewhere::Forwarded(forwarder.clone());
        let sink = shipper.start(bounds, elsewhere, self.shipping, self.stop);
        forwarder.start(self.intake, self.stop);
        let to = Destinations {
            shipper,
            forwarder: forwarder.clone(),
        };
        Ok((sink.forwarding(forwarder), to))
    }
}

/// What relative paths in the configuration start from.
fn config_folder(options: &AgentOptions) -> &Path {
    let path = options.config.as_deref();
    path.and_then(Path::parent).unwrap_or(Path::new("."))
}

/// Where the agent's own node exporter listens, if it does.
fn node_address(listeners: &Listeners) -> std::io::Result<Option<SocketAddr>> {
    let node = listeners.node_exporter.as_ref();
    node.map(|bound| bound.listener.local_addr()).transpose()
}

/// The agent scrapes itself, and its node exporter where it has one; not where nobody takes samples.
/// Where the node has a name, that is their instance: many nodes have the same addresses on loopback.
fn own_jobs(
    config: &Config,
    (http, node): (SocketAddr, Option<SocketAddr>),
    (name, collected): (Option<&str>, &Collected),
) -> anyhow::Result<Vec<Job>> {
    if !unserved::takes_metrics(&collected.destinations) {
        return Ok(Vec::new());
    }
    let name = name.filter(|name| !name.is_empty());
    let mut jobs = vec![config.own_job_on("obs-agent", http, name)?];
    if let Some(node) = node {
        jobs.push(config.own_job_on("node", reachable(node), name)?);
    }
    Ok(jobs)
}

/// Serves what is HTTP; gives back the sockets that are not.
fn listen(
    serving: Serving<'_>,
    agent: &Arc<Agent>,
    mut listeners: Listeners,
    (receiver, gateway, probes): (Receiver, Gateway, Option<Probes>),
) -> (Sockets, TraceSockets, MetricSockets) {
    for (listener, routes) in listeners.traces.take_streams(&receiver) {
        serving.serve(listener, routes);
    }
    let mut all = Router::new()
        .route("/-/healthy", get(|| async { "obs agent is healthy.\n" }))
        .route("/-/ready", get(ready))
        .route("/ready", get(ready))
        .route("/metrics", get(own_metrics))
        .route("/-/reload", post(reload_now).put(reload_now))
        .nest("/api/v1", target_routes())
        .with_state(Arc::clone(agent))
        .merge(receive::routes(receiver.clone()))
        .merge(pushgateway::routes(receiver.clone(), gateway.clone()));
    let wipe = own_site(pushgateway::wipe_routes(receiver.clone(), gateway.clone()));
    all = all.merge(wipe.clone());
    if let Some(probes) = probes {
        all = all.merge(probes.routes());
    }
    serving.serve(listeners.http, all);
    if let Some(listener) = listeners.pushgateway {
        let own = pushgateway::own_routes(receiver.clone(), gateway);
        serving.serve(listener, own.merge(wipe));
    }
    if let Some(listener) = listeners.otlp_http {
        serving.serve(listener, receive::otlp_routes(receiver.clone()));
    }
    if let Some(listener) = listeners.otlp_grpc {
        serving.serve(listener, receive::grpc::routes(receiver));
    }
    if let Some(bound) = listeners.node_exporter {
        serving.node_exporter(bound);
    }
    (listeners.logs, listeners.traces, listeners.metrics)
}

impl FromRef<Arc<Agent>> for Scraped {
    fn from_ref(agent: &Arc<Agent>) -> Self {
        Self(agent.scraper.clone())
    }
}

async fn ready(State(agent): State<Arc<Agent>>) -> Response {
    match agent.ready.load(Ordering::Acquire) {
        true => "obs agent is ready.\n".into_response(),
        false => HttpError::unavailable("obs agent is starting", 1).render(Dialect::Plain),
    }
}

async fn reload_now(State(agent): State<Arc<Agent>>) -> Response {
    match agent.reload.ask().await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(fault) => {
            let told = format!("failed to reload config: {fault}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, told).into_response()
        }
    }
}

async fn own_metrics(State(agent): State<Arc<Agent>>) -> Response {
    let mut text = Vec::new();
    obs_wire::prometheus::text::encode(&families(&agent), &mut text);
    ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response()
}

/// All families, in order of name.
fn families(agent: &Agent) -> Vec<Family> {
    let uptime = Family::new(
        "obs_uptime_seconds",
        Gauge,
        "Seconds since the agent started.",
    );
    let mut all = vec![
        metrics::build_info(),
        uptime.with((clock::now() - agent.started) as f64 / 1e9),
    ];
    all.extend(agent.reload.families(agent.started));
    all.extend(agent.counters.families(&agent.sink.stats()));
    all.extend(agent.shipper.families());
    all.extend(agent.sink.redactor().iter().flat_map(|r| r.families()));
    if let Some(forwarder) = agent.sink.forwarder() {
        all.extend(forwarder.families());
    }
    all.extend(process::families());
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}
