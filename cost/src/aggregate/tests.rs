//! Aggregation, idle and sharing against sums made by hand.

use super::*;
use crate::allocation::Resource;
use crate::asset::{Asset, AssetKind};
use crate::filter::Filter;

fn near(found: f64, expect: f64) {
    assert!((found - expect).abs() < 1e-9, "{found} is not {expect}");
}

fn one(namespace: &str, node: &str, pod: &str, (cpu, ram): (f64, f64)) -> Allocation {
    let cost = |cost: f64| Resource {
        hours: cost,
        requested: 1.0,
        used: 0.5,
        cost,
    };
    let life = Span::new(0, crate::HOUR);
    let mut one = Allocation {
        name: format!("c/{node}/{namespace}/{pod}/main"),
        window: life,
        life,
        cpu: cost(cpu),
        ram: cost(ram),
        ..Allocation::default()
    };
    let p = &mut one.properties;
    for (place, text) in [
        (&mut p.cluster, "c"),
        (&mut p.node, node),
        (&mut p.namespace, namespace),
        (&mut p.pod, pod),
        (&mut p.container, "main"),
        (&mut p.controller, namespace),
        (&mut p.controller_kind, "deployment"),
    ] {
        text.clone_into(place);
    }
    p.labels.insert("team".to_owned(), format!("t-{namespace}"));
    one
}

fn sample() -> Ledger {
    let life = Span::new(0, crate::HOUR);
    let node = |name: &str, cpu: f64, ram: f64, gpu: f64| {
        let mut asset = Asset::new(AssetKind::Node, "c", name, life);
        asset.costs = [cpu, ram, gpu];
        asset.amounts = [cpu, ram, gpu];
        asset
    };
    let mut bare = one("c", "n2", "z", (2.0, 0.0));
    bare.properties.controller.clear();
    bare.properties.labels.clear();
    Ledger {
        window: life,
        allocations: vec![
            one("a", "n1", "p", (1.0, 1.0)),
            one("a", "n1", "q", (2.0, 1.0)),
            one("b", "n1", "r", (1.0, 2.0)),
            bare,
        ],
        assets: vec![node("n1", 8.0, 8.0, 3.0), node("n2", 4.0, 1.0, 0.0)],
    }
}

fn check(aggregate: &Aggregate, expect: &[(&str, f64)]) {
    let found = aggregate.run(&sample());
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    let wanted: Vec<&str> = expect.iter().map(|e| e.0).collect();
    assert_eq!(names, wanted);
    for ((name, one), (_, cost)) in found.iter().zip(expect) {
        assert_eq!(*name, one.name);
        near(one.total(), *cost);
    }
}

fn by(text: &str) -> Aggregate {
    Aggregate {
        by: properties(text).expect("known"),
        ..Aggregate::default()
    }
}

#[test]
fn keys() {
    check(&by("namespace"), &[("a", 5.0), ("b", 3.0), ("c", 2.0)]);
    check(&by("all"), &[("", 10.0)]);
    check(&by("cluster,node"), &[("c/n1", 8.0), ("c/n2", 2.0)]);
    check(
        &by("controller"),
        &[
            ("__unallocated__", 2.0),
            ("deployment:a", 5.0),
            ("deployment:b", 3.0),
        ],
    );
    check(&by("controllerKind"), &[("deployment", 10.0)]);
    check(&by("statefulset"), &[("__unallocated__", 10.0)]);
    check(
        &by("label:team"),
        &[("__unallocated__", 2.0), ("t-a", 5.0), ("t-b", 3.0)],
    );
    check(
        &by("team"),
        &[("__unallocated__", 2.0), ("t-a", 5.0), ("t-b", 3.0)],
    );
    let none = Aggregate::default().run(&sample());
    assert_eq!(
        none.keys().next().map(String::as_str),
        Some("c/n1/a/p/main")
    );
    let fault = properties("namespace,boat");
    assert_eq!(fault, Err(CostError::Property("boat".to_owned())));
}

