//! Spans as columns: what a query reads that decides on every span alone.
//!
//! A scan gives the spans block by block; a column is decoded when it is asked for, and texts come
//! as their distinct values with a number for each row, so that a condition is decided once for
//! each value. Invariants: every span that starts in the range is given once, the first arrival of
//! each identity; what is held is one block's columns.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use obs_model::spans::{AttributeValue, Resource, Scope as Library, attribute};
use obs_model::{Budget, SpanId, TimeRange, TraceId};
use obs_storage::codec::strings::Texts;
use obs_storage::codec::{Reader, dense};
use obs_storage::{Corrupt, Snapshot};
use xxhash_rust::xxh3::Xxh3DefaultBuilder;

use crate::attributes::{self, Cells, Shapes, read_cells, read_ints, read_texts};
use crate::block::{self, Block, Pieces, piece, read_below, read_group};
use crate::error::SelectError;
use crate::filter::{Condition, Hints, Scope};
use crate::kind::Spans;
use crate::memory::Held;
use crate::part::Part;
use crate::row::{self, Row};
use crate::scan::rows_everywhere;
use crate::{value, words};

/// Rows of memory that are given together.
const MEMORY_ROWS: usize = block::ROWS_MAX;

/// Values of a column: a number for each row, and the value of each number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Coded {
    /// The number of each row's value; below the number of values.
    pub codes: Vec<u32>,
    /// The values; those that are not there are empty. Equal values may have several numbers.
    pub values: Vec<AttributeValue>,
}

/// Columns of whole numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Begin, in nanoseconds since 1970.
    Start,
    /// Nanoseconds from begin to end; not below 0.
    Duration,
    /// OTLP's number of the kind.
    Kind,
    /// OTLP's number of the status.
    Status,
}

/// Columns of texts that every span has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// The span's name.
    Name,
    /// Why it ended as it did.
    StatusMessage,
    /// The instrumentation's name.
    Instrumentation,
    /// The instrumentation's version.
    Version,
}

/// What takes the columns of a scan; `Break` ends it.
pub type Look<'a> = dyn FnMut(&Columns<'_>) -> Result<ControlFlow<()>, SelectError> + 'a;

/// Some spans as columns.
#[derive(Debug)]
pub struct Columns<'a> {
    source: Source<'a>,
    len: usize,
    hull: TimeRange,
    /// Rows that are given elsewhere.
    apart: Option<Vec<bool>>,
}

#[derive(Debug)]
enum Source<'a> {
    Block(Box<Open<'a>>),
    Held(Arc<Block>),
    Rows(Vec<Row>),
}

/// A block of which pieces are read when asked for.
#[derive(Debug)]
struct Open<'a> {
    place: &'a str,
    pieces: Pieces<'a>,
    resources: OnceCell<(Vec<Arc<Resource>>, Vec<i64>)>,
    scopes: OnceCell<(Vec<Arc<Library>>, Vec<i64>)>,
    shapes: OnceCell<Shapes>,
    ids: OnceCell<Ids>,
}

/// The distinct traces, which one each row has, and its own id.
type Ids = (Vec<TraceId>, Vec<u32>, Vec<SpanId>);

