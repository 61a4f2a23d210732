//! `obs context`: servers with names, and which of them is asked.
//!
//! The file is `obs/contexts.yaml` below `$XDG_CONFIG_HOME` or `~/.config`. Secrets are in files of
//! their own that it names. Who is asked: --server, --context, OBS_SERVER, OBS_CONTEXT, the current
//! context, <http://127.0.0.1:9090>; each tenant in the same order.

mod file;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::arguments::{Output, ServerOptions, server_url};
use crate::shape::{Shape, note};
use crate::table::Table;
use file::{Contexts, Entry};

/// Who is asked where nobody says anything.
const DEFAULT: &str = "http://127.0.0.1:9090";

/// `obs context …`
#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// List the servers that have names
    #[command(after_help = "Examples:\n  obs context list\n  obs context list -o json")]
    List {
        /// Shape of the output
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Ask this server from now on
    #[command(after_help = "Examples:\n  obs context use prod")]
    Use {
        /// Its name
        #[arg(add = crate::complete::contexts())]
        name: String,
    },
    /// Give a server a name; the first one is asked from now on
    #[command(
        after_help = "Examples:\n  obs context add local http://127.0.0.1:9090\n  \
        obs context add prod https://obs.example.com --tenant shop --token-file ~/.obs-token --use\n  \
        obs context add proxied https://proxy/obs --header 'X-Team: a' --header-file X-Key=/run/key"
    )]
    Add(AddOptions),
    /// Forget a server
    #[command(alias = "rm", after_help = "Examples:\n  obs context remove prod")]
    Remove {
        /// Its name
        #[arg(add = crate::complete::contexts())]
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AddOptions {
    /// Its name
    name: String,
    /// Its address
    #[arg(value_name = "URL", value_parser = server_url)]
    url: String,
    /// The tenant (X-Scope-OrgID)
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// The file of a token that is sent as `Authorization: Bearer`; read anew each time
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A header that is sent; secrets belong into files
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// A header whose value is in a file
    #[arg(long, value_name = "NAME=FILE", value_parser = header_file)]
    header_file: Vec<(String, PathBuf)>,
    /// The certificates (PEM) that the server's own must come from
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Ask it from now on
    #[arg(long = "use")]
    select: bool,
    /// Replace what has this name
    #[arg(long)]
    force: bool,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or("expected 'NAME: VALUE'".to_owned())?;
    Ok((is_header(name)?, value.trim().to_owned()))
}

fn header_file(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text
        .split_once('=')
        .ok_or("expected NAME=FILE".to_owned())?;
    Ok((is_header(name)?, file.into()))
}

fn is_header(name: &str) -> Result<String, String> {
    match reqwest::header::HeaderName::try_from(name.trim()) {
        Ok(name) => Ok(name.as_str().to_owned()),
        Err(_) => Err(format!("{name:?} cannot be the name of a header")),
    }
}

/// A server, and what it is told with each request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) server: String,
    pub(crate) tenant: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    /// Certificates in PEM.
    pub(crate) authorities: Option<Vec<u8>>,
    /// A certificate and its key in PEM, which are shown.
    pub(crate) identity: Option<Vec<u8>>,
}

/// A variable of the environment that is set and not empty.
#[expect(
    clippy::disallowed_methods,
    reason = "the flag --context must win over OBS_SERVER, which clap cannot tell apart from --server"
)]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The folder of obs' configuration for clients.
fn folder() -> Option<PathBuf> {
    let below = |name: &str, rest: &str| Some(Path::new(&variable(name)?).join(rest));
    below("XDG_CONFIG_HOME", "obs").or_else(|| below("HOME", ".config/obs"))
}

fn path() -> anyhow::Result<PathBuf> {
    let folder = folder().context("neither XDG_CONFIG_HOME nor HOME says where contexts are")?;
    Ok(folder.join("contexts.yaml"))
}

/// The names of all contexts; none where the file cannot be read.
pub(crate) fn names() -> Vec<String> {
    let contexts = path().and_then(|path| Contexts::read(&path));
    contexts.map_or_else(|_| Vec::new(), |all| all.entries.into_keys().collect())
}

/// Who is to be asked, and what is shown.
pub(crate) fn resolve(options: &ServerOptions) -> anyhow::Result<Target> {
    let mut target = named(options)?;
    options.credentials.put(&mut target)?;
    Ok(target)
}

