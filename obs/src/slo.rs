//! `obs slo`: the rules that objectives become, and how the objectives of a server stand.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use obs_alerting::slo;
use obs_model::limits::Limits;
use serde_json::Value;

use crate::arguments::ServerOptions;
use crate::client::Client;
use crate::shape::Shape;
use crate::table::Table;

#[derive(Debug, Subcommand)]
pub(crate) enum SloCommand {
    /// Print the recording and alerting rules of objectives (Sloth, Pyrra, OpenSLO)
    #[command(
        after_help = "Examples:\n  obs slo generate shop.yml > shop-rules.yml\n  \
        obs slo generate slos/*.yml | obs check rules /dev/stdin"
    )]
    Generate {
        /// Files of objectives
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Show the objectives of a server: what is left of their budgets, and how fast it goes
    #[command(
        alias = "status",
        after_help = "Examples:\n  obs slo list\n  obs slo list --service shop -o json"
    )]
    List(SloListOptions),
}

#[derive(Debug, Args)]
pub(crate) struct SloListOptions {
    #[command(flatten)]
    server: ServerOptions,
    /// Only objectives of this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Only this objective
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// How the answer is written
    #[arg(short, long, value_enum, default_value_t = Shape::Table)]
    output: Shape,
}

pub(crate) async fn run(command: &SloCommand) -> anyhow::Result<()> {
    let text = match command {
        SloCommand::Generate { files } => generate(files)?,
        SloCommand::List(options) => list(options).await?,
    };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))
}

fn generate(files: &[PathBuf]) -> anyhow::Result<String> {
    let mut all = Vec::new();
    for file in files {
        let found = slo::parse(&read(file)?, &Limits::default());
        all.extend(found.map_err(|error| anyhow::anyhow!("{}:{error}", file.display()))?);
    }
    let mut ids: Vec<&str> = all.iter().map(|slo| slo.id.as_str()).collect();
    ids.sort_unstable();
    if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        anyhow::bail!("the objective {:?} is there twice", twice[0]);
    }
    slo::rules(&all).map_err(anyhow::Error::msg)
}

async fn list(options: &SloListOptions) -> anyhow::Result<String> {
    let client = Client::new(&options.server)?;
    let mut params = Vec::new();
    for (name, value) in [("service", &options.service), ("id", &options.id)] {
        params.extend(value.clone().map(|value| (name, value)));
    }
    let answer = client.json("/api/v1/slos", &params).await?;
    let slos = &answer["data"]["slos"];
    if slos.as_array().is_none_or(Vec::is_empty) {
        writeln!(
            std::io::stderr(),
            "no objectives; name files of them in obs.slo_files"
        )?;
    }
    options.output.text(slos, || match options.output {
        Shape::Graph => table(slos).only(&["objective", "labels", "budget left %"]),
        _ => table(slos),
    })
}

/// Nothing where nothing is known.
fn percent(value: &Value) -> String {
    // Six digits tell 99.999 from 99.99 and hide what floats leave over.
    let share = value.as_f64().map(|share| (share * 1e8).round() / 1e6);
    share.map(|share| share.to_string()).unwrap_or_default()
}

/// One row for each series of each objective; one for objectives without any.
fn table(slos: &Value) -> Table {
    let head = [
        "objective",
        "target %",
        "days",
        "budget left %",
        "burn rate",
        "state",
        "labels",
    ];
    let mut table = Table::new(head);
    let none = Value::Null;
    for slo in slos.as_array().into_iter().flatten() {
        let series = slo["series"].as_array().map_or(&[][..], Vec::as_slice);
        let rows: Vec<&Value> = match series {
            [] => vec![&none],
            series => series.iter().collect(),
        };
        for one in rows {
            let labels = one["labels"].as_object().into_iter().flatten();
            let labels = labels.map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()));
            let burn = one["burnRate"].as_f64();
            table.push(vec![
                slo["id"].as_str().unwrap_or_default().to_owned(),
                percent(&slo["objective"]),
                slo["windowDays"].to_string(),
                percent(&one["budgetRemaining"]),
                burn.map(|burn| format!("{burn:.2}")).unwrap_or_default(),
                state(slo, one).to_owned(),
                labels.collect::<Vec<_>>().join(" "),
            ]);
        }
    }
    table
}

/// In one word: its alerts first, then the budget.
fn state<'v>(slo: &'v Value, series: &Value) -> &'v str {
    let alerts = slo["alerts"].as_array().into_iter().flatten();
    let mut firing = alerts.filter(|alert| alert["state"] == "firing");
    if let Some(alert) = firing.next() {
        return alert["severity"].as_str().unwrap_or("firing");
    }
    match series["budgetRemaining"].as_f64() {
        None => "no data",
        Some(left) if left <= 0.0 => "used up",
        Some(_) => "ok",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_of_objectives() {
        let slos = json!([
            {"id": "shop-a", "objective": 0.999, "windowDays": 30.0, "alerts": [],
             "series": [
                {"labels": {"cluster": "eu"}, "budgetRemaining": 0.25, "burnRate": 1.5},
                {"labels": {}, "budgetRemaining": -0.1, "burnRate": null},
             ]},
            {"id": "shop-b", "objective": 0.99, "windowDays": 28.0, "series": [],
             "alerts": [{"name": "B", "severity": "critical", "state": "firing"}]},
        ]);
        let expect = "objective,target %,days,budget left %,burn rate,state,labels\r\n\
                      shop-a,99.9,30.0,25,1.50,ok,cluster=eu\r\n\
                      shop-a,99.9,30.0,-10,,used up,\r\n\
                      shop-b,99,28.0,,,critical,\r\n";
        let found = table(&slos).csv();
        assert_eq!(found.replace("\r\n", "\n"), expect.replace("\r\n", "\n"));
    }
}
