//! JSON lines to labels: flattening, and single values by path.
//!
//! A scanner of our own, because numbers must come back as written, the first of equal keys wins,
//! and what stands before a fault counts. Invariant: depth is bounded, input is never trusted.

/// Deepest nesting that is followed; deeper lines are malformed.
const DEPTH_MAX: usize = 64;

/// Why a line is not JSON, in the words that Loki's users know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JsonFault {
    /// An object does not begin or does not end.
    #[error("Value looks like object, but can't find closing '}}' symbol")]
    Object,
    /// An array does not end.
    #[error("Value is array, but can't find closing ']' symbol")]
    Array,
    /// A text does not end.
    #[error("Value is string, but can't find closing '\"' symbol")]
    Text,
    /// A number or word does not end.
    #[error("Value looks like Number/Boolean/None, but can't find its end: ',' or '}}' symbol")]
    Value,
    /// No value of any kind.
    #[error("Unknown value type")]
    Unknown,
    /// Something else.
    #[error("Malformed JSON error")]
    Malformed,
    /// More than [`DEPTH_MAX`] levels.
    #[error("Value is nested too deeply")]
    Depth,
}

type Scanned<T> = Result<T, JsonFault>;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

/// A path such as `a.b[0]["c d"]`.
pub(crate) fn parse_path(text: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            if inside.starts_with('"') {
                let (after, key) = crate::tokens::string_literal(inside).ok()?;
                steps.push(Step::Key(key));
                rest = after.strip_prefix(']')?;
            } else {
                let (index, after) = inside.split_once(']')?;
                steps.push(Step::Index(index.parse().ok()?));
                rest = after;
            }
            continue;
        }
        if !steps.is_empty() {
            rest = rest.strip_prefix('.')?;
        }
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let key = rest.get(..end)?;
        let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '@' | '$');
        if key.is_empty() || !key.chars().all(word) {
            return None;
        }
        steps.push(Step::Key(key.to_owned()));
        rest = rest.get(end..)?;
    }
    (!steps.is_empty()).then_some(steps)
}

/// Calls `found` with every leaf of an object: its keys as a label name, joined by `_`, and its
/// text, until it says that it has enough. Arrays and nulls are left out, and so is what stands
/// behind the object. Leaves before a fault have been given when the fault comes back.
pub(crate) fn flatten(line: &[u8], found: &mut dyn FnMut(&str, &str) -> bool) -> Scanned<()> {
    let mut scanner = Scanner { bytes: line, at: 0 };
    let mut prefix = String::new();
    scanner.space();
    scanner.object(&mut prefix, 0, found).map(|_| ())
}

/// The text of the value at a path; objects and arrays come back as written, null is empty, `None`
/// is absent. What stands behind the value is not read.
pub(crate) fn locate(line: &[u8], path: &[Step]) -> Scanned<Option<String>> {
    let mut scanner = Scanner { bytes: line, at: 0 };
    scanner.space();
    for step in path {
        scanner.space();
        let inside = match (step, scanner.peek()) {
            (Step::Key(key), Some(b'{')) => scanner.enter_key(key)?,
            (Step::Index(index), Some(b'[')) => scanner.enter_index(*index)?,
            _ => false,
        };
        if !inside {
            return Ok(None);
        }
    }
    scanner.space();
    let start = scanner.at;
    if scanner.peek() == Some(b'"') {
        return scanner.string().map(Some);
    }
    scanner.skip(0)?;
    let text = String::from_utf8_lossy(&line[start..scanner.at]);
    Ok(Some(match text.as_ref() {
        "null" => String::new(),
        text => text.to_owned(),
    }))
}

/// Calls `found` with the text members of an object, as `unpack` needs them.
pub(crate) fn members(line: &[u8], found: &mut dyn FnMut(&str, &str)) -> Scanned<()> {
    let mut scanner = Scanner { bytes: line, at: 0 };
    scanner.space();
    scanner.each(|scanner, key| {
        if scanner.peek() == Some(b'"') {
            let value = scanner.string()?;
            found(key, &value);
            Ok(true)
        } else {
            scanner.skip(1)?;
            Ok(true)
        }
    })?;
    Ok(())
}

