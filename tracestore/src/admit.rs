//! Which spans of a batch are taken in. A span that is over a limit is dropped with its reason;
//! its siblings stay.
//!
//! Invariant: what is left can be stored and read back; nothing is changed or cut.

use std::collections::BTreeMap;

use obs_model::limits::Limits;
use obs_model::spans::Attribute;
use obs_model::{Span, SpanBatch};

use crate::block::SPAN_ENTRIES_MAX;
use crate::row::{weigh, weigh_resource, weigh_scope};
use crate::value::{DEPTH_MAX, Weight};

/// Largest span, its resource or its scope, as an estimate in memory; Tempo takes 5 MB a trace.
const SPAN_BYTES_MAX: usize = 16 << 20;

/// What was dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Number of spans.
    pub count: u64,
    /// Why, for people; empty when nothing was dropped.
    pub reason: String,
}

/// Drops spans that cannot be stored or are over the limits.
pub fn admit(batch: &mut SpanBatch, limits: &Limits) -> Refused {
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    for group in &mut batch.resources {
        let of_resource = list_fault(
            "resource",
            &group.resource.attributes,
            weigh_resource(&group.resource),
            limits,
        );
        for inner in &mut group.scopes {
            let of_scope = list_fault(
                "scope",
                &inner.scope.attributes,
                weigh_scope(&inner.scope),
                limits,
            );
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
    let texts = reasons
        .iter()
        .map(|(reason, count)| format!("{count} spans: {reason}"));
    Refused {
        count: reasons.values().sum(),
        reason: texts.collect::<Vec<_>>().join("; "),
    }
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
