//! What lines and results of programs mean: problems that happened, and conditions that changed.
//!
//! Pure: who calls reads, runs and tells. Invariants: a line is news once; a condition changes its
//! time only when it changes; the buffer has at most its lines, each at most [`LINE_BYTES_MAX`].

use std::collections::VecDeque;

use obs_kubernetes::node::{Holds, NodeCondition, NodeEvent};
use obs_model::Timestamp;

use super::definition::{Definition, Look, MonitorKind, Rule};

/// Longest line that patterns see.
pub(super) const LINE_BYTES_MAX: usize = 8 << 10;

/// What came of a line or a result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// What happened.
    pub(super) events: Vec<NodeEvent>,
    /// Whether conditions are not what they were.
    pub(super) changed: bool,
    /// What is counted.
    pub(super) counts: Vec<Count>,
}

/// A change of the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Count {
    /// A problem happened so often; 0 makes its counter.
    Happened(String, u64),
    /// A condition holds for this reason, or not.
    Holds(String, String, bool),
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    Problem,
    Unknown,
}

/// A monitor and what it has seen.
#[derive(Debug)]
pub(super) struct Monitor {
    definition: Definition,
    conditions: Vec<NodeCondition>,
    lines: VecDeque<(Timestamp, String)>,
    lines_max: usize,
}

impl Monitor {
    pub(super) fn new(definition: Definition, now: Timestamp) -> Self {
        let conditions = definition.conditions.iter();
        let conditions = conditions.map(|condition| NodeCondition {
            kind: condition.kind.clone(),
            holds: Holds::False,
            since: now,
            reason: condition.reason.clone(),
            message: condition.message.clone(),
        });
        let lines_max = match &definition.kind {
            MonitorKind::Lines(lines) => lines.buffer.max(1),
            MonitorKind::Programs(_) => 0,
        };
        Self {
            conditions: conditions.collect(),
            lines: VecDeque::new(),
            lines_max,
            definition,
        }
    }

    pub(super) fn definition(&self) -> &Definition {
        &self.definition
    }

    /// All conditions as they are.
    pub(super) fn conditions(&self) -> &[NodeCondition] {
        &self.conditions
    }

    /// What the metrics say before anything happened.
    pub(super) fn initial_counts(&self) -> Vec<Count> {
        if !self.definition.metrics {
            return Vec::new();
        }
        let mut counts = Vec::new();
        for rule in &self.definition.rules {
            if let Some(condition) = rule.condition.and_then(|at| self.conditions.get(at)) {
                let kind = condition.kind.clone();
                counts.push(Count::Holds(kind, rule.reason.clone(), false));
            }
            counts.push(Count::Happened(rule.reason.clone(), 0));
        }
        counts
    }

    /// Takes a line.
    pub(super) fn take_line(&mut self, time: Timestamp, line: &str) -> Report {
        if let MonitorKind::Lines(lines) = &self.definition.kind
            && lines.skip.iter().any(|skip| line.contains(skip.as_str()))
        {
            return Report::default();
        }
        while self.lines.len() >= self.lines_max {
            self.lines.pop_front();
        }
        self.lines.push_back((time, cut(line).to_owned()));
        let mut joined = String::new();
        let mut starts = Vec::with_capacity(self.lines.len());
        for (number, (_, line)) in self.lines.iter().enumerate() {
            if number > 0 {
                joined.push('\n');
            }
            starts.push(joined.len());
            joined.push_str(line);
        }
        let mut report = Report::default();
        for number in 0..self.definition.rules.len() {
            let Some(found) = self.matched(number, &joined, &starts) else {
                continue;
            };
            let (time, message) = found;
            self.problem(number, time, message, &mut report);
        }
        report
    }

    /// When the lines that a rule matches began, and what is said of them.
    fn matched(
        &self,
        number: usize,
        joined: &str,
        starts: &[usize],
    ) -> Option<(Timestamp, String)> {
        let Look::Lines { pattern, suffix } = &self.definition.rules.get(number)?.look else {
            return None;
        };
        let last = *starts.last()?;
        // Without its last line the rest was looked at before.
        let mut found = pattern.find_iter(joined);
        let found = found.find(|found| found.end() > last || joined.is_empty())?;
        let first = starts.partition_point(|start| *start <= found.start());
        let first = first.saturating_sub(1);
        let (time, _) = self.lines.get(first)?;
        let mut message = joined.get(*starts.get(first)?..)?.to_owned();
        if !suffix.is_empty() {
            message.push_str("; ");
            message.push_str(suffix);
        }
        Some((*time, message))
    }

