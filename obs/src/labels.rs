//! `obs labels` and `obs series`: what there is to ask for, in all three languages.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::arguments::{Lang, ServerOptions, TimeOptions, count};
use crate::client::{Client, seconds};
use crate::query::series_name;
use crate::shape::{Shape, note};
use crate::table::Table;

/// Labels whose values are counted for a graph.
const COUNTED: usize = 40;

#[derive(Debug, Args)]
pub(crate) struct LabelsOptions {
    /// The label whose values are listed; without it, the names of all
    #[arg(add = crate::complete::label_names())]
    name: Option<String>,
    #[command(flatten)]
    server: ServerOptions,
    #[command(flatten)]
    time: TimeOptions,
    /// Only of series that match; may be given more than once
    #[arg(long = "match", value_name = "SELECTOR", add = crate::complete::metric_names())]
    matches: Vec<String>,
    /// Of which signal: promql asks metrics, logql logs, traceql traces
    #[arg(long, value_enum, default_value_t = Lang::Promql)]
    lang: Lang,
    /// Most names or values
    #[arg(long, value_name = "N", value_parser = count)]
    limit: Option<usize>,
    /// Shape of the output; graph draws how many values or series there are, of metrics only
    #[arg(short, long, value_enum, default_value_t = Shape::Table)]
    output: Shape,
}

#[derive(Debug, Args)]
pub(crate) struct SeriesOptions {
    /// Which series; may be given more than once
    #[arg(required = true, value_name = "SELECTOR", add = crate::complete::metric_names())]
    selectors: Vec<String>,
    #[command(flatten)]
    server: ServerOptions,
    #[command(flatten)]
    time: TimeOptions,
    /// Most series
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = count)]
    limit: usize,
    /// Shape of the output; graph draws how many values each label has
    #[arg(short, long, value_enum, default_value_t = Shape::Table)]
    output: Shape,
}

/// Runs `obs labels`.
pub(crate) async fn run(options: &LabelsOptions) -> anyhow::Result<()> {
    let client = Client::new(&options.server)?;
    if options.output == Shape::Graph {
        return graph(&client, options).await;
    }
    let found = match options.lang {
        Lang::Traceql => tags(&client, options).await?,
        Lang::Promql | Lang::Logql => names(&client, options).await?,
    };
    if found.is_empty() {
        note("nothing in this time; --since 1d looks further back")?;
    }
    let head = if options.name.is_some() {
        "value"
    } else {
        "label"
    };
    options.output.print(&json!(found), || {
        let mut table = Table::new([head]);
        for one in &found {
            table.push(vec![one.clone()]);
        }
        table
    })
}

/// Begin, end and selectors as Prometheus and Loki take them.
fn params(options: &LabelsOptions) -> anyhow::Result<Vec<(&'static str, String)>> {
    let (start, end) = options.time.range("1h")?;
    let mut params = match options.lang {
        Lang::Logql => vec![
            ("start", start.nanos().to_string()),
            ("end", end.nanos().to_string()),
        ],
        Lang::Promql | Lang::Traceql => vec![("start", seconds(start)), ("end", seconds(end))],
    };
    let key = if options.lang == Lang::Logql {
        "query"
    } else {
        "match[]"
    };
    params.extend(options.matches.iter().map(|text| (key, text.clone())));
    params.extend(options.limit.map(|limit| ("limit", limit.to_string())));
    Ok(params)
}

fn texts(value: &Value) -> Vec<String> {
    let all = value.as_array().into_iter().flatten();
    all.filter_map(|text| Some(text.as_str()?.to_owned()))
        .collect()
}

/// Of metrics or logs.
async fn names(client: &Client, options: &LabelsOptions) -> anyhow::Result<Vec<String>> {
    let api = match options.lang {
        Lang::Logql => "/loki/api/v1",
        Lang::Promql | Lang::Traceql => "/api/v1",
    };
    let path = match &options.name {
        Some(name) => format!("{api}/label/{}/values", escaped(name)),
        None => format!("{api}/labels"),
    };
    let answer = client.json(&path, &params(options)?).await?;
    let mut found = texts(&answer["data"]);
    // Loki's API has no limit here.
    found.truncate(options.limit.unwrap_or(usize::MAX));
    Ok(found)
}

/// A name as it stands in a path: `U__…` for what is more than letters, digits and `_`.
fn escaped(name: &str) -> String {
    if obs_model::labels::is_legacy_name(name) {
        return name.to_owned();
    }
    let mut out = "U__".to_owned();
    for c in name.chars() {
        match c {
            '_' => out.push_str("__"),
            c if c.is_ascii_alphanumeric() => out.push(c),
            c => out.push_str(&format!("_{:X}_", u32::from(c))),
        }
    }
    out
}

