//! Times in human words: `-1h`, `2 hours ago`, `yesterday 14:00`, `mon 9:30`, RFC 3339, seconds
//! since the epoch. Words mean the time zone of the machine (or TZ), unless they end with `utc`.

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use obs_model::Timestamp;
use obs_model::time::parse_rfc3339;

/// What is expected where a time cannot be read.
pub(crate) const EXPECTED: &str =
    "expected a time such as -1h, 'yesterday 14:00', 2026-11-21T10:00:00Z or 1795255200";

/// A point of time.
pub(crate) fn parse(text: &str, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let text = text.trim();
    if let Some(time) = epoch(text).or_else(|| parse_rfc3339(text)) {
        return Some(time);
    }
    let text = text.to_ascii_lowercase();
    relative(&text, now).or_else(|| civil(&text, now, zone))
}

/// Seconds since the epoch, possibly with a fraction; whole numbers with more digits are
/// milliseconds, microseconds or nanoseconds.
fn epoch(text: &str) -> Option<Timestamp> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.len() {
        12..=14 if digits => text.parse().ok().map(Timestamp::from_millis),
        15..=17 if digits => {
            let micros: i64 = text.parse().ok()?;
            Some(Timestamp::from_nanos(micros.checked_mul(1000)?))
        }
        18.. if digits => text.parse().ok().map(Timestamp::from_nanos),
        // `-1` is no hour, and `1e9` is a number.
        _ if text.starts_with(['-', '+']) => None,
        _ => text.parse().ok().and_then(Timestamp::from_seconds_f64),
    }
}

/// `now`, `-1h`, `now-1h`, `1h ago`, `2 hours ago`
fn relative(text: &str, now: Timestamp) -> Option<Timestamp> {
    let rest = text.strip_prefix("now").unwrap_or(text).trim();
    if rest.is_empty() {
        return (text == "now").then_some(now);
    }
    if let Some(length) = rest.strip_suffix("ago") {
        return Some(now.saturating_sub(duration(length)?));
    }
    if let Some(length) = rest.strip_prefix('-') {
        return Some(now.saturating_sub(duration(length)?));
    }
    let length = rest.strip_prefix('+')?;
    Some(now.saturating_add(duration(length)?))
}

/// Nanoseconds of `90m`, `1h30m`, `2 hours`, `1 day 3 hours`.
pub(crate) fn duration(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Some(nanos) = obs_model::duration::parse(text) {
        return Some(nanos);
    }
    let mut short = String::new();
    let mut number = false;
    for word in text.split_whitespace() {
        let unit = match word.trim_end_matches(',') {
            "and" if !short.is_empty() => continue,
            "ms" | "millisecond" | "milliseconds" => "ms",
            "s" | "sec" | "secs" | "second" | "seconds" => "s",
            "m" | "min" | "mins" | "minute" | "minutes" => "m",
            "h" | "hour" | "hours" => "h",
            "d" | "day" | "days" => "d",
            "w" | "week" | "weeks" => "w",
            count if count.bytes().all(|b| b.is_ascii_digit()) && !number => {
                short.push_str(count);
                number = true;
                continue;
            }
            _ => return None,
        };
        if !number {
            return None;
        }
        short.push_str(unit);
        number = false;
    }
    obs_model::duration::parse(&short).filter(|_| !number)
}

/// A day, a time of day, or both.
fn civil(text: &str, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let (text, zone) = match text.strip_suffix("utc").or_else(|| text.strip_suffix('z')) {
        Some(rest) => (rest.trim_end(), TimeZone::UTC),
        None => (text, zone.clone()),
    };
    let here = jiff::Timestamp::from_nanosecond(now.nanos().into()).ok()?;
    let today = here.to_zoned(zone.clone()).date();
    let (day, clock) = match text.split_once([' ', 't']) {
        // `today`, `tuesday` and `sat` have a t of their own.
        _ if day(text, today).is_some() => (text, ""),
        Some((day, clock)) if day.starts_with(|c: char| c.is_ascii_digit()) => (day, clock),
        _ => text
            .split_once(' ')
            .unwrap_or_else(|| match text.contains(':') {
                true => ("today", text),
                false => (text, ""),
            }),
    };
    let date = self::day(day.trim(), today)?;
    let clock = match clock.trim().trim_start_matches("at ") {
        "" => Time::midnight(),
        clock => time_of_day(clock)?,
    };
    let there = zone.to_ambiguous_zoned(DateTime::from_parts(date, clock));
    let nanos = there.compatible().ok()?.timestamp().as_nanosecond();
    i64::try_from(nanos).ok().map(Timestamp::from_nanos)
}

