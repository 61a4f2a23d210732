//! systemd's Journal Export Format: fields by lines, or by length where they have line ends; a
//! blank line ends an entry.
//!
//! Invariants: however the bytes arrive in pieces, the entries are the same; a declared length
//! reserves nothing; an entry over the bound is passed by and counted, because a sender whose upload
//! fails sends it again, for ever.
//! Format: <https://systemd.io/JOURNAL_EXPORT_FORMATS/>

use std::borrow::Cow;

use obs_model::Timestamp;
use obs_model::logs::LogBatch;

use crate::error::WireError;
use crate::event::{Context, Event, Gather, Given};
use crate::syslog::SEVERITIES;

const FORMAT: &str = "journal export";
/// The label `job` of all streams.
const JOB: &str = "systemd-journal";
/// Bytes of one entry; the journal's own bound for a field is higher, but for core dumps only.
const ENTRY_BYTES_MAX: usize = 8 << 20;

/// Cuts a stream into entries.
#[derive(Debug, Default)]
pub struct Framer {
    held: Vec<u8>,
    /// Where the first entry begins that was not given yet.
    start: usize,
    /// Up to where fields of it were found.
    looked: usize,
    /// Bytes to come that belong to a field which is too long.
    skip: usize,
    /// A field without a length is too long: all up to its line end is passed by.
    skip_line: bool,
    /// The entry is too long.
    over: bool,
    too_long: u64,
}

impl Framer {
    /// Adds bytes as they arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.held.drain(..self.start);
        self.looked -= self.start;
        self.start = 0;
        let gone = self.skip.min(bytes.len());
        self.skip -= gone;
        let mut bytes = &bytes[gone..];
        if self.skip_line {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            self.skip_line = end.is_none();
            bytes = end.map_or(&[], |end| &bytes[end + 1..]);
        }
        self.held.extend_from_slice(bytes);
    }

    /// Bytes that wait for the rest of their entry.
    pub fn held(&self) -> usize {
        self.held.len() - self.start
    }

    /// Entries that were too long since this was last asked.
    pub fn take_too_long(&mut self) -> u64 {
        std::mem::take(&mut self.too_long)
    }

    /// The entry is too long: lets go of what was looked at.
    fn refuse(&mut self) {
        self.too_long += u64::from(!self.over);
        self.over = true;
        self.start = self.looked;
    }

    /// The next entry that is whole, without the blank line behind it.
    pub fn next_entry(&mut self) -> Result<Option<Vec<u8>>, WireError> {
        loop {
            match field_end(&self.held, self.looked)? {
                Field::Part => {
                    if self.held() > ENTRY_BYTES_MAX {
                        self.refuse();
                    }
                    let part = &self.held[self.looked..];
                    if part.len() > ENTRY_BYTES_MAX && !part.contains(&b'\n') {
                        self.skip_line = true;
                        self.looked = self.held.len();
                        self.start = self.looked;
                    }
                    return Ok(None);
                }
                Field::TooLong(length) => {
                    let here = length.min(self.held.len() - self.looked);
                    self.skip = length - here;
                    self.looked += here;
                    self.refuse();
                    if self.skip > 0 {
                        return Ok(None);
                    }
                }
                Field::Whole(end) if end > self.looked + 1 => {
                    self.looked = end;
                    if self.over || self.looked - self.start > ENTRY_BYTES_MAX {
                        self.refuse();
                    }
                }
                // A blank line.
                Field::Whole(end) => {
                    let entry = self.held[self.start..self.looked].to_vec();
                    self.start = end;
                    self.looked = end;
                    if !std::mem::take(&mut self.over) && !entry.is_empty() {
                        return Ok(Some(entry));
                    }
                }
            }
        }
    }

    /// The entry at the end of the stream, which needs no blank line.
    pub fn rest(&mut self) -> Result<Option<Vec<u8>>, WireError> {
        if let Some(entry) = self.next_entry()? {
            return Ok(Some(entry));
        }
        if self.over {
            return Ok(None);
        }
        let entry = self.held[self.start..].to_vec();
        if self.looked < self.held.len() {
            return Err(malformed(self.looked, "a field that is whole"));
        }
        self.start = self.held.len();
        Ok(Some(entry).filter(|entry| !entry.is_empty()))
    }
}

fn malformed(offset: usize, expected: &str) -> WireError {
    WireError::at_byte(FORMAT, offset, expected)
}

/// What stands at a place.
enum Field {
    /// A field; the place behind it.
    Whole(usize),
    /// A field that is longer than an entry may be: so many bytes.
    TooLong(usize),
    /// A field that is not whole yet.
    Part,
}

