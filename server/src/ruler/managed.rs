//! Groups that came over an API: kept on disk, evaluated beside those of files.
//!
//! Invariant: what a call has acknowledged is on disk and evaluated; after a restart the same
//! groups are there. The rows are specified in `docs/formats/rule-groups.md`.

use std::sync::{Arc, Mutex};

use anyhow::Context;
use obs_alerting::rules::{Group, Parsing};
use obs_model::Tenant;
use obs_model::limits::Limits;
use obs_query::Language;
use obs_storage::{Change, Disk, Table, TableError};

use super::{GroupKey, Member, Origin, Replaced, Ruler, Stopping, lock};
use crate::app::App;

/// The folder of the table in the data directory.
const FOLDER: &str = "rules";
/// Groups that a tenant may have; far more than anybody writes.
pub(crate) const GROUPS_MAX: usize = 10_000;

/// The table of groups.
#[derive(Debug)]
pub(crate) struct Managed {
    table: Mutex<Table>,
}

/// Why a group was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManageError {
    /// The disk.
    #[error("the group could not be kept: {0}")]
    Table(#[from] TableError),
    /// Too many.
    #[error("expected at most {GROUPS_MAX} groups of a tenant, found one more")]
    TooMany,
    /// The process ends.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

impl Origin {
    /// The language of expressions that name none.
    pub(crate) fn language(self) -> Language {
        match self {
            Self::Loki => Language::Logql,
            Self::File | Self::Api | Self::Kubernetes => Language::Promql,
        }
    }

    /// The word of groups that came over an API.
    fn word(self) -> Option<&'static str> {
        match self {
            Self::Api => Some("api"),
            Self::Loki => Some("loki"),
            Self::File | Self::Kubernetes => None,
        }
    }
}

impl Managed {
    /// Opens the table. Blocks.
    pub(crate) fn open(disk: &Arc<dyn Disk>, salt: u32) -> anyhow::Result<Self> {
        let opened = Table::open(Arc::clone(disk), FOLDER, salt);
        let (table, damage) = opened.context("open the groups of rules")?;
        for damage in damage {
            tracing::error!(%damage, "groups of rules are damaged");
        }
        Ok(Self {
            table: Mutex::new(table),
        })
    }

    /// All groups; one that cannot be read is told and left where it is.
    pub(super) fn groups(&self, limits: &Limits) -> Vec<(GroupKey, Group)> {
        let table = lock(&self.table);
        let tenants: Vec<Tenant> = table.tenants().cloned().collect();
        let mut found = Vec::new();
        for tenant in tenants {
            for (row, value) in table.rows(&tenant) {
                match read(&tenant, row, value, limits) {
                    Ok(group) => found.push(group),
                    Err(fault) => tracing::error!(
                        row = %String::from_utf8_lossy(row),
                        fault,
                        "a group of rules that was kept is not evaluated"
                    ),
                }
            }
        }
        found
    }

    /// Writes changes of one tenant. Blocks.
    fn write(&self, changes: &[(GroupKey, Option<String>)]) -> Result<(), TableError> {
        let rows: Vec<Vec<u8>> = changes.iter().map(|(key, _)| row(key)).collect();
        let changes = changes.iter().zip(&rows);
        let changes = changes.map(|((key, text), row)| Change {
            tenant: &key.tenant,
            key: row,
            value: text.as_ref().map(String::as_bytes),
        });
        lock(&self.table).write(&changes.collect::<Vec<_>>())
    }
}

/// The key of a group's row.
fn row(key: &GroupKey) -> Vec<u8> {
    let word = key.origin.word().unwrap_or_default();
    format!("{word}\0{}\0{}", key.file, key.name).into_bytes()
}

/// The group of a row.
fn read(
    tenant: &Tenant,
    row: &[u8],
    value: &[u8],
    limits: &Limits,
) -> Result<(GroupKey, Group), String> {
    let row = std::str::from_utf8(row).map_err(|e| e.to_string())?;
    let mut parts = row.splitn(3, '\0');
    let mut part = || parts.next().ok_or("expected origin, namespace and name");
    let origin = match part()? {
        "api" => Origin::Api,
        "loki" => Origin::Loki,
        other => return Err(format!("expected api or loki, found {other:?}")),
    };
    let key = GroupKey {
        tenant: tenant.clone(),
        origin,
        file: part()?.to_owned(),
        name: part()?.to_owned(),
    };
    let text = std::str::from_utf8(value).map_err(|e| e.to_string())?;
    let group = Group::parse(text, &parsing(origin, limits)).map_err(|e| e.to_string())?;
    Ok((key, group))
}

/// How groups of an origin are read.
pub(crate) fn parsing(origin: Origin, limits: &Limits) -> Parsing {
    Parsing {
        language: origin.language(),
        lenient: false,
        limits: *limits,
    }
}

impl Ruler {
    /// The groups of a tenant that came over an API.
    pub(crate) fn managed(&self, tenant: &Tenant, origin: Origin) -> Vec<Arc<Member>> {
        let mut own = self.groups_of(tenant);
        own.retain(|member| member.key.origin == origin);
        own
    }

    /// Keeps a group and evaluates it from now on, in place of the one of the same name.
    pub(crate) async fn put(
        self: &Arc<Self>,
        app: &Arc<App>,
        key: GroupKey,
        text: String,
        group: Group,
    ) -> Result<(), ManageError> {
        self.changed(app, move |ruler, app| {
            let is_new = !lock(&ruler.members).contains_key(&key);
            if is_new && ruler.managed(&key.tenant, key.origin).len() >= GROUPS_MAX {
                return Err(ManageError::TooMany);
            }
            ruler.kept.managed.write(&[(key.clone(), Some(text))])?;
            let replaced = Replaced::These(vec![key.clone()]);
            ruler.replace(app, &replaced, vec![(key, group)]);
            Ok(())
        })
        .await?
    }

    /// Forgets groups and ends them; says how many there were.
    pub(crate) async fn remove(
        self: &Arc<Self>,
        app: &Arc<App>,
        (tenant, origin): (&Tenant, Origin),
        wanted: impl Fn(&GroupKey) -> bool + Send + 'static,
    ) -> Result<usize, ManageError> {
        let tenant = tenant.clone();
        self.changed(app, move |ruler, app| {
            let own = ruler.managed(&tenant, origin);
            let keys = own.iter().map(|member| &member.key);
            let gone: Vec<GroupKey> = keys.filter(|key| wanted(key)).cloned().collect();
            let changes: Vec<_> = gone.iter().map(|key| (key.clone(), None)).collect();
            ruler.kept.managed.write(&changes)?;
            let count = gone.len();
            ruler.replace(app, &Replaced::These(gone), Vec::new());
            Ok(count)
        })
        .await?
    }
}
