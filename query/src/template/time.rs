//! Times as Go's `time` formats and parses them: by a layout that is the time
//! `Mon Jan 2 15:04:05 MST 2006` written in the wanted way.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};

/// How `print` shows a time.
const PRINTED: &str = "2006-01-02 15:04:05.999999999 -0700 MST";

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
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

/// A time and where it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment(Zoned);

/// A part of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Year,
    YearShort,
    MonthName,
    MonthShort,
    Month2,
    Month,
    DayName,
    DayShort,
    DayPadded,
    Day2,
    Day,
    DayOfYear,
    Hour24,
    Hour12Padded,
    Hour12,
    Minute2,
    Minute,
    Second2,
    Second,
    Upper,
    Lower,
    Zone,
    /// `-0700` or, with `Z`, `Z` for UTC; with a colon; minutes.
    Offset {
        z: bool,
        colon: bool,
        minutes: bool,
    },
    /// Digits of a fraction; nines leave zeros at the end out.
    Fraction {
        digits: usize,
        trim: bool,
        sign: char,
    },
}

const fn offset(z: bool, colon: bool, minutes: bool) -> Part {
    Part::Offset { z, colon, minutes }
}

/// Longer ones before those that they begin with.
const PARTS: &[(&str, Part)] = &[
    ("2006", Part::Year),
    ("January", Part::MonthName),
    ("Jan", Part::MonthShort),
    ("Monday", Part::DayName),
    ("Mon", Part::DayShort),
    ("MST", Part::Zone),
    ("002", Part::DayOfYear),
    ("01", Part::Month2),
    ("02", Part::Day2),
    ("03", Part::Hour12Padded),
    ("04", Part::Minute2),
    ("05", Part::Second2),
    ("06", Part::YearShort),
    ("_2", Part::DayPadded),
    ("15", Part::Hour24),
    ("PM", Part::Upper),
    ("pm", Part::Lower),
    ("-07:00", offset(false, true, true)),
    ("-0700", offset(false, false, true)),
    ("-07", offset(false, false, false)),
    ("Z07:00", offset(true, true, true)),
    ("Z0700", offset(true, false, true)),
    ("Z07", offset(true, false, false)),
    ("1", Part::Month),
    ("2", Part::Day),
    ("3", Part::Hour12),
    ("4", Part::Minute),
    ("5", Part::Second),
];

/// The first part of a layout: the text before it, the part, and what follows.
fn next_part(layout: &str) -> Option<(&str, Part, &str)> {
    for (at, c) in layout.char_indices() {
        let rest = &layout[at..];
        if let Some((text, part)) = PARTS.iter().find(|(text, _)| rest.starts_with(text)) {
            // `_2006` is an underscore and a year.
            let year = *part == Part::DayPadded && rest.starts_with("_2006");
            // `Janet` is no month.
            let word = matches!(part, Part::MonthShort | Part::DayShort)
                && rest[text.len()..].starts_with(|c: char| c.is_ascii_lowercase());
            if !year && !word {
                return Some((&layout[..at], *part, &rest[text.len()..]));
            }
        }
        if matches!(c, '.' | ',') {
            let digits = &rest[1..];
            let digit = digits.chars().next().filter(|d| matches!(d, '0' | '9'));
            if let Some(digit) = digit {
                let count = digits.len() - digits.trim_start_matches(digit).len();
                let after = &digits[count..];
                if !after.starts_with(|c: char| c.is_ascii_digit()) {
                    let part = Part::Fraction {
                        digits: count,
                        trim: digit == '9',
                        sign: c,
                    };
                    return Some((&layout[..at], part, after));
                }
            }
        }
    }
    None
}

impl Moment {
    /// A time in UTC; times that a calendar does not have are its first or last one.
    pub fn new(nanos: i64) -> Self {
        let stamp = Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or(Timestamp::MAX);
        Self(stamp.to_zoned(TimeZone::UTC))
    }

