//! The log of notifications: what each receiver was told of a group, so that nobody is told twice.
//!
//! Invariants: an alert that has left its group is not in the log as firing, so that it is told when
//! it fires anew; a copy costs nothing, whatever is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use obs_model::Timestamp;

use super::alert::Fingerprint;
use super::route::Repeat;

/// Which integration of which receiver, for which group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogKey {
    /// The group.
    pub group: String,
    /// The receiver.
    pub receiver: String,
    /// The kind of the integration, such as `webhook`.
    pub kind: &'static str,
    /// Its place among those of the kind.
    pub index: usize,
}

/// What was told last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogEntry {
    /// The alerts that fired.
    pub firing: BTreeSet<Fingerprint>,
    /// Those that were over.
    pub resolved: BTreeSet<Fingerprint>,
    /// When.
    pub at: Timestamp,
    /// What the receiver needs for the next notification, such as the id of a message.
    pub kept: BTreeMap<String, String>,
}

/// Why something is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing was told of the group before, or it was over.
    First,
    /// More alerts fire.
    NewAlerts,
    /// Some are over.
    NewResolved,
    /// All are over.
    AllResolved,
    /// Nothing has changed for long enough.
    Repeat,
    /// More was to be told than anybody reads.
    Storm,
    /// We live.
    Heartbeat,
}

impl Reason {
    /// As webhooks get it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first notification",
            Self::NewAlerts => "new alerts in group",
            Self::NewResolved => "new resolved alerts",
            Self::AllResolved => "all alerts resolved",
            Self::Repeat => "repeat interval elapsed",
            Self::Storm => "storm of notifications",
            Self::Heartbeat => "heartbeat",
        }
    }
}

/// How the alerts of a group stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Those that fire.
    pub firing: BTreeSet<Fingerprint>,
    /// Those that are over.
    pub resolved: BTreeSet<Fingerprint>,
    /// Those that fire, and that somebody cares for.
    pub acknowledged: BTreeSet<Fingerprint>,
}

impl Standing {
    /// The same of those alone of which a receiver has heard.
    #[must_use]
    pub fn among(&self, before: Option<&LogEntry>) -> Self {
        let heard = |print: &&Fingerprint| {
            before.is_some_and(|b| b.firing.contains(*print) || b.resolved.contains(*print))
        };
        let some = |all: &BTreeSet<Fingerprint>| all.iter().filter(heard).copied().collect();
        Self {
            firing: some(&self.firing),
            resolved: some(&self.resolved),
            acknowledged: some(&self.acknowledged),
        }
    }
}

/// Whether something is told now, and why.
pub fn reason(
    before: Option<&LogEntry>,
    standing: &Standing,
    send_resolved: bool,
    repeat: Repeat,
    now: Timestamp,
) -> Option<Reason> {
    let Standing {
        firing,
        resolved,
        acknowledged,
    } = standing;
    let mut loud = firing.difference(acknowledged);
    let Some(before) = before else {
        return loud.next().map(|_| Reason::First);
    };
    if loud.clone().any(|print| !before.firing.contains(print)) {
        return Some(match before.firing.is_empty() {
            true => Reason::First,
            false => Reason::NewAlerts,
        });
    }
    if firing.is_empty() {
        // Also where recoveries are not sent, so that the log forgets what fired.
        return (!before.firing.is_empty()).then_some(Reason::AllResolved);
    }
    if send_resolved && !resolved.is_subset(&before.resolved) {
        return Some(Reason::NewResolved);
    }
    match repeat {
        // Somebody cares for all that fires.
        _ if loud.next().is_none() => None,
        Repeat::After(nanos) if before.at < now.saturating_sub(nanos) => Some(Reason::Repeat),
        Repeat::After(_) | Repeat::Never => None,
    }
}

/// Entries by key.
#[derive(Clone, Debug, Default)]
pub struct Log {
    entries: Arc<BTreeMap<Arc<LogKey>, Arc<LogEntry>>>,
    /// What changed without a notification that was told.
    changed: BTreeSet<Arc<LogKey>>,
}

impl Log {
    /// What was told last.
    pub fn get(&self, key: &LogKey) -> Option<&LogEntry> {
        self.entries.get(key).map(AsRef::as_ref)
    }

    /// Notes what was told.
    pub fn set(&mut self, key: LogKey, entry: LogEntry) {
        Arc::make_mut(&mut self.entries).insert(Arc::new(key), Arc::new(entry));
    }

