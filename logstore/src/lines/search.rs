//! Finds lines that hold a text or match a regular expression, template by template.
//!
//! Where a text can stand is decided once per template: always (inside what all its lines share),
//! never, or where certain columns have certain values. So most lines are never put together.
//! Invariant: a line is found exactly when its bytes satisfy the conditions.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use memchr::memmem::{self, Finder};
use obs_model::Pattern;
use obs_model::machine::Machine;
use obs_storage::Corrupt;

use super::column::{Lines, Template};
use super::split::{UUID_BYTES, VARIABLES_MAX, is_marker, is_uuid_digit, may_hold};
use super::variable::{Form, Values, Variables, number, put_hex, put_hex_text};
use super::walk::{self, Stopped};

/// Most ways for a text to stand in the variables of a template before lines are put together and
/// searched instead; each variable that may hold all of it is one.
const ALIGNMENTS_MAX: usize = VARIABLES_MAX + 16;
/// Most steps of looking for them.
const STEPS_MAX: usize = 20_000;
/// Most bytes of templates that are remembered over the groups of a scan.
const REMEMBERED_BYTES_MAX: usize = 4 << 20;

/// A condition on lines, as a reader states it.
#[derive(Clone, Debug)]
pub struct LineCondition {
    /// Whether lines that pass a test are left out, instead of the others.
    pub negative: bool,
    /// A line passes when one of them holds.
    pub tests: Vec<LineTest>,
}

/// What only a reader knows to ask of a line.
pub type ReadersTest = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// A test of a line.
#[derive(Clone)]
pub enum LineTest {
    /// The line has these bytes somewhere.
    Contains(Finder<'static>),
    /// The expression matches somewhere.
    Matches(Pattern),
    /// A test that only the reader knows.
    Holds {
        /// Bytes that every line has for which it holds; possibly none.
        needle: Vec<u8>,
        /// Whether it holds.
        test: ReadersTest,
    },
}

impl fmt::Debug for LineTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contains(_) | Self::Holds { .. } => {
                write!(f, "{:?}", String::from_utf8_lossy(self.needle()))
            }
            Self::Matches(pattern) => write!(f, "/{}/", pattern.source()),
        }
    }
}

impl LineTest {
    /// The line has these bytes somewhere.
    pub fn contains(text: &[u8]) -> Self {
        Self::Contains(Finder::new(text).into_owned())
    }

    /// Bytes that every line has for which the test holds; possibly none.
    pub(crate) fn needle(&self) -> &[u8] {
        match self {
            Self::Contains(finder) => finder.needle(),
            Self::Matches(pattern) => pattern.needle(),
            Self::Holds { needle, .. } => needle,
        }
    }

    fn holds(&self, line: &[u8]) -> bool {
        match self {
            Self::Contains(finder) => finder.find(line).is_some(),
            Self::Matches(pattern) => {
                let needle = pattern.needle();
                (needle.is_empty() || memmem::find(line, needle).is_some())
                    && pattern.is_match(line)
            }
            Self::Holds { test, .. } => test(line),
        }
    }
}

impl LineCondition {
    /// Whether the line is wanted.
    pub fn holds(&self, line: &[u8]) -> bool {
        self.tests.iter().any(|test| test.holds(line)) != self.negative
    }
}

/// Which rows of a template, or of a group, are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    All,
    None,
    /// Row by row.
    Some(Vec<bool>),
}

impl Wanted {
    fn negated(self) -> Self {
        match self {
            Self::All => Self::None,
            Self::None => Self::All,
            Self::Some(mut rows) => {
                rows.iter_mut().for_each(|row| *row = !*row);
                Self::Some(rows)
            }
        }
    }

    /// Rows that both want.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, _) | (_, Self::None) => Self::None,
            (Self::All, other) => other,
            (this, Self::All) => this,
            (Self::Some(mut rows), Self::Some(others)) => {
                rows.iter_mut().zip(others).for_each(|(a, b)| *a &= b);
                Self::Some(rows)
            }
        }
    }

    fn or(self, other: Self) -> Self {
        self.negated().and(other.negated()).negated()
    }

    pub(crate) fn has(&self, row: usize) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Some(rows) => rows[row],
        }
    }
}

