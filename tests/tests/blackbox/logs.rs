//! Lines in by Loki's push, out by LogQL.

use serde_json::Value;

use super::{ask, assert_close, list, same_through_life, texts, vector};
use crate::process::{Obs, now};
use crate::send::{Line, MINUTE, SECOND, loki_json, loki_protobuf};

const LINES: i64 = 20;
const STEP: i64 = 10 * SECOND;
const TRACE: &str = "5b8efff798038103d269b633813fc60c";

/// Every fourth order fails.
fn shop_line(order: i64) -> String {
    match order % 4 {
        0 => format!("level=error msg=\"payment failed\" order={order}"),
        _ => format!("level=info msg=\"order taken\" order={order}"),
    }
}

/// Every fifth request fails.
fn api_line(n: i64) -> String {
    let status = if n % 5 == 0 { 500 } else { 200 };
    format!("{{\"method\":\"GET\",\"status\":{status},\"path\":\"/item/{n}\"}}")
}

/// Lines `from` to `to` of the shop in JSON and of the API in protobuf.
fn push(obs: &Obs, start: i64, from: i64, to: i64) {
    let texts: Vec<(String, String)> = (from..to).map(|i| (shop_line(i), api_line(i))).collect();
    let time = |n: usize| start + (from + n as i64) * STEP;
    let shop: Vec<Line<'_>> = texts
        .iter()
        .enumerate()
        .map(|(n, (text, _))| (time(n), text.as_str(), &[][..]))
        .collect();
    let answer = loki_json(obs, &[("app", "shop"), ("env", "test")], &shop);
    assert_eq!(answer.status, 204, "{}", answer.text());
    let traced: &[(&str, &str)] = &[("trace_id", TRACE)];
    let api: Vec<Line<'_>> = texts
        .iter()
        .enumerate()
        .map(|(n, (_, text))| {
            (
                time(n),
                text.as_str(),
                if from + n as i64 == 7 { traced } else { &[] },
            )
        })
        .collect();
    let answer = loki_protobuf(obs, &[("app", "api")], &api);
    assert_eq!(answer.status, 204, "{}", answer.text());
}

/// Time and text of all lines of an answer, in order.
fn lines(answer: &Value) -> Vec<(i64, String)> {
    assert_eq!(answer["data"]["resultType"], "streams", "{answer}");
    let mut all = Vec::new();
    for stream in list(&answer["data"]["result"]) {
        for entry in list(&stream["values"]) {
            let nanos = entry[0]
                .as_str()
                .and_then(|t| t.parse().ok())
                .expect("nanoseconds");
            all.push((nanos, entry[1].as_str().expect("a line").to_owned()));
        }
    }
    all.sort();
    all
}

struct Asker {
    obs: Obs,
    start: i64,
}

impl Asker {
    fn new() -> Self {
        let start = now() / MINUTE * MINUTE - 20 * MINUTE;
        let obs = Obs::start();
        push(&obs, start, 0, LINES);
        Self { obs, start }
    }

    fn range(&self, query: &str, more: &[(&str, &str)]) -> Value {
        let (start, end) = (
            self.start.to_string(),
            (self.start + LINES * STEP).to_string(),
        );
        let params = [
            ("query", query),
            ("start", &start),
            ("end", &end),
            ("limit", "1000"),
        ];
        // The first of a name counts.
        self.obs
            .get("/loki/api/v1/query_range", &[more, &params].concat())
            .json()
    }

    fn found(&self, query: &str) -> Vec<String> {
        lines(&self.range(query, &[]))
            .into_iter()
            .map(|(_, text)| text)
            .collect()
    }
}