    /// A problem was found in lines.
    fn problem(&mut self, number: usize, time: Timestamp, message: String, report: &mut Report) {
        let Some(rule) = self.definition.rules.get(number) else {
            return;
        };
        let (reason, at) = (rule.reason.clone(), rule.condition);
        let Some(condition) = at.and_then(|at| self.conditions.get_mut(at)) else {
            self.happened(true, time, reason, message, report);
            return;
        };
        let kind = condition.kind.clone();
        let news = condition.holds != Holds::True || condition.reason != reason;
        if news {
            condition.since = time;
            condition.message = message;
            condition.holds = Holds::True;
            condition.reason.clone_from(&reason);
            report.changed = true;
            self.condition_event(&kind, Holds::True, time, &reason, report);
        }
        self.count(Count::Holds(kind, reason, true), report);
    }

    /// Takes what a program of a rule said.
    pub(super) fn take_result(
        &mut self,
        number: usize,
        time: Timestamp,
        verdict: Verdict,
        message: String,
    ) -> Report {
        let mut report = Report::default();
        let Some(rule) = self.definition.rules.get(number).cloned() else {
            return report;
        };
        let Some(at) = rule.condition else {
            if verdict == Verdict::Problem {
                self.happened(true, time, rule.reason, message, &mut report);
            }
            return report;
        };
        self.decide(&rule, at, (time, verdict, message), &mut report);
        report
    }

    /// What the result of a permanent problem's program makes of its condition.
    fn decide(
        &mut self,
        rule: &Rule,
        at: usize,
        (time, verdict, message): (Timestamp, Verdict, String),
        report: &mut Report,
    ) {
        let follows = match &self.definition.kind {
            MonitorKind::Programs(programs) => programs.follow_messages,
            MonitorKind::Lines(_) => false,
        };
        let usual = self.definition.conditions.get(at).cloned();
        let (Some(condition), Some(usual)) = (self.conditions.get_mut(at), usual) else {
            return;
        };
        let holds = match verdict {
            Verdict::Fine => Holds::False,
            Verdict::Problem => Holds::True,
            Verdict::Unknown => Holds::Unknown,
        };
        let told = condition.reason == rule.reason && (!follows || condition.message == message);
        if condition.holds == holds && (holds != Holds::True || told) {
            return;
        }
        let was = std::mem::replace(&mut condition.holds, holds);
        condition.since = time;
        (condition.reason, condition.message) = match holds {
            Holds::True => (rule.reason.clone(), message),
            Holds::False => (usual.reason, usual.message),
            Holds::Unknown => (usual.reason, message),
        };
        let (kind, reason) = (condition.kind.clone(), condition.reason.clone());
        report.changed = true;
        self.condition_event(&kind, holds, time, &reason, report);
        if was == Holds::True || holds == Holds::True {
            let count = Count::Holds(kind, rule.reason.clone(), holds == Holds::True);
            self.count(count, report);
        }
    }

    fn condition_event(
        &self,
        kind: &str,
        holds: Holds,
        time: Timestamp,
        reason: &str,
        report: &mut Report,
    ) {
        let holds = holds.name();
        let message = format!("Node condition {kind} is now: {holds}, reason: {reason}");
        self.happened(false, time, reason.to_owned(), message, report);
    }

    fn happened(
        &self,
        warning: bool,
        time: Timestamp,
        reason: String,
        message: String,
        report: &mut Report,
    ) {
        self.count(Count::Happened(reason.clone(), 1), report);
        report.events.push(NodeEvent {
            source: self.definition.source.clone(),
            warning,
            time,
            reason,
            message,
        });
    }

    fn count(&self, count: Count, report: &mut Report) {
        if self.definition.metrics {
            report.counts.push(count);
        }
    }
}

/// The line, as far as patterns see it.
fn cut(line: &str) -> &str {
    let line = line.trim_end_matches(['\r', '\n']);
    if line.len() <= LINE_BYTES_MAX {
        return line;
    }
    let mut ends = (0..=LINE_BYTES_MAX).rev();
    let end = ends.find(|end| line.is_char_boundary(*end)).unwrap_or(0);
    &line[..end]
}

#[cfg(test)]
mod tests;
