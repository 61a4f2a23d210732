//! Start and stop of the server.

mod intake;
mod listen;
mod outward;
mod rules;
mod stores;
mod telling;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use obs_alerting::rules::Group;
use obs_collector::config::{Destination, Job};
use obs_collector::metrics::Counters;
use obs_collector::scrape::Scraper;
use obs_collector::{Decoder, External, Forwarder, Inbox};
use obs_storage::Disk;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing_subscriber::filter::LevelFilter;

use self::intake::{
    follow_state, own_jobs, receiver, showing, start_cluster, start_intake, state_job,
};
use self::listen::{Listeners, bind, write_addresses};
use self::outward::open_sink;
use self::rules::{external_url, scheme, start_ruler};
pub(crate) use self::stores::random_u32;
use self::stores::{open_dashboards, open_kept, open_sampling, open_stores, retention, stores_of};
pub(crate) use self::telling::Telling;
use crate::about::About;
use crate::app::{App, Opening};
use crate::auth::Auth;
use crate::backup::{self, Copies};
use crate::config::Config;
use crate::cost::{self, Costs};
use crate::dashboards::{self, Provided};
use crate::derived::Derived;
use crate::read::Reader;
use crate::reload::{self, Reload, Reloader};
use crate::ruler::{self, GroupKey};
use crate::sampling::Deciding;
use crate::upkeep::Upkeep;
use crate::write::{Rules, Writers};
use crate::{Options, alertmanager, clock, config, pods, telemetry};

pub(crate) use self::intake::{follow_logs, gateway, probes, strategies};
pub(crate) use self::listen::{Peer, Serving, reachable};
#[cfg(test)]
pub(crate) use self::listen::{grpc_routes, main_routes, pushgateway_routes};
pub(crate) use self::outward::{buffer_folder, open_queues, open_ships, redaction, refining};

/// How long requests may take to end after a stop was asked for.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the server until SIGINT or SIGTERM.
pub async fn serve(options: Options) -> anyhow::Result<()> {
    let (config, collected, text) = load(options.config.as_deref()).await?;
    let web = options.web_config_file.as_deref();
    let auth = Auth::configured(&config, config_folder(&options), web).await?;
    let listeners = bind(&options, &config, auth).await?;
    let folder = options.data.clone();
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let telemetry = start_telemetry(&options, &config, &listeners).await?;
    for notice in config.notices().iter().chain(&options.features.notices) {
        tracing::warn!("{notice}");
    }
    // Before anything of a server that runs here already is touched.
    let disk = crate::stores::lock(&folder).await?;
    backup::clear(&folder);
    write_addresses(&folder, &listeners)?;
    let about = About::new(&options, &config, &text, retention(&options, &config));
    let file = (&config, text);
    let running = Running::start(&options, file, (collected, disk), listeners, about);
    let running = Box::pin(running).await?;
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
    /// The built-in Alertmanager's configuration, and whom alerts are told elsewhere.
    pub(crate) alerts: alertmanager::Settings,
    /// What things cost.
    pub(crate) cost: cost::Settings,
    /// Dashboards of folders.
    pub(crate) dashboards: Vec<Provided>,
    /// Where what waits to be forwarded is, unless in the data directory.
    pub(crate) buffer: Option<PathBuf>,
    /// Put on what leaves; a reload hands the labels of its own on.
    pub(crate) external: External,
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
        external: config.external_labels().into(),
        cost: cost::settings(&config, folder).with_context(shown)?,
        dashboards: dashboards::read_folders(&config.obs.dashboards.folders, folder).await?,
        rules: ruler::load_all(&config, folder).await?,
        alerts: alertmanager::settings(&config, &text, folder)
            .await
            .with_context(shown)?,
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
        own: listeners.own_place()?,
        logs: own.logs,
        traces: own.traces,
    };
    let format = options.log_format;
    tokio::task::spawn_blocking(move || telemetry::start(format, verbose, export)).await?
}

