//! The text exposition format: 0.0.4, and 1.0.0 with quoted names (`{"a.b",l="v"} 1`).
//!
//! Invariant: what `encode` prints, `decode` reads back. Timestamps are whole milliseconds.
//! Format: <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::io::Write;

use obs_model::family::{Family, Point};
use obs_model::labels::is_legacy_name;
use obs_model::limits::Limits;
use obs_model::metrics::MetricKind;

use super::exposition::{Exposition, Lines, ScrapedSample, Tail, Told};
use crate::error::WireError;
use crate::number;

pub(super) const FORMAT: &str = "prometheus text";

/// The media type of what [`encode`] prints.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8";

/// Reads an exposition.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Exposition, WireError> {
    let mut lines = Lines::open(FORMAT, bytes, limits)?;
    loop {
        lines.cursor.blanks();
        match lines.cursor.peek() {
            None => return Ok(lines.exposition),
            Some(b'\n') => lines.cursor.bump(),
            Some(b'#') => comment(&mut lines)?,
            Some(_) => sample(&mut lines)?,
        }
    }
}

pub(super) fn comment(lines: &mut Lines<'_, '_>) -> Result<(), WireError> {
    lines.cursor.bump();
    if lines.cursor.blanks() {
        let word = lines.cursor.token();
        let told = match word {
            "HELP" => Some(Told::Help),
            "TYPE" => Some(Told::Type),
            _ => None,
        };
        if let Some(told) = told {
            lines.metadata(told, false)?;
        }
    }
    lines.cursor.line();
    Ok(())
}

fn sample(lines: &mut Lines<'_, '_>) -> Result<(), WireError> {
    let sample = ScrapedSample::new(lines.head()?, tail(lines)?);
    lines.exposition.samples.push(sample);
    Ok(())
}

/// Reads what follows name and labels, to the end of the line.
pub(super) fn tail(lines: &mut Lines<'_, '_>) -> Result<Tail, WireError> {
    let value = lines.value()?;
    lines.cursor.blanks();
    let start = lines.cursor.offset();
    let time = match lines.cursor.token() {
        "" => None,
        text => {
            let time = text.parse().ok().and_then(number::time_from_millis);
            let expected = "a timestamp in milliseconds";
            Some(time.ok_or_else(|| lines.cursor.fault_at(start, expected))?)
        }
    };
    lines.end_of_line()?;
    Ok(Tail {
        value,
        time,
        exemplar: None,
    })
}

/// Prints families with their help, type and points.
pub fn encode(families: &[Family], out: &mut Vec<u8>) {
    for family in families {
        if !family.help.is_empty() {
            out.extend_from_slice(b"# HELP ");
            metric_name(out, &family.name);
            out.push(b' ');
            escape(out, &family.help, false);
            out.push(b'\n');
        }
        out.extend_from_slice(b"# TYPE ");
        metric_name(out, &family.name);
        out.push(b' ');
        out.extend_from_slice(kind_word(family.kind).as_bytes());
        out.push(b'\n');
        for point in &family.points {
            line(out, &family.name, point);
        }
    }
}

/// The format knows five types only.
fn kind_word(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Unknown => "untyped",
        MetricKind::Counter => "counter",
        MetricKind::Gauge | MetricKind::Info | MetricKind::StateSet => "gauge",
        MetricKind::Histogram | MetricKind::GaugeHistogram => "histogram",
        MetricKind::Summary => "summary",
    }
}

fn line(out: &mut Vec<u8>, family: &str, point: &Point) {
    let legacy = is_metric_name(family);
    let mut separator = b'{';
    if legacy {
        write!(out, "{family}{}", point.suffix).expect("writing to a vector does not fail");
    } else {
        out.extend_from_slice(b"{\"");
        escape(out, family, true);
        out.extend_from_slice(point.suffix.as_bytes());
        out.push(b'"');
        separator = b',';
    }
    for (name, value) in &point.labels {
        out.push(separator);
        separator = b',';
        if is_legacy_name(name) {
            out.extend_from_slice(name.as_bytes());
        } else {
            out.push(b'"');
            escape(out, name, true);
            out.push(b'"');
        }
        out.extend_from_slice(b"=\"");
        escape(out, value, true);
        out.push(b'"');
    }
    if separator == b',' {
        out.push(b'}');
    }
    out.push(b' ');
    number::general(out, point.value);
    out.push(b'\n');
}

fn metric_name(out: &mut Vec<u8>, name: &str) {
    if is_metric_name(name) {
        out.extend_from_slice(name.as_bytes());
    } else {
        out.push(b'"');
        escape(out, name, true);
        out.push(b'"');
    }
}

/// `[a-zA-Z_:][a-zA-Z0-9_:]*`
pub(super) fn is_metric_name(name: &str) -> bool {
    !name.is_empty()
        && !name.as_bytes()[0].is_ascii_digit()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
}

/// Appends a value as the text formats print it, for those who make their lines themselves.
pub fn write_value(out: &mut Vec<u8>, value: f64) {
    number::general(out, value);
}

/// Appends the value of a label as it stands between its quotes.
pub fn write_label_value(out: &mut Vec<u8>, value: &str) {
    escape(out, value, true);
}

pub(super) fn escape(out: &mut Vec<u8>, text: &str, quotes: bool) {
    for byte in text.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'"' if quotes => out.extend_from_slice(b"\\\""),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests;
