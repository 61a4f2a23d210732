//! Monitors as node-problem-detector's files define them, checked.
//!
//! Invariant: a monitor that exists has a source, patterns that compile, and for every permanent
//! problem the condition that it changes. Keys that are not known are passed by, as there.

use std::path::PathBuf;
use std::time::Duration;

use obs_model::duration;
use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::Value;

use super::ProblemError;

/// Lines that a pattern may span, where nothing is said.
const BUFFER_LINES: usize = 10;
/// Most lines that a monitor may ask to hold.
const BUFFER_LINES_MAX: usize = 1000;
/// Bytes of a compiled pattern.
const PATTERN_BYTES_MAX: usize = 4 << 20;
/// Rules of one monitor.
const RULES_MAX: usize = 1000;
/// node-problem-detector's defaults of custom plugins.
const PLUGIN_INTERVAL: Duration = Duration::from_secs(30);
const PLUGIN_TIMEOUT: Duration = Duration::from_secs(5);
const PLUGIN_OUTPUT_BYTES: usize = 80;
const PLUGIN_CONCURRENCY: usize = 3;
/// Largest output that a monitor may ask for.
const PLUGIN_OUTPUT_BYTES_MAX: usize = 64 << 10;

/// A monitor.
#[derive(Clone, Debug)]
pub(crate) struct Definition {
    /// Who says it: `kernel-monitor`.
    pub(crate) source: String,
    /// Whether its problems are counted.
    pub(crate) metrics: bool,
    /// Conditions, as they are while nothing is wrong.
    pub(crate) conditions: Vec<Condition>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) kind: MonitorKind,
}

/// A condition as it is while nothing is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Condition {
    /// `KernelDeadlock`
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) reason: String,
    #[serde(default)]
    pub(crate) message: String,
}

/// A problem that a monitor looks for.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// The condition that it changes; a problem without one is temporary.
    pub(crate) condition: Option<usize>,
    /// `OOMKilling`
    pub(crate) reason: String,
    pub(crate) look: Look,
}

/// How a problem is found.
#[derive(Clone, Debug)]
pub(crate) enum Look {
    /// In lines, where this matches up to the end of the last one.
    Lines {
        pattern: Regex,
        /// What is said behind the lines.
        suffix: String,
    },
    /// By a program.
    Program {
        path: PathBuf,
        args: Vec<String>,
        timeout: Duration,
    },
}

/// Where a monitor looks.
#[derive(Clone, Debug)]
pub(crate) enum MonitorKind {
    Lines(Lines),
    Programs(Programs),
}

/// Lines that are followed.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    pub(crate) from: LineSource,
    /// How far back it begins.
    pub(crate) lookback: Duration,
    /// How long after the machine started nothing counts.
    pub(crate) delay: Duration,
    /// Lines that a pattern may span.
    pub(crate) buffer: usize,
    /// Lines with one of these in them do not count.
    pub(crate) skip: Vec<String>,
}

/// Where lines come from.
#[derive(Clone, Debug)]
pub(crate) enum LineSource {
    /// The kernel's ring buffer.
    Kmsg(PathBuf),
    /// A file of lines.
    File {
        path: PathBuf,
        timestamp: Regex,
        message: Regex,
        /// As Go writes layouts of times.
        layout: String,
    },
    /// What a program says in systemd's journal.
    Journal {
        folder: Option<PathBuf>,
        identifier: String,
    },
}

/// Programs that are run again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Programs {
    pub(crate) interval: Duration,
    pub(crate) output_bytes: usize,
    pub(crate) at_once: usize,
    /// Whether a condition that holds takes a new message.
    pub(crate) follow_messages: bool,
    pub(crate) skip_initial: bool,
}

/// A file, before it is checked.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct File {
    plugin: String,
    #[serde(default)]
    plugin_config: serde_json::Map<String, Value>,
    #[serde(default)]
    log_path: String,
    #[serde(default)]
    lookback: String,
    #[serde(default)]
    delay: String,
    #[serde(default)]
    buffer_size: usize,
    #[serde(default)]
    skip_list: Vec<String>,
    #[serde(default)]
    source: String,
    metrics_reporting: Option<bool>,
    #[serde(default)]
    conditions: Vec<Condition>,
    #[serde(default)]
    rules: Vec<FileRule>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileRule {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    condition: String,
    reason: String,
    #[serde(default)]
    pattern: String,
    #[serde(default)]
    pattern_generated_message_suffix: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    timeout: String,
}

