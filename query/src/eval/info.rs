//! `info`: adds the data labels of info series (such as `target_info`) to the series of an
//! expression that have the same `instance` and `job`.

use std::collections::HashMap;

use obs_model::Labels;
use obs_model::labels::METRIC_NAME;
use obs_model::matcher::all_match;

use super::Evaluator;
use super::labels::{is_metadata, merge_same};
use crate::column::{Column, Grid, SeriesColumn};
use crate::error::QueryError;
use crate::plan::{Gives, Info, Instant};

/// The labels by which series belong to each other.
const IDENTITY: [&str; 2] = ["instance", "job"];

/// The info series of one identity: values, and times of the samples behind them.
type Candidates = Vec<(SeriesColumn, Column)>;

impl Evaluator<'_> {
    pub(super) fn info_join(
        &self,
        node: &Info,
        grid: &Grid,
    ) -> Result<Vec<SeriesColumn>, QueryError> {
        let base = self.vector(&node.input, grid)?;
        let candidates = self.info_series(&node.info, grid)?;
        let optional = node.data.iter().all(|m| m.matches(""));
        let mut out = Vec::new();
        for one in base {
            self.budget.check()?;
            if all_match(&node.names, &one.labels) {
                // An info series is not enriched by its like.
                out.push(one);
                continue;
            }
            let identity = identity(&one.labels);
            let Some(found) = candidates.get(&identity) else {
                if optional {
                    out.push(one);
                }
                continue;
            };
            let mut by_labels: HashMap<Labels, usize> = HashMap::new();
            for step in one.column.present.iter() {
                let labels = match enriched(node, &one.labels, found, step)? {
                    Some(labels) => labels,
                    None if optional => one.labels.clone(),
                    None => continue,
                };
                let at = match by_labels.get(&labels) {
                    Some(at) => *at,
                    None => {
                        self.reserve(grid, 1)?;
                        out.push(SeriesColumn {
                            labels: labels.clone(),
                            drop_name: one.drop_name,
                            column: Column::new(grid.count),
                        });
                        by_labels.insert(labels, out.len() - 1);
                        out.len() - 1
                    }
                };
                if let Some(value) = one.column.get(step) {
                    out[at].column.push(step, value);
                }
            }
        }
        merge_same(out)
    }

    fn info_series(
        &self,
        info: &Instant,
        grid: &Grid,
    ) -> Result<HashMap<Labels, Candidates>, QueryError> {
        let values = self.instant(info, grid)?;
        let mut candidates: HashMap<Labels, Candidates> = HashMap::new();
        if let Some(one) = values.iter().find(|s| !s.column.histograms.is_empty()) {
            let text = format!(
                "this should be an info metric, with float samples: {}",
                one.labels
            );
            return Err(QueryError::Execution(text));
        }
        // Times keep the labels: names are dropped by callers of `timestamp`, not here.
        let times = self.instant_columns(
            &Instant {
                gives: Gives::Time,
                ..*info
            },
            grid,
        )?;
        for (value, time) in values.into_iter().zip(times) {
            let group = candidates.entry(identity(&value.labels)).or_default();
            group.push((value, time.column));
        }
        Ok(candidates)
    }
}

fn identity(labels: &Labels) -> Labels {
    labels.without(|name| !IDENTITY.contains(&name))
}

/// The labels of a series with those of the info series at a step; `None` where there are none.
fn enriched(
    node: &Info,
    base: &Labels,
    candidates: &Candidates,
    step: usize,
) -> Result<Option<Labels>, QueryError> {
    // Of each info metric, the series with the latest sample.
    let mut latest: HashMap<&str, (&SeriesColumn, f64)> = HashMap::new();
    for (series, times) in candidates
        .iter()
        .filter(|(s, _)| s.column.present.get(step))
    {
        let name = series.labels.get(METRIC_NAME).unwrap_or("");
        let time = times.values[step];
        match latest.get(name) {
            Some((_, before)) if *before > time => {}
            Some((before, at)) if *at == time => {
                return Err(QueryError::Execution(format!(
                    "found duplicate series for info metric: existing {} @ {at}, new {} @ {time}",
                    before.labels, series.labels
                )));
            }
            Some(_) | None => {
                latest.insert(name, (series, time));
            }
        }
    }
    if latest.is_empty() {
        return Ok(None);
    }
    let mut added: HashMap<&str, &str> = HashMap::new();
    for (name, value) in latest.values().flat_map(|(series, _)| series.labels.iter()) {
        let wanted = node.data.is_empty() || node.data.iter().any(|m| m.name == name);
        if !wanted || is_metadata(name) || base.get(name).is_some() {
            continue;
        }
        if added
            .insert(name, value)
            .is_some_and(|before| before != value)
        {
            let text = format!("conflicting label: {name}");
            return Err(QueryError::Execution(text));
        }
    }
    let mut labels = base.to_builder();
    for (name, value) in added {
        labels.set(name, value);
    }
    Ok(Some(labels.build()))
}
