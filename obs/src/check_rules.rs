//! `obs check rules`: says what is wrong with rule files, with promtool's output and exit codes: 1
//! for a file that would not load, 3 for lints where they are fatal.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::Path;

use anyhow::Context;
use obs_alerting::rules::file::rule_place;
use obs_alerting::rules::lint::{self, Finding, Lint};
use obs_alerting::rules::{Group, Parsing, RuleFile};
use obs_model::{MatchOp, Matcher};

use crate::Ended;
use crate::client::Client;
use crate::rule_arguments::{CheckRulesOptions, LintName};

/// The exit code of fatal lints.
const LINTS: u8 = 3;
/// How far back a server is asked whether it has a metric.
const RECENT: i64 = obs_model::time::NANOS_PER_DAY;

/// What became of the files.
#[derive(Default)]
struct Outcome {
    faulty: bool,
    linted: bool,
}

pub(crate) async fn run(options: &CheckRulesOptions) -> anyhow::Result<()> {
    let wanted: BTreeSet<Lint> = options.lint.iter().flat_map(|name| name.lints()).collect();
    let asks = options.lint.contains(&LintName::AbsentMetrics) || options.asked.is_said();
    let client = asks.then(|| options.asked.client());
    let checking = Checking {
        parsing: Parsing {
            language: options.lang.into(),
            lenient: options.ignore_unknown_fields,
            ..Parsing::default()
        },
        wanted,
        client: client.transpose()?,
    };
    let mut outcome = Outcome::default();
    if options.files.is_empty() {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        checking
            .check("standard input", read.map(|_| text), &mut outcome)
            .await?;
    }
    for file in &options.files {
        let shown = file.display().to_string();
        checking.check(&shown, read(file), &mut outcome).await?;
    }
    match outcome {
        Outcome { faulty: true, .. } => Err(Ended(1).into()),
        Outcome { linted: true, .. } if options.lint_fatal => Err(Ended(LINTS).into()),
        Outcome { .. } => Ok(()),
    }
}

pub(crate) fn read(file: &Path) -> std::io::Result<String> {
    std::fs::read_to_string(file)
}

struct Checking {
    parsing: Parsing,
    wanted: BTreeSet<Lint>,
    client: Option<Client>,
}

impl Checking {
    async fn check(
        &self,
        file: &str,
        text: std::io::Result<String>,
        outcome: &mut Outcome,
    ) -> anyhow::Result<()> {
        writeln!(std::io::stdout(), "Checking {file}")?;
        let parsed = text.map_err(|error| format!("{file}: {error}"));
        let parsed = parsed.and_then(|text| {
            let read = RuleFile::parse(&text, &self.parsing);
            let read = read.map_err(|error| format!("{file}:{error}"));
            read.map(|rules| (text, rules.groups))
        });
        match parsed {
            Err(fault) => {
                outcome.faulty = true;
                writeln!(std::io::stderr(), "  FAILED:\n{fault}")?;
            }
            Ok((text, groups)) => {
                let mut found = lint::lint(&groups, &self.wanted);
                found.extend(self.absent(&groups).await?);
                if found.is_empty() {
                    let rules: usize = groups.iter().map(|group| group.rules.len()).sum();
                    writeln!(std::io::stdout(), "  SUCCESS: {rules} rules found")?;
                } else {
                    outcome.linted = true;
                    writeln!(std::io::stderr(), "  FAILED:")?;
                }
                for finding in found {
                    let place = place(file, &text, &finding);
                    writeln!(std::io::stderr(), "{place}{finding}")?;
                }
            }
        }
        Ok(writeln!(std::io::stdout())?)
    }

    /// Metrics that rules read and the server does not have.
    async fn absent(&self, groups: &[Group]) -> anyhow::Result<Vec<Finding>> {
        let Some(client) = &self.client else {
            return Ok(Vec::new());
        };
        if !self.wanted.contains(&Lint::AbsentMetrics) {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for (name, selector) in lint::foreign_metrics(groups) {
            let named: Vec<Matcher> = selector
                .iter()
                .filter(|m| m.name == "__name__" && m.op == MatchOp::Equal)
                .cloned()
                .collect();
            let text = if !has(client, &named).await? {
                format!("the server has had no metric {name:?} for a day")
            } else if !has(client, &selector).await? {
                let shown = shown(&selector);
                format!("the server has had {name:?} for a day, but no series matches {shown}")
            } else {
                continue;
            };
            found.push(Finding {
                lint: Lint::AbsentMetrics,
                rule: None,
                text,
            });
        }
        Ok(found)
    }
}

fn shown(selector: &[Matcher]) -> String {
    let all: Vec<String> = selector.iter().map(Matcher::to_string).collect();
    format!("{{{}}}", all.join(","))
}

/// Whether the server has a series of these conditions.
async fn has(client: &Client, selector: &[Matcher]) -> anyhow::Result<bool> {
    let now = crate::client::now();
    let params = [
        ("match[]", shown(selector)),
        ("start", crate::client::seconds(now.saturating_sub(RECENT))),
        ("end", crate::client::seconds(now)),
        ("limit", "1".to_owned()),
    ];
    let answer = client.json("/api/v1/series", &params).await?;
    let series = answer["data"].as_array();
    Ok(!series.context("expected a list of series")?.is_empty())
}

/// Where the rule of a finding stands.
fn place(file: &str, text: &str, finding: &Finding) -> String {
    let named = finding.rule.as_ref();
    let place = named.and_then(|(group, rule)| rule_place(text, group, rule));
    match place {
        Some((line, column)) => format!("{file}:{line}:{column}: "),
        None => format!("{file}: "),
    }
}
