//! A group of rows: the unit that is compressed, read and held. It has the rows of one stream or
//! of several small ones; the index tells which rows are whose.
//!
//! Three columns stand one behind the other, each of known length: times, lines, structured
//! metadata. Metadata keys that many rows have are columns of their own; rare keys stay together
//! in a last column, so that hostile keys cannot multiply columns. `docs/formats/log-part.md`.
//! Invariant: what is decoded is what was pushed, byte for byte and in order.

use std::cell::RefCell;
use std::collections::HashMap;

use memchr::memmem::Finder;
use obs_model::Labels;
use obs_storage::Corrupt;
use obs_storage::codec::strings::{Strings, Texts};
use obs_storage::codec::{Reader, bytes, ints, put_bytes, strings, varint};

use crate::tokens::TokenSet;

/// A group ends once its lines and metadata reach this: zstd gains little from more, and a needle
/// reads no less than this. Small in tests, so that few rows make several groups.
const GROUP_BYTES: usize = if cfg!(test) { 512 } else { 1 << 20 };
/// Most rows of a group, whatever their size.
pub(crate) const GROUP_ROWS_MAX: usize = 1 << 16;
/// Most metadata keys with a column of their own in one group.
const COLUMNS_MAX: usize = 128;
/// A key gets a column when at least one row in so many has it.
const COLUMN_SHARE: usize = 32;
/// Bound on one decoded column; a group of one huge line is the largest.
const COLUMN_BYTES_MAX: usize = 1 << 31;
/// Most distinct metadata sets of a group that are remembered while it is read.
const REMEMBERED_MAX: usize = 4096;

/// Lengths of a group's columns in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ColumnLengths {
    pub(crate) times: usize,
    pub(crate) lines: usize,
    pub(crate) metadata: usize,
}

/// Rows that become a group.
pub(crate) struct GroupBuilder {
    times: Vec<i64>,
    lengths: Vec<i64>,
    lines: Vec<u8>,
    metadata: Vec<Labels>,
    metadata_bytes: usize,
    tokens: TokenSet,
    zstd: bytes::Encoder,
}

impl GroupBuilder {
    /// Compresses at this level.
    pub(crate) fn new(level: i32) -> Self {
        Self {
            times: Vec::new(),
            lengths: Vec::new(),
            lines: Vec::new(),
            metadata: Vec::new(),
            metadata_bytes: 0,
            tokens: TokenSet::default(),
            zstd: bytes::Encoder::new(level),
        }
    }

    /// Appends a row.
    pub(crate) fn push(&mut self, time: i64, line: &[u8], metadata: &Labels) {
        self.times.push(time);
        self.lengths.push(line.len() as i64);
        self.lines.extend_from_slice(line);
        self.metadata_bytes += metadata.packed().len();
        self.metadata.push(metadata.clone());
        self.tokens.add(line);
    }

    /// Whether the next row belongs into a new group.
    pub(crate) fn is_full(&self) -> bool {
        self.lines.len() + self.metadata_bytes >= GROUP_BYTES || self.times.len() >= GROUP_ROWS_MAX
    }

    /// Appends the columns to `out` and the token filter to `filter`, and starts anew.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>, filter: &mut Vec<u8>) -> ColumnLengths {
        let start = out.len();
        ints::encode(&self.times, out);
        let times_end = out.len();
        ints::encode(&self.lengths, out);
        self.zstd.encode(&self.lines, out);
        let lines_end = out.len();
        let metadata = encode_metadata(&self.metadata);
        self.zstd.encode(&metadata, out);
        self.tokens.finish(filter);
        self.times.clear();
        self.lengths.clear();
        self.lines.clear();
        self.metadata.clear();
        self.metadata_bytes = 0;
        ColumnLengths {
            times: times_end - start,
            lines: lines_end - times_end,
            metadata: out.len() - lines_end,
        }
    }
}

fn encode_metadata(rows: &[Labels]) -> Vec<u8> {
    let names = column_names(rows);
    let mut columns: Vec<Vec<&str>> = vec![vec![""; rows.len()]; names.len()];
    let mut rest: Vec<Labels> = Vec::new();
    for (row, labels) in rows.iter().enumerate() {
        let mut found = 0;
        for (name, value) in labels {
            if let Ok(column) = names.binary_search(&name) {
                columns[column][row] = value;
                found += 1;
            }
        }
        if found < labels.len() {
            rest.resize(row, Labels::empty());
            rest.push(labels.without(|name| names.binary_search(&name).is_ok()));
        }
    }
    let mut body = Vec::new();
    varint::put(names.len() as u64, &mut body);
    for (name, values) in names.iter().zip(&columns) {
        put_bytes(name.as_bytes(), &mut body);
        strings::encode_open(values, &mut body);
    }
    body.push(u8::from(!rest.is_empty()));
    if !rest.is_empty() {
        rest.resize(rows.len(), Labels::empty());
        let packed: Vec<&[u8]> = rest.iter().map(Labels::packed).collect();
        strings::encode_open(&packed, &mut body);
    }
    body
}

