//! Log bodies in protobuf whose texts are not UTF-8, which the format forbids and senders send.
//!
//! One odd byte of one line must not cost a batch, so that such a body is mended in place and read
//! again. Invariants: lengths stay, so that nothing has to be written anew; the bytes of a value
//! stay as they are, only its field becomes [`RAW_TEXT`], which says that they are no UTF-8; of the
//! other texts (names, severities) each byte that belongs to no character becomes `?`. A body that
//! is damaged in another way is left alone.

use std::borrow::Cow;

/// The field of `AnyValue` for text that is not UTF-8. The schema has no such field.
pub(crate) const RAW_TEXT: u32 = 15;
const RAW_TEXT_KEY: u8 = (RAW_TEXT as u8) << 3 | 2;
/// The field of `AnyValue` for text, as it is usually written.
const TEXT_KEY: u8 = 1 << 3 | 2;
/// Nesting of messages, as in `shape`.
const MESSAGES_DEEP_MAX: usize = 96;

/// The fields of a message that are, or have, texts.
struct Texts(&'static [(u64, Kind)]);

enum Kind {
    Message(&'static Texts),
    Text,
    /// Text that may become [`RAW_TEXT`].
    Value,
}

use Kind::{Message, Text, Value};

static LOGS: Texts = Texts(&[(1, Message(&RESOURCE_LOGS))]);
static RESOURCE_LOGS: Texts = Texts(&[
    (1, Message(&RESOURCE)),
    (2, Message(&SCOPE_LOGS)),
    (3, Text),
]);
static RESOURCE: Texts = Texts(&[(1, Message(&PAIR))]);
static SCOPE_LOGS: Texts = Texts(&[(1, Message(&SCOPE)), (2, Message(&RECORD)), (3, Text)]);
static SCOPE: Texts = Texts(&[(1, Text), (2, Text), (3, Message(&PAIR))]);
static RECORD: Texts = Texts(&[
    (3, Text),
    (5, Message(&ANY)),
    (6, Message(&PAIR)),
    (12, Text),
]);
static PAIR: Texts = Texts(&[(1, Text), (2, Message(&ANY))]);
static ANY: Texts = Texts(&[(1, Value), (5, Message(&ARRAY)), (6, Message(&LIST))]);
static ARRAY: Texts = Texts(&[(1, Message(&ANY))]);
static LIST: Texts = Texts(&[(1, Message(&PAIR))]);

/// The body of a request of logs with its texts mended, and how many were not UTF-8; `None` where
/// none was, or the body is damaged in another way.
pub(crate) fn logs(body: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut mended = Cow::Borrowed(body);
    let mut count = 0;
    walk(&mut mended, (0, body.len()), &LOGS, 0, &mut count)?;
    (count > 0).then(|| (mended.into_owned(), count))
}

fn walk(
    body: &mut Cow<'_, [u8]>,
    (mut at, end): (usize, usize),
    texts: &'static Texts,
    depth: usize,
    count: &mut usize,
) -> Option<()> {
    if depth > MESSAGES_DEEP_MAX {
        return None;
    }
    while at < end {
        let key_at = at;
        let key = varint(body, &mut at, end)?;
        let skipped = match key & 7 {
            0 => {
                varint(body, &mut at, end)?;
                continue;
            }
            1 => 8,
            5 => 4,
            2 => usize::try_from(varint(body, &mut at, end)?).ok()?,
            _ => return None,
        };
        let from = at;
        at = at.checked_add(skipped).filter(|at| *at <= end)?;
        let known = texts.0.iter().find(|(number, _)| *number == key >> 3);
        let Some((_, kind)) = known.filter(|_| key & 7 == 2) else {
            continue;
        };
        match kind {
            Message(inner) => walk(body, (from, at), inner, depth + 1, count)?,
            Text | Value if std::str::from_utf8(&body[from..at]).is_ok() => {}
            Value if body[key_at] == TEXT_KEY => {
                body.to_mut()[key_at] = RAW_TEXT_KEY;
                *count += 1;
            }
            Text | Value => {
                question(&mut body.to_mut()[from..at]);
                *count += 1;
            }
        }
    }
    Some(())
}

/// Each byte that belongs to no character becomes `?`.
fn question(text: &mut [u8]) {
    let mut at = 0;
    while let Err(error) = std::str::from_utf8(&text[at..]) {
        let odd = at + error.valid_up_to();
        let length = error.error_len().unwrap_or(text.len() - odd);
        text[odd..odd + length].fill(b'?');
        at = odd + length;
    }
}

fn varint(body: &[u8], at: &mut usize, end: usize) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let byte = *body.get(*at).filter(|_| *at < end)?;
        *at += 1;
        value |= u64::from(byte & 0x7f).wrapping_shl(shift);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, prop_assert, proptest};

    use super::*;
    use crate::protobuf::put;

    fn any(out: &mut Vec<u8>, number: u32, text: &[u8]) {
        put::message(out, number, |out| put::bytes(out, 1, text));
    }

    fn body(line: &[u8], name: &[u8], value: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        put::message(&mut body, 1, |out| {
            put::message(out, 2, |out| {
                put::message(out, 2, |out| {
                    any(out, 5, line);
                    put::message(out, 6, |out| {
                        put::bytes(out, 1, name);
                        any(out, 2, value);
                    });
                });
            });
        });
        body
    }

    #[test]
    fn texts_are_mended_in_place() {
        let check = |line: &[u8], name: &[u8], value: &[u8], expect: usize| {
            let body = body(line, name, value);
            let mended = logs(&body);
            assert_eq!(mended.as_ref().map_or(0, |(_, count)| *count), expect);
            if let Some((mended, _)) = mended {
                assert_eq!(mended.len(), body.len());
                assert_eq!(logs(&mended), None, "nothing is left to mend");
            }
        };
        check(b"x", b"n", b"v", 0);
        check(b"\xff", b"n", b"v", 1);
        check(b"a\xc3", b"\xf0\x9f", "ä\u{80}".as_bytes(), 2);
        check(b"\xff", b"\xfe", b"\xfd", 3);
        let mut text = b"a\xffb\xe2\x82c\xc3".to_vec();
        question(&mut text);
        assert_eq!(text, b"a?b??c?");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            if let Some((mended, count)) = logs(&bytes) {
                prop_assert!(count > 0 && mended.len() == bytes.len());
            }
        }
    }
}
