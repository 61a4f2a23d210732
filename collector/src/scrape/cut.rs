//! A large scrape as batches that a store takes: its journal has a bound for one record.
//!
//! Invariant: the batches in their order have every sample once, those of one series in their order.

use std::collections::HashMap;

use obs_model::metrics::KnownSamples;
use obs_model::{MetricBatch, Series, Value};
use obs_wire::prometheus::remote_write::v2;

/// Bytes of labels and samples of one batch: a quarter of what a frame of the journal holds.
const BATCH_BYTES: usize = 16 << 20;
/// What a sample takes at most, its time and value.
const SAMPLE_BYTES: usize = 24;
/// What a native histogram usually stays below.
const HISTOGRAM_BYTES: usize = 4 << 10;

/// A batch, and the book's series of its samples that carry a number only.
pub(super) type Piece = (MetricBatch, Vec<u32>);

/// Cuts a batch that is larger than a store takes at one time.
pub(super) fn pieces(batch: MetricBatch, places: Vec<u32>) -> Vec<Piece> {
    cut(batch, places, BATCH_BYTES)
}

fn cut(batch: MetricBatch, places: Vec<u32>, bytes_max: usize) -> Vec<Piece> {
    let known_max = (bytes_max / SAMPLE_BYTES).max(1);
    let weights: Vec<usize> = batch.series.iter().map(weight).collect();
    let few = batch.known.times.len() <= known_max;
    if few && weights.iter().sum::<usize>() <= bytes_max {
        return vec![(batch, places)];
    }
    let MetricBatch {
        mut known,
        series,
        metadata,
    } = batch;
    let (mut out, mut places): (Vec<Piece>, _) = (Vec::new(), places);
    while !known.times.is_empty() {
        let count = known.times.len().min(known_max);
        let rest = KnownSamples {
            epoch: known.epoch,
            numbers: known.numbers.split_off(count),
            times: known.times.split_off(count),
            values: known.values.split_off(count),
        };
        let later = places.split_off(places.len().min(count));
        let known = std::mem::replace(&mut known, rest);
        let batch = MetricBatch {
            known,
            ..MetricBatch::default()
        };
        out.push((batch, std::mem::replace(&mut places, later)));
    }
    let (mut bytes, mut places_of) = (bytes_max, HashMap::<Box<str>, usize>::new());
    for (one, weight) in series.into_iter().zip(weights) {
        if bytes.saturating_add(weight) > bytes_max {
            out.push(Piece::default());
            bytes = 0;
        }
        bytes += weight;
        let last = out.len().saturating_sub(1);
        for family in v2::families_of(one.labels.metric_name().unwrap_or("")) {
            if !places_of.contains_key(family) {
                places_of.insert(family.into(), last);
            }
        }
        if let Some((batch, _)) = out.last_mut() {
            batch.series.push(one);
        }
    }
    // What is told of a family goes with its first series, because some requests have a place for
    // it nowhere else.
    for told in metadata {
        let place = places_of.get(told.family.as_str()).copied().unwrap_or(0);
        if let Some((batch, _)) = out.get_mut(place) {
            batch.metadata.push(told);
        }
    }
    out
}

/// About what a series takes in the journal.
fn weight(series: &Series) -> usize {
    let labels = series.labels.iter();
    let labels: usize = labels
        .map(|(name, value)| name.len() + value.len() + 2)
        .sum();
    let samples = series.samples.iter().map(|sample| match sample.value {
        Value::Float(_) => SAMPLE_BYTES,
        Value::Histogram(_) => HISTOGRAM_BYTES,
    });
    let exemplars = series.exemplars.iter().map(|exemplar| {
        let labels = exemplar.labels.iter();
        labels
            .map(|(name, value)| name.len() + value.len() + 2)
            .sum::<usize>()
            + SAMPLE_BYTES
    });
    labels + samples.sum::<usize>() + exemplars.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use obs_model::metrics::{Metadata, MetricKind, Sample};
    use obs_model::{Labels, Timestamp};
    use proptest::prelude::*;

    use super::*;

    fn batch(known: usize, labels: &[String]) -> MetricBatch {
        let mut batch = MetricBatch::default();
        for number in 0..known {
            batch
                .known
                .push(u32::try_from(number).unwrap(), number as i64, number as f64);
        }
        batch.series = labels
            .iter()
            .map(|value| Series {
                labels: Labels::from_pairs([("l", value.as_str())]),
                samples: vec![Sample {
                    time: Timestamp::from_nanos(1),
                    start: None,
                    value: Value::Float(2.0),
                }],
                ..Series::default()
            })
            .collect();
        batch.metadata.push(Metadata {
            family: "f".to_owned(),
            kind: MetricKind::Gauge,
            unit: String::new(),
            help: String::new(),
        });
        batch
    }

    #[test]
    fn what_is_told_of_a_family_goes_with_its_series() {
        let names = ["a_total", "b_bucket", "c"];
        let mut whole = batch(0, &names.map(str::to_owned));
        for series in &mut whole.series {
            let name = series.labels.get("l").unwrap_or("").to_owned();
            series.labels = Labels::from_pairs([("__name__", name.as_str())]);
        }
        let told = |family: &str| Metadata {
            family: family.to_owned(),
            ..whole.metadata[0].clone()
        };
        whole.metadata = ["c", "b", "none", "a_total"].map(told).to_vec();
        let cut = cut(whole, Vec::new(), 1);
        let families = |(piece, _): &Piece| -> Vec<String> {
            piece.metadata.iter().map(|m| m.family.clone()).collect()
        };
        let all: Vec<Vec<String>> = cut.iter().map(families).collect();
        assert_eq!(all, [vec!["none", "a_total"], vec!["b"], vec!["c"]]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn nothing_is_lost_and_everything_has_its_order(
            known in 0usize..200,
            labels in proptest::collection::vec("[a-c]{0,60}", 0..60),
            max in 1usize..3000,
        ) {
            let whole = batch(known, &labels);
            let places: Vec<u32> = (0..known as u32).map(|n| n * 2).collect();
            let cut = cut(whole.clone(), places.clone(), max);
            let mut again = MetricBatch::default();
            let mut all_places = Vec::new();
            for (piece, places) in cut {
                prop_assert_eq!(piece.known.times.len(), places.len());
                prop_assert!(!piece.is_empty());
                let weight: usize = piece.series.iter().map(weight).sum();
                prop_assert!(weight <= max || piece.series.len() == 1);
                prop_assert!(places.len() * SAMPLE_BYTES <= max.max(SAMPLE_BYTES));
                again.known.numbers.extend(piece.known.numbers);
                again.known.times.extend(piece.known.times);
                again.known.values.extend(piece.known.values);
                again.series.extend(piece.series);
                again.metadata.extend(piece.metadata);
                all_places.extend(places);
            }
            prop_assert_eq!(format!("{again:?}"), format!("{whole:?}"));
            prop_assert_eq!(all_places, places);
        }
    }
}
