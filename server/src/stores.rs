//! The three stores on the local disk.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use obs_logstore::Logs;
use obs_query::{ResultCache, Sources, TenantCache};
use obs_storage::{
    Disk, DiskError, Force, JobError, Kind, Options, Progress, RealDisk, Snapshot, Store,
};
use obs_tracestore::Spans;
use obs_tsdb::Metrics;

use crate::enforced::Visible;

/// How often, and how far apart, a data directory that is in use is tried: three seconds.
const LOCK_TRIES: usize = 16;
const LOCK_PAUSE: Duration = Duration::from_millis(200);

/// One store per signal. Requests read through [`Stores::sources`] and its kin.
#[derive(Clone, Debug)]
pub(crate) struct Stores {
    pub(crate) metrics: Arc<Store<Metrics>>,
    pub(crate) logs: Arc<Store<Logs>>,
    pub(crate) spans: Arc<Store<Spans>>,
    /// Answers of range queries, of all tenants.
    pub(crate) answers: Arc<ResultCache>,
}

/// The data directory, which this process has for itself from now on. One that was killed holds it
/// until its memory is given back, so it is waited for.
pub(crate) async fn lock(data: &Path) -> anyhow::Result<Arc<dyn Disk>> {
    let mut tries = LOCK_TRIES;
    let disk = loop {
        tries -= 1;
        match RealDisk::open(data) {
            Err(DiskError::Locked { .. }) if tries > 0 => tokio::time::sleep(LOCK_PAUSE).await,
            opened => break opened,
        }
    };
    let disk = disk.with_context(|| format!("open the folder {}", data.display()))?;
    Ok(Arc::new(disk))
}

impl Stores {
    /// Opens the stores of a data directory and replays their journals. Blocks; tells which store
    /// is how far.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        options: &Options,
        cache_bytes_max: usize,
        tell: &dyn Fn(&'static str, Progress),
    ) -> anyhow::Result<Self> {
        Ok(Self {
            metrics: open(disk, options, tell)?,
            logs: open(disk, options, tell)?,
            spans: open(disk, options, tell)?,
            answers: Arc::new(ResultCache::new(cache_bytes_max)),
        })
    }

    /// What a query reads of what is seen of a tenant.
    pub(crate) fn sources(&self, seen: &Visible) -> Sources {
        Sources {
            metrics: Some(self.metrics_of(seen)),
            logs: Some(self.logs_of(seen)),
            spans: Some(self.spans_of(seen)),
            cache: Some(TenantCache {
                cache: Arc::clone(&self.answers),
                tenant: seen.tenant().clone(),
            }),
        }
    }

    /// What is seen of a tenant's samples.
    pub(crate) fn metrics_of(&self, seen: &Visible) -> Snapshot<Metrics> {
        snapshot(&self.metrics, seen)
    }

    /// What is seen of a tenant's log records.
    pub(crate) fn logs_of(&self, seen: &Visible) -> Snapshot<Logs> {
        snapshot(&self.logs, seen)
    }

    /// What is seen of a tenant's spans.
    pub(crate) fn spans_of(&self, seen: &Visible) -> Snapshot<Spans> {
        snapshot(&self.spans, seen)
    }

    /// Checks every part after a query met damage. Blocks.
    pub(crate) fn scrub(&self) {
        scrub(&self.metrics);
        scrub(&self.logs);
        scrub(&self.spans);
    }

    /// Does everything of a kind that can be done now. Blocks.
    pub(crate) fn force(&self, what: Force) -> Result<(), JobError> {
        force(&self.metrics, what)?;
        force(&self.logs, what)?;
        force(&self.spans, what)
    }
}

fn snapshot<K: Kind>(store: &Store<K>, seen: &Visible) -> Snapshot<K> {
    let whole = store.snapshot(seen.tenant());
    whole.confined_to(Arc::clone(seen.matchers()))
}

fn open<K: Kind>(
    disk: &Arc<dyn Disk>,
    options: &Options,
    tell: &dyn Fn(&'static str, Progress),
) -> anyhow::Result<Arc<Store<K>>> {
    let store = Store::open(Arc::clone(disk), options.clone(), &|progress| {
        tracing::debug!(store = K::NAME, ?progress, "opening");
        tell(K::NAME, progress);
    })
    .with_context(|| format!("open the store of {}", K::NAME))?;
    for file in store.quarantined() {
        tracing::error!(
            store = K::NAME,
            file.path,
            file.reason,
            "damage is in quarantine"
        );
    }
    Ok(Arc::new(store))
}

/// Sets aside the parts of a store that do not pass their checksums; queries go on without them.
fn scrub<K: Kind>(store: &Store<K>) {
    match store.scrub() {
        Ok(damage) => {
            for finding in damage {
                tracing::error!(store = K::NAME, %finding, "a damaged part is in quarantine");
            }
        }
        Err(error) => tracing::error!(store = K::NAME, %error, "the parts could not be checked"),
    }
}

fn force<K: Kind>(store: &Store<K>, what: Force) -> Result<(), JobError> {
    while let Some(job) = store.forced(what) {
        store.run(job)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_still_holds_the_folder_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock(folder.path()).await.unwrap();
        let path = folder.path().to_owned();
        let ends = async {
            tokio::task::yield_now().await;
            drop(held);
        };
        let (waited, ()) = tokio::join!(lock(&path), ends);
        assert!(waited.is_ok());
    }
}
