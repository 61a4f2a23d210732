//! What is too old or too far in the future to be kept, decided before it is acknowledged: what
//! retention would remove at once must not be acknowledged as stored.

use std::collections::BTreeSet;

use obs_model::packed::Arriving;
use obs_model::time::{NANOS_PER_DAY, NANOS_PER_SECOND};
use obs_model::{Labels, LogBatch, MetricBatch, TimeRange, Timestamp, duration};

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

/// Lines that are told one by one; the rest is counted.
const UNTIMELY_TOLD_MAX: usize = 5;
/// Characters of a stream's labels that are told.
const LABELS_CHARS: usize = 300;

/// Which records are at times that are not taken, in Loki's words; `None` where there is none.
pub(crate) fn untimely_logs(batch: &LogBatch, taken: TimeRange) -> Option<String> {
    let streams = batch.streams.iter();
    let mut untimely = streams
        .flat_map(|stream| stream.records.iter().map(move |r| (&stream.labels, r.time)))
        .filter(|(_, time)| !taken.contains(*time));
    let first: Vec<_> = untimely.by_ref().take(UNTIMELY_TOLD_MAX).collect();
    if first.is_empty() {
        return None;
    }
    let mut told: Vec<String> = Vec::new();
    for (labels, time) in first {
        let text = untimely_line(labels, time, taken);
        if !told.contains(&text) {
            told.push(text);
        }
    }
    let rest = untimely.count();
    if rest > 0 {
        told.push(format!("and {rest} other lines"));
    }
    Some(told.join("; "))
}

fn untimely_line(labels: &Labels, time: Timestamp, taken: TimeRange) -> String {
    let mut stream = labels.to_string();
    if let Some((end, _)) = stream.char_indices().nth(LABELS_CHARS) {
        stream.truncate(end);
        stream.push('…');
    }
    let at = whole_seconds(time);
    match time < taken.start {
        true => format!(
            "entry for stream '{stream}' has timestamp too old: {at}, oldest acceptable timestamp \
             is: {}",
            whole_seconds(taken.start)
        ),
        false => format!("entry for stream '{stream}' has timestamp too new: {at}"),
    }
}

/// A time as Loki tells it.
fn whole_seconds(time: Timestamp) -> Timestamp {
    time.saturating_sub(time.nanos().rem_euclid(NANOS_PER_SECOND))
}

/// Whether there is room in memory for the days (UTC) that the rows of a batch lie in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// All are there already.
    Known,
    /// Some are new, and there is room for them.
    Fresh,
    /// Only after a flush.
    None,
}

/// Room for `days` beside those in memory.
pub(crate) fn room(days: &BTreeSet<i64>, known: &BTreeSet<i64>, max: usize) -> Room {
    let fresh = days.difference(known).count();
    match fresh {
        0 => Room::Known,
        _ if known.len() + fresh <= max => Room::Fresh,
        _ => Room::None,
    }
}

/// Why a batch is refused for now, for its sender.
pub(crate) fn no_room(max: usize) -> String {
    format!(
        "the rows in memory lie in too many different days, at most obs.limits.memory_days_max = \
         {max}; send again once they are flushed"
    )
}

/// Why rows were refused for good, for their sender; empty when none was.
pub(crate) fn too_wide(refused: u64, max: usize) -> String {
    if refused == 0 {
        return String::new();
    }
    format!(
        "{refused} refused: one batch has rows of more different days than \
         obs.limits.memory_days_max = {max}, all but the newest days; send them in parts"
    )
}

/// The day (UTC) of a time, since the epoch.
pub(crate) fn day(time: Timestamp) -> i64 {
    time.nanos().div_euclid(NANOS_PER_DAY)
}

/// Takes out the rows at times that are not to be kept; gives the number of samples.
pub(crate) fn metrics(batch: &mut MetricBatch, mut keep: impl FnMut(Timestamp) -> bool) -> u64 {
    let before = batch.sample_count();
    batch
        .known
        .retain(|millis| keep(Timestamp::from_millis(millis)));
    for series in &mut batch.series {
        series.samples.retain(|s| keep(s.time));
        series.exemplars.retain(|e| keep(e.time));
    }
    (before - batch.sample_count()) as u64
}

/// Takes out the records at times that are not to be kept; gives their number.
pub(crate) fn logs(batch: &mut LogBatch, mut keep: impl FnMut(Timestamp) -> bool) -> u64 {
    let before = batch.record_count();
    for stream in &mut batch.streams {
        stream.records.retain(|r| keep(r.time));
    }
    (before - batch.record_count()) as u64
}

/// Takes out the spans that begin at times that are not to be kept; gives their number.
pub(crate) fn spans(batch: &mut Arriving, keep: impl FnMut(Timestamp) -> bool) -> u64 {
    let before = batch.span_count();
    batch.retain(keep);
    (before - batch.span_count()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_model::{LogRecord, LogStream};

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
            let taken = taken(now, retention);
            assert_eq!(logs(&mut batch, |at| taken.contains(at)), refused);
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

    #[test]
    fn untimely_lines_are_told_as_loki_does() {
        let taken = TimeRange::new(
            Timestamp::from_millis(1_000_500),
            Timestamp::from_seconds(2000),
        );
        let check = |times: &[i64], expect: Option<&str>| {
            let records = times.iter().copied().map(record).collect();
            let labels = Labels::from_pairs([("app", "shop"), ("pod", "7")]);
            let streams = vec![LogStream { labels, records }];
            let told = untimely_logs(&LogBatch { streams }, taken);
            assert_eq!(told.as_deref(), expect, "{times:?}");
        };
        check(&[1500, 2000], None);
        check(
            &[1500, 999],
            Some(
                "entry for stream '{app=\"shop\", pod=\"7\"}' has timestamp too old: \
                 1970-01-01T00:16:39Z, oldest acceptable timestamp is: 1970-01-01T00:16:40Z",
            ),
        );
        check(
            &[2001, 2001, 2001, 2001, 2001, 1, 2],
            Some(
                "entry for stream '{app=\"shop\", pod=\"7\"}' has timestamp too new: \
                 1970-01-01T00:33:21Z; and 2 other lines",
            ),
        );
    }

    #[test]
    fn days_in_memory_are_bounded() {
        let check = |days: &[i64], known: &[i64], expect: Room| {
            let set = |all: &[i64]| all.iter().copied().collect::<BTreeSet<i64>>();
            assert_eq!(
                room(&set(days), &set(known), 3),
                expect,
                "{days:?} {known:?}"
            );
        };
        check(&[], &[1, 2, 3, 4], Room::Known);
        check(&[2], &[1, 2, 3, 4], Room::Known);
        check(&[1, 2, 3], &[], Room::Fresh);
        check(&[1, 4], &[1, 2], Room::Fresh);
        check(&[1, 4, 5], &[1, 2], Room::None);
        assert_eq!(day(Timestamp::from_seconds(-1)), -1);
        assert_eq!(day(Timestamp::from_seconds(86_400)), 1);
    }
}
