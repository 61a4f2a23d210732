//! Times in lines of logs, by a layout as Go writes it: the time `Mon Jan 2 15:04:05 MST 2006` in
//! the wanted way.
//!
//! Invariant: a text is a time only where all of it is of the layout.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use obs_model::Timestamp;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
/// A time so far ahead of now is one of the year before: lines have no year.
const AHEAD_NANOS: i64 = 24 * 3600 * 1_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Year,
    YearShort,
    /// Whether its name is whole.
    MonthName(bool),
    DayName(bool),
    /// Digits of the number; 0 for one or two.
    Month(usize),
    Day(usize),
    /// A day with a blank in front.
    DayPadded,
    Hour24,
    Hour12(usize),
    Minute(usize),
    Second(usize),
    Noon,
    ZoneName,
    /// Whether `Z` stands for UTC, whether there is a colon.
    Offset(bool, bool),
}

/// Longer ones before those that they begin with.
const PARTS: [(&str, Part); 25] = [
    ("2006", Part::Year),
    ("January", Part::MonthName(true)),
    ("Jan", Part::MonthName(false)),
    ("Monday", Part::DayName(true)),
    ("Mon", Part::DayName(false)),
    ("MST", Part::ZoneName),
    ("Z07:00", Part::Offset(true, true)),
    ("Z0700", Part::Offset(true, false)),
    ("-07:00", Part::Offset(false, true)),
    ("-0700", Part::Offset(false, false)),
    ("01", Part::Month(2)),
    ("02", Part::Day(2)),
    ("03", Part::Hour12(2)),
    ("04", Part::Minute(2)),
    ("05", Part::Second(2)),
    ("06", Part::YearShort),
    ("_2", Part::DayPadded),
    ("15", Part::Hour24),
    ("PM", Part::Noon),
    ("pm", Part::Noon),
    ("1", Part::Month(0)),
    ("2", Part::Day(0)),
    ("3", Part::Hour12(0)),
    ("4", Part::Minute(0)),
    ("5", Part::Second(0)),
];

#[derive(Debug)]
struct Found {
    year: Option<i16>,
    month: i8,
    day: i8,
    hour: i8,
    minute: i8,
    second: i8,
    nanos: i32,
    afternoon: Option<bool>,
    offset: Option<Offset>,
}

/// The time that a text says; times without a zone are of `zone`, those without a year are the
/// last ones before `now`.
pub(super) fn parse(
    layout: &str,
    text: &str,
    zone: &TimeZone,
    now: Timestamp,
) -> Option<Timestamp> {
    let mut found = Found {
        year: None,
        month: 1,
        day: 1,
        hour: 0,
        minute: 0,
        second: 0,
        nanos: 0,
        afternoon: None,
        offset: None,
    };
    found.read(layout, text)?;
    let this_year = jiff::Timestamp::from_nanosecond(now.nanos().into()).ok()?;
    let this_year = this_year.to_zoned(zone.clone()).year();
    let Some(year) = found.year else {
        let time = found.time(this_year, zone);
        let late = time.is_none_or(|time| time.nanos() > now.nanos().saturating_add(AHEAD_NANOS));
        return if late {
            found.time(this_year - 1, zone)
        } else {
            time
        };
    };
    found.time(year, zone)
}

impl Found {
    fn time(&self, year: i16, zone: &TimeZone) -> Option<Timestamp> {
        let hour = match self.afternoon {
            None => self.hour,
            Some(afternoon) => self.hour % 12 + if afternoon { 12 } else { 0 },
        };
        let date = Date::new(year, self.month, self.day).ok()?;
        let time = Time::new(hour, self.minute, self.second, self.nanos).ok()?;
        let zone = self.offset.map_or(zone.clone(), TimeZone::fixed);
        let time = DateTime::from_parts(date, time).to_zoned(zone).ok()?;
        let nanos = i64::try_from(time.timestamp().as_nanosecond()).ok()?;
        Some(Timestamp::from_nanos(nanos))
    }

