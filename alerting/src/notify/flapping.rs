//! Flapping: alerts that come and go all the time are told of once, and once more when they have
//! come to rest.
//!
//! As Nagios has it: the time that is looked at has twenty steps; each in which the state changed
//! counts, the newest by 1.2 and the oldest by 0.8 of a twentieth. An alert that reaches `starts`
//! per cent flaps until it is below `ends`.
//! Invariant: while an alert flaps it is never over; a recovery counts from when the flapping would
//! end if nothing changed any more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use obs_model::{Labels, Matcher, Timestamp, matcher};

use super::alert::{Fingerprint, Received};

/// Steps of the time that is looked at.
const STEPS: usize = 20;
/// Changes of one alert that are remembered: more in one step count no more than one.
const CHANGES_MAX: usize = 256;
/// The annotation that says so.
pub const ANNOTATION: &str = "flapping";

/// What counts as flapping.
#[derive(Clone, Debug)]
pub struct Flapping {
    /// Which alerts are looked at; all without any.
    pub matchers: Vec<Matcher>,
    /// Nanoseconds that are looked at.
    pub window: i64,
    /// Per cent at which it begins.
    pub starts: f64,
    /// Per cent below which it ends.
    pub ends: f64,
}

/// What is known of one alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// When its state changed.
    pub changes: VecDeque<Timestamp>,
    /// Whether it fires.
    pub firing: bool,
    /// When it ends if nothing more is heard.
    pub ends_at: Timestamp,
    /// Whether it comes and goes all the time.
    pub flaps: bool,
}

/// What is known of all.
#[derive(Clone, Debug, Default)]
pub struct Flaps {
    all: BTreeMap<Fingerprint, Arc<History>>,
    /// Whose history is another than when this was asked last.
    changed: BTreeSet<Fingerprint>,
}

impl Flapping {
    fn step(&self) -> i64 {
        (self.window / STEPS as i64).max(1)
    }

    /// How much the state has changed, in per cent.
    fn percent(&self, changes: &VecDeque<Timestamp>, now: Timestamp) -> f64 {
        let mut changed = [false; STEPS];
        for change in changes {
            let ago = (now - *change).max(0) / self.step();
            if let Some(step) = usize::try_from(ago)
                .ok()
                .and_then(|ago| changed.get_mut(ago))
            {
                *step = true;
            }
        }
        let weight = |ago: usize| 1.2 - 0.4 * ago as f64 / (STEPS - 1) as f64;
        let steps = changed.iter().enumerate().filter(|(_, changed)| **changed);
        steps.map(|(ago, _)| weight(ago)).sum::<f64>() * 100.0 / STEPS as f64
    }

    /// When the flapping ends if nothing changes any more.
    fn rest(&self, changes: &VecDeque<Timestamp>, now: Timestamp) -> Timestamp {
        let steps = (1..=STEPS as i64).map(|step| now.saturating_add(step * self.step()));
        let mut steps = steps.filter(|then| self.percent(changes, *then) < self.ends);
        steps
            .next()
            .unwrap_or_else(|| now.saturating_add(self.window))
    }
}

impl Flaps {
    /// Notes what is heard of an alert; gives it as it counts.
    #[must_use]
    pub fn note(&mut self, config: &Flapping, mut alert: Received, now: Timestamp) -> Received {
        if !matcher::all_match(&config.matchers, &alert.labels) {
            return alert;
        }
        let firing = !alert.is_resolved(now);
        let history = self.all.entry(alert.fingerprint).or_insert_with(|| {
            Arc::new(History {
                changes: VecDeque::new(),
                firing,
                ends_at: alert.ends_at,
                flaps: false,
            })
        });
        let history = Arc::make_mut(history);
        let newest = history.changes.back().copied();
        // It ended before without a word.
        if history.firing && history.ends_at <= now && firing {
            history.changes.push_back(history.ends_at);
            history.firing = false;
        }
        if history.firing != firing {
            history.changes.push_back(now);
            history.firing = firing;
        }
        history.ends_at = alert.ends_at;
        let begin = now.saturating_sub(config.window);
        while history.changes.len() > CHANGES_MAX
            || history.changes.front().is_some_and(|t| *t < begin)
        {
            history.changes.pop_front();
        }
        let percent = config.percent(&history.changes, now);
        let flaps = percent
            >= if history.flaps {
                config.ends
            } else {
                config.starts
            };
        if history.changes.back().copied() != newest || history.flaps != flaps {
            self.changed.insert(alert.fingerprint);
        }
        history.flaps = flaps;
        if history.flaps {
            let text = format!("{percent:.0}% state change");
            let others = alert
                .annotations
                .iter()
                .filter(|(name, _)| *name != ANNOTATION);
            let said = [(ANNOTATION, text.as_str())];
            alert.annotations = Labels::from_pairs(others.chain(said).collect::<Vec<_>>());
            if !firing {
                alert.ends_at = config.rest(&history.changes, now);
            }
        }
        alert
    }

