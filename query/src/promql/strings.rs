//! Quoted texts with Go's escapes, as PromQL, LogQL and TraceQL write them.

/// Why a quoted text is malformed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StringFault {
    /// Byte offset from the opening quote.
    pub(crate) offset: usize,
    /// What should stand there.
    pub(crate) expected: &'static str,
    /// What does.
    pub(crate) found: String,
}

/// The value of the quoted text that `input` starts with, and its length in bytes with quotes.
/// `input` starts with `"`, `'` or a backtick; the last knows no escapes.
pub(crate) fn unquote(input: &str) -> Result<(String, usize), StringFault> {
    let fault = |offset: usize, expected: &'static str| StringFault {
        offset,
        expected,
        found: match input[offset..].chars().next() {
            Some('\n') | None => "end of line".to_owned(),
            Some(c) => format!("{:?}", c.to_string()),
        },
    };
    let quote = input.chars().next().unwrap_or('"');
    if quote == '`' {
        let end = input[1..]
            .find('`')
            .ok_or_else(|| fault(input.len(), "a closing quote"))?;
        return Ok((input[1..=end].replace('\r', ""), end + 2));
    }
    let mut bytes = Vec::new();
    let mut at = 1;
    loop {
        let Some(c) = input[at..].chars().next().filter(|c| *c != '\n') else {
            return Err(fault(at, "a closing quote"));
        };
        if c == quote {
            // Escapes may spell bytes that are not UTF-8; labels and texts are, so they are mended.
            let value = String::from_utf8_lossy(&bytes).into_owned();
            return Ok((value, at + 1));
        }
        if c != '\\' {
            bytes.extend_from_slice(&input.as_bytes()[at..at + c.len_utf8()]);
            at += c.len_utf8();
            continue;
        }
        let length = escape(&input[at + 1..], quote, &mut bytes)
            .ok_or_else(|| fault((at + 1).min(input.len()), "an escape sequence"))?;
        at += 1 + length;
    }
}

/// Decodes what follows a backslash; gives its length in bytes.
fn escape(rest: &str, quote: char, out: &mut Vec<u8>) -> Option<usize> {
    let c = rest.chars().next()?;
    let simple = match c {
        'a' => Some(7),
        'b' => Some(8),
        'f' => Some(12),
        'n' => Some(b'\n'),
        'r' => Some(b'\r'),
        't' => Some(b'\t'),
        'v' => Some(11),
        '\\' => Some(b'\\'),
        q if q == quote => Some(quote as u8),
        _ => None,
    };
    if let Some(byte) = simple {
        out.push(byte);
        return Some(1);
    }
    let number = |from: usize, digits: usize, radix: u32| {
        let text = rest.get(from..from + digits)?;
        text.bytes()
            .all(|b| char::from(b).is_digit(radix))
            .then_some(())?;
        u32::from_str_radix(text, radix).ok()
    };
    match c {
        'x' => out.push(number(1, 2, 16)? as u8), // two hexadecimal digits fit
        '0'..='7' => out.push(u8::try_from(number(0, 3, 8)?).ok()?),
        'u' | 'U' => {
            let digits = if c == 'u' { 4 } else { 8 };
            let decoded = char::from_u32(number(1, digits, 16)?)?;
            out.extend_from_slice(decoded.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(1 + digits);
        }
        _ => return None,
    }
    Some(3)
}

/// Writes a text in double quotes, as Go's `strconv.Quote` does.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{b}' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                out.push_str(&format!("\\x{:02x}", c as u32));
            }
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        let check = |input: &str, expect: Result<&str, (usize, &str)>| {
            let found = unquote(input);
            match (&found, expect) {
                (Ok((value, length)), Ok(expect)) => {
                    assert_eq!((value.as_str(), *length), (expect, input.len()));
                }
                (Err(fault), Err(expect)) => assert_eq!((fault.offset, fault.expected), expect),
                _ => panic!("{input}: {found:?}"),
            }
        };
        check(r#""a\"b\\\n\x41\101é\U0001F600""#, Ok("a\"b\\\nAAé😀"));
        check("'it\\'s \"x\"'", Ok("it's \"x\""));
        check("`a\\b`", Ok("a\\b"));
        check("\"\\\"", Err((3, "a closing quote")));
        check("\"\\q\"", Err((2, "an escape sequence")));
        check("\"\\ud800\"", Err((2, "an escape sequence")));
        check("\"\\xé\"", Err((2, "an escape sequence")));
        check("`a", Err((2, "a closing quote")));
        check("\"a\n\"", Err((2, "a closing quote")));
    }
}