    fn read(&mut self, mut layout: &str, mut text: &str) -> Option<()> {
        while !layout.is_empty() {
            let part = PARTS.iter().find(|(name, _)| layout.starts_with(name));
            let Some((name, part)) = part else {
                let (c, rest) = first(layout)?;
                // Blanks of a layout stand for any number of them.
                if c == ' ' {
                    layout = layout.trim_start_matches(' ');
                    let trimmed = text.trim_start_matches(' ');
                    if trimmed.len() == text.len() && !trimmed.is_empty() {
                        return None;
                    }
                    // A padded day has its own blank.
                    text = trimmed;
                    continue;
                }
                (text, layout) = (text.strip_prefix(c)?, rest);
                continue;
            };
            layout = &layout[name.len()..];
            text = self.part(*part, text)?;
            if matches!(part, Part::Second(_)) {
                (layout, text) = self.fraction(layout, text)?;
            }
        }
        text.is_empty().then_some(())
    }

    /// Takes a part from the text; what is left of it.
    fn part<'a>(&mut self, part: Part, text: &'a str) -> Option<&'a str> {
        let (value, rest) = match part {
            Part::MonthName(whole) => {
                let (number, rest) = name(&MONTHS, whole, text)?;
                (number + 1, rest)
            }
            Part::DayName(whole) => return name(&DAYS, whole, text).map(|(_, rest)| rest),
            Part::Year => number(text, 4, 4)?,
            Part::YearShort | Part::Hour24 => number(text, 2, 2)?,
            Part::Month(n) | Part::Day(n) | Part::Hour12(n) | Part::Minute(n) | Part::Second(n) => {
                number(text, n.max(1), 2)?
            }
            Part::DayPadded => number(text.trim_start_matches(' '), 1, 2)?,
            Part::Noon => {
                let (noon, rest) = text.split_at_checked(2)?;
                self.afternoon = Some(match noon.to_ascii_uppercase().as_str() {
                    "AM" => false,
                    "PM" => true,
                    _ => return None,
                });
                return Some(rest);
            }
            Part::ZoneName => {
                let end = text.find(|c: char| !c.is_ascii_uppercase());
                let (zone, rest) = text.split_at(end.unwrap_or(text.len()));
                if matches!(zone, "UTC" | "GMT") {
                    self.offset = Some(Offset::UTC);
                }
                return (!zone.is_empty()).then_some(rest);
            }
            Part::Offset(z, colon) => return self.zone(z, colon, text),
        };
        let small = i8::try_from(value).ok();
        match part {
            Part::Year => self.year = i16::try_from(value).ok(),
            Part::YearShort => {
                let century = if value >= 69 { 1900 } else { 2000 };
                self.year = i16::try_from(century + value).ok();
            }
            Part::MonthName(_) | Part::Month(_) => self.month = small?,
            Part::Day(_) | Part::DayPadded => self.day = small?,
            Part::Hour24 | Part::Hour12(_) => self.hour = small?,
            Part::Minute(_) => self.minute = small?,
            Part::Second(_) => self.second = small?,
            Part::DayName(_) | Part::Noon | Part::ZoneName | Part::Offset(..) => {}
        }
        Some(rest)
    }

    fn zone<'a>(&mut self, z: bool, colon: bool, text: &'a str) -> Option<&'a str> {
        if let Some(rest) = text.strip_prefix('Z').filter(|_| z) {
            self.offset = Some(Offset::UTC);
            return Some(rest);
        }
        let sign = match text.bytes().next()? {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        let (hours, rest) = number(&text[1..], 2, 2)?;
        let rest = if colon { rest.strip_prefix(':')? } else { rest };
        let (minutes, rest) = number(rest, 2, 2)?;
        let seconds = i32::try_from(sign * (hours * 3600 + minutes * 60)).ok()?;
        self.offset = Some(Offset::from_seconds(seconds).ok()?);
        Some(rest)
    }

    /// A fraction behind the seconds, which a text may have without its layout.
    fn fraction<'a, 'b>(&mut self, layout: &'a str, text: &'b str) -> Option<(&'a str, &'b str)> {
        let is_wanted = |rest: &str| rest.starts_with(['0', '9']);
        let wanted = layout
            .strip_prefix(['.', ','])
            .filter(|rest| is_wanted(rest));
        let layout = match wanted {
            Some(rest) => rest.trim_start_matches(['0', '9']),
            None => layout,
        };
        let Some(rest) = text.strip_prefix(['.', ',']) else {
            return Some((layout, text));
        };
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return Some((layout, text));
        }
        let (fraction, rest) = rest.split_at(digits);
        let nanos = format!("{:0<9}", &fraction[..digits.min(9)]);
        self.nanos = nanos.parse().ok()?;
        Some((layout, rest))
    }
}

