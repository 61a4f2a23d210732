//! Error groups: the exceptions that spans recorded, put together by what threw them and where.
//!
//! Computed from the stored spans when asked, so that counts are exact and survive whatever the
//! spans survive. Invariants: an event counts once, however often its span was sent; what is held
//! is charged to the budget; the same exception has the same fingerprint in every process and
//! version of the service.

mod fingerprint;

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use obs_model::spans::{AttributeValue, SpanEvent, StatusCode, attribute};
use obs_model::{Budget, SpanBatch, SpanId, TimeRange, Timestamp, TraceId};
use obs_tracestore::columns::Numbers;
use obs_tracestore::scan::{Choose, scan_chosen};
use obs_tracestore::{Columns, Condition, Scope, Snapshot, SpanFilter, Spans};

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
    let wanted = SpanFilter {
        range: filter.range,
        conditions,
    };
    let failed = i64::from(StatusCode::Error.number());
    let mut choose = |block: &Columns<'_>| {
        let statuses = block.numbers(Numbers::Status)?;
        Ok(statuses.into_iter().map(|s| s == failed).collect())
    };
    let choose: Option<&mut Choose<'_>> = filter.failed_only.then_some(&mut choose);
    let mut groups = Groups {
        filter,
        found: HashMap::new(),
        fresh_bytes: 0,
    };
    let mut visit = |id, batch: SpanBatch| {
        budget.check()?;
        groups.trace(id, &batch);
        budget.bytes(std::mem::take(&mut groups.fresh_bytes))?;
        // The trace itself is let go.
        budget.release_samples(batch.span_count() as u64);
        Ok(ControlFlow::Continue(()))
    };
    scan_chosen(snapshot, &wanted, choose, budget, &mut visit)?;
    let mut all: Vec<ErrorGroup> = groups.found.into_values().collect();
    all.sort_by(|a, b| b.last.cmp(&a.last).then(a.fingerprint.cmp(&b.fingerprint)));
    Ok(all)
}

const TYPE: &str = "exception.type";

/// What an event says of an exception; `None` for other events.
fn exception(event: &SpanEvent) -> Option<[&str; 3]> {
    let text = |key| match attribute(&event.attributes, key) {
        Some(AttributeValue::String(text)) => text.as_str(),
        Some(_) | None => "",
    };
    let texts = [
        text(TYPE),
        text("exception.message"),
        text("exception.stacktrace"),
    ];
    let is_one = event.name == "exception" || texts[..2].iter().any(|t| !t.is_empty());
    is_one.then_some(texts)
}

struct Groups<'a> {
    filter: &'a ErrorFilter,
    found: HashMap<u64, ErrorGroup>,
    /// Bytes that were added since they were charged.
    fresh_bytes: u64,
}

impl Groups<'_> {
    fn trace(&mut self, trace: TraceId, batch: &SpanBatch) {
        for (resource, _, span) in batch.iter() {
            if span.events.is_empty()
                || (self.filter.failed_only && span.status != StatusCode::Error)
            {
                continue;
            }
            let service = match attribute(&resource.attributes, "service.name") {
                Some(AttributeValue::String(name)) => name.as_str(),
                Some(_) | None => "",
            };
            if self.filter.service.as_deref().is_some_and(|s| s != service) {
                continue;
            }
            for event in &span.events {
                let Some(texts) = exception(event) else {
                    continue;
                };
                let time = if event.time.nanos() == 0 {
                    span.start
                } else {
                    event.time
                };
                let seen = Occurrence {
                    time,
                    trace,
                    span: span.span_id,
                };
                if self.filter.range.contains(time) && self.is_wanted(texts) {
                    self.add(texts, (service, &span.name), seen);
                }
            }
        }
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
