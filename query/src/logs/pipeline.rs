//! A LogQL pipeline, compiled: stages run on one [`Row`] after the other.
//!
//! Napkin: a line filter costs a substring search per line (≈ 10 GB/s with SIMD); parsers cost one
//! pass and one allocation per label. Invariant: a stage that fails marks the line, it never drops
//! it.

use std::borrow::Cow;

use obs_logstore::LineCondition;
use obs_model::{Matcher, Pattern, Timestamp};

use super::filter::{LabelFilter, line_condition};
use super::hints::{self, Needle};
use super::json::{self, Step};
use super::logfmt;
use super::pattern::{CapturePattern, check_captures};
use super::row::{ERROR, ERROR_DETAILS, Row, readable, sanitize};
use super::template::Template;
use crate::error::{ParseError, QueryError};
use crate::logql::ast::{Extraction, LabelChoice, LabelFormat, Stage};

const JSON_ERROR: &str = "JSONParserErr";
const LOGFMT_ERROR: &str = "LogfmtParserErr";
const TEMPLATE_ERROR: &str = "TemplateFormatErr";

#[derive(Debug)]
enum Compiled {
    Line(LineCondition),
    Json,
    JsonPaths(Vec<(String, Vec<Step>)>),
    Logfmt {
        strict: bool,
        keep_empty: bool,
    },
    LogfmtKeys {
        strict: bool,
        fields: Vec<Extraction>,
    },
    Regexp(Pattern),
    Pattern(CapturePattern),
    Unpack,
    Filter(LabelFilter),
    LineFormat(Template),
    LabelFormat(Vec<Assignment>),
    Decolorize,
    Drop(Vec<LabelChoice>),
    Keep(Vec<LabelChoice>),
}

#[derive(Debug)]
enum Assignment {
    Rename { to: String, from: String },
    Template { to: String, template: Template },
}

/// A compiled pipeline.
#[derive(Debug)]
pub(crate) struct Pipeline {
    steps: Vec<Compiled>,
    /// Which steps are line filters on the line as it came.
    leads: Vec<bool>,
    needles: Vec<Needle>,
    sets_labels: bool,
    now: Timestamp,
}

impl Pipeline {
    /// Compiles stages. Errors are Loki's and name the stage.
    pub(crate) fn new(stages: &[Stage]) -> Result<Self, QueryError> {
        let steps = stages.iter().map(|stage| {
            compile(stage).map_err(|fault| {
                let message = format!("stage '{stage}' : {fault}");
                QueryError::Parse(ParseError::logql(0, 0, message))
            })
        });
        let leads = hints::leads(stages);
        Ok(Self {
            steps: steps.collect::<Result<_, _>>()?,
            leads,
            needles: hints::needles(stages),
            sets_labels: stages.iter().any(hints::sets_labels),
            now: Timestamp::default(),
        })
    }

    /// The pipeline of a query that was asked at this time, which is `now` in its templates.
    pub(crate) fn at(mut self, now: Timestamp) -> Self {
        self.now = now;
        self
    }

    /// Runs the line through; `false` drops it.
    pub(crate) fn run(&self, row: &mut Row<'_>) -> bool {
        self.steps.iter().all(|step| step.run(row, self.now))
    }

    /// Runs a line through that the leading filters let pass: the same without them.
    pub(crate) fn run_behind_leading(&self, row: &mut Row<'_>) -> bool {
        let steps = self.steps.iter().zip(&self.leads);
        steps
            .filter(|(_, leads)| !**leads)
            .all(|(step, _)| step.run(row, self.now))
    }

    /// The line filters that see the line as it came: those before any stage that changes it. All
    /// of them must hold, and the pipeline behind them is [`Self::run_behind_leading`].
    pub(crate) fn leading_filters(&self) -> impl Iterator<Item = &LineCondition> {
        let steps = self.steps.iter().zip(&self.leads);
        steps.filter_map(|(step, leads)| match step {
            Compiled::Line(condition) if *leads => Some(condition),
            _ => None,
        })
    }

    /// Whether nothing decides on a line but leading filters.
    pub(crate) fn only_leads(&self) -> bool {
        self.leads.iter().all(|leads| *leads)
    }

    /// What must be in the line as it came for the conditions on labels behind parsers to hold,
    /// where the record has no such label; see [`Needle`].
    pub(crate) fn label_needles(&self) -> &[Needle] {
        &self.needles
    }

