//! Mapping files of statsd_exporter and graphite_exporter: paths with dots become names with
//! labels.
//!
//! Invariant: an expression and a glob are compiled once, when the file is read; the first mapping
//! that matches decides. Format: <https://github.com/prometheus/statsd_exporter#metric-mapping-and-configuration>

use std::collections::BTreeMap;
use std::time::Duration;

use obs_model::Pattern;
use obs_wire::influx::clean;
use serde::Deserialize;

use crate::config::Span;

/// Most mappings of one file.
const MAPPINGS_MAX: usize = 10_000;

/// A mapping file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Renaming {
    rules: Vec<Rule>,
    defaults: Defaults,
}

#[derive(Clone, Debug)]
struct Rule {
    pattern: Pattern,
    raw: RawRule,
}

/// What becomes of a path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Renamed {
    /// The metric's name.
    pub name: String,
    /// Labels of the mapping.
    pub labels: Vec<(String, String)>,
    /// Whether labels of the line win.
    pub honor_labels: bool,
    /// Help of the mapping.
    pub help: String,
    /// How observations are kept.
    pub kind: ObserverKind,
    /// Upper bounds of a histogram.
    pub buckets: Vec<f64>,
    /// Quantiles of a summary.
    pub quantiles: Vec<f64>,
    /// After how long without a line a series ends.
    pub ttl: Option<Duration>,
    /// What values are multiplied by.
    pub scale: f64,
}

/// What a metric is in the words of StatsD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StatsdKind {
    Counter,
    Gauge,
    #[serde(alias = "timer")]
    Observer,
}

