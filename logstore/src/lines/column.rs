//! Reads the lines of a group: templates at once, variables when they are asked for.
//!
//! Invariants: a line is put together from its template and its variables alone; what contradicts
//! itself is `Corrupt`, never a panic; a frame is decompressed once, whoever asks.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};

use obs_storage::Corrupt;
use obs_storage::codec::{Reader, bytes};

use super::split::{LINE, VARIABLES_MAX, is_marker};
use super::variable::{Form, Variables, read_numbers_below};

/// Bound on one decompressed run; a group of one huge line is the largest.
const RUN_BYTES_MAX: usize = 1 << 31;

/// Stands for what differs between the lines of a template; templates have no such byte else.
pub const HOLE: u8 = 1;

/// Most values of a column that count as words of the text, the most bytes of one, and the most
/// columns of that kind in a template.
const WORDS_MAX: usize = 16;
const WORD_BYTES_MAX: usize = 32;
const WORD_COLUMNS_MAX: usize = 12;
/// Lines of a template with values of any kind below which nothing is known of what they share.
const SHARED_ROWS_MIN: usize = 64;

/// A template of a group.
#[derive(Debug)]
pub(crate) struct Template {
    /// Its bytes, with a marker for each variable.
    pub(crate) bytes: Vec<u8>,
    /// Number of lines.
    pub(crate) rows: usize,
    /// Its columns.
    pub(crate) columns: Vec<Column>,
    frame: usize,
    /// Which of them have a few words as values.
    words: OnceCell<Vec<usize>>,
}

/// A column of variables.
#[derive(Debug)]
pub(crate) struct Column {
    /// What is known of it without its data.
    pub(crate) form: Form,
    /// Where its data stands in the frame, in the dense or in the packed part of it.
    dense: bool,
    start: usize,
    bytes: usize,
    values: OnceCell<Variables>,
}

/// Two runs of bytes: of packed and of dense columns.
type Frame<'a> = [FrameRun<'a>; 2];

#[derive(Debug)]
struct FrameRun<'a> {
    stored: Reader<'a>,
    data: OnceCell<Cow<'a, [u8]>>,
}

impl<'a> FrameRun<'a> {
    fn open(reader: &mut Reader<'a>) -> Result<Self, Corrupt> {
        let mut stored = reader.clone();
        bytes::skip(reader)?;
        let length = reader.position() - stored.position();
        Ok(Self {
            stored: Reader::new(reader.place(), stored.slice(length)?),
            data: OnceCell::new(),
        })
    }
}

/// The lines of a group.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    place: &'a str,
    /// Most lines first; lines that share none come last.
    pub(crate) templates: Vec<Template>,
    /// Which template each row has; empty when there is one only.
    ids: Vec<u16>,
    /// Which row of its template each row is.
    ranks: OnceCell<Vec<u32>>,
    frames: Vec<Frame<'a>>,
    /// Bytes of memory held.
    held: Cell<usize>,
}

impl<'a> Lines<'a> {
    /// Reads templates and their order; not the variables.
    pub(crate) fn open(reader: &mut Reader<'a>, rows: usize) -> Result<Self, Corrupt> {
        let place = reader.place();
        let head = bytes::decode(reader, RUN_BYTES_MAX)?;
        let (templates, frame_count) = read_head(&mut Reader::new(place, &head), rows)?;
        let numbers = bytes::decode(reader, RUN_BYTES_MAX)?;
        let mut numbers = Reader::new(place, &numbers);
        let ids = match templates.len() {
            0 | 1 => Vec::new(),
            count => read_numbers_below(&mut numbers, count, rows)?,
        };
        numbers.finish()?;
        let mut counts = vec![0usize; templates.len()];
        ids.iter().for_each(|id| counts[usize::from(*id)] += 1);
        let agree = templates.iter().zip(&counts).all(|(t, c)| t.rows == *c);
        if !ids.is_empty() && !agree {
            return Err(reader.corrupt("as many lines of each template as told"));
        }
        let mut frames = Vec::with_capacity(frame_count);
        for _ in 0..frame_count {
            frames.push([FrameRun::open(reader)?, FrameRun::open(reader)?]);
        }
        let held = templates.iter().map(|kind| {
            let columns = kind.columns.len() * size_of::<Column>();
            kind.bytes.len() + columns
        });
        Ok(Self {
            held: Cell::new(held.sum::<usize>() + 2 * ids.len()),
            place,
            templates,
            ids,
            ranks: OnceCell::new(),
            frames,
        })
    }