    /// Whether a line may leave the pipeline with other labels than it came with, errors aside.
    pub(crate) fn sets_labels(&self) -> bool {
        self.sets_labels
    }
}

/// A stage, or what is wrong with it in Loki's words.
fn compile(stage: &Stage) -> Result<Compiled, String> {
    Ok(match stage {
        Stage::Line(filter) => Compiled::Line(line_condition(filter)?),
        Stage::Json(fields) if fields.is_empty() => Compiled::Json,
        Stage::Json(fields) => {
            let paths = fields.iter().map(|field| {
                let path = &field.path;
                let steps = json::parse_path(path)
                    .ok_or_else(|| format!("cannot parse expression [{path}]: syntax error"))?;
                Ok((field.label.clone(), steps))
            });
            Compiled::JsonPaths(paths.collect::<Result<_, String>>()?)
        }
        Stage::Logfmt {
            strict,
            keep_empty,
            fields,
        } if fields.is_empty() => Compiled::Logfmt {
            strict: *strict,
            keep_empty: *keep_empty,
        },
        Stage::Logfmt { strict, fields, .. } => Compiled::LogfmtKeys {
            strict: *strict,
            fields: fields.clone(),
        },
        Stage::Regexp(text) => Compiled::Regexp(check_captures(text)?),
        Stage::Pattern(text) => Compiled::Pattern(CapturePattern::new(text)?),
        Stage::Unpack => Compiled::Unpack,
        Stage::Filter(filter) => Compiled::Filter(LabelFilter::new(filter)?),
        Stage::LineFormat(text) => {
            let template = Template::new("line", text);
            Compiled::LineFormat(template.map_err(|e| format!("invalid line template: {e}"))?)
        }
        Stage::LabelFormat(formats) => Compiled::LabelFormat(assignments(formats)?),
        Stage::Decolorize => Compiled::Decolorize,
        Stage::Drop(labels) => Compiled::Drop(labels.clone()),
        Stage::Keep(labels) => Compiled::Keep(labels.clone()),
    })
}

fn assignments(formats: &[LabelFormat]) -> Result<Vec<Assignment>, String> {
    let mut seen: Vec<&str> = Vec::new();
    let mut all = Vec::new();
    for format in formats {
        let (LabelFormat::Rename { to, .. } | LabelFormat::Template { to, .. }) = format;
        if to == ERROR {
            return Err(format!("{ERROR} cannot be formatted"));
        }
        if seen.contains(&to.as_str()) {
            return Err(format!(
                "multiple label name '{to}' not allowed in a single format operation"
            ));
        }
        seen.push(to);
        let to = to.clone();
        all.push(match format {
            LabelFormat::Rename { from, .. } => Assignment::Rename {
                to,
                from: from.clone(),
            },
            LabelFormat::Template { template, .. } => {
                let wrong = |e| format!("invalid template for label '{to}': {e}");
                let template = Template::new("label", template).map_err(wrong)?;
                Assignment::Template { to, template }
            }
        });
    }
    Ok(all)
}

impl Compiled {
    fn run(&self, row: &mut Row<'_>, now: Timestamp) -> bool {
        match self {
            Self::Line(filter) => return filter.holds(&row.line),
            Self::Filter(filter) => return filter.holds(row),
            // What is looked for is found already, or nothing is.
            Self::Json
            | Self::JsonPaths(_)
            | Self::Logfmt { .. }
            | Self::LogfmtKeys { .. }
            | Self::Pattern(_)
                if row.is_satisfied() => {}
            Self::Json => parse_json(row),
            Self::JsonPaths(paths) => parse_json_paths(row, paths),
            Self::Logfmt { strict, keep_empty } => parse_logfmt(row, *strict, *keep_empty),
            Self::LogfmtKeys { strict, fields } => parse_logfmt_keys(row, *strict, fields),
            Self::Regexp(pattern) => parse_regexp(row, pattern),
            Self::Pattern(pattern) => {
                let line = std::mem::take(&mut row.line);
                pattern.captures(&line, |name, value| {
                    row.extract(name, &String::from_utf8_lossy(value));
                });
                row.line = line;
            }
            Self::Unpack => unpack(row),
            Self::LineFormat(template) => match template.render(row, now) {
                Ok(line) => row.line = Cow::Owned(line),
                Err(fault) => row.fail(TEMPLATE_ERROR, fault),
            },
            Self::LabelFormat(assignments) => format_labels(row, assignments, now),
            Self::Decolorize => decolorize(row),
            Self::Drop(labels) => drop_labels(row, labels),
            Self::Keep(labels) => keep_labels(row, labels),
        }
        true
    }
}

