//! A part: one immutable file of checksummed sections, written front to back, read through a
//! [`Blob`]. The bytes are specified in `docs/formats/part.md`.
//!
//! Invariants: every byte of the file is covered by a checksum or has one fixed value; no byte of
//! a section is handed out before the checksum of the section was verified.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use obs_model::{Tenant, TimeRange, Timestamp};

use crate::blob::{self, Blob};
use crate::cursor::Cursor;
use crate::disk::{AppendFile, Disk, folder_of};
use crate::error::{Corrupt, DiskError};

/// First bytes of a part; the last one is the version.
pub const HEAD_MAGIC: [u8; 8] = *b"OBSPART\x01";
/// Last bytes of a part.
pub const TAIL_MAGIC: [u8; 8] = *b"OBSPEND\x01";
/// Footer length, footer checksum, file length, magic.
pub const TRAILER_BYTES: usize = 4 + 4 + 8 + 8;
/// Sections are gathered up to this size before they are written: few system calls, little memory.
const BUFFER_BYTES: usize = 256 * 1024;
/// Larger sections are verified in pieces of this size, and given back piece by piece.
const RELEASE_BYTES: usize = 1 << 20;

/// One entry of the footer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Section {
    name: String,
    offset: u64,
    bytes: u64,
    checksum: u32,
}

/// Writes one part. Errors of the disk surface at the end, so that signals need not see them.
pub struct PartWriter {
    kind: &'static str,
    tenant: Tenant,
    rows: u64,
    range: TimeRange,
    sections: Vec<Section>,
    /// Bytes that were handed in so far, buffered or written.
    bytes: u64,
    buffer: Vec<u8>,
    target: Target,
    /// The first error; nothing is written after it.
    failed: Option<DiskError>,
}

enum Target {
    Memory,
    Disk {
        disk: Arc<dyn Disk>,
        path: String,
        /// Created with the first write.
        file: Option<Box<dyn AppendFile>>,
    },
}

impl PartWriter {
    /// A writer whose part stays in memory, for tests of a signal; see `finish_in_memory`.
    pub fn in_memory(kind: &'static str, tenant: &Tenant) -> Self {
        Self::with_target(kind, tenant, Target::Memory)
    }

    /// A writer whose part becomes the file `path`.
    pub(crate) fn on_disk(
        kind: &'static str,
        tenant: &Tenant,
        disk: Arc<dyn Disk>,
        path: String,
    ) -> Self {
        let file = None;
        Self::with_target(kind, tenant, Target::Disk { disk, path, file })
    }

    fn with_target(kind: &'static str, tenant: &Tenant, target: Target) -> Self {
        Self {
            kind,
            tenant: tenant.clone(),
            rows: 0,
            range: TimeRange::new(Timestamp::MAX, Timestamp::MIN),
            sections: Vec::new(),
            bytes: HEAD_MAGIC.len() as u64,
            buffer: HEAD_MAGIC.to_vec(),
            target,
            failed: None,
        }
    }

    /// Adds a whole section.
    pub fn section(&mut self, name: &str, bytes: &[u8]) {
        self.begin(name);
        self.extend(bytes);
    }

    /// Starts a section that is handed in piece by piece with [`Self::extend`]; it ends where the
    /// next one starts. Names are unique within a part and have 1 to 255 bytes.
    pub fn begin(&mut self, name: &str) {
        assert!(
            (1..=255).contains(&name.len()),
            "a section name has 1 to 255 bytes"
        );
        assert!(
            self.sections.iter().all(|s| s.name != name),
            "section {name} is written once"
        );
        self.sections.push(Section {
            name: name.to_owned(),
            offset: self.bytes,
            bytes: 0,
            checksum: 0,
        });
    }

    /// Appends to the section that was begun last.
    pub fn extend(&mut self, bytes: &[u8]) {
        let section = self.sections.last_mut().expect("a section was begun");
        section.bytes += bytes.len() as u64;
        section.checksum = crc32c::crc32c_append(section.checksum, bytes);
        self.push(bytes);
    }

    /// Tells how many rows the part holds and the smallest range that holds them. A part without
    /// rows is not made.
    pub fn rows(&mut self, rows: u64, range: TimeRange) {
        assert!(rows == 0 || !range.is_empty(), "rows lie in a range");
        self.rows = rows;
        self.range = range;
    }

