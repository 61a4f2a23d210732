//! What a job makes of histograms: fewer buckets of native ones, and native ones with the bounds of
//! classic ones.
//!
//! Invariants: a histogram whose resolution is reduced counts what it counted; classic series that
//! do not fit together stay as they are.

use std::collections::{HashMap, HashSet};

use obs_model::histogram::{BucketSpan, CUSTOM_BUCKETS_SCHEMA, Histogram};
use obs_model::metrics::MetricKind;
use obs_model::{Labels, Timestamp, labels::METRIC_NAME};
use obs_wire::prometheus::{Exposition, ScrapedExemplar, ScrapedHistogram, ScrapedSample};

use crate::config::HistogramSettings;

const SCHEMA_MIN: i32 = -4;
const SCHEMA_MAX: i32 = 8;

/// Reduces the resolution until a histogram is within the bounds of a job.
pub(super) fn bound(h: &mut Histogram, settings: &HistogramSettings) -> Result<(), String> {
    let limit = usize::try_from(settings.bucket_limit).unwrap_or(usize::MAX);
    let fault = || format!("histogram bucket limit exceeded (limit: {limit})");
    let over = |h: &Histogram| limit > 0 && h.positive.len() + h.negative.len() > limit;
    if h.has_custom_buckets() {
        return if over(h) { Err(fault()) } else { Ok(()) };
    }
    let most = schema_of(settings.min_bucket_factor);
    if h.schema > most {
        reduce(h, most);
    }
    while over(h) {
        if h.schema <= SCHEMA_MIN {
            return Err(fault());
        }
        reduce(h, h.schema - 1);
    }
    Ok(())
}

/// The finest schema whose buckets grow at least by this factor.
fn schema_of(factor: f64) -> i32 {
    if factor <= 0.0 {
        return SCHEMA_MAX;
    }
    // As Prometheus: smaller ones mean the finest.
    let factor = if factor <= 1.0 { 1.00271 } else { factor };
    let floor = -factor.log2().log2();
    (floor.floor() as i32).clamp(SCHEMA_MIN, SCHEMA_MAX)
}

fn reduce(h: &mut Histogram, schema: i32) {
    let shift = (h.schema - schema).clamp(0, 31);
    h.schema = schema;
    for (spans, counts) in [
        (&mut h.positive_spans, &mut h.positive),
        (&mut h.negative_spans, &mut h.negative),
    ] {
        let mut next = 0i64;
        let indices = spans.iter().flat_map(|span| {
            let first = next + i64::from(span.offset);
            next = first + i64::from(span.length);
            first..next
        });
        let mut merged: Vec<(i64, f64)> = Vec::new();
        for (index, count) in indices.zip(counts.iter()) {
            let index = ((index - 1) >> shift) + 1;
            match merged.last_mut() {
                Some((last, sum)) if *last == index => *sum += count,
                _ => merged.push((index, *count)),
            }
        }
        (*spans, *counts) = packed(&merged);
    }
}

/// Spans and counts of buckets in ascending order.
fn packed(buckets: &[(i64, f64)]) -> (Vec<BucketSpan>, Vec<f64>) {
    let (mut spans, mut next): (Vec<BucketSpan>, _) = (Vec::new(), 0i64);
    for (index, _) in buckets {
        match spans.last_mut() {
            Some(span) if *index == next => span.length += 1,
            _ => spans.push(BucketSpan {
                // Indices come from spans of 32 bits and only shrink.
                offset: i32::try_from(index - next).unwrap_or(i32::MAX),
                length: 1,
            }),
        }
        next = index + 1;
    }
    (spans, buckets.iter().map(|(_, count)| *count).collect())
}

/// The parts of one classic histogram.
#[derive(Debug, Default)]
struct Parts {
    /// Bounds and counts with all buckets below.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
    start: Option<Timestamp>,
    exemplars: Vec<ScrapedExemplar>,
    /// Places of its lines.
    lines: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Bucket,
    Sum,
    Count,
}

