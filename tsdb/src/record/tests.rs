//! Records in a row: what one side writes with its dictionary the other side reads with its own.

use obs_model::histogram::BucketSpan;
use proptest::prelude::*;

use super::*;
use crate::column::NO_START;

/// Memory of either side: the labels of its series.
#[derive(Default)]
struct Side {
    labels: Vec<Labels>,
    dictionary: Dictionary,
}

impl Side {
    fn number(&mut self, labels: Labels) -> u32 {
        let found = self.labels.iter().position(|l| *l == labels);
        let at = found.unwrap_or_else(|| {
            self.labels.push(labels);
            self.labels.len() - 1
        });
        at as u32
    }

    fn encode(&mut self, segment: u64, entries: &Entries) -> Vec<u8> {
        let mut out = Vec::new();
        self.dictionary.enter(segment);
        let labels = |id: u32| &self.labels[id as usize];
        let scratch = &mut Scratch::default();
        encode(entries, &mut self.dictionary, labels, scratch, &mut out);
        out
    }

    fn decode(&mut self, segment: u64, record: &[u8]) -> Result<Entries, Corrupt> {
        let mut dictionary = std::mem::take(&mut self.dictionary);
        dictionary.enter(segment);
        let entries = decode(record, &mut dictionary, &mut |labels| self.number(labels));
        self.dictionary = dictionary;
        entries
    }
}

fn labels(series: u32) -> Labels {
    Labels::from_pairs([("__name__", "up"), ("n", &format!("{series}"))])
}

/// What a batch can hold, with each value's bits.
fn entries(side: &mut Side, samples: &[(u32, i64, u64)], rare: bool) -> Entries {
    let mut entries = Entries {
        received: 7,
        ..Entries::default()
    };
    for (series, time, bits) in samples {
        entries.series.push(side.number(labels(*series)));
        entries.times.push(*time);
        entries.values.push(f64::from_bits(*bits));
    }
    if rare {
        let histogram = obs_model::Histogram {
            integer: true,
            schema: 3,
            sum: 5.5,
            positive_spans: vec![BucketSpan {
                offset: -3,
                length: 2,
            }],
            positive: vec![1.0, 4.0],
            ..Default::default()
        };
        let mut column = Column::default();
        column.push(9, Ok(1.0), 4);
        column.push(3, Err(Arc::new(histogram)), NO_START);
        entries.others.push((side.number(labels(100)), column));
        let exemplar = Exemplar {
            labels: Labels::from_pairs([("trace_id", "abc")]),
            value: 0.5,
            time: Timestamp::from_millis(5),
        };
        entries.exemplars.push((side.number(labels(101)), exemplar));
        entries.metadata.push(Metadata {
            family: "up".into(),
            kind: MetricKind::Gauge,
            unit: String::new(),
            help: "is it up".into(),
        });
    }
    entries
}

/// Entries in words that do not depend on a side's numbers.
fn told(side: &Side, entries: &Entries) -> String {
    let label = |series: &u32| side.labels[*series as usize].to_string();
    let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let others = entries.others.iter().map(|(series, column)| {
        // The float where a histogram stands has no meaning.
        let mut values = bits(&column.values);
        for (at, _) in &column.histograms {
            values[*at as usize] = 0;
        }
        (
            label(series),
            &column.times,
            values,
            &column.starts,
            &column.histograms,
        )
    });
    let exemplars = entries
        .exemplars
        .iter()
        .map(|(series, e)| (label(series), e));
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {}",
        entries.series.iter().map(label).collect::<Vec<_>>(),
        entries.times,
        bits(&entries.values),
        others.collect::<Vec<_>>(),
        exemplars.collect::<Vec<_>>(),
        entries.metadata,
        entries.received,
    )
}

