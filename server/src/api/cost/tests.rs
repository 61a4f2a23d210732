//! OpenCost's routes over a store with known series.

use obs_collector::Sink;
use obs_model::metrics::{MetricBatch, Sample, Series};
use obs_model::{Labels, Timestamp};
use serde_json::Value;

use crate::api::tests::Rig;

/// Seconds at which an hour begins.
const HOUR: i64 = 1_699_999_200;

fn series(name: &str, labels: &[(&str, &str)], value: impl Fn(i64) -> f64) -> Series {
    let all = labels.iter().copied().chain([("__name__", name)]);
    let samples = (0..=120).map(|n| Sample {
        time: Timestamp::from_seconds(HOUR + n * 30),
        start: None,
        value: obs_model::Value::Float(value(n * 30)),
    });
    Series {
        labels: Labels::from_pairs(all),
        samples: samples.collect(),
        exemplars: Vec::new(),
        ..Default::default()
    }
}

/// A node with four cores and 8 GiB, and a job's pod that ran for five minutes of the hour.
async fn write(sink: &Sink) {
    let gib = 1_073_741_824.0;
    let pod = [("namespace", "shop"), ("pod", "pay-1"), ("uid", "u1")];
    let with = |more: &[(&'static str, &'static str)]| -> Vec<(&str, &str)> {
        pod.iter().chain(more).copied().collect()
    };
    let main = ("container", "main");
    let start = (HOUR + 610) as f64;
    let mut all = vec![
        series(
            "kube_node_info",
            &[("node", "n1"), ("provider_id", "aws:///a/i-1")],
            |_| 1.0,
        ),
        series("kube_pod_info", &with(&[("node", "n1")]), |_| 1.0),
        series("kube_pod_start_time", &pod, |_| start),
        series("kube_pod_container_state_started", &with(&[main]), |_| {
            start
        }),
        series("kube_pod_completion_time", &pod, |_| start + 300.0),
        series(
            "kube_pod_status_phase",
            &with(&[("phase", "Succeeded")]),
            |_| 1.0,
        ),
        series(
            "kube_pod_owner",
            &with(&[("owner_kind", "Job"), ("owner_name", "pay")]),
            |_| 1.0,
        ),
        series("kube_pod_labels", &with(&[("label_team", "blue")]), |_| 1.0),
    ];
    for (resource, size, request) in [("cpu", 4.0, 2.0), ("memory", 8.0 * gib, gib)] {
        let node = [("node", "n1"), ("resource", resource)];
        all.push(series("kube_node_status_capacity", &node, |_| size));
        let labels = with(&[main, ("resource", resource), ("node", "n1")]);
        all.push(series(
            "kube_pod_container_resource_requests",
            &labels,
            |_| request,
        ));
    }
    let batch = MetricBatch {
        series: all,
        ..Default::default()
    };
    sink.metrics(obs_model::Tenant::anonymous(), batch)
        .await
        .expect("stored");
}

async fn ask(rig: &mut Rig, path: &str) -> Value {
    let told = rig.get(path).await;
    serde_json::from_str(&told.body).expect("JSON")
}

fn near(found: &Value, expect: f64) {
    let found = found.as_f64().expect("a number");
    assert!((found - expect).abs() < 1.1e-5, "{found} is not {expect}");
}