/// Which part of which classic histogram a line is.
fn part<'a>(line: &'a ScrapedSample, families: &HashSet<String>) -> Option<(&'a str, Part)> {
    let name = line.labels.metric_name()?;
    let parts = [
        ("_bucket", Part::Bucket),
        ("_sum", Part::Sum),
        ("_count", Part::Count),
    ];
    parts.iter().find_map(|(suffix, part)| {
        let family = name.strip_suffix(suffix)?;
        families.contains(family).then_some((family, *part))
    })
}

/// Makes native histograms with custom bounds of classic ones; `keep` keeps the classic ones, too.
pub(super) fn convert(exposition: &mut Exposition, keep: bool) {
    let histograms = exposition.metadata.iter();
    let histograms = histograms.filter(|entry| entry.kind == MetricKind::Histogram);
    let families: HashSet<String> = histograms.map(|entry| entry.family.clone()).collect();
    let taken: HashSet<Labels> = exposition
        .histograms
        .iter()
        .map(|one| one.labels.clone())
        .collect();
    let mut found: Vec<((Labels, Option<Timestamp>), Parts)> = Vec::new();
    let mut places: HashMap<(Labels, Option<Timestamp>), usize> = HashMap::new();
    for (place, line) in exposition.samples.iter().enumerate() {
        let Some((family, part)) = part(line, &families) else {
            continue;
        };
        let mut labels = line.labels.to_builder();
        labels.set(METRIC_NAME, family);
        if part == Part::Bucket {
            labels.set("le", "");
        }
        let key = (labels.build(), line.time);
        if taken.contains(&key.0) {
            continue;
        }
        let at = *places.entry(key.clone()).or_insert_with(|| {
            found.push((key, Parts::default()));
            found.len() - 1
        });
        let parts = &mut found[at].1;
        parts.start = parts.start.or(line.start);
        match part {
            Part::Sum => parts.sum = line.value,
            Part::Count => parts.count = Some(line.value),
            Part::Bucket => {
                let bound = line.labels.get("le").and_then(|text| text.parse().ok());
                let Some(bound) = bound else {
                    continue;
                };
                parts.buckets.push((bound, line.value));
                parts.exemplars.extend(line.exemplar.as_deref().cloned());
            }
        }
        parts.lines.push(place);
    }
    let mut gone = HashSet::new();
    for ((labels, time), mut parts) in found {
        let Some(value) = custom(&mut parts) else {
            continue;
        };
        gone.extend(parts.lines);
        exposition.histograms.push(ScrapedHistogram {
            labels,
            unset: Vec::new(),
            time,
            start: parts.start,
            value,
            exemplars: parts.exemplars,
        });
    }
    if !keep {
        let mut place = 0;
        exposition.samples.retain(|_| {
            place += 1;
            !gone.contains(&(place - 1))
        });
    }
}

/// The histogram of its parts; `None` where there are no buckets, or counts go down.
fn custom(parts: &mut Parts) -> Option<Histogram> {
    if parts.buckets.is_empty() {
        return None;
    }
    parts.buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    parts.buckets.dedup_by(|(a, _), (b, _)| a == b);
    let last = parts.buckets.last().copied()?;
    let count = parts.count.unwrap_or(last.1);
    if last.0 != f64::INFINITY {
        parts.buckets.push((f64::INFINITY, count));
    }
    let (mut below, mut integer) = (0.0, count.fract() == 0.0);
    let mut buckets = Vec::new();
    for (index, (_, sum)) in (0i64..).zip(&parts.buckets) {
        let own = sum - below;
        if own.is_nan() || own < 0.0 {
            return None;
        }
        integer &= own.fract() == 0.0;
        below = *sum;
        if own > 0.0 {
            buckets.push((index, own));
        }
    }
    let (positive_spans, positive) = packed(&buckets);
    let bounds = parts.buckets.iter().map(|(bound, _)| *bound);
    let value = Histogram {
        integer,
        schema: CUSTOM_BUCKETS_SCHEMA,
        count,
        sum: parts.sum,
        positive_spans,
        positive,
        custom_bounds: bounds.filter(|bound| bound.is_finite()).collect(),
        ..Histogram::default()
    };
    value.validate().is_ok().then_some(value)
}

