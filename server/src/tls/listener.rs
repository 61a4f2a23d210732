//! A listener whose connections have shaken hands.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connections::{Connection, Guarded};

/// Longest handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections that have shaken hands and wait to be taken.
const READY: usize = 64;

type Accepted = (TlsStream<Connection>, SocketAddr);

/// Accepts, and shakes hands with many at a time.
#[derive(Debug)]
pub(crate) struct TlsListener {
    ready: mpsc::Receiver<Accepted>,
    address: SocketAddr,
}

impl TlsListener {
    /// Begins to accept on the terms of the moment, until `stop` is cancelled.
    pub(crate) fn start(
        mut listener: Guarded,
        config: impl Fn() -> Option<Arc<ServerConfig>> + Send + 'static,
        (tasks, stop): (&TaskTracker, CancellationToken),
    ) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(READY);
        let handshakes = tasks.clone();
        tasks.spawn(async move {
            loop {
                let (stream, peer) = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let Some(config) = config() else {
                    continue;
                };
                let (acceptor, sender) = (TlsAcceptor::from(config), sender.clone());
                let stop = stop.clone();
                handshakes.spawn(async move {
                    let shaken = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream));
                    let shaken = tokio::select! {
                        () = stop.cancelled() => return,
                        shaken = shaken => shaken,
                    };
                    match shaken {
                        // Nobody takes it: the server stops.
                        Ok(Ok(stream)) => drop(sender.send((stream, peer)).await),
                        Ok(Err(error)) => tracing::debug!(%error, %peer, "no TLS"),
                        Err(_) => tracing::debug!(%peer, "a handshake that did not end"),
                    }
                });
            }
        });
        Ok(Self { ready, address })
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<Connection>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Accepted {
        match self.ready.recv().await {
            Some(accepted) => accepted,
            // Stopped: there are no more.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// The certificates that a client showed, its own first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer(pub(crate) Arc<[CertificateDer<'static>]>);

impl Connected<IncomingStream<'_, TlsListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        let shown = stream.io().get_ref().1.peer_certificates();
        Self(shown.unwrap_or_default().iter().cloned().collect())
    }
}
