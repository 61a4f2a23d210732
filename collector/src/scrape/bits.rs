//! A set of small numbers, one bit each: which series of a target a scrape wrote.

/// The set.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// A set with room for numbers below a bound.
    pub(super) fn below(bound: usize) -> Self {
        Self(vec![0; bound.div_ceil(64)])
    }

    /// Adds a number; tells whether it is new.
    pub(super) fn insert(&mut self, number: u32) -> bool {
        let (word, bit) = (number as usize / 64, 1 << (number % 64));
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }

    /// Whether a number is in it.
    pub(super) fn contains(&self, number: u32) -> bool {
        let word = self.0.get(number as usize / 64);
        word.is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    /// Adds all numbers of another set.
    pub(super) fn add(&mut self, other: &Self) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }

    /// The numbers, ascending, that are not in another set.
    pub(super) fn without<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = u32> + 'a {
        self.0.iter().enumerate().flat_map(|(at, word)| {
            let mut left = word & !other.0.get(at).copied().unwrap_or(0);
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(at as u32 * 64 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets() {
        let mut some = Bits::below(70);
        for number in [0, 63, 64, 200] {
            assert!(some.insert(number) && !some.insert(number));
            assert!(some.contains(number) && !some.contains(number + 1));
        }
        let mut other = Bits::default();
        other.insert(63);
        other.insert(500);
        assert_eq!(some.without(&other).collect::<Vec<_>>(), [0, 64, 200]);
        other.add(&some);
        assert_eq!(other.without(&some).collect::<Vec<_>>(), [500]);
        assert_eq!(some.without(&other).count(), 0);
    }
}
