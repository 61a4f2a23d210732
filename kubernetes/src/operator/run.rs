//! The watches of the Operator's objects, and what they come to, told when it changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Monitors, Reference, References, convert, rules};
use crate::client::Client;
use crate::error::Error;
use crate::metrics::Counters;
use crate::object::Key;
use crate::resource::{
    CONFIG_MAPS, POD_MONITORS, PROBES, PROMETHEUS_RULES, Query, Resource, SCRAPE_CONFIGS, SECRETS,
    SERVICE_MONITORS,
};
use crate::selector::Selector;
use crate::watch::{Event, Watch};

/// Events that wait to be taken in.
const EVENTS_WAITING: usize = 64;
/// How long events are gathered before objects are converted again.
const GATHER: Duration = Duration::from_secs(1);
/// How often secrets and config maps are asked for again.
const REFRESH: Duration = Duration::from_secs(300);
/// Most references of one object.
const ROUNDS: usize = 16;
/// Most objects of one watch: far more than clusters have.
const OBJECTS_MAX: usize = 20_000;
/// Most secrets and config maps that are asked for.
const REFERENCES_MAX: usize = 10_000;

const WATCHED: [Resource; 5] = [
    SERVICE_MONITORS,
    POD_MONITORS,
    PROBES,
    SCRAPE_CONFIGS,
    PROMETHEUS_RULES,
];

/// Which objects count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Namespaces; all where this is empty.
    pub namespaces: Vec<String>,
    /// Label selector of the objects; empty selects all.
    pub selector: String,
}

impl Settings {
    /// Whether the selector is one.
    pub fn check(&self) -> Result<(), String> {
        Selector::labels(&self.selector).map(drop)
    }
}

/// An event, and the number of its watch.
type Numbered = (usize, Event<Value>);

/// The objects of one watch.
#[derive(Debug, Default)]
struct Held {
    objects: BTreeMap<Key, Value>,
    /// What the list that comes has so far.
    listed: Option<BTreeSet<Key>>,
    ready: bool,
    refused: u64,
}

impl Held {
    /// Takes in an event. Whether something changed.
    fn take(&mut self, event: Event<Value>) -> bool {
        match event {
            Event::Start => {
                self.listed = Some(BTreeSet::new());
                false
            }
            Event::Put(key, _)
                if self.objects.len() >= OBJECTS_MAX && !self.objects.contains_key(&key) =>
            {
                self.refused += 1;
                if self.refused.is_power_of_two() {
                    let refused = self.refused;
                    tracing::warn!(%key, refused, limit = OBJECTS_MAX, "objects of the operator are not taken: there are too many");
                }
                false
            }
            Event::Put(key, mut object) => {
                if let Some(metadata) = object["metadata"].as_object_mut() {
                    metadata.retain(|name, _| ["name", "namespace"].contains(&name.as_str()));
                }
                if let Some(whole) = object.as_object_mut() {
                    whole.remove("status");
                }
                if let Some(listed) = &mut self.listed {
                    listed.insert(key.clone());
                }
                let before = self.objects.insert(key.clone(), object);
                before.as_ref() != self.objects.get(&key)
            }
            Event::Gone(key) => self.objects.remove(&key).is_some(),
            Event::Ready => {
                let before = self.objects.len();
                if let Some(listed) = self.listed.take() {
                    self.objects.retain(|key, _| listed.contains(key));
                }
                let first = !std::mem::replace(&mut self.ready, true);
                first || before != self.objects.len()
            }
        }
    }
}

/// Watches until the token is cancelled. A resource that the cluster does not have is looked for
/// again and again, and does not hold up the others for longer than a moment.
pub async fn run(
    settings: Settings,
    client: Client,
    counters: Arc<Counters>,
    out: watch::Sender<Monitors>,
    stop: CancellationToken,
) {
    let (sender, events) = mpsc::channel(EVENTS_WAITING);
    let mut watches = JoinSet::new();
    let mut held = Vec::new();
    let namespaces = match settings.namespaces.is_empty() {
        true => vec![String::new()],
        false => settings.namespaces.clone(),
    };
    for resource in WATCHED {
        for namespace in &namespaces {
            let number = held.len();
            held.push(Held::default());
            let query = Query::all(resource.clone())
                .in_namespace(namespace)
                .with_labels(&settings.selector);
            let counters = counters.of("operator", &resource.to_string());
            let watch = Watch::new(client.clone(), query, counters);
            let wrap = move |event| (number, event);
            watches.spawn(watch.run(sender.clone(), wrap, stop.clone()));
        }
    }
    drop(sender);
    let mut world = World {
        held,
        references: References::default(),
        wanted: BTreeSet::new(),
        client,
    };
    tokio::select! {
        () = world.follow(events, &out) => {}
        () = stop.cancelled() => {}
    }
    watches.shutdown().await;
}

