//! `obs explain`: what a query would do and cost, before it runs.

use std::io::Write;

use anyhow::Context;

use crate::arguments::{Lang, Output, QueryOptions};
use crate::client::{Client, seconds};
use crate::query::step;

pub(crate) async fn run(options: &QueryOptions) -> anyhow::Result<()> {
    let client = Client::new(&options.server)?;
    let lang = match options.lang {
        Lang::Promql => "promql",
        Lang::Logql => "logql",
        Lang::Traceql => "traceql",
    };
    let mut params = vec![("query", options.query.clone()), ("lang", lang.to_owned())];
    if options.time.is_range() {
        let (start, end) = options.time.range("1h")?;
        let step = step(options, start, end)?;
        params.push(("start", seconds(start)));
        params.push(("end", seconds(end)));
        params.push(("step", format!("{:.3}", step as f64 / 1e9)));
    } else {
        params.push(("time", seconds(options.time.instant()?)));
    }
    let answer = client.json("/api/v1/explain", &params).await?;
    let data = &answer["data"];
    let text = match options.output.unwrap_or(Output::Table) {
        Output::Json => format!("{}\n", serde_json::to_string_pretty(data)?),
        Output::Table | Output::Csv => {
            let text = data["text"].as_str();
            text.context("the answer has no text")?.to_owned()
        }
    };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
