//! systemd's Journal Export Format: fields by lines, or by length where they have line ends; a
//! blank line ends an entry.
//!
//! Invariants: however the bytes arrive in pieces, the entries are the same; a declared length
//! reserves nothing, and an entry over the bound is refused before it is held.
//! Format: <https://systemd.io/JOURNAL_EXPORT_FORMATS/>

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
/// Fields of one entry that are read, as journald's own bound.
const FIELDS_MAX: usize = 1024;

/// Cuts a stream into entries.
#[derive(Debug, Default)]
pub struct Framer {
    held: Vec<u8>,
    /// Where the first entry begins that was not given yet.
    start: usize,
    /// Up to where fields of it were found.
    looked: usize,
}

impl Framer {
    /// Adds bytes as they arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.held.drain(..self.start);
        self.looked -= self.start;
        self.start = 0;
        self.held.extend_from_slice(bytes);
    }

    /// Bytes that wait for the rest of their entry.
    pub fn held(&self) -> usize {
        self.held.len() - self.start
    }

    /// The next entry that is whole, without the blank line behind it.
    pub fn next_entry(&mut self) -> Result<Option<Vec<u8>>, WireError> {
        loop {
            let Some(end) = field_end(&self.held, self.looked)? else {
                if self.held() > ENTRY_BYTES_MAX {
                    return Err(WireError::TooLarge {
                        format: FORMAT,
                        limit: "entry",
                        max: ENTRY_BYTES_MAX as u64,
                    });
                }
                return Ok(None);
            };
            if end > self.looked + 1 {
                self.looked = end;
                continue;
            }
            // A blank line.
            let entry = self.held[self.start..self.looked].to_vec();
            self.start = end;
            self.looked = end;
            if !entry.is_empty() {
                return Ok(Some(entry));
            }
        }
    }

    /// The entry at the end of the stream, which needs no blank line.
    pub fn rest(&mut self) -> Result<Option<Vec<u8>>, WireError> {
        if let Some(entry) = self.next_entry()? {
            return Ok(Some(entry));
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

/// The place behind the field at `at`; nothing where it is not whole.
fn field_end(bytes: &[u8], at: usize) -> Result<Option<usize>, WireError> {
    let rest = &bytes[at..];
    let Some(line) = rest.iter().position(|byte| *byte == b'\n') else {
        return Ok(None);
    };
    if line == 0 || rest[..line].contains(&b'=') {
        return Ok(Some(at + line + 1));
    }
    let Some(length) = rest[line + 1..].first_chunk::<8>() else {
        return Ok(None);
    };
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if length > ENTRY_BYTES_MAX {
        return Err(malformed(at, "a field of at most 8 MiB"));
    }
    let end = at + line + 9 + length;
    match bytes.get(end) {
        None => Ok(None),
        Some(b'\n') => Ok(Some(end + 1)),
        Some(_) => Err(malformed(end, "a line end behind a binary field")),
    }
}

/// Reads entries as records.
pub fn decode(entries: &[Vec<u8>], context: Context<'_>) -> LogBatch {
    let mut gather = Gather::new(context.limits);
    for entry in entries {
        let Some((event, given)) = fields(entry, context) else {
            continue;
        };
        let whole = || String::from_utf8_lossy(entry).into_owned().into_bytes();
        let (labels, record) = event.into_record(given, whole, context);
        gather.add(labels, record, JOB);
    }
    gather.into_batch()
}

/// The fields of an entry. Nothing where there is none but those of the journal itself.
fn fields(entry: &[u8], context: Context<'_>) -> Option<(Event, Given)> {
    let limits = context.limits;
    let mut event = Event::default();
    let mut labels = vec![("job".to_owned(), JOB.to_owned())];
    let (mut time, mut source_time) = (None, None);
    let mut at = 0;
    let mut any = false;
    for _ in 0..FIELDS_MAX {
        let Ok(Some(end)) = field_end(entry, at) else {
            break;
        };
        let field = &entry[at..end - 1];
        at = end;
        let (name, value) = split(field);
        let name = String::from_utf8_lossy(name);
        let value = String::from_utf8_lossy(value);
        let micros = || {
            let micros: i64 = value.parse().ok()?;
            Some(Timestamp::from_nanos(micros.checked_mul(1000)?))
        };
        any |= !name.starts_with("__");
        match &*name {
            "__REALTIME_TIMESTAMP" => time = micros(),
            "_SOURCE_REALTIME_TIMESTAMP" => source_time = micros(),
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
    any.then_some((event, Given { labels, time }))
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
        let long = [&b"MESSAGE\n"[..], &u64::MAX.to_le_bytes()].concat();
        assert!(read(&[&long]).is_err());
        let wrong = [&b"MESSAGE\n"[..], &1u64.to_le_bytes(), b"xy"].concat();
        assert!(read(&[&wrong]).is_err());
        assert!(read(&[b"MESSAGE=not whole"]).is_err());
        assert_eq!(read(&[b""]), Ok(vec![]));
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
