//! Chunks of native histograms: one layout, then counts as differences (integers) or XOR (floats).
//!
//! Invariant: all histograms of a chunk have its layout; in a chunk of counters none is less than
//! the one before, so that only the first can be a reset; a stale marker ends a chunk.

use obs_model::histogram::{BUCKETS_MAX, BucketSpan, CUSTOM_BUCKETS_SCHEMA, Histogram, ResetHint};
use obs_model::sample::is_stale;

use super::bits::{BitReader, BitWriter, Xor};
use super::{Chunk, Encoding, FORMAT, SAMPLES_MAX, follows};
use crate::error::WireError;

/// The two highest bits of the byte of flags, by what they say about the first histogram.
const HINTS: [(u8, ResetHint); 4] = [
    (0x00, ResetHint::Unknown),
    (0x40, ResetHint::NotReset),
    (0x80, ResetHint::Reset),
    (0xc0, ResetHint::Gauge),
];

/// Bounds that are written as thousandths, plus one: up to 25 bits.
const THOUSANDTHS_MAX: f64 = 33_554_430.0;

type Each<'a, E> = dyn FnMut(i64, Histogram) -> Result<(), E> + 'a;

pub(super) fn decode<E: From<WireError>>(
    count: u16,
    bytes: &[u8],
    integer: bool,
    each: &mut Each<'_, E>,
) -> Result<(), E> {
    let Some((flags, rest)) = bytes.split_first() else {
        return Err(WireError::at_byte(FORMAT, 2, "a byte of flags").into());
    };
    let hint = HINTS.iter().find(|(bits, _)| *bits == flags & 0xc0);
    let hint = hint.map_or(ResetHint::Unknown, |(_, hint)| *hint);
    if count == 0 {
        return Ok(());
    }
    let mut bits = BitReader::new(FORMAT, 3, rest);
    let layout = read_layout(&mut bits, integer)?;
    let buckets = layout.positive.len() + layout.negative.len();
    let mut reader = Reader {
        layout,
        time: 0,
        delta: 0,
        counts: vec![Count::default(); if integer { buckets + 2 } else { 0 }],
        floats: vec![Xor::default(); if integer { 1 } else { buckets + 3 }],
    };
    for index in 0..count {
        let mut histogram = reader.next(&mut bits, index)?;
        histogram.reset_hint = match (hint, index) {
            (_, 0) | (ResetHint::Gauge, _) => hint,
            _ => ResetHint::NotReset,
        };
        each(reader.time, histogram)?;
    }
    Ok(())
}

/// An integer and how fast it changes.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    value: i64,
    delta: i64,
}

struct Reader {
    layout: Histogram,
    time: i64,
    delta: i64,
    /// Of integers: count, zero count, differences of buckets.
    counts: Vec<Count>,
    /// Of integers: the sum. Of floats: count, zero count, sum, buckets.
    floats: Vec<Xor>,
}

impl Reader {
    fn next(&mut self, bits: &mut BitReader<'_>, index: u16) -> Result<Histogram, WireError> {
        self.delta = match index {
            0 => {
                self.time = bits.int()?;
                0
            }
            1 => bits.uint()? as i64,
            _ => self.delta.wrapping_add(bits.int()?),
        };
        self.time = self.time.wrapping_add(self.delta);
        if self.layout.integer {
            self.integers(bits, index)
        } else {
            self.floats(bits, index)
        }
    }

