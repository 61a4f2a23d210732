//! A spool: the queue on disk of what waits to be sent to one place, as those who write to it and
//! the one who sends from it share it.
//!
//! Invariants: what was appended is durable; a group is one frame, so that all of it is there or
//! none; where there is no room writers are refused, or the oldest goes, as configured; a fault of
//! the disk closes the queue, and the next one who needs it opens it again.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use obs_model::Tenant;
use obs_storage::queue::{Queue, QueueFrame, QueueOptions};
use obs_storage::{AppendError, Disk, DiskError, Record};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_64;

use crate::config::WhenFull;
use crate::sink::SinkError;

/// Bytes of a queue where nothing is configured.
pub const QUEUE_BYTES_DEFAULT: u64 = 1 << 30;
/// Bytes of batches that are made durable together: a few of these are in memory at one time, and
/// a frame may have 64 MiB. A batch that is larger goes alone.
pub(crate) const GROUP_BYTES: usize = 8 << 20;
/// Bytes of one segment of a queue: small enough that little is sent again after a restart.
const SEGMENT_BYTES: u64 = 4 << 20;
/// Batches that are remembered to be here while their senders were told to come again.
const HALVES_MAX: usize = 4096;

/// How queues are kept.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of each.
    pub bytes_max: u64,
    /// What happens then.
    pub when_full: WhenFull,
}

/// A queue and who waits for it.
#[derive(Debug)]
pub(crate) struct Spool {
    /// Whom it is for, in words.
    pub(crate) name: String,
    disk: Arc<dyn Disk>,
    folder: String,
    options: QueueOptions,
    pub(crate) bounds: Bounds,
    /// Whether the queue is to take nothing more, as it was seen last: nobody waits for its lock,
    /// which is held across the disk, to know that.
    full: AtomicBool,
    /// `None` after a failure, until it is opened again.
    queue: Mutex<Option<Queue>>,
    /// Nobody sends what is in it any more; changes under the lock of the queue.
    closed: AtomicBool,
    /// There is something to send.
    pub(crate) wake: Notify,
    halves: Mutex<Halves>,
    faults: AtomicU64,
    /// Frames that were dropped by queues that were closed since.
    dropped_before: AtomicU64,
}

/// What is in a spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Bytes of all segments.
    pub(crate) bytes: u64,
    /// Bytes of those in which something waits.
    pub(crate) waiting_bytes: u64,
    /// Frames that wait.
    pub(crate) frames: u64,
    /// Frames that went because there was no room.
    pub(crate) dropped: u64,
}

/// Fingerprints of batches that are here, but not everywhere where they should be: their senders
/// come again with them.
#[derive(Debug, Default)]
struct Halves {
    all: HashSet<u64>,
    order: VecDeque<u64>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Spool {
    /// Opens the queue of a folder. Blocks. `salt` is hard to guess.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        folder: String,
        name: String,
        bounds: Bounds,
        salt: u32,
    ) -> Result<Self, DiskError> {
        let options = QueueOptions {
            bytes_max: match bounds.when_full {
                WhenFull::DropOldest => bounds.bytes_max,
                // What is not full yet takes one group more.
                WhenFull::Refuse => u64::MAX,
            },
            segment_bytes: SEGMENT_BYTES.min(bounds.bytes_max.max(1)),
            salt,
        };
        let queue = Queue::open(Arc::clone(disk), &folder, options)?;
        let spool = Self {
            name,
            disk: Arc::clone(disk),
            folder,
            options,
            bounds,
            full: AtomicBool::new(false),
            queue: Mutex::new(Some(queue)),
            closed: AtomicBool::new(false),
            wake: Notify::new(),
            halves: Mutex::default(),
            faults: AtomicU64::new(0),
            dropped_before: AtomicU64::new(0),
        };
        spool.look(lock(&spool.queue).as_ref());
        Ok(spool)
    }

    /// Whether its queue is to take nothing more.
    fn look(&self, queue: Option<&Queue>) -> bool {
        let full = queue.is_some_and(|q| q.waiting_bytes() >= self.bounds.bytes_max);
        let full = full && self.bounds.when_full == WhenFull::Refuse;
        self.full.store(full, Ordering::Relaxed);
        full
    }