/// Where a text stands in lines of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Always,
    Never,
    /// Where one of these holds.
    Where(Vec<Alignment>),
    /// Where only the lines themselves tell it.
    Unclear,
}

/// Conditions on columns that must all hold.
type Alignment = Vec<(usize, Piece)>;

/// What of the text a variable must have.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    text: Range<usize>,
    /// Whether the variable begins, and ends, with it.
    begins: bool,
    ends: bool,
}

/// A machine that searches for a test.
#[derive(Debug)]
enum Led {
    Unmade,
    By(Box<Machine>),
    /// The test is no expression, or none for automata.
    Not,
}

impl Led {
    fn machine(&mut self, test: &LineTest) -> Option<&mut Machine> {
        if let Self::Unmade = self {
            let machine = match test {
                LineTest::Matches(pattern) => pattern.machine(),
                LineTest::Contains(_) | LineTest::Holds { .. } => None,
            };
            *self = machine.map_or(Self::Not, |machine| Self::By(Box::new(machine)));
        }
        match self {
            Self::By(machine) => Some(machine),
            Self::Unmade | Self::Not => None,
        }
    }
}

/// Conditions, compiled, with what was found out about templates.
#[derive(Debug)]
pub(crate) struct Search {
    conditions: Vec<LineCondition>,
    finders: Vec<Vec<Finder<'static>>>,
    /// For each test the machine that searches for it, made when it is first wanted.
    machines: Vec<Vec<Led>>,
    /// By template: for each test of each condition where its text stands.
    places: HashMap<Vec<u8>, Rc<Vec<Vec<Place>>>>,
    /// Bytes of those templates.
    remembered: usize,
}

impl Search {
    pub(crate) fn new(conditions: &[LineCondition]) -> Self {
        let finder = |test: &LineTest| Finder::new(test.needle()).into_owned();
        let finders = |c: &LineCondition| c.tests.iter().map(finder).collect();
        let machines = |c: &LineCondition| c.tests.iter().map(|_| Led::Unmade).collect();
        Self {
            conditions: conditions.to_vec(),
            finders: conditions.iter().map(finders).collect(),
            machines: conditions.iter().map(machines).collect(),
            places: HashMap::new(),
            remembered: 0,
        }
    }

    /// Whether every line is wanted.
    pub(crate) fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// Whether a line is wanted.
    pub(crate) fn wants(&self, line: &[u8]) -> bool {
        let mut all = self.conditions.iter().zip(&self.finders);
        all.all(|(condition, finders)| {
            let mut tests = condition.tests.iter().zip(finders);
            let passes = tests.any(|(test, finder)| {
                let found = finder.find(line).is_some();
                found && (matches!(test, LineTest::Contains(_)) || test.holds(line))
            });
            passes != condition.negative
        })
    }

    /// For each template of a group, which of its rows are wanted.
    pub(crate) fn rows(&mut self, lines: &Lines<'_>) -> Result<Vec<Wanted>, Corrupt> {
        (0..lines.templates.len())
            .map(|template| self.rows_of(lines, template))
            .collect()
    }

    fn rows_of(&mut self, lines: &Lines<'_>, template: usize) -> Result<Wanted, Corrupt> {
        let places = self.places(&lines.templates[template].bytes);
        let mut wanted = Wanted::All;
        let conditions = self.conditions.iter().zip(&mut self.machines);
        for ((condition, machines), places) in conditions.zip(&*places) {
            let mut passing = Wanted::None;
            for ((test, machine), place) in condition.tests.iter().zip(machines).zip(places) {
                if passing == Wanted::All {
                    break;
                }
                let found = find(lines, template, (test, machine), place, &wanted)?;
                passing = passing.or(found);
            }
            let passing = if condition.negative {
                passing.negated()
            } else {
                passing
            };
            wanted = wanted.and(passing);
            if wanted == Wanted::None {
                break;
            }
        }
        Ok(match wanted {
            Wanted::Some(rows) if !rows.contains(&true) => Wanted::None,
            wanted => wanted,
        })
    }

