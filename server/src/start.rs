//! Start and stop of the server.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use axum::extract::Request;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::serve::IncomingStream;
use axum::{Extension, Router};
use obs_alerting::rules::Group;
use obs_collector::config::{Destination, Job, KubernetesConfig};
use obs_collector::forward::{Bounds, QUEUE_BYTES_DEFAULT};
use obs_collector::probe::Probes;
use obs_collector::push::Gateway;
use obs_collector::receive::metric_sockets::MetricSockets;
use obs_collector::receive::sockets::{Sockets, Wanted};
use obs_collector::receive::trace_sockets::TraceSockets;
use obs_collector::receive::{self, Receiver, pushgateway, splunk};
use obs_collector::scrape::{Scraper, Setting};
use obs_collector::{Decoder, Forwarder, Inbox, Redactor, Shipper, Sink, cluster, enrich, tail};
use obs_kubernetes::Client;
use obs_kubernetes::state::StateMetrics;
use obs_model::{Tenant, duration};
use obs_storage::{Disk, Retention};
use obs_wire::jaeger::sampling::Strategies;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing_subscriber::filter::LevelFilter;

use crate::about::About;
use crate::app::{App, Opening};
use crate::config::{Config, RETENTION_DEFAULT};
use crate::connections::Guarded;
use crate::derived::Derived;
use crate::kube_state::KubeStateListeners;
use crate::read::Reader;
use crate::reload::{self, Reload, Reloader};
use crate::ruler::{self, GroupKey, Kept, Ruler};
use crate::sampling::{Deciding, Sampling};
use crate::stores::{self, Stores};
use crate::upkeep::Upkeep;
use crate::write::{Rules, Writers};
use crate::{Options, api, clock, config, kube_state, node_exporter, telemetry, unread};

/// What Prometheus' defaults of rules are told in.
/// How long requests may take to end after a stop was asked for.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The sockets, bound before anything else so that a wrong address is found at once.
struct Listeners {
    http: TcpListener,
    otlp_grpc: TcpListener,
    otlp_http: TcpListener,
    node_exporter: Option<TcpListener>,
    kube_state: Option<KubeStateListeners>,
    pushgateway: Option<TcpListener>,
    /// Syslog and the like.
    logs: Sockets,
    /// Jaeger and Zipkin.
    traces: TraceSockets,
    /// StatsD and Graphite.
    metrics: MetricSockets,
}

/// Runs the server until SIGINT or SIGTERM.
pub async fn serve(options: Options) -> anyhow::Result<()> {
    let (config, collected, text) = load(options.config.as_deref()).await?;
    let listeners = bind(&options, &config).await?;
    let folder = options.data.clone();
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let telemetry = start_telemetry(&options, &config, &listeners).await?;
    for notice in config.notices().iter().chain(&options.features.notices) {
        tracing::warn!("{notice}");
    }
    // Before anything of a server that runs here already is touched.
    let disk = stores::lock(&folder).await?;
    write_addresses(&folder, &listeners)?;
    let about = About::new(&options, &config, &text, retention(&options, &config));
    let file = (&config, text);
    let running = Running::start(&options, file, (collected, disk), listeners, about).await?;
    stop_signal().await?;
    tracing::info!("stopping");
    running.stop(telemetry).await;
    Ok(())
}

