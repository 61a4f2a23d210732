//! Influx's line protocol: `measurement,tag=v field=1i,other="s" 1700000000000000000`.
//!
//! Invariants: a line that cannot be read costs itself only, and is told; fields that are texts
//! are no samples and are passed by; names are of Prometheus' alphabet, other characters become
//! `_`. Format: <https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/>

use std::borrow::Cow;

use obs_model::labels::METRIC_NAME;
use obs_model::limits::Limits;
use obs_model::metrics::Sample;
use obs_model::{LabelsBuilder, MetricBatch, Series, Timestamp, Value};

use crate::error::WireError;
use crate::number;
use crate::rejects::{Decoded, Rejects};

const FORMAT: &str = "Influx lines";

/// The unit of times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// `n`, `ns`
    #[default]
    Nanos,
    /// `u`, `us`
    Micros,
    /// `ms`
    Millis,
    /// `s`
    Seconds,
    /// `m`
    Minutes,
    /// `h`
    Hours,
}

impl Precision {
    /// From the parameter `precision`.
    pub fn from_text(text: &str) -> Option<Self> {
        Some(match text {
            "" | "n" | "ns" => Self::Nanos,
            "u" | "us" | "µ" | "µs" => Self::Micros,
            "ms" => Self::Millis,
            "s" => Self::Seconds,
            "m" => Self::Minutes,
            "h" => Self::Hours,
            _ => return None,
        })
    }

    fn nanos(self) -> i64 {
        match self {
            Self::Nanos => 1,
            Self::Micros => 1_000,
            Self::Millis => 1_000_000,
            Self::Seconds => 1_000_000_000,
            Self::Minutes => 60_000_000_000,
            Self::Hours => 3_600_000_000_000,
        }
    }
}

/// Reads a body; lines without a time have `now`.
pub fn decode(
    bytes: &[u8],
    precision: Precision,
    now: Timestamp,
    limits: &Limits,
) -> Result<Decoded<MetricBatch>, WireError> {
    if bytes.len() > limits.decompressed_bytes_max {
        let max = limits.decompressed_bytes_max;
        return Err(WireError::too_large(FORMAT, crate::capped::LIMIT, max));
    }
    let (mut batch, mut rejects) = (MetricBatch::default(), Rejects::default());
    let mut reader = Reader {
        bytes,
        at: 0,
        limits,
    };
    let mut number = 0;
    while reader.at < bytes.len() {
        number += 1;
        let before = batch.series.len();
        if let Err(expected) = reader.line(precision, now, &mut batch) {
            batch.series.truncate(before);
            rejects.add(1, format!("line {number}: expected {expected}"));
            reader.skip_line();
        }
    }
    Ok(rejects.into_decoded(batch))
}

struct Reader<'a, 'l> {
    bytes: &'a [u8],
    at: usize,
    limits: &'l Limits,
}

