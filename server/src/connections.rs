//! Connections of the listeners: how many there are, and how they end at a stop.
//!
//! Invariants: a listener holds at most [`CONNECTIONS_MAX`] connections, the others wait in the
//! kernel; after a stop, requests in flight are answered, and what does not end by itself is cut,
//! so that no client can hold up the writers.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::request_line::RequestLine;

/// Most connections of one listener: eight times Prometheus' default, because here agents hold
/// connections too. Each takes a file descriptor, which the stores need as well.
const CONNECTIONS_MAX: usize = 4096;

/// Bytes of a connection's first line that are read together.
const LINE_BYTES: usize = 2048;

/// A listener whose connections are counted and can be cut.
#[derive(Debug)]
pub(crate) struct Guarded {
    listener: TcpListener,
    is_encrypted: bool,
    places: Arc<Semaphore>,
    cut: CancellationToken,
}

impl Guarded {
    /// Guards a listener; `cut` ends all its connections at once.
    pub(crate) fn new(listener: TcpListener, cut: CancellationToken) -> Self {
        Self::with_places(listener, cut, CONNECTIONS_MAX)
    }

    fn with_places(listener: TcpListener, cut: CancellationToken, places: usize) -> Self {
        let places = Arc::new(Semaphore::new(places));
        Self {
            listener,
            is_encrypted: false,
            places,
            cut,
        }
    }

    /// The same for connections that are encrypted: their bytes are not looked at.
    pub(crate) fn encrypted(self) -> Self {
        Self {
            is_encrypted: true,
            ..self
        }
    }
}

impl Listener for Guarded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.expect("the semaphore is never closed");
        let (stream, address) = Listener::accept(&mut self.listener).await;
        // Answers are short and must not wait for the client's delayed acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, %address, "a connection without TCP_NODELAY");
        }
        let connection = Connection {
            stream,
            cut: Box::pin(self.cut.clone().cancelled_owned()),
            line: match self.is_encrypted {
                true => RequestLine::none(),
                false => RequestLine::default(),
            },
            _place: place,
        };
        (connection, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    line: RequestLine,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// Is an error once the connections are cut; else wakes the task when they are.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the server has stopped",
            )),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        let Self { stream, line, .. } = &mut *self;
        if line.is_over() {
            return Pin::new(stream).poll_read(context, buffer);
        }
        if line.rest().is_empty() {
            let mut bytes = [0; LINE_BYTES];
            let mut piece = ReadBuf::new(&mut bytes);
            std::task::ready!(Pin::new(stream).poll_read(context, &mut piece))?;
            line.take(piece.filled());
        }
        let count = line.rest().len().min(buffer.remaining());
        buffer.put_slice(&line.rest()[..count]);
        line.give(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::extract::RawQuery;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;
    use tokio::task::JoinSet;

    use super::*;

    struct Rig {
        address: SocketAddr,
        stop: CancellationToken,
        cut: CancellationToken,
        /// Told when a request has begun; its answer waits for the other one.
        begun: Arc<Notify>,
        finish: Arc<Notify>,
        server: JoinSet<()>,
    }

    async fn start(places: usize) -> Rig {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, cut) = (CancellationToken::new(), CancellationToken::new());
        let (begun, finish) = (Arc::<Notify>::default(), Arc::<Notify>::default());
        let (told, awaited) = (Arc::clone(&begun), Arc::clone(&finish));
        let slow = async move || {
            told.notify_one();
            awaited.notified().await;
            "done"
        };
        let echo = async |RawQuery(query): RawQuery| query.unwrap_or_default();
        let routes = Router::new()
            .route("/slow", get(slow))
            .route("/echo", get(echo));
        let guarded = Guarded::with_places(listener, cut.clone(), places);
        let stopped = stop.clone().cancelled_owned();
        let mut server = JoinSet::new();
        server.spawn(async move {
            let served = axum::serve(guarded, routes).with_graceful_shutdown(stopped);
            served.await.expect("served");
        });
        Rig {
            address,
            stop,
            cut,
            begun,
            finish,
            server,
        }
    }

    async fn send(rig: &Rig, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(rig.address).await.expect("connected");
        stream.write_all(text.as_bytes()).await.expect("sent");
        stream
    }

    const SLOW: &str = "GET /slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

    #[tokio::test]
    async fn requests_in_flight_are_answered_and_the_rest_is_cut() {
        let mut rig = start(10).await;
        // Half a request, for ever.
        let mut half = send(&rig, "GET /sl").await;
        let mut whole = send(&rig, SLOW).await;
        rig.begun.notified().await;
        rig.stop.cancel();
        rig.finish.notify_one();
        let mut answer = String::new();
        whole.read_to_string(&mut answer).await.expect("answered");
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"),
            "{answer}"
        );
        rig.cut.cancel();
        rig.server
            .join_next()
            .await
            .expect("a task")
            .expect("no panic");
        let mut rest = Vec::new();
        // An end or a reset: either way nothing more comes.
        drop(half.read_to_end(&mut rest).await);
        assert_eq!(rest, b"");
    }

    #[tokio::test]
    async fn bare_quotes_in_an_address_are_taken() {
        let rig = start(1).await;
        let long = "x".repeat(5000);
        let text =
            format!("GET /echo?a=\"{long}\"<b> HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let mut answer = String::new();
        let mut stream = send(&rig, &text).await;
        stream.read_to_string(&mut answer).await.expect("answered");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(
            answer.ends_with(&format!("a=%22{long}%22%3Cb%3E")),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn connections_are_bounded() {
        let rig = start(1).await;
        let mut first = send(&rig, SLOW).await;
        rig.begun.notified().await;
        // Connected by the kernel, but not served while the first one has the only place.
        let mut second = send(&rig, SLOW).await;
        rig.finish.notify_one();
        let mut answer = String::new();
        first.read_to_string(&mut answer).await.expect("answered");
        assert!(answer.ends_with("done"), "{answer}");
        rig.begun.notified().await;
        rig.finish.notify_one();
        answer.clear();
        second.read_to_string(&mut answer).await.expect("answered");
        assert!(answer.ends_with("done"), "{answer}");
    }
}
