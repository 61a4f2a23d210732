//! What the Alertmanager must not forget, on disk: one thread writes the table, and what waits
//! meanwhile is written together with one sync.
//!
//! Invariant: a write has been made durable when its caller goes on, or the caller knows that it
//! was not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use obs_model::Tenant;
use obs_storage::{Change, Disk, Table, TableError};
use tokio::sync::{mpsc, oneshot};

use super::rows::{self, Row, RowChange};

/// The folder of the table in the data directory.
const FOLDER: &str = "alertmanager";
/// Writes that wait at one time; whoever comes then waits too.
const WAITING_MAX: usize = 1024;
/// Bytes of changes that are written together. A single write may be larger.
const TOGETHER_BYTES: usize = 4 << 20;

/// Changes, and who waits for them.
type Write = (Vec<RowChange>, oneshot::Sender<Result<(), String>>);

/// The handle on the table.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    writes: mpsc::Sender<Write>,
    stats: Arc<KeptStats>,
}

/// What happened so far.
#[derive(Debug, Default)]
pub(crate) struct KeptStats {
    pub(crate) writes: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

impl Kept {
    /// Opens the table and starts its thread; gives what was kept. Blocks.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        salt: u32,
    ) -> anyhow::Result<(Self, Vec<(Tenant, Row)>)> {
        let opened = Table::open(Arc::clone(disk), FOLDER, salt);
        let (mut table, damage) = opened.context("open the table of the Alertmanager")?;
        for damage in damage {
            tracing::error!(%damage, "the table of the Alertmanager is damaged");
        }
        let (found, outdated) = read_all(&table);
        write(&mut table, &outdated).context("clear the table of the Alertmanager")?;
        let (writes, waiting) = mpsc::channel(WAITING_MAX);
        let stats = Arc::new(KeptStats::default());
        stats.bytes.store(table.bytes(), Ordering::Relaxed);
        let told = Arc::clone(&stats);
        let thread = std::thread::Builder::new().name("alertmanager".to_owned());
        thread
            .spawn(move || run(table, waiting, &told))
            .context("start the thread of the Alertmanager's table")?;
        Ok((Self { writes, stats }, found))
    }

    /// Makes changes; those of one call are there all or none, unless they are too many for that.
    pub(crate) async fn write(&self, changes: Vec<RowChange>) -> Result<(), String> {
        if changes.is_empty() {
            return Ok(());
        }
        let gone = || "the table of the Alertmanager is closed".to_owned();
        let (done, answer) = oneshot::channel();
        let sent = self.writes.send((changes, done)).await;
        sent.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// What happened so far.
    pub(crate) fn stats(&self) -> &KeptStats {
        &self.stats
    }
}

/// All rows, and what removes those that no version writes any more.
fn read_all(table: &Table) -> (Vec<(Tenant, Row)>, Vec<RowChange>) {
    let tenants: Vec<Tenant> = table.tenants().cloned().collect();
    let (mut found, mut outdated) = (Vec::new(), Vec::new());
    for tenant in tenants {
        for (key, value) in table.rows(&tenant) {
            if rows::is_outdated(key) {
                outdated.push(rows::remove(&tenant, key.to_vec()));
                continue;
            }
            match rows::read(key, value) {
                Some(row) => found.push((tenant.clone(), row)),
                None => tracing::error!(
                    tenant = tenant.as_str(),
                    "a row of the Alertmanager cannot be read and counts as none"
                ),
            }
        }
    }
    (found, outdated)
}

fn run(mut table: Table, mut waiting: mpsc::Receiver<Write>, stats: &KeptStats) {
    while let Some(first) = waiting.blocking_recv() {
        let mut bytes = bytes_of(&first.0);
        let mut together = vec![first];
        while bytes < TOGETHER_BYTES
            && let Ok(next) = waiting.try_recv()
        {
            bytes += bytes_of(&next.0);
            together.push(next);
        }
        let changes: Vec<RowChange> = together
            .iter_mut()
            .flat_map(|(changes, _)| std::mem::take(changes))
            .collect();
        stats.writes.fetch_add(1, Ordering::Relaxed);
        let outcome = write(&mut table, &changes).map_err(|error| error.to_string());
        if let Err(error) = &outcome {
            stats.errors.fetch_add(1, Ordering::Relaxed);
            tracing::error!(error, "the state of the Alertmanager is not kept");
        }
        stats.bytes.store(table.bytes(), Ordering::Relaxed);
        for (_, done) in together {
            // Whoever left needs no word.
            drop(done.send(outcome.clone()));
        }
    }
}

fn bytes_of(changes: &[RowChange]) -> usize {
    let bytes = |change: &RowChange| change.key.len() + change.value.as_ref().map_or(0, Vec::len);
    changes.iter().map(bytes).sum()
}

/// Writes changes, in pieces that fit into a frame each.
fn write(table: &mut Table, changes: &[RowChange]) -> Result<(), TableError> {
    let mut rest = changes;
    while !rest.is_empty() {
        let (mut count, mut bytes) = (0, 0);
        while count < rest.len() && (count == 0 || bytes < TOGETHER_BYTES) {
            bytes += bytes_of(&rest[count..=count]);
            count += 1;
        }
        let (piece, later) = rest.split_at(count);
        let piece = piece.iter().map(|change| Change {
            tenant: &change.tenant,
            key: &change.key,
            value: change.value.as_deref(),
        });
        table.write(&piece.collect::<Vec<_>>())?;
        rest = later;
    }
    Ok(())
}
