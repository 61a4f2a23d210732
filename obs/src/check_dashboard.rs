//! `obs check dashboard`: what Grafana or obs would stumble over in dashboard JSON.
//!
//! Faults (exit code 1) keep a dashboard or a panel from working; warnings name what obs does not
//! draw. Queries are parsed as they are asked when every variable has a value.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use obs_model::limits::Limits;
use obs_query::{Language, Query};
use serde_json::Value;

use crate::Ended;
use crate::table::one_line;

/// Panels that the UI draws, with the old names that it migrates.
const PANELS: [&str; 23] = [
    "timeseries",
    "trend",
    "stat",
    "gauge",
    "bargauge",
    "table",
    "logs",
    "text",
    "heatmap",
    "piechart",
    "barchart",
    "histogram",
    "state-timeline",
    "status-history",
    "traces",
    "nodeGraph",
    "alertlist",
    "dashlist",
    "row",
    "graph",
    "singlestat",
    "table-old",
    "grafana-piechart-panel",
];
/// Transformations that the UI does.
const TRANSFORMATIONS: [&str; 29] = [
    "organize",
    "joinByField",
    "seriesToColumns",
    "groupBy",
    "calculateField",
    "merge",
    "filterFieldsByName",
    "sortBy",
    "extractFields",
    "labelsToFields",
    "filterByValue",
    "reduce",
    "renameByRegex",
    "seriesToRows",
    "convertFieldType",
    "filterByRefId",
    "rowsToFields",
    "partitionByValues",
    "timeSeriesTable",
    "limit",
    "concatenate",
    "histogram",
    "transpose",
    "formatTime",
    "groupingToMatrix",
    "filterFields",
    "prepareTimeSeries",
    "configFromData",
    "noop",
];
/// Variables that Grafana has by itself, and what they are while queries are parsed.
const BUILTIN: [(&str, &str); 16] = [
    ("__rate_interval_ms", "60000"),
    ("__rate_interval", "1m"),
    ("__interval_ms", "60000"),
    ("__interval", "1m"),
    ("__range_ms", "3600000"),
    ("__range_s", "3600"),
    ("__range", "1h"),
    ("__auto", "1m"),
    ("__from", "0"),
    ("__to", "1"),
    ("__dashboard", "x"),
    ("__name", "x"),
    ("__org", "1"),
    ("__user", "x"),
    ("timeFilter", "x"),
    ("__timezone", "utc"),
];

/// What is found in one file.
#[derive(Debug, Default)]
struct Findings {
    faults: Vec<String>,
    warnings: Vec<String>,
    panels: usize,
    queries: usize,
}

pub(crate) fn run(files: &[PathBuf]) -> anyhow::Result<()> {
    let mut faulty = false;
    for file in files {
        let shown = file.display();
        let found = match read(file) {
            Ok(dashboard) => check(&dashboard),
            Err(error) => Findings {
                faults: vec![format!("{error:#}")],
                ..Findings::default()
            },
        };
        for (what, texts) in [("error", &found.faults), ("warning", &found.warnings)] {
            for text in texts {
                writeln!(std::io::stderr(), "{shown}: {what}: {}", one_line(text))?;
            }
        }
        faulty |= !found.faults.is_empty();
        if found.faults.is_empty() {
            let (panels, queries) = (found.panels, found.queries);
            writeln!(
                std::io::stdout(),
                "{shown}: valid, {panels} panels, {queries} queries"
            )?;
        }
    }
    if faulty { Err(Ended(1).into()) } else { Ok(()) }
}

fn read(file: &Path) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(file).context("cannot be read")?;
    let value: Value = serde_json::from_str(&text).context("is not JSON")?;
    // As Grafana's API wraps it.
    Ok(match value.get("dashboard") {
        Some(inner) if inner.is_object() => inner.clone(),
        _ => value,
    })
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

fn check(dashboard: &Value) -> Findings {
    let mut found = Findings::default();
    if text(dashboard, "apiVersion").starts_with("dashboard.grafana.app/v2") {
        let why = "schema v2: obs shows it, but this check knows the classic shape only";
        found.warnings.push(why.to_owned());
        return found;
    }
    if !dashboard.is_object() || text(dashboard, "title").is_empty() {
        found.faults.push("no title: is it a dashboard?".to_owned());
    }
    if text(dashboard, "uid").is_empty() {
        let why = "no uid: Grafana gives it a new one with each import, and links to it break";
        found.warnings.push(why.to_owned());
    }
    let variables = variables(dashboard, &mut found);
    let sources = Sources::of(dashboard);
    let mut ids: BTreeMap<i64, String> = BTreeMap::new();
    for panel in panels(dashboard) {
        found.panels += 1;
        let name = format!("panel {} {:?}", panel["id"], text(panel, "title"));
        if let Some(id) = panel["id"].as_i64()
            && let Some(other) = ids.insert(id, name.clone())
        {
            found
                .faults
                .push(format!("{name}: its id is that of {other}"));
        }
        one_panel(panel, &name, (&variables, &sources), &mut found);
    }
    if found.panels == 0 {
        found.warnings.push("no panels".to_owned());
    }
    found
}