impl<'a> Reader<'a, '_> {
    fn line(
        &mut self,
        precision: Precision,
        now: Timestamp,
        batch: &mut MetricBatch,
    ) -> Result<(), String> {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r')) {
            self.at += 1;
        }
        if matches!(self.peek(), None | Some(b'\n' | b'#')) {
            self.skip_line();
            return Ok(());
        }
        let measurement = self.word(b", ")?;
        if measurement.is_empty() {
            return Err("a measurement".to_owned());
        }
        let mut labels = LabelsBuilder::default();
        let mut count = 0;
        while self.take(b',') {
            let name = self.word(b"=, ")?;
            if !self.take(b'=') || name.is_empty() {
                return Err("tags as name=value".to_owned());
            }
            let value = self.word(b", ")?;
            count += 1;
            self.within(
                "label_name_bytes_max",
                name.len(),
                self.limits.label_name_bytes_max,
            )?;
            self.within(
                "label_value_bytes_max",
                value.len(),
                self.limits.label_value_bytes_max,
            )?;
            self.within("labels_max", count, self.limits.labels_max)?;
            labels.set(&clean(&name, false), &value);
        }
        if !self.take(b' ') {
            return Err("a blank before the fields".to_owned());
        }
        self.blanks();
        let first = batch.series.len();
        loop {
            let name = self.word(b"=, ")?;
            if !self.take(b'=') || name.is_empty() {
                return Err("fields as name=value".to_owned());
            }
            if let Some(value) = self.value()? {
                let metric = clean(&format!("{measurement}_{name}"), true);
                self.within(
                    "label_value_bytes_max",
                    metric.len(),
                    self.limits.label_value_bytes_max,
                )?;
                labels.set(METRIC_NAME, &metric);
                let sample = Sample {
                    time: now,
                    start: None,
                    value: Value::Float(value),
                };
                batch.series.push(Series {
                    labels: labels.build(),
                    samples: vec![sample],
                    ..Series::default()
                });
            }
            if !self.take(b',') {
                break;
            }
        }
        if let Some(time) = self.time(precision)? {
            let samples = batch.series[first..].iter_mut();
            samples
                .flat_map(|s| &mut s.samples)
                .for_each(|s| s.time = time);
        }
        Ok(())
    }

    fn within(&self, limit: &str, found: usize, max: usize) -> Result<(), String> {
        match found > max {
            true => Err(format!(
                "no more than the limit {limit} of {max}, found {found}"
            )),
            false => Ok(()),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn blanks(&mut self) {
        while self.take(b' ') {}
    }

    fn skip_line(&mut self) {
        // A backslash at the end leads behind it.
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let end = rest.iter().position(|b| *b == b'\n');
        self.at += end.map_or(rest.len(), |end| end + 1);
    }

    /// A text up to one of `ends` or the end of the line; a backslash before a blank, a comma, an
    /// equals sign or itself stands for that.
    fn word(&mut self, ends: &[u8]) -> Result<Cow<'a, str>, String> {
        let start = self.at;
        let mut owned: Option<Vec<u8>> = None;
        while let Some(byte) = self.peek() {
            if byte == b'\n' || ends.contains(&byte) {
                break;
            }
            let next = self.bytes.get(self.at + 1);
            if byte == b'\\' && matches!(next, Some(b' ' | b',' | b'=' | b'\\')) {
                let text = owned.get_or_insert_with(|| self.bytes[start..self.at].to_vec());
                text.extend(next);
                self.at += 2;
                continue;
            }
            if let Some(text) = &mut owned {
                text.push(byte);
            }
            self.at += 1;
        }
        let not_text = |_| "UTF-8".to_owned();
        match owned {
            Some(text) => {
                let text = String::from_utf8(text);
                text.map(Cow::Owned).map_err(|_| "UTF-8".to_owned())
            }
            None => {
                let text = std::str::from_utf8(&self.bytes[start..self.at]);
                text.map(Cow::Borrowed).map_err(not_text)
            }
        }
    }

    /// The value of a field; `None` where it is a text.
    fn value(&mut self) -> Result<Option<f64>, String> {
        if self.take(b'"') {
            loop {
                match self.peek() {
                    None => return Err("the end of a text in quotes".to_owned()),
                    Some(b'"') => break,
                    Some(b'\\') => self.at += 2,
                    Some(_) => self.at += 1,
                }
            }
            self.at += 1;
            return Ok(None);
        }
        let start = self.at;
        while self.peek().is_some_and(|b| !b", \n\r".contains(&b)) {
            self.at += 1;
        }
        let fault = || "a number, a truth value or a text in quotes".to_owned();
        let text = std::str::from_utf8(&self.bytes[start..self.at]).map_err(|_| fault())?;
        let value = match text {
            "t" | "T" | "true" | "True" | "TRUE" => Some(1.0),
            "f" | "F" | "false" | "False" | "FALSE" => Some(0.0),
            _ => match text.strip_suffix(['i', 'u']) {
                Some(whole) => whole.parse::<i128>().ok().map(|whole| whole as f64),
                None => number::parse(text),
            },
        };
        value.map(Some).ok_or_else(fault)
    }

    /// The time and the end of the line.
    fn time(&mut self, precision: Precision) -> Result<Option<Timestamp>, String> {
        self.blanks();
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
        let text = rest[..end].trim_ascii();
        let time = match text {
            b"" => None,
            text => {
                let text = std::str::from_utf8(text).ok();
                let count = text.and_then(|text| text.parse::<i64>().ok());
                let nanos = count.and_then(|count| count.checked_mul(precision.nanos()));
                Some(Timestamp::from_nanos(
                    nanos.ok_or("a time as a whole number")?,
                ))
            }
        };
        self.skip_line();
        Ok(time)
    }
}

