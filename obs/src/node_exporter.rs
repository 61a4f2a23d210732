//! `obs node-exporter`: this machine's metrics, once or over HTTP.

use std::io::Write;
use std::sync::Arc;

use anyhow::Context;
use obs_node_exporter::{Options, Source, exposition, gather};

use crate::arguments::NodeExporterOptions;

pub(crate) async fn run(options: &NodeExporterOptions) -> anyhow::Result<()> {
    let source = Arc::new(Source::new(
        &options.procfs,
        &options.sysfs,
        &options.rootfs,
    ));
    let what = Arc::new(Options::default());
    if options.once {
        let gathered = gather(&source, &what);
        for (collector, fault) in &gathered.faults {
            writeln!(std::io::stderr(), "obs: collector {collector}: {fault}")?;
        }
        return Ok(std::io::stdout().write_all(&exposition(&gathered))?);
    }
    let listener = tokio::net::TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("listen on {}", options.listen))?;
    writeln!(
        std::io::stderr(),
        "node exporter on http://{}/metrics",
        listener.local_addr()?
    )?;
    obs_server::node_exporter::serve(listener, source, what, std::future::pending()).await
}
