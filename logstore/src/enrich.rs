//! What ingestion adds to log records: the label `service_name` and the structured metadata
//! `detected_level`, which Grafana's log views expect on every stream and line, as Loki adds them.
//!
//! Invariants: what the sender set is never changed; the line is never changed; a line's level is
//! looked for in its first [`SCAN_BYTES_MAX`] bytes, so that the cost is bounded; the common case
//! (no structured metadata) copies a pointer and allocates nothing.

use memchr::{memchr, memchr_iter};
use obs_model::{Labels, LogBatch};

/// The index label that names the service of a stream.
pub const SERVICE_NAME: &str = "service_name";
/// The structured metadata that holds the level of a line.
pub const DETECTED_LEVEL: &str = "detected_level";
/// The value of `service_name` where nothing tells it.
pub const UNKNOWN_SERVICE: &str = "unknown_service";
/// Bytes of a line in which its level is looked for; levels stand near the front.
const SCAN_BYTES_MAX: usize = 4096;
/// Depth of JSON objects in which level fields are looked for; as Loki.
const JSON_DEPTH_MAX: usize = 2;

/// What to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrichOptions {
    /// Labels whose value becomes `service_name`, the first present one wins; empty = off.
    pub discover_service_name: Vec<String>,
    /// Whether to add `detected_level`.
    pub discover_log_levels: bool,
}

impl Default for EnrichOptions {
    fn default() -> Self {
        let names = [
            "service",
            "app",
            "application",
            "app_name",
            "name",
            "app_kubernetes_io_name",
            "container",
            "container_name",
            "k8s_container_name",
            "component",
            "workload",
            "job",
            "k8s_job_name",
        ];
        Self {
            discover_service_name: names.map(str::to_owned).to_vec(),
            discover_log_levels: true,
        }
    }
}

/// The levels that Loki tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// `trace`
    Trace,
    /// `debug`
    Debug,
    /// `info`
    Info,
    /// `warn`
    Warn,
    /// `error`
    Error,
    /// `critical`
    Critical,
    /// `fatal`
    Fatal,
    /// Nothing tells it.
    Unknown,
}

/// Words that loggers write for levels.
const WORDS: [(&[u8], Level); 24] = [
    (b"trace", Level::Trace),
    (b"trc", Level::Trace),
    (b"finest", Level::Trace),
    (b"debug", Level::Debug),
    (b"dbg", Level::Debug),
    (b"info", Level::Info),
    (b"inf", Level::Info),
    (b"information", Level::Info),
    (b"informational", Level::Info),
    (b"notice", Level::Info),
    (b"warn", Level::Warn),
    (b"wrn", Level::Warn),
    (b"warning", Level::Warn),
    (b"error", Level::Error),
    (b"err", Level::Error),
    (b"eror", Level::Error),
    (b"severe", Level::Error),
    (b"critical", Level::Critical),
    (b"crit", Level::Critical),
    (b"fatal", Level::Fatal),
    (b"panic", Level::Fatal),
    (b"emerg", Level::Fatal),
    (b"emergency", Level::Fatal),
    (b"alert", Level::Fatal),
];

/// By first letter which lengths the words have.
const LENGTHS: [u16; 26] = {
    let mut lengths = [0; 26];
    let mut at = 0;
    while at < WORDS.len() {
        let word = WORDS[at].0;
        lengths[(word[0] - b'a') as usize] |= 1 << word.len();
        at += 1;
    }
    lengths
};

impl Level {
    const ALL: [Self; 8] = [
        Self::Trace,
        Self::Debug,
        Self::Info,
        Self::Warn,
        Self::Error,
        Self::Critical,
        Self::Fatal,
        Self::Unknown,
    ];

