//! Where backups are kept: a folder, or a bucket that speaks S3.
//!
//! Invariants: an object is there whole or not at all, and durable when `put` or `finish` has
//! returned; reading and writing hold at most a piece in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::s3::{Multipart, S3};
use crate::client::now;

/// Bytes that are read and written at once.
pub(crate) const PIECE_BYTES: usize = 8 << 20;
/// Folders in folders of a place.
const DEPTH_MAX: usize = 4;

/// An object of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) key: String,
    pub(crate) bytes: u64,
    /// How long ago it was written, by the clock of the place.
    pub(crate) age_nanos: i64,
}

/// A folder, or a bucket.
#[derive(Debug)]
pub(crate) enum Place {
    Folder(PathBuf),
    S3(Box<S3>),
    #[cfg(test)]
    Memory(super::simulation::Memory),
}

impl Place {
    /// For people.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Folder(folder) => folder.display().to_string(),
            Self::S3(bucket) => bucket.shown(),
            #[cfg(test)]
            Self::Memory(_) => "memory".to_owned(),
        }
    }

    /// Writes a small object, in place of what has its name.
    pub(crate) async fn put(&self, key: &str, bytes: Vec<u8>) -> anyhow::Result<()> {
        let done = match self {
            Self::Folder(folder) => {
                let mut file = Draft::create(folder, key).await?;
                file.write(&bytes).await?;
                file.finish().await
            }
            Self::S3(bucket) => bucket.put(key, bytes).await,
            #[cfg(test)]
            Self::Memory(memory) => memory.put(key, bytes).await,
        };
        done.with_context(|| format!("write {key}"))
    }

    /// Begins an object of so many bytes, which come in pieces.
    pub(crate) async fn upload(&self, key: &str, bytes: u64) -> anyhow::Result<Upload<'_>> {
        let begun = match self {
            Self::Folder(folder) => Draft::create(folder, key).await.map(Upload::Folder),
            Self::S3(bucket) => Multipart::begin(bucket, key, bytes).await.map(Upload::S3),
            #[cfg(test)]
            Self::Memory(memory) => Ok(Upload::Memory(memory, key.to_owned(), Vec::new())),
        };
        begun.with_context(|| format!("write {key}"))
    }

    /// Some bytes of an object; fewer where it ends, nothing where there is none.
    pub(crate) async fn read(
        &self,
        key: &str,
        offset: u64,
        bytes: usize,
    ) -> anyhow::Result<Option<Vec<u8>>> {
        let read = match self {
            Self::Folder(folder) => read_file(&folder.join(key), offset, bytes).await,
            Self::S3(bucket) => bucket.read(key, offset, bytes).await,
            #[cfg(test)]
            Self::Memory(memory) => Ok(memory.read(key, offset, bytes).await),
        };
        read.with_context(|| format!("read {key}"))
    }

    /// A whole object of at most so many bytes.
    pub(crate) async fn get(&self, key: &str, bytes_max: u64) -> anyhow::Result<Option<Vec<u8>>> {
        let mut all = Vec::new();
        loop {
            let Some(piece) = self.read(key, all.len() as u64, PIECE_BYTES).await? else {
                return Ok(None);
            };
            let ended = piece.len() < PIECE_BYTES;
            all.extend_from_slice(&piece);
            ensure!(
                all.len() as u64 <= bytes_max,
                "{key} is larger than {bytes_max} bytes"
            );
            if ended {
                return Ok(Some(all));
            }
        }
    }

    /// The objects below a folder, in order of their keys.
    pub(crate) async fn list(&self, folder: &str) -> anyhow::Result<Vec<Object>> {
        let listed = match self {
            Self::Folder(root) => list_folder(root, folder).await,
            Self::S3(bucket) => bucket.list(folder).await,
            #[cfg(test)]
            Self::Memory(memory) => Ok(memory.list(folder).await),
        };
        let mut all = listed.with_context(|| format!("list {folder} of {}", self.shown()))?;
        all.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(all)
    }

    /// Removes an object; one that is not there is fine.
    pub(crate) async fn delete(&self, key: &str) -> anyhow::Result<()> {
        let done = match self {
            Self::Folder(folder) => match tokio::fs::remove_file(folder.join(key)).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
                _ => Ok(()),
            },
            Self::S3(bucket) => bucket.delete(key).await,
            #[cfg(test)]
            Self::Memory(memory) => {
                memory.delete(key).await;
                Ok(())
            }
        };
        done.with_context(|| format!("remove {key}"))
    }
}

/// An object that is being written. One that is dropped is not there.
#[derive(Debug)]
pub(crate) enum Upload<'a> {
    Folder(Draft),
    S3(Multipart<'a>),
    #[cfg(test)]
    Memory(&'a super::simulation::Memory, String, Vec<u8>),
}

impl Upload<'_> {
    /// Adds bytes.
    pub(crate) async fn write(&mut self, piece: Vec<u8>) -> anyhow::Result<()> {
        match self {
            Self::Folder(draft) => draft.write(&piece).await,
            Self::S3(parts) => parts.write(piece).await,
            #[cfg(test)]
            Self::Memory(_, _, all) => {
                all.extend(piece);
                Ok(())
            }
        }
    }

    /// Makes the object.
    pub(crate) async fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Folder(draft) => draft.finish().await,
            Self::S3(parts) => parts.finish().await,
            #[cfg(test)]
            Self::Memory(memory, key, all) => memory.put(&key, all).await,
        }
    }

    /// Leaves nothing behind, as far as that can be had.
    pub(crate) async fn abort(self) {
        match self {
            Self::Folder(draft) => draft.abort().await,
            Self::S3(parts) => parts.abort().await,
            #[cfg(test)]
            Self::Memory(..) => {}
        }
    }
}

