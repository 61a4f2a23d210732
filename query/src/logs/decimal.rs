//! Decimal arithmetic for `addf`, `subf`, `mulf` and `divf` of templates: `0.1 + 0.2` is `0.3`.
//!
//! Invariant: what does not fit 127 bits of digits is computed in floating point, never wrong by
//! more than that.

/// Digits behind the point of a quotient.
const QUOTIENT_PLACES: u32 = 16;

/// `mantissa × 10^exponent`
#[derive(Clone, Copy, Debug)]
struct Decimal {
    mantissa: i128,
    exponent: i32,
}

/// What is done with two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Add,
    Sub,
    Mul,
    Div,
}

/// Two finite numbers; `None` where the second is zero and divides.
pub(super) fn apply(operation: Operation, a: f64, b: f64) -> Option<f64> {
    if operation == Operation::Div && b == 0.0 {
        return None;
    }
    let exact = Decimal::new(a)
        .zip(Decimal::new(b))
        .and_then(|(a, b)| a.apply(operation, b))
        .and_then(Decimal::to_float);
    Some(exact.unwrap_or(match operation {
        Operation::Add => a + b,
        Operation::Sub => a - b,
        Operation::Mul => a * b,
        Operation::Div => a / b,
    }))
}

impl Decimal {
    /// The shortest digits that give the number again.
    fn new(number: f64) -> Option<Self> {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e')?;
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let places = i32::try_from(fraction.len()).ok()?;
        Some(Self {
            mantissa: format!("{whole}{fraction}").parse().ok()?,
            exponent: exponent.parse::<i32>().ok()?.checked_sub(places)?,
        })
    }

    fn apply(self, operation: Operation, other: Self) -> Option<Self> {
        match operation {
            Operation::Mul => Some(Self {
                mantissa: self.mantissa.checked_mul(other.mantissa)?,
                exponent: self.exponent.checked_add(other.exponent)?,
            }),
            Operation::Div => self.divided(other),
            Operation::Add | Operation::Sub => {
                let exponent = self.exponent.min(other.exponent);
                let (a, b) = (self.scaled(exponent)?, other.scaled(exponent)?);
                let mantissa = match operation {
                    Operation::Sub => a.checked_sub(b)?,
                    _ => a.checked_add(b)?,
                };
                Some(Self { mantissa, exponent })
            }
        }
    }

    /// The mantissa at an exponent that is not above its own.
    fn scaled(self, exponent: i32) -> Option<i128> {
        let places = u32::try_from(self.exponent.checked_sub(exponent)?).ok()?;
        self.mantissa.checked_mul(10i128.checked_pow(places)?)
    }

    /// Rounded to the nearest, halves away from zero.
    fn divided(self, other: Self) -> Option<Self> {
        let exponent = -QUOTIENT_PLACES.cast_signed();
        // a × 10^x / (b × 10^y) = (a × 10^(x - y + 16) / b) × 10^-16
        let shift = self.exponent - other.exponent - exponent;
        let (mut a, mut b) = (self.mantissa, other.mantissa);
        let power = 10i128.checked_pow(shift.unsigned_abs())?;
        match shift >= 0 {
            true => a = a.checked_mul(power)?,
            false => b = b.checked_mul(power)?,
        }
        let (quotient, rest) = (a.checked_div(b)?, a.checked_rem(b)?);
        let up = rest.unsigned_abs() >= b.unsigned_abs().div_ceil(2);
        let away = if (a < 0) == (b < 0) { 1 } else { -1 };
        Some(Self {
            mantissa: quotient + if up { away } else { 0 },
            exponent,
        })
    }

    fn to_float(self) -> Option<f64> {
        format!("{}e{}", self.mantissa, self.exponent).parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn digits_are_those_of_people() {
        use Operation::{Add, Div, Mul, Sub};
        let check = |operation, a, b, expect: Option<f64>| {
            assert_eq!(apply(operation, a, b), expect, "{operation:?} {a} {b}");
        };
        check(Add, 0.1, 0.2, Some(0.3));
        check(Sub, 1.1, 1.0, Some(0.1));
        check(Mul, 1.1, 1.1, Some(1.21));
        check(Mul, 0.0, -3.0, Some(0.0));
        check(Div, 10.0, 4.0, Some(2.5));
        check(Div, 2.0, 3.0, Some(0.666_666_666_666_666_7));
        check(Div, -2.0, 3.0, Some(-0.666_666_666_666_666_7));
        check(Div, 1.0, 0.0, None);
        check(Add, 1e300, 1e-300, Some(1e300));
        check(Mul, 1e200, 1e200, Some(f64::INFINITY));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn near_to_floats(a in -1e9..1e9f64, b in -1e9..1e9f64) {
            for (operation, float) in [
                (Operation::Add, a + b),
                (Operation::Sub, a - b),
                (Operation::Mul, a * b),
            ] {
                let got = apply(operation, a, b).expect("nothing divides");
                prop_assert!((got - float).abs() <= float.abs() * 1e-9 + 1e-6);
            }
        }

        #[test]
        fn any_numbers(a in any::<f64>(), b in any::<f64>()) {
            for operation in [Operation::Add, Operation::Sub, Operation::Mul, Operation::Div] {
                prop_assert_eq!(
                    apply(operation, a, b).is_none(),
                    operation == Operation::Div && b == 0.0
                );
            }
        }
    }
}
