//! Taking the configuration file anew while the server runs: SIGHUP, and `POST /-/reload` where
//! `--web.enable-lifecycle` allows it.
//!
//! Invariants: all or nothing: a file with a fault anywhere changes nothing; jobs that did not change
//! go on undisturbed; what takes effect at the next start only is told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::StatusCode;
use obs_collector::config::Job;
use obs_model::Timestamp;
use obs_model::family::Family;
use obs_model::metrics::MetricKind::Gauge;
use serde_yaml_ng::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::about::About;
use crate::app::App;
use crate::ruler::Setting;
use crate::{Options, alertmanager, clock, start};

/// Requests that wait at one time.
const WAITING_MAX: usize = 8;
/// Sections that a reload takes.
const TAKEN: [&str; 5] = [
    "alerting",
    "global",
    "rule_files",
    "scrape_configs",
    "scrape_config_files",
];
/// Keys of `obs` that a reload takes.
const OBS_TAKEN: [&str; 5] = [
    "alertmanager",
    "alertmanager_file",
    "alertmanager_programs",
    "cost",
    "dashboards",
];
/// The keys of `global` that a reload does not take.
const GLOBAL_LATER: [&str; 1] = ["query_log_file"];

/// Somebody who waits for a reload.
type Ask = oneshot::Sender<Result<(), String>>;

/// How the last reload went, and how to ask for one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reload {
    shown: Arc<Mutex<Shown>>,
    ask: Option<mpsc::Sender<Ask>>,
    over_http: bool,
}

#[derive(Debug)]
struct Shown {
    good: bool,
    /// When the configuration that holds was taken; with the start where nothing came since.
    since: Option<Timestamp>,
    /// The file and its pools, where they are not those of the start.
    config: Option<(String, BTreeMap<String, String>)>,
}

impl Default for Shown {
    fn default() -> Self {
        Self {
            good: true,
            since: None,
            config: None,
        }
    }
}

/// Requests on their way to [`run`].
#[derive(Debug)]
pub(crate) struct Requests(mpsc::Receiver<Ask>);

impl Reload {
    /// A handle, and what it asks.
    pub(crate) fn new(over_http: bool) -> (Self, Requests) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let reload = Self {
            shown: Arc::default(),
            ask: Some(sender),
            over_http,
        };
        (reload, Requests(receiver))
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the last one succeeded.
    pub(crate) fn succeeded(&self) -> bool {
        self.lock().good
    }

