//! Points and ranges of time: nanoseconds since the Unix epoch, one type for every signal.
//!
//! Metrics are stored with millisecond resolution, as in Prometheus; the conversion happens only
//! here, so that a factor of 1000 cannot be lost between rooms.

use std::fmt;
use std::ops::{Add, Sub};

/// Nanoseconds in one millisecond.
pub const NANOS_PER_MILLI: i64 = 1_000_000;
/// Nanoseconds in one second.
pub const NANOS_PER_SECOND: i64 = 1_000_000_000;
/// Nanoseconds in one day.
pub const NANOS_PER_DAY: i64 = 86_400 * NANOS_PER_SECOND;

/// A point in time: signed nanoseconds since 1970-01-01T00:00:00Z (years 1677 to 2262).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest representable point.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest representable point.
    pub const MAX: Self = Self(i64::MAX);

    /// From nanoseconds since the epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// From milliseconds since the epoch; saturates at the borders.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(NANOS_PER_MILLI))
    }

    /// From whole seconds since the epoch; saturates at the borders.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(NANOS_PER_SECOND))
    }

    /// From fractional seconds, rounded to the nearest millisecond as Prometheus' API does.
    /// `None` when the value is not finite or out of range.
    pub fn from_seconds_f64(seconds: f64) -> Option<Self> {
        let millis = (seconds * 1e3).round();
        let limit = (i64::MAX / NANOS_PER_MILLI) as f64;
        (millis.is_finite() && millis.abs() < limit).then(|| Self::from_millis(millis as i64))
    }

    /// Nanoseconds since the epoch.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Milliseconds since the epoch, rounded towards the past.
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(NANOS_PER_MILLI)
    }

    /// Seconds since the epoch as Prometheus prints them (millisecond resolution).
    pub fn seconds_f64(self) -> f64 {
        self.millis() as f64 / 1e3
    }

    /// This point moved by signed nanoseconds; saturates at the borders.
    pub const fn saturating_add(self, nanos: i64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// This point moved back by signed nanoseconds; saturates at the borders.
    pub const fn saturating_sub(self, nanos: i64) -> Self {
        Self(self.0.saturating_sub(nanos))
    }
}

impl Add<i64> for Timestamp {
    type Output = Self;
    fn add(self, nanos: i64) -> Self {
        self.saturating_add(nanos)
    }
}

impl Sub<i64> for Timestamp {
    type Output = Self;
    fn sub(self, nanos: i64) -> Self {
        self.saturating_sub(nanos)
    }
}

impl Sub for Timestamp {
    type Output = i64;
    fn sub(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// RFC 3339 in UTC with as many fractional digits as needed (0, 3, 6 or 9).
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, rest) = (
            self.0.div_euclid(NANOS_PER_DAY),
            self.0.rem_euclid(NANOS_PER_DAY),
        );
        let (year, month, day) = civil_from_days(days);
        let (seconds, nanos) = (rest / NANOS_PER_SECOND, rest % NANOS_PER_SECOND);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        )?;
        if nanos == 0 {
            f.write_str("Z")
        } else if nanos % NANOS_PER_MILLI == 0 {
            write!(f, ".{:03}Z", nanos / NANOS_PER_MILLI)
        } else if nanos % 1000 == 0 {
            write!(f, ".{:06}Z", nanos / 1000)
        } else {
            write!(f, ".{nanos:09}Z")
        }
    }
}

