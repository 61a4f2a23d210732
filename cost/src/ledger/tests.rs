//! Accounts against what was paid.

use proptest::prelude::*;

use super::*;
use crate::prices::Prices;
use crate::span::Steps;
use crate::usage::Segment;

const S: i64 = 1_000_000_000;
const HOUR: i64 = 3600 * S;

fn near(found: f64, expect: f64, within: f64) {
    let bound = within * expect.abs().max(1.0);
    assert!((found - expect).abs() <= bound, "{found} is not {expect}");
}

fn node(name: &str, life: Span) -> Node {
    Node {
        cluster: "c".to_owned(),
        name: name.to_owned(),
        life,
        cpu: Steps::constant(8.0),
        ram: Steps::constant(32.0 * GIB),
        gpu: Steps::constant(1.0),
        ..Node::default()
    }
}

fn pod(name: &str, node: &str, lives: &[Span], (cpu, ram): (f64, f64)) -> Pod {
    let whole = lives
        .iter()
        .fold(Span::default(), |sum, life| sum.union(*life));
    Pod {
        cluster: "c".to_owned(),
        namespace: "a".to_owned(),
        name: name.to_owned(),
        node: node.to_owned(),
        life: whole,
        containers: vec![Container {
            name: "main".to_owned(),
            lives: lives.to_vec(),
            cpu_request: Steps::constant(cpu),
            ram_request: Steps::constant(ram),
            ..Container::default()
        }],
        ..Pod::default()
    }
}

#[test]
fn an_hour_of_a_request_costs_its_price() {
    let life = Span::new(0, HOUR);
    let cluster = Cluster {
        nodes: vec![node("n", life)],
        pods: vec![pod("p", "n", &[life], (2.0, 4.0 * GIB))],
        ..Cluster::default()
    };
    let made = ledger(&cluster, &Book::default(), life);
    let one = &made.allocations[0];
    near(one.cpu.cost, 2.0 * 0.031611, 1e-12);
    near(one.ram.cost, 4.0 * 0.004237, 1e-12);
    assert_eq!(one.name, "c/n/a/p/main");
    let idle = &made.idle()[0];
    near(idle.cpu.cost, 6.0 * 0.031611, 1e-12);
    near(idle.gpu.cost, 0.95, 1e-12);
    near(made.paid(), 8.0 * 0.031611 + 32.0 * 0.004237 + 0.95, 1e-12);
}

#[test]
fn the_larger_of_request_and_usage_at_each_moment() {
    let life = Span::new(0, 2 * HOUR);
    let mut p = pod("p", "n", &[life], (1.0, 0.0));
    let busy = Segment {
        span: Span::new(0, HOUR),
        rate: 3.0,
    };
    let calm = Segment {
        span: Span::new(HOUR, 2 * HOUR),
        rate: 0.5,
    };
    p.containers[0].cpu_usage = Usage::new(vec![busy, calm]);
    let cluster = Cluster {
        nodes: vec![node("n", life)],
        pods: vec![p],
        ..Cluster::default()
    };
    let one = ledger(&cluster, &Book::default(), life)
        .allocations
        .remove(0);
    near(one.cpu.hours, 4.0, 1e-12);
    near(one.cpu.used, 3.5, 1e-12);
    near(one.cpu.requested, 2.0, 1e-12);
    assert_eq!(one.peak.map(|peak| peak.0), Some(3.0));
}

#[test]
fn a_change_of_prices_counts_from_its_time_on() {
    let life = Span::new(0, 2 * HOUR);
    let cluster = Cluster {
        nodes: vec![node("n", life)],
        pods: vec![pod("p", "n", &[life], (1.0, 0.0))],
        ..Cluster::default()
    };
    let prices = |cpu: f64| Prices {
        cpu,
        ..Prices::default()
    };
    let book = Book::new(prices(1.0), vec![(HOUR, prices(2.0))], vec![]);
    let one = ledger(&cluster, &book, life).allocations.remove(0);
    near(one.cpu.cost, 3.0, 1e-12);
}

#[test]
fn volumes_are_shared_by_who_mounts_them() {
    let (first, second) = (Span::new(0, 2 * HOUR), Span::new(HOUR, 3 * HOUR));
    let window = Span::new(0, 4 * HOUR);
    let with_claim = |name: &str, life: Span| Pod {
        claims: vec!["data".to_owned()],
        ..pod(name, "n", &[life], (1.0, GIB))
    };
    let volume = Volume {
        cluster: "c".to_owned(),
        name: "v".to_owned(),
        claim: Some(("a".to_owned(), "data".to_owned())),
        life: window,
        bytes: 10.0 * GIB,
        ..Volume::default()
    };
    let cluster = Cluster {
        nodes: vec![node("n", window)],
        pods: vec![with_claim("p", first), with_claim("q", second)],
        volumes: vec![volume],
        ..Cluster::default()
    };
    let made = ledger(&cluster, &Book::default(), window);
    let costs: Vec<(&str, f64)> = made
        .allocations
        .iter()
        .map(|one| (one.properties.pod.as_str(), one.volume_cost()))
        .collect();
    let hour = 10.0 * 0.000_054_794_52;
    let expect = [("p", 1.5 * hour), ("q", 1.5 * hour), (UNMOUNTED, hour)];
    for ((pod, cost), (name, expect)) in costs.iter().zip(expect) {
        assert_eq!(*pod, name);
        near(*cost, expect, 1e-12);
    }
}

