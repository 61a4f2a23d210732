//! Syslog and GELF over UDP: a message in a datagram.
//!
//! Invariants: datagrams are taken from the kernel while earlier ones are being stored; those for
//! which there is no room are counted. What waits is bounded by its number and its bytes.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use obs_model::Timestamp;
use obs_wire::gelf::Chunks;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::clock;

use super::lines::{Heard, keep};
use super::sockets::{Speech, Way};

/// Largest datagram of UDP.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Datagrams that wait for those before them.
const WAITING_MAX: usize = 2048;
/// Bytes of those, in KiB.
const WAITING_KIB_MAX: usize = 32 << 10;
/// Pause after a fault of the socket.
const PAUSE: Duration = Duration::from_millis(10);
/// Most datagrams in one batch.
const BATCH_MAX: usize = 512;

/// Serves a socket until the stop.
pub(super) async fn serve(socket: UdpSocket, speech: Speech, way: Way) {
    let (sender, inbox) = mpsc::channel(WAITING_MAX);
    tokio::join!(
        hear(socket, sender, &speech, &way),
        store(inbox, &speech, &way)
    );
}

/// A datagram and its share of what may wait.
type Waiting = (Heard, tokio::sync::OwnedSemaphorePermit);

async fn hear(socket: UdpSocket, sender: mpsc::Sender<Waiting>, speech: &Speech, way: &Way) {
    let room = Arc::new(tokio::sync::Semaphore::new(WAITING_KIB_MAX));
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    let mut last: Option<(IpAddr, Arc<str>)> = None;
    loop {
        let received = tokio::select! {
            () = way.stop.cancelled() => return,
            received = socket.recv_from(&mut buffer) => received,
        };
        let (count, address) = match received {
            Ok(received) => received,
            Err(error) => {
                // An ICMP answer to nothing that was sent from here; the socket is as good as before.
                tracing::debug!(%error, "a datagram was not received");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let address = address.ip();
        let peer = match &last {
            Some((known, peer)) if *known == address => Arc::clone(peer),
            _ => {
                let peer: Arc<str> = address.to_string().into();
                last = Some((address, Arc::clone(&peer)));
                peer
            }
        };
        let kib = u32::try_from(count / 1024 + 1).unwrap_or(u32::MAX);
        let taken = Arc::clone(&room)
            .try_acquire_many_owned(kib)
            .ok()
            .and_then(|share| {
                let bytes = buffer[..count].to_vec();
                sender.try_send((Heard { bytes, peer }, share)).ok()
            });
        if taken.is_none() {
            way.receiver.counters.lines_refused(speech.door(), 1);
        }
    }
}

async fn store(mut inbox: mpsc::Receiver<Waiting>, speech: &Speech, way: &Way) {
    let (mut waiting, mut chunks) = (Vec::new(), Chunks::default());
    while inbox.recv_many(&mut waiting, BATCH_MAX).await > 0 {
        let (mut heard, shares): (Vec<Heard>, Vec<_>) = waiting.drain(..).unzip();
        if matches!(speech, Speech::Gelf) {
            let now = clock::now();
            heard = heard
                .into_iter()
                .filter_map(|one| whole(one, &mut chunks, now))
                .collect();
        }
        let bytes = heard.iter().map(|one| one.bytes.len()).sum();
        keep(heard, bytes, speech, way).await;
        drop(shares);
    }
}

/// A message that came whole, or that its last chunk makes whole.
fn whole(heard: Heard, chunks: &mut Chunks, now: Timestamp) -> Option<Heard> {
    let bytes = chunks.add(&heard.bytes, now)?.into_owned();
    Some(Heard { bytes, ..heard })
}
