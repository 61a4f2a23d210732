//! Inhibition: alerts that keep others quiet.

use std::collections::HashMap;

use obs_model::{Labels, Matcher, matcher};

use super::alert::{Fingerprint, Received};

/// A rule: alerts that match the source keep those quiet that match the target and have the same
/// values of some labels.
#[derive(Clone, Debug)]
pub struct InhibitRule {
    /// Its name, if it has one.
    pub name: String,
    /// What alerts that keep others quiet have.
    pub source: Vec<Matcher>,
    /// What those have that are kept quiet.
    pub target: Vec<Matcher>,
    /// Labels that must be the same; a label that is missing is the empty text.
    pub equal: Vec<String>,
}

/// The alerts that keep others quiet now: for each rule by the values of its equal labels.
#[derive(Debug, Default)]
pub struct Sources(Vec<HashMap<Vec<String>, Vec<Source>>>);

#[derive(Debug)]
struct Source {
    fingerprint: Fingerprint,
    /// Whether it is a target of the same rule.
    both: bool,
}

impl InhibitRule {
    fn values(&self, labels: &Labels) -> Vec<String> {
        let value = |name: &String| labels.get(name).unwrap_or("").to_owned();
        self.equal.iter().map(value).collect()
    }
}

impl Sources {
    /// Gathers those that fire.
    pub fn of<'a>(rules: &[InhibitRule], firing: impl Iterator<Item = &'a Received>) -> Self {
        let mut sources: Vec<HashMap<Vec<String>, Vec<Source>>> = Vec::new();
        sources.resize_with(rules.len(), HashMap::new);
        for alert in firing {
            for (rule, sources) in rules.iter().zip(&mut sources) {
                if !matcher::all_match(&rule.source, &alert.labels) {
                    continue;
                }
                let source = Source {
                    fingerprint: alert.fingerprint,
                    both: matcher::all_match(&rule.target, &alert.labels),
                };
                sources
                    .entry(rule.values(&alert.labels))
                    .or_default()
                    .push(source);
            }
        }
        Self(sources)
    }

    /// The alert that keeps this one quiet. One that is source and target of a rule is not kept
    /// quiet by another such one.
    pub fn inhibitor(&self, rules: &[InhibitRule], labels: &Labels) -> Option<Fingerprint> {
        rules.iter().zip(&self.0).find_map(|(rule, sources)| {
            if !matcher::all_match(&rule.target, labels) {
                return None;
            }
            let two_sided = matcher::all_match(&rule.source, labels);
            let found = sources.get(&rule.values(labels))?;
            let fits = |source: &&Source| !(two_sided && source.both);
            found.iter().find(fits).map(|source| source.fingerprint)
        })
    }
}
