//! Samples in by remote write, out by PromQL.

use obs_model::metrics::{MetricKind, Series};
use obs_model::{MetricBatch, sample};
use serde_json::{Value, json};

use super::{ask, assert_close, list, normal, number, same_through_life, texts, vector};
use crate::process::{Obs, now};
use crate::send::{MINUTE, SECOND, metadata, remote_write, series};

/// Between two samples.
const STEP: i64 = 15 * SECOND;
const SAMPLES: i64 = 40;
/// The sample at which instant queries look.
const LOOK: i64 = 36;

fn seconds(nanos: i64) -> String {
    (nanos / SECOND).to_string()
}

/// What a shop says of itself, from sample `from` to `to`.
fn shop(start: i64, from: i64, to: i64) -> Vec<Series> {
    let samples = |value: fn(i64, f64) -> f64, slope: f64| {
        (from..to).map(move |i| (start + i * STEP, value(i, slope)))
    };
    let counter: fn(i64, f64) -> f64 = |i, slope| 1000.0 + i as f64 * 15.0 * slope;
    let mut all = Vec::new();
    for (slope, instance, code) in [
        (1.0, "a", "200"),
        (2.0, "b", "200"),
        (3.0, "a", "500"),
        (4.0, "b", "500"),
    ] {
        let name = [("__name__", "http_requests_total"), ("job", "shop")];
        let more = [("instance", instance), ("code", code)];
        all.push(series(&[name, more].concat(), samples(counter, slope)));
    }
    for (slope, le) in [(1.0, "0.1"), (2.0, "0.5"), (3.0, "1"), (4.0, "+Inf")] {
        let name = [
            ("__name__", "request_seconds_bucket"),
            ("job", "shop"),
            ("le", le),
        ];
        all.push(series(&name, samples(counter, slope)));
    }
    let gauge: fn(i64, f64) -> f64 = |i, _| 20.0 + (i % 4) as f64;
    all.push(series(
        &[("__name__", "temperature"), ("room", "küche")],
        samples(gauge, 0.0),
    ));
    // Ends in the middle, with Prometheus' marker.
    let ending: fn(i64, f64) -> f64 = |i, _| if i < 10 { 1.0 } else { sample::stale() };
    let ends = samples(ending, 0.0).filter(|(time, _)| *time <= start + 10 * STEP);
    all.push(series(&[("__name__", "gone")], ends));
    all
}

fn write(obs: &Obs, series: Vec<Series>) {
    let metadata = vec![metadata(
        "http_requests_total",
        MetricKind::Counter,
        "Requests.",
    )];
    let answer = remote_write(
        obs,
        &MetricBatch {
            series,
            metadata,
            ..Default::default()
        },
    );
    assert_eq!(answer.status, 204, "{}", answer.text());
}

fn instant(obs: &Obs, query: &str, at: i64) -> Value {
    obs.get("/api/v1/query", &[("query", query), ("time", &seconds(at))])
        .json()
}

