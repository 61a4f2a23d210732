//! How long alerts live: those from before a start, those of which nothing more is heard, and all of
//! them when the clock is set.
//!
//! Invariants: an alert from before the start lives as long as it was told to, counted from when
//! somebody can speak for it; one that ended without a word does not come back by a start; a clock
//! that is set neither ends alerts nor stops groups.

use std::sync::Arc;

use obs_model::Timestamp;
use obs_model::time::NANOS_PER_SECOND;

use super::alert::{Fingerprint, Received};
use super::groups::Groups;
use super::log::Log;

/// A clock that is off by more was set.
const JUMP_MIN: i64 = 2 * NANOS_PER_SECOND;

fn moved(time: Timestamp, by: i64) -> Timestamp {
    time.saturating_add(by)
}

impl Groups {
    /// Takes alerts over as they were kept. While nobody can speak for them, they do not end: see
    /// [`Self::release`].
    pub fn restore(&mut self, mut alerts: Vec<Received>, now: Timestamp) {
        let mut lifetimes = Vec::new();
        for alert in &mut alerts {
            if !alert.is_over() {
                let lifetime = (alert.ends_at - alert.updated_at).max(0);
                lifetimes.push((alert.fingerprint, lifetime));
                alert.ends_at = alert.ends_at.max(now.saturating_add(lifetime));
            }
        }
        self.receive(alerts, now);
        Arc::make_mut(&mut self.restored).extend(lifetimes);
    }

    /// The server still starts: whoever tells of alerts cannot yet.
    pub(super) fn hold(&mut self, now: Timestamp) {
        let restored = Arc::clone(&self.restored);
        for (print, lifetime) in &*restored {
            let end = now.saturating_add(*lifetime);
            // Not each time, since it copies.
            let soon = now.saturating_add(lifetime / 2);
            if self
                .alert(*print)
                .is_some_and(|alert| alert.ends_at <= soon)
            {
                self.change(*print, |alert| alert.ends_at = end);
            }
        }
    }

    /// From now on somebody can: alerts from before the start live as long as they were told to,
    /// from here.
    pub fn release(&mut self, now: Timestamp) {
        for (print, lifetime) in &*std::mem::take(&mut self.restored) {
            let end = now.saturating_add(*lifetime);
            self.change(*print, |alert| alert.ends_at = alert.ends_at.max(end));
        }
    }

    fn change(&mut self, print: Fingerprint, change: impl FnOnce(&mut Received)) {
        if let Some(alert) = Arc::make_mut(&mut self.alerts).get_mut(&print) {
            change(Arc::make_mut(alert));
        }
    }

    /// An alert ended without a word: from now on that is known as if it had been told.
    pub(super) fn time_out(&mut self, print: Fingerprint, now: Timestamp) {
        let ended = |alert: &Received| alert.is_resolved(now) && !alert.is_over();
        if self.alert(print).is_some_and(ended) {
            self.change(print, |alert| alert.updated_at = alert.ends_at);
            self.end_ack(print);
            self.timed_out.extend(self.alerts.get(&print).cloned());
        }
    }

    /// Notes all alerts that ended without a word: not those for which nobody can speak yet, nor
    /// those whose time is over because the clock was set. So many nanoseconds have really passed
    /// since time was looked at last.
    pub fn time_out_all(&mut self, log: &mut Log, now: Timestamp, elapsed: i64) {
        self.keep_pace(log, now, elapsed);
        self.hold(now);
        let ended = |alert: &&Received| alert.is_resolved(now) && !alert.is_over();
        let ended = self.alerts().filter(ended).map(|alert| alert.fingerprint);
        for print in ended.collect::<Vec<Fingerprint>>() {
            self.time_out(print, now);
        }
    }

    /// Alerts that ended without a word since this was asked last; a start must know of them.
    pub fn take_timed_out(&mut self) -> Vec<Arc<Received>> {
        std::mem::take(&mut self.timed_out)
    }

    /// Looks whether the clock was set: so many nanoseconds have really passed since this was called
    /// last. All that waits, waits on for as long as it would have.
    pub(super) fn keep_pace(&mut self, log: &mut Log, now: Timestamp, elapsed: i64) {
        let Some(last) = self.pace.replace(now) else {
            return;
        };
        let jump = (now - last).saturating_sub(elapsed);
        if jump.saturating_abs() < JUMP_MIN {
            return;
        }
        for group in Arc::make_mut(&mut self.groups).values_mut() {
            let group = Arc::make_mut(group);
            group.next = moved(group.next, jump);
            for told_at in group.ending.values_mut() {
                *told_at = moved(*told_at, jump);
            }
        }
        for alert in Arc::make_mut(&mut self.alerts).values_mut() {
            let alert = Arc::make_mut(alert);
            alert.ends_at = moved(alert.ends_at, jump);
            alert.updated_at = moved(alert.updated_at, jump);
        }
        if self.config.extras.flapping.is_some() {
            Arc::make_mut(&mut self.flaps).shift(jump);
        }
        self.storms.shift(jump);
        if let Some(pulse) = &mut self.pulse {
            pulse.next = pulse.next.map(|next| moved(next, jump));
            for told in pulse.told.values_mut() {
                *told = moved(*told, jump);
            }
            if let Some(watch) = &mut pulse.watch {
                watch.shift(jump);
            }
        }
        log.shift(jump, now);
    }
}

#[cfg(test)]
mod tests;
