//! The parts of an expression, each of which can be asked for by itself: what explains how a value
//! comes about.
//!
//! Invariants: the whole is the first part, a part comes behind the one that holds it, and there
//! are at most as many as asked for. Parentheses are no parts.

use std::collections::VecDeque;

use super::ast::{Expr, Kind, Type};
use super::print::{aggregate_head, operator, sign, subquery_times};

/// An expression inside another one, or the whole.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    /// Which of the parts holds this one.
    pub parent: Option<usize>,
    /// The parts that this one holds, in the order of the text.
    pub children: Vec<usize>,
    /// The expression.
    pub expr: &'a Expr,
}

/// The parts of an expression, those nearest to the whole first; says whether there are more.
pub fn parts(expr: &Expr, most: usize) -> (Vec<Part<'_>>, bool) {
    let mut found: Vec<Part<'_>> = Vec::new();
    let mut left = VecDeque::from([(None, expr.bare())]);
    while let Some((parent, expr)) = left.pop_front() {
        if found.len() >= most {
            return (found, true);
        }
        let id = found.len();
        if let Some(parent) = parent.and_then(|parent: usize| found.get_mut(parent)) {
            parent.children.push(id);
        }
        let below = expr.kind.children();
        left.extend(below.into_iter().map(|child| (Some(id), child.bare())));
        found.push(Part {
            parent,
            children: Vec::new(),
            expr,
        });
    }
    (found, false)
}

impl Part<'_> {
    /// What kind of expression it is, as Prometheus' `/api/v1/parse_query` calls it.
    pub fn kind(&self) -> &'static str {
        match &self.expr.kind {
            Kind::Number(..) => "numberLiteral",
            Kind::Text(_) => "stringLiteral",
            Kind::Selector(_) => "vectorSelector",
            Kind::Range(..) => "matrixSelector",
            Kind::Subquery(_) => "subquery",
            Kind::Call(..) => "call",
            Kind::Aggregate(_) => "aggregation",
            Kind::Binary(_) => "binaryExpr",
            Kind::Sign(..) => "unaryExpr",
            Kind::Paren(_) => "parenExpr",
        }
    }

    /// The expression without the parts that it holds: `sum by (job)`, `/ on (job)`, `rate`.
    pub fn head(&self) -> String {
        match &self.expr.kind {
            Kind::Call(signature, _) => signature.name.to_owned(),
            Kind::Aggregate(_) => aggregate_head(self.expr).trim_end().to_owned(),
            Kind::Binary(binary) => operator(binary).trim_end().to_owned(),
            Kind::Sign(negative, _) => sign(*negative).to_string(),
            Kind::Subquery(subquery) => subquery_times(subquery),
            Kind::Number(..)
            | Kind::Text(_)
            | Kind::Selector(_)
            | Kind::Range(..)
            | Kind::Paren(_) => self.expr.to_string(),
        }
    }

    /// The type of its value.
    pub fn value_type(&self) -> Type {
        self.expr.value_type()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parse;
    use obs_model::limits::Limits;

    fn check(text: &str, most: usize, expect: &[&str]) {
        let expr = parse(text, &Limits::default()).unwrap();
        let (found, more) = parts(&expr, most);
        let shown: Vec<String> = found
            .iter()
            .map(|part| {
                let parent = part.parent.map_or("-".to_owned(), |p| p.to_string());
                format!("{parent} {} {}", part.kind(), part.head())
            })
            .collect();
        assert_eq!(shown, expect, "{text}");
        for (id, part) in found.iter().enumerate() {
            assert!(part.children.iter().all(|c| found[*c].parent == Some(id)));
        }
        let all: usize = 1 + found.iter().map(|p| p.children.len()).sum::<usize>();
        assert_eq!(all, found.len());
        assert_eq!(more, parts(&expr, usize::MAX).0.len() > most);
    }

    #[test]
    fn the_whole_comes_first() {
        let text = "(sum by (job) (rate(a[5m])) / on (job) group_left () -b) > 2";
        let expect = [
            "- binaryExpr >",
            "0 binaryExpr / on (job) group_left ()",
            "0 numberLiteral 2",
            "1 aggregation sum by (job)",
            "1 unaryExpr -",
            "3 call rate",
            "4 vectorSelector b",
            "5 matrixSelector a[5m]",
        ];
        check(text, 100, &expect);
        check(text, 3, &expect[..3]);
        check("((up))", 9, &["- vectorSelector up"]);
        check(
            "topk(2, max_over_time(up[1h:1m] offset 5m))",
            9,
            &[
                "- aggregation topk",
                "0 numberLiteral 2",
                "0 call max_over_time",
                "2 subquery [1h:1m] offset 5m",
                "3 vectorSelector up",
            ],
        );
    }
}
