//! The syntax tree of LogQL.
//!
//! Invariant: a tree that [`crate::logql::parse`] gave is well-formed: parameters, unwraps and
//! groupings stand only where LogQL allows them, and each selector narrows its streams.

use obs_model::Matcher;

/// A query.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// Gives log lines.
    Logs(LogExpr),
    /// Gives numbers.
    Metric(MetricExpr),
}

/// A stream selector and what is done with each line.
#[derive(Clone, Debug, PartialEq)]
pub struct LogExpr {
    /// Conditions on the index labels.
    pub matchers: Vec<Matcher>,
    /// The pipeline, in order.
    pub stages: Vec<Stage>,
}

/// One step of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// `|= "x" or "y"`
    Line(LineFilter),
    /// `| json`, or only the given paths.
    Json(Vec<Extraction>),
    /// `| logfmt`, or only the given keys.
    Logfmt {
        /// Malformed pairs are an error.
        strict: bool,
        /// Keys without a value are kept.
        keep_empty: bool,
        /// The keys to take; none means all.
        fields: Vec<Extraction>,
    },
    /// `| regexp "(?P<a>…)"`
    Regexp(String),
    /// `| pattern "<a> <_>"`
    Pattern(String),
    /// `| unpack`
    Unpack,
    /// `| a = "b" and c > 5`
    Filter(LabelFilter),
    /// `| line_format "{{.a}}"`
    LineFormat(String),
    /// `| label_format a=b, c="{{.d}}"`
    LabelFormat(Vec<LabelFormat>),
    /// `| decolorize`
    Decolorize,
    /// `| drop a, b="c"`
    Drop(Vec<LabelChoice>),
    /// `| keep a, b="c"`
    Keep(Vec<LabelChoice>),
}

/// How a line is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineOp {
    /// `|=`
    Contains,
    /// `!=`
    NotContains,
    /// `|~`
    Matches,
    /// `!~`
    NotMatches,
    /// `|>`
    Pattern,
    /// `!>`
    NotPattern,
}

impl LineOp {
    /// As written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Contains => "|=",
            Self::NotContains => "!=",
            Self::Matches => "|~",
            Self::NotMatches => "!~",
            Self::Pattern => "|>",
            Self::NotPattern => "!>",
        }
    }

    /// Whether a line that matches is refused.
    pub fn is_negative(self) -> bool {
        matches!(
            self,
            Self::NotContains | Self::NotMatches | Self::NotPattern
        )
    }
}

/// A condition on the line: any of the alternatives. Negative operators have one.
#[derive(Clone, Debug, PartialEq)]
pub struct LineFilter {
    /// How to compare.
    pub op: LineOp,
    /// With what; never empty.
    pub alternatives: Vec<LineMatch>,
}

/// What a line is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineMatch {
    /// A text, an expression or a pattern, as the operator says.
    Text(String),
    /// `ip("…")`: an address, a range or a network.
    Ip(String),
}

/// `label="path"`; the path is the label's name where none is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extraction {
    /// The label to set.
    pub label: String,
    /// Where its value stands in the line.
    pub path: String,
}

/// One assignment of `label_format`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelFormat {
    /// `to=from`: the label is renamed.
    Rename {
        /// The new name.
        to: String,
        /// The old name.
        from: String,
    },
    /// `to="template"`
    Template {
        /// The label to set.
        to: String,
        /// A Go template.
        template: String,
    },
}

/// One label of `drop` and `keep`.
#[derive(Clone, Debug, PartialEq)]
pub enum LabelChoice {
    /// Always.
    Name(String),
    /// Where the value meets the condition.
    Matcher(Matcher),
}

/// How numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `==`, `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
}

impl Comparison {
    /// As printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::Less => "<",
            Self::LessEqual => "<=",
        }
    }

    /// Whether the comparison holds.
    pub fn holds<T: PartialOrd>(self, left: T, right: T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Greater => left > right,
            Self::GreaterEqual => left >= right,
            Self::Less => left < right,
            Self::LessEqual => left <= right,
        }
    }
}

