//! Start and stop of the server.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::middleware::from_fn;
use obs_alerting::rules::Group;
use obs_alerting::template::Surroundings;
use obs_collector::config::{Job, RemoteWrite, Span};
use obs_collector::forward::{Bounds, QUEUE_BYTES_DEFAULT};
use obs_collector::receive::sockets::{Sockets, Wanted};
use obs_collector::receive::trace_sockets::TraceSockets;
use obs_collector::receive::{self, Receiver, splunk};
use obs_collector::scrape::{Scraper, Setting};
use obs_collector::{Decoder, Forwarder, Inbox, Sink, tail};
use obs_model::{Tenant, duration};
use obs_storage::{Disk, Retention};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing_subscriber::filter::LevelFilter;

use crate::about::About;
use crate::app::{App, Opening};
use crate::config::{Config, RETENTION_DEFAULT};
use crate::connections::Guarded;
use crate::derived::Derived;
use crate::read::Reader;
use crate::ruler::{self, GroupKey, Kept, Ruler};
use crate::sampling::{Deciding, Sampling};
use crate::stores::{self, Stores};
use crate::upkeep::Upkeep;
use crate::write::{Rules, Writers};
use crate::{Options, api, clock, config, node_exporter, telemetry, unread};

/// What Prometheus' defaults of rules are told in.
const MINUTE: i64 = 60 * obs_model::time::NANOS_PER_SECOND;
/// How long requests may take to end after a stop was asked for.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The sockets, bound before anything else so that a wrong address is found at once.
struct Listeners {
    http: TcpListener,
    otlp_grpc: TcpListener,
    otlp_http: TcpListener,
    node_exporter: Option<TcpListener>,
    /// Syslog and the like.
    logs: Sockets,
    /// Jaeger and Zipkin.
    traces: TraceSockets,
}

/// Runs the server until SIGINT or SIGTERM.
pub async fn serve(options: Options) -> anyhow::Result<()> {
    let (config, collected, text) = load(&options).await?;
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
    let running = Running::start(&options, &config, (collected, disk), listeners, about).await?;
    stop_signal().await?;
    tracing::info!("stopping");
    running.stop(telemetry).await;
    Ok(())
}

