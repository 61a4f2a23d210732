//! What is wrong is refused, quickly, with a status that says whose fault it is and a text that
//! says where; and the server goes on.

use std::sync::Mutex;

use serde_json::{Value, json};

use crate::process::{Answer, Obs, command, now, until};
use crate::send::{MINUTE, SECOND, gzip, loki_json_body, remote_write_body, series};

/// Small limits, so that large inputs need not be large.
const CONFIG: &str = "obs: {limits: {body_bytes_max: 1048576, decompressed_bytes_max: 4194304, \
                      query_samples_max: 1000}}\n";

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");
const GZIP: (&str, &str) = ("content-encoding", "gzip");
const WRITE: &str = "/api/v1/write";
const PUSH: &str = "/loki/api/v1/push";
const TRACES: &str = "/v1/traces";
const METRICS: &str = "/v1/metrics";
const LOGS: &str = "/v1/logs";

/// Path, headers, body; status and a part of the text.
type Case = (
    &'static str,
    Vec<(&'static str, &'static str)>,
    Vec<u8>,
    u16,
    &'static str,
);

fn check(obs: &Obs, cases: Vec<Case>) {
    for (path, headers, body, status, part) in cases {
        let shown: String = String::from_utf8_lossy(&body).chars().take(60).collect();
        let what = format!("POST {path} {headers:?} {shown:?}");
        // However large the input would have become, it is refused before the client gives up.
        let answer = obs.post(path, &headers, body);
        refused(&what, &answer, status, part);
    }
    healthy(obs);
}

fn refused(what: &str, answer: &Answer, status: u16, part: &str) {
    let text = answer.text();
    assert_eq!(answer.status, status, "{what}: {text}");
    assert!(text.contains(part), "{what}: {part:?} is not in {text:?}");
}

fn healthy(obs: &Obs) {
    assert_eq!(obs.get("/-/healthy", &[]).status, 200);
    assert_eq!(obs.get("/api/v1/query", &[("query", "1")]).status, 200);
    assert!(
        !obs.log().contains("panicked"),
        "a thread panicked:\n{}",
        obs.log()
    );
}

fn text(body: &str) -> Vec<u8> {
    body.as_bytes().to_vec()
}

#[test]
fn malformed_bodies_name_the_place() {
    let obs = Obs::with_config(CONFIG);
    let snappy = |bytes: &[u8]| obs_wire::snappy::encode(bytes);
    let twice = series(&[("__name__", "x"), ("a", "1")], [(now(), 1.0)]);
    let batch = obs_model::MetricBatch {
        series: vec![twice],
        metadata: Vec::new(),
        ..Default::default()
    };
    let mut cut = remote_write_body(&batch);
    cut.truncate(cut.len() - 3);
    check(
        &obs,
        vec![
            (WRITE, vec![PROTOBUF], text(""), 400, "at byte 0"),
            (WRITE, vec![PROTOBUF], vec![0xff; 40], 400, "at byte"),
            (WRITE, vec![PROTOBUF], cut, 400, "malformed at byte"),
            (
                WRITE,
                vec![PROTOBUF],
                snappy(b"\x0a\xff\xff\xff\xff\x0f"),
                400,
                "malformed at byte",
            ),
            (PUSH, vec![PROTOBUF], vec![0xff; 40], 400, "at byte"),
            (
                PUSH,
                vec![PROTOBUF],
                snappy(b"\x0a\x7f{app"),
                400,
                "malformed at",
            ),
            (
                PUSH,
                vec![JSON],
                text("{\"streams\": [{\n\"stream\": {\"a\": 1}}]}"),
                400,
                "2:",
            ),
            (PUSH, vec![JSON], text("{\"streams\": ["), 400, "1:13"),
            (
                PUSH,
                vec![JSON],
                text(
                    "{\"streams\": [{\"stream\": {\"a\": \"b\"}, \"values\": [[\"soon\", \"x\"]]}]}",
                ),
                400,
                "1:",
            ),
            (PUSH, vec![JSON], vec![0xc3, 0x28], 400, "1:1"),
            (
                TRACES,
                vec![JSON],
                text("{\"resourceSpans\": [\n  nonsense]}"),
                400,
                "2:",
            ),
            (METRICS, vec![JSON], text("[1]"), 400, "1:"),
            (LOGS, vec![PROTOBUF], vec![0xff; 40], 400, "malformed at"),
            (
                TRACES,
                vec![PROTOBUF],
                vec![0x0a, 0x7f, 1],
                400,
                "malformed at",
            ),
            (
                TRACES,
                vec![JSON, GZIP],
                text("not gzip"),
                400,
                "malformed at",
            ),
        ],
    );
}

