//! Spans in over OTLP; what is derived from them out: the service graph and span metrics over PromQL
//! with exemplars, and what tail sampling keeps over trace ids and searches.

use serde_json::{Value, json};

use super::{list, number, vector};
use crate::process::{Obs, Stop, now, until};
use crate::send::{Otlp, SECOND, otlp};

const CONFIG: &str = "
obs:
  traces:
    collection_interval: 300ms
    service_graph: {wait: 2s, enable_virtual_node_label: true}
";
const MILLI: i64 = 1_000_000;

/// A span to be.
#[derive(Clone, Copy, Default)]
pub(super) struct Told<'a> {
    pub(super) service: &'a str,
    pub(super) trace: u32,
    pub(super) id: u32,
    pub(super) parent: u32,
    pub(super) kind: u8,
    pub(super) millis: i64,
    pub(super) failed: bool,
    pub(super) attributes: &'a [(&'a str, &'a str)],
}

pub(super) const SERVER: u8 = 2;
pub(super) const CLIENT: u8 = 3;
const PRODUCER: u8 = 4;
const CONSUMER: u8 = 5;

fn trace_id(trace: u32) -> String {
    format!("{:032x}", u128::from(trace) << 64 | 0xabc)
}

fn body(spans: &[Told<'_>], start: i64) -> Vec<u8> {
    let pair = |(key, value): &(&str, &str)| json!({"key": key, "value": {"stringValue": value}});
    let one = |told: &Told<'_>| {
        let mut span = json!({
            "traceId": trace_id(told.trace),
            "spanId": format!("{:016x}", told.id),
            "name": format!("op{}", told.kind),
            "kind": told.kind,
            "startTimeUnixNano": start.to_string(),
            "endTimeUnixNano": (start + told.millis * MILLI).to_string(),
            "attributes": told.attributes.iter().map(pair).collect::<Vec<_>>(),
        });
        if told.parent != 0 {
            span["parentSpanId"] = format!("{:016x}", told.parent).into();
        }
        if told.failed {
            span["status"] = json!({"code": 2});
        }
        let service = json!({"attributes": [pair(&("service.name", told.service))]});
        json!({"resource": service, "scopeSpans": [{"spans": [span]}]})
    };
    let all: Vec<Value> = spans.iter().map(one).collect();
    json!({"resourceSpans": all}).to_string().into_bytes()
}

pub(super) fn send(obs: &Obs, spans: &[Told<'_>], start: i64) {
    let answer = otlp(obs, "traces", Otlp::Json, body(spans, start));
    assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
}

fn query(obs: &Obs, text: &str) -> Vec<(String, f64)> {
    let found = vector(&obs.get("/api/v1/query", &[("query", text)]).json());
    let plain = |(name, value): (String, f64)| (name.replace('"', ""), value);
    found.into_iter().map(plain).collect()
}

/// Looks until a query answers so.
fn awaited(obs: &Obs, text: &str, expect: &[(&str, f64)]) {
    let mut last = Vec::new();
    let same = |found: &[(String, f64)]| {
        found.len() == expect.len()
            && found
                .iter()
                .zip(expect)
                .all(|((name, value), (wanted, other))| name == wanted && value == other)
    };
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        until(text, || {
            last = query(obs, text);
            same(&last).then_some(())
        });
    }));
    assert!(found.is_ok(), "{text}: {last:?}, expected {expect:?}");
}

/// Calls by everything that tells them apart.
const CALLS: &str =
    "sum by (client, server, connection_type, virtual_node) (traces_service_graph_request_total)";

/// A span of a tenth of a second.
fn tenth(service: &str, trace: u32, id: u32, parent: u32, kind: u8) -> Told<'_> {
    Told {
        service,
        trace,
        id,
        parent,
        kind,
        millis: 100,
        ..Told::default()
    }
}

/// Calls of all kinds, some in the wrong order, in one request: whatever the machine does, no side
/// of them waits longer than it may.
fn send_calls(obs: &Obs, start: i64) {
    let told = tenth;
    let failed = Told {
        failed: true,
        ..told("pay", 1, 12, 11, SERVER)
    };
    let with = |span: Told<'static>, attributes| Told { attributes, ..span };
    send(
        obs,
        &[
            failed,
            told("shop", 1, 11, 10, CLIENT),
            // Two databases: by what they are, and by their host.
            with(
                told("pay", 1, 13, 12, CLIENT),
                &[("db.system", "postgresql")],
            ),
            with(
                told("pay", 1, 14, 12, CLIENT),
                &[("db.system.name", "redis"), ("server.address", "cache")],
            ),
            // A queue between two services, and one of which the reader does not report.
            told("shop", 2, 21, 20, PRODUCER),
            told("mail", 2, 22, 21, CONSUMER),
            with(
                told("shop", 3, 31, 30, PRODUCER),
                &[("messaging.destination.name", "orders")],
            ),
            // Somebody without spans calls, somebody without spans is called.
            told("shop", 4, 41, 0, SERVER),
            with(told("shop", 5, 51, 50, CLIENT), &[("peer.service", "bank")]),
            // Sides of which nothing is known.
            told("shop", 6, 61, 60, CLIENT),
        ],
        start,
    );
}

