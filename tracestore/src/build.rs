//! Makes a block, span by span: from the model, from a packed request, or from rows of other blocks without taking them
//! apart.
//!
//! Invariants: a row that was copied is the row that it was; a block is full long before a reader
//! would refuse it, whatever the spans are.

use std::sync::Arc;

use obs_model::packed::{PackedSpan, PackedSpans};
use obs_model::spans::{Resource, Scope};
use obs_model::{Span, SpanId, TraceId};
use xxhash_rust::xxh3::xxh3_64;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::attributes;
use crate::block::{BYTES_MAX, Block, ENTRIES_MAX, ROWS_MAX};
use crate::row::{Numbers, weigh_resource, weigh_scope};
use crate::words::{self, UNKNOWN};

/// What a row takes beside texts and entries.
const ROW_BYTES: usize = 100;
/// What an attribute, event or link takes beside its texts.
const ENTRY_BYTES: usize = 24;

/// A block in the making.
#[derive(Debug)]
pub(crate) struct Builder {
    block: Block,
    resources: Numbers<Resource>,
    scopes: Numbers<Scope>,
    traces: HashTable<(u64, u32)>,
    names: words::Builder,
    messages: words::Builder,
    states: words::Builder,
    attributes: attributes::Builder,
    event_names: words::Builder,
    event_attributes: attributes::Builder,
    link_states: words::Builder,
    link_attributes: attributes::Builder,
    /// Entries and bytes of resources and scopes.
    group_entries: usize,
    group_bytes: usize,
}

/// What of a span is of one size.
struct Head {
    trace_id: TraceId,
    span_id: SpanId,
    parent_id: SpanId,
    start: i64,
    end: i64,
    kind: u8,
    status: u8,
    /// Flags, and how many attributes, events and links the source dropped.
    numbers: [u32; 4],
}

/// What is known of the keys of a request: the columns of this block.
#[derive(Debug, Default)]
pub(crate) struct PackedKeys {
    spans: attributes::KeyMap,
    events: attributes::KeyMap,
    links: attributes::KeyMap,
}

/// What is known of another block: its numbers in the block that is made.
#[derive(Debug, Default)]
pub(crate) struct Map {
    resources: Vec<u32>,
    scopes: Vec<u32>,
    names: Vec<u32>,
    messages: Vec<u32>,
    states: Vec<u32>,
    attributes: attributes::Map,
    event_names: Vec<u32>,
    event_attributes: attributes::Map,
    link_states: Vec<u32>,
    link_attributes: attributes::Map,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            block: Block::default(),
            resources: Numbers::of_resources(),
            scopes: Numbers::of_scopes(),
            traces: HashTable::new(),
            names: words::Builder::default(),
            messages: words::Builder::default(),
            states: words::Builder::default(),
            attributes: attributes::Builder::default(),
            event_names: words::Builder::default(),
            event_attributes: attributes::Builder::default(),
            link_states: words::Builder::default(),
            link_attributes: attributes::Builder::default(),
            group_entries: 0,
            group_bytes: 0,
        }
    }
}