impl Definition {
    /// Reads a definition in JSON, or in YAML, which such files are converted to here and there.
    pub(crate) fn parse(text: &str) -> Result<Self, ProblemError> {
        let file: Result<File, String> = match text.trim_start().starts_with('{') {
            true => serde_json::from_str(text).map_err(|e| e.to_string()),
            false => serde_yaml_ng::from_str(text).map_err(|e| e.to_string()),
        };
        file.map_err(ProblemError::Definition)?.check()
    }
}

impl File {
    /// The monitor that this defines.
    pub(super) fn check(self) -> Result<Definition, ProblemError> {
        let fault = ProblemError::Definition;
        if self.source.is_empty() {
            return Err(fault("source: expected a name".to_owned()));
        }
        if self.rules.len() > RULES_MAX {
            let text = format!("rules: expected at most {RULES_MAX}");
            return Err(fault(text));
        }
        let is_custom = self.plugin == "custom";
        let usual = match is_custom {
            true => self.time("timeout", PLUGIN_TIMEOUT).map_err(fault)?,
            false => PLUGIN_TIMEOUT,
        };
        let rules = self.rules.iter().enumerate().map(|(index, rule)| {
            let checked = rule.check(&self.conditions, is_custom.then_some(usual));
            checked.map_err(|text| fault(format!("rules[{index}] ({}): {text}", rule.reason)))
        });
        let rules = rules.collect::<Result<_, _>>()?;
        let kind = match is_custom {
            true => MonitorKind::Programs(self.programs().map_err(fault)?),
            false => MonitorKind::Lines(self.lines().map_err(fault)?),
        };
        Ok(Definition {
            source: self.source,
            metrics: self.metrics_reporting.unwrap_or(true),
            conditions: self.conditions,
            rules,
            kind,
        })
    }

    fn text(&self, name: &str) -> &str {
        let value = self.plugin_config.get(name);
        value.and_then(Value::as_str).unwrap_or_default()
    }

    fn flag(&self, name: &str) -> bool {
        self.plugin_config.get(name).and_then(Value::as_bool) == Some(true)
    }

    fn count(&self, name: &str, usual: usize) -> Result<usize, String> {
        let Some(value) = self.plugin_config.get(name) else {
            return Ok(usual);
        };
        let number = value.as_u64().and_then(|n| usize::try_from(n).ok());
        number
            .filter(|number| *number > 0)
            .ok_or_else(|| format!("pluginConfig.{name}: expected a number above 0"))
    }

    fn time(&self, name: &str, usual: Duration) -> Result<Duration, String> {
        match self.text(name) {
            "" => Ok(usual),
            text => nonzero(text).map_err(|fault| format!("pluginConfig.{name}: {fault}")),
        }
    }

    fn programs(&self) -> Result<Programs, String> {
        let bytes = self.count("max_output_length", PLUGIN_OUTPUT_BYTES)?;
        Ok(Programs {
            interval: self.time("invoke_interval", PLUGIN_INTERVAL)?,
            output_bytes: bytes.min(PLUGIN_OUTPUT_BYTES_MAX),
            at_once: self.count("concurrency", PLUGIN_CONCURRENCY)?,
            follow_messages: self.flag("enable_message_change_based_condition_update"),
            skip_initial: self.flag("skip_initial_status"),
        })
    }

