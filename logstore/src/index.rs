//! The token index of a part: a tantivy index of one segment whose documents are the groups of
//! rows, in order, and whose terms are their tokens.
//!
//! The segment's files stand in one section of the part and are read where they stand, through
//! [`PartDirectory`]; nothing else is ever written there. The segment's random name is replaced by
//! a fixed one, so that the same rows make the same bytes. `docs/formats/log-part.md`.
//! Invariants: a group is a document of every term that was told for it; bytes reach tantivy, which
//! trusts its files, only after the checksum of the section was verified.

use std::fmt;
use std::io;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memchr::memmem::Finder;
use obs_storage::codec::{Reader, put_bytes, varint};
use obs_storage::{Corrupt, PartSection};
use roaring::RoaringBitmap;
use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    Directory, DirectoryLock, FileHandle, Lock, OwnedBytes, RamDirectory, WatchCallback,
    WatchHandle, WritePtr,
};
use tantivy::indexer::SingleSegmentIndexWriter;
use tantivy::postings::TermInfo;
use tantivy::schema::{BytesOptions, Field, IndexRecordOption, Schema};
use tantivy::{
    DocSet, Index, IndexSettings, InvertedIndexReader, SegmentReader, TERMINATED, TantivyDocument,
};

use crate::filter;
use crate::tokens::{Cause, GroupTokens, Need};

/// First bytes of terms: what kind of token follows.
const WORD: u8 = b'w';
const TRIGRAM: u8 = b't';
const LENGTH: u8 = b'l';
const ESCAPES: u8 = b'e';

/// The one field.
const FIELD: &str = "token";
/// From this tantivy derives the size that its table of terms begins with. Small in tests, which
/// make thousands of indexes.
const BUILD_BYTES: usize = if cfg!(test) { 1 << 18 } else { 1 << 20 };
const META: &str = "meta.json";
/// The name that the segment has in a part.
const SEGMENT: &str = "00000000000000000000000000000000";
const SEGMENT_DASHED: &str = "00000000-0000-0000-0000-000000000000";
/// The files of a segment by their extensions: those of tantivy that an index without
/// deletions has.
const EXTENSIONS: [&str; 6] = ["fast", "fieldnorm", "idx", "pos", "store", "term"];

fn schema() -> (Schema, Field) {
    let mut schema = Schema::builder();
    let field = schema.add_bytes_field(FIELD, BytesOptions::default().set_indexed());
    (schema.build(), field)
}

fn failed(what: &str, error: impl fmt::Display) -> Corrupt {
    Corrupt::new("token index", 0, format!("{what}: {error}"))
}

