//! Removing old backups, and the objects that no backup has.
//!
//! Invariant: what a manifest names is never removed, also while backups are made. A prune says
//! what it condemns before it looks who runs; a backup says that it runs before it looks what is
//! condemned (see `copy.rs`): one of them sees the other. When a backup runs, no object is removed.

use std::collections::BTreeSet;

use anyhow::{Context, bail};

use super::copy::{STALE_NANOS, draft_key, drafts, manifest_key, manifests, new_id};
use super::manifest::{Manifest, tag_of};
use super::place::{Object, Place};
use crate::client::now;

/// What was removed.
#[derive(Debug, Default)]
pub(super) struct Pruned {
    /// Ids of backups.
    pub(super) removed: Vec<String>,
    pub(super) kept: Vec<String>,
    /// Objects, and their bytes.
    pub(super) objects: usize,
    pub(super) bytes: u64,
    /// Backups for which objects stay.
    pub(super) running: Vec<String>,
}

/// Keeps the newest backups.
pub(super) async fn prune(place: &Place, keep: usize, dry_run: bool) -> anyhow::Result<Pruned> {
    let mut all = whole(place).await?;
    all.sort_by(|a, b| a.id.cmp(&b.id));
    let going = all.len().saturating_sub(keep);
    let kept = all.split_off(going);
    let mut done = Pruned {
        removed: all.iter().map(|manifest| manifest.id.clone()).collect(),
        kept: kept.iter().map(|manifest| manifest.id.clone()).collect(),
        ..Pruned::default()
    };
    if dry_run {
        let named = named(&kept);
        for object in candidates(place, &named).await? {
            done.objects += 1;
            done.bytes += object.bytes;
        }
        done.running = running(place, false).await?;
        return Ok(done);
    }
    // Before their objects: a manifest whose objects are gone would be a backup that is broken.
    for id in &done.removed {
        place.delete(&manifest_key(id)).await?;
    }
    forget_stale(place).await?;
    let condemned = candidates(place, &named(&kept)).await?;
    if condemned.is_empty() {
        return Ok(done);
    }
    let list = format!("garbage/{}", new_id(now()));
    let keys: Vec<&str> = condemned.iter().map(|object| object.key.as_str()).collect();
    place.put(&list, keys.join("\n").into_bytes()).await?;
    let swept = sweep(place, &condemned, &mut done).await;
    // Whatever happened: nothing is removed any more because of it.
    let forgotten = place.delete(&list).await;
    swept?;
    forgotten?;
    Ok(done)
}

/// Removes what was condemned, unless somebody may use it.
async fn sweep(place: &Place, condemned: &[Object], done: &mut Pruned) -> anyhow::Result<()> {
    done.running = running(place, true).await?;
    if !done.running.is_empty() {
        return Ok(());
    }
    // Again: a backup that ran before may have come to its end meanwhile.
    let named = named(&whole(place).await?);
    for object in condemned.iter().filter(|o| !named.contains(&o.key)) {
        place.delete(&object.key).await?;
        done.objects += 1;
        done.bytes += object.bytes;
    }
    Ok(())
}

/// All manifests; one that cannot be read keeps everything: nobody knows what it names.
async fn whole(place: &Place) -> anyhow::Result<Vec<Manifest>> {
    let read = manifests(place).await?;
    match read.faults.first() {
        None => Ok(read.all),
        Some(fault) => bail!(
            "{fault}; nothing is removed while it is there, because nobody knows which objects it \
             has: remove it by hand if it is of no use"
        ),
    }
}

fn named(manifests: &[Manifest]) -> BTreeSet<String> {
    let files = manifests.iter().flat_map(|manifest| &manifest.files);
    files.map(|file| file.object.clone()).collect()
}

/// Objects that no manifest names.
async fn candidates(place: &Place, named: &BTreeSet<String>) -> anyhow::Result<Vec<Object>> {
    let mut objects = place.list("objects").await?;
    objects.retain(|object| tag_of(&object.key).is_some() && !named.contains(&object.key));
    Ok(objects)
}

/// Backups that run. Drafts of those that ended go, where that is wanted.
async fn running(place: &Place, forget: bool) -> anyhow::Result<Vec<String>> {
    let mut running = Vec::new();
    let read = drafts(place).await?;
    for (draft, age) in read.all {
        if !draft.failed && age < STALE_NANOS {
            running.push(draft.id);
        } else if forget {
            place.delete(&draft_key(&draft.id)).await?;
        }
    }
    // Who wrote it may run.
    running.extend(read.faults);
    Ok(running)
}

/// Lists of prunes that were killed.
async fn forget_stale(place: &Place) -> anyhow::Result<()> {
    let lists = place
        .list("garbage")
        .await
        .context("look for other prunes")?;
    for list in lists.iter().filter(|list| list.age_nanos >= STALE_NANOS) {
        place.delete(&list.key).await?;
    }
    Ok(())
}
