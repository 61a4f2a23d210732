//! `obs check metrics`: what promtool finds fault with in an exposition, in its words and with its
//! exit codes: 1 for what cannot be read, 3 for names that are not as they should be.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use obs_model::labels::METRIC_NAME;
use obs_model::limits::Limits;
use obs_model::metrics::{Metadata, MetricKind};
use obs_wire::prometheus::exposition::Exposition;
use obs_wire::prometheus::{openmetrics, text};

use crate::Ended;
use crate::table::{Table, one_line};

/// The exit code where something is found.
const LINTS: u8 = 3;
/// Largest exposition that is read.
const BYTES_MAX: u64 = 256 << 20;

#[derive(Debug, Args)]
pub(crate) struct CheckMetricsOptions {
    /// The file; standard input without it
    file: Option<PathBuf>,
    /// Say too how many series each metric has
    #[arg(long)]
    extended: bool,
    /// What to look for: all, or none for how it is written only
    #[arg(long, value_name = "WHAT", default_value = "all", value_parser = ["all", "none"])]
    lint: String,
}

pub(crate) fn run(options: &CheckMetricsOptions) -> anyhow::Result<()> {
    let (name, bytes) = read(options)?;
    let exposition = decode(&bytes).with_context(|| name.clone())?;
    let families = families(&exposition);
    let mut found = BTreeSet::new();
    if options.lint == "all" {
        for (family, known) in &families {
            lint(family, known, &mut found);
        }
        twice(&exposition, &mut found);
    }
    for (metric, text) in &found {
        writeln!(std::io::stderr(), "{} {text}", one_line(metric))?;
    }
    if options.extended {
        crate::shape::write(&cardinality(&families).text())?;
    }
    if found.is_empty() {
        Ok(())
    } else {
        Err(Ended(LINTS).into())
    }
}

fn read(options: &CheckMetricsOptions) -> anyhow::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let (name, read) = match &options.file {
        None => {
            let stdin = std::io::stdin().lock();
            (
                "standard input".to_owned(),
                stdin.take(BYTES_MAX + 1).read_to_end(&mut bytes),
            )
        }
        Some(path) => {
            let shown = path.display().to_string();
            let file = std::fs::OpenOptions::new().read(true).open(path);
            let file = file.with_context(|| format!("open {shown}"))?;
            (shown, file.take(BYTES_MAX + 1).read_to_end(&mut bytes))
        }
    };
    read.with_context(|| format!("read {name}"))?;
    if bytes.len() as u64 > BYTES_MAX {
        bail!("{name}: larger than {BYTES_MAX} bytes");
    }
    Ok((name, bytes))
}

/// OpenMetrics is known by its end.
fn decode(bytes: &[u8]) -> anyhow::Result<Exposition> {
    let limits = Limits {
        labels_max: 4096,
        ..Limits::default()
    };
    let is_openmetrics = bytes.trim_ascii_end().ends_with(b"# EOF");
    Ok(match is_openmetrics {
        true => openmetrics::decode(bytes, &limits)?,
        false => text::decode(bytes, &limits)?,
    })
}

/// A family: what is told of it, and the labels of its series.
#[derive(Debug, Default)]
struct Known<'a> {
    told: Option<&'a Metadata>,
    labels: BTreeSet<&'a str>,
    series: usize,
    /// OpenMetrics leaves `_total` out of the family's name.
    total: bool,
}

/// Families by name. Parts of histograms and summaries are of the family that tells its type.
fn families(exposition: &Exposition) -> BTreeMap<&str, Known<'_>> {
    let mut families: BTreeMap<&str, Known<'_>> = BTreeMap::new();
    for told in &exposition.metadata {
        families.entry(&told.family).or_default().told = Some(told);
    }
    for sample in &exposition.samples {
        let name = sample.labels.get(METRIC_NAME).unwrap_or_default();
        let base = family_of(name, &families);
        let known = families.entry(base).or_default();
        known.series += 1;
        known.total |= base != name && name.ends_with("_total");
        known
            .labels
            .extend(sample.labels.iter().map(|(label, _)| label));
        known.labels.remove(METRIC_NAME);
    }
    families
}

