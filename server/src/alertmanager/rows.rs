//! The rows of the Alertmanager's table: alerts and how they came and went, acknowledgements,
//! silences, and the log of notifications. The bytes are specified in `docs/formats/alertmanager.md`.
//!
//! Invariant: bytes of a row are never trusted: what cannot be read is nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use obs_alerting::notify::receivers::SCHEMAS;
use obs_alerting::notify::{Ack, Fingerprint, History, LogEntry, LogKey, Received, Silence};
use obs_model::{Labels, MatchOp, Matcher, Tenant, Timestamp};
use serde_json::{Value, json};

/// What a value begins with.
const VERSION: u8 = 1;
const ALERT: u8 = b'a';
const ACK: u8 = b'k';
const TOLD: u8 = b'n';
const SILENCE: u8 = b's';
const HISTORY: u8 = b'f';
const ON_ITS_WAY: u8 = b'w';
/// The end of the alert was not told.
const GUESSED_END: u8 = 1;
/// The alert fires.
const FIRING: u8 = 1;
/// The alert comes and goes all the time.
const FLAPS: u8 = 2;

/// A change of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RowChange {
    pub(crate) tenant: Tenant,
    pub(crate) key: Vec<u8>,
    /// Nothing removes it.
    pub(crate) value: Option<Vec<u8>>,
}

/// A row that was read.
#[derive(Clone, Debug)]
pub(crate) enum Row {
    Alert(Received),
    Silence(Silence),
    Ack(Fingerprint, Ack),
    /// What was told.
    Told(LogKey, LogEntry),
    /// How an alert came and went.
    History(Fingerprint, History),
}

/// An alert as it is kept.
pub(crate) fn alert(tenant: &Tenant, alert: &Received) -> RowChange {
    let mut value = vec![VERSION, u8::from(alert.guessed_end) * GUESSED_END];
    for time in [alert.starts_at, alert.ends_at, alert.updated_at] {
        value.extend_from_slice(&time.nanos().to_le_bytes());
    }
    put(&mut value, alert.labels.packed());
    put(&mut value, alert.annotations.packed());
    value.extend_from_slice(alert.generator_url.as_bytes());
    RowChange {
        tenant: tenant.clone(),
        key: print_key(ALERT, alert.fingerprint),
        value: Some(value),
    }
}

/// No alert any more.
pub(crate) fn no_alert(tenant: &Tenant, print: Fingerprint) -> RowChange {
    remove(tenant, print_key(ALERT, print))
}

/// A silence as it is kept.
pub(crate) fn silence(tenant: &Tenant, silence: &Silence) -> RowChange {
    let matchers = silence.matchers.iter();
    let matchers = matchers.map(|m| json!([m.name, m.op.as_str(), m.value]));
    let text = json!({
        "matchers": matchers.collect::<Vec<Value>>(),
        "starts": silence.starts_at.nanos(),
        "ends": silence.ends_at.nanos(),
        "updated": silence.updated_at.nanos(),
        "by": silence.created_by,
        "comment": silence.comment,
        "annotations": silence.annotations,
    });
    let mut value = vec![VERSION];
    value.extend_from_slice(text.to_string().as_bytes());
    RowChange {
        tenant: tenant.clone(),
        key: silence_key(&silence.id),
        value: Some(value),
    }
}

/// No silence any more.
pub(crate) fn no_silence(tenant: &Tenant, id: &str) -> RowChange {
    remove(tenant, silence_key(id))
}

/// An acknowledgement as it is kept.
pub(crate) fn ack(tenant: &Tenant, print: Fingerprint, ack: &Ack) -> RowChange {
    let text = json!({
        "by": ack.by,
        "comment": ack.comment,
        "at": ack.at.nanos(),
        "until": ack.until.map(Timestamp::nanos),
    });
    let mut value = vec![VERSION];
    value.extend_from_slice(text.to_string().as_bytes());
    RowChange {
        tenant: tenant.clone(),
        key: print_key(ACK, print),
        value: Some(value),
    }
}

