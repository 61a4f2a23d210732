//! Messages on a stream: by a count in front (RFC 6587, octet counting), or up to a line end or a
//! NUL. Which of the two is told by each message's first byte.
//!
//! Invariants: however the bytes arrive in pieces, the messages are the same; a message over the
//! bound is passed by without being held, and told; a declared length reserves nothing.

/// Digits of a count that are read.
const COUNT_DIGITS_MAX: usize = 9;

/// What is on the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A message without its frame.
    Message(Vec<u8>),
    /// A message that is longer than allowed; it is gone.
    TooLong,
}

/// Cuts a stream into messages.
#[derive(Debug)]
pub struct Framer {
    held: Vec<u8>,
    /// Where the first message begins that was not given yet.
    start: usize,
    /// Up to where no end was found.
    looked: usize,
    passing: Passing,
    max: usize,
    ends: &'static [u8],
    counted: bool,
}

/// What is left of a message that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passing {
    Nothing,
    Bytes(usize),
    UntilEnd,
}

impl Framer {
    /// For syslog; `max` bounds one message.
    pub fn syslog(max: usize) -> Self {
        Self::new(max, b"\n\0", true)
    }

    /// For messages that end with NUL.
    pub fn nul(max: usize) -> Self {
        Self::new(max, b"\0", false)
    }

    fn new(max: usize, ends: &'static [u8], counted: bool) -> Self {
        Self {
            held: Vec::new(),
            start: 0,
            looked: 0,
            passing: Passing::Nothing,
            max,
            ends,
            counted,
        }
    }

    /// Adds bytes as they arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.held.drain(..self.start);
            self.looked -= self.start;
            self.start = 0;
        }
        self.held.extend_from_slice(bytes);
    }

    /// Bytes that wait for the rest of their message.
    pub fn held(&self) -> usize {
        self.held.len() - self.start
    }

    /// The next message that is whole.
    pub fn next_frame(&mut self) -> Option<Frame> {
        loop {
            match self.passing {
                Passing::Nothing => {}
                Passing::Bytes(count) => {
                    let passed = count.min(self.held());
                    self.advance(self.start + passed);
                    if passed < count {
                        self.passing = Passing::Bytes(count - passed);
                        return None;
                    }
                    self.passing = Passing::Nothing;
                }
                Passing::UntilEnd => {
                    let Some(end) = self.find_end() else {
                        self.advance(self.held.len());
                        return None;
                    };
                    self.advance(end + 1);
                    self.passing = Passing::Nothing;
                }
            }
            // Ends between messages, as after a counted one.
            while self
                .held
                .get(self.start)
                .is_some_and(|b| self.ends.contains(b))
            {
                self.advance(self.start + 1);
            }
            if let Some(frame) = self.step()? {
                return Some(frame);
            }
        }
    }

    /// What stands at the end of the stream without an end of its own.
    pub fn rest(&mut self) -> Option<Frame> {
        if self.passing != Passing::Nothing || self.held() == 0 {
            return None;
        }
        let message = self.held[self.start..].to_vec();
        self.advance(self.held.len());
        Some(Frame::Message(message))
    }

    fn advance(&mut self, to: usize) {
        self.start = to;
        self.looked = to;
    }

    fn find_end(&mut self) -> Option<usize> {
        let rest = &self.held[self.looked..];
        let found = rest.iter().position(|byte| self.ends.contains(byte));
        match found {
            Some(at) => Some(self.looked + at),
            None => {
                self.looked = self.held.len();
                None
            }
        }
    }

    /// `None`: more bytes are needed; `Some(None)`: go on.
    fn step(&mut self) -> Option<Option<Frame>> {
        match self.count() {
            Count::Unfinished => None,
            Count::Is(digits, length) => {
                let begin = self.start + digits + 1;
                if length > self.max {
                    self.advance(begin);
                    self.passing = Passing::Bytes(length);
                    return Some(Some(Frame::TooLong));
                }
                let message = self.held.get(begin..begin + length)?.to_vec();
                self.advance(begin + length);
                Some((!message.is_empty()).then_some(Frame::Message(message)))
            }
            Count::None => match self.find_end() {
                Some(end) if end - self.start <= self.max => {
                    let message = self.held[self.start..end].to_vec();
                    self.advance(end + 1);
                    Some(Some(Frame::Message(message)))
                }
                Some(end) => {
                    self.advance(end + 1);
                    Some(Some(Frame::TooLong))
                }
                None if self.held() > self.max => {
                    self.advance(self.held.len());
                    self.passing = Passing::UntilEnd;
                    Some(Some(Frame::TooLong))
                }
                None => None,
            },
        }
    }

    /// The count in front of a message: its digits and what they say.
    fn count(&self) -> Count {
        let rest = &self.held[self.start..];
        if !self.counted || !matches!(rest.first(), Some(b'1'..=b'9')) {
            return if rest.is_empty() {
                Count::Unfinished
            } else {
                Count::None
            };
        }
        let mut length = 0usize;
        for (at, byte) in rest.iter().enumerate() {
            match byte {
                b'0'..=b'9' if at < COUNT_DIGITS_MAX => {
                    length = length * 10 + usize::from(byte - b'0');
                }
                b' ' => return Count::Is(at, length),
                _ => return Count::None,
            }
        }
        Count::Unfinished
    }
}

