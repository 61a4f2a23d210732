//! The bytes of native histograms, in journal records and in parts alike.
//!
//! flags (bit 0 integer, bits 1-2 reset hint), schema, four floats (zero threshold, zero count,
//! count, sum), positive spans and counts, negative spans and counts, custom bounds. All bits of
//! all floats are kept. What is decoded has as many counts as its spans say.
//!
//! In a part the histograms of a series that follow each other with one layout are columns: one of
//! each bucket, because a bucket looks like itself a scrape ago and not like its neighbour.

use std::sync::Arc;

use obs_model::histogram::{BUCKETS_MAX, BucketSpan, Histogram, ResetHint};
use obs_storage::Corrupt;
use obs_storage::codec::bundle::{Bundle, BundleWriter, Scratch};
use obs_storage::codec::{Reader, floats, ints, varint};

use crate::column::Column;

/// Buckets and spans that one record or block may decode to (128 MiB of counts): bounds what a few
/// declared lengths can cost.
pub(crate) const BUCKETS_TOTAL_MAX: usize = 1 << 24;
/// Columns of histograms in one block: a reader keeps some hundred bytes for each.
pub(crate) const COLUMNS_MAX: usize = 1 << 16;
/// Shorter runs of one layout are written row by row: a column has some bytes of its own.
const RUN_MIN: usize = 4;
/// Columns of a histogram beside its buckets: sum, count and zero count.
const PLAIN_COLUMNS: usize = 3;

/// Appends a histogram.
pub(crate) fn encode(histogram: &Histogram, out: &mut Vec<u8>) {
    out.push(flags(histogram));
    varint::put_signed(i64::from(histogram.schema), out);
    for float in [
        histogram.zero_threshold,
        histogram.zero_count,
        histogram.count,
        histogram.sum,
    ] {
        out.extend_from_slice(&float.to_bits().to_le_bytes());
    }
    for (spans, counts) in [
        (&histogram.positive_spans, &histogram.positive),
        (&histogram.negative_spans, &histogram.negative),
    ] {
        put_spans(spans, out);
        floats::encode_aligned(counts, out);
    }
    floats::encode_aligned(&histogram.custom_bounds, out);
}

fn flags(histogram: &Histogram) -> u8 {
    let hint = match histogram.reset_hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    };
    u8::from(histogram.integer) | (hint << 1)
}

fn put_spans(spans: &[BucketSpan], out: &mut Vec<u8>) {
    varint::put(spans.len() as u64, out);
    for span in spans {
        varint::put_signed(i64::from(span.offset), out);
        varint::put(u64::from(span.length), out);
    }
}

/// Reads a histogram; `allowance` is what is left of [`BUCKETS_TOTAL_MAX`].
pub(crate) fn decode(reader: &mut Reader<'_>, allowance: &mut usize) -> Result<Histogram, Corrupt> {
    let (integer, reset_hint) = read_flags(reader)?;
    let mut histogram = Histogram {
        integer,
        reset_hint,
        schema: read_schema(reader)?,
        zero_threshold: reader.f64()?,
        zero_count: reader.f64()?,
        count: reader.f64()?,
        sum: reader.f64()?,
        ..Histogram::default()
    };
    (histogram.positive_spans, histogram.positive) = decode_buckets(reader, allowance)?;
    (histogram.negative_spans, histogram.negative) = decode_buckets(reader, allowance)?;
    histogram.custom_bounds = floats::decode(reader, BUCKETS_MAX.min(*allowance))?;
    *allowance -= histogram.custom_bounds.len();
    Ok(histogram)
}

fn read_flags(reader: &mut Reader<'_>) -> Result<(bool, ResetHint), Corrupt> {
    let flags = reader.u8()?;
    let reset_hint = match flags >> 1 {
        0 => ResetHint::Unknown,
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        3 => ResetHint::Gauge,
        _ => return Err(reader.corrupt("flags of a histogram below 8 before here")),
    };
    Ok((flags & 1 == 1, reset_hint))
}

fn read_schema(reader: &mut Reader<'_>) -> Result<i32, Corrupt> {
    let schema = reader.signed()?;
    i32::try_from(schema).map_err(|_| reader.corrupt("a schema before here"))
}

