//! Lives and usage from answers of a stand-in.

use std::collections::BTreeMap;

use obs_model::Labels;
use proptest::prelude::*;

use super::*;
use crate::ledger::ledger;
use crate::prices::Book;
use crate::{Allocation, GIB};

const S: i64 = 1_000_000_000;
/// The time 0 of these tests, in seconds.
const T0: i64 = 1_700_000_000;

/// Samples as a scraper would have stored them: name, labels, points in seconds.
#[derive(Default)]
struct Store(Vec<(String, Labels, Points)>);

type Points = Vec<(i64, f64)>;

impl Store {
    fn put(&mut self, name: &str, labels: &[(&str, &str)], points: Vec<(i64, f64)>) {
        let labels = Labels::from_pairs(labels.iter().copied());
        if !points.is_empty() {
            self.0.push((name.to_owned(), labels, points));
        }
    }

    /// Always the same, from second to second by the interval.
    fn hold(&mut self, name: &str, labels: &[(&str, &str)], (from, to): (i64, i64), value: f64) {
        let times = (from..=to).filter(|at| at % STEP == 0);
        self.put(name, labels, times.map(|at| (at, value)).collect());
    }

    /// Answers as PromQL would give them, of plain selectors and those functions.
    fn answers(&self, read: &Read) -> Answers {
        let mut answers = Answers::default();
        for question in read.questions() {
            let (function, rest) = match question.text.split_once('(') {
                Some((function, rest)) => (function, rest),
                None => ("", question.text.as_str()),
            };
            let metric = rest.split(['[', '{', ')']).next().unwrap_or_default();
            let balancer = question.text.contains("LoadBalancer");
            let span = read.span();
            let mut made = Vec::new();
            for (name, labels, points) in &self.0 {
                let typed = !balancer || labels.get("type") == Some("LoadBalancer");
                let inside = points.iter().map(|p| ((T0 + p.0) * S, p.1));
                let inside = inside.filter(|p| p.0 > span.start && p.0 <= span.end);
                let inside: Vec<(i64, f64)> = inside.collect();
                let (Some(first), Some(last)) = (inside.first(), inside.last()) else {
                    continue;
                };
                if name != metric || !typed {
                    continue;
                }
                let seconds = |at: i64| vec![(span.end, at as f64 / 1e9)];
                let points = match function {
                    "ts_of_first_over_time" => seconds(first.0),
                    "ts_of_last_over_time" => seconds(last.0),
                    "count_over_time" => vec![(span.end, inside.len() as f64)],
                    "last_over_time" => vec![(span.end, last.1)],
                    _ => inside,
                };
                made.push(Series {
                    labels: labels.clone(),
                    points,
                });
            }
            answers.insert(question.name, made);
        }
        answers
    }
}

const STEP: i64 = 30;

fn read(end: i64) -> Read {
    Read {
        window: Span::new(T0 * S, (T0 + end) * S),
        now: (T0 + end) * S,
        step: None,
        cluster: "c".to_owned(),
    }
}

/// A pod that really was there: seconds.
#[derive(Clone, Debug)]
struct Truth {
    start: i64,
    end: i64,
    request: f64,
    usage: f64,
    gib: f64,
    /// Whether it stays as an object after it ended, as those of jobs do.
    stays: bool,
}

