//! File name patterns with `*` and `?` in any element of a path.
//!
//! Invariant: no more than [`MATCHES_MAX`] paths come out, and a `*` never crosses a `/`.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Most paths that one pattern may name; more than a node has log files.
const MATCHES_MAX: usize = 65_536;

/// Whether a name matches a pattern of `*` (any bytes), `?` (one byte) and literal bytes.
pub(crate) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p, n));
                p += 1;
            }
            Some(b'?') => (p, n) = (p + 1, n + 1),
            Some(byte) if *byte == name[n] => (p, n) = (p + 1, n + 1),
            _ => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    (p, n) = (star + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

fn is_pattern(element: &OsStr) -> bool {
    let bytes = element.as_encoded_bytes();
    bytes.contains(&b'*') || bytes.contains(&b'?')
}

/// The existing paths that a pattern names, in order. Folders that cannot be read are told as
/// faults; a pattern without matches is not a fault.
pub async fn expand(pattern: &Path) -> (Vec<PathBuf>, Vec<String>) {
    let mut faults = Vec::new();
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let element = match component {
            Component::Normal(element) if is_pattern(element) => element,
            other => {
                for path in &mut found {
                    path.push(other);
                }
                continue;
            }
        };
        let mut next = Vec::new();
        for folder in &found {
            if let Err(fault) = list(folder, element, &mut next).await {
                faults.push(fault);
            }
        }
        next.sort();
        found = next;
    }
    let mut existing = Vec::with_capacity(found.len());
    for path in found {
        if tokio::fs::try_exists(&path).await.unwrap_or(false) {
            existing.push(path);
        }
    }
    (existing, faults)
}

/// The same with what lists a folder, for those who are off the event loop already.
pub(crate) fn expand_with(
    pattern: &Path,
    list: impl Fn(&Path) -> std::io::Result<Arc<[OsString]>>,
) -> (Vec<PathBuf>, Vec<String>) {
    let mut faults = Vec::new();
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let element = match component {
            Component::Normal(element) if is_pattern(element) => element,
            other => {
                for path in &mut found {
                    path.push(other);
                }
                continue;
            }
        };
        let mut next = Vec::new();
        for folder in &found {
            let shown = if folder.as_os_str().is_empty() {
                Path::new(".")
            } else {
                folder
            };
            match list(shown) {
                Ok(names) => next.extend(
                    names
                        .iter()
                        .filter(|n| matches(element.as_encoded_bytes(), n.as_encoded_bytes()))
                        .map(|name| folder.join(name)),
                ),
                Err(error) => faults.push(format!("{}: {error}", shown.display())),
            }
        }
        next.truncate(MATCHES_MAX);
        next.sort();
        found = next;
    }
    (found, faults)
}

/// The folder that a pattern's files are in as far as it says so literally; of a path without a
/// pattern, the folder it is in.
pub(crate) fn literal_folder(pattern: &Path) -> PathBuf {
    let literal = |component: &Component<'_>| match component {
        Component::Normal(element) => !is_pattern(element),
        _ => true,
    };
    let folder: PathBuf = pattern.components().take_while(literal).collect();
    let folder = match folder.as_os_str() == pattern.as_os_str() {
        true => folder.parent().map(Path::to_owned).unwrap_or_default(),
        false => folder,
    };
    match folder.as_os_str().is_empty() {
        true => ".".into(),
        false => folder,
    }
}

/// Whether a whole path is of a pattern.
pub(crate) fn matches_path(pattern: &Path, path: &Path) -> bool {
    let (mut p, mut f) = (pattern.components(), path.components());
    loop {
        match (p.next(), f.next()) {
            (None, None) => return true,
            (Some(p), Some(f)) => {
                let (p, f) = (p.as_os_str(), f.as_os_str());
                if !matches(p.as_encoded_bytes(), f.as_encoded_bytes()) {
                    return false;
                }
            }
            (Some(_), None) | (None, Some(_)) => return false,
        }
    }
}

async fn list(folder: &Path, pattern: &OsStr, out: &mut Vec<PathBuf>) -> Result<(), String> {
    let shown = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let fault = |e: std::io::Error| format!("{}: {e}", shown.display());
    let mut entries = match tokio::fs::read_dir(shown).await {
        Ok(entries) => entries,
        // An element before the pattern may be a file, or be gone by now.
        Err(e)
            if matches!(
                e.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(());
        }
        Err(e) => return Err(fault(e)),
    };
    while let Some(entry) = entries.next_entry().await.map_err(fault)? {
        let name = entry.file_name();
        if matches(pattern.as_encoded_bytes(), name.as_encoded_bytes()) {
            if out.len() >= MATCHES_MAX {
                return Err(format!(
                    "{}: more than {MATCHES_MAX} files match",
                    shown.display()
                ));
            }
            out.push(folder.join(name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, name: &str, expect: bool) {
        assert_eq!(
            matches(pattern.as_bytes(), name.as_bytes()),
            expect,
            "{pattern} {name}"
        );
    }

    #[test]
    fn patterns() {
        check("*.log", "a.log", true);
        check("*.log", ".log", true);
        check("*.log", "a.log.1", false);
        check("a?c", "abc", true);
        check("a?c", "ac", false);
        check("*a*b*", "xxaxxbxx", true);
        check("*a*b", "xxbxxa", false);
        check("", "", true);
        check("a", "", false);
    }

    #[tokio::test]
    async fn expands_every_element() {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["x/1/a.log", "x/2/a.log", "x/2/b.txt", "y/a.log"] {
            let path = dir.path().join(name);
            let parent = path.parent().expect("a parent");
            tokio::fs::create_dir_all(parent).await.expect("made");
            tokio::fs::write(&path, b"").await.expect("written");
        }
        let (found, faults) = expand(&dir.path().join("x/*/*.log")).await;
        assert_eq!(
            found,
            [dir.path().join("x/1/a.log"), dir.path().join("x/2/a.log")]
        );
        assert!(faults.is_empty());
        let (found, _) = expand(&dir.path().join("nothing/*.log")).await;
        assert!(found.is_empty());
    }
}
