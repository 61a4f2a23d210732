//! Dashboards: those that come with the binary, those of folders that the configuration names, and
//! those that users saved, each before the ones named earlier. They are Grafana's JSON and are kept
//! as they came.
//!
//! Invariant: what a call has acknowledged is on disk. The rows are specified in
//! `docs/formats/dashboards.md`.

mod bundled;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use obs_model::{Tenant, Timestamp};
use obs_storage::{Change, Disk, Table, TableError};
use serde::Deserialize;
use serde_json::Value;

/// The folder of the table in the data directory.
const FOLDER: &str = "dashboards";
/// Largest dashboard.
pub(crate) const DASHBOARD_BYTES_MAX: usize = 4 << 20;
/// Dashboards that a tenant may save; all of them are in memory.
pub(crate) const DASHBOARDS_MAX: usize = 2000;
/// Longest uid; Grafana's have 40.
const UID_BYTES_MAX: usize = 128;
/// When it was saved, before the text in a row.
const TIME_BYTES: usize = 8;

/// Uid and JSON of the dashboards that come with the binary.
pub fn bundled() -> impl Iterator<Item = (&'static str, &'static str)> {
    bundled::ALL.iter().copied()
}

/// Where a dashboard comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The binary.
    Bundled,
    /// A folder that the configuration names.
    Folder,
    /// Somebody saved it then.
    Saved(Timestamp),
}

/// What a list says of a dashboard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) uid: String,
    pub(crate) title: String,
    pub(crate) tags: Vec<String>,
    pub(crate) source: Source,
}

/// Why a dashboard was not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DashboardError {
    /// It is not one.
    #[error("{0}")]
    Invalid(String),
    /// The disk.
    #[error("the dashboard could not be kept: {0}")]
    Table(#[from] TableError),
    /// Too many.
    #[error("expected at most {DASHBOARDS_MAX} saved dashboards of a tenant, found one more")]
    TooMany,
    /// The process ends.
    #[error("the server stops")]
    Stopping,
}

/// What is read of the JSON; the rest is the page's.
#[derive(Debug, Deserialize)]
struct Head {
    #[serde(default)]
    uid: Option<String>,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    tags: Option<Vec<String>>,
}

/// A dashboard of a file.
#[derive(Clone, Debug)]
pub(crate) struct Provided {
    summary: Summary,
    text: String,
}

#[derive(Debug)]
struct Saved {
    table: Table,
    summaries: BTreeMap<Tenant, BTreeMap<String, Summary>>,
}

