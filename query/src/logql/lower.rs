//! LogQL to plans: lines become a [`LogPlan`], numbers the shared tree over [`Leaf::Logs`].
//!
//! A sum over sums is one grouping of the leaf: `sum by (level) (count_over_time(…))` reads only
//! the label `level`, however many labels the lines have.

use obs_model::limits::Limits;
use obs_model::{Labels, MatchOp, TimeRange, Timestamp};

use super::ast::{self, Expr, MetricExpr, RangeOp, Side, VectorOp};
use crate::column::Grid;
use crate::error::{Place, QueryError};
use crate::functions::{InstantFunction, RangeFunction};
use crate::logs::{Cells, LogLeaf, LogPlan, Worth};
use crate::operators::{AggregateOp, BinaryOp, Cardinality, Grouping, Matching};
use crate::plan::{
    Aggregate, Binary, Borders, Call, Form, Input, Leaf, LeafRead, MetricPlan, Node, Over, Window,
    add_leaf,
};
use crate::request::{Plan, Request, When};

/// LogQL's errors at run time name series, not places.
const PLACE: Place = Place { line: 1, column: 1 };

/// The plan of a query for a request.
pub fn plan(expr: &Expr, request: &Request, limits: &Limits) -> Result<Plan, QueryError> {
    match (expr, request.when) {
        (Expr::Logs(_), When::At(_)) => Err(QueryError::Execution(
            "log queries are not supported as an instant query type, please change your query to \
             a range query type"
                .to_owned(),
        )),
        (Expr::Logs(logs), When::Range { start, end, .. }) => Ok(Plan::Logs(LogPlan {
            logs: logs.clone(),
            // The end of a log query does not belong to it.
            range: TimeRange::new(start, end.saturating_sub(1)),
            limit: request.limit,
            direction: request.direction,
            now: request.now,
        })),
        (Expr::Metric(metric), when) => {
            let mut lowering = Lowering {
                grid: when.grid(limits)?,
                now: request.now,
                instant: matches!(when, When::At(_)),
                leaves: Vec::new(),
            };
            let root = lowering.node(metric)?;
            Ok(Plan::Metric(MetricPlan {
                leaves: lowering.leaves,
                root,
                grid: lowering.grid,
                form: if lowering.instant {
                    Form::Instant
                } else {
                    Form::Range
                },
                delayed_names: false,
                lookback: 0,
                start_timestamps: false,
                type_and_unit_labels: false,
                count_samples: false,
                resolution: request.resolution,
            }))
        }
    }
}

struct Lowering {
    grid: Grid,
    /// When the query was asked.
    now: Timestamp,
    instant: bool,
    leaves: Vec<LeafRead>,
}

impl Lowering {
    fn node(&mut self, expr: &MetricExpr) -> Result<Node, QueryError> {
        Ok(match expr {
            MetricExpr::Number(number) => Node::Number(*number),
            MetricExpr::Literal(number) => {
                call(InstantFunction::Vector, vec![Node::Number(*number)])
            }
            MetricExpr::Range {
                op,
                parameter,
                logs,
                grouping,
            } => self.range(*op, *parameter, logs, grouping.clone()),
            MetricExpr::Vector {
                op,
                parameter,
                expr,
                grouping,
            } => self.vector(*op, *parameter, expr, grouping.as_ref())?,
            MetricExpr::Binary {
                op,
                left,
                right,
                matching,
            } => Node::Binary(Box::new(Binary {
                op: binary_op(*op),
                return_bool: matching.return_bool,
                matching: lower_matching(*op, matching),
                lhs: self.node(left)?,
                rhs: self.node(right)?,
                place: PLACE,
            })),
            MetricExpr::LabelReplace {
                expr,
                destination,
                replacement,
                source,
                regex,
            } => {
                let texts = [destination, replacement, source, regex];
                let mut arguments = vec![self.series(expr)?];
                arguments.extend(texts.into_iter().map(|t| Node::Text(t.clone())));
                call(InstantFunction::LabelReplace, arguments)
            }
        })
    }

    /// The node of an expression that must not be a number.
    fn series(&mut self, expr: &MetricExpr) -> Result<Node, QueryError> {
        if matches!(expr, MetricExpr::Number(_)) {
            return Err(QueryError::Execution(
                "unexpected expr type (*syntax.LiteralExpr) where series are needed".to_owned(),
            ));
        }
        self.node(expr)
    }

