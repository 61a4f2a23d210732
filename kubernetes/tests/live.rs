//! This room against a Kubernetes API server in this process: watches through faults, discovery
//! through churn, pods through their lives, TLS and tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use obs_kubernetes::client::{Auth, Credential, Secret, Sent, Server, Tls};
use obs_kubernetes::discovery::{self, Attach, Config, Role};
use obs_kubernetes::object::MetaObject;
use obs_kubernetes::operator::Monitors;
use obs_kubernetes::pods::{Pods, Settings};
use obs_kubernetes::resource::{PODS, SECRETS};
use obs_kubernetes::{Access, Client, Counters, Error, Event, Key, Query, Watch};
use obs_model::TargetGroup;
use obs_tests::kube_api::{CA, FRONT_PROXY_CA, Fault, KubeApi, Rule, User};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long anything may take before a test gives up. Long, because machines may be busy.
const DEADLINE: Duration = Duration::from_secs(300);

fn access(api: &KubeApi) -> Access {
    Access::Server(Box::new(Server {
        url: api.url(),
        ..Server::default()
    }))
}

fn inline(text: &str) -> Credential {
    Credential::Inline(Secret::new(text))
}

fn pod(namespace: &str, name: &str, number: usize) -> Value {
    let ip = format!(
        "10.{}.{}.{}",
        number >> 16,
        (number >> 8) & 255,
        number & 255
    );
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": {"app": format!("app-{}", number % 50)},
            "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {"f:phase": {}}}}]},
        "spec": {"nodeName": format!("node-{}", number % 20),
            "containers": [{"name": "main", "image": "app:1", "env": [{"name": "A", "value": "b"}],
                "ports": [{"name": "metrics", "containerPort": 8080, "protocol": "TCP"}]}]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "main", "containerID": format!("containerd://id-{name}"), "restartCount": 0, "ready": true}]}})
}

/// What a watch says there is.
#[derive(Debug, Default)]
struct Known {
    objects: BTreeSet<Key>,
    listing: Option<BTreeSet<Key>>,
    lists: usize,
}

impl Known {
    fn take<T>(&mut self, event: Event<T>) {
        match event {
            Event::Start => self.listing = Some(BTreeSet::new()),
            Event::Put(key, _) => {
                self.listing.get_or_insert_default().insert(key.clone());
                self.objects.insert(key);
            }
            Event::Gone(key) => {
                self.listing.get_or_insert_default().remove(&key);
                self.objects.remove(&key);
            }
            Event::Ready => {
                self.objects = self.listing.clone().unwrap_or_default();
                self.lists += 1;
            }
        }
    }
}

/// Takes events until something holds.
async fn until<T>(
    events: &mut mpsc::Receiver<Event<T>>,
    known: &mut Known,
    what: &str,
    holds: impl Fn(&Known) -> bool,
) {
    let wait = async {
        while !holds(known) {
            known.take(events.recv().await.expect("the watch goes on"));
        }
    };
    let waited = tokio::time::timeout(DEADLINE, wait).await;
    waited.unwrap_or_else(|_| panic!("gave up waiting for {what}"));
}

fn names(known: &Known) -> Vec<&str> {
    known.objects.iter().map(|key| &*key.name).collect()
}

struct Watched {
    api: KubeApi,
    events: mpsc::Receiver<Event<MetaObject>>,
    counters: Arc<Counters>,
    _tasks: JoinSet<()>,
}

async fn watched(api: KubeApi, query: Query, pages: bool) -> Watched {
    let client = Client::new(&access(&api)).await.expect("a client");
    let counters = Arc::new(Counters::default());
    let watch = Watch::new(client, query, counters.of("test", "pods"));
    let watch = if pages { watch.by_pages() } else { watch };
    let (sender, events) = mpsc::channel(16);
    let mut tasks = JoinSet::new();
    tasks.spawn(watch.run(sender, |event| event, CancellationToken::new()));
    Watched {
        api,
        events,
        counters,
        _tasks: tasks,
    }
}

