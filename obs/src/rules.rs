//! `obs rules`: shows the rules of a server, and writes what recording rules would have recorded.

mod backfill;
mod tryout;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use obs_alerting::rules::{Group, Parsing, RuleFile};
use obs_query::Language;
use serde_json::{Value, json};

use crate::arguments::Output;
use crate::client::Client;
use crate::rule_arguments::{ListRulesOptions, RulesCommand};
use crate::table::Table;

pub(crate) use tryout::run as try_out;

pub(crate) async fn run(command: &RulesCommand) -> anyhow::Result<()> {
    match command {
        RulesCommand::List(options) => list(options).await,
        RulesCommand::Backfill(options) => backfill::run(options).await,
    }
}

/// The groups of files, in order.
fn read(files: &[PathBuf], lenient: bool) -> anyhow::Result<Vec<Group>> {
    let parsing = Parsing {
        lenient,
        ..Parsing::default()
    };
    let mut groups = Vec::new();
    for file in files {
        groups.extend(read_one(file, &parsing)?);
    }
    Ok(groups)
}

fn read_one(file: &Path, parsing: &Parsing) -> anyhow::Result<Vec<Group>> {
    let shown = file.display();
    let text = crate::check_rules::read(file).with_context(|| format!("read {shown}"))?;
    let parsed = RuleFile::parse(&text, parsing).map_err(|fault| anyhow!("{shown}:{fault}"))?;
    Ok(parsed.groups)
}

/// Groups as a rule file; JSON is YAML.
fn written<'a>(groups: impl Iterator<Item = &'a Group>) -> anyhow::Result<Vec<u8>> {
    let groups: Vec<_> = groups.map(|g| g.to_yaml(Language::Promql)).collect();
    serde_json::to_vec(&json!({"groups": groups})).context("write the rules")
}

async fn list(options: &ListRulesOptions) -> anyhow::Result<()> {
    let client = Client::new(&options.server)?;
    let mut params = Vec::new();
    let kinds = [(options.alerts, "alert"), (options.records, "record")];
    for (wanted, kind) in kinds {
        if wanted {
            params.push(("type", kind.to_owned()));
        }
    }
    let named = [
        ("rule_name[]", &options.name),
        ("rule_group[]", &options.group),
    ];
    for (param, values) in named {
        params.extend(values.iter().map(|value| (param, value.clone())));
    }
    let answer = client.json("/api/v1/rules", &params).await?;
    let groups = &answer["data"]["groups"];
    let text = match options.output {
        Output::Json => format!("{groups:#}\n"),
        Output::Table => table(groups).text(),
        Output::Csv => table(groups).csv(),
    };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

fn table(groups: &Value) -> Table {
    let head = [
        "group", "rule", "type", "state", "alerts", "health", "interval", "query", "error",
    ];
    let mut table = Table::new(head);
    for group in groups.as_array().into_iter().flatten() {
        for rule in group["rules"].as_array().into_iter().flatten() {
            let text = |key: &str| rule[key].as_str().unwrap_or_default().to_owned();
            let alerts = rule["alerts"].as_array().map(Vec::len);
            table.push(vec![
                group["name"].as_str().unwrap_or_default().to_owned(),
                text("name"),
                text("type"),
                text("state"),
                alerts.map(|count| count.to_string()).unwrap_or_default(),
                text("health"),
                interval(&group["interval"]),
                text("query"),
                text("lastError"),
            ]);
        }
    }
    table
}

/// Seconds for people.
fn interval(seconds: &Value) -> String {
    let nanos = seconds.as_f64().unwrap_or(0.0) * 1e9;
    obs_model::duration::format(nanos as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_for_people() {
        let groups = json!([{"name": "g", "interval": 60, "rules": [
            {"name": "A", "type": "alerting", "state": "firing", "alerts": [{}], "health": "ok",
             "query": "up == 0"},
            {"name": "b", "type": "recording", "health": "err", "query": "c", "lastError": "no"},
        ]}]);
        let csv = table(&groups).csv();
        let lines: Vec<&str> = csv.lines().skip(1).collect();
        assert_eq!(lines[0], "g,A,alerting,firing,1,ok,1m,up == 0,");
        assert_eq!(lines[1], "g,b,recording,,,err,1m,c,no");
    }
}
