//! From an expression to a plan: all times resolved, every selector a leaf.

use obs_model::labels::METRIC_NAME;
use obs_model::limits::Limits;
use obs_model::time::NANOS_PER_MILLI;
use obs_model::{Labels, LabelsBuilder, MatchOp, Matcher, Timestamp};

use super::ast::{At, Duration, Expr, Kind, Modifiers, Selector, Subquery, Type};
use super::signatures::{Meaning, Signature};
use crate::column::Grid;
use crate::error::{Place, QueryError};
use crate::functions::{HistogramPart, InstantFunction, RangeFunction};
use crate::operators::{BinaryOp, Grouping};
use crate::plan::{
    Aggregate, Binary, Borders, Call, Form, Gives, Info, Input, Instant, Leaf, LeafId, LeafRead,
    MetricPlan, Node, Over, Window, add_leaf,
};
use crate::request::{Request, When};

/// Seconds that fit into 64 bits of nanoseconds.
const SECONDS_MAX: f64 = 9_223_372_036.854_775;

struct Lower<'a> {
    text: &'a str,
    request: &'a Request,
    steps_max: u64,
    start: Timestamp,
    end: Timestamp,
    step_seconds: f64,
    leaves: Vec<LeafRead>,
    /// Inside a function that asks only for counts and sums of histograms …
    counts: bool,
    /// … and inside something that needs their buckets.
    buckets: bool,
}

pub(super) fn plan(
    expr: &Expr,
    text: &str,
    request: &Request,
    limits: &Limits,
) -> Result<MetricPlan, QueryError> {
    let grid = request.when.grid(limits)?;
    let (start, end) = request.when.bounds();
    let is_range = matches!(request.when, When::Range { .. });
    let mut lower = Lower {
        text,
        request,
        steps_max: limits.query_samples_max,
        start,
        end,
        step_seconds: if is_range {
            grid.step as f64 / 1e9
        } else {
            0.0
        },
        leaves: Vec::new(),
        counts: false,
        buckets: false,
    };
    let kind = expr.value_type();
    if is_range && matches!(kind, Type::Text | Type::Range) {
        return Err(QueryError::Unsuitable(format!(
            "invalid expression type \"{}\" for range query, must be Scalar or instant Vector",
            kind.as_str()
        )));
    }
    let (root, form) = match kind {
        // The function is not applied: the samples of the window are the answer.
        Type::Range => {
            let place = lower.place(expr);
            let over = lower.over(RangeFunction::Last, expr, Vec::new(), place, &grid)?;
            (over, Form::Samples)
        }
        Type::Scalar | Type::Text | Type::Vector => {
            let form = if is_range { Form::Range } else { Form::Instant };
            (lower.node(expr, &grid)?, form)
        }
    };
    Ok(MetricPlan {
        leaves: lower.leaves,
        root,
        grid,
        form,
        delayed_names: request.delayed_names,
        lookback: request.lookback,
        start_timestamps: request.start_timestamps,
        type_and_unit_labels: request.type_and_unit_labels,
        count_samples: request.count_samples,
        resolution: request.resolution,
    })
}

fn refuse<T>(text: String) -> Result<T, QueryError> {
    Err(QueryError::Execution(text))
}