/// All dashboards.
#[derive(Debug)]
pub(crate) struct Dashboards {
    saved: Mutex<Saved>,
    provided: Mutex<Arc<BTreeMap<String, Provided>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Dashboards {
    /// Opens what was saved. Blocks.
    pub(crate) fn open(disk: &Arc<dyn Disk>, salt: u32) -> anyhow::Result<Self> {
        let opened = Table::open(Arc::clone(disk), FOLDER, salt);
        let (table, damage) = opened.context("open the dashboards")?;
        for damage in damage {
            tracing::error!(%damage, "saved dashboards are damaged");
        }
        let mut summaries: BTreeMap<Tenant, BTreeMap<String, Summary>> = BTreeMap::new();
        for tenant in table.tenants().cloned().collect::<Vec<_>>() {
            let own = summaries.entry(tenant.clone()).or_default();
            for (uid, row) in table.rows(&tenant) {
                let uid = String::from_utf8_lossy(uid).into_owned();
                match read_row(&uid, row) {
                    Some(summary) => drop(own.insert(uid, summary)),
                    None => tracing::error!(uid, "a saved dashboard cannot be read"),
                }
            }
        }
        Ok(Self {
            saved: Mutex::new(Saved { table, summaries }),
            provided: Mutex::default(),
        })
    }

    /// Takes the dashboards of folders, in place of those that were there before.
    pub(crate) fn provide(&self, all: Vec<Provided>) {
        let all = all.into_iter().map(|one| (one.summary.uid.clone(), one));
        *lock(&self.provided) = Arc::new(all.collect());
    }

    /// All that a tenant sees, in order of their titles.
    pub(crate) fn list(&self, tenant: &Tenant) -> Vec<Summary> {
        let mut all: BTreeMap<String, Summary> = BTreeMap::new();
        let own = bundled_summaries().iter().cloned();
        all.extend(own.map(|summary| (summary.uid.clone(), summary)));
        let provided = Arc::clone(&lock(&self.provided));
        let provided = provided.values().map(|one| one.summary.clone());
        all.extend(provided.map(|summary| (summary.uid.clone(), summary)));
        if let Some(own) = lock(&self.saved).summaries.get(tenant) {
            all.extend(own.clone());
        }
        let mut all: Vec<Summary> = all.into_values().collect();
        all.sort_by(|a, b| (&a.title, &a.uid).cmp(&(&b.title, &b.uid)));
        all
    }

    /// The JSON of a dashboard.
    pub(crate) fn get(&self, tenant: &Tenant, uid: &str) -> Option<Vec<u8>> {
        if let Some(row) = lock(&self.saved).table.get(tenant, uid.as_bytes()) {
            return row.get(TIME_BYTES..).map(<[u8]>::to_vec);
        }
        if let Some(one) = lock(&self.provided).get(uid) {
            return Some(one.text.clone().into_bytes());
        }
        let bundled = bundled::ALL.iter().find(|(known, _)| *known == uid);
        bundled.map(|(_, text)| text.as_bytes().to_vec())
    }

    /// Saves a dashboard, durable on return.
    pub(crate) async fn put(
        self: &Arc<Self>,
        tenant: &Tenant,
        uid: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Summary, DashboardError> {
        let text = checked(uid, body).map_err(DashboardError::Invalid)?;
        let summary = summary(uid, &text, Source::Saved(now))
            .ok_or_else(|| DashboardError::Invalid("expected a dashboard".to_owned()))?;
        let mut row = now.nanos().to_le_bytes().to_vec();
        row.extend_from_slice(text.as_bytes());
        self.write(tenant, uid, Some((row, summary.clone())))
            .await?;
        Ok(summary)
    }

    /// Forgets a saved dashboard; says whether there was one.
    pub(crate) async fn remove(
        self: &Arc<Self>,
        tenant: &Tenant,
        uid: &str,
    ) -> Result<bool, DashboardError> {
        self.write(tenant, uid, None).await
    }

    /// Writes off the event loop; says whether there was one before.
    #[expect(
        clippy::disallowed_methods,
        reason = "a small write to disk, off the event loop"
    )]
    async fn write(
        self: &Arc<Self>,
        tenant: &Tenant,
        uid: &str,
        row: Option<(Vec<u8>, Summary)>,
    ) -> Result<bool, DashboardError> {
        let (all, tenant, uid) = (Arc::clone(self), tenant.clone(), uid.to_owned());
        let write = move || lock(&all.saved).write(&tenant, uid, row);
        let written = tokio::task::spawn_blocking(write).await;
        written.map_err(|_| DashboardError::Stopping)?
    }
}

impl Saved {
    fn write(
        &mut self,
        tenant: &Tenant,
        uid: String,
        row: Option<(Vec<u8>, Summary)>,
    ) -> Result<bool, DashboardError> {
        let own = self.summaries.entry(tenant.clone()).or_default();
        let known = own.contains_key(&uid);
        if row.is_none() && !known {
            return Ok(false);
        }
        if !known && own.len() >= DASHBOARDS_MAX {
            return Err(DashboardError::TooMany);
        }
        let value = row.as_ref().map(|(bytes, _)| bytes.as_slice());
        let key = uid.as_bytes();
        self.table.write(&[Change { tenant, key, value }])?;
        match row {
            Some((_, summary)) => drop(own.insert(uid, summary)),
            None => drop(own.remove(&uid)),
        }
        Ok(known)
    }
}

/// What a list says of those of the binary; they are read once.
fn bundled_summaries() -> &'static [Summary] {
    static ALL: LazyLock<Vec<Summary>> = LazyLock::new(|| {
        let all = bundled::ALL.iter();
        all.filter_map(|(uid, text)| summary(uid, text, Source::Bundled))
            .collect()
    });
    &ALL
}

/// What a list says of a JSON text; `None` if it is no dashboard.
fn summary(uid: &str, text: &str, source: Source) -> Option<Summary> {
    let head: Head = serde_json::from_str(text).ok()?;
    Some(Summary {
        uid: uid.to_owned(),
        title: head.title.unwrap_or_else(|| uid.to_owned()),
        tags: head.tags.unwrap_or_default(),
        source,
    })
}

