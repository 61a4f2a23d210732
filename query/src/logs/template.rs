//! The templates of `line_format` and `label_format`.
//!
//! Invariant: text with `{{.label}}` and `{{__line__}}`, which most templates are, is put together
//! without the interpreter and gives the same.

use obs_model::Timestamp;
use obs_model::labels::is_legacy_name;

use super::functions::RowFunctions;
use super::row::Row;
use crate::template::{OUTPUT_BYTES_MAX, Template as Program, Value};

/// A piece of a plain template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Label(String),
    Line,
}

/// A compiled template.
#[derive(Clone, Debug)]
pub(crate) enum Template {
    Plain(PlainTemplate),
    Program(Box<Program>),
}

/// A template without anything to execute.
#[derive(Clone, Debug)]
pub(crate) struct PlainTemplate(Vec<Piece>);

impl Template {
    /// Compiles a template; the error is Go's and calls it by the name.
    pub(crate) fn new(name: &str, text: &str) -> Result<Self, String> {
        if let Some(pieces) = pieces(text) {
            return Ok(Self::Plain(PlainTemplate(pieces)));
        }
        let program = Program::parse(name, text, &RowFunctions::default());
        let program = program.map_err(|error| error.to_string())?;
        Ok(Self::Program(Box::new(program)))
    }

    /// The labels that it names; `None` where it may look at all of them.
    pub(crate) fn names(&self) -> Option<Vec<String>> {
        match self {
            Self::Plain(PlainTemplate(pieces)) => {
                let named = pieces.iter().filter_map(|piece| match piece {
                    Piece::Label(name) => Some(name.clone()),
                    Piece::Text(_) | Piece::Line => None,
                });
                Some(named.collect())
            }
            Self::Program(program) => program.fields(),
        }
    }

    /// The text for a row, or why there is none.
    pub(crate) fn render(&self, row: &Row<'_>, now: Timestamp) -> Result<Vec<u8>, String> {
        match self {
            Self::Plain(PlainTemplate(pieces)) => {
                let mut out = Vec::new();
                for piece in pieces {
                    out.extend_from_slice(match piece {
                        Piece::Text(text) => text.as_bytes(),
                        Piece::Label(name) => row.get(name).unwrap_or("").as_bytes(),
                        Piece::Line => &row.line,
                    });
                    // Templates behind templates would double without end.
                    let line = row.line.len();
                    if out.len() > OUTPUT_BYTES_MAX.max(line) {
                        return Err(format!("wrote more than {OUTPUT_BYTES_MAX} bytes"));
                    }
                }
                Ok(out)
            }
            Self::Program(program) => {
                let pairs = row.pairs();
                let labels = pairs.iter().map(|(name, value)| (name.as_ref(), *value));
                let functions = RowFunctions {
                    line: &row.line,
                    time: row.time(),
                    now,
                };
                let rendered = program.execute(&Value::texts(labels), &functions);
                rendered
                    .map(String::into_bytes)
                    .map_err(|error| error.to_string())
            }
        }
    }
}

/// The pieces of a template that is plain.
fn pieces(text: &str) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, action)) = rest.split_once("{{") {
        let (inside, after) = action.split_once("}}")?;
        if inside.starts_with('-') || inside.ends_with('-') {
            return None;
        }
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        let word = inside.trim();
        let label = word.strip_prefix('.').filter(|name| is_legacy_name(name));
        pieces.push(match label {
            Some(name) => Piece::Label(name.to_owned()),
            None if word == "__line__" => Piece::Line,
            None => return None,
        });
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Some(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_model::Labels;

    #[test]
    fn plain_templates_are_what_the_interpreter_makes_of_them() {
        let check = |text: &str, plain: bool| {
            let template = Template::new("line", text).unwrap();
            assert_eq!(matches!(template, Template::Plain(_)), plain, "{text}");
            let stream = Labels::from_pairs([("app", "x"), ("le", "y")]);
            let none = Labels::empty();
            let row = Row::new(b"the line", Timestamp::default(), &stream, &none, None);
            let program = Program::parse("line", text, &RowFunctions::default()).unwrap();
            let program = Template::Program(Box::new(program));
            let now = Timestamp::default();
            assert_eq!(
                template.render(&row, now),
                program.render(&row, now),
                "{text}"
            );
        };
        check("", true);
        check("a {{.app}} {{ .le }}{{.none}}{{__line__}} b", true);
        check("a {{- .app -}} b", false);
        check("{{.app | upper}}", false);
    }

    #[test]
    fn texts_are_bounded() {
        let template = Template::new("line", "{{.a}}{{.a}}").unwrap();
        let wide = "x".repeat(OUTPUT_BYTES_MAX / 2 + 1);
        let stream = Labels::from_pairs([("a", wide.as_str())]);
        let none = Labels::empty();
        let row = Row::new(b"the line", Timestamp::default(), &stream, &none, None);
        let fault = template.render(&row, Timestamp::default()).unwrap_err();
        assert_eq!(fault, "wrote more than 1048576 bytes");
    }

    #[test]
    fn names_are_those_that_may_matter() {
        let check = |text: &str, expect: Option<&[&str]>| {
            let names = Template::new("line", text).unwrap().names();
            let expect = expect.map(|all| all.iter().map(|n| (*n).to_owned()).collect());
            assert_eq!(names, expect, "{text}");
        };
        check("{{.a}} {{.b}}", Some(&["a", "b"]));
        check(
            "{{.b | upper}} {{if .a}}{{$.c}}{{end}}",
            Some(&["a", "b", "c"]),
        );
        check("{{range $k, $v := .}}{{$k}}{{end}}", None);
        check("{{index $ \"a b\"}}", None);
        check("{{with .a}}{{.}}{{end}}", None);
    }
}