#[test]
fn bombs_and_masses_are_refused_before_they_unfold() {
    let obs = Obs::with_config(CONFIG);
    // Declares 4 GiB - 1.
    let bomb = vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    let zeros = gzip(&vec![0; 64 << 20]);
    assert!(
        zeros.len() < 1 << 20,
        "it passes as a body: {}",
        zeros.len()
    );
    let large = vec![b' '; (1 << 20) + 1];
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let nested = format!(
        "{{\"resourceSpans\":[{{\"resource\":{{\"attributes\":[{{\"key\":\"k\",\"value\":{}{{}}{}}}]}}}}]}}",
        "{\"arrayValue\":{\"values\":[".repeat(2000),
        "]}}".repeat(2000)
    );
    check(
        &obs,
        vec![
            (
                WRITE,
                vec![PROTOBUF],
                bomb.clone(),
                413,
                "decompressed_bytes_max",
            ),
            (PUSH, vec![PROTOBUF], bomb, 413, "decompressed_bytes_max"),
            (
                PUSH,
                vec![JSON, GZIP],
                zeros.clone(),
                413,
                "decompressed_bytes_max",
            ),
            (
                TRACES,
                vec![PROTOBUF, GZIP],
                zeros.clone(),
                413,
                "decompressed_bytes_max",
            ),
            (
                METRICS,
                vec![JSON, GZIP],
                zeros,
                413,
                "decompressed_bytes_max",
            ),
            (WRITE, vec![PROTOBUF], large.clone(), 413, "body_bytes_max"),
            (PUSH, vec![JSON], large.clone(), 413, "body_bytes_max"),
            (LOGS, vec![JSON], large, 413, "body_bytes_max"),
            (PUSH, vec![JSON], text(&deep), 400, "1:"),
            (METRICS, vec![JSON], text(&deep), 400, "1:"),
            (TRACES, vec![JSON], text(&nested), 400, "1:"),
        ],
    );
}

#[test]
fn foreign_content_types_are_415() {
    let obs = Obs::start();
    let xml = ("content-type", "application/xml");
    let lz4 = ("content-encoding", "lz4");
    let v3 = (
        "content-type",
        "application/x-protobuf;proto=io.prometheus.write.v3.Request",
    );
    check(
        &obs,
        vec![
            (
                WRITE,
                vec![xml],
                text("<a/>"),
                415,
                "application/x-protobuf",
            ),
            (WRITE, vec![v3], text(""), 415, "prometheus.WriteRequest"),
            (WRITE, vec![PROTOBUF, lz4], text(""), 415, "snappy"),
            (PUSH, vec![xml], text("<a/>"), 415, "application/json"),
            (PUSH, vec![JSON, lz4], text("{}"), 415, "lz4"),
            (TRACES, vec![xml], text("<a/>"), 415, "application/json"),
            (TRACES, vec![JSON, lz4], text("{}"), 415, "lz4"),
        ],
    );
    assert_eq!(obs.get(WRITE, &[]).status, 405);
    let missing = obs.get("/api/v1/nothing", &[]);
    assert_eq!(
        (missing.status, missing.text().as_str()),
        (404, "404 page not found\n")
    );
}

#[test]
fn what_cannot_be_kept_of_otlp_is_counted() {
    let obs = Obs::start();
    let time = now().to_string();
    let span = |trace: &str| {
        json!({"traceId": trace, "spanId": "00000000000000a1", "name": "x",
               "startTimeUnixNano": time, "endTimeUnixNano": time})
    };
    let spans = [span("0123456789abcdef0123456789abcdef"), span("")];
    let body = json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]});
    let answer = obs
        .post(TRACES, &[JSON], body.to_string().into_bytes())
        .json();
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], "1", "{answer}");
    assert_ne!(answer["partialSuccess"]["errorMessage"], "", "{answer}");
}

