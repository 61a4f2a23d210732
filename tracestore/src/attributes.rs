//! The attributes of many owners (spans, events or links) as one typed column per (key, type).
//!
//! An owner has a *shape*: which columns its attributes come from, in order. Shapes are few, so
//! that order and duplicate keys cost next to nothing and yet come back exactly.
//! Invariant: after `read` every reference is inside its column; `get` cannot fail.

use std::collections::HashSet;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use obs_model::packed::{Cut, PackedSpans, PackedValue};
use obs_model::spans::{Attribute, AttributeValue};
use obs_storage::Corrupt;
use obs_storage::codec::strings::{Strings, Texts};
use obs_storage::codec::{Reader, floats, ints, strings, varint};
use xxhash_rust::xxh3::{Xxh3DefaultBuilder, xxh3_64};

use crate::value::{self, DEPTH_MAX};
use crate::words::{self, UNKNOWN, Words};

/// The values of one key and type.
#[derive(Clone, Debug)]
pub(crate) enum Cells {
    /// So many values without content.
    Empty(usize),
    /// Texts, runs of bytes, or nested values as bytes.
    Words(Words),
    /// Integers, or truths as 0 and 1.
    Ints(Vec<i64>),
    Doubles(Vec<f64>),
}

impl Cells {
    /// The value at an index of a column of this type.
    pub(crate) fn get(&self, tag: u8, index: usize) -> AttributeValue {
        match self {
            Self::Empty(_) => AttributeValue::Empty,
            Self::Words(values) => word(tag, values.get(index)),
            Self::Ints(values) if tag == value::BOOL => AttributeValue::Bool(values[index] != 0),
            Self::Ints(values) => AttributeValue::Int(values[index]),
            Self::Doubles(values) => AttributeValue::Double(values[index]),
        }
    }

    /// The value of a number as bits: equal bits are equal values.
    pub(crate) fn bits(&self, index: usize) -> u64 {
        match self {
            Self::Ints(all) => all[index].cast_unsigned(),
            Self::Doubles(all) => all[index].to_bits(),
            Self::Empty(_) | Self::Words(_) => 0,
        }
    }

    /// Where each distinct number stands first.
    pub(crate) fn firsts(&self) -> Vec<usize> {
        let mut seen: HashSet<u64, Xxh3DefaultBuilder> = HashSet::default();
        let mut last = None;
        let mut is_new = |index: &usize| {
            let bits = self.bits(*index);
            last.replace(bits) != Some(bits) && seen.insert(bits)
        };
        (0..self.len()).filter(|index| is_new(index)).collect()
    }

    /// Number of values.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Empty(count) => *count,
            Self::Words(values) => values.codes().len(),
            Self::Ints(values) => values.len(),
            Self::Doubles(values) => values.len(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Empty(_) => 0,
            Self::Words(values) => values.bytes(),
            Self::Ints(values) => 8 * values.len(),
            Self::Doubles(values) => 8 * values.len(),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Empty(count) => varint::put(*count as u64, out),
            Self::Words(values) => values.encode(out),
            Self::Ints(values) => ints::encode_aligned(values, out),
            Self::Doubles(values) => floats::encode_aligned(values, out),
        }
    }
}

/// A stored value of a column of words of this type.
pub(crate) fn word(tag: u8, bytes: &[u8]) -> AttributeValue {
    match tag {
        value::STRING => AttributeValue::String(words::text(bytes).to_owned()),
        value::BYTES => AttributeValue::Bytes(bytes.to_vec()),
        _ => {
            let mut reader = Reader::new("value", bytes);
            value::read(&mut reader, DEPTH_MAX).expect("nested values are checked when read")
        }
    }
}

/// The attributes of owners, numbered from 0.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attributes {
    keys: Vec<String>,
    tags: Vec<u8>,
    cells: Vec<Cells>,
    shapes: ShapeList,
    /// The shape of each owner.
    owners: Vec<u32>,
    /// Where the indexes of each owner end.
    ends: Vec<u32>,
    /// Of every attribute of every owner in order: its index in its column.
    indexes: Vec<u32>,
}

