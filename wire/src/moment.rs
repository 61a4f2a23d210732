//! Times as senders of logs write them: RFC 3339 and its looser cousins, seconds, milliseconds,
//! microseconds or nanoseconds since 1970.
//!
//! Invariant: a text without a zone is UTC; the unit of a number is told by its size alone, so that
//! it never depends on what came before.

use obs_model::Timestamp;
use obs_model::time::parse_rfc3339;

use crate::number::time_from_seconds;

/// Longest text that may be a time.
const TEXT_BYTES_MAX: usize = 64;

/// Numbers below are seconds; the same in milliseconds, and so on: the year 5138 in seconds is the
/// year 1973 in milliseconds.
const SECONDS_MAX: i64 = 100_000_000_000;

/// Reads a time in any of the forms; nothing when it is none, or is the time zero.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let found = number(text).or_else(|| calendar(text));
    found.filter(|time| *time != Timestamp::default())
}

/// A number since 1970 in the unit that its size tells; with a fraction.
fn number(text: &str) -> Option<Timestamp> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, fraction),
        None => (text, ""),
    };
    let Ok(count) = whole.parse::<i64>() else {
        // 1.7e9 and the like.
        return text.contains(['e', 'E']).then(|| exponent(text)).flatten();
    };
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return exponent(text);
    }
    if count == 0 && fraction.bytes().all(|b| b == b'0') {
        return None;
    }
    let size = count.unsigned_abs();
    let bound = SECONDS_MAX.unsigned_abs();
    if size < bound {
        return time_from_seconds(text);
    }
    let (scale, decimals) = if size < bound * 1000 {
        (1_000_000, 6)
    } else if size < bound * 1_000_000 {
        (1000, 3)
    } else {
        (1, 0)
    };
    let mut part: i64 = 0;
    for at in 0..decimals {
        let digit = fraction.as_bytes().get(at).map_or(0, |b| b - b'0');
        part = part * 10 + i64::from(digit);
    }
    let part = if count < 0 { -part } else { part };
    let nanos = count.checked_mul(scale)?.checked_add(part)?;
    Some(Timestamp::from_nanos(nanos))
}

fn exponent(text: &str) -> Option<Timestamp> {
    let number: f64 = text
        .parse()
        .ok()
        .filter(|n: &f64| n.is_finite() && n.abs() >= 1.0)?;
    let bound = SECONDS_MAX as f64;
    let mut seconds = number;
    for _ in 0..3 {
        if seconds.abs() < bound {
            break;
        }
        seconds /= 1000.0;
    }
    Timestamp::from_seconds_f64(seconds)
}

/// RFC 3339, or ISO 8601 with a comma, without colons in the zone, without seconds, without a time.
fn calendar(text: &str) -> Option<Timestamp> {
    if let Some(time) = parse_rfc3339(text) {
        return Some(time);
    }
    if !text.is_ascii() || text.as_bytes().get(4) != Some(&b'-') {
        return None;
    }
    let (date, rest) = text.split_at_checked(10)?;
    if rest.is_empty() {
        return parse_rfc3339(&format!("{date}T00:00:00Z"));
    }
    let rest = rest.get(1..)?.trim_start();
    let clock_end = rest.find(|c: char| !c.is_ascii_digit() && !matches!(c, ':' | '.' | ','));
    let (clock, zone) = rest.split_at(clock_end.unwrap_or(rest.len()));
    let mut clock = clock.replace(',', ".");
    if clock.matches(':').count() == 1 {
        clock.push_str(":00");
    }
    let zone = zone.trim();
    let zone = match zone.as_bytes() {
        [] | b"UTC" | b"GMT" => "Z".to_owned(),
        [b'+' | b'-', rest @ ..] if rest.len() == 4 && rest.iter().all(u8::is_ascii_digit) => {
            format!("{}:{}", &zone[..3], &zone[3..])
        }
        [b'+' | b'-', rest @ ..] if rest.len() == 2 => format!("{zone}:00"),
        _ => zone.to_owned(),
    };
    parse_rfc3339(&format!("{date}T{clock}{zone}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forms() {
        let check = |text: &str, expect: Option<&str>| {
            let found = parse(text).map(|time| time.to_string());
            assert_eq!(found.as_deref(), expect, "{text}");
        };
        let whole = Some("2026-11-21T10:00:00Z");
        let milli = Some("2026-11-21T10:00:00.123Z");
        for text in [
            "2026-11-21T10:00:00Z",
            "2026-11-21 10:00:00",
            "2026-11-21T11:00:00+0100",
            "2026-11-21T11:00:00+01",
            "2026-11-21T10:00",
            "2026-11-21 10:00:00 UTC",
            "2026-11-21 10:00:00 +0000",
            "1795255200",
            "1795255200.0",
            "1.7952552e9",
            "1795255200000",
            "1795255200000000",
            "1795255200000000000",
        ] {
            check(text, whole);
        }
        for text in [
            "2026-11-21T10:00:00.123Z",
            "2026-11-21 10:00:00,123",
            "1795255200.123",
            "1795255200123",
            "1795255200123.0",
            "1795255200123000",
        ] {
            check(text, milli);
        }
        check("2026-11-21", Some("2026-11-21T00:00:00Z"));
        check("1795255200123.456", Some("2026-11-21T10:00:00.123456Z"));
        check(
            "1795255200.123456789",
            Some("2026-11-21T10:00:00.123456789Z"),
        );
        for text in [
            "",
            "0",
            "0.0",
            "soon",
            "10:00",
            "2026-13-01",
            "1e400",
            "-",
            "1795255200x",
        ] {
            check(text, None);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_text_is_read_without_panic(text in any::<String>(), number in "-?[0-9.eE+: TZ-]{0,40}") {
            prop_assert!(parse(&text).is_none_or(|t| t != Timestamp::default()));
            let _found = parse(&number);
        }

        #[test]
        fn units_agree(millis in 200_000_000_000i64..4_000_000_000_000) {
            let expect = Some(Timestamp::from_millis(millis));
            prop_assert_eq!(parse(&millis.to_string()), expect);
            prop_assert_eq!(parse(&format!("{}000", millis)), expect);
            prop_assert_eq!(parse(&format!("{}.{:03}", millis / 1000, millis % 1000)), expect);
        }
    }
}
