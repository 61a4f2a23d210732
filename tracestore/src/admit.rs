//! Which spans of a batch are taken in. A span that is over a limit is dropped with its reason;
//! its siblings stay.
//!
//! Invariant: what is left can be stored and read back; nothing is changed or cut.

use std::collections::BTreeMap;

use obs_model::limits::Limits;
use obs_model::packed::{Arriving, PackedSpan, PackedSpans};
use obs_model::spans::{Attribute, Resource, Scope};
use obs_model::{Span, SpanBatch};

use crate::block::SPAN_ENTRIES_MAX;
use crate::row::{weigh, weigh_resource, weigh_scope};
use crate::value::{DEPTH_MAX, Weight};

/// Largest span, its resource or its scope, as an estimate in memory; Tempo takes 5 MB a trace.
const SPAN_BYTES_MAX: usize = 16 << 20;

/// Longest key that is taken without a closer look, in bytes.
const SMALL_KEY_BYTES: usize = 1000;
/// What an attribute, event or link takes at most beside its text, its key included.
const SMALL_ENTRY_BYTES: usize = SMALL_KEY_BYTES + 256;

/// What was dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Number of spans.
    pub count: u64,
    /// Why, for people; empty when nothing was dropped.
    pub reason: String,
}

/// Drops spans that cannot be stored or are over the limits.
pub fn admit(batch: &mut Arriving, limits: &Limits) -> Refused {
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    match batch {
        Arriving::Whole(batch) => whole(batch, limits, &mut reasons),
        Arriving::Packed(batch) => packed(batch, limits, &mut reasons),
    }
    let texts = reasons
        .iter()
        .map(|(reason, count)| format!("{count} spans: {reason}"));
    Refused {
        count: reasons.values().sum(),
        reason: texts.collect::<Vec<_>>().join("; "),
    }
}

/// Why the spans of a resource are refused.
fn resource_fault(resource: &Resource, limits: &Limits) -> Option<String> {
    let weight = weigh_resource(resource);
    list_fault("resource", &resource.attributes, weight, limits)
}

/// Why the spans of a scope are refused.
fn scope_fault(scope: &Scope, limits: &Limits) -> Option<String> {
    list_fault("scope", &scope.attributes, weigh_scope(scope), limits)
}

fn packed(batch: &mut PackedSpans, limits: &Limits, reasons: &mut BTreeMap<String, u64>) {
    let mut resources = std::mem::take(&mut batch.resources);
    let keys = batch.keys().iter().all(|key| key.len() <= SMALL_KEY_BYTES);
    let simple = keys && !batch.has_nested();
    for group in &mut resources {
        let of_resource = resource_fault(&group.resource, limits);
        for inner in &mut group.scopes {
            let of_scope = scope_fault(&inner.scope, limits);
            let above = of_resource.clone().or(of_scope);
            inner.spans.retain(|span| {
                let reason = match &above {
                    Some(reason) => Some(reason.clone()),
                    None if simple && is_small(batch, span, limits) => None,
                    None => fault(&batch.span(span), limits),
                };
                let kept = reason.is_none();
                if let Some(reason) = reason {
                    *reasons.entry(reason).or_default() += 1;
                }
                kept
            });
        }
        group.scopes.retain(|s| !s.spans.is_empty());
    }
    resources.retain(|r| !r.scopes.is_empty());
    batch.resources = resources;
}

/// Whether a span without nested values or long keys is within all limits, told by its numbers.
fn is_small(batch: &PackedSpans, span: &PackedSpan, limits: &Limits) -> bool {
    let mut entries = 1 + span.attributes.len() + span.events.len() + span.links.len();
    let mut longest = span.attributes.len();
    let events = batch.events(span.events).iter().map(|e| e.attributes.len());
    let links = batch.links(span.links).iter().map(|l| l.attributes.len());
    for count in events.chain(links) {
        entries += count;
        longest = longest.max(count);
    }
    let ids = !span.trace_id.is_zero() && !span.span_id.is_zero();
    let bytes = span.texts.len() + entries * SMALL_ENTRY_BYTES;
    ids && longest <= limits.attributes_max
        && entries <= SPAN_ENTRIES_MAX
        && bytes <= SPAN_BYTES_MAX
}

fn whole(batch: &mut SpanBatch, limits: &Limits, reasons: &mut BTreeMap<String, u64>) {
    for group in &mut batch.resources {
        let of_resource = resource_fault(&group.resource, limits);
        for inner in &mut group.scopes {
            let of_scope = scope_fault(&inner.scope, limits);
            let above = of_resource.clone().or(of_scope);
            inner
                .spans
                .retain(|span| match above.clone().or_else(|| fault(span, limits)) {
                    Some(reason) => {
                        *reasons.entry(reason).or_default() += 1;
                        false
                    }
                    None => true,
                });
        }
        group.scopes.retain(|s| !s.spans.is_empty());
    }
    batch.resources.retain(|r| !r.scopes.is_empty());
}

fn list_fault(
    what: &str,
    attributes: &[Attribute],
    weight: Weight,
    limits: &Limits,
) -> Option<String> {
    let max = limits.attributes_max;
    if attributes.len() > max {
        return Some(format!(
            "a {what} has more attributes than obs.limits.attributes_max = {max}"
        ));
    }
    weight_fault(what, weight)
}

fn weight_fault(what: &str, weight: Weight) -> Option<String> {
    if weight.depth > DEPTH_MAX {
        return Some(format!(
            "a {what} has values nested deeper than {DEPTH_MAX}"
        ));
    }
    if weight.entries > SPAN_ENTRIES_MAX {
        return Some(format!("a {what} has more than {SPAN_ENTRIES_MAX} values"));
    }
    (weight.bytes > SPAN_BYTES_MAX)
        .then(|| format!("a {what} has more than {SPAN_BYTES_MAX} bytes"))
}

fn fault(span: &Span, limits: &Limits) -> Option<String> {
    if span.trace_id.is_zero() {
        return Some("the trace id is zero".to_owned());
    }
    if span.span_id.is_zero() {
        return Some("the span id is zero".to_owned());
    }
    let max = limits.attributes_max;
    let events = span.events.iter().map(|e| ("event", e.attributes.len()));
    let links = span.links.iter().map(|l| ("link", l.attributes.len()));
    let mut lists = [("span", span.attributes.len())]
        .into_iter()
        .chain(events)
        .chain(links);
    if let Some((what, _)) = lists.find(|(_, len)| *len > max) {
        return Some(format!(
            "a {what} has more attributes than obs.limits.attributes_max = {max}"
        ));
    }
    weight_fault("span", weigh(span))
}
