//! Values in HTML, escaped for the place where they stand.
//!
//! Invariant: no value ends the text, the attribute or the address that it stands in, and none makes
//! an address of a scheme that can run code. This is less than what Go's `html/template` knows of
//! scripts and styles, which mail clients do not run.

/// Attributes that are addresses.
const ADDRESSES: &[&str] = &[
    "action",
    "background",
    "cite",
    "formaction",
    "href",
    "poster",
    "src",
];

/// What Go writes for an address that could run code.
const REFUSED: &str = "#ZgotmplZ";

/// Appends a value.
pub(super) fn write(value: &str, out: &mut String) {
    match address(out) {
        None => escape(value, out),
        Some(before) => {
            let query = before.contains(['?', '#']);
            if before.is_empty() && !is_harmless(value) {
                out.push_str(REFUSED);
                return;
            }
            let mut encoded = String::with_capacity(value.len());
            encode(value, !query, &mut encoded);
            escape(&encoded, out);
        }
    }
}

/// The begin of the address that is written now, where one is.
fn address(out: &str) -> Option<String> {
    let tag = &out[out.rfind(['<', '>'])?..];
    let tag = tag.strip_prefix('<')?;
    let quoted = tag.rfind(['"', '\''])?;
    let quote = &tag[quoted..=quoted];
    // An even number of quotes of the kind: the value is over.
    if tag.matches(quote).count().is_multiple_of(2) {
        return None;
    }
    let name = tag[..quoted].trim_end().strip_suffix('=')?.trim_end();
    let name = name.rsplit(char::is_whitespace).next().unwrap_or("");
    let is_address = ADDRESSES.contains(&name.to_ascii_lowercase().as_str());
    is_address.then(|| tag[quoted + 1..].trim_start().to_owned())
}

/// Whether an address has a scheme that only leads somewhere, or none.
fn is_harmless(value: &str) -> bool {
    match value.split_once(':') {
        Some((scheme, _)) if !scheme.contains('/') => {
            ["http", "https", "mailto"].contains(&scheme.to_ascii_lowercase().as_str())
        }
        _ => true,
    }
}

/// Percent-encodes what may not stand in an address; `whole` keeps what divides its parts.
fn encode(value: &str, whole: bool, out: &mut String) {
    let bytes = value.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
        let plain = match byte {
            b'-' | b'.' | b'_' | b'~' => true,
            b'!' | b'#' | b'$' | b'&' | b'*' | b'+' | b',' | b'/' | b':' | b';' | b'=' | b'?'
            | b'@' | b'[' | b']' => whole,
            b'%' => whole && hex(at + 1) && hex(at + 2),
            byte => byte.is_ascii_alphanumeric(),
        };
        match plain {
            true => out.push(char::from(*byte)),
            false => out.push_str(&format!("%{byte:02x}")),
        }
    }
}

/// Escapes as Go's `html/template` does.
fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '\0' => out.push('\u{fffd}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '+' => out.push_str("&#43;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_where_they_stand() {
        let cases = [
            ("<p>", "a<b> & \"c\"+", "a&lt;b&gt; &amp; &#34;c&#34;&#43;"),
            ("<a href=\"", "http://x/?a=b&c", "http://x/?a=b&amp;c"),
            ("<a href=\"", "javascript:alert(1)", "#ZgotmplZ"),
            ("<a href='", "JavaScript:x", "#ZgotmplZ"),
            ("<a class=\"c\" href=\"http://x/?q=", "a b&c", "a%20b%26c"),
            ("<a href=\"http://x/", "a b%20", "a%20b%20"),
            ("<a title=\"", "x\" onload=\"", "x&#34; onload=&#34;"),
            ("<a href=\"x\">", "javascript:y", "javascript:y"),
            ("<a href=\"x\" ", "\u{e9}<", "\u{e9}&lt;"),
        ];
        for (before, value, expect) in cases {
            let mut out = before.to_owned();
            write(value, &mut out);
            assert_eq!(out[before.len()..], *expect, "{before}{value}");
        }
    }
}
