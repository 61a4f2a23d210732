//! Reading an exposition piece by piece, for a reader that remembers the lines of the last one: it
//! needs the labels of new lines only.
//!
//! Invariants: what the pieces give is what the decoders of whole bodies give; where the quick way
//! of a piece is not sure, it says nothing. Faults are told by the decoders of whole bodies.

use obs_model::limits::Limits;
use obs_model::metrics::Metadata;
use obs_model::{Timestamp, time::NANOS_PER_MILLI};

use super::exposition::{Exposition, Lines, ScrapedSample, Tail};
use super::{openmetrics, text};
use crate::cursor::Cursor;
use crate::error::WireError;
use crate::number;

/// The text formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    /// The text exposition format, 0.0.4 and 1.0.0.
    Text,
    /// OpenMetrics.
    OpenMetrics,
}

/// Reads a whole exposition.
pub fn decode(format: TextFormat, bytes: &[u8], limits: &Limits) -> Result<Exposition, WireError> {
    match format {
        TextFormat::Text => text::decode(bytes, limits),
        TextFormat::OpenMetrics => openmetrics::decode(bytes, limits),
    }
}

/// A body of which pieces are read. Places are offsets into [`Body::lines`].
#[derive(Clone, Debug)]
pub struct Body<'a, 'l> {
    format: TextFormat,
    lines: &'a [u8],
    limits: &'l Limits,
    /// The lines, once all of them were found to be UTF-8.
    text: Option<&'a str>,
}

impl<'a, 'l> Body<'a, 'l> {
    /// A body to be read in pieces; `None` where that is not possible, because it is over its
    /// limit or does not end as OpenMetrics usually ends.
    pub fn open(format: TextFormat, bytes: &'a [u8], limits: &'l Limits) -> Option<Self> {
        if bytes.len() > limits.decompressed_bytes_max {
            return None;
        }
        let lines = match format {
            TextFormat::Text => bytes,
            TextFormat::OpenMetrics => {
                let trimmed = bytes.strip_suffix(b"\n").unwrap_or(bytes);
                let lines = trimmed.strip_suffix(b"# EOF")?;
                if !lines.is_empty() && !lines.ends_with(b"\n") {
                    return None;
                }
                lines
            }
        };
        Some(Self {
            format,
            lines,
            limits,
            text: None,
        })
    }