/// A condition on labels of a line.
#[derive(Clone, Debug, PartialEq)]
pub enum LabelFilter {
    /// On the text.
    Matcher(Matcher),
    /// On the text read as a number.
    Number {
        /// The label.
        name: String,
        /// How to compare.
        op: Comparison,
        /// With what.
        value: f64,
    },
    /// On the text read as a duration.
    Duration {
        /// The label.
        name: String,
        /// How to compare.
        op: Comparison,
        /// With what, in nanoseconds.
        nanos: i64,
    },
    /// On the text read as a size.
    Bytes {
        /// The label.
        name: String,
        /// How to compare.
        op: Comparison,
        /// With what, in bytes.
        bytes: u64,
    },
    /// On the text read as an address.
    Ip {
        /// The label.
        name: String,
        /// `!=`
        negative: bool,
        /// An address, a range or a network.
        range: String,
    },
    /// All of them; two where the parser made it.
    And(Vec<LabelFilter>),
    /// One of them; two where the parser made it.
    Or(Vec<LabelFilter>),
}

/// How `unwrap` reads its label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    /// As a number.
    Number,
    /// `duration(…)`: in seconds.
    Duration,
    /// `duration_seconds(…)`: the same.
    DurationSeconds,
    /// `bytes(…)`
    Bytes,
}

/// Makes a line's label its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Unwrap {
    /// The label.
    pub label: String,
    /// How it is read.
    pub conversion: Conversion,
    /// Conditions after it.
    pub filters: Vec<LabelFilter>,
}

/// Log lines over a range of time.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRange {
    /// Which lines.
    pub logs: LogExpr,
    /// What each is worth.
    pub unwrap: Option<Unwrap>,
    /// Length of the window in nanoseconds, more than 0.
    pub range: i64,
    /// How far the window is moved to the past, in nanoseconds.
    pub offset: i64,
}

/// `by (…)` or `without (…)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// `without`
    pub without: bool,
    /// The labels.
    pub labels: Vec<String>,
}

/// Functions from lines of a window to a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeOp {
    /// Lines, or the unwrapped sum, per second.
    Rate,
    /// Increase of an unwrapped counter per second.
    RateCounter,
    /// Lines.
    Count,
    /// Bytes per second.
    BytesRate,
    /// Bytes.
    Bytes,
    /// Mean of unwrapped values.
    Avg,
    /// Sum of unwrapped values.
    Sum,
    /// Smallest unwrapped value.
    Min,
    /// Largest unwrapped value.
    Max,
    /// Population variance of unwrapped values.
    Stdvar,
    /// Population deviation of unwrapped values.
    Stddev,
    /// A quantile of unwrapped values.
    Quantile,
    /// The earliest unwrapped value.
    First,
    /// The latest unwrapped value.
    Last,
    /// 1 where no line is.
    Absent,
}

/// Range functions by name.
pub(crate) const RANGE_OPS: [(&str, RangeOp); 15] = [
    ("rate", RangeOp::Rate),
    ("rate_counter", RangeOp::RateCounter),
    ("count_over_time", RangeOp::Count),
    ("bytes_rate", RangeOp::BytesRate),
    ("bytes_over_time", RangeOp::Bytes),
    ("avg_over_time", RangeOp::Avg),
    ("sum_over_time", RangeOp::Sum),
    ("min_over_time", RangeOp::Min),
    ("max_over_time", RangeOp::Max),
    ("stdvar_over_time", RangeOp::Stdvar),
    ("stddev_over_time", RangeOp::Stddev),
    ("quantile_over_time", RangeOp::Quantile),
    ("first_over_time", RangeOp::First),
    ("last_over_time", RangeOp::Last),
    ("absent_over_time", RangeOp::Absent),
];

impl RangeOp {
    /// As written.
    pub fn as_str(self) -> &'static str {
        RANGE_OPS
            .iter()
            .find(|(_, op)| *op == self)
            .map_or("", |(name, _)| name)
    }
}

