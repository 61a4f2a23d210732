//! Numbers as Go's strconv reads and prints them, which is what Prometheus and Loki speak.
//!
//! Invariant: what is printed reads back to the same float (NaN to the normal NaN).

use std::io::Write;

use obs_model::time::NANOS_PER_SECOND;
use obs_model::{Timestamp, time::NANOS_PER_MILLI};

/// The NaN that is not the stale marker; as Prometheus' `NormalNaN`.
const NORMAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// Whole floats below this print as integers without loss (2^53).
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// Appends a float as the exposition formats print it: shortest, with an exponent below 1e-4 and
/// from 1e6 on (strconv `'g', -1`).
pub(crate) fn general(out: &mut Vec<u8>, value: f64) {
    let size = value.abs();
    if special(out, value) {
        return;
    }
    // The shortest digits decide about the exponent, and 999999.9999… has six digits before the
    // point exactly when it is below 1e6; so comparing the value is the same.
    if size == 0.0 || (1e-4..1e6).contains(&size) {
        plain(out, value);
    } else {
        exponent(out, value);
    }
}

/// Appends a float without exponent (strconv `'f', -1`), as Loki's API prints values.
pub(crate) fn fixed(out: &mut Vec<u8>, value: f64) {
    if !special(out, value) {
        plain(out, value);
    }
}

/// Appends a float as Prometheus' API prints values: without exponent between 1e-6 and 1e21.
pub(crate) fn api(out: &mut Vec<u8>, value: f64) {
    if special(out, value) {
        return;
    }
    let size = value.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        plain(out, value);
    } else {
        exponent(out, value);
    }
}

/// Appends a point in time as seconds with three decimals where there are any.
pub(crate) fn seconds(out: &mut Vec<u8>, time: Timestamp) {
    let millis = time.millis();
    if millis < 0 {
        out.push(b'-');
    }
    let size = millis.unsigned_abs();
    let written = if size.is_multiple_of(1000) {
        write!(out, "{}", size / 1000)
    } else {
        write!(out, "{}.{:03}", size / 1000, size % 1000)
    };
    written.expect("writing to a vector does not fail");
}

/// Reads a float as Prometheus does: Go's syntax without hexadecimals and underscores.
pub(crate) fn parse(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    Some(if value.is_nan() {
        f64::from_bits(NORMAL_NAN_BITS)
    } else {
        value
    })
}

/// Reads the float that bytes begin with, up to a blank, a line break or their end, exactly as
/// [`parse`] does; gives its length, too.
pub(crate) fn leading(bytes: &[u8]) -> Option<(f64, usize)> {
    if let Some(found) = leading_decimal(bytes) {
        return Some(found);
    }
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n');
    let length = bytes.iter().position(blank).unwrap_or(bytes.len());
    let text = std::str::from_utf8(&bytes[..length]).ok()?;
    Some((parse(text)?, length))
}

/// Powers of ten that a float holds exactly.
const TENS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];
/// Digits that surely fit 64 bits.
const DIGITS_MAX: usize = 19;

