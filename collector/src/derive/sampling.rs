//! Which traces are kept, decided once their spans had time to come: those that failed, were slow
//! or do something rare, and a share of the rest.
//!
//! Invariants: a share is a share of traces, not of spans, and the same on every server; what is
//! not known (after a restart, or beyond [`Sampling::traces_max`]) is kept; memory is bounded.

use std::collections::HashMap;

use obs_model::spans::{AttributeValue, StatusCode, attribute};
use obs_model::time::NANOS_PER_SECOND;
use obs_model::{Span, SpanBatch, Tenant, Timestamp, TraceId};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Operations that are counted in a minute; beyond them none is rare.
const OPERATIONS_MAX: usize = 100_000;
/// For how many waits a trace is remembered, so that its late spans share its fate.
const WAITS_REMEMBERED: i64 = 3;

/// What is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// How long a span waits for the rest of its trace.
    pub wait_nanos: i64,
    /// The share of the traces that nothing else keeps, from 0 to 1.
    pub ratio: f64,
    /// Whether traces with a failed span are kept.
    pub errors: bool,
    /// Traces with a span of at least so many nanoseconds are kept.
    pub slow_nanos: Option<i64>,
    /// So many traces with an operation (a service's span name) are kept each minute.
    pub rare_per_minute: u32,
    /// Most traces that are remembered.
    pub traces_max: usize,
    /// Most bytes that wait on disk; beyond them spans are kept without a decision.
    pub bytes_max: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            wait_nanos: 30 * NANOS_PER_SECOND,
            ratio: 0.1,
            errors: true,
            slow_nanos: None,
            rare_per_minute: 1,
            traces_max: 200_000,
            bytes_max: 1 << 30,
        }
    }
}

/// What was decided, in spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    /// Kept by a policy or the share.
    pub kept: u64,
    /// Kept because nothing was known of their trace.
    pub unknown: u64,
    /// Left out.
    pub dropped: u64,
}

#[derive(Clone, Copy, Debug)]
struct Trace {
    keep: bool,
    last: Timestamp,
}

/// Tenants are told apart by hash: were two equal, more would be kept.
type Key = (u64, TraceId);

/// What is known of traces that are not decided.
#[derive(Debug)]
pub struct Sampler {
    setting: Sampling,
    traces: HashMap<Key, Trace>,
    /// Traces of each operation in this minute.
    operations: HashMap<u64, u32>,
    minute: i64,
    swept: Timestamp,
}

fn key(tenant: &Tenant, trace: TraceId) -> Key {
    (xxh3_64(tenant.as_str().as_bytes()), trace)
}

impl Sampler {
    /// One that knows of nothing.
    pub fn new(setting: Sampling) -> Self {
        Self {
            setting,
            traces: HashMap::new(),
            operations: HashMap::new(),
            minute: i64::MIN,
            swept: Timestamp::MIN,
        }
    }

    /// The setting.
    pub fn setting(&self) -> &Sampling {
        &self.setting
    }

    /// Learns of spans that came in now.
    pub fn see(&mut self, tenant: &Tenant, batch: &SpanBatch, now: Timestamp) {
        self.sweep(now);
        for group in &batch.resources {
            let service = match attribute(&group.resource.attributes, "service.name") {
                Some(AttributeValue::String(name)) => name.as_str(),
                Some(_) | None => "",
            };
            let seed = xxh3_64_with_seed(service.as_bytes(), key(tenant, TraceId::default()).0);
            for span in group.scopes.iter().flat_map(|scope| &scope.spans) {
                // Rarity first: every span counts towards it.
                let keep = self.is_rare(seed, span) || self.is_wanted(span);
                let known = key(tenant, span.trace_id);
                if let Some(trace) = self.traces.get_mut(&known) {
                    trace.keep |= keep;
                    trace.last = now;
                } else if self.traces.len() < self.setting.traces_max {
                    let keep = keep || self.is_in_share(span.trace_id);
                    self.traces.insert(known, Trace { keep, last: now });
                }
            }
        }
    }

    fn is_wanted(&self, span: &Span) -> bool {
        let slow = self.setting.slow_nanos;
        (self.setting.errors && span.status == StatusCode::Error)
            || slow.is_some_and(|nanos| span.duration_nanos() >= nanos)
    }

    fn is_rare(&mut self, seed: u64, span: &Span) -> bool {
        if self.setting.rare_per_minute == 0 {
            return false;
        }
        let operation = xxh3_64_with_seed(span.name.as_bytes(), seed);
        let full = self.operations.len() >= OPERATIONS_MAX;
        if full && !self.operations.contains_key(&operation) {
            return false;
        }
        let count = self.operations.entry(operation).or_insert(0);
        *count = count.saturating_add(1);
        *count <= self.setting.rare_per_minute
    }

    fn is_in_share(&self, trace: TraceId) -> bool {
        // The upper 53 bits are a number from 0 to 1 that a float has exactly.
        let place = (xxh3_64(&trace.0) >> 11) as f64 / (1u64 << 53) as f64;
        place < self.setting.ratio
    }

    /// Forgets operations of the last minute, and traces that nothing came for.
    fn sweep(&mut self, now: Timestamp) {
        let minute = now.nanos().div_euclid(60 * NANOS_PER_SECOND);
        if minute != self.minute {
            self.minute = minute;
            self.operations.clear();
        }
        if now >= self.swept.saturating_add(self.setting.wait_nanos) {
            self.swept = now;
            let remembered = self.setting.wait_nanos.saturating_mul(WAITS_REMEMBERED);
            let until = now.saturating_sub(remembered);
            self.traces.retain(|_, trace| trace.last >= until);
        }
    }

