//! A group of rows: the unit that is compressed and found. It has the rows of one stream or of
//! several small ones; the index tells which rows are whose.
//!
//! Three columns stand one behind the other, each of known length: times, lines, structured
//! metadata. Each is read when it is asked for. `docs/formats/log-part.md`.
//! Invariant: what is decoded is what was pushed, byte for byte and in order.

use std::cell::{OnceCell, RefCell};

use memchr::memmem;
use obs_model::Labels;
use obs_storage::Corrupt;
use obs_storage::codec::{Reader, bytes, dense};

use crate::lines::{Encoder, Lines, Search, Wanted};
use crate::metadata::{Metadata, Selected, encode_metadata};
use crate::tokens::GroupTokens;

/// A group ends once its lines and metadata reach this: templates repeat, so larger groups are
/// smaller on disk, but a needle opens no less. Small in tests, so that few rows make several.
pub(crate) const GROUP_BYTES: usize = if cfg!(test) { 512 } else { 4 << 20 };
/// Most rows of a group, whatever their size.
pub(crate) const GROUP_ROWS_MAX: usize = 1 << 16;

/// How letters may be written in JSON instead of as they are.
pub(crate) const ESCAPE: &[u8] = b"\\u00";

/// Lengths of a group's columns in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ColumnLengths {
    pub(crate) times: usize,
    pub(crate) lines: usize,
    pub(crate) metadata: usize,
}

impl ColumnLengths {
    pub(crate) fn total(&self) -> usize {
        self.times
            .saturating_add(self.lines)
            .saturating_add(self.metadata)
    }
}

/// Rows that become a group.
pub(crate) struct GroupBuilder {
    times: Vec<i64>,
    ends: Vec<usize>,
    lines: Vec<u8>,
    metadata: Vec<Labels>,
    metadata_bytes: usize,
    encoder: Encoder,
    zstd: bytes::Encoder,
    /// Of the group that was finished last.
    pub(crate) tokens: GroupTokens,
}

impl GroupBuilder {
    /// Compresses at this level.
    pub(crate) fn new(level: i32) -> Self {
        Self {
            times: Vec::new(),
            ends: Vec::new(),
            lines: Vec::new(),
            metadata: Vec::new(),
            metadata_bytes: 0,
            encoder: Encoder::new(level),
            zstd: bytes::Encoder::new(level),
            tokens: GroupTokens::default(),
        }
    }

    /// Appends a row.
    pub(crate) fn push(&mut self, time: i64, line: &[u8], metadata: &Labels) {
        self.times.push(time);
        self.lines.extend_from_slice(line);
        self.ends.push(self.lines.len());
        self.metadata_bytes += metadata.packed().len();
        self.metadata.push(metadata.clone());
    }

    /// Whether the next row belongs into a new group.
    pub(crate) fn is_full(&self) -> bool {
        self.lines.len() + self.metadata_bytes >= GROUP_BYTES || self.times.len() >= GROUP_ROWS_MAX
    }

    /// Appends the columns to `out`, tells the tokens, and starts anew.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) -> ColumnLengths {
        let start = out.len();
        let mut times = Vec::new();
        dense::encode(&self.times, &mut times);
        self.zstd.encode(&times, out);
        let times_end = out.len();
        self.encoder
            .encode(&self.lines, &self.ends, &mut self.tokens, out);
        let lines_end = out.len();
        self.tokens.escapes = memmem::find(&self.lines, ESCAPE).is_some();
        let metadata = encode_metadata(&self.metadata, &mut self.tokens);
        self.zstd.encode(&metadata, out);
        self.times.clear();
        self.ends.clear();
        self.lines.clear();
        self.metadata.clear();
        self.metadata_bytes = 0;
        ColumnLengths {
            times: times_end - start,
            lines: lines_end - times_end,
            metadata: out.len() - lines_end,
        }
    }
}

/// A group that is read: lines by templates; times and metadata once they are asked for.
#[derive(Debug)]
pub(crate) struct OpenGroup<'a> {
    rows: usize,
    times_packed: Reader<'a>,
    times: OnceCell<Vec<i64>>,
    lines_packed: Reader<'a>,
    lines: OnceCell<Lines<'a>>,
    metadata_packed: Reader<'a>,
    metadata: OnceCell<Metadata>,
    /// Which rows are wanted; `None` = all.
    wanted: Option<Vec<bool>>,
    likely: OnceCell<Wanted>,
    line: RefCell<Vec<u8>>,
}