    /// Bytes of the sections so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Ends a part in memory, also one without rows.
    pub fn finish_in_memory(mut self) -> PartReader {
        assert!(
            matches!(self.target, Target::Memory),
            "only a part in memory ends in memory"
        );
        self.push_footer();
        let name = "part in memory".to_owned();
        PartReader::open(name, Blob::heap(self.buffer)).expect("what was just written is readable")
    }

    /// Ends a part on disk, durably. `None`, and no file, when it has no rows.
    pub(crate) fn finish(mut self) -> Result<Option<u64>, DiskError> {
        if self.rows == 0 {
            self.discard();
            return Ok(None);
        }
        self.push_footer();
        self.spill();
        let result = match (self.failed.take(), &mut self.target) {
            (Some(error), _) => Err(error),
            (
                None,
                Target::Disk {
                    disk,
                    path,
                    file: Some(file),
                },
            ) => file
                .sync()
                .and_then(|()| disk.sync_folder(folder_of(path)))
                .map(|()| Some(self.bytes)),
            (None, Target::Memory | Target::Disk { file: None, .. }) => {
                unreachable!("a spill without error has created the file")
            }
        };
        if result.is_err() {
            self.discard();
        }
        result
    }

    /// Removes what was written. A file that stays is not in the manifest and goes at next open.
    pub(crate) fn discard(self) {
        if let Target::Disk {
            disk,
            path,
            file: Some(file),
        } = self.target
        {
            drop(file);
            drop(disk.remove(&path));
        }
    }

    fn push_footer(&mut self) {
        let mut footer = Vec::with_capacity(64 + self.sections.len() * 40);
        push_short(&mut footer, self.kind);
        push_short(&mut footer, self.tenant.as_str());
        footer.extend_from_slice(&self.rows.to_le_bytes());
        footer.extend_from_slice(&self.range.start.nanos().to_le_bytes());
        footer.extend_from_slice(&self.range.end.nanos().to_le_bytes());
        let count = u32::try_from(self.sections.len()).expect("fewer than 2^32 sections");
        footer.extend_from_slice(&count.to_le_bytes());
        for section in &self.sections {
            push_short(&mut footer, &section.name);
            footer.extend_from_slice(&section.offset.to_le_bytes());
            footer.extend_from_slice(&section.bytes.to_le_bytes());
            footer.extend_from_slice(&section.checksum.to_le_bytes());
        }
        let length = u32::try_from(footer.len()).expect("a footer is small");
        let file_bytes = self.bytes + (footer.len() + TRAILER_BYTES) as u64;
        let checksum = crc32c::crc32c(&footer);
        footer.extend_from_slice(&length.to_le_bytes());
        footer.extend_from_slice(&checksum.to_le_bytes());
        footer.extend_from_slice(&file_bytes.to_le_bytes());
        footer.extend_from_slice(&TAIL_MAGIC);
        self.push(&footer);
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if self.failed.is_some() {
            return;
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.spill();
        }
    }

    fn spill(&mut self) {
        let Target::Disk { disk, path, file } = &mut self.target else {
            return;
        };
        if self.failed.is_some() {
            return;
        }
        let result = match file {
            Some(file) => file.write(&self.buffer),
            None => disk
                .create(path)
                .and_then(|created| file.insert(created).write(&self.buffer)),
        };
        self.failed = result.err();
        self.buffer.clear();
    }
}

impl fmt::Debug for PartWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartWriter({} rows, {} bytes)", self.rows, self.bytes)
    }
}

/// Reads one part. A cheap clone of shared state.
#[derive(Clone)]
pub struct PartReader(Arc<Opened>);

struct Opened {
    name: String,
    blob: Blob,
    kind: String,
    tenant: Tenant,
    rows: u64,
    range: TimeRange,
    /// Sorted by name; whether the checksum was verified already.
    sections: Vec<(Section, AtomicBool)>,
}

impl PartReader {
    /// Checks head, trailer and footer; sections are checked when they are asked for.
    pub fn open(name: impl Into<String>, blob: Blob) -> Result<Self, Corrupt> {
        let name = name.into();
        let opened = read_footer(&name, &blob)?;
        let (kind, tenant, rows, range, sections) = opened;
        Ok(Self(Arc::new(Opened {
            name,
            blob,
            kind,
            tenant,
            rows,
            range,
            sections,
        })))
    }

    /// The bytes of a section, verified. A section that is not there is an error.
    pub fn section(&self, name: &str) -> Result<&[u8], Corrupt> {
        match self.section_if_any(name)? {
            Some(bytes) => Ok(bytes),
            None => Err(self.corrupt(0, format!("a section {name}"))),
        }
    }