/// What of the configuration needs more than itself: the file's text and its folder.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub(crate) jobs: Vec<Job>,
    pub(crate) destinations: Destination,
    /// Groups of rules.
    pub(crate) rules: Vec<(GroupKey, Group)>,
    /// Where what waits to be forwarded is, unless in the data directory.
    pub(crate) buffer: Option<PathBuf>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the configuration is read once, before the server starts"
)]
pub(crate) async fn load(path: Option<&Path>) -> anyhow::Result<(Config, Collected, String)> {
    let Some(path) = path else {
        return Ok((Config::default(), Collected::default(), String::new()));
    };
    let text = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let text =
        String::from_utf8(text).with_context(|| format!("{} is not text", path.display()))?;
    let config = config::parse(&text).with_context(|| format!("{}", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let shown = || format!("{}", path.display());
    let mut jobs = config.jobs(&text, folder).with_context(shown)?;
    jobs.extend(reload::jobs_of_files(&config, folder, &jobs).await?);
    let collected = Collected {
        jobs,
        destinations: config.destinations(&text, folder).with_context(shown)?,
        buffer: config.obs.collector.buffer.path.clone(),
        rules: ruler::load(&config.rule_files, folder, &config.obs.limits.limits()).await?,
    };
    let buffer = collected.buffer.map(|path| folder.join(path));
    Ok((
        config,
        Collected {
            buffer,
            ..collected
        },
        text,
    ))
}

async fn bind(options: &Options, config: &Config) -> anyhow::Result<Listeners> {
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
            Some(exporter) => Some(listen("the node exporter", exporter.listen).await?),
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

/// What relative paths in the configuration start from.
fn config_folder(options: &Options) -> &Path {
    let path = options.config.as_deref();
    path.and_then(Path::parent).unwrap_or(Path::new("."))
}

/// Building the exporters blocks (they have an HTTP client of their own).
#[expect(clippy::disallowed_methods, reason = "once, before the server starts")]
async fn start_telemetry(
    options: &Options,
    config: &Config,
    listeners: &Listeners,
) -> anyhow::Result<telemetry::Telemetry> {
    let verbose = match options.verbose {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let own = &config.obs.telemetry;
    let to = reachable(listeners.otlp_http.local_addr()?);
    let export = telemetry::Export {
        to,
        logs: own.logs,
        traces: own.traces,
    };
    let format = options.log_format;
    tokio::task::spawn_blocking(move || telemetry::start(format, verbose, export)).await?
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
fn write_addresses(data: &Path, listeners: &Listeners) -> anyhow::Result<()> {
    let address = |listener: &TcpListener| listener.local_addr().map(|a| a.to_string());
    let mut addresses = json!({
        "http": address(&listeners.http)?,
        "otlp_grpc": address(&listeners.otlp_grpc)?,
        "otlp_http": address(&listeners.otlp_http)?,
    });
    if let Some(listener) = &listeners.node_exporter {
        addresses["node_exporter"] = address(listener)?.into();
    }
    if let Some(listeners) = &listeners.kube_state {
        addresses["kube_state"] = address(&listeners.metrics)?.into();
    }
    if let Some(listener) = &listeners.pushgateway {
        addresses["pushgateway"] = address(listener)?.into();
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

/// A server that runs.
struct Running {
    app: Arc<App>,
    tasks: TaskTracker,
    /// Ends scraping and tailing.
    stop_intake: CancellationToken,
    /// Ends the listeners.
    stop_listening: CancellationToken,
    /// Ends the connections that did not end with them.
    cut: CancellationToken,
    intake: TaskTracker,
    writers: Writers,
    upkeep: Upkeep,
    deciding: Deciding,
    /// What sends to other servers; ends when nobody can write any more.
    shipping: TaskTracker,
}

impl Running {
    async fn start(
        options: &Options,
        (config, text): (&Config, String),
        (collected, disk): (Collected, Arc<dyn Disk>),
        mut listeners: Listeners,
        mut about: About,
    ) -> anyhow::Result<Self> {
        let rules = Rules {
            limits: config.obs.limits.limits(),
            enrich: config.obs.logs.enrich(),
            retention: retention(options, config),
            tails: Arc::default(),
            derived: Arc::new(Derived::new(config.obs.traces.derived())),
            sampling: open_sampling(config, &disk).await?,
            span_limits: Arc::default(),
        };
        let kept = open_kept(&disk).await?;
        let http = reachable(listeners.http.local_addr()?);
        let node = listeners.node_exporter.as_ref();
        let node = node.map(TcpListener::local_addr).transpose()?;
        about.own_pool("obs", http);
        if let Some(node) = node {
            about.own_pool("node", reachable(node));
        }
        let state = listeners.kube_state.take();
        let job = |state| state_job(config, state, &mut about);
        let state_job = state.as_ref().map(job).transpose()?;
        let (reload, requests) = Reload::new(options.enable_lifecycle);
        let (shipping, stop_intake) = (TaskTracker::new(), CancellationToken::new());
        let bound = rules.limits.write_queue_max;
        let ending = (&shipping, &stop_intake);
        let (sink, inbox, outward) =
            open_sink(&options.data, config, &collected, bound, ending).await?;
        let Outward { forwarder, shipper } = outward;
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let app = Arc::new(App {
            stores: OnceLock::new(),
            opening: Opening::default(),
            deletions: Default::default(),
            writes: OnceLock::new(),
            ruler: OnceLock::new(),
            reader: Reader::new(threads, rules.limits)?,
            scraper: Scraper::new(),
            counters: Arc::default(),
            sink,
            shipper,
            rules,
            external_labels: config.external_labels(),
            external_url: external_url(options, http, &about.host),
            decoder: Decoder::new(threads),
            started: clock::now(),
            about,
            reload: reload.clone(),
            features: options.features.clone(),
        });
        let (tasks, stop_listening) = (TaskTracker::new(), CancellationToken::new());
        let cut = CancellationToken::new();
        let intake = TaskTracker::new();
        let serving = Serving {
            tasks: &tasks,
            stop: &stop_listening,
            cut: &cut,
        };
        let hec = &config.obs.logs.splunk_hec;
        let hec = splunk::Setting::new(hec, config_folder(options)).await?;
        let receiver = receiver(&app, config, config_folder(options))
            .await?
            .with_splunk(hec);
        let logs = std::mem::take(&mut listeners.logs);
        let mut traces = std::mem::take(&mut listeners.traces);
        for (listener, routes) in traces.take_streams(&receiver) {
            serving.serve(listener, routes);
        }
        let gateway = gateway(options, config, &app).await?;
        let ways = (
            receiver.clone(),
            gateway.clone(),
            probes(options, config).await?,
        );
        let metrics = serving.listen(&app, listeners, ways);
        let (writers, upkeep) = open_stores(options, config, &app, (disk, inbox)).await?;
        let ruler = start_ruler((options, config), &app, (collected.rules, kept), &stop_intake)?;
        let deciding = app.rules.sampling.start(&stores_of(&app)?.spans)?;
        if let Some(forwarder) = forwarder {
            forwarder.start(&intake, &stop_intake);
        }
        let mut own = own_jobs(config, http, node)?;
        own.extend(state_job);
        follow_state(options, config, state, (&intake, &stop_intake)).await?;
        let mut jobs = collected.jobs;
        jobs.extend(own.iter().cloned());
        let (jobs, _) = watch::channel(jobs);
        let cluster = config.cluster(config_folder(options));
        let cluster = cluster.map_err(anyhow::Error::msg)?;
        start_intake(
            &intake,
            &stop_intake,
            &app,
            config,
            jobs.subscribe(),
            &options.data,
        )?;
        start_cluster(
            &intake,
            &stop_intake,
            &app,
            config,
            (cluster, jobs.subscribe()),
        );
        let reloader = Reloader {
            options: options.clone(),
            app: Arc::clone(&app),
            own,
            jobs,
            text,
        };
        intake.spawn(reload::run(reloader, requests, stop_intake.clone()));
        intake.spawn(gateway.run(stop_intake.clone()));
        logs.serve(&receiver, &intake, &stop_intake);
        traces.serve(&receiver, &intake, &stop_intake);
        metrics.serve(&receiver, &intake, &stop_intake);
        intake.spawn(async move { ruler.ended().await });
        tracing::info!("ready: http://{http}");
        Ok(Self {
            app,
            tasks,
            stop_intake,
            stop_listening,
            cut,
            intake,
            writers,
            upkeep,
            deciding,
            shipping,
        })
    }

    #[expect(clippy::disallowed_methods, reason = "joins threads, once, at the end")]
    async fn stop(self, telemetry: telemetry::Telemetry) {
        self.stop_intake.cancel();
        self.intake.close();
        within("scraping and tailing", self.intake.wait()).await;
        within("own telemetry", async {
            drop(tokio::task::spawn_blocking(move || telemetry.stop()).await);
        })
        .await;
        self.stop_listening.cancel();
        self.tasks.close();
        within("requests", self.tasks.wait()).await;
        // Whoever still holds a connection holds the queues with it.
        self.cut.cancel();
        // The last handle on the queues: the writers finish what waits, then end.
        drop(self.app);
        self.shipping.close();
        within("shipping", self.shipping.wait()).await;
        let (writers, upkeep, deciding) = (self.writers, self.upkeep, self.deciding);
        within("writers", async {
            let join = move || {
                writers.join();
                deciding.stop();
                upkeep.stop();
            };
            drop(tokio::task::spawn_blocking(join).await);
        })
        .await;
    }
}

pub(crate) async fn within(what: &str, work: impl Future<Output = ()>) {
    if tokio::time::timeout(STOP_TIMEOUT, work).await.is_err() {
        tracing::warn!("{what} did not end within {} s", STOP_TIMEOUT.as_secs());
    }
}

/// How clients of Jaeger are told to sample.
async fn strategies(config: &Config, folder: &Path) -> anyhow::Result<Strategies> {
    let Some(file) = &config.obs.traces.jaeger.sampling_strategies_file else {
        return Ok(Strategies::default());
    };
    let path = folder.join(file);
    let read = tokio::fs::read(&path).await;
    let bytes = read.with_context(|| format!("read the strategies {}", path.display()))?;
    Strategies::decode(&bytes).with_context(|| format!("read the strategies {}", path.display()))
}

/// What sends to other servers.
struct Outward {
    forwarder: Option<Forwarder>,
    shipper: Option<Shipper>,
}

/// The sink of a server: to its stores, and to other servers where there are some.
async fn open_sink(
    data: &Path,
    config: &Config,
    collected: &Collected,
    bound: usize,
    (shipping, stop): (&TaskTracker, &CancellationToken),
) -> anyhow::Result<(Sink, Inbox, Outward)> {
    let (mut sink, inbox) = Sink::channel(bound);
    let folder = buffer_folder(data, "forward", collected);
    let forwarder = open_queues(folder.clone(), config, collected).await?;
    if let Some(forwarder) = &forwarder {
        sink = sink.forwarding(forwarder.clone());
    }
    let shipper = open_ships(&folder, config, collected).await?;
    if let Some(shipper) = &shipper {
        sink = sink.shipping(shipper.start(bound, shipping, stop));
    }
    let outward = Outward { forwarder, shipper };
    Ok((refining(sink, config)?, inbox, outward))
}

/// The sink with what the configuration wants done to everything that comes in.
pub(crate) fn refining(sink: Sink, config: &Config) -> anyhow::Result<Sink> {
    let Some(redaction) = &config.obs.collector.redaction else {
        return Ok(sink);
    };
    let redactor = Redactor::new(redaction).map_err(anyhow::Error::msg);
    let redactor = redactor.context("obs.collector.redaction")?;
    Ok(sink.redacting(redactor, Decoder::new(2)))
}

/// What hands to the sink all that is pushed.
async fn receiver(app: &App, config: &Config, folder: &Path) -> anyhow::Result<Receiver> {
    let receiver = Receiver::new(
        app.sink.clone(),
        app.rules.limits,
        app.decoder.clone(),
        Arc::clone(&app.counters),
    );
    let receiver = receiver
        .with_otlp(config.otlp.options())
        .with_origins(config.obs.traces.cors_allowed_origins.clone())
        .with_strategies(strategies(config, folder).await?);
    Ok(receiver)
}

/// The page for probes, where modules are configured.
async fn probes(options: &Options, config: &Config) -> anyhow::Result<Option<Probes>> {
    let Some(setting) = &config.obs.collector.probes else {
        return Ok(None);
    };
    let opened = Probes::open(setting, config_folder(options)).await;
    let probes = opened.map_err(anyhow::Error::msg);
    probes.context("obs.collector.probes").map(Some)
}

/// The push gateway, with the groups that it had before.
async fn gateway(options: &Options, config: &Config, app: &App) -> anyhow::Result<Gateway> {
    let interval = config.global.scrape_interval.map(|interval| interval.0);
    let folder = options.data.join("pushgateway");
    let setting = &config.obs.collector.pushgateway;
    Gateway::open(folder, setting, (app.sink.clone(), interval))
        .await
        .context("open the push gateway")
}

/// What the listeners run in and end by.
#[derive(Clone, Copy)]
pub(crate) struct Serving<'a> {
    pub(crate) tasks: &'a TaskTracker,
    pub(crate) stop: &'a CancellationToken,
    pub(crate) cut: &'a CancellationToken,
}

impl Serving<'_> {
    fn listen(
        self,
        app: &Arc<App>,
        listeners: Listeners,
        (receiver, gateway, probes): (Receiver, Gateway, Option<Probes>),
    ) -> MetricSockets {
        let pushes = pushgateway::routes(receiver.clone(), gateway.clone());
        let all = api::routes(app).merge(receive::routes(receiver.clone()));
        let mut all = all.merge(pushes);
        if let Some(probes) = probes {
            all = all.merge(probes.routes());
        }
        if let Some(listener) = listeners.pushgateway {
            let own = pushgateway::own_routes(receiver.clone(), gateway);
            self.serve(listener, own);
        }
        let all = api::below(&app.about.route_prefix, all);
        self.serve(listeners.http, all);
        let otlp = receive::otlp_routes(receiver.clone());
        self.serve(listeners.otlp_http, otlp);
        let grpc = receive::grpc::routes(receiver).merge(api::grpc_routes(app));
        self.serve(listeners.otlp_grpc, grpc);
        if let Some(listener) = listeners.node_exporter {
            self.node_exporter(listener);
        }
        listeners.metrics
    }

    pub(crate) fn node_exporter(self, listener: TcpListener) {
        let stopped = self.stop.clone().cancelled_owned();
        self.tasks.spawn(async move {
            let settings = node_exporter::Settings::default();
            if let Err(error) = node_exporter::serve(listener, settings, stopped).await {
                tracing::error!(%error, "the node exporter failed");
            }
        });
    }

    pub(crate) fn serve(self, listener: TcpListener, routes: Router) {
        let mut routes = routes
            .layer(from_fn(unread::read))
            .layer(from_fn(with_peer));
        if let Ok(bound) = listener.local_addr() {
            routes = routes.layer(Extension(api::Bound(bound.ip())));
        }
        let routes = routes.into_make_service_with_connect_info::<Peer>();
        let stopped = self.stop.clone().cancelled_owned();
        let listener = Guarded::new(listener, self.cut.clone());
        self.tasks.spawn(async move {
            let served = axum::serve(listener, routes)
                .with_graceful_shutdown(stopped)
                .await;
            if let Err(error) = served {
                tracing::error!(%error, "an HTTP listener failed");
            }
        });
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(SocketAddr);

impl Connected<IncomingStream<'_, Guarded>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Guarded>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// Runs a request with the address that it came from, by which senders are known.
async fn with_peer(request: Request, next: Next) -> Response {
    match request.extensions().get::<ConnectInfo<Peer>>() {
        Some(ConnectInfo(peer)) => {
            let address = peer.0.ip().to_canonical();
            enrich::PEER.scope(address, next.run(request)).await
        }
        None => next.run(request).await,
    }
}

/// Opens the stores off the event loop; requests are answered "starting" meanwhile.
#[expect(
    clippy::disallowed_methods,
    reason = "replay blocks, once, at the start"
)]
async fn open_stores(
    options: &Options,
    config: &Config,
    app: &Arc<App>,
    (disk, inbox): (Arc<dyn Disk>, Inbox),
) -> anyhow::Result<(Writers, Upkeep)> {
    let storage = &config.obs.storage;
    let mut settings = obs_storage::Options {
        journal_salt: random_u32(),
        ..obs_storage::Options::default()
    };
    settings.retention = Retention {
        age: app.rules.retention,
        bytes: storage.retention_bytes,
    };
    settings.tiers = storage.tiers.tiers();
    if let Some(bytes) = storage.flush_bytes {
        settings.flush_bytes = bytes;
    }
    if let Some(bytes) = storage.memory_bytes {
        settings.memory_bytes_max = bytes;
    }
    if let Some(age) = storage.flush_age {
        settings.flush_age = age;
    }
    let retention_rules = storage.rules(app.rules.retention);
    let retention_rules = retention_rules.map_err(anyhow::Error::msg)?;
    let stream_rules = config.obs.logs.rules(app.rules.retention);
    let stream_rules = stream_rules.map_err(anyhow::Error::msg)?;
    tracing::info!(
        data = %options.data.display(),
        retention = app.rules.retention.map_or_else(|| "for ever".to_owned(), duration::format),
        "opening the stores"
    );
    let told = Arc::clone(app);
    let cache = app.rules.limits.query_cache_bytes_max;
    let opening = tracing::info_span!("open the stores");
    let open = move || {
        let _open = opening.entered();
        Stores::open(&disk, &settings, cache, &|store, progress| {
            told.opening.note(store, progress);
        })
    };
    let stores = tokio::task::spawn_blocking(open).await??;
    stores
        .metrics
        .set_retention_rules(&retention_rules, clock::now())
        .context("obs.storage.retention_rules")?;
    stores
        .logs
        .set_retention_rules(&stream_rules, clock::now())
        .context("obs.logs.retention_rules")?;
    let writers = Writers::start(&stores, inbox, &app.rules)?;
    let upkeep = Upkeep::start(&stores)?;
    let first =
        app.writes.set(Arc::clone(&writers.stats)).is_ok() && app.stores.set(stores).is_ok();
    anyhow::ensure!(first, "the stores are opened once");
    Ok((writers, upkeep))
}

/// The stores, which are open.
fn stores_of(app: &App) -> anyhow::Result<&Stores> {
    app.stores.get().context("the stores are open")
}

/// Opens the queue of spans that wait to be sampled, off the event loop.
#[expect(clippy::disallowed_methods, reason = "blocks, once, at the start")]
async fn open_sampling(config: &Config, disk: &Arc<dyn Disk>) -> anyhow::Result<Arc<Sampling>> {
    let (setting, disk) = (config.obs.traces.sampling(), Arc::clone(disk));
    let open = move || Sampling::open(&disk, setting, random_u32());
    Ok(Arc::new(tokio::task::spawn_blocking(open).await??))
}

/// Where what waits to be sent is.
pub(crate) fn buffer_folder(data: &Path, name: &str, collected: &Collected) -> PathBuf {
    collected.buffer.clone().unwrap_or_else(|| data.join(name))
}

fn bounds(config: &Config) -> Bounds {
    let buffer = &config.obs.collector.buffer;
    Bounds {
        bytes_max: buffer.max_size.map_or(QUEUE_BYTES_DEFAULT, |size| size.0),
        when_full: buffer.when_full,
    }
}

/// Where users reach the server: as told, or by the name of the machine as Prometheus does.
fn external_url(options: &Options, http: SocketAddr, host: &str) -> String {
    let own = || format!("http://{host}:{}{}", http.port(), options.route_prefix);
    let url = options.external_url.clone().unwrap_or_else(own);
    url.trim_end_matches('/').to_owned()
}

/// Opens the states of alerts, off the event loop.
#[expect(clippy::disallowed_methods, reason = "blocks, once, at the start")]
async fn open_kept(disk: &Arc<dyn Disk>) -> anyhow::Result<Kept> {
    let disk = Arc::clone(disk);
    tokio::task::spawn_blocking(move || Kept::open(&disk, random_u32())).await?
}

/// Evaluates rules from now on.
fn start_ruler(
    (options, config): (&Options, &Config),
    app: &Arc<App>,
    (groups, kept): (Vec<(GroupKey, Group)>, Kept),
    stop: &CancellationToken,
) -> anyhow::Result<Arc<Ruler>> {
    let known = (&app.external_labels, app.external_url.as_str());
    let setting = ruler::Setting::new(&options.rules, config, known);
    let (ruler, mut told) = Ruler::new(setting, kept, stop.clone());
    // Alerts without anybody to tell are dropped, as Prometheus does.
    tokio::spawn(async move { while told.recv().await.is_some() {} });
    ruler.begin(app, groups);
    anyhow::ensure!(
        app.ruler.set(Arc::clone(&ruler)).is_ok(),
        "the ruler starts once"
    );
    Ok(ruler)
}

/// Opens the queues of what is forwarded, off the event loop.
#[expect(clippy::disallowed_methods, reason = "blocks, once, at the start")]
pub(crate) async fn open_queues(
    folder: PathBuf,
    config: &Config,
    collected: &Collected,
) -> anyhow::Result<Option<Forwarder>> {
    let all = collected.destinations.remote_writes.clone();
    if all.is_empty() {
        return Ok(None);
    }
    let (bounds, external) = (bounds(config), config.external_labels());
    let open = move || Forwarder::open(&folder, bounds, random_u32(), &external, all);
    let opened = tokio::task::spawn_blocking(open).await?;
    opened.context("open the queues of remote_write").map(Some)
}

/// The same for whole batches. No destination of samples can have this folder's name.
#[expect(clippy::disallowed_methods, reason = "blocks, once, at the start")]
pub(crate) async fn open_ships(
    folder: &Path,
    config: &Config,
    collected: &Collected,
) -> anyhow::Result<Option<Shipper>> {
    let all = collected.destinations.ships.clone();
    if all.is_empty() {
        return Ok(None);
    }
    let folder = folder.join("_batches");
    let (bounds, external) = (bounds(config), config.external_labels());
    let open = move || {
        std::fs::create_dir_all(&folder)?;
        let opened = Shipper::open(&folder, bounds, random_u32(), &external, all);
        opened.map_err(anyhow::Error::from)
    };
    let opened = tokio::task::spawn_blocking(open).await?;
    opened
        .context("open the queues of obs.collector.destinations")
        .map(Some)
}

/// How long data is kept: by the flag, the file, or as Prometheus does; `None` for ever.
fn retention(options: &Options, config: &Config) -> Option<i64> {
    let told = options.retention_nanos.or(config.obs.storage.retention);
    Some(told.unwrap_or(RETENTION_DEFAULT)).filter(|nanos| *nanos > 0)
}

/// Hard to guess: the hasher of the standard library is seeded by the operating system.
fn random_u32() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(clock::now().nanos());
    (random >> 32) as u32
}

/// obs scrapes itself, and its node exporter where it has one.
fn own_jobs(
    config: &Config,
    http: SocketAddr,
    node: Option<SocketAddr>,
) -> anyhow::Result<Vec<Job>> {
    let mut jobs = vec![config.own_job("obs", http)?];
    if let Some(node) = node {
        jobs.push(config.own_job("node", reachable(node))?);
    }
    Ok(jobs)
}

/// Takes what the configuration wants from the cluster.
fn start_cluster(
    tasks: &TaskTracker,
    stop: &CancellationToken,
    app: &Arc<App>,
    config: &Config,
    (cluster, mut jobs): (KubernetesConfig, watch::Receiver<Vec<Job>>),
) {
    if !cluster.is_wanted() {
        let (scraper, stop) = (app.scraper.clone(), stop.clone());
        tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    changed = jobs.changed() => if changed.is_err() { return },
                }
                let jobs = jobs.borrow_and_update().clone();
                scraper.apply(jobs);
            }
        });
        return;
    }
    let setting = cluster::Setting {
        global: config.global.clone(),
        config: cluster,
        jobs,
        scraper: app.scraper.clone(),
        sink: app.sink.clone(),
        tenant: Tenant::anonymous(),
        counters: app.counters.kubernetes(),
    };
    tasks.spawn(cluster::run(setting, stop.clone()));
}

