//! textfile: metrics that others left in files `*.prom`, in the text format.
//!
//! A file that cannot be read or has times of its own is left out whole and told in
//! `node_textfile_scrape_error`; the others are taken.

use std::collections::BTreeMap;

use obs_model::labels::METRIC_NAME;
use obs_model::limits::Limits;
use obs_model::metrics::MetricKind;
use obs_model::{Labels, Pattern};
use obs_wire::prometheus::text;

use crate::sheet::{Sheet, flag};
use crate::{CollectError, Options, Source};

/// Folders that one glob may name.
const FOLDERS_MAX: usize = 1 << 10;

/// A family of one file.
#[derive(Debug)]
struct Found {
    file: String,
    help: Option<String>,
    kind: MetricKind,
    points: Vec<(&'static str, Labels, f64)>,
}

pub(crate) fn collect(
    source: &Source,
    options: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    let mut failed = false;
    let mut families: BTreeMap<String, Vec<Found>> = BTreeMap::new();
    for directory in options
        .textfile_directories
        .iter()
        .filter(|d| !d.is_empty())
    {
        for folder in folders(source, directory) {
            let Ok(files) = source.entries(&format!("file/{folder}")) else {
                failed = true;
                continue;
            };
            for file in files.iter().filter(|file| file.ends_with(".prom")) {
                let path = format!("{}/{file}", folder.trim_end_matches('/'));
                let Some(changed) = read(source, &path, &mut families) else {
                    failed = true;
                    continue;
                };
                sheet.gauge(
                    "node_textfile_mtime_seconds",
                    "Unixtime mtime of textfiles successfully read.",
                    &[("file", &path)],
                    changed,
                );
            }
        }
    }
    for (name, found) in families {
        failed |= !write(&name, found, sheet);
    }
    sheet.gauge(
        "node_textfile_scrape_error",
        "1 if there was an error opening or reading a file, 0 otherwise",
        &[],
        flag(failed),
    );
    Ok(())
}

/// The folders of a glob; the path itself where it is none or matches nothing.
fn folders(source: &Source, glob: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    for part in glob.split('/').skip(usize::from(glob.starts_with('/'))) {
        if !part.contains(['*', '?', '[']) {
            for folder in &mut all {
                *folder = format!("{folder}/{part}");
            }
            continue;
        }
        let Ok(pattern) = Pattern::anchored(&expression(part)) else {
            return vec![glob.to_owned()];
        };
        let mut next = Vec::new();
        for folder in &all {
            let names = source.entries(&format!("file/{folder}/"));
            for name in names.unwrap_or_default() {
                if pattern.is_match(name.as_bytes()) && next.len() < FOLDERS_MAX {
                    next.push(format!("{folder}/{name}"));
                }
            }
        }
        all = next;
    }
    if all.is_empty() || !glob.starts_with('/') {
        return vec![glob.to_owned()];
    }
    all
}

/// A glob as a regular expression.
fn expression(glob: &str) -> String {
    let mut out = String::new();
    for c in glob.chars() {
        match c {
            '*' => out.push_str(".*"),
            '?' => out.push('.'),
            '[' | ']' | '^' | '-' => out.push(c),
            c if c.is_ascii_punctuation() => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

/// Reads a file; gives when it was changed.
fn read(source: &Source, path: &str, families: &mut BTreeMap<String, Vec<Found>>) -> Option<f64> {
    let content = source.read(&format!("file/{path}")).ok()?;
    let found = parse(path, &content)?;
    for (name, family) in found {
        families.entry(name).or_default().push(family);
    }
    source.changed(&format!("file/{path}"))
}

/// The families of a file; `None` where it is not in the text format or has times.
fn parse(path: &str, content: &str) -> Option<BTreeMap<String, Found>> {
    let exposition = text::decode(content.as_bytes(), &Limits::default()).ok()?;
    if exposition
        .samples
        .iter()
        .any(|sample| sample.time.is_some())
    {
        return None;
    }
    let mut all = BTreeMap::new();
    for told in exposition.metadata {
        let family = Found {
            file: path.to_owned(),
            help: Some(told.help).filter(|help| !help.is_empty()),
            kind: told.kind,
            points: Vec::new(),
        };
        all.insert(told.family, family);
    }
    for sample in exposition.samples {
        let name = sample.labels.metric_name()?.to_owned();
        let (family, suffix) = family_of(&name, &all);
        let found = all.entry(family).or_insert_with(|| Found {
            file: path.to_owned(),
            help: None,
            kind: MetricKind::Unknown,
            points: Vec::new(),
        });
        let labels = sample.labels.without(|label| label == METRIC_NAME);
        found.points.push((suffix, labels, sample.value));
    }
    all.retain(|_, found| !found.points.is_empty());
    Some(all)
}

/// The family that a line belongs to, and what its name has behind the family's.
fn family_of(name: &str, known: &BTreeMap<String, Found>) -> (String, &'static str) {
    for suffix in ["_bucket", "_sum", "_count"] {
        let family = name.strip_suffix(suffix);
        let kind = family
            .and_then(|family| known.get(family))
            .map(|found| found.kind);
        let has = match kind {
            Some(MetricKind::Histogram) => true,
            Some(MetricKind::Summary) => suffix != "_bucket",
            Some(_) | None => false,
        };
        if let Some(family) = family.filter(|_| has) {
            return (family.to_owned(), suffix);
        }
    }
    (name.to_owned(), "")
}

/// Writes a family of one or several files; false where they do not agree.
fn write(name: &str, found: Vec<Found>, sheet: &mut Sheet) -> bool {
    let first = found.iter().find_map(|family| family.help.clone());
    let files: Vec<&str> = found.iter().map(|family| family.file.as_str()).collect();
    let default = format!("Metric read from {}", files.join(", "));
    let help = first.clone().unwrap_or(default);
    let kind = found
        .first()
        .map_or(MetricKind::Unknown, |family| family.kind);
    let mut agree = true;
    for family in found {
        // The first help is kept, and families with another are left out.
        if family.help.is_some() && family.help != first {
            agree = false;
            continue;
        }
        let target = sheet.family(kind, name, &help);
        for (suffix, labels, value) in family.points {
            target.points.push(obs_model::family::Point {
                suffix,
                labels,
                value,
            });
        }
    }
    agree
}
