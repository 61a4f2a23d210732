//! An event of named fields (a JSON document, a msgpack map, a journal entry) as a log record: one
//! field is the line, a few are index labels, the rest is structured metadata.
//!
//! Invariants: nothing of an event is lost but empty values: what does not fit structured metadata
//! is kept by keeping the whole document as the line. The fields held of one event are bounded by
//! `metadata_max` pairs of `label_name_bytes_max` and `label_value_bytes_max`.

use std::borrow::Cow;
use std::collections::HashMap;

use obs_model::limits::Limits;
use obs_model::logs::{LogBatch, LogRecord, LogStream};
use obs_model::{Labels, Timestamp};

use crate::moment;
use crate::otlp::metrics::name::label_name;
use crate::raw;
use crate::rejects::{Decoded, Rejects};

/// Fields that hold the line, best first.
pub(crate) const MESSAGE_FIELDS: [&str; 7] = [
    "message",
    "msg",
    "_msg",
    "log",
    "body",
    "event.original",
    "line",
];

/// Fields that hold the time, best first.
pub(crate) const TIME_FIELDS: [&str; 6] =
    ["@timestamp", "_time", "timestamp", "time", "ts", "date"];

/// Times before it are not believed where nobody said that the field is one: 2000-01-01.
const PLAUSIBLE: Timestamp = Timestamp::from_seconds(946_684_800);

/// Index labels and the fields that they are taken from, best first.
const STREAM_FIELDS: [(&str, &[&str]); 10] = [
    ("service_name", &["service_name", "service.name"]),
    ("service", &["service"]),
    (
        "app",
        &[
            "app",
            "application",
            "app_name",
            "kubernetes.labels.app.kubernetes.io/name",
            "kubernetes.labels.app_kubernetes_io/name",
            "kubernetes.labels.app",
        ],
    ),
    (
        "cluster",
        &["cluster", "k8s.cluster.name", "orchestrator.cluster.name"],
    ),
    (
        "namespace",
        &[
            "namespace",
            "kubernetes.namespace",
            "kubernetes.namespace_name",
            "kubernetes.namespace.name",
            "k8s.namespace.name",
            "kube_namespace",
        ],
    ),
    (
        "pod",
        &[
            "pod",
            "kubernetes.pod.name",
            "kubernetes.pod_name",
            "k8s.pod.name",
            "pod_name",
        ],
    ),
    (
        "container",
        &[
            "container",
            "kubernetes.container.name",
            "kubernetes.container_name",
            "k8s.container.name",
            "container.name",
            "container_name",
            "kube_container_name",
        ],
    ),
    (
        "host",
        &[
            "host",
            "hostname",
            "host.name",
            "host.hostname",
            "kubernetes.host",
        ],
    ),
    (
        "env",
        &[
            "env",
            "environment",
            "deployment.environment",
            "service.environment",
        ],
    ),
    ("job", &["job"]),
];

/// Longer values are no index labels, unless they were asked for.
const STREAM_VALUE_BYTES_MAX: usize = 256;

/// Which fields of events become what, where the sender says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// Fields that hold the line, best first; empty for the usual ones.
    pub message: Vec<String>,
    /// Fields that hold the time, best first; empty for the usual ones.
    pub time: Vec<String>,
    /// Fields that are index labels; without it the well-known ones.
    pub stream: Option<Vec<String>>,
    /// Fields that are not kept; a `*` at the end stands for the rest.
    pub ignore: Vec<String>,
    /// Labels that every stream gets.
    pub extra: Vec<(String, String)>,
}

/// What is around an event.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Which fields become what.
    pub mapping: &'a Mapping,
    /// The time of events without one.
    pub now: Timestamp,
    /// The bounds.
    pub limits: &'a Limits,
}

/// What is known of an event besides its fields.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// Index labels.
    pub(crate) labels: Vec<(String, String)>,
    /// Its time; fields are then not looked at.
    pub(crate) time: Option<Timestamp>,
}

impl From<Vec<(String, String)>> for Given {
    fn from(labels: Vec<(String, String)>) -> Self {
        Self { labels, time: None }
    }
}

/// Fields by their path, in order.
#[derive(Debug, Default)]
pub(crate) struct Event {
    fields: Vec<(String, String)>,
    /// Not all fields fit.
    partial: bool,
    /// Bytes by which paths may be longer than the names they are made of.
    paths: usize,
}

