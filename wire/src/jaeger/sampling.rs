//! Strategies of remote sampling: Jaeger's file of them, and the answers to clients that ask, as
//! JSON and as `jaeger.api_v2.SamplingStrategyResponse`.
//!
//! Invariants: probabilities are from 0 to 1; what a file does not say is as in Jaeger; without a
//! file everything is sampled, because whole traces are decided on behind the collector.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::WireError;
use crate::json::Writer;
use crate::protobuf::{Message, Wire, put};

const FORMAT: &str = "Jaeger sampling strategies";
/// What Jaeger samples where a file says nothing.
const RATE_DEFAULT: f64 = 0.001;
/// Services and operations of a file.
const STRATEGIES_MAX: usize = 100_000;

/// How a service samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Strategy {
    kind: Kind,
    /// The probability of all other operations, and that of each that is named.
    operations: Option<(f64, BTreeMap<String, f64>)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// A share of traces.
    Probabilistic(f64),
    /// Traces each second.
    RateLimiting(i32),
}

/// The strategies of all services.
#[derive(Clone, Debug, PartialEq)]
pub struct Strategies {
    default: Strategy,
    services: BTreeMap<String, Strategy>,
}

impl Default for Strategies {
    fn default() -> Self {
        let default = Strategy {
            kind: Kind::Probabilistic(1.0),
            operations: None,
        };
        Self {
            default,
            services: BTreeMap::new(),
        }
    }
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    default_strategy: Option<OfService>,
    #[serde(default)]
    service_strategies: Vec<OfService>,
}

#[derive(Deserialize)]
struct OfService {
    #[serde(default)]
    service: String,
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    param: f64,
    #[serde(default)]
    operation_strategies: Vec<OfOperation>,
}

#[derive(Deserialize)]
struct OfOperation {
    operation: String,
    r#type: String,
    param: f64,
}

fn fault(path: String, expected: impl Into<String>) -> WireError {
    WireError::at_path(FORMAT, path, expected)
}

fn probability(path: &str, param: f64) -> Result<f64, WireError> {
    let right = (0.0..=1.0).contains(&param);
    let text = || fault(format!("{path}.param"), format!("0 to 1, found {param}"));
    right.then_some(param).ok_or_else(text)
}

impl OfService {
    fn check(self, path: &str) -> Result<Strategy, WireError> {
        let kind = match self.r#type.as_str() {
            "probabilistic" => Kind::Probabilistic(probability(path, self.param)?),
            "ratelimiting" if (0.0..=f64::from(i32::MAX)).contains(&self.param) => {
                Kind::RateLimiting(self.param as i32)
            }
            "ratelimiting" => {
                let found = format!("traces each second, found {}", self.param);
                return Err(fault(format!("{path}.param"), found));
            }
            // Only its operations are told.
            "" if !self.operation_strategies.is_empty() => Kind::Probabilistic(RATE_DEFAULT),
            other => {
                let found = format!("probabilistic or ratelimiting, found {other:?}");
                return Err(fault(format!("{path}.type"), found));
            }
        };
        let rest = match kind {
            Kind::Probabilistic(rate) => rate,
            Kind::RateLimiting(_) => RATE_DEFAULT,
        };
        let mut operations = BTreeMap::new();
        for (index, one) in self.operation_strategies.into_iter().enumerate() {
            let path = format!("{path}.operation_strategies[{index}]");
            if one.r#type != "probabilistic" {
                let found = format!("probabilistic, found {:?}", one.r#type);
                return Err(fault(format!("{path}.type"), found));
            }
            operations.insert(one.operation, probability(&path, one.param)?);
        }
        Ok(Strategy {
            kind,
            operations: (!operations.is_empty()).then_some((rest, operations)),
        })
    }
}

/// What a service has not of its own it has of the default.
fn merge(own: &mut Strategy, default: &Strategy) {
    let Some((_, shared)) = &default.operations else {
        return;
    };
    match (&mut own.operations, own.kind) {
        (Some((_, operations)), _) => {
            for (name, rate) in shared {
                operations.entry(name.clone()).or_insert(*rate);
            }
        }
        (None, Kind::Probabilistic(rate)) => own.operations = Some((rate, shared.clone())),
        (None, Kind::RateLimiting(_)) => {}
    }
}