/// Columns of shapes.
#[derive(Clone, Debug, Default)]
struct ShapeList {
    ends: Vec<u32>,
    flat: Vec<u32>,
}

impl ShapeList {
    fn of(&self, shape: usize) -> &[u32] {
        let start = shape.checked_sub(1).map_or(0, |s| self.ends[s]) as usize;
        &self.flat[start..self.ends[shape] as usize]
    }
}

impl Attributes {
    /// Reads the attributes of `owners` owners, at most `entries_max` in all.
    pub(crate) fn read(
        reader: &mut Reader<'_>,
        owners: usize,
        entries_max: usize,
    ) -> Result<Self, Corrupt> {
        let place = reader.clone();
        let read = Shapes::read(reader, owners, entries_max)?;
        let mut counts = vec![0u32; read.tags.len()];
        let mut indexes = Vec::new();
        let mut ends = Vec::with_capacity(owners);
        for shape in &read.owners {
            // Checked to be below the number of shapes, and columns below theirs.
            for column in read.of(*shape as usize) {
                let count = &mut counts[*column as usize];
                indexes.push(*count);
                *count += 1;
            }
            if indexes.len() > entries_max {
                return Err(place.corrupt(format!("at most {entries_max} attributes")));
            }
            ends.push(indexes.len() as u32);
        }
        let mut cells = Vec::with_capacity(read.tags.len().min(counts.len()));
        for (tag, count) in read.tags.iter().zip(counts) {
            cells.push(read_cells(reader, *tag, count as usize)?);
        }
        Ok(Self {
            keys: read.keys.iter().map(str::to_owned).collect(),
            cells,
            shapes: ShapeList {
                ends: read.ends.iter().map(|e| *e as u32).collect(),
                flat: read.flat.iter().map(|c| *c as u32).collect(),
            },
            owners: read.owners.iter().map(|o| *o as u32).collect(),
            ends,
            indexes,
            tags: read.tags,
        })
    }

    /// The columns and indexes of one owner's attributes.
    fn places(&self, owner: usize) -> (&[u32], &[u32]) {
        let start = owner.checked_sub(1).map_or(0, |o| self.ends[o]) as usize;
        let indexes = &self.indexes[start..self.ends[owner] as usize];
        (self.shapes.of(self.owners[owner] as usize), indexes)
    }

    /// The attributes of one owner in their order.
    pub(crate) fn get(&self, owner: usize) -> Vec<Attribute> {
        let (columns, indexes) = self.places(owner);
        let places = columns.iter().zip(indexes);
        places
            .map(|(column, index)| {
                let column = *column as usize;
                Attribute {
                    key: self.keys[column].clone(),
                    value: self.cells[column].get(self.tags[column], *index as usize),
                }
            })
            .collect()
    }

    /// The columns: key, type, values.
    pub(crate) fn columns(&self) -> impl Iterator<Item = (&str, u8, &Cells)> {
        let named = self.keys.iter().zip(&self.tags).zip(&self.cells);
        named.map(|((key, tag), cells)| (key.as_str(), *tag, cells))
    }

    /// For each owner the place of its first attribute with this key: column and index.
    pub(crate) fn firsts(&self, key: &str) -> Vec<Option<(usize, usize)>> {
        let wanted: Vec<bool> = self.keys.iter().map(|k| k == key).collect();
        let first = |columns: &[u32]| columns.iter().position(|c| wanted[*c as usize]);
        let of_shape: Vec<Option<usize>> = (0..self.shapes.ends.len())
            .map(|shape| first(self.shapes.of(shape)))
            .collect();
        let place = |owner: usize| {
            let at = of_shape[self.owners[owner] as usize]?;
            let (columns, indexes) = self.places(owner);
            Some((columns[at] as usize, indexes[at] as usize))
        };
        (0..self.owners.len()).map(place).collect()
    }

    /// Number of columns.
    pub(crate) fn column_count(&self) -> usize {
        self.keys.len()
    }

