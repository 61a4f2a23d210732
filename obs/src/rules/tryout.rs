//! `obs test rules --against`: would these rules have fired, how often and for how long, on what a
//! server has stored.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use obs_alerting::rules::Group;
use serde_json::Value;

use crate::arguments::Output;
use crate::client::seconds;
use crate::rule_arguments::TestRulesOptions;
use crate::table::Table;

/// How long a server may take.
const TIMEOUT: Duration = Duration::from_secs(3600);
/// Alerts of one rule that a table lists.
const ALERTS_MAX: usize = 20;

pub(crate) async fn run(options: &TestRulesOptions, against: &str) -> anyhow::Result<()> {
    let end = crate::client::now();
    let start = end.saturating_sub(crate::arguments::duration(against)?);
    let mut groups = super::read(&options.files, options.ignore_unknown_fields)?;
    unique(&mut groups);
    let client = options.asked.client()?;
    let path = format!(
        "/api/v1/rule_tryout?start={}&end={}",
        seconds(start),
        seconds(end)
    );
    let headers = [("content-type", "application/yaml")];
    let body = super::written(groups.iter())?;
    let answer = client.post_within(&path, &headers, body, TIMEOUT).await?;
    if answer.status != 200 {
        bail!("the server answered {}: {}", answer.status, answer.told());
    }
    let answer: Value =
        serde_json::from_slice(&answer.body).context("the server did not answer with JSON")?;
    let groups = &answer["data"]["groups"];
    let text = match options.output {
        Output::Json => format!("{groups:#}\n"),
        Output::Csv => table(groups).csv(),
        Output::Table => format!("{}{}", table(groups).text(), alerts(groups)),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    let failures: u64 = rules(groups).map(|(_, rule)| count(rule, "failures")).sum();
    if failures > 0 {
        bail!("{failures} evaluations failed");
    }
    Ok(())
}

/// Groups of several files may have one name; in one file they must not.
fn unique(groups: &mut [Group]) {
    let mut seen = std::collections::BTreeSet::new();
    for group in groups {
        let name = group.name.clone();
        let mut nth = 2;
        while !seen.insert(group.name.clone()) {
            group.name = format!("{name} ({nth})");
            nth += 1;
        }
    }
}

fn rules(groups: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    let groups = groups.as_array().into_iter().flatten();
    groups.flat_map(|group| {
        let rules = group["rules"].as_array().into_iter().flatten();
        rules.map(move |rule| (group, rule))
    })
}

fn count(rule: &Value, key: &str) -> u64 {
    rule[key].as_u64().unwrap_or(0)
}

/// Seconds for people.
fn span(value: &Value) -> String {
    let nanos = value.as_f64().unwrap_or(0.0) * 1e9;
    obs_model::duration::format(nanos as i64)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn table(groups: &Value) -> Table {
    let head = [
        "group", "alert", "fired", "firing", "longest", "pending", "last", "error",
    ];
    let mut table = Table::new(head);
    for (group, rule) in rules(groups) {
        let last = rule["alerts"].as_array().and_then(|alerts| alerts.last());
        table.push(vec![
            text(group, "name").to_owned(),
            text(rule, "name").to_owned(),
            count(rule, "fired").to_string(),
            span(&rule["firingSeconds"]),
            span(&rule["longestSeconds"]),
            count(rule, "pending").to_string(),
            last.map(|alert| text(alert, "firedAt").to_owned())
                .unwrap_or_default(),
            text(rule, "lastError").to_owned(),
        ]);
    }
    table
}

/// When what would have fired.
fn alerts(groups: &Value) -> String {
    let mut out = String::new();
    for (_, rule) in rules(groups) {
        let all = rule["alerts"].as_array().map_or(&[][..], Vec::as_slice);
        if all.is_empty() {
            continue;
        }
        let mut table = Table::new(["fired", "over", "labels"]);
        for alert in &all[all.len().saturating_sub(ALERTS_MAX)..] {
            let over = alert["resolvedAt"].as_str().unwrap_or("still firing");
            let pairs = alert["labels"].as_object().into_iter().flatten();
            let pairs: Vec<String> = pairs
                .filter(|(name, _)| *name != "alertname")
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            table.push(vec![
                text(alert, "firedAt").to_owned(),
                over.to_owned(),
                format!("{{{}}}", pairs.join(", ")),
            ]);
        }
        out.push_str(&format!("\n{}:\n{}", text(rule, "name"), table.text()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_have_fired() {
        let groups = serde_json::json!([{"name": "g", "interval": 60, "rules": [
            {"name": "A", "fired": 2, "firingSeconds": 90.0, "longestSeconds": 60.0, "pending": 3,
             "alerts": [{"labels": {"alertname": "A", "job": "j"}, "firedAt": "T1",
                         "resolvedAt": "T2"},
                        {"labels": {"alertname": "A"}, "firedAt": "T3", "resolvedAt": null}]},
            {"name": "B", "fired": 0, "alerts": [], "lastError": "no"},
        ]}]);
        let csv = table(&groups).csv();
        let lines: Vec<&str> = csv.lines().skip(1).collect();
        assert_eq!(lines, ["g,A,2,1m30s,1m,3,T3,", "g,B,0,0s,0s,0,,no"]);
        let shown = alerts(&groups);
        let expect = "\nA:\nfired  over          labels\nT1     T2            {job=\"j\"}\n\
                      T3     still firing  {}\n";
        assert_eq!(shown, expect);
    }
}
