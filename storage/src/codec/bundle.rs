//! Many float columns that look alike, compressed together and read one by one; bit by bit exact.
//!
//! A column becomes integers (its decimals scaled by a power of ten, or the bits of its floats in
//! order of value), these become residuals (differences of order 0 to 2, perhaps to another
//! column), and a residual becomes a symbol of 8 bits and some low bits. The low bits are noise and
//! stand as they are. The symbols of columns of about the same entropy form a class, which is coded
//! by its own frequencies, or by zstd where symbols repeat in runs. Specified in
//! docs/formats/columns-bundle.md.
//!
//! Invariants: what a head says is checked against the limits and the bytes that are there when the
//! bundle is opened; a column that refers to another one refers to one before it and ends a chain
//! of at most [`CHAIN_MAX`].

mod bits;
mod classes;
mod entropy;
mod fit;

use std::collections::HashMap;

use super::{Reader, bytes, floats, ints, varint};
use crate::error::Corrupt;
use fit::Fitter;

/// A column of one value, an integer over a power of ten.
const CONSTANT: u8 = 0;
/// A column of one value, any bits.
const CONSTANT_BITS: u8 = 1;
/// Integers over a power of ten.
const DECIMAL: u8 = 2;
/// Bits of floats as integers in order of value.
const BITS: u8 = 3;
/// The order of differences, above the kind.
const ORDER_SHIFT: u8 = 2;
/// The column has values that its integers do not give.
const PATCHED: u8 = 1 << 4;
/// The column has residuals that do not fit into a symbol.
const ESCAPED: u8 = 1 << 5;
/// The integers are differences to those of another column.
const NEAR: u8 = 1 << 6;
/// The symbols are indices of the few integers that occur.
const LISTED: u8 = 1 << 7;
/// In place of a number of low bits: all residuals are the same.
const FLAT: u8 = 64;
/// Most low bits: with a shift of up to 7 bits they are read from 8 bytes.
const SHIFT_MAX: u8 = 57;
/// Most columns of which each refers to another one.
const CHAIN_MAX: usize = 16;
/// Most symbols of a bundle: a symbol that always comes takes no bits, so that the bytes that are
/// there do not bound them.
const SYMBOLS_MAX: usize = 1 << 24;
/// Most integers of a listed column.
const LIST_MAX: usize = 48;

/// Writes bundles one after the other; keeps its buffers.
#[derive(Debug, Default)]
pub struct BundleWriter {
    counts: Vec<u64>,
    tags: Vec<u8>,
    exponents: Vec<u8>,
    shifts: Vec<u8>,
    fields: Vec<u8>,
    symbols: Vec<u8>,
    /// Where the symbols of each column end.
    ends: Vec<usize>,
    raw: Vec<u8>,
    fitter: Fitter,
}

impl BundleWriter {
    /// Adds a column; its number, from 0 in each bundle. All columns of a bundle together have at
    /// most 2^24 values. `like` is the number of a column before it
    /// with the same times that may look like it.
    pub fn push(&mut self, values: &[f64], like: Option<usize>) -> usize {
        self.counts.push(values.len() as u64);
        let fit = self.fitter.fit(values, like);
        self.tags.push(fit.tag());
        self.exponents.push(fit.exponent);
        self.shifts.push(fit.shift);
        fit.put(&mut self.fields, &mut self.symbols, &mut self.raw);
        self.ends.push(self.symbols.len());
        self.ends.len() - 1
    }

