//! `obs doctor`: looks at a data directory, a configuration, this machine and a server, and says of
//! each finding what it means and what to do.
//!
//! Invariant: nothing is changed; what cannot be looked at is told, and does not end the rest.

mod config;
mod data;
mod finding;
mod machine;
mod server;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::arguments::ServerOptions;
use crate::shape::{pretty, write};
use finding::{Finding, Level, Report};

/// How findings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorOptions {
    /// The data directory; one that a server has open is looked at as far as that goes
    #[arg(long, value_name = "DIR", env = "OBS_DATA")]
    data: Option<PathBuf>,
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "OBS_CONFIG")]
    config: Option<PathBuf>,
    /// Read every byte of every part, and not only their ends
    #[arg(long, requires = "data")]
    deep: bool,
    #[command(flatten)]
    server: ServerOptions,
    /// How the findings are written
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Show what is right too
    #[arg(short, long)]
    all: bool,
}

pub(crate) async fn run(options: &DoctorOptions) -> anyhow::Result<()> {
    let mut report = Report::default();
    let clocks = machine::Clocks::now();
    machine::look(&mut report);
    if let Some(data) = &options.data {
        tokio::task::block_in_place(|| data::look(data, options.deep, &mut report));
    }
    if let Some(file) = &options.config {
        config::look(file, &mut report).await;
    }
    server::look(&options.server, &mut report).await;
    clocks.compare(&mut report);
    let worst = report.worst();
    match options.output {
        Output::Json => write(&pretty(&json_of(&report))?)?,
        Output::Table => write(&text_of(&report, options.all))?,
    }
    match worst {
        Level::Problem => Err(crate::Ended(1).into()),
        Level::Right | Level::Note | Level::Warning => Ok(()),
    }
}

fn json_of(report: &Report) -> Value {
    let one = |finding: &Finding| {
        json!({
            "level": finding.level.name(),
            "check": finding.check,
            "found": finding.found,
            "means": finding.means,
            "do": finding.remedy,
        })
    };
    json!({
        "ok": report.worst() != Level::Problem,
        "version": env!("CARGO_PKG_VERSION"),
        "findings": report.findings.iter().map(one).collect::<Vec<_>>(),
    })
}

/// The worst comes first.
fn text_of(report: &Report, all: bool) -> String {
    let mut shown: Vec<&Finding> = report.findings.iter().collect();
    shown.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    shown.retain(|finding| all || finding.level != Level::Right);
    let mut text = String::new();
    for finding in shown {
        let (level, check) = (finding.level.name(), finding.check);
        let found = crate::table::one_line(&finding.found);
        text.push_str(&format!("{level:8} {check}: {found}\n"));
        for (name, more) in [("means", finding.means), ("do", &finding.remedy)] {
            if !more.is_empty() {
                text.push_str(&format!("         {name}: {more}\n"));
            }
        }
    }
    let count = |level| report.findings.iter().filter(|f| f.level == level).count();
    let problems = count(Level::Problem);
    text.push_str(&format!(
        "{} checks: {} right, {} notes, {} warnings, {problems} problems\n",
        report.findings.len(),
        count(Level::Right),
        count(Level::Note),
        count(Level::Warning),
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_comes_first_and_says_what_to_do() {
        let mut report = Report::default();
        report.right("limits.files", "1024 files");
        report.note("ports", "9090 is taken", "a server runs there", "");
        assert_eq!(report.worst(), Level::Note);
        report.problem(
            "data.parts",
            "a\nb is corrupt",
            "rows are lost",
            "restore a backup",
        );
        let text = text_of(&report, false);
        assert_eq!(
            text,
            "problem  data.parts: a\\nb is corrupt\n         means: rows are lost\n         \
             do: restore a backup\nnote     ports: 9090 is taken\n         means: a server runs \
             there\n3 checks: 1 right, 1 notes, 0 warnings, 1 problems\n"
        );
        assert!(text_of(&report, true).contains("limits.files: 1024 files"));
        let json = json_of(&report);
        assert_eq!(
            (&json["ok"], &json["findings"][2]["do"]),
            (&json!(false), &json!("restore a backup"))
        );
    }
}
