//! The protobuf format, encoded by another program's rules: native histograms, exemplars, created
//! timestamps.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use prost::Message;

use super::*;

#[derive(Clone, PartialEq, Message)]
struct Family {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    help: String,
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<Metric>,
    #[prost(string, tag = "5")]
    unit: String,
}

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    label: Vec<Pair>,
    #[prost(message, optional, tag = "2")]
    gauge: Option<Simple>,
    #[prost(message, optional, tag = "3")]
    counter: Option<Counter>,
    #[prost(int64, optional, tag = "6")]
    time: Option<i64>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
struct Simple {
    #[prost(double, tag = "1")]
    value: f64,
}

#[derive(Clone, PartialEq, Message)]
struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    label: Vec<Pair>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(message, optional, tag = "3")]
    time: Option<Time>,
}

#[derive(Clone, PartialEq, Message)]
struct Counter {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(message, optional, tag = "2")]
    exemplar: Option<Exemplar>,
    #[prost(message, optional, tag = "3")]
    created: Option<Time>,
}

#[derive(Clone, PartialEq, Message)]
struct Bucket {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "2")]
    bound: f64,
    #[prost(message, optional, tag = "3")]
    exemplar: Option<Exemplar>,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "2")]
    sum: f64,
    #[prost(message, repeated, tag = "3")]
    bucket: Vec<Bucket>,
    #[prost(sint32, tag = "5")]
    schema: i32,
    #[prost(double, tag = "6")]
    zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    zero_count: u64,
    #[prost(message, repeated, tag = "12")]
    positive_span: Vec<Span>,
    #[prost(sint64, repeated, tag = "13")]
    positive_delta: Vec<i64>,
    #[prost(message, optional, tag = "15")]
    created: Option<Time>,
    #[prost(message, repeated, tag = "16")]
    exemplars: Vec<Exemplar>,
}

