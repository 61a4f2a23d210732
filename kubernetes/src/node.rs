//! What is told of a node to the API server: events about it, and its conditions.
//!
//! Events are made as client-go's recorder makes them: in namespace `default`, and an equal one
//! that happened lately only counts on. Invariants: what waits is bounded; a source that repeats
//! itself has a budget; every request has a deadline, and a refusal that will not change is not
//! asked again for an event, and for conditions only at their next heartbeat.

mod recent;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Method;
use obs_model::family::Family;
use obs_model::metrics::MetricKind;
use obs_model::{Labels, Timestamp};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::client::{Client, Sent};
use crate::clock;
use crate::error::Error;
use crate::resource::{CORE_EVENTS, NODES};
use recent::{Recent, Turn};

/// How often conditions are told again, so that readers know that they hold; node-problem-detector's.
const HEARTBEAT: Duration = Duration::from_secs(300);
/// Changes that come within this time are told together.
const GATHER: Duration = Duration::from_secs(1);
/// First and longest pause after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// How often one event is tried.
const TRIES: u32 = 8;
/// Namespace of events about things of the cluster.
const NAMESPACE: &str = "default";
/// Longest message of an event or condition that the API server takes, in bytes.
const MESSAGE_BYTES_MAX: usize = 1024;

/// Something that happened to the node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeEvent {
    /// Who saw it: `kernel-monitor`.
    pub source: String,
    /// Whether it is a warning, else it is normal.
    pub warning: bool,
    /// When.
    pub time: Timestamp,
    /// Why, in one word: `OOMKilling`.
    pub reason: String,
    /// What is told.
    pub message: String,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holds {
    /// It does.
    True,
    /// It does not.
    False,
    /// Nobody can tell.
    Unknown,
}

impl Holds {
    /// As the API writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// A condition of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCondition {
    /// `KernelDeadlock`
    pub kind: String,
    /// Whether it holds.
    pub holds: Holds,
    /// Since when.
    pub since: Timestamp,
    /// Why, in one word.
    pub reason: String,
    /// What is told.
    pub message: String,
}

/// What became of it.
#[derive(Debug, Default)]
pub struct NodeCounters {
    told: AtomicU64,
    lost: AtomicU64,
    patched: AtomicU64,
    failed: AtomicU64,
}

impl NodeCounters {
    /// An event that there was no room for.
    pub fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// All of it for `/metrics`.
    pub fn families(&self) -> [Family; 2] {
        let of = |name: &str, help: &str, values: [(&str, &AtomicU64); 2]| {
            let mut family = Family::new(name, MetricKind::Counter, help);
            for (result, value) in values {
                let labels = Labels::from_pairs([("result", result)]);
                family.push(labels, value.load(Ordering::Relaxed) as f64);
            }
            family
        };
        [
            of(
                "obs_kubernetes_node_events_total",
                "Events about the node for the API server.",
                [("told", &self.told), ("lost", &self.lost)],
            ),
            of(
                "obs_kubernetes_node_conditions_total",
                "Times that the conditions of the node were told to the API server.",
                [("told", &self.patched), ("failed", &self.failed)],
            ),
        ]
    }
}

/// Tells the API server of one node.
#[derive(Clone, Debug)]
pub struct NodeReporter {
    client: Client,
    node: Arc<str>,
    counters: Arc<NodeCounters>,
}

impl NodeReporter {
    /// A reporter for the node of this name.
    pub fn new(client: Client, node: &str, counters: Arc<NodeCounters>) -> Self {
        Self {
            client,
            node: node.into(),
            counters,
        }
    }

    /// Tells events until the token is cancelled or nobody has any.
    pub async fn tell_events(self, mut events: mpsc::Receiver<NodeEvent>, stop: CancellationToken) {
        let tell = async {
            let mut recent = Recent::default();
            while let Some(event) = events.recv().await {
                let told = self.tell(&mut recent, &event).await;
                let counter = match told {
                    true => &self.counters.told,
                    false => &self.counters.lost,
                };
                counter.fetch_add(1, Ordering::Relaxed);
            }
        };
        tokio::select! {
            () = tell => {}
            () = stop.cancelled() => {}
        }
    }

    /// Tells one event, however often it has to be tried. Whether it is there now.
    async fn tell(&self, recent: &mut Recent, event: &NodeEvent) -> bool {
        let mut pause = PAUSES.0;
        for _ in 0..TRIES {
            let (done, known) = match recent.turn(event, Instant::now()) {
                Turn::Quiet => return false,
                Turn::New => (self.create(event).await, false),
                Turn::Again { name, count } => (self.count(&name, count, event).await, true),
            };
            let error = match done {
                Ok(name) => {
                    recent.told(event, name, Instant::now());
                    return true;
                }
                Err(error) => error,
            };
            if known && error.status() == Some(404) {
                // It was too old for the API server, which has forgotten it.
                recent.forget(event);
                continue;
            }
            if is_final(&error) {
                tracing::warn!(%error, reason = event.reason, "event of the node is not told");
                return false;
            }
            tracing::debug!(%error, reason = event.reason, "event of the node is told again");
            sleep(clock::spread(pause, Some(&error))).await;
            pause = (pause * 2).min(PAUSES.1);
        }
        false
    }