impl<'a> OpenGroup<'a> {
    /// Reads what is needed to tell which of the `rows` rows the search wants. `None` when it
    /// wants none: most groups of a rare needle end there.
    pub(crate) fn open(
        place: &'a str,
        columns: &'a [u8],
        lengths: ColumnLengths,
        rows: usize,
        search: &mut Search,
    ) -> Result<Option<Self>, Corrupt> {
        let mut reader = Reader::new(place, columns);
        let mut column = |length: usize| reader.slice(length).map(|c| Reader::new(place, c));
        let times_packed = column(lengths.times)?;
        let lines_packed = column(lengths.lines)?;
        let metadata_packed = column(lengths.metadata)?;
        let mut group = Self {
            rows,
            times_packed,
            times: OnceCell::new(),
            lines_packed,
            lines: OnceCell::new(),
            metadata_packed,
            metadata: OnceCell::new(),
            wanted: None,
            likely: OnceCell::new(),
            line: RefCell::default(),
        };
        if !search.is_empty() {
            match group.search(search)? {
                Wanted::None => return Ok(None),
                Wanted::All => {}
                Wanted::Some(rows) => group.wanted = Some(rows),
            }
        }
        Ok(Some(group))
    }

    fn lines(&self) -> Result<&Lines<'a>, Corrupt> {
        if let Some(lines) = self.lines.get() {
            return Ok(lines);
        }
        let mut reader = self.lines_packed.clone();
        let lines = Lines::open(&mut reader, self.rows)?;
        reader.finish()?;
        Ok(self.lines.get_or_init(|| lines))
    }

    fn search(&self, search: &mut Search) -> Result<Wanted, Corrupt> {
        let lines = self.lines()?;
        Ok(by_row(lines, &search.rows(lines)?, self.rows))
    }

    /// Which rows may satisfy conditions on labels that no row has from its stream: those with the
    /// value in their metadata, and those without the label whose lines the search finds. The group
    /// keeps the answer to the first question.
    pub(crate) fn likely(
        &self,
        labels: &[(String, String)],
        search: &mut Search,
    ) -> Result<&Wanted, Corrupt> {
        if let Some(likely) = self.likely.get() {
            return Ok(likely);
        }
        let mut found = Wanted::All;
        let mut lines: Option<Wanted> = None;
        for (name, value) in labels {
            let Some(rows) = self.all_metadata()?.matching(name, value) else {
                continue;
            };
            let absent = rows.is_empty() || rows.iter().any(|(_, absent)| *absent);
            if absent && lines.is_none() {
                lines = Some(self.search(search)?);
            }
            let in_line = |row: usize| lines.as_ref().is_some_and(|lines| lines.has(row));
            let likely = match rows.is_empty() {
                true => lines.clone().unwrap_or(Wanted::All),
                false => {
                    let rows = rows.iter().enumerate();
                    let likely = rows.map(|(row, (same, absent))| *same || *absent && in_line(row));
                    Wanted::Some(likely.collect())
                }
            };
            found = found.and(likely);
        }
        Ok(self.likely.get_or_init(|| found))
    }

    /// The times of all rows.
    pub(crate) fn times(&self) -> Result<&[i64], Corrupt> {
        if let Some(times) = self.times.get() {
            return Ok(times);
        }
        let mut reader = self.times_packed.clone();
        let packed = bytes::decode(&mut reader, GROUP_ROWS_MAX * 16)?;
        reader.finish()?;
        let mut packed = Reader::new(self.times_packed.place(), &packed);
        let times = dense::decode(&mut packed, self.rows)?;
        packed.finish()?;
        Ok(self.times.get_or_init(|| times))
    }

    /// Whether a row is wanted.
    pub(crate) fn wants(&self, row: usize) -> bool {
        self.wanted.as_ref().is_none_or(|wanted| wanted[row])
    }

    /// Whether all rows are wanted.
    pub(crate) fn wants_all(&self) -> bool {
        self.wanted.is_none()
    }

    /// Looks at the bytes of a row's line.
    pub(crate) fn with_line<T>(
        &self,
        row: usize,
        look: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, Corrupt> {
        let mut line = self.line.borrow_mut();
        line.clear();
        self.lines()?.write(row, &mut line)?;
        Ok(look(&line))
    }

    /// Appends a row's line.
    pub(crate) fn write_line(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Corrupt> {
        self.lines()?.write(row, out)
    }

    /// The structured metadata of a row.
    pub(crate) fn metadata(&self, row: usize) -> Result<Labels, Corrupt> {
        self.all_metadata()?.row(row)
    }

    /// The structured metadata of rows under these keys only.
    pub(crate) fn metadata_of(&self, names: &[&str]) -> Result<Selected<'_>, Corrupt> {
        Ok(self.all_metadata()?.select(names))
    }

    /// By which lines are told apart that share a text; see [`Lines::kind_of`].
    pub(crate) fn kind_of(&self, row: usize) -> Result<(usize, u64), Corrupt> {
        self.lines()?.kind_of(row)
    }

    /// What the lines of a row's kind share; see [`Lines::shared`].
    pub(crate) fn shared_text(&self, row: usize) -> Result<Option<Vec<u8>>, Corrupt> {
        self.lines()?.shared(row)
    }

    fn all_metadata(&self) -> Result<&Metadata, Corrupt> {
        if let Some(metadata) = self.metadata.get() {
            return Ok(metadata);
        }
        let metadata = Metadata::decode(self.metadata_packed.clone(), self.rows)?;
        Ok(self.metadata.get_or_init(|| metadata))
    }

    /// Bytes of memory held now.
    pub(crate) fn bytes(&self) -> usize {
        let times = self.times.get().map_or(0, Vec::len) * size_of::<i64>();
        let wanted = self.wanted.as_ref().map_or(0, Vec::len);
        let metadata = self.metadata.get().map_or(0, Metadata::bytes);
        let lines = self.lines.get().map_or(0, Lines::bytes);
        times + wanted + metadata + lines + self.line.borrow().len()
    }
}

