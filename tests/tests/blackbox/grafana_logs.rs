//! What Grafana's Loki data source, Explore and Logs Drilldown call, in the order in which they do,
//! from memory, from parts and after restarts.

use serde_json::{Value, json};

use super::{list, same_through_life, texts};
use crate::process::{Obs, now};
use crate::send::{MINUTE, SECOND, loki_json};

const LINES: i64 = 60;

/// Lines of two services, one a second.
fn filled() -> (Obs, i64) {
    let obs = Obs::start();
    let start = now() / MINUTE * MINUTE - 10 * MINUTE;
    let shop: Vec<(i64, String)> = (0..LINES)
        .map(|n| {
            let level = if n % 10 == 0 { "error" } else { "info" };
            (
                start + n * SECOND,
                format!("level={level} order={n} took={}ms", n * 3),
            )
        })
        .collect();
    let shop: Vec<_> = shop
        .iter()
        .map(|(t, l)| (*t, l.as_str(), &[][..]))
        .collect();
    assert_eq!(
        loki_json(&obs, &[("app", "shop"), ("namespace", "eu")], &shop).status,
        204
    );
    let web: Vec<(i64, String)> = (0..LINES)
        .map(|n| {
            let line = json!({"message": format!("GET /item/{n} done"), "status": 200, "request": {"id": n}});
            (start + n * SECOND, line.to_string())
        })
        .collect();
    let traced: &[(&str, &str)] = &[("trace_id", "abc")];
    let web: Vec<_> = web.iter().map(|(t, l)| (*t, l.as_str(), traced)).collect();
    assert_eq!(
        loki_json(&obs, &[("app", "web"), ("namespace", "eu")], &web).status,
        204
    );
    (obs, start)
}

struct Grafana<'a> {
    obs: &'a Obs,
    start: String,
    end: String,
}

impl<'a> Grafana<'a> {
    fn new(obs: &'a Obs, start: i64) -> Self {
        Self {
            obs,
            start: start.to_string(),
            end: (start + LINES * SECOND).to_string(),
        }
    }

    fn ask(&self, path: &str, more: &[(&str, &str)]) -> Value {
        let times = [("start", self.start.as_str()), ("end", self.end.as_str())];
        let answer = self
            .obs
            .get(&format!("/loki/api/v1/{path}"), &[more, &times].concat());
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let mut answer = answer.json();
        if let Some(data) = answer["data"].as_object_mut() {
            data.remove("stats");
        }
        answer
    }
}

