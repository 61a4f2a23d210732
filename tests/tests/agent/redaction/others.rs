//! The ways in that are protocols of their own: Fluent, GELF, Splunk, journald, Jaeger, Zipkin and
//! OTLP over gRPC.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::SystemTime;

use opentelemetry::logs::{AnyValue, LogRecord, Logger, LoggerProvider};
use opentelemetry_otlp::{LogExporter, WithExportConfig};
use opentelemetry_sdk::logs::SdkLoggerProvider;
use serde_json::json;

use super::{KEY, TRACE, taken};
use crate::process::{DEADLINE, Obs, now};
use crate::send::SECOND;

/// Listeners of logs beside syslog, in `obs.logs`.
pub(super) const LISTENERS: &str = "fluent: {listen: '127.0.0.1:0'}, gelf: {tcp: '127.0.0.1:0'}, \
     splunk_hec: {tokens: [hec-token]}";
/// Listeners of traces, in `obs`.
pub(super) const TRACES: &str =
    "  traces: {zipkin: {listen: '127.0.0.1:0'}, jaeger: {thrift_http: '127.0.0.1:0'}}\n";

/// The marks that these ways leave.
pub(super) const WAYS: [&str; 8] = [
    "way_fluent",
    "way_gelftcp",
    "way_gelfhttp",
    "way_splunk",
    "way_journald",
    "way_zipkin",
    "way_jaeger",
    "way_grpc",
];

pub(super) fn send(to: &Obs, text: &str) {
    send_fluent(to, text);
    send_gelf(to, text);
    send_splunk_and_journal(to, text);
    send_spans(to, text);
    send_grpc(to, text);
}

fn packed(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("a short text");
    [&[0xdb][..], &length.to_be_bytes(), text.as_bytes()].concat()
}

fn send_fluent(to: &Obs, text: &str) {
    let seconds = u32::try_from(now() / SECOND).expect("before 2106");
    let mut message = vec![0x93];
    message.extend(packed("way"));
    message.push(0xce);
    message.extend(seconds.to_be_bytes());
    let line = format!("way_fluent {text}");
    let fields = [
        ("message", line.as_str()),
        ("note", text),
        ("password", KEY),
    ];
    message.push(0x80 | fields.len() as u8);
    for (name, value) in fields {
        message.extend(packed(name));
        message.extend(packed(value));
    }
    let mut stream = TcpStream::connect(to.address("fluent")).expect("connected");
    stream.write_all(&message).expect("sent");
}

fn send_gelf(to: &Obs, text: &str) {
    let message = |mark: &str| {
        let line = format!("{mark} {text}");
        json!({"version": "1.1", "host": "way", "short_message": line, "_note": text,
            "_password": KEY})
        .to_string()
    };
    let mut stream = TcpStream::connect(to.address("gelf_tcp")).expect("connected");
    write!(stream, "{}\0", message("way_gelftcp")).expect("sent");
    taken(&to.post("/gelf", &[], message("way_gelfhttp").into_bytes()));
}

fn send_splunk_and_journal(to: &Obs, text: &str) {
    let line = format!("way_splunk {text}");
    let event = json!({"event": {"message": line, "note": text, "password": KEY},
        "fields": {"note": text, "token": KEY}, "host": "way"});
    let token = [("authorization", "Splunk hec-token")];
    let event = event.to_string().into_bytes();
    taken(&to.post("/services/collector/event", &token, event));
    let micros = now() / 1000;
    let entry = format!(
        "__CURSOR=c\n__REALTIME_TIMESTAMP={micros}\nMESSAGE=way_journald {text}\nNOTE={text}\n\
         DB_PASSWORD={KEY}\n_SYSTEMD_UNIT=way.service\n\n"
    );
    let kind = [("content-type", "application/vnd.fdo.journal")];
    taken(&to.post("/upload", &kind, entry.into_bytes()));
}

