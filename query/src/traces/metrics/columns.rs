//! Metrics on columns: of spans that are decided by themselves, or of whole traces.
//!
//! Groups are looked up once for each distinct value.
//! Invariant: what [`condition`] takes gives the same spans here as on whole traces.

use std::collections::HashMap;
use std::ops::ControlFlow;

use obs_model::Timestamp;
use obs_model::spans::AttributeValue;
use obs_tracestore::columns::{Coded, Columns, Numbers, Words};
use obs_tracestore::{SelectError, Snapshot, Spans, scan_columns, scan_traces};

use super::super::columns::{Block, Column, conditions_of, is_column, matching};
use super::super::conditions::{hints, of_field};
use super::super::field::Fields;
use super::super::forest::Marked;
use super::super::value::Value;
use super::compare::Comparison;
use super::exemplars::Pick;
use super::measure::Measure;
use super::steps::Steps;
use crate::error::QueryError;
use crate::traceql::ast::{Attribute, FieldExpr};
use crate::traceql::metric::{Metric, MetricPipeline};

/// What a pipeline asks of each span, where no other span matters.
pub(super) fn condition(pipeline: &MetricPipeline) -> Option<Vec<FieldExpr>> {
    let measured = match &pipeline.metric {
        Metric::Rate | Metric::Count => None,
        Metric::Over(_, a) | Metric::Quantile(a, _) | Metric::Histogram(a) => Some(a),
        Metric::Compare { .. } => return None,
    };
    if !measured.into_iter().chain(&pipeline.by).all(is_column) {
        return None;
    }
    conditions_of(&pipeline.pipeline)
}

