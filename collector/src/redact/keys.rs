//! Streams whose last line was inside of a private key, so that what follows is seen as part of it.
//!
//! Invariants: a stream is open from the moment in which a batch that ends inside of a key is made,
//! and closed only when the batch in which the key ends was taken: a batch that is refused and
//! comes again meets the state that it met before. The table is bounded; of what it has no room for
//! a few bits remain, by which a stream may be taken for open that is not, never the other way
//! round, until it was quiet for [`AGE`]. Where there is a file for it, what is open is in that file
//! before a batch that opens it goes on, so that a restart knows it; closing is not written down.
//! Format: docs/formats/redaction-keys.md.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::{clock, durable};

const MAGIC: &str = "obs-redaction-keys 1";
/// Largest file that is read; more than one with all streams.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Streams that are remembered one by one; more at one time is an attack.
const OPEN_MAX: usize = 4096;
/// How long a key is waited for to go on; nobody logs half a key an hour before the other half.
const AGE: Duration = Duration::from_secs(3600);
/// Bits of what the table has no room for; twice 8 KiB.
const BITS: usize = 1 << 16;

/// The streams that are open, and those that may be.
#[derive(Debug, Default)]
pub(super) struct OpenKeys {
    /// Whether there is any; most machines never see one.
    any: AtomicBool,
    table: Mutex<Table>,
    /// Where it is written down.
    file: Option<PathBuf>,
    /// Held while it is.
    writing: Mutex<()>,
}

#[derive(Debug, Default)]
struct Table {
    streams: HashMap<u64, Stream>,
    evicted: Evicted,
    /// Any stream may be open until then, because nobody knows which were.
    all_until: Option<Instant>,
}

#[derive(Debug)]
struct Stream {
    /// The last batch that was taken ended inside of a key.
    taken: bool,
    /// Batches on their way that end inside of a key.
    on_the_way: u32,
    seen: Instant,
}

/// Bits of what was evicted within this and the last [`AGE`].
#[derive(Debug, Default)]
struct Evicted {
    now: Vec<u64>,
    before: Vec<u64>,
    since: Option<Instant>,
}

impl Evicted {
    fn place(stream: u64) -> (usize, u64) {
        let bit = stream as usize % BITS;
        (bit / 64, 1 << (bit % 64))
    }

    fn has(&self, stream: u64, at: Instant) -> bool {
        let age = self.since.map(|since| at.saturating_duration_since(since));
        let (word, bit) = Self::place(stream);
        let in_bits = |bits: &[u64]| bits.get(word).is_some_and(|w| w & bit != 0);
        match age {
            Some(age) if age < AGE => in_bits(&self.now) || in_bits(&self.before),
            Some(age) if age < AGE * 2 => in_bits(&self.now),
            Some(_) | None => false,
        }
    }

    fn add(&mut self, stream: u64, at: Instant) {
        let age = self.since.map(|since| at.saturating_duration_since(since));
        if age.is_none_or(|age| age >= AGE) {
            let last = std::mem::replace(&mut self.now, vec![0; BITS / 64]);
            let recent = age.is_some_and(|age| age < AGE * 2);
            self.before = if recent { last } else { Vec::new() };
            self.since = Some(at);
        }
        let (word, bit) = Self::place(stream);
        if let Some(bits) = self.now.get_mut(word) {
            *bits |= bit;
        }
    }
}

impl Table {
    /// The stream's place, made where there is none; somebody else's goes when there is no room.
    fn stream(&mut self, stream: u64, at: Instant) -> &mut Stream {
        if self.streams.len() >= OPEN_MAX && !self.streams.contains_key(&stream) {
            self.streams
                .retain(|_, s| s.on_the_way > 0 || at.saturating_duration_since(s.seen) < AGE);
            let oldest = self.streams.iter().min_by_key(|(_, s)| s.seen);
            if let Some((oldest, _)) = oldest.filter(|_| self.streams.len() >= OPEN_MAX) {
                let oldest = *oldest;
                self.streams.remove(&oldest);
                self.evicted.add(oldest, at);
            }
        }
        let entry = self.streams.entry(stream).or_insert(Stream {
            taken: false,
            on_the_way: 0,
            seen: at,
        });
        entry.seen = entry.seen.max(at);
        entry
    }
}

