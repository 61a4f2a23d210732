//! Watches: what objects there are, and what becomes of them, as one stream of events.
//!
//! How: a list, by pages or as the first events of a watch (`sendInitialEvents`, where the server
//! has it), then a watch from the list's resource version on, opened again whenever it ends. A
//! resource version that the server forgot (410 Gone) means a new list; until it is complete
//! whoever listens keeps what it has.
//!
//! Invariants: after [`Event::Ready`] the objects put since the last [`Event::Start`] are all there
//! are; a watch never asks twice without a pause in between that grows with every failure; a
//! connection that fell silent is given up; an object that cannot be read is skipped, never ends
//! the watch.

mod lines;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use kube::client::Body;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::client::{Client, malformed};
use crate::clock;
use crate::error::Error;
use crate::metrics::WatchCounters;
use crate::object::{Key, or_default};
use crate::resource::Query;
use lines::Lines;

/// Objects of one page of a list: small enough that a page of pods is about 2 MB.
const PAGE_OBJECTS: &str = "250";
/// How long the server is asked to keep a watch open, in seconds; it varies by chance, so that
/// watches that began together do not end together.
const WATCH_SECONDS: f64 = 240.0;
/// How much longer than that is waited before the connection counts as dead.
const WATCH_GRACE: Duration = Duration::from_secs(30);
/// How long a server that sends bookmarks, which it does about every minute, may say nothing before
/// the connection counts as half open. The next one goes on where this one was, so that a server
/// which only had nothing to say loses nothing by it.
const SILENCE_MAX: Duration = Duration::from_secs(150);
/// How long initial events may take to come at all before the list is asked for by pages.
const INITIAL_DEADLINE: Duration = Duration::from_secs(15);
/// First pause after a failure.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
/// Longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A watch that lived this long was a good one: pauses start anew.
const GOOD_LIFE: Duration = Duration::from_secs(10);
/// The annotation of the bookmark that ends the initial events.
const INITIAL_END: &str = "k8s.io/initial-events-end";

/// What happened to the objects that are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<T> {
    /// A list begins. It may begin again before it is complete.
    Start,
    /// An object is there, new or changed.
    Put(Key, T),
    /// An object is gone.
    Gone(Key),
    /// The list is complete: what was not put since [`Event::Start`] is gone.
    Ready,
}

/// A watch of the objects of one query.
#[derive(Clone, Debug)]
pub struct Watch {
    client: Client,
    query: Query,
    counters: Arc<WatchCounters>,
    /// Whether initial events are asked for, until the server says that it has none.
    streaming: bool,
    /// Whether lists may be as old as what the server has in memory.
    cached: bool,
    silence_max: Duration,
}

/// Why a watch is over.
enum End {
    /// The server closed it, as it does after a while.
    Closed,
    /// The list must be asked for again.
    Expired,
    /// The server has no initial events.
    NoInitial,
    /// Nobody listens any more.
    Unheard,
    Failed(Error),
}

impl From<Unheard> for End {
    fn from(_: Unheard) -> Self {
        Self::Unheard
    }
}

/// Nobody listens any more.
struct Unheard;

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(default)]
    metadata: PageMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PageMeta {
    #[serde(deserialize_with = "or_default")]
    resource_version: String,
    #[serde(rename = "continue", deserialize_with = "or_default")]
    next: String,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Default, Deserialize)]
struct Head<'a> {
    #[serde(borrow, default)]
    metadata: HeadMeta<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct HeadMeta<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    namespace: Cow<'a, str>,
    #[serde(borrow)]
    resource_version: Cow<'a, str>,
}

