//! The bytes of native histograms, in journal records and in parts alike.
//!
//! flags (bit 0 integer, bits 1-2 reset hint), schema, four floats (zero threshold, zero count,
//! count, sum), positive spans and counts, negative spans and counts, custom bounds. All bits of
//! all floats are kept. What is decoded has as many counts as its spans say.

use obs_model::histogram::{BUCKETS_MAX, BucketSpan, Histogram, ResetHint};
use obs_storage::Corrupt;
use obs_storage::codec::{Reader, floats, varint};

/// Buckets and spans that one record or block may decode to (128 MiB of counts): bounds what a few
/// declared lengths can cost.
pub(crate) const BUCKETS_TOTAL_MAX: usize = 1 << 24;

/// Appends a histogram.
pub(crate) fn encode(histogram: &Histogram, out: &mut Vec<u8>) {
    let hint = match histogram.reset_hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    };
    out.push(u8::from(histogram.integer) | (hint << 1));
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
        varint::put(spans.len() as u64, out);
        for span in spans {
            varint::put_signed(i64::from(span.offset), out);
            varint::put(u64::from(span.length), out);
        }
        floats::encode_aligned(counts, out);
    }
    floats::encode_aligned(&histogram.custom_bounds, out);
}

/// Reads a histogram; `allowance` is what is left of [`BUCKETS_TOTAL_MAX`].
pub(crate) fn decode(reader: &mut Reader<'_>, allowance: &mut usize) -> Result<Histogram, Corrupt> {
    let flags = reader.u8()?;
    let reset_hint = match flags >> 1 {
        0 => ResetHint::Unknown,
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        3 => ResetHint::Gauge,
        _ => return Err(reader.corrupt("flags of a histogram below 8 before here")),
    };
    let schema = reader.signed()?;
    let schema = i32::try_from(schema).map_err(|_| reader.corrupt("a schema before here"))?;
    let mut histogram = Histogram {
        integer: flags & 1 == 1,
        reset_hint,
        schema,
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

fn decode_buckets(
    reader: &mut Reader<'_>,
    allowance: &mut usize,
) -> Result<(Vec<BucketSpan>, Vec<f64>), Corrupt> {
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
    let counts = floats::decode(reader, BUCKETS_MAX.min(*allowance))?;
    *allowance -= counts.len();
    if counts.len() as u64 != buckets {
        return Err(reader.corrupt(format!("{buckets} bucket counts before here")));
    }
    Ok((spans, counts))
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
