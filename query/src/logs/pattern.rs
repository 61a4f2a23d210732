//! The pattern language of LogQL (`<name> text <_>`), for line filters and for the parser stage,
//! and the checks on the captures of `regexp`.
//!
//! Invariant: two captures never touch, so that every capture ends where a literal begins.

use std::collections::BTreeSet;

use memchr::memmem;
use obs_model::Pattern;
use obs_model::pattern::PatternError;

use crate::logql::regex_fault;

/// A piece of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    /// `None` is `<_>`.
    Capture(Option<String>),
}

fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some((name, after)) = capture(rest) {
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal).into_bytes()));
            } else if matches!(pieces.last(), Some(Piece::Capture(_))) {
                let first = text.len() - rest.len();
                let before = text[..first].rfind('<').unwrap_or(first);
                let both = &text[before..text.len() - after.len()];
                return Err(format!(
                    "found consecutive capture '{both}': invalid expression"
                ));
            }
            pieces.push(Piece::Capture((name != "_").then(|| name.to_owned())));
            rest = after;
        } else {
            literal.push(c);
            rest = rest.get(c.len_utf8()..).unwrap_or("");
        }
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal.into_bytes()));
    }
    Ok(pieces)
}

/// A capture at the begin of a text: its name and what follows.
fn capture(text: &str) -> Option<(&str, &str)> {
    let (name, after) = text.strip_prefix('<')?.split_once('>')?;
    obs_model::labels::is_legacy_name(name).then_some((name, after))
}

/// A pattern over a whole line, as `|>` and `!>` use it.
#[derive(Clone, Debug)]
pub(crate) struct LinePattern {
    pieces: Vec<Piece>,
}

impl LinePattern {
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let pieces = pieces(text)?;
        let mut captures = pieces.iter().filter_map(|piece| match piece {
            Piece::Capture(name) => name.as_deref(),
            Piece::Literal(_) => None,
        });
        if let Some(name) = captures.next() {
            return Err(format!("named captures are not allowed: found '<{name}>'"));
        }
        Ok(Self { pieces })
    }

    /// Whether the whole line has the form; `<_>` stands for at least one byte.
    pub(crate) fn is_match(&self, line: &[u8]) -> bool {
        let Some(last) = self.pieces.last() else {
            return line.is_empty();
        };
        let mut at = 0;
        for (index, piece) in self.pieces.iter().enumerate() {
            let Piece::Literal(literal) = piece else {
                continue;
            };
            let Some(found) = memmem::find(&line[at..], literal) else {
                return false;
            };
            // Behind a capture something must be skipped; at the begin nothing may be.
            if (index == 0) != (found == 0) {
                return false;
            }
            at += found + literal.len();
        }
        matches!(last, Piece::Capture(_)) == (at < line.len())
    }

    /// The longest text that every match contains.
    pub(crate) fn needle(&self) -> &[u8] {
        self.pieces
            .iter()
            .filter_map(|p| match p {
                Piece::Literal(literal) => Some(literal.as_slice()),
                Piece::Capture(_) => None,
            })
            .max_by_key(|l| l.len())
            .unwrap_or_default()
    }
}

/// A pattern that takes values out of a line, as `| pattern` uses it.
#[derive(Clone, Debug)]
pub(crate) struct CapturePattern {
    pieces: Vec<Piece>,
}

impl CapturePattern {
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let pieces = pieces(text)?;
        let mut names = BTreeSet::new();
        for piece in &pieces {
            if let Piece::Capture(Some(name)) = piece
                && !names.insert(name)
            {
                return Err(format!(
                    "duplicate capture name ({name}): invalid expression"
                ));
            }
        }
        if names.is_empty() {
            return Err("at least one capture is required".to_owned());
        }
        Ok(Self { pieces })
    }

    /// Calls `found` with each named capture; a line of another form gives fewer or none.
    pub(crate) fn captures<'l>(&self, line: &'l [u8], mut found: impl FnMut(&str, &'l [u8])) {
        let mut rest = line;
        let mut open: Option<&Option<String>> = None;
        let mut give = |capture: &Option<String>, value: &'l [u8]| {
            if let Some(name) = capture {
                found(name, value);
            }
        };
        for piece in &self.pieces {
            match (piece, open) {
                (Piece::Capture(capture), _) => open = Some(capture),
                (Piece::Literal(literal), None) => match rest.strip_prefix(literal.as_slice()) {
                    Some(after) => rest = after,
                    None => return,
                },
                (Piece::Literal(literal), Some(capture)) => {
                    let Some(at) = memmem::find(rest, literal) else {
                        // The form breaks here: the capture takes all that is left.
                        return give(capture, rest);
                    };
                    give(capture, &rest[..at]);
                    rest = &rest[at + literal.len()..];
                    open = None;
                }
            }
        }
        if let Some(capture) = open {
            give(capture, rest);
        }
    }
}

/// Checks an expression of the `regexp` stage: it needs named groups, each name once.
pub(crate) fn check_captures(text: &str) -> Result<Pattern, String> {
    const NONE: &str = "at least one named capture must be supplied";
    let pattern = Pattern::search(text).map_err(|e| match &e {
        // The only reason that Go does not have: it finds equal names later.
        PatternError::Syntax { reason, .. } if reason.contains("duplicate") => {
            "duplicate extracted label name".to_owned()
        }
        _ => regex_fault(&e),
    })?;
    let mut named = 0;
    for name in pattern.regex().capture_names().flatten() {
        if name.is_empty() {
            return Err(format!("invalid extracted label name '{name}'"));
        }
        named += 1;
    }
    if named == 0 {
        return Err(NONE.to_owned());
    }
    Ok(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_patterns() {
        let check = |pattern: &str, line: &str, expect: bool| {
            let found = LinePattern::new(pattern).unwrap().is_match(line.as_bytes());
            assert_eq!(found, expect, "{pattern} on {line}");
        };
        check("<_> level=error <_>", "x level=error y", true);
        check("<_> level=error <_>", "level=error y", false);
        check("GET <_>", "GET /", true);
        check("GET <_>", "GET ", false);
        check("GET <_>", "a GET /", false);
        check("<_>end", "the end", true);
        check("<_>end", "the end.", false);
        check("", "", true);
        check("", "x", false);
        check("<_>", "", false);
        check("a<b", "a<b", true);
        assert!(LinePattern::new("<a>").is_err());
        assert!(LinePattern::new("<_><_>").is_err());
    }

    #[test]
    fn captures() {
        let check = |pattern: &str, line: &str, expect: &[(&str, &str)]| {
            let mut found = Vec::new();
            CapturePattern::new(pattern)
                .unwrap()
                .captures(line.as_bytes(), |name, value| {
                    found.push((name.to_owned(), String::from_utf8(value.to_vec()).unwrap()));
                });
            let expect: Vec<_> = expect
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect();
            assert_eq!(found, expect, "{pattern} on {line}");
        };
        check(
            "<ip> - <_> <status>",
            "1.2.3.4 - me 200",
            &[("ip", "1.2.3.4"), ("status", "200")],
        );
        check("[<t>] <m>", "no", &[]);
        check("<a>: <b>", "only", &[("a", "only")]);
        check("<a>,", "x,y", &[("a", "x")]);
        for bad in ["<a><b>", "<_>", "text", "<a> <a>"] {
            assert!(CapturePattern::new(bad).is_err(), "{bad}");
        }
    }
}
