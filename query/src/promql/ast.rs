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
    /// Unary minus; plus changes nothing and is not kept.
    Negate(Box<Expr>),
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
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    /// The metric's name, where it is given as such.
    pub name: Option<String>,
    /// All other matchers, sorted as they print.
    pub matchers: Vec<Matcher>,
    /// Modifiers.
    pub modifiers: Modifiers,
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
pub enum Duration {
    /// A number; `true` if written as a duration.
    Number(f64, bool),
    /// `-d`
    Negate(Box<Self>),
    /// `a + b` and the like.
    Binary(BinaryOp, Box<Self>, Box<Self>),
    /// `step()`
    Step,
    /// `range()`
    Range,
    /// `min_of(a, b)`
    MinOf(Box<Self>, Box<Self>),
    /// `max_of(a, b)`
    MaxOf(Box<Self>, Box<Self>),
    /// Parentheses.
    Paren(Box<Self>),
}

impl Duration {
    /// The seconds, given the query's step and range in seconds.
    pub fn seconds(&self, step: f64, range: f64) -> f64 {
        let of = |d: &Self| d.seconds(step, range);
        match self {
            Self::Number(value, _) => *value,
            Self::Negate(inner) => -of(inner),
            Self::Binary(op, a, b) => crate::eval::arithmetic(*op, of(a), of(b)),
            Self::Step => step,
            Self::Range => range,
            Self::MinOf(a, b) => of(a).min(of(b)),
            Self::MaxOf(a, b) => of(a).max(of(b)),
            Self::Paren(inner) => of(inner),
        }
    }
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
            Kind::Negate(inner) | Kind::Paren(inner) => inner.value_type(),
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
