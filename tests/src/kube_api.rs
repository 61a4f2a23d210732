//! A Kubernetes API server for tests, in this process, on a port of its own choice.
//!
//! It holds objects as JSON, of the usual resources and of any that is added, and answers as the
//! real one does: lists with resource versions and pages, selectors, tables for `kubectl`,
//! metadata only, watches with bookmarks, initial events and 410 Gone, discovery documents old and
//! new, writes with conflicts, patches, the status subresource, reviews of tokens and of access,
//! logs of pods, and APIs of others behind a front proxy. Faults are injected through the handle.
//!
//! Invariants: every change has a resource version of its own, and a watch sees every change after
//! its version exactly once, in order; nothing that a client sends makes the server panic.

mod discovery;
mod faults;
mod kinds;
mod list;
mod patch;
mod proxy;
mod review;
mod route;
mod store;
mod table;
mod tls;
mod watch;
mod write;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use faults::Fault;
pub use kinds::Kind;
pub use proxy::Aggregated;
pub use review::{Rule, User};
pub use tls::{CA, CLIENT, FRONT_PROXY, FRONT_PROXY_CA, IMPOSTOR, Pair, SERVER};

use store::Store;

/// A running server. It stops when the handle is dropped.
#[derive(Debug)]
pub struct KubeApi {
    api: Arc<Api>,
    address: SocketAddr,
    https: bool,
    _running: DropGuard,
}

/// A request that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `GET`, …
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The header `Accept`.
    pub accept: String,
    /// Who asked.
    pub user: String,
}

#[derive(Debug)]
struct Api {
    store: Mutex<Store>,
    /// Wakes watches when the version changes.
    version: tokio::sync::watch::Sender<u64>,
    /// Whether watches say nothing.
    held: tokio::sync::watch::Sender<bool>,
    faults: faults::Faults,
    access: Mutex<review::Access>,
    aggregated: Mutex<Vec<Aggregated>>,
    seen: Mutex<Vec<Seen>>,
    logs: Mutex<std::collections::BTreeMap<(String, String, String), String>>,
    settings: Mutex<Settings>,
}

#[derive(Debug)]
struct Settings {
    bookmark_every: Duration,
    bookmarks_sent: u64,
    initial_events: bool,
    aggregated_discovery: bool,
}

impl KubeApi {
    /// Starts a server that speaks plain HTTP.
    pub async fn start() -> Self {
        Self::start_with(false).await
    }

    /// Starts a server that speaks TLS with [`SERVER`]'s certificate, which [`CA`] signed.
    pub async fn start_tls() -> Self {
        Self::start_with(true).await
    }

