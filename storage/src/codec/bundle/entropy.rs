//! Symbols in about as many bits as their frequency says: range asymmetric numeral systems (rANS),
//! four states in turn, so that a reader need not wait for one symbol to read the next.
//!
//! Invariant: frequencies of a table sum up to exactly [`TOTAL`]; a stream is read to its last byte.

use crate::codec::{Reader, varint};
use crate::error::Corrupt;

/// Bits of a frequency.
const BITS: u32 = 11;
/// Sum of the frequencies of a table.
const TOTAL: u32 = 1 << BITS;
/// Smallest state; a state moves by words of 16 bits.
const LOW: u32 = 1 << 16;
/// States that take turns.
const STATES: usize = 4;

/// How often each symbol stands.
pub(super) type Counts = [u32; 256];

/// Counts symbols.
pub(super) fn count(symbols: &[u8], counts: &mut Counts) {
    for symbol in symbols {
        counts[usize::from(*symbol)] += 1;
    }
}

/// The bits that symbols take by their counts.
pub(super) fn bits(counts: &Counts) -> f64 {
    let (mut total, mut sum) = (0u32, 0.0);
    for n in counts.iter().filter(|n| **n > 0) {
        total += n;
        sum += f64::from(*n) * f64::from(*n).log2();
    }
    if total == 0 {
        return 0.0;
    }
    f64::from(total) * f64::from(total).log2() - sum
}

/// Frequencies of symbols, scaled to [`TOTAL`].
#[derive(Debug)]
pub(super) struct Table {
    frequencies: [u16; 256],
    starts: [u16; 256],
}

impl Table {
    /// For counts of which at least one is not zero.
    pub(super) fn of(counts: &Counts) -> Self {
        let total: u64 = counts.iter().map(|n| u64::from(*n)).sum();
        let mut frequencies = [0u16; 256];
        let mut sum = 0i64;
        for (frequency, n) in frequencies.iter_mut().zip(counts) {
            if *n > 0 {
                let scaled = u64::from(*n) * u64::from(TOTAL) / total.max(1);
                *frequency = scaled.max(1) as u16;
                sum += i64::from(*frequency);
            }
        }
        // What rounding left over goes to the largest, which feels it least.
        while sum != i64::from(TOTAL) {
            let largest = frequencies.iter_mut().max().expect("there are 256");
            let more = (i64::from(TOTAL) - sum).max(1 - i64::from(*largest));
            *largest = (i64::from(*largest) + more) as u16;
            sum += more;
        }
        Self::with(frequencies)
    }

    fn with(frequencies: [u16; 256]) -> Self {
        let mut starts = [0; 256];
        let mut start = 0;
        for (slot, frequency) in starts.iter_mut().zip(&frequencies) {
            *slot = start;
            start += frequency;
        }
        Self {
            frequencies,
            starts,
        }
    }