/// Aggregations over series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorOp {
    /// `sum`
    Sum,
    /// `avg`
    Avg,
    /// `count`
    Count,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `stddev`
    Stddev,
    /// `stdvar`
    Stdvar,
    /// `topk`
    Topk,
    /// `bottomk`
    Bottomk,
    /// `approx_topk`
    ApproxTopk,
    /// `sort`
    Sort,
    /// `sort_desc`
    SortDesc,
}

/// Vector aggregations by name.
pub(crate) const VECTOR_OPS: [(&str, VectorOp); 12] = [
    ("sum", VectorOp::Sum),
    ("avg", VectorOp::Avg),
    ("count", VectorOp::Count),
    ("min", VectorOp::Min),
    ("max", VectorOp::Max),
    ("stddev", VectorOp::Stddev),
    ("stdvar", VectorOp::Stdvar),
    ("topk", VectorOp::Topk),
    ("bottomk", VectorOp::Bottomk),
    ("approx_topk", VectorOp::ApproxTopk),
    ("sort", VectorOp::Sort),
    ("sort_desc", VectorOp::SortDesc),
];

impl VectorOp {
    /// As written.
    pub fn as_str(self) -> &'static str {
        VECTOR_OPS
            .iter()
            .find(|(_, op)| *op == self)
            .map_or("", |(name, _)| name)
    }
}

/// Operators between two metric expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    /// `or`
    Or,
    /// `and`
    And,
    /// `unless`
    Unless,
    /// A comparison.
    Compare(Comparison),
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

impl BinaryOp {
    /// As written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Or => "or",
            Self::And => "and",
            Self::Unless => "unless",
            Self::Compare(comparison) => comparison.as_str(),
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
        }
    }

    /// Whether it works on sets of series.
    pub fn is_set(self) -> bool {
        matches!(self, Self::Or | Self::And | Self::Unless)
    }

    /// How tightly it binds, from 1.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            Self::Compare(_) => 3,
            Self::Add | Self::Sub => 4,
            Self::Mul | Self::Div | Self::Mod => 5,
            Self::Pow => 6,
        }
    }
}

/// Which side of a binary operation may have many series for one of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `group_left`
    Left,
    /// `group_right`
    Right,
}

/// How series of both sides find each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matching {
    /// `bool`: comparisons give 0 or 1 instead of filtering.
    pub return_bool: bool,
    /// `on` (true) or `ignoring` with their labels.
    pub labels: Option<(bool, Vec<String>)>,
    /// `group_left` or `group_right` with the labels to take over.
    pub group: Option<(Side, Vec<String>)>,
}

/// An expression that gives numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricExpr {
    /// `rate({…}[5m])`
    Range {
        /// The function.
        op: RangeOp,
        /// The quantile.
        parameter: Option<f64>,
        /// Its lines.
        logs: LogRange,
        /// Its groups.
        grouping: Option<Grouping>,
    },
    /// `sum by (a) (…)`
    Vector {
        /// The aggregation.
        op: VectorOp,
        /// The k of topk.
        parameter: Option<u64>,
        /// What is aggregated.
        expr: Box<MetricExpr>,
        /// Its groups.
        grouping: Option<Grouping>,
    },
    /// `a + b`
    Binary {
        /// The operator.
        op: BinaryOp,
        /// Left side.
        left: Box<MetricExpr>,
        /// Right side.
        right: Box<MetricExpr>,
        /// How series find each other.
        matching: Matching,
    },
    /// A number.
    Number(f64),
    /// `vector(1)`
    Literal(f64),
    /// `label_replace(…)`
    LabelReplace {
        /// Whose labels.
        expr: Box<MetricExpr>,
        /// The label to set.
        destination: String,
        /// Its value, with `$1`.
        replacement: String,
        /// The label to read.
        source: String,
        /// The expression that its value must match.
        regex: String,
    },
}
