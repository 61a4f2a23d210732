//! A data directory seen from outside, for `obs doctor`.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
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

/// Looks a data directory that is there through; nothing is changed, and no lock is made where there
/// is none. `deep` reads every byte of every part. Blocks.
pub fn look_at(data: &Path, deep: bool) -> anyhow::Result<Looked> {
    ensure!(
        data.join("lock").is_file(),
        "{} is no data directory: it has no file `lock`, which each server and each restore makes; \
         make an empty one to have a copy looked at",
        data.display()
    );
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_no_data_directory_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let fault = look_at(dir.path(), false).unwrap_err().to_string();
        assert!(fault.contains("no file `lock`"), "{fault}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(look_at(&dir.path().join("none"), false).is_err());
        assert!(!dir.path().join("none").exists());
    }
}
