//! Secrets of every built-in detector go in by every way and are searched for in every byte that is
//! sent on or stored.

mod others;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use serde_json::{Value, json};

use super::{Container, config, lines, nowhere, own};
use crate::process::{Answer, Obs, Stop, now, until};
use crate::send::{Otlp, SECOND, loki_json, loki_protobuf, otlp, remote_write, series};

/// A detector, what must be nowhere, and a text that has it.
type Form = (&'static str, &'static str, &'static str);

/// Without commas, which some protocols separate by.
const FORMS: [Form; 10] = [
    (
        "authorization",
        "tokB3arerXyZ98765",
        "Authorization: Bearer tokB3arerXyZ98765",
    ),
    (
        "authorization",
        "dXNlcjpiNHNpY1NlY3JldFB3",
        "sent Basic dXNlcjpiNHNpY1NlY3JldFB3",
    ),
    ("cloud_key", "AKIAQ7RZX2NVB4KLM9PT", "AKIAQ7RZX2NVB4KLM9PT"),
    (
        "cloud_key",
        "ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
        "ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
    ),
    (
        "jwt",
        "c2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.c2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0",
    ),
    (
        "url_password",
        "urlPw77Zq",
        "postgres://svc:urlPw77Zq@db:5432/x",
    ),
    ("key_value", "kvPw55TrQ", "password=kvPw55TrQ"),
    (
        "email",
        "zoe.unique@corp.example",
        "zoe.unique@corp.example",
    ),
    ("card_number", "4111111111111111", "4111111111111111"),
    ("ip", "203.0.113.77", "203.0.113.77"),
];

/// A line of a private key, which only logs have; elsewhere the value of a name that is secret.
const KEY: &str = "MIIEowIBAAKCAQEA7x9QqZsecretkeybody0123456789abcdefghijklmnopqrst";

/// All detectors, those too that are off unless they are named.
const REDACTION: &str = "redaction: {builtin: [authorization, cloud_key, jwt, private_key, \
    url_password, key_value, email, card_number, ip]}";

/// Listeners of metrics, in `obs.collector`.
const SOCKETS: &str =
    "statsd: {udp: '127.0.0.1:0', interval: 1s}\n    graphite: {tcp: '127.0.0.1:0'}";
/// Listeners of logs and traces, in `obs`.
fn listeners() -> String {
    let (logs, traces) = (others::LISTENERS, others::TRACES);
    format!("  logs: {{syslog: {{tcp: '127.0.0.1:0'}}, {logs}}}\n{traces}")
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

fn secrets() -> impl Iterator<Item = &'static str> {
    FORMS.iter().map(|(_, secret, _)| *secret).chain([KEY])
}

/// All texts in one.
fn all() -> String {
    let texts: Vec<&str> = FORMS.iter().map(|(.., text)| *text).collect();
    texts.join(" ; ")
}

/// What came in: request and headers, and the body as it is when it is unpacked.
type Seen = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// Who takes what an agent sends, and who is scraped.
struct Catcher {
    address: String,
    seen: Seen,
}

fn serve(stream: TcpStream, page: &str, seen: &Seen) -> Option<()> {
    let mut out = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut first = String::new();
        let read = reader.read_line(&mut first).ok()?;
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let length = headers.get("content-length");
        let length = length.map_or(0, |text| text.parse().expect("a number"));
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok().filter(|()| read > 0)?;
        if first.starts_with("GET") {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\n";
            let length = page.len();
            write!(out, "{head}content-length: {length}\r\n\r\n{page}").ok()?;
            continue;
        }
        let encoding = headers.get("content-encoding").map_or("", String::as_str);
        let plain = obs_wire::capped::decode(encoding, &body, 64 << 20);
        let plain = plain.expect("a known encoding").into_owned();
        let shown = format!("{first}{headers:?}");
        let mut all = seen.lock().expect("nobody panics with it");
        all.push((shown, plain));
        out.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok()?;
    }
}

impl Catcher {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let seen = Seen::default();
        let taken = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let taken = Arc::clone(&taken);
                std::thread::spawn(move || serve(stream, &page(), &taken));
            }
        });
        Self { address, seen }
    }

    fn has(&self, text: &str) -> bool {
        let seen = self.seen.lock().expect("nobody panics with it");
        seen.iter().any(|(_, body)| find(body, text))
    }
}

