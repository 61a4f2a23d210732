//! The functions that nodes compute, as closed sets. The languages map their names to these.

use std::fmt;

use crate::operators::AggregateOp;

/// A function over windows of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RangeFunction {
    /// Per-second increase of a counter, extrapolated to the window.
    Rate,
    /// Increase of a counter, extrapolated to the window.
    Increase,
    /// Change of a gauge, extrapolated to the window.
    Delta,
    /// Per-second increase between the last two samples.
    Irate,
    /// Change between the last two samples.
    Idelta,
    /// Slope of the linear regression.
    Deriv,
    /// Value of the linear regression after the parameter's seconds.
    PredictLinear,
    /// Number of counter resets.
    Resets,
    /// Number of changes of the value.
    Changes,
    /// Mean.
    Avg,
    /// Smallest.
    Min,
    /// Largest.
    Max,
    /// Sum.
    Sum,
    /// Sum divided by the window's seconds (LogQL `rate`, `bytes_rate`).
    PerSecond,
    /// Number of samples.
    Count,
    /// Quantile; the parameter says which.
    Quantile,
    /// Population standard deviation.
    Stddev,
    /// Population variance.
    Stdvar,
    /// Last sample; keeps the name.
    Last,
    /// First sample; keeps the name.
    First,
    /// 1 where there is a sample.
    Present,
    /// 1 where no series has a sample.
    Absent,
    /// Median absolute deviation.
    Mad,
    /// Time of the smallest sample.
    TimeOfMin,
    /// Time of the largest sample.
    TimeOfMax,
    /// Time of the first sample.
    TimeOfFirst,
    /// Time of the last sample.
    TimeOfLast,
    /// Double exponential smoothing; the parameters are the factors of level and trend.
    Smoothing,
}

impl RangeFunction {
    /// PromQL's name, also used in plans.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Increase => "increase",
            Self::Delta => "delta",
            Self::Irate => "irate",
            Self::Idelta => "idelta",
            Self::Deriv => "deriv",
            Self::PredictLinear => "predict_linear",
            Self::Resets => "resets",
            Self::Changes => "changes",
            Self::Avg => "avg_over_time",
            Self::Min => "min_over_time",
            Self::Max => "max_over_time",
            Self::Sum => "sum_over_time",
            Self::PerSecond => "per_second",
            Self::Count => "count_over_time",
            Self::Quantile => "quantile_over_time",
            Self::Stddev => "stddev_over_time",
            Self::Stdvar => "stdvar_over_time",
            Self::Last => "last_over_time",
            Self::First => "first_over_time",
            Self::Present => "present_over_time",
            Self::Absent => "absent_over_time",
            Self::Mad => "mad_over_time",
            Self::TimeOfMin => "ts_of_min_over_time",
            Self::TimeOfMax => "ts_of_max_over_time",
            Self::TimeOfFirst => "ts_of_first_over_time",
            Self::TimeOfLast => "ts_of_last_over_time",
            Self::Smoothing => "double_exponential_smoothing",
        }
    }

    /// Whether the result keeps the metric's name.
    pub fn keeps_name(self) -> bool {
        matches!(self, Self::Last | Self::First)
    }
}

impl fmt::Display for RangeFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A function of one float.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MathFunction {
    /// |x|
    Abs,
    /// Smallest integer not below.
    Ceil,
    /// Largest integer not above.
    Floor,
    /// eˣ
    Exp,
    /// Natural logarithm.
    Ln,
    /// Binary logarithm.
    Log2,
    /// Decimal logarithm.
    Log10,
    /// Square root.
    Sqrt,
    /// -1, 0 or 1.
    Sgn,
    /// Radians to degrees.
    Deg,
    /// Degrees to radians.
    Rad,
    /// sin
    Sin,
    /// cos
    Cos,
    /// tan
    Tan,
    /// asin
    Asin,
    /// acos
    Acos,
    /// atan
    Atan,
    /// sinh
    Sinh,
    /// cosh
    Cosh,
    /// tanh
    Tanh,
    /// asinh
    Asinh,
    /// acosh
    Acosh,
    /// atanh
    Atanh,
}

impl MathFunction {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::Abs,
        Self::Ceil,
        Self::Floor,
        Self::Exp,
        Self::Ln,
        Self::Log2,
        Self::Log10,
        Self::Sqrt,
        Self::Sgn,
        Self::Deg,
        Self::Rad,
        Self::Sin,
        Self::Cos,
        Self::Tan,
        Self::Asin,
        Self::Acos,
        Self::Atan,
        Self::Sinh,
        Self::Cosh,
        Self::Tanh,
        Self::Asinh,
        Self::Acosh,
        Self::Atanh,
    ];

    /// PromQL's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Abs => "abs",
            Self::Ceil => "ceil",
            Self::Floor => "floor",
            Self::Exp => "exp",
            Self::Ln => "ln",
            Self::Log2 => "log2",
            Self::Log10 => "log10",
            Self::Sqrt => "sqrt",
            Self::Sgn => "sgn",
            Self::Deg => "deg",
            Self::Rad => "rad",
            Self::Sin => "sin",
            Self::Cos => "cos",
            Self::Tan => "tan",
            Self::Asin => "asin",
            Self::Acos => "acos",
            Self::Atan => "atan",
            Self::Sinh => "sinh",
            Self::Cosh => "cosh",
            Self::Tanh => "tanh",
            Self::Asinh => "asinh",
            Self::Acosh => "acosh",
            Self::Atanh => "atanh",
        }
    }

    /// Computes it.
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Self::Abs => x.abs(),
            Self::Ceil => x.ceil(),
            Self::Floor => x.floor(),
            Self::Exp => x.exp(),
            Self::Ln => x.ln(),
            Self::Log2 => x.log2(),
            Self::Log10 => x.log10(),
            Self::Sqrt => x.sqrt(),
            // Unlike f64::signum, zero stays zero.
            Self::Sgn if x == 0.0 => x,
            Self::Sgn => x.signum(),
            Self::Deg => x * 180.0 / std::f64::consts::PI,
            Self::Rad => x * std::f64::consts::PI / 180.0,
            Self::Sin => x.sin(),
            Self::Cos => x.cos(),
            Self::Tan => x.tan(),
            Self::Asin => x.asin(),
            Self::Acos => x.acos(),
            Self::Atan => x.atan(),
            Self::Sinh => x.sinh(),
            Self::Cosh => x.cosh(),
            Self::Tanh => x.tanh(),
            Self::Asinh => x.asinh(),
            Self::Acosh => x.acosh(),
            Self::Atanh => x.atanh(),
        }
    }
}

