//! Where reading goes on after a restart. Format: docs/formats/tail-checkpoint.md.
//!
//! Invariant: the file on disk is always whole: it is written beside, synced, renamed over the old
//! one, and its folder synced; a file that does not end with its own checksum is refused.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};
use obs_model::Timestamp;

use crate::durable;

const MAGIC: &str = "obs-tail-checkpoint 1";
/// Largest checkpoint that is read: far more files than are ever followed.
const BYTES_MAX: u64 = 64 << 20;

/// Which file: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FileId {
    pub device: u64,
    pub inode: u64,
}

/// What a file begins with, so that another file with the same inode is told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fingerprint {
    /// Bytes looked at.
    pub length: u64,
    /// Their MD5 sum.
    pub sum: [u8; 16],
}

/// A range of a file that was handed to the sink, but maybe not stored yet. Reading it again gives
/// the same lines with the same times, which the store recognises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub end: u64,
    pub time: Timestamp,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub id: FileId,
    pub path: PathBuf,
    /// Everything before is stored.
    pub offset: u64,
    pub fingerprint: Fingerprint,
    pub sent: Option<Sent>,
}

pub(super) fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut out = format!("{MAGIC}\n");
    for entry in entries {
        let sum = u128::from_be_bytes(entry.fingerprint.sum);
        let (end, time) = entry.sent.map_or((0, 0), |s| (s.end, s.time.nanos()));
        let (id, length) = (entry.id, entry.fingerprint.length);
        let line = writeln!(
            out,
            "{}\t{}\t{}\t{length}\t{sum:032x}\t{end}\t{time}\t{}",
            id.device,
            id.inode,
            entry.offset,
            escape(&entry.path)
        );
        line.expect("a string has room for every line");
    }
    durable::seal(out)
}

pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| format!("byte {}: expected UTF-8", e.valid_up_to()))?;
    let mut lines = text.lines();
    if lines.next() != Some(MAGIC) {
        return Err(format!("1:1: expected {MAGIC:?}"));
    }
    let mut entries = Vec::new();
    for (index, line) in lines.enumerate() {
        if let Some(sum) = line.strip_prefix("end\t") {
            let body = text.len() - line.len() - usize::from(text.ends_with('\n'));
            let expect = u128::from_be_bytes(Md5::digest(&bytes[..body]).into());
            return match u128::from_str_radix(sum, 16) {
                Ok(sum) if sum == expect => Ok(entries),
                Ok(_) | Err(_) => Err(format!("{}:5: checksum mismatch", index + 2)),
            };
        }
        let fault = || format!("{}:1: expected a file with eight fields", index + 2);
        entries.push(entry(line).ok_or_else(fault)?);
    }
    Err("expected a last line with the checksum".to_owned())
}

fn entry(line: &str) -> Option<Entry> {
    let mut fields = line.split('\t');
    let mut number = || fields.next()?.parse::<u64>().ok();
    let (device, inode, offset, length) = (number()?, number()?, number()?, number()?);
    let sum = u128::from_str_radix(fields.next()?, 16).ok()?.to_be_bytes();
    let end = fields.next()?.parse::<u64>().ok()?;
    let time = Timestamp::from_nanos(fields.next()?.parse().ok()?);
    let path = unescape(fields.next()?)?;
    let sent = (end > 0).then_some(Sent { end, time });
    fields.next().is_none().then_some(Entry {
        id: FileId { device, inode },
        path,
        offset,
        fingerprint: Fingerprint { length, sum },
        sent,
    })
}

/// Bytes of a path that are not printable ASCII, and `%`, as `%XX`.
fn escape(path: &Path) -> String {
    let mut out = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_graphic() && *byte != b'%' {
            out.push(char::from(*byte));
        } else {
            let piece = write!(out, "%{byte:02X}");
            piece.expect("a string has room for every byte");
        }
    }
    out
}

fn unescape(text: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        if *byte == b'%' {
            out.push(u8::from_str_radix(text.get(at + 1..at + 3)?, 16).ok()?);
            at += 3;
        } else {
            out.push(*byte);
            at += 1;
        }
    }
    Some(std::ffi::OsString::from_vec(out).into())
}

/// Why a checkpoint was not read.
#[derive(Debug)]
pub(super) enum Unread {
    /// It cannot be opened, and may be later, as when too many files are open.
    Now(String),
    /// It is none.
    Damaged(String),
}

/// Reads a checkpoint; none where there is no file.
pub(super) async fn load(path: &Path) -> Result<Vec<Entry>, Unread> {
    let shown = path.display();
    let bytes = match tokio::fs::metadata(path).await {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Ok(metadata) if metadata.len() > BYTES_MAX => {
            let fault = format!("{shown}: larger than {BYTES_MAX} bytes");
            return Err(Unread::Damaged(fault));
        }
        Ok(_) | Err(_) => tokio::fs::read(path).await,
    };
    let bytes = bytes.map_err(|e| Unread::Now(format!("{shown}: {e}")))?;
    decode(&bytes).map_err(|e| Unread::Damaged(format!("{shown}: {e}")))
}

/// Replaces the checkpoint; durable on return. Blocks.
pub(super) fn save(path: &Path, entries: &[Entry]) -> Result<(), String> {
    durable::replace(path, &encode(entries))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn any_path_comes_back(path in proptest::collection::vec(1u8.., 1..40), offset in any::<u64>()) {
            let mut entry = entries().remove(1);
            entry.path = std::ffi::OsString::from_vec(path).into();
            entry.offset = offset;
            let entries = vec![entry];
            prop_assert_eq!(decode(&encode(&entries)), Ok(entries));
        }

        #[test]
        fn arbitrary_lines_do_not_panic(text in "[0-9a-f\t%-]{0,80}") {
            let mut bytes = format!("{MAGIC}\n{text}\n").into_bytes();
            prop_assert!(decode(&bytes).is_err());
            let sum = u128::from_be_bytes(Md5::digest(&bytes).into());
            bytes.extend(format!("end\t{sum:032x}\n").into_bytes());
            if let Ok(entries) = decode(&bytes) {
                prop_assert_eq!(entries.len(), 1);
            }
        }
    }

    fn entries() -> Vec<Entry> {
        let entry = Entry {
            id: FileId {
                device: 1,
                inode: 2,
            },
            path: "/var/log/a b\t%é.log".into(),
            offset: 3,
            fingerprint: Fingerprint {
                length: 3,
                sum: [7; 16],
            },
            sent: None,
        };
        let sent = Some(Sent {
            end: 9,
            time: Timestamp::from_nanos(-5),
        });
        vec![entry.clone(), Entry { sent, ..entry }]
    }

    #[test]
    fn comes_back_as_written() {
        assert_eq!(decode(&encode(&entries())), Ok(entries()));
        assert_eq!(decode(&encode(&[])), Ok(Vec::new()));
    }

    #[test]
    fn any_damage_is_found() {
        let whole = encode(&entries());
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            assert!(decode(&bytes).is_err(), "byte {at}");
            // The last byte is the newline behind the checksum.
            assert_eq!(
                decode(&whole[..at]).is_ok(),
                at == whole.len() - 1,
                "cut at {at}"
            );
        }
    }

    #[test]
    fn the_format_is_fixed() {
        let text = String::from_utf8(encode(&entries()[1..])).expect("ASCII");
        let line =
            "1\t2\t3\t3\t07070707070707070707070707070707\t9\t-5\t/var/log/a%20b%09%25%C3%A9.log";
        assert!(
            text.starts_with(&format!("obs-tail-checkpoint 1\n{line}\nend\t")),
            "{text}"
        );
    }
}