/// No acknowledgement any more.
pub(crate) fn no_ack(tenant: &Tenant, print: Fingerprint) -> RowChange {
    remove(tenant, print_key(ACK, print))
}

/// How an alert came and went.
pub(crate) fn history(tenant: &Tenant, print: Fingerprint, history: &History) -> RowChange {
    let flags = u8::from(history.firing) * FIRING + u8::from(history.flaps) * FLAPS;
    let mut value = vec![VERSION, flags];
    for time in [history.ends_at].iter().chain(&history.changes) {
        value.extend_from_slice(&time.nanos().to_le_bytes());
    }
    RowChange {
        tenant: tenant.clone(),
        key: print_key(HISTORY, print),
        value: Some(value),
    }
}

/// Nothing is known of how an alert came and went.
pub(crate) fn no_history(tenant: &Tenant, print: Fingerprint) -> RowChange {
    remove(tenant, print_key(HISTORY, print))
}

/// What was told.
pub(crate) fn told(tenant: &Tenant, key: &LogKey, entry: &LogEntry) -> RowChange {
    let mut value = vec![VERSION];
    value.extend_from_slice(&entry.at.nanos().to_le_bytes());
    for prints in [&entry.firing, &entry.resolved] {
        value.extend_from_slice(&length(prints.len()));
        for print in prints {
            value.extend_from_slice(&print.0.to_le_bytes());
        }
    }
    for (name, text) in &entry.kept {
        put(&mut value, name.as_bytes());
        put(&mut value, text.as_bytes());
    }
    RowChange {
        tenant: tenant.clone(),
        key: log_key(key),
        value: Some(value),
    }
}

/// Nothing is known of what was told.
pub(crate) fn not_told(tenant: &Tenant, key: &LogKey) -> RowChange {
    remove(tenant, log_key(key))
}

/// Whether a row is of a kind that no version writes any more: of notifications on their way.
pub(super) fn is_outdated(key: &[u8]) -> bool {
    key.first() == Some(&ON_ITS_WAY)
}

/// No such row any more.
pub(super) fn remove(tenant: &Tenant, key: Vec<u8>) -> RowChange {
    RowChange {
        tenant: tenant.clone(),
        key,
        value: None,
    }
}

fn print_key(what: u8, print: Fingerprint) -> Vec<u8> {
    let mut key = vec![what];
    key.extend_from_slice(&print.0.to_be_bytes());
    key
}

fn silence_key(id: &str) -> Vec<u8> {
    let mut key = vec![SILENCE];
    key.extend_from_slice(id.as_bytes());
    key
}

fn log_key(of: &LogKey) -> Vec<u8> {
    let mut key = vec![TOLD];
    for text in [&of.group, &of.receiver] {
        put(&mut key, text.as_bytes());
    }
    put(&mut key, of.kind.as_bytes());
    key.extend_from_slice(&u32::try_from(of.index).unwrap_or(u32::MAX).to_le_bytes());
    key
}

/// Lengths are of things in memory that fit into one frame of a table.
fn length(of: usize) -> [u8; 4] {
    u32::try_from(of).unwrap_or(u32::MAX).to_le_bytes()
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&length(bytes.len()));
    out.extend_from_slice(bytes);
}

/// Reads a row; nothing where it is none.
pub(crate) fn read(key: &[u8], value: &[u8]) -> Option<Row> {
    let (what, key) = key.split_first()?;
    let (version, value) = value.split_first()?;
    if *version != VERSION {
        return None;
    }
    match *what {
        ALERT => read_alert(key, value).map(Row::Alert),
        SILENCE => read_silence(key, value).map(Row::Silence),
        ACK => read_ack(key, value),
        TOLD => Some(Row::Told(read_log_key(key)?, read_entry(value)?)),
        HISTORY => read_history(key, value),
        _ => None,
    }
}