/// All panels, also those in rows of both shapes.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let rows = list(dashboard, "rows")
        .iter()
        .flat_map(|row| list(row, "panels"));
    let mut all = Vec::new();
    for panel in list(dashboard, "panels").iter().chain(rows) {
        all.push(panel);
        all.extend(list(panel, "panels"));
    }
    all
}

/// Names of variables, the longest first, with what stands for them in queries.
fn variables(dashboard: &Value, found: &mut Findings) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = BUILTIN
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    for variable in list(&dashboard["templating"], "list") {
        let name = text(variable, "name");
        if name.is_empty() {
            found.faults.push("a variable without a name".to_owned());
            continue;
        }
        if all.iter().any(|(own, _)| own == name) {
            found
                .faults
                .push(format!("variable {name:?} is there twice"));
        }
        let value = match text(variable, "type") {
            "interval" => "1m",
            "adhoc" => "",
            _ => current(variable),
        };
        all.push((name.to_owned(), value.to_owned()));
    }
    all.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    all
}

/// A value that was chosen and can stand anywhere, else a word.
fn current(variable: &Value) -> &str {
    let chosen = variable["current"]["value"].as_str();
    let chosen = chosen.or_else(|| variable["current"]["value"][0].as_str());
    let is_plain = |text: &&str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    chosen.filter(is_plain).unwrap_or("x")
}

fn one_panel(
    panel: &Value,
    name: &str,
    (variables, sources): (&[(String, String)], &Sources),
    found: &mut Findings,
) {
    let kind = text(panel, "type");
    if kind.is_empty() && panel["libraryPanel"].is_null() {
        found.faults.push(format!("{name}: no type"));
    } else if !kind.is_empty() && !PANELS.contains(&kind) {
        found
            .warnings
            .push(format!("{name}: obs does not draw panels of type {kind:?}"));
    }
    let at = |key: &str| panel["gridPos"][key].as_u64().unwrap_or(0);
    if at("x") + at("w") > 24 {
        found
            .faults
            .push(format!("{name}: reaches beyond the 24 columns of the grid"));
    }
    for step in list(panel, "transformations") {
        let id = text(step, "id");
        if !TRANSFORMATIONS.contains(&id) {
            found.warnings.push(format!(
                "{name}: obs does not know the transformation {id:?}"
            ));
        }
    }
    let mut seen = Vec::new();
    for target in list(panel, "targets") {
        let ref_id = text(target, "refId");
        if !ref_id.is_empty() && seen.contains(&ref_id) {
            found
                .faults
                .push(format!("{name}: two queries have the refId {ref_id:?}"));
        }
        seen.push(ref_id);
        let source = match &target["datasource"] {
            Value::Null => &panel["datasource"],
            own => own,
        };
        if let Some((languages, query)) = asked(target, source, sources) {
            found.queries += 1;
            let place = format!("{name}, query {ref_id}");
            match filled(query, variables) {
                Ok(query) => {
                    if let Err(error) = parsed(languages, &query) {
                        found.faults.push(format!("{place}: {error} in {query}"));
                    }
                }
                Err(unknown) => {
                    let why = format!("{place}: no variable has the name {unknown:?}");
                    found.faults.push(why);
                }
            }
        }
    }
}

/// The languages that a query may be in, and its text, where it is one that obs answers.
fn asked<'v>(
    target: &'v Value,
    source: &Value,
    sources: &Sources,
) -> Option<(&'static [Language], &'v str)> {
    let (languages, key): (&[Language], &str) = match sources.kind(source) {
        Kind::Prometheus => (&[Language::Promql], "expr"),
        Kind::Loki => (&[Language::Logql], "expr"),
        Kind::Tempo => (&[Language::Traceql], "query"),
        Kind::Other => return None,
        // Whoever it is, whatever is asked is in one of its languages.
        Kind::Unknown if target["expr"].is_string() => {
            (&[Language::Promql, Language::Logql], "expr")
        }
        Kind::Unknown if text(target, "queryType") == "traceql" => (&[Language::Traceql], "query"),
        Kind::Unknown => return None,
    };
    let of_traces = languages == [Language::Traceql];
    if of_traces && !matches!(text(target, "queryType"), "" | "traceql") {
        return None;
    }
    let query = text(target, key);
    // A trace's id is a query too.
    let is_id = of_traces && query.bytes().all(|b| b.is_ascii_hexdigit());
    (!query.trim().is_empty() && !is_id).then_some((languages, query))
}

