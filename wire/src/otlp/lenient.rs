//! The leaves of OTLP/JSON: numbers as numbers or strings, ids as hex, bytes as base64, enums as
//! numbers or names. A null is the default everywhere, as in proto3's JSON.
//!
//! Invariant: a value that does not fit its field is an error; nothing wraps or is cut silently.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

/// A number that may be written as a string.
pub(crate) struct Lenient<T>(pub(crate) T);

/// A number as JSON has it.
#[derive(Clone, Copy)]
pub(crate) enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

/// What a JSON number can become.
pub(crate) trait FromNumber: Default {
    const NAME: &'static str;
    fn from_number(number: Number) -> Option<Self>;
}

/// The integer that a number stands for; floats without a fraction count, as in proto3's JSON.
fn integer(number: Number) -> Option<i128> {
    match number {
        Number::Unsigned(n) => Some(i128::from(n)),
        Number::Signed(n) => Some(i128::from(n)),
        // Beyond 2^64 no field fits anyway.
        Number::Float(n) if n.fract() == 0.0 && n.abs() < 2e19 => Some(n as i128),
        Number::Float(_) => None,
    }
}

impl FromNumber for u64 {
    const NAME: &'static str = "an integer from 0 to 2^64-1";
    fn from_number(number: Number) -> Option<Self> {
        integer(number)?.try_into().ok()
    }
}

impl FromNumber for i64 {
    const NAME: &'static str = "an integer from -2^63 to 2^63-1";
    fn from_number(number: Number) -> Option<Self> {
        integer(number)?.try_into().ok()
    }
}

impl FromNumber for u32 {
    const NAME: &'static str = "an integer from 0 to 2^32-1";
    fn from_number(number: Number) -> Option<Self> {
        integer(number)?.try_into().ok()
    }
}

impl FromNumber for i32 {
    const NAME: &'static str = "an integer from -2^31 to 2^31-1";
    fn from_number(number: Number) -> Option<Self> {
        integer(number)?.try_into().ok()
    }
}

impl FromNumber for f64 {
    const NAME: &'static str = "a number, \"NaN\", \"Infinity\" or \"-Infinity\"";
    fn from_number(number: Number) -> Option<Self> {
        Some(match number {
            Number::Unsigned(n) => n as f64,
            Number::Signed(n) => n as f64,
            Number::Float(n) => n,
        })
    }
}

fn parse(text: &str) -> Option<Number> {
    if let Ok(n) = text.parse() {
        return Some(Number::Unsigned(n));
    }
    if let Ok(n) = text.parse() {
        return Some(Number::Signed(n));
    }
    text.parse().ok().map(Number::Float)
}

struct NumberVisitor<T>(PhantomData<T>);

impl<T: FromNumber> NumberVisitor<T> {
    fn take<E: Error>(&self, number: Number) -> Result<T, E> {
        T::from_number(number).ok_or_else(|| E::custom(format_args!("expected {}", T::NAME)))
    }
}

impl<T: FromNumber> Visitor<'_> for NumberVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::NAME)
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<T, E> {
        self.take(Number::Unsigned(n))
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<T, E> {
        self.take(Number::Signed(n))
    }

    fn visit_f64<E: Error>(self, n: f64) -> Result<T, E> {
        self.take(Number::Float(n))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        let number = parse(text)
            .ok_or_else(|| E::custom(format_args!("expected {}, found {text:?}", T::NAME)))?;
        self.take(number)
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        Ok(T::default())
    }
}

impl<'de, T: FromNumber> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(NumberVisitor(PhantomData))
            .map(Self)
    }
}

/// A number, or its default for null.
pub(crate) fn number<'de, D: Deserializer<'de>, T: FromNumber>(d: D) -> Result<T, D::Error> {
    Lenient::deserialize(d).map(|n| n.0)
}

/// A number, or none for null.
pub(crate) fn optional<'de, D: Deserializer<'de>, T: FromNumber>(
    d: D,
) -> Result<Option<T>, D::Error> {
    Ok(Option::<Lenient<T>>::deserialize(d)?.map(|n| n.0))
}

/// Numbers, none for null.
pub(crate) fn numbers<'de, D: Deserializer<'de>, T: FromNumber>(d: D) -> Result<Vec<T>, D::Error> {
    let numbers = Option::<Vec<Lenient<T>>>::deserialize(d)?.unwrap_or_default();
    Ok(numbers.into_iter().map(|n| n.0).collect())
}

