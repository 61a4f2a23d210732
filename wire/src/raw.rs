//! Reading JSON by slices: the values of a body, the members of an object, the items of an array,
//! each as the bytes it is written with. No tree is built, and numbers keep their text.
//!
//! Invariants: nothing is recursive and nothing is copied but strings with escapes, so that memory
//! is bounded by the input, however deep it nests. A slice goes through [`check`] before it is
//! taken apart; on anything else the walk ends early, but never panics.

use std::borrow::Cow;

use serde::de::IgnoredAny;

/// Whether the bytes are one JSON value; the reason where they are not.
pub(crate) fn check(bytes: &[u8]) -> Result<(), String> {
    match serde_json::from_slice::<IgnoredAny>(bytes) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("JSON ({error})")),
    }
}

/// The values of a body, each as its bytes: the items of an array, or values one after the other
/// with blanks, line ends, commas or nothing in between. They are not checked.
#[derive(Clone, Debug)]
pub(crate) struct Values<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Values<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let mut values = Self { bytes, at: 0 };
        values.blanks();
        if values.bytes.get(values.at) == Some(&b'[') {
            values.at += 1;
        }
        values
    }

    fn blanks(&mut self) {
        while matches!(
            self.bytes.get(self.at),
            Some(b' ' | b'\t' | b'\n' | b'\r' | b',')
        ) {
            self.at += 1;
        }
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.blanks();
        // The end of an array may have another one behind it.
        while matches!(self.bytes.get(self.at), Some(b']')) {
            self.at += 1;
            self.blanks();
            if self.bytes.get(self.at) == Some(&b'[') {
                self.at += 1;
                self.blanks();
            }
        }
        let start = self.at;
        self.at = skip(self.bytes, start)?;
        Some(&self.bytes[start..self.at])
    }
}

/// The members of an object: names, and values as their bytes. Nothing for other values.
pub(crate) fn members(object: &[u8]) -> Members<'_> {
    let at = match object.first() {
        Some(b'{') => 1,
        _ => object.len(),
    };
    Members { bytes: object, at }
}

/// See [`members`].
#[derive(Clone, Debug)]
pub(crate) struct Members<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let name_at = next_of(self.bytes, self.at, b",")?;
        let name_end = skip(self.bytes, name_at)?;
        let value_at = next_of(self.bytes, name_end, b":")?;
        let value_end = skip(self.bytes, value_at)?;
        self.at = value_end;
        let name = string(&self.bytes[name_at..name_end])?;
        Some((name, &self.bytes[value_at..value_end]))
    }
}

/// The first byte after blanks and one of `between`, unless the object ends there.
fn next_of(bytes: &[u8], mut at: usize, between: &[u8]) -> Option<usize> {
    loop {
        match bytes.get(at)? {
            b' ' | b'\t' | b'\n' | b'\r' => at += 1,
            byte if between.contains(byte) => at += 1,
            b'}' | b']' => return None,
            _ => return Some(at),
        }
    }
}

/// The place behind the value that starts at `at`.
fn skip(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' => Some(skip_string(bytes, at)),
        b'{' | b'[' => Some(skip_nested(bytes, at)),
        _ => {
            let ends = |byte: &u8| {
                matches!(
                    byte,
                    b' ' | b'\t' | b'\n' | b'\r' | b',' | b']' | b'}' | b'{' | b'[' | b':' | b'"'
                )
            };
            let length = bytes[at..].iter().position(ends);
            // A stray bracket is a value of its own, so that the walk goes on.
            let length = length.unwrap_or(bytes.len() - at).max(1);
            Some(at + length)
        }
    }
}