#[test]
fn where_batches_begin_is_told() {
    let (mut writer, mut reader) = (Side::default(), Side::default());
    let samples = [(1, 5, 0), (2, 5, 0), (3, 5, 0), (4, 6, 0)];
    let mut entries = entries(&mut writer, &samples, false);
    entries.breaks = vec![0, 2, 2];
    let record = writer.encode(1, &entries);
    let read = reader.decode(1, &record).unwrap();
    assert_eq!(told(&reader, &read), told(&writer, &entries));
    // Another time is another batch, too.
    assert_eq!(read.breaks, [0, 2, 3]);
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (-1000i64..1000).prop_map(|n| (n as f64).to_bits()),
        (0..100u32).prop_map(|n| (f64::from(n) * 0.1).to_bits()),
        Just(obs_model::sample::STALE_BITS),
        Just((-0.0f64).to_bits()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_went_in_comes_out(
        batches in prop::collection::vec(
            (prop::collection::vec((0..12u32, 0..50i64, value()), 0..40), any::<bool>(), 0..3u8),
            1..8,
        ),
    ) {
        let (mut writer, mut reader) = (Side::default(), Side::default());
        let mut segment = 1;
        for (samples, rare, fate) in batches {
            let entries = entries(&mut writer, &samples, rare);
            let record = writer.encode(segment, &entries);
            match fate {
                // It did not get into the journal.
                0 => {
                    writer.dictionary.abort();
                    continue;
                }
                1 => segment += 1,
                _ => {}
            }
            let segment = if fate == 1 { segment - 1 } else { segment };
            let read = reader.decode(segment, &record).unwrap();
            prop_assert_eq!(told(&writer, &entries), told(&reader, &read));
        }
    }

    #[test]
    fn a_missing_record_is_found_out(first in value(), second in value()) {
        prop_assume!(first != second && first != 0);
        let (mut writer, mut reader) = (Side::default(), Side::default());
        let mut write = |samples: &[(u32, i64, u64)]| {
            let entries = entries(&mut writer, samples, false);
            writer.encode(1, &entries)
        };
        let records = [
            write(&[(1, 1, 0)]),
            write(&[(1, 2, first), (2, 2, first)]),
            write(&[(1, 3, second)]),
            write(&[(2, 3, second)]),
            write(&[(3, 3, second)]),
        ];
        let mut read = |at: usize| reader.decode(1, &records[at]).map(|e| e.values[0].to_bits());
        prop_assert!(read(0).is_ok());
        // Values go on from the missing one: either that is seen, or it did not matter.
        let found = read(2);
        prop_assert!(found.is_err() || found == Ok(second), "{found:?}");
        // Series 2 was numbered in the missing one.
        prop_assert!(read(3).is_err());
        prop_assert_eq!(read(4).unwrap(), second);
    }

    #[test]
    fn arbitrary_bodies_do_not_panic(
        flips in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4),
        noise in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut writer = Side::default();
        let good = entries(&mut writer, &[(1, 1, 1), (2, 1, 2), (1, 2, 3)], true);
        let good = writer.encode(1, &good);
        let mut body = bytes::decode(&mut Reader::new("", &good[1..]), 1 << 20).unwrap();
        for (at, bits) in flips {
            let index = at % body.len();
            body[index] ^= bits;
        }
        for body in [body, noise] {
            let mut record = vec![VERSION];
            bytes::encode_raw(&body, &mut record);
            if let Ok(entries) = Side::default().decode(1, &record) {
                prop_assert_eq!(entries.times.len(), entries.values.len());
            }
        }
    }
}

#[test]
fn runs_are_few_bytes() {
    let check = |values: &[i64], step: i64, bytes: usize| {
        let mut out = Vec::new();
        put_runs(values.iter().copied(), step, &[], &mut out);
        assert_eq!(out.len(), bytes, "{values:?}");
        let read = read_runs(&mut Reader::new("", &out), step, values.len());
        assert_eq!(read.unwrap().0, values);
        if !values.is_empty() {
            assert!(read_runs(&mut Reader::new("", &out), step, values.len() - 1).is_err());
        }
    };
    check(&[], 1, 1);
    check(&[5, 6, 7, 8], 1, 3);
    check(&[5, 6, 9, 10, 2], 1, 7);
    check(&[1_000_000; 50], 0, 5);
    check(&[i64::MAX, i64::MIN], 1, 12);
}