struct World {
    held: Vec<Held>,
    references: References,
    /// What the objects refer to.
    wanted: BTreeSet<Reference>,
    client: Client,
}

impl World {
    async fn follow(
        &mut self,
        mut events: mpsc::Receiver<Numbered>,
        out: &watch::Sender<Monitors>,
    ) {
        let mut refresh = tokio::time::interval(REFRESH);
        loop {
            let mut changed = tokio::select! {
                event = events.recv() => match event {
                    Some((number, event)) => self.held[number].take(event),
                    None => return,
                },
                _ = refresh.tick() => self.refresh().await,
            };
            let until = Instant::now() + GATHER;
            while let Ok(Some((number, event))) =
                tokio::time::timeout_at(until, events.recv()).await
            {
                changed |= self.held[number].take(event);
            }
            if !changed {
                continue;
            }
            let monitors = self.convert().await;
            out.send_if_modified(|before| {
                let differs = *before != monitors;
                if differs {
                    *before = monitors;
                }
                differs
            });
        }
    }

    /// Converts all objects; what they refer to is asked for and they are converted again. An
    /// object says one at a time what it needs.
    async fn convert(&mut self) -> Monitors {
        for _ in 0..ROUNDS {
            let monitors = self.convert_known();
            let mut missing = self.references.take_missing();
            missing.retain(|reference| !self.wanted.contains(reference));
            if missing.is_empty() {
                // Credentials that nobody refers to any more are not kept.
                self.wanted = self.references.keep_used();
                return monitors;
            }
            self.wanted.extend(missing.iter().cloned());
            self.fetch(missing).await;
        }
        let monitors = self.convert_known();
        self.wanted = self.references.keep_used();
        monitors
    }

    fn convert_known(&self) -> Monitors {
        let mut monitors = Monitors::default();
        let objects = self.held.iter().flat_map(|held| &held.objects);
        for (key, object) in objects {
            let kind = object["kind"].as_str().unwrap_or("");
            if kind == "PrometheusRule" {
                match rules(object) {
                    Ok(groups) => drop(monitors.rules.insert(key.to_string(), groups)),
                    Err(fault) => monitors.faults.push(format!("{kind} {key}: {fault}")),
                }
                continue;
            }
            match convert(object, &self.references) {
                Ok(entries) => monitors
                    .scrape_configs
                    .extend(entries.into_iter().map(|entry| {
                        let name = entry["job_name"].as_str().unwrap_or("").to_owned();
                        (name, entry)
                    })),
                Err(fault) => monitors.faults.push(format!("{kind} {key}: {fault}")),
            }
        }
        monitors
    }

    /// Asks for all that is referred to again. Whether something is different now.
    async fn refresh(&mut self) -> bool {
        let before = self.references.known.clone();
        self.fetch(self.wanted.clone()).await;
        before != self.references.known
    }

    /// Asks for secrets and config maps, each once however many of its keys are wanted.
    async fn fetch(&mut self, wanted: BTreeSet<Reference>) {
        let mut documents: HashMap<(bool, String, String), Option<Value>> = HashMap::new();
        for reference in wanted.into_iter().take(REFERENCES_MAX) {
            let Reference {
                secret,
                namespace,
                name,
                key,
            } = &reference;
            let place = (*secret, namespace.clone(), name.clone());
            if !documents.contains_key(&place) {
                let resource = if *secret { SECRETS } else { CONFIG_MAPS };
                let path = resource.path_of(Some(namespace), name);
                let found: Result<Value, Error> = self.client.get(&path).await;
                match found {
                    Ok(document) => drop(documents.insert(place.clone(), Some(document))),
                    Err(error) if error.status() == Some(404) => {
                        documents.insert(place.clone(), None);
                    }
                    Err(error) => {
                        // What is known stays; it is asked for again later.
                        tracing::warn!(%error, "what a monitor refers to cannot be read");
                        continue;
                    }
                }
            }
            let document = documents.get(&place).and_then(Option::as_ref);
            let value = document.and_then(|document| value_of(document, *secret, key));
            self.references.set(reference, value);
        }
    }
}

/// A key's text; that of a secret is written in base 64.
fn value_of(document: &Value, secret: bool, key: &str) -> Option<String> {
    let text = document["data"][key].as_str()?;
    if !secret {
        return Some(text.to_owned());
    }
    let bytes = BASE64_STANDARD.decode(text).ok()?;
    String::from_utf8(bytes).ok()
}
