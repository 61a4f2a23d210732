//! Attribute values, resources and scopes as bytes; their order and their equality.
//!
//! Invariant: equal bytes are equal values bit by bit (also NaN), so bytes serve as keys.

use std::cmp::Ordering;

use obs_model::spans::{Attribute, AttributeValue, Resource, Scope};
use obs_storage::Corrupt;
use obs_storage::codec::{Reader, put_bytes, varint};

/// Deepest nesting of a value that is read; `admit` refuses deeper ones.
pub(crate) const DEPTH_MAX: usize = 128;

pub(crate) const EMPTY: u8 = 0;
pub(crate) const STRING: u8 = 1;
pub(crate) const BOOL: u8 = 2;
pub(crate) const INT: u8 = 3;
pub(crate) const DOUBLE: u8 = 4;
pub(crate) const BYTES: u8 = 5;
pub(crate) const ARRAY: u8 = 6;
pub(crate) const MAP: u8 = 7;

/// The tag of a value's type.
pub(crate) fn tag(value: &AttributeValue) -> u8 {
    match value {
        AttributeValue::Empty => EMPTY,
        AttributeValue::String(_) => STRING,
        AttributeValue::Bool(_) => BOOL,
        AttributeValue::Int(_) => INT,
        AttributeValue::Double(_) => DOUBLE,
        AttributeValue::Bytes(_) => BYTES,
        AttributeValue::Array(_) => ARRAY,
        AttributeValue::Map(_) => MAP,
    }
}

/// Appends a value: its tag and its content.
pub(crate) fn put(value: &AttributeValue, out: &mut Vec<u8>) {
    out.push(tag(value));
    match value {
        AttributeValue::Empty => {}
        AttributeValue::String(text) => put_bytes(text.as_bytes(), out),
        AttributeValue::Bool(truth) => out.push(u8::from(*truth)),
        AttributeValue::Int(number) => varint::put_signed(*number, out),
        AttributeValue::Double(number) => out.extend_from_slice(&number.to_bits().to_le_bytes()),
        AttributeValue::Bytes(bytes) => put_bytes(bytes, out),
        AttributeValue::Array(values) => {
            varint::put(values.len() as u64, out);
            values.iter().for_each(|v| put(v, out));
        }
        AttributeValue::Map(entries) => put_attributes(entries, out),
    }
}

/// Appends named values in order.
pub(crate) fn put_attributes(attributes: &[Attribute], out: &mut Vec<u8>) {
    varint::put(attributes.len() as u64, out);
    for attribute in attributes {
        put_bytes(attribute.key.as_bytes(), out);
        put(&attribute.value, out);
    }
}

/// Reads what [`put`] wrote, nested at most `depth` deep.
pub(crate) fn read(reader: &mut Reader<'_>, depth: usize) -> Result<AttributeValue, Corrupt> {
    let place = reader.clone();
    let rest = reader.remaining();
    let inner = || {
        depth
            .checked_sub(1)
            .ok_or_else(|| place.corrupt(format!("values nested at most {DEPTH_MAX} deep")))
    };
    Ok(match reader.u8()? {
        EMPTY => AttributeValue::Empty,
        STRING => AttributeValue::String(reader.text(rest)?.to_owned()),
        BOOL => match reader.u8()? {
            0 => AttributeValue::Bool(false),
            1 => AttributeValue::Bool(true),
            other => return Err(place.corrupt(format!("truth as 0 or 1, found {other}"))),
        },
        INT => AttributeValue::Int(reader.signed()?),
        DOUBLE => AttributeValue::Double(reader.f64()?),
        BYTES => AttributeValue::Bytes(reader.bytes(rest)?.to_vec()),
        ARRAY => {
            let depth = inner()?;
            let count = reader.count(rest)?;
            let mut values = Vec::new();
            for _ in 0..count {
                values.push(read(reader, depth)?);
            }
            AttributeValue::Array(values)
        }
        MAP => AttributeValue::Map(read_attributes(reader, inner()?)?),
        other => return Err(place.corrupt(format!("the tag of a value, found {other}"))),
    })
}

/// Passes over a value, nested at most `depth` deep.
fn skip(reader: &mut Reader<'_>, depth: usize) -> Result<(), Corrupt> {
    let place = reader.clone();
    let rest = reader.remaining();
    let deep = || place.corrupt(format!("values nested at most {DEPTH_MAX} deep"));
    match reader.u8()? {
        EMPTY => {}
        STRING | BYTES => {
            reader.bytes(rest)?;
        }
        BOOL => {
            reader.u8()?;
        }
        INT => {
            reader.signed()?;
        }
        DOUBLE => {
            reader.f64()?;
        }
        tag @ (ARRAY | MAP) => {
            let depth = depth.checked_sub(1).ok_or_else(deep)?;
            for _ in 0..reader.count(rest)? {
                if tag == MAP {
                    reader.bytes(rest)?;
                }
                skip(reader, depth)?;
            }
        }
        other => return Err(place.corrupt(format!("the tag of a value, found {other}"))),
    }
    Ok(())
}

