//! What the next days will cost: a line through the days that were, with a band around it.
//!
//! Invariant: the band is that of the prediction of the sum, at 95 %, by Student's distribution; it
//! covers what scatters around the line and what is not known of the line, and nothing else.

/// Days below which no slope is believed: one week has all its weekdays once.
const DAYS_FOR_SLOPE: usize = 7;

/// What is expected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// Days that it was made of.
    pub days_seen: usize,
    /// Days that it is about.
    pub days: usize,
    /// Dollars of these days together.
    pub total: f64,
    /// Least and most dollars, 95 of 100 times; not known from a single day.
    pub band: Option<(f64, f64)>,
    /// How many dollars a day costs more than the one before.
    pub slope: f64,
}

/// Student's distribution at 97.5 %, by degrees of freedom from 1 on; from 31 on that of 30.
const STUDENT: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

/// What the next days will cost, from what whole days did cost, in order. `None` of none.
pub fn forecast(seen: &[f64], days: usize) -> Option<Forecast> {
    if seen.is_empty() || seen.iter().any(|day| !day.is_finite()) {
        return None;
    }
    let (n, h) = (seen.len() as f64, days as f64);
    let mean = seen.iter().sum::<f64>() / n;
    let middle = (n - 1.0) / 2.0;
    let by_day = || {
        seen.iter()
            .enumerate()
            .map(|(x, y)| (x as f64 - middle, *y))
    };
    let spread: f64 = by_day().map(|(x, _)| x * x).sum();
    let sloped = seen.len() >= DAYS_FOR_SLOPE;
    let slope = match sloped {
        true => by_day().map(|(x, y)| x * y).sum::<f64>() / spread,
        false => 0.0,
    };
    // The days to come, from the middle of those that were: their sum.
    let ahead: f64 = (0..days).map(|day| n + day as f64 - middle).sum();
    let total = mean * h + slope * ahead;
    let freedom = seen.len() - if sloped { 2 } else { 1 };
    let rest: f64 = by_day().map(|(x, y)| (y - mean - slope * x).powi(2)).sum();
    let band = (freedom > 0).then(|| {
        let scatter = rest / freedom as f64;
        let of_slope = if sloped { ahead * ahead / spread } else { 0.0 };
        let error = (scatter * (h + h * h / n + of_slope)).sqrt();
        let wide = STUDENT[freedom.min(STUDENT.len()) - 1] * error;
        ((total - wide).max(0.0), total + wide)
    });
    Some(Forecast {
        days_seen: seen.len(),
        days,
        total: total.max(0.0),
        band,
        slope,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_go_on() {
        let check = |seen: &[f64], days: usize, total: f64, band: Option<(f64, f64)>| {
            let found = forecast(seen, days).expect("days were seen");
            assert!((found.total - total).abs() < 1e-9, "{found:?}");
            match (found.band, band) {
                (Some(found), Some(expect)) => {
                    assert!((found.0 - expect.0).abs() < 1e-2, "{found:?}");
                    assert!((found.1 - expect.1).abs() < 1e-2, "{found:?}");
                }
                (found, expect) => assert_eq!(found, expect),
            }
        };
        check(&[5.0], 2, 10.0, None);
        check(&[4.0, 4.0, 4.0], 2, 8.0, Some((8.0, 8.0)));
        // Three days scatter by 1: 4.303 × √(2 + 4/3).
        check(&[3.0, 4.0, 5.0], 2, 8.0, Some((8.0 - 7.856, 8.0 + 7.856)));
        let line: Vec<f64> = (0..10).map(f64::from).collect();
        check(&line, 3, 10.0 + 11.0 + 12.0, Some((33.0, 33.0)));
        assert_eq!(forecast(&[], 3), None);
        assert_eq!(forecast(&[f64::NAN], 3), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn the_band_is_around(seen in proptest::collection::vec(0.0..1e6f64, 2..60), days in 1..400usize) {
            let found = forecast(&seen, days).expect("days were seen");
            let (low, high) = found.band.expect("two days");
            prop_assert!(0.0 <= low && low <= found.total + 1e-6 && found.total <= high.max(0.0) + 1e-6);
        }
    }
}