/// What is open, as it is written down: streams, and when each was seen last, in nanoseconds since
/// 1970; when others were that there was no room for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Noted {
    streams: Vec<(u64, i64)>,
    more: Option<i64>,
}

fn encode(noted: &Noted) -> Vec<u8> {
    let mut out = format!("{MAGIC}\n");
    for (stream, seen) in &noted.streams {
        let line = writeln!(out, "{stream:016x}\t{seen}");
        line.expect("a string has room for every line");
    }
    if let Some(seen) = noted.more {
        let line = writeln!(out, "more\t{seen}");
        line.expect("a string has room for every line");
    }
    durable::seal(out)
}

fn decode(bytes: &[u8]) -> Result<Noted, String> {
    let mut lines = durable::unseal(bytes)?.lines();
    if lines.next() != Some(MAGIC) {
        return Err(format!("1:1: expected {MAGIC:?}"));
    }
    let mut noted = Noted::default();
    for (index, line) in lines.enumerate() {
        let pair = line.split_once('\t');
        let pair = pair.and_then(|(what, seen)| Some((what, seen.parse::<i64>().ok()?)));
        match pair {
            Some(("more", seen)) => noted.more = Some(seen),
            Some((stream, seen)) if stream.len() == 16 => {
                let stream = u64::from_str_radix(stream, 16);
                let stream = stream.map_err(|e| format!("{}:1: {e}", index + 2))?;
                noted.streams.push((stream, seen));
            }
            Some(_) | None => return Err(format!("{}:1: expected a stream", index + 2)),
        }
    }
    Ok(noted)
}

fn read(path: &Path) -> Result<Option<Noted>, String> {
    let file = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
        Ok(found) if found.len() > FILE_BYTES_MAX => {
            return Err(format!("larger than {FILE_BYTES_MAX} bytes"));
        }
        Ok(_) => read_file(path),
    };
    decode(&file.map_err(|e| e.to_string())?).map(Some)
}

#[expect(clippy::disallowed_methods, reason = "once, at the start")]
fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    std::fs::read(path)
}

/// When something happened that the clock of the day says it did; now where that is in the future.
fn instant(seen: i64, (now, at): (i64, Instant)) -> Option<Instant> {
    let age = Duration::from_nanos(u64::try_from(now.saturating_sub(seen)).unwrap_or(0));
    // A machine that has not run for so long has not seen it since.
    (age < AGE).then(|| at.checked_sub(age).unwrap_or(at))
}

impl OpenKeys {
    /// Those that are written down in a file. Where it cannot be read, any stream may be open.
    /// Blocks.
    pub(super) fn at(file: PathBuf) -> Self {
        let (now, at) = (clock::now().nanos(), Instant::now());
        let mut table = Table::default();
        match read(&file) {
            Ok(noted) => {
                let noted = noted.unwrap_or_default();
                for (stream, seen) in noted.streams {
                    if let Some(seen) = instant(seen, (now, at)) {
                        table.stream(stream, seen).taken = true;
                    }
                }
                let more = noted.more.and_then(|seen| instant(seen, (now, at)));
                table.all_until = more.map(|seen| seen + AGE);
            }
            Err(error) => {
                tracing::error!(path = %file.display(), error, "open keys are not known");
                table.all_until = Some(at + AGE);
            }
        }
        let any = !table.streams.is_empty() || table.all_until.is_some();
        Self {
            any: any.into(),
            table: Mutex::new(table),
            file: Some(file),
            writing: Mutex::default(),
        }
    }

