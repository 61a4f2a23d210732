//! From one signal to the others: queries that are ready to be asked.
//!
//! Pure: what is known of a sender, and perhaps a trace, becomes queries of the three languages.
//! Invariants: how senders are named comes from `obs_model::resource` alone; every query that is
//! made can be parsed, whatever the values are.

use std::borrow::Cow;
use std::collections::BTreeMap;

use obs_model::TraceId;
use obs_model::resource::{CONTAINER, HOST, NAMESPACE, NODE, POD, SERVICE, of_attribute, of_label};
use obs_model::spans::{Attribute, AttributeValue};

use crate::request::Language;

/// Most trace ids that are taken from one log record.
const IDS_MAX: usize = 16;

/// A query that is ready to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// What it tells, for people.
    pub title: String,
    /// In which language.
    pub language: Language,
    /// The query.
    pub query: String,
    /// For queries of logs: the streams that it reads.
    pub selector: Option<String>,
}

/// What is known of a sender, by resource attribute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sender(BTreeMap<&'static str, String>);

/// Queries for logs that name a trace, whoever wrote them.
pub fn everywhere(trace: TraceId) -> Vec<Prepared> {
    let selector = "{service_name=~\".+\"}";
    let prepared = |title: &str, query: String| Prepared {
        title: title.to_owned(),
        language: Language::Logql,
        query,
        selector: Some(selector.to_owned()),
    };
    vec![
        prepared(
            "Logs of anyone with this trace id as metadata",
            format!("{selector} | trace_id=\"{trace}\""),
        ),
        prepared(
            "Logs of anyone with this trace id in the line",
            format!("{selector} |= \"{trace}\""),
        ),
    ]
}

impl Sender {
    /// From the attributes of a resource.
    pub fn of_attributes(attributes: &[Attribute]) -> Self {
        let known = attributes.iter().filter_map(|a| {
            let AttributeValue::String(text) = &a.value else {
                return None;
            };
            Some((of_attribute(&a.key)?.attribute, text.clone()))
        });
        Self(known.filter(|(_, text)| !text.is_empty()).collect())
    }

