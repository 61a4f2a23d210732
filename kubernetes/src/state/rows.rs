//! What is kept of an object: the tails of its lines, with the labels that all of them begin with
//! written once.
//!
//! A row is the number of its family, the length of its tail and the tail (`,phase="Running"} 1`);
//! rows are in the order of the families. An object of 50 lines takes some 2 KiB where its lines
//! take 8; the name, the object's labels and what a family says of itself are put before each tail
//! when somebody scrapes. The object itself is not kept.
//!
//! Invariant: rows of one object never go back in family, so that one cursor an object reads all
//! families in one pass.

use std::sync::Arc;

use obs_wire::prometheus::text;

/// The rows of one object, ready to be printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rendered(Arc<[u8]>);

/// Where the next row of an object is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    at: usize,
}

/// Writes the rows of one object.
#[derive(Debug, Default)]
pub(super) struct Rows {
    bytes: Vec<u8>,
    tail: Vec<u8>,
    family: usize,
}

impl Rows {
    /// Begins an object with the labels of all its lines.
    pub(super) fn begin<'v>(&mut self, shared: impl Iterator<Item = (&'v str, &'v str)>) {
        self.bytes.clear();
        self.tail.clear();
        for (name, value) in shared {
            if !self.tail.is_empty() {
                self.tail.push(b',');
            }
            label(&mut self.tail, name, value);
        }
        put_number(&mut self.bytes, self.tail.len());
        self.bytes.extend_from_slice(&self.tail);
        self.family = 0;
    }

    /// The family of the rows to come.
    pub(super) fn family(&mut self, number: usize) {
        debug_assert!(number >= self.family, "families come in order");
        self.family = number;
    }

    /// A line with labels of its own.
    pub(super) fn put(&mut self, labels: &[(&str, &str)], value: f64) {
        self.row(labels.iter().copied(), value);
    }

    /// A line with labels whose names were made.
    pub(super) fn put_named(&mut self, labels: &[(String, String)], value: f64) {
        let labels = labels
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        self.row(labels, value);
    }

    fn row<'v>(&mut self, labels: impl Iterator<Item = (&'v str, &'v str)>, value: f64) {
        self.tail.clear();
        for (name, value) in labels {
            self.tail.push(b',');
            label(&mut self.tail, name, value);
        }
        self.tail.extend_from_slice(b"} ");
        text::write_value(&mut self.tail, value);
        put_number(&mut self.bytes, self.family);
        put_number(&mut self.bytes, self.tail.len());
        self.bytes.extend_from_slice(&self.tail);
    }

    /// The object's rows; nothing where it has none.
    pub(super) fn end(&mut self) -> Option<Rendered> {
        let (length, at) = number(&self.bytes, 0);
        (at + length < self.bytes.len()).then(|| Rendered(self.bytes.as_slice().into()))
    }
}

impl Rendered {
    /// Before the first row.
    pub(super) fn start(&self) -> Cursor {
        let (length, at) = number(&self.0, 0);
        Cursor { at: at + length }
    }

    /// Prints the rows of a family, which are those that come next if there are any.
    pub(super) fn print(&self, cursor: &mut Cursor, family: usize, name: &str, out: &mut Vec<u8>) {
        while cursor.at < self.0.len() {
            let (row_family, at) = number(&self.0, cursor.at);
            if row_family != family {
                return;
            }
            let (length, at) = number(&self.0, at);
            out.extend_from_slice(name.as_bytes());
            out.push(b'{');
            let shared = self.shared();
            let tail = &self.0[at..at + length];
            out.extend_from_slice(shared);
            let alone = shared.is_empty() && tail.first() == Some(&b',');
            out.extend_from_slice(&tail[usize::from(alone)..]);
            out.push(b'\n');
            cursor.at = at + length;
        }
    }

    fn shared(&self) -> &[u8] {
        let (length, at) = number(&self.0, 0);
        &self.0[at..at + length]
    }

    /// Bytes that are kept.
    pub(super) fn size(&self) -> usize {
        self.0.len()
    }
}

fn label(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
    text::write_label_value(out, value);
    out.push(b'"');
}

/// Seven bits a byte, the lowest first.
fn put_number(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7f) as u8);
}

/// Reads what [`put_number`] wrote, and where it ends. The bytes are our own.
fn number(bytes: &[u8], mut at: usize) -> (usize, usize) {
    let (mut number, mut shift) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        at += 1;
        number |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
        shift += 7;
    }
    (number, at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rows_are_printed_by_family() {
        let mut rows = Rows::default();
        rows.begin([("namespace", "a"), ("pod", "b\"c")].into_iter());
        rows.family(0);
        rows.put(&[], 1.0);
        rows.family(2);
        rows.put(&[("phase", "Running")], 1.0);
        rows.put(&[("phase", "Failed")], 1.5e9);
        let object = rows.end().unwrap();
        let mut cursor = object.start();
        let mut out = Vec::new();
        for (family, name) in ["first", "second", "third"].iter().enumerate() {
            object.print(&mut cursor, family, name, &mut out);
        }
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "first{namespace=\"a\",pod=\"b\\\"c\"} 1\n\
             third{namespace=\"a\",pod=\"b\\\"c\",phase=\"Running\"} 1\n\
             third{namespace=\"a\",pod=\"b\\\"c\",phase=\"Failed\"} 1.5e+09\n"
        );
    }

    #[test]
    fn lines_without_shared_labels() {
        let mut rows = Rows::default();
        rows.begin(std::iter::empty());
        rows.put(&[("a", "b")], 2.0);
        rows.put(&[], 3.0);
        let object = rows.end().unwrap();
        let mut out = Vec::new();
        object.print(&mut object.start(), 0, "x", &mut out);
        assert_eq!(out, b"x{a=\"b\"} 2\nx{} 3\n");
        rows.begin([("a", "b")].into_iter());
        assert_eq!(rows.end(), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn numbers_come_back(values in prop::collection::vec(any::<u32>(), 0..8)) {
            let mut bytes = Vec::new();
            for value in &values {
                put_number(&mut bytes, *value as usize);
            }
            let mut at = 0;
            for value in &values {
                let (read, end) = number(&bytes, at);
                prop_assert_eq!(read, *value as usize);
                at = end;
            }
            prop_assert_eq!(at, bytes.len());
        }
    }
}
