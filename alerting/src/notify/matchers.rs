//! Matchers as Alertmanager writes them: `severity=~"a|b"`, in its newer syntax with any UTF-8 and
//! in the classic one.
//!
//! Invariant: what both syntaxes read is read as Alertmanager reads it: where they differ, the
//! classic reading holds.

use obs_model::labels::is_legacy_name;
use obs_model::{MatchOp, Matcher};

/// Characters that end a word without quotes.
const RESERVED: &[char] = &['{', '}', '!', '=', '~', ',', '\\', '"', '\'', '`'];

/// Reads a list of matchers, with or without braces.
pub fn parse(text: &str) -> Result<Vec<Matcher>, String> {
    match (newer(text), classic(text)) {
        (Ok(_), Ok(classic)) => Ok(classic),
        (Ok(newer), Err(_)) => Ok(newer),
        (Err(_), Ok(classic)) => Ok(classic),
        (Err(error), Err(_)) => Err(format!("bad matcher format: {text}: {error}")),
    }
}

/// Reads exactly one.
pub fn parse_one(text: &str) -> Result<Matcher, String> {
    let mut found = parse(text)?;
    match (found.pop(), found.is_empty()) {
        (Some(matcher), true) => Ok(matcher),
        _ => Err(format!("bad matcher format: {text}: expected one matcher")),
    }
}

fn build(name: &str, op: MatchOp, value: &str) -> Result<Matcher, String> {
    if name.is_empty() {
        return Err("expected a label name, found none".to_owned());
    }
    Matcher::new(name, op, value).map_err(|error| error.to_string())
}

/// The syntax with any UTF-8.
struct Newer<'t> {
    text: &'t str,
    at: usize,
}

fn newer(text: &str) -> Result<Vec<Matcher>, String> {
    let mut reader = Newer { text, at: 0 };
    reader.list()
}

impl Newer<'_> {
    fn list(&mut self) -> Result<Vec<Matcher>, String> {
        let mut found = Vec::new();
        let braced = self.take("{");
        loop {
            let ends = match braced {
                true => self.take("}"),
                false => self.rest().is_empty(),
            };
            if ends {
                break;
            }
            found.push(self.matcher()?);
            if !self.take(",") {
                let closed = if braced {
                    self.take("}")
                } else {
                    self.rest().is_empty()
                };
                if !closed {
                    return Err(self.fault(if braced { "a comma or }" } else { "a comma" }));
                }
                break;
            }
        }
        match self.rest() {
            "" => Ok(found),
            _ => Err(self.fault("the end")),
        }
    }

    fn matcher(&mut self) -> Result<Matcher, String> {
        let name = self.word("a label name")?;
        let op = if self.take("=~") {
            MatchOp::Regex
        } else if self.take("!~") {
            MatchOp::NotRegex
        } else if self.take("!=") {
            MatchOp::NotEqual
        } else if self.take("=") {
            MatchOp::Equal
        } else {
            return Err(self.fault("an operator such as =, !=, =~ or !~"));
        };
        let value = self.word("a label value")?;
        build(&name, op, &value)
    }

    /// What is left, without spaces before it.
    fn rest(&mut self) -> &str {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        &self.text[self.at..]
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn word(&mut self, what: &str) -> Result<String, String> {
        if self.rest().starts_with('"') {
            let Some((value, length)) = quoted(&self.text[self.at..]) else {
                return Err(self.fault("a closing quote and known escapes"));
            };
            self.at += length;
            return Ok(value);
        }
        let rest = self.rest();
        let ends = |c: char| c.is_whitespace() || RESERVED.contains(&c);
        let length = rest.find(ends).unwrap_or(rest.len());
        if length == 0 {
            return Err(self.fault(what));
        }
        let word = rest[..length].to_owned();
        self.at += length;
        Ok(word)
    }

    fn fault(&mut self, expected: &str) -> String {
        let found: String = self.rest().chars().take(10).collect();
        let at = self.text[..self.at].chars().count();
        match found.is_empty() {
            true => format!("{at}: end of input: expected {expected}"),
            false => format!("{at}: unexpected {found}: expected {expected}"),
        }
    }
}

/// The text of a double-quoted one with Go's escapes, and its length with quotes.
fn quoted(text: &str) -> Option<(String, usize)> {
    let mut out = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((out, at + 1)),
            '\n' => return None,
            '\\' => {
                let (_, escape) = characters.next()?;
                let digits = match escape {
                    'n' => Err('\n'),
                    't' => Err('\t'),
                    'r' => Err('\r'),
                    'a' => Err('\x07'),
                    'b' => Err('\x08'),
                    'f' => Err('\x0c'),
                    'v' => Err('\x0b'),
                    '\\' | '"' => Err(escape),
                    'x' => Ok(2),
                    'u' => Ok(4),
                    'U' => Ok(8),
                    _ => return None,
                };
                match digits {
                    Err(c) => out.push(c),
                    Ok(count) => {
                        let hex: String = characters.by_ref().take(count).map(|(_, c)| c).collect();
                        if hex.len() != count {
                            return None;
                        }
                        out.push(char::from_u32(u32::from_str_radix(&hex, 16).ok()?)?);
                    }
                }
            }
            c => out.push(c),
        }
    }
    None
}