fn day(word: &str, today: Date) -> Option<Date> {
    let weekday = match word {
        "today" => return Some(today),
        "yesterday" => return today.yesterday().ok(),
        "tomorrow" => return today.tomorrow().ok(),
        "mon" | "monday" => Weekday::Monday,
        "tue" | "tuesday" => Weekday::Tuesday,
        "wed" | "wednesday" => Weekday::Wednesday,
        "thu" | "thursday" => Weekday::Thursday,
        "fri" | "friday" => Weekday::Friday,
        "sat" | "saturday" => Weekday::Saturday,
        "sun" | "sunday" => Weekday::Sunday,
        _ => {
            let numbers: Vec<&str> = word.split('-').collect();
            let [year, month, day] = numbers.as_slice() else {
                return None;
            };
            let (year, month, day) = (year.parse().ok()?, month.parse().ok()?, day.parse().ok()?);
            return Date::new(year, month, day).ok();
        }
    };
    // The last one that is over.
    today.nth_weekday(-1, weekday).ok()
}

/// `9:30`, `09:30:15`, `noon`, `midnight`
fn time_of_day(text: &str) -> Option<Time> {
    match text {
        "noon" => return Time::new(12, 0, 0, 0).ok(),
        "midnight" => return Some(Time::midnight()),
        _ => {}
    }
    let mut numbers = text.split(':').map(|n| n.parse::<i8>().ok());
    let (hour, minute) = (numbers.next()??, numbers.next()??);
    let second = numbers.next().unwrap_or(Some(0))?;
    if numbers.next().is_some() {
        return None;
    }
    Time::new(hour, minute, second, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_say_them() {
        // A Sunday; Berlin is an hour ahead.
        let now = parse_rfc3339("2026-11-22T08:30:00Z").unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let check = |text: &str, expect: Option<&str>| {
            let found = parse(text, now, &zone).map(|time| time.to_string());
            assert_eq!(found.as_deref(), expect, "{text}");
        };
        for (text, expect) in [
            ("now", "2026-11-22T08:30:00Z"),
            ("-1h", "2026-11-22T07:30:00Z"),
            ("now-90m", "2026-11-22T07:00:00Z"),
            ("now + 30m", "2026-11-22T09:00:00Z"),
            ("2 hours ago", "2026-11-22T06:30:00Z"),
            ("1h30m ago", "2026-11-22T07:00:00Z"),
            ("1 day and 2 hours ago", "2026-11-21T06:30:00Z"),
            ("yesterday 14:00", "2026-11-21T13:00:00Z"),
            ("Yesterday", "2026-11-20T23:00:00Z"),
            ("today", "2026-11-21T23:00:00Z"),
            ("9:15", "2026-11-22T08:15:00Z"),
            ("today noon", "2026-11-22T11:00:00Z"),
            ("tuesday 09:30", "2026-11-17T08:30:00Z"),
            ("sun 10:00:05", "2026-11-15T09:00:05Z"),
            ("2026-11-01", "2026-10-31T23:00:00Z"),
            ("2026-11-01 10:00", "2026-11-01T09:00:00Z"),
            ("2026-11-01t10:00", "2026-11-01T09:00:00Z"),
            ("2026-11-01 10:00 utc", "2026-11-01T10:00:00Z"),
            ("yesterday 14:00 UTC", "2026-11-21T14:00:00Z"),
            ("2026-11-01T10:00:00Z", "2026-11-01T10:00:00Z"),
            ("1795255200", "2026-11-21T10:00:00Z"),
            ("1795255200.5", "2026-11-21T10:00:00.500Z"),
            ("1795255200500", "2026-11-21T10:00:00.500Z"),
            ("1795255200500000000", "2026-11-21T10:00:00.500Z"),
        ] {
            check(text, Some(expect));
        }
        for text in [
            "",
            "-",
            "ago",
            "now-",
            "-1",
            "yesterday 25:00",
            "14",
            "2026-13-01",
            "soon",
            "1h",
            "hour ago",
            "2 3 hours ago",
            "2026-11-01 10:00:00:00",
        ] {
            // A number alone is seconds since the epoch.
            let expect = (text == "14").then_some("1970-01-01T00:00:14Z");
            check(text, expect);
        }
    }

    #[test]
    fn durations_in_words() {
        let minute = 60_000_000_000;
        for (text, expect) in [
            ("90m", Some(90 * minute)),
            ("2 hours", Some(120 * minute)),
            ("1 h 30 min", Some(90 * minute)),
            ("2", None),
            ("hours", None),
            ("2 moons", None),
        ] {
            assert_eq!(duration(text), expect, "{text}");
        }
    }
}
