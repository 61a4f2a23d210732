//! Where the bytes of streams lie in time: what volumes are made of. From counts by minute where a
//! part has them, else from the ranges of its blocks; where records are hidden or stored twice, from
//! the rows.
//!
//! Invariant: records that lie inside the range are told, each once. What begins before the range or
//! ends behind it in the minute (or, where a part has no counts, the block) at its end is told with
//! it; [`Extent::range`] says from when to when that is.

use obs_model::{Budget, BudgetError, Labels, Matcher, TimeRange};
use obs_storage::Snapshot;

use crate::error::SelectError;
use crate::kind::Logs;
use crate::rows::Rows;
use crate::scan::{Direction, Found, LogFilter, Visitor};

/// Records of one stream that stand together.
#[derive(Clone, Copy, Debug)]
pub struct Extent<'a> {
    /// The stream.
    pub labels: &'a Labels,
    /// The minute, or the range from the first to the last of them.
    pub range: TimeRange,
    /// How many.
    pub records: u64,
    /// Bytes of their lines.
    pub bytes: u64,
}

/// Takes what [`extents`] finds.
pub type VisitExtent<'a> = dyn FnMut(Extent<'_>) -> Result<(), BudgetError> + 'a;

/// Tells where matching streams have records in the range; gives the number of blocks and runs
/// that hold them.
pub fn extents(
    snapshot: &Snapshot<Logs>,
    matchers: &[Matcher],
    range: TimeRange,
    budget: &Budget,
    visit: &mut VisitExtent<'_>,
) -> Result<u64, SelectError> {
    if range.is_empty() {
        return Ok(0);
    }
    let matchers = snapshot.confine(matchers);
    let filter = LogFilter {
        matchers: &matchers,
        range,
        lines: &[],
        labels: &[],
        direction: Direction::Forward,
    };
    let mut found = Found::of(snapshot, &filter, budget)?;
    let pieces = found.tell_extents(snapshot, range, budget, visit)?;
    found.sweep(snapshot, &filter, budget, &mut EachRow(visit))?;
    Ok(pieces)
}

/// Tells each row.
struct EachRow<'v, 'f>(&'v mut VisitExtent<'f>);

impl Visitor for EachRow<'_, '_> {
    fn slice(&mut self, _: TimeRange) -> bool {
        true
    }

    fn stream(&mut self, labels: &Labels, rows: &Rows<'_>) -> Result<(), SelectError> {
        for index in 0..rows.len() {
            let time = rows.time(index)?;
            (self.0)(Extent {
                labels,
                range: TimeRange::new(time, time),
                records: 1,
                bytes: rows.with_line(index, <[u8]>::len)? as u64,
            })?;
        }
        Ok(())
    }
}
