//! `tail`: lines as they arrive, over a WebSocket.
//!
//! First the newest lines since `start`, then what the writer stores, whatever its times are. What
//! is stored while the past is read would be told twice, so it is told once.
//! Invariants: a tail follows before it reads the past, so that nothing falls between; a client
//! that does not take frames loses lines and is told which; the tail ends when the client goes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use obs_collector::{ErrorKind, HttpError};
use obs_logstore::Logs;
use obs_model::{Labels, LogRecord, TimeRange, Timestamp};
use obs_query::logql::ast::LogExpr;
use obs_query::logs::LogPlan;
use obs_query::logs::live::Sieve;
use obs_query::logs::tenants::{grouped, of_tenant, with_tenant};
use obs_query::{Direction, QueryError};
use obs_storage::Kind;
use obs_wire::loki::api::{self as write, Dropped, LabelEncoding};

use super::query::{encoding, page};
use super::{Askers, Checked, HOUR, Result, as_loki, check_lines, log_query, time};
use crate::api::Told;
use crate::app::{App, query_error};
use crate::clock;
use crate::params::Params;
use crate::tails::{Stored, TAILS_MAX, Tail};

/// Lines of the past without a `limit`, as Loki.
const LINES_DEFAULT: usize = 100;
/// Lines in one frame.
const FRAME_LINES_MAX: usize = 1000;
/// Longest `delay_for`, in seconds, as Loki.
const DELAY_MAX: usize = 5;
/// How long lines are gathered for one frame.
const GATHER: Duration = Duration::from_millis(50);
/// How often a quiet client is asked whether it is there.
const PING: Duration = Duration::from_secs(15);
/// A client that takes no frame for so long is gone.
const SEND_DEADLINE: Duration = Duration::from_secs(30);
/// Bytes that the reason of a close frame may have.
const REASON_BYTES_MAX: usize = 123;
/// Bytes of lines that are held for `delay_for`.
const HELD_BYTES_MAX: usize = 16 << 20;

/// A line on its way to the client.
type Line = (LogRecord, Labels, Labels);

/// What a client asked for.
struct Asked {
    logs: LogExpr,
    start: Timestamp,
    limit: usize,
    delay: Duration,
    encoding: LabelEncoding,
}

fn asked(app: &App, headers: &HeaderMap, params: &Params) -> Checked<Asked> {
    let refused = "a tail follows lines: metric queries are not supported, expected a log query";
    let logs = log_query(app, params, refused)?;
    let delay = params.count("delay_for")?.unwrap_or(0);
    if delay > DELAY_MAX {
        let message = format!("delay_for can't be greater than {DELAY_MAX}");
        return Err(HttpError::bad_data(message));
    }
    let since = params.duration("since")?.unwrap_or(HOUR);
    let start = time(params, "start")?;
    Ok(Asked {
        logs,
        start: start.unwrap_or_else(|| clock::now().saturating_sub(since)),
        limit: check_lines(app, params.count("limit")?.unwrap_or(LINES_DEFAULT))?,
        delay: Duration::from_secs(delay as u64),
        encoding: encoding(headers),
    })
}

pub(super) async fn tail(
    State(app): State<Arc<App>>,
    Told(askers): Told<Askers>,
    headers: HeaderMap,
    upgrade: std::result::Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    Told(params): Told<Params>,
) -> Result<Response> {
    let asked = asked(&app, &headers, &params)?;
    app.stores()?;
    let sieves = sieves(&asked.logs, &askers).map_err(|e| as_loki(query_error(&e)))?;
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return Ok(rejection.into_response()),
    };
    let tail = app.rules.tails.follow(&sieves).ok_or_else(|| {
        let message =
            format!("max concurrent tail requests limit exceeded, count > limit ({TAILS_MAX})");
        HttpError::new(ErrorKind::TooMany, message)
    })?;
    let following = Following {
        tail,
        several: askers.several(),
        sieves,
        asked,
    };
    Ok(upgrade.on_upgrade(move |socket| following.run(app, askers, socket)))
}

/// The query as it is for each tenant that it means.
fn sieves(
    logs: &LogExpr,
    askers: &Askers,
) -> std::result::Result<Vec<(obs_model::Tenant, Arc<Sieve>)>, QueryError> {
    let mut sieves = Vec::new();
    for tenant in &askers.0 {
        let matchers = match askers.several() {
            true => of_tenant(&logs.matchers, tenant.as_str()),
            false => Some(logs.matchers.clone()),
        };
        if let Some(mut matchers) = matchers {
            matchers.extend(tenant.matchers().iter().cloned());
            let own = LogExpr {
                matchers,
                stages: logs.stages.clone(),
            };
            sieves.push((
                tenant.tenant().clone(),
                Arc::new(Sieve::new(&own, clock::now())?),
            ));
        }
    }
    Ok(sieves)
}

struct Following {
    tail: Tail,
    several: bool,
    sieves: Vec<(obs_model::Tenant, Arc<Sieve>)>,
    asked: Asked,
}

/// The client left, or does not take what it is sent.
struct Gone;

impl Following {
    async fn run(mut self, app: Arc<App>, askers: Askers, mut socket: WebSocket) {
        let past = self.past(&app, &askers).await;
        // The tail must not keep the server from ending.
        drop((app, askers));
        match past {
            Ok(past) => {
                if self.live(past, &mut socket).await.is_err() {
                    tracing::debug!(store = Logs::NAME, "the client of a tail left");
                }
            }
            Err(error) => {
                let (end, _) = error
                    .message
                    .split_at(error.message.floor_char_boundary(REASON_BYTES_MAX));
                let frame = CloseFrame {
                    code: close_code::ERROR,
                    reason: end.into(),
                };
                drop(deliver(Message::Close(Some(frame)), &mut socket).await);
            }
        }
    }

