//! Objects and the lines that they make, for every resource; scrapes; odd objects.
//!
//! A file of `tests/` has objects, each behind the name of its resource, then `===`, then the
//! lines.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::labels::AllowLists;
use super::resource::RESOURCES;
use super::rows::Rows;
use super::settings::Settings;
use super::sheet::Sheet;
use super::store::{Scrape, Store};
use crate::object::Key;
use crate::watch::Event;

const CASES: [(&str, &str); 9] = [
    ("pods", include_str!("tests/pods.txt")),
    ("nodes", include_str!("tests/nodes.txt")),
    ("workloads", include_str!("tests/workloads.txt")),
    ("batch", include_str!("tests/batch.txt")),
    ("storage", include_str!("tests/storage.txt")),
    ("network", include_str!("tests/network.txt")),
    ("policy", include_str!("tests/policy.txt")),
    ("cluster", include_str!("tests/cluster.txt")),
    ("admission", include_str!("tests/admission.txt")),
];

/// Everything that can be shown of a resource.
fn sheet(resource: &str) -> Sheet {
    let settings = Settings {
        resources: vec![resource.to_owned()],
        labels: AllowLists::parse("*=[*]").unwrap(),
        annotations: AllowLists::parse("*=[*]").unwrap(),
        metric_opt_in_list: vec![".*".to_owned()],
        ..Settings::default()
    };
    settings.sheets().unwrap().pop().expect("a sheet")
}