/// The keys that get a column, in order of name.
fn column_names(rows: &[Labels]) -> Vec<&str> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (name, _) in rows.iter().flatten() {
        *counts.entry(name).or_default() += 1;
    }
    let share = rows.len() / COLUMN_SHARE;
    let mut names: Vec<(usize, &str)> = counts
        .into_iter()
        .filter(|(_, count)| *count >= share)
        .map(|(name, count)| (count, name))
        .collect();
    names.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    names.truncate(COLUMNS_MAX);
    let mut names: Vec<&str> = names.into_iter().map(|(_, name)| name).collect();
    names.sort_unstable();
    names
}

/// A group that was read.
#[derive(Debug)]
pub(crate) struct DecodedGroup {
    pub(crate) times: Vec<i64>,
    ends: Vec<usize>,
    lines: Vec<u8>,
    metadata: Metadata,
}

impl DecodedGroup {
    /// Reads the columns of a group of `rows` rows. Stops with `None` when one of the needles is
    /// not in the lines: most groups of a rare needle end there.
    pub(crate) fn decode(
        place: &str,
        columns: &[u8],
        lengths: ColumnLengths,
        rows: usize,
        needles: &[Finder<'_>],
    ) -> Result<Option<Self>, Corrupt> {
        let mut reader = Reader::new(place, columns);
        let mut column = |length: usize| reader.slice(length).map(|c| Reader::new(place, c));
        let mut times_reader = column(lengths.times)?;
        let mut lines_reader = column(lengths.lines)?;
        let metadata_reader = column(lengths.metadata)?;

        let line_lengths = ints::decode(&mut lines_reader, rows)?;
        let lines = bytes::decode(&mut lines_reader, COLUMN_BYTES_MAX)?;
        if needles.iter().any(|needle| needle.find(&lines).is_none()) {
            return Ok(None);
        }
        let times = ints::decode(&mut times_reader, rows)?;
        let mut ends = Vec::with_capacity(line_lengths.len());
        let mut end = 0usize;
        for length in line_lengths {
            end = usize::try_from(length).map_or(usize::MAX, |l| end.saturating_add(l));
            ends.push(end);
        }
        let sorted = ends.is_sorted();
        if times.len() != rows || ends.len() != rows || end != lines.len() || !sorted {
            return Err(lines_reader.corrupt(format!("{rows} times and lines")));
        }
        times_reader.finish()?;
        lines_reader.finish()?;
        let metadata = Metadata::decode(metadata_reader, rows)?;
        Ok(Some(Self {
            times,
            ends,
            lines,
            metadata,
        }))
    }

    /// The bytes of a row's line.
    pub(crate) fn line(&self, row: usize) -> &[u8] {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.lines[start..self.ends[row]]
    }

    /// The structured metadata of a row.
    pub(crate) fn metadata(&self, row: usize) -> Result<Labels, Corrupt> {
        self.metadata.row(row)
    }

    /// Bytes of memory held.
    pub(crate) fn bytes(&self) -> usize {
        let rows = self.times.len() * (size_of::<i64>() + size_of::<usize>());
        let columns: usize = self.metadata.columns.iter().map(Texts::bytes).sum();
        rows + self.lines.len() + columns + self.metadata.rest.as_ref().map_or(0, Strings::bytes)
    }
}

#[derive(Debug)]
struct Metadata {
    place: String,
    names: Vec<String>,
    columns: Vec<Texts>,
    rest: Option<Strings>,
    /// Sets that were built before, by the numbers of their stored values; empty when there may
    /// be too many of them.
    built: RefCell<Vec<Option<Labels>>>,
}

impl Metadata {
    fn decode(mut outer: Reader<'_>, rows: usize) -> Result<Self, Corrupt> {
        let body = bytes::decode(&mut outer, COLUMN_BYTES_MAX)?;
        let place = outer.place().to_owned();
        outer.finish()?;
        let mut reader = Reader::new(&place, &body);
        let count = reader.count(COLUMNS_MAX)?;
        let mut names: Vec<String> = Vec::new();
        let mut columns = Vec::new();
        for _ in 0..count {
            let name = reader.text(reader.remaining())?.to_owned();
            if names.last().is_some_and(|last| *last >= name) {
                return Err(reader.corrupt("metadata keys in ascending order"));
            }
            names.push(name);
            columns.push(strings::decode_texts(&mut reader, rows, COLUMN_BYTES_MAX)?);
        }
        let rest = match reader.u8()? {
            0 => None,
            1 => Some(strings::decode(&mut reader, rows, COLUMN_BYTES_MAX)?),
            flag => return Err(reader.corrupt(format!("a flag, found {flag}"))),
        };
        let complete = columns.iter().all(|c| c.len() == rows)
            && rest.as_ref().is_none_or(|r| r.len() == rows);
        if !complete {
            return Err(reader.corrupt(format!("{rows} rows in every column")));
        }
        reader.finish()?;
        let sets = columns.iter().map(Texts::stored_len);
        let sets = sets.fold(1, usize::saturating_mul);
        let remember = rest.is_none() && sets <= REMEMBERED_MAX;
        Ok(Self {
            names,
            columns,
            rest,
            built: RefCell::new(vec![None; if remember { sets } else { 0 }]),
            place,
        })
    }