/// Takes fields off the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<usize> {
        let bytes = self.take(4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes) as usize)
    }

    fn time(&mut self) -> Option<Timestamp> {
        let bytes = self.take(8)?.try_into().ok()?;
        Some(Timestamp::from_nanos(i64::from_le_bytes(bytes)))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(length)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    fn prints(&mut self) -> Option<BTreeSet<Fingerprint>> {
        let count = self.number()?;
        let bytes = self.take(count.checked_mul(8)?)?;
        let prints = bytes.chunks_exact(8).map(|bytes| {
            let bytes = bytes.try_into().expect("chunks are of eight bytes");
            Fingerprint(u64::from_le_bytes(bytes))
        });
        Some(prints.collect())
    }
}

fn read_alert(key: &[u8], value: &[u8]) -> Option<Received> {
    let fingerprint = Fingerprint(u64::from_be_bytes(key.try_into().ok()?));
    let mut fields = Fields(value);
    let flags = fields.take(1)?[0];
    let (starts_at, ends_at, updated_at) = (fields.time()?, fields.time()?, fields.time()?);
    let labels = Labels::from_packed(fields.bytes()?).ok()?;
    let annotations = Labels::from_packed(fields.bytes()?).ok()?;
    let generator_url = std::str::from_utf8(fields.0).ok()?.to_owned();
    // The key says which it is, the labels decide.
    (Fingerprint::of(&labels) == fingerprint).then_some(Received {
        fingerprint,
        labels,
        annotations,
        starts_at,
        ends_at,
        updated_at,
        generator_url,
        guessed_end: flags & GUESSED_END != 0,
    })
}

fn read_ack(key: &[u8], value: &[u8]) -> Option<Row> {
    let print = Fingerprint(u64::from_be_bytes(key.try_into().ok()?));
    let value: Value = serde_json::from_slice(value).ok()?;
    let time = |name: &str| Some(Timestamp::from_nanos(value.get(name)?.as_i64()?));
    let text = |name: &str| Some(value.get(name)?.as_str()?.to_owned());
    let ack = Ack {
        by: text("by")?,
        comment: text("comment")?,
        at: time("at")?,
        until: time("until"),
    };
    Some(Row::Ack(print, ack))
}

fn read_log_key(key: &[u8]) -> Option<LogKey> {
    let mut fields = Fields(key);
    let group = fields.text()?.to_owned();
    let receiver = fields.text()?.to_owned();
    let kind = fields.text()?;
    let kind = SCHEMAS.iter().find(|schema| schema.kind == kind)?.kind;
    let index = fields.number()?;
    fields.0.is_empty().then_some(LogKey {
        group,
        receiver,
        kind,
        index,
    })
}

fn read_entry(value: &[u8]) -> Option<LogEntry> {
    let mut fields = Fields(value);
    let at = fields.time()?;
    let (firing, resolved) = (fields.prints()?, fields.prints()?);
    let mut kept = BTreeMap::new();
    while !fields.0.is_empty() {
        let name = fields.text()?.to_owned();
        kept.insert(name, fields.text()?.to_owned());
    }
    Some(LogEntry {
        firing,
        resolved,
        at,
        kept,
    })
}

fn read_history(key: &[u8], value: &[u8]) -> Option<Row> {
    let print = Fingerprint(u64::from_be_bytes(key.try_into().ok()?));
    let mut fields = Fields(value);
    let flags = fields.take(1)?[0];
    let ends_at = fields.time()?;
    let mut changes = VecDeque::new();
    while !fields.0.is_empty() {
        changes.push_back(fields.time()?);
    }
    let history = History {
        changes,
        firing: flags & FIRING != 0,
        ends_at,
        flaps: flags & FLAPS != 0,
    };
    Some(Row::History(print, history))
}

