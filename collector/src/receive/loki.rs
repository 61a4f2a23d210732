//! `POST /loki/api/v1/push`: log lines in JSON (plain, gzip or deflate) or protobuf (snappy).

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use obs_model::{LogBatch, Tenant};
use obs_wire::loki::push;
use obs_wire::otlp::Decoded;

use super::{Receiver, RequestTenant, media_type, text_header};
use crate::http_error::{Dialect, ErrorKind, HttpError};
use crate::metrics::Door;
use crate::sink::Accepted;

pub(super) async fn push(
    State(receiver): State<Receiver>,
    RequestTenant(tenant): RequestTenant,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let mut bytes = 0;
    let outcome = async {
        let tenant = tenant?;
        let form = form(&parts.headers)?;
        let mut body = receiver.body(body).await?;
        bytes = body.bytes.len();
        let decoded = match form {
            Form::Json { encoding } => {
                let decode = receiver.decode(&mut body, (&encoding, usize::MAX), push::decode_json);
                decode.await?
            }
            Form::Protobuf => {
                let decode =
                    receiver.decode(&mut body, ("snappy", usize::MAX), push::decode_protobuf);
                decode.await?
            }
        };
        store(&receiver, tenant, decoded).await
    }
    .await;
    receiver.count(Door::LokiPush, bytes, &outcome);
    match outcome {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => error.render(Dialect::Plain),
    }
}

/// Stores what was read. As Loki: what was good is kept, the rest is told with 400.
pub(super) async fn store(
    receiver: &Receiver,
    tenant: Tenant,
    decoded: Decoded<LogBatch>,
) -> Result<(), HttpError> {
    let accepted = if decoded.batch.streams.is_empty() {
        if decoded.rejected == 0 && decoded.message.is_empty() {
            // As Loki.
            let message = "error at least one valid stream is required for ingestion";
            return Err(HttpError::new(ErrorKind::Execution, message));
        }
        Accepted::default()
    } else {
        receiver.sink.logs(tenant, decoded.batch).await?
    };
    let told = accepted.and(decoded.rejected, decoded.message);
    if told.refused > 0 || !told.reason.is_empty() {
        // One line alone is told in Loki's own words.
        let text = match told.refused {
            0 | 1 => told.reason,
            many => format!("{many} lines refused: {}", told.reason),
        };
        return Err(match told.crowded {
            // As Loki: there may be room for new streams later.
            true => HttpError::new(ErrorKind::TooMany, text).retry_after(CROWDED_RETRY_SECONDS),
            false => HttpError::bad_data(text),
        });
    }
    Ok(())
}

/// What a sender of new streams is told to wait where there are too many: streams end with the
/// memory that they are in.
const CROWDED_RETRY_SECONDS: u64 = 60;

/// How a request is written.
#[derive(Debug)]
enum Form {
    Json { encoding: String },
    Protobuf,
}

fn form(headers: &HeaderMap) -> Result<Form, HttpError> {
    let encoding = text_header(headers, &header::CONTENT_ENCODING).to_ascii_lowercase();
    match media_type(headers).as_str() {
        "application/json" => Ok(Form::Json { encoding }),
        // Loki reads requests without a content type as protobuf; that is always snappy.
        "" | "application/x-protobuf" if encoding.is_empty() || encoding == "snappy" => {
            Ok(Form::Protobuf)
        }
        "" | "application/x-protobuf" => Err(HttpError::unsupported_media(format!(
            "content encoding {encoding:?} is not supported with protobuf, expected snappy"
        ))),
        other => Err(HttpError::unsupported_media(format!(
            "content type {other:?} is not supported, expected application/json or application/x-protobuf"
        ))),
    }
}
