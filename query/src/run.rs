//! The way in: a text becomes a query, a query and a request a plan, a plan and snapshots a reply.
//!
//! Two phases: `select` reads each leaf once from its store, [`eval`](crate::eval::eval) computes.

use obs_logstore::Logs;
use obs_model::limits::Limits;
use obs_model::{Annotations, Answer, Budget, Reply};
use obs_tracestore::Spans;
use obs_tsdb::{Metrics, Snapshot};

use crate::error::{ParseError, QueryError};
use crate::eval::eval;
use crate::plan::{Leaf, LeafRead, MetricPlan, SelectedSeries};
use crate::request::{Language, Plan, Request};
use crate::{logql, logs, promql, traceql, traces};

/// What queries read. A source that is missing has no data.
#[derive(Default)]
pub struct Sources {
    /// Samples.
    pub metrics: Option<Snapshot<Metrics>>,
    /// Log records.
    pub logs: Option<Snapshot<Logs>>,
    /// Spans.
    pub spans: Option<Snapshot<Spans>>,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources")
            .field("metrics", &self.metrics.as_ref().map(|s| s.manifest))
            .field("logs", &self.logs.as_ref().map(|s| s.manifest))
            .field("spans", &self.spans.as_ref().map(|s| s.manifest))
            .finish()
    }
}

/// A parsed query. It can be planned for many requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    text: String,
    parsed: Parsed,
}

#[derive(Clone, Debug, PartialEq)]
enum Parsed {
    Promql(promql::ast::Expr),
    Logql(logql::Expr),
    Traceql(traceql::Query),
}

impl Query {
    /// Parses a text.
    pub fn parse(language: Language, text: &str, limits: &Limits) -> Result<Self, ParseError> {
        let parsed = match language {
            Language::Promql => Parsed::Promql(promql::parse(text, limits)?),
            Language::Logql => Parsed::Logql(logql::parse(text, limits)?),
            Language::Traceql => Parsed::Traceql(traceql::parse(text, limits)?),
        };
        let text = text.to_owned();
        Ok(Self { text, parsed })
    }

    /// Resolves the query for a request.
    pub fn plan(&self, request: &Request, limits: &Limits) -> Result<Plan, QueryError> {
        match &self.parsed {
            Parsed::Promql(expr) => {
                promql::plan(expr, &self.text, request, limits).map(Plan::Metric)
            }
            Parsed::Logql(expr) => logql::plan(expr, request, limits),
            Parsed::Traceql(query) => traces::plan(query, request),
        }
    }
}

/// The text as the language's printer writes it.
impl std::fmt::Display for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.parsed {
            Parsed::Promql(expr) => expr.fmt(f),
            Parsed::Logql(expr) => expr.fmt(f),
            Parsed::Traceql(query) => query.fmt(f),
        }
    }
}

/// Runs a plan. The caller stops the budget when its deadline passes or its client leaves.
pub fn run(
    plan: &Plan,
    sources: &Sources,
    budget: &Budget,
    pool: &rayon::ThreadPool,
) -> Result<Reply, QueryError> {
    let (answer, annotations) = match plan {
        Plan::Metric(plan) => {
            let selected = select(plan, sources, budget)?;
            eval(plan, &selected, budget, pool)?
        }
        Plan::Logs(plan) => {
            let lines = match &sources.logs {
                Some(snapshot) => logs::lines(snapshot, plan, budget)?,
                None => Vec::new(),
            };
            (Answer::Streams(lines), Annotations::default())
        }
        Plan::Traces(plan) => {
            let found = match &sources.spans {
                Some(snapshot) => traces::search(snapshot, plan, budget)?,
                None => Vec::new(),
            };
            (Answer::Traces(found), Annotations::default())
        }
    };
    let (samples_read, bytes_read, _) = budget.spent();
    Ok(Reply {
        answer,
        annotations,
        samples_read,
        bytes_read,
    })
}

fn select(
    plan: &MetricPlan,
    sources: &Sources,
    budget: &Budget,
) -> Result<Vec<Vec<SelectedSeries>>, QueryError> {
    plan.leaves
        .iter()
        .map(|read| fetch(read, plan.start_timestamps, sources, budget))
        .collect()
}

