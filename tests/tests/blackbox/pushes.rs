//! Metrics that are pushed in other ways: gateway, StatsD, Graphite, Influx.

use std::io::Write as _;
use std::net::{TcpStream, UdpSocket};

use super::scraping::{query, values};
use super::{list, vector};
use crate::process::{Answer, Obs, Stop, until};

fn await_values(obs: &Obs, text: &str, expect: &[f64]) {
    until(&format!("{text} to be {expect:?}"), || {
        Some(()).filter(|()| values(&query(obs, text)) == expect)
    });
}

fn to(obs: &Obs, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let url = format!("{}{path}", obs.url());
    Answer::of_method(method, &url, headers, body.as_bytes().to_vec())
}

#[test]
fn pushed_groups_live_through_a_kill_and_end_when_they_are_deleted() {
    let config = "obs: {collector: {pushgateway: {enable_admin_api: true, interval: 200ms}}}";
    let mut obs = Obs::with_config(config);
    let put = |obs: &Obs, path: &str, body: &str| {
        let answer = to(obs, "PUT", path, &[], body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    };
    put(
        &obs,
        "/metrics/job/nightly/instance/i",
        "# TYPE rows counter\nrows 5\n",
    );
    put(&obs, "/metrics/job/other", "rows_left 1\n");
    await_values(&obs, "rows{job=\"nightly\",instance=\"i\"}", &[5.0]);
    await_values(&obs, "push_time_seconds{job=\"nightly\"} > bool 0", &[1.0]);
    obs.restart(Stop::Kill);
    let page = obs.get("/pushgateway/metrics", &[]).text();
    assert!(
        page.contains("rows{instance=\"i\",job=\"nightly\"} 5\n"),
        "{page}"
    );
    let groups = obs.get("/api/v1/metrics", &[]).json();
    assert_eq!(list(&groups["data"]).len(), 2, "{groups}");
    assert_eq!(groups["data"][0]["labels"]["job"], "nightly", "{groups}");
    assert_eq!(groups["data"][0]["last_push_successful"], true, "{groups}");
    assert_eq!(
        to(&obs, "DELETE", "/metrics/job/nightly/instance/i", &[], "").status,
        202
    );
    await_values(&obs, "rows", &[]);
    await_values(&obs, "rows_left", &[1.0]);
    // A page of another site may not wipe it.
    let foreign = [("sec-fetch-site", "cross-site")];
    assert_eq!(
        to(&obs, "PUT", "/api/v1/admin/wipe", &foreign, "").status,
        403
    );
    let foreign = [("host", "rebound.example")];
    assert_eq!(
        to(&obs, "PUT", "/api/v1/admin/wipe", &foreign, "").status,
        403
    );
    await_values(&obs, "rows_left", &[1.0]);
    assert_eq!(to(&obs, "PUT", "/api/v1/admin/wipe", &[], "").status, 202);
    await_values(&obs, "rows_left", &[]);
    assert_eq!(
        obs.get("/api/v1/metrics", &[]).json()["data"],
        serde_json::json!([])
    );
}

#[test]
fn statsd_lines_become_series() {
    let config =
        "obs: {collector: {statsd: {udp: '127.0.0.1:0', tcp: '127.0.0.1:0', interval: 200ms}}}";
    let obs = Obs::with_config(config);
    let mut stream = TcpStream::connect(obs.address("statsd_tcp")).expect("it listens");
    stream
        .write_all(b"app.hits:2|c\napp.hits:3|c|@0.5\napp.load:1.5|g\napp.load:+1|g\nnonsense\napp.took:200|ms\n")
        .expect("sent");
    drop(stream);
    await_values(&obs, "app_hits", &[8.0]);
    await_values(&obs, "app_load", &[2.5]);
    await_values(&obs, "app_took_sum", &[0.2]);
    await_values(&obs, "app_took_count", &[1.0]);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    // Datagrams may be lost: it is sent until it is seen.
    until("the datagram", || {
        let sent = socket.send_to(b"dog.seen:1|g|#zone:a,env:b", obs.address("statsd_udp"));
        sent.expect("sent");
        Some(()).filter(|()| values(&query(&obs, "dog_seen{zone=\"a\",env=\"b\"}")) == [1.0])
    });
    let told = obs.get("/metrics", &[]).text();
    let refused = told.lines().find(|line| {
        line.starts_with("obs_receive_lines_refused_total") && line.contains("statsd")
    });
    assert!(
        refused.is_some_and(|line| line.ends_with(" 1")),
        "{refused:?}"
    );
}

#[test]
fn graphite_lines_become_series() {
    let config = "obs: {collector: {graphite: {tcp: '127.0.0.1:0'}}}";
    let obs = Obs::with_config(config);
    let seconds = crate::process::now() / 1_000_000_000 - 30;
    let mut stream = TcpStream::connect(obs.address("graphite_tcp")).expect("it listens");
    let lines = format!("servers.web-1.load;dc=fra 0.7 {seconds}\nplain.now 3 -1\nbad line\n");
    stream.write_all(lines.as_bytes()).expect("sent");
    drop(stream);
    await_values(&obs, "servers_web_1_load{dc=\"fra\"}", &[0.7]);
    await_values(&obs, "timestamp(servers_web_1_load)", &[seconds as f64]);
    await_values(&obs, "plain_now", &[3.0]);
}

#[test]
fn influx_lines_become_series() {
    let obs = Obs::start();
    let nanos = crate::process::now();
    let body = format!(
        "cpu,host=a\\ b,zone=z usage_idle=97.5,count=3i,up=true,text=\"x\" {nanos}\nmem used=1\n"
    );
    for path in [
        "/write?db=x",
        "/api/v2/write?org=o&bucket=b",
        "/influx/write",
    ] {
        let answer = to(&obs, "POST", path, &[], &body);
        assert_eq!(answer.status, 204, "{path}: {}", answer.text());
    }
    let found = vector(
        &obs.get("/api/v1/query", &[("query", "{__name__=~\"cpu.*\"}")])
            .json(),
    );
    assert_eq!(found.len(), 3, "{found:?}");
    await_values(&obs, "cpu_usage_idle{host=\"a b\",zone=\"z\"}", &[97.5]);
    await_values(&obs, "cpu_up", &[1.0]);
    await_values(&obs, "mem_used", &[1.0]);
    let bad = to(&obs, "POST", "/write", &[], "good v=2\nthis is bad\n");
    assert_eq!(bad.status, 400, "{}", bad.text());
    await_values(&obs, "good_v", &[2.0]);
    assert_eq!(to(&obs, "GET", "/ping", &[], "").status, 204);
    let zipped = {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"packed v=4\n").expect("to memory");
        gzip.finish().expect("to memory")
    };
    let answer = obs.post("/write", &[("content-encoding", "gzip")], zipped);
    assert_eq!(answer.status, 204, "{}", answer.text());
    await_values(&obs, "packed_v", &[4.0]);
}
