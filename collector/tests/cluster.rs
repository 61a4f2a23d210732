//! Scraping and events of a cluster, against a Kubernetes API server in this process.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use obs_collector::cluster;
use obs_collector::config::{GlobalConfig, Job, KubernetesConfig, ScrapeConfig, jobs};
use obs_collector::metrics::Counters;
use obs_collector::outgoing::Addresses;
use obs_collector::scrape::{Scraper, Setting};
use obs_collector::{Accepted, Decoder, Inbox, Sink};
use obs_model::Tenant;
use obs_model::limits::Limits;
use obs_tests::kube_api::KubeApi;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long anything may take before a test gives up. Long, because machines may be busy.
const DEADLINE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);

fn parse(yaml: &str) -> Vec<Job> {
    let configs: Vec<ScrapeConfig> = serde_yaml_ng::from_str(yaml).expect(yaml);
    jobs(&GlobalConfig::default(), configs, yaml, Path::new("/")).expect(yaml)
}

/// A pod whose target is not asked within a test: its address answers nothing.
fn pod(name: &str, number: u8) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "shop", "name": name, "labels": {"app": "web"}},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 1}]}]},
        "status": {"phase": "Running", "podIP": format!("127.0.0.{number}")}})
}

/// Everything that scraping needs; what is stored is acknowledged and forgotten but for events.
struct Rig {
    scraper: Scraper,
    sink: Sink,
    counters: Arc<Counters>,
    logs: tokio::sync::mpsc::Receiver<obs_collector::Write<obs_model::LogBatch>>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Rig {
    fn start() -> Self {
        let (sink, inbox) = Sink::channel(16);
        let Inbox {
            mut metrics, logs, ..
        } = inbox;
        let (scraper, stop) = (Scraper::new(), CancellationToken::new());
        let counters = Arc::new(Counters::default());
        let setting = Setting {
            sink: sink.clone(),
            tenant: Tenant::anonymous(),
            limits: Limits::default(),
            decoder: Decoder::new(1),
            counters: Arc::clone(&counters),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Some(write) = metrics.recv().await {
                drop(write.done.send(Ok(Accepted::default())));
            }
        });
        let (running, stopped) = (scraper.clone(), stop.clone());
        tasks.spawn(async move { running.run(setting, stopped).await });
        Self {
            scraper,
            sink,
            counters,
            logs,
            tasks,
            stop,
        }
    }

    /// Pools and pods that are scraped.
    fn targets(&self) -> BTreeSet<(String, String)> {
        let active = self.scraper.targets().snapshot().active;
        let pair = |status: &obs_collector::scrape::TargetStatus| {
            let pod = status.target.labels.get("pod").unwrap_or("").to_owned();
            (status.pool.clone(), pod)
        };
        active.iter().map(pair).collect()
    }

    async fn until(&self, expect: &[(&str, &str)]) {
        let own = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
        let expect: BTreeSet<_> = expect.iter().map(own).collect();
        let wait = async {
            while self.targets() != expect {
                tokio::time::sleep(POLL).await;
            }
        };
        let waited = tokio::time::timeout(DEADLINE, wait).await;
        assert!(
            waited.is_ok(),
            "expected {expect:?}, found {:?}",
            self.targets()
        );
    }
}

