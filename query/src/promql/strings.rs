//! Quoted texts with Go's escapes, as PromQL and templates write them.

/// The value of the quoted text that `input` starts with, and its length in bytes with quotes.
/// `input` starts with `"`, `'` or a backtick; the last knows no escapes. The error has Prometheus'
/// words.
pub(crate) fn unquote(input: &str) -> Result<(String, usize), String> {
    let quote = input.chars().next().unwrap_or('"');
    if quote == '`' {
        let end = input[1..].find('`').ok_or("unterminated raw string")?;
        return Ok((input[1..=end].replace('\r', ""), end + 2));
    }
    let mut bytes = Vec::new();
    let mut at = 1;
    loop {
        let Some(c) = input[at..].chars().next().filter(|c| *c != '\n') else {
            return Err("unterminated quoted string".to_owned());
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
        at += 1 + escape(&input[at + 1..], quote, &mut bytes)?;
    }
}

/// A character as Go's `%#U` writes it.
pub(crate) fn code_point(c: char) -> String {
    let code = format!("U+{:04X}", u32::from(c));
    match c.is_control() {
        true => code,
        false => format!("{code} '{c}'"),
    }
}

/// Decodes what follows a backslash; gives its length in bytes.
fn escape(rest: &str, quote: char, out: &mut Vec<u8>) -> Result<usize, String> {
    let open = || "escape sequence not terminated".to_owned();
    let c = rest.chars().next().ok_or_else(open)?;
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
        return Ok(1);
    }
    let (from, digits, radix) = match c {
        '0'..='7' => (0, 3, 8),
        'x' => (1, 2, 16),
        'u' => (1, 4, 16),
        'U' => (1, 8, 16),
        _ => return Err(format!("unknown escape sequence {}", code_point(c))),
    };
    let mut value = 0u32;
    let mut chars = rest[from..].chars();
    for _ in 0..digits {
        let c = chars.next().ok_or_else(open)?;
        let Some(digit) = c.to_digit(radix) else {
            return Err(format!(
                "illegal character {} in escape sequence",
                code_point(c)
            ));
        };
        value = value.wrapping_mul(radix).wrapping_add(digit); // eight digits of 4 bits fit
    }
    let invalid = || "escape sequence is an invalid Unicode code point".to_owned();
    if matches!(c, 'u' | 'U') {
        let decoded = char::from_u32(value).ok_or_else(invalid)?;
        out.extend_from_slice(decoded.encode_utf8(&mut [0; 4]).as_bytes());
    } else {
        out.push(u8::try_from(value).map_err(|_| invalid())?);
    }
    Ok(from + digits)
}

/// Writes a text in double quotes, as Go's `strconv.Quote` does.
pub fn quote(text: &str) -> String {
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
        let check = |input: &str, expect: Result<&str, &str>| {
            let found = unquote(input);
            match (&found, expect) {
                (Ok((value, length)), Ok(expect)) => {
                    assert_eq!((value.as_str(), *length), (expect, input.len()));
                }
                (Err(fault), Err(expect)) => assert_eq!(fault, expect),
                _ => panic!("{input}: {found:?}"),
            }
        };
        check(r#""a\"b\\\n\x41\101\u00e9\U0001F600""#, Ok("a\"b\\\nAAé😀"));
        check("'it\\'s \"x\"'", Ok("it's \"x\""));
        check("`a\\b`", Ok("a\\b"));
        check("\"\\\"", Err("unterminated quoted string"));
        check("\"\\q\"", Err("unknown escape sequence U+0071 'q'"));
        check(
            "\"\\ud800\"",
            Err("escape sequence is an invalid Unicode code point"),
        );
        check(
            "\"\\xé\"",
            Err("illegal character U+00E9 'é' in escape sequence"),
        );
        check("\"\\x1", Err("escape sequence not terminated"));
        check("`a", Err("unterminated raw string"));
        check("\"a\n\"", Err("unterminated quoted string"));
    }
}
