//! `obs export logs`: every line that a query gives, streamed to a file or to standard output.
//!
//! Invariant: memory is bounded by one chunk of the answer and one line, whatever is exported; an
//! export that was cut off is an error.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use crate::arguments::{ExportLogsOptions, LogExportFormat};
use crate::client::Client;
use crate::export::create;

/// Longer than any export; the server has a deadline for each page.
const TIMEOUT: Duration = Duration::from_secs(7 * 86_400);
/// Between two looks at the progress.
const TOLD_EVERY: u64 = 10_000;

pub(crate) async fn run(options: &ExportLogsOptions) -> anyhow::Result<()> {
    let (start, end) = options.time.range("1h")?;
    let client = Client::new(&options.server)?;
    let params = [
        ("query", options.query.clone()),
        ("start", start.nanos().to_string()),
        ("end", end.nanos().to_string()),
    ];
    let mut answer = client
        .stream("/api/v1/export/logs", &params, TIMEOUT)
        .await?;
    let mut out = create(options.file.as_deref())?;
    let mut lines = 0u64;
    let mut told = false;
    let mut rest: Vec<u8> = Vec::new();
    let cut = "the export was cut off; the log of the server says why";
    while let Some(chunk) = answer
        .chunk()
        .await
        .map_err(reqwest::Error::without_url)
        .context(cut)?
    {
        let mut from = 0;
        for (at, _) in chunk.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            rest.extend_from_slice(&chunk[from..=at]);
            from = at + 1;
            line(&rest, options.output, &mut out)?;
            rest.clear();
            lines += 1;
            if lines.is_multiple_of(TOLD_EVERY) {
                told |= progress(lines, options.file.is_some());
            }
        }
        rest.extend_from_slice(&chunk[from..]);
    }
    out.flush()?;
    anyhow::ensure!(rest.is_empty(), "{cut}");
    // In the place of the progress.
    let (begin, end) = if told { ("\r", "\x1b[K") } else { ("", "") };
    drop(writeln!(
        std::io::stderr(),
        "{begin}exported {lines} lines{end}"
    ));
    Ok(())
}

fn line(text: &[u8], format: LogExportFormat, out: &mut dyn Write) -> anyhow::Result<()> {
    if format == LogExportFormat::Json {
        return Ok(out.write_all(text)?);
    }
    let stream: Value = serde_json::from_slice(text).context("the export is not of JSON lines")?;
    let line = stream["values"][0][1].as_str();
    Ok(writeln!(
        out,
        "{}",
        line.context("an exported stream has a line")?
    )?)
}

/// Whether it was told.
fn progress(lines: u64, apart: bool) -> bool {
    // The data itself may be on the terminal.
    let shown = std::io::stderr().is_terminal()
        && !crate::paint::dumb()
        && (apart || !std::io::stdout().is_terminal());
    if shown {
        drop(write!(std::io::stderr(), "\r{lines} lines\x1b[K"));
    }
    shown
}
