//! The commands against a live server: what they print, and how they end.

use std::io::{BufRead, BufReader};
use std::process::{Output, Stdio};

use obs_model::MetricBatch;
use obs_model::metrics::MetricKind;
use serde_json::{Value, json};

use crate::process::{Obs, command, now, until};
use crate::send::{MINUTE, Otlp, SECOND, loki_json, metadata, otlp, remote_write, series};

const TRACE: &str = "0123456789abcdef0123456789abcdef";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Standard output of a command that succeeded.
fn out(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{:?}: {}",
        output.status,
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// A server that knows a little of each signal.
fn server() -> Obs {
    let obs = Obs::start();
    let begin = now() / MINUTE * MINUTE - 20 * MINUTE;
    let rising = |slope: f64| {
        (0..80)
            .map(move |i| (begin + i * 15 * SECOND, slope * i as f64))
            .filter(|s| s.0 <= now())
    };
    let name = ("__name__", "requests_total");
    let batch = MetricBatch {
        series: vec![
            series(&[name, ("code", "200")], rising(2.0)),
            series(&[name, ("code", "500")], rising(1.0)),
        ],
        metadata: vec![metadata("requests_total", MetricKind::Counter, "Requests.")],
        ..Default::default()
    };
    assert_eq!(remote_write(&obs, &batch).status, 204);
    let time = now() - MINUTE;
    let lines = [
        (time, "level=info all is well", &[][..]),
        (time + 1, "level=error \u{1b}[2J", &[][..]),
    ];
    assert_eq!(loki_json(&obs, &[("app", "shop")], &lines).status, 204);
    let span = |id: &str, parent: &str, name: &str, from: i64, to: i64| {
        json!({
            "traceId": TRACE, "spanId": id, "parentSpanId": parent, "name": name,
            "startTimeUnixNano": (time + from * 1_000_000).to_string(),
            "endTimeUnixNano": (time + to * 1_000_000).to_string(),
        })
    };
    let spans = [
        span("00000000000000a1", "", "GET /", 0, 200),
        span("00000000000000a2", "00000000000000a1", "SELECT", 50, 150),
    ];
    let body = json!({"resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
        "scopeSpans": [{"spans": spans}],
    }]});
    assert_eq!(
        otlp(&obs, "traces", Otlp::Json, body.to_string().into_bytes()).status,
        200
    );
    obs
}