    /// The columns of a template whose values are a few words: those belong to what lines share.
    fn words_of(&self, template: usize) -> Result<&[usize], Corrupt> {
        let kind = &self.templates[template];
        if let Some(known) = kind.words.get() {
            return Ok(known);
        }
        let mut words = Vec::new();
        for (number, column) in kind.columns.iter().enumerate() {
            let few =
                matches!(column.form, Form::Dictionary { longest } if longest <= WORD_BYTES_MAX);
            if few
                && words.len() < WORD_COLUMNS_MAX
                && self.values(template, number)?.are_words(WORDS_MAX)
            {
                words.push(number);
            }
        }
        Ok(kind.words.get_or_init(|| words))
    }

    /// By which the lines are told apart that share a text: template, and which words.
    pub(crate) fn kind_of(&self, row: usize) -> Result<(usize, u64), Corrupt> {
        let template = self.template_of(row);
        let mut number = 0;
        for column in self.words_of(template)? {
            let word = self.values(template, *column)?.stored_index(self.rank(row));
            number = number * WORDS_MAX as u64 + word as u64;
        }
        Ok((template, number))
    }

    /// What the lines of a row's kind share, with [`HOLE`] for what differs; `None` where they share
    /// nothing that is known, or are too few to know. Only columns of a few words are read.
    pub(crate) fn shared(&self, row: usize) -> Result<Option<Vec<u8>>, Corrupt> {
        let template = self.template_of(row);
        let kind = &self.templates[template];
        let plain = |column: &Column| matches!(column.form, Form::Plain { .. });
        let unknown = kind.rows < SHARED_ROWS_MIN && kind.columns.iter().any(plain);
        if kind.bytes.contains(&LINE) || unknown {
            return Ok(None);
        }
        let words = self.words_of(template)?;
        let mut columns = kind.columns.iter().enumerate();
        let mut text = Vec::with_capacity(kind.bytes.len());
        for &byte in &kind.bytes {
            let column = is_marker(byte).then(|| columns.next()).flatten();
            match column.map(|(number, column)| (number, &column.form)) {
                Some((_, Form::Constant(value))) => text.extend_from_slice(value),
                Some((number, _)) if words.contains(&number) => {
                    self.values(template, number)?
                        .write(self.rank(row), &mut text);
                }
                Some(_) => text.push(HOLE),
                None => text.push(byte),
            }
        }
        Ok(Some(text))
    }

    /// The number of a row's template.
    pub(crate) fn template_of(&self, row: usize) -> usize {
        self.ids.get(row).map_or(0, |id| usize::from(*id))
    }

    /// Which template each row has; empty when there is one only.
    pub(crate) fn ids(&self) -> &[u16] {
        &self.ids
    }

    /// Which row of its template a row is.
    pub(crate) fn rank(&self, row: usize) -> usize {
        if self.ids.is_empty() {
            return row;
        }
        let ranks = self.ranks.get_or_init(|| {
            self.hold(4 * self.ids.len());
            let mut next = vec![0u32; self.templates.len()];
            let rank = |id: &u16| {
                let next = &mut next[usize::from(*id)];
                *next += 1;
                *next - 1
            };
            self.ids.iter().map(rank).collect()
        });
        ranks[row] as usize
    }

