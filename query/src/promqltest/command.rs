//! The commands of a test file.

use std::sync::LazyLock;

use obs_model::Timestamp;
use regex::Regex;

use super::series::{self, Row};
use crate::request::When;

/// A command and the line that it starts at.
#[derive(Debug)]
pub(super) struct Command<'a> {
    /// From 1.
    pub(super) line: usize,
    pub(super) kind: CommandKind<'a>,
}

#[derive(Debug)]
pub(super) enum CommandKind<'a> {
    /// Forget all series.
    Clear,
    /// Add series.
    Load {
        step_ms: i64,
        custom_buckets: bool,
        lines: Vec<&'a str>,
    },
    /// Evaluate and compare.
    Eval(Box<Eval<'a>>),
    /// What is no command.
    Fault(String),
}

/// An evaluation and what is expected of it.
#[derive(Debug)]
pub(super) struct Eval<'a> {
    pub(super) query: &'a str,
    pub(super) when: When,
    /// Times of the expected points, where the answer is a matrix.
    pub(super) points: When,
    pub(super) ordered: bool,
    /// The query fails, with this text.
    pub(super) fail: Option<Said<'a>>,
    pub(super) warn: Notes<'a>,
    pub(super) info: Notes<'a>,
    pub(super) expected: Expected,
    /// The answer is no vector, so that there is nothing to compare over a range.
    pub(super) only_instant: bool,
}

/// What is expected of warnings or infos.
#[derive(Debug, Default)]
pub(super) struct Notes<'a> {
    /// There is none.
    pub(super) none: bool,
    /// There is at least one (the old form, which does not look at texts).
    pub(super) some: bool,
    /// Each is told, and none but these.
    pub(super) said: Vec<Said<'a>>,
}

/// A text that is expected.
#[derive(Debug)]
pub(super) enum Said<'a> {
    Anything,
    Exactly(&'a str),
    Regex(Regex),
}

impl Said<'_> {
    pub(super) fn fits(&self, text: &str) -> bool {
        match self {
            Self::Anything => true,
            Self::Exactly(expected) => *expected == text,
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

impl std::fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Anything => f.write_str("any text"),
            Self::Exactly(text) => write!(f, "{text:?}"),
            Self::Regex(regex) => write!(f, "pattern {:?}", regex.as_str()),
        }
    }
}

/// The value that is expected.
#[derive(Debug)]
pub(super) enum Expected {
    Scalar(f64),
    Text(String),
    Series(Vec<Row>),
}

static INSTANT: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"^eval(?:_(fail|warn|ordered|info))?\s+instant\s+(?:at\s+(.+?))?\s+(.+)$";
    Regex::new(pattern).expect("it is a constant")
});
static RANGE: LazyLock<Regex> = LazyLock::new(|| {
    let pattern =
        r"^eval(?:_(fail|warn|info))?\s+range\s+from\s+(.+)\s+to\s+(.+)\s+step\s+(.+?)\s+(.+)$";
    Regex::new(pattern).expect("it is a constant")
});
static LOAD: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^load(?:_(with_nhcb))?\s+(.+?)$").expect("it is a constant"));
static POINTS: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"^expect range vector\s+from\s+(.+)\s+to\s+(.+)\s+step\s+(.+)$";
    Regex::new(pattern).expect("it is a constant")
});

/// Reads a file. What is no command becomes [`CommandKind::Fault`].
pub(super) fn commands(text: &str) -> Vec<Command<'_>> {
    let comment = |line: &&str| line.starts_with('#');
    let trimmed = text.lines().map(str::trim);
    let lines: Vec<&str> = trimmed
        .map(|line| if comment(&line) { "" } else { line })
        .collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let (line, head) = (at + 1, lines[at]);
        at += 1;
        let word = head.split_whitespace().next().unwrap_or("").to_lowercase();
        // A block ends at an empty line.
        let block = lines[at..].iter().take_while(|l| !l.is_empty()).count();
        let below = &lines[at..at + block];
        let kind = match word.as_str() {
            "" => continue,
            "clear" => CommandKind::Clear,
            w if w.starts_with("load") => {
                at += block;
                load(head, below).unwrap_or_else(CommandKind::Fault)
            }
            w if w.starts_with("eval") => match eval(head, below) {
                Ok((eval, used)) => {
                    at += used;
                    CommandKind::Eval(Box::new(eval))
                }
                Err((offset, fault)) => {
                    let line = line + offset;
                    at += block;
                    commands.push(Command {
                        line,
                        kind: CommandKind::Fault(fault),
                    });
                    continue;
                }
            },
            _ => CommandKind::Fault(format!("invalid command {head:?}")),
        };
        commands.push(Command { line, kind });
    }
    commands
}

fn load<'a>(head: &str, below: &[&'a str]) -> Result<CommandKind<'a>, String> {
    let head = head.to_lowercase();
    let Some(found) = LOAD.captures(&head) else {
        return Err("invalid load command. (load[_with_nhcb] <step:duration>)".to_owned());
    };
    let step = &found[2];
    let step_ms = crate::promql::duration_or_zero(step)
        .map_err(|fault| format!("invalid step definition {step:?}: {fault}"))?;
    Ok(CommandKind::Load {
        step_ms,
        custom_buckets: found.get(1).is_some(),
        lines: below.to_vec(),
    })
}

fn time(text: &str, what: &str) -> Result<Timestamp, String> {
    let millis = crate::promql::duration_or_zero(text)
        .map_err(|fault| format!("invalid {what} definition {text:?}: {fault}"))?;
    Ok(Timestamp::from_millis(millis))
}

