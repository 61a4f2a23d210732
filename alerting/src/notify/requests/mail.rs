//! Mail: who gets it, and the message itself (RFC 5322, 2045 to 2047).
//!
//! Invariant: no text of an alert or a template begins a header, a part or an address of its own: values
//! of headers are encoded where they hold anything but printable ASCII, parts are quoted-printable,
//! and addresses with spaces or control characters are refused.

use std::collections::BTreeMap;

use obs_model::Timestamp;
use obs_query::template::Moment;

use super::{Failure, Writer};

/// The time and the chance of a try, which are not ours to find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When.
    pub now: Timestamp,
    /// A number that no other try has.
    pub nonce: u64,
    /// The name of this machine.
    pub host: String,
}

/// A mail, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The address of the sender.
    pub from: String,
    /// Those who get it.
    pub to: Vec<String>,
    /// Headers and body; lines end as in SMTP, and nothing is stuffed yet.
    pub message: Vec<u8>,
}

pub(super) fn mail(writer: &Writer<'_>) -> Result<Mail, Failure> {
    let about = |what: &'static str| move |failure: Failure| failure.about(what);
    let from = writer
        .text("from")
        .map_err(about("execute 'from' template"))?;
    let to = writer.text("to").map_err(about("execute 'to' template"))?;
    let senders =
        addresses(&from).map_err(|e| Failure::last(format!("parse 'from' addresses: {e}")))?;
    let [sender] = senders.as_slice() else {
        let count = senders.len();
        return Err(Failure::last(format!(
            "must be exactly one 'from' address (got: {count})"
        )));
    };
    let receivers =
        addresses(&to).map_err(|e| Failure::last(format!("parse 'to' addresses: {e}")))?;
    let mut message = headers(writer, from.trim(), to.trim())?;
    let boundary = boundary(writer);
    message.push_str(&format!(
        "Content-Type: multipart/alternative;  boundary={boundary}\r\nMIME-Version: 1.0\r\n\r\n"
    ));
    let text = writer.settings.text("text");
    if !text.is_empty() {
        let text = writer
            .expand(text)
            .map_err(about("execute text template"))?;
        part(&mut message, &boundary, "text/plain", &text);
    }
    let html = writer.settings.text("html");
    if !html.is_empty() {
        // What is wanted most is the last.
        let html = writer.html(html).map_err(about("execute html template"))?;
        part(&mut message, &boundary, "text/html", &html);
    }
    message.push_str(&format!("--{boundary}--\r\n"));
    Ok(Mail {
        from: sender.clone(),
        to: receivers,
        message: message.into_bytes(),
    })
}

/// A text that stands in no part: 60 digits of a hash.
fn boundary(writer: &Writer<'_>) -> String {
    let seed = format!("{}/{}", writer.stamp.nonce, writer.data.group_key);
    let hash = ring::digest::digest(&ring::digest::SHA256, seed.as_bytes());
    let hex: String = hash
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    hex[..60].to_owned()
}

fn headers(writer: &Writer<'_>, from: &str, to: &str) -> Result<String, Failure> {
    const SUBJECT: &str = "{{ template \"email.default.subject\" . }}";
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    for (name, text) in writer.settings.map("headers") {
        let name = header_name(name)?;
        let value = writer.expand(text);
        let value =
            value.map_err(|failure| failure.about(&format!("execute {name:?} header template")))?;
        values.insert(name, value);
    }
    let or = |values: &BTreeMap<String, String>, name: &str, value: String| {
        (!values.contains_key(name)).then_some((name.to_owned(), value))
    };
    let stamp = writer.stamp;
    let subject = writer.expand(SUBJECT)?;
    // A mail that is sent again is the same mail.
    let id = match writer.data.delivery.as_str() {
        "" => format!("<{}.{}@{}>", stamp.now.nanos(), stamp.nonce, stamp.host),
        delivery => format!("<{delivery}@{}>", stamp.host),
    };
    for (name, value) in [
        ("From", from.to_owned()),
        ("To", to.to_owned()),
        ("Subject", subject),
        ("Message-Id", id),
    ] {
        values.extend(or(&values, name, value));
    }
    let mut out = String::new();
    for (name, value) in &values {
        out.push_str(&format!("{name}: {}\r\n", encoded(value)));
    }
    let threading = writer
        .settings
        .any("threading")
        .and_then(serde_yaml_ng::Value::as_mapping);
    if let Some(threading) = threading
        && threading
            .get("enabled")
            .and_then(serde_yaml_ng::Value::as_bool)
            == Some(true)
    {
        let by = threading
            .get("thread_by_date")
            .and_then(serde_yaml_ng::Value::as_str);
        let day = match by {
            Some("none") => String::new(),
            _ => Moment::new(stamp.now.nanos()).format("2006-01-02"),
        };
        let root = format!("<alert-{}-{day}@alertmanager>", &writer.key()[..16]);
        out.push_str(&format!("References: {root}\r\nIn-Reply-To: {root}\r\n"));
    }
    let date = Moment::new(stamp.now.nanos()).format("Mon, 02 Jan 2006 15:04:05 -0700");
    out.push_str(&format!("Date: {date}\r\n"));
    Ok(out)
}

