//! Requests through the routers, with a writer that keeps or refuses what comes.

use std::sync::Mutex;

use axum::response::Response;
use http::Request;
use obs_model::metrics::{MetricBatch, Sample, Series};
use obs_model::{Labels, Timestamp, Value};
use obs_wire::prometheus::remote_write;
use obs_wire::snappy;
use tokio::task::JoinSet;
use tower::Service;

use super::*;
use crate::sink::{Accepted, SinkError};

/// What the writer says to everything.
type Say = Result<Accepted, SinkError>;

pub(super) struct Rig {
    pub(super) receiver: Receiver,
    /// One line per batch: tenant, signal, number of items.
    seen: Arc<Mutex<Vec<String>>>,
    _writer: JoinSet<()>,
}

impl Rig {
    fn with(limits: Limits, say: Say) -> Self {
        let (sink, mut inbox) = Sink::channel(4);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&seen);
        let mut writer = JoinSet::new();
        writer.spawn(async move {
            loop {
                let (note, done) = tokio::select! {
                    Some(w) = inbox.metrics.recv() => (format!("{} metrics {}", w.tenant, w.batch.sample_count()), w.done),
                    Some(w) = inbox.logs.recv() => (format!("{} logs {}", w.tenant, w.batch.record_count()), w.done),
                    Some(w) = inbox.spans.recv() => (format!("{} spans {}", w.tenant, w.batch.span_count()), w.done),
                    else => break,
                };
                notes.lock().expect("not poisoned").push(note);
                done.send(say.clone()).expect("a waiter");
            }
        });
        let receiver = Receiver::new(sink, limits, Decoder::new(1), Arc::default());
        Self {
            receiver,
            seen,
            _writer: writer,
        }
    }

    pub(super) fn new() -> Self {
        Self::with(Limits::default(), Ok(Accepted::default()))
    }

    pub(super) fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("not poisoned").clone()
    }

    /// Status and body.
    pub(super) async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, Vec<u8>) {
        let response = self.respond(path, headers, body).await;
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await;
        (status, body.expect("a body").to_vec())
    }

    async fn respond(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let mut request = Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_vec())).expect("a request");
        let mut routes = routes(self.receiver.clone());
        routes.call(request).await.expect("infallible")
    }
}

fn samples(count: usize) -> Vec<u8> {
    let sample = Sample {
        time: Timestamp::from_millis(1),
        start: None,
        value: Value::Float(1.0),
    };
    let batch = MetricBatch {
        series: vec![Series {
            labels: Labels::from_pairs([("__name__", "a")]),
            samples: vec![sample; count],
            ..Series::default()
        }],
        ..MetricBatch::default()
    };
    let mut out = Vec::new();
    remote_write::encode_v1(&batch, &mut out);
    snappy::encode(&out)
}

const WRITE: &str = "/api/v1/write";
const PUSH: &str = "/loki/api/v1/push";
const PUSHED: &[u8] = br#"{"streams":[{"stream":{"a":"b"},"values":[["1","x"],["2","y"]]}]}"#;
const JSON: (&str, &str) = ("content-type", "application/json");
const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

#[tokio::test]
async fn remote_write_takes_what_prometheus_sends() {
    let rig = Rig::new();
    let snappy = ("content-encoding", "snappy");
    let proto = (
        "content-type",
        "application/x-protobuf;proto=prometheus.WriteRequest",
    );
    for headers in [&[][..], &[PROTOBUF, snappy], &[proto]] {
        assert_eq!(
            rig.post(WRITE, headers, &samples(3)).await,
            (204, vec![]),
            "{headers:?}"
        );
    }
    let tenant = [PROTOBUF, ("x-scope-orgid", "team-a")];
    assert_eq!(rig.post(WRITE, &tenant, &samples(1)).await.0, 204);
    assert_eq!(rig.seen()[2..], ["anonymous metrics 3", "team-a metrics 1"]);
}

