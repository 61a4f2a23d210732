//! Error groups: the exceptions that spans recorded, put together by what threw them and where.
//!
//! Computed from the columns of stored spans and events when asked, so that counts are exact and
//! survive whatever the spans survive. An exception counts where its own time is in the range and
//! its span touches it. Invariants: an event counts once, however often its span was sent; what is held
//! is charged to the budget; the same exception has the same fingerprint in every process and
//! version of the service.

mod fingerprint;

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use obs_model::spans::{AttributeValue, StatusCode};
use obs_model::{Budget, SpanId, TimeRange, Timestamp, TraceId};
use obs_tracestore::columns::{Listed, Lists, Numbers, Words};
use obs_tracestore::{Columns, Condition, Scope, SelectError, Snapshot, Spans, scan_columns};

pub use fingerprint::{fingerprint, frames};

use crate::error::QueryError;

/// Newest occurrences that a group lists.
const TRACES_MAX: usize = 5;
/// Longest text of a group that is kept, in bytes: a stack trace of hundreds of frames.
const TEXT_BYTES_MAX: usize = 16 << 10;
/// What a group takes beside its texts.
const GROUP_BYTES: u64 = 512;

/// Which groups are wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorFilter {
    /// When the exceptions happened, both ends included.
    pub range: TimeRange,
    /// Of this service only.
    pub service: Option<String>,
    /// With this `exception.type` only.
    pub kind: Option<String>,
    /// Whose type or message has this text, whatever its case.
    pub text: Option<String>,
    /// Only this group.
    pub fingerprint: Option<u64>,
    /// Only exceptions of spans that ended with an error; much less is read then.
    pub failed_only: bool,
}

/// One time that an exception happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// When.
    pub time: Timestamp,
    /// In which trace.
    pub trace: TraceId,
    /// In which span.
    pub span: SpanId,
}

/// Exceptions that are the same one.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorGroup {
    /// What tells it apart.
    pub fingerprint: u64,
    /// `exception.type` of the newest.
    pub kind: String,
    /// `exception.message` of the newest.
    pub message: String,
    /// `exception.stacktrace` of the newest.
    pub stacktrace: String,
    /// The name of the newest one's span.
    pub span_name: String,
    /// How often it happened.
    pub count: u64,
    /// When it happened first.
    pub first: Timestamp,
    /// When it happened last.
    pub last: Timestamp,
    /// How often in each service.
    pub services: BTreeMap<String, u64>,
    /// The newest ones, each of another trace, newest first.
    pub newest: Vec<Occurrence>,
}

/// The groups of a tenant's exceptions, the one that happened last first.
pub fn error_groups(
    snapshot: &Snapshot<Spans>,
    filter: &ErrorFilter,
    budget: &Budget,
) -> Result<Vec<ErrorGroup>, QueryError> {
    let mut conditions = Vec::new();
    conditions.extend(filter.service.clone().map(Condition::Service));
    if filter.failed_only {
        conditions.push(Condition::Status(StatusCode::Error));
    }
    if let Some(kind) = &filter.kind {
        conditions.push(Condition::Attribute {
            scope: Some(Scope::Event),
            key: TYPE.to_owned(),
            value: AttributeValue::String(kind.clone()),
        });
    }
    let mut groups = Groups {
        filter,
        found: HashMap::new(),
        fresh_bytes: 0,
    };
    scan_columns(snapshot, filter.range, &conditions, budget, &mut |block| {
        groups.columns(block)?;
        budget.bytes(std::mem::take(&mut groups.fresh_bytes))?;
        Ok(ControlFlow::Continue(()))
    })?;
    let mut all: Vec<ErrorGroup> = groups.found.into_values().collect();
    all.sort_by(|a, b| b.last.cmp(&a.last).then(a.fingerprint.cmp(&b.fingerprint)));
    Ok(all)
}

const TYPE: &str = "exception.type";

/// What is not text counts as none.
fn text(value: &AttributeValue) -> &str {
    match value {
        AttributeValue::String(text) => text,
        _ => "",
    }
}

/// What the events of a block say of exceptions.
struct Events {
    names: Listed,
    times: Listed,
    /// Types, messages and stack traces.
    texts: [Listed; 3],
}

impl Events {
    fn read(block: &Columns<'_>) -> Result<Self, SelectError> {
        let attribute = |key| block.lists(Lists::EventAttribute(key));
        Ok(Self {
            names: block.lists(Lists::EventName)?,
            times: block.lists(Lists::EventTime)?,
            texts: [
                attribute(TYPE)?,
                attribute("exception.message")?,
                attribute("exception.stacktrace")?,
            ],
        })
    }

    /// The events of a row.
    fn of_row(&self, row: usize) -> std::ops::Range<usize> {
        let ends = &self.names.ends;
        let start = row.checked_sub(1).map_or(0, |r| ends[r]);
        start as usize..ends[row] as usize
    }

    /// What an event says of an exception; `None` for other events.
    fn exception(&self, event: usize) -> Option<[&str; 3]> {
        let texts = [0, 1, 2].map(|at: usize| text(entry(&self.texts[at], event)));
        let is_one = text(entry(&self.names, event)) == "exception"
            || texts[..2].iter().any(|t| !t.is_empty());
        is_one.then_some(texts)
    }

