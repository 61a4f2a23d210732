//! Merges parts: the traces of all, each once, late spans beside their trace.
//!
//! Invariant: the first part in order of arrival wins where an identity is in several.

use std::collections::HashMap;

use obs_model::{TimeRange, Timestamp, TraceId};
use obs_storage::{Corrupt, PartWriter};

use crate::part::Part;
use crate::row::{Row, keep_first, sort};
use crate::source::Source;
use crate::write::Writer;

/// Writes the rows of all parts that start inside `keep`.
pub(crate) fn merge(parts: &[&Part], keep: TimeRange, out: &mut PartWriter) -> Result<(), Corrupt> {
    let mut source = Source::new(parts.to_vec());
    let mut starts: HashMap<TraceId, Timestamp> = HashMap::new();
    for (number, part) in parts.iter().enumerate() {
        let ids = part.ids()?;
        let table = source.table(number)?;
        for index in 0..part.trace_count() {
            let start = table.hull(ids.place(index)?).start;
            let known = starts.entry(ids.id(index)).or_insert(start);
            *known = start.min(*known);
        }
    }
    let mut order: Vec<(Timestamp, TraceId)> = starts.into_iter().map(|(id, s)| (s, id)).collect();
    order.sort_unstable();
    let mut writer = Writer::new(out);
    for (_, id) in order {
        let mut rows: Vec<Row> = Vec::new();
        source.trace(id, &mut rows)?;
        rows.retain(|row| keep.contains(row.span.start));
        keep_first(&mut rows);
        sort(&mut rows);
        writer.trace(id, rows);
    }
    writer.finish();
    Ok(())
}