    /// Why nothing more can be appended now, if that is so.
    pub(crate) fn crowded(&self) -> Option<SinkError> {
        self.full.load(Ordering::Relaxed).then(|| self.full_error())
    }

    fn full_error(&self) -> SinkError {
        SinkError::Unavailable {
            reason: format!(
                "the queue of what waits to be sent to {} has obs.collector.buffer.max_size = {} \
                 bytes; send again later",
                self.name, self.bounds.bytes_max
            ),
        }
    }

    /// Appends a group, durably. Blocks. `Refused` is a group that no frame can hold, which
    /// sending again does not help; anything else may be taken later.
    pub(crate) fn append(&self, records: &[Record<'_>]) -> Result<(), SinkError> {
        let mut queue = lock(&self.queue);
        if self.closed.load(Ordering::Relaxed) {
            // Whoever comes again meets the destinations that there are.
            let reason = format!("{} is no destination any more; send again", self.name);
            return Err(SinkError::Unavailable { reason });
        }
        if self.look(queue.as_ref()) {
            return Err(self.full_error());
        }
        let opened = self.opened(&mut queue).map_err(AppendError::Disk);
        let appended = opened.and_then(|open| {
            open.append(records)?;
            if let Some(error) = open.untrimmed() {
                tracing::warn!(destination = self.name, %error, "old parts of a queue stay");
                self.fault();
            }
            Ok(())
        });
        let told = appended.map_err(|error| {
            let reason = format!("not queued for {}: {error}", self.name);
            if let AppendError::TooLarge { .. } = error {
                return SinkError::Refused { reason };
            }
            self.fault();
            // A full disk leaves the queue as it was. After anything else what is on disk is
            // found out by opening it again.
            if !matches!(error, AppendError::Disk(DiskError::Full { .. })) {
                self.close(&mut queue);
            }
            SinkError::Unavailable { reason }
        });
        self.look(queue.as_ref());
        if told.is_ok() {
            self.wake.notify_one();
        }
        told
    }

    fn close(&self, queue: &mut Option<Queue>) {
        if let Some(closed) = queue.take() {
            let dropped = closed.dropped();
            self.dropped_before.fetch_add(dropped, Ordering::Relaxed);
        }
    }

    /// The queue, opened again after a failure.
    fn opened<'a>(&self, queue: &'a mut Option<Queue>) -> Result<&'a mut Queue, DiskError> {
        if queue.is_none() {
            let opened = Queue::open(Arc::clone(&self.disk), &self.folder, self.options)?;
            *queue = Some(opened);
        }
        queue.as_mut().ok_or_else(|| DiskError::Missing {
            path: self.folder.clone(),
        })
    }

    /// The next frame to send; none too when the disk fails, which is told. Blocks.
    pub(crate) fn next(&self) -> Option<QueueFrame> {
        let mut queue = lock(&self.queue);
        let read = self.opened(&mut queue).and_then(|queue| {
            let frame = queue.read_next()?;
            for damage in queue.take_damage() {
                tracing::error!(destination = self.name, %damage, "a queue is damaged");
                self.fault();
            }
            Ok(frame)
        });
        read.unwrap_or_else(|error| {
            tracing::error!(destination = self.name, %error, "a queue cannot be read");
            self.fault();
            None
        })
    }

    /// Takes nothing more, if nothing waits and it is not to go on. Says whether that is so.
    pub(crate) fn finish(&self, stop: &CancellationToken) -> bool {
        let queue = lock(&self.queue);
        let empty = queue.as_ref().is_some_and(|queue| queue.waiting() == 0);
        let done = empty && !stop.is_cancelled();
        if done {
            self.closed.store(true, Ordering::Relaxed);
        }
        done
    }

    /// Takes frames again, for another sender, who begins with the first one that is not
    /// acknowledged once the one before has ended.
    pub(crate) fn go_on(&self) {
        let _queue = lock(&self.queue);
        self.closed.store(false, Ordering::Relaxed);
    }

    /// The next frame to send is the first one again that the other side is not known to have: who
    /// took the others lost them. Blocks.
    pub(crate) fn rewind(&self) {
        let broken = self.queue.is_poisoned();
        self.queue.clear_poison();
        let mut queue = lock(&self.queue);
        match queue.as_mut().filter(|_| !broken) {
            Some(queue) => queue.rewind(),
            // What it is in the middle of is found out by opening it again.
            None => self.close(&mut queue),
        }
    }

    /// The other side has everything up to a frame; `note` has that written down. Blocks.
    pub(crate) fn acknowledge(&self, sequence: u64, note: bool) {
        let mut queue = lock(&self.queue);
        let done = self.opened(&mut queue).and_then(|queue| {
            queue.acknowledge(sequence)?;
            match note {
                true => queue.note(),
                false => Ok(()),
            }
        });
        self.look(queue.as_ref());
        if let Err(error) = done {
            tracing::error!(destination = self.name, %error, "a queue cannot be noted");
            self.fault();
        }
    }

    /// By what the records are known that wait. Blocks.
    pub(crate) fn prints(&self) -> HashSet<u64> {
        let mut prints = HashSet::new();
        while let Some(frame) = self.next() {
            let all = frame.records.iter();
            prints.extend(all.map(|(tenant, payload)| print_of(tenant, payload)));
        }
        if let Some(queue) = lock(&self.queue).as_mut() {
            queue.rewind();
        }
        prints
    }

    /// What is in it.
    pub(crate) fn held(&self) -> Held {
        let before = self.dropped_before.load(Ordering::Relaxed);
        let queue = lock(&self.queue);
        let held = queue.as_ref().map(|queue| Held {
            bytes: queue.bytes(),
            waiting_bytes: queue.waiting_bytes(),
            frames: queue.waiting(),
            dropped: queue.dropped() + before,
        });
        held.unwrap_or(Held {
            dropped: before,
            ..Held::default()
        })
    }

    pub(crate) fn fault(&self) {
        self.faults.fetch_add(1, Ordering::Relaxed);
    }

    /// Faults of the disk and damage so far.
    pub(crate) fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    /// Remembers a batch that is here, and whose sender was told to come again because it is not
    /// elsewhere.
    pub(crate) fn remember(&self, fingerprint: u64) {
        let mut halves = lock(&self.halves);
        if halves.all.insert(fingerprint) {
            halves.order.push_back(fingerprint);
        }
        if halves.order.len() > HALVES_MAX
            && let Some(oldest) = halves.order.pop_front()
        {
            halves.all.remove(&oldest);
        }
    }

    /// Whether a batch that comes again is here.
    pub(crate) fn has(&self, fingerprint: u64) -> bool {
        lock(&self.halves).all.contains(&fingerprint)
    }

    /// A batch is everywhere where it should be: should it come once more, it is another one.
    pub(crate) fn forget(&self, fingerprint: u64) {
        let mut halves = lock(&self.halves);
        if halves.all.remove(&fingerprint) {
            halves.order.retain(|known| *known != fingerprint);
        }
    }
}

