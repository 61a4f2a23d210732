//! The structured metadata of a group: a column for each key that many rows have; rare keys stay
//! together in a last column, so that hostile keys cannot multiply columns.
//! `docs/formats/log-part.md`.
//! Invariant: what is decoded is what was encoded; an empty value is an absent one.

use std::cell::RefCell;
use std::collections::HashMap;

use hashbrown::HashTable;
use obs_model::Labels;
use obs_storage::Corrupt;
use obs_storage::codec::strings::Strings;
use obs_storage::codec::{Reader, bytes, put_bytes, strings, varint};

use crate::lines::variable::{self, Form, Variables};
use crate::tokens::GroupTokens;

/// Most keys with a column of their own in one group.
const COLUMNS_MAX: usize = 128;
/// A key gets a column when at least one row in so many has it.
const COLUMN_SHARE: usize = 32;
/// Bound on the decompressed columns; a group of one huge row is the largest.
const BYTES_MAX: usize = 1 << 31;
/// Most distinct sets of a group that are remembered while it is read.
const REMEMBERED_MAX: usize = 4096;

/// Sets of metadata, each once where rows share it, and which one each row has.
#[derive(Default)]
struct Sets<'r> {
    all: Vec<&'r Labels>,
    /// How many rows have each.
    rows: Vec<usize>,
    of_row: Vec<u32>,
}

impl<'r> Sets<'r> {
    fn new(rows: &'r [Labels]) -> Self {
        let mut sets = Self::default();
        let mut known: HashTable<u32> = HashTable::new();
        let address = |labels: &Labels| labels.packed().as_ptr().addr();
        let hash = |at: usize| (at as u64 >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for labels in rows {
            let own = address(labels);
            let same = |set: &u32| address(sets.all[*set as usize]) == own;
            let set = match known.find(hash(own), same) {
                Some(set) => *set,
                None => {
                    // A group has fewer rows than 2^32.
                    let set = sets.all.len() as u32;
                    sets.all.push(labels);
                    sets.rows.push(0);
                    let all = &sets.all;
                    known.insert_unique(hash(own), set, |set| hash(address(all[*set as usize])));
                    set
                }
            };
            sets.rows[set as usize] += 1;
            sets.of_row.push(set);
        }
        sets
    }
}

/// The columns of these rows; the tokens of their values are told.
pub(crate) fn encode_metadata(rows: &[Labels], tokens: &mut GroupTokens) -> Vec<u8> {
    let sets = Sets::new(rows);
    let names = column_names(&sets);
    // By set: the value of each column, and what is left.
    let mut values = vec![""; sets.all.len() * names.len()];
    let mut rest: Vec<Labels> = Vec::new();
    for (set, labels) in sets.all.iter().enumerate() {
        let mut rare = false;
        for (name, value) in *labels {
            match names.binary_search(&name) {
                Ok(column) => values[column * sets.all.len() + set] = value,
                Err(_) => rare = true,
            }
        }
        if rare {
            let left = labels.without(|name| names.binary_search(&name).is_ok());
            left.iter()
                .for_each(|(_, value)| tokens.add(value.as_bytes()));
            rest.resize(set, Labels::empty());
            rest.push(left);
        }
    }
    let mut body = Vec::new();
    varint::put(names.len() as u64, &mut body);
    let mut column = Vec::with_capacity(rows.len());
    for (nth, name) in names.iter().enumerate() {
        let values = &values[nth * sets.all.len()..(nth + 1) * sets.all.len()];
        column.clear();
        column.extend(sets.of_row.iter().map(|set| values[*set as usize]));
        put_bytes(name.as_bytes(), &mut body);
        put_column(&column, tokens, &mut body);
    }
    body.push(u8::from(!rest.is_empty()));
    if !rest.is_empty() {
        rest.resize(sets.all.len(), Labels::empty());
        let rest = sets.of_row.iter().map(|set| rest[*set as usize].packed());
        strings::encode_open(&rest.collect::<Vec<&[u8]>>(), &mut body);
    }
    body
}

fn put_column(values: &[&str], tokens: &mut GroupTokens, out: &mut Vec<u8>) {
    let present: Vec<&[u8]> = values
        .iter()
        .filter(|v| !v.is_empty())
        .map(|v| v.as_bytes())
        .collect();
    let partial = present.len() < values.len();
    out.push(u8::from(partial));
    if partial {
        for rows in values.chunks(8) {
            let bits = rows.iter().rev();
            out.push(bits.fold(0, |bits, value| bits << 1 | u8::from(!value.is_empty())));
        }
    }
    let mut data = Vec::new();
    variable::encode(&present, out, &mut data, &mut |value| tokens.add(value));
    put_bytes(&data, out);
}

/// The keys that get a column, in order of name.
fn column_names<'r>(sets: &Sets<'r>) -> Vec<&'r str> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (labels, rows) in sets.all.iter().zip(&sets.rows) {
        for (name, _) in *labels {
            *counts.entry(name).or_default() += rows;
        }
    }
    let share = sets.of_row.len() / COLUMN_SHARE;
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

