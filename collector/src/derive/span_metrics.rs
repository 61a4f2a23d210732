//! `traces_spanmetrics_*` and `traces_target_info`: calls, latencies and sizes by service and span
//! name, with the labels of Tempo's metrics generator.
//!
//! Invariants: a span whose label set is known costs one hash, one look-up and the additions, and
//! no allocation unless dimensions are configured; label sets beyond the bound of series are one.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use obs_model::labels::LabelsBuilder;
use obs_model::numbers::Passed;
use obs_model::spans::{Attribute, Resource, SpanKind, StatusCode, attribute};
use obs_model::{Labels, Span, Timestamp};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::histogram::Shape;
use super::series::{Counter, Out, Timing, named};
use super::setting::SpanMetrics;
use super::size::span_bytes;
use super::words::{Words, cut, find, label_name, text};
use super::{Room, seconds};

const CALLS: &str = "traces_spanmetrics_calls_total";
const LATENCY: &str = "traces_spanmetrics_latency";
const SIZE: &str = "traces_spanmetrics_size_total";
const TARGET_INFO: &str = "traces_target_info";
/// Labels that dimensions must not take; those that would get two underscores in front.
const OWN_LABELS: [&str; 8] = [
    "service",
    "span_name",
    "span_kind",
    "status_code",
    "status_message",
    "job",
    "instance",
    super::OVERFLOW,
];

/// The setting, prepared.
#[derive(Debug)]
pub(super) struct Plan {
    setting: SpanMetrics,
    shape: Shape,
    /// Attribute and label of each dimension.
    dimensions: Vec<(String, String)>,
}

impl Plan {
    pub(super) fn new(setting: &SpanMetrics) -> Self {
        let label = |attribute: &String| {
            let name = label_name(attribute);
            let taken = OWN_LABELS.contains(&name.as_str());
            (
                attribute.clone(),
                if taken { format!("__{name}") } else { name },
            )
        };
        Self {
            shape: Shape {
                bounds: setting.buckets.clone(),
                forms: setting.histograms,
            },
            dimensions: setting.dimensions.iter().map(label).collect(),
            setting: setting.clone(),
        }
    }

    fn series(&self) -> usize {
        2 + Timing::series(&self.shape)
    }
}

/// What of a resource is the same for all its spans.
#[derive(Debug)]
pub(super) struct Origin<'a> {
    resource: &'a Resource,
    service: Cow<'a, str>,
    job: String,
    instance: Cow<'a, str>,
    seed: u64,
}

impl<'a> Origin<'a> {
    pub(super) fn new(resource: &'a Resource) -> Self {
        let of = |key| attribute(&resource.attributes, key).map_or(Cow::Borrowed(""), text);
        let (service, namespace) = (of("service.name"), of("service.namespace"));
        let job = match (namespace.is_empty(), service.is_empty()) {
            (_, true) => String::new(),
            (true, false) => service.clone().into_owned(),
            (false, false) => format!("{namespace}/{service}"),
        };
        Self {
            seed: xxh3_64_with_seed(cut(&service).as_bytes(), 1),
            resource,
            service,
            job,
            instance: of("service.instance.id"),
        }
    }

    pub(super) fn service(&self) -> &str {
        &self.service
    }

    /// A hash of the service.
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }
}

/// One label set.
#[derive(Debug)]
struct Entry {
    service: Arc<str>,
    name: Arc<str>,
    kind: SpanKind,
    status: StatusCode,
    /// Values of what else becomes labels, in the order of [`more`].
    more: Box<[Arc<str>]>,
    calls: Counter,
    size: Counter,
    latency: Timing,
    last: Timestamp,
}

impl Entry {
    fn is(&self, origin: &Origin<'_>, span: &Span, more: &[Cow<'_, str>]) -> bool {
        self.kind == span.kind
            && self.status == span.status
            && *self.name == *cut(&span.name)
            && *self.service == *cut(&origin.service)
            && self.more.len() == more.len()
            && self.more.iter().zip(more).all(|(a, b)| **a == *cut(b))
    }
}

/// A resource that is told.
#[derive(Debug)]
struct Target {
    labels: Labels,
    last: Timestamp,
}

/// Hashes are keys as they are.
type HashMapOf<V> = HashMap<u64, V, BuildHasherDefault<Passed>>;

