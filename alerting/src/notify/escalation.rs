//! Escalation: the longer alerts fire and nobody acknowledges them, the more receivers hear of them.
//!
//! Invariant: what is decided follows from the alerts, the acknowledgements and the time alone, so
//! that a restart escalates nothing twice: who was told is in the log of notifications.

use std::collections::BTreeSet;

use obs_model::Timestamp;

use super::alert::{Fingerprint, Received};

/// Who else hears of alerts that fire for so long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Nanoseconds.
    pub after: i64,
    /// Who.
    pub receiver: String,
}

/// Since when something fires that nobody has acknowledged.
pub fn since<'a>(
    alerts: impl IntoIterator<Item = &'a Received>,
    acknowledged: &BTreeSet<Fingerprint>,
    now: Timestamp,
) -> Option<Timestamp> {
    let alerts = alerts.into_iter().filter(|alert| !alert.is_resolved(now));
    let alerts = alerts.filter(|alert| !acknowledged.contains(&alert.fingerprint));
    alerts.map(|alert| alert.starts_at).min()
}

/// The steps that are reached.
pub fn reached(
    steps: &[Step],
    since: Option<Timestamp>,
    now: Timestamp,
) -> impl Iterator<Item = &Step> {
    let reached =
        move |step: &&Step| since.is_some_and(|since| since.saturating_add(step.after) <= now);
    steps.iter().filter(reached)
}

/// When the next step is reached.
pub fn next(steps: &[Step], since: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    let times = steps
        .iter()
        .map(|step| since.map(|since| since.saturating_add(step.after)));
    times.flatten().filter(|time| *time > now).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_reached_one_after_another() {
        const SECOND: i64 = 1_000_000_000;
        let at = Timestamp::from_seconds;
        let step = |after: i64, receiver: &str| Step {
            after: after * SECOND,
            receiver: receiver.to_owned(),
        };
        let steps = [step(60, "team"), step(600, "boss")];
        let check = |since: Option<i64>, now: i64, expect: &[&str], due: Option<i64>| {
            let since = since.map(at);
            let found: Vec<&str> = reached(&steps, since, at(now))
                .map(|s| s.receiver.as_str())
                .collect();
            assert_eq!(found, expect, "{since:?} {now}");
            assert_eq!(next(&steps, since, at(now)), due.map(at), "{since:?} {now}");
        };
        check(None, 1_000, &[], None);
        check(Some(100), 159, &[], Some(160));
        check(Some(100), 160, &["team"], Some(700));
        check(Some(100), 700, &["team", "boss"], None);
    }
}