#[test]
fn what_was_written_is_evaluated() {
    let start = now() / MINUTE * MINUTE - 30 * MINUTE;
    let obs = Obs::start();
    write(&obs, shop(start, 0, SAMPLES));
    let at = start + LOOK * STEP;
    let check = |query: &str, expect: &[(&str, f64)]| {
        assert_close(&vector(&instant(&obs, query, at)), expect, query);
    };
    let shop = |code: &str, instance: &str| {
        format!("http_requests_total{{code=\"{code}\",instance=\"{instance}\",job=\"shop\"}}")
    };
    let ok = [(shop("200", "a"), 1540.0), (shop("200", "b"), 2080.0)];
    check(
        "http_requests_total{code=\"200\"}",
        &ok.each_ref().map(|(n, v)| (n.as_str(), *v)),
    );
    check(
        "{__name__=~\"http_.*\", code=~\"5..\", instance!=\"a\"}",
        &[(&shop("500", "b"), 3160.0)],
    );
    check(
        "sum by (code) (rate(http_requests_total[1m]))",
        &[("{code=\"200\"}", 3.0), ("{code=\"500\"}", 7.0)],
    );
    check(
        "sum(increase(http_requests_total{code=\"200\", instance=\"a\"}[5m]))",
        &[("{}", 300.0)],
    );
    check(
        "http_requests_total{code=\"500\"} / on (instance) http_requests_total{code=\"200\"}",
        &[
            ("{instance=\"a\"}", 2620.0 / 1540.0),
            ("{instance=\"b\"}", 3160.0 / 2080.0),
        ],
    );
    check(
        "histogram_quantile(0.375, sum by (le) (rate(request_seconds_bucket[1m])))",
        &[("{}", 0.3)],
    );
    check(
        "avg_over_time(temperature[1m])",
        &[("{room=\"küche\"}", 21.5)],
    );
    check(
        "max_over_time(temperature[1m])",
        &[("{room=\"küche\"}", 23.0)],
    );
    check(
        "temperature offset 15s",
        &[("temperature{room=\"küche\"}", 23.0)],
    );
    check(
        "temperature{room=~\"k.che\"} * 2 > 30",
        &[("{room=\"küche\"}", 40.0)],
    );
    check("count(http_requests_total)", &[("{}", 4.0)]);
    check("count_over_time(gone[10m])", &[("{}", 10.0)]);
    check("gone", &[]);
    check(
        "topk(1, http_requests_total)",
        &[(&shop("500", "b"), 3160.0)],
    );
    let scalar = instant(&obs, "1 + 2 * 3", at);
    assert_eq!(scalar["data"]["resultType"], "scalar");
    assert_close(
        &[(String::new(), number(&scalar["data"]["result"][1]))],
        &[("", 7.0)],
        "scalar",
    );
}

#[test]
fn ranges_and_forms() {
    let start = now() / MINUTE * MINUTE - 30 * MINUTE;
    let obs = Obs::start();
    write(&obs, shop(start, 0, SAMPLES));
    let (from, to) = (seconds(start + 2 * MINUTE), seconds(start + 8 * MINUTE));
    let params = [
        ("query", "sum(rate(http_requests_total[1m]))"),
        ("start", from.as_str()),
        ("end", to.as_str()),
        ("step", "1m"),
    ];
    let answer = obs.get("/api/v1/query_range", &params).json();
    assert_eq!(answer["data"]["resultType"], "matrix");
    let result = list(&answer["data"]["result"]);
    assert_eq!(result.len(), 1, "{answer}");
    let points = list(&result[0]["values"]);
    let times: Vec<i64> = points
        .iter()
        .filter_map(|p| p[0].as_f64())
        .map(|t| t as i64)
        .collect();
    let expect: Vec<i64> = (2..=8).map(|m| (start + m * MINUTE) / SECOND).collect();
    assert_eq!(times, expect);
    for point in points {
        assert!((number(&point[1]) - 10.0).abs() < 1e-9, "{point}");
    }
    let form = obs.post_form("/api/v1/query_range", &params).json();
    assert_eq!(normal(form), normal(answer));
}

#[test]
fn names_and_metadata() {
    let start = now() / MINUTE * MINUTE - 30 * MINUTE;
    let obs = Obs::start();
    write(&obs, shop(start, 0, SAMPLES));
    let data = |path: &str, params: &[(&str, &str)]| obs.get(path, params).json()["data"].clone();
    let shop = [("match[]", "http_requests_total{instance=\"a\"}")];
    assert_eq!(
        texts(&data("/api/v1/labels", &shop)),
        ["__name__", "code", "instance", "job"]
    );
    assert_eq!(texts(&data("/api/v1/label/instance/values", &shop)), ["a"]);
    assert_eq!(texts(&data("/api/v1/label/room/values", &[])), ["küche"]);
    let names = data("/api/v1/label/__name__/values", &[]);
    for name in [
        "gone",
        "http_requests_total",
        "request_seconds_bucket",
        "temperature",
    ] {
        assert!(texts(&names).contains(&name), "{name} is not in {names}");
    }
    let series = data("/api/v1/series", &shop);
    let codes: Vec<&str> = list(&series)
        .iter()
        .filter_map(|s| s["code"].as_str())
        .collect();
    assert_eq!(codes, ["200", "500"], "{series}");
    let expect =
        json!({"http_requests_total": [{"type": "counter", "unit": "", "help": "Requests."}]});
    assert_eq!(
        data("/api/v1/metadata", &[("metric", "http_requests_total")]),
        expect
    );
    let later = seconds(now() + 60 * MINUTE);
    let nothing = data("/api/v1/labels", &[("start", &later)]);
    assert_eq!(texts(&nothing), Vec::<&str>::new());
}

