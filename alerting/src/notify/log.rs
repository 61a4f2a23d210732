//! The log of notifications: what each receiver was told of a group, so that nobody is told twice.

use std::collections::{BTreeMap, BTreeSet};

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
pub struct Log(BTreeMap<LogKey, LogEntry>);

impl Log {
    /// What was told last.
    pub fn get(&self, key: &LogKey) -> Option<&LogEntry> {
        self.0.get(key)
    }

    /// Notes what was told.
    pub fn set(&mut self, key: LogKey, entry: LogEntry) {
        self.0.insert(key, entry);
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = (&LogKey, &LogEntry)> {
        self.0.iter()
    }

    /// Forgets entries that are older than `age`; gives their keys. One with alerts that fire stays
    /// as long as its group lives, however old: a repeat that never comes must not be forgotten.
    pub fn forget(
        &mut self,
        now: Timestamp,
        age: i64,
        lives: impl Fn(&LogKey) -> bool,
    ) -> Vec<LogKey> {
        let old = |(key, entry): &(&LogKey, &LogEntry)| {
            now - entry.at > age && (entry.firing.is_empty() || !lives(key))
        };
        let keys = self.0.iter().filter(old);
        let keys: Vec<LogKey> = keys.map(|(key, _)| key.clone()).collect();
        for key in &keys {
            self.0.remove(key);
        }
        keys
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
