//! The files that are followed, as bytes: the only place of following that opens them.
//!
//! Invariant: everything here is called off the event loop (a round runs in
//! [`crate::Decoder`]); nothing but regular files in the folders that may be read is ever read, and
//! opening waits for nobody.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use rustix::fs::{Mode, OFlags};

use super::checkpoint::{FileId, Fingerprint};

/// Bytes at the begin of a file that tell it from others.
pub(super) const FINGERPRINT_BYTES: u64 = 1024;
/// Bytes that are skipped at one time in a compressed file.
const SKIP_BYTES: usize = 64 << 10;
/// Files of one folder that are looked at.
const FOLDER_FILES_MAX: usize = 65_536;

/// What the file system says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub id: FileId,
    pub length: u64,
    /// Nanoseconds since 1970.
    pub modified: i64,
    pub folder: bool,
    pub regular: bool,
}

fn stat_of(metadata: &std::fs::Metadata) -> Stat {
    Stat {
        id: FileId {
            device: metadata.dev(),
            inode: metadata.ino(),
        },
        length: metadata.len(),
        modified: metadata
            .mtime()
            .saturating_mul(1_000_000_000)
            .saturating_add(metadata.mtime_nsec()),
        folder: metadata.is_dir(),
        regular: metadata.is_file(),
    }
}

/// Of what a path names, through links; `None` where there is nothing.
pub(super) fn stat(path: &Path) -> Option<Stat> {
    std::fs::metadata(path).ok().map(|m| stat_of(&m))
}

/// Whether a path itself is a link, wherever that leads.
pub(super) fn is_link(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_symlink())
}

/// Names in a folder; none where there is no folder.
pub(super) fn list(folder: &Path) -> std::io::Result<Vec<OsString>> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries.take(FOLDER_FILES_MAX) {
        names.push(entry?.file_name());
    }
    names.sort();
    Ok(names)
}

/// An opened file, read at any offset.
#[derive(Debug)]
pub(super) enum Reader {
    Plain(File),
    /// Offsets are those of the decompressed bytes; going back begins again.
    Gzip {
        file: File,
        decoder: Option<Box<MultiGzDecoder<BufReader<File>>>>,
        at: u64,
    },
}

/// A compressed file that is written still ends in the middle; the rest comes later.
fn ended<T>(outcome: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a regular file below one of the folders `within`, which have no links in their paths;
/// `None` for anything that is no regular file.
///
/// What was opened is what is looked at: who may write beside a log cannot have another file read
/// by putting a link in its place, nor hold the reading up with a pipe.
pub(super) fn open(path: &Path, within: &[PathBuf]) -> std::io::Result<Option<(Stat, Reader)>> {
    // Opening a device may do something: look first.
    if !stat(path).is_some_and(|s| s.regular) {
        return Ok(None);
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let found = stat_of(&file.metadata()?);
    if !found.regular {
        return Ok(None);
    }
    let real = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    if !within.iter().any(|folder| real.starts_with(folder)) {
        return Err(std::io::Error::other(format!(
            "leads to {}, which is in none of link_targets",
            real.display()
        )));
    }
    let mut magic = [0; 2];
    let gzip = file.read_at(&mut magic, 0)? == 2 && magic == [0x1f, 0x8b];
    let reader = match gzip {
        false => Reader::Plain(file),
        true => Reader::Gzip {
            file,
            decoder: None,
            at: 0,
        },
    };
    Ok(Some((found, reader)))
}

impl Reader {
    pub(super) fn is_gzip(&self) -> bool {
        matches!(self, Self::Gzip { .. })
    }

    /// Length of the file itself.
    pub(super) fn length(&self) -> std::io::Result<u64> {
        match self {
            Self::Plain(file) | Self::Gzip { file, .. } => Ok(file.metadata()?.len()),
        }
    }

    /// At most `max` bytes from `offset`, fewer only at the end.
    pub(super) fn read_at(
        &mut self,
        offset: u64,
        max: u64,
        out: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        out.clear();
        match self {
            Self::Plain(file) => {
                let length = file.metadata()?.len();
                let wanted = max.min(length.saturating_sub(offset));
                out.resize(usize::try_from(wanted).unwrap_or(usize::MAX), 0);
                let mut filled = 0;
                while filled < out.len() {
                    let count = file.read_at(&mut out[filled..], offset + filled as u64)?;
                    if count == 0 {
                        break;
                    }
                    filled += count;
                }
                out.truncate(filled);
                Ok(())
            }
            Self::Gzip { file, decoder, at } => {
                if decoder.is_none() || *at > offset {
                    let mut source = file.try_clone()?;
                    std::io::Seek::rewind(&mut source)?;
                    *decoder = Some(Box::new(MultiGzDecoder::new(BufReader::new(source))));
                    *at = 0;
                }
                let Some(decoder) = decoder else {
                    return Ok(());
                };
                while *at < offset {
                    let step = (offset - *at).min(SKIP_BYTES as u64);
                    let skipped = std::io::copy(&mut decoder.take(step), &mut std::io::sink());
                    let skipped = ended(skipped)?.unwrap_or(0);
                    if skipped == 0 {
                        return Ok(());
                    }
                    *at += skipped;
                }
                ended(decoder.take(max).read_to_end(out))?;
                *at += out.len() as u64;
                Ok(())
            }
        }
    }

    /// The first `length` bytes, or fewer where there are fewer.
    pub(super) fn head(&mut self, length: u64) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read_at(0, length.min(FINGERPRINT_BYTES), &mut bytes)?;
        Ok(bytes)
    }

    /// Of the first `length` bytes, or of fewer where there are fewer.
    pub(super) fn fingerprint(&mut self, length: u64) -> std::io::Result<Fingerprint> {
        Ok(Fingerprint::of(&self.head(length)?))
    }
}
