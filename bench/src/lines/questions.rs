//! What is asked about the logs, in Loki's language and in LogsQL, and what the right answers are.

use std::collections::BTreeMap;

use obs_model::pattern::Pattern;

use super::Line;
use crate::workload::{Count, Query};

/// The word that stands in three lines.
pub(super) const NEEDLE: &str = "7f3a9c51d2e84b06a1cc";
/// Within a word of three lines; see [`SUBSTRING_LINE`].
const SUBSTRING: &str = "wq7xkz42h";
/// What those lines end in.
pub(super) const SUBSTRING_LINE: &str = " token=aa51wq7xkz42h09ce";
/// The trace that four lines belong to.
pub(super) const NEEDLE_TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// Of one family of lines.
const EXPRESSION: &str = "status: 20[0-4] len: 1[0-9]{3}";
/// Everything.
const ALL: &str = "{cluster=\"bench\"}";
/// Counts are by so many seconds.
const STEP: i64 = 300;

/// What the lines hold.
pub(super) struct Survey {
    pub(super) lines: u64,
    pub(super) bytes: u64,
    common: u64,
    expression: u64,
    failed: u64,
    by_pod: BTreeMap<String, u64>,
    pattern: Pattern,
}

impl Default for Survey {
    fn default() -> Self {
        Self {
            lines: 0,
            bytes: 0,
            common: 0,
            expression: 0,
            failed: 0,
            by_pod: BTreeMap::new(),
            pattern: Pattern::search(EXPRESSION).expect("a constant that a test tries"),
        }
    }
}

impl Survey {
    pub(super) fn add(&mut self, line: &Line<'_>) {
        self.lines += 1;
        self.bytes += line.text.len() as u64;
        self.common += u64::from(line.text.contains("INFO"));
        self.expression += u64::from(self.pattern.is_match(line.text.as_bytes()));
        self.failed +=
            u64::from(line.app.name == "checkout" && line.text.contains("\"status\":500"));
        match self.by_pod.get_mut(line.pod) {
            Some(lines) => *lines += 1,
            None => {
                self.by_pod.insert(line.pod.to_owned(), 1);
            }
        }
    }

    fn top(&self) -> u64 {
        let mut lines: Vec<u64> = self.by_pod.values().copied().collect();
        lines.sort_unstable_by(|a, b| b.cmp(a));
        lines.iter().take(10).sum()
    }

    /// Counts all lines.
    pub(super) fn count(&self, end_ns: i64) -> Count {
        let time = (end_ns + 60_000_000_000).to_string();
        Count::new(
            "/loki/api/v1/query",
            &[
                ("query", &format!("sum(count_over_time({ALL}[7h]))") as &str),
                ("time", &time),
            ],
            self.lines as f64,
        )
        .or(
            "/select/logsql/query",
            &[("query", "* | stats count() rows")],
        )
    }

    /// Each with its right answer.
    pub(super) fn queries(&self, start_ns: i64, end_ns: i64) -> Vec<Query> {
        let asked = Asked::new(start_ns, end_ns);
        let found = |name: &str, filter: &str, victoria: &str, expect: u64| {
            asked.lines(name, &format!("{ALL} {filter}"), victoria, expect)
        };
        let counted = |name: &str, query: &str, victoria: &str, expect: u64| {
            let query = format!("sum(count_over_time({query} [5m]))");
            asked.counts(name, &query, victoria, expect)
        };
        let top = format!("topk(10, sum by (pod) (count_over_time({ALL}[7h])))");
        vec![
            found(
                "rare word over everything",
                &format!("|= \"{NEEDLE}\""),
                NEEDLE,
                3,
            ),
            found(
                "absent word over everything",
                "|= \"0b5e55edabcdefabcdef\"",
                "0b5e55edabcdefabcdef",
                0,
            ),
            found(
                "rare substring over everything",
                &format!("|= \"{SUBSTRING}\""),
                &format!("~\"{SUBSTRING}\""),
                3,
            ),
            found(
                "trace id in structured metadata",
                &format!("| trace_id=\"{NEEDLE_TRACE}\""),
                &format!("trace_id:=\"{NEEDLE_TRACE}\""),
                4,
            ),
            counted(
                "common word counted by 5 m",
                &format!("{ALL} |= \"INFO\""),
                "INFO",
                self.common,
            ),
            counted(
                "regex counted by 5 m",
                &format!("{ALL} |~ \"{EXPRESSION}\""),
                &format!("~\"{EXPRESSION}\""),
                self.expression,
            ),
            counted(
                "JSON field counted by 5 m",
                "{app=\"checkout\"} | json | status=\"500\"",
                "{app=\"checkout\"} | unpack_json fields (status) | filter status:=500",
                self.failed,
            ),
            asked.lines(
                "last 100 lines of a label set",
                "{app=\"checkout\",namespace=\"shop\"}",
                "{app=\"checkout\",namespace=\"shop\"} | sort by (_time) desc limit 100",
                100,
            ),
            asked.top("top 10 pods by lines", &top, self.top()),
        ]
    }
}

/// The range of time that is asked about, on whole steps.
struct Asked {
    start: String,
    end: String,
    step: String,
}

impl Asked {
    fn new(start_ns: i64, end_ns: i64) -> Self {
        let steps = STEP * 1_000_000_000;
        Self {
            start: (start_ns.div_euclid(steps) * STEP).to_string(),
            end: ((end_ns.div_euclid(steps) + 1) * STEP).to_string(),
            step: STEP.to_string(),
        }
    }

    fn range<'a>(&'a self, query: &'a str) -> [(&'a str, &'a str); 6] {
        [
            ("query", query),
            ("start", &self.start),
            ("end", &self.end),
            ("step", &self.step),
            ("limit", "100"),
            ("nocache", "1"),
        ]
    }

    /// The newest lines, at most a hundred.
    fn lines(&self, name: &str, loki: &str, victoria: &str, expect: u64) -> Query {
        Query::new(name, "/loki/api/v1/query_range", &self.range(loki))
            .totalling(expect as f64)
            .or("/select/logsql/query", &self.range(victoria))
    }

    /// How many there are in each step.
    fn counts(&self, name: &str, loki: &str, victoria: &str, expect: u64) -> Query {
        let victoria = format!("{victoria} | stats count() rows");
        Query::new(name, "/loki/api/v1/query_range", &self.range(loki))
            .totalling(expect as f64)
            .or("/select/logsql/stats_query_range", &self.range(&victoria))
    }

    fn top(&self, name: &str, loki: &str, expect: u64) -> Query {
        let end = [("query", loki), ("time", &self.end), ("nocache", "1")];
        let victoria = "* | stats by (_stream) count() rows | sort by (rows) desc limit 10";
        Query::new(name, "/loki/api/v1/query", &end)
            .totalling(expect as f64)
            .or("/select/logsql/query", &self.range(victoria))
    }
}
