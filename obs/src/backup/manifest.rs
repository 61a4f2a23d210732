//! What a backup has: a list of its files, which `docs/formats/backup.md` specifies.
//!
//! Invariant: a manifest that is read says of each byte of the backup where it is and what it is
//! known by; one that does not end with its own checksum is refused.

use std::collections::BTreeSet;
use std::io::Write;

use anyhow::{Context, bail, ensure};
use obs_model::Timestamp;
use obs_server::backup::{hex, is_passing, is_plain};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

/// The version of the format.
const VERSION: u64 = 1;
/// Bytes of a manifest: a file has about 250.
pub(crate) const BYTES_MAX: u64 = 512 << 20;

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Relative to the data directory.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    /// Of all its bytes, in hexadecimal digits.
    pub(crate) sha256: String,
    /// The key of the object that has them.
    pub(crate) object: String,
}

/// A backup, or the draft of one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Manifest {
    pub(crate) id: String,
    pub(crate) begun: Timestamp,
    pub(crate) seconds: f64,
    /// The version of the server, and its machine.
    pub(crate) version: String,
    pub(crate) host: String,
    /// Bytes and objects that no earlier backup had.
    pub(crate) new_bytes: u64,
    pub(crate) new_objects: u64,
    /// Of a draft: the backup came to its end without success.
    pub(crate) failed: bool,
    pub(crate) files: Vec<Entry>,
}

impl Manifest {
    /// Bytes of all files; what is read has a sum that is right.
    pub(crate) fn bytes(&self) -> u64 {
        let all = self.files.iter().map(|file| file.bytes);
        all.fold(0, u64::saturating_add)
    }

