//! Labels of results: names that leave, groups, and series that become one.

use std::collections::HashMap;

use obs_model::Labels;
use obs_model::labels::METRIC_NAME;

use crate::column::SeriesColumn;
use crate::error::QueryError;
use crate::operators::Grouping;

/// Whether a label describes the metric and leaves together with its name.
pub(super) fn is_metadata(name: &str) -> bool {
    matches!(name, METRIC_NAME | "__type__" | "__unit__")
}

/// Labels without the metric's name, type and unit.
pub(super) fn without_name(labels: &Labels) -> Labels {
    labels.without(is_metadata)
}

/// Makes one series of those with equal labels; fails where two have a value at one step.
pub(super) fn merge_same(series: Vec<SeriesColumn>) -> Result<Vec<SeriesColumn>, QueryError> {
    let mut index: HashMap<Labels, usize> = HashMap::with_capacity(series.len());
    let mut out: Vec<SeriesColumn> = Vec::with_capacity(series.len());
    for one in series {
        match index.get(&one.labels) {
            None => {
                index.insert(one.labels.clone(), out.len());
                out.push(one);
            }
            Some(at) => {
                let into = &mut out[*at];
                into.drop_name |= one.drop_name;
                if !into.column.merge(&one.column) {
                    let text = "vector cannot contain metrics with the same labelset";
                    return Err(QueryError::Execution(text.to_owned()));
                }
            }
        }
    }
    Ok(out)
}

/// Takes the names away, now or (delayed) at the end.
pub(super) fn drop_names(
    mut series: Vec<SeriesColumn>,
    delayed: bool,
) -> Result<Vec<SeriesColumn>, QueryError> {
    if delayed {
        series.iter_mut().for_each(|s| s.drop_name = true);
        return Ok(series);
    }
    for one in &mut series {
        one.labels = without_name(&one.labels);
    }
    merge_same(series)
}

/// The labels of the group that a series belongs to.
pub(super) fn group_labels(labels: &Labels, grouping: &Grouping) -> Labels {
    let listed = |name: &str| grouping.labels.iter().any(|l| l == name);
    if grouping.without {
        labels.without(|name| is_metadata(name) || listed(name))
    } else {
        labels.without(|name| !listed(name))
    }
}
