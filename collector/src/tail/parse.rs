//! What lines say: time, level and fields, for each of the known forms.
//!
//! Invariants: a line that is not of the configured form is left as it is; the answer depends on
//! the line, the settings and the year of `now` only; at most [`FIELDS_MAX`] fields come out.

use std::borrow::Cow;

use obs_model::Timestamp;
use obs_model::limits::Limits;
use obs_model::time::NANOS_PER_DAY;
use obs_model::time::{NANOS_PER_SECOND, civil_from_days, days_from_civil, parse_rfc3339};
use obs_wire::syslog::{Civil, Context, Messages};
use regex::bytes::Regex;
use serde_json::Value;

use crate::config::{ParserConfig, ParserKind};

/// Fields of one line that are kept.
const FIELDS_MAX: usize = 64;
/// Bytes of one field that are kept.
const FIELD_BYTES_MAX: usize = 16 << 10;
/// Fields of JSON and logfmt that say the level where none is configured.
const LEVELS: [&str; 6] = [
    "level",
    "severity",
    "lvl",
    "log.level",
    "severity_text",
    "levelname",
];
/// Fields that join lines with traces, kept without being asked for.
const IDS: [(&str, &str); 6] = [
    ("trace_id", "trace_id"),
    ("traceId", "trace_id"),
    ("traceID", "trace_id"),
    ("span_id", "span_id"),
    ("spanId", "span_id"),
    ("spanID", "span_id"),
];

const COMBINED: &str = r#"^(?P<remote_addr>\S+) \S+ (?P<remote_user>\S+) \[(?P<time>[^\]]+)\] "(?:(?P<method>[A-Z]+) )?(?P<path>[^" ]*)(?: (?P<protocol>[^"]*))?" (?P<status>\d{3}) (?P<bytes>\d+|-)(?: "(?P<referer>[^"]*)" "(?P<user_agent>(?:[^"\\]|\\.)*)")?"#;
const ENVOY: &str = r#"^\[(?P<time>[^\]]+)\] "(?P<method>\S+) (?P<path>\S+) (?P<protocol>[^"]*)" (?P<status>\d+) (?P<response_flags>\S+)(?: \S+ \S+ "[^"]*")? (?P<bytes_received>\d+) (?P<bytes_sent>\d+) (?P<duration>\d+|-) (?P<upstream_service_time>\S+) "(?P<x_forwarded_for>[^"]*)" "(?P<user_agent>[^"]*)" "(?P<request_id>[^"]*)" "(?P<authority>[^"]*)" "(?P<upstream_host>[^"]*)""#;

/// What a line said.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Parsed {
    pub time: Option<Timestamp>,
    pub level: Option<&'static str>,
    /// Becomes the line.
    pub message: Option<Vec<u8>>,
    pub fields: Vec<(String, String)>,
}

impl Parsed {
    fn push(&mut self, name: &str, value: &str) {
        if value.is_empty() || value.len() > FIELD_BYTES_MAX || self.fields.len() >= FIELDS_MAX {
            return;
        }
        self.fields.push((label_name(name), value.to_owned()));
    }
}

/// A name of the labels' alphabet.
fn label_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for (index, c) in name.chars().enumerate() {
        let fine = c.is_ascii_alphabetic() || c == '_' || (index > 0 && c.is_ascii_digit());
        out.push(if fine { c } else { '_' });
    }
    out
}

/// A parser that is ready.
#[derive(Debug)]
pub(super) struct Parser {
    config: ParserConfig,
    regex: Option<Regex>,
}

impl Parser {
    pub(super) fn new(config: ParserConfig) -> Result<Option<Self>, String> {
        let source = match config.kind {
            ParserKind::None => return Ok(None),
            ParserKind::Regex => config.pattern.as_deref(),
            ParserKind::Combined => Some(COMBINED),
            ParserKind::Envoy => Some(ENVOY),
            ParserKind::Json
            | ParserKind::Logfmt
            | ParserKind::Klog
            | ParserKind::Syslog
            | ParserKind::KubernetesAudit => None,
        };
        let compile = |source: &str| {
            Regex::new(&obs_model::re2::translate(source)).map_err(|e| e.to_string())
        };
        let regex = source.map(compile).transpose()?;
        Ok(Some(Self { config, regex }))
    }

