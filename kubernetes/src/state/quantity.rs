//! Kubernetes quantities (`250m`, `1.5Gi`, `1e3`) as numbers.
//!
//! Invariant: whole and thousandth values are rounded away from zero, as the API's own library does,
//! so that `100n` of a core is 0.001 and never nothing.
//! Format: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>

/// Largest whole number whose thousandths still fit 64 bits; beyond it only whole numbers count.
const MILLI_MAX: i128 = (i64::MAX / 1000) as i128;
/// Digits that are read; more cannot matter for 64 bits.
const DIGITS_MAX: usize = 30;

/// A quantity: `digits × 10^ten × 2^two`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quantity {
    digits: i128,
    ten: i32,
    two: u32,
}

impl Quantity {
    /// Reads a quantity; nothing where it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return None;
        }
        let mut digits: i128 = 0;
        let (mut read, mut ten) = (0, 0i32);
        for (at, digit) in whole.bytes().chain(fraction.bytes()).enumerate() {
            let after_point = at >= whole.len();
            let digit = i128::from(digit - b'0');
            if read >= DIGITS_MAX {
                // What is cut off still rounds up.
                digits |= i128::from(digit != 0 && after_point);
                ten += i32::from(!after_point);
                continue;
            }
            digits = digits * 10 + digit;
            read += usize::from(digits != 0);
            ten -= i32::from(after_point);
        }
        let (scale, two) = suffix_scale(suffix)?;
        Some(Self {
            digits: if negative { -digits } else { digits },
            ten: ten.checked_add(scale)?,
            two,
        })
    }

    /// The number times `10^-scale`, rounded away from zero; nothing where it does not fit.
    fn scaled(self, scale: i32) -> Option<i128> {
        let ten = self.ten - scale;
        let number = self.digits.checked_mul(1i128.checked_shl(self.two)?)?;
        let power = 10i128.checked_pow(ten.unsigned_abs());
        if number == 0 {
            return Some(0);
        }
        if ten >= 0 {
            return number.checked_mul(power?);
        }
        let Some(power) = power else {
            return Some(number.signum());
        };
        let rest = number % power != 0;
        Some(number / power + if rest { number.signum() } else { 0 })
    }

    /// As a sample: in thousandths where these fit, else in whole numbers.
    pub(super) fn value(self) -> f64 {
        match self.scaled(0) {
            Some(whole) if whole > MILLI_MAX => whole as f64,
            Some(_) => self
                .scaled(-3)
                .map_or(self.approximate(), |milli| milli as f64 / 1000.0),
            None => self.approximate(),
        }
    }

    /// Rounded up to a whole number.
    pub(super) fn whole(self) -> f64 {
        self.scaled(0)
            .map_or(self.approximate(), |whole| whole as f64)
    }

    /// Not rounded, but for what a float is.
    pub(super) fn approximate(self) -> f64 {
        let digits = self.digits as f64 * f64::from(self.two).exp2();
        if self.ten < 0 {
            digits / 10f64.powi(-self.ten)
        } else {
            digits * 10f64.powi(self.ten)
        }
    }
}

/// The power of ten and of two of a suffix.
fn suffix_scale(suffix: &str) -> Option<(i32, u32)> {
    Some(match suffix {
        "" => (0, 0),
        "n" => (-9, 0),
        "u" => (-6, 0),
        "m" => (-3, 0),
        "k" => (3, 0),
        "M" => (6, 0),
        "G" => (9, 0),
        "T" => (12, 0),
        "P" => (15, 0),
        "E" => (18, 0),
        "Ki" => (0, 10),
        "Mi" => (0, 20),
        "Gi" => (0, 30),
        "Ti" => (0, 40),
        "Pi" => (0, 50),
        "Ei" => (0, 60),
        other => {
            let exponent = other.strip_prefix(['e', 'E'])?;
            let exponent: i32 = exponent.parse().ok()?;
            ((-64..=64).contains(&exponent).then_some(exponent)?, 0)
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, value: f64, whole: f64) {
        let quantity = Quantity::parse(text).expect("a quantity");
        assert_eq!(
            (quantity.value(), quantity.whole()),
            (value, whole),
            "{text}"
        );
    }

    #[test]
    fn quantities() {
        check("0", 0.0, 0.0);
        check("1", 1.0, 1.0);
        check("250m", 0.25, 1.0);
        check("1.5", 1.5, 2.0);
        check(".5", 0.5, 1.0);
        check("5.", 5.0, 5.0);
        check("100n", 0.001, 1.0);
        check("1u", 0.001, 1.0);
        check("-1.5", -1.5, -2.0);
        check("+2k", 2000.0, 2000.0);
        check("1.5Gi", 1_610_612_736.0, 1_610_612_736.0);
        check("128974848", 128_974_848.0, 128_974_848.0);
        check("129e6", 129_000_000.0, 129_000_000.0);
        check("129M", 129_000_000.0, 129_000_000.0);
        check("123Mi", 128_974_848.0, 128_974_848.0);
        check("1E", 1e18, 1e18);
        check(
            "8Ei",
            9_223_372_036_854_775_808.0,
            9_223_372_036_854_775_808.0,
        );
        check("12e-3", 0.012, 1.0);
    }

    #[test]
    fn no_quantities() {
        for text in [
            "", ".", "-", "a", "1.2.3", "1 Gi", "1gi", "1e", "1e99999", "Mi", "1é",
        ] {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            if let Some(quantity) = Quantity::parse(&text) {
                prop_assert!(!quantity.value().is_nan());
            }
        }

        #[test]
        fn thousandths_are_exact(milli in 0i64..1_000_000_000_000) {
            let quantity = Quantity::parse(&format!("{milli}m")).unwrap();
            prop_assert_eq!(quantity.value(), milli as f64 / 1000.0);
            prop_assert!((quantity.approximate() - quantity.value()).abs() < 1e-3);
        }
    }
}
