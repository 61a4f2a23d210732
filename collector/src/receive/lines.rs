//! Syslog and GELF over TCP and TLS: messages cut out of a stream.
//!
//! Invariants: nothing more is read while what was read is not stored, so that a full queue slows
//! the sender down; the messages that a connection holds are bounded, and count among the bytes of
//! all bodies in flight.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use obs_model::limits::Limits;
use obs_model::{LogBatch, Timestamp};
use obs_wire::event::{Context, Mapping};
use obs_wire::gelf;
use obs_wire::syslog::frame::{Frame, Framer};
use obs_wire::syslog::{self, Civil};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsAcceptor;

use super::Receiver;
use super::sockets::{HANDSHAKE, IDLE, Speech, Way};
use crate::clock;
use crate::metrics::Door;
use crate::sink::SinkError;

/// Bytes that are read at first, and at most, at one time.
const READ_BYTES: (usize, usize) = (4 << 10, 256 << 10);
/// A connection may hold so much of a message without asking.
pub(super) const FREE_BYTES: usize = 64 << 10;
/// Pauses after the sink refused.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

impl Speech {
    pub(super) fn door(&self) -> Door {
        match self {
            Self::Syslog(_) => Door::Syslog,
            Self::Gelf => Door::Gelf,
        }
    }

    /// Longest message: a line and what is around it.
    pub(super) fn bytes_max(&self, limits: &Limits) -> usize {
        limits.line_bytes_max.saturating_add(64 << 10)
    }

    fn framer(&self, limits: &Limits) -> Framer {
        match self {
            Self::Syslog(_) => Framer::syslog(self.bytes_max(limits)),
            Self::Gelf => Framer::nul(self.bytes_max(limits)),
        }
    }

    /// Messages as records; also how many were none.
    pub(super) fn decode(
        &self,
        messages: &[Heard],
        now: Timestamp,
        limits: &Limits,
    ) -> (LogBatch, u64) {
        match self {
            Self::Syslog(zone) => {
                let zone = |civil: Civil| in_zone(zone, civil);
                let mut all = syslog::Messages::new(syslog::Context {
                    now,
                    zone: &zone,
                    limits,
                });
                for heard in messages {
                    all.add(&heard.bytes, &heard.peer);
                }
                (all.into_batch(), 0)
            }
            Self::Gelf => {
                let mapping = Mapping::default();
                let mut all = gelf::Messages::new(Context {
                    mapping: &mapping,
                    now,
                    limits,
                });
                for heard in messages {
                    all.add(&heard.bytes);
                }
                let decoded = all.into_decoded();
                (decoded.batch, decoded.rejected)
            }
        }
    }
}

/// A message and who sent it.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) bytes: Vec<u8>,
    pub(super) peer: Arc<str>,
}

/// The point in time of a time without a zone; of those that a clock change makes twice, the first.
fn in_zone(zone: &TimeZone, civil: Civil) -> Option<Timestamp> {
    let part = |number: i64| i8::try_from(number).ok();
    let (hour, rest) = (civil.second / 3600, civil.second % 3600);
    let date = DateTime::new(
        i16::try_from(civil.year).ok()?,
        part(civil.month)?,
        part(civil.day)?,
        part(hour)?,
        part(rest / 60)?,
        // A leap second is told as the one before it.
        part((rest % 60).min(59))?,
        i32::try_from(civil.nanos).ok()?,
    );
    let time = zone.to_timestamp(date.ok()?).ok()?;
    i64::try_from(time.as_nanosecond())
        .ok()
        .map(Timestamp::from_nanos)
}

/// One connection, to its end.
pub(super) async fn connection(
    stream: TcpStream,
    peer: IpAddr,
    tls: Option<TlsAcceptor>,
    speech: Speech,
    way: Way,
) {
    let Some(tls) = tls else {
        return listen(stream, peer, speech, way).await;
    };
    match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
        Ok(Ok(stream)) => listen(stream, peer, speech, way).await,
        Ok(Err(error)) => tracing::debug!(%error, %peer, "no TLS handshake"),
        Err(_) => tracing::debug!(%peer, "the TLS handshake took too long"),
    }
}

