//! Log lines by every other way in, out by LogQL.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};

use serde_json::{Value, json};

use super::list;
use crate::process::{DEADLINE, Obs, now, until};
use crate::send::{MINUTE, SECOND};

const CONFIG: &str = "
obs:
  logs:
    syslog: {tcp: '127.0.0.1:0', udp: '127.0.0.1:0', timezone: UTC, tenant: net}
    fluent: {listen: '127.0.0.1:0'}
    gelf: {tcp: '127.0.0.1:0', udp: '127.0.0.1:0'}
    splunk_hec:
      tokens: [secret, {token_file: token.txt, tenant: red}]
";

fn start() -> Obs {
    Obs::with_files(&[("obs.yml", CONFIG), ("token.txt", "other\n")])
}

/// Lines that a query finds, sorted; waits until there are `count`.
fn lines(obs: &Obs, query: &str, count: usize) -> Vec<String> {
    let (start, end) = (
        (now() - 60 * MINUTE).to_string(),
        (now() + MINUTE).to_string(),
    );
    let params = [
        ("query", query),
        ("start", &start),
        ("end", &end),
        ("limit", "1000"),
    ];
    until(query, || {
        let answer = obs.get("/loki/api/v1/query_range", &params).json();
        let mut all = Vec::new();
        for stream in list(&answer["data"]["result"]) {
            for entry in list(&stream["values"]) {
                all.push(entry[1].as_str().expect("a line").to_owned());
            }
        }
        all.sort();
        (all.len() >= count).then_some(all)
    })
}

fn post(obs: &Obs, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    let answer = obs
        .try_post("http", path, headers, body.into())
        .expect("an answer");
    let text = answer.text();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    (answer.status, body)
}

fn connect(obs: &Obs, listener: &str) -> TcpStream {
    let stream = TcpStream::connect(obs.address(listener)).expect("the listener is there");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    stream
}

fn send(obs: &Obs, listener: &str, datagrams: &[&[u8]]) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for datagram in datagrams {
        socket
            .send_to(datagram, obs.address(listener))
            .expect("sent");
    }
}

