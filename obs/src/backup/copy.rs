//! Making a backup: what is new is copied, then the manifest is written.
//!
//! Invariants, on which pruning relies: the draft of a backup is there before it looks at
//! what there is and until its manifest is; lists of condemned objects are read before the list of
//! objects; nothing that was condemned is used again; objects have names that no other backup
//! gives.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use obs_model::Timestamp;
use obs_server::backup::{Listed, hex};
use ring::digest::{self, SHA256};
use tokio::task::JoinSet;

use super::manifest::{BYTES_MAX, Entry, Manifest, object_key, tag_of};
use super::place::{Object, PIECE_BYTES, Place, Shared};
use super::source::{Opened, Source};
use super::{random, size};
use crate::arguments::ServerOptions;
use crate::client::now;
use crate::progress::Progress;
use crate::shape::note;

/// Objects that are copied at a time.
const WIDTH: usize = 4;
/// A draft is written so often, and after so many bytes.
const DRAFT_EVERY: Duration = Duration::from_secs(60);
const DRAFT_BYTES: u64 = 256 << 20;
/// A draft that was not written for so long is one of a backup that ended.
pub(super) const STALE_NANOS: i64 = 24 * 3_600_000_000_000;
/// A backup that could not write its draft for so long gives up, well before it is taken for one
/// that ended.
const LOST_NANOS: i64 = STALE_NANOS / 2;
/// Bytes of a list of condemned objects.
const GARBAGE_BYTES_MAX: u64 = 1 << 30;

/// Manifests that could be read, oldest first, and why others could not.
#[derive(Debug)]
pub(super) struct Read<T> {
    pub(super) all: Vec<T>,
    pub(super) faults: Vec<String>,
}

/// The backups of a place.
pub(super) async fn manifests(place: &Place) -> anyhow::Result<Read<Manifest>> {
    let read = read_all(place, "backups").await?;
    Ok(Read {
        all: read.all.into_iter().map(|(manifest, _)| manifest).collect(),
        faults: read.faults,
    })
}

/// The backups that run, or ended before they were whole; with the ages of their drafts.
pub(super) async fn drafts(place: &Place) -> anyhow::Result<Read<(Manifest, i64)>> {
    read_all(place, "running").await
}

async fn read_all(place: &Place, folder: &str) -> anyhow::Result<Read<(Manifest, i64)>> {
    let (mut all, mut faults) = (Vec::new(), Vec::new());
    for Object { key, age_nanos, .. } in place.list(folder).await? {
        // It may go meanwhile.
        let Some(bytes) = place.get(&key, BYTES_MAX).await? else {
            continue;
        };
        match Manifest::decode(&bytes) {
            Ok(manifest) if key_of(folder, &manifest.id) == key => all.push((manifest, age_nanos)),
            Ok(manifest) => faults.push(format!("{key}: it says that it is {}", manifest.id)),
            Err(error) => faults.push(format!("{key}: {error:#}")),
        }
    }
    Ok(Read { all, faults })
}

/// The key of a manifest.
pub(super) fn manifest_key(id: &str) -> String {
    key_of("backups", id)
}

/// The key of a draft.
pub(super) fn draft_key(id: &str) -> String {
    key_of("running", id)
}

fn key_of(folder: &str, id: &str) -> String {
    format!("{folder}/{id}.manifest")
}

/// Objects that can be used again, by what they have.
#[derive(Debug, Default)]
pub(super) struct Known {
    by_tag: HashMap<String, Vec<Entry>>,
    pub(super) faults: Vec<String>,
}

impl Known {
    pub(super) fn find(&self, file: &Listed) -> Option<&Entry> {
        let known = self.by_tag.get(&file.tag)?;
        known.iter().find(|known| known.bytes == file.bytes)
    }
}

/// Tells the place that a backup runs, and learns what it has.
pub(super) async fn begin(place: &Place, draft: &Manifest) -> anyhow::Result<Known> {
    place.put(&draft_key(&draft.id), draft.encode()).await?;
    let mut condemned = BTreeSet::new();
    for Object { key, .. } in place.list("garbage").await? {
        // One that goes is done with, and so are its objects, which are listed below.
        if let Some(list) = place.get(&key, GARBAGE_BYTES_MAX).await? {
            let list = String::from_utf8_lossy(&list).into_owned();
            condemned.extend(list.lines().map(str::to_owned));
        }
    }
    let objects = place.list("objects").await?;
    let mut objects: BTreeMap<String, u64> =
        objects.into_iter().map(|o| (o.key, o.bytes)).collect();
    objects.retain(|key, _| !condemned.contains(key));
    let whole = manifests(place).await?;
    // What a backup has copied that did not come to its end need not be copied again.
    let drafts = drafts(place).await?;
    let mut known = Known::default();
    known.faults.extend(whole.faults);
    known.faults.extend(drafts.faults);
    let drafts = drafts.all.into_iter().map(|(draft, _)| draft);
    for entry in drafts.chain(whole.all).flat_map(|manifest| manifest.files) {
        // Each object once.
        if objects.get(&entry.object) == Some(&entry.bytes)
            && let Some(tag) = tag_of(&entry.object)
        {
            objects.remove(&entry.object);
            known.by_tag.entry(tag.to_owned()).or_default().push(entry);
        }
    }
    Ok(known)
}