/// The label sets of one tenant.
#[derive(Debug, Default)]
pub(super) struct Calls {
    entries: Vec<Entry>,
    /// Place in `entries` by hash; one that is taken moves on to the next number.
    places: HashMapOf<usize>,
    targets: HashMapOf<Target>,
    /// Where spans go for whose label set there is no room.
    overflow: Option<Box<Entry>>,
}

impl Calls {
    /// Tells a resource.
    pub(super) fn target(
        &mut self,
        plan: &Plan,
        origin: &Origin<'_>,
        now: Timestamp,
        room: &mut Room,
    ) {
        if !plan.setting.target_info || (origin.job.is_empty() && origin.instance.is_empty()) {
            return;
        }
        let mut hash = origin.seed;
        for Attribute { key, value } in &origin.resource.attributes {
            hash = xxh3_64_with_seed(key.as_bytes(), hash);
            hash = xxh3_64_with_seed(text(value).as_bytes(), hash);
        }
        if let Some(known) = self.targets.get_mut(&hash) {
            known.last = now;
            return;
        }
        let mut labels = LabelsBuilder::default();
        for Attribute { key, value } in &origin.resource.attributes {
            let identifies = matches!(
                key.as_str(),
                "service.name" | "service.namespace" | "service.instance.id"
            );
            if !identifies {
                labels.set(&label_name(key), cut(&text(value)));
            }
        }
        // A resource that says nothing but who it is has nothing to tell.
        if labels.iter().next().is_none() || !room.take(1) {
            return;
        }
        labels.set("job", cut(&origin.job));
        labels.set("instance", cut(&origin.instance));
        let labels = named(&labels, TARGET_INFO);
        self.targets.insert(hash, Target { labels, last: now });
    }

    /// Counts a span.
    pub(super) fn span(
        &mut self,
        plan: &Plan,
        (origin, span): (&Origin<'_>, &Span),
        now: Timestamp,
        (words, room): (&mut Words, &mut Room),
    ) {
        let entry = self.entry(plan, (origin, span), (words, room));
        entry.last = now;
        entry.calls.value += 1;
        entry.size.value += span_bytes(span) as u64;
        let latency = &mut entry.latency.seen;
        latency.observe(&plan.shape, seconds(span), span.trace_id, now);
    }

    fn entry(
        &mut self,
        plan: &Plan,
        (origin, span): (&Origin<'_>, &Span),
        (words, room): (&mut Words, &mut Room),
    ) -> &mut Entry {
        let more = more(plan, origin, span);
        let kind = (span.kind.number() * 8 + span.status.number()) as u64;
        let seed = origin.seed.wrapping_add(kind);
        let mut hash = xxh3_64_with_seed(cut(&span.name).as_bytes(), seed);
        for value in &more {
            hash = xxh3_64_with_seed(cut(value).as_bytes(), hash);
        }
        while let Some(place) = self.places.get(&hash) {
            if self.entries[*place].is(origin, span, &more) {
                return &mut self.entries[*place];
            }
            hash = hash.wrapping_add(1);
        }
        if !room.take(plan.series()) {
            room.spans_over += 1;
            return self
                .overflow
                .get_or_insert_with(|| Box::new(overflow(plan)));
        }
        let labels = labels(plan, origin, span, &more);
        self.places.insert(hash, self.entries.len());
        self.entries.push(Entry {
            service: words.share(&origin.service),
            name: words.share(&span.name),
            kind: span.kind,
            status: span.status,
            more: more.iter().map(|text| words.share(text)).collect(),
            ..blank(plan, &labels)
        });
        let last = self.entries.len() - 1;
        &mut self.entries[last]
    }

    /// Writes all series; ends those to which nothing was added since `stale`.
    pub(super) fn collect(
        &mut self,
        plan: &Plan,
        stale: Timestamp,
        room: &mut Room,
        out: &mut Out,
    ) {
        for entry in self.entries.iter_mut().chain(self.overflow.as_deref_mut()) {
            if entry.last >= stale {
                entry.calls.collect(out);
                entry.size.collect(out);
                entry.latency.collect(out);
            } else {
                entry.calls.end(out);
                entry.size.end(out);
                entry.latency.end(out);
            }
        }
        self.overflow = self.overflow.take().filter(|entry| entry.last >= stale);
        self.targets.retain(|_, target| {
            let lives = target.last >= stale;
            if lives {
                out.gauge(&target.labels, 1.0);
            } else {
                out.end(&target.labels);
                room.give(1);
            }
            lives
        });
        self.forget(plan, stale, room);
    }

    /// Takes out what ended; places move, so all are found anew.
    fn forget(&mut self, plan: &Plan, stale: Timestamp, room: &mut Room) {
        let before = self.entries.len();
        if self.entries.iter().all(|entry| entry.last >= stale) {
            return;
        }
        let mut hashes = vec![0; before];
        for (hash, place) in &self.places {
            hashes[*place] = *hash;
        }
        let mut hashes = hashes.into_iter();
        self.places.clear();
        let places = &mut self.places;
        let mut kept = 0;
        self.entries.retain(|entry| {
            let hash = hashes.next().unwrap_or_default();
            let lives = entry.last >= stale;
            if lives {
                places.insert(hash, kept);
                kept += 1;
            }
            lives
        });
        room.give((before - kept) * plan.series());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.targets.is_empty() && self.overflow.is_none()
    }
}

/// Values of what becomes labels besides service, name, kind and status.
fn more<'a>(plan: &Plan, origin: &'a Origin<'_>, span: &'a Span) -> Vec<Cow<'a, str>> {
    let mut all = Vec::new();
    if plan.setting.intrinsic.status_message {
        all.push(Cow::Borrowed(span.status_message.as_str()));
    }
    if plan.setting.instance_labels {
        all.push(Cow::Borrowed(origin.job.as_str()));
        all.push(Cow::Borrowed(&*origin.instance));
    }
    for (attribute, _) in &plan.dimensions {
        let lists = [origin.resource.attributes.as_slice(), &span.attributes];
        all.push(find(lists, attribute).unwrap_or_default());
    }
    all
}

