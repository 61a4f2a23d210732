//! Summaries: what is known of a run of samples of one series without decoding them. Blocks of parts
//! have them beside their values, so that a window that covers a whole block need not decode it.
//!
//! Invariants: a run has only floats, no NaN among them. Sums are told to be exact only where every
//! order of adding gives them, so that what is computed from summaries is what samples give.
//! Bytes: `docs/formats/metric-part.md`.

use obs_model::Timestamp;
use obs_storage::Corrupt;
use obs_storage::codec::bundle::{Bundle, BundleWriter, Scratch};
use obs_storage::codec::{Reader, bytes, ints};

/// Integers up to here are floats without rounding, and sums that come out up to here were not
/// rounded.
pub(crate) const EXACT_MAX: f64 = 9_007_199_254_740_991.0; // 2^53 - 1

/// A run of neighbouring samples of one series. It stands at the time of its last sample, whose
/// value stands beside it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// When the first sample is.
    pub first_time: Timestamp,
    /// Number of samples, at least one.
    pub count: u64,
    /// The value of the first sample.
    pub first: f64,
    /// The smallest value, of equal ones the first.
    pub min: f64,
    /// The largest value, of equal ones the first.
    pub max: f64,
    /// Values before falls: where a value is below the one before.
    pub fallen: Fallen,
    /// The sum.
    pub sum: f64,
    /// All values are integers and no order of adding them rounds, so that the sum is exact.
    pub exact: bool,
}

/// The values before falls inside of a run, added in their order: what a counter had when it was
/// reset.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fallen {
    /// No value is below the one before.
    No,
    /// One is.
    Once(f64),
    /// Several are; this is their sum.
    Often(f64),
    /// Several are, and the order of adding them counts.
    Unknown,
}

impl Fallen {
    /// What it adds.
    pub fn sum(self) -> Option<f64> {
        match self {
            Self::No | Self::Unknown => None,
            Self::Once(sum) | Self::Often(sum) => Some(sum),
        }
    }
}

impl Summary {
    /// Of one sample.
    pub fn of_one(time: Timestamp, value: f64) -> Self {
        Self {
            first_time: time,
            count: 1,
            first: value,
            min: value,
            max: value,
            fallen: Fallen::No,
            sum: value,
            exact: is_whole(value),
        }
    }

    /// Whether all values and their sums, added in any order to others, stay exact up to a bound
    /// on the sum of their amounts.
    pub fn amount(&self) -> f64 {
        self.count as f64 * self.min.abs().max(self.max.abs())
    }
}

/// Whether a value is an integer that floats have exactly.
pub(crate) fn is_whole(value: f64) -> bool {
    value.abs() <= EXACT_MAX && value.fract() == 0.0
}

/// A summary in the making.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    summary: Summary,
    last: f64,
    /// What rounding lost of the sum (Neumaier).
    lost: f64,
    amount: f64,
}

impl Run {
    pub(crate) fn new(time: i64, value: f64) -> Self {
        Self {
            summary: Summary::of_one(Timestamp::from_millis(time), value),
            last: value,
            lost: 0.0,
            amount: value.abs(),
        }
    }

    /// Number of samples.
    pub(crate) fn count(&self) -> u64 {
        self.summary.count
    }

    /// Whether a value would be the second one that falls.
    pub(crate) fn falls_again(&self, value: f64) -> bool {
        value < self.last && matches!(self.summary.fallen, Fallen::Once(_))
    }

    /// Adds the next sample, which is not a NaN.
    pub(crate) fn add(&mut self, value: f64) {
        let one = &mut self.summary;
        if value < self.last {
            one.fallen = match one.fallen.sum() {
                None => Fallen::Once(self.last),
                Some(sum) => Fallen::Often(sum + self.last),
            };
        }
        one.count += 1;
        if value < one.min {
            one.min = value;
        }
        if value > one.max {
            one.max = value;
        }
        let total = one.sum + value;
        if total.is_infinite() {
            self.lost = 0.0;
        } else if one.sum.abs() >= value.abs() {
            self.lost += (one.sum - total) + value;
        } else {
            self.lost += (value - total) + one.sum;
        }
        one.sum = total;
        self.amount += value.abs();
        one.exact &= is_whole(value) && self.amount <= EXACT_MAX;
        self.last = value;
    }

    pub(crate) fn finish(self) -> Summary {
        let sum = self.summary.sum;
        let sum = if sum.is_infinite() {
            sum
        } else {
            sum + self.lost
        };
        Summary {
            sum,
            ..self.summary
        }
    }
}

