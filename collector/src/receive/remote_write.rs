//! `POST /api/v1/write`: Prometheus remote write 1.0. Refuses 2.0 with 415, so that senders fall
//! back.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use obs_wire::prometheus::remote_write;

use super::{Receiver, RequestTenant, media_type, text_header};
use crate::http_error::{Dialect, HttpError};
use crate::metrics::Door;
use crate::sink::Accepted;

/// Largest decompressed request, as Prometheus (3.12) bounds it: 32 MB.
const DECOMPRESSED_BYTES_MAX: usize = 32 << 20;

pub(super) async fn push(
    State(receiver): State<Receiver>,
    RequestTenant(tenant): RequestTenant,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let mut bytes = 0;
    let outcome = async {
        let tenant = tenant?;
        check_headers(&parts.headers)?;
        let mut body = receiver.body(body).await?;
        bytes = body.bytes.len();
        let form = ("snappy", DECOMPRESSED_BYTES_MAX);
        let numbers = receiver.sink.numbers(&tenant);
        let decode = move |body: &[u8], limits: &_| {
            remote_write::decode_v1(body, limits, numbers.as_deref())
        };
        let decoded = receiver.decode(&mut body, form, decode).await?;
        let batch = decoded.batch;
        let accepted = if batch.is_empty() {
            Accepted::default()
        } else {
            receiver.sink.metrics(tenant, batch).await?
        };
        let told = accepted.and(decoded.rejected, decoded.message);
        if told.refused > 0 {
            // 1.0 knows no partial success: what was good is kept, and 400 makes the sender log
            // why the rest was not, and not send it again.
            return Err(HttpError::bad_data(format!(
                "{} samples refused: {}",
                told.refused, told.reason
            )));
        }
        Ok(())
    }
    .await;
    receiver.count(Door::RemoteWrite, bytes, &outcome);
    match outcome {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => error.render(Dialect::Plain),
    }
}

fn check_headers(headers: &HeaderMap) -> Result<(), HttpError> {
    let media = media_type(headers);
    // Old senders give no content type; it means 1.0.
    if !media.is_empty() && media != "application/x-protobuf" {
        return Err(HttpError::unsupported_media(format!(
            "content type {media:?} is not supported, expected application/x-protobuf"
        )));
    }
    let content_type = text_header(headers, &header::CONTENT_TYPE);
    for parameter in content_type.split(';').skip(1) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        if name.trim().eq_ignore_ascii_case("proto") && value != "prometheus.WriteRequest" {
            return Err(HttpError::unsupported_media(format!(
                "remote write message {value:?} is not supported, expected prometheus.WriteRequest"
            )));
        }
    }
    let encoding = text_header(headers, &header::CONTENT_ENCODING);
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("snappy") {
        return Err(HttpError::unsupported_media(format!(
            "content encoding {encoding:?} is not supported, expected snappy"
        )));
    }
    Ok(())
}