#[tokio::test]
async fn a_watch_that_fell_silent_is_opened_again() {
    let api = KubeApi::start().await;
    api.put(pod("shop", "a", 1));
    api.set_bookmarks_every(Duration::from_millis(20));
    let client = Client::new(&access(&api)).await.expect("a client");
    let counters = Arc::new(Counters::default());
    let watch = Watch::new(client, Query::all(PODS), counters.of("test", "pods")).by_pages();
    let watch = watch.silence_max(Duration::from_millis(500));
    let (sender, mut events) = mpsc::channel::<Event<MetaObject>>(16);
    let mut tasks = JoinSet::new();
    tasks.spawn(watch.run(sender, |event| event, CancellationToken::new()));
    let mut known = Known::default();
    until(&mut events, &mut known, "the list", |k| k.lists > 0).await;
    let mut watches = 0;
    let mut count = || {
        let seen = api.take_seen();
        watches += seen
            .iter()
            .filter(|s| s.path.contains("watch=true"))
            .count();
        watches
    };
    let wait = async {
        while api.bookmarks_sent() == 0 {
            tokio::task::yield_now().await;
        }
        // From now on it is as if the server were gone.
        api.hold_watches(true);
        let before = count();
        assert!(before > 0);
        while count() == before {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(DEADLINE, wait).await;
    waited.expect("another watch");
    api.hold_watches(false);
    api.put(pod("shop", "b", 2));
    until(&mut events, &mut known, "what came since", |k| {
        k.objects.len() == 2
    })
    .await;
    assert_eq!(known.lists, 1);
}

#[tokio::test]
async fn a_watch_goes_on_through_everything() {
    for pages in [false, true] {
        let api = KubeApi::start().await;
        for number in 0..600 {
            api.put(pod("shop", &format!("p{number:03}"), number));
        }
        api.fail("/api/v1/pods", 1, Fault::Status(500));
        api.fail("/api/v1/pods", 1, Fault::TooMany(1));
        api.fail("/api/v1/pods", 1, Fault::Garbage);
        let mut w = watched(api, Query::all(PODS), pages).await;
        let mut known = Known::default();
        until(&mut w.events, &mut known, "the first list", |k| k.lists > 0).await;
        assert_eq!(known.objects.len(), 600);

        w.api.put(pod("shop", "new", 601));
        w.api.delete("Pod", "shop", "p000");
        let has = |name: &'static str| move |k: &Known| names(k).contains(&name);
        until(&mut w.events, &mut known, "a new pod", has("new")).await;
        until(&mut w.events, &mut known, "a lost pod", |k| {
            k.objects.len() == 600
        })
        .await;

        // Broken off: what happened meanwhile is told.
        w.api.drop_watches();
        w.api.delete("Pod", "shop", "new");
        w.api.put(pod("shop", "newer", 602));
        until(&mut w.events, &mut known, "a newer pod", has("newer")).await;
        assert_eq!(known.lists, 1);
        assert!(!names(&known).contains(&"new"));

        // Forgotten: a new list says what is gone.
        w.api.expire();
        w.api.delete("Pod", "shop", "newer");
        until(&mut w.events, &mut known, "a second list", |k| k.lists == 2).await;
        let expect: Vec<String> = (1..600).map(|number| format!("p{number:03}")).collect();
        assert_eq!(names(&known), expect);
        let counters = w.counters.of("test", "pods");
        assert!(
            counters.expiries() >= 1 && counters.lists() == 2,
            "{counters:?}"
        );
        assert!(
            counters.watches_failed() + counters.lists_failed() >= 3,
            "{counters:?}"
        );
    }
}

#[tokio::test]
async fn a_server_without_initial_events_is_asked_by_pages() {
    let api = KubeApi::start().await;
    api.set_initial_events(false);
    for number in 0..300 {
        api.put(pod("shop", &format!("p{number}"), number));
    }
    let mut w = watched(
        api,
        Query::all(PODS)
            .in_namespace("shop")
            .with_labels("app in (app-1,app-2)"),
        false,
    )
    .await;
    let mut known = Known::default();
    until(&mut w.events, &mut known, "the list", |k| k.lists == 1).await;
    assert_eq!(known.objects.len(), 12);
    // An object whose labels change is gone for this watch.
    let mut other = pod("shop", "p1", 1);
    other["metadata"]["labels"]["app"] = json!("else");
    w.api.put(other);
    until(&mut w.events, &mut known, "the change", |k| {
        k.objects.len() == 11
    })
    .await;
    let seen = w.api.take_seen();
    assert!(
        seen.iter().any(|s| s.path.contains("limit=250")),
        "{seen:?}"
    );
}

#[tokio::test]
async fn secrets_are_asked_for_without_what_is_in_them() {
    let api = KubeApi::start().await;
    api.put(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "shop", "name": "s"}, "data": {"k": "c2VjcmV0"}}));
    let mut w = watched(api, Query::all(SECRETS).only_metadata(), true).await;
    let mut known = Known::default();
    until(&mut w.events, &mut known, "the list", |k| k.lists == 1).await;
    w.api.put(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "shop", "name": "t"}}));
    until(&mut w.events, &mut known, "the event", |k| {
        k.objects.len() == 2
    })
    .await;
    let seen = w.api.take_seen();
    let of_secrets = seen.iter().filter(|s| s.path.contains("/secrets"));
    assert!(of_secrets.clone().count() >= 2);
    for request in of_secrets {
        assert!(
            request
                .accept
                .starts_with("application/json;as=PartialObjectMetadata"),
            "{request:?}"
        );
    }
}