#[test]
fn the_service_graph_of_all_kinds_of_calls() {
    let (obs, start) = (Obs::with_config(CONFIG), now() - 5 * SECOND);
    send_calls(&obs, start);
    awaited(
        &obs,
        CALLS,
        &[
            ("{client=pay,connection_type=database,server=cache}", 1.0),
            (
                "{client=pay,connection_type=database,server=postgresql}",
                1.0,
            ),
            (
                "{client=shop,connection_type=messaging_system,server=mail}",
                1.0,
            ),
            (
                "{client=shop,connection_type=virtual_node,server=bank,virtual_node=server}",
                1.0,
            ),
            (
                "{client=shop,connection_type=virtual_node,server=orders,virtual_node=server}",
                1.0,
            ),
            ("{client=shop,server=pay}", 1.0),
            (
                "{client=user,connection_type=virtual_node,server=shop,virtual_node=client}",
                1.0,
            ),
        ],
    );
    awaited(
        &obs,
        "traces_service_graph_request_failed_total > 0",
        &[(
            "traces_service_graph_request_failed_total{client=shop,server=pay}",
            1.0,
        )],
    );
    awaited(
        &obs,
        "sum by (client) (traces_service_graph_unpaired_spans_total)",
        &[("{client=shop}", 1.0)],
    );
    let latency = "histogram_quantile(1, sum by (le) (traces_service_graph_request_server_seconds_bucket{server=\"pay\"}))";
    awaited(&obs, latency, &[("{}", 0.1)]);
    // The first call counts although its series began with it.
    let rate =
        "sum(increase(traces_service_graph_request_total{client=\"shop\",server=\"pay\"}[5m]))";
    until("an increase", || {
        let found = query(&obs, rate);
        found.first().filter(|(_, value)| *value > 0.5).map(|_| ())
    });
    expect_no_more(&obs);
}

#[test]
fn the_sides_of_a_call_may_come_apart() {
    // Longer than any machine stands still.
    let config = CONFIG.replace("wait: 2s", "wait: 1h");
    let (obs, start) = (Obs::with_config(&config), now() - 5 * SECOND);
    // The server comes first, in a batch of its own; the call fails.
    let failed = Told {
        failed: true,
        ..tenth("pay", 1, 12, 11, SERVER)
    };
    send(&obs, &[failed], start);
    send(&obs, &[tenth("shop", 1, 11, 10, CLIENT)], start);
    awaited(&obs, CALLS, &[("{client=shop,server=pay}", 1.0)]);
    awaited(
        &obs,
        "sum(traces_service_graph_request_failed_total)",
        &[("{}", 1.0)],
    );
}

/// What was told once more, in any order, changes no count.
fn expect_no_more(obs: &Obs) {
    let start = now() - 5 * SECOND;
    let spans = [
        Told {
            service: "a",
            trace: 90,
            id: 1,
            parent: 9,
            kind: CLIENT,
            millis: 7,
            ..Told::default()
        },
        Told {
            service: "b",
            trace: 90,
            id: 2,
            parent: 1,
            kind: SERVER,
            millis: 5,
            ..Told::default()
        },
    ];
    send(obs, &spans, start);
    send(obs, &[spans[1], spans[0]], start);
    send(obs, &spans, start);
    until("repetitions", || {
        let told = obs.get("/metrics", &[]).text();
        told.contains("obs_derived_spans_not_counted_total{reason=\"repeated\"} 4")
            .then_some(())
    });
    awaited(
        obs,
        "sum by (service) (traces_spanmetrics_calls_total{service=~\"a|b\"})",
        &[("{service=a}", 1.0), ("{service=b}", 1.0)],
    );
    awaited(
        obs,
        "sum by (client, server) (traces_service_graph_request_total{client=\"a\"})",
        &[("{client=a,server=b}", 1.0)],
    );
}