    fn lines(&self) -> Result<Lines, String> {
        let some_path = |usual: &str| match self.log_path.as_str() {
            "" => PathBuf::from(usual),
            path => PathBuf::from(path),
        };
        let from = match self.plugin.as_str() {
            "kmsg" => LineSource::Kmsg(some_path("/dev/kmsg")),
            "journald" => LineSource::Journal {
                folder: Some(&self.log_path)
                    .filter(|path| !path.is_empty())
                    .map(PathBuf::from),
                identifier: match self.text("source") {
                    "" => return Err("pluginConfig.source: expected a name".to_owned()),
                    name => name.to_owned(),
                },
            },
            "filelog" => {
                if self.log_path.is_empty() {
                    return Err("logPath: expected a file".to_owned());
                }
                let part = |name: &str| {
                    let text = self.text(name);
                    if text.is_empty() {
                        return Err(format!("pluginConfig.{name}: expected a pattern"));
                    }
                    compile(text).map_err(|fault| format!("pluginConfig.{name}: {fault}"))
                };
                let layout = self.text("timestampFormat");
                if layout.is_empty() {
                    return Err("pluginConfig.timestampFormat: expected a layout".to_owned());
                }
                LineSource::File {
                    path: PathBuf::from(&self.log_path),
                    timestamp: part("timestamp")?,
                    message: part("message")?,
                    layout: layout.to_owned(),
                }
            }
            other => {
                return Err(format!(
                    "plugin: expected kmsg, journald, filelog or custom, found {other:?}"
                ));
            }
        };
        let span = |name: &str, text: &str| match text {
            "" => Ok(Duration::ZERO),
            text => time(text).map_err(|fault| format!("{name}: {fault}")),
        };
        Ok(Lines {
            from,
            lookback: span("lookback", &self.lookback)?,
            delay: span("delay", &self.delay)?,
            buffer: match self.buffer_size {
                0 => BUFFER_LINES,
                lines => lines.min(BUFFER_LINES_MAX),
            },
            skip: self.skip_list.clone(),
        })
    }
}

impl FileRule {
    fn check(&self, conditions: &[Condition], program: Option<Duration>) -> Result<Rule, String> {
        if self.reason.is_empty() {
            return Err("reason: expected a word".to_owned());
        }
        let condition = match self.kind.as_str() {
            "temporary" => None,
            "permanent" => {
                let of_kind = |c: &Condition| c.kind == self.condition;
                let found = conditions.iter().position(of_kind);
                Some(found.ok_or_else(|| {
                    format!("condition {:?}: expected one of conditions", self.condition)
                })?)
            }
            other => {
                return Err(format!(
                    "type: expected temporary or permanent, found {other:?}"
                ));
            }
        };
        let look = match program {
            Some(_) if self.path.is_empty() => return Err("path: expected a program".to_owned()),
            Some(usual) => Look::Program {
                path: PathBuf::from(&self.path),
                args: self.args.clone(),
                timeout: match self.timeout.as_str() {
                    "" => usual,
                    text => nonzero(text).map_err(|fault| format!("timeout: {fault}"))?,
                },
            },
            None if self.pattern.is_empty() => return Err("pattern: expected one".to_owned()),
            None => Look::Lines {
                // The pattern goes on to the end, as there: what it matches is news.
                pattern: compile(&format!(r"{}\z", self.pattern))
                    .map_err(|fault| format!("pattern: {fault}"))?,
                suffix: self.pattern_generated_message_suffix.clone(),
            },
        };
        Ok(Rule {
            condition,
            reason: self.reason.clone(),
            look,
        })
    }
}

fn compile(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern)
        .size_limit(PATTERN_BYTES_MAX)
        .build();
    built.map_err(|error| error.to_string())
}

fn time(text: &str) -> Result<Duration, String> {
    let nanos = duration::parse(text).and_then(|nanos| u64::try_from(nanos).ok());
    nanos
        .map(Duration::from_nanos)
        .ok_or_else(|| format!("expected a duration such as 5m, found {text:?}"))
}

