//! Zipkin's collector: `POST /api/v2/spans` and `/api/v1/spans`.
//!
//! Invariant: 202 is answered once the spans are stored; a body of which nothing can be taken is an
//! error, single spans that cannot are counted.

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::StatusCode;
use obs_model::limits::Limits;
use obs_model::{SpanBatch, Tenant};
use obs_wire::{Decoded, WireError, zipkin};

use super::{Received, Receiver, RequestTenant, content_encoding, media_type};
use crate::http_error::{Dialect, HttpError};
use crate::metrics::Door;

/// The receiver's routes, on its own port and on the main one.
pub(super) fn routes() -> Router<Receiver> {
    Router::new()
        .route("/api/v2/spans", post(version_2))
        .route("/api/v1/spans", post(version_1))
}

type Decode = fn(&[u8], &Limits) -> Result<Decoded<SpanBatch>, WireError>;

async fn version_2(
    State(receiver): State<Receiver>,
    tenant: RequestTenant,
    request: Request,
) -> Response {
    let decode: Decode = match media_type(request.headers()).as_str() {
        "application/x-protobuf" | "application/protobuf" => zipkin::decode_protobuf,
        _ => zipkin::decode_json,
    };
    push(&receiver, tenant, request, decode).await
}

async fn version_1(
    State(receiver): State<Receiver>,
    tenant: RequestTenant,
    request: Request,
) -> Response {
    let decode: Decode = match media_type(request.headers()).as_str() {
        "application/x-thrift" | "application/vnd.apache.thrift.binary" => zipkin::decode_thrift_v1,
        _ => zipkin::decode_json_v1,
    };
    push(&receiver, tenant, request, decode).await
}

async fn push(
    receiver: &Receiver,
    RequestTenant(tenant): RequestTenant,
    request: Request,
    decode: Decode,
) -> Response {
    let (parts, body) = request.into_parts();
    let mut bytes = 0;
    let outcome = async {
        let tenant = tenant?;
        let mut body = receiver.body(body).await?;
        bytes = body.bytes.len();
        let encoding = content_encoding(&parts.headers);
        store(
            receiver,
            Door::Zipkin,
            tenant,
            (&mut body, &encoding),
            decode,
        )
        .await
    }
    .await;
    receiver.count(Door::Zipkin, bytes, &outcome);
    match outcome {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(error) => error.render(Dialect::Plain),
    }
}

/// Decodes and stores spans for a sender that cannot be told about single ones.
pub(super) async fn store(
    receiver: &Receiver,
    door: Door,
    tenant: Tenant,
    (body, encoding): (&mut Received, &str),
    decode: impl FnOnce(&[u8], &Limits) -> Result<Decoded<SpanBatch>, WireError> + Send + 'static,
) -> Result<(), HttpError> {
    let decoded = receiver
        .decode(body, (encoding, usize::MAX), decode)
        .await?;
    let refused = decoded.rejected;
    if decoded.batch.resources.is_empty() {
        receiver.counters.lines_refused(door, refused);
        return match refused {
            0 => Ok(()),
            _ => Err(HttpError::bad_data(decoded.message)),
        };
    }
    let accepted = receiver.sink.spans(tenant, decoded.batch).await?;
    receiver
        .counters
        .lines_refused(door, refused + accepted.refused);
    Ok(())
}
