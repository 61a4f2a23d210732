//! A data directory seen from outside, for `obs doctor`.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use obs_logstore::Logs;
use obs_storage::{Disk, DiskError, Inspection, Kind, RealDisk, inspect};
use obs_tracestore::Spans;
use obs_tsdb::Metrics;

/// What can be seen.
#[derive(Debug)]
pub enum Looked {
    /// The stores by their names.
    Stores(Vec<(&'static str, Inspection)>),
    /// A server has the folder open.
    InUse,
}

/// Looks a data directory that is there through; nothing is changed. `deep` reads every byte of
/// every part. Blocks.
pub fn look_at(data: &Path, deep: bool) -> anyhow::Result<Looked> {
    let disk = match RealDisk::open(data) {
        Ok(disk) => disk,
        Err(DiskError::Locked { .. }) => return Ok(Looked::InUse),
        Err(error) => return Err(error).with_context(|| format!("open {}", data.display())),
    };
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let mut found = Vec::new();
    for name in [Metrics::NAME, Logs::NAME, Spans::NAME] {
        let store = inspect(&disk, name, deep).with_context(|| format!("read {name}"))?;
        found.push((name, store));
    }
    Ok(Looked::Stores(found))
}