/// The series of one leaf.
fn fetch(
    read: &LeafRead,
    start_timestamps: bool,
    sources: &Sources,
    budget: &Budget,
) -> Result<Vec<SelectedSeries>, QueryError> {
    match &read.leaf {
        Leaf::Metrics(matchers) => {
            let Some(snapshot) = &sources.metrics else {
                return Ok(Vec::new());
            };
            let series = obs_tsdb::select(snapshot, matchers, read.range, budget)?;
            let of = |mut s: obs_tsdb::SelectedSeries| {
                if !start_timestamps {
                    s.samples.starts.clear();
                }
                SelectedSeries {
                    labels: s.labels,
                    samples: s.samples,
                }
            };
            Ok(series.into_iter().map(of).collect())
        }
        Leaf::Logs(leaf) => match &sources.logs {
            Some(snapshot) => logs::select(snapshot, leaf, read.range, budget),
            None => Ok(Vec::new()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::When;
    use obs_model::metrics::Sample;
    use obs_model::{Labels, MetricBatch, Series, Timestamp, Value};
    use obs_storage::Kind;

    /// A snapshot of a counter that grows by 60 a minute.
    fn sources() -> Sources {
        let memory = obs_tsdb::Memory::default();
        let sample = |minute: i64| Sample {
            time: Timestamp::from_seconds(minute * 60),
            start: None,
            value: Value::Float((minute * 60) as f64),
        };
        let series = Series {
            labels: Labels::from_pairs([("__name__", "c_total"), ("job", "a")]),
            samples: (0..60).map(sample).collect(),
            exemplars: Vec::new(),
        };
        let batch = MetricBatch {
            series: vec![series],
            metadata: Vec::new(),
        };
        let mut record = Vec::new();
        obs_tsdb::encode(&batch, &mut record);
        Metrics::apply(&memory, &record).unwrap();
        Sources {
            metrics: Some(Snapshot::from_parts(vec![memory], Vec::new()).unwrap()),
            logs: None,
            spans: None,
        }
    }

    fn ask(text: &str, when: When, limits: &Limits) -> Result<Reply, QueryError> {
        let query = Query::parse(Language::Promql, text, limits)?;
        let plan = query.plan(&Request::new(when), limits)?;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(2)
            .build()
            .unwrap();
        run(&plan, &sources(), &Budget::new(limits), &pool)
    }

    #[test]
    fn reads_from_a_store() {
        let limits = Limits::default();
        let at = When::At(Timestamp::from_seconds(1800));
        let reply = ask("sum by (job) (rate(c_total[5m]))", at, &limits).unwrap();
        let Answer::Vector(vector) = &reply.answer else {
            panic!("{:?}", reply.answer);
        };
        assert_eq!(vector.len(), 1);
        assert_eq!(vector[0].labels.to_string(), "{job=\"a\"}");
        assert!(matches!(vector[0].value, Value::Float(rate) if (rate - 1.0).abs() < 1e-9));
        assert!(reply.samples_read > 0);
    }

    #[test]
    fn what_inputs_took_is_given_back() {
        let steps = When::Range {
            start: Timestamp::from_seconds(0),
            end: Timestamp::from_seconds(3600),
            step: 4_000_000_000,
        };
        let chain = vec!["rate(c_total[5m])"; 64].join(" + ");
        let limits = Limits {
            query_bytes_max: 100 << 10,
            ..Limits::default()
        };
        let reply = ask(&chain, steps, &limits).unwrap();
        assert!(reply.bytes_read > 4 * limits.query_bytes_max);
    }

    #[test]
    fn limits_are_named() {
        let at = When::At(Timestamp::from_seconds(1800));
        let check = |text: &str, when: When, limits: Limits, expect: &str| {
            let error = ask(text, when, &limits).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        let few = Limits {
            query_samples_max: 2,
            ..Limits::default()
        };
        check("rate(c_total[5m])", at, few, "query_samples_max");
        let bytes = Limits {
            query_bytes_max: 100,
            ..Limits::default()
        };
        check("rate(c_total[5m])", at, bytes, "query_bytes_max");
        check(
            "vector(1)[100y:1ms]",
            at,
            Limits::default(),
            "query_samples_max",
        );
        check(
            "sum_over_time(vector(1)[100d:1s])",
            at,
            few,
            "query_samples_max",
        );
        let wide = When::Range {
            start: Timestamp::from_seconds(0),
            end: Timestamp::from_seconds(12_000),
            step: 1_000_000_000,
        };
        check("c_total", wide, Limits::default(), "query_steps_max");
        let narrow = When::Range {
            start: Timestamp::from_seconds(0),
            end: Timestamp::from_seconds(60),
            step: 1_000_000_000,
        };
        check("c_total[5m]", narrow, few, "invalid expression type");
        check("rate(c_total[5m", at, few, "1:16: expected");
    }
}
