//! Windows of time as OpenCost's API names them.
//!
//! Invariant: as there, `7d` is today and the six days before it, in UTC, and `2h` is this hour and
//! the one before it; words are of UTC, weeks begin on Sunday.

use obs_model::time::{civil_from_days, days_from_civil, parse_rfc3339};

use crate::error::CostError;
use crate::span::Span;

const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
/// Nanoseconds of an hour.
pub const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const WEEK: i64 = 7 * DAY;

/// A window that was asked for at `now`.
pub fn parse_window(text: &str, now: i64) -> Result<Span, CostError> {
    let found = word(text, now)
        .or_else(|| length(text, now))
        .or_else(|| pair(text));
    let found = found.filter(|span| !span.is_empty());
    found.ok_or_else(|| CostError::Window(text.to_owned()))
}

/// The begin of the day of a time.
fn midnight(at: i64) -> i64 {
    at - at.rem_euclid(DAY)
}

/// The begin of the month of a time.
fn month(at: i64) -> i64 {
    let (year, month, _) = civil_from_days(at.div_euclid(DAY));
    days_from_civil(year, month, 1) * DAY
}

/// The begin of the week of a time: Sunday.
fn week(at: i64) -> i64 {
    // The first of January 1970 was a Thursday.
    let days = at.div_euclid(DAY);
    (days - (days + 4).rem_euclid(7)) * DAY
}

fn word(text: &str, now: i64) -> Option<Span> {
    let today = midnight(now);
    let (start, end) = match text {
        "today" => (today, today + DAY),
        "yesterday" => (today - DAY, today),
        "week" => (week(now), now),
        "lastweek" => (week(now) - WEEK, week(now)),
        "month" => (month(now), now),
        "lastmonth" => (month(month(now) - 1), month(now)),
        _ => return None,
    };
    Some(Span::new(start, end))
}

/// `7d`, or `7d offset 1d`.
fn length(text: &str, now: i64) -> Option<Span> {
    if let Some((length, offset)) = text.split_once(" offset ") {
        let ((length, _), (offset, _)) = (units(length)?, units(offset)?);
        let end = now.checked_sub(offset)?;
        return Some(Span::new(end.checked_sub(length)?, end));
    }
    let (length, unit) = units(text)?;
    let up = |at: i64, unit: i64| at.checked_add(unit).map(|next| next - at.rem_euclid(unit));
    let end = up(now, if unit == WEEK { DAY } else { unit })?;
    Some(Span::new(end.checked_sub(length)?, end))
}

/// A number and one of `m h d w`: the length and its unit.
fn units(text: &str) -> Option<(i64, i64)> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "m" => MINUTE,
        "h" => HOUR,
        "d" => DAY,
        "w" => WEEK,
        _ => return None,
    };
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let number: i64 = digits.then(|| number.parse().ok())??;
    Some((number.checked_mul(unit)?, unit))
}

/// Two times in RFC 3339 or in seconds.
fn pair(text: &str) -> Option<Span> {
    let seconds = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<i64>().ok()?.checked_mul(SECOND))?
    };
    let whole = |start: Option<i64>, end: Option<i64>| {
        let (start, end) = (start?, end?);
        (start < end).then(|| Span::new(start, end))
    };
    if let Some((start, end)) = text.split_once(',') {
        let (start, end) = (start.trim(), end.trim());
        let time = |text: &str| parse_rfc3339(text).map(|time| time.nanos());
        return whole(seconds(start), seconds(end)).or_else(|| whole(time(start), time(end)));
    }
    let (start, end) = text.split_once('-')?;
    whole(seconds(start), seconds(end))
}

/// A length such as `1d`, `24h` or `1h30m`, above 0.
pub fn parse_duration(text: &str) -> Option<i64> {
    obs_model::duration::parse(text).filter(|nanos| *nanos > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> i64 {
        parse_rfc3339(text).expect("a time").nanos()
    }

    #[test]
    fn forms_of_windows() {
        // A Wednesday.
        let now = at("2026-11-18T14:20:30Z");
        let check = |text: &str, start: &str, end: &str| {
            let found = parse_window(text, now);
            assert_eq!(found, Ok(Span::new(at(start), at(end))), "{text}");
        };
        let exact = "2026-11-18T14:20:30Z";
        check("today", "2026-11-18T00:00:00Z", "2026-11-19T00:00:00Z");
        check("yesterday", "2026-11-17T00:00:00Z", "2026-11-18T00:00:00Z");
        check("week", "2026-11-15T00:00:00Z", exact);
        check("lastweek", "2026-11-08T00:00:00Z", "2026-11-15T00:00:00Z");
        check("month", "2026-11-01T00:00:00Z", exact);
        check("lastmonth", "2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z");
        check("1d", "2026-11-18T00:00:00Z", "2026-11-19T00:00:00Z");
        check("7d", "2026-11-12T00:00:00Z", "2026-11-19T00:00:00Z");
        check("1w", "2026-11-12T00:00:00Z", "2026-11-19T00:00:00Z");
        check("24h", "2026-11-17T15:00:00Z", "2026-11-18T15:00:00Z");
        check("30m", "2026-11-18T13:51:00Z", "2026-11-18T14:21:00Z");
        check(
            "1h offset 20m",
            "2026-11-18T13:00:30Z",
            "2026-11-18T14:00:30Z",
        );
        let days = ("2020-04-01T00:00:00Z", "2020-04-03T00:00:00Z");
        check("2020-04-01T00:00:00Z,2020-04-03T00:00:00Z", days.0, days.1);
        check("1585699200,1585872000", days.0, days.1);
        check("1585699200-1585872000", days.0, days.1);
    }

    #[test]
    fn what_is_no_window() {
        for text in [
            "",
            "0d",
            "d",
            "7x",
            "-1d",
            "soon",
            "1,",
            "2-1",
            "1d offset",
            "99999999999999999999d",
            "2020-04-03T00:00:00Z,2020-04-01T00:00:00Z",
        ] {
            let found = parse_window(text, at("2026-11-18T14:20:30Z"));
            assert_eq!(found, Err(CostError::Window(text.to_owned())));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn any_text_is_a_window_or_an_error(text in "[0-9dhmwTZ:, -]{0,40}") {
            if let Ok(span) = parse_window(&text, 1_700_000_000 * SECOND) {
                prop_assert!(span.start < span.end);
            }
        }
    }
}
