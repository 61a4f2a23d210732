//! `obs kubernetes install`: the objects that run obs in a cluster, made of the Helm chart that is
//! embedded here, with the chart's values.
//!
//! Invariants: the chart is the one source of the objects; values that it does not describe are
//! refused; nothing is asked of a cluster.

mod chart;
mod functions;
mod schema;
mod values;
mod yaml;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::Value;

use chart::{File, Release};

/// `obs kubernetes`
#[derive(Debug, Subcommand)]
pub(crate) enum KubernetesCommand {
    /// Print the objects that run obs in a cluster, for `kubectl apply`
    #[command(
        after_help = "Examples:\n  obs kubernetes install --dry-run | kubectl apply --server-side -f -\n  \
        obs kubernetes install --dry-run --namespace monitoring --set image.repository=registry.example/obs\n  \
        obs kubernetes install --show-values\n\n\
        The values are those of the Helm chart (docs/deploy.md)."
    )]
    Install(InstallOptions),
}

/// The flags of `install`; the same as `helm template` has, where both have one.
#[derive(Debug, Args)]
pub(crate) struct InstallOptions {
    /// Print the objects; nothing is sent to a cluster
    #[arg(long, required_unless_present = "show_values")]
    dry_run: bool,
    /// Print the values that there are, with what they mean
    #[arg(long, conflicts_with_all = ["dry_run", "values", "set", "set_string", "output_dir"])]
    show_values: bool,
    /// The namespace, which is among the objects
    #[arg(short, long, value_name = "NAME", default_value = "obs")]
    namespace: String,
    /// What names of objects begin with
    #[arg(long, value_name = "NAME", default_value = "obs")]
    name: String,
    /// Files of values; later ones win
    #[arg(short = 'f', long, value_name = "FILE")]
    values: Vec<PathBuf>,
    /// Values, which win over files: server.retention=30d,image.tag=1.2,agent.tolerations[0].key=x
    #[arg(long, value_name = "VALUES", value_parser = assignments)]
    set: Vec<String>,
    /// The same; what is said is text in any case
    #[arg(long, value_name = "VALUES", value_parser = assignments)]
    set_string: Vec<String>,
    /// Write one file for each part of the installation instead
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
}

/// Runs a command of `obs kubernetes`.
pub(crate) async fn run(command: &KubernetesCommand) -> anyhow::Result<()> {
    let KubernetesCommand::Install(options) = command;
    if options.show_values {
        return Ok(std::io::stdout().write_all(chart::VALUES.as_bytes())?);
    }
    let overrides = overrides(options).await?;
    let release = Release {
        name: name("--name", &options.name)?,
        namespace: name("--namespace", &options.namespace)?,
    };
    let files = chart::render(&release, overrides)?;
    match &options.output_dir {
        None => print(&files),
        Some(folder) => write(&files, folder).await,
    }
}

/// `path=value,…`, looked at while the command line is read.
fn assignments(text: &str) -> Result<String, String> {
    let read = values::set(&mut serde_json::json!({}), text, true);
    match read {
        Ok(()) => Ok(text.to_owned()),
        Err(error) => Err(format!("{error:#}")),
    }
}

/// A name that objects and namespaces may have.
fn name<'n>(flag: &str, name: &'n str) -> anyhow::Result<&'n str> {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let ends = |b: Option<u8>| b.is_some_and(|b| b != b'-');
    let bytes = name.as_bytes();
    let fits = bytes.len() <= 53
        && name.bytes().all(inside)
        && ends(bytes.first().copied())
        && ends(bytes.last().copied());
    anyhow::ensure!(
        fits,
        "{flag} {name:?}: expected at most 53 of a-z, 0-9 and - between them"
    );
    Ok(name)
}

/// What files and flags say over the chart's values.
async fn overrides(options: &InstallOptions) -> anyhow::Result<Value> {
    // Helm makes namespaces itself; manifests have to have them.
    let mut all = serde_json::json!({"namespace": {"create": true}});
    for file in &options.values {
        let text = tokio::fs::read_to_string(file).await;
        let text = text.with_context(|| format!("read {}", file.display()))?;
        let said = values::parse(&text).with_context(|| format!("{}", file.display()))?;
        values::merge(&mut all, said);
    }
    for (flag, texts, typed) in [
        ("--set", &options.set, true),
        ("--set-string", &options.set_string, false),
    ] {
        for text in texts {
            values::set(&mut all, text, typed).with_context(|| format!("{flag} {text}"))?;
        }
    }
    Ok(all)
}

fn print(files: &[File]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for file in files.iter().filter(|file| file.is_manifest()) {
        writeln!(
            out,
            "---\n# Source: obs/templates/{}\n{}",
            file.name, file.text
        )?;
    }
    out.flush()?;
    for notes in files.iter().filter(|file| !file.is_manifest()) {
        // Data is on standard output; this is for people.
        writeln!(std::io::stderr(), "{}", notes.text)?;
    }
    Ok(())
}

async fn write(files: &[File], folder: &Path) -> anyhow::Result<()> {
    tokio::fs::create_dir_all(folder)
        .await
        .with_context(|| format!("create {}", folder.display()))?;
    for (name, text) in manifests(files) {
        let path = folder.join(name);
        let written = tokio::fs::write(&path, text).await;
        written.with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// Files whose names are in the order in which they are to be applied.
fn manifests(files: &[File]) -> impl Iterator<Item = (String, String)> {
    let manifests = files.iter().filter(|file| file.is_manifest());
    manifests.enumerate().map(|(number, file)| {
        let head = "# Made by `obs kubernetes install --dry-run`; see docs/deploy.md.";
        (
            format!("{number:02}-{}", file.name),
            format!("{head}\n{}\n", file.text),
        )
    })
}

#[cfg(test)]
mod tests;
