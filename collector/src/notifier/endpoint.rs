//! One Alertmanager: its queue, and the task that empties it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderValue};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{NotifierOptions, body};
use crate::http_client::chain;
use crate::http_client::configured::HttpClient;

/// How long the queue is emptied for at the end.
const DRAIN: Duration = Duration::from_secs(8);

/// What happened so far.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) sent: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) requests: AtomicU64,
    pub(super) micros: AtomicU64,
}

/// An Alertmanager.
#[derive(Debug)]
pub(super) struct Endpoint {
    url: String,
    queue: Mutex<VecDeque<Arc<str>>>,
    wake: Notify,
    counts: Arc<Counts>,
    options: NotifierOptions,
}

impl Endpoint {
    pub(super) fn new(url: String, counts: Arc<Counts>, options: NotifierOptions) -> Self {
        Self {
            url,
            queue: Mutex::default(),
            wake: Notify::new(),
            counts,
            options,
        }
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Arc<str>>> {
        // Every change is one insertion or removal.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many alerts wait.
    pub(super) fn queued(&self) -> usize {
        self.queue().len()
    }

    /// Queues alerts; the oldest go where there are too many.
    pub(super) fn push(&self, alerts: impl Iterator<Item = Arc<str>>) {
        let mut queue = self.queue();
        queue.extend(alerts);
        let over = queue.len().saturating_sub(self.options.capacity);
        queue.drain(..over);
        drop(queue);
        if over > 0 {
            let dropped = over as u64;
            self.counts.dropped.fetch_add(dropped, Ordering::Relaxed);
            tracing::warn!(
                alertmanager = self.url,
                dropped,
                "alert notification queue is full, the oldest alerts are dropped"
            );
        }
        self.wake.notify_one();
    }

    /// Sends what is queued until the token is cancelled, and what is queued then; with `ends`, which
    /// is cancelled when the server ends, only where that is wanted.
    pub(super) async fn run(
        &self,
        client: &HttpClient,
        timeout: Duration,
        (stop, ends): (CancellationToken, CancellationToken),
    ) {
        loop {
            while !stop.is_cancelled() && self.send_some(client, timeout).await {}
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.wake.notified() => {}
            }
        }
        if ends.is_cancelled() && !self.options.drain {
            let left = self.queued();
            self.counts
                .dropped
                .fetch_add(left as u64, Ordering::Relaxed);
            if left > 0 {
                tracing::warn!(
                    alertmanager = self.url,
                    left,
                    "alerts that wait are not sent"
                );
            }
            return;
        }
        let until = Instant::now() + DRAIN;
        let drained = tokio::time::timeout_at(until, async {
            while self.send_some(client, timeout).await {}
        });
        if drained.await.is_err() {
            let left = self.queued();
            tracing::warn!(
                alertmanager = self.url,
                left,
                "alerts were not sent at the end"
            );
        }
    }

    /// Sends one batch; whether there was one.
    async fn send_some(&self, client: &HttpClient, timeout: Duration) -> bool {
        let batch: Vec<Arc<str>> = {
            let mut queue = self.queue();
            let count = queue.len().min(self.options.batch);
            queue.drain(..count).collect()
        };
        if batch.is_empty() {
            return false;
        }
        let (count, began) = (batch.len() as u64, Instant::now());
        let sent = tokio::time::timeout(timeout, self.post(client, body(&batch))).await;
        let sent = sent.unwrap_or_else(|_| Err(format!("no answer within {timeout:?}")));
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.counts.micros.fetch_add(micros, Ordering::Relaxed);
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        match sent {
            Ok(()) => drop(self.counts.sent.fetch_add(count, Ordering::Relaxed)),
            Err(error) => {
                // They are told again within the resend delay while they last.
                self.counts.errors.fetch_add(count, Ordering::Relaxed);
                self.counts.dropped.fetch_add(count, Ordering::Relaxed);
                tracing::error!(
                    alertmanager = self.url,
                    count,
                    error,
                    "error sending alerts"
                );
            }
        }
        true
    }

    async fn post(&self, client: &HttpClient, body: String) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        client.put_headers(&mut headers).await?;
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        let request = client.requests().post(&self.url).headers(headers);
        let response = request.body(body).send().await.map_err(|e| chain(&e))?;
        match response.status().is_success() {
            true => Ok(()),
            false => Err(format!("bad response status {}", response.status())),
        }
    }
}