    /// The bytes of a section, verified; `None` when the part has no such section.
    pub fn section_if_any(&self, name: &str) -> Result<Option<&[u8]>, Corrupt> {
        let sections = &self.0.sections;
        let Ok(index) = sections.binary_search_by(|(s, _)| s.name.as_str().cmp(name)) else {
            return Ok(None);
        };
        let (section, verified) = &sections[index];
        self.verified(section, verified).map(Some)
    }

    /// The bytes of a section, verified, as something that keeps them alive.
    pub fn shared_section(&self, name: &str) -> Result<blob::Section, Corrupt> {
        let bytes = self.section(name)?;
        // A section is a slice of the blob.
        let start = bytes.as_ptr().addr() - self.0.blob.as_ptr().addr();
        let range = start..start + bytes.len();
        Ok(blob::Section::new(self.0.blob.clone(), range))
    }

    fn verified(&self, section: &Section, verified: &AtomicBool) -> Result<&[u8], Corrupt> {
        let (start, end) = (
            section.offset as usize,
            (section.offset + section.bytes) as usize,
        );
        // `open` has checked that every section lies inside the file.
        let bytes = &self.0.blob[start..end];
        if !verified.load(Ordering::Relaxed) {
            if self.checksum(start..end) != section.checksum {
                let expected = format!("checksum {:08x} of {}", section.checksum, section.name);
                return Err(self.corrupt(section.offset, expected));
            }
            verified.store(true, Ordering::Relaxed);
        }
        Ok(bytes)
    }

    /// The checksum of bytes of the file. Of large ones not all are in memory at one time.
    fn checksum(&self, range: std::ops::Range<usize>) -> u32 {
        let blob = &self.0.blob;
        let mut checksum = 0;
        for start in range.clone().step_by(RELEASE_BYTES) {
            let piece = start..range.end.min(start + RELEASE_BYTES);
            checksum = crc32c::crc32c_append(checksum, &blob[piece.clone()]);
            if range.len() > RELEASE_BYTES {
                blob.release(piece);
            }
        }
        checksum
    }

    /// Gives back the memory of bytes of a section that will not be read soon; reading them is as
    /// right as before.
    pub fn release(&self, name: &str, bytes: std::ops::Range<usize>) {
        let sections = &self.0.sections;
        if let Ok(index) = sections.binary_search_by(|(s, _)| s.name.as_str().cmp(name)) {
            let offset = sections[index].0.offset as usize;
            self.0
                .blob
                .release(offset + bytes.start..offset + bytes.end);
        }
    }

    /// Verifies every section, whatever was verified before: bytes on disk rot.
    pub fn verify(&self) -> Result<(), Corrupt> {
        for (section, _) in &self.0.sections {
            self.verified(section, &AtomicBool::new(false))?;
        }
        Ok(())
    }

    /// The names and lengths of the sections, in order of name.
    pub fn sections(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0
            .sections
            .iter()
            .map(|(s, _)| (s.name.as_str(), s.bytes))
    }

    /// What kind of part it is: the `Kind::NAME` of its signal.
    pub fn kind(&self) -> &str {
        &self.0.kind
    }

    /// Whose rows these are.
    pub fn tenant(&self) -> &Tenant {
        &self.0.tenant
    }

    /// The number of rows.
    pub fn rows(&self) -> u64 {
        self.0.rows
    }

    /// The smallest range that holds every row.
    pub fn range(&self) -> TimeRange {
        self.0.range
    }

    /// The file, for messages and caches: unique within a store.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The length of the file.
    pub fn bytes(&self) -> u64 {
        self.0.blob.len() as u64
    }

    /// A finding about this part; `offset` is where in the file.
    pub fn corrupt(&self, offset: u64, expected: impl Into<String>) -> Corrupt {
        Corrupt::new(self.name(), offset, expected)
    }
}

impl fmt::Debug for PartReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = &self.0;
        write!(
            f,
            "Part({}, {} rows, {} to {})",
            part.name, part.rows, part.range.start, part.range.end
        )
    }
}

