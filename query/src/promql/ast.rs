//! The expressions of PromQL as written.
//!
//! Spans are no part of an expression's meaning: expressions that differ only in place are equal.

use obs_model::Matcher;

use super::signatures::Signature;
use crate::operators::{AggregateOp, BinaryOp, Grouping, Matching};
use crate::plan::Borders;

/// Byte offsets of an expression in its text. All spans are equal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    /// Begin.
    pub start: usize,
    /// Behind the end.
    pub end: usize,
}

impl PartialEq for Span {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: Kind,
    /// Where it stands.
    pub span: Span,
    /// Levels of expressions below and including this one; bounded by the parser.
    pub(crate) height: usize,
}

/// The kinds of expressions.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A number; `true` if written as a duration.
    Number(f64, bool),
    /// A text.
    Text(String),
    /// An instant vector selector.
    Selector(Selector),
    /// A range vector selector.
    Range(Selector, Duration),
    /// A subquery.
    Subquery(Box<Subquery>),
    /// A function call.
    Call(&'static Signature, Vec<Expr>),
    /// An aggregation.
    Aggregate(Box<Aggregate>),
    /// A binary operator.
    Binary(Box<Binary>),
    /// A sign before what is no number; `true` for minus.
    Sign(bool, Box<Expr>),
    /// Parentheses.
    Paren(Box<Expr>),
}

/// The type of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// One number.
    Scalar,
    /// A text.
    Text,
    /// Series with one value.
    Vector,
    /// Series with values over a range.
    Range,
}

impl Type {
    /// As errors call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Text => "string",
            Self::Vector => "instant vector",
            Self::Range => "range vector",
        }
    }

    /// As the API calls it.
    pub fn value_name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Text => "string",
            Self::Vector => "vector",
            Self::Range => "matrix",
        }
    }
}

/// `@`
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum At {
    /// Milliseconds since the epoch.
    Millis(i64),
    /// `start()`
    Start,
    /// `end()`
    End,
}

/// `offset`, `@`, `anchored` and `smoothed` of a selector or subquery.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Modifiers {
    /// `offset`
    pub offset: Option<Duration>,
    /// `@`
    pub at: Option<At>,
    /// `anchored`, `smoothed`
    pub borders: Borders,
}

/// A selector.
#[derive(Clone, Debug)]
pub struct Selector {
    /// The metric's name, where it stands before the braces.
    pub name: Option<String>,
    /// The matchers in the braces, as written; their order has no meaning.
    pub matchers: Vec<Matcher>,
    /// Modifiers.
    pub modifiers: Modifiers,
}

impl Selector {
    /// The matchers as they print: sorted.
    pub(crate) fn sorted(&self) -> Vec<String> {
        let mut sorted: Vec<String> = self.matchers.iter().map(super::print::matcher).collect();
        sorted.sort();
        sorted
    }

    /// All matchers, with that of the name.
    pub(crate) fn all_matchers(&self) -> Vec<Matcher> {
        let name = self.name.iter();
        let name = name.map(|name| Matcher::equal(obs_model::labels::METRIC_NAME, name));
        name.chain(self.matchers.iter().cloned()).collect()
    }
}

impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.modifiers == other.modifiers
            && self.sorted() == other.sorted()
    }
}

/// A subquery.
#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    /// What is evaluated.
    pub expr: Expr,
    /// How far back.
    pub range: Duration,
    /// At which distance; `None` for the default.
    pub step: Option<Duration>,
    /// Modifiers.
    pub modifiers: Modifiers,
}

/// An aggregation.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// Which.
    pub op: AggregateOp,
    /// The parameter.
    pub parameter: Option<Expr>,
    /// The vector.
    pub expr: Expr,
    /// The groups; `None` is one group of all.
    pub grouping: Option<Grouping>,
}

/// A binary operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// Which.
    pub op: BinaryOp,
    /// `bool`
    pub return_bool: bool,
    /// How vectors match; `None` unless both sides are vectors.
    pub matching: Option<Matching>,
    /// Left side.
    pub lhs: Expr,
    /// Right side.
    pub rhs: Expr,
}

/// A duration or an expression of durations, in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Duration {
    /// What it is.
    pub kind: DurationKind,
    /// Where it stands.
    pub span: Span,
}

