//! A search for an expression that is led through a text in pieces, and can begin again at any
//! state that it was in: who knows what a piece does to a state need not read the piece.
//!
//! Invariant: it finds a match exactly where the expression has one; where it cannot be built, or
//! has more states than its bound, it says so and nothing else.

use std::collections::HashMap;

use regex_automata::Input;
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};

/// Most states that are known by number.
const STATES_MAX: usize = 1024;
/// A step that nobody took yet.
const UNKNOWN: u16 = u16::MAX;

/// Where a search is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place(u16);

impl Place {
    /// There was a match; it stays one whatever comes.
    pub const FOUND: Self = Self(0);
    /// There was none, and there will be none.
    pub const DEAD: Self = Self(1);

    /// Whether nothing that comes changes it.
    pub fn is_settled(self) -> bool {
        self.0 <= Self::DEAD.0
    }

    /// A small number, of which each place has its own.
    pub fn number(self) -> usize {
        usize::from(self.0)
    }
}

/// A search in pieces.
#[derive(Debug)]
pub struct Machine {
    dfa: std::sync::Arc<DFA>,
    cache: Cache,
    /// The automaton's name of each place, and the place of each name.
    names: Vec<LazyStateID>,
    places: HashMap<LazyStateID, u16>,
    /// For each place and class of bytes the next place.
    steps: Vec<u16>,
    /// Classes of bytes.
    stride: usize,
    start: Place,
}

impl Machine {
    /// Of an automaton that searches anywhere in a text.
    pub(crate) fn new(dfa: std::sync::Arc<DFA>) -> Option<Self> {
        let mut cache = dfa.create_cache();
        let start = dfa.start_state_forward(&mut cache, &Input::new("")).ok()?;
        let stride = dfa.byte_classes().alphabet_len();
        let mut machine = Self {
            cache,
            // Nobody asks for the names of what is settled.
            names: vec![start; 2],
            places: HashMap::new(),
            steps: vec![UNKNOWN; 2 * stride],
            stride,
            start: Place::DEAD,
            dfa,
        };
        machine.start = machine.place(start)?;
        Some(machine)
    }

    /// Before a text.
    pub fn start(&self) -> Place {
        self.start
    }

    /// Behind a byte; `None` where there are too many states.
    pub fn step(&mut self, from: Place, byte: u8) -> Option<Place> {
        if from.is_settled() {
            return Some(from);
        }
        let class = usize::from(self.dfa.byte_classes().get(byte));
        let step = from.number() * self.stride + class;
        let known = self.steps[step];
        if known != UNKNOWN {
            return Some(Place(known));
        }
        let name = self.names[from.number()];
        let next = self.dfa.next_state(&mut self.cache, name, byte).ok()?;
        let next = self.place(next)?;
        self.steps[step] = next.0;
        Some(next)
    }

    /// Behind some bytes; `None` where there are too many states.
    pub fn run(&mut self, from: Place, bytes: &[u8]) -> Option<Place> {
        let mut place = from;
        for byte in bytes {
            place = self.step(place, *byte)?;
            if place.is_settled() {
                break;
            }
        }
        Some(place)
    }

    /// Whether a text that ends here matches; `None` where there are too many states.
    pub fn ends(&mut self, at: Place) -> Option<bool> {
        if at.is_settled() {
            return Some(at == Place::FOUND);
        }
        let name = self.names[at.number()];
        let end = self.dfa.next_eoi_state(&mut self.cache, name).ok()?;
        self.place(end).map(|place| place == Place::FOUND)
    }

    fn place(&mut self, name: LazyStateID) -> Option<Place> {
        // Names of before are no more, or the automaton gave up.
        if self.cache.clear_count() > 0 || name.is_quit() {
            return None;
        }
        if name.is_match() {
            return Some(Place::FOUND);
        }
        if name.is_dead() {
            return Some(Place::DEAD);
        }
        if let Some(known) = self.places.get(&name) {
            return Some(Place(*known));
        }
        if self.names.len() == STATES_MAX {
            return None;
        }
        let place = self.names.len() as u16;
        self.names.push(name);
        self.places.insert(name, place);
        self.steps.resize(self.names.len() * self.stride, UNKNOWN);
        Some(Place(place))
    }
}

#[cfg(test)]
mod tests {
    use crate::pattern::Pattern;

    fn check(source: &str, texts: &[&str]) {
        let pattern = Pattern::search(source).unwrap();
        let mut machine = pattern.machine().unwrap();
        for text in texts {
            let expect = pattern.is_match(text.as_bytes());
            for cut in 0..=text.len() {
                let (head, tail) = text.as_bytes().split_at(cut);
                let behind = machine.run(machine.start(), head).unwrap();
                let end = machine.run(behind, tail).unwrap();
                assert_eq!(machine.ends(end), Some(expect), "{source} {text:?} {cut}");
            }
        }
    }

    #[test]
    fn finds_what_the_expression_does() {
        let texts = [
            "", "a", "ab", "bab", "é+b", "ab\nab", "x ab y", "aab", "b\n", "AB", "12:30",
        ];
        for source in [
            "ab",
            "^ab",
            "ab$",
            "(?m)^ab$",
            "a+b",
            "",
            "$",
            "^$",
            "\\bab\\b",
            "(?i)aB",
            ".b",
            "[0-9]{2}:",
            "a|b$",
            "é.",
            "[^a]b",
            "x.*y",
            "\\Bb",
        ] {
            check(source, &texts);
        }
    }

    #[test]
    fn says_where_it_cannot() {
        let pattern = Pattern::search("(a|b)*a(a|b){14}x").unwrap();
        let mut machine = pattern.machine().unwrap();
        let mut seed = 1u64;
        let text: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if seed >> 63 == 0 { b'a' } else { b'b' }
        })
        .take(10_000)
        .collect();
        assert_eq!(machine.run(machine.start(), &text), None);
    }
}
