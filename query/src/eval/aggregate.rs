//! Aggregations over series: a sink takes series in their order, one by one.
//!
//! Where the input is a pipe, series come while they are read; else as a whole vector. Both give the
//! same numbers.

use obs_model::Labels;

use super::Evaluator;
use super::choose::{Limited, Ranked, keeps_any};
use super::distribution::{Quantiles, Values};
use super::stream::Totals;
use crate::column::{Column, Grid, SeriesColumn};
use crate::error::QueryError;
use crate::operators::AggregateOp;
use crate::plan::{Aggregate, Node};

/// Takes series and makes of them what an aggregation gives.
pub(super) trait Sink: Send {
    /// The next series.
    fn add(&mut self, labels: &Labels, drop_name: bool, column: Column) -> Result<(), QueryError>;

    /// The result.
    fn finish(self: Box<Self>) -> Result<Vec<SeriesColumn>, QueryError>;
}

/// An aggregation that keeps nothing.
struct Nothing;

impl Sink for Nothing {
    fn add(&mut self, _: &Labels, _: bool, _: Column) -> Result<(), QueryError> {
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<SeriesColumn>, QueryError> {
        Ok(Vec::new())
    }
}

impl Evaluator<'_> {
    pub(super) fn aggregate(
        &self,
        node: &Aggregate,
        grid: &Grid,
    ) -> Result<Vec<SeriesColumn>, QueryError> {
        let parameter = match &node.parameter {
            Some(Node::Text(_)) | None => Vec::new(),
            Some(parameter) => self.scalar(parameter, grid)?,
        };
        let mut sink = self.sink(node, &parameter, grid)?;
        // A count does not ask for values, but it is told which samples end a series.
        let presence = matches!(node.op, AggregateOp::Count | AggregateOp::Group);
        let streamed = self.piped(&node.input, grid, presence, &mut |labels, drops, column| {
            sink.add(labels, drops, column)
        })?;
        if !streamed {
            for one in self.vector(&node.input, grid)? {
                self.budget.check()?;
                sink.add(&one.labels, one.drop_name, one.column)?;
            }
        }
        sink.finish()
    }

    fn sink<'s>(
        &'s self,
        node: &'s Aggregate,
        parameter: &'s [f64],
        grid: &Grid,
    ) -> Result<Box<dyn Sink + 's>, QueryError> {
        use AggregateOp as A;
        let chooses = matches!(node.op, A::Topk | A::Bottomk | A::Limitk | A::LimitRatio);
        if chooses && !keeps_any(self, node, parameter)? {
            return Ok(Box::new(Nothing));
        }
        Ok(match node.op {
            A::Sum | A::Avg | A::Min | A::Max | A::Count | A::Group | A::Stddev | A::Stdvar => {
                Box::new(Totals::new(self, node, grid))
            }
            A::Topk | A::Bottomk => Box::new(Ranked::new(self, node, parameter, grid)),
            A::Limitk | A::LimitRatio => Box::new(Limited::new(self, node, parameter, grid)),
            A::Quantile => Box::new(Quantiles::new(self, node, parameter, grid)),
            A::CountValues => Box::new(Values::new(self, node, grid)?),
        })
    }
}
