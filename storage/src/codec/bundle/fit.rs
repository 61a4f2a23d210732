//! How a column is encoded: the cheapest of the shapes that a bundle knows, by estimate.
//!
//! An estimate is the mean number of bits of the residuals' distances from their middle: what a
//! symbol with low bits takes, but for a constant.

use super::bits;
use super::{
    BITS, CHAIN_MAX, CONSTANT, CONSTANT_BITS, DECIMAL, ESCAPED, FLAT, LIST_MAX, LISTED, NEAR,
    ORDER_SHIFT, PATCHED, SHIFT_MAX, varint,
};
use crate::codec::floats::Decimal;

/// The symbol of the middle: symbols reach as far below as above it.
const MIDDLE: i64 = 128;
/// Residuals that are looked at to find their middle.
const SAMPLE: usize = 63;
/// Bits of the median distance that the symbol keeps: enough to show the shape of the distribution.
const SHAPE_BITS: u32 = 4;
/// Bits that are lost per residual when a symbol keeps 0, 1, 2, … bits less than that; in 1/64.
const COARSE_COST: [u64; 6] = [0, 1, 4, 15, 45, 100];
/// Bits of an escape: its index, its value and what its symbol costs.
const ESCAPE_BITS: u64 = 40;
/// A reference to another column makes reading one column dearer, so it must gain bits: 1/64
/// bits a value.
const NEAR_GAIN: u64 = 16;

/// How a column is written.
#[derive(Debug, Default)]
pub(super) struct Fit<'a> {
    pub(super) kind: u8,
    pub(super) order: u8,
    pub(super) exponent: u8,
    pub(super) shift: u8,
    /// Distance to the column that it refers to.
    distance: usize,
    listed: &'a [i64],
    indices: &'a [u8],
    firsts: [i64; 2],
    unit: i64,
    base: i64,
    residuals: &'a [i64],
    escapes: &'a [usize],
    patches: &'a [(usize, u64)],
}

/// Finds how to write columns; keeps its buffers.
#[derive(Debug, Default)]
pub(super) struct Fitter {
    decimal: Decimal,
    integers: Vec<i64>,
    /// The columns of the bundle so far.
    before: Vec<Known>,
    /// Buffers to be used again.
    spare: Vec<Vec<i64>>,
    differences: Vec<i64>,
    residuals: Vec<i64>,
    sample: Vec<i64>,
    escapes: Vec<usize>,
    list: Vec<i64>,
    indices: Vec<u8>,
}

/// A column that later ones may refer to.
#[derive(Debug, Default)]
struct Known {
    /// Empty when nothing may refer to it.
    integers: Vec<i64>,
    exponent: u8,
    /// How many columns it needs itself.
    chain: usize,
}

/// A candidate: order of differences, to another column or not, and its bits in 1/64 a value.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    order: u8,
    near: bool,
    cost: u64,
}

impl Fitter {
    /// The next column is the first of its bundle.
    pub(super) fn forget(&mut self) {
        let used = self.before.drain(..).map(|known| known.integers);
        self.spare
            .extend(used.filter(|buffer| buffer.capacity() > 0));
    }

