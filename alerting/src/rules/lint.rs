//! Lints: rules that are valid and hardly meant so.
//!
//! Invariant: a rule that is found here never fails to load for it; what is told names the group,
//! the rule, and what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use obs_model::labels::METRIC_NAME;
use obs_model::{MatchOp, Matcher};
use regex_syntax::hir::{Hir, HirKind, Look};

use super::file::{Group, Rule, RuleKind};

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lint {
    /// Two rules of a file make the same series or alerts.
    DuplicateRules,
    /// A label with the value: each evaluation makes another alert.
    ValueInLabels,
    /// An alert that fires at the first sight of its element.
    MissingFor,
    /// A selector that no series can match.
    NeverMatches,
    /// A metric that a server does not have.
    AbsentMetrics,
}

impl Lint {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::DuplicateRules,
        Self::ValueInLabels,
        Self::MissingFor,
        Self::NeverMatches,
        Self::AbsentMetrics,
    ];

    /// As the command line says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DuplicateRules => "duplicate-rules",
            Self::ValueInLabels => "value-in-labels",
            Self::MissingFor => "missing-for",
            Self::NeverMatches => "never-matches",
            Self::AbsentMetrics => "absent-metrics",
        }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// By which lint.
    pub lint: Lint,
    /// Group and rule; nothing where it is about the whole file.
    pub rule: Option<(String, String)>,
    /// What it is.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lint = self.lint.as_str();
        match &self.rule {
            Some((group, rule)) => write!(
                f,
                "lint error: group {group:?}, rule {rule:?}: {} ({lint})",
                self.text
            ),
            None => write!(f, "lint error {}", self.text),
        }
    }
}

/// What is to be told of the groups of a file, but for what needs a server.
pub fn lint(groups: &[Group], wanted: &BTreeSet<Lint>) -> Vec<Finding> {
    let mut found = Vec::new();
    if wanted.contains(&Lint::DuplicateRules) {
        found.extend(duplicates(groups));
    }
    for group in groups {
        for rule in &group.rules {
            let tell = |lint: Lint, text: String| Finding {
                lint,
                rule: Some((group.name.clone(), rule.name().to_owned())),
                text,
            };
            let mut add = |lint: Lint, texts: Vec<String>| {
                let texts = texts.into_iter().filter(|_| wanted.contains(&lint));
                found.extend(texts.map(|text| tell(lint, text)));
            };
            add(Lint::ValueInLabels, values_in_labels(rule, group));
            add(Lint::MissingFor, missing_for(rule));
            add(Lint::NeverMatches, never_matching(rule));
        }
    }
    found
}

/// promtool's only lint, in its words.
fn duplicates(groups: &[Group]) -> Option<Finding> {
    let mut seen: BTreeMap<(String, BTreeMap<String, String>), usize> = BTreeMap::new();
    for group in groups {
        for rule in &group.rules {
            let key = (rule.name().to_owned(), rule.labels_in(group));
            *seen.entry(key).or_default() += 1;
        }
    }
    let twice: Vec<_> = seen.into_iter().filter(|(_, count)| *count > 1).collect();
    if twice.is_empty() {
        return None;
    }
    let mut text = format!("{} duplicate rule(s) found.\n", twice.len());
    for ((name, labels), _) in twice {
        text.push_str(&format!("Metric: {name}\nLabel(s):\n"));
        for (label, value) in labels {
            text.push_str(&format!("\t{label}: {value}\n"));
        }
    }
    text.push_str("Might cause inconsistency while recording expressions");
    Some(Finding {
        lint: Lint::DuplicateRules,
        rule: None,
        text,
    })
}

fn values_in_labels(rule: &Rule, group: &Group) -> Vec<String> {
    let RuleKind::Alert { .. } = rule.kind else {
        return Vec::new();
    };
    let labels = rule.labels_in(group).into_iter();
    let labels = labels.filter(|(_, text)| uses_value(text));
    labels
        .map(|(name, _)| {
            format!(
                "label {name:?} has the value: whenever it changes, the alert ends and another \
                 begins; put it into an annotation"
            )
        })
        .collect()
}

