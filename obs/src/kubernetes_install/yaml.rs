//! Values as YAML that versions 1.1 and 1.2 read alike: what Kubernetes reads is 1.1, where `on` is
//! not a text.
//!
//! Invariant: a text that could be anything else is quoted.

use serde_json::Value;

/// Words of YAML 1.1 that are no texts, in lower case.
const WORDS: &[&str] = &["false", "n", "no", "null", "off", "on", "true", "y", "yes"];

/// A value in blocks, without a newline at the end.
pub(super) fn write(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out.truncate(out.trim_end_matches('\n').len());
    out
}

/// Lines of a value, indented; the first line is too.
fn block(value: &Value, indent: usize, out: &mut String) {
    let space = " ".repeat(indent);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (name, value) in map {
                out.push_str(&space);
                out.push_str(&text(name));
                out.push(':');
                // A list may begin at the column of its key.
                let deeper = if value.is_array() { indent } else { indent + 2 };
                nested(value, deeper, out);
            }
        }
        Value::Array(values) if !values.is_empty() => {
            for value in values {
                let mut inside = String::new();
                block(value, indent + 2, &mut inside);
                out.push_str(&space);
                out.push_str("- ");
                out.push_str(inside.trim_start_matches(' '));
            }
        }
        scalar => {
            out.push_str(&space);
            out.push_str(&flat(scalar));
            out.push('\n');
        }
    }
}

/// What comes after a key.
fn nested(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            block(value, indent, out);
        }
        Value::Array(values) if !values.is_empty() => {
            out.push('\n');
            block(value, indent, out);
        }
        scalar => {
            out.push(' ');
            out.push_str(&flat(scalar));
            out.push('\n');
        }
    }
}

/// What has one line. JSON is YAML.
fn flat(value: &Value) -> String {
    match value {
        Value::String(said) => text(said),
        other => other.to_string(),
    }
}

fn text(said: &str) -> String {
    let first = |c: char| c.is_ascii_alphabetic() || "_/^($".contains(c);
    let inside = |c: char| c.is_ascii_alphanumeric() || "_/^($)+.-|;?*\\=<> ".contains(c);
    let plain = said.starts_with(first)
        && !said.ends_with(' ')
        // A colon within a word, such as that of an address.
        && said.split(':').all(|part| !part.is_empty() && part.chars().all(inside))
        && !said.contains(": ")
        && !WORDS.contains(&said.to_ascii_lowercase().as_str());
    match plain {
        true => said.to_owned(),
        false => quoted(said),
    }
}

/// In quotes; what YAML takes for the end of a line, and marks of byte order, are escaped too.
fn quoted(said: &str) -> String {
    let breaks = |c: char| {
        matches!(
            c,
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}'
        )
    };
    let mut out = String::new();
    for c in Value::from(said).to_string().chars() {
        match breaks(c) {
            true => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for said in [
            "on",
            "Off",
            "y",
            "null",
            "~",
            "",
            " a",
            "a ",
            "a: b",
            "a:b",
            "a:",
            ":a",
            "- a",
            "a #b",
            "1e3",
            "0x1f",
            "1:30",
            "2001-01-01",
            "'a'",
            "\"a\"",
            "a\nb",
            "é",
            "{a}",
            "[a]",
            "&a",
            "*a",
            "!a",
            "%a",
            "@a",
            "`a`",
            "|",
            ">",
            "?",
            "^/(dev|proc)($|/)",
            "(.+?)(?::\\d+)?;(\\d+)",
            "$1:$2",
            "<&>",
            "a, b",
            "\u{feff}",
            "\u{85}",
            "=",
        ] {
            let value = json!({said: said, "list": [said, [said], {said: {}}], "deep": {"er": [{"a": said, "b": said}]}});
            let read: Value = serde_yaml_ng::from_str(&write(&value)).unwrap();
            assert_eq!(read, value, "{}", write(&value));
        }
        let other = json!([[], {}, null, true, 1, -2.5, [[[1]]]]);
        let read: Value = serde_yaml_ng::from_str(&write(&other)).unwrap();
        assert_eq!(read, other);
        assert_eq!(
            write(&json!({"a": "on", "b": ["x", {"c": 1, "d": {}}]})),
            "a: \"on\"\nb:\n- x\n- c: 1\n  d: {}"
        );
    }
}