fn nonzero(text: &str) -> Result<Duration, String> {
    match time(text)? {
        Duration::ZERO => Err("expected a duration above 0".to_owned()),
        some => Ok(some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: &str = r#"{
        "plugin": "kmsg", "logPath": "/dev/kmsg", "lookback": "5m", "bufferSize": 7,
        "source": "kernel-monitor", "metricsReporting": false, "unknown": 1,
        "conditions": [{"type": "KernelDeadlock", "reason": "KernelHasNoDeadlock", "message": "kernel has no deadlock"}],
        "rules": [
            {"type": "temporary", "reason": "OOMKilling", "pattern": "Killed process \\d+ (.+) total-vm:.*"},
            {"type": "permanent", "condition": "KernelDeadlock", "reason": "DockerHung", "pattern": "task docker:\\w+ blocked for more than \\w+ seconds\\."}
        ]}"#;

    #[test]
    fn a_system_log_monitor() {
        let read = Definition::parse(KERNEL).unwrap();
        assert_eq!(read.source, "kernel-monitor");
        assert!(!read.metrics);
        assert_eq!(read.rules.len(), 2);
        assert_eq!(
            (read.rules[0].condition, read.rules[1].condition),
            (None, Some(0))
        );
        let MonitorKind::Lines(lines) = read.kind else {
            panic!("it reads lines")
        };
        assert_eq!(lines.lookback, Duration::from_secs(300));
        assert_eq!(lines.buffer, 7);
        assert!(matches!(lines.from, LineSource::Kmsg(path) if path.ends_with("kmsg")));
    }

    #[test]
    fn a_custom_plugin_monitor() {
        let text = r#"{"plugin": "custom", "source": "ntp",
            "pluginConfig": {"invoke_interval": "10s", "timeout": "3s", "max_output_length": 200, "concurrency": 1,
                "enable_message_change_based_condition_update": true},
            "conditions": [{"type": "NTPProblem", "reason": "NTPIsUp", "message": "up"}],
            "rules": [
                {"type": "temporary", "reason": "NTPIsDown", "path": "/p.sh", "args": ["a"]},
                {"type": "permanent", "condition": "NTPProblem", "reason": "NTPIsDown", "path": "/p.sh", "timeout": "1s"}
            ]}"#;
        let read = Definition::parse(text).unwrap();
        assert!(read.metrics);
        let timeouts = read.rules.iter().map(|rule| match &rule.look {
            Look::Program { timeout, .. } => timeout.as_secs(),
            Look::Lines { .. } => panic!("it is a program"),
        });
        assert_eq!(timeouts.collect::<Vec<_>>(), [3, 1]);
        let expect = Programs {
            interval: Duration::from_secs(10),
            output_bytes: 200,
            at_once: 1,
            follow_messages: true,
            skip_initial: false,
        };
        assert!(matches!(read.kind, MonitorKind::Programs(found) if found == expect));
    }

    #[test]
    fn other_sources() {
        let file = "plugin: filelog\nlogPath: /var/log/syslog\nsource: s\npluginConfig:\n  timestamp: '^.{15}'\n  \
                    message: 'kernel: \\[.*\\] (.*)'\n  timestampFormat: 'Jan _2 15:04:05'\n";
        let read = Definition::parse(file).unwrap();
        assert!(matches!(
            read.kind,
            MonitorKind::Lines(Lines {
                from: LineSource::File { .. },
                buffer: 10,
                ..
            })
        ));
        let journal = r#"{"plugin":"journald","source":"d","pluginConfig":{"source":"dockerd"},"logPath":"/var/log/journal"}"#;
        let MonitorKind::Lines(lines) = Definition::parse(journal).unwrap().kind else {
            panic!("it reads lines")
        };
        assert!(
            matches!(lines.from, LineSource::Journal { identifier, folder: Some(_) } if identifier == "dockerd")
        );
    }

    #[test]
    fn faults_name_the_place() {
        let check = |text: &str, expect: &str| {
            let error = Definition::parse(text).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check("{", "EOF");
        check(r#"{"plugin":"kmsg"}"#, "source: expected a name");
        check(
            r#"{"plugin":"abrt","source":"s"}"#,
            r#"plugin: expected kmsg, journald, filelog or custom, found "abrt""#,
        );
        check(
            r#"{"plugin":"journald","source":"s"}"#,
            "pluginConfig.source",
        );
        check(r#"{"plugin":"filelog","source":"s"}"#, "logPath");
        check(
            r#"{"plugin":"kmsg","source":"s","lookback":"soon"}"#,
            "lookback: expected a duration",
        );
        check(
            r#"{"plugin":"kmsg","source":"s","rules":[{"type":"temporary","reason":"R","pattern":"("}]}"#,
            "rules[0] (R): pattern: ",
        );
        check(
            r#"{"plugin":"kmsg","source":"s","rules":[{"type":"permanent","condition":"C","reason":"R","pattern":"x"}]}"#,
            r#"rules[0] (R): condition "C": expected one of conditions"#,
        );
        check(
            r#"{"plugin":"custom","source":"s","rules":[{"type":"temporary","reason":"R"}]}"#,
            "path: expected a program",
        );
        check(
            r#"{"plugin":"custom","source":"s","pluginConfig":{"timeout":"0s"}}"#,
            "pluginConfig.timeout: expected a duration above 0",
        );
    }
}
