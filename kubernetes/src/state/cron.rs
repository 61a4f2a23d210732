//! Schedules of cron jobs: five fields, names of months and days, `@hourly` and its like, `@every`.
//!
//! Invariant: the next time is after the one given, and the search ends, whatever the schedule.
//! Format: <https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#schedule-syntax>

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// Days that are looked through for a next time: a leap day may be eight years away.
const DAYS_MAX: i32 = 366 * 8 + 2;
/// Longest schedule that is read.
const TEXT_BYTES_MAX: usize = 1024;

/// The minutes, hours and days at which a job is due.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Schedule {
    when: When,
    zone: TimeZone,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum When {
    /// Bits of the values that each field has.
    Fields {
        minutes: u64,
        hours: u64,
        days: u64,
        months: u64,
        weekdays: u64,
        /// Either the days or the weekdays are all: then both must fit, else one of them.
        both: bool,
    },
    /// Seconds between.
    Every(i64),
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Schedule {
    /// Reads a schedule; nothing where it, or its time zone, is none.
    pub(super) fn parse(text: &str, zone: Option<&str>) -> Option<Self> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let prefixed = ["CRON_TZ=", "TZ="]
            .iter()
            .find_map(|p| text.strip_prefix(p));
        let (zone, text) = match (zone, prefixed) {
            (Some(_), Some(_)) => return None,
            (Some(zone), None) => (Some(zone), text),
            (None, Some(rest)) => {
                let (zone, text) = rest.split_once(' ')?;
                (Some(zone), text)
            }
            (None, None) => (None, text),
        };
        let zone = match zone {
            Some("UTC" | "") => TimeZone::UTC,
            Some("Local") | None => TimeZone::system(),
            Some(name) => TimeZone::get(name).ok()?,
        };
        let text = text.trim();
        let when = match text.strip_prefix('@') {
            Some(word) => descriptor(word)?,
            None => fields(text)?,
        };
        Some(Self { when, zone })
    }

    /// The first time after another, in seconds since 1970; nothing where there is none in years.
    pub(super) fn next(&self, after: i64) -> Option<i64> {
        let (minutes, hours) = match self.when {
            When::Every(seconds) => return after.checked_add(seconds),
            When::Fields { minutes, hours, .. } => (minutes, hours),
        };
        let from = Timestamp::from_second(after).ok()?;
        let mut day = from.to_zoned(self.zone.clone()).date();
        for _ in 0..DAYS_MAX {
            if self.has_day(day) {
                for hour in bits(hours) {
                    for minute in bits(minutes) {
                        let time = Time::new(hour, minute, 0, 0).ok()?;
                        if let Some(at) = self.instant(DateTime::from_parts(day, time))
                            && at > after
                        {
                            return Some(at);
                        }
                    }
                }
            }
            day = day.checked_add(1.day()).ok()?;
        }
        None
    }

    /// The instant of a time on the clock's face; nothing where the clock leaps over it.
    fn instant(&self, time: DateTime) -> Option<i64> {
        let zoned = time.to_zoned(self.zone.clone()).ok()?;
        (zoned.datetime() == time).then(|| zoned.timestamp().as_second())
    }

    fn has_day(&self, date: Date) -> bool {
        let When::Fields {
            days,
            months,
            weekdays,
            both,
            ..
        } = self.when
        else {
            return false;
        };
        let has = |set: u64, value: i8| set & (1 << value) != 0;
        let day = has(days, date.day());
        let weekday = has(weekdays, date.weekday().to_sunday_zero_offset());
        has(months, date.month()) && if both { day && weekday } else { day || weekday }
    }
}

/// The values whose bits are set, the lowest first.
fn bits(set: u64) -> impl Iterator<Item = i8> {
    (0..60).filter(move |value| set & (1 << value) != 0)
}

fn descriptor(word: &str) -> Option<When> {
    let text = match word {
        "yearly" | "annually" => "0 0 1 1 *",
        "monthly" => "0 0 1 * *",
        "weekly" => "0 0 * * 0",
        "daily" | "midnight" => "0 0 * * *",
        "hourly" => "0 * * * *",
        other => {
            let seconds = duration(other.strip_prefix("every ")?)?;
            return Some(When::Every(seconds));
        }
    };
    fields(text)
}

/// A duration as Go writes it, in whole seconds and at least one.
fn duration(text: &str) -> Option<i64> {
    let mut rest = text.trim();
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        rest = &rest[end..];
        total += number * unit;
    }
    // 292 years are what Go's durations hold.
    (total < 9.2e9).then_some(())?;
    let seconds = total as i64;
    Some(seconds.max(1))
}

fn fields(text: &str) -> Option<When> {
    let parts: Vec<_> = text.split_whitespace().collect();
    let &[minutes, hours, days, months, weekdays] = parts.as_slice() else {
        return None;
    };
    let (days, any_day) = field(days, 1, 31, &[])?;
    let (weekdays, any_weekday) = field(weekdays, 0, 6, &WEEKDAYS)?;
    Some(When::Fields {
        minutes: field(minutes, 0, 59, &[])?.0,
        hours: field(hours, 0, 23, &[])?.0,
        days,
        months: field(months, 1, 12, &MONTHS)?.0,
        weekdays,
        both: any_day || any_weekday,
    })
}

