//! How OTLP metrics become Prometheus' series: the `otlp` section of `prometheus.yml`.
//!
//! Invariant: the default is what Prometheus does without that section.

use super::name::{self, NameKind};

/// `translation_strategy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Old alphabet, with unit and type in the name.
    #[default]
    UnderscoreEscapingWithSuffixes,
    /// Old alphabet, nothing added.
    UnderscoreEscapingWithoutSuffixes,
    /// Any UTF-8, with unit and type in the name.
    NoUtf8EscapingWithSuffixes,
    /// As sent.
    NoTranslation,
}

impl Strategy {
    /// All of them, with the words of the configuration.
    pub const ALL: [(&'static str, Self); 4] = [
        (
            "UnderscoreEscapingWithSuffixes",
            Self::UnderscoreEscapingWithSuffixes,
        ),
        (
            "UnderscoreEscapingWithoutSuffixes",
            Self::UnderscoreEscapingWithoutSuffixes,
        ),
        (
            "NoUTF8EscapingWithSuffixes",
            Self::NoUtf8EscapingWithSuffixes,
        ),
        ("NoTranslation", Self::NoTranslation),
    ];

    fn escapes(self) -> bool {
        matches!(
            self,
            Self::UnderscoreEscapingWithSuffixes | Self::UnderscoreEscapingWithoutSuffixes
        )
    }
}

/// Which attributes of a resource become labels of its series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Promoted {
    /// These; `promote_resource_attributes`.
    Only(Vec<String>),
    /// All but these; `promote_all_resource_attributes` and `ignore_resource_attributes`.
    AllBut(Vec<String>),
}

impl Promoted {
    pub(super) fn has(&self, key: &str) -> bool {
        match self {
            Self::Only(names) => names.iter().any(|name| name == key),
            Self::AllBut(names) => !names.iter().any(|name| name == key),
        }
    }
}

/// The `otlp` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How names are made.
    pub strategy: Strategy,
    /// Attributes of the resource on each series.
    pub promoted: Promoted,
    /// Whether `target_info` has what became `job` and `instance`.
    pub keep_identifying: bool,
    /// Whether classic histograms become native ones with custom buckets.
    pub convert_to_native: bool,
    /// Whether series tell their scope in `otel_scope_…`.
    pub promote_scope: bool,
    /// Whether labels that begin with `_` get `key` before it.
    pub sanitize_underscores: bool,
    /// Whether runs of underscores in labels stay.
    pub preserve_underscores: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            promoted: Promoted::Only(Vec::new()),
            keep_identifying: false,
            convert_to_native: false,
            promote_scope: false,
            sanitize_underscores: true,
            preserve_underscores: true,
        }
    }
}

impl Options {
    /// The name of a metric, or none where nothing of it can be kept.
    pub(super) fn metric_name(&self, name: &str, unit: &str, kind: NameKind) -> Option<String> {
        let made = match self.strategy {
            Strategy::UnderscoreEscapingWithSuffixes => {
                return name::metric_name(name, unit, kind);
            }
            Strategy::UnderscoreEscapingWithoutSuffixes => {
                let keep = |c: char| c.is_ascii_alphanumeric() || c == ':' || c == '_';
                let words = name.split(|c| !keep(c)).filter(|word| !word.is_empty());
                let joined = words.collect::<Vec<_>>().join("_");
                if joined.starts_with(|c: char| c.is_ascii_digit()) {
                    format!("_{joined}")
                } else {
                    joined
                }
            }
            Strategy::NoUtf8EscapingWithSuffixes => name::with_suffixes(name, unit, kind),
            Strategy::NoTranslation => name.to_owned(),
        };
        (!made.is_empty()).then_some(made)
    }

    /// The name of a label; empty where the key is.
    pub(super) fn label_name(&self, key: &str) -> String {
        if !self.strategy.escapes() {
            return key.to_owned();
        }
        let name = if self.sanitize_underscores {
            name::label_name(key)
        } else {
            name::escaped_label(key)
        };
        if self.preserve_underscores || name.starts_with("__") {
            return name;
        }
        let mut single = String::with_capacity(name.len());
        for c in name.chars() {
            if c != '_' || !single.ends_with('_') {
                single.push(c);
            }
        }
        single
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_by_strategy() {
        let check = |name: &str, unit: &str, kind, expect: [&str; 4]| {
            let made = Strategy::ALL.map(|(_, strategy)| {
                let options = Options {
                    strategy,
                    ..Options::default()
                };
                options.metric_name(name, unit, kind).unwrap_or_default()
            });
            assert_eq!(made, expect, "{name}");
        };
        check(
            "http.server.duration",
            "s",
            NameKind::Other,
            [
                "http_server_duration_seconds",
                "http_server_duration",
                "http.server.duration_seconds",
                "http.server.duration",
            ],
        );
        check(
            "a.total",
            "By/s",
            NameKind::Counter,
            [
                "a_bytes_per_second_total",
                "a_total",
                "a_bytes_per_second_total",
                "a.total",
            ],
        );
        check(
            "größe",
            "1",
            NameKind::Gauge,
            ["gr_e_ratio", "gr_e", "größe_ratio", "größe"],
        );
        check(
            "1..x__y",
            "",
            NameKind::Other,
            ["_1_x_y", "_1_x__y", "1..x__y", "1..x__y"],
        );
        check("", "", NameKind::Other, [""; 4]);
    }

    #[test]
    fn label_names_by_option() {
        let check = |options: Options, expect: [&str; 3]| {
            let made = ["a..b", "_x", "1"].map(|key| options.label_name(key));
            assert_eq!(made, expect);
        };
        check(Options::default(), ["a__b", "key_x", "key_1"]);
        check(
            Options {
                sanitize_underscores: false,
                preserve_underscores: false,
                ..Options::default()
            },
            ["a_b", "_x", "key_1"],
        );
        check(
            Options {
                strategy: Strategy::NoTranslation,
                ..Options::default()
            },
            ["a..b", "_x", "1"],
        );
    }
}