/// Runs a pipeline.
pub(super) fn run(
    snapshot: &Snapshot<Spans>,
    conditions: &[FieldExpr],
    steps: &Steps,
    measure: &mut Measure<'_>,
) -> Result<(), QueryError> {
    let mut hints = Vec::new();
    conditions.iter().for_each(|c| of_field(c, &mut hints));
    let budget = measure.budget;
    scan_columns(snapshot, steps.range(), &hints, budget, &mut |columns| {
        let rows = matching(conditions, columns)?;
        if rows.contains(&true) {
            gather(columns, &rows, Block::default(), measure)?;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(())
}

/// Runs a pipeline that needs whole traces.
pub(super) fn run_traces(
    snapshot: &Snapshot<Spans>,
    pipeline: &MetricPipeline,
    steps: &Steps,
    measure: &mut Measure<'_>,
) -> Result<(), QueryError> {
    let also: Vec<&Attribute> = measure.by.iter().chain(measure.attribute()).collect();
    let marked = Marked::new(&pipeline.pipeline, &also);
    let budget = measure.budget;
    look(
        snapshot,
        (pipeline, &marked),
        steps,
        budget,
        &mut |from, rows, block| gather(from, rows, block, measure),
    )
}

/// Compares the spans that a pipeline finds.
pub(super) fn compare(
    snapshot: &Snapshot<Spans>,
    pipeline: &MetricPipeline,
    steps: &Steps,
    comparison: &mut Comparison<'_>,
    budget: &obs_model::Budget,
) -> Result<(), QueryError> {
    let also = comparison.trace_attributes();
    let marked = Marked::new(&pipeline.pipeline, &also.iter().collect::<Vec<_>>());
    look(
        snapshot,
        (pipeline, &marked),
        steps,
        budget,
        &mut |from, rows, block| comparison.columns(from, rows, block, budget),
    )
}

/// Takes the rows that a pipeline finds among whole traces, and the columns that were read.
type TakeFound<'a> = dyn FnMut(&Columns<'_>, &[bool], Block<'_>) -> Result<(), SelectError> + 'a;

/// Looks for what a pipeline finds among whole traces.
fn look(
    snapshot: &Snapshot<Spans>,
    (pipeline, marked): (&MetricPipeline, &Marked<'_>),
    steps: &Steps,
    budget: &obs_model::Budget,
    take: &mut TakeFound<'_>,
) -> Result<(), QueryError> {
    let hints = hints(&pipeline.pipeline);
    scan_traces(
        snapshot,
        steps.range(),
        &hints,
        budget,
        &mut |from, traces| {
            marked.look(from, traces, &mut |rows, block| take(from, rows, block))?;
            Ok(ControlFlow::Continue(()))
        },
    )?;
    Ok(())
}

/// No group was looked up for these values yet.
const UNKNOWN: usize = usize::MAX;

/// Adds the rows of a block that match.
fn gather(
    from: &Columns<'_>,
    rows: &[bool],
    mut block: Block<'_>,
    measure: &mut Measure<'_>,
) -> Result<(), SelectError> {
    let times = Times::of(from, measure)?;
    let (by, attribute) = (measure.by, measure.attribute());
    for attribute in by.iter().chain(attribute) {
        block.read(attribute, from)?;
    }
    let mut groups = Groups::new(by, &block);
    if let (Times::Step(step), None) = (&times, attribute)
        && let Some(counts) = groups.counts(rows, &block)
    {
        for (row, count) in counts {
            let group = groups.of(row, &block, measure)?;
            measure.add(group, *step, count as f64);
        }
        return Ok(());
    }
    let names = Names::default();
    for (index, matches) in rows.iter().enumerate() {
        if !matches {
            continue;
        }
        let Some((start, step)) = times.of_row(index, measure.steps) else {
            continue;
        };
        let value = attribute.map_or(Value::Missing, |a| block.lookup(a, index));
        let Some(observed) = measure.observed(&value) else {
            continue;
        };
        let group = groups.of(index, &block, measure)?;
        measure.add(group, step, observed.cell);
        if !measure.picker.is_full() && measure.picker.wants(start) {
            let (trace, span) = from.ids(index)?;
            if measure.picker.take(trace, start) {
                let pick = Pick {
                    trace,
                    span,
                    name: names.of(index, from)?,
                    time: start,
                    value: observed.shown,
                };
                measure.pick(group, pick);
            }
        }
    }
    Ok(())
}

/// When the spans of a block begin.
enum Times {
    /// All in one step; nobody asks when.
    Step(usize),
    Starts(Vec<i64>),
}

impl Times {
    /// Reads the begins, unless one step holds the whole block.
    fn of(from: &Columns<'_>, measure: &Measure<'_>) -> Result<Self, SelectError> {
        let hull = from.hull();
        let (first, last) = (measure.steps.of(hull.start), measure.steps.of(hull.end));
        let lone = first.filter(|_| first == last && measure.picker.is_full());
        Ok(match lone {
            Some(step) => Self::Step(step),
            None => Self::Starts(from.numbers(Numbers::Start)?),
        })
    }

    /// Begin and step of a row; the begin only where exemplars need it.
    fn of_row(&self, row: usize, steps: &Steps) -> Option<(Timestamp, usize)> {
        match self {
            Self::Step(step) => Some((Timestamp::MIN, *step)),
            Self::Starts(starts) => {
                let start = Timestamp::from_nanos(starts[row]);
                Some((start, steps.of(start)?))
            }
        }
    }
}

/// The names of a block's spans, read with the first exemplar.
#[derive(Default)]
struct Names(std::cell::OnceCell<Coded>);

impl Names {
    fn of(&self, index: usize, from: &Columns<'_>) -> Result<String, SelectError> {
        let coded = match self.0.get() {
            Some(coded) => coded,
            None => {
                let read = from.words(Words::Name)?;
                self.0.get_or_init(|| read)
            }
        };
        Ok(match &coded.values[coded.codes[index] as usize] {
            AttributeValue::String(name) => name.clone(),
            _ => String::new(),
        })
    }
}

/// The groups of a block's rows, each looked up once.
enum Groups<'a> {
    /// One for all.
    Lone(usize),
    /// By the number of the only column's value.
    Column(&'a Attribute, Vec<usize>),
    /// By the numbers of all columns' values.
    Several(&'a [Attribute], HashMap<Vec<u32>, usize>, Vec<u32>),
    /// By values that have no numbers.
    Values(&'a [Attribute]),
}

impl<'a> Groups<'a> {
    fn new(by: &'a [Attribute], block: &Block<'_>) -> Self {
        let coded = |attribute: &Attribute| match block.columns.get(attribute) {
            Some(Column::Coded(_, values)) => Some(values.len()),
            _ => None,
        };
        match by {
            [] => Self::Lone(UNKNOWN),
            [only] if let Some(values) = coded(only) => Self::Column(only, vec![UNKNOWN; values]),
            all if all.iter().all(|a| coded(a).is_some()) => {
                Self::Several(all, HashMap::new(), Vec::new())
            }
            all => Self::Values(all),
        }
    }

    /// How many of the marked rows each group has, by a row of it; `None` where that is not cheap.
    fn counts(&self, rows: &[bool], block: &Block<'_>) -> Option<Vec<(usize, usize)>> {
        let (codes, groups) = match self {
            Self::Lone(_) => (None, 1),
            Self::Column(attribute, known) => match block.columns.get(*attribute) {
                Some(Column::Coded(codes, _)) => (Some(codes), known.len()),
                _ => return None,
            },
            Self::Several(..) | Self::Values(_) => return None,
        };
        let mut counts = vec![(0, 0); groups];
        for (row, _) in rows.iter().enumerate().filter(|(_, marked)| **marked) {
            let code = codes.map_or(0, |codes| codes[row] as usize);
            counts[code] = (row, counts[code].1 + 1);
        }
        counts.retain(|(_, count)| *count > 0);
        Some(counts)
    }

    fn of(
        &mut self,
        index: usize,
        block: &Block<'_>,
        measure: &mut Measure<'_>,
    ) -> Result<usize, SelectError> {
        let code = |attribute: &Attribute| match block.columns.get(attribute) {
            Some(Column::Coded(codes, _)) => codes[index],
            _ => 0,
        };
        let values = |by: &[Attribute]| -> Vec<AttributeValue> {
            by.iter()
                .map(|a| block.lookup(a, index).to_attribute())
                .collect()
        };
        match self {
            Self::Lone(known) => {
                if *known == UNKNOWN {
                    *known = measure.group(Vec::new())?;
                }
                Ok(*known)
            }
            Self::Column(attribute, known) => {
                let known = &mut known[code(attribute) as usize];
                if *known == UNKNOWN {
                    *known = measure.group(values(std::slice::from_ref(*attribute)))?;
                }
                Ok(*known)
            }
            Self::Several(by, known, codes) => {
                codes.clear();
                codes.extend(by.iter().map(code));
                if let Some(group) = known.get(codes.as_slice()) {
                    return Ok(*group);
                }
                let group = measure.group(values(by))?;
                known.insert(codes.clone(), group);
                Ok(group)
            }
            Self::Values(by) => Ok(measure.group(values(by))?),
        }
    }
}