fn field_end(bytes: &[u8], at: usize) -> Result<Field, WireError> {
    let rest = &bytes[at..];
    let Some(line) = rest.iter().position(|byte| *byte == b'\n') else {
        return Ok(Field::Part);
    };
    if line == 0 || rest[..line].contains(&b'=') {
        return Ok(Field::Whole(at + line + 1));
    }
    let Some(length) = rest[line + 1..].first_chunk::<8>() else {
        return Ok(Field::Part);
    };
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if length > ENTRY_BYTES_MAX {
        return Ok(Field::TooLong(length.saturating_add(line + 10)));
    }
    let end = at + line + 9 + length;
    match bytes.get(end) {
        None => Ok(Field::Part),
        Some(b'\n') => Ok(Field::Whole(end + 1)),
        Some(_) => Err(malformed(end, "a line end behind a binary field")),
    }
}

/// Reads entries as records.
pub fn decode(entries: &[Vec<u8>], context: Context<'_>) -> LogBatch {
    let mut gather = Gather::new(context.limits);
    for entry in entries {
        let Some((event, given, line)) = fields(entry, context) else {
            continue;
        };
        let whole = || entry.clone();
        let (labels, record) = match line {
            Some(line) => event.into_record_of(line, given, whole, context),
            None => event.into_record(given, whole, context),
        };
        gather.add(labels, record, JOB);
    }
    gather.into_batch()
}

/// The fields of an entry, and its message where that is not UTF-8. Nothing where there is none but
/// those of the journal itself.
fn fields(entry: &[u8], context: Context<'_>) -> Option<(Event, Given, Option<Vec<u8>>)> {
    let limits = context.limits;
    let mut event = Event::default();
    let mut labels = vec![("job".to_owned(), JOB.to_owned())];
    let (mut time, mut source_time) = (None, None);
    let mut at = 0;
    let mut any = false;
    let mut line = None;
    while let Ok(Field::Whole(end)) = field_end(entry, at) {
        let field = &entry[at..end - 1];
        at = end;
        let (name, bytes) = split(field);
        let name = String::from_utf8_lossy(name);
        let value = String::from_utf8_lossy(bytes);
        let micros = || {
            let micros: i64 = value.parse().ok()?;
            Some(Timestamp::from_nanos(micros.checked_mul(1000)?))
        };
        any |= !name.starts_with("__");
        match &*name {
            "__REALTIME_TIMESTAMP" => time = micros(),
            "_SOURCE_REALTIME_TIMESTAMP" => source_time = micros(),
            "MESSAGE" if matches!(value, Cow::Owned(_)) && context.mapping.message.is_empty() => {
                line = Some(bytes.to_vec());
            }
            "MESSAGE" => event.push("message", value, limits),
            "_HOSTNAME" => labels.push(("host".to_owned(), value.into_owned())),
            "_SYSTEMD_UNIT" => labels.push(("unit".to_owned(), value.into_owned())),
            "SYSLOG_IDENTIFIER" => labels.push(("app".to_owned(), value.into_owned())),
            "PRIORITY" => {
                let word = value.parse().ok().and_then(|at: usize| SEVERITIES.get(at));
                let word = word.map_or(value, |word| (*word).into());
                event.push("severity", word, limits);
            }
            // The place in the sender's journal says nothing about the event.
            other if other.starts_with("__") => {}
            other => {
                let path = other.trim_start_matches('_').to_ascii_lowercase();
                event.push(&path, value, limits);
            }
        }
    }
    let time = source_time.or(time).or(Some(context.now));
    any.then_some((event, Given { labels, time }, line))
}

/// Name and value of a field, in either of its forms.
fn split(field: &[u8]) -> (&[u8], &[u8]) {
    let line = field.iter().position(|byte| matches!(byte, b'=' | b'\n'));
    match line {
        Some(at) if field[at] == b'=' => (&field[..at], &field[at + 1..]),
        Some(at) => (&field[..at], field.get(at + 9..).unwrap_or(&[])),
        None => (field, &[]),
    }
}

#[cfg(test)]
mod tests {
    use obs_model::limits::Limits;
    use proptest::prelude::*;

    use super::*;
    use crate::event::Mapping;

    fn read(pieces: &[&[u8]]) -> Result<Vec<String>, WireError> {
        let mut framer = Framer::default();
        let mut entries = Vec::new();
        for piece in pieces {
            framer.push(piece);
            while let Some(entry) = framer.next_entry()? {
                entries.push(entry);
            }
        }
        entries.extend(framer.rest()?);
        let (mapping, limits) = (Mapping::default(), Limits::default());
        let context = Context {
            mapping: &mapping,
            now: Timestamp::from_seconds(5),
            limits: &limits,
        };
        let batch = decode(&entries, context);
        let mut all = Vec::new();
        for stream in &batch.streams {
            for record in &stream.records {
                let line = String::from_utf8_lossy(&record.line);
                all.push(format!(
                    "{} {} {line:?} {}",
                    stream.labels, record.time, record.metadata
                ));
            }
        }
        Ok(all)
    }

