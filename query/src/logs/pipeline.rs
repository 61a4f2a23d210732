//! A LogQL pipeline, compiled: stages run on one [`Row`] after the other.
//!
//! Napkin: a line filter costs a substring search per line (≈ 10 GB/s with SIMD); parsers cost one
//! pass and one allocation per label. Invariant: a stage that fails marks the line, it never drops
//! it.

use std::borrow::Cow;

use obs_model::{Matcher, Pattern};

use super::filter::{LabelFilter, LineFilter};
use super::json::{self, Step};
use super::logfmt;
use super::pattern::{CapturePattern, check_captures};
use super::row::{ERROR, ERROR_DETAILS, Row, sanitize};
use super::template::Template;
use crate::error::QueryError;
use crate::logql::ast::{Extraction, LabelChoice, LabelFormat, Stage};

const JSON_ERROR: &str = "JSONParserErr";
const LOGFMT_ERROR: &str = "LogfmtParserErr";
const TEMPLATE_ERROR: &str = "TemplateFormatErr";

#[derive(Debug)]
enum Compiled {
    Line(LineFilter),
    Json,
    JsonPaths(Vec<(String, Vec<Step>)>),
    Logfmt {
        strict: bool,
        keep_empty: bool,
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
}

impl Pipeline {
    /// Compiles stages; refuses what is not supported yet.
    pub(crate) fn new(stages: &[Stage]) -> Result<Self, QueryError> {
        let steps = stages.iter().map(compile).collect::<Result<_, _>>()?;
        Ok(Self { steps })
    }

    /// Runs the line through; `false` drops it.
    pub(crate) fn run(&self, row: &mut Row<'_>) -> bool {
        self.steps.iter().all(|step| step.run(row))
    }

