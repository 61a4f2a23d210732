//! The watches of one discovery and the task that turns their events into groups.

use std::sync::Arc;
use std::time::Duration;

use obs_model::TargetGroup;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::build;
use super::world::{Change, World};
use super::{Config, Role};
use crate::client::Client;
use crate::error::Error;
use crate::metrics::Counters;
use crate::object::MetaObject;
use crate::resource::{
    ENDPOINT_SLICES, ENDPOINTS, INGRESSES, JOBS, NAMESPACES, NODES, PODS, Query, REPLICA_SETS,
    Resource, SERVICES,
};
use crate::watch::{Event, Watch};

/// Events that wait to be taken in.
const EVENTS_WAITING: usize = 256;
/// How long events are gathered before groups are built again.
const GATHER: Duration = Duration::from_millis(250);
/// Pause before a client is made again.
const CLIENT_PAUSE: Duration = Duration::from_secs(5);
/// Groups of one message.
const GROUPS_AT_ONCE: usize = 2_000;

/// An event, and the number of its watch.
type Numbered = (usize, Change);

/// Watches one discovery until the token is cancelled or nobody listens.
///
/// The first messages together have every group; the last of them is the first message that is
/// not full, so that whoever listens knows when everything came.
pub async fn run(
    config: Config,
    counters: Arc<Counters>,
    out: mpsc::Sender<Vec<TargetGroup>>,
    stop: CancellationToken,
) {
    let client = loop {
        let fault: Error = match Client::new(&config.access).await {
            Ok(client) => break client,
            Err(error) => error,
        };
        tracing::warn!(error = %fault, "discovery has no API server, is tried again");
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(CLIENT_PAUSE) => {}
        }
    };
    let (sender, mut events) = mpsc::channel(EVENTS_WAITING);
    let mut starter = Starter {
        config: &config,
        client,
        counters: &counters,
        sender,
        stop: stop.clone(),
        watches: JoinSet::new(),
        world: World::new(config.role, config.attach),
    };
    starter.start_all();
    let Starter {
        mut watches,
        mut world,
        sender,
        ..
    } = starter;
    // Only the watches hold senders now: when they end, so does this.
    drop(sender);
    let purpose = format!("discovery_{}", config.role);
    let held = counters.of(&purpose, "objects");
    tokio::select! {
        () = follow(&mut world, &mut events, &out, &held) => {}
        () = stop.cancelled() => {}
    }
    watches.shutdown().await;
}

/// Takes in events and sends groups on.
async fn follow(
    world: &mut World,
    events: &mut mpsc::Receiver<Numbered>,
    out: &mpsc::Sender<Vec<TargetGroup>>,
    held: &crate::metrics::WatchCounters,
) {
    let mut told = false;
    loop {
        let Some((watch, change)) = events.recv().await else {
            return;
        };
        world.take(watch, change);
        let until = Instant::now() + GATHER;
        while let Ok(Some((watch, change))) = tokio::time::timeout_at(until, events.recv()).await {
            world.take(watch, change);
        }
        held.objects_are(world.len());
        if !world.is_ready() || (told && !world.has_dirty()) {
            continue;
        }
        if send(world, out, told).await.is_err() {
            return;
        }
        told = true;
    }
}

/// Builds what changed and sends it on.
async fn send(
    world: &mut World,
    out: &mpsc::Sender<Vec<TargetGroup>>,
    told: bool,
) -> Result<(), ()> {
    let keys = world.drain_dirty();
    let mut groups = Vec::new();
    for key in keys {
        groups.extend(build::group(world, &key));
        if groups.len() == GROUPS_AT_ONCE {
            out.send(std::mem::take(&mut groups)).await.map_err(drop)?;
        }
    }
    // An empty message says that there is nothing, which is news only once.
    if !groups.is_empty() || !told {
        out.send(groups).await.map_err(drop)?;
    }
    Ok(())
}

struct Starter<'a> {
    config: &'a Config,
    client: Client,
    counters: &'a Counters,
    sender: mpsc::Sender<Numbered>,
    stop: CancellationToken,
    watches: JoinSet<()>,
    world: World,
}

