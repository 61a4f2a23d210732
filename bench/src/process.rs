//! A child process and what the kernel says of it.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context;

/// The kernel's unit in `/proc/PID/stat`: 100 per second on every Linux architecture in use.
const TICKS_PER_SECOND: f64 = 100.0;

/// A child that ends with its handle.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts a program; what it says goes to a file.
    pub(crate) fn start(binary: &Path, arguments: &[String], log: &Path) -> anyhow::Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        let child = Command::new(binary)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", binary.display()))?;
        Ok(Self { child })
    }

    /// Seconds of CPU, user and system, since it started.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        cpu_seconds(&stat).with_context(|| format!("expected times in {path}"))
    }

    /// Resident bytes: now, and at most since it started.
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<(u64, u64)> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let now = kibibytes(&status, "VmRSS:").context("VmRSS")?;
        let peak = kibibytes(&status, "VmHWM:").context("VmHWM")?;
        Ok((now * 1024, peak * 1024))
    }

    /// The status, when it ended by itself.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<String>> {
        Ok(self.child.try_wait()?.map(|status| status.to_string()))
    }

    /// Asks it to end and waits until it did.
    pub(crate) fn terminate(mut self) -> anyhow::Result<()> {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }

    /// Ends it at once, as a crash does.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Either fails only when the child is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    // The command's name stands in parentheses and may hold anything; fields follow the last one.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn kibibytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Bytes of the files below a folder for which `of` holds.
pub(crate) fn file_bytes(folder: &Path, of: &dyn Fn(&Path) -> bool) -> anyhow::Result<u64> {
    let mut sum = 0;
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        // A file may go while the folder is read: background merges do that.
        let Ok(about) = path.symlink_metadata() else {
            continue;
        };
        if about.is_dir() {
            sum += file_bytes(&path, of)?;
        } else if about.is_file() && of(&path) {
            sum += about.len();
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says() {
        let stat = "7 (a) b) S 1 1 1 0 -1 0 0 0 0 0 150 50 0 0 20 0 9 0 1000 4096000 25 0";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds(""), None);
        let status = "Name:\tx\nVmHWM:\t   2048 kB\nVmRSS:\t     12 kB\n";
        assert_eq!(kibibytes(status, "VmHWM:"), Some(2048));
        assert_eq!(kibibytes(status, "VmSwap:"), None);
    }

    #[test]
    fn bytes_of_files_are_added_through_folders() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("a/b");
        fs::create_dir_all(&inner).expect("folders");
        for (name, bytes) in [("x.journal", 10), ("y.part", 5)] {
            let text = vec![b'.'; bytes];
            std::io::Write::write_all(&mut File::create(inner.join(name)).expect("file"), &text)
                .expect("written");
        }
        let journal = |p: &Path| p.extension().is_some_and(|e| e == "journal");
        assert_eq!(file_bytes(folder.path(), &|_| true).expect("sum"), 15);
        assert_eq!(file_bytes(folder.path(), &journal).expect("sum"), 10);
    }
}
