//! A column of variables: the values of one place of a template, row by row.
//!
//! Each column has the cheapest of several forms; numbers become integers, identifiers in
//! hexadecimal become bytes, few distinct values a dictionary. What describes the column (its
//! form, and the bounds of numbers) stands apart from its data, so that a reader can rule a column
//! out without decompressing it. `docs/formats/log-lines.md`.
//! Invariant: the bytes of every value come back.

use hashbrown::HashTable;
use obs_storage::Corrupt;
use obs_storage::codec::{Reader, dense, ints, put_bytes, varint};
use xxhash_rust::xxh3::xxh3_64;

use super::split::{UUID_BYTES, is_uuid};

const CONSTANT: u8 = 0;
const NUMBERS: u8 = 1;
const PADDED: u8 = 2;
const HEX: u8 = 3;
const UUIDS: u8 = 4;
const ADDRESSES: u8 = 5;
const DICTIONARY: u8 = 6;
const PLAIN: u8 = 7;

/// Most digits of a number that is kept as an integer, if it fits into 63 bits.
const DIGITS_MAX: usize = 19;
/// Most bytes of an identifier in hexadecimal.
const HEX_BYTES_MAX: usize = 128;
/// Bytes of a UUID.
const UUID_RAW_BYTES: usize = 16;

/// What is known of a column without its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// All rows have this value.
    Constant(Vec<u8>),
    /// Decimal numbers without leading zeros, from the first to the second.
    Numbers { min: i64, max: i64 },
    /// Decimal numbers of so many digits.
    Padded { digits: usize, min: i64, max: i64 },
    /// Lower-case hexadecimal of so many digits.
    Hex { digits: usize },
    /// UUIDs in lower case.
    Uuids,
    /// IPv4 addresses.
    Addresses,
    /// Few distinct values, of at most so many bytes.
    Dictionary { longest: usize },
    /// One value behind the other, of at most so many bytes.
    Plain { longest: usize },
}

/// Appends a column's form to `head` and its data to `data`, and tells the values: each one that is
/// stored, so that few distinct ones are told once.
pub(crate) fn encode(
    values: &[&[u8]],
    head: &mut Vec<u8>,
    data: &mut Vec<u8>,
    tell: &mut dyn FnMut(&[u8]),
) {
    let Some(first) = values.first() else {
        return;
    };
    if values.iter().all(|v| v == first) {
        head.push(CONSTANT);
        put_bytes(first, head);
        tell(first);
        return;
    }
    let digit = |value: &&[u8]| value.first().is_some_and(u8::is_ascii_digit);
    let numbers = values.iter().all(digit) && encode_numbers(values, head, data);
    if numbers || encode_identifiers(values, head, data) {
        values.iter().for_each(|value| tell(value));
        return;
    }
    if let Some(distinct) = Dictionary::of(values) {
        distinct.encode(head, data);
        distinct.values.iter().for_each(|value| tell(value));
        return;
    }
    head.push(PLAIN);
    put_longest(values, head);
    put_plain(values, data);
    values.iter().for_each(|value| tell(value));
}

fn put_longest(values: &[&[u8]], head: &mut Vec<u8>) {
    let longest = values.iter().map(|v| v.len()).max();
    varint::put(longest.unwrap_or(0) as u64, head);
}

fn encode_numbers(values: &[&[u8]], head: &mut Vec<u8>, data: &mut Vec<u8>) -> bool {
    let digits = values[0].len();
    let padded = values.iter().all(|v| v.len() == digits) && digits <= DIGITS_MAX;
    let canonical = |v: &&[u8]| v.len() <= DIGITS_MAX && (v[0] != b'0' || v.len() == 1);
    let plain = values.iter().all(canonical);
    if !plain && !padded {
        return encode_addresses(values, head, data);
    }
    let mut numbers = Vec::with_capacity(values.len());
    for value in values {
        match number(value) {
            Some(number) => numbers.push(number),
            None => return encode_addresses(values, head, data),
        }
    }
    let min = numbers.iter().min().copied().unwrap_or(0);
    let max = numbers.iter().max().copied().unwrap_or(0);
    if plain {
        head.push(NUMBERS);
    } else {
        head.push(PADDED);
        varint::put(digits as u64, head);
    }
    varint::put_signed(min, head);
    varint::put_signed(max, head);
    dense::encode(&numbers, data);
    true
}

/// The value of decimal digits, if it fits.
pub(crate) fn number(digits: &[u8]) -> Option<i64> {
    if digits.len() > DIGITS_MAX || digits.is_empty() {
        return None;
    }
    let mut value = 0i64;
    for byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        let digit = i64::from(byte - b'0');
        value = value.checked_mul(10)?.checked_add(digit)?;
    }
    Some(value)
}

