//! The whole way from an API server to a scrape, against a server of a few lines.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::client::{Access, Server};
use crate::state::{AllowLists, CustomConfig};

/// Lists and watches objects by path, and remembers what it was asked.
#[derive(Clone)]
struct Api {
    shared: Arc<Mutex<Objects>>,
    events: broadcast::Sender<(String, Value)>,
    address: SocketAddr,
    stop: CancellationToken,
}

#[derive(Default)]
struct Objects {
    lists: BTreeMap<String, BTreeMap<String, Value>>,
    single: BTreeMap<String, Value>,
    forbidden: Vec<String>,
    asked: Vec<(String, String)>,
}

impl Api {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = Self {
            shared: Arc::default(),
            events: broadcast::channel(4096).0,
            address: listener.local_addr().unwrap(),
            stop: CancellationToken::new(),
        };
        let (serving, tasks) = (api.clone(), TaskTracker::new());
        let accept = async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let (api, stop) = (serving.clone(), serving.stop.clone());
                tasks.spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        _ = api.answer(stream) => {}
                    }
                });
            }
        };
        let stop = api.stop.clone();
        let mut all = JoinSet::new();
        all.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = accept => {}
            }
        });
        all.detach_all();
        api
    }

    async fn client(&self) -> Client {
        let server = Server {
            url: format!("http://{}", self.address),
            ..Server::default()
        };
        Client::new(&Access::Server(Box::new(server)))
            .await
            .unwrap()
    }

    fn put(&self, path: &str, mut object: Value) {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        object["metadata"]["uid"] = json!(format!("uid-{name}"));
        let mut shared = self.shared.lock();
        let list = shared.lists.entry(path.to_owned()).or_default();
        let known = list.insert(name, object.clone()).is_some();
        let kind = if known { "MODIFIED" } else { "ADDED" };
        drop(
            self.events
                .send((path.to_owned(), json!({"type": kind, "object": object}))),
        );
    }

    fn delete(&self, path: &str, name: &str) {
        let mut shared = self.shared.lock();
        let object = shared.lists.get_mut(path).unwrap().remove(name).unwrap();
        let event = json!({"type": "DELETED", "object": object});
        drop(self.events.send((path.to_owned(), event)));
    }

    async fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let target = head.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let accept = head
            .lines()
            .find(|l| l.to_lowercase().starts_with("accept:"));
        let accept = accept.unwrap_or_default().to_owned();
        let (status, body) = {
            let mut shared = self.shared.lock();
            shared.asked.push((target.to_owned(), accept));
            self.page(&shared, path, query)
        };
        let watch = query.contains("watch=true") && status == 200;
        // Whoever waits for a watch counts those who listen.
        let events = watch.then(|| self.events.subscribe());
        let length = match watch {
            true => String::new(),
            false => format!("content-length: {}\r\n", body.len()),
        };
        let head = format!("HTTP/1.1 {status} x\r\nconnection: close\r\n{length}\r\n");
        stream.write_all(head.as_bytes()).await?;
        let Some(mut events) = events else {
            return stream.write_all(body.as_bytes()).await;
        };
        while let Ok((of, event)) = events.recv().await {
            if of == path {
                stream.write_all(format!("{event}\n").as_bytes()).await?;
            }
        }
        Ok(())
    }

    fn page(&self, shared: &Objects, path: &str, query: &str) -> (u16, String) {
        if let Some(single) = shared.single.get(path) {
            return (200, single.to_string());
        }
        if shared.forbidden.iter().any(|forbidden| forbidden == path) {
            return (403, json!({"kind": "Status", "message": "no"}).to_string());
        }
        let parameter = |name: &str| {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            pairs
                .find(|(key, _)| key == name)
                .and_then(|(_, value)| value.parse::<usize>().ok())
        };
        let (skip, limit) = (parameter("continue").unwrap_or(0), parameter("limit"));
        let empty = BTreeMap::new();
        let all = shared.lists.get(path).unwrap_or(&empty);
        let items: Vec<_> = all
            .values()
            .skip(skip)
            .take(limit.unwrap_or(usize::MAX))
            .collect();
        let end = skip + items.len();
        let next = if end < all.len() {
            end.to_string()
        } else {
            String::new()
        };
        let metadata = json!({"resourceVersion": "1", "continue": next});
        (
            200,
            json!({"kind": "List", "metadata": metadata, "items": items}).to_string(),
        )
    }
}