/// By what a record is known.
pub(crate) fn print_of(tenant: &Tenant, payload: &[u8]) -> u64 {
    xxh3_64(tenant.as_str().as_bytes()) ^ xxh3_64(payload)
}

/// A name of a folder for any name of a destination.
pub(crate) fn folder_name(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let mut folder = String::new();
    for c in name.chars() {
        if plain(c) {
            folder.push(c);
        } else {
            folder.push_str(&format!("_{:x}_", u32::from(c)));
        }
    }
    folder
}

/// Cuts what waits into groups of at most [`GROUP_BYTES`], in order; what has more alone is a group
/// of its own.
pub(crate) fn groups<T>(all: Vec<T>, bytes: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut groups: Vec<Vec<T>> = Vec::new();
    let mut held = usize::MAX;
    for one in all {
        let size = bytes(&one);
        match groups.last_mut() {
            Some(last) if held.saturating_add(size) <= GROUP_BYTES => {
                held += size;
                last.push(one);
            }
            _ => {
                held = size;
                groups.push(vec![one]);
            }
        }
    }
    groups
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::AtomicBool;

    use obs_storage::SimDisk;
    use obs_storage::blob::Blob;
    use obs_storage::disk::{AppendFile, Entry};
    use obs_storage::journal::FRAME_BYTES_MAX;

    use super::*;

    /// A disk whose next read of a file panics, once it is told to.
    #[derive(Debug)]
    pub(crate) struct Panicking(pub(crate) SimDisk, pub(crate) AtomicBool);

    impl Disk for Panicking {
        fn create(&self, path: &str) -> Result<Box<dyn AppendFile>, DiskError> {
            self.0.create(path)
        }

        fn append(&self, path: &str) -> Result<Box<dyn AppendFile>, DiskError> {
            Disk::append(&self.0, path)
        }

        fn blob(&self, path: &str) -> Result<Blob, DiskError> {
            assert!(!self.1.swap(false, Ordering::Relaxed), "as a test wants it");
            self.0.blob(path)
        }

        fn link(&self, from: &str, to: &str) -> Result<(), DiskError> {
            self.0.link(from, to)
        }

        fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
            self.0.rename(from, to)
        }

        fn remove(&self, path: &str) -> Result<(), DiskError> {
            self.0.remove(path)
        }

        fn list(&self, folder: &str) -> Result<Vec<Entry>, DiskError> {
            self.0.list(folder)
        }

        fn sync_folder(&self, folder: &str) -> Result<(), DiskError> {
            self.0.sync_folder(folder)
        }
    }

    fn spool(disk: &SimDisk) -> Spool {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let bounds = Bounds {
            bytes_max: 1 << 20,
            when_full: WhenFull::Refuse,
        };
        Spool::open(&disk, "a".into(), "there".into(), bounds, 1).expect("opened")
    }

    fn append(spool: &Spool, payload: &[u8]) -> Result<(), SinkError> {
        let tenant = Tenant::anonymous();
        spool.append(&[Record {
            tenant: &tenant,
            payload,
        }])
    }

    #[test]
    fn groups_are_cut_by_bytes() {
        let check = |sizes: &[usize], expect: &[&[usize]]| {
            let cut = groups(sizes.to_vec(), |size| *size);
            assert_eq!(cut, expect, "{sizes:?}");
        };
        check(&[], &[]);
        check(&[1, 2, 3], &[&[1, 2, 3]]);
        let half = GROUP_BYTES / 2;
        check(&[half, half, 1], &[&[half, half], &[1]]);
        let huge = GROUP_BYTES * 20;
        check(&[1, huge, 1, 1], &[&[1], &[huge], &[1, 1]]);
    }

    #[test]
    fn what_no_frame_can_hold_is_refused_for_good_and_alone() {
        let disk = SimDisk::new(1);
        let spool = spool(&disk);
        let told = append(&spool, &vec![b'x'; FRAME_BYTES_MAX]);
        assert!(
            matches!(&told, Err(SinkError::Refused { reason }) if reason.contains("67108864")),
            "{told:?}"
        );
        assert_eq!(append(&spool, b"x"), Ok(()));
        assert_eq!(spool.next().map(|frame| frame.sequence), Some(1));
    }

    #[test]
    fn faults_of_the_disk_are_for_later() {
        let disk = SimDisk::new(2);
        let spool = spool(&disk);
        assert_eq!(append(&spool, b"a"), Ok(()));
        disk.set_capacity(Some(disk.used()));
        for _ in 0..2 {
            let told = append(&spool, b"b");
            assert!(
                matches!(told, Err(SinkError::Unavailable { .. })),
                "{told:?}"
            );
        }
        disk.set_capacity(None);
        assert_eq!(append(&spool, b"c"), Ok(()));
        disk.fail_syncs(1);
        let told = append(&spool, b"d");
        assert!(
            matches!(told, Err(SinkError::Unavailable { .. })),
            "{told:?}"
        );
        assert_eq!(append(&spool, b"e"), Ok(()));
        assert_eq!(spool.faults(), 3);
        let mut found = Vec::new();
        while let Some(frame) = spool.next() {
            found.push(frame.records[0].1.clone());
        }
        // Whether what could not be synced is there is not known; its sender comes again.
        found.retain(|payload| payload != b"d");
        assert_eq!(found, [b"a", b"c", b"e"]);
    }

    #[test]
    fn halves_are_bounded() {
        let spool = spool(&SimDisk::new(3));
        for one in 0..=HALVES_MAX as u64 {
            spool.remember(one);
            spool.remember(one);
        }
        assert!(!spool.has(0) && spool.has(1));
        spool.forget(1);
        assert!(!spool.has(1) && spool.has(2));
    }

    #[test]
    fn names_of_folders() {
        assert_eq!(folder_name("a-B9"), "a-B9");
        assert_eq!(folder_name("../x y"), "_2e__2e__2f_x_20_y");
    }
}