    /// What a line says; `None` where it is not of this form.
    pub(super) fn parse(&self, line: &[u8], now: Timestamp, limits: &Limits) -> Option<Parsed> {
        match self.config.kind {
            ParserKind::None => None,
            ParserKind::Json => self.json(line),
            ParserKind::Logfmt => self.logfmt(line),
            ParserKind::Klog => klog(line, now),
            ParserKind::Syslog => syslog(line, now, limits),
            ParserKind::KubernetesAudit => audit(line),
            ParserKind::Regex | ParserKind::Combined | ParserKind::Envoy => self.pattern(line),
        }
    }

    fn json(&self, line: &[u8]) -> Option<Parsed> {
        if line.first() != Some(&b'{') {
            return None;
        }
        let Ok(Value::Object(object)) = serde_json::from_slice(line) else {
            return None;
        };
        let text = |name: &str| {
            let direct = object.get(name);
            let value = direct.or_else(|| {
                // `a.b` is a field of an object.
                let mut parts = name.split('.');
                let first = object.get(parts.next()?)?;
                parts.try_fold(first, |value, part| value.get(part))
            })?;
            Some(match value {
                Value::String(text) => Cow::Borrowed(text.as_str()),
                Value::Null | Value::Array(_) | Value::Object(_) => return None,
                other => Cow::Owned(other.to_string()),
            })
        };
        Some(self.keyed(text))
    }

    fn logfmt(&self, line: &[u8]) -> Option<Parsed> {
        let pairs = pairs(std::str::from_utf8(line).ok()?);
        if pairs.is_empty() {
            return None;
        }
        let text = |name: &str| {
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| Cow::Borrowed(&**value))
        };
        Some(self.keyed(text))
    }

    /// What named values say.
    fn keyed<'a>(&self, text: impl Fn(&str) -> Option<Cow<'a, str>>) -> Parsed {
        let config = &self.config;
        let mut parsed = Parsed::default();
        if let Some(name) = &config.time {
            parsed.time = text(name).and_then(|t| self.time(&t));
        }
        parsed.level = match &config.level {
            Some(name) => text(name).and_then(|l| level(&l)),
            None => LEVELS
                .iter()
                .find_map(|name| text(name))
                .and_then(|l| level(&l)),
        };
        if let Some(name) = &config.message {
            parsed.message = text(name).map(|m| m.into_owned().into_bytes());
        }
        for (name, label) in IDS {
            if let Some(id) = text(name).filter(|_| !parsed.fields.iter().any(|f| f.0 == label)) {
                parsed.push(label, &id);
            }
        }
        for name in &config.fields {
            if let Some(value) = text(name) {
                parsed.push(name, &value);
            }
        }
        parsed
    }

    fn pattern(&self, line: &[u8]) -> Option<Parsed> {
        let regex = self.regex.as_ref()?;
        let captures = regex.captures(line)?;
        let mut parsed = Parsed::default();
        let config = &self.config;
        let (time, level_field) = (
            config.time.as_deref().unwrap_or("time"),
            config.level.as_deref().unwrap_or("level"),
        );
        for name in regex.capture_names().flatten() {
            let Some(value) = captures.name(name) else {
                continue;
            };
            let value = String::from_utf8_lossy(value.as_bytes());
            if name == time {
                parsed.time = self.time(&value);
            } else if name == level_field {
                parsed.level = level(&value);
            } else if config.message.as_deref() == Some(name) {
                parsed.message = Some(value.into_owned().into_bytes());
            } else if value != "-"
                && (config.fields.is_empty() || config.fields.iter().any(|f| f == name))
            {
                parsed.push(name, &value);
            }
        }
        if parsed.level.is_none() && matches!(config.kind, ParserKind::Combined | ParserKind::Envoy)
        {
            let status = captures.name("status").map(|s| s.as_bytes());
            parsed.level = match status.and_then(<[u8]>::first) {
                Some(b'5') => Some("error"),
                Some(b'4') => Some("warn"),
                Some(_) | None => Some("info"),
            };
        }
        Some(parsed)
    }

    fn time(&self, text: &str) -> Option<Timestamp> {
        match self.config.time_format.as_deref() {
            None => parse_rfc3339(text)
                .or_else(|| clf(text))
                .or_else(|| number(text, NANOS_PER_SECOND)),
            Some("rfc3339") => parse_rfc3339(text),
            Some("unix") => number(text, NANOS_PER_SECOND),
            Some("unix_ms") => number(text, 1_000_000),
            Some("unix_ns") => text.parse().ok().map(Timestamp::from_nanos),
            Some(format) => strftime(format, text),
        }
    }
}