fn encode_addresses(values: &[&[u8]], head: &mut Vec<u8>, data: &mut Vec<u8>) -> bool {
    let mut addresses = Vec::with_capacity(values.len());
    for value in values {
        match address(value) {
            Some(address) => addresses.push(address),
            None => return false,
        }
    }
    if encode_dictionary(values, head, data) {
        return true;
    }
    head.push(ADDRESSES);
    for address in addresses {
        data.extend_from_slice(&address);
    }
    true
}

/// The bytes of a dotted address without leading zeros.
fn address(text: &[u8]) -> Option<[u8; 4]> {
    let mut address = [0; 4];
    let mut numbers = text.split(|b| *b == b'.');
    for byte in &mut address {
        let digits = numbers.next()?;
        if digits.len() > 1 && digits[0] == b'0' {
            return None;
        }
        *byte = u8::try_from(number(digits)?).ok()?;
    }
    numbers.next().is_none().then_some(address)
}

fn encode_identifiers(values: &[&[u8]], head: &mut Vec<u8>, data: &mut Vec<u8>) -> bool {
    let digits = values[0].len();
    if digits == UUID_BYTES && values.iter().all(|v| is_uuid(v)) {
        if encode_dictionary(values, head, data) {
            return true;
        }
        head.push(UUIDS);
        for value in values {
            put_hex(value, data);
        }
        return true;
    }
    let hex = |value: &&[u8]| {
        let hex = value.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        value.len() == digits && hex
    };
    if digits % 2 == 1 || digits == 0 || digits > 2 * HEX_BYTES_MAX || !values.iter().all(hex) {
        return false;
    }
    if encode_dictionary(values, head, data) {
        return true;
    }
    head.push(HEX);
    varint::put(digits as u64, head);
    for value in values {
        put_hex(value, data);
    }
    true
}

/// Appends the bytes that hexadecimal digits stand for, leaving out dashes.
pub(crate) fn put_hex(text: &[u8], out: &mut Vec<u8>) {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit - b'a' + 10,
    };
    let mut high = None;
    for &digit in text.iter().filter(|b| **b != b'-') {
        match high.take() {
            None => high = Some(value(digit)),
            Some(high) => out.push(high << 4 | value(digit)),
        }
    }
}

/// A dictionary, unless too many values differ.
fn encode_dictionary(values: &[&[u8]], head: &mut Vec<u8>, data: &mut Vec<u8>) -> bool {
    let dictionary = Dictionary::of(values);
    if let Some(dictionary) = &dictionary {
        dictionary.encode(head, data);
    }
    dictionary.is_some()
}

/// Distinct values, and which one each row has.
struct Dictionary<'v> {
    values: Vec<&'v [u8]>,
    indexes: Vec<u16>,
}

impl<'v> Dictionary<'v> {
    /// `None` when more than half of the values differ.
    fn of(values: &[&'v [u8]]) -> Option<Self> {
        let distinct_max = (values.len() / 2).min(usize::from(u16::MAX));
        let mut seen: HashTable<(u64, u16)> = HashTable::new();
        let mut distinct: Vec<&[u8]> = Vec::new();
        let mut indexes: Vec<u16> = Vec::with_capacity(values.len());
        let mut last: Option<(&[u8], u16)> = None;
        for value in values {
            if let Some((_, index)) = last.filter(|(before, _)| before == value) {
                indexes.push(index);
                continue;
            }
            let hash = xxh3_64(value);
            let same =
                |(known, at): &(u64, u16)| *known == hash && distinct[usize::from(*at)] == *value;
            let index = match seen.find(hash, same) {
                Some((_, index)) => *index,
                None if distinct.len() == distinct_max => return None,
                None => {
                    // `distinct_max` bounds the number.
                    let index = distinct.len() as u16;
                    seen.insert_unique(hash, (hash, index), |(hash, _)| *hash);
                    distinct.push(value);
                    index
                }
            };
            indexes.push(index);
            last = Some((value, index));
        }
        Some(Self {
            values: distinct,
            indexes,
        })
    }

    fn encode(&self, head: &mut Vec<u8>, data: &mut Vec<u8>) {
        head.push(DICTIONARY);
        put_longest(&self.values, head);
        varint::put(self.values.len() as u64, data);
        put_plain(&self.values, data);
        put_numbers_below(self.values.len(), &self.indexes, data);
    }
}

/// Appends small numbers, one or two bytes each.
pub(crate) fn put_numbers_below(bound: usize, numbers: &[u16], out: &mut Vec<u8>) {
    if bound <= 1 << 8 {
        out.extend(numbers.iter().map(|n| *n as u8));
    } else {
        out.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
    }
}

/// Reads what [`put_numbers_below`] wrote.
pub(crate) fn read_numbers_below(
    reader: &mut Reader<'_>,
    bound: usize,
    count: usize,
) -> Result<Vec<u16>, Corrupt> {
    let numbers: Vec<u16> = if bound <= 1 << 8 {
        reader.slice(count)?.iter().map(|n| u16::from(*n)).collect()
    } else {
        let bytes = reader.slice(count.saturating_mul(2))?;
        let pairs = bytes.chunks_exact(2);
        pairs.map(|b| u16::from_le_bytes([b[0], b[1]])).collect()
    };
    if numbers.iter().any(|n| usize::from(*n) >= bound) {
        return Err(reader.corrupt(format!("numbers below {bound}")));
    }
    Ok(numbers)
}

fn put_plain(values: &[&[u8]], out: &mut Vec<u8>) {
    let lengths: Vec<i64> = values.iter().map(|v| v.len() as i64).collect();
    ints::encode_aligned(&lengths, out);
    for value in values {
        out.extend_from_slice(value);
    }
}

impl Form {
    /// Whether the data of such a column cannot be made smaller.
    pub(crate) fn is_dense(head: &[u8], data: &[u8]) -> bool {
        match head.first() {
            Some(&(HEX | UUIDS)) => true,
            Some(&(NUMBERS | PADDED)) => dense::is_dense(data),
            _ => false,
        }
    }

