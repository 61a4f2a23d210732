//! `obs check`: says what is wrong with a file before a server is started with it.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use obs_alerting::rules::{Parsing, RuleFile};

pub(crate) async fn config(file: &Path) -> anyhow::Result<()> {
    let checked = checked(file).await?;
    for notice in checked.notices {
        writeln!(std::io::stderr(), "{}: {notice}", file.display())?;
    }
    let (shown, summary) = (file.display(), checked.summary);
    Ok(writeln!(std::io::stdout(), "{shown}: {summary}")?)
}

/// A configuration file that is valid.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) text: String,
    /// `valid, 3 scrape jobs`
    pub(crate) summary: String,
    /// Keys without effect, and the like.
    pub(crate) notices: Vec<String>,
}

/// Checks a configuration file and what it names.
#[expect(
    clippy::disallowed_methods,
    reason = "the command reads the file that it is given"
)]
pub(crate) async fn checked(file: &Path) -> anyhow::Result<Checked> {
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
    obs_server::check_alerts(&checked, &text, folder)
        .await
        .with_context(|| format!("{} is not valid", file.display()))?;
    let rules = rules(&checked.rule_files, folder).await?;
    let plural = if jobs == 1 { "" } else { "s" };
    Ok(Checked {
        summary: format!("valid, {jobs} scrape job{plural}{rules}"),
        notices: checked.notices().iter().map(ToString::to_string).collect(),
        text,
    })
}

/// How many rules the files of these patterns have; nothing where there is no pattern.
async fn rules(patterns: &[PathBuf], folder: &Path) -> anyhow::Result<String> {
    let mut count = 0;
    for pattern in patterns {
        let (files, faults) = obs_server::glob::expand(&folder.join(pattern)).await;
        if let Some(fault) = faults.first() {
            anyhow::bail!("rule_files: {fault}");
        }
        for file in files {
            let shown = file.display();
            let text = crate::check_rules::read(&file).with_context(|| format!("read {shown}"))?;
            let parsed = RuleFile::parse(&text, &Parsing::default());
            let groups = parsed.map_err(|fault| anyhow!("{shown}:{fault}"))?.groups;
            count += groups.iter().map(|group| group.rules.len()).sum::<usize>();
        }
    }
    let plural = if count == 1 { "" } else { "s" };
    Ok(match patterns {
        [] => String::new(),
        _ => format!(", {count} rule{plural}"),
    })
}
