//! Queries that ask for more than there is: each is refused in time, the text names the limit, memory
//! stays bounded, and meanwhile samples are taken in and other tenants are answered.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use obs_model::MetricBatch;

use crate::process::{Answer, Obs, now, until};
use crate::send::{SECOND, remote_write_body, series};

/// Small limits, so that asking for too much does not take long. Time is the last resort: whatever
/// slips through another limit ends there.
const CONFIG: &str = "obs: {limits: {query_bytes_max: 33554432, query_samples_max: 2000000, \
                      query_series_max: 50000, query_time_ms_max: 4000}}\n";
/// Series and samples of each.
const SERIES: usize = 8_000;
const SAMPLES: i64 = 6;
/// What a server of this size may take beside two queries at their limit.
const RESIDENT_KIB_MAX: u64 = 700 << 10;

const WRITE: &[(&str, &str)] = &[
    ("content-type", "application/x-protobuf"),
    ("content-encoding", "snappy"),
];

/// A thousand series of the fleet, or as many as there are.
fn fleet(from: usize, time: i64) -> Vec<u8> {
    let one = |n: usize| {
        let (n, half) = (n.to_string(), (n % 2).to_string());
        let pairs = [
            ("__name__", "m"),
            ("a", "aaaaaaaaaaaaaaaa"),
            ("half", &half),
            ("n", &n),
        ];
        let samples = (0..SAMPLES).map(|at| (time + at * 10 * SECOND, at as f64));
        series(&pairs, samples)
    };
    remote_write_body(&MetricBatch {
        series: (from..SERIES.min(from + 1000)).map(one).collect(),
        ..MetricBatch::default()
    })
}

fn filled(obs: &Obs) -> i64 {
    let begin = now() - 120 * SECOND;
    for from in (0..SERIES).step_by(1000) {
        let answer = obs.post("/api/v1/write", WRITE, fleet(from, begin));
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
    begin
}

fn nested(depth: usize, open: &str, inner: &str, close: &str) -> String {
    format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
}

/// An instant query, a status and a part of the text.
fn instants() -> Vec<(String, u16, &'static str)> {
    let label_growth = |depth| {
        nested(
            depth,
            "label_replace(",
            "m{n=\"1\"}",
            ", \"a\", \"$1$1$1$1$1$1$1$1\", \"a\", \"(.*)\")",
        )
    };
    let join_growth = nested(
        60,
        "label_join(",
        "m{n=\"1\"}",
        ", \"a\", \"\", \"a\", \"a\", \"a\")",
    );
    let matchers = vec!["n!=\"x\""; 20_000].join(",");
    vec![
        (nested(20_000, "(", "1", ")"), 400, "depth_max"),
        (nested(20_000, "-", "1", ""), 400, "depth_max"),
        (nested(2_000, "sum(", "m", ")"), 400, "depth_max"),
        (vec!["m"; 30_000].join("+"), 400, "256 levels"),
        (format!("m{{{matchers}}}"), 400, "query_text_bytes_max"),
        (
            "m{n=~\"((a{1,1000}){1,1000}){1,1000}\"}".into(),
            400,
            "too large",
        ),
        (
            "label_replace(m, \"x\", \"\", \"n\", \"((a{999}){999}){999}\")".into(),
            422,
            "label_replace",
        ),
        (label_growth(20), 422, "query_bytes_max"),
        (join_growth, 422, "query_bytes_max"),
        ("vector(1)[100y:1ms]".into(), 422, "query_samples_max"),
        (
            "count_over_time(vector(1)[100y:1ms])".into(),
            422,
            "query_samples_max",
        ),
        (
            "sum_over_time({__name__=~\".+\"}[1d:1ms])".into(),
            422,
            "query_",
        ),
        (
            "max_over_time(max_over_time(max_over_time(m[1d:1s])[1d:1s])[1d:1s])".into(),
            422,
            "query_",
        ),
        (
            "m * on () group_left () m".into(),
            422,
            "many-to-many matching not allowed",
        ),
        ("m + on (half) m".into(), 422, "many-to-many"),
        ("topk(1e300, m)".into(), 422, "overflows int64"),
        ("m[99999999999999999999y]".into(), 400, "duration"),
        ("m offset 1e30".into(), 400, "duration"),
        (
            "quantile_over_time(0.5, m[1000000000000y])".into(),
            400,
            "duration",
        ),
    ]
}

/// A range query with its step in seconds, a status and a part of the text.
fn ranges() -> Vec<(&'static str, &'static str, u16, &'static str)> {
    vec![
        ("m", "0.001", 400, "maximum resolution of 11,000"),
        ("m", "0.0001", 400, "zero or negative"),
        ("m", "1e300", 400, "cannot parse"),
        ("{__name__=~\".+\"}", "0.011", 422, "query_bytes_max"),
        ("count_values(\"v\", m + time())", "0.011", 422, "query_"),
        ("quantile(0.5, m)", "0.011", 422, "query_bytes_max"),
        ("topk(5000, m)", "0.011", 422, "query_bytes_max"),
        (
            "double_exponential_smoothing(vector(1)[20h:100ms], 0.4 + time() % 2 / 10, 0.5)",
            "0.011",
            503,
            "query_time_ms_max",
        ),
    ]
}

/// What is large and still answered.
const ANSWERED: &[&str] = &[
    "count({__name__=~\".+\"})",
    "count by (__name__) ({__name__=~\"m|.*x\"})",
    "count(count_values(\"v\", m))",
    "count(topk(1e18, m))",
    "count(sort_desc(m))",
    "m{n=~\"(1|11|111)*(x+x+)+y|1\"}",
    "count(label_join(m, \"all\", \"-\", \"a\", \"half\", \"n\"))",
    "count(m and on (half) m)",
    "m{n=\"1\"}[100y]",
];

fn resident_kib(obs: &Obs) -> u64 {
    let path = format!("/proc/{}/status", obs.process_id());
    let text = std::fs::read_to_string(path).expect("the server runs");
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|n| n.parse().ok()).expect("a peak")
}

