//! Times of the week, month and year in which notifications are muted or sent.

use std::ops::RangeInclusive;

use jiff::tz::TimeZone;
use obs_model::Timestamp;

/// A set of times: all of its parts must hold, and of each part one range.
#[derive(Clone, Debug, Default)]
pub struct Interval {
    /// Minutes of the day, the last one left out.
    pub times: Option<Vec<(u16, u16)>>,
    /// 0 is Sunday.
    pub weekdays: Option<Vec<RangeInclusive<i16>>>,
    /// Days of the month; negative ones count from its end.
    pub days: Option<Vec<RangeBounds>>,
    /// 1 is January.
    pub months: Option<Vec<RangeInclusive<i16>>>,
    /// Years.
    pub years: Option<Vec<RangeInclusive<i16>>>,
    /// Where; UTC without it.
    pub zone: Option<TimeZone>,
}

/// First and last day of a range, where the last may be counted from the other end.
pub type RangeBounds = (i16, i16);

impl Interval {
    /// Whether a time is in it.
    pub fn contains(&self, time: Timestamp) -> bool {
        let nanos = i128::from(time.nanos());
        let Ok(instant) = jiff::Timestamp::from_nanosecond(nanos) else {
            return false;
        };
        let local = instant.to_zoned(self.zone.clone().unwrap_or(TimeZone::UTC));
        let minute = local.hour() as u16 * 60 + local.minute() as u16;
        let last = i16::from(local.days_in_month());
        let within = |ranges: &Option<Vec<RangeInclusive<i16>>>, value: i16| {
            ranges
                .as_ref()
                .is_none_or(|all| all.iter().any(|range| range.contains(&value)))
        };
        let day = |(first, end): &RangeBounds| {
            let from_end = |day: i16| if day < 0 { last + day + 1 } else { day };
            let first = from_end(*first);
            let end = from_end(*end).min(last);
            first <= last && (first..=end).contains(&i16::from(local.day()))
        };
        let time = |(start, end): &(u16, u16)| (*start..*end).contains(&minute);
        self.times.as_ref().is_none_or(|all| all.iter().any(time))
            && self.days.as_ref().is_none_or(|all| all.iter().any(day))
            && within(&self.months, i16::from(local.month()))
            && within(
                &self.weekdays,
                i16::from(local.weekday().to_sunday_zero_offset()),
            )
            && within(&self.years, local.year())
    }
}

