//! Label and field selectors as the API has them: read, checked, and matched.
//!
//! Invariant: what parses here is accepted by the API server, and matches what it would match.

use crate::object::Pairs;

/// One requirement of a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    name: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
    Above(i64),
    Below(i64),
}

/// A selector of labels or of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

impl Selector {
    /// Reads a label selector: `a=b,c!=d,e in (f,g),!h,i>5`. An empty one selects everything.
    pub fn labels(text: &str) -> Result<Self, String> {
        let mut parser = Parser { text, at: 0 };
        let mut requirements = Vec::new();
        parser.skip_space();
        if parser.rest().is_empty() {
            return Ok(Self::default());
        }
        loop {
            requirements.push(parser.requirement()?);
            parser.skip_space();
            match parser.bump() {
                None => return Ok(Self(requirements)),
                Some(',') => {}
                Some(other) => return Err(parser.fault(&format!("found {other:?}, expected: ','"))),
            }
        }
    }

    /// Reads a field selector: `spec.nodeName=n,status.phase!=Failed`.
    pub fn fields(text: &str) -> Result<Self, String> {
        let mut requirements = Vec::new();
        for term in split_escaped(text, ',') {
            if term.is_empty() {
                continue;
            }
            let found = term.find('=');
            let Some(at) = found.filter(|at| *at > 0) else {
                return Err(format!(
                    "invalid selector: {text:?}; can't understand {term:?}"
                ));
            };
            let (name, value) = (&term[..at], &term[at + 1..]);
            let value = unescape(value.strip_prefix('=').unwrap_or(value))?;
            let (name, test) = match name.strip_suffix('!') {
                Some(name) => (name, Test::NotIn(vec![value])),
                None => (name, Test::In(vec![value])),
            };
            requirements.push(Requirement {
                name: name.to_owned(),
                test,
            });
        }
        Ok(Self(requirements))
    }

    /// Whether everything is selected.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether these labels are selected.
    pub fn matches(&self, labels: &Pairs) -> bool {
        self.matches_by(|name| labels.get(name).map(str::to_owned))
    }

    /// Whether something is selected whose values are looked up by name.
    pub fn matches_by(&self, value: impl Fn(&str) -> Option<String>) -> bool {
        self.0.iter().all(|requirement| {
            let value = value(&requirement.name);
            match (&requirement.test, value) {
                (Test::Exists, value) => value.is_some(),
                (Test::Absent, value) => value.is_none(),
                (Test::In(values), value) => value.is_some_and(|v| values.contains(&v)),
                (Test::NotIn(values), value) => value.is_none_or(|v| !values.contains(&v)),
                (Test::Above(bound), value) => {
                    value.is_some_and(|v| v.parse::<i64>().is_ok_and(|v| v > *bound))
                }
                (Test::Below(bound), value) => {
                    value.is_some_and(|v| v.parse::<i64>().is_ok_and(|v| v < *bound))
                }
            }
        })
    }

    /// The same as matchers of series: name, operator and value. Numbers cannot be compared there.
    pub fn matchers(&self) -> Result<Vec<(String, &'static str, String)>, String> {
        let either = |values: &[String], one, several| match values {
            [value] => (one, value.clone()),
            values => {
                let escaped: Vec<_> = values.iter().map(|v| regex::escape(v)).collect();
                (several, escaped.join("|"))
            }
        };
        let matcher = |requirement: &Requirement| {
            let (operator, value) = match &requirement.test {
                Test::Exists => ("!=", String::new()),
                Test::Absent => ("=", String::new()),
                Test::In(values) => either(values, "=", "=~"),
                Test::NotIn(values) => either(values, "!=", "!~"),
                Test::Above(_) | Test::Below(_) => {
                    return Err(format!(
                        "{}: labels of series are no numbers",
                        requirement.name
                    ));
                }
            };
            Ok((requirement.name.clone(), operator, value))
        };
        self.0.iter().map(matcher).collect()
    }

    /// The fields that it asks for.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|requirement| requirement.name.as_str())
    }
}