/// A name as mails write it: `Reply-To` for `reply-to`.
fn header_name(name: &str) -> Result<String, Failure> {
    let plain = |c: char| c.is_ascii_graphic() && c != ':';
    if name.is_empty() || !name.chars().all(plain) {
        return Err(Failure::last(format!(
            "header {name:?}: expected a name of printable ASCII"
        )));
    }
    let mut start = true;
    let cased = name.chars().map(|c| {
        let cased = if start {
            c.to_ascii_uppercase()
        } else {
            c.to_ascii_lowercase()
        };
        start = c == '-';
        cased
    });
    Ok(cased.collect())
}

/// A value of a header; one that is not printable ASCII becomes encoded words.
fn encoded(value: &str) -> String {
    const START: &str = "=?utf-8?q?";
    const END: &str = "?=";
    /// Characters of one encoded word (RFC 2047, section 2).
    const WORD_MAX: usize = 75;
    if value.chars().all(|c| (' '..='~').contains(&c) || c == '\t') {
        return value.to_owned();
    }
    let mut out = String::from(START);
    let mut length = START.len() + END.len();
    for c in value.chars() {
        let mut bytes = [0; 4];
        let piece: String = match c {
            ' ' => "_".to_owned(),
            '!'..='~' if !"=?_".contains(c) => c.to_string(),
            c => {
                let bytes = c.encode_utf8(&mut bytes).bytes();
                bytes.map(|byte| format!("={byte:02X}")).collect()
            }
        };
        if length + piece.len() > WORD_MAX {
            out.push_str(END);
            out.push_str("\r\n ");
            out.push_str(START);
            length = START.len() + END.len();
        }
        length += piece.len();
        out.push_str(&piece);
    }
    out.push_str(END);
    out
}

fn part(message: &mut String, boundary: &str, kind: &str, text: &str) {
    message.push_str(&format!(
        "--{boundary}\r\nContent-Transfer-Encoding: quoted-printable\r\n\
         Content-Type: {kind}; charset=UTF-8\r\n\r\n"
    ));
    quoted_printable(text, message);
    message.push_str("\r\n");
}

/// RFC 2045, section 6.7.
fn quoted_printable(text: &str, out: &mut String) {
    /// Characters of a line, with the sign that it goes on.
    const LINE_MAX: usize = 76;
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            out.push_str("\r\n");
        }
        let line = line.strip_suffix('\r').unwrap_or(line).as_bytes();
        let mut length = 0;
        for (at, byte) in line.iter().enumerate() {
            let last = at + 1 == line.len();
            let plain = match byte {
                b' ' | b'\t' => !last,
                b'=' => false,
                byte => byte.is_ascii_graphic(),
            };
            let size = if plain { 1 } else { 3 };
            if length + size > LINE_MAX - 1 {
                out.push_str("=\r\n");
                length = 0;
            }
            length += size;
            match plain {
                true => out.push(char::from(*byte)),
                false => out.push_str(&format!("={byte:02X}")),
            }
        }
    }
}

