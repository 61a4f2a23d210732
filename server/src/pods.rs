//! Who pods are: the watch of the API server that tells those who follow logs and who receive.
//!
//! Invariant: an agent watches the pods of its own node unless it is told otherwise, so that what
//! the API server has to send does not grow with the square of the cluster.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use obs_collector::enrich;
use obs_kubernetes::{Client, Counters, pods};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;

/// Pause before a client is made again.
const CLIENT_PAUSE: Duration = Duration::from_secs(5);

/// Whose pods are watched where the configuration does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All of the cluster.
    Cluster,
    /// Those of the node that this process runs on, where its name is known.
    Node(Option<String>),
}

/// Watches pods until `stop` is cancelled, where the configuration wants it; relative paths start
/// from `folder`.
pub(crate) fn watch(
    config: &Config,
    folder: &Path,
    scope: Scope,
    counters: Arc<Counters>,
    (tasks, stop): (&TaskTracker, &CancellationToken),
) -> anyhow::Result<enrich::Pods> {
    let cluster = config.cluster(folder).map_err(anyhow::Error::msg)?;
    let Some(wanted) = &cluster.pods else {
        return Ok(enrich::Pods::default());
    };
    let settings = match scope {
        Scope::Cluster => wanted.settings(None),
        Scope::Node(own) => {
            let settings = wanted.settings(own.filter(|name| !name.is_empty()));
            let known = settings.node.is_some() || wanted.all_nodes;
            known.then_some(settings).context(
                "obs.kubernetes.pods: whose pods? Set NODE_NAME (from spec.nodeName), node, or \
                 all_nodes: true",
            )?
        }
    };
    let known = pods::Pods::new(settings);
    let (watched, stop) = (known.clone(), stop.clone());
    tasks.spawn(async move {
        loop {
            match Client::new(&cluster.access()).await {
                Ok(client) => return watched.run(client, &counters, stop).await,
                Err(error) => tracing::warn!(%error, "no API server, is tried again"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(CLIENT_PAUSE) => {}
            }
        }
    });
    Ok(known.into())
}
