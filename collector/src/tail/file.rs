//! One followed file: its identity, how far it was read, and its bytes as records.
//!
//! Invariant: what a range of bytes becomes depends on nothing but the bytes since the last quiet
//! place, so that reading it again gives the same records.

use std::path::{Path, PathBuf};

use md5::{Digest, Md5};
use obs_model::limits::Limits;
use obs_model::{Labels, LogRecord, Timestamp};
use tokio::time::Instant;

use super::assemble::{Assembler, How, Whole};
use super::checkpoint::{Entry, FileId, Fingerprint, Sent};
use super::container::{self, Line};
use super::disk::{FINGERPRINT_BYTES, Reader, Stat};
use super::pipeline::Pipeline;
use crate::config::FileFormat;

/// Bytes of one file in one batch, so that one busy file does not starve the others.
const QUANTUM: u64 = 256 << 10;
/// Bytes around the content of a container's line, escapes of JSON included.
const WRAPPING_BYTES: usize = 4 << 10;
/// Bytes that may lie between the quiet place and where reading is.
const UNQUIET_BYTES: u64 = 4 << 20;

/// A file and how far it was read.
#[derive(Debug)]
pub(super) struct Followed {
    pub id: FileId,
    /// Where it is now.
    pub path: PathBuf,
    /// `None` when it was read to its end and nobody writes it any more.
    pub reader: Option<Reader>,
    /// Everything before is stored; the last quiet place.
    pub offset: u64,
    /// Everything before was handed to the assembler.
    pub read: u64,
    pub fingerprint: Fingerprint,
    /// Handed to the sink before a restart, not known to be stored.
    pub resend: Option<Sent>,
    /// It has another name than the one that is written.
    pub rotated: bool,
    /// Since when it is not found any more.
    pub lost_since: Option<Instant>,
    /// Since when it was seen rotated and at its end.
    pub ended_since: Option<Instant>,
    /// Its length when it was looked at last.
    pub length: u64,
    /// Everything before was looked at; what lies behind `read` is a line without its end.
    seen: u64,
    assembler: Assembler,
    last_time: Option<Timestamp>,
    gzip_end: bool,
    /// Bytes that a read needs, beyond the usual, to find the end of a line.
    long_line: u64,
    /// The sum of the bytes that the fingerprint covers, to be gone on with.
    head: Md5,
}

/// Where the records of a file go.
#[derive(Debug)]
pub(super) struct Taken {
    /// By [`Out`].
    pub records: [Vec<LogRecord>; 3],
    /// Bytes that were read.
    pub bytes: u64,
    pub cut: u64,
    /// Records that the rules dropped.
    pub dropped: u64,
    /// Records that were made, dropped ones too.
    made: i64,
    /// Those of them that were made before the file was begun again.
    begun: i64,
    /// What is true when the records are stored.
    pub quiet: u64,
    /// Time of the first record that has none of its own.
    pub time: Timestamp,
}

/// What is needed to make records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Making<'a> {
    pub pipeline: &'a Pipeline,
    pub metadata: &'a Labels,
    pub limits: &'a Limits,
    pub now: Instant,
    /// Nobody writes the file any more.
    pub ended: bool,
}

impl Followed {
    /// Follows an opened file from where the checkpoint says, if it is still the same file.
    pub(super) fn start(
        found: Stat,
        mut reader: Reader,
        path: &Path,
        entry: Option<&Entry>,
    ) -> std::io::Result<Self> {
        let (mut offset, mut print, mut resend) = (0, Fingerprint::default(), None);
        let mut head = Md5::new();
        if let Some(entry) = entry {
            let begin = reader.head(entry.fingerprint.length)?;
            let same = Fingerprint::of(&begin) == entry.fingerprint;
            let room = reader.is_gzip() || found.length >= entry.offset;
            if same && room {
                (offset, print) = (entry.offset, entry.fingerprint);
                head.update(&begin);
                let whole = |sent: &Sent| reader.is_gzip() || sent.end <= found.length;
                resend = entry.sent.filter(|s| whole(s) && s.end > offset);
            }
        }
        Ok(Self {
            id: found.id,
            path: path.to_owned(),
            reader: Some(reader),
            offset,
            read: offset,
            fingerprint: print,
            resend,
            rotated: false,
            lost_since: None,
            ended_since: None,
            length: found.length,
            seen: offset,
            assembler: Assembler::at(offset),
            last_time: None,
            gzip_end: false,
            long_line: 0,
            head,
        })
    }

