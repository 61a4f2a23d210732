//! Problems of the node, where the configuration wants them looked for.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use obs_collector::Sink;
use obs_collector::metrics::Counters;
use obs_collector::problems::{Problems, Setting};
use obs_model::Tenant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;

/// What a pod has that may speak to the API server.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Starts to look; `folder` is what relative paths of the configuration start from, and the last
/// argument is the name of the node, where it is known.
pub(crate) async fn start(
    (tasks, stop): (&TaskTracker, &CancellationToken),
    config: &Config,
    folder: &Path,
    (sink, counters, node): (&Sink, &Arc<Counters>, Option<&str>),
) -> anyhow::Result<()> {
    let Some(wanted) = &config.obs.collector.node_problems else {
        return Ok(());
    };
    let place = "obs.collector.node_problems";
    let problems = Problems::open(wanted, folder, node).await.context(place)?;
    let cluster = config.cluster(folder).map_err(anyhow::Error::msg)?;
    let tells = match wanted.kubernetes {
        Some(tells) => tells,
        None => {
            let in_pod = tokio::fs::try_exists(SERVICE_ACCOUNT).await;
            cluster.kubeconfig_file.is_some() || in_pod.unwrap_or(false)
        }
    };
    let setting = Setting {
        sink: sink.clone(),
        tenant: Tenant::anonymous(),
        counters: Arc::clone(counters),
        access: tells.then(|| cluster.access()),
    };
    tasks.spawn(problems.run(setting, stop.clone()));
    Ok(())
}
