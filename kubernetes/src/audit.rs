//! The API server's audit log as log records: the line stays as it is, what is asked for most is
//! structured metadata.
//!
//! Invariant: an event that cannot be read is an error that says where, and no other one is lost.

use obs_model::{Labels, LogRecord, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::object::{Pairs, or_default};

/// Why a document is not an audit event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// It is not the JSON that was expected.
    #[error("expected an event of audit.k8s.io: {0}")]
    Malformed(String),
    /// It has no time.
    #[error("audit event {0:?} has no time")]
    NoTime(String),
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AuditEvent {
    kind: String,
    level: String,
    #[serde(rename = "auditID")]
    audit_id: String,
    stage: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: User,
    #[serde(rename = "sourceIPs", deserialize_with = "or_default")]
    source_ips: Vec<String>,
    user_agent: String,
    object_ref: Option<ObjectRef>,
    response_status: Option<ResponseStatus>,
    request_received_timestamp: String,
    stage_timestamp: String,
    #[serde(deserialize_with = "or_default")]
    annotations: Pairs,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    api_group: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

#[derive(Deserialize)]
struct EventList<'a> {
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

/// One line of an audit log.
pub fn record(line: &[u8]) -> Result<LogRecord, AuditError> {
    let event: AuditEvent =
        serde_json::from_slice(line).map_err(|e| AuditError::Malformed(e.to_string()))?;
    if event.kind != "Event" || event.audit_id.is_empty() {
        return Err(AuditError::Malformed(format!(
            "found kind {:?}",
            event.kind
        )));
    }
    let parse = obs_model::time::parse_rfc3339;
    let Some(time) =
        parse(&event.stage_timestamp).or_else(|| parse(&event.request_received_timestamp))
    else {
        return Err(AuditError::NoTime(event.audit_id));
    };
    Ok(LogRecord {
        time,
        line: line.to_vec(),
        metadata: metadata(&event, time),
    })
}

/// The events of one request of the API server's audit webhook, an `EventList`: those that can be
/// read, and what is wrong with the others.
pub fn records(body: &[u8]) -> Result<(Vec<LogRecord>, Vec<AuditError>), AuditError> {
    let list: EventList<'_> =
        serde_json::from_slice(body).map_err(|e| AuditError::Malformed(e.to_string()))?;
    let (mut records, mut faults) = (Vec::new(), Vec::new());
    for item in list.items {
        match record(item.get().as_bytes()) {
            Ok(record) => records.push(record),
            Err(fault) => faults.push(fault),
        }
    }
    Ok((records, faults))
}

fn metadata(event: &AuditEvent, time: Timestamp) -> Labels {
    let nothing = ObjectRef::default();
    let object = event.object_ref.as_ref().unwrap_or(&nothing);
    let code = event
        .response_status
        .as_ref()
        .map_or(0, |status| status.code);
    let level = match code {
        500.. => "error",
        400.. => "warn",
        _ => "info",
    };
    let code = if code == 0 {
        String::new()
    } else {
        code.to_string()
    };
    let began = obs_model::time::parse_rfc3339(&event.request_received_timestamp);
    let took = began.map(|began| (time.nanos() - began.nanos()) as f64 / 1e9);
    let took = took.map_or(String::new(), |seconds| format!("{seconds:.6}"));
    let decision = event.annotations.get("authorization.k8s.io/decision");
    Labels::from_pairs([
        ("level", level),
        ("audit_id", &event.audit_id),
        ("audit_level", &event.level),
        ("stage", &event.stage),
        ("verb", &event.verb),
        ("user", &event.user.username),
        (
            "source_ip",
            event.source_ips.first().map_or("", String::as_str),
        ),
        ("user_agent", &event.user_agent),
        ("request_uri", &event.request_uri),
        ("api_group", &object.api_group),
        ("resource", &object.resource),
        ("subresource", &object.subresource),
        ("k8s_namespace_name", &object.namespace),
        ("k8s_object_name", &object.name),
        ("status_code", &code),
        ("decision", decision.unwrap_or("")),
        ("duration_seconds", &took),
    ])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINE: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a-1","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/shop/pods/web?x=1","verb":"delete","user":{"username":"alice","groups":["system:authenticated"]},"sourceIPs":["10.0.0.9"],"userAgent":"kubectl","objectRef":{"resource":"pods","namespace":"shop","name":"web","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":403},"requestReceivedTimestamp":"2026-01-02T03:04:05.000000Z","stageTimestamp":"2026-01-02T03:04:05.250000Z","annotations":{"authorization.k8s.io/decision":"forbid"}}"#;

    #[test]
    fn an_event_keeps_its_line() {
        let record = record(LINE.as_bytes()).unwrap();
        assert_eq!(record.line, LINE.as_bytes());
        assert_eq!(
            Some(record.time),
            obs_model::time::parse_rfc3339("2026-01-02T03:04:05.25Z")
        );
        let check = |name, value| assert_eq!(record.metadata.get(name), Some(value), "{name}");
        check("level", "warn");
        check("user", "alice");
        check("verb", "delete");
        check("resource", "pods");
        check("k8s_namespace_name", "shop");
        check("status_code", "403");
        check("decision", "forbid");
        check("duration_seconds", "0.250000");
        assert_eq!(record.metadata.get("subresource"), None);
    }

    #[test]
    fn lists_lose_only_what_is_wrong() {
        let body = format!(
            r#"{{"kind":"EventList","items":[{LINE},{{"kind":"Event","auditID":"b"}},{{}}]}}"#
        );
        let (records, faults) = records(body.as_bytes()).unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!(faults[0], AuditError::NoTime("b".to_owned()));
        assert!(matches!(faults[1], AuditError::Malformed(_)));
        assert!(super::records(b"[").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            assert!(record(&bytes).is_err());
        }
    }
}