/// Appends the digits at `at` to a number; gives where they end.
fn digits(bytes: &[u8], mut at: usize, number: &mut u64) -> usize {
    while let Some(digit) = bytes
        .get(at)
        .map(|b| b.wrapping_sub(b'0'))
        .filter(|d| *d < 10)
    {
        *number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    at
}

/// A decimal whose digits and whose power of ten floats hold exactly: then one rounding, that of
/// the product or the quotient, makes the nearest float.
fn leading_decimal(bytes: &[u8]) -> Option<(f64, usize)> {
    let negative = bytes.first() == Some(&b'-');
    let from = usize::from(negative);
    let mut number = 0;
    let mut at = digits(bytes, from, &mut number);
    let (mut count, mut scale) = (at - from, 0);
    if bytes.get(at) == Some(&b'.') {
        let end = digits(bytes, at + 1, &mut number);
        scale = -((end - at - 1) as i64);
        count += end - at - 1;
        at = end;
    }
    if count == 0 || count > DIGITS_MAX || number as f64 > INTEGER_MAX {
        return None;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = bytes.get(at + 1);
        let from = at + 1 + usize::from(matches!(sign, Some(b'-' | b'+')));
        let mut exponent = 0;
        at = digits(bytes, from, &mut exponent);
        // More digits than these cannot be of a power of ten that is exact.
        if !(1..=3).contains(&(at - from)) {
            return None;
        }
        let exponent = exponent as i64;
        scale += if sign == Some(&b'-') {
            -exponent
        } else {
            exponent
        };
    }
    if !matches!(bytes.get(at), None | Some(b' ' | b'\t' | b'\n')) {
        return None;
    }
    let power = *TENS.get(usize::try_from(scale.unsigned_abs()).ok()?)?;
    let number = number as f64;
    let value = if scale < 0 {
        number / power
    } else {
        number * power
    };
    Some((if negative { -value } else { value }, at))
}

/// Milliseconds since the epoch to a point in time; `None` outside the years 1677 to 2262.
pub(crate) fn time_from_millis(millis: i64) -> Option<Timestamp> {
    millis
        .checked_mul(NANOS_PER_MILLI)
        .map(Timestamp::from_nanos)
}

/// Reads seconds since the epoch with decimals, exact to the nanosecond when there is no
/// exponent.
pub(crate) fn time_from_seconds(text: &str) -> Option<Timestamp> {
    decimal_seconds(text).or_else(|| Timestamp::from_seconds_f64(text.parse().ok()?))
}

fn decimal_seconds(text: &str) -> Option<Timestamp> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let unsigned = whole.strip_prefix('-').unwrap_or(whole);
    if unsigned.is_empty() || !digits(unsigned) || !digits(decimals) || decimals.len() > 9 {
        return None;
    }
    let seconds: i64 = unsigned.parse().ok()?;
    let mut nanos = decimals
        .bytes()
        .fold(0, |n, b| n * 10 + i64::from(b - b'0'));
    nanos *= 10i64.pow(9 - decimals.len() as u32);
    let size = seconds.checked_mul(NANOS_PER_SECOND)?.checked_add(nanos)?;
    let sign = if whole.starts_with('-') { -1 } else { 1 };
    Some(Timestamp::from_nanos(size * sign))
}

fn special(out: &mut Vec<u8>, value: f64) -> bool {
    let word: &[u8] = if value.is_nan() {
        b"NaN"
    } else if value == f64::INFINITY {
        b"+Inf"
    } else if value == f64::NEG_INFINITY {
        b"-Inf"
    } else {
        return false;
    };
    out.extend_from_slice(word);
    true
}

fn plain(out: &mut Vec<u8>, value: f64) {
    let whole = value.fract() == 0.0 && value.abs() < INTEGER_MAX;
    let written = if whole && !(value == 0.0 && value.is_sign_negative()) {
        write!(out, "{}", value as i64)
    } else {
        write!(out, "{value}")
    };
    written.expect("writing to a vector does not fail");
}

