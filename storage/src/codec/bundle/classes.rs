//! Columns of symbols in classes of about the same entropy, each class coded in the way that suits it.
//!
//! Class 0 is plain: its symbols go through zstd with the heads, which sees repetitions. The others
//! have a table of frequencies and a stream each. Columns of one class follow each other in it.

use std::ops::Range;

use super::entropy::{self, Counts, Table};
use crate::codec::{Reader, bytes, varint};
use crate::error::Corrupt;

/// Most classes of a bundle.
const CLASSES_MAX: usize = 17;
/// Classes are that many bits of entropy wide at first; then neighbours join where that is cheaper.
const CLASS_BITS: f64 = 0.5;
/// What a stream and what each symbol of its table cost beside the symbols.
const STREAM_BITS: f64 = 150.0;
const ENTRY_BITS: f64 = 12.0;

/// Coded symbols.
#[derive(Debug, Default)]
pub(super) struct Coded {
    /// The class of each column.
    pub(super) classes: Vec<u8>,
    /// Number of tables, then each table and the bytes of its stream.
    pub(super) tables: Vec<u8>,
    /// The symbols of class 0.
    pub(super) plain: Vec<u8>,
    /// The streams of the other classes.
    pub(super) streams: Vec<u8>,
}

/// Columns that share a table.
struct Class {
    columns: Vec<usize>,
    counts: Counts,
    /// What it costs with a table of its own.
    bits: f64,
}

/// Codes the symbols of columns; `ends` tells where each ends.
pub(super) fn code(symbols: &[u8], ends: &[usize], encoder: &mut bytes::Encoder) -> Coded {
    let mut coded = Coded {
        classes: vec![0; ends.len()],
        ..Coded::default()
    };
    let column = |number: usize| {
        let start = number.checked_sub(1).map_or(0, |before| ends[before]);
        &symbols[start..ends[number]]
    };
    let mut tables = 0u8;
    let mut described = Vec::new();
    let mut plain = Vec::new();
    let mut gathered = Vec::new();
    let mut packed = Vec::new();
    for class in classes(ends.len(), &column) {
        gathered.clear();
        for number in &class.columns {
            gathered.extend_from_slice(column(*number));
        }
        packed.clear();
        encoder.encode(&gathered, &mut packed);
        if packed.len() as f64 * 8.0 <= class.bits {
            plain.extend(class.columns);
            continue;
        }
        tables += 1;
        for number in &class.columns {
            coded.classes[*number] = tables;
        }
        let table = Table::of(&class.counts);
        table.put(&mut described);
        let start = coded.streams.len();
        table.encode(&gathered, &mut coded.streams);
        varint::put((coded.streams.len() - start) as u64, &mut described);
    }
    plain.sort_unstable();
    for number in plain {
        coded.plain.extend_from_slice(column(number));
    }
    coded.tables.push(tables);
    coded.tables.extend_from_slice(&described);
    coded
}

/// Sorts columns into classes; those without symbols are in none.
fn classes<'a>(columns: usize, column: &dyn Fn(usize) -> &'a [u8]) -> Vec<Class> {
    let mut slots: Vec<Option<Class>> = (0..CLASSES_MAX).map(|_| None).collect();
    for number in 0..columns {
        let symbols = column(number);
        if symbols.is_empty() {
            continue;
        }
        let mut counts = [0; 256];
        entropy::count(symbols, &mut counts);
        let bits = entropy::bits(&counts) / symbols.len() as f64;
        let slot = ((bits / CLASS_BITS) as usize).min(CLASSES_MAX - 1);
        let class = slots[slot].get_or_insert_with(|| Class {
            columns: Vec::new(),
            counts: [0; 256],
            bits: 0.0,
        });
        class.columns.push(number);
        for (sum, n) in class.counts.iter_mut().zip(&counts) {
            *sum += n;
        }
    }
    let mut joined: Vec<Class> = Vec::new();
    for mut class in slots.into_iter().flatten() {
        class.bits = cost(&class.counts);
        if let Some(last) = joined.last_mut() {
            let mut counts = last.counts;
            for (sum, n) in counts.iter_mut().zip(&class.counts) {
                *sum += n;
            }
            let bits = cost(&counts);
            if bits <= last.bits + class.bits {
                last.columns.append(&mut class.columns);
                last.counts = counts;
                last.bits = bits;
                continue;
            }
        }
        joined.push(class);
    }
    for class in &mut joined {
        class.columns.sort_unstable();
    }
    joined
}

/// Bits of symbols, their table and their stream.
fn cost(counts: &Counts) -> f64 {
    let entries = counts.iter().filter(|n| **n > 0).count();
    entropy::bits(counts) + STREAM_BITS + ENTRY_BITS * entries as f64
}

/// Where the symbols of a class are and how they are coded.
#[derive(Debug)]
pub(super) struct Stream {
    /// `None` where they stand as they are.
    table: Option<Table>,
    /// Bytes of the streams, or of the body for class 0.
    bytes: Range<usize>,
    symbols: usize,
}

impl Stream {
    /// The symbols; `body` and `streams` are those that the stream was found in.
    pub(super) fn symbols(&self, body: &[u8], streams: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        match &self.table {
            None => out.extend_from_slice(body.get(self.bytes.clone())?),
            Some(table) => {
                let stream = streams.get(self.bytes.clone())?;
                table.decode(stream, self.symbols, &mut out)?;
            }
        }
        Some(out)
    }
}

/// Reads the tables from `reader`, behind which the plain symbols end the body; gives the stream of
/// each class and where in it the symbols of each column start. `lengths` are the symbols of each
/// column; the caller has bounded them.
pub(super) fn open(
    mut reader: Reader<'_>,
    streams: usize,
    classes: &[u8],
    lengths: &[usize],
) -> Result<(Vec<Stream>, Vec<usize>), Corrupt> {
    let tables = usize::from(reader.u8()?);
    if tables > CLASSES_MAX || classes.iter().any(|class| usize::from(*class) > tables) {
        return Err(reader.corrupt("classes of the bundle before here"));
    }
    let mut totals = vec![0usize; tables + 1];
    let starts = classes.iter().zip(lengths).map(|(class, length)| {
        let total = &mut totals[usize::from(*class)];
        let start = *total;
        *total = total.saturating_add(*length);
        start
    });
    let starts = starts.collect();
    let mut found = Vec::with_capacity(tables + 1);
    found.push(Stream {
        table: None,
        bytes: 0..0,
        symbols: totals[0],
    });
    let mut end = 0usize;
    for symbols in &totals[1..] {
        let table = Some(Table::read(&mut reader)?);
        let start = end;
        end += reader.count(streams - start)?;
        found.push(Stream {
            table,
            bytes: start..end,
            symbols: *symbols,
        });
    }
    let plain = reader.position();
    reader.slice(totals[0])?;
    found[0].bytes = plain..reader.position();
    if end != streams {
        return Err(reader.corrupt("streams that are all used"));
    }
    reader.finish()?;
    Ok((found, starts))
}
