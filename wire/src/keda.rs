//! `externalscaler.ExternalScaler`: what KEDA asks of a scaler that is not part of it.
//!
//! Invariant: of a trigger's metadata at most [`PAIRS_MAX`] pairs are read; names that nobody knows
//! are kept, as KEDA adds its own.

use std::collections::BTreeMap;

use crate::error::WireError;
use crate::protobuf::{Message, Wire, put};

const FORMAT: &str = "KEDA request";
/// Pairs of a trigger's metadata.
const PAIRS_MAX: usize = 1000;

/// A trigger of a ScaledObject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trigger {
    /// The ScaledObject's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// What the trigger says.
    pub metadata: BTreeMap<String, String>,
}

/// Reads a `ScaledObjectRef`, the request of `IsActive` and `GetMetricSpec`.
///
/// # Errors
/// The bytes are no such message, or it has too many pairs.
pub fn trigger(bytes: &[u8]) -> Result<Trigger, WireError> {
    read(Message::new(FORMAT, bytes))
}

/// Reads a `GetMetricsRequest`: the trigger, and the name of the metric.
///
/// # Errors
/// As [`trigger`].
pub fn metrics_request(bytes: &[u8]) -> Result<(Trigger, String), WireError> {
    let message = Message::new(FORMAT, bytes);
    let (mut found, mut metric) = (Trigger::default(), String::new());
    let mut fields = message.fields();
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Wire::Bytes(inner)) => found = read(inner)?,
            (2, Wire::Bytes(text)) => metric = text.text()?.to_owned(),
            (1 | 2, _) => return Err(fields.mistyped(number, "bytes")),
            _ => {}
        }
    }
    Ok((found, metric))
}

fn read(message: Message<'_>) -> Result<Trigger, WireError> {
    let mut found = Trigger::default();
    let mut fields = message.fields();
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Wire::Bytes(text)) => found.name = text.text()?.to_owned(),
            (2, Wire::Bytes(text)) => found.namespace = text.text()?.to_owned(),
            (3, Wire::Bytes(pair)) => {
                let (key, value) = entry(pair)?;
                found.metadata.insert(key, value);
                if found.metadata.len() > PAIRS_MAX {
                    let expected = format!("at most {PAIRS_MAX} pairs of metadata");
                    return Err(message.fault(expected));
                }
            }
            (1..=3, _) => return Err(fields.mistyped(number, "bytes")),
            _ => {}
        }
    }
    Ok(found)
}

/// A pair of a map.
fn entry(message: Message<'_>) -> Result<(String, String), WireError> {
    let (mut key, mut text) = (String::new(), String::new());
    let mut fields = message.fields();
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Wire::Bytes(bytes)) => key = bytes.text()?.to_owned(),
            (2, Wire::Bytes(bytes)) => text = bytes.text()?.to_owned(),
            (1 | 2, _) => return Err(fields.mistyped(number, "bytes")),
            _ => {}
        }
    }
    Ok((key, text))
}

/// Writes an `IsActiveResponse`.
pub fn is_active(active: bool) -> Vec<u8> {
    let mut out = Vec::new();
    if active {
        put::uint(&mut out, 1, 1);
    }
    out
}

/// Writes a `GetMetricSpecResponse` of one metric. Whole numbers stand in the old field as well.
pub fn metric_spec(name: &str, target: f64) -> Vec<u8> {
    one(name, target)
}

/// Writes a `GetMetricsResponse` of one metric.
pub fn metrics(name: &str, value: f64) -> Vec<u8> {
    one(name, value)
}

/// `MetricSpec` and `MetricValue` have the same shape.
fn one(name: &str, value: f64) -> Vec<u8> {
    let mut out = Vec::new();
    put::message(&mut out, 1, |inner| {
        put::bytes(inner, 1, name.as_bytes());
        if (0.0..9.0e18).contains(&value) {
            put::uint(inner, 2, value.round() as u64);
        }
        put::double(inner, 3, value);
    });
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(trigger: &Trigger) -> Vec<u8> {
        let mut out = Vec::new();
        put::bytes(&mut out, 1, trigger.name.as_bytes());
        put::bytes(&mut out, 2, trigger.namespace.as_bytes());
        for (key, value) in &trigger.metadata {
            put::message(&mut out, 3, |inner| {
                put::bytes(inner, 1, key.as_bytes());
                put::bytes(inner, 2, value.as_bytes());
            });
        }
        out
    }

    #[test]
    fn triggers_are_read() {
        let pairs = [("query", "sum(x)"), ("threshold", "5")];
        let expect = Trigger {
            name: "web".to_owned(),
            namespace: "a".to_owned(),
            metadata: pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        };
        let bytes = written(&expect);
        assert_eq!(trigger(&bytes).unwrap(), expect);
        let mut request = Vec::new();
        put::bytes(&mut request, 1, &bytes);
        put::bytes(&mut request, 2, b"s0-obs");
        let found = metrics_request(&request).unwrap();
        assert_eq!(found, (expect, "s0-obs".to_owned()));
    }

    #[test]
    fn answers_are_written() {
        assert!(is_active(false).is_empty());
        assert_eq!(is_active(true), [8, 1]);
        let expect = [10, 14, 10, 1, b'm', 16, 3, 25, 0, 0, 0, 0, 0, 0, 4, 64];
        assert_eq!(metrics("m", 2.5), expect);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn what_was_written_is_read(name in ".{0,9}", pairs in proptest::collection::btree_map(".{0,9}", ".{0,20}", 0..9)) {
            let expect = Trigger { name, namespace: "n".to_owned(), metadata: pairs };
            prop_assert_eq!(trigger(&written(&expect)).unwrap(), expect);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(found) = trigger(&bytes) {
                let texts: usize = found.metadata.iter().map(|(k, v)| k.len() + v.len()).sum();
                prop_assert!(texts <= bytes.len());
            }
            if let Ok((_, metric)) = metrics_request(&bytes) {
                prop_assert!(metric.len() <= bytes.len());
            }
        }
    }
}