    /// Whether an alert flaps.
    pub fn is_flapping(&self, print: Fingerprint) -> bool {
        self.all.get(&print).is_some_and(|history| history.flaps)
    }

    /// Takes over what was kept. Nobody knows how the alert has fared since.
    pub fn restore(
        &mut self,
        config: &Flapping,
        print: Fingerprint,
        mut history: History,
        now: Timestamp,
    ) {
        history.ends_at = history.ends_at.max(now.saturating_add(config.window));
        self.all.insert(print, Arc::new(history));
    }

    /// Whether any history is another than when it was asked for last.
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The histories that are others than when this was asked last; nothing in place of one that is
    /// forgotten.
    pub fn take_changed(&mut self) -> Vec<(Fingerprint, Option<History>)> {
        let changed = std::mem::take(&mut self.changed).into_iter();
        let history = |print| self.all.get(&print).map(|history| history.as_ref().clone());
        changed.map(|print| (print, history(print))).collect()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.changed.extend(self.all.keys());
        self.all.clear();
    }

    /// The clock was set by so many nanoseconds.
    pub fn shift(&mut self, jump: i64) {
        for history in self.all.values_mut() {
            let history = Arc::make_mut(history);
            history.ends_at = history.ends_at.saturating_add(jump);
            for change in &mut history.changes {
                *change = change.saturating_add(jump);
            }
        }
    }

    /// Forgets what has been at rest for long.
    pub fn forget(&mut self, config: &Flapping, now: Timestamp) {
        let begin = now.saturating_sub(config.window);
        let lives = |history: &History| {
            let recent = history.changes.back();
            recent.is_some_and(|change| *change >= begin)
                || (history.firing && history.ends_at > now)
        };
        let changed = &mut self.changed;
        self.all.retain(|print, history| {
            let lives = lives(history);
            if !lives && !history.changes.is_empty() {
                changed.insert(*print);
            }
            lives
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000_000;

    fn config() -> Flapping {
        Flapping {
            matchers: Vec::new(),
            window: 20 * MINUTE,
            starts: 50.0,
            ends: 20.0,
        }
    }

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_nanos(minute * MINUTE)
    }

    fn heard(firing: bool, minute: i64) -> Received {
        let labels = Labels::from_pairs([("alertname", "A")]);
        Received {
            fingerprint: Fingerprint::of(&labels),
            labels,
            annotations: Labels::empty(),
            starts_at: at(minute),
            ends_at: if firing { at(minute + 5) } else { at(minute) },
            updated_at: at(minute),
            generator_url: String::new(),
            guessed_end: false,
        }
    }

    #[test]
    fn what_comes_and_goes_stays_until_it_rests() {
        let (config, mut flaps) = (config(), Flaps::default());
        let mut over = Vec::new();
        for minute in 0..15 {
            let counts = flaps.note(&config, heard(minute % 2 == 0, minute), at(minute));
            over.push(counts.is_resolved(at(minute)));
        }
        // It is over now and then until it flaps, which is once half of the steps have changes.
        assert!(over[1] && over[3]);
        assert!(over[10..].iter().all(|over| !over), "{over:?}");
        let last = flaps.note(&config, heard(false, 15), at(15));
        assert_eq!(last.annotations.get(ANNOTATION), Some("79% state change"));
        assert!(
            last.ends_at > at(25) && last.ends_at < at(35),
            "{}",
            last.ends_at
        );
        assert!(flaps.is_flapping(last.fingerprint));
        // Nothing happens any more: told again then, it is over.
        let rested = flaps.note(&config, heard(false, 34), at(34));
        assert!(rested.is_resolved(at(34)));
        assert!(!flaps.is_flapping(last.fingerprint));
        flaps.forget(&config, at(60));
        assert!(flaps.is_empty());
    }

    #[test]
    fn what_is_steady_or_not_looked_at_is_as_it_is() {
        let (mut config, mut flaps) = (config(), Flaps::default());
        for minute in 0..40 {
            let alert = heard(true, minute);
            assert_eq!(flaps.note(&config, alert.clone(), at(minute)), alert);
        }
        let over = heard(false, 40);
        assert_eq!(flaps.note(&config, over.clone(), at(40)), over);
        config.matchers = vec![Matcher::equal("alertname", "B")];
        for minute in 41..80 {
            let alert = heard(minute % 2 == 0, minute);
            assert_eq!(flaps.note(&config, alert.clone(), at(minute)), alert);
        }
    }

    #[test]
    fn ends_without_a_word_count() {
        let (config, mut flaps) = (config(), Flaps::default());
        for minute in (0..60).step_by(6) {
            let counts = flaps.note(&config, heard(true, minute), at(minute));
            assert_eq!(
                counts.annotations.get(ANNOTATION),
                None,
                "one change in three minutes is calm"
            );
        }
        assert_eq!(
            flaps
                .all
                .values()
                .map(|history| history.changes.len())
                .sum::<usize>(),
            8
        );
    }
}