fn read_silence(key: &[u8], value: &[u8]) -> Option<Silence> {
    let value: Value = serde_json::from_slice(value).ok()?;
    let time = |name: &str| Some(Timestamp::from_nanos(value.get(name)?.as_i64()?));
    let text = |name: &str| Some(value.get(name)?.as_str()?.to_owned());
    let mut matchers = Vec::new();
    for matcher in value.get("matchers")?.as_array()? {
        let part = |at: usize| matcher.get(at)?.as_str();
        let op = match part(1)? {
            "=" => MatchOp::Equal,
            "!=" => MatchOp::NotEqual,
            "=~" => MatchOp::Regex,
            "!~" => MatchOp::NotRegex,
            _ => return None,
        };
        matchers.push(Matcher::new(part(0)?, op, part(2)?).ok()?);
    }
    let annotations = value.get("annotations")?.as_object()?.iter();
    let annotations = annotations.map(|(name, value)| Some((name.clone(), value.as_str()?.into())));
    Some(Silence {
        id: std::str::from_utf8(key).ok()?.to_owned(),
        matchers,
        starts_at: time("starts")?,
        ends_at: time("ends")?,
        updated_at: time("updated")?,
        created_by: text("by")?,
        comment: text("comment")?,
        annotations: annotations.collect::<Option<BTreeMap<String, String>>>()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_back(change: &RowChange) -> Option<Row> {
        read(&change.key, change.value.as_deref().expect("a row"))
    }

    fn some_alert(name: &str, times: (i64, i64, i64), guessed_end: bool) -> Received {
        let labels = Labels::from_pairs([("alertname", name)]);
        Received {
            fingerprint: Fingerprint::of(&labels),
            annotations: Labels::from_pairs([("summary", name)]),
            labels,
            starts_at: Timestamp::from_nanos(times.0),
            ends_at: Timestamp::from_nanos(times.1),
            updated_at: Timestamp::from_nanos(times.2),
            generator_url: format!("http://here/{name}"),
            guessed_end,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn rows_come_back(
            name in "\\PC{0,12}",
            times in (any::<i64>(), any::<i64>(), any::<i64>()),
            guessed in any::<bool>(),
            prints in proptest::collection::btree_set(any::<u64>().prop_map(Fingerprint), 0..9),
            index in 0usize..4,
        ) {
            let tenant = Tenant::anonymous();
            let kept = some_alert(&name, times, guessed);
            match read_back(&alert(&tenant, &kept)) {
                Some(Row::Alert(found)) => prop_assert_eq!(found, kept),
                other => prop_assert!(false, "{:?}", other),
            }
            let given = Ack {
                by: name.clone(),
                comment: name.clone(),
                at: Timestamp::from_nanos(times.0),
                until: guessed.then_some(Timestamp::from_nanos(times.1)),
            };
            match read_back(&ack(&tenant, Fingerprint(7), &given)) {
                Some(Row::Ack(print, found)) => prop_assert_eq!((print, found), (Fingerprint(7), given)),
                other => prop_assert!(false, "{:?}", other),
            }
            let key = LogKey {
                group: format!("{{}}:{{a={name:?}}}"),
                receiver: name.clone(),
                kind: "webhook",
                index,
            };
            let entry = LogEntry {
                firing: prints.clone(),
                resolved: prints.iter().take(2).copied().collect(),
                at: Timestamp::from_nanos(times.0),
                kept: prints.iter().map(|print| (print.to_string(), name.clone())).collect(),
            };
            match read_back(&told(&tenant, &key, &entry)) {
                Some(Row::Told(k, e)) => prop_assert_eq!((k, e), (key, entry)),
                other => prop_assert!(false, "{:?}", other),
            }
            let came = History {
                changes: [times.1, times.2].map(Timestamp::from_nanos).into(),
                firing: guessed,
                ends_at: Timestamp::from_nanos(times.0),
                flaps: index == 1,
            };
            match read_back(&history(&tenant, Fingerprint(9), &came)) {
                Some(Row::History(print, found)) => prop_assert_eq!((print, found), (Fingerprint(9), came)),
                other => prop_assert!(false, "{:?}", other),
            }
            let quiet = Silence {
                id: "some-id".to_owned(),
                matchers: vec![
                    Matcher::equal("a", &name),
                    Matcher::new("b", MatchOp::NotRegex, "x|y").expect("valid"),
                ],
                starts_at: Timestamp::from_nanos(times.0),
                ends_at: Timestamp::from_nanos(times.1),
                updated_at: Timestamp::from_nanos(times.2),
                created_by: name.clone(),
                comment: name.clone(),
                annotations: BTreeMap::from([(name.clone(), name)]),
            };
            match read_back(&silence(&tenant, &quiet)) {
                Some(Row::Silence(found)) => {
                    prop_assert_eq!(format!("{found:?}"), format!("{quiet:?}"));
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }

        #[test]
        fn any_bytes_are_a_row_or_none(
            what in proptest::sample::select(vec![ALERT, ACK, SILENCE, TOLD, HISTORY, 0]),
            key in proptest::collection::vec(any::<u8>(), 0..40),
            value in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let key = [vec![what], key].concat();
            let value = [vec![VERSION], value].concat();
            if let Some(Row::Alert(alert)) = read(&key, &value) {
                prop_assert_eq!(alert.fingerprint, Fingerprint::of(&alert.labels));
            }
        }
    }

    /// A row of each kind.
    fn golden() -> Vec<RowChange> {
        let tenant = Tenant::anonymous();
        let at = Timestamp::from_seconds;
        let kept = some_alert("DiskFull", (1, 2, 3), true);
        let print = kept.fingerprint;
        let given = Ack {
            by: "me".to_owned(),
            comment: "on it".to_owned(),
            at: at(4),
            until: Some(at(5)),
        };
        let key = LogKey {
            group: "{}:{alertname=\"DiskFull\"}".to_owned(),
            receiver: "team".to_owned(),
            kind: "slack",
            index: 1,
        };
        let entry = LogEntry {
            firing: [print].into(),
            resolved: [Fingerprint(7)].into(),
            at: at(6),
            kept: BTreeMap::from([("ts".to_owned(), "1.2".to_owned())]),
        };
        let came = History {
            changes: [at(7), at(8)].into(),
            firing: true,
            ends_at: at(9),
            flaps: true,
        };
        let quiet = Silence {
            id: "6aa8d3ff-8ee3-4a8f-8a3c-0d5d4b9b4a11".to_owned(),
            matchers: vec![Matcher::new("node", MatchOp::Regex, "eu-.*").expect("valid")],
            starts_at: at(10),
            ends_at: at(11),
            updated_at: at(12),
            created_by: "me".to_owned(),
            comment: "quiet".to_owned(),
            annotations: BTreeMap::from([("ticket".to_owned(), "1".to_owned())]),
        };
        vec![
            alert(&tenant, &kept),
            ack(&tenant, print, &given),
            told(&tenant, &key, &entry),
            history(&tenant, print, &came),
            silence(&tenant, &quiet),
        ]
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("digits");
        (0..hex.len()).step_by(2).map(digits).collect()
    }

    /// What version 1 wrote is read for ever, and written alike.
    #[test]
    fn golden_rows_are_read_and_written_alike() {
        let file = include_str!("../../fixtures/alertmanager/v1.hex");
        let rows = golden();
        let value = |row: &RowChange| hex(row.value.as_deref().expect("a row"));
        let written = rows
            .iter()
            .map(|row| format!("{} {}\n", hex(&row.key), value(row)));
        assert_eq!(file, written.collect::<String>());
        for (line, row) in file.lines().zip(&rows) {
            let (key, value) = line.split_once(' ').expect("a key and a value");
            let found = read(&bytes(key), &bytes(value));
            assert_eq!(format!("{found:?}"), format!("{:?}", read_back(row)));
            assert!(found.is_some(), "{line}");
        }
    }

    #[test]
    fn other_versions_are_none() {
        let tenant = Tenant::anonymous();
        let mut row = alert(&tenant, &some_alert("a", (1, 2, 3), false));
        let value = row.value.as_mut().expect("a row");
        value[0] = 9;
        assert!(read(&row.key, value).is_none());
    }
}
