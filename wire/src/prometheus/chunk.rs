//! Prometheus' chunks: the samples of one series as bits, as remote read streams them and TSDB
//! blocks hold them. Floats are Gorilla's XOR; histograms have a layout and deltas.
//!
//! Invariants: a decoder gives one sample at a time, so that nothing is allocated from a declared
//! count; all bits of floats are kept; what is encoded here is what Prometheus itself would read.
//! Format: <https://github.com/prometheus/prometheus/blob/main/tsdb/docs/format/chunks.md>

mod bits;
mod histogram;

use std::sync::Arc;

use obs_model::Value;
use obs_model::histogram::Histogram;

use crate::error::WireError;
use bits::{BitReader, BitWriter, Xor};
use histogram::Appender;

const FORMAT: &str = "Prometheus chunk";

/// Samples of one chunk at most, as Prometheus cuts them.
pub const SAMPLES_MAX: usize = 120;

/// How a chunk is encoded; the numbers are those of TSDB blocks and of remote read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Encoding {
    /// Floats.
    Xor = 1,
    /// Histograms with integer counts.
    Histogram = 2,
    /// Histograms with float counts.
    FloatHistogram = 3,
}

impl Encoding {
    /// The encoding of a number, where it is one that is read here.
    pub fn from_number(number: u8) -> Result<Self, WireError> {
        match number {
            1 => Ok(Self::Xor),
            2 => Ok(Self::Histogram),
            3 => Ok(Self::FloatHistogram),
            other => Err(WireError::Unsupported {
                what: format!("chunk encoding {other}"),
                expected: "1 (XOR), 2 (histogram) or 3 (float histogram)",
            }),
        }
    }
}

/// Some samples of one series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Milliseconds of the first sample.
    pub first: i64,
    /// Milliseconds of the last sample.
    pub last: i64,
    /// How the data is encoded.
    pub encoding: Encoding,
    /// The samples.
    pub data: Vec<u8>,
}

/// Decodes a chunk; each sample (milliseconds, value) is given as soon as it is read. An error of
/// `each` ends the work.
pub fn decode<E: From<WireError>>(
    encoding: Encoding,
    data: &[u8],
    mut each: impl FnMut(i64, Value) -> Result<(), E>,
) -> Result<(), E> {
    let Some((count, rest)) = data.split_first_chunk::<2>() else {
        let expected = "2 bytes with the number of samples";
        return Err(WireError::at_byte(FORMAT, 0, expected).into());
    };
    let count = u16::from_be_bytes(*count);
    match encoding {
        Encoding::Xor => floats(count, rest, &mut each),
        Encoding::Histogram | Encoding::FloatHistogram => {
            let integer = encoding == Encoding::Histogram;
            histogram::decode(count, rest, integer, &mut |time, histogram| {
                each(time, Value::Histogram(Arc::new(histogram)))
            })
        }
    }
}

fn floats<E: From<WireError>>(
    count: u16,
    bytes: &[u8],
    each: &mut dyn FnMut(i64, Value) -> Result<(), E>,
) -> Result<(), E> {
    let mut bits = BitReader::new(FORMAT, 2, bytes);
    let (mut time, mut delta) = (0i64, 0i64);
    let mut value = Xor::default();
    for index in 0..count {
        match index {
            0 => {
                time = bits.varint()?;
                value = Xor::new(bits.read(64)?);
            }
            1 => {
                delta = bits.uvarint()? as i64;
                time = time.wrapping_add(delta);
                value.read(&mut bits)?;
            }
            _ => {
                delta = delta.wrapping_add(bits.time_step()?);
                time = time.wrapping_add(delta);
                value.read(&mut bits)?;
            }
        }
        each(time, Value::Float(f64::from_bits(value.bits)))?;
    }
    Ok(())
}

/// A chunk in the making.
#[derive(Debug)]
enum Open {
    Xor {
        bits: BitWriter,
        count: u16,
        first: i64,
        time: i64,
        delta: i64,
        value: Xor,
    },
    Histogram(Box<Appender>),
}

impl Open {
    fn start(time: i64, value: &Value) -> Self {
        match value {
            Value::Float(float) => {
                let mut bits = BitWriter::default();
                bits.varint(time);
                bits.write(float.to_bits(), 64);
                Self::Xor {
                    bits,
                    count: 1,
                    first: time,
                    time,
                    delta: 0,
                    value: Xor::new(float.to_bits()),
                }
            }
            Value::Histogram(histogram) => {
                Self::Histogram(Box::new(Appender::start(time, histogram)))
            }
        }
    }

    /// Appends a sample where it can follow those before.
    fn append(&mut self, at: i64, sample: &Value) -> bool {
        match (self, sample) {
            (
                Self::Xor {
                    bits,
                    count,
                    time,
                    delta,
                    value,
                    ..
                },
                Value::Float(float),
            ) => {
                if usize::from(*count) >= SAMPLES_MAX {
                    return false;
                }
                let Some(step) = at.checked_sub(*time).filter(|step| *step >= 0) else {
                    return false;
                };
                if *count == 1 {
                    bits.uvarint(step as u64);
                } else {
                    bits.time_step(step.wrapping_sub(*delta));
                }
                value.write(float.to_bits(), bits);
                (*time, *delta, *count) = (at, step, *count + 1);
                true
            }
            (Self::Histogram(appender), Value::Histogram(histogram)) => {
                appender.append(at, histogram)
            }
            _ => false,
        }
    }

    fn finish(self) -> Chunk {
        match self {
            Self::Xor {
                bits,
                count,
                first,
                time,
                ..
            } => {
                let mut data = count.to_be_bytes().to_vec();
                data.extend_from_slice(&bits.into_bytes());
                Chunk {
                    first,
                    last: time,
                    encoding: Encoding::Xor,
                    data,
                }
            }
            Self::Histogram(appender) => appender.finish(),
        }
    }
}

/// Encodes samples (milliseconds, value) in ascending order of time to as many chunks as they need.
pub fn encode(samples: impl IntoIterator<Item = (i64, Value)>) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut open: Option<Open> = None;
    for (time, value) in samples {
        if let Some(open) = &mut open
            && open.append(time, &value)
        {
            continue;
        }
        chunks.extend(open.take().map(Open::finish));
        open = Some(Open::start(time, &value));
    }
    chunks.extend(open.map(Open::finish));
    chunks
}

/// Whether a histogram could follow another of the same layout without a reset between them.
fn follows(earlier: &Histogram, later: &Histogram) -> bool {
    let not_less = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| a <= b);
    earlier.count <= later.count
        && earlier.zero_count <= later.zero_count
        && not_less(&earlier.positive, &later.positive)
        && not_less(&earlier.negative, &later.negative)
}

#[cfg(test)]
mod tests;