/// A bookmark's metadata, which has the mark of the end of the initial events.
#[derive(Default, Deserialize)]
struct Bookmark {
    #[serde(default)]
    metadata: crate::object::Meta,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Fault {
    code: u16,
    reason: String,
    message: String,
}

/// Where a watch listens to and where its events go.
struct Out<'a, T, U, W: Fn(Event<T>) -> U> {
    sender: &'a mpsc::Sender<U>,
    wrap: &'a W,
    counters: &'a WatchCounters,
    resource: &'a Query,
    kind: std::marker::PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned, U, W: Fn(Event<T>) -> U> Out<'_, T, U, W> {
    async fn send(&self, event: Event<T>) -> Result<(), Unheard> {
        let sent = self.sender.send((self.wrap)(event)).await;
        sent.map_err(|_| Unheard)
    }

    /// Sends an object on, where it can be read.
    async fn put(&self, object: &RawValue) -> Result<(), Unheard> {
        let head: Result<Head<'_>, _> = serde_json::from_str(object.get());
        let read = head.and_then(|head| {
            let key = Key::new(&head.metadata.namespace, &head.metadata.name);
            serde_json::from_str::<T>(object.get()).map(|object| (key, object))
        });
        match read {
            Ok((key, object)) => self.send(Event::Put(key, object)).await,
            Err(error) => {
                self.counters.refused_object();
                let resource = &self.resource.resource;
                tracing::warn!(%resource, %error, "object skipped that is not what it should be");
                Ok(())
            }
        }
    }
}

impl Watch {
    /// A watch that counts what it does.
    pub fn new(client: Client, query: Query, counters: Arc<WatchCounters>) -> Self {
        Self {
            client,
            query,
            counters,
            streaming: true,
            cached: false,
            silence_max: SILENCE_MAX,
        }
    }

    /// How long a server that sends bookmarks may say nothing.
    pub fn silence_max(mut self, most: Duration) -> Self {
        self.silence_max = most;
        self
    }

    /// Asks for lists by pages and never for initial events.
    pub fn by_pages(mut self) -> Self {
        self.streaming = false;
        self
    }

    /// Takes lists from the server's memory, which costs it less and may be a little old.
    pub fn from_cache(mut self) -> Self {
        self.cached = true;
        self
    }

