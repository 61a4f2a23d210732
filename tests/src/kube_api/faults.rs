//! Faults on demand.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An error with this status.
    Status(u16),
    /// 429 with `Retry-After` in seconds.
    TooMany(u64),
    /// 410 Gone.
    Gone,
    /// The answer comes later.
    Slow(Duration),
    /// An answer that is not JSON.
    Garbage,
    /// The connection is closed without an answer.
    Cut,
}

/// What open watches are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Signals {
    pub(super) dropped: u64,
    pub(super) expired: u64,
}

#[derive(Debug)]
pub(super) struct Faults {
    waiting: Mutex<Vec<(String, usize, Fault)>>,
    away: AtomicBool,
    pub(super) signals: tokio::sync::watch::Sender<Signals>,
    open: AtomicUsize,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            away: AtomicBool::new(false),
            signals: tokio::sync::watch::Sender::new(Signals::default()),
            open: AtomicUsize::new(0),
        }
    }
}

/// Counts a watch while it lives.
#[derive(Debug)]
pub(super) struct Open<'a>(&'a Faults);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Faults {
    pub(super) fn add(&self, path: &str, times: usize, fault: Fault) {
        self.waiting.lock().push((path.to_owned(), times, fault));
    }

    /// From now on nobody is answered, or everybody again.
    pub(super) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
        if away {
            self.drop_watches();
        }
    }

    /// The fault of this request, if it has one.
    pub(super) fn take(&self, path: &str) -> Option<Fault> {
        if self.away.load(Ordering::SeqCst) {
            return Some(Fault::Cut);
        }
        let mut waiting = self.waiting.lock();
        let found = waiting
            .iter()
            .position(|(prefix, times, _)| *times > 0 && path.starts_with(prefix.as_str()))?;
        let (_, times, fault) = waiting.get_mut(found)?;
        *times -= 1;
        let (fault, over) = (fault.clone(), *times == 0);
        if over {
            waiting.remove(found);
        }
        Some(fault)
    }

    pub(super) fn drop_watches(&self) {
        self.signals.send_modify(|signals| signals.dropped += 1);
    }

    pub(super) fn expire_watches(&self) {
        self.signals.send_modify(|signals| signals.expired += 1);
    }

    pub(super) fn enter(&self) -> Open<'_> {
        self.open.fetch_add(1, Ordering::SeqCst);
        Open(self)
    }

    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}