fn write(store: &mut Store, name: &str, truth: &Truth, until: i64) {
    let pod: &[(&str, &str)] = &[("namespace", "a"), ("pod", name), ("uid", name)];
    let with = |more: &[(&'static str, &'static str)]| -> Vec<(String, String)> {
        let all = pod.iter().chain(more);
        all.map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    };
    let shown = (truth.start, if truth.stays { until } else { truth.end });
    let mut hold = |metric: &str, more: &[(&'static str, &'static str)], span, value| {
        let labels = with(more);
        let labels: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (&**k, &**v)).collect();
        store.hold(metric, &labels, span, value);
    };
    let main = ("container", "main");
    hold("kube_pod_info", &[("node", "n")], shown, 1.0);
    hold("kube_pod_start_time", &[], shown, (T0 + truth.start) as f64);
    hold("kube_pod_container_info", &[main], shown, 1.0);
    hold(
        "kube_pod_container_state_started",
        &[main],
        shown,
        (T0 + truth.start) as f64,
    );
    for (resource, value) in [("cpu", truth.request), ("memory", truth.gib * GIB)] {
        let labels = [main, ("resource", resource), ("node", "n")];
        hold(
            "kube_pod_container_resource_requests",
            &labels,
            shown,
            value,
        );
    }
    if truth.stays {
        let after = (truth.end, until);
        hold(
            "kube_pod_completion_time",
            &[],
            after,
            (T0 + truth.end) as f64,
        );
        hold("kube_pod_container_status_terminated", &[main], after, 1.0);
        hold(
            "kube_pod_status_phase",
            &[("phase", "Succeeded")],
            after,
            1.0,
        );
    } else {
        hold(
            "kube_pod_deletion_timestamp",
            &[],
            (truth.end - STEP, truth.end),
            (T0 + truth.end) as f64,
        );
    }
    let labels: &[(&str, &str)] = &[("namespace", "a"), ("pod", name), main];
    let times = (truth.start..truth.end).filter(|at| at % STEP == 0);
    let points = times.map(|at| (at, truth.usage * (at - truth.start) as f64));
    store.put(
        "container_cpu_usage_seconds_total",
        labels,
        points.collect(),
    );
}

fn node(store: &mut Store, end: i64) {
    let labels: &[(&str, &str)] = &[("node", "n"), ("provider_id", "aws:///eu/i-1")];
    store.hold("kube_node_info", labels, (0, end), 1.0);
    for (resource, value) in [("cpu", 64.0), ("memory", 256.0 * GIB)] {
        let labels = [("node", "n"), ("resource", resource)];
        store.hold("kube_node_status_capacity", &labels, (0, end), value);
    }
}

fn by_pod(store: &Store, read: &Read) -> BTreeMap<String, Allocation> {
    let cluster = read.cluster(&store.answers(read));
    let made = ledger(&cluster, &Book::default(), read.window);
    let all = made.allocations.into_iter();
    all.map(|one| (one.properties.pod.clone(), one)).collect()
}