    fn places(&mut self, template: &[u8]) -> Rc<Vec<Vec<Place>>> {
        if let Some(places) = self.places.get(template) {
            return Rc::clone(places);
        }
        let places = self
            .finders
            .iter()
            .map(|tests| tests.iter().map(|finder| place(template, finder)).collect());
        let places = Rc::new(places.collect());
        if self.remembered + template.len() <= REMEMBERED_BYTES_MAX {
            self.remembered += template.len();
            self.places.insert(template.to_vec(), Rc::clone(&places));
        }
        places
    }
}

/// The rows of a template for which a test holds; rows that are not in `among` may be told either
/// way.
fn find(
    lines: &Lines<'_>,
    template: usize,
    (test, led): (&LineTest, &mut Led),
    place: &Place,
    among: &Wanted,
) -> Result<Wanted, Corrupt> {
    let kind = &lines.templates[template];
    let text = test.needle();
    let candidates = match place {
        Place::Never => return Ok(Wanted::None),
        Place::Always | Place::Unclear => Wanted::All,
        // An expression is led through numbers and identifiers as fast as its text is looked for.
        Place::Where(all)
            if all.iter().any(|a| is_coded(kind, a)) && led.machine(test).is_some() =>
        {
            match all.iter().any(|a| is_possible(kind, text, a)) {
                true => Wanted::All,
                false => return Ok(Wanted::None),
            }
        }
        Place::Where(alignments) => aligned(lines, template, text, alignments)?,
    };
    if matches!(test, LineTest::Contains(_)) && *place != Place::Unclear {
        return Ok(candidates);
    }
    if kind.columns.is_empty() {
        let passes = candidates != Wanted::None && test.holds(&kind.bytes);
        return Ok(if passes { Wanted::All } else { Wanted::None });
    }
    let candidates = candidates.and(among.clone());
    if let Some(machine) = led.machine(test) {
        match walk::matching(lines, template, machine, &candidates) {
            Ok(found) => return Ok(found),
            Err(Stopped::Corrupt(error)) => return Err(error),
            // Line by line from here on.
            Err(Stopped::Places) => *led = Led::Not,
        }
    }
    let mut found = vec![false; kind.rows];
    let mut line = Vec::new();
    for (row, found) in found.iter_mut().enumerate() {
        if candidates.has(row) {
            line.clear();
            lines.write_nth(template, row, &mut line)?;
            *found = test.holds(&line);
        }
    }
    Ok(Wanted::Some(found))
}

/// Whether a variable of an alignment is a number or an identifier, which is not kept as text.
fn is_coded(kind: &Template, alignment: &Alignment) -> bool {
    let is_text = |form: &Form| {
        matches!(
            form,
            Form::Constant(_) | Form::Dictionary { .. } | Form::Plain { .. }
        )
    };
    alignment
        .iter()
        .any(|(column, _)| !is_text(&kind.columns[*column].form))
}

/// Whether a text can stand so in any line of a template.
fn is_possible(kind: &Template, text: &[u8], alignment: &Alignment) -> bool {
    alignment
        .iter()
        .all(|(column, piece)| may_have(&kind.columns[*column].form, text, piece))
}

fn aligned(
    lines: &Lines<'_>,
    template: usize,
    text: &[u8],
    alignments: &[Alignment],
) -> Result<Wanted, Corrupt> {
    let kind = &lines.templates[template];
    let mut found = Wanted::None;
    for alignment in alignments {
        let mut wanted = Wanted::All;
        if !is_possible(kind, text, alignment) {
            continue;
        }
        for (column, piece) in alignment {
            if wanted == Wanted::None {
                break;
            }
            let values = lines.values(template, *column)?;
            wanted = wanted.and(having(values, kind.rows, text, piece));
        }
        found = found.or(wanted);
        if found == Wanted::All {
            break;
        }
    }
    Ok(found)
}

