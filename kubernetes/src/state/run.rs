//! Following the API server: watches of all resources, of the definitions of custom ones, and of
//! the stateful set that tells the shard; one task that takes what they say.
//!
//! Invariant: the task owns which stores there are; scrapes only read the list of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::custom::{Definition, definitions, resolve};
use super::error::StateError;
use super::object::text;
use super::rows::Rows;
use super::settings::Settings;
use super::shard::{Shard, stateful_set_of};
use super::sheet::Sheet;
use super::store::{Scrape, Store};
use super::telemetry::CustomCounts;
use crate::client::Client;
use crate::error::Error;
use crate::metrics::Counters;
use crate::object::Key;
use crate::resource::{PODS, Query, Resource};
use crate::watch::{Event, Watch};

/// Events that wait to be rendered; a pod is some 30 kB while it waits.
const EVENTS_MAX: usize = 64;

const DEFINITIONS: Resource = Resource::of_cluster(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
);
const STATEFUL_SETS: Resource = Resource::namespaced("apps", "v1", "statefulsets", "StatefulSet");

/// The metrics of a cluster's objects. Clones share them.
#[derive(Clone, Debug)]
pub struct StateMetrics {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    settings: Settings,
    /// By whether they are custom, and by name.
    stores: RwLock<BTreeMap<Place, Arc<Store>>>,
    pub(super) shard: RwLock<Shard>,
    pub(super) counters: Arc<Counters>,
    pub(super) custom: CustomCounts,
    began: RwLock<bool>,
}

/// Custom resources come after the built-in ones; group and version tell those of one name apart.
type Place = (bool, String, String);

/// What a watch tells the task.
enum Told {
    Object(u64, usize, Event<Value>),
    Definition(Event<Value>),
    Own(Event<Value>),
}

/// The task's own view of a store.
struct Running {
    place: Place,
    store: Arc<Store>,
    stop: CancellationToken,
}

struct Follower {
    shared: Arc<Shared>,
    client: Client,
    running: BTreeMap<u64, Running>,
    next: u64,
    watches: JoinSet<()>,
    sender: mpsc::Sender<Told>,
    stop: CancellationToken,
    definitions: Definitions,
}

/// The definitions of custom resources, as the watch of them told.
#[derive(Default)]
struct Definitions {
    known: BTreeMap<Key, Vec<Definition>>,
    /// Those of a list that is not complete yet.
    coming: Option<BTreeMap<Key, Vec<Definition>>>,
}