    /// Takes over what another log knows: of two entries the newer one holds.
    pub fn merge(&mut self, key: LogKey, entry: LogEntry) {
        if self.get(&key).is_none_or(|own| own.at <= entry.at) {
            self.set(key, entry);
        }
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = (&LogKey, &LogEntry)> {
        let all = self.entries.iter();
        all.map(|(key, entry)| (key.as_ref(), entry.as_ref()))
    }

    /// The entries of a group.
    pub(super) fn of_group(&self, group: &str) -> impl Iterator<Item = (&LogKey, &LogEntry)> {
        let first = LogKey {
            group: group.to_owned(),
            receiver: String::new(),
            kind: "",
            index: 0,
        };
        let from = self.entries.range::<LogKey, _>(first..);
        from.map(|(key, entry)| (key.as_ref(), entry.as_ref()))
            .take_while(move |(key, _)| key.group == group)
    }

    /// Alerts have left a group: nobody is told any more that they are over, and when they fire
    /// anew it is news to these receivers.
    pub(super) fn leave(
        &mut self,
        group: &str,
        hears: impl Fn(&str) -> bool,
        left: &[Fingerprint],
    ) {
        let told = |entry: &LogEntry| left.iter().any(|print| entry.firing.contains(print));
        let entries = self.of_group(group);
        let entries = entries.filter(|(key, entry)| hears(&key.receiver) && told(entry));
        let keys: Vec<LogKey> = entries.map(|(key, _)| key.clone()).collect();
        let left: BTreeSet<_> = left.iter().collect();
        for key in keys {
            self.change(&key, |entry| {
                entry.firing.retain(|print| !left.contains(print));
            });
        }
    }

    /// Changes an entry, and remembers that.
    pub(super) fn change(&mut self, key: &LogKey, change: impl FnOnce(&mut LogEntry)) {
        let known = self.entries.get_key_value(key);
        let Some((key, entry)) = known.map(|(key, entry)| (Arc::clone(key), Arc::clone(entry)))
        else {
            return;
        };
        let mut entry = Arc::unwrap_or_clone(entry);
        change(&mut entry);
        Arc::make_mut(&mut self.entries).insert(Arc::clone(&key), Arc::new(entry));
        self.changed.insert(key);
    }

    /// What changed since this was asked last, without a notification that was told.
    pub fn take_changed(&mut self) -> Vec<(LogKey, LogEntry)> {
        let changed = std::mem::take(&mut self.changed).into_iter();
        let changed = changed.filter_map(|key| {
            let entry = self.entries.get(&key)?;
            Some((key.as_ref().clone(), entry.as_ref().clone()))
        });
        changed.collect()
    }

    /// The clock was set by so many nanoseconds.
    pub(super) fn shift(&mut self, jump: i64, now: Timestamp) {
        for entry in Arc::make_mut(&mut self.entries).values_mut() {
            let entry = Arc::make_mut(entry);
            entry.at = entry.at.saturating_add(jump).min(now);
        }
    }

    /// The keys of entries that are older than `age`. One with alerts that fire stays as long as its
    /// group lives, however old: a repeat that never comes must not be forgotten.
    pub fn old(&self, now: Timestamp, age: i64, lives: impl Fn(&LogKey) -> bool) -> Vec<LogKey> {
        let old = |(key, entry): &(&LogKey, &LogEntry)| {
            now - entry.at > age && (entry.firing.is_empty() || !lives(key))
        };
        self.iter()
            .filter(old)
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Forgets an entry, unless something was told since `before`.
    pub fn forget(&mut self, key: &LogKey, before: Timestamp) -> bool {
        let known = self.entries.get(key);
        let old = known.is_some_and(|entry| entry.at < before);
        if old {
            Arc::make_mut(&mut self.entries).remove(key);
        }
        old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_and_why() {
        let set = |all: &[u64]| -> BTreeSet<Fingerprint> {
            all.iter().map(|n| Fingerprint(*n)).collect()
        };
        let check = |before: Option<(&[u64], &[u64])>,
                     firing: &[u64],
                     resolved: &[u64],
                     send: bool,
                     repeat,
                     expect| {
            let before = before.map(|(firing, resolved)| LogEntry {
                firing: set(firing),
                resolved: set(resolved),
                at: Timestamp::from_seconds(100),
                kept: BTreeMap::new(),
            });
            let now = Timestamp::from_seconds(200);
            let standing = Standing {
                firing: set(firing),
                resolved: set(resolved),
                acknowledged: BTreeSet::new(),
            };
            let found = reason(before.as_ref(), &standing, send, repeat, now);
            assert_eq!(found, expect, "{before:?} {firing:?} {resolved:?}");
        };
        let long = Repeat::After(1_000_000_000_000);
        let short = Repeat::After(99_000_000_000);
        check(None, &[1], &[], true, long, Some(Reason::First));
        check(None, &[], &[1], true, long, None);
        check(
            Some((&[1], &[])),
            &[1, 2],
            &[],
            true,
            long,
            Some(Reason::NewAlerts),
        );
        check(
            Some((&[], &[1])),
            &[1],
            &[],
            true,
            long,
            Some(Reason::First),
        );
        check(
            Some((&[1], &[])),
            &[],
            &[1],
            false,
            long,
            Some(Reason::AllResolved),
        );
        check(Some((&[], &[1])), &[], &[1, 2], true, long, None);
        check(
            Some((&[1, 2], &[])),
            &[1],
            &[2],
            true,
            long,
            Some(Reason::NewResolved),
        );
        check(Some((&[1, 2], &[])), &[1], &[2], false, long, None);
        check(
            Some((&[1], &[])),
            &[1],
            &[],
            true,
            short,
            Some(Reason::Repeat),
        );
        check(Some((&[1], &[])), &[1], &[], true, Repeat::Never, None);
    }
}