/// Go writes the sign of the exponent and at least two digits of it; Rust neither.
fn exponent(out: &mut Vec<u8>, value: f64) {
    let start = out.len();
    write!(out, "{value:e}").expect("writing to a vector does not fail");
    let mark = out[start..]
        .iter()
        .rposition(|b| *b == b'e')
        .map_or(out.len(), |at| start + at + 1);
    let mut digits = mark;
    if out.get(mark) == Some(&b'-') {
        digits += 1;
    } else {
        out.insert(mark, b'+');
        digits += 1;
    }
    if out.len() - digits == 1 {
        out.insert(digits, b'0');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn print(write: fn(&mut Vec<u8>, f64), value: f64) -> String {
        let mut out = Vec::new();
        write(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    fn check(value: f64, expect_general: &str, expect_fixed: &str, expect_api: &str) {
        assert_eq!(print(general, value), expect_general);
        assert_eq!(print(fixed, value), expect_fixed);
        assert_eq!(print(api, value), expect_api);
    }

    #[test]
    fn prints_like_go() {
        check(0.0, "0", "0", "0");
        check(-0.0, "-0", "-0", "-0");
        check(1.0, "1", "1", "1");
        check(999_999.0, "999999", "999999", "999999");
        check(1e6, "1e+06", "1000000", "1000000");
        check(-1_234_567.0, "-1.234567e+06", "-1234567", "-1234567");
        check(0.1, "0.1", "0.1", "0.1");
        check(0.0001, "0.0001", "0.0001", "0.0001");
        check(0.00005, "5e-05", "0.00005", "0.00005");
        check(1e-7, "1e-07", "0.0000001", "1e-07");
        check(1e21, "1e+21", "1000000000000000000000", "1e+21");
        check(1.5e300, "1.5e+300", &print(fixed, 1.5e300), "1.5e+300");
        check(f64::NAN, "NaN", "NaN", "NaN");
        check(f64::INFINITY, "+Inf", "+Inf", "+Inf");
        check(f64::NEG_INFINITY, "-Inf", "-Inf", "-Inf");
    }

    #[test]
    fn reads_like_prometheus() {
        for (text, expect) in [
            ("1", Some(1.0)),
            ("+1.5e3", Some(1500.0)),
            (".5", Some(0.5)),
            ("Inf", Some(f64::INFINITY)),
            ("+Inf", Some(f64::INFINITY)),
            ("-inf", Some(f64::NEG_INFINITY)),
            ("0x1p3", None),
            ("1_000", None),
            ("", None),
            ("1,5", None),
            ("1e", None),
        ] {
            assert_eq!(parse(text), expect, "{text}");
        }
        assert_eq!(parse("nan").map(f64::to_bits), Some(NORMAL_NAN_BITS));
    }

    #[test]
    fn times() {
        for (text, expect) in [
            ("1520879607.789", Some(1_520_879_607_789_000_000)),
            ("-1.5", Some(-1_500_000_000)),
            ("-0.5", Some(-500_000_000)),
            ("1e3", Some(1_000_000_000_000)),
            ("1.", Some(1_000_000_000)),
            ("1e300", None),
            ("NaN", None),
            ("x", None),
        ] {
            assert_eq!(
                time_from_seconds(text).map(Timestamp::nanos),
                expect,
                "{text}"
            );
        }
        assert_eq!(time_from_millis(i64::MAX), None);
        for (millis, expect) in [
            (0, "0"),
            (1500, "1.500"),
            (-1, "-0.001"),
            (12_000, "12"),
            (7, "0.007"),
        ] {
            let mut out = Vec::new();
            seconds(&mut out, Timestamp::from_millis(millis));
            assert_eq!(String::from_utf8(out).unwrap(), expect);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn the_fast_way_reads_as_the_slow_one(
            text in prop_oneof![
                "[-+]?[0-9]{0,20}([.][0-9]{0,12})?([eE][-+]?[0-9]{0,4})?",
                "[-+.eE0-9infNa]{0,8}",
                any::<u64>().prop_map(|bits| format!("{:e}", f64::from_bits(bits))),
                any::<f64>().prop_map(|value| value.to_string()),
                any::<i64>().prop_map(|value| value.to_string()),
            ],
            after in prop_oneof![Just(""), Just(" 1"), Just("\n"), Just("\tx")],
        ) {
            let found = leading(format!("{text}{after}").as_bytes());
            let expect = parse(&text).map(|value| (value.to_bits(), text.len()));
            prop_assert_eq!(found.map(|(value, length)| (value.to_bits(), length)), expect);
        }

        #[test]
        fn printed_floats_read_back(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            for write in [general, fixed, api] {
                let read = parse(&print(write, value)).unwrap();
                prop_assert!(read == value || (read.is_nan() && value.is_nan()));
            }
        }
    }
}
