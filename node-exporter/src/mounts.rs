//! `statfs(2)` on mounts that may never answer: a dead NFS server holds the caller for ever.
//!
//! Invariant: the caller waits at most the timeout per mount that does not answer, and only once:
//! a mount that did not answer is not asked again until the thread that asked it comes back. So
//! there is at most one waiting thread per stuck mount.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Which mounts do not answer.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    stuck: Mutex<HashSet<PathBuf>>,
}

/// Space and files of a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Space {
    pub(crate) size: f64,
    pub(crate) free: f64,
    pub(crate) available: f64,
    pub(crate) files: f64,
    pub(crate) files_free: f64,
}

/// What asking a mount gave.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Space(Space),
    Failed(String),
    Stuck,
}

/// Asks one mount.
pub(crate) type Ask = fn(&Path) -> Result<Space, String>;

impl Mounts {
    fn stuck(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks all mounts; the answers are in the order of the paths.
    pub(crate) fn ask(
        self: &Arc<Self>,
        paths: &[PathBuf],
        timeout: Duration,
        ask: Ask,
    ) -> Vec<Answer> {
        let mut answers = vec![Answer::Stuck; paths.len()];
        let known = self.stuck().clone();
        let mut rest: Vec<usize> = (0..paths.len())
            .filter(|&at| !known.contains(&paths[at]))
            .collect();
        while !rest.is_empty() {
            let batch: Vec<PathBuf> = rest.iter().map(|&at| paths[at].clone()).collect();
            let Some(receiver) = self.worker(batch, ask) else {
                for at in rest {
                    answers[at] = Answer::Failed("cannot start a thread".to_owned());
                }
                return answers;
            };
            let mut answered = 0;
            for &at in &rest {
                let Some(answer) = self.wait(&receiver, &paths[at], timeout) else {
                    break;
                };
                answers[at] = answer;
                answered += 1;
            }
            // The mount after the last that answered is stuck, and the worker with it.
            rest.drain(..rest.len().min(answered + 1));
        }
        answers
    }

    fn wait(&self, receiver: &Receiver<Answer>, path: &Path, timeout: Duration) -> Option<Answer> {
        if let Ok(answer) = receiver.recv_timeout(timeout) {
            return Some(answer);
        }
        // The worker sends under this lock: what it has not sent by now it takes out again later.
        let mut stuck = self.stuck();
        if let Ok(answer) = receiver.try_recv() {
            return Some(answer);
        }
        stuck.insert(path.to_owned());
        None
    }

    /// A thread, for a system call may never return; bounded by the number of mounts.
    fn worker(self: &Arc<Self>, paths: Vec<PathBuf>, ask: Ask) -> Option<Receiver<Answer>> {
        let (sender, receiver) = channel();
        let mounts = Arc::clone(self);
        std::thread::Builder::new()
            .name("statfs".to_owned())
            .spawn(move || mounts.work(&paths, &sender, ask))
            .ok()?;
        Some(receiver)
    }

    fn work(&self, paths: &[PathBuf], sender: &Sender<Answer>, ask: Ask) {
        for path in paths {
            let answer = match ask(path) {
                Ok(space) => Answer::Space(space),
                Err(reason) => Answer::Failed(reason),
            };
            let mut stuck = self.stuck();
            stuck.remove(path);
            if sender.send(answer).is_err() {
                // The scrape gave up on this worker and has started another.
                return;
            }
        }
    }
}

/// `statfs(2)`.
pub(crate) fn statfs(path: &Path) -> Result<Space, String> {
    let stat = rustix::fs::statfs(path).map_err(|errno| reason(errno.into()))?;
    let bytes = |blocks: u64| blocks as f64 * stat.f_bsize as f64;
    Ok(Space {
        size: bytes(stat.f_blocks),
        free: bytes(stat.f_bfree),
        available: bytes(stat.f_bavail),
        files: stat.f_files as f64,
        files_free: stat.f_ffree as f64,
    })
}

/// The system's words for an error as node_exporter has them: `permission denied`.
fn reason(error: std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, LazyLock};

    use super::*;

    static GATE: LazyLock<(Mutex<bool>, Condvar)> = LazyLock::new(Default::default);

    fn open_gate(open: bool) {
        *GATE.0.lock().unwrap() = open;
        GATE.1.notify_all();
    }

    /// `/stuck` does not answer while the gate is closed.
    fn ask(path: &Path) -> Result<Space, String> {
        if path == Path::new("/stuck") {
            let open = GATE.0.lock().unwrap();
            drop(GATE.1.wait_while(open, |open| !*open).unwrap());
        }
        if path == Path::new("/broken") {
            return Err("input/output error".to_owned());
        }
        Ok(Space::default())
    }

    #[test]
    fn a_stuck_mount_is_waited_for_once_and_comes_back() {
        let paths: Vec<PathBuf> = ["/a", "/stuck", "/broken", "/b"].map(PathBuf::from).into();
        let good = Answer::Space(Space::default());
        let broken = Answer::Failed("input/output error".to_owned());
        let while_stuck = [good.clone(), Answer::Stuck, broken.clone(), good.clone()];
        // The others answer at once, but a busy machine takes its time.
        let mut times = [20, 200, 2_000, 20_000].into_iter();
        let mounts = times.find_map(|millis| {
            let mounts = Arc::new(Mounts::default());
            let answers = mounts.ask(&paths, Duration::from_millis(millis), ask);
            (answers == while_stuck).then_some(mounts)
        });
        let mounts = mounts.expect("only one is stuck");
        // Not asked again: with a timeout that never ends this returns at once.
        assert_eq!(mounts.ask(&paths, Duration::MAX, ask), while_stuck);
        open_gate(true);
        while mounts.stuck().contains(Path::new("/stuck")) {
            std::thread::yield_now();
        }
        assert_eq!(
            mounts.ask(&paths, Duration::MAX, ask),
            [good.clone(), good.clone(), broken, good]
        );
    }

    #[test]
    fn reasons_are_in_lower_case() {
        let fault = statfs(Path::new("/nonexistent/mount")).unwrap_err();
        assert_eq!(fault, "no such file or directory");
        assert!(statfs(Path::new("/")).unwrap().size >= 0.0);
    }
}