/// The entry of a file, and whether its object is new.
pub(super) async fn copy_file(
    place: &Place,
    source: &Source,
    id: &str,
    file: &Listed,
) -> anyhow::Result<Entry> {
    let object = object_key(&file.tag, id);
    ensure!(tag_of(&object).is_some(), "{:?} is no tag", file.tag);
    let mut upload = place.upload(&object, file.bytes).await?;
    let sent = send(source, file, &mut upload).await;
    match sent {
        Ok(sha256) => {
            let done = upload.finish().await;
            done.with_context(|| format!("write {object}"))?;
            Ok(Entry {
                path: file.path.clone(),
                bytes: file.bytes,
                sha256,
                object,
            })
        }
        Err(error) => {
            upload.abort().await;
            Err(error)
        }
    }
}

async fn send(
    source: &Source,
    file: &Listed,
    upload: &mut super::place::Upload<'_>,
) -> anyhow::Result<String> {
    let mut hash = digest::Context::new(&SHA256);
    let mut offset = 0;
    loop {
        let wanted = (file.bytes - offset).min(PIECE_BYTES as u64);
        let piece = source.read(&file.path, offset, wanted as usize).await?;
        ensure!(
            piece.len() as u64 == wanted,
            "{} became shorter while it was read",
            file.path
        );
        hash.update(&piece);
        offset += wanted;
        upload.write(piece).await?;
        if offset == file.bytes {
            break;
        }
    }
    let sha256 = hex(hash.finish().as_ref());
    if let Some(listed) = file.tag.strip_prefix('f') {
        ensure!(listed == sha256, "{} changed while it was read", file.path);
    }
    Ok(sha256)
}

/// Makes the backup one that counts.
pub(super) async fn finish(place: &Place, manifest: &Manifest) -> anyhow::Result<()> {
    let draft = draft_key(&manifest.id);
    if place.read(&draft, 0, 1).await?.is_none() {
        bail!("{draft} was removed: somebody took this backup for one that ended; run it again");
    }
    place
        .put(&manifest_key(&manifest.id), manifest.encode())
        .await?;
    place.delete(&draft).await
}

/// The files without those that have the bytes of another one.
pub(super) fn unique(files: &[Listed]) -> Vec<Listed> {
    let mut seen = BTreeSet::new();
    let first = |file: &&Listed| seen.insert((file.tag.clone(), file.bytes));
    files.iter().filter(first).cloned().collect()
}

/// `20260102T030405Z-` and what makes it the only one; later ones are greater.
pub(super) fn new_id(now: Timestamp) -> String {
    let text = now.to_string();
    let digits: String = text.chars().filter(|c| !"-:".contains(*c)).collect();
    let seconds = digits.split(['.', 'Z']).next().unwrap_or_default();
    let nanos = now.nanos().rem_euclid(1_000_000_000);
    format!("{seconds}Z-{nanos:09}{:08x}", random())
}

/// A backup that is being made.
#[derive(Debug)]
struct Making {
    place: Shared,
    source: Arc<Source>,
    draft: Mutex<Manifest>,
}

impl Making {
    fn draft(&self) -> MutexGuard<'_, Manifest> {
        self.draft.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write_draft(&self, failed: bool) -> anyhow::Result<()> {
        let (key, bytes) = {
            let mut draft = self.draft();
            draft.failed = failed;
            (draft_key(&draft.id), draft.encode())
        };
        self.place.put(&key, bytes).await
    }
}

/// Makes a backup of a server, or of a data directory.
pub(super) async fn make(
    place: Place,
    data: Option<&Path>,
    server: &ServerOptions,
) -> anyhow::Result<Manifest> {
    if let (Place::Folder(to), Some(data)) = (&place, data) {
        refuse_inside(to, data)?;
    }
    let begun = now();
    let Opened {
        source,
        files,
        version,
        host,
    } = match data {
        Some(data) => Source::folder(data)?,
        None => Source::server(server).await?,
    };
    let making = Arc::new(Making {
        place: Arc::new(place),
        source,
        draft: Mutex::new(Manifest {
            id: new_id(begun),
            begun,
            seconds: 0.0,
            version,
            host,
            new_bytes: 0,
            new_objects: 0,
            failed: false,
            files: Vec::new(),
        }),
    });
    let outcome = tokio::select! {
        outcome = copy(&making, &files) => outcome,
        signal = interrupted() => signal.and_then(|()| bail!("interrupted")),
    };
    if let Err(error) = making.source.close().await {
        note(&format!("the server keeps its copy for an hour: {error:#}"))?;
    }
    match outcome {
        Ok(manifest) => Ok(manifest),
        Err(error) => {
            // The next backup goes on from what was copied.
            if let Err(fault) = making.write_draft(true).await {
                note(&format!("the draft stays as it is: {fault:#}"))?;
            }
            Err(error.context("there is no new backup"))
        }
    }
}

