//! The attributes of many owners (spans, events or links) as one typed column per (key, type).
//!
//! An owner has a *shape*: which columns its attributes come from, in order. Shapes are few, so
//! that order and duplicate keys cost next to nothing and yet come back exactly.
//! Invariant: after `read` every reference is inside its column; `get` cannot fail.

use std::collections::HashMap;

use obs_model::spans::{Attribute, AttributeValue};
use obs_storage::Corrupt;
use obs_storage::codec::strings::{Strings, Texts};
use obs_storage::codec::{Reader, floats, ints, strings, varint};

use crate::value::{self, DEPTH_MAX};

/// Gathers attributes owner by owner.
#[derive(Default)]
pub(crate) struct Writer<'a> {
    numbers: HashMap<(&'a str, u8), usize>,
    columns: Vec<(&'a str, u8, Vec<&'a AttributeValue>)>,
    shape_numbers: HashMap<Vec<i64>, i64>,
    shapes: Vec<Vec<i64>>,
    owners: Vec<i64>,
}

impl<'a> Writer<'a> {
    /// The attributes of the next owner.
    pub(crate) fn push(&mut self, attributes: &'a [Attribute]) {
        let mut shape = Vec::with_capacity(attributes.len());
        for attribute in attributes {
            let (key, tag) = (attribute.key.as_str(), value::tag(&attribute.value));
            let number = *self.numbers.entry((key, tag)).or_insert_with(|| {
                self.columns.push((key, tag, Vec::new()));
                self.columns.len() - 1
            });
            self.columns[number].2.push(&attribute.value);
            shape.push(number as i64);
        }
        let next = self.shapes.len() as i64;
        let number = *self.shape_numbers.entry(shape).or_insert_with_key(|shape| {
            self.shapes.push(shape.clone());
            next
        });
        self.owners.push(number);
    }

    /// Appends all owners.
    pub(crate) fn finish(self, out: &mut Vec<u8>) {
        self.pieces().iter().for_each(|piece| out.extend(piece));
    }

    /// All owners as pieces: what they have, then each column.
    pub(crate) fn pieces(self) -> Vec<Vec<u8>> {
        let mut shapes = Vec::new();
        let out = &mut shapes;
        let keys: Vec<&str> = self.columns.iter().map(|(key, _, _)| *key).collect();
        varint::put(self.columns.len() as u64, out);
        strings::encode_open(&keys, out);
        out.extend(self.columns.iter().map(|(_, tag, _)| *tag));
        varint::put(self.shapes.len() as u64, out);
        let lengths: Vec<i64> = self.shapes.iter().map(|s| s.len() as i64).collect();
        ints::encode_aligned(&lengths, out);
        ints::encode_aligned(&self.shapes.concat(), out);
        ints::encode_aligned(&self.owners, out);
        let mut pieces = vec![shapes];
        for (_, tag, values) in &self.columns {
            let mut column = Vec::new();
            put_column(*tag, values, &mut column);
            pieces.push(column);
        }
        pieces
    }
}

fn put_column(tag: u8, values: &[&AttributeValue], out: &mut Vec<u8>) {
    // The writer put values of one type into a column, so nothing is passed over here.
    match tag {
        value::EMPTY => varint::put(values.len() as u64, out),
        value::STRING => {
            let texts = values.iter().filter_map(|v| match v {
                AttributeValue::String(text) => Some(text.as_str()),
                _ => None,
            });
            strings::encode_open(&texts.collect::<Vec<_>>(), out);
        }
        value::BOOL | value::INT => {
            let numbers = values.iter().filter_map(|v| match v {
                AttributeValue::Bool(truth) => Some(i64::from(*truth)),
                AttributeValue::Int(number) => Some(*number),
                _ => None,
            });
            ints::encode_aligned(&numbers.collect::<Vec<_>>(), out);
        }
        value::DOUBLE => {
            let numbers = values.iter().filter_map(|v| match v {
                AttributeValue::Double(number) => Some(*number),
                _ => None,
            });
            floats::encode_aligned(&numbers.collect::<Vec<_>>(), out);
        }
        value::BYTES => {
            let bytes = values.iter().filter_map(|v| match v {
                AttributeValue::Bytes(bytes) => Some(bytes.as_slice()),
                _ => None,
            });
            strings::encode_open(&bytes.collect::<Vec<_>>(), out);
        }
        _ => {
            let nested = values.iter().map(|v| {
                let mut bytes = Vec::new();
                value::put(v, &mut bytes);
                bytes
            });
            strings::encode_open(&nested.collect::<Vec<_>>(), out);
        }
    }
}

