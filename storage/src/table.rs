//! A small table on disk: rows by key that change often and must not be lost, such as silences and
//! the states of alerts. It is a [`Queue`] of changes that is read when it is opened, and written
//! anew when most of it is outdated; the bytes are specified in `docs/formats/table.md`.
//!
//! Invariants: the changes of one call are there after a crash all or none, and all when the call
//! has returned; all rows are in memory, and bounded by what the caller puts in.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use obs_model::Tenant;

use crate::disk::Disk;
use crate::error::{AppendError, Corrupt, DiskError};
use crate::journal::{FRAME_BYTES_MAX, Record};
use crate::queue::{Queue, QueueOptions};

/// Bytes at which a segment ends.
const SEGMENT_BYTES: u64 = 1 << 20;
/// Bytes of rows that are written together when the table is written anew.
const GROUP_BYTES: usize = 256 << 10;
/// Outdated bytes that are never worth writing anew for.
const SLACK_BYTES: u64 = 4 << 20;
/// What a record begins with.
const PUT: u8 = 1;
const REMOVE: u8 = 2;
/// Operation and length of the key.
const HEAD_BYTES: usize = 1 + 4;
/// Bytes of a frame beside the payloads of its records, per record, at most.
const RECORD_BYTES: usize = obs_model::tenant::TENANT_BYTES_MAX + 16;

/// A change of one row.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// Whose row.
    pub tenant: &'a Tenant,
    /// Its key.
    pub key: &'a [u8],
    /// What it becomes; nothing removes it.
    pub value: Option<&'a [u8]>,
}

/// Why changes were not made. The table is as before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// They do not fit into one frame.
    #[error("expected changes of at most {FRAME_BYTES_MAX} bytes, found {0}")]
    TooLarge(usize),
    /// An earlier sync failed: nobody knows what is on disk.
    #[error("the table is closed because an earlier sync failed; start anew")]
    Closed,
}

/// A table; see the module.
#[derive(Debug)]
pub struct Table {
    queue: Queue,
    rows: BTreeMap<Tenant, BTreeMap<Vec<u8>, Vec<u8>>>,
    /// Bytes that the rows would have if they were written now.
    live: u64,
    closed: bool,
}

impl Table {
    /// Opens the table of a folder and tells what was found damaged.
    pub fn open(
        disk: Arc<dyn Disk>,
        folder: &str,
        salt: u32,
    ) -> Result<(Self, Vec<Corrupt>), DiskError> {
        let options = QueueOptions {
            bytes_max: u64::MAX,
            segment_bytes: SEGMENT_BYTES,
            salt,
        };
        let mut queue = Queue::open(disk, folder, options)?;
        let mut rows: BTreeMap<Tenant, BTreeMap<Vec<u8>, Vec<u8>>> = BTreeMap::new();
        let mut damage = Vec::new();
        while let Some(frame) = queue.read_next()? {
            for (tenant, payload) in frame.records {
                match change(&payload) {
                    Some((key, Some(value))) => {
                        let rows = rows.entry(tenant).or_default();
                        rows.insert(key.to_vec(), value.to_vec());
                    }
                    Some((key, None)) => {
                        rows.get_mut(&tenant).and_then(|rows| rows.remove(key));
                    }
                    None => damage.push(Corrupt::new(
                        folder.to_owned(),
                        frame.sequence,
                        "expected a change of a row".to_owned(),
                    )),
                }
            }
        }
        damage.append(&mut queue.take_damage());
        let live = rows.values().flatten().map(|(k, v)| row_bytes(k, v)).sum();
        let table = Self {
            queue,
            rows,
            live,
            closed: false,
        };
        Ok((table, damage))
    }

    /// A row.
    pub fn get(&self, tenant: &Tenant, key: &[u8]) -> Option<&[u8]> {
        self.rows.get(tenant)?.get(key).map(Vec::as_slice)
    }

