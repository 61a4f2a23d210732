//! Scraping as its configuration says: formats, limits, staleness, clients, reloads, what the API
//! tells of targets.

use std::io::Write as _;

use serde_json::{Value, json};

use super::scraping::{query, target, values};
use super::{list, texts};
use crate::peer::{Asked, Peer, Reply, Tls};
use crate::process::{Obs, Stop, until};

mod clients;
mod protobuf;
mod reloading;
mod shapes;

/// How a scrape ends that had not enough time.
const OUT_OF_TIME: &str = "scrape timed out";
const FAST: &str = "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n";
/// Long enough for machines under load.
const PATIENT: &str = "global: {scrape_interval: 5s, scrape_timeout: 5s}\n";

/// Why the target of a job is down; not that the machine was busy.
fn fault(obs: &Obs, job: &str) -> String {
    until(&format!("why {job} is down"), || {
        let down = target(obs, job, "down");
        let error = down["lastError"].as_str().unwrap_or_default();
        (!error.contains(OUT_OF_TIME)).then(|| error.to_owned())
    })
}

/// Waits until a query has these values.
fn await_values(obs: &Obs, text: &str, expect: &[f64]) {
    until(&format!("{text} to be {expect:?}"), || {
        Some(()).filter(|()| values(&query(obs, text)) == expect)
    });
}

#[test]
fn a_format_that_is_not_told_needs_a_fallback() {
    let peer = Peer::serve(|asked| match asked.target.as_str() {
        "/html" => Reply::typed("text/html", "a 1\n"),
        "/open" => Reply::typed("x/y", "a 2\n# EOF\n"),
        _ => Reply {
            headers: Vec::new(),
            ..Reply::text("a 3\n")
        },
    });
    let job = |name: &str, path: &str, more: &str| {
        format!(
            "- {{job_name: {name}, metrics_path: {path}, static_configs: [{{targets: ['{}']}}]{more}}}\n",
            peer.address
        )
    };
    let config = format!(
        "{PATIENT}scrape_configs:\n{}{}{}{}{}",
        job("html", "/html", ""),
        job("blank", "/blank", ""),
        job(
            "html_text",
            "/html",
            ", fallback_scrape_protocol: PrometheusText0.0.4"
        ),
        job(
            "open",
            "/open",
            ", fallback_scrape_protocol: OpenMetricsText1.0.0"
        ),
        job(
            "blank_text",
            "/blank",
            ", fallback_scrape_protocol: PrometheusText1.0.0"
        ),
    );
    let obs = Obs::with_config(&config);
    assert_eq!(
        fault(&obs, "html"),
        "received unsupported Content-Type \"text/html\" and no fallback_scrape_protocol specified for target"
    );
    assert_eq!(
        fault(&obs, "blank"),
        "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target"
    );
    await_values(&obs, "a", &[3.0, 1.0, 2.0]);
}

#[test]
fn whoever_is_over_a_limit_is_down() {
    let peer = Peer::serve(|asked| match asked.target.as_str() {
        "/bomb" => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            gzip.write_all(&vec![b'#'; 4 << 20]).expect("to memory");
            let body = gzip.finish().expect("to memory");
            Reply::typed("text/plain", body).with("content-encoding", "gzip")
        }
        "/round" => Reply::status(302).with("location", "/round"),
        _ => Reply::text("first{long_name=\"v\"} 1\nsecond{b=\"long_value\"} 2\nthird 3\n"),
    });
    let job = |name: &str, more: &str| {
        format!(
            "- {{job_name: {name}, static_configs: [{{targets: ['{}']}}], {more}}}\n",
            peer.address
        )
    };
    let config = format!(
        "{PATIENT}scrape_configs:\n{}{}{}{}{}{}{}{}{}",
        job("samples", "sample_limit: 2, extra_scrape_metrics: true"),
        job("labels", "label_limit: 3"),
        job("names", "label_name_length_limit: 8"),
        job(
            "values",
            "label_value_length_limit: 9, relabel_configs: [{target_label: instance, replacement: i}]"
        ),
        job("bytes", "body_size_limit: 20B, extra_scrape_metrics: true"),
        job("bomb", "body_size_limit: 1MB, metrics_path: /bomb"),
        job("round", "metrics_path: /round"),
        job("targets", "target_limit: 1").replace("targets: ['", "targets: [other, '"),
        job(
            "within",
            "sample_limit: 3, label_limit: 4, target_limit: 1, body_size_limit: 1KB"
        ),
    );
    let obs = Obs::with_config(&config);
    for (name, expect) in [
        ("samples", "sample limit exceeded"),
        ("labels", "label_limit exceeded (metric: first"),
        ("names", "label_name_length_limit exceeded (metric: first"),
        (
            "values",
            "label_value_length_limit exceeded (metric: second",
        ),
        ("bytes", "body size limit exceeded"),
        ("bomb", "body size limit exceeded"),
        ("round", "redirect"),
        (
            "targets",
            "target_limit exceeded (number of targets: 2, limit: 1)",
        ),
    ] {
        let told = fault(&obs, name);
        assert!(told.contains(expect), "{name}: {told}");
    }
    target(&obs, "within", "up");
    await_values(&obs, "third", &[3.0]);
    let one = |text: &str, expect: f64| await_values(&obs, text, &[expect]);
    one("scrape_samples_scraped{job=\"samples\"}", 3.0);
    one(
        "scrape_samples_post_metric_relabeling{job=\"samples\"}",
        3.0,
    );
    one("scrape_sample_limit{job=\"samples\"}", 2.0);
    one("scrape_timeout_seconds{job=\"samples\"}", 5.0);
    one("scrape_body_size_bytes{job=\"bytes\"}", -1.0);
    one("up{job=\"bytes\"}", 0.0);
    one("up{job=\"within\"}", 1.0);
}

