//! The time of a line in the notations of the applications; worked out anew only when the second
//! changes.

use std::fmt::Write;

/// How an application writes the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notation {
    /// `2026-11-21T12:00:00`
    Iso,
    /// `2026-11-21 12:00:00`
    Spaced,
    /// `21/Nov/2026:12:00:00`
    Access,
    /// `1121 12:00:00`
    Klog,
    /// `Nov 21 12:00:00`
    Syslog,
    /// `261121 120000`
    Short,
    /// `26/11/21 12:00:00`
    Slashed,
    /// Three digits below the second.
    Millis,
    /// Six digits below the second.
    Micros,
    /// Milliseconds since 1970.
    EpochMillis,
}

const FORMATS: [(Notation, &str); 7] = [
    (Notation::Iso, "%Y-%m-%dT%H:%M:%S"),
    (Notation::Spaced, "%Y-%m-%d %H:%M:%S"),
    (Notation::Access, "%d/%b/%Y:%H:%M:%S"),
    (Notation::Klog, "%m%d %H:%M:%S"),
    (Notation::Syslog, "%b %e %H:%M:%S"),
    (Notation::Short, "%y%m%d %H%M%S"),
    (Notation::Slashed, "%y/%m/%d %H:%M:%S"),
];

/// A moment in all notations.
#[derive(Debug, Default)]
pub(super) struct Clock {
    second: i64,
    nanos: i64,
    texts: Vec<String>,
}

impl Clock {
    /// Sets the moment.
    pub(super) fn set(&mut self, time_ns: i64) {
        let second = time_ns.div_euclid(1_000_000_000);
        self.nanos = time_ns.rem_euclid(1_000_000_000);
        if second == self.second && !self.texts.is_empty() {
            return;
        }
        self.second = second;
        let time = jiff::Timestamp::from_second(second).unwrap_or_default();
        let time = time.to_zoned(jiff::tz::TimeZone::UTC);
        self.texts.clear();
        let texts = FORMATS.iter().map(|(_, f)| time.strftime(f).to_string());
        self.texts.extend(texts);
    }

    /// Writes the moment.
    pub(super) fn write(&self, notation: Notation, out: &mut String) -> std::fmt::Result {
        match notation {
            Notation::Millis => write!(out, "{:03}", self.nanos / 1_000_000),
            Notation::Micros => write!(out, "{:06}", self.nanos / 1000),
            Notation::EpochMillis => write!(out, "{}{:03}", self.second, self.nanos / 1_000_000),
            other => {
                let at = FORMATS.iter().position(|(n, _)| *n == other);
                out.push_str(at.and_then(|at| self.texts.get(at)).map_or("", |t| t));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notations() {
        let mut clock = Clock::default();
        clock.set(1_700_000_000_123_456_789);
        let check = |notation, expect: &str| {
            let mut out = String::new();
            clock.write(notation, &mut out).expect("a string takes all");
            assert_eq!(out, expect, "{notation:?}");
        };
        check(Notation::Iso, "2023-11-14T22:13:20");
        check(Notation::Spaced, "2023-11-14 22:13:20");
        check(Notation::Access, "14/Nov/2023:22:13:20");
        check(Notation::Klog, "1114 22:13:20");
        check(Notation::Syslog, "Nov 14 22:13:20");
        check(Notation::Short, "231114 221320");
        check(Notation::Slashed, "23/11/14 22:13:20");
        check(Notation::Millis, "123");
        check(Notation::Micros, "123456");
        check(Notation::EpochMillis, "1700000000123");
    }
}