    /// When the configuration that holds was taken, where it was not at the start.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        self.lock().since
    }

    /// The configuration file, redacted.
    pub(crate) fn config(&self, about: &About) -> String {
        let shown = self.lock();
        let config = shown.config.as_ref().map(|(config, _)| config);
        config.unwrap_or(&about.config).clone()
    }

    /// The entry of a job, redacted.
    pub(crate) fn pool(&self, about: &About, name: &str) -> Option<String> {
        let shown = self.lock();
        let pools = shown.config.as_ref().map(|(_, pools)| pools);
        pools.unwrap_or(&about.pools).get(name).cloned()
    }

    /// What is told about reloads, by Prometheus' names.
    pub(crate) fn families(&self, started: Timestamp) -> [Family; 2] {
        let (good, since) = (self.succeeded(), self.since().unwrap_or(started));
        [
            Family::new(
                "prometheus_config_last_reload_successful",
                Gauge,
                "Whether the last configuration reload attempt was successful.",
            )
            .with(f64::from(u8::from(good))),
            Family::new(
                "prometheus_config_last_reload_success_timestamp_seconds",
                Gauge,
                "Timestamp of the last successful configuration reload.",
            )
            .with(since.millis() as f64 / 1e3),
        ]
    }

    /// A new configuration holds from now on.
    pub(crate) fn took(&self) {
        let mut shown = self.lock();
        shown.good = true;
        shown.since = Some(clock::now());
    }

    /// Asks for a reload and waits for its end.
    pub(crate) async fn ask(&self) -> Result<(), String> {
        let gone = || "the server is not ready, or stops".to_owned();
        let (sender, receiver) = oneshot::channel();
        let ask = self.ask.as_ref().ok_or_else(gone)?;
        ask.try_send(sender).map_err(|_| gone())?;
        receiver.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// `/-/reload`
pub(crate) fn routes(app: &Arc<App>) -> Router {
    let route = post(over_http).put(over_http);
    Router::new()
        .route("/-/reload", route)
        .with_state(Arc::clone(app))
}

async fn over_http(State(app): State<Arc<App>>) -> Response {
    if !app.reload.over_http {
        return (StatusCode::FORBIDDEN, "Lifecycle API is not enabled.\n").into_response();
    }
    match app.reload.ask().await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(fault) => {
            let told = format!("failed to reload config: {fault}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, told).into_response()
        }
    }
}

/// Whoever takes a configuration file anew.
pub(crate) trait Reloads: Send {
    /// What tells how it went.
    fn handle(&self) -> &Reload;

    /// Takes the file; an error changes nothing.
    fn reload(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Nothing is taken any more.
    fn end(&mut self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// Who takes the file anew for a server.
#[derive(Debug)]
pub(crate) struct Reloader {
    /// What the server was started with.
    pub(crate) options: Options,
    pub(crate) app: Arc<App>,
    /// The jobs of obs' own listeners.
    pub(crate) own: Vec<Job>,
    /// The jobs that hold.
    pub(crate) jobs: watch::Sender<Vec<Job>>,
    /// The text that holds.
    pub(crate) text: String,
}

/// Takes the file anew whenever it is asked to, until the token is cancelled.
pub(crate) async fn run(mut reloader: impl Reloads, requests: Requests, stop: CancellationToken) {
    match signal(SignalKind::hangup()) {
        Ok(hangup) => listen(&mut reloader, (requests, hangup), &stop).await,
        Err(error) => {
            tracing::error!(%error, "SIGHUP is not listened for");
            stop.cancelled().await;
        }
    }
    reloader.end().await;
}

async fn listen(
    reloader: &mut impl Reloads,
    (mut requests, mut hangup): (Requests, Signal),
    stop: &CancellationToken,
) {
    loop {
        let ask = tokio::select! {
            () = stop.cancelled() => return,
            signalled = hangup.recv() => match signalled {
                Some(()) => None,
                None => return,
            },
            ask = requests.0.recv() => match ask {
                Some(ask) => Some(ask),
                None => return,
            },
        };
        let outcome = reloader
            .reload()
            .await
            .map_err(|error| format!("{error:#}"));
        match &outcome {
            Ok(()) => tracing::info!("configuration reloaded"),
            Err(error) => {
                tracing::error!(%error, "configuration not reloaded");
                reloader.handle().lock().good = false;
            }
        }
        if let Some(ask) = ask {
            // Whoever left needs no word.
            drop(ask.send(outcome));
        }
    }
}

impl Reloads for Reloader {
    fn handle(&self) -> &Reload {
        &self.app.reload
    }

    async fn reload(&mut self) -> anyhow::Result<()> {
        let options = &self.options;
        options
            .config
            .as_ref()
            .context("the server was started without a configuration file")?;
        let (config, collected, text) = start::load(options.config.as_deref()).await?;
        for section in later(&self.text, &text) {
            tracing::warn!(section, "changes take effect at the next start");
        }
        let about = About::new(options, &config, &text, None);
        let mut pools = about.pools;
        for job in &self.own {
            let own = self.app.about.pools.get(&job.name).cloned();
            pools.extend(own.map(|own| (job.name.clone(), own)));
        }
        let mut jobs = collected.jobs;
        jobs.extend(self.own.iter().cloned());
        let external = collected.external.get();
        self.app.external_labels.set(external.clone());
        if let Some(ruler) = self.app.ruler.get() {
            let known = (&external, self.app.external_url.as_str());
            let setting = Setting::new(&self.options.rules, &config, known);
            ruler.reload(&self.app, setting, collected.rules).await?;
        }
        self.jobs.send_replace(jobs);
        self.app.dashboards.provide(collected.dashboards);
        self.app.cost.provide(collected.cost);
        alertmanager::reload(&self.app, collected.alerts).await;
        *self.app.reload.lock() = Shown {
            good: true,
            since: Some(clock::now()),
            config: Some((about.config, pools)),
        };
        self.text = text;
        Ok(())
    }
}

/// What differs between two files and is not taken by a reload.
pub(crate) fn later(old: &str, new: &str) -> Vec<String> {
    let read = |text: &str| -> BTreeMap<String, Value> {
        // Both were read before; what is no mapping has no sections.
        serde_yaml_ng::from_str(text).unwrap_or_default()
    };
    let (old, new) = (read(old), read(new));
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut found = Vec::new();
    for key in keys {
        let of_others = |section: Option<&Value>| {
            let mut section = section.cloned();
            if key == "obs"
                && let Some(Value::Mapping(map)) = &mut section
            {
                map.retain(|key, _| !key.as_str().is_some_and(|key| OBS_TAKEN.contains(&key)));
            }
            section.filter(|section| section.as_mapping().is_none_or(|map| !map.is_empty()))
        };
        let (before, after) = (old.get(key), new.get(key));
        if of_others(before) == of_others(after) {
            continue;
        }
        if !TAKEN.contains(&key.as_str()) {
            found.push(key.clone());
        } else if key == "global" {
            let of = |section: Option<&Value>, key: &str| section?.get(key).cloned();
            let differs = |key: &&&str| of(before, key) != of(after, key);
            let keys = GLOBAL_LATER.iter().filter(differs);
            found.extend(keys.map(|key| format!("global.{key}")));
        }
    }
    found
}

/// The jobs of the files that `scrape_config_files` names; `known` are those of the main file.
pub(crate) async fn jobs_of_files(
    config: &crate::config::Config,
    folder: &std::path::Path,
    known: &[Job],
) -> anyhow::Result<Vec<Job>> {
    let mut names: Vec<String> = known.iter().map(|job| job.name.clone()).collect();
    names.push("obs".to_owned());
    if config.obs.node_exporter.is_some() {
        names.push("node".to_owned());
    }
    let mut paths: Vec<PathBuf> = Vec::new();
    for pattern in &config.scrape_config_files {
        let (found, faults) = obs_collector::glob::expand(&folder.join(pattern)).await;
        if let Some(fault) = faults.into_iter().next() {
            anyhow::bail!("scrape_config_files: {fault}");
        }
        paths.extend(found);
    }
    let mut all = Vec::new();
    for path in paths {
        let shown = || path.display().to_string();
        let text = tokio::fs::read_to_string(&path).await.with_context(shown)?;
        let mut jobs = config.jobs_of_file(&text, &path).with_context(shown)?;
        for job in &jobs {
            anyhow::ensure!(
                !names.contains(&job.name),
                "{}: found multiple scrape configs with job name {:?}",
                path.display(),
                job.name
            );
            names.push(job.name.clone());
        }
        all.append(&mut jobs);
    }
    let cluster = config.cluster(folder).map_err(anyhow::Error::msg)?;
    cluster.set_access(&mut all);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_the_next_start() {
        let check = |old: &str, new: &str, expect: &[&str]| {
            assert_eq!(later(old, new), expect, "{old} {new}");
        };
        check("", "scrape_configs: [{job_name: a}]", &[]);
        check("remote_write: []", "remote_write: []", &[]);
        check("remote_write: []", "{}", &["remote_write"]);
        let rules = "{rule_files: [a.yml], global: {evaluation_interval: 1s}}";
        check("", rules, &[]);
        let global = "global: {scrape_interval: 1s, external_labels: {a: b}}";
        check("global: {}", global, &[]);
        let log = "global: {query_log_file: a}";
        check("global: {}", log, &["global.query_log_file"]);
    }

    #[tokio::test]
    async fn files_of_scrape_configurations() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = async |name: &str, text: &str| {
            let path = folder.path().join(name);
            tokio::fs::write(path, text).await.expect("written");
        };
        let config = "scrape_config_files: ['more/*.yml', none.yml]";
        let config = crate::config::parse(config).expect("valid");
        let jobs = async || {
            let found = jobs_of_files(&config, folder.path(), &[]).await;
            let names = found.map(|jobs| jobs.into_iter().map(|job| job.name));
            names
                .map(Vec::from_iter)
                .map_err(|error| format!("{error:#}"))
        };
        assert_eq!(jobs().await, Ok(vec![]));
        tokio::fs::create_dir(folder.path().join("more"))
            .await
            .expect("made");
        write(
            "more/a.yml",
            "scrape_configs: [{job_name: a}, {job_name: b}]",
        )
        .await;
        assert_eq!(jobs().await, Ok(vec!["a".to_owned(), "b".to_owned()]));
        write("more/b.yml", "scrape_configs: [{job_name: b}]").await;
        let fault = jobs().await.expect_err("twice");
        assert!(
            fault.ends_with("found multiple scrape configs with job name \"b\""),
            "{fault}"
        );
        write("more/b.yml", "scrape_config: []").await;
        let fault = jobs().await.expect_err("unknown");
        assert!(
            fault.contains("b.yml") && fault.contains("scrape_config"),
            "{fault}"
        );
    }
}