    fn integers(&mut self, bits: &mut BitReader<'_>, index: u16) -> Result<Histogram, WireError> {
        let (totals, buckets) = self.counts.split_at_mut(2);
        for count in totals {
            *count = match index {
                // The first totals have no sign.
                0 => Count {
                    value: bits.uint()? as i64,
                    delta: 0,
                },
                _ => count.read(bits, index)?,
            };
        }
        self.floats[0] = match index {
            0 => Xor::new(bits.read(64)?),
            _ => {
                let mut sum = self.floats[0];
                sum.read(bits)?;
                sum
            }
        };
        let sum = f64::from_bits(self.floats[0].bits);
        if is_stale(sum) && index > 0 {
            return Ok(self.stale());
        }
        for count in buckets.iter_mut() {
            *count = count.read(bits, index)?;
        }
        let mut histogram = self.layout.clone();
        (histogram.count, histogram.zero_count) = (
            self.counts[0].value as u64 as f64,
            self.counts[1].value as u64 as f64,
        );
        histogram.sum = sum;
        let (positive, negative) = self.counts[2..].split_at(histogram.positive.len());
        sum_up(positive, &mut histogram.positive);
        sum_up(negative, &mut histogram.negative);
        self.check(bits, histogram)
    }

    fn floats(&mut self, bits: &mut BitReader<'_>, index: u16) -> Result<Histogram, WireError> {
        for at in 0..self.floats.len() {
            if index == 0 {
                self.floats[at] = Xor::new(bits.read(64)?);
            } else {
                self.floats[at].read(bits)?;
            }
            // Behind the sum of a stale marker there are no buckets.
            if at == 2 && index > 0 && is_stale(f64::from_bits(self.floats[2].bits)) {
                return Ok(self.stale());
            }
        }
        let value = |at: usize| f64::from_bits(self.floats[at].bits);
        let mut histogram = self.layout.clone();
        (histogram.count, histogram.zero_count) = (value(0), value(1));
        histogram.sum = value(2);
        let buckets = histogram.positive.iter_mut().chain(&mut histogram.negative);
        for (at, bucket) in buckets.enumerate() {
            *bucket = value(at + 3);
        }
        self.check(bits, histogram)
    }

    fn stale(&self) -> Histogram {
        Histogram {
            integer: self.layout.integer,
            sum: obs_model::sample::stale(),
            ..Histogram::default()
        }
    }

    fn check(&self, bits: &BitReader<'_>, histogram: Histogram) -> Result<Histogram, WireError> {
        match histogram.validate() {
            Ok(()) => Ok(histogram),
            Err(error) => Err(bits.fault(format!("a well-formed histogram ({error})"))),
        }
    }
}

impl Count {
    fn read(self, bits: &mut BitReader<'_>, index: u16) -> Result<Self, WireError> {
        let read = bits.int()?;
        let delta = match index {
            0 => {
                return Ok(Self {
                    value: read,
                    delta: 0,
                });
            }
            1 => read,
            _ => self.delta.wrapping_add(read),
        };
        Ok(Self {
            value: self.value.wrapping_add(delta),
            delta,
        })
    }
}

/// Differences between neighbouring buckets to counts.
fn sum_up(differences: &[Count], out: &mut [f64]) {
    let mut count = 0i64;
    for (difference, out) in differences.iter().zip(out) {
        // A sum that leaves 64 bits becomes negative and is refused.
        count = count.checked_add(difference.value).unwrap_or(i64::MIN);
        *out = count as f64;
    }
}

/// A histogram with the layout of the chunk, all of whose counts are zero.
fn read_layout(bits: &mut BitReader<'_>, integer: bool) -> Result<Histogram, WireError> {
    let zero_threshold = match bits.read(8)? {
        0 => 0.0,
        255 => bits.double()?,
        exponent => 2f64.powi(exponent as i32 - 244),
    };
    let schema = bits.int()?;
    let schema = i32::try_from(schema)
        .map_err(|_| bits.fault(format!("a schema of 32 bits, found {schema}")))?;
    let (positive_spans, positive) = read_spans(bits)?;
    let (negative_spans, negative) = read_spans(bits)?;
    let mut custom_bounds = Vec::new();
    if schema == CUSTOM_BUCKETS_SCHEMA {
        for _ in 0..bits.uint()? {
            if custom_bounds.len() == BUCKETS_MAX {
                return Err(bits.fault(format!("at most {BUCKETS_MAX} bounds")));
            }
            custom_bounds.push(match bits.uint()? {
                0 => bits.double()?,
                thousandths => (thousandths - 1) as f64 / 1000.0,
            });
        }
    }
    Ok(Histogram {
        integer,
        schema,
        zero_threshold,
        positive_spans,
        positive: vec![0.0; positive],
        negative_spans,
        negative: vec![0.0; negative],
        custom_bounds,
        ..Histogram::default()
    })
}