#[test]
fn query_prints_tables_json_csv_and_graphs() {
    let obs = server();
    let query = |arguments: &[&str]| out(&obs.client(&[&["query"], arguments].concat()));
    let table = query(&["requests_total"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        ["__name__", "code", "time", "value"]
    );
    assert_eq!(lines.len(), 3, "{table}");
    let csv = query(&["sum(requests_total) > 0", "-o", "csv"]);
    assert_eq!(csv.lines().next(), Some("time,value"), "{csv}");
    let json: Value =
        serde_json::from_str(&query(&["requests_total", "-o", "json"])).expect("JSON");
    assert_eq!(json["resultType"], "vector", "{json}");
    let range = query(&[
        "sum(rate(requests_total[1m]))",
        "--since",
        "10m",
        "--step",
        "1m",
        "-o",
        "csv",
    ]);
    assert!(range.lines().count() >= 10, "{range}");
    let graph = query(&[
        "sum by (code) (rate(requests_total[1m]))",
        "--since",
        "10m",
        "--graph",
    ]);
    assert!(
        graph
            .chars()
            .any(|c| ('\u{2801}'..='\u{28ff}').contains(&c)),
        "{graph}"
    );
    assert!(
        graph.contains("code=\"500\"") && !graph.contains('\u{1b}'),
        "{graph}"
    );
    let lines = query(&["--lang", "logql", "{app=\"shop\"} |= \"well\""]);
    assert!(lines.ends_with("all is well\n"), "{lines}");
    let counts = query(&[
        "--lang",
        "logql",
        "sum(count_over_time({app=\"shop\"}[10m]))",
        "-o",
        "csv",
    ]);
    assert!(counts.ends_with(",2\n"), "{counts}");
    let traces = query(&["--lang", "traceql", "{ name = \"SELECT\" }"]);
    assert!(traces.contains(TRACE), "{traces}");
}

#[test]
fn logs_prints_lines_and_follows() {
    let obs = server();
    let logs = |arguments: &[&str]| out(&obs.client(&[&["logs"], arguments].concat()));
    let table = logs(&["{app=\"shop\"}"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 2, "{table}");
    assert!(
        lines[0].contains("info") && lines[0].ends_with("all is well"),
        "{table}"
    );
    assert!(
        !table.contains('\u{1b}'),
        "the terminal obeys a line: {table:?}"
    );
    assert_eq!(
        logs(&["{app=\"shop\"}", "-o", "raw", "--limit", "1"]),
        "level=error \u{1b}[2J\n"
    );
    let line = logs(&["{app=\"shop\"} |= \"well\"", "-o", "json"]);
    let line: Value = serde_json::from_str(&line).expect("one JSON object");
    assert_eq!(
        (&line["line"], &line["labels"]["app"]),
        (&json!("level=info all is well"), &json!("shop"))
    );
    let mut follow = command(&[
        "logs",
        "{app=\"live\"}",
        "--follow",
        "-o",
        "raw",
        "--server",
        &obs.url(),
    ]);
    let mut child = follow.stdout(Stdio::piped()).spawn().expect("obs runs");
    let mut reader = BufReader::new(child.stdout.take().expect("it is piped"));
    assert_eq!(
        loki_json(&obs, &[("app", "live")], &[(now(), "now", &[])]).status,
        204
    );
    let mut line = String::new();
    reader.read_line(&mut line).expect("it goes on");
    assert_eq!(line, "now\n");
    // Later lines come once, and earlier ones not again.
    assert_eq!(
        loki_json(&obs, &[("app", "live")], &[(now(), "later", &[])]).status,
        204
    );
    line.clear();
    reader.read_line(&mut line).expect("it goes on");
    assert_eq!(line, "later\n");
    child.kill().expect("it is ours");
    let ended = until("the end of obs logs", || {
        child.try_wait().expect("it is ours")
    });
    assert!(!ended.success());
}

#[test]
fn lines_around_counted_and_exported() {
    let obs = Obs::start();
    let time = now() - MINUTE;
    // Lines of one time keep their order of arrival.
    let lines: Vec<(i64, String)> = (0..9)
        .map(|n| (time + n / 3, format!("line {n}")))
        .collect();
    let lines: Vec<_> = lines
        .iter()
        .map(|(t, l)| (*t, l.as_str(), &[][..]))
        .collect();
    assert_eq!(loki_json(&obs, &[("app", "shop")], &lines).status, 204);
    let other = [(time, "line of another", &[][..])];
    assert_eq!(
        loki_json(&obs, &[("app", "shop"), ("pod", "b")], &other).status,
        204
    );
    let logs = |more: &[&str]| out(&obs.client(&[&["logs"], more].concat()));
    let around = [
        "{app=\"shop\"} |~ `line [18]`",
        "--around",
        "2",
        "-o",
        "raw",
    ];
    assert_eq!(
        logs(&around),
        "line 0\nline 1\nline 2\nline 3\n--\nline 6\nline 7\nline 8\n"
    );
    let marked = logs(&["{app=\"shop\"} |= `line 4`", "-C", "1"]);
    let marks: Vec<bool> = marked.lines().map(|line| line.starts_with('>')).collect();
    assert_eq!(marks, [false, true, false], "{marked}");
    let histogram = logs(&["{app=\"shop\"}", "--histogram"]);
    assert!(histogram.contains("10 lines in "), "{histogram}");
    let query = "{app=\"shop\", pod=\"\"}";
    let exported = out(&obs.client(&["export", "logs", query, "-o", "raw"]));
    let expect: Vec<String> = (0..9).map(|n| format!("line {n}\n")).collect();
    assert_eq!(exported, expect.concat());
    let file = obs.path("export.jsonl");
    let file = file.to_str().expect("text");
    out(&obs.client(&["export", "logs", query, "--file", file]));
    let exported = std::fs::read_to_string(file).expect("it is written");
    let streams: Vec<Value> = exported
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(streams.len(), 9);
    // What was exported can be pushed.
    let body = json!({"streams": streams}).to_string().into_bytes();
    let json = [
        ("content-type", "application/json"),
        ("x-scope-orgid", "copy"),
    ];
    assert_eq!(obs.post("/loki/api/v1/push", &json, body).status, 204);
    let copied = out(&obs.client(&["export", "logs", query, "-o", "raw", "--tenant", "copy"]));
    assert_eq!(copied, expect.concat());
}

#[test]
fn traces_and_the_waterfall() {
    let obs = server();
    let found = out(&obs.client(&["traces", "{ resource.service.name = \"shop\" }"]));
    assert!(
        found.contains(TRACE) && found.contains("GET /") && found.contains("200ms"),
        "{found}"
    );
    let csv = out(&obs.client(&["traces", "-o", "csv"]));
    assert_eq!(
        csv.lines().next(),
        Some("trace,started,duration ms,service,root,matched")
    );
    let drawn = out(&obs.client(&["trace", TRACE]));
    let lines: Vec<&str> = drawn.lines().collect();
    assert!(
        lines[0].contains("2 spans  1 services  0 errors"),
        "{drawn}"
    );
    assert!(
        lines[2].starts_with("shop GET /") && lines[2].contains('█'),
        "{drawn}"
    );
    assert!(
        lines[3].starts_with("  shop SELECT") && lines[3].contains("100ms"),
        "{drawn}"
    );
    let json: Value =
        serde_json::from_str(&out(&obs.client(&["trace", TRACE, "--json"]))).expect("JSON");
    assert_eq!(
        json["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["traceId"], TRACE,
        "{json}"
    );
}

#[test]
fn an_empty_answer_is_told_beside_the_output() {
    let obs = server();
    let check = |arguments: &[&str], told: &str| {
        let output = obs.client(arguments);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(text(&output.stderr), told);
    };
    let none = "no series match; `obs labels __name__` lists metrics, `obs explain` shows which part \
                is empty\n";
    check(&["query", "nothing"], none);
    check(&["query", "nothing", "-o", "json"], none);
    check(&["query", "requests_total"], "");
    check(
        &["logs", r#"{app="nobody"}"#],
        "no lines match in this time\n",
    );
    // What all lines have is told beside them.
    let output = obs.client(&["logs", r#"{app="shop"}"#]);
    let told = text(&output.stderr);
    assert!(
        told.starts_with("Common labels: {app=\"shop\"") && told.lines().count() == 1,
        "{told}"
    );
    check(
        &["traces", "{ name = `nobody` }"],
        "no traces match in this time\n",
    );
    check(&["traces"], "");
}

#[test]
fn a_machine_without_certificates_speaks_http() {
    let without = |command: &mut std::process::Command| -> Output {
        command
            .env("SSL_CERT_FILE", "/dev/null")
            .env("SSL_CERT_DIR", "/nowhere")
            .output()
            .expect("obs runs")
    };
    let obs = server();
    let url = obs.url();
    let answer = without(&mut command(&["query", "requests_total", "--server", &url]));
    assert!(out(&answer).contains("requests_total"));
    // The exporters of own telemetry are set up before the data directory is opened.
    let busy = obs.path("data").display().to_string();
    let config = obs.path("own.yml");
    std::fs::write(&config, "obs: {telemetry: {logs: true, traces: true}}\n").expect("written");
    let config = config.display().to_string();
    let mut arguments = vec![
        "serve",
        "--data",
        busy.as_str(),
        "--config",
        config.as_str(),
    ];
    for flag in ["--listen", "--otlp-grpc-listen", "--otlp-http-listen"] {
        arguments.extend([flag, "127.0.0.1:0"]);
    }
    let refused = text(&without(&mut command(&arguments)).stderr);
    assert!(refused.contains("in use by another process"), "{refused}");
}

#[test]
fn failures_are_1_and_misuse_is_2() {
    let obs = server();
    let ends = |output: &Output, code: i32, part: &str| {
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(part), "{part:?} is not in {told:?}");
        assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
    };
    ends(&obs.client(&["query", "sum("]), 1, "1:5");
    ends(&obs.client(&["logs", "{app="]), 1, "line 1, col 6:");
    ends(&obs.client(&["traces", "{"]), 1, "line 1, col 2:");
    ends(&obs.client(&["trace", "xyz"]), 1, "hexadecimal");
    ends(&obs.client(&["trace", "99"]), 1, "not found");
    for (flag, value) in [("--since", "soon"), ("--from", "someday"), ("--step", "1")] {
        ends(&obs.client(&["query", "up", flag, value]), 2, flag);
    }
    ends(&obs.client(&["query", "up", "--nothing"]), 2, "--nothing");
    ends(
        &obs.client(&["query", "up", "--since", "1h", "--from", "1"]),
        2,
        "--since",
    );
    let run = |arguments: &[&str]| command(arguments).output().expect("obs runs");
    ends(&run(&[]), 2, "Usage");
    ends(
        &run(&["query", "up", "--server", "http://127.0.0.1:1"]),
        1,
        "no connection to http://127.0.0.1:1: ",
    );
    for server in ["127.0.0.1:9090", "nonsense", "ftp://127.0.0.1"] {
        let wrong = run(&["query", "up", "--server", server]);
        ends(&wrong, 2, "expected a URL such as http://127.0.0.1:9090");
    }
    let wrong = run(&["serve", "--listen", "9090", "--data", "/nowhere/data"]);
    ends(&wrong, 2, "such as 127.0.0.1:9090");
    ends(
        &run(&["check", "config", "/nowhere/obs.yml"]),
        1,
        "/nowhere/obs.yml",
    );
    ends(
        &run(&["serve", "--retention", "soon", "--data", "/nowhere/data"]),
        2,
        "--retention",
    );
}

#[test]
fn commands_without_a_server() {
    let run = |arguments: &[&str]| out(&command(arguments).output().expect("obs runs"));
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]);
        assert!(script.contains("OBS_COMPLETE"), "{shell}");
    }
    assert!(run(&["--help"]).contains("serve"));
    assert!(run(&["--version"]).starts_with("obs "));
    let text = run(&["node-exporter", "--once"]);
    for name in [
        "node_cpu_seconds_total{cpu=\"0\",mode=\"idle\"}",
        "node_memory_MemTotal_bytes",
        "node_load1 ",
        "# TYPE node_uname_info gauge",
    ] {
        assert!(text.contains(name), "{name} is missing");
    }
    let few = run(&[
        "node-exporter",
        "--once",
        "--collector.disable-defaults",
        "--collector.loadavg",
        "--no-collector.wifi",
    ]);
    assert!(few.contains("node_load1 ") && !few.contains("node_cpu_seconds_total"));
    let refused = command(&["node-exporter", "--once", "--collector.wifi"]).output();
    let refused = refused.expect("obs runs");
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(told.contains("collector wifi is not part of obs"), "{told}");
    let options = obs_model::limits::Limits::default();
    let read = obs_wire::prometheus::text::decode(text.as_bytes(), &options);
    assert!(read.is_ok(), "{:?}", read.err());
}
