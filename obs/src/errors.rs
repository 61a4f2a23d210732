//! `obs errors`: exceptions in groups, and one group with its stack trace and newest traces.

use std::io::Write;

use serde_json::Value;

use crate::arguments::ErrorsOptions;
use crate::client::{Client, seconds};
use crate::shape::{Shape, pretty, write};
use crate::table::{Table, one_line};

/// Characters of a message in a table.
const MESSAGE_MAX: usize = 80;

pub(crate) async fn run(options: &ErrorsOptions) -> anyhow::Result<()> {
    let client = Client::new(&options.server)?;
    let (start, end) = options.time.range("24h")?;
    let mut params = vec![
        ("start", seconds(start)),
        ("end", seconds(end)),
        ("limit", options.limit.to_string()),
        ("offset", options.offset.to_string()),
        ("sort", options.sort.as_str().to_owned()),
    ];
    for (name, value) in [
        ("service", &options.service),
        ("type", &options.kind),
        ("q", &options.search),
    ] {
        params.extend(value.clone().map(|value| (name, value)));
    }
    if options.failed {
        params.push(("status", "error".to_owned()));
    }
    let text = match &options.fingerprint {
        Some(fingerprint) => {
            let path = format!("/api/v1/errors/{fingerprint}");
            let answer = client.json(&path, &params).await?;
            match options.output {
                Shape::Json => pretty(&answer["data"])?,
                Shape::Table | Shape::Csv | Shape::Graph => one(&answer["data"]),
            }
        }
        None => {
            let answer = client.json("/api/v1/errors", &params).await?;
            let data = &answer["data"];
            notes(data)?;
            match options.output {
                Shape::Csv => table(data, usize::MAX).csv(),
                shape @ Shape::Graph => shape.text(&data["groups"], || {
                    table(data, MESSAGE_MAX).only(&["services", "type", "message", "count"])
                })?,
                shape => shape.text(&data["groups"], || table(data, MESSAGE_MAX))?,
            }
        }
    };
    write(&text)
}

fn notes(data: &Value) -> anyhow::Result<()> {
    let total = data["total"].as_u64().unwrap_or(0);
    if total == 0 {
        writeln!(std::io::stderr(), "no exceptions in this time")?;
    }
    if let Some(next) = data["nextOffset"].as_u64() {
        writeln!(
            std::io::stderr(),
            "{total} groups; more with --offset {next}"
        )?;
    }
    Ok(())
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn services(group: &Value) -> String {
    let all = group["services"].as_array().into_iter().flatten();
    let names: Vec<&str> = all.map(|service| text(service, "name")).collect();
    names.join(",")
}

fn table(data: &Value, message_max: usize) -> Table {
    let mut table = Table::new([
        "fingerprint",
        "last seen",
        "first seen",
        "count",
        "services",
        "type",
        "message",
    ]);
    for group in data["groups"].as_array().into_iter().flatten() {
        let message: String = text(group, "message").chars().take(message_max).collect();
        table.push(vec![
            text(group, "fingerprint").to_owned(),
            text(group, "lastSeen").to_owned(),
            text(group, "firstSeen").to_owned(),
            group["count"].to_string(),
            services(group),
            text(group, "type").to_owned(),
            message,
        ]);
    }
    table
}

/// One group for people.
fn one(group: &Value) -> String {
    let line = |key| one_line(text(group, key));
    let mut out = format!(
        "{}: {}\n{} times from {} to {} in {} (span {})\n",
        line("type"),
        line("message"),
        group["count"],
        line("firstSeen"),
        line("lastSeen"),
        one_line(&services(group)),
        line("spanName"),
    );
    let stack = text(group, "stacktrace");
    if !stack.is_empty() {
        out.push('\n');
    }
    for frame in stack.lines() {
        out.push_str(&format!("{}\n", one_line(frame)));
    }
    out.push('\n');
    for trace in group["traces"].as_array().into_iter().flatten() {
        let (time, id) = (
            one_line(text(trace, "time")),
            one_line(text(trace, "traceId")),
        );
        out.push_str(&format!("{time}  obs trace {id}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_for_people_and_machines() {
        let group = serde_json::json!({
            "fingerprint": "00ab", "type": "Timeout", "message": "after\u{1b} 3s", "count": 2,
            "firstSeen": "A", "lastSeen": "B", "spanName": "GET /", "stacktrace": "at x\nat y",
            "services": [{"name": "cart", "count": 1}, {"name": "shop", "count": 1}],
            "traces": [{"traceId": "0a", "spanId": "0b", "time": "T"}],
        });
        let csv = table(&serde_json::json!({"groups": [group]}), 5).csv();
        assert_eq!(
            csv.lines().nth(1),
            Some("00ab,B,A,2,\"cart,shop\",Timeout,after")
        );
        let shown = one(&group);
        let expect = "Timeout: after\\u{1b} 3s\n2 times from A to B in cart,shop (span GET /)\n\n\
                      at x\nat y\n\nT  obs trace 0a\n";
        assert_eq!(shown, expect);
    }
}
