//! `POST /gelf`: GELF over HTTP.
//!
//! Invariant: 202 is answered only after the sink said that the messages are durable.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use obs_wire::gelf::Messages;

use super::elastic::in_context;
use super::{Receiver, RequestTenant, content_encoding};
use crate::http_error::{Dialect, HttpError};
use crate::metrics::Door;

/// Bodies up to this size are unpacked as they are read; they come to a message at most.
const SMALL_BYTES: usize = 4 << 10;

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
        let work = in_context(&parts, |body, context| {
            let mut messages = Messages::new(context);
            messages.add(body);
            Ok(messages.into_decoded())
        });
        let encoding = match body.bytes.as_ref() {
            // Handlers of loggers hang up without waiting for the answer. A small message is
            // unpacked where it is read, so that it is on its way before that is noticed.
            packed @ ([0x1f, 0x8b, ..] | [0x78, _, ..]) if packed.len() <= SMALL_BYTES => {
                String::new()
            }
            // Clients pack in one way and name both: `gzip,deflate`.
            [0x1f, 0x8b, ..] => "gzip".to_owned(),
            [0x78, _, ..] => "deflate".to_owned(),
            _ => content_encoding(&parts.headers),
        };
        let told = receiver
            .store_logs(tenant, &mut body, &encoding, work)
            .await?;
        if told.refused > 0 {
            let reason = format!("{} messages refused: {}", told.refused, told.reason);
            return Err(HttpError::bad_data(reason));
        }
        Ok(())
    }
    .await;
    receiver.count(Door::Gelf, bytes, &outcome);
    match outcome {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(error) => error.render(Dialect::Plain),
    }
}