    /// The rows of a tenant, in order of their keys.
    pub fn rows<'t>(
        &'t self,
        tenant: &Tenant,
    ) -> impl Iterator<Item = (&'t [u8], &'t [u8])> + use<'t> {
        let rows = self.rows.get(tenant).into_iter().flatten();
        rows.map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    /// The rows of a tenant from a key on, in order of their keys.
    pub fn rows_from<'t>(
        &'t self,
        tenant: &Tenant,
        key: &[u8],
    ) -> impl Iterator<Item = (&'t [u8], &'t [u8])> + use<'t> {
        let from = (Bound::Included(key), Bound::Unbounded);
        let rows = self.rows.get(tenant);
        let rows = rows
            .into_iter()
            .flat_map(move |rows| rows.range::<[u8], _>(from));
        let rows: Vec<_> = rows
            .map(|(key, value)| (key.as_slice(), value.as_slice()))
            .collect();
        rows.into_iter()
    }

    /// The tenants that have rows.
    pub fn tenants(&self) -> impl Iterator<Item = &Tenant> {
        let some = self.rows.iter().filter(|(_, rows)| !rows.is_empty());
        some.map(|(tenant, _)| tenant)
    }

    /// Makes changes, durable on return, all or none.
    pub fn write(&mut self, changes: &[Change<'_>]) -> Result<(), TableError> {
        if changes.is_empty() {
            return Ok(());
        }
        let payloads: Vec<Vec<u8>> = changes.iter().map(payload).collect();
        let bytes: usize = payloads.iter().map(|p| p.len() + RECORD_BYTES).sum();
        if bytes > FRAME_BYTES_MAX {
            return Err(TableError::TooLarge(bytes));
        }
        let records = changes.iter().zip(&payloads);
        let records: Vec<Record<'_>> = records
            .map(|(change, payload)| Record {
                tenant: change.tenant,
                payload,
            })
            .collect();
        self.append(&records)?;
        for change in changes {
            self.apply(change);
        }
        if self.queue.waiting_bytes() > self.live.saturating_mul(2).saturating_add(SLACK_BYTES) {
            self.write_anew()?;
        }
        Ok(())
    }

    fn append(&mut self, records: &[Record<'_>]) -> Result<u64, TableError> {
        if self.closed {
            return Err(TableError::Closed);
        }
        self.queue.append(records).map_err(|error| {
            self.closed |= matches!(
                error,
                AppendError::Poisoned(_) | AppendError::Disk(DiskError::Sync { .. })
            );
            match error {
                AppendError::Disk(error) => TableError::Disk(error),
                AppendError::TooLarge { bytes, .. } => TableError::TooLarge(bytes as usize),
                _ => TableError::Closed,
            }
        })
    }

    fn apply(&mut self, change: &Change<'_>) {
        let rows = self.rows.entry(change.tenant.clone()).or_default();
        let before = match change.value {
            Some(value) => {
                self.live += row_bytes(change.key, value);
                rows.insert(change.key.to_vec(), value.to_vec())
            }
            None => rows.remove(change.key),
        };
        let gone = before.map_or(0, |before| row_bytes(change.key, &before));
        self.live = self.live.saturating_sub(gone);
    }

    /// Writes all rows behind what is there; what is before them can go.
    fn write_anew(&mut self) -> Result<(), TableError> {
        let rows = std::mem::take(&mut self.rows);
        let written = self.write_rows(&rows);
        self.rows = rows;
        let Some(first) = written? else {
            return Ok(());
        };
        self.queue.acknowledge(first.saturating_sub(1))?;
        Ok(self.queue.note()?)
    }

    /// The sequence of the first frame of them.
    fn write_rows(
        &mut self,
        rows: &BTreeMap<Tenant, BTreeMap<Vec<u8>, Vec<u8>>>,
    ) -> Result<Option<u64>, TableError> {
        let mut first = None;
        let mut group: Vec<(&Tenant, Vec<u8>)> = Vec::new();
        let mut bytes = 0;
        let all = rows
            .iter()
            .flat_map(|(t, rows)| rows.iter().map(move |row| (t, row)));
        for (tenant, (key, value)) in all {
            let put = Change {
                tenant,
                key,
                value: Some(value),
            };
            group.push((tenant, payload(&put)));
            bytes += key.len() + value.len() + RECORD_BYTES;
            if bytes >= GROUP_BYTES {
                let sequence = self.append_group(&group)?;
                first.get_or_insert(sequence);
                group.clear();
                bytes = 0;
            }
        }
        // Also where nothing is left: a frame of no records marks the place.
        let sequence = self.append_group(&group)?;
        first.get_or_insert(sequence);
        Ok(first)
    }

    fn append_group(&mut self, group: &[(&Tenant, Vec<u8>)]) -> Result<u64, TableError> {
        let records = group
            .iter()
            .map(|(tenant, payload)| Record { tenant, payload });
        let records: Vec<Record<'_>> = records.collect();
        self.append(&records)
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.queue.bytes()
    }
}

fn row_bytes(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len() + HEAD_BYTES) as u64
}