/// A value, or its default for null.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    d: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// An id in hexadecimal digits of either case.
pub(crate) fn hex<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
    let text = Option::<Cow<'de, str>>::deserialize(d)?.unwrap_or_default();
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|d| d as u8);
    text.as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect::<Option<Vec<u8>>>()
        .ok_or_else(|| {
            D::Error::custom(format_args!(
                "expected an id in pairs of hexadecimal digits, found {text:?}"
            ))
        })
}

/// Bytes written in base64, of either alphabet, with or without padding.
pub(crate) struct Base64(pub(crate) Vec<u8>);

const ANY_PADDING: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, ANY_PADDING);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, ANY_PADDING);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(d)?;
        let engine = if text.contains(['-', '_']) {
            URL_SAFE
        } else {
            STANDARD
        };
        engine
            .decode(text.as_bytes())
            .map(Self)
            .map_err(|e| D::Error::custom(format_args!("expected bytes in base64: {e}")))
    }
}

/// An enum as its number or its name; `names[i]` are the names of the number i.
struct EnumVisitor(&'static str, &'static [&'static str]);

impl Visitor<'_> for EnumVisitor {
    type Value = i32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number or name of {}", self.0)
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<i32, E> {
        NumberVisitor(PhantomData).visit_u64(n)
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<i32, E> {
        NumberVisitor(PhantomData).visit_i64(n)
    }

    fn visit_f64<E: Error>(self, n: f64) -> Result<i32, E> {
        NumberVisitor(PhantomData).visit_f64(n)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<i32, E> {
        let short = text.strip_prefix(self.0).unwrap_or(text);
        let known = self.1.iter().position(|name| *name == short);
        match known {
            Some(number) => Ok(number as i32),
            None => NumberVisitor(PhantomData).visit_str(text),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<i32, E> {
        Ok(0)
    }
}

/// Number or name of `Span.SpanKind`.
pub(crate) fn span_kind<'de, D: Deserializer<'de>>(d: D) -> Result<i32, D::Error> {
    d.deserialize_any(EnumVisitor("SPAN_KIND_", &SPAN_KINDS))
}

/// Number or name of `Status.StatusCode`.
pub(crate) fn status_code<'de, D: Deserializer<'de>>(d: D) -> Result<i32, D::Error> {
    d.deserialize_any(EnumVisitor("STATUS_CODE_", &STATUS_CODES))
}

/// Number or name of `AggregationTemporality`.
pub(crate) fn temporality<'de, D: Deserializer<'de>>(d: D) -> Result<i32, D::Error> {
    const NAMES: [&str; 3] = ["UNSPECIFIED", "DELTA", "CUMULATIVE"];
    d.deserialize_any(EnumVisitor("AGGREGATION_TEMPORALITY_", &NAMES))
}

/// Number or name of `SeverityNumber`.
pub(crate) fn severity_number<'de, D: Deserializer<'de>>(d: D) -> Result<i32, D::Error> {
    const NAMES: [&str; 25] = [
        "UNSPECIFIED",
        "TRACE",
        "TRACE2",
        "TRACE3",
        "TRACE4",
        "DEBUG",
        "DEBUG2",
        "DEBUG3",
        "DEBUG4",
        "INFO",
        "INFO2",
        "INFO3",
        "INFO4",
        "WARN",
        "WARN2",
        "WARN3",
        "WARN4",
        "ERROR",
        "ERROR2",
        "ERROR3",
        "ERROR4",
        "FATAL",
        "FATAL2",
        "FATAL3",
        "FATAL4",
    ];
    d.deserialize_any(EnumVisitor("SEVERITY_NUMBER_", &NAMES))
}

/// Names of `Span.SpanKind` without their prefix, by number.
pub(crate) const SPAN_KINDS: [&str; 6] = [
    "UNSPECIFIED",
    "INTERNAL",
    "SERVER",
    "CLIENT",
    "PRODUCER",
    "CONSUMER",
];
/// Names of `Status.StatusCode` without their prefix, by number.
pub(crate) const STATUS_CODES: [&str; 3] = ["UNSET", "OK", "ERROR"];
