//! Quantities as the API writes numbers.

/// Cores as whole nanocores: `123456789n`.
pub(super) fn cores(cores: f64) -> String {
    let nanos = (cores * 1e9).round();
    match nanos.is_finite() && nanos >= 1.0 {
        true => format!("{nanos:.0}n"),
        false => "0".to_owned(),
    }
}

/// Bytes as whole kibibytes: `65536Ki`.
pub(super) fn bytes(bytes: f64) -> String {
    let kibi = (bytes / 1024.0).round();
    match kibi.is_finite() && kibi >= 1.0 {
        true => format!("{kibi:.0}Ki"),
        false => "0".to_owned(),
    }
}

/// Any number: whole ones as they are, others in thousandths. Nothing where there is no such
/// quantity.
pub(super) fn number(value: f64) -> Option<String> {
    let millis = (value * 1e3).round();
    // Beyond this a quantity does not fit 64 bits of thousandths.
    if !millis.is_finite() || millis.abs() >= 9.0e18 {
        return None;
    }
    let whole = millis / 1e3;
    Some(match whole.fract() == 0.0 {
        true => format!("{whole:.0}"),
        false => format!("{millis:.0}m"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_quantities() {
        for (value, expect) in [
            (0.0, "0"),
            (0.5, "500m"),
            (10.0, "10"),
            (1.0005, "1001m"),
            (-0.25, "-250m"),
            (2_000_000.0, "2000000"),
        ] {
            assert_eq!(number(value).as_deref(), Some(expect), "{value}");
        }
        for value in [f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(number(value), None);
        }
        assert_eq!(cores(0.123_456_789), "123456789n");
        assert_eq!(cores(0.0), "0");
        assert_eq!(bytes(67_108_864.0), "65536Ki");
        assert_eq!(bytes(f64::NAN), "0");
    }
}
