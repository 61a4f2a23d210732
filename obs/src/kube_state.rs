//! `obs kube-state`: the state of Kubernetes objects over HTTP.

use std::io::{ErrorKind, Write};
use std::net::SocketAddr;

use anyhow::Context;
use obs_kubernetes::client::Server;
use obs_kubernetes::state::{AllowLists, CustomConfig, Settings, Shard, StateMetrics};
use obs_kubernetes::{Access, Client};
use obs_server::kube_state::{KubeStateListeners, serve, start_logging};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::arguments::KubeStateOptions;

/// Port of the telemetry where none is given, as kube-state-metrics has it.
const TELEMETRY_PORT: u16 = 8081;

pub(crate) async fn run(options: KubeStateOptions) -> anyhow::Result<()> {
    start_logging()?;
    let state = StateMetrics::new(settings(&options)?)?;
    let client = Client::new(&access(&options)).await?;
    let listeners = bind(&options).await?;
    let mut told = format!(
        "kube-state on http://{}/metrics",
        listeners.metrics.local_addr()?
    );
    if let Some(listener) = &listeners.telemetry {
        told.push_str(&format!(
            ", its telemetry on http://{}/metrics",
            listener.local_addr()?
        ));
    }
    writeln!(std::io::stderr(), "{told}")?;
    let stop = CancellationToken::new();
    let signalled = stop.clone();
    tokio::select! {
        served = serve(state, client, listeners, stop) => served,
        signal = stopped(signalled) => signal,
    }
}

/// Cancels at SIGINT or SIGTERM and lets the serving end by itself.
async fn stopped(stop: CancellationToken) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result.context("listen for SIGINT")?,
        _ = terminate.recv() => {}
    }
    stop.cancel();
    std::future::pending().await
}

fn access(options: &KubeStateOptions) -> Access {
    match (&options.kubeconfig, &options.apiserver) {
        (Some(file), _) => Access::Kubeconfig {
            file: file.clone(),
            context: None,
        },
        (None, Some(url)) => Access::Server(Box::new(Server {
            url: url.clone(),
            ..Server::default()
        })),
        (None, None) => Access::InCluster,
    }
}

async fn bind(options: &KubeStateOptions) -> anyhow::Result<KubeStateListeners> {
    let address = SocketAddr::new(options.host, options.port);
    let address = options.listen.unwrap_or(address);
    let metrics = TcpListener::bind(address).await;
    let metrics = metrics.with_context(|| format!("listen on {address}"))?;
    let host = options.telemetry_host.unwrap_or(address.ip());
    let port = match options.telemetry_port {
        Some(port) => port,
        // Who lets one port be picked means the other, too.
        None if address.port() == 0 => 0,
        None => TELEMETRY_PORT,
    };
    let address = SocketAddr::new(host, port);
    let telemetry = match TcpListener::bind(address).await {
        Ok(listener) => Some(listener),
        Err(error) if options.telemetry_port.is_none() && error.kind() == ErrorKind::AddrInUse => {
            writeln!(
                std::io::stderr(),
                "obs: {address} is in use, own telemetry is not served (--telemetry-port)"
            )?;
            None
        }
        Err(error) => return Err(error).with_context(|| format!("listen on {address}")),
    };
    Ok(KubeStateListeners { metrics, telemetry })
}

fn settings(options: &KubeStateOptions) -> anyhow::Result<Settings> {
    let lists = |text: &str| AllowLists::parse(text);
    Ok(Settings {
        resources: trimmed(&options.resources),
        namespaces: trimmed(&options.namespaces),
        namespaces_denylist: trimmed(&options.namespaces_denylist),
        node: options.node.clone(),
        track_unscheduled_pods: options.track_unscheduled_pods,
        labels: lists(&options.metric_labels_allowlist).context("--metric-labels-allowlist")?,
        annotations: lists(&options.metric_annotations_allowlist)
            .context("--metric-annotations-allowlist")?,
        metric_allowlist: trimmed(&options.metric_allowlist),
        metric_denylist: trimmed(&options.metric_denylist),
        metric_opt_in_list: trimmed(&options.metric_opt_in_list),
        shard: Shard {
            ordinal: options.shard,
            total: options.total_shards,
        },
        own_pod: options.pod.clone().zip(options.pod_namespace.clone()),
        use_apiserver_cache: options.use_apiserver_cache,
        object_limit: options.object_limit,
        custom: custom(options)?,
        custom_only: options.custom_resource_state_only,
    })
}

fn trimmed(names: &[String]) -> Vec<String> {
    let names = names.iter().map(|name| name.trim());
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The configuration of custom resources; that on the command line goes before the file.
fn custom(options: &KubeStateOptions) -> anyhow::Result<CustomConfig> {
    if let Some(text) = &options.custom_resource_state_config {
        return CustomConfig::parse(text).context("--custom-resource-state-config");
    }
    let Some(file) = &options.custom_resource_state_config_file else {
        return Ok(CustomConfig::default());
    };
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error)
            if error.kind() == ErrorKind::NotFound
                && options.continue_without_custom_resource_state_config_file =>
        {
            return Ok(CustomConfig::default());
        }
        Err(error) => return Err(error).with_context(|| format!("read {}", file.display())),
    };
    CustomConfig::parse(&text).with_context(|| format!("{}", file.display()))
}
