//! What a query would do, without doing it: its plan, the series that its selectors find, and what
//! reading them would cost.
//!
//! Invariant: no sample is decoded. Costs are rounded up to whole blocks of parts.

use std::fmt;

use obs_model::{Budget, TimeRange};
use obs_tsdb::{Estimate, Selection};

use crate::cache::Key;
use crate::error::QueryError;
use crate::plan::Leaf;
use crate::request::Plan;
use crate::resolution;
use crate::run::Sources;

/// A plan and its cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The plan as it reads.
    pub plan: String,
    /// What each selector of metrics reads; empty for other signals, whose cost nobody knows before.
    pub reads: Vec<Read>,
    /// Steps of the answer.
    pub steps: usize,
    /// Steps that are known already, which lessens the cost by their share.
    pub steps_cached: usize,
}

/// What a selector reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// The selector.
    pub selector: String,
    /// From when to when.
    pub range: TimeRange,
    /// Its cost.
    pub cost: Estimate,
}

impl Explanation {
    /// The cost of all selectors.
    pub fn total(&self) -> Estimate {
        let sum = |a: Estimate, b: &Read| Estimate {
            series: a.series + b.cost.series,
            samples: a.samples + b.cost.samples,
            bytes: a.bytes + b.cost.bytes,
        };
        self.reads.iter().fold(Estimate::default(), sum)
    }
}

/// Explains a plan. Finding series costs what it costs in the query.
pub fn explain(plan: &Plan, sources: &Sources, budget: &Budget) -> Result<Explanation, QueryError> {
    let mut explanation = Explanation {
        plan: plan.to_string(),
        reads: Vec::new(),
        steps: 1,
        steps_cached: 0,
    };
    let (Plan::Metric(plan), Some(snapshot)) = (plan, &sources.metrics) else {
        return Ok(explanation);
    };
    explanation.steps = plan.grid.count;
    for (read, resolution) in plan.leaves.iter().zip(resolution::of(plan)) {
        let Leaf::Metrics(matchers) = &read.leaf else {
            continue;
        };
        let selection = Selection::open(snapshot, matchers, read.range, resolution, budget)?;
        explanation.reads.push(Read {
            selector: read.leaf.to_string(),
            range: read.range,
            cost: selection.estimate(),
        });
    }
    if let Some(cached) = &sources.cache
        && let Some((key, reach)) = Key::of(plan, &cached.tenant, &snapshot.confined)
        && let Some(stored) = cached.cache.get(&key)
        && let Some((_, count)) = stored.usable(&plan.grid, reach, snapshot)
    {
        explanation.steps_cached = count;
    }
    Ok(explanation)
}

/// For reading.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.plan)?;
        for (id, read) in self.reads.iter().enumerate() {
            writeln!(f, "cost #{id} {}", Cost(read.cost))?;
        }
        if self.reads.len() > 1 {
            writeln!(f, "cost {}", Cost(self.total()))?;
        }
        if self.steps_cached > 0 {
            writeln!(f, "cached {} of {} steps", self.steps_cached, self.steps)?;
        }
        Ok(())
    }
}

struct Cost(Estimate);

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Estimate {
            series,
            samples,
            bytes,
        } = self.0;
        write!(f, "{series} series, {samples} samples, {bytes} bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Language, Request, When};
    use crate::run::Query;
    use obs_model::limits::Limits;
    use obs_model::metrics::Sample;
    use obs_model::{Labels, MetricBatch, Series, Timestamp, Value};
    use obs_tsdb::{Memory, Snapshot};

    fn sources() -> Sources {
        let memory = Memory::default();
        let series = |job: &str| Series {
            labels: Labels::from_pairs([("__name__", "c_total"), ("job", job)]),
            samples: (0..60)
                .map(|minute| Sample {
                    time: Timestamp::from_seconds(minute * 60),
                    start: None,
                    value: Value::Float(minute as f64),
                })
                .collect(),
            ..Series::default()
        };
        let batch = MetricBatch {
            series: vec![series("a"), series("b")],
            ..MetricBatch::default()
        };
        memory.insert(batch);
        Sources {
            metrics: Some(Snapshot::from_parts(vec![memory], Vec::new()).unwrap()),
            ..Sources::default()
        }
    }

    #[test]
    fn says_plan_and_cost() {
        let check = |text: &str, expect: &str| {
            let limits = Limits::default();
            let when = When::Range {
                start: Timestamp::from_seconds(600),
                end: Timestamp::from_seconds(1200),
                step: 60_000_000_000,
            };
            let query = Query::parse(Language::Promql, text, &limits).unwrap();
            let plan = query.plan(&Request::new(when), &limits).unwrap();
            let found = explain(&plan, &sources(), &Budget::new(&limits)).unwrap();
            assert_eq!(found.to_string().trim(), expect.trim(), "{found}");
        };
        check(
            "sum by (job) (rate(c_total[5m])) / c_total{job=\"a\"} offset 1m",
            r#"
from 1970-01-01T00:10:00Z to 1970-01-01T00:20:00Z step 60s (11 steps)
  /
    sum by (job)
      rate [300s] of #0
    last [300s] offset 60s of #1
read #0 metrics {__name__="c_total"} from 1970-01-01T00:05:00.000000001Z to 1970-01-01T00:20:00Z
read #1 metrics {__name__="c_total", job="a"} from 1970-01-01T00:04:00.000000001Z to 1970-01-01T00:19:00Z
cost #0 2 series, 30 samples, 480 bytes
cost #1 1 series, 15 samples, 240 bytes
cost 3 series, 45 samples, 720 bytes
"#,
        );
        check(
            "vector(1)",
            r"
from 1970-01-01T00:10:00Z to 1970-01-01T00:20:00Z step 60s (11 steps)
  vector
    1
",
        );
    }
}