#[test]
fn bad_queries_name_line_and_column() {
    let obs = Obs::start();
    let deep = |open: &str, close: &str, times: usize| {
        format!("{}1{}", open.repeat(times), close.repeat(times))
    };
    let promql = [
        ("sum(", "1:5"),
        ("up{job=\"a\"", "1:11"),
        ("up and\n  ) up", "2:4"),
        ("rate(up)", "1:"),
        ("nofunction(up)", "1:1"),
        ("up{job=~\"(\"}", "1:"),
        ("1 +", "1:4"),
        ("up offset 5q", "1:"),
        ("\"open", "1:"),
        (&deep("(", ")", 3000), "1:"),
        (&format!("{}1", "-".repeat(20_000)), "1:"),
        ("{}", "1:1"),
    ];
    for (query, place) in promql {
        let answer = obs.get("/api/v1/query", &[("query", query)]);
        let what: String = query.chars().take(40).collect();
        refused(&what, &answer, 400, place);
        let body: Value = serde_json::from_slice(&answer.body).expect("Prometheus' envelope");
        assert_eq!(
            (&body["status"], &body["errorType"]),
            (&json!("error"), &json!("bad_data"))
        );
    }
    let logql = [
        ("{app=\"a\"", "line 1, col 9:"),
        ("{app=\"a\"} |", "line 1, col 12:"),
        ("{app=\"a\"}\n| nothing", "line 2, col 10:"),
        ("{app=\"a\"} |~ \"(\"", "stage '|~ \"(\"'"),
        ("rate({app=\"a\"})", "line 1, col 15:"),
        ("{}", "queries require at least one"),
        (&deep("(", ")", 3000), "line 1, col "),
    ];
    for (query, place) in logql {
        let answer = obs.get("/loki/api/v1/query_range", &[("query", query)]);
        let what: String = query.chars().take(40).collect();
        refused(&what, &answer, 400, place);
    }
    let traceql = [
        ("{ status = }", "line 1, col 12"),
        ("{ duration > 5 apples }", "line 1, col"),
        ("{ .a = 1", "line 1, col 9"),
        ("status = error", "line 1, col 1"),
        (&format!("{{ {} }}", deep("(", ")", 3000)), "line 1, col"),
    ];
    for (query, place) in traceql {
        let answer = obs.get("/tempo/api/search", &[("q", query)]);
        let what: String = query.chars().take(40).collect();
        refused(&what, &answer, 400, place);
    }
    let long = format!("up{{a=\"{}\"}}", "x".repeat(200 << 10));
    let answer = obs.post_form("/api/v1/query", &[("query", &long)]);
    refused("a long query", &answer, 400, "query_text_bytes_max");
    healthy(&obs);
}

#[test]
fn bad_parameters_are_named() {
    let obs = Obs::start();
    let (start, end) = ("1700000000", "1700086400");
    let range = |step| {
        [
            ("query", "up"),
            ("start", start),
            ("end", end),
            ("step", step),
        ]
    };
    let check = |path: &str, params: &[(&str, &str)], part: &str| {
        refused(
            &format!("{path} {params:?}"),
            &obs.get(path, params),
            400,
            part,
        );
    };
    check("/api/v1/query", &[], "query");
    check(
        "/api/v1/query",
        &[("query", "up"), ("time", "soon")],
        "time",
    );
    check(
        "/api/v1/query",
        &[("query", "up"), ("timeout", "fast")],
        "timeout",
    );
    check("/api/v1/query_range", &[("query", "up")], "start");
    check("/api/v1/query_range", &range("1m")[..3], "step");
    check("/api/v1/query_range", &range("0"), "step");
    check("/api/v1/query_range", &range("often"), "step");
    check("/api/v1/query_range", &range("1"), "11,000");
    let backwards = [
        ("query", "up"),
        ("start", end),
        ("end", start),
        ("step", "60"),
    ];
    check(
        "/api/v1/query_range",
        &backwards,
        "end timestamp must not be before start time",
    );
    check("/api/v1/series", &[], "match[]");
    check("/api/v1/series", &[("match[]", "{")], "match[]");
    check("/api/v1/labels", &[("limit", "-1")], "limit");
    check("/loki/api/v1/query_range", &[], "query");
    check(
        "/loki/api/v1/query_range",
        &[("query", "{a=\"b\"}"), ("direction", "up")],
        "direction",
    );
    check("/loki/api/v1/query", &[("query", "{a=\"b\"}")], "instant");
    check("/tempo/api/traces/nothex", &[], "hexadecimal");
    check(
        &format!("/tempo/api/traces/{}", "a".repeat(33)),
        &[],
        "hexadecimal",
    );
    check("/tempo/api/search", &[("q", "{}"), ("start", "x")], "start");
    healthy(&obs);
}

