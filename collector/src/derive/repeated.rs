//! Spans that came before: a sender that got no answer sends its batch again, and what is stored
//! once must count once.
//!
//! Invariants: memory is [`SETS`] × [`WAYS`] hashes, whatever comes; a span is never taken for one
//! that it is not, but with the chance of two hashes of 64 bits being equal. What is forgotten for
//! want of room counts again.

use obs_model::Span;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Hashes of one set: as many as a line of the processor's cache has.
const WAYS: usize = 8;
/// Sets: with their ways about a million spans, in 8 MiB.
const SETS: usize = 1 << 17;
/// Trace id, span id, begin, end, kind and status.
const KEY_BYTES: usize = 16 + 8 + 8 + 8 + 2;

/// The latest spans.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Nothing before the first span; zeroes are free.
    sets: Vec<[u64; WAYS]>,
}

/// What makes a span the same: ids, times, kind, status and name, of one service (`seed`).
pub(super) fn identity(span: &Span, seed: u64) -> u64 {
    let mut key = [0; KEY_BYTES];
    key[..16].copy_from_slice(&span.trace_id.0);
    key[16..24].copy_from_slice(&span.span_id.0);
    key[24..32].copy_from_slice(&span.start.nanos().to_le_bytes());
    key[32..40].copy_from_slice(&span.end.nanos().to_le_bytes());
    key[40] = span.kind.number() as u8;
    key[41] = span.status.number() as u8;
    let seed = xxh3_64_with_seed(span.name.as_bytes(), seed);
    xxh3_64_with_seed(&key, seed)
}

impl Seen {
    /// Whether a span was here; remembers it in place of the oldest of its set.
    pub(super) fn again(&mut self, identity: u64) -> bool {
        if self.sets.is_empty() {
            self.sets = vec![[0; WAYS]; SETS];
        }
        // Zero is "none".
        let identity = identity.max(1);
        let place = (identity >> 32) as usize % SETS;
        let set = &mut self.sets[place];
        if set.contains(&identity) {
            return true;
        }
        set.copy_within(..WAYS - 1, 1);
        set[0] = identity;
        false
    }
}

#[cfg(test)]
mod tests {
    use obs_model::spans::{SpanKind, StatusCode};
    use obs_model::{SpanId, Timestamp, TraceId};

    use super::*;

    #[test]
    fn what_makes_a_span_the_same() {
        let span = Span {
            trace_id: TraceId([1; 16]),
            span_id: SpanId([2; 8]),
            name: "a".into(),
            start: Timestamp::from_nanos(3),
            end: Timestamp::from_nanos(4),
            ..Span::default()
        };
        let changes: [fn(&mut Span); 7] = [
            |s| s.trace_id.0[15] = 9,
            |s| s.span_id.0[0] = 9,
            |s| s.name = "b".into(),
            |s| s.start = Timestamp::from_nanos(9),
            |s| s.end = Timestamp::from_nanos(9),
            |s| s.kind = SpanKind::Server,
            |s| s.status = StatusCode::Error,
        ];
        let mut seen = Seen::default();
        assert!(!seen.again(identity(&span, 0)));
        for change in changes {
            let mut other = span.clone();
            change(&mut other);
            assert!(!seen.again(identity(&other, 0)), "{other:?}");
            assert!(seen.again(identity(&other, 0)), "{other:?}");
        }
        assert!(!seen.again(identity(&span, 1)), "of another service");
        assert!(seen.again(identity(&span, 0)));
    }

    #[test]
    fn the_oldest_of_a_set_goes() {
        let mut seen = Seen::default();
        let one = |n: u64| n + 1;
        for n in 0..=WAYS as u64 {
            assert!(!seen.again(one(n)));
        }
        assert!(!seen.again(one(0)), "it was the oldest");
        assert!(seen.again(one(WAYS as u64)));
        assert_eq!(seen.sets.len(), SETS);
    }
}
