//! Where the kernel's files are. The only place of this room that touches files or a clock.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::error::CollectError;

/// The roots of the kernel's file systems; as node_exporter's `--path.*`.
#[derive(Clone, Debug)]
pub struct Source {
    proc: PathBuf,
    sys: PathBuf,
    rootfs: PathBuf,
}

impl Default for Source {
    fn default() -> Self {
        Self::new("/proc", "/sys", "/")
    }
}

impl Source {
    /// `--path.procfs`, `--path.sysfs`, `--path.rootfs`
    pub fn new(
        proc: impl Into<PathBuf>,
        sys: impl Into<PathBuf>,
        rootfs: impl Into<PathBuf>,
    ) -> Self {
        Self {
            proc: proc.into(),
            sys: sys.into(),
            rootfs: rootfs.into(),
        }
    }

    /// A file below `/proc`.
    pub(crate) fn proc(&self, file: &str) -> Result<String, CollectError> {
        read(&self.proc.join(file))
    }

    /// A file below `/sys`.
    pub(crate) fn sys(&self, file: &str) -> Result<String, CollectError> {
        read(&self.sys.join(file))
    }

    /// A file below `/proc` that some kernels do not have.
    pub(crate) fn proc_if_present(&self, file: &str) -> Result<Option<String>, CollectError> {
        match self.proc(file) {
            Ok(text) => Ok(Some(text)),
            Err(CollectError::Read { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Names of the entries of a folder below `/sys`, sorted; empty where it does not exist.
    pub(crate) fn sys_entries(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.sys.join(folder)) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    /// Where a mount point of the host is seen from here.
    pub(crate) fn rootfs(&self, mount_point: &str) -> PathBuf {
        self.rootfs.join(mount_point.trim_start_matches('/'))
    }

    /// The mount point as the host names it.
    pub(crate) fn host_path<'a>(&self, mount_point: &'a str) -> Option<&'a str> {
        let root = self.rootfs.to_str()?.trim_end_matches('/');
        match mount_point.strip_prefix(root)? {
            "" => Some("/"),
            path if path.starts_with('/') => Some(path),
            _ => None,
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the kernel's files"
)]
fn read(path: &Path) -> Result<String, CollectError> {
    std::fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .map_err(|source| CollectError::Read {
            path: path.to_owned(),
            source,
        })
}

/// How long something took.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the clock"
    )]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

/// Time since the epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock"
)]
pub(crate) fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
