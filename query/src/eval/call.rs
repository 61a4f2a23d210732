//! Functions of values at one step.

use obs_model::time::civil_from_days;
use obs_model::{LabelsBuilder, Pattern};

use super::labels::{drop_names, merge_same};
use super::{Evaluator, misplaced, notes, quantile};
use crate::column::{Bitmap, Column, Evaluated, Grid, SeriesColumn};
use crate::error::QueryError;
use crate::functions::{DatePart, InstantFunction};
use crate::plan::{Call, Node};

impl Evaluator<'_> {
    pub(super) fn call(&self, call: &Call, grid: &Grid) -> Result<Evaluated, QueryError> {
        use InstantFunction as F;
        let argument = |index: usize| {
            let found = call.arguments.get(index);
            found.ok_or_else(|| misplaced("another argument"))
        };
        let vector = |index: usize| self.vector(argument(index)?, grid);
        let scalar = |index: usize| self.scalar(argument(index)?, grid);
        let steps = |value: &dyn Fn(usize) -> f64| -> Result<Evaluated, QueryError> {
            self.reserve(grid, 1)?;
            Ok(Evaluated::Scalar((0..grid.count).map(value).collect()))
        };
        Ok(Evaluated::Vector(match call.function {
            F::Time => return steps(&|step| grid.at(step).seconds_f64()),
            F::Scalar => return self.to_scalar(&vector(0)?, grid),
            F::MinOf | F::MaxOf => {
                let (a, b) = (scalar(0)?, scalar(1)?);
                let least = call.function == F::MinOf;
                return steps(&|s| {
                    if least {
                        a[s].min(b[s])
                    } else {
                        a[s].max(b[s])
                    }
                });
            }
            F::Vector => vec![SeriesColumn {
                column: Column::full(scalar(0)?),
                ..SeriesColumn::default()
            }],
            F::Math(_) | F::Date(_) | F::Round | F::Clamp | F::ClampMin | F::ClampMax => {
                self.of_floats(call, grid)?
            }
            F::Timestamp => {
                let mut series = vector(0)?;
                for one in &mut series {
                    one.column.histograms.clear();
                    for step in one.column.present.clone().iter() {
                        one.column.set(step, grid.at(step).seconds_f64());
                    }
                }
                drop_names(series, self.delayed_names)?
            }
            // What is computed has no start.
            F::StartTimestamp => {
                vector(0)?;
                Vec::new()
            }
            F::Sort | F::SortDesc => self.sort(call, vector(0)?, grid),
            F::SortByLabel | F::SortByLabelDesc => self.sort_by_label(call, vector(0)?, grid)?,
            F::Absent => self.absent(call, &vector(0)?, grid)?,
            F::LabelReplace => self.label_replace(call, vector(0)?)?,
            F::LabelJoin => self.label_join(call, vector(0)?)?,
            F::HistogramQuantile
            | F::HistogramQuantiles
            | F::HistogramFraction
            | F::Histogram(_) => self.of_histograms(call, grid)?,
        }))
    }

    /// A function of each float.
    fn of_floats(&self, call: &Call, grid: &Grid) -> Result<Vec<SeriesColumn>, QueryError> {
        let function = self.float_function(call, grid)?;
        let Some(vector) = call.arguments.first() else {
            return Err(misplaced("an instant vector"));
        };
        let mut series = self.vector(vector, grid)?;
        for one in &mut series {
            self.budget.check()?;
            apply(&mut one.column, &*function);
        }
        series.retain(|s| !s.column.present.is_empty());
        drop_names(series, self.delayed_names)
    }

    /// What a function makes of the float at a step, its parameters bound.
    pub(super) fn float_function(
        &self,
        call: &Call,
        grid: &Grid,
    ) -> Result<Box<FloatFunction>, QueryError> {
        use InstantFunction as F;
        let scalars = call.arguments.iter().skip(1).map(|a| self.scalar(a, grid));
        let scalars: Vec<Vec<f64>> = scalars.collect::<Result<_, _>>()?;
        Ok(match (call.function, <[Vec<f64>; 2]>::try_from(scalars)) {
            (F::Math(function), _) => Box::new(move |v, _| Some(function.apply(v))),
            (F::Date(part), _) => Box::new(move |v, _| Some(date(part, v))),
            (F::Clamp, Ok([least, most])) => Box::new(move |v, step| {
                // An empty interval has no values.
                let (a, b) = (least[step], most[step]);
                (b >= a || a.is_nan() || b.is_nan()).then(|| go_max(a, go_min(b, v)))
            }),
            (F::Round, Err(to)) => Box::new(move |v, step| {
                let inverse = 1.0 / to.first().map_or(1.0, |to| to[step]);
                Some((v * inverse + 0.5).floor() / inverse)
            }),
            (F::ClampMin, Err(bound)) if bound.len() == 1 => {
                Box::new(move |v, step| Some(go_max(bound[0][step], v)))
            }
            (F::ClampMax, Err(bound)) if bound.len() == 1 => {
                Box::new(move |v, step| Some(go_min(bound[0][step], v)))
            }
            _ => return Err(misplaced("bounds")),
        })
    }

    /// Functions of histograms.
    fn of_histograms(&self, call: &Call, grid: &Grid) -> Result<Vec<SeriesColumn>, QueryError> {
        let arguments = &call.arguments[..];
        match (call.function, arguments) {
            (InstantFunction::HistogramQuantile, [q, series]) => {
                let (q, series) = ([self.scalar(q, grid)?], self.vector(series, grid)?);
                quantile::quantiles(self, call, (series, 1), None, &q, grid)
            }
            (InstantFunction::HistogramQuantiles, [series, label, q @ ..]) => {
                let q = q
                    .iter()
                    .map(|q| self.scalar(q, grid))
                    .collect::<Result<Vec<_>, _>>()?;
                let (series, label) = (self.vector(series, grid)?, text(label)?);
                quantile::quantiles(self, call, (series, 0), Some(label), &q, grid)
            }
            (InstantFunction::HistogramFraction, [lower, upper, series]) => {
                let bounds = (self.scalar(lower, grid)?, self.scalar(upper, grid)?);
                quantile::fractions(self, call, self.vector(series, grid)?, bounds, grid)
            }
            (InstantFunction::Histogram(part), [series]) => {
                let mut series = self.vector(series, grid)?;
                for one in &mut series {
                    one.column = super::histogram::parts(&one.column, part);
                }
                series.retain(|s| !s.column.present.is_empty());
                drop_names(series, self.delayed_names)
            }
            _ => Err(misplaced("another argument")),
        }
    }

    /// The value where exactly one series has one.
    fn to_scalar(&self, series: &[SeriesColumn], grid: &Grid) -> Result<Evaluated, QueryError> {
        self.reserve(grid, 1)?;
        let value = |step: usize| {
            // Histograms do not count.
            let mut found = series.iter().filter_map(|s| s.column.float(step));
            match (found.next(), found.next()) {
                (Some(value), None) => value,
                _ => f64::NAN,
            }
        };
        Ok(Evaluated::Scalar((0..grid.count).map(value).collect()))
    }

    fn absent(
        &self,
        call: &Call,
        series: &[SeriesColumn],
        grid: &Grid,
    ) -> Result<Vec<SeriesColumn>, QueryError> {
        self.reserve(grid, 1)?;
        let mut present = Bitmap::new(grid.count);
        series.iter().for_each(|s| present.or(&s.column.present));
        let mut column = Column::full(vec![1.0; grid.count]);
        column.present.and_not(&present);
        if column.present.is_empty() {
            return Ok(Vec::new());
        }
        Ok(vec![SeriesColumn {
            labels: call.labels.clone(),
            drop_name: false,
            column,
        }])
    }

    /// By value at the only step; histograms have no order and leave. NaN comes last.
    fn sort(&self, call: &Call, mut series: Vec<SeriesColumn>, grid: &Grid) -> Vec<SeriesColumn> {
        for one in &mut series {
            for (step, _) in std::mem::take(&mut one.column.histograms) {
                one.column.present.clear(step as usize);
            }
        }
        series.retain(|s| !s.column.present.is_empty());
        if grid.count > 1 {
            self.warn(notes::sort_in_range(call.place));
            return series;
        }
        let descending = call.function == InstantFunction::SortDesc;
        series.sort_by(|a, b| {
            let (a, b) = (a.column.values[0], b.column.values[0]);
            let numbers = if descending {
                b.partial_cmp(&a)
            } else {
                a.partial_cmp(&b)
            };
            numbers.unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
        });
        series
    }

    fn sort_by_label(
        &self,
        call: &Call,
        mut series: Vec<SeriesColumn>,
        grid: &Grid,
    ) -> Result<Vec<SeriesColumn>, QueryError> {
        if grid.count > 1 {
            self.warn(notes::sort_in_range(call.place));
            return Ok(series);
        }
        let names: Result<Vec<&str>, QueryError> = call.arguments[1..].iter().map(text).collect();
        let names = names?;
        let descending = call.function == InstantFunction::SortByLabelDesc;
        series.sort_by(|a, b| {
            let by_names = names.iter().map(|name| {
                let value = |s: &SeriesColumn| s.labels.get(name).unwrap_or("").to_owned();
                natural(&value(a), &value(b))
            });
            let order = by_names
                .fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
                .then_with(|| a.labels.cmp(&b.labels));
            if descending { order.reverse() } else { order }
        });
        Ok(series)
    }

    fn label_replace(
        &self,
        call: &Call,
        mut series: Vec<SeriesColumn>,
    ) -> Result<Vec<SeriesColumn>, QueryError> {
        let texts: Result<Vec<&str>, QueryError> = call.arguments[1..].iter().map(text).collect();
        let [target, replacement, source, expression] = texts?[..] else {
            return Err(misplaced("four strings"));
        };
        let pattern = Pattern::anchored(expression).map_err(|_| {
            let text = format!("invalid regular expression in label_replace(): {expression}");
            QueryError::Execution(text)
        })?;
        valid_label(target, "label_replace")?;
        for one in &mut series {
            self.budget.check()?;
            let value = one.labels.get(source).unwrap_or("").as_bytes();
            let Some(captures) = pattern.regex().captures(value) else {
                continue;
            };
            // Each `$` may bring in the whole value.
            let references = replacement.bytes().filter(|b| *b == b'$').count();
            let length =
                replacement.len() as u64 + (references as u64).saturating_mul(value.len() as u64);
            self.budget.bytes(length)?;
            let mut result = Vec::new();
            captures.expand(replacement.as_bytes(), &mut result);
            set_label(one, target, &String::from_utf8_lossy(&result));
        }
        merge_same(series)
    }

    fn label_join(
        &self,
        call: &Call,
        mut series: Vec<SeriesColumn>,
    ) -> Result<Vec<SeriesColumn>, QueryError> {
        let texts: Result<Vec<&str>, QueryError> = call.arguments[1..].iter().map(text).collect();
        let texts = texts?;
        let [target, separator, sources @ ..] = &texts[..] else {
            return Err(misplaced("a label and a separator"));
        };
        if sources.iter().any(|source| source.is_empty()) {
            let text = "invalid source label name in label_join(): ".to_owned();
            return Err(QueryError::Execution(text));
        }
        valid_label(target, "label_join")?;
        for one in &mut series {
            self.budget.check()?;
            let values = sources.iter().map(|s| one.labels.get(s).unwrap_or(""));
            let length: usize = values.clone().map(|v| v.len() + separator.len()).sum();
            self.budget.bytes(length as u64)?;
            let joined = values.collect::<Vec<_>>().join(separator);
            set_label(one, target, &joined);
        }
        merge_same(series)
    }
}