/// The first value of a name in what [`put_attributes`] wrote; empty where there is none.
pub(crate) fn find(place: &str, bytes: &[u8], key: &str) -> Result<AttributeValue, Corrupt> {
    let mut reader = Reader::new(place, bytes);
    for _ in 0..reader.count(bytes.len())? {
        if reader.bytes(bytes.len())? == key.as_bytes() {
            return read(&mut reader, DEPTH_MAX);
        }
        skip(&mut reader, DEPTH_MAX)?;
    }
    Ok(AttributeValue::Empty)
}

/// Reads what [`put_attributes`] wrote.
pub(crate) fn read_attributes(
    reader: &mut Reader<'_>,
    depth: usize,
) -> Result<Vec<Attribute>, Corrupt> {
    let count = reader.count(reader.remaining())?;
    let mut attributes = Vec::new();
    for _ in 0..count {
        let key = reader.text(reader.remaining())?.to_owned();
        let value = read(reader, depth)?;
        attributes.push(Attribute { key, value });
    }
    Ok(attributes)
}

/// A resource as bytes.
pub(crate) fn resource_bytes(resource: &Resource) -> Vec<u8> {
    let mut out = Vec::new();
    put_attributes(&resource.attributes, &mut out);
    varint::put(u64::from(resource.dropped_attributes), &mut out);
    put_bytes(resource.schema_url.as_bytes(), &mut out);
    out
}

/// The inverse of [`resource_bytes`].
pub(crate) fn read_resource(place: &str, bytes: &[u8]) -> Result<Resource, Corrupt> {
    let mut reader = Reader::new(place, bytes);
    let resource = Resource {
        attributes: read_attributes(&mut reader, DEPTH_MAX)?,
        dropped_attributes: reader.u32_varint()?,
        schema_url: reader.text(bytes.len())?.to_owned(),
    };
    reader.finish()?;
    Ok(resource)
}

/// A scope as bytes.
pub(crate) fn scope_bytes(scope: &Scope) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(scope.name.as_bytes(), &mut out);
    put_bytes(scope.version.as_bytes(), &mut out);
    put_attributes(&scope.attributes, &mut out);
    varint::put(u64::from(scope.dropped_attributes), &mut out);
    put_bytes(scope.schema_url.as_bytes(), &mut out);
    out
}

/// The inverse of [`scope_bytes`].
pub(crate) fn read_scope(place: &str, bytes: &[u8]) -> Result<Scope, Corrupt> {
    let mut reader = Reader::new(place, bytes);
    let scope = Scope {
        name: reader.text(bytes.len())?.to_owned(),
        version: reader.text(bytes.len())?.to_owned(),
        attributes: read_attributes(&mut reader, DEPTH_MAX)?,
        dropped_attributes: reader.u32_varint()?,
        schema_url: reader.text(bytes.len())?.to_owned(),
    };
    reader.finish()?;
    Ok(scope)
}

/// Values and bytes of a list: what it costs to hold. Names and nested values count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
    pub(crate) depth: usize,
}

/// What a key and its value take beside their text in memory: the pair, and what the allocator
/// adds to its two texts.
const ENTRY_BYTES: usize = size_of::<Attribute>() + 32;

impl Weight {
    /// Adds a list of attributes.
    pub(crate) fn add(&mut self, attributes: &[Attribute], depth: usize) {
        for attribute in attributes {
            self.bytes += attribute.key.len();
            self.add_value(&attribute.value, depth);
        }
    }

    fn add_value(&mut self, value: &AttributeValue, depth: usize) {
        self.entries += 1;
        self.bytes += ENTRY_BYTES;
        self.depth = self.depth.max(depth);
        // What is too deep is refused for that; walking on could exhaust the stack.
        if depth > DEPTH_MAX {
            return;
        }
        match value {
            AttributeValue::String(text) => self.bytes += text.len(),
            AttributeValue::Bytes(bytes) => self.bytes += bytes.len(),
            AttributeValue::Array(values) => {
                values.iter().for_each(|v| self.add_value(v, depth + 1));
            }
            AttributeValue::Map(entries) => self.add(entries, depth + 1),
            AttributeValue::Empty
            | AttributeValue::Bool(_)
            | AttributeValue::Int(_)
            | AttributeValue::Double(_) => {}
        }
    }
}

/// A total order: by type, then by value.
pub(crate) fn compare(a: &AttributeValue, b: &AttributeValue) -> Ordering {
    match (a, b) {
        (AttributeValue::String(a), AttributeValue::String(b)) => a.cmp(b),
        (AttributeValue::Bool(a), AttributeValue::Bool(b)) => a.cmp(b),
        (AttributeValue::Int(a), AttributeValue::Int(b)) => a.cmp(b),
        (AttributeValue::Double(a), AttributeValue::Double(b)) => a.total_cmp(b),
        (AttributeValue::Bytes(a), AttributeValue::Bytes(b)) => a.cmp(b),
        (a, b) if tag(a) != tag(b) => tag(a).cmp(&tag(b)),
        (a, b) => {
            let bytes = |value| {
                let mut out = Vec::new();
                put(value, &mut out);
                out
            };
            bytes(a).cmp(&bytes(b))
        }
    }
}