fn number(text: &str, unit: i64) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = whole.parse().ok()?;
    let digits = &fraction.as_bytes()[..fraction.len().min(9)];
    let mut nanos = 0;
    let mut scale = unit;
    for digit in digits {
        let digit = digit.is_ascii_digit().then(|| i64::from(digit - b'0'))?;
        scale /= 10;
        nanos += digit * scale;
    }
    Some(Timestamp::from_nanos(
        whole.checked_mul(unit)?.checked_add(nanos)?,
    ))
}

/// `21/Nov/2026:12:34:56 +0000`, as access logs have it.
fn clf(text: &str) -> Option<Timestamp> {
    strftime("%d/%b/%Y:%H:%M:%S %z", text)
}

/// A time without a zone is UTC.
fn strftime(format: &str, text: &str) -> Option<Timestamp> {
    let broken = jiff::fmt::strtime::parse(format, text).ok()?;
    let at = match broken.to_timestamp() {
        Ok(at) => at,
        Err(_) => {
            let civil = broken.to_datetime().ok()?;
            civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp()
        }
    };
    i64::try_from(at.as_nanosecond())
        .ok()
        .map(Timestamp::from_nanos)
}

/// The level that a word means, by Loki's names.
pub(super) fn level(word: &str) -> Option<&'static str> {
    let word = word.trim().to_ascii_lowercase();
    Some(match word.as_str() {
        "trace" | "trc" | "finest" | "finer" => "trace",
        "debug" | "dbg" | "fine" | "d" => "debug",
        "info" | "inf" | "information" | "informational" | "notice" | "i" | "default" => "info",
        "warn" | "warning" | "wrn" | "w" => "warn",
        "error" | "err" | "eror" | "e" | "severe" => "error",
        "critical" | "crit" | "alert" | "emerg" | "emergency" | "panic" => "critical",
        "fatal" | "f" => "fatal",
        // Numbers of bunyan and pino.
        "10" => "trace",
        "20" => "debug",
        "30" => "info",
        "40" => "warn",
        "50" => "error",
        "60" => "fatal",
        _ => return None,
    })
}

/// A level somewhere in a line, as a word of its own or a field.
pub(super) fn detect_level(line: &[u8]) -> Option<&'static str> {
    let head = &line[..line.len().min(256)];
    for word in head.split(|b| !b.is_ascii_alphabetic()) {
        let known = [
            (&b"error"[..], "error"),
            (b"err", "error"),
            (b"warn", "warn"),
            (b"warning", "warn"),
            (b"info", "info"),
            (b"debug", "debug"),
            (b"fatal", "fatal"),
            (b"critical", "critical"),
            (b"trace", "trace"),
        ];
        if let Some((_, level)) = known
            .iter()
            .find(|(name, _)| word.eq_ignore_ascii_case(name))
        {
            return Some(level);
        }
    }
    None
}

/// `key=value key="quoted value" …`
fn pairs(line: &str) -> Vec<(&str, Cow<'_, str>)> {
    let mut all = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() && all.len() < FIELDS_MAX * 4 {
        let end = rest.find(['=', ' ']).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let Some(after) = after.strip_prefix('=') else {
            rest = after.trim_start();
            continue;
        };
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let (value, after) = after.split_at(after.find(' ').unwrap_or(after.len()));
                (Cow::Borrowed(value), after)
            }
        };
        if !key.is_empty() {
            all.push((key, value));
        }
        rest = after.trim_start();
    }
    all
}

/// A text up to its closing quote, and what follows.
fn unquoted(text: &str) -> (Cow<'_, str>, &str) {
    let mut escaped = false;
    let mut plain = true;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => (escaped, plain) = (true, false),
            '"' => {
                let (value, rest) = text.split_at(at);
                let rest = rest.strip_prefix('"').unwrap_or(rest);
                if plain {
                    return (Cow::Borrowed(value), rest);
                }
                let read: Result<String, _> = serde_json::from_str(&format!("\"{value}\""));
                return (read.map_or(Cow::Borrowed(value), Cow::Owned), rest);
            }
            _ => {}
        }
    }
    (Cow::Borrowed(text), "")
}