    /// Writes down what is open; durable on return. Blocks.
    fn note(&self) -> Result<(), String> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, at) = (clock::now().nanos(), Instant::now());
        let time = |seen: Instant| {
            let age = at.saturating_duration_since(seen).as_nanos();
            now.saturating_sub(i64::try_from(age).unwrap_or(i64::MAX))
        };
        let noted = {
            let table = self.lock();
            let all = table.streams.iter().map(|(s, of)| (*s, time(of.seen)));
            // Whatever is in the bits is at most so old.
            let evicted = table.evicted.since.map(|_| now);
            let unknown = table.all_until.filter(|until| *until > at);
            let unknown = unknown.and_then(|until| Some(time(until.checked_sub(AGE)?)));
            Noted {
                streams: all.collect(),
                more: evicted.max(unknown),
            }
        };
        durable::replace(file, &encode(&noted))
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_open(&self, stream: u64, at: Instant) -> bool {
        if !self.any.load(Ordering::Acquire) {
            return false;
        }
        let table = self.lock();
        let known = table.streams.get(&stream).is_some_and(|s| {
            let fresh = at.saturating_duration_since(s.seen) < AGE;
            s.on_the_way > 0 || (s.taken && fresh)
        });
        let all = table.all_until.is_some_and(|until| at < until);
        known || all || table.evicted.has(stream, at)
    }

    /// A batch is on its way that ends inside of a key.
    fn begin(&self, stream: u64, at: Instant) {
        let mut table = self.lock();
        table.stream(stream, at).on_the_way += 1;
        self.any.store(true, Ordering::Release);
    }

    /// What became of a batch that was on its way: `inside` tells how it ended, where it was taken.
    fn end(&self, stream: u64, began: bool, inside: Option<bool>, at: Instant) {
        let mut table = self.lock();
        // Evicted while it was on its way: the bits stand for it.
        let Some(entry) = table.streams.get_mut(&stream) else {
            return;
        };
        if began {
            entry.on_the_way = entry.on_the_way.saturating_sub(1);
        }
        if let Some(inside) = inside {
            entry.taken = inside;
            entry.seen = entry.seen.max(at);
        }
        if !entry.taken && entry.on_the_way == 0 {
            table.streams.remove(&stream);
        }
    }
}

/// What a batch does to the state of its streams, should it be taken. Dropped without a word (whoever
/// waited for the outcome left) everything that may be open stays open.
#[derive(Debug)]
#[must_use]
pub struct KeyChanges {
    keys: Arc<OpenKeys>,
    /// Streams, and whether the batch ends inside of a key.
    streams: Vec<(u64, bool)>,
}

impl KeyChanges {
    pub(super) fn none(keys: &Arc<OpenKeys>) -> Self {
        Self {
            keys: Arc::clone(keys),
            streams: Vec::new(),
        }
    }

    /// A stream of the batch was inside of a key, or is now.
    pub(super) fn add(&mut self, stream: u64, inside: bool, at: Instant) {
        if inside {
            self.keys.begin(stream, at);
        }
        self.streams.push((stream, inside));
    }

    /// Whether streams are open that were not, and this is to be written down.
    pub(crate) fn to_be_noted(&self) -> bool {
        self.keys.file.is_some() && self.streams.iter().any(|(_, inside)| *inside)
    }

    /// What writes down what is open, before the batch goes on. It blocks.
    pub(crate) fn note(&self) -> impl FnOnce() -> Result<(), String> + Send + 'static {
        let keys = Arc::clone(&self.keys);
        move || keys.note()
    }

    /// The batch was taken.
    pub fn taken(mut self) {
        let at = Instant::now();
        for (stream, inside) in std::mem::take(&mut self.streams) {
            self.keys.end(stream, inside, Some(inside), at);
        }
    }

    /// The batch was not taken, and may come again.
    pub fn refused(mut self) {
        let at = Instant::now();
        for (stream, inside) in std::mem::take(&mut self.streams) {
            self.keys.end(stream, inside, None, at);
        }
    }
}

