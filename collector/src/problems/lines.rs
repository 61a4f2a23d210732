//! What stands in the lines of the kernel's ring buffer, of a log file and of the journal, and from
//! when on they count.
//!
//! Invariants: whatever pieces bytes come in, the lines are the same; no more than
//! [`HELD_BYTES_MAX`] bytes wait for the end of a line.

use std::time::Duration;

use jiff::tz::TimeZone;
use obs_model::Timestamp;
use regex::Regex;
use serde_json::Value;

use super::layout;

/// Bytes of one line: the kernel's records have 8 KiB at most, a journal's entry in JSON more.
const HELD_BYTES_MAX: usize = 256 << 10;

/// A line and when it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) time: Timestamp,
    pub(super) text: String,
}

/// Cuts bytes into lines; one that is too long is passed by.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    held: Vec<u8>,
    /// The rest of a line that was too long.
    skips: bool,
}

impl Cutter {
    /// Takes bytes and hands on the lines that are whole now.
    pub(super) fn push(&mut self, bytes: &[u8], mut take: impl FnMut(String)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let whole = piece.strip_suffix(b"\n");
            if !self.skips {
                let room = HELD_BYTES_MAX.saturating_sub(self.held.len());
                self.skips = piece.len() > room;
                if !self.skips {
                    self.held.extend_from_slice(whole.unwrap_or(piece));
                }
            }
            if whole.is_some() {
                if !self.skips {
                    take(String::from_utf8_lossy(&self.held).into_owned());
                }
                self.held.clear();
                self.skips = false;
            }
        }
    }

    /// Hands on what waits: nothing more comes.
    pub(super) fn finish(&mut self, mut take: impl FnMut(String)) {
        if !self.skips && !self.held.is_empty() {
            take(String::from_utf8_lossy(&self.held).into_owned());
        }
        self.clear();
    }

    /// Forgets what waits: the file begins anew.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// A record of `/dev/kmsg`: microseconds since the machine started, and the message. Lines that
/// begin with a blank belong to the record before and are names of devices.
pub(super) fn kernel_record(line: &str) -> Option<(u64, &str)> {
    let (head, message) = line.split_once(';')?;
    let mut fields = head.split(',');
    let priority = fields.next()?;
    let (_, micros) = (fields.next()?, fields.next()?);
    if priority.is_empty() || !priority.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let message = message.trim();
    (!message.is_empty()).then_some((micros.parse().ok()?, message))
}

/// How long the machine runs, as `/proc/uptime` says.
pub(super) fn uptime(text: &str) -> Option<Duration> {
    let seconds = text.split_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// When the machine started, in whole seconds, as `/proc/stat` says.
pub(super) fn started(text: &str) -> Option<Timestamp> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("btime "));
    let seconds: i64 = lines.next()?.trim().parse().ok()?;
    Some(Timestamp::from_nanos(seconds.checked_mul(1_000_000_000)?))
}

/// How a log file writes a line.
#[derive(Debug)]
pub(super) struct Form<'a> {
    pub(super) timestamp: &'a Regex,
    pub(super) message: &'a Regex,
    pub(super) layout: &'a str,
    pub(super) zone: TimeZone,
}

impl Form<'_> {
    /// Time and message of a line; the last group of each pattern, or all that it matches.
    pub(super) fn read(&self, line: &str, now: Timestamp) -> Option<Line> {
        let time = last_group(self.timestamp, line)?;
        let time = layout::parse(self.layout, time, &self.zone, now)?;
        let text = last_group(self.message, line)?.to_owned();
        Some(Line { time, text })
    }
}

fn last_group<'a>(pattern: &Regex, line: &'a str) -> Option<&'a str> {
    let found = pattern.captures(line)?;
    let last = found.len() - 1;
    // A group that took no part is empty, as in Go.
    Some(found.get(last).map_or("", |group| group.as_str()))
}

