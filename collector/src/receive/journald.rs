//! `POST /upload`, as systemd-journal-upload sends it: entries of the journal for as long as the
//! connection lives.
//!
//! Invariants: entries are stored while the body arrives, and the answer comes after the last of
//! them is durable; no more than one entry and one read is held; a sender that is silent for long
//! is cut off.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::StatusCode;
use http_body_util::BodyExt;
use obs_model::Tenant;
use obs_wire::event::{Context, Mapping};
use obs_wire::journald::{self, Framer};
use tokio::sync::OwnedSemaphorePermit;

use super::lines::{FREE_BYTES, grown};
use super::sockets::IDLE;
use super::{Receiver, RequestTenant, content_encoding, mapping};
use crate::clock;
use crate::http_error::{Dialect, ErrorKind, HttpError};
use crate::metrics::Door;
use crate::sink::{Accepted, RETRY_AFTER_SECONDS};

/// Bytes of entries that are stored together.
const BATCH_BYTES: usize = 256 << 10;

/// The routes below a prefix.
pub(super) fn routes(prefix: &str) -> Router<Receiver> {
    Router::new().route(&format!("{prefix}/upload"), post(upload))
}

async fn upload(
    State(receiver): State<Receiver>,
    RequestTenant(tenant): RequestTenant,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let encoding = content_encoding(&parts.headers);
    let mut upload = Upload {
        mapping: Arc::new(mapping::of(&parts)),
        entries: Vec::new(),
        waiting: 0,
        bytes: 0,
        refused: 0,
        reason: String::new(),
        framer: Framer::default(),
    };
    let outcome = async {
        let tenant = tenant?;
        if encoding.is_empty() || encoding == "identity" {
            upload.stream(&receiver, &tenant, body).await
        } else {
            upload.whole(&receiver, &tenant, body, &encoding).await
        }
    }
    .await;
    receiver.count(Door::Journald, upload.bytes, &outcome);
    receiver
        .counters
        .lines_refused(Door::Journald, upload.refused);
    match outcome {
        Ok(()) => (StatusCode::ACCEPTED, upload.told()).into_response(),
        Err(error) => error.render(Dialect::Plain),
    }
}

struct Upload {
    mapping: Arc<Mapping>,
    entries: Vec<Vec<u8>>,
    /// Bytes of the entries.
    waiting: usize,
    bytes: usize,
    refused: u64,
    /// Why the first were.
    reason: String,
    framer: Framer,
}

impl Upload {
    async fn stream(
        &mut self,
        receiver: &Receiver,
        tenant: &Tenant,
        mut body: Body,
    ) -> Result<(), HttpError> {
        let mut share: Option<OwnedSemaphorePermit> = None;
        loop {
            let frame = tokio::time::timeout(IDLE, body.frame()).await;
            let frame = frame.map_err(|_| {
                HttpError::new(ErrorKind::Timeout, "the sender was silent for too long")
            })?;
            let Some(frame) = frame else {
                break;
            };
            let frame =
                frame.map_err(|e| HttpError::bad_data(format!("body not received: {e}")))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            self.bytes += data.len();
            // Entries are stored as they come: the body may not end for days.
            self.push(receiver, tenant, &data).await?;
            self.store(receiver, tenant).await?;
            let held = self.framer.held();
            if held <= FREE_BYTES {
                share = None;
            } else if !grown(&mut share, held, receiver) {
                let reason = "too many bodies are in flight; retry later";
                return Err(
                    HttpError::new(ErrorKind::TooMany, reason).retry_after(RETRY_AFTER_SECONDS)
                );
            }
        }
        self.end(receiver, tenant).await
    }

    async fn whole(
        &mut self,
        receiver: &Receiver,
        tenant: &Tenant,
        body: Body,
        encoding: &str,
    ) -> Result<(), HttpError> {
        let mut body = receiver.body(body).await?;
        self.bytes = body.bytes.len();
        let work = |bytes: &[u8], _: &obs_model::limits::Limits| Ok(bytes.to_vec());
        let plain = receiver
            .decode(&mut body, (encoding, usize::MAX), work)
            .await?;
        for piece in plain.chunks(BATCH_BYTES) {
            self.push(receiver, tenant, piece).await?;
        }
        self.end(receiver, tenant).await
    }

    async fn push(
        &mut self,
        receiver: &Receiver,
        tenant: &Tenant,
        bytes: &[u8],
    ) -> Result<(), HttpError> {
        self.framer.push(bytes);
        while let Some(entry) = self.next_entry()? {
            self.waiting += entry.len();
            self.entries.push(entry);
            if self.waiting >= BATCH_BYTES {
                self.store(receiver, tenant).await?;
            }
        }
        Ok(())
    }

    /// The next entry that is whole; those that are too long are counted.
    fn next_entry(&mut self) -> Result<Option<Vec<u8>>, HttpError> {
        let entry = self.framer.next_entry()?;
        let long = self.framer.take_too_long();
        if long > 0 {
            self.refuse(long, "an entry of more than 8 MiB");
        }
        Ok(entry)
    }

    fn refuse(&mut self, count: u64, reason: &str) {
        self.refused += count;
        if self.reason.is_empty() {
            tracing::warn!(count, reason, "entries of a journal were refused");
            reason.clone_into(&mut self.reason);
        }
    }

    async fn end(&mut self, receiver: &Receiver, tenant: &Tenant) -> Result<(), HttpError> {
        self.entries.extend(self.framer.rest()?);
        self.store(receiver, tenant).await
    }

    async fn store(&mut self, receiver: &Receiver, tenant: &Tenant) -> Result<(), HttpError> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let entries = std::mem::take(&mut self.entries);
        let bytes = std::mem::take(&mut self.waiting);
        let (limits, now, mapping) = (receiver.limits, clock::now(), Arc::clone(&self.mapping));
        let work = move || {
            let context = Context {
                mapping: &mapping,
                now,
                limits: &limits,
            };
            journald::decode(&entries, context)
        };
        let batch = receiver.decoder.run(bytes, work).await?;
        let accepted = if batch.streams.is_empty() {
            Accepted::default()
        } else {
            receiver.sink.logs(tenant.clone(), batch).await?
        };
        if accepted.refused > 0 {
            self.refuse(accepted.refused, &accepted.reason);
        }
        Ok(())
    }

    /// The body of the answer. It is a success although entries were refused: the sender would send
    /// all of them again, for ever.
    fn told(&self) -> String {
        match self.refused {
            0 => "OK.\n".to_owned(),
            count => format!("OK, but {count} entries were refused: {}\n", self.reason),
        }
    }
}
