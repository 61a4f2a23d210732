//! What of spans is taken in: texts of attributes are cut, traces that grow too large get no more
//! spans, and what the store cannot keep is refused.
//!
//! Invariants: everything that is cut or refused is counted and told to the sender; memory is
//! bounded by [`TRACES_MAX`], whatever is sent.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use obs_collector::Accepted;
use obs_collector::derive::span_bytes;
use obs_model::family::Family;
use obs_model::limits::Limits;
use obs_model::metrics::MetricKind::Counter;
use obs_model::numbers::Passed;
use obs_model::packed::{Arriving, PackedResource, PackedSpan, PackedSpans};
use obs_model::spans::{Attribute, AttributeValue};
use obs_model::time::NANOS_PER_SECOND;
use obs_model::{SpanBatch, Tenant, Timestamp, TraceId};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Traces whose sizes are remembered at one time: twice so many, 32 bytes each.
const TRACES_MAX: usize = 50_000;
/// A trace to which nothing came for one to two of these is forgotten, and may grow anew.
const TURN_NANOS: i64 = 600 * NANOS_PER_SECOND;
/// Stack traces are longer than other texts, and their last lines are those that matter.
const STACK_TRACE: &str = "exception.stacktrace";
/// Bytes of a stack trace that are kept, unless other texts may be longer.
const STACK_TRACE_BYTES_MAX: usize = 64 << 10;

/// Keys are hashes already.
type Sizes = HashMap<u64, u64, BuildHasherDefault<Passed>>;

/// Bytes of traces that spans came for lately.
#[derive(Debug, Default)]
struct Traces {
    now: Sizes,
    before: Sizes,
    turned: Option<Timestamp>,
}

impl Traces {
    fn turn(&mut self, now: Timestamp) {
        let late = self.turned.is_none_or(|turned| now - turned >= TURN_NANOS);
        if late || self.now.len() >= TRACES_MAX {
            self.before = std::mem::take(&mut self.now);
            self.turned = Some(now);
        }
    }

    /// Adds bytes to a trace, unless it has too many with them.
    fn add(&mut self, trace: u64, bytes: u64, max: u64) -> bool {
        let before = &mut self.before;
        let known = self.now.entry(trace);
        let known = known.or_insert_with(|| before.remove(&trace).unwrap_or(0));
        let more = known.saturating_add(bytes);
        if more > max {
            return false;
        }
        *known = more;
        true
    }
}

/// Looks at all spans that come in.
#[derive(Debug, Default)]
pub(crate) struct SpanLimits {
    traces: Mutex<Traces>,
    cut: AtomicU64,
    unfit: AtomicU64,
    large: AtomicU64,
}

impl SpanLimits {
    /// Cuts and takes out what is beyond the limits, and says so.
    pub(crate) fn admit(
        &self,
        tenant: &Tenant,
        batch: &mut Arriving,
        limits: &Limits,
        now: Timestamp,
    ) -> Accepted {
        let max = limits.attribute_bytes_max;
        if let Arriving::Packed(packed) = batch
            && may_be_cut(packed, max)
        {
            *batch = Arriving::Whole(packed.to_batch());
        }
        let cut = match batch {
            Arriving::Whole(batch) => cut(batch, max),
            Arriving::Packed(_) => 0,
        };
        let unfit = obs_tracestore::admit(batch, limits);
        let large = self.bound(tenant, batch, limits.trace_bytes_max, now);
        self.cut.fetch_add(cut, Ordering::Relaxed);
        self.unfit.fetch_add(unfit.count, Ordering::Relaxed);
        self.large.fetch_add(large, Ordering::Relaxed);
        let mut reasons = Vec::new();
        if !unfit.reason.is_empty() {
            reasons.push(unfit.reason);
        }
        if large > 0 {
            reasons.push(format!(
                "{large} spans: their trace is larger than obs.limits.trace_bytes_max = {}",
                limits.trace_bytes_max
            ));
        }
        if cut > 0 {
            reasons.push(format!(
                "{cut} attributes were cut at obs.limits.attribute_bytes_max = {}",
                limits.attribute_bytes_max
            ));
        }
        Accepted {
            refused: unfit.count + large,
            reason: reasons.join("; "),
            crowded: false,
        }
    }

