//! Acknowledgements: somebody cares for an alert, so nobody hears of it again until it is over.
//!
//! Other than a silence this names one alert, ends with it, and lets its recovery be told.
//! Invariant: an acknowledgement is of what fired when it was given; the same alert, firing anew,
//! is not acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use obs_model::Timestamp;

use super::alert::{Fingerprint, Received};

/// Who cares, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Who.
    pub by: String,
    /// What they said.
    pub comment: String,
    /// When.
    pub at: Timestamp,
    /// Until when at most; until it is over without it.
    pub until: Option<Timestamp>,
}

/// All acknowledgements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acks(BTreeMap<Fingerprint, Ack>);

impl Acks {
    /// Acknowledges an alert.
    pub fn set(&mut self, print: Fingerprint, ack: Ack) {
        self.0.insert(print, ack);
    }

    /// Takes an acknowledgement back.
    pub fn clear(&mut self, print: Fingerprint) -> Option<Ack> {
        self.0.remove(&print)
    }

    /// Whether somebody said so of an alert, at any time.
    pub fn contains(&self, print: Fingerprint) -> bool {
        self.0.contains_key(&print)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Fingerprint, &Ack)> {
        self.0.iter()
    }

    /// That of an alert as it is now.
    pub fn of(&self, alert: &Received, now: Timestamp) -> Option<&Ack> {
        let ack = self.0.get(&alert.fingerprint)?;
        let holds = ack.at >= alert.starts_at && ack.until.is_none_or(|until| now < until);
        (holds && !alert.is_resolved(now)).then_some(ack)
    }

    /// Those of some alerts that are acknowledged.
    pub fn among<'a>(
        &self,
        alerts: impl IntoIterator<Item = &'a Received>,
        now: Timestamp,
    ) -> BTreeSet<Fingerprint> {
        if self.0.is_empty() {
            return BTreeSet::new();
        }
        let alerts = alerts.into_iter();
        let alerts = alerts.filter(|alert| self.of(alert, now).is_some());
        alerts.map(|alert| alert.fingerprint).collect()
    }

    /// Drops those of alerts that are over or gone; gives whose they were.
    pub fn forget<'a>(
        &mut self,
        alert: impl Fn(Fingerprint) -> Option<&'a Received>,
        now: Timestamp,
    ) -> Vec<Fingerprint> {
        let all: Vec<Fingerprint> = self.0.keys().copied().collect();
        let gone =
            |print: &Fingerprint| alert(*print).is_none_or(|alert| self.of(alert, now).is_none());
        let gone: Vec<Fingerprint> = all.into_iter().filter(gone).collect();
        for print in &gone {
            self.0.remove(print);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use obs_model::Labels;

    use super::*;

    #[test]
    fn an_acknowledgement_ends_with_what_it_is_of() {
        let at = Timestamp::from_seconds;
        let alert = |from, to| {
            let labels = Labels::from_pairs([("alertname", "A")]);
            Received {
                fingerprint: Fingerprint::of(&labels),
                labels,
                annotations: Labels::empty(),
                starts_at: at(from),
                ends_at: at(to),
                updated_at: at(from),
                generator_url: String::new(),
                guessed_end: false,
            }
        };
        let first = alert(10, 100);
        let ack = |until| Ack {
            by: "me".to_owned(),
            comment: String::new(),
            at: at(20),
            until,
        };
        let mut acks = Acks::default();
        assert_eq!(acks.among([&first], at(30)).len(), 0);
        acks.set(first.fingerprint, ack(None));
        let check = |acks: &Acks, alert: &Received, now, expect: bool| {
            assert_eq!(acks.of(alert, at(now)).is_some(), expect, "at {now}");
        };
        check(&acks, &first, 30, true);
        check(&acks, &first, 100, false);
        check(&acks, &alert(110, 200), 120, false);
        acks.set(first.fingerprint, ack(Some(at(50))));
        check(&acks, &first, 49, true);
        check(&acks, &first, 50, false);
        assert!(acks.forget(|_| Some(&first), at(30)).is_empty());
        assert_eq!(acks.forget(|_| Some(&first), at(60)), [first.fingerprint]);
        acks.set(first.fingerprint, ack(None));
        assert_eq!(acks.forget(|_| None, at(30)), [first.fingerprint]);
        assert_eq!(acks.clear(first.fingerprint), None);
    }
}
