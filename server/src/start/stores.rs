//! Opening what is kept on disk, off the event loop.

use std::sync::Arc;

use anyhow::Context;
use obs_collector::Inbox;
use obs_model::duration;
use obs_storage::{Disk, Retention};

use crate::app::App;
use crate::config::{Config, RETENTION_DEFAULT};
use crate::dashboards::Dashboards;
use crate::ruler::Kept;
use crate::sampling::Sampling;
use crate::stores::Stores;
use crate::upkeep::Upkeep;
use crate::write::Writers;
use crate::{Options, clock};

/// Opens the stores off the event loop; requests are answered "starting" meanwhile.
#[expect(
    clippy::disallowed_methods,
    reason = "replay blocks, once, at the start"
)]
pub(super) async fn open_stores(
    options: &Options,
    config: &Config,
    app: &Arc<App>,
    (disk, inbox): (Arc<dyn Disk>, Inbox),
) -> anyhow::Result<(Writers, Upkeep)> {
    let storage = &config.obs.storage;
    let mut settings = obs_storage::Options {
        journal_salt: random_u32(),
        ..obs_storage::Options::default()
    };
    settings.retention = Retention {
        age: app.rules.retention,
        bytes: storage.retention_bytes,
    };
    settings.tiers = storage.tiers.tiers();
    if let Some(bytes) = storage.flush_bytes {
        settings.flush_bytes = bytes;
    }
    if let Some(bytes) = storage.memory_bytes {
        settings.memory_bytes_max = bytes;
    }
    if let Some(age) = storage.flush_age {
        settings.flush_age = age;
    }
    let retention_rules = storage.rules(app.rules.retention);
    let retention_rules = retention_rules.map_err(anyhow::Error::msg)?;
    let stream_rules = config.obs.logs.rules(app.rules.retention);
    let stream_rules = stream_rules.map_err(anyhow::Error::msg)?;
    tracing::info!(
        data = %options.data.display(),
        retention = app.rules.retention.map_or_else(|| "for ever".to_owned(), duration::format),
        "opening the stores"
    );
    let told = Arc::clone(app);
    let cache = app.rules.limits.query_cache_bytes_max;
    let opening = tracing::info_span!("open the stores");
    let open = move || {
        let _open = opening.entered();
        Stores::open(&disk, &settings, cache, &|store, progress| {
            told.opening.note(store, progress);
        })
    };
    let stores = tokio::task::spawn_blocking(open).await??;
    stores
        .metrics
        .set_retention_rules(&retention_rules, clock::now())
        .context("obs.storage.retention_rules")?;
    stores
        .logs
        .set_retention_rules(&stream_rules, clock::now())
        .context("obs.logs.retention_rules")?;
    let writers = Writers::start(&stores, inbox, &app.rules)?;
    let upkeep = Upkeep::start(&stores)?;
    let first =
        app.writes.set(Arc::clone(&writers.stats)).is_ok() && app.stores.set(stores).is_ok();
    anyhow::ensure!(first, "the stores are opened once");
    Ok((writers, upkeep))
}

/// The stores, which are open.
pub(super) fn stores_of(app: &App) -> anyhow::Result<&Stores> {
    app.stores.get().context("the stores are open")
}

/// Opens the queue of spans that wait to be sampled, off the event loop.
#[expect(clippy::disallowed_methods, reason = "blocks, once, at the start")]
pub(super) async fn open_sampling(
    config: &Config,
    disk: &Arc<dyn Disk>,
) -> anyhow::Result<Arc<Sampling>> {
    let (setting, disk) = (config.obs.traces.sampling(), Arc::clone(disk));
    let open = move || Sampling::open(&disk, setting, random_u32());
    Ok(Arc::new(tokio::task::spawn_blocking(open).await??))
}

/// Opens the states of alerts, off the event loop.
#[expect(clippy::disallowed_methods, reason = "blocks, once, at the start")]
pub(super) async fn open_kept(disk: &Arc<dyn Disk>) -> anyhow::Result<Kept> {
    let disk = Arc::clone(disk);
    tokio::task::spawn_blocking(move || Kept::open(&disk, random_u32())).await?
}

/// Opens the dashboards that were saved, off the event loop.
#[expect(clippy::disallowed_methods, reason = "blocks, once, at the start")]
pub(super) async fn open_dashboards(disk: &Arc<dyn Disk>) -> anyhow::Result<Arc<Dashboards>> {
    let disk = Arc::clone(disk);
    let opened = tokio::task::spawn_blocking(move || Dashboards::open(&disk, random_u32())).await?;
    opened.map(Arc::new)
}

/// How long data is kept: by the flag, the file, or as Prometheus does; `None` for ever.
pub(super) fn retention(options: &Options, config: &Config) -> Option<i64> {
    let told = options.retention_nanos.or(config.obs.storage.retention);
    Some(told.unwrap_or(RETENTION_DEFAULT)).filter(|nanos| *nanos > 0)
}

/// Hard to guess: the hasher of the standard library is seeded by the operating system.
pub(crate) fn random_u32() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(clock::now().nanos());
    (random >> 32) as u32
}