fn family_of<'a>(name: &'a str, families: &BTreeMap<&str, Known<'_>>) -> &'a str {
    use MetricKind as K;
    let parts: [(&str, &[K]); 5] = [
        ("_bucket", &[K::Histogram, K::GaugeHistogram]),
        ("_sum", &[K::Histogram, K::GaugeHistogram, K::Summary]),
        ("_count", &[K::Histogram, K::GaugeHistogram, K::Summary]),
        ("_total", &[K::Counter]),
        ("_created", &[K::Counter, K::Histogram, K::Summary]),
    ];
    for (part, kinds) in parts {
        let base = name.strip_suffix(part);
        let told = base.and_then(|base| families.get(base)?.told);
        if let (Some(base), Some(told)) = (base, told)
            && kinds.contains(&told.kind)
        {
            return base;
        }
    }
    name
}

type Found = BTreeSet<(String, String)>;

fn lint(family: &str, known: &Known<'_>, found: &mut Found) {
    let mut say = |text: String| {
        found.insert((family.to_owned(), text));
    };
    let kind = known.told.map_or(MetricKind::Unknown, |told| told.kind);
    if known.told.is_none_or(|told| told.help.is_empty()) {
        say("no help text".to_owned());
    }
    if let Some((unit, base)) = unit(family).filter(|(unit, base)| unit != base) {
        say(format!("use base unit \"{base}\" instead of \"{unit}\""));
    }
    let histogram = matches!(kind, MetricKind::Histogram | MetricKind::GaugeHistogram);
    let summary = kind == MetricKind::Summary;
    match (kind, known.total || family.ends_with("_total")) {
        (MetricKind::Counter, false) => {
            say("counter metrics should have \"_total\" suffix".to_owned());
        }
        (MetricKind::Unknown | MetricKind::Counter, _) | (_, false) => {}
        (_, true) => say("non-counter metrics should not have \"_total\" suffix".to_owned()),
    }
    if kind != MetricKind::Unknown {
        for (bad, what, ending) in [
            (!histogram, "non-histogram", "_bucket"),
            (
                !histogram && !summary,
                "non-histogram and non-summary",
                "_count",
            ),
            (
                !histogram && !summary,
                "non-histogram and non-summary",
                "_sum",
            ),
        ] {
            if bad && family.ends_with(ending) {
                say(format!(
                    "{what} metrics should not have \"{ending}\" suffix"
                ));
            }
        }
        if !histogram && known.labels.contains("le") {
            say("non-histogram metrics should not have \"le\" label".to_owned());
        }
        if !summary && known.labels.contains("quantile") {
            say("non-summary metrics should not have \"quantile\" label".to_owned());
        }
        let word = kind.as_str();
        let lower = family.to_lowercase();
        if lower.contains(&format!("_{word}_")) || lower.ends_with(&format!("_{word}")) {
            say(format!("metric name should not include type '{word}'"));
        }
    }
    if family.contains(':') {
        say("metric names should not contain ':'".to_owned());
    }
    if is_camel(family) {
        say("metric names should be written in 'snake_case' not 'camelCase'".to_owned());
    }
    if known.labels.iter().any(|label| is_camel(label)) {
        say("label names should be written in 'snake_case' not 'camelCase'".to_owned());
    }
    if abbreviated(family) {
        say("metric names should not contain abbreviated units".to_owned());
    }
}

fn is_camel(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes
        .windows(2)
        .any(|two| two[0].is_ascii_lowercase() && two[1].is_ascii_uppercase())
}

/// The unit in a name, and the one that should be there.
fn unit(name: &str) -> Option<(&str, &'static str)> {
    const PREFIXES: [&str; 19] = [
        "pico", "nano", "micro", "milli", "centi", "deci", "deca", "deka", "hecto", "kilo", "kibi",
        "mega", "mibi", "giga", "gibi", "tera", "tebi", "peta", "pebi",
    ];
    const UNITS: [(&str, &str); 25] = [
        ("amperes", "amperes"),
        ("bytes", "bytes"),
        ("celsius", "celsius"),
        ("grams", "grams"),
        ("joules", "joules"),
        ("kelvin", "kelvin"),
        ("meters", "meters"),
        ("metres", "metres"),
        ("moles", "moles"),
        ("seconds", "seconds"),
        ("volts", "volts"),
        ("minutes", "seconds"),
        ("hours", "seconds"),
        ("days", "seconds"),
        ("weeks", "seconds"),
        ("kelvins", "kelvin"),
        ("fahrenheit", "celsius"),
        ("rankine", "celsius"),
        ("inches", "meters"),
        ("yards", "meters"),
        ("miles", "meters"),
        ("bits", "bytes"),
        ("calories", "joules"),
        ("pounds", "grams"),
        ("ounces", "grams"),
    ];
    let base = |word: &str| {
        UNITS
            .iter()
            .find(|(unit, _)| *unit == word)
            .map(|(_, base)| *base)
    };
    name.split('_').find_map(|word| {
        let mut rests = PREFIXES
            .iter()
            .filter_map(|prefix| word.strip_prefix(prefix));
        let found = base(word).or_else(|| rests.find_map(base));
        found.map(|base| (word, base))
    })
}

