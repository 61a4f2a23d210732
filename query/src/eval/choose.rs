//! Aggregations that keep some series of each group at each step: `topk`, `bottomk`, `limitk` and
//! `limit_ratio`. Of each group and step only what is kept so far is held.

use std::collections::{BTreeMap, BinaryHeap, HashMap};

use obs_model::Labels;

use super::aggregate::Sink;
use super::stream::Groups;
use super::{Evaluator, notes};
use crate::column::{Bitmap, Column, Grid, SeriesColumn};
use crate::error::QueryError;
use crate::operators::AggregateOp;
use crate::plan::Aggregate;

/// Bytes of a value that is kept, for the budget.
const KEPT_BYTES: u64 = 24;

/// Checks the parameters of all steps; `false` where nothing will be kept.
pub(super) fn keeps_any(
    evaluator: &Evaluator<'_>,
    node: &Aggregate,
    parameter: &[f64],
) -> Result<bool, QueryError> {
    let (least, most) = extremes(parameter);
    if node.op == AggregateOp::LimitRatio {
        if most == 0.0 && least == 0.0 {
            return Ok(false);
        }
        check_number("Ratio", parameter)?;
        if most > 1.0 {
            evaluator.warn(notes::bad_ratio(most, 1.0, node.parameter_place));
        }
        if least < -1.0 {
            evaluator.warn(notes::bad_ratio(least, -1.0, node.parameter_place));
        }
        return Ok(true);
    }
    if most < 1.0 {
        return Ok(false);
    }
    check_number("Parameter", parameter)?;
    // 2⁶³: what does not fit into a signed integer.
    const OVER: f64 = 9_223_372_036_854_775_808.0;
    let float = super::answer::float;
    let refuse = |text: String| Err(QueryError::Execution(text));
    if least <= -OVER {
        return refuse(format!("Scalar value {} underflows int64", float(least)));
    }
    if most >= OVER {
        return refuse(format!("Scalar value {} overflows int64", float(most)));
    }
    Ok(true)
}

/// The least and the greatest parameter; NaN where there is one.
pub(super) fn extremes(parameter: &[f64]) -> (f64, f64) {
    let Some((first, rest)) = parameter.split_first() else {
        return (0.0, 0.0);
    };
    rest.iter().fold((*first, *first), |(least, most), value| {
        let known = |extreme: f64| match value.is_nan() || least.is_nan() {
            true => f64::NAN,
            false => extreme,
        };
        (known(least.min(*value)), known(most.max(*value)))
    })
}

fn check_number(what: &str, parameter: &[f64]) -> Result<(), QueryError> {
    match parameter.iter().any(|p| p.is_nan()) {
        true => Err(QueryError::Execution(format!("{what} value is NaN"))),
        false => Ok(()),
    }
}

/// A parameter as a number of series.
fn count(parameter: f64) -> usize {
    // Saturates: negative is none, huge is all.
    parameter as usize
}

/// A value that is kept: how good it is (less is better), which series' it is, its bits.
type Kept = (u64, u32, u64);

/// What one group keeps.
struct Best {
    /// Per step, the worst on top. Among equals the first series is the better.
    steps: Vec<BinaryHeap<Kept>>,
    /// Per step, what a value must be better than, once there are as many as may be; NaN before.
    bars: Vec<f64>,
}

/// `topk` and `bottomk`.
pub(super) struct Ranked<'a> {
    evaluator: &'a Evaluator<'a>,
    node: &'a Aggregate,
    grid: Grid,
    groups: Groups<'a>,
    /// How many are kept at each step.
    counts: Vec<usize>,
    best: Vec<Best>,
    /// Series that were kept at some time.
    known: HashMap<u32, (Labels, bool)>,
    next: u32,
    largest: bool,
    ignored: bool,
}

impl<'a> Ranked<'a> {
    pub(super) fn new(
        evaluator: &'a Evaluator<'a>,
        node: &'a Aggregate,
        parameter: &[f64],
        grid: &Grid,
    ) -> Self {
        Self {
            evaluator,
            node,
            grid: *grid,
            groups: Groups::new(&node.grouping),
            counts: parameter.iter().map(|k| count(*k)).collect(),
            best: Vec::new(),
            known: HashMap::new(),
            next: 0,
            largest: node.op == AggregateOp::Topk,
            ignored: false,
        }
    }

