//! What is taken from a Kubernetes cluster beside discovered targets: jobs that objects of the
//! Prometheus Operator and annotations ask for, and the cluster's events as logs.
//!
//! Invariants: jobs of the configuration file are always there, whatever the cluster says, and win
//! where names are equal; an object that is wrong is logged and takes no other one with it; events
//! wait while the sink refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use obs_kubernetes::operator::{Monitors, annotation_jobs};
use obs_kubernetes::{Client, Counters, events, operator};
use obs_model::{LogBatch, Tenant};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::{GlobalConfig, Job, KubernetesConfig};
use crate::outgoing::Addresses;
use crate::scrape::Scraper;
use crate::sink::{Sink, SinkError};

/// Pause before a client is made again.
const CLIENT_PAUSE: Duration = Duration::from_secs(30);
/// Pause after the sink refused.
const SINK_PAUSE: Duration = Duration::from_secs(1);
/// Batches of events that wait to be stored.
const BATCHES_WAITING: usize = 4;

/// What the cluster is for.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The section of the configuration.
    pub config: KubernetesConfig,
    /// Defaults of jobs.
    pub global: GlobalConfig,
    /// Which addresses are scraped where objects of the cluster say so.
    pub addresses: Addresses,
    /// Jobs that are always there, whatever the cluster says.
    pub jobs: watch::Receiver<Vec<Job>>,
    /// Who scrapes.
    pub scraper: Scraper,
    /// Where events go.
    pub sink: Sink,
    /// Whose events they are.
    pub tenant: Tenant,
    /// What is asked of the API server, counted.
    pub counters: Arc<Counters>,
    /// Who is told of the groups of rules, by `namespace/name` of their objects.
    pub rules: Option<watch::Sender<BTreeMap<String, serde_json::Value>>>,
}

/// Runs until the token is cancelled.
pub async fn run(setting: Setting, stop: CancellationToken) {
    let (sender, monitors) = watch::channel(Monitors::default());
    tokio::join!(
        apply(&setting, monitors, &stop),
        observe(&setting, sender, &stop)
    );
}

/// Scrapes what the file and the cluster ask for, whenever one of them changes.
async fn apply(
    setting: &Setting,
    mut monitors: watch::Receiver<Monitors>,
    stop: &CancellationToken,
) {
    let mut jobs = setting.jobs.clone();
    loop {
        let (all, faults) = {
            let of_file = jobs.borrow_and_update();
            all_jobs(setting, &of_file, &monitors.borrow_and_update())
        };
        log(&faults);
        setting.scraper.apply(all);
        let changed = tokio::select! {
            () = stop.cancelled() => return,
            changed = jobs.changed() => changed,
            changed = monitors.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
        if let Some(rules) = &setting.rules {
            let now = monitors.borrow().rules.clone();
            rules.send_if_modified(|told| {
                let differs = *told != now;
                *told = now;
                differs
            });
        }
    }
}

/// Watches what is wanted of the cluster. Holds the sender until the end.
async fn observe(setting: &Setting, monitors: watch::Sender<Monitors>, stop: &CancellationToken) {
    if setting.config.monitors.is_none() && setting.config.events.is_none() {
        stop.cancelled().await;
        drop(monitors);
        return;
    }
    let client = loop {
        match Client::new(&setting.config.access()).await {
            Ok(client) => break client,
            Err(error) => tracing::warn!(%error, "no API server, is tried again"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(CLIENT_PAUSE) => {}
        }
    };
    tokio::join!(
        monitor(setting, client.clone(), monitors, stop),
        tell(setting, client, stop)
    );
}

fn log(faults: &[String]) {
    for fault in faults {
        tracing::warn!(%fault, "object of the cluster is not scraped");
    }
}

/// The jobs of entries that were made here, and what is wrong with the others.
fn made<'a>(
    setting: &Setting,
    of_file: &[Job],
    entries: impl Iterator<Item = &'a serde_json::Value>,
) -> (Vec<Job>, Vec<String>) {
    let mut names: BTreeSet<String> = of_file.iter().map(|job| job.name.clone()).collect();
    let (mut jobs, mut faults) = (Vec::new(), Vec::new());
    for entry in entries {
        let name = entry["job_name"].as_str().unwrap_or("").to_owned();
        match setting.config.job(&setting.global, entry) {
            Ok(mut job) if names.insert(name.clone()) => {
                // Who may write objects is not who runs this.
                job.client.guard(&setting.addresses);
                jobs.push(job);
            }
            Ok(_) => faults.push(format!("{name}: the name of the job is taken")),
            Err(fault) => faults.push(format!("{name}: {fault}")),
        }
    }
    (jobs, faults)
}

/// All jobs: those of the file, of annotations, and of the objects.
fn all_jobs(setting: &Setting, of_file: &[Job], monitors: &Monitors) -> (Vec<Job>, Vec<String>) {
    let annotated = match setting.config.annotations {
        true => annotation_jobs(),
        false => Vec::new(),
    };
    let entries = annotated.iter().chain(monitors.scrape_configs.values());
    let (own, mut faults) = made(setting, of_file, entries);
    faults.extend(monitors.faults.iter().cloned());
    let mut jobs = of_file.to_vec();
    jobs.extend(own);
    (jobs, faults)
}

async fn monitor(
    setting: &Setting,
    client: Client,
    monitors: watch::Sender<Monitors>,
    stop: &CancellationToken,
) {
    let Some(config) = &setting.config.monitors else {
        stop.cancelled().await;
        drop(monitors);
        return;
    };
    let counters = Arc::clone(&setting.counters);
    operator::run(config.settings(), client, counters, monitors, stop.clone()).await;
}

async fn tell(setting: &Setting, client: Client, stop: &CancellationToken) {
    let Some(config) = &setting.config.events else {
        return;
    };
    let (sender, mut batches) = mpsc::channel(BATCHES_WAITING);
    let counters = Arc::clone(&setting.counters);
    let watching = events::run(config.settings(), client, counters, sender, stop.clone());
    let store = async {
        while let Some(batch) = batches.recv().await {
            if !store(setting, batch, stop).await {
                return;
            }
        }
    };
    tokio::join!(watching, store);
}

/// Stores a batch, however long the sink refuses. Whether to go on.
async fn store(setting: &Setting, batch: LogBatch, stop: &CancellationToken) -> bool {
    loop {
        match setting
            .sink
            .logs(setting.tenant.clone(), batch.clone())
            .await
        {
            Ok(_) => return true,
            Err(error @ SinkError::Refused { .. }) => {
                tracing::warn!(%error, "events are lost");
                return true;
            }
            Err(error) => tracing::warn!(%error, "events are not stored yet"),
        }
        tokio::select! {
            () = stop.cancelled() => return false,
            () = tokio::time::sleep(SINK_PAUSE) => {}
        }
    }
}