/// A backup in the folder that it is of would have all backups before it.
fn refuse_inside(to: &Path, data: &Path) -> anyhow::Result<()> {
    ensure!(
        !whole(to)?.starts_with(whole(data)?),
        "{} is in the data directory: choose another place, best on another disk",
        to.display()
    );
    Ok(())
}

/// The path without links, also where its end is not there yet.
fn whole(path: &Path) -> anyhow::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let real = |there: &Path| Some((there.canonicalize().ok()?, path.strip_prefix(there).ok()?));
    let found = path.ancestors().find_map(real);
    let (there, rest) = found.with_context(|| format!("find {}", path.display()))?;
    let up = rest.components().any(|part| part == Component::ParentDir);
    ensure!(!up, "{}: name it without `..`", path.display());
    Ok(there.join(rest))
}

async fn interrupted() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    tokio::select! {
        told = tokio::signal::ctrl_c() => told.context("listen for SIGINT"),
        _ = terminate.recv() => Ok(()),
    }
}

async fn copy(making: &Arc<Making>, files: &[Listed]) -> anyhow::Result<Manifest> {
    let draft = making.draft().clone();
    let known = begin(&making.place, &draft).await?;
    for fault in &known.faults {
        note(&format!("left aside: {fault}"))?;
    }
    let mut by_tag: HashMap<String, Entry> = HashMap::new();
    let mut new = Vec::new();
    for file in unique(files) {
        match known.find(&file) {
            Some(entry) => drop(by_tag.insert(file.tag, entry.clone())),
            None => new.push(file),
        }
    }
    copy_new(making, new, &mut by_tag).await?;
    let mut manifest = making.draft().clone();
    manifest.files.clear();
    for file in files {
        let entry = by_tag
            .get(&file.tag)
            .filter(|entry| entry.bytes == file.bytes);
        let entry = entry.with_context(|| format!("{} was not copied", file.path))?;
        manifest.files.push(Entry {
            path: file.path.clone(),
            ..entry.clone()
        });
    }
    manifest.seconds = (now() - manifest.begun).max(0) as f64 / 1e9;
    finish(&making.place, &manifest).await?;
    Ok(manifest)
}

/// Copies files, some at a time.
async fn copy_new(
    making: &Arc<Making>,
    new: Vec<Listed>,
    by_tag: &mut HashMap<String, Entry>,
) -> anyhow::Result<()> {
    let total = new.iter().map(|file| file.bytes);
    let total = total.fold(0, u64::saturating_add);
    let mut progress = Progress::new("backup", false);
    let mut waiting = new.into_iter();
    let mut tasks = JoinSet::new();
    let mut beat = tokio::time::interval(DRAFT_EVERY);
    // The first one is due at once, and has just been written.
    beat.tick().await;
    let (mut drafted, mut drafted_at) = (0, now());
    loop {
        while tasks.len() < WIDTH
            && let Some(file) = waiting.next()
        {
            let making = Arc::clone(making);
            tasks.spawn(async move {
                let id = making.draft().id.clone();
                let copied = copy_file(&making.place, &making.source, &id, &file).await?;
                anyhow::Ok((file.tag, copied))
            });
        }
        let copied = tokio::select! {
            copied = tasks.join_next() => copied,
            _ = beat.tick() => {
                // Also of a machine that slept: a prune may have taken us for dead meanwhile.
                let late = now() - drafted_at > LOST_NANOS;
                ensure!(!late, "no word of this backup reached the place for hours; run it again");
                if making.write_draft(false).await.is_ok() {
                    drafted_at = now();
                }
                continue;
            }
        };
        let Some(copied) = copied else {
            break;
        };
        let (tag, entry) = copied.context("a copy did not end")??;
        let done = {
            let mut draft = making.draft();
            draft.new_bytes += entry.bytes;
            draft.new_objects += 1;
            draft.files.push(entry.clone());
            draft.new_bytes
        };
        by_tag.insert(tag, entry);
        let told = format!("{} of {}", size(done), size(total));
        progress.show(done, total, &told);
        if done - drafted >= DRAFT_BYTES {
            making.write_draft(false).await?;
            (drafted, drafted_at) = (done, now());
        }
    }
    progress.end();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_data_directory_is_refused_through_links_too() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        std::fs::create_dir_all(at("data/forward")).unwrap();
        std::os::unix::fs::symlink(at("data/forward"), at("link")).unwrap();
        std::os::unix::fs::symlink(at("data"), at("other")).unwrap();
        for (to, data, expect) in [
            ("data/b", "data", false),
            ("data", "data", false),
            ("link", "data", false),
            ("link/not/yet", "data", false),
            ("data/b", "other", false),
            ("b/x/../../data/b", "data", false),
            ("b", "data", true),
            ("data2", "data", true),
            ("link/../../b", "data", true),
        ] {
            let told = refuse_inside(&at(to), &at(data));
            assert_eq!(told.is_ok(), expect, "{to} {data}: {told:?}");
        }
    }
}
