//! The start of the Alertmanager, and its reload.

use std::path::Path;
use std::sync::Arc;

use obs_collector::config::Alerting;
use obs_collector::notifier::{Notifier, NotifierOptions};
use obs_storage::Disk;

use super::{Alertmanager, Kept, Loaded, Outgoing, SETTLE, load};
use crate::app::App;
use crate::clock;
use crate::config::Config;
use crate::notify::SenderOptions;
use crate::start::Telling;

/// What of a configuration is about alerts.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// Nothing where the server has no configuration.
    loaded: Option<Loaded>,
    elsewhere: Alerting,
}

/// Reads what a configuration says; `folder` is what relative paths start from.
pub(crate) async fn settings(
    config: &Config,
    text: &str,
    folder: &Path,
) -> anyhow::Result<Settings> {
    let obs = &config.obs;
    let source = (obs.alertmanager_file.as_deref(), obs.alertmanager.as_ref());
    Ok(Settings {
        loaded: Some(load::load(source, folder, programs(config)).await?),
        elsewhere: config.alerting(text, folder)?,
    })
}

fn programs(config: &Config) -> SenderOptions {
    SenderOptions {
        programs: config.obs.alertmanager_programs,
        addresses: config.obs.collector.outgoing.addresses(),
    }
}

/// Whether what a configuration says about alerts can be used: its routes, receivers, templates and
/// Alertmanagers elsewhere.
pub async fn check(config: &Config, text: &str, folder: &Path) -> anyhow::Result<()> {
    settings(config, text, folder).await.map(drop)
}

/// Starts the Alertmanager and who tells others; gives who hands them the alerts of rules.
pub(crate) async fn start(
    app: &Arc<App>,
    disk: &Arc<dyn Disk>,
    (settings, sending): (Settings, NotifierOptions),
    telling: &Telling,
) -> anyhow::Result<Outgoing> {
    let loaded = match settings.loaded {
        Some(loaded) => loaded,
        None => load::load((None, None), Path::new(""), SenderOptions::default()).await?,
    };
    let kept = open_kept(disk).await?;
    let external_url = app.external_url.clone();
    let alertmanager = Alertmanager::new(loaded, kept, external_url.clone(), clock::now());
    let external = app.external_labels.clone();
    let counters = app.counters.kubernetes();
    let notifier = Notifier::new(settings.elsewhere, external, counters, sending);
    let first = app.alertmanager.set(Arc::clone(&alertmanager)).is_ok()
        && app.notifier.set(notifier.clone()).is_ok();
    anyhow::ensure!(first, "the Alertmanager starts once");
    let drained = telling.drained.clone();
    let here = Arc::clone(&alertmanager).run(drained.clone(), SETTLE);
    telling.here.spawn(here);
    let elsewhere = notifier.clone().run(drained.clone());
    telling.elsewhere.spawn(elsewhere);
    Ok(Outgoing {
        alertmanager,
        notifier,
        external_url,
        drained,
    })
}

/// Opens the table, off the event loop.
#[expect(clippy::disallowed_methods, reason = "blocks, once, at the start")]
async fn open_kept(
    disk: &Arc<dyn Disk>,
) -> anyhow::Result<(Kept, Vec<(obs_model::Tenant, super::rows::Row)>)> {
    let disk = Arc::clone(disk);
    let salt = crate::start::random_u32();
    tokio::task::spawn_blocking(move || Kept::open(&disk, salt)).await?
}

/// Goes on with what a configuration says now. It was read whole, so nothing can fail here.
pub(crate) async fn reload(app: &App, settings: Settings) {
    if let Some(notifier) = app.notifier.get() {
        notifier.apply(settings.elsewhere);
    }
    if let (Some(alertmanager), Some(loaded)) = (app.alertmanager.get(), settings.loaded) {
        alertmanager.reload(loaded).await;
    }
}