fn find(bytes: &[u8], text: &str) -> bool {
    let mut windows = bytes.windows(text.len());
    windows.any(|window| window == text.as_bytes())
}

fn taken(told: &Answer) {
    let good = (200..300).contains(&told.status);
    assert!(good, "{} {}", told.status, told.text());
}

/// What a target has to be scraped.
fn page() -> String {
    let text = all();
    format!(
        "# HELP way_scrape Help of {text}\n# TYPE way_scrape gauge\nway_scrape{{note=\"{text}\",token=\"{KEY}\"}} 1\n"
    )
}

/// The marks that the ways in leave.
const WAYS: [&str; 15] = [
    "way_loki",
    "way_lokiproto",
    "way_otlplogs",
    "way_otlpmetrics",
    "way_otlptraces",
    "way_write",
    "way_statsd",
    "way_graphite",
    "way_influx",
    "way_pushed",
    "way_syslog",
    "way_bulk",
    "way_jsonline",
    "way_datadog",
    "way_scrape",
];

fn attributes(text: &str) -> Value {
    let string = |text: &str| json!({"stringValue": text});
    json!([
        {"key": "note", "value": string(text)},
        {"key": "db.password", "value": string(KEY)},
        {"key": "list", "value": {"arrayValue": {"values": [string(text)]}}},
        {"key": "map", "value": {"kvlistValue": {"values": [{"key": "a", "value": string(text)}]}}},
    ])
}

fn post_otlp(to: &Obs, signal: &str, body: &Value) {
    taken(&otlp(to, signal, Otlp::Json, body.to_string().into_bytes()));
}

fn send_otlp(to: &Obs, text: &str) {
    let (at, has) = (now().to_string(), attributes(text));
    let resource = json!({"attributes": has});
    let line = format!("way_otlplogs {text}");
    let records = json!([{"timeUnixNano": at, "body": {"stringValue": line}, "attributes": has}]);
    let scopes = json!([{"logRecords": records}]);
    let body = json!({"resourceLogs": [{"resource": resource, "scopeLogs": scopes}]});
    post_otlp(to, "logs", &body);
    let exemplar = json!({"timeUnixNano": at, "asDouble": 1.0, "filteredAttributes": has});
    let points = json!([
        {"timeUnixNano": at, "asDouble": 5.0, "attributes": has, "exemplars": [exemplar]},
    ]);
    let metrics = json!([{"name": "way_otlpmetrics", "gauge": {"dataPoints": points}}]);
    let scopes = json!([{"metrics": metrics}]);
    let body = json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": scopes}]});
    post_otlp(to, "metrics", &body);
    let span = json!({
        "traceId": TRACE, "spanId": SPAN, "name": format!("way_otlptraces {text}"),
        "startTimeUnixNano": at, "endTimeUnixNano": at, "attributes": has,
        "links": [{"traceId": TRACE, "spanId": SPAN, "attributes": has}],
        "status": {"code": 2, "message": text},
        "events": [{"timeUnixNano": at, "name": text, "attributes": has}],
    });
    let scopes = json!([{"scope": {"name": "s", "attributes": has}, "spans": [span]}]);
    let body = json!({"resourceSpans": [{"resource": resource, "scopeSpans": scopes}]});
    post_otlp(to, "traces", &body);
}

fn send_metrics(to: &Obs, text: &str) {
    let mut one = series(
        &[("__name__", "way_write"), ("note", text), ("api_key", KEY)],
        [(now(), 1.0)],
    );
    one.exemplars = vec![obs_model::metrics::Exemplar {
        labels: crate::send::labels(&[("note", text)]),
        value: 1.0,
        time: obs_model::Timestamp::from_nanos(now()),
    }];
    let batch = obs_model::MetricBatch {
        series: vec![one],
        ..obs_model::MetricBatch::default()
    };
    taken(&remote_write(to, &batch));
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let mut graphite = String::new();
    for (.., text) in FORMS {
        let line = format!("way_statsd:1|c|#note:{text},token:{KEY}");
        let sent = udp.send_to(line.as_bytes(), to.address("statsd_udp"));
        sent.expect("sent");
        if !text.contains(' ') {
            let at = now() / SECOND;
            graphite.push_str(&format!("way_graphite;note={text} 1 {at}\n"));
        }
    }
    let mut stream = TcpStream::connect(to.address("graphite_tcp")).expect("connected");
    stream.write_all(graphite.as_bytes()).expect("sent");
    let escaped = text.replace(' ', "\\ ").replace('=', "\\=");
    let influx = format!("way,note={escaped},token={KEY} influx=1");
    taken(&to.post("/write", &[], influx.into_bytes()));
    let labels = format!("note=\"{text}\",token=\"{KEY}\"");
    let pushed = format!("# TYPE way_pushed gauge\nway_pushed{{{labels}}} 3\n");
    let grouping = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let path = format!("/metrics/job/batch/instance@base64/{grouping}");
    taken(&to.post(&path, &[], pushed.into_bytes()));
}