#[test]
fn idle_apart_or_shared() {
    let idle = Aggregate {
        idle: true,
        ..by("namespace")
    };
    check(
        &idle,
        &[("__idle__", 14.0), ("a", 5.0), ("b", 3.0), ("c", 2.0)],
    );
    let split = Aggregate {
        split_idle: true,
        idle_by_node: true,
        ..idle.clone()
    };
    check(
        &split,
        &[
            ("a", 5.0),
            ("b", 3.0),
            ("c", 2.0),
            ("c/n1/__idle__", 11.0),
            ("c/n2/__idle__", 3.0),
        ],
    );
    // Of the cluster: CPU 6 by 3:1:2, memory 5 by 2:2:0; nobody has GPUs.
    let shared = Aggregate {
        share_idle: true,
        ..idle.clone()
    };
    check(
        &shared,
        &[("__idle__", 3.0), ("a", 10.5), ("b", 6.5), ("c", 4.0)],
    );
    // Of nodes: CPU 4 by 3:1, memory 4 by 2:2; and CPU 2.
    let by_node = Aggregate {
        idle_by_node: true,
        ..shared.clone()
    };
    check(
        &by_node,
        &[("__idle__", 4.0), ("a", 10.0), ("b", 6.0), ("c", 4.0)],
    );
}

#[test]
fn filters_take_their_part_of_idle_with_them() {
    let filter = Filter::parse::<Allocation>("namespace:\"b\"").ok();
    let narrowed = Aggregate {
        idle: true,
        filter,
        ..by("namespace")
    };
    check(&narrowed, &[("__idle__", 1.0 + 2.5), ("b", 3.0)]);
    let shared = Aggregate {
        share_idle: true,
        ..narrowed
    };
    check(&shared, &[("__idle__", 3.0), ("b", 6.5)]);
}

#[test]
fn shared_costs() {
    let share = Filter::parse::<Allocation>("namespace:\"b\"").ok();
    let weighted = Aggregate {
        share,
        ..by("namespace")
    };
    check(
        &weighted,
        &[("a", 5.0 + 3.0 * 5.0 / 7.0), ("c", 2.0 + 3.0 * 2.0 / 7.0)],
    );
    let even = Aggregate {
        split: ShareSplit::Even,
        ..weighted.clone()
    };
    check(&even, &[("a", 6.5), ("c", 3.5)]);
    let overhead = Aggregate {
        overhead: 730.0 * 10.0,
        ..by("namespace")
    };
    check(&overhead, &[("a", 10.0), ("b", 6.0), ("c", 4.0)]);
    let found = even.run(&sample());
    let part = found["a"].shared_breakdown["b"];
    near(part.total, 1.5);
    near(part.parts[0], 0.5);
    let all = Filter::parse::<Allocation>("namespace:\"a\",\"b\",\"c\"").ok();
    check(
        &Aggregate {
            share: all,
            ..by("namespace")
        },
        &[("__shared__", 10.0)],
    );
}

#[test]
fn parts_of_nodes() {
    let parts = Aggregate {
        proportions: true,
        idle_by_node: true,
        ..by("namespace")
    };
    let found = parts.run(&sample());
    let part = &found["a"].proportions["c,n1"];
    assert_eq!(
        (part.costs, part.totals),
        ([3.0, 2.0, 0.0], [8.0, 8.0, 3.0])
    );
}

#[test]
fn windows_add_up() {
    let day = 24 * crate::HOUR;
    let sets = |count: i64| -> Vec<_> {
        let window = |n: i64| Span::new(n * day / 2, (n + 1) * day / 2);
        (0..count)
            .map(|n| (window(n), by("namespace").run(&sample())))
            .collect()
    };
    let all = accumulate(sets(5), Accumulate::All, false);
    assert_eq!(all.len(), 1);
    near(all[0].1["a"].total(), 25.0);
    let days = accumulate(sets(5), Accumulate::Day, false);
    let spans: Vec<i64> = days
        .iter()
        .map(|(span, _)| span.nanos() / (day / 2))
        .collect();
    assert_eq!(spans, [2, 2, 1]);
}