impl Builder {
    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.block.len()
    }

    /// Whether the block must be finished before another row.
    pub(crate) fn is_full(&self) -> bool {
        let events = self.block.events.times.len() + self.event_attributes.len();
        let links = self.block.links.traces.len() + self.link_attributes.len();
        let entries = self.len() + self.attributes.len() + events + links + self.group_entries;
        let texts = [
            &self.names,
            &self.messages,
            &self.states,
            &self.event_names,
            &self.link_states,
        ];
        let texts = texts
            .into_iter()
            .map(words::Builder::stored_bytes)
            .sum::<usize>()
            + self.attributes.stored_bytes()
            + self.event_attributes.stored_bytes()
            + self.link_attributes.stored_bytes();
        let bytes = ROW_BYTES * self.len() + ENTRY_BYTES * entries + texts + self.group_bytes;
        self.len() >= ROWS_MAX || entries >= ENTRIES_MAX || bytes >= BYTES_MAX
    }

    /// Adds what is of one size in each row.
    fn begin(&mut self, resource: &Arc<Resource>, scope: &Arc<Scope>, head: &Head) {
        let resource = self.resource(resource);
        let scope = self.scope(scope);
        let trace = self.trace(head.trace_id);
        let block = &mut self.block;
        block.of_resource.push(resource);
        block.of_scope.push(scope);
        block.of_trace.push(trace);
        block.span_ids.push(head.span_id);
        block.parents.push(head.parent_id);
        block.starts.push(head.start);
        block.durations.push(head.end.wrapping_sub(head.start));
        block.kinds.push(head.kind);
        block.statuses.push(head.status);
        for (column, number) in block.numbers.iter_mut().zip(head.numbers) {
            column.push(number);
        }
    }

    /// Adds a span.
    pub(crate) fn push(&mut self, resource: &Arc<Resource>, scope: &Arc<Scope>, span: &Span) {
        let head = Head {
            trace_id: span.trace_id,
            span_id: span.span_id,
            parent_id: span.parent_id,
            start: span.start.nanos(),
            end: span.end.nanos(),
            kind: span.kind as u8,
            status: span.status as u8,
            numbers: [
                span.flags,
                span.dropped_attributes,
                span.dropped_events,
                span.dropped_links,
            ],
        };
        let start = head.start;
        self.begin(resource, scope, &head);
        let block = &mut self.block;
        self.names.push(span.name.as_bytes());
        self.messages.push(span.status_message.as_bytes());
        self.states.push(span.trace_state.as_bytes());
        self.attributes.push(&span.attributes);
        let events = &mut block.events;
        for event in &span.events {
            events.times.push(event.time.nanos().wrapping_sub(start));
            events.dropped.push(event.dropped_attributes);
            self.event_names.push(event.name.as_bytes());
            self.event_attributes.push(&event.attributes);
        }
        events.ends.push(events.times.len() as u32);
        let links = &mut block.links;
        for link in &span.links {
            links.traces.push(link.trace_id);
            links.spans.push(link.span_id);
            links.flags.push(link.flags);
            links.dropped.push(link.dropped_attributes);
            self.link_states.push(link.trace_state.as_bytes());
            self.link_attributes.push(&link.attributes);
        }
        links.ends.push(links.traces.len() as u32);
    }

    /// Adds a span of a request; `keys` is what is known of its keys by this block.
    pub(crate) fn pack(
        &mut self,
        (resource, scope): (&Arc<Resource>, &Arc<Scope>),
        from: &PackedSpans,
        span: &PackedSpan,
        keys: &mut PackedKeys,
    ) {
        let head = Head {
            trace_id: span.trace_id,
            span_id: span.span_id,
            parent_id: span.parent_id,
            start: span.start.nanos(),
            end: span.end.nanos(),
            kind: span.kind as u8,
            status: span.status as u8,
            numbers: [
                span.flags,
                span.dropped_attributes,
                span.dropped_events,
                span.dropped_links,
            ],
        };
        let start = head.start;
        self.begin(resource, scope, &head);
        let block = &mut self.block;
        self.names.push(from.text(span.name).as_bytes());
        self.messages
            .push(from.text(span.status_message).as_bytes());
        self.states.push(from.text(span.trace_state).as_bytes());
        self.attributes.pack(from, span.attributes, &mut keys.spans);
        let events = &mut block.events;
        for event in from.events(span.events) {
            events.times.push(event.time.nanos().wrapping_sub(start));
            events.dropped.push(event.dropped_attributes);
            self.event_names.push(from.text(event.name).as_bytes());
            self.event_attributes
                .pack(from, event.attributes, &mut keys.events);
        }
        events.ends.push(events.times.len() as u32);
        let links = &mut block.links;
        for link in from.links(span.links) {
            links.traces.push(link.trace_id);
            links.spans.push(link.span_id);
            links.flags.push(link.flags);
            links.dropped.push(link.dropped_attributes);
            self.link_states
                .push(from.text(link.trace_state).as_bytes());
            self.link_attributes
                .pack(from, link.attributes, &mut keys.links);
        }
        links.ends.push(links.traces.len() as u32);
    }

    /// Adds a row of another block; `map` is what is known of that block by this one.
    pub(crate) fn copy(&mut self, from: &Block, row: usize, map: &mut Map) {
        let old = from.of_resource[row] as usize;
        map.resources.resize(from.resources.len(), UNKNOWN);
        if map.resources[old] == UNKNOWN {
            map.resources[old] = self.resource(&from.resources[old]);
        }
        self.block.of_resource.push(map.resources[old]);
        let old = from.of_scope[row] as usize;
        map.scopes.resize(from.scopes.len(), UNKNOWN);
        if map.scopes[old] == UNKNOWN {
            map.scopes[old] = self.scope(&from.scopes[old]);
        }
        self.block.of_scope.push(map.scopes[old]);
        let trace = self.trace(from.trace_id(row));
        let block = &mut self.block;
        block.of_trace.push(trace);
        block.span_ids.push(from.span_ids[row]);
        block.parents.push(from.parents[row]);
        block.starts.push(from.starts[row]);
        block.durations.push(from.durations[row]);
        block.kinds.push(from.kinds[row]);
        block.statuses.push(from.statuses[row]);
        for (to, from) in block.numbers.iter_mut().zip(&from.numbers) {
            to.push(from[row]);
        }
        self.names.copy(&from.names, row, &mut map.names);
        self.messages.copy(&from.messages, row, &mut map.messages);
        self.states.copy(&from.states, row, &mut map.states);
        self.attributes
            .copy(&from.attributes, row, &mut map.attributes);
        self.copy_events(from, row, map);
        self.copy_links(from, row, map);
    }

    fn copy_events(&mut self, from: &Block, row: usize, map: &mut Map) {
        let events = &mut self.block.events;
        for index in from.event_rows(row) {
            events.times.push(from.events.times[index]);
            events.dropped.push(from.events.dropped[index]);
            let names = &from.events.names;
            self.event_names.copy(names, index, &mut map.event_names);
            let attributes = &from.events.attributes;
            self.event_attributes
                .copy(attributes, index, &mut map.event_attributes);
        }
        events.ends.push(events.times.len() as u32);
    }

    fn copy_links(&mut self, from: &Block, row: usize, map: &mut Map) {
        let links = &mut self.block.links;
        for index in from.link_rows(row) {
            links.traces.push(from.links.traces[index]);
            links.spans.push(from.links.spans[index]);
            links.flags.push(from.links.flags[index]);
            links.dropped.push(from.links.dropped[index]);
            let states = &from.links.states;
            self.link_states.copy(states, index, &mut map.link_states);
            let attributes = &from.links.attributes;
            self.link_attributes
                .copy(attributes, index, &mut map.link_attributes);
        }
        links.ends.push(links.traces.len() as u32);
    }

    fn resource(&mut self, resource: &Arc<Resource>) -> u32 {
        let known = self.resources.len();
        let number = self.resources.number(resource);
        if number == known {
            let weight = weigh_resource(resource);
            self.group_entries += weight.entries;
            self.group_bytes += weight.bytes;
        }
        number as u32
    }

    fn scope(&mut self, scope: &Arc<Scope>) -> u32 {
        let known = self.scopes.len();
        let number = self.scopes.number(scope);
        if number == known {
            let weight = weigh_scope(scope);
            self.group_entries += weight.entries;
            self.group_bytes += weight.bytes;
        }
        number as u32
    }

    /// The number of a trace.
    fn trace(&mut self, id: TraceId) -> u32 {
        let block = &mut self.block;
        if let Some(last) = block.of_trace.last()
            && block.traces[*last as usize] == id
        {
            return *last;
        }
        let hash = xxh3_64(&id.0);
        let same = |(_, number): &(u64, u32)| block.traces[*number as usize] == id;
        match self.traces.entry(hash, same, |(hash, _)| *hash) {
            Entry::Occupied(known) => known.get().1,
            Entry::Vacant(empty) => {
                let number = block.traces.len() as u32;
                block.traces.push(id);
                empty.insert((hash, number));
                number
            }
        }
    }

    /// The block.
    pub(crate) fn finish(self) -> Block {
        let mut block = self.block;
        block.resources = self.resources.into_things();
        block.scopes = self.scopes.into_things();
        block.names = self.names.finish();
        block.messages = self.messages.finish();
        block.states = self.states.finish();
        block.attributes = self.attributes.finish();
        block.events.names = self.event_names.finish();
        block.events.attributes = self.event_attributes.finish();
        block.links.states = self.link_states.finish();
        block.links.attributes = self.link_attributes.finish();
        block
    }
}
