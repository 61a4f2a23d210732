//! The journal: numbered, append-only segments of frames. One frame is one group commit: all its
//! records are there, or none. The bytes are specified in `docs/formats/journal.md`.
//!
//! Invariants: `append` returns after the frame is durable; at most the last frame of the last
//! segment is not, so that damage anywhere else is corruption, not a torn write.

use std::ops::Range;
use std::sync::Arc;

use obs_model::Tenant;

use crate::cursor::Cursor;
use crate::disk::{AppendFile, Disk, folder_of, number_of};
use crate::error::{Corrupt, DiskError};
use crate::part::push_short;

/// First bytes of a segment's head; the last one is the version.
pub const SEGMENT_MAGIC: [u8; 8] = *b"OBSJRNL\x01";
/// First bytes of a frame.
pub const FRAME_MAGIC: [u8; 4] = *b"OBSF";
/// Magic, number, first sequence, salt, checksum.
const HEAD_BYTES: usize = 8 + 8 + 8 + 4 + 4;
/// The head is there twice, so that one damaged sector byte does not cost a segment.
const HEADS_BYTES: usize = 2 * HEAD_BYTES;
/// Magic, payload length, sequence, checksum.
const FRAME_HEAD_BYTES: usize = 4 + 4 + 8 + 4;
/// The largest payload of one frame: 64 MiB, far above the 1 MiB of a usual group commit.
pub const FRAME_BYTES_MAX: usize = 64 << 20;
/// The sequence of the first frame of a store.
pub(crate) const FIRST_SEQUENCE: u64 = 1;
/// How many places that look like a frame are tried behind a damaged one. Records may hold the
/// magic by chance or by malice; each try costs a checksum over at most the segment.
const CANDIDATES_MAX: usize = 4096;

/// One record: whose it is and what the signal will be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The tenant.
    pub tenant: &'a Tenant,
    /// The bytes, opaque to the engine.
    pub payload: &'a [u8],
}

/// Writes segments.
#[derive(Debug)]
pub(crate) struct Journal {
    disk: Arc<dyn Disk>,
    folder: String,
    segment_bytes: u64,
    /// Mixed into every checksum, so that a record cannot carry a frame that passes for one.
    salt: u32,
    next_segment: u64,
    next_sequence: u64,
    current: Option<Box<dyn AppendFile>>,
    /// Whether a frame was cut off again since the last sync: should the cut not be durable, what
    /// is left of the frame would pass for corruption once another segment follows.
    cut: bool,
    buffer: Vec<u8>,
}