#[tokio::test]
async fn remote_write_refuses_with_the_right_status() {
    let limits = Limits {
        body_bytes_max: 2000,
        decompressed_bytes_max: 10_000,
        ..Limits::default()
    };
    let rig = Rig::with(limits, Ok(Accepted::default()));
    let check = async |headers: &[(&str, &str)], body: &[u8], status, text: &str| {
        let (got, body) = rig.post(WRITE, headers, body).await;
        let body = String::from_utf8_lossy(&body).into_owned();
        assert!(got == status && body.contains(text), "{got} {body}");
    };
    let v3 = (
        "content-type",
        "application/x-protobuf;proto=io.prometheus.write.v3.Request",
    );
    check(&[v3], &samples(1), 415, "io.prometheus.write.v3.Request").await;
    check(&[JSON], &samples(1), 415, "application/json").await;
    check(&[("content-encoding", "gzip")], &samples(1), 415, "gzip").await;
    check(&[], b"\xff\xff\xff", 400, "snappy block").await;
    check(
        &[],
        &snappy::encode(b"\x0a\x05ab"),
        400,
        "remote write request",
    )
    .await;
    check(&[], &vec![0; 2001], 413, "body_bytes_max of 2000").await;
    check(
        &[],
        &snappy::encode(&vec![0; 10_001]),
        413,
        "decompressed_bytes_max of 10000",
    )
    .await;
    check(
        &[("x-scope-orgid", "a/b")],
        &samples(1),
        400,
        "X-Scope-OrgID",
    )
    .await;
    assert!(rig.seen().is_empty());
}

/// Two floats and a histogram of one series, with an exemplar.
fn version_2() -> Vec<u8> {
    use obs_model::metrics::Exemplar;
    let sample = |millis, value| Sample {
        time: Timestamp::from_millis(millis),
        start: None,
        value,
    };
    let mut series = Series {
        labels: Labels::from_pairs([("__name__", "a")]),
        samples: vec![
            sample(1, Value::Float(1.0)),
            sample(2, Value::Histogram(Arc::default())),
            sample(3, Value::Float(1.0)),
        ],
        ..Series::default()
    };
    series.exemplars = vec![Exemplar {
        labels: Labels::from_pairs([("trace_id", "f")]),
        value: 1.0,
        time: Timestamp::from_millis(1),
    }];
    let batch = MetricBatch {
        series: vec![series],
        ..MetricBatch::default()
    };
    let mut out = Vec::new();
    remote_write::v2::encode(&batch, &mut out);
    out
}

#[tokio::test]
async fn remote_write_2_tells_what_was_written() {
    let headers = [
        (
            "content-type",
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        ),
        ("content-encoding", "snappy"),
        ("x-prometheus-remote-write-version", "2.0.0"),
    ];
    let check = async |say: Say, body: &[u8], status: u16, written: [&str; 3]| {
        let rig = Rig::with(Limits::default(), say);
        let response = rig.respond(WRITE, &headers, body).await;
        assert_eq!(response.status().as_u16(), status);
        let told = ["samples", "histograms", "exemplars"].map(|what| {
            let name = format!("x-prometheus-remote-write-{what}-written");
            let value = response.headers().get(&name).expect("the header");
            value.to_str().expect("a number").to_owned()
        });
        assert_eq!(told, written);
    };
    let refuse = |refused| {
        let reason = "too old".to_owned();
        Ok(Accepted {
            refused,
            reason,
            crowded: false,
        })
    };
    let full = SinkError::Full {
        retry_after_seconds: 3,
    };
    let body = snappy::encode(&version_2());
    check(Ok(Accepted::default()), &body, 204, ["2", "1", "1"]).await;
    check(refuse(0), &body, 204, ["2", "1", "1"]).await;
    check(refuse(1), &body, 400, ["1", "0", "1"]).await;
    check(Err(full), &body, 429, ["0", "0", "0"]).await;
    // A series without samples after the good one.
    let mut faulty = version_2();
    faulty.extend_from_slice(&[0x2a, 4, 0x0a, 2, 1, 2]);
    let faulty = snappy::encode(&faulty);
    check(Ok(Accepted::default()), &faulty, 400, ["2", "1", "1"]).await;
    let broken = snappy::encode(&[0x2a, 9]);
    check(Ok(Accepted::default()), &broken, 400, ["0", "0", "0"]).await;
}