impl Open<'_> {
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

    fn scattered(&self, number: usize, rows: usize) -> Result<Vec<i64>, Corrupt> {
        self.piece(number, |reader| dense::decode(reader, rows))
    }

    fn texts(&self, number: usize, rows: usize) -> Result<Texts, Corrupt> {
        self.piece(number, |reader| read_texts(reader, rows))
    }

    fn resources(&self, rows: usize) -> Result<&(Vec<Arc<Resource>>, Vec<i64>), Corrupt> {
        if let Some(known) = self.resources.get() {
            return Ok(known);
        }
        let read = self.piece(piece::RESOURCES, |reader| {
            let place = reader.clone();
            if reader.count(block::ROWS_MAX)? != rows {
                return Err(place.corrupt(format!("{rows} rows")));
            }
            read_group(reader, rows, value::read_resource)
        })?;
        Ok(self.resources.get_or_init(|| read))
    }

    fn scopes(&self, rows: usize) -> Result<&(Vec<Arc<Library>>, Vec<i64>), Corrupt> {
        if let Some(known) = self.scopes.get() {
            return Ok(known);
        }
        let read = self.piece(piece::SCOPES, |reader| {
            read_group(reader, rows, value::read_scope)
        })?;
        Ok(self.scopes.get_or_init(|| read))
    }

    fn shapes(&self, rows: usize) -> Result<&Shapes, Corrupt> {
        if let Some(known) = self.shapes.get() {
            return Ok(known);
        }
        let place = Reader::new(self.place, &[]);
        let read = self.piece(piece::SHAPES, |reader| {
            Shapes::read(reader, rows, block::BLOCK_ENTRIES_MAX)
        })?;
        if read.tags.len() != self.pieces.columns() {
            return Err(place.corrupt("a piece for each column of attributes"));
        }
        Ok(self.shapes.get_or_init(|| read))
    }

    fn ids_of_traces(&self, rows: usize) -> Result<Vec<TraceId>, Corrupt> {
        let (traces, _) = self.piece(piece::TRACES, |reader| block::read_traces(reader, rows))?;
        Ok(traces)
    }

    fn ids(&self, rows: usize) -> Result<&Ids, Corrupt> {
        if let Some(known) = self.ids.get() {
            return Ok(known);
        }
        let (traces, of_rows) =
            self.piece(piece::TRACES, |reader| block::read_traces(reader, rows))?;
        let spans = self.piece(piece::SPAN_IDS, |reader| block::read_ids(reader, rows))?;
        Ok(self.ids.get_or_init(|| (traces, of_rows, spans)))
    }

    /// The values of an attribute of spans: of several with one key, the first.
    fn span_attribute(&self, key: &str, rows: usize) -> Result<Coded, Corrupt> {
        let shapes = self.shapes(rows)?;
        let wanted: Vec<usize> = (0..shapes.tags.len())
            .filter(|column| shapes.keys.get(*column) == key)
            .collect();
        let mut coded = Coded {
            codes: vec![0; rows],
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
            let place = Reader::new(self.place, &[]);
            return Err(place.corrupt(format!("at most {} attributes", block::BLOCK_ENTRIES_MAX)));
        }
        let mut columns = Vec::with_capacity(wanted.len());
        for (column, total) in wanted.iter().zip(totals) {
            let tag = shapes.tags[*column];
            let read = self.piece(piece::COLUMNS + column, |reader| {
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
fn code(tag: u8, cells: &Cells, values: &mut Vec<AttributeValue>) -> Vec<u32> {
    // Values of a block are far fewer than 2^32.
    let base = values.len() as u32;
    if let Cells::Words(words) = cells {
        values.extend(words.all().map(|word| attributes::word(tag, word)));
        return words.codes().iter().map(|code| base + code).collect();
    }
    let bits = |index: usize| match cells {
        Cells::Ints(all) => all[index].cast_unsigned(),
        Cells::Doubles(all) => all[index].to_bits(),
        Cells::Empty(_) | Cells::Words(_) => 0,
    };
    let mut known: HashMap<u64, u32, Xxh3DefaultBuilder> = HashMap::default();
    let mut codes = Vec::with_capacity(cells.len());
    let mut last = None;
    for index in 0..cells.len() {
        let bits = bits(index);
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

/// The values of an attribute of the spans of a block in memory: of several with one key, the first.
fn held_attribute(block: &Block, key: &str) -> Coded {
    let mut values = vec![AttributeValue::Empty];
    let mut columns: HashMap<usize, Vec<u32>> = HashMap::new();
    let firsts = block.attributes.firsts(key);
    let mut codes = Vec::with_capacity(firsts.len());
    for first in firsts {
        codes.push(first.map_or(0, |(column, index)| {
            let known = columns.entry(column).or_insert_with(|| {
                let (tag, cells) = block.attributes.column(column);
                code(tag, cells, &mut values)
            });
            known[index]
        }));
    }
    Coded { codes, values }
}

fn coded_words(words: &words::Words) -> Coded {
    let value = |word: &[u8]| text(words::text(word));
    Coded {
        codes: words.codes().to_vec(),
        values: words.all().map(value).collect(),
    }
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::String(text.to_owned())
}

/// Numbers equal values of rows equally.
fn code_rows(found: impl Iterator<Item = AttributeValue>) -> Coded {
    let mut coded = Coded::default();
    let mut known: HashMap<Vec<u8>, u32> = HashMap::new();
    for value in found {
        let mut bytes = Vec::new();
        value::put(&value, &mut bytes);
        let code = *known.entry(bytes).or_insert_with(|| {
            coded.values.push(value);
            coded.values.len() as u32 - 1
        });
        coded.codes.push(code);
    }
    coded
}

fn coded_texts(texts: &Texts) -> Coded {
    Coded {
        codes: (0..texts.len())
            .map(|r| texts.stored_index(r) as u32)
            .collect(),
        values: (0..texts.stored_len())
            .map(|i| text(texts.stored(i)))
            .collect(),
    }
}

/// A value of each group, and each row's group.
fn of_groups<T>(
    (groups, numbers): &(Vec<Arc<T>>, Vec<i64>),
    value: impl Fn(&T) -> AttributeValue,
) -> Coded {
    // Checked to be below the number of groups when they were read.
    of_held_groups(groups, &block::narrow(numbers), value)
}

fn of_held_groups<T>(
    groups: &[Arc<T>],
    numbers: &[u32],
    value: impl Fn(&T) -> AttributeValue,
) -> Coded {
    Coded {
        codes: numbers.to_vec(),
        values: groups.iter().map(|group| value(group)).collect(),
    }
}

impl Columns<'_> {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A range that holds all spans from begin to end.
    pub fn hull(&self) -> TimeRange {
        self.hull
    }

    /// For each row whether it is not to be counted, because it is given elsewhere; `None` where
    /// all count.
    pub fn apart(&self) -> Option<&[bool]> {
        self.apart.as_deref()
    }

    /// A column of whole numbers.
    pub fn numbers(&self, column: Numbers) -> Result<Vec<i64>, SelectError> {
        let open = match &self.source {
            Source::Block(open) => open,
            Source::Held(block) => {
                let wide = |all: &[u8]| all.iter().map(|n| i64::from(*n)).collect();
                return Ok(match column {
                    Numbers::Start => block.starts.clone(),
                    Numbers::Duration => (0..self.len).map(|row| block.duration(row)).collect(),
                    Numbers::Kind => wide(&block.kinds),
                    Numbers::Status => wide(&block.statuses),
                });
            }
            Source::Rows(rows) => {
                let spans = rows.iter().map(|row| &row.span);
                return Ok(match column {
                    Numbers::Start => spans.map(|s| s.start.nanos()).collect(),
                    Numbers::Duration => spans.map(|s| s.duration_nanos()).collect(),
                    Numbers::Kind => spans.map(|s| i64::from(s.kind.number())).collect(),
                    Numbers::Status => spans.map(|s| i64::from(s.status.number())).collect(),
                });
            }
        };
        Ok(match column {
            Numbers::Start => open.scattered(piece::STARTS, self.len)?,
            Numbers::Duration => {
                let mut values = open.scattered(piece::DURATIONS, self.len)?;
                values.iter_mut().for_each(|v| *v = (*v).max(0));
                values
            }
            Numbers::Kind => open.piece(piece::KINDS, |r| read_below(r, self.len, 6))?,
            Numbers::Status => open.piece(piece::STATUSES, |r| read_below(r, self.len, 3))?,
        })
    }

    /// A column of texts.
    pub fn words(&self, column: Words) -> Result<Coded, SelectError> {
        let open = match &self.source {
            Source::Block(open) => open,
            Source::Held(block) => {
                let scopes = |value: fn(&Library) -> AttributeValue| {
                    of_held_groups(&block.scopes, &block.of_scope, value)
                };
                return Ok(match column {
                    Words::Name => coded_words(&block.names),
                    Words::StatusMessage => coded_words(&block.messages),
                    Words::Instrumentation => scopes(|s| text(&s.name)),
                    Words::Version => scopes(|s| text(&s.version)),
                });
            }
            Source::Rows(rows) => {
                let word = |row: &Row| match column {
                    Words::Name => text(&row.span.name),
                    Words::StatusMessage => text(&row.span.status_message),
                    Words::Instrumentation => text(&row.scope.name),
                    Words::Version => text(&row.scope.version),
                };
                return Ok(code_rows(rows.iter().map(word)));
            }
        };
        Ok(match column {
            Words::Name => coded_texts(&open.texts(piece::NAMES, self.len)?),
            Words::StatusMessage => coded_texts(&open.texts(piece::MESSAGES, self.len)?),
            Words::Instrumentation => of_groups(open.scopes(self.len)?, |s| text(&s.name)),
            Words::Version => of_groups(open.scopes(self.len)?, |s| text(&s.version)),
        })
    }

    /// The values of an attribute of spans, resources or instrumentations; those of events and
    /// links are not columns of spans.
    pub fn attribute(&self, scope: Scope, key: &str) -> Result<Option<Coded>, SelectError> {
        let find = |all: &[obs_model::spans::Attribute]| {
            attribute(all, key)
                .cloned()
                .unwrap_or(AttributeValue::Empty)
        };
        Ok(match (&self.source, scope) {
            (_, Scope::Event | Scope::Link) => None,
            (Source::Block(open), Scope::Span) => Some(open.span_attribute(key, self.len)?),
            (Source::Block(open), Scope::Resource) => {
                Some(of_groups(open.resources(self.len)?, |r| {
                    find(&r.attributes)
                }))
            }
            (Source::Block(open), Scope::Instrumentation) => {
                Some(of_groups(open.scopes(self.len)?, |s| find(&s.attributes)))
            }
            (Source::Held(block), Scope::Span) => Some(held_attribute(block, key)),
            (Source::Held(block), Scope::Resource) => {
                let find = |r: &Resource| find(&r.attributes);
                Some(of_held_groups(&block.resources, &block.of_resource, find))
            }
            (Source::Held(block), Scope::Instrumentation) => {
                let find = |s: &Library| find(&s.attributes);
                Some(of_held_groups(&block.scopes, &block.of_scope, find))
            }
            (Source::Rows(rows), scope) => Some(code_rows(rows.iter().map(|row| match scope {
                Scope::Resource => find(&row.resource.attributes),
                Scope::Instrumentation => find(&row.scope.attributes),
                _ => find(&row.span.attributes),
            }))),
        })
    }

    /// For each row whether it has no parent.
    pub fn roots(&self) -> Result<Vec<bool>, SelectError> {
        match &self.source {
            Source::Block(open) => {
                // Ids of parents outside the block follow, which nobody asks for.
                let content = open.pieces.content(piece::PARENTS)?;
                let codes = read_ints(&mut Reader::new(open.place, &content), self.len)?;
                Ok(codes.into_iter().map(|c| c == block::PARENT_NONE).collect())
            }
            Source::Held(block) => Ok(block.parents.iter().map(|p| p.is_zero()).collect()),
            Source::Rows(rows) => Ok(rows.iter().map(|r| r.span.parent_id.is_zero()).collect()),
        }
    }

    /// The traces of a block of a part, in order of rows.
    pub(crate) fn traces(&self) -> Result<Vec<TraceId>, Corrupt> {
        Ok(match &self.source {
            Source::Block(open) => open.ids_of_traces(self.len)?,
            Source::Held(block) => block.traces.clone(),
            Source::Rows(rows) => rows.iter().map(|row| row.span.trace_id).collect(),
        })
    }

    /// The trace and span of a row.
    pub fn ids(&self, row: usize) -> Result<(TraceId, SpanId), SelectError> {
        match &self.source {
            Source::Block(open) => {
                let (traces, of_rows, spans) = open.ids(self.len)?;
                Ok((traces[of_rows[row] as usize], spans[row]))
            }
            Source::Held(block) => Ok((block.trace_id(row), block.span_ids[row])),
            Source::Rows(rows) => Ok((rows[row].span.trace_id, rows[row].span.span_id)),
        }
    }
}

/// Gives all spans of memories and parts that may start in the range and of which one may meet all
/// conditions, in no particular order. Spans outside the range or the conditions are among them.
pub fn scan_columns(
    snapshot: &Snapshot<Spans>,
    range: TimeRange,
    conditions: &[Condition],
    budget: &Budget,
    look: &mut Look<'_>,
) -> Result<(), SelectError> {
    let hints = Hints::new(conditions);
    let parts: Vec<&Part> = snapshot.parts.iter().map(|p| &p.part).collect();
    let near: Vec<&Part> = parts
        .iter()
        .copied()
        .filter(|p| p.hull().overlaps(range))
        .collect();
    let several = several(snapshot, &near, range, budget)?;
    for part in &near {
        if blocks(part, range, &hints, &several, budget, look)?.is_break() {
            return Ok(());
        }
    }
    for memory in &snapshot.memories {
        for held in memory.blocks() {
            if !held.hull.overlaps(range) || hints.of_held(&held.block) != hints.all() {
                continue;
            }
            budget.check()?;
            let columns = of_held(&held, Some(&several));
            budget.samples(columns.len() as u64)?;
            let flow = look(&columns)?;
            budget.release_samples(columns.len() as u64);
            if flow.is_break() {
                return Ok(());
            }
        }
    }
    let mut rows = Vec::new();
    let mut source = crate::source::Source::new(near);
    let mut read = budget.holding();
    for id in in_order(&mut source, several)? {
        rows.extend(rows_everywhere(snapshot, &mut source, id)?);
        read.set(source.bytes())?;
        if rows.len() >= MEMORY_ROWS && give(&mut rows, budget, look)?.is_break() {
            return Ok(());
        }
    }
    give(&mut rows, budget, look).map(|_| ())
}

/// Traces in order of their starts in parts: those that are near in time share blocks.
fn in_order(
    source: &mut crate::source::Source<'_>,
    ids: HashSet<TraceId>,
) -> Result<Vec<TraceId>, SelectError> {
    let mut order = Vec::with_capacity(ids.len());
    for id in ids {
        let mut start = i64::MAX;
        for part in 0..source.parts().len() {
            if let Some(place) = source.parts()[part].find(id)? {
                start = start.min(source.table(part)?.hull(place).start.nanos());
            }
        }
        order.push((start, id));
    }
    order.sort_unstable();
    Ok(order.into_iter().map(|(_, id)| id).collect())
}

/// Gives rows, and empties the list.
fn give(
    rows: &mut Vec<Row>,
    budget: &Budget,
    look: &mut Look<'_>,
) -> Result<ControlFlow<()>, SelectError> {
    let rows = std::mem::take(rows);
    let Some(hull) = row::hull(&rows) else {
        return Ok(ControlFlow::Continue(()));
    };
    budget.samples(rows.len() as u64)?;
    let count = rows.len() as u64;
    let columns = Columns {
        len: rows.len(),
        hull,
        source: Source::Rows(rows),
        apart: None,
    };
    let flow = look(&columns)?;
    budget.release_samples(count);
    Ok(flow)
}

/// Traces near the range that lie in more than one place, so that a span may be there twice.
fn several(
    snapshot: &Snapshot<Spans>,
    parts: &[&Part],
    range: TimeRange,
    budget: &Budget,
) -> Result<HashSet<TraceId>, SelectError> {
    let mut found = HashSet::new();
    for (number, part) in parts.iter().enumerate() {
        for other in &parts[number + 1..] {
            // A span that arrives again starts when it started.
            if !part.hull().overlaps(other.hull()) {
                continue;
            }
            let (small, large) = if part.trace_count() < other.trace_count() {
                (part, other)
            } else {
                (other, part)
            };
            let ids = small.ids()?;
            for index in 0..small.trace_count() {
                if large.find(ids.id(index))?.is_some() {
                    found.insert(ids.id(index));
                }
            }
            budget.check()?;
        }
    }
    let memories: Vec<_> = snapshot.memories.iter().collect();
    for (number, memory) in memories.iter().enumerate() {
        for (id, hull) in memory.hulls() {
            if !hull.overlaps(range) {
                continue;
            }
            let mut elsewhere = memories[number + 1..].iter().any(|m| m.hull(id).is_some());
            for part in parts {
                elsewhere = elsewhere || part.find(id)?.is_some();
            }
            if elsewhere {
                found.insert(id);
            }
        }
        budget.check()?;
    }
    budget.bytes(found.len() as u64 * 32)?;
    Ok(found)
}

/// Gives the blocks of a part.
fn blocks(
    part: &Part,
    range: TimeRange,
    hints: &Hints<'_>,
    several: &HashSet<TraceId>,
    budget: &Budget,
    look: &mut Look<'_>,
) -> Result<ControlFlow<()>, SelectError> {
    let masks = part.masks(hints)?;
    let apart = apart(part, several)?;
    for (number, mask) in masks.iter().enumerate() {
        budget.check()?;
        if *mask != hints.all() || !part.block_hull(number).overlaps(range) {
            continue;
        }
        let rows = part.block_rows(number);
        let columns = open(
            part,
            number,
            apart.as_ref().map(|a| a[rows.clone()].to_vec()),
        )?;
        let mut held = budget.holding();
        held.add(rows.len() as u64 * 16)?;
        budget.samples(rows.len() as u64)?;
        let flow = look(&columns)?;
        budget.release_samples(rows.len() as u64);
        if flow.is_break() {
            return Ok(flow);
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// A block of memory as columns; rows of `several` traces are given elsewhere.
pub(crate) fn of_held(held: &Held, several: Option<&HashSet<TraceId>>) -> Columns<'static> {
    let block = &held.block;
    let elsewhere: Vec<bool> = several.map_or(Vec::new(), |several| {
        block.traces.iter().map(|id| several.contains(id)).collect()
    });
    let mut apart = None;
    if !held.again.is_empty() || elsewhere.contains(&true) {
        let is_apart = |(row, trace): (usize, &u32)| {
            let elsewhere = elsewhere.get(*trace as usize).copied().unwrap_or(false);
            elsewhere || held.again.contains(&(row as u32))
        };
        apart = Some(block.of_trace.iter().enumerate().map(is_apart).collect());
    }
    Columns {
        len: block.len(),
        hull: held.hull,
        source: Source::Held(Arc::clone(block)),
        apart,
    }
}

/// A block as columns.
pub(crate) fn open(
    part: &Part,
    number: usize,
    apart: Option<Vec<bool>>,
) -> Result<Columns<'_>, Corrupt> {
    Ok(Columns {
        len: part.block_rows(number).len(),
        hull: part.block_hull(number),
        source: Source::Block(Box::new(Open {
            place: part.name(),
            pieces: part.pieces(number)?,
            resources: OnceCell::new(),
            scopes: OnceCell::new(),
            shapes: OnceCell::new(),
            ids: OnceCell::new(),
        })),
        apart,
    })
}

/// For each row of a part whether its trace is given elsewhere; `None` where none is.
fn apart(part: &Part, several: &HashSet<TraceId>) -> Result<Option<Vec<bool>>, SelectError> {
    if several.is_empty() {
        return Ok(None);
    }
    let table = part.traces()?;
    let mut apart = None;
    for id in several {
        if let Some(place) = part.find(*id)? {
            let rows = table.rows(place);
            let all = part.block_rows(part.block_count() - 1).end;
            apart.get_or_insert_with(|| vec![false; all])[rows].fill(true);
        }
    }
    Ok(apart)
}
