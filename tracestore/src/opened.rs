//! A block of a part of which pieces are read when they are asked for.
//!
//! Invariant: a piece is decompressed and checked when it is read; those of which several columns
//! are made are kept.

use std::cell::OnceCell;
use std::collections::HashMap;

use obs_model::spans::{AttributeValue, Resource, Scope as Library};
use obs_model::{SpanId, TraceId};
use obs_storage::Corrupt;
use obs_storage::codec::strings::Texts;
use obs_storage::codec::{Reader, dense};
use xxhash_rust::xxh3::Xxh3DefaultBuilder;

use crate::attributes::{self, Cells, Shapes, read_cells, read_ints, read_strings, read_texts};
use crate::block::{self, Group, Owner, Pieces, piece, read_below, read_group};
use crate::columns::Coded;
use crate::part::Part;
use crate::value;

/// A block of which pieces are read when asked for.
#[derive(Debug)]
pub(crate) struct Open<'a> {
    place: &'a str,
    rows: usize,
    pieces: Pieces<'a>,
    resources: OnceCell<Group<Resource>>,
    scopes: OnceCell<Group<Library>>,
    /// Of spans, events, links.
    shapes: [OnceCell<Shapes>; 3],
    /// Where the events and the links of each row end.
    ends: [OnceCell<Vec<u32>>; 2],
    ids: OnceCell<Ids>,
}

/// The distinct traces, which one each row has, and its own id.
pub(crate) type Ids = (Vec<TraceId>, Vec<u32>, Vec<SpanId>);

impl<'a> Open<'a> {
    /// A block of a part.
    pub(crate) fn new(part: &'a Part, number: usize) -> Result<Self, Corrupt> {
        Ok(Self {
            place: part.name(),
            rows: part.block_rows(number).len(),
            pieces: part.pieces(number)?,
            resources: OnceCell::new(),
            scopes: OnceCell::new(),
            shapes: Default::default(),
            ends: Default::default(),
            ids: OnceCell::new(),
        })
    }