#[tokio::test]
async fn lines_are_imported() {
    let rig = Rig::new();
    let line = br#"{"metric":{"__name__":"a"},"values":[1,2],"timestamps":[1,2]}"#;
    assert_eq!(rig.post("/api/v1/import", &[], line).await.0, 204);
    let path = "/api/v1/import/csv?format=2:metric:ask,1:label:ticker";
    assert_eq!(rig.post(path, &[], b"G,1\nH,2\n").await.0, 204);
    let (status, body) = rig.post(path, &[], b"G,1\nH,x\n").await;
    let body = String::from_utf8_lossy(&body).into_owned();
    assert!(status == 400 && body.contains("line 2"), "{status} {body}");
    assert_eq!(rig.post("/api/v1/import/csv", &[], b"1").await.0, 400);
    let seen = [
        "anonymous metrics 2",
        "anonymous metrics 2",
        "anonymous metrics 1",
    ];
    assert_eq!(rig.seen(), seen);
}

#[tokio::test]
async fn the_writers_word_reaches_the_sender() {
    let partial = Accepted {
        crowded: false,
        refused: 2,
        reason: "too old".into(),
    };
    let full = SinkError::Full {
        retry_after_seconds: 3,
    };
    let gone = SinkError::Unavailable {
        reason: "disk full".into(),
    };
    for (say, status, text) in [
        (Ok(partial), 400, "2 samples refused: too old"),
        (Err(full), 429, "retry after 3 s"),
        (Err(gone), 503, "disk full"),
    ] {
        let rig = Rig::with(Limits::default(), say);
        let response = rig.respond(WRITE, &[], &samples(3)).await;
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(
            response.headers().contains_key("retry-after"),
            status != 400
        );
        let body = axum::body::to_bytes(response.into_body(), 1000)
            .await
            .expect("a body");
        let body = String::from_utf8_lossy(&body).into_owned();
        assert!(body.contains(text), "{body}");
    }
}

#[tokio::test]
async fn loki_push_in_all_forms() {
    let rig = Rig::new();
    assert_eq!(rig.post(PUSH, &[JSON], PUSHED).await, (204, vec![]));
    let gzip = gzip(PUSHED);
    let zipped = [JSON, ("content-encoding", "gzip")];
    assert_eq!(rig.post("/api/prom/push", &zipped, &gzip).await.0, 204);
    // PushRequest{streams:[{labels:`{a="b"}`, entries:[{timestamp{1}, "x"}]}]}
    let protobuf = b"\x0a\x12\x0a\x07{a=\"b\"}\x12\x07\x0a\x02\x08\x01\x12\x01x";
    for headers in [&[][..], &[PROTOBUF]] {
        assert_eq!(
            rig.post(PUSH, headers, &snappy::encode(protobuf)).await.0,
            204
        );
    }
    assert_eq!(
        rig.seen(),
        [
            "anonymous logs 2",
            "anonymous logs 2",
            "anonymous logs 1",
            "anonymous logs 1"
        ]
    );
    let check = async |headers: &[(&str, &str)], body: &[u8], status| {
        let got = rig.post(PUSH, headers, body).await;
        assert_eq!(got.0, status, "{}", String::from_utf8_lossy(&got.1));
    };
    check(&[JSON], b"{\"streams\":[", 400).await;
    check(&[JSON], b"{\"streams\":[]}", 422).await;
    check(&[PROTOBUF], &snappy::encode(b""), 422).await;
    check(&[("content-type", "text/plain")], PUSHED, 415).await;
    check(&[JSON, ("content-encoding", "br")], PUSHED, 415).await;
    check(&[PROTOBUF, ("content-encoding", "gzip")], &gzip, 415).await;
    check(&zipped, b"\x1f\x8bnot", 400).await;
}

