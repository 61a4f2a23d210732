//! Lines as container runtimes write them: CRI's text and Docker's JSON.
//!
//! Invariants: any bytes are a line of some kind (what is neither form is a raw line); the content
//! keeps its bytes. Formats: Kubernetes' CRI logging and Docker's `json-file` driver.

use std::borrow::Cow;

use obs_model::Timestamp;
use obs_model::time::{days_from_civil, parse_rfc3339};
use serde::Deserialize;

/// Where a line was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Out {
    /// A file that does not say.
    File,
    Stdout,
    Stderr,
}

impl Out {
    /// The label's value.
    pub(super) fn as_str(self) -> Option<&'static str> {
        match self {
            Self::File => None,
            Self::Stdout => Some("stdout"),
            Self::Stderr => Some("stderr"),
        }
    }
}

/// A line, or a piece of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub time: Option<Timestamp>,
    pub out: Out,
    /// The rest of the line follows.
    pub partial: bool,
    pub text: Cow<'a, [u8]>,
}

impl<'a> Line<'a> {
    pub(super) fn raw(bytes: &'a [u8]) -> Self {
        Self {
            time: None,
            out: Out::File,
            partial: false,
            text: Cow::Borrowed(bytes),
        }
    }
}

/// Reads a line in either form.
pub(super) fn parse(bytes: &[u8]) -> Line<'_> {
    let parsed = match bytes.first() {
        Some(b'{') => docker(bytes),
        Some(_) => cri(bytes),
        None => None,
    };
    parsed.unwrap_or_else(|| Line::raw(bytes))
}

/// `<time> <stream> <F|P>[:tag…] <content>`
fn cri(bytes: &[u8]) -> Option<Line<'_>> {
    let first = memchr::memchr(b' ', bytes)?;
    let time = time(&bytes[..first])?;
    let rest = &bytes[first + 1..];
    let (out, rest) = match (rest.strip_prefix(b"stdout "), rest.strip_prefix(b"stderr ")) {
        (Some(rest), _) => (Out::Stdout, rest),
        (_, Some(rest)) => (Out::Stderr, rest),
        (None, None) => return None,
    };
    let (tags, text) = match memchr::memchr(b' ', rest) {
        Some(end) => (&rest[..end], &rest[end + 1..]),
        // Nothing behind the tags, not even the space.
        None => (rest, &rest[rest.len()..]),
    };
    let partial = match tags {
        [b'F'] | [b'F', b':', ..] => false,
        [b'P'] | [b'P', b':', ..] => true,
        _ => return None,
    };
    Some(Line {
        time: Some(time),
        out,
        partial,
        text: Cow::Borrowed(text),
    })
}

fn two(bytes: &[u8], at: usize) -> Option<i64> {
    let digit = |b: u8| b.is_ascii_digit().then(|| i64::from(b - b'0'));
    Some(digit(*bytes.get(at)?)? * 10 + digit(*bytes.get(at + 1)?)?)
}

/// RFC 3339; the form that runtimes write is read without detours.
fn time(bytes: &[u8]) -> Option<Timestamp> {
    quick(bytes).or_else(|| parse_rfc3339(std::str::from_utf8(bytes).ok()?))
}

/// `2026-11-21T12:34:56.123456789Z`
fn quick(bytes: &[u8]) -> Option<Timestamp> {
    let marks = [
        (4, b'-'),
        (7, b'-'),
        (10, b'T'),
        (13, b':'),
        (16, b':'),
        (19, b'.'),
    ];
    if bytes.last() != Some(&b'Z') || marks.iter().any(|(at, mark)| bytes.get(*at) != Some(mark)) {
        return None;
    }
    let year = two(bytes, 0)? * 100 + two(bytes, 2)?;
    let (month, day) = (two(bytes, 5)?, two(bytes, 8)?);
    let (hour, minute, second) = (two(bytes, 11)?, two(bytes, 14)?, two(bytes, 17)?);
    let in_range = (1..=12).contains(&month) && (1..=28).contains(&day);
    if !in_range || hour > 23 || minute > 59 || second > 59 {
        // The last days of months and leap seconds take the long way.
        return None;
    }
    let fraction = &bytes[20..bytes.len() - 1];
    if fraction.is_empty() || fraction.len() > 9 || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut nanos = 0;
    for index in 0..9 {
        nanos = nanos * 10 + fraction.get(index).map_or(0, |b| i64::from(b - b'0'));
    }
    let seconds = (days_from_civil(year, month, day) * 24 + hour) * 3600 + minute * 60 + second;
    Some(Timestamp::from_nanos(
        seconds.checked_mul(1_000_000_000)?.checked_add(nanos)?,
    ))
}