async fn listen(mut stream: impl AsyncRead + Unpin, peer: IpAddr, speech: Speech, way: Way) {
    let peer: Arc<str> = peer.to_string().into();
    let limits = way.receiver.limits;
    let mut framer = speech.framer(&limits);
    let mut buffer = vec![0; READ_BYTES.0];
    let mut share: Option<OwnedSemaphorePermit> = None;
    loop {
        let read = tokio::select! {
            () = way.stop.cancelled() => break,
            read = tokio::time::timeout(IDLE, stream.read(&mut buffer)) => read,
        };
        let count = match read {
            Ok(Ok(count)) if count > 0 => count,
            Ok(Ok(_) | Err(_)) | Err(_) => break,
        };
        framer.push(&buffer[..count]);
        let mut heard = Vec::new();
        let mut too_long = 0;
        while let Some(frame) = framer.next_frame() {
            note(frame, &peer, &mut heard, &mut too_long);
        }
        way.receiver.counters.lines_refused(speech.door(), too_long);
        keep(heard, count, &speech, &way).await;
        if count == buffer.len() && buffer.len() < READ_BYTES.1 {
            buffer.resize(buffer.len() * 2, 0);
        }
        if framer.held() <= FREE_BYTES {
            share = None;
        } else if !grown(&mut share, framer.held(), &way.receiver) {
            tracing::warn!(%peer, "a connection was closed: too many bytes are in flight");
            way.receiver.counters.lines_refused(speech.door(), 1);
            return;
        }
    }
    let mut heard = Vec::new();
    if let Some(frame) = framer.rest() {
        note(frame, &peer, &mut heard, &mut 0);
    }
    keep(heard, 0, &speech, &way).await;
}

fn note(frame: Frame, peer: &Arc<str>, heard: &mut Vec<Heard>, too_long: &mut u64) {
    match frame {
        Frame::Message(bytes) => heard.push(Heard {
            bytes,
            peer: Arc::clone(peer),
        }),
        Frame::TooLong => *too_long += 1,
    }
}

/// Takes a share of the memory for bodies in flight for what is held.
pub(super) fn grown(
    share: &mut Option<OwnedSemaphorePermit>,
    held: usize,
    receiver: &Receiver,
) -> bool {
    let has = share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
    let missing = held.div_ceil(1024).saturating_sub(has);
    if missing == 0 {
        return true;
    }
    match receiver.share(missing) {
        Ok(more) => {
            match share {
                Some(share) => share.merge(more),
                None => *share = Some(more),
            }
            true
        }
        Err(_) => false,
    }
}

/// Stores messages whose sender is told nothing: waits while the sink has no room, until the stop.
pub(super) async fn keep(heard: Vec<Heard>, bytes: usize, speech: &Speech, way: &Way) {
    if heard.is_empty() {
        return;
    }
    let (door, counters) = (speech.door(), &way.receiver.counters);
    let (heard, now) = (Arc::new(heard), clock::now());
    let mut pause = BACKOFF.0;
    loop {
        let (again, speech, limits) = (Arc::clone(&heard), speech.clone(), way.receiver.limits);
        let work = move || speech.decode(&again, now, &limits);
        let decoded = way.receiver.decoder.run(bytes, work).await;
        let Ok((batch, refused)) = decoded else {
            counters.request(door, bytes, true);
            counters.lines_refused(door, heard.len() as u64);
            return;
        };
        let outcome = if batch.streams.is_empty() {
            Ok(crate::sink::Accepted::default())
        } else {
            way.receiver.sink.logs(way.tenant.clone(), batch).await
        };
        match outcome {
            Ok(accepted) => {
                counters.request(door, bytes, false);
                counters.lines_refused(door, refused + accepted.refused);
                if accepted.refused > 0 {
                    let (refused, reason) = (accepted.refused, accepted.reason);
                    tracing::warn!(refused, reason, "lines were refused");
                }
                return;
            }
            Err(SinkError::Refused { reason }) => {
                tracing::warn!(reason, lines = heard.len(), "lines were refused");
                counters.request(door, bytes, true);
                counters.lines_refused(door, heard.len() as u64);
                return;
            }
            Err(error) => {
                tracing::debug!(%error, "lines wait");
                let waited = tokio::select! {
                    () = way.stop.cancelled() => false,
                    () = tokio::time::sleep(pause) => true,
                };
                if !waited {
                    counters.request(door, bytes, true);
                    counters.lines_refused(door, heard.len() as u64);
                    return;
                }
                pause = (pause * 2).min(BACKOFF.1);
            }
        }
    }
}