    /// Chooses for a column; `like` is the number of one that it may refer to.
    pub(super) fn fit(&mut self, values: &[f64], like: Option<usize>) -> Fit<'_> {
        let first = values.first().map_or(0, |v| v.to_bits());
        if values.iter().all(|v| v.to_bits() == first) {
            self.before.push(Known::default());
            return constant(f64::from_bits(first));
        }
        let (kind, exponent) = self.convert(values);
        let like = like.filter(|like| {
            self.before.get(*like).is_some_and(|known| {
                kind == DECIMAL
                    && known.exponent == exponent
                    && known.chain < CHAIN_MAX
                    && known.integers.len() == values.len()
            })
        });
        let mut best = self.best(like);
        let listed = self.list(best.cost);
        if listed {
            best = Candidate {
                order: 0,
                near: false,
                cost: 0,
            };
        } else {
            self.prepare(best);
        }
        let source = if best.near {
            &self.differences
        } else {
            &self.integers
        };
        let firsts = [source[0], second(source)];
        let number = self.before.len();
        let like = like.filter(|_| best.near);
        self.remember(kind, exponent, like);
        let mut fit = Fit {
            kind,
            order: best.order,
            exponent,
            distance: like.map_or(0, |like| number - like),
            firsts,
            ..Fit::default()
        };
        if kind == DECIMAL {
            fit.patches = self.decimal.patches();
        }
        if listed {
            fit.listed = &self.list;
            fit.indices = &self.indices;
            return fit;
        }
        let residuals = &mut self.residuals;
        fit.unit = scale(residuals);
        let middle = middle(residuals, &mut self.sample);
        (fit.shift, fit.base) = place(residuals, middle);
        self.escapes.clear();
        if fit.shift != FLAT {
            let top = 256u64 << fit.shift;
            let misfits = residuals.iter().enumerate();
            let misfits = misfits.filter(|(_, r)| r.wrapping_sub(fit.base) as u64 >= top);
            self.escapes.extend(misfits.map(|(index, _)| index));
        }
        fit.residuals = residuals;
        fit.escapes = &self.escapes;
        fit
    }

    /// The integers of a column; their kind and exponent.
    fn convert(&mut self, values: &[f64]) -> (u8, u8) {
        self.integers.clear();
        match self.decimal.fit(values) {
            Some(exponent) => {
                self.integers.extend_from_slice(self.decimal.integers());
                (DECIMAL, exponent as u8)
            }
            None => {
                let integers = values.iter().map(|v| bits::integer(*v));
                self.integers.extend(integers);
                (BITS, 0)
            }
        }
    }

    /// Keeps the integers of the column, which later ones may refer to.
    fn remember(&mut self, kind: u8, exponent: u8, like: Option<usize>) {
        let mut known = Known::default();
        if kind == DECIMAL {
            known.exponent = exponent;
            known.chain = like.map_or(0, |like| self.before[like].chain + 1);
            let spare = self.spare.pop().unwrap_or_default();
            known.integers = std::mem::replace(&mut self.integers, spare);
        }
        self.before.push(known);
    }

    /// The cheapest order of differences, alone or to another column.
    fn best(&mut self, like: Option<usize>) -> Candidate {
        let mut best = Candidate {
            order: 0,
            near: false,
            cost: u64::MAX,
        };
        if let Some(like) = like {
            self.differences.clear();
            let pairs = self.integers.iter().zip(&self.before[like].integers);
            self.differences
                .extend(pairs.map(|(integer, before)| integer.wrapping_sub(*before)));
        }
        let Self {
            integers,
            differences,
            residuals,
            sample,
            ..
        } = self;
        for (source, near) in [(&*integers, false), (&*differences, true)]
            .into_iter()
            .take(1 + usize::from(like.is_some()))
        {
            residuals.clear();
            residuals.extend_from_slice(source);
            let mut last = u64::MAX;
            for order in 0..=2u8 {
                if order > 0 {
                    differentiate(residuals, usize::from(order));
                }
                let from = usize::from(order).min(residuals.len());
                let body = &residuals[from..];
                if body.is_empty() {
                    break;
                }
                let middle = middle(body, sample);
                let gain = if near { NEAR_GAIN } else { 0 };
                let cost = cost(body, middle).saturating_add(gain);
                if cost < best.cost {
                    best = Candidate { order, near, cost };
                }
                // What differences make noisier, further differences do too.
                if cost > last {
                    break;
                }
                last = cost;
            }
        }
        best
    }

    /// The residuals of a candidate, without its first integers.
    fn prepare(&mut self, candidate: Candidate) {
        let source = if candidate.near {
            &self.differences
        } else {
            &self.integers
        };
        let residuals = &mut self.residuals;
        residuals.clear();
        residuals.extend_from_slice(source);
        if candidate.order == 0 {
            let first = source[0];
            for residual in residuals.iter_mut() {
                *residual = residual.wrapping_sub(first);
            }
        }
        for order in 1..=usize::from(candidate.order) {
            differentiate(residuals, order);
        }
        residuals.drain(..usize::from(candidate.order).min(residuals.len()));
    }

    /// Lists the distinct integers; whether they are few and their indices cost less.
    fn list(&mut self, limit: u64) -> bool {
        let Self {
            list,
            indices,
            integers,
            ..
        } = self;
        list.clear();
        indices.clear();
        let mut counts = [0u64; LIST_MAX];
        for integer in integers.iter() {
            let index = match list.iter().position(|known| known == integer) {
                Some(index) => index,
                None if list.len() < LIST_MAX => {
                    list.push(*integer);
                    list.len() - 1
                }
                None => return false,
            };
            counts[index] += 1;
            indices.push(index as u8);
        }
        let total = integers.len() as u64;
        let entropy: f64 = counts[..list.len()]
            .iter()
            .map(|n| {
                let n = *n as f64;
                n * (total as f64 / n).log2()
            })
            .sum();
        // A listed integer takes some three bytes; the estimate of residuals leaves out two bits.
        let bits = entropy + 24.0 * list.len() as f64;
        let cost = (bits * 64.0 / total as f64) as u64;
        cost < limit.saturating_add(100)
    }
}

