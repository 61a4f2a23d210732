//! Durations as Prometheus and Loki write them: `1h30m`, `15s`, `250ms`, `1d`.

use crate::time::{NANOS_PER_DAY, NANOS_PER_MILLI, NANOS_PER_SECOND};

/// Units from long to short with their length in nanoseconds; a month is not a unit.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * NANOS_PER_DAY),
    ("w", 7 * NANOS_PER_DAY),
    ("d", NANOS_PER_DAY),
    ("h", 3600 * NANOS_PER_SECOND),
    ("m", 60 * NANOS_PER_SECOND),
    ("s", NANOS_PER_SECOND),
    ("ms", NANOS_PER_MILLI),
];

/// Nanoseconds of a duration such as `1h30m`: whole numbers, each unit at most once, from long to
/// short; `0` needs no unit. `None` when the text is not of that form or does not fit.
pub fn parse(text: &str) -> Option<i64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut total = 0i64;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        let at = next_unit
            + UNITS[next_unit..]
                .iter()
                .position(|(name, _)| *name == unit)?;
        let nanos = number.parse::<i64>().ok()?.checked_mul(UNITS[at].1)?;
        total = total.checked_add(nanos)?;
        next_unit = at + 1;
        rest = tail;
    }
    (next_unit > 0).then_some(total)
}

/// The shortest text that [`parse`] reads back, cut to milliseconds; negative ones with a sign.
pub fn format(nanos: i64) -> String {
    let mut text = String::new();
    if nanos < 0 {
        text.push('-');
    }
    let mut rest = nanos.unsigned_abs() / NANOS_PER_MILLI.unsigned_abs();
    if rest == 0 {
        return "0s".to_owned();
    }
    for (name, length) in UNITS {
        let length = length.unsigned_abs() / NANOS_PER_MILLI.unsigned_abs();
        // As Prometheus: years, weeks and days only where they leave nothing over.
        let whole_only = length >= 86_400_000;
        if rest >= length && (!whole_only || rest.is_multiple_of(length)) {
            text.push_str(&format!("{}{name}", rest / length));
            rest %= length;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<i64>) {
        assert_eq!(parse(text), expect, "{text}");
        if let Some(nanos) = expect {
            assert_eq!(parse(&format(nanos)).unwrap_or(0), nanos, "{text}");
        }
    }

    #[test]
    fn forms() {
        check("0", Some(0));
        check("15s", Some(15 * NANOS_PER_SECOND));
        check("1h30m", Some(5400 * NANOS_PER_SECOND));
        check("1d", Some(NANOS_PER_DAY));
        check("1m250ms", Some(60_250 * NANOS_PER_MILLI));
        check("1w1d", Some(8 * NANOS_PER_DAY));
        check("", None);
        check("5", None);
        check("1.5h", None);
        check("1m1h", None);
        check("1s1s", None);
        check("-5m", None);
        check("300y", None);
        assert_eq!(format(36 * 3600 * NANOS_PER_SECOND), "36h");
        assert_eq!(format(-90 * NANOS_PER_SECOND), "-1m30s");
    }
}