    /// A column's type and values.
    pub(crate) fn column(&self, column: usize) -> (u8, &Cells) {
        (self.tags[column], &self.cells[column])
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        let keys: usize = self
            .keys
            .iter()
            .map(|k| k.len() + size_of::<String>())
            .sum();
        let cells: usize = self
            .cells
            .iter()
            .map(|c| c.bytes() + size_of::<Cells>())
            .sum();
        let numbers = self.owners.len() + self.ends.len() + self.indexes.len();
        keys + cells + 4 * (numbers + self.shapes.flat.len() + self.shapes.ends.len())
    }

    /// All owners as pieces: what they have, then each column. They were built.
    pub(crate) fn pieces(&self) -> Vec<Vec<u8>> {
        let mut head = Vec::new();
        let out = &mut head;
        varint::put(self.keys.len() as u64, out);
        strings::encode_open(&self.keys, out);
        out.extend_from_slice(&self.tags);
        varint::put(self.shapes.ends.len() as u64, out);
        let all = 0..self.shapes.ends.len();
        let lengths: Vec<i64> = all.map(|s| self.shapes.of(s).len() as i64).collect();
        let wide = |numbers: &[u32]| numbers.iter().map(|n| i64::from(*n)).collect::<Vec<_>>();
        ints::encode_aligned(&lengths, out);
        ints::encode_aligned(&wide(&self.shapes.flat), out);
        ints::encode_aligned(&wide(&self.owners), out);
        let mut pieces = vec![head];
        for cells in &self.cells {
            let mut column = Vec::new();
            cells.encode(&mut column);
            pieces.push(column);
        }
        pieces
    }
}

/// A column in the making.
#[derive(Debug)]
enum Making {
    Empty(usize),
    Words(words::Builder),
    Ints(Vec<i64>),
    Doubles(Vec<f64>),
}

impl Making {
    fn of(tag: u8) -> Self {
        match tag {
            value::EMPTY => Self::Empty(0),
            value::BOOL | value::INT => Self::Ints(Vec::new()),
            value::DOUBLE => Self::Doubles(Vec::new()),
            _ => Self::Words(words::Builder::default()),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Empty(count) => *count,
            Self::Words(values) => values.len(),
            Self::Ints(values) => values.len(),
            Self::Doubles(values) => values.len(),
        }
    }

    /// Bytes of the stored values.
    fn stored_bytes(&self) -> usize {
        match self {
            Self::Words(values) => values.stored_bytes(),
            _ => 0,
        }
    }

    fn push(&mut self, value: &AttributeValue, scratch: &mut Vec<u8>) {
        match (self, value) {
            (Self::Words(values), AttributeValue::String(text)) => values.push(text.as_bytes()),
            (Self::Words(values), AttributeValue::Bytes(bytes)) => values.push(bytes),
            (Self::Words(values), nested) => {
                scratch.clear();
                value::put(nested, scratch);
                values.push(scratch);
            }
            (Self::Ints(values), AttributeValue::Int(number)) => values.push(*number),
            (Self::Ints(values), other) => {
                values.push(i64::from(*other == AttributeValue::Bool(true)));
            }
            (Self::Doubles(values), AttributeValue::Double(number)) => values.push(*number),
            (Self::Doubles(_), _) => unreachable!("a column has values of one type"),
            (Self::Empty(count), _) => *count += 1,
        }
    }

    fn copy(&mut self, from: &Cells, index: usize, map: &mut Vec<u32>) {
        match (self, from) {
            (Self::Words(values), Cells::Words(all)) => values.copy(all, index, map),
            (Self::Ints(values), Cells::Ints(all)) => values.push(all[index]),
            (Self::Doubles(values), Cells::Doubles(all)) => values.push(all[index]),
            (Self::Empty(count), Cells::Empty(_)) => *count += 1,
            _ => unreachable!("columns of one type have cells of one kind"),
        }
    }

    fn finish(self) -> Cells {
        match self {
            Self::Empty(count) => Cells::Empty(count),
            Self::Words(values) => Cells::Words(values.finish()),
            Self::Ints(values) => Cells::Ints(values),
            Self::Doubles(values) => Cells::Doubles(values),
        }
    }
}

