//! A batch of log records on its way through the journal into memory.
//!
//! Invariant: memory is the same as after [`Kind::apply`](obs_storage::Kind::apply) of the record,
//! which is not read for it.

use obs_model::LogBatch;
use obs_storage::{Corrupt, Draft, Target};

use crate::kind::Logs;
use crate::memory::Memory;
use crate::record;

/// What is stored next.
#[derive(Debug)]
pub struct LogDraft<'a>(pub &'a LogBatch);

impl LogDraft<'_> {
    /// About how many bytes of the journal a batch takes, before compression.
    pub fn weight(batch: &LogBatch) -> usize {
        let record = |r: &obs_model::LogRecord| r.line.len() + record::ROW_BYTES;
        let streams = batch.streams.iter();
        let all =
            streams.map(|s| s.labels.packed().len() + s.records.iter().map(record).sum::<usize>());
        all.sum()
    }
}

impl Draft<Logs> for LogDraft<'_> {
    fn encode(&mut self, _: &Target<'_, Logs>, record: &mut Vec<u8>) {
        record::encode(self.0, record);
    }

    fn apply(&mut self, memory: &Memory) -> Result<(), Corrupt> {
        memory.push_batch(self.0);
        Ok(())
    }

    fn abort(&mut self, _: &Memory) {}
}