fn read_row(uid: &str, row: &[u8]) -> Option<Summary> {
    let (time, text) = row.split_first_chunk::<TIME_BYTES>()?;
    let time = Timestamp::from_nanos(i64::from_le_bytes(*time));
    summary(uid, std::str::from_utf8(text).ok()?, Source::Saved(time))
}

/// The fault of a uid: it becomes a part of addresses.
fn uid_fault(uid: &str) -> Option<String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if uid.is_empty() || uid.len() > UID_BYTES_MAX || !uid.chars().all(good) {
        return Some(format!(
            "invalid uid {uid:?}: expected 1 to {UID_BYTES_MAX} of the characters a-z A-Z 0-9 - _ ."
        ));
    }
    None
}

/// The text that is kept of a dashboard that was sent: as it came, with the uid of its address.
/// What Grafana's API wraps it in goes.
fn checked(uid: &str, body: &[u8]) -> Result<String, String> {
    if let Some(fault) = uid_fault(uid) {
        return Err(fault);
    }
    let mut value: Value =
        serde_json::from_slice(body).map_err(|error| format!("expected JSON: {error}"))?;
    if value.get("panels").is_none()
        && let Some(inner) = value.get_mut("dashboard").filter(|inner| inner.is_object())
    {
        value = inner.take();
    }
    let Value::Object(fields) = &mut value else {
        return Err("expected a JSON object, a dashboard".to_owned());
    };
    for (key, expected) in [
        ("title", "a text"),
        ("panels", "a list"),
        ("tags", "a list"),
    ] {
        let good = match (key, fields.get(key)) {
            (_, None | Some(Value::Null)) => true,
            ("title", Some(found)) => found.is_string(),
            ("tags", Some(Value::Array(tags))) => tags.iter().all(Value::is_string),
            (_, Some(found)) => found.is_array(),
        };
        if !good {
            return Err(format!("invalid {key}: expected {expected}"));
        }
    }
    let same = fields.get("uid").and_then(Value::as_str) == Some(uid);
    if same
        && fields.contains_key("panels")
        && let Ok(text) = std::str::from_utf8(body)
    {
        return Ok(text.to_owned());
    }
    fields.insert("uid".to_owned(), uid.into());
    Ok(value.to_string())
}

/// Reads the `*.json` of folders; a file that is no dashboard is a fault.
pub(crate) async fn read_folders(
    folders: &[PathBuf],
    from: &Path,
) -> anyhow::Result<Vec<Provided>> {
    let mut all = Vec::new();
    for folder in folders {
        let folder = from.join(folder);
        let shown = || format!("obs.dashboards.folders: read {}", folder.display());
        let mut entries = tokio::fs::read_dir(&folder).await.with_context(shown)?;
        let mut paths = Vec::new();
        while let Some(entry) = entries.next_entry().await.with_context(shown)? {
            let path = entry.path();
            if path.extension().is_some_and(|end| end == "json") {
                paths.push(path);
            }
        }
        paths.sort();
        for path in paths {
            let shown = || format!("obs.dashboards.folders: {}", path.display());
            let bytes = tokio::fs::read(&path).await.with_context(shown)?;
            let one = provided(&path, &bytes).map_err(anyhow::Error::msg);
            all.push(one.with_context(shown)?);
        }
    }
    Ok(all)
}

/// The dashboard of a file; without a uid it has the file's name.
fn provided(path: &Path, bytes: &[u8]) -> Result<Provided, String> {
    if bytes.len() > DASHBOARD_BYTES_MAX {
        return Err(format!("expected at most {DASHBOARD_BYTES_MAX} bytes"));
    }
    let head: Head =
        serde_json::from_slice(bytes).map_err(|error| format!("expected a dashboard: {error}"))?;
    let stem = || {
        path.file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
    };
    let uid = head.uid.filter(|uid| !uid.is_empty()).or_else(stem);
    let uid = uid.ok_or("expected a uid")?;
    let text = checked(&uid, bytes)?;
    let summary = summary(&uid, &text, Source::Folder).ok_or("expected a dashboard")?;
    Ok(Provided { summary, text })
}

#[cfg(test)]
mod tests {
    use obs_storage::SimDisk;
    use serde_json::json;

    use super::*;