#[test]
fn span_metrics_with_exemplars() {
    let (obs, start) = (Obs::with_config(CONFIG), now() - SECOND);
    let span = |trace, millis, failed| Told {
        service: "shop",
        trace,
        id: 1,
        kind: SERVER,
        millis,
        failed,
        ..Told::default()
    };
    send(
        &obs,
        &[span(1, 3, false), span(2, 3, false), span(3, 900, true)],
        start,
    );
    let labels = |status: &str| {
        format!(
            "{{service=shop,span_kind=SPAN_KIND_SERVER,span_name=op2,status_code=STATUS_CODE_{status}}}"
        )
    };
    let calls = "traces_spanmetrics_calls_total";
    let (error, unset) = (
        format!("{calls}{}", labels("ERROR")),
        format!("{calls}{}", labels("UNSET")),
    );
    awaited(&obs, calls, &[(&error, 1.0), (&unset, 2.0)]);
    awaited(
        &obs,
        "traces_spanmetrics_latency_bucket{status_code=\"STATUS_CODE_UNSET\",le=\"0.004\"}",
        &[(
            "traces_spanmetrics_latency_bucket{le=0.004,service=shop,span_kind=SPAN_KIND_SERVER,span_name=op2,status_code=STATUS_CODE_UNSET}",
            2.0,
        )],
    );
    // The native form of the same.
    awaited(
        &obs,
        "sum(histogram_count(traces_spanmetrics_latency))",
        &[("{}", 3.0)],
    );
    until("sizes", || {
        let found = query(&obs, "sum(traces_spanmetrics_size_total)");
        found.first().filter(|(_, bytes)| *bytes > 100.0).map(drop)
    });
    let exemplars = until("exemplars", || {
        let (from, to) = (
            (start / SECOND - 60).to_string(),
            (now() / SECOND + 60).to_string(),
        );
        let params = [
            (
                "query",
                "traces_spanmetrics_latency_bucket{status_code=\"STATUS_CODE_ERROR\"}",
            ),
            ("start", &from),
            ("end", &to),
        ];
        let told = obs.get("/api/v1/query_exemplars", &params).json();
        let found = list(&told["data"]).first()?["exemplars"].clone();
        (!list(&found).is_empty()).then_some(found)
    });
    assert_eq!(exemplars[0]["labels"]["traceID"], trace_id(3));
    assert!((number(&exemplars[0]["value"]) - 0.9).abs() < 1e-9);
    // From the exemplar to its trace, and on to what its sender says.
    let told = obs.get(
        "/api/v1/correlate/exemplars",
        &[("query", "traces_spanmetrics_latency_bucket")],
    );
    let told = told.json();
    let first = &told["data"]["exemplars"][0];
    assert_eq!(
        (&first["traceId"], &first["stored"]),
        (&json!(trace_id(3)), &json!(true))
    );
    let trace = obs.get(first["href"].as_str().expect("a link"), &[]);
    assert_eq!(trace.status, 200, "{}", trace.text());
}

/// Which of the traces are there.
fn stored(obs: &Obs, traces: impl Iterator<Item = u32>) -> Vec<u32> {
    let there = |trace: &u32| {
        let path = format!("/tempo/api/traces/{}", trace_id(*trace));
        let answer = obs.get(&path, &[]);
        assert!([200, 404].contains(&answer.status), "{}", answer.text());
        answer.status == 200
    };
    traces.filter(there).collect()
}

/// A server that decides on traces after two seconds, and what was sent to it.
struct Sampling {
    obs: Obs,
    start: i64,
    /// The last trace that was sent.
    last: u32,
    /// Spans that were sent.
    sent: f64,
}

impl Sampling {
    fn start() -> Self {
        let config = "
obs:
  traces:
    collection_interval: 300ms
    sampling: {decision_wait: 2s, ratio: 0, latency: 500ms, rare_per_minute: 0}
";
        Self {
            obs: Obs::with_config(config),
            start: now() - SECOND,
            last: 100,
            sent: 0.0,
        }
    }

    /// The number of a trace that is new.
    fn next(&mut self) -> u32 {
        self.last += 1;
        self.last
    }

    fn send(&mut self, spans: &[Told<'_>]) {
        send(&self.obs, spans, self.start);
        self.sent += spans.len() as f64;
    }

    fn value(&self, name: &str) -> Option<f64> {
        let told = self.obs.get("/metrics", &[]).text();
        let found = told.lines().find_map(|line| line.strip_prefix(name));
        found.and_then(|text| text.trim().parse::<f64>().ok())
    }

    fn outcome(&self, outcome: &str) -> f64 {
        let name = format!("obs_sampling_spans_total{{outcome=\"{outcome}\"}}");
        self.value(&name).unwrap_or(0.0)
    }

    /// Spans that were kept and dropped, once all are decided on.
    fn decided(&self) -> (f64, f64) {
        until("all decisions", || {
            let found = (self.outcome("kept"), self.outcome("dropped"));
            (found.0 + found.1 == self.sent).then_some(found)
        })
    }

    fn spans_of(&self, trace: u32) -> usize {
        let path = format!("/tempo/api/v2/traces/{}", trace_id(trace));
        let answer = self.obs.get(&path, &[]);
        if answer.status == 404 {
            return 0;
        }
        let groups = answer.json()["trace"]["resourceSpans"].clone();
        let scopes = list(&groups)
            .iter()
            .flat_map(|group| list(&group["scopeSpans"]).to_vec());
        scopes.map(|scope| list(&scope["spans"]).len()).sum()
    }
}

fn sampled(trace: u32, id: u32, parent: u32, millis: i64, failed: bool) -> Told<'static> {
    Told {
        service: "shop",
        trace,
        id,
        parent,
        kind: SERVER,
        millis,
        failed,
        ..Told::default()
    }
}

