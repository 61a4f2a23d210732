//! Targets that a discovery found: what is known of something that may be scraped or probed,
//! before any rule was applied to it.
//!
//! Invariant: a group replaces the group of the same source; one without targets takes it away.

use crate::labels::Labels;

/// Targets that are found and lost together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetGroup {
    /// Where they come from; unique within one discovery.
    pub source: Box<str>,
    /// Labels of all of them.
    pub labels: Labels,
    /// Labels of each, which win over those of all; `__address__` before all.
    pub targets: Vec<Labels>,
}

impl TargetGroup {
    /// What says that nothing is there any more.
    pub fn gone(source: impl Into<Box<str>>) -> Self {
        Self {
            source: source.into(),
            labels: Labels::empty(),
            targets: Vec::new(),
        }
    }

    /// The labels of each target with those of all.
    pub fn members(&self) -> impl Iterator<Item = Labels> {
        self.targets.iter().map(|target| {
            let mut builder = self.labels.to_builder();
            for (name, value) in target {
                builder.set(name, value);
            }
            builder.build()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_a_target_win() {
        let group = TargetGroup {
            source: "s".into(),
            labels: Labels::from_pairs([("a", "1"), ("b", "2")]),
            targets: vec![Labels::from_pairs([("b", "3"), ("__address__", "x:1")])],
        };
        let expect = Labels::from_pairs([("__address__", "x:1"), ("a", "1"), ("b", "3")]);
        assert_eq!(group.members().collect::<Vec<_>>(), [expect]);
        assert_eq!(TargetGroup::gone("s").members().count(), 0);
    }
}
