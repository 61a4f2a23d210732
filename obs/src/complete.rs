//! Completions of shells, with the names of metrics, labels and contexts, and the manual page.
//!
//! A shell asks this binary while somebody types, so an answer takes a moment at most: a server that
//! does not answer in time completes nothing, and no fault is shown.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use clap::{CommandFactory, ValueEnum};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::Shells;
use serde_json::Value;

use crate::arguments::{Cli, ServerOptions};
use crate::client::{Client, now, seconds};

/// By which a shell says that it wants completions.
const VARIABLE: &str = "OBS_COMPLETE";
/// How long somebody waits for a list.
const PATIENCE: Duration = Duration::from_millis(300);
/// Names that are worth a look.
const NAMES_MAX: &str = "500";
/// Names of the last hour.
const RECENT: i64 = 3_600_000_000_000;

/// Shells that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ShellName {
    Bash,
    Zsh,
    Fish,
    Elvish,
    Powershell,
}

/// Answers a shell that wants completions; ends the process then.
pub(crate) fn answer() {
    CompleteEnv::with_factory(Cli::command)
        .var(VARIABLE)
        .bin("obs")
        .complete();
}

/// Prints the script that makes a shell ask.
pub(crate) fn script(shell: ShellName) -> anyhow::Result<()> {
    let name = match shell {
        ShellName::Bash => "bash",
        ShellName::Zsh => "zsh",
        ShellName::Fish => "fish",
        ShellName::Elvish => "elvish",
        ShellName::Powershell => "powershell",
    };
    let shells = Shells::builtins();
    let completer = shells.completer(name).context("an unknown shell")?;
    let mut out = Vec::new();
    completer.write_registration(VARIABLE, "obs", "obs", "obs", &mut out)?;
    Ok(std::io::stdout().write_all(&out)?)
}

/// Prints the page of `obs`, or writes the pages of all commands.
pub(crate) fn manual(folder: Option<&Path>) -> anyhow::Result<()> {
    match folder {
        Some(folder) => {
            let told = || format!("write to {}", folder.display());
            std::fs::create_dir_all(folder).with_context(told)?;
            clap_mangen::generate_to(Cli::command(), folder).with_context(told)
        }
        None => {
            let mut out = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut out)?;
            Ok(std::io::stdout().write_all(&out)?)
        }
    }
}

/// Names of contexts.
pub(crate) fn contexts() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| matching(typed, crate::context::names()))
}

/// Names of metrics, while nothing but a name is typed.
pub(crate) fn metric_names() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| matching(typed, asked("/api/v1/label/__name__/values")))
}

/// Names of labels.
pub(crate) fn label_names() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| matching(typed, asked("/api/v1/labels")))
}

/// Names of namespaces.
pub(crate) fn namespaces() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| matching(typed, asked("/api/v1/label/namespace/values")))
}

fn matching(typed: &OsStr, names: Vec<String>) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let names = names
        .into_iter()
        .filter(|name| name.starts_with(typed.as_ref()));
    names.map(CompletionCandidate::new).collect()
}

/// A list of the server that is asked without further words; empty where it has none in time.
fn asked(path: &str) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        return Vec::new();
    };
    let work = async {
        let client = Client::new(&ServerOptions::default()).ok()?;
        let end = now();
        let params = [
            ("start", seconds(end.saturating_sub(RECENT))),
            ("end", seconds(end)),
            ("limit", NAMES_MAX.to_owned()),
        ];
        client.json(path, &params).await.ok()
    };
    let answer = runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await });
    let data = answer
        .ok()
        .flatten()
        .map(|mut answer| answer["data"].take());
    let names = data
        .as_ref()
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    names
        .filter_map(|name| Some(name.as_str()?.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_sound_and_every_command_has_examples() {
        Cli::command().debug_assert();
        let mut command = Cli::command();
        command.build();
        let mut left: Vec<(String, clap::Command)> = vec![("obs".to_owned(), command)];
        let mut seen = 0;
        while let Some((name, command)) = left.pop() {
            let inner = command.get_subcommands().filter(|c| c.get_name() != "help");
            let inner: Vec<clap::Command> = inner.cloned().collect();
            if inner.is_empty() {
                let help = command.get_after_help().map(ToString::to_string);
                let help = help.unwrap_or_default();
                assert!(
                    help.contains("Examples:\n  "),
                    "{name} --help has no examples"
                );
                seen += 1;
            }
            assert!(
                command.get_about().is_some(),
                "{name} does not say what it does"
            );
            left.extend(
                inner
                    .into_iter()
                    .map(|c| (format!("{name} {}", c.get_name()), c)),
            );
        }
        assert!(seen > 30, "{seen}");
    }

    #[test]
    fn manual_pages_are_written() {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command())
            .render(&mut page)
            .unwrap();
        let page = String::from_utf8(page).unwrap();
        assert!(page.contains(".TH obs 1"), "{page}");
        assert!(page.contains("query(1)"), "{page}");
    }
}