#[test]
fn limits_of_queries_are_named() {
    let obs = Obs::with_config(CONFIG);
    let start = now() - 30 * MINUTE;
    let samples = (0..1500).map(|i| (start + i * SECOND, i as f64));
    let batch = obs_model::MetricBatch {
        series: vec![series(&[("__name__", "many")], samples)],
        metadata: Vec::new(),
        ..Default::default()
    };
    assert_eq!(
        obs.post(WRITE, &[PROTOBUF], remote_write_body(&batch))
            .status,
        204
    );
    let answer = obs.get("/api/v1/query", &[("query", "count_over_time(many[1h])")]);
    refused("too many samples", &answer, 422, "query_samples_max");
    let sides = [("a", "1"), ("a", "2")].map(|(name, value)| {
        series(
            &[("__name__", "side"), (name, value), ("same", "x")],
            [(now(), 1.0)],
        )
    });
    let batch = obs_model::MetricBatch {
        series: sides.to_vec(),
        metadata: Vec::new(),
        ..Default::default()
    };
    assert_eq!(
        obs.post(WRITE, &[PROTOBUF], remote_write_body(&batch))
            .status,
        204
    );
    let answer = obs.get("/api/v1/query", &[("query", "side + on (same) side")]);
    refused("many to many", &answer, 422, "many-to-many");
    healthy(&obs);
}

#[test]
fn lines_and_labels_over_their_limits_are_refused() {
    let config =
        "obs: {limits: {labels_max: 5, label_value_bytes_max: 100, line_bytes_max: 200}}\n";
    let obs = Obs::with_config(config);
    let time = now();
    let long = "x".repeat(300);
    let names = ["a", "b", "c", "d", "e", "f"];
    let many: Vec<(&str, &str)> = names.iter().map(|name| (*name, "1")).collect();
    let named = [&[("__name__", "x")], many.as_slice()].concat();
    let body = |stream: &[(&str, &str)], line: &str| loki_json_body(stream, &[(time, line, &[])]);
    let write = |pairs: &[(&str, &str)]| {
        let one = series(pairs, [(time, 1.0)]);
        remote_write_body(&obs_model::MetricBatch {
            series: vec![one],
            metadata: Vec::new(),
            ..Default::default()
        })
    };
    check(
        &obs,
        vec![
            (
                PUSH,
                vec![JSON],
                body(&[("app", "a")], &long),
                400,
                "line_bytes_max",
            ),
            (
                PUSH,
                vec![JSON],
                body(&[("app", &long)], "x"),
                400,
                "label_value_bytes_max",
            ),
            (PUSH, vec![JSON], body(&many, "x"), 400, "labels_max"),
            (
                WRITE,
                vec![PROTOBUF],
                write(&[("__name__", "x"), ("a", &long)]),
                400,
                "label_value_bytes_max",
            ),
            (WRITE, vec![PROTOBUF], write(&named), 400, "labels_max"),
        ],
    );
}