#[derive(Debug)]
struct Column {
    name: String,
    /// For each row one more than the row of its value, 0 = absent; empty when all have one.
    places: Vec<u32>,
    values: Variables,
}

impl Column {
    fn read(reader: &mut Reader<'_>, rows: usize) -> Result<Self, Corrupt> {
        let name = reader.text(reader.remaining())?.to_owned();
        let mut places = Vec::new();
        let mut count = rows;
        match reader.u8()? {
            0 => {}
            1 => {
                let bits = reader.slice(rows.div_ceil(8))?;
                let mut next = 0;
                for row in 0..rows {
                    let present = bits[row / 8] >> (row % 8) & 1;
                    next += u32::from(present);
                    places.push(next * u32::from(present));
                }
                count = next as usize;
            }
            flag => return Err(reader.corrupt(format!("a flag, found {flag}"))),
        }
        if count == 0 {
            return Err(reader.corrupt("a metadata key that some row has"));
        }
        let form = Form::read(reader)?;
        let place = reader.place();
        let mut data = Reader::new(place, reader.bytes(reader.remaining())?);
        let values = Variables::read(&form, &mut data, count)?;
        data.finish()?;
        Ok(Self {
            name,
            places,
            values,
        })
    }

    /// The row of the value of a row.
    fn place(&self, row: usize) -> Option<usize> {
        match self.places.get(row) {
            None => Some(row),
            Some(place) => (*place as usize).checked_sub(1),
        }
    }

    /// How many distinct values there are, absence included; `None` when they are not counted.
    fn stored(&self) -> Option<usize> {
        self.values.stored().map(|count| count + 1)
    }

    /// Which of them a row has.
    fn stored_index(&self, row: usize) -> usize {
        self.place(row)
            .map_or(0, |place| self.values.stored_index(place) + 1)
    }
}

/// The metadata of a group.
#[derive(Debug)]
pub(crate) struct Metadata {
    place: String,
    rows: usize,
    columns: Vec<Column>,
    rest: Option<Strings>,
    /// Sets that were built before, by the numbers of their stored values; empty when there may
    /// be too many of them.
    built: RefCell<Vec<Option<Labels>>>,
}

