//! `kill -9` under load, again and again over the same data: what was acknowledged is there
//! exactly once, what was not is there at most once, and nothing else is.
//!
//! Each round kills while all three signals are written and flushes and merges run, some rounds
//! also while the journals are replayed. `OBS_CRASH_ROUNDS` and `OBS_CRASH_SEED` change the run.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use obs_model::MetricBatch;
use serde_json::{Value, json};

use crate::process::{Answer, Obs, Stop, now, until};
use crate::send::{Line, MINUTE, SECOND, loki_json_body, remote_write_body, series};

const MILLI: i64 = 1_000_000;
/// Writers of each signal.
const WRITERS: u64 = 2;
/// Records in each request.
const RECORDS: u64 = 3;
/// Small, so that the server's own upkeep works too.
const CONFIG: &str = "obs: {storage: {flush_bytes: 65536, flush_age: 1s}}\n";

/// A small generator of chance (SplitMix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

/// What one signal was sent, and what of it was acknowledged.
#[derive(Default)]
struct Ledger {
    next: AtomicU64,
    acks: AtomicU64,
    acknowledged: Mutex<BTreeSet<u64>>,
}

impl Ledger {
    /// Numbers that nobody used before.
    fn take(&self) -> Vec<u64> {
        let first = self.next.fetch_add(RECORDS, Ordering::SeqCst);
        (first..first + RECORDS).collect()
    }

    fn acknowledge(&self, ids: &[u64]) {
        self.acknowledged
            .lock()
            .expect("no thread panicked")
            .extend(ids);
        self.acks.fetch_add(1, Ordering::SeqCst);
    }

    /// Compares with what is there: each number and how often it was found.
    fn check(&self, what: &str, found: &BTreeMap<u64, usize>) {
        let acknowledged = self.acknowledged.lock().expect("no thread panicked");
        let lost: Vec<&u64> = acknowledged
            .iter()
            .filter(|id| !found.contains_key(id))
            .collect();
        assert!(
            lost.is_empty(),
            "{what}: {} of {} lost: {lost:?}",
            lost.len(),
            acknowledged.len()
        );
        let twice: Vec<_> = found.iter().filter(|(_, count)| **count != 1).collect();
        assert!(
            twice.is_empty(),
            "{what}: found not exactly once: {twice:?}"
        );
        let sent = self.next.load(Ordering::SeqCst);
        let alien: Vec<&u64> = found.keys().filter(|id| **id >= sent).collect();
        assert!(alien.is_empty(), "{what}: never sent: {alien:?}");
    }
}

struct Load {
    /// The time of number 0; each further number is a millisecond later.
    base: i64,
    metrics: Ledger,
    logs: Ledger,
    spans: Ledger,
}

type Outcome = reqwest::Result<Answer>;

impl Load {
    fn time(&self, id: u64) -> i64 {
        self.base + id as i64 * MILLI
    }

    fn all(&self) -> [(&Ledger, Send); 3] {
        [
            (&self.metrics, send_metrics),
            (&self.logs, send_logs),
            (&self.spans, send_spans),
        ]
    }

    fn acks(&self) -> u64 {
        self.all()
            .iter()
            .map(|(ledger, _)| ledger.acks.load(Ordering::SeqCst))
            .sum()
    }
}

type Send = fn(&Obs, &Load, &[u64]) -> Outcome;

/// Samples of one long series, and a new series for the first number.
fn send_metrics(obs: &Obs, load: &Load, ids: &[u64]) -> Outcome {
    let samples = ids.iter().map(|id| (load.time(*id), *id as f64));
    let long = series(&[("__name__", "crash")], samples);
    let (id, value) = (ids[0].to_string(), ids[0] as f64);
    let fresh = series(
        &[("__name__", "crash_series"), ("id", &id)],
        [(load.time(ids[0]), value)],
    );
    let body = remote_write_body(&MetricBatch {
        series: vec![long, fresh],
        metadata: Vec::new(),
        ..Default::default()
    });
    obs.try_post(
        "http",
        "/api/v1/write",
        &[("content-type", "application/x-protobuf")],
        body,
    )
}

