//! The data sources of an obs in Grafana, and how they lead to one another.
//!
//! A `$` in provisioning files begins a variable of Grafana's environment; `$$` is a dollar.

use serde_json::{Value, json};

/// Names and uids.
pub(super) const METRICS: (&str, &str) = ("obs", "obs-metrics");
pub(super) const LOGS: (&str, &str) = ("obs logs", "obs-logs");
pub(super) const TRACES: (&str, &str) = ("obs traces", "obs-traces");
const ALERTS: (&str, &str) = ("obs alerts", "obs-alerts");
const JAEGER: (&str, &str) = ("obs traces (Jaeger)", "obs-jaeger");

/// What was asked for.
pub(super) struct Asked<'a> {
    pub(super) url: &'a str,
    pub(super) tenant: Option<&'a str>,
    pub(super) token_env: Option<&'a str>,
    pub(super) jaeger: bool,
    pub(super) default: bool,
}

/// The file.
pub(super) fn all(asked: &Asked<'_>) -> Value {
    let mut sources = vec![
        metrics(asked),
        logs(asked),
        traces(asked),
        source(
            asked,
            ALERTS,
            "alertmanager",
            "",
            json!({
                "implementation": "prometheus",
                "handleGrafanaManagedAlerts": false,
            }),
        ),
    ];
    if asked.jaeger {
        let settings = json!({
            "nodeGraph": {"enabled": true},
            "tracesToLogsV2": to_logs(),
            "tracesToMetrics": to_metrics(),
        });
        sources.push(source(asked, JAEGER, "jaeger", "/jaeger", settings));
    }
    json!({"apiVersion": 1, "datasources": sources})
}

/// One data source, with the headers that obs wants.
fn source(
    asked: &Asked<'_>,
    (name, uid): (&str, &str),
    kind: &str,
    path: &str,
    mut settings: Value,
) -> Value {
    let mut secrets = json!({});
    let token = asked
        .token_env
        .map(|name| ("Authorization", format!("Bearer ${{{name}}}")));
    let tenant = asked
        .tenant
        .map(|tenant| ("X-Scope-OrgID", dollars(tenant)));
    for (index, (header, value)) in tenant.into_iter().chain(token).enumerate() {
        settings[format!("httpHeaderName{}", index + 1)] = header.into();
        secrets[format!("httpHeaderValue{}", index + 1)] = value.into();
    }
    let mut source = json!({
        "name": name,
        "uid": uid,
        "type": kind,
        "access": "proxy",
        "orgId": 1,
        "url": dollars(&format!("{}{path}", asked.url)),
        "editable": false,
        "jsonData": settings,
    });
    if secrets != json!({}) {
        source["secureJsonData"] = secrets;
    }
    source
}

/// A text in which Grafana replaces nothing.
fn dollars(text: &str) -> String {
    text.replace('$', "$$")
}

fn metrics(asked: &Asked<'_>) -> Value {
    let to =
        |name: &str| json!({"name": name, "datasourceUid": TRACES.1, "urlDisplayLabel": "Trace"});
    let mut source = source(
        asked,
        METRICS,
        "prometheus",
        "",
        json!({
            "httpMethod": "POST",
            "prometheusType": "Prometheus",
            "prometheusVersion": "3.14.0",
            "timeInterval": "15s",
            "manageAlerts": true,
            "alertmanagerUid": ALERTS.1,
            "exemplarTraceIdDestinations": [to("trace_id"), to("traceID")],
        }),
    );
    source["isDefault"] = asked.default.into();
    source
}

fn logs(asked: &Asked<'_>) -> Value {
    let url = "$${__value.raw}";
    // A label or a piece of structured metadata, and ids that stand in lines.
    let by_label = |label: &str| {
        json!({
            "name": format!("Trace ({label})"),
            "matcherType": "label",
            "matcherRegex": label,
            "datasourceUid": TRACES.1,
            "url": url,
            "urlDisplayLabel": "Trace",
        })
    };
    let by_line = json!({
        "name": "Trace",
        "matcherType": "regex",
        "matcherRegex": r#"(?:trace_?id|traceId|traceID|trace\.id)"?[=:]\s*"?([0-9a-fA-F]{16,32})"#,
        "datasourceUid": TRACES.1,
        "url": url,
        "urlDisplayLabel": "Trace",
    });
    source(
        asked,
        LOGS,
        "loki",
        "",
        json!({
            "maxLines": 1000,
            "manageAlerts": true,
            "alertmanagerUid": ALERTS.1,
            "derivedFields": [by_label("trace_id"), by_label("traceid"), by_line],
        }),
    )
}

/// From a span to the lines of its service, or of its pod, around it.
fn to_logs() -> Value {
    let tag = |key: &str, value: &str| json!({"key": key, "value": value});
    json!({
        "datasourceUid": LOGS.1,
        "spanStartTimeShift": "-5m",
        "spanEndTimeShift": "5m",
        "filterByTraceID": true,
        "filterBySpanID": false,
        "tags": [
            tag("service.name", "service_name"),
            tag("k8s.namespace.name", "k8s_namespace_name"),
        ],
        "customQuery": false,
    })
}