#[test]
fn tail_sampling_keeps_what_matters() {
    let mut all = Sampling::start();
    let dull: Vec<Told<'_>> = (1..=20)
        .map(|trace| sampled(trace, 1, 0, 5, false))
        .collect();
    all.send(&dull);
    let slow = all.next();
    all.send(&[sampled(slow, 1, 0, 700, false)]);
    assert_eq!(all.decided(), (1.0, 20.0));
    assert_eq!(stored(&all.obs, 1..=20), Vec::<u32>::new());
    assert_eq!(stored(&all.obs, slow..=slow), [slow]);
    // The root looks well; a child in a later batch fails. Where the machine stands still between
    // the two, the root is decided on before: then another one is sent.
    until("a whole trace", || {
        let trace = all.next();
        all.send(&[sampled(trace, 1, 0, 5, false)]);
        all.send(&[sampled(trace, 2, 1, 4, true)]);
        all.decided();
        (all.spans_of(trace) == 2).then_some(())
    });
    // A late span shares the fate of its trace, which is known for six seconds.
    until("the fate of late ones", || {
        let (slow, dull) = (all.next(), all.next());
        all.send(&[
            sampled(slow, 1, 0, 700, false),
            sampled(dull, 1, 0, 5, false),
        ]);
        all.decided();
        all.send(&[sampled(slow, 2, 1, 1, false), sampled(dull, 2, 1, 1, false)]);
        all.decided();
        (all.spans_of(slow) == 2 && all.spans_of(dull) == 0).then_some(())
    });
    // Metrics are of all spans.
    let sent = all.sent;
    awaited(
        &all.obs,
        "sum(traces_spanmetrics_calls_total)",
        &[("{}", sent)],
    );
    let nothing_waits = |all: &Sampling| {
        until("nothing that waits", || {
            (all.value("obs_sampling_waiting_bytes")? == 0.0).then_some(())
        });
    };
    nothing_waits(&all);
    // What waits when the server is killed is kept; one that was decided on before does not wait.
    until("what waited", || {
        let trace = all.next();
        all.send(&[sampled(trace, 1, 0, 5, false)]);
        all.obs.restart(Stop::Kill);
        nothing_waits(&all);
        (stored(&all.obs, trace..=trace) == [trace]).then_some(())
    });
    assert_eq!(all.outcome("unknown"), 1.0);
}

#[test]
fn limits_of_spans_are_told() {
    let config = "
obs:
  limits: {attribute_bytes_max: 16, trace_bytes_max: 300}
";
    let (obs, start) = (Obs::with_config(config), now() - SECOND);
    let long = "v".repeat(100);
    let span = |id, attributes| Told {
        service: "shop",
        trace: 1,
        id,
        kind: SERVER,
        millis: 5,
        attributes,
        ..Told::default()
    };
    let attributes = [("long", long.as_str())];
    let answer = otlp(
        &obs,
        "traces",
        Otlp::Json,
        body(&[span(1, &attributes)], start),
    );
    let told = answer.json();
    assert_eq!(answer.status, 200);
    let message = told["partialSuccess"]["errorMessage"].to_string();
    assert!(message.contains("1 attributes were cut"), "{told}");
    assert_eq!(
        told["partialSuccess"]["rejectedSpans"],
        Value::Null,
        "{told}"
    );
    let many: Vec<Told<'_>> = (2..12).map(|id| span(id, &[])).collect();
    let told = otlp(&obs, "traces", Otlp::Json, body(&many, start)).json();
    let rejected = told["partialSuccess"]["rejectedSpans"].as_str();
    let rejected: u32 = rejected.and_then(|n| n.parse().ok()).expect("a count");
    assert!((1..10).contains(&rejected), "{told}");
    let path = format!("/tempo/api/v2/traces/{}", trace_id(1));
    let trace = obs.get(&path, &[]).json().to_string();
    assert!(
        trace.contains(&format!("\"{}\"", "v".repeat(16))),
        "{trace}"
    );
    let told = obs.get("/metrics", &[]).text();
    assert!(told.contains("obs_span_attributes_cut_total 1"), "{told}");
    let refused = format!("obs_spans_refused_total{{reason=\"trace_bytes_max\"}} {rejected}");
    assert!(told.contains(&refused), "{told}");
}
