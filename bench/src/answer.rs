//! What an answer amounts to, whichever system gave it: its lines or traces, or the sum of its
//! numbers. Systems that answer the same amount found the same.

use anyhow::{Context, bail};
use serde_json::Value as Json;

/// The amount of an answer.
///
/// # Errors
/// It is neither of the known shapes.
pub(crate) fn total(body: &[u8]) -> anyhow::Result<f64> {
    match serde_json::from_slice::<Json>(body) {
        Ok(Json::Object(fields)) => {
            if let Some(result) = fields.get("data").and_then(|d| d.get("result")) {
                return results(result);
            }
            if let Some(series) = fields.get("series") {
                return samples(series);
            }
            match fields.get("traces").or_else(|| fields.get("data")) {
                Some(Json::Array(traces)) => Ok(traces.len() as f64),
                _ => row(&Json::Object(fields)),
            }
        }
        Ok(other) => bail!("expected an object, found {other}"),
        // A line of JSON for each row.
        Err(_) => rows(body),
    }
}

/// Values of an instant or of steps; lines of streams.
fn results(result: &Json) -> anyhow::Result<f64> {
    let all = result.as_array().context("expected a list of results")?;
    let mut sum = 0.0;
    for one in all {
        let values = one["values"].as_array();
        if one.get("stream").is_some() {
            sum += values.map_or(0, Vec::len) as f64;
            continue;
        }
        let instant = one.get("value");
        for value in values.into_iter().flatten().chain(instant) {
            sum += number(&value[1])?;
        }
    }
    Ok(sum)
}

/// Tempo's series: samples, or one value. A number that is not there is zero.
fn samples(series: &Json) -> anyhow::Result<f64> {
    let all = series.as_array().context("expected a list of series")?;
    let mut sum = 0.0;
    for one in all {
        let samples = one["samples"].as_array().into_iter().flatten();
        for sample in samples.chain([one]) {
            sum += sample.get("value").map_or(Ok(0.0), number)?;
        }
    }
    Ok(sum)
}

fn rows(body: &[u8]) -> anyhow::Result<f64> {
    let lines = body.split(|b| *b == b'\n').filter(|l| !l.is_empty());
    lines.map(|l| row(&serde_json::from_slice(l)?)).sum()
}

/// A row is one line, or a group whose lines are counted in `rows`.
fn row(row: &Json) -> anyhow::Result<f64> {
    row.get("rows").map_or(Ok(1.0), number)
}

fn number(value: &Json) -> anyhow::Result<f64> {
    match value {
        Json::String(text) => Ok(text.parse()?),
        other => other
            .as_f64()
            .with_context(|| format!("expected a number, found {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        let check = |body: &str, expect: Option<f64>| {
            assert_eq!(total(body.as_bytes()).ok(), expect, "{body}");
        };
        let matrix = r#"{"data":{"result":[{"metric":{},"values":[[1,"2"],[2,"3"]]},{"metric":{},"values":[[1,"5"]]}]}}"#;
        check(matrix, Some(10.0));
        check(
            r#"{"data":{"result":[{"metric":{},"value":[1,"2.5"]}]}}"#,
            Some(2.5),
        );
        check(
            r#"{"data":{"result":[{"stream":{},"values":[["1","a"],["2","b"]]}]}}"#,
            Some(2.0),
        );
        check(r#"{"data":{"result":[]}}"#, Some(0.0));
        check(r#"{"traces":[{},{}]}"#, Some(2.0));
        check(
            r#"{"series":[{"labels":[],"samples":[{"timestampMs":"1","value":2},{"timestampMs":"2"}]},{"labels":[],"value":3}]}"#,
            Some(5.0),
        );
        check(r#"{"data":[{}]}"#, Some(1.0));
        check("{\"_msg\":\"a\"}\n{\"_msg\":\"b\"}\n", Some(2.0));
        check("{\"_msg\":\"a\"}\n", Some(1.0));
        check("{\"rows\":\"7\"}\n{\"rows\":\"8\"}\n", Some(15.0));
        check("", Some(0.0));
        check("[1]", None);
        check("what", None);
    }
}