fn truths() -> impl Strategy<Value = Vec<Truth>> {
    let one = (
        60..9_000i64,
        300..3_000i64,
        0.0..2.0f64,
        0.0..2.0f64,
        0.1..4.0f64,
        any::<bool>(),
    );
    let one = one.prop_map(|(start, length, request, usage, gib, stays)| Truth {
        start,
        end: start + length,
        request,
        usage,
        gib,
        stays,
    });
    proptest::collection::vec(one, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whoever lives five minutes or more pays what is due, within half a percent.
    #[test]
    fn short_lives_are_charged_to_the_second(truths in truths()) {
        const END: i64 = 14_400;
        let mut store = Store::default();
        node(&mut store, END);
        for (index, truth) in truths.iter().enumerate() {
            write(&mut store, &format!("p{index}"), truth, END);
        }
        let found = by_pod(&store, &read(END));
        prop_assert_eq!(found.len(), truths.len());
        for (index, truth) in truths.iter().enumerate() {
            let one = &found[&format!("p{index}")];
            let hours = (truth.end - truth.start) as f64 / 3600.0;
            let cpu = truth.request.max(truth.usage) * hours * 0.031611;
            let ram = truth.gib * hours * 0.004237;
            let due = cpu + ram;
            let error = (one.total() - due).abs() / due;
            prop_assert!(error < 0.005, "{:?} pays {} instead of {}", truth, one.total(), due);
        }
    }
}

fn ends(store: &Store, end: i64) -> Vec<Vec<(i64, i64)>> {
    let read = read(end);
    let cluster = read.cluster(&store.answers(&read));
    let containers = cluster.pods.iter().flat_map(|pod| &pod.containers);
    let lives = containers.map(|c| {
        c.lives
            .iter()
            .map(|life| (life.start / S - T0, life.end / S - T0))
            .collect()
    });
    lives.collect()
}

fn truth(start: i64, end: i64, stays: bool) -> Truth {
    let (request, usage, gib) = (1.0, 0.5, 1.0);
    Truth {
        start,
        end,
        request,
        usage,
        gib,
        stays,
    }
}

#[test]
fn a_restart_makes_two_lives() {
    let mut store = Store::default();
    write(&mut store, "p", &truth(100, 3600, true), 3600);
    let main = [
        ("namespace", "a"),
        ("pod", "p"),
        ("uid", "p"),
        ("container", "main"),
    ];
    store.hold(
        "kube_pod_container_state_started",
        &main,
        (1230, 3600),
        (T0 + 1225) as f64,
    );
    let ended = "kube_pod_container_status_last_terminated_timestamp";
    store.hold(ended, &main, (1230, 3600), (T0 + 1205) as f64);
    assert_eq!(ends(&store, 3600), [[(100, 1205), (1225, 3600)]]);
}

#[test]
fn what_waits_for_its_image_costs_nothing() {
    let mut store = Store::default();
    write(&mut store, "p", &truth(100, 3600, true), 3600);
    let pod = [
        ("namespace", "a"),
        ("pod", "w"),
        ("uid", "w"),
        ("node", "n"),
    ];
    store.hold("kube_pod_info", &pod, (100, 3600), 1.0);
    let main = [
        ("namespace", "a"),
        ("pod", "w"),
        ("uid", "w"),
        ("container", "main"),
    ];
    store.hold("kube_pod_container_info", &main, (100, 3600), 1.0);
    assert_eq!(ends(&store, 3600), [vec![(100, 3600)], vec![]]);
}

#[test]
fn what_is_still_there_lives_until_now() {
    let mut store = Store::default();
    write(&mut store, "p", &truth(100, 99_000, false), 3600);
    assert_eq!(ends(&store, 3590), [[(100, 3590)]]);
}

#[test]
fn usage_alone_makes_a_pod() {
    let mut store = Store::default();
    let labels = [
        ("namespace", "a"),
        ("pod", "p"),
        ("container", "main"),
        ("node", "n"),
    ];
    let points = (0..=20)
        .map(|n| (600 + n * STEP, n as f64 * 15.0))
        .collect();
    store.put("container_cpu_usage_seconds_total", &labels, points);
    let found = by_pod(&store, &read(1215));
    let one = &found["p"];
    assert!(
        (one.cpu.used * 3600.0 - 307.5).abs() < 1.0,
        "{}",
        one.cpu.used * 3600.0
    );
    assert_eq!(one.properties.node, "n");
}

#[test]
fn two_jobs_that_tell_of_the_same_count_once() {
    let mut store = Store::default();
    write(&mut store, "p", &truth(0, 3600, true), 3600);
    let labels = [
        ("namespace", "a"),
        ("pod", "p"),
        ("container", "main"),
        ("job", "resource"),
    ];
    let points = (0..60).map(|n| (n * 60, n as f64 * 30.0)).collect();
    store.put("container_cpu_usage_seconds_total", &labels, points);
    let found = by_pod(&store, &read(3600));
    assert!(
        (found["p"].cpu.used - 0.5).abs() < 0.01,
        "{}",
        found["p"].cpu.used
    );
}

#[test]
fn who_made_a_pod() {
    let check = |owner: (&str, &str), more: &[(&str, &[(&str, &str)])], expect: (&str, &str)| {
        let mut store = Store::default();
        write(&mut store, "p", &truth(0, 3600, true), 3600);
        let pod = [("namespace", "a"), ("pod", "p"), ("uid", "p")];
        let owned = [("owner_kind", owner.0), ("owner_name", owner.1)];
        let labels: Vec<_> = pod.iter().chain(&owned).copied().collect();
        store.hold("kube_pod_owner", &labels, (0, 3600), 1.0);
        for (name, labels) in more {
            store.hold(name, labels, (0, 3600), 1.0);
        }
        let found = by_pod(&store, &read(3600));
        let p = &found["p"].properties;
        assert_eq!((&*p.controller_kind, &*p.controller), expect);
    };
    let owner = |kind, name, by: &'static str, made| {
        [
            ("namespace", "a"),
            (by, made),
            ("owner_kind", kind),
            ("owner_name", name),
        ]
    };
    let deployment = owner("Deployment", "web", "replicaset", "web-6c8");
    check(
        ("ReplicaSet", "web-6c8"),
        &[("kube_replicaset_owner", &deployment)],
        ("deployment", "web"),
    );
    check(("ReplicaSet", "alone"), &[], ("replicaset", "alone"));
    check(("StatefulSet", "db"), &[], ("statefulset", "db"));
    check(("Job", "backup-28012345"), &[], ("job", "backup"));
    check(("Job", "once"), &[], ("job", "once"));
    check(("Node", "n"), &[], ("", ""));
    check(("<none>", "<none>"), &[], ("", ""));
}