    /// The lines, without the one that ends OpenMetrics.
    pub fn lines(&self) -> &'a [u8] {
        self.lines
    }

    /// Where the next line begins that is not only blanks: indented lines are known to one format.
    pub fn start(&self, mut at: usize) -> usize {
        if self.format == TextFormat::Text {
            while matches!(self.lines.get(at), Some(b' ' | b'\t')) {
                at += 1;
            }
        }
        at
    }

    /// Whether a comment or an empty line begins here.
    pub fn is_comment(&self, at: usize) -> bool {
        match self.lines.get(at) {
            Some(b'#') => true,
            Some(b'\n') => self.format == TextFormat::Text,
            _ => false,
        }
    }

    /// The end of all comments and empty lines that follow each other from here.
    pub fn comments(&self, mut at: usize) -> usize {
        while self.is_comment(at) {
            let rest = &self.lines[at..];
            let length = rest.iter().position(|byte| *byte == b'\n');
            at += length.map_or(rest.len(), |length| length + 1);
        }
        at
    }

    /// The end of the name and labels that begin here; `None` where there are none.
    pub fn head(&self, at: usize) -> Option<usize> {
        let rest = self.lines.get(at..)?;
        let in_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
        let name = rest.iter().position(|byte| !in_name(byte));
        let name = name.unwrap_or(rest.len());
        let mut end = name;
        while matches!(rest.get(end), Some(b' ' | b'\t')) {
            end += 1;
        }
        if rest.get(end) != Some(&b'{') {
            return (name > 0).then_some(at + name);
        }
        let mut quoted = false;
        loop {
            end += 1;
            match (rest.get(end)?, quoted) {
                (b'\\', true) => end += 1,
                (b'"', _) => quoted = !quoted,
                (b'}', false) => return Some(at + end + 1),
                _ => {}
            }
        }
    }

    /// Whether a head that is known can end here: the next line's may only begin like it.
    fn ends_head(&self, at: usize) -> bool {
        let closed = at.checked_sub(1).map(|last| self.lines[last]) == Some(b'}');
        closed || matches!(self.lines.get(at), Some(b' ' | b'\t'))
    }

    /// Reads value and time behind a head, where they are plain, and gives where the next line
    /// begins.
    pub fn plain_tail(&self, at: usize) -> Option<(f64, Option<Timestamp>, usize)> {
        if !self.ends_head(at) {
            return None;
        }
        let blanks = |mut at: usize| {
            while matches!(self.lines.get(at), Some(b' ' | b'\t')) {
                at += 1;
            }
            at
        };
        let at = blanks(at);
        let (value, length) = number::leading(self.lines.get(at..)?)?;
        let at = blanks(at + length);
        match self.lines.get(at) {
            None => Some((value, None, at)),
            Some(b'\n') => Some((value, None, at + 1)),
            Some(_) if self.format == TextFormat::OpenMetrics => None,
            Some(_) => {
                let (millis, end) = plain_millis(self.lines, at)?;
                let end = blanks(end);
                let next = match self.lines.get(end) {
                    None => end,
                    Some(b'\n') => end + 1,
                    Some(_) => return None,
                };
                let time = Timestamp::from_nanos(millis.checked_mul(NANOS_PER_MILLI)?);
                Some((value, Some(time), next))
            }
        }
    }

    /// Reads all that can follow a head, and gives where the next line begins.
    pub fn tail(&mut self, at: usize) -> Option<(Tail, usize)> {
        if !self.ends_head(at) {
            return None;
        }
        let mut lines = self.at(at)?;
        let tail = match self.format {
            TextFormat::Text => text::tail(&mut lines),
            TextFormat::OpenMetrics => openmetrics::tail(&mut lines),
        };
        Some((tail.ok()?, lines.cursor.offset()))
    }

    /// Reads the line that begins here, and gives where the next one does.
    pub fn sample(&mut self, at: usize) -> Option<(ScrapedSample, usize)> {
        let mut lines = self.at(at)?;
        let head = lines.head().ok()?;
        let tail = match self.format {
            TextFormat::Text => text::tail(&mut lines),
            TextFormat::OpenMetrics => openmetrics::tail(&mut lines),
        };
        let sample = ScrapedSample::new(head, tail.ok()?);
        Some((sample, lines.cursor.offset()))
    }

    /// What the comments in some ranges tell; `None` where one of them is not as it must be.
    pub fn metadata(&mut self, ranges: &[(usize, usize)]) -> Option<Vec<Metadata>> {
        let mut lines = self.at(0)?;
        for (from, to) in ranges {
            lines.cursor.seek(*from);
            while lines.cursor.offset() < *to {
                match (self.format, lines.cursor.peek()) {
                    (TextFormat::Text, Some(b'#')) => text::comment(&mut lines).ok()?,
                    (TextFormat::Text, Some(_)) => lines.cursor.bump(),
                    (TextFormat::OpenMetrics, Some(b'#')) => {
                        // The end was taken off; another one is a fault.
                        if openmetrics::comment(&mut lines).ok()? {
                            return None;
                        }
                    }
                    (TextFormat::OpenMetrics, Some(_)) | (_, None) => return None,
                }
            }
        }
        Some(lines.exposition.metadata)
    }

    /// A reader of everything at a place.
    fn at(&mut self, at: usize) -> Option<Lines<'a, 'l>> {
        let text = match self.text {
            Some(text) => text,
            None => *self.text.insert(std::str::from_utf8(self.lines).ok()?),
        };
        let name = match self.format {
            TextFormat::Text => text::FORMAT,
            TextFormat::OpenMetrics => openmetrics::FORMAT,
        };
        let mut cursor = Cursor::new(name, text);
        cursor.seek(at);
        Some(Lines::of(cursor, self.limits))
    }
}