    fn piece<T>(
        &self,
        number: usize,
        read: impl FnOnce(&mut Reader<'_>) -> Result<T, Corrupt>,
    ) -> Result<T, Corrupt> {
        let content = self.pieces.content(number)?;
        let mut reader = Reader::new(self.place, &content);
        let found = read(&mut reader)?;
        reader.finish()?;
        Ok(found)
    }

    /// A column of integers that scatter.
    pub(crate) fn scattered(&self, number: usize) -> Result<Vec<i64>, Corrupt> {
        self.piece(number, |reader| dense::decode(reader, self.rows))
    }

    /// A column of numbers below a bound.
    pub(crate) fn below(&self, number: usize, bound: usize) -> Result<Vec<i64>, Corrupt> {
        self.piece(number, |reader| read_below(reader, self.rows, bound))
    }

    /// A column of texts of spans.
    pub(crate) fn texts(&self, number: usize) -> Result<Texts, Corrupt> {
        self.piece(number, |reader| read_texts(reader, self.rows))
    }

    /// The resources, and which one each row has.
    pub(crate) fn resources(&self) -> Result<&Group<Resource>, Corrupt> {
        if let Some(known) = self.resources.get() {
            return Ok(known);
        }
        let rows = self.rows;
        let read = self.piece(piece::RESOURCES, |reader| {
            let place = reader.clone();
            if reader.count(block::ROWS_MAX)? != rows {
                return Err(place.corrupt(format!("{rows} rows")));
            }
            read_group(reader, rows, value::read_resource)
        })?;
        Ok(self.resources.get_or_init(|| read))
    }

    /// An attribute of the resources: nothing else of them is built.
    pub(crate) fn resource_attribute(&self, key: &str) -> Result<Coded, Corrupt> {
        let rows = self.rows;
        self.piece(piece::RESOURCES, |reader| {
            let place = reader.clone();
            if reader.count(block::ROWS_MAX)? != rows {
                return Err(place.corrupt(format!("{rows} rows")));
            }
            let count = reader.count(rows)?;
            let stored = read_strings(reader, count)?;
            let all = stored.iter();
            let values = all.map(|bytes| value::find(self.place, bytes, key));
            Ok(Coded {
                values: values.collect::<Result<_, _>>()?,
                codes: block::narrow(&read_below(reader, rows, count)?),
            })
        })
    }

    /// The scopes, and which one each row has.
    pub(crate) fn scopes(&self) -> Result<&Group<Library>, Corrupt> {
        if let Some(known) = self.scopes.get() {
            return Ok(known);
        }
        let read = self.piece(piece::SCOPES, |reader| {
            read_group(reader, self.rows, value::read_scope)
        })?;
        Ok(self.scopes.get_or_init(|| read))
    }

    /// The shapes of the attributes of so many owners.
    fn shapes(&self, owner: Owner, owners: usize) -> Result<&Shapes, Corrupt> {
        let slot = &self.shapes[owner as usize];
        if let Some(known) = slot.get() {
            return Ok(known);
        }
        let read = self.piece(self.pieces.shapes(owner), |reader| {
            Shapes::read(reader, owners, block::BLOCK_ENTRIES_MAX)
        })?;
        if read.tags.len() != self.pieces.columns(owner) {
            return Err(self.corrupt("a piece for each column of attributes"));
        }
        Ok(slot.get_or_init(|| read))
    }

    fn corrupt(&self, expected: impl Into<String>) -> Corrupt {
        Reader::new(self.place, &[]).corrupt(expected)
    }

    /// How many spans, events or links there are.
    fn owners(&self, owner: Owner) -> Result<usize, Corrupt> {
        Ok(match owner {
            Owner::Span => self.rows,
            list => self.ends(list)?.last().map_or(0, |end| *end as usize),
        })
    }

    /// Where the events or links of each row end.
    pub(crate) fn ends(&self, owner: Owner) -> Result<&[u32], Corrupt> {
        let slot = &self.ends[usize::from(owner == Owner::Link)];
        if let Some(known) = slot.get() {
            return Ok(known);
        }
        let read = self.piece(self.pieces.counts(owner), |reader| {
            block::read_ends(reader, self.rows)
        })?;
        Ok(slot.get_or_init(|| read))
    }

    /// Times of events since the start of their span.
    pub(crate) fn event_times(&self) -> Result<Vec<i64>, Corrupt> {
        let count = self.owners(Owner::Event)?;
        let number = self.pieces.counts(Owner::Event) + piece::EVENT_TIMES;
        self.piece(number, |reader| read_ints(reader, count))
    }

    /// Names of events.
    pub(crate) fn event_names(&self) -> Result<Texts, Corrupt> {
        let count = self.owners(Owner::Event)?;
        let number = self.pieces.counts(Owner::Event) + piece::EVENT_NAMES;
        self.piece(number, |reader| read_texts(reader, count))
    }

    /// The traces of links.
    pub(crate) fn link_traces(&self) -> Result<Vec<TraceId>, Corrupt> {
        let count = self.owners(Owner::Link)?;
        let number = self.pieces.counts(Owner::Link) + piece::LINK_TRACES;
        self.piece(number, |reader| block::read_trace_ids(reader, count))
    }

    /// The spans of links.
    pub(crate) fn link_spans(&self) -> Result<Vec<SpanId>, Corrupt> {
        let count = self.owners(Owner::Link)?;
        let number = self.pieces.counts(Owner::Link) + piece::LINK_SPANS;
        self.piece(number, |reader| block::read_ids(reader, count))
    }

    /// The distinct traces, in order of rows in parts.
    pub(crate) fn ids_of_traces(&self) -> Result<Vec<TraceId>, Corrupt> {
        // Which one each row has is not looked at.
        let content = self.pieces.content(piece::TRACES)?;
        let reader = &mut Reader::new(self.place, &content);
        let count = reader.count(self.rows)?;
        block::read_trace_ids(reader, count)
    }

    /// All ids.
    pub(crate) fn ids(&self) -> Result<&Ids, Corrupt> {
        if let Some(known) = self.ids.get() {
            return Ok(known);
        }
        let rows = self.rows;
        let (traces, of_rows) =
            self.piece(piece::TRACES, |reader| block::read_traces(reader, rows))?;
        let spans = self.piece(piece::SPAN_IDS, |reader| block::read_ids(reader, rows))?;
        Ok(self.ids.get_or_init(|| (traces, of_rows, spans)))
    }

    /// For each row what its parent is: one of the codes of blocks.
    pub(crate) fn parent_codes(&self) -> Result<Vec<i64>, Corrupt> {
        // Ids of parents outside the block follow.
        let content = self.pieces.content(piece::PARENTS)?;
        read_ints(&mut Reader::new(self.place, &content), self.rows)
    }

    /// The id of each row's parent.
    pub(crate) fn parent_ids(&self) -> Result<Vec<SpanId>, Corrupt> {
        let (.., spans) = self.ids()?;
        self.piece(piece::PARENTS, |reader| block::read_parents(reader, spans))
    }

    /// The keys of attributes, some several times.
    pub(crate) fn keys(&self, owner: Owner) -> Result<Vec<String>, Corrupt> {
        let shapes = self.shapes(owner, self.owners(owner)?)?;
        Ok(shapes.keys.iter().map(str::to_owned).collect())
    }

    /// The values of an attribute of all owners: of several with one key, the first.
    pub(crate) fn attribute(&self, owner: Owner, key: &str) -> Result<Coded, Corrupt> {
        let owners = self.owners(owner)?;
        let shapes = self.shapes(owner, owners)?;
        let wanted: Vec<usize> = (0..shapes.tags.len())
            .filter(|column| shapes.keys.get(*column) == key)
            .collect();
        let mut coded = Coded {
            codes: vec![0; owners],
            values: vec![AttributeValue::Empty],
        };
        if wanted.is_empty() {
            return Ok(coded);
        }
        // For each shape: how many entries of each wanted column, and which one comes first.
        let uses: Vec<(Vec<u32>, Option<usize>)> = (0..shapes.len())
            .map(|shape| {
                let mut counts = vec![0u32; wanted.len()];
                let mut first = None;
                for column in shapes.of(shape) {
                    if let Some(at) = wanted.iter().position(|w| *w == *column as usize) {
                        counts[at] += 1;
                        first = first.or(Some(at));
                    }
                }
                (counts, first)
            })
            .collect();
        let mut totals = vec![0usize; wanted.len()];
        for shape in &shapes.owners {
            let (counts, _) = &uses[*shape as usize];
            for (total, count) in totals.iter_mut().zip(counts) {
                *total += *count as usize;
            }
        }
        if totals.iter().sum::<usize>() > block::BLOCK_ENTRIES_MAX {
            return Err(self.corrupt(format!("at most {} attributes", block::BLOCK_ENTRIES_MAX)));
        }
        let mut columns = Vec::with_capacity(wanted.len());
        for (column, total) in wanted.iter().zip(totals) {
            let tag = shapes.tags[*column];
            let read = self.piece(self.pieces.shapes(owner) + 1 + column, |reader| {
                read_cells(reader, tag, total)
            })?;
            columns.push(code(tag, &read, &mut coded.values));
        }
        let mut next = vec![0usize; wanted.len()];
        for (row, shape) in shapes.owners.iter().enumerate() {
            let (counts, first) = &uses[*shape as usize];
            if let Some(first) = first {
                coded.codes[row] = columns[*first][next[*first]];
            }
            for (next, count) in next.iter_mut().zip(counts) {
                *next += *count as usize;
            }
        }
        Ok(coded)
    }
}

/// Numbers for the entries of a column; appends its distinct values.
pub(crate) fn code(tag: u8, cells: &Cells, values: &mut Vec<AttributeValue>) -> Vec<u32> {
    // Values of a block are far fewer than 2^32.
    let base = values.len() as u32;
    if let Cells::Words(words) = cells {
        values.extend(words.all().map(|word| attributes::word(tag, word)));
        return words.codes().iter().map(|code| base + code).collect();
    }
    let mut known: HashMap<u64, u32, Xxh3DefaultBuilder> = HashMap::default();
    let mut codes = Vec::with_capacity(cells.len());
    let mut last = None;
    for index in 0..cells.len() {
        let bits = cells.bits(index);
        if let Some((value, code)) = last
            && value == bits
        {
            codes.push(code);
            continue;
        }
        let code = *known.entry(bits).or_insert_with(|| {
            values.push(cells.get(tag, index));
            values.len() as u32 - 1
        });
        codes.push(code);
        last = Some((bits, code));
    }
    codes
}
