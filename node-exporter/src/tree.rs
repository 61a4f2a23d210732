//! Files in memory, for tests: a text of sections `-- path --`, or `-- path -> target --` for a link.
//!
//! Paths begin with the name of their root, as in `source.rs`.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};

/// Links that are followed before the path counts as a loop.
const LINKS_MAX: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    File(Vec<u8>),
    Link(String),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    nodes: BTreeMap<String, Node>,
}

impl Tree {
    pub(crate) fn parse(text: &str) -> Self {
        let mut tree = Self::default();
        let mut current: Option<String> = None;
        for line in text.split_inclusive('\n') {
            let head = line.trim_end();
            let head = head.strip_prefix("-- ").and_then(|h| h.strip_suffix(" --"));
            match (head, &current) {
                (Some(head), _) => match head.split_once(" -> ") {
                    Some((path, target)) => {
                        let node = Node::Link(target.to_owned());
                        tree.nodes.insert(path.to_owned(), node);
                        current = None;
                    }
                    None => {
                        tree.nodes.insert(head.to_owned(), Node::File(Vec::new()));
                        current = Some(head.to_owned());
                    }
                },
                (None, Some(path)) => {
                    if let Some(Node::File(bytes)) = tree.nodes.get_mut(path) {
                        bytes.extend_from_slice(line.as_bytes());
                    }
                }
                (None, None) => {}
            }
        }
        tree
    }

    pub(crate) fn files(&mut self) -> impl Iterator<Item = (&String, &mut Node)> {
        self.nodes.iter_mut()
    }

    /// The path behind links.
    fn follow(&self, path: &str) -> Option<String> {
        let mut path = path.trim_end_matches('/').to_owned();
        for _ in 0..LINKS_MAX {
            let link = self.nodes.iter().find_map(|(at, node)| match node {
                Node::Link(target) if path == *at => Some((at, target, "")),
                Node::Link(target) => {
                    let rest = path.strip_prefix(at.as_str())?;
                    rest.starts_with('/').then_some((at, target, rest))
                }
                Node::File(_) => None,
            });
            let Some((at, target, rest)) = link else {
                return Some(path);
            };
            let folder = at.rsplit_once('/').map_or("", |(folder, _)| folder);
            path = format!("{}{rest}", joined(folder, target));
        }
        None
    }

    pub(crate) fn read(&self, path: &str) -> Result<Vec<u8>> {
        let real = self.follow(path).ok_or(ErrorKind::NotFound)?;
        match self.nodes.get(&real) {
            Some(Node::File(bytes)) => Ok(bytes.clone()),
            Some(Node::Link(_)) | None if self.is_folder(path) => {
                Err(Error::from(ErrorKind::IsADirectory))
            }
            Some(Node::Link(_)) | None => Err(Error::from(ErrorKind::NotFound)),
        }
    }

    pub(crate) fn entries(&self, folder: &str) -> Result<Vec<String>> {
        let real = self.follow(folder).ok_or(ErrorKind::NotFound)?;
        let prefix = format!("{real}/");
        let mut names: Vec<String> = Vec::new();
        for path in self.nodes.keys() {
            if let Some(rest) = path.strip_prefix(&prefix) {
                let name = rest.split('/').next().unwrap_or_default();
                if names.last().is_none_or(|last| last != name) {
                    names.push(name.to_owned());
                }
            }
        }
        names.sort();
        names.dedup();
        if names.is_empty() {
            return Err(Error::from(ErrorKind::NotFound));
        }
        Ok(names)
    }

    pub(crate) fn is_folder(&self, path: &str) -> bool {
        self.entries(path).is_ok()
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.is_folder(path)
            || self
                .follow(path)
                .is_some_and(|real| self.nodes.contains_key(&real))
    }

    pub(crate) fn real(&self, path: &str) -> Option<String> {
        let exists = self.exists(path);
        let real = self.follow(path)?;
        exists.then(|| format!("/{real}"))
    }
}

/// A path relative to a folder, with `..` gone.
fn joined(folder: &str, target: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').collect();
    for part in target.split('/') {
        match part {
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Space of a mount: that of `/root/broken` cannot be told.
pub(crate) fn ask_mount(
    path: &std::path::Path,
) -> std::result::Result<crate::mounts::Space, String> {
    if path.ends_with("broken") {
        return Err("input/output error".to_owned());
    }
    Ok(crate::mounts::Space {
        size: 1000.0,
        free: 600.0,
        available: 500.0,
        files: 100.0,
        files_free: 90.0,
    })
}