impl StateMetrics {
    /// Checks the settings; nothing is asked of the API server before [`StateMetrics::run`].
    ///
    /// # Errors
    /// The settings contradict each other, or name what there is not.
    pub fn new(settings: Settings) -> Result<Self, StateError> {
        settings.sheets()?;
        let shared = Shared {
            shard: RwLock::new(settings.shard),
            settings,
            stores: RwLock::default(),
            counters: Arc::default(),
            custom: CustomCounts::default(),
            began: RwLock::new(false),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Follows the API server until stopped.
    ///
    /// # Errors
    /// The stateful set that tells the shard cannot be found.
    pub async fn run(&self, client: Client, stop: CancellationToken) -> Result<(), StateError> {
        let (sender, mut receiver) = mpsc::channel(EVENTS_MAX);
        let mut follower = Follower {
            shared: Arc::clone(&self.shared),
            client,
            running: BTreeMap::new(),
            next: 0,
            watches: JoinSet::new(),
            sender,
            stop: stop.clone(),
            definitions: Definitions::default(),
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            found = follower.begin() => found?,
        }
        *self.shared.began.write() = true;
        let mut rows = Rows::default();
        loop {
            let told = tokio::select! {
                () = stop.cancelled() => break,
                told = receiver.recv() => told,
            };
            match told {
                Some(told) => follower.take(told, &mut rows)?,
                None => break,
            }
        }
        // Each watch has a child of the token.
        while follower.watches.join_next().await.is_some() {}
        Ok(())
    }

    /// Whether every resource was listed, or at least tried where the server refuses it.
    pub fn is_ready(&self) -> bool {
        let tried = |store: &Store| {
            let counters = self
                .shared
                .counters
                .of(super::telemetry::PURPOSE, &store.sheet.go_type);
            store.is_complete() || counters.lists_failed() > 0
        };
        *self.shared.began.read() && self.shared.stores.read().values().all(|store| tried(store))
    }

    /// A scrape of the resources that are asked for, or of all but those that are not wanted.
    pub fn scrape(
        &self,
        resources: Option<&[String]>,
        excluded: Option<&[String]>,
        open_metrics: bool,
    ) -> Scrape {
        let stores = self.shared.stores();
        let wanted = stores.into_iter().filter(|store| {
            let named = |list: &[String]| list.contains(&store.sheet.name);
            resources.is_none_or(named) && !excluded.is_some_and(named)
        });
        Scrape::new(wanted.collect(), open_metrics)
    }
}

impl Shared {
    pub(super) fn stores(&self) -> Vec<Arc<Store>> {
        self.stores.read().values().map(Arc::clone).collect()
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }
}

impl Follower {
    async fn begin(&mut self) -> Result<(), StateError> {
        if let Some((pod, namespace)) = self.shared.settings.own_pod.clone() {
            self.find_shard(&pod, &namespace).await?;
        }
        self.watch_built_in()?;
        if !self.shared.settings.custom.is_empty() {
            self.find_definitions().await?;
        }
        Ok(())
    }

    fn watch_built_in(&mut self) -> Result<(), StateError> {
        for sheet in self.shared.settings.sheets()? {
            let place = (false, sheet.name.clone(), String::new());
            self.watch_all(place, sheet);
        }
        Ok(())
    }

    /// Watches what a sheet needs, and shows it.
    fn watch_all(&mut self, place: Place, sheet: Sheet) {
        let store = Store::new(Arc::new(sheet), self.shared.settings.object_limit);
        let store = Arc::new(store);
        let stop = self.stop.child_token();
        let id = self.next;
        self.next += 1;
        for (shelf, query) in store.sheet.queries.iter().enumerate() {
            let wrap = move |event| Told::Object(id, shelf, event);
            self.watch(query.clone(), &store.sheet.go_type, wrap, stop.clone());
        }
        self.shared
            .stores
            .write()
            .insert(place.clone(), Arc::clone(&store));
        let running = Running { place, store, stop };
        self.running.insert(id, running);
    }

    fn watch(
        &mut self,
        query: Query,
        go_type: &str,
        wrap: impl Fn(Event<Value>) -> Told + Send + Sync + 'static,
        stop: CancellationToken,
    ) {
        let counters = self.shared.counters.of(super::telemetry::PURPOSE, go_type);
        // By pages: a server that does not know initial events would keep silent for a while.
        let mut watch = Watch::new(self.client.clone(), query, counters).by_pages();
        if self.shared.settings.use_apiserver_cache {
            watch = watch.from_cache();
        }
        let sender = self.sender.clone();
        self.watches
            .spawn(async move { watch.run(sender, wrap, stop).await });
    }

    fn take(&mut self, told: Told, rows: &mut Rows) -> Result<(), StateError> {
        // Watches that ended were stopped; their places are given back.
        while self.watches.try_join_next().is_some() {}
        match told {
            Told::Object(id, shelf, event) => {
                let shard = *self.shared.shard.read();
                if let Some(running) = self.running.get(&id) {
                    running
                        .store
                        .take(shelf, event, |object| shard.keeps(object), rows);
                }
            }
            Told::Definition(event) => {
                if self.definitions.take(event, &self.shared.custom) {
                    self.watch_custom(true)?;
                }
            }
            Told::Own(Event::Put(_, set)) => self.own_set_is(&set)?,
            Told::Own(Event::Start | Event::Gone(_) | Event::Ready) => {}
        }
        Ok(())
    }

    /// Looks whether the server tells its definitions; if not, the configuration is believed.
    async fn find_definitions(&mut self) -> Result<(), StateError> {
        let path = format!("{}?limit=1", DEFINITIONS.path(None));
        let tried: Result<Value, Error> = self.client.get(&path).await;
        if let Err(error) = tried
            && matches!(error.status(), Some(401 | 403 | 404 | 405))
        {
            tracing::warn!(%error, "definitions of custom resources are not told, plural names are guessed");
            return self.watch_custom(false);
        }
        let query = Query::all(DEFINITIONS);
        let stop = self.stop.child_token();
        self.watch(
            query,
            "*v1.CustomResourceDefinition",
            Told::Definition,
            stop,
        );
        Ok(())
    }

    /// Watches what the configuration means now, and no longer what it does not.
    fn watch_custom(&mut self, told: bool) -> Result<(), StateError> {
        let known: Vec<_> = self.definitions.known.values().flatten().cloned().collect();
        let shared = Arc::clone(&self.shared);
        let found = resolve(&shared.settings.custom, told.then_some(known.as_slice()))?;
        let mut wanted = BTreeMap::new();
        for found in found {
            let place = (
                true,
                found.plural.clone(),
                format!("{}/{}/{}", found.group, found.version, found.namespaced),
            );
            wanted.insert(place, found);
        }
        let gone = |running: &Running| running.place.0 && !wanted.contains_key(&running.place);
        self.drop_stores(gone);
        for (place, found) in wanted {
            if self.running.values().any(|running| running.place == place) {
                continue;
            }
            if let Some(sheet) = shared.settings.custom_sheet(found)? {
                self.watch_all(place, sheet);
            }
        }
        shared
            .custom
            .kinds_are(shared.stores.read().keys().filter(|place| place.0).count());
        Ok(())
    }

    fn drop_stores(&mut self, gone: impl Fn(&Running) -> bool) {
        self.running.retain(|_, running| {
            let gone = gone(running);
            if gone {
                running.stop.cancel();
                self.shared.stores.write().remove(&running.place);
            }
            !gone
        });
    }

    /// Asks which stateful set this pod is of, and follows it.
    async fn find_shard(&mut self, pod: &str, namespace: &str) -> Result<(), StateError> {
        let path = PODS.path_of(Some(namespace), pod);
        let ask = |what: &str, error: &Error| StateError::Api {
            what: what.to_owned(),
            reason: error.to_string(),
        };
        let own: Result<Value, Error> = self.client.get(&path).await;
        let own = own.map_err(|error| ask("own pod, which tells the shard", &error))?;
        let Some(name) = stateful_set_of(&own) else {
            return Err(StateError::Setting(format!(
                "pod {namespace}/{pod}: expected a stateful set that controls it"
            )));
        };
        let path = STATEFUL_SETS.path_of(Some(namespace), name);
        let set: Result<Value, Error> = self.client.get(&path).await;
        let set = set.map_err(|error| ask("own stateful set, which tells the shard", &error))?;
        let shard = Shard::of_stateful_set(&set, pod).ok_or_else(|| {
            StateError::Setting(format!(
                "pod {pod}: expected the name of the set and an ordinal"
            ))
        })?;
        *self.shared.shard.write() = shard;
        let query = Query::all(STATEFUL_SETS)
            .in_namespace(namespace)
            .with_fields(&format!("metadata.name={name}"));
        let stop = self.stop.child_token();
        self.watch(query, "*v1.StatefulSet", Told::Own, stop);
        Ok(())
    }

    /// The stateful set has changed: where the shard has, too, everything is listed again.
    fn own_set_is(&mut self, set: &Value) -> Result<(), StateError> {
        let Some((pod, _)) = &self.shared.settings.own_pod else {
            return Ok(());
        };
        let shard = Shard::of_stateful_set(set, pod);
        let Some(shard) = shard.filter(|shard| *shard != *self.shared.shard.read()) else {
            return Ok(());
        };
        tracing::info!(
            set = text(set, "metadata.name"),
            shard = shard.ordinal,
            total = shard.total,
            "shard has changed"
        );
        *self.shared.shard.write() = shard;
        self.drop_stores(|_| true);
        self.watch_built_in()?;
        if !self.shared.settings.custom.is_empty() {
            self.watch_custom(!self.definitions.known.is_empty())?;
        }
        Ok(())
    }
}

impl Definitions {
    /// Takes an event; true where what is known has changed.
    fn take(&mut self, event: Event<Value>, counts: &CustomCounts) -> bool {
        match event {
            Event::Start => self.coming = Some(BTreeMap::new()),
            Event::Put(key, object) => {
                let defined = definitions(&object);
                counts.put(self.known.contains_key(&key));
                if let Some(coming) = &mut self.coming {
                    coming.insert(key, defined);
                    return false;
                }
                return self.known.insert(key, defined.clone()) != Some(defined);
            }
            Event::Gone(key) => {
                counts.gone();
                if let Some(coming) = &mut self.coming {
                    coming.remove(&key);
                }
                return self.known.remove(&key).is_some();
            }
            Event::Ready => {
                self.known = self.coming.take().unwrap_or_default();
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests;