/// Proleptic Gregorian (year, month, day) of a day number since 1970-01-01.
/// Algorithm: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
pub fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Day number since 1970-01-01 of a proleptic Gregorian date; the inverse of [`civil_from_days`].
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = year - i64::from(month <= 2);
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let month_index = (month + 9) % 12;
    let day_of_year = (153 * month_index + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Parses RFC 3339 (`2026-11-21T10:00:00.123+01:00`) to nanoseconds; `None` when it is not that.
pub fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let b = text.as_bytes();
    let digits = |from: usize, to: usize| -> Option<i64> {
        let part = b.get(from..to)?;
        part.iter().try_fold(0i64, |n, c| {
            c.is_ascii_digit().then(|| n * 10 + i64::from(c - b'0'))
        })
    };
    let at = |index: usize, set: &[u8]| b.get(index).is_some_and(|c| set.contains(c));
    if !(at(4, b"-") && at(7, b"-") && at(10, b"Tt ") && at(13, b":") && at(16, b":")) {
        return None;
    }
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 {
        return None;
    }
    let days = days_from_civil(year, month, day);
    if second > 60 || civil_from_days(days) != (year, month, day) {
        return None;
    }
    let mut at_byte = 19;
    let mut nanos = 0i64;
    if b.get(at_byte) == Some(&b'.') {
        at_byte += 1;
        let start = at_byte;
        let mut scale = NANOS_PER_SECOND / 10;
        while let Some(c) = b.get(at_byte).filter(|c| c.is_ascii_digit()) {
            nanos += i64::from(c - b'0') * scale;
            scale /= 10;
            at_byte += 1;
        }
        if at_byte == start {
            return None;
        }
    }
    let offset = match b.get(at_byte)? {
        b'Z' | b'z' if b.len() == at_byte + 1 => 0,
        sign @ (b'+' | b'-') if b.len() == at_byte + 6 && b[at_byte + 3] == b':' => {
            let (h, m) = (
                digits(at_byte + 1, at_byte + 3)?,
                digits(at_byte + 4, at_byte + 6)?,
            );
            (h * 3600 + m * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset;
    let total = i128::from(seconds) * i128::from(NANOS_PER_SECOND) + i128::from(nanos);
    i64::try_from(total).ok().map(Timestamp)
}

/// A range of time with both ends included. `start > end` is the empty range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// First point that belongs to the range.
    pub start: Timestamp,
    /// Last point that belongs to the range.
    pub end: Timestamp,
}

impl TimeRange {
    /// Everything.
    pub const ALL: Self = Self {
        start: Timestamp::MIN,
        end: Timestamp::MAX,
    };

    /// The range from `start` to `end`, both included.
    pub const fn new(start: Timestamp, end: Timestamp) -> Self {
        Self { start, end }
    }

    /// Whether no point belongs to the range.
    pub fn is_empty(self) -> bool {
        self.start > self.end
    }

    /// Whether the point belongs to the range.
    pub fn contains(self, at: Timestamp) -> bool {
        self.start <= at && at <= self.end
    }

    /// Whether some point belongs to both ranges.
    pub fn overlaps(self, other: Self) -> bool {
        self.start <= other.end && other.start <= self.end && !self.is_empty() && !other.is_empty()
    }

    /// The points that belong to both ranges (possibly none).
    pub fn intersect(self, other: Self) -> Self {
        Self {
            start: self.start.max(other.start),
            end: self.end.min(other.end),
        }
    }

    /// The smallest range that holds both.
    pub fn union(self, other: Self) -> Self {
        Self {
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        }
    }

    /// The smallest range that holds this one and the point.
    pub fn including(self, at: Timestamp) -> Self {
        Self {
            start: self.start.min(at),
            end: self.end.max(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<i64>) {
        assert_eq!(parse_rfc3339(text).map(Timestamp::nanos), expect, "{text}");
    }

    #[test]
    fn rfc3339() {
        check("1970-01-01T00:00:00Z", Some(0));
        check("1970-01-01T01:00:00.5+01:00", Some(500_000_000));
        check(
            "2026-11-21T10:00:00.123456789Z",
            Some(1_795_255_200_123_456_789),
        );
        check("1969-12-31T23:59:59Z", Some(-NANOS_PER_SECOND));
        check("2026-02-30T00:00:00Z", None);
        check("2026-11-21", None);
        check("2026-11-21T10:00:00", None);
        check("2026-11-21T10:00:00.Z", None);
        check("2026-11-21T10:00:00+0100", None);
    }

    #[test]
    fn display_is_the_inverse_of_parse() {
        for nanos in [
            0,
            1,
            1_000,
            1_000_000,
            -1,
            1_795_255_200_000_000_000,
            i64::MAX,
            i64::MIN,
        ] {
            let text = Timestamp::from_nanos(nanos).to_string();
            assert_eq!(
                parse_rfc3339(&text).map(Timestamp::nanos),
                Some(nanos),
                "{text}"
            );
        }
    }

    #[test]
    fn milliseconds_round_towards_the_past() {
        assert_eq!(Timestamp::from_nanos(-1).millis(), -1);
        assert_eq!(Timestamp::from_nanos(1_999_999).millis(), 1);
        assert_eq!(
            Timestamp::from_seconds_f64(1.0005).map(Timestamp::millis),
            Some(1001)
        );
        assert_eq!(Timestamp::from_seconds_f64(f64::NAN), None);
        assert_eq!(Timestamp::from_seconds_f64(1e300), None);
    }

    #[test]
    fn ranges() {
        let range = |a, b| TimeRange::new(Timestamp::from_nanos(a), Timestamp::from_nanos(b));
        assert!(range(1, 2).overlaps(range(2, 3)));
        assert!(!range(1, 2).overlaps(range(3, 4)));
        assert!(range(1, 4).intersect(range(5, 6)).is_empty());
        assert_eq!(range(1, 2).union(range(5, 6)), range(1, 6));
    }
}
