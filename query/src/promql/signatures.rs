//! The functions of PromQL: names, types of arguments, and what they compute. (A table.)

use std::collections::HashMap;
use std::sync::OnceLock;

use super::ast::Type;
use crate::functions::{DatePart, HistogramPart, InstantFunction, MathFunction, RangeFunction};

/// What a function computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A function of values.
    Instant(InstantFunction),
    /// A function over windows.
    Range(RangeFunction),
    /// Labels of info series added.
    Info,
    /// π
    Pi,
    /// First step of the query, in seconds.
    Start,
    /// Last step of the query, in seconds.
    End,
    /// From first to last step, in seconds.
    QueryRange,
    /// Distance of the query's steps, in seconds.
    Step,
}

/// Name, types and meaning of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The name.
    pub name: &'static str,
    /// Types of the arguments.
    pub arguments: Vec<Type>,
    /// How many of the last arguments may be missing.
    pub optional: usize,
    /// How many more arguments of the last type may follow; `usize::MAX` is any number.
    pub more: usize,
    /// Type of the value.
    pub returns: Type,
    /// Prometheus has it only behind a switch.
    pub experimental: bool,
    /// What it computes.
    pub meaning: Meaning,
}

impl Signature {
    /// How many arguments may be more or less, as Prometheus counts: -1 is any number.
    pub fn variadic(&self) -> i64 {
        match self.more {
            usize::MAX => -1,
            more => (self.optional + more) as i64, // at most a handful
        }
    }
}

const EXPERIMENTAL: [&str; 17] = [
    "mad_over_time",
    "ts_of_min_over_time",
    "ts_of_max_over_time",
    "ts_of_first_over_time",
    "ts_of_last_over_time",
    "double_exponential_smoothing",
    "sort_by_label",
    "sort_by_label_desc",
    "info",
    "histogram_quantiles",
    "start",
    "end",
    "range",
    "step",
    "min_of",
    "max_of",
    "start_timestamp",
];

/// All functions, in order of name.
pub fn all() -> Vec<&'static Signature> {
    let mut all: Vec<_> = table().values().collect();
    all.sort_by_key(|signature| signature.name);
    all
}

/// The function of a name.
pub(super) fn signature(name: &str) -> Option<&'static Signature> {
    table().get(name)
}

fn table() -> &'static HashMap<&'static str, Signature> {
    static TABLE: OnceLock<HashMap<&'static str, Signature>> = OnceLock::new();
    TABLE.get_or_init(|| entries().into_iter().map(|s| (s.name, s)).collect())
}

fn entry(name: &'static str, arguments: &[Type], returns: Type, meaning: Meaning) -> Signature {
    Signature {
        name,
        arguments: arguments.to_vec(),
        optional: 0,
        more: 0,
        returns,
        experimental: EXPERIMENTAL.contains(&name),
        meaning,
    }
}

fn instant(function: InstantFunction, arguments: &[Type], returns: Type) -> Signature {
    entry(
        function.as_str(),
        arguments,
        returns,
        Meaning::Instant(function),
    )
}

fn optional(mut signature: Signature, optional: usize, more: usize) -> Signature {
    signature.optional = optional;
    signature.more = more;
    signature
}

fn entries() -> Vec<Signature> {
    let mut table = values();
    table.extend(labels_and_histograms());
    table.extend(ranges());
    table
}

/// Functions of values.
fn values() -> Vec<Signature> {
    use InstantFunction as I;
    use Type::{Scalar, Vector};
    let mut table = vec![
        optional(instant(I::Round, &[Vector, Scalar], Vector), 1, 0),
        instant(I::Clamp, &[Vector, Scalar, Scalar], Vector),
        instant(I::ClampMin, &[Vector, Scalar], Vector),
        instant(I::ClampMax, &[Vector, Scalar], Vector),
        instant(I::Time, &[], Scalar),
        instant(I::Timestamp, &[Vector], Vector),
        instant(I::StartTimestamp, &[Vector], Vector),
        instant(I::Scalar, &[Vector], Scalar),
        instant(I::Vector, &[Scalar], Vector),
        instant(I::Sort, &[Vector], Vector),
        instant(I::SortDesc, &[Vector], Vector),
        instant(I::Absent, &[Vector], Vector),
        instant(I::MinOf, &[Scalar, Scalar], Scalar),
        instant(I::MaxOf, &[Scalar, Scalar], Scalar),
        entry("pi", &[], Scalar, Meaning::Pi),
        entry("start", &[], Scalar, Meaning::Start),
        entry("end", &[], Scalar, Meaning::End),
        entry("range", &[], Scalar, Meaning::QueryRange),
        entry("step", &[], Scalar, Meaning::Step),
    ];
    for function in MathFunction::ALL {
        table.push(instant(I::Math(function), &[Vector], Vector));
    }
    for part in DatePart::ALL {
        table.push(optional(instant(I::Date(part), &[Vector], Vector), 1, 0));
    }
    table
}

/// Functions of labels and of histograms.
fn labels_and_histograms() -> Vec<Signature> {
    use InstantFunction as I;
    use Type::{Scalar, Text, Vector};
    const ANY: usize = usize::MAX;
    let mut table = vec![
        optional(instant(I::SortByLabel, &[Vector, Text], Vector), 1, ANY),
        optional(instant(I::SortByLabelDesc, &[Vector, Text], Vector), 1, ANY),
        optional(
            entry("info", &[Vector, Vector], Vector, Meaning::Info),
            1,
            0,
        ),
        instant(I::LabelReplace, &[Vector, Text, Text, Text, Text], Vector),
        optional(
            instant(I::LabelJoin, &[Vector, Text, Text, Text], Vector),
            1,
            ANY,
        ),
        instant(I::HistogramQuantile, &[Scalar, Vector], Vector),
        optional(
            instant(
                I::HistogramQuantiles,
                &[Vector, Text, Scalar, Scalar],
                Vector,
            ),
            1,
            8,
        ),
        instant(I::HistogramFraction, &[Scalar, Scalar, Vector], Vector),
    ];
    for part in HistogramPart::ALL {
        table.push(instant(I::Histogram(part), &[Vector], Vector));
    }
    table
}

/// Functions over windows.
fn ranges() -> Vec<Signature> {
    use RangeFunction as R;
    use Type::{Range, Scalar, Vector};
    let plain = [
        R::Rate,
        R::Increase,
        R::Delta,
        R::Irate,
        R::Idelta,
        R::Deriv,
        R::Resets,
        R::Changes,
        R::Avg,
        R::Min,
        R::Max,
        R::Sum,
        R::Count,
        R::Stddev,
        R::Stdvar,
        R::Last,
        R::First,
        R::Present,
        R::Absent,
        R::Mad,
        R::TimeOfMin,
        R::TimeOfMax,
        R::TimeOfFirst,
        R::TimeOfLast,
    ];
    let arguments: [(R, &[Type]); 3] = [
        (R::PredictLinear, &[Range, Scalar]),
        (R::Quantile, &[Scalar, Range]),
        (R::Smoothing, &[Range, Scalar, Scalar]),
    ];
    let plain = plain.into_iter().map(|function| (function, &[Range][..]));
    let all = plain.chain(arguments);
    let of = |(function, types): (R, &[Type])| {
        entry(function.as_str(), types, Vector, Meaning::Range(function))
    };
    all.map(of).collect()
}