/// A file that has its name when it is whole.
#[derive(Debug)]
pub(crate) struct Draft {
    file: tokio::fs::File,
    draft: PathBuf,
    path: PathBuf,
}

impl Draft {
    async fn create(root: &Path, key: &str) -> anyhow::Result<Self> {
        let path = root.join(key);
        let folder = path.parent().unwrap_or(root).to_owned();
        make_folders(&folder).await?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let unique = std::process::id();
        let draft = folder.join(format!("{name}.{unique}.tmp"));
        let file = tokio::fs::File::create(&draft).await;
        let file = file.with_context(|| format!("create {}", draft.display()))?;
        Ok(Self { file, draft, path })
    }

    async fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let written = self.file.write_all(bytes).await;
        written.with_context(|| format!("write {}", self.draft.display()))
    }

    async fn finish(mut self) -> anyhow::Result<()> {
        let shown = self.path.display().to_string();
        self.file
            .flush()
            .await
            .with_context(|| format!("write {shown}"))?;
        self.file
            .sync_all()
            .await
            .with_context(|| format!("sync {shown}"))?;
        let renamed = tokio::fs::rename(&self.draft, &self.path).await;
        renamed.with_context(|| format!("rename to {shown}"))?;
        sync_folder(self.path.parent().unwrap_or(Path::new("."))).await
    }

    async fn abort(self) {
        // What stays is garbage that no list has.
        drop(tokio::fs::remove_file(&self.draft).await);
    }
}

/// Makes the names in a folder durable.
pub(crate) async fn sync_folder(folder: &Path) -> anyhow::Result<()> {
    let shown = folder.display();
    let file = tokio::fs::File::open(folder).await;
    let file = file.with_context(|| format!("open {shown}"))?;
    file.sync_all()
        .await
        .with_context(|| format!("sync {shown}"))
}

/// Creates a folder with all that it needs, durably.
async fn make_folders(folder: &Path) -> anyhow::Result<()> {
    let mut missing = Vec::new();
    let mut here = folder;
    while !tokio::fs::try_exists(here).await? {
        missing.push(here);
        match here.parent() {
            Some(parent) if parent != Path::new("") => here = parent,
            _ => break,
        }
    }
    for folder in missing.into_iter().rev() {
        match tokio::fs::create_dir(folder).await {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("create {}", folder.display()));
            }
            _ => {}
        }
        if let Some(parent) = folder.parent().filter(|parent| *parent != Path::new("")) {
            sync_folder(parent).await?;
        }
    }
    Ok(())
}

async fn read_file(path: &Path, offset: u64, bytes: usize) -> anyhow::Result<Option<Vec<u8>>> {
    let mut file = match tokio::fs::File::open(path).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    file.seek(std::io::SeekFrom::Start(offset)).await?;
    let mut read = Vec::new();
    file.take(bytes as u64).read_to_end(&mut read).await?;
    Ok(Some(read))
}

async fn list_folder(root: &Path, folder: &str) -> anyhow::Result<Vec<Object>> {
    let mut found = Vec::new();
    let mut waiting = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = waiting.pop() {
        if depth > DEPTH_MAX {
            bail!("{folder} is too deep for a place of backups");
        }
        let mut entries = match tokio::fs::read_dir(root.join(&folder)).await {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error.into()),
        };
        while let Some(entry) = entries.next_entry().await? {
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let key = format!("{folder}/{name}");
            let metadata = match entry.metadata().await {
                Ok(metadata) => metadata,
                // It went meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            if metadata.is_dir() {
                waiting.push((key, depth + 1));
            } else if metadata.is_file() && !name.ends_with(".tmp") {
                let written = metadata.modified()?;
                let written = written.duration_since(std::time::UNIX_EPOCH);
                let written = written.unwrap_or_default().as_nanos();
                let written = i64::try_from(written).unwrap_or(i64::MAX);
                found.push(Object {
                    key,
                    bytes: metadata.len(),
                    age_nanos: now().nanos().saturating_sub(written),
                });
            }
        }
    }
    Ok(found)
}

/// A place that tasks share.
pub(crate) type Shared = Arc<Place>;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_has_whole_objects() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::Folder(dir.path().join("new/place"));
        assert_eq!(place.list("objects").await.unwrap(), []);
        assert_eq!(place.get("objects/aa/1", 9).await.unwrap(), None);
        place.put("objects/aa/1", b"one".to_vec()).await.unwrap();
        place.put("objects/aa/1", b"two!".to_vec()).await.unwrap();
        let mut upload = place.upload("objects/bb/2", 6).await.unwrap();
        upload.write(b"abc".to_vec()).await.unwrap();
        let keys = async || {
            let all = place.list("objects").await.unwrap();
            all.into_iter()
                .map(|o| (o.key, o.bytes))
                .collect::<Vec<_>>()
        };
        assert_eq!(keys().await, [("objects/aa/1".to_owned(), 4)]);
        upload.write(b"def".to_vec()).await.unwrap();
        upload.finish().await.unwrap();
        let mut gone = place.upload("objects/bb/3", 6).await.unwrap();
        gone.write(b"x".to_vec()).await.unwrap();
        gone.abort().await;
        let two = ("objects/bb/2".to_owned(), 6);
        assert_eq!(keys().await, [("objects/aa/1".to_owned(), 4), two]);
        let read = place.read("objects/bb/2", 2, 3).await.unwrap();
        assert_eq!(read.as_deref(), Some(&b"cde"[..]));
        assert!(place.get("objects/bb/2", 5).await.is_err());
        place.delete("objects/aa/1").await.unwrap();
        place.delete("objects/aa/1").await.unwrap();
        assert_eq!(keys().await.len(), 1);
    }
}