/// What tells the tasks of a server to end, in the order in which they do.
#[derive(Debug, Default)]
struct Ends {
    /// Ends scraping and tailing.
    stop_intake: CancellationToken,
    intake: TaskTracker,
    /// Ends the listeners.
    stop_listening: CancellationToken,
    tasks: TaskTracker,
    /// Evaluates rules and tells people; ends behind what brings data in.
    telling: Telling,
    /// Ends the connections that did not end with them.
    cut: CancellationToken,
    /// What sends to other servers; ends when nobody can write any more.
    shipping: TaskTracker,
}

impl Ends {
    fn serving(&self) -> Serving<'_> {
        Serving::new(&self.tasks, &self.stop_listening, &self.cut)
    }

    /// Tasks that bring data in, and what ends them.
    fn intake(&self) -> (&TaskTracker, &CancellationToken) {
        (&self.intake, &self.stop_intake)
    }
}

/// The application before its stores are open, and what waits for them.
struct Prepared {
    app: Arc<App>,
    inbox: Inbox,
    forwarder: Option<Forwarder>,
}

async fn prepare(
    options: &Options,
    config: &Config,
    (collected, disk): (&Collected, &Arc<dyn Disk>),
    (about, reload, http, auth): (About, Reload, SocketAddr, Option<Arc<Auth>>),
    ends: &Ends,
) -> anyhow::Result<Prepared> {
    let rules = Rules {
        limits: config.obs.limits.limits(),
        enrich: config.obs.logs.enrich(),
        retention: retention(options, config),
        tails: Arc::default(),
        derived: Arc::new(Derived::new(config.obs.traces.derived())),
        sampling: open_sampling(config, disk).await?,
        span_limits: Arc::default(),
    };
    let dashboards = open_dashboards(disk).await?;
    dashboards.provide(collected.dashboards.clone());
    let bound = rules.limits.write_queue_max;
    let ending = (&ends.shipping, &ends.stop_intake);
    let (sink, inbox, outward) = open_sink(&options.data, config, collected, bound, ending).await?;
    let counters = Arc::<Counters>::default();
    let (scope, asked) = (pods::Scope::Cluster, counters.kubernetes());
    let pods = pods::watch(config, config_folder(options), scope, asked, ends.intake())?;
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let app = App {
        stores: OnceLock::new(),
        begun: OnceLock::new(),
        opening: Opening::default(),
        deletions: Default::default(),
        copies: Copies::new(options.data.clone()),
        writes: OnceLock::new(),
        ruler: OnceLock::new(),
        dashboards,
        alertmanager: OnceLock::new(),
        notifier: OnceLock::new(),
        cost: Costs::new(collected.cost.clone()),
        reader: Reader::new(threads, rules.limits)?,
        scraper: Scraper::new(),
        counters,
        sink: sink.enriching(pods.clone()),
        pods,
        shipper: outward.shipper,
        rules,
        external_labels: collected.external.clone(),
        external_url: external_url(options, (http, auth.as_ref()), &about.host),
        auth,
        decoder: Decoder::new(threads),
        started: clock::now(),
        about,
        reload,
        features: options.features.clone(),
    };
    Ok(Prepared {
        app: Arc::new(app),
        inbox,
        forwarder: outward.forwarder,
    })
}

/// A server that runs.
struct Running {
    app: Arc<App>,
    ends: Ends,
    writers: Writers,
    upkeep: Upkeep,
    deciding: Deciding,
}

