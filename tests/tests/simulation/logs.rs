//! Rows as log lines of several shapes; the rows of a group share their time, several their stream.

use obs_logstore::{
    Direction, EnrichOptions, LineCondition, LineTest, LogFilter, Logs, MemoryStreams, Rows,
    SelectError, Visitor,
};
use obs_model::limits::Limits;
use obs_model::{Labels, LogBatch, LogRecord, LogStream, Tenant, TimeRange, Timestamp};
use obs_storage::{Corrupt, Snapshot, Store};

use super::signal::{Found, Row, Signal, budget};

/// Lines above it are refused.
const LINE_BYTES_MAX: usize = 200;

fn limits() -> Limits {
    Limits {
        line_bytes_max: LINE_BYTES_MAX,
        ..Limits::default()
    }
}

fn stream(row: Row) -> LogStream {
    let tag = row.tag();
    let line = match row.member {
        0 | 1 => format!("level=info msg=\"request served\" tag={tag} took=3ms").into_bytes(),
        2 => format!("{{\"level\":\"warn\",\"tag\":{tag},\"path\":\"/a/b\"}}").into_bytes(),
        3 => format!("tag {tag}").into_bytes(),
        4 => [
            b"\xff\xfe\0 tag ".as_slice(),
            tag.to_string().as_bytes(),
            b" \x80\n",
        ]
        .concat(),
        5 => format!("E1121 12:00:00.1 main.rs:1] tag {tag} panicked\n  at frame one").into_bytes(),
        _ => format!(
            "connection {} from 10.0.0.{} tag {tag}",
            row.group(),
            row.member
        )
        .into_bytes(),
    };
    let metadata = match row.member {
        1 => Labels::from_pairs([("trace_id", format!("{tag:032x}"))]),
        5 => Labels::from_pairs([("user", "someone"), ("detected_level", "critical")]),
        _ => Labels::empty(),
    };
    LogStream {
        labels: Labels::from_pairs([("app", format!("app-{}", row.member % 3))]),
        records: vec![LogRecord {
            time: Logs::time(row),
            line,
            metadata,
        }],
    }
}

/// The stream and record as they are stored.
fn enriched(row: Row) -> LogStream {
    let mut batch = LogBatch {
        streams: vec![stream(row)],
    };
    obs_logstore::enrich(&mut batch, &EnrichOptions::default());
    batch.streams.pop().expect("one stream went in")
}

fn batch(rows: &[Row], bad: usize) -> LogBatch {
    let mut streams: Vec<LogStream> = Vec::new();
    for row in rows {
        let one = stream(*row);
        match streams.last_mut().filter(|last| last.labels == one.labels) {
            Some(last) => last.records.extend(one.records),
            None => streams.push(one),
        }
    }
    for _ in 0..bad {
        let place = streams.len() / 2;
        streams[place].records.push(LogRecord {
            time: Timestamp::from_nanos(1),
            line: vec![b'x'; LINE_BYTES_MAX + 1],
            metadata: Labels::empty(),
        });
    }
    LogBatch { streams }
}

impl Signal for Logs {
    const FIRST_WINS: bool = false;

    fn time(row: Row) -> Timestamp {
        Timestamp::from_millis(row.at).saturating_add(row.group() % 1000)
    }

    fn stream(row: Row) -> Option<u8> {
        Some(row.member % 3)
    }

    fn encode(
        store: &Store<Self>,
        tenant: &Tenant,
        rows: &[Row],
        bad: usize,
        out: &mut Vec<u8>,
    ) -> u64 {
        let mut batch = batch(rows, bad);
        obs_logstore::enrich(&mut batch, &EnrichOptions::default());
        let snapshot = store.snapshot(tenant);
        let refused = obs_logstore::admit(&mut batch, &limits(), &MemoryStreams(&snapshot));
        if batch.record_count() > 0 {
            obs_logstore::encode(&batch, out);
        }
        refused.iter().map(|r| r.records).sum()
    }

    fn find(snapshot: &Snapshot<Self>, way: u64) -> Result<Found, Corrupt> {
        let direction = if way.is_multiple_of(2) {
            Direction::Backward
        } else {
            Direction::Forward
        };
        let tagged = [LineCondition {
            negative: false,
            tests: vec![LineTest::contains(b"tag")],
        }];
        let filter = LogFilter {
            matchers: &[],
            range: TimeRange::ALL,
            lines: if way.is_multiple_of(3) { &tagged } else { &[] },
            labels: &[],
            direction,
        };
        let mut lines = Lines {
            direction,
            slice: None,
            found: Found::default(),
        };
        obs_logstore::scan(snapshot, &filter, &budget(), &mut lines).map_err(damage)?;
        Ok(lines.found)
    }
}

struct Lines {
    direction: Direction,
    slice: Option<TimeRange>,
    found: Found,
}

impl Visitor for Lines {
    fn slice(&mut self, range: TimeRange) -> bool {
        if let Some(before) = self.slice.replace(range) {
            let follows = match self.direction {
                Direction::Forward => before.end < range.start,
                Direction::Backward => range.end < before.start,
            };
            assert!(follows, "slice {range:?} behind {before:?}");
        }
        true
    }

    fn stream(&mut self, labels: &Labels, rows: &Rows<'_>) -> Result<(), SelectError> {
        let records = rows.records()?;
        let slice = self.slice.expect("a slice begins before its streams");
        assert!(records.is_sorted_by_key(|r| r.time), "times go back");
        for record in records {
            assert!(slice.contains(record.time), "outside of its slice");
            let row = Row::of_tag(tag_of(&record.line), record.time.millis());
            let written = enriched(row);
            assert_eq!(*labels, written.labels, "stream of {row:?}");
            assert_eq!(record, written.records[0], "record of {row:?}");
            self.found.rows.push(row);
        }
        Ok(())
    }
}

/// The number behind the word tag.
fn tag_of(line: &[u8]) -> i64 {
    let at = line.windows(3).position(|w| w == b"tag");
    let rest = &line[at.expect("every line has a tag")..];
    let digits = rest.iter().skip_while(|b| !b.is_ascii_digit());
    let digits = digits.take_while(|b| b.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + i64::from(digit - b'0'))
}

fn damage(error: SelectError) -> Corrupt {
    match error {
        SelectError::Budget(error) => panic!("no query comes near its budget: {error}"),
        SelectError::Corrupt(error) => error,
    }
}
