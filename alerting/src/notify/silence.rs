//! Silences: who asked for quiet about what, from when until when.

use std::collections::BTreeMap;
use std::sync::Arc;

use obs_model::time::NANOS_PER_SECOND;
use obs_model::{Labels, Matcher, Timestamp, matcher};

/// A silence.
#[derive(Clone, Debug)]
pub struct Silence {
    /// By which it is known: a UUID.
    pub id: String,
    /// What alerts must have, all of it.
    pub matchers: Vec<Matcher>,
    /// From when.
    pub starts_at: Timestamp,
    /// Until when.
    pub ends_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// Who asked.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// More about it.
    pub annotations: BTreeMap<String, String>,
}

/// Where a silence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SilenceState {
    /// It holds.
    Active,
    /// It will hold.
    Pending,
    /// It is over.
    Expired,
}

impl SilenceState {
    /// As the API says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Pending => "pending",
            Self::Expired => "expired",
        }
    }
}

/// Why a silence was not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SilenceError {
    /// There is none of this id.
    #[error("silence not found")]
    Missing,
    /// It is over already.
    #[error("silence {0} already expired")]
    Expired(String),
    /// It says something that cannot be.
    #[error("{0}")]
    Invalid(String),
}

impl Silence {
    /// Where it is.
    pub fn state(&self, now: Timestamp) -> SilenceState {
        if now < self.starts_at {
            SilenceState::Pending
        } else if now >= self.ends_at {
            SilenceState::Expired
        } else {
            SilenceState::Active
        }
    }

    /// Whether it is about an alert.
    pub fn is_about(&self, labels: &Labels) -> bool {
        matcher::all_match(&self.matchers, labels)
    }

    fn check(&self, now: Timestamp) -> Result<(), SilenceError> {
        let invalid = |text: &str| Err(SilenceError::Invalid(text.to_owned()));
        if self.matchers.is_empty() {
            return invalid("invalid silence: matcher set 0 is empty");
        }
        if self.matchers.iter().all(|matcher| matcher.matches("")) {
            return invalid(
                "invalid silence: matcher set 0: at least one matcher must not match the empty string",
            );
        }
        if self.ends_at <= self.starts_at {
            return invalid("Failed to create silence: start time must be before end time");
        }
        if self.ends_at <= now {
            return invalid("Failed to create silence: end time can't be in the past");
        }
        Ok(())
    }

    fn same_matchers(&self, other: &Self) -> bool {
        let shown = |silence: &Self| super::route::shown(&silence.matchers);
        shown(self) == shown(other)
    }

    /// Whether this can become the other one and stay the same silence.
    fn can_become(&self, other: &Self, now: Timestamp) -> bool {
        self.same_matchers(other)
            && match self.state(now) {
                SilenceState::Active => {
                    // Clients know the start to the millisecond or the second only.
                    let second = |time: Timestamp| time.nanos().div_euclid(NANOS_PER_SECOND);
                    second(self.starts_at) == second(other.starts_at) && other.ends_at >= now
                }
                SilenceState::Pending => other.starts_at >= now,
                SilenceState::Expired => false,
            }
    }
}

/// All silences; a copy costs nothing, whatever is in it.
#[derive(Clone, Debug, Default)]
pub struct Silences(Arc<BTreeMap<String, Arc<Silence>>>);

impl Silences {
    /// Takes one over as it was kept.
    pub fn restore(&mut self, silence: Silence) {
        self.put(silence);
    }

    fn put(&mut self, silence: Silence) {
        let id = silence.id.clone();
        Arc::make_mut(&mut self.0).insert(id, Arc::new(silence));
    }

