//! What comes with obs is whole: pages, links and tests are there for each alert.

mod dashboards;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::rules::{Rule, RuleKind};
use crate::unit::{self, TestFile, TestGroup};

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

/// The tests of a bundled file.
fn tests_of(name: &str) -> TestFile {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("bundled/tests")
        .join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    TestFile::parse(&text).unwrap_or_else(|e| panic!("{name}:{e}"))
}

/// Whether a test is about a rule of a group: no other group has to be evaluated then.
fn is_about(test: &TestGroup, group: &Group) -> bool {
    let named = |name: &str| group.rules.iter().any(|rule| rule.name() == name);
    let mut alerts = test.alert_rule_test.iter();
    let mut queries = test.promql_expr_test.iter();
    alerts.any(|one| named(&one.alertname))
        || queries.any(|one| named(one.expr.split('{').next().unwrap_or_default()))
}

/// The groups that a test is about, and where they are of objectives, those of their long windows.
fn about(test: &TestGroup, groups: &[Group]) -> Vec<Group> {
    let direct: Vec<&Group> = groups.iter().filter(|g| is_about(test, g)).collect();
    let is_wanted = |group: &&Group| {
        let own = group.name.trim_end_matches(":long");
        direct.iter().any(|one| one.name == own)
    };
    groups.iter().filter(is_wanted).cloned().collect()
}

/// Runs the tests of a file, each with the groups that it is about.
fn passes(name: &str) {
    let file = tests_of(name);
    let groups = all().groups.into_iter();
    let groups: Vec<Group> = groups
        .filter(|(of, _)| of == name)
        .map(|(_, g)| g)
        .collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let options = unit::Options {
        wanted: None,
        difference: true,
        dump: false,
        delayed_names: false,
        limits: &Limits::default(),
        pool: &pool.expect("a pool"),
    };
    let mut ran = 0;
    for test in &file.tests {
        let about = about(test, &groups);
        assert!(!about.is_empty(), "{name}: {} is about no rule", test.name);
        let mut one = file.clone();
        one.tests = vec![test.clone()];
        for case in unit::run(&one, &about, &options) {
            assert!(
                case.failures.is_empty(),
                "{name}: {}: {:?}",
                case.name,
                case.failures
            );
            ran += 1;
        }
    }
    assert_eq!(ran, file.tests.len());
}

#[test]
fn tests_of_node_pass() {
    passes("node.yml");
}

#[test]
fn tests_of_kubernetes_pass() {
    passes("kubernetes.yml");
}

#[test]
fn tests_of_kubernetes_system_pass() {
    passes("kubernetes-system.yml");
}

#[test]
fn tests_of_obs_pass() {
    passes("obs.yml");
}

#[test]
fn tests_of_objectives_pass() {
    passes("kubernetes-slo.yml");
}

#[test]
fn every_rule_has_a_test_that_fires_it() {
    for (file, group) in all().groups {
        let tests = tests_of(&file).tests;
        for rule in &group.rules {
            let name = rule.name();
            let found = match &rule.kind {
                RuleKind::Alert { .. } => {
                    let severity = rule.labels.get("severity");
                    let mut expected = tests
                        .iter()
                        .flat_map(|test| &test.alert_rule_test)
                        .filter(|one| one.alertname == name)
                        .flat_map(|one| &one.exp_alerts)
                        .filter_map(|alert| alert.exp_labels.as_ref());
                    expected.any(|labels| labels.get("severity") == severity)
                }
                // Those of objectives are tested where they are made.
                RuleKind::Record { .. } if group.name.starts_with("slo:") => true,
                RuleKind::Record { .. } => {
                    let mut asked = tests.iter().flat_map(|test| &test.promql_expr_test);
                    asked.any(|one| one.expr.starts_with(name) && !one.exp_samples.is_empty())
                }
            };
            assert!(found, "{file}: nothing fires {name} {:?}", rule.labels);
            let silent = tests.iter().flat_map(|test| &test.alert_rule_test);
            let mut silent = silent.filter(|one| one.alertname == name);
            let is_alert = matches!(rule.kind, RuleKind::Alert { .. }) && name != "Watchdog";
            let is_silenced = silent.any(|one| one.exp_alerts.is_empty());
            assert!(!is_alert || is_silenced, "{file}: nothing silences {name}");
        }
    }
}