/// Whether the time was over: on a busy machine that may be before another limit is reached.
fn out_of_time(answer: &Answer) -> bool {
    answer.status == 503 && answer.text().contains("query_time_ms_max")
}

/// Refused before the client has given up.
fn refused(what: &str, answer: &Answer, status: u16, part: &str) {
    let shown: String = what.chars().take(80).collect();
    let text = answer.text();
    if status == 422 && out_of_time(answer) {
        return;
    }
    assert_eq!(answer.status, status, "{shown}: {text}");
    let told: String = text.chars().take(400).collect();
    assert!(text.contains(part), "{shown}: {part:?} is not in {told:?}");
}

fn ask_all(obs: &Obs, begin: i64) {
    for (query, status, part) in instants() {
        let answer = obs.post_form("/api/v1/query", &[("query", &query)]);
        refused(&query, &answer, status, part);
    }
    let seconds = |nanos: i64| format!("{}", nanos / SECOND);
    let (start, end) = (seconds(begin), seconds(begin + 120 * SECOND));
    for (query, step, status, part) in ranges() {
        let params = [
            ("query", query),
            ("start", &*start),
            ("end", &*end),
            ("step", step),
        ];
        let answer = obs.get("/api/v1/query_range", &params);
        refused(query, &answer, status, part);
    }
    for query in ANSWERED {
        let answer = until(query, || {
            let answer = obs.get("/api/v1/query", &[("query", query), ("limit", "1")]);
            (!out_of_time(&answer)).then_some(answer)
        });
        refused(query, &answer, 200, "success");
    }
    for (name, value) in [
        ("limit", "-1"),
        ("limit", "99999999999999999999"),
        ("timeout", "1e300"),
        ("lookback_delta", "1e300"),
        ("time", "NaN"),
    ] {
        let answer = obs.get("/api/v1/query", &[("query", "m"), (name, value)]);
        refused(name, &answer, 400, name);
    }
}

#[test]
fn hostile_queries_are_refused_in_time_while_samples_come_in() {
    let obs = Obs::with_config(CONFIG);
    let begin = filled(&obs);
    let (done, written) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            // Some are written whatever the machine does, most of them meanwhile.
            while !done.load(Ordering::Relaxed) || written.load(Ordering::Relaxed) <= 20 {
                let nth = written.fetch_add(1, Ordering::Relaxed) as f64;
                let one = series(&[("__name__", "alive")], [(now(), nth)]);
                let body = remote_write_body(&MetricBatch {
                    series: vec![one],
                    ..MetricBatch::default()
                });
                let answer = obs.post("/api/v1/write", WRITE, body);
                assert_eq!(answer.status, 204, "{}", answer.text());
            }
        });
        let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ask_all(&obs, begin)));
        done.store(true, Ordering::Relaxed);
        if let Err(panic) = asked {
            std::panic::resume_unwind(panic);
        }
    });
    let kept = until("the count of samples", || {
        let answer = obs.get("/api/v1/query", &[("query", "count_over_time(alive[1h])")]);
        (!out_of_time(&answer)).then_some(answer)
    });
    let kept = kept.json()["data"]["result"][0]["value"][1].to_string();
    let written = written.load(Ordering::Relaxed);
    assert_eq!(kept, format!("\"{written}\""), "every sample was kept");
    let peak = resident_kib(&obs);
    assert!(peak < RESIDENT_KIB_MAX, "{peak} KiB resident");
    assert!(!obs.log().contains("panicked"), "{}", obs.log());
}

/// Queries of the greedy tenant at one time.
const GREEDY: usize = 24;

/// Queries of another tenant that ended while three of this one were asked, one behind another.
fn ended_meanwhile(obs: &Obs) -> usize {
    // Long enough to wait for: windows that cannot slide.
    let slow = [
        (
            "query",
            "double_exponential_smoothing(vector(1)[2h:100ms], 0.4 + time() % 2 / 10, 0.5)",
        ),
        ("start", "0"),
        ("end", "600"),
        ("step", "1"),
    ];
    let (started, finished) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|threads| {
        for _ in 0..GREEDY {
            threads.spawn(|| {
                started.fetch_add(1, Ordering::Relaxed);
                let answer = obs.post_as("greedy", "/api/v1/query_range", &slow);
                assert_eq!(answer.status, 200, "{}", answer.text());
                finished.fetch_add(1, Ordering::Relaxed);
            });
        }
        until("the queue", || {
            (started.load(Ordering::Relaxed) == GREEDY).then_some(())
        });
        until("the first to end", || {
            (finished.load(Ordering::Relaxed) > 0).then_some(())
        });
        let before = finished.load(Ordering::Relaxed);
        for _ in 0..3 {
            assert_eq!(obs.get("/api/v1/query", &[("query", "1")]).status, 200);
        }
        finished.load(Ordering::Relaxed) - before
    })
}

#[test]
fn a_greedy_tenant_leaves_others_their_turn() {
    let mut obs = Obs::start();
    obs.set_tenant(Some("modest"));
    // Of those that ran when each was asked, some had to end first; not all that waited. Where the
    // machine stands still between two questions that says nothing, and it is asked again.
    let mut rounds = (0..5).map(|_| ended_meanwhile(&obs));
    let best = rounds.find(|meanwhile| *meanwhile < GREEDY / 2);
    assert!(best.is_some(), "half of all others go first each time");
}