#[tokio::test]
async fn what_is_wrong_is_told_and_the_rest_is_stored() {
    let rig = Rig::new();
    let push = br#"{"streams":[{"stream":{"a":"b"},"values":[["1","x"]]},
        {"stream":{"a-b":"c"},"values":[["1","x"],["2","y"]]}]}"#;
    let (status, body) = rig.post(PUSH, &[JSON], push).await;
    let body = String::from_utf8(body).expect("text");
    assert!(
        status == 400 && body.starts_with("2 lines refused: "),
        "{status} {body}"
    );
    let (status, _) = rig
        .post(PUSH, &[JSON], br#"{"streams":[{"stream":{}}]}"#)
        .await;
    assert_eq!(status, 400);
    let mut write = snappy::decode(&samples(3), 1000).expect("a block");
    // Another series, without any label: TimeSeries{samples:[{timestamp: 1}]}
    write.extend(b"\x0a\x04\x12\x02\x10\x01");
    let (status, body) = rig.post(WRITE, &[], &snappy::encode(&write)).await;
    let body = String::from_utf8(body).expect("text");
    assert!(
        status == 400 && body.starts_with("1 samples refused: "),
        "{status} {body}"
    );
    assert_eq!(rig.seen(), ["anonymous logs 1", "anonymous metrics 3"]);
}

/// One gzip member with a stored block: enough for a test without a compressor.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1];
    let length = u16::try_from(bytes.len()).expect("a short text");
    out.extend(length.to_le_bytes());
    out.extend((!length).to_le_bytes());
    out.extend(bytes);
    let crc = bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    });
    out.extend((!crc).to_le_bytes());
    out.extend(u32::from(length).to_le_bytes());
    out
}

const TRACES: &[u8] = br#"{"resourceSpans":[{"scopeSpans":[{"spans":[
  {"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708","name":"x","startTimeUnixNano":"1","endTimeUnixNano":"2"},
  {"traceId":"","spanId":"0102030405060708","name":"bad"}]}]}]}"#;
const LOGS: &[u8] =
    br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"hi"}}]}]}]}"#;
const METRICS: &[u8] = br#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","gauge":{"dataPoints":[{"timeUnixNano":"1000000","asDouble":1}]}}]}]}]}"#;

#[tokio::test]
async fn otlp_answers_in_the_language_of_the_request() {
    let rig = Rig::new();
    for path in ["/v1/traces", "/otlp/v1/traces"] {
        let (status, body) = rig.post(path, &[JSON], TRACES).await;
        let body = String::from_utf8(body).expect("text");
        assert!(
            status == 200 && body.starts_with(r#"{"partialSuccess":{"rejectedSpans":"1""#),
            "{status} {body}"
        );
    }
    for path in ["/v1/metrics", "/otlp/v1/metrics", "/api/v1/otlp/v1/metrics"] {
        assert_eq!(
            rig.post(path, &[JSON], METRICS).await,
            (200, b"{}".to_vec()),
            "{path}"
        );
    }
    let zipped = [JSON, ("content-encoding", "gzip"), ("x-scope-orgid", "t")];
    assert_eq!(
        rig.post("/v1/logs", &zipped, &gzip(LOGS)).await,
        (200, b"{}".to_vec())
    );
    // The empty message is a valid request; nothing needs to be stored.
    let response = rig.respond("/v1/logs", &[PROTOBUF], b"").await;
    assert_eq!(response.status().as_u16(), 200);
    assert_eq!(response.headers()["content-type"], "application/x-protobuf");
    let seen = rig.seen();
    assert_eq!(seen[0], "anonymous spans 1");
    assert_eq!(seen[5], "t logs 1");
    assert_eq!(seen.len(), 6);
}

#[tokio::test]
async fn otlp_errors_are_statuses() {
    let rig = Rig::new();
    let check = async |headers: &[(&str, &str)], body: &[u8], status, kind: &str, start: &[u8]| {
        let response = rig.respond("/v1/traces", headers, body).await;
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.headers()["content-type"], kind);
        let body = axum::body::to_bytes(response.into_body(), 10_000)
            .await
            .expect("a body");
        assert!(body.starts_with(start), "{body:?}");
    };
    check(
        &[JSON],
        b"{",
        400,
        "application/json",
        br#"{"code":3,"message":"OTLP"#,
    )
    .await;
    check(
        &[PROTOBUF],
        b"\xff",
        400,
        "application/x-protobuf",
        b"\x08\x03\x12",
    )
    .await;
    check(
        &[("content-type", "text/plain")],
        b"",
        415,
        "application/json",
        br#"{"code":3"#,
    )
    .await;
    check(
        &[PROTOBUF, ("content-encoding", "br")],
        b"x",
        415,
        "application/x-protobuf",
        b"\x08\x03",
    )
    .await;
    check(
        &[PROTOBUF, ("x-scope-orgid", "..")],
        b"",
        400,
        "application/x-protobuf",
        b"\x08\x03",
    )
    .await;
}

