//! Splits a line into a template and variables.
//!
//! A template is the line with each variable replaced by one marker byte that names its kind. What
//! varies from line to line of one kind is nearly always a number or an identifier with digits, so
//! the rules look only for those, for dotted addresses, for UUIDs, and for values behind `=` and
//! `":`. Invariant: putting the variables in place of the markers gives the line back, byte for
//! byte; each variable has bytes of its kind's class only, and at least one.

use std::ops::Range;

/// Decimal digits.
pub(crate) const NUMBER: u8 = 1;
/// Letters and digits, at least one of each; bytes from 0x80 count as letters.
pub(crate) const WORD: u8 = 2;
/// Four decimal numbers with dots between them.
pub(crate) const ADDRESS: u8 = 3;
/// The value of a key, a UUID, or what is left of a line with too many variables: any bytes.
pub(crate) const VALUE: u8 = 4;
/// A whole line: any bytes.
pub(crate) const LINE: u8 = 5;
/// The marker with the highest number; lines with such bytes are not split.
const MARKER_MAX: u8 = LINE;

/// Whether a byte of a template stands for a variable.
pub(crate) fn is_marker(byte: u8) -> bool {
    (1..=MARKER_MAX).contains(&byte)
}

/// Most variables of a template; the last one takes the rest of the line.
pub(crate) const VARIABLES_MAX: usize = 64;
/// Longer lines are not split: they are dumps, and would make large templates.
pub(crate) const SPLIT_BYTES_MAX: usize = 16 << 10;
/// Longest value of a key that becomes one variable.
const VALUE_BYTES_MAX: usize = 256;
/// Longest unit behind a number.
const UNIT_BYTES_MAX: usize = 3;
/// Bytes of a UUID as text.
pub(crate) const UUID_BYTES: usize = 36;

const OTHER: u8 = 0;
const DIGIT: u8 = 1;
const LETTER: u8 = 2;
/// Letters that are hexadecimal digits.
const HEX_LETTER: u8 = 3;

/// What each byte is.
const CLASS: [u8; 256] = {
    let mut table = [OTHER; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = if b.is_ascii_digit() {
            DIGIT
        } else if b.is_ascii_hexdigit() {
            HEX_LETTER
        } else if b.is_ascii_alphabetic() || b >= 0x80 {
            LETTER
        } else {
            OTHER
        };
        byte += 1;
    }
    table
};

/// Whether a byte is a letter or digit as this module counts them.
pub(crate) fn in_run(byte: u8) -> bool {
    CLASS[usize::from(byte)] != OTHER
}

/// Whether variables of this kind may have the byte.
pub(crate) fn may_hold(kind: u8, byte: u8) -> bool {
    match kind {
        NUMBER => byte.is_ascii_digit(),
        WORD => in_run(byte),
        ADDRESS => byte.is_ascii_digit() || byte == b'.',
        _ => true,
    }
}

/// What a run of letters and digits is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    /// Letters only.
    Letters,
    /// Digits only.
    Digits,
    /// So many letters, then digits only, and one of the letters is no hexadecimal digit: a name
    /// with a number.
    Numbered(usize),
    /// So many digits, then a few letters, one of them no hexadecimal digit: a number with a unit.
    Measured(usize),
    /// Any other mixture: an identifier.
    Mixed,
}

/// Tells what a run is; its bytes are all letters and digits.
pub(crate) fn classify(run: &[u8]) -> Run {
    let mut letters = 0;
    let mut plain = false;
    while let Some(byte) = run.get(letters) {
        match CLASS[usize::from(*byte)] {
            DIGIT => break,
            LETTER => plain = true,
            _ => {}
        }
        letters += 1;
    }
    if letters == run.len() {
        return Run::Letters;
    }
    let digits = run[letters..].iter().all(u8::is_ascii_digit);
    match (digits, letters) {
        (true, 0) => Run::Digits,
        (true, _) if plain => Run::Numbered(letters),
        (false, 0) => measured(run).unwrap_or(Run::Mixed),
        _ => Run::Mixed,
    }
}

fn measured(run: &[u8]) -> Option<Run> {
    let digits = run.iter().take_while(|b| b.is_ascii_digit()).count();
    let unit = &run[digits..];
    let letters = |class: u8| unit.iter().any(|b| CLASS[usize::from(*b)] == class);
    (unit.len() <= UNIT_BYTES_MAX && letters(LETTER) && !letters(DIGIT))
        .then_some(Run::Measured(digits))
}

/// Scratch space for splitting line after line.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    /// The template of the last line.
    pub(crate) template: Vec<u8>,
    /// Where its variables stand in the line, in order.
    pub(crate) variables: Vec<Range<usize>>,
    /// Up to where the line is in the template.
    done: usize,
}

