//! `obs node-exporter`: this machine's metrics, once or over HTTP.

use std::io::Write;

use anyhow::Context;
use obs_node_exporter::{CollectError, Options, Source, exposition, gather};
use obs_server::node_exporter::{Settings, serve};

use crate::arguments::NodeExporterOptions;

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
    serve(listener, settings, std::future::pending()).await
}
