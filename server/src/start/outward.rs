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
    let (mut forwarder, mut shipper) = (None, None);
    if !collected.destinations.remote_writes.is_empty() {
        let opened = open_queues(folder.clone(), config, collected).await?;
        sink = sink.forwarding(opened.clone());
        forwarder = Some(opened);
    }
    if !collected.destinations.ships.is_empty() {
        let opened = open_ships(&folder, config, collected).await?;
        let bounds = (bound, config.obs.limits.limits().buffer_waiting_bytes_max);
        sink = sink.shipping(opened.start(bounds, Elsewhere::All, shipping, stop));
        shipper = Some(opened);
    }
    let outward = Outward { forwarder, shipper };
    let (sink, _) = refining(sink, config, data).await?;
    Ok((sink, inbox, outward))
}

/// The sink with what the configuration wants done to everything that comes in, and what does it,
/// which may be told to do something else.
#[expect(clippy::disallowed_methods, reason = "blocks, once, at the start")]
pub(crate) async fn refining(
    sink: Sink,
    config: &Config,
    data: &Path,
) -> anyhow::Result<(Sink, Redactor)> {
    let file = data.join("redaction.keys");
    let opened = tokio::task::spawn_blocking(move || Redactor::remembering(file));
    let redactor = opened.await?;
    redactor.take(redaction(&redactor, config)?);
    let sink = sink.redacting(redactor.clone(), Decoder::new(2));
    Ok((sink, redactor))
}

/// What the configuration wants taken out of everything.
pub(crate) fn redaction(
    redactor: &Redactor,
    config: &Config,
) -> anyhow::Result<obs_collector::redact::Next> {
    let next = redactor.next(config.obs.collector.redaction.as_ref());
    next.map_err(anyhow::Error::msg)
        .context("obs.collector.redaction")
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
) -> anyhow::Result<Forwarder> {
    let all = collected.destinations.remote_writes.clone();
    let (bounds, external) = (bounds(config), collected.external.clone());
    let open = move || Forwarder::open(&folder, bounds, random_u32(), &external, all);
    let opened = tokio::task::spawn_blocking(open).await?;
    opened.context("open the queues of remote_write")
}

/// The same for whole batches. No destination of samples can have this folder's name.
#[expect(clippy::disallowed_methods, reason = "blocks, once, at the start")]
pub(crate) async fn open_ships(
    folder: &Path,
    config: &Config,
    collected: &Collected,
) -> anyhow::Result<Shipper> {
    let all = collected.destinations.ships.clone();
    let folder = folder.join("_batches");
    let (bounds, external) = (bounds(config), collected.external.clone());
    let open = move || {
        std::fs::create_dir_all(&folder)?;
        let opened = Shipper::open(&folder, bounds, random_u32(), &external, all);
        opened.map_err(anyhow::Error::from)
    };
    let opened = tokio::task::spawn_blocking(open).await?;
    opened.context("open the queues of obs.collector.destinations")
}