/// How many bytes at the end of a file of `file_bytes` are the footer and the trailer of a part, by
/// its last [`TRAILER_BYTES`]; `None` where it is no part. They say which bytes the part has: the
/// footer has the checksum of each section, and no byte is outside of the sections.
pub fn tail_bytes(trailer: &[u8], file_bytes: u64) -> Option<u64> {
    let mut cursor = Cursor::new("trailer", trailer, 0);
    let footer = cursor.u32("footer length").ok()?;
    cursor.u32("footer checksum").ok()?;
    let told = cursor.u64("file length").ok()?;
    let whole = cursor.take(8, "magic").ok()? == TAIL_MAGIC && cursor.is_empty();
    let tail = u64::from(footer) + TRAILER_BYTES as u64;
    let fits = tail + HEAD_MAGIC.len() as u64 <= file_bytes;
    (whole && told == file_bytes && fits).then_some(tail)
}

type Footer = (String, Tenant, u64, TimeRange, Vec<(Section, AtomicBool)>);

fn read_footer(name: &str, blob: &Blob) -> Result<Footer, Corrupt> {
    let corrupt = |offset: usize, expected: &str| Corrupt::new(name, offset as u64, expected);
    let bytes: &[u8] = blob;
    if !bytes.starts_with(&HEAD_MAGIC) {
        return Err(corrupt(0, "the magic of a part, version 1"));
    }
    let Some(trailer_at) = bytes.len().checked_sub(TRAILER_BYTES) else {
        return Err(corrupt(bytes.len(), "a trailer of 24 bytes"));
    };
    let mut trailer = Cursor::new(name, &bytes[trailer_at..], trailer_at as u64);
    let footer_bytes = trailer.u32("footer length")? as usize;
    let checksum = trailer.u32("footer checksum")?;
    let file_bytes = trailer.u64("file length")?;
    if trailer.take(8, "magic")? != TAIL_MAGIC {
        return Err(corrupt(
            bytes.len() - 8,
            "the end magic of a part, version 1",
        ));
    }
    if file_bytes != bytes.len() as u64 {
        let expected = format!("a file of {file_bytes} bytes, found {}", bytes.len());
        return Err(corrupt(trailer_at + 8, &expected));
    }
    let footer_at = trailer_at.checked_sub(footer_bytes);
    let Some(footer_at) = footer_at.filter(|at| *at >= HEAD_MAGIC.len()) else {
        return Err(corrupt(trailer_at, "a footer that fits into the file"));
    };
    let footer = &bytes[footer_at..trailer_at];
    if crc32c::crc32c(footer) != checksum {
        let expected = format!("footer checksum {checksum:08x}");
        return Err(corrupt(footer_at, &expected));
    }
    parse_footer(
        Cursor::new(name, footer, footer_at as u64),
        footer_at as u64,
    )
}

fn parse_footer(mut footer: Cursor<'_>, footer_at: u64) -> Result<Footer, Corrupt> {
    let kind = footer.short_text("kind")?.to_owned();
    let tenant = footer.tenant()?;
    let rows = footer.u64("row count")?;
    let start = Timestamp::from_nanos(footer.i64("start")?);
    let end = Timestamp::from_nanos(footer.i64("end")?);
    let range = TimeRange::new(start, end);
    if rows > 0 && range.is_empty() {
        return Err(footer.corrupt("a range that is not empty"));
    }
    let count = footer.u32("section count")?;
    let mut sections = Vec::new();
    let mut next = HEAD_MAGIC.len() as u64;
    for _ in 0..count {
        let section = Section {
            name: footer.short_text("section name")?.to_owned(),
            offset: footer.u64("section offset")?,
            bytes: footer.u64("section length")?,
            checksum: footer.u32("section checksum")?,
        };
        // Sections follow each other without a gap, so that no byte escapes the checksums.
        let end = section.offset.checked_add(section.bytes);
        match end.filter(|end| section.offset == next && *end <= footer_at) {
            Some(end) => next = end,
            None => return Err(footer.corrupt("sections that follow each other")),
        }
        sections.push((section, AtomicBool::new(false)));
    }
    if next != footer_at || !footer.is_empty() {
        return Err(footer.corrupt("sections that fill the file"));
    }
    sections.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    if sections.windows(2).any(|w| w[0].0.name == w[1].0.name) {
        return Err(footer.corrupt("section names that are unique"));
    }
    Ok((kind, tenant, rows, range, sections))
}

