//! Taking an agent's configuration anew while it runs: jobs and destinations that did not change go
//! on undisturbed, and logs are followed on from their checkpoint.
//!
//! Invariants: all or nothing: a file with a fault anywhere changes nothing; what takes effect at
//! the next start only is told.

use std::net::SocketAddr;

use anyhow::Context;
use obs_collector::config::{Destination, Job};
use obs_collector::{External, Forwarder, Redactor, Shipper, forward, ship, tail};
use serde_yaml_ng::{Mapping, Value};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{AgentOptions, own_jobs, unserved};
use crate::config::Config;
use crate::reload::{Reload, Reloads, later};
use crate::start::{follow_logs, load, redaction};

/// The logs that are followed, by the configuration that holds.
#[derive(Debug)]
pub(super) struct Following {
    setting: tail::Setting,
    stop: CancellationToken,
    running: Option<(TaskTracker, CancellationToken)>,
}

impl Following {
    /// Follows what the configuration says until `stop` is cancelled.
    pub(super) fn start(setting: tail::Setting, config: &Config, stop: CancellationToken) -> Self {
        let mut following = Self {
            setting,
            stop,
            running: None,
        };
        following.begin(config);
        following
    }

    fn begin(&mut self, config: &Config) {
        let (tasks, stop) = (TaskTracker::new(), self.stop.child_token());
        follow_logs(&tasks, &stop, config, self.setting.clone());
        tasks.close();
        self.running = Some((tasks, stop));
    }

    /// Returns when nothing is followed any more and the checkpoint is written.
    async fn end(&mut self) {
        if let Some((tasks, stop)) = self.running.take() {
            stop.cancel();
            tasks.wait().await;
        }
    }
}

/// Where everything goes.
#[derive(Debug)]
pub(super) struct Destinations {
    pub(super) shipper: Shipper,
    pub(super) forwarder: Forwarder,
}

impl Destinations {
    /// Opens what others need, off the event loop; nothing changes before they are taken.
    #[expect(clippy::disallowed_methods, reason = "blocks, once in a reload")]
    async fn next(&self, to: &Destination) -> anyhow::Result<(ship::Next, forward::Next)> {
        let (shipper, forwarder) = (self.shipper.clone(), self.forwarder.clone());
        let (ships, writes) = (to.ships.clone(), to.remote_writes.clone());
        let next = move || -> Result<_, String> {
            let ships = shipper.next(ships)?;
            Ok((ships, forwarder.next(writes)?))
        };
        let opened = tokio::task::spawn_blocking(next).await?;
        opened.map_err(anyhow::Error::msg)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "waits for queues, once in a reload"
    )]
    async fn take(&self, (ships, writes): (ship::Next, forward::Next)) -> anyhow::Result<()> {
        let (shipper, forwarder) = (self.shipper.clone(), self.forwarder.clone());
        let take = move || {
            shipper.take(ships);
            forwarder.take(writes);
        };
        tokio::task::spawn_blocking(take).await?;
        Ok(())
    }
}

/// Who takes the file anew.
#[derive(Debug)]
pub(super) struct Reloader {
    pub(super) options: AgentOptions,
    /// Where the agent itself listens, and its node exporter.
    pub(super) places: (SocketAddr, Option<SocketAddr>),
    /// The jobs that hold.
    pub(super) jobs: watch::Sender<Vec<Job>>,
    pub(super) destinations: Destinations,
    pub(super) redactor: Redactor,
    pub(super) following: Following,
    /// Put on what leaves.
    pub(super) external: External,
    /// The text that holds.
    pub(super) text: String,
    pub(super) reload: Reload,
}

impl Reloads for Reloader {
    fn handle(&self) -> &Reload {
        &self.reload
    }

    async fn reload(&mut self) -> anyhow::Result<()> {
        let path = self.options.config.as_deref();
        path.context("the agent was started without a configuration file")?;
        let (config, collected, text) = load(path).await?;
        unserved::check(&config, &collected.jobs, &collected.destinations)?;
        let name = self.options.node_name.as_deref();
        let own = own_jobs(&config, self.places, (name, &collected))?;
        let redaction = redaction(&self.redactor, &config)?;
        let destinations = self.destinations.next(&collected.destinations).await?;
        // From here on nothing fails.
        let (before, after) = (without_taken(&self.text), without_taken(&text));
        for section in later(&before, &after) {
            tracing::warn!(section, "changes take effect at the next start");
        }
        self.external.set(collected.external.get());
        self.redactor.take(redaction);
        self.destinations.take(destinations).await?;
        self.jobs.send_replace([collected.jobs, own].concat());
        if logs(&self.text) != logs(&text) {
            self.following.end().await;
            self.following.begin(&config);
        }
        self.text = text;
        self.reload.took();
        Ok(())
    }

    async fn end(&mut self) {
        self.following.end().await;
    }
}

/// The path of what is followed, in the file.
const LOGS: [&str; 3] = ["obs", "collector", "logs"];

fn read(text: &str) -> Value {
    // It was read before; what is no mapping has no sections.
    serde_yaml_ng::from_str(text).unwrap_or_default()
}

fn logs(text: &str) -> Option<Value> {
    let file = read(text);
    let found = LOGS.iter().try_fold(&file, |at, key| at.get(key));
    found.cloned()
}

/// Keys of `obs.collector` that a reload takes.
const COLLECTOR_TAKEN: [&str; 3] = ["logs", "destinations", "redaction"];

/// The file without what a reload of an agent takes besides that of a server.
fn without_taken(text: &str) -> String {
    let mut file = read(text);
    if let Some(file) = file.as_mapping_mut() {
        file.remove("remote_write");
        let [obs, collector, _] = LOGS;
        within(file, obs, |section| {
            within(section, collector, |section| {
                for key in COLLECTOR_TAKEN {
                    section.remove(key);
                }
            });
        });
    }
    serde_yaml_ng::to_string(&file).unwrap_or_default()
}

/// Changes a section, which goes when nothing is left of it.
fn within(of: &mut Mapping, key: &str, change: impl FnOnce(&mut Mapping)) {
    if let Some(section) = of.get_mut(key).and_then(Value::as_mapping_mut) {
        change(section);
        if section.is_empty() {
            of.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_followed_is_told_apart() {
        let check = |before: &str, after: &str, followed: bool, expect: &[&str]| {
            assert_eq!(logs(before) != logs(after), followed, "{before} {after}");
            let told = later(&without_taken(before), &without_taken(after));
            assert_eq!(told, expect, "{before} {after}");
        };
        let one = "obs: {collector: {logs: {pods: {}}, redaction: {}}}";
        check(one, one, false, &[]);
        let other = "obs: {collector: {logs: {pods: {path: /x}}, redaction: {}}}";
        check(one, other, true, &[]);
        check(one, "obs: {collector: {logs: {pods: {}}}}", false, &[]);
        let to = "obs: {collector: {destinations: [{loki: {url: 'http://h'}}]}}";
        check("remote_write: [{url: 'http://h'}]", to, false, &[]);
        let buffer = "obs: {collector: {buffer: {max_size: 1GiB}}}";
        check(to, buffer, false, &["obs"]);
        check("", "scrape_configs: []", false, &[]);
    }
}
