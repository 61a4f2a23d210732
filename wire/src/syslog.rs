//! Syslog messages of RFC 5424 and RFC 3164, and what senders make of the latter: times of
//! ISO 8601, with a year or fractions, no time, no host, no priority.
//!
//! Invariant: every message becomes a record; what of it cannot be understood stays in the line.
//! Formats: <https://www.rfc-editor.org/rfc/rfc5424>, <https://www.rfc-editor.org/rfc/rfc3164>

pub mod frame;

use obs_model::limits::Limits;
use obs_model::logs::{LogBatch, LogRecord};
use obs_model::time::{NANOS_PER_DAY, civil_from_days, days_from_civil, parse_rfc3339};
use obs_model::{Labels, Timestamp};

use crate::event::{Gather, labels_of};
use crate::otlp::metrics::name::label_name;

/// What streams without an application are called, and the label `job` of all.
const JOB: &str = "syslog";
/// Longest tag of RFC 3164; the RFC says 32, programs have longer names.
const TAG_BYTES_MAX: usize = 64;
/// Longest host name that is read as one.
const HOST_BYTES_MAX: usize = 255;
/// As Loki's agents name them.
const FACILITIES: [&str; 24] = [
    "kern",
    "user",
    "mail",
    "daemon",
    "auth",
    "syslog",
    "lpr",
    "news",
    "uucp",
    "cron",
    "authpriv",
    "ftp",
    "ntp",
    "security",
    "console",
    "solaris-cron",
    "local0",
    "local1",
    "local2",
    "local3",
    "local4",
    "local5",
    "local6",
    "local7",
];
/// What severities from 0 on are called; GELF and journald count them as syslog does.
pub(crate) const SEVERITIES: [&str; 8] = [
    "emergency",
    "alert",
    "critical",
    "error",
    "warning",
    "notice",
    "informational",
    "debug",
];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// A date and a time of day without a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Year.
    pub year: i64,
    /// Month from 1.
    pub month: i64,
    /// Day from 1.
    pub day: i64,
    /// Second of the day.
    pub second: i64,
    /// Nanoseconds of the second.
    pub nanos: i64,
}

impl Civil {
    /// The point in time where the zone is UTC.
    pub fn utc(self) -> Option<Timestamp> {
        let days = days_from_civil(self.year, self.month, self.day);
        if civil_from_days(days) != (self.year, self.month, self.day) {
            return None;
        }
        let nanos = days.checked_mul(NANOS_PER_DAY)?;
        let nanos = nanos.checked_add(self.second * 1_000_000_000 + self.nanos)?;
        Some(Timestamp::from_nanos(nanos))
    }
}

/// What is around messages.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The time of messages without one; tells the year of those without a year.
    pub now: Timestamp,
    /// The point in time of a time without a zone.
    pub zone: &'a dyn Fn(Civil) -> Option<Timestamp>,
    /// The bounds.
    pub limits: &'a Limits,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// Messages that become one batch.
#[derive(Debug)]
pub struct Messages<'a> {
    context: Context<'a>,
    gather: Gather,
}

impl<'a> Messages<'a> {
    /// None yet.
    pub fn new(context: Context<'a>) -> Self {
        Self {
            context,
            gather: Gather::new(context.limits),
        }
    }

    /// Adds a message; `peer` is the host of those that name none.
    pub fn add(&mut self, message: &[u8], peer: &str) {
        let message = trimmed(message);
        if message.is_empty() {
            return;
        }
        let mut parsed = parse(message, self.context);
        if parsed.host.is_empty() {
            peer.clone_into(&mut parsed.host);
        }
        let facility = parsed.facility.unwrap_or("");
        let labels = Labels::from_pairs([
            ("job", JOB),
            ("host", &parsed.host),
            ("app", &parsed.app),
            ("facility", facility),
        ]);
        let limits = self.context.limits;
        // The store adds the level that it finds.
        let kept = parsed.pairs.len() < limits.metadata_max
            && parsed
                .pairs
                .iter()
                .all(|(_, v)| v.len() <= limits.label_value_bytes_max);
        let (line, metadata) = if kept {
            (parsed.line, labels_of(parsed.pairs.into_iter()))
        } else {
            // Structured data that does not fit stays where it came from.
            (message.to_vec(), Labels::empty())
        };
        let record = LogRecord {
            time: parsed.time.unwrap_or(self.context.now),
            line,
            metadata,
        };
        self.gather.add(labels, record, JOB);
    }

