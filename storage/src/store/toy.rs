//! A signal of numbered rows that removes no duplicates, so that the tests see every one.

use obs_model::{Tenant, TimeRange, Timestamp};
use parking_lot::Mutex;

use crate::{Corrupt, Hidden, Input, Kind, MemoryBytes, PartReader, PartWriter, Record, Snapshot};

/// A row: a number and a time. The tenant is inside the record to catch mixed-up tenants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) number: u64,
    pub(crate) at: i64,
}

pub(crate) const ROW_BYTES: usize = 16;

impl Row {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = self.number.to_le_bytes().to_vec();
        out.extend_from_slice(&self.at.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let Ok(bytes) = <[u8; ROW_BYTES]>::try_from(bytes) else {
            return Err(Corrupt::new("row", 0, "16 bytes"));
        };
        let (number, at) = bytes.split_at(8);
        Ok(Self {
            number: u64::from_le_bytes(number.try_into().unwrap()),
            at: i64::from_le_bytes(at.try_into().unwrap()),
        })
    }
}

/// Selects the rows whose number leaves this remainder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remainder {
    pub(crate) of: u8,
    pub(crate) is: u8,
}

impl Remainder {
    pub(crate) fn takes(self, row: &Row) -> bool {
        row.number % u64::from(self.of) == u64::from(self.is)
    }

    pub(crate) fn bytes(self) -> [u8; 2] {
        [self.of, self.is]
    }
}

/// The rows that are not hidden.
fn visible(mut rows: Vec<Row>, hidden: &[Hidden<Toy>]) -> Vec<Row> {
    let hides = |hidden: &Hidden<Toy>, row: &Row| {
        hidden.selector.takes(row) && hidden.range.contains(Timestamp::from_nanos(row.at))
    };
    rows.retain(|row| !hidden.iter().any(|hidden| hides(hidden, row)));
    rows
}

#[derive(Debug)]
pub(crate) struct Toy;

impl Kind for Toy {
    const NAME: &'static str = "toy";
    const TIERS: bool = true;
    type Memory = Mutex<Vec<Row>>;
    type Part = PartReader;
    type Selector = Remainder;

    fn selector(bytes: &[u8]) -> Result<Remainder, Corrupt> {
        match *bytes {
            [of, is] if of > 0 => Ok(Remainder { of, is }),
            _ => Err(Corrupt::new("selector", 0, "a divisor and a remainder")),
        }
    }

    fn may_select(part: &PartReader, selector: &Remainder) -> Result<bool, Corrupt> {
        Ok(read(part)?.iter().any(|row| selector.takes(row)))
    }

    fn apply(memory: &Self::Memory, _segment: u64, record: &[u8]) -> Result<(), Corrupt> {
        memory.lock().push(Row::decode(record)?);
        Ok(())
    }

    fn bytes(memory: &Self::Memory) -> MemoryBytes {
        MemoryBytes::from(memory.lock().len() * ROW_BYTES)
    }

    fn range(memory: &Self::Memory) -> Option<TimeRange> {
        range(&memory.lock())
    }

    fn first_row(memory: &Self::Memory, from: Timestamp) -> Option<Timestamp> {
        let rows = memory.lock();
        let times = rows.iter().map(|r| Timestamp::from_nanos(r.at));
        times.filter(|at| *at >= from).min()
    }

    fn flush(
        memory: &Self::Memory,
        window: TimeRange,
        out: &mut PartWriter,
    ) -> Result<(), Corrupt> {
        write(memory.lock().clone(), window, out);
        Ok(())
    }

    fn open(part: PartReader) -> Result<Self::Part, Corrupt> {
        Ok(part)
    }

    fn merge(parts: &[&PartReader], keep: TimeRange, out: &mut PartWriter) -> Result<(), Corrupt> {
        let mut rows = Vec::new();
        for part in parts {
            rows.extend(read(part)?);
        }
        write(rows, keep, out);
        Ok(())
    }

    fn merge_visible(
        inputs: &[Input<'_, Self>],
        keep: TimeRange,
        out: &mut PartWriter,
    ) -> Result<(), Corrupt> {
        let mut rows = Vec::new();
        for input in inputs {
            rows.extend(visible(read(input.part)?, input.hidden));
        }
        write(rows, keep, out);
        Ok(())
    }

    /// The last row of each bucket.
    fn downsample(
        inputs: &[Input<'_, Self>],
        keep: TimeRange,
        resolution: i64,
        out: &mut PartWriter,
    ) -> Result<(), Corrupt> {
        let mut buckets = std::collections::BTreeMap::new();
        for input in inputs {
            for row in visible(read(input.part)?, input.hidden) {
                let bucket = buckets.entry(row.at.div_euclid(resolution));
                let last = bucket.or_insert(row);
                if row.at >= last.at {
                    *last = row;
                }
            }
        }
        write(buckets.into_values().collect(), keep, out);
        Ok(())
    }
}

fn write(mut rows: Vec<Row>, keep: TimeRange, out: &mut PartWriter) {
    rows.retain(|r| keep.contains(Timestamp::from_nanos(r.at)));
    if let Some(range) = range(&rows) {
        out.begin("rows");
        for row in &rows {
            out.extend(&row.encode());
        }
        out.rows(rows.len() as u64, range);
    }
}

fn range(rows: &[Row]) -> Option<TimeRange> {
    let start = rows.iter().map(|r| r.at).min()?;
    let end = rows.iter().map(|r| r.at).max()?;
    let at = Timestamp::from_nanos;
    Some(TimeRange::new(at(start), at(end)))
}

pub(crate) fn read(part: &PartReader) -> Result<Vec<Row>, Corrupt> {
    part.section("rows")?
        .chunks(ROW_BYTES)
        .map(Row::decode)
        .collect()
}

/// All rows of a snapshot in its order, without those of parts that are found damaged; and how
/// many parts those are.
pub(crate) fn rows(snapshot: &Snapshot<Toy>) -> (Vec<Row>, usize) {
    let (mut rows, mut damaged) = (Vec::new(), 0);
    for (index, part) in snapshot.parts.iter().enumerate() {
        // A tier stands for rows that are there, as long as it can be made again.
        if snapshot.tag(index).tier != 0 && !snapshot.tag(index).closed {
            continue;
        }
        match read(&part.part) {
            Ok(found) => rows.extend(visible(found, snapshot.hidden.in_part(index))),
            Err(_) => damaged += 1,
        }
    }
    for (index, memory) in snapshot.memories.iter().enumerate() {
        let hidden = snapshot.hidden.in_memory(index);
        rows.extend(visible(memory.lock().clone(), hidden));
    }
    (rows, damaged)
}

pub(crate) fn tenant(name: &str) -> Tenant {
    Tenant::new(name).unwrap()
}

/// Calls `with` on the records of some rows.
pub(crate) fn records<T>(
    tenant: &Tenant,
    rows: &[Row],
    with: impl FnOnce(&[Record<'_>]) -> T,
) -> T {
    let payloads: Vec<Vec<u8>> = rows.iter().map(|r| r.encode()).collect();
    let record = |payload| Record { tenant, payload };
    let records: Vec<_> = payloads.iter().map(|p| record(p)).collect();
    with(&records)
}