#[test]
fn answers_stay_the_same_through_parts_and_restarts() {
    let start = now() / MINUTE * MINUTE - 30 * MINUTE;
    let mut obs = Obs::start();
    // The second half comes before the first, in parts of their own, and once more by mistake.
    write(&obs, shop(start, SAMPLES / 2, SAMPLES));
    obs.force("flush");
    write(&obs, shop(start, 0, SAMPLES / 2));
    write(&obs, shop(start, 0, SAMPLES / 2));
    let (from, to) = (seconds(start), seconds(start + SAMPLES * STEP));
    let range = |query: &'static str| {
        [
            ("query", query),
            ("start", &from),
            ("end", &to),
            ("step", "15"),
        ]
    };
    let (all, rate) = (
        range("{__name__=~\".+\"}"),
        range("sum by (code) (rate(http_requests_total[1m]))"),
    );
    let quantile = range("histogram_quantile(0.9, rate(request_seconds_bucket[2m]))");
    let time = [("start", from.as_str()), ("end", to.as_str())];
    let matches = [("match[]", "{job=\"shop\"}"), time[0], time[1]];
    same_through_life(&mut obs, |obs| {
        let answers = ask(
            obs,
            &[
                ("/api/v1/query_range", &all),
                ("/api/v1/query_range", &rate),
                ("/api/v1/query_range", &quantile),
                ("/api/v1/labels", &time),
                ("/api/v1/label/code/values", &time),
                ("/api/v1/series", &matches),
                // Of the server's own metrics some may come while it is asked.
                ("/api/v1/metadata", &[("metric", "http_requests_total")]),
            ],
        );
        let series = list(&answers[0]["data"]["result"]);
        // The server's own series are of now, which is outside.
        assert_eq!(series.len(), 10, "{}", answers[0]);
        let points = |name: &str| {
            let found = series.iter().find(|one| one["metric"]["__name__"] == name);
            found.map(|one| list(&one["values"]).len() as i64)
        };
        assert_eq!(points("gone"), Some(10), "the marker ends it");
        assert_eq!(
            points("temperature"),
            Some(SAMPLES + 1),
            "one more by the look back"
        );
        answers
    });
}

#[test]
fn new_series_over_the_limit_are_429_and_known_ones_go_on() {
    let obs = Obs::with_config("obs:\n  limits: {series_max: 2}\n");
    let at = now();
    let one = |name: &str, time: i64| series(&[("__name__", name)], [(time, 1.0)]);
    let send = |all: Vec<Series>| {
        let batch = MetricBatch {
            series: all,
            ..MetricBatch::default()
        };
        let answer = remote_write(&obs, &batch);
        (answer.status, answer.text())
    };
    assert_eq!(send(vec![one("a", at), one("b", at)]).0, 204);
    let (status, text) = send(vec![one("a", at + SECOND), one("c", at + SECOND)]);
    assert_eq!(status, 429, "{text}");
    assert!(text.contains("series_max"), "{text}");
    assert_eq!(send(vec![one("b", at + SECOND)]).0, 204);
    for (query, expect) in [
        ("count_over_time(a[1h])", Some(2.0)),
        ("count_over_time(b[1h])", Some(2.0)),
        ("count_over_time(c[1h])", None),
    ] {
        let time = ((at + MINUTE) / SECOND).to_string();
        let params = [("query", query), ("time", time.as_str())];
        let found = vector(&obs.get("/api/v1/query", &params).json());
        assert_eq!(found.first().map(|one| one.1), expect, "{query}");
    }
    // A number alone is written without an exponent, and its time without zeros at the end.
    let params = [("query", "1e21"), ("time", "1700000000.5")];
    let scalar = obs.get("/api/v1/query", &params).text();
    assert!(
        scalar.contains("[1700000000.5,\"1000000000000000000000\"]"),
        "{scalar}"
    );
    let form = [("content-type", "multipart/form-data; boundary=x")];
    let answer = obs.post("/api/v1/query", &form, b"--x--".to_vec());
    assert_eq!(answer.status, 400);
    assert!(
        answer.text().contains("multipart/form-data"),
        "{}",
        answer.text()
    );
}
