//! All rules of a configuration: those of `rule_files`, those that objectives become, and those that
//! come with obs.

use std::collections::BTreeMap;
use std::path::Path;

use obs_alerting::rules::{Group, Parsing, RuleFile};
use obs_alerting::{bundled, slo};
use obs_collector::glob;
use obs_model::limits::Limits;

use super::GroupKey;
use super::load::{key, load, read};
use crate::config::Config;

/// Stands before the names of bundled files, which are no paths.
const BUNDLED: &str = "bundled:";

/// The groups that the configuration asks for; relative paths start from `folder`. One fault
/// refuses all of them.
pub(crate) async fn load_all(
    config: &Config,
    folder: &Path,
) -> anyhow::Result<Vec<(GroupKey, Group)>> {
    let limits = config.obs.limits.limits();
    let mut groups = load(&config.rule_files, folder, &limits).await?;
    let mut ids = BTreeMap::new();
    let rules = &config.obs.rules;
    if rules.bundled {
        let taken = bundled::take(&rules.disable, &limits);
        let taken = taken.map_err(|error| anyhow::anyhow!("obs.rules.disable: {error}"))?;
        for slo in taken.objectives {
            ids.insert(slo.id, BUNDLED.to_owned());
        }
        groups.extend(taken.groups.into_iter().map(|(file, group)| {
            let file = format!("{BUNDLED}{file}");
            (key(&file, &group), group)
        }));
    }
    for pattern in &config.obs.slo_files {
        let (files, faults) = glob::expand(&folder.join(pattern)).await;
        if let Some(fault) = faults.first() {
            anyhow::bail!("obs.slo_files: {fault}");
        }
        for file in files {
            groups.extend(objectives(&file, &limits, &mut ids).await?);
        }
    }
    Ok(groups)
}

/// The groups of a file of objectives; `ids` has the file of each objective that is known.
async fn objectives(
    file: &Path,
    limits: &Limits,
    ids: &mut BTreeMap<String, String>,
) -> anyhow::Result<Vec<(GroupKey, Group)>> {
    let (text, shown) = read(file).await?;
    let all = slo::parse(&text, limits).map_err(|error| anyhow::anyhow!("{shown}:{error}"))?;
    for slo in &all {
        match ids.insert(slo.id.clone(), shown.clone()) {
            Some(other) if other == shown => return Ok(Vec::new()),
            Some(other) => anyhow::bail!("{shown}: the objective {:?} is in {other} too", slo.id),
            None => {}
        }
    }
    let parsing = Parsing {
        limits: *limits,
        ..Parsing::default()
    };
    let written = slo::rules(&all).map_err(|error| anyhow::anyhow!("{shown}: {error}"))?;
    let rules = RuleFile::parse(&written, &parsing);
    let rules = rules.map_err(|error| anyhow::anyhow!("{shown}: {error}"))?;
    let groups = rules.groups.into_iter();
    Ok(groups.map(|group| (key(&shown, &group), group)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    async fn names(text: &str) -> Result<Vec<String>, String> {
        let config = parse(text).map_err(|error| error.to_string())?;
        let groups = load_all(&config, Path::new("")).await;
        let groups = groups.map_err(|error| format!("{error:#}"))?;
        Ok(groups
            .into_iter()
            .map(|(key, _)| format!("{} {}", key.file, key.name))
            .collect())
    }

    #[tokio::test]
    async fn bundled_rules_are_off_until_asked_for() {
        assert_eq!(names("").await, Ok(Vec::new()));
        let all = names("obs: {rules: {bundled: true}}").await.unwrap();
        let node = "bundled:node.yml node.filesystem".to_owned();
        assert!(all.contains(&node), "{all:?}");
        assert!(
            all.iter()
                .any(|name| name.ends_with(" slo:kubernetes-pod-start"))
        );
        let less = "obs: {rules: {bundled: true, disable: [node.filesystem]}}";
        let less = names(less).await.unwrap();
        assert_eq!(less.len(), all.len() - 1);
        assert!(!less.contains(&node));
        let wrong = names("obs: {rules: {bundled: true, disable: [Nod]}}").await;
        assert!(wrong.unwrap_err().contains("found \"Nod\""));
        assert!(
            names("obs: {rules: {bundle: true}}")
                .await
                .unwrap_err()
                .contains("bundle")
        );
    }
}
