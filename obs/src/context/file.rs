//! The file of contexts. Unknown keys are refused, so that a typing error is not a missing header.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

use super::Target;

/// All contexts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Contexts {
    pub(super) current: Option<String>,
    pub(super) entries: BTreeMap<String, Entry>,
}

/// One of them, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) server: String,
    pub(super) tenant: Option<String>,
    pub(super) token_file: Option<PathBuf>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) header_files: BTreeMap<String, PathBuf>,
    pub(super) ca_file: Option<PathBuf>,
}

impl Contexts {
    /// What the file says; nothing where there is none.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).with_context(|| format!("{shown}")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("read {shown}")),
        }
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let value: Value = serde_yaml_ng::from_str(text).context("it is not YAML")?;
        let map = match value {
            Value::Null => return Ok(Self::default()),
            value => object(value, "the file")?,
        };
        let mut contexts = Self::default();
        for (key, value) in map {
            match key.as_str() {
                "current" => contexts.current = Some(text_of(value, "current")?),
                "contexts" => {
                    for (name, value) in object(value, "contexts")? {
                        let entry =
                            Entry::parse(value).with_context(|| format!("context {name}"))?;
                        contexts.entries.insert(name, entry);
                    }
                }
                _ => bail!("{key:?} is not a key; expected current or contexts"),
            }
        }
        Ok(contexts)
    }

    fn text(&self) -> anyhow::Result<String> {
        let entries = self.entries.iter();
        let entries: Map<String, Value> = entries
            .map(|(name, entry)| (name.clone(), entry.json()))
            .collect();
        let mut value = json!({ "contexts": entries });
        if let Some(current) = &self.current {
            value["current"] = current.as_str().into();
        }
        serde_yaml_ng::to_string(&value).context("write YAML")
    }

    /// Replaces the file. Others cannot read it: headers may hold what is secret.
    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let told = || format!("write {}", path.display());
        std::fs::create_dir_all(folder).with_context(told)?;
        let draft = path.with_extension("tmp");
        let mut options = std::fs::OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&draft).with_context(told)?;
        file.write_all(self.text()?.as_bytes()).with_context(told)?;
        file.sync_all().with_context(told)?;
        replace(&draft, path).with_context(told)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the command keeps the user's configuration"
)]
fn replace(draft: &Path, path: &Path) -> std::io::Result<()> {
    std::fs::rename(draft, path)
}

fn object(value: Value, what: &str) -> anyhow::Result<Map<String, Value>> {
    match value {
        Value::Object(map) => Ok(map),
        other => bail!("{what}: expected keys with values, found {other}"),
    }
}

fn text_of(value: Value, what: &str) -> anyhow::Result<String> {
    match value {
        Value::String(text) => Ok(text),
        other => bail!("{what}: expected a text, found {other}"),
    }
}

impl Entry {
    fn parse(value: Value) -> anyhow::Result<Self> {
        let mut entry = Self::default();
        for (key, value) in object(value, "a context")? {
            match key.as_str() {
                "server" => {
                    let url = text_of(value, "server")?;
                    let url = crate::arguments::server_url(&url);
                    entry.server = url.map_err(|why| anyhow::anyhow!("server: {why}"))?;
                }
                "tenant" => entry.tenant = Some(text_of(value, "tenant")?),
                "token_file" => entry.token_file = Some(text_of(value, "token_file")?.into()),
                "ca_file" => entry.ca_file = Some(text_of(value, "ca_file")?.into()),
                "headers" => {
                    for (name, value) in object(value, "headers")? {
                        let value = text_of(value, &name)?;
                        entry.headers.insert(name, value);
                    }
                }
                "header_files" => {
                    for (name, value) in object(value, "header_files")? {
                        let file = text_of(value, &name)?;
                        entry.header_files.insert(name, file.into());
                    }
                }
                _ => bail!(
                    "{key:?} is not a key; expected server, tenant, token_file, headers, \
                     header_files or ca_file"
                ),
            }
        }
        if entry.server.is_empty() {
            bail!("server: missing");
        }
        Ok(entry)
    }

    /// As it is written.
    pub(super) fn json(&self) -> Value {
        let mut value = json!({"server": self.server});
        if let Some(tenant) = &self.tenant {
            value["tenant"] = tenant.as_str().into();
        }
        for (key, file) in [("token_file", &self.token_file), ("ca_file", &self.ca_file)] {
            if let Some(file) = file {
                value[key] = file.display().to_string().into();
            }
        }
        if !self.headers.is_empty() {
            value["headers"] = json!(self.headers);
        }
        if !self.header_files.is_empty() {
            let files = self.header_files.iter();
            let files: Map<String, Value> = files
                .map(|(name, file)| (name.clone(), file.display().to_string().into()))
                .collect();
            value["header_files"] = files.into();
        }
        value
    }

    /// Names of the headers that are sent; values are not shown.
    pub(super) fn header_names(&self) -> Vec<&str> {
        let token = self.token_file.iter().map(|_| "authorization");
        let named = self.headers.keys().chain(self.header_files.keys());
        token.chain(named.map(String::as_str)).collect()
    }

    /// The server with what its files hold now.
    pub(super) fn target(&self) -> anyhow::Result<Target> {
        let mut headers: Vec<(String, String)> = Vec::new();
        if let Some(file) = &self.token_file {
            headers.push((
                "authorization".to_owned(),
                format!("Bearer {}", secret(file)?),
            ));
        }
        headers.extend(self.headers.clone());
        for (name, file) in &self.header_files {
            headers.push((name.clone(), secret(file)?));
        }
        let authorities = self.ca_file.as_deref().map(|file| {
            let text = std::fs::read_to_string(file);
            text.with_context(|| format!("read {}", file.display()))
        });
        Ok(Target {
            server: self.server.clone(),
            tenant: self.tenant.clone(),
            headers,
            authorities: authorities.transpose()?.map(String::into_bytes),
            identity: None,
        })
    }
}

/// A file's text without the line feed at its end.
fn secret(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let text = "current: prod\ncontexts:\n  prod:\n    server: https://obs.example.com\n    \
                    tenant: shop\n    token_file: /run/token\n    headers: {x-team: a}\n    \
                    header_files: {x-key: /run/key}\n    ca_file: /run/ca.pem\n  \
                    local: {server: 'http://127.0.0.1:9090'}\n";
        let contexts = Contexts::parse(text).unwrap();
        let prod = &contexts.entries["prod"];
        assert_eq!(prod.header_names(), ["authorization", "x-team", "x-key"]);
        let again = Contexts::parse(&contexts.text().unwrap()).unwrap();
        assert_eq!(again, contexts);
        assert_eq!(Contexts::parse("").unwrap(), Contexts::default());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expect) in [
            ("a", "expected keys"),
            ("now: x", "\"now\" is not a key"),
            ("contexts: {a: {url: x}}", "context a: \"url\" is not a key"),
            ("contexts: {a: {}}", "context a: server: missing"),
            ("contexts: {a: {server: x}}", "expected a URL"),
            (
                "contexts: {a: {server: 'http://x', headers: [1]}}",
                "headers: expected keys",
            ),
        ] {
            let error = format!("{:#}", Contexts::parse(text).unwrap_err());
            assert!(error.contains(expect), "{text}: {error}");
        }
    }
}
