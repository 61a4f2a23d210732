//! `obs.collector.logs`: which logs of this machine are followed, and what is made of their lines.
//!
//! Invariant: every pattern compiles and every number is above zero, so that following starts
//! without faults of the configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::values::{Span, checked_map};
use obs_model::Pattern;

/// Rotated files of one container that may wait to be read, before the oldest are given up.
const ROTATED_FILES_MAX: usize = 10;
/// Lines of one record made of many.
const MULTILINE_LINES: usize = 128;
/// Longest wait for the next line of a record.
const MULTILINE_FLUSH: Duration = Duration::from_secs(2);

/// `obs.collector.logs`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogsConfig {
    /// Containers of pods.
    pub pods: Option<PodsConfig>,
    /// Files to follow.
    pub files: Vec<FilesConfig>,
    /// The journal of systemd.
    pub journald: Option<JournaldConfig>,
}

impl LogsConfig {
    /// Whether there are files to be followed.
    pub fn has_files(&self) -> bool {
        self.pods.is_some() || !self.files.is_empty()
    }
}

/// `obs.collector.logs.pods`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PodsConfig {
    /// Where the kubelet keeps them.
    pub path: PathBuf,
    /// Folders that links below `path` may lead to, beside the folder that `path` is in and those
    /// of the usual runtimes.
    pub link_targets: Vec<PathBuf>,
    /// Labels of all streams.
    pub labels: BTreeMap<String, String>,
    /// Only pods of these namespaces (patterns with `*` and `?`); all where it is empty.
    pub include_namespaces: Vec<String>,
    /// No pods of these namespaces.
    pub exclude_namespaces: Vec<String>,
    /// Labels of pods that become labels of streams.
    pub pod_labels: Vec<String>,
    /// Whether annotations of pods exclude them and choose parsers.
    pub annotations: bool,
    /// Rotated files of a container that may wait to be read.
    pub rotated_files_max: usize,
    /// Settings for some containers; the first that fits counts.
    pub rules: Vec<PodRule>,
    /// What lines are.
    pub parser: Option<ParserConfig>,
    /// How lines become records.
    pub multiline: Option<MultilineConfig>,
    /// What is not kept.
    pub drop: Vec<DropConfig>,
    /// Whether a level is looked for in lines whose parser knows none.
    pub detect_level: bool,
}

impl Default for PodsConfig {
    fn default() -> Self {
        Self {
            path: "/var/log/pods".into(),
            link_targets: Vec::new(),
            labels: BTreeMap::new(),
            include_namespaces: Vec::new(),
            exclude_namespaces: Vec::new(),
            pod_labels: Vec::new(),
            annotations: true,
            rotated_files_max: ROTATED_FILES_MAX,
            rules: Vec::new(),
            parser: None,
            multiline: None,
            drop: Vec::new(),
            detect_level: false,
        }
    }
}

/// One of `obs.collector.logs.pods.rules`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PodRule {
    /// Pattern of the namespace; any where absent.
    pub namespace: Option<String>,
    /// Pattern of the pod.
    pub pod: Option<String>,
    /// Pattern of the container.
    pub container: Option<String>,
    /// Not followed at all.
    pub exclude: bool,
    /// What lines are.
    pub parser: Option<ParserConfig>,
    /// How lines become records.
    pub multiline: Option<MultilineConfig>,
    /// What is not kept.
    pub drop: Vec<DropConfig>,
    /// Whether a level is looked for.
    pub detect_level: bool,
}

/// One entry of `obs.collector.logs.files`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesConfig {
    /// Paths; every element may be a pattern with `*` and `?`.
    pub paths: Vec<PathBuf>,
    /// Paths that are not followed.
    #[serde(default)]
    pub exclude: Vec<PathBuf>,
    /// Folders that links may lead to, beside the folder that a path names without patterns, and
    /// those of the kubelet and the usual runtimes.
    #[serde(default)]
    pub link_targets: Vec<PathBuf>,
    /// Labels of their streams.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// How lines are wrapped.
    #[serde(default)]
    pub format: FileFormat,
    /// What lines are.
    #[serde(default)]
    pub parser: Option<ParserConfig>,
    /// How lines become records.
    #[serde(default)]
    pub multiline: Option<MultilineConfig>,
    /// What is not kept.
    #[serde(default)]
    pub drop: Vec<DropConfig>,
    /// Whether a level is looked for in lines whose parser knows none.
    #[serde(default)]
    pub detect_level: bool,
}

/// How the lines of a file are wrapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    /// A line is a line.
    #[default]
    Raw,
    /// As container runtimes write: `TIME STREAM P|F LINE`, or Docker's JSON.
    Container,
}