    /// Nanoseconds since the epoch; `None` outside of what fits.
    pub fn nanos(&self) -> Option<i64> {
        i64::try_from(self.0.timestamp().as_nanosecond()).ok()
    }

    /// The same time elsewhere; an unknown zone is `None`.
    pub fn within(&self, zone: &str) -> Option<Self> {
        Some(Self(self.0.with_time_zone(zone_of(zone)?)))
    }

    /// As Go's `print` has it.
    pub(super) fn printed(&self) -> String {
        self.format(PRINTED)
    }

    /// The time in a layout.
    pub fn format(&self, layout: &str) -> String {
        let mut out = String::with_capacity(layout.len() + 8);
        let mut rest = layout;
        while let Some((before, part, after)) = next_part(rest) {
            out.push_str(before);
            self.part(part, &mut out);
            rest = after;
        }
        out.push_str(rest);
        out
    }

    fn part(&self, part: Part, out: &mut String) {
        let time = &self.0;
        let month = MONTHS[time.month() as usize - 1];
        let day = DAYS[time.weekday().to_monday_zero_offset() as usize];
        let hour = match time.hour() % 12 {
            0 => 12,
            hour => hour,
        };
        let half = if time.hour() < 12 { "AM" } else { "PM" };
        let text = match part {
            Part::Year => format!("{:04}", time.year()),
            Part::YearShort => format!("{:02}", time.year().rem_euclid(100)),
            Part::MonthName => month.to_owned(),
            Part::MonthShort => month[..3].to_owned(),
            Part::Month2 => format!("{:02}", time.month()),
            Part::Month => time.month().to_string(),
            Part::DayName => day.to_owned(),
            Part::DayShort => day[..3].to_owned(),
            Part::DayPadded => format!("{:2}", time.day()),
            Part::Day2 => format!("{:02}", time.day()),
            Part::Day => time.day().to_string(),
            Part::DayOfYear => format!("{:03}", time.day_of_year()),
            Part::Hour24 => format!("{:02}", time.hour()),
            Part::Hour12Padded => format!("{hour:02}"),
            Part::Hour12 => hour.to_string(),
            Part::Minute2 => format!("{:02}", time.minute()),
            Part::Minute => time.minute().to_string(),
            Part::Second2 => format!("{:02}", time.second()),
            Part::Second => time.second().to_string(),
            Part::Upper => half.to_owned(),
            Part::Lower => half.to_ascii_lowercase(),
            Part::Zone => time.strftime("%Z").to_string(),
            Part::Offset { z, colon, minutes } => offset_text(time.offset(), z, colon, minutes),
            Part::Fraction { digits, trim, sign } => {
                let nanos = format!("{:09}", time.subsec_nanosecond());
                let shown = &nanos[..digits.min(9)];
                let shown = if trim {
                    shown.trim_end_matches('0')
                } else {
                    shown
                };
                match shown {
                    "" => String::new(),
                    shown => format!("{sign}{shown}"),
                }
            }
        };
        out.push_str(&text);
    }

    /// Reads a time in a layout; one without a zone is in `zone`.
    pub fn parse(layout: &str, text: &str, zone: &str) -> Result<Self, String> {
        let fault = |at: &str, part: &str| {
            format!("parsing time {text:?} as {layout:?}: cannot parse {at:?} as {part:?}")
        };
        let zone = zone_of(zone).ok_or_else(|| format!("unknown time zone {zone}"))?;
        let mut read = Read::default();
        let (mut left, mut rest) = (layout, text);
        while let Some((before, part, after)) = next_part(left) {
            rest = rest
                .strip_prefix(before)
                .ok_or_else(|| fault(rest, before))?;
            let shown = &left[before.len()..left.len() - after.len()];
            rest = read.part(part, rest).ok_or_else(|| fault(rest, shown))?;
            left = after;
            // A fraction may follow seconds unasked.
            let fraction =
                rest.starts_with('.') && rest[1..].starts_with(|c: char| c.is_ascii_digit());
            let asked = matches!(next_part(left), Some(("", Part::Fraction { .. }, _)));
            if matches!(part, Part::Second | Part::Second2) && fraction && !asked {
                rest = read.fraction(rest).ok_or_else(|| fault(rest, "."))?;
            }
        }
        rest = rest.strip_prefix(left).ok_or_else(|| fault(rest, left))?;
        if !rest.is_empty() {
            return Err(format!("parsing time {text:?}: extra text: {rest:?}"));
        }
        let out = || format!("parsing time {text:?}: day out of range");
        read.moment(zone).ok_or_else(out)
    }
}

