//! What to do next: errors that know more than what went wrong.

use std::fmt;

/// An error's text, and what to do about it, which is printed below it.
#[derive(Debug)]
pub(crate) struct Hinted {
    pub(crate) text: String,
    pub(crate) hint: String,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Hinted {}

/// An error with a hint, where there is one to give.
pub(crate) fn error(text: String, hint: Option<String>) -> anyhow::Error {
    match hint {
        Some(hint) => Hinted { text, hint }.into(),
        None => anyhow::Error::msg(text),
    }
}

/// What to do when a server cannot be reached.
pub(crate) fn unreachable() -> String {
    "does it run? `obs serve` starts one; --server URL, OBS_SERVER or `obs context add NAME URL` \
     names another"
        .to_owned()
}

/// What to do about an answer that is an error.
pub(crate) fn of_answer(status: u16, told: &str, query: Option<&str>) -> Option<String> {
    if let Some(shown) = query.and_then(|query| pointed(told, query)) {
        return Some(shown);
    }
    let hint = match status {
        401 | 403 => {
            "the server wants to know who asks: `obs context add NAME URL --token-file FILE` keeps \
             a token, --tenant names the tenant"
        }
        404 if told.contains("page not found") => {
            "is this a server of obs? --server takes its address with the path that a proxy gives \
             it, without /api"
        }
        422 if told.contains("limit") || told.contains("_max") => {
            "a shorter --since, a longer --step or more matchers make it smaller; `obs explain` \
             says what it reads"
        }
        429 | 503 => "the server is busy or starts: ask again in a moment",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// The line of a query that a parser speaks of, with a mark below the place.
fn pointed(told: &str, query: &str) -> Option<String> {
    let (line, column) = place(told)?;
    let text = query.lines().nth(line.checked_sub(1)?)?;
    let text = crate::table::one_line(text);
    let mark = " ".repeat(column.checked_sub(1)?.min(text.chars().count()));
    Some(format!("  {text}\n  {mark}^"))
}

/// The first `LINE:COLUMN:` of a text, or `line LINE, col COLUMN:` as Loki and Tempo say it.
fn place(told: &str) -> Option<(usize, usize)> {
    let mut words = told.split([' ', '"']);
    let found = words.find_map(|word| {
        let (line, column) = word.strip_suffix(':')?.split_once(':')?;
        Some((line.parse().ok()?, column.parse().ok()?))
    });
    found.or_else(|| {
        let (_, rest) = told.split_once("line ")?;
        let (line, rest) = rest.split_once(", col ")?;
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        Some((line.parse().ok()?, rest[..end].parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_queries_are_shown() {
        let told = "invalid parameter \"query\": 1:5: parse error: unexpected end of input";
        let hint = of_answer(400, told, Some("sum("));
        assert_eq!(hint.as_deref(), Some("  sum(\n      ^"));
        let hint = of_answer(400, "2:3: parse error", Some("a\nb c"));
        assert_eq!(hint.as_deref(), Some("  b c\n    ^"));
        let loki = "parse error at line 1, col 3: syntax error";
        let hint = of_answer(400, loki, Some("{a="));
        assert_eq!(hint.as_deref(), Some("  {a=\n    ^"));
        assert_eq!(of_answer(400, "parse error at 9:9: x", Some("a")), None);
        assert_eq!(of_answer(400, "no", Some("a")), None);
        assert!(of_answer(401, "", None).is_some_and(|hint| hint.contains("--token-file")));
    }
}