enum Count {
    Unfinished,
    None,
    Is(usize, usize),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(mut framer: Framer, pieces: &[&[u8]]) -> Vec<String> {
        let mut all = Vec::new();
        let mut note = |frame: Frame| match frame {
            Frame::Message(bytes) => all.push(String::from_utf8_lossy(&bytes).into_owned()),
            Frame::TooLong => all.push("too long".to_owned()),
        };
        for piece in pieces {
            framer.push(piece);
            while let Some(frame) = framer.next_frame() {
                note(frame);
            }
        }
        if let Some(frame) = framer.rest() {
            note(frame);
        }
        all
    }

    #[test]
    fn both_framings_on_one_stream() {
        let check = |text: &str, expect: &[&str]| {
            assert_eq!(
                read(Framer::syslog(20), &[text.as_bytes()]),
                expect,
                "{text:?}"
            );
        };
        check(
            "<1>a\n<2>b\r\n5 <3>c\n\n<4>d",
            &["<1>a", "<2>b\r", "<3>c\n", "<4>d"],
        );
        check("4 <1>a4 <2>b\n4 <3>c", &["<1>a", "<2>b", "<3>c"]);
        check("<1>a\0<2>b\0", &["<1>a", "<2>b"]);
        check("2026-11-21 x\n12\n", &["2026-11-21 x", "12"]);
        check(
            "30 <1>aaaaaaaaaaaaaaaaaaaaaaaaaaa4 <2>b",
            &["too long", "<2>b"],
        );
        check(
            "<1>aaaaaaaaaaaaaaaaaaaaaaaaa\n<2>b\n",
            &["too long", "<2>b"],
        );
        check("999999999 x", &["too long"]);
        check("", &[]);
        let nul = read(Framer::nul(20), &[b"{1}\0{2\n}\0"]);
        assert_eq!(nul, ["{1}", "{2\n}"]);
    }

    #[test]
    fn a_declared_length_holds_nothing() {
        let mut framer = Framer::syslog(1 << 20);
        framer.push(b"1000000 <1>");
        assert_eq!(framer.next_frame(), None);
        assert!(framer.held.capacity() < 100);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn pieces_do_not_matter(text in "([1-9][0-9]? )?[<>a-c0-9 \n]{0,40}", cuts in proptest::collection::vec(0usize..45, 0..6)) {
            let whole = read(Framer::syslog(12), &[text.as_bytes()]);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(text.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([text.len()]) {
                pieces.push(&text.as_bytes()[from..cut]);
                from = cut;
            }
            prop_assert_eq!(read(Framer::syslog(12), &pieces), whole);
        }
    }
}
