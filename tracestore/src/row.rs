//! A span together with its resource and scope, and how rows become a batch again.
//!
//! Invariant: a batch made of rows does not depend on where the rows came from: spans ascend by
//! start, equal resources and scopes stand together in order of their first span.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use obs_model::spans::{Resource, ResourceSpans, Scope, ScopeSpans, SpanKind};
use obs_model::{Span, SpanBatch, SpanId, TimeRange, Timestamp};

use crate::value::{Weight, resource_bytes, scope_bytes};

/// The attribute that names a service.
pub(crate) const SERVICE_NAME: &str = "service.name";

/// A span with what it shares with others.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) resource: Arc<Resource>,
    pub(crate) scope: Arc<Scope>,
    pub(crate) span: Arc<Span>,
}

/// What makes a span the same span within its trace.
pub(crate) type Identity = (SpanId, SpanKind);

impl Row {
    pub(crate) fn identity(&self) -> Identity {
        (self.span.span_id, self.span.kind)
    }

    /// From start to end.
    pub(crate) fn range(&self) -> TimeRange {
        self.span.range()
    }

    fn order(&self) -> (Timestamp, Identity) {
        (self.span.start, self.identity())
    }
}

/// What a resource costs to hold.
pub(crate) fn weigh_resource(resource: &Resource) -> Weight {
    let mut weight = Weight {
        bytes: resource.schema_url.len(),
        ..Weight::default()
    };
    weight.add(&resource.attributes, 0);
    weight
}

/// What a scope costs to hold.
pub(crate) fn weigh_scope(scope: &Scope) -> Weight {
    let mut weight = Weight {
        bytes: scope.name.len() + scope.version.len() + scope.schema_url.len(),
        ..Weight::default()
    };
    weight.add(&scope.attributes, 0);
    weight
}

/// What a span costs to hold, without resource and scope.
pub(crate) fn weigh(span: &Span) -> Weight {
    let mut weight = Weight {
        entries: 1 + span.events.len() + span.links.len(),
        bytes: size_of::<Span>() + 3 * size_of::<usize>(),
        depth: 0,
    };
    weight.bytes += span.trace_state.len() + span.name.len() + span.status_message.len();
    weight.add(&span.attributes, 0);
    for event in &span.events {
        weight.bytes += size_of_val(event) + event.name.len();
        weight.add(&event.attributes, 0);
    }
    for link in &span.links {
        weight.bytes += size_of_val(link) + link.trace_state.len();
        weight.add(&link.attributes, 0);
    }
    weight
}

/// Drops every row whose identity an earlier row has. The rows are of one trace.
pub(crate) fn keep_first(rows: &mut Vec<Row>) {
    let mut seen = HashSet::with_capacity(rows.len());
    rows.retain(|row| seen.insert(row.identity()));
}

/// Rows in the order in which they are stored and given back.
pub(crate) fn sort(rows: &mut [Row]) {
    rows.sort_by_key(Row::order);
}

/// Numbers equal things equally: by address at first, by bytes where the address is new.
#[derive(Debug)]
pub(crate) struct Numbers<T> {
    by_address: HashMap<usize, usize>,
    by_bytes: HashMap<Vec<u8>, usize>,
    bytes_of: fn(&T) -> Vec<u8>,
    /// Addresses are only unique while their owners live.
    held: Vec<Arc<T>>,
    /// The first of equal things, by number.
    things: Vec<Arc<T>>,
    /// Address and number that were asked for last.
    last: Option<(usize, usize)>,
}

impl<T> Numbers<T> {
    pub(crate) fn new(bytes_of: fn(&T) -> Vec<u8>) -> Self {
        Self {
            by_address: HashMap::new(),
            by_bytes: HashMap::new(),
            bytes_of,
            held: Vec::new(),
            things: Vec::new(),
            last: None,
        }
    }

    /// How many distinct things there were.
    pub(crate) fn len(&self) -> usize {
        self.things.len()
    }

    /// The number of a thing; numbers are given in order of first appearance.
    pub(crate) fn number(&mut self, thing: &Arc<T>) -> usize {
        let address = Arc::as_ptr(thing).addr();
        if let Some((last, number)) = self.last
            && last == address
        {
            return number;
        }
        let number = match self.by_address.get(&address) {
            Some(number) => *number,
            None => {
                let next = self.things.len();
                let number = *self.by_bytes.entry((self.bytes_of)(thing)).or_insert(next);
                if number == next {
                    self.things.push(Arc::clone(thing));
                }
                self.by_address.insert(address, number);
                self.held.push(Arc::clone(thing));
                number
            }
        };
        self.last = Some((address, number));
        number
    }

    /// The distinct things, by number.
    pub(crate) fn into_things(self) -> Vec<Arc<T>> {
        self.things
    }
}

impl Numbers<Resource> {
    pub(crate) fn of_resources() -> Self {
        Self::new(resource_bytes)
    }
}

impl Numbers<Scope> {
    pub(crate) fn of_scopes() -> Self {
        Self::new(scope_bytes)
    }
}

/// Groups rows by resource and scope.
pub(crate) fn batch(mut rows: Vec<Row>) -> SpanBatch {
    sort(&mut rows);
    let mut resources = Numbers::of_resources();
    let mut scopes = Numbers::of_scopes();
    let mut places: HashMap<(usize, usize), usize> = HashMap::new();
    let mut batch = SpanBatch::default();
    for row in rows {
        let resource = resources.number(&row.resource);
        if resource == batch.resources.len() {
            batch.resources.push(ResourceSpans {
                resource: (*row.resource).clone(),
                scopes: Vec::new(),
            });
        }
        let group = &mut batch.resources[resource].scopes;
        let scope = *places
            .entry((resource, scopes.number(&row.scope)))
            .or_insert(group.len());
        if scope == group.len() {
            group.push(ScopeSpans {
                scope: (*row.scope).clone(),
                spans: Vec::new(),
            });
        }
        group[scope].spans.push(Arc::unwrap_or_clone(row.span));
    }
    batch
}
