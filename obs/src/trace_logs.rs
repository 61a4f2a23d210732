//! `obs trace ID --logs`: what was logged while a trace ran, by whoever names its id.
//!
//! Invariant: the queries are those of `/api/v1/correlate`; each line is shown once, in order of
//! time.

use std::collections::BTreeSet;

use obs_model::Timestamp;
use serde_json::Value;

use crate::client::Client;
use crate::table::one_line;

/// Lines of one query.
const LINES_MAX: &str = "1000";

/// The lines as text; a sentence where there are none.
pub(crate) async fn of(client: &Client, id: &str) -> anyhow::Result<String> {
    let answer = client
        .json(&format!("/api/v1/correlate/trace/{id}"), &[])
        .await?;
    let mut lines = BTreeSet::new();
    for (query, start, end) in queries(&answer["data"]) {
        let params = [
            ("query", query),
            ("start", start),
            ("end", end),
            ("limit", LINES_MAX.to_owned()),
            ("direction", "forward".to_owned()),
        ];
        let found = client.json("/loki/api/v1/query_range", &params).await?;
        gather(&found, &mut lines);
    }
    Ok(text(&lines))
}

/// The queries that ask for the id: of anyone, and of senders whose streams are there.
fn queries(data: &Value) -> Vec<(String, String, String)> {
    let senders = data["senders"].as_array().into_iter().flatten();
    let of_senders = senders.flat_map(|sender| sender["logs"].as_array().into_iter().flatten());
    let anyone = data["logs"].as_array().into_iter().flatten();
    let id = data["traceId"].as_str().unwrap_or_default();
    let mut all: Vec<(String, String, String)> = Vec::new();
    for one in anyone.chain(of_senders) {
        let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        let asked = (text("query"), text("start"), text("end"));
        let stored = one["stored"].as_bool().unwrap_or(true);
        if stored && asked.0.contains(id) && !all.contains(&asked) {
            all.push(asked);
        }
    }
    all
}

/// Time, service and line.
type Line = (i64, String, String);

fn gather(found: &Value, lines: &mut BTreeSet<Line>) {
    let streams = found["data"]["result"].as_array().into_iter().flatten();
    for stream in streams {
        let labels = &stream["stream"];
        let service = ["service_name", "pod", "k8s_pod_name"]
            .iter()
            .find_map(|name| labels[*name].as_str());
        for value in stream["values"].as_array().into_iter().flatten() {
            let nanos = value[0].as_str().and_then(|text| text.parse().ok());
            let (Some(nanos), Some(line)) = (nanos, value[1].as_str()) else {
                continue;
            };
            lines.insert((nanos, service.unwrap_or("-").to_owned(), line.to_owned()));
        }
    }
}

fn text(lines: &BTreeSet<Line>) -> String {
    if lines.is_empty() {
        return "no log line names this trace\n".to_owned();
    }
    let one = |(nanos, service, line): &Line| {
        let time = Timestamp::from_nanos(*nanos);
        let plain = one_line(line);
        format!("{time}  {service}  {plain}\n")
    };
    lines.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn queries_that_ask_for_the_id() {
        let query = |query: &str, stored: Option<bool>| {
            let mut one = json!({"query": query, "start": "s", "end": "e"});
            if let Some(stored) = stored {
                one["stored"] = stored.into();
            }
            one
        };
        let data = json!({
            "traceId": "ab",
            "logs": [query("any |= ab", None)],
            "senders": [
                {"logs": [query("a | ab", Some(true)), query("a", Some(true)), query("b | ab", Some(false))]},
                {"logs": [query("a | ab", Some(true))]},
            ],
        });
        let found: Vec<String> = queries(&data)
            .into_iter()
            .map(|(query, ..)| query)
            .collect();
        assert_eq!(found, ["any |= ab", "a | ab"]);
    }

    #[test]
    fn lines_once_and_in_order() {
        let found = json!({"data": {"result": [
            {"stream": {"service_name": "shop"}, "values": [["2000000000", "b\u{1b}[1m"], ["1000000000", "a"]]},
            {"stream": {"pod": "p"}, "values": [["1500000000", "c"]]},
        ]}});
        let mut lines = BTreeSet::new();
        gather(&found, &mut lines);
        gather(&found, &mut lines);
        let expect = "1970-01-01T00:00:01Z  shop  a\n\
                      1970-01-01T00:00:01.500Z  p  c\n\
                      1970-01-01T00:00:02Z  shop  b\\u{1b}[1m\n";
        assert_eq!(text(&lines).replace(".000Z", "Z"), expect);
        assert_eq!(text(&BTreeSet::new()), "no log line names this trace\n");
    }
}
