//! `obs`: the command tree. Client commands speak HTTP to a server; nothing here touches a store.
//!
//! Data goes to standard output, everything else to standard error. Exit codes: 0 ok, 1 failed,
//! 2 usage.

mod alerts;
mod allocator;
mod arguments;
mod check;
mod check_rules;
mod client;
mod collector_flags;
mod correlate;
mod cost;
mod errors;
mod explain;
mod export;
mod graph;
mod import;
mod kube_state;
mod log_context;
mod log_export;
mod log_histogram;
mod logs;
mod node_exporter;
mod open_files;
mod query;
mod rule_arguments;
mod rule_flags;
mod rules;
mod service_graph;
mod slo;
mod table;
mod test_promql;
mod test_rules;
mod trace_logs;
mod trace_path;
mod traces;
mod waterfall;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use arguments::{Check, Cli, Command, Test};

fn main() -> ExitCode {
    allocator::settle();
    let cli = Cli::parse();
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

async fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Serve(options) => Box::pin(obs_server::serve(options.into_server()?)).await,
        Command::Agent(options) => Box::pin(obs_server::agent(options.into_agent())).await,
        Command::KubeState(options) => kube_state::run(*options).await,
        Command::NodeExporter(options) => node_exporter::run(&options).await,
        Command::Check(Check::Config { file }) => check::config(&file).await,
        Command::Check(Check::Rules(options)) => check_rules::run(&options).await,
        Command::Test(Test::Rules(options)) => test_rules::run(&options).await,
        Command::Test(Test::Promql(options)) => test_promql::run(&options),
        Command::Rules(command) => rules::run(&command).await,
        Command::Slo(command) => slo::run(&command).await,
        Command::Query(options) => query::run(&options).await,
        Command::Explain(options) => explain::run(&options).await,
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
        Command::Completions { shell } => {
            let mut out = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "obs", &mut out);
            Ok(std::io::stdout().write_all(&out)?)
        }
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

fn fail(error: &anyhow::Error) -> ExitCode {
    // Where standard error is gone, there is nobody to tell.
    drop(writeln!(std::io::stderr(), "obs: {error:#}"));
    ExitCode::FAILURE
}

/// The reader of our output left (`obs logs … | head`): that is how pipes end.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}