/// Attributes in the making, owner by owner.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    all: Attributes,
    making: Vec<Making>,
    columns: HashTable<(u64, u32)>,
    known_shapes: HashTable<(u64, u32)>,
    /// The columns of the owner at hand.
    shape: Vec<u32>,
    scratch: Vec<u8>,
    stored_bytes: usize,
}

/// Types of values.
const TAGS: usize = 8;

/// What is known of the keys of a request: the column of each type.
#[derive(Debug, Default)]
pub(crate) struct KeyMap(Vec<[u32; TAGS]>);

/// What is known of another list of attributes: the numbers of its columns, shapes and words.
#[derive(Debug, Default)]
pub(crate) struct Map {
    columns: Vec<u32>,
    shapes: Vec<u32>,
    words: Vec<Vec<u32>>,
}

impl Builder {
    /// The attributes of the next owner.
    pub(crate) fn push(&mut self, attributes: &[Attribute]) {
        let mut shape = std::mem::take(&mut self.shape);
        shape.clear();
        for attribute in attributes {
            let tag = value::tag(&attribute.value);
            // Spans that follow each other are often alike.
            let alike = self.all.owners.last().and_then(|last| {
                let last = self.all.shapes.of(*last as usize);
                let column = *last.get(shape.len())?;
                let known = &self.all.keys[column as usize];
                (self.all.tags[column as usize] == tag && *known == attribute.key).then_some(column)
            });
            let column = alike.unwrap_or_else(|| self.column(&attribute.key, tag));
            let making = &mut self.making[column as usize];
            self.all.indexes.push(making.len() as u32);
            let before = making.stored_bytes();
            making.push(&attribute.value, &mut self.scratch);
            self.stored_bytes += making.stored_bytes() - before;
            shape.push(column);
        }
        let number = self.shape(&shape);
        self.shape = shape;
        self.end(number);
    }

    /// The attributes of the next owner are these of a request.
    pub(crate) fn pack(&mut self, from: &PackedSpans, list: Cut, known: &mut KeyMap) {
        let mut shape = std::mem::take(&mut self.shape);
        shape.clear();
        known.0.resize(from.keys().len(), [UNKNOWN; TAGS]);
        for attribute in from.attributes(list) {
            let tag = match attribute.value {
                PackedValue::Empty => value::EMPTY,
                PackedValue::Text(_) => value::STRING,
                PackedValue::Bool(_) => value::BOOL,
                PackedValue::Int(_) => value::INT,
                PackedValue::Double(_) => value::DOUBLE,
                PackedValue::Nested(number) => value::tag(from.nested(number)),
            };
            let key = attribute.key as usize;
            let column = &mut known.0[key][usize::from(tag)];
            if *column == UNKNOWN {
                *column = self.column(&from.keys()[key], tag);
            }
            let column = *column;
            let making = &mut self.making[column as usize];
            self.all.indexes.push(making.len() as u32);
            let before = making.stored_bytes();
            match (attribute.value, making) {
                (PackedValue::Text(cut), Making::Words(words)) => {
                    words.push(from.text(cut).as_bytes());
                }
                (PackedValue::Bool(truth), Making::Ints(all)) => all.push(i64::from(truth)),
                (PackedValue::Int(number), Making::Ints(all)) => all.push(number),
                (PackedValue::Double(number), Making::Doubles(all)) => all.push(number),
                (PackedValue::Nested(number), making) => {
                    making.push(from.nested(number), &mut self.scratch);
                }
                (PackedValue::Empty, Making::Empty(count)) => *count += 1,
                _ => unreachable!("a column has values of one type"),
            }
            self.stored_bytes += self.making[column as usize].stored_bytes() - before;
            shape.push(column);
        }
        let last = self.all.owners.last().copied();
        let number = match last {
            Some(last) if self.all.shapes.of(last as usize) == shape => last,
            _ => self.shape(&shape),
        };
        self.shape = shape;
        self.end(number);
    }