fn parse_json(row: &mut Row<'_>) {
    let line = std::mem::take(&mut row.line);
    let result = json::flatten(&line, &mut |key, value| {
        row.extract(key, &readable(value));
        !row.is_satisfied()
    });
    row.line = line;
    if let Err(fault) = result {
        row.fail(JSON_ERROR, fault.to_string());
    }
}

/// Sets each label that is asked for, to nothing where the line does not have it.
fn parse_json_paths(row: &mut Row<'_>, paths: &[(String, Vec<Step>)]) {
    if row.line.is_empty() {
        return;
    }
    if !matches!(row.line.first(), Some(b'"' | b'{' | b'[')) {
        return row.fail(JSON_ERROR, "");
    }
    let line = std::mem::take(&mut row.line);
    let mut missing = Vec::new();
    let mut result = Ok(());
    for (label, path) in paths {
        match json::locate(&line, path) {
            Ok(Some(value)) => row.assign(label, &readable(&value)),
            Ok(None) => missing.push(label),
            Err(fault) => {
                missing.push(label);
                result = Err(fault);
            }
        }
    }
    row.line = line;
    for label in missing {
        if row.get(label).is_none() {
            row.assign(label, "");
        }
    }
    if let Err(fault) = result {
        row.fail(JSON_ERROR, fault.to_string());
    }
}

fn parse_logfmt(row: &mut Row<'_>, strict: bool, keep_empty: bool) {
    let line = std::mem::take(&mut row.line);
    let result = logfmt::pairs(&line, strict, |key, value| {
        if keep_empty || !value.is_empty() {
            row.extract(&sanitize(key), &readable(value));
        }
        !row.is_satisfied()
    });
    row.line = line;
    if let Err(fault) = result {
        row.fail(LOGFMT_ERROR, fault.to_string());
    }
}

/// Sets each label that is asked for, to nothing where the line does not have it.
fn parse_logfmt_keys(row: &mut Row<'_>, strict: bool, fields: &[Extraction]) {
    for field in fields {
        if row.get(&field.label).is_none() {
            row.assign(&field.label, "");
        }
    }
    let line = std::mem::take(&mut row.line);
    let result = logfmt::pairs(&line, strict, |key, value| {
        let key = sanitize(key);
        for field in fields.iter().filter(|f| f.path == key) {
            row.assign(&field.label, &readable(value));
        }
        true
    });
    row.line = line;
    if let Err(fault) = result {
        row.fail(LOGFMT_ERROR, fault.to_string());
    }
}

fn parse_regexp(row: &mut Row<'_>, pattern: &Pattern) {
    let line = std::mem::take(&mut row.line);
    let regex = pattern.regex();
    if let Some(captures) = regex.captures(&line) {
        for name in regex.capture_names().flatten() {
            let value = captures.name(name).map_or(&b""[..], |v| v.as_bytes());
            row.extract(&sanitize(name), &String::from_utf8_lossy(value));
        }
    }
    row.line = line;
}

/// Labels and the line that were packed together; a line without `_entry` was not.
fn unpack(row: &mut Row<'_>) {
    if row.line.is_empty() {
        return;
    }
    if row.line.first() != Some(&b'{') {
        return row.fail(JSON_ERROR, "expecting json object(6), but it is not");
    }
    let line = std::mem::take(&mut row.line);
    let mut entry = None;
    let mut labels: Vec<(String, String)> = Vec::new();
    let result = json::members(&line, &mut |key, value| {
        if key == "_entry" {
            entry = Some(value.as_bytes().to_vec());
        } else {
            labels.push((sanitize(key).into_owned(), readable(value).into_owned()));
        }
    });
    row.line = line;
    match (result, entry) {
        (Err(fault), _) => row.fail(JSON_ERROR, fault.to_string()),
        (Ok(()), None) => {}
        (Ok(()), Some(entry)) => {
            row.line = Cow::Owned(entry);
            for (name, value) in labels {
                row.extract(&name, &value);
            }
        }
    }
}

