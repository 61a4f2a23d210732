//! What of a part, and which rows of a group, a scan need not look at.
//!
//! Invariant: a wanted record is never ruled out.

use obs_model::{Labels, Matcher};
use obs_storage::Corrupt;
use roaring::RoaringBitmap;

use crate::error::SelectError;
use crate::group::{ESCAPE, OpenGroup};
use crate::lines::search::{LineCondition, LineTest};
use crate::lines::{Search, Wanted};
use crate::part::{Candidates, Group, Part};
use crate::postings::Postings as _;
use crate::scan::LogFilter;
use crate::tokens::needs_of_value;

/// What groups of a part need.
struct Needed {
    lines: Candidates,
    /// For each condition on labels: the streams that have its name as a label, and what groups
    /// of others need.
    labels: Vec<(RoaringBitmap, Candidates)>,
}

impl Needed {
    fn of(part: &Part, filter: &LogFilter<'_>) -> Result<Self, SelectError> {
        let mut lists = vec![filter.needs()];
        lists.extend(filter.labels.iter().map(|(_, value)| needs_of_value(value)));
        let mut found = part.candidates(&lists)?.into_iter();
        let lines = found.next().unwrap_or_default();
        let mut labels = Vec::with_capacity(filter.labels.len());
        for ((name, _), candidates) in filter.labels.iter().zip(found) {
            let named = part.with_value(&Matcher::equal(name, ""), false)?;
            labels.push((named, candidates));
        }
        Ok(Self { lines, labels })
    }
}

/// Rules groups of a part out.
pub(crate) struct Prune<'p, 'f> {
    part: &'p Part,
    filter: &'p LogFilter<'f>,
    /// What is needed, once it was looked up: a part without blocks in the range is not asked.
    needed: Option<Needed>,
    /// The last group that was asked about, and whether its lines may be wanted.
    last: Option<(u32, bool)>,
}

impl<'p, 'f> Prune<'p, 'f> {
    pub(crate) fn new(part: &'p Part, filter: &'p LogFilter<'f>) -> Self {
        Self {
            part,
            filter,
            needed: None,
            last: None,
        }
    }

    /// Whether a group may have wanted rows of a stream.
    pub(crate) fn wants(&mut self, group: &Group, stream: u32) -> Result<bool, SelectError> {
        let part = self.part;
        let needed = match &self.needed {
            Some(needed) => needed,
            None => self.needed.insert(Needed::of(part, self.filter)?),
        };
        let wanted = match self.last.filter(|(last, _)| *last == group.number) {
            Some((_, wanted)) => wanted,
            None => needed.lines.may_hold(part, group)?,
        };
        self.last = Some((group.number, wanted));
        if !wanted {
            return Ok(false);
        }
        for (named, candidates) in &needed.labels {
            if !named.contains(stream) && !candidates.may_hold(part, group)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Conditions on labels that may come from metadata or from the line.
pub(crate) struct Likely {
    labels: Vec<(String, String)>,
    /// What lines have from which parsers can make all of them.
    search: Search,
}

impl Likely {
    pub(crate) fn new(labels: &[(String, String)]) -> Self {
        let condition = |(_, value): &(String, String)| LineCondition {
            negative: false,
            tests: vec![
                LineTest::contains(value.as_bytes()),
                LineTest::contains(ESCAPE),
            ],
        };
        // Of several conditions each line needs its own; which row has which label from where is
        // told row by row, so only one is searched.
        let conditions: Vec<LineCondition> = match labels {
            [only] => vec![condition(only)],
            _ => Vec::new(),
        };
        Self {
            labels: labels.to_vec(),
            search: Search::new(&conditions),
        }
    }

    /// Which rows of a group may be wanted, of a stream with these labels.
    pub(crate) fn rows<'g>(
        &mut self,
        group: &'g OpenGroup<'_>,
        stream: &Labels,
    ) -> Result<&'g Wanted, Corrupt> {
        let known = |(name, _): &(String, String)| stream.get(name).is_some();
        if self.labels.is_empty() || self.labels.iter().any(known) {
            return Ok(&Wanted::All);
        }
        group.likely(&self.labels, &mut self.search)
    }
}