    /// The records.
    pub fn into_batch(self) -> LogBatch {
        self.gather.into_batch()
    }
}

/// Without the line end and the NUL that some senders put behind a message.
fn trimmed(mut message: &[u8]) -> &[u8] {
    while let [rest @ .., b'\n' | b'\r' | 0] = message {
        message = rest;
    }
    message
}

#[derive(Debug, Default)]
struct Parsed {
    facility: Option<&'static str>,
    time: Option<Timestamp>,
    host: String,
    app: String,
    pairs: Vec<(String, String)>,
    line: Vec<u8>,
}

fn parse(message: &[u8], context: Context<'_>) -> Parsed {
    let mut parsed = Parsed::default();
    let mut rest = message;
    if let Some((priority, behind)) = priority(message) {
        parsed.facility = FACILITIES.get(usize::from(priority / 8)).copied();
        let severity = SEVERITIES[usize::from(priority % 8)];
        parsed
            .pairs
            .push(("severity".to_owned(), severity.to_owned()));
        rest = behind;
        if let Some(behind) = rest.strip_prefix(b"1 ")
            && modern(behind, &mut parsed)
        {
            return parsed;
        }
    }
    classic(rest, &mut parsed, context);
    parsed
}

/// `<34>`: facility times eight plus severity.
fn priority(message: &[u8]) -> Option<(u8, &[u8])> {
    let inner = message.strip_prefix(b"<")?;
    let end = inner.iter().take(4).position(|byte| *byte == b'>')?;
    let digits = &inner[..end];
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits
        .iter()
        .fold(0u16, |n, d| n * 10 + u16::from(d - b'0'));
    let number = u8::try_from(number).ok().filter(|n| *n <= 191)?;
    Some((number, &inner[end + 1..]))
}

/// The next field up to a space, and what is behind it.
fn field(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == b' ') {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[]),
    }
}

/// A field as text; the nil value is empty.
fn given(bytes: &[u8]) -> String {
    match bytes {
        b"-" => String::new(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// RFC 5424 behind the version. False, and nothing read, where it is something else.
fn modern(bytes: &[u8], parsed: &mut Parsed) -> bool {
    let (time, rest) = field(bytes);
    let time = match time {
        b"-" => None,
        _ => match std::str::from_utf8(time).ok().and_then(parse_rfc3339) {
            Some(time) => Some(time),
            None => return false,
        },
    };
    let (host, rest) = field(rest);
    let (app, rest) = field(rest);
    let (process, rest) = field(rest);
    let (kind, rest) = field(rest);
    if kind.is_empty() {
        return false;
    }
    parsed.time = time;
    parsed.host = given(host);
    parsed.app = given(app);
    for (name, value) in [("proc_id", given(process)), ("msg_id", given(kind))] {
        if !value.is_empty() {
            parsed.pairs.push((name.to_owned(), value));
        }
    }
    let rest = match rest {
        [b'-'] => &[][..],
        [b'-', b' ', rest @ ..] => rest,
        _ => structured(rest, &mut parsed.pairs).unwrap_or(rest),
    };
    // The mark of UTF-8 in front of a message is no part of it.
    parsed.line = rest.strip_prefix(b"\xef\xbb\xbf").unwrap_or(rest).to_vec();
    true
}

/// Structured data; gives what is behind it. Where it is malformed it stays in the message.
fn structured<'a>(bytes: &'a [u8], pairs: &mut Vec<(String, String)>) -> Option<&'a [u8]> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some(inner) = rest.strip_prefix(b"[") {
        rest = element(inner, &mut found)?;
    }
    match rest {
        [] => {}
        [b' ', behind @ ..] => rest = behind,
        _ => return None,
    }
    if found.is_empty() {
        return None;
    }
    pairs.append(&mut found);
    Some(rest)
}