/// Whether a column can have a value with the piece, as far as its form tells.
fn may_have(form: &Form, text: &[u8], piece: &Piece) -> bool {
    let text = &text[piece.text.clone()];
    let digits = |number: i64| number.checked_ilog10().map_or(1, |log| log as usize + 1);
    let hex = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    match form {
        Form::Numbers { min, max } if piece.begins && piece.ends => {
            let canonical = text.len() == 1 || text.first() != Some(&b'0');
            canonical && number(text).is_some_and(|n| (*min..=*max).contains(&n))
        }
        Form::Numbers { max, .. } => text.len() <= digits(*max),
        Form::Padded { digits, min, max } if piece.begins && piece.ends => {
            text.len() == *digits && number(text).is_some_and(|n| (*min..=*max).contains(&n))
        }
        Form::Padded { digits, .. } => text.len() <= *digits,
        Form::Hex { digits } => text.len() <= *digits && text.iter().all(hex),
        Form::Uuids => (0..=UUID_BYTES.saturating_sub(text.len())).any(|offset| {
            let fits = |(at, byte): (usize, &u8)| is_uuid_digit(offset + at, *byte);
            text.len() <= UUID_BYTES && text.iter().enumerate().all(fits)
        }),
        Form::Addresses => text.iter().all(|b| b.is_ascii_digit() || *b == b'.'),
        Form::Constant(value) => has(value, text, piece),
        Form::Dictionary { longest } | Form::Plain { longest } => text.len() <= *longest,
    }
}

fn has(value: &[u8], text: &[u8], piece: &Piece) -> bool {
    match (piece.begins, piece.ends) {
        (true, true) => value == text,
        (true, false) => value.starts_with(text),
        (false, true) => value.ends_with(text),
        (false, false) => memmem::find(value, text).is_some(),
    }
}

/// The rows whose value has the piece.
fn having(values: &Variables, rows: usize, text: &[u8], piece: &Piece) -> Wanted {
    let text = &text[piece.text.clone()];
    let each = |holds: &mut dyn FnMut(usize) -> bool| Wanted::Some((0..rows).map(holds).collect());
    match values {
        Variables::Constant(value) if has(value, text, piece) => Wanted::All,
        Variables::Constant(_) => Wanted::None,
        Variables::Numbers(numbers, digits) if piece.begins && piece.ends => {
            let canonical = match digits {
                0 => text.len() == 1 || text.first() != Some(&b'0'),
                digits => text.len() == *digits,
            };
            match number(text).filter(|_| canonical) {
                Some(wanted) => each(&mut |row| numbers[row] == wanted),
                None => Wanted::None,
            }
        }
        Variables::Dictionary(distinct, indexes) => match stored_having(distinct, text, piece) {
            None => Wanted::None,
            Some(found) => each(&mut |row| found[usize::from(indexes[row])]),
        },
        Variables::Plain(all) => match stored_having(all, text, piece) {
            None => Wanted::None,
            Some(found) => Wanted::Some(found),
        },
        Variables::Hex(bytes, length) => match hex_having(bytes, *length, text, piece) {
            None => Wanted::None,
            Some(found) => Wanted::Some(found),
        },
        _ => {
            let mut value = Vec::new();
            each(&mut |row| {
                value.clear();
                values.write(row, &mut value);
                has(&value, text, piece)
            })
        }
    }
}

/// Which of some values have the piece; `None` when none does.
fn stored_having(values: &Values, text: &[u8], piece: &Piece) -> Option<Vec<bool>> {
    let finder = Finder::new(text);
    let mut found = None;
    let mut from = 0;
    while let Some(at) = finder.find(&values.bytes()[from..]) {
        let index = values.at(from + at);
        // A match may run over the end of a value into the next one.
        if has(values.get(index), text, piece) {
            found.get_or_insert_with(|| vec![false; values.len()])[index] = true;
        }
        // The whole value was looked at.
        from = values.end(index);
    }
    found
}

