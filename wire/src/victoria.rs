//! VictoriaMetrics' forms of samples: JSON lines and CSV.
//!
//! Invariants: one line is one piece, so that a stream is read line by line; a line that cannot be
//! taken is an error that names its place and does not stop the others.
//! Format: <https://docs.victoriametrics.com/#json-line-format>

use std::borrow::Cow;
use std::collections::BTreeSet;

use obs_model::labels::METRIC_NAME;
use obs_model::limits::Limits;
use obs_model::metrics::{MetricBatch, Sample, Series};
use obs_model::{Labels, Samples, Timestamp, Value, sample};
use serde::Deserialize;

use crate::error::WireError;
use crate::json::Writer;
use crate::number;
use crate::rejects::{Decoded, Rejects};

const JSON: &str = "JSON line";
const CSV: &str = "CSV line";

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    metric: std::collections::BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    values: Vec<JsonValue>,
    timestamps: Vec<i64>,
}

/// A number, or what JSON has no number for.
#[derive(Deserialize)]
#[serde(untagged)]
enum JsonValue {
    Number(f64),
    Text(String),
    Null(()),
}

impl JsonValue {
    fn float(&self) -> Option<f64> {
        match self {
            Self::Number(value) => Some(*value),
            Self::Text(text) => match text.as_str() {
                "Infinity" => Some(f64::INFINITY),
                "-Infinity" => Some(f64::NEG_INFINITY),
                text => number::parse(text),
            },
            Self::Null(()) => Some(sample::stale()),
        }
    }
}

/// Reads one line: `{"metric":{…},"values":[…],"timestamps":[…]}`.
pub fn decode_line(line: &[u8], limits: &Limits) -> Result<Series, WireError> {
    let read: Line<'_> = serde_json::from_slice(line).map_err(|error| {
        let column = error.column().saturating_sub(1);
        WireError::at_byte(JSON, column, format!("a series ({error})"))
    })?;
    if read.values.len() != read.timestamps.len() {
        let (values, times) = (read.values.len(), read.timestamps.len());
        let expected = format!("as many timestamps as values, found {times} and {values}");
        return Err(WireError::at_path(JSON, "timestamps", expected));
    }
    let mut pairs: Vec<_> = read.metric.into_iter().collect();
    let labels = labels(JSON, "metric", &mut pairs, limits)?;
    let mut samples = Vec::new();
    for (index, (value, millis)) in read.values.iter().zip(&read.timestamps).enumerate() {
        let value = value
            .float()
            .ok_or_else(|| WireError::at_path(JSON, format!("values[{index}]"), "a number"))?;
        let time = number::time_from_millis(*millis).ok_or_else(|| {
            let expected = "milliseconds of the years 1677 to 2262";
            WireError::at_path(JSON, format!("timestamps[{index}]"), expected)
        })?;
        samples.push(sample(time, value));
    }
    Ok(Series {
        labels,
        samples,
        ..Series::default()
    })
}

fn sample(time: Timestamp, value: f64) -> Sample {
    Sample {
        time,
        start: None,
        value: Value::Float(value),
    }
}

fn labels<N: AsRef<str>, V: AsRef<str>>(
    format: &'static str,
    path: &str,
    pairs: &mut [(N, V)],
    limits: &Limits,
) -> Result<Labels, WireError> {
    let made = crate::cursor::labels(pairs, limits).map_err(|fault| {
        fault.into_error(format, |expected| {
            WireError::at_path(format, path, expected)
        })
    })?;
    match made.metric_name() {
        Some(_) => Ok(made),
        None => Err(WireError::at_path(
            format,
            path,
            "the label __name__ with a value",
        )),
    }
}

/// Writes one line; native histograms have no place in it and are left out. Gives their number.
pub fn encode_line(labels: &Labels, samples: &Samples, out: &mut Vec<u8>) -> usize {
    let floats = || {
        samples.iter().filter_map(|(time, value)| match value {
            Value::Float(value) => Some((time, value)),
            Value::Histogram(_) => None,
        })
    };
    let left_out = samples.histograms.len();
    if left_out == samples.len() {
        return left_out;
    }
    let mut json = Writer::new(out);
    json.object();
    json.key("metric");
    json.object();
    for (name, value) in labels {
        json.field(name, value);
    }
    json.end_object();
    json.key("values");
    json.array();
    for (_, value) in floats() {
        if value.is_finite() {
            json.value(|out| number::general(out, value));
        } else if sample::is_stale(value) {
            json.null();
        } else if value.is_nan() {
            json.string("NaN");
        } else {
            json.string(if value > 0.0 { "Infinity" } else { "-Infinity" });
        }
    }
    json.end_array();
    json.key("timestamps");
    json.array();
    for (time, _) in floats() {
        json.integer(time.millis());
    }
    json.end_array();
    json.end_object();
    out.push(b'\n');
    left_out
}