#[test]
fn lines_are_found_by_stream_text_and_field() {
    let asker = Asker::new();
    let shop = |wanted: fn(&i64) -> bool| -> Vec<String> {
        (0..LINES).filter(wanted).map(shop_line).collect()
    };
    let api = |wanted: fn(&i64) -> bool| -> Vec<String> {
        (0..LINES).filter(wanted).map(api_line).collect()
    };
    let check =
        |query: &str, expect: Vec<String>| assert_eq!(asker.found(query), expect, "{query}");
    check("{app=\"shop\"}", shop(|_| true));
    check("{app=~\"sh.*\", env!=\"production\"}", shop(|_| true));
    check("{app=\"shop\"} |= \"payment\"", shop(|i| i % 4 == 0));
    check(
        "{app=\"shop\"} != \"payment\" |= \"level=info\"",
        shop(|i| i % 4 != 0),
    );
    check(
        "{app=\"shop\"} |~ \"order=1[0-3]$\"",
        shop(|i| (10..14).contains(i)),
    );
    check("{app=\"shop\"} !~ \"order=.$\"", shop(|i| *i >= 10));
    check(
        "{app=\"shop\"} | logfmt | level=\"error\" | order > 8",
        shop(|i| i % 4 == 0 && *i > 8),
    );
    check(
        "{app=\"shop\"} | detected_level=\"error\"",
        shop(|i| i % 4 == 0),
    );
    check("{app=\"api\"} | json | status >= 500", api(|i| i % 5 == 0));
    check(
        "{app=\"api\"} | json | status = 500 and path =~ \"/item/1.*\"",
        api(|i| *i == 10 || *i == 15),
    );
    check(
        &format!("{{app=\"api\"}} | trace_id=\"{TRACE}\""),
        api(|i| *i == 7),
    );
    check("{app=\"nobody\"}", Vec::new());
    let (start, step) = (asker.start, STEP);
    let times: Vec<i64> = lines(&asker.range("{app=\"shop\"}", &[]))
        .iter()
        .map(|l| l.0)
        .collect();
    assert_eq!(
        times,
        (0..LINES).map(|i| start + i * step).collect::<Vec<_>>()
    );
}

#[test]
fn limit_and_direction() {
    let asker = Asker::new();
    let texts = |direction: &str| {
        let answer = asker.range(
            "{app=\"shop\"}",
            &[("limit", "3"), ("direction", direction)],
        );
        lines(&answer)
            .into_iter()
            .map(|(_, text)| text)
            .collect::<Vec<_>>()
    };
    assert_eq!(texts("forward"), [0, 1, 2].map(shop_line));
    assert_eq!(texts("backward"), [17, 18, 19].map(shop_line));
}

#[test]
fn metric_queries_count_lines() {
    let asker = Asker::new();
    let at = (asker.start + LINES * STEP).to_string();
    let check = |query: &str, expect: &[(&str, f64)]| {
        let params = [("query", query), ("time", at.as_str())];
        let answer = asker.obs.get("/loki/api/v1/query", &params).json();
        assert_close(&vector(&answer), expect, query);
    };
    check(
        "sum by (app) (count_over_time({app=~\"shop|api\"}[10m]))",
        &[("{app=\"api\"}", 20.0), ("{app=\"shop\"}", 20.0)],
    );
    check(
        "sum by (level) (rate({app=\"shop\"} | logfmt [5m]))",
        &[
            ("{level=\"error\"}", 5.0 / 300.0),
            ("{level=\"info\"}", 15.0 / 300.0),
        ],
    );
    let answer = asker.range(
        "sum(count_over_time({app=\"shop\"}[1m]))",
        &[("step", "60")],
    );
    assert_eq!(answer["data"]["resultType"], "matrix", "{answer}");
    let total: f64 = list(&answer["data"]["result"][0]["values"])
        .iter()
        .map(|point| super::number(&point[1]))
        .sum();
    // Steps at 0, 1, 2 and 3 minutes: each line up to then is in one window.
    assert_close(&[(String::new(), total)], &[("", 19.0)], "steps");
}

