//! Conditions on lines and on labels, compiled.

use std::sync::Arc;

use obs_logstore::{LineCondition, LineTest};
use obs_model::{Matcher, Pattern};

use super::ip::IpSet;
use super::pattern::LinePattern;
use super::row::Row;
use super::value;
use crate::logql::ast::{self, Comparison, LineMatch, LineOp};
use crate::logql::regex_fault;

/// A label filter that could not read its label.
const FILTER_ERROR: &str = "LabelFilterErr";

/// A line filter as the store evaluates it. The error is Loki's, without the stage.
pub(crate) fn line_condition(filter: &ast::LineFilter) -> Result<LineCondition, String> {
    let test = |alternative: &LineMatch| {
        let text = match alternative {
            LineMatch::Text(text) => text,
            LineMatch::Ip(range) => {
                if !matches!(filter.op, LineOp::Contains | LineOp::NotContains) {
                    return Err("ip: invalid operation".to_owned());
                }
                let set = address_set(range)?;
                return Ok(LineTest::Holds {
                    needle: Vec::new(),
                    test: Arc::new(move |line| set.is_in(line)),
                });
            }
        };
        Ok(match filter.op {
            LineOp::Contains | LineOp::NotContains => LineTest::contains(text.as_bytes()),
            LineOp::Matches | LineOp::NotMatches => {
                LineTest::Matches(Pattern::search(text).map_err(|e| regex_fault(&e))?)
            }
            LineOp::Pattern | LineOp::NotPattern => {
                let form = LinePattern::new(text)?;
                LineTest::Holds {
                    needle: form.needle().to_vec(),
                    test: Arc::new(move |line| form.is_match(line)),
                }
            }
        })
    };
    Ok(LineCondition {
        negative: filter.op.is_negative(),
        tests: filter
            .alternatives
            .iter()
            .map(test)
            .collect::<Result<_, _>>()?,
    })
}

/// A compiled condition on labels.
#[derive(Debug)]
pub(crate) enum LabelFilter {
    Text(Matcher),
    Number {
        name: String,
        op: Comparison,
        value: f64,
    },
    Duration {
        name: String,
        op: Comparison,
        nanos: i64,
    },
    Bytes {
        name: String,
        op: Comparison,
        bytes: u64,
    },
    Address {
        name: String,
        negative: bool,
        set: IpSet,
    },
    All(Vec<LabelFilter>),
    Any(Vec<LabelFilter>),
}

impl LabelFilter {
    /// The error is Loki's, without the stage.
    pub(crate) fn new(filter: &ast::LabelFilter) -> Result<Self, String> {
        let every = |filters: &[ast::LabelFilter]| -> Result<Vec<Self>, String> {
            filters.iter().map(Self::new).collect()
        };
        Ok(match filter {
            ast::LabelFilter::Matcher(matcher) => Self::Text(matcher.clone()),
            ast::LabelFilter::Number { name, op, value } => Self::Number {
                name: name.clone(),
                op: *op,
                value: *value,
            },
            ast::LabelFilter::Duration { name, op, nanos } => Self::Duration {
                name: name.clone(),
                op: *op,
                nanos: *nanos,
            },
            ast::LabelFilter::Bytes { name, op, bytes } => Self::Bytes {
                name: name.clone(),
                op: *op,
                bytes: *bytes,
            },
            ast::LabelFilter::Ip {
                name,
                negative,
                range,
            } => Self::Address {
                name: name.clone(),
                negative: *negative,
                set: address_set(range)?,
            },
            ast::LabelFilter::And(filters) => Self::All(every(filters)?),
            ast::LabelFilter::Or(filters) => Self::Any(every(filters)?),
        })
    }

    /// Whether the line stays. A label that cannot be read marks the line, unless it is marked
    /// already, and keeps it; a label that is absent drops it. Addresses do not decide on a line
    /// that is marked.
    pub(crate) fn holds(&self, row: &mut Row<'_>) -> bool {
        match self {
            Self::Text(matcher) => matcher.matches(row.get(&matcher.name).unwrap_or("")),
            Self::Number { name, op, value } => {
                compare(row, name, |t| value::number(t).map(|v| op.holds(v, *value)))
            }
            Self::Duration { name, op, nanos } => compare(row, name, |t| {
                value::duration(t).map(|v| op.holds(v, *nanos))
            }),
            Self::Bytes { name, op, bytes } => {
                compare(row, name, |t| value::bytes(t).map(|v| op.holds(v, *bytes)))
            }
            Self::Address {
                name,
                negative,
                set,
            } => {
                if !row.error().is_empty() {
                    return true;
                }
                let text = row.get(name);
                text.is_some_and(|text| set.is_in(text.as_bytes()) != *negative)
            }
            Self::All(filters) => filters.iter().all(|f| f.holds(row)),
            Self::Any(filters) => filters.iter().any(|f| f.holds(row)),
        }
    }
}

fn compare(row: &mut Row<'_>, name: &str, test: impl FnOnce(&str) -> Result<bool, String>) -> bool {
    let Some(text) = row.get(name) else {
        return false;
    };
    match test(text) {
        Ok(holds) => holds,
        Err(details) => {
            if row.error().is_empty() {
                row.fail(FILTER_ERROR, details);
            }
            true
        }
    }
}

fn address_set(range: &str) -> Result<IpSet, String> {
    IpSet::new(range).ok_or_else(|| format!("ip: invalid pattern: {range:?}"))
}