    /// The attributes of the next owner are those of an owner of another list.
    pub(crate) fn copy(&mut self, from: &Attributes, owner: usize, map: &mut Map) {
        if map.columns.is_empty() {
            map.columns.resize(from.keys.len(), UNKNOWN);
            map.words.resize_with(from.keys.len(), Vec::new);
            map.shapes.resize(from.shapes.ends.len(), UNKNOWN);
        }
        let (columns, indexes) = from.places(owner);
        for column in columns {
            let known = &mut map.columns[*column as usize];
            if *known == UNKNOWN {
                let column = *column as usize;
                *known = self.column(&from.keys[column], from.tags[column]);
            }
        }
        let known = from.owners[owner] as usize;
        if map.shapes[known] == UNKNOWN {
            let shape: Vec<u32> = columns.iter().map(|c| map.columns[*c as usize]).collect();
            map.shapes[known] = self.shape(&shape);
        }
        for (column, index) in columns.iter().zip(indexes) {
            let column = *column as usize;
            let making = &mut self.making[map.columns[column] as usize];
            self.all.indexes.push(making.len() as u32);
            let before = making.stored_bytes();
            making.copy(&from.cells[column], *index as usize, &mut map.words[column]);
            self.stored_bytes += making.stored_bytes() - before;
        }
        self.end(map.shapes[known]);
    }

    fn end(&mut self, shape: u32) {
        self.all.owners.push(shape);
        // A block has fewer than 2^32 attributes.
        self.all.ends.push(self.all.indexes.len() as u32);
    }

    /// The number of a column.
    fn column(&mut self, key: &str, tag: u8) -> u32 {
        let hash = xxh3_64(key.as_bytes()) ^ u64::from(tag);
        let all = &mut self.all;
        let same = |(other, column): &(u64, u32)| {
            let column = *column as usize;
            *other == hash && all.tags[column] == tag && all.keys[column] == key
        };
        match self.columns.entry(hash, same, |(hash, _)| *hash) {
            Entry::Occupied(known) => known.get().1,
            Entry::Vacant(empty) => {
                let number = all.keys.len() as u32;
                self.stored_bytes += key.len();
                all.keys.push(key.to_owned());
                all.tags.push(tag);
                self.making.push(Making::of(tag));
                empty.insert((hash, number));
                number
            }
        }
    }