#[tokio::test]
async fn tls_and_tokens_are_checked() {
    let api = KubeApi::start_tls().await;
    api.add_token("right", User::new("obs", &[]));
    api.require_token();
    let server = |token: &str, tls: Tls| Server {
        url: api.url(),
        auth: Auth::Bearer(inline(token)),
        tls,
        ..Server::default()
    };
    let trusted = Tls {
        ca: Some(inline(CA)),
        ..Tls::default()
    };
    let ask = async |server: Server| {
        let client = Client::new(&Access::Server(Box::new(server))).await?;
        client.get::<Value>("/api/v1/namespaces").await
    };
    let namespaces = ask(server("right", trusted.clone())).await.unwrap();
    assert_eq!(namespaces["kind"], "NamespaceList");
    let refused = ask(server("wrong", trusted)).await.unwrap_err();
    assert_eq!(refused.status(), Some(401), "{refused}");
    let insecure = Tls {
        insecure: true,
        ..Tls::default()
    };
    assert!(ask(server("right", insecure)).await.is_ok());
    let elsewhere = Tls {
        ca: Some(inline(FRONT_PROXY_CA)),
        ..Tls::default()
    };
    let error = ask(server("right", elsewhere)).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    let mentions = error.to_string().to_lowercase();
    assert!(mentions.contains("certificate"), "{mentions}");
}

/// What discovery says there is.
#[derive(Debug, Default)]
struct Groups(BTreeMap<Box<str>, TargetGroup>);

impl Groups {
    fn take(&mut self, groups: Vec<TargetGroup>) {
        for group in groups {
            match group.targets.is_empty() {
                true => drop(self.0.remove(&group.source)),
                false => drop(self.0.insert(group.source.clone(), group)),
            }
        }
    }

    /// Source, address and application of every target.
    fn targets(&self) -> BTreeSet<(String, String, String)> {
        let groups = self.0.values();
        let members = groups.flat_map(|group| {
            group
                .members()
                .map(|labels| (group.source.to_string(), labels))
        });
        members
            .map(|(source, labels)| {
                let get = |name| labels.get(name).unwrap_or("").to_owned();
                (
                    source,
                    get("__address__"),
                    get("__meta_kubernetes_pod_label_app"),
                )
            })
            .collect()
    }
}

