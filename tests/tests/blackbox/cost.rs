//! Costs: metrics of a cluster come in as they do from Prometheus, and OpenCost's API is asked.

use serde_json::Value;

use crate::process::{Obs, now};
use crate::send::{self, MINUTE, SECOND};

const GIB: f64 = 1_073_741_824.0;
/// The hour that is asked about: two hours ago, from a whole minute on.
const AGO: i64 = 2 * 60 * MINUTE;

/// Series of a cluster with one node and two pods: one runs all the time and uses more than it
/// requests, the other is a job of five minutes and seven seconds.
fn batch(start: i64) -> obs_model::metrics::MetricBatch {
    let seconds = |at: i64| ((start + at * SECOND) / SECOND) as f64;
    let mut series = Vec::new();
    let mut put = |name: &str, labels: &[(&str, &str)], value: &dyn Fn(i64) -> Option<f64>| {
        let all: Vec<(&str, &str)> = labels.iter().copied().chain([("__name__", name)]).collect();
        let times = (0..=120).map(|n| n * 30);
        let points = times.filter_map(|at| Some((start + at * SECOND, value(at)?)));
        series.push(send::series(&all, points));
    };
    let always = |value: f64| move |_: i64| Some(value);
    let from = |begin: i64, value: f64| move |at: i64| (at >= begin).then_some(value);
    put(
        "kube_node_info",
        &[("node", "n1"), ("provider_id", "gce://p/z/n1")],
        &always(1.0),
    );
    for (resource, size) in [("cpu", 4.0), ("memory", 16.0 * GIB)] {
        let labels = [("node", "n1"), ("resource", resource)];
        put("kube_node_status_capacity", &labels, &always(size));
    }
    for (pod, begin, cpu, ram) in [("web-1", -600, 0.5, GIB), ("job-1", 1003, 2.0, 2.0 * GIB)] {
        let own = [
            ("namespace", pod.split_once('-').map_or("", |p| p.0)),
            ("pod", pod),
            ("uid", pod),
        ];
        let with = |more: &[(&'static str, &'static str)]| -> Vec<(&str, &str)> {
            own.iter().chain(more).copied().collect()
        };
        let main = ("container", "main");
        put("kube_pod_info", &with(&[("node", "n1")]), &from(begin, 1.0));
        put("kube_pod_start_time", &own, &from(begin, seconds(begin)));
        put("kube_pod_container_info", &with(&[main]), &from(begin, 1.0));
        let started = with(&[main]);
        put(
            "kube_pod_container_state_started",
            &started,
            &from(begin, seconds(begin)),
        );
        for (resource, value) in [("cpu", cpu), ("memory", ram)] {
            let labels = with(&[main, ("resource", resource), ("node", "n1")]);
            put(
                "kube_pod_container_resource_requests",
                &labels,
                &from(begin, value),
            );
        }
    }
    let job = [("namespace", "job"), ("pod", "job-1"), ("uid", "job-1")];
    put("kube_pod_completion_time", &job, &from(1310, seconds(1310)));
    let terminated: Vec<_> = job.iter().copied().chain([("container", "main")]).collect();
    put("kube_pod_container_status_terminated", &terminated, &|at| {
        (at >= 1003).then_some(if at >= 1310 { 1.0 } else { 0.0 })
    });
    let web = [
        ("namespace", "web"),
        ("pod", "web-1"),
        ("container", "main"),
    ];
    // One core from the begin of the pod, ten minutes before the hour.
    put("container_cpu_usage_seconds_total", &web, &|at| {
        Some((at + 600) as f64)
    });
    put(
        "container_memory_working_set_bytes",
        &web,
        &always(0.5 * GIB),
    );
    obs_model::metrics::MetricBatch {
        series,
        ..Default::default()
    }
}

fn number_of(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("not a number: {value}"))
}

fn near(found: &Value, expect: f64) {
    let found = number_of(found);
    assert!((found - expect).abs() < 2e-5, "{found} is not {expect}");
}

#[test]
fn allocation_of_a_cluster() {
    let obs = Obs::with_config("obs: {cost: {prices: {cpu: 0.04, ram: 0.005}, cluster: shop}}\n");
    let start = (now() - AGO) / MINUTE * MINUTE;
    let told = send::remote_write(&obs, &batch(start));
    assert!(told.status < 300, "{}", told.text());
    let window = format!("{},{}", start / SECOND, start / SECOND + 3600);
    let ask = |path: &str, more: &[(&str, &str)]| {
        let params: Vec<_> = [("window", window.as_str())]
            .iter()
            .chain(more)
            .copied()
            .collect();
        obs.get(path, &params).json()
    };
    let options = [("aggregate", "namespace"), ("includeIdle", "true")];
    for path in ["/allocation", "/allocation/compute"] {
        let told = ask(path, &options);
        assert_eq!(told["code"], 200, "{told}");
        let set = &told["data"][0];
        near(&set["web"]["cpuCost"], 0.04);
        near(&set["web"]["ramCost"], 0.005);
        near(&set["web"]["cpuEfficiency"], 2.0);
        // 307 seconds of two cores and two GiB.
        near(&set["job"]["cpuCost"], 2.0 * 0.04 * 307.0 / 3600.0);
        near(&set["job"]["ramCost"], 2.0 * 0.005 * 307.0 / 3600.0);
        near(
            &set["__idle__"]["cpuCost"],
            0.04 * (3.0 - 2.0 * 307.0 / 3600.0),
        );
    }
    let node = ask("/assets", &[]);
    let key = "GCP/__undefined__/__undefined__/Compute/shop/Node/Kubernetes/gce://p/z/n1/n1";
    near(&node["data"][key]["totalCost"], 4.0 * 0.04 + 16.0 * 0.005);
    // Nothing is lost: what is charged and what is idle is what is paid.
    let all = ask("/api/v1/cost/allocation", &options);
    let total = number_of(&all["data"]["sets"][0]["totalCost"]);
    assert!((total - 0.24).abs() < 1e-9, "{total}");
    // OpenCost's metrics are of now, and of now nothing is known but prices.
    let metrics = obs.get("/metrics", &[]).text();
    assert!(
        metrics.contains("\nkubecost_network_internet_egress_cost 0.12\n"),
        "{metrics}"
    );
    // The same by the command.
    let output = obs.client(&["cost", "--window", &window, "-o", "csv"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains("\nweb,0.0400,0.0050,"), "{text}");
    assert!(text.contains("\nSUMMED,0.1600,0.0800,"), "{text}");
}