fn decode_buckets(
    reader: &mut Reader<'_>,
    allowance: &mut usize,
) -> Result<(Vec<BucketSpan>, Vec<f64>), Corrupt> {
    let (spans, buckets) = read_spans(reader, allowance)?;
    let counts = floats::decode(reader, BUCKETS_MAX.min(*allowance))?;
    *allowance -= counts.len();
    if counts.len() as u64 != buckets {
        return Err(reader.corrupt(format!("{buckets} bucket counts before here")));
    }
    Ok((spans, counts))
}

/// Spans, and how many buckets they have.
fn read_spans(
    reader: &mut Reader<'_>,
    allowance: &mut usize,
) -> Result<(Vec<BucketSpan>, u64), Corrupt> {
    let count = reader.count(BUCKETS_MAX.min(*allowance))?;
    let mut spans = Vec::with_capacity(count.min(reader.remaining()));
    let mut buckets = 0u64;
    for _ in 0..count {
        let offset = reader.signed()?;
        let offset = i32::try_from(offset).map_err(|_| reader.corrupt("a span's offset"))?;
        let length = reader.u32_varint()?;
        buckets += u64::from(length);
        spans.push(BucketSpan { offset, length });
    }
    *allowance -= count;
    Ok((spans, buckets))
}

/// Appends the histograms of a series in a block: their places, then runs of one layout each. What
/// a run has in columns goes to `bundle`, which has `columns` of them already.
pub(crate) fn encode_columns(
    column: &Column,
    bundle: &mut BundleWriter,
    columns: &mut usize,
    out: &mut Vec<u8>,
) {
    let places = column.histograms.iter().map(|(i, _)| u64::from(*i));
    ints::encode_u64(&places.collect::<Vec<_>>(), out);
    varint::put(*columns as u64, out);
    let mut rest: Vec<&Histogram> = Vec::with_capacity(column.histograms.len());
    rest.extend(column.histograms.iter().map(|(_, histogram)| &**histogram));
    for run in rest.chunk_by(|a, b| same_layout(a, b)) {
        let first = run[0];
        let needed = PLAIN_COLUMNS + first.positive.len() + first.negative.len();
        if run.len() < RUN_MIN || *columns + needed > COLUMNS_MAX {
            varint::put((run.len() as u64) << 1, out);
            for histogram in run {
                encode(histogram, out);
            }
            continue;
        }
        *columns += needed;
        varint::put((run.len() as u64) << 1 | 1, out);
        encode_run(run, bundle, out);
    }
}

fn same_layout(a: &Histogram, b: &Histogram) -> bool {
    let bits = |floats: &[f64]| floats.iter().map(|f| f.to_bits()).collect::<Vec<_>>();
    a.integer == b.integer
        && a.schema == b.schema
        && a.zero_threshold.to_bits() == b.zero_threshold.to_bits()
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && a.positive.len() == b.positive.len()
        && a.negative.len() == b.negative.len()
        && bits(&a.custom_bounds) == bits(&b.custom_bounds)
}

fn encode_run(run: &[&Histogram], bundle: &mut BundleWriter, out: &mut Vec<u8>) {
    let first = run[0];
    let hints: Vec<u64> = run.iter().map(|h| u64::from(flags(h))).collect();
    ints::encode_u64(&hints, out);
    varint::put_signed(i64::from(first.schema), out);
    out.extend_from_slice(&first.zero_threshold.to_bits().to_le_bytes());
    put_spans(&first.positive_spans, out);
    put_spans(&first.negative_spans, out);
    floats::encode_aligned(&first.custom_bounds, out);
    let mut values = Vec::with_capacity(run.len());
    let mut push = |value: &dyn Fn(&Histogram) -> f64| {
        values.clear();
        values.extend(run.iter().map(|histogram| value(histogram)));
        bundle.push(&values, None);
    };
    push(&|h| h.sum);
    push(&|h| h.count);
    push(&|h| h.zero_count);
    for bucket in 0..first.positive.len() {
        push(&|h| h.positive[bucket]);
    }
    for bucket in 0..first.negative.len() {
        push(&|h| h.negative[bucket]);
    }
}

