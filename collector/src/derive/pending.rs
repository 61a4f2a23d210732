//! Calls of which one side is known: they wait for the other, the oldest first in line.
//!
//! Invariants: at most as many wait as the store was made for, and its memory follows that number;
//! what waits is in the map and in the line, or in neither.

use std::collections::HashMap;
use std::sync::Arc;

use obs_model::{SpanId, Timestamp, TraceId};

/// What the two sides of a call share: the trace, and the span of the caller.
pub(super) type Key = (TraceId, SpanId);

/// No place.
const NONE: u32 = u32::MAX;

/// A call.
#[derive(Clone, Debug, Default)]
pub(super) struct Edge {
    pub(super) trace: TraceId,
    pub(super) connection: &'static str,
    pub(super) client: Option<Arc<str>>,
    pub(super) server: Option<Arc<str>>,
    /// Who the other side may be, by attributes.
    pub(super) peer: Option<Arc<str>>,
    pub(super) client_seconds: f64,
    pub(super) server_seconds: f64,
    pub(super) client_end: Timestamp,
    pub(super) server_start: Timestamp,
    pub(super) failed: bool,
    /// Whether the side that is known has no parent.
    pub(super) root: bool,
    /// Whether the side that is known takes its work from a queue.
    pub(super) consumer: bool,
    /// Which side was made up.
    pub(super) virtual_node: &'static str,
    /// Values of the dimensions: of the client, then of the server; empty without dimensions.
    pub(super) dimensions: Vec<Option<Arc<str>>>,
}

impl Edge {
    pub(super) fn is_complete(&self) -> bool {
        self.client.is_some() && self.server.is_some()
    }
}

#[derive(Debug)]
struct Slot {
    key: Key,
    since: Timestamp,
    edge: Edge,
    before: u32,
    after: u32,
}

/// Calls that wait.
#[derive(Debug)]
pub(super) struct Pending {
    places: HashMap<Key, u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    first: u32,
    last: u32,
    max: usize,
}

/// There is no room for one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Pending {
    pub(super) fn new(max: usize) -> Self {
        Self {
            places: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            first: NONE,
            last: NONE,
            max: max.min(NONE as usize),
        }
    }

    /// Tells a side of a call; gives the call where that completes it. `time` is now.
    pub(super) fn tell(
        &mut self,
        key: Key,
        time: Timestamp,
        side: impl FnOnce(&mut Edge),
    ) -> Result<Option<Edge>, Full> {
        if let Some(place) = self.places.get(&key).copied() {
            let edge = &mut self.slots[place as usize].edge;
            side(edge);
            let complete = edge.is_complete();
            return Ok(complete.then(|| self.remove(place)));
        }
        let mut edge = Edge {
            trace: key.0,
            ..Edge::default()
        };
        side(&mut edge);
        if edge.is_complete() {
            return Ok(Some(edge));
        }
        if self.places.len() >= self.max {
            return Err(Full);
        }
        self.add(Slot {
            key,
            since: time,
            edge,
            before: self.last,
            after: NONE,
        });
        Ok(None)
    }

    fn add(&mut self, slot: Slot) {
        let (key, before) = (slot.key, slot.before);
        let place = match self.free.pop() {
            Some(place) => {
                self.slots[place as usize] = slot;
                place
            }
            None => {
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        };
        match before {
            NONE => self.first = place,
            before => self.slots[before as usize].after = place,
        }
        self.last = place;
        self.places.insert(key, place);
    }

    fn remove(&mut self, place: u32) -> Edge {
        let slot = &mut self.slots[place as usize];
        let edge = std::mem::take(&mut slot.edge);
        let (key, before, after) = (slot.key, slot.before, slot.after);
        match before {
            NONE => self.first = after,
            before => self.slots[before as usize].after = after,
        }
        match after {
            NONE => self.last = before,
            after => self.slots[after as usize].before = before,
        }
        self.places.remove(&key);
        self.free.push(place);
        edge
    }

    /// The call that waits longest, if it came at or before `until`.
    pub(super) fn expire(&mut self, until: Timestamp) -> Option<Edge> {
        let slot = self.slots.get(self.first as usize)?;
        (slot.since <= until).then(|| self.remove(self.first))
    }

    /// Number of calls that wait.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a list that is searched: same completions, same order of expiry, never too many.
        #[test]
        fn waits_as_a_list_does(steps in prop::collection::vec((0u8..12, any::<bool>(), 0i64..4), 1..200)) {
            let mut pending = Pending::new(5);
            let mut list: Vec<(u8, bool, i64)> = Vec::new();
            let mut now = 0;
            for (id, client, pause) in steps {
                now += pause;
                let until = Timestamp::from_seconds(now - 6);
                while let Some(edge) = pending.expire(until) {
                    let (id, ..) = list.remove(0);
                    prop_assert_eq!(edge.trace, TraceId([id; 16]));
                }
                prop_assert!(list.iter().all(|(.., since)| *since > now - 6));
                let side: Arc<str> = Arc::from("x");
                let told = pending.tell((TraceId([id; 16]), SpanId([1; 8])), Timestamp::from_seconds(now), |edge| {
                    if client { edge.client = Some(side) } else { edge.server = Some(side) }
                });
                match list.iter().position(|(known, ..)| *known == id) {
                    Some(at) if list[at].1 != client => {
                        list.remove(at);
                        prop_assert!(told.is_ok_and(|edge| edge.is_some()));
                    }
                    Some(_) => prop_assert!(told.is_ok_and(|edge| edge.is_none())),
                    None if list.len() == 5 => prop_assert!(told.is_err()),
                    None => {
                        list.push((id, client, now));
                        prop_assert!(told.is_ok_and(|edge| edge.is_none()));
                    }
                }
                prop_assert_eq!(pending.len(), list.len());
                prop_assert!(pending.slots.len() <= 5);
            }
        }
    }
}