fn send_logs(obs: &Obs, load: &Load, ids: &[u64]) -> Outcome {
    let texts: Vec<String> = ids.iter().map(|id| format!("id={id} level=info")).collect();
    let lines: Vec<Line<'_>> = ids
        .iter()
        .zip(&texts)
        .map(|(id, text)| (load.time(*id), text.as_str(), &[][..]))
        .collect();
    let writer = (ids[0] % 4).to_string();
    let body = loki_json_body(&[("app", "crash"), ("part", &writer)], &lines);
    obs.try_post(
        "http",
        "/loki/api/v1/push",
        &[("content-type", "application/json")],
        body,
    )
}

/// One trace of one span for each number.
fn send_spans(obs: &Obs, load: &Load, ids: &[u64]) -> Outcome {
    let spans: Vec<Value> = ids
        .iter()
        .map(|id| {
            json!({
                "traceId": format!("{:032x}", id + 1), "spanId": format!("{:016x}", id + 1),
                "name": "crash", "startTimeUnixNano": load.time(*id).to_string(),
                "endTimeUnixNano": (load.time(*id) + MILLI).to_string(),
            })
        })
        .collect();
    let body = json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).to_string();
    let headers = [("content-type", "application/json")];
    obs.try_post("otlp_http", "/v1/traces", &headers, body.into_bytes())
}

/// Writes until the server is gone.
fn write(obs: &Obs, load: &Load, ledger: &Ledger, send: Send, killed: &AtomicBool) {
    loop {
        let ids = ledger.take();
        match send(obs, load, &ids) {
            Ok(answer) if (200..300).contains(&answer.status) => ledger.acknowledge(&ids),
            Ok(answer) => {
                let patient = [429, 503].contains(&answer.status);
                assert!(patient, "refused with {}: {}", answer.status, answer.text());
            }
            Err(error) => {
                assert!(
                    killed.load(Ordering::SeqCst),
                    "the server left by itself: {error}"
                );
                return;
            }
        }
    }
}

/// Flushes and merges now and then until the server is gone.
fn mix(obs: &Obs, load: &Load, mut chance: Chance, killed: &AtomicBool) {
    loop {
        let next = load.acks() + 5 + chance.next(60);
        until("progress of the writers", || {
            (killed.load(Ordering::SeqCst) || load.acks() >= next).then_some(())
        });
        let what = if chance.next(3) == 0 {
            "merge"
        } else {
            "flush"
        };
        let path = format!("/api/v1/admin/storage/{what}");
        match obs.try_post("http", &path, &[], Vec::new()) {
            Ok(answer) => assert_eq!(answer.status, 204, "{what}: {}", answer.text()),
            Err(_) if killed.load(Ordering::SeqCst) => return,
            Err(error) => panic!("the server left by itself: {error}"),
        }
    }
}

/// One round: load, then SIGKILL after some more acknowledgements.
fn round(obs: &Obs, load: &Load, chance: &mut Chance) {
    let killed = AtomicBool::new(false);
    let enough = load.acks() + 20 + chance.next(150);
    let mixing = Chance(chance.next(u64::MAX));
    std::thread::scope(|scope| {
        for (ledger, send) in load.all() {
            for _ in 0..WRITERS {
                let killed = &killed;
                scope.spawn(move || write(obs, load, ledger, send, killed));
            }
        }
        scope.spawn(|| mix(obs, load, mixing, &killed));
        until("acknowledgements", || (load.acks() >= enough).then_some(()));
        killed.store(true, Ordering::SeqCst);
        let sent = Command::new("kill")
            .args(["-KILL", &obs.process_id().to_string()])
            .status();
        assert!(sent.expect("kill(1) exists").success(), "SIGKILL is sent");
    });
}

fn count(ids: impl Iterator<Item = u64>) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for id in ids {
        *counts.entry(id).or_default() += 1;
    }
    counts
}

