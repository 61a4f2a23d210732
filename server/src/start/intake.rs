//! What brings data in: what is pushed, scraped, followed and watched. It ends before the writers
//! do.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use obs_collector::config::{Auth, Credential, Job, Secret};
use obs_collector::probe::Probes;
use obs_collector::push::Gateway;
use obs_collector::receive::{Receiver, splunk};
use obs_collector::scrape::Setting;
use obs_collector::{Sink, cluster, tail};
use obs_kubernetes::Client;
use obs_kubernetes::state::StateMetrics;
use obs_model::Tenant;
use obs_wire::jaeger::sampling::Strategies;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config_folder;
use super::listen::reachable;
use crate::about::About;
use crate::app::App;
use crate::config::Config;
use crate::kube_state::KubeStateListeners;
use crate::{Options, auth, config, kube_state, ruler};

/// How clients of Jaeger are told to sample.
pub(crate) async fn strategies(config: &Config, folder: &Path) -> anyhow::Result<Strategies> {
    let Some(file) = &config.obs.traces.jaeger.sampling_strategies_file else {
        return Ok(Strategies::default());
    };
    let path = folder.join(file);
    let read = tokio::fs::read(&path).await;
    let bytes = read.with_context(|| format!("read the strategies {}", path.display()))?;
    Strategies::decode(&bytes).with_context(|| format!("read the strategies {}", path.display()))
}

/// What hands to the sink all that is pushed.
pub(super) async fn receiver(
    app: &App,
    options: &Options,
    config: &Config,
) -> anyhow::Result<Receiver> {
    let folder = config_folder(options);
    let hec = splunk::Setting::new(&config.obs.logs.splunk_hec, folder).await?;
    let receiver = Receiver::new(
        app.sink.clone(),
        app.rules.limits,
        app.decoder.clone(),
        Arc::clone(&app.counters),
    );
    let receiver = receiver
        .with_otlp(config.otlp.options())
        .with_origins(config.obs.traces.cors_allowed_origins.clone())
        .with_strategies(strategies(config, folder).await?)
        .with_splunk(hec);
    Ok(receiver)
}

/// The page for probes, where modules are configured.
pub(crate) async fn probes(config: &Config, folder: &Path) -> anyhow::Result<Option<Probes>> {
    let Some(setting) = &config.obs.collector.probes else {
        return Ok(None);
    };
    let addresses = config.obs.collector.outgoing.addresses();
    let opened = Probes::open(setting, folder, addresses).await;
    let probes = opened.map_err(anyhow::Error::msg);
    probes.context("obs.collector.probes").map(Some)
}

/// The push gateway, with the groups that it had before.
pub(crate) async fn gateway(config: &Config, data: &Path, sink: &Sink) -> anyhow::Result<Gateway> {
    let interval = config.global.scrape_interval.map(|interval| interval.0);
    let folder = data.join("pushgateway");
    let setting = &config.obs.collector.pushgateway;
    Gateway::open(folder, setting, (sink.clone(), interval))
        .await
        .context("open the push gateway")
}

/// obs scrapes itself, and its node exporter where it has one.
pub(super) fn own_jobs(
    config: &Config,
    (http, node): (SocketAddr, Option<SocketAddr>),
    own: Option<&(SocketAddr, String)>,
) -> anyhow::Result<Vec<Job>> {
    let token = own.map(|(_, token)| token.as_str());
    // Its series have the address that others see, whichever it is asked at.
    let mut jobs = vec![match own {
        None => config.own_job("obs", http)?,
        Some((place, _)) => {
            let instance = http.to_string();
            showing(config.own_job_on("obs", *place, Some(&instance))?, token)
        }
    }];
    if let Some(node) = node {
        jobs.push(showing(config.own_job("node", node)?, token));
    }
    Ok(jobs)
}

/// A job that shows this token.
pub(super) fn showing(mut job: Job, token: Option<&str>) -> Job {
    if let Some(token) = token {
        job.client.auth = Auth::Header {
            kind: "Bearer".to_owned(),
            credential: Credential::Inline(Secret::new(token)),
        };
    }
    job
}

/// Takes what the configuration wants from the cluster.
pub(super) fn start_cluster(
    (tasks, stop): (&TaskTracker, &CancellationToken),
    app: &Arc<App>,
    config: &Config,
    (folder, mut jobs): (&Path, watch::Receiver<Vec<Job>>),
) -> anyhow::Result<()> {
    let cluster = config.cluster(folder).map_err(anyhow::Error::msg)?;
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
        return Ok(());
    }
    let (rules, objects) = watch::channel(ruler::cluster::Objects::new());
    let setting = cluster::Setting {
        global: config.global.clone(),
        addresses: config.obs.collector.outgoing.addresses(),
        config: cluster,
        jobs,
        scraper: app.scraper.clone(),
        sink: app.sink.clone(),
        tenant: Tenant::anonymous(),
        counters: app.counters.kubernetes(),
        rules: Some(rules),
    };
    let following = ruler::cluster::follow(Arc::clone(app), objects, stop.clone());
    tasks.spawn(following);
    tasks.spawn(cluster::run(setting, stop.clone()));
    Ok(())
}

/// The job that scrapes the state of objects and what is told of it.
pub(super) fn state_job(
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
pub(super) async fn follow_state(
    options: &Options,
    config: &Config,
    (listeners, auth): (Option<KubeStateListeners>, Option<&Arc<auth::Auth>>),
    (tasks, stop): (&TaskTracker, &CancellationToken),
) -> anyhow::Result<()> {
    let (Some(wanted), Some(listeners)) = (config.obs.kubernetes.wanted_state(), listeners) else {
        return Ok(());
    };
    let folder = config_folder(options);
    let state = StateMetrics::new(config::state_settings(wanted, folder)?)
        .context("obs.kubernetes.kube_state")?;
    let client = Client::new(&config.cluster(folder).map_err(anyhow::Error::msg)?.access()).await?;
    let (stop, guard) = (stop.child_token(), auth.map(auth::Guard::of_exporter));
    tasks.spawn(async move {
        let served = kube_state::serve_behind(state, client, listeners, (stop, guard));
        if let Err(error) = served.await {
            tracing::error!(
                error = format!("{error:#}"),
                "the state of objects is not followed"
            );
        }
    });
    Ok(())
}

pub(super) fn start_intake(
    (tasks, stop): (&TaskTracker, &CancellationToken),
    app: &Arc<App>,
    config: &Config,
    jobs: watch::Receiver<Vec<Job>>,
    data: &Path,
) {
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
        pods: app.pods.clone(),
    };
    follow_logs(tasks, stop, config, following);
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
