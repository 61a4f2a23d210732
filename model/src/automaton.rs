//! An automaton over the texts of a sorted list: what two neighbours share is read once, and a
//! beginning that nothing that matches has is told, so that all texts that begin so can be skipped.
//!
//! Invariant: it accepts a text exactly where the expression does; where it cannot be built, or
//! grows beyond its bound, it says so and nothing else.

use std::sync::Arc;

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};

use crate::re2;

/// Most bytes of the states that are kept; they are forgotten and made again beyond.
const CACHE_BYTES: usize = 2 << 20;

/// What an automaton says of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It matches.
    Match,
    /// It does not.
    Other,
    /// It does not, nor does any text that begins with so many bytes of it.
    Dead(usize),
    /// Nobody knows: the bound of the states is too small for this expression.
    Unknown,
}

/// Compiles an expression that matches whole texts, or somewhere in them; `None` where automata
/// cannot do what it asks.
pub(crate) fn compile(source: &str, anchored: bool, bytes_max: usize) -> Option<Arc<DFA>> {
    let translated = re2::translate(source);
    let text = match anchored {
        true => format!("^(?s:{translated})$"),
        false => translated,
    };
    let syntax = syntax::Config::new().utf8(false);
    let nfa = thompson::Config::new()
        .utf8(false)
        .nfa_size_limit(Some(bytes_max));
    let config = DFA::config()
        .cache_capacity(CACHE_BYTES)
        .skip_cache_capacity_check(true);
    let dfa = DFA::builder()
        .syntax(syntax)
        .thompson(nfa)
        .configure(config)
        .build(&text);
    dfa.ok().map(Arc::new)
}

/// A walk of an automaton through texts.
#[derive(Debug)]
pub struct Automaton {
    dfa: Arc<DFA>,
    cache: Cache,
    /// The text before, and the state before each of its bytes that were read and behind them.
    text: Vec<u8>,
    states: Vec<LazyStateID>,
    clears: usize,
}

impl Automaton {
    pub(crate) fn new(dfa: Arc<DFA>) -> Self {
        let cache = dfa.create_cache();
        Self {
            dfa,
            cache,
            text: Vec::new(),
            states: Vec::new(),
            clears: 0,
        }
    }

    /// Reads a text. Fastest where it shares its beginning with the one before.
    pub fn read(&mut self, text: &[u8]) -> Verdict {
        self.advance(text).unwrap_or_else(|| {
            self.states.clear();
            Verdict::Unknown
        })
    }

    fn advance(&mut self, text: &[u8]) -> Option<Verdict> {
        let shared = self
            .text
            .iter()
            .zip(text)
            .take_while(|(a, b)| a == b)
            .count();
        self.states.truncate(shared + 1);
        self.text.truncate(self.states.len().saturating_sub(1));
        if self.states.is_empty() {
            let input = Input::new("").anchored(Anchored::Yes);
            let start = self.dfa.start_state_forward(&mut self.cache, &input).ok()?;
            self.clears = self.cache.clear_count();
            self.states.push(start);
        }
        let mut state = *self.states.last()?;
        for byte in &text[self.text.len()..] {
            state = self.dfa.next_state(&mut self.cache, state, *byte).ok()?;
            self.text.push(*byte);
            self.states.push(state);
            if self.cache.clear_count() != self.clears {
                // States before are no more; the next text starts anew.
                self.clears = self.cache.clear_count();
                return self.alone(text);
            }
            if state.is_dead() {
                return Some(Verdict::Dead(self.text.len()));
            }
            if state.is_quit() {
                return None;
            }
        }
        let end = self.dfa.next_eoi_state(&mut self.cache, state).ok()?;
        if self.cache.clear_count() != self.clears {
            self.forget();
        }
        Some(match end.is_match() {
            true => Verdict::Match,
            false => Verdict::Other,
        })
    }

    fn forget(&mut self) {
        self.clears = self.cache.clear_count();
        self.states.clear();
        self.text.clear();
    }

    /// Reads one text without keeping its states.
    fn alone(&mut self, text: &[u8]) -> Option<Verdict> {
        self.forget();
        let input = Input::new("").anchored(Anchored::Yes);
        let mut state = self.dfa.start_state_forward(&mut self.cache, &input).ok()?;
        for (index, byte) in text.iter().enumerate() {
            state = self.dfa.next_state(&mut self.cache, state, *byte).ok()?;
            if state.is_dead() {
                self.forget();
                return Some(Verdict::Dead(index + 1));
            }
            if state.is_quit() {
                return None;
            }
        }
        let end = self.dfa.next_eoi_state(&mut self.cache, state).ok()?;
        self.forget();
        Some(match end.is_match() {
            true => Verdict::Match,
            false => Verdict::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::Pattern;

    const SOURCES: [&str; 12] = [
        "a+b",
        "[ab]*c",
        "(a|ab)(c|bcd)?",
        ".*b",
        "a.c",
        "[^a]*",
        "(?i)ABC?",
        "a$|^b",
        "\\bab",
        "é+.",
        "(ab){2,3}",
        "",
    ];

    /// All texts of up to four characters of an alphabet, sorted.
    fn texts() -> Vec<String> {
        let mut all = vec![String::new()];
        let mut longest = all.clone();
        for _ in 0..4 {
            let more = longest.iter().flat_map(|text| {
                let one = |end: &char| format!("{text}{end}");
                ['a', 'b', 'c', 'é', '\n']
                    .iter()
                    .map(one)
                    .collect::<Vec<_>>()
            });
            longest = more.collect();
            all.extend(longest.iter().cloned());
        }
        all.sort();
        all
    }

    fn check(source: &str, automaton: &mut Automaton) {
        let pattern = Pattern::anchored(source).unwrap();
        let texts = texts();
        for text in &texts {
            let expect = pattern.is_match(text.as_bytes());
            match automaton.read(text.as_bytes()) {
                Verdict::Match => assert!(expect, "{source} {text:?}"),
                Verdict::Other => assert!(!expect, "{source} {text:?}"),
                Verdict::Dead(length) => {
                    let dead = &text.as_bytes()[..length];
                    let begins = texts
                        .iter()
                        .filter(|other| other.as_bytes().starts_with(dead));
                    for other in begins {
                        assert!(
                            !pattern.is_match(other.as_bytes()),
                            "{source} {text:?} {other:?}"
                        );
                    }
                }
                Verdict::Unknown => panic!("{source} {text:?}"),
            }
        }
    }

    #[test]
    fn accepts_what_the_expression_does() {
        for source in SOURCES {
            let pattern = Pattern::anchored(source).unwrap();
            assert!(pattern.automaton().is_some(), "{source}");
            let Some(mut automaton) = pattern.automaton() else {
                continue;
            };
            check(source, &mut automaton);
            // States are forgotten all the time.
            let config = DFA::config()
                .cache_capacity(1)
                .skip_cache_capacity_check(true);
            let dfa = DFA::builder()
                .syntax(syntax::Config::new().utf8(false))
                .thompson(thompson::Config::new().utf8(false))
                .configure(config)
                .build(&format!("^(?s:{})$", re2::translate(source)));
            check(source, &mut Automaton::new(Arc::new(dfa.unwrap())));
        }
    }
}