fn pair(name: &str, value: &str) -> Pair {
    Pair {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

fn time() -> Time {
    Time {
        seconds: millis() / 1000 - 60,
        nanos: 0,
    }
}

fn exemplar(trace: &str, value: f64) -> Exemplar {
    Exemplar {
        label: vec![pair("trace_id", trace)],
        value,
        time: Some(time()),
    }
}

fn families() -> Vec<Family> {
    let histogram = Histogram {
        count: 8,
        sum: 20.0,
        bucket: vec![Bucket {
            count: 3,
            bound: 1.0,
            exemplar: None,
        }],
        schema: 0,
        zero_threshold: 0.001,
        zero_count: 1,
        // One in (0.5, 1], two in (1, 2], four in (2, 4].
        positive_span: vec![Span {
            offset: 0,
            length: 3,
        }],
        positive_delta: vec![1, 1, 2],
        created: Some(time()),
        exemplars: vec![exemplar("ofhistogram", 3.5)],
    };
    let counter = Counter {
        value: 5.0,
        exemplar: Some(exemplar("ofcounter", 1.0)),
        created: Some(time()),
    };
    let family = |name: &str, kind: i32, metric: Metric| Family {
        name: name.to_owned(),
        help: format!("Help of {name}."),
        kind,
        metric: vec![metric],
        unit: String::new(),
    };
    vec![
        family(
            "jobs_total",
            0,
            Metric {
                label: vec![pair("queue", "a")],
                counter: Some(counter),
                ..Metric::default()
            },
        ),
        family(
            "level",
            1,
            Metric {
                gauge: Some(Simple { value: -1.5 }),
                ..Metric::default()
            },
        ),
        family(
            "took_seconds",
            4,
            Metric {
                histogram: Some(histogram),
                ..Metric::default()
            },
        ),
    ]
}

fn body() -> Vec<u8> {
    let mut body = Vec::new();
    for family in families() {
        family
            .encode_length_delimited(&mut body)
            .expect("memory grows");
    }
    body
}

const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

#[test]
fn native_histograms_exemplars_and_types() {
    let peer = Peer::serve(|asked: &Asked| {
        match asked
            .header("accept")
            .starts_with("application/vnd.google.protobuf")
        {
            true => Reply::typed(PROTOBUF, body()),
            false => Reply::text("took_seconds_count 1\n"),
        }
    });
    let job = |name: &str, more: &str| {
        format!(
            "- {{job_name: {name}, {more}static_configs: [{{targets: ['{}']}}]}}\n",
            peer.address
        )
    };
    let config = format!(
        "{PATIENT}scrape_configs:\n{}{}{}{}{}",
        job("native", "scrape_native_histograms: true, "),
        job(
            "both",
            "scrape_native_histograms: true, always_scrape_classic_histograms: true, "
        ),
        job("classic", "scrape_protocols: [PrometheusProto], "),
        job(
            "few",
            "scrape_native_histograms: true, native_histogram_bucket_limit: 2, "
        ),
        job("text", ""),
    );
    let obs = Obs::with_config(&config);
    for name in ["native", "both", "classic", "few", "text"] {
        target(&obs, name, "up");
    }
    let one = |text: &str, expect: &[f64]| await_values(&obs, text, expect);
    one("jobs_total{job=\"native\",queue=\"a\"}", &[5.0]);
    one("level{job=\"native\"}", &[-1.5]);
    one("histogram_count(took_seconds{job=\"native\"})", &[8.0]);
    one("histogram_sum(took_seconds{job=\"native\"})", &[20.0]);
    one(
        "histogram_fraction(1, 2, took_seconds{job=\"native\"})",
        &[0.25],
    );
    // Seven buckets hold it all: in the middle of the last one.
    one(
        "histogram_quantile(1, took_seconds{job=\"native\"})",
        &[4.0],
    );
    one("took_seconds_count{job=\"native\"}", &[]);
    one("took_seconds_count{job=\"both\"}", &[8.0]);
    one("histogram_count(took_seconds{job=\"both\"})", &[8.0]);
    one("took_seconds_bucket{job=\"classic\"}", &[8.0, 3.0]);
    one("histogram_count(took_seconds{job=\"classic\"})", &[]);
    // With two buckets at most they are twice as wide.
    one("histogram_count(took_seconds{job=\"few\"})", &[8.0]);
    one(
        "histogram_fraction(1, 4, took_seconds{job=\"few\"})",
        &[0.75],
    );
    one("took_seconds_count{job=\"text\"}", &[1.0]);
    exemplars(&obs);
    let meant = obs
        .get("/api/v1/metadata", &[("metric", "took_seconds")])
        .json();
    assert_eq!(
        meant["data"]["took_seconds"][0]["type"], "histogram",
        "{meant}"
    );
}

fn exemplars(obs: &Obs) {
    let now = (millis() / 1000 + 60).to_string();
    let since = (millis() / 1000 - 3600).to_string();
    for (name, trace, value) in [
        ("jobs_total", "ofcounter", "1"),
        ("took_seconds", "ofhistogram", "3.5"),
    ] {
        let text = format!("{name}{{job=\"native\"}}");
        let params = [("query", &*text), ("start", &*since), ("end", &*now)];
        let answer = until("the exemplar", || {
            let answer = obs.get("/api/v1/query_exemplars", &params).json();
            (!list(&answer["data"]).is_empty()).then_some(answer)
        });
        let found = &answer["data"][0]["exemplars"][0];
        assert_eq!(found["labels"], json!({"trace_id": trace}), "{answer}");
        assert_eq!(found["value"], value, "{answer}");
    }
}

#[test]
fn exemplars_and_created_of_openmetrics() {
    let peer = Peer::serve(|_| {
        let at = millis() / 1000 - 5;
        Reply::open(&format!(
            "# TYPE jobs counter\njobs_total 5 # {{trace_id=\"t\"}} 0.5 {at}.0\njobs_created {at}\n# EOF\n"
        ))
    });
    let config = format!(
        "{PATIENT}scrape_configs:\n- {{job_name: a, static_configs: [{{targets: ['{}']}}]}}\n",
        peer.address
    );
    let obs = Obs::with_config(&config);
    target(&obs, "a", "up");
    await_values(&obs, "jobs_total", &[5.0]);
    // As Prometheus without `created-timestamp-zero-ingestion`: a series like others.
    await_values(&obs, "jobs_created > bool 0", &[1.0]);
    let (since, now) = (
        (millis() / 1000 - 3600).to_string(),
        (millis() / 1000 + 60).to_string(),
    );
    let params = [("query", "jobs_total"), ("start", &*since), ("end", &*now)];
    let answer = until("the exemplar", || {
        let answer = obs.get("/api/v1/query_exemplars", &params).json();
        (!list(&answer["data"]).is_empty()).then_some(answer)
    });
    assert_eq!(
        answer["data"][0]["exemplars"][0]["labels"]["trace_id"], "t",
        "{answer}"
    );
}

#[test]
fn a_counter_that_began_anew_is_told_by_its_start() {
    let created = Arc::new(AtomicI64::new(millis() - 100_000));
    let told = Arc::clone(&created);
    let peer = Peer::serve(move |_| {
        let at = told.load(Ordering::SeqCst);
        let mut body = Vec::new();
        for mut family in families() {
            if let Some(histogram) = &mut family.metric[0].histogram {
                histogram.created = Some(Time {
                    seconds: at / 1000,
                    nanos: i32::try_from(at % 1000 * 1_000_000).expect("below a second"),
                });
            }
            family
                .encode_length_delimited(&mut body)
                .expect("memory grows");
        }
        Reply::typed(PROTOBUF, body)
    });
    let config = format!(
        "{PATIENT}scrape_configs:\n- {{job_name: a, scrape_native_histograms: true, \
         static_configs: [{{targets: ['{}']}}]}}\n",
        peer.address
    );
    let flags = ["--enable-feature=use-start-timestamps"];
    let obs = Obs::with_files_and_flags(&[("obs.yml", &config)], &flags);
    target(&obs, "a", "up");
    let resets = "resets(took_seconds{job=\"a\"}[1h])";
    await_values(&obs, resets, &[0.0]);
    // Its numbers are the same as before: only its start tells that it began again.
    created.store(millis(), Ordering::SeqCst);
    await_values(&obs, resets, &[1.0]);
}

#[test]
fn a_protobuf_body_that_lies_is_refused_whole() {
    let peer = Peer::serve(|_| {
        let mut body = body();
        body.truncate(body.len() - 3);
        Reply::typed(PROTOBUF, body)
    });
    let config = format!(
        "{PATIENT}scrape_configs:\n- {{job_name: a, scrape_native_histograms: true, \
         static_configs: [{{targets: ['{}']}}]}}\n",
        peer.address
    );
    let obs = Obs::with_config(&config);
    assert_ne!(fault(&obs, "a"), "");
    assert_eq!(query(&obs, "jobs_total"), []);
}