/// Spans, and how many buckets they have.
fn read_spans(bits: &mut BitReader<'_>) -> Result<(Vec<BucketSpan>, usize), WireError> {
    let (mut spans, mut buckets) = (Vec::new(), 0usize);
    for _ in 0..bits.uint()? {
        let (length, offset) = (bits.uint()?, bits.int()?);
        let length = u32::try_from(length).ok();
        let total = length.and_then(|length| buckets.checked_add(length as usize));
        let offset = i32::try_from(offset).ok();
        match (length, offset, total) {
            (Some(length), Some(offset), Some(total))
                if total <= BUCKETS_MAX && spans.len() < BUCKETS_MAX =>
            {
                buckets = total;
                spans.push(BucketSpan { offset, length });
            }
            _ => return Err(bits.fault(format!("spans of at most {BUCKETS_MAX} buckets"))),
        }
    }
    Ok((spans, buckets))
}

fn write_layout(bits: &mut BitWriter, h: &Histogram) {
    write_zero_threshold(bits, h.zero_threshold);
    bits.int(i64::from(h.schema));
    for spans in [&h.positive_spans, &h.negative_spans] {
        bits.uint(spans.len() as u64);
        for span in spans {
            bits.uint(u64::from(span.length));
            bits.int(i64::from(span.offset));
        }
    }
    if h.has_custom_buckets() {
        bits.uint(h.custom_bounds.len() as u64);
        for bound in &h.custom_bounds {
            let thousandths = (bound * 1000.0).round();
            if thousandths / 1000.0 == *bound && (0.0..=THOUSANDTHS_MAX).contains(&thousandths) {
                bits.uint(thousandths as u64 + 1);
            } else {
                bits.write(0, 1);
                bits.double(*bound);
            }
        }
    }
}

/// Powers of two from 2^-243 to 2^10 take one byte.
fn write_zero_threshold(bits: &mut BitWriter, threshold: f64) {
    if threshold.to_bits() == 0 {
        return bits.write(0, 8);
    }
    let exponent = (threshold.to_bits() >> 52 & 0x7ff) as i64 - 1023;
    let is_power = threshold > 0.0 && threshold.to_bits() & ((1 << 52) - 1) == 0;
    if is_power && (-243..=10).contains(&exponent) {
        bits.write((exponent + 244) as u64, 8);
    } else {
        bits.write(255, 8);
        bits.double(threshold);
    }
}

/// A chunk of histograms in the making.
#[derive(Debug)]
pub(super) struct Appender {
    bits: BitWriter,
    count: u16,
    first: i64,
    time: i64,
    delta: i64,
    counts: Vec<Count>,
    floats: Vec<Xor>,
    hint: ResetHint,
    last: Histogram,
}

/// What of a histogram is integers: count, zero count, then differences between buckets.
fn integers(h: &Histogram) -> impl Iterator<Item = i64> + '_ {
    let differences = |counts: &[f64]| -> Vec<i64> {
        let mut last = 0;
        let step = |count: &f64| {
            let difference = *count as i64 - last;
            last = *count as i64;
            difference
        };
        counts.iter().map(step).collect()
    };
    let totals = [h.count as u64 as i64, h.zero_count as u64 as i64];
    let buckets = [differences(&h.positive), differences(&h.negative)];
    totals.into_iter().chain(buckets.into_iter().flatten())
}

