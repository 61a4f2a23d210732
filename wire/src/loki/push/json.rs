//! The JSON form: `{"streams":[{"stream":{},"values":[["ns","line",{}]]}]}`, and the one before
//! Loki 0.4: `{"streams":[{"labels":"{}","entries":[{"ts":"RFC 3339","line":""}]}]}`.
//!
//! Invariant: the parser hands every value straight to its place; each level of the shape has its
//! own seed, so that the depth is fixed. Faults come with line and column.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use obs_model::Timestamp;
use obs_model::limits::Limits;
use obs_model::logs::{LogBatch, LogRecord};
use obs_model::time::parse_rfc3339;
use serde::de::{
    DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor,
};

use super::{Builder, Entries, FORMAT, NO_LABELS, Read, RecordFault, check_size};
use crate::error::{Position, WireError};
use crate::rejects::{Decoded, Rejects};

/// Reads the JSON form.
pub fn decode_json(body: &[u8], limits: &Limits) -> Result<Decoded<LogBatch>, WireError> {
    check_size(body, limits)?;
    let context = Context {
        builder: Builder::new(limits),
        refused: RefCell::new(None),
        rejects: RefCell::default(),
    };
    let mut json = serde_json::Deserializer::from_slice(body);
    let result = Body(&context)
        .deserialize(&mut json)
        .and_then(|batch| json.end().map(|()| batch));
    match result {
        Ok(batch) => Ok(context.rejects.take().into_decoded(batch)),
        Err(error) => Err(match context.refused.take() {
            Some(refused) => refused,
            None => malformed(&error),
        }),
    }
}

struct Context {
    builder: Builder,
    /// A limit that was reached; the parser can only carry text.
    refused: RefCell<Option<WireError>>,
    /// Streams whose labels are wrong.
    rejects: RefCell<Rejects>,
}

impl Context {
    /// Carries one of our errors through the parser.
    fn refuse<E: Error>(&self, error: WireError) -> E {
        match error {
            WireError::Malformed { expected, .. } => E::custom(expected),
            other => {
                let text = other.to_string();
                *self.refused.borrow_mut() = Some(other);
                E::custom(text)
            }
        }
    }
}

/// The parser's words in ours: what was expected, then what was found.
fn malformed(error: &serde_json::Error) -> WireError {
    let text = error.to_string();
    let text = text
        .rsplit_once(" at line ")
        .map_or(text.as_str(), |(t, _)| t);
    let found = ["invalid type: ", "invalid value: ", "invalid length "]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix));
    let expected = match found.and_then(|rest| rest.rsplit_once(", expected ")) {
        Some((found, expected)) => format!("{expected}, found {found}"),
        None if error.is_data() => text.to_owned(),
        None => format!("JSON ({text})"),
    };
    WireError::Malformed {
        format: FORMAT,
        position: Position::Line {
            line: error.line(),
            column: error.column(),
        },
        expected,
    }
}

struct Body<'c>(&'c Context);

impl<'de> DeserializeSeed<'de> for Body<'_> {
    type Value = LogBatch;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<LogBatch, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Body<'_> {
    type Value = LogBatch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with \"streams\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LogBatch, A::Error> {
        let mut batch = LogBatch::default();
        while let Some(Key(key)) = map.next_key_seed(KeySeed)? {
            if key == "streams" {
                map.next_value_seed(Streams(self.0, &mut batch))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(batch)
    }
}

struct Streams<'c>(&'c Context, &'c mut LogBatch);

impl<'de> DeserializeSeed<'de> for Streams<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Streams<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of streams")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some((labels, entries)) = seq.next_element_seed(Stream(self.0, index))? {
            index += 1;
            let mut rejects = self.0.rejects.borrow_mut();
            entries.under(labels, self.1, &mut rejects);
        }
        Ok(())
    }
}

/// One stream and its place in the array.
struct Stream<'c>(&'c Context, usize);

impl<'de> DeserializeSeed<'de> for Stream<'_> {
    type Value = Read;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Read, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Stream<'_> {
    type Value = Read;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with \"stream\" and \"values\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Read, A::Error> {
        let fault =
            |expected| WireError::at_path(FORMAT, format!("streams[{}].stream", self.1), expected);
        let mut labels = Err(fault(NO_LABELS.to_owned()));
        let mut entries = Entries::default();
        while let Some(Key(key)) = map.next_key_seed(KeySeed)? {
            match &*key {
                "stream" => {
                    let max = self.0.builder.limits.labels_max;
                    let (mut pairs, found) = map.next_value_seed(Pairs(max))?;
                    labels = if found > max {
                        Err(WireError::too_large(FORMAT, "labels_max", max))
                    } else {
                        self.0.builder.labels(&mut pairs, fault)
                    };
                }
                "values" => map.next_value_seed(Values(&mut entries, || Entry(self.0)))?,
                "labels" => {
                    let Key(text) = map.next_value_seed(KeySeed)?;
                    labels = self.0.builder.parse(&text);
                }
                "entries" => map.next_value_seed(Values(&mut entries, || Old(self.0)))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok((labels, entries))
    }
}