    /// As stored in `detected_level`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Fatal => "fatal",
            Self::Unknown => "unknown",
        }
    }

    /// From a word that loggers write, in any case.
    fn from_word(word: &[u8]) -> Option<Self> {
        let first = word.first()?.to_ascii_lowercase();
        let lengths = LENGTHS.get(usize::from(first.checked_sub(b'a')?))?;
        // Most words end here.
        if word.len() >= 16 || lengths >> word.len() & 1 == 0 {
            return None;
        }
        let found = WORDS.iter().find(|(w, _)| w.eq_ignore_ascii_case(word));
        found.map(|(_, level)| *level)
    }

    /// From the number of a JSON logger (pino, bunyan: 10 is trace, 60 is fatal).
    fn from_number(text: &[u8]) -> Option<Self> {
        match text {
            b"10" => Some(Self::Trace),
            b"20" => Some(Self::Debug),
            b"30" => Some(Self::Info),
            b"40" => Some(Self::Warn),
            b"50" => Some(Self::Error),
            b"60" => Some(Self::Fatal),
            _ => None,
        }
    }

    /// From OpenTelemetry's severity number; four numbers a level.
    fn from_severity_number(text: &str) -> Option<Self> {
        Some(match text.parse::<u8>().ok()? {
            1..=4 => Self::Trace,
            5..=8 => Self::Debug,
            9..=12 => Self::Info,
            13..=16 => Self::Warn,
            17..=20 => Self::Error,
            21..=24 => Self::Fatal,
            _ => Self::Unknown,
        })
    }
}

/// Adds `service_name` to streams and `detected_level` to records that lack them.
pub fn enrich(batch: &mut LogBatch, options: &EnrichOptions) {
    let ready = Level::ALL.map(|l| Labels::from_pairs([(DETECTED_LEVEL, l.as_str())]));
    for stream in &mut batch.streams {
        let stream_level = level_of_labels(&stream.labels);
        if options.discover_log_levels {
            for record in &mut stream.records {
                if record.metadata.get(DETECTED_LEVEL).is_some() {
                    continue;
                }
                let level = stream_level
                    .or_else(|| level_of_labels(&record.metadata))
                    .unwrap_or_else(|| level_of_line(&record.line));
                record.metadata = if record.metadata.is_empty() {
                    ready[level as usize].clone()
                } else {
                    with_label(&record.metadata, DETECTED_LEVEL, level.as_str())
                };
            }
        }
        if let Some(labels) = discover_service(&stream.labels, &options.discover_service_name) {
            stream.labels = labels;
        }
    }
}

/// The labels with `service_name`, or nothing where they have it or discovery is off.
fn discover_service(labels: &Labels, names: &[String]) -> Option<Labels> {
    if names.is_empty() || labels.get(SERVICE_NAME).is_some() {
        return None;
    }
    let found = names.iter().find_map(|name| labels.get(name));
    let value = found.unwrap_or(UNKNOWN_SERVICE);
    Some(with_label(labels, SERVICE_NAME, value))
}

fn with_label(labels: &Labels, name: &str, value: &str) -> Labels {
    let below = labels.iter().filter(|(n, _)| *n < name);
    let above = labels.iter().filter(|(n, _)| *n > name);
    Labels::from_sorted(below.chain([(name, value)]).chain(above))
        .expect("the pairs of labels ascend and the new one stands in its place")
}

/// Whether a field of this name holds a level.
fn is_level_name(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 7] = [
        b"level",
        b"lvl",
        b"severity",
        b"severity_text",
        b"severitytext",
        b"log.level",
        b"log_level",
    ];
    matches!(name.len(), 3..=13) && NAMES.iter().any(|n| n.eq_ignore_ascii_case(name))
}

/// The level that labels or structured metadata tell.
fn level_of_labels(labels: &Labels) -> Option<Level> {
    let mut found = None;
    for (name, value) in labels {
        if name == "severity_number" {
            if let Some(level) = Level::from_severity_number(value) {
                return Some(level);
            }
        } else if found.is_none() && is_level_name(name.as_bytes()) {
            found = Level::from_word(value.as_bytes());
        }
    }
    found
}