    /// Takes out spans of traces that are too large with them, and counts those.
    fn bound(&self, tenant: &Tenant, batch: &mut Arriving, max: usize, now: Timestamp) -> u64 {
        if max == 0 {
            return 0;
        }
        let max = max as u64;
        let seed = xxh3_64(tenant.as_str().as_bytes());
        let mut traces = self.traces.lock().unwrap_or_else(PoisonError::into_inner);
        traces.turn(now);
        let mut refused = 0;
        let mut fits = |trace: TraceId, bytes: usize| {
            let trace = xxh3_64_with_seed(&trace.0, seed);
            let fits = traces.add(trace, bytes as u64, max);
            refused += u64::from(!fits);
            fits
        };
        match batch {
            Arriving::Whole(batch) => {
                for group in &mut batch.resources {
                    for scope in &mut group.scopes {
                        scope
                            .spans
                            .retain(|span| fits(span.trace_id, span_bytes(span)));
                    }
                    group.scopes.retain(|scope| !scope.spans.is_empty());
                }
                batch.resources.retain(|group| !group.scopes.is_empty());
            }
            Arriving::Packed(batch) => {
                for group in &mut batch.resources {
                    for scope in &mut group.scopes {
                        scope
                            .spans
                            .retain(|span| fits(span.trace_id, packed_bytes(span)));
                    }
                    group.scopes.retain(|scope| !scope.spans.is_empty());
                }
                batch.resources.retain(|group| !group.scopes.is_empty());
            }
        }
        refused
    }

    /// What it says of itself.
    pub(crate) fn families(&self) -> Vec<Family> {
        let mut refused = Family::new(
            "obs_spans_refused_total",
            Counter,
            "Spans that were not taken in, by reason.",
        );
        for (reason, counter) in [("unfit", &self.unfit), ("trace_bytes_max", &self.large)] {
            let labels = obs_model::Labels::from_pairs([("reason", reason)]);
            refused.push(labels, counter.load(Ordering::Relaxed) as f64);
        }
        let cut = Family::new(
            "obs_span_attributes_cut_total",
            Counter,
            "Attributes of spans whose text was cut at obs.limits.attribute_bytes_max.",
        );
        vec![refused, cut.with(self.cut.load(Ordering::Relaxed) as f64)]
    }
}

/// What a span takes beside its texts, and each of its attributes, events and links.
const SPAN_FIXED_BYTES: usize = 64;
const ENTRY_FIXED_BYTES: usize = 16;

/// About the bytes of a packed span.
fn packed_bytes(span: &PackedSpan) -> usize {
    let entries = span.attributes.len() + span.events.len() + span.links.len();
    span.texts.len() + SPAN_FIXED_BYTES + entries * ENTRY_FIXED_BYTES
}

/// Whether a packed batch has texts that are too long.
fn may_be_cut(batch: &PackedSpans, max: usize) -> bool {
    let long = |attributes: &[Attribute]| {
        let mut all = attributes.iter();
        all.any(|attribute| attribute.key.len() > max || is_long(&attribute.value, max))
    };
    let above = |group: &PackedResource| {
        let mut scopes = group.scopes.iter();
        long(&group.resource.attributes) || scopes.any(|scope| long(&scope.scope.attributes))
    };
    max > 0
        && (batch.longest_text() > max
            || batch.all_nested().iter().any(|value| is_long(value, max))
            || batch.resources.iter().any(above))
}

/// Whether a value has a text that is too long.
fn is_long(value: &AttributeValue, max: usize) -> bool {
    match value {
        AttributeValue::String(text) => text.len() > max,
        AttributeValue::Array(values) => values.iter().any(|value| is_long(value, max)),
        AttributeValue::Map(entries) => {
            let mut entries = entries.iter();
            entries.any(|entry| entry.key.len() > max || is_long(&entry.value, max))
        }
        AttributeValue::Empty
        | AttributeValue::Bool(_)
        | AttributeValue::Int(_)
        | AttributeValue::Double(_)
        | AttributeValue::Bytes(_) => false,
    }
}

/// Cuts long texts of all attributes, and counts the attributes.
fn cut(batch: &mut SpanBatch, max: usize) -> u64 {
    if max == 0 {
        return 0;
    }
    let mut count = 0;
    for group in &mut batch.resources {
        count += cut_all(&mut group.resource.attributes, max);
        for scope in &mut group.scopes {
            count += cut_all(&mut scope.scope.attributes, max);
            for span in &mut scope.spans {
                count += cut_all(&mut span.attributes, max);
                for event in &mut span.events {
                    count += cut_all(&mut event.attributes, max);
                }
                for link in &mut span.links {
                    count += cut_all(&mut link.attributes, max);
                }
            }
        }
    }
    count
}

fn cut_all(attributes: &mut [Attribute], max: usize) -> u64 {
    let mut count = 0;
    for Attribute { key, value } in attributes {
        let max_here = if key == STACK_TRACE {
            max.max(STACK_TRACE_BYTES_MAX)
        } else {
            max
        };
        let was_long = cut_text(key, max);
        count += u64::from(cut_value(value, max_here) || was_long);
    }
    count
}

fn cut_value(value: &mut AttributeValue, max: usize) -> bool {
    match value {
        AttributeValue::String(text) => cut_text(text, max),
        AttributeValue::Array(values) => {
            let mut any = false;
            for value in values {
                any |= cut_value(value, max);
            }
            any
        }
        AttributeValue::Map(entries) => cut_all(entries, max) > 0,
        AttributeValue::Empty
        | AttributeValue::Bool(_)
        | AttributeValue::Int(_)
        | AttributeValue::Double(_)
        | AttributeValue::Bytes(_) => false,
    }
}