    async fn start_with(https: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let api = Arc::new(Api {
            store: Mutex::new(Store::new()),
            version: tokio::sync::watch::Sender::new(0),
            held: tokio::sync::watch::Sender::new(false),
            faults: faults::Faults::default(),
            access: Mutex::default(),
            aggregated: Mutex::default(),
            seen: Mutex::default(),
            logs: Mutex::default(),
            settings: Mutex::new(Settings {
                bookmark_every: Duration::from_secs(60),
                bookmarks_sent: 0,
                initial_events: true,
                aggregated_discovery: true,
            }),
        });
        let stop = CancellationToken::new();
        let router = route::router(Arc::clone(&api));
        let done = stop.clone();
        tokio::spawn(async move {
            let serve = async {
                match https {
                    true => axum::serve(tls::TlsListener::new(listener), router).await,
                    false => axum::serve(listener, router).await,
                }
            };
            tokio::select! {
                () = done.cancelled() => {}
                ended = serve => ended.expect("serving does not end by itself"),
            }
        });
        let api = Self {
            api,
            address,
            https,
            _running: stop.drop_guard(),
        };
        for namespace in ["default", "kube-system"] {
            api.put(serde_json::json!({"apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": namespace}, "status": {"phase": "Active"}}));
        }
        api
    }

    /// `http://127.0.0.1:PORT`, or with `https`.
    pub fn url(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// A kubeconfig for this server; with a token, where one is given.
    pub fn kubeconfig(&self, token: Option<&str>) -> String {
        let ca = match self.https {
            true => format!(", certificate-authority-data: {}", tls::encoded(CA)),
            false => String::new(),
        };
        let user = token.map_or(String::new(), |token| format!("token: {token}"));
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\nclusters:\n- name: test\n  cluster: {{server: '{}'{ca}}}\nusers:\n- name: test\n  user: {{{user}}}\ncontexts:\n- name: test\n  context: {{cluster: test, user: test, namespace: default}}\n",
            self.url()
        )
    }

    /// Creates or replaces an object, whole, as if by another client. Its resource version.
    pub fn put(&self, object: Value) -> u64 {
        let version = self
            .api
            .store
            .lock()
            .put(object)
            .expect("the object has a known kind");
        self.api.wake();
        version
    }

    /// Removes an object. Whether it was there.
    pub fn delete(&self, kind: &str, namespace: &str, name: &str) -> bool {
        let gone = self.api.store.lock().delete_by_kind(kind, namespace, name);
        self.api.wake();
        gone
    }

    /// An object as it is now.
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        self.api.store.lock().get_by_kind(kind, namespace, name)
    }

    /// All objects of a kind.
    pub fn all(&self, kind: &str) -> Vec<Value> {
        self.api.store.lock().all_by_kind(kind)
    }

    /// Adds a resource, as a CustomResourceDefinition would.
    pub fn add_kind(&self, kind: Kind) {
        self.api.store.lock().add_kind(kind);
    }

    /// Sets what `GET …/pods/POD/log` gives.
    pub fn set_log(&self, namespace: &str, pod: &str, container: &str, text: &str) {
        let key = (namespace.to_owned(), pod.to_owned(), container.to_owned());
        self.api.logs.lock().insert(key, text.to_owned());
    }

    /// Answers the next requests whose path and query begin so with a fault.
    pub fn fail(&self, path: &str, times: usize, fault: Fault) {
        self.api.faults.add(path, times, fault);
    }

    /// Breaks all open watches off, without an end.
    pub fn drop_watches(&self) {
        self.api.faults.drop_watches();
    }

    /// Breaks all watches off and answers nobody, as a server that is away; or comes back.
    pub fn set_away(&self, away: bool) {
        self.api.faults.set_away(away);
    }

    /// Lets watches say nothing, as over a connection whose other end is gone without a word.
    pub fn hold_watches(&self, held: bool) {
        self.api.held.send_replace(held);
    }

    /// How many bookmarks were sent, but for those that end initial events.
    pub fn bookmarks_sent(&self) -> u64 {
        self.api.settings.lock().bookmarks_sent
    }

    /// Ends all open watches with 410 Gone and forgets all versions before this moment.
    pub fn expire(&self) {
        self.api.store.lock().forget_history();
        self.api.faults.expire_watches();
    }

    /// How many watches are open.
    pub fn open_watches(&self) -> usize {
        self.api.faults.open()
    }

    /// Whether `sendInitialEvents` is known; it is.
    pub fn set_initial_events(&self, known: bool) {
        self.api.settings.lock().initial_events = known;
    }

    /// Whether aggregated discovery documents are known; they are.
    pub fn set_aggregated_discovery(&self, known: bool) {
        self.api.settings.lock().aggregated_discovery = known;
    }

    /// How often bookmarks are sent; every minute.
    pub fn set_bookmarks_every(&self, every: Duration) {
        self.api.settings.lock().bookmark_every = every;
    }

    /// Knows a token. From now on, requests with tokens that are not known are refused.
    pub fn add_token(&self, token: &str, user: User) {
        self.api.access.lock().add_token(token, user);
    }

    /// Refuses requests without a known token.
    pub fn require_token(&self) {
        self.api.access.lock().require_token();
    }

    /// Allows only what rules allow, from the first rule on.
    pub fn allow(&self, rule: Rule) {
        self.api.access.lock().allow(rule);
    }

    /// Sends requests for an API on, as the aggregator does for an APIService.
    pub fn aggregate(&self, aggregated: Aggregated) {
        self.api.aggregated.lock().push(aggregated);
    }

    /// The requests so far, which are forgotten by this.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.api.seen.lock())
    }
}

impl Api {
    /// Tells watches that there is something new.
    fn wake(&self) {
        let version = self.store.lock().version();
        self.version.send_replace(version);
    }
}