    /// When an event of a span was; where it does not say so, when the span began.
    fn time(&self, event: usize, start: i64) -> Timestamp {
        let AttributeValue::Int(since) = entry(&self.times, event) else {
            return Timestamp::from_nanos(start);
        };
        match start.saturating_add(*since) {
            0 => Timestamp::from_nanos(start),
            time => Timestamp::from_nanos(time),
        }
    }
}

fn entry(listed: &Listed, event: usize) -> &AttributeValue {
    &listed.entries.values[listed.entries.codes[event] as usize]
}

struct Groups<'a> {
    filter: &'a ErrorFilter,
    found: HashMap<u64, ErrorGroup>,
    /// Bytes that were added since they were charged.
    fresh_bytes: u64,
}

impl Groups<'_> {
    /// Takes the exceptions of a block's spans that touch the range.
    fn columns(&mut self, block: &Columns<'_>) -> Result<(), SelectError> {
        if !block.has_events()? {
            return Ok(());
        }
        let mut rows: Vec<bool> = match block.apart() {
            Some(apart) => apart.iter().map(|apart| !apart).collect(),
            None => vec![true; block.len()],
        };
        if self.filter.failed_only {
            let failed = i64::from(StatusCode::Error.number());
            let statuses = block.numbers(Numbers::Status)?;
            let both = rows.iter_mut().zip(statuses);
            both.for_each(|(row, status)| *row &= status == failed);
        }
        let services = block.attribute(Scope::Resource, "service.name")?;
        let services = services.unwrap_or_default();
        if let Some(wanted) = self.filter.service.as_deref() {
            let is_wanted: Vec<bool> = services.values.iter().map(|v| text(v) == wanted).collect();
            let both = rows.iter_mut().zip(&services.codes);
            both.for_each(|(row, code)| *row &= is_wanted[*code as usize]);
        }
        if !rows.contains(&true) {
            return Ok(());
        }
        let (starts, ends) = (block.numbers(Numbers::Start)?, block.numbers(Numbers::End)?);
        let events = Events::read(block)?;
        let names = block.words(Words::Name)?;
        for row in (0..rows.len()).filter(|row| rows[*row]) {
            let start = Timestamp::from_nanos(starts[row]);
            let end = Timestamp::from_nanos(ends[row]).max(start);
            if !TimeRange::new(start, end).overlaps(self.filter.range) {
                continue;
            }
            for event in events.of_row(row) {
                let Some(texts) = events.exception(event) else {
                    continue;
                };
                let time = events.time(event, starts[row]);
                if self.filter.range.contains(time) && self.is_wanted(texts) {
                    let (trace, span) = block.ids(row)?;
                    let seen = Occurrence { time, trace, span };
                    let service = text(&services.values[services.codes[row] as usize]);
                    let name = text(&names.values[names.codes[row] as usize]);
                    self.add(texts, (service, name), seen);
                }
            }
        }
        Ok(())
    }

    fn is_wanted(&self, [kind, message, _]: [&str; 3]) -> bool {
        let wanted = self.filter.kind.as_deref();
        wanted.is_none_or(|wanted| wanted == kind)
            && self.filter.text.as_deref().is_none_or(|text| {
                let text = text.to_lowercase();
                kind.to_lowercase().contains(&text) || message.to_lowercase().contains(&text)
            })
    }

    fn add(&mut self, texts: [&str; 3], (service, name): (&str, &str), seen: Occurrence) {
        let [kind, message, stack] = texts;
        let fingerprint = fingerprint(kind, message, stack);
        if self.filter.fingerprint.is_some_and(|f| f != fingerprint) {
            return;
        }
        let fresh = &mut self.fresh_bytes;
        let group = self.found.entry(fingerprint).or_insert_with(|| {
            *fresh += GROUP_BYTES;
            ErrorGroup {
                fingerprint,
                kind: String::new(),
                message: String::new(),
                stacktrace: String::new(),
                span_name: String::new(),
                count: 0,
                first: seen.time,
                last: Timestamp::MIN,
                services: BTreeMap::new(),
                newest: Vec::new(),
            }
        });
        group.count += 1;
        group.first = group.first.min(seen.time);
        match group.services.get_mut(service) {
            Some(count) => *count += 1,
            None => {
                *fresh += 64 + service.len() as u64;
                group.services.insert(service.to_owned(), 1);
            }
        }
        if seen.time > group.last || group.count == 1 {
            group.last = seen.time;
            for (own, text) in [
                (&mut group.kind, kind),
                (&mut group.message, message),
                (&mut group.stacktrace, stack),
                (&mut group.span_name, name),
            ] {
                let before = own.capacity();
                let text = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
                text.clone_into(own);
                *fresh += (own.capacity() - before) as u64;
            }
        }
        remember(&mut group.newest, seen);
    }
}

/// Keeps the newest occurrences, each of another trace, newest first.
fn remember(newest: &mut Vec<Occurrence>, seen: Occurrence) {
    if let Some(same) = newest.iter().position(|n| n.trace == seen.trace) {
        if newest[same].time >= seen.time {
            return;
        }
        newest.remove(same);
    }
    let place = newest.partition_point(|n| (n.time, n.trace) > (seen.time, seen.trace));
    newest.insert(place, seen);
    newest.truncate(TRACES_MAX);
}

#[cfg(test)]
mod tests;
