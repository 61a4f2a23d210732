//! Columns of byte strings: one behind the other, or as a dictionary and indexes, whichever is
//! smaller; the bytes themselves compressed with zstd unless the caller compresses later.
//!
//! Layout: tag (0 = plain, 1 = dictionary, 2 = hexadecimal). Plain: a column of lengths, a run of
//! bytes (see `bytes`). Dictionary: a plain column of the distinct values in order of first use,
//! then a column of indexes. Hexadecimal: varint count, varint digits of each value, then for each
//! the bytes that its lower-case digits stand for. Invariants: values come back byte for byte; the bytes of the distinct values
//! are within the caller's limit, repeats cost an index each.

use std::collections::HashMap;

use super::{Reader, bytes, ints, varint};
use crate::error::Corrupt;

const PLAIN: u8 = 0;
const DICTIONARY: u8 = 1;
const HEX: u8 = 2;
/// Most digits of a value that is kept as the bytes that they stand for.
const HEX_DIGITS_MAX: usize = 256;
/// Largest total of one column's bytes: offsets are 32 bits wide.
pub const BYTES_MAX: usize = u32::MAX as usize;

/// A decoded column. Values are slices of one allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strings {
    bytes: Vec<u8>,
    spans: Spans,
}

/// A decoded column whose values are all UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    text: String,
    spans: Spans,
}

/// Where the values stand. `indexes` is there exactly for dictionary columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Spans {
    ends: Vec<u32>,
    indexes: Option<Vec<u32>>,
}

impl Spans {
    fn len(&self) -> usize {
        self.indexes.as_ref().map_or(self.ends.len(), Vec::len)
    }

    fn distinct(&self, row: usize) -> usize {
        self.indexes.as_ref().map_or(row, |all| all[row] as usize)
    }

    fn span(&self, distinct: usize) -> std::ops::Range<usize> {
        let start = distinct.checked_sub(1).map_or(0, |d| self.ends[d]);
        start as usize..self.ends[distinct] as usize
    }
}

impl Strings {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a row. Panics like a slice when there is no such row.
    pub fn get(&self, row: usize) -> &[u8] {
        &self.bytes[self.spans.span(self.spans.distinct(row))]
    }

    /// The stored values one behind the other, where each ends, and which one each row has; `None`
    /// where each row has its own.
    pub fn into_parts(self) -> (Vec<u8>, Vec<u32>, Option<Vec<u32>>) {
        (self.bytes, self.spans.ends, self.spans.indexes)
    }

    /// The values in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|row| self.get(row))
    }

    /// Number of values that are stored: of a plain column all, of a dictionary the distinct.
    pub fn stored_len(&self) -> usize {
        self.spans.ends.len()
    }

    /// Which stored value a row has: equal numbers, equal values.
    pub fn stored_index(&self, row: usize) -> usize {
        self.spans.distinct(row)
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        let indexes = self.spans.indexes.as_ref().map_or(0, Vec::len);
        self.bytes.len() + 4 * (self.spans.ends.len() + indexes)
    }
}

impl Texts {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a row. Panics like a slice when there is no such row.
    pub fn get(&self, row: usize) -> &str {
        &self.text[self.spans.span(self.spans.distinct(row))]
    }

    /// The same as bytes.
    pub fn into_strings(self) -> Strings {
        Strings {
            bytes: self.text.into_bytes(),
            spans: self.spans,
        }
    }

    /// The values in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|row| self.get(row))
    }

    /// Number of values that are stored: of a plain column all, of a dictionary the distinct.
    pub fn stored_len(&self) -> usize {
        self.spans.ends.len()
    }

    /// A stored value, by the number that [`Texts::stored_index`] gives.
    pub fn stored(&self, index: usize) -> &str {
        &self.text[self.spans.span(index)]
    }

    /// Which stored value a row has: equal numbers, equal values.
    pub fn stored_index(&self, row: usize) -> usize {
        self.spans.distinct(row)
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        let indexes = self.spans.indexes.as_ref().map_or(0, Vec::len);
        self.text.len() + 4 * (self.spans.ends.len() + indexes)
    }
}

/// Appends a column, its bytes compressed.
pub fn encode<T: AsRef<[u8]>>(values: &[T], out: &mut Vec<u8>) {
    write(values, Some(bytes::LEVEL), out);
}

/// Appends a column that is not compressed: for columns that are compressed together afterwards.
pub fn encode_open<T: AsRef<[u8]>>(values: &[T], out: &mut Vec<u8>) {
    write(values, None, out);
}