    /// Texts that every line contains that passes, for the store.
    pub(crate) fn needles(&self) -> Vec<Vec<u8>> {
        let mut needles = Vec::new();
        for step in &self.steps {
            match step {
                Compiled::Line(filter) if !filter.needle().is_empty() => {
                    needles.push(filter.needle().to_vec());
                }
                // Behind these, filters see another line than the stored one.
                Compiled::Unpack | Compiled::LineFormat(_) | Compiled::Decolorize => break,
                _ => {}
            }
        }
        needles
    }
}

fn compile(stage: &Stage) -> Result<Compiled, QueryError> {
    let invalid = |e: String| QueryError::Execution(e);
    Ok(match stage {
        Stage::Line(filter) => Compiled::Line(LineFilter::new(filter)?),
        Stage::Json(fields) if fields.is_empty() => Compiled::Json,
        Stage::Json(fields) => Compiled::JsonPaths(
            fields
                .iter()
                .map(|field| {
                    let path = json::parse_path(&field.path)
                        .ok_or_else(|| invalid(format!("{:?} is no JSON path", field.path)))?;
                    Ok((field.label.clone(), path))
                })
                .collect::<Result<_, QueryError>>()?,
        ),
        Stage::Logfmt {
            strict,
            keep_empty,
            fields,
        } => Compiled::Logfmt {
            strict: *strict,
            keep_empty: *keep_empty,
            fields: fields.clone(),
        },
        Stage::Regexp(text) => Compiled::Regexp(check_captures(text).map_err(invalid)?),
        Stage::Pattern(text) => Compiled::Pattern(CapturePattern::new(text).map_err(invalid)?),
        Stage::Unpack => Compiled::Unpack,
        Stage::Filter(filter) => Compiled::Filter(LabelFilter::new(filter)?),
        Stage::LineFormat(text) => {
            let template = Template::new("line", text);
            let wrong = |e: String| invalid(format!("invalid line template: {e}"));
            Compiled::LineFormat(template.map_err(wrong)?)
        }
        Stage::LabelFormat(formats) => Compiled::LabelFormat(
            formats
                .iter()
                .map(|format| {
                    Ok(match format {
                        LabelFormat::Rename { to, from } => Assignment::Rename {
                            to: to.clone(),
                            from: from.clone(),
                        },
                        LabelFormat::Template { to, template } => Assignment::Template {
                            to: to.clone(),
                            template: Template::new("label", template).map_err(|e| {
                                invalid(format!("invalid template for label '{to}': {e}"))
                            })?,
                        },
                    })
                })
                .collect::<Result<_, QueryError>>()?,
        ),
        Stage::Decolorize => Compiled::Decolorize,
        Stage::Drop(labels) => Compiled::Drop(labels.clone()),
        Stage::Keep(labels) => Compiled::Keep(labels.clone()),
    })
}

impl Compiled {
    fn run(&self, row: &mut Row<'_>) -> bool {
        match self {
            Self::Line(filter) => return filter.holds(&row.line),
            Self::Filter(filter) => return filter.holds(row),
            Self::Json => parse_json(row),
            Self::JsonPaths(paths) => parse_json_paths(row, paths),
            Self::Logfmt {
                strict,
                keep_empty,
                fields,
            } => parse_logfmt(row, *strict, *keep_empty, fields),
            Self::Regexp(pattern) => parse_regexp(row, pattern),
            Self::Pattern(pattern) => {
                let line = std::mem::take(&mut row.line);
                pattern.captures(&line, |name, value| {
                    row.extract(name, &String::from_utf8_lossy(value));
                });
                row.line = line;
            }
            Self::Unpack => unpack(row),
            Self::LineFormat(template) => match template.render(row) {
                Ok(line) => row.line = Cow::Owned(line),
                Err(fault) => row.fail(TEMPLATE_ERROR, fault),
            },
            Self::LabelFormat(assignments) => assignments.iter().for_each(|a| assign(row, a)),
            Self::Decolorize => decolorize(row),
            Self::Drop(labels) => drop_labels(row, labels),
            Self::Keep(labels) => keep_labels(row, labels),
        }
        true
    }
}

fn parse_json(row: &mut Row<'_>) {
    let line = std::mem::take(&mut row.line);
    let result = json::flatten(&line, &mut |key, value| row.extract(&sanitize(key), value));
    row.line = line;
    if let Err(fault) = result {
        row.fail(JSON_ERROR, fault.to_string());
    }
}

fn parse_json_paths(row: &mut Row<'_>, paths: &[(String, Vec<Step>)]) {
    let line = std::mem::take(&mut row.line);
    let mut result = json::check(&line);
    for (label, path) in paths {
        match json::locate(&line, path) {
            Ok(Some(value)) => row.extract(label, &value),
            Ok(None) => {}
            Err(fault) => result = Err(fault),
        }
    }
    row.line = line;
    if let Err(fault) = result {
        row.fail(JSON_ERROR, fault.to_string());
    }
}

fn parse_logfmt(row: &mut Row<'_>, strict: bool, keep_empty: bool, fields: &[Extraction]) {
    let line = std::mem::take(&mut row.line);
    let result = logfmt::pairs(&line, |key, value| {
        if value.is_empty() && !keep_empty {
            return;
        }
        if fields.is_empty() {
            let name = sanitize(key);
            if !name.is_empty() {
                row.extract(&name, value);
            }
            return;
        }
        for field in fields.iter().filter(|f| f.path == key) {
            row.extract(&field.label, value);
        }
    });
    row.line = line;
    if let (true, Err(fault)) = (strict, result) {
        row.fail(LOGFMT_ERROR, fault.to_string());
    }
}

fn parse_regexp(row: &mut Row<'_>, pattern: &Pattern) {
    let line = std::mem::take(&mut row.line);
    let regex = pattern.regex();
    if let Some(captures) = regex.captures(&line) {
        for name in regex.capture_names().flatten() {
            if let Some(value) = captures.name(name) {
                row.extract(name, &String::from_utf8_lossy(value.as_bytes()));
            }
        }
    }
    row.line = line;
}

fn unpack(row: &mut Row<'_>) {
    let line = std::mem::take(&mut row.line);
    let mut entry = None;
    let result = json::members(&line, &mut |key, value| {
        if key == "_entry" {
            entry = Some(value.as_bytes().to_vec());
        } else {
            row.extract(&sanitize(key), value);
        }
    });
    row.line = match entry {
        Some(entry) if result.is_ok() => Cow::Owned(entry),
        _ => line,
    };
    if let Err(fault) = result {
        row.fail(JSON_ERROR, fault.to_string());
    }
}

fn assign(row: &mut Row<'_>, assignment: &Assignment) {
    match assignment {
        Assignment::Rename { to, from } => {
            if let Some(value) = row.get(from).map(str::to_owned) {
                row.set(to, value);
                row.remove(from);
            }
        }
        Assignment::Template { to, template } => match template.render(row) {
            Ok(value) => row.set(to, String::from_utf8_lossy(&value).into_owned()),
            Err(fault) => row.fail(TEMPLATE_ERROR, fault),
        },
    }
}

/// Removes ANSI control sequences (`ESC [ … letter`).
fn decolorize(row: &mut Row<'_>) {
    const ESCAPE: u8 = 0x1b;
    if memchr::memchr(ESCAPE, &row.line).is_none() {
        return;
    }
    let mut out = Vec::with_capacity(row.line.len());
    let mut at = 0;
    while let Some(byte) = row.line.get(at).copied() {
        if byte == ESCAPE && row.line.get(at + 1) == Some(&b'[') {
            let parameters = &row.line[at + 2..];
            let length = parameters
                .iter()
                .position(|b| !(0x20..0x40).contains(b))
                .unwrap_or(parameters.len());
            // The final byte of a sequence lies between @ and ~.
            let last = parameters
                .get(length)
                .is_some_and(|b| (0x40..0x7f).contains(b));
            at += 2 + length + usize::from(last);
        } else {
            out.push(byte);
            at += 1;
        }
    }
    row.line = Cow::Owned(out);
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
    for name in row.names() {
        let keep = labels.iter().any(|label| match label {
            LabelChoice::Name(kept) => *kept == name,
            LabelChoice::Matcher(matcher) => matcher.name == name && chosen(matcher, row),
        });
        if !keep && name != ERROR && name != ERROR_DETAILS {
            row.remove(&name);
        }
    }
}