/// Whether it is a query in one of the languages; else what the first of them says.
fn parsed(languages: &[Language], query: &str) -> Result<(), String> {
    let mut first = None;
    for language in languages {
        match Query::parse(*language, query, &Limits::default()) {
            Ok(_) => return Ok(()),
            Err(error) => first.get_or_insert(error.to_string()),
        };
    }
    first.map_or(Ok(()), Err)
}

/// What a data source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Prometheus,
    Loki,
    Tempo,
    /// Nothing that obs is asked for.
    Other,
    /// It has a name, and nobody says what it is.
    Unknown,
}

impl Kind {
    /// By the name of its plug-in.
    fn of(plugin: &str) -> Self {
        match plugin {
            "prometheus" => Self::Prometheus,
            "loki" => Self::Loki,
            "tempo" => Self::Tempo,
            _ => Self::Other,
        }
    }
}

/// Data sources that a dashboard gives names: by variables, and by what is asked at an import.
#[derive(Debug, Default)]
struct Sources(BTreeMap<String, Kind>);

impl Sources {
    fn of(dashboard: &Value) -> Self {
        let variables = list(&dashboard["templating"], "list").iter();
        let variables = variables.filter(|one| text(one, "type") == "datasource");
        let variables = variables.map(|one| (text(one, "name"), text(one, "query")));
        let inputs = list(dashboard, "__inputs").iter();
        let inputs = inputs.filter(|one| text(one, "type") == "datasource");
        let inputs = inputs.map(|one| (text(one, "name"), text(one, "pluginId")));
        let named = variables.chain(inputs);
        Self(
            named
                .map(|(name, plugin)| (name.to_owned(), Kind::of(plugin)))
                .collect(),
        )
    }

    /// What stands as `datasource`: an object with type and uid, a name, a variable, or nothing,
    /// which is the one that Grafana asks by default.
    fn kind(&self, source: &Value) -> Kind {
        if let Some(plugin) = source["type"].as_str() {
            // Grafana's own, and the variable of a type that is not known before.
            return match plugin {
                "datasource" | "grafana" | "__expr__" => Kind::Other,
                "" => Kind::Unknown,
                plugin => Kind::of(plugin),
            };
        }
        let name = source["uid"].as_str().or_else(|| source.as_str());
        let Some(name) = name else {
            return Kind::Unknown;
        };
        if name.starts_with("--") || matches!(name, "grafana" | "__expr__") {
            return Kind::Other;
        }
        let bare = name.trim_start_matches(['$', '{', '[']);
        let bare = bare.trim_end_matches(['}', ']']);
        let known = self.0.get(bare).copied();
        let by_name = [
            ("prom", Kind::Prometheus),
            ("loki", Kind::Loki),
            ("tempo", Kind::Tempo),
        ];
        let lower = name.to_ascii_lowercase();
        let mut by_name = by_name.iter().filter(|(part, _)| lower.contains(part));
        known.unwrap_or_else(|| by_name.next().map_or(Kind::Unknown, |(_, kind)| *kind))
    }
}