fn expected(api: &KubeApi) -> BTreeSet<(String, String, String)> {
    let text = |pod: &Value, pointer: &str| {
        pod.pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_owned()
    };
    let pods = api.all("Pod").into_iter();
    pods.map(|pod| {
        let source = format!(
            "pod/{}/{}",
            text(&pod, "/metadata/namespace"),
            text(&pod, "/metadata/name")
        );
        (
            source,
            format!("{}:8080", text(&pod, "/status/podIP")),
            text(&pod, "/metadata/labels/app"),
        )
    })
    .collect()
}

/// A small generator of numbers, so that churn is the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).expect("below a usize")
    }
}

/// Ten thousand changes to so many pods, with watches that break off, versions that are forgotten
/// and errors in between.
async fn churn(api: &KubeApi, pods: usize) {
    let mut numbers = Numbers(7);
    let mut fresh = pods;
    for round in 0..20 {
        for _ in 0..500 {
            let victim = numbers.below(fresh);
            let (namespace, name) = (format!("ns-{}", victim % 10), format!("p{victim}"));
            match numbers.below(3) {
                0 => drop(api.delete("Pod", &namespace, &name)),
                1 => {
                    let mut changed = pod(&namespace, &name, victim);
                    changed["metadata"]["labels"]["app"] = json!(format!("round-{round}"));
                    api.put(changed);
                }
                _ => {
                    api.put(pod(
                        &format!("ns-{}", fresh % 10),
                        &format!("p{fresh}"),
                        fresh,
                    ));
                    fresh += 1;
                }
            }
        }
        match round % 10 {
            1 | 6 => api.drop_watches(),
            3 => api.expire(),
            8 => api.fail("/api/v1/pods", 2, Fault::Status(503)),
            _ => {}
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn discovery_follows_the_churn_of_ten_thousand_pods() {
    const PODS: usize = 10_000;
    let api = KubeApi::start().await;
    for number in 0..PODS {
        api.put(pod(
            &format!("ns-{}", number % 10),
            &format!("p{number}"),
            number,
        ));
    }
    let mut config = Config::new(access(&api), Role::Pod);
    config.attach = Attach {
        namespace: true,
        ..Attach::default()
    };
    let counters = Arc::new(Counters::default());
    let (sender, mut batches) = mpsc::channel(4);
    let mut tasks = JoinSet::new();
    tasks.spawn(discovery::run(
        config,
        Arc::clone(&counters),
        sender,
        CancellationToken::new(),
    ));
    let mut groups = Groups::default();
    let mut next = async |groups: &mut Groups| {
        let batch = tokio::time::timeout(DEADLINE, batches.recv()).await;
        groups.take(batch.expect("discovery goes on").expect("discovery runs"));
    };
    while groups.0.len() < PODS {
        next(&mut groups).await;
    }
    assert_eq!(groups.targets(), expected(&api));

    churn(&api, PODS).await;
    // The last change tells that everything before it was told.
    let end = expected(&api);
    assert!(end.len() > PODS / 2);
    let wait = async {
        while groups.0.len() != end.len() || groups.targets() != end {
            next(&mut groups).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait)
        .await
        .expect("discovery catches up");
    let watch = counters.of("discovery_pod", "pods");
    assert!(watch.expiries() >= 1 && watch.lists() >= 2, "{watch:?}");
    let families = counters.families();
    assert!(
        families
            .iter()
            .any(|f| f.name == "obs_kubernetes_watches_total")
    );
}

#[tokio::test]
async fn services_and_slices_are_joined_as_they_come() {
    let api = KubeApi::start().await;
    let mut config = Config::new(access(&api), Role::EndpointSlice);
    config.namespaces = vec!["shop".to_owned(), "back".to_owned()];
    let (sender, mut batches) = mpsc::channel(4);
    let mut tasks = JoinSet::new();
    tasks.spawn(discovery::run(
        config,
        Arc::default(),
        sender,
        CancellationToken::new(),
    ));
    let mut groups = Groups::default();
    let first = tokio::time::timeout(DEADLINE, batches.recv())
        .await
        .unwrap();
    assert_eq!(
        first,
        Some(Vec::new()),
        "nothing is there, and that is told"
    );
    api.put(json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"namespace": "shop", "name": "web-a", "labels": {"kubernetes.io/service-name": "web"}},
        "endpoints": [{"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "namespace": "shop", "name": "p1"}}],
        "ports": [{"name": "metrics", "port": 8080, "protocol": "TCP"}]}));
    api.put(json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"namespace": "elsewhere", "name": "x"}, "endpoints": [{"addresses": ["10.0.0.9"]}], "ports": [{"port": 1}]}));
    let mut until = async |groups: &mut Groups, name: &str, value: &str| {
        let has = |groups: &Groups| {
            groups
                .0
                .values()
                .any(|g| g.members().any(|m| m.get(name) == Some(value)))
        };
        while !has(groups) {
            let batch = tokio::time::timeout(DEADLINE, batches.recv()).await;
            groups.take(batch.expect("a change comes").expect("discovery runs"));
        }
    };
    until(&mut groups, "__address__", "10.0.0.1:8080").await;
    api.put(pod("shop", "p1", 1));
    until(&mut groups, "__meta_kubernetes_pod_name", "p1").await;
    api.put(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": "web", "labels": {"team": "a"}}}));
    until(&mut groups, "__meta_kubernetes_service_label_team", "a").await;
    assert_eq!(groups.0.len(), 1);
}

#[tokio::test]
async fn pods_of_a_node_are_known_through_their_lives() {
    let api = KubeApi::start().await;
    for number in 0..40 {
        api.put(pod("shop", &format!("p{number}"), number));
    }
    let pods = Pods::new(Settings {
        node: Some("node-3".to_owned()),
        ..Settings::default()
    });
    let client = Client::new(&access(&api)).await.unwrap();
    let (runner, stop) = (pods.clone(), CancellationToken::new());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { runner.run(client, &Counters::default(), stop).await });
    let mut changes = pods.changes();
    let mut until = async |what: &str, holds: &dyn Fn() -> bool| {
        while !holds() {
            let changed = tokio::time::timeout(DEADLINE, changes.changed()).await;
            changed
                .unwrap_or_else(|_| panic!("gave up waiting for {what}"))
                .unwrap();
        }
    };
    until("the list", &|| pods.len() == 2).await;
    assert!(pods.by_name("shop", "p3").is_some() && pods.by_name("shop", "p4").is_none());
    let (found, container) = pods.by_container_id("containerd://id-p23").unwrap();
    assert_eq!((&*found.key.name, &*container), ("p23", "main"));
    api.put(pod("shop", "p43", 43));
    until("a new pod", &|| pods.by_ip("10.0.0.43").is_some()).await;
    api.delete("Pod", "shop", "p43");
    api.put(pod("shop", "p63", 63));
    until("another pod", &|| pods.by_ip("10.0.0.63").is_some()).await;
    assert!(
        pods.by_ip("10.0.0.43").is_some(),
        "a pod that is gone is still found"
    );
    assert!(
        api.take_seen()
            .iter()
            .all(|s| s.path.contains("fieldSelector=spec.nodeName%3Dnode-3"))
    );
}

