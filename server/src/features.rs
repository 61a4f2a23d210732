//! What `--enable-feature` and `--prometheus-defaults` switch, with Prometheus' names.
//!
//! Invariant: a name that neither Prometheus nor obs knows is an error that lists what is known; a
//! name of Prometheus that switches nothing here is a notice that says why.

use obs_query::promql;
use obs_query::{Request, When};

/// Features that do something, beside those of the language.
const DELAYED_NAMES: &str = "promql-delayed-name-removal";
const PER_STEP_STATS: &str = "promql-per-step-stats";
const START_TIMESTAMPS: &str = "use-start-timestamps";
const TYPE_AND_UNIT: &str = "type-and-unit-labels";
/// Features that are always on here, or part of what Prometheus does by now.
const ALWAYS: [&str; 17] = [
    "auto-gomaxprocs",
    "auto-gomemlimit",
    "exemplar-storage",
    "expand-external-labels",
    "extra-scrape-metrics",
    "metadata-wal-records",
    "native-histograms",
    "new-service-discovery-manager",
    "no-default-scrape-port",
    "no-scrape-default-port",
    "otlp-write-receiver",
    "promql-at-modifier",
    "promql-duration-expr",
    "promql-negative-offset",
    "remote-write-receiver",
    "search-api",
    "st-storage",
];
/// Features of Prometheus that this version does not have or that have no meaning here.
const WITHOUT: [&str; 15] = [
    "agent",
    "auto-reload-config",
    "concurrent-rule-eval",
    "created-timestamp-zero-ingestion",
    "delayed-compaction",
    "fast-startup",
    "memory-snapshot-on-shutdown",
    "native-histogram-custom-buckets",
    "old-ui",
    "otlp-deltatocumulative",
    "otlp-native-delta-ingestion",
    "st-synthesis",
    "use-uncached-io",
    "utf8-names",
    "xor2-encoding",
];

/// What is switched on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Of the language.
    pub promql: promql::Features,
    /// Metric names leave at the end of evaluation.
    pub delayed_names: bool,
    /// `stats=all` counts samples per step.
    pub per_step_stats: bool,
    /// Starts of counters count.
    pub start_timestamps: bool,
    /// `__type__` says what is a counter.
    pub type_and_unit_labels: bool,
    /// What was asked for and switches nothing.
    pub notices: Vec<String>,
    /// What was asked for, for the status page.
    pub asked: String,
}

impl Features {
    /// From the values of `--enable-feature`, each a list with commas. With `prometheus_defaults`,
    /// experimental parts of PromQL are on only where they are named.
    pub fn new(lists: &[String], prometheus_defaults: bool) -> Result<Self, String> {
        let mut features = Self::default();
        if prometheus_defaults {
            features.promql = promql::Features::PROMETHEUS;
        }
        let names = lists.iter().flat_map(|list| list.split(','));
        for name in names.map(str::trim).filter(|name| !name.is_empty()) {
            features.enable(name)?;
        }
        features.asked = lists.join(",");
        Ok(features)
    }

    fn enable(&mut self, name: &str) -> Result<(), String> {
        match name {
            DELAYED_NAMES => self.delayed_names = true,
            PER_STEP_STATS => self.per_step_stats = true,
            START_TIMESTAMPS => self.start_timestamps = true,
            TYPE_AND_UNIT => {
                self.type_and_unit_labels = true;
                self.notices.push(format!(
                    "--enable-feature={name}: queries heed the labels __type__ and __unit__; \
                     scraping does not add them"
                ));
            }
            _ if ALWAYS.contains(&name) => self
                .notices
                .push(format!("--enable-feature={name} is always on")),
            _ if WITHOUT.contains(&name) => self
                .notices
                .push(format!("--enable-feature={name} has no effect here")),
            _ if self.promql.enable(name) => {}
            _ => {
                let language = promql::Features::NAMES.iter();
                let own = [
                    DELAYED_NAMES,
                    PER_STEP_STATS,
                    START_TIMESTAMPS,
                    TYPE_AND_UNIT,
                ];
                let mut known: Vec<&str> = language.copied().chain(own).collect();
                known.sort_unstable();
                return Err(format!(
                    "{name:?} is not a feature of Prometheus; expected some of {}",
                    known.join(", ")
                ));
            }
        }
        Ok(())
    }

    /// A request with these features.
    pub(crate) fn request(&self, when: When) -> Request {
        let mut request = Request::new(when);
        request.delayed_names = self.delayed_names;
        request.start_timestamps = self.start_timestamps;
        request.type_and_unit_labels = self.type_and_unit_labels;
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(lists: &[&str], prometheus_defaults: bool) -> Result<Features, String> {
        let lists: Vec<String> = lists.iter().map(|&list| list.to_owned()).collect();
        Features::new(&lists, prometheus_defaults)
    }

    #[test]
    fn names_are_prometheus() {
        let none = features(&[], false).unwrap();
        assert_eq!(none, Features::default());
        assert!(none.promql.experimental_functions && !none.delayed_names);
        let list = "promql-delayed-name-removal, use-start-timestamps";
        let some = features(&[list, "promql-per-step-stats"], true).unwrap();
        assert!(some.delayed_names && some.start_timestamps && some.per_step_stats);
        assert!(!some.promql.experimental_functions && some.notices.is_empty());
        let one = features(&["promql-experimental-functions"], true).unwrap();
        assert!(one.promql.experimental_functions && !one.promql.fill_modifiers);
        for name in ALWAYS.iter().chain(&WITHOUT).chain(&[TYPE_AND_UNIT]) {
            let notices = features(&[name], false).unwrap().notices;
            assert!(
                notices.len() == 1 && notices[0].contains(name),
                "{notices:?}"
            );
        }
        let fault = features(&["promql-everything"], false).unwrap_err();
        assert!(
            fault.contains("\"promql-everything\"") && fault.contains(DELAYED_NAMES),
            "{fault}"
        );
    }
}
