//! The syntax tree of TraceQL.
//!
//! Invariant: a tree that [`crate::traceql::parse`] gave is valid: filters are boolean, operands
//! fit their operators, and aggregates are numeric and speak of spans.

use obs_model::spans::{SpanKind, StatusCode};

use super::metric::MetricExpr;

/// A query.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// What is asked.
    pub root: Root,
    /// `with(name=value)`: how it is done.
    pub hints: Vec<(String, Static)>,
}

/// What a query asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Root {
    /// Traces: elements one after the other, never none.
    Search(Vec<Element>),
    /// Series.
    Metrics(MetricExpr),
}

impl Query {
    /// The value of a hint; of several the last.
    pub fn hint(&self, name: &str) -> Option<&Static> {
        let found = self.hints.iter().rev().find(|(hint, _)| hint == name);
        found.map(|(_, value)| value)
    }
}

/// An element of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub enum Element {
    /// Keeps spans.
    Spans(SpansetExpr),
    /// Keeps span sets by an aggregate.
    Scalar(ScalarFilter),
    /// Splits span sets by a value.
    By(FieldExpr),
    /// Joins the groups again.
    Coalesce,
    /// Shows attributes of the spans.
    Select(Vec<Attribute>),
}

/// Which spans.
#[derive(Clone, Debug, PartialEq)]
pub enum SpansetExpr {
    /// `{ … }`; nothing inside takes all.
    Filter(Option<FieldExpr>),
    /// Two sets and how they relate.
    Operation {
        /// The relation.
        op: SpansetOp,
        /// Left set.
        left: Box<SpansetExpr>,
        /// Right set.
        right: Box<SpansetExpr>,
    },
    /// `({ … } | count() > 1)`: a pipeline as an operand.
    Pipeline(Vec<Element>),
}

/// Where a span of the right side stands relative to one of the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// `>`
    Child,
    /// `<`
    Parent,
    /// `>>`
    Descendant,
    /// `<<`
    Ancestor,
    /// `~`
    Sibling,
}

/// What a structural operator gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gives {
    /// Spans of the right side that stand in the relation.
    Right,
    /// Spans of the right side that do not (`!>`).
    NotRight,
    /// Spans of both sides that stand in the relation (`&>`).
    Both,
}

/// Operators between span sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpansetOp {
    /// `&&`: both sets have spans.
    And,
    /// `||`: spans of either.
    Union,
    /// A structural one.
    Structural(Relation, Gives),
}

/// Structural operators by text; longer texts come before their prefixes.
pub(crate) const STRUCTURAL: [(&str, Relation, Gives); 15] = [
    ("&>>", Relation::Descendant, Gives::Both),
    ("&<<", Relation::Ancestor, Gives::Both),
    ("!>>", Relation::Descendant, Gives::NotRight),
    ("!<<", Relation::Ancestor, Gives::NotRight),
    (">>", Relation::Descendant, Gives::Right),
    ("<<", Relation::Ancestor, Gives::Right),
    ("&>", Relation::Child, Gives::Both),
    ("&<", Relation::Parent, Gives::Both),
    ("&~", Relation::Sibling, Gives::Both),
    ("!>", Relation::Child, Gives::NotRight),
    ("!<", Relation::Parent, Gives::NotRight),
    ("!~", Relation::Sibling, Gives::NotRight),
    (">", Relation::Child, Gives::Right),
    ("<", Relation::Parent, Gives::Right),
    ("~", Relation::Sibling, Gives::Right),
];

impl SpansetOp {
    /// As written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::And => "&&",
            Self::Union => "||",
            Self::Structural(relation, gives) => STRUCTURAL
                .iter()
                .find(|(_, r, g)| *r == relation && *g == gives)
                .map_or("", |(text, _, _)| text),
        }
    }
}

/// A comparison of aggregates.
#[derive(Clone, Debug, PartialEq)]
pub struct ScalarFilter {
    /// Left side.
    pub left: ScalarExpr,
    /// `=`, `!=`, `<`, `<=`, `>` or `>=`.
    pub op: Operator,
    /// Right side.
    pub right: ScalarExpr,
}

/// A number about a span set.
#[derive(Clone, Debug, PartialEq)]
pub enum ScalarExpr {
    /// A constant.
    Static(Static),
    /// `count()`, `avg(…)`.
    Aggregate(Aggregate, Option<FieldExpr>),
    /// `({ … } | avg(duration))`: an aggregate over the spans of a pipeline.
    Pipeline(Vec<Element>, Box<ScalarExpr>),
    /// Arithmetic.
    Operation {
        /// `+ - * / % ^`
        op: Operator,
        /// Left side.
        left: Box<ScalarExpr>,
        /// Right side.
        right: Box<ScalarExpr>,
    },
}

/// Functions over the spans of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// Number of spans.
    Count,
    /// Largest value.
    Max,
    /// Smallest value.
    Min,
    /// Mean.
    Avg,
    /// Sum.
    Sum,
}

impl Aggregate {
    /// As written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Max => "max",
            Self::Min => "min",
            Self::Avg => "avg",
            Self::Sum => "sum",
        }
    }
}

/// An expression over one span.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldExpr {
    /// A constant.
    Static(Static),
    /// A value of the span.
    Attribute(Attribute),
    /// `-x`
    Negate(Box<FieldExpr>),
    /// `!x`
    Not(Box<FieldExpr>),
    /// `x != nil` (true) or `x = nil`.
    Exists(Box<FieldExpr>, bool),
    /// A regular expression; the flag is whether it must match.
    Matches(Box<FieldExpr>, obs_model::Pattern, bool),
    /// Two operands.
    Operation {
        /// The operator.
        op: Operator,
        /// Left side.
        left: Box<FieldExpr>,
        /// Right side.
        right: Box<FieldExpr>,
    },
}