/// What becomes of a float at a step.
pub(super) type FloatFunction = dyn Fn(f64, usize) -> Option<f64> + Sync;

/// Applies a function to floats; histograms and `None` leave a gap.
pub(super) fn apply(column: &mut Column, function: &FloatFunction) {
    for (step, _) in std::mem::take(&mut column.histograms) {
        column.present.clear(step as usize);
    }
    let Column {
        values, present, ..
    } = column;
    present
        .clone()
        .iter()
        .for_each(|step| match function(values[step], step) {
            Some(value) => values[step] = value,
            None => present.clear(step),
        });
}

/// A name that is set explicitly stays.
fn set_label(series: &mut SeriesColumn, name: &str, value: &str) {
    let mut builder: LabelsBuilder = series.labels.to_builder();
    builder.set(name, value);
    series.labels = builder.build();
    if name == obs_model::labels::METRIC_NAME {
        series.drop_name = false;
    }
}

fn valid_label(name: &str, function: &str) -> Result<(), QueryError> {
    if !name.is_empty() {
        return Ok(());
    }
    let text = format!("invalid destination label name in {function}(): {name}");
    Err(QueryError::Execution(text))
}

fn text(node: &Node) -> Result<&str, QueryError> {
    match node {
        Node::Text(text) => Ok(text),
        _ => Err(misplaced("a string")),
    }
}