impl Drop for KeyChanges {
    fn drop(&mut self) {
        let at = Instant::now();
        for (stream, inside) in std::mem::take(&mut self.streams) {
            let stays = inside.then_some(true);
            self.keys.end(stream, inside, stays, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn change(keys: &Arc<OpenKeys>, stream: u64, inside: bool, at: Instant) -> KeyChanges {
        let mut changes = KeyChanges::none(keys);
        changes.add(stream, inside, at);
        changes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn what_is_noted_comes_back(streams in proptest::collection::vec(any::<(u64, i64)>(), 0..20), more in any::<Option<i64>>()) {
            let noted = Noted { streams, more };
            prop_assert_eq!(decode(&encode(&noted)), Ok(noted));
        }

        #[test]
        fn arbitrary_files(text in "(obs-redaction-keys 1\n)?[0-9a-f\t\nmore-]{0,80}", sealed in any::<bool>()) {
            let bytes = if sealed { durable::seal(text) } else { text.into_bytes() };
            if let Ok(noted) = decode(&bytes) {
                prop_assert!(noted.streams.len() <= bytes.len());
            }
        }
    }

    #[test]
    fn a_restart_knows_what_was_open() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("redaction.keys");
        let at = Instant::now();
        let keys = Arc::new(OpenKeys::at(file.clone()));
        let changes = change(&keys, 1, true, at);
        assert!(changes.to_be_noted());
        changes.note()().expect("noted");
        let again = OpenKeys::at(file.clone());
        let now = Instant::now();
        assert!(again.is_open(1, now) && !again.is_open(2, now));
        assert!(!again.is_open(1, now + AGE));
        // More than there is room for, and what is no note: any may be open.
        for stream in 0..=OPEN_MAX as u64 {
            change(&keys, stream, true, at).taken();
        }
        changes.note()().expect("noted");
        changes.taken();
        let again = OpenKeys::at(file.clone());
        assert!(again.is_open(u64::MAX, now));
        durable::replace(&file, b"x").expect("written");
        let again = OpenKeys::at(file);
        assert!(again.is_open(u64::MAX, now) && !again.is_open(u64::MAX, now + 2 * AGE));
    }

    #[test]
    fn only_what_was_taken_counts_but_nothing_leaks_meanwhile() {
        let (keys, at) = (Arc::<OpenKeys>::default(), Instant::now());
        let open = || keys.is_open(1, at);
        let begins = change(&keys, 1, true, at);
        assert!(open(), "the rest may come before the begin is stored");
        begins.refused();
        assert!(!open(), "it comes again, and finds what it found");
        change(&keys, 1, true, at).taken();
        assert!(open());
        change(&keys, 1, false, at).refused();
        assert!(open(), "the end comes again, and has key in it");
        let (ends, begins) = (change(&keys, 1, false, at), change(&keys, 1, true, at));
        ends.taken();
        assert!(open(), "another one is on its way");
        drop(begins);
        assert!(open(), "nobody knows whether it was stored");
        change(&keys, 1, false, at).taken();
        assert!(!open() && keys.lock().streams.is_empty());
    }

    #[test]
    fn a_flood_of_begun_keys_closes_nothing_and_is_bounded() {
        let (keys, begin) = (Arc::<OpenKeys>::default(), Instant::now());
        change(&keys, u64::MAX, true, begin).taken();
        let streams = 2 * OPEN_MAX as u64;
        for stream in 0..streams {
            let at = begin + Duration::from_millis(stream + 1);
            change(&keys, stream, true, at).taken();
        }
        let now = begin + Duration::from_secs(60);
        assert_eq!(keys.lock().streams.len(), OPEN_MAX);
        assert!((0..streams).chain([u64::MAX]).all(|s| keys.is_open(s, now)));
        assert!(!keys.is_open(streams + 1, now));
        // All of it is forgotten in time.
        let later = now + 3 * AGE;
        assert!((0..streams).all(|s| !keys.is_open(s, later)));
        change(&keys, 7, true, later).taken();
        assert!(keys.is_open(7, later));
    }
}
