//! What the ruler keeps on disk: the states of alerts, and groups that came over an API.
//!
//! Invariant: after a crash a group has the states of one evaluation, or none at all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use anyhow::Context;
use obs_alerting::rules::group::Running;
use obs_alerting::rules::{Alert, kept};
use obs_model::{Tenant, Timestamp};
use obs_storage::{Change, Disk, Table, TableError};

use super::{GroupKey, Managed, Origin, Slot, lock};

/// The folder of the table in the data directory.
const FOLDER: &str = "alerts";
/// Bytes of changes that are written together, far below what a frame of the table holds. A single
/// change may be larger.
const TOGETHER_BYTES: usize = 4 << 20;

/// What the ruler keeps on disk.
#[derive(Debug)]
pub(crate) struct Kept {
    states: Mutex<Table>,
    /// See [`TOGETHER_BYTES`].
    together_bytes: usize,
    /// Groups that came over an API.
    pub(super) managed: Managed,
}

impl Kept {
    /// Opens the tables. Blocks.
    pub(crate) fn open(disk: &Arc<dyn Disk>, salt: u32) -> anyhow::Result<Self> {
        let opened = Table::open(Arc::clone(disk), FOLDER, salt);
        let (table, damage) = opened.context("open the states of alerts")?;
        for damage in damage {
            tracing::error!(%damage, "states of alerts are damaged");
        }
        Ok(Self {
            states: Mutex::new(table),
            together_bytes: TOGETHER_BYTES,
            managed: Managed::open(disk, salt)?,
        })
    }

    /// Gives the rules of a group back what was kept of their alerts.
    pub(super) fn restore(&self, key: &GroupKey, rules: &mut [Running], now: Timestamp) {
        let table = lock(&self.states);
        let group = group_key(key);
        // Empty where not all of a group came to be written.
        let last = table.get(&key.tenant, &group).and_then(|bytes| {
            let nanos = i64::from_le_bytes(bytes.try_into().ok()?);
            Some(Timestamp::from_nanos(nanos))
        });
        let Some(last) = last else {
            return;
        };
        let down = now - last;
        for (rule, prefix) in prefixes(&group, rules.iter()).into_iter().enumerate() {
            let rows = rows_below(&table, &key.tenant, &prefix);
            let mut alerts = Vec::new();
            for (_, value) in rows {
                match kept::decode(value) {
                    Some(alert) => alerts.push(alert),
                    None => tracing::error!(
                        group = key.name,
                        "the state of an alert cannot be read and counts as none"
                    ),
                }
            }
            rules[rule].restore(alerts, down);
        }
    }

    /// Writes what has changed of a group's alerts. Blocks.
    pub(super) fn keep(
        &self,
        key: &GroupKey,
        rules: &[Slot],
        now: Timestamp,
    ) -> Result<(), TableError> {
        let group = group_key(key);
        let guards: Vec<_> = rules.iter().map(|rule| lock(&rule.running)).collect();
        let prefixes = prefixes(&group, guards.iter().map(|guard| &**guard));
        let mut alerts: BTreeMap<Vec<u8>, Alert> = BTreeMap::new();
        for (rule, prefix) in guards.iter().zip(&prefixes) {
            for alert in rule.alerting().into_iter().flat_map(|rule| rule.alerts()) {
                let mut row = prefix.clone();
                row.extend_from_slice(alert.labels.packed());
                alerts.insert(row, alert.clone());
            }
        }
        drop(guards);
        let mut table = lock(&self.states);
        let mut changes: Vec<RowChange> = Vec::new();
        for (row, value) in rows_below(&table, &key.tenant, &group) {
            if row.len() > group.len() && !alerts.contains_key(row) {
                changes.push((row.to_vec(), None));
            } else if let (Some(now), Some(before)) = (alerts.get(row), kept::decode(value))
                && !kept::differs(&before, now)
            {
                alerts.remove(row);
            }
        }
        for (row, alert) in &alerts {
            changes.push((row.clone(), Some(kept::encode(alert))));
        }
        // The time is of use only where something is kept.
        let known = table.get(&key.tenant, &group).is_some();
        if !changes.is_empty() || known {
            changes.push((group.clone(), Some(now.nanos().to_le_bytes().to_vec())));
        }
        let bytes: usize = changes.iter().map(bytes_of).sum();
        if bytes > self.together_bytes {
            // Until the last piece is there, with the time, the group is not.
            changes.insert(0, (group, Some(Vec::new())));
        }
        self.write(&mut table, &key.tenant, &changes)
    }

    /// Forgets groups.
    pub(super) fn forget<'a>(&self, keys: impl Iterator<Item = &'a GroupKey>) {
        let mut of_tenants: BTreeMap<&Tenant, Vec<RowChange>> = BTreeMap::new();
        let mut table = lock(&self.states);
        for key in keys {
            let group = group_key(key);
            // The first row is the group's own: without it nothing is restored.
            let rows = rows_below(&table, &key.tenant, &group);
            let changes = rows.map(|(row, _)| (row.to_vec(), None));
            of_tenants.entry(&key.tenant).or_default().extend(changes);
        }
        for (tenant, changes) in of_tenants {
            if let Err(error) = self.write(&mut table, tenant, &changes) {
                tracing::error!(%error, "states of alerts could not be removed");
            }
        }
    }

    /// Writes changes in order, in pieces of which each is there whole or not at all.
    fn write(
        &self,
        table: &mut Table,
        tenant: &Tenant,
        changes: &[RowChange],
    ) -> Result<(), TableError> {
        let mut rest = changes;
        while !rest.is_empty() {
            let (mut count, mut bytes) = (0, 0);
            while let Some(change) = rest.get(count)
                && (count == 0 || bytes + bytes_of(change) <= self.together_bytes)
            {
                bytes += bytes_of(change);
                count += 1;
            }
            let (piece, later) = rest.split_at(count);
            let piece = piece.iter().map(|(key, value)| Change {
                tenant,
                key,
                value: value.as_deref(),
            });
            table.write(&piece.collect::<Vec<_>>())?;
            rest = later;
        }
        Ok(())
    }
}

/// A row, and what stands in it from now on.
type RowChange = (Vec<u8>, Option<Vec<u8>>);

fn bytes_of((key, value): &RowChange) -> usize {
    key.len() + value.as_ref().map_or(0, Vec::len)
}

/// The key of a group. No file begins as the others do.
fn group_key(key: &GroupKey) -> Vec<u8> {
    let origin = match key.origin {
        Origin::File => "",
        Origin::Api => "\u{1}api/",
        Origin::Loki => "\u{1}loki/",
        Origin::Kubernetes => "\u{1}kubernetes/",
    };
    format!("{origin}{}\0{}\0", key.file, key.name).into_bytes()
}

/// What the keys of each rule's alerts begin with.
fn prefixes<'a>(group: &[u8], rules: impl Iterator<Item = &'a Running>) -> Vec<Vec<u8>> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    rules
        .map(|rule| {
            let name = rule.rule.name();
            let nth = seen.entry(name).or_default();
            let prefix = [group, format!("{nth}\0{name}\0").as_bytes()].concat();
            *nth += 1;
            prefix
        })
        .collect()
}

fn rows_below<'t>(
    table: &'t Table,
    tenant: &Tenant,
    prefix: &'t [u8],
) -> impl Iterator<Item = (&'t [u8], &'t [u8])> {
    table
        .rows_from(tenant, prefix)
        .take_while(move |(row, _)| row.starts_with(prefix))
}

#[cfg(test)]
mod tests;
