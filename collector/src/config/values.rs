//! Scalar values of the configuration. Each parses while it is read, so that a fault has the
//! line and column of the value.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use obs_model::{Pattern, duration};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A value that is written as text and parsed by a function.
pub(super) fn from_text<'de, D, T>(
    deserializer: D,
    expecting: &'static str,
    parse: fn(&str) -> Result<T, String>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(TextVisitor { expecting, parse })
}

struct TextVisitor<T> {
    expecting: &'static str,
    parse: fn(&str) -> Result<T, String>,
}

impl<T> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }

    // YAML reads `0` as a number; durations and sizes mean the text.
    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        (self.parse)(&number.to_string()).map_err(E::custom)
    }
}

/// Reads `R` from a mapping and turns it into `T`; a fault of the whole gets the mapping's place.
pub(super) fn checked_map<'de, D, R, T>(
    deserializer: D,
    check: fn(R) -> Result<T, String>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    R: Deserialize<'de>,
{
    deserializer.deserialize_map(MapVisitor {
        check,
        raw: PhantomData,
    })
}

struct MapVisitor<R, T> {
    check: fn(R) -> Result<T, String>,
    raw: PhantomData<R>,
}

impl<'de, R: Deserialize<'de>, T> Visitor<'de> for MapVisitor<R, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        let raw = R::deserialize(MapAccessDeserializer::new(map))?;
        (self.check)(raw).map_err(A::Error::custom)
    }
}

/// A duration in Prometheus' form: `15s`, `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// Parses a duration in Prometheus' form.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    duration::parse(text)
        .and_then(|nanos| u64::try_from(nanos).ok())
        .map(Duration::from_nanos)
        .ok_or_else(|| format!("not a valid duration: {text:?}, expected one such as 15s or 1h30m"))
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a duration such as 15s", |text| {
            parse_duration(text).map(Self)
        })
    }
}

/// Bytes such as `10MB`; units are powers of 1024, as in Prometheus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size(pub u64);

impl Size {
    fn parse(text: &str) -> Result<Self, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let shift = match unit {
            "" if number == "0" => Some(0),
            "B" => Some(0),
            "KB" | "KiB" => Some(10),
            "MB" | "MiB" => Some(20),
            "GB" | "GiB" => Some(30),
            "TB" | "TiB" => Some(40),
            "PB" | "PiB" => Some(50),
            _ => None,
        };
        let number = number.parse::<u64>().ok();
        shift
            .zip(number)
            .and_then(|(shift, number)| number.checked_mul(1 << shift))
            .map(Self)
            .ok_or_else(|| {
                format!("not a valid size: {text:?}, expected one such as 512KB or 10MB")
            })
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a size such as 10MB", Self::parse)
    }
}

/// An anchored regular expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Regex(pub Pattern);

impl<'de> Deserialize<'de> for Regex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a regular expression", |text| {
            Pattern::anchored(text).map(Self).map_err(|e| e.to_string())
        })
    }
}

/// A text that must never be printed.
#[derive(Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for sending.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// A key of Prometheus that this version does not serve: absent, or an error that says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unsupported;

impl<'de> Deserialize<'de> for Unsupported {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnsupportedVisitor)
    }
}

struct UnsupportedVisitor;

impl UnsupportedVisitor {
    fn fault<E: Error>() -> Result<Unsupported, E> {
        Err(E::custom("this key of Prometheus is not supported yet"))
    }
}

impl<'de> Visitor<'de> for UnsupportedVisitor {
    type Value = Unsupported;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing: the key is not supported yet")
    }

    fn visit_unit<E: Error>(self) -> Result<Unsupported, E> {
        Ok(Unsupported)
    }

    // `false` asks for nothing.
    fn visit_bool<E: Error>(self, wanted: bool) -> Result<Unsupported, E> {
        if wanted {
            Self::fault()
        } else {
            Ok(Unsupported)
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Unsupported, E> {
        if number > 0 {
            Self::fault()
        } else {
            Ok(Unsupported)
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Unsupported, E> {
        if number == 0.0 {
            Ok(Unsupported)
        } else {
            Self::fault()
        }
    }

    fn visit_str<E: Error>(self, _text: &str) -> Result<Unsupported, E> {
        Self::fault()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _seq: A) -> Result<Unsupported, A::Error> {
        Self::fault()
    }

    fn visit_map<A: MapAccess<'de>>(self, _map: A) -> Result<Unsupported, A::Error> {
        Self::fault()
    }
}