/// A name in Prometheus' alphabet; other characters become `_`.
pub fn clean(name: &str, colon: bool) -> String {
    let digit = name.as_bytes().first().is_some_and(u8::is_ascii_digit);
    let mut out = String::with_capacity(name.len() + 1);
    if digit {
        out.push('_');
    }
    out.extend(name.chars().map(|c| match c {
        c if c.is_ascii_alphanumeric() || c == '_' || colon && c == ':' => c,
        _ => '_',
    }));
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(input: &str, expect: &[&str], refused: &str) {
        let limits = Limits::default();
        let now = Timestamp::from_seconds(9);
        let decoded = decode(input.as_bytes(), Precision::Seconds, now, &limits).expect(input);
        let lines = decoded.batch.series.iter().map(|s| {
            let sample = &s.samples[0];
            let Value::Float(value) = sample.value else {
                return String::new();
            };
            format!("{} {value} {}", s.labels, sample.time.millis())
        });
        assert_eq!(lines.collect::<Vec<_>>(), expect, "{input}");
        assert_eq!(decoded.message, refused, "{input}");
    }

    #[test]
    fn lines() {
        check(
            "cpu,host=a,x-y=b\\ c usage=1.5,n=3i,s=\"a, b\\\" =1\",ok=true 7\n# no line\n\nm v=1",
            &[
                r#"{__name__="cpu_usage", host="a", x_y="b c"} 1.5 7000"#,
                r#"{__name__="cpu_n", host="a", x_y="b c"} 3 7000"#,
                r#"{__name__="cpu_ok", host="a", x_y="b c"} 1 7000"#,
                r#"{__name__="m_v"} 1 9000"#,
            ],
            "",
        );
        check(
            "a\\,b.c\\ d,t=\\=v f=2u\r\n",
            &[r#"{__name__="a_b_c_d_f", t="=v"} 2 9000"#],
            "",
        );
        check(
            "m s=\"two\nlines\",v=1 2\n",
            &[r#"{__name__="m_v"} 1 2000"#],
            "",
        );
        check(
            "m v=1,w=x\n,a=b v=1\nm\nm,t v=1\nm v=1 x\nm v=2\n",
            &[r#"{__name__="m_v"} 2 9000"#],
            "line 1: expected a number, a truth value or a text in quotes; line 2: expected a \
             measurement; line 3: expected a blank before the fields; line 4: expected tags as \
             name=value; line 5: expected a time as a whole number",
        );
    }

    #[test]
    fn precisions() {
        for (text, nanos) in [
            ("", 1),
            ("us", 1_000),
            ("ms", 1_000_000),
            ("h", 3_600_000_000_000),
        ] {
            assert_eq!(
                Precision::from_text(text).map(Precision::nanos),
                Some(nanos)
            );
        }
        assert_eq!(Precision::from_text("d"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn arbitrary_bytes_do_not_panic(text in "[a-c,=\" \\\\\n0-9i.t\u{e9}]{0,60}", bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            for input in [text.as_bytes(), &bytes] {
                let decoded = decode(input, Precision::Nanos, Timestamp::from_seconds(1), &Limits::default()).unwrap();
                prop_assert!(decoded.batch.series.len() <= input.len());
            }
        }
    }
}
