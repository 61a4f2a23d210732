//! Every way into an agent leads to its server, and every kind of destination takes what it should.

use std::io::Write;
use std::net::{TcpStream, UdpSocket};

use serde_json::json;

use super::{config, lines};
use crate::process::{Obs, now, until};
use crate::send::{Otlp, loki_json, otlp, remote_write, series};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn spans(name: &str) -> Vec<u8> {
    let start = now();
    let span = json!({"traceId": TRACE, "spanId": "b7ad6b7169203331", "name": name, "kind": 1,
        "startTimeUnixNano": start.to_string(), "endTimeUnixNano": (start + 1_000_000).to_string()});
    let resource =
        json!({"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]});
    let body =
        json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]});
    body.to_string().into_bytes()
}

fn otlp_logs(text: &str) -> Vec<u8> {
    let record = json!({"timeUnixNano": now().to_string(), "body": {"stringValue": text}});
    let resource =
        json!({"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]});
    let body =
        json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [record]}]}]});
    body.to_string().into_bytes()
}

fn otlp_gauge(name: &str) -> Vec<u8> {
    let point = json!({"timeUnixNano": now().to_string(), "asDouble": 5.0});
    let metric = json!({"name": name, "gauge": {"dataPoints": [point]}});
    let body =
        json!({"resourceMetrics": [{"resource": {}, "scopeMetrics": [{"metrics": [metric]}]}]});
    body.to_string().into_bytes()
}

/// Waits until a query has a value.
fn sample(server: &Obs, query: &str) -> String {
    until(query, || {
        let found = server.get("/api/v1/query", &[("query", query)]).json();
        let value = found["data"]["result"][0]["value"][1].as_str();
        value.map(str::to_owned)
    })
}

fn trace(server: &Obs) {
    until("the trace", || {
        let answer = server.get(&format!("/jaeger/api/traces/{TRACE}"), &[]);
        (answer.status == 200 && answer.text().contains("b7ad6b7169203331")).then_some(())
    });
}

fn taken(told: &crate::process::Answer) {
    assert!(
        (200..300).contains(&told.status),
        "{} {}",
        told.status,
        told.text()
    );
}

#[test]
fn every_way_in_reaches_the_server() {
    let server = Obs::start();
    let more = "statsd: {udp: '127.0.0.1:0', tcp: '127.0.0.1:0', interval: 1s}\n    graphite: {tcp: \
                '127.0.0.1:0'}\n    pushgateway: {listen: '127.0.0.1:0'}";
    let config = format!(
        "global: {{scrape_interval: 1s}}\n{}  node_exporter: {{listen: '127.0.0.1:0'}}\n  logs: \
         {{syslog: {{tcp: '127.0.0.1:0'}}}}\n  traces: {{zipkin: {{listen: '127.0.0.1:0'}}}}\n",
        config(&server, more)
    );
    let agent = Obs::agent(&config);
    taken(&otlp(&agent, "metrics", Otlp::Json, otlp_gauge("way_otlp")));
    taken(&otlp(&agent, "logs", Otlp::JsonGzip, otlp_logs("way otlp")));
    taken(&otlp(&agent, "traces", Otlp::Json, spans("way")));
    let batch = obs_model::MetricBatch {
        series: vec![series(&[("__name__", "way_write")], [(now(), 4.0)])],
        ..obs_model::MetricBatch::default()
    };
    taken(&remote_write(&agent, &batch));
    taken(&loki_json(
        &agent,
        &[("app", "way")],
        &[(now(), "way loki", &[])],
    ));
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    udp.send_to(b"way_statsd:7|g", agent.address("statsd_udp"))
        .expect("sent");
    let send = |listener: &str, text: String| {
        let mut stream = TcpStream::connect(agent.address(listener)).expect("connected");
        stream.write_all(text.as_bytes()).expect("sent");
    };
    send("statsd_tcp", "way_statsd_tcp:2|c\n".to_owned());
    send(
        "graphite_tcp",
        format!("way.graphite 8 {}\n", now() / 1_000_000_000),
    );
    send(
        "syslog_tcp",
        format!("<14>1 {} host way - - - way syslog\n", super::time(0)),
    );
    let influx = b"way,a=b influx=9".to_vec();
    taken(&agent.post("/write", &[], influx));
    let pushed = b"# TYPE way_pushed gauge\nway_pushed 3\n".to_vec();
    taken(&agent.post("/metrics/job/batch", &[], pushed.clone()));
    let told = agent.try_post("pushgateway", "/metrics/job/other", &[], pushed);
    taken(&told.expect("answered"));
    for (query, value) in [
        ("way_otlp", "5"),
        ("way_write", "4"),
        ("way_statsd", "7"),
        ("way_statsd_tcp", "2"),
        ("way_graphite", "8"),
        ("way_influx", "9"),
        ("way_pushed{job=\"batch\"}", "3"),
        ("way_pushed{job=\"other\"}", "3"),
        ("max_over_time(up{job=\"obs-agent\"}[1h])", "1"),
        ("max_over_time(up{job=\"node\"}[1h])", "1"),
        ("count(count_over_time(node_load1{job=\"node\"}[1h]))", "1"),
    ] {
        // What is scraped may be down at first, where a scrape had not enough time.
        until(query, || (sample(&server, query) == value).then_some(()));
    }
    for (query, line) in [
        ("{service_name=\"shop\"}", "way otlp"),
        ("{app=\"way\"} |= \"loki\"", "way loki"),
    ] {
        until(query, || (lines(&server, query) == [line]).then_some(()));
    }
    until("syslog", || {
        let found = lines(&server, "{job=~\".+\"} |= \"way syslog\"");
        let others = lines(&server, "{service_name=~\".+\"} |= \"way syslog\"");
        (!found.is_empty() || !others.is_empty()).then_some(())
    });
    trace(&server);
    scrapes_are_told(&agent);
}