/// Posts to another listener than the main one.
fn post(to: &Obs, listener: &str, (path, kind): (&str, &str), body: &[u8]) {
    let mut stream = TcpStream::connect(to.address(listener)).expect("connected");
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: way\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("sent");
    stream.write_all(body).expect("sent");
    let mut answer = String::new();
    BufReader::new(stream)
        .read_line(&mut answer)
        .expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 20"), "{listener}: {answer}");
}

/// A struct of thrift in its binary protocol.
#[derive(Default)]
struct Thrift(Vec<u8>);

impl Thrift {
    fn field(mut self, id: u8, kind: u8, value: &[u8]) -> Self {
        self.0.extend([kind, 0, id]);
        self.0.extend(value);
        self
    }

    fn text(self, id: u8, text: &str) -> Self {
        let length = u32::try_from(text.len()).expect("a short text");
        let value = [&length.to_be_bytes()[..], text.as_bytes()].concat();
        self.field(id, 11, &value)
    }

    fn number(self, id: u8, number: i64) -> Self {
        self.field(id, 10, &number.to_be_bytes())
    }

    fn small(self, id: u8, number: i32) -> Self {
        self.field(id, 8, &number.to_be_bytes())
    }

    fn list(self, id: u8, all: &[Vec<u8>]) -> Self {
        let count = u32::try_from(all.len()).expect("a short list");
        let head = [&[12][..], &count.to_be_bytes()].concat();
        self.field(id, 15, &[head, all.concat()].concat())
    }

    fn end(mut self) -> Vec<u8> {
        self.0.push(0);
        self.0
    }
}

fn tags(text: &str) -> Vec<Vec<u8>> {
    let tag = |(name, value): (&str, &str)| {
        Thrift::default()
            .text(1, name)
            .small(2, 0)
            .text(3, value)
            .end()
    };
    [("note", text), ("db.password", KEY)].map(tag).to_vec()
}

fn send_spans(to: &Obs, text: &str) {
    let micros = now() / 1000;
    let zipkin = json!([{
        "traceId": TRACE, "id": "00f067aa0ba902b7", "name": format!("way_zipkin {text}"),
        "timestamp": micros, "duration": 1, "localEndpoint": {"serviceName": "way"},
        "tags": {"note": text, "db.password": KEY},
        "annotations": [{"timestamp": micros, "value": text}],
    }]);
    let place = ("/api/v2/spans", "application/json");
    post(to, "zipkin", place, zipkin.to_string().as_bytes());
    let half = |from: usize| {
        u64::from_str_radix(&TRACE[from..from + 16], 16)
            .expect("hexadecimal")
            .cast_signed()
    };
    let log = Thrift::default().number(1, micros).list(2, &tags(text));
    let span = Thrift::default()
        .number(1, half(16))
        .number(2, half(0))
        .number(3, 77)
        .number(4, 0)
        .text(5, &format!("way_jaeger {text}"))
        .small(7, 1)
        .number(8, micros)
        .number(9, 1)
        .list(10, &tags(text))
        .list(11, &[log.end()]);
    let process = Thrift::default().text(1, "way").list(2, &tags(text));
    let batch = Thrift::default()
        .field(1, 12, &process.end())
        .list(2, &[span.end()]);
    let place = ("/api/traces", "application/x-thrift");
    post(to, "jaeger_thrift_http", place, &batch.end());
}

fn send_grpc(to: &Obs, text: &str) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let _inside = runtime.enter();
    let exporter = LogExporter::builder()
        .with_tonic()
        .with_endpoint(format!("http://{}", to.address("otlp_grpc")))
        .with_timeout(DEADLINE)
        .build()
        .expect("an exporter");
    let provider = SdkLoggerProvider::builder()
        .with_batch_exporter(exporter)
        .build();
    let logger = provider.logger("way");
    let mut record = logger.create_log_record();
    record.set_timestamp(SystemTime::now());
    record.set_body(AnyValue::from(format!("way_grpc {text}")));
    record.add_attribute("note", text.to_owned());
    record.add_attribute("db.password", KEY);
    logger.emit(record);
    let ended = provider.shutdown_with_timeout(DEADLINE);
    ended.expect("everything is acknowledged");
}
