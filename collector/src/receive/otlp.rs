//! `POST /v1/{metrics,logs,traces}`: OTLP over HTTP in protobuf and JSON. The answer has the
//! encoding of the request; what could not be taken is told as partial success.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use obs_model::limits::Limits;
use obs_model::packed::Arriving;
use obs_model::{LogBatch, MetricBatch, Tenant};
use obs_wire::WireError;
use obs_wire::otlp::metrics::Options;
use obs_wire::otlp::{self, Decoded, Encoding, Signal};

use super::{Received, Receiver, RequestTenant, media_type, text_header};
use crate::clock;
use crate::http_error::{Dialect, HttpError};
use crate::metrics::Door;
use crate::sink::Accepted;

pub(super) async fn metrics(
    State(receiver): State<Receiver>,
    tenant: RequestTenant,
    request: Request,
) -> Response {
    export(receiver, Signal::Metrics, tenant, request).await
}

pub(super) async fn logs(
    State(receiver): State<Receiver>,
    tenant: RequestTenant,
    request: Request,
) -> Response {
    export(receiver, Signal::Logs, tenant, request).await
}

pub(super) async fn traces(
    State(receiver): State<Receiver>,
    tenant: RequestTenant,
    request: Request,
) -> Response {
    export(receiver, Signal::Traces, tenant, request).await
}

async fn export(
    receiver: Receiver,
    signal: Signal,
    RequestTenant(tenant): RequestTenant,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let mut bytes = 0;
    let encoding = encoding(&parts.headers);
    let outcome = async {
        let encoding = encoding.clone()?;
        let tenant = tenant?;
        let mut body = receiver.body(body).await?;
        bytes = body.bytes.len();
        let compression = text_header(&parts.headers, &header::CONTENT_ENCODING);
        let compression = compression.trim().to_ascii_lowercase();
        let told = store(&receiver, signal, tenant, &mut body, encoding, &compression).await?;
        Ok((encoding, told))
    }
    .await;
    receiver.count(Door::OtlpHttp, bytes, &outcome);
    match outcome {
        Ok((encoding, told)) => {
            let body = otlp::response(signal, told.refused, &told.reason, encoding);
            let mut response = Response::new(Body::from(body));
            let content_type = HeaderValue::from_static(encoding.content_type());
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, content_type);
            response
        }
        Err(error) => error.render(match encoding {
            Ok(Encoding::Protobuf) => Dialect::OtlpProtobuf,
            Ok(Encoding::Json) | Err(_) => Dialect::OtlpJson,
        }),
    }
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, HttpError> {
    match media_type(headers).as_str() {
        "application/x-protobuf" => Ok(Encoding::Protobuf),
        "application/json" => Ok(Encoding::Json),
        other => Err(HttpError::unsupported_media(format!(
            "content type {other:?} is not supported, expected application/x-protobuf or application/json"
        ))),
    }
}

/// Decodes and stores one request; gives what was refused on the way.
pub(super) async fn store(
    receiver: &Receiver,
    signal: Signal,
    tenant: Tenant,
    body: &mut Received,
    encoding: Encoding,
    compression: &str,
) -> Result<Accepted, HttpError> {
    let sink = &receiver.sink;
    let compression = (compression, usize::MAX);
    match signal {
        Signal::Metrics => {
            let options = Arc::clone(&receiver.otlp);
            let work = move |bytes: &[u8], limits: &Limits| {
                decode_metrics(bytes, encoding, limits, &options)
            };
            let decoded = receiver.decode(body, compression, work).await?;
            let accepted = if decoded.batch.series.is_empty() && decoded.batch.metadata.is_empty() {
                Accepted::default()
            } else {
                sink.metrics(tenant, decoded.batch).await?
            };
            Ok(accepted.and(decoded.rejected, decoded.message))
        }
        Signal::Logs => {
            let work = move |bytes: &[u8], limits: &Limits| decode_logs(bytes, encoding, limits);
            let mut decoded = receiver.decode(body, compression, work).await?;
            otlp::logs::stamp(&mut decoded.batch, clock::now());
            let accepted = if decoded.batch.streams.is_empty() {
                Accepted::default()
            } else {
                sink.logs(tenant, decoded.batch).await?
            };
            Ok(accepted.and(decoded.rejected, decoded.message))
        }
        Signal::Traces => {
            let work = move |bytes: &[u8], limits: &Limits| decode_traces(bytes, encoding, limits);
            let decoded = receiver.decode(body, compression, work).await?;
            let accepted = if decoded.batch.is_empty() {
                Accepted::default()
            } else {
                sink.spans(tenant, decoded.batch).await?
            };
            Ok(accepted.and(decoded.rejected, decoded.message))
        }
    }
}

fn decode_metrics(
    bytes: &[u8],
    encoding: Encoding,
    limits: &Limits,
    options: &Options,
) -> Result<Decoded<MetricBatch>, WireError> {
    match encoding {
        Encoding::Protobuf => otlp::metrics::decode_protobuf(bytes, limits, options),
        Encoding::Json => otlp::metrics::decode_json(bytes, limits, options),
    }
}

fn decode_logs(
    bytes: &[u8],
    encoding: Encoding,
    limits: &Limits,
) -> Result<Decoded<LogBatch>, WireError> {
    match encoding {
        Encoding::Protobuf => otlp::logs::decode_protobuf(bytes, limits),
        Encoding::Json => otlp::logs::decode_json(bytes, limits),
    }
}

fn decode_traces(
    bytes: &[u8],
    encoding: Encoding,
    limits: &Limits,
) -> Result<Decoded<Arriving>, WireError> {
    fn arriving<B: Into<Arriving>>(decoded: Decoded<B>) -> Decoded<Arriving> {
        Decoded {
            batch: decoded.batch.into(),
            rejected: decoded.rejected,
            message: decoded.message,
        }
    }
    Ok(match encoding {
        Encoding::Protobuf => arriving(otlp::traces::decode_packed(bytes, limits)?),
        Encoding::Json => arriving(otlp::traces::decode_json(bytes, limits)?),
    })
}

/// The answer of the gRPC services, which is the same message.
pub(super) fn response_protobuf(signal: Signal, told: &Accepted) -> Bytes {
    otlp::response(signal, told.refused, &told.reason, Encoding::Protobuf).into()
}
