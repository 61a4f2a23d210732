//! The first line of a connection, with what browsers and `curl -g` leave in an address and HTTP does
//! not allow there: `"`, `<` and `>` are taken as Prometheus takes them, encoded.
//!
//! Invariant: nothing behind the first line is changed, and of that line only these three.

/// A connection's first line as it comes in.
#[derive(Debug, Default)]
pub(crate) struct RequestLine {
    /// Bytes that are to be given on, and how many of them were.
    encoded: Vec<u8>,
    given: usize,
    ended: bool,
}

impl RequestLine {
    /// Of a connection whose bytes are given on as they come, such as TLS.
    pub(crate) fn none() -> Self {
        Self {
            ended: true,
            ..Self::default()
        }
    }

    /// Whether all of the line was given on: bytes need not be shown any more.
    pub(crate) fn is_over(&self) -> bool {
        self.ended && self.rest().is_empty()
    }

    /// What is to be given on next.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.encoded[self.given..]
    }

    /// So many bytes were given on.
    pub(crate) fn give(&mut self, count: usize) {
        self.given += count;
    }

    /// Takes what came in.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.encoded.drain(..std::mem::take(&mut self.given));
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'"' => self.encoded.extend_from_slice(b"%22"),
                b'<' => self.encoded.extend_from_slice(b"%3C"),
                b'>' => self.encoded.extend_from_slice(b"%3E"),
                b'\n' => {
                    self.ended = true;
                    self.encoded.extend_from_slice(&bytes[at..]);
                    return;
                }
                byte => self.encoded.push(*byte),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_line_is_encoded() {
        let text = "GET /q?a=\"x\"<y> HTTP/1.1\r\nhost: \"<>\"\r\n\r\n";
        let expect = "GET /q?a=%22x%22%3Cy%3E HTTP/1.1\r\nhost: \"<>\"\r\n\r\n";
        for (pieces, giving) in [(100, 100), (1, 1), (7, 3), (3, 7)] {
            let (mut line, mut found) = (RequestLine::default(), Vec::new());
            for piece in text.as_bytes().chunks(pieces) {
                if line.is_over() {
                    found.extend_from_slice(piece);
                    continue;
                }
                line.take(piece);
                while !line.rest().is_empty() {
                    let count = line.rest().len().min(giving);
                    found.extend_from_slice(&line.rest()[..count]);
                    line.give(count);
                }
            }
            assert_eq!(String::from_utf8(found).unwrap(), expect);
        }
    }
}