fn lines(sheet: &Sheet, object: &Value) -> String {
    let mut out = Vec::new();
    if let Some(rows) = sheet.render(object, &mut Rows::default()) {
        let mut cursor = rows.start();
        for (number, column) in sheet.columns().iter().enumerate() {
            rows.print(&mut cursor, number, &column.name, &mut out);
        }
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn objects_become_lines() {
    let mut shown = std::collections::BTreeSet::new();
    let mut faults = Vec::new();
    for (name, case) in CASES {
        let (objects, expect) = case.split_once("===\n").expect("objects, then lines");
        let mut out = String::new();
        for object in objects.split("---\n") {
            let (resource, object) = object.split_once(":\n").expect("resource, then object");
            shown.insert(resource.to_owned());
            let object: Value = serde_yaml_ng::from_str(object).expect("an object");
            out.push_str(&lines(&sheet(resource), &object));
        }
        if out != expect {
            faults.push(format!("{name}.txt should be:\n{out}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let all = RESOURCES.iter().map(|resource| resource.name.to_owned());
    assert_eq!(shown, all.collect());
}

#[test]
fn each_family_is_shown_by_an_object() {
    let shown = |name: &str| {
        let start = format!("\n{name}{{");
        CASES.iter().any(|(_, case)| case.contains(&start))
    };
    for resource in RESOURCES {
        for family in resource.families {
            assert!(shown(family.name), "{}", family.name);
        }
    }
}

/// A store of pods that has seen these events.
fn store(limit: usize, events: Vec<Event<Value>>) -> Arc<Store> {
    let settings = Settings {
        resources: vec!["pods".to_owned()],
        metric_allowlist: vec![
            "^kube_pod_(owner|status_phase|container_status_restarts_total)$".to_owned(),
        ],
        ..Settings::default()
    };
    let sheet = settings.sheets().unwrap().pop().unwrap();
    let store = Store::new(Arc::new(sheet), limit);
    let mut rows = Rows::default();
    for event in events {
        store.take(0, event, |_| true, &mut rows);
    }
    Arc::new(store)
}

fn put(name: &str, phase: &str) -> Event<Value> {
    let object = json!({"metadata": {"namespace": "shop", "name": name, "uid": name},
        "status": {"phase": phase}});
    Event::Put(Key::new("shop", name), object)
}

fn scrape(stores: Vec<Arc<Store>>, open_metrics: bool, piece: usize) -> String {
    let mut scrape = Scrape::new(stores, open_metrics);
    let mut all = Vec::new();
    let mut out = Vec::new();
    while scrape.write(piece, &mut out) {
        all.append(&mut out);
    }
    String::from_utf8(all).unwrap()
}

/// Names of the pods whose phase is shown as 1, with the phase.
fn phases(store: &Arc<Store>) -> Vec<String> {
    let text = scrape(vec![Arc::clone(store)], false, 1000);
    let lines = text
        .lines()
        .filter(|line| line.starts_with("kube_pod_status_phase") && line.ends_with(" 1"));
    let mut phases: Vec<_> = lines
        .map(|line| {
            line.split('"')
                .skip(3)
                .step_by(4)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    phases.sort();
    phases
}

#[test]
fn a_store_follows_its_watch() {
    let events = vec![
        Event::Start,
        put("a", "Pending"),
        put("b", "Running"),
        Event::Ready,
    ];
    let at = |more: Vec<Event<Value>>| phases(&store(0, [events.clone(), more].concat()));
    assert_eq!(at(vec![]), ["a Pending", "b Running"]);
    assert_eq!(at(vec![put("a", "Failed")]), ["a Failed", "b Running"]);
    assert_eq!(at(vec![Event::Gone(Key::new("shop", "a"))]), ["b Running"]);
    assert_eq!(
        at(vec![Event::Gone(Key::new("other", "a"))]),
        ["a Pending", "b Running"]
    );
    // A list that is not complete takes nothing away; one that is does.
    let again = vec![Event::Start, put("c", "Running")];
    assert_eq!(at(again.clone()), ["a Pending", "b Running", "c Running"]);
    assert_eq!(at([again, vec![Event::Ready]].concat()), ["c Running"]);
}

#[test]
fn a_part_of_the_first_list_is_not_shown() {
    let begun = vec![Event::Start, put("a", "Pending")];
    let check = |more: Vec<Event<Value>>, expect: &[&str]| {
        let store = store(0, [begun.clone(), more].concat());
        assert_eq!(phases(&store), expect);
        assert_eq!(store.size().0, expect.len());
    };
    check(vec![], &[]);
    // The list broke off and began again.
    check(vec![Event::Start, put("b", "Running")], &[]);
    check(
        vec![Event::Start, put("b", "Running"), Event::Ready],
        &["b Running"],
    );
}

#[test]
fn a_store_has_a_limit_and_counts() {
    let store = store(
        1,
        vec![
            Event::Start,
            put("a", "Pending"),
            put("b", "Running"),
            Event::Ready,
        ],
    );
    assert_eq!(phases(&store), ["a Pending"]);
    let (objects, bytes) = store.size();
    assert_eq!(objects, 1);
    assert!(bytes > 100 && store.is_complete());
}

#[test]
fn scrapes_in_both_formats() {
    let empty = store(0, vec![Event::Start, Event::Ready]);
    assert_eq!(scrape(vec![Arc::clone(&empty)], false, 10), "");
    assert_eq!(scrape(vec![Arc::clone(&empty)], true, 10), "# EOF\n");
    let one = store(0, vec![put("a", "Running"), Event::Ready]);
    let text = scrape(vec![empty, Arc::clone(&one)], false, 1 << 20);
    assert!(text.starts_with(
        "# HELP kube_pod_container_status_restarts_total [STABLE] How often a container was started again.\n\
         # TYPE kube_pod_container_status_restarts_total counter\n\
         # HELP kube_pod_owner [STABLE] Owners of a pod.\n# TYPE kube_pod_owner gauge\n\
         kube_pod_owner{namespace=\"shop\",pod=\"a\",uid=\"a\",owner_kind=\"\",owner_name=\"\",owner_is_controller=\"\"} 1\n"
    ), "{text}");
    let open = scrape(vec![one], true, 1 << 20);
    assert!(
        open.contains("# TYPE kube_pod_container_status_restarts counter\n"),
        "{open}"
    );
    assert!(open.ends_with("phase=\"Running\"} 1\n# EOF\n"), "{open}");
}

#[test]
fn what_is_scraped_is_what_obs_reads() {
    let objects = ["a", "b", "c"].map(|name| put(name, "Running"));
    let store = store(0, [objects.to_vec(), vec![Event::Ready]].concat());
    let limits = obs_model::limits::Limits::default();
    let text = scrape(vec![Arc::clone(&store)], false, 7);
    // However small the pieces, the whole is the same.
    assert_eq!(text, scrape(vec![Arc::clone(&store)], false, 1 << 20));
    let read = obs_wire::prometheus::text::decode(text.as_bytes(), &limits).unwrap();
    assert_eq!(read.samples.len(), 3 * 6);
    let open = scrape(vec![store], true, 7);
    let read = obs_wire::prometheus::openmetrics::decode(open.as_bytes(), &limits).unwrap();
    assert_eq!(read.samples.len(), 3 * 6);
}

/// JSON of any shape, with the keys that the tables read among its own.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~]{0,8}".prop_map(Value::from),
        Just(json!("2024-01-02T03:04:05Z")),
        Just(json!("100m")),
        Just(json!("True")),
    ];
    let key = prop::sample::select(vec![
        "metadata",
        "spec",
        "status",
        "name",
        "namespace",
        "labels",
        "annotations",
        "uid",
        "containers",
        "initContainers",
        "containerStatuses",
        "state",
        "terminated",
        "running",
        "conditions",
        "type",
        "reason",
        "ownerReferences",
        "resources",
        "limits",
        "cpu",
        "volumes",
        "rules",
        "http",
        "paths",
        "backend",
        "service",
        "metrics",
        "addresses",
        "ports",
        "subsets",
        "endpoints",
        "schedule",
        "replicas",
        "strategy",
        "rollingUpdate",
        "maxSurge",
        "webhooks",
    ]);
    leaf.prop_recursive(5, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..8).prop_map(|map| {
                map.into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect()
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_object_makes_lines_that_can_be_read(metadata in any_json(), spec in any_json(), status in any_json()) {
        let object = json!({"metadata": metadata, "spec": spec, "status": status});
        for resource in RESOURCES {
            let text = lines(&sheet(resource.name), &object);
            let limits = obs_model::limits::Limits::default();
            let read = obs_wire::prometheus::text::decode(text.as_bytes(), &limits);
            prop_assert!(read.is_ok(), "{:?} {}", read.err(), text);
        }
    }
}
