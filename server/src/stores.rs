//! The three stores on the local disk.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use obs_logstore::Logs;
use obs_model::Tenant;
use obs_query::Sources;
use obs_storage::{Force, JobError, Kind, Options, RealDisk, Store};
use obs_tracestore::Spans;
use obs_tsdb::Metrics;

/// One store per signal.
#[derive(Clone, Debug)]
pub(crate) struct Stores {
    pub(crate) metrics: Arc<Store<Metrics>>,
    pub(crate) logs: Arc<Store<Logs>>,
    pub(crate) spans: Arc<Store<Spans>>,
}

impl Stores {
    /// Opens the stores below `data` and replays their journals. Blocks.
    pub(crate) fn open(data: &Path, options: &Options) -> anyhow::Result<Self> {
        Ok(Self {
            metrics: open(data, options)?,
            logs: open(data, options)?,
            spans: open(data, options)?,
        })
    }

    /// What a query of a tenant reads.
    pub(crate) fn sources(&self, tenant: &Tenant) -> Sources {
        Sources {
            metrics: Some(self.metrics.snapshot(tenant)),
            logs: Some(self.logs.snapshot(tenant)),
            spans: Some(self.spans.snapshot(tenant)),
        }
    }

    /// Does everything of a kind that can be done now. Blocks.
    pub(crate) fn force(&self, what: Force) -> Result<(), JobError> {
        force(&self.metrics, what)?;
        force(&self.logs, what)?;
        force(&self.spans, what)
    }
}

fn open<K: Kind>(data: &Path, options: &Options) -> anyhow::Result<Arc<Store<K>>> {
    let folder = data.join(K::NAME);
    let disk =
        RealDisk::open(&folder).with_context(|| format!("open the folder {}", folder.display()))?;
    let store = Store::open(Arc::new(disk), options.clone(), &|progress| {
        tracing::info!(store = K::NAME, ?progress, "replaying the journal");
    })
    .with_context(|| format!("open the {} store in {}", K::NAME, folder.display()))?;
    for file in store.quarantined() {
        tracing::error!(store = K::NAME, ?file, "corruption is in quarantine");
    }
    Ok(Arc::new(store))
}

fn force<K: Kind>(store: &Store<K>, what: Force) -> Result<(), JobError> {
    while let Some(job) = store.forced(what) {
        store.run(job)?;
    }
    Ok(())
}