#[tokio::test]
async fn pods_are_targets_and_discoveries_are_shared() {
    let api = KubeApi::start().await;
    api.put(pod("a", 2));
    let url = api.url();
    let yaml = |interval: &str| {
        let job = |name: &str| {
            format!(
                "- job_name: {name}\n  scrape_interval: {interval}\n  kubernetes_sd_configs: [{{role: pod, api_server: '{url}'}}]\n  relabel_configs:\n  - {{source_labels: [__meta_kubernetes_pod_name], target_label: pod}}\n"
            )
        };
        parse(&format!("{}{}", job("one"), job("two")))
    };
    let rig = Rig::start();
    rig.scraper.apply(yaml("1h"));
    rig.until(&[("one", "a"), ("two", "a")]).await;
    api.put(pod("b", 3));
    rig.until(&[("one", "a"), ("one", "b"), ("two", "a"), ("two", "b")])
        .await;
    // What came behind the list came by a watch.
    assert_eq!(api.open_watches(), 1, "equal entries are watched once");
    // Jobs change, what they discover does not: nobody asks the server anew.
    api.take_seen();
    rig.scraper.apply(yaml("2h"));
    api.delete("Pod", "shop", "a");
    rig.until(&[("one", "b"), ("two", "b")]).await;
    assert_eq!(api.take_seen(), []);
    rig.scraper.apply(Vec::new());
    rig.until(&[]).await;
    let wait = async {
        while api.open_watches() > 0 {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait)
        .await
        .expect("the watch ends with its last job");
    let families = rig.counters.families(&rig.sink.stats());
    assert!(
        families
            .iter()
            .any(|family| family.name == "obs_kubernetes_watches_total")
    );
}

#[tokio::test]
async fn a_cluster_brings_jobs_and_events() {
    let api = KubeApi::start_tls().await;
    api.put(pod("a", 2));
    let mut annotated = pod("b", 3);
    annotated["metadata"]["annotations"] = json!({"prometheus.io/scrape": "true"});
    api.put(annotated);
    api.put(json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor",
        "metadata": {"namespace": "shop", "name": "web"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "podMetricsEndpoints": [{"port": "http", "interval": "1h"}]}}));
    api.put(json!({"apiVersion": "v1", "kind": "Event", "metadata": {"namespace": "shop", "name": "e"},
        "type": "Normal", "reason": "Started", "message": "m", "lastTimestamp": "2026-01-02T03:04:05Z"}));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config");
    tokio::fs::write(&file, api.kubeconfig(Some("t")))
        .await
        .unwrap();
    let yaml = "{kubeconfig_file: config, monitors: {}, annotations: true, events: {labels: {cluster: c}}}";
    let mut config: KubernetesConfig = serde_yaml_ng::from_str(yaml).unwrap();
    config.check(folder.path()).unwrap();
    let mut rig = Rig::start();
    let (jobs, _) = tokio::sync::watch::channel(parse(
        "- job_name: own\n  scrape_interval: 1h\n  static_configs: [{targets: ['127.0.0.1:1']}]\n",
    ));
    api.put(
        json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule",
        "metadata": {"namespace": "shop", "name": "r"},
        "spec": {"groups": [{"name": "g", "rules": [{"record": "a", "expr": "1"}]}]}}),
    );
    let (rules, mut objects) = tokio::sync::watch::channel(Default::default());
    let setting = cluster::Setting {
        config,
        global: GlobalConfig::default(),
        addresses: Addresses::default(),
        jobs: jobs.subscribe(),
        scraper: rig.scraper.clone(),
        sink: rig.sink.clone(),
        tenant: Tenant::anonymous(),
        counters: rig.counters.kubernetes(),
        rules: Some(rules),
    };
    rig.tasks.spawn(cluster::run(setting, rig.stop.clone()));
    let expect = [
        ("own", ""),
        ("kubernetes-pods", "b"),
        ("podMonitor/shop/web/0", "a"),
        ("podMonitor/shop/web/0", "b"),
    ];
    rig.until(&expect).await;
    let write = tokio::time::timeout(DEADLINE, rig.logs.recv())
        .await
        .unwrap()
        .unwrap();
    let labels = &write.batch.streams[0].labels;
    assert_eq!(
        (labels.get("namespace"), labels.get("cluster")),
        (Some("shop"), Some("c"))
    );
    assert_eq!(write.batch.record_count(), 1);
    let told = objects.wait_for(|objects| objects.contains_key("shop/r"));
    let told = tokio::time::timeout(DEADLINE, told).await.unwrap();
    assert_eq!(told.unwrap()["shop/r"]["groups"][0]["name"], "g");
    assert!(write.done.send(Ok(Accepted::default())).is_ok());
    api.delete("PodMonitor", "shop", "web");
    rig.until(&[("own", ""), ("kubernetes-pods", "b")]).await;
}