/// Collects the tokens of groups.
pub(crate) struct Builder {
    writer: Option<SingleSegmentIndexWriter>,
    directory: RamDirectory,
    field: Field,
    term: Vec<u8>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            writer: None,
            directory: RamDirectory::default(),
            field: schema().1,
            term: Vec::new(),
        }
    }

    /// The next group has these tokens; they are taken out.
    pub(crate) fn group(&mut self, tokens: &mut GroupTokens) -> Result<(), Corrupt> {
        let mut document = TantivyDocument::default();
        let mut add = |kind: u8, token: &[u8]| {
            self.term.clear();
            self.term.push(kind);
            self.term.extend_from_slice(token);
            document.add_bytes(self.field, &self.term);
        };
        tokens.words.drain().for_each(|word| add(WORD, &word));
        tokens.trigrams.drain(|trigram| add(TRIGRAM, &trigram));
        tokens.lengths.drain().for_each(|l| add(LENGTH, &[l]));
        if tokens.escapes {
            add(ESCAPES, &[]);
        }
        self.document(document)
    }

    /// The next group has these terms.
    pub(crate) fn terms<'t>(
        &mut self,
        terms: impl Iterator<Item = &'t [u8]>,
    ) -> Result<(), Corrupt> {
        let mut document = TantivyDocument::default();
        terms.for_each(|term| document.add_bytes(self.field, term));
        self.document(document)
    }

    fn document(&mut self, document: TantivyDocument) -> Result<(), Corrupt> {
        if self.writer.is_none() {
            let settings = IndexSettings {
                docstore_compress_dedicated_thread: false,
                ..IndexSettings::default()
            };
            let writer = Index::builder()
                .schema(schema().0)
                .settings(settings)
                .single_segment_index_writer(self.directory.clone(), BUILD_BYTES)
                .map_err(|e| failed("begin", e))?;
            self.writer = Some(writer);
        }
        let writer = self.writer.as_mut().expect("made just now");
        let added = writer.add_document(document);
        added.map_err(|e| failed("add a group", e))
    }

    /// Appends the section. Without groups it is empty.
    pub(crate) fn finish(self, out: &mut Vec<u8>) -> Result<(), Corrupt> {
        let Some(writer) = self.writer else {
            return Ok(());
        };
        let index = writer.finalize().map_err(|e| failed("finish", e))?;
        let metas = index.searchable_segment_metas();
        let metas = metas.map_err(|e| failed("finish", e))?;
        let [segment] = metas.as_slice() else {
            return Err(failed("finish", "more than one segment"));
        };
        let read = |path: &Path| {
            let bytes = self.directory.atomic_read(path);
            bytes.map_err(|e| failed("finish", e))
        };
        let mut files: Vec<(String, Vec<u8>)> = Vec::new();
        let id = segment.id().uuid_string();
        for extension in EXTENSIONS {
            let path = PathBuf::from(format!("{id}.{extension}"));
            if self.directory.exists(&path).is_ok_and(|exists| exists) {
                files.push((extension.to_owned(), read(&path)?));
            }
        }
        let meta = read(Path::new(META))?;
        let meta = String::from_utf8(meta).map_err(|e| failed("finish", e))?;
        let dashed = dashed(&id).ok_or_else(|| failed("finish", "the name of a segment"))?;
        let meta = meta.replace(&dashed, SEGMENT_DASHED).replace(&id, SEGMENT);
        put_bytes(meta.as_bytes(), out);
        varint::put(files.len() as u64, out);
        for (extension, bytes) in files {
            put_bytes(extension.as_bytes(), out);
            put_bytes(&bytes, out);
        }
        Ok(())
    }
}

/// 32 digits with dashes between them, as UUIDs are written.
fn dashed(id: &str) -> Option<String> {
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| id.get(range));
    let parts: Option<Vec<&str>> = parts.into_iter().collect();
    parts.map(|parts| parts.join("-"))
}

/// The files of the segment, read where they stand.
#[derive(Clone)]
struct PartDirectory {
    meta: Arc<[u8]>,
    files: Arc<Vec<(PathBuf, OwnedBytes)>>,
}

impl fmt::Debug for PartDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartDirectory({} files)", self.files.len())
    }
}

impl PartDirectory {
    fn open(place: &str, section: &PartSection) -> Result<Self, Corrupt> {
        let mut reader = Reader::new(place, section);
        let meta = reader.bytes(reader.remaining())?.into();
        let count = reader.count(EXTENSIONS.len())?;
        let whole = OwnedBytes::new(section.clone());
        let mut files = Vec::with_capacity(count);
        for _ in 0..count {
            let extension = reader.text(reader.remaining())?;
            let path = PathBuf::from(format!("{SEGMENT}.{extension}"));
            let bytes = reader.bytes(reader.remaining())?.len();
            let end = reader.position();
            files.push((path, whole.slice(end - bytes..end)));
        }
        reader.finish()?;
        Ok(Self {
            meta,
            files: Arc::new(files),
        })
    }

    fn file(&self, path: &Path) -> Option<&OwnedBytes> {
        let mut files = self.files.iter();
        files.find(|(name, _)| name == path).map(|(_, bytes)| bytes)
    }
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "a part is never written")
}

