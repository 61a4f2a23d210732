//! `obs restore`: a backup as a data directory, with every checksum verified.
//!
//! Invariants: a folder that something is in is not touched; a restore that did not come to its end
//! is no data directory; bytes that differ from what was backed up are told and never left behind
//! as if they were right.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail, ensure};
use clap::Args;
use obs_server::backup::{Restoring, hex};
use ring::digest::{self, SHA256};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use super::copy::{manifest_key, manifests};
use super::location::{self, Location, PlaceOptions};
use super::manifest::{BYTES_MAX, Entry, Manifest, is_id};
use super::place::{PIECE_BYTES, Place, Shared};
use super::{Output, size, tell};
use crate::client::now;
use crate::progress::Progress;
use crate::shape::note;

/// Files that are read at a time.
const WIDTH: usize = 4;
/// Faults that are told one by one.
const FAULTS_TOLD: usize = 20;

#[derive(Debug, Args)]
pub(crate) struct RestoreOptions {
    /// Where the backups are: a folder, or s3://BUCKET/PREFIX
    #[arg(long, value_name = "PLACE", value_parser = location::parse, env = "OBS_BACKUP_PLACE")]
    from: Location,
    /// The folder to restore into, which is empty or does not exist
    #[arg(long, value_name = "DIR", required_unless_present = "verify_only")]
    data: Option<PathBuf>,
    /// Which backup: its id, or latest
    #[arg(long, value_name = "ID", default_value = "latest", value_parser = id)]
    backup: String,
    /// Read the whole backup and check it, write nothing
    #[arg(long, conflicts_with = "data")]
    verify_only: bool,
    #[command(flatten)]
    place: PlaceOptions,
    /// How the summary is written
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

fn id(text: &str) -> Result<String, String> {
    match is_id(text) {
        true => Ok(text.to_owned()),
        false => Err("expected the id of a backup (`obs backup list`), or latest".to_owned()),
    }
}

pub(crate) async fn run(options: &RestoreOptions) -> anyhow::Result<()> {
    let place: Shared = Arc::new(options.place.open(&options.from)?);
    let begun = now();
    let manifest = Arc::new(choose(&place, &options.backup).await?);
    let what = match &options.data {
        Some(folder) => {
            fill(&place, &manifest, folder).await?;
            format!("restored into {}", folder.display())
        }
        None => {
            each(&place, &manifest, None).await?;
            "verified".to_owned()
        }
    };
    let seconds = (now() - begun).max(0) as f64 / 1e9;
    let told = json!({
        "backup": manifest.json(),
        "data": options.data,
        "verified": true,
        "seconds": seconds,
    });
    tell(options.output, &told, || {
        format!(
            "backup {} {what}: {} files, {}, every checksum is right; {seconds:.1} s\n",
            manifest.id,
            manifest.files.len(),
            size(manifest.bytes()),
        )
    })
}

/// The manifest that was asked for.
async fn choose(place: &Place, id: &str) -> anyhow::Result<Manifest> {
    let shown = place.shown();
    if id != "latest" {
        let key = manifest_key(id);
        let bytes = place.get(&key, BYTES_MAX).await?;
        let bytes = bytes.with_context(|| format!("there is no backup {id} in {shown}"))?;
        let manifest = Manifest::decode(&bytes).with_context(|| key.clone())?;
        ensure!(
            manifest.id == id,
            "{key}: it says that it is {}",
            manifest.id
        );
        return Ok(manifest);
    }
    let read = manifests(place).await?;
    // A newer one that is damaged is no reason to take an older one without being asked.
    if let Some(fault) = read.faults.first() {
        bail!("{fault}; choose a backup with --backup (`obs backup list` shows them)");
    }
    let latest = read.all.into_iter().max_by(|a, b| a.id.cmp(&b.id));
    latest.with_context(|| format!("there is no backup in {shown}"))
}

async fn fill(place: &Shared, manifest: &Arc<Manifest>, folder: &Path) -> anyhow::Result<()> {
    let restoring = Restoring::begin(folder, &manifest.id)?;
    if restoring.is_resumed() {
        note("goes on with the restore that was interrupted here")?;
    }
    ensure_room(folder, manifest)?;
    each(place, manifest, Some(folder)).await?;
    let mut folders = BTreeSet::new();
    for file in &manifest.files {
        let mut path = file.path.as_str();
        while let Some((folder, _)) = path.rsplit_once('/') {
            folders.insert(folder.to_owned());
            path = folder;
        }
    }
    restoring.finish(&folders.into_iter().collect::<Vec<_>>())
}

/// Better now than when the disk is full.
fn ensure_room(folder: &Path, manifest: &Manifest) -> anyhow::Result<()> {
    let found = rustix::fs::statvfs(folder).with_context(|| format!("{}", folder.display()))?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let there = |file: &&Entry| {
        let metadata = std::fs::metadata(folder.join(&file.path));
        metadata.is_ok_and(|metadata| metadata.len() == file.bytes)
    };
    let missing = manifest.files.iter().filter(|file| !there(file));
    let needed = missing.map(|file| file.bytes).fold(0, u64::saturating_add);
    ensure!(
        needed <= free,
        "the backup needs {}, and {} has {} left",
        size(needed),
        folder.display(),
        size(free)
    );
    Ok(())
}

/// Reads every file and checks it, and writes it where there is a folder. All faults are told.
async fn each(
    place: &Shared,
    manifest: &Arc<Manifest>,
    folder: Option<&Path>,
) -> anyhow::Result<()> {
    let total = manifest.bytes();
    let mut progress = Progress::new("restore", false);
    let (mut next, mut done, mut faults) = (0, 0, Vec::new());
    let mut tasks = JoinSet::new();
    loop {
        while tasks.len() < WIDTH && next < manifest.files.len() {
            let (place, manifest) = (Arc::clone(place), Arc::clone(manifest));
            let (index, folder) = (next, folder.map(Path::to_owned));
            tasks.spawn(async move {
                let file = &manifest.files[index];
                let read = one(&place, file, folder.as_deref()).await;
                (index, read)
            });
            next += 1;
        }
        let Some(ended) = tasks.join_next().await else {
            break;
        };
        let (index, read) = ended.context("a file was not read to its end")?;
        let file = &manifest.files[index];
        if let Err(error) = read {
            faults.push(format!("{} ({}): {error:#}", file.path, file.object));
        }
        done += file.bytes;
        let told = format!("{} of {}", size(done), size(total));
        progress.show(done, total, &told);
    }
    progress.end();
    if faults.is_empty() {
        return Ok(());
    }
    faults.sort();
    for fault in faults.iter().take(FAULTS_TOLD) {
        note(fault)?;
    }
    let more = match folder {
        Some(_) => "; the folder is no data directory: remove it, and restore another backup",
        None => "",
    };
    Err(anyhow!(
        "{} of {} files of the backup {} are damaged or missing{more}",
        faults.len(),
        manifest.files.len(),
        manifest.id
    ))
}

async fn one(place: &Place, file: &Entry, folder: Option<&Path>) -> anyhow::Result<()> {
    let Some(folder) = folder else {
        return pass(place, file, None).await;
    };
    let path = folder.join(&file.path);
    if is_there(&path, file).await? {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        tokio::fs::create_dir_all(parent).await?;
    }
    let out = tokio::fs::File::create(&path).await;
    let mut out = out.with_context(|| format!("create {}", path.display()))?;
    let passed = pass(place, file, Some(&mut out)).await;
    if passed.is_err() {
        drop(out);
        tokio::fs::remove_file(&path).await?;
        return passed;
    }
    out.flush().await?;
    out.sync_all()
        .await
        .with_context(|| format!("sync {}", path.display()))
}

/// Reads an object, checks it, and writes it.
async fn pass(
    place: &Place,
    file: &Entry,
    mut out: Option<&mut tokio::fs::File>,
) -> anyhow::Result<()> {
    let mut hash = digest::Context::new(&SHA256);
    let mut offset = 0;
    loop {
        let piece = place.read(&file.object, offset, PIECE_BYTES).await?;
        let piece = piece.context("the object is missing")?;
        offset += piece.len() as u64;
        ensure!(
            offset <= file.bytes,
            "expected {} bytes, found more",
            file.bytes
        );
        hash.update(&piece);
        if let Some(out) = &mut out {
            out.write_all(&piece).await?;
        }
        if piece.len() < PIECE_BYTES {
            break;
        }
    }
    ensure!(
        offset == file.bytes,
        "expected {} bytes, found {offset}",
        file.bytes
    );
    let found = hex(hash.finish().as_ref());
    ensure!(
        found == file.sha256,
        "expected the checksum {}, found {found}",
        file.sha256
    );
    Ok(())
}

/// Whether a restore that was interrupted has this file already.
async fn is_there(path: &Path, file: &Entry) -> anyhow::Result<bool> {
    let mut there = match tokio::fs::File::open(path).await {
        Ok(there) => there,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).with_context(|| format!("open {}", path.display())),
    };
    if there.metadata().await?.len() != file.bytes {
        return Ok(false);
    }
    let mut hash = digest::Context::new(&SHA256);
    let mut piece = vec![0; PIECE_BYTES.min(1 << 20)];
    loop {
        match there.read(&mut piece).await? {
            0 => break,
            read => hash.update(&piece[..read]),
        }
    }
    if hex(hash.finish().as_ref()) != file.sha256 {
        return Ok(false);
    }
    // It may have been killed before it could.
    there.sync_all().await?;
    Ok(true)
}