impl Splitter {
    /// Splits a line.
    pub(crate) fn split(&mut self, line: &[u8]) {
        self.template.clear();
        self.variables.clear();
        self.done = 0;
        let mut at = 0;
        // The byte before `at` that is no blank, and the one before that.
        let mut before = [0u8; 2];
        if line.len() > SPLIT_BYTES_MAX {
            return self.whole(line);
        }
        while let Some(&byte) = line.get(at) {
            if CLASS[usize::from(byte)] == OTHER {
                if (1..=MARKER_MAX).contains(&byte) {
                    return self.whole(line);
                }
                let value = match byte {
                    b'=' if in_run(before[0]) => value_after_equals(line, at + 1),
                    b'"' if before == [b':', b'"'] => value_in_quotes(line, at + 1),
                    _ => None,
                };
                if byte != b' ' {
                    before = [byte, before[0]];
                }
                at += 1;
                if let Some(value) = value {
                    at = value.end;
                    before = [b'a', b'a'];
                    if self.variable(line, value.start, value, VALUE) {
                        return;
                    }
                }
                continue;
            }
            let (end, found) = self.run(line, at);
            if let Some((variable, kind)) = found
                && self.variable(line, at, variable, kind)
            {
                return;
            }
            before = [b'a', b'a'];
            at = end;
        }
        self.template.extend_from_slice(&line[self.done..]);
    }

    /// Looks at the run of letters and digits that begins at `start`: where it ends, and the
    /// variable in it.
    fn run(&self, line: &[u8], start: usize) -> (usize, Option<(Range<usize>, u8)>) {
        let mut end = start;
        let mut digits = false;
        while let Some(&byte) = line.get(end) {
            match CLASS[usize::from(byte)] {
                OTHER => break,
                DIGIT => digits = true,
                _ => {}
            }
            end += 1;
        }
        if end - start == 8
            && let Some(end) = uuid_end(line, start)
        {
            return (end, Some((start..end, VALUE)));
        }
        if !digits {
            return (end, None);
        }
        match classify(&line[start..end]) {
            Run::Letters => (end, None),
            Run::Digits => match address_end(line, start) {
                Some(end) => (end, Some((start..end, ADDRESS))),
                None => (end, Some((start..end, NUMBER))),
            },
            Run::Numbered(letters) => (end, Some((start + letters..end, NUMBER))),
            Run::Measured(digits) => (end, Some((start..start + digits, NUMBER))),
            Run::Mixed => (end, Some((start..end, WORD))),
        }
    }

    /// Puts down what stands before a variable of the run at `run`, and its marker. True when the
    /// line ends there.
    fn variable(&mut self, line: &[u8], run: usize, variable: Range<usize>, kind: u8) -> bool {
        if self.variables.len() + 1 == VARIABLES_MAX {
            self.template.extend_from_slice(&line[self.done..run]);
            self.template.push(VALUE);
            self.variables.push(run..line.len());
            return true;
        }
        self.template
            .extend_from_slice(&line[self.done..variable.start]);
        self.template.push(kind);
        self.done = variable.end;
        self.variables.push(variable);
        false
    }

    fn whole(&mut self, line: &[u8]) {
        self.template.clear();
        self.template.push(LINE);
        self.variables.clear();
        self.variables.push(0..line.len());
    }
}

/// A value such as `alice` of `user=alice`: up to a delimiter, if it begins with a letter. What
/// begins with a digit is split as all text is.
pub(crate) fn value_after_equals(line: &[u8], start: usize) -> Option<Range<usize>> {
    match line.get(start)? {
        b'"' => return value_in_quotes(line, start + 1),
        byte if in_run(*byte) => {}
        _ => return None,
    }
    let rest = &line[start..line.len().min(start + VALUE_BYTES_MAX + 1)];
    let length = rest
        .iter()
        .position(|b| b.is_ascii_control() || b" ,;&|)]}>\"'".contains(b))
        .unwrap_or(rest.len());
    value(line, start..start + length)
}

/// A value such as `alice` of `"user":"alice"`, without blanks and escapes.
pub(crate) fn value_in_quotes(line: &[u8], start: usize) -> Option<Range<usize>> {
    let rest = &line[start.min(line.len())..line.len().min(start + VALUE_BYTES_MAX + 1)];
    let length = rest
        .iter()
        .position(|b| b.is_ascii_control() || b" \\\"".contains(b))?;
    (rest[length] == b'"').then_some(())?;
    value(line, start..start + length)
}

fn value(line: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let text = &line[range.clone()];
    let first = text.first()?;
    if text.len() > VALUE_BYTES_MAX {
        return None;
    }
    let id = text.len() >= 16 && text.iter().all(|b| b.is_ascii_hexdigit() || *b == b'-');
    (id || !first.is_ascii_digit() && in_run(*first)).then_some(range)
}

/// Where a UUID that begins at `start` ends.
pub(crate) fn uuid_end(line: &[u8], start: usize) -> Option<usize> {
    let end = start + UUID_BYTES;
    let follows = line.get(end).is_some_and(|byte| in_run(*byte));
    (is_uuid(line.get(start..end)?) && !follows).then_some(end)
}

