//! `POST /insert/kubernetes-audit`: what the API server's audit webhook sends, as log records of
//! one stream.
//!
//! Invariant: an event that cannot be read is counted and told, the rest is stored.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use obs_kubernetes::audit;
use obs_model::{Labels, LogBatch, LogStream};
use obs_wire::{Decoded, Position, WireError};

use super::{Receiver, RequestTenant, content_encoding};
use crate::http_error::Dialect;
use crate::metrics::Door;

const NAME: &str = "kubernetes-audit";

pub(super) async fn push(
    State(receiver): State<Receiver>,
    RequestTenant(tenant): RequestTenant,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let mut bytes = 0;
    let outcome = async {
        let tenant = tenant?;
        let mut body = receiver.body(body).await?;
        bytes = body.bytes.len();
        let encoding = content_encoding(&parts.headers);
        let work = |bytes: &[u8], _: &_| decode(bytes);
        receiver
            .store_logs(tenant, &mut body, &encoding, work)
            .await
    }
    .await;
    receiver.count(Door::KubernetesAudit, bytes, &outcome);
    match outcome {
        Ok(told) => {
            receiver
                .counters
                .lines_refused(Door::KubernetesAudit, told.refused);
            StatusCode::OK.into_response()
        }
        Err(error) => error.render(Dialect::Plain),
    }
}

fn decode(bytes: &[u8]) -> Result<Decoded<LogBatch>, WireError> {
    let (records, faults) = audit::records(bytes).map_err(|fault| WireError::Malformed {
        format: "audit event list",
        position: Position::Byte(0),
        expected: fault.to_string(),
    })?;
    let labels = Labels::from_pairs([("job", NAME), ("service_name", NAME)]);
    let streams = match records.is_empty() {
        true => Vec::new(),
        false => vec![LogStream { labels, records }],
    };
    Ok(Decoded {
        batch: LogBatch { streams },
        rejected: faults.len() as u64,
        message: faults.first().map_or(String::new(), ToString::to_string),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_one_stream() {
        let event = r#"{"kind":"Event","auditID":"a","verb":"get","stageTimestamp":"2026-01-02T03:04:05Z"}"#;
        let body = format!(r#"{{"kind":"EventList","items":[{event},{{}}]}}"#);
        let decoded = decode(body.as_bytes()).unwrap();
        assert_eq!((decoded.batch.record_count(), decoded.rejected), (1, 1));
        let labels = decoded.batch.streams[0].labels.to_string();
        assert_eq!(
            labels,
            r#"{job="kubernetes-audit", service_name="kubernetes-audit"}"#
        );
        assert!(decode(b"{}").is_err());
        assert!(decode(br#"{"items":[]}"#).unwrap().batch.streams.is_empty());
    }
}