fn abbreviated(name: &str) -> bool {
    const SHORT: [&str; 14] = [
        "s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d",
    ];
    let lower = name.to_lowercase();
    // The first word is no unit of what follows it.
    lower.split('_').skip(1).any(|word| SHORT.contains(&word))
}

/// Series that are there more than once.
fn twice(exposition: &Exposition, found: &mut Found) {
    let mut seen = BTreeSet::new();
    for sample in &exposition.samples {
        if !seen.insert((sample.labels.to_string(), sample.time)) {
            let name = sample.labels.get(METRIC_NAME).unwrap_or_default();
            found.insert((name.to_owned(), "metric not unique".to_owned()));
        }
    }
}

/// How many series each metric has, and which share of all that is.
fn cardinality(families: &BTreeMap<&str, Known<'_>>) -> Table {
    let mut table = Table::new(["Metric", "Cardinality", "Percentage"]);
    let total: usize = families.values().map(|known| known.series).sum();
    let mut all: Vec<(&&str, usize)> = families
        .iter()
        .map(|(name, known)| (name, known.series))
        .collect();
    all.sort_by_key(|(name, series)| (std::cmp::Reverse(*series), **name));
    for (name, series) in all {
        let share = 100.0 * series as f64 / total.max(1) as f64;
        table.push(vec![
            (*name).to_owned(),
            series.to_string(),
            format!("{share:.2}%"),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[&str]) {
        let exposition = decode(text.as_bytes()).unwrap();
        let families = families(&exposition);
        let mut found = BTreeSet::new();
        for (family, known) in &families {
            lint(family, known, &mut found);
        }
        twice(&exposition, &mut found);
        let found: Vec<String> = found
            .iter()
            .map(|(name, text)| format!("{name} {text}"))
            .collect();
        assert_eq!(found, expect, "{text}");
    }

    #[test]
    fn names_as_promtool_wants_them() {
        let told = |name: &str, kind: &str, line: &str| {
            format!("# HELP {name} Help.\n# TYPE {name} {kind}\n{line} 1\n")
        };
        check(&told("a_total", "counter", "a_total"), &[]);
        check(&told("a_seconds", "gauge", "a_seconds"), &[]);
        check("a 1\n", &["a no help text"]);
        check(
            &told("a", "counter", "a"),
            &["a counter metrics should have \"_total\" suffix"],
        );
        check(
            &told("a_total", "gauge", "a_total"),
            &["a_total non-counter metrics should not have \"_total\" suffix"],
        );
        check(
            &told("a_milliseconds", "gauge", "a_milliseconds"),
            &["a_milliseconds use base unit \"seconds\" instead of \"milliseconds\""],
        );
        check(
            &told("a_ms", "gauge", "a_ms"),
            &["a_ms metric names should not contain abbreviated units"],
        );
        check(
            &told("aB", "gauge", "aB{cD=\"1\"}"),
            &[
                "aB label names should be written in 'snake_case' not 'camelCase'",
                "aB metric names should be written in 'snake_case' not 'camelCase'",
            ],
        );
        check(
            &told("a:b", "gauge", "a:b{le=\"1\"}"),
            &[
                "a:b metric names should not contain ':'",
                "a:b non-histogram metrics should not have \"le\" label",
            ],
        );
        check(
            &told("a_gauge", "gauge", "a_gauge"),
            &["a_gauge metric name should not include type 'gauge'"],
        );
        let histogram =
            "# HELP h Help.\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n";
        check(histogram, &[]);
        check(
            &format!("{}a_total 2\n", told("a_total", "counter", "a_total")),
            &["a_total metric not unique"],
        );
    }
}
