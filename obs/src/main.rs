//! `obs`: the command tree. Client commands speak HTTP to a server; nothing here touches a store.
//!
//! Data goes to standard output, everything else to standard error. Exit codes: 0 ok, 1 failed,
//! 2 usage, 3 fatal lints; `docs/cli.md` has the table.

mod alerts;
mod allocator;
mod arguments;
mod backup;
mod check;
mod check_dashboard;
mod check_metrics;
mod check_rules;
mod client;
mod collector_flags;
mod complete;
mod context;
mod correlate;
mod cost;
mod credentials;
mod doctor;
mod errors;
mod explain;
mod export;
mod grafana;
mod graph;
mod hint;
mod import;
mod kube_state;
mod kubernetes_install;
mod labels;
mod log_context;
mod log_export;
mod log_histogram;
mod logs;
mod node_exporter;
mod open_files;
mod paint;
mod progress;
mod query;
mod rule_arguments;
mod rule_flags;
mod rules;
mod service_graph;
mod shape;
mod slo;
mod span_metrics;
mod table;
mod test_promql;
mod test_rules;
mod top;
mod trace_logs;
mod trace_path;
mod traces;
mod transfer_arguments;
mod watch;
mod waterfall;
mod when;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use arguments::{Check, Cli, Command, Test};

const FORGET_CODE_EVERY: std::time::Duration = std::time::Duration::from_secs(5);

fn main() -> ExitCode {
    allocator::settle();
    complete::answer();
    let cli = read();
    paint::choose(cli.color);
    if matches!(cli.command, Command::Serve(_) | Command::Agent(_)) {
        open_files::raise();
    }
    let mut builder = match &cli.command {
        // A guest on its node: one thread waits, what blocks or computes has threads of its own.
        Command::Agent(_) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::Error::from(error).context("start the runtime")),
    };
    match runtime.block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref() {
            Some(Ended(code)) => ExitCode::from(*code),
            None => fail(&error),
        },
    }
}

/// Reads the command line; misuse and help end the process, in colour only where that is wanted.
fn read() -> Cli {
    let words: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let mut command = Cli::command().color(paint::wanted(&words));
    let matches = command.try_get_matches_from_mut(words);
    let cli = matches.and_then(|matches| Cli::from_arg_matches(&matches));
    cli.unwrap_or_else(|error| error.format(&mut command).exit())
}

/// A guest on its node keeps only the code in memory that it uses (see decision 0132).
async fn forget_code() -> anyhow::Result<()> {
    let code = allocator::Code::own();
    let mut turns = tokio::time::interval(FORGET_CODE_EVERY);
    loop {
        turns.tick().await;
        if let Err(error) = code.forget() {
            writeln!(
                std::io::stderr(),
                "obs: pages of code stay in memory: {error}"
            )?;
            return std::future::pending().await;
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Serve(options) => Box::pin(obs_server::serve(options.into_server()?)).await,
        Command::Agent(options) => {
            let agent = Box::pin(obs_server::agent(options.into_agent()));
            tokio::select! { ended = agent => ended, ended = forget_code() => ended }
        }
        Command::KubeState(options) => kube_state::run(*options).await,
        Command::Kubernetes(command) => kubernetes_install::run(&command).await,
        Command::NodeExporter(options) => node_exporter::run(&options).await,
        Command::Check(Check::Config { file }) => check::config(&file).await,
        Command::Check(Check::Dashboard { files }) => check_dashboard::run(&files),
        Command::Check(Check::Metrics(options)) => check_metrics::run(&options),
        Command::Check(Check::Rules(options)) => check_rules::run(&options).await,
        Command::Test(Test::Rules(options)) => test_rules::run(&options).await,
        Command::Test(Test::Promql(options)) => test_promql::run(&options),
        Command::Rules(command) => rules::run(&command).await,
        Command::Slo(command) => slo::run(&command).await,
        Command::Query(options) => query::run(&options).await,
        Command::Watch(options) => watch::run(&options).await,
        Command::Explain(options) => explain::run(&options).await,
        Command::Top(command) => top::run(&command).await,
        Command::Labels(options) => labels::run(&options).await,
        Command::Series(options) => labels::series(&options).await,
        Command::Logs(options) => logs::run(&options).await,
        Command::Traces(options) => traces::search(&options).await,
        Command::Trace(options) => traces::show(&options).await,
        Command::Errors(options) => errors::run(&options).await,
        Command::Alerts(command) => alerts::run(&command).await,
        Command::Silence(command) => alerts::silence(&command).await,
        Command::Cost(options) => cost::run(&options).await,
        Command::ServiceGraph(options) => service_graph::run(&options).await,
        Command::Correlate(options) => correlate::run(&options).await,
        Command::Import(options) => import::run(&options).await,
        Command::Export(options) => export::run(&options).await,
        Command::Backup(options) => Box::pin(backup::run(*options)).await,
        Command::Doctor(options) => doctor::run(&options).await,
        Command::Restore(options) => Box::pin(backup::restore(&options)).await,
        Command::Context(command) => context::run(&command),
        Command::Grafana(command) => grafana::run(&command),
        Command::Completions { shell } => complete::script(shell),
        Command::Man { dir } => complete::manual(dir.as_deref()),
    }
}

/// The command has said everything; the process ends with this code.
#[derive(Debug)]
struct Ended(u8);

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {}", self.0)
    }
}

impl std::error::Error for Ended {}

/// Misuse that is seen only once the words are read: flags that do not go together.
#[derive(Debug)]
struct Misuse(String);

impl std::fmt::Display for Misuse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}

/// An error that ends the process as misuse does.
fn misuse(text: impl Into<String>) -> anyhow::Error {
    Misuse(text.into()).into()
}

fn fail(error: &anyhow::Error) -> ExitCode {
    // Where standard error is gone, there is nobody to tell.
    let mut out = std::io::stderr().lock();
    drop(writeln!(out, "obs: {error:#}"));
    if let Some(hinted) = error.downcast_ref::<hint::Hinted>() {
        drop(writeln!(out, "{}", hinted.hint));
    }
    match error.downcast_ref::<Misuse>() {
        Some(_) => ExitCode::from(2),
        None => ExitCode::FAILURE,
    }
}

/// The reader of our output left (`obs logs … | head`): that is how pipes end.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}
