//! Rule files: found, read and checked all together.

use std::path::{Path, PathBuf};

use anyhow::Context;
use obs_alerting::rules::{Group, Parsing, RuleFile};
use obs_collector::glob;
use obs_model::Tenant;
use obs_model::limits::Limits;

use super::{GroupKey, Origin};

/// Largest rule file.
const FILE_BYTES_MAX: u64 = 32 << 20;

/// The groups of all files that the patterns name; relative ones start from `folder`. One fault
/// refuses all of them.
pub(super) async fn load(
    patterns: &[PathBuf],
    folder: &Path,
    limits: &Limits,
) -> anyhow::Result<Vec<(GroupKey, Group)>> {
    let mut groups = Vec::new();
    for pattern in patterns {
        let pattern = folder.join(pattern);
        let (files, faults) = glob::expand(&pattern).await;
        if let Some(fault) = faults.first() {
            anyhow::bail!("rule_files: {fault}");
        }
        for file in files {
            groups.extend(load_file(&file, limits).await?);
        }
    }
    // A file that two patterns name is one file.
    groups.sort_by(|a, b| a.0.cmp(&b.0));
    groups.dedup_by(|a, b| a.0 == b.0);
    Ok(groups)
}

/// The text of a file, and how it is called in faults.
pub(super) async fn read(file: &Path) -> anyhow::Result<(String, String)> {
    let shown = file.display().to_string();
    let read = async {
        let bytes = tokio::fs::metadata(file).await?.len();
        anyhow::ensure!(
            bytes <= FILE_BYTES_MAX,
            "expected a rule file of at most {FILE_BYTES_MAX} bytes, found {bytes}"
        );
        Ok(tokio::fs::read_to_string(file).await?)
    };
    let text: String = read.await.with_context(|| shown.clone())?;
    Ok((text, shown))
}

/// How a group of a file is known.
pub(super) fn key(file: &str, group: &Group) -> GroupKey {
    GroupKey {
        tenant: Tenant::anonymous(),
        file: file.to_owned(),
        name: group.name.clone(),
        origin: Origin::File,
    }
}

async fn load_file(file: &Path, limits: &Limits) -> anyhow::Result<Vec<(GroupKey, Group)>> {
    let (text, shown) = read(file).await?;
    let parsing = Parsing {
        limits: *limits,
        ..Parsing::default()
    };
    let parsed = RuleFile::parse(&text, &parsing).map_err(|e| anyhow::anyhow!("{shown}:{e}"))?;
    let groups = parsed.groups.into_iter();
    Ok(groups.map(|group| (key(&shown, &group), group)).collect())
}