    fn row(&self, row: usize) -> Result<Labels, Corrupt> {
        let mut built = self.built.borrow_mut();
        if built.is_empty() {
            return self.build(row);
        }
        let index = self.columns.iter().fold(0, |index, column| {
            index * column.stored_len() + column.stored_index(row)
        });
        if let Some(labels) = &built[index] {
            return Ok(labels.clone());
        }
        let labels = self.build(row)?;
        built[index] = Some(labels.clone());
        Ok(labels)
    }

    fn build(&self, row: usize) -> Result<Labels, Corrupt> {
        let corrupt = |e: obs_model::labels::LabelsError| {
            Corrupt::new(
                self.place.as_str(),
                0,
                format!("metadata of row {row}: {e}"),
            )
        };
        let names = self.names.iter().map(String::as_str);
        let values = self.columns.iter().map(|column| column.get(row));
        let pairs = names.zip(values).filter(|(_, value)| !value.is_empty());
        let packed = self.rest.as_ref().map(|rest| rest.get(row));
        match packed.filter(|packed| !packed.is_empty()) {
            None => Labels::from_sorted(pairs).map_err(corrupt),
            Some(packed) => {
                let mut labels = Labels::from_packed(packed).map_err(corrupt)?.to_builder();
                for (name, value) in pairs {
                    labels.set(name, value);
                }
                Ok(labels.build())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::records;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn round_trips_and_survives_damage(
            records in prop::collection::vec(records(), 1..100),
            flip in any::<(usize, u8)>(),
        ) {
            let mut builder = GroupBuilder::new(bytes::LEVEL);
            for record in &records {
                builder.push(record.time.nanos(), &record.line, &record.metadata);
            }
            let (mut out, mut filter) = (Vec::new(), Vec::new());
            let lengths = builder.finish(&mut out, &mut filter);
            let group = DecodedGroup::decode("here", &out, lengths, records.len(), &[]);
            let group = group.unwrap().unwrap();
            for (row, record) in records.iter().enumerate() {
                assert_eq!(group.times[row], record.time.nanos());
                assert_eq!(group.line(row), record.line);
                assert_eq!(group.metadata(row), Ok(record.metadata.clone()));
            }
            let index = flip.0 % out.len();
            out[index] ^= flip.1;
            let damaged = DecodedGroup::decode("here", &out, lengths, records.len(), &[]);
            if let Ok(Some(group)) = damaged {
                for row in 0..records.len() {
                    assert!(group.line(row).len() <= group.bytes());
                    assert!(group.metadata(row).is_ok_and(|l| l.len() < 10) || flip.1 != 0);
                }
            }
        }
    }

    #[test]
    fn hostile_keys_share_one_column() {
        let mut builder = GroupBuilder::new(bytes::LEVEL);
        let sets: Vec<Labels> = (0..2000)
            .map(|row| Labels::from_pairs((0..20).map(|k| (format!("k{row}_{k}"), "v"))))
            .collect();
        for set in &sets {
            builder.push(0, b"", set);
        }
        let (mut out, mut filter) = (Vec::new(), Vec::new());
        let lengths = builder.finish(&mut out, &mut filter);
        let group = DecodedGroup::decode("here", &out, lengths, 2000, &[]);
        let group = group.unwrap().unwrap();
        assert!(group.metadata.columns.is_empty() && group.bytes() < 1 << 20);
        assert_eq!(group.metadata(1999), Ok(sets[1999].clone()));
    }
}
