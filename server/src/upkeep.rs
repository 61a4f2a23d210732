//! Upkeep: asks each store what is to be done and does it. The stores decide, this thread runs.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use obs_storage::{Kind, Store};

use crate::clock;
use crate::stores::Stores;

/// Between two looks. A flush is due by size or after minutes, so a second is soon enough.
const PERIOD: Duration = Duration::from_secs(1);
/// After a job that failed, so that a full disk is not asked a thousand times a second.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(10);

/// The upkeep threads, one per store, so that a long merge of logs does not hold up metrics.
#[derive(Debug)]
pub(crate) struct Upkeep {
    threads: Vec<(Sender<()>, JoinHandle<()>)>,
}

impl Upkeep {
    /// Starts the threads.
    pub(crate) fn start(stores: &Stores) -> std::io::Result<Self> {
        let threads = vec![
            start(&stores.metrics)?,
            start(&stores.logs)?,
            start(&stores.spans)?,
        ];
        Ok(Self { threads })
    }

    /// Stops after the jobs that run now.
    pub(crate) fn stop(self) {
        let threads: Vec<JoinHandle<()>> = self
            .threads
            .into_iter()
            .map(|(stop, thread)| {
                drop(stop);
                thread
            })
            .collect();
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("an upkeep thread panicked");
            }
        }
    }
}

fn start<K: Kind>(store: &Arc<Store<K>>) -> std::io::Result<(Sender<()>, JoinHandle<()>)> {
    let (stop, stopped) = channel();
    let store = Arc::clone(store);
    let thread = std::thread::Builder::new()
        .name(format!("upkeep-{}", K::NAME))
        .spawn(move || run(&store, &stopped))?;
    Ok((stop, thread))
}

fn run<K: Kind>(store: &Store<K>, stopped: &Receiver<()>) {
    let mut pause = PERIOD;
    while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        pause = PERIOD;
        while let Some(job) = store.next_job(clock::now()) {
            let what = format!("{job:?}");
            let span = tracing::info_span!("upkeep", store = K::NAME, job = what);
            let _running = span.entered();
            if let Err(error) = store.run(job) {
                tracing::error!(store = K::NAME, job = what, %error, "upkeep failed");
                pause = PAUSE_AFTER_FAILURE;
                break;
            }
            tracing::debug!(store = K::NAME, job = what, "upkeep done");
            if stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected) {
                return;
            }
        }
    }
}