/// Reads many lines; those that cannot be taken are rejected alone.
pub fn decode_lines(body: &[u8], limits: &Limits) -> Result<Decoded<MetricBatch>, WireError> {
    decode_each(body, |line| {
        decode_line(line, limits).map(|series| vec![series])
    })
}

/// The same of CSV.
pub fn decode_csv_lines(
    body: &[u8],
    columns: &[Column],
    now: Timestamp,
    limits: &Limits,
) -> Result<Decoded<MetricBatch>, WireError> {
    decode_each(body, |line| match std::str::from_utf8(line) {
        Ok(line) => decode_csv(line, columns, now, limits),
        Err(error) => Err(WireError::at_byte(CSV, error.valid_up_to(), "UTF-8")),
    })
}

fn decode_each(
    body: &[u8],
    mut read: impl FnMut(&[u8]) -> Result<Vec<Series>, WireError>,
) -> Result<Decoded<MetricBatch>, WireError> {
    let (mut batch, mut rejects) = (MetricBatch::default(), Rejects::default());
    for (index, line) in body.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii_end();
        if line.is_empty() {
            continue;
        }
        match read(line) {
            Ok(series) => batch.series.extend(series),
            Err(error) => rejects.add(1, format!("line {}: {error}", index + 1)),
        }
    }
    Ok(rejects.into_decoded(batch))
}

/// What a column of CSV is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    /// A value of the metric of this name.
    Metric(String),
    /// A value of the metric that the line names.
    Value,
    /// A label of this name; `__name__` names the metric.
    Label(String),
    /// A time.
    Time(TimeForm),
    /// Nothing.
    Ignored,
}

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeForm {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Nanoseconds.
    Nanos,
    /// RFC 3339.
    Rfc3339,
}

/// Reads what columns are, as for `/api/v1/import/csv`: `2:metric:ask,1:label:ticker,4:time:unix_ms`,
/// or as for `/api/v1/export/csv`: `__name__,job,__value__,__timestamp__:unix_ms`.
pub fn columns(text: &str) -> Result<Vec<Column>, WireError> {
    const FORMAT: &str = "CSV columns";
    let mut columns = Vec::new();
    let time = |form: &str, at: &str| match form {
        "unix_s" => Ok(Column::Time(TimeForm::Seconds)),
        "" | "unix_ms" => Ok(Column::Time(TimeForm::Millis)),
        "unix_ns" => Ok(Column::Time(TimeForm::Nanos)),
        "rfc3339" => Ok(Column::Time(TimeForm::Rfc3339)),
        _ => {
            let expected = "unix_s, unix_ms, unix_ns or rfc3339";
            Err(WireError::at_path(FORMAT, at, expected))
        }
    };
    for (index, part) in text.split(',').map(str::trim).enumerate() {
        let mut words = part.splitn(3, ':');
        let first = words.next().unwrap_or("");
        let Ok(position) = first.parse::<usize>() else {
            columns.push(match first {
                "" => return Err(WireError::at_path(FORMAT, part, "a name")),
                "__value__" => Column::Value,
                "__timestamp__" => time(words.next().unwrap_or(""), part)?,
                name => Column::Label(name.to_owned()),
            });
            continue;
        };
        let (kind, rest) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let column = match kind {
            "metric" if !rest.is_empty() => Column::Metric(rest.to_owned()),
            "label" if !rest.is_empty() => Column::Label(rest.to_owned()),
            "time" => time(rest, part)?,
            _ => {
                let expected = "N:metric:NAME, N:label:NAME or N:time:FORM";
                return Err(WireError::at_path(FORMAT, part, expected));
            }
        };
        if !(1..=1000).contains(&position) || index > 1000 {
            return Err(WireError::at_path(FORMAT, part, "a column from 1 to 1000"));
        }
        if columns.len() < position {
            columns.resize(position, Column::Ignored);
        }
        columns[position - 1] = column;
    }
    let has = |wanted: fn(&Column) -> bool| columns.iter().any(wanted);
    if !has(|c| matches!(c, Column::Metric(_) | Column::Value)) {
        return Err(WireError::at_path(FORMAT, text, "a column with values"));
    }
    Ok(columns)
}