const WEEKDAYS: [&str; 7] = [
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// Both ends of `a:b`, or of `a` alone.
fn ends(text: &str, member: impl Fn(&str) -> Result<i16, String>) -> Result<(i16, i16), String> {
    let text = text.to_lowercase();
    let mut parts = text.split(':');
    let first = member(parts.next().unwrap_or_default())?;
    let Some(second) = parts.next() else {
        return Ok((first, first));
    };
    if parts.next().is_some() {
        return Err(format!("couldn't parse range {text}, invalid format"));
    }
    Ok((first, member(second)?))
}

fn number(text: &str) -> Result<i16, String> {
    text.parse()
        .map_err(|_| format!("expected a whole number, found {text:?}"))
}

/// `monday:friday`
pub fn weekdays(text: &str) -> Result<RangeInclusive<i16>, String> {
    let (first, last) = ends(text, |word| {
        let found = WEEKDAYS.iter().position(|day| *day == word);
        found
            .map(|at| at as i16)
            .ok_or_else(|| format!("{word} is not a valid weekday"))
    })?;
    if first > last {
        return Err("start day cannot be before end day".to_owned());
    }
    Ok(first..=last)
}

/// `1:5` or `-3:-1`
pub fn days(text: &str) -> Result<RangeBounds, String> {
    let (first, last) = ends(text, number)?;
    for day in [first, last] {
        if day == 0 || !(-31..=31).contains(&day) {
            return Err(format!(
                "{day} is not a valid day of the month: out of range"
            ));
        }
    }
    if first < 0 && last > 0 {
        return Err("end day must be negative if start day is negative".to_owned());
    }
    let shortest = |day: i16| if day < 0 { 28 + day } else { day };
    if shortest(first) > shortest(last) {
        return Err(format!("end day {last} is always before start day {first}"));
    }
    Ok((first, last))
}

/// `january:march` or `1:3`
pub fn months(text: &str) -> Result<RangeInclusive<i16>, String> {
    let (first, last) = ends(text, |word| {
        let named = MONTHS.iter().position(|month| *month == word);
        let month = named.map_or_else(|| word.parse().ok(), |at| Some(at as i16 + 1));
        let valid = month.filter(|month| (1..=12).contains(month));
        valid.ok_or_else(|| format!("{word} is not a valid month"))
    })?;
    if first > last {
        let name = |month: i16| MONTHS[usize::from(month.unsigned_abs()) - 1];
        return Err(format!(
            "end month {} is before start month {}",
            name(last),
            name(first)
        ));
    }
    Ok(first..=last)
}

/// `2025:2027`
pub fn years(text: &str) -> Result<RangeInclusive<i16>, String> {
    let (first, last) = ends(text, number)?;
    if first > last {
        return Err(format!("end year {last} is before start year {first}"));
    }
    Ok(first..=last)
}

/// Minutes since midnight of `09:30`; `24:00` is the end of the day.
pub fn minute(text: &str) -> Result<u16, String> {
    let wrong = || format!("couldn't parse timestamp {text}, invalid format");
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(hour) || !digits(minute) {
        return Err(wrong());
    }
    let hour: u16 = hour.parse().map_err(|_| wrong())?;
    let minute: u16 = minute.parse().map_err(|_| wrong())?;
    let valid = (hour < 24 && minute < 60) || (hour, minute) == (24, 0);
    valid.then_some(hour * 60 + minute).ok_or_else(wrong)
}

/// A range of the day.
pub fn times(start: &str, end: &str) -> Result<(u16, u16), String> {
    if start.is_empty() || end.is_empty() {
        return Err("both start and end times must be provided".to_owned());
    }
    let (start, end) = (minute(start)?, minute(end)?);
    if start >= end {
        return Err("start time cannot be equal or greater than end time".to_owned());
    }
    Ok((start, end))
}

/// A time zone by its name.
pub fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| format!("unknown time zone {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        obs_model::time::parse_rfc3339(text).expect("a time")
    }

    #[test]
    fn intervals_hold_where_all_parts_hold() {
        let office = Interval {
            times: Some(vec![times("09:00", "17:00").expect("times")]),
            weekdays: Some(vec![weekdays("monday:friday").expect("weekdays")]),
            ..Interval::default()
        };
        // 2026-11-20 is a Friday.
        for (time, expect) in [
            ("2026-11-20T08:59:59Z", false),
            ("2026-11-20T09:00:00Z", true),
            ("2026-11-20T16:59:59Z", true),
            ("2026-11-20T17:00:00Z", false),
            ("2026-11-21T12:00:00Z", false),
        ] {
            assert_eq!(office.contains(at(time)), expect, "{time}");
        }
        let berlin = Interval {
            zone: Some(zone("Europe/Berlin").expect("zone")),
            ..office.clone()
        };
        assert!(berlin.contains(at("2026-11-20T08:00:00Z")));
        assert!(!berlin.contains(at("2026-11-20T16:00:00Z")));
        let whole_day = Interval {
            times: Some(vec![times("00:00", "24:00").expect("times")]),
            ..Interval::default()
        };
        assert!(whole_day.contains(at("2026-11-20T23:59:59Z")));
        assert!(Interval::default().contains(at("2026-11-20T00:00:00Z")));
    }

    #[test]
    fn days_count_from_both_ends() {
        let check = |text: &str, time: &str, expect: bool| {
            let interval = Interval {
                days: Some(vec![days(text).expect("days")]),
                ..Interval::default()
            };
            assert_eq!(interval.contains(at(time)), expect, "{text} {time}");
        };
        check("1:5", "2026-02-05T00:00:00Z", true);
        check("1:5", "2026-02-06T00:00:00Z", false);
        check("-3:-1", "2026-02-26T00:00:00Z", true);
        check("-3:-1", "2026-02-25T00:00:00Z", false);
        check("31", "2026-02-28T00:00:00Z", false);
        check("27:31", "2026-02-28T00:00:00Z", true);
        check("25:-1", "2026-02-28T00:00:00Z", true);
    }

    #[test]
    fn faults_are_told() {
        let faults = [
            weekdays("friday:monday").err(),
            weekdays("someday").err(),
            days("0").err(),
            days("-1:5").err(),
            days("20:10").err(),
            months("13").err(),
            months("may:april").err(),
            years("2027:2026").err(),
            minute("9:00").err().map(|_| "minute".to_owned()),
            minute("24:01").err().map(|_| "minute".to_owned()),
            times("10:00", "09:00").err(),
            times("", "09:00").err(),
            zone("Nowhere/City").err(),
        ];
        for (at, fault) in faults.iter().enumerate() {
            assert!(fault.is_some(), "{at}");
        }
        assert_eq!(months("January:3"), Ok(1..=3));
        assert_eq!(years("2026"), Ok(2026..=2026));
    }
}