/// Milliseconds of at most 18 digits, and where they end.
fn plain_millis(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    let negative = bytes.get(at) == Some(&b'-');
    let from = at + usize::from(negative);
    let digits = bytes[from..].iter().take_while(|b| b.is_ascii_digit());
    let count = digits.clone().count();
    if !(1..=18).contains(&count) {
        return None;
    }
    let size = digits.fold(0, |n, digit| n * 10 + i64::from(digit - b'0'));
    Some((if negative { -size } else { size }, from + count))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a body in pieces, without remembering anything.
    fn pieces(format: TextFormat, bytes: &[u8]) -> Option<String> {
        let limits = Limits::default();
        let mut body = Body::open(format, bytes, &limits)?;
        let (mut at, mut ranges, mut exposition) = (0, Vec::new(), Exposition::default());
        loop {
            at = body.start(at);
            if at == body.lines().len() {
                break;
            }
            if body.is_comment(at) {
                let end = body.comments(at);
                ranges.push((at, end));
                at = end;
                continue;
            }
            let head = body.head(at);
            let (sample, next) = body.sample(at)?;
            let head = head.expect("a line that is read has a head");
            let (tail, end) = body.tail(head).expect("the same line has a tail");
            assert_eq!(end, next);
            assert_eq!(tail.value.to_bits(), sample.value.to_bits());
            if let Some((value, time, end)) = body.plain_tail(head) {
                assert_eq!(
                    (value.to_bits(), time, end),
                    (tail.value.to_bits(), tail.time, next)
                );
                assert!(tail.exemplar.is_none());
            }
            exposition.samples.push(sample);
            at = next;
        }
        exposition.metadata = body.metadata(&ranges)?;
        Some(format!("{exposition:?}"))
    }

    fn check(format: TextFormat, text: &str) {
        let whole = decode(format, text.as_bytes(), &Limits::default());
        let whole = whole.ok().map(|exposition| format!("{exposition:?}"));
        let found = pieces(format, text.as_bytes());
        // Only an unusual end of OpenMetrics is left to the other decoder.
        let usual = format == TextFormat::Text || text.trim_end_matches('\n').ends_with("\n# EOF");
        if usual || found.is_some() {
            assert_eq!(found, whole, "{text:?}");
        }
    }

    #[test]
    fn pieces_are_the_whole() {
        for text in [
            "",
            "a 1",
            "a 1 2\n  b{c=\"d\"} 3\n\n# TYPE a counter\n#\n# HELP b x\\ny\nb{c=\"e\"}4 -5 \n",
            "a {x=\"}\\\"{\",y=\"\\\\\"} 1\n{\"q.r\",s=\"t\nu\"} 2\n",
            "a 1 x\n",
            "a{\n",
            "a{b=\"c\" 1\n",
            "1a 1\n",
            "# TYPE a nonsense\na 1\n",
            "a\u{e9} 1\n",
            "a{b=\"\u{e9}\"} 1e3\n",
        ] {
            check(TextFormat::Text, text);
            check(TextFormat::OpenMetrics, &format!("{text}# EOF\n"));
        }
        let exemplar = "a_bucket{le=\"1\"} 1 # {t=\"x\"} 2 3.5\nb 1 2.5\n# EOF\n";
        check(TextFormat::OpenMetrics, exemplar);
        check(TextFormat::OpenMetrics, "# EOF\na 1\n# EOF\n");
    }

    #[test]
    fn a_head_is_not_found_in_a_longer_one() {
        let limits = Limits::default();
        for text in [
            "ab 1\n",
            "a1 2\n",
            "a{b=\"c\"} 1\n",
            "aInf 1\n",
            "a {b=\"c\"} 1\n",
        ] {
            let mut body = Body::open(TextFormat::Text, text.as_bytes(), &limits).unwrap();
            assert!(
                body.plain_tail(1).is_none() && body.tail(1).is_none(),
                "{text}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn arbitrary_bytes(
            text in "([a-c0-9{}=\", \n#\\\\+.EOF-]|a 1\n|b\\{c=\"d\"\\} 2\n|# TYPE a gauge\n){0,30}",
            end in any::<bool>(),
        ) {
            check(TextFormat::Text, &text);
            let text = if end { format!("{text}\n# EOF\n") } else { text };
            check(TextFormat::OpenMetrics, &text);
        }
    }
}