impl Event {
    /// The fields of a JSON object that was checked; those of objects inside have dotted paths.
    pub(crate) fn from_json(object: &[u8], limits: &Limits) -> Self {
        let mut event = Self::default();
        event.add_object("", object, limits);
        event
    }

    /// Adds the members of an object below a path.
    pub(crate) fn add_object(&mut self, prefix: &str, object: &[u8], limits: &Limits) {
        self.allow(object.len());
        self.object(prefix, object, limits.depth_max, limits);
    }

    /// A document of so many bytes may make paths of about twice as many: the name of an object is
    /// in the path of each of its members, and must not multiply what a sender sends.
    pub(crate) fn allow(&mut self, bytes: usize) {
        self.paths = self.paths.saturating_add(256 + 2 * bytes);
    }

    /// The path of a member.
    pub(crate) fn join(&mut self, prefix: &str, name: &str) -> String {
        if prefix.is_empty() {
            return name.to_owned();
        }
        match self.paths.checked_sub(prefix.len()) {
            Some(left) => self.paths = left,
            None => self.partial = true,
        }
        format!("{prefix}.{name}")
    }

    fn object(&mut self, prefix: &str, object: &[u8], depth: usize, limits: &Limits) {
        for (name, value) in raw::members(object) {
            if self.partial {
                return;
            }
            let path = self.join(prefix, &name);
            if value.first() == Some(&b'{') && depth > 0 {
                self.bounded_path(&path, limits);
                self.object(&path, value, depth - 1, limits);
            } else if let Some(text) = raw::text(value) {
                self.push(&path, text, limits);
            }
        }
    }

