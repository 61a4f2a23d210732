//! Taking an agent's configuration anew while it runs: jobs that did not change go on undisturbed,
//! and logs are followed on from their checkpoint.
//!
//! Invariants: all or nothing: a file with a fault anywhere changes nothing; what takes effect at
//! the next start only is told.

use anyhow::Context;
use obs_collector::config::Job;
use obs_collector::{External, tail};
use serde_yaml_ng::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{AgentOptions, unserved};
use crate::config::Config;
use crate::reload::{Reload, Reloads, later};
use crate::start::{follow_logs, load};

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

/// Who takes the file anew.
#[derive(Debug)]
pub(super) struct Reloader {
    pub(super) options: AgentOptions,
    /// The jobs of the agent's own listeners.
    pub(super) own: Vec<Job>,
    /// The jobs that hold.
    pub(super) jobs: watch::Sender<Vec<Job>>,
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
        let (before, after) = (without_logs(&self.text), without_logs(&text));
        for section in later(&before, &after) {
            tracing::warn!(section, "changes take effect at the next start");
        }
        let mut jobs = collected.jobs;
        jobs.extend(self.own.iter().cloned());
        self.jobs.send_replace(jobs);
        self.external.set(collected.external.get());
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

/// The file without what is followed.
fn without_logs(text: &str) -> String {
    let mut file = read(text);
    let [obs, collector, logs] = LOGS;
    let section = file.get_mut(obs).and_then(|obs| obs.get_mut(collector));
    if let Some(section) = section.and_then(Value::as_mapping_mut) {
        section.remove(logs);
    }
    serde_yaml_ng::to_string(&file).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_followed_is_told_apart() {
        let check = |before: &str, after: &str, followed: bool, expect: &[&str]| {
            assert_eq!(logs(before) != logs(after), followed, "{before} {after}");
            let told = later(&without_logs(before), &without_logs(after));
            assert_eq!(told, expect, "{before} {after}");
        };
        let one = "obs: {collector: {logs: {pods: {}}, redaction: {}}}";
        check(one, one, false, &[]);
        let other = "obs: {collector: {logs: {pods: {path: /x}}, redaction: {}}}";
        check(one, other, true, &[]);
        check(one, "obs: {collector: {logs: {pods: {}}}}", false, &["obs"]);
        check("", "scrape_configs: []", false, &[]);
    }
}