/// Operators between values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `||`
    Or,
    /// `&&`
    And,
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
}

impl Operator {
    /// As written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Or => "||",
            Self::And => "&&",
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
        }
    }

    /// Whether it compares.
    pub fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal
                | Self::NotEqual
                | Self::Less
                | Self::LessEqual
                | Self::Greater
                | Self::GreaterEqual
        )
    }

    /// Whether it joins truths.
    pub fn is_logical(self) -> bool {
        matches!(self, Self::Or | Self::And)
    }

    /// How tightly it binds, from 1.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            Self::Or | Self::And => 1,
            Self::Add | Self::Sub => 3,
            Self::Mul | Self::Div | Self::Mod => 4,
            Self::Pow => 5,
            _ => 2,
        }
    }
}

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub enum Static {
    /// Text.
    String(String),
    /// Integer.
    Int(i64),
    /// Float.
    Float(f64),
    /// Nanoseconds.
    Duration(i64),
    /// Truth.
    Bool(bool),
    /// How a span ended.
    Status(StatusCode),
    /// What a span does.
    Kind(SpanKind),
}

/// Whose attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The span's, else the resource's.
    Any,
    /// `span.`
    Span,
    /// `resource.`
    Resource,
    /// `event.`
    Event,
    /// `link.`
    Link,
    /// `instrumentation.`
    Instrumentation,
}

impl Scope {
    /// As written, with its dot.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => ".",
            Self::Span => "span.",
            Self::Resource => "resource.",
            Self::Event => "event.",
            Self::Link => "link.",
            Self::Instrumentation => "instrumentation.",
        }
    }
}

/// A value of a span.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Attribute {
    /// By name.
    Named {
        /// `parent.`: the parent span's.
        parent: bool,
        /// Whose.
        scope: Scope,
        /// Its name.
        name: String,
    },
    /// Built in.
    Intrinsic(Intrinsic),
}

/// Values that every span has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Intrinsic {
    /// Nanoseconds from begin to end.
    Duration,
    /// The span's name.
    Name,
    /// How it ended.
    Status,
    /// Why it ended so.
    StatusMessage,
    /// What it does.
    Kind,
    /// Its id.
    SpanId,
    /// Its parent's id.
    ParentId,
    /// Number of children.
    ChildCount,
    /// The trace's id.
    TraceId,
    /// Name of the root span.
    RootName,
    /// Service of the root span.
    RootService,
    /// Nanoseconds from the first begin to the last end.
    TraceDuration,
    /// Nested set.
    NestedSetLeft,
    /// Nested set.
    NestedSetRight,
    /// Left number of the parent; -1 for a root.
    NestedSetParent,
    /// Names of events.
    EventName,
    /// Nanoseconds from the span's begin to its events.
    EventTime,
    /// Trace ids of links.
    LinkTraceId,
    /// Span ids of links.
    LinkSpanId,
    /// Name of the instrumentation.
    InstrumentationName,
    /// Version of the instrumentation.
    InstrumentationVersion,
    /// `parent`: only compared to nil, which tells roots.
    Parent,
}

/// Intrinsics by text; of equal intrinsics the printer takes the first.
pub(crate) const INTRINSICS: [(&str, Intrinsic); 30] = [
    ("duration", Intrinsic::Duration),
    ("name", Intrinsic::Name),
    ("status", Intrinsic::Status),
    ("statusMessage", Intrinsic::StatusMessage),
    ("kind", Intrinsic::Kind),
    ("parent", Intrinsic::Parent),
    ("rootName", Intrinsic::RootName),
    ("rootServiceName", Intrinsic::RootService),
    ("traceDuration", Intrinsic::TraceDuration),
    ("nestedSetLeft", Intrinsic::NestedSetLeft),
    ("nestedSetRight", Intrinsic::NestedSetRight),
    ("nestedSetParent", Intrinsic::NestedSetParent),
    ("trace:duration", Intrinsic::TraceDuration),
    ("trace:rootName", Intrinsic::RootName),
    ("trace:rootService", Intrinsic::RootService),
    ("trace:id", Intrinsic::TraceId),
    ("span:duration", Intrinsic::Duration),
    ("span:name", Intrinsic::Name),
    ("span:kind", Intrinsic::Kind),
    ("span:status", Intrinsic::Status),
    ("span:statusMessage", Intrinsic::StatusMessage),
    ("span:id", Intrinsic::SpanId),
    ("span:parentID", Intrinsic::ParentId),
    ("span:childCount", Intrinsic::ChildCount),
    ("event:name", Intrinsic::EventName),
    ("event:timeSinceStart", Intrinsic::EventTime),
    ("link:traceID", Intrinsic::LinkTraceId),
    ("link:spanID", Intrinsic::LinkSpanId),
    ("instrumentation:name", Intrinsic::InstrumentationName),
    ("instrumentation:version", Intrinsic::InstrumentationVersion),
];

impl Intrinsic {
    /// As written.
    pub fn as_str(self) -> &'static str {
        INTRINSICS
            .iter()
            .find(|(_, intrinsic)| *intrinsic == self)
            .map_or("", |(text, _)| text)
    }
}
