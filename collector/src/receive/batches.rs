//! Batches that agents send again: one whose identity was answered with success before is answered
//! so again, without being stored.
//!
//! What is stored is idempotent anyway (equal samples, records and spans are one); this spares the
//! work, and keeps counts of what came in right. Invariant: an identity is remembered only after
//! its batch was stored, and for the tenant that sent it; at most [`REMEMBERED`] are.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::{TENANT_HEADER, text_header};

/// The header with the identity of a batch: who made it, and its number there.
pub const BATCH_HEADER: &str = "x-obs-batch";
/// Identities that are remembered: hours of a few agents, minutes of many.
const REMEMBERED: usize = 65_536;
/// Longest identity.
const IDENTITY_BYTES_MAX: usize = 128;

/// What was stored. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Batches(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    all: HashSet<u128>,
    order: VecDeque<u128>,
}

impl Batches {
    fn knows(&self, identity: u128) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.all.contains(&identity)
    }

    fn remember(&self, identity: u128) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.all.insert(identity) {
            known.order.push_back(identity);
        }
        if known.order.len() > REMEMBERED
            && let Some(oldest) = known.order.pop_front()
        {
            known.all.remove(&oldest);
        }
    }
}

/// Answers what is known at once, and remembers what was stored.
pub(super) async fn once(State(batches): State<Batches>, request: Request, next: Next) -> Response {
    let name = http::HeaderName::from_static(BATCH_HEADER);
    let identity = text_header(request.headers(), &name);
    if identity.is_empty() || identity.len() > IDENTITY_BYTES_MAX {
        return next.run(request).await;
    }
    let tenant = text_header(
        request.headers(),
        &http::HeaderName::from_static(TENANT_HEADER),
    );
    let whole = format!("{tenant}\n{}\n{identity}", request.uri().path());
    let key = xxhash_rust::xxh3::xxh3_128(whole.as_bytes());
    if batches.knows(key) {
        return StatusCode::NO_CONTENT.into_response();
    }
    let response = next.run(request).await;
    if response.status().is_success() {
        batches.remember(key);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let batches = Batches::default();
        for identity in 0..REMEMBERED as u128 + 2 {
            batches.remember(identity);
            batches.remember(identity);
        }
        assert!(!batches.knows(0) && !batches.knows(1) && batches.knows(2));
    }
}