/// Docker's form; other fields (`attrs`) are passed over.
#[derive(Deserialize)]
struct Docker<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// `{"log":"…\n","stream":"stdout","time":"…"}`; a piece of a line has no line end.
fn docker(bytes: &[u8]) -> Option<Line<'_>> {
    let Docker { log, stream, time } = serde_json::from_slice(bytes).ok()?;
    let out = match &*stream {
        "stdout" => Out::Stdout,
        "stderr" => Out::Stderr,
        _ => return None,
    };
    let end = log.strip_suffix('\n');
    let length = end.map_or(log.len(), |text| {
        text.strip_suffix('\r').unwrap_or(text).len()
    });
    let partial = end.is_none();
    let text = match log {
        Cow::Borrowed(text) => Cow::Borrowed(&text.as_bytes()[..length]),
        Cow::Owned(text) => {
            let mut text = text.into_bytes();
            text.truncate(length);
            Cow::Owned(text)
        }
    };
    Some(Line {
        time: self::time(time.as_bytes()),
        out,
        partial,
        text,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expect: Option<(&str, Out, bool, &str)>) {
        let line = parse(text.as_bytes());
        match expect {
            None => assert_eq!(line, Line::raw(text.as_bytes())),
            Some((at, out, partial, content)) => {
                assert_eq!(line.time, parse_rfc3339(at), "{text}");
                assert_eq!((line.out, line.partial), (out, partial), "{text}");
                assert_eq!(line.text, content.as_bytes(), "{text}");
            }
        }
    }

    #[test]
    fn both_forms() {
        let at = "2026-11-21T12:34:56.123456789Z";
        check(
            &format!("{at} stdout F hello  you"),
            Some((at, Out::Stdout, false, "hello  you")),
        );
        check(
            &format!("{at} stderr P part"),
            Some((at, Out::Stderr, true, "part")),
        );
        check(
            &format!("{at} stdout F:x:y "),
            Some((at, Out::Stdout, false, "")),
        );
        check(
            &format!("{at} stdout F"),
            Some((at, Out::Stdout, false, "")),
        );
        let zone = "2026-11-30T12:34:56.5+01:00";
        check(
            &format!("{zone} stdout F x"),
            Some((zone, Out::Stdout, false, "x")),
        );
        check(&format!("{at} stdin F x"), None);
        check(&format!("{at} stdout X x"), None);
        check("plain text", None);
        check("", None);
        let json =
            r#"{"log":"a \"b\"\n","stream":"stderr","time":"2026-11-21T12:34:56.123456789Z"}"#;
        check(json, Some((at, Out::Stderr, false, "a \"b\"")));
        let json = r#"{"log":"part","stream":"stdout","time":"2026-11-21T12:34:56.123456789Z"}"#;
        check(json, Some((at, Out::Stdout, true, "part")));
        let json = r#"{"time":"2026-11-21T12:34:56.123456789Z","attrs":{"a":[1]},"stream":"stdout","log":"\u00e9\r\n"}"#;
        check(json, Some((at, Out::Stdout, false, "é")));
        check(r#"{"log":1}"#, None);
        check(r#"{"message":"an application's own"}"#, None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn times_are_read_alike(nanos in 0i64..4_000_000_000_000_000_000, digits in 1usize..=9) {
            let unit = 10i64.pow(9 - u32::try_from(digits).unwrap());
            let at = Timestamp::from_nanos(nanos / unit * unit);
            let whole = format!("{at}");
            let text = match whole.split_once('.') {
                Some(_) => whole,
                None => whole.replace('Z', ".0Z"),
            };
            prop_assert_eq!(time(text.as_bytes()), parse_rfc3339(&text));
        }

        #[test]
        fn any_bytes_are_a_line(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(parse(&bytes).text.len() <= bytes.len());
        }

        #[test]
        fn content_keeps_its_bytes(content in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut line = b"2026-11-21T12:34:56.123456789Z stdout F ".to_vec();
            line.extend_from_slice(&content);
            prop_assert_eq!(&*parse(&line).text, &content[..]);
        }
    }
}