/// The values of one key and type.
#[derive(Debug)]
pub(crate) enum Column {
    Empty,
    Texts(Texts),
    Bools(Vec<i64>),
    Ints(Vec<i64>),
    Doubles(Vec<f64>),
    Bytes(Strings),
    /// Distinct values and which one each row has.
    Nested(Vec<AttributeValue>, Vec<u32>),
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

/// Attributes that were read.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    keys: Texts,
    columns: Vec<Column>,
    /// Column and index in it of every attribute of every owner.
    places: Vec<(u32, u32)>,
    /// Where the attributes of each owner end.
    ends: Vec<u32>,
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

impl Attributes {
    /// Reads the attributes of `owners` owners, at most `entries_max` in all.
    pub(crate) fn read(
        reader: &mut Reader<'_>,
        owners: usize,
        entries_max: usize,
    ) -> Result<Self, Corrupt> {
        let place = reader.clone();
        let shapes = Shapes::read(reader, owners, entries_max)?;
        let mut counts = vec![0u32; shapes.tags.len()];
        let mut places = Vec::new();
        let mut ends = Vec::with_capacity(owners);
        for shape in &shapes.owners {
            // Checked to be below the number of shapes, and columns below theirs.
            for column in shapes.of(*shape as usize) {
                let column = *column as usize;
                places.push((column as u32, counts[column]));
                counts[column] += 1;
            }
            if places.len() > entries_max {
                return Err(place.corrupt(format!("at most {entries_max} attributes")));
            }
            ends.push(places.len() as u32);
        }
        let Shapes { keys, tags, .. } = shapes;
        let mut attributes = Self {
            keys,
            columns: Vec::new(),
            places,
            ends,
        };
        for (tag, count) in tags.iter().zip(counts) {
            attributes
                .columns
                .push(read_column(reader, *tag, count as usize)?);
        }
        Ok(attributes)
    }

    /// The attributes of one owner in their order.
    pub(crate) fn get(&self, owner: usize) -> Vec<Attribute> {
        let start = owner.checked_sub(1).map_or(0, |o| self.ends[o]) as usize;
        let places = &self.places[start..self.ends[owner] as usize];
        places
            .iter()
            .map(|(column, index)| Attribute {
                key: self.keys.get(*column as usize).to_owned(),
                value: self.columns[*column as usize].get(*index as usize),
            })
            .collect()
    }
}

impl Column {
    /// The value at an index.
    pub(crate) fn get(&self, index: usize) -> AttributeValue {
        match self {
            Self::Empty => AttributeValue::Empty,
            Self::Texts(values) => AttributeValue::String(values.get(index).to_owned()),
            Self::Bools(values) => AttributeValue::Bool(values[index] != 0),
            Self::Ints(values) => AttributeValue::Int(values[index]),
            Self::Doubles(values) => AttributeValue::Double(values[index]),
            Self::Bytes(values) => AttributeValue::Bytes(values.get(index).to_vec()),
            Self::Nested(values, indexes) => values[indexes[index] as usize].clone(),
        }
    }
}

pub(crate) fn read_column(
    reader: &mut Reader<'_>,
    tag: u8,
    count: usize,
) -> Result<Column, Corrupt> {
    let place = reader.clone();
    Ok(match tag {
        value::EMPTY => {
            if reader.count(count)? != count {
                return Err(place.corrupt(format!("{count} empty values")));
            }
            Column::Empty
        }
        value::STRING => Column::Texts(read_texts(reader, count)?),
        value::BOOL => Column::Bools(read_ints(reader, count)?),
        value::INT => Column::Ints(read_ints(reader, count)?),
        value::DOUBLE => {
            let values = floats::decode(reader, count)?;
            if values.len() != count {
                return Err(place.corrupt(format!("{count} floats, found {}", values.len())));
            }
            Column::Doubles(values)
        }
        value::BYTES => Column::Bytes(read_strings(reader, count)?),
        value::ARRAY | value::MAP => {
            let stored = read_strings(reader, count)?;
            let mut numbers: HashMap<usize, u32> = HashMap::new();
            let mut values = Vec::new();
            let mut indexes = Vec::with_capacity(stored.len());
            for row in 0..stored.len() {
                let key = stored.stored_index(row);
                if let Some(number) = numbers.get(&key) {
                    indexes.push(*number);
                    continue;
                }
                let number = values.len() as u32;
                let mut inner = Reader::new(place.place(), stored.get(row));
                values.push(value::read(&mut inner, DEPTH_MAX)?);
                inner.finish()?;
                numbers.insert(key, number);
                indexes.push(number);
            }
            Column::Nested(values, indexes)
        }
        other => return Err(place.corrupt(format!("the tag of a value, found {other}"))),
    })
}
