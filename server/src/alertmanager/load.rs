//! The configuration of the Alertmanager: `obs.alertmanager_file`, or `obs.alertmanager` inline.
//!
//! Invariant: what was loaded is whole: its templates are read, its senders are there.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use obs_alerting::notify::Config;
use serde_yaml_ng::Value;
use tokio::sync::Semaphore;

use super::Tell;
use crate::about::redacted;
use crate::notify::{SenderOptions, Senders};

/// Largest configuration.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// Requests of one integration of a receiver at one time.
const REQUESTS_MAX: usize = 16;
/// Without a configuration alerts are seen and silenced, and nobody is told.
const NOBODY: &str = "route:\n  receiver: nobody\nreceivers:\n- name: nobody\n";

/// A configuration and what came of it.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Arc<Config>,
    /// The text without its secrets.
    pub(crate) original: String,
    /// Who sends.
    pub(crate) tell: Arc<dyn Tell>,
    /// The text, by which it is known whether routes changed.
    source: String,
    /// By receiver, of each of its integrations: one that hangs holds up no other.
    permits: BTreeMap<String, Vec<Arc<Semaphore>>>,
}

impl Loaded {
    /// A configuration with those who send.
    pub(crate) fn new(text: &str, config: Arc<Config>, tell: Arc<dyn Tell>) -> Self {
        let permits = config.receivers.iter().map(|receiver| {
            let all = receiver.integrations.iter();
            let all = all.map(|_| Arc::new(Semaphore::new(REQUESTS_MAX)));
            (receiver.name.clone(), all.collect())
        });
        Self {
            original: shown(text),
            source: text.to_owned(),
            permits: permits.collect(),
            config,
            tell,
        }
    }

    /// Whether another one says the same, but for templates and secrets in files.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.source == other.source
    }

    /// What bounds the requests of an integration of a receiver.
    pub(super) fn permits(&self, receiver: &str, place: usize) -> Option<Arc<Semaphore>> {
        self.permits.get(receiver)?.get(place).cloned()
    }
}

/// Reads the configuration that a file of obs names; relative paths start from `folder`.
pub(crate) async fn load(
    (file, inline): (Option<&Path>, Option<&Value>),
    folder: &Path,
    options: SenderOptions,
) -> anyhow::Result<Loaded> {
    let path = file.map(|file| folder.join(file));
    let text = match (&path, inline) {
        (Some(_), Some(_)) => {
            anyhow::bail!("obs.alertmanager and obs.alertmanager_file: expected one of both")
        }
        (Some(path), None) => read(path).await?,
        (None, Some(inline)) => serde_yaml_ng::to_string(inline)?,
        (None, None) => NOBODY.to_owned(),
    };
    let shown = match &path {
        Some(path) => path.display().to_string(),
        None => "obs.alertmanager".to_owned(),
    };
    let config = Config::parse(&text).map_err(|e| anyhow::anyhow!("{shown}:{e}"))?;
    let own = path.as_deref().and_then(Path::parent).unwrap_or(folder);
    let senders = Senders::new(&config, own, &options).await;
    let senders = senders.with_context(|| shown.clone())?;
    Ok(Loaded::new(&text, Arc::new(config), Arc::new(senders)))
}

async fn read(path: &Path) -> anyhow::Result<String> {
    let shown = || path.display().to_string();
    let bytes = tokio::fs::metadata(path).await.with_context(shown)?.len();
    anyhow::ensure!(
        bytes <= FILE_BYTES_MAX,
        "{}: expected at most {FILE_BYTES_MAX} bytes, found {bytes}",
        path.display()
    );
    tokio::fs::read_to_string(path).await.with_context(shown)
}

/// Keys of receivers whose values let anybody send as us.
const SECRETS: [&str; 5] = [
    "routing_key",
    "service_key",
    "slack_api_url",
    "user_key",
    "webhook_url",
];

/// The text as the API gives it. Addresses of webhooks are secrets too, but must stay addresses.
fn shown(text: &str) -> String {
    let mut file = redacted(text);
    hide(&mut file, "");
    // What was read can be written: no map in it has a key that is not a scalar.
    serde_yaml_ng::to_string(&file).unwrap_or_default()
}

/// Hides what is secret in a value that stands below a key.
fn hide(value: &mut Value, below: &str) {
    match value {
        Value::Mapping(map) => {
            for (key, value) in map.iter_mut() {
                let key = key.as_str().unwrap_or_default();
                let secret = SECRETS.contains(&key) || (below, key) == ("slack_configs", "api_url");
                match value {
                    Value::String(text) if secret => *text = "<secret>".to_owned(),
                    Value::String(text) if (below, key) == ("webhook_configs", "url") => {
                        hide_query(text);
                    }
                    other => hide(other, key),
                }
            }
        }
        Value::Sequence(list) => list.iter_mut().for_each(|value| hide(value, below)),
        _ => {}
    }
}

/// What stands behind the path of an address is most often a token.
fn hide_query(url: &mut String) {
    if let Some(at) = url.find('?') {
        url.truncate(at);
        url.push_str("?<secret>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let text = "global:\n  smtp_auth_password: p\nroute:\n  receiver: a\nreceivers:\n\
                    - name: a\n  webhook_configs:\n  - url: http://u:p@h/x?token=t\n  \
                    slack_configs:\n  - api_url: http://h/secret\n";
        let shown = shown(text);
        assert!(
            !shown.contains("token=t") && !shown.contains(":p@"),
            "{shown}"
        );
        assert!(
            shown.contains("url: http://u:<secret>@h/x?<secret>"),
            "{shown}"
        );
        assert!(shown.contains("smtp_auth_password: <secret>"), "{shown}");
        assert!(shown.contains("api_url: <secret>"), "{shown}");
    }
}
