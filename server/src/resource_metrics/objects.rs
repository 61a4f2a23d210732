//! What the API server knows of the objects that metrics are of: names, labels, addresses.
//!
//! Invariants: pods come from the watch that the server has anyway, or one of its own; everything
//! else is asked for and remembered for [`HOLDS`], so that autoscalers do not list a cluster each
//! time. Without a cluster nothing is known, which callers tell apart from nothing being there.

use std::collections::HashMap;
use std::sync::Arc;

use obs_collector::enrich;
use obs_collector::metrics::Counters;
use obs_kubernetes::selector::Selector;
use obs_kubernetes::{Client, Pairs, pods};
use obs_model::Timestamp;
use obs_model::time::NANOS_PER_SECOND;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::status::Status;
use crate::app::App;
use crate::clock;

/// How long a list holds, in nanoseconds.
const HOLDS: i64 = 20 * NANOS_PER_SECOND;
/// Lists that are remembered.
const LISTS_MAX: usize = 64;
/// Objects of one page.
const PAGE: usize = 500;
/// Objects of one list.
const OBJECTS_MAX: usize = 100_000;

/// An object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Object {
    pub(super) metadata: Meta,
    status: ObjectStatus,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Meta {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) labels: Pairs,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct ObjectStatus {
    addresses: Vec<Address>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Address {
    address: String,
}

impl Object {
    /// Whether it is reached at this host.
    pub(super) fn is_at(&self, host: &str) -> bool {
        self.status.addresses.iter().any(|a| a.address == host)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Page {
    metadata: PageMeta,
    items: Vec<Object>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PageMeta {
    #[serde(rename = "continue")]
    token: String,
}

type List = Arc<[Object]>;

/// Objects of the cluster.
#[derive(Debug)]
pub(super) struct Objects {
    client: Option<Client>,
    pods: enrich::Pods,
    lists: Mutex<HashMap<String, (Timestamp, List)>>,
}

impl Objects {
    /// Watches pods until `stop` is cancelled, where there is a cluster and nobody watches them yet.
    pub(super) fn start(
        app: &Arc<App>,
        client: Option<Client>,
        (tasks, stop): (&TaskTracker, &CancellationToken),
    ) -> Self {
        let watch = |client: Client| {
            let pods = pods::Pods::new(pods::Settings::default());
            let (watched, stop) = (pods.clone(), stop.clone());
            let counters: Arc<Counters> = Arc::clone(&app.counters);
            tasks.spawn(async move {
                let counters = counters.kubernetes();
                watched.run(client, &counters, stop).await;
            });
            pods.into()
        };
        let pods: enrich::Pods = match (app.pods.is_watched(), client.clone()) {
            (false, Some(client)) => watch(client),
            _ => app.pods.clone(),
        };
        Self {
            client,
            pods,
            lists: Mutex::default(),
        }
    }

    /// Whether there is a cluster that knows objects.
    pub(super) fn are_known(&self) -> bool {
        self.client.is_some()
    }

    /// Labels of a pod, where it is known.
    pub(super) fn pod(&self, namespace: &str, name: &str) -> Option<Pairs> {
        let pod = self.pods.by_name(namespace, name)?;
        Some(pod.labels.clone())
    }

    /// The objects at a path of the API, such as `/api/v1/nodes`; none without a cluster.
    pub(super) async fn list(&self, path: &str) -> Result<List, Status> {
        let Some(client) = &self.client else {
            return Ok(List::default());
        };
        let now = clock::now();
        if let Some((until, list)) = self.lists.lock().get(path)
            && now < *until
        {
            return Ok(Arc::clone(list));
        }
        let list: List = pages(client, path).await?.into();
        let mut lists = self.lists.lock();
        if lists.len() >= LISTS_MAX {
            lists.retain(|_, (until, _)| now < *until);
        }
        if lists.len() >= LISTS_MAX {
            lists.clear();
        }
        lists.insert(path.to_owned(), (now + HOLDS, Arc::clone(&list)));
        Ok(list)
    }

    /// Names of the objects at a path that a selector takes.
    pub(super) async fn named(
        &self,
        path: &str,
        selector: &Selector,
    ) -> Result<Vec<String>, Status> {
        let list = self.list(path).await?;
        let taken = list.iter().filter(|o| selector.matches(&o.metadata.labels));
        Ok(taken.map(|object| object.metadata.name.clone()).collect())
    }
}

async fn pages(client: &Client, path: &str) -> Result<Vec<Object>, Status> {
    let mut all: Vec<Object> = Vec::new();
    let mut token = String::new();
    loop {
        let next: String = form_urlencoded::byte_serialize(token.as_bytes()).collect();
        let address = match next.is_empty() {
            true => format!("{path}?limit={PAGE}"),
            false => format!("{path}?limit={PAGE}&continue={next}"),
        };
        let page: Page = client.get(&address).await.map_err(|error| {
            tracing::warn!(%error, "the API server does not list");
            Status::unavailable(format!("the API server does not list {path}"))
        })?;
        all.extend(page.items);
        token = page.metadata.token;
        if token.is_empty() {
            return Ok(all);
        }
        if all.len() >= OBJECTS_MAX {
            return Err(Status::unavailable(format!(
                "{path} has more than {OBJECTS_MAX} objects"
            )));
        }
    }
}