    /// Whether everything that is there was read and given out.
    pub(super) fn is_done(&self) -> bool {
        let rest = self.reader.as_ref().is_some_and(|r| !r.is_gzip()) && self.read < self.length;
        self.at_end() && !rest && !self.assembler.waits()
    }

    /// Whether everything that is there was looked at.
    pub(super) fn at_end(&self) -> bool {
        match &self.reader {
            None => true,
            Some(reader) if reader.is_gzip() => self.gzip_end,
            Some(_) => self.seen >= self.length,
        }
    }

    /// Bytes that were not read, as far as that is known.
    pub(super) fn unread(&self) -> u64 {
        self.length.saturating_sub(self.read)
    }

    /// Gives out what waits and begins again at 0; what was known of the file until now.
    fn begin_again(&mut self, making: Making<'_>, taken: &mut Taken) -> Entry {
        let past = self.entry(Path::new(""));
        self.flush(making, None, taken);
        self.offset = 0;
        self.read = 0;
        self.seen = 0;
        self.assembler = Assembler::at(0);
        self.fingerprint = Fingerprint::default();
        self.head = Md5::new();
        self.resend = None;
        self.last_time = None;
        taken.begun = taken.made;
        past
    }

    /// Whether the file got shorter than what was read of it.
    fn is_cut(&mut self) -> std::io::Result<bool> {
        let Some(reader) = &mut self.reader else {
            return Ok(false);
        };
        self.length = reader.length()?;
        Ok(!reader.is_gzip() && self.length < self.read)
    }

    /// Reads on. False where what was read is of another file: this one was rewritten. That is
    /// looked at behind the read, so that nothing happens in between.
    fn fill(&mut self, most: u64, buffer: &mut Vec<u8>) -> std::io::Result<bool> {
        let Some(reader) = &mut self.reader else {
            return Ok(true);
        };
        reader.read_at(self.read, most, buffer)?;
        if reader.is_gzip() {
            self.gzip_end = (buffer.len() as u64) < most;
            return Ok(true);
        }
        if buffer.is_empty() || self.fingerprint.length == 0 {
            return Ok(true);
        }
        let same = reader.fingerprint(self.fingerprint.length)? == self.fingerprint;
        Ok(same && reader.length()? >= self.read)
    }

    /// What is read of the begin joins the fingerprint, as it was read: by the time that it is
    /// stored, the file may have other bytes.
    fn know(&mut self, bytes: &[u8]) {
        let known = self.fingerprint.length;
        let fresh = (known.checked_sub(self.read)).and_then(|at| bytes.get(at as usize..));
        let room = FINGERPRINT_BYTES.saturating_sub(known) as usize;
        let Some(fresh) = fresh.map(|b| &b[..b.len().min(room)]) else {
            return;
        };
        if !fresh.is_empty() {
            self.head.update(fresh);
            self.fingerprint = Fingerprint {
                length: known + fresh.len() as u64,
                sum: self.head.clone().finalize().into(),
            };
        }
    }