/// Reads what [`encode_columns`] wrote into a column that has its values already.
pub(crate) fn decode_columns(
    reader: &mut Reader<'_>,
    bundle: Option<&Bundle<'_>>,
    scratch: &mut Scratch,
    column: &mut Column,
) -> Result<(), Corrupt> {
    let count = column.values.len();
    let places = ints::decode_u64(reader, count)?;
    let ascending = places.windows(2).all(|w| w[0] < w[1]);
    let inside = places.last().is_none_or(|i| *i < count as u64);
    if !ascending || !inside {
        return Err(reader.corrupt("ascending indices of histograms before here"));
    }
    let mut next = reader.count(COLUMNS_MAX)?;
    let mut allowance = BUCKETS_TOTAL_MAX;
    let mut found: Vec<Histogram> = Vec::new();
    while found.len() < places.len() {
        let head = reader.count(2 * count + 1)?;
        let length = head >> 1;
        if length == 0 || length > places.len() - found.len() {
            return Err(reader.corrupt("a run of histograms before here"));
        }
        if head & 1 == 0 {
            for _ in 0..length {
                found.push(decode(reader, &mut allowance)?);
            }
            continue;
        }
        let Some(bundle) = bundle else {
            return Err(reader.corrupt("columns of histograms in the block"));
        };
        let first = found.len();
        let layout = decode_layout(reader, length, &mut allowance, &mut found)?;
        let columns = Columns { bundle, scratch };
        next = columns.fill(next, &mut found[first..], layout)?;
    }
    for (place, histogram) in places.into_iter().zip(found) {
        column.values[place as usize] = f64::NAN;
        column.histograms.push((place as u32, Arc::new(histogram)));
    }
    Ok(())
}

/// Reads the layout of a run and appends its histograms without what is in columns; gives the
/// numbers of positive and negative buckets.
fn decode_layout(
    reader: &mut Reader<'_>,
    length: usize,
    allowance: &mut usize,
    found: &mut Vec<Histogram>,
) -> Result<(usize, usize), Corrupt> {
    let hints = ints::decode_u64(reader, length)?;
    let mut layout = Histogram {
        schema: read_schema(reader)?,
        zero_threshold: reader.f64()?,
        ..Histogram::default()
    };
    let (positive, negative);
    (layout.positive_spans, positive) = read_spans(reader, allowance)?;
    (layout.negative_spans, negative) = read_spans(reader, allowance)?;
    layout.custom_bounds = floats::decode(reader, BUCKETS_MAX.min(*allowance))?;
    let each = positive
        .saturating_add(negative)
        .saturating_add((layout.positive_spans.len() + layout.negative_spans.len()) as u64)
        .saturating_add(layout.custom_bounds.len() as u64);
    let total = each.saturating_mul(length as u64);
    if hints.len() != length || total > *allowance as u64 {
        return Err(reader.corrupt("a run of histograms within the limits before here"));
    }
    *allowance -= total as usize;
    for hint in hints {
        let flags = [hint.min(255) as u8];
        let (integer, reset_hint) = read_flags(&mut Reader::new(reader.place(), &flags))?;
        let mut histogram = layout.clone();
        histogram.integer = integer;
        histogram.reset_hint = reset_hint;
        histogram.positive.reserve_exact(positive as usize);
        histogram.negative.reserve_exact(negative as usize);
        found.push(histogram);
    }
    Ok((positive as usize, negative as usize))
}

/// The columns of a block's histograms.
struct Columns<'a, 'b> {
    bundle: &'a Bundle<'b>,
    scratch: &'a mut Scratch,
}

impl Columns<'_, '_> {
    /// Puts the columns from `next` on into histograms of one layout; gives the column behind them.
    fn fill(
        self,
        next: usize,
        run: &mut [Histogram],
        (positive, negative): (usize, usize),
    ) -> Result<usize, Corrupt> {
        let mut column = next;
        let mut put = |set: &dyn Fn(&mut Histogram, f64)| -> Result<(), Corrupt> {
            let values = self.bundle.decode(column, self.scratch)?;
            if values.len() != run.len() {
                let expected = format!("a column of {} buckets", run.len());
                return Err(Corrupt::new("histograms", column as u64, expected));
            }
            for (histogram, value) in run.iter_mut().zip(values) {
                set(histogram, value);
            }
            column += 1;
            Ok(())
        };
        put(&|h, value| h.sum = value)?;
        put(&|h, value| h.count = value)?;
        put(&|h, value| h.zero_count = value)?;
        for _ in 0..positive {
            put(&|h, value| h.positive.push(value))?;
        }
        for _ in 0..negative {
            put(&|h, value| h.negative.push(value))?;
        }
        Ok(column)
    }
}

