//! Alerts as they are received.

use std::fmt;

use obs_model::{Labels, Timestamp};

/// By which an alert is known: FNV-1a over its sorted labels, as everywhere in this world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// That of labels.
    pub fn of(labels: &Labels) -> Self {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        let mut add = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        for (name, value) in labels.iter() {
            add(name.as_bytes());
            add(&[0xff]);
            add(value.as_bytes());
            add(&[0xff]);
        }
        Self(hash)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// An alert as it was received, joined with what was known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// By which it is known.
    pub fingerprint: Fingerprint,
    /// Its labels.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: Labels,
    /// When it began.
    pub starts_at: Timestamp,
    /// When it ends or ended.
    pub ends_at: Timestamp,
    /// When it was told last.
    pub updated_at: Timestamp,
    /// Where its expression can be seen.
    pub generator_url: String,
    /// Whether the end is a guess of ours because none was told.
    pub guessed_end: bool,
}

impl Received {
    /// Whether it is over.
    pub fn is_resolved(&self, now: Timestamp) -> bool {
        self.ends_at <= now
    }

    /// Whether its end was told, and is no guess about the future.
    pub fn is_over(&self) -> bool {
        self.ends_at <= self.updated_at
    }

    /// This, told of later than `before`, which is about the same alert.
    #[must_use]
    pub fn after(mut self, before: &Self) -> Self {
        // Where they do not overlap it is another one.
        let overlap = (self.ends_at > before.starts_at && self.ends_at < before.ends_at)
            || (self.starts_at > before.starts_at && self.starts_at < before.ends_at);
        if !overlap {
            return self;
        }
        if before.starts_at < self.starts_at {
            self.starts_at = before.starts_at;
        }
        let resolved = |alert: &Self| alert.ends_at <= self.updated_at;
        if resolved(&self) {
            // The latest end of those that are over.
            if resolved(before) && before.ends_at > self.ends_at {
                self.ends_at = before.ends_at;
            }
        } else if before.ends_at > self.ends_at && !before.guessed_end {
            // An end that was told holds where it is the latest.
            self.ends_at = before.ends_at;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_those_of_prometheus() {
        // The hash of no bytes is FNV's offset.
        assert_eq!(
            Fingerprint::of(&Labels::empty()).to_string(),
            "cbf29ce484222325"
        );
        let labels = Labels::from_pairs([("a", "b")]);
        let again = Labels::from_pairs([("a", "b")]);
        assert_eq!(Fingerprint::of(&labels), Fingerprint::of(&again));
        let other = Labels::from_pairs([("a", "c")]);
        assert_ne!(Fingerprint::of(&labels), Fingerprint::of(&other));
    }
}