/// Appends a column that is not compressed, given its distinct values in order of first use and
/// which one each row has: as a dictionary unless nearly all values differ. The indexes keep to
/// byte borders, so that what compresses the column sees where they repeat.
pub fn encode_coded(stored: &[&[u8]], codes: &[u32], out: &mut Vec<u8>) {
    if stored.len() > distinct_max(codes.len()) {
        if let Some(digits) = hex_digits(stored) {
            out.push(HEX);
            varint::put(codes.len() as u64, out);
            varint::put(digits as u64, out);
            codes.iter().for_each(|c| put_hex(stored[*c as usize], out));
            return;
        }
        out.push(PLAIN);
        let all: Vec<&[u8]> = codes.iter().map(|c| stored[*c as usize]).collect();
        write_plain(&all, None, out);
        return;
    }
    out.push(DICTIONARY);
    write_plain(stored, None, out);
    let indexes: Vec<i64> = codes.iter().map(|c| i64::from(*c)).collect();
    ints::encode_aligned(&indexes, out);
}

/// How many lower-case hexadecimal digits all values have, if they are whole bytes.
fn hex_digits(values: &[&[u8]]) -> Option<usize> {
    let digits = values.first()?.len();
    let hex = |value: &&[u8]| {
        let mut bytes = value.iter();
        value.len() == digits && bytes.all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let fits = digits > 0 && digits % 2 == 0 && digits <= HEX_DIGITS_MAX;
    (fits && values.iter().all(hex)).then_some(digits)
}

/// Appends the bytes that digits stand for.
fn put_hex(digits: &[u8], out: &mut Vec<u8>) {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit - b'a' + 10,
    };
    let pairs = digits.chunks_exact(2);
    out.extend(pairs.map(|pair| value(pair[0]) << 4 | value(pair[1])));
}

/// The digits and where each value of them ends; the stored bytes are within the limit.
fn read_hex(
    reader: &mut Reader<'_>,
    count_max: usize,
    bytes_max: usize,
) -> Result<(Vec<u8>, Vec<u32>), Corrupt> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let count = reader.count(count_max)?;
    let place = reader.clone();
    let digits = reader.count(HEX_DIGITS_MAX)?;
    let stored = (digits / 2).saturating_mul(count);
    if digits == 0 || digits % 2 != 0 || stored > bytes_max.min(BYTES_MAX / 2) {
        return Err(place.corrupt("an even number of digits, and values within the limit"));
    }
    let mut bytes = Vec::new();
    for byte in reader.slice(stored)? {
        bytes.push(DIGITS[usize::from(byte >> 4)]);
        bytes.push(DIGITS[usize::from(byte & 15)]);
    }
    let ends = (1..=count).map(|n| (n * digits) as u32).collect();
    Ok((bytes, ends))
}

/// Reads a column of at most `count_max` values with at most `bytes_max` bytes of distinct values.
pub fn decode(
    reader: &mut Reader<'_>,
    count_max: usize,
    bytes_max: usize,
) -> Result<Strings, Corrupt> {
    let tag = reader.u8()?;
    if tag == HEX {
        let (bytes, ends) = read_hex(reader, count_max, bytes_max)?;
        let spans = Spans {
            ends,
            indexes: None,
        };
        return Ok(Strings { bytes, spans });
    }
    if tag != PLAIN && tag != DICTIONARY {
        return Err(reader.corrupt(format!("the tag of a column of strings, found {tag}")));
    }
    let (bytes, ends) = read_plain(reader, count_max, bytes_max.min(BYTES_MAX))?;
    let indexes = match tag {
        DICTIONARY => Some(read_indexes(reader, count_max, ends.len())?),
        _ => None,
    };
    let spans = Spans { ends, indexes };
    Ok(Strings { bytes, spans })
}

/// As [`decode`], for columns that must be UTF-8.
pub fn decode_texts(
    reader: &mut Reader<'_>,
    count_max: usize,
    bytes_max: usize,
) -> Result<Texts, Corrupt> {
    let place = reader.clone();
    let Strings { bytes, spans } = decode(reader, count_max, bytes_max)?;
    let text = String::from_utf8(bytes).map_err(|_| place.corrupt("a column of UTF-8"))?;
    let cut = |end: &u32| !text.is_char_boundary(*end as usize);
    if spans.ends.iter().any(cut) {
        return Err(place.corrupt("values of UTF-8"));
    }
    Ok(Texts { text, spans })
}