#[test]
fn labels_streams_and_levels() {
    let asker = Asker::new();
    let time = [
        ("start", asker.start.to_string()),
        ("end", (asker.start + LINES * STEP).to_string()),
    ];
    let time = time.each_ref().map(|(n, v)| (*n, v.as_str()));
    let data = |path: &str, more: &[(&str, &str)]| {
        asker.obs.get(path, &[more, &time].concat()).json()["data"].clone()
    };
    let names = data("/loki/api/v1/labels", &[]);
    assert_eq!(texts(&names), ["app", "env", "service_name"]);
    assert_eq!(
        texts(&data("/loki/api/v1/label/app/values", &[])),
        ["api", "shop"]
    );
    let only = [("query", "{env=\"test\"}")];
    assert_eq!(
        texts(&data("/loki/api/v1/label/app/values", &only)),
        ["shop"]
    );
    let series = data("/loki/api/v1/series", &[("match[]", "{app=\"shop\"}")]);
    let expect = serde_json::json!([{"app": "shop", "env": "test", "service_name": "shop"}]);
    assert_eq!(series, expect);
    for stream in list(&asker.range("{app=\"shop\"}", &[])["data"]["result"]) {
        let level = stream["stream"]["detected_level"]
            .as_str()
            .unwrap_or_default();
        for entry in list(&stream["values"]) {
            let text = entry[1].as_str().unwrap_or_default();
            assert!(
                !level.is_empty() && text.starts_with(&format!("level={level} ")),
                "{stream}"
            );
        }
    }
}

#[test]
fn lines_come_back_byte_by_byte() {
    let obs = Obs::start();
    let start = now() - MINUTE;
    let odd = [
        "  blanks around \t",
        "ünïcödé 🦀 \u{0}\u{1b}[31m",
        "\"quoted\" \\ {braces} <script>alert(1)</script>",
        "",
        "two\nlines",
    ];
    let entries: Vec<Line<'_>> = odd
        .iter()
        .enumerate()
        .map(|(i, text)| (start + i as i64, *text, &[][..]))
        .collect();
    assert_eq!(loki_json(&obs, &[("app", "odd")], &entries).status, 204);
    let (from, to) = (start.to_string(), now().to_string());
    let params = [("query", "{app=\"odd\"}"), ("start", &from), ("end", &to)];
    let answer = obs.get("/loki/api/v1/query_range", &params).json();
    let found: Vec<String> = lines(&answer).into_iter().map(|(_, text)| text).collect();
    assert_eq!(found, odd);
}

#[test]
fn answers_stay_the_same_through_parts_and_restarts() {
    let start = now() / MINUTE * MINUTE - 20 * MINUTE;
    let mut obs = Obs::start();
    // The later half comes first, and once more by mistake.
    push(&obs, start, LINES / 2, LINES);
    obs.force("flush");
    push(&obs, start, 0, LINES / 2);
    push(&obs, start, LINES / 2, LINES);
    let (from, to) = (start.to_string(), (start + LINES * STEP).to_string());
    let range = |query: &'static str| {
        [
            ("query", query),
            ("start", &from),
            ("end", &to),
            ("limit", "1000"),
            ("step", "30"),
        ]
    };
    let all = range("{app=~\".+\"}");
    let fields = range("{app=\"api\"} | json | status >= 500");
    let counts = range("sum by (app) (count_over_time({app=~\".+\"}[1m]))");
    same_through_life(&mut obs, |obs| {
        let answers = ask(
            obs,
            &[
                ("/loki/api/v1/query_range", &all),
                ("/loki/api/v1/query_range", &fields),
                ("/loki/api/v1/query_range", &counts),
                ("/loki/api/v1/labels", &all[1..3]),
                ("/loki/api/v1/label/app/values", &all[1..3]),
                ("/loki/api/v1/series", &all[1..3]),
            ],
        );
        assert_eq!(lines(&answers[0]).len() as i64, 2 * LINES, "{}", answers[0]);
        answers
    });
}
