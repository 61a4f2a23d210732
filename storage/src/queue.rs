//! A queue on disk for what must leave this machine: appended durably, read in order, removed when
//! the other side has it. Its segments are those of the [`crate::journal`]; the bytes are specified
//! in `docs/formats/queue.md`.
//!
//! Invariants: what was appended is read again after a crash until it was acknowledged (at least
//! once: the note of what was acknowledged may be older than the truth); the queue holds at most
//! `bytes_max`, the oldest segments go first and their frames are counted; damage is told and
//! skipped; an error of `append` means that the frame is not there, but for that of a failed sync,
//! behind which nothing more is taken until the queue is opened again.

use std::collections::VecDeque;
use std::sync::Arc;

use obs_model::Tenant;

use crate::blob::Blob;
use crate::disk::{Disk, TEMPORARY};
use crate::error::{AppendError, Corrupt, DiskError};
use crate::journal::{
    FIRST_SEQUENCE, FRAME_BYTES_MAX, Journal, Reading, Record, read, records, segment_path,
    segments,
};

/// First bytes of the note; the last one is the version.
const NOTE_MAGIC: [u8; 8] = *b"OBSQACK\x01";
/// Magic, sequence, checksum.
const NOTE_BYTES: usize = 8 + 8 + 4;

/// How a queue is kept.
#[derive(Clone, Copy, Debug)]
pub struct QueueOptions {
    /// Bytes of all segments; the oldest go when there are more.
    pub bytes_max: u64,
    /// Bytes at which a segment ends.
    pub segment_bytes: u64,
    /// Mixed into checksums; hard to guess.
    pub salt: u32,
}

/// One group of records as it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueFrame {
    /// Its number; [`Queue::acknowledge`] takes it.
    pub sequence: u64,
    /// Whose records they are, and what they are.
    pub records: Vec<(Tenant, Vec<u8>)>,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    bytes: u64,
    /// The sequence of its first frame, and of the first one behind it.
    first: u64,
    next: u64,
}

/// A queue; see the module.
#[derive(Debug)]
pub struct Queue {
    disk: Arc<dyn Disk>,
    folder: String,
    options: QueueOptions,
    journal: Journal,
    segments: VecDeque<Segment>,
    /// The next frame to append and to read, and the last one that was acknowledged.
    end: u64,
    reading: u64,
    acknowledged: u64,
    /// The last sequence in the note.
    noted: u64,
    /// The segment that is read: its number, its length when it was opened, its frames.
    open: Option<(u64, Blob, Reading)>,
    /// Frames that went because there was no room.
    dropped: u64,
    damage: Vec<Corrupt>,
    /// Why segments that are done with are still there.
    untrimmed: Option<DiskError>,
    /// Why nothing more may follow: the last frame may be on the disk or not.
    poisoned: Option<String>,
}

impl Queue {
    /// Opens the queue of a folder; everything that was not acknowledged is read again.
    pub fn open(
        disk: Arc<dyn Disk>,
        folder: &str,
        options: QueueOptions,
    ) -> Result<Self, DiskError> {
        let noted = read_note(&*disk, folder)?;
        let mut queue = Self {
            journal: Journal::new(
                Arc::clone(&disk),
                folder.to_owned(),
                options.segment_bytes,
                options.salt,
                (0, FIRST_SEQUENCE),
            ),
            disk,
            folder: folder.to_owned(),
            options,
            segments: VecDeque::new(),
            end: FIRST_SEQUENCE,
            reading: FIRST_SEQUENCE,
            acknowledged: noted,
            noted,
            open: None,
            dropped: 0,
            damage: Vec::new(),
            untrimmed: None,
            poisoned: None,
        };
        queue.scan()?;
        Ok(queue)
    }

    /// Finds what is in the folder.
    fn scan(&mut self) -> Result<(), DiskError> {
        let found = segments(&*self.disk, &self.folder)?;
        let last = found.last().map(|(number, _)| *number);
        let mut expected = None;
        for (number, bytes) in found {
            let path = segment_path(&self.folder, number);
            let blob = self.disk.blob(&path)?;
            // A crash may have torn the last frame of any segment that was the last once, and
            // kept a segment that was removed before another one that is gone.
            let wanted = expected.filter(|next| *next > self.acknowledged);
            let mut reading = read(&path, &blob, true, wanted);
            self.damage.append(&mut reading.damage);
            let next = reading.next_sequence.unwrap_or(self.end).max(self.end);
            let first = next.saturating_sub(reading.frames.len() as u64);
            self.segments.push_back(Segment {
                number,
                bytes,
                first,
                next,
            });
            self.end = next;
            expected = reading.next_sequence;
        }
        // Numbers go on above everything that ever was acknowledged, even with no segment left.
        self.end = self.end.max(self.acknowledged + 1);
        self.journal = Journal::new(
            Arc::clone(&self.disk),
            self.folder.clone(),
            self.options.segment_bytes,
            self.options.salt,
            (last.map_or(0, |number| number + 1), self.end),
        );
        self.reading = self.acknowledged + 1;
        self.trim()
    }