    /// Takes out of spans that waited long enough those that are not kept.
    pub fn decide(&self, tenant: &Tenant, batch: &mut SpanBatch) -> Decided {
        let mut decided = Decided::default();
        for group in &mut batch.resources {
            for scope in &mut group.scopes {
                scope.spans.retain(|span| {
                    let known = self.traces.get(&key(tenant, span.trace_id));
                    match known.map(|trace| trace.keep) {
                        Some(true) => decided.kept += 1,
                        Some(false) => decided.dropped += 1,
                        None => decided.unknown += 1,
                    }
                    known.is_none_or(|trace| trace.keep)
                });
            }
            group.scopes.retain(|scope| !scope.spans.is_empty());
        }
        batch.resources.retain(|group| !group.scopes.is_empty());
        decided
    }
}

#[cfg(test)]
mod tests {
    use obs_model::spans::{Attribute, Resource, ResourceSpans, ScopeSpans};
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_000_000 + seconds)
    }

    fn span(trace: u16, name: &str) -> Span {
        let mut id = [1; 16];
        id[..2].copy_from_slice(&trace.to_be_bytes());
        Span {
            trace_id: TraceId(id),
            name: name.into(),
            start: at(0),
            end: at(1),
            ..Span::default()
        }
    }

    fn batch(spans: Vec<Span>) -> SpanBatch {
        SpanBatch {
            resources: vec![ResourceSpans {
                resource: Resource {
                    attributes: vec![Attribute::string("service.name", "shop")],
                    ..Resource::default()
                },
                scopes: vec![ScopeSpans {
                    spans,
                    ..ScopeSpans::default()
                }],
            }],
        }
    }

    fn sampler(change: impl FnOnce(&mut Sampling)) -> Sampler {
        let mut setting = Sampling {
            ratio: 0.0,
            rare_per_minute: 0,
            ..Sampling::default()
        };
        change(&mut setting);
        Sampler::new(setting)
    }

    /// What is left of one span of each of the traces.
    fn kept(sampler: &Sampler, traces: std::ops::Range<u16>) -> Vec<u16> {
        let tenant = Tenant::anonymous();
        let left = |trace: &u16| {
            let mut one = batch(vec![span(*trace, "x")]);
            sampler.decide(&tenant, &mut one);
            one.span_count() == 1
        };
        traces.filter(left).collect()
    }

    #[test]
    fn a_trace_is_kept_for_any_of_its_spans() {
        let tenant = Tenant::anonymous();
        let mut sampler = sampler(|s| s.slow_nanos = Some(2 * NANOS_PER_SECOND));
        let failed = |trace| Span {
            status: StatusCode::Error,
            ..span(trace, "x")
        };
        let slow = Span {
            end: at(2),
            ..span(3, "x")
        };
        sampler.see(
            &tenant,
            &batch(vec![span(1, "x"), span(2, "x"), slow]),
            at(0),
        );
        assert_eq!(kept(&sampler, 1..4), [3]);
        sampler.see(&tenant, &batch(vec![failed(1)]), at(9));
        assert_eq!(kept(&sampler, 1..4), [1, 3]);
        // Of a trace that nobody heard of, everything is kept.
        let mut unknown = batch(vec![span(9, "x")]);
        let decided = sampler.decide(&tenant, &mut unknown);
        assert_eq!((decided.unknown, unknown.span_count()), (1, 1));
        let mut dropped = batch(vec![span(2, "x")]);
        assert_eq!(sampler.decide(&tenant, &mut dropped).dropped, 1);
        assert!(dropped.resources.is_empty());
    }

    #[test]
    fn rare_operations_are_kept_each_minute() {
        let tenant = Tenant::anonymous();
        let mut sampler = sampler(|s| s.rare_per_minute = 2);
        for trace in 1..5 {
            sampler.see(&tenant, &batch(vec![span(trace, "often")]), at(0));
        }
        sampler.see(&tenant, &batch(vec![span(5, "seldom")]), at(1));
        assert_eq!(kept(&sampler, 1..6), [1, 2, 5]);
        sampler.see(&tenant, &batch(vec![span(6, "often")]), at(61));
        assert_eq!(kept(&sampler, 6..7), [6]);
    }

    #[test]
    fn a_share_is_of_traces() {
        let tenant = Tenant::anonymous();
        let mut sampler = sampler(|s| s.ratio = 0.25);
        for trace in 0..4000 {
            sampler.see(&tenant, &batch(vec![span(trace, "x")]), at(0));
        }
        let first = kept(&sampler, 0..4000);
        assert!((800..1200).contains(&first.len()), "{}", first.len());
        for trace in 0..4000 {
            sampler.see(&tenant, &batch(vec![span(trace, "y")]), at(20));
        }
        assert_eq!(kept(&sampler, 0..4000), first);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn memory_is_bounded_and_spans_are_accounted_for(
            traces in prop::collection::vec(0u16..100, 1..300),
        ) {
            let tenant = Tenant::anonymous();
            let mut sampler = sampler(|s| s.traces_max = 20);
            for (index, trace) in traces.iter().enumerate() {
                sampler.see(&tenant, &batch(vec![span(*trace, "x")]), at(index as i64));
                prop_assert!(sampler.traces.len() <= 20);
            }
            let mut all = batch(traces.iter().map(|t| span(*t, "x")).collect());
            let decided = sampler.decide(&tenant, &mut all);
            prop_assert_eq!(decided.kept + decided.unknown, all.span_count() as u64);
            prop_assert_eq!(decided.dropped, (traces.len() - all.span_count()) as u64);
        }
    }
}
