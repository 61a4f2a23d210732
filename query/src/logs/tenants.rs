//! Log queries over several tenants, as Loki reads `X-Scope-OrgID: a|b`: every line has the label
//! `__tenant_id__`, and matchers on it choose among the tenants.
//!
//! Invariant: a tenant's lines are read from its own snapshot only; what tenants have in common is
//! joined above the scan, so that aggregations and limits hold over all of them.

use std::collections::BTreeMap;

use obs_logstore::{Logs, Snapshot};
use obs_model::answer::LogLines;
use obs_model::{
    Annotations, Answer, Budget, Labels, LogRecord, Matcher, Reply, Samples, TimeRange,
};

use super::{LogLeaf, LogPlan};
use crate::error::QueryError;
use crate::eval::{LeafSeries, eval_leaves};
use crate::plan::{Leaf, SelectedSeries};
use crate::request::{Direction, Plan};

/// The label that names the tenant of a line.
pub const TENANT_LABEL: &str = "__tenant_id__";
/// What the name of a label is put behind where a line has [`TENANT_LABEL`] itself.
const ORIGINAL: &str = "original_";

/// The logs of one tenant.
#[derive(Clone)]
pub struct TenantLogs {
    /// Its name.
    pub name: String,
    /// Its logs.
    pub snapshot: Snapshot<Logs>,
}

impl std::fmt::Debug for TenantLogs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TenantLogs")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The matchers that a tenant's streams must fulfil; `None` where the tenant is not meant.
pub fn of_tenant(matchers: &[Matcher], name: &str) -> Option<Vec<Matcher>> {
    let meant = |m: &&Matcher| m.name == TENANT_LABEL;
    if !matchers.iter().filter(meant).all(|m| m.matches(name)) {
        return None;
    }
    let rest = matchers.iter().filter(|m| m.name != TENANT_LABEL);
    Some(rest.cloned().collect())
}

/// A stream's labels with its tenant.
pub fn with_tenant(labels: &Labels, name: &str) -> Labels {
    let mut builder = labels.to_builder();
    if let Some(own) = labels.get(TENANT_LABEL) {
        builder.set(&format!("{ORIGINAL}{TENANT_LABEL}"), own);
    }
    builder.set(TENANT_LABEL, name);
    builder.build()
}

/// Runs a LogQL plan over the logs of several tenants.
pub fn run_over_tenants(
    plan: &Plan,
    tenants: &[TenantLogs],
    budget: &Budget,
    pool: &rayon::ThreadPool,
) -> Result<Reply, QueryError> {
    let (answer, annotations) = match plan {
        Plan::Logs(plan) => {
            let lines = lines_of_tenants(tenants, plan, budget)?;
            (Answer::Streams(lines), Annotations::default())
        }
        Plan::Metric(plan) => {
            let mut read = Vec::with_capacity(plan.leaves.len());
            for leaf in &plan.leaves {
                read.push(match &leaf.leaf {
                    Leaf::Logs(logs) => select_of_tenants(tenants, logs, leaf.range, budget)?,
                    Leaf::Metrics(_) => Vec::new(),
                });
            }
            let leaves: Vec<LeafSeries<'_>> = read.iter().map(|s| LeafSeries::Ready(s)).collect();
            let outcome = eval_leaves(plan, &leaves, budget, pool)?;
            (outcome.answer, outcome.notes)
        }
        Plan::Traces(_) | Plan::SpanMetrics(_) => {
            let text = "traces are not read over several tenants";
            return Err(QueryError::Unsuitable(text.to_owned()));
        }
    };
    let (samples_read, bytes_read, _) = budget.spent();
    Ok(Reply {
        answer,
        annotations,
        samples_read,
        bytes_read,
        samples_by_step: None,
    })
}

/// The lines of a log query over several tenants, at most the plan's limit in all.
pub fn lines_of_tenants(
    tenants: &[TenantLogs],
    plan: &LogPlan,
    budget: &Budget,
) -> Result<Vec<LogLines>, QueryError> {
    let mut found: Vec<(LogRecord, Labels, Labels)> = Vec::new();
    for tenant in tenants {
        let Some(matchers) = of_tenant(&plan.logs.matchers, &tenant.name) else {
            continue;
        };
        let mut own = plan.clone();
        own.logs.matchers = matchers;
        for lines in super::lines(&tenant.snapshot, &own, budget)? {
            let labels = with_tenant(&lines.stream.labels, &tenant.name);
            let parsed = lines.parsed.into_iter();
            let records = lines.stream.records.into_iter();
            found.extend(records.zip(parsed).map(|(r, p)| (r, labels.clone(), p)));
        }
    }
    match plan.direction {
        Direction::Forward => found.sort_by_key(|(record, ..)| record.time),
        Direction::Backward => found.sort_by_key(|(record, ..)| std::cmp::Reverse(record.time)),
    }
    found.truncate(plan.limit);
    Ok(grouped(found))
}

/// Lines by stream, in order of labels; the lines of a stream keep their order.
pub fn grouped(lines: impl IntoIterator<Item = (LogRecord, Labels, Labels)>) -> Vec<LogLines> {
    let mut streams: BTreeMap<Labels, LogLines> = BTreeMap::new();
    for (record, labels, parsed) in lines {
        let lines = streams.entry(labels).or_default();
        lines.stream.records.push(record);
        lines.parsed.push(parsed);
    }
    let streams = streams.into_iter().map(|(labels, mut lines)| {
        lines.stream.labels = labels;
        lines
    });
    streams.collect()
}

fn select_of_tenants(
    tenants: &[TenantLogs],
    leaf: &LogLeaf,
    range: TimeRange,
    budget: &Budget,
) -> Result<Vec<SelectedSeries>, QueryError> {
    let told = match &leaf.grouping {
        None => true,
        Some(grouping) => grouping.without != grouping.labels.iter().any(|l| l == TENANT_LABEL),
    };
    let mut all: BTreeMap<Labels, Vec<Samples>> = BTreeMap::new();
    for tenant in tenants {
        let Some(matchers) = of_tenant(&leaf.matchers, &tenant.name) else {
            continue;
        };
        let own = LogLeaf {
            matchers,
            ..leaf.clone()
        };
        for series in super::select(&tenant.snapshot, &own, range, budget)? {
            let labels = match told {
                true => with_tenant(&series.labels, &tenant.name),
                false => series.labels,
            };
            all.entry(labels).or_default().push(series.samples);
        }
    }
    let joined = all.into_iter().map(|(labels, samples)| SelectedSeries {
        labels,
        samples: joined(samples),
    });
    Ok(joined.collect())
}

/// Samples of one series from several tenants, in order of time.
fn joined(mut all: Vec<Samples>) -> Samples {
    if all.len() == 1 {
        return all.pop().unwrap_or_default();
    }
    let mut points: Vec<_> = all
        .iter()
        .flat_map(|s| s.times.iter().copied().zip(s.floats.iter().copied()))
        .collect();
    points.sort_by_key(|(time, _)| *time);
    let (times, floats) = points.into_iter().unzip();
    Samples {
        times,
        floats,
        ..Samples::default()
    }
}