    /// One by its id.
    pub fn get(&self, id: &str) -> Option<&Silence> {
        self.0.get(id).map(AsRef::as_ref)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All.
    pub fn iter(&self) -> impl Iterator<Item = &Silence> {
        self.0.values().map(AsRef::as_ref)
    }

    /// Sets one; without an id it is new, and so is one that changes what it is about: the one
    /// before it ends. Gives the ids of all that have changed, that of the one that was set first.
    pub fn set(
        &mut self,
        mut silence: Silence,
        fresh_id: String,
        now: Timestamp,
    ) -> Result<Vec<String>, SilenceError> {
        silence.updated_at = now;
        let before = match silence.id.as_str() {
            "" => None,
            id => Some(self.get(id).cloned().ok_or(SilenceError::Missing)?),
        };
        if let Some(before) = &before
            && before.can_become(&silence, now)
        {
            silence.check(now)?;
            let id = silence.id.clone();
            self.put(silence);
            return Ok(vec![id]);
        }
        silence.starts_at = silence.starts_at.max(now);
        silence.check(now)?;
        silence.id = fresh_id;
        let mut changed = vec![silence.id.clone()];
        if let Some(before) = before
            && before.state(now) != SilenceState::Expired
        {
            self.expire(&before.id, now)?;
            changed.push(before.id);
        }
        self.put(silence);
        Ok(changed)
    }

    /// Ends one now.
    pub fn expire(&mut self, id: &str, now: Timestamp) -> Result<(), SilenceError> {
        let all = Arc::make_mut(&mut self.0);
        let silence = Arc::make_mut(all.get_mut(id).ok_or(SilenceError::Missing)?);
        match silence.state(now) {
            SilenceState::Expired => return Err(SilenceError::Expired(id.to_owned())),
            SilenceState::Active => silence.ends_at = now,
            SilenceState::Pending => {
                silence.starts_at = now;
                silence.ends_at = now;
            }
        }
        silence.updated_at = now;
        Ok(())
    }

    /// The ids of those that keep an alert quiet now.
    pub fn about(&self, labels: &Labels, now: Timestamp) -> Vec<String> {
        let active = self
            .iter()
            .filter(|silence| silence.state(now) == SilenceState::Active);
        let about = active.filter(|silence| silence.is_about(labels));
        about.map(|silence| silence.id.clone()).collect()
    }

    /// Forgets those that ended longer than `age` ago; gives their ids.
    pub fn forget(&mut self, now: Timestamp, age: i64) -> Vec<String> {
        let old = |silence: &Silence| now - silence.ends_at > age;
        let ids = self.iter().filter(|silence| old(silence));
        let ids: Vec<String> = ids.map(|silence| silence.id.clone()).collect();
        for id in &ids {
            Arc::make_mut(&mut self.0).remove(id);
        }
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn silence(id: &str, matchers: &str, from: i64, to: i64) -> Silence {
        Silence {
            id: id.to_owned(),
            matchers: super::super::matchers::parse(matchers).expect("matchers"),
            starts_at: at(from),
            ends_at: at(to),
            updated_at: at(0),
            created_by: "me".to_owned(),
            comment: "quiet".to_owned(),
            annotations: BTreeMap::new(),
        }
    }

    #[test]
    fn silences_hold_change_and_end() {
        let mut all = Silences::default();
        let set = all.set(silence("", "a=b", 10, 100), "1".to_owned(), at(10));
        assert_eq!(set, Ok(vec!["1".to_owned()]));
        let labels = Labels::from_pairs([("a", "b")]);
        assert_eq!(all.about(&labels, at(10)), ["1"]);
        assert!(all.about(&Labels::empty(), at(10)).is_empty());
        // A later end is the same silence.
        let longer = all.set(silence("1", "a=b", 10, 200), "2".to_owned(), at(20));
        assert_eq!(longer, Ok(vec!["1".to_owned()]));
        // Other matchers are another one.
        let other = all.set(silence("1", "a=c", 10, 200), "2".to_owned(), at(30));
        assert_eq!(other, Ok(vec!["2".to_owned(), "1".to_owned()]));
        assert_eq!(
            all.get("1").map(|s| s.state(at(30))),
            Some(SilenceState::Expired)
        );
        assert_eq!(all.get("2").map(|s| s.starts_at), Some(at(30)));
        assert_eq!(
            all.expire("1", at(40)),
            Err(SilenceError::Expired("1".to_owned()))
        );
        assert_eq!(all.expire("2", at(40)), Ok(()));
        assert_eq!(all.expire("9", at(40)), Err(SilenceError::Missing));
        assert_eq!(all.forget(at(50), 15_000_000_000), ["1"]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut all = Silences::default();
        for (matchers, from, to, expect) in [
            ("", 10, 20, "matcher set 0 is empty"),
            ("a=~\".*\"", 10, 20, "must not match the empty string"),
            ("a=b", 20, 20, "start time must be before end time"),
            ("a=b", 1, 5, "start time must be before end time"),
        ] {
            let refused = all.set(silence("", matchers, from, to), "1".to_owned(), at(10));
            let text = refused.expect_err("it cannot be").to_string();
            assert!(text.contains(expect), "{text}");
        }
        let missing = all.set(silence("7", "a=b", 10, 20), "1".to_owned(), at(10));
        assert_eq!(missing, Err(SilenceError::Missing));
    }
}