    /// Watches until the token is cancelled or nobody listens. `wrap` makes of an event what the
    /// channel carries, so that several watches can share one.
    pub async fn run<T, U, W>(self, out: mpsc::Sender<U>, wrap: W, stop: CancellationToken)
    where
        T: DeserializeOwned,
        W: Fn(Event<T>) -> U,
    {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.follow_for_ever(&out, &wrap) => {}
        }
    }

    async fn follow_for_ever<T, U, W>(mut self, sender: &mpsc::Sender<U>, wrap: &W)
    where
        T: DeserializeOwned,
        W: Fn(Event<T>) -> U,
    {
        let (counters, query) = (Arc::clone(&self.counters), self.query.clone());
        let out = Out {
            sender,
            wrap,
            counters: &counters,
            resource: &query,
            kind: std::marker::PhantomData,
        };
        let mut version = None;
        let mut pause = PAUSE_FIRST;
        loop {
            let began = Instant::now();
            let end = match version {
                None if !self.streaming => match self.list(&mut version, &out).await {
                    Ok(()) => self.watch(&mut version, &out).await,
                    Err(end) => end,
                },
                _ => self.watch(&mut version, &out).await,
            };
            let lived = began.elapsed();
            if lived >= GOOD_LIFE {
                pause = PAUSE_FIRST;
            }
            let mut wait = clock::spread(pause, None);
            match end {
                End::Unheard => return,
                End::Closed if lived >= GOOD_LIFE => continue,
                End::Closed => {}
                End::NoInitial => {
                    self.streaming = false;
                    version = None;
                    continue;
                }
                End::Expired => {
                    counters.expired();
                    version = None;
                }
                End::Failed(error) => {
                    let resource = &query.resource;
                    match error.status() {
                        // A cluster without such a resource is not a fault.
                        Some(404) => tracing::debug!(%resource, %error, "nothing to watch yet"),
                        _ => tracing::warn!(%resource, %error, "watch failed, is tried again"),
                    }
                    wait = clock::spread(pause, Some(&error));
                }
            }
            pause = (pause * 2).min(PAUSE_MAX);
            tokio::time::sleep(wait).await;
        }
    }

    /// Lists all objects by pages.
    async fn list<T, U, W>(
        &self,
        version: &mut Option<String>,
        out: &Out<'_, T, U, W>,
    ) -> Result<(), End>
    where
        T: DeserializeOwned,
        W: Fn(Event<T>) -> U,
    {
        out.send(Event::Start).await?;
        let mut next = String::new();
        loop {
            let any = if self.cached && next.is_empty() {
                "0"
            } else {
                ""
            };
            let parameters = [
                ("limit", PAGE_OBJECTS),
                ("continue", next.as_str()),
                ("resourceVersion", any),
            ];
            let page = match self.client.page(&self.query, &parameters).await {
                Ok(page) => page,
                Err(error) => {
                    out.counters.list_failed();
                    return Err(match error {
                        Error::Expired { .. } => End::Expired,
                        error => End::Failed(error),
                    });
                }
            };
            let parsed: Result<Page<'_>, _> = serde_json::from_slice(&page);
            let page = match parsed {
                Ok(page) => page,
                Err(error) => {
                    out.counters.list_failed();
                    return Err(End::Failed(malformed(&self.query.path(), &error)));
                }
            };
            for object in page.items.unwrap_or_default() {
                out.put(object).await?;
            }
            if page.metadata.next.is_empty() {
                *version = Some(page.metadata.resource_version);
                break;
            }
            next = page.metadata.next;
        }
        out.counters.listed();
        out.send(Event::Ready).await?;
        Ok(())
    }

    /// Watches once. Without a version it begins with the initial events.
    async fn watch<T, U, W>(&self, version: &mut Option<String>, out: &Out<'_, T, U, W>) -> End
    where
        T: DeserializeOwned,
        W: Fn(Event<T>) -> U,
    {
        let seconds = WATCH_SECONDS * (1.0 + clock::chance());
        let life = Duration::from_secs_f64(seconds) + WATCH_GRACE;
        let seconds = format!("{seconds:.0}");
        let mut parameters = vec![
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", seconds.as_str()),
        ];
        match version.as_deref() {
            Some(version) => parameters.push(("resourceVersion", version)),
            None => parameters.extend([
                ("sendInitialEvents", "true"),
                ("resourceVersionMatch", "NotOlderThan"),
            ]),
        }
        let response = match self.client.watch(&self.query, &parameters).await {
            Ok(response) => response,
            Err(error) => {
                out.counters.watch_failed();
                return match error {
                    Error::Expired { .. } => End::Expired,
                    Error::Refused {
                        status: 400 | 422, ..
                    } if version.is_none() => End::NoInitial,
                    error => End::Failed(error),
                };
            }
        };
        out.counters.watched();
        let mut following = Following {
            path: self.query.path(),
            lines: Lines::default(),
            version,
            deadline: Instant::now() + life,
            bookmarked: false,
        };
        let silence_max = self.silence_max;
        match following.run(response.into_body(), silence_max, out).await {
            Ok(end) | Err(end) => {
                if matches!(end, End::Failed(_)) {
                    out.counters.watch_failed();
                }
                end
            }
        }
    }
}

/// A watch that is open.
struct Following<'a> {
    path: String,
    lines: Lines,
    /// `None` as long as initial events come.
    version: &'a mut Option<String>,
    deadline: Instant,
    /// A bookmark said that the server sends them.
    bookmarked: bool,
}