/// The records of a stream and what reads one.
struct Values<'c, F>(&'c mut Entries, F);

impl<'de, S, F> DeserializeSeed<'de> for Values<'_, F>
where
    S: DeserializeSeed<'de, Value = Result<LogRecord, RecordFault>>,
    F: Fn() -> S,
{
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de, S, F> Visitor<'de> for Values<'_, F>
where
    S: DeserializeSeed<'de, Value = Result<LogRecord, RecordFault>>,
    F: Fn() -> S,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(entry) = seq.next_element_seed((self.1)())? {
            self.0.add(entry);
        }
        Ok(())
    }
}

struct Entry<'c>(&'c Context);

impl<'de> DeserializeSeed<'de> for Entry<'_> {
    type Value = Result<LogRecord, RecordFault>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Entry<'_> {
    type Value = Result<LogRecord, RecordFault>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an entry [\"nanoseconds\", \"line\", {metadata}]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let time = seq.next_element_seed(Time)?;
        let time = time.ok_or_else(|| A::Error::invalid_length(0, &self))?;
        let line = seq.next_element_seed(Line)?;
        let line = line.ok_or_else(|| A::Error::invalid_length(1, &self))?;
        let refuse = |error| self.0.refuse::<A::Error>(error);
        let max = self.0.builder.limits.metadata_max;
        let (mut pairs, found) = seq.next_element_seed(Pairs(max))?.unwrap_or_default();
        let metadata = match pairs.is_empty() || found > max {
            true => self.0.builder.empty.clone(),
            false => self.0.builder.metadata(&mut pairs).map_err(refuse)?,
        };
        if seq.next_element::<IgnoredAny>()?.is_some() {
            return Err(A::Error::invalid_length(4, &self));
        }
        if found > max {
            return Ok(Err(self.0.builder.too_much_metadata(found)));
        }
        Ok(Ok(LogRecord {
            time,
            line: line.into_owned(),
            metadata,
        }))
    }
}

/// An entry of the old form.
struct Old<'c>(&'c Context);

impl<'de> DeserializeSeed<'de> for Old<'_> {
    type Value = Result<LogRecord, RecordFault>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Old<'_> {
    type Value = Result<LogRecord, RecordFault>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an entry {\"ts\": \"RFC 3339\", \"line\": \"line\"}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut time, mut line) = (None, None);
        while let Some(Key(key)) = map.next_key_seed(KeySeed)? {
            match &*key {
                "ts" => {
                    let Key(text) = map.next_value_seed(KeySeed)?;
                    let parsed = parse_rfc3339(&text);
                    time = Some(parsed.ok_or_else(|| {
                        let expected = &"a timestamp in RFC 3339";
                        A::Error::invalid_value(Unexpected::Str(&text), expected)
                    })?);
                }
                "line" => line = Some(map.next_value_seed(Line)?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Ok(LogRecord {
            time: time.ok_or_else(|| A::Error::missing_field("ts"))?,
            line: line
                .ok_or_else(|| A::Error::missing_field("line"))?
                .into_owned(),
            metadata: self.0.builder.empty.clone(),
        }))
    }
}

/// Nanoseconds as text. A number is refused, as Loki does: JSON numbers lose digits of it.
struct Time;

impl<'de> DeserializeSeed<'de> for Time {
    type Value = Timestamp;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Timestamp, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Time {
    type Value = Timestamp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a timestamp as a string of nanoseconds")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Timestamp, E> {
        let nanos = text.parse();
        let nanos = nanos.map_err(|_| E::invalid_value(Unexpected::Str(text), &self))?;
        Ok(Timestamp::from_nanos(nanos))
    }
}

/// A line: bytes, so that text which is not UTF-8 is kept.
struct Line;

impl<'de> DeserializeSeed<'de> for Line {
    type Value = Cow<'de, [u8]>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_bytes(self)
    }
}

impl<'de> Visitor<'de> for Line {
    type Value = Cow<'de, [u8]>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a line as a string")
    }

    fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(bytes))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(Cow::Owned(bytes.to_vec()))
    }
}

/// An object of strings, of which at most so many are kept; and how many there are.
struct Pairs(usize);

impl<'de> DeserializeSeed<'de> for Pairs {
    type Value = (Vec<(Cow<'de, str>, Cow<'de, str>)>, usize);

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Pairs {
    type Value = (Vec<(Cow<'de, str>, Cow<'de, str>)>, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut pairs, mut found) = (Vec::new(), 0);
        while let Some(Key(name)) = map.next_key_seed(KeySeed)? {
            let Key(value) = map.next_value_seed(KeySeed)?;
            found += 1;
            if found <= self.0 {
                pairs.push((name, value));
            }
        }
        Ok((pairs, found))
    }
}

/// A string that is lent where it has no escapes.
struct Key<'de>(Cow<'de, str>);

struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Key<'de>, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed {
    type Value = Key<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Owned(text.to_owned())))
    }
}
