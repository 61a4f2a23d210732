//! Deleting log lines: which rows a deletion, or a rule of retention, takes.
//!
//! Invariant: readers and merges ask the same [`Hides`], so that a row that is hidden is never
//! written again and a row that is written was never hidden.

use obs_model::{Labels, MatchOp, Matcher, Pattern, Tenant, TimeRange, Timestamp};
use obs_storage::codec::{Reader, put_bytes, varint};
use obs_storage::{Corrupt, DeleteError, Hidden, Store};

use crate::kind::Logs;
use crate::lines::search::{LineCondition, LineTest};

/// First byte of a selector.
const VERSION: u8 = 1;
/// Most matchers, conditions and tests of a selector.
const ITEMS_MAX: usize = 1000;

/// Which lines a deletion takes: those of streams for which all matchers hold, that satisfy all
/// conditions.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    /// Conditions on the labels of a stream.
    pub matchers: Vec<Matcher>,
    /// Conditions on the line.
    pub lines: Vec<LineCondition>,
}

impl Selector {
    /// Whether lines of such a stream may be taken.
    pub(crate) fn takes(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|m| m.matches_labels(labels))
    }

    /// Its bytes in the manifest; `docs/formats/log-part.md`. Tests that only a reader knows cannot
    /// be written.
    pub fn encode(&self) -> Result<Vec<u8>, Corrupt> {
        let mut out = vec![VERSION];
        varint::put(self.matchers.len() as u64, &mut out);
        for matcher in &self.matchers {
            out.push(match matcher.op {
                MatchOp::Equal => 0,
                MatchOp::NotEqual => 1,
                MatchOp::Regex => 2,
                MatchOp::NotRegex => 3,
            });
            put_bytes(matcher.name.as_bytes(), &mut out);
            put_bytes(matcher.value.as_bytes(), &mut out);
        }
        varint::put(self.lines.len() as u64, &mut out);
        for condition in &self.lines {
            out.push(u8::from(condition.negative));
            varint::put(condition.tests.len() as u64, &mut out);
            for test in &condition.tests {
                let (kind, text) = match test {
                    LineTest::Contains(finder) => (0, finder.needle()),
                    LineTest::Matches(pattern) => (1, pattern.source().as_bytes()),
                    LineTest::Holds { .. } => {
                        let expected = "tests for a text or a regular expression";
                        return Err(Corrupt::new("selector", 0, expected));
                    }
                };
                out.push(kind);
                put_bytes(text, &mut out);
            }
        }
        Ok(out)
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader::new("selector", bytes);
        if reader.u8()? != VERSION {
            return Err(reader.corrupt(format!("version {VERSION} of a selector")));
        }
        let mut matchers = Vec::new();
        for _ in 0..reader.count(ITEMS_MAX)? {
            let op = match reader.u8()? {
                0 => MatchOp::Equal,
                1 => MatchOp::NotEqual,
                2 => MatchOp::Regex,
                3 => MatchOp::NotRegex,
                op => return Err(reader.corrupt(format!("the kind of a matcher, found {op}"))),
            };
            let name = reader.text(reader.remaining())?;
            let value = reader.text(reader.remaining())?;
            let matcher = Matcher::new(name, op, value);
            matchers.push(matcher.map_err(|e| reader.corrupt(e.to_string()))?);
        }
        let mut lines = Vec::new();
        for _ in 0..reader.count(ITEMS_MAX)? {
            let negative = reader.u8()? != 0;
            let mut tests = Vec::new();
            for _ in 0..reader.count(ITEMS_MAX)? {
                tests.push(match reader.u8()? {
                    0 => LineTest::contains(reader.bytes(reader.remaining())?),
                    1 => {
                        let source = reader.text(reader.remaining())?;
                        let pattern = Pattern::search(source);
                        LineTest::Matches(pattern.map_err(|e| reader.corrupt(e.to_string()))?)
                    }
                    kind => return Err(reader.corrupt(format!("the kind of a test, found {kind}"))),
                });
            }
            lines.push(LineCondition { negative, tests });
        }
        reader.finish()?;
        Ok(Self { matchers, lines })
    }
}

/// Hides the lines that the selector takes, inside the range, of what has arrived so far. Durable
/// when it returns; the lines go when their parts are merged.
pub fn delete(
    store: &Store<Logs>,
    tenant: &Tenant,
    selector: &Selector,
    range: TimeRange,
) -> Result<(), DeleteError> {
    store.delete(tenant, &selector.encode()?, range)
}

/// What is hidden in one source.
#[derive(Debug)]
pub(crate) struct Hides<'a>(&'a [Hidden<Logs>]);

impl<'a> Hides<'a> {
    pub(crate) fn new(hidden: &'a [Hidden<Logs>]) -> Self {
        Self(hidden)
    }

    /// What may be hidden of a stream inside a range: the conditions on its lines, with the range
    /// of each.
    pub(crate) fn of_stream(&self, labels: &Labels, range: TimeRange) -> Vec<&'a Hidden<Logs>> {
        let may_hide = |h: &&Hidden<Logs>| h.range.overlaps(range) && h.selector.takes(labels);
        self.0.iter().filter(may_hide).collect()
    }

    /// Whether a row is hidden.
    pub(crate) fn row(&self, labels: &Labels, time: i64, line: &[u8]) -> bool {
        let hides = |h: &Hidden<Logs>| h.selector.takes(labels) && hides_row(h, time, line);
        self.0.iter().any(hides)
    }
}

/// Whether a row of a stream that the selector takes is hidden.
pub(crate) fn hides_row(hidden: &Hidden<Logs>, time: i64, line: &[u8]) -> bool {
    hidden.range.contains(Timestamp::from_nanos(time))
        && hidden.selector.lines.iter().all(|c| c.holds(line))
}
