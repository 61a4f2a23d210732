//! Regular expressions with RE2's syntax, and what can be known of their matches beforehand.
//!
//! The one place where a regular expression becomes literals: label matchers use `exact` and
//! `prefix`, log line filters use `needle`, so that most candidates are decided without running
//! the automaton. Works on bytes; a line that is not UTF-8 can still be matched.

use std::fmt;
use std::sync::{Arc, OnceLock};

use regex::bytes::{Regex, RegexBuilder};
use regex_automata::hybrid::dfa::DFA;
use regex_syntax::hir::literal::{ExtractKind, Extractor};
use regex_syntax::hir::{Hir, HirKind, Look};

use crate::automaton::{Automaton, compile};
use crate::machine::Machine;
use crate::re2;

/// Bound on the compiled size of one expression, in bytes; ten times what dashboards need.
const COMPILED_BYTES_MAX: usize = 1 << 22;
/// Longest accepted expression in bytes.
pub const PATTERN_BYTES_MAX: usize = 64 << 10;
/// Most literals that an alternation is expanded to before it is run as an automaton.
const LITERALS_MAX: usize = 512;

/// A compiled regular expression, either anchored at both ends or free.
#[derive(Clone)]
pub struct Pattern {
    source: String,
    anchored: bool,
    regex: Regex,
    exact: Option<Vec<Vec<u8>>>,
    prefix: Box<[u8]>,
    prefixes: Vec<Vec<u8>>,
    needle: Box<[u8]>,
    /// Compiled when it is asked for first.
    automaton: Arc<OnceLock<Option<Arc<DFA>>>>,
}

/// Why a text is not a usable regular expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Not a regular expression.
    #[error("invalid regular expression {pattern:?}: {reason}")]
    Syntax {
        /// The expression.
        pattern: String,
        /// What is wrong, in one line.
        reason: String,
    },
    /// Longer than [`PATTERN_BYTES_MAX`], or compiled larger than its bound.
    #[error(
        "regular expression of {0} bytes is too large (at most {PATTERN_BYTES_MAX} bytes, {COMPILED_BYTES_MAX} compiled)"
    )]
    TooLarge(usize),
}

impl Pattern {
    /// An expression that must match the whole text; `.` matches newline. Label matchers.
    pub fn anchored(source: &str) -> Result<Self, PatternError> {
        Self::compile(source, true)
    }

    /// An expression that may match anywhere in the text. Line filters.
    pub fn search(source: &str) -> Result<Self, PatternError> {
        Self::compile(source, false)
    }

    fn compile(source: &str, anchored: bool) -> Result<Self, PatternError> {
        if source.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLarge(source.len()));
        }
        let syntax = |reason: String| PatternError::Syntax {
            pattern: source.to_owned(),
            reason: one_line(&reason),
        };
        let translated = re2::translate(source);
        let hir = regex_syntax::ParserBuilder::new()
            .dot_matches_new_line(anchored)
            .utf8(false)
            .build()
            .parse(&translated)
            .map_err(|e| syntax(e.to_string()))?;
        let text = if anchored {
            format!("^(?s:{translated})$")
        } else {
            translated
        };
        let regex = RegexBuilder::new(&text)
            .size_limit(COMPILED_BYTES_MAX)
            .dfa_size_limit(COMPILED_BYTES_MAX)
            .build()
            .map_err(|e| match e {
                regex::Error::CompiledTooBig(_) => PatternError::TooLarge(source.len()),
                other => syntax(other.to_string()),
            })?;
        let (exact, prefixes) = if anchored {
            literals(&hir)
        } else {
            (None, vec![Vec::new()])
        };
        let prefix = common_prefix(&prefixes).into();
        Ok(Self {
            source: source.to_owned(),
            anchored,
            regex,
            exact,
            prefix,
            prefixes,
            needle: needle(&hir).into(),
            automaton: Arc::default(),
        })
    }

    /// The expression as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the text matches.
    pub fn is_match(&self, text: &[u8]) -> bool {
        match &self.exact {
            Some(set) => set.iter().any(|s| s == text),
            None => text.starts_with(&self.prefix) && self.regex.is_match(text),
        }
    }

    /// For an anchored expression that matches finitely few texts: exactly those texts.
    pub fn exact(&self) -> Option<&[Vec<u8>]> {
        self.exact.as_deref()
    }

    /// For an anchored expression: bytes with which every match starts (possibly none).
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// For an anchored expression: every match starts with one of these, of which none starts with
    /// another; ascending. Empty when nothing matches, one empty text when nothing is known.
    pub fn prefixes(&self) -> &[Vec<u8>] {
        &self.prefixes
    }

    /// The longest known text that every match contains (possibly empty).
    pub fn needle(&self) -> &[u8] {
        &self.needle
    }

    /// The compiled expression, for captures.
    pub fn regex(&self) -> &Regex {
        &self.regex
    }

    /// For an anchored expression: a walk through sorted texts, where automata can do it.
    pub fn automaton(&self) -> Option<Automaton> {
        self.anchored.then(|| self.dfa())?.map(Automaton::new)
    }

    /// For a free expression: a search in pieces, where automata can do it.
    pub fn machine(&self) -> Option<Machine> {
        (!self.anchored).then(|| self.dfa())?.and_then(Machine::new)
    }

    fn dfa(&self) -> Option<Arc<DFA>> {
        let compiled = || compile(&self.source, self.anchored, COMPILED_BYTES_MAX);
        self.automaton.get_or_init(compiled).clone()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && self.anchored == other.anchored
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.source)
    }
}

