//! Recommendations computed a second time.

use proptest::prelude::{ProptestConfig, prop_assert, proptest};

use super::*;
use crate::span::Steps;
use crate::usage::{Segment, Usage};

const MINUTE: i64 = 60_000_000_000;

fn usage(values: &[f64]) -> Usage {
    let segments = values.iter().enumerate().map(|(index, rate)| {
        let start = index as i64 * MINUTE;
        Segment {
            span: Span::new(start, start + MINUTE),
            rate: *rate,
        }
    });
    Usage::new(segments.collect())
}

fn cluster(pods: &[(&[f64], &[f64])]) -> Cluster {
    let mut made = Cluster::default();
    for (index, (cpu, ram)) in pods.iter().enumerate() {
        let life = Span::new(0, cpu.len().max(ram.len()) as i64 * MINUTE);
        made.pods.push(Pod {
            name: format!("p{index}"),
            life,
            controller: Controller {
                kind: "deployment".to_owned(),
                name: "web".to_owned(),
            },
            containers: vec![Container {
                name: "main".to_owned(),
                lives: vec![life],
                cpu_request: Steps::constant(2.0),
                ram_request: Steps::constant(GIB),
                cpu_usage: usage(cpu),
                ram_usage: usage(ram),
                ..Container::default()
            }],
            ..Pod::default()
        });
    }
    made
}

fn one(cluster: &Cluster, minutes: usize, strategy: Strategy) -> Recommendation {
    let window = Span::new(0, minutes as i64 * MINUTE);
    let mut all = rightsize(cluster, &Book::default(), window, strategy);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

#[test]
fn too_little_was_seen() {
    let found = one(&cluster(&[(&[0.1; 50], &[1e8; 50])]), 50, Strategy::Krr);
    assert_eq!(
        (found.proposed, found.monthly, found.confidence),
        (None, 0.0, 0.0)
    );
    assert_eq!(found.patch(), None);
}

#[test]
fn krr_by_hand() {
    let calm = [0.1; 200];
    let mut busy = [0.2; 200];
    busy[..20].fill(0.5);
    let found = one(
        &cluster(&[(&calm, &[2e8; 200]), (&busy, &[1e8; 200])]),
        200,
        Strategy::Krr,
    );
    let proposed = found.proposed.expect("enough was seen");
    // The 95th percentile of the busy one lies among its tenth; 2e8 × 1.15 in whole MiB.
    assert_eq!((proposed.cpu, proposed.ram / MIB), (0.5, 220.0));
    assert_eq!(found.pods, 2);
    let saved = (1.5 * 0.031611 + (1.0 - 220.0 / 1024.0) * 0.004237) * 730.0 * 2.0;
    assert!((found.monthly - saved).abs() < 1e-9, "{}", found.monthly);
    let patch = found.patch().expect("a deployment");
    assert!(
        patch.contains(r#""requests":{"cpu":"500m","memory":"220Mi"}"#),
        "{patch}"
    );
}

#[test]
fn what_was_killed_for_memory_gets_more() {
    let mut killed = cluster(&[(&[0.1; 200], &[2e8; 200])]);
    let container = &mut killed.pods[0].containers[0];
    (container.killed_for_memory, container.ram_limit) = (true, Some(1000.0 * MIB));
    let found = one(&killed, 200, Strategy::Krr);
    assert_eq!(found.proposed.map(|size| size.ram / MIB), Some(1250.0));
    let found = one(&killed, 200, Strategy::Vpa);
    // 1.2 times the limit, the end of its bucket, and 15 % on top.
    let ram = found.proposed.map_or(0.0, |size| size.ram / MIB);
    assert!(
        (1200.0 * 1.15..1200.0 * 1.15 * 1.06).contains(&ram),
        "{ram}"
    );
}

#[test]
fn vpa_by_hand() {
    let found = one(
        &cluster(&[(&[0.4; 1440], &[6e8; 1440])]),
        1440,
        Strategy::Vpa,
    );
    let proposed = found.proposed.expect("something was seen");
    // Buckets: 0.01 × (1.05ⁿ − 1) / 0.05. 0.4 lies in the 22nd, whose end is the start of the next.
    let end = |first: f64, n: i32| first * (1.05f64.powi(n) - 1.0) / 0.05;
    assert!(
        (proposed.cpu - end(0.01, 23) * 1.15).abs() < 1e-9,
        "{proposed:?}"
    );
    assert!(
        (proposed.ram - end(1e7, 29) * 1.15).abs() < 1.0,
        "{proposed:?}"
    );
    let (lower, upper) = found.bounds.expect("bounds");
    assert!(lower.cpu < proposed.cpu && upper.cpu > proposed.cpu * 1.9);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Recomputed in another way: the percentile by counting.
    #[test]
    fn krr_is_the_percentile(values in proptest::collection::vec(0.0..4.0f64, 100..300)) {
        let found = one(&cluster(&[(&values, &values)]), values.len(), Strategy::Krr);
        let cpu = found.proposed.expect("enough was seen").cpu;
        let below = values.iter().filter(|v| **v <= cpu).count() as f64 / values.len() as f64;
        prop_assert!(below >= 0.94, "{below}");
        let above = values.iter().filter(|v| **v >= cpu - 0.001).count() as f64;
        prop_assert!(above / values.len() as f64 >= 0.04);
    }
}