    /// Appends the bundle and starts the next one; zstd works at the encoder's level.
    pub fn finish(&mut self, encoder: &mut bytes::Encoder, out: &mut Vec<u8>) {
        let coded = classes::code(&self.symbols, &self.ends, encoder);
        let mut body = Vec::new();
        ints::encode_u64(&self.counts, &mut body);
        for part in [
            &self.tags,
            &self.exponents,
            &self.shifts,
            &coded.classes,
            &self.fields,
            &coded.tables,
            &coded.plain,
        ] {
            body.extend_from_slice(part);
        }
        varint::put(self.fields.len() as u64, out);
        encoder.encode(&body, out);
        super::put_bytes(&coded.streams, out);
        super::put_bytes(&self.raw, out);
        self.counts.clear();
        self.ends.clear();
        for part in [
            &mut self.tags,
            &mut self.exponents,
            &mut self.shifts,
            &mut self.fields,
            &mut self.symbols,
            &mut self.raw,
        ] {
            part.clear();
        }
        self.fitter.forget();
    }
}

/// An opened bundle: heads parsed, columns still encoded.
#[derive(Debug)]
pub struct Bundle<'a> {
    place: &'a str,
    body: Vec<u8>,
    /// The coded symbols of all classes.
    coded: &'a [u8],
    streams: Vec<classes::Stream>,
    raw: &'a [u8],
    heads: Vec<Head>,
}

/// What a column says about itself.
#[derive(Clone, Debug, Default)]
struct Head {
    tag: u8,
    exponent: u8,
    shift: u8,
    count: usize,
    /// The first integer, and with order 2 the first difference.
    firsts: [i64; 2],
    /// Residuals are multiples of this.
    unit: i64,
    /// What a residual without symbol and low bits is.
    base: i64,
    /// Where its lists (escapes, patches, listed integers) stand in the body.
    lists: usize,
    class: usize,
    /// Where its symbols stand in their class.
    symbols: usize,
    /// Where its low bits stand in the raw bytes.
    raw: usize,
    /// The column that it refers to.
    like: Option<usize>,
    /// Columns that are needed to read it.
    chain: usize,
    /// Whether a column refers to it.
    needed: bool,
}

impl Head {
    fn kind(&self) -> u8 {
        self.tag & 3
    }

    fn order(&self) -> usize {
        usize::from(self.tag >> ORDER_SHIFT & 3)
    }

    fn has(&self, flag: u8) -> bool {
        self.tag & flag != 0
    }

    /// Symbols of the column: one per residual.
    fn residuals(&self) -> usize {
        match self.kind() {
            CONSTANT | CONSTANT_BITS => 0,
            _ => self.count.saturating_sub(self.order()),
        }
    }

    fn symbol_count(&self) -> usize {
        if self.shift == FLAT {
            0
        } else {
            self.residuals()
        }
    }

    fn raw_bytes(&self) -> usize {
        (self.symbol_count() * usize::from(self.shift)).div_ceil(8)
    }
}

/// What a reader keeps between columns: the symbols of classes that were read, and the integers of
/// columns that others refer to.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    /// The integers of the column that is read.
    integers: Vec<i64>,
    symbols: Vec<Option<Vec<u8>>>,
    kept: HashMap<usize, Vec<i64>>,
}

impl<'a> Bundle<'a> {
    /// Reads the heads of a bundle of at most so many columns with at most so many values each;
    /// `bytes_max` bounds the decompressed bytes.
    pub fn open(
        reader: &mut Reader<'a>,
        columns_max: usize,
        count_max: usize,
        bytes_max: usize,
    ) -> Result<Self, Corrupt> {
        let fields = reader.count(bytes_max)?;
        let body = bytes::decode(reader, bytes_max)?;
        let coded = reader.bytes(reader.remaining())?;
        let raw = reader.bytes(reader.remaining())?;
        let place = reader.place();
        let mut inner = Reader::new(place, &body);
        let limits = (columns_max, count_max);
        let (mut heads, classes) = read_heads(&mut inner, raw.len(), fields, limits)?;
        let lengths: Vec<usize> = heads.iter().map(Head::symbol_count).collect();
        if lengths
            .iter()
            .fold(0, |sum: usize, n| sum.saturating_add(*n))
            > SYMBOLS_MAX
        {
            return Err(inner.corrupt(format!("at most {SYMBOLS_MAX} symbols")));
        }
        let (streams, starts) = classes::open(inner, coded.len(), &classes, &lengths)?;
        for (head, (start, class)) in heads.iter_mut().zip(starts.into_iter().zip(classes)) {
            head.symbols = start;
            head.class = usize::from(class);
        }
        Ok(Self {
            place,
            body,
            coded,
            streams,
            raw,
            heads,
        })
    }

