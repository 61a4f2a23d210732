//! Graphite's lines: `path[;tag=value]* value [time]`.
//!
//! Invariant: a line that cannot be read costs itself only.
//! Format: <https://graphite.readthedocs.io/en/latest/feeding-carbon.html>

use obs_model::Timestamp;

/// A line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The path, as it was sent.
    pub path: String,
    /// Names and values of tags.
    pub tags: Vec<(String, String)>,
    /// The value.
    pub value: f64,
    /// When; the receiver says it for lines that do not.
    pub time: Option<Timestamp>,
}

/// Reads one line, without its end.
pub fn decode_line(line: &[u8]) -> Option<Line> {
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let (head, value, time) = (words.next()?, words.next()?, words.next());
    if words.next().is_some() {
        return None;
    }
    let mut parts = head.split(';');
    let path = parts.next().filter(|path| !path.is_empty())?;
    let mut tags = Vec::new();
    for tag in parts {
        let (name, value) = tag.split_once('=').filter(|(name, _)| !name.is_empty())?;
        tags.push((name.to_owned(), value.to_owned()));
    }
    let value = crate::number::parse(value).filter(|v| v.is_finite())?;
    let time = match time {
        None | Some("-1" | "N") => None,
        Some(text) => Some(crate::number::time_from_seconds(text)?),
    };
    Some(Line {
        path: path.to_owned(),
        tags,
        value,
        time,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines() {
        let line = |path: &str, tags: &[(&str, &str)], value, seconds: Option<i64>| Line {
            path: path.to_owned(),
            tags: tags
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
            value,
            time: seconds.map(Timestamp::from_seconds),
        };
        for (input, expect) in [
            (
                "a.b 1.5 1700000000",
                Some(line("a.b", &[], 1.5, Some(1_700_000_000))),
            ),
            (
                "a;x=y;z=  -2 -1\r",
                Some(line("a", &[("x", "y"), ("z", "")], -2.0, None)),
            ),
            ("a 1", Some(line("a", &[], 1.0, None))),
            ("a", None),
            ("a x 1", None),
            ("a nan 1", None),
            ("a 1 x", None),
            ("a;b 1 1", None),
            ("a 1 1 1", None),
        ] {
            assert_eq!(decode_line(input.as_bytes()), expect, "{input}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Some(line) = decode_line(&bytes) {
                prop_assert!(line.path.len() <= bytes.len());
            }
        }
    }
}
