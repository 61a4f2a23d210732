//! What is sent to other servers, and the sink that feeds it. Queues are opened before anything is
//! received, so that nothing that is acknowledged misses them.

use std::path::{Path, PathBuf};

use anyhow::Context;
use obs_collector::forward::{Bounds, QUEUE_BYTES_DEFAULT};
use obs_collector::{Decoder, Elsewhere, Forwarder, Inbox, Redactor, Shipper, Sink};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Collected;
use super::stores::random_u32;
use crate::config::Config;

/// What sends to other servers.
pub(super) struct Outward {
    pub(super) forwarder: Option<Forwarder>,
    pub(super) shipper: Option<Shipper>,
}

/// The sink of a server: to its stores, and to other servers where there are some.
pub(super) async fn open_sink(
    data: &Path,
    config: &Config,
    collected: &Collected,
    bound: usize,
    (shipping, stop): (&TaskTracker, &CancellationToken),
) -> anyhow::Result<(Sink, Inbox, Outward)> {
    let (mut sink, inbox) = Sink::channel(bound);
    let folder = buffer_folder(data, "forward", collected);
    let forwarder = open_queues(folder.clone(), config, collected).await?;
    if let Some(forwarder) = &forwarder {
        sink = sink.forwarding(forwarder.clone());
    }
    let shipper = open_ships(&folder, config, collected).await?;
    if let Some(shipper) = &shipper {
        let bounds = (bound, config.obs.limits.limits().buffer_waiting_bytes_max);
        sink = sink.shipping(shipper.start(bounds, Elsewhere::All, shipping, stop));
    }
    let outward = Outward { forwarder, shipper };
    Ok((refining(sink, config)?, inbox, outward))
}

/// The sink with what the configuration wants done to everything that comes in.
pub(crate) fn refining(sink: Sink, config: &Config) -> anyhow::Result<Sink> {
    let Some(redaction) = &config.obs.collector.redaction else {
        return Ok(sink);
    };
    let redactor = Redactor::new(redaction).map_err(anyhow::Error::msg);
    let redactor = redactor.context("obs.collector.redaction")?;
    Ok(sink.redacting(redactor, Decoder::new(2)))
}

/// Where what waits to be sent is.
pub(crate) fn buffer_folder(data: &Path, name: &str, collected: &Collected) -> PathBuf {
    collected.buffer.clone().unwrap_or_else(|| data.join(name))
}

pub(super) fn bounds(config: &Config) -> Bounds {
    let buffer = &config.obs.collector.buffer;
    Bounds {
        bytes_max: buffer.max_size.map_or(QUEUE_BYTES_DEFAULT, |size| size.0),
        when_full: buffer.when_full,
    }
}

/// Opens the queues of what is forwarded, off the event loop.
#[expect(clippy::disallowed_methods, reason = "blocks, once, at the start")]
pub(crate) async fn open_queues(
    folder: PathBuf,
    config: &Config,
    collected: &Collected,
) -> anyhow::Result<Option<Forwarder>> {
    let all = collected.destinations.remote_writes.clone();
    if all.is_empty() {
        return Ok(None);
    }
    let (bounds, external) = (bounds(config), collected.external.clone());
    let open = move || Forwarder::open(&folder, bounds, random_u32(), &external, all);
    let opened = tokio::task::spawn_blocking(open).await?;
    opened.context("open the queues of remote_write").map(Some)
}

/// The same for whole batches. No destination of samples can have this folder's name.
#[expect(clippy::disallowed_methods, reason = "blocks, once, at the start")]
pub(crate) async fn open_ships(
    folder: &Path,
    config: &Config,
    collected: &Collected,
) -> anyhow::Result<Option<Shipper>> {
    let all = collected.destinations.ships.clone();
    if all.is_empty() {
        return Ok(None);
    }
    let folder = folder.join("_batches");
    let (bounds, external) = (bounds(config), collected.external.clone());
    let open = move || {
        std::fs::create_dir_all(&folder)?;
        let opened = Shipper::open(&folder, bounds, random_u32(), &external, all);
        opened.map_err(anyhow::Error::from)
    };
    let opened = tokio::task::spawn_blocking(open).await?;
    opened
        .context("open the queues of obs.collector.destinations")
        .map(Some)
}
