//! Listeners for traces beside OTLP: Jaeger's over gRPC, HTTP and UDP, and Zipkin's. They are bound
//! before anything else starts. Those over HTTP are routes that the server serves like its own.
//!
//! Invariants: datagrams are taken from the kernel while earlier ones are being stored; what waits
//! is bounded by its number and its bytes; what there is no room for is counted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use obs_model::limits::Limits;
use obs_model::{SpanBatch, Tenant};
use obs_wire::jaeger;
use obs_wire::thrift::Protocol;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::sockets::{SocketError, Way, tcp, udp};
use super::{Receiver, grpc, jaeger as jaeger_routes, zipkin};
use crate::config::TracesConfig;
use crate::metrics::Door;
use crate::sink::SinkError;

/// Largest datagram of UDP.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Datagrams that wait for those before them.
const WAITING_MAX: usize = 2048;
/// Bytes of those, in KiB.
const WAITING_KIB_MAX: usize = 32 << 10;
/// Most datagrams in one batch.
const BATCH_MAX: usize = 256;
/// Pause after a fault of the socket.
const PAUSE: Duration = Duration::from_millis(10);
/// Pauses before spans are offered again to a store that is busy.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

#[derive(Clone, Copy, Debug)]
enum Service {
    JaegerGrpc,
    JaegerThrift,
    JaegerSampling,
    Zipkin,
}

