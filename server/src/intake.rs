//! What is too old or too far in the future to be kept, decided before it is acknowledged: what
//! retention would remove at once must not be acknowledged as stored.

use obs_model::time::NANOS_PER_DAY;
use obs_model::{LogBatch, MetricBatch, SpanBatch, TimeRange, Timestamp, duration};

/// How far clocks of senders may be ahead where there is a retention. A row from the far future
/// would never be removed by age.
const AHEAD_MAX: i64 = NANOS_PER_DAY;

/// The times that are taken in at `now`; everything without a retention.
pub(crate) fn taken(now: Timestamp, retention: Option<i64>) -> TimeRange {
    retention.map_or(TimeRange::ALL, |age| {
        TimeRange::new(now.saturating_sub(age), now.saturating_add(AHEAD_MAX))
    })
}

/// Why rows were refused, for their sender; empty when none was.
pub(crate) fn reason(refused: u64, retention: Option<i64>) -> String {
    match retention {
        Some(age) if refused > 0 => format!(
            "{refused} refused: older than the retention of {}, or more than {} in the future",
            duration::format(age),
            duration::format(AHEAD_MAX)
        ),
        Some(_) | None => String::new(),
    }
}

/// Takes out what is not inside the range; gives the number of samples.
pub(crate) fn metrics(batch: &mut MetricBatch, taken: TimeRange) -> u64 {
    let before = batch.sample_count();
    for series in &mut batch.series {
        series.samples.retain(|s| taken.contains(s.time));
        series.exemplars.retain(|e| taken.contains(e.time));
    }
    (before - batch.sample_count()) as u64
}

/// Takes out what is not inside the range; gives the number of records.
pub(crate) fn logs(batch: &mut LogBatch, taken: TimeRange) -> u64 {
    let before = batch.record_count();
    for stream in &mut batch.streams {
        stream.records.retain(|r| taken.contains(r.time));
    }
    (before - batch.record_count()) as u64
}

/// Takes out what does not begin inside the range; gives the number of spans.
pub(crate) fn spans(batch: &mut SpanBatch, taken: TimeRange) -> u64 {
    let before = batch.span_count();
    for scope in batch.resources.iter_mut().flat_map(|r| &mut r.scopes) {
        scope.spans.retain(|s| taken.contains(s.start));
    }
    (before - batch.span_count()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_model::{Labels, LogRecord, LogStream};

    fn record(seconds: i64) -> LogRecord {
        let time = Timestamp::from_seconds(seconds);
        LogRecord {
            time,
            line: b"x".to_vec(),
            metadata: Labels::empty(),
        }
    }

    #[test]
    fn what_retention_would_remove_is_refused() {
        let day = 86_400;
        let now = Timestamp::from_seconds(100 * day);
        let check = |retention: Option<i64>, refused: u64| {
            let times = [10 * day, 95 * day, 100 * day, 102 * day];
            let records = times.map(record).to_vec();
            let streams = vec![LogStream {
                labels: Labels::empty(),
                records,
            }];
            let mut batch = LogBatch { streams };
            assert_eq!(logs(&mut batch, taken(now, retention)), refused);
            assert_eq!(batch.record_count() as u64, 4 - refused);
        };
        check(None, 0);
        check(Some(15 * NANOS_PER_DAY), 2);
        assert_eq!(
            reason(2, Some(15 * NANOS_PER_DAY)),
            "2 refused: older than the retention of 15d, or more than 1d in the future"
        );
        assert_eq!(reason(0, Some(1)), "");
    }
}