impl Strategies {
    /// Reads Jaeger's file: JSON with `default_strategy` and `service_strategies`.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let file: File = serde_json::from_slice(bytes)
            .map_err(|error| fault("file".to_owned(), format!("valid JSON: {error}")))?;
        let lists = file.service_strategies.iter().chain(&file.default_strategy);
        let count: usize = lists.map(|one| 1 + one.operation_strategies.len()).sum();
        if count > STRATEGIES_MAX {
            let most = format!("at most {STRATEGIES_MAX} strategies, found {count}");
            return Err(fault("file".to_owned(), most));
        }
        let default = match file.default_strategy {
            Some(one) => one.check("default_strategy")?,
            None => Strategy {
                kind: Kind::Probabilistic(RATE_DEFAULT),
                operations: None,
            },
        };
        let mut services = BTreeMap::new();
        for (index, one) in file.service_strategies.into_iter().enumerate() {
            let path = format!("service_strategies[{index}]");
            if one.service.is_empty() {
                return Err(fault(format!("{path}.service"), "the name of a service"));
            }
            let name = one.service.clone();
            let mut own = one.check(&path)?;
            merge(&mut own, &default);
            services.insert(name, own);
        }
        Ok(Self { default, services })
    }

    /// The strategy of a service.
    pub fn of(&self, service: &str) -> &Strategy {
        self.services.get(service).unwrap_or(&self.default)
    }
}

impl Strategy {
    /// JSON; `by_number` writes the type as the first clients read it.
    pub fn json(&self, by_number: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let mut json = Writer::new(&mut out);
        json.object();
        let (number, name) = match self.kind {
            Kind::Probabilistic(_) => (0, "PROBABILISTIC"),
            Kind::RateLimiting(_) => (1, "RATE_LIMITING"),
        };
        json.key("strategyType");
        if by_number {
            json.unsigned(number);
        } else {
            json.string(name);
        }
        match self.kind {
            Kind::Probabilistic(rate) => write_rate(&mut json, rate),
            Kind::RateLimiting(most) => {
                json.key("rateLimitingSampling");
                json.object();
                json.key("maxTracesPerSecond");
                json.integer(most.into());
                json.end_object();
            }
        }
        if let Some((rest, operations)) = &self.operations {
            json.key("operationSampling");
            json.object();
            json.key("defaultSamplingProbability");
            json.number(*rest);
            json.key("defaultLowerBoundTracesPerSecond");
            json.unsigned(0);
            json.key("perOperationStrategies");
            json.array();
            for (name, rate) in operations {
                json.object();
                json.field("operation", name);
                write_rate(&mut json, *rate);
                json.end_object();
            }
            json.end_array();
            json.end_object();
        }
        json.end_object();
        out
    }

    /// `SamplingStrategyResponse`
    pub fn protobuf(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self.kind {
            Kind::Probabilistic(rate) => {
                put::message(&mut out, 2, |out| put::double(out, 1, rate));
            }
            Kind::RateLimiting(most) => {
                put::uint(&mut out, 1, 1);
                let most = u64::try_from(most).unwrap_or(0);
                put::message(&mut out, 3, |out| put::uint(out, 1, most));
            }
        }
        if let Some((rest, operations)) = &self.operations {
            put::message(&mut out, 4, |out| {
                put::double(out, 1, *rest);
                for (name, rate) in operations {
                    put::message(out, 3, |out| {
                        put::bytes(out, 1, name.as_bytes());
                        put::message(out, 2, |out| put::double(out, 1, *rate));
                    });
                }
            });
        }
        out
    }
}

fn write_rate(json: &mut Writer<'_>, rate: f64) {
    json.key("probabilisticSampling");
    json.object();
    json.key("samplingRate");
    json.number(rate);
    json.end_object();
}