/// Listeners that are bound.
#[derive(Debug, Default)]
pub struct TraceSockets {
    streams: Vec<(&'static str, SocketAddr, TcpListener, Service)>,
    datagrams: Vec<(&'static str, SocketAddr, UdpSocket, Protocol)>,
    tenant: Option<Tenant>,
}

impl TraceSockets {
    /// Binds everything that is configured.
    pub async fn bind(config: &TracesConfig) -> Result<Self, SocketError> {
        let mut sockets = Self {
            tenant: config.jaeger.tenant.clone(),
            ..Self::default()
        };
        let jaeger = &config.jaeger;
        let streams = [
            ("jaeger_grpc", jaeger.grpc, Service::JaegerGrpc),
            (
                "jaeger_thrift_http",
                jaeger.thrift_http,
                Service::JaegerThrift,
            ),
            ("jaeger_sampling", jaeger.sampling, Service::JaegerSampling),
            (
                "zipkin",
                config.zipkin.as_ref().map(|z| z.listen),
                Service::Zipkin,
            ),
        ];
        for (name, address, service) in streams {
            if let Some(address) = address {
                let (listener, bound) = tcp(name, address).await?;
                sockets.streams.push((name, bound, listener, service));
            }
        }
        let datagrams = [
            ("jaeger_udp_compact", jaeger.udp_compact, Protocol::Compact),
            ("jaeger_udp_binary", jaeger.udp_binary, Protocol::Binary),
        ];
        for (name, address, protocol) in datagrams {
            if let Some(address) = address {
                let (socket, bound) = udp(name, address).await?;
                sockets.datagrams.push((name, bound, socket, protocol));
            }
        }
        Ok(sockets)
    }

    /// Names and addresses, for tools.
    pub fn addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        let streams = self
            .streams
            .iter()
            .map(|(name, address, ..)| (*name, *address));
        let datagrams = self
            .datagrams
            .iter()
            .map(|(name, address, ..)| (*name, *address));
        streams.chain(datagrams).collect()
    }

    /// The listeners over HTTP and what each serves.
    pub fn take_streams(&mut self, receiver: &Receiver) -> Vec<(TcpListener, Router)> {
        let streams = std::mem::take(&mut self.streams).into_iter();
        let routed = streams.map(|(_, _, listener, service)| {
            let routes = match service {
                Service::JaegerGrpc => grpc::routes(receiver.clone()),
                Service::JaegerThrift => jaeger_routes::collector().with_state(receiver.clone()),
                Service::JaegerSampling => jaeger_routes::strategies().with_state(receiver.clone()),
                Service::Zipkin => zipkin::routes().with_state(receiver.clone()),
            };
            (listener, routes)
        });
        routed.collect()
    }

    /// Serves the datagrams until the token is cancelled.
    pub fn serve(self, receiver: &Receiver, tasks: &TaskTracker, stop: &CancellationToken) {
        let tenant = self.tenant.unwrap_or_else(Tenant::anonymous);
        for (_, _, socket, protocol) in self.datagrams {
            let way = Way {
                receiver: receiver.clone(),
                tenant: tenant.clone(),
                stop: stop.clone(),
            };
            tasks.spawn(async move {
                let (sender, inbox) = mpsc::channel(WAITING_MAX);
                tokio::join!(hear(socket, sender, &way), store(inbox, protocol, &way));
            });
        }
    }
}

/// A datagram and its share of what may wait.
type Waiting = (Vec<u8>, OwnedSemaphorePermit);

async fn hear(socket: UdpSocket, sender: mpsc::Sender<Waiting>, way: &Way) {
    let room = Arc::new(Semaphore::new(WAITING_KIB_MAX));
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let received = tokio::select! {
            () = way.stop.cancelled() => return,
            received = socket.recv_from(&mut buffer) => received,
        };
        let count = match received {
            Ok((count, _)) => count,
            Err(error) => {
                tracing::debug!(%error, "a datagram was not received");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let kib = u32::try_from(count / 1024 + 1).unwrap_or(u32::MAX);
        let share = Arc::clone(&room).try_acquire_many_owned(kib).ok();
        let taken = share.and_then(|share| sender.try_send((buffer[..count].to_vec(), share)).ok());
        if taken.is_none() {
            // How many spans it had is not known.
            way.receiver.counters.lines_refused(Door::Jaeger, 1);
        }
    }
}

async fn store(mut inbox: mpsc::Receiver<Waiting>, protocol: Protocol, way: &Way) {
    let mut waiting = Vec::new();
    while inbox.recv_many(&mut waiting, BATCH_MAX).await > 0 {
        let (datagrams, shares): (Vec<Vec<u8>>, Vec<_>) = waiting.drain(..).unzip();
        let bytes = datagrams.iter().map(Vec::len).sum();
        let limits = way.receiver.limits;
        let work = move || decode(&datagrams, protocol, &limits);
        match way.receiver.decoder.run(bytes, work).await {
            Ok((batch, refused)) => keep(batch, refused, bytes, way).await,
            Err(error) => {
                tracing::warn!(%error, "datagrams were lost");
                way.receiver.counters.request(Door::Jaeger, bytes, true);
            }
        }
        drop(shares);
    }
}

/// The spans of datagrams, and how many were refused; a datagram that is none counts as one.
fn decode(datagrams: &[Vec<u8>], protocol: Protocol, limits: &Limits) -> (SpanBatch, u64) {
    let (mut all, mut refused) = (SpanBatch::default(), 0);
    for datagram in datagrams {
        match jaeger::decode_datagram(datagram, protocol, limits) {
            Ok(decoded) => {
                refused += decoded.rejected;
                all.resources.extend(decoded.batch.resources);
            }
            Err(error) => {
                tracing::debug!(%error, "a datagram was not read");
                refused += 1;
            }
        }
    }
    (all, refused)
}

/// Stores spans; a busy store is asked again until the stop.
async fn keep(batch: SpanBatch, refused: u64, bytes: usize, way: &Way) {
    let counters = &way.receiver.counters;
    counters.lines_refused(Door::Jaeger, refused);
    let spans = batch.span_count() as u64;
    if spans == 0 {
        counters.request(Door::Jaeger, bytes, refused > 0);
        return;
    }
    let mut pause = BACKOFF.0;
    loop {
        match way
            .receiver
            .sink
            .spans(way.tenant.clone(), batch.clone())
            .await
        {
            Ok(accepted) => {
                counters.request(Door::Jaeger, bytes, false);
                counters.lines_refused(Door::Jaeger, accepted.refused);
                return;
            }
            Err(SinkError::Refused { reason }) => {
                tracing::warn!(reason, spans, "spans were refused");
                break;
            }
            Err(error) => {
                tracing::debug!(%error, "spans wait");
                let waited = tokio::select! {
                    () = way.stop.cancelled() => false,
                    () = tokio::time::sleep(pause) => true,
                };
                if !waited {
                    break;
                }
                pause = (pause * 2).min(BACKOFF.1);
            }
        }
    }
    counters.request(Door::Jaeger, bytes, true);
    counters.lines_refused(Door::Jaeger, spans);
}

#[cfg(test)]
mod tests;
