//! `traces_service_graph_*`: who calls whom, from the spans of both sides of each call.
//!
//! A client's span and the server's span whose parent it is make one call; so do producer and
//! consumer. A client of a database is both sides. A side that does not come is made up where
//! attributes say who it is. Invariants: a call counts once; what can neither be paired nor made up
//! is counted as unpaired, what there is no room for as dropped.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use obs_model::labels::LabelsBuilder;
use obs_model::spans::{Attribute, Resource, SpanKind, StatusCode};
use obs_model::{Labels, Span, Timestamp};

use super::histogram::Shape;
use super::pending::{Edge, Pending};
use super::series::{Counter, Out, Timing, named};
use super::setting::ServiceGraph;
use super::words::{Words, find, label_name};
use super::{Room, seconds};

const TOTAL: &str = "traces_service_graph_request_total";
const FAILED: &str = "traces_service_graph_request_failed_total";
const SERVER_SECONDS: &str = "traces_service_graph_request_server_seconds";
const CLIENT_SECONDS: &str = "traces_service_graph_request_client_seconds";
const MESSAGING_SECONDS: &str = "traces_service_graph_request_messaging_system_seconds";
const CONNECTION_INFO: &str = "traces_service_graph_connection_info";
const UNPAIRED: &str = "traces_service_graph_unpaired_spans_total";
const DROPPED: &str = "traces_service_graph_dropped_spans_total";

/// Kinds of connections, as Tempo names them.
const MESSAGING: &str = "messaging_system";
const DATABASE: &str = "database";
const VIRTUAL: &str = "virtual_node";
/// The caller of a root span that does not say who called.
const USER: &str = "user";

/// Attributes that make a client's span one of a database; the last resort for its name.
const DATABASE_ATTRIBUTES: [&str; 4] = ["db.namespace", "db.name", "db.system", "db.system.name"];
/// Attributes that name the queue where producer or consumer sends no spans.
const QUEUE_ATTRIBUTES: [&str; 3] = [
    "messaging.destination.name",
    "messaging.destination",
    "messaging.system",
];

/// The setting, prepared.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) setting: ServiceGraph,
    shape: Shape,
    /// Label of each dimension, or those of its client and server.
    labels: Vec<(String, String)>,
}

impl Plan {
    pub(super) fn new(setting: &ServiceGraph) -> Self {
        let label = |attribute: &String| {
            if setting.client_server_prefix {
                let side = |side: &str| label_name(&format!("{side}_{attribute}"));
                return (side("client"), side("server"));
            }
            let name = label_name(attribute);
            let taken = ["client", "server", "connection_type", VIRTUAL].contains(&name.as_str());
            let name = if taken { format!("__{name}") } else { name };
            (name.clone(), name)
        };
        Self {
            shape: Shape {
                bounds: setting.buckets.clone(),
                forms: setting.histograms,
            },
            labels: setting.dimensions.iter().map(label).collect(),
            setting: setting.clone(),
        }
    }

    fn series(&self) -> usize {
        let timings = if self.setting.messaging_latency { 3 } else { 2 };
        2 + usize::from(self.setting.connection_info) + timings * Timing::series(&self.shape)
    }
}

/// What tells connections apart: client, server, kind, side made up, dimensions.
type Name = (
    Arc<str>,
    Arc<str>,
    &'static str,
    &'static str,
    Vec<Option<Arc<str>>>,
);

/// One connection.
#[derive(Debug)]
struct Connection {
    total: Counter,
    failed: Counter,
    server: Timing,
    client: Timing,
    messaging: Option<Timing>,
    /// That there is such a connection, as a gauge of 1.
    info: Option<Labels>,
    last: Timestamp,
}

impl Connection {
    fn new(plan: &Plan, base: &LabelsBuilder) -> Self {
        let timing = |name| Timing::new(base, name, &plan.shape);
        Self {
            total: Counter::new(base, TOTAL),
            failed: Counter::new(base, FAILED),
            server: timing(SERVER_SECONDS),
            client: timing(CLIENT_SECONDS),
            messaging: plan
                .setting
                .messaging_latency
                .then(|| timing(MESSAGING_SECONDS)),
            info: plan
                .setting
                .connection_info
                .then(|| named(base, CONNECTION_INFO)),
            last: Timestamp::MIN,
        }
    }

