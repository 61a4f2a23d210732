//! `obs kube-state`: the state of Kubernetes objects over HTTP.

use std::io::{ErrorKind, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use obs_kubernetes::client::Server;
use obs_kubernetes::state::{AllowLists, CustomConfig, Settings, Shard, StateMetrics};
use obs_kubernetes::{Access, Client};
use obs_server::kube_state::{KubeStateListeners, serve, start_logging};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::arguments::address;

/// Port of the telemetry where none is given, as kube-state-metrics has it.
const TELEMETRY_PORT: u16 = 8081;

/// The flags of kube-state-metrics.
#[derive(Debug, Args)]
pub(crate) struct KubeStateOptions {
    /// Address to serve /metrics on; instead of --host and --port
    #[arg(long, value_name = "ADDR", value_parser = address, conflicts_with_all = ["host", "port"])]
    pub(crate) listen: Option<SocketAddr>,
    /// Host to serve /metrics on
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub(crate) host: IpAddr,
    /// Port to serve /metrics on
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub(crate) port: u16,
    /// Host to serve kube-state's own metrics on; that of /metrics by default
    #[arg(long, value_name = "IP")]
    pub(crate) telemetry_host: Option<IpAddr>,
    /// Port to serve kube-state's own metrics on; 8081 by default, if it is free
    #[arg(long, value_name = "PORT")]
    pub(crate) telemetry_port: Option<u16>,
    /// The kubeconfig file; without it the service account of the pod
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The address of the API server, without a kubeconfig file
    #[arg(long, value_name = "URL", conflicts_with = "kubeconfig")]
    pub(crate) apiserver: Option<String>,
    /// Resources with commas between; by default all of kube-state-metrics
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) resources: Vec<String>,
    /// Namespaces with commas between; by default all
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) namespaces: Vec<String>,
    /// Namespaces that are left out
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) namespaces_denylist: Vec<String>,
    /// Labels that become labels of metrics: pods=[app,k8s-*],nodes=[*]
    #[arg(
        long,
        value_name = "LISTS",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) metric_labels_allowlist: String,
    /// Annotations that become labels of metrics, in the same form
    #[arg(
        long,
        value_name = "LISTS",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) metric_annotations_allowlist: String,
    /// Names or patterns of the metrics that are made
    #[arg(long, value_name = "PATTERNS", value_delimiter = ',')]
    pub(crate) metric_allowlist: Vec<String>,
    /// Names or patterns of the metrics that are not made
    #[arg(long, value_name = "PATTERNS", value_delimiter = ',')]
    pub(crate) metric_denylist: Vec<String>,
    /// Names or patterns of the metrics that are made by wish only
    #[arg(long, value_name = "PATTERNS", value_delimiter = ',')]
    pub(crate) metric_opt_in_list: Vec<String>,
    /// Which of several instances this is, from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) shard: u32,
    /// How many instances share the objects
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) total_shards: u32,
    /// This pod, whose stateful set tells the shard
    #[arg(long, value_name = "NAME", requires = "pod_namespace")]
    pub(crate) pod: Option<String>,
    /// Namespace of this pod
    #[arg(long, value_name = "NAME", requires = "pod")]
    pub(crate) pod_namespace: Option<String>,
    /// The node whose pods are shown
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) node: String,
    /// Show the pods that have no node
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub(crate) track_unscheduled_pods: bool,
    /// Take lists from the API server's cache
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub(crate) use_apiserver_cache: bool,
    /// Objects of a resource that are shown at most; 0 shows all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) object_limit: usize,
    /// Metrics of custom resources: a Custom Resource State configuration
    #[arg(long, value_name = "FILE")]
    pub(crate) custom_resource_state_config_file: Option<PathBuf>,
    /// The same, on the command line
    #[arg(long, value_name = "YAML")]
    pub(crate) custom_resource_state_config: Option<String>,
    /// Show metrics of custom resources only
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub(crate) custom_resource_state_only: bool,
    /// Go on where the configuration of custom resources is not there
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub(crate) continue_without_custom_resource_state_config_file: bool,
    /// Taken for compatibility: answers are compressed whenever a client asks for it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, hide = true,
        default_missing_value = "true", default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) enable_gzip_encoding: bool,
}

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
