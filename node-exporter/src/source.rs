//! Where the kernel's files are. The only place of this room that touches files or a clock.
//!
//! A path begins with the name of its root: `proc/stat`, `sys/class/net`, `root/etc/os-release`,
//! `udev/b8:0`, `cgroup/cpu.stat`, and `file//any/where` for what the user names. Invariant: no
//! read takes more than [`READ_BYTES_MAX`] bytes or [`ENTRIES_MAX`] names, whatever the file says.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::cpu::Seconds;
use crate::error::CollectError;
use crate::mounts::{Ask, Mounts};

/// Bytes of one file. `/proc/interrupts` and `/proc/net/tcp` of large machines have a few MiB.
pub(crate) const READ_BYTES_MAX: u64 = 32 << 20;
/// Entries of one folder. `/proc` has one per process, and Linux has at most 4 Mi of those.
const ENTRIES_MAX: usize = 1 << 20;

/// The roots of the kernel's file systems; as node_exporter's `--path.*`.
#[derive(Clone, Debug)]
pub struct Source {
    files: Files,
    state: Arc<State>,
}

/// What is remembered between scrapes.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Mount points that do not answer.
    pub(crate) mounts: Arc<Mounts>,
    /// The highest seconds that were seen per CPU.
    pub(crate) cpus: Mutex<Seconds>,
}

#[derive(Clone, Debug)]
enum Files {
    Disk(Roots),
    #[cfg(test)]
    Tree(Arc<crate::tree::Tree>),
}

#[derive(Clone, Debug)]
struct Roots {
    proc: PathBuf,
    sys: PathBuf,
    rootfs: PathBuf,
    udev: PathBuf,
    cgroup: PathBuf,
}

