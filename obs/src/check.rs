//! `obs check`: says what is wrong with a file before a server is started with it.

use std::io::Write;
use std::path::Path;

use anyhow::Context;

#[expect(
    clippy::disallowed_methods,
    reason = "the command reads the file that it is given"
)]
pub(crate) fn config(file: &Path) -> anyhow::Result<()> {
    let text = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let text =
        String::from_utf8(text).with_context(|| format!("{} is not text", file.display()))?;
    let checked = obs_server::config::parse(&text)
        .with_context(|| format!("{} is not valid", file.display()))?;
    let folder = file.parent().unwrap_or(Path::new("."));
    checked
        .destinations(&text, folder)
        .with_context(|| format!("{} is not valid", file.display()))?;
    let jobs = checked
        .jobs(&text, folder)
        .with_context(|| format!("{} is not valid", file.display()))?
        .len();
    for notice in checked.notices() {
        writeln!(std::io::stderr(), "{}: {notice}", file.display())?;
    }
    let plural = if jobs == 1 { "" } else { "s" };
    Ok(writeln!(
        std::io::stdout(),
        "{}: valid, {jobs} scrape job{plural}",
        file.display()
    )?)
}