    /// Number of columns.
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Whether there are no columns.
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Bytes in memory, with all symbols once they are asked for.
    pub fn bytes(&self) -> usize {
        let symbols: usize = self.heads.iter().map(Head::symbol_count).sum();
        self.body.len() + size_of::<Head>() * self.heads.len() + symbols
    }

    /// Number of values of a column; 0 where there is none.
    pub fn count(&self, column: usize) -> usize {
        self.heads.get(column).map_or(0, |head| head.count)
    }

    /// Whether all values of a column are decimal numbers, and so none is a NaN.
    pub fn is_plain(&self, column: usize) -> bool {
        let plain = |head: &Head| matches!(head.kind(), CONSTANT | DECIMAL) && !head.has(PATCHED);
        self.heads.get(column).is_some_and(plain)
    }

    /// The values of a column. Fastest when columns are asked for in ascending order with the same
    /// scratch, which belongs to this bundle.
    pub fn decode(&self, column: usize, scratch: &mut Scratch) -> Result<Vec<f64>, Corrupt> {
        let Some(head) = self.heads.get(column) else {
            return Err(Corrupt::new(self.place, 0, format!("a column {column}")));
        };
        match head.kind() {
            CONSTANT => {
                let value = floats::decimal(head.firsts[0], head.exponent);
                return Ok(vec![value; head.count]);
            }
            CONSTANT_BITS => {
                let value = f64::from_bits(head.firsts[0] as u64);
                return Ok(vec![value; head.count]);
            }
            _ => {}
        }
        self.read(column, head, scratch)?;
        let mut values = Vec::with_capacity(head.count);
        if head.kind() == DECIMAL {
            floats::decimals(&scratch.integers, head.exponent, &mut values);
        } else {
            values.extend(scratch.integers.iter().map(|i| bits::float(*i)));
        }
        if head.has(PATCHED) {
            self.patch(head, &mut values)?;
        }
        Ok(values)
    }

    /// Reads the integers of a column and of those that it refers to.
    fn read(&self, column: usize, head: &Head, scratch: &mut Scratch) -> Result<(), Corrupt> {
        let mut chain = vec![column];
        let mut next = head.like;
        while let Some(like) = next.filter(|like| !scratch.kept.contains_key(like)) {
            chain.push(like);
            next = self.heads[like].like;
        }
        for column in chain.into_iter().rev() {
            let head = &self.heads[column];
            let Scratch {
                integers, symbols, ..
            } = scratch;
            self.integers(head, self.symbols(head, symbols)?, integers)?;
            let like = head.like.and_then(|like| scratch.kept.get(&like));
            for (integer, like) in scratch.integers.iter_mut().zip(like.into_iter().flatten()) {
                *integer = integer.wrapping_add(*like);
            }
            if head.needed {
                scratch.kept.insert(column, scratch.integers.clone());
            }
        }
        Ok(())
    }