    /// The values of a column.
    pub(crate) fn values(&self, template: usize, column: usize) -> Result<&Variables, Corrupt> {
        let kind = &self.templates[template];
        let column = &kind.columns[column];
        if let Some(values) = column.values.get() {
            return Ok(values);
        }
        let values = match &column.form {
            Form::Constant(value) => Variables::Constant(value.clone()),
            form => {
                let frame = self.frame(kind.frame, column.dense)?;
                let mut reader = Reader::new(self.place, frame);
                reader.slice(column.start)?;
                let mut reader = Reader::new(self.place, reader.slice(column.bytes)?);
                let values = Variables::read(form, &mut reader, kind.rows)?;
                reader.finish()?;
                values
            }
        };
        self.hold(values.bytes());
        Ok(column.values.get_or_init(|| values))
    }

    /// Appends a row's line.
    pub(crate) fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Corrupt> {
        self.write_nth(self.template_of(row), self.rank(row), out)
    }

    /// Appends the line of the n-th row of a template.
    pub(crate) fn write_nth(
        &self,
        template: usize,
        nth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Corrupt> {
        let kind = &self.templates[template];
        let mut columns = 0..kind.columns.len();
        let mut text = &kind.bytes[..];
        while let Some(at) = text.iter().position(|b| is_marker(*b)) {
            out.extend_from_slice(&text[..at]);
            text = &text[at + 1..];
            if let Some(column) = columns.next() {
                self.values(template, column)?.write(nth, out);
            }
        }
        out.extend_from_slice(text);
        Ok(())
    }

    /// Bytes of memory held now.
    pub(crate) fn bytes(&self) -> usize {
        self.held.get()
    }

    fn hold(&self, bytes: usize) {
        self.held.set(self.held.get() + bytes);
    }

    fn frame(&self, index: usize, dense: bool) -> Result<&[u8], Corrupt> {
        let run = &self.frames[index][usize::from(dense)];
        if let Some(data) = run.data.get() {
            return Ok(data);
        }
        let data = bytes::read(&mut run.stored.clone(), RUN_BYTES_MAX)?;
        if let Cow::Owned(data) = &data {
            self.hold(data.len());
        }
        Ok(run.data.get_or_init(|| data))
    }
}

/// Templates, and the number of frames.
fn read_head(reader: &mut Reader<'_>, rows: usize) -> Result<(Vec<Template>, usize), Corrupt> {
    let count = reader.count(rows)?;
    let mut templates: Vec<Template> = Vec::new();
    let (mut frame, mut frame_first, mut total) = (0, 0, 0usize);
    // Where the next column begins, in the packed and in the dense part of the frame.
    let mut starts = [0usize; 2];
    for number in 0..count {
        let template_rows = reader.count(rows - total)?;
        total += template_rows;
        let template = reader.bytes(reader.remaining())?.to_vec();
        let markers = template.iter().filter(|b| is_marker(**b)).count();
        if template_rows == 0 || markers > VARIABLES_MAX {
            return Err(reader.corrupt("a template with rows and a bounded number of variables"));
        }
        let mut columns = Vec::with_capacity(markers);
        for _ in 0..markers {
            let form = Form::read(reader)?;
            let length = reader.count(2 * RUN_BYTES_MAX)?;
            let (bytes, dense) = (length >> 1, length & 1 == 1);
            let start = &mut starts[usize::from(dense)];
            columns.push(Column {
                form,
                dense,
                start: *start,
                bytes,
                values: OnceCell::new(),
            });
            *start = start.saturating_add(bytes);
        }
        templates.push(Template {
            bytes: template,
            rows: template_rows,
            columns,
            frame,
            words: OnceCell::new(),
        });
        let ending = reader.count(count)?;
        if ending > 0 {
            if ending != number + 1 - frame_first {
                return Err(reader.corrupt("the number of templates of a frame"));
            }
            (frame, frame_first, starts) = (frame + 1, number + 1, [0; 2]);
        }
    }
    if total != rows || frame_first != count {
        return Err(reader.corrupt(format!("templates of {rows} rows, each in a frame")));
    }
    reader.clone().finish()?;
    Ok((templates, frame))
}