#[test]
fn save_and_test_then_explore() {
    let (obs, start) = filled();
    let grafana = Grafana::new(&obs, start);
    let sum = grafana.ask("query", &[("query", "vector(1)+vector(1)")]);
    assert_eq!(sum["data"]["result"][0]["value"][1], "2");
    assert_eq!(obs.get("/ready", &[]).status, 200);
    let version = grafana.ask("status/buildinfo", &[])["version"].clone();
    assert!(
        version.as_str().is_some_and(|v| v.starts_with("3.")),
        "{version}"
    );
    let detected = grafana.ask("detected_labels", &[("query", "")]);
    let names: Vec<&str> = list(&detected["detectedLabels"])
        .iter()
        .filter_map(|l| l["label"].as_str())
        .collect();
    assert_eq!(names, ["namespace", "app", "service_name"]);
    let labels = grafana.ask("labels", &[]);
    assert_eq!(texts(&labels["data"]), ["app", "namespace", "service_name"]);
    let query = "{app=\"shop\"}";
    let hint = grafana.ask("index/stats", &[("query", query)]);
    assert_eq!(
        (&hint["streams"], &hint["entries"]),
        (&json!(1), &json!(LINES))
    );
    // The histogram and the lines of a query.
    let volume =
        format!("sum by (level, detected_level) (count_over_time({query} | drop __error__ [10s]))");
    let histogram = grafana.ask("query_range", &[("query", &volume), ("step", "10000ms")]);
    assert_eq!(list(&histogram["data"]["result"]).len(), 2, "{histogram}");
    let path = format!(
        "/loki/api/v1/query_range?query=%7Bapp%3D%22web%22%7D&limit=1&start={}&end={}&direction=backward",
        grafana.start, grafana.end
    );
    let flag = ("X-Loki-Response-Encoding-Flags", "categorize-labels");
    let lines = obs.get_with(&path, &[flag]).json();
    assert_eq!(lines["data"]["encodingFlags"], json!(["categorize-labels"]));
    let apart = &lines["data"]["result"][0]["values"][0][2]["structuredMetadata"];
    assert_eq!(apart["trace_id"], "abc");
    // Times of Drilldown are ISO texts.
    let second = |nanos: i64| obs_model::Timestamp::from_nanos(nanos).to_string();
    let times = [
        ("start", second(start)),
        ("end", second(start + LINES * SECOND)),
    ];
    let params: Vec<(&str, &str)> = times.iter().map(|(n, t)| (*n, t.as_str())).collect();
    let params = [&[("query", query)], params.as_slice()].concat();
    let stats = obs.get("/loki/api/v1/index/stats", &params).json();
    assert_eq!(stats["entries"], json!(LINES));
    let posted = obs.post_form("/loki/api/v1/labels", &params);
    assert_eq!(
        texts(&posted.json()["data"]),
        ["app", "namespace", "service_name"]
    );
    // A tail begins as a request of HTTP.
    let plain = obs.get("/loki/api/v1/tail", &[("query", query)]);
    assert_eq!(plain.status, 400, "{}", plain.text());
}

#[test]
fn drilldown_through_the_life_of_the_lines() {
    let (mut obs, start) = filled();
    same_through_life(&mut obs, |obs| {
        let grafana = Grafana::new(obs, start);
        let web = ("query", "{app=\"web\"}");
        let volume = [("query", "{service_name=~`.+`}"), ("limit", "5000")];
        let fields = grafana.ask("detected_fields", &[web]);
        vec![
            grafana.ask("index/volume", &volume),
            grafana.ask("patterns", &[("query", "{app=\"shop\"}"), ("step", "30s")]),
            grafana.ask("patterns", &[web, ("step", "30s")]),
            grafana.ask("detected_labels", &[("query", "{app=\"shop\"}")]),
            grafana.ask("detected_field/status/values", &[web]),
            grafana.ask("drilldown-limits", &[])["limits"]["volume_enabled"].clone(),
            fields,
        ]
    });
    let grafana = Grafana::new(&obs, start);
    let volume = grafana.ask("index/volume", &[("query", "{service_name=~`.+`}")]);
    let first = &volume["data"]["result"][0];
    assert_eq!(first["metric"], json!({"service_name": "web"}));
    let patterns = grafana.ask("patterns", &[("query", "{app=\"shop\"}"), ("step", "30s")]);
    let found: Vec<(&str, &str)> = list(&patterns["data"])
        .iter()
        .filter_map(|p| Some((p["pattern"].as_str()?, p["level"].as_str()?)))
        .collect();
    let expect = [
        ("level=info order=<_> took=<_>", "info"),
        ("level=error order=<_> took=<_>", "error"),
    ];
    assert_eq!(found, expect);
    // Drilldown shows the lines of a pattern.
    let of_pattern =
        "sum(count_over_time({app=\"shop\"} |> `level=info order=<_> took=<_>` [10m]))";
    let end = grafana.end.as_str();
    let count = grafana.ask("query", &[("query", of_pattern), ("time", end)]);
    assert_eq!(count["data"]["result"][0]["value"][1], "54");
    let fields = grafana.ask("detected_fields", &[("query", "{app=\"web\"}")]);
    let names: Vec<&str> = list(&fields["fields"])
        .iter()
        .filter_map(|f| f["label"].as_str())
        .collect();
    assert_eq!(
        names,
        [
            "detected_level",
            "message",
            "request_id",
            "status",
            "trace_id"
        ]
    );
}
