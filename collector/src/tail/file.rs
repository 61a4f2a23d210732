//! One followed file: its identity, and its bytes as lines.
//!
//! Invariant: cutting a range of bytes into lines depends on nothing but the bytes, so that
//! reading a range again gives the same lines.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};
use obs_model::Labels;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, SeekFrom};
use tokio::time::Instant;

use super::checkpoint::{Entry, FileId, Fingerprint, Sent};

/// Bytes at the begin of a file that tell it from others.
const FINGERPRINT_BYTES: u64 = 1024;

/// A file and how far it was read.
#[derive(Debug)]
pub(super) struct Followed {
    pub id: FileId,
    pub path: PathBuf,
    pub labels: Labels,
    pub file: File,
    /// Everything before is stored.
    pub offset: u64,
    pub fingerprint: Fingerprint,
    /// Handed to the sink before a restart, not known to be stored.
    pub resend: Option<Sent>,
    /// Since when no pattern finds it any more.
    pub lost_since: Option<Instant>,
}

pub(super) fn id(metadata: &std::fs::Metadata) -> FileId {
    FileId {
        device: metadata.dev(),
        inode: metadata.ino(),
    }
}

/// Opens a regular file; `None` for anything else.
pub(super) async fn open(path: &Path) -> std::io::Result<Option<(FileId, File)>> {
    // Opening a pipe would wait for its writer: look first.
    if !tokio::fs::metadata(path).await?.is_file() {
        return Ok(None);
    }
    let file = File::open(path).await?;
    let metadata = file.metadata().await?;
    Ok(metadata.is_file().then(|| (id(&metadata), file)))
}

impl Followed {
    /// Follows an opened file from where the checkpoint says, if it is still the same file.
    pub(super) async fn start(
        id: FileId,
        mut file: File,
        path: &Path,
        labels: Labels,
        entry: Option<Entry>,
    ) -> std::io::Result<Self> {
        let mut own = Self {
            id,
            path: path.to_owned(),
            labels,
            offset: 0,
            fingerprint: Fingerprint::default(),
            resend: None,
            lost_since: None,
            file: file.try_clone().await?,
        };
        if let Some(entry) = entry {
            let length = file.metadata().await?.len();
            let same = fingerprint(&mut file, entry.fingerprint.length).await? == entry.fingerprint;
            if same && length >= entry.offset {
                own.offset = entry.offset;
                own.fingerprint = entry.fingerprint;
                own.resend = entry
                    .sent
                    .filter(|sent| sent.end <= length && sent.end > entry.offset);
            }
        }
        Ok(own)
    }

    /// The file's length; begins again at 0 when it was truncated or rewritten.
    pub(super) async fn refresh(&mut self) -> std::io::Result<u64> {
        let length = self.file.metadata().await?.len();
        let mut rewritten = length < self.offset;
        if !rewritten && length > self.offset && self.fingerprint.length > 0 {
            rewritten =
                fingerprint(&mut self.file, self.fingerprint.length).await? != self.fingerprint;
        }
        if rewritten {
            self.offset = 0;
            self.fingerprint = Fingerprint::default();
            self.resend = None;
        }
        Ok(length)
    }

    /// Everything before `offset` is stored.
    pub(super) async fn advance(&mut self, offset: u64) -> std::io::Result<()> {
        self.offset = offset;
        self.resend = None;
        let length = offset.min(FINGERPRINT_BYTES);
        if self.fingerprint.length < length {
            self.fingerprint = fingerprint(&mut self.file, length).await?;
        }
        Ok(())
    }

    /// At most `max` bytes from the offset.
    pub(super) async fn read(&mut self, max: u64, buffer: &mut Vec<u8>) -> std::io::Result<()> {
        buffer.clear();
        self.file.seek(SeekFrom::Start(self.offset)).await?;
        (&mut self.file).take(max).read_to_end(buffer).await?;
        Ok(())
    }

    pub(super) fn entry(&self) -> Entry {
        Entry {
            id: self.id,
            path: self.path.clone(),
            offset: self.offset,
            fingerprint: self.fingerprint,
            sent: self.resend,
        }
    }
}

/// Of the first `length` bytes, or of fewer where the file is shorter.
async fn fingerprint(file: &mut File, length: u64) -> std::io::Result<Fingerprint> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).await?;
    file.take(length.min(FINGERPRINT_BYTES))
        .read_to_end(&mut bytes)
        .await?;
    Ok(Fingerprint::of(&bytes))
}

impl Fingerprint {
    /// Of what a file begins with.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let bytes = &bytes[..bytes.len().min(FINGERPRINT_BYTES as usize)];
        if bytes.is_empty() {
            return Self::default();
        }
        Self {
            length: bytes.len() as u64,
            sum: Md5::digest(bytes).into(),
        }
    }
}

/// Lines of a range of bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lines<'a> {
    /// Without their newlines.
    pub lines: Vec<&'a [u8]>,
    /// Bytes that the lines took.
    pub consumed: usize,
    /// Pieces of lines longer than allowed.
    pub cut: u64,
}

/// Cuts bytes into lines. A line longer than `max` comes in pieces of `max` bytes; what has no
/// newline yet stays, unless `last`.
pub(super) fn split(bytes: &[u8], max: usize, last: bool) -> Lines<'_> {
    let mut out = Lines::default();
    loop {
        let rest = &bytes[out.consumed..];
        let window = &rest[..rest.len().min(max + 1)];
        match window.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                out.lines.push(&rest[..end]);
                out.consumed += end + 1;
            }
            None if window.len() > max => {
                out.lines.push(&rest[..max]);
                out.consumed += max;
                out.cut += 1;
            }
            None if last && !rest.is_empty() => {
                out.lines.push(rest);
                out.consumed = bytes.len();
            }
            None => return out,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, last: bool, expect: &[&str], consumed: usize, cut: u64) {
        let lines = expect.iter().map(|line| line.as_bytes()).collect();
        let expect = Lines {
            lines,
            consumed,
            cut,
        };
        assert_eq!(split(text.as_bytes(), 4, last), expect, "{text:?}");
    }

    #[test]
    fn lines() {
        check("", true, &[], 0, 0);
        check("a\n\nbc\nd", false, &["a", "", "bc"], 6, 0);
        check("a\nd", true, &["a", "d"], 3, 0);
        check("abcd\n", false, &["abcd"], 5, 0);
        check("abcd", false, &[], 0, 0);
        check("abcde", false, &["abcd"], 4, 1);
        check(
            "abcdefghij\nk\n",
            false,
            &["abcd", "efgh", "ij", "k"],
            13,
            2,
        );
    }
}