fn write<T: AsRef<[u8]>>(values: &[T], level: Option<i32>, out: &mut Vec<u8>) {
    let start = out.len();
    let found = distinct(values);
    // Where at least a quarter repeats, a dictionary may win; both are tried.
    if let Some((dictionary, indexes)) = &found {
        out.push(DICTIONARY);
        write_plain(dictionary, level, out);
        ints::encode(indexes, out);
        if dictionary.len() * 8 <= values.len() {
            return;
        }
    }
    let middle = out.len();
    out.push(PLAIN);
    let all: Vec<&[u8]> = values.iter().map(AsRef::as_ref).collect();
    write_plain(&all, level, out);
    if found.is_some() {
        if out.len() - middle < middle - start {
            out.drain(start..middle);
        } else {
            out.truncate(middle);
        }
    }
}

/// More distinct values of so many rows are not worth a dictionary.
fn distinct_max(rows: usize) -> usize {
    rows - rows / 4
}

/// The distinct values and each row's index, unless nearly all values differ.
fn distinct<T: AsRef<[u8]>>(values: &[T]) -> Option<(Vec<&[u8]>, Vec<i64>)> {
    let distinct_max = distinct_max(values.len());
    let mut seen: HashMap<&[u8], i64> = HashMap::new();
    let mut dictionary: Vec<&[u8]> = Vec::new();
    let mut indexes = Vec::with_capacity(values.len());
    for value in values {
        let value = value.as_ref();
        let next = dictionary.len() as i64;
        let index = *seen.entry(value).or_insert(next);
        if index == next {
            if dictionary.len() >= distinct_max {
                return None;
            }
            dictionary.push(value);
        }
        indexes.push(index);
    }
    Some((dictionary, indexes))
}

fn write_plain(values: &[&[u8]], level: Option<i32>, out: &mut Vec<u8>) {
    let lengths: Vec<i64> = values.iter().map(|v| v.len() as i64).collect();
    let all = values.concat();
    assert!(all.len() <= BYTES_MAX, "a column has at most 4 GiB");
    match level {
        Some(level) => {
            ints::encode(&lengths, out);
            bytes::encode(&all, level, out);
        }
        None => {
            ints::encode_aligned(&lengths, out);
            bytes::encode_raw(&all, out);
        }
    }
}

fn read_plain(
    reader: &mut Reader<'_>,
    count_max: usize,
    bytes_max: usize,
) -> Result<(Vec<u8>, Vec<u32>), Corrupt> {
    let place = reader.clone();
    let lengths = ints::decode(reader, count_max)?;
    let all = bytes::decode(reader, bytes_max)?;
    let mut end = 0u64;
    let mut ends = Vec::with_capacity(lengths.len());
    for length in lengths {
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        end = end.saturating_add(length);
        if end > all.len() as u64 {
            break;
        }
        // `bytes_max` is at most BYTES_MAX, so an end within the bytes fits.
        ends.push(end as u32);
    }
    if end != all.len() as u64 {
        return Err(place.corrupt(format!("lengths that sum to {} bytes", all.len())));
    }
    Ok((all, ends))
}