    /// Reads a form.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Corrupt> {
        Ok(match reader.u8()? {
            CONSTANT => Self::Constant(reader.bytes(reader.remaining())?.to_vec()),
            NUMBERS => Self::Numbers {
                min: reader.signed()?,
                max: reader.signed()?,
            },
            PADDED => Self::Padded {
                digits: reader.count(DIGITS_MAX)?,
                min: reader.signed()?,
                max: reader.signed()?,
            },
            HEX => {
                let digits = reader.count(2 * HEX_BYTES_MAX)?;
                if digits == 0 || digits % 2 == 1 {
                    return Err(reader.corrupt(format!("pairs of digits, found {digits} digits")));
                }
                Self::Hex { digits }
            }
            UUIDS => Self::Uuids,
            ADDRESSES => Self::Addresses,
            DICTIONARY => Self::Dictionary {
                longest: reader.count(usize::MAX)?,
            },
            PLAIN => Self::Plain {
                longest: reader.count(usize::MAX)?,
            },
            form => return Err(reader.corrupt(format!("the form of a column, found {form}"))),
        })
    }
}

/// The values of a column.
#[derive(Debug)]
pub(crate) enum Variables {
    Constant(Vec<u8>),
    /// With the digits that all have, 0 where there are no leading zeros.
    Numbers(Vec<i64>, usize),
    /// Bytes as hexadecimal, so many bytes each.
    Hex(Vec<u8>, usize),
    Uuids(Vec<u8>),
    Addresses(Vec<u8>),
    /// Distinct values, and which one each row has.
    Dictionary(Values, Vec<u16>),
    Plain(Values),
}

/// Values one behind the other.
#[derive(Debug)]
pub(crate) struct Values {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Values {
    fn read(reader: &mut Reader<'_>, count: usize) -> Result<Self, Corrupt> {
        let lengths = ints::decode(reader, count)?;
        if lengths.len() != count {
            return Err(reader.corrupt(format!("{count} lengths")));
        }
        let mut ends = Vec::with_capacity(count);
        let mut end = 0u64;
        for length in lengths {
            end = end.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
            ends.push(u32::try_from(end).unwrap_or(u32::MAX));
        }
        let bytes = usize::try_from(end).unwrap_or(usize::MAX);
        let bytes = reader.slice(bytes)?.to_vec();
        if u32::try_from(bytes.len()).is_err() {
            return Err(reader.corrupt("at most 4 GiB of values"));
        }
        Ok(Self { bytes, ends })
    }

    pub(crate) fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start as usize..self.ends[index] as usize]
    }

    /// Where a value ends among all bytes.
    pub(crate) fn end(&self, index: usize) -> usize {
        self.ends[index] as usize
    }

    /// Number of values.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// All values, one behind the other.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The value that has the byte at `offset`.
    pub(crate) fn at(&self, offset: usize) -> usize {
        self.ends.partition_point(|end| (*end as usize) <= offset)
    }
}