impl Metadata {
    /// Reads the columns of so many rows.
    pub(crate) fn decode(mut outer: Reader<'_>, rows: usize) -> Result<Self, Corrupt> {
        let body = bytes::decode(&mut outer, BYTES_MAX)?;
        let place = outer.place();
        outer.finish()?;
        let mut reader = Reader::new(place, &body);
        let count = reader.count(COLUMNS_MAX)?;
        let mut columns: Vec<Column> = Vec::new();
        for _ in 0..count {
            let column = Column::read(&mut reader, rows)?;
            if columns.last().is_some_and(|last| last.name >= column.name) {
                return Err(reader.corrupt("metadata keys in ascending order"));
            }
            columns.push(column);
        }
        let rest = match reader.u8()? {
            0 => None,
            1 => Some(strings::decode(&mut reader, rows, BYTES_MAX)?),
            flag => return Err(reader.corrupt(format!("a flag, found {flag}"))),
        };
        if rest.as_ref().is_some_and(|rest| rest.len() != rows) {
            return Err(reader.corrupt(format!("{rows} rows in every column")));
        }
        reader.finish()?;
        let remembered = remembered(columns.iter()).filter(|_| rest.is_none());
        Ok(Self {
            place: place.to_owned(),
            rows,
            columns,
            rest,
            built: RefCell::new(vec![None; remembered.unwrap_or(0)]),
        })
    }

    /// For each row whether it may have this value under this key, and whether it has no such key;
    /// `None` when nothing is known of the rows, `Some` without rows when no row has the key.
    pub(crate) fn matching(&self, name: &str, value: &str) -> Option<Vec<(bool, bool)>> {
        if self.rest.is_some() {
            return None;
        }
        let Some(column) = self.columns.iter().find(|column| column.name == name) else {
            return Some(Vec::new());
        };
        let mut scratch = Vec::new();
        let row = |row: usize| match column.place(row) {
            None => (false, true),
            Some(place) => {
                let same = column.values.is(place, value.as_bytes(), &mut scratch);
                (same, false)
            }
        };
        Some((0..self.rows).map(row).collect())
    }

    /// The metadata of a row.
    pub(crate) fn row(&self, row: usize) -> Result<Labels, Corrupt> {
        let mut built = self.built.borrow_mut();
        if built.is_empty() {
            return self.build(row);
        }
        let index = set_index(self.columns.iter(), row);
        if let Some(labels) = &built[index] {
            return Ok(labels.clone());
        }
        let labels = self.build(row)?;
        built[index] = Some(labels.clone());
        Ok(labels)
    }

    /// Bytes of memory held.
    pub(crate) fn bytes(&self) -> usize {
        let column = |column: &Column| column.values.bytes() + 4 * column.places.len();
        let columns: usize = self.columns.iter().map(column).sum();
        columns + self.rest.as_ref().map_or(0, Strings::bytes)
    }

    /// The metadata of rows under these keys only.
    pub(crate) fn select(&self, names: &[&str]) -> Selected<'_> {
        let chosen = |column: &&Column| names.contains(&column.name.as_str());
        let columns: Vec<&Column> = self.columns.iter().filter(chosen).collect();
        let missing = |name: &&&str| columns.iter().all(|column| column.name != **name);
        let missing: Vec<String> = match self.rest {
            None => Vec::new(),
            Some(_) => names
                .iter()
                .filter(missing)
                .map(|n| (*n).to_owned())
                .collect(),
        };
        let sets = remembered(columns.iter().copied());
        let sets = sets.filter(|_| missing.is_empty());
        Selected {
            metadata: self,
            columns,
            missing,
            built: vec![None; sets.unwrap_or(0)],
        }
    }

    fn build(&self, row: usize) -> Result<Labels, Corrupt> {
        self.build_of(row, &mut self.columns.iter(), &|_| true)
    }

    /// The values of these columns and what of the rest is wanted.
    fn build_of(
        &self,
        row: usize,
        columns: &mut dyn Iterator<Item = &Column>,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<Labels, Corrupt> {
        let corrupt = |e: &dyn std::fmt::Display| {
            let expected = format!("metadata of row {row}: {e}");
            Corrupt::new(self.place.as_str(), 0, expected)
        };
        let mut values = Vec::with_capacity(self.columns.len());
        for column in columns {
            let mut value = Vec::new();
            if let Some(place) = column.place(row) {
                column.values.write(place, &mut value);
            }
            let value = String::from_utf8(value).map_err(|e| corrupt(&e))?;
            values.push((column.name.as_str(), value));
        }
        let pairs = values.iter().map(|(name, value)| (*name, value.as_str()));
        let pairs = pairs.filter(|(_, value)| !value.is_empty());
        let packed = self.rest.as_ref().map(|rest| rest.get(row));
        match packed.filter(|packed| !packed.is_empty()) {
            None => Labels::from_sorted(pairs).map_err(|e| corrupt(&e)),
            Some(packed) => {
                let labels = Labels::from_packed(packed).map_err(|e| corrupt(&e))?;
                let mut labels = labels.to_builder();
                labels.retain(|name, _| wanted(name));
                for (name, value) in pairs {
                    labels.set(name, value);
                }
                Ok(labels.build())
            }
        }
    }
}

