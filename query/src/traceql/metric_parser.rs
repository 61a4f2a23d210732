//! TraceQL's parser for metrics: functions, stages behind them, and arithmetic between queries in
//! parentheses.
//!
//! Which kind of thing a parenthesis holds is decided before it is read, by where the function
//! words stand inside; so nothing is read twice.

use super::ast::{Attribute, Operator, Static};
use super::lexer::Token;
use super::metric::{Metric, MetricExpr, MetricPipeline, OverTime, Stage};
use super::parser::{Parsed, Parser, invalid};

/// Functions that make metrics of spans.
const METRICS: [&str; 9] = [
    "rate",
    "count_over_time",
    "min_over_time",
    "max_over_time",
    "avg_over_time",
    "sum_over_time",
    "quantile_over_time",
    "histogram_over_time",
    "compare",
];

/// Most values of an attribute that `compare()` tells.
const COMPARE_TOP_MAX: i64 = 1000;
/// Values that `compare()` tells unless the query says how many.
const COMPARE_TOP: i64 = 10;

/// What stands between the operators of metrics arithmetic.
enum Operand {
    Number(Static),
    Series(MetricExpr),
}

/// Arithmetic of two constants: integers stay whole.
fn fold(op: Operator, left: &Static, right: &Static) -> Result<Static, String> {
    let float = |value: &Static| match value {
        Static::Int(value) => Ok(*value as f64),
        Static::Float(value) => Ok(*value),
        _ => Err("duration cannot be used in scalar arithmetic".to_owned()),
    };
    if let (Static::Int(a), Static::Int(b)) = (left, right) {
        let folded = match op {
            Operator::Add => a.checked_add(*b),
            Operator::Sub => a.checked_sub(*b),
            Operator::Mul => a.checked_mul(*b),
            _ if *b == 0 => return Err("division by zero".to_owned()),
            _ => a.checked_div(*b),
        };
        return folded
            .map(Static::Int)
            .ok_or_else(|| "scalar arithmetic overflows".to_owned());
    }
    let (a, b) = (float(left)?, float(right)?);
    let value = match op {
        Operator::Add => a + b,
        Operator::Sub => a - b,
        Operator::Mul => a * b,
        _ => a / b,
    };
    if value.is_finite() {
        Ok(Static::Float(value))
    } else {
        Err("scalar arithmetic overflows".to_owned())
    }
}

