//! How coarse the samples of each leaf may be so that the answer is the same.
//!
//! Invariant: a tier whose resolution divides what is told here splits no window of anything that
//! reads the leaf, and all that reads it is told the same by what a tier keeps as by samples. See
//! decision 0084.

use obs_tsdb::Resolution;

use crate::column::Grid;
use crate::eval::{subquery_grid, summarised};
use crate::plan::{Borders, Form, Gives, Input, LeafId, MetricPlan, Node, Window};
use crate::request::SourceResolution;

/// The resolution of each leaf of a plan.
pub(crate) fn of(plan: &MetricPlan) -> Vec<Resolution> {
    let mut leaves = Leaves {
        same: vec![None; plan.leaves.len()],
        falls: vec![false; plan.leaves.len()],
    };
    leaves.visit(&plan.root, &plan.grid);
    // Starts are of single samples, and so is what a selector of a range shows.
    let exact = !plan.start_timestamps && plan.form != Form::Samples;
    let same = leaves.same.into_iter().map(|same| {
        let same = same.filter(|_| exact).unwrap_or(0);
        i64::try_from(same).unwrap_or(0)
    });
    let of = |(same, falls): (i64, bool)| {
        let (same, most) = match plan.resolution {
            SourceResolution::Raw => (0, 0),
            SourceResolution::Same => (same, 0),
            SourceResolution::UpTo(most) => (same, most),
        };
        Resolution { same, falls, most }
    };
    same.zip(leaves.falls).map(of).collect()
}

/// By leaf: what all borders of its windows are multiples of, 0 where a tier is of no use.
struct Leaves {
    same: Vec<Option<u64>>,
    /// Whether falls of counters are made up for.
    falls: Vec<bool>,
}

impl Leaves {
    fn visit(&mut self, node: &Node, grid: &Grid) {
        match node {
            Node::Number(_) | Node::Text(_) => {}
            Node::Instant(instant) => {
                let exact = instant.gives != Gives::Start && !instant.finds_resets;
                // The last sample before a border is the last one of its bucket, whatever the
                // length of the window.
                self.read(instant.leaf, exact, (&instant.window, 0), grid);
            }
            Node::Over(over) => {
                over.parameters.iter().for_each(|one| self.visit(one, grid));
                match &over.input {
                    Input::Leaf(leaf) => {
                        let exact = summarised::is_kept(over.function) && !over.finds_resets;
                        let length = over.window.length;
                        if let Some(falls) = self.falls.get_mut(*leaf) {
                            *falls |= summarised::falls(over.function);
                        }
                        self.read(*leaf, exact, (&over.window, length), grid);
                    }
                    Input::Subquery { node, step } => {
                        self.visit(node, &subquery_grid(&over.window, *step, grid));
                    }
                }
            }
            Node::Call(call) => call.arguments.iter().for_each(|one| self.visit(one, grid)),
            Node::Aggregate(aggregate) => {
                aggregate
                    .parameter
                    .iter()
                    .for_each(|one| self.visit(one, grid));
                self.visit(&aggregate.input, grid);
            }
            Node::Binary(binary) => {
                self.visit(&binary.lhs, grid);
                self.visit(&binary.rhs, grid);
            }
            Node::Negate(inner) => self.visit(inner, grid),
            Node::Info(info) => {
                self.visit(&info.input, grid);
                self.read(info.info.leaf, false, (&info.info.window, 0), grid);
            }
        }
    }

    fn read(&mut self, leaf: LeafId, exact: bool, (window, length): (&Window, i64), grid: &Grid) {
        let Some(same) = self.same.get_mut(leaf) else {
            return;
        };
        let mut own = gcd(
            length.unsigned_abs(),
            window.end(grid.start).nanos().unsigned_abs(),
        );
        if window.at.is_none() && grid.count > 1 {
            own = gcd(own, grid.step.unsigned_abs());
        }
        if !exact || window.borders != Borders::Plain {
            own = 0;
        }
        *same = Some(match *same {
            Some(0) => 0,
            Some(known) if own != 0 => gcd(known, own),
            Some(_) | None => own,
        });
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Language, Plan, Request, When};
    use crate::run::Query;
    use obs_model::Timestamp;
    use obs_model::limits::Limits;

    #[test]
    fn windows_that_meet_buckets() {
        let check = |text: &str, start: i64, step: i64, expect: &[i64]| {
            let limits = Limits::default();
            let when = When::Range {
                start: Timestamp::from_seconds(start),
                end: Timestamp::from_seconds(start + 3 * step),
                step: step * 1_000_000_000,
            };
            let query = Query::parse(Language::Promql, text, &limits).unwrap();
            let Plan::Metric(plan) = query.plan(&Request::new(when), &limits).unwrap() else {
                panic!("{text}");
            };
            let found: Vec<i64> = of(&plan).iter().map(|r| r.same / 1_000_000_000).collect();
            assert_eq!(found, expect, "{text} from {start} step {step}");
        };
        check("rate(m[5m])", 3600, 600, &[300]);
        check("rate(m[1h])", 7200, 3600, &[3600]);
        check("rate(m[1h])", 7200, 300, &[300]);
        check("rate(m[1h])", 7201, 3600, &[1]);
        check("rate(m[1h] offset 10m)", 7200, 3600, &[600]);
        check("m", 7200, 3600, &[3600]);
        check("m + sum(increase(m[30m]))", 7200, 3600, &[1800]);
        check("m + stddev_over_time(m[1h])", 7200, 3600, &[0]);
        check("stddev_over_time(m[1h]) + m", 7200, 3600, &[0]);
        check("avg_over_time(m[1h])", 7200, 3600, &[0]);
        check("max_over_time(rate(m[5m])[1h:10m])", 7200, 3600, &[300]);
        check("max_over_time(m[1h:1m])", 7200, 3600, &[60]);
        check("rate(m[1h] @ 7260)", 7200, 3600, &[60]);
    }
}