fn second(integers: &[i64]) -> i64 {
    match integers {
        [first, second, ..] => second.wrapping_sub(*first),
        _ => 0,
    }
}

fn constant(value: f64) -> Fit<'static> {
    let mut fit = Fit {
        shift: FLAT,
        ..Fit::default()
    };
    match Decimal::of_one(value) {
        Some((exponent, integer)) => {
            fit.kind = CONSTANT;
            fit.exponent = exponent as u8;
            fit.firsts[0] = integer;
        }
        None => {
            fit.kind = CONSTANT_BITS;
            fit.firsts[0] = value.to_bits() as i64;
        }
    }
    fit
}

/// Differences of one order more; the first `order` entries stay.
fn differentiate(values: &mut [i64], order: usize) {
    let mut last = match values.get(order - 1) {
        Some(last) => *last,
        None => return,
    };
    for value in &mut values[order..] {
        let this = *value;
        *value = this.wrapping_sub(last);
        last = this;
    }
}

/// About the median.
fn middle(residuals: &[i64], sample: &mut Vec<i64>) -> i64 {
    sample.clear();
    let step = residuals.len().div_ceil(SAMPLE).max(1);
    sample.extend(residuals.iter().step_by(step));
    let half = sample.len() / 2;
    *sample.select_nth_unstable(half).1
}

/// Mean bits of the distances from the middle, in 1/64.
fn cost(residuals: &[i64], middle: i64) -> u64 {
    let mut bits = 0u64;
    for residual in residuals {
        let distance = residual.wrapping_sub(middle).unsigned_abs();
        bits += u64::from(64 - distance.leading_zeros());
    }
    bits * 64 / residuals.len() as u64
}

/// Divides residuals by their greatest common divisor, and gives it; 1 when all are zero.
fn scale(residuals: &mut [i64]) -> i64 {
    let mut unit = 0u64;
    for residual in residuals.iter() {
        unit = divisor(unit, residual.unsigned_abs());
        if unit == 1 {
            return 1;
        }
    }
    // i64::MIN alone has a divisor that is no i64.
    let Ok(unit @ 1..) = i64::try_from(unit) else {
        return 1;
    };
    for residual in residuals.iter_mut() {
        *residual /= unit;
    }
    unit
}