    /// Appends the table: number of symbols, then distance to the symbol before and frequency each.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let present = self.frequencies.iter().filter(|f| **f > 0).count();
        varint::put(present as u64, out);
        let mut next = 0;
        for (symbol, frequency) in self.frequencies.iter().enumerate() {
            if *frequency > 0 {
                varint::put((symbol - next) as u64, out);
                varint::put(u64::from(*frequency), out);
                next = symbol + 1;
            }
        }
    }

    /// Reads a table.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let mut frequencies = [0u16; 256];
        let (mut next, mut sum) = (0usize, 0usize);
        for _ in 0..reader.count(256)? {
            let symbol = next + reader.count(255)?;
            let frequency = reader.count(TOTAL as usize)?;
            let Some(slot) = frequencies.get_mut(symbol) else {
                return Err(reader.corrupt("a symbol below 256 before here"));
            };
            *slot = frequency as u16;
            next = symbol + 1;
            sum += frequency;
        }
        if sum != TOTAL as usize {
            return Err(reader.corrupt(format!("frequencies that sum up to {TOTAL} before here")));
        }
        Ok(Self::with(frequencies))
    }

    /// Appends the stream of symbols that the table knows: the states, then the words.
    pub(super) fn encode(&self, symbols: &[u8], out: &mut Vec<u8>) {
        let mut states = [LOW; STATES];
        let mut words: Vec<u16> = Vec::with_capacity(symbols.len() / 2 + STATES);
        for (index, symbol) in symbols.iter().enumerate().rev() {
            let state = &mut states[index % STATES];
            let frequency = u32::from(self.frequencies[usize::from(*symbol)]);
            if u64::from(*state) >= u64::from(frequency) << (32 - BITS) {
                words.push(*state as u16);
                *state >>= 16;
            }
            let start = u32::from(self.starts[usize::from(*symbol)]);
            *state = (*state / frequency) << BITS | (*state % frequency + start);
        }
        for state in states {
            out.extend_from_slice(&state.to_le_bytes());
        }
        for word in words.iter().rev() {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }

    /// Appends `count` symbols of a stream; `None` when they do not fill it exactly.
    pub(super) fn decode(&self, stream: &[u8], count: usize, out: &mut Vec<u8>) -> Option<()> {
        let mut slots = [0u32; TOTAL as usize];
        for (symbol, frequency) in self.frequencies.iter().enumerate() {
            let frequency = u32::from(*frequency);
            let start = usize::from(self.starts[symbol]);
            let slots = &mut slots[start..start + frequency as usize];
            for (offset, slot) in slots.iter_mut().enumerate() {
                *slot = symbol as u32 | (frequency - 1) << 8 | (offset as u32) << 20;
            }
        }
        let (head, mut words) = stream.split_at_checked(4 * STATES)?;
        let mut states = [0u32; STATES];
        for (state, bytes) in states.iter_mut().zip(head.chunks_exact(4)) {
            *state = u32::from_le_bytes(bytes.try_into().ok()?);
        }
        let start = out.len();
        out.resize(start + count, 0);
        let (turns, rest) = out[start..].as_chunks_mut::<STATES>();
        for turn in turns {
            // All words that a turn can take, if they are there: one check for all.
            if let Some(ahead) = words.first_chunk::<{ 2 * STATES }>() {
                let mut taken = 0;
                for (symbol, state) in turn.iter_mut().zip(&mut states) {
                    *symbol = step(state, &slots);
                    if *state < LOW {
                        let word = u16::from_le_bytes([ahead[taken & 7], ahead[taken & 7 | 1]]);
                        *state = *state << 16 | u32::from(word);
                        taken += 2;
                    }
                }
                words = &words[taken..];
            } else {
                for (symbol, state) in turn.iter_mut().zip(&mut states) {
                    *symbol = step(state, &slots);
                    refill(state, &mut words)?;
                }
            }
        }
        for (symbol, state) in rest.iter_mut().zip(&mut states) {
            *symbol = step(state, &slots);
            refill(state, &mut words)?;
        }
        (words.is_empty() && states == [LOW; STATES]).then_some(())
    }
}

/// Takes a symbol off a state.
#[inline]
fn step(state: &mut u32, slots: &[u32; TOTAL as usize]) -> u8 {
    let slot = slots[(*state % TOTAL) as usize];
    let frequency = (slot >> 8 & (TOTAL - 1)) + 1;
    *state = frequency
        .wrapping_mul(*state >> BITS)
        .wrapping_add(slot >> 20);
    slot as u8
}

fn refill(state: &mut u32, words: &mut &[u8]) -> Option<()> {
    if *state < LOW {
        let (word, rest) = words.split_first_chunk::<2>()?;
        *state = *state << 16 | u32::from(u16::from_le_bytes(*word));
        *words = rest;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn symbols_come_back_in_their_entropy(
            symbols in prop::collection::vec(prop_oneof![8 => Just(7u8), 4 => 0u8..4, 1 => any::<u8>()], 1..3000),
            flip in any::<(prop::sample::Index, u8)>(),
        ) {
            let mut counts = [0; 256];
            count(&symbols, &mut counts);
            let table = Table::of(&counts);
            let mut head = Vec::new();
            table.put(&mut head);
            let mut reader = Reader::new("here", &head);
            let read = Table::read(&mut reader).unwrap();
            prop_assert!(reader.is_empty());
            prop_assert_eq!(&read.frequencies, &table.frequencies);
            let mut stream = Vec::new();
            table.encode(&symbols, &mut stream);
            let ideal = bits(&counts) / 8.0;
            prop_assert!((stream.len() as f64) < ideal * 1.05 + 24.0, "{} of {ideal}", stream.len());
            let mut found = vec![1];
            prop_assert!(read.decode(&stream, symbols.len(), &mut found).is_some());
            prop_assert_eq!(&found[1..], &symbols[..]);
            let at = flip.0.index(stream.len());
            stream[at] ^= flip.1;
            read.decode(&stream, symbols.len(), &mut found);
            let at = flip.0.index(head.len());
            head[at] ^= flip.1;
            if let Ok(table) = Table::read(&mut Reader::new("here", &head)) {
                table.decode(&stream, symbols.len(), &mut found);
            }
            read.decode(&stream[..flip.0.index(stream.len())], symbols.len(), &mut found);
        }
    }
}