fn range(from: &str, to: &str, step: &str) -> Result<When, String> {
    let start = time(from, "start timestamp")?;
    let end = time(to, "end timestamp")?;
    if end < start {
        return Err(format!(
            "invalid test definition, end timestamp ({to}) is before start timestamp ({from})"
        ));
    }
    let step = time(step, "step")?.nanos();
    Ok(When::Range { start, end, step })
}

/// Reads an evaluation; gives how many lines below it belong to it.
fn eval<'a>(head: &'a str, below: &[&'a str]) -> Result<(Eval<'a>, usize), (usize, String)> {
    let here = |fault: String| (0, fault);
    let (word, when, query) = if let Some(found) = INSTANT.captures(head) {
        let at = found.get(2).map_or("", |m| m.as_str());
        let when = When::At(time(at, "timestamp").map_err(here)?);
        (found.get(1), when, found.get(3))
    } else if let Some(found) = RANGE.captures(head) {
        let when = range(&found[2], &found[3], &found[4]).map_err(here)?;
        (found.get(1), when, found.get(5))
    } else {
        return Err(here("invalid evaluation command. Must be either 'eval[_fail|_warn|_ordered] instant [at <offset:duration>] <query>' or 'eval[_fail|_warn] range from <from> to <to> step <step> <query>'".to_owned()));
    };
    let word = word.map_or("", |m| m.as_str());
    let mut eval = Eval {
        query: query.map_or("", |m| m.as_str()),
        when,
        points: when,
        ordered: word == "ordered",
        fail: (word == "fail").then_some(Said::Anything),
        warn: Notes::default(),
        info: Notes::default(),
        expected: Expected::Series(Vec::new()),
        only_instant: false,
    };
    eval.warn.some = word == "warn";
    eval.info.some = word == "info";
    let mut used = 0;
    for line in below {
        used += 1;
        match eval.line(line) {
            Ok(true) => {}
            Ok(false) => break,
            Err(fault) => return Err((used, fault)),
        }
    }
    Ok((eval, used))
}

impl<'a> Eval<'a> {
    /// Takes a line over; `false` where it ends the block.
    fn line(&mut self, line: &'a str) -> Result<bool, String> {
        if self.fail.is_some() {
            if let Some(text) = line.strip_prefix("expected_fail_message") {
                self.fail = Some(Said::Exactly(text.trim()));
                return Ok(false);
            }
            if let Some(pattern) = line.strip_prefix("expected_fail_regexp") {
                self.fail = Some(regex(pattern)?);
                return Ok(false);
            }
        }
        if line.starts_with("expect range vector") {
            let found = POINTS.captures(line);
            let found = found.ok_or_else(|| format!("invalid range vector definition {line:?}"))?;
            self.points = range(&found[1], &found[2], &found[3])?;
            self.when = When::At(self.points.bounds().1);
            self.only_instant = true;
            return Ok(true);
        }
        if let Some(text) = line.strip_prefix("expect string") {
            let fault =
                "expected string literal not valid - check that the string is correctly quoted";
            let text = text.trim_start();
            let quoted = text.starts_with(['"', '`']);
            let found = quoted.then(|| crate::promql::strings::unquote(text).ok());
            match found.flatten() {
                Some((value, length)) if length == text.len() => {
                    self.expected = Expected::Text(value);
                    self.only_instant = true;
                    return Ok(true);
                }
                _ => return Err(fault.to_owned()),
            }
        }
        if line.split(' ').next() == Some("expect") {
            return self.expect(line).map(|()| true);
        }
        if let Some(value) = series::number(line) {
            self.expected = Expected::Scalar(value);
            return Ok(false);
        }
        let row = series::row(line)?;
        if row.1.len() > 1 && matches!(self.when, When::At(_)) && !self.only_instant {
            return Err("expecting multiple values in instant evaluation not allowed. consider using 'expect range vector' directive to enable a range vector result for an instant query".to_owned());
        }
        match &mut self.expected {
            Expected::Series(rows) => match rows.iter_mut().find(|(labels, _)| *labels == row.0) {
                Some(known) => *known = row,
                None => rows.push(row),
            },
            Expected::Scalar(_) | Expected::Text(_) => {
                return Err("expected a text or series, found both".to_owned());
            }
        }
        Ok(true)
    }

    fn expect(&mut self, line: &'a str) -> Result<(), String> {
        let invalid = || {
            "invalid expect statement, must match `expect <type> <match_type>: <string>` format"
                .to_owned()
        };
        let rest = line.strip_prefix("expect").unwrap_or(line).trim_start();
        let (word, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let rest = rest.trim_start();
        let said = match rest.split_once(':') {
            _ if rest.is_empty() => Said::Anything,
            Some(("msg", text)) => Said::Exactly(text.trim()),
            Some(("regex", pattern)) => regex(pattern)?,
            Some(_) | None => return Err(invalid()),
        };
        match word {
            "ordered" => self.ordered = true,
            "fail" => {
                if self.fail.replace(said).is_some() {
                    return Err(
                        "invalid expect lines, multiple expect fail lines are not allowed"
                            .to_owned(),
                    );
                }
            }
            "warn" => self.warn.said.push(said),
            "info" => self.info.said.push(said),
            "no_warn" => self.warn.none = true,
            "no_info" => self.info.none = true,
            _ => return Err(format!("invalid expected error/annotation type {word}")),
        }
        for (what, notes) in [("warn", &self.warn), ("info", &self.info)] {
            if notes.none && !notes.said.is_empty() {
                return Err(format!(
                    "invalid expect lines, {what} and no_{what} cannot be used together"
                ));
            }
        }
        Ok(())
    }
}

fn regex<'a>(pattern: &str) -> Result<Said<'a>, String> {
    let pattern = pattern.trim();
    let regex = Regex::new(pattern);
    regex
        .map(Said::Regex)
        .map_err(|_| format!("invalid regexp {pattern:?}"))
}