fn divisor(mut a: u64, mut b: u64) -> u64 {
    if a == 0 || b == 0 {
        return a | b;
    }
    if b.is_multiple_of(a) {
        return a;
    }
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Number of low bits, and the residual that symbol and low bits of zero stand for.
fn place(residuals: &[i64], middle: i64) -> (u8, i64) {
    let Some(first) = residuals.first() else {
        return (FLAT, 0);
    };
    if residuals.iter().all(|r| r == first) {
        return (FLAT, *first);
    }
    let mut lengths = [0u64; 65];
    for residual in residuals {
        let distance = residual.wrapping_sub(middle).unsigned_abs();
        lengths[64 - distance.leading_zeros() as usize] += 1;
    }
    let total = residuals.len() as u64;
    let mut below = 0;
    let median = (0..65u32).find(|bits| {
        below += lengths[*bits as usize];
        below * 2 > total
    });
    let ideal = median.unwrap_or(0).saturating_sub(SHAPE_BITS);
    let mut best = (u64::MAX, 0u32);
    for shift in 0..=u32::from(SHIFT_MAX) {
        // A symbol reaches 128 steps to each side: distances of up to 7 bits and those of `shift`.
        let escapes: u64 = lengths.iter().skip(8 + shift as usize).sum();
        let coarse = shift.saturating_sub(ideal) as usize;
        let coarse = COARSE_COST[coarse.min(COARSE_COST.len() - 1)]
            + 64 * (coarse.saturating_sub(COARSE_COST.len() - 1)) as u64;
        let cost = escapes * ESCAPE_BITS * 64 + total * coarse;
        if cost < best.0 {
            best = (cost, shift);
        }
        if escapes == 0 {
            break;
        }
    }
    let shift = best.1;
    let base = (middle >> shift).wrapping_sub(MIDDLE);
    (shift as u8, base.wrapping_shl(shift))
}

impl Fit<'_> {
    /// The tag of the column.
    pub(super) fn tag(&self) -> u8 {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        self.kind
            | self.order << ORDER_SHIFT
            | flag(!self.patches.is_empty(), PATCHED)
            | flag(!self.escapes.is_empty(), ESCAPED)
            | flag(self.distance > 0, NEAR)
            | flag(!self.listed.is_empty(), LISTED)
    }

    /// Appends the fields, the symbols and the low bits.
    pub(super) fn put(&self, fields: &mut Vec<u8>, symbols: &mut Vec<u8>, raw: &mut Vec<u8>) {
        if self.kind == CONSTANT_BITS {
            fields.extend_from_slice(&self.firsts[0].to_le_bytes());
            return;
        }
        if self.kind == CONSTANT {
            varint::put_signed(self.firsts[0], fields);
            return;
        }
        if self.distance > 0 {
            varint::put(self.distance as u64, fields);
        }
        if self.listed.is_empty() {
            self.put_residuals(fields, symbols, raw);
        } else {
            self.put_listed(fields, symbols);
        }
        if !self.patches.is_empty() {
            varint::put(self.patches.len() as u64, fields);
            let mut last = 0;
            for (index, bits) in self.patches {
                varint::put((index - last) as u64, fields);
                fields.extend_from_slice(&bits.to_le_bytes());
                last = *index;
            }
        }
    }

    fn put_residuals(&self, fields: &mut Vec<u8>, symbols: &mut Vec<u8>, raw: &mut Vec<u8>) {
        varint::put_signed(self.firsts[0], fields);
        if self.order == 2 {
            varint::put_signed(self.firsts[1], fields);
        }
        varint::put(self.unit as u64, fields);
        if self.shift == FLAT {
            varint::put_signed(self.base, fields);
            return;
        }
        varint::put_signed(self.base >> self.shift, fields);
        if !self.escapes.is_empty() {
            varint::put(self.escapes.len() as u64, fields);
            let mut last = 0;
            for index in self.escapes {
                varint::put((index - last) as u64, fields);
                varint::put_signed(self.residuals[*index], fields);
                last = *index;
            }
        }
        let start = symbols.len();
        let distances = || {
            self.residuals
                .iter()
                .map(|r| r.wrapping_sub(self.base) as u64)
        };
        symbols.extend(distances().map(|d| (d >> self.shift) as u8));
        for index in self.escapes {
            symbols[start + index] = MIDDLE as u8;
        }
        bits::pack(distances(), self.shift, raw);
    }

    fn put_listed(&self, fields: &mut Vec<u8>, symbols: &mut Vec<u8>) {
        varint::put(self.listed.len() as u64, fields);
        let mut last = 0i64;
        for integer in self.listed {
            varint::put_signed(integer.wrapping_sub(last), fields);
            last = *integer;
        }
        symbols.extend_from_slice(self.indices);
    }
}
