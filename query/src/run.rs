//! The way in: a text becomes a query, a query and a request a plan, a plan and snapshots a reply.
//!
//! Two phases: `select` reads each leaf once from its store, [`eval`](crate::eval::eval) computes.

use obs_logstore::Logs;
use obs_model::answer::MatrixSeries;
use obs_model::limits::Limits;
use obs_model::{Annotations, Answer, Budget, Matcher, Reply, TimeRange};
use obs_tracestore::Spans;
use obs_tsdb::{Metrics, Resolution, Selection, Snapshot};

use crate::cache::{self, Key, Reach, ResultCache, Stored, TenantCache};
use crate::error::{ParseError, QueryError};
use crate::eval::{LeafSeries, Outcome, eval_leaves};
use crate::plan::{Leaf, LeafRead, MetricPlan, SelectedSeries};
use crate::request::{Language, Plan, Request};
use crate::{logql, logs, promql, resolution, traceql, traces};

/// What queries read. A source that is missing has no data.
#[derive(Default)]
pub struct Sources {
    /// Samples.
    pub metrics: Option<Snapshot<Metrics>>,
    /// Log records.
    pub logs: Option<Snapshot<Logs>>,
    /// Spans.
    pub spans: Option<Snapshot<Spans>>,
    /// Answers that were computed before.
    pub cache: Option<TenantCache>,
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

    /// Parses PromQL with some features of Prometheus' switches.
    pub fn promql(
        text: &str,
        features: promql::Features,
        limits: &Limits,
    ) -> Result<Self, ParseError> {
        let parsed = Parsed::Promql(promql::parse_with(text, features, limits)?);
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
            Parsed::Traceql(query) => traces::plan(query, request, limits),
        }
    }
}

/// What a query asks of its stores, for those who decide when and in which order it is run.
impl Query {
    /// The language.
    pub fn language(&self) -> Language {
        match &self.parsed {
            Parsed::Promql(_) => Language::Promql,
            Parsed::Logql(_) => Language::Logql,
            Parsed::Traceql(_) => Language::Traceql,
        }
    }

    /// Whether the answer is numbers and not lines or traces.
    pub fn is_number(&self) -> bool {
        match &self.parsed {
            Parsed::Promql(_) => true,
            Parsed::Logql(expr) => matches!(expr, logql::Expr::Metric(_)),
            Parsed::Traceql(query) => matches!(query.root, traceql::ast::Root::Metrics(_)),
        }
    }

    /// The conditions of each selector of metrics; empty for what reads no metrics.
    pub fn metric_selectors(&self) -> Vec<Vec<Matcher>> {
        let mut found = Vec::new();
        let Parsed::Promql(expr) = &self.parsed else {
            return found;
        };
        let mut left = vec![expr];
        while let Some(expr) = left.pop() {
            if let promql::ast::Kind::Selector(selector) | promql::ast::Kind::Range(selector, _) =
                &expr.kind
            {
                found.push(selector.all_matchers());
            }
            left.extend(expr.kind.children());
        }
        found
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
    let mut samples_by_step = None;
    let (answer, annotations) = match plan {
        Plan::Metric(plan) => {
            let cached = match (&sources.cache, &sources.metrics) {
                // What is taken from the cache would not be counted.
                (Some(cached), Some(snapshot)) if !plan.count_samples => {
                    let key = Key::of(plan, &cached.tenant, &snapshot.confined);
                    key.map(|key| (&*cached.cache, snapshot, key))
                }
                _ => None,
            };
            match cached {
                Some((cache, snapshot, key)) => Cached {
                    plan,
                    sources,
                    budget,
                    pool,
                    cache,
                    snapshot,
                }
                .run(key)?,
                None => {
                    let outcome = compute(plan, sources, budget, pool)?;
                    let counted = |steps: Vec<u64>| {
                        let steps = steps.into_iter().enumerate();
                        steps.map(|(step, n)| (plan.grid.at(step), n)).collect()
                    };
                    samples_by_step = outcome.steps.map(counted);
                    (outcome.answer, outcome.notes)
                }
            }
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
        Plan::SpanMetrics(plan) => {
            let series = match &sources.spans {
                Some(snapshot) => traces::metrics::run(snapshot, plan, budget)?,
                None => Vec::new(),
            };
            (Answer::SpanSeries(series), Annotations::default())
        }
    };
    let (samples_read, bytes_read, _) = budget.spent();
    Ok(Reply {
        answer,
        annotations,
        samples_read,
        bytes_read,
        samples_by_step,
    })
}

/// Computes a whole plan.
fn compute(
    plan: &MetricPlan,
    sources: &Sources,
    budget: &Budget,
    pool: &rayon::ThreadPool,
) -> Result<Outcome, QueryError> {
    let leaves = open(plan, sources, budget)?;
    let leaves: Vec<LeafSeries<'_>> = leaves.iter().map(Opened::series).collect();
    eval_leaves(plan, &leaves, budget, pool)
}

/// A plan whose answer may be known in part.
struct Cached<'a> {
    plan: &'a MetricPlan,
    sources: &'a Sources,
    budget: &'a Budget,
    pool: &'a rayon::ThreadPool,
    cache: &'a ResultCache,
    snapshot: &'a Snapshot<Metrics>,
}

impl Cached<'_> {
    /// Computes the steps before and behind those that are known, and keeps what will not change.
    fn run(&self, (key, reach): (Key, Reach)) -> Result<(Answer, Annotations), QueryError> {
        let grid = &self.plan.grid;
        let known = self.cache.get(&key).and_then(|stored| {
            let (from, count) = stored.usable(grid, reach, self.snapshot)?;
            let series = stored.at(&cache::steps(grid, from, count));
            Some((from, count, series))
        });
        let (answer, notes) = match known {
            None => {
                self.cache.count(0, grid.count);
                self.steps(0, grid.count)?
            }
            Some((0, count, series)) if count == grid.count => {
                self.cache.count(count, 0);
                return Ok((Answer::Matrix(series), Annotations::default()));
            }
            Some((from, count, series)) => {
                self.cache.count(count, grid.count - count);
                let behind = from + count;
                let (before, mut notes) = self.steps(0, from)?;
                let (after, more) = self.steps(behind, grid.count - behind)?;
                notes.merge(more);
                (cache::joined(vec![before, series, after]), notes)
            }
        };
        if notes == Annotations::default()
            && let Some(stored) = Stored::new(*grid, &answer, reach, self.snapshot)
        {
            self.cache.put(key, stored);
        }
        Ok((Answer::Matrix(answer), notes))
    }