/// The service of a `SamplingStrategyParameters`.
pub fn service(bytes: &[u8]) -> Result<&str, WireError> {
    let mut found = "";
    let mut fields = Message::new(FORMAT, bytes).fields();
    while let Some(field) = fields.next()? {
        if let (1, Wire::Bytes(text)) = field {
            found = text.text()?;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILE: &str = r#"{
        "service_strategies": [
            {"service": "shop", "type": "probabilistic", "param": 0.8, "operation_strategies": [
                {"operation": "pay", "type": "probabilistic", "param": 0.2}]},
            {"service": "mail", "type": "ratelimiting", "param": 5},
            {"service": "cart", "type": "probabilistic", "param": 0.25}
        ],
        "default_strategy": {"type": "probabilistic", "param": 0.5, "operation_strategies": [
            {"operation": "/health", "type": "probabilistic", "param": 0}]}
    }"#;

    #[test]
    fn answers() {
        let all = Strategies::decode(FILE.as_bytes()).unwrap();
        let check = |service: &str, expect: &str| {
            let text = String::from_utf8(all.of(service).json(false)).unwrap();
            assert_eq!(text, expect, "{service}");
            let numbered = String::from_utf8(all.of(service).json(true)).unwrap();
            let number = u8::from(expect.contains("RATE"));
            let begin = format!("{{\"strategyType\":{number},");
            assert!(numbered.starts_with(&begin), "{numbered}");
        };
        check(
            "shop",
            concat!(
                r#"{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0.8},"#,
                r#""operationSampling":{"defaultSamplingProbability":0.8,"defaultLowerBoundTracesPerSecond":0,"#,
                r#""perOperationStrategies":[{"operation":"/health","probabilisticSampling":{"samplingRate":0}},"#,
                r#"{"operation":"pay","probabilisticSampling":{"samplingRate":0.2}}]}}"#
            ),
        );
        check(
            "mail",
            r#"{"strategyType":"RATE_LIMITING","rateLimitingSampling":{"maxTracesPerSecond":5}}"#,
        );
        check(
            "cart",
            concat!(
                r#"{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0.25},"#,
                r#""operationSampling":{"defaultSamplingProbability":0.25,"defaultLowerBoundTracesPerSecond":0,"#,
                r#""perOperationStrategies":[{"operation":"/health","probabilisticSampling":{"samplingRate":0}}]}}"#
            ),
        );
        let other = String::from_utf8(all.of("other").json(false)).unwrap();
        assert!(other.contains(r#""samplingRate":0.5"#) && other.contains("/health"));
        let none = String::from_utf8(Strategies::default().of("x").json(false)).unwrap();
        assert_eq!(
            none,
            r#"{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":1}}"#
        );
        let empty = Strategies::decode(b"{}").unwrap();
        assert_eq!(empty.of("x").kind, Kind::Probabilistic(RATE_DEFAULT));
    }

    #[test]
    fn protobuf() {
        let all = Strategies::decode(FILE.as_bytes()).unwrap();
        assert_eq!(all.of("mail").protobuf(), [8, 1, 0x1a, 2, 8, 5]);
        let none = Strategies::default().of("x").protobuf();
        assert_eq!(none, [0x12, 9, 9, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
        let shop = all.of("shop").protobuf();
        assert!(shop.windows(7).any(|part| part == b"/health"));
        assert_eq!(service(&[0x0a, 1, b'x']).unwrap(), "x");
        assert_eq!(service(&[]).unwrap(), "");
    }

    #[test]
    fn faults_name_the_place() {
        let check = |text: &str, expect: &str| {
            let error = Strategies::decode(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check("1", "file");
        check(
            r#"{"service_strategies":[{"service":"a","type":"probabilistic","param":2}]}"#,
            "service_strategies[0].param",
        );
        check(
            r#"{"service_strategies":[{"type":"probabilistic","param":1}]}"#,
            "service_strategies[0].service",
        );
        check(
            r#"{"default_strategy":{"type":"x"}}"#,
            "default_strategy.type",
        );
        check(
            r#"{"default_strategy":{"type":"ratelimiting","param":-1}}"#,
            "default_strategy.param",
        );
        check(
            r#"{"default_strategy":{"operation_strategies":[{"operation":"a","type":"ratelimiting","param":1}]}}"#,
            "default_strategy.operation_strategies[0].type",
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let read = Strategies::decode(&bytes);
            let some = bytes.iter().any(|b| *b == b'{' || *b == b'[');
            prop_assert!(read.is_err() || some);
            if let Ok(service) = service(&bytes) {
                prop_assert!(service.len() <= bytes.len());
            }
        }
    }
}