/// How many sets of values these columns can make; `None` where they are not remembered.
fn remembered<'c>(columns: impl Iterator<Item = &'c Column>) -> Option<usize> {
    let mut sets = columns.map(Column::stored);
    let sets = sets.try_fold(1usize, |all, stored| all.checked_mul(stored?));
    sets.filter(|sets| *sets <= REMEMBERED_MAX)
}

/// Which of them a row has.
fn set_index<'c>(columns: impl Iterator<Item = &'c Column>, row: usize) -> usize {
    columns.fold(0, |index, column| {
        index * column.stored().unwrap_or(1) + column.stored_index(row)
    })
}

/// Some keys of the metadata of a group.
pub(crate) struct Selected<'m> {
    metadata: &'m Metadata,
    columns: Vec<&'m Column>,
    /// Keys without a column.
    missing: Vec<String>,
    /// Sets that were built before; empty when there may be too many of them.
    built: Vec<Option<Labels>>,
}

impl Selected<'_> {
    /// What a row has under the keys.
    pub(crate) fn row(&mut self, row: usize) -> Result<Labels, Corrupt> {
        let wanted = |name: &str| self.missing.iter().any(|missing| missing == name);
        let build = || {
            let columns = &mut self.columns.iter().copied();
            self.metadata.build_of(row, columns, &wanted)
        };
        if self.built.is_empty() {
            return build();
        }
        let index = set_index(self.columns.iter().copied(), row);
        if let Some(labels) = &self.built[index] {
            return Ok(labels.clone());
        }
        let labels = build()?;
        self.built[index] = Some(labels.clone());
        Ok(labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_keys_share_one_column() {
        let sets: Vec<Labels> = (0..2000)
            .map(|row| Labels::from_pairs((0..20).map(|k| (format!("k{row}_{k}"), "v"))))
            .collect();
        let body = encode_metadata(&sets, &mut GroupTokens::default());
        let mut packed = Vec::new();
        bytes::encode(&body, bytes::LEVEL, &mut packed);
        let metadata = Metadata::decode(Reader::new("here", &packed), 2000).unwrap();
        assert!(metadata.columns.is_empty() && metadata.bytes() < 1 << 20);
        assert_eq!(metadata.row(1999), Ok(sets[1999].clone()));
    }

    #[test]
    fn identifiers_take_half_their_digits() {
        let id = |row: usize| format!("{:016x}", xxhash_rust::xxh3::xxh3_64(&row.to_le_bytes()));
        let sets: Vec<Labels> = (0..1000)
            .map(|row| match row % 2 {
                0 => Labels::from_pairs([("trace_id", id(row))]),
                _ => Labels::empty(),
            })
            .collect();
        let body = encode_metadata(&sets, &mut GroupTokens::default());
        assert!(body.len() < 500 * 8 + 200, "{}", body.len());
        let mut packed = Vec::new();
        bytes::encode(&body, bytes::LEVEL, &mut packed);
        let metadata = Metadata::decode(Reader::new("here", &packed), 1000).unwrap();
        for (row, set) in sets.iter().enumerate() {
            assert_eq!(metadata.row(row).as_ref(), Ok(set));
        }
    }
}