    /// The symbols of a column.
    fn symbols<'s>(
        &self,
        head: &Head,
        known: &'s mut Vec<Option<Vec<u8>>>,
    ) -> Result<&'s [u8], Corrupt> {
        let count = head.symbol_count();
        if count == 0 {
            return Ok(&[]);
        }
        if known.len() < self.streams.len() {
            known.resize(self.streams.len(), None);
        }
        let class = &mut known[head.class];
        if class.is_none() {
            *class = self.streams[head.class].symbols(&self.body, self.coded);
        }
        let found = class.as_deref();
        let found = found.and_then(|all| all.get(head.symbols..head.symbols + count));
        found.ok_or_else(|| Corrupt::new(self.place, 0, format!("{count} symbols of a class")))
    }

    /// The integers of a column, or their differences to those that it refers to.
    fn integers(
        &self,
        head: &Head,
        symbols: &[u8],
        integers: &mut Vec<i64>,
    ) -> Result<(), Corrupt> {
        integers.clear();
        let order = head.order();
        integers.extend_from_slice(&head.firsts[..order.min(head.count)]);
        let first = integers.len();
        if head.has(LISTED) {
            return self.listed(head, symbols, integers);
        }
        self.residuals(head, symbols, integers);
        if head.has(ESCAPED) {
            self.escapes(head, &mut integers[first..])?;
        }
        restore(head, integers);
        Ok(())
    }

    fn residuals(&self, head: &Head, symbols: &[u8], out: &mut Vec<i64>) {
        if head.shift == FLAT {
            out.resize(out.len() + head.residuals(), head.base);
            return;
        }
        let base = head.base;
        if head.shift == 0 {
            out.extend(symbols.iter().map(|s| base.wrapping_add(i64::from(*s))));
        } else {
            bits::unpack(self.raw, head.raw, head.shift, symbols, base, out);
        }
    }

    /// Residuals that stand in a list.
    fn escapes(&self, head: &Head, residuals: &mut [i64]) -> Result<(), Corrupt> {
        let mut lists = self.lists(head);
        let mut at = 0usize;
        for _ in 0..lists.count(head.count)? {
            at += lists.count(head.count)?;
            let value = lists.signed()?;
            match residuals.get_mut(at) {
                Some(slot) => *slot = value,
                None => return Err(lists.corrupt("the index of a residual before here")),
            }
        }
        Ok(())
    }

    fn patch(&self, head: &Head, values: &mut [f64]) -> Result<(), Corrupt> {
        let mut lists = self.lists(head);
        if head.has(LISTED) {
            skip_list(&mut lists)?;
        }
        if head.has(ESCAPED) {
            skip_escapes(&mut lists, head.count)?;
        }
        let mut at = 0usize;
        for _ in 0..lists.count(head.count)? {
            at += lists.count(head.count)?;
            let value = lists.f64()?;
            match values.get_mut(at) {
                Some(slot) => *slot = value,
                None => return Err(lists.corrupt("the index of a value before here")),
            }
        }
        Ok(())
    }

    fn listed(&self, head: &Head, symbols: &[u8], out: &mut Vec<i64>) -> Result<(), Corrupt> {
        let mut lists = self.lists(head);
        let mut list = [0; LIST_MAX];
        let length = lists.count(LIST_MAX)?;
        let mut last = 0i64;
        for slot in list.iter_mut().take(length) {
            last = last.wrapping_add(lists.signed()?);
            *slot = last;
        }
        for symbol in symbols {
            match list[..length].get(usize::from(*symbol)) {
                Some(value) => out.push(*value),
                None => return Err(lists.corrupt("an index of a listed value before here")),
            }
        }
        Ok(())
    }

    fn lists(&self, head: &Head) -> Reader<'_> {
        Reader::new(self.place, &self.body[head.lists..])
    }
}

/// From residuals to integers.
fn restore(head: &Head, integers: &mut [i64]) {
    let order = head.order();
    let first = order.min(integers.len());
    if head.unit != 1 {
        for residual in &mut integers[first..] {
            *residual = residual.wrapping_mul(head.unit);
        }
    }
    match order {
        0 => {
            for integer in integers {
                *integer = integer.wrapping_add(head.firsts[0]);
            }
        }
        1 => {
            let mut last = 0i64;
            for integer in integers {
                last = last.wrapping_add(*integer);
                *integer = last;
            }
        }
        _ => {
            let (mut step, mut last) = (0i64, 0i64);
            for (index, integer) in integers.iter_mut().enumerate() {
                if index > 0 {
                    step = step.wrapping_add(*integer);
                    last = last.wrapping_add(step);
                } else {
                    last = *integer;
                }
                *integer = last;
            }
        }
    }
}

