//! Dashboards: those that come with obs, and those that users keep.
//!
//! Invariant: what is kept is a JSON object whose `uid` is the one that it is kept under; it stands
//! before a bundled one of the same uid. The rows are specified in `docs/formats/dashboards.md`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use obs_model::{Tenant, Timestamp};
use obs_storage::{Change, Disk, Table, TableError};
use serde_json::{Value, json};

include!(concat!(env!("OUT_DIR"), "/dashboards.rs"));

/// The folder of the table in the data directory.
const FOLDER: &str = "dashboards";
/// Dashboards that a tenant may keep; far more than anybody makes.
const KEPT_MAX: usize = 10_000;
/// Largest dashboard; those of the wild have up to half a megabyte.
pub(crate) const BYTES_MAX: usize = 4 << 20;
/// Longest uid; Grafana's have up to 40.
const UID_BYTES_MAX: usize = 128;
/// Bytes of the time before the JSON.
const TIME_BYTES: usize = 8;

/// The dashboards of all tenants.
#[derive(Debug)]
pub(crate) struct Dashboards(Mutex<Table>);

/// What a list says of a dashboard.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) title: String,
    pub(crate) tags: Vec<String>,
    /// Comes with obs and nobody has written over it.
    pub(crate) builtin: bool,
    pub(crate) updated: Option<Timestamp>,
}

/// Why a dashboard was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    /// It is none.
    #[error("{0}")]
    Wrong(String),
    /// Too many, or too large.
    #[error("{0}")]
    TooMuch(String),
    /// The disk.
    #[error("the dashboard could not be kept: {0}")]
    Table(#[from] TableError),
}

impl Dashboards {
    /// Opens the table. Blocks.
    pub(crate) fn open(disk: &Arc<dyn Disk>, salt: u32) -> anyhow::Result<Self> {
        let opened = Table::open(Arc::clone(disk), FOLDER, salt);
        let (table, damage) = opened.context("open the dashboards")?;
        for damage in damage {
            tracing::error!(%damage, "dashboards are damaged");
        }
        Ok(Self(Mutex::new(table)))
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The JSON of a dashboard.
    pub(crate) fn get(&self, tenant: &Tenant, uid: &str) -> Option<Vec<u8>> {
        let table = self.lock();
        let kept = table.get(tenant, uid.as_bytes());
        match kept.and_then(|row| row.get(TIME_BYTES..)) {
            Some(json) => Some(json.to_vec()),
            None => bundled(uid).map(|text| text.as_bytes().to_vec()),
        }
    }

    /// All dashboards of a tenant by their uid.
    pub(crate) fn list(&self, tenant: &Tenant) -> BTreeMap<String, Summary> {
        let mut all = BTreeMap::new();
        for (uid, text) in DASHBOARDS {
            all.extend(summary(text.as_bytes(), None).map(|told| ((*uid).to_owned(), told)));
        }
        for (uid, row) in self.lock().rows(tenant) {
            let Some((time, json)) = row.split_first_chunk::<TIME_BYTES>() else {
                continue;
            };
            let uid = String::from_utf8_lossy(uid).into_owned();
            let updated = Timestamp::from_nanos(i64::from_le_bytes(*time));
            all.extend(summary(json, Some(updated)).map(|told| (uid, told)));
        }
        all
    }

    /// Keeps a dashboard, durable on return. Blocks.
    pub(crate) fn put(
        &self,
        tenant: &Tenant,
        uid: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Result<(), KeepError> {
        let json = checked(uid, body).map_err(KeepError::Wrong)?;
        let mut row = now.nanos().to_le_bytes().to_vec();
        row.extend_from_slice(json.to_string().as_bytes());
        if row.len() > BYTES_MAX {
            let found = row.len();
            let text = format!("expected a dashboard of at most {BYTES_MAX} bytes, found {found}");
            return Err(KeepError::TooMuch(text));
        }
        let mut table = self.lock();
        let is_new = table.get(tenant, uid.as_bytes()).is_none();
        if is_new && table.rows(tenant).count() >= KEPT_MAX {
            let text =
                format!("expected at most {KEPT_MAX} dashboards of a tenant, found one more");
            return Err(KeepError::TooMuch(text));
        }
        let change = Change {
            tenant,
            key: uid.as_bytes(),
            value: Some(&row),
        };
        Ok(table.write(&[change])?)
    }

    /// Forgets a dashboard, durable on return; `false` where none was kept. Blocks.
    pub(crate) fn remove(&self, tenant: &Tenant, uid: &str) -> Result<bool, KeepError> {
        let mut table = self.lock();
        if table.get(tenant, uid.as_bytes()).is_none() {
            return Ok(false);
        }
        let change = Change {
            tenant,
            key: uid.as_bytes(),
            value: None,
        };
        table.write(&[change])?;
        Ok(true)
    }
}

/// A dashboard that comes with obs.
pub(crate) fn bundled(uid: &str) -> Option<&'static str> {
    let at = DASHBOARDS.binary_search_by(|(known, _)| (*known).cmp(uid));
    at.ok().map(|at| DASHBOARDS[at].1)
}

fn summary(json: &[u8], updated: Option<Timestamp>) -> Option<Summary> {
    let json: Value = serde_json::from_slice(json).ok()?;
    let tags = json["tags"].as_array().into_iter().flatten();
    Some(Summary {
        title: json["title"].as_str().unwrap_or_default().to_owned(),
        tags: tags.filter_map(Value::as_str).map(str::to_owned).collect(),
        builtin: updated.is_none(),
        updated,
    })
}

/// The dashboard of a body under its uid: the object itself, or as Grafana's API wraps it.
fn checked(uid: &str, body: &[u8]) -> Result<Value, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if uid.is_empty() || uid.len() > UID_BYTES_MAX || !uid.bytes().all(fits) {
        return Err(format!(
            "uid: expected 1 to {UID_BYTES_MAX} letters, digits, - and _, found {uid:?}"
        ));
    }
    let mut json: Value = serde_json::from_slice(body).map_err(|e| format!("not JSON: {e}"))?;
    if json.get("dashboard").is_some_and(Value::is_object) {
        json = json["dashboard"].take();
    }
    match json.as_object_mut() {
        Some(object) => object.insert("uid".to_owned(), json!(uid)),
        None => return Err("expected a dashboard: a JSON object".to_owned()),
    };
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken() {
        let check = |uid: &str, body: &str, expect: Result<&str, &str>| {
            let found = checked(uid, body.as_bytes()).map(|json| json.to_string());
            match (found, expect) {
                (Ok(found), Ok(expect)) => assert_eq!(found, expect),
                (Err(fault), Err(expect)) => assert!(fault.contains(expect), "{fault}"),
                (found, expect) => panic!("{uid} {body}: {found:?}, {expect:?}"),
            }
        };
        check("a", "{}", Ok(r#"{"uid":"a"}"#));
        check("a", r#"{"uid":"b"}"#, Ok(r#"{"uid":"a"}"#));
        check(
            "a",
            r#"{"dashboard":{"id":1}}"#,
            Ok(r#"{"id":1,"uid":"a"}"#),
        );
        check("a", "[]", Err("a JSON object"));
        check("a", "{", Err("not JSON"));
        check("a/b", "{}", Err("found \"a/b\""));
        check("", "{}", Err("expected 1 to"));
    }

    #[test]
    fn bundled_ones_are_found() {
        assert!(DASHBOARDS.len() >= 16 && DASHBOARDS.is_sorted());
        assert!(bundled("obs-node").is_some_and(|text| text.contains("\"obs-node\"")));
        assert!(bundled("node").is_none());
    }
}