/// From wanted rows of templates to wanted rows of the group.
fn by_row(lines: &Lines<'_>, templates: &[Wanted], rows: usize) -> Wanted {
    if templates.iter().all(|wanted| *wanted == Wanted::None) {
        return Wanted::None;
    }
    if templates.iter().all(|wanted| *wanted == Wanted::All) {
        return Wanted::All;
    }
    if let ([Wanted::Some(only)], []) = (templates, lines.ids()) {
        return Wanted::Some(only.clone());
    }
    let mut next = vec![0; templates.len()];
    let mut wanted = Vec::with_capacity(rows);
    for id in lines.ids() {
        let id = usize::from(*id);
        wanted.push(templates[id].has(next[id]));
        next[id] += 1;
    }
    Wanted::Some(wanted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::records;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn round_trips_and_survives_damage(
            records in prop::collection::vec(records(), 1..100),
            flip in any::<(usize, u8)>(),
        ) {
            let mut builder = GroupBuilder::new(bytes::LEVEL);
            for record in &records {
                builder.push(record.time.nanos(), &record.line, &record.metadata);
            }
            let mut out = Vec::new();
            let lengths = builder.finish(&mut out);
            assert_eq!(lengths.total(), out.len());
            let mut search = Search::new(&[]);
            let group = OpenGroup::open("here", &out, lengths, records.len(), &mut search);
            let group = group.unwrap().unwrap();
            for (row, record) in records.iter().enumerate() {
                assert_eq!(group.times().unwrap()[row], record.time.nanos());
                assert!(group.with_line(row, |line| line == record.line).unwrap());
                assert_eq!(group.metadata(row), Ok(record.metadata.clone()));
            }
            let index = flip.0 % out.len();
            out[index] ^= flip.1;
            let damaged = OpenGroup::open("here", &out, lengths, records.len(), &mut search);
            if let Ok(Some(group)) = damaged {
                // Damage is refused or gives other rows; it never panics.
                for row in 0..records.len() {
                    let read = group.with_line(row, <[u8]>::len).is_ok();
                    let read = read && group.times().is_ok() && group.metadata(row).is_ok();
                    assert!(read || flip.1 != 0);
                }
            }
        }
    }
}