/// Adds a key to the keys above it. Empty keys leave no trace.
fn push_key(prefix: &mut String, key: &str) {
    let key = key.trim();
    if key.is_empty() {
        return;
    }
    if !prefix.is_empty() || key.starts_with(|c: char| c.is_ascii_digit()) {
        prefix.push('_');
    }
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '_';
    prefix.extend(key.chars().map(|c| if fine(c) { c } else { '_' }));
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8, fault: JsonFault) -> Scanned<()> {
        if self.peek() != Some(byte) {
            return Err(fault);
        }
        self.at += 1;
        Ok(())
    }

    /// Walks the members of the object here; `visit` stands at the value, takes it, and says
    /// whether to go on (if not, the walk ends where it stands and gives `true`).
    fn each(&mut self, mut visit: impl FnMut(&mut Self, &str) -> Scanned<bool>) -> Scanned<bool> {
        self.take(b'{', JsonFault::Object)?;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(false);
        }
        loop {
            self.space();
            let key = self.string()?;
            self.space();
            self.take(b':', JsonFault::Malformed)?;
            self.space();
            if !visit(self, &key)? {
                return Ok(true);
            }
            self.space();
            if self.peek() == Some(b'}') {
                self.at += 1;
                return Ok(false);
            }
            self.take(b',', JsonFault::Object)?;
        }
    }

    fn enter_key(&mut self, wanted: &str) -> Scanned<bool> {
        self.each(|scanner, key| {
            if key == wanted {
                return Ok(false);
            }
            scanner.skip(1)?;
            Ok(true)
        })
    }

    fn enter_index(&mut self, wanted: usize) -> Scanned<bool> {
        self.take(b'[', JsonFault::Array)?;
        for index in 0.. {
            self.space();
            if self.peek() == Some(b']') {
                return Ok(false);
            }
            if index == wanted {
                return Ok(true);
            }
            self.skip(1)?;
            self.space();
            if self.peek() == Some(b']') {
                return Ok(false);
            }
            self.take(b',', JsonFault::Array)?;
        }
        Ok(false)
    }

    /// Gives the leaves of the object here; `true` where enough were found.
    fn object(
        &mut self,
        prefix: &mut String,
        depth: usize,
        found: &mut dyn FnMut(&str, &str) -> bool,
    ) -> Scanned<bool> {
        if depth >= DEPTH_MAX {
            return Err(JsonFault::Depth);
        }
        self.each(|scanner, key| {
            let length = prefix.len();
            push_key(prefix, key);
            let start = scanner.at;
            let more = match scanner.peek() {
                Some(b'{') => !scanner.object(prefix, depth + 1, found)?,
                Some(b'"') => {
                    let value = scanner.string()?;
                    found(prefix, &value)
                }
                Some(b'[' | b'n') => {
                    scanner.skip(depth + 1)?;
                    true
                }
                _ => {
                    scanner.skip(depth + 1)?;
                    if scanner.peek().is_none() {
                        return Err(JsonFault::Value);
                    }
                    let text = String::from_utf8_lossy(&scanner.bytes[start..scanner.at]);
                    found(prefix, &text)
                }
            };
            prefix.truncate(length);
            Ok(more)
        })
    }

    /// Goes behind the value here.
    fn skip(&mut self, depth: usize) -> Scanned<()> {
        if depth >= DEPTH_MAX {
            return Err(JsonFault::Depth);
        }
        match self.peek() {
            Some(b'{') => self
                .each(|scanner, _| scanner.skip(depth + 1).map(|()| true))
                .map(|_| ()),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string_end().map(|_| ()),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(JsonFault::Unknown),
        }
    }

    fn array(&mut self, depth: usize) -> Scanned<()> {
        self.take(b'[', JsonFault::Array)?;
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            self.skip(depth + 1)?;
            self.space();
            if self.peek() == Some(b']') {
                self.at += 1;
                return Ok(());
            }
            self.take(b',', JsonFault::Array)?;
        }
    }

    fn word(&mut self, word: &'static [u8]) -> Scanned<()> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(JsonFault::Unknown);
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Scanned<()> {
        let start = self.at;
        while matches!(
            self.peek(),
            Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
        ) {
            self.at += 1;
        }
        let text = std::str::from_utf8(&self.bytes[start..self.at]).unwrap_or("");
        if text.parse::<f64>().is_err() {
            return Err(JsonFault::Unknown);
        }
        Ok(())
    }

    /// Goes behind the string here; says whether it holds escapes.
    fn string_end(&mut self) -> Scanned<bool> {
        self.take(b'"', JsonFault::Object)?;
        let mut escaped = false;
        loop {
            match self.peek() {
                None => return Err(JsonFault::Text),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                }
                Some(_) => self.at += 1,
            }
        }
    }

    fn string(&mut self) -> Scanned<String> {
        let start = self.at;
        let escaped = self.string_end()?;
        let inside = self
            .bytes
            .get(start + 1..self.at - 1)
            .ok_or(JsonFault::Text)?;
        if !escaped {
            return Ok(String::from_utf8_lossy(inside).into_owned());
        }
        let text = String::from_utf8_lossy(&self.bytes[start..self.at]);
        if let Ok(value) = serde_json::from_str(&text) {
            return Ok(value);
        }
        // A text that cannot be unescaped is empty.
        Ok(String::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flat(line: &str) -> (Vec<String>, bool) {
        let mut found = Vec::new();
        let result = flatten(line.as_bytes(), &mut |key, value| {
            found.push(format!("{key}={value}"));
            true
        });
        (found, result.is_ok())
    }

    #[test]
    fn flattens() {
        let check = |line: &str, expect: &[&str], ok: bool| {
            let (found, is_ok) = flat(line);
            assert_eq!(
                (found.as_slice(), is_ok),
                (
                    expect
                        .iter()
                        .map(|s| (*s).to_owned())
                        .collect::<Vec<_>>()
                        .as_slice(),
                    ok
                ),
                "{line}"
            );
        };
        check(
            r#"{"a":"x","b":{"c":1.50,"d":{"e":true}}}"#,
            &["a=x", "b_c=1.50", "b_d_e=true"],
            true,
        );
        check(
            r#"{"a":[1,{"b":2}],"n":null,"s":"q\"\u00e9"}"#,
            &["s=q\"é"],
            true,
        );
        check(r#" {} "#, &[], true);
        check(r#"{"a":1,"b":"#, &["a=1"], false);
        check(r#"[1]"#, &[], false);
        check("", &[], false);
        check(r#"{"a":1} x"#, &["a=1"], true);
        check(
            r#"{"a.b":1," c ":{"":2,"d-e":3},"9":4,"":5}"#,
            &["a_b=1", "c=2", "c_d_e=3", "_9=4", "=5"],
            true,
        );
        check(r#"{"a":"\"#, &[], false);
        let deep = format!("{}{}", r#"{"a":"#.repeat(100), "}".repeat(100));
        check(&deep, &[], false);
    }

    #[test]
    fn paths() {
        let line = br#"{"a":{"b":[10,{"c d":"x"}]},"e":null,"f":"s"}"#;
        let check = |path: &str, expect: Option<&str>| {
            let steps = parse_path(path).unwrap();
            assert_eq!(locate(line, &steps).unwrap().as_deref(), expect, "{path}");
        };
        check("a.b[0]", Some("10"));
        check("a.b[1][\"c d\"]", Some("x"));
        check("a.b", Some(r#"[10,{"c d":"x"}]"#));
        check("a.b[2]", None);
        check("a.x", None);
        check("e", Some(""));
        check("[\"f\"]", Some("s"));
        for bad in ["", "a..b", "a[", "a[x]", ".a", "a b"] {
            assert_eq!(parse_path(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(line in proptest::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}\":,a0\\\\ ]{0,60}") {
            let mut count = 0usize;
            let first = flatten(&line, &mut |_, _| {
                count += 1;
                true
            });
            let second = flatten(text.as_bytes(), &mut |_, _| {
                count += 1;
                true
            });
            let third = locate(text.as_bytes(), &[Step::Key("a".into()), Step::Index(0)]);
            prop_assert!(count <= line.len() + text.len());
            let object = |bytes: &[u8]| bytes.trim_ascii_start().first() == Some(&b'\x7b');
            prop_assert!(first.is_err() || object(&line));
            prop_assert!(second.is_err() || object(text.as_bytes()));
            prop_assert!(object(text.as_bytes()) || third == Ok(None));
        }
    }
}