/// `observer_type`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ObserverKind {
    /// Cumulative buckets.
    Histogram,
    /// Quantiles over ten minutes.
    #[default]
    Summary,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum MatchType {
    #[default]
    Glob,
    Regex,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    #[default]
    #[serde(alias = "")]
    Map,
    Drop,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HistogramOptions {
    buckets: Vec<f64>,
    #[serde(rename = "native_histogram_bucket_factor")]
    _native_histogram_bucket_factor: Option<f64>,
    #[serde(rename = "native_histogram_max_buckets")]
    _native_histogram_max_buckets: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SummaryOptions {
    quantiles: Vec<Quantile>,
    #[serde(rename = "max_age")]
    _max_age: Option<Span>,
    #[serde(rename = "age_buckets")]
    _age_buckets: Option<u64>,
    #[serde(rename = "buf_cap")]
    _buf_cap: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Quantile {
    quantile: f64,
    #[serde(default, rename = "error")]
    _error: f64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Defaults {
    #[serde(alias = "timer_type")]
    observer_type: ObserverKind,
    match_type: MatchType,
    #[serde(rename = "glob_disable_ordering")]
    _glob_disable_ordering: bool,
    ttl: Option<Span>,
    buckets: Vec<f64>,
    quantiles: Vec<Quantile>,
    histogram_options: HistogramOptions,
    summary_options: SummaryOptions,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawRule {
    #[serde(rename = "match")]
    matched: String,
    match_type: Option<MatchType>,
    match_metric_type: Option<StatsdKind>,
    name: String,
    labels: BTreeMap<String, String>,
    honor_labels: bool,
    action: Action,
    help: String,
    #[serde(alias = "timer_type")]
    observer_type: Option<ObserverKind>,
    buckets: Vec<f64>,
    quantiles: Vec<Quantile>,
    histogram_options: HistogramOptions,
    summary_options: SummaryOptions,
    ttl: Option<Span>,
    scale: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    defaults: Defaults,
    mappings: Vec<RawRule>,
}

/// As Prometheus' clients have them.
const BUCKETS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// As statsd_exporter has them.
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

impl Renaming {
    /// Reads a mapping file.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let file: Option<File> = serde_yaml_ng::from_str(text).map_err(|e| e.to_string())?;
        let file = file.unwrap_or_default();
        if file.mappings.len() > MAPPINGS_MAX {
            return Err(format!("expected at most {MAPPINGS_MAX} mappings"));
        }
        let mut rules = Vec::with_capacity(file.mappings.len());
        for (index, raw) in file.mappings.into_iter().enumerate() {
            let fault = |text: String| format!("mappings[{index}]: {text}");
            let pattern = pattern(&raw, &file.defaults).map_err(fault)?;
            if raw.action == Action::Map && raw.name.is_empty() {
                return Err(fault(
                    "line 0: metric mapping didn't set a metric name".to_owned(),
                ));
            }
            let buckets = raw.buckets.iter().chain(&raw.histogram_options.buckets);
            if !buckets.clone().zip(buckets.skip(1)).all(|(a, b)| a < b) {
                return Err(fault("expected ascending buckets".to_owned()));
            }
            rules.push(Rule { pattern, raw });
        }
        Ok(Self {
            rules,
            defaults: file.defaults,
        })
    }

    /// What becomes of a path: `None` where a mapping drops it. Paths that match none keep their
    /// name, in Prometheus' alphabet; `matched` tells.
    pub(crate) fn apply(&self, path: &str, kind: StatsdKind) -> Option<(Renamed, bool)> {
        for rule in &self.rules {
            if rule
                .raw
                .match_metric_type
                .is_some_and(|wanted| wanted != kind)
            {
                continue;
            }
            let Some(found) = rule.pattern.regex().captures(path.as_bytes()) else {
                continue;
            };
            if rule.raw.action == Action::Drop {
                return None;
            }
            let expand = |template: &str| {
                let mut out = Vec::new();
                found.expand(template.as_bytes(), &mut out);
                String::from_utf8_lossy(&out).into_owned()
            };
            let labels = rule.raw.labels.iter();
            let labels = labels.map(|(n, v)| (n.clone(), expand(&template(v))));
            let mut out = self.plain(&expand(&template(&rule.raw.name)));
            out.labels = labels.collect();
            self.adjust(&mut out, &rule.raw);
            return Some((out, true));
        }
        Some((self.plain(path), false))
    }

    fn plain(&self, path: &str) -> Renamed {
        let d = &self.defaults;
        Renamed {
            name: clean(path, true),
            labels: Vec::new(),
            honor_labels: false,
            help: String::new(),
            kind: d.observer_type,
            buckets: first([&d.histogram_options.buckets, &d.buckets], &BUCKETS),
            quantiles: first_quantiles([&d.summary_options.quantiles, &d.quantiles], &QUANTILES),
            ttl: d.ttl.map(|ttl| ttl.0),
            scale: 1.0,
        }
    }

    fn adjust(&self, out: &mut Renamed, raw: &RawRule) {
        out.honor_labels = raw.honor_labels;
        out.help.clone_from(&raw.help);
        out.kind = raw.observer_type.unwrap_or(out.kind);
        out.buckets = first([&raw.histogram_options.buckets, &raw.buckets], &out.buckets);
        out.quantiles = first_quantiles(
            [&raw.summary_options.quantiles, &raw.quantiles],
            &out.quantiles,
        );
        out.ttl = raw.ttl.map(|ttl| ttl.0).or(out.ttl);
        out.ttl = out.ttl.filter(|ttl| !ttl.is_zero());
        out.scale = raw.scale.unwrap_or(1.0);
    }
}

fn first(given: [&Vec<f64>; 2], otherwise: &[f64]) -> Vec<f64> {
    let found = given.into_iter().find(|list| !list.is_empty());
    found.map_or_else(|| otherwise.to_vec(), Clone::clone)
}

fn first_quantiles(given: [&Vec<Quantile>; 2], otherwise: &[f64]) -> Vec<f64> {
    let found = given.into_iter().find(|list| !list.is_empty());
    found.map_or_else(
        || otherwise.to_vec(),
        |list| list.iter().map(|q| q.quantile).collect(),
    )
}

/// `$1` as the expressions' library has it: in Go a name ends before an underscore that follows a
/// number only in braces, which nobody means.
fn template(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let after = after.get(1..).unwrap_or("");
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 {
            out.push_str("${");
            out.push_str(after.get(..digits).unwrap_or(""));
            out.push('}');
        } else {
            out.push('$');
        }
        rest = after.get(digits..).unwrap_or("");
    }
    out.push_str(rest);
    out
}

fn pattern(raw: &RawRule, defaults: &Defaults) -> Result<Pattern, String> {
    let source = match raw.match_type.unwrap_or(defaults.match_type) {
        // Expressions match anywhere unless they say otherwise.
        MatchType::Regex => raw.matched.clone(),
        MatchType::Glob => {
            let valid = |part: &str| {
                part == "*"
                    || !part.is_empty()
                        && part
                            .chars()
                            .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
            };
            if !raw.matched.split('.').all(valid) {
                return Err(format!("invalid match: {:?}", raw.matched));
            }
            let text = raw.matched.replace('.', "\\.").replace('*', "([^.]*)");
            format!("^{text}$")
        }
    };
    Pattern::search(&source).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
defaults: {observer_type: histogram, buckets: [1, 2], ttl: 1m}
mappings:
- match: "test.dispatcher.*.*.*"
  name: "dispatcher_events_total"
  labels: {processor: "$1", action: "$2_x", job: "${3}-y"}
- match: 'client\.(\w+)$'
  match_type: regex
  name: "client_$1"
  observer_type: summary
  quantiles: [{quantile: 0.25, error: 0.01}]
  ttl: 0s
- match: "noise.*"
  action: drop
  name: ""
- match: "kind.*"
  match_metric_type: timer
  name: "kinds"
"#;

    fn check(path: &str, kind: StatsdKind, expect: Option<(&str, &[(&str, &str)])>) {
        let renaming = Renaming::parse(FILE).expect("a file");
        let found = renaming.apply(path, kind);
        let found = found.map(|(r, _)| (r.name, r.labels));
        let expect = expect.map(|(name, labels)| {
            let labels = labels.iter();
            let labels = labels.map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
            (name.to_owned(), labels.collect::<Vec<_>>())
        });
        assert_eq!(found, expect, "{path}");
    }

    #[test]
    fn the_first_that_matches_decides() {
        use StatsdKind::{Counter, Observer};
        let labels = [("action", "b_x"), ("job", "c-y"), ("processor", "a")];
        check(
            "test.dispatcher.a.b.c",
            Counter,
            Some(("dispatcher_events_total", &labels)),
        );
        check(
            "test.dispatcher.a.b",
            Counter,
            Some(("test_dispatcher_a_b", &[])),
        );
        check("my.client.x", Counter, Some(("client_x", &[])));
        check("noise.x", Counter, None);
        check("kind.x", Counter, Some(("kind_x", &[])));
        check("kind.x", Observer, Some(("kinds", &[])));
        check("9-x", Observer, Some(("_9_x", &[])));
    }

    #[test]
    fn options_of_observers() {
        let renaming = Renaming::parse(FILE).expect("a file");
        let (plain, matched) = renaming.apply("a", StatsdKind::Observer).expect("kept");
        assert_eq!(
            (plain.kind, plain.buckets.as_slice(), matched),
            (ObserverKind::Histogram, [1.0, 2.0].as_slice(), false)
        );
        assert_eq!(plain.ttl, Some(Duration::from_secs(60)));
        let (client, _) = renaming
            .apply("client.x", StatsdKind::Observer)
            .expect("kept");
        assert_eq!(
            (client.kind, client.quantiles.as_slice(), client.ttl),
            (ObserverKind::Summary, [0.25].as_slice(), None)
        );
        for (text, expect) in [
            ("mappings: [{match: 'a b', name: x}]", "invalid match"),
            ("mappings: [{match: a}]", "didn't set a metric name"),
            (
                "mappings: [{match: '(', match_type: regex, name: x}]",
                "regular expression",
            ),
            (
                "mappings: [{match: a, name: x, buckets: [2, 1]}]",
                "ascending",
            ),
            ("mapings: []", "mapings"),
        ] {
            let fault = Renaming::parse(text).expect_err(text);
            assert!(fault.contains(expect), "{fault}");
        }
    }
}
