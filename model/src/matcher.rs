//! A condition on one label. An absent label has the empty value.

use std::fmt;

use crate::labels::{Labels, is_legacy_name};
use crate::pattern::{Pattern, PatternError};

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored
    Regex,
    /// `!~`, anchored
    NotRegex,
}

impl MatchOp {
    /// As written in the query languages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// A condition on the value of one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher {
    /// The label's name.
    pub name: String,
    /// How to compare.
    pub op: MatchOp,
    /// The value, or the expression as written.
    pub value: String,
    /// The compiled expression; present exactly for `=~` and `!~`.
    pattern: Option<Pattern>,
}

impl Matcher {
    /// Compiles a condition.
    pub fn new(
        name: impl Into<String>,
        op: MatchOp,
        value: impl Into<String>,
    ) -> Result<Self, PatternError> {
        let value = value.into();
        let pattern = match op {
            MatchOp::Regex | MatchOp::NotRegex => Some(Pattern::anchored(&value)?),
            MatchOp::Equal | MatchOp::NotEqual => None,
        };
        Ok(Self {
            name: name.into(),
            op,
            value,
            pattern,
        })
    }

    /// `name="value"`
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            op: MatchOp::Equal,
            value: value.into(),
            pattern: None,
        }
    }

    /// The compiled expression of `=~` and `!~`.
    pub fn pattern(&self) -> Option<&Pattern> {
        self.pattern.as_ref()
    }

    /// Whether a value (empty for an absent label) meets the condition.
    pub fn matches(&self, value: &str) -> bool {
        match (self.op, &self.pattern) {
            (MatchOp::Equal, _) => value == self.value,
            (MatchOp::NotEqual, _) => value != self.value,
            (MatchOp::Regex, Some(pattern)) => pattern.is_match(value.as_bytes()),
            (MatchOp::NotRegex, Some(pattern)) => !pattern.is_match(value.as_bytes()),
            (MatchOp::Regex | MatchOp::NotRegex, None) => {
                unreachable!("Matcher::new compiles every expression")
            }
        }
    }

    /// Whether labels meet the condition.
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(labels.get(&self.name).unwrap_or(""))
    }
}

/// Whether labels meet all conditions.
pub fn all_match(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|m| m.matches_labels(labels))
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_legacy_name(&self.name) {
            write!(f, "{}{}{:?}", self.name, self.op.as_str(), self.value)
        } else {
            write!(f, "{:?}{}{:?}", self.name, self.op.as_str(), self.value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_labels_are_empty() {
        let labels = Labels::from_pairs([("a", "1")]);
        let check = |name: &str, op, value: &str, expect: bool| {
            let matcher = Matcher::new(name, op, value).unwrap();
            assert_eq!(matcher.matches_labels(&labels), expect, "{matcher}");
        };
        check("a", MatchOp::Equal, "1", true);
        check("a", MatchOp::NotEqual, "1", false);
        check("b", MatchOp::Equal, "", true);
        check("b", MatchOp::Regex, ".*", true);
        check("b", MatchOp::Regex, ".+", false);
        check("b", MatchOp::NotRegex, ".+", true);
        check("a", MatchOp::Regex, "1|2", true);
    }
}
