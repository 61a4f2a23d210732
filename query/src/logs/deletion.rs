//! Which lines a query selects, where the store alone can decide it: for deletions and rules of
//! retention.

use obs_logstore::Selector;
use obs_model::limits::Limits;

use super::filter::line_condition;
use crate::logql::ast::{LineMatch, LineOp, LogExpr, Stage};
use crate::logql::{Expr, parse};

/// The selector of a query such as `{app="batch"} |= "debug"`.
pub fn deletion(text: &str, limits: &Limits) -> Result<Selector, String> {
    match parse(text, limits).map_err(|e| e.to_string())? {
        Expr::Logs(logs) => selector(logs),
        Expr::Metric(_) => Err("expected a query of lines, found one of numbers".to_owned()),
    }
}

/// The same of a query that is parsed. What is not a matcher or a filter for a text or a regular
/// expression is refused.
pub fn selector(logs: LogExpr) -> Result<Selector, String> {
    let mut lines = Vec::new();
    for stage in &logs.stages {
        let told = match stage {
            Stage::Line(filter) => {
                let pattern = matches!(filter.op, LineOp::Pattern | LineOp::NotPattern);
                let text = |m: &LineMatch| matches!(m, LineMatch::Text(_));
                if !pattern && filter.alternatives.iter().all(text) {
                    lines.push(line_condition(filter)?);
                    continue;
                }
                filter.to_string()
            }
            stage => stage.to_string(),
        };
        return Err(format!(
            "unsupported query expression: {told}, expected label matchers and line filters with \
             |=, !=, |~ or !~ and a text"
        ));
    }
    Ok(Selector {
        matchers: logs.matchers,
        lines,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_store_decides() {
        let check = |text: &str, expect: Result<(usize, usize), &str>| match (
            deletion(text, &Limits::default()),
            expect,
        ) {
            (Ok(found), Ok(expect)) => {
                assert_eq!((found.matchers.len(), found.lines.len()), expect, "{text}");
                assert!(found.encode().is_ok(), "{text}");
            }
            (Err(fault), Err(expect)) => assert!(fault.contains(expect), "{fault}"),
            (found, expect) => panic!("{text}: {found:?}, {expect:?}"),
        };
        check(r#"{app="a"}"#, Ok((1, 0)));
        check(r#"{app="a", b!="c"} |= "x" or "y" !~ "z+""#, Ok((2, 2)));
        check(
            r#"{app="a"} | json"#,
            Err("unsupported query expression: | json"),
        );
        check(r#"{app="a"} |> "<_>x""#, Err("unsupported"));
        check(r#"{app="a"} |= ip("1.1.1.1")"#, Err("unsupported"));
        check(r#"{app="a"} |~ "(""#, Err("missing closing )"));
        check(r#"count_over_time({app="a"}[1m])"#, Err("numbers"));
        check(r#"{app="a""#, Err("parse error"));
    }
}