    fn add_group(&mut self) -> Result<(), QueryError> {
        let steps = self.grid.count;
        let bytes = size_of::<BinaryHeap<Kept>>() + size_of::<f64>();
        let bytes = bytes.saturating_mul(steps).saturating_add(64);
        self.evaluator.budget.bytes(bytes as u64)?;
        let bar = |k: &usize| match (*k, self.largest) {
            (0, true) => f64::INFINITY,
            (0, false) => f64::NEG_INFINITY,
            _ => f64::NAN,
        };
        self.best.push(Best {
            steps: vec![BinaryHeap::new(); steps],
            bars: self.counts.iter().map(bar).collect(),
        });
        Ok(())
    }
}

impl Sink for Ranked<'_> {
    fn add(&mut self, labels: &Labels, drop_name: bool, column: Column) -> Result<(), QueryError> {
        let group = self.groups.find(labels);
        if group == self.best.len() {
            self.add_group()?;
        }
        let series = self.next;
        self.next += 1;
        let Best { steps, bars } = &mut self.best[group];
        let (mut enters, mut more) = (false, 0);
        for step in column.present.iter() {
            let (value, bar) = (column.values[step], bars[step]);
            let worse = if self.largest {
                value <= bar
            } else {
                value >= bar
            };
            if worse && column.histograms.is_empty() {
                continue;
            }
            if column.histogram(step).is_some() {
                self.ignored = true;
                continue;
            }
            let kept = (rank(value, self.largest), series, value.to_bits());
            let heap = &mut steps[step];
            if heap.len() < self.counts[step] {
                heap.push(kept);
                more += KEPT_BYTES;
            } else {
                match heap.peek_mut() {
                    Some(mut worst) if kept.0 < worst.0 => *worst = kept,
                    _ => continue,
                }
            }
            enters = true;
            if heap.len() == self.counts[step]
                && let Some((_, _, worst)) = heap.peek()
            {
                bars[step] = f64::from_bits(*worst);
            }
        }
        if enters {
            self.evaluator.budget.bytes(more + 64)?;
            self.known.insert(series, (labels.clone(), drop_name));
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Vec<SeriesColumn>, QueryError> {
        if self.ignored {
            let op = self.node.op.as_str();
            let note = notes::ignored_in_aggregation(op, self.node.own_place);
            self.evaluator.info(note);
        }
        let best = std::mem::take(&mut self.best);
        let one = |series: u32, column: Column| {
            let (labels, drop_name) = self.known.get(&series).cloned().unwrap_or_default();
            SeriesColumn {
                labels,
                drop_name,
                column,
            }
        };
        if self.grid.count == 1 {
            // At one step the order of values is the order of the answer.
            let heaps = best.into_iter().flat_map(|group| group.steps);
            let kept = heaps.flat_map(BinaryHeap::into_sorted_vec);
            let column = |bits: u64| Column::full(vec![f64::from_bits(bits)]);
            return Ok(kept
                .map(|(_, series, bits)| one(series, column(bits)))
                .collect());
        }
        let mut columns: BTreeMap<u32, Column> = BTreeMap::new();
        for group in best {
            for (step, heap) in group.steps.into_iter().enumerate() {
                self.evaluator.budget.check()?;
                for (_, series, bits) in heap {
                    if !columns.contains_key(&series) {
                        self.evaluator.reserve(&self.grid, 1)?;
                    }
                    let column = columns.entry(series);
                    let column = column.or_insert_with(|| Column::new(self.grid.count));
                    column.set(step, f64::from_bits(bits));
                }
            }
        }
        let columns = columns.into_iter();
        Ok(columns
            .map(|(series, column)| one(series, column))
            .collect())
    }
}

/// How good a value is: less is better, NaN is the worst.
fn rank(value: f64, largest: bool) -> u64 {
    if value.is_nan() {
        return u64::MAX;
    }
    let bits = (value + 0.0).to_bits(); // both zeros are one
    let ascending = match bits >> 63 {
        0 => bits | 1 << 63,
        _ => !bits,
    };
    if largest { !ascending } else { ascending }
}

/// `limitk` and `limit_ratio`.
pub(super) struct Limited<'a> {
    evaluator: &'a Evaluator<'a>,
    node: &'a Aggregate,
    grid: Grid,
    groups: Groups<'a>,
    parameter: &'a [f64],
    /// How many each group has at each step.
    taken: Vec<Vec<usize>>,
    out: Vec<(usize, SeriesColumn)>,
}