    /// Whether a field is there.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.fields.iter().any(|(p, _)| p == path)
    }

    /// Whether there are more fields than are kept.
    pub(crate) fn is_partial(&self) -> bool {
        self.partial
    }

    /// Notes a path that is too long for a name.
    pub(crate) fn bounded_path(&mut self, path: &str, limits: &Limits) {
        // A name that begins with a digit or `_` grows by a few letters.
        self.partial |= path.len() + 8 > limits.label_name_bytes_max;
    }

    /// Adds a field; empty ones are dropped.
    pub(crate) fn push(&mut self, path: &str, value: Cow<'_, str>, limits: &Limits) {
        if value.is_empty() || path.is_empty() {
            return;
        }
        self.bounded_path(path, limits);
        // A long value may still be the line, and a few more fields may become labels.
        let full = self.fields.len() >= limits.metadata_max.saturating_add(32);
        if full || value.len() > limits.line_bytes_max {
            self.partial = true;
        }
        if !self.partial {
            self.fields.push((path.to_owned(), value.into_owned()));
        }
    }

    /// Takes a field out; the last one of that name.
    pub(crate) fn take(&mut self, path: &str) -> Option<String> {
        let at = self.fields.iter().rposition(|(p, _)| p == path)?;
        Some(self.fields.remove(at).1)
    }

    fn take_first<'p>(&mut self, paths: impl IntoIterator<Item = &'p str>) -> Option<String> {
        paths.into_iter().find_map(|path| self.take(path))
    }

    /// Takes the time out, where a field is one.
    fn take_time(&mut self, mapping: &Mapping) -> Option<Timestamp> {
        let read = |event: &mut Self, path: &str, plausible: bool| {
            let at = event.fields.iter().rposition(|(p, _)| p == path)?;
            let time = moment::parse(&event.fields[at].1)?;
            if plausible && time < PLAUSIBLE {
                return None;
            }
            event.fields.remove(at);
            Some(time)
        };
        if mapping.time.is_empty() {
            TIME_FIELDS.iter().find_map(|path| read(self, path, true))
        } else {
            mapping.time.iter().find_map(|path| read(self, path, false))
        }
    }

    fn take_message(&mut self, mapping: &Mapping) -> Option<String> {
        if mapping.message.is_empty() {
            self.take_first(MESSAGE_FIELDS)
        } else {
            self.take_first(mapping.message.iter().map(String::as_str))
        }
    }

    /// Takes the index labels out.
    fn take_labels(&mut self, mapping: &Mapping, labels: &mut Vec<(String, String)>) {
        let Some(asked) = &mapping.stream else {
            for (label, paths) in STREAM_FIELDS {
                if labels.iter().any(|(name, _)| name == label) {
                    continue;
                }
                let short = |value: &str| value.len() <= STREAM_VALUE_BYTES_MAX;
                let found = paths
                    .iter()
                    .find_map(|path| self.fields.iter().rposition(|(p, v)| p == path && short(v)));
                if let Some(at) = found {
                    labels.push((label.to_owned(), self.fields.remove(at).1));
                }
            }
            return;
        };
        for path in asked {
            if let Some(value) = self.take(path) {
                labels.push((label_name(path), value));
            }
        }
    }

    fn ignore(&mut self, mapping: &Mapping) {
        if mapping.ignore.is_empty() {
            return;
        }
        let ignored = |path: &str| {
            mapping
                .ignore
                .iter()
                .any(|name| match name.strip_suffix('*') {
                    Some(start) => path.starts_with(start),
                    None => path == name,
                })
        };
        self.fields.retain(|(path, _)| !ignored(path));
    }

    /// The fields that are left as structured metadata; nothing where they do not fit.
    fn into_metadata(self, limits: &Limits) -> Option<Labels> {
        let long = |value: &str| value.len() > limits.label_value_bytes_max;
        // The store adds the level that it finds.
        if self.fields.len() >= limits.metadata_max || self.fields.iter().any(|(_, v)| long(v)) {
            return None;
        }
        let named = self.fields.into_iter();
        Some(labels_of(
            named.map(|(path, value)| (label_name(&path), value)),
        ))
    }

    /// The same for an event whose line is known.
    pub(crate) fn into_record_of(
        mut self,
        line: Vec<u8>,
        given: Given,
        whole: impl FnOnce() -> Vec<u8>,
        context: Context<'_>,
    ) -> (Labels, LogRecord) {
        self.ignore(context.mapping);
        let time = given.time.or_else(|| self.take_time(context.mapping));
        let partial = self.partial;
        let mut labels = given.labels;
        self.take_labels(context.mapping, &mut labels);
        labels.extend(context.mapping.extra.iter().cloned());
        let metadata = self.into_metadata(context.limits).filter(|_| !partial);
        let (line, metadata) = match metadata {
            Some(metadata) => (line, metadata),
            None => (whole(), Labels::empty()),
        };
        let record = LogRecord {
            time: time.unwrap_or(context.now),
            line,
            metadata,
        };
        (Labels::from_pairs(labels), record)
    }

    /// The record and the labels of its stream. `whole` makes the document as it came, for events
    /// without a line or with more than fits.
    pub(crate) fn into_record(
        mut self,
        given: Given,
        whole: impl FnOnce() -> Vec<u8>,
        context: Context<'_>,
    ) -> (Labels, LogRecord) {
        let Context {
            mapping,
            now,
            limits,
        } = context;
        self.ignore(mapping);
        let time = given.time.or_else(|| self.take_time(mapping));
        let time = time.unwrap_or(now);
        let mut labels = given.labels;
        let message = self.take_message(mapping).filter(|_| !self.partial);
        self.take_labels(mapping, &mut labels);
        labels.extend(mapping.extra.iter().cloned());
        let fitting = message.and_then(|line| Some((line, self.into_metadata(limits)?)));
        let (line, metadata) = match fitting {
            Some((line, metadata)) => (trimmed(line).into_bytes(), metadata),
            None => (whole(), Labels::empty()),
        };
        let record = LogRecord {
            time,
            line,
            metadata,
        };
        (Labels::from_pairs(labels), record)
    }
}

/// Labels of pairs whose names may be equal: the second is then `name_2`.
pub(crate) fn labels_of(all: impl Iterator<Item = (String, String)>) -> Labels {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (plain, value) in all {
        let mut name = plain.clone();
        let mut copies = 1;
        while let Some((_, held)) = pairs.iter().find(|(n, _)| *n == name) {
            if *held == value {
                break;
            }
            copies += 1;
            name = format!("{plain}_{copies}");
        }
        pairs.push((name, value));
    }
    Labels::from_pairs(pairs)
}

/// A line without the line end that some senders leave on it.
pub(crate) fn trimmed(mut line: String) -> String {
    let length = line.trim_end_matches(['\n', '\r']).len();
    line.truncate(length);
    line
}

/// Bytes that a record takes in memory besides its line and metadata.
const RECORD_BYTES: usize = 128;