/// Starts the gRPC routes on a port of their own and calls one method with one message.
async fn call(
    rig: &Rig,
    path: &str,
    headers: &[(&str, &str)],
    flag: u8,
    message: &[u8],
) -> (HeaderMap, Vec<u8>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut tasks = JoinSet::new();
    let routes = grpc::routes(rig.receiver.clone());
    tasks.spawn(async move { axum::serve(listener, routes).await.expect("served") });
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .no_proxy();
    let client = client.build().expect("a client");
    let mut body = vec![flag];
    body.extend(u32::try_from(message.len()).expect("short").to_be_bytes());
    body.extend(message);
    let mut request = client.post(format!("http://{address}{path}"));
    request = request
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.body(body).send().await.expect("an answer");
    assert_eq!(response.status().as_u16(), 200);
    let response = http::Response::<reqwest::Body>::from(response);
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a body");
    let mut told = parts.headers;
    if let Some(trailers) = body.trailers() {
        told.extend(trailers.clone());
    }
    (told, body.to_bytes().to_vec())
}

const TRACE_EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

fn traces_protobuf() -> Vec<u8> {
    let limits = Limits::default();
    let decoded = obs_wire::otlp::traces::decode_json(TRACES, &limits).expect("valid");
    let mut out = Vec::new();
    obs_wire::otlp::traces::encode_protobuf(&decoded.batch, &mut out);
    out
}

#[tokio::test]
async fn grpc_takes_plain_and_compressed_messages() {
    let rig = Rig::new();
    let message = traces_protobuf();
    let tenant = ("x-scope-orgid", "t");
    let (told, body) = call(&rig, TRACE_EXPORT, &[tenant], 0, &message).await;
    assert_eq!(
        (&told["grpc-status"], body),
        (&"0".parse().expect("a value"), vec![0; 5])
    );
    let headers = [("grpc-encoding", "gzip")];
    let (told, _) = call(&rig, TRACE_EXPORT, &headers, 1, &gzip(&message)).await;
    assert_eq!(told["grpc-status"], "0");
    assert_eq!(rig.seen(), ["t spans 1", "anonymous spans 1"]);
    // Loki's own service takes a PushRequest: {streams:[{labels:`{a="b"}`, entries:[{1 s, "x"}]}]}
    let push = b"\x0a\x12\x0a\x07{a=\"b\"}\x12\x07\x0a\x02\x08\x01\x12\x01x";
    let (told, body) = call(&rig, "/logproto.Pusher/Push", &[tenant], 0, push).await;
    assert_eq!(
        (&told["grpc-status"], body),
        (&"0".parse().expect("a value"), vec![0; 5])
    );
    assert_eq!(rig.seen().last().map(String::as_str), Some("t logs 1"));
}

#[tokio::test]
async fn grpc_errors_have_their_codes() {
    let check =
        async |say: Say, path: &str, headers: &[(&str, &str)], message: &[u8], code: &str| {
            let rig = Rig::with(
                Limits {
                    body_bytes_max: 4096,
                    ..Limits::default()
                },
                say,
            );
            let (told, _) = call(&rig, path, headers, 0, message).await;
            assert_eq!(told["grpc-status"], code, "{told:?}");
            told
        };
    let ok = || Ok(Accepted::default());
    let traces = traces_protobuf();
    check(ok(), TRACE_EXPORT, &[], b"\xff", "3").await;
    check(
        ok(),
        TRACE_EXPORT,
        &[("x-scope-orgid", "a/b")],
        &traces,
        "3",
    )
    .await;
    // Too large for ever: not a code after which clients try again.
    let told = check(ok(), TRACE_EXPORT, &[], &vec![0; 5000], "8").await;
    assert!(!told.contains_key("grpc-status-details-bin"));
    check(ok(), "/other.Service/Call", &[], b"", "12").await;
    let gone = SinkError::Unavailable { reason: "x".into() };
    check(Err(gone), TRACE_EXPORT, &[], &traces, "14").await;
    let full = SinkError::Full {
        retry_after_seconds: 2,
    };
    let told = check(Err(full), TRACE_EXPORT, &[], &traces, "8").await;
    assert!(
        told.contains_key("grpc-status-details-bin"),
        "RetryInfo makes clients retry"
    );
}