impl Directory for PartDirectory {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        match self.file(path) {
            Some(bytes) => Ok(Arc::new(bytes.clone())),
            None => Err(OpenReadError::FileDoesNotExist(path.to_owned())),
        }
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        Err(DeleteError::IoError {
            io_error: Arc::new(read_only()),
            filepath: path.to_owned(),
        })
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        Ok(path == Path::new(META) || self.file(path).is_some())
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        Err(OpenWriteError::wrap_io_error(read_only(), path.to_owned()))
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        if path == Path::new(META) {
            return Ok(self.meta.to_vec());
        }
        match self.file(path) {
            Some(bytes) => Ok(bytes.to_vec()),
            None => Err(OpenReadError::FileDoesNotExist(path.to_owned())),
        }
    }

    fn atomic_write(&self, _: &Path, _: &[u8]) -> io::Result<()> {
        Err(read_only())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn acquire_lock(&self, _: &Lock) -> Result<DirectoryLock, LockError> {
        // Nobody writes, so there is nothing to lock out.
        Ok(DirectoryLock::from(Box::new(())))
    }

    fn watch(&self, _: WatchCallback) -> tantivy::Result<WatchHandle> {
        Ok(WatchHandle::empty())
    }
}

/// The opened index of a part.
pub(crate) struct TokenIndex {
    place: String,
    _segment: SegmentReader,
    terms: Arc<InvertedIndexReader>,
}

impl TokenIndex {
    /// Opens a section that [`Builder::finish`] wrote.
    pub(crate) fn open(place: &str, section: &PartSection) -> Result<Self, Corrupt> {
        let invalid = |e: tantivy::TantivyError| Corrupt::new(place, 0, e.to_string());
        let directory = PartDirectory::open(place, section)?;
        let index = Index::open(directory).map_err(invalid)?;
        let segments = index.searchable_segments().map_err(invalid)?;
        let [segment] = segments.as_slice() else {
            return Err(Corrupt::new(place, 0, "an index of one segment"));
        };
        let segment = SegmentReader::open(segment).map_err(invalid)?;
        let field = index.schema().get_field(FIELD).map_err(invalid)?;
        let terms = segment.inverted_index(field).map_err(invalid)?;
        Ok(Self {
            place: place.to_owned(),
            _segment: segment,
            terms,
        })
    }

    fn invalid(&self, error: &io::Error) -> Corrupt {
        Corrupt::new(self.place.as_str(), 0, error.to_string())
    }

    /// Adds the groups that have a term.
    fn add_groups(&self, info: &TermInfo, found: &mut RoaringBitmap) -> Result<(), Corrupt> {
        let option = IndexRecordOption::Basic;
        let postings = self.terms.read_postings_from_terminfo(info, option);
        let mut postings = postings.map_err(|e| self.invalid(&e))?;
        while postings.doc() != TERMINATED {
            found.insert(postings.doc());
            postings.advance();
        }
        Ok(())
    }

    /// The groups that have this term.
    fn groups(&self, kind: u8, token: &[u8]) -> Result<RoaringBitmap, Corrupt> {
        let mut term = vec![kind];
        term.extend_from_slice(token);
        let mut found = RoaringBitmap::new();
        let info = self.terms.terms().get(&term);
        if let Some(info) = info.map_err(|e| self.invalid(&e))? {
            self.add_groups(&info, &mut found)?;
        }
        Ok(found)
    }

    /// Adds the groups with a word that has the text in it.
    fn add_words(
        &self,
        text: &[u8],
        begins: bool,
        ends: bool,
        found: &mut RoaringBitmap,
    ) -> Result<(), Corrupt> {
        if begins && ends {
            *found |= self.groups(WORD, text)?;
            return Ok(());
        }
        let mut first = vec![WORD];
        if begins {
            first.extend_from_slice(text);
        }
        let finder = Finder::new(text);
        let stream = self.terms.terms().range().ge(&first).lt([WORD + 1]);
        let mut stream = stream.into_stream().map_err(|e| self.invalid(&e))?;
        while stream.advance() {
            let word = &stream.key()[1..];
            if begins && !word.starts_with(text) {
                break;
            }
            if begins || ends && word.ends_with(text) || !ends && finder.find(word).is_some() {
                self.add_groups(stream.value(), found)?;
            }
        }
        Ok(())
    }