impl Variables {
    /// Reads the data of a column of so many rows.
    pub(crate) fn read(form: &Form, reader: &mut Reader<'_>, rows: usize) -> Result<Self, Corrupt> {
        let slice = |reader: &mut Reader<'_>, bytes: usize| {
            let length = rows.saturating_mul(bytes);
            reader.slice(length).map(<[u8]>::to_vec)
        };
        Ok(match form {
            Form::Constant(value) => Self::Constant(value.clone()),
            Form::Numbers { min, max } => Self::Numbers(numbers(reader, rows, *min, *max)?, 0),
            Form::Padded { digits, min, max } => {
                Self::Numbers(numbers(reader, rows, *min, *max)?, *digits)
            }
            Form::Hex { digits } => Self::Hex(slice(reader, digits / 2)?, digits / 2),
            Form::Uuids => Self::Uuids(slice(reader, UUID_RAW_BYTES)?),
            Form::Addresses => Self::Addresses(slice(reader, 4)?),
            Form::Dictionary { .. } => {
                let count = reader.count(rows)?;
                let values = Values::read(reader, count)?;
                let indexes = read_numbers_below(reader, count, rows)?;
                Self::Dictionary(values, indexes)
            }
            Form::Plain { .. } => Self::Plain(Values::read(reader, rows)?),
        })
    }

    /// Appends the value of a row.
    pub(crate) fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::Constant(value) => out.extend_from_slice(value),
            Self::Numbers(numbers, digits) => put_decimal(numbers[row], *digits, out),
            Self::Hex(bytes, length) => {
                put_hex_text(&bytes[row * length..(row + 1) * length], out);
            }
            Self::Uuids(bytes) => {
                let bytes = &bytes[row * UUID_RAW_BYTES..(row + 1) * UUID_RAW_BYTES];
                for (at, byte) in bytes.iter().enumerate() {
                    if matches!(at, 4 | 6 | 8 | 10) {
                        out.push(b'-');
                    }
                    put_hex_digits(*byte, out);
                }
            }
            Self::Addresses(bytes) => {
                for (at, byte) in bytes[row * 4..(row + 1) * 4].iter().enumerate() {
                    if at > 0 {
                        out.push(b'.');
                    }
                    put_decimal(i64::from(*byte), 0, out);
                }
            }
            Self::Dictionary(values, indexes) => {
                out.extend_from_slice(values.get(usize::from(indexes[row])));
            }
            Self::Plain(values) => out.extend_from_slice(values.get(row)),
        }
    }

    /// Whether the value of a row is this one.
    pub(crate) fn is(&self, row: usize, value: &[u8], scratch: &mut Vec<u8>) -> bool {
        match self {
            Self::Constant(only) => only == value,
            Self::Dictionary(values, indexes) => values.get(usize::from(indexes[row])) == value,
            Self::Plain(values) => values.get(row) == value,
            _ => {
                scratch.clear();
                self.write(row, scratch);
                scratch == value
            }
        }
    }

    /// How many values are stored once; `None` where each row has its own.
    pub(crate) fn stored(&self) -> Option<usize> {
        match self {
            Self::Constant(_) => Some(1),
            Self::Dictionary(values, _) => Some(values.len()),
            _ => None,
        }
    }

    /// Which of them a row has.
    pub(crate) fn stored_index(&self, row: usize) -> usize {
        match self {
            Self::Dictionary(_, indexes) => usize::from(indexes[row]),
            _ => 0,
        }
    }

    /// Whether the values are at most so many words without a digit.
    pub(crate) fn are_words(&self, max: usize) -> bool {
        let Self::Dictionary(values, _) = self else {
            return false;
        };
        values.len() <= max && !values.bytes().iter().any(u8::is_ascii_digit)
    }

    /// Bytes of memory held.
    pub(crate) fn bytes(&self) -> usize {
        let values = |values: &Values| values.bytes.len() + 4 * values.ends.len();
        match self {
            Self::Constant(value) => value.len(),
            Self::Numbers(numbers, _) => 8 * numbers.len(),
            Self::Hex(bytes, _) | Self::Uuids(bytes) | Self::Addresses(bytes) => bytes.len(),
            Self::Dictionary(distinct, indexes) => values(distinct) + 2 * indexes.len(),
            Self::Plain(all) => values(all),
        }
    }
}

fn numbers(reader: &mut Reader<'_>, rows: usize, min: i64, max: i64) -> Result<Vec<i64>, Corrupt> {
    let numbers = dense::decode(reader, rows)?;
    let inside = numbers.iter().all(|n| (min..=max).contains(n));
    if min < 0 || !inside {
        return Err(reader.corrupt(format!("{rows} numbers from {min} to {max}")));
    }
    Ok(numbers)
}

/// Appends a number that is not negative, padded with zeros to so many digits.
fn put_decimal(number: i64, digits: usize, out: &mut Vec<u8>) {
    let mut text = [b'0'; 20];
    let mut at = text.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        // A remainder of a division by ten is a digit.
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let start = at.min(text.len() - digits.min(text.len()));
    out.extend_from_slice(&text[start..]);
}

/// Appends bytes as hexadecimal digits.
pub(crate) fn put_hex_text(bytes: &[u8], out: &mut Vec<u8>) {
    bytes.iter().for_each(|byte| put_hex_digits(*byte, out));
}

fn put_hex_digits(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(DIGITS[usize::from(byte >> 4)]);
    out.push(DIGITS[usize::from(byte & 15)]);
}