    /// From the labels of a log stream or a series.
    pub fn of_labels<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut known = BTreeMap::new();
        for (name, value) in labels {
            let naming = of_label(name).or_else(|| of_attribute(name));
            if let Some(naming) = naming.filter(|_| !value.is_empty()) {
                // A service's own name wins over what it was found by.
                known
                    .entry(naming.attribute)
                    .or_insert_with(|| value.to_owned());
            }
        }
        Self(known)
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is known, by resource attribute.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
    }

    fn get(&self, attribute: &str) -> Option<&str> {
        self.0.get(attribute).map(String::as_str)
    }

    /// Queries for its logs; those of one trace, where one is given.
    pub fn logs(&self, trace: Option<TraceId>) -> Vec<Prepared> {
        let mut all = Vec::new();
        for (what, selector) in self.streams() {
            let prepared = |title: String, query: String| Prepared {
                title,
                language: Language::Logql,
                query,
                selector: Some(selector.clone()),
            };
            if let Some(trace) = trace {
                all.push(prepared(
                    format!("Logs of the {what} with this trace id as metadata"),
                    format!("{selector} | trace_id=\"{trace}\""),
                ));
                all.push(prepared(
                    format!("Logs of the {what} with this trace id in the line"),
                    format!("{selector} |= \"{trace}\""),
                ));
            }
            all.push(prepared(format!("Logs of the {what}"), selector.clone()));
        }
        all
    }

    /// Selectors of its log streams, as OTLP and as agents name them.
    fn streams(&self) -> Vec<(&'static str, String)> {
        let mut all = Vec::new();
        if let Some(service) = self.get(SERVICE) {
            all.push(("service", format!("{{service_name={}}}", quoted(service))));
        }
        if let Some(pod) = self.get(POD) {
            let naming = |attribute, number: usize| {
                let names = of_attribute(attribute).map_or(&[][..], |n| n.logs);
                names
                    .get(number.min(names.len().saturating_sub(1)))
                    .copied()
                    .unwrap_or_default()
            };
            for number in 0..2 {
                let mut matchers = vec![format!("{}={}", naming(POD, number), quoted(pod))];
                if let Some(namespace) = self.get(NAMESPACE) {
                    let name = naming(NAMESPACE, number);
                    matchers.push(format!("{name}={}", quoted(namespace)));
                }
                all.push(("pod", format!("{{{}}}", matchers.join(", "))));
            }
        }
        all
    }

    /// Queries for its metrics: of the service's calls, of its pod and of its node.
    pub fn metrics(&self) -> Vec<Prepared> {
        let mut all = Vec::new();
        let mut add = |title: &str, query: String| {
            all.push(Prepared {
                title: title.to_owned(),
                language: Language::Promql,
                query,
                selector: None,
            });
        };
        if let Some(service) = self.get(SERVICE) {
            let of = format!("service={}", quoted(service));
            let calls = "traces_spanmetrics_calls_total";
            add("Calls a second", format!("sum(rate({calls}{{{of}}}[5m]))"));
            add(
                "Failed calls a second",
                format!("sum(rate({calls}{{{of}, status_code=\"STATUS_CODE_ERROR\"}}[5m]))"),
            );
            add(
                "Latency that 95 % of calls stay below",
                format!(
                    "histogram_quantile(0.95, sum by (le) \
                     (rate(traces_spanmetrics_latency_bucket{{{of}}}[5m])))"
                ),
            );
        }
        if let Some(pod) = self.get(POD) {
            let mut of = vec![format!("pod={}", quoted(pod))];
            let also = [(NAMESPACE, "namespace"), (CONTAINER, "container")];
            for (attribute, label) in also {
                if let Some(value) = self.get(attribute) {
                    of.push(format!("{label}={}", quoted(value)));
                }
            }
            let of = of.join(", ");
            add(
                "Cores that the pod uses",
                format!("sum(rate(container_cpu_usage_seconds_total{{{of}}}[5m]))"),
            );
            add(
                "Bytes that the pod uses",
                format!("sum(container_memory_working_set_bytes{{{of}}})"),
            );
            add(
                "Restarts of the pod in an hour",
                format!("sum(increase(kube_pod_container_status_restarts_total{{{of}}}[1h]))"),
            );
        }
        if let Some(node) = self.get(NODE).or_else(|| self.get(HOST)) {
            let node = quoted(node);
            let on = format!("* on (instance) group_left () node_uname_info{{nodename={node}}}");
            add(
                "Share of the node's cores in use",
                format!("1 - avg(rate(node_cpu_seconds_total{{mode=\"idle\"}}[5m]) {on})"),
            );
            add(
                "Share of the node's memory in use",
                format!("1 - (node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes {on})"),
            );
        }
        all
    }

    /// A query for its traces, and one for those that failed.
    pub fn traces(&self) -> Vec<Prepared> {
        let narrow = [SERVICE, NAMESPACE, POD];
        let known = narrow
            .iter()
            .filter_map(|name| Some((name, self.get(name)?)));
        let conditions: Vec<String> = known
            .map(|(name, value)| format!("resource.{name} = {}", quoted(value)))
            .collect();
        if conditions.is_empty() {
            return Vec::new();
        }
        let all = conditions.join(" && ");
        let prepared = |title: &str, query| Prepared {
            title: title.to_owned(),
            language: Language::Traceql,
            query,
            selector: None,
        };
        vec![
            prepared("Traces", format!("{{ {all} }}")),
            prepared("Failed traces", format!("{{ {all} && status = error }}")),
        ]
    }
}

/// A text as all three languages quote it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Whether a name is one by which people call the id of a trace.
fn names_a_trace(name: &str) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    matches!(
        plain.to_ascii_lowercase().as_str(),
        "traceid" | "oteltraceid" | "traceparent" | "ddtraceid" | "xb3traceid" | "xtraceid"
    )
}

/// The id in a value: 16 or 32 hexadecimal digits, or W3C's `traceparent`.
fn id(text: &str) -> Option<TraceId> {
    let parts: Vec<&str> = text.trim().split('-').collect();
    let digits: Cow<'_, str> = match parts.as_slice() {
        [version, trace, span, _] if version.len() == 2 && span.len() == 16 => {
            Cow::Borrowed(*trace)
        }
        // A UUID is as long as an id.
        [a, b, c, d, e] => Cow::Owned([*a, *b, *c, *d, *e].concat()),
        [one] => Cow::Borrowed(*one),
        _ => return None,
    };
    let whole = matches!(digits.len(), 16 | 32);
    TraceId::from_hex(&digits).filter(|id| whole && !id.is_zero())
}

/// The traces that a log record names: by its metadata and labels first, then by its line.
pub fn trace_ids<'a>(
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    line: &str,
) -> Vec<TraceId> {
    let mut found = Vec::new();
    let mut add = |id: Option<TraceId>| {
        if let Some(id) = id
            && found.len() < IDS_MAX
            && !found.contains(&id)
        {
            found.push(id);
        }
    };
    for (name, value) in labels {
        if names_a_trace(name) {
            add(id(value));
        }
    }
    // Words of the line: `trace_id=…`, `"traceId":"…"`, `traceparent: 00-…`.
    let word = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let mut last: Option<(&str, &str)> = None;
    let mut rest = line;
    while let Some(begin) = rest.find(word) {
        let between = &rest[..begin];
        let tail = &rest[begin..];
        let end = tail.find(|c| !word(c)).unwrap_or(tail.len());
        let (text, behind) = tail.split_at(end);
        if last.is_some_and(|(name, _)| names_a_trace(name)) && joins(between) {
            add(id(text));
        }
        last = Some((text, between));
        rest = behind;
    }
    found
}