/// Cuts before the character that goes beyond.
fn cut_text(text: &mut String, max: usize) -> bool {
    if text.len() <= max {
        return false;
    }
    text.truncate(text.floor_char_boundary(max));
    text.shrink_to_fit();
    true
}

#[cfg(test)]
mod tests {
    use obs_model::spans::{Resource, ResourceSpans, ScopeSpans, SpanEvent};
    use obs_model::{Span, SpanId};

    use super::*;

    fn span(trace: u8, id: u8, attributes: Vec<Attribute>) -> Span {
        Span {
            trace_id: TraceId([trace; 16]),
            span_id: SpanId([id; 8]),
            attributes,
            ..Span::default()
        }
    }

    fn batch(spans: Vec<Span>) -> SpanBatch {
        SpanBatch {
            resources: vec![ResourceSpans {
                resource: Resource::default(),
                scopes: vec![ScopeSpans {
                    spans,
                    ..ScopeSpans::default()
                }],
            }],
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_000_000 + seconds)
    }

    #[test]
    fn long_texts_are_cut() {
        let check = |value: AttributeValue, expect: AttributeValue, cut_count: u64| {
            let attribute = Attribute {
                key: "k".into(),
                value,
            };
            let mut one = span(1, 1, vec![attribute.clone()]);
            one.events.push(SpanEvent {
                attributes: vec![attribute],
                ..SpanEvent::default()
            });
            let mut all = batch(vec![one]);
            assert_eq!(cut(&mut all, 4), 2 * cut_count);
            let (_, _, one) = all.iter().next().unwrap();
            assert_eq!(one.attributes[0].value, expect);
            assert_eq!(one.events[0].attributes[0].value, expect);
        };
        let text = |text: &str| AttributeValue::String(text.to_owned());
        check(text("abcd"), text("abcd"), 0);
        check(text("abcde"), text("abcd"), 1);
        check(text("abcä"), text("abc"), 1);
        check(
            AttributeValue::Array(vec![text("abcdef"), text("a"), text("12345")]),
            AttributeValue::Array(vec![text("abcd"), text("a"), text("1234")]),
            1,
        );
        check(
            AttributeValue::Bytes(vec![0; 9]),
            AttributeValue::Bytes(vec![0; 9]),
            0,
        );
        let mut all = batch(vec![span(
            1,
            1,
            vec![
                Attribute::string("a long name", "v"),
                Attribute::string(STACK_TRACE, "x".repeat(STACK_TRACE_BYTES_MAX + 1)),
            ],
        )]);
        // The name of the stack trace is cut as any other, its text at its own bound.
        assert_eq!(cut(&mut all, 20), 1);
        let (_, _, one) = all.iter().next().unwrap();
        assert_eq!(one.attributes[0].key, "a long name");
        let AttributeValue::String(told) = &one.attributes[1].value else {
            panic!("no text");
        };
        assert_eq!(told.len(), STACK_TRACE_BYTES_MAX);
    }

    #[test]
    fn traces_end_at_their_bound() {
        let (all, tenant) = (SpanLimits::default(), Tenant::anonymous());
        let one = || span(1, 1, vec![Attribute::string("k", "v".repeat(100))]);
        let size = span_bytes(&one());
        let limits = Limits {
            trace_bytes_max: 3 * size,
            ..Limits::default()
        };
        let check = |spans: Vec<Span>, seconds: i64, tenant: &Tenant, refused: u64| {
            let mut sent = Arriving::from(batch(spans));
            let before = sent.span_count() as u64;
            let told = all.admit(tenant, &mut sent, &limits, at(seconds));
            assert_eq!(
                (told.refused, before - sent.span_count() as u64),
                (refused, refused)
            );
            assert_eq!(told.reason.contains("trace_bytes_max"), refused > 0);
            assert_eq!(sent.is_empty(), before == refused);
        };
        check(vec![one(), one()], 0, &tenant, 0);
        check(vec![one(), one()], 1, &tenant, 1);
        // Others of the same batch are taken.
        let other = span(2, 1, vec![Attribute::string("k", "v".repeat(100))]);
        check(vec![one(), other], 2, &tenant, 1);
        check(vec![one()], 3, &Tenant::new("b").unwrap(), 0);
        // What spans come for is remembered, what rests is forgotten.
        check(vec![one()], 601, &tenant, 1);
        check(vec![one()], 1202, &tenant, 1);
        check(vec![one()], 3000, &tenant, 1);
        check(vec![], 3700, &tenant, 0);
        check(vec![], 4400, &tenant, 0);
        check(vec![one()], 4401, &tenant, 0);
        let told = all.families()[0].points.len();
        assert_eq!(told, 2);
    }

    #[test]
    fn memory_is_bounded() {
        let mut traces = Traces::default();
        for trace in 0..3 * TRACES_MAX as u64 {
            traces.turn(at(0));
            assert!(traces.add(trace, 1, 10));
        }
        assert!(traces.now.len() + traces.before.len() <= 2 * TRACES_MAX);
    }
}
