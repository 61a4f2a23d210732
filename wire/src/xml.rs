//! The little of XML that answers of APIs have: elements with attributes, elements or text.
//! Comments, processing instructions and document types are passed over.
//!
//! Invariants: nesting is bounded by [`DEPTH_MAX`], elements by [`ELEMENTS_MAX`]; there are no entities but the five of the
//! standard and numbers, so that nothing grows; elements close in the order in which they opened.

use crate::error::WireError;

const FORMAT: &str = "XML";
/// How deep elements may stand in each other.
const DEPTH_MAX: usize = 64;
/// How many elements there may be: each takes more memory than its few bytes.
const ELEMENTS_MAX: usize = 1 << 20;

/// An element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// Its name without the prefix of a name space.
    pub name: String,
    /// Its attributes, as they are written between the quotes.
    pub attributes: Vec<(String, String)>,
    /// What stands in it, put together and without white space around it.
    pub text: String,
    /// The elements in it.
    pub children: Vec<Element>,
}

impl Element {
    /// The first element of a name in it.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// An attribute; empty where there is none.
    pub fn attribute(&self, name: &str) -> &str {
        let found = self.attributes.iter().find(|(n, _)| n == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    /// The elements of a name in the first element of another: a list as Amazon writes it.
    pub fn items<'a>(&'a self, list: &str, item: &'a str) -> impl Iterator<Item = &'a Self> {
        let children = self.child(list).map_or(&[][..], |list| &list.children);
        children.iter().filter(move |child| child.name == item)
    }

    /// The text at the end of a path of names; empty where there is none.
    pub fn at(&self, path: &[&str]) -> &str {
        let mut here = self;
        for name in path {
            match here.child(name) {
                Some(child) => here = child,
                None => return "",
            }
        }
        &here.text
    }
}

/// Reads a document; gives its outermost element.
pub fn decode(bytes: &[u8]) -> Result<Element, WireError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| WireError::at_byte(FORMAT, e.valid_up_to(), "UTF-8"))?;
    let mut reader = Reader { text, at: 0 };
    // The outermost one stands in a nameless one.
    let (mut open, mut count) = (vec![Element::default()], 0);
    while let Some(piece) = reader.next()? {
        match piece {
            Piece::Text(text) => {
                if let Some(last) = open.last_mut().filter(|_| !text.trim().is_empty()) {
                    last.text.push_str(text.trim());
                }
            }
            Piece::Open { name, rest, closed } => {
                let element = Element {
                    name: local(name).to_owned(),
                    attributes: attributes(rest),
                    ..Element::default()
                };
                count += 1;
                if count > ELEMENTS_MAX {
                    return Err(reader.fault(format!("at most {ELEMENTS_MAX} elements")));
                }
                if open.len() > DEPTH_MAX {
                    let expected = format!("at most {DEPTH_MAX} elements in each other");
                    return Err(reader.fault(expected));
                }
                open.push(element);
                if closed {
                    close(&mut open);
                }
            }
            Piece::Close(name) => {
                let opened = open.last().map_or("", |last| last.name.as_str());
                if open.len() < 2 || opened != local(name) {
                    return Err(reader.fault(format!("the end of {opened:?}")));
                }
                close(&mut open);
            }
        }
    }
    let mut outer = open.swap_remove(0);
    match (open.is_empty(), outer.children.pop()) {
        (true, Some(element)) if outer.children.is_empty() => Ok(element),
        _ => Err(reader.fault("one element that ends".to_owned())),
    }
}

/// Puts the element opened last into the one around it.
fn close(open: &mut Vec<Element>) {
    let inner = open.pop();
    if let (Some(inner), Some(outer)) = (inner, open.last_mut()) {
        outer.children.push(inner);
    }
}

/// `NAME="VALUE"` again and again; what is not like that ends it.
fn attributes(mut rest: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    while let Some((name, after)) = rest.split_once('=') {
        let after = after.trim_start();
        let Some(quote) = after.chars().next().filter(|c| ['"', '\''].contains(c)) else {
            break;
        };
        let Some((value, more)) = after[1..].split_once(quote) else {
            break;
        };
        found.push((local(name.trim()).to_owned(), value.to_owned()));
        rest = more;
    }
    found
}

fn local(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or(name)
}