    /// Reads some of the file. Gives what was known of it if it was truncated.
    pub(super) fn take(
        &mut self,
        making: Making<'_>,
        buffer: &mut Vec<u8>,
        taken: &mut Taken,
    ) -> std::io::Result<Option<Entry>> {
        let cut = self.is_cut()?;
        let mut past = cut.then(|| self.begin_again(making, taken));
        taken.quiet = self.assembler.quiet;
        let last_line = making.ended && !self.is_done() && !self.assembler.waits();
        if self.at_end() && !last_line {
            let late = (!making.ended).then_some(making.now);
            if self.assembler.waits() {
                self.flush(making, late, taken);
                taken.quiet = self.assembler.quiet;
            }
            return Ok(past);
        }
        let container = making.pipeline.format == FileFormat::Container;
        let line_max = match container {
            true => making.limits.line_bytes_max.saturating_add(WRAPPING_BYTES),
            false => making.limits.line_bytes_max,
        };
        let room = QUANTUM.max(self.long_line.min(line_max as u64 + 1));
        // A range that is sent again is read at once, so that its records get the same times.
        let again = |sent: Sent| sent.end.saturating_sub(self.read).min(room + UNQUIET_BYTES);
        let most = self.resend.map_or(room, again);
        if self.reader.is_none() {
            return Ok(past);
        }
        if !self.fill(most, buffer)? {
            let before = self.begin_again(making, taken);
            past = past.or(Some(before));
            self.fill(room, buffer)?;
        }
        let here = self.read + buffer.len() as u64;
        self.seen = here;
        let resent = self.resend.is_some_and(|sent| here >= sent.end);
        let ended = making.ended && (here >= self.length || self.gzip_end);
        // The end of a range that is sent again, and of a file that nobody writes any more, is the
        // end of a line.
        let lines = split(buffer, line_max, resent || ended || self.gzip_end);
        // Known before the lines are stored, so that a restart tells whether it is this file.
        self.know(&buffer[..lines.consumed]);
        if container && let Some(first) = lines.lines.first() {
            self.know_time(first, line_max)?;
        }
        // A line longer than that: the next read has room for the longest.
        let stuck = lines.consumed == 0 && buffer.len() as u64 == room;
        self.long_line = if stuck { u64::MAX } else { 0 };
        taken.bytes += lines.consumed as u64;
        taken.cut += lines.cut;
        self.push(&lines, container, making, taken);
        if resent || ended || self.read - self.assembler.quiet > UNQUIET_BYTES {
            self.flush(making, None, taken);
        }
        if resent {
            self.resend = None;
        }
        taken.cut += std::mem::take(&mut self.assembler.cut);
        taken.quiet = self.assembler.quiet;
        Ok(past)
    }

    /// A line without a time is as old as the one before it, which was read by the run before.
    fn know_time(&mut self, first: &[u8], line_max: usize) -> std::io::Result<()> {
        let untimed = self.last_time.is_none() && container::parse(first).time.is_none();
        let reader = self.reader.as_mut().filter(|r| !r.is_gzip());
        let Some(reader) = reader.filter(|_| untimed && self.read > 0) else {
            return Ok(());
        };
        let from = self.read.saturating_sub(QUANTUM);
        let mut before = Vec::new();
        reader.read_at(from, self.read - from, &mut before)?;
        // What was begun before the window has no begin.
        let begin = match from {
            0 => Some(0),
            _ => memchr::memchr(b'\n', &before).map(|end| end + 1),
        };
        let whole = begin.map_or(&[][..], |at| &before[at..]);
        for line in split(whole, line_max, true).lines {
            line_time(&container::parse(line), &mut self.last_time);
        }
        Ok(())
    }

    fn push(&mut self, lines: &Lines<'_>, container: bool, making: Making<'_>, taken: &mut Taken) {
        let how = how(making);
        let (assembler, last) = (&mut self.assembler, &mut self.last_time);
        let mut at = self.read;
        for (index, bytes) in lines.lines.iter().enumerate() {
            let begin = at;
            at = self.read + lines.ends[index] as u64;
            let mut line = match container {
                true => container::parse(bytes),
                false => Line::raw(bytes),
            };
            if container {
                line.time = line_time(&line, last);
            }
            assembler.push(&line, (begin, at), how, &mut |whole| {
                taken.add(whole, making);
            });
        }
        self.read += lines.consumed as u64;
    }

    fn flush(&mut self, making: Making<'_>, late: Option<Instant>, taken: &mut Taken) {
        let give = &mut |whole: Whole<'_>| taken.add(whole, making);
        self.assembler.flush(self.read, how(making), late, give);
    }

    /// Everything before `offset` is stored.
    pub(super) fn advance(&mut self, offset: u64) {
        // A file that was begun again meanwhile is behind what was sent of it before.
        if offset <= self.read {
            self.offset = offset;
        }
    }

    /// For the checkpoint; `name` is the path that is written.
    pub(super) fn entry(&self, name: &Path) -> Entry {
        Entry {
            id: self.id,
            path: name.to_owned(),
            offset: self.offset,
            fingerprint: self.fingerprint,
            sent: self.resend,
        }
    }
}