fn list(value: &Value) -> &[Value] {
    value
        .as_array()
        .unwrap_or_else(|| panic!("not a list: {value}"))
}

fn id_of(text: &str) -> u64 {
    text.parse()
        .unwrap_or_else(|_| panic!("not a number of ours: {text:?}"))
}

/// Asks for everything and compares.
fn verify(obs: &Obs, load: &Load, when: &str) {
    let (start, end) = (load.base - SECOND, load.base + 9 * MINUTE);
    let at = (end / SECOND).to_string();
    let found = |query: &str| {
        let answer = obs
            .get("/api/v1/query", &[("query", query), ("time", &at)])
            .json();
        let series = list(&answer["data"]["result"]).to_vec();
        let points = series.iter().flat_map(|one| list(&one["values"]).to_vec());
        count(points.map(|point| id_of(point[1].as_str().unwrap_or_default())))
    };
    let samples = found("crash[10m]");
    load.metrics.check(&format!("samples {when}"), &samples);
    let firsts: BTreeMap<u64, usize> = samples
        .into_iter()
        .filter(|(id, _)| id % RECORDS == 0)
        .collect();
    assert_eq!(found("crash_series[10m]"), firsts, "series {when}");
    let (from, to) = (start.to_string(), end.to_string());
    let params = [
        ("query", "{app=\"crash\"}"),
        ("start", &from),
        ("end", &to),
        ("limit", "1000000"),
    ];
    let answer = obs.get("/loki/api/v1/query_range", &params).json();
    let streams = list(&answer["data"]["result"]);
    let entries = streams.iter().flat_map(|stream| list(&stream["values"]));
    let id = |entry: &Value| {
        let text = entry[1].as_str().unwrap_or_default();
        id_of(
            text.trim_start_matches("id=")
                .trim_end_matches(" level=info"),
        )
    };
    load.logs
        .check(&format!("lines {when}"), &count(entries.map(id)));
    let (from, to) = ((start / SECOND).to_string(), (end / SECOND).to_string());
    let params = [
        ("q", "{ name = \"crash\" }"),
        ("start", &from),
        ("end", &to),
        ("limit", "1000000"),
    ];
    let answer = obs.get("/tempo/api/search", &params).json();
    let mut spans = Vec::new();
    for trace in list(&answer["traces"]) {
        let id = u64::from_str_radix(trace["traceID"].as_str().unwrap_or_default(), 16);
        let matched = trace["spanSets"][0]["matched"]
            .as_u64()
            .expect("the matched spans");
        let id = id.expect("hexadecimal") - 1;
        spans.extend((0..matched).map(|_| id));
    }
    load.spans
        .check(&format!("spans {when}"), &count(spans.into_iter()));
}

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text:?} is not a number")),
        Err(_) => default,
    }
}

#[test]
fn nothing_acknowledged_is_lost() {
    let rounds = setting("OBS_CRASH_ROUNDS", 20);
    let seed = setting("OBS_CRASH_SEED", now() as u64);
    println!("{rounds} rounds, OBS_CRASH_SEED={seed}");
    let mut chance = Chance(seed);
    let load = Load {
        base: now() / MINUTE * MINUTE - 10 * MINUTE,
        metrics: Ledger::default(),
        logs: Ledger::default(),
        spans: Ledger::default(),
    };
    let mut obs = Obs::with_config(CONFIG);
    for number in 1..=rounds {
        round(&obs, &load, &mut chance);
        obs.stop(Stop::Kill);
        if chance.next(4) == 0 {
            // Once more while it starts.
            obs.spawn();
            obs.stop(Stop::Kill);
        }
        obs.run();
        verify(&obs, &load, &format!("after kill {number} of {rounds}"));
    }
    obs.force("flush");
    obs.force("merge");
    verify(&obs, &load, "after a flush and a merge");
    obs.restart(Stop::Terminate);
    verify(&obs, &load, "after a stop in peace");
    assert!(
        load.acks() >= rounds * 20,
        "too little load: {} requests",
        load.acks()
    );
    println!("{} requests were acknowledged", load.acks());
}