/// `id name="value" …]`; gives what is behind it.
fn element<'a>(bytes: &'a [u8], pairs: &mut Vec<(String, String)>) -> Option<&'a [u8]> {
    let end = bytes.iter().position(|byte| matches!(byte, b' ' | b']'))?;
    let id = String::from_utf8_lossy(&bytes[..end]);
    if id.is_empty() {
        return None;
    }
    let mut rest = &bytes[end..];
    let mut empty = true;
    loop {
        match rest {
            [b']', behind @ ..] => {
                if empty {
                    // An element without parameters still says something.
                    pairs.push((label_name(&id), "true".to_owned()));
                }
                return Some(behind);
            }
            [b' ', behind @ ..] => rest = behind,
            _ => {
                let equals = rest.iter().position(|byte| *byte == b'=')?;
                let name = String::from_utf8_lossy(&rest[..equals]).into_owned();
                let inner = rest[equals + 1..].strip_prefix(b"\"")?;
                let (value, behind) = parameter(inner)?;
                let path = format!("{id}.{name}");
                if !value.is_empty() {
                    pairs.push((label_name(&path), value));
                }
                empty = false;
                rest = behind;
            }
        }
    }
}

/// The value of a parameter up to its quote, and what is behind it.
fn parameter(bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut value = Vec::new();
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b'"' => {
                let text = String::from_utf8_lossy(&value).into_owned();
                return Some((text, &bytes[at + 1..]));
            }
            b'\\' if matches!(bytes.get(at + 1), Some(b'"' | b'\\' | b']')) => {
                value.push(bytes[at + 1]);
                at += 2;
            }
            byte => {
                value.push(*byte);
                at += 1;
            }
        }
    }
}

/// RFC 3164 behind the priority.
fn classic(bytes: &[u8], parsed: &mut Parsed, context: Context<'_>) {
    let Some((time, rest)) = classic_time(bytes, context) else {
        // No header; a program with its process is still told apart from words and a colon.
        let rest = match tag(bytes).filter(|tag| !tag.process.is_empty()) {
            Some(tag) => tag.apply(parsed),
            None => bytes,
        };
        parsed.line = rest.to_vec();
        return;
    };
    parsed.time = Some(time);
    let mut rest = rest;
    if tag(rest).is_none() {
        let (host, behind) = field(rest);
        let is_host = !host.is_empty()
            && host.len() <= HOST_BYTES_MAX
            && host
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || b".-_:%".contains(b))
            && !host.ends_with(b":");
        if is_host {
            parsed.host = given(host);
            rest = behind;
        }
    }
    let rest = match tag(rest) {
        Some(tag) => tag.apply(parsed),
        None => rest,
    };
    parsed.line = rest.strip_prefix(b"\xef\xbb\xbf").unwrap_or(rest).to_vec();
}

/// `sshd[42]: `
struct Tag<'a> {
    name: &'a [u8],
    process: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Tag<'a> {
    fn apply(self, parsed: &mut Parsed) -> &'a [u8] {
        parsed.app = String::from_utf8_lossy(self.name).into_owned();
        if !self.process.is_empty() {
            let process = String::from_utf8_lossy(self.process).into_owned();
            parsed.pairs.push(("proc_id".to_owned(), process));
        }
        self.rest
    }
}

fn tag(bytes: &[u8]) -> Option<Tag<'_>> {
    let in_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-./@()#+".contains(byte);
    let end = bytes
        .iter()
        .take(TAG_BYTES_MAX + 1)
        .position(|b| !in_name(b))?;
    if end == 0 || end > TAG_BYTES_MAX {
        return None;
    }
    let (name, mut rest) = bytes.split_at(end);
    let mut process = &[][..];
    if let Some(inner) = rest.strip_prefix(b"[") {
        let close = inner.iter().take(TAG_BYTES_MAX).position(|b| *b == b']')?;
        process = &inner[..close];
        rest = &inner[close + 1..];
    }
    let rest = rest.strip_prefix(b":")?;
    match rest {
        [] => Some(Tag {
            name,
            process,
            rest,
        }),
        [b' ', rest @ ..] => Some(Tag {
            name,
            process,
            rest,
        }),
        _ => None,
    }
}

