//! The bundled dashboards are ones that Grafana and the UI can show: their JSON is whole, every
//! query parses, and every metric is one that somebody exports.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use obs_model::limits::Limits;
use obs_query::{Language, Query};
use serde_json::Value;

use super::{all, root};

/// The dashboards by their uid.
fn dashboards() -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root().join("dashboards")).expect("the folder is there") {
        let path = entry.expect("it can be read").path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("it can be read");
        let json: Value = serde_json::from_str(&text).expect("it is JSON");
        let uid = json["uid"].as_str().expect("it has a uid").to_owned();
        let stem = path.file_stem().expect("it has a name").to_string_lossy();
        assert_eq!(uid, format!("obs-{stem}"));
        assert!(
            found.insert(uid, json).is_none(),
            "{stem}: its uid is taken"
        );
    }
    found
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// A query as it is asked when variables have values.
fn filled(text: &str, dashboard: &Value) -> String {
    let mut text = text.to_owned();
    for (name, value) in [
        ("__rate_interval", "1m"),
        ("__interval", "1m"),
        ("__range", "1h"),
        ("__auto", "1m"),
    ] {
        text = text.replace(&format!("${name}"), value);
    }
    let variables = list(&dashboard["templating"], "list").iter();
    let mut names: Vec<&str> = variables.filter_map(|v| v["name"].as_str()).collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    for name in names {
        text = text.replace(&format!("${{{name}}}"), "x");
        text = text.replace(&format!("${name}"), "x");
    }
    assert!(!text.contains('$'), "{}: {text}", dashboard["uid"]);
    text
}

fn parsed(language: Language, text: &str) -> Query {
    Query::parse(language, text, &Limits::default()).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// All queries of metrics of a dashboard; queries of the other languages are parsed on the way.
fn metric_queries(dashboard: &Value) -> Vec<Query> {
    let mut found = Vec::new();
    for panel in list(dashboard, "panels") {
        for target in list(panel, "targets") {
            let text = |key: &str| target[key].as_str().map(|t| filled(t, dashboard));
            match target["datasource"]["type"].as_str() {
                Some("prometheus") => {
                    let text = text("expr").expect("it asks something");
                    found.push(parsed(Language::Promql, &text));
                }
                Some("loki") => {
                    let text = text("expr").expect("it asks something");
                    parsed(Language::Logql, &text);
                }
                Some("tempo") if target["queryType"] == "serviceMap" => {}
                Some("tempo") => {
                    let text = text("query").expect("it asks something");
                    parsed(Language::Traceql, &text);
                }
                other => panic!("{}: {other:?}", dashboard["uid"]),
            }
        }
    }
    for variable in list(&dashboard["templating"], "list") {
        let asked = variable["definition"].as_str().unwrap_or_default();
        let inner = asked.strip_prefix("label_values(");
        let inner = inner.and_then(|rest| rest.strip_suffix(')'));
        if let Some((selector, _)) = inner.and_then(|inner| inner.rsplit_once(',')) {
            found.push(parsed(Language::Promql, &filled(selector, dashboard)));
        }
    }
    found
}

/// The names of metrics that a query asks for by name.
fn names(query: &Query) -> impl Iterator<Item = String> {
    let selectors = query.metric_selectors().into_iter().flatten();
    selectors.filter_map(|matcher| {
        let by_name = matcher.name == "__name__" && matcher.op == obs_model::MatchOp::Equal;
        by_name.then(|| matcher.value.to_string())
    })
}

/// Puts names into `known` from every file below a folder.
fn gather(folder: &Path, known: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            gather(&path, known);
            continue;
        }
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        match path.extension().and_then(|e| e.to_str()) {
            // Expositions: the name is the first word of a line.
            Some("txt") => known.extend(text.lines().filter_map(|line| {
                let name = line.split(['{', ' ']).next().filter(|n| !n.is_empty());
                name.map(str::to_owned)
            })),
            Some("rs") => known.extend(text.split('"').map(str::to_owned)),
            _ => {}
        }
    }
}

fn is_known(name: &str, known: &BTreeSet<String>) -> bool {
    let parts = ["_bucket", "_count", "_sum"];
    let mut bases = parts.iter().filter_map(|part| name.strip_suffix(part));
    known.contains(name) || bases.any(|base| known.contains(base))
}

#[test]
fn queries_parse_and_metrics_are_known() {
    let mut exported = BTreeSet::new();
    for folder in [
        "collector/src",
        "cost/src",
        "kubernetes/src",
        "node-exporter/src",
        "node-exporter/tests",
        "server/src",
    ] {
        gather(&root().join(folder), &mut exported);
    }
    let taken = all();
    let rules = || taken.groups.iter().flat_map(|(_, group)| &group.rules);
    exported.extend(rules().map(|rule| rule.name().to_owned()));
    let text = fs::read_to_string(root().join("dashboards/metrics.txt")).expect("it is there");
    let listed = text
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'));
    let listed: BTreeSet<String> = listed.map(str::to_owned).collect();
    let mut asked = BTreeSet::new();
    for rule in rules() {
        asked.extend(names(&rule.expression.query));
    }
    let dashboards = dashboards();
    assert!(dashboards.len() >= 16, "{}", dashboards.len());
    for dashboard in dashboards.values() {
        for query in metric_queries(dashboard) {
            asked.extend(names(&query));
        }
    }
    let unknown = asked.iter().filter(|name| !is_known(name, &exported));
    let unknown: BTreeSet<String> = unknown.cloned().collect();
    let new: Vec<&String> = unknown.difference(&listed).collect();
    assert!(new.is_empty(), "nobody exports {new:?}");
    let unused: Vec<&String> = listed.difference(&asked).collect();
    assert!(unused.is_empty(), "listed but not in use: {unused:?}");
}

#[test]
fn panels_are_placed_and_links_lead_somewhere() {
    let dashboards = dashboards();
    for (uid, dashboard) in &dashboards {
        let panels = list(dashboard, "panels");
        let ids: BTreeSet<_> = panels.iter().map(|p| p["id"].as_u64()).collect();
        assert_eq!(ids.len(), panels.len(), "{uid}: two panels have one id");
        for (index, panel) in panels.iter().enumerate() {
            let at = |key: &str| panel["gridPos"][key].as_u64().expect("it has a place");
            assert!(at("x") + at("w") <= 24, "{uid}: {}", panel["title"]);
            for other in &panels[..index] {
                let of = |key: &str| other["gridPos"][key].as_u64().expect("it has a place");
                let apart = at("x") >= of("x") + of("w")
                    || of("x") >= at("x") + at("w")
                    || at("y") >= of("y") + of("h")
                    || of("y") >= at("y") + at("h");
                assert!(
                    apart,
                    "{uid}: {} lies on {}",
                    panel["title"], other["title"]
                );
            }
        }
        let text = dashboard.to_string();
        for link in text.split("\"/d/").skip(1) {
            let target = link.split(['?', '"']).next().unwrap_or_default();
            assert!(
                dashboards.contains_key(target),
                "{uid}: no dashboard {target}"
            );
        }
    }
}