#[cfg(test)]
mod tests {
    use obs_model::limits::Limits;
    use obs_wire::prometheus::text;

    use super::*;

    fn span(offset: i32, length: u32) -> BucketSpan {
        BucketSpan { offset, length }
    }

    fn fine() -> Histogram {
        Histogram {
            schema: 2,
            count: 10.0,
            positive_spans: vec![span(-1, 2), span(2, 2)],
            positive: vec![1.0, 2.0, 3.0, 4.0],
            ..Histogram::default()
        }
    }

    #[test]
    fn resolution_is_reduced() {
        let check =
            |settings: HistogramSettings, schema: i32, spans: &[BucketSpan], counts: &[f64]| {
                let mut h = fine();
                bound(&mut h, &settings).expect("within bounds");
                assert_eq!(
                    (h.schema, &h.positive_spans[..], &h.positive[..]),
                    (schema, spans, counts)
                );
            };
        let any = HistogramSettings::default();
        check(any, 2, &[span(-1, 2), span(2, 2)], &[1.0, 2.0, 3.0, 4.0]);
        // Indices -1, 0, 3, 4 become 0, 0, 2, 2.
        let limit = HistogramSettings {
            bucket_limit: 2,
            ..any
        };
        check(limit, 1, &[span(0, 1), span(1, 1)], &[3.0, 7.0]);
        let factor = HistogramSettings {
            min_bucket_factor: 2.0,
            ..any
        };
        check(factor, 0, &[span(0, 2)], &[3.0, 7.0]);
        let mut custom = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            ..fine()
        };
        let fault = bound(&mut custom, &limit).expect_err("too many");
        assert_eq!(fault, "histogram bucket limit exceeded (limit: 2)");
    }

    #[test]
    fn factors_become_schemas() {
        for (factor, expect) in [
            (0.0, 8),
            (1.0, 8),
            (1.002, 8),
            (1.1, 2),
            (2.0, 0),
            (4.0, -1),
            (1e9, -4),
        ] {
            assert_eq!(schema_of(factor), expect, "{factor}");
        }
    }

    #[test]
    fn classic_histograms_become_native_ones() {
        let text = "# TYPE h histogram\nh_bucket{a=\"b\",le=\"1\"} 2\nh_bucket{a=\"b\",le=\"2\"} 2\n\
            h_bucket{a=\"b\",le=\"+Inf\"} 5\nh_sum{a=\"b\"} 9\nh_count{a=\"b\"} 5\n\
            h_count{a=\"none\"} 1\nother_count 3\n";
        let read = || text::decode(text.as_bytes(), &Limits::default()).expect("well-formed");
        let mut exposition = read();
        convert(&mut exposition, false);
        let names: Vec<_> = exposition
            .samples
            .iter()
            .map(|s| s.labels.to_string())
            .collect();
        assert_eq!(
            names,
            [
                r#"{__name__="h_count", a="none"}"#,
                r#"{__name__="other_count"}"#
            ]
        );
        let made = &exposition.histograms[0];
        assert_eq!(made.labels.to_string(), r#"{__name__="h", a="b"}"#);
        assert_eq!(made.value.custom_bounds, [1.0, 2.0]);
        assert_eq!(made.value.positive_spans, [span(0, 1), span(1, 1)]);
        assert_eq!(
            (&made.value.positive[..], made.value.sum),
            (&[2.0, 3.0][..], 9.0)
        );
        let mut exposition = read();
        convert(&mut exposition, true);
        assert_eq!(
            (exposition.samples.len(), exposition.histograms.len()),
            (7, 1)
        );
    }

    #[test]
    fn counts_that_go_down_stay_classic() {
        let text = "# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\n";
        let read = text::decode(text.as_bytes(), &Limits::default());
        let mut exposition = read.expect("well-formed");
        convert(&mut exposition, false);
        assert_eq!(
            (exposition.samples.len(), exposition.histograms.len()),
            (2, 0)
        );
    }
}