/// Waits until a target of the job `a` was scraped once more, and gives when the scrape before that
/// was, in milliseconds: up to then nothing comes any more.
fn settled(obs: &Obs) -> i64 {
    let last = || {
        query(obs, "timestamp(up{job=\"a\"})")
            .first()
            .map(|(_, time)| *time)
    };
    let before = until("a scrape", last);
    until("another scrape", || last().filter(|time| *time > before));
    (before * 1e3) as i64
}

/// Steps of a range query at which a series has a value, and how many steps there were since its first.
fn steps(obs: &Obs, text: &str, (start, end): (i64, i64)) -> (usize, i64) {
    const STEP: i64 = 20;
    let seconds = |millis: i64| format!("{}.{:03}", millis / 1000, millis % 1000);
    let params = [
        ("query", text),
        ("start", &seconds(start)),
        ("end", &seconds(end)),
        ("step", "0.02"),
    ];
    let answer = obs.get("/api/v1/query_range", &params).json();
    let series = list(&answer["data"]["result"]);
    assert_eq!(series.len(), 1, "{answer}");
    let points = list(&series[0]["values"]);
    let first = points[0][0].as_f64().expect("a time") * 1e3;
    let last = points[points.len() - 1][0].as_f64().expect("a time") * 1e3;
    (
        points.len(),
        ((last - first) / STEP as f64).round() as i64 + 1,
    )
}

/// A series of the job `a` has a value wherever its target was up, which it was at the begin.
fn no_gap(obs: &Obs, text: &str, begin: i64) {
    let end = settled(obs);
    let up = format!("{text} or on () (up{{job=\"a\"}} == 0)");
    let (seen, all) = steps(obs, &format!("sum({up})"), (begin, end));
    assert_eq!(seen as i64, all, "{text}: a gap in what was always there");
}

fn millis() -> i64 {
    crate::process::now() / 1_000_000
}

#[test]
fn a_series_that_is_gone_ends_and_the_others_go_on() {
    let peer = Peer::serve(|_| Reply::text("stays 1\ngoes 1\n"));
    let config = format!(
        "{FAST}scrape_configs:\n- {{job_name: a, static_configs: [{{targets: ['{}']}}]}}\n",
        peer.address
    );
    let begin = millis();
    let obs = Obs::with_config(&config);
    await_values(&obs, "goes", &[1.0]);
    peer.say(|_| Reply::text("stays 2\n"));
    await_values(&obs, "stays", &[2.0]);
    await_values(&obs, "goes", &[]);
    peer.say(|_| Reply::text("stays 3\ngoes 3\n"));
    await_values(&obs, "goes", &[3.0]);
    // Also what lies ahead: the last value holds for a while.
    let (seen, all) = steps(&obs, "goes", (begin, millis() + 1000));
    assert!((seen as i64) < all, "{seen} of {all} steps: no gap");
    no_gap(&obs, "stays", begin);
    // With times of their own there is no marker, unless it is asked for.
    let timed = millis();
    peer.say(move |_| Reply::text(&format!("timed 1 {timed}\n")));
    await_values(&obs, "timed", &[1.0]);
    peer.say(|_| Reply::text("stays 4\n"));
    await_values(&obs, "stays", &[4.0]);
    await_values(&obs, "timed", &[1.0]);
}