/// Templates see the labels as they are before the first template of the stage.
fn format_labels(row: &mut Row<'_>, assignments: &[Assignment], now: Timestamp) {
    let mut rendered: Option<std::vec::IntoIter<Result<Vec<u8>, String>>> = None;
    for assignment in assignments {
        match assignment {
            Assignment::Rename { to, from } => {
                if let Some(value) = row.get(from).map(str::to_owned) {
                    row.set(to, value);
                    row.remove(from);
                }
            }
            Assignment::Template { to, .. } => {
                let texts = rendered.get_or_insert_with(|| render_all(row, assignments, now));
                match texts.next() {
                    Some(Ok(value)) => {
                        row.set(to, String::from_utf8_lossy(&value).into_owned());
                    }
                    Some(Err(fault)) => row.fail(TEMPLATE_ERROR, fault),
                    None => {}
                }
            }
        }
    }
}

fn render_all(
    row: &Row<'_>,
    assignments: &[Assignment],
    now: Timestamp,
) -> std::vec::IntoIter<Result<Vec<u8>, String>> {
    let templates = assignments.iter().filter_map(|a| match a {
        Assignment::Template { template, .. } => Some(template),
        Assignment::Rename { .. } => None,
    });
    let texts: Vec<_> = templates.map(|t| t.render(row, now)).collect();
    texts.into_iter()
}

/// Removes the sequences by which terminals are coloured.
fn decolorize(row: &mut Row<'_>) {
    // ESC, and CSI as one character in UTF-8.
    let starts = |at: usize, line: &[u8]| match line.get(at) {
        Some(0x1b) => 1,
        Some(0xc2) if line.get(at + 1) == Some(&0x9b) => 2,
        _ => 0,
    };
    if memchr::memchr2(0x1b, 0x9b, &row.line).is_none() {
        return;
    }
    let mut out = Vec::with_capacity(row.line.len());
    let mut at = 0;
    while at < row.line.len() {
        let length = match starts(at, &row.line) {
            0 => 0,
            begin => sequence(&row.line[at + begin..]).map_or(0, |inside| begin + inside),
        };
        if length == 0 {
            out.push(row.line[at]);
        }
        at += length.max(1);
    }
    row.line = Cow::Owned(out);
}

/// Bytes of a control sequence behind what begins it: a title that ends with a bell, or numbers
/// and the letter that says what they do.
fn sequence(text: &[u8]) -> Option<usize> {
    let run = |from: usize, part: fn(&u8) -> bool| {
        let rest = text.get(from..).unwrap_or_default();
        from + rest.iter().take_while(|b| part(b)).count()
    };
    let begin = run(0, |b| b"[]()#;?".contains(b));
    let title = run(begin, |b| b.is_ascii_alphanumeric() || *b == b';');
    if text.get(title) == Some(&7) {
        return Some(title + 1);
    }
    let numbers = run(begin, |b| b.is_ascii_digit() || *b == b';');
    let is_last = |b: &u8| {
        matches!(b, b'0'..=b'9' | b'A'..=b'P' | b'R' | b'Z' | b'c' | b'f'..=b'n' | b'q' | b'r' | b't' | b'y')
            || b"=><~".contains(b)
    };
    let ends = |at: usize| text.get(at).is_some_and(is_last).then_some(at + 1);
    // Numbers that no letter follows end with their last digit.
    ends(numbers).or_else(|| (numbers > begin).then(|| ends(numbers - 1)).flatten())
}

fn chosen(matcher: &Matcher, row: &Row<'_>) -> bool {
    matcher.matches(row.get(&matcher.name).unwrap_or(""))
}

fn drop_labels(row: &mut Row<'_>, labels: &[LabelChoice]) {
    for label in labels {
        match label {
            LabelChoice::Name(name) => row.remove(name),
            LabelChoice::Matcher(matcher) if chosen(matcher, row) => row.remove(&matcher.name),
            LabelChoice::Matcher(_) => {}
        }
    }
}

fn keep_labels(row: &mut Row<'_>, labels: &[LabelChoice]) {
    row.retain(|name, value| {
        let kept = labels.iter().any(|label| match label {
            LabelChoice::Name(kept) => kept == name,
            LabelChoice::Matcher(matcher) => matcher.name == name && matcher.matches(value),
        });
        kept || name == ERROR || name == ERROR_DETAILS
    });
}
