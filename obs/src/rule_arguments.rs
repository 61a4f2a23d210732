//! The command line of everything about rules.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use obs_alerting::rules::lint::Lint;
use obs_query::Language;

use crate::arguments::{
    Output, ServerOptions, TimeOptions, duration_text, length_text, server_url,
};
use crate::client::Client;

/// Names of lints, and all or none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LintName {
    /// All that need no server, and absent-metrics where --server, --url or --context names one
    All,
    /// Two rules of a file that make the same
    DuplicateRules,
    /// Labels of alerts with the value in them
    ValueInLabels,
    /// Alerts without `for`
    MissingFor,
    /// Selectors and regular expressions that nothing can match
    NeverMatches,
    /// Metrics that the server does not have
    AbsentMetrics,
    /// Nothing
    None,
}

impl LintName {
    /// The lints that a name stands for.
    pub(crate) fn lints(self) -> Vec<Lint> {
        match self {
            Self::All => Lint::ALL.to_vec(),
            Self::DuplicateRules => vec![Lint::DuplicateRules],
            Self::ValueInLabels => vec![Lint::ValueInLabels],
            Self::MissingFor => vec![Lint::MissingFor],
            Self::NeverMatches => vec![Lint::NeverMatches],
            Self::AbsentMetrics => vec![Lint::AbsentMetrics],
            Self::None => Vec::new(),
        }
    }
}

/// Languages of expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RuleLanguage {
    Promql,
    Logql,
    Traceql,
}

impl From<RuleLanguage> for Language {
    fn from(language: RuleLanguage) -> Self {
        match language {
            RuleLanguage::Promql => Self::Promql,
            RuleLanguage::Logql => Self::Logql,
            RuleLanguage::Traceql => Self::Traceql,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct CheckRulesOptions {
    /// The files, or PrometheusRule manifests; standard input without any
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// What to look for in valid rules
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "duplicate-rules"
    )]
    pub(crate) lint: Vec<LintName>,
    /// End with 3 where a lint finds something
    #[arg(long)]
    pub(crate) lint_fatal: bool,
    /// Pass over keys that nobody knows
    #[arg(long)]
    pub(crate) ignore_unknown_fields: bool,
    /// The language of expressions that name none
    #[arg(long, value_enum, default_value = "promql")]
    pub(crate) lang: RuleLanguage,
    #[command(flatten)]
    pub(crate) asked: AskedServer,
}

/// The server that rules are held against; promtool's name for it is --url.
#[derive(Debug, Args)]
pub(crate) struct AskedServer {
    /// The same as --server
    #[arg(long, value_name = "URL", value_parser = server_url,
          conflicts_with_all = ["server", "context"], help_heading = "Server")]
    url: Option<String>,
    #[command(flatten)]
    server: ServerOptions,
}

impl AskedServer {
    /// Whether a server is named.
    pub(crate) fn is_said(&self) -> bool {
        let server = &self.server;
        self.url.is_some() || server.server.is_some() || server.context.is_some()
    }

    /// The one that is named, else that of the environment or the current context.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        match &self.url {
            Some(url) => Client::new(&ServerOptions::at(url, self.server.tenant.as_deref())),
            None => Client::new(&self.server),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct TestRulesOptions {
    /// Files of tests; with --against rule files
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Run only tests whose names match; may be given more than once
    #[arg(long, value_name = "REGEX")]
    pub(crate) run: Vec<String>,
    /// Show alerts that differ as lines to take away and to add
    #[arg(long)]
    pub(crate) diff: bool,
    /// Say how long each test took, and show all series at its end
    #[arg(long)]
    pub(crate) debug: bool,
    /// Write the results as JUnit XML too
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Pass over keys of rule files that nobody knows
    #[arg(long)]
    pub(crate) ignore_unknown_fields: bool,
    /// Features of Prometheus by their names: promql-delayed-name-removal
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) enable_feature: Vec<String>,
    /// Instead of running tests, say what the rules of these files would have done on the data of a
    /// server, from so long ago until now
    #[arg(long, value_name = "DURATION", value_parser = duration_text)]
    pub(crate) against: Option<String>,
    /// The server of --against
    #[command(flatten)]
    pub(crate) asked: AskedServer,
    /// Shape of the output of --against
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

/// `obs rules …`
#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// Show the rules of a server and how they are doing
    #[command(after_help = "Examples:\n  obs rules list\n  obs rules list --alerts -o json")]
    List(ListRulesOptions),
    /// Have a server write what recording rules would have recorded
    #[command(
        after_help = "Examples:\n  obs rules backfill --since 30d rules.yml\n  \
        obs rules backfill --from 2026-11-01T00:00:00Z --to 2026-11-08T00:00:00Z rules/*.yml"
    )]
    Backfill(BackfillOptions),
}

#[derive(Debug, Args)]
pub(crate) struct ListRulesOptions {
    #[command(flatten)]
    pub(crate) server: ServerOptions,
    /// Only alerting rules
    #[arg(long, conflicts_with = "records")]
    pub(crate) alerts: bool,
    /// Only recording rules
    #[arg(long)]
    pub(crate) records: bool,
    /// Only rules of this name; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Vec<String>,
    /// Only rules of this group; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Vec<String>,
    /// Shape of the output
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct BackfillOptions {
    /// Rule files; alerting rules in them are passed over
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) server: ServerOptions,
    #[command(flatten)]
    pub(crate) time: TimeOptions,
    /// Time between samples where a group says nothing
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = length_text)]
    pub(crate) eval_interval: String,
    /// Pass over keys that nobody knows
    #[arg(long)]
    pub(crate) ignore_unknown_fields: bool,
}
