//! What is asked about the traces, over Tempo's API and over Jaeger's with LogsQL, and what the
//! right answers are.

use super::plan::SERVICES;
use super::{NEEDLE_REQUEST, NEEDLE_TRACE, SPAN_NS};
use crate::workload::{Count, Query};

/// Traces that a search asks for.
const LIMIT: u64 = 20;
/// The service that is looked for with a duration and an attribute; it is `checkout`.
const SEARCHED: usize = 1;
/// The service of which twenty traces are asked for; it is `payment`.
const LISTED: usize = 3;
/// Its name in LogsQL.
const SERVICE: &str = "\"resource_attr:service.name\"";

/// What the traces hold.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    pub(super) spans: u64,
    /// Spans over 500 ms.
    slow: u64,
    /// Traces that the two searches find.
    searched: u64,
    listed: u64,
    /// The service whose span has the rare value.
    needle: usize,
    in_trace: (bool, bool),
}

impl Found {
    /// Begins another trace.
    pub(super) fn next_trace(&mut self) {
        self.in_trace = (false, false);
    }

    pub(super) fn add(&mut self, service: usize, duration_ns: i64, tenant: usize, needle: bool) {
        self.spans += 1;
        self.slow += u64::from(duration_ns > 500_000_000);
        let searched = service == SEARCHED && duration_ns > 300_000_000 && tenant == 0;
        if searched && !self.in_trace.0 {
            (self.in_trace.0, self.searched) = (true, self.searched + 1);
        }
        if service == LISTED && !self.in_trace.1 {
            (self.in_trace.1, self.listed) = (true, self.listed + 1);
        }
        if needle {
            self.needle = service;
        }
    }

    /// Of two connections.
    pub(super) fn merge(&mut self, other: Self) {
        self.spans += other.spans;
        self.slow += other.slow;
        self.searched += other.searched;
        self.listed += other.listed;
        self.needle = self.needle.max(other.needle);
    }

    /// Counts all spans.
    pub(super) fn count(&self, end_ns: i64) -> Count {
        let asked = Asked::new(end_ns);
        let victoria = format!("{SERVICE}:* | stats count() rows");
        Count::new(
            "/tempo/api/metrics/query",
            &asked.metrics("{} | count_over_time()"),
            self.spans as f64,
        )
        .or("/select/logsql/stats_query", &asked.victoria(&victoria))
    }

    /// Each with its right answer.
    pub(super) fn queries(&self, end_ns: i64) -> Vec<Query> {
        let asked = Asked::new(end_ns);
        let id: String = NEEDLE_TRACE.iter().map(|b| format!("{b:02x}")).collect();
        let by_id = Query::new("trace by id", &format!("/tempo/api/traces/{id}"), &[]);
        let (searched, listed) = (SERVICES[SEARCHED], SERVICES[LISTED]);
        let rare = format!("{{\"request.id\":\"{NEEDLE_REQUEST}\"}}");
        let slow = format!("duration:>500000000 | stats by ({SERVICE}) count() rows");
        let all = format!("{SERVICE}:* | stats by ({SERVICE}) count() rows");
        vec![
            by_id
                .holding(NEEDLE_REQUEST)
                .or(&format!("/select/jaeger/api/traces/{id}"), &[]),
            asked.search(
                "search by service, duration and attribute",
                &format!(
                    "{{resource.service.name=\"{searched}\" && duration>300ms && span.tenant=\"tenant-0\"}}"
                ),
                &[
                    ("service", searched),
                    ("minDuration", "300ms"),
                    ("tags", "{\"tenant\":\"tenant-0\"}"),
                ],
                self.searched,
            ),
            asked.search(
                "search by service, 20 traces",
                &format!("{{resource.service.name=\"{listed}\"}}"),
                &[("service", listed)],
                self.listed,
            ),
            asked.search(
                "search by a rare attribute value",
                &format!("{{span.request.id=\"{NEEDLE_REQUEST}\"}}"),
                &[("service", SERVICES[self.needle]), ("tags", &rare)],
                1,
            ),
            Query::new(
                "spans over 500 ms by service",
                "/tempo/api/metrics/query",
                &asked.metrics("{duration>500ms} | count_over_time() by (resource.service.name)"),
            )
            .totalling(self.slow as f64)
            .or("/select/logsql/stats_query", &asked.victoria(&slow)),
            Query::new(
                "all spans by service and minute",
                "/tempo/api/metrics/query_range",
                &asked.metrics("{} | count_over_time() by (resource.service.name)"),
            )
            .totalling(self.spans as f64)
            .or("/select/logsql/stats_query_range", &asked.victoria(&all)),
        ]
    }
}

/// The range of time that is asked about, on whole minutes.
struct Asked {
    start: String,
    end: String,
    start_us: String,
    end_us: String,
}

impl Asked {
    fn new(end_ns: i64) -> Self {
        let minute = |ns: i64| ns.div_euclid(60_000_000_000) * 60;
        let (start, end) = (minute(end_ns - SPAN_NS), minute(end_ns) + 120);
        Self {
            start: start.to_string(),
            end: end.to_string(),
            start_us: (start * 1_000_000).to_string(),
            end_us: (end * 1_000_000).to_string(),
        }
    }

    fn metrics<'a>(&'a self, query: &'a str) -> [(&'a str, &'a str); 5] {
        [
            ("q", query),
            ("start", &self.start),
            ("end", &self.end),
            ("step", "60s"),
            ("nocache", "1"),
        ]
    }

    fn victoria<'a>(&'a self, query: &'a str) -> [(&'a str, &'a str); 4] {
        let [_, start, end, step, _] = self.metrics(query);
        [("query", query), start, end, step]
    }

    fn search(&self, name: &str, tempo: &str, jaeger: &[(&str, &str)], found: u64) -> Query {
        let limit = LIMIT.to_string();
        let tempo = [
            ("q", tempo),
            ("start", &self.start),
            ("end", &self.end),
            ("limit", &limit),
        ];
        let own: &[(&str, &str)] = &[
            ("start", &self.start_us),
            ("end", &self.end_us),
            ("limit", &limit),
        ];
        Query::new(name, "/tempo/api/search", &tempo)
            .totalling(found.min(LIMIT) as f64)
            .or("/select/jaeger/api/traces", &[jaeger, own].concat())
    }
}