    /// Computes some steps.
    fn steps(
        &self,
        from: usize,
        count: usize,
    ) -> Result<(Vec<MatrixSeries>, Annotations), QueryError> {
        if count == 0 {
            return Ok(Default::default());
        }
        let grid = cache::steps(&self.plan.grid, from, count);
        let mut plan = self.plan.clone();
        let (later, earlier) = (grid.start - plan.grid.start, plan.grid.end() - grid.end());
        // No window of the plan stands still, so what leaves read moves with the steps.
        for read in &mut plan.leaves {
            let (start, end) = (read.range.start, read.range.end);
            read.range = TimeRange::new(start.saturating_add(later), end.saturating_sub(earlier));
        }
        plan.grid = grid;
        let outcome = compute(&plan, self.sources, self.budget, self.pool)?;
        match outcome.answer {
            Answer::Matrix(series) => Ok((series, outcome.notes)),
            _ => Err(QueryError::Execution(
                "a range query answers with a matrix".to_owned(),
            )),
        }
    }
}

/// A leaf whose series are known.
enum Opened<'a> {
    /// Read already.
    Ready(Vec<SelectedSeries>),
    /// To be read while it is computed.
    Stored(Selection<'a>),
}

impl Opened<'_> {
    fn series(&self) -> LeafSeries<'_> {
        match self {
            Self::Ready(series) => LeafSeries::Ready(series),
            Self::Stored(selection) => LeafSeries::Stored(selection),
        }
    }
}

/// Finds the series of all leaves; those of metrics at one moment.
fn open<'a>(
    plan: &MetricPlan,
    sources: &'a Sources,
    budget: &Budget,
) -> Result<Vec<Opened<'a>>, QueryError> {
    let mut reads: Vec<(&[Matcher], TimeRange, Resolution)> = Vec::new();
    for (read, resolution) in plan.leaves.iter().zip(resolution::of(plan)) {
        if let Leaf::Metrics(matchers) = &read.leaf {
            reads.push((matchers, read.range, resolution));
        }
    }
    let selections = match &sources.metrics {
        Some(snapshot) => Selection::open_all(snapshot, &reads, budget)?,
        None => Vec::new(),
    };
    let mut selections = selections.into_iter();
    let open = |read: &LeafRead| {
        Ok(match (&read.leaf, &sources.logs) {
            (Leaf::Metrics(_), _) => match selections.next() {
                Some(selection) => Opened::Stored(selection),
                None => Opened::Ready(Vec::new()),
            },
            (Leaf::Logs(leaf), Some(snapshot)) => {
                Opened::Ready(logs::select(snapshot, leaf, read.range, budget)?)
            }
            (Leaf::Logs(_), None) => Opened::Ready(Vec::new()),
        })
    };
    plan.leaves.iter().map(open).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::When;
    use obs_model::metrics::Sample;
    use obs_model::{Labels, MetricBatch, Series, Timestamp, Value};

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
            ..Series::default()
        };
        let batch = MetricBatch {
            series: vec![series],
            ..MetricBatch::default()
        };
        memory.insert(batch);
        Sources {
            metrics: Some(Snapshot::from_parts(vec![memory], Vec::new()).unwrap()),
            logs: None,
            spans: None,
            cache: None,
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
            query_bytes_max: 80,
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
        check(
            "rate(c_total[5m",
            at,
            few,
            "1:16: parse error: unclosed left parenthesis",
        );
    }
}