    fn sample() -> Vec<u8> {
        let mut body = b"__CURSOR=s=1;i=2\n__REALTIME_TIMESTAMP=1795255200000001\n_HOSTNAME=h\n_SYSTEMD_UNIT=a.service\nSYSLOG_IDENTIFIER=a\nPRIORITY=3\n_PID=42\nMESSAGE\n".to_vec();
        body.extend(9u64.to_le_bytes());
        body.extend(b"one\n\ntwo\xff\n\n");
        body.extend(b"MESSAGE=x=y\n_SOURCE_REALTIME_TIMESTAMP=1795255201000000\n\n\n__CURSOR=only\n\nCODE_LINE=7\n");
        body
    }

    #[test]
    fn entries() {
        assert_eq!(
            read(&[&sample()]).unwrap(),
            [
                r#"{app="a", host="h", job="systemd-journal", unit="a.service"} 2026-11-21T10:00:00.000001Z "one\n\ntwo�" {pid="42", severity="error"}"#,
                r#"{job="systemd-journal"} 2026-11-21T10:00:01Z "x=y" {}"#,
                r#"{job="systemd-journal"} 1970-01-01T00:00:05Z "CODE_LINE=7\n" {}"#,
            ]
        );
    }

    #[test]
    fn faults() {
        let wrong = [&b"MESSAGE\n"[..], &1u64.to_le_bytes(), b"xy"].concat();
        assert!(read(&[&wrong]).is_err());
        assert!(read(&[b"MESSAGE=not whole"]).is_err());
        assert_eq!(read(&[b""]), Ok(vec![]));
    }

    /// A sender whose upload fails begins again with the same entry.
    #[test]
    fn entries_that_are_too_long_are_passed_by() {
        let max = ENTRY_BYTES_MAX;
        let huge = |length: u64| [&b"A=1\nMESSAGE\n"[..], &length.to_le_bytes()].concat();
        let mut binary = huge(max as u64 + 1);
        binary.extend(std::iter::repeat_n(b'\n', max + 1));
        binary.extend(b"\nB=2\n\n");
        let text = [&b"MESSAGE="[..], &vec![b'x'; max + 9], b"\nB=2\n\n"].concat();
        let many = b"MESSAGE=0123456789abcdef\n".repeat(max / 20);
        let many = [many, b"\n".to_vec()].concat();
        for long in [binary, text, many] {
            let mut framer = Framer::default();
            let body = [&b"MESSAGE=a\n\n"[..], &long, b"MESSAGE=b\n\n"].concat();
            let mut entries = Vec::new();
            for piece in body.chunks(100_000) {
                framer.push(piece);
                while let Some(entry) = framer.next_entry().unwrap() {
                    entries.push(entry);
                }
                assert!(framer.held() <= max + 200_000);
            }
            assert_eq!(framer.rest(), Ok(None));
            assert_eq!(entries, [&b"MESSAGE=a\n"[..], b"MESSAGE=b\n"]);
            assert_eq!((framer.take_too_long(), framer.take_too_long()), (1, 0));
        }
        let mut framer = Framer::default();
        framer.push(&huge(u64::MAX));
        assert_eq!(framer.next_entry(), Ok(None));
        framer.push(b"MESSAGE=x\n\n");
        assert_eq!((framer.next_entry(), framer.held()), (Ok(None), 0));
        assert_eq!((framer.rest(), framer.take_too_long()), (Ok(None), 1));
    }

    #[test]
    fn messages_keep_their_bytes() {
        let mut framer = Framer::default();
        framer.push(b"MESSAGE=a\xffb\nCODE_LINE=7\n\n");
        let entry = framer.next_entry().unwrap().unwrap();
        let (mapping, limits) = (Mapping::default(), Limits::default());
        let context = Context {
            mapping: &mapping,
            now: Timestamp::from_seconds(5),
            limits: &limits,
        };
        let batch = decode(&[entry], context);
        let record = &batch.streams[0].records[0];
        assert_eq!(record.line, b"a\xffb");
        assert_eq!(record.metadata.to_string(), r#"{code_line="7"}"#);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn pieces_do_not_matter(cuts in proptest::collection::vec(0usize..320, 0..6), at in 0usize..320, byte in any::<u8>()) {
            let mut body = sample();
            let place = at % body.len();
            body[place] = byte;
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(body.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([body.len()]) {
                pieces.push(&body[from..cut]);
                from = cut;
            }
            prop_assert_eq!(read(&pieces).ok(), read(&[&body]).ok());
        }
    }
}