    fn vector(
        &mut self,
        op: VectorOp,
        parameter: Option<u64>,
        expr: &MetricExpr,
        grouping: Option<&ast::Grouping>,
    ) -> Result<Node, QueryError> {
        if let Some(node) = self.sum_of_sums(op, expr, grouping) {
            return Ok(node);
        }
        let op = match op {
            VectorOp::Sort => return Ok(call(InstantFunction::Sort, vec![self.series(expr)?])),
            VectorOp::SortDesc => {
                return Ok(call(InstantFunction::SortDesc, vec![self.series(expr)?]));
            }
            VectorOp::ApproxTopk if !self.instant => {
                return Err(QueryError::Execution(
                    "approx_topk is only supported on instant queries".to_owned(),
                ));
            }
            // The exact answer is an approximate one.
            VectorOp::Topk | VectorOp::ApproxTopk => AggregateOp::Topk,
            VectorOp::Bottomk => AggregateOp::Bottomk,
            VectorOp::Sum => AggregateOp::Sum,
            VectorOp::Avg => AggregateOp::Avg,
            VectorOp::Count => AggregateOp::Count,
            VectorOp::Min => AggregateOp::Min,
            VectorOp::Max => AggregateOp::Max,
            VectorOp::Stddev => AggregateOp::Stddev,
            VectorOp::Stdvar => AggregateOp::Stdvar,
        };
        Ok(Node::Aggregate(Box::new(Aggregate {
            op,
            // Below 2^32, see the parser.
            parameter: parameter.map(|k| Node::Number(k as f64)),
            input: self.series(expr)?,
            grouping: grouping.map_or_else(Grouping::default, |g| Grouping {
                without: g.without,
                labels: g.labels.clone(),
            }),
            own_place: PLACE,
            parameter_place: PLACE,
            place: PLACE,
        })))
    }

    /// An aggregation that the leaf can do by having fewer labels.
    fn sum_of_sums(
        &mut self,
        outer: VectorOp,
        expr: &MetricExpr,
        grouping: Option<&ast::Grouping>,
    ) -> Option<Node> {
        let MetricExpr::Range {
            op,
            parameter: None,
            logs,
            grouping: None,
        } = expr
        else {
            return None;
        };
        let same = match outer {
            VectorOp::Sum => matches!(
                op,
                RangeOp::Count | RangeOp::Rate | RangeOp::Bytes | RangeOp::BytesRate | RangeOp::Sum
            ),
            VectorOp::Max => *op == RangeOp::Max,
            VectorOp::Min => *op == RangeOp::Min,
            _ => false,
        };
        let all = ast::Grouping {
            without: false,
            labels: Vec::new(),
        };
        same.then(|| self.range(*op, None, logs, Some(grouping.cloned().unwrap_or(all))))
    }

    /// What a range aggregation reads.
    fn leaf(&self, op: RangeOp, logs: &ast::LogRange, grouping: Option<ast::Grouping>) -> LogLeaf {
        let worth = match (&logs.unwrap, op) {
            (Some(unwrap), _) => Worth::Unwrapped(unwrap.clone()),
            (None, RangeOp::Bytes | RangeOp::BytesRate) => Worth::Bytes,
            (None, _) => Worth::One,
        };
        LogLeaf {
            matchers: logs.logs.matchers.clone(),
            stages: logs.logs.stages.clone(),
            worth,
            // Whether there are lines does not depend on their labels.
            grouping: match op {
                RangeOp::Absent => Some(ast::Grouping {
                    without: false,
                    labels: Vec::new(),
                }),
                _ => grouping,
            },
            now: self.now,
            cells: None,
        }
    }