/// The values of a field as bits, and whether it is a star.
fn field(text: &str, low: u32, high: u32, names: &[&str]) -> Option<(u64, bool)> {
    let (mut set, mut star) = (0, false);
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<u32>().ok()?)),
            None => (part, None),
        };
        let (from, to) = match range {
            "*" | "?" => {
                star |= step.is_none_or(|step| step <= 1);
                (low, high)
            }
            range => match range.split_once('-') {
                Some((from, to)) => (value(from, low, names)?, value(to, low, names)?),
                None => {
                    let from = value(range, low, names)?;
                    (from, if step.is_some() { high } else { from })
                }
            },
        };
        let step = step.unwrap_or(1);
        if from < low || to > high || from > to || step == 0 {
            return None;
        }
        for value in (from..=to).step_by(step as usize) {
            set |= 1u64 << value;
        }
    }
    (set != 0).then_some((set, star))
}

fn value(text: &str, low: u32, names: &[&str]) -> Option<u32> {
    if text.is_empty() || !text.is_ascii() {
        return None;
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok();
    }
    let small = text.to_ascii_lowercase();
    let place = names.iter().position(|name| *name == small)?;
    Some(low + u32::try_from(place).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(schedule: &str, zone: &str, after: &str, expect: &str) {
        let schedule = Schedule::parse(schedule, Some(zone)).expect("a schedule");
        let after: Timestamp = after.parse().unwrap();
        let next = schedule.next(after.as_second()).map(Timestamp::from_second);
        let next = next.map_or(String::new(), |next| next.unwrap().to_string());
        assert_eq!(next, expect);
    }

    #[test]
    fn next_times() {
        let (utc, from) = ("UTC", "2024-01-31T10:07:30Z");
        check("* * * * *", utc, from, "2024-01-31T10:08:00Z");
        check("*/15 * * * *", utc, from, "2024-01-31T10:15:00Z");
        check(
            "7 10 * * *",
            utc,
            "2024-01-31T10:07:00Z",
            "2024-02-01T10:07:00Z",
        );
        check("0 0 30 * *", utc, from, "2024-03-30T00:00:00Z");
        check(
            "0 0 29 feb ?",
            utc,
            "2024-03-01T00:00:00Z",
            "2028-02-29T00:00:00Z",
        );
        check(
            "0 12 * * MON-FRI",
            utc,
            "2024-02-02T13:00:00Z",
            "2024-02-05T12:00:00Z",
        );
        check("30 5/6 * * *", utc, from, "2024-01-31T11:30:00Z");
        // Either of day and weekday where neither is a star.
        check(
            "0 0 13 * 5",
            utc,
            "2024-02-01T00:00:00Z",
            "2024-02-02T00:00:00Z",
        );
        // A stepped star is not one.
        check(
            "0 0 */10 * 5",
            utc,
            "2024-02-03T00:00:00Z",
            "2024-02-09T00:00:00Z",
        );
        check("@hourly", utc, from, "2024-01-31T11:00:00Z");
        check("@weekly", utc, from, "2024-02-04T00:00:00Z");
        check("@every 1h30m", utc, from, "2024-01-31T11:37:30Z");
        check("0 0 31 2 *", utc, from, "");
    }

    #[test]
    fn time_zones_and_their_leaps() {
        let berlin = "Europe/Berlin";
        check(
            "0 12 * * *",
            berlin,
            "2024-01-31T11:30:00Z",
            "2024-02-01T11:00:00Z",
        );
        // 02:30 is leapt over on the last day of March.
        check(
            "30 2 * * *",
            berlin,
            "2024-03-30T02:00:00Z",
            "2024-04-01T00:30:00Z",
        );
        let same = Schedule::parse("CRON_TZ=Europe/Berlin 0 12 * * *", None);
        assert_eq!(same, Schedule::parse("0 12 * * *", Some(berlin)));
    }

    #[test]
    fn odd_schedules() {
        for text in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 7",
            "5-1 * * * *",
            "*/0 * * * *",
            "a * * * *",
            "@sometimes",
            "@every",
            "@every 5",
            "@every x",
            "1- * * * *",
            ", * * * *",
            "TZ=UTC",
            "-1 * * * *",
        ] {
            assert_eq!(Schedule::parse(text, None), None, "{text}");
        }
        assert_eq!(Schedule::parse("* * * * *", Some("Nowhere/City")), None);
        assert_eq!(Schedule::parse("TZ=UTC * * * * *", Some("UTC")), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9*/,?a-z@ -]{0,24}", after in -1_000_000_000_000i64..1_000_000_000_000) {
            if let Some(schedule) = Schedule::parse(&text, Some("UTC")) {
                prop_assert!(schedule.next(after).is_none_or(|next| next > after));
            }
        }
    }
}