#[test]
fn a_full_queue_says_when_to_come_back() {
    let obs = Obs::with_config("obs: {limits: {query_queue_max: 0, write_queue_max: 1}}\n");
    let answer = obs.get("/api/v1/query", &[("query", "1")]);
    refused("no room for queries", &answer, 429, "query_queue_max");
    assert_eq!(answer.retry_after.as_deref(), Some("1"));
    // More writers at one time than may wait: some are told to come back, none is told wrongly.
    let refusal = Mutex::new(None);
    std::thread::scope(|scope| {
        for writer in 0..16 {
            let (obs, refusal) = (&obs, &refusal);
            scope.spawn(move || {
                until("a full queue", || {
                    let body = loki_json_body(&[("app", "a")], &[(now(), "line", &[])]);
                    let answer = obs.post(PUSH, &[JSON], body);
                    let mut told = refusal.lock().expect("no thread panicked");
                    if answer.status != 204 {
                        *told = Some(answer);
                    }
                    told.is_some().then_some(writer)
                });
            });
        }
    });
    let answer = refusal
        .into_inner()
        .expect("no thread panicked")
        .expect("it was full");
    refused("no room for lines", &answer, 429, "");
    assert!(answer.retry_after.is_some(), "{}", answer.text());
}

/// Exit code and standard error of `obs check config` over a file with this text.
fn check_config(text: &str) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("obs.yml");
    std::fs::write(&file, text).expect("writable");
    let output = command(&["check", "config", &file.display().to_string()]).output();
    let output = output.expect("obs runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn configurations_are_checked_with_line_and_column() {
    let check = |text: &str, place: &str, part: &str| {
        let (code, _, told) = check_config(text);
        assert_eq!(code, Some(1), "{text:?}: {told}");
        assert!(
            told.contains(place) && told.contains(part),
            "{text:?}: {place} {part}: {told}"
        );
    };
    check("globel: {}\n", "1:1", "globel");
    check(
        "global:\n  scrape_intervall: 5s\n",
        "2:3",
        "scrape_intervall",
    );
    check("obs:\n  limits:\n    lables_max: 1\n", "3:5", "lables_max");
    check("obs:\n  storage: {retention: soon}\n", "2:", "soon");
    check("obs:\n  nothing: 1\n", "2:3", "nothing");
    check(
        "scrape_configs:\n- job_name: a\n  static_config: []\n",
        "3:3",
        "static_config",
    );
    check(
        "scrape_configs:\n- job_name: a\n- job_name: a\n",
        "3:3",
        "multiple scrape configs",
    );
    check(
        "scrape_configs:\n- job_name: a\n  scrape_timeout: 5m\n",
        "2:3",
        "timeout",
    );
    check("global: [1\n", "1:", "sequence");
    check(
        "obs:\n  alertmanager: {route: {receiver: nobody}, receivers: []}\n",
        "obs.alertmanager",
        "nobody",
    );
    let (code, told, notices) = check_config(
        "global: {scrape_interval: 15s}\nruntime: {gogc: 50}\nscrape_configs:\n\
         - job_name: a\n  static_configs: [{targets: ['127.0.0.1:1']}]\n",
    );
    assert_eq!(code, Some(0), "{notices}");
    assert!(told.contains("valid, 1 scrape job"), "{told}");
    assert!(notices.contains("runtime"), "{notices}");
}

#[test]
fn a_server_does_not_start_with_a_bad_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("obs.yml");
    std::fs::write(&file, "obs:\n  nothing: 1\n").expect("writable");
    let (file, data) = (file.display().to_string(), folder.path().join("data"));
    let data = data.display().to_string();
    let output = command(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data",
        &data,
        "--config",
        &file,
    ])
    .output()
    .expect("obs runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("2:3") && told.contains("nothing"), "{told}");
    assert!(!std::path::Path::new(&data).exists(), "nothing was made");
}

#[test]
fn a_second_server_leaves_the_first_one_alone() {
    let obs = Obs::start();
    let addresses = obs.path("data/addresses.json");
    let before = std::fs::read_to_string(&addresses).expect("it tells its addresses");
    let data = obs.path("data").display().to_string();
    let output = command(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--otlp-grpc-listen",
        "127.0.0.1:0",
        "--otlp-http-listen",
        "127.0.0.1:0",
        "--data",
        &data,
    ])
    .output()
    .expect("obs runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("in use by another process"), "{told}");
    let after = std::fs::read_to_string(&addresses).expect("it is still there");
    assert_eq!(before, after);
}
