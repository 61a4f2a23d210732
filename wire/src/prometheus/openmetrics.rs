//! OpenMetrics text 1.0.0 and 0.0.1: UNIT and EOF lines, exemplars, times in seconds.
//!
//! Invariants: a body that does not end with `# EOF` was cut and is refused as a whole. Lines
//! with the suffix `_created` are plain series, as in Prometheus without its feature for them.
//! Format: <https://prometheus.io/docs/specs/om/open_metrics_spec/>

use obs_model::labels::METRIC_NAME;
use obs_model::limits::Limits;
use obs_model::{Labels, Samples, Timestamp, Value};

use super::exposition::{Exposition, Lines, ScrapedExemplar, ScrapedSample, Tail, Told};
use crate::error::WireError;
use crate::number;

pub(super) const FORMAT: &str = "openmetrics";

/// Reads an exposition.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Exposition, WireError> {
    let mut lines = Lines::open(FORMAT, bytes, limits)?;
    loop {
        match lines.cursor.peek() {
            None => return Err(lines.cursor.fault("\"# EOF\"")),
            Some(b'#') if comment(&mut lines)? => return Ok(lines.exposition),
            Some(b'#') => {}
            Some(b'\n') => return Err(lines.cursor.fault("a sample or a comment")),
            Some(_) => sample(&mut lines)?,
        }
    }
}

/// Reads a comment; true when it was the end.
pub(super) fn comment(lines: &mut Lines<'_, '_>) -> Result<bool, WireError> {
    let start = lines.cursor.offset();
    lines.cursor.bump();
    lines.cursor.blanks();
    let told = match lines.cursor.token() {
        "HELP" => Told::Help,
        "TYPE" => Told::Type,
        "UNIT" => Told::Unit,
        "EOF" => {
            lines.end_of_line()?;
            return match lines.cursor.peek() {
                None => Ok(true),
                Some(_) => Err(lines.cursor.fault("nothing after \"# EOF\"")),
            };
        }
        _ => {
            let expected = "\"# HELP\", \"# TYPE\", \"# UNIT\" or \"# EOF\"";
            return Err(lines.cursor.fault_at(start, expected));
        }
    };
    lines.metadata(told, true)?;
    lines.end_of_line()?;
    Ok(false)
}

