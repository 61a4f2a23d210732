//! Native histograms as Prometheus' API prints them: count, sum, and buckets with their bounds.
//!
//! Invariant: buckets come in ascending order, empty ones are left out, and none reaches into
//! the zero bucket.

use obs_model::Histogram;
use obs_model::histogram::BucketSpan;

use crate::json::Writer;
use crate::number;

/// Which bounds belong to a bucket, by Prometheus' numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bounds {
    LeftOpen = 0,
    RightOpen = 1,
    Closed = 3,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    bounds: Bounds,
    lower: f64,
    upper: f64,
    count: f64,
}

/// Writes a histogram as an object.
pub(super) fn histogram(json: &mut Writer<'_>, h: &Histogram) {
    json.object();
    json.key("count");
    quoted(json, h.count);
    json.key("sum");
    quoted(json, h.sum);
    let buckets = buckets(h);
    if !buckets.is_empty() {
        json.key("buckets");
        json.array();
        for bucket in buckets {
            json.array();
            json.unsigned(bucket.bounds as u64);
            quoted(json, bucket.lower);
            quoted(json, bucket.upper);
            quoted(json, bucket.count);
            json.end_array();
        }
        json.end_array();
    }
    json.end_object();
}

/// Writes a float as a string.
pub(super) fn quoted(json: &mut Writer<'_>, value: f64) {
    json.value(|out| {
        out.push(b'"');
        number::api(out, value);
        out.push(b'"');
    });
}

fn buckets(h: &Histogram) -> Vec<Bucket> {
    let mut all: Vec<Bucket> = indexed(&h.negative_spans, &h.negative)
        .map(|(index, count)| Bucket {
            bounds: Bounds::RightOpen,
            lower: -bound(h, index),
            upper: (-bound(h, index - 1)).min(-h.zero_threshold),
            count,
        })
        .collect();
    all.reverse();
    if h.zero_count != 0.0 {
        all.push(Bucket {
            bounds: Bounds::Closed,
            lower: -h.zero_threshold,
            upper: h.zero_threshold,
            count: h.zero_count,
        });
    }
    let custom = h.has_custom_buckets();
    let positive = indexed(&h.positive_spans, &h.positive).map(|(index, count)| Bucket {
        bounds: match (custom, index) {
            (true, 0) => Bounds::Closed,
            _ => Bounds::LeftOpen,
        },
        lower: match custom {
            true => bound(h, index - 1),
            false => bound(h, index - 1).max(h.zero_threshold),
        },
        upper: bound(h, index),
        count,
    });
    all.extend(positive);
    all.retain(|bucket| bucket.count != 0.0);
    all
}

/// The counts with the indexes of their buckets.
fn indexed<'a>(
    spans: &'a [BucketSpan],
    counts: &'a [f64],
) -> impl Iterator<Item = (i64, f64)> + 'a {
    let mut next = 0i64;
    spans
        .iter()
        .flat_map(move |span| {
            let first = next + i64::from(span.offset);
            next = first + i64::from(span.length);
            first..next
        })
        .zip(counts.iter().copied())
}

/// The upper bound of the bucket with this index.
fn bound(h: &Histogram, index: i64) -> f64 {
    if h.has_custom_buckets() {
        return match usize::try_from(index) {
            Err(_) => f64::NEG_INFINITY,
            Ok(at) => h.custom_bounds.get(at).copied().unwrap_or(f64::INFINITY),
        };
    }
    // 2^(index / 2^schema), with the whole part of the exponent apart to lose no digits.
    let (whole, part) = if h.schema >= 0 {
        let parts = 1i64 << h.schema.min(8);
        let part = index.rem_euclid(parts) as f64 / parts as f64;
        (index.div_euclid(parts), part)
    } else {
        (index << (-h.schema).min(4), 0.0)
    };
    if whole >= 1024 {
        // The last bucket ends at the largest float; what is beyond is infinite.
        let last = whole == 1024 && part == 0.0;
        return if last { f64::MAX } else { f64::INFINITY };
    }
    part.exp2() * (whole as f64).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(h: &Histogram, expect: &str) {
        let mut out = Vec::new();
        histogram(&mut Writer::new(&mut out), h);
        assert_eq!(String::from_utf8(out).unwrap(), expect);
    }

    fn span(offset: i32, length: u32) -> BucketSpan {
        BucketSpan { offset, length }
    }

    #[test]
    fn exponential() {
        let h = Histogram {
            schema: 0,
            zero_threshold: 0.5,
            zero_count: 2.0,
            count: 12.0,
            sum: 18.5,
            positive_spans: vec![span(0, 2), span(1, 1)],
            positive: vec![1.0, 0.0, 3.0],
            negative_spans: vec![span(-1, 2)],
            negative: vec![4.0, 2.0],
            ..Histogram::default()
        };
        check(
            &h,
            "{\"count\":\"12\",\"sum\":\"18.5\",\"buckets\":[\
             [1,\"-1\",\"-0.5\",\"2\"],[1,\"-0.5\",\"-0.5\",\"4\"],\
             [3,\"-0.5\",\"0.5\",\"2\"],[0,\"0.5\",\"1\",\"1\"],[0,\"4\",\"8\",\"3\"]]}",
        );
        check(&Histogram::default(), "{\"count\":\"0\",\"sum\":\"0\"}");
    }

    #[test]
    fn custom() {
        let h = Histogram {
            schema: obs_model::histogram::CUSTOM_BUCKETS_SCHEMA,
            count: 6.0,
            positive_spans: vec![span(0, 3)],
            positive: vec![1.0, 2.0, 3.0],
            custom_bounds: vec![5.0, 10.0],
            ..Histogram::default()
        };
        check(
            &h,
            "{\"count\":\"6\",\"sum\":\"0\",\"buckets\":[[3,\"-Inf\",\"5\",\"1\"],\
             [0,\"5\",\"10\",\"2\"],[0,\"10\",\"+Inf\",\"3\"]]}",
        );
    }

    #[test]
    fn bounds() {
        let at = |schema, index| {
            let h = Histogram {
                schema,
                ..Histogram::default()
            };
            bound(&h, index)
        };
        assert_eq!(at(0, 3), 8.0);
        assert_eq!(at(1, 1), std::f64::consts::SQRT_2);
        assert_eq!(at(1, -2), 0.5);
        assert_eq!(at(-2, 2), 256.0);
        assert_eq!(at(8, 1024 * 256), f64::MAX);
        assert_eq!(at(-4, 64), f64::MAX);
        assert_eq!(at(0, 2000), f64::INFINITY);
        assert_eq!(at(0, -2000), 0.0);
    }
}
