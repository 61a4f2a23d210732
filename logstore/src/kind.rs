//! What the log store tells the storage engine about itself.
//!
//! Invariant: flush and merge write the rows of a stream in order of time, equal times in order
//! of arrival, each record once.

use std::collections::BTreeSet;

use obs_model::{TimeRange, Timestamp};
use obs_storage::codec::bytes;
use obs_storage::{Corrupt, Input, Kind, MemoryBytes, PartReader, PartWriter};

use crate::deletion::Selector;
use crate::memory::Memory;
use crate::merge;
use crate::part::Part;
use crate::postings::resolve;
use crate::record::Decoded;
use crate::write::Writer;

/// The signal "logs".
#[derive(Clone, Copy, Debug)]
pub enum Logs {}

impl Kind for Logs {
    const NAME: &'static str = "logs";
    type Memory = Memory;
    type Part = Part;
    type Selector = Selector;

    fn selector(bytes: &[u8]) -> Result<Selector, Corrupt> {
        Selector::decode(bytes)
    }

    fn may_select(part: &Part, selector: &Selector) -> Result<bool, Corrupt> {
        Ok(!resolve(part, &selector.matchers)?.is_empty())
    }

    fn apply(memory: &Memory, _segment: u64, record: &[u8]) -> Result<(), Corrupt> {
        memory.push(&Decoded::read(record)?);
        Ok(())
    }

    fn bytes(memory: &Memory) -> MemoryBytes {
        MemoryBytes::from(memory.bytes())
    }

    fn range(memory: &Memory) -> Option<TimeRange> {
        memory.range()
    }

    fn first_row(memory: &Memory, from: Timestamp) -> Option<Timestamp> {
        memory.first_row(from)
    }

    fn days(memory: &Memory) -> BTreeSet<i64> {
        memory.days()
    }

    fn flush(memory: &Memory, range: TimeRange, out: &mut PartWriter) -> Result<(), Corrupt> {
        memory.read(|inner| {
            let mut streams: Vec<_> = inner
                .streams
                .iter()
                .filter(|stream| stream.range.overlaps(range))
                .collect();
            streams.sort_by(|a, b| a.labels.cmp(&b.labels));
            let mut writer = Writer::new(out, bytes::LEVEL);
            for stream in streams {
                writer.stream(&stream.labels);
                for timed in stream.ordered(range) {
                    let (line, metadata) = stream.row(timed.row);
                    writer.row(timed.time, line, metadata)?;
                }
            }
            writer.finish()
        })
    }

    fn open(part: PartReader) -> Result<Part, Corrupt> {
        Part::open(part)
    }

    fn merge(parts: &[&Part], keep: TimeRange, out: &mut PartWriter) -> Result<(), Corrupt> {
        let inputs: Vec<_> = parts
            .iter()
            .map(|&part| Input { part, hidden: &[] })
            .collect();
        merge::merge(&inputs, keep, out)
    }

    fn merge_visible(
        inputs: &[Input<'_, Self>],
        keep: TimeRange,
        out: &mut PartWriter,
    ) -> Result<(), Corrupt> {
        merge::merge(inputs, keep, out)
    }
}