impl<'a> Limited<'a> {
    pub(super) fn new(
        evaluator: &'a Evaluator<'a>,
        node: &'a Aggregate,
        parameter: &'a [f64],
        grid: &Grid,
    ) -> Self {
        Self {
            evaluator,
            node,
            grid: *grid,
            groups: Groups::new(&node.grouping),
            parameter,
            taken: Vec::new(),
            out: Vec::new(),
        }
    }
}

impl Sink for Limited<'_> {
    fn add(
        &mut self,
        labels: &Labels,
        drop_name: bool,
        mut column: Column,
    ) -> Result<(), QueryError> {
        let group = self.groups.find(labels);
        if group == self.taken.len() {
            let bytes = 8u64.saturating_mul(self.grid.count as u64);
            self.evaluator.budget.bytes(bytes)?;
            self.taken.push(vec![0; self.grid.count]);
        }
        let mut keep = Bitmap::new(self.grid.count);
        let taken = &mut self.taken[group];
        if self.node.op == AggregateOp::LimitRatio {
            let position = prometheus_hash(labels) as f64 / u64::MAX as f64;
            let chosen = |step: &usize| in_ratio(position, self.parameter[*step].clamp(-1.0, 1.0));
            column
                .present
                .iter()
                .filter(chosen)
                .for_each(|step| keep.set(step));
        } else {
            for step in column.present.iter() {
                if taken[step] < count(self.parameter[step]) {
                    taken[step] += 1;
                    keep.set(step);
                }
            }
        }
        if keep.is_empty() {
            return Ok(());
        }
        self.evaluator.reserve(&self.grid, 1)?;
        column.mask(&keep);
        let labels = labels.clone();
        let one = SeriesColumn {
            labels,
            drop_name,
            column,
        };
        self.out.push((group, one));
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Vec<SeriesColumn>, QueryError> {
        if self.grid.count == 1 {
            self.out.sort_by_key(|(group, _)| *group);
        }
        Ok(self.out.into_iter().map(|(_, one)| one).collect())
    }
}

/// Whether a position from 0 to 1 lies in the share; a negative share is the exact complement.
fn in_ratio(position: f64, ratio: f64) -> bool {
    if ratio >= 0.0 {
        position < ratio || ratio >= 1.0
    } else {
        position >= 1.0 + ratio
    }
}

/// The hash that Prometheus gives labels: XXH64 of all names and values with their lengths, so that
/// `limit_ratio` picks the same series here and there.
fn prometheus_hash(labels: &Labels) -> u64 {
    let mut packed = Vec::new();
    for (name, value) in labels {
        for text in [name, value] {
            let length = text.len();
            match u8::try_from(length) {
                Ok(short) if short < 255 => packed.push(short),
                // 255, then three bytes, the lowest first.
                _ => packed.extend([255, length as u8, (length >> 8) as u8, (length >> 16) as u8]),
            }
            packed.extend_from_slice(text.as_bytes());
        }
    }
    xxhash_rust::xxh64::xxh64(&packed, 0)
}

#[cfg(test)]
mod tests {
    use super::rank;

    #[test]
    fn ranks_order_as_values() {
        let values = [
            f64::NEG_INFINITY,
            -2.5,
            -1e-300,
            0.0,
            1e-300,
            7.0,
            f64::INFINITY,
        ];
        for pair in values.windows(2) {
            assert!(rank(pair[0], false) < rank(pair[1], false), "{pair:?}");
            assert!(rank(pair[0], true) > rank(pair[1], true), "{pair:?}");
        }
        for largest in [false, true] {
            assert_eq!(rank(0.0, largest), rank(-0.0, largest));
            assert!(
                values
                    .iter()
                    .all(|v| rank(*v, largest) < rank(f64::NAN, largest))
            );
        }
    }
}