fn named(options: &ServerOptions) -> anyhow::Result<Target> {
    let tenant = options.tenant.clone().or_else(|| variable("OBS_TENANT"));
    let named = options.context.clone();
    let address = match (&options.server, &named) {
        (Some(url), _) => Some(url.clone()),
        (None, Some(_)) => None,
        (None, None) => match variable("OBS_SERVER") {
            Some(url) => {
                Some(server_url(&url).map_err(|why| anyhow::anyhow!("OBS_SERVER: {why}"))?)
            }
            None => None,
        },
    };
    if let Some(server) = address {
        return Ok(Target {
            server,
            tenant,
            ..Target::default()
        });
    }
    let named = named.or_else(|| variable("OBS_CONTEXT"));
    let contexts = match path() {
        Ok(path) => Contexts::read(&path)?,
        Err(error) if named.is_some() => return Err(error),
        // Where there is no home there are no contexts.
        Err(_) => Contexts::default(),
    };
    let Some(name) = named.or_else(|| contexts.current.clone()) else {
        return Ok(Target {
            server: DEFAULT.to_owned(),
            tenant,
            ..Target::default()
        });
    };
    let entry = contexts.entries.get(&name).with_context(|| {
        let known: Vec<&str> = contexts.entries.keys().map(String::as_str).collect();
        match known.as_slice() {
            [] => {
                format!("no context has the name {name:?}; `obs context add {name} URL` makes one")
            }
            known => format!(
                "no context has the name {name:?}; there are {}",
                known.join(", ")
            ),
        }
    })?;
    let mut target = entry.target().with_context(|| format!("context {name}"))?;
    target.tenant = tenant.or(target.tenant);
    Ok(target)
}

/// Runs `obs context`.
pub(crate) fn run(command: &ContextCommand) -> anyhow::Result<()> {
    let path = path()?;
    let mut contexts = Contexts::read(&path)?;
    match command {
        ContextCommand::List { output } => return list(&contexts, *output),
        ContextCommand::Use { name } => {
            ensure!(
                contexts.entries.contains_key(name),
                "no context has the name {name:?}; `obs context list` shows all"
            );
            contexts.current = Some(name.clone());
        }
        ContextCommand::Add(options) => add(&mut contexts, options)?,
        ContextCommand::Remove { name } => {
            if contexts.entries.remove(name).is_none() {
                bail!("no context has the name {name:?}; `obs context list` shows all");
            }
            contexts.current = contexts.current.filter(|current| current != name);
        }
    }
    contexts.write(&path)?;
    let current = contexts.current.as_deref().unwrap_or(DEFAULT);
    Ok(note(&format!("asking {current} from now on"))?)
}

fn list(contexts: &Contexts, output: Output) -> anyhow::Result<()> {
    if contexts.entries.is_empty() {
        note("no contexts; `obs context add NAME URL` makes one")?;
    }
    let rows: Vec<Value> = contexts
        .entries
        .iter()
        .map(|(name, entry)| {
            let mut row = entry.json();
            row["name"] = name.as_str().into();
            row["current"] = (contexts.current.as_ref() == Some(name)).into();
            row
        })
        .collect();
    Shape::from(output).print(&json!(rows), || {
        let mut table = Table::new(["current", "name", "server", "tenant", "headers"]);
        for (name, entry) in &contexts.entries {
            let mark = if contexts.current.as_ref() == Some(name) {
                "*"
            } else {
                ""
            };
            table.push(vec![
                mark.to_owned(),
                name.clone(),
                entry.server.clone(),
                entry.tenant.clone().unwrap_or_default(),
                entry.header_names().join(","),
            ]);
        }
        table
    })
}

fn add(contexts: &mut Contexts, options: &AddOptions) -> anyhow::Result<()> {
    let name = &options.name;
    ensure!(!name.trim().is_empty(), "a context needs a name");
    if contexts.entries.contains_key(name) && !options.force {
        bail!("the context {name:?} is there already; --force replaces it");
    }
    let entry = Entry {
        server: options.url.clone(),
        tenant: options.tenant.clone(),
        token_file: options.token_file.as_deref().map(absolute).transpose()?,
        headers: options.header.iter().cloned().collect(),
        header_files: options
            .header_file
            .iter()
            .map(|(name, file)| Ok((name.clone(), absolute(file)?)))
            .collect::<anyhow::Result<_>>()?,
        ca_file: options.ca_file.as_deref().map(absolute).transpose()?,
    };
    // What cannot be read is told now and not with the first question.
    entry.target()?;
    contexts.entries.insert(name.clone(), entry);
    if options.select || contexts.current.is_none() {
        contexts.current = Some(name.clone());
    }
    Ok(())
}

/// A path that means the same in any folder.
fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{}", path.display()))
}