/// The query with values for its variables: `$name`, `${name}`, `${name:format}`, `[[name]]`. An
/// error is the name of one that nobody defines.
fn filled(query: &str, variables: &[(String, String)]) -> Result<String, String> {
    let value = |name: &str| {
        let found = variables.iter().find(|(own, _)| own == name);
        found
            .map(|(_, value)| value.as_str())
            .ok_or_else(|| name.to_owned())
    };
    let mut out = String::with_capacity(query.len());
    let mut rest = query;
    while let Some(at) = rest.find(['$', '[']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let braced = |open: &str, close: &str| {
            let inner = from.strip_prefix(open)?;
            let (inside, behind) = inner.split_once(close)?;
            Some((inside.split([':', '.']).next().unwrap_or(inside), behind))
        };
        if let Some((name, behind)) = braced("${", "}").or_else(|| braced("[[", "]]")) {
            out.push_str(value(name)?);
            rest = behind;
            continue;
        }
        let name = from.strip_prefix('$').unwrap_or("");
        let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let name = &name[..end.unwrap_or(name.len())];
        // `$1` of label_replace, and the end of a regular expression.
        if name.is_empty() || name.bytes().all(|b| b.is_ascii_digit()) {
            out.push_str(&from[..1]);
            rest = &from[1..];
            continue;
        }
        out.push_str(value(name)?);
        rest = &from[1 + name.len()..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn variables_are_filled_in() {
        let variables = [
            ("job".to_owned(), "x".to_owned()),
            ("__interval".to_owned(), "1m".to_owned()),
        ];
        for (query, expect) in [
            ("up{job=~\"$job\"}[$__interval]", Ok("up{job=~\"x\"}[1m]")),
            ("${job} ${job:regex} [[job]]", Ok("x x x")),
            ("a=~\"b$\", \"$1\" [5m]", Ok("a=~\"b$\", \"$1\" [5m]")),
            ("$jobs", Err("jobs")),
            ("${other}", Err("other")),
            ("[", Ok("[")),
        ] {
            let expect = expect.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(filled(query, &variables), expect, "{query}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let panel = |id: u64, kind: &str, expr: &str| {
            json!({"id": id, "type": kind, "title": "t", "gridPos": {"x": 0, "w": 12},
                   "datasource": {"type": "prometheus"}, "targets": [{"refId": "A", "expr": expr}]})
        };
        let dashboard = json!({"uid": "u", "title": "T", "panels": [
            panel(1, "timeseries", "rate(up[$__rate_interval])"),
            panel(1, "geomap", "sum("),
            {"id": 3, "type": "row", "panels": [panel(4, "stat", "up{a=\"$b\"}")]},
        ]});
        let found = check(&dashboard);
        assert_eq!((found.panels, found.queries), (4, 3));
        let told = found.faults.join("\n");
        assert!(told.contains("its id is that of panel 1"), "{told}");
        assert!(
            told.contains("parse error") && told.contains("sum("),
            "{told}"
        );
        assert!(told.contains("no variable has the name \"b\""), "{told}");
        assert_eq!(found.faults.len(), 3, "{told}");
        assert_eq!(found.warnings.len(), 1, "{:?}", found.warnings);
        assert!(!check(&json!([])).faults.is_empty());
    }

    #[test]
    fn queries_are_checked_however_their_source_is_said() {
        let wrong = "sum(rate(up[5m])";
        let check = |source: Value, target: Value, expect: (usize, usize)| {
            let mut target = target;
            target["refId"] = "A".into();
            let dashboard = json!({"uid": "u", "title": "T",
                "templating": {"list": [
                    {"name": "ds", "type": "datasource", "query": "prometheus", "current": {}},
                    {"name": "logs", "type": "datasource", "query": "loki", "current": {}},
                ]},
                "__inputs": [{"name": "DS_X", "type": "datasource", "pluginId": "tempo"}],
                // The old shape, with panels in rows.
                "rows": [{"panels": [{"id": 1, "type": "graph", "datasource": source,
                                      "targets": [target]}]}]});
            let found = check(&dashboard);
            let told = (found.queries, found.faults.len());
            assert_eq!(told, expect, "{source} {:?}", found.faults);
        };
        let expr = |text: &str| json!({"expr": text});
        for source in [
            Value::Null,
            json!("Prometheus EU"),
            json!("metrics"),
            json!("$ds"),
            json!("${ds}"),
            json!({"uid": "${ds}"}),
            json!({"uid": "abc"}),
            json!({"type": "prometheus", "uid": "x"}),
        ] {
            check(source.clone(), expr(wrong), (1, 1));
            check(source, expr("up"), (1, 0));
        }
        let lines = "{app=\"a\"} |= \"b\"";
        for source in [json!("$logs"), json!("Loki"), json!("other"), Value::Null] {
            check(source.clone(), expr(lines), (1, 0));
            check(source, expr("{app=\"a\"} |= "), (1, 1));
        }
        check(json!("$logs"), expr("up"), (1, 1));
        check(json!("${DS_X}"), json!({"query": "{ status = "}), (1, 1));
        for source in [json!("-- Grafana --"), json!({"type": "mysql"})] {
            check(source, expr(wrong), (0, 0));
        }
    }

    #[test]
    fn bundled_dashboards_are_fine() {
        for (uid, json) in obs_server::bundled_dashboards() {
            let found = check(&serde_json::from_str(json).unwrap());
            assert!(found.faults.is_empty(), "{uid}: {:?}", found.faults);
            assert!(found.warnings.is_empty(), "{uid}: {:?}", found.warnings);
        }
    }
}
