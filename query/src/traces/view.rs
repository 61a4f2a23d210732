//! A whole trace as the matcher sees it: spans with resource, scope and place in the tree.
//!
//! Invariant: spans ascend by begin, id and kind, as they are stored.

use std::collections::HashMap;

use obs_model::spans::{AttributeValue, Resource, Scope, attribute};
use obs_model::{Span, SpanBatch, SpanId, Timestamp};

use super::tree::Tree;

/// The attribute that names a service.
pub(super) const SERVICE_NAME: &str = "service.name";

/// A span in its trace.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpanView<'a> {
    pub(super) resource: &'a Resource,
    pub(super) scope: &'a Scope,
    pub(super) span: &'a Span,
}

/// A trace; spans ascend by begin.
#[derive(Debug)]
pub(super) struct TraceView<'a> {
    pub(super) spans: Vec<SpanView<'a>>,
    pub(super) tree: Tree,
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
            })
            .collect();
        spans.sort_by_key(|s| (s.span.start, s.span.span_id, s.span.kind));
        let start = spans.first()?.span.start;
        let end = spans.iter().map(|s| s.span.end).max()?;
        let ids = spans.iter().map(|s| s.span.parent_id).collect();
        Some(Self {
            tree: Tree::new(parents(&spans), ids),
            spans,
            start,
            duration: (end - start).max(0),
        })
    }

    pub(super) fn root_name(&self) -> Option<&'a str> {
        self.tree
            .root
            .map(|root| self.spans[root].span.name.as_str())
    }

    pub(super) fn root_service(&self) -> Option<&'a str> {
        service(self.spans[self.tree.root?].resource)
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
fn parents(spans: &[SpanView<'_>]) -> Vec<Option<usize>> {
    let mut by_id: HashMap<SpanId, usize> = HashMap::with_capacity(spans.len());
    for (index, span) in spans.iter().enumerate() {
        by_id.entry(span.span.span_id).or_insert(index);
    }
    let parent = |(index, span): (usize, &SpanView<'_>)| {
        let id = span.span.parent_id;
        let found = by_id.get(&id).copied().filter(|p| *p != index);
        found.filter(|_| !id.is_zero())
    };
    spans.iter().enumerate().map(parent).collect()
}