#[tokio::test]
async fn objects_of_the_operator_become_jobs_as_they_come_and_go() {
    let api = KubeApi::start().await;
    api.put(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "shop", "name": "auth"},
        "data": {"user": "dQ==", "pass": "cA=="}}));
    api.put(json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor",
        "metadata": {"namespace": "shop", "name": "web", "labels": {"release": "obs"}},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "endpoints": [{"port": "http",
            "basicAuth": {"username": {"name": "auth", "key": "user"}, "password": {"name": "auth", "key": "pass"}}}]}}));
    api.put(json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor",
        "metadata": {"namespace": "shop", "name": "unlabelled"}, "spec": {"podMetricsEndpoints": [{"port": "m"}]}}));
    let client = Client::new(&access(&api)).await.unwrap();
    let settings = obs_kubernetes::operator::Settings {
        namespaces: Vec::new(),
        selector: "release=obs".to_owned(),
    };
    let (sender, mut monitors) = tokio::sync::watch::channel(Monitors::default());
    let mut tasks = JoinSet::new();
    tasks.spawn(obs_kubernetes::operator::run(
        settings,
        client,
        Arc::default(),
        sender,
        CancellationToken::new(),
    ));
    let mut until = async |what: &str, holds: &dyn Fn(&Monitors) -> bool| {
        let found = tokio::time::timeout(DEADLINE, monitors.wait_for(|m| holds(m))).await;
        found
            .unwrap_or_else(|_| panic!("gave up waiting for {what}"))
            .unwrap()
            .clone()
    };
    let first = until("the job", &|m| {
        m.scrape_configs.contains_key("serviceMonitor/shop/web/0")
    })
    .await;
    let entry = &first.scrape_configs["serviceMonitor/shop/web/0"];
    assert_eq!(
        entry["basic_auth"],
        json!({"username": "u", "password": "p"})
    );
    assert_eq!(first.scrape_configs.len(), 1);
    api.put(
        json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule",
        "metadata": {"namespace": "shop", "name": "r", "labels": {"release": "obs"}},
        "spec": {"groups": [{"name": "g", "rules": [{"record": "a", "expr": "1"}]}]}}),
    );
    api.put(json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "Probe",
        "metadata": {"namespace": "shop", "name": "wrong", "labels": {"release": "obs"}}, "spec": {"prober": {"url": "x"}, "targets": {}}}));
    let second = until("rules and a fault", &|m| {
        m.rules.contains_key("shop/r") && !m.faults.is_empty()
    })
    .await;
    assert_eq!(
        second.faults,
        ["Probe shop/wrong: spec.targets has neither staticConfig nor ingress"]
    );
    api.delete("ServiceMonitor", "shop", "web");
    until("the end of the job", &|m| m.scrape_configs.is_empty()).await;
}