fn zone_of(name: &str) -> Option<TimeZone> {
    match name {
        "" | "UTC" => Some(TimeZone::UTC),
        // The server's own zone would make answers depend on where it runs.
        "Local" => Some(TimeZone::UTC),
        name => TimeZone::get(name).ok(),
    }
}

fn offset_text(offset: Offset, z: bool, colon: bool, minutes: bool) -> String {
    let seconds = offset.seconds();
    if z && seconds == 0 {
        return "Z".to_owned();
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    let (hour, minute) = (seconds.abs() / 3600, seconds.abs() / 60 % 60);
    match (minutes, colon) {
        (true, true) => format!("{sign}{hour:02}:{minute:02}"),
        (true, false) => format!("{sign}{hour:02}{minute:02}"),
        (false, _) => format!("{sign}{hour:02}"),
    }
}

/// What was read of a time so far.
#[derive(Debug, Default)]
struct Read {
    year: i16,
    month: Option<i8>,
    day: Option<i8>,
    day_of_year: Option<i16>,
    hour: i8,
    minute: i8,
    second: i8,
    nanos: i32,
    afternoon: Option<bool>,
    offset: Option<i32>,
}

impl Read {
    fn part<'t>(&mut self, part: Part, text: &'t str) -> Option<&'t str> {
        match part {
            Part::Year => put(number(text, 4, 4)?, &mut self.year),
            Part::YearShort => {
                let (year, rest) = number::<i16>(text, 2, 2)?;
                self.year = if year < 69 { 2000 + year } else { 1900 + year };
                Some(rest)
            }
            Part::MonthName | Part::MonthShort => {
                let short = part == Part::MonthShort;
                let (at, rest) = named(text, &MONTHS, short)?;
                self.month = i8::try_from(at + 1).ok();
                Some(rest)
            }
            Part::DayName => named(text, &DAYS, false).map(|(_, rest)| rest),
            Part::DayShort => named(text, &DAYS, true).map(|(_, rest)| rest),
            Part::Month2 => put_some(number(text, 2, 2)?, &mut self.month),
            Part::Month => put_some(number(text, 1, 2)?, &mut self.month),
            Part::Day2 => put_some(number(text, 2, 2)?, &mut self.day),
            Part::Day => put_some(number(text, 1, 2)?, &mut self.day),
            Part::DayPadded => put_some(number(text.trim_start_matches(' '), 1, 2)?, &mut self.day),
            Part::DayOfYear => put_some(number(text, 3, 3)?, &mut self.day_of_year),
            Part::Hour24 | Part::Hour12Padded => put(number(text, 2, 2)?, &mut self.hour),
            Part::Hour12 => put(number(text, 1, 2)?, &mut self.hour),
            Part::Minute2 => put(number(text, 2, 2)?, &mut self.minute),
            Part::Minute => put(number(text, 1, 2)?, &mut self.minute),
            Part::Second2 => put(number(text, 2, 2)?, &mut self.second),
            Part::Second => put(number(text, 1, 2)?, &mut self.second),
            Part::Upper | Part::Lower => {
                let (half, rest) = text.split_at_checked(2)?;
                let (morning, afternoon) = match part {
                    Part::Upper => ("AM", "PM"),
                    _ => ("am", "pm"),
                };
                self.afternoon = Some(half == afternoon);
                (half == morning || half == afternoon).then_some(rest)
            }
            Part::Zone => self.zone(text),
            Part::Offset { z, colon, minutes } => self.offset(text, z, colon, minutes),
            Part::Fraction { trim, .. } => match self.fraction(text) {
                None if trim => Some(text),
                rest => rest,
            },
        }
    }

    fn fraction<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        let digits = text.strip_prefix(['.', ','])?;
        let length = digits
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(digits.len());
        if length == 0 || length > 9 {
            return None;
        }
        self.nanos = format!("{:0<9}", &digits[..length]).parse().ok()?;
        Some(&digits[length..])
    }

    /// Abbreviations other than UTC are taken as they are and mean UTC, as in Go.
    fn zone<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        let length = text
            .find(|c: char| !c.is_ascii_uppercase())
            .unwrap_or(text.len());
        self.offset = self.offset.or(Some(0));
        (3..=5).contains(&length).then(|| &text[length..])
    }

    fn offset<'t>(
        &mut self,
        text: &'t str,
        z: bool,
        colon: bool,
        minutes: bool,
    ) -> Option<&'t str> {
        if z && text.starts_with('Z') {
            self.offset = Some(0);
            return Some(&text[1..]);
        }
        let sign = match text.as_bytes().first()? {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        let (hours, mut rest) = number::<i32>(&text[1..], 2, 2)?;
        let mut offset = hours * 3600;
        if minutes {
            if colon {
                rest = rest.strip_prefix(':')?;
            }
            let (minutes, after) = number::<i32>(rest, 2, 2)?;
            offset += minutes * 60;
            rest = after;
        }
        self.offset = Some(sign * offset);
        Some(rest)
    }

    fn moment(self, zone: TimeZone) -> Option<Moment> {
        let hour = match self.afternoon {
            Some(true) if self.hour < 12 => self.hour + 12,
            Some(false) if self.hour == 12 => 0,
            _ => self.hour,
        };
        let date = match self.day_of_year {
            Some(day) if self.month.is_none() => {
                let first = Date::new(self.year, 1, 1).ok()?;
                first.with().day_of_year(day).build().ok()?
            }
            _ => Date::new(self.year, self.month.unwrap_or(1), self.day.unwrap_or(1)).ok()?,
        };
        let time = Time::new(hour, self.minute, self.second, self.nanos).ok()?;
        let local = DateTime::from_parts(date, time);
        let zone = match self.offset {
            Some(0) => TimeZone::UTC,
            Some(seconds) => TimeZone::fixed(Offset::from_seconds(seconds).ok()?),
            None => zone,
        };
        Some(Moment(local.to_zoned(zone).ok()?))
    }
}