/// Whether an action of a template speaks of the value.
fn uses_value(text: &str) -> bool {
    let actions = text.split("{{").skip(1);
    let mut actions = actions.map(|action| action.split("}}").next().unwrap_or_default());
    let whole = |action: &str, word: &str| {
        action.match_indices(word).any(|(at, _)| {
            let letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            let behind = action[at + word.len()..].chars().next();
            !letter(behind) && !letter(action[..at].chars().next_back())
        })
    };
    actions.any(|action| whole(action, "$value") || whole(action, ".Value"))
}

fn missing_for(rule: &Rule) -> Vec<String> {
    match rule.kind {
        RuleKind::Alert { hold: 0, .. } => {
            let text = "no 'for': one evaluation is enough to fire, so that any gap or peak alerts";
            vec![text.to_owned()]
        }
        RuleKind::Alert { .. } | RuleKind::Record { .. } => Vec::new(),
    }
}

fn never_matching(rule: &Rule) -> Vec<String> {
    let selectors = rule.expression.query.metric_selectors();
    let mut found = Vec::new();
    for selector in &selectors {
        for matcher in selector.iter().filter(|m| never(m)) {
            found.push(format!("{matcher} matches nothing"));
        }
        let fixed = selector.iter().filter(|m| m.op == MatchOp::Equal);
        for one in fixed {
            let against = selector
                .iter()
                .find(|other| other.name == one.name && !other.matches(&one.value));
            if let Some(other) = against {
                found.push(format!("no series has both {one} and {other}"));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Whether no text matches.
fn never(matcher: &Matcher) -> bool {
    match matcher.op {
        MatchOp::Regex => regex_syntax::parse(&format!("^(?:{})$", matcher.value))
            .is_ok_and(|hir| !possible(&hir)),
        MatchOp::NotRegex => [".*", "(.*)", "(?s).*", "(?s:.*)"].contains(&matcher.value.as_str()),
        MatchOp::Equal | MatchOp::NotEqual => false,
    }
}

/// Whether some text can match. Looks only at what surely cannot: an end with text behind it, a
/// begin with text before it, a class without characters.
fn possible(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Literal(_) | HirKind::Look(_) => true,
        HirKind::Class(_) => hir.properties().minimum_len().is_some(),
        HirKind::Repetition(repetition) => repetition.min == 0 || possible(&repetition.sub),
        HirKind::Capture(capture) => possible(&capture.sub),
        HirKind::Alternation(branches) => branches.iter().any(possible),
        HirKind::Concat(parts) => {
            let parts = flat(parts);
            let length = |part: &Hir| part.properties().minimum_len().unwrap_or(0);
            let is = |part: &Hir, look: Look| matches!(part.kind(), HirKind::Look(l) if *l == look);
            let mut before = 0;
            for (at, part) in parts.iter().enumerate() {
                let behind: usize = parts[at + 1..].iter().map(|part| length(part)).sum();
                if !possible(part)
                    || (is(part, Look::Start) && before > 0)
                    || (is(part, Look::End) && behind > 0)
                {
                    return false;
                }
                before += length(part);
            }
            true
        }
    }
}

/// Parts with those of inner sequences in their place.
fn flat(parts: &[Hir]) -> Vec<&Hir> {
    let mut all = Vec::new();
    for part in parts {
        let mut inner = part;
        while let HirKind::Capture(capture) = inner.kind() {
            inner = &capture.sub;
        }
        match inner.kind() {
            HirKind::Concat(parts) => all.extend(flat(parts)),
            _ => all.push(inner),
        }
    }
    all
}

/// The selectors of metrics that no rule of these groups writes: what a server must have. Those
/// without a name are not among them.
pub fn foreign_metrics(groups: &[Group]) -> Vec<(String, Vec<Matcher>)> {
    let rules = || groups.iter().flat_map(|group| &group.rules);
    let own: BTreeSet<&str> = rules().map(written).collect();
    let mut found: BTreeMap<String, Vec<Matcher>> = BTreeMap::new();
    for rule in rules() {
        for selector in rule.expression.query.metric_selectors() {
            let name = selector
                .iter()
                .find(|m| m.name == METRIC_NAME && m.op == MatchOp::Equal);
            let Some(name) = name.map(|m| m.value.clone()) else {
                continue;
            };
            let ours =
                own.contains(name.as_str()) || name == "ALERTS" || name == "ALERTS_FOR_STATE";
            if !ours {
                found.entry(name).or_insert(selector);
            }
        }
    }
    found.into_iter().collect()
}

/// The name of the series that a rule writes.
fn written(rule: &Rule) -> &str {
    match &rule.kind {
        RuleKind::Record { name } => name,
        RuleKind::Alert { .. } => "ALERTS",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Parsing, RuleFile};

    fn check(rules: &str, expect: &[(Lint, &str)]) {
        let text = format!("groups:\n- name: g\n  rules:\n{rules}");
        let file = RuleFile::parse(&text, &Parsing::default()).expect("valid rules");
        let found = lint(&file.groups, &Lint::ALL.into());
        assert_eq!(found.len(), expect.len(), "{rules}: {found:?}");
        for (found, (lint, words)) in found.iter().zip(expect) {
            assert_eq!(found.lint, *lint, "{rules}");
            assert!(found.to_string().contains(words), "{found}");
        }
    }

    #[test]
    fn what_is_hardly_meant() {
        let alert = |expr: &str, more: &str| format!("  - {{alert: A, expr: '{expr}'{more}}}\n");
        check(&alert("up == 0", ", for: 5m"), &[]);
        check(&alert("up == 0", ""), &[(Lint::MissingFor, "\"A\"")]);
        let label = ", for: 1m, labels: {v: \"{{ $value | humanize }}\"}";
        check(&alert("up == 0", label), &[(Lint::ValueInLabels, "\"v\"")]);
        let other = ", for: 1m, labels: {v: \"{{ $labels.Value }} $value {{ .Labels.value_x }}\"}";
        check(&alert("up == 0", other), &[]);
        let twice = "  - {record: a, expr: x}\n  - {record: a, expr: y}\n";
        let text = "1 duplicate rule(s) found.\nMetric: a\nLabel(s):\nMight cause";
        check(twice, &[(Lint::DuplicateRules, text)]);
        check(
            "  - {record: a, expr: x}\n  - {record: a, expr: y, labels: {b: c}}\n",
            &[],
        );
    }

    #[test]
    fn selectors_that_match_nothing() {
        let matching = |selector: &str, words: &[&str]| {
            let rule = format!("  - {{record: a, expr: 'rate({selector}[1m])'}}\n");
            let expect: Vec<_> = words.iter().map(|w| (Lint::NeverMatches, *w)).collect();
            check(&rule, &expect);
        };
        matching("x{a=~\"b|c\"}", &[]);
        matching("x{a=~\"^b$\"}", &[]);
        matching("x{a=~\"b$|c\"}", &[]);
        matching("x{a=~\"b$c\"}", &["matches nothing"]);
        matching("x{a=~\"(b)(^c)\"}", &["matches nothing"]);
        matching("x{a=~\"(b$)c\"}", &["matches nothing"]);
        matching("x{a!~\".*\"}", &["matches nothing"]);
        matching("x{a=\"b\",a!=\"b\"}", &["both"]);
        matching("x{a=\"b\",a=~\"c.*\"}", &["both"]);
        matching("x{a=\"b\",a=~\"b.*\"}", &[]);
    }

    #[test]
    fn metrics_that_a_server_must_have() {
        let text = "groups:\n- name: g\n  rules:\n  - {record: a, expr: 'sum(x{y=\"z\"})'}\n  \
                    - {alert: B, expr: a > 1 and ALERTS and up}\n";
        let file = RuleFile::parse(text, &Parsing::default()).expect("valid rules");
        let found = foreign_metrics(&file.groups);
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["up", "x"]);
    }
}