    /// The groups with an identifier of such a length, and all of the trigrams.
    fn groups_with_ids(
        &self,
        lengths: &RangeInclusive<u8>,
        trigrams: &[[u8; 3]],
    ) -> Result<RoaringBitmap, Corrupt> {
        let mut groups = RoaringBitmap::new();
        let (first, last) = ([LENGTH, *lengths.start()], [LENGTH, *lengths.end()]);
        let stream = self.terms.terms().range().ge(first).le(last);
        let mut stream = stream.into_stream().map_err(|e| self.invalid(&e))?;
        while stream.advance() {
            self.add_groups(stream.value(), &mut groups)?;
        }
        for trigram in trigrams {
            if groups.is_empty() {
                break;
            }
            groups &= self.groups(TRIGRAM, trigram)?;
        }
        Ok(groups)
    }

    /// What of a need the index can tell. `windowed` tells whether the part's filters have windows of
    /// long identifiers.
    pub(crate) fn resolve(&self, need: &Need, windowed: bool) -> Result<Resolved, Corrupt> {
        let mut resolved = Resolved::default();
        let found = &mut resolved.groups;
        for cause in need {
            match cause {
                Cause::Word { text, begins, ends } => {
                    self.add_words(text, *begins, *ends, found)?;
                }
                Cause::Id(hash) => resolved.ids.push(*hash),
                Cause::Escapes => *found |= self.groups(ESCAPES, &[])?,
                Cause::IdWith { lengths, trigrams } => {
                    *found |= self.groups_with_ids(lengths, trigrams)?;
                }
                Cause::Windowed {
                    lengths,
                    trigrams,
                    id,
                    windows,
                } => {
                    let groups = self.groups_with_ids(lengths, trigrams)?;
                    if windowed {
                        resolved.windowed.push((groups, windows.clone()));
                        continue;
                    }
                    resolved.ids.push(*id);
                    if lengths.start() < lengths.end() {
                        *found |= groups;
                    }
                }
            }
        }
        Ok(resolved)
    }

    /// Calls `visit` with every term of these groups and each of them that has it.
    pub(crate) fn for_terms(
        &self,
        groups: Range<u32>,
        mut visit: impl FnMut(&[u8], &[u32]),
    ) -> Result<(), Corrupt> {
        let stream = self.terms.terms().stream();
        let mut stream = stream.map_err(|e| self.invalid(&e))?;
        let mut found = Vec::new();
        while stream.advance() {
            let option = IndexRecordOption::Basic;
            let postings = self
                .terms
                .read_postings_from_terminfo(stream.value(), option);
            let mut postings = postings.map_err(|e| self.invalid(&e))?;
            found.clear();
            let mut group = postings.doc();
            if group < groups.start {
                group = postings.seek(groups.start);
            }
            while group < groups.end {
                found.push(group);
                group = postings.advance();
            }
            if !found.is_empty() {
                visit(stream.key(), &found);
            }
        }
        Ok(())
    }
}

/// What satisfies a need; one of these must be.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    /// Groups that do.
    groups: RoaringBitmap,
    /// Identifiers that do, to be looked for in a group's filter.
    ids: Vec<u64>,
    /// Groups that do where their filter has, in one of some ways, all of these windows.
    windowed: Vec<(RoaringBitmap, Vec<Vec<u64>>)>,
}

impl Resolved {
    /// Whether a group may satisfy the need; its filter is read if it must be.
    pub(crate) fn may_hold<'f, E>(
        &self,
        group: u32,
        filter: impl FnOnce() -> Result<&'f [u8], E>,
    ) -> Result<bool, E> {
        if self.groups.contains(group) {
            return Ok(true);
        }
        let windowed = self.windowed.iter().filter(|(g, _)| g.contains(group));
        let mut windowed = windowed.flat_map(|(_, ways)| ways);
        if self.ids.is_empty() && windowed.clone().next().is_none() {
            return Ok(false);
        }
        let filter = filter()?;
        let in_way = |way: &Vec<u64>| way.iter().all(|w| filter::may_have_window(filter, *w));
        Ok(self.ids.iter().any(|id| filter::may_have(filter, *id)) || windowed.any(in_way))
    }
}

impl fmt::Debug for TokenIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenIndex({})", self.place)
    }
}
