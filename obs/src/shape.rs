//! The shapes of answers: a table for people, JSON and CSV for programs, bars where an answer is no
//! line over time.

use std::io::Write;

use anyhow::Context;
use clap::ValueEnum;
use serde_json::Value;

use crate::paint;
use crate::table::Table;

/// `-o` of commands that ask a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// Columns for people
    Table,
    /// What the server answered, as JSON
    Json,
    /// RFC 4180, with a head
    Csv,
    /// A drawing of the numbers
    Graph,
}

impl Shape {
    /// The text of an answer. A graph has one bar for each row, as long as its last number.
    pub(crate) fn text(
        self,
        json: &Value,
        table: impl FnOnce() -> Table,
    ) -> anyhow::Result<String> {
        Ok(match self {
            Self::Json => pretty(json)?,
            Self::Table => table().text(),
            Self::Csv => table().csv(),
            Self::Graph => table().bars(paint::terminal().0, paint::colours()),
        })
    }

    /// Writes the text to standard output.
    pub(crate) fn print(self, json: &Value, table: impl FnOnce() -> Table) -> anyhow::Result<()> {
        write(&self.text(json, table)?)
    }
}

/// JSON over several lines.
pub(crate) fn pretty(json: &Value) -> anyhow::Result<String> {
    let text = serde_json::to_string_pretty(json).context("write JSON")?;
    Ok(format!("{text}\n"))
}

/// To standard output.
pub(crate) fn write(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// To standard error: what is no data.
pub(crate) fn note(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stderr(), "{text}")
}