impl Starter<'_> {
    fn start_all(&mut self) {
        let attach = self.config.attach;
        let namespaces = self.namespaces();
        match self.config.role {
            Role::Node => {}
            Role::Pod => self.start_pods(&namespaces),
            Role::Service => self.start_services(&namespaces),
            Role::Endpoints => {
                for namespace in &namespaces {
                    let number = self.world.endpoints.add_watch();
                    let query = self.query(ENDPOINTS, namespace, Some(Role::Endpoints));
                    self.start(number, query, Change::Endpoints);
                }
                self.start_services(&namespaces);
                self.start_pods(&namespaces);
            }
            Role::EndpointSlice => {
                for namespace in &namespaces {
                    let number = self.world.slices.add_watch();
                    let query = self.query(ENDPOINT_SLICES, namespace, Some(Role::EndpointSlice));
                    self.start(number, query, Change::Slice);
                }
                self.start_services(&namespaces);
                self.start_pods(&namespaces);
            }
            Role::Ingress => {
                for namespace in &namespaces {
                    let number = self.world.ingresses.add_watch();
                    let query = self.query(INGRESSES, namespace, Some(Role::Ingress));
                    self.start(number, query, Change::Ingress);
                }
            }
        }
        let of_pods = matches!(
            self.config.role,
            Role::Pod | Role::Endpoints | Role::EndpointSlice
        );
        if self.config.role == Role::Node || (of_pods && attach.node) {
            let number = self.world.nodes.add_watch();
            let query = self.query(NODES, "", Some(Role::Node));
            self.start(number, query, Change::Node);
        }
        if self.config.role != Role::Node && attach.namespace {
            let number = self.world.namespaces.add_watch();
            let query = self.query(NAMESPACES, "", None).only_metadata();
            self.start(number, query, Change::Namespace);
        }
        if of_pods {
            self.start_owners(&namespaces);
        }
    }

    /// Namespaces to watch; the empty one stands for all.
    fn namespaces(&self) -> Vec<String> {
        let mut namespaces = self.config.namespaces.clone();
        if self.config.own_namespace {
            namespaces.push(self.client.own_namespace().to_owned());
        }
        if namespaces.is_empty() {
            namespaces.push(String::new());
        }
        namespaces.sort();
        namespaces.dedup();
        namespaces
    }

    fn start_pods(&mut self, namespaces: &[String]) {
        for namespace in namespaces {
            let number = self.world.pods.add_watch();
            let query = self.query(PODS, namespace, Some(Role::Pod));
            self.start(number, query, Change::Pod);
        }
    }

    fn start_services(&mut self, namespaces: &[String]) {
        for namespace in namespaces {
            let number = self.world.services.add_watch();
            let query = self.query(SERVICES, namespace, Some(Role::Service));
            self.start(number, query, Change::Service);
        }
    }

    fn start_owners(&mut self, namespaces: &[String]) {
        for namespace in namespaces {
            if self.config.attach.deployment {
                let number = self.world.replica_sets.add_watch();
                let query = self.query(REPLICA_SETS, namespace, None).only_metadata();
                self.start::<MetaObject>(number, query, Change::ReplicaSet);
            }
            if self.config.attach.cronjob {
                let number = self.world.jobs.add_watch();
                let query = self.query(JOBS, namespace, None).only_metadata();
                self.start::<MetaObject>(number, query, Change::Job);
            }
        }
    }

    fn query(&self, resource: Resource, namespace: &str, role: Option<Role>) -> Query {
        let query = Query::all(resource).in_namespace(namespace);
        let mut selectors = self.config.selectors.iter();
        match selectors.find(|selector| Some(selector.role) == role) {
            Some(selector) => query
                .with_labels(&selector.label)
                .with_fields(&selector.field),
            None => query,
        }
    }

    fn start<T>(&mut self, number: usize, query: Query, wrap: fn(Event<T>) -> Change)
    where
        T: DeserializeOwned + Send + 'static,
    {
        let purpose = format!("discovery_{}", self.config.role);
        let counters = self.counters.of(&purpose, &query.resource.to_string());
        let watch = Watch::new(self.client.clone(), query, counters);
        let (sender, stop) = (self.sender.clone(), self.stop.clone());
        let wrap = move |event: Event<T>| (number, wrap(event));
        self.watches.spawn(watch.run(sender, wrap, stop));
    }
}
