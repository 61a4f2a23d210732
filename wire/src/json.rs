//! Writing JSON straight into a buffer, without a tree in between.
//!
//! Invariant: commas and escapes are the writer's; whoever calls it only opens, names, gives and
//! closes. Text that is not UTF-8 becomes U+FFFD, so that the output is always valid JSON. The
//! writer keeps no stack; nothing that calls it here nests deeper than its own source text.

use std::io::Write;

/// Appends JSON to a buffer.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    comma: bool,
}

impl<'a> Writer<'a> {
    /// A writer for one value at the end of the buffer.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, comma: false }
    }

    /// Opens an object.
    pub fn object(&mut self) {
        self.open(b'{');
    }

    /// Closes an object.
    pub fn end_object(&mut self) {
        self.close(b'}');
    }

    /// Opens an array.
    pub fn array(&mut self) {
        self.open(b'[');
    }

    /// Closes an array.
    pub fn end_array(&mut self) {
        self.close(b']');
    }

    /// The name of the next value of an object.
    pub fn key(&mut self, name: &str) {
        self.separate();
        escape(self.out, name);
        self.out.push(b':');
        self.comma = false;
    }

    /// A string.
    pub fn string(&mut self, text: &str) {
        self.separate();
        escape(self.out, text);
        self.comma = true;
    }

    /// A string of bytes that are usually UTF-8.
    pub fn text(&mut self, bytes: &[u8]) {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.string(text),
            Err(_) => self.string(&String::from_utf8_lossy(bytes)),
        }
    }

    /// A whole number.
    pub fn integer(&mut self, number: i64) {
        self.raw(format_args!("{number}"));
    }

    /// A whole number without sign.
    pub fn unsigned(&mut self, number: u64) {
        self.raw(format_args!("{number}"));
    }

    /// A number; `null` when JSON has no word for it.
    pub fn number(&mut self, number: f64) {
        if number.is_finite() {
            self.raw(format_args!("{number}"));
        } else {
            self.null();
        }
    }

    /// true or false.
    pub fn bool(&mut self, yes: bool) {
        self.raw(format_args!("{yes}"));
    }

    /// null.
    pub fn null(&mut self) {
        self.raw(format_args!("null"));
    }

    /// A value that the callback writes; it must be JSON.
    pub fn value(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.separate();
        write(self.out);
        self.comma = true;
    }

    /// A name with a string.
    pub fn field(&mut self, name: &str, text: &str) {
        self.key(name);
        self.string(text);
    }

    /// An array of strings.
    pub fn strings<S: AsRef<str>>(&mut self, texts: impl IntoIterator<Item = S>) {
        self.array();
        for text in texts {
            self.string(text.as_ref());
        }
        self.end_array();
    }

    /// An object of strings.
    pub fn pairs<'p>(&mut self, pairs: impl IntoIterator<Item = (&'p str, &'p str)>) {
        self.object();
        for (name, value) in pairs {
            self.field(name, value);
        }
        self.end_object();
    }

    fn raw(&mut self, text: std::fmt::Arguments<'_>) {
        self.separate();
        self.out
            .write_fmt(text)
            .expect("writing to a vector does not fail");
        self.comma = true;
    }

    fn separate(&mut self) {
        if self.comma {
            self.out.push(b',');
        }
    }

    fn open(&mut self, bracket: u8) {
        self.separate();
        self.out.push(bracket);
        self.comma = false;
    }

    fn close(&mut self, bracket: u8) {
        self.out.push(bracket);
        self.comma = true;
    }
}

/// Appends a JSON string with its quotes.
pub fn escape(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut clean = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[clean..at]);
        clean = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(control >> 4)]);
                out.push(HEX[usize::from(control & 15)]);
            }
        }
    }
    out.extend_from_slice(&bytes[clean..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commas_and_nesting() {
        let mut out = Vec::new();
        let mut json = Writer::new(&mut out);
        json.object();
        json.key("a");
        json.array();
        json.integer(-1);
        json.unsigned(2);
        json.number(1.5);
        json.number(f64::NAN);
        json.bool(true);
        json.object();
        json.end_object();
        json.end_array();
        json.field("b", "c\"\n\u{1}");
        json.key("d");
        json.strings(["x", "y"]);
        json.key("e");
        json.pairs([("k", "v"), ("l", "w")]);
        json.key("f");
        json.text(b"\xff");
        json.end_object();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"a\":[-1,2,1.5,null,true,{}],\"b\":\"c\\\"\\n\\u0001\",\
             \"d\":[\"x\",\"y\"],\"e\":{\"k\":\"v\",\"l\":\"w\"},\"f\":\"\u{fffd}\"}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn strings_read_back(text in any::<String>()) {
            let mut out = Vec::new();
            escape(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