impl Running {
    async fn start(
        options: &Options,
        (config, text): (&Config, String),
        (collected, disk): (Collected, Arc<dyn Disk>),
        mut listeners: Listeners,
        mut about: About,
    ) -> anyhow::Result<Self> {
        let ends = Ends::default();
        let (intake, stop_intake) = ends.intake();
        let kept = open_kept(&disk).await?;
        let (http, node) = listeners.own_targets(&mut about)?;
        let state = listeners.kube_state.take();
        let job = |state| state_job(config, state, &mut about);
        let state_job = state.as_ref().map(job).transpose()?;
        let (reload, requests) = Reload::new(options.enable_lifecycle);
        let about = (about, reload, http, listeners.auth.clone());
        let prepared = prepare(options, config, (&collected, &disk), about, &ends).await?;
        let (app, inbox) = (prepared.app, prepared.inbox);
        let receiver = receiver(&app, options, config).await?;
        let gateway = gateway(config, &options.data, &app.sink).await?;
        let probes = probes(config, config_folder(options)).await?;
        let alerts = (collected.alerts, options.rules.notifier);
        let outgoing = alertmanager::start(&app, &disk, alerts, &ends.telling).await?;
        let ways = (receiver.clone(), gateway.clone(), probes);
        if let Some(bound) = listeners.resource_metrics.take() {
            let (place, ended) = (config_folder(options), (&ends.stop_listening, &ends.cut));
            let serving = bound.start(&app, (config, place), &ends.tasks, ended);
            Box::pin(serving).await?;
        }
        if let Some(auth) = &app.auth {
            auth.start(&ends.tasks, &ends.stop_listening);
        }
        let own_place = listeners.own_place()?;
        let serving = Serving {
            auth: app.auth.as_ref(),
            ..ends.serving()
        };
        let sockets = serving.listen(&app, listeners, ways);
        let (writers, upkeep) = open_stores(options, config, &app, (disk, inbox)).await?;
        let told = (outgoing, &ends.telling.rounds, stop_intake);
        let ruler = start_ruler((options, config), &app, (collected.rules, kept), told).await?;
        let deciding = app.rules.sampling.start(&stores_of(&app)?.spans)?;
        if let Some(forwarder) = prepared.forwarder {
            forwarder.start(intake, stop_intake);
        }
        let mut own = own_jobs(config, (http, node), own_place.as_ref())?;
        let token = own_place.as_ref().map(|(_, token)| token.as_str());
        own.extend(state_job.map(|job| showing(job, token)));
        let state = (state, app.auth.as_ref());
        follow_state(options, config, state, ends.intake()).await?;
        let mut jobs = collected.jobs;
        jobs.extend(own.iter().cloned());
        let (jobs, followed) = watch::channel(jobs);
        start_intake(ends.intake(), &app, config, followed.clone(), &options.data);
        let told = (&app.sink, &app.counters, None);
        crate::problems::start(ends.intake(), config, config_folder(options), told).await?;
        start_cluster(
            ends.intake(),
            &app,
            config,
            (config_folder(options), followed),
        )?;
        let reloader = Reloader {
            options: options.clone(),
            app: Arc::clone(&app),
            own,
            jobs,
            text,
        };
        intake.spawn(backup::expiring(Arc::clone(&app), stop_intake.clone()));
        intake.spawn(reload::run(reloader, requests, stop_intake.clone()));
        intake.spawn(gateway.run(stop_intake.clone()));
        sockets.serve(&receiver, intake, stop_intake);
        let rounds = &ends.telling.rounds;
        rounds.spawn(async move { ruler.ended().await });
        anyhow::ensure!(app.begun.set(()).is_ok(), "the server starts once");
        let scheme = scheme(app.auth.as_ref());
        tracing::info!("ready: {scheme}://{http}");
        Ok(Self {
            app,
            ends,
            writers,
            upkeep,
            deciding,
        })
    }

    #[expect(clippy::disallowed_methods, reason = "joins threads, once, at the end")]
    async fn stop(self, telemetry: telemetry::Telemetry) {
        let ends = self.ends;
        ends.stop_intake.cancel();
        ends.intake.close();
        within("scraping and tailing", ends.intake.wait()).await;
        ends.telling.end().await;
        within("own telemetry", async {
            drop(tokio::task::spawn_blocking(move || telemetry.stop()).await);
        })
        .await;
        ends.stop_listening.cancel();
        ends.tasks.close();
        within("requests", ends.tasks.wait()).await;
        // Whoever still holds a connection holds the queues with it.
        ends.cut.cancel();
        // The last handle on the queues: the writers finish what waits, then end.
        drop(self.app);
        ends.shipping.close();
        within("shipping", ends.shipping.wait()).await;
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

pub(crate) async fn stop_signal() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result.context("listen for SIGINT"),
        _ = terminate.recv() => Ok(()),
    }
}
