//! The functions of PromQL: names, types of arguments, and what they compute. (A table.)

use super::ast::Type;
use crate::functions::{DatePart, HistogramPart, InstantFunction, MathFunction, RangeFunction};

/// What a function computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A function of values.
    Instant(InstantFunction),
    /// A function over windows.
    Range(RangeFunction),
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
    /// What it computes.
    pub meaning: Meaning,
}

/// The function of a name.
pub(super) fn signature(name: &str) -> Option<&'static Signature> {
    static TABLE: std::sync::OnceLock<std::collections::HashMap<&'static str, Signature>> =
        std::sync::OnceLock::new();
    let table = TABLE.get_or_init(|| all().into_iter().map(|s| (s.name, s)).collect());
    table.get(name)
}

fn entry(name: &'static str, arguments: &[Type], returns: Type, meaning: Meaning) -> Signature {
    Signature {
        name,
        arguments: arguments.to_vec(),
        optional: 0,
        more: 0,
        returns,
        meaning,
    }
}

fn all() -> Vec<Signature> {
    use Type::{Range, Scalar, Text, Vector};
    let mut table = Vec::new();
    let instant = |f: InstantFunction, arguments: &[Type], returns: Type| {
        entry(f.as_str(), arguments, returns, Meaning::Instant(f))
    };
    let optional = |mut signature: Signature, optional: usize, more: usize| {
        signature.optional = optional;
        signature.more = more;
        signature
    };
    for function in MathFunction::ALL {
        table.push(instant(InstantFunction::Math(function), &[Vector], Vector));
    }
    for part in DatePart::ALL {
        table.push(optional(
            instant(InstantFunction::Date(part), &[Vector], Vector),
            1,
            0,
        ));
    }
    for part in HistogramPart::ALL {
        table.push(instant(InstantFunction::Histogram(part), &[Vector], Vector));
    }
    use InstantFunction as I;
    table.extend([
        optional(instant(I::Round, &[Vector, Scalar], Vector), 1, 0),
        instant(I::Clamp, &[Vector, Scalar, Scalar], Vector),
        instant(I::ClampMin, &[Vector, Scalar], Vector),
        instant(I::ClampMax, &[Vector, Scalar], Vector),
        instant(I::Time, &[], Scalar),
        instant(I::Timestamp, &[Vector], Vector),
        instant(I::Scalar, &[Vector], Scalar),
        instant(I::Vector, &[Scalar], Vector),
        instant(I::Sort, &[Vector], Vector),
        instant(I::SortDesc, &[Vector], Vector),
        optional(
            instant(I::SortByLabel, &[Vector, Text], Vector),
            1,
            usize::MAX,
        ),
        optional(
            instant(I::SortByLabelDesc, &[Vector, Text], Vector),
            1,
            usize::MAX,
        ),
        instant(I::Absent, &[Vector], Vector),
        instant(I::LabelReplace, &[Vector, Text, Text, Text, Text], Vector),
        optional(
            instant(I::LabelJoin, &[Vector, Text, Text, Text], Vector),
            1,
            usize::MAX,
        ),
        instant(I::HistogramQuantile, &[Scalar, Vector], Vector),
        optional(
            instant(I::HistogramQuantiles, &[Vector, Text, Scalar], Vector),
            0,
            9,
        ),
        instant(I::HistogramFraction, &[Scalar, Scalar, Vector], Vector),
        instant(I::MinOf, &[Scalar, Scalar], Scalar),
        instant(I::MaxOf, &[Scalar, Scalar], Scalar),
        entry("pi", &[], Scalar, Meaning::Pi),
        entry("start", &[], Scalar, Meaning::Start),
        entry("end", &[], Scalar, Meaning::End),
        entry("range", &[], Scalar, Meaning::QueryRange),
        entry("step", &[], Scalar, Meaning::Step),
    ]);
    use RangeFunction as R;
    for function in [
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
    ] {
        table.push(entry(
            function.as_str(),
            &[Range],
            Vector,
            Meaning::Range(function),
        ));
    }
    let ranges: [(R, &[Type]); 3] = [
        (R::PredictLinear, &[Range, Scalar]),
        (R::Quantile, &[Scalar, Range]),
        (R::Smoothing, &[Range, Scalar, Scalar]),
    ];
    for (function, arguments) in ranges {
        table.push(entry(
            function.as_str(),
            arguments,
            Vector,
            Meaning::Range(function),
        ));
    }
    table
}