#[test]
fn volumes_and_services() {
    let mut store = Store::default();
    node(&mut store, 3600);
    write(&mut store, "p", &truth(0, 3600, true), 3600);
    let hold = |store: &mut Store, name: &str, labels: &[(&str, &str)], value: f64| {
        store.hold(name, labels, (0, 3600), value);
    };
    let volume = [("persistentvolume", "v")];
    hold(
        &mut store,
        "kube_persistentvolume_capacity_bytes",
        &volume,
        10.0 * GIB,
    );
    let claim = [
        ("persistentvolume", "v"),
        ("claim_namespace", "a"),
        ("name", "data"),
    ];
    hold(&mut store, "kube_persistentvolume_claim_ref", &claim, 1.0);
    let mount = [
        ("namespace", "a"),
        ("pod", "p"),
        ("uid", "p"),
        ("persistentvolumeclaim", "data"),
    ];
    hold(
        &mut store,
        "kube_pod_spec_volumes_persistentvolumeclaims_info",
        &mount,
        1.0,
    );
    let service = [
        ("namespace", "a"),
        ("service", "web"),
        ("type", "LoadBalancer"),
    ];
    hold(&mut store, "kube_service_spec_type", &service, 1.0);
    let slice = [
        ("namespace", "a"),
        ("endpointslice", "web-abcde"),
        ("targetref_kind", "Pod"),
        ("targetref_name", "p"),
    ];
    hold(&mut store, "kube_endpointslice_endpoints", &slice, 1.0);
    let found = by_pod(&store, &read(3600));
    let one = &found["p"];
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    near(one.volume_cost(), 10.0 * 0.000_054_794_52);
    near(one.balancer_cost(), 0.025);
    assert_eq!(one.properties.services, ["web"]);
    assert_eq!(one.properties.provider_id, "aws:///eu/i-1");
}

#[test]
fn long_windows_are_read_by_steps() {
    let read = Read {
        window: Span::new(0, 30 * 86_400 * S),
        now: i64::MAX,
        step: None,
        cluster: String::new(),
    };
    let all = read.questions();
    let steps = all.iter().filter_map(|question| match question.asked {
        Asked::Range { start, end, step } => Some((end - start) / step),
        Asked::At(_) => None,
    });
    assert!(steps.clone().count() == 13 && steps.clone().all(|n| n <= STEPS[0]));
    assert!(all.iter().all(|question| !question.name.is_empty()));
    let nothing = Read {
        now: -86_400 * S,
        ..read
    };
    assert!(nothing.questions().is_empty());
}