fn labels(plan: &Plan, origin: &Origin<'_>, span: &Span, more: &[Cow<'_, str>]) -> LabelsBuilder {
    let mut labels = LabelsBuilder::default();
    let intrinsic = plan.setting.intrinsic;
    let kind = match span.kind {
        SpanKind::Unspecified => "SPAN_KIND_UNSPECIFIED",
        SpanKind::Internal => "SPAN_KIND_INTERNAL",
        SpanKind::Server => "SPAN_KIND_SERVER",
        SpanKind::Client => "SPAN_KIND_CLIENT",
        SpanKind::Producer => "SPAN_KIND_PRODUCER",
        SpanKind::Consumer => "SPAN_KIND_CONSUMER",
    };
    let status = match span.status {
        StatusCode::Unset => "STATUS_CODE_UNSET",
        StatusCode::Ok => "STATUS_CODE_OK",
        StatusCode::Error => "STATUS_CODE_ERROR",
    };
    for (wanted, name, value) in [
        (intrinsic.service, "service", cut(&origin.service)),
        (intrinsic.span_name, "span_name", cut(&span.name)),
        (intrinsic.span_kind, "span_kind", kind),
        (intrinsic.status_code, "status_code", status),
    ] {
        if wanted {
            labels.set(name, value);
        }
    }
    let mut names = Vec::new();
    if intrinsic.status_message {
        names.push("status_message");
    }
    if plan.setting.instance_labels {
        names.extend(["job", "instance"]);
    }
    names.extend(plan.dimensions.iter().map(|(_, label)| label.as_str()));
    for (name, value) in names.into_iter().zip(more) {
        labels.set(name, cut(value));
    }
    labels
}

/// An entry to which nothing was added.
fn blank(plan: &Plan, labels: &LabelsBuilder) -> Entry {
    Entry {
        service: Arc::from(""),
        name: Arc::from(""),
        kind: SpanKind::Unspecified,
        status: StatusCode::Unset,
        more: Box::default(),
        calls: Counter::new(labels, CALLS),
        size: Counter::new(labels, SIZE),
        latency: Timing::new(labels, LATENCY, &plan.shape),
        last: Timestamp::MIN,
    }
}

fn overflow(plan: &Plan) -> Entry {
    let mut labels = LabelsBuilder::default();
    labels.set(super::OVERFLOW, "true");
    blank(plan, &labels)
}
