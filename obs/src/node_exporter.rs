//! `obs node-exporter`: this machine's metrics, once or over HTTP.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use obs_node_exporter::{CollectError, Options, Source, exposition, gather};
use obs_server::node_exporter::{Settings, serve};

use crate::collector_flags::{CollectorFlags, listen_address};

#[derive(Debug, Args)]
pub(crate) struct NodeExporterOptions {
    /// Address to serve the metrics on; `:9100` is every address of the machine
    #[arg(
        long,
        alias = "web.listen-address",
        value_name = "ADDR",
        value_parser = listen_address,
        default_value = "127.0.0.1:9100"
    )]
    pub(crate) listen: SocketAddr,
    /// Print the metrics once and end
    #[arg(long)]
    pub(crate) once: bool,
    /// Path under which to serve the metrics
    #[arg(
        long = "web.telemetry-path",
        value_name = "PATH",
        default_value = "/metrics"
    )]
    pub(crate) telemetry_path: String,
    /// Leave out the metrics of the exporter itself: `process_*`, `promhttp_*`
    #[arg(long = "web.disable-exporter-metrics")]
    pub(crate) disable_exporter_metrics: bool,
    /// Scrapes at one time; 0 is no bound
    #[arg(long = "web.max-requests", value_name = "N", default_value_t = 40)]
    pub(crate) requests_max: usize,
    /// Where procfs is mounted
    #[arg(long = "path.procfs", value_name = "DIR", default_value = "/proc")]
    pub(crate) procfs: PathBuf,
    /// Where sysfs is mounted
    #[arg(long = "path.sysfs", value_name = "DIR", default_value = "/sys")]
    pub(crate) sysfs: PathBuf,
    /// Where the host's root is mounted
    #[arg(long = "path.rootfs", value_name = "DIR", default_value = "/")]
    pub(crate) rootfs: PathBuf,
    /// Where udev keeps what it knows of devices
    #[arg(
        long = "path.udev.data",
        value_name = "DIR",
        default_value = "/run/udev/data"
    )]
    pub(crate) udev: PathBuf,
    /// Where cgroups are mounted [default: `fs/cgroup` below sysfs]
    #[arg(long = "path.cgroup", value_name = "DIR")]
    pub(crate) cgroup: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) collectors: CollectorFlags,
}

pub(crate) async fn run(options: &NodeExporterOptions) -> anyhow::Result<()> {
    let mut source =
        Source::new(&options.procfs, &options.sysfs, &options.rootfs).with_udev(&options.udev);
    if let Some(cgroup) = &options.cgroup {
        source = source.with_cgroup(cgroup);
    }
    let collected = Options::from_flags(options.collectors.pairs())?;
    if options.once {
        let gathered = gather(&source, &collected);
        for (collector, fault) in &gathered.faults {
            // What the machine does not have is no fault of anyone.
            if !matches!(fault, CollectError::NoData(_)) {
                writeln!(std::io::stderr(), "obs: collector {collector}: {fault}")?;
            }
        }
        return Ok(std::io::stdout().write_all(&exposition(&gathered.families))?);
    }
    anyhow::ensure!(
        options.telemetry_path.starts_with('/')
            && !options.telemetry_path.contains(['{', '}', '*']),
        "--web.telemetry-path: expected a path that begins with a slash"
    );
    let listener = tokio::net::TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("listen on {}", options.listen))?;
    writeln!(
        std::io::stderr(),
        "node exporter on http://{}{}",
        listener.local_addr()?,
        options.telemetry_path,
    )?;
    let settings = Settings {
        source,
        options: collected,
        telemetry_path: options.telemetry_path.clone(),
        requests_max: options.requests_max,
        own_metrics: !options.disable_exporter_metrics,
    };
    Box::pin(serve(listener, settings, std::future::pending())).await
}