impl Appender {
    pub(super) fn start(time: i64, histogram: &Histogram) -> Self {
        let empty;
        let h = if histogram.is_stale() {
            // A stale marker has no layout.
            empty = Histogram {
                integer: histogram.integer,
                reset_hint: histogram.reset_hint,
                sum: histogram.sum,
                ..Histogram::default()
            };
            &empty
        } else {
            histogram
        };
        let mut bits = BitWriter::default();
        write_layout(&mut bits, h);
        bits.int(time);
        let (mut counts, mut floats) = (Vec::new(), Vec::new());
        if h.integer {
            for (at, value) in integers(h).enumerate() {
                match at {
                    0 | 1 => bits.uint(value as u64),
                    _ => bits.int(value),
                }
                if at == 1 {
                    bits.double(h.sum);
                }
                counts.push(Count { value, delta: 0 });
            }
            floats.push(Xor::new(h.sum.to_bits()));
        } else {
            for value in all_floats(h) {
                bits.double(value);
                floats.push(Xor::new(value.to_bits()));
            }
        }
        Self {
            bits,
            count: 1,
            first: time,
            time,
            delta: 0,
            counts,
            floats,
            hint: h.reset_hint,
            last: h.clone(),
        }
    }

    /// Whether a histogram can follow in this chunk.
    fn takes(&self, time: i64, h: &Histogram) -> bool {
        let (last, gauge) = (&self.last, self.hint == ResetHint::Gauge);
        let bits = |a: &[f64], b: &[f64]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
        };
        usize::from(self.count) < SAMPLES_MAX
            && time >= self.time
            && time.checked_sub(self.time).is_some()
            && !h.is_stale()
            && !last.is_stale()
            && h.integer == last.integer
            && h.schema == last.schema
            && h.zero_threshold.to_bits() == last.zero_threshold.to_bits()
            && h.positive_spans == last.positive_spans
            && h.negative_spans == last.negative_spans
            && bits(&h.custom_bounds, &last.custom_bounds)
            && match h.reset_hint {
                ResetHint::Gauge => gauge,
                ResetHint::Reset => false,
                ResetHint::Unknown | ResetHint::NotReset => !gauge && follows(last, h),
            }
    }

    pub(super) fn append(&mut self, time: i64, h: &Histogram) -> bool {
        if !self.takes(time, h) {
            return false;
        }
        let delta = time - self.time;
        if self.count == 1 {
            self.bits.uint(delta as u64);
        } else {
            self.bits.int(delta.wrapping_sub(self.delta));
        }
        (self.time, self.delta) = (time, delta);
        if h.integer {
            for (at, (count, value)) in self.counts.iter_mut().zip(integers(h)).enumerate() {
                let delta = value.wrapping_sub(count.value);
                let written = match self.count {
                    1 => delta,
                    _ => delta.wrapping_sub(count.delta),
                };
                self.bits.int(written);
                if at == 1 {
                    self.floats[0].write(h.sum.to_bits(), &mut self.bits);
                }
                *count = Count { value, delta };
            }
        } else {
            for (xor, value) in self.floats.iter_mut().zip(all_floats(h)) {
                xor.write(value.to_bits(), &mut self.bits);
            }
        }
        self.count += 1;
        self.last = h.clone();
        true
    }

    pub(super) fn finish(self) -> Chunk {
        let mut data = self.count.to_be_bytes().to_vec();
        let flags = HINTS.iter().find(|(_, hint)| *hint == self.hint);
        data.push(flags.map_or(0, |(flags, _)| *flags));
        data.extend_from_slice(&self.bits.into_bytes());
        Chunk {
            first: self.first,
            last: self.time,
            encoding: if self.last.integer {
                Encoding::Histogram
            } else {
                Encoding::FloatHistogram
            },
            data,
        }
    }
}

/// What of a float histogram changes: count, zero count, sum, buckets.
fn all_floats(h: &Histogram) -> impl Iterator<Item = f64> + '_ {
    let totals = [h.count, h.zero_count, h.sum];
    totals
        .into_iter()
        .chain(h.positive.iter().chain(&h.negative).copied())
}
