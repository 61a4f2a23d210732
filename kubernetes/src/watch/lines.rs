//! Lines of a stream that comes in pieces.
//!
//! Invariant: at most [`LINE_BYTES_MAX`] bytes and one piece of the stream are held, and every
//! byte is looked at once.

/// Longest line: ten times the largest object that etcd takes.
pub(super) const LINE_BYTES_MAX: usize = 16 << 20;

/// What came and was not taken yet.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// Where the next line starts.
    start: usize,
    /// Up to where no end of a line was found.
    seen: usize,
}

impl Lines {
    /// Adds a piece. All lines before it must have been taken.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.bytes.drain(..self.start);
        self.seen -= self.start;
        self.start = 0;
        // What one long line took is not held for ever.
        if self.bytes.is_empty() && self.bytes.capacity() > 1 << 20 {
            self.bytes = Vec::new();
        }
        self.bytes.extend_from_slice(piece);
    }

    /// The next whole line without its end.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        let Some(found) = self.bytes[self.seen..].iter().position(|b| *b == b'\n') else {
            self.seen = self.bytes.len();
            return None;
        };
        let (start, end) = (self.start, self.seen + found);
        self.start = end + 1;
        self.seen = end + 1;
        let line = &self.bytes[start..end];
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }

    /// Whether what waits for its end is longer than a line may be.
    pub(super) fn is_too_long(&self) -> bool {
        self.bytes.len() - self.start > LINE_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines_of(pieces: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for piece in pieces {
            lines.push(piece);
            while let Some(line) = lines.next() {
                found.push(line.to_vec());
            }
            assert!(!lines.is_too_long());
        }
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn pieces_do_not_matter(pieces in proptest::collection::vec(proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), Just(b'\r')], 0..20), 0..20)) {
            let whole = pieces.concat();
            prop_assert_eq!(lines_of(&pieces), lines_of(&[whole]));
        }
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let mut lines = Lines::default();
        lines.push(b"a\n");
        assert_eq!(lines.next(), Some(&b"a"[..]));
        lines.push(&vec![b'x'; LINE_BYTES_MAX]);
        assert!(lines.next().is_none() && !lines.is_too_long());
        lines.push(b"y");
        assert!(lines.next().is_none() && lines.is_too_long());
    }
}