/// Waits until something is so.
async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let mut pause = tokio::time::interval(Duration::from_millis(5));
    let waiting = async {
        while !is() {
            pause.tick().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(120), waiting).await;
    assert!(waited.is_ok(), "{what}");
}

fn text(state: &StateMetrics) -> String {
    let mut scrape = state.scrape(None, None, false);
    let mut out = Vec::new();
    while scrape.write(1 << 16, &mut out) {}
    String::from_utf8(out).unwrap()
}

fn has(state: &StateMetrics, part: &str) -> bool {
    text(state).contains(part)
}

/// Runs a test beside the state that it looks at.
async fn with(api: &Api, settings: Settings, test: impl AsyncFnOnce(StateMetrics)) {
    let state = StateMetrics::new(settings).unwrap();
    let stop = CancellationToken::new();
    let following = state.run(api.client().await, stop.clone());
    let testing = async {
        test(state.clone()).await;
        stop.cancel();
    };
    let (followed, ()) = tokio::join!(following, testing);
    followed.unwrap();
    api.stop.cancel();
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

const PODS_PATH: &str = "/api/v1/pods";

fn pod(name: &str, phase: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop"}, "status": {"phase": phase}})
}

#[tokio::test]
async fn metrics_follow_the_objects() {
    let api = Api::start().await;
    for number in 0..600 {
        api.put(PODS_PATH, pod(&format!("pod-{number:03}"), "Running"));
    }
    let settings = Settings {
        resources: owned(&["pods"]),
        ..Settings::default()
    };
    let running = |state: &StateMetrics| {
        let line = "phase=\"Running\"} 1";
        text(state)
            .lines()
            .filter(|text| text.ends_with(line))
            .count()
    };
    with(&api, settings, async |state| {
        until("all pages are listed", || state.is_ready()).await;
        assert_eq!(running(&state), 600);
        let limits = api
            .shared
            .lock()
            .asked
            .iter()
            .filter(|(t, _)| t.contains("limit="))
            .count();
        assert_eq!(limits, 3);
        until("the watch is open", || api.events.receiver_count() > 0).await;
        api.put(PODS_PATH, pod("new", "Pending"));
        until("a new pod is shown", || {
            has(&state, "pod=\"new\",uid=\"uid-new\",phase=\"Pending\"} 1")
        })
        .await;
        api.put(PODS_PATH, pod("new", "Failed"));
        until("a change is shown", || {
            has(&state, "uid=\"uid-new\",phase=\"Failed\"} 1")
        })
        .await;
        assert!(!has(&state, "uid=\"uid-new\",phase=\"Pending\"} 1"));
        api.delete(PODS_PATH, "new");
        until("a deletion is shown", || !has(&state, "uid-new")).await;
        // Churn of every pod.
        for number in 0..600 {
            api.delete(PODS_PATH, &format!("pod-{number:03}"));
            api.put(PODS_PATH, pod(&format!("pod-b{number:03}"), "Running"));
        }
        until("churn is followed", || {
            running(&state) == 600 && !has(&state, "\"pod-0")
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn contents_that_no_metric_needs_are_not_asked_for() {
    let api = Api::start().await;
    let forbidden = "/apis/batch/v1/jobs";
    api.shared.lock().forbidden.push(forbidden.to_owned());
    api.put(
        "/api/v1/configmaps",
        json!({"metadata": {"name": "c", "namespace": "shop"}}),
    );
    let settings = Settings {
        resources: owned(&["configmaps", "secrets", "jobs"]),
        use_apiserver_cache: true,
        labels: AllowLists::parse("configmaps=[*]").unwrap(),
        ..Settings::default()
    };
    with(&api, settings, async |state| {
        until("all is tried", || state.is_ready()).await;
        assert!(has(
            &state,
            "kube_configmap_labels{namespace=\"shop\",configmap=\"c\"} 1"
        ));
        let asked = api.shared.lock().asked.clone();
        let of = |path: &str| {
            asked
                .iter()
                .find(|(target, _)| target.starts_with(path))
                .unwrap()
        };
        let (target, accept) = of("/api/v1/configmaps");
        assert!(accept.contains("as=PartialObjectMetadataList"), "{accept}");
        assert!(target.contains("resourceVersion=0"), "{target}");
        assert!(!of("/api/v1/secrets").1.contains("PartialObjectMetadata"));
        let told = state.telemetry();
        let lists = told
            .iter()
            .find(|f| f.name == "kube_state_metrics_list_total")
            .unwrap();
        let failed = lists.points.iter().find(|point| {
            point.labels.get("resource") == Some("*v1.Job")
                && point.labels.get("result") == Some("error")
        });
        assert!(failed.unwrap().value >= 1.0);
    })
    .await;
}

#[tokio::test]
async fn custom_resources_come_and_go_with_their_definitions() {
    let api = Api::start().await;
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let objects = "/apis/myteam.io/v1/foos";
    api.put(
        objects,
        json!({"metadata": {"name": "foo"}, "status": {"uptime": 43.21}}),
    );
    let custom = CustomConfig::parse(
        "spec: {resources: [{groupVersionKind: {group: myteam.io, version: '*', kind: Foo}, metrics: [{name: uptime, help: h, each: {type: Gauge, gauge: {path: [status, uptime]}}}]}]}",
    );
    let settings = Settings {
        custom: custom.unwrap(),
        custom_only: true,
        ..Settings::default()
    };
    with(&api, settings, async |state| {
        until("definitions are watched", || api.events.receiver_count() > 0).await;
        assert_eq!(text(&state), "");
        let spec = json!({"group": "myteam.io", "scope": "Namespaced",
            "names": {"kind": "Foo", "plural": "foos"}, "versions": [{"name": "v1", "served": true}]});
        api.put(definitions, json!({"metadata": {"name": "foos.myteam.io"}, "spec": spec}));
        until("the kind is shown", || {
            has(&state, "kube_customresource_uptime{customresource_group=\"myteam.io\",customresource_kind=\"Foo\",customresource_version=\"v1\"} 43.21\n")
        })
        .await;
        api.delete(definitions, "foos.myteam.io");
        until("the kind is gone", || text(&state).is_empty()).await;
    })
    .await;
}

#[tokio::test]
async fn the_stateful_set_tells_the_shard() {
    let api = Api::start().await;
    for number in 0..40 {
        api.put(PODS_PATH, pod(&format!("pod-{number}"), "Running"));
    }
    let owner =
        json!({"kind": "StatefulSet", "apiVersion": "apps/v1", "name": "ksm", "controller": true});
    let own = json!({"metadata": {"name": "ksm-1", "ownerReferences": [owner]}});
    let sets = "/apis/apps/v1/namespaces/obs/statefulsets";
    let set = |replicas: u32| json!({"metadata": {"name": "ksm", "namespace": "obs"}, "spec": {"replicas": replicas}});
    {
        let mut shared = api.shared.lock();
        shared
            .single
            .insert("/api/v1/namespaces/obs/pods/ksm-1".to_owned(), own);
        shared.single.insert(format!("{sets}/ksm"), set(2));
    }
    api.put(sets, set(2));
    let settings = Settings {
        resources: owned(&["pods"]),
        own_pod: Some(("ksm-1".to_owned(), "obs".to_owned())),
        ..Settings::default()
    };
    let shown = |state: &StateMetrics| text(state).matches("kube_pod_info{").count();
    with(&api, settings, async |state| {
        until("its part is listed", || {
            state.is_ready() && shown(&state) > 0
        })
        .await;
        let of_two = shown(&state);
        assert!(of_two > 5 && of_two < 35, "{of_two}");
        until("the set is watched", || api.events.receiver_count() > 1).await;
        api.put(sets, set(4));
        until("its part is smaller", || {
            let total = *state.shared.shard.read();
            total.total == 4 && state.is_ready() && shown(&state) < of_two
        })
        .await;
    })
    .await;
}