impl Roots {
    fn resolve(&self, path: &str) -> PathBuf {
        let (root, rest) = path.split_once('/').unwrap_or((path, ""));
        let root = match root {
            "proc" => &self.proc,
            "sys" => &self.sys,
            "root" => &self.rootfs,
            "udev" => &self.udev,
            "cgroup" => &self.cgroup,
            _ => return PathBuf::from(rest),
        };
        root.join(rest)
    }
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
        let sys = sys.into();
        let roots = Roots {
            proc: proc.into(),
            cgroup: sys.join("fs/cgroup"),
            sys,
            rootfs: rootfs.into(),
            udev: PathBuf::from("/run/udev/data"),
        };
        Self::of(Files::Disk(roots))
    }

    fn of(files: Files) -> Self {
        Self {
            files,
            state: Arc::default(),
        }
    }

    #[cfg(test)]
    pub(crate) fn of_tree(tree: crate::tree::Tree) -> Self {
        Self::of(Files::Tree(Arc::new(tree)))
    }

    /// `--path.udev.data`
    #[must_use]
    pub fn with_udev(mut self, udev: impl Into<PathBuf>) -> Self {
        match &mut self.files {
            Files::Disk(roots) => roots.udev = udev.into(),
            #[cfg(test)]
            Files::Tree(_) => {}
        }
        self
    }

    /// `--path.cgroup`; without it cgroups are looked for below `/sys/fs/cgroup`.
    #[must_use]
    pub fn with_cgroup(mut self, cgroup: impl Into<PathBuf>) -> Self {
        match &mut self.files {
            Files::Disk(roots) => roots.cgroup = cgroup.into(),
            #[cfg(test)]
            Files::Tree(_) => {}
        }
        self
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// The seconds per CPU that were seen, for this scrape alone.
    pub(crate) fn cpus(&self) -> std::sync::MutexGuard<'_, Seconds> {
        // A scrape that panicked left numbers, which are as good as any.
        self.state
            .cpus
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The path as the operating system has it.
    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        match &self.files {
            Files::Disk(roots) => roots.resolve(path),
            #[cfg(test)]
            Files::Tree(_) => PathBuf::from(format!("/{path}")),
        }
    }

    /// A file.
    pub(crate) fn read(&self, path: &str) -> Result<String, CollectError> {
        let bytes = match &self.files {
            Files::Disk(roots) => disk::read(&roots.resolve(path)),
            #[cfg(test)]
            Files::Tree(tree) => tree.read(path),
        };
        bytes
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .map_err(|source| self.fault(path, source))
    }

    fn fault(&self, path: &str, source: std::io::Error) -> CollectError {
        CollectError::Read {
            path: self.resolve(path),
            source,
        }
    }

    /// A file that is no text; `None` where it cannot be read.
    pub(crate) fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        let bytes = match &self.files {
            Files::Disk(roots) => disk::read(&roots.resolve(path)),
            #[cfg(test)]
            Files::Tree(tree) => tree.read(path),
        };
        bytes.ok()
    }

    /// A file that some kernels and machines do not have.
    pub(crate) fn find(&self, path: &str) -> Result<Option<String>, CollectError> {
        match self.read(path) {
            Ok(text) => Ok(Some(text)),
            Err(fault) if fault.is_absent() => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// A file of one value, without the blanks around it; `None` where it cannot be read for
    /// whatever reason: drivers refuse attributes that do not apply with many errors.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        self.read(path).ok().map(|text| text.trim().to_owned())
    }

    /// A file of one number.
    pub(crate) fn number(&self, path: &str) -> Result<f64, CollectError> {
        let text = self.read(path)?;
        let number = text.trim().parse::<u64>();
        let number = number.map_err(|_| self.form(path, 0, "a number"))?;
        Ok(number as f64)
    }

    /// A file of one number that may be absent, unreadable or not a number.
    pub(crate) fn maybe(&self, path: &str) -> Option<f64> {
        self.text(path).and_then(|text| integer(&text))
    }

    /// A fault in a file's form.
    pub(crate) fn form(&self, path: &str, line: usize, expected: &'static str) -> CollectError {
        CollectError::form(&self.resolve(path).to_string_lossy(), line, expected)
    }

    /// Names of the entries of a folder, sorted.
    pub(crate) fn entries(&self, folder: &str) -> Result<Vec<String>, CollectError> {
        let names = match &self.files {
            Files::Disk(roots) => disk::entries(&roots.resolve(folder), ENTRIES_MAX),
            #[cfg(test)]
            Files::Tree(tree) => tree.entries(folder),
        };
        let mut names = names.map_err(|source| self.fault(folder, source))?;
        names.sort();
        Ok(names)
    }

    /// What follows `prefix` in the names of a folder that go on with a digit, sorted; empty
    /// where the folder does not exist.
    pub(crate) fn numbered(&self, folder: &str, prefix: &str) -> Vec<String> {
        let names = self.entries(folder).unwrap_or_default();
        let rests = names.iter().filter_map(|name| name.strip_prefix(prefix));
        rests
            .filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
            .map(str::to_owned)
            .collect()
    }

    /// Whether the path leads to a folder.
    pub(crate) fn is_folder(&self, path: &str) -> bool {
        match &self.files {
            Files::Disk(roots) => roots.resolve(path).is_dir(),
            #[cfg(test)]
            Files::Tree(tree) => tree.is_folder(path),
        }
    }

    /// Whether the path leads anywhere.
    pub(crate) fn exists(&self, path: &str) -> bool {
        match &self.files {
            Files::Disk(roots) => roots.resolve(path).exists(),
            #[cfg(test)]
            Files::Tree(tree) => tree.exists(path),
        }
    }

    /// How mounts are asked for their space.
    pub(crate) fn ask_mount(&self) -> Ask {
        match &self.files {
            Files::Disk(_) => crate::mounts::statfs,
            #[cfg(test)]
            Files::Tree(_) => crate::tree::ask_mount,
        }
    }

    /// The path behind all links.
    pub(crate) fn real(&self, path: &str) -> Option<String> {
        match &self.files {
            Files::Disk(roots) => {
                let real = roots.resolve(path).canonicalize().ok()?;
                Some(real.to_string_lossy().into_owned())
            }
            #[cfg(test)]
            Files::Tree(tree) => tree.real(path),
        }
    }

    /// When a file was changed, in seconds since the epoch.
    pub(crate) fn changed(&self, path: &str) -> Option<f64> {
        let time = match &self.files {
            Files::Disk(roots) => roots.resolve(path).metadata().ok()?.modified().ok()?,
            #[cfg(test)]
            Files::Tree(_) => UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        };
        Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs_f64())
    }

    /// Where a mount point of the host is seen from here.
    pub(crate) fn rootfs(&self, mount_point: &str) -> PathBuf {
        self.resolve(&format!("root/{}", mount_point.trim_start_matches('/')))
    }

    /// The mount point as the host names it.
    pub(crate) fn host_path<'a>(&self, mount_point: &'a str) -> &'a str {
        let root = self.resolve("root");
        let root = root.to_string_lossy();
        let root = root.trim_end_matches('/');
        match mount_point.strip_prefix(root) {
            _ if root.is_empty() || root == "/root" && cfg!(test) => mount_point,
            Some("") => "/",
            Some(path) if path.starts_with('/') => path,
            Some(_) | None => mount_point,
        }
    }
}

/// An integer as the kernel writes it: decimal, or hexadecimal behind `0x`.
pub(crate) fn integer(text: &str) -> Option<f64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let value = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse::<u64>(),
    };
    let value = value.ok()? as f64;
    Some(if negative { -value } else { value })
}

mod disk {
    use std::fs::File;
    use std::io::{Error, Read, Result};
    use std::path::Path;

    use super::READ_BYTES_MAX;

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the kernel's files"
    )]
    pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut file = File::open(path)?.take(READ_BYTES_MAX + 1);
        file.read_to_end(&mut bytes)?;
        if bytes.len() as u64 > READ_BYTES_MAX {
            return Err(Error::other("the file is larger than 32 MiB"));
        }
        Ok(bytes)
    }

    pub(super) fn entries(folder: &Path, count_max: usize) -> Result<Vec<String>> {
        let entries = std::fs::read_dir(folder)?.take(count_max);
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.collect())
    }
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