/// An entry of the journal in JSON.
pub(super) fn journal_entry(line: &str) -> Option<Line> {
    let entry: Value = serde_json::from_str(line).ok()?;
    let micros: i64 = entry["__REALTIME_TIMESTAMP"].as_str()?.parse().ok()?;
    let text = match &entry["MESSAGE"] {
        Value::String(text) => text.clone(),
        // Bytes that are no text.
        Value::Array(bytes) => {
            let bytes = bytes.iter().filter_map(Value::as_u64);
            let bytes: Vec<u8> = bytes.filter_map(|byte| u8::try_from(byte).ok()).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        _ => return None,
    };
    let time = Timestamp::from_nanos(micros.checked_mul(1000)?);
    (!text.is_empty()).then_some(Line { time, text })
}

/// From when on lines count: so long ago, but not from before the machine started and `delay`.
pub(super) fn begin(
    now: Timestamp,
    up: Duration,
    lookback: Duration,
    delay: Duration,
) -> Timestamp {
    let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    let started = now.nanos().saturating_sub(nanos(up));
    let started = started.saturating_add(nanos(delay));
    let wished = now.nanos().saturating_sub(nanos(lookback));
    Timestamp::from_nanos(started.max(wished))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn records_of_the_kernel() {
        let check = |line: &str, expect| assert_eq!(kernel_record(line), expect, "{line}");
        check(
            "6,1234,5140900,-;usb 1-1: new device; number 2\n",
            Some((5_140_900, "usb 1-1: new device; number 2")),
        );
        check("4,7,9,c,caller=T1;part", Some((9, "part")));
        check(" SUBSYSTEM=usb", None);
        check(" DEVICE=c189:1;2", None);
        check("6,1,x,-;m", None);
        check("6,1,2,-;", None);
        check("6;m", None);
        check("", None);
        assert_eq!(
            uptime("350735.47 234388.90\n"),
            Some(Duration::from_millis(350_735_470))
        );
        assert_eq!(uptime("-1 0"), None);
        let stat = "cpu  1 2 3\nbtime 1770000000\nprocesses 7\n";
        let start = Timestamp::from_nanos(1_770_000_000_000_000_000);
        assert_eq!(started(stat), Some(start));
        assert_eq!(started("btime x\n"), None);
        assert_eq!(started("btime 9223372036854775807\n"), None);
    }

    #[test]
    fn lines_of_files() {
        let form = Form {
            timestamp: &Regex::new("^.{15}").unwrap(),
            message: &Regex::new(r"kernel: \[.*\] (.*)").unwrap(),
            layout: "Jan _2 15:04:05",
            zone: TimeZone::UTC,
        };
        let now = Timestamp::from_nanos(1_770_091_506_000_000_000);
        let line = "Feb  2 01:02:03 host kernel: [  12.34] task docker:7 blocked";
        let read = form.read(line, now).unwrap();
        assert_eq!(
            (read.time.to_string().as_str(), read.text.as_str()),
            ("2026-02-02T01:02:03Z", "task docker:7 blocked")
        );
        assert_eq!(form.read("Feb  2 01:02:03 host sshd: hello", now), None);
        assert_eq!(form.read("short", now), None);
        let whole = Form {
            message: &Regex::new("sshd: .*").unwrap(),
            ..form
        };
        let read = whole.read("Feb  2 01:02:03 host sshd: hello", now).unwrap();
        assert_eq!(read.text, "sshd: hello");
    }

    #[test]
    fn entries_of_the_journal() {
        let check = |line: &str, expect: Option<&str>| {
            let read = journal_entry(line);
            assert_eq!(read.map(|line| line.text).as_deref(), expect, "{line}");
        };
        check(
            r#"{"__REALTIME_TIMESTAMP":"1770091506000000","MESSAGE":"hi"}"#,
            Some("hi"),
        );
        check(
            r#"{"__REALTIME_TIMESTAMP":"1","MESSAGE":[104,105]}"#,
            Some("hi"),
        );
        check(r#"{"__REALTIME_TIMESTAMP":"1","MESSAGE":null}"#, None);
        check(r#"{"MESSAGE":"hi"}"#, None);
        check("-- No entries --", None);
    }

    #[test]
    fn lines_count_from_a_time_on() {
        let second = Duration::from_secs(1);
        let check = |up: u32, lookback: u32, delay: u32, expect: i64| {
            let now = Timestamp::from_nanos(100_000_000_000);
            let found = begin(now, second * up, second * lookback, second * delay);
            assert_eq!(found.nanos() / 1_000_000_000, expect);
        };
        check(50, 0, 0, 100);
        check(50, 10, 0, 90);
        check(50, 60, 0, 50);
        check(50, 60, 20, 70);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn pieces_do_not_matter(pieces in proptest::collection::vec(proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), any::<u8>()], 0..20), 0..20)) {
            let cut = |pieces: &[Vec<u8>]| {
                let (mut cutter, mut lines) = (Cutter::default(), Vec::new());
                for piece in pieces {
                    cutter.push(piece, |line| lines.push(line));
                }
                lines
            };
            let whole = pieces.concat();
            prop_assert_eq!(cut(&pieces), cut(&[whole]));
        }

        #[test]
        fn any_line_is_taken(line in "\\PC{0,60}") {
            if let Some((_, message)) = kernel_record(&line) {
                prop_assert!(!message.is_empty() && line.contains(message));
            }
            let has_digit = line.contains(|c: char| c.is_ascii_digit());
            prop_assert!(uptime(&line).is_none() || has_digit);
            prop_assert!(started(&line).is_none() || line.starts_with("btime "));
            prop_assert!(journal_entry(&line).is_none_or(|entry| !entry.text.is_empty()));
        }
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let (mut cutter, mut lines) = (Cutter::default(), Vec::new());
        for _ in 0..10 {
            cutter.push(&vec![b'x'; HELD_BYTES_MAX / 4], |line| lines.push(line));
            assert!(cutter.held.len() <= HELD_BYTES_MAX);
        }
        cutter.push(b"\nnext\n", |line| lines.push(line));
        assert_eq!(lines, ["next"]);
    }
}