/// Attributes of spans, with their scopes.
async fn tags(client: &Client, options: &LabelsOptions) -> anyhow::Result<Vec<String>> {
    let (start, end) = options.time.range("1h")?;
    let second = |time: obs_model::Timestamp| time.millis().div_euclid(1000);
    let mut params = vec![
        ("start", second(start).to_string()),
        ("end", (second(end) + 1).to_string()),
    ];
    params.extend(options.matches.first().map(|query| ("q", query.clone())));
    let limit = options.limit.unwrap_or(usize::MAX);
    let Some(name) = &options.name else {
        let answer = client.json("/tempo/api/v2/search/tags", &params).await?;
        let mut found = Vec::new();
        for scope in answer["scopes"].as_array().into_iter().flatten() {
            let prefix = match scope["name"].as_str() {
                Some("intrinsic") | None => String::new(),
                Some(name) => format!("{name}."),
            };
            found.extend(
                texts(&scope["tags"])
                    .iter()
                    .map(|tag| format!("{prefix}{tag}")),
            );
        }
        found.truncate(limit);
        return Ok(found);
    };
    let path = format!("/tempo/api/v2/search/tag/{name}/values");
    let answer = client.json(&path, &params).await?;
    let values = answer["tagValues"].as_array().into_iter().flatten();
    let values = values.filter_map(|one| Some(one["value"].as_str()?.to_owned()));
    Ok(values.take(limit).collect())
}

/// How many series each value has, or how many values each label.
async fn graph(client: &Client, options: &LabelsOptions) -> anyhow::Result<()> {
    if options.lang != Lang::Promql {
        bail!(
            "-o graph counts series of metrics; `obs logs -o graph` and `obs traces -o graph` draw the others"
        );
    }
    let mut counts: Vec<(String, f64)> = Vec::new();
    if let Some(name) = &options.name {
        let (_, end) = options.time.range("1h")?;
        let by = obs_query::promql::quote(name);
        let every = format!("{{{by}!=\"\"}}");
        let selectors = match options.matches.as_slice() {
            [] => every,
            all => all.join(" or "),
        };
        let query = format!("sort_desc(count by ({by}) ({selectors}))");
        let params = [("query", query), ("time", seconds(end))];
        let answer = client.json("/api/v1/query", &params).await?;
        for one in answer["data"]["result"].as_array().into_iter().flatten() {
            let value = one["metric"][name].as_str().unwrap_or("");
            let count = one["value"][1].as_str().and_then(|text| text.parse().ok());
            counts.push((value.to_owned(), count.context("a count is a number")?));
        }
    } else {
        for name in names(client, options).await?.into_iter().take(COUNTED) {
            let path = format!("/api/v1/label/{}/values", escaped(&name));
            let answer = client.json(&path, &params(options)?).await?;
            let count = answer["data"].as_array().map_or(0, Vec::len);
            counts.push((name, count as f64));
        }
    }
    let mut table = Table::new(["name", "count"]);
    for (name, count) in counts.into_iter().take(options.limit.unwrap_or(usize::MAX)) {
        table.push(vec![name, count.to_string()]);
    }
    options.output.print(&Value::Null, || table)
}

/// Runs `obs series`.
pub(crate) async fn series(options: &SeriesOptions) -> anyhow::Result<()> {
    let client = Client::new(&options.server)?;
    let (start, end) = options.time.range("1h")?;
    let mut params: Vec<(&str, String)> = options
        .selectors
        .iter()
        .map(|text| ("match[]", text.clone()))
        .collect();
    params.extend([
        ("start", seconds(start)),
        ("end", seconds(end)),
        ("limit", options.limit.to_string()),
    ]);
    let answer = client.json("/api/v1/series", &params).await?;
    crate::query::notes(&answer)?;
    let found = answer["data"]
        .as_array()
        .context("expected a list of series")?;
    if found.is_empty() {
        note("no series match in this time; --since 1d looks further back")?;
    }
    options
        .output
        .print(&answer["data"], || match options.output {
            Shape::Graph => cardinality(found),
            Shape::Csv => columns(found),
            Shape::Table | Shape::Json => {
                let mut table = Table::new(["series"]);
                for one in found {
                    table.push(vec![series_name(one)]);
                }
                table
            }
        })
}

/// A column for each label.
fn columns(found: &[Value]) -> Table {
    let all = found
        .iter()
        .filter_map(Value::as_object)
        .flat_map(serde_json::Map::keys);
    let mut names: Vec<&String> = all.collect::<BTreeSet<_>>().into_iter().collect();
    names.sort_by_key(|name| (name.as_str() != "__name__", name.as_str()));
    let mut table = Table::new(names.iter().copied().cloned());
    for one in found {
        let cell = |name: &&String| one[name.as_str()].as_str().unwrap_or_default().to_owned();
        table.push(names.iter().map(cell).collect());
    }
    table
}

/// How many values each label has.
fn cardinality(found: &[Value]) -> Table {
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, value) in found.iter().filter_map(Value::as_object).flatten() {
        values.entry(name).or_default().extend(value.as_str());
    }
    let mut values: Vec<(&str, usize)> = values
        .into_iter()
        .map(|(name, values)| (name, values.len()))
        .collect();
    values.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
    let mut table = Table::new(["label", "values"]);
    for (name, count) in values {
        table.push(vec![name.to_owned(), count.to_string()]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_as_columns_and_counts() {
        let found = [
            json!({"__name__": "up", "job": "a", "z": "1"}),
            json!({"__name__": "up", "b": "2", "job": "b"}),
        ];
        assert_eq!(
            columns(&found).csv(),
            "__name__,b,job,z\nup,,a,1\nup,2,b,\n"
        );
        assert_eq!(
            cardinality(&found).csv(),
            "label,values\njob,2\n__name__,1\nb,1\nz,1\n"
        );
    }

    #[test]
    fn odd_names_are_escaped() {
        for (name, expect) in [("job", "job"), ("a.b", "U__a_2E_b"), ("a_é", "U__a___E9_")] {
            assert_eq!(escaped(name), expect);
        }
    }
}
