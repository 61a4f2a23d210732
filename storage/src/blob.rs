//! The bytes of one immutable file, mapped or on the heap. The only place with `unsafe`.
//!
//! Invariants: a mapped file is never written or truncated by us after it was mapped; parts are
//! immutable and only ever unlinked, which leaves the mapping intact. Given back or not, the bytes
//! are the same.

use std::fmt;
use std::io;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// Immutable bytes; a cheap clone of a shared buffer or mapping.
#[derive(Clone)]
pub struct Blob(Source);

#[derive(Clone)]
enum Source {
    Heap(Arc<[u8]>),
    Map(Arc<memmap2::Mmap>),
}

#[expect(unsafe_code, reason = "a promise that the compiler cannot check")]
// SAFETY: neither a shared slice nor a mapping moves its bytes as long as a clone of the handle is
// there, and nothing hands out a mutable reference to either.
unsafe impl stable_deref_trait::StableDeref for Section {}

impl Blob {
    /// Bytes on the heap.
    pub fn heap(bytes: Vec<u8>) -> Self {
        Self(Source::Heap(bytes.into()))
    }

    /// Maps a whole file of that many bytes. An empty file needs no mapping.
    pub(crate) fn map(file: impl memmap2::MmapAsRawDesc, bytes: u64) -> io::Result<Self> {
        if bytes == 0 {
            return Ok(Self::heap(Vec::new()));
        }
        #[expect(unsafe_code, reason = "mapping a file is unsafe by nature")]
        // SAFETY: only files of the data directory are mapped, which is locked against other
        // processes of ours; parts are immutable after their creation and journal segments are
        // mapped only at replay, before anything writes to them.
        let map = unsafe { memmap2::Mmap::map(file)? };
        Ok(Self(Source::Map(Arc::new(map))))
    }

    /// Gives back the memory of bytes that will not be read soon, in whole pages, the
    /// last one only if it ends there. They are read from the file again when they are asked for.
    pub(crate) fn release(&self, range: Range<usize>) {
        let Source::Map(map) = &self.0 else {
            return;
        };
        // The mapping begins at a page.
        let from = range.start / PAGE_BYTES * PAGE_BYTES;
        let to = range.end.min(map.len()) / PAGE_BYTES * PAGE_BYTES;
        if from >= to {
            return;
        }
        let dont_need = memmap2::UncheckedAdvice::DontNeed;
        #[expect(unsafe_code, reason = "the advice discards pages")]
        // SAFETY: the pages are of a file that is mapped to be read only, so that none of them was
        // changed: whoever reads them, also at this moment, gets them from the file again.
        let advised = unsafe { map.unchecked_advise_range(dont_need, from, to - from) };
        // It is advice: where it is not taken, the pages stay.
        drop(advised);
    }
}

/// The largest page of the machines that obs runs on; a multiple of the smaller ones.
const PAGE_BYTES: usize = 64 << 10;

impl Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Source::Heap(bytes) => bytes,
            Source::Map(map) => map,
        }
    }
}

/// Some of the bytes of a blob, which it keeps alive. They stay where they are.
#[derive(Clone, Debug)]
pub struct Section {
    blob: Blob,
    range: Range<usize>,
}

impl Section {
    /// The bytes of the range; it is cut to what is there.
    pub fn new(blob: Blob, range: Range<usize>) -> Self {
        let end = range.end.min(blob.len());
        let range = range.start.min(end)..end;
        Self { blob, range }
    }
}

impl Deref for Section {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.blob[self.range.clone()]
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.0 {
            Source::Heap(_) => "heap",
            Source::Map(_) => "map",
        };
        write!(f, "Blob({source}, {} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_mapping_outlives_the_unlinked_file() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"hello").unwrap();
        let blob = Blob::map(&file, 5).unwrap();
        drop(file);
        assert_eq!(&*blob, b"hello");
        assert_eq!(&*blob.clone(), &*Blob::heap(b"hello".to_vec()));
    }

    #[test]
    fn what_was_given_back_is_read_again() {
        let resident = |blob: &Blob| {
            let address = format!("{:x}-", blob.as_ptr() as usize);
            let all = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let own = all.split_once(&address).unwrap().1;
            let line = own.lines().find(|line| line.starts_with("Rss:")).unwrap();
            line.split_whitespace()
                .nth(1)
                .unwrap()
                .parse::<usize>()
                .unwrap()
        };
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..4 << 20).map(|n: u32| (n >> 12) as u8).collect();
        file.write_all(&bytes).unwrap();
        let blob = Blob::map(&file, bytes.len() as u64).unwrap();
        let other = blob.clone();
        assert!(*blob == bytes && resident(&blob) == 4096);
        blob.release(1 << 20..(3 << 20) + 1);
        assert!(resident(&blob) <= 2048, "{}", resident(&blob));
        blob.release(100..200);
        blob.release(0..usize::MAX);
        assert_eq!(resident(&blob), 0);
        assert!(*other == bytes);
        Blob::heap(bytes).release(0..1);
    }

    #[test]
    fn an_empty_file_is_an_empty_blob() {
        assert!(
            Blob::map(&tempfile::tempfile().unwrap(), 0)
                .unwrap()
                .is_empty()
        );
    }
}