impl Journal {
    /// A journal that goes on with segment `next_segment` and frame `next_sequence`.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        folder: String,
        segment_bytes: u64,
        salt: u32,
        next: (u64, u64),
    ) -> Self {
        Self {
            disk,
            folder,
            segment_bytes,
            salt,
            next_segment: next.0,
            next_sequence: next.1,
            current: None,
            cut: false,
            buffer: Vec::new(),
        }
    }

    /// Payload bytes that records will have in a frame.
    pub(crate) fn payload_bytes(records: &[Record<'_>]) -> usize {
        let one = |r: &Record<'_>| 1 + r.tenant.as_str().len() + 4 + r.payload.len();
        records.iter().map(one).sum()
    }

    /// Writes all records as one frame, durable on return; returns the bytes that the journal grew.
    /// After an error other than `Sync` the journal is as before. The caller has checked that the
    /// payload is at most [`FRAME_BYTES_MAX`], and calls nothing more after a `Sync` error.
    pub(crate) fn append(&mut self, records: &[Record<'_>]) -> Result<u64, DiskError> {
        self.encode_frame(records);
        let mut grown = self.buffer.len() as u64;
        if self.current.is_none() {
            self.current = Some(self.create_segment()?);
            grown += HEADS_BYTES as u64;
        }
        let file = self.current.as_mut().expect("just created");
        let before = file.bytes();
        if let Err(error) = file.write(&self.buffer) {
            return match file.truncate(before) {
                Ok(()) => {
                    self.cut = true;
                    Err(error)
                }
                // A frame of unknown extent is in the way: nothing may follow it.
                Err(second) => Err(DiskError::Sync {
                    path: self.folder.clone(),
                    reason: format!("{error}, and then {second}"),
                }),
            };
        }
        // Whatever the reason, the frame may be there or not: nothing may follow it.
        file.sync().map_err(|error| match error {
            DiskError::Sync { .. } => error,
            error => DiskError::Sync {
                path: self.folder.clone(),
                reason: error.to_string(),
            },
        })?;
        self.cut = false;
        self.next_sequence += 1;
        if file.bytes() >= self.segment_bytes {
            self.current = None;
        }
        Ok(grown)
    }

    /// The segment that the next frame will be in, unless creating it fails.
    pub(crate) fn segment(&self) -> u64 {
        self.next_segment - u64::from(self.current.is_some())
    }

    /// Tells the sequence of the next frame, when replay has found it.
    pub(crate) fn go_on_with(&mut self, sequence: u64) {
        self.next_sequence = sequence;
    }

    /// The number of the segment that would be created next.
    pub(crate) fn next_segment(&self) -> u64 {
        self.next_segment
    }

    /// Ends the current segment; returns the first segment that later records may be in. The
    /// caller calls nothing more after an error.
    pub(crate) fn seal(&mut self) -> Result<u64, DiskError> {
        if let (true, Some(file)) = (self.cut, &mut self.current) {
            file.sync()?;
        }
        self.cut = false;
        self.current = None;
        Ok(self.next_segment)
    }

    fn encode_frame(&mut self, records: &[Record<'_>]) {
        let payload = Self::payload_bytes(records);
        assert!(payload <= FRAME_BYTES_MAX, "the caller has checked");
        let out = &mut self.buffer;
        out.clear();
        // A rare large frame must not pin its memory for ever.
        out.shrink_to(4 << 20);
        out.extend_from_slice(&FRAME_MAGIC);
        out.extend_from_slice(&(payload as u32).to_le_bytes());
        out.extend_from_slice(&self.next_sequence.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for record in records {
            push_short(out, record.tenant.as_str());
            out.extend_from_slice(&(record.payload.len() as u32).to_le_bytes());
            out.extend_from_slice(record.payload);
        }
        let checksum = frame_checksum(self.salt, out);
        out[16..20].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Creates the next segment with its head, durably: a frame never precedes a durable head.
    fn create_segment(&mut self) -> Result<Box<dyn AppendFile>, DiskError> {
        let number = self.next_segment;
        let path = segment_path(&self.folder, number);
        let mut head = Vec::with_capacity(HEADS_BYTES);
        head.extend_from_slice(&SEGMENT_MAGIC);
        head.extend_from_slice(&number.to_le_bytes());
        head.extend_from_slice(&self.next_sequence.to_le_bytes());
        head.extend_from_slice(&self.salt.to_le_bytes());
        head.extend_from_slice(&crc32c::crc32c(&head).to_le_bytes());
        head.extend_from_within(..);
        let mut file = self.disk.create(&path)?;
        // The number is used up, whatever follows: a file that stays behind is an empty segment.
        self.next_segment += 1;
        let written = file.write(&head);
        if let Err(error) = written {
            drop(file);
            // Best effort; replay removes a segment with half a head.
            drop(self.disk.remove(&path));
            return Err(error);
        }
        file.sync()?;
        self.disk.sync_folder(folder_of(&path))?;
        Ok(file)
    }
}

/// The checksum of a frame: salt, length, sequence and payload.
fn frame_checksum(salt: u32, frame: &[u8]) -> u32 {
    let seed = crc32c::crc32c(&salt.to_le_bytes());
    let head = crc32c::crc32c_append(seed, &frame[4..16]);
    crc32c::crc32c_append(head, &frame[FRAME_HEAD_BYTES..])
}

/// The path of a segment.
pub(crate) fn segment_path(folder: &str, number: u64) -> String {
    format!("{folder}/{number:020}.journal")
}

/// The segments of a folder: number and length, in order.
pub(crate) fn segments(disk: &dyn Disk, folder: &str) -> Result<Vec<(u64, u64)>, DiskError> {
    let entries = disk.list(folder)?;
    let number = |name: &str| number_of(name, ".journal");
    let found = entries
        .iter()
        .filter_map(|e| Some((number(&e.name)?, e.bytes)));
    let mut found: Vec<_> = found.collect();
    found.sort_unstable();
    Ok(found)
}

/// What a segment holds.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// Payloads of the good frames, in order.
    pub(crate) frames: Vec<Range<usize>>,
    /// What is damaged.
    pub(crate) damage: Vec<Corrupt>,
    /// The length without the torn tail, if there is one. Zero: the segment can go.
    pub(crate) cut: Option<u64>,
    /// The sequence that the next frame must have, if any frame or head was read.
    pub(crate) next_sequence: Option<u64>,
}

/// Reads a segment. `expected` is the sequence that its first frame must have, when known.
/// Only the last segment may have a torn tail.
pub(crate) fn read(place: &str, bytes: &[u8], last: bool, expected: Option<u64>) -> Reading {
    let mut reading = Reading::default();
    let heads = read_heads(place, bytes, &mut reading.damage);
    if bytes.len() < HEADS_BYTES || (bytes.len() == HEADS_BYTES && heads.is_none()) {
        // The disk failed while the segment was made; no frame was written to it. Would one be
        // missing after all, then the next segment tells by its first sequence.
        reading.damage.clear();
        reading.cut = Some(0);
        reading.next_sequence = expected;
        return reading;
    }
    let Some((first_sequence, salt)) = heads else {
        reading.next_sequence = expected;
        return reading;
    };
    let mut next = expected.unwrap_or(first_sequence);
    if first_sequence != next {
        let expected = format!("first frame {next}, found {first_sequence}: frames are missing");
        reading.damage.push(Corrupt::new(place, 16, expected));
        next = first_sequence;
    }
    let mut at = HEADS_BYTES;
    while at < bytes.len() {
        if let Some((sequence, payload)) = frame_at(bytes, at, salt).filter(|f| f.0 >= next) {
            if sequence != next {
                let expected = format!("frame {next}, found {sequence}");
                reading
                    .damage
                    .push(Corrupt::new(place, at as u64, expected));
            }
            next = sequence + 1;
            at = payload.end;
            reading.frames.push(payload);
            continue;
        }
        match next_frame(bytes, at + 1, salt, next) {
            Some(good) => {
                reading
                    .damage
                    .push(Corrupt::new(place, at as u64, "a whole frame"));
                // The gap in the sequence is the same finding.
                next = frame_at(bytes, good, salt).map_or(next, |f| f.0);
                at = good;
            }
            None if last => {
                reading.cut = Some(at as u64);
                break;
            }
            None => {
                reading
                    .damage
                    .push(Corrupt::new(place, at as u64, "a whole frame"));
                break;
            }
        }
    }
    reading.next_sequence = Some(next);
    reading
}

/// The sequence that a segment starts with, from its head; `None` when the head is damaged.
pub(crate) fn first_sequence(bytes: &[u8]) -> Option<u64> {
    read_heads("", bytes, &mut Vec::new()).map(|(sequence, _)| sequence)
}

/// First sequence and salt, from the first copy of the head that is whole.
fn read_heads(place: &str, bytes: &[u8], damage: &mut Vec<Corrupt>) -> Option<(u64, u32)> {
    let mut found = None;
    for copy in 0..2 {
        let at = copy * HEAD_BYTES;
        let head = bytes.get(at..at + HEAD_BYTES).filter(|head| {
            let checksum = crc32c::crc32c(&head[..HEAD_BYTES - 4]);
            head.starts_with(&SEGMENT_MAGIC) && head[HEAD_BYTES - 4..] == checksum.to_le_bytes()
        });
        let Some(head) = head else {
            damage.push(Corrupt::new(place, at as u64, "a segment head, version 1"));
            continue;
        };
        let mut cursor = Cursor::new(place, &head[16..], at as u64 + 16);
        let (sequence, salt) = (cursor.u64("first sequence"), cursor.u32("salt"));
        found = found.or(sequence.ok().zip(salt.ok()));
    }
    found
}

/// The frame at an offset, when it is whole: its sequence and where its payload is.
fn frame_at(bytes: &[u8], at: usize, salt: u32) -> Option<(u64, Range<usize>)> {
    let frame = bytes.get(at..)?;
    let mut head = Cursor::new("", frame.get(..FRAME_HEAD_BYTES)?, 0);
    if head.take(4, "magic").ok()? != FRAME_MAGIC {
        return None;
    }
    let length = head.u32("length").ok()? as usize;
    let sequence = head.u64("sequence").ok()?;
    let checksum = head.u32("checksum").ok()?;
    if length > FRAME_BYTES_MAX {
        return None;
    }
    let frame = frame.get(..FRAME_HEAD_BYTES + length)?;
    let whole = frame_checksum(salt, frame) == checksum;
    whole.then(|| (sequence, at + FRAME_HEAD_BYTES..at + frame.len()))
}

/// The offset of the next whole frame from `from` on whose sequence is at least `sequence`.
fn next_frame(bytes: &[u8], from: usize, salt: u32, sequence: u64) -> Option<usize> {
    let tail = bytes.get(from..)?;
    let candidates = tail
        .windows(4)
        .enumerate()
        .filter(|(_, w)| **w == FRAME_MAGIC);
    let mut candidates = candidates.map(|(at, _)| from + at).take(CANDIDATES_MAX);
    candidates.find(|at| frame_at(bytes, *at, salt).is_some_and(|f| f.0 >= sequence))
}

/// The records of a frame, handed out one by one.
pub(crate) fn records(
    place: &str,
    bytes: &[u8],
    frame: Range<usize>,
    each: &mut dyn FnMut(&Tenant, &[u8]),
) -> Result<(), Corrupt> {
    let mut cursor = Cursor::new(place, &bytes[frame.clone()], frame.start as u64);
    while !cursor.is_empty() {
        let tenant = cursor.tenant()?;
        let length = cursor.u32("record length")? as usize;
        each(&tenant, cursor.take(length, "a record")?);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