/// From a span to how its operation does in general.
fn to_metrics() -> Value {
    let query = |name: &str, query: &str| json!({"name": name, "query": query});
    json!({
        "datasourceUid": METRICS.1,
        "spanStartTimeShift": "-30m",
        "spanEndTimeShift": "30m",
        "tags": [
            {"key": "service.name", "value": "service"},
            {"key": "name", "value": "span_name"},
        ],
        "queries": [
            query("Calls", "sum(rate(traces_spanmetrics_calls_total{$$__tags}[5m]))"),
            query(
                "Errors",
                "sum(rate(traces_spanmetrics_calls_total{$$__tags, status_code=\"STATUS_CODE_ERROR\"}[5m]))",
            ),
            query(
                "Duration (p95)",
                "histogram_quantile(0.95, sum by (le) (rate(traces_spanmetrics_latency_bucket{$$__tags}[5m])))",
            ),
        ],
    })
}

fn traces(asked: &Asked<'_>) -> Value {
    source(
        asked,
        TRACES,
        "tempo",
        "/tempo",
        json!({
            "tracesToLogsV2": to_logs(),
            "tracesToMetrics": to_metrics(),
            "serviceMap": {"datasourceUid": METRICS.1},
            "nodeGraph": {"enabled": true},
            "lokiSearch": {"datasourceUid": LOGS.1},
            "search": {"hide": false},
            "traceQuery": {
                "timeShiftEnabled": true,
                "spanStartTimeShift": "-30m",
                "spanEndTimeShift": "30m",
            },
            "spanBar": {"type": "Duration"},
            // Over HTTP on the same port; streaming would want HTTP/2 without TLS.
            "streamingEnabled": {"search": false, "metrics": false},
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn asked(jaeger: bool) -> Value {
        all(&Asked {
            url: "http://obs:9090",
            tenant: Some("a$b"),
            token_env: Some("OBS_TOKEN"),
            jaeger,
            default: false,
        })
    }

    fn linked<'v>(value: &'v Value, found: &mut BTreeSet<&'v str>) {
        match value {
            Value::Object(map) => {
                let uids = map.iter().filter(|(key, _)| key.ends_with("Uid"));
                found.extend(uids.filter_map(|(_, uid)| uid.as_str()));
                map.values().for_each(|inner| linked(inner, found));
            }
            Value::Array(list) => list.iter().for_each(|inner| linked(inner, found)),
            _ => {}
        }
    }

    #[test]
    fn links_lead_to_sources_that_are_there() {
        for jaeger in [false, true] {
            let file = asked(jaeger);
            let sources = file["datasources"].as_array().unwrap();
            assert_eq!(sources.len(), if jaeger { 5 } else { 4 });
            let uids: BTreeSet<&str> = sources.iter().filter_map(|s| s["uid"].as_str()).collect();
            let mut found = BTreeSet::new();
            linked(&file, &mut found);
            assert!(found.is_subset(&uids), "{found:?}");
            assert_eq!(found.len(), 4, "each is linked to: {found:?}");
        }
    }

    #[test]
    fn headers_and_addresses() {
        let file = asked(true);
        let by = |kind: &str| {
            let all = file["datasources"].as_array().unwrap();
            all.iter()
                .find(|source| source["type"] == kind)
                .unwrap()
                .clone()
        };
        let urls = ["prometheus", "loki", "tempo", "jaeger", "alertmanager"]
            .map(|kind| by(kind)["url"].clone());
        let base = "http://obs:9090";
        let tempo = format!("{base}/tempo");
        let jaeger = format!("{base}/jaeger");
        assert_eq!(urls, [base, base, tempo.as_str(), jaeger.as_str(), base]);
        let metrics = by("prometheus");
        assert_eq!(metrics["jsonData"]["httpHeaderName1"], "X-Scope-OrgID");
        assert_eq!(metrics["secureJsonData"]["httpHeaderValue1"], "a$$b");
        assert_eq!(
            metrics["secureJsonData"]["httpHeaderValue2"],
            "Bearer ${OBS_TOKEN}"
        );
        let line = by("loki")["jsonData"]["derivedFields"][2]["matcherRegex"].clone();
        let regex = regex::Regex::new(line.as_str().unwrap()).unwrap();
        let id = "0af7651916cd43dd8448eb211c80319c";
        for text in [
            format!("trace_id={id} x"),
            format!("{{\"traceId\":\"{id}\"}}"),
            format!("{{\"trace_id\": \"{id}\"}}"),
            format!("traceID: {id}"),
        ] {
            assert_eq!(&regex.captures(&text).unwrap()[1], id, "{text}");
        }
    }

    #[test]
    fn queries_parse() {
        for query in to_metrics()["queries"].as_array().unwrap() {
            let query = query["query"].as_str().unwrap();
            let query = query.replace("$$__tags", "service=\"a\"");
            let limits = obs_model::limits::Limits::default();
            assert!(obs_query::promql::parse(&query, &limits).is_ok(), "{query}");
        }
    }
}