/// What of the configuration needs more than itself: the file's text and its folder.
#[derive(Debug, Default)]
struct Collected {
    jobs: Vec<Job>,
    destinations: Vec<RemoteWrite>,
    /// Groups of rules.
    rules: Vec<(GroupKey, Group)>,
    /// Where what waits to be forwarded is, unless in the data directory.
    buffer: Option<PathBuf>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the configuration is read once, before the server starts"
)]
async fn load(options: &Options) -> anyhow::Result<(Config, Collected, String)> {
    let Some(path) = &options.config else {
        return Ok((Config::default(), Collected::default(), String::new()));
    };
    let text = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let text =
        String::from_utf8(text).with_context(|| format!("{} is not text", path.display()))?;
    let config = config::parse(&text).with_context(|| format!("{}", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let shown = || format!("{}", path.display());
    let collected = Collected {
        jobs: config.jobs(&text, folder).with_context(shown)?,
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
        logs: Sockets::bind(Wanted {
            syslog: config.obs.logs.syslog.as_ref(),
            fluent: config.obs.logs.fluent.as_ref(),
            gelf: config.obs.logs.gelf.as_ref(),
            folder: config_folder(options),
        })
        .await?,
        traces: TraceSockets::bind(&config.obs.traces).await?,
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
fn reachable(bound: SocketAddr) -> SocketAddr {
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
    let traces = listeners.traces.addresses();
    for (name, address) in listeners.logs.addresses().into_iter().chain(traces) {
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
}

impl Running {
    async fn start(
        options: &Options,
        config: &Config,
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
        };
        let kept = open_kept(&disk).await?;
        let http = reachable(listeners.http.local_addr()?);
        let node = listeners.node_exporter.as_ref();
        let node = node.map(TcpListener::local_addr).transpose()?;
        about.own_pool("obs", http);
        if let Some(node) = node {
            about.own_pool("node", reachable(node));
        }
        let (mut sink, inbox) = Sink::channel(rules.limits.write_queue_max);
        let forwarder = open_queues(options, config, &collected).await?;
        if let Some(forwarder) = &forwarder {
            sink = sink.forwarding(forwarder.clone());
        }
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
            rules,
            external_labels: config.external_labels(),
            external_url: external_url(options, http, &about.host),
            decoder: Decoder::new(threads),
            started: clock::now(),
            about,
            features: options.features.clone(),
        });
        let (tasks, stop_listening) = (TaskTracker::new(), CancellationToken::new());
        let cut = CancellationToken::new();
        let (intake, stop_intake) = (TaskTracker::new(), CancellationToken::new());
        let serving = Serving {
            tasks: &tasks,
            stop: &stop_listening,
            cut: &cut,
        };
        let hec = &config.obs.logs.splunk_hec;
        let hec = splunk::Setting::new(hec, config_folder(options)).await?;
        let receiver = receiver(&app, config).with_splunk(hec);
        let logs = std::mem::take(&mut listeners.logs);
        let mut traces = std::mem::take(&mut listeners.traces);
        for (listener, routes) in traces.take_streams(&receiver) {
            serving.serve(listener, routes);
        }
        serving.listen(&app, listeners, receiver.clone());
        let (writers, upkeep) = open_stores(options, config, &app, (disk, inbox)).await?;
        let ruler = start_ruler(config, &app, (collected.rules, kept), &stop_intake)?;
        let deciding = app.rules.sampling.start(&stores_of(&app)?.spans)?;
        if let Some(forwarder) = forwarder {
            forwarder.start(&intake, &stop_intake);
        }
        let jobs = with_own_jobs(collected.jobs, config, http, node)?;
        start_intake(&intake, &stop_intake, &app, config, jobs, &options.data)?;
        logs.serve(&receiver, &intake, &stop_intake);
        traces.serve(&receiver, &intake, &stop_intake);
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

async fn within(what: &str, work: impl Future<Output = ()>) {
    if tokio::time::timeout(STOP_TIMEOUT, work).await.is_err() {
        tracing::warn!("{what} did not end within {} s", STOP_TIMEOUT.as_secs());
    }
}

/// What hands to the sink all that is pushed.
fn receiver(app: &App, config: &Config) -> Receiver {
    Receiver::new(
        app.sink.clone(),
        app.rules.limits,
        app.decoder.clone(),
        Arc::clone(&app.counters),
    )
    .with_otlp(config.otlp.options())
}

/// What the listeners run in and end by.
#[derive(Clone, Copy)]
struct Serving<'a> {
    tasks: &'a TaskTracker,
    stop: &'a CancellationToken,
    cut: &'a CancellationToken,
}

impl Serving<'_> {
    fn listen(self, app: &Arc<App>, listeners: Listeners, receiver: Receiver) {
        let all = api::routes(app).merge(receive::routes(receiver.clone()));
        let all = api::below(&app.about.route_prefix, all);
        self.serve(listeners.http, all);
        let otlp = receive::otlp_routes(receiver.clone());
        self.serve(listeners.otlp_http, otlp);
        let grpc = receive::grpc::routes(receiver).merge(api::grpc_routes(app));
        self.serve(listeners.otlp_grpc, grpc);
        if let Some(listener) = listeners.node_exporter {
            let stopped = self.stop.clone().cancelled_owned();
            self.tasks.spawn(async move {
                let (source, what) = (Arc::default(), Arc::default());
                if let Err(error) = node_exporter::serve(listener, source, what, stopped).await {
                    tracing::error!(%error, "the node exporter failed");
                }
            });
        }
    }

    fn serve(self, listener: TcpListener, routes: Router) {
        let routes = routes.layer(from_fn(unread::read));
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
    config: &Config,
    app: &Arc<App>,
    (groups, kept): (Vec<(GroupKey, Group)>, Kept),
    stop: &CancellationToken,
) -> anyhow::Result<Arc<Ruler>> {
    let nanos = |span: &Option<Span>, default: i64| {
        let nanos = span
            .as_ref()
            .and_then(|span| i64::try_from(span.0.as_nanos()).ok());
        nanos.filter(|nanos| *nanos > 0).unwrap_or(default)
    };
    let setting = ruler::Setting {
        interval: nanos(&config.global.evaluation_interval, MINUTE),
        query_offset: nanos(&config.global.rule_query_offset, 0),
        resend_delay: MINUTE,
        outage_tolerance: 60 * MINUTE,
        grace: 10 * MINUTE,
        surroundings: Surroundings {
            external_labels: app.external_labels.clone(),
            external_url: app.external_url.clone(),
        },
    };
    let (ruler, mut told) = Ruler::new(setting, kept, stop.clone());
    // Alerts without anybody to tell are dropped, as Prometheus does.
    tokio::spawn(async move { while told.recv().await.is_some() {} });
    ruler.apply(app, |_| true, groups);
    anyhow::ensure!(
        app.ruler.set(Arc::clone(&ruler)).is_ok(),
        "the ruler starts once"
    );
    Ok(ruler)
}

/// Opens the queues of what is forwarded, off the event loop.
#[expect(clippy::disallowed_methods, reason = "blocks, once, at the start")]
async fn open_queues(
    options: &Options,
    config: &Config,
    collected: &Collected,
) -> anyhow::Result<Option<Forwarder>> {
    if collected.destinations.is_empty() {
        return Ok(None);
    }
    let own = || options.data.join("forward");
    let folder = collected.buffer.clone().unwrap_or_else(own);
    let buffer = &config.obs.collector.buffer;
    let bounds = Bounds {
        bytes_max: buffer.max_size.map_or(QUEUE_BYTES_DEFAULT, |size| size.0),
        when_full: buffer.when_full,
    };
    let (external, all) = (config.external_labels(), collected.destinations.clone());
    let open = move || Forwarder::open(&folder, bounds, random_u32(), &external, all);
    let opened = tokio::task::spawn_blocking(open).await?;
    opened.context("open the queues of remote_write").map(Some)
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
fn with_own_jobs(
    mut jobs: Vec<Job>,
    config: &Config,
    http: SocketAddr,
    node: Option<SocketAddr>,
) -> anyhow::Result<Vec<Job>> {
    jobs.push(config.own_job("obs", http)?);
    if let Some(node) = node {
        jobs.push(config.own_job("node", reachable(node))?);
    }
    Ok(jobs)
}

fn start_intake(
    tasks: &TaskTracker,
    stop: &CancellationToken,
    app: &Arc<App>,
    config: &Config,
    jobs: Vec<Job>,
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
    scraper.apply(jobs);
    tasks.spawn(async move { scraper.run(setting, stopped).await });
    let (derived, sink) = (Arc::clone(&app.rules.derived), app.sink.clone());
    let stopped = stop.clone();
    tasks.spawn(async move { derived.run(sink, stopped).await });
    let logs = config.obs.collector.logs.clone();
    if !logs.files.is_empty() {
        let setting = tail::Setting {
            sink: app.sink.clone(),
            tenant: Tenant::anonymous(),
            limits: app.rules.limits,
            counters: Arc::clone(&app.counters),
            checkpoint: data.join("tail.checkpoint"),
        };
        tasks.spawn(tail::run(logs, setting, stop.clone()));
    }
    Ok(())
}

async fn stop_signal() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result.context("listen for SIGINT"),
        _ = terminate.recv() => Ok(()),
    }
}
