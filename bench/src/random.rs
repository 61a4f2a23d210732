//! Seeded numbers (SplitMix64): the same seed gives the same bytes on every machine.

/// A stream of numbers that depends on its seed alone.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The stream that belongs to one `part` of what a seed describes.
    pub(crate) fn of(seed: u64, part: u64) -> Self {
        let mut mixed = Self(seed ^ part.wrapping_mul(0xd6e8_feb8_6659_fd93));
        Self(mixed.next())
    }

    /// Any number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly in `0..1`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Evenly in `0..n`; 0 for n = 0.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// Evenly in `low..high`.
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + self.unit() * (high - low)
    }

    /// True with a probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// About normal with mean 0 and deviation 1 (four even numbers summed).
    pub(crate) fn normal(&mut self) -> f64 {
        let sum: f64 = (0..4).map(|_| self.unit()).sum();
        (sum - 2.0) * 3.0_f64.sqrt()
    }

    /// A number around `middle` with the long tail of sizes and latencies.
    pub(crate) fn skewed(&mut self, middle: f64) -> f64 {
        middle * (self.normal() * 0.8).exp()
    }

    /// An index below `n`, small ones more often: the shape of popularity.
    pub(crate) fn popular(&mut self, n: usize) -> usize {
        let u = self.unit();
        ((u * u * n as f64) as usize).min(n.saturating_sub(1))
    }

    /// An index below `n` by Zipf's law with exponent 1: the first ones take most.
    pub(crate) fn zipf(&mut self, n: usize) -> usize {
        let ranks = (n as f64 + 1.0).powf(self.unit());
        (ranks as usize).saturating_sub(1).min(n.saturating_sub(1))
    }

    /// One of the choices, the first ones more often.
    pub(crate) fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.popular(choices.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_fixes_the_numbers_and_bounds_hold() {
        let numbers = |seed| {
            let mut random = Random::of(seed, 7);
            (0..4).map(|_| random.next()).collect::<Vec<_>>()
        };
        assert_eq!(numbers(1), numbers(1));
        assert_ne!(numbers(1), numbers(2));
        let mut random = Random::new(3);
        for _ in 0..10_000 {
            assert!(random.below(10) < 10);
            assert!(random.popular(5) < 5);
            assert!(random.zipf(5) < 5);
            assert!((0.0..1.0).contains(&random.unit()));
            assert!(random.normal().abs() < 3.5);
        }
        assert_eq!((random.below(0), random.zipf(0)), (0, 0));
    }
}