    fn range(
        &mut self,
        op: RangeOp,
        parameter: Option<f64>,
        logs: &ast::LogRange,
        grouping: Option<ast::Grouping>,
    ) -> Node {
        let function = match op {
            RangeOp::Rate | RangeOp::BytesRate => RangeFunction::PerSecond,
            RangeOp::RateCounter => RangeFunction::Rate,
            RangeOp::Count | RangeOp::Bytes | RangeOp::Sum => RangeFunction::Sum,
            RangeOp::Avg => RangeFunction::Avg,
            RangeOp::Min => RangeFunction::Min,
            RangeOp::Max => RangeFunction::Max,
            RangeOp::Stdvar => RangeFunction::Stdvar,
            RangeOp::Stddev => RangeFunction::Stddev,
            RangeOp::Quantile => RangeFunction::Quantile,
            RangeOp::First => RangeFunction::First,
            RangeOp::Last => RangeFunction::Last,
            RangeOp::Absent => RangeFunction::Absent,
        };
        let window = Window {
            length: logs.range,
            offset: logs.offset,
            at: None,
            borders: Borders::Plain,
        };
        let mut leaf = self.leaf(op, logs, grouping);
        // Whole numbers, so that it makes no difference in which order they are summed.
        let whole = matches!(leaf.worth, Worth::One | Worth::Bytes);
        if whole && matches!(function, RangeFunction::Sum | RangeFunction::PerSecond) {
            leaf.cells = Some(Cells {
                end: window.end(self.grid.start),
                // A single window has no other one beside it.
                step: if self.grid.count > 1 {
                    self.grid.step
                } else {
                    i64::MAX
                },
                length: window.length,
            });
        }
        let leaf = Leaf::Logs(Box::new(leaf));
        let labels = if op == RangeOp::Absent {
            equal_labels(&logs.logs.matchers)
        } else {
            Labels::empty()
        };
        let leaf = add_leaf(&mut self.leaves, leaf, window.covers(&self.grid));
        let over = |function| {
            Node::Over(Box::new(Over {
                function,
                parameters: parameter.map(Node::Number).into_iter().collect(),
                input: Input::Leaf(leaf),
                window,
                labels: labels.clone(),
                finds_resets: false,
                place: PLACE,
                parameter_place: PLACE,
            }))
        };
        match op {
            // Of a single line, the counter's rate is 0.
            RangeOp::RateCounter => {
                let none = binary(
                    BinaryOp::Mul,
                    over(RangeFunction::Count),
                    Node::Number(0.0),
                    Cardinality::OneToOne,
                );
                binary(BinaryOp::Or, over(function), none, Cardinality::ManyToMany)
            }
            _ => over(function),
        }
    }
}

fn binary(op: BinaryOp, lhs: Node, rhs: Node, cardinality: Cardinality) -> Node {
    Node::Binary(Box::new(Binary {
        op,
        return_bool: false,
        matching: Matching {
            cardinality,
            ..Matching::default()
        },
        lhs,
        rhs,
        place: PLACE,
    }))
}

fn call(function: InstantFunction, arguments: Vec<Node>) -> Node {
    Node::Call(Call {
        function,
        place: PLACE,
        places: vec![PLACE; arguments.len()],
        arguments,
        labels: Labels::empty(),
    })
}

/// Labels that every stream of a selector has: those with one `=` matcher.
fn equal_labels(matchers: &[obs_model::Matcher]) -> Labels {
    let once = |name: &str| matchers.iter().filter(|m| m.name == name).count() == 1;
    Labels::from_pairs(
        matchers
            .iter()
            .filter(|m| m.op == MatchOp::Equal && once(&m.name))
            .map(|m| (m.name.as_str(), m.value.as_str())),
    )
}

fn binary_op(op: ast::BinaryOp) -> BinaryOp {
    match op {
        ast::BinaryOp::Or => BinaryOp::Or,
        ast::BinaryOp::And => BinaryOp::And,
        ast::BinaryOp::Unless => BinaryOp::Unless,
        ast::BinaryOp::Add => BinaryOp::Add,
        ast::BinaryOp::Sub => BinaryOp::Sub,
        ast::BinaryOp::Mul => BinaryOp::Mul,
        ast::BinaryOp::Div => BinaryOp::DivOrNan,
        ast::BinaryOp::Mod => BinaryOp::Mod,
        ast::BinaryOp::Pow => BinaryOp::Pow,
        ast::BinaryOp::Compare(comparison) => match comparison {
            ast::Comparison::Equal => BinaryOp::Equal,
            ast::Comparison::NotEqual => BinaryOp::NotEqual,
            ast::Comparison::Greater => BinaryOp::Greater,
            ast::Comparison::GreaterEqual => BinaryOp::GreaterEqual,
            ast::Comparison::Less => BinaryOp::Less,
            ast::Comparison::LessEqual => BinaryOp::LessEqual,
        },
    }
}

fn lower_matching(op: ast::BinaryOp, matching: &ast::Matching) -> Matching {
    let (on, labels) = matching.labels.clone().unwrap_or((false, Vec::new()));
    let (cardinality, include) = match &matching.group {
        _ if op.is_set() => (Cardinality::ManyToMany, Vec::new()),
        None => (Cardinality::OneToOne, Vec::new()),
        Some((Side::Left, include)) => (Cardinality::ManyToOne, include.clone()),
        Some((Side::Right, include)) => (Cardinality::OneToMany, include.clone()),
    };
    Matching {
        cardinality,
        on,
        labels,
        include,
        fill_left: None,
        fill_right: None,
    }
}
