//! The plan: what a query of any language does, as a value that can be read.
//!
//! A plan has leaves, which say what to read from a store, and a tree of nodes above them. It runs
//! in two phases: `select` reads every leaf once, `eval` computes the tree from what was read.
//! Everything above the leaves is shared by the languages. Times are resolved: `@`, `offset`,
//! `start()`, `step()` are numbers here.
//!
//! The seam for LogQL and TraceQL metrics: a [`Leaf`] variant that `select` turns into
//! `Vec<SelectedSeries>` (one sample per log line or span, times may repeat), read by an [`Over`].

use std::fmt;

use obs_model::{Labels, Matcher, Samples, TimeRange, Timestamp};

use crate::column::Grid;
use crate::error::Place;
use crate::functions::{InstantFunction, RangeFunction};
use crate::logs::LogLeaf;
use crate::operators::{AggregateOp, BinaryOp, Grouping, Matching};
use crate::request::SourceResolution;

/// Index into [`Plan::leaves`].
pub type LeafId = usize;

/// What a leaf reads. Everything above is shared by the languages.
#[derive(Clone, Debug, PartialEq)]
pub enum Leaf {
    /// Series of metrics.
    Metrics(Vec<Matcher>),
    /// Log lines as samples.
    Logs(Box<LogLeaf>),
}

/// A leaf and the time that it must cover.
#[derive(Clone, Debug, PartialEq)]
pub struct LeafRead {
    /// What to read.
    pub leaf: Leaf,
    /// From when to when, both included.
    pub range: TimeRange,
}

/// Series that a leaf read. Samples ascend in time; of logs and spans, times may repeat.
#[derive(Clone, Debug, Default)]
pub struct SelectedSeries {
    /// The labels.
    pub labels: Labels,
    /// The samples.
    pub samples: Samples,
}

/// What a range selector does at the borders of its window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Borders {
    /// Only samples inside count.
    #[default]
    Plain,
    /// `anchored`: the last sample at or before the left border counts as if it were at it.
    Anchored,
    /// `smoothed`: values at both borders are interpolated.
    Smoothed,
}

/// Where windows lie relative to the steps. A window is open to the left and closed to the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Nanoseconds that a window is long; for an instant selector, the lookback.
    pub length: i64,
    /// Nanoseconds that the window's end lies before the step.
    pub offset: i64,
    /// All steps look at this time instead of their own (`@`).
    pub at: Option<Timestamp>,
    /// What happens at the borders.
    pub borders: Borders,
}

impl Window {
    /// The end of the window of a step.
    pub fn end(&self, step: Timestamp) -> Timestamp {
        self.at.unwrap_or(step).saturating_sub(self.offset)
    }

    /// The time that the steps of a grid look at, both ends included.
    pub fn covers(&self, grid: &Grid) -> TimeRange {
        let first = self.end(grid.start).saturating_sub(self.length);
        TimeRange::new(first.saturating_add(1), self.end(grid.end()))
    }
}

/// A node: evaluates to a number per step, a text, or series over the steps.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// The last sample of each window.
    Instant(Instant),
    /// A function over windows.
    Over(Box<Over>),
    /// A function of values.
    Call(Call),
    /// An aggregation over series.
    Aggregate(Box<Aggregate>),
    /// A binary operator.
    Binary(Box<Binary>),
    /// Unary minus.
    Negate(Box<Self>),
    /// Labels of info series added to other series.
    Info(Box<Info>),
}

/// What an instant selector gives of a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gives {
    /// Its value.
    #[default]
    Value,
    /// Its time in seconds.
    Time,
    /// When its counter started, in seconds; 0 where that is not known.
    Start,
}

/// The last sample of each window of a leaf.
#[derive(Clone, Debug, PartialEq)]
pub struct Instant {
    /// What is read.
    pub leaf: LeafId,
    /// Lookback and shift.
    pub window: Window,
    /// What of the sample is given.
    pub gives: Gives,
    /// Only counts and sums of histograms are asked for: resets are found while reading.
    pub finds_resets: bool,
    /// Where the selector stands.
    pub place: Place,
}