/// `obs.collector.logs.journald`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JournaldConfig {
    /// Folder of the journal; the system's own where absent.
    pub path: Option<PathBuf>,
    /// The program that reads it; `journalctl`.
    pub command: Option<PathBuf>,
    /// Only these units; all where it is empty.
    pub units: Vec<String>,
    /// Labels of all streams.
    pub labels: BTreeMap<String, String>,
}

/// What lines are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParserKind {
    /// Nothing is read from them.
    None,
    /// A JSON object.
    Json,
    /// `key=value` pairs.
    Logfmt,
    /// Named groups of a pattern.
    Regex,
    /// As Kubernetes' own programs write.
    Klog,
    /// RFC 3164 or 5424.
    Syslog,
    /// Nginx' and Apache's combined access log.
    Combined,
    /// Envoy's default access log.
    Envoy,
    /// Events of Kubernetes' audit log.
    KubernetesAudit,
}

impl ParserKind {
    /// By the name in configurations and annotations.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "none" => Self::None,
            "json" => Self::Json,
            "logfmt" => Self::Logfmt,
            "klog" => Self::Klog,
            "syslog" => Self::Syslog,
            "combined" | "nginx" | "apache" | "apache2" => Self::Combined,
            "envoy" => Self::Envoy,
            "kubernetes_audit" => Self::KubernetesAudit,
            _ => return None,
        })
    }
}

/// A parser.
#[derive(Clone, Debug, PartialEq)]
pub struct ParserConfig {
    /// Which.
    pub kind: ParserKind,
    /// The pattern of `regex`.
    pub pattern: Option<String>,
    /// Fields that become structured metadata; all that the parser names where it is a pattern.
    pub fields: Vec<String>,
    /// The field with the time.
    pub time: Option<String>,
    /// `rfc3339`, `unix`, `unix_ms`, `unix_ns`, or a pattern of strftime.
    pub time_format: Option<String>,
    /// The field with the level.
    pub level: Option<String>,
    /// The field that becomes the line.
    pub message: Option<String>,
}

impl ParserConfig {
    /// A parser without settings.
    pub(crate) fn plain(kind: ParserKind) -> Self {
        Self {
            kind,
            pattern: None,
            fields: Vec::new(),
            time: None,
            time_format: None,
            level: None,
            message: None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawParser {
    #[serde(rename = "type")]
    kind: String,
    pattern: Option<String>,
    #[serde(default)]
    fields: Vec<String>,
    time: Option<String>,
    time_format: Option<String>,
    level: Option<String>,
    message: Option<String>,
}

fn check_parser(raw: RawParser) -> Result<ParserConfig, String> {
    let kind = match raw.kind.as_str() {
        "regex" => ParserKind::Regex,
        name => ParserKind::from_name(name).ok_or_else(|| unknown_parser(name))?,
    };
    match (&raw.pattern, kind) {
        (Some(pattern), ParserKind::Regex) => {
            Pattern::search(pattern).map_err(|e| format!("pattern: {e}"))?;
        }
        (None, ParserKind::Regex) => return Err("the parser regex needs a pattern".to_owned()),
        (Some(_), _) => return Err("only the parser regex has a pattern".to_owned()),
        (None, _) => {}
    }
    Ok(ParserConfig {
        kind,
        pattern: raw.pattern,
        fields: raw.fields,
        time: raw.time,
        time_format: raw.time_format,
        level: raw.level,
        message: raw.message,
    })
}

fn unknown_parser(name: &str) -> String {
    format!(
        "expected one of none, json, logfmt, regex, klog, syslog, combined, envoy, \
         kubernetes_audit, found {name:?}"
    )
}

impl<'de> Deserialize<'de> for ParserConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_map(
            deserializer,
            |name| match ParserKind::from_name(name) {
                Some(kind) => Ok(Self::plain(kind)),
                None => Err(unknown_parser(name)),
            },
            check_parser,
        )
    }
}

/// How lines become records.
#[derive(Clone, Debug, PartialEq)]
pub struct MultilineConfig {
    /// Languages whose stack traces are put together.
    pub languages: Vec<Language>,
    /// What the first line of a record looks like.
    pub start: Option<Pattern>,
    /// Most lines of one record.
    pub max_lines: usize,
    /// Longest wait for the next line.
    pub flush: Duration,
}

/// A language whose stack traces are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Java and others of its machine.
    Java,
    /// Python.
    Python,
    /// Go.
    Go,
    /// Those whose traces are indented: Ruby, .NET, JavaScript.
    Indented,
}

