//! A log query over lines that are handed to it one by one: what a live tail filters with.
//!
//! Invariant: a line passes here exactly where a scan of the store would give it, with the same
//! labels.

use std::borrow::Cow;

use obs_model::{Labels, LogRecord, Timestamp, matcher};

use super::pipeline::Pipeline;
use super::row::Row;
use crate::error::QueryError;
use crate::logql::ast::LogExpr;

/// A compiled log query.
#[derive(Debug)]
pub struct Sieve {
    logs: LogExpr,
    pipeline: Pipeline,
}

/// A line that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sifted {
    /// What is left of the stream's labels.
    pub stream: Labels,
    /// The line as the pipeline made it, with what is left of its structured metadata.
    pub record: LogRecord,
    /// Labels that the pipeline made.
    pub parsed: Labels,
}

impl Sieve {
    /// Compiles a query that was asked at this time, which is `now` in its templates.
    pub fn new(logs: &LogExpr, now: Timestamp) -> Result<Self, QueryError> {
        Ok(Self {
            pipeline: Pipeline::new(&logs.stages)?.at(now),
            logs: logs.clone(),
        })
    }

    /// Whether the query selects a stream.
    pub fn selects(&self, stream: &Labels) -> bool {
        matcher::all_match(&self.logs.matchers, stream)
    }

    /// What the query makes of a line of a selected stream; `None` where it drops it.
    pub fn sift(&self, stream: &Labels, record: &LogRecord) -> Option<Sifted> {
        let mut row = Row::new(&record.line, record.time, stream, &record.metadata, None);
        if !self.pipeline.run(&mut row) {
            return None;
        }
        let (stream, metadata, parsed) = (
            row.stream_labels(),
            row.metadata_labels(),
            row.parsed_labels(),
        );
        let line = match row.line {
            Cow::Owned(changed) => changed,
            Cow::Borrowed(same) => same.to_vec(),
        };
        let time = record.time;
        Some(Sifted {
            stream,
            record: LogRecord {
                time,
                line,
                metadata,
            },
            parsed,
        })
    }
}

#[cfg(test)]
mod tests {
    use obs_model::limits::Limits;

    use super::*;
    use crate::logql::{Expr, parse};

    #[test]
    fn lines_pass_as_from_the_store() {
        let check = |query: &str, line: &str, expect: Option<&str>| {
            let Ok(Expr::Logs(logs)) = parse(query, &Limits::default()) else {
                panic!("{query} is no log query");
            };
            let sieve = Sieve::new(&logs, Timestamp::default()).unwrap();
            let stream = Labels::from_pairs([("app", "a")]);
            let record = LogRecord {
                time: Timestamp::from_seconds(1),
                line: line.as_bytes().to_vec(),
                metadata: Labels::from_pairs([("trace", "t")]),
            };
            let found = sieve
                .selects(&stream)
                .then(|| sieve.sift(&stream, &record))
                .flatten()
                .map(|s| {
                    let line = String::from_utf8(s.record.line).unwrap();
                    format!("{} {} {} {line}", s.stream, s.record.metadata, s.parsed)
                });
            assert_eq!(found.as_deref(), expect, "{query}");
        };
        check("{app=\"b\"}", "x", None);
        check("{app=\"a\"} |= `y`", "x", None);
        check(
            "{app=\"a\"} | logfmt | line_format `{{.k}}!`",
            "k=v",
            Some("{app=\"a\"} {trace=\"t\"} {k=\"v\"} v!"),
        );
    }
}