    /// The newest lines that are there already, oldest first.
    async fn past(&self, app: &App, askers: &Askers) -> Checked<Vec<Line>> {
        if self.asked.limit == 0 {
            return Ok(Vec::new());
        }
        let logs = askers.logs(app)?;
        let plan = LogPlan {
            logs: self.asked.logs.clone(),
            range: TimeRange::new(self.asked.start, Timestamp::MAX),
            limit: self.asked.limit,
            direction: Direction::Backward,
            now: clock::now(),
        };
        let several = self.several;
        let read = move |budget: &obs_model::Budget, _: &rayon::ThreadPool| {
            page(&logs, &plan, several, budget)
        };
        let found = app.read_for(&askers.first(), None, read).await?;
        let lines = found.into_iter().flat_map(|lines| {
            let labels = lines.stream.labels;
            let records = lines.stream.records.into_iter().zip(lines.parsed);
            records.map(move |(record, parsed)| (record, labels.clone(), parsed))
        });
        let mut lines: Vec<Line> = lines.collect();
        // They come newest first; among equal times too.
        lines.reverse();
        lines.sort_by_key(|(record, ..)| record.time);
        Ok(lines)
    }

    async fn live(
        &mut self,
        past: Vec<Line>,
        socket: &mut WebSocket,
    ) -> std::result::Result<(), Gone> {
        let known: HashSet<(i64, Vec<u8>)> = past
            .iter()
            .map(|(record, ..)| (record.time.nanos(), record.line.clone()))
            .collect();
        // What was stored while the past was read stands in the queue already.
        let mut held: Vec<Line> = Vec::new();
        while let Some(stored) = self.tail.ready() {
            let mut lines = self.lines(&stored);
            lines.retain(|(r, ..)| !known.contains(&(r.time.nanos(), r.line.clone())));
            held.extend(lines);
        }
        drop(known);
        for chunk in past.chunks(FRAME_LINES_MAX) {
            self.send(chunk.to_vec(), socket).await?;
        }
        let mut ping = tokio::time::interval(PING);
        loop {
            let wait = self.asked.delay.max(GATHER);
            if !held.is_empty() {
                self.gather(&mut held, wait, socket).await?;
                held.sort_by_key(|(record, ..)| record.time);
                for chunk in std::mem::take(&mut held).chunks(FRAME_LINES_MAX) {
                    self.send(chunk.to_vec(), socket).await?;
                }
            }
            tokio::select! {
                stored = self.tail.next() => match stored {
                    Some(stored) => held = self.lines(&stored),
                    None => return Err(Gone),
                },
                message = socket.recv() => heard(message)?,
                _ = ping.tick() => deliver(Message::Ping(Vec::new().into()), socket).await?,
            }
        }
    }

    /// Takes what arrives while the first line waits.
    async fn gather(
        &mut self,
        held: &mut Vec<Line>,
        wait: Duration,
        socket: &mut WebSocket,
    ) -> std::result::Result<(), Gone> {
        let end = tokio::time::sleep(wait);
        tokio::pin!(end);
        let mut bytes = 0;
        while bytes < HELD_BYTES_MAX {
            tokio::select! {
                () = &mut end => return Ok(()),
                message = socket.recv() => heard(message)?,
                stored = self.tail.next() => match stored {
                    Some(stored) => {
                        let lines = self.lines(&stored);
                        bytes += lines.iter().map(|(r, ..)| r.line.len()).sum::<usize>();
                        held.extend(lines);
                    }
                    None => return Err(Gone),
                },
            }
        }
        Ok(())
    }

    /// The lines of a batch that the query gives.
    fn lines(&self, stored: &Stored) -> Vec<Line> {
        let sieve = self
            .sieves
            .iter()
            .find(|(tenant, _)| *tenant == stored.tenant);
        let Some((tenant, sieve)) = sieve else {
            return Vec::new();
        };
        let mut lines = Vec::new();
        for stream in stored
            .batch
            .streams
            .iter()
            .filter(|s| sieve.selects(&s.labels))
        {
            for sifted in stream
                .records
                .iter()
                .filter_map(|r| sieve.sift(&stream.labels, r))
            {
                let labels = match self.several {
                    true => with_tenant(&sifted.stream, tenant.as_str()),
                    false => sifted.stream,
                };
                lines.push((sifted.record, labels, sifted.parsed));
            }
        }
        lines
    }

    async fn send(
        &self,
        lines: Vec<Line>,
        socket: &mut WebSocket,
    ) -> std::result::Result<(), Gone> {
        let dropped: Vec<Dropped> = self.tail.dropped();
        let mut body = Vec::new();
        write::tail(&grouped(lines), &dropped, self.asked.encoding, &mut body);
        let text = String::from_utf8(body).map_err(|_| Gone)?;
        deliver(Message::Text(text.into()), socket).await
    }
}

async fn deliver(message: Message, socket: &mut WebSocket) -> std::result::Result<(), Gone> {
    match tokio::time::timeout(SEND_DEADLINE, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Gone),
    }
}

/// Clients say nothing but that they leave.
fn heard(
    message: Option<std::result::Result<Message, axum::Error>>,
) -> std::result::Result<(), Gone> {
    match message {
        None | Some(Err(_) | Ok(Message::Close(_))) => Err(Gone),
        Some(Ok(_)) => Ok(()),
    }
}