/// The last line of the regex crate's message says what is wrong; the others draw a picture.
fn one_line(message: &str) -> String {
    let last = message.lines().last().unwrap_or(message).trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// The finite set of matches, if there is one, and texts with which all matches start.
fn literals(hir: &Hir) -> (Option<Vec<Vec<u8>>>, Vec<Vec<u8>>) {
    let mut extractor = Extractor::new();
    extractor
        .kind(ExtractKind::Prefix)
        .limit_total(LITERALS_MAX)
        .limit_class(64);
    let seq = extractor.extract(hir);
    let Some(literals) = seq.literals() else {
        return (None, vec![Vec::new()]);
    };
    let mut set: Vec<Vec<u8>> = literals.iter().map(|l| l.as_bytes().to_vec()).collect();
    set.sort();
    set.dedup();
    let mut prefixes = set.clone();
    // What starts with another stands behind it.
    prefixes.dedup_by(|longer, shorter| longer.starts_with(shorter));
    // Look-around such as `\b` and `^` is invisible in literals, so such a set is not exact.
    let exact = hir.properties().look_set().is_empty() && seq.is_exact();
    (exact.then_some(set), prefixes)
}

/// What all texts start with.
fn common_prefix(texts: &[Vec<u8>]) -> Vec<u8> {
    // Of sorted texts the first and the last have in common what all have.
    let (Some(first), Some(last)) = (texts.first(), texts.last()) else {
        return Vec::new();
    };
    let same = first.iter().zip(last).take_while(|(a, b)| a == b).count();
    first[..same].to_vec()
}

/// The longest literal that stands in every match: the longest among the parts of the top-level
/// concatenation.
fn needle(hir: &Hir) -> Vec<u8> {
    match hir.kind() {
        HirKind::Literal(literal) => literal.0.to_vec(),
        HirKind::Capture(capture) => needle(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => needle(&repetition.sub),
        HirKind::Concat(parts) => parts
            .iter()
            .map(needle)
            .max_by_key(Vec::len)
            .unwrap_or_default(),
        HirKind::Empty
        | HirKind::Class(_)
        | HirKind::Look(Look::Start | Look::End | _)
        | HirKind::Repetition(_)
        | HirKind::Alternation(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, exact: Option<&[&str]>, prefix: &str, needle: &str) {
        let pattern = Pattern::anchored(source).unwrap();
        let set = pattern.exact().map(|s| {
            s.iter()
                .map(|b| String::from_utf8_lossy(b).into_owned())
                .collect::<Vec<_>>()
        });
        assert_eq!(
            set,
            exact.map(|e| e.iter().map(|s| (*s).to_owned()).collect()),
            "{source}"
        );
        assert_eq!(
            String::from_utf8_lossy(pattern.prefix()),
            prefix,
            "{source}"
        );
        assert_eq!(
            String::from_utf8_lossy(pattern.needle()),
            needle,
            "{source}"
        );
    }

    #[test]
    fn what_is_known_of_matches() {
        check("api", Some(&["api"]), "api", "api");
        check("a|b|ab", Some(&["a", "ab", "b"]), "", "");
        check("api-(a|b)", Some(&["api-a", "api-b"]), "api-", "api-");
        check("node_.+", None, "node_", "node_");
        check(".*error.*", None, "", "error");
        check("(?i)ab", Some(&["AB", "Ab", "aB", "ab"]), "", "");
        check("", Some(&[""]), "", "");
    }

    #[test]
    fn prefixes_of_all_matches() {
        let check = |source: &str, expect: &[&str]| {
            let pattern = Pattern::anchored(source).unwrap();
            let found = pattern.prefixes().iter();
            let found: Vec<_> = found.map(|p| String::from_utf8_lossy(p)).collect();
            assert_eq!(found, expect, "{source}");
        };
        check("node_.+|go_.*|go_gc_.*", &["go_", "node_"]);
        check("api-[ab]x*", &["api-a", "api-b"]);
        check(".*", &[""]);
        check("a.*|", &[""]);
        check("b|a", &["a", "b"]);
        assert_eq!(Pattern::search("abc").unwrap().prefixes(), [b""]);
    }

    #[test]
    fn anchored_matches_whole_texts_and_newlines() {
        let pattern = Pattern::anchored("a.c|d").unwrap();
        assert!(pattern.is_match(b"a\nc") && pattern.is_match(b"d"));
        assert!(!pattern.is_match(b"xd") && !pattern.is_match(b"abcd"));
        let look = Pattern::anchored(r"a\b").unwrap();
        assert!(look.is_match(b"a") && !look.is_match(b"ab"));
    }

    #[test]
    fn search_matches_inside_and_in_bytes_that_are_not_text() {
        let pattern = Pattern::search("err[0-9]+").unwrap();
        assert!(pattern.is_match(b"\xff err42 \xfe"));
        assert!(!pattern.is_match(b"err"));
        assert_eq!(pattern.needle(), b"err");
    }

    #[test]
    fn faults_are_named() {
        let fault = Pattern::anchored("a(").unwrap_err().to_string();
        assert_eq!(fault, "invalid regular expression \"a(\": unclosed group");
        let bomb = "(a{1000}){1000}";
        assert!(matches!(
            Pattern::anchored(bomb),
            Err(PatternError::TooLarge(_))
        ));
    }
}