fn send_logs(to: &Obs, text: &str) {
    let metadata = [("note", text), ("password", KEY)];
    let line = format!("way_loki {text}");
    let labels = [("app", "way"), ("note", text)];
    taken(&loki_json(to, &labels, &[(now(), &line, &metadata)]));
    let line = format!("way_lokiproto {text}");
    taken(&loki_protobuf(
        to,
        &[("app", "way")],
        &[(now(), &line, &metadata)],
    ));
    let key = [
        "-----BEGIN RSA PRIVATE KEY-----",
        KEY,
        KEY,
        "-----END RSA PRIVATE KEY-----",
    ];
    let at = now();
    let none: &[(&str, &str)] = &[];
    let key: Vec<_> = (0..).zip(key).map(|(n, l)| (at + n, l, none)).collect();
    taken(&loki_json(to, &[("app", "key")], &key));
    let one = format!("-----BEGIN PRIVATE KEY-----\\n{KEY}\\n-----END PRIVATE KEY-----");
    taken(&loki_json(to, &[("app", "key")], &[(at + 9, &one, none)]));
    let mut stream = TcpStream::connect(to.address("syslog_tcp")).expect("connected");
    let head = format!("<14>1 {} host app - -", super::time(0));
    let line = format!("{head} [a@1 note=\"{text}\"] way_syslog {text}\n");
    stream.write_all(line.as_bytes()).expect("sent");
    let document = |mark: &str| {
        json!({"message": format!("{mark} {text}"), "note": text, "password": KEY, "way": mark,
            "nested": {"note": text}})
    };
    let kind = [("content-type", "application/x-ndjson")];
    let create = json!({"create": {"_index": "way"}});
    let bulk = format!("{create}\n{}\n", document("way_bulk"));
    taken(&to.post("/elastic/_bulk", &kind, bulk.into_bytes()));
    let json = format!("{}\n", document("way_jsonline"));
    let path = "/insert/jsonline?_msg_field=message&_stream_fields=way";
    taken(&to.post(path, &kind, json.into_bytes()));
    let line = format!("way_datadog {text}");
    let datadog = json!([{"message": line, "service": "way", "ddtags": format!("note:{text}")}]);
    let kind = [("content-type", "application/json")];
    let datadog = datadog.to_string().into_bytes();
    taken(&to.post("/datadog/api/v2/logs", &kind, datadog));
}

fn send_all(to: &Obs) {
    let text = all();
    send_otlp(to, &text);
    send_metrics(to, &text);
    send_logs(to, &text);
    others::send(to, &text);
}

fn scraping(target: &str) -> String {
    format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: way\n  static_configs: \
         [{{targets: ['{target}']}}]\n"
    )
}

#[test]
fn no_secret_leaves_an_agent_by_any_way() {
    let other = Catcher::start();
    let logs = tempfile::tempdir().expect("a folder");
    let mut pod = Container::new(logs.path(), "way");
    pod.text = |_| format!("way_pods {}", all());
    pod.write(2);
    let (begin, end) = (
        "-----BEGIN EC PRIVATE KEY-----",
        "-----END EC PRIVATE KEY-----",
    );
    let text = format!("way_files {}\n{begin}\n{KEY}\n{KEY}\n{end}\n", all());
    let file = logs.path().join("way.txt");
    fs::write(&file, text).expect("written");
    let config = format!(
        "{}obs:\n{}  collector:\n    {REDACTION}\n    {SOCKETS}\n    logs: {{pods: {{path: \
         {:?}}}, files: [{{paths: [{file:?}]}}]}}\n    destinations: [{{obs: {{url: \
         'http://{}'}}}}]\n",
        scraping(&other.address),
        listeners(),
        logs.path(),
        other.address
    );
    let agent = Obs::agent(&config);
    send_all(&agent);
    for mark in WAYS
        .iter()
        .chain(&others::WAYS)
        .chain(&["way_pods", "way_files"])
    {
        until(mark, || other.has(mark).then_some(()));
    }
    until("the end of the key", || {
        other.has("END EC PRIVATE KEY").then_some(())
    });
    for (request, body) in &*other.seen.lock().expect("nobody panics with it") {
        let text = String::from_utf8_lossy(body);
        for secret in secrets() {
            assert!(!find(body, secret), "{secret} in {request}: {text}");
        }
    }
    for (detector, ..) in FORMS.iter().chain(&[("private_key", "", "")]) {
        let name = format!("obs_redacted_total{{detector=\"{detector}\"");
        assert!(own(&agent, &name) > 0.0, "{detector}");
    }
    assert!(own(&agent, "obs_redaction_seconds_total") > 0.0);
    for secret in secrets() {
        nowhere(&agent.path("data"), secret.as_bytes());
    }
}