fn skip_string(bytes: &[u8], mut at: usize) -> usize {
    at += 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn skip_nested(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0usize;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = skip_string(bytes, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// The text of a JSON string; nothing for other values. What is not UTF-8 and half of a surrogate
/// pair become U+FFFD.
pub(crate) fn string(value: &[u8]) -> Option<Cow<'_, str>> {
    let inner = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if !inner.contains(&b'\\') {
        return Some(String::from_utf8_lossy(inner));
    }
    Some(Cow::Owned(unescape(&String::from_utf8_lossy(inner))))
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let mut chars = rest.chars();
        let Some(escape) = chars.next() else {
            break;
        };
        rest = chars.as_str();
        match escape {
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'u' => {
                let (character, behind) = unicode(rest);
                out.push(character);
                rest = behind;
            }
            other => out.push(other),
        }
    }
    out.push_str(rest);
    out
}

/// The character of the digits behind `\u`, with the second half of a pair.
fn unicode(text: &str) -> (char, &str) {
    let unit = |text: &str| u32::from_str_radix(text.get(..4)?, 16).ok();
    let Some(first) = unit(text) else {
        return (char::REPLACEMENT_CHARACTER, text);
    };
    let rest = &text[4..];
    let second = rest
        .strip_prefix("\\u")
        .and_then(unit)
        .filter(|low| (0xd800..0xdc00).contains(&first) && (0xdc00..0xe000).contains(low));
    match second {
        Some(low) => {
            let code = 0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00);
            let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
            (character, &rest[6..])
        }
        None => {
            let character = char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER);
            (character, rest)
        }
    }
}

/// A value as text: strings without quotes, everything else as it is written; `null` is nothing.
pub(crate) fn text(value: &[u8]) -> Option<Cow<'_, str>> {
    match value.first()? {
        b'n' => None,
        b'"' => string(value),
        _ => Some(String::from_utf8_lossy(value)),
    }
}

/// A member of an object by name; the last one of that name, as JSON readers have it.
pub(crate) fn member<'a>(object: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let found = members(object).filter(|(n, _)| n == name);
    found.map(|(_, value)| value).last()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(body: &str) -> Vec<String> {
        let shown = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        Values::new(body.as_bytes()).map(shown).collect()
    }

    #[test]
    fn bodies_are_taken_apart() {
        let check = |text: &str, expect: &[&str]| assert_eq!(values(text), expect, "{text}");
        check("", &[]);
        check(" [ ] ", &[]);
        check(
            r#"[{"a":[1,"]"]}, 2,"x\",", null]"#,
            &[r#"{"a":[1,"]"]}"#, "2", r#""x\",""#, "null"],
        );
        check(
            "{\"a\":1}{\"b\":{}}\n{\"c\":2}\n",
            &["{\"a\":1}", "{\"b\":{}}", "{\"c\":2}"],
        );
        check("[1][2]\n[3]", &["1", "2", "3"]);
        check("{\"a\":", &["{\"a\":"]);
    }

    #[test]
    fn objects_and_strings() {
        let object =
            br#" {"a" : "x\u00e9\ud83d\ude00\ud800\n" , "b":{"c":[1]}, "d":1.50, "e":null}"#;
        let object = object.trim_ascii();
        let all: Vec<(String, Option<String>)> = members(object)
            .map(|(name, value)| (name.into_owned(), text(value).map(Cow::into_owned)))
            .collect();
        let expect = [
            ("a", Some("xé😀\u{fffd}\n")),
            ("b", Some("{\"c\":[1]}")),
            ("d", Some("1.50")),
            ("e", None),
        ];
        let expect = expect.map(|(n, v)| (n.to_owned(), v.map(str::to_owned)));
        assert_eq!(all, expect);
        assert_eq!(member(object, "d"), Some(&b"1.50"[..]));
        assert_eq!(members(b"[1]").count(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn arbitrary_bytes_end(text in "[\\[\\]{}\",:\\\\ a1u\n]{0,60}") {
            for value in Values::new(text.as_bytes()) {
                prop_assert!(!value.is_empty());
                for (_, inner) in members(value) {
                    prop_assert!(!inner.is_empty());
                    let _text = super::text(inner);
                }
            }
        }

        #[test]
        fn strings_read_as_serde_reads_them(text in any::<String>()) {
            let written = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(string(written.as_bytes()).unwrap(), text);
        }
    }
}
