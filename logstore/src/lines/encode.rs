//! Writes the lines of a group as templates and columns of variables. `docs/formats/log-lines.md`.
//!
//! Invariant: every line is written exactly once, under one template; templates that few lines
//! have are not worth their columns, such lines stand together as they are.

use hashbrown::HashTable;
use obs_storage::codec::{bytes, put_bytes, varint};
use xxhash_rust::xxh3::xxh3_64;

use super::known::Known;
use super::split::{ADDRESS, LINE, NUMBER, Splitter, is_marker};
use super::variable::{self, Form, put_numbers_below};
use crate::tokens::GroupTokens;

/// A template with fewer lines is not worth its columns.
const LINES_MIN: usize = if cfg!(test) { 2 } else { 6 };
/// A frame of variables ends once it has so many bytes: a reader decompresses no less.
const FRAME_BYTES: usize = if cfg!(test) { 64 } else { 128 << 10 };

/// Dense data is compressed where that saves at least one byte in so many.
const DENSE_GAIN: usize = 16;

/// A template and the variables of its lines.
#[derive(Default)]
struct Kind {
    template: Vec<u8>,
    rows: usize,
    /// Where they stand in the group's lines, line after line.
    variables: Vec<(u32, u32)>,
}

/// Turns lines into bytes, group after group.
pub(crate) struct Encoder {
    splitter: Splitter,
    known: Known,
    kinds: Vec<Kind>,
    found: HashTable<(u64, u32)>,
    ids: Vec<u32>,
    zstd: bytes::Encoder,
}

impl Encoder {
    /// Compresses at this level.
    pub(crate) fn new(level: i32) -> Self {
        Self {
            splitter: Splitter::default(),
            known: Known::default(),
            kinds: Vec::new(),
            found: HashTable::new(),
            ids: Vec::new(),
            zstd: bytes::Encoder::new(level),
        }
    }

    /// Appends the lines, each of which ends where `ends` says, and tells their tokens.
    pub(crate) fn encode(
        &mut self,
        lines: &[u8],
        ends: &[usize],
        tokens: &mut GroupTokens,
        out: &mut Vec<u8>,
    ) {
        self.kinds.clear();
        self.found.clear();
        self.known.clear();
        self.ids.clear();
        let mut start = 0;
        for &end in ends {
            self.take(lines, start, end);
            start = end;
        }
        self.put_aside_rare_kinds(ends);
        self.write(lines, tokens, out);
    }

    fn take(&mut self, lines: &[u8], start: usize, end: usize) {
        let line = &lines[start..end];
        let known = self.known.follow(line, &mut self.splitter.variables);
        // A group has fewer rows than 2^32.
        let id = known.map_or_else(|| self.split(line), |id| id as u32);
        let kind = &mut self.kinds[id as usize];
        kind.rows += 1;
        for variable in &self.splitter.variables {
            // A group's lines have less than 4 GiB.
            let at = (
                (start + variable.start) as u32,
                (start + variable.end) as u32,
            );
            kind.variables.push(at);
        }
        self.ids.push(id);
    }

    /// Splits a line of which no known template tells how; gives the number of its template.
    fn split(&mut self, line: &[u8]) -> u32 {
        self.splitter.split(line);
        let template = &self.splitter.template;
        let hash = xxh3_64(template);
        let kinds = &mut self.kinds;
        let known = self.found.find(hash, |(known, id)| {
            *known == hash && kinds[*id as usize].template == *template
        });
        if let Some((_, id)) = known {
            return *id;
        }
        let id = kinds.len() as u32;
        self.found
            .insert_unique(hash, (hash, id), |(hash, _)| *hash);
        if *template != [LINE] {
            self.known.insert(template, kinds.len());
        }
        kinds.push(Kind {
            template: template.clone(),
            ..Kind::default()
        });
        id
    }

