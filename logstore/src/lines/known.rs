//! The templates of a group as a tree, so that most lines are split by following one that is known:
//! what lines share is compared, and only variables are looked at byte by byte.
//!
//! Invariant: a line that follows a path has the path's texts and, between them, variables of the
//! kinds that it names, with bytes of their class only and at least one each; putting them in place of
//! the markers gives the line back. Where a line could be split otherwise too, either may be told.

use std::ops::Range;

use super::split::{
    ADDRESS, NUMBER, Run, SPLIT_BYTES_MAX, VALUE, VARIABLES_MAX, WORD, address_end, classify,
    in_run, is_marker, uuid_end, value_after_equals, value_in_quotes,
};

/// Most ways to go on from one place; lines of templates beyond are split without the tree.
const EDGES_MAX: usize = 64;
/// In place of a kind: the template ends.
const END: u8 = 0;

/// The templates of a group.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// By node, what may follow. The first one is the begin of a line.
    nodes: Vec<Vec<Edge>>,
    /// The texts of all edges.
    texts: Vec<u8>,
}

/// A text and the variable behind it.
#[derive(Debug)]
struct Edge {
    /// The first bytes of the text, and which of eight these are.
    head: u64,
    mask: u64,
    text: Range<usize>,
    /// Kind of the variable.
    kind: u8,
    /// The node behind it; the number of the template where it ends.
    to: usize,
}

/// The first eight bytes of a text, and which of them it has.
fn head(text: &[u8]) -> (u64, u64) {
    if let Some(bytes) = text.first_chunk::<8>() {
        return (u64::from_le_bytes(*bytes), u64::MAX);
    }
    let mut bytes = [0; 8];
    bytes[..text.len()].copy_from_slice(text);
    let mask = (1u64 << (8 * text.len())) - 1;
    (u64::from_le_bytes(bytes), mask)
}

impl Known {
    /// Forgets all templates.
    pub(crate) fn clear(&mut self) {
        self.nodes.clear();
        self.texts.clear();
    }

    /// Takes a template of split lines with its number, where there is room.
    pub(crate) fn insert(&mut self, template: &[u8], number: usize) {
        if self.nodes.is_empty() {
            self.nodes.push(Vec::new());
        }
        if template.iter().filter(|byte| is_marker(**byte)).count() >= VARIABLES_MAX {
            return;
        }
        let mut node = 0;
        let mut rest = template;
        loop {
            let marker = rest.iter().position(|byte| is_marker(*byte));
            let text = &rest[..marker.unwrap_or(rest.len())];
            let kind = marker.map_or(END, |at| rest[at]);
            let mut edges = self.nodes[node].iter();
            let known = edges.find(|e| e.kind == kind && self.texts[e.text.clone()] == *text);
            let to = match known {
                Some(edge) => edge.to,
                None if self.nodes[node].len() == EDGES_MAX => return,
                None => {
                    let start = self.texts.len();
                    self.texts.extend_from_slice(text);
                    let (head, mask) = head(text);
                    let to = if kind == END {
                        number
                    } else {
                        self.nodes.len()
                    };
                    self.nodes[node].push(Edge {
                        head,
                        mask,
                        text: start..self.texts.len(),
                        kind,
                        to,
                    });
                    if kind != END {
                        self.nodes.push(Vec::new());
                    }
                    to
                }
            };
            match marker {
                None => return,
                Some(at) => (node, rest) = (to, &rest[at + 1..]),
            }
        }
    }

    /// The number of a template that the line follows, and its variables.
    pub(crate) fn follow(&self, line: &[u8], variables: &mut Vec<Range<usize>>) -> Option<usize> {
        variables.clear();
        if line.len() > SPLIT_BYTES_MAX {
            return None;
        }
        let (mut node, mut at) = (0, 0);
        loop {
            let rest = &line[at..];
            let (ahead, _) = head(rest);
            let mut found = None;
            for edge in self.nodes.get(node)? {
                if ahead & edge.mask != edge.head
                    || !rest.starts_with(&self.texts[edge.text.clone()])
                {
                    continue;
                }
                let start = at + edge.text.len();
                if edge.kind == END {
                    if start == line.len() {
                        return Some(edge.to);
                    }
                } else if let Some(end) = variable_end(line, start, edge.kind) {
                    found = Some((edge.to, start..end));
                    break;
                }
            }
            let (to, variable) = found?;
            (node, at) = (to, variable.end);
            variables.push(variable);
        }
    }
}