/// `I1121 12:34:56.789012   12345 file.go:123] message`
fn klog(line: &[u8], now: Timestamp) -> Option<Parsed> {
    let text = std::str::from_utf8(line.get(..line.len().min(512))?)
        .or_else(|e| std::str::from_utf8(&line[..e.valid_up_to()]));
    let text = text.ok()?;
    let (head, _) = text.split_once("] ")?;
    let mut words = head.split_ascii_whitespace();
    let (day, time, thread, source) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let level = match day.as_bytes().first()? {
        b'I' => "info",
        b'W' => "warn",
        b'E' => "error",
        b'F' => "fatal",
        _ => return None,
    };
    let digits = |from: usize, to: usize| day.get(from..to)?.parse::<i64>().ok();
    let (month, day_of) = (digits(1, 3)?, digits(3, 5)?);
    let fraction = time.get(8..)?;
    let part = |from: usize| time.get(from..from + 2)?.parse::<i64>().ok();
    let (hour, minute, second) = (part(0)?, part(3)?, part(6)?);
    let fine = day.len() == 5 && (1..=12).contains(&month) && (1..=31).contains(&day_of);
    if !fine || hour > 23 || minute > 59 || second > 60 || source.find(':').is_none() {
        return None;
    }
    let micros: i64 = fraction.strip_prefix('.')?.parse().ok()?;
    let (year, ..) = civil_from_days(now.nanos().div_euclid(NANOS_PER_DAY));
    let seconds =
        |year| (days_from_civil(year, month, day_of) * 24 + hour) * 3600 + minute * 60 + second;
    let at = |year| Timestamp::from_nanos(seconds(year) * NANOS_PER_SECOND + micros * 1000);
    // A line of December that is read in January is of last year.
    let time = match at(year) {
        time if time > now.saturating_add(NANOS_PER_DAY) => at(year - 1),
        time => time,
    };
    let mut parsed = Parsed {
        time: Some(time),
        level: Some(level),
        ..Parsed::default()
    };
    parsed.push("thread", thread);
    parsed.push("source", source);
    Some(parsed)
}

fn syslog(line: &[u8], now: Timestamp, limits: &Limits) -> Option<Parsed> {
    let utc = |civil: Civil| civil.utc();
    let mut messages = Messages::new(Context {
        now,
        zone: &utc,
        limits,
    });
    messages.add(line, "");
    let mut stream = messages.into_batch().streams.pop()?;
    let record = stream.records.pop()?;
    let mut parsed = Parsed {
        time: Some(record.time),
        message: Some(record.line),
        ..Parsed::default()
    };
    for (name, value) in record.metadata.iter().chain(stream.labels.iter()) {
        match name {
            "severity" | "level" | "detected_level" => parsed.level = level(value),
            "job" => {}
            name => parsed.push(name, value),
        }
    }
    Some(parsed)
}

fn audit(line: &[u8]) -> Option<Parsed> {
    let event: Value = serde_json::from_slice(line).ok()?;
    if event.get("kind").and_then(Value::as_str) != Some("Event") || event.get("auditID").is_none()
    {
        return None;
    }
    let mut parsed = Parsed::default();
    for (label, path) in [
        ("audit_id", "/auditID"),
        ("stage", "/stage"),
        ("verb", "/verb"),
        ("user", "/user/username"),
        ("source_ip", "/sourceIPs/0"),
        ("resource", "/objectRef/resource"),
        ("subresource", "/objectRef/subresource"),
        ("namespace", "/objectRef/namespace"),
        ("name", "/objectRef/name"),
        ("code", "/responseStatus/code"),
        ("decision", "/annotations/authorization.k8s.io~1decision"),
    ] {
        match event.pointer(path) {
            Some(Value::String(text)) => parsed.push(label, text),
            Some(Value::Number(number)) => parsed.push(label, &number.to_string()),
            Some(_) | None => {}
        }
    }
    let time = event.get("stageTimestamp").and_then(Value::as_str);
    parsed.time = time.and_then(parse_rfc3339);
    let code = event
        .pointer("/responseStatus/code")
        .and_then(Value::as_i64);
    parsed.level = Some(match code.unwrap_or(200) {
        500.. => "error",
        400.. => "warn",
        _ => "info",
    });
    Some(parsed)
}

#[cfg(test)]
mod tests;