/// The kinds of durations.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationKind {
    /// A number; `true` if written as a duration.
    Number(f64, bool),
    /// `-d`
    Negate(Box<Duration>),
    /// `a + b` and the like.
    Binary(BinaryOp, Box<Duration>, Box<Duration>),
    /// `step()`
    Step,
    /// `range()`
    Range,
    /// `min_of(a, b)`
    MinOf(Box<Duration>, Box<Duration>),
    /// `max_of(a, b)`
    MaxOf(Box<Duration>, Box<Duration>),
    /// Parentheses.
    Paren(Box<Duration>),
}

impl Duration {
    /// The number, where it is nothing else.
    pub fn literal(&self) -> Option<f64> {
        match self.kind {
            DurationKind::Number(value, _) => Some(value),
            _ => None,
        }
    }

    /// The seconds, given the query's step and range in seconds. The error has Prometheus' words.
    pub fn seconds(&self, step: f64, range: f64) -> Result<f64, String> {
        use DurationKind as D;
        let of = |d: &Self| d.seconds(step, range);
        Ok(match &self.kind {
            D::Number(value, _) => *value,
            D::Negate(inner) => -of(inner)?,
            D::Binary(op, a, b) => {
                let (a, b) = (of(a)?, of(b)?);
                match op {
                    BinaryOp::Div if b == 0.0 => return Err(self.fault("division by zero")),
                    BinaryOp::Mod if b == 0.0 => return Err(self.fault("modulo by zero")),
                    _ => crate::eval::arithmetic(*op, a, b),
                }
            }
            D::Step => step,
            D::Range => range,
            D::MinOf(a, b) => lesser(of(a)?, of(b)?),
            D::MaxOf(a, b) => -lesser(-of(a)?, -of(b)?),
            D::Paren(inner) => of(inner)?,
        })
    }

    /// An error with byte offsets, as Prometheus writes it.
    pub(crate) fn fault(&self, message: &str) -> String {
        format!("{}:{}: {message}", self.span.start, self.span.end)
    }
}

/// The smaller one; NaN if either is.
fn lesser(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        return f64::NAN;
    }
    a.min(b)
}

impl Expr {
    /// The type of the value.
    pub fn value_type(&self) -> Type {
        match &self.kind {
            Kind::Number(..) => Type::Scalar,
            Kind::Text(_) => Type::Text,
            Kind::Selector(_) | Kind::Aggregate(_) => Type::Vector,
            Kind::Range(..) | Kind::Subquery(_) => Type::Range,
            Kind::Call(signature, _) => signature.returns,
            Kind::Binary(binary) => match (binary.lhs.value_type(), binary.rhs.value_type()) {
                (Type::Scalar, Type::Scalar) => Type::Scalar,
                _ => Type::Vector,
            },
            Kind::Sign(_, inner) | Kind::Paren(inner) => inner.value_type(),
        }
    }

    /// The expression inside all parentheses.
    pub fn bare(&self) -> &Self {
        let mut expr = self;
        while let Kind::Paren(inner) = &expr.kind {
            expr = inner;
        }
        expr
    }
}

impl Kind {
    /// The expressions directly below.
    pub(crate) fn children(&self) -> Vec<&Expr> {
        match self {
            Self::Number(..) | Self::Text(_) | Self::Selector(_) | Self::Range(..) => Vec::new(),
            Self::Subquery(subquery) => vec![&subquery.expr],
            Self::Call(_, arguments) => arguments.iter().collect(),
            Self::Aggregate(aggregate) => aggregate
                .parameter
                .iter()
                .chain([&aggregate.expr])
                .collect(),
            Self::Binary(binary) => vec![&binary.lhs, &binary.rhs],
            Self::Sign(_, inner) | Self::Paren(inner) => vec![inner],
        }
    }

    /// The same, to change them.
    pub(crate) fn children_mut(&mut self) -> Vec<&mut Expr> {
        match self {
            Self::Number(..) | Self::Text(_) | Self::Selector(_) | Self::Range(..) => Vec::new(),
            Self::Subquery(subquery) => vec![&mut subquery.expr],
            Self::Call(_, arguments) => arguments.iter_mut().collect(),
            Self::Aggregate(aggregate) => aggregate
                .parameter
                .iter_mut()
                .chain([&mut aggregate.expr])
                .collect(),
            Self::Binary(binary) => vec![&mut binary.lhs, &mut binary.rhs],
            Self::Sign(_, inner) | Self::Paren(inner) => vec![inner],
        }
    }
}