/// Whether the text is a UUID in lower case: 8-4-4-4-12.
pub(crate) fn is_uuid(text: &[u8]) -> bool {
    let mut all = text.iter().enumerate();
    text.len() == UUID_BYTES && all.all(|(at, byte)| is_uuid_digit(at, *byte))
}

/// Whether a byte may stand there in a UUID.
pub(crate) fn is_uuid_digit(at: usize, byte: u8) -> bool {
    match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    }
}

/// Where a dotted address that begins at `start` ends.
pub(crate) fn address_end(line: &[u8], start: usize) -> Option<usize> {
    if start > 0 && line[start - 1] == b'.' {
        return None;
    }
    let mut at = start;
    for number in 0..4 {
        let digits = line[at..].iter().take(4).take_while(|b| b.is_ascii_digit());
        let digits = digits.count();
        let canonical = digits == 1 || digits > 1 && line[at] != b'0';
        if digits > 3 || !canonical {
            return None;
        }
        let value = line[at..at + digits]
            .iter()
            .fold(0u32, |value, b| value * 10 + u32::from(b - b'0'));
        if value > 255 {
            return None;
        }
        at += digits;
        if number < 3 {
            if line.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
    }
    let follows = line.get(at).copied().unwrap_or(b' ');
    let longer = follows == b'.' && line.get(at + 1).is_some_and(u8::is_ascii_digit);
    (!in_run(follows) && !longer).then_some(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(line: &[u8]) -> (String, Vec<String>) {
        let mut splitter = Splitter::default();
        splitter.split(line);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let template = splitter.template.iter().map(|b| match *b {
            NUMBER => "<n>".to_owned(),
            WORD => "<w>".to_owned(),
            ADDRESS => "<a>".to_owned(),
            VALUE => "<v>".to_owned(),
            LINE => "<l>".to_owned(),
            other => text(&[other]),
        });
        let variables = splitter.variables.iter().map(|v| text(&line[v.clone()]));
        (template.collect(), variables.collect())
    }

    #[test]
    fn finds_what_varies() {
        let check = |line: &str, template: &str, variables: &[&str]| {
            let found = shown(line.as_bytes());
            assert_eq!(found.0, template, "{line}");
            assert_eq!(found.1, variables, "{line}");
        };
        check("plain words only", "plain words only", &[]);
        check("took 12ms of 034", "took <n>ms of <n>", &["12", "034"]);
        check(
            "5a 5m 5mnop 5m5",
            "<w> <n>m <w> <w>",
            &["5a", "5", "5mnop", "5m5"],
        );
        check("task12 on eth0", "task<n> on eth<n>", &["12", "0"]);
        check("id a1b2 beef7", "id <w> <w>", &["a1b2", "beef7"]);
        check("from 10.0.0.1:80", "from <a>:<n>", &["10.0.0.1", "80"]);
        check("v 1.2.3", "v <n>.<n>.<n>", &["1", "2", "3"]);
        check(
            "1.2.3.4.5",
            "<n>.<n>.<n>.<n>.<n>",
            &["1", "2", "3", "4", "5"],
        );
        check("999.0.0.1", "<n>.<n>.<n>.<n>", &["999", "0", "0", "1"]);
        check("uid=0 user=root,x", "uid=<n> user=<v>,x", &["0", "root"]);
        check("msg=\"a b\" k=\"v\"", "msg=\"a b\" k=\"<v>\"", &["v"]);
        check(
            r#"{"level":"info","n": 3,"msg": "two 2 words","t":"2026-01-02"}"#,
            r#"{"level":"<v>","n": <n>,"msg": "two <n> words","t":"<n>-<n>-<n>"}"#,
            &["info", "3", "2", "2026", "01", "02"],
        );
        let uuid = "0b5a52ac-e6a6-4a5c-93ab-1e34d36a8bb8";
        check(&format!("x {uuid}."), "x <v>.", &[uuid]);
        check("bad\u{1}byte", "<l>", &["bad\u{1}byte"]);
        check("", "", &[]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn gives_the_line_back(
            line in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                prop::collection::vec(prop::sample::select(b"a f.19=\":, {-\x80".to_vec()), 0..400),
            ],
        ) {
            let mut splitter = Splitter::default();
            splitter.split(&line);
            let mut variables = splitter.variables.iter();
            let mut back = Vec::new();
            for &byte in &splitter.template {
                if !(1..=MARKER_MAX).contains(&byte) {
                    back.push(byte);
                    continue;
                }
                let variable = &line[variables.next().unwrap().clone()];
                prop_assert!(byte == LINE || !variable.is_empty());
                prop_assert!(variable.iter().all(|b| may_hold(byte, *b)));
                back.extend_from_slice(variable);
            }
            prop_assert_eq!(variables.next(), None);
            prop_assert!(splitter.variables.len() <= VARIABLES_MAX);
            prop_assert_eq!(back, line);
        }
    }
}