/// Which identifiers of so many bytes have hexadecimal digits; `None` when none does.
///
/// The digits are looked for as bytes, once beginning at a byte and once in the middle of one; the
/// half bytes at the ends are compared with the digits of what is found.
fn hex_having(bytes: &[u8], length: usize, text: &[u8], piece: &Piece) -> Option<Vec<bool>> {
    let mut found: Option<Vec<bool>> = None;
    let mut value = Vec::new();
    let mut check = |row: usize| {
        value.clear();
        put_hex_text(&bytes[row * length..(row + 1) * length], &mut value);
        if has(&value, text, piece) {
            found.get_or_insert_with(|| vec![false; bytes.len() / length])[row] = true;
        }
    };
    for skipped in [0, 1] {
        let whole = text.get(skipped..).unwrap_or_default();
        let whole = &whole[..whole.len() / 2 * 2];
        let mut packed = Vec::new();
        put_hex(whole, &mut packed);
        if packed.is_empty() {
            // One or two digits: nearly every identifier has them.
            (0..bytes.len() / length).for_each(&mut check);
            break;
        }
        let finder = Finder::new(&packed);
        let mut from = 0;
        while let Some(at) = finder.find(&bytes[from..]) {
            check((from + at) / length);
            from += at + 1;
        }
    }
    found
}

/// Where a text stands in the lines of a template.
fn place(template: &[u8], finder: &Finder<'_>) -> Place {
    let text = finder.needle();
    if text.iter().any(|b| is_marker(*b)) {
        return Place::Unclear;
    }
    if text.is_empty() || finder.find(template).is_some() {
        return Place::Always;
    }
    let mut walk = Walk {
        units: Vec::with_capacity(template.len()),
        text,
        steps: 0,
        pieces: Vec::new(),
        found: Vec::new(),
    };
    let mut column = 0;
    for &byte in template {
        walk.units.push((byte, column));
        column += usize::from(is_marker(byte));
    }
    if column == 0 {
        return Place::Never;
    }
    for unit in 0..walk.units.len() {
        walk.begin(unit);
    }
    if walk.steps > STEPS_MAX || walk.found.len() > ALIGNMENTS_MAX {
        return Place::Unclear;
    }
    match walk.found.is_empty() {
        true => Place::Never,
        false => Place::Where(walk.found),
    }
}

/// Lays a text along a template in every way.
struct Walk<'a> {
    /// Bytes of the template, each with the number of the column that it has if it is a marker.
    units: Vec<(u8, usize)>,
    text: &'a [u8],
    steps: usize,
    pieces: Alignment,
    found: Vec<Alignment>,
}

impl Walk<'_> {
    /// The text begins at this unit.
    fn begin(&mut self, unit: usize) {
        let (byte, column) = self.units[unit];
        if !is_marker(byte) {
            return self.go_on(unit, 0);
        }
        let length = self.text.len();
        let fits = self.text.iter().take_while(|b| may_hold(byte, **b)).count();
        if fits == length {
            self.found.push(vec![(
                column,
                Piece {
                    text: 0..length,
                    begins: false,
                    ends: false,
                },
            )]);
        }
        for end in 1..=fits.min(length - 1) {
            let piece = Piece {
                text: 0..end,
                begins: false,
                ends: true,
            };
            self.pieces.push((column, piece));
            self.go_on(unit + 1, end);
            self.pieces.pop();
        }
    }

    /// The text goes on with its byte `at` where this unit begins.
    fn go_on(&mut self, mut unit: usize, mut at: usize) {
        loop {
            self.steps += 1;
            if self.steps > STEPS_MAX || self.found.len() > ALIGNMENTS_MAX {
                return;
            }
            if at == self.text.len() {
                self.found.push(self.pieces.clone());
                return;
            }
            let Some(&(byte, column)) = self.units.get(unit) else {
                return;
            };
            if !is_marker(byte) {
                if byte != self.text[at] {
                    return;
                }
                (unit, at) = (unit + 1, at + 1);
                continue;
            }
            let rest = &self.text[at..];
            let fits = rest.iter().take_while(|b| may_hold(byte, **b)).count();
            for length in 1..=fits {
                let whole = at + length == self.text.len();
                let piece = Piece {
                    text: at..at + length,
                    begins: true,
                    ends: !whole,
                };
                self.pieces.push((column, piece));
                self.go_on(unit + 1, at + length);
                self.pieces.pop();
            }
            return;
        }
    }
}