/// Splits at a character that no backslash stands before.
fn split_escaped(text: &str, at: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (index, char) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if char == '\\' {
            escaped = true;
        } else if char == at {
            parts.push(&text[start..index]);
            start = index + char.len_utf8();
        }
    }
    parts.push(&text[start..]);
    parts
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => out.push(escaped),
                other => {
                    let other = other.map_or(String::new(), String::from);
                    return Err(format!(
                        "invalid field selector: invalid escape sequence: \\{other}"
                    ));
                }
            },
            '=' | ',' => {
                return Err(format!(
                    "invalid field selector: unescaped character in value: {char}"
                ));
            }
            char => out.push(char),
        }
    }
    Ok(out)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn fault(&self, fault: &str) -> String {
        format!(
            "unable to parse requirement: {fault} in {:?} at {}",
            self.text, self.at
        )
    }

    fn bump(&mut self) -> Option<char> {
        let char = self.rest().chars().next()?;
        self.at += char.len_utf8();
        Some(char)
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn word(&mut self) -> &'a str {
        self.skip_space();
        let rest = self.rest();
        let ends = |c: char| c.is_whitespace() || "=!(),<>".contains(c);
        let word = &rest[..rest.find(ends).unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        self.skip_space();
        let absent = self.take("!");
        let name = self.word();
        check_name(name).map_err(|fault| self.fault(&fault))?;
        let name = name.to_owned();
        if absent {
            return Ok(Requirement {
                name,
                test: Test::Absent,
            });
        }
        self.skip_space();
        let test = if self.take("!=") {
            Test::NotIn(vec![self.value()?])
        } else if self.take("==") || self.take("=") {
            Test::In(vec![self.value()?])
        } else if self.take(">") {
            Test::Above(self.number()?)
        } else if self.take("<") {
            Test::Below(self.number()?)
        } else if self.rest().is_empty() || self.rest().starts_with(',') {
            Test::Exists
        } else {
            match self.word() {
                "in" => Test::In(self.values()?),
                "notin" => Test::NotIn(self.values()?),
                word => {
                    let found = match word {
                        "" => self
                            .rest()
                            .chars()
                            .next()
                            .map(String::from)
                            .unwrap_or_default(),
                        word => word.to_owned(),
                    };
                    let fault = format!("found {found:?}, expected: in, notin, =, ==, !=, gt, lt");
                    return Err(self.fault(&fault));
                }
            }
        };
        Ok(Requirement { name, test })
    }

    fn value(&mut self) -> Result<String, String> {
        let word = self.word();
        check_value(word).map_err(|fault| self.fault(&fault))?;
        Ok(word.to_owned())
    }

    fn number(&mut self) -> Result<i64, String> {
        let word = self.word();
        let fault = || self.fault("for 'Gt', 'Lt' operators, the value must be an integer");
        word.parse().map_err(|_| fault())
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        self.skip_space();
        if !self.take("(") {
            return Err(self.fault("expected: '('"));
        }
        let mut values = Vec::new();
        loop {
            values.push(self.value()?);
            self.skip_space();
            match self.bump() {
                Some(')') => return Ok(values),
                Some(',') => {}
                _ => return Err(self.fault("expected: ',', or ')'")),
            }
        }
    }
}

/// At most 63 of letters, digits, `-`, `_` and `.`, with a letter or digit at both ends.
fn is_qualified(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

fn check_name(name: &str) -> Result<(), String> {
    let (prefix, own) = match name.split_once('/') {
        Some((prefix, own)) => (Some(prefix), own),
        None => (None, name),
    };
    let domain = |prefix: &str| {
        let byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
        !prefix.is_empty() && prefix.len() <= 253 && prefix.bytes().all(byte)
    };
    match is_qualified(own) && prefix.is_none_or(domain) {
        true => Ok(()),
        false => Err(format!("{name:?} is not the name of a label")),
    }
}

fn check_value(value: &str) -> Result<(), String> {
    match value.is_empty() || is_qualified(value) {
        true => Ok(()),
        false => Err(format!("{value:?} is not the value of a label")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn labels_are_selected() {
        let labels: Pairs = [("app", "web"), ("tier", "2"), ("x.io/part", "a")]
            .into_iter()
            .collect();
        let check = |selector: &str, expect: bool| {
            let selector = Selector::labels(selector).unwrap();
            assert_eq!(selector.matches(&labels), expect, "{selector:?}");
        };
        check("", true);
        check(" ", true);
        check("app=web", true);
        check("app == web , tier!=3", true);
        check("app in (api, web),!gone", true);
        check("app notin (web)", false);
        check("gone notin (web)", true);
        check("gone!=web", true);
        check("gone", false);
        check("x.io/part", true);
        check("!app", false);
        check("tier>1,tier<3", true);
        check("tier>2", false);
        check("app=", false);
        check("app in (,web)", true);
    }

    #[test]
    fn fields_are_selected() {
        let value = |name: &str| match name {
            "spec.nodeName" => Some("n1".to_owned()),
            "metadata.name" => Some("a,b".to_owned()),
            _ => None,
        };
        let check = |selector: &str, expect: bool| {
            let selector = Selector::fields(selector).unwrap();
            assert_eq!(selector.matches_by(value), expect, "{selector:?}");
        };
        check("", true);
        check("spec.nodeName=n1", true);
        check("spec.nodeName==n2", false);
        check("spec.nodeName!=n2,metadata.name=a\\,b", true);
    }

    #[test]
    fn faults_name_what_was_expected() {
        let labels = |text: &str| Selector::labels(text).unwrap_err();
        assert!(
            labels("a b").contains("expected: in, notin"),
            "{}",
            labels("a b")
        );
        assert!(labels("a in b").contains("expected: '('"));
        assert!(labels("a in (b").contains("expected: ',', or ')'"));
        assert!(labels("a=b=c").contains("expected: ','"));
        assert!(labels("-a=b").contains("not the name of a label"));
        assert!(labels("a>x").contains("must be an integer"));
        assert!(labels(",").contains("not the name of a label"));
        let fields = |text: &str| Selector::fields(text).unwrap_err();
        assert!(fields("abc").contains("can't understand \"abc\""));
        assert!(fields("a=b\\x").contains("invalid escape sequence"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn nothing_panics(text in "[a-b=!,()<> \\\\é]{0,24}") {
            let _labels = Selector::labels(&text);
            let _fields = Selector::fields(&text);
        }
    }
}
