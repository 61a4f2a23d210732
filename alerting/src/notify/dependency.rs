//! Dependencies: what hangs on something that is broken is not told of.
//!
//! A dependency is a rule of inhibition that also waits: the alert of a child may come before that
//! of its parent, so it is told of only once it has fired for a while.
//! Invariant: an alert whose parent does not fire is told of, at the latest after the wait.

use obs_model::{Matcher, Timestamp, matcher};

use super::alert::Received;
use super::inhibit::InhibitRule;

/// What hangs on what.
#[derive(Clone, Debug)]
pub struct Dependency {
    /// Alerts of parents.
    pub parents: Vec<Matcher>,
    /// Alerts of children.
    pub children: Vec<Matcher>,
    /// Labels that a child shares with its parent.
    pub equal: Vec<String>,
    /// Nanoseconds that a child's alert waits for its parent's.
    pub wait: i64,
}

impl Dependency {
    /// The same as a rule of inhibition.
    pub fn rule(&self) -> InhibitRule {
        InhibitRule {
            name: "dependency".to_owned(),
            source: self.parents.clone(),
            target: self.children.clone(),
            equal: self.equal.clone(),
        }
    }
}

/// Until when an alert waits for those that it hangs on; nothing where it does not, or not any more.
pub fn waits(all: &[Dependency], alert: &Received, now: Timestamp) -> Option<Timestamp> {
    let of = all
        .iter()
        .filter(|one| matcher::all_match(&one.children, &alert.labels));
    let until = of
        .map(|one| alert.starts_at.saturating_add(one.wait))
        .max()?;
    (until > now && !alert.is_resolved(now)).then_some(until)
}

#[cfg(test)]
mod tests {
    use obs_model::Labels;

    use super::super::alert::Fingerprint;
    use super::*;

    #[test]
    fn children_wait_for_their_parents() {
        let at = Timestamp::from_seconds;
        let dependency = Dependency {
            parents: vec![Matcher::equal("alertname", "HostDown")],
            children: vec![Matcher::equal("kind", "service")],
            equal: vec!["host".to_owned()],
            wait: 30_000_000_000,
        };
        let alert = |pairs: &[(&str, &str)]| {
            let labels = Labels::from_pairs(pairs.iter().copied());
            Received {
                fingerprint: Fingerprint::of(&labels),
                labels,
                annotations: Labels::empty(),
                starts_at: at(100),
                ends_at: at(1000),
                updated_at: at(100),
                generator_url: String::new(),
                guessed_end: false,
            }
        };
        let child = alert(&[("kind", "service"), ("host", "a")]);
        let all = [dependency];
        assert_eq!(waits(&all, &child, at(129)), Some(at(130)));
        assert_eq!(waits(&all, &child, at(130)), None);
        assert_eq!(waits(&all, &alert(&[("host", "a")]), at(101)), None);
        assert_eq!(waits(&[], &child, at(101)), None);
        assert_eq!(all[0].rule().equal, ["host"]);
    }
}