    /// For programs, without the files.
    pub(crate) fn json(&self) -> Value {
        json!({
            "id": self.id,
            "begun": self.begun.to_string(),
            "seconds": self.seconds,
            "version": self.version,
            "host": self.host,
            "files": self.files.len(),
            "bytes": self.bytes(),
            "new_objects": self.new_objects,
            "new_bytes": self.new_bytes,
        })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut head = self.json();
        head["obs_backup"] = VERSION.into();
        head["begun"] = self.begun.nanos().into();
        head["failed"] = self.failed.into();
        let mut out = head.to_string().into_bytes();
        out.push(b'\n');
        for file in &self.files {
            let line = json!({
                "path": file.path, "bytes": file.bytes, "sha256": file.sha256,
                "object": file.object,
            });
            out.extend_from_slice(line.to_string().as_bytes());
            out.push(b'\n');
        }
        let sum = hex(digest(&SHA256, &out).as_ref());
        writeln!(out, "end\t{sum}").expect("a vector takes all bytes");
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> anyhow::Result<Self> {
        const END: usize = "end\t\n".len() + 64;
        let (lines, end) = bytes
            .len()
            .checked_sub(END)
            .map(|at| bytes.split_at(at))
            .context("expected a manifest of a backup, found too few bytes")?;
        let sum = format!("end\t{}\n", hex(digest(&SHA256, lines).as_ref()));
        ensure!(
            sum.as_bytes() == end,
            "the manifest is damaged: it does not end with its checksum"
        );
        let text = std::str::from_utf8(lines).context("the manifest is no text")?;
        let mut lines = text.lines();
        let head: Value = serde_json::from_str(lines.next().unwrap_or_default())?;
        let version = head["obs_backup"].as_u64();
        ensure!(
            version == Some(VERSION),
            "expected a manifest of version {VERSION}, found {}",
            head["obs_backup"]
        );
        let mut files: Vec<Entry> = Vec::new();
        let mut known = BTreeSet::new();
        let mut total = 0_u64;
        for (index, line) in lines.enumerate() {
            let entry = entry(line).with_context(|| format!("line {}", index + 2))?;
            ensure!(
                known.insert(entry.path.clone()),
                "line {}: {} is there twice",
                index + 2,
                entry.path
            );
            let sum = total.checked_add(entry.bytes);
            total = sum.with_context(|| format!("line {}: too many bytes in all", index + 2))?;
            files.push(entry);
        }
        if let Some(path) = file_and_folder(&known) {
            bail!("{path} is a file, and a folder of another one");
        }
        let text = |name: &str| {
            let text = head[name].as_str();
            text.map(str::to_owned)
                .with_context(|| format!("line 1: {name} is no text"))
        };
        let count = |name: &str| {
            let count = head[name].as_u64();
            count.with_context(|| format!("line 1: {name} is no number"))
        };
        let begun = head["begun"].as_i64().context("line 1: begun is no time")?;
        Ok(Self {
            id: text("id")?,
            begun: Timestamp::from_nanos(begun),
            seconds: head["seconds"].as_f64().unwrap_or(0.0),
            version: text("version")?,
            host: text("host")?,
            new_bytes: count("new_bytes")?,
            new_objects: count("new_objects")?,
            failed: head["failed"].as_bool().unwrap_or(false),
            files,
        })
    }
}

/// A path that is also the folder of another one.
fn file_and_folder(paths: &BTreeSet<String>) -> Option<&str> {
    paths.iter().find_map(|path| {
        let mut ends = path.match_indices('/');
        ends.find_map(|(end, _)| paths.get(&path[..end]).map(String::as_str))
    })
}

fn entry(line: &str) -> anyhow::Result<Entry> {
    let value: Value = serde_json::from_str(line)?;
    let text = |name: &str| {
        let text = value[name].as_str();
        text.with_context(|| format!("{name} is no text"))
    };
    let (path, sha256, object) = (text("path")?, text("sha256")?, text("object")?);
    if !is_plain(path) {
        bail!("{path:?} is no path of a backup");
    }
    // Of a process or a restore: with these, it would write over its own.
    ensure!(!is_passing(path), "{path:?} is no file of a backup");
    ensure!(is_hash(sha256), "{sha256:?} is no checksum");
    ensure!(
        is_plain(object) && tag_of(object).is_some(),
        "{object:?} is no object"
    );
    Ok(Entry {
        path: path.to_owned(),
        bytes: value["bytes"].as_u64().context("bytes is no number")?,
        sha256: sha256.to_owned(),
        object: object.to_owned(),
    })
}

fn is_hash(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The key of the object that a backup makes of what has this tag.
pub(crate) fn object_key(tag: &str, id: &str) -> String {
    let begin = tag.get(1..3).unwrap_or_default();
    format!("objects/{begin}/{tag}.{id}")
}

/// The tag of what an object has; `None` for keys that are no objects of ours.
pub(crate) fn tag_of(key: &str) -> Option<&str> {
    let rest = key.strip_prefix("objects/")?;
    let (_, name) = rest.split_once('/')?;
    let (tag, id) = name.split_once('.')?;
    let hash = tag.strip_prefix(['p', 'f'])?;
    (is_hash(hash) && is_id(id) && object_key(tag, id) == key).then_some(tag)
}

/// Whether a text is the id of a backup.
pub(crate) fn is_id(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    !text.is_empty() && text.len() <= 64 && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        let hash = "0123456789abcdef".repeat(4);
        let entry = |path: &str| Entry {
            path: path.to_owned(),
            bytes: 12,
            sha256: hash.clone(),
            object: object_key(&format!("p{hash}"), "b1"),
        };
        Manifest {
            id: "b1".to_owned(),
            begun: Timestamp::from_nanos(1_500_000_001),
            seconds: 1.5,
            version: "0.1.0".to_owned(),
            host: "a \"b\"\n".to_owned(),
            new_bytes: 12,
            new_objects: 1,
            failed: false,
            files: vec![entry("metrics/parts/1.part"), entry("küche/x y")],
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let manifest = sample();
        assert_eq!(Manifest::decode(&manifest.encode()).unwrap(), manifest);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let bytes = sample().encode();
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 1;
            assert!(Manifest::decode(&broken).is_err(), "byte {at}");
            assert!(Manifest::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn faults_are_told() {
        let check = |change: &dyn Fn(&mut Manifest), expect: &str| {
            let mut manifest = sample();
            change(&mut manifest);
            let fault = format!("{:#}", Manifest::decode(&manifest.encode()).unwrap_err());
            assert!(fault.contains(expect), "{fault}");
        };
        check(&|m| m.files[1].path = "../x".to_owned(), "line 3: \"../x\"");
        check(&|m| m.files[1].path = m.files[0].path.clone(), "twice");
        for path in ["restore.unfinished", "lock", "copies/1/x", "lock/x"] {
            let expect = format!("line 2: {path:?} is no file of a backup");
            check(&|m| m.files[0].path = path.to_owned(), &expect);
        }
        for path in ["metrics", "metrics/parts"] {
            let expect = format!("{path} is a file, and a folder");
            check(&|m| m.files[1].path = path.to_owned(), &expect);
        }
        check(&|m| m.files[1].bytes = u64::MAX, "line 3: too many bytes");
        check(
            &|m| m.files[0].object = "running/b1".to_owned(),
            "no object",
        );
        check(&|m| m.files[0].sha256 = "x".to_owned(), "no checksum");
    }

    #[test]
    fn keys() {
        let tag = format!("f{}", "ab".repeat(32));
        let key = object_key(&tag, "20260102T030405Z-1f");
        assert_eq!(key, format!("objects/ab/{tag}.20260102T030405Z-1f"));
        assert_eq!(tag_of(&key), Some(tag.as_str()));
        for other in [
            "objects/ab/x.1",
            &key.replace("/ab/", "/cd/"),
            &key[..key.len() - 19],
            &key.replace("objects", "other"),
        ] {
            assert_eq!(tag_of(other), None, "{other}");
        }
    }
}
