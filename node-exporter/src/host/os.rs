//! os: the distribution, from `os-release`.

use std::collections::BTreeMap;

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

const FILES: [&str; 2] = ["root/etc/os-release", "root/usr/lib/os-release"];
const LABELS: [&str; 12] = [
    "build_id",
    "id",
    "id_like",
    "image_id",
    "image_version",
    "name",
    "pretty_name",
    "variant",
    "variant_id",
    "version",
    "version_codename",
    "version_id",
];

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    for path in FILES {
        if let Some(text) = source.find(path)? {
            let known = parse(&text);
            return write(source, path, &known, sheet);
        }
    }
    Err(CollectError::NoData("no os-release"))
}

/// Lines `NAME="value"`, as a shell reads them.
fn parse(text: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if let Some((name, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            all.insert(name.to_lowercase(), unquoted(value.trim()));
        }
    }
    all
}

fn unquoted(text: &str) -> String {
    let inside = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    if let Some(inside) = inside('\'') {
        return inside.to_owned();
    }
    let text = inside('"').unwrap_or(text);
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(c) = letters.next() {
        out.extend(if c == '\\' { letters.next() } else { Some(c) });
    }
    out
}

fn write(
    source: &Source,
    path: &str,
    known: &BTreeMap<String, String>,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    let value = |name: &str| known.get(name).map_or("", String::as_str);
    let labels = LABELS.map(|label| (label, value(label)));
    sheet.gauge(
        "node_os_info",
        "A metric with a constant '1' value labeled by build_id, id, id_like, image_id, \
         image_version, name, pretty_name, variant, variant_id, version, version_codename, \
         version_id.",
        &labels,
        1.0,
    );
    let version = major_minor(value("version_id"));
    if let Some(version) = version.filter(|version| *version > 0.0) {
        let labels = ["id", "id_like", "name"].map(|label| (label, value(label)));
        let help = "Metric containing the major.minor part of the OS version.";
        sheet.gauge("node_os_version", help, &labels, version);
    }
    let end = value("support_end");
    if !end.is_empty() {
        let fault = || source.form(path, 0, "SUPPORT_END as YYYY-MM-DD");
        let date: jiff::civil::Date = end.parse().map_err(|_| fault())?;
        let midnight = date
            .to_zoned(jiff::tz::TimeZone::UTC)
            .map_err(|_| fault())?;
        sheet.gauge(
            "node_os_support_end_timestamp_seconds",
            "Metric containing the end-of-life date timestamp of the OS.",
            &[],
            midnight.timestamp().as_second() as f64,
        );
    }
    Ok(())
}

/// `22.04.3` is 22.04.
fn major_minor(text: &str) -> Option<f64> {
    let mut points = 0;
    let end = text.find(|c: char| {
        points += u32::from(c == '.');
        !(c.is_ascii_digit() || c == '.' && points == 1)
    });
    text.get(..end.unwrap_or(text.len()))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (text, expect) in [
            ("12", Some(12.0)),
            ("22.04", Some(22.04)),
            ("22.04.3", Some(22.04)),
            ("3.19_alpha", Some(3.19)),
            ("rolling", None),
            ("", None),
        ] {
            assert_eq!(major_minor(text), expect, "{text}");
        }
    }

    #[test]
    fn values_are_unquoted() {
        let known = parse("NAME=\"A \\\"b\\\"\"\n# X=1\nID=c\nV='d e'\n");
        let expect = [("name", "A \"b\""), ("id", "c"), ("v", "d e")];
        let expect = expect.map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(known, BTreeMap::from(expect));
    }
}