/// The level that a line tells: a field of JSON, else of logfmt, else klog's first letter, else
/// the first word that is a level.
pub fn level_of_line(line: &[u8]) -> Level {
    let line = line.get(..SCAN_BYTES_MAX).unwrap_or(line);
    let text = line.trim_ascii_start();
    let field = if text.first() == Some(&b'{') {
        level_in_json(text)
    } else {
        level_in_logfmt(text)
    };
    field
        .or_else(|| level_in_klog(text))
        .or_else(|| level_in_words(text))
        .unwrap_or(Level::Unknown)
}

/// The level field of a JSON object, the least deep one first. Reads only as far as the text is
/// JSON; a cut or broken text gives what was found before.
fn level_in_json(text: &[u8]) -> Option<Level> {
    let mut deeper = None;
    let mut depth = 0usize;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            b'"' => {
                let end = string_end(text, at + 1)?;
                let name = &text[at + 1..end];
                at = end;
                if depth <= JSON_DEPTH_MAX
                    && is_level_name(name)
                    && let Some(value) = value_after_colon(&text[end + 1..])
                    && let Some(level) = Level::from_word(value).or(Level::from_number(value))
                {
                    if depth == 1 {
                        return Some(level);
                    }
                    deeper = deeper.or(Some(level));
                }
            }
            _ => {}
        }
        at += 1;
    }
    deeper
}

/// The offset of the quote that closes a JSON string whose text starts at `from`.
fn string_end(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// The string or number behind `:`.
fn value_after_colon(text: &[u8]) -> Option<&[u8]> {
    let value = text
        .trim_ascii_start()
        .strip_prefix(b":")?
        .trim_ascii_start();
    match value.strip_prefix(b"\"") {
        Some(rest) => Some(&rest[..string_end(rest, 0)?]),
        None => {
            let end = value.iter().position(|b| !b.is_ascii_digit())?;
            Some(&value[..end])
        }
    }
}

/// The level field among `key=value` and `key="value"`.
fn level_in_logfmt(text: &[u8]) -> Option<Level> {
    for equals in memchr_iter(b'=', text) {
        let before = &text[..equals];
        let start = before
            .iter()
            .rposition(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.')))
            .map_or(0, |i| i + 1);
        if !is_level_name(&before[start..]) {
            continue;
        }
        let value = &text[equals + 1..];
        let value = match value.strip_prefix(b"\"") {
            Some(rest) => &rest[..memchr(b'"', rest).unwrap_or(rest.len())],
            None => word_at_start(value),
        };
        if let Some(level) = Level::from_word(value) {
            return Some(level);
        }
    }
    None
}

fn word_at_start(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|b| !b.is_ascii_alphanumeric());
    &text[..end.unwrap_or(text.len())]
}

/// klog and glog lines start with the level's letter and `mmdd hh:mm`.
fn level_in_klog(text: &[u8]) -> Option<Level> {
    let head = text.get(..9)?;
    let digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    if !digits(&head[1..5]) || head[5] != b' ' || !digits(&head[6..8]) || head[8] != b':' {
        return None;
    }
    match head[0] {
        b'I' => Some(Level::Info),
        b'W' => Some(Level::Warn),
        b'E' => Some(Level::Error),
        b'F' => Some(Level::Fatal),
        _ => None,
    }
}

/// What a byte is to words: 0 = nothing, 1 = within one, 2 = within one or its begin, 3 = also one
/// that a level may begin with.
const IN_WORDS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = match b | 0x20 {
            _ if b.is_ascii_digit() => 1,
            b't' | b'd' | b'i' | b'n' | b'w' | b'e' | b'c' | b'f' | b'p'
                if b.is_ascii_alphabetic() =>
            {
                3
            }
            _ if b.is_ascii_alphabetic() => 2,
            _ => 0,
        };
        byte += 1;
    }
    table
};

/// The first word of the line that is a level in lower case, upper case or capitalised.
fn level_in_words(text: &[u8]) -> Option<Level> {
    let is = |at: usize| text.get(at).map_or(0, |byte| IN_WORDS[usize::from(*byte)]);
    let mut at = 0;
    while at < text.len() {
        let begin = is(at);
        if begin < 2 {
            at += 1;
            continue;
        }
        let start = at;
        while is(at) > 0 {
            at += 1;
        }
        let word = &text[start..at];
        if begin == 3
            && let Some(level) = Level::from_word(word)
            && is_one_case(&word[1..])
        {
            return Some(level);
        }
    }
    None
}

