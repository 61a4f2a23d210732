//! What the way through this room asks of a batch of any signal: about how many bytes it has, and
//! by what it is known when its sender comes again with it.
//!
//! Invariant: a batch that is equal has the same fingerprint, in this process and the next.

use obs_model::packed::Arriving;
use obs_model::{LogBatch, MetricBatch, Tenant, Value};
use xxhash_rust::xxh3::Xxh3;

/// What a sample, a record or a span takes beside its texts, about.
const ITEM_BYTES: usize = 64;
/// What a span takes with its attributes, about.
const SPAN_BYTES: usize = 1024;

/// A batch of one signal.
pub(crate) trait Batch: Send + 'static {
    /// About how many bytes it has in memory.
    fn weight(&self) -> usize;
    /// What tells it from other batches.
    fn fingerprint(&self, tenant: &Tenant) -> u64;
}

fn begin(tenant: &Tenant) -> Xxh3 {
    let mut hash = Xxh3::new();
    text(&mut hash, tenant.as_str().as_bytes());
    hash
}

/// A text with its length, so that two texts are not one.
fn text(hash: &mut Xxh3, text: &[u8]) {
    hash.update(&(text.len() as u64).to_le_bytes());
    hash.update(text);
}

impl Batch for MetricBatch {
    fn weight(&self) -> usize {
        let series = self.series.iter().map(|series| {
            let points = series.samples.len() + series.exemplars.len();
            series.labels.packed().len() + (1 + points) * ITEM_BYTES
        });
        let metadata = self.metadata.iter();
        let told = metadata.map(|m| m.family.len() + m.help.len() + ITEM_BYTES);
        series.sum::<usize>() + told.sum::<usize>() + self.known.numbers.len() * 20
    }

    fn fingerprint(&self, tenant: &Tenant) -> u64 {
        let mut hash = begin(tenant);
        for series in &self.series {
            text(&mut hash, series.labels.packed());
            for sample in &series.samples {
                hash.update(&sample.time.nanos().to_le_bytes());
                if let Value::Float(value) = sample.value {
                    hash.update(&value.to_bits().to_le_bytes());
                }
            }
            for exemplar in &series.exemplars {
                hash.update(&exemplar.time.nanos().to_le_bytes());
                hash.update(&exemplar.value.to_bits().to_le_bytes());
            }
        }
        for metadata in &self.metadata {
            text(&mut hash, metadata.family.as_bytes());
        }
        hash.digest()
    }
}

impl Batch for LogBatch {
    fn weight(&self) -> usize {
        let streams = self.streams.iter().map(|stream| {
            let records = stream.records.iter();
            let bytes = records.map(|r| r.line.len() + r.metadata.packed().len() + ITEM_BYTES);
            stream.labels.packed().len() + bytes.sum::<usize>()
        });
        streams.sum()
    }

    fn fingerprint(&self, tenant: &Tenant) -> u64 {
        let mut hash = begin(tenant);
        for stream in &self.streams {
            text(&mut hash, stream.labels.packed());
            for record in &stream.records {
                hash.update(&record.time.nanos().to_le_bytes());
                text(&mut hash, &record.line);
                text(&mut hash, record.metadata.packed());
            }
        }
        hash.digest()
    }
}

impl Batch for Arriving {
    fn weight(&self) -> usize {
        self.span_count().saturating_mul(SPAN_BYTES)
    }

    fn fingerprint(&self, tenant: &Tenant) -> u64 {
        let mut hash = begin(tenant);
        let mut span = |ids: [&[u8]; 3], times: [i64; 2]| {
            for id in ids {
                text(&mut hash, id);
            }
            for time in times {
                hash.update(&time.to_le_bytes());
            }
        };
        match self {
            Self::Whole(batch) => {
                let scopes = batch.resources.iter().flat_map(|r| &r.scopes);
                for s in scopes.flat_map(|scope| &scope.spans) {
                    let ids = [&s.trace_id.0[..], &s.span_id.0[..], s.name.as_bytes()];
                    span(ids, [s.start.nanos(), s.end.nanos()]);
                }
            }
            Self::Packed(packed) => {
                let scopes = packed.resources.iter().flat_map(|r| &r.scopes);
                for s in scopes.flat_map(|scope| &scope.spans) {
                    let name = packed.text(s.name).as_bytes();
                    let ids = [&s.trace_id.0[..], &s.span_id.0[..], name];
                    span(ids, [s.start.nanos(), s.end.nanos()]);
                }
            }
        }
        hash.digest()
    }
}

#[cfg(test)]
mod tests {
    use obs_model::{Labels, LogRecord, LogStream, Timestamp};

    use super::*;

    fn lines(all: &[(&str, &str)]) -> LogBatch {
        let stream = |(app, line): &(&str, &str)| LogStream {
            labels: Labels::from_pairs([("app", *app)]),
            records: vec![LogRecord {
                time: Timestamp::from_seconds(1),
                line: line.as_bytes().to_vec(),
                metadata: Labels::empty(),
            }],
        };
        LogBatch {
            streams: all.iter().map(stream).collect(),
        }
    }

    #[test]
    fn equal_batches_and_only_those_have_one_fingerprint() {
        let tenant = Tenant::anonymous();
        let other = Tenant::new("other").expect("a tenant");
        let one = lines(&[("a", "x"), ("b", "y")]);
        assert_eq!(one.fingerprint(&tenant), one.clone().fingerprint(&tenant));
        assert_ne!(one.fingerprint(&tenant), one.fingerprint(&other));
        let check = |all: &[(&str, &str)]| {
            let print = lines(all).fingerprint(&tenant);
            assert_ne!(one.fingerprint(&tenant), print, "{all:?}");
        };
        check(&[]);
        check(&[("a", "x")]);
        check(&[("b", "y"), ("a", "x")]);
        check(&[("a", "xy"), ("b", "")]);
        assert!(one.weight() > lines(&[("a", "x")]).weight());
    }
}