    fn open(disk: &SimDisk) -> Arc<Dashboards> {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        Arc::new(Dashboards::open(&disk, 7).expect("a disk that works"))
    }

    fn parsed(bytes: Option<Vec<u8>>) -> Value {
        serde_json::from_slice(&bytes.expect("it is there")).expect("JSON")
    }

    #[test]
    fn those_of_the_binary_are_whole() {
        let disk = SimDisk::new(1);
        let listed = open(&disk).list(&Tenant::anonymous());
        assert_eq!(listed.len(), bundled::ALL.len());
        // They are read once, not for each list.
        let summaries = bundled_summaries().as_ptr();
        assert_eq!(summaries, bundled_summaries().as_ptr());
        for (uid, text) in bundled::ALL {
            let value: Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(value["uid"], *uid);
            assert_eq!(uid_fault(uid), None);
        }
    }

    #[tokio::test]
    async fn saved_ones_stand_before_others_and_stay() {
        let (disk, tenant) = (SimDisk::new(2), Tenant::anonymous());
        let all = open(&disk);
        let (uid, _) = bundled::ALL[0];
        let mine = json!({"title": "mine", "tags": ["a"], "panels": []}).to_string();
        let now = Timestamp::from_seconds(5);
        let saved = all.put(&tenant, uid, mine.as_bytes(), now).await;
        assert_eq!(saved.expect("taken").source, Source::Saved(now));
        drop(all);
        disk.crash();
        let all = open(&disk);
        let expect = json!({"uid": uid, "title": "mine", "tags": ["a"], "panels": []});
        assert_eq!(parsed(all.get(&tenant, uid)), expect);
        assert_eq!(all.list(&tenant).len(), bundled::ALL.len());
        let other = Tenant::new("other").expect("a tenant");
        assert_ne!(parsed(all.get(&other, uid)), expect);
        assert!(all.remove(&tenant, uid).await.expect("written"));
        assert!(!all.remove(&tenant, uid).await.expect("nothing to write"));
        assert_ne!(parsed(all.get(&tenant, uid)), expect);
    }

    #[test]
    fn what_is_sent_is_checked() {
        let check = |uid: &str, body: &str, expect: Result<&str, &str>| {
            let found = checked(uid, body.as_bytes());
            assert_eq!(found.as_deref().map_err(|e| e.as_str()), expect, "{body}");
        };
        check(
            "a",
            r#"{"uid": "a", "panels": [ ]}"#,
            Ok(r#"{"uid": "a", "panels": [ ]}"#),
        );
        check(
            "a",
            r#"{"panels":[],"uid":"b"}"#,
            Ok(r#"{"panels":[],"uid":"a"}"#),
        );
        check(
            "a",
            r#"{"dashboard":{"title":"t"},"overwrite":true}"#,
            Ok(r#"{"title":"t","uid":"a"}"#),
        );
        check("a", "[]", Err("expected a JSON object, a dashboard"));
        check("a", r#"{"title":1}"#, Err("invalid title: expected a text"));
        check(
            "a",
            r#"{"panels":{}}"#,
            Err("invalid panels: expected a list"),
        );
        check("a", r#"{"tags":[1]}"#, Err("invalid tags: expected a list"));
        check(
            "a",
            "{",
            Err("expected JSON: EOF while parsing an object at line 1 column 1"),
        );
        let bad = "invalid uid \"a/b\": expected 1 to 128 of the characters a-z A-Z 0-9 - _ .";
        check("a/b", "{}", Err(bad));
    }

    #[tokio::test]
    async fn folders_provide_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("team.json");
        tokio::fs::write(&path, r#"{"title":"Team","panels":[]}"#)
            .await
            .expect("written");
        tokio::fs::write(folder.path().join("notes.txt"), "x")
            .await
            .expect("written");
        let folders = [PathBuf::from(".")];
        let read = read_folders(&folders, folder.path()).await.expect("read");
        let disk = SimDisk::new(3);
        let all = open(&disk);
        all.provide(read);
        assert_eq!(
            parsed(all.get(&Tenant::anonymous(), "team"))["title"],
            "Team"
        );
        tokio::fs::write(&path, "[]").await.expect("written");
        let fault = read_folders(&folders, folder.path())
            .await
            .expect_err("no dashboard");
        assert!(format!("{fault:#}").contains("team.json"), "{fault:#}");
    }
}