    fn add(&mut self, plan: &Plan, edge: &Edge, now: Timestamp) {
        self.last = now;
        self.total.value += 1;
        self.failed.value += u64::from(edge.failed);
        let observe = |timing: &mut Timing, value| {
            timing.seen.observe(&plan.shape, value, edge.trace, now);
        };
        observe(&mut self.server, edge.server_seconds);
        observe(&mut self.client, edge.client_seconds);
        let between = edge.server_start - edge.client_end;
        if let Some(timing) = &mut self.messaging
            && edge.connection == MESSAGING
            && between > 0
        {
            observe(timing, between as f64 / 1e9);
        }
    }

    fn timings(&mut self) -> impl Iterator<Item = &mut Timing> {
        [&mut self.server, &mut self.client]
            .into_iter()
            .chain(&mut self.messaging)
    }
}

/// A counter of spans that made no call, by what is known of it.
#[derive(Debug)]
struct Lost {
    counter: Counter,
    last: Timestamp,
}

/// Why, and of which services on both sides.
type LostKey = (&'static str, Option<Arc<str>>, Option<Arc<str>>);

/// The calls of one tenant.
#[derive(Debug)]
pub(super) struct Calls {
    pending: Pending,
    connections: HashMap<Name, Connection>,
    /// Where calls go for whose connection there is no room.
    overflow: Option<Box<Connection>>,
    /// By metric, client and server.
    lost: HashMap<LostKey, Lost>,
}

/// The resource of spans, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side<'a> {
    pub(super) resource: &'a Resource,
    pub(super) service: &'a Arc<str>,
}

