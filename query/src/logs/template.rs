//! The part of Go's text templates that needs no interpreter: text with `{{.label}}` and
//! `{{__line__}}`. Anything else is refused by name, never rendered wrongly.

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    Label(String),
    Line,
}

/// A compiled template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) pieces: Vec<Piece>,
}

impl Template {
    /// Compiles a template; the error says what is not supported.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, action)) = rest.split_once("{{") {
            let Some((inside, after)) = action.split_once("}}") else {
                return Err(format!("template {text:?}: unclosed action"));
            };
            let trims = inside.strip_prefix("- ").is_some() || inside.ends_with(" -");
            let word = inside.trim();
            let label = word
                .strip_prefix('.')
                .filter(|name| obs_model::labels::is_legacy_name(name));
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(match label {
                _ if trims => return Err(unsupported(inside)),
                Some(name) => Piece::Label(name.to_owned()),
                None if word == "__line__" => Piece::Line,
                None => return Err(unsupported(inside)),
            });
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self { pieces })
    }
}

fn unsupported(action: &str) -> String {
    format!(
        "template action {{{{{action}}}}} is not supported yet, expected {{{{.label}}}} or {{{{__line__}}}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates() {
        let check = |text: &str, expect: Option<usize>| {
            assert_eq!(
                Template::new(text).ok().map(|t| t.pieces.len()),
                expect,
                "{text}"
            );
        };
        check("a {{.b}} {{ .c }}", Some(4));
        check("{{__line__}}", Some(1));
        check("", Some(0));
        check("{{ .a | lower }}", None);
        check("{{if .a}}x{{end}}", None);
        check("{{- .a }}", None);
        check("{{.a", None);
    }
}