/// Reads one line; without a time it is `now`.
pub fn decode_csv(
    line: &str,
    columns: &[Column],
    now: Timestamp,
    limits: &Limits,
) -> Result<Vec<Series>, WireError> {
    let fields = fields(line)?;
    let (mut pairs, mut values, mut time) = (Vec::new(), Vec::new(), now);
    for (index, column) in columns.iter().enumerate() {
        if *column == Column::Ignored {
            continue;
        }
        let path = || format!("column {}", index + 1);
        let field = fields
            .get(index)
            .ok_or_else(|| WireError::at_path(CSV, path(), "a value"))?;
        let fault = |expected: &str| WireError::at_path(CSV, path(), expected);
        match column {
            Column::Ignored => {}
            Column::Label(name) => pairs.push((name.as_str(), field.as_ref())),
            Column::Time(form) => {
                time = form.read(field).ok_or_else(|| fault("a time"))?;
            }
            Column::Value | Column::Metric(_) if field.is_empty() => {}
            Column::Value => {
                let value = number::parse(field).ok_or_else(|| fault("a number"))?;
                values.push((None, value));
            }
            Column::Metric(name) => {
                let value = number::parse(field).ok_or_else(|| fault("a number"))?;
                values.push((Some(name.as_str()), value));
            }
        }
    }
    let mut all = Vec::with_capacity(values.len());
    for (name, value) in values {
        let mut pairs = pairs.clone();
        if let Some(name) = name {
            pairs.push((METRIC_NAME, name));
        }
        all.push(Series {
            labels: labels(CSV, "labels", &mut pairs, limits)?,
            samples: vec![sample(time, value)],
            ..Series::default()
        });
    }
    Ok(all)
}

impl TimeForm {
    fn read(self, text: &str) -> Option<Timestamp> {
        match self {
            Self::Seconds => number::time_from_seconds(text),
            Self::Millis => number::time_from_millis(text.parse().ok()?),
            Self::Nanos => Some(Timestamp::from_nanos(text.parse().ok()?)),
            Self::Rfc3339 => obs_model::time::parse_rfc3339(text),
        }
    }

    fn write(self, time: Timestamp) -> String {
        match self {
            Self::Seconds => {
                let mut out = Vec::new();
                number::seconds(&mut out, time);
                String::from_utf8_lossy(&out).into_owned()
            }
            Self::Millis => time.millis().to_string(),
            Self::Nanos => time.nanos().to_string(),
            Self::Rfc3339 => time.to_string(),
        }
    }
}

/// The fields of a line; quotes are doubled inside quotes.
fn fields(line: &str) -> Result<Vec<Cow<'_, str>>, WireError> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let Some((field, after)) = rest.split_once(',') else {
                fields.push(Cow::Borrowed(rest));
                return Ok(fields);
            };
            fields.push(Cow::Borrowed(field));
            rest = after;
            continue;
        };
        let (mut text, mut inside) = (String::new(), quoted);
        rest = loop {
            let Some((before, after)) = inside.split_once('"') else {
                let at = line.len() - inside.len();
                return Err(WireError::at_byte(CSV, at, "a closing quote"));
            };
            text.push_str(before);
            match after.strip_prefix('"') {
                Some(more) => {
                    text.push('"');
                    inside = more;
                }
                None => break after,
            }
        };
        fields.push(Cow::Owned(text));
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.is_empty() => return Ok(fields),
            None => {
                let at = line.len() - rest.len();
                return Err(WireError::at_byte(CSV, at, "a comma"));
            }
        }
    }
}

/// Writes a line for each float sample; tells what has no place.
pub fn encode_csv(
    labels: &Labels,
    samples: &Samples,
    columns: &[Column],
    out: &mut Vec<u8>,
) -> LeftOut {
    let mut left_out = LeftOut {
        histograms: samples.histograms.len(),
        ..LeftOut::default()
    };
    for (time, value) in samples.iter() {
        let Value::Float(value) = value else {
            continue;
        };
        if sample::is_stale(value) {
            left_out.stale += 1;
            continue;
        }
        for (index, column) in columns.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            match column {
                Column::Ignored => {}
                Column::Label(name) => put_field(labels.get(name).unwrap_or(""), out),
                Column::Time(form) => out.extend_from_slice(form.write(time).as_bytes()),
                Column::Value | Column::Metric(_) => number::general(out, value),
            }
        }
        out.push(b'\n');
    }
    let has = |name: &str| {
        let mut all = columns.iter();
        all.any(|column| matches!(column, Column::Label(label) if label == name))
    };
    let named = |name: &str| name == METRIC_NAME && columns.iter().any(is_metric);
    let missing = labels.iter().map(|(name, _)| name);
    let missing = missing.filter(|name| !has(name) && !named(name));
    left_out.labels.extend(missing.map(str::to_owned));
    left_out
}

