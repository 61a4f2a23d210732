//! `obs test promql`: runs files in the format of Prometheus' promqltest. One line per failure with
//! file and line, one line per file, and a closing count; fails where any evaluation does.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use obs_query::promqltest::{self, Failure};

use crate::arguments::{Names, TestPromqlOptions};

/// Runs the files in order.
pub(crate) fn run(options: &TestPromqlOptions) -> anyhow::Result<()> {
    // Files are small: more threads would only wait.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.context("start the query pool")?;
    let mut out = std::io::stdout().lock();
    let (mut passed, mut failed) = (0, 0);
    for file in &options.files {
        let text = read(file)?;
        let outcome = promqltest::run(&text, options.names == Names::AtEnd, &pool);
        for Failure { line, text } in &outcome.failures {
            writeln!(out, "{}:{line}: {}", file.display(), one_line(text))?;
        }
        let failures = outcome.failures.len();
        writeln!(
            out,
            "{}: {} passed, {failures} failed",
            file.display(),
            outcome.passed
        )?;
        passed += outcome.passed;
        failed += failures;
    }
    writeln!(out, "{passed} passed, {failed} failed")?;
    out.flush()?;
    if failed > 0 {
        anyhow::bail!(
            "{failed} evaluation{} failed",
            if failed == 1 { "" } else { "s" }
        );
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the command reads the files that it is given"
)]
fn read(file: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
    String::from_utf8(bytes).with_context(|| format!("{} is not text", file.display()))
}

/// A failure takes one line, whatever labels and queries hold.
fn one_line(text: &str) -> String {
    text.replace('\n', "\\n").replace('\r', "\\r")
}