fn is_one_case(word: &[u8]) -> bool {
    word.iter().all(u8::is_ascii_lowercase) || word.iter().all(u8::is_ascii_uppercase)
}

#[cfg(test)]
mod tests {
    use obs_model::{LogRecord, LogStream, Timestamp};

    use super::*;

    fn check(line: &str, expect: &str) {
        assert_eq!(level_of_line(line.as_bytes()).as_str(), expect, "{line}");
    }

    #[test]
    fn levels_of_lines() {
        check(r#"{"level":"WARN","msg":"error"}"#, "warn");
        check(r#"{"msg":"level","x":{"severity": "Information"}}"#, "info");
        check(r#"{"x":{"level":"debug"},"lvl":"err"}"#, "error");
        check(r#"{"a":{"b":{"level":"debug"}}}"#, "debug"); // by the keyword
        check(r#"{"level":50,"msg":"x"}"#, "error");
        check(r#"{"msg":"a \" level","level":"fatal"}"#, "fatal");
        check(r#"{"level":"#, "unknown");
        check("ts=1 level=info msg=\"an error\"", "info");
        check("ts=1 lvl=\"Critical\" msg=x", "critical");
        check("msg=x notlevel=info", "info"); // by the keyword
        check("W1121 10:00:00.000000 1 file.go:1] error", "warn");
        check("2026-11-21 ERROR something", "error");
        check("[trace] x", "trace");
        check("terror informant", "unknown");
        check("", "unknown");
        check("GET /index.html 200", "unknown");
    }

    fn enriched(
        labels: &[(&str, &str)],
        metadata: &[(&str, &str)],
        line: &str,
    ) -> (Labels, Labels) {
        let record = LogRecord {
            time: Timestamp::from_nanos(1),
            line: line.as_bytes().to_vec(),
            metadata: Labels::from_pairs(metadata.iter().copied()),
        };
        let stream = LogStream {
            labels: Labels::from_pairs(labels.iter().copied()),
            records: vec![record],
        };
        let mut batch = LogBatch {
            streams: vec![stream],
        };
        enrich(&mut batch, &EnrichOptions::default());
        let stream = batch.streams.remove(0);
        assert_eq!(stream.records[0].line, line.as_bytes());
        (stream.labels, stream.records[0].metadata.clone())
    }

    #[test]
    fn services_and_levels_are_added_only_where_absent() {
        let (labels, metadata) = enriched(&[("job", "j"), ("app", "a")], &[], "x");
        assert_eq!(
            labels.to_string(),
            r#"{app="a", job="j", service_name="a"}"#
        );
        assert_eq!(metadata.to_string(), r#"{detected_level="unknown"}"#);
        let (labels, metadata) = enriched(&[("x", "y")], &[("trace_id", "1")], "level=warn");
        assert_eq!(
            labels.to_string(),
            r#"{service_name="unknown_service", x="y"}"#
        );
        let expect = r#"{detected_level="warn", trace_id="1"}"#;
        assert_eq!(metadata.to_string(), expect);
        let (labels, metadata) = enriched(
            &[("service_name", "s"), ("app", "a")],
            &[("detected_level", "odd")],
            "level=warn",
        );
        assert_eq!(labels.get("service_name"), Some("s"));
        assert_eq!(metadata.get("detected_level"), Some("odd"));
    }

    #[test]
    fn levels_of_labels_go_before_the_line() {
        let (_, metadata) = enriched(&[("level", "ERROR")], &[], "level=info");
        assert_eq!(metadata.get("detected_level"), Some("error"));
        let numbered = [("severity_number", "13"), ("severity_text", "INFO")];
        let (_, metadata) = enriched(&[], &numbered, "x");
        assert_eq!(metadata.get("detected_level"), Some("warn"));
    }
}