/// The agent tells of its targets as the server does.
fn scrapes_are_told(agent: &Obs) {
    let up = Some("up");
    until("all targets are up", || {
        let told = agent.get("/api/v1/targets", &[]).json();
        let targets = told["data"]["activeTargets"].as_array();
        let mut pools: Vec<_> = targets
            .into_iter()
            .flatten()
            .map(|target| (target["scrapePool"].as_str(), target["health"].as_str()))
            .collect();
        pools.sort();
        (pools == [(Some("node"), up), (Some("obs-agent"), up)]).then_some(())
    });
}

#[test]
fn every_kind_of_destination_takes_what_it_should() {
    let mut server = Obs::start();
    let (url, otlp_url) = (server.url(), server.address("otlp_http"));
    let write = |tenant: &str, more: &str| {
        format!(
            "    - remote_write: {{url: '{url}/api/v1/write', name: {tenant}, headers: \
             {{X-Scope-OrgID: {tenant}}}{more}}}\n"
        )
    };
    let mut config = "obs:\n  collector:\n    destinations:\n".to_owned();
    config.push_str(&format!(
        "    - obs: {{url: '{url}', tenant: obs, name: a}}\n"
    ));
    config.push_str(&format!(
        "    - loki: {{url: '{url}', tenant: loki, name: b}}\n"
    ));
    config.push_str(&format!(
        "    - otlp: {{url: 'http://{otlp_url}', tenant: otlp, name: c}}\n"
    ));
    config.push_str(&write("one", ""));
    let two = ", protobuf_message: io.prometheus.write.v2.Request";
    config.push_str(&write("two", two));
    let agent = Obs::agent(&config);
    let batch = obs_model::MetricBatch {
        series: vec![series(
            &[("__name__", "way_total"), ("a", "b")],
            [(now(), 4.0)],
        )],
        ..obs_model::MetricBatch::default()
    };
    taken(&remote_write(&agent, &batch));
    taken(&loki_json(
        &agent,
        &[("app", "way")],
        &[(now(), "way loki", &[("k", "v")])],
    ));
    taken(&otlp(&agent, "traces", Otlp::Json, spans("way")));
    for (tenant, metrics, logs, traces) in [
        ("obs", true, true, true),
        ("loki", false, true, false),
        ("otlp", true, true, true),
        ("one", true, false, false),
        ("two", true, false, false),
    ] {
        server.set_tenant(Some(tenant));
        if metrics {
            assert_eq!(sample(&server, "way_total{a=\"b\"}"), "4", "{tenant}");
        }
        if logs {
            until(tenant, || {
                let found = lines(&server, "{app=\"way\"} | k=\"v\"");
                let other = lines(&server, "{service_name=~\".+\"} | k=\"v\"");
                (found == ["way loki"] || other == ["way loki"]).then_some(())
            });
        }
        if traces {
            trace(&server);
        }
    }
}
