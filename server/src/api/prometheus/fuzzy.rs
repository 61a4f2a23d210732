//! How well a name meets what a user typed: the two ways of Prometheus' search.
//!
//! Invariant: scores lie between 0 (no match) and 1; comparing a name costs at most a fixed number
//! of walks over it.

/// Begins of a name at which a term is tried; names of people and programs have fewer.
const BEGINS_MAX: usize = 256;

/// The way to compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// All characters of the term in order, the fewer gaps the better.
    #[default]
    Subsequence,
    /// Part of the name, or similar by the measure of Jaro and Winkler.
    JaroWinkler,
}

/// What names are compared with.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    terms: Vec<Vec<char>>,
    algorithm: Algorithm,
    /// The least score, from 0 to 1.
    threshold: f64,
    case_sensitive: bool,
}

impl Terms {
    /// Terms of which one must be met.
    pub(super) fn new<'a>(
        terms: impl IntoIterator<Item = &'a str>,
        algorithm: Algorithm,
        threshold: f64,
        case_sensitive: bool,
    ) -> Self {
        let folded = |term: &str| fold(term, case_sensitive);
        Self {
            terms: terms.into_iter().map(folded).collect(),
            algorithm,
            threshold,
            case_sensitive,
        }
    }

    /// Whether there is nothing to compare with.
    pub(super) fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The best score of all terms; `None` where the name meets none. Without terms all names do.
    pub(super) fn score(&self, name: &str) -> Option<f64> {
        if self.terms.is_empty() {
            return Some(1.0);
        }
        let name = fold(name, self.case_sensitive);
        let scores = self
            .terms
            .iter()
            .filter_map(|term| self.of_term(term, &name));
        scores.reduce(f64::max)
    }

    fn of_term(&self, term: &[char], name: &[char]) -> Option<f64> {
        if name.starts_with(term) {
            return Some(1.0);
        }
        let score = match self.algorithm {
            Algorithm::Subsequence => subsequence(term, name)?,
            Algorithm::JaroWinkler => {
                if name.windows(term.len()).any(|part| part == term) {
                    return Some(0.9);
                }
                if self.threshold == 0.0 {
                    return None;
                }
                jaro_winkler(term, name)
            }
        };
        (score > 0.0 && score >= self.threshold).then_some(score)
    }
}

fn fold(text: &str, case_sensitive: bool) -> Vec<char> {
    if case_sensitive {
        text.chars().collect()
    } else {
        text.to_lowercase().chars().collect()
    }
}

/// Squares of the lengths of runs, less the share of the name that lies in gaps before and between
/// them and half of what is left behind; relative to a single run. The best begin counts.
fn subsequence(term: &[char], name: &[char]) -> Option<f64> {
    let first = *term.first()?;
    let starts = (0..name.len()).filter(|at| name[*at] == first);
    let best = starts
        .take(BEGINS_MAX)
        .map_while(|start| from(start, term, name))
        .reduce(f64::max)?;
    let whole = (term.len() * term.len()) as f64;
    Some((best / whole).max(0.0))
}

fn from(start: usize, term: &[char], name: &[char]) -> Option<f64> {
    let share = 1.0 / name.len() as f64;
    let mut score = 0.0;
    let (mut wanted, mut at, mut behind) = (0, start, 0);
    while wanted < term.len() {
        at += name[at..].iter().position(|c| *c == term[wanted])?;
        score -= (at - behind) as f64 * share;
        let run = name[at..].iter().zip(&term[wanted..]);
        let run = run.take_while(|(a, b)| a == b).count();
        score += (run * run) as f64;
        at += run;
        wanted += run;
        behind = at;
    }
    Some(score - (name.len() - behind) as f64 * share * 0.5)
}

/// How many first characters Winkler's bonus looks at, and what each adds.
const PREFIX_MAX: usize = 4;
const PREFIX_BONUS: f64 = 0.1;

/// The similarity of Jaro with Winkler's bonus for equal begins.
fn jaro_winkler(a: &[char], b: &[char]) -> f64 {
    let jaro = jaro(a, b);
    let pairs = a.iter().zip(b).take(PREFIX_MAX);
    let prefix = pairs.take_while(|(a, b)| a == b).count();
    jaro + prefix as f64 * PREFIX_BONUS * (1.0 - jaro)
}

/// The mean of the shares of characters that both have near the same place, and of those among
/// them that are in order.
fn jaro(a: &[char], b: &[char]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return if a.len() == b.len() { 1.0 } else { 0.0 };
    }
    let near = (a.len().max(b.len()) / 2).saturating_sub(1);
    let mut taken = vec![false; b.len()];
    let mut of_a = Vec::new();
    for (at, character) in a.iter().enumerate() {
        let from = at.saturating_sub(near).min(b.len());
        let to = (at + near + 1).min(b.len());
        let found = (from..to).find(|other| !taken[*other] && b[*other] == *character);
        if let Some(other) = found {
            taken[other] = true;
            of_a.push(*character);
        }
    }
    if of_a.is_empty() {
        return 0.0;
    }
    let of_b = b.iter().zip(&taken).filter(|(_, taken)| **taken);
    let moved = of_a.iter().zip(of_b).filter(|(a, (b, _))| a != b).count();
    let same = of_a.len() as f64;
    let in_order = same - (moved / 2) as f64;
    (same / a.len() as f64 + same / b.len() as f64 + in_order / same) / 3.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        terms: &[&str],
        algorithm: Algorithm,
        threshold: f64,
        name: &str,
        expect: Option<f64>,
    ) {
        let found = Terms::new(terms.iter().copied(), algorithm, threshold, false).score(name);
        let near = match (found, expect) {
            (Some(found), Some(expect)) => (found - expect).abs() < 5e-4,
            (found, expect) => found.is_none() && expect.is_none(),
        };
        assert!(near, "{terms:?} in {name}: {found:?}, expected {expect:?}");
    }

    #[test]
    fn subsequences() {
        let check = |term: &str, name: &str, expect| {
            check(&[term], Algorithm::Subsequence, 0.0, name, expect);
        };
        check("", "anything", Some(1.0));
        check("http", "HTTP_requests_total", Some(1.0));
        check("ab", "xab", Some((4.0 - 1.0 / 3.0) / 4.0));
        check("ab", "axb", Some((2.0 - 1.0 / 3.0) / 4.0));
        check("ab", "xabx", Some((4.0 - 0.25 - 0.125) / 4.0));
        check("ba", "ab", None);
        check("abc", "ab", None);
        // The second begin is better than the first.
        check("ab", "acab", Some((4.0 - 0.5) / 4.0));
    }

    #[test]
    fn similar_names() {
        let check = |term: &str, threshold, name: &str, expect| {
            check(&[term], Algorithm::JaroWinkler, threshold, name, expect);
        };
        // The classic examples.
        check("martha", 0.5, "marhta", Some(0.9611));
        check("dixon", 0.5, "dicksonx", Some(0.8133));
        check("dwayne", 0.9, "duane", None);
        check("martha", 0.0, "marhta", None);
        check("quest", 0.0, "requests", Some(0.9));
        check("zz", 0.1, "aa", None);
    }

    #[test]
    fn one_of_several_terms_is_enough() {
        let any = ["zzz", "up"];
        check(&any, Algorithm::Subsequence, 0.0, "up", Some(1.0));
        check(&any, Algorithm::Subsequence, 0.0, "down", None);
        check(&[], Algorithm::Subsequence, 0.0, "down", Some(1.0));
        let exact = Terms::new(["UP"], Algorithm::Subsequence, 0.0, true);
        assert_eq!(exact.score("up"), None);
    }
}