fn read_indexes(
    reader: &mut Reader<'_>,
    count_max: usize,
    stored: usize,
) -> Result<Vec<u32>, Corrupt> {
    let place = reader.clone();
    let indexes = ints::decode(reader, count_max)?;
    let checked = indexes.into_iter().map(|index| {
        let index = u32::try_from(index).ok()?;
        ((index as usize) < stored).then_some(index)
    });
    let checked: Option<Vec<u32>> = checked.collect();
    checked.ok_or_else(|| place.corrupt(format!("indexes into {stored} values")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The distinct values in order of first use, and which one each row has.
    fn coded(values: &[Vec<u8>]) -> (Vec<&[u8]>, Vec<u32>) {
        let mut stored: Vec<&[u8]> = Vec::new();
        let codes = values.iter().map(|value| {
            let known = stored.iter().position(|s| s == value);
            known.unwrap_or_else(|| {
                stored.push(value);
                stored.len() - 1
            }) as u32
        });
        let codes = codes.collect();
        (stored, codes)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn coded_columns_come_back(
            values in prop_oneof![
                prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 0..200),
                prop::collection::vec("[0-9a-f]{4}".prop_map(String::into_bytes), 0..200),
                prop::collection::vec("[a-c]{1,2}".prop_map(String::into_bytes), 0..200),
            ],
            flip in any::<(usize, u8)>(),
        ) {
            let (stored, codes) = coded(&values);
            let mut out = Vec::new();
            encode_coded(&stored, &codes, &mut out);
            let mut reader = Reader::new("here", &out);
            let bytes_max: usize = values.iter().map(Vec::len).sum();
            let back = decode(&mut reader, values.len(), bytes_max).unwrap();
            reader.finish().unwrap();
            prop_assert_eq!(back.iter().map(<[u8]>::to_vec).collect::<Vec<_>>(), values);
            let index = flip.0 % out.len();
            out[index] ^= flip.1;
            if let Ok(read) = decode(&mut Reader::new("here", &out), 200, 1 << 12) {
                prop_assert!(read.len() <= 200 && read.bytes() <= (1 << 13) + 8 * 200);
            }
        }
    }

    #[test]
    fn identifiers_take_half_their_digits() {
        let value = |n: u64| format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).into_bytes();
        let values: Vec<Vec<u8>> = (0..100).map(value).collect();
        let (stored, codes) = coded(&values);
        let mut out = Vec::new();
        encode_coded(&stored, &codes, &mut out);
        assert_eq!(out.len(), 3 + 8 * 100);
    }

    fn round_trip(values: &[Vec<u8>]) -> usize {
        let bytes_max = values.iter().map(Vec::len).sum();
        let mut sizes = Vec::new();
        for write in [encode::<Vec<u8>>, encode_open::<Vec<u8>>] {
            let mut out = Vec::new();
            write(values, &mut out);
            sizes.push(out.len());
            let mut reader = Reader::new("here", &out);
            let column = decode(&mut reader, values.len(), bytes_max).unwrap();
            assert!(reader.is_empty());
            assert_eq!(column.iter().collect::<Vec<_>>(), values);
            let texts = decode_texts(&mut Reader::new("here", &out), values.len(), bytes_max);
            let all_text = values.iter().all(|v| std::str::from_utf8(v).is_ok());
            assert_eq!(texts.is_ok(), all_text);
            if !values.is_empty() {
                let short = decode(&mut Reader::new("here", &out), values.len() - 1, bytes_max);
                assert!(short.is_err());
            }
        }
        sizes[0]
    }

    #[test]
    fn repeats_cost_an_index_and_constants_nothing() {
        let few: Vec<Vec<u8>> = (0..10_000)
            .map(|i| format!("value {}", i % 3).into())
            .collect();
        assert!(round_trip(&few) < 3000);
        assert!(round_trip(&vec![b"same".to_vec(); 10_000]) < 40);
        let all: Vec<Vec<u8>> = (0..1000).map(|i| format!("value {i}").into()).collect();
        assert!(round_trip(&all) < 4000);
        round_trip(&[]);
        round_trip(&[Vec::new()]);
        round_trip(&["ü".into(), "\u{10ffff}".into()]);
        round_trip(&[vec![0xc3], vec![0xbc]]);
    }

    #[test]
    fn equal_stored_indexes_are_equal_values() {
        let mut out = Vec::new();
        encode(&["a", "b", "a", "a", "a", "b", "a", "b"], &mut out);
        let column = decode_texts(&mut Reader::new("here", &out), 8, 8).unwrap();
        assert_eq!(column.stored_len(), 2);
        assert_eq!(column.stored(column.stored_index(5)), "b");
        assert_eq!(column.bytes(), 2 + 8 + 32);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn round_trips(
            distinct in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..20),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 0..200),
        ) {
            let values: Vec<Vec<u8>> = picks.iter().map(|p| p.get(&distinct).clone()).collect();
            round_trip(&values);
        }

        #[test]
        fn arbitrary_bytes_are_safe(mut bytes: Vec<u8>, tag in 0u8..3, flip in any::<(usize, u8)>()) {
            bytes.insert(0, tag);
            let check = |bytes: &[u8]| {
                if let Ok(column) = decode(&mut Reader::new("here", bytes), 100, 1000) {
                    assert!(column.len() <= 100 && column.bytes() <= 1000 + 800);
                    assert!(column.iter().all(|v| v.len() <= 1000));
                }
            };
            check(&bytes);
            let mut good = Vec::new();
            encode(&["a", "b", "a", "a", "long text", "a", "a"], &mut good);
            let index = flip.0 % good.len();
            good[index] ^= flip.1;
            check(&good);
        }
    }
}