/// Everything that a server tells of what it has.
fn told(server: &Obs) -> String {
    let start = (now() - 3600 * SECOND).to_string();
    let mut all = String::new();
    for name in ["app", "service_name", "way", "job"] {
        let query = format!("{{{name}=~\".+\"}}");
        let params = [
            ("query", query.as_str()),
            ("start", start.as_str()),
            ("limit", "5000"),
        ];
        all += &server.get("/loki/api/v1/query_range", &params).text();
    }
    let everything = [("match[]", "{__name__=~\".+\"}")];
    all += &server.get("/api/v1/series", &everything).text();
    let exemplars = [
        ("query", "{__name__=~\"way.*\"}"),
        ("start", "0"),
        ("end", "9999999999"),
    ];
    all += &server.get("/api/v1/query_exemplars", &exemplars).text();
    let trace = server.get(&format!("/jaeger/api/traces/{TRACE}"), &[]);
    all + &trace.text()
}

#[test]
fn no_secret_is_stored_by_a_server() {
    let target = Catcher::start();
    let config = format!(
        "{}obs:\n{}  collector:\n    {REDACTION}\n    {SOCKETS}\n",
        scraping(&target.address),
        listeners()
    );
    let mut server = Obs::with_config(&config);
    send_all(&server);
    for mark in WAYS.into_iter().chain(others::WAYS) {
        until(mark, || told(&server).contains(mark).then_some(()));
    }
    let check = |server: &Obs| {
        let text = told(server);
        for secret in secrets() {
            assert!(!text.contains(secret), "{secret} in {text}");
            nowhere(&server.path("data"), secret.as_bytes());
        }
    };
    check(&server);
    server.restart(Stop::Kill);
    check(&server);
    server.force("flush");
    server.force("merge");
    check(&server);
}

#[test]
fn pushes_go_through_the_buffer_without_their_secrets() {
    let mut server = Obs::start();
    server.keep_address();
    let config = config(&server, "redaction: {}");
    let config = format!("global: {{external_labels: {{cluster: c1}}}}\n{config}");
    // Nobody is there when data comes in: the agent answers for it.
    server.stop(Stop::Kill);
    let agent = Obs::agent(&config);
    let secret = "Qz8Qz8Qz8Qz8";
    let line = format!("login password={secret} ok");
    taken(&loki_json(
        &agent,
        &[("app", "shop")],
        &[(now(), line.as_str(), &[])],
    ));
    let one = series(
        &[("__name__", "up_again"), ("api_key", secret)],
        [(now(), 1.0)],
    );
    let batch = obs_model::MetricBatch {
        series: vec![one],
        ..obs_model::MetricBatch::default()
    };
    taken(&remote_write(&agent, &batch));
    server.run();
    until("the line", || {
        let found = lines(&server, "{app=\"shop\", cluster=\"c1\"}");
        (found == ["login password=[REDACTED:key_value] ok"]).then_some(())
    });
    let samples = until("the sample", || {
        let answer = server.get("/api/v1/query", &[("query", "up_again")]);
        answer.text().contains("up_again").then(|| answer.text())
    });
    assert!(
        samples.contains("[REDACTED:key_value]") && !samples.contains(secret),
        "{samples}"
    );
    for folder in [agent.path("data"), server.path("data")] {
        nowhere(&folder, secret.as_bytes());
    }
}