/// Gathers records into streams, in order of arrival. It is full at twice
/// `decompressed_bytes_max`: a request of tiny events takes many times its own size.
#[derive(Debug)]
pub(crate) struct Gather {
    batch: LogBatch,
    places: HashMap<Labels, usize>,
    room: usize,
    refused: usize,
    /// Most records of a plain line share it.
    empty: Labels,
}

impl Gather {
    /// Nothing yet.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            batch: LogBatch::default(),
            places: HashMap::new(),
            room: limits.decompressed_bytes_max.saturating_mul(2),
            refused: 0,
            empty: Labels::empty(),
        }
    }

    /// Whether there is no room for one more record.
    pub(crate) fn is_full(&self) -> bool {
        self.room == 0
    }

    /// Adds a record, or counts it as refused where there is no room; a stream without any label
    /// gets the format's name as `job`.
    pub(crate) fn add(&mut self, labels: Labels, mut record: LogRecord, format: &str) {
        if self.is_full() {
            self.refused += 1;
            return;
        }
        let bytes = RECORD_BYTES + record.line.len() + record.metadata.packed().len();
        self.room = self.room.saturating_sub(bytes);
        if record.metadata.is_empty() {
            record.metadata = self.empty.clone();
        }
        let labels = if labels.is_empty() {
            Labels::from_pairs([("job", format)])
        } else {
            labels
        };
        let streams = &mut self.batch.streams;
        // Most events come in runs of one stream.
        if let Some(last) = streams.last_mut().filter(|last| last.labels == labels) {
            last.records.push(record);
            return;
        }
        if !self.places.contains_key(&labels) {
            let bytes = RECORD_BYTES + 2 * labels.packed().len();
            self.room = self.room.saturating_sub(bytes);
        }
        let place = *self.places.entry(labels.clone()).or_insert_with(|| {
            streams.push(LogStream {
                labels,
                records: Vec::new(),
            });
            streams.len() - 1
        });
        streams[place].records.push(record);
    }

    /// What was gathered, and what was not taken.
    pub(crate) fn into_decoded(self, mut rejects: Rejects) -> Decoded<LogBatch> {
        if self.refused > 0 {
            let reason = "too many records at once; send less".to_owned();
            rejects.add(self.refused, reason);
        }
        rejects.into_decoded(self.batch)
    }

    /// What was gathered.
    pub(crate) fn into_batch(self) -> LogBatch {
        self.batch
    }
}

