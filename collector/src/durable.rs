//! Small notes on disk that are always whole.
//!
//! Invariant: a file is written beside, synced, renamed over the old one, and its folder synced.

use std::io::Write as _;
use std::path::Path;

use md5::{Digest, Md5};

/// Bytes of the last line: `end`, a tab, 32 digits and the end of the line.
const LAST: usize = 37;

/// Replaces a file; durable on return. Blocks. Only one caller at a time may write the same path.
#[expect(
    clippy::disallowed_methods,
    reason = "notes of this room's own, beside the data that others keep"
)]
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let write = || -> std::io::Result<()> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            Some(_) | None => Path::new("."),
        };
        std::fs::create_dir_all(folder)?;
        let beside = path.with_extension("new");
        let mut file = std::fs::File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        std::fs::File::open(folder)?.sync_all()
    };
    write().map_err(|e| format!("{}: {e}", path.display()))
}

/// Puts a last line with the checksum behind a text.
pub(crate) fn seal(mut text: String) -> Vec<u8> {
    let sum = u128::from_be_bytes(Md5::digest(text.as_bytes()).into());
    text.push_str(&format!("end\t{sum:032x}\n"));
    text.into_bytes()
}

/// A text without its last line, if that has its checksum.
pub(crate) fn unseal(bytes: &[u8]) -> Result<&str, String> {
    let split = bytes.len().checked_sub(LAST).map(|at| bytes.split_at(at));
    let (body, last) = split.ok_or("expected a last line with the checksum")?;
    let sum = u128::from_be_bytes(Md5::digest(body).into());
    if last != format!("end\t{sum:032x}\n").as_bytes() {
        return Err("checksum mismatch".to_owned());
    }
    std::str::from_utf8(body).map_err(|e| format!("byte {}: expected UTF-8", e.valid_up_to()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_damage_is_found() {
        let whole = seal("a\nb\n".to_owned());
        assert_eq!(unseal(&whole), Ok("a\nb\n"));
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            assert!(unseal(&bytes).is_err(), "byte {at}");
            assert!(unseal(&whole[..at]).is_err(), "cut at {at}");
        }
    }
}