/// The summary of all samples of a chunk; `None` where there is a NaN.
pub(crate) fn of_chunk(times: &[i64], values: &[f64]) -> Option<Summary> {
    let (first, rest) = values.split_first()?;
    if values.iter().any(|value| value.is_nan()) {
        return None;
    }
    let mut run = Run::new(*times.first()?, *first);
    rest.iter().for_each(|value| run.add(*value));
    let mut summary = run.finish();
    if let (Fallen::Often(_), false) = (summary.fallen, summary.exact) {
        summary.fallen = Fallen::Unknown;
    }
    Some(summary)
}

/// The columns of a bundle that a summary has.
const COLUMNS: usize = 6;
/// The sum is exact.
const EXACT: u64 = 1;
/// There is one fall, or there are several; with both bits their sum is not known.
const ONCE: u64 = 2;
const OFTEN: u64 = 4;

/// The summary of one series in a block, as it is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    /// The number of its time column.
    pub(crate) times: u64,
    /// Without the first time, which is in the time column.
    pub(crate) summary: Summary,
    /// The value of the last sample.
    pub(crate) last: f64,
}

/// Appends the summaries of a block, one place per series.
pub(crate) fn encode(
    block: &[Option<Stored>],
    bundle: &mut BundleWriter,
    packer: &mut bytes::Encoder,
    out: &mut Vec<u8>,
) {
    let numbers: Vec<u64> = block
        .iter()
        .map(|one| one.map_or(0, |one| one.times + 1))
        .collect();
    let known: Vec<&Stored> = block.iter().flatten().collect();
    let flags = |one: &&Stored| {
        let exact = if one.summary.exact { EXACT } else { 0 };
        exact
            | match one.summary.fallen {
                Fallen::No => 0,
                Fallen::Once(_) => ONCE,
                Fallen::Often(_) => OFTEN,
                Fallen::Unknown => ONCE | OFTEN,
            }
    };
    let flags: Vec<u64> = known.iter().map(flags).collect();
    let column =
        |of: &dyn Fn(&Stored) -> f64| -> Vec<f64> { known.iter().map(|one| of(one)).collect() };
    ints::encode_u64(&numbers, out);
    ints::encode_u64(&flags, out);
    let first = bundle.push(&column(&|one| one.summary.first), None);
    let last = bundle.push(&column(&|one| one.last), Some(first));
    bundle.push(&column(&|one| one.summary.min), Some(first));
    bundle.push(&column(&|one| one.summary.max), Some(last));
    // A sum that is not exact helps nobody who has the samples.
    let exact: Vec<f64> = known
        .iter()
        .filter(|one| one.summary.exact)
        .map(|one| one.summary.sum)
        .collect();
    let fallen = known.iter().filter_map(|one| one.summary.fallen.sum());
    let fallen: Vec<f64> = fallen.collect();
    bundle.push(&exact, None);
    bundle.push(&fallen, None);
    bundle.finish(packer, out);
}

