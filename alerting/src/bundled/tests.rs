//! What comes with obs is whole: pages, links and tests are there for each alert.

#![expect(
    clippy::disallowed_methods,
    reason = "the tests read the files of the repository"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::rules::{Rule, RuleKind};

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .expect("the room stands in a house")
        .to_owned()
}

fn all() -> Taken {
    take(&[], &Limits::default()).expect("what is bundled is good")
}

fn annotations(rule: &Rule) -> Option<&BTreeMap<String, String>> {
    match &rule.kind {
        RuleKind::Alert { annotations, .. } => Some(annotations),
        RuleKind::Record { .. } => None,
    }
}

#[test]
fn every_alert_says_what_to_do() {
    let taken = all();
    let mut alerts = 0;
    for (file, group) in &taken.groups {
        for rule in &group.rules {
            let (name, Some(annotations)) = (rule.name(), annotations(rule)) else {
                continue;
            };
            alerts += 1;
            assert!(rule.labels.contains_key("severity"), "{file}: {name}");
            for key in ["summary", "description"] {
                let text = annotations.get(key).map(|text| text.trim());
                assert!(
                    text.is_some_and(|text| text.len() > 5),
                    "{file}: {name}: {key}"
                );
            }
            let page = &annotations["runbook_url"];
            let page = page
                .strip_prefix("{{ $externalURL }}/runbooks/")
                .expect(name);
            let path = root().join(format!("docs/runbooks/{page}.md"));
            let text =
                fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            for part in ["## Meaning", "## Impact", "## Diagnosis", "## Mitigation"] {
                assert!(text.contains(part), "{page}: {part}");
            }
            let link = &annotations["dashboard_url"];
            let link = link.strip_prefix("{{ $externalURL }}/d/").expect(name);
            let uid = link.split('?').next().unwrap_or_default();
            let name = uid.strip_prefix("obs-").expect(uid);
            let dashboard = root().join(format!("dashboards/{name}.json"));
            let text = fs::read_to_string(&dashboard).unwrap_or_else(|e| panic!("{uid}: {e}"));
            let dashboard: serde_json::Value = serde_json::from_str(&text).expect(uid);
            assert_eq!(dashboard["uid"], uid);
            for variable in link.split("var-").skip(1) {
                let variable = variable.split('=').next().unwrap_or_default();
                let list = dashboard["templating"]["list"].as_array().expect(uid);
                let known = list.iter().any(|v| v["name"] == variable);
                assert!(known, "{file}: {link}: {uid} has no variable {variable}");
            }
        }
    }
    assert!(alerts > 100, "{alerts}");
}

#[test]
fn every_page_is_of_an_alert() {
    let taken = all();
    let rules = taken.groups.iter().flat_map(|(_, group)| &group.rules);
    let mut names: BTreeSet<String> = rules.map(|rule| rule.name().to_owned()).collect();
    // Those of objectives that users write.
    names.extend(["ErrorBudgetBurn", "SLOMetricAbsent"].map(str::to_owned));
    for entry in fs::read_dir(root().join("docs/runbooks")).expect("the folder is there") {
        let path = entry.expect("it can be read").path();
        let name = path.file_stem().expect("it has a name").to_string_lossy();
        assert!(names.contains(&*name) || name == "README", "{name}");
    }
}

#[test]
fn what_is_named_is_left_out() {
    let count = |without: &[&str]| {
        let without: Vec<String> = without.iter().map(|&w| w.to_owned()).collect();
        take(&without, &Limits::default()).map(|taken| {
            let groups = taken.groups.iter();
            groups.map(|(_, group)| group.rules.len()).sum::<usize>()
        })
    };
    let whole = count(&[]).expect("it is good");
    assert_eq!(count(&["Watchdog"]), Ok(whole - 1));
    assert_eq!(count(&["NodeFilesystemSpaceFillingUp"]), Ok(whole - 2));
    assert_eq!(count(&["KubePodStartBudgetBurn"]), Ok(whole - 2));
    assert!(count(&["node.yml"]).expect("it is good") < whole - 20);
    assert!(count(&["kubernetes.apps"]).expect("it is good") < whole - 10);
    let slo = count(&["kubernetes-pod-start"]).expect("it is good");
    assert_eq!(slo, whole - 17);
    let error = count(&["Wachdog"])
        .expect_err("nothing is called so")
        .to_string();
    assert!(error.contains("found \"Wachdog\""), "{error}");
}