/// A function over windows of samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Over {
    /// The function.
    pub function: RangeFunction,
    /// Scalar arguments, in order.
    pub parameters: Vec<Node>,
    /// The samples.
    pub input: Input,
    /// The windows.
    pub window: Window,
    /// Only counts and sums of histograms are asked for: resets are found while reading.
    pub finds_resets: bool,
    /// Labels of the result of `absent_over_time`.
    pub labels: Labels,
    /// Place of the range argument.
    pub place: Place,
    /// Place of the first parameter (of the call where there is none).
    pub parameter_place: Place,
}

/// Where the samples of windows come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// From a store.
    Leaf(LeafId),
    /// From a node evaluated at other steps.
    Subquery {
        /// The node.
        node: Box<Node>,
        /// Nanoseconds between its steps, which lie at multiples of it.
        step: i64,
    },
}

/// A function of values.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The function.
    pub function: InstantFunction,
    /// Its arguments.
    pub arguments: Vec<Node>,
    /// Where it stands.
    pub place: Place,
    /// Where the arguments stand.
    pub places: Vec<Place>,
    /// Labels of the result of `absent`.
    pub labels: Labels,
}

/// An aggregation.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// Which.
    pub op: AggregateOp,
    /// The parameter.
    pub parameter: Option<Node>,
    /// The series.
    pub input: Node,
    /// The groups.
    pub grouping: Grouping,
    /// Where the aggregation stands.
    pub own_place: Place,
    /// Where the parameter stands (the aggregation where there is none).
    pub parameter_place: Place,
    /// Where the series' expression stands.
    pub place: Place,
}

/// A binary operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// Which.
    pub op: BinaryOp,
    /// A comparison gives 0 or 1 instead of filtering.
    pub return_bool: bool,
    /// How series meet, where both sides are vectors.
    pub matching: Matching,
    /// Left side.
    pub lhs: Node,
    /// Right side.
    pub rhs: Node,
    /// Where it stands.
    pub place: Place,
}

/// Labels of info series added to other series.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// The series that get labels.
    pub input: Node,
    /// The info series.
    pub info: Instant,
    /// What their names meet.
    pub names: Vec<Matcher>,
    /// What their labels meet; where there is any, only the labels named here are added.
    pub data: Vec<Matcher>,
}

/// The form of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A vector, scalar or text at one time.
    Instant,
    /// A matrix over the grid.
    Range,
    /// The samples of a range selector or subquery at one time, as a matrix.
    Samples,
}

/// A whole query of numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricPlan {
    /// What is read, each leaf once.
    pub leaves: Vec<LeafRead>,
    /// What is computed.
    pub root: Node,
    /// At which steps.
    pub grid: Grid,
    /// What the answer looks like.
    pub form: Form,
    /// Metric names leave at the end of evaluation instead of at each function.
    pub delayed_names: bool,
    /// How far borders of windows look for samples, in nanoseconds.
    pub lookback: i64,
    /// Starts of counters count.
    pub start_timestamps: bool,
    /// The label `__type__` says what is a counter, not the name.
    pub type_and_unit_labels: bool,
    /// Samples that steps look at are counted.
    pub count_samples: bool,
    /// How coarse samples may be.
    pub resolution: SourceResolution,
}

/// Adds a leaf, or widens the range of an equal one that it overlaps: what lies between two ranges
/// is not read.
pub(crate) fn add_leaf(leaves: &mut Vec<LeafRead>, leaf: Leaf, range: TimeRange) -> LeafId {
    let known = |l: &LeafRead| l.leaf == leaf && l.range.overlaps(range);
    if let Some(id) = leaves.iter().position(known) {
        leaves[id].range = leaves[id].range.union(range);
        return id;
    }
    leaves.push(LeafRead { leaf, range });
    leaves.len() - 1
}

