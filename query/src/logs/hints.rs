//! What a pipeline tells a store before any line is read.
//!
//! Invariant: a hint never costs a line of the answer; where a stage makes it unsound there is
//! none.

use obs_model::MatchOp;

use super::row::{ERROR, ERROR_DETAILS, EXTRACTED};
use crate::logql::ast::{LabelFilter, Stage};

/// A text that stands in a line as it came if a condition `label = "value"` behind parsers holds,
/// provided that neither the record's stream nor its structured metadata has the label, and that
/// the line has no escape of a letter (`\u00`), which would hide the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Needle {
    /// The label of the condition.
    pub(crate) label: String,
    /// Its value.
    pub(crate) value: String,
}

/// Which stages are line filters that see the line as it came.
pub(crate) fn leads(stages: &[Stage]) -> Vec<bool> {
    let changed = stages.iter().position(changes_line);
    let until = changed.unwrap_or(stages.len());
    let all = stages.iter().enumerate();
    all.map(|(at, stage)| at < until && matches!(stage, Stage::Line(_)))
        .collect()
}

fn changes_line(stage: &Stage) -> bool {
    matches!(
        stage,
        Stage::Unpack | Stage::LineFormat(_) | Stage::Decolorize
    )
}

/// Whether labels may be others behind a stage.
pub(crate) fn sets_labels(stage: &Stage) -> bool {
    match stage {
        Stage::Line(_) | Stage::Filter(_) | Stage::LineFormat(_) | Stage::Decolorize => false,
        Stage::Json(_)
        | Stage::Logfmt { .. }
        | Stage::Regexp(_)
        | Stage::Pattern(_)
        | Stage::Unpack
        | Stage::LabelFormat(_)
        | Stage::Drop(_)
        | Stage::Keep(_) => true,
    }
}

/// The texts that conditions behind parsers ask for.
pub(crate) fn needles(stages: &[Stage]) -> Vec<Needle> {
    let mut needles = Vec::new();
    for stage in stages {
        match stage {
            // Labels may have values behind these that are not in the line, or be read from the
            // line although the metadata has them.
            Stage::LabelFormat(_) | Stage::Drop(_) | Stage::Keep(_) => break,
            stage if changes_line(stage) => break,
            Stage::Filter(filter) => filter_needles(filter, &mut needles),
            _ => {}
        }
    }
    needles
}

fn filter_needles(filter: &LabelFilter, needles: &mut Vec<Needle>) {
    match filter {
        LabelFilter::Matcher(m)
            if m.op == MatchOp::Equal && is_plain(&m.value) && is_from_line(&m.name) =>
        {
            needles.push(Needle {
                label: m.name.clone(),
                value: m.value.clone(),
            });
        }
        LabelFilter::And(filters) => filters.iter().for_each(|f| filter_needles(f, needles)),
        _ => {}
    }
}

/// Whether a label that the record does not have can only be from the line. Errors are not, and
/// metadata may be called `<name>_extracted`.
fn is_from_line(name: &str) -> bool {
    name != ERROR && name != ERROR_DETAILS && !name.ends_with(EXTRACTED)
}

/// Whether a value has only characters that nothing but `\u00` escapes.
fn is_plain(value: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':');
    !value.is_empty() && value.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use obs_model::limits::Limits;

    use super::*;
    use crate::logql::{Expr, parse};

    fn stages(text: &str) -> Vec<Stage> {
        let query = format!("{{a=\"b\"}} {text}");
        match parse(&query, &Limits::default()).unwrap() {
            Expr::Logs(logs) => logs.stages,
            Expr::Metric(_) => panic!("{text} gives numbers"),
        }
    }

    #[test]
    fn filters_lead_until_the_line_changes() {
        let check =
            |text: &str, expect: &[bool]| assert_eq!(leads(&stages(text)), expect, "{text}");
        check("", &[]);
        check("|= `x` != `y`", &[true, true]);
        check("| json |= `x` | y=`z` |~ `w`", &[false, true, false, true]);
        check("|= `x` | unpack |= `y`", &[true, false, false]);
        check("| line_format `x` |= `y`", &[false, false]);
        check("| decolorize |= `y`", &[false, false]);
    }

    #[test]
    fn needles_stand_in_the_line() {
        let check = |text: &str, expect: &[(&str, &str)]| {
            let found = needles(&stages(text));
            let found: Vec<_> = found.iter().map(|n| (&*n.label, &*n.value)).collect();
            assert_eq!(found, expect, "{text}");
        };
        check("| json | level=`error`", &[("level", "error")]);
        check(
            "| logfmt | a=`b`, c=`d` | e=~`f`",
            &[("a", "b"), ("c", "d")],
        );
        check("| json | a=`b` or c=`d`", &[]);
        check("| json | a!=`b` | c=``| d=`e f` | g=`é`", &[]);
        check("| json | label_format x=`{{.a}}` | x=`b`", &[]);
        check("| unpack | x=`b`", &[]);
        check("| drop a | json | a=`b`", &[]);
        check("| a=`b` | keep c | json | c=`d`", &[("a", "b")]);
        check("| json | __error__=`b` | x_extracted=`y`", &[]);
        check("| json | status > 5 | a=`b`", &[("a", "b")]);
    }
}