fn first(text: &str) -> Option<(char, &str)> {
    let c = text.chars().next()?;
    Some((c, &text[c.len_utf8()..]))
}

/// A number of so many digits.
fn number(text: &str, least: usize, most: usize) -> Option<(i64, &str)> {
    let digits = text.bytes().take(most).take_while(u8::is_ascii_digit);
    let digits = digits.count();
    if digits < least {
        return None;
    }
    let (number, rest) = text.split_at(digits);
    Some((number.parse().ok()?, rest))
}

/// Which of some names a text begins with.
fn name<'a>(names: &[&str], whole: bool, text: &'a str) -> Option<(i64, &'a str)> {
    names.iter().enumerate().find_map(|(number, name)| {
        let length = if whole { name.len() } else { 3 };
        let (found, rest) = text.split_at_checked(length)?;
        let is_it = found.eq_ignore_ascii_case(&name[..length]);
        is_it.then_some((i64::try_from(number).ok()?, rest))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-02-03T04:05:06Z
    const NOW: Timestamp = Timestamp::from_nanos(1_770_091_506_000_000_000);

    #[test]
    fn layouts_of_logs() {
        let check = |layout: &str, text: &str, expect: Option<&str>| {
            let found = parse(layout, text, &TimeZone::UTC, NOW).map(|time| time.to_string());
            assert_eq!(found.as_deref(), expect, "{layout}: {text}");
        };
        let syslog = "Jan _2 15:04:05";
        check(syslog, "Feb  3 01:02:03", Some("2026-02-03T01:02:03Z"));
        check(syslog, "Jan 13 01:02:03", Some("2026-01-13T01:02:03Z"));
        // Of the year before.
        check(syslog, "Dec 31 23:59:59", Some("2025-12-31T23:59:59Z"));
        check(syslog, "Foo 31 23:59:59", None);
        check(syslog, "Dec 32 23:59:59", None);
        check(syslog, "Dec 31 23:59:59 x", None);
        let rfc = "2006-01-02T15:04:05.999999999-07:00";
        check(
            rfc,
            "2024-05-06T07:08:09.123456789+02:00",
            Some("2024-05-06T05:08:09.123456789Z"),
        );
        check(
            rfc,
            "2024-05-06T07:08:09-01:30",
            Some("2024-05-06T08:38:09Z"),
        );
        check(
            "2006-01-02T15:04:05.999999-07:00",
            "2024-05-06T07:08:09.5+00:00",
            Some("2024-05-06T07:08:09.500Z"),
        );
        check(
            "2006-01-02 15:04:05Z07:00",
            "2024-05-06 07:08:09Z",
            Some("2024-05-06T07:08:09Z"),
        );
        check(
            "Mon Jan 2 3:04:05PM MST 2006",
            "Mon May 6 7:08:09pm UTC 2024",
            Some("2024-05-06T19:08:09Z"),
        );
        check(
            "time=\"2006-01-02T15:04:05",
            "time=\"2024-05-06T07:08:09",
            Some("2024-05-06T07:08:09Z"),
        );
        check("2006/01/02", "2024/02/30", None);
        check("15:04", "é", None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn any_text_and_layout(layout in "(Jan|_2|15|04|05|2006|-0700|PM|\\PC){0,12}", text in "\\PC{0,30}") {
            drop(parse(&layout, &text, &TimeZone::UTC, NOW));
        }
    }
}