/// Reads the summaries of a block of so many series; counts and first times are left to the reader
/// of time columns.
pub(crate) fn decode(
    reader: &mut Reader<'_>,
    series: usize,
    bytes_max: usize,
) -> Result<Vec<Option<Stored>>, Corrupt> {
    let numbers = ints::decode_u64(reader, series)?;
    let known = numbers.iter().filter(|n| **n > 0).count();
    let flags = ints::decode_u64(reader, known)?;
    if numbers.len() != series || flags.len() != known {
        return Err(reader.corrupt("a summary or none of each series"));
    }
    let bundle = Bundle::open(reader, COLUMNS, series, bytes_max)?;
    let mut scratch = Scratch::default();
    let mut columns = Vec::with_capacity(COLUMNS);
    for column in 0..bundle.len() {
        columns.push(bundle.decode(column, &mut scratch)?);
    }
    let exact = flags.iter().filter(|f| **f & EXACT != 0).count();
    let falls = flags
        .iter()
        .filter(|f| [ONCE, OFTEN].contains(&(**f & !EXACT)));
    let counts = [known, known, known, known, exact, falls.count()];
    if columns.len() != counts.len() || columns.iter().zip(counts).any(|(c, n)| c.len() != n) {
        return Err(reader.corrupt("columns of summaries before here"));
    }
    let (mut sums, mut falls) = (columns[4].iter(), columns[5].iter());
    let mut at = 0;
    let mut block = Vec::with_capacity(series);
    for number in numbers {
        let Some(times) = number.checked_sub(1) else {
            block.push(None);
            continue;
        };
        let exact = flags[at] & EXACT != 0;
        let sum = if exact { sums.next() } else { None };
        let mut next = || falls.next().copied().unwrap_or(0.0);
        let fallen = match flags[at] & !EXACT {
            0 => Fallen::No,
            ONCE => Fallen::Once(next()),
            OFTEN => Fallen::Often(next()),
            _ => Fallen::Unknown,
        };
        block.push(Some(Stored {
            times,
            last: columns[1][at],
            summary: Summary {
                first_time: Timestamp::default(),
                count: 1,
                first: columns[0][at],
                min: columns[2][at],
                max: columns[3][at],
                fallen,
                sum: sum.copied().unwrap_or(0.0),
                exact,
            },
        }));
        at += 1;
    }
    Ok(block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stored() -> impl Strategy<Value = Option<Stored>> {
        let value = prop_oneof![-100i64..100, any::<i32>().prop_map(i64::from)];
        let value = (value, any::<bool>())
            .prop_map(|(whole, half)| whole as f64 + if half { 0.5 } else { 0.0 });
        let values = prop::collection::vec(value, 1..20);
        prop::option::of((0..5u64, values)).prop_map(|one| {
            let (times, values) = one?;
            let summary = of_chunk(&[0; 20], &values)?;
            let last = *values.last()?;
            Some(Stored {
                times,
                summary,
                last,
            })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn what_is_written_is_read(
            block in prop::collection::vec(stored(), 1..64),
            noise in prop::collection::vec(any::<u8>(), 0..200),
            flip in any::<(usize, u8)>(),
        ) {
            let mut bytes = Vec::new();
            let mut packer = bytes::Encoder::new(bytes::LEVEL_FAST);
            encode(&block, &mut BundleWriter::default(), &mut packer, &mut bytes);
            let mut reader = Reader::new("test", &bytes);
            let read = decode(&mut reader, block.len(), 1 << 20).unwrap();
            prop_assert!(reader.is_empty());
            prop_assert_eq!(read.len(), block.len());
            for (read, one) in read.iter().zip(&block) {
                prop_assert_eq!(read.is_some(), one.is_some());
                let (Some(read), Some(one)) = (read, one) else { continue };
                prop_assert_eq!((read.times, read.last), (one.times, one.last));
                let Summary { first, min, max, fallen, exact, sum, .. } = one.summary;
                let found = read.summary;
                prop_assert_eq!((found.first, found.min, found.max), (first, min, max));
                prop_assert_eq!((found.fallen, found.exact), (fallen, exact));
                prop_assert!(!exact || found.sum == sum);
            }
            // What is damaged or anything else is an error or some summaries.
            let at = flip.0 % bytes.len();
            bytes[at] ^= flip.1;
            for bytes in [&bytes, &noise] {
                if let Ok(read) = decode(&mut Reader::new("test", bytes), 64, 1 << 20) {
                    prop_assert_eq!(read.len(), 64);
                }
            }
        }

        #[test]
        fn summaries_say_what_samples_do(values in prop::collection::vec(-9i64..9, 1..30)) {
            let values: Vec<f64> = values.into_iter().map(|v| v as f64).collect();
            let times: Vec<i64> = (0..values.len() as i64).collect();
            let one = of_chunk(&times, &values).unwrap();
            let falls: Vec<f64> = values.windows(2).filter(|w| w[1] < w[0]).map(|w| w[0]).collect();
            prop_assert_eq!(one.fallen.sum().unwrap_or(0.0), falls.iter().sum::<f64>());
            prop_assert_eq!(falls.len() > 1, matches!(one.fallen, Fallen::Often(_)));
            prop_assert_eq!(one.sum, values.iter().sum::<f64>());
            prop_assert!(one.exact && values.contains(&one.min) && values.contains(&one.max));
            prop_assert!(values.iter().all(|v| (one.min..=one.max).contains(v)));
        }
    }

    #[test]
    fn fractions_are_not_exact() {
        let times = [0, 1, 2, 3, 4];
        let of = |values: &[f64]| of_chunk(&times, values);
        let noisy = of(&[0.5, 0.25, 0.5, 0.125]).unwrap();
        assert_eq!((noisy.fallen, noisy.exact), (Fallen::Unknown, false));
        let once = of(&[0.5, 0.75, 0.5]).unwrap();
        assert_eq!((once.fallen, once.sum), (Fallen::Once(0.75), 1.75));
        assert!(!of(&[EXACT_MAX, 1.0]).unwrap().exact);
        assert_eq!(of(&[1.0, f64::NAN]), None);
    }
}