/// The addresses of a list such as `a@x, "B, C" <b@x>`.
fn addresses(text: &str) -> Result<Vec<String>, String> {
    let text = text.trim();
    if text.chars().any(|c| c.is_control() && c != '\t') {
        return Err(format!("a control character in {text:?}"));
    }
    let mut found = Vec::new();
    let mut entry = String::new();
    let (mut quoted, mut escaped, mut depth, mut angle) = (false, false, 0_usize, None::<String>);
    // A comma at the end ends the last one.
    for c in text.chars().chain([',']) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted || depth > 0 => escaped = true,
            '"' if depth == 0 => quoted = !quoted,
            '(' if !quoted => {
                depth += 1;
                continue;
            }
            ')' if !quoted && depth > 0 => {
                depth -= 1;
                continue;
            }
            '<' if !quoted && depth == 0 => {
                angle = Some(String::new());
                entry.clear();
                continue;
            }
            '>' if !quoted && depth == 0 && angle.is_some() => {
                angle = Some(std::mem::take(&mut entry));
                continue;
            }
            ',' if !quoted && depth == 0 => {
                let rest = std::mem::take(&mut entry);
                let one = match angle.take() {
                    Some(inner) if rest.trim().is_empty() => inner,
                    Some(_) => return Err(format!("unexpected text after an address in {text:?}")),
                    None => rest,
                };
                let one = one.trim();
                if !one.is_empty() {
                    found.push(address(one)?);
                }
                continue;
            }
            _ => {}
        }
        if depth == 0 {
            entry.push(c);
        }
    }
    if quoted || depth > 0 || angle.is_some() || !entry.trim().is_empty() {
        return Err(format!(
            "expected the end of a quote, comment or address in {text:?}"
        ));
    }
    match found.is_empty() {
        true => Err("no address".to_owned()),
        false => Ok(found),
    }
}

fn address(text: &str) -> Result<String, String> {
    let fault = || format!("expected an address such as name@host, found {text:?}");
    let (local, domain) = text.rsplit_once('@').ok_or_else(fault)?;
    let strange = |c: char| c.is_control() || "<>,;\"()".contains(c) || c.is_whitespace();
    let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    let good_local = match quoted {
        true => !local.chars().any(char::is_control),
        false => !local.is_empty() && !local.chars().any(strange),
    };
    if !good_local || domain.is_empty() || domain.chars().any(strange) {
        return Err(fault());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_read() {
        let cases: &[(&str, &[&str])] = &[
            ("a@x", &["a@x"]),
            (" a@x , b@y ", &["a@x", "b@y"]),
            ("A B <a@x>,\"C, D\" <c@x>", &["a@x", "c@x"]),
            ("a@x (the <first>)", &["a@x"]),
            ("\"a b\"@x", &["\"a b\"@x"]),
            ("größe@münchen.de", &["größe@münchen.de"]),
        ];
        for (text, expect) in cases {
            let expect: Vec<String> = expect.iter().map(|a| (*a).to_owned()).collect();
            assert_eq!(addresses(text), Ok(expect), "{text}");
        }
        for text in [
            "",
            "a",
            "a@",
            "@x",
            "a b@x",
            "<a@x",
            "a@x\r\nRCPT TO:<b@x>",
            "<a@x> b",
            "a@x\"",
            "<a@x>b@y",
        ] {
            assert!(addresses(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn headers_hold_no_lines() {
        assert_eq!(encoded("plain [FIRING:1]"), "plain [FIRING:1]");
        assert_eq!(encoded("a\r\nBcc: b"), "=?utf-8?q?a=0D=0ABcc:_b?=");
        assert_eq!(encoded("ü=_?"), "=?utf-8?q?=C3=BC=3D=5F=3F?=");
        let long = encoded(&"ü".repeat(60));
        assert!(long.split("\r\n ").all(|word| word.len() <= 75), "{long}");
        assert!(long.contains("\r\n "));
        assert_eq!(header_name("reply-to"), Ok("Reply-To".to_owned()));
        assert!(header_name("a: b").is_err() && header_name("a\nb").is_err());
    }

    fn decoded(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            match bytes[at] {
                b'=' if bytes[at + 1..].starts_with(b"\r\n") => at += 3,
                b'=' => {
                    let hex = std::str::from_utf8(&bytes[at + 1..at + 3]).expect("two digits");
                    out.push(u8::from_str_radix(hex, 16).expect("two digits"));
                    at += 3;
                }
                byte => {
                    out.push(byte);
                    at += 1;
                }
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn quoted_printable_is_read_back(text in "[ -~\nüλ\t]{0,300}") {
            let mut out = String::new();
            quoted_printable(&text, &mut out);
            prop_assert!(out.split("\r\n").all(|line| line.len() <= 76 && line.is_ascii()));
            prop_assert_eq!(decoded(&out), text.replace('\n', "\r\n").into_bytes());
        }

        #[test]
        fn any_text_is_read(text in "\\PC{0,60}") {
            if let Ok(found) = addresses(&text) {
                prop_assert!(found.iter().all(|one| !one.contains(['\r', '\n', '<'])));
            }
        }
    }
}
