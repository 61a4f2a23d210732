//! Groups on disk, one file each. Format: docs/formats/pushgateway-group.md.
//!
//! Invariant: a file is always whole: it is written beside, synced, renamed over the old one, and
//! its folder synced; one that does not end with its own checksum is set aside and told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use md5::{Digest, Md5};
use obs_model::limits::Limits;
use obs_model::{Tenant, Timestamp};
use obs_wire::prometheus::pushed::{Pairs, PushedNative, decode_text, encode_text};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;

use super::groups::{Group, Groups};

const MAGIC: &str = "obs-pushgateway-group 1";
/// The ending of files that are groups.
const ENDING: &str = "group";
/// Largest file that is read: more than a body of the largest size.
const BYTES_MAX: u64 = 1 << 30;

/// What was taken once is taken again, whatever the limits are now.
fn own_limits() -> Limits {
    Limits {
        labels_max: usize::MAX,
        label_name_bytes_max: usize::MAX,
        label_value_bytes_max: usize::MAX,
        decompressed_bytes_max: usize::MAX,
        ..Limits::default()
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    tenant: String,
    labels: Pairs,
    /// When each family was pushed, in nanoseconds since 1970.
    times: BTreeMap<String, i64>,
    /// Native histograms: the family, the place of the metric in it, the message in base 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    native: Vec<(String, usize, String)>,
}

pub(super) fn encode(tenant: &Tenant, group: &Group) -> Result<Vec<u8>, String> {
    let times = group.families.iter();
    let head = Head {
        tenant: tenant.as_str().to_owned(),
        labels: group.labels.clone(),
        times: times.map(|(n, (_, t))| (n.clone(), t.nanos())).collect(),
        native: natives(group),
    };
    let head = serde_json::to_string(&head).map_err(|e| e.to_string())?;
    let mut out = format!("{MAGIC}\n{head}\n").into_bytes();
    encode_text(group.families.values().map(|(family, _)| family), &mut out);
    let sum = u128::from_be_bytes(Md5::digest(&out).into());
    out.extend_from_slice(format!("end\t{sum:032x}\n").as_bytes());
    Ok(out)
}

pub(super) fn decode(bytes: &[u8]) -> Result<(Tenant, Group), String> {
    /// `end`, a tab, 32 digits and the end of the line.
    const LAST: usize = 37;
    let body = bytes.len().checked_sub(LAST).map(|at| bytes.split_at(at));
    let (body, last) = body.ok_or("expected a last line with the checksum")?;
    let sum = u128::from_be_bytes(Md5::digest(body).into());
    if last != format!("end\t{sum:032x}\n").as_bytes() {
        return Err("checksum mismatch".to_owned());
    }
    let mut parts = body.splitn(3, |b| *b == b'\n');
    if parts.next() != Some(MAGIC.as_bytes()) {
        return Err(format!("1:1: expected {MAGIC:?}"));
    }
    let head = parts.next().unwrap_or_default();
    let head: Head = serde_json::from_slice(head).map_err(|e| format!("2:1: {e}"))?;
    let tenant = Tenant::new(&head.tenant).map_err(|e| format!("2:1: {e}"))?;
    let text = parts.next().unwrap_or_default();
    let pushed = decode_text(text, &own_limits()).map_err(|e| format!("after line 2: {e}"))?;
    let mut pushed = pushed;
    for (family, place, message) in head.native {
        let fault = |why: String| format!("2:1: native histogram of {family:?}: {why}");
        let message = BASE64.decode(message).map_err(|e| fault(e.to_string()))?;
        let native = PushedNative::decode(&message, &own_limits());
        let native = native.map_err(|e| fault(e.to_string()))?;
        let of = pushed.families.get_mut(&family);
        let metric = of.and_then(|of| of.metrics.get_mut(place));
        let metric = metric.ok_or_else(|| fault(format!("no metric {place}")))?;
        metric.native = native.map(Arc::new);
    }
    let families = pushed.families.into_iter().map(|(name, family)| {
        let time = head.times.get(&name).copied().unwrap_or_default();
        (name, (family, Timestamp::from_nanos(time)))
    });
    let group = Group {
        labels: head.labels,
        families: families.collect(),
    };
    Ok((tenant, group))
}

fn natives(group: &Group) -> Vec<(String, usize, String)> {
    let families = group.families.iter();
    let all = families.flat_map(|(name, (family, _))| {
        let metrics = family.metrics.iter().enumerate();
        metrics.filter_map(move |(place, metric)| {
            let message = BASE64.encode(&metric.native.as_ref()?.message);
            Some((name.clone(), place, message))
        })
    });
    all.collect()
}

/// The file of a group: names of labels may hold anything, so it is a hash.
pub(super) fn path(folder: &Path, tenant: &Tenant, labels: &Pairs) -> PathBuf {
    let mut hash = Md5::new();
    for text in std::iter::once(tenant.as_str()).chain(
        labels
            .iter()
            .flat_map(|(name, value)| [name.as_str(), value.as_str()]),
    ) {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    let name = u128::from_be_bytes(hash.finalize().into());
    folder.join(format!("{name:032x}.{ENDING}"))
}

/// Keeps a group; durable on return.
pub(super) async fn save(folder: &Path, tenant: &Tenant, group: &Group) -> Result<(), String> {
    let path = path(folder, tenant, &group.labels);
    let bytes = encode(tenant, group)?;
    let write = async {
        tokio::fs::create_dir_all(folder).await?;
        let beside = path.with_extension("new");
        let mut file = tokio::fs::File::create(&beside).await?;
        file.write_all(&bytes).await?;
        file.sync_all().await?;
        tokio::fs::rename(&beside, &path).await?;
        tokio::fs::File::open(folder).await?.sync_all().await
    };
    let outcome: std::io::Result<()> = write.await;
    outcome.map_err(|e| format!("{}: {e}", path.display()))
}

/// Forgets a group; durable on return.
pub(super) async fn remove(folder: &Path, tenant: &Tenant, labels: &Pairs) -> Result<(), String> {
    let path = path(folder, tenant, labels);
    let outcome = match tokio::fs::remove_file(&path).await {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => Err(e),
        Ok(()) => match tokio::fs::File::open(folder).await {
            Ok(folder) => folder.sync_all().await,
            Err(e) => Err(e),
        },
    };
    outcome.map_err(|e| format!("{}: {e}", path.display()))
}

/// Reads all groups. A file that cannot be understood keeps its bytes under another name.
pub(super) async fn load_all(folder: &Path, groups: &mut Groups) -> std::io::Result<()> {
    let mut entries = match tokio::fs::read_dir(folder).await {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    while let Some(entry) = entries.next_entry().await? {
        let path = entry.path();
        if path.extension().is_none_or(|ending| ending != ENDING) {
            continue;
        }
        let bytes = match entry.metadata().await?.len() {
            large if large > BYTES_MAX => Err(format!("expected at most {BYTES_MAX} bytes")),
            _ => Ok(tokio::fs::read(&path).await?),
        };
        match bytes.and_then(|bytes| decode(&bytes)) {
            Ok((tenant, group)) => groups.put(&tenant, group),
            Err(error) => {
                tracing::error!(path = %path.display(), error, "a pushed group is damaged");
                tokio::fs::rename(&path, path.with_extension("damaged")).await?;
            }
        }
    }
    Ok(())
}