    /// Appends records as one frame, durable on return; gives its sequence. What the disk refuses
    /// behind that (old segments that cannot be removed) is not this frame's fault: it is told by
    /// [`Queue::untrimmed`] and tried again, before the next frame is taken.
    pub fn append(&mut self, records: &[Record<'_>]) -> Result<u64, AppendError> {
        if let Some(reason) = &self.poisoned {
            return Err(AppendError::Poisoned(reason.clone()));
        }
        let bytes = Journal::payload_bytes(records);
        if bytes > FRAME_BYTES_MAX {
            return Err(AppendError::TooLarge {
                bytes: bytes as u64,
                limit: FRAME_BYTES_MAX as u64,
            });
        }
        if self.untrimmed.is_some() {
            self.trim().map_err(AppendError::Disk)?;
            self.untrimmed = None;
        }
        let before = self.journal.next_segment();
        let grown = self.journal.append(records).map_err(|error| {
            if let DiskError::Sync { .. } = error {
                self.poisoned = Some(error.to_string());
            }
            AppendError::Disk(error)
        })?;
        let sequence = self.end;
        self.end += 1;
        let number = match self.journal.next_segment() {
            // A segment was begun for this frame.
            after if after > before => after - 1,
            after => after.saturating_sub(1),
        };
        match self.segments.back_mut() {
            Some(segment) if segment.number == number => {
                segment.bytes += grown;
                segment.next = self.end;
            }
            _ => self.segments.push_back(Segment {
                number,
                bytes: grown,
                first: sequence,
                next: self.end,
            }),
        }
        self.untrimmed = self.trim().err();
        Ok(sequence)
    }

    /// Why segments that are done with could not be removed when the last frame was appended.
    pub fn untrimmed(&self) -> Option<&DiskError> {
        self.untrimmed.as_ref()
    }

    /// The next frame that was not read since the queue was opened.
    pub fn read_next(&mut self) -> Result<Option<QueueFrame>, DiskError> {
        while self.reading < self.end {
            let wanted = self.reading;
            let segment = self.segments.iter().find(|s| wanted < s.next);
            let Some((number, first)) = segment.map(|s| (s.number, s.first)) else {
                return Ok(None);
            };
            self.reading = wanted.max(first);
            let path = segment_path(&self.folder, number);
            let index = (self.reading - first) as usize;
            let known =
                |open: &(u64, Blob, Reading)| open.0 == number && index < open.2.frames.len();
            if !self.open.as_ref().is_some_and(known) {
                let blob = self.disk.blob(&path)?;
                let reading = read(&path, &blob, true, None);
                self.open = Some((number, blob, reading));
            }
            let Some((_, blob, reading)) = &self.open else {
                return Ok(None);
            };
            self.reading += 1;
            let Some(frame) = reading.frames.get(index) else {
                // Damaged: told when the queue was opened, or now.
                self.damage
                    .push(Corrupt::new(path, 0, format!("frame {wanted}")));
                continue;
            };
            let mut found = Vec::new();
            let all = records(&path, blob, frame.clone(), &mut |tenant, payload| {
                found.push((tenant.clone(), payload.to_vec()));
            });
            if let Err(corrupt) = all {
                self.damage.push(corrupt);
            }
            return Ok(Some(QueueFrame {
                sequence: self.reading - 1,
                records: found,
            }));
        }
        Ok(None)
    }

    /// Goes back to the first frame that was not acknowledged: who read on lost what it read.
    pub fn rewind(&mut self) {
        self.reading = self.acknowledged + 1;
    }

    /// Everything up to a sequence is where it should be; whole segments of it go.
    pub fn acknowledge(&mut self, sequence: u64) -> Result<(), DiskError> {
        self.acknowledged = self
            .acknowledged
            .max(sequence.min(self.end.saturating_sub(1)));
        self.trim()
    }

    /// Writes down what was acknowledged, so that it is not read again after a restart.
    pub fn note(&mut self) -> Result<(), DiskError> {
        if self.noted == self.acknowledged {
            return Ok(());
        }
        let mut bytes = NOTE_MAGIC.to_vec();
        bytes.extend_from_slice(&self.acknowledged.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        let path = note_path(&self.folder);
        let temporary = format!("{path}{TEMPORARY}");
        match self.disk.remove(&temporary) {
            Ok(()) | Err(DiskError::Missing { .. }) => {}
            Err(error) => return Err(error),
        }
        let mut file = self.disk.create(&temporary)?;
        file.write(&bytes)?;
        file.sync()?;
        self.disk.rename(&temporary, &path)?;
        self.noted = self.acknowledged;
        Ok(())
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Bytes of the segments that have something to be acknowledged.
    pub fn waiting_bytes(&self) -> u64 {
        let waiting = |segment: &&Segment| segment.next > self.acknowledged + 1;
        self.segments.iter().filter(waiting).map(|s| s.bytes).sum()
    }

    /// Frames that wait to be acknowledged.
    pub fn waiting(&self) -> u64 {
        self.end.saturating_sub(self.acknowledged + 1)
    }

    /// Frames that went because there was no room, since the queue was opened.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// What was found damaged since the last call.
    pub fn take_damage(&mut self) -> Vec<Corrupt> {
        std::mem::take(&mut self.damage)
    }

    /// Removes segments that are done with, and the oldest while there are too many bytes.
    fn trim(&mut self) -> Result<(), DiskError> {
        let mut bytes = self.bytes();
        let mut going = 0;
        // The last segment may be the one that is written.
        while let Some(segment) = self
            .segments
            .get(going)
            .filter(|_| going + 1 < self.segments.len())
        {
            let first_waiting = self.acknowledged + 1;
            if segment.next > first_waiting && bytes <= self.options.bytes_max {
                break;
            }
            bytes -= segment.bytes.min(bytes);
            self.dropped += segment
                .next
                .saturating_sub(segment.first.max(first_waiting));
            self.acknowledged = self.acknowledged.max(segment.next - 1);
            self.reading = self.reading.max(segment.next);
            going += 1;
        }
        if going == 0 {
            return Ok(());
        }
        // A crash may keep some of them, in any order: a note that stays tells that they are done.
        // A disk that is full has no room for a note. Then they go one by one, each durably, so
        // that what a crash leaves has no gap, until there is; meanwhile the last segment has the
        // numbers, and what of it is acknowledged may come once more.
        loop {
            match self.note() {
                Ok(()) => break,
                Err(DiskError::Full { .. }) if going > 0 => {
                    self.remove_first()?;
                    self.disk.sync_folder(&self.folder)?;
                    going -= 1;
                }
                // All that could go went; the note follows when there is room.
                Err(DiskError::Full { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.disk.sync_folder(&self.folder)?;
        for _ in 0..going {
            self.remove_first()?;
        }
        Ok(())
    }

    fn remove_first(&mut self) -> Result<(), DiskError> {
        let Some(segment) = self.segments.front() else {
            return Ok(());
        };
        let path = segment_path(&self.folder, segment.number);
        match self.disk.remove(&path) {
            Ok(()) | Err(DiskError::Missing { .. }) => {}
            Err(error) => return Err(error),
        }
        self.segments.pop_front();
        Ok(())
    }
}

fn note_path(folder: &str) -> String {
    format!("{folder}/acknowledged")
}

/// The sequence in the note; a note that is not whole is as none, and everything is sent again.
fn read_note(disk: &dyn Disk, folder: &str) -> Result<u64, DiskError> {
    let bytes = match disk.blob(&note_path(folder)) {
        Ok(bytes) => bytes,
        Err(DiskError::Missing { .. }) => return Ok(0),
        Err(error) => return Err(error),
    };
    let whole = bytes.len() == NOTE_BYTES
        && bytes.starts_with(&NOTE_MAGIC)
        && bytes[16..] == crc32c::crc32c(&bytes[..16]).to_le_bytes();
    let sequence = bytes.get(8..16).and_then(|b| b.try_into().ok());
    Ok(match sequence {
        Some(sequence) if whole => u64::from_le_bytes(sequence),
        _ => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimDisk;

    const OPTIONS: QueueOptions = QueueOptions {
        bytes_max: 4000,
        segment_bytes: 500,
        salt: 7,
    };

    fn open(disk: &SimDisk) -> Queue {
        Queue::open(Arc::new(disk.clone()), "q", OPTIONS).unwrap()
    }

    fn append(queue: &mut Queue, text: &str) -> u64 {
        let record = Record {
            tenant: &Tenant::anonymous(),
            payload: text.as_bytes(),
        };
        queue.append(&[record]).unwrap()
    }

    fn drain(queue: &mut Queue) -> Vec<(u64, String)> {
        let mut all = Vec::new();
        while let Some(frame) = queue.read_next().unwrap() {
            let text = String::from_utf8(frame.records[0].1.clone()).unwrap();
            all.push((frame.sequence, text));
        }
        all
    }

    #[test]
    fn what_was_not_acknowledged_comes_again() {
        let disk = SimDisk::new(1);
        let mut queue = open(&disk);
        let expect: Vec<_> = (1..=20).map(|n| (n, format!("{n:080}"))).collect();
        for (sequence, text) in &expect[..10] {
            assert_eq!(append(&mut queue, text), *sequence);
        }
        assert_eq!(drain(&mut queue), expect[..10]);
        for (_, text) in &expect[10..] {
            append(&mut queue, text);
        }
        assert_eq!(drain(&mut queue), expect[10..]);
        assert_eq!(queue.waiting(), 20);
        assert_eq!(queue.waiting_bytes(), queue.bytes());
        queue.acknowledge(7).unwrap();
        queue.note().unwrap();
        queue.acknowledge(12).unwrap();
        drop(queue);
        // The note is older than the truth; whole segments behind it are gone all the same.
        let mut queue = open(&disk);
        let again = drain(&mut queue);
        let from = again[0].0;
        assert!((8..=13).contains(&from), "{from}");
        assert_eq!(again, expect[from as usize - 1..]);
        queue.acknowledge(20).unwrap();
        queue.note().unwrap();
        // The last segment stays, but nothing in it waits.
        assert!(queue.bytes() > 0 && queue.waiting_bytes() == 0);
        assert_eq!(append(&mut queue, "x"), 21);
        drop(queue);
        let mut queue = open(&disk);
        assert_eq!(drain(&mut queue), [(21, "x".to_owned())]);
        assert!(queue.take_damage().is_empty());
    }

    #[test]
    fn the_oldest_go_when_there_is_no_room() {
        let disk = SimDisk::new(2);
        let mut queue = open(&disk);
        for n in 1..=100 {
            append(&mut queue, &format!("{n:080}"));
            assert!(queue.bytes() <= OPTIONS.bytes_max + OPTIONS.segment_bytes + 200);
        }
        let left = drain(&mut queue);
        assert_eq!(left.last().map(|l| l.0), Some(100));
        assert_eq!(queue.dropped(), left[0].0 - 1);
        assert_eq!(queue.waiting(), left.len() as u64);
    }

    /// A frame that is larger than the format allows is refused alone; the queue goes on.
    #[test]
    fn an_oversized_frame_is_refused() {
        let disk = SimDisk::new(3);
        let mut queue = open(&disk);
        let payload = vec![b'x'; FRAME_BYTES_MAX];
        let tenant = Tenant::anonymous();
        let record = Record {
            tenant: &tenant,
            payload: &payload,
        };
        let refused = queue.append(&[record]);
        let limit = FRAME_BYTES_MAX as u64;
        assert!(
            matches!(refused, Err(AppendError::TooLarge { limit: told, .. }) if told == limit),
            "{refused:?}"
        );
        assert_eq!(append(&mut queue, "x"), 1);
        assert_eq!(drain(&mut queue), [(1, "x".to_owned())]);
    }

    /// Want of room behind a durable frame does not turn it into an error, which its sender would
    /// take for "send again"; the queue does not grow for ever.
    #[test]
    fn an_error_means_that_the_frame_is_not_there() {
        let disk = SimDisk::new(4);
        let mut queue = open(&disk);
        let (mut last, mut refused) = (0, 0);
        for room in (0..40u64).flat_map(|_| (0..200).step_by(7)) {
            disk.set_capacity(Some(disk.used() + room));
            let tenant = Tenant::anonymous();
            let record = Record {
                tenant: &tenant,
                payload: &[b'x'; 90],
            };
            match queue.append(&[record]) {
                Ok(sequence) => {
                    assert_eq!(sequence, last + 1);
                    last = sequence;
                }
                Err(error) => {
                    assert!(
                        matches!(error, AppendError::Disk(DiskError::Full { .. })),
                        "{error}"
                    );
                    refused += 1;
                }
            }
            disk.set_capacity(None);
            assert!(queue.bytes() <= OPTIONS.bytes_max + 2 * (OPTIONS.segment_bytes + 200));
        }
        assert!(refused > 0);
        assert_eq!(drain(&mut open(&disk)).last().map(|l| l.0), Some(last));
    }

    /// What was sent makes room on a disk that has none, not even for a note; what is not sent
    /// stays, crash or not, and numbers are never given twice.
    #[test]
    fn a_full_disk_is_drained() {
        for seed in 0..30 {
            let disk = SimDisk::new(seed);
            let mut queue = open(&disk);
            for n in 1..=20 {
                append(&mut queue, &format!("{n:080}"));
            }
            disk.set_capacity(Some(disk.used()));
            let record = Record {
                tenant: &Tenant::anonymous(),
                payload: &[b'x'; 90],
            };
            queue.append(&[record]).unwrap_err();
            let before = queue.bytes();
            let upto = 6 + seed % 14;
            while let Some(frame) = queue.read_next().unwrap() {
                if frame.sequence > upto {
                    break;
                }
                // The note has no room before the first segment went.
                queue.acknowledge(frame.sequence).unwrap();
                assert_eq!(queue.waiting(), 20 - frame.sequence);
            }
            assert!(queue.bytes() < before, "{seed}: {} bytes", queue.bytes());
            assert_eq!(append(&mut queue, "y"), 21, "there is room again");
            queue.rewind();
            assert_eq!(drain(&mut queue)[0].0, upto + 1);
            drop(queue);
            disk.crash();
            let mut queue = open(&disk);
            let again = drain(&mut queue);
            let numbers: Vec<u64> = again.iter().map(|(sequence, _)| *sequence).collect();
            assert!(numbers[0] <= upto + 1, "{seed}: {numbers:?}");
            assert!(numbers.is_sorted() && numbers.windows(2).all(|w| w[0] + 1 == w[1]));
            assert_eq!(numbers.last(), Some(&21));
            assert!(queue.take_damage().is_empty(), "{seed}");
        }
    }

    #[test]
    fn nothing_follows_a_failed_sync() {
        let disk = SimDisk::new(5);
        let mut queue = open(&disk);
        append(&mut queue, "a");
        let tenant = Tenant::anonymous();
        let record = Record {
            tenant: &tenant,
            payload: b"b",
        };
        disk.fail_syncs(1);
        let told = queue.append(&[record]);
        let sync = matches!(told, Err(AppendError::Disk(DiskError::Sync { .. })));
        assert!(sync, "{told:?}");
        let told = queue.append(&[record]);
        assert!(matches!(told, Err(AppendError::Poisoned(_))), "{told:?}");
        let mut queue = open(&disk);
        assert!(append(&mut queue, "c") > 1);
    }

    /// Crashes at every change: what `append` returned is there until it was acknowledged.
    #[test]
    fn crashes_lose_nothing_appended() {
        for seed in 0..60 {
            let disk = SimDisk::new(seed);
            let mut durable = 0;
            let mut acknowledged = 0;
            for round in 0..4u64 {
                disk.crash_after(seed % 7 + 3 * round);
                let run = || -> Result<(), AppendError> {
                    let opened = Queue::open(Arc::new(disk.clone()), "q", OPTIONS);
                    let mut queue = opened.map_err(AppendError::Disk)?;
                    for _ in 0..6 {
                        let payload = [b'x'; 90];
                        let tenant = Tenant::anonymous();
                        let record = Record {
                            tenant: &tenant,
                            payload: &payload,
                        };
                        durable = queue.append(&[record])?;
                        if let Some(frame) = queue.read_next().map_err(AppendError::Disk)? {
                            // What fails on the way may have been written down.
                            acknowledged = frame.sequence;
                            let done = queue.acknowledge(frame.sequence);
                            done.and_then(|()| queue.note())
                                .map_err(AppendError::Disk)?;
                        }
                    }
                    Ok(())
                };
                let mut run = run;
                drop(run());
                disk.crash();
            }
            let mut queue = open(&disk);
            let mut found = Vec::new();
            while let Some(frame) = queue.read_next().unwrap() {
                found.push(frame.sequence);
            }
            for sequence in acknowledged + 1..=durable {
                assert!(
                    found.contains(&sequence),
                    "seed {seed}: {sequence} of {found:?}"
                );
            }
        }
    }
}