    /// The number of a shape.
    fn shape(&mut self, shape: &[u32]) -> u32 {
        // Few and short: mixing each number is enough.
        let hash = shape.iter().fold(shape.len() as u64, |hash, column| {
            (hash.rotate_left(5) ^ u64::from(*column)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        let shapes = &mut self.all.shapes;
        let same =
            |(other, number): &(u64, u32)| *other == hash && shapes.of(*number as usize) == shape;
        match self.known_shapes.entry(hash, same, |(hash, _)| *hash) {
            Entry::Occupied(known) => known.get().1,
            Entry::Vacant(empty) => {
                let number = shapes.ends.len() as u32;
                shapes.flat.extend_from_slice(shape);
                shapes.ends.push(shapes.flat.len() as u32);
                empty.insert((hash, number));
                number
            }
        }
    }

    /// Number of attributes so far.
    pub(crate) fn len(&self) -> usize {
        self.all.indexes.len()
    }

    /// Bytes of texts and the like so far.
    pub(crate) fn stored_bytes(&self) -> usize {
        self.stored_bytes
    }

    /// The attributes of all owners.
    pub(crate) fn finish(mut self) -> Attributes {
        self.all.cells = self.making.into_iter().map(Making::finish).collect();
        self.all.indexes.shrink_to_fit();
        self.all
    }
}

/// Which columns there are and which owner has an entry of which.
#[derive(Debug)]
pub(crate) struct Shapes {
    pub(crate) keys: Texts,
    /// The type of each column.
    pub(crate) tags: Vec<u8>,
    /// Where each shape ends in `flat`.
    ends: Vec<usize>,
    /// Columns of all shapes.
    flat: Vec<i64>,
    /// The shape of each owner.
    pub(crate) owners: Vec<i64>,
}

impl Shapes {
    /// Reads the shapes of `owners` owners, each of at most `entries_max` entries.
    pub(crate) fn read(
        reader: &mut Reader<'_>,
        owners: usize,
        entries_max: usize,
    ) -> Result<Self, Corrupt> {
        // A column takes several bytes, a shape at least part of one in each of two columns.
        let column_count = reader.count(reader.remaining())?;
        let keys = read_texts(reader, column_count)?;
        let tags = reader.slice(column_count)?.to_vec();
        let place = reader.clone();
        let shape_count = reader.count(owners)?;
        let lengths = read_ints(reader, shape_count)?;
        let mut total = 0usize;
        let mut ends = Vec::with_capacity(shape_count);
        for length in &lengths {
            total = usize::try_from(*length).map_or(usize::MAX, |l| total.saturating_add(l));
            if total > entries_max {
                return Err(place.corrupt(format!("shapes of at most {entries_max} entries")));
            }
            ends.push(total);
        }
        let flat = read_ints(reader, total)?;
        if !flat
            .iter()
            .all(|c| usize::try_from(*c).is_ok_and(|c| c < column_count))
        {
            return Err(place.corrupt(format!("indexes into {column_count} columns")));
        }
        let owners = read_ints(reader, owners)?;
        let known = |shape: &i64| usize::try_from(*shape).is_ok_and(|s| s < shape_count);
        if !owners.iter().all(known) {
            return Err(place.corrupt(format!("indexes into {shape_count} shapes")));
        }
        Ok(Self {
            keys,
            tags,
            ends,
            flat,
            owners,
        })
    }

    /// Number of shapes.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The columns of a shape, in order; all are below the number of columns.
    pub(crate) fn of(&self, shape: usize) -> &[i64] {
        let start = shape.checked_sub(1).map_or(0, |s| self.ends[s]);
        &self.flat[start..self.ends[shape]]
    }
}

/// Reads a column of exactly `count` integers.
pub(crate) fn read_ints(reader: &mut Reader<'_>, count: usize) -> Result<Vec<i64>, Corrupt> {
    let place = reader.clone();
    let values = ints::decode(reader, count)?;
    if values.len() != count {
        return Err(place.corrupt(format!("{count} numbers, found {}", values.len())));
    }
    Ok(values)
}

/// Reads a column of exactly `count` texts.
pub(crate) fn read_texts(reader: &mut Reader<'_>, count: usize) -> Result<Texts, Corrupt> {
    let place = reader.clone();
    let values = strings::decode_texts(reader, count, place.remaining())?;
    if values.len() != count {
        return Err(place.corrupt(format!("{count} texts, found {}", values.len())));
    }
    Ok(values)
}

/// Reads a column of exactly `count` runs of bytes.
pub(crate) fn read_strings(reader: &mut Reader<'_>, count: usize) -> Result<Strings, Corrupt> {
    let place = reader.clone();
    let values = strings::decode(reader, count, place.remaining())?;
    if values.len() != count {
        return Err(place.corrupt(format!("{count} values, found {}", values.len())));
    }
    Ok(values)
}

/// Reads a column of exactly `count` values of a type.
pub(crate) fn read_cells(reader: &mut Reader<'_>, tag: u8, count: usize) -> Result<Cells, Corrupt> {
    let place = reader.clone();
    Ok(match tag {
        value::EMPTY => {
            if reader.count(count)? != count {
                return Err(place.corrupt(format!("{count} empty values")));
            }
            Cells::Empty(count)
        }
        value::STRING => Cells::Words(read_texts(reader, count)?.into_strings().into()),
        value::BOOL | value::INT => Cells::Ints(read_ints(reader, count)?),
        value::DOUBLE => {
            let values = floats::decode(reader, count)?;
            if values.len() != count {
                return Err(place.corrupt(format!("{count} floats, found {}", values.len())));
            }
            Cells::Doubles(values)
        }
        value::BYTES => Cells::Words(read_strings(reader, count)?.into()),
        value::ARRAY | value::MAP => {
            let stored: Words = read_strings(reader, count)?.into();
            for bytes in stored.all() {
                let mut inner = Reader::new(place.place(), bytes);
                value::read(&mut inner, DEPTH_MAX)?;
                inner.finish()?;
            }
            Cells::Words(stored)
        }
        other => return Err(place.corrupt(format!("the tag of a value, found {other}"))),
    })
}