impl Following<'_> {
    async fn run<T, U, W>(
        &mut self,
        mut body: Body,
        silence_max: Duration,
        out: &Out<'_, T, U, W>,
    ) -> Result<End, End>
    where
        T: DeserializeOwned,
        W: Fn(Event<T>) -> U,
    {
        if self.version.is_none() {
            out.send(Event::Start).await?;
        }
        loop {
            let silence = match self.version {
                // A server that does not know initial events never says that they are over.
                None => (Instant::now() + INITIAL_DEADLINE).min(self.deadline),
                Some(_) if self.bookmarked => (Instant::now() + silence_max).min(self.deadline),
                Some(_) => self.deadline,
            };
            let frame = match timeout_at(silence, body.frame()).await {
                Ok(frame) => frame,
                Err(_) if self.version.is_none() => return Ok(End::NoInitial),
                Err(_) => return Ok(End::Closed),
            };
            let frame = match frame {
                None => return Ok(self.closed()),
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    return Err(End::Failed(Error::Unreachable {
                        path: self.path.clone(),
                        fault: format!("watch broke off: {error}"),
                    }));
                }
            };
            if let Ok(data) = frame.into_data() {
                self.lines.push(&data);
                self.take_lines(out).await?;
            }
        }
    }

    /// A stream that ends before the initial events are over says nothing about what there is.
    fn closed(&self) -> End {
        match self.version {
            Some(_) => End::Closed,
            None => End::Failed(Error::Unreachable {
                path: self.path.clone(),
                fault: "watch ended before its initial events did".to_owned(),
            }),
        }
    }

    async fn take_lines<T, U, W>(&mut self, out: &Out<'_, T, U, W>) -> Result<(), End>
    where
        T: DeserializeOwned,
        W: Fn(Event<T>) -> U,
    {
        let mut lines = std::mem::take(&mut self.lines);
        while let Some(line) = lines.next() {
            if !line.is_empty() {
                self.take(line, out).await?;
            }
        }
        if lines.is_too_long() {
            return Err(End::Failed(Error::TooLarge {
                path: self.path.clone(),
                limit: lines::LINE_BYTES_MAX,
            }));
        }
        self.lines = lines;
        Ok(())
    }

    /// One event of the server.
    async fn take<T, U, W>(&mut self, line: &[u8], out: &Out<'_, T, U, W>) -> Result<(), End>
    where
        T: DeserializeOwned,
        W: Fn(Event<T>) -> U,
    {
        let fault = |error| End::Failed(malformed(&self.path, &error));
        let line: Line<'_> = serde_json::from_slice(line).map_err(fault)?;
        if line.kind == "ERROR" {
            let fault: Fault = serde_json::from_str(line.object.get()).map_err(fault)?;
            return Err(self.fault(fault));
        }
        let head: Head<'_> = serde_json::from_str(line.object.get()).map_err(fault)?;
        match &*line.kind {
            "ADDED" | "MODIFIED" => out.put(line.object).await?,
            "DELETED" => {
                let key = Key::new(&head.metadata.namespace, &head.metadata.name);
                out.send(Event::Gone(key)).await?;
            }
            "BOOKMARK" if self.version.is_none() => {
                let bookmark: Bookmark = serde_json::from_str(line.object.get()).map_err(fault)?;
                if bookmark.metadata.annotations.get(INITIAL_END) != Some("true") {
                    return Ok(());
                }
                out.counters.listed();
                *self.version = Some(head.metadata.resource_version.into_owned());
                out.send(Event::Ready).await?;
                return Ok(());
            }
            "BOOKMARK" => self.bookmarked = true,
            // A kind of event of the future.
            _ => {}
        }
        out.counters.event(clock::now());
        // Until the initial events are over their versions say nothing about what is still to come.
        if let Some(version) = self
            .version
            .as_mut()
            .filter(|_| !head.metadata.resource_version.is_empty())
        {
            *version = head.metadata.resource_version.into_owned();
        }
        Ok(())
    }

    fn fault(&self, fault: Fault) -> End {
        if fault.code == 410 || matches!(fault.reason.as_str(), "Gone" | "Expired") {
            return End::Expired;
        }
        End::Failed(Error::Refused {
            path: self.path.clone(),
            status: fault.code,
            reason: fault.reason,
            message: fault.message,
            retry_after: None,
        })
    }
}