impl MultilineConfig {
    /// By a name: one language, or `stack_traces` for all.
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        let languages = match name {
            "java" => vec![Language::Java],
            "python" => vec![Language::Python],
            "go" => vec![Language::Go],
            "ruby" | "dotnet" | "javascript" => vec![Language::Indented],
            "stack_traces" => vec![Language::Java, Language::Python, Language::Go],
            _ => {
                return Err(format!(
                    "expected one of java, python, go, ruby, dotnet, javascript, stack_traces, \
                     found {name:?}"
                ));
            }
        };
        Ok(Self {
            languages,
            start: None,
            max_lines: MULTILINE_LINES,
            flush: MULTILINE_FLUSH,
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMultiline {
    start: Option<String>,
    builtin: Option<String>,
    max_lines: Option<usize>,
    flush: Option<Span>,
}

fn check_multiline(raw: RawMultiline) -> Result<MultilineConfig, String> {
    let mut config = match (&raw.start, &raw.builtin) {
        (None, Some(name)) => MultilineConfig::named(name)?,
        (Some(start), None) => MultilineConfig {
            languages: Vec::new(),
            start: Some(Pattern::search(start).map_err(|e| format!("start: {e}"))?),
            max_lines: MULTILINE_LINES,
            flush: MULTILINE_FLUSH,
        },
        (None, None) | (Some(_), Some(_)) => {
            return Err("expected either start or builtin".to_owned());
        }
    };
    match raw.max_lines {
        Some(0) => return Err("max_lines must be at least 1".to_owned()),
        Some(max) => config.max_lines = max,
        None => {}
    }
    if let Some(flush) = raw.flush {
        config.flush = flush.0;
    }
    Ok(config)
}

impl<'de> Deserialize<'de> for MultilineConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_map(deserializer, Self::named, check_multiline)
    }
}

/// Lines that are not kept.
#[derive(Clone, Debug, PartialEq)]
pub struct DropConfig {
    /// Looked for anywhere in the line.
    pub pattern: Option<Pattern>,
    /// The line's level is one of these.
    pub levels: Vec<String>,
    /// Lines that do not fit are dropped, instead of those that do.
    pub invert: bool,
    /// One of so many is kept all the same.
    pub keep_one_in: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDrop {
    pattern: Option<String>,
    #[serde(default)]
    levels: Vec<String>,
    #[serde(default)]
    invert: bool,
    #[serde(default)]
    keep_one_in: u64,
}

impl<'de> Deserialize<'de> for DropConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        checked_map(deserializer, |raw: RawDrop| {
            if raw.pattern.is_none() && raw.levels.is_empty() && raw.keep_one_in == 0 {
                return Err("expected pattern, levels or keep_one_in".to_owned());
            }
            let pattern = raw.pattern.as_deref().map(Pattern::search).transpose();
            Ok(Self {
                pattern: pattern.map_err(|e| format!("pattern: {e}"))?,
                levels: raw.levels,
                invert: raw.invert,
                keep_one_in: raw.keep_one_in,
            })
        })
    }
}

/// A text that names something, or a mapping that says all of it.
fn text_or_map<'de, D, R, T>(
    deserializer: D,
    named: fn(&str) -> Result<T, String>,
    checked: fn(R) -> Result<T, String>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    R: serde::de::DeserializeOwned,
{
    let value = serde_yaml_ng::Value::deserialize(deserializer)?;
    let read = match &value {
        serde_yaml_ng::Value::String(name) => named(name),
        _ => serde_yaml_ng::from_value::<R>(value)
            .map_err(|e| e.to_string())
            .and_then(checked),
    };
    read.map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_checked() {
        let check = |yaml: &str, expect: Option<&str>| {
            let read: Result<LogsConfig, _> = serde_yaml_ng::from_str(yaml);
            match (read, expect) {
                (Ok(_), None) => {}
                (Err(fault), Some(expect)) => {
                    assert!(fault.to_string().contains(expect), "{yaml}: {fault}");
                }
                (read, expect) => panic!("{yaml}: {read:?}, {expect:?}"),
            }
        };
        check("{}", None);
        check("pods: {}", None);
        check("pods: {path: /x, parser: json, multiline: java}", None);
        check(
            "pods: {rules: [{namespace: 'kube-*', exclude: true}]}",
            None,
        );
        check(
            "files: [{paths: [/a], parser: {type: regex, pattern: '(?P<a>x)'}}]",
            None,
        );
        check(
            "files: [{paths: [/a], parser: {type: json, time: ts, fields: [a]}}]",
            None,
        );
        check(
            "files: [{paths: [/a], multiline: {start: '^\\d', flush: 1s}}]",
            None,
        );
        check(
            "files: [{paths: [/a], drop: [{levels: [debug], keep_one_in: 10}]}]",
            None,
        );
        check("journald: {units: [ssh.service]}", None);
        check("pods: {parser: jsn}", Some("found \"jsn\""));
        check("pods: {parser: {type: regex}}", Some("needs a pattern"));
        check("pods: {multiline: {start: '('}}", Some("start"));
        check(
            "pods: {multiline: {max_lines: 1}}",
            Some("either start or builtin"),
        );
        check("pods: {drop: [{}]}", Some("expected pattern"));
        check("pods: {pathe: /x}", Some("pathe"));
    }
}
