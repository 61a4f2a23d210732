//! Columns of symbols in classes of about the same entropy, each class coded in the way that suits it.
//!
//! Class 0 is plain: its symbols go through zstd with the heads, which sees repetitions. The others
//! have a table of frequencies and a stream each. Columns of one class follow each other in it.

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

/// Reads tables and plain symbols from `reader`, which ends with them, and the streams. Gives all
/// symbols and where those of each column start; `lengths` are the symbols of each column.
pub(super) fn decode(
    mut reader: Reader<'_>,
    streams: &[u8],
    classes: &[u8],
    lengths: &[usize],
    symbols_max: usize,
) -> Result<(Vec<u8>, Vec<usize>), Corrupt> {
    let tables = usize::from(reader.u8()?);
    if tables > CLASSES_MAX || classes.iter().any(|class| usize::from(*class) > tables) {
        return Err(reader.corrupt("classes of the bundle before here"));
    }
    let mut totals = [0usize; CLASSES_MAX + 1];
    for (class, length) in classes.iter().zip(lengths) {
        let total = &mut totals[usize::from(*class)];
        *total = total.saturating_add(*length);
    }
    let all = totals.iter().fold(0usize, |sum, n| sum.saturating_add(*n));
    // A symbol that always comes takes no bits, so that the bytes do not bound the symbols; what
    // the columns may hold does.
    if all > symbols_max {
        return Err(reader.corrupt(format!("at most {symbols_max} symbols")));
    }
    let mut firsts = [0usize; CLASSES_MAX + 1];
    let mut coded = Vec::new();
    let mut rest = streams;
    for class in 1..=tables {
        let table = Table::read(&mut reader)?;
        let length = reader.count(rest.len())?;
        let (stream, after) = rest.split_at(length);
        rest = after;
        firsts[class] = coded.len();
        if table.decode(stream, totals[class], &mut coded).is_none() {
            return Err(reader.corrupt(format!("a stream of {} symbols", totals[class])));
        }
    }
    firsts[0] = coded.len();
    coded.extend_from_slice(reader.slice(totals[0])?);
    if !rest.is_empty() {
        return Err(reader.corrupt("streams that are all used"));
    }
    reader.finish()?;
    let starts = classes.iter().zip(lengths).map(|(class, length)| {
        let first = &mut firsts[usize::from(*class)];
        let start = *first;
        *first += length;
        start
    });
    let starts = starts.collect();
    Ok((coded, starts))
}