#[tokio::test]
async fn events_are_told_once_through_lists_and_watches() {
    let api = KubeApi::start().await;
    let event = |name: &str, count: u64| {
        json!({"apiVersion": "v1", "kind": "Event",
        "metadata": {"namespace": "shop", "name": name}, "type": "Warning", "reason": "BackOff", "message": "m", "count": count,
        "lastTimestamp": "2026-01-02T03:04:05Z", "involvedObject": {"kind": "Pod", "name": "p"}})
    };
    api.put(event("a", 1));
    let client = Client::new(&access(&api)).await.unwrap();
    let (sender, mut batches) = mpsc::channel(4);
    let mut tasks = JoinSet::new();
    tasks.spawn(obs_kubernetes::events::run(
        Default::default(),
        client,
        Arc::default(),
        sender,
        CancellationToken::new(),
    ));
    let mut told = Vec::new();
    let mut until = async |told: &mut Vec<String>, count: usize| {
        while told.len() < count {
            let batch = tokio::time::timeout(DEADLINE, batches.recv()).await;
            let batch = batch.expect("events come").expect("telling goes on");
            for stream in batch.streams {
                assert_eq!(stream.labels.get("namespace"), Some("shop"));
                told.extend(
                    stream
                        .records
                        .into_iter()
                        .map(|r| String::from_utf8(r.line).unwrap()),
                );
            }
        }
    };
    until(&mut told, 1).await;
    // A new list tells the same again; only what is new becomes a line.
    api.expire();
    api.put(event("a", 2));
    until(&mut told, 2).await;
    api.put(event("b", 1));
    until(&mut told, 3).await;
    let counts: Vec<bool> = told
        .iter()
        .zip(["count=1", "count=2", "count=1"])
        .map(|(line, count)| line.contains(count))
        .collect();
    assert_eq!(counts, [true; 3], "{told:?}");
}