    /// Makes an event; its name.
    async fn create(&self, event: &NodeEvent) -> Result<String, Error> {
        let node = &*self.node;
        // As client-go names them: what it is about, and when.
        let name = format!("{node}.{:x}", clock::now().nanos());
        let time = seconds(event.time);
        let object = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": NAMESPACE},
            // The kubelet uses the name as the identity of a node in its events, and so do readers.
            "involvedObject": {"kind": "Node", "name": node, "uid": node},
            "reason": event.reason,
            "message": shortened(&event.message),
            "type": if event.warning { "Warning" } else { "Normal" },
            "source": {"component": event.source, "host": node},
            "reportingComponent": event.source,
            "reportingInstance": node,
            "firstTimestamp": time,
            "lastTimestamp": time,
            "count": 1,
        });
        let path = CORE_EVENTS.path(Some(NAMESPACE));
        let sent = Sent::Json(&object);
        let _: Value = self.client.ask(Method::POST, &path, sent).await?;
        Ok(name)
    }

    /// Says that an event happened again.
    async fn count(&self, name: &str, count: u64, event: &NodeEvent) -> Result<String, Error> {
        let patch = json!({
            "count": count,
            "lastTimestamp": seconds(event.time),
            "message": shortened(&event.message),
        });
        let path = CORE_EVENTS.path_of(Some(NAMESPACE), name);
        let sent = Sent::StrategicPatch(&patch);
        let _: Value = self.client.ask(Method::PATCH, &path, sent).await?;
        Ok(name.to_owned())
    }

    /// Keeps the node's conditions as they are said, until the token is cancelled or nobody says
    /// anything any more.
    pub async fn keep_conditions(
        self,
        mut wanted: watch::Receiver<Vec<NodeCondition>>,
        stop: CancellationToken,
    ) {
        let keep = async {
            let mut pause = PAUSES.0;
            loop {
                let now = wanted.borrow_and_update().clone();
                let (wait, failed) = match self.patch(&now).await {
                    Ok(()) => {
                        pause = PAUSES.0;
                        (clock::spread(HEARTBEAT, None), false)
                    }
                    Err(error) if is_final(&error) => {
                        tracing::warn!(%error, "conditions of the node are not told");
                        (clock::spread(HEARTBEAT, None), false)
                    }
                    Err(error) => {
                        tracing::warn!(%error, "conditions of the node are told again");
                        let wait = clock::spread(pause, Some(&error));
                        pause = (pause * 2).min(PAUSES.1);
                        (wait, true)
                    }
                };
                if failed {
                    // What changes meanwhile goes with the next try, not before it.
                    sleep(wait).await;
                    continue;
                }
                tokio::select! {
                    () = sleep(wait) => {}
                    changed = wanted.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        sleep(GATHER).await;
                    }
                }
            }
        };
        tokio::select! {
            () = keep => {}
            () = stop.cancelled() => {}
        }
    }

    async fn patch(&self, conditions: &[NodeCondition]) -> Result<(), Error> {
        if conditions.is_empty() {
            return Ok(());
        }
        let now = seconds(clock::now());
        let conditions: Vec<_> = conditions.iter().map(|c| condition(c, &now)).collect();
        let patch = json!({"status": {"conditions": conditions}});
        let path = format!("{}/status", NODES.path_of(None, &self.node));
        let sent = Sent::StrategicPatch(&patch);
        let answer: Result<Value, _> = self.client.ask(Method::PATCH, &path, sent).await;
        let counter = match answer {
            Ok(_) => &self.counters.patched,
            Err(_) => &self.counters.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        answer.map(drop)
    }
}

fn condition(condition: &NodeCondition, now: &str) -> Value {
    json!({
        "type": condition.kind,
        "status": condition.holds.name(),
        "reason": condition.reason,
        "message": shortened(&condition.message),
        "lastTransitionTime": seconds(condition.since),
        "lastHeartbeatTime": now,
    })
}

/// Whether asking again does not help: it is not allowed, or wrong.
fn is_final(error: &Error) -> bool {
    match error {
        // Tokens are renewed and servers come back.
        Error::Refused { status, .. } => {
            (400..500).contains(status) && !matches!(status, 401 | 408 | 409 | 425 | 429)
        }
        Error::Unreachable { .. } | Error::TimedOut { .. } | Error::Expired { .. } => false,
        Error::Config { .. } | Error::TooLarge { .. } | Error::Malformed { .. } => true,
    }
}

/// `metav1.Time`: whole seconds.
fn seconds(time: Timestamp) -> String {
    let nanos = time.nanos();
    Timestamp::from_nanos(nanos - nanos.rem_euclid(1_000_000_000)).to_string()
}

/// At most as long as the API server takes.
fn shortened(message: &str) -> &str {
    if message.len() <= MESSAGE_BYTES_MAX {
        return message;
    }
    let mut ends = (0..=MESSAGE_BYTES_MAX).rev();
    let end = ends.find(|end| message.is_char_boundary(*end));
    &message[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_that_do_not_change() {
        let check = |status, expect| {
            let error = Error::Refused {
                path: "/".to_owned(),
                status,
                reason: String::new(),
                message: String::new(),
                retry_after: None,
            };
            assert_eq!(is_final(&error), expect, "{status}");
        };
        for status in [400, 403, 404, 405, 422] {
            check(status, true);
        }
        for status in [401, 409, 429, 500, 503] {
            check(status, false);
        }
    }

    #[test]
    fn messages_and_times_are_what_the_server_takes() {
        assert_eq!(shortened("short"), "short");
        let long = "é".repeat(MESSAGE_BYTES_MAX);
        assert_eq!(shortened(&long).len(), MESSAGE_BYTES_MAX);
        assert_eq!(shortened(&format!("a{long}")).len(), MESSAGE_BYTES_MAX - 1);
        let time = Timestamp::from_nanos(1_700_000_000_123_456_789);
        assert_eq!(seconds(time), "2023-11-14T22:13:20Z");
    }
}