/// The job that scrapes the state of objects and what is told of it.
fn state_job(
    config: &Config,
    listeners: &KubeStateListeners,
    about: &mut About,
) -> anyhow::Result<Job> {
    let mut addresses = vec![reachable(listeners.metrics.local_addr()?)];
    about.own_pool(config::KUBE_STATE_JOB, addresses[0]);
    if let Some(listener) = &listeners.telemetry {
        addresses.push(reachable(listener.local_addr()?));
    }
    Ok(config.state_job(&addresses)?)
}

/// Follows the state of objects, where it is wanted, until the intake stops.
async fn follow_state(
    options: &Options,
    config: &Config,
    listeners: Option<KubeStateListeners>,
    (tasks, stop): (&TaskTracker, &CancellationToken),
) -> anyhow::Result<()> {
    let (Some(wanted), Some(listeners)) = (config.obs.kubernetes.wanted_state(), listeners) else {
        return Ok(());
    };
    let folder = config_folder(options);
    let state = StateMetrics::new(config::state_settings(wanted, folder)?)
        .context("obs.kubernetes.kube_state")?;
    let client = Client::new(&config.cluster(folder).map_err(anyhow::Error::msg)?.access()).await?;
    let stop = stop.child_token();
    tasks.spawn(async move {
        if let Err(error) = kube_state::serve(state, client, listeners, stop).await {
            tracing::error!(
                error = format!("{error:#}"),
                "the state of objects is not followed"
            );
        }
    });
    Ok(())
}