fn is_metric(column: &Column) -> bool {
    matches!(column, Column::Metric(_))
}

/// What CSV has no place for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Native histograms, which have no line.
    pub histograms: usize,
    /// Stale markers, which have no line: as NaN they would be read as samples.
    pub stale: usize,
    /// Labels without a column; the lines are there without them.
    pub labels: BTreeSet<String>,
}

fn put_field(text: &str, out: &mut Vec<u8>) {
    if text.contains([',', '"', '\n', '\r']) {
        out.push(b'"');
        out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_of_json() {
        let line = br#"{"metric":{"__name__":"a","job":"x\ty"},"values":[1,null,"Infinity",2.5],"timestamps":[1,2,3,-4]}"#;
        let series = decode_line(line, &Limits::default()).unwrap();
        assert_eq!(series.labels.to_string(), r#"{__name__="a", job="x\ty"}"#);
        assert_eq!(series.samples[3].time, Timestamp::from_millis(-4));
        assert!(series.samples[2].value.bit_eq(&Value::Float(f64::INFINITY)));
        let check = |line: &str, expect: &str| {
            let error = decode_line(line.as_bytes(), &Limits::default()).unwrap_err();
            assert!(error.to_string().contains(expect), "{error}");
        };
        check("{}", "missing field");
        check(
            r#"{"metric":{"a":"b"},"values":[],"timestamps":[]}"#,
            "__name__",
        );
        check(
            r#"{"metric":{"__name__":"b"},"values":[1],"timestamps":[]}"#,
            "as many",
        );
        check(
            r#"{"metric":{"__name__":"b"},"values":["x"],"timestamps":[1]}"#,
            "values[0]",
        );
    }

    #[test]
    fn what_csv_has_no_place_for_is_told() {
        let labels = Labels::from_pairs([("__name__", "a"), ("x", "1"), ("y", "2")]);
        let mut samples = Samples::default();
        samples.push(Timestamp::from_millis(1), Value::Float(2.0));
        samples.push(Timestamp::from_millis(2), Value::Float(sample::stale()));
        samples.push(
            Timestamp::from_millis(3),
            Value::Histogram(Default::default()),
        );
        let check = |text: &str, expect: &str, missing: &[&str]| {
            let mut out = Vec::new();
            let told = encode_csv(&labels, &samples, &columns(text).unwrap(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expect);
            assert_eq!((told.histograms, told.stale), (1, 1));
            assert!(told.labels.iter().eq(missing), "{told:?}");
        };
        let text = "__name__,x,y,__value__,__timestamp__";
        check(text, "a,1,2,2,1\n", &[]);
        check("__value__,x", "2,1\n", &["__name__", "y"]);
        check("1:metric:a,2:label:y,3:time:unix_s", "2,2,0.001\n", &["x"]);
    }

    #[test]
    fn faulty_lines_are_rejected_alone() {
        let good = r#"{"metric":{"__name__":"a"},"values":[1],"timestamps":[1]}"#;
        let body = format!("{good}\r\n\nx\n{good}");
        let read = decode_lines(body.as_bytes(), &Limits::default()).unwrap();
        assert_eq!((read.batch.series.len(), read.rejected), (2, 1));
        assert!(
            read.message.starts_with("line 3: JSON line"),
            "{}",
            read.message
        );
        let columns = columns("1:metric:a").unwrap();
        let read = decode_csv_lines(
            b"1\nx\n2\n\xff\n",
            &columns,
            Timestamp::MIN,
            &Limits::default(),
        );
        let read = read.unwrap();
        assert_eq!((read.batch.series.len(), read.rejected), (2, 2));
    }

    #[test]
    fn lines_of_csv() {
        let read = |spec: &str, line: &str| -> Result<Vec<String>, WireError> {
            let columns = columns(spec)?;
            let now = Timestamp::from_millis(9);
            let all = decode_csv(line, &columns, now, &Limits::default())?;
            let show = |s: Series| {
                format!(
                    "{} {:?}@{}",
                    s.labels,
                    s.samples[0].value,
                    s.samples[0].time.millis()
                )
            };
            Ok(all.into_iter().map(show).collect())
        };
        assert_eq!(
            read(
                "2:metric:ask,3:metric:bid,1:label:t,5:time:unix_s",
                "G,1.5,2,,7"
            )
            .unwrap(),
            [
                r#"{__name__="ask", t="G"} Float(1.5)@7000"#,
                r#"{__name__="bid", t="G"} Float(2.0)@7000"#
            ]
        );
        assert_eq!(
            read(
                "__name__,__value__,__timestamp__:unix_ms,job",
                "m,1,5,\"a \"\"b\"\", c\""
            )
            .unwrap(),
            [r#"{__name__="m", job="a \"b\", c"} Float(1.0)@5"#]
        );
        for (spec, line, expect) in [
            ("1:label:a", "", "a column with values"),
            ("1:metric:a,2:time:x", "", "unix_s, unix_ms"),
            ("1:metric:a", "x", "column 1: expected a number"),
            ("2:metric:a", "x", "column 2: expected a value"),
            ("1:metric:a", "\"x", "a closing quote"),
            ("__value__", "1", "__name__"),
        ] {
            let error = read(spec, line).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        }
    }

    #[test]
    fn the_end_of_a_series_is_not_a_number_that_is_none() {
        let labels = Labels::from_pairs([("__name__", "m")]);
        let mut samples = Samples::default();
        let values = [1.0, f64::NAN, sample::stale()];
        for (index, value) in values.into_iter().enumerate() {
            samples.push(Timestamp::from_millis(index as i64), Value::Float(value));
        }
        let mut out = Vec::new();
        encode_line(&labels, &samples, &mut out);
        let text = String::from_utf8(out.clone()).unwrap();
        assert!(text.contains(r#"[1,"NaN",null]"#), "{text}");
        let read = decode_line(&out, &Limits::default()).unwrap();
        let stale = |s: &Sample| matches!(s.value, Value::Float(v) if sample::is_stale(v));
        let found: Vec<bool> = read.samples.iter().map(stale).collect();
        assert_eq!(found, [false, false, true]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn round_trip(
            text in "\\PC{0,8}",
            values in proptest::collection::vec(any::<f64>(), 1..5),
        ) {
            let labels = Labels::from_pairs([("__name__", "m"), ("x", text.as_str())]);
            let mut samples = Samples::default();
            for (index, value) in values.iter().enumerate() {
                samples.push(Timestamp::from_millis(index as i64), Value::Float(*value));
            }
            let mut out = Vec::new();
            prop_assert_eq!(encode_line(&labels, &samples, &mut out), 0);
            let read = decode_line(&out, &Limits::default()).unwrap();
            let same = |read: &Sample, value: f64| match read.value {
                Value::Float(read) => {
                    let stale = sample::is_stale(read) == sample::is_stale(value);
                    read == value || read.is_nan() && value.is_nan() && stale
                }
                Value::Histogram(_) => false,
            };
            prop_assert_eq!(&read.labels, &labels);
            prop_assert!(read.samples.iter().zip(&values).all(|(r, v)| same(r, *v)));
            let columns = columns("__name__,x,__value__,__timestamp__").unwrap();
            let mut out = Vec::new();
            let left_out = encode_csv(&labels, &samples, &columns, &mut out);
            let stale = values.iter().filter(|value| sample::is_stale(**value)).count();
            prop_assert_eq!(left_out, LeftOut { stale, ..LeftOut::default() });
            let out = String::from_utf8(out).unwrap();
            if !text.contains(['\n', '\r']) {
                let kept = values.iter().filter(|value| !sample::is_stale(**value));
                for (line, value) in out.lines().zip(kept) {
                    let read = decode_csv(line, &columns, Timestamp::MIN, &Limits::default()).unwrap();
                    prop_assert_eq!(&read[0].labels, &labels);
                    prop_assert!(same(&read[0].samples[0], *value), "{line}");
                }
            }
        }

        #[test]
        fn arbitrary_text(line in "\\PC{0,40}", spec in "[a-z0-9_:,]{0,20}") {
            drop(decode_line(line.as_bytes(), &Limits::default()));
            if let Ok(columns) = columns(&spec) {
                drop(decode_csv(&line, &columns, Timestamp::MIN, &Limits::default()));
            }
        }
    }
}