impl Lower<'_> {
    fn place(&self, expr: &Expr) -> Place {
        Place::of_bytes(self.text, expr.span.start)
    }

    /// The place of an argument: Prometheus takes parentheses around it away.
    fn argument_place(&self, expr: &Expr) -> Place {
        self.place(expr.bare())
    }

    fn finds_resets(&self) -> bool {
        self.counts && !self.buckets
    }

    fn node(&mut self, expr: &Expr, grid: &Grid) -> Result<Node, QueryError> {
        use InstantFunction as F;
        let before = (self.counts, self.buckets);
        match &expr.kind {
            Kind::Call(signature, _) => match signature.meaning {
                Meaning::Instant(F::Histogram(
                    HistogramPart::Count | HistogramPart::Sum | HistogramPart::Avg,
                )) => self.counts = true,
                Meaning::Instant(
                    F::HistogramQuantile | F::HistogramQuantiles | F::HistogramFraction,
                ) => self.buckets = true,
                _ => {}
            },
            Kind::Binary(binary)
                if matches!(binary.op, BinaryOp::TrimLower | BinaryOp::TrimUpper) =>
            {
                self.buckets = true;
            }
            _ => {}
        }
        let node = self.node_inside(expr, grid);
        (self.counts, self.buckets) = before;
        node
    }

    fn node_inside(&mut self, expr: &Expr, grid: &Grid) -> Result<Node, QueryError> {
        Ok(match &expr.kind {
            Kind::Number(value, _) => Node::Number(*value),
            Kind::Text(text) => Node::Text(text.clone()),
            Kind::Selector(selector) => {
                Node::Instant(self.instant(selector, (Gives::Value, self.place(expr)), grid)?)
            }
            Kind::Range(..) | Kind::Subquery(_) => {
                return refuse("range vector outside of a function".to_owned());
            }
            Kind::Call(signature, arguments) => self.call(expr, signature, arguments, grid)?,
            Kind::Aggregate(aggregate) => {
                let parameter = aggregate.parameter.as_ref();
                Node::Aggregate(Box::new(Aggregate {
                    op: aggregate.op,
                    parameter: parameter.map(|p| self.node(p, grid)).transpose()?,
                    input: self.node(&aggregate.expr, grid)?,
                    grouping: aggregate.grouping.clone().unwrap_or_else(Grouping::default),
                    own_place: self.place(expr),
                    parameter_place: parameter.map_or(self.place(expr), |p| self.argument_place(p)),
                    place: self.argument_place(&aggregate.expr),
                }))
            }
            Kind::Binary(binary) => Node::Binary(Box::new(Binary {
                op: binary.op,
                return_bool: binary.return_bool,
                matching: binary.matching.clone().unwrap_or_default(),
                lhs: self.node(&binary.lhs, grid)?,
                rhs: self.node(&binary.rhs, grid)?,
                place: self.place(expr),
            })),
            Kind::Sign(true, inner) => Node::Negate(Box::new(self.node(inner, grid)?)),
            Kind::Sign(false, inner) => self.node(inner, grid)?,
            Kind::Paren(inner) => self.node(inner, grid)?,
        })
    }

    /// Nanoseconds of a duration, which Prometheus keeps in whole milliseconds.
    fn nanos(&self, duration: &Duration) -> Result<i64, QueryError> {
        let fault = |message: &str| refuse(duration.fault(message));
        let range = (self.end - self.start) as f64 / 1e9;
        let seconds = duration.seconds(self.step_seconds, range);
        let seconds = seconds.map_err(QueryError::Execution)?;
        if !seconds.is_finite() {
            return fault("duration is NaN or infinite");
        }
        if seconds.abs() > SECONDS_MAX {
            return fault("duration is out of range");
        }
        let ms = match duration.literal() {
            // Literals are rounded to nanoseconds first.
            Some(seconds) => (seconds * 1e9).round() as i64 / NANOS_PER_MILLI,
            None => (seconds * 1000.0) as i64,
        };
        // Windows reach back and forth, so that they must not fill all time.
        let nanos = ms.checked_mul(NANOS_PER_MILLI);
        match nanos.filter(|nanos| nanos.abs() <= i64::MAX / 2) {
            Some(nanos) => Ok(nanos),
            None => fault("duration is out of range"),
        }
    }

    fn positive(&self, duration: &Duration) -> Result<i64, QueryError> {
        let range = (self.end - self.start) as f64 / 1e9;
        let seconds = duration.seconds(self.step_seconds, range);
        if seconds.is_ok_and(|seconds| seconds <= 0.0) {
            return refuse(duration.fault("duration must be greater than 0"));
        }
        // What is less than a millisecond is one: nothing is ever zero.
        self.nanos(duration).map(|nanos| nanos.max(NANOS_PER_MILLI))
    }

    fn window(&self, length: i64, modifiers: &Modifiers) -> Result<Window, QueryError> {
        Ok(Window {
            length,
            offset: match &modifiers.offset {
                Some(offset) => self.nanos(offset)?,
                None => 0,
            },
            at: modifiers.at.map(|at| match at {
                At::Millis(ms) => Timestamp::from_millis(ms),
                At::Start => self.start,
                At::End => self.end,
            }),
            borders: modifiers.borders,
        })
    }

    fn leaf(&mut self, selector: &Selector, window: &Window, grid: &Grid) -> LeafId {
        let matchers = selector.all_matchers();
        let mut range = window.covers(grid);
        if window.borders != Borders::Plain {
            range.start = range.start.saturating_sub(self.request.lookback);
        }
        if window.borders == Borders::Smoothed {
            range.end = range.end.saturating_add(self.request.lookback);
        }
        add_leaf(&mut self.leaves, Leaf::Metrics(matchers), range)
    }

    fn instant(
        &mut self,
        selector: &Selector,
        (gives, place): (Gives, Place),
        grid: &Grid,
    ) -> Result<Instant, QueryError> {
        let window = self.window(self.request.lookback, &selector.modifiers)?;
        let leaf = self.leaf(selector, &window, grid);
        Ok(Instant {
            leaf,
            window,
            gives,
            finds_resets: self.finds_resets(),
            place,
        })
    }

    fn call(
        &mut self,
        expr: &Expr,
        signature: &Signature,
        arguments: &[Expr],
        grid: &Grid,
    ) -> Result<Node, QueryError> {
        let function = match signature.meaning {
            Meaning::Pi => return Ok(Node::Number(std::f64::consts::PI)),
            Meaning::Start => return Ok(Node::Number(self.start.seconds_f64())),
            Meaning::End => return Ok(Node::Number(self.end.seconds_f64())),
            Meaning::QueryRange => {
                return Ok(Node::Number((self.end - self.start) as f64 / 1e9));
            }
            Meaning::Step => return Ok(Node::Number(self.step_seconds)),
            Meaning::Info => return self.info(arguments, grid),
            Meaning::Instant(function) => function,
            Meaning::Range(function) => {
                let (ranges, others): (Vec<&Expr>, Vec<&Expr>) = arguments
                    .iter()
                    .partition(|a| a.value_type() == Type::Range);
                let [range] = ranges[..] else {
                    return refuse(format!("{function} needs one range vector"));
                };
                let other = others.first().copied();
                let place = other.map_or(self.place(expr), |o| self.argument_place(o));
                return self.over(function, range, others, place, grid);
            }
        };
        let first = arguments.first().map(|a| &a.bare().kind);
        let gives = match function {
            InstantFunction::Timestamp => Some(Gives::Time),
            InstantFunction::StartTimestamp => {
                Some(Gives::Start).filter(|_| self.request.start_timestamps)
            }
            _ => None,
        };
        if let (Some(gives), Some(Kind::Selector(selector))) = (gives, first) {
            let place = self.argument_place(&arguments[0]);
            let instant = self.instant(selector, (gives, place), grid)?;
            return Ok(Node::Instant(instant));
        }
        let labels = match (function, first) {
            (InstantFunction::Absent, Some(Kind::Selector(selector))) => absent_labels(selector),
            _ => Labels::empty(),
        };
        let mut nodes = Vec::with_capacity(arguments.len());
        for argument in arguments {
            nodes.push(self.node(argument, grid)?);
        }
        if nodes.is_empty() && matches!(function, InstantFunction::Date(_)) {
            let place = self.place(expr);
            let time = call_node(InstantFunction::Time, Vec::new(), place);
            nodes.push(call_node(InstantFunction::Vector, vec![time], place));
        }
        Ok(Node::Call(Call {
            function,
            arguments: nodes,
            place: self.place(expr),
            places: arguments.iter().map(|a| self.argument_place(a)).collect(),
            labels,
        }))
    }

    /// The info series are looked at when the first selector of the expression is.
    fn info(&mut self, arguments: &[Expr], grid: &Grid) -> Result<Node, QueryError> {
        let Some((base, selector)) = arguments.split_first() else {
            return refuse("info needs an instant vector".to_owned());
        };
        let (mut names, mut data) = (Vec::new(), Vec::new());
        if let Some(Kind::Selector(selector)) = selector.first().map(|s| &s.kind) {
            for matcher in &selector.matchers {
                let of = if matcher.name == METRIC_NAME {
                    &mut names
                } else {
                    &mut data
                };
                of.push(matcher.clone());
            }
        }
        if names.is_empty() {
            names.push(Matcher::equal(METRIC_NAME, "target_info"));
        }
        let positive = |m: &Matcher| matches!(m.op, MatchOp::Equal | MatchOp::Regex);
        if !names.iter().any(positive) {
            let all = Matcher::new(METRIC_NAME, MatchOp::Regex, ".+_info");
            names.push(all.map_err(|e| QueryError::Execution(e.to_string()))?);
        }
        let mut window = self.window(self.request.lookback, &Modifiers::default())?;
        self.reference(base, &mut window)?;
        let matchers = names.iter().chain(&data).cloned().collect();
        let leaf = add_leaf(
            &mut self.leaves,
            Leaf::Metrics(matchers),
            window.covers(grid),
        );
        let input = self.node(base, grid)?;
        let info = Instant {
            leaf,
            window,
            gives: Gives::Value,
            finds_resets: false,
            place: self.place(base),
        };
        Ok(Node::Info(Box::new(Info {
            input,
            info,
            names,
            data,
        })))
    }

    /// Moves a window to where the first selector of an expression looks; `false` without one.
    fn reference(&self, expr: &Expr, window: &mut Window) -> Result<bool, QueryError> {
        let modifiers = match &expr.kind {
            Kind::Selector(selector) | Kind::Range(selector, _) => Some(&selector.modifiers),
            Kind::Subquery(subquery) => Some(&subquery.modifiers),
            _ => None,
        };
        if let Some(modifiers) = modifiers {
            let own = self.window(0, modifiers)?;
            window.offset = match own.at {
                Some(_) => own.offset,
                None => window.offset.saturating_add(own.offset),
            };
            window.at = own.at.or(window.at);
        }
        if matches!(expr.kind, Kind::Selector(_) | Kind::Range(..)) {
            return Ok(true);
        }
        for child in expr.kind.children() {
            if self.reference(child, window)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn over(
        &mut self,
        function: RangeFunction,
        range: &Expr,
        parameters: Vec<&Expr>,
        parameter_place: Place,
        grid: &Grid,
    ) -> Result<Node, QueryError> {
        let place = self.argument_place(range);
        let mut labels = Labels::empty();
        let (input, window) = match &range.bare().kind {
            Kind::Range(selector, length) => {
                allowed_borders(function, selector.modifiers.borders)?;
                labels = absent_labels(selector);
                let window = self.window(self.positive(length)?, &selector.modifiers)?;
                (Input::Leaf(self.leaf(selector, &window, grid)), window)
            }
            Kind::Subquery(subquery) => self.subquery(subquery, grid)?,
            _ => return refuse(format!("{function} needs a range vector")),
        };
        let mut nodes = Vec::with_capacity(parameters.len());
        for parameter in parameters {
            nodes.push(self.node(parameter, grid)?);
        }
        Ok(Node::Over(Box::new(Over {
            function,
            parameters: nodes,
            input,
            window,
            finds_resets: self.finds_resets(),
            labels,
            place,
            parameter_place,
        })))
    }

    fn subquery(
        &mut self,
        subquery: &Subquery,
        grid: &Grid,
    ) -> Result<(Input, Window), QueryError> {
        let window = self.window(self.positive(&subquery.range)?, &subquery.modifiers)?;
        let step = match &subquery.step {
            Some(step) => self.positive(step)?,
            None => self.request.subquery_step,
        };
        let inner = crate::eval::subquery_grid(&window, step, grid);
        if inner.count as u64 > self.steps_max {
            return refuse(format!(
                "subquery has {} steps, more than the limit query_samples_max of {}",
                inner.count, self.steps_max
            ));
        }
        // Steps may jump over resets, which then show only in buckets.
        let before = std::mem::replace(&mut self.buckets, true);
        let node = self.node(&subquery.expr, &inner);
        self.buckets = before;
        let node = Box::new(node?);
        Ok((Input::Subquery { node, step }, window))
    }
}

fn call_node(function: InstantFunction, arguments: Vec<Node>, place: Place) -> Node {
    Node::Call(Call {
        function,
        arguments,
        place,
        places: Vec::new(),
        labels: Labels::empty(),
    })
}

/// `anchored` and `smoothed` have a meaning only for some functions.
fn allowed_borders(function: RangeFunction, borders: Borders) -> Result<(), QueryError> {
    use RangeFunction::{Changes, Delta, Increase, Rate, Resets};
    let smooth = matches!(function, Rate | Increase | Delta);
    match borders {
        Borders::Anchored if !smooth && !matches!(function, Changes | Resets) => refuse(format!(
            "anchored modifier can only be used with: changes, delta, increase, rate, resets - not with {function}"
        )),
        Borders::Smoothed if !smooth => refuse(format!(
            "smoothed modifier can only be used with: delta, increase, rate - not with {function}"
        )),
        Borders::Plain | Borders::Anchored | Borders::Smoothed => Ok(()),
    }
}

/// The labels that a selector tells for sure: those with exactly one matcher, by equality.
fn absent_labels(selector: &Selector) -> Labels {
    let mut labels = LabelsBuilder::default();
    for matcher in &selector.matchers {
        let same = selector.matchers.iter().filter(|m| m.name == matcher.name);
        if matcher.name != METRIC_NAME && matcher.op == MatchOp::Equal && same.count() == 1 {
            labels.set(&matcher.name, &matcher.value);
        }
    }
    labels.build()
}