fn how(making: Making<'_>) -> How<'_> {
    How {
        multiline: making.pipeline.multiline.as_ref(),
        bytes_max: making.limits.line_bytes_max,
    }
}

impl Taken {
    pub(super) fn new(time: Timestamp) -> Self {
        Self {
            records: [const { Vec::new() }; 3],
            bytes: 0,
            cut: 0,
            dropped: 0,
            made: 0,
            begun: 0,
            quiet: 0,
            time,
        }
    }

    /// Records that were made, dropped ones too.
    pub(super) fn made(&self) -> i64 {
        self.made
    }

    /// Those that were made before the file was begun again.
    pub(super) fn begun(&self) -> i64 {
        self.begun
    }

    fn add(&mut self, whole: Whole<'_>, making: Making<'_>) {
        let assigned = self.time.saturating_add(self.made);
        self.made += 1;
        let Making {
            pipeline,
            metadata,
            limits,
            ..
        } = making;
        match pipeline.record(whole.text, whole.time, assigned, metadata, limits) {
            Some(record) => self.records[whole.out as usize].push(record),
            None => self.dropped += 1,
        }
    }
}

/// The time of a line of a container. One that is not of the container's form is as old as the one
/// before it, and comes behind it, whatever records both are in.
fn line_time(line: &Line<'_>, last: &mut Option<Timestamp>) -> Option<Timestamp> {
    let behind = last.map(|time| time.saturating_add(1));
    *last = line.time.or(behind);
    *last
}

impl Fingerprint {
    /// Of what a file begins with.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let bytes = &bytes[..bytes.len().min(FINGERPRINT_BYTES as usize)];
        if bytes.is_empty() {
            return Self::default();
        }
        Self {
            length: bytes.len() as u64,
            sum: Md5::digest(bytes).into(),
        }
    }
}

/// Lines of a range of bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lines<'a> {
    /// Without their newlines.
    pub lines: Vec<&'a [u8]>,
    /// Where each ends, newline included.
    pub ends: Vec<usize>,
    /// Bytes that the lines took.
    pub consumed: usize,
    /// Pieces of lines longer than allowed.
    pub cut: u64,
}

/// Cuts bytes into lines. A line longer than `max` comes in pieces of `max` bytes; what has no
/// newline yet stays, unless `last`.
pub(super) fn split(bytes: &[u8], max: usize, last: bool) -> Lines<'_> {
    let mut out = Lines::default();
    loop {
        let rest = &bytes[out.consumed..];
        let window = &rest[..rest.len().min(max + 1)];
        match memchr::memchr(b'\n', window) {
            Some(end) => {
                out.lines.push(&rest[..end]);
                out.consumed += end + 1;
            }
            None if window.len() > max => {
                out.lines.push(&rest[..max]);
                out.consumed += max;
                out.cut += 1;
            }
            None if last && !rest.is_empty() => {
                out.lines.push(rest);
                out.consumed = bytes.len();
            }
            None => return out,
        }
        out.ends.push(out.consumed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, last: bool, expect: &[&str], consumed: usize, cut: u64) {
        let lines: Vec<&[u8]> = expect.iter().map(|line| line.as_bytes()).collect();
        let found = split(text.as_bytes(), 4, last);
        assert_eq!(found.lines, lines, "{text:?}");
        assert_eq!((found.consumed, found.cut), (consumed, cut), "{text:?}");
        assert_eq!(
            found.ends.last().copied().unwrap_or(0),
            consumed,
            "{text:?}"
        );
    }

    #[test]
    fn lines() {
        check("", true, &[], 0, 0);
        check("a\n\nbc\nd", false, &["a", "", "bc"], 6, 0);
        check("a\nd", true, &["a", "d"], 3, 0);
        check("abcd\n", false, &["abcd"], 5, 0);
        check("abcd", false, &[], 0, 0);
        check("abcde", false, &["abcd"], 4, 1);
        check(
            "abcdefghij\nk\n",
            false,
            &["abcd", "efgh", "ij", "k"],
            13,
            2,
        );
    }
}
