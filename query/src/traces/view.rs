//! A whole trace as the matcher sees it: spans with resource, scope, parent and nested-set numbers.
//!
//! Invariant: whatever the parent ids say (missing parents, cycles, equal ids), every walk ends;
//! spans that no root reaches have the numbers 0.

use std::collections::HashMap;

use obs_model::answer::ServiceStats;
use obs_model::spans::{AttributeValue, Resource, Scope, StatusCode, attribute};
use obs_model::{Span, SpanBatch, SpanId, Timestamp};

/// The attribute that names a service.
pub(super) const SERVICE_NAME: &str = "service.name";

/// A span in its trace.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpanView<'a> {
    pub(super) resource: &'a Resource,
    pub(super) scope: &'a Scope,
    pub(super) span: &'a Span,
    /// Index of the parent, if it is here.
    pub(super) parent: Option<usize>,
    pub(super) left: i64,
    pub(super) right: i64,
    pub(super) children: i64,
}

/// A trace; spans ascend by begin.
#[derive(Debug)]
pub(super) struct TraceView<'a> {
    pub(super) spans: Vec<SpanView<'a>>,
    /// Parents before their children; spans in cycles are missing.
    pub(super) order: Vec<usize>,
    pub(super) root: Option<usize>,
    pub(super) start: Timestamp,
    pub(super) duration: i64,
}

impl<'a> TraceView<'a> {
    /// `None` for a batch without spans.
    pub(super) fn new(batch: &'a SpanBatch) -> Option<Self> {
        let mut spans: Vec<SpanView<'a>> = batch
            .iter()
            .map(|(resource, scope, span)| SpanView {
                resource,
                scope,
                span,
                parent: None,
                left: 0,
                right: 0,
                children: 0,
            })
            .collect();
        spans.sort_by_key(|s| (s.span.start, s.span.span_id));
        let start = spans.first()?.span.start;
        let end = spans.iter().map(|s| s.span.end).max()?;
        link(&mut spans);
        let root = spans.iter().position(|s| s.span.parent_id.is_zero());
        let mut view = Self {
            spans,
            order: Vec::new(),
            root,
            start,
            duration: (end - start).max(0),
        };
        view.number();
        Some(view)
    }

    /// Nested-set numbers in one walk from the roots; spans whose parent is missing are walked too.
    fn number(&mut self) {
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); self.spans.len()];
        let mut roots = Vec::new();
        for (index, span) in self.spans.iter().enumerate() {
            match span.parent {
                Some(parent) => children[parent].push(index),
                None => roots.push(index),
            }
        }
        for (index, list) in children.iter().enumerate() {
            // A trace's spans are counted in memory, so the length fits.
            self.spans[index].children = list.len() as i64;
        }
        let mut next = 1;
        // Index and how many of its children have been entered.
        let mut path: Vec<(usize, usize)> = Vec::new();
        for root in roots {
            path.push((root, 0));
            while let Some((index, entered)) = path.last_mut() {
                let index = *index;
                if *entered == 0 {
                    self.spans[index].left = next;
                    next += 1;
                    self.order.push(index);
                }
                if let Some(child) = children[index].get(*entered) {
                    *entered += 1;
                    path.push((*child, 0));
                } else {
                    self.spans[index].right = next;
                    next += 1;
                    path.pop();
                }
            }
        }
    }

    /// Left number of the parent: -1 for a root, 0 where the parent is not here.
    pub(super) fn nested_parent(&self, index: usize) -> i64 {
        let span = &self.spans[index];
        match span.parent {
            Some(parent) => self.spans[parent].left,
            None if span.span.parent_id.is_zero() => -1,
            None => 0,
        }
    }

    pub(super) fn root_name(&self) -> Option<&'a str> {
        self.root.map(|root| self.spans[root].span.name.as_str())
    }

    pub(super) fn root_service(&self) -> Option<&'a str> {
        service(self.spans[self.root?].resource)
    }

    /// Spans and errors per service, in order of name.
    pub(super) fn services(&self) -> Vec<ServiceStats> {
        let mut all: Vec<ServiceStats> = Vec::new();
        for span in &self.spans {
            let name = service(span.resource).unwrap_or("");
            let at = match all.binary_search_by(|s| s.service.as_str().cmp(name)) {
                Ok(at) => at,
                Err(at) => {
                    let stats = ServiceStats {
                        service: name.to_owned(),
                        spans: 0,
                        errors: 0,
                    };
                    all.insert(at, stats);
                    at
                }
            };
            all[at].spans += 1;
            all[at].errors += u32::from(span.span.status == StatusCode::Error);
        }
        all
    }
}

fn service(resource: &Resource) -> Option<&str> {
    match attribute(&resource.attributes, SERVICE_NAME)? {
        AttributeValue::String(name) => Some(name),
        _ => None,
    }
}

/// Finds every span's parent. Both sides of a call may share an id (Zipkin): a span with the id of
/// its own parent is the child of the other one.
fn link(spans: &mut [SpanView<'_>]) {
    let mut by_id: HashMap<SpanId, usize> = HashMap::with_capacity(spans.len());
    for (index, span) in spans.iter().enumerate() {
        by_id.entry(span.span.span_id).or_insert(index);
    }
    for (index, span) in spans.iter_mut().enumerate() {
        let parent_id = span.span.parent_id;
        if !parent_id.is_zero() {
            span.parent = by_id.get(&parent_id).copied().filter(|p| *p != index);
        }
    }
}