#[tokio::test]
async fn the_server_of_these_tests_reviews_and_refuses() {
    let api = KubeApi::start().await;
    api.add_token("t", User::new("obs", &["readers"]));
    api.allow(Rule::new("readers", "get", "leases", "*"));
    api.allow(Rule::new("readers", "create", "leases", "obs"));
    api.allow(Rule::new("readers", "update", "leases", "obs"));
    let server = Server {
        url: api.url(),
        auth: Auth::Bearer(inline("t")),
        ..Server::default()
    };
    let client = Client::new(&Access::Server(Box::new(server)))
        .await
        .unwrap();
    let review = async |path: &str, spec: Value| {
        let object = json!({"spec": spec});
        let answer: Value = client
            .ask(Method::POST, path, Sent::Json(&object))
            .await
            .unwrap();
        answer["status"].clone()
    };
    let token = review(
        "/apis/authentication.k8s.io/v1/tokenreviews",
        json!({"token": "t"}),
    )
    .await;
    assert_eq!(
        (&token["authenticated"], &token["user"]["username"]),
        (&json!(true), &json!("obs"))
    );
    let token = review(
        "/apis/authentication.k8s.io/v1/tokenreviews",
        json!({"token": "x"}),
    )
    .await;
    assert_eq!(token["authenticated"], false);
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let asks = |verb: &str| json!({"user": "a", "groups": ["readers"], "resourceAttributes": {"verb": verb, "resource": "leases", "namespace": "obs"}});
    assert_eq!(review(path, asks("get")).await["allowed"], true);
    assert_eq!(review(path, asks("delete")).await["allowed"], false);
    let pods = client.get::<Value>("/api/v1/pods").await.unwrap_err();
    assert_eq!(pods.status(), Some(403), "{pods}");

    // A lease is taken by whoever writes first.
    let leases = "/apis/coordination.k8s.io/v1/namespaces/obs/leases";
    let lease =
        json!({"kind": "Lease", "metadata": {"name": "leader"}, "spec": {"holderIdentity": "a"}});
    let made: Value = client
        .ask(Method::POST, leases, Sent::Json(&lease))
        .await
        .unwrap();
    let again = client
        .ask::<Value>(Method::POST, leases, Sent::Json(&lease))
        .await
        .unwrap_err();
    assert_eq!(again.status(), Some(409), "{again}");
    let path = format!("{leases}/leader");
    let mut mine = made.clone();
    mine["spec"]["holderIdentity"] = json!("b");
    let taken: Value = client
        .ask(Method::PUT, &path, Sent::Json(&mine))
        .await
        .unwrap();
    assert_eq!(taken["metadata"]["generation"], 2);
    let late = client
        .ask::<Value>(Method::PUT, &path, Sent::Json(&mine))
        .await
        .unwrap_err();
    assert!(
        late.to_string().contains("the object has been modified"),
        "{late}"
    );
}

/// Runs `kubectl` against a server; `None` where there is none on this machine.
async fn kubectl(kubeconfig: &std::path::Path, arguments: &[&str]) -> Option<String> {
    let output = tokio::process::Command::new("kubectl")
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(arguments)
        .env("HOME", kubeconfig.parent()?)
        .kill_on_drop(true)
        .output()
        .await
        .ok()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        text(&output.stderr)
    );
    Some(text(&output.stdout))
}