/// Appends a text of at most 255 bytes behind its length.
pub(crate) fn push_short(out: &mut Vec<u8>, text: &str) {
    out.push(u8::try_from(text.len()).expect("names have at most 255 bytes"));
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(start: i64, end: i64) -> TimeRange {
        TimeRange::new(Timestamp::from_nanos(start), Timestamp::from_nanos(end))
    }

    fn sample() -> PartWriter {
        let mut writer = PartWriter::in_memory("toy", &Tenant::anonymous());
        writer.section("values", b"some values");
        writer.begin("index");
        writer.extend(b"an ");
        writer.extend(b"index");
        writer.section("empty", b"");
        writer.rows(3, range(-5, 7));
        writer
    }

    fn bytes_of(part: &PartReader) -> Vec<u8> {
        part.0.blob.to_vec()
    }

    #[test]
    fn what_was_written_is_read() {
        let part = sample().finish_in_memory();
        assert_eq!(part.section("values").unwrap(), b"some values");
        assert_eq!(part.section("index").unwrap(), b"an index");
        assert_eq!(part.section("empty").unwrap(), b"");
        assert_eq!(part.section_if_any("other").unwrap(), None);
        assert_eq!(
            part.section("other").unwrap_err().to_string(),
            "part in memory is corrupt at byte 0: expected a section other"
        );
        assert_eq!((part.kind(), part.tenant().as_str()), ("toy", "anonymous"));
        assert_eq!((part.rows(), part.range()), (3, range(-5, 7)));
        let names: Vec<_> = part.sections().collect();
        assert_eq!(names, [("empty", 0), ("index", 8), ("values", 11)]);
        part.verify().unwrap();
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let bytes = bytes_of(&sample().finish_in_memory());
        for at in 0..bytes.len() * 8 {
            let mut broken = bytes.clone();
            broken[at / 8] ^= 1 << (at % 8);
            let found = PartReader::open("p", Blob::heap(broken)).and_then(|p| p.verify());
            assert!(found.is_err(), "bit {at}");
        }
    }

    #[test]
    fn the_tail_of_a_part_is_found_by_its_end() {
        let bytes = bytes_of(&sample().finish_in_memory());
        let check = |bytes: &[u8], length: u64, expect: bool| {
            let end = bytes.len().saturating_sub(TRAILER_BYTES);
            let tail = tail_bytes(&bytes[end..], length);
            assert_eq!(tail.is_some(), expect, "{length}");
            tail.unwrap_or(0)
        };
        let tail = check(&bytes, bytes.len() as u64, true);
        // Magic, "some values", "an index" and nothing are before it.
        assert_eq!(bytes.len() as u64 - tail, 8 + 11 + 8);
        check(&bytes, bytes.len() as u64 + 1, false);
        check(&bytes[..bytes.len() - 1], bytes.len() as u64, false);
        check(b"", 0, false);
        check(&[0xff; TRAILER_BYTES], u64::MAX, false);
    }

    #[test]
    fn every_cut_is_found() {
        let bytes = bytes_of(&sample().finish_in_memory());
        for end in 0..bytes.len() {
            assert!(PartReader::open("p", Blob::heap(bytes[..end].to_vec())).is_err());
        }
    }

    #[test]
    fn a_damaged_section_is_never_handed_out_and_the_others_are() {
        let mut bytes = bytes_of(&sample().finish_in_memory());
        bytes[HEAD_MAGIC.len()] ^= 1;
        let part = PartReader::open("p", Blob::heap(bytes)).unwrap();
        for _ in 0..2 {
            let error = part.section("values").unwrap_err();
            assert_eq!((error.place.as_str(), error.offset), ("p", 8));
        }
        assert_eq!(part.section("index").unwrap(), b"an index");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut framed = HEAD_MAGIC.to_vec();
            framed.extend_from_slice(&bytes);
            framed.extend_from_slice(&TAIL_MAGIC);
            prop_assert!(PartReader::open("p", Blob::heap(framed)).is_err());
        }

        #[test]
        fn arbitrary_footers_do_not_panic(footer in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut file = HEAD_MAGIC.to_vec();
            file.extend_from_slice(&footer);
            let total = (file.len() + TRAILER_BYTES) as u64;
            file.extend_from_slice(&(footer.len() as u32).to_le_bytes());
            file.extend_from_slice(&crc32c::crc32c(&footer).to_le_bytes());
            file.extend_from_slice(&total.to_le_bytes());
            file.extend_from_slice(&TAIL_MAGIC);
            if let Ok(part) = PartReader::open("p", Blob::heap(file)) {
                prop_assert!(part.sections().count() <= 200);
            }
        }
    }
}