/// Writes a line with a timestamp for each float sample, without metadata; the text ends with
/// `# EOF` after the last series. Gives the numbers of native histograms and of stale markers, which
/// have no place: as NaN these would be read as samples.
pub fn encode(labels: &Labels, samples: &Samples, out: &mut Vec<u8>) -> (usize, usize) {
    let name = labels.metric_name().unwrap_or("");
    let mut series = Vec::new();
    let legacy = obs_model::labels::is_legacy_name(name);
    let quote = |text: &str, out: &mut Vec<u8>| {
        out.push(b'"');
        for c in text.chars() {
            match c {
                '\\' => out.extend_from_slice(b"\\\\"),
                '"' => out.extend_from_slice(b"\\\""),
                '\n' => out.extend_from_slice(b"\\n"),
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        out.push(b'"');
    };
    if legacy {
        series.extend_from_slice(name.as_bytes());
    }
    series.push(b'{');
    if !legacy {
        quote(name, &mut series);
    }
    for (name, value) in labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
        if series.last() != Some(&b'{') {
            series.push(b',');
        }
        if obs_model::labels::is_legacy_name(name) && !name.contains(':') {
            series.extend_from_slice(name.as_bytes());
        } else {
            quote(name, &mut series);
        }
        series.push(b'=');
        quote(value, &mut series);
    }
    series.extend_from_slice(b"} ");
    let mut stale = 0;
    for (time, value) in samples.iter() {
        let Value::Float(value) = value else {
            continue;
        };
        if obs_model::sample::is_stale(value) {
            stale += 1;
            continue;
        }
        out.extend_from_slice(&series);
        number::general(out, value);
        out.push(b' ');
        number::seconds(out, time);
        out.push(b'\n');
    }
    (samples.histograms.len(), stale)
}

fn sample(lines: &mut Lines<'_, '_>) -> Result<(), WireError> {
    let sample = ScrapedSample::new(lines.head()?, tail(lines)?);
    lines.exposition.samples.push(sample);
    Ok(())
}

/// Reads what follows name and labels, to the end of the line.
pub(super) fn tail(lines: &mut Lines<'_, '_>) -> Result<Tail, WireError> {
    let value = lines.value()?;
    let time = time(lines)?;
    lines.cursor.blanks();
    let exemplar = match lines.cursor.peek() {
        Some(b'#') => Some(Box::new(exemplar(lines)?)),
        _ => None,
    };
    lines.end_of_line()?;
    Ok(Tail {
        value,
        time,
        exemplar,
    })
}

fn exemplar(lines: &mut Lines<'_, '_>) -> Result<ScrapedExemplar, WireError> {
    lines.cursor.bump();
    lines.cursor.blanks();
    Ok(ScrapedExemplar {
        labels: lines.exemplar_labels()?,
        value: lines.value()?,
        time: time(lines)?,
    })
}

/// A time in seconds, unless the line ends or an exemplar begins.
fn time(lines: &mut Lines<'_, '_>) -> Result<Option<Timestamp>, WireError> {
    lines.cursor.blanks();
    if matches!(lines.cursor.peek(), None | Some(b'\n' | b'#')) {
        return Ok(None);
    }
    let start = lines.cursor.offset();
    match number::time_from_seconds(lines.cursor.token()) {
        Some(time) => Ok(Some(time)),
        None => Err(lines.cursor.fault_at(start, "a timestamp in seconds")),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;

    fn print(exposition: &Exposition) -> String {
        let mut out = String::new();
        for sample in &exposition.samples {
            out.push_str(&format!("{} {:?}", sample.labels, sample.value));
            if let Some(time) = sample.time {
                out.push_str(&format!(" @{}", time.nanos()));
            }
            if let Some(e) = &sample.exemplar {
                let time = e.time.map(Timestamp::nanos);
                out.push_str(&format!(" # {} {:?} {time:?}", e.labels, e.value));
            }
            out.push('\n');
        }
        for m in &exposition.metadata {
            let kind = m.kind.as_str();
            out.push_str(&format!(
                "# {} {kind} {:?} {:?}\n",
                m.family, m.unit, m.help
            ));
        }
        out
    }

    fn check(text: &str, expect: Expect) {
        let result = decode(text.as_bytes(), &Limits::default());
        expect.assert_eq(&result.map_or_else(|error| error.to_string(), |e| print(&e)));
    }

    #[test]
    fn good_lines() {
        check(
            "# HELP foo_seconds A \\\"help\\\"\n# TYPE foo_seconds counter\n# UNIT foo_seconds seconds\n\
             foo_seconds_total{a=\"b\"} 17.0 1520879607.789 # {trace_id=\"x\"} 5 1520879607.5\n\
             foo_seconds_created{a=\"b\"} 1520872607.123\n\
             # TYPE s stateset\n# TYPE \"q.u\" info\n\
             {\"q.u\",s=\"a\"} 1 # {} 2\n\
             x 1 1e3\n# EOF\n",
            expect![[r#"
                {__name__="foo_seconds_total", a="b"} 17.0 @1520879607789000000 # {trace_id="x"} 5.0 Some(1520879607500000000)
                {__name__="foo_seconds_created", a="b"} 1520872607.123
                {__name__="q.u", s="a"} 1.0 # {} 2.0 None
                {__name__="x"} 1.0 @1000000000000
                # foo_seconds counter "seconds" "A \"help\""
                # s stateset "" ""
                # q.u info "" ""
            "#]],
        );
        check("# EOF", expect![[""]]);
    }

    #[test]
    fn faults_have_line_and_column() {
        check(
            "a 1\n",
            expect![[r##"openmetrics is malformed at 2:1: expected "# EOF", found the end"##]],
        );
        check(
            "",
            expect![[r##"openmetrics is malformed at 1:1: expected "# EOF", found the end"##]],
        );
        check(
            "# EOF\na 1\n",
            expect![[
                r##"openmetrics is malformed at 2:1: expected nothing after "# EOF", found "a""##
            ]],
        );
        check(
            "\n# EOF\n",
            expect![[
                r#"openmetrics is malformed at 1:1: expected a sample or a comment, found "\n""#
            ]],
        );
        check(
            "# hello\n# EOF\n",
            expect![[
                r##"openmetrics is malformed at 1:1: expected "# HELP", "# TYPE", "# UNIT" or "# EOF", found "#""##
            ]],
        );
        check(
            "# UNIT a_b seconds\n# EOF\n",
            expect![[
                r#"openmetrics is malformed at 1:12: expected a unit that ends the metric name after an underscore, found "seconds""#
            ]],
        );
        check(
            "a 1 NaN\n# EOF\n",
            expect![[
                r#"openmetrics is malformed at 1:5: expected a timestamp in seconds, found "NaN""#
            ]],
        );
        check(
            "a 1 # {b} 1\n# EOF\n",
            expect![[r#"openmetrics is malformed at 1:9: expected "=", found "}""#]],
        );
        check(
            "a 1 # {\"b\"} 1\n# EOF\n",
            expect![[
                r#"openmetrics is malformed at 1:7: expected labels with values, found "{\"b\"}""#
            ]],
        );
        check(
            "a 1 # {b=\"c\"}\n# EOF\n",
            expect![[r#"openmetrics is malformed at 1:14: expected a number, found "\n""#]],
        );
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut samples = Samples::default();
        for (millis, value) in [(-1500, 1.5), (0, f64::NAN), (1001, f64::INFINITY)] {
            samples.push(Timestamp::from_millis(millis), Value::Float(value));
        }
        samples.push(
            Timestamp::from_millis(5000),
            Value::Histogram(Default::default()),
        );
        for name in ["a_total", "a.b \"c\""] {
            let labels = Labels::from_pairs([("__name__", name), ("x.y", "1\n\\\""), ("z", "é")]);
            let mut text = Vec::new();
            assert_eq!(encode(&labels, &samples, &mut text), (1, 0));
            text.extend_from_slice(b"# EOF\n");
            let read = decode(&text, &Limits::default()).unwrap();
            assert_eq!(read.samples.len(), 3);
            for (read, (time, value)) in read.samples.iter().zip(samples.iter()) {
                assert_eq!((&read.labels, read.time), (&labels, Some(time)));
                let same =
                    |value: f64| read.value == value || read.value.is_nan() && value.is_nan();
                assert!(matches!(value, Value::Float(value) if same(value)));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn arbitrary_bytes(text in "[a-c0-9{}=\", \n#\\\\+.EOF-]{0,60}", end in any::<bool>()) {
            let text = if end { format!("{text}\n# EOF\n") } else { text };
            if let Ok(read) = decode(text.as_bytes(), &Limits::default()) {
                prop_assert!(read.samples.len() <= text.len());
            }
        }
    }
}