/// The classic syntax: names as Prometheus' legacy ones, values with or without quotes.
fn classic(text: &str) -> Result<Vec<Matcher>, String> {
    let text = text.trim();
    let text = text.strip_prefix('{').unwrap_or(text);
    let text = text.strip_suffix('}').unwrap_or(text);
    let mut found = Vec::new();
    let mut part = String::new();
    let (mut inside, mut escaped) = (false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => inside = !inside,
            ',' if !inside => {
                found.push(classic_one(&part)?);
                part.clear();
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    if !part.trim().is_empty() {
        found.push(classic_one(&part)?);
    }
    Ok(found)
}

fn classic_one(text: &str) -> Result<Matcher, String> {
    let text = text.trim();
    let wrong = || format!("bad matcher format: {text}");
    let at = text.find(['=', '!']).ok_or_else(wrong)?;
    let name = text[..at].trim_end();
    let colon_free = name.replace(':', "_");
    if !is_legacy_name(&colon_free) {
        return Err(wrong());
    }
    let ops = [
        ("=~", MatchOp::Regex),
        ("!~", MatchOp::NotRegex),
        ("!=", MatchOp::NotEqual),
        ("=", MatchOp::Equal),
    ];
    let rest = &text[at..];
    let (sign, op) = ops
        .iter()
        .find(|(sign, _)| rest.starts_with(sign))
        .ok_or_else(wrong)?;
    let raw = rest[sign.len()..].trim();
    let (raw, quoted) = match raw.strip_prefix('"') {
        None => (raw, false),
        Some(inner) => (inner, true),
    };
    let mut value = String::new();
    let mut escaped = false;
    let mut closed = false;
    for (index, c) in raw.char_indices() {
        if escaped {
            match c {
                'n' => value.push('\n'),
                '"' | '\\' => value.push(c),
                // Other escapes stay as they are, for regular expressions.
                _ => value.extend(['\\', c]),
            }
            escaped = false;
            continue;
        }
        match c {
            '\\' if index + 1 < raw.len() => escaped = true,
            '"' if quoted && index + 1 == raw.len() => closed = true,
            '"' => {
                return Err(format!(
                    "matcher value contains unescaped double quote: {raw}"
                ));
            }
            _ => value.push(c),
        }
    }
    if quoted && !closed {
        return Err(format!(
            "matcher value contains unescaped double quote: {raw}"
        ));
    }
    build(name, *op, &value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<Vec<String>, String> {
        let found = parse(text)?;
        Ok(found
            .iter()
            .map(|m| format!("{} {} {:?}", m.name, m.op.as_str(), m.value))
            .collect())
    }

    #[test]
    fn lists_are_read() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            ("{}", &[]),
            ("foo=bar", &["foo = \"bar\""]),
            ("{foo=\"bar\",}", &["foo = \"bar\""]),
            (
                " foo = bar , x!~\"a|b\" ",
                &["foo = \"bar\"", "x !~ \"a|b\""],
            ),
            ("a=~\"x,y\",b!=\"}\"", &["a =~ \"x,y\"", "b != \"}\""]),
            ("a=\"b\\\"c\\n\"", &["a = \"b\\\"c\\n\""]),
            ("\"with space\"=\"b\"", &["with space = \"b\""]),
            ("größe=xl", &["größe = \"xl\""]),
            ("a=b=c", &["a = \"b=c\""]),
            ("a=", &["a = \"\""]),
            ("a=~\"\\\\d+\"", &["a =~ \"\\\\d+\""]),
        ];
        for (text, expect) in cases {
            let expect = expect.iter().map(|m| (*m).to_owned()).collect();
            assert_eq!(shown(text), Ok::<Vec<String>, String>(expect), "{text}");
        }
    }

    #[test]
    fn faults_are_told() {
        for text in [
            "=b", "a", "a=~\"(\"", "a=\"b", "a=b\"c", "a b=c", "a=b,,c=d",
        ] {
            let found = shown(text);
            let fault = matches!(&found, Err(e) if e.contains("bad matcher format"));
            assert!(fault, "{text}: {found:?}");
        }
        // The classic syntax reads what the newer one refuses.
        for (text, expect) in [("{a=b", "a = \"b\""), ("a==~", "a = \"=~\"")] {
            assert_eq!(shown(text), Ok(vec![expect.to_owned()]), "{text}");
        }
        assert!(parse_one("a=b,c=d").is_err());
    }
}