#[test]
fn times_of_their_own_are_tracked_where_that_is_asked_for() {
    let time = millis();
    let peer = Peer::serve(move |_| Reply::text(&format!("timed 1 {time}\nalways 1\n")));
    let config = format!(
        "{FAST}scrape_configs:\n- {{job_name: a, track_timestamps_staleness: true, \
         static_configs: [{{targets: ['{0}']}}]}}\n\
         - {{job_name: b, honor_timestamps: false, static_configs: [{{targets: ['{0}']}}]}}\n",
        peer.address
    );
    let obs = Obs::with_config(&config);
    // Over a range: behind a scrape that had not enough time is a marker, behind which a time of
    // long ago does not come again.
    await_values(&obs, "last_over_time(timed[1h])", &[1.0, 1.0]);
    let behind = time + 1;
    let at = format!("{}.{:03}", behind / 1000, behind % 1000);
    let stamp = "timestamp(timed{job=\"a\"}) * 1000";
    let told = obs.get("/api/v1/query", &[("query", stamp), ("time", &at)]);
    assert_eq!(values(&super::vector(&told.json())), [time as f64]);
    peer.say(|_| Reply::text("always 2\n"));
    await_values(&obs, "always", &[2.0, 2.0]);
    await_values(&obs, "timed", &[]);
}

#[test]
fn a_shutdown_ends_nothing_and_failures_end_all() {
    let peer = Peer::serve(|_| Reply::text("works 1\n"));
    let config = format!(
        "{FAST}scrape_configs:\n- {{job_name: a, static_configs: [{{targets: ['{}']}}]}}\n",
        peer.address
    );
    let mut obs = Obs::with_config(&config);
    await_values(&obs, "works", &[1.0]);
    let begin = millis();
    await_values(
        &obs,
        &format!(
            "count_over_time(works[1h] @ {}.0) > bool 0",
            begin / 1000 + 3600
        ),
        &[1.0],
    );
    obs.stop(Stop::Terminate);
    peer.say(|_| Reply::silence());
    // Whatever the machine does, the series was there until the server stopped.
    std::fs::write(obs.path("obs.yml"), "{}").expect("the folder is writable");
    obs.run();
    // A scrape that had not enough time was a failure, on a busy machine.
    await_values(&obs, "works or on () (up{job=\"a\"} == 0) + 1", &[1.0]);
}

#[test]
fn failed_scrapes_are_written_to_a_file() {
    let peer = Peer::serve(|_| Reply::status(503));
    let config = format!(
        "{FAST}scrape_configs:\n- {{job_name: a, scrape_failure_log_file: failures.log, \
         static_configs: [{{targets: ['{}']}}]}}\n",
        peer.address
    );
    let obs = Obs::with_files(&[("obs.yml", &config)]);
    assert_eq!(
        fault(&obs, "a"),
        "server returned HTTP status 503 Service Unavailable"
    );
    let line = until("the file", || {
        let text = std::fs::read_to_string(obs.path("failures.log")).unwrap_or_default();
        text.lines().next().map(str::to_owned)
    });
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(
        line["target"],
        format!("http://{}/metrics", peer.address),
        "{line}"
    );
    assert_eq!(line["job_name"], "a", "{line}");
    assert_eq!(line["level"], "ERROR", "{line}");
    assert!(line["msg"].to_string().contains("503"), "{line}");
}

#[test]
fn servers_that_tell_targets_are_followed() {
    let peer = Peer::serve(|_| Reply::text("works 1\n"));
    let told = peer.address.clone();
    let group = move |n: usize| {
        let targets: Vec<Value> = (0..n)
            .map(|i| json!({"targets": [told], "labels": {"n": i.to_string()}}))
            .collect();
        Reply::json(&json!(targets).to_string())
    };
    let groups = group.clone();
    let sd = Peer::serve(move |_| groups(3));
    let config = format!(
        "{FAST}scrape_configs:\n- {{job_name: a, http_sd_configs: [{{url: 'http://{}/sd', \
         refresh_interval: 100ms, authorization: {{credentials: secret}}}}]}}\n",
        sd.address
    );
    let obs = Obs::with_config(&config);
    await_values(&obs, "count(works)", &[3.0]);
    let asked = sd.asked().remove(0);
    assert_eq!(asked.header("authorization"), "Bearer secret");
    assert_eq!(asked.header("x-prometheus-refresh-interval-seconds"), "0.1");
    // An error keeps what was known; so does an answer that cannot be read.
    sd.say(|_| Reply::status(500));
    let before = sd.asked().len();
    until("further questions", || {
        Some(()).filter(|()| sd.asked().len() > before + 2)
    });
    let groups = group.clone();
    sd.say(move |_| groups(1));
    await_values(&obs, "count(works)", &[1.0]);
    await_values(&obs, "works{n=\"2\"}", &[]);
    sd.say(move |_| group(0));
    await_values(&obs, "works", &[]);
    await_values(&obs, "up{job=\"a\"}", &[]);
}
