//! The command line of import and export.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::arguments::{ServerOptions, TimeOptions, duration_text};

/// A form of samples that can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum ImportFormat {
    /// A block of Prometheus' TSDB, or a folder of them
    Tsdb,
    /// OpenMetrics text with timestamps
    Openmetrics,
    /// VictoriaMetrics' JSON lines
    Json,
    /// CSV, as --columns says
    Csv,
}

#[derive(Debug, Args)]
pub(crate) struct ImportOptions {
    /// The file, the block, or Prometheus' data directory
    pub(crate) path: PathBuf,
    #[command(flatten)]
    pub(crate) server: ServerOptions,
    /// What it is [default: by its name]
    #[arg(long, value_enum)]
    pub(crate) format: Option<ImportFormat>,
    /// What the columns of CSV are, for example 2:metric:ask,1:label:ticker,3:time:unix_s
    #[arg(long, value_name = "COLUMNS")]
    pub(crate) columns: Option<String>,
    /// Note the position in this file, and go on from there when it exists
    #[arg(long, value_name = "FILE")]
    pub(crate) resume: Option<PathBuf>,
}

/// A form of samples that can be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// OpenMetrics text with timestamps
    Openmetrics,
    /// VictoriaMetrics' JSON lines
    Json,
    /// CSV, as --columns says
    Csv,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ExportSignal {
    /// Give out every log line of a query (LogQL), oldest first
    #[command(
        after_help = "Examples:\n  obs export logs '{app=\"shop\"} |= \"error\"' --since 7d --file shop.jsonl\n  \
        obs export logs '{app=\"shop\"}' --since 1d -o raw"
    )]
    Logs(ExportLogsOptions),
}

/// A form of lines that can be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogExportFormat {
    /// Streams of Loki's push API, one line each
    Json,
    /// The lines alone
    Raw,
}

#[derive(Debug, Args)]
pub(crate) struct ExportLogsOptions {
    /// Which lines, for example '{app="shop"} |= "error"'
    pub(crate) query: String,
    #[command(flatten)]
    pub(crate) server: ServerOptions,
    #[command(flatten)]
    pub(crate) time: TimeOptions,
    /// The form
    #[arg(short, long, value_enum, default_value_t = LogExportFormat::Json)]
    pub(crate) output: LogExportFormat,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct ExportOptions {
    #[command(subcommand)]
    pub(crate) signal: Option<ExportSignal>,
    /// Which series, for example '{job="node"}'
    #[arg(required = true)]
    pub(crate) selectors: Vec<String>,
    #[command(flatten)]
    pub(crate) server: ServerOptions,
    #[command(flatten)]
    pub(crate) time: TimeOptions,
    /// The form
    #[arg(short, long, value_enum, default_value_t = ExportFormat::Json)]
    pub(crate) output: ExportFormat,
    /// The columns of CSV [default: __name__,job,instance,__value__,__timestamp__:unix_ms]
    #[arg(long, value_name = "COLUMNS")]
    pub(crate) columns: Option<String>,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Note how far it is in this file, and go on from there when it exists
    #[arg(long, value_name = "FILE", requires = "file")]
    pub(crate) resume: Option<PathBuf>,
    /// Read so much time at once
    #[arg(long, value_name = "DURATION", value_parser = duration_text, default_value = "2h")]
    pub(crate) window: String,
}