/// A change as a record.
fn payload(change: &Change<'_>) -> Vec<u8> {
    let value = change.value.unwrap_or_default();
    let mut out = Vec::with_capacity(HEAD_BYTES + change.key.len() + value.len());
    out.push(if change.value.is_some() { PUT } else { REMOVE });
    // A key is part of a frame, which is at most 64 MiB.
    let length = u32::try_from(change.key.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(change.key);
    out.extend_from_slice(value);
    out
}

/// Key and value of a record.
fn change(payload: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let (head, rest) = payload.split_at_checked(HEAD_BYTES)?;
    let length = u32::from_le_bytes(head[1..].try_into().ok()?) as usize;
    let (key, value) = rest.split_at_checked(length)?;
    match head[0] {
        PUT => Some((key, Some(value))),
        REMOVE if value.is_empty() => Some((key, None)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sim::SimDisk;

    fn open(disk: &SimDisk) -> Table {
        let (table, damage) = Table::open(Arc::new(disk.clone()), "t", 7).unwrap();
        assert!(damage.is_empty(), "{damage:?}");
        table
    }

    fn set(table: &mut Table, key: &str, value: Option<&str>) -> Result<(), TableError> {
        table.write(&[Change {
            tenant: &Tenant::anonymous(),
            key: key.as_bytes(),
            value: value.map(str::as_bytes),
        }])
    }

    fn all(table: &Table) -> Vec<(String, usize)> {
        let tenant = Tenant::anonymous();
        let rows = table.rows(&tenant);
        rows.map(|(k, v)| (String::from_utf8_lossy(k).into_owned(), v.len()))
            .collect()
    }

    #[test]
    fn rows_are_there_after_opening_again() {
        let disk = SimDisk::new(1);
        let mut table = open(&disk);
        set(&mut table, "b", Some("1")).unwrap();
        set(&mut table, "a", Some("22")).unwrap();
        set(&mut table, "b", None).unwrap();
        set(&mut table, "c", Some("")).unwrap();
        drop(table);
        let table = open(&disk);
        assert_eq!(all(&table), [("a".to_owned(), 2), ("c".to_owned(), 0)]);
        assert_eq!(table.get(&Tenant::anonymous(), b"a"), Some(&b"22"[..]));
        assert_eq!(table.get(&Tenant::anonymous(), b"b"), None);
        assert_eq!(table.tenants().count(), 1);
    }

    /// What is outdated goes: the disk holds a few times of what is there.
    #[test]
    fn outdated_rows_go() {
        let disk = SimDisk::new(2);
        let mut table = open(&disk);
        let value = "x".repeat(50_000);
        for round in 0..600 {
            set(&mut table, &format!("{}", round % 10), Some(&value)).unwrap();
            assert!(
                table.bytes() < 9 << 20,
                "{} in round {round}",
                table.bytes()
            );
        }
        let before = all(&table);
        assert_eq!(before.len(), 10);
        drop(table);
        assert_eq!(all(&open(&disk)), before);
    }

    #[test]
    fn too_much_at_once_is_refused() {
        let disk = SimDisk::new(3);
        let mut table = open(&disk);
        let huge = "x".repeat(FRAME_BYTES_MAX);
        let refused = set(&mut table, "a", Some(&huge));
        assert!(matches!(refused, Err(TableError::TooLarge(_))));
        assert_eq!(all(&table), []);
        set(&mut table, "a", Some("1")).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Crashes anywhere, also while it is written anew: every change that was acknowledged is
        /// there, and of the one that was not, all or nothing.
        #[test]
        fn crashes_lose_no_change(
            seed in any::<u64>(),
            rounds in prop::collection::vec((1u64..40, prop::collection::vec((0u8..6, any::<bool>()), 1..30)), 1..4),
        ) {
            let disk = SimDisk::new(seed);
            let tenant = Tenant::anonymous();
            let mut known: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
            let large = vec![b'v'; 700_000];
            for (crash, changes) in rounds {
                disk.crash_after(crash);
                let opened = Table::open(Arc::new(disk.clone()), "t", 7);
                let mut unsure = None;
                if let Ok((mut table, _)) = opened {
                    for (key, put) in changes {
                        let pair = [vec![key], vec![key, b'2']];
                        let value = put.then_some(large.as_slice());
                        let changes = pair.each_ref().map(|key| Change { tenant: &tenant, key, value });
                        let mut next = known.clone();
                        for key in &pair {
                            match value {
                                Some(value) => drop(next.insert(key.clone(), value.to_vec())),
                                None => drop(next.remove(key)),
                            }
                        }
                        if table.write(&changes).is_err() {
                            unsure = Some(next);
                            break;
                        }
                        known = next;
                    }
                }
                disk.crash();
                let table = open(&disk);
                let rows = table.rows(&tenant);
                let found: BTreeMap<Vec<u8>, Vec<u8>> =
                    rows.map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
                let keys = |rows: &BTreeMap<Vec<u8>, Vec<u8>>| rows.keys().cloned().collect::<Vec<_>>();
                let after = unsure.as_ref().is_some_and(|next| keys(next) == keys(&found));
                prop_assert!(after || keys(&known) == keys(&found));
                known = found;
            }
        }

        #[test]
        fn any_record_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some((key, value)) = change(&bytes) {
                let tenant = Tenant::anonymous();
                prop_assert_eq!(payload(&Change { tenant: &tenant, key, value }), bytes);
            }
        }
    }
}