#[tokio::test]
async fn bodies_in_flight_are_bounded_together() {
    let rig = Rig::new();
    let all = u32::try_from(rig.receiver.in_flight.available_permits()).expect("fits");
    let held = Arc::clone(&rig.receiver.in_flight).try_acquire_many_owned(all);
    let held = held.expect("nothing else is in flight");
    assert_eq!(rig.post(WRITE, &[], &samples(1)).await.0, 429);
    drop(held);
    assert_eq!(rig.post(WRITE, &[], &samples(1)).await.0, 204);
}

#[tokio::test]
async fn elasticsearch_tells_what_clients_look_for() {
    let say = |refused| {
        Ok(Accepted {
            refused,
            reason: "too old".to_owned(),
            crowded: false,
        })
    };
    let body = b"{\"create\":{}}\n{\"msg\":\"a\"}\n{\"create\":{}}\n{\"msg\":\"b\"}\n";
    let vendor = (
        "accept",
        "application/vnd.elasticsearch+json; compatible-with=8",
    );
    let check = async |say: Say, expect: (u16, &str)| {
        let rig = Rig::with(Limits::default(), say);
        let tenant = ("x-scope-orgid", "red");
        let response = rig
            .respond("/elastic/a/_bulk", &[vendor, tenant], body)
            .await;
        let headers = response.headers();
        assert_eq!(headers["x-elastic-product"], "Elasticsearch");
        assert_eq!(headers["content-type"], vendor.1);
        assert_eq!(rig.seen(), ["red logs 2"]);
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await;
        let body = String::from_utf8(body.expect("a body").to_vec()).expect("text");
        assert!(status == expect.0 && body.contains(expect.1), "{body}");
    };
    check(say(0), (200, "\"errors\":false")).await;
    check(say(1), (200, "\"errors\":true")).await;
    let full = SinkError::Full {
        retry_after_seconds: 3,
    };
    check(Err(full), (429, "es_rejected_execution_exception")).await;
}

/// Splunk's collector tells that events were refused; journald's upload tells it in a success,
/// because a sender of journals would send all of them again, for ever.
#[tokio::test]
async fn refused_events_are_told() {
    let say = |refused, crowded| {
        Ok(Accepted {
            refused,
            reason: "too old".to_owned(),
            crowded,
        })
    };
    let config = serde_json::json!({"tokens": ["secret"]});
    let config = serde_json::from_value(config).expect("a configuration");
    let authorized = ("authorization", "Splunk secret");
    let channel = ("x-splunk-request-channel", "c");
    let check = async |say: Say, expect: (u16, &str)| {
        let mut rig = Rig::with(Limits::default(), say);
        let setting = splunk::Setting::new(&config, std::path::Path::new("."));
        rig.receiver = rig.receiver.with_splunk(setting.await.expect("a token"));
        let events = br#"{"event":"a"}{"event":"b"}"#;
        let path = "/services/collector";
        let (status, body) = rig.post(path, &[authorized, channel], events).await;
        let body = String::from_utf8(body).expect("text");
        assert_eq!((status, body.as_str()), expect);
    };
    let fine = r#"{"text":"Success","code":0,"ackId":0}"#;
    check(say(0, false), (200, fine)).await;
    let partly = r#"{"text":"Invalid data format: 1 of 2 events refused: too old","code":6}"#;
    check(say(1, false), (400, partly)).await;
    let busy = r#"{"text":"Server is busy","code":9}"#;
    check(say(1, true), (503, busy)).await;
    let rig = Rig::with(Limits::default(), say(1, false));
    let journal = b"__REALTIME_TIMESTAMP=1700000000000000\nMESSAGE=a\n\n";
    let (status, body) = rig.post("/upload", &[], journal).await;
    let body = String::from_utf8(body).expect("text");
    assert_eq!(
        (status, body.as_str()),
        (202, "OK, but 1 entries were refused: too old\n")
    );
}