/// The time in front, and what is behind it and its space.
fn classic_time<'a>(bytes: &'a [u8], context: Context<'_>) -> Option<(Timestamp, &'a [u8])> {
    let head = &bytes[..bytes.len().min(48)];
    let head = std::str::from_utf8(head)
        .unwrap_or_else(|error| std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or(""));
    let (time, length) = iso_time(head, context).or_else(|| month_time(head, context))?;
    let rest = &bytes[length..];
    Some((time, rest.strip_prefix(b" ").unwrap_or(rest)))
}

/// ISO 8601 with or without a zone.
fn iso_time(head: &str, context: Context<'_>) -> Option<(Timestamp, usize)> {
    let token = head.split(' ').next()?;
    let bytes = token.as_bytes();
    if bytes.get(4) != Some(&b'-') || bytes.get(10) != Some(&b'T') {
        return None;
    }
    let zoned = bytes[11..]
        .iter()
        .any(|b| matches!(b, b'Z' | b'z' | b'+' | b'-'));
    let time = if zoned {
        crate::moment::parse(token)?
    } else {
        let utc = parse_rfc3339(&format!("{token}Z"))?;
        (context.zone)(civil(utc))?
    };
    Some((time, token.len()))
}

fn civil(at: Timestamp) -> Civil {
    let nanos = at.nanos();
    let (year, month, day) = civil_from_days(nanos.div_euclid(NANOS_PER_DAY));
    let rest = nanos.rem_euclid(NANOS_PER_DAY);
    Civil {
        year,
        month,
        day,
        second: rest / 1_000_000_000,
        nanos: rest % 1_000_000_000,
    }
}

/// `Oct  1 22:14:15`, also with a year in front of or behind the time of day, or fractions.
fn month_time(head: &str, context: Context<'_>) -> Option<(Timestamp, usize)> {
    // Some routers mark times that are not in step with a star or a point.
    let start = head.len() - head.trim_start_matches(['*', '.']).len();
    let text = &head[start..];
    let month = MONTHS.iter().position(|name| text.get(..3) == Some(name))?;
    let mut words = Words { text, at: 3 };
    let day = words
        .next()
        .and_then(number)
        .filter(|day| (1..=31).contains(day))?;
    let mut word = words.next()?;
    let mut year = None;
    if word.len() == 4 {
        year = Some(number(word)?);
        word = words.next()?;
    }
    let word = word.strip_suffix(':').unwrap_or(word);
    let (second, nanos) = day_time(word)?;
    let mut end = words.at;
    if year.is_none() {
        let behind = words.next().filter(|word| word.len() == 4).and_then(number);
        if let Some(found) = behind.filter(|year| (1970..2262).contains(year)) {
            year = Some(found);
            end = words.at;
        }
    }
    let month = month as i64 + 1;
    let at = |year: i64| {
        (context.zone)(Civil {
            year,
            month,
            day,
            second,
            nanos,
        })
    };
    let time = match year {
        Some(year) => at(year)?,
        None => {
            let this = civil(context.now).year;
            let near = [this - 1, this, this + 1].into_iter().filter_map(at);
            near.min_by_key(|time| (*time - context.now).unsigned_abs())?
        }
    };
    Some((time, start + end))
}

/// Words between spaces, and where the last one ended.
struct Words<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let rest = self.text.get(self.at..)?;
        let begin = self.at + (rest.len() - rest.trim_start_matches(' ').len());
        let rest = &self.text[begin..];
        let length = rest.find(' ').unwrap_or(rest.len());
        if length == 0 || begin == self.at {
            return None;
        }
        self.at = begin + length;
        Some(&rest[..length])
    }
}

fn number(text: &str) -> Option<i64> {
    if text.is_empty() || text.len() > 9 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// `22:14:15` or `22:14:15.003`: second of the day, nanoseconds.
fn day_time(text: &str) -> Option<(i64, i64)> {
    let (whole, fraction) = text.split_once(['.', ',']).unwrap_or((text, ""));
    let mut parts = whole.split(':').map(number);
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let nanos = if fraction.is_empty() {
        0
    } else {
        let digits = fraction.len().min(9);
        number(fraction.get(..digits)?)? * 10i64.pow(9 - digits as u32)
    };
    Some((hour * 3600 + minute * 60 + second, nanos))
}

#[cfg(test)]
mod tests;