/// Estimate of the resident bytes.
pub(crate) fn bytes(histogram: &Histogram) -> usize {
    size_of::<Histogram>()
        + 8 * (histogram.positive.len()
            + histogram.negative.len()
            + histogram.custom_bounds.len()
            + histogram.positive_spans.len()
            + histogram.negative_spans.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_storage::codec::bytes;
    use proptest::prelude::*;

    /// A histogram after so many observations; the layout says which buckets there are.
    fn histogram(layout: u8, observed: u32, hint: u8) -> Histogram {
        let buckets = u32::from(layout % 3) * 4;
        let count = |bucket: u32| f64::from(observed / (bucket + 1));
        Histogram {
            integer: layout.is_multiple_of(2),
            reset_hint: match hint % 4 {
                0 => ResetHint::Unknown,
                1 => ResetHint::Reset,
                2 => ResetHint::NotReset,
                _ => ResetHint::Gauge,
            },
            schema: if layout == 3 { -53 } else { 3 },
            zero_threshold: 1e-128,
            zero_count: count(9),
            count: f64::from(observed),
            sum: f64::from(observed) * 0.1,
            positive_spans: vec![BucketSpan {
                offset: -4,
                length: buckets,
            }],
            positive: (0..buckets).map(count).collect(),
            negative_spans: vec![BucketSpan {
                offset: 2,
                length: 1,
            }],
            negative: vec![count(3)],
            custom_bounds: if layout == 3 { vec![0.5] } else { Vec::new() },
        }
    }

    fn write(histograms: &[Histogram]) -> (Vec<u8>, Option<Vec<u8>>) {
        let mut column = Column::default();
        for (index, histogram) in histograms.iter().enumerate() {
            column.push(2 * index as i64, Ok(1.5), crate::column::NO_START);
            let histogram = Arc::new(histogram.clone());
            column.push(
                2 * index as i64 + 1,
                Err(histogram),
                crate::column::NO_START,
            );
        }
        let (mut bundle, mut columns, mut out) = (BundleWriter::default(), 0, Vec::new());
        encode_columns(&column, &mut bundle, &mut columns, &mut out);
        let mut packed = Vec::new();
        bundle.finish(&mut bytes::Encoder::new(1), &mut packed);
        (out, (columns > 0).then_some(packed))
    }

    fn read(count: usize, bytes: &[u8], bundle: Option<&[u8]>) -> Result<Column, Corrupt> {
        let mut column = Column {
            values: vec![1.5; count],
            ..Column::default()
        };
        let bundle = bundle.map(|bytes| {
            Bundle::open(
                &mut Reader::new("columns", bytes),
                COLUMNS_MAX,
                4096,
                1 << 24,
            )
        });
        let bundle = bundle.transpose()?;
        let mut reader = Reader::new("histograms", bytes);
        decode_columns(
            &mut reader,
            bundle.as_ref(),
            &mut Scratch::default(),
            &mut column,
        )?;
        reader.finish()?;
        Ok(column)
    }

    #[test]
    fn a_run_of_one_layout_costs_its_changes() {
        let all: Vec<_> = (0..500).map(|n| histogram(2, 1000 + 7 * n, 2)).collect();
        let (bytes, bundle) = write(&all);
        let size = bytes.len() + bundle.map_or(0, |b| b.len());
        assert!(size < 500 * 8, "{size} bytes");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn columns_round_trip(
            runs in prop::collection::vec((0u8..4, 1u32..9, any::<u16>(), any::<u8>()), 0..6),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut all = Vec::new();
            for (layout, length, observed, hint) in runs {
                let observed = u32::from(observed);
                all.extend((0..length).map(|n| histogram(layout, observed + n * n, hint.wrapping_add(n as u8 / 5))));
            }
            let (mut bytes, mut bundle) = write(&all);
            let column = read(2 * all.len(), &bytes, bundle.as_deref()).unwrap();
            prop_assert_eq!(column.histograms.len(), all.len());
            for (index, (place, histogram)) in column.histograms.iter().enumerate() {
                prop_assert_eq!(*place as usize, 2 * index + 1);
                prop_assert!(histogram.bit_eq(&all[index]));
            }
            for (at, bits) in flips {
                let at = at.index(bytes.len());
                bytes[at] ^= bits;
                if let Some(bundle) = &mut bundle {
                    let at = at % bundle.len();
                    bundle[at] ^= bits;
                }
            }
            if let Ok(column) = read(2 * all.len(), &bytes, bundle.as_deref()) {
                prop_assert!(column.histograms.len() <= 2 * all.len());
            }
        }
    }
}