enum Piece<'a> {
    Text(String),
    Open {
        name: &'a str,
        rest: &'a str,
        closed: bool,
    },
    Close(&'a str),
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn fault(&self, expected: String) -> WireError {
        WireError::at_byte(FORMAT, self.at, expected)
    }

    fn next(&mut self) -> Result<Option<Piece<'a>>, WireError> {
        let text = self.text;
        loop {
            let rest = &text[self.at..];
            if rest.is_empty() {
                return Ok(None);
            }
            let Some(tag) = rest.strip_prefix('<') else {
                let end = rest.find('<').unwrap_or(rest.len());
                let read = self.unescape(&rest[..end])?;
                self.at += end;
                return Ok(Some(Piece::Text(read)));
            };
            if let Some(data) = tag.strip_prefix("![CDATA[") {
                let end = self.end(data, "]]>")?;
                self.at += "<![CDATA[".len() + end + "]]>".len();
                return Ok(Some(Piece::Text(data[..end].to_owned())));
            }
            if tag.starts_with("!--") {
                self.at += self.end(rest, "-->")? + "-->".len();
                continue;
            }
            if tag.starts_with(['?', '!']) {
                self.at += self.end(rest, ">")? + 1;
                continue;
            }
            return self.tag(tag).map(Some);
        }
    }

    /// What stands behind `<`. A `>` in a value in quotes does not end it.
    fn tag(&mut self, tag: &'a str) -> Result<Piece<'a>, WireError> {
        let mut quote = None;
        let end = tag.bytes().position(|byte| match (quote, byte) {
            (None, b'>') => true,
            (None, b'"' | b'\'') => {
                quote = Some(byte);
                false
            }
            (Some(open), _) if open == byte => {
                quote = None;
                false
            }
            _ => false,
        });
        let end = end.ok_or_else(|| self.fault("the end of a tag".to_owned()))?;
        let inner = &tag[..end];
        let piece = match inner.strip_prefix('/') {
            Some(name) => Piece::Close(name.trim_end()),
            None => {
                let closed = inner.ends_with('/');
                let name = inner.split(['/', ' ', '\t', '\r', '\n']).next();
                let name = name.filter(|name| !name.is_empty());
                let name = name.ok_or_else(|| self.fault("the name of an element".to_owned()))?;
                let rest = &inner[name.len()..];
                Piece::Open { name, rest, closed }
            }
        };
        self.at += end + 2;
        Ok(piece)
    }

    fn end(&self, text: &str, what: &str) -> Result<usize, WireError> {
        let end = text.find(what);
        end.ok_or_else(|| self.fault(format!("{what:?}")))
    }

    fn unescape(&self, text: &str) -> Result<String, WireError> {
        let mut parts = text.split('&');
        let mut out = parts.next().unwrap_or("").to_owned();
        for part in parts {
            let known = part.split_once(';').and_then(|(name, rest)| {
                let character = match name {
                    "lt" => '<',
                    "gt" => '>',
                    "amp" => '&',
                    "apos" => '\'',
                    "quot" => '"',
                    _ => {
                        let number = name.strip_prefix('#')?;
                        let number = match number.strip_prefix('x') {
                            Some(digits) => u32::from_str_radix(digits, 16),
                            None => number.parse(),
                        };
                        char::from_u32(number.ok()?)?
                    }
                };
                Some((character, rest))
            });
            let (character, rest) =
                known.ok_or_else(|| self.fault("an entity of XML".to_owned()))?;
            out.push(character);
            out.push_str(rest);
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn elements_and_their_texts() {
        let text = "<?xml version=\"1.0\"?>\n<!-- a > b --><a:r x=\"1 > 0\"><l><item> x &amp; &#x41; </item>\
                    <item/><other/></l><t><![CDATA[<&]]></t></a:r>";
        let read = decode(text.as_bytes()).expect("well-formed");
        assert_eq!(read.name, "r");
        let items: Vec<&str> = read.items("l", "item").map(|i| i.text.as_str()).collect();
        assert_eq!(items, ["x & A", ""]);
        assert_eq!(read.at(&["t"]), "<&");
        assert_eq!(read.attribute("x"), "1 > 0");
        assert_eq!(read.attribute("y"), "");
        assert_eq!(read.at(&["l", "none"]), "");
    }

    #[test]
    fn faults_are_told() {
        let deep = "<a>".repeat(DEPTH_MAX + 1);
        let many = "<a/>".repeat(ELEMENTS_MAX + 1);
        for (text, expect) in [
            ("", "one element"),
            ("<a>", "one element"),
            ("<a></b>", "the end of \"a\""),
            ("</a>", "the end of"),
            ("<a/><b/>", "one element"),
            ("<a>&lol;</a>", "an entity"),
            ("<a", "the end of a tag"),
            ("<>", "the name"),
            (deep.as_str(), "at most 64"),
            (many.as_str(), "at most 1048576"),
        ] {
            let fault = decode(text.as_bytes()).expect_err(expect).to_string();
            assert!(fault.contains(expect), "{expect}: {fault}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn no_text_panics(text in "[<>/a b!&;#x\"'\\[\\]CDATA?-]{0,60}") {
            if let Ok(element) = decode(text.as_bytes()) {
                prop_assert!(!element.name.is_empty() || element.children.is_empty());
            }
        }
    }
}
