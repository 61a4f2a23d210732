//! Compensated sums, as Prometheus adds (Neumaier's variant of Kahan's).

/// A sum and what rounding lost of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kahan {
    /// The rounded sum.
    pub(crate) sum: f64,
    /// What to add to it.
    pub(crate) lost: f64,
}

impl Kahan {
    /// A sum of one value.
    pub(crate) fn new(sum: f64) -> Self {
        Self { sum, lost: 0.0 }
    }

    /// Adds a value.
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            self.lost = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.lost += (self.sum - total) + value;
        } else {
            self.lost += (value - total) + self.sum;
        }
        self.sum = total;
    }

    /// Adds another sum.
    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.add(other.sum);
        if !self.sum.is_infinite() {
            self.lost += other.lost;
        }
        self
    }

    /// The sum; infinite where it overflowed.
    pub(crate) fn value(self) -> f64 {
        if self.sum.is_infinite() {
            self.sum
        } else {
            self.sum + self.lost
        }
    }
}

/// The mean of values, also where their sum overflows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mean {
    /// Sum until it overflows, then the mean.
    state: Kahan,
    /// Number of values.
    pub(crate) count: f64,
    incremental: bool,
}

impl Mean {
    /// Adds a value.
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.state = Kahan::new(value);
            return;
        }
        if !self.incremental {
            let mut next = self.state;
            next.add(value);
            if !next.sum.is_infinite() {
                self.state = next;
                return;
            }
            self.incremental = true;
            self.state.sum /= self.count - 1.0;
            self.state.lost /= self.count - 1.0;
        }
        let share = (self.count - 1.0) / self.count;
        self.state.sum *= share;
        self.state.lost *= share;
        self.state.add(value / self.count);
    }

    /// The mean.
    pub(crate) fn value(self) -> f64 {
        if self.incremental {
            self.state.sum + self.state.lost
        } else {
            self.state.sum / self.count + self.state.lost / self.count
        }
    }
}

/// Mean and squared deviations, after Welford.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spread {
    count: f64,
    mean: Kahan,
    squares: Kahan,
}

impl Spread {
    /// Adds a value.
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        // What the sum lost counts: deviations may be smaller than the mean's last digit.
        let delta = value - self.mean.sum - self.mean.lost;
        self.mean.add(delta / self.count);
        self.squares
            .add(delta * (value - self.mean.sum - self.mean.lost));
    }

    /// Adds another's values (Chan, Golub and LeVeque 1979).
    pub(crate) fn merge(self, other: Self) -> Self {
        if self.count == 0.0 {
            return other;
        }
        if other.count == 0.0 {
            return self;
        }
        let count = self.count + other.count;
        let delta = (other.mean.sum - self.mean.sum) + (other.mean.lost - self.mean.lost);
        let mut mean = self.mean;
        mean.add(delta * (other.count / count));
        let mut squares = self.squares.merge(other.squares);
        squares.add(delta * delta * (self.count * other.count / count));
        Self {
            count,
            mean,
            squares,
        }
    }

    /// Population variance.
    pub(crate) fn variance(self) -> f64 {
        if !self.mean.sum.is_finite() {
            return f64::NAN;
        }
        (self.squares.sum + self.squares.lost) / self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_deviations_from_a_large_mean() {
        let spread = |range: std::ops::Range<i32>| {
            let mut spread = Spread::default();
            range.for_each(|k| spread.add(1e9 + f64::from(k) * 0.25));
            spread
        };
        let expect = 0.0625 * (100.0 * 100.0 - 1.0) / 12.0;
        for (what, got) in [
            ("added", spread(0..100)),
            ("merged", spread(0..37).merge(spread(37..100))),
        ] {
            let error = (got.variance() - expect).abs() / expect;
            assert!(error < 1e-12, "{what}: off by {error}");
        }
    }
}