fn put<'t, T>((value, rest): (T, &'t str), into: &mut T) -> Option<&'t str> {
    *into = value;
    Some(rest)
}

fn put_some<'t, T>((value, rest): (T, &'t str), into: &mut Option<T>) -> Option<&'t str> {
    *into = Some(value);
    Some(rest)
}

/// A number of so many digits and what follows it.
fn number<T: std::str::FromStr>(text: &str, least: usize, most: usize) -> Option<(T, &str)> {
    let digits = text
        .bytes()
        .take(most)
        .take_while(u8::is_ascii_digit)
        .count();
    if digits < least {
        return None;
    }
    Some((text[..digits].parse().ok()?, &text[digits..]))
}

/// Which of the names a text begins with.
fn named<'t>(text: &'t str, names: &[&str], short: bool) -> Option<(usize, &'t str)> {
    names.iter().enumerate().find_map(|(at, name)| {
        let name = if short { &name[..3] } else { name };
        let (head, rest) = text.split_at_checked(name.len())?;
        head.eq_ignore_ascii_case(name).then_some((at, rest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_format() {
        // 2026-03-05 14:07:09.120300400 UTC, a Thursday.
        let time = Moment::new(1_772_719_629_120_300_400);
        let check =
            |layout: &str, expect: &str| assert_eq!(time.format(layout), expect, "{layout}");
        check("2006-01-02T15:04:05Z07:00", "2026-03-05T14:07:09Z");
        check(
            "2006-01-02T15:04:05.999999999-0700",
            "2026-03-05T14:07:09.1203004+0000",
        );
        check("2006-01-02 15:04:05.000", "2026-03-05 14:07:09.120");
        check(
            "Mon, 02 Jan 2006 15:04:05 MST",
            "Thu, 05 Mar 2026 14:07:09 UTC",
        );
        check(
            "Monday January _2 3:4:5 PM pm 06 002",
            "Thursday March  5 2:7:9 PM pm 26 064",
        );
        check("1/2 05.99,000", "3/5 09.12,120");
        check("Janet Month", "Janet Month");
        assert_eq!(time.printed(), "2026-03-05 14:07:09.1203004 +0000 UTC");
        let there = time.within("Asia/Kolkata").unwrap();
        assert_eq!(
            there.format("15:04 -07:00 -0700 -07"),
            "19:37 +05:30 +0530 +05"
        );
        assert_eq!(there.nanos(), time.nanos());
        assert!(time.within("Nowhere/Town").is_none());
    }

    #[test]
    fn layouts_parse() {
        let check = |layout: &str, text: &str, zone: &str, expect: &str| {
            let read = Moment::parse(layout, text, zone);
            let shown = read.map_or_else(
                |error| error,
                |read| read.format("2006-01-02T15:04:05.999Z07:00"),
            );
            assert_eq!(shown, expect, "{layout} {text}");
        };
        check("2006-01-02", "2026-03-05", "UTC", "2026-03-05T00:00:00Z");
        check(
            "2006-01-02 15:04",
            "2026-03-05 01:02",
            "Europe/Berlin",
            "2026-03-05T01:02:00+01:00",
        );
        check(
            "Jan _2 2006 3:04PM -0700",
            "mar  5 2026 2:04PM +0530",
            "",
            "2026-03-05T14:04:00+05:30",
        );
        check(
            "2006-01-02T15:04:05Z07:00",
            "2026-03-05T01:02:03.25Z",
            "",
            "2026-03-05T01:02:03.25Z",
        );
        check("06-002", "69-001", "", "1969-01-01T00:00:00Z");
        check(
            "2006-01-02",
            "2026-02-30",
            "",
            "parsing time \"2026-02-30\": day out of range",
        );
        check(
            "2006-01-02",
            "x",
            "",
            "parsing time \"x\" as \"2006-01-02\": cannot parse \"x\" as \"2006\"",
        );
        check(
            "2006",
            "2026 more",
            "",
            "parsing time \"2026 more\": extra text: \" more\"",
        );
        check(
            "2006",
            "2026",
            "Nowhere/Town",
            "unknown time zone Nowhere/Town",
        );
    }

    proptest::proptest! {
        #[test]
        fn any_time_comes_back(nanos in proptest::prelude::any::<i64>()) {
            let layout = "2006-01-02T15:04:05.999999999Z07:00";
            let time = Moment::new(nanos);
            proptest::prop_assert_eq!(time.nanos(), Some(nanos));
            let read = Moment::parse(layout, &time.format(layout), "").unwrap();
            proptest::prop_assert_eq!(read.nanos(), Some(nanos));
        }

        #[test]
        fn no_layout_panics(layout in ".{0,30}", text in ".{0,30}", nanos in proptest::prelude::any::<i64>()) {
            let _shown = Moment::new(nanos).format(&layout);
            let _read = Moment::parse(&layout, &text, "");
        }
    }
}
