//! Zipkin's and Jaeger's ways in, through their routes and over a datagram.

use std::time::Duration;

use axum::body::Body;
use http::Request;
use tower::Service as _;

use super::*;
use crate::Sink;
use crate::decode::Decoder;
use crate::receive::tests::Rig;
use crate::sink::Accepted;

const SPAN: &str = r#"[{"traceId":"1","id":"2","timestamp":1000,"localEndpoint":{"serviceName":"shop"}},
{"traceId":"x","id":"2","timestamp":1000}]"#;

/// A batch of one span in the binary protocol.
fn batch() -> Vec<u8> {
    let text = |id: u8, text: &str| {
        let mut out = vec![11, 0, id, 0, 0, 0, text.len() as u8];
        out.extend_from_slice(text.as_bytes());
        out
    };
    let number = |id: u8, number: i64| {
        let mut out = vec![10, 0, id];
        out.extend_from_slice(&number.to_be_bytes());
        out
    };
    let process = [text(1, "shop"), vec![0]].concat();
    let span = [
        number(1, 1),
        number(2, 0),
        number(3, 2),
        number(4, 0),
        text(5, "get"),
        number(8, 1000),
        number(9, 5),
        vec![0],
    ]
    .concat();
    let list = [vec![15, 0, 2, 12, 0, 0, 0, 1], span].concat();
    [vec![12, 0, 1], process, list, vec![0]].concat()
}

#[tokio::test]
async fn zipkin_on_the_main_port() {
    let rig = Rig::new();
    let (status, body) = rig
        .post("/api/v2/spans", &[("x-scope-orgid", "t")], SPAN.as_bytes())
        .await;
    assert_eq!((status, body.as_slice()), (202, &b""[..]));
    let (status, _) = rig.post("/api/v1/spans", &[], b"[]").await;
    assert_eq!(status, 202);
    let protobuf = [("content-type", "application/x-protobuf")];
    assert_eq!(rig.post("/api/v2/spans", &protobuf, b"").await.0, 202);
    for (path, headers, body, expect) in [
        ("/api/v2/spans", &[][..], &b"{}"[..], "a list of spans"),
        (
            "/api/v2/spans",
            &[],
            br#"[{"traceId":"x"}]"#,
            "not hexadecimal",
        ),
        ("/api/v2/spans", &protobuf, b"\xff", "varint"),
        (
            "/api/v1/spans",
            &[("content-type", "application/x-thrift")],
            b"\x0c",
            "bytes",
        ),
    ] {
        let (status, told) = rig.post(path, headers, body).await;
        let told = String::from_utf8_lossy(&told).into_owned();
        assert!(status == 400 && told.contains(expect), "{status} {told}");
    }
    assert_eq!(rig.seen(), ["t spans 1"]);
}

async fn ask(routes: Router, request: Request<Body>) -> (u16, String) {
    let mut routes = routes;
    let response = routes.call(request).await.expect("infallible");
    let status = response.status().as_u16();
    let code = response.headers().get("grpc-status").cloned();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await;
    let text = String::from_utf8_lossy(&body.expect("a body")).into_owned();
    match code {
        Some(code) => (status, code.to_str().expect("text").to_owned()),
        None => (status, text),
    }
}

#[tokio::test]
async fn jaeger_over_http() {
    let rig = Rig::new();
    let routes = || jaeger_routes::collector().with_state(rig.receiver.clone());
    let push = |kind: &str, body: Vec<u8>| {
        Request::post("/api/traces?format=jaeger.thrift")
            .header("content-type", kind)
            .body(Body::from(body))
            .expect("a request")
    };
    assert_eq!(
        ask(routes(), push("application/x-thrift", batch())).await.0,
        202
    );
    let (status, told) = ask(routes(), push("application/json", batch())).await;
    assert!(
        status == 400 && told.contains("Unsupported content type"),
        "{told}"
    );
    let (status, told) = ask(routes(), push("application/x-thrift", b"\x0c".to_vec())).await;
    assert!(
        status == 400 && told.contains("Jaeger batch in thrift"),
        "{told}"
    );
    assert_eq!(rig.seen(), ["anonymous spans 1"]);
}

#[tokio::test]
async fn strategies() {
    let rig = Rig::new();
    let get = async |path: &str| {
        let routes = jaeger_routes::strategies().with_state(rig.receiver.clone());
        ask(
            routes,
            Request::get(path).body(Body::empty()).expect("a request"),
        )
        .await
    };
    let (status, told) = get("/sampling?service=shop").await;
    assert!(
        status == 200 && told.contains(r#""strategyType":"PROBABILISTIC""#),
        "{told}"
    );
    assert!(
        get("/?service=shop")
            .await
            .1
            .contains(r#""strategyType":0"#)
    );
    assert_eq!(get("/sampling").await.0, 400);
}

#[tokio::test]
async fn jaeger_over_grpc() {
    let rig = Rig::new();
    // A batch of one span: ids, a start and a process.
    let span = [
        &[0x0a, 16][..],
        &[1; 16],
        &[0x12, 8],
        &[2; 8],
        &[0x1a, 3],
        b"get",
        &[0x32, 2, 8, 5],
    ]
    .concat();
    let batch = [
        &[0x0a, span.len() as u8][..],
        &span,
        &[0x12, 6, 0x0a, 4],
        b"shop",
    ]
    .concat();
    let message = [&[0x0a, batch.len() as u8][..], &batch].concat();
    let framed = [&[0, 0, 0, 0, message.len() as u8][..], &message].concat();
    let request = Request::post("/jaeger.api_v2.CollectorService/PostSpans")
        .header("content-type", "application/grpc")
        .body(Body::from(framed))
        .expect("a request");
    let (status, _) = ask(grpc::routes(rig.receiver.clone()), request).await;
    assert_eq!(
        (status, rig.seen()),
        (200, vec!["anonymous spans 1".to_owned()])
    );
}

#[tokio::test]
async fn datagrams() {
    let (sink, mut inbox) = Sink::channel(4);
    let receiver = Receiver::new(sink, Limits::default(), Decoder::new(1), Arc::default());
    let config: TracesConfig = serde_yaml_ng::from_str(
        "{jaeger: {udp_binary: '127.0.0.1:0', udp_compact: '127.0.0.1:0', tenant: t}, zipkin: {listen: '127.0.0.1:0'}}",
    )
    .expect("a configuration");
    let mut sockets = TraceSockets::bind(&config).await.expect("bound");
    let addresses = sockets.addresses();
    let names: Vec<&str> = addresses.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["zipkin", "jaeger_udp_compact", "jaeger_udp_binary"]);
    assert_eq!(sockets.take_streams(&receiver).len(), 1);
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    sockets.serve(&receiver, &tasks, &stop);
    let client = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let head = [
        &[0x80, 1, 0, 4, 0, 0, 0, 9][..],
        b"emitBatch",
        &[0; 4],
        &[12, 0, 1],
    ]
    .concat();
    let datagram = [head, batch(), vec![0]].concat();
    client
        .send_to(b"noise", addresses[2].1)
        .await
        .expect("sent");
    client
        .send_to(&datagram, addresses[2].1)
        .await
        .expect("sent");
    let wait = tokio::time::timeout(Duration::from_secs(120), inbox.spans.recv());
    let written = wait.await.expect("in time").expect("spans");
    assert_eq!(
        (written.tenant.as_str(), written.batch.span_count()),
        ("t", 1)
    );
    written
        .done
        .send(Ok(Accepted::default()))
        .expect("a waiter");
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}