/// Nanoseconds as seconds with a unit, for reading.
struct Seconds(i64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0 as f64 / 1e9)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", Seconds(self.length))?;
        match self.borders {
            Borders::Plain => {}
            Borders::Anchored => f.write_str(" anchored")?,
            Borders::Smoothed => f.write_str(" smoothed")?,
        }
        if self.offset != 0 {
            write!(f, " offset {}", Seconds(self.offset))?;
        }
        if let Some(at) = self.at {
            write!(f, " @ {at}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metrics(matchers) => {
                f.write_str("metrics {")?;
                for (index, matcher) in matchers.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}{matcher}")?;
                }
                f.write_str("}")
            }
            Self::Logs(leaf) => leaf.fmt(f),
        }
    }
}

impl fmt::Display for MetricPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.form {
            Form::Instant | Form::Samples => writeln!(f, "at {}", self.grid.start)?,
            Form::Range => writeln!(
                f,
                "from {} to {} step {} ({} steps)",
                self.grid.start,
                self.grid.end(),
                Seconds(self.grid.step),
                self.grid.count
            )?,
        }
        write_node(f, &self.root, 1)?;
        for (id, read) in self.leaves.iter().enumerate() {
            let (start, end) = (read.range.start, read.range.end);
            writeln!(f, "read #{id} {} from {start} to {end}", read.leaf)?;
        }
        Ok(())
    }
}

/// Writes one line per node, children indented below.
fn write_node(f: &mut fmt::Formatter<'_>, node: &Node, depth: usize) -> fmt::Result {
    write!(f, "{:1$}", "", depth * 2)?;
    match node {
        Node::Number(value) => writeln!(f, "{value}"),
        Node::Text(text) => writeln!(f, "{text:?}"),
        Node::Instant(instant) => {
            let what = match instant.gives {
                Gives::Value => "",
                Gives::Time => "time of ",
                Gives::Start => "start of ",
            };
            writeln!(f, "{what}last {} of #{}", instant.window, instant.leaf)
        }
        Node::Over(over) => {
            write!(f, "{} {}", over.function, over.window)?;
            match &over.input {
                Input::Leaf(leaf) => writeln!(f, " of #{leaf}")?,
                Input::Subquery { node, step } => {
                    writeln!(f, " every {} of", Seconds(*step))?;
                    write_node(f, node, depth + 1)?;
                }
            }
            write_all(f, &over.parameters, depth + 1)
        }
        Node::Call(call) => {
            writeln!(f, "{}", call.function)?;
            write_all(f, &call.arguments, depth + 1)
        }
        Node::Aggregate(aggregate) => {
            writeln!(f, "{} {}", aggregate.op.as_str(), aggregate.grouping)?;
            if let Some(parameter) = &aggregate.parameter {
                write_node(f, parameter, depth + 1)?;
            }
            write_node(f, &aggregate.input, depth + 1)
        }
        Node::Binary(binary) => {
            let is_bool = if binary.return_bool { " bool" } else { "" };
            write!(f, "{}{is_bool}", binary.op.as_str())?;
            let matching = &binary.matching;
            if matching.on || !matching.labels.is_empty() {
                f.write_str(if matching.on { " on " } else { " ignoring " })?;
                crate::operators::write_names(f, &matching.labels)?;
            }
            writeln!(f)?;
            write_node(f, &binary.lhs, depth + 1)?;
            write_node(f, &binary.rhs, depth + 1)
        }
        Node::Negate(inner) => {
            writeln!(f, "-")?;
            write_node(f, inner, depth + 1)
        }
        Node::Info(info) => {
            writeln!(f, "info {} of #{}", info.info.window, info.info.leaf)?;
            write_node(f, &info.input, depth + 1)
        }
    }
}

fn write_all(f: &mut fmt::Formatter<'_>, nodes: &[Node], depth: usize) -> fmt::Result {
    nodes.iter().try_for_each(|n| write_node(f, n, depth))
}