fn start_intake(
    tasks: &TaskTracker,
    stop: &CancellationToken,
    app: &Arc<App>,
    config: &Config,
    jobs: watch::Receiver<Vec<Job>>,
    data: &Path,
) -> anyhow::Result<()> {
    let setting = Setting {
        sink: app.sink.clone(),
        tenant: Tenant::anonymous(),
        limits: app.rules.limits,
        decoder: app.decoder.clone(),
        counters: Arc::clone(&app.counters),
    };
    let (scraper, stopped) = (app.scraper.clone(), stop.clone());
    scraper.apply(jobs.borrow().clone());
    tasks.spawn(async move { scraper.run(setting, stopped).await });
    let (derived, sink) = (Arc::clone(&app.rules.derived), app.sink.clone());
    let stopped = stop.clone();
    tasks.spawn(async move { derived.run(sink, stopped).await });
    let following = tail::Setting {
        sink: app.sink.clone(),
        tenant: Tenant::anonymous(),
        limits: app.rules.limits,
        counters: Arc::clone(&app.counters),
        checkpoint: data.join("tail.checkpoint"),
        worker: app.decoder.clone(),
        pods: enrich::Pods::default(),
    };
    follow_logs(tasks, stop, config, following);
    Ok(())
}

/// Follows the logs of this machine.
pub(crate) fn follow_logs(
    tasks: &TaskTracker,
    stop: &CancellationToken,
    config: &Config,
    setting: tail::Setting,
) {
    let logs = config.obs.collector.logs.clone();
    if let Some(journald) = logs.journald.clone() {
        tasks.spawn(tail::journal::run(journald, setting.clone(), stop.clone()));
    }
    if logs.has_files() {
        tasks.spawn(tail::run(logs, setting, stop.clone()));
    }
}

pub(crate) async fn stop_signal() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result.context("listen for SIGINT"),
        _ = terminate.recv() => Ok(()),
    }
}
