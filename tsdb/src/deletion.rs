//! Deletion by matchers and time range, and retention by matchers: how a selector is written, and
//! what it hides in one memory or part.
//!
//! Invariant: what a mask hides is the same for every read and for a merge, so that nothing changes
//! when hidden samples leave the disk.

use obs_model::{MatchOp, Matcher, Tenant, TimeRange};
use obs_storage::codec::varint;
use obs_storage::{Corrupt, DeleteError, Hidden, Store};
use roaring::RoaringBitmap;

use crate::column::{Column, MilliRange};
use crate::kind::Metrics;
use crate::postings::{Index, find};
use crate::tier::reach;

/// First byte of a selector.
const VERSION: u8 = 1;
/// The operations in the order of their codes.
const OPS: [MatchOp; 4] = [
    MatchOp::Equal,
    MatchOp::NotEqual,
    MatchOp::Regex,
    MatchOp::NotRegex,
];

/// The series that a deletion or a rule of retention takes: those that meet all matchers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    matchers: Vec<Matcher>,
}

impl Selector {
    /// The conditions.
    pub fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader { bytes, at: 0 };
        if reader.take(1)? != [VERSION] {
            return Err(reader.corrupt("version 1 of a selector"));
        }
        let mut matchers = Vec::new();
        while reader.at < bytes.len() {
            let code = reader.take(1)?[0];
            let Some(op) = OPS.get(usize::from(code)) else {
                return Err(reader.corrupt("an operation from 0 to 3"));
            };
            let name = reader.text()?;
            let value = reader.text()?;
            let matcher = Matcher::new(name, *op, value);
            matchers.push(matcher.map_err(|error| reader.corrupt(&error.to_string()))?);
        }
        Ok(Self { matchers })
    }
}

/// A selector in the making of its matchers.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn corrupt(&self, expected: &str) -> Corrupt {
        Corrupt::new("selector of metrics", self.at as u64, expected)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Corrupt> {
        let rest = &self.bytes[self.at..];
        let Some((taken, _)) = rest.split_at_checked(count) else {
            return Err(self.corrupt("more bytes"));
        };
        self.at += count;
        Ok(taken)
    }

    fn text(&mut self) -> Result<&'a str, Corrupt> {
        let Some((length, used)) = varint::get(&self.bytes[self.at..]) else {
            return Err(self.corrupt("a length"));
        };
        self.at += used;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let taken = self.take(length)?;
        std::str::from_utf8(taken).map_err(|_| self.corrupt("UTF-8"))
    }
}

/// The bytes that stand for matchers in a deletion or a rule of retention.
pub fn selector(matchers: &[Matcher]) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    for matcher in matchers {
        let code = OPS.iter().position(|op| *op == matcher.op);
        bytes.push(code.expect("all operations are listed") as u8);
        for text in [&matcher.name, &matcher.value] {
            varint::put(text.len() as u64, &mut bytes);
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes
}

/// Deletes the samples and exemplars inside a range of the series of a tenant that meet all
/// matchers, as far as they have arrived. They are not found from here on; the next merges take
/// them from the disk. The same samples may be written again.
pub fn delete(
    store: &Store<Metrics>,
    tenant: &Tenant,
    matchers: &[Matcher],
    range: TimeRange,
) -> Result<(), DeleteError> {
    store.delete(tenant, &selector(matchers), range)
}

/// What is hidden in one memory or part.
#[derive(Debug, Default)]
pub(crate) struct Mask {
    cuts: Vec<(RoaringBitmap, MilliRange)>,
}

impl Mask {
    /// Finds the series of a memory or part that hidden rows are of.
    pub(crate) fn new(index: &dyn Index, hidden: &[Hidden<Metrics>]) -> Result<Self, Corrupt> {
        let mut cuts = Vec::new();
        for hidden in hidden {
            let series = find(index, hidden.selector.matchers())?;
            if !series.is_empty() {
                cuts.push((series, MilliRange::of(hidden.range)));
            }
        }
        Ok(Self { cuts })
    }

    /// Takes away the series that have nothing visible inside a range.
    pub(crate) fn narrow(&self, series: &mut RoaringBitmap, range: MilliRange) {
        for (hidden, cut) in &self.cuts {
            if cut.contains(range.start) && cut.contains(range.end) {
                *series -= hidden;
            }
        }
    }

    /// The ranges that are hidden of a series.
    fn of(&self, series: u32) -> impl Iterator<Item = MilliRange> {
        let mine = self.cuts.iter();
        let mine = mine.filter(move |(hidden, _)| hidden.contains(series));
        mine.map(|(_, cut)| *cut)
    }

    /// Whether something of a series is hidden.
    pub(crate) fn concerns(&self, series: u32) -> bool {
        self.of(series).next().is_some()
    }

    /// Whether a sample or exemplar of a series is hidden.
    pub(crate) fn hides(&self, series: u32, time: i64) -> bool {
        self.of(series).any(|cut| cut.contains(time))
    }

    /// The samples of an ascending column of a series that are not hidden.
    pub(crate) fn visible(&self, series: u32, column: Column) -> Column {
        let mut column = column;
        for cut in self.of(series) {
            let (from, mut to) = cut.find(&column.times);
            // What a sample of a tier stands for goes as a whole.
            let last = column.times.get(to).map(|_| reach(&column, to));
            to += usize::from(last.is_some_and(|last| last.overlaps(cut)));
            if from < to {
                let mut rest = column.slice(0, from);
                rest.extend(&column, to, column.len());
                column = rest;
            }
        }
        column
    }
}