#[tokio::test]
async fn kubectl_reads_and_writes_the_server_of_these_tests() {
    for aggregated_discovery in [true, false] {
        let api = KubeApi::start_tls().await;
        api.set_aggregated_discovery(aggregated_discovery);
        api.add_token("t", User::new("admin", &["system:masters"]));
        for number in 0..3 {
            api.put(pod("default", &format!("p{number}"), number));
        }
        api.set_log("default", "p1", "main", "first\nlast\n");
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("config");
        tokio::fs::write(&kubeconfig, api.kubeconfig(Some("t")))
            .await
            .unwrap();
        let run = async |line: &str| {
            let arguments: Vec<&str> = line.split(' ').collect();
            kubectl(&kubeconfig, &arguments).await
        };
        let Some(pods) = run("get pods").await else {
            println!("skipped: kubectl is not on this machine");
            return;
        };
        assert!(pods.contains("NAME") && pods.contains("READY"), "{pods}");
        assert!(pods.contains("p2     1/1     Running   0"), "{pods}");
        let json: Value = serde_json::from_str(&run("get po -o json").await.unwrap()).unwrap();
        assert_eq!(json["items"].as_array().map(Vec::len), Some(3));
        let selected = run("get pods -A -l app=app-1 -o name").await.unwrap();
        assert_eq!(selected.trim(), "pod/p1");
        assert_eq!(run("logs p1 --tail=1").await.unwrap(), "last\n");
        run("label pod p1 tier=front").await.unwrap();
        assert_eq!(
            api.get("Pod", "default", "p1").unwrap()["metadata"]["labels"]["tier"],
            "front"
        );
        let manifest = folder.path().join("cm.yaml");
        tokio::fs::write(
            &manifest,
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm}\ndata: {a: b}\n",
        )
        .await
        .unwrap();
        run(&format!("apply --validate=false -f {}", manifest.display()))
            .await
            .unwrap();
        assert_eq!(
            api.get("ConfigMap", "default", "cm").unwrap()["data"]["a"],
            "b"
        );
        run("delete pod p2 --wait=false").await.unwrap();
        assert!(api.get("Pod", "default", "p2").is_none());
        assert!(
            run("api-resources -o name")
                .await
                .unwrap()
                .contains("servicemonitors.monitoring.coreos.com")
        );
    }
}

/// A second, independent API server: kmock, where Python has it.
#[tokio::test]
async fn kmock_is_watched_too() {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/clients/kmock_server.py"
    );
    let python = "python3";
    let probe = tokio::process::Command::new(python)
        .args(["-c", "import kmock"])
        .output()
        .await;
    if !probe.is_ok_and(|output| output.status.success()) {
        println!("skipped: kmock is not installed");
        return;
    }
    let mut server = tokio::process::Command::new(python)
        .arg(script)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut input = server.stdin.take().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let port = lines
        .next_line()
        .await
        .unwrap()
        .expect("kmock tells its port");
    let access = Access::Server(Box::new(Server {
        url: format!("http://127.0.0.1:{port}"),
        ..Server::default()
    }));
    let client = Client::new(&access).await.unwrap();
    let (sender, mut events) = mpsc::channel(16);
    let watch = Watch::new(
        client,
        Query::all(PODS).in_namespace("shop"),
        Arc::default(),
    )
    .by_pages();
    let mut tasks = JoinSet::new();
    tasks.spawn(watch.run(
        sender,
        |event: Event<MetaObject>| event,
        CancellationToken::new(),
    ));
    let mut known = Known::default();
    until(&mut events, &mut known, "the list", |k| k.lists == 1).await;
    assert_eq!(names(&known), ["first"]);
    input.write_all(b"\n").await.unwrap();
    until(&mut events, &mut known, "another pod", |k| {
        k.objects.len() == 2
    })
    .await;
    input.write_all(b"\n").await.unwrap();
    until(&mut events, &mut known, "the end of a pod", |k| {
        names(k) == ["second"]
    })
    .await;
}