impl Parser<'_> {
    /// Whether a function word comes next.
    pub(super) fn at_metric(&self) -> bool {
        self.at_word().is_some_and(|word| METRICS.contains(&word))
    }

    /// Whether a function word comes behind the next token.
    pub(super) fn metric_behind(&self) -> bool {
        matches!(self.cursor.peek_at(1), Some(Token::Word(word)) if METRICS.contains(&word.as_str()))
    }

    /// Whether the query is arithmetic: a function word stands inside parentheses.
    pub(super) fn is_arithmetic(&self) -> bool {
        let mut depth = 0usize;
        let mut ahead = 0;
        while let Some(token) = self.cursor.peek_at(ahead) {
            match token {
                Token::Sign("(") => depth += 1,
                Token::Sign(")") => depth = depth.saturating_sub(1),
                Token::Word(word) if depth > 0 && METRICS.contains(&word.as_str()) => return true,
                _ => {}
            }
            ahead += 1;
        }
        false
    }

    /// At an opening parenthesis: how many further ones a function word is inside of.
    fn depth_of_metric(&self) -> Option<usize> {
        let mut depth = 0usize;
        let mut ahead = 0;
        let mut found: Option<usize> = None;
        while let Some(token) = self.cursor.peek_at(ahead) {
            match token {
                Token::Sign("(") => depth += 1,
                Token::Sign(")") => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        break;
                    }
                }
                Token::Word(word) if METRICS.contains(&word.as_str()) => {
                    found = Some(found.map_or(depth, |f| f.min(depth)));
                }
                _ => {}
            }
            ahead += 1;
        }
        found.map(|depth| depth.saturating_sub(1))
    }

    /// Arithmetic between queries, with the stages behind it.
    pub(super) fn arithmetic(&mut self) -> Parsed<MetricExpr> {
        let Operand::Series(expr) = self.terms(0)? else {
            return Err(self.error("a query such as ({ } | rate())"));
        };
        let stages = self.stages()?;
        self.staged(expr, stages)
    }

    fn staged(&self, inner: MetricExpr, stages: Vec<Stage>) -> Parsed<MetricExpr> {
        if stages.is_empty() {
            return Ok(inner);
        }
        let mut compares = false;
        inner.pipelines(&mut |p| compares |= matches!(p.metric, Metric::Compare { .. }));
        if compares {
            return Err(invalid(
                "`compare()` cannot be used with second stage functions",
            ));
        }
        Ok(match inner {
            MetricExpr::Staged {
                inner,
                stages: mut before,
            } => {
                before.extend(stages);
                MetricExpr::Staged {
                    inner,
                    stages: before,
                }
            }
            inner => MetricExpr::Staged {
                inner: Box::new(inner),
                stages,
            },
        })
    }

    fn terms(&mut self, floor: u8) -> Parsed<Operand> {
        self.cursor.begin_height();
        let mut left = self.term()?;
        loop {
            let op = self.operator().filter(|op| {
                matches!(
                    op,
                    Operator::Add | Operator::Sub | Operator::Mul | Operator::Div
                ) && op.precedence() > floor
            });
            let Some(op) = op else {
                return Ok(left);
            };
            let height = self.cursor.height();
            self.cursor.advance();
            let right = self.nested(|parser| parser.terms(op.precedence()))?;
            self.cursor.grow(height)?;
            left = Self::join(op, left, right)?;
        }
    }

    fn join(op: Operator, left: Operand, right: Operand) -> Parsed<Operand> {
        let scalar = |value: Static, left: bool, inner: MetricExpr| {
            if matches!(value, Static::Duration(_)) {
                return Err(invalid(
                    "duration cannot be used as a scalar operand in metric arithmetic",
                ));
            }
            refuse_compare(&inner)?;
            Ok(MetricExpr::Scalar {
                op,
                value,
                left,
                inner: Box::new(inner),
            })
        };
        Ok(match (left, right) {
            (Operand::Number(a), Operand::Number(b)) => {
                Operand::Number(fold(op, &a, &b).map_err(invalid)?)
            }
            (Operand::Number(value), Operand::Series(inner)) => {
                Operand::Series(scalar(value, true, inner)?)
            }
            (Operand::Series(inner), Operand::Number(value)) => {
                Operand::Series(scalar(value, false, inner)?)
            }
            (Operand::Series(left), Operand::Series(right)) => {
                refuse_compare(&left)?;
                refuse_compare(&right)?;
                Operand::Series(MetricExpr::Binary {
                    op,
                    left: Box::new(left),
                    right: Box::new(right),
                })
            }
        })
    }

    fn term(&mut self) -> Parsed<Operand> {
        if self.sign("-") {
            let Operand::Number(value) = self.nested(Self::term)? else {
                return Err(self.error("a number behind -"));
            };
            return Ok(Operand::Number(match value {
                Static::Int(value) => Static::Int(value.saturating_neg()),
                Static::Float(value) => Static::Float(-value),
                Static::Duration(nanos) => Static::Duration(nanos.saturating_neg()),
                other => other,
            }));
        }
        if self.cursor.peek() != Some(&Token::Sign("(")) {
            let number = matches!(
                self.cursor.peek(),
                Some(Token::Int(_) | Token::Float(_) | Token::Duration(_))
            );
            let value = if number { self.constant() } else { None };
            return value
                .map(Operand::Number)
                .ok_or_else(|| self.error("a number or a query such as ({ } | rate())"));
        }
        let depth = self.depth_of_metric();
        self.cursor.advance();
        let inside = match depth {
            Some(0) => Operand::Series(self.nested(Self::wrapped)?),
            _ => self.nested(|parser| parser.terms(0))?,
        };
        self.expect_sign(")")?;
        Ok(inside)
    }

    /// A pipeline with its function and stages, inside parentheses.
    fn wrapped(&mut self) -> Parsed<MetricExpr> {
        let pipeline = self.pipeline()?;
        self.expect_sign("|")?;
        self.metric(pipeline)
    }

    /// A function behind a pipeline, with the stages behind it.
    pub(super) fn metric(&mut self, pipeline: Vec<super::ast::Element>) -> Parsed<MetricExpr> {
        let metric = self.function()?;
        let mut by = Vec::new();
        if !matches!(metric, Metric::Compare { .. }) && self.at_word() == Some("by") {
            self.cursor.advance();
            self.expect_sign("(")?;
            by = self.attributes()?;
        }
        let series = MetricExpr::Series(Box::new(MetricPipeline {
            pipeline,
            metric,
            by,
        }));
        let stages = self.stages()?;
        self.staged(series, stages)
    }

    fn function(&mut self) -> Parsed<Metric> {
        if !self.at_metric() {
            return Err(self.error("a metrics function such as rate()"));
        }
        let word = self.at_word().unwrap_or_default().to_owned();
        self.cursor.advance();
        self.expect_sign("(")?;
        let metric = match word.as_str() {
            "rate" => Metric::Rate,
            "count_over_time" => Metric::Count,
            "min_over_time" => Metric::Over(OverTime::Min, self.attribute()?),
            "max_over_time" => Metric::Over(OverTime::Max, self.attribute()?),
            "avg_over_time" => Metric::Over(OverTime::Avg, self.attribute()?),
            "sum_over_time" => Metric::Over(OverTime::Sum, self.attribute()?),
            "histogram_over_time" => Metric::Histogram(self.attribute()?),
            "quantile_over_time" => {
                let attribute = self.attribute()?;
                Metric::Quantile(attribute, self.quantiles()?)
            }
            _ => self.compare()?,
        };
        self.expect_sign(")")?;
        Ok(metric)
    }

    fn attribute(&mut self) -> Parsed<Attribute> {
        let Some(Token::Attribute(attribute)) = self.cursor.peek() else {
            return Err(self.error("an attribute such as duration"));
        };
        let attribute = attribute.clone();
        self.cursor.advance();
        Ok(attribute)
    }

    fn quantiles(&mut self) -> Parsed<Vec<f64>> {
        let mut all = Vec::new();
        self.expect_sign(",")?;
        loop {
            let quantile = match self.cursor.peek() {
                Some(Token::Float(value)) => *value,
                Some(Token::Int(value)) => *value as f64,
                _ => return Err(self.error("a quantile such as 0.95")),
            };
            if !(0.0..=1.0).contains(&quantile) {
                return Err(invalid(format!(
                    "quantile must be between 0 and 1: {quantile}"
                )));
            }
            self.cursor.advance();
            all.push(quantile);
            if !self.sign(",") {
                return Ok(all);
            }
        }
    }

    fn compare(&mut self) -> Parsed<Metric> {
        let filter = self.filter()?;
        let mut numbers = Vec::new();
        while numbers.len() < 3 && self.sign(",") {
            let Some(Token::Int(value)) = self.cursor.peek() else {
                return Err(self.error("a whole number"));
            };
            numbers.push(*value);
            self.cursor.advance();
        }
        let top = numbers.first().copied().unwrap_or(COMPARE_TOP);
        if !(1..=COMPARE_TOP_MAX).contains(&top) {
            return Err(invalid(format!(
                "compare() top number of values must be an integer between 1 and {COMPARE_TOP_MAX}"
            )));
        }
        let window = match numbers.get(1..) {
            None | Some([] | [0, 0]) => None,
            Some([start, end]) if *start > 0 && end > start => Some((*start, *end)),
            Some([start, end]) if *start > 0 && *end > 0 => {
                return Err(invalid(
                    "compare() end timestamp must be greater than start timestamp",
                ));
            }
            Some([_, _]) => {
                return Err(invalid(
                    "compare() timestamps must be positive integer unix nanoseconds",
                ));
            }
            Some(_) => return Err(self.error("the end of the range behind its start")),
        };
        Ok(Metric::Compare {
            filter,
            top: usize::try_from(top).unwrap_or_default(),
            window,
        })
    }

    fn stages(&mut self) -> Parsed<Vec<Stage>> {
        let mut stages = Vec::new();
        loop {
            if let Some(op) = self.operator().filter(|op| op.is_comparison()) {
                self.cursor.advance();
                let Operand::Number(value) = self.nested(|parser| parser.terms(2))? else {
                    return Err(self.error("a number"));
                };
                stages.push(Stage::Keep(op, value));
            } else if self.sign("|") {
                stages.push(self.ranking()?);
            } else {
                return Ok(stages);
            }
        }
    }

    fn ranking(&mut self) -> Parsed<Stage> {
        let make: fn(usize) -> Stage = match self.at_word() {
            Some("topk") => Stage::Top,
            Some("bottomk") => Stage::Bottom,
            _ => return Err(self.error("topk or bottomk")),
        };
        self.cursor.advance();
        self.expect_sign("(")?;
        let Some(Token::Int(count)) = self.cursor.peek() else {
            return Err(self.error("a whole number"));
        };
        let count = *count;
        if count <= 0 {
            return Err(invalid("limit must be greater than 0"));
        }
        self.cursor.advance();
        self.expect_sign(")")?;
        Ok(make(usize::try_from(count).unwrap_or(usize::MAX)))
    }
}

fn refuse_compare(expr: &MetricExpr) -> Parsed<()> {
    let mut found = false;
    expr.pipelines(&mut |p| found |= matches!(p.metric, Metric::Compare { .. }));
    if found {
        return Err(invalid("`compare()` cannot be used in metrics arithmetic"));
    }
    Ok(())
}