/// Whether what stands between two words joins a name and its value.
fn joins(between: &str) -> bool {
    between.len() <= 8 && between.chars().all(|c| " \t=:\"'\\[(<>".contains(c))
}

#[cfg(test)]
mod tests {
    use obs_model::limits::Limits;
    use proptest::prelude::*;

    use super::*;
    use crate::Query;

    const ID: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn ids_in_log_records() {
        let check = |labels: &[(&str, &str)], line: &str, expect: &[&str]| {
            let found = trace_ids(labels.iter().copied(), line);
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, expect, "{line}");
        };
        check(
            &[("trace_id", ID), ("span_id", "b7ad6b7169203331")],
            "x",
            &[ID],
        );
        check(&[("traceID", "nonsense")], "", &[]);
        check(&[], &format!("level=info trace_id={ID} msg=x"), &[ID]);
        check(&[], &format!("{{\"a\":1,\"traceId\":\"{ID}\"}}"), &[ID]);
        check(&[], &format!("{{\\\"trace.id\\\": \\\"{ID}\\\"}}"), &[ID]);
        check(
            &[],
            &format!("traceparent: 00-{ID}-b7ad6b7169203331-01"),
            &[ID],
        );
        check(&[], &format!("TraceID: {}", ID.to_uppercase()), &[ID]);
        check(&[("trace_id", ID)], &format!("trace_id={ID}"), &[ID]);
        check(
            &[],
            "trace_id=8448eb211c80319c",
            &["00000000000000008448eb211c80319c"],
        );
        check(&[], &format!("trace_id=0 id={ID}"), &[]);
        check(&[], &format!("the trace_id was lost, not {ID}"), &[]);
    }

    fn sender(pairs: &[(&str, &str)]) -> Sender {
        let attribute = |(k, v): &(&str, &str)| Attribute::string(*k, *v);
        Sender::of_attributes(&pairs.iter().map(attribute).collect::<Vec<_>>())
    }

    #[test]
    fn queries_of_a_pod() {
        let pod = sender(&[
            ("service.name", "shop"),
            ("k8s.namespace.name", "eu"),
            ("k8s.pod.name", "shop-0"),
            ("k8s.node.name", "n1"),
            ("process.pid", "7"),
        ]);
        let labels = [
            ("service_name", "shop"),
            ("namespace", "eu"),
            ("pod", "shop-0"),
            ("node", "n1"),
        ];
        assert_eq!(pod, Sender::of_labels(labels));
        let queries = |all: Vec<Prepared>| all.into_iter().map(|p| p.query).collect::<Vec<_>>();
        let logs = queries(pod.logs(TraceId::from_hex(ID)));
        assert_eq!(
            logs[..3],
            [
                format!("{{service_name=\"shop\"}} | trace_id=\"{ID}\""),
                format!("{{service_name=\"shop\"}} |= \"{ID}\""),
                "{service_name=\"shop\"}".to_owned(),
            ]
        );
        assert_eq!(
            logs[5],
            "{k8s_pod_name=\"shop-0\", k8s_namespace_name=\"eu\"}"
        );
        assert_eq!(logs[8], "{pod=\"shop-0\", namespace=\"eu\"}");
        let metrics = queries(pod.metrics());
        assert_eq!(metrics.len(), 8);
        assert!(
            metrics[3].contains("{pod=\"shop-0\", namespace=\"eu\"}"),
            "{metrics:?}"
        );
        assert!(metrics[6].contains("nodename=\"n1\""), "{metrics:?}");
        assert_eq!(
            queries(pod.traces())[0],
            "{ resource.service.name = \"shop\" && resource.k8s.namespace.name = \"eu\" && resource.k8s.pod.name = \"shop-0\" }"
        );
        assert!(sender(&[("x", "y")]).is_empty());
    }

    proptest! {
        #[test]
        fn every_query_can_be_parsed(values in prop::collection::vec(any::<String>(), 6)) {
            let names = ["service.name", "k8s.namespace.name", "k8s.pod.name", "k8s.node.name", "host.name", "k8s.container.name"];
            let pairs: Vec<(&str, &str)> = names.iter().copied().zip(values.iter().map(String::as_str)).collect();
            let sender = sender(&pairs);
            let all = [sender.logs(TraceId::from_hex(ID)), sender.metrics(), sender.traces()].concat();
            for one in all {
                let parsed = Query::parse(one.language, &one.query, &Limits::default());
                prop_assert!(parsed.is_ok(), "{}: {:?}", one.query, parsed.err());
            }
        }

        #[test]
        fn any_line_is_read(line in ".{0,200}") {
            prop_assert!(trace_ids([], &line).len() <= IDS_MAX);
        }
    }
}