    /// Gives lines of rare templates the template of a whole line, and orders templates by how
    /// many lines they have.
    fn put_aside_rare_kinds(&mut self, ends: &[usize]) {
        let mut whole = Kind {
            template: vec![LINE],
            ..Kind::default()
        };
        let is_whole = |kind: &Kind| kind.template == [LINE];
        let rare = |kind: &Kind| kind.rows < LINES_MIN || is_whole(kind);
        let mut start = 0;
        for (id, &end) in self.ids.iter().zip(ends) {
            if rare(&self.kinds[*id as usize]) {
                whole.rows += 1;
                whole.variables.push((start as u32, end as u32));
            }
            start = end;
        }
        let mut order: Vec<u32> = (0..self.kinds.len() as u32).collect();
        order.retain(|id| !rare(&self.kinds[*id as usize]));
        order.sort_by_key(|id| std::cmp::Reverse(self.kinds[*id as usize].rows));
        let mut renumbered = vec![order.len() as u32; self.kinds.len()];
        let mut kinds = Vec::with_capacity(order.len() + 1);
        for (new, old) in order.into_iter().enumerate() {
            renumbered[old as usize] = new as u32;
            kinds.push(std::mem::take(&mut self.kinds[old as usize]));
        }
        if whole.rows > 0 {
            kinds.push(whole);
        }
        self.kinds = kinds;
        for id in &mut self.ids {
            *id = renumbered[*id as usize];
        }
    }

    fn write(&mut self, lines: &[u8], tokens: &mut GroupTokens, out: &mut Vec<u8>) {
        let mut head = Vec::new();
        let mut frame = FrameData::default();
        let mut frames = Vec::new();
        let mut values: Vec<&[u8]> = Vec::new();
        varint::put(self.kinds.len() as u64, &mut head);
        let mut frame_start = 0;
        for (number, kind) in self.kinds.iter().enumerate() {
            varint::put(kind.rows as u64, &mut head);
            put_bytes(&kind.template, &mut head);
            tokens.add_template(&kind.template);
            let width = kind.variables.len() / kind.rows;
            let markers = kind.template.iter().filter(|byte| is_marker(**byte));
            for (column, marker) in markers.enumerate() {
                values.clear();
                let places = kind.variables[column..].iter().step_by(width);
                values.extend(places.map(|(start, end)| &lines[*start as usize..*end as usize]));
                let told = !matches!(*marker, NUMBER | ADDRESS);
                frame.column(&values, &mut head, &mut |value| {
                    if told {
                        tokens.add(value);
                    }
                });
            }
            let last = number + 1 == self.kinds.len();
            // The number of templates that end with this frame; 0 = the frame goes on.
            if frame.bytes() >= FRAME_BYTES || last {
                varint::put((number + 1 - frame_start) as u64, &mut head);
                frame_start = number + 1;
                frame.end(&mut self.zstd, &mut frames);
            } else {
                varint::put(0, &mut head);
            }
        }
        // Rows are at most 2^16, and so are templates.
        let ids: Vec<u16> = self.ids.iter().map(|id| *id as u16).collect();
        let mut numbers = Vec::new();
        if self.kinds.len() > 1 {
            put_numbers_below(self.kinds.len(), &ids, &mut numbers);
        }
        self.zstd.encode(&head, out);
        self.zstd.encode(&numbers, out);
        out.append(&mut frames);
    }
}

/// The data of the columns of a frame: what zstd makes smaller, and what it mostly does not, which is
/// then read without being decompressed.
#[derive(Default)]
struct FrameData {
    packed: Vec<u8>,
    dense: Vec<u8>,
    column: Vec<u8>,
}

impl FrameData {
    /// Adds a column; its form, and where its data is, go to `head`; the values are told.
    fn column(&mut self, values: &[&[u8]], head: &mut Vec<u8>, tell: &mut dyn FnMut(&[u8])) {
        let start = head.len();
        self.column.clear();
        variable::encode(values, head, &mut self.column, tell);
        let dense = Form::is_dense(&head[start..], &self.column);
        varint::put((self.column.len() as u64) << 1 | u64::from(dense), head);
        match dense {
            true => self.dense.append(&mut self.column),
            false => self.packed.append(&mut self.column),
        }
    }

    fn bytes(&self) -> usize {
        self.packed.len() + self.dense.len()
    }

    /// Appends the frame and starts anew.
    fn end(&mut self, zstd: &mut bytes::Encoder, out: &mut Vec<u8>) {
        zstd.encode(&self.packed, out);
        let start = out.len();
        zstd.encode(&self.dense, out);
        // Identifiers may repeat; where few do, they are better read where they stand.
        if (out.len() - start) * DENSE_GAIN > self.dense.len() * (DENSE_GAIN - 1) {
            out.truncate(start);
            bytes::encode_raw(&self.dense, out);
        }
        self.packed.clear();
        self.dense.clear();
    }
}