/// As Go's `math.Max`: NaN wins but against +Inf.
fn go_max(a: f64, b: f64) -> f64 {
    if (a.is_nan() || b.is_nan()) && a.max(b) != f64::INFINITY {
        f64::NAN
    } else {
        a.max(b)
    }
}

/// As Go's `math.Min`: NaN wins but against -Inf.
fn go_min(a: f64, b: f64) -> f64 {
    if (a.is_nan() || b.is_nan()) && a.min(b) != f64::NEG_INFINITY {
        f64::NAN
    } else {
        a.min(b)
    }
}

/// Seconds before 1970 of the first second that Go's calendar knows.
const CALENDAR_BEGIN: i128 = 9_223_372_028_715_321_600;

/// Seconds since 1970 as Go has them on most machines: what fits into no integer is the least one,
/// and what lies before its calendar comes around behind its end.
fn calendar_seconds(seconds: f64) -> i128 {
    let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&seconds);
    let whole = if fits { seconds as i64 } else { i64::MIN };
    let whole = i128::from(whole);
    match whole + CALENDAR_BEGIN < 0 {
        true => whole + (1 << 64),
        false => whole,
    }
}

/// A part of the UTC time at some seconds since the epoch.
fn date(part: DatePart, seconds: f64) -> f64 {
    let seconds = calendar_seconds(seconds);
    // At most 2⁶⁴ seconds are few enough days.
    let (days, rest) = (
        seconds.div_euclid(86_400) as i64,
        seconds.rem_euclid(86_400) as i64,
    );
    let (year, month, day) = civil_from_days(days);
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let number = match part {
        DatePart::Minute => rest / 60 % 60,
        DatePart::Hour => rest / 3600,
        // The epoch was a Thursday.
        DatePart::DayOfWeek => (days + 4).rem_euclid(7),
        DatePart::DayOfMonth => day,
        DatePart::DayOfYear => days - obs_model::time::days_from_civil(year, 1, 1) + 1,
        DatePart::DaysInMonth => match month {
            2 => 28 + i64::from(leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        },
        DatePart::Month => month,
        DatePart::Year => year,
    };
    number as f64
}

/// Natural order: runs of digits compare as numbers.
fn natural(a: &str, b: &str) -> std::cmp::Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    let digits = |text: &[u8]| text.iter().take_while(|c| c.is_ascii_digit()).count();
    while let (Some(x), Some(y)) = (a.first(), b.first()) {
        let (m, n) = (digits(a), digits(b));
        if m > 0 && n > 0 {
            let significant = |run: &[u8]| {
                run.iter()
                    .skip_while(|c| **c == b'0')
                    .copied()
                    .collect::<Vec<u8>>()
            };
            let (left, right) = (significant(&a[..m]), significant(&b[..n]));
            let order = left.len().cmp(&right.len()).then_with(|| left.cmp(&right));
            if order.is_ne() {
                return order;
            }
            (a, b) = (&a[m..], &b[n..]);
        } else if x != y {
            return x.cmp(y);
        } else {
            (a, b) = (&a[1..], &b[1..]);
        }
    }
    a.len().cmp(&b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_beyond_time_are_those_of_go() {
        let check = |part, seconds: f64, expect: f64| {
            assert_eq!(date(part, seconds), expect, "{part:?} of {seconds}");
        };
        for seconds in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300] {
            check(DatePart::Year, seconds, 292_277_026_596.0);
            check(DatePart::Month, seconds, 12.0);
            check(DatePart::DayOfMonth, seconds, 4.0);
            check(DatePart::DayOfYear, seconds, 339.0);
            check(DatePart::DayOfWeek, seconds, 0.0);
            check(DatePart::Hour, seconds, 15.0);
            check(DatePart::Minute, seconds, 30.0);
        }
        check(DatePart::Year, -1e9, 1938.0);
    }

    #[test]
    fn infinity_is_stronger_than_nan() {
        assert_eq!(go_min(f64::NAN, f64::NEG_INFINITY), f64::NEG_INFINITY);
        assert_eq!(go_max(f64::INFINITY, f64::NAN), f64::INFINITY);
        assert!(go_min(f64::NAN, f64::INFINITY).is_nan() && go_max(f64::NAN, 1.0).is_nan());
        assert_eq!((go_min(1.0, 2.0), go_max(1.0, 2.0)), (1.0, 2.0));
    }
}