#[test]
fn load_balancers_are_shared_by_hours() {
    let window = Span::new(0, 4 * HOUR);
    let served = |name: &str, hours: i64| Pod {
        services: vec!["web".to_owned()],
        ..pod(name, "n", &[Span::new(0, hours * HOUR)], (1.0, GIB))
    };
    let balancer = |service: &str| Balancer {
        cluster: "c".to_owned(),
        namespace: "a".to_owned(),
        service: service.to_owned(),
        address: "10.0.0.1".to_owned(),
        life: window,
    };
    let cluster = Cluster {
        pods: vec![served("p", 1), served("q", 3)],
        balancers: vec![balancer("web"), balancer("lost")],
        ..Cluster::default()
    };
    let made = ledger(&cluster, &Book::default(), window);
    let costs: Vec<f64> = made
        .allocations
        .iter()
        .map(Allocation::balancer_cost)
        .collect();
    for (found, expect) in costs.iter().zip([0.025, 0.075, 0.1]) {
        near(*found, expect, 1e-12);
    }
    assert_eq!(made.allocations[2].properties.services, ["lost"]);
    assert!(made.assets[0].address.1);
}

#[test]
fn bytes_that_leave_cost() {
    let life = Span::new(0, HOUR);
    let mut p = pod("p", "n", &[life], (1.0, GIB));
    let gib = |amount: f64| {
        let rate = amount * GIB / life.seconds();
        Usage::new(vec![Segment { span: life, rate }])
    };
    p.flow.internet = gib(2.0);
    p.flow.zone = gib(1.0);
    p.sent = gib(3.0);
    let cluster = Cluster {
        nodes: vec![node("n", life)],
        pods: vec![p],
        ..Cluster::default()
    };
    let made = ledger(&cluster, &Book::default(), life);
    let one = &made.allocations[0];
    near(one.network_cost(), 0.25, 1e-9);
    near(one.sent / GIB, 3.0, 1e-9);
    let asset = made.assets.iter().find(|a| a.kind == AssetKind::Network);
    near(asset.map_or(0.0, Asset::total), 0.25, 1e-9);
}

/// Begin, length in seconds, node, cores, GiB, core-seconds per second.
type Life = (i64, i64, usize, f64, f64, f64);

fn lives() -> impl Strategy<Value = Vec<Life>> {
    let life = (
        0..86_000i64,
        1..20_000i64,
        0..3usize,
        0.0..4.0f64,
        0.0..8.0f64,
        0.0..3.0f64,
    );
    proptest::collection::vec(life, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Allocated and idle are what the nodes cost, computed here second by second of change.
    #[test]
    fn the_ledger_balances(lives in lives(), cut in 1..86_399i64, dear in 0.01..0.5f64) {
        let day = Span::new(0, 86_400 * S);
        let change = cut * S;
        let prices = |cpu: f64| Prices { cpu, ..Prices::default() };
        let book = Book::new(prices(0.03), vec![(change, prices(dear))], vec![]);
        let mut cluster = Cluster::default();
        for index in 0..3 {
            cluster.nodes.push(node(&index.to_string(), day));
        }
        for (index, (start, length, on, cpu, gib, used)) in lives.iter().enumerate() {
            let life = Span::new(start * S, (start + length).min(86_400) * S);
            let mut p = pod(&format!("p{index}"), &on.to_string(), &[life], (*cpu, gib * GIB));
            p.containers[0].cpu_usage = Usage::new(vec![Segment { span: life, rate: *used }]);
            cluster.pods.push(p);
        }
        let made = ledger(&cluster, &book, day);
        let idle = made.idle();
        // By hand: charged core-seconds before and after the change.
        let (mut cpu, mut ram) = ([0.0; 3], [0.0; 3]);
        for (start, length, on, request, gib, used) in &lives {
            let end = (start + length).min(86_400);
            let before = (end.min(cut) - start.min(&cut)) as f64;
            let after = (end - start) as f64 - before;
            cpu[*on] += request.max(*used) / 3600.0 * (before * 0.03 + after * dear);
            ram[*on] += gib * 0.004237 * (end - start) as f64 / 3600.0;
        }
        let (before, after) = (cut as f64 / 3600.0, (86_400 - cut) as f64 / 3600.0);
        let node_cpu = 8.0 * (before * 0.03 + after * dear);
        for on in 0..3 {
            let name = on.to_string();
            let of = |all: &[Allocation], cost: fn(&Allocation) -> f64| -> f64 {
                all.iter().filter(|a| a.properties.node == name).map(cost).sum()
            };
            let allocated = of(&made.allocations, |a| a.cpu.cost);
            near(allocated, cpu[on], 1e-9);
            near(of(&made.allocations, |a| a.ram.cost), ram[on], 1e-9);
            near(allocated + of(&idle, |a| a.cpu.cost), node_cpu, 1e-9);
            let memory = of(&made.allocations, |a| a.ram.cost) + of(&idle, |a| a.ram.cost);
            near(memory, 32.0 * 0.004237 * 24.0, 1e-9);
        }
        let charged: f64 = made.allocations.iter().chain(&idle).map(Allocation::total).sum();
        near(charged, made.paid(), 1e-9);
        // Windows that follow each other cost what the whole does.
        let parts = day.cut([change, 40_000 * S]);
        let sum: f64 = parts.iter().map(|part| ledger(&cluster, &book, *part).paid()).sum();
        near(sum, made.paid(), 1e-9);
    }
}