#[test]
fn elasticsearch_bulk() {
    let mut obs = Obs::start();
    let body = format!(
        "{{\"create\":{{\"_index\":\"web\"}}}}\n{{\"message\":\"one\",\"@timestamp\":{},\"user\":{{\"id\":7}}}}\n\
         {{\"delete\":{{\"_id\":\"1\"}}}}\n{{\"index\":{{}}}}\n{{\"msg\":\"two\",\"service\":\"shop\"}}\n",
        now() / 1_000_000
    );
    let (status, answer) = post(&obs, "/elastic/logs/_bulk", &[], &body);
    assert_eq!((status, &answer["errors"]), (200, &json!(true)), "{answer}");
    let statuses: Vec<&Value> = ["create", "delete", "index"]
        .iter()
        .enumerate()
        .map(|(at, action)| &answer["items"][at][action]["status"])
        .collect();
    assert_eq!(statuses, [&json!(201), &json!(400), &json!(201)]);
    let find = |obs: &Obs| {
        assert_eq!(lines(obs, r#"{index="web"} | user_id="7""#, 1), ["one"]);
        assert_eq!(lines(obs, r#"{service_name="shop"}"#, 1), ["two"]);
    };
    find(&obs);
    let old = "{\"create\":{}}\n{\"msg\":\"x\"}\n{\"create\":\n";
    let (status, answer) = post(&obs, "/elastic/logs/_bulk", &[], old);
    assert_eq!((status, &answer["status"]), (400, &json!(400)), "{answer}");
    assert_eq!(
        obs.get("/elastic", &[]).json()["version"]["number"],
        "8.9.0"
    );
    obs.restart(crate::process::Stop::Kill);
    find(&obs);
}

#[test]
fn json_lines_datadog_and_gelf_over_http() {
    let obs = Obs::start();
    let path = "/insert/jsonline?_msg_field=text&_stream_fields=app&_time_field=at";
    let body = format!(
        "{{\"text\":\"a\",\"app\":\"x\",\"at\":{}}}\nno\n{{\"text\":\"b\",\"app\":\"x\"}}\n",
        now()
    );
    let (status, answer) = post(&obs, path, &[], &body);
    assert_eq!(status, 200);
    assert!(
        answer
            .as_str()
            .is_some_and(|text| text.starts_with("1 lines refused")),
        "{answer}"
    );
    assert_eq!(lines(&obs, r#"{app="x"}"#, 2), ["a", "b"]);

    let item = json!([{"message": "d", "ddsource": "nginx", "ddtags": "env:prod,team:red", "service": "pay", "hostname": "h", "status": "error", "timestamp": now() / 1_000_000}]);
    let sent = post(
        &obs,
        "/datadog/api/v2/logs",
        &[("dd-api-key", "k")],
        &item.to_string(),
    );
    assert_eq!(sent, (202, json!({})));
    assert_eq!(
        lines(
            &obs,
            r#"{service_name="pay", env="prod"} | team="red" | detected_level="error""#,
            1
        ),
        ["d"]
    );
    assert_eq!(
        obs.get("/datadog/api/v1/validate", &[]).json(),
        json!({"valid": true})
    );

    let message =
        json!({"version": "1.1", "host": "g", "short_message": "short", "level": 4, "_n": 1});
    assert_eq!(post(&obs, "/gelf", &[], &message.to_string()).0, 202);
    assert_eq!(post(&obs, "/gelf", &[], "{}").0, 400);
    assert_eq!(
        lines(&obs, r#"{host="g"} | n="1" | detected_level="warn""#, 1),
        ["short"]
    );

    let micros = now() / 1000;
    let entry = format!(
        "__CURSOR=c\n__REALTIME_TIMESTAMP={micros}\n_HOSTNAME=j\n_SYSTEMD_UNIT=u.service\nMESSAGE=from the journal\nPRIORITY=3\n\n"
    );
    assert_eq!(
        post(
            &obs,
            "/upload",
            &[("content-type", "application/vnd.fdo.journal")],
            &entry
        )
        .0,
        202
    );
    let query = r#"{job="systemd-journal", unit="u.service"} | detected_level="error""#;
    assert_eq!(lines(&obs, query, 1), ["from the journal"]);
    assert_eq!(post(&obs, "/services/collector", &[], "{}").0, 404);
}

#[test]
fn splunk_with_acknowledgements() {
    let obs = start();
    let code = |headers: &[(&str, &str)], path: &str, body: &str| {
        let (status, answer) = post(&obs, &format!("/services/collector{path}"), headers, body);
        (status, answer["code"].as_i64().unwrap_or(-1), answer)
    };
    let check = |found: (u16, i64, Value), status: u16, expect: i64| {
        assert_eq!((found.0, found.1), (status, expect), "{}", found.2);
        found.2
    };
    let good = ("authorization", "Splunk secret");
    let event = r#"{"event":"hello","sourcetype":"st","host":"h","fields":{"k":"v"}}"#;
    check(code(&[], "", event), 401, 2);
    check(code(&[("authorization", "Bearer x")], "", event), 401, 3);
    check(code(&[("authorization", "Splunk x")], "", event), 403, 4);
    check(code(&[good], "", ""), 400, 5);
    check(code(&[good], "/event", event), 200, 0);
    let bad = check(
        code(&[good], "/event/1.0", &format!("{event}{{}}")),
        400,
        12,
    );
    assert_eq!(bad["invalid-event-number"], 1);
    let channel = ("x-splunk-request-channel", "c1");
    for id in 0..2 {
        let told = check(
            code(&[good, channel], "/raw?source=s", &format!("raw {id}\n")),
            200,
            0,
        );
        assert_eq!(told["ackId"], id);
    }
    check(code(&[good], "/ack", r#"{"acks":[0]}"#), 400, 10);
    let (status, _, acks) = code(&[good, channel], "/ack", r#"{"acks":[0,1,2]}"#);
    assert_eq!(
        (status, acks),
        (200, json!({"acks": {"0": true, "1": true, "2": false}}))
    );
    assert_eq!(
        obs.get("/services/collector/health", &[]).json()["code"],
        17
    );
    check(
        code(
            &[("authorization", "Splunk other")],
            "",
            r#"{"event":"of red"}"#,
        ),
        200,
        0,
    );
    assert_eq!(
        lines(&obs, r#"{sourcetype="st"} | k="v""#, 2),
        // The one in front of the bad event too.
        ["hello", "hello"]
    );
    assert_eq!(lines(&obs, r#"{source="s"}"#, 2), ["raw 0", "raw 1"]);
    let mut obs = obs;
    obs.set_tenant(Some("red"));
    assert_eq!(lines(&obs, r#"{job="splunk"}"#, 1), ["of red"]);
}

#[test]
fn syslog_over_tcp_and_udp() {
    let mut obs = start();
    let mut stream = connect(&obs, "syslog_tcp");
    let modern = format!(
        "<11>1 {} web shop 7 - [a@1 b=\"c\"] counted",
        obs_model::Timestamp::from_nanos(now())
    );
    writeln!(stream, "{} {modern}<14>no header", modern.len()).expect("sent");
    // The message of a connection that ends needs no end of its own.
    let mut last = connect(&obs, "syslog_tcp");
    last.write_all(b"<14>last").expect("sent");
    drop(last);
    send(&obs, "syslog_udp", &[b"<14>by datagram", b"<15>another\0"]);
    obs.set_tenant(Some("net"));
    let expect = ["another", "by datagram", "counted", "last", "no header"];
    assert_eq!(lines(&obs, r#"{job="syslog"}"#, 5), expect);
    let query = r#"{host="web", app="shop", facility="user"} | a_1_b="c" | proc_id="7" | detected_level="error""#;
    assert_eq!(lines(&obs, query, 1), ["counted"]);
    assert_eq!(lines(&obs, r#"{host="127.0.0.1"}"#, 4).len(), 4);
}

#[test]
fn gelf_over_tcp_and_udp() {
    let obs = start();
    let message =
        |text: &str| format!(r#"{{"version":"1.1","host":"g","short_message":"{text}"}}"#);
    let mut stream = connect(&obs, "gelf_tcp");
    write!(stream, "{}\0{}\0", message("one"), message("two")).expect("sent");
    let long = message("chunked");
    let (head, tail) = long.split_at(20);
    let chunk =
        |number: u8, data: &str| [&b"\x1e\x0f12345678"[..], &[number, 2], data.as_bytes()].concat();
    send(
        &obs,
        "gelf_udp",
        &[
            message("three").as_bytes(),
            &chunk(1, tail),
            &chunk(0, head),
        ],
    );
    assert_eq!(
        lines(&obs, r#"{host="g"}"#, 4),
        ["chunked", "one", "three", "two"]
    );
}

#[test]
fn fluent_forward_is_acknowledged_when_durable() {
    let mut obs = start();
    let mut stream = connect(&obs, "fluent");
    let seconds = u32::try_from(now() / SECOND)
        .expect("before 2106")
        .to_be_bytes();
    // [tag, [[time, {"message": "m", "n": 1}]], {"chunk": "c1"}]
    let mut message = b"\x93\xa1t\x91\x92\xce".to_vec();
    message.extend(seconds);
    message.extend(b"\x82\xa7message\xa4kept\xa1n\x01\x81\xa5chunk\xa2c1");
    // A heartbeat in front does no harm.
    stream.write_all(b"\xc0").expect("sent");
    stream.write_all(&message).expect("sent");
    let mut ack = [0; 8];
    stream.read_exact(&mut ack).expect("an acknowledgement");
    assert_eq!(&ack, b"\x81\xa3ack\xa2c1");
    obs.restart(crate::process::Stop::Kill);
    assert_eq!(lines(&obs, r#"{tag="t"} | n="1""#, 1), ["kept"]);
}
