//! What is backed up: the files of a server that runs, or of a data directory.
//!
//! Invariant: what is listed is of one moment, and stays readable until the source is closed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use obs_server::backup::{Files, Listed};
use serde_json::Value;

use crate::arguments::ServerOptions;
use crate::client::Client;
use crate::shape::note;

const BACKUPS: &str = "/api/v1/admin/storage/backups";
/// A server that merges much answers when it is done with that.
const MAKE_TIMEOUT: Duration = Duration::from_secs(3600);
/// Tries of one piece where the connection fails.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(300);

/// A source of files.
#[derive(Debug)]
pub(crate) enum Source {
    Server {
        client: Client,
        id: String,
    },
    Folder(Files),
    #[cfg(test)]
    Memory(super::simulation::Contents),
}

/// A source, and what it has.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) source: Arc<Source>,
    pub(crate) files: Vec<Listed>,
    /// The version of the server, and its machine.
    pub(crate) version: String,
    pub(crate) host: String,
}

impl Source {
    /// Has a server make a copy.
    pub(crate) async fn server(options: &ServerOptions) -> anyhow::Result<Opened> {
        let client = Client::new(options)?;
        let headers = [("accept", "application/json")];
        let posted = client.post_within(BACKUPS, &headers, Vec::new(), MAKE_TIMEOUT);
        let posted = posted.await?;
        if posted.status != 200 {
            let told = posted.told();
            let hint = crate::hint::of_answer(posted.status, &told, None);
            return Err(crate::hint::error(told, hint).context("the server made no copy"));
        }
        let body: Value = serde_json::from_slice(&posted.body)
            .context("the server did not answer with JSON: is it one of obs?")?;
        let data = &body["data"];
        let text = |name: &str| {
            let text = data[name].as_str().map(str::to_owned);
            text.with_context(|| format!("the server's answer has no {name}"))
        };
        let listed = |file: &Value| {
            Some(Listed {
                path: file["path"].as_str()?.to_owned(),
                bytes: file["bytes"].as_u64()?,
                tag: file["tag"].as_str()?.to_owned(),
            })
        };
        let names = data["left_out"].as_array().into_iter().flatten();
        tell_left_out(names.filter_map(Value::as_str))?;
        let files = data["files"].as_array().map(|all| all.iter().map(listed));
        let files = files.and_then(|all| all.collect::<Option<Vec<_>>>());
        Ok(Opened {
            files: files.context("the server's answer has no list of files")?,
            version: text("version")?,
            host: text("host")?,
            source: Arc::new(Self::Server {
                client,
                id: text("id")?,
            }),
        })
    }

    /// The data directory of a server that is stopped.
    pub(crate) fn folder(data: &Path) -> anyhow::Result<Opened> {
        let files = Files::open(data)?;
        tell_left_out(files.left_out()?.iter().map(String::as_str))?;
        Ok(Opened {
            files: files.list()?,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            source: Arc::new(Self::Folder(files)),
        })
    }

    /// Some bytes of a file.
    pub(crate) async fn read(
        &self,
        path: &str,
        offset: u64,
        bytes: usize,
    ) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Server { client, id } => {
                let place = format!("{BACKUPS}/{id}/file");
                let params = [
                    ("path", path.to_owned()),
                    ("offset", offset.to_string()),
                    ("bytes", bytes.to_string()),
                ];
                let mut tries = 1;
                loop {
                    let read = client.get(&place, &params, "*/*").await;
                    match read {
                        Err(error) if tries < TRIES && is_passing(&error) => {
                            tries += 1;
                            tokio::time::sleep(PAUSE * tries).await;
                        }
                        read => return read.with_context(|| format!("read {path}")),
                    }
                }
            }
            Self::Folder(files) => tokio::task::block_in_place(|| {
                if offset == 0 {
                    files.check(path)?;
                }
                files.read(path, offset, bytes)
            }),
            #[cfg(test)]
            Self::Memory(contents) => Ok(contents.read(path, offset, bytes).await),
        }
    }

    /// The server needs the copy no longer.
    pub(crate) async fn close(&self) -> anyhow::Result<()> {
        match self {
            Self::Server { client, id } => client.delete(&format!("{BACKUPS}/{id}")).await,
            Self::Folder(_) => Ok(()),
            #[cfg(test)]
            Self::Memory(_) => Ok(()),
        }
    }
}

/// Tells the names of what the backup does not have.
fn tell_left_out<'a>(names: impl Iterator<Item = &'a str>) -> anyhow::Result<()> {
    let names: Vec<String> = names.map(|name| format!("{name:?}")).collect();
    if !names.is_empty() {
        let names = names.join(", ");
        note(&format!("left out, for obs did not write it: {names}"))?;
    }
    Ok(())
}

/// Whether it was the connection that failed, and not the server that refused.
fn is_passing(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<reqwest::Error>())
}