/// For tests of the formats: each record with its stream, in order.
#[cfg(test)]
pub(crate) fn shown(batch: &LogBatch) -> Vec<String> {
    let mut all = Vec::new();
    for stream in &batch.streams {
        for record in &stream.records {
            let line = String::from_utf8_lossy(&record.line);
            all.push(format!(
                "{} {} {line} {}",
                stream.labels, record.time, record.metadata
            ));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(text: &str, mapping: &Mapping, limits: &Limits) -> String {
        raw::check(text.as_bytes()).unwrap();
        let context = Context {
            mapping,
            now: Timestamp::from_seconds(5),
            limits,
        };
        let event = Event::from_json(text.as_bytes(), limits);
        let whole = || text.as_bytes().to_vec();
        let (labels, record) = event.into_record(Given::default(), whole, context);
        let line = String::from_utf8(record.line).unwrap();
        format!("{labels} {} {line} {}", record.time, record.metadata)
    }

    fn check(text: &str, expect: &str) {
        let found = record(text, &Mapping::default(), &Limits::default());
        assert_eq!(found, expect, "{text}");
    }

    #[test]
    fn well_known_fields() {
        check(
            r#"{"@timestamp":"2026-11-21T10:00:00Z","message":"hello\n","log":{"level":"warn"},"n":1.50}"#,
            r#"{} 2026-11-21T10:00:00Z hello {log_level="warn", n="1.50"}"#,
        );
        check(
            r#"{"msg":"x","kubernetes":{"pod":{"name":"p"},"namespace":"n","labels":{"app":"a"}},"host":{"name":"h"}}"#,
            r#"{app="a", host="h", namespace="n", pod="p"} 1970-01-01T00:00:05Z x {}"#,
        );
        check(
            r#"{"log":"x","service.name":"s","time":12.5,"tags":["a","b"],"gone":null,"e":""}"#,
            r#"{service_name="s"} 1970-01-01T00:00:05Z x {tags="[\"a\",\"b\"]", time="12.5"}"#,
        );
    }

    #[test]
    fn nothing_is_lost() {
        // No line: the document is one.
        check(
            r#"{"app":"a","b":{"c":1},"ts":1795255200}"#,
            r#"{app="a"} 2026-11-21T10:00:00Z {"app":"a","b":{"c":1},"ts":1795255200} {}"#,
        );
        // Names that become equal.
        check(
            r#"{"msg":"x","a.b":"1","a_b":"2","a-b":"1"}"#,
            r#"{} 1970-01-01T00:00:05Z x {a_b="1", a_b_2="2"}"#,
        );
        let limits = Limits {
            metadata_max: 2,
            label_value_bytes_max: 3,
            depth_max: 1,
            ..Limits::default()
        };
        for text in [
            r#"{"msg":"x","a":"1","b":"2","c":"3"}"#,
            r#"{"msg":"x","a":"long"}"#,
        ] {
            let found = record(text, &Mapping::default(), &limits);
            assert_eq!(found, format!("{{}} 1970-01-01T00:00:05Z {text} {{}}"));
        }
        // Paths that would multiply what came.
        let name = "n".repeat(500);
        let many: Vec<String> = (0..60).map(|at| format!("\"{at}\":1")).collect();
        let text = format!("{{\"msg\":\"x\",\"{name}\":{{{}}}}}", many.join(","));
        let found = record(&text, &Mapping::default(), &Limits::default());
        assert_eq!(found, format!("{{}} 1970-01-01T00:00:05Z {text} {{}}"));
        let deep = record(r#"{"msg":"x","a":{"b":{}}}"#, &Mapping::default(), &limits);
        assert_eq!(deep, r#"{} 1970-01-01T00:00:05Z x {a_b="{}"}"#);
    }

    #[test]
    fn senders_may_say_what_is_what() {
        let names = |list: &[&str]| list.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        let mapping = Mapping {
            message: names(&["none", "text"]),
            time: names(&["at"]),
            stream: Some(names(&["a.b", "absent"])),
            ignore: names(&["secret", "x.*"]),
            extra: vec![("team".to_owned(), "red".to_owned())],
        };
        let text =
            r#"{"text":"hi","at":7,"a":{"b":"1"},"app":"z","secret":1,"x":{"y":2},"msg":"m"}"#;
        assert_eq!(
            record(text, &mapping, &Limits::default()),
            r#"{a_b="1", team="red"} 1970-01-01T00:00:07Z hi {app="z", msg="m"}"#
        );
    }

    #[test]
    fn streams_are_gathered() {
        let mut gather = Gather::new(&Limits::default());
        let labels = |app: &str| Labels::from_pairs([("app", app)]);
        for app in ["a", "a", "b", "a", ""] {
            let record = LogRecord {
                time: Timestamp::from_seconds(1),
                line: Vec::new(),
                metadata: Labels::empty(),
            };
            gather.add(labels(app), record, "jsonline");
        }
        let batch = gather.into_decoded(Rejects::default()).batch;
        let counts: Vec<usize> = batch.streams.iter().map(|s| s.records.len()).collect();
        assert_eq!(counts, [3, 1, 1]);
        assert_eq!(batch.streams[2].labels.get("job"), Some("jsonline"));
    }

    #[test]
    fn a_batch_has_a_bound() {
        let limits = Limits {
            decompressed_bytes_max: 300,
            ..Limits::default()
        };
        let mut gather = Gather::new(&limits);
        for _ in 0..100 {
            let record = LogRecord {
                time: Timestamp::from_seconds(1),
                line: b"x".to_vec(),
                metadata: Labels::empty(),
            };
            gather.add(Labels::empty(), record, "jsonline");
        }
        assert!(gather.is_full());
        let decoded = gather.into_decoded(Rejects::default());
        assert_eq!((decoded.batch.record_count(), decoded.rejected), (4, 96));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn any_object_becomes_a_record(
            fields in proptest::collection::btree_map(".{0,8}", ".{0,8}", 0..8),
            depth in 0usize..4,
        ) {
            let mut value = serde_json::to_value(&fields).unwrap();
            for _ in 0..depth {
                value = serde_json::json!({"a": value, "message": "m"});
            }
            let limits = Limits { depth_max: 2, metadata_max: 6, ..Limits::default() };
            let found = record(&value.to_string(), &Mapping::default(), &limits);
            prop_assert!(!found.is_empty());
        }
    }
}