/// A part of a point in time, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DatePart {
    /// 0 to 59.
    Minute,
    /// 0 to 23.
    Hour,
    /// 0 (Sunday) to 6.
    DayOfWeek,
    /// 1 to 31.
    DayOfMonth,
    /// 1 to 366.
    DayOfYear,
    /// 28 to 31.
    DaysInMonth,
    /// 1 to 12.
    Month,
    /// For example 2026.
    Year,
}

impl DatePart {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Minute,
        Self::Hour,
        Self::DayOfWeek,
        Self::DayOfMonth,
        Self::DayOfYear,
        Self::DaysInMonth,
        Self::Month,
        Self::Year,
    ];

    /// PromQL's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::DayOfWeek => "day_of_week",
            Self::DayOfMonth => "day_of_month",
            Self::DayOfYear => "day_of_year",
            Self::DaysInMonth => "days_in_month",
            Self::Month => "month",
            Self::Year => "year",
        }
    }
}

/// A number that a native histogram gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HistogramPart {
    /// Number of observations.
    Count,
    /// Sum of observations.
    Sum,
    /// Mean of observations.
    Avg,
    /// Estimated standard deviation.
    Stddev,
    /// Estimated variance.
    Stdvar,
}

impl HistogramPart {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Count,
        Self::Sum,
        Self::Avg,
        Self::Stddev,
        Self::Stdvar,
    ];

    /// PromQL's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count => "histogram_count",
            Self::Sum => "histogram_sum",
            Self::Avg => "histogram_avg",
            Self::Stddev => "histogram_stddev",
            Self::Stdvar => "histogram_stdvar",
        }
    }
}

/// A function of values at one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InstantFunction {
    /// A function of one float.
    Math(MathFunction),
    /// `round(v, to)`
    Round,
    /// `clamp(v, min, max)`
    Clamp,
    /// `clamp_min(v, min)`
    ClampMin,
    /// `clamp_max(v, max)`
    ClampMax,
    /// `time()`
    Time,
    /// `timestamp(v)` of a computed vector.
    Timestamp,
    /// `start_timestamp(v)` of a computed vector, which has none.
    StartTimestamp,
    /// A part of a date.
    Date(DatePart),
    /// `scalar(v)`
    Scalar,
    /// `vector(s)`
    Vector,
    /// `sort(v)`
    Sort,
    /// `sort_desc(v)`
    SortDesc,
    /// `sort_by_label(v, label…)`
    SortByLabel,
    /// `sort_by_label_desc(v, label…)`
    SortByLabelDesc,
    /// `absent(v)`
    Absent,
    /// `label_replace(v, dst, replacement, src, regex)`
    LabelReplace,
    /// `label_join(v, dst, separator, src…)`
    LabelJoin,
    /// `histogram_quantile(q, v)`
    HistogramQuantile,
    /// `histogram_quantiles(v, label, q…)`
    HistogramQuantiles,
    /// `histogram_fraction(lower, upper, v)`
    HistogramFraction,
    /// A number of a native histogram.
    Histogram(HistogramPart),
    /// `min_of(a, b)`
    MinOf,
    /// `max_of(a, b)`
    MaxOf,
}

impl InstantFunction {
    /// PromQL's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Math(function) => function.as_str(),
            Self::Round => "round",
            Self::Clamp => "clamp",
            Self::ClampMin => "clamp_min",
            Self::ClampMax => "clamp_max",
            Self::Time => "time",
            Self::Timestamp => "timestamp",
            Self::StartTimestamp => "start_timestamp",
            Self::Date(part) => part.as_str(),
            Self::Scalar => "scalar",
            Self::Vector => "vector",
            Self::Sort => "sort",
            Self::SortDesc => "sort_desc",
            Self::SortByLabel => "sort_by_label",
            Self::SortByLabelDesc => "sort_by_label_desc",
            Self::Absent => "absent",
            Self::LabelReplace => "label_replace",
            Self::LabelJoin => "label_join",
            Self::HistogramQuantile => "histogram_quantile",
            Self::HistogramQuantiles => "histogram_quantiles",
            Self::HistogramFraction => "histogram_fraction",
            Self::Histogram(part) => part.as_str(),
            Self::MinOf => "min_of",
            Self::MaxOf => "max_of",
        }
    }
}

impl fmt::Display for InstantFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The aggregation that a name means.
pub fn aggregation(name: &str) -> Option<AggregateOp> {
    AggregateOp::ALL
        .into_iter()
        .find(|op| op.as_str().eq_ignore_ascii_case(name))
}
