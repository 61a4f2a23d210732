//! `POST /insert/jsonline`: JSON logs as lines, as an array or one after the other, or entries of
//! MessagePack. It is what Vector's and Fluent Bit's `http` outputs send.
//!
//! Invariant: what cannot be read is counted and told, the rest is stored.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use obs_model::LogBatch;
use obs_wire::event::Context;
use obs_wire::{Decoded, WireError, fluent, jsonlines};

use super::elastic::in_context;
use super::{Receiver, RequestTenant, content_encoding, media_type};
use crate::http_error::Dialect;
use crate::metrics::Door;

/// How a body is read.
type Decode = fn(&[u8], Context<'_>) -> Result<Decoded<LogBatch>, WireError>;

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
        let decode: Decode = match media_type(&parts.headers).as_str() {
            "application/msgpack" | "application/x-msgpack" => fluent::decode_entries,
            _ => jsonlines::decode,
        };
        let work = in_context(&parts, decode);
        receiver
            .store_logs(tenant, &mut body, &encoding, work)
            .await
    }
    .await;
    receiver.count(Door::JsonLines, bytes, &outcome);
    match outcome {
        Ok(told) if told.refused == 0 => StatusCode::OK.into_response(),
        // Senders of plain lines do not read more than the status, and would send all of it again.
        Ok(told) => {
            receiver
                .counters
                .lines_refused(Door::JsonLines, told.refused);
            let text = format!("{} lines refused: {}\n", told.refused, told.reason);
            (StatusCode::OK, text).into_response()
        }
        Err(error) => error.render(Dialect::Plain),
    }
}