/// Where a variable of this kind that begins at `start` ends, if there is one.
fn variable_end(line: &[u8], start: usize, kind: u8) -> Option<usize> {
    let rest = line.get(start..)?;
    let length = |holds: fn(&u8) -> bool| rest.iter().take_while(|byte| holds(byte)).count();
    match kind {
        NUMBER => Some(length(u8::is_ascii_digit))
            .filter(|digits| *digits > 0)
            .map(|digits| start + digits),
        WORD => {
            let run = &rest[..length(|byte| in_run(*byte))];
            (classify(run) == Run::Mixed).then(|| start + run.len())
        }
        ADDRESS => address_end(line, start),
        VALUE => {
            let value = match start.checked_sub(1).map(|before| line[before]) {
                Some(b'"') => value_in_quotes(line, start),
                Some(b'=') => value_after_equals(line, start),
                _ => None,
            };
            let value = value.filter(|value| value.start == start);
            value
                .map(|value| value.end)
                .or_else(|| uuid_end(line, start))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::split::{LINE, Splitter, may_hold};
    use super::*;

    #[test]
    fn lines_of_one_template_follow_it() {
        let mut known = Known::default();
        let mut splitter = Splitter::default();
        let lines = [
            "took 12ms of 034",
            "from 10.0.0.1:80 user=root",
            r#"{"level":"info","n":3}"#,
            "plain",
            "",
        ];
        for (number, line) in lines.iter().enumerate() {
            splitter.split(line.as_bytes());
            known.insert(&splitter.template, number);
        }
        let check = |line: &str, expect: Option<usize>| {
            let mut variables = Vec::new();
            assert_eq!(
                known.follow(line.as_bytes(), &mut variables),
                expect,
                "{line}"
            );
        };
        check("took 7ms of 1", Some(0));
        check("took 7ms of 1 ", None);
        check("took 7m of 1", None);
        check("from 10.0.0.300:80 user=root", None);
        check("from 10.0.0.30:8080 user=alice", Some(1));
        check(r#"{"level":"warn","n":33}"#, Some(2));
        check(r#"{"level":"a b","n":33}"#, None);
        check("plain", Some(3));
        check("plai", None);
        check("", Some(4));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn what_follows_a_template_is_given_back(
            lines in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(prop::sample::select(b"a f.19=\":, {-\x80".to_vec()), 0..40),
                    "(GET|POST) /[a-c]{1,3}/[0-9]{1,4} [a-f0-9]{4} k=[a-c ]{0,3}".prop_map(String::into_bytes),
                ],
                0..60,
            ),
        ) {
            let mut known = Known::default();
            let mut splitter = Splitter::default();
            let mut templates: Vec<Vec<u8>> = Vec::new();
            let mut variables = Vec::new();
            for line in &lines {
                splitter.split(line);
                let Some(number) = known.follow(line, &mut variables) else {
                    if splitter.template != [LINE] {
                        known.insert(&splitter.template, templates.len());
                        templates.push(splitter.template.clone());
                    }
                    continue;
                };
                let mut values = variables.iter();
                let mut back = Vec::new();
                for &byte in &templates[number] {
                    if !is_marker(byte) {
                        back.push(byte);
                        continue;
                    }
                    let value = &line[values.next().unwrap().clone()];
                    prop_assert!(!value.is_empty() && value.iter().all(|b| may_hold(byte, *b)));
                    back.extend_from_slice(value);
                }
                prop_assert!(values.next().is_none());
                prop_assert_eq!(&back, line);
            }
        }
    }
}