/// The heads and the class of each column; the reader stands behind the fields then.
fn read_heads(
    reader: &mut Reader<'_>,
    raw_bytes: usize,
    fields: usize,
    (columns_max, count_max): (usize, usize),
) -> Result<(Vec<Head>, Vec<u8>), Corrupt> {
    let counts = ints::decode_u64(reader, columns_max)?;
    let columns = counts.len();
    let tags = reader.slice(columns)?;
    let exponents = reader.slice(columns)?;
    let shifts = reader.slice(columns)?;
    let classes = reader.slice(columns)?;
    let fields_end = reader.position().saturating_add(fields);
    let mut heads: Vec<Head> = Vec::with_capacity(columns);
    let mut raw = 0usize;
    for column in 0..columns {
        let mut head = Head {
            tag: tags[column],
            exponent: exponents[column],
            shift: shifts[column],
            count: counts[column].min(usize::MAX as u64) as usize,
            raw,
            ..Head::default()
        };
        let sound = head.count <= count_max
            && head.order() <= 2
            && usize::from(head.exponent) <= floats::EXPONENT_MAX
            && (head.shift <= SHIFT_MAX || head.shift == FLAT)
            && (!head.has(LISTED)
                || (head.shift == 0 && head.order() == 0 && !head.has(ESCAPED | NEAR)));
        if !sound {
            return Err(reader.corrupt("a head of a column"));
        }
        read_fields(reader, &mut head, &mut heads)?;
        raw = raw.saturating_add(head.raw_bytes());
        heads.push(head);
    }
    if reader.position() != fields_end || raw != raw_bytes {
        return Err(reader.corrupt("columns that fill their bundle"));
    }
    Ok((heads, classes.to_vec()))
}

/// Reads what differs by kind; `before` are the heads of the columns before.
fn read_fields(
    reader: &mut Reader<'_>,
    head: &mut Head,
    before: &mut [Head],
) -> Result<(), Corrupt> {
    if head.kind() >= DECIMAL && head.has(NEAR) {
        let distance = reader.varint()?;
        let like = usize::try_from(distance).ok();
        let like = like.and_then(|distance| before.len().checked_sub(distance));
        let sound = |b: &Head| b.count == head.count && b.kind() >= DECIMAL && b.chain < CHAIN_MAX;
        match like.and_then(|like| before.get_mut(like)) {
            Some(found) if sound(found) => {
                found.needed = true;
                head.chain = found.chain + 1;
                head.like = like;
            }
            _ => return Err(reader.corrupt("a column to refer to before here")),
        }
    }
    if head.kind() == CONSTANT_BITS {
        head.firsts[0] = reader.u64()? as i64;
        return Ok(());
    }
    if !head.has(LISTED) {
        head.firsts[0] = reader.signed()?;
    }
    if head.kind() == CONSTANT {
        return Ok(());
    }
    if !head.has(LISTED) {
        if head.order() == 2 {
            head.firsts[1] = reader.signed()?;
        }
        head.unit = reader.varint()? as i64;
        let shift = if head.shift == FLAT { 0 } else { head.shift };
        head.base = reader.signed()?.wrapping_shl(u32::from(shift));
    }
    head.lists = reader.position();
    if head.has(LISTED) {
        skip_list(reader)?;
    }
    if head.has(ESCAPED) {
        skip_escapes(reader, head.count)?;
    }
    if head.has(PATCHED) {
        for _ in 0..reader.count(head.count)? {
            reader.varint()?;
            reader.slice(8)?;
        }
    }
    Ok(())
}

fn skip_list(reader: &mut Reader<'_>) -> Result<(), Corrupt> {
    for _ in 0..reader.count(LIST_MAX)? {
        reader.varint()?;
    }
    Ok(())
}

fn skip_escapes(reader: &mut Reader<'_>, count: usize) -> Result<(), Corrupt> {
    for _ in 0..reader.count(count)? {
        reader.varint()?;
        reader.varint()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