#[tokio::test]
async fn five_minutes_of_an_hour() {
    let mut rig = Rig::start();
    write(&rig.app.sink).await;
    let window = format!("window={HOUR},{}", HOUR + 3600);
    let path = format!("/allocation?{window}&aggregate=namespace&includeIdle=true");
    let told = ask(&mut rig, &path).await;
    assert_eq!(
        (&told["code"], &told["status"]),
        (&200.into(), &"success".into())
    );
    let (shop, idle) = (&told["data"][0]["shop"], &told["data"][0]["__idle__"]);
    near(&shop["cpuCost"], 2.0 * 0.031611 / 12.0);
    near(&shop["ramCost"], 0.004237 / 12.0);
    near(&shop["minutes"], 5.0);
    near(&shop["cpuCores"], 2.0);
    near(&idle["cpuCost"], 4.0 * 0.031611 - 2.0 * 0.031611 / 12.0);
    assert_eq!(shop["properties"]["controller"], "pay");
    assert_eq!(shop["start"], "2023-11-14T22:10:10Z");
    assert!(shop["pvs"].is_null() && shop["lbAllocations"].is_null());

    let path =
        format!("/model/allocation/compute?{window}&aggregate=label:team,controller&step=30m");
    let told = ask(&mut rig, &path).await;
    assert_eq!(told["data"].as_array().map(Vec::len), Some(2));
    near(
        &told["data"][0]["blue/job:pay"]["totalCost"],
        (2.0 * 0.031611 + 0.004237) / 12.0,
    );
    assert_eq!(told["data"][1], serde_json::json!({}));

    let told = ask(&mut rig, &format!("/assets?{window}")).await;
    let key = "AWS/__undefined__/__undefined__/Compute/cluster-one/Node/Kubernetes/aws:///a/i-1/n1";
    let node = &told["data"][key];
    assert_eq!(node["type"], "Node", "{told}");
    near(&node["totalCost"], 4.0 * 0.031611 + 8.0 * 0.004237);
    near(&node["cpuCoreHours"], 4.0);

    let told = ask(
        &mut rig,
        &format!("/api/v1/cost/allocation?{window}&includeIdle=true"),
    )
    .await;
    let whole = 4.0 * 0.031611 + 8.0 * 0.004237;
    let total = told["data"]["sets"][0]["totalCost"]
        .as_f64()
        .expect("a number");
    assert!((total - whole).abs() < 1e-9, "{total} is not {whole}");
    let told = ask(
        &mut rig,
        &format!("/api/v1/cost/savings?{window}&strategy=vpa"),
    )
    .await;
    let savings = &told["data"];
    assert_eq!(
        savings["rightSizing"][0]["note"], "not enough data",
        "{savings}"
    );
    assert_eq!(savings["nodes"]["keep"][0]["node"], "n1", "{savings}");
    let told = ask(&mut rig, "/api/v1/cost/forecast?days=3&history=5").await;
    assert!(told["data"]["forecast"].is_null(), "{told}");
    let told = ask(&mut rig, "/api/v1/cost/what-if?growth=20%25").await;
    assert_eq!(told["data"]["nodes"]["now"], 0, "{told}");
    let told = ask(
        &mut rig,
        &format!("/allocation/summary?{window}&aggregate=pod"),
    )
    .await;
    let sets = &told["data"]["sets"][0]["allocations"];
    near(&sets["pay-1"]["cpuCost"], 2.0 * 0.031611 / 12.0);
}

#[tokio::test]
async fn faults_as_opencost_tells_them() {
    let mut rig = Rig::start();
    let mut check = async |path: &str, status: u16, part: &str| {
        let told = rig.get(path).await;
        assert_eq!(told.status, status, "{path}: {}", told.body);
        assert!(told.body.contains(part), "{path}: {}", told.body);
    };
    check(
        "/allocation",
        400,
        "Invalid 'window' parameter: illegal window: \n",
    )
    .await;
    check(
        "/allocation?window=1d&aggregate=boat",
        400,
        "Invalid 'aggregate' parameter",
    )
    .await;
    let parts = "/allocation?window=1d&includeProportionalAssetResourceCosts=true";
    check(
        parts,
        400,
        r#""message":"Error: bad request - includeIdle must be set"#,
    )
    .await;
    check("/allocation?window=1d&filter=boat:1", 400, r#""code":400"#).await;
    check("/allocation?window=1d&step=1s", 400, "more than 1000 steps").await;
    check(
        "/allocation?window=1d",
        200,
        r#"{"code":200,"data":[{}],"status":"success"}"#,
    )
    .await;
    check(
        "/api/v1/cost/what-if?growth=much",
        400,
        "expected a share such as 20%",
    )
    .await;
    check(
        "/api/v1/cost/what-if?replicas=a:1",
        400,
        "expected namespace/name:5",
    )
    .await;
    check(
        "/api/v1/cost/savings?strategy=none",
        400,
        "expected krr or vpa",
    )
    .await;
    check("/api/v1/cost/forecast?days=0", 400, "at least 1").await;
    check("/assets?window=soon", 400, "illegal window: soon").await;
    check(
        "/api/v1/cost/assets?window=soon",
        400,
        r#""errorType":"bad_data""#,
    )
    .await;
}
