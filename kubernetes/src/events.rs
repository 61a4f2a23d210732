//! Events of the cluster as log records: one line in logfmt, streams by namespace, what identifies
//! the object as structured metadata by OpenTelemetry's names with `_` for `.`.
//!
//! Invariants: an event is told once for each time that it happened (its count grows), and with the
//! same time and line whenever it is told, so that a store that knows records again keeps one;
//! what is remembered of events that were told has a bound.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use obs_model::{Labels, LogBatch, LogRecord, LogStream, Timestamp};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::clock;
use crate::metrics::Counters;
use crate::object::{Meta, or_default};
use crate::resource::{CORE_EVENTS, Query};
use crate::watch::{Event, Watch};

/// Events of the watch that wait to be taken in.
const EVENTS_WAITING: usize = 256;
/// Records of one batch.
const BATCH_RECORDS: usize = 1_000;
/// How long records are gathered.
const GATHER: Duration = Duration::from_millis(500);
/// Events that are remembered; the API server itself forgets them after an hour.
const REMEMBERED_MAX: usize = 100_000;

/// Which events are told, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Namespaces; all where this is empty.
    pub namespaces: Vec<String>,
    /// Labels of every stream, beside `namespace`.
    pub labels: Vec<(String, String)>,
}

/// An event as the API has it, as far as it is told.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct EventObject {
    metadata: Meta,
    involved_object: Involved,
    reason: String,
    message: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(deserialize_with = "or_default")]
    action: String,
    #[serde(deserialize_with = "or_default")]
    count: u64,
    first_timestamp: Option<String>,
    last_timestamp: Option<String>,
    event_time: Option<String>,
    #[serde(deserialize_with = "or_default")]
    source: Source,
    #[serde(deserialize_with = "or_default")]
    reporting_component: String,
    #[serde(deserialize_with = "or_default")]
    reporting_instance: String,
    series: Option<Series>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Involved {
    kind: String,
    namespace: String,
    name: String,
    uid: String,
    api_version: String,
    field_path: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Source {
    component: String,
    host: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Series {
    count: u64,
    last_observed_time: Option<String>,
}

impl EventObject {
    /// How often it happened.
    fn times(&self) -> u64 {
        let series = self.series.as_ref().map_or(0, |series| series.count);
        self.count.max(series).max(1)
    }

    /// When it happened last.
    fn time(&self) -> Option<Timestamp> {
        let series = self
            .series
            .as_ref()
            .and_then(|s| s.last_observed_time.as_deref());
        let made = self.metadata.creation_timestamp.as_deref();
        let places = [
            series,
            self.last_timestamp.as_deref(),
            self.event_time.as_deref(),
            self.first_timestamp.as_deref(),
            made,
        ];
        let mut times = places.into_iter().flatten();
        times.find_map(obs_model::time::parse_rfc3339)
    }

    fn component(&self) -> &str {
        match self.source.component.as_str() {
            "" => &self.reporting_component,
            component => component,
        }
    }

    /// The node that it was seen on.
    fn node(&self) -> &str {
        match (
            self.involved_object.kind.as_str(),
            self.source.host.as_str(),
        ) {
            ("Node", _) => &self.involved_object.name,
            (_, "") => "",
            (_, host) => host,
        }
    }

    fn line(&self) -> Vec<u8> {
        let involved = &self.involved_object;
        let times = self.times().to_string();
        let pairs = [
            ("type", self.kind.as_str()),
            ("reason", &self.reason),
            ("kind", &involved.kind),
            ("name", &involved.name),
            ("fieldpath", &involved.field_path),
            ("action", &self.action),
            ("component", self.component()),
            ("host", &self.source.host),
            ("count", &times),
            ("msg", &self.message),
        ];
        let mut line = String::new();
        for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(name);
            line.push('=');
            push_value(&mut line, value);
        }
        line.into_bytes()
    }

    fn metadata(&self) -> Labels {
        let (involved, times) = (&self.involved_object, self.times().to_string());
        let level = match self.kind.as_str() {
            "Warning" => "warn",
            _ => "info",
        };
        let pod = if involved.kind == "Pod" {
            involved.name.as_str()
        } else {
            ""
        };
        Labels::from_pairs([
            ("level", level),
            ("k8s_event_reason", &self.reason),
            ("k8s_event_action", &self.action),
            ("k8s_event_name", &self.metadata.name),
            ("k8s_event_uid", &self.metadata.uid),
            ("k8s_event_count", &times),
            (
                "k8s_event_start_time",
                self.first_timestamp.as_deref().unwrap_or(""),
            ),
            ("k8s_object_kind", &involved.kind),
            ("k8s_object_name", &involved.name),
            ("k8s_object_uid", &involved.uid),
            ("k8s_object_api_version", &involved.api_version),
            ("k8s_object_fieldpath", &involved.field_path),
            ("k8s_node_name", self.node()),
            ("k8s_pod_name", pod),
            ("reporting_instance", &self.reporting_instance),
        ])
    }
}

/// A value of logfmt, quoted where it has to be.
fn push_value(line: &mut String, value: &str) {
    let plain = |c: char| c > ' ' && !"\"=\\".contains(c) && !c.is_control();
    if value.chars().all(plain) {
        line.push_str(value);
        return;
    }
    line.push('"');
    for char in value.chars() {
        match char {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c if c.is_control() => line.push(' '),
            c => line.push(c),
        }
    }
    line.push('"');
}

/// What was told already: how often each event had happened then.
#[derive(Debug, Default)]
struct Told {
    times: HashMap<Box<str>, (u64, Timestamp)>,
}

impl Told {
    /// Whether an event is news, which it is not any more after this.
    fn is_news(&mut self, event: &EventObject, time: Timestamp) -> bool {
        let now = (event.times(), time);
        if self.times.get(&event.metadata.uid) == Some(&now) {
            return false;
        }
        if self.times.len() >= REMEMBERED_MAX && !self.times.contains_key(&event.metadata.uid) {
            self.forget_older_half();
        }
        self.times.insert(event.metadata.uid.clone(), now);
        true
    }

    fn forget_older_half(&mut self) {
        let mut all: Vec<Timestamp> = self.times.values().map(|(_, time)| *time).collect();
        let middle = all.len() / 2;
        let (_, median, _) = all.select_nth_unstable(middle);
        let median = *median;
        self.times.retain(|_, (_, time)| *time > median);
    }
}

/// Tells events until the token is cancelled or nobody listens.
pub async fn run(
    settings: Settings,
    client: Client,
    counters: Arc<Counters>,
    out: mpsc::Sender<LogBatch>,
    stop: CancellationToken,
) {
    let (sender, mut events) = mpsc::channel(EVENTS_WAITING);
    let mut watches = JoinSet::new();
    let namespaces = match settings.namespaces.is_empty() {
        true => vec![String::new()],
        false => settings.namespaces.clone(),
    };
    for namespace in &namespaces {
        let query = Query::all(CORE_EVENTS).in_namespace(namespace);
        let counters = counters.of("events", "events");
        let watch = Watch::new(client.clone(), query, counters);
        watches.spawn(watch.run(sender.clone(), |event| event, stop.clone()));
    }
    drop(sender);
    let tell = async {
        let mut told = Told::default();
        while let Some(event) = events.recv().await {
            let mut records = Vec::new();
            take(&mut told, event, &mut records);
            let until = Instant::now() + GATHER;
            while records.len() < BATCH_RECORDS {
                match tokio::time::timeout_at(until, events.recv()).await {
                    Ok(Some(event)) => take(&mut told, event, &mut records),
                    Ok(None) | Err(_) => break,
                }
            }
            let batch = batch(&settings, records);
            if !batch.streams.is_empty() && out.send(batch).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = tell => {}
        () = stop.cancelled() => {}
    }
    watches.shutdown().await;
}

/// A record and the namespace of its stream.
type Placed = (Box<str>, LogRecord);

fn take(told: &mut Told, event: Event<EventObject>, records: &mut Vec<Placed>) {
    match event {
        Event::Put(key, event) => {
            // An event without any time happened when it was seen.
            let time = event.time().unwrap_or_else(clock::now);
            if told.is_news(&event, time) {
                let record = LogRecord {
                    time,
                    line: event.line(),
                    metadata: event.metadata(),
                };
                records.push((key.namespace, record));
            }
        }
        // Events go when they are old; what was told stays told.
        Event::Start | Event::Gone(_) | Event::Ready => {}
    }
}

/// Streams by namespace.
fn batch(settings: &Settings, records: Vec<Placed>) -> LogBatch {
    let mut streams: Vec<(Box<str>, LogStream)> = Vec::new();
    for (namespace, record) in records {
        match streams.iter_mut().find(|(known, _)| *known == namespace) {
            Some((_, stream)) => stream.records.push(record),
            None => {
                let own = settings
                    .labels
                    .iter()
                    .map(|(n, v)| (n.as_str(), v.as_str()));
                let first = [
                    ("job", "kubernetes-events"),
                    ("service_name", "kubernetes-events"),
                    ("namespace", &*namespace),
                ];
                let stream = LogStream {
                    labels: Labels::from_pairs(first.into_iter().chain(own)),
                    records: vec![record],
                };
                streams.push((namespace, stream));
            }
        }
    }
    LogBatch {
        streams: streams.into_iter().map(|(_, stream)| stream).collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn object(value: &Value) -> EventObject {
        serde_json::from_value(value.clone()).unwrap()
    }

    fn back_off() -> Value {
        json!({"apiVersion": "v1", "kind": "Event", "metadata": {"namespace": "shop", "name": "web.1", "uid": "e1"},
            "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "web-1", "uid": "p1", "apiVersion": "v1", "fieldPath": "spec.containers{web}"},
            "reason": "BackOff", "type": "Warning", "count": 3, "message": "Back-off \"web\"\nagain",
            "source": {"component": "kubelet", "host": "n1"}, "eventTime": null, "series": null,
            "firstTimestamp": "2026-01-02T03:04:05Z", "lastTimestamp": "2026-01-02T03:05:05Z"})
    }

    #[test]
    fn an_event_is_a_line_with_metadata() {
        let event = object(&back_off());
        assert_eq!(
            String::from_utf8(event.line()).unwrap(),
            r#"type=Warning reason=BackOff kind=Pod name=web-1 fieldpath=spec.containers{web} component=kubelet host=n1 count=3 msg="Back-off \"web\"\nagain""#
        );
        assert_eq!(
            event.time(),
            obs_model::time::parse_rfc3339("2026-01-02T03:05:05Z")
        );
        let metadata = event.metadata();
        let check = |name: &str, value: &str| assert_eq!(metadata.get(name), Some(value), "{name}");
        check("level", "warn");
        check("k8s_event_reason", "BackOff");
        check("k8s_object_kind", "Pod");
        check("k8s_pod_name", "web-1");
        check("k8s_node_name", "n1");
        assert_eq!(metadata.get("k8s_event_action"), None);
    }

    #[test]
    fn events_of_the_newer_form_have_their_time_elsewhere() {
        let event = object(
            &json!({"metadata": {"uid": "e"}, "eventTime": "2026-01-02T03:04:05.123456Z",
            "firstTimestamp": null, "lastTimestamp": null, "reportingComponent": "scheduler", "type": "Normal",
            "series": {"count": 7, "lastObservedTime": "2026-01-02T03:06:00.000000Z"}}),
        );
        assert_eq!(
            event.time(),
            obs_model::time::parse_rfc3339("2026-01-02T03:06:00Z")
        );
        assert_eq!((event.times(), event.component()), (7, "scheduler"));
        assert_eq!(event.metadata().get("level"), Some("info"));
    }

    #[test]
    fn an_event_is_told_once_for_each_time_it_happened() {
        let mut told = Told::default();
        let mut event = back_off();
        let mut tell = |event: &Value| {
            let mut records = Vec::new();
            take(
                &mut told,
                Event::Put(crate::object::Key::new("shop", "web.1"), object(event)),
                &mut records,
            );
            records.len()
        };
        assert_eq!((tell(&event), tell(&event)), (1, 0));
        event["count"] = json!(4);
        assert_eq!((tell(&event), tell(&event)), (1, 0));
    }

    #[test]
    fn streams_are_by_namespace() {
        let record = |line: &str| LogRecord {
            time: Timestamp::default(),
            line: line.into(),
            metadata: Labels::empty(),
        };
        let settings = Settings {
            namespaces: Vec::new(),
            labels: vec![("cluster".to_owned(), "c1".to_owned())],
        };
        let records = vec![
            ("a".into(), record("1")),
            ("b".into(), record("2")),
            ("a".into(), record("3")),
        ];
        let batch = batch(&settings, records);
        let labels: Vec<String> = batch.streams.iter().map(|s| s.labels.to_string()).collect();
        assert_eq!(
            labels[0],
            r#"{cluster="c1", job="kubernetes-events", namespace="a", service_name="kubernetes-events"}"#
        );
        assert_eq!((batch.streams.len(), batch.record_count()), (2, 3));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Whatever programs write into events: one line with its pairs, and the values come back.
        #[test]
        fn any_event_is_one_line(
            message in "\\PC{0,40}[\"\\\\\n\t=]{0,5}[ -~]{0,20}",
            reason in "\\PC{0,20}",
            count in any::<u64>(),
            time in "[0-9TZ:+. -]{0,30}",
        ) {
            let event = object(&json!({"metadata": {"name": reason, "uid": "u"}, "message": message, "reason": reason,
                "count": count, "lastTimestamp": time, "type": reason, "involvedObject": {"kind": "Pod", "name": reason}}));
            let line = String::from_utf8(event.line()).unwrap();
            prop_assert!(!line.chars().any(char::is_control), "{line:?}");
            let times = format!("count={}", count.max(1));
            prop_assert!(line.contains(&times), "{line}");
            prop_assert!(line.len() <= 2 * (message.len() + 4 * reason.len()) + 200);
            prop_assert!(event.times() >= 1);
            let metadata = event.metadata();
            prop_assert_eq!(metadata.get("k8s_event_reason").unwrap_or(""), reason.as_str());
        }

        #[test]
        fn arbitrary_objects_do_not_panic(text in "[{}\\[\\]\":,a-z0-9 ]{0,80}") {
            if let Ok(event) = serde_json::from_str::<EventObject>(&text) {
                prop_assert!(event.times() >= 1 && !event.line().is_empty());
            }
        }
    }
}