impl Calls {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            pending: Pending::new(plan.setting.max_items),
            connections: HashMap::new(),
            overflow: None,
            lost: HashMap::new(),
        }
    }

    /// Takes a span that may be a side of a call.
    pub(super) fn span(
        &mut self,
        plan: &Plan,
        (side, span): (Side<'_>, &Span),
        now: Timestamp,
        (words, room): (&mut Words, &mut Room),
    ) {
        let told = match span.kind {
            SpanKind::Client | SpanKind::Producer => {
                let key = (span.trace_id, span.span_id);
                self.pending.tell(key, now, |edge| {
                    tell_client(plan, edge, (side, span), words);
                })
            }
            SpanKind::Server | SpanKind::Consumer => {
                let root = span.parent_id.is_zero();
                // Roots of one trace do not wait for the same caller: none of them has one.
                let caller = if root { span.span_id } else { span.parent_id };
                self.pending.tell((span.trace_id, caller), now, |edge| {
                    edge.root |= root;
                    tell_server(plan, edge, (side, span), words);
                })
            }
            SpanKind::Unspecified | SpanKind::Internal => return,
        };
        match told {
            Ok(None) => {}
            Ok(Some(edge)) => self.call(plan, edge, now, room),
            Err(_) => {
                room.edges_dropped += 1;
                let service = Some(Arc::clone(side.service));
                let called = matches!(span.kind, SpanKind::Server | SpanKind::Consumer);
                let (client, server) = if called {
                    (None, service)
                } else {
                    (service, None)
                };
                self.lose(DROPPED, (client, server), now, room);
            }
        }
    }

    /// Gives up on what has waited long enough.
    pub(super) fn expire(&mut self, plan: &Plan, now: Timestamp, room: &mut Room) {
        let until = now.saturating_sub(plan.setting.wait_nanos);
        while let Some(mut edge) = self.pending.expire(until) {
            room.edges_expired += 1;
            if make_up(&mut edge) {
                self.call(plan, edge, now, room);
            } else {
                self.lose(UNPAIRED, (edge.client, edge.server), now, room);
            }
        }
    }

    fn call(&mut self, plan: &Plan, edge: Edge, now: Timestamp, room: &mut Room) {
        let (Some(client), Some(server)) = (edge.client.clone(), edge.server.clone()) else {
            return;
        };
        room.edges += 1;
        let virtual_node = if plan.setting.virtual_node_label {
            edge.virtual_node
        } else {
            ""
        };
        let dimensions = edge.dimensions.clone();
        let name = (client, server, edge.connection, virtual_node, dimensions);
        if let Some(known) = self.connections.get_mut(&name) {
            known.add(plan, &edge, now);
            return;
        }
        if !room.take(plan.series()) {
            room.spans_over += 1;
            let overflow = self.overflow.get_or_insert_with(|| {
                let mut labels = LabelsBuilder::default();
                labels.set(super::OVERFLOW, "true");
                Box::new(Connection::new(plan, &labels))
            });
            overflow.add(plan, &edge, now);
            return;
        }
        let mut connection = Connection::new(plan, &labels(plan, &name));
        connection.add(plan, &edge, now);
        self.connections.insert(name, connection);
    }

    fn lose(
        &mut self,
        metric: &'static str,
        (client, server): (Option<Arc<str>>, Option<Arc<str>>),
        now: Timestamp,
        room: &mut Room,
    ) {
        let key = (metric, client, server);
        if let Some(known) = self.lost.get_mut(&key) {
            known.counter.value += 1;
            known.last = now;
            return;
        }
        if !room.take(1) {
            return;
        }
        let mut labels = LabelsBuilder::default();
        labels.set("client", key.1.as_deref().unwrap_or_default());
        labels.set("server", key.2.as_deref().unwrap_or_default());
        let mut counter = Counter::new(&labels, metric);
        counter.value = 1;
        self.lost.insert(key, Lost { counter, last: now });
    }

    /// Writes all series; ends those to which nothing was added since `stale`.
    pub(super) fn collect(
        &mut self,
        plan: &Plan,
        stale: Timestamp,
        room: &mut Room,
        out: &mut Out,
    ) {
        let mut tell = |connection: &mut Connection| {
            let lives = connection.last >= stale;
            for counter in [&mut connection.total, &mut connection.failed] {
                if lives {
                    counter.collect(out);
                } else {
                    counter.end(out);
                }
            }
            match &connection.info {
                Some(labels) if lives => out.gauge(labels, 1.0),
                Some(labels) => out.end(labels),
                None => {}
            }
            for timing in connection.timings() {
                if lives {
                    timing.collect(out);
                } else {
                    timing.end(out);
                }
            }
            lives
        };
        self.connections.retain(|_, connection| {
            let lives = tell(connection);
            if !lives {
                room.give(plan.series());
            }
            lives
        });
        if let Some(overflow) = &mut self.overflow
            && !tell(overflow)
        {
            self.overflow = None;
        }
        self.lost.retain(|_, lost| {
            let lives = lost.last >= stale;
            if lives {
                lost.counter.collect(out);
            } else {
                lost.counter.end(out);
                room.give(1);
            }
            lives
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.connections.is_empty()
            && self.overflow.is_none()
            && self.lost.is_empty()
            && self.pending.len() == 0
    }

    /// Sides that wait.
    pub(super) fn waiting(&self) -> usize {
        self.pending.len()
    }
}

fn labels(plan: &Plan, name: &Name) -> LabelsBuilder {
    let mut labels = LabelsBuilder::default();
    let (client, server, connection, virtual_node, dimensions) = name;
    let (of_client, of_server) = dimensions.split_at(dimensions.len() / 2);
    for (((of_client, of_server), client), server) in
        plan.labels.iter().zip(of_client).zip(of_server)
    {
        labels.set(of_client, client.as_deref().unwrap_or_default());
        // Without prefixes both are one label: the server's, where it has one.
        if let Some(server) = server {
            labels.set(of_server, server);
        }
    }
    labels.set("client", client);
    labels.set("server", server);
    labels.set("connection_type", connection);
    labels.set(VIRTUAL, virtual_node);
    labels
}

fn tell_client(plan: &Plan, edge: &mut Edge, (side, span): (Side<'_>, &Span), words: &mut Words) {
    let producer = span.kind == SpanKind::Producer;
    if producer {
        edge.connection = MESSAGING;
    }
    edge.client = Some(Arc::clone(side.service));
    edge.client_seconds = seconds(span);
    edge.client_end = span.end;
    edge.failed |= span.status == StatusCode::Error;
    tell_dimensions(plan, edge, (side, span), (words, 0));
    tell_peer(plan, edge, (span, producer), words);
    if producer {
        return;
    }
    if let Some(name) = database(&side.resource.attributes, &span.attributes) {
        edge.connection = DATABASE;
        edge.server_seconds = seconds(span);
        edge.server = Some(words.share(&name));
    }
}

fn tell_server(plan: &Plan, edge: &mut Edge, (side, span): (Side<'_>, &Span), words: &mut Words) {
    let consumer = span.kind == SpanKind::Consumer;
    if consumer {
        edge.connection = MESSAGING;
        edge.consumer = true;
    }
    edge.server = Some(Arc::clone(side.service));
    edge.server_seconds = seconds(span);
    edge.server_start = span.start;
    edge.failed |= span.status == StatusCode::Error;
    tell_dimensions(plan, edge, (side, span), (words, plan.labels.len()));
    tell_peer(plan, edge, (span, consumer), words);
}

fn tell_dimensions(
    plan: &Plan,
    edge: &mut Edge,
    (side, span): (Side<'_>, &Span),
    (words, from): (&mut Words, usize),
) {
    if plan.labels.is_empty() {
        return;
    }
    edge.dimensions.resize(2 * plan.labels.len(), None);
    for (place, attribute) in plan.setting.dimensions.iter().enumerate() {
        let lists = [side.resource.attributes.as_slice(), &span.attributes];
        if let Some(text) = find(lists, attribute) {
            edge.dimensions[from + place] = Some(words.share(&text));
        }
    }
}

fn tell_peer(plan: &Plan, edge: &mut Edge, (span, queue): (&Span, bool), words: &mut Words) {
    let configured = plan.setting.peer_attributes.iter().map(String::as_str);
    let queues = QUEUE_ATTRIBUTES.into_iter().filter(|_| queue);
    let found = |key| find([&span.attributes, &[]], key);
    // The queue is nearer than the machine that it runs on.
    if let Some(text) = queues.chain(configured).find_map(found) {
        edge.peer = Some(words.share(&text));
    }
}

/// The name of the database that a client's span is of; `None` where it is of none.
fn database<'a>(resource: &'a [Attribute], span: &'a [Attribute]) -> Option<Cow<'a, str>> {
    // One look at the keys tells nearly all spans apart.
    let is_database = |a: &Attribute| a.key.starts_with("db.");
    if !span.iter().chain(resource).any(is_database) {
        return None;
    }
    let found = |key| find([resource, span], key);
    let fallback = DATABASE_ATTRIBUTES.into_iter().find_map(found)?;
    let host = || {
        let host = found("network.peer.address")?;
        Some(match found("network.peer.port") {
            Some(port) => Cow::Owned(format!("{host}:{port}")),
            None => host,
        })
    };
    let named = found("peer.service").or_else(|| found("server.address"));
    Some(named.or_else(host).unwrap_or(fallback))
}

/// Puts in the side that did not come, where something says who it was.
fn make_up(edge: &mut Edge) -> bool {
    edge.connection = VIRTUAL;
    if edge.client.is_none() {
        // Nobody has to have sent spans for what came from outside or from a queue.
        if !(edge.root || edge.consumer && edge.peer.is_some()) {
            return false;
        }
        edge.virtual_node = "client";
        edge.client = edge.peer.take().or_else(|| Some(Arc::from(USER)));
        return true;
    }
    edge.virtual_node = "server";
    edge.server = edge.peer.take();
    edge.server.is_some()
}
