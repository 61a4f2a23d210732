//! Watches: changes after a version, one JSON object a line.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body::Frame;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::list::{Filter, Shape};
use super::route::{Asked, Place, refuse, status};
use super::{Api, table};

/// A body of events that come through a channel.
#[derive(Debug)]
pub(super) struct Events(mpsc::Receiver<Result<Bytes, std::io::Error>>);

impl Events {
    /// A body that is over after this.
    pub(super) fn ended_by(last: Result<Bytes, std::io::Error>) -> Self {
        let (sender, receiver) = mpsc::channel(1);
        // There is room for one.
        drop(sender.try_send(last));
        Self(receiver)
    }
}

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.0
            .poll_recv(context)
            .map(|event| event.map(|event| event.map(Frame::data)))
    }
}

struct Watching {
    api: Arc<Api>,
    kind: usize,
    filter: Filter,
    shape: Shape,
    bookmarks: bool,
    version: u64,
    out: mpsc::Sender<Result<Bytes, std::io::Error>>,
}

/// The type of an event, and its object.
type Told = (&'static str, Arc<Value>);

/// Why a watch ends.
enum End {
    /// The client went away, or its time is over.
    Over,
    /// The connection is broken off.
    Broken,
}

impl From<mpsc::error::SendError<Result<Bytes, std::io::Error>>> for End {
    fn from(_: mpsc::error::SendError<Result<Bytes, std::io::Error>>) -> Self {
        Self::Over
    }
}

pub(super) fn answer(api: &Arc<Api>, asked: &Asked, place: &Place) -> Response {
    let filter = match Filter::new(asked, place) {
        Ok(filter) => filter,
        Err(fault) => return refuse(400, "BadRequest", &fault),
    };
    let initial = asked.is_set("sendInitialEvents");
    if initial && !api.settings.lock().initial_events {
        return refuse(
            422,
            "Invalid",
            "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
        );
    }
    if initial != (asked.param("resourceVersionMatch") == "NotOlderThan") {
        return refuse(
            422,
            "Invalid",
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        );
    }
    let (now, forgotten) = {
        let store = api.store.lock();
        let wanted = asked.param("resourceVersion").parse().unwrap_or(0);
        (store.version(), (wanted, store.is_forgotten(wanted)))
    };
    let (wanted, forgotten) = forgotten;
    // Without a version, what is there comes first and the rest after it.
    let synthetic = initial || wanted == 0;
    let (out, receiver) = mpsc::channel(64);
    let watching = Watching {
        api: Arc::clone(api),
        kind: place.kind,
        filter,
        shape: Shape::of(asked.accept()),
        bookmarks: asked.is_set("allowWatchBookmarks"),
        version: if synthetic { now } else { wanted },
        out,
    };
    if forgotten && !synthetic {
        return refuse(
            410,
            "Expired",
            &format!("too old resource version: {wanted} ({now})"),
        );
    }
    let seconds = asked.param("timeoutSeconds").parse().unwrap_or(1800);
    let life = Duration::from_secs(seconds);
    tokio::spawn(watching.run(synthetic, initial, life));
    let kind = [(header::CONTENT_TYPE, "application/json;stream=watch")];
    (StatusCode::OK, kind, Body::new(Events(receiver))).into_response()
}

impl Watching {
    async fn run(mut self, synthetic: bool, initial: bool, life: Duration) {
        let api = Arc::clone(&self.api);
        let _open = api.faults.enter();
        if let Err(End::Broken) = self.follow(synthetic, initial, life).await {
            // The client may be gone already.
            drop(
                self.out
                    .send(Err(std::io::Error::other("injected fault")))
                    .await,
            );
        }
    }

    async fn follow(
        &mut self,
        synthetic: bool,
        initial: bool,
        life: Duration,
    ) -> Result<Infallible, End> {
        let api = Arc::clone(&self.api);
        let mut signals = api.faults.signals.subscribe();
        let before = *signals.borrow_and_update();
        let mut versions = api.version.subscribe();
        let mut held = api.held.subscribe();
        let every = api.settings.lock().bookmark_every;
        let end = Instant::now() + life;
        let mut bookmark = tokio::time::interval_at(Instant::now() + every, every);
        if synthetic {
            self.send_all(initial).await?;
        }
        loop {
            tokio::select! {
                released = held.wait_for(|held| !*held) => drop(released),
                () = self.out.closed() => return Err(End::Over),
            }
            versions.borrow_and_update();
            self.send_changes().await?;
            tokio::select! {
                _ = versions.changed() => {}
                _ = signals.changed() => {
                    let now = *signals.borrow();
                    if now.expired != before.expired {
                        self.send("ERROR", &status(410, "Expired", "too old resource version")).await?;
                        return Err(End::Over);
                    }
                    return Err(End::Broken);
                }
                _ = bookmark.tick() => if self.bookmarks && !*api.held.borrow() {
                    self.send_bookmark(false).await?;
                    api.settings.lock().bookmarks_sent += 1;
                },
                () = tokio::time::sleep_until(end) => {
                    if self.bookmarks {
                        self.send_bookmark(false).await?;
                    }
                    return Err(End::Over);
                }
                () = self.out.closed() => return Err(End::Over),
            }
        }
    }

    async fn send(&self, kind: &str, object: &Value) -> Result<(), End> {
        let mut line = json!({"type": kind, "object": object}).to_string();
        line.push('\n');
        Ok(self.out.send(Ok(line.into())).await?)
    }

    async fn send_object(&self, kind: &str, object: &Arc<Value>) -> Result<(), End> {
        let shown = match self.shape {
            Shape::Table => {
                let own = self.api.store.lock().kind(self.kind).clone();
                let version = object["metadata"]["resourceVersion"].as_str().unwrap_or("");
                table::of(&own, &[Arc::clone(object)], version, "")
            }
            shape => shape.show(object),
        };
        self.send(kind, &shown).await
    }

    /// What is there already.
    async fn send_all(&mut self, initial: bool) -> Result<(), End> {
        let objects: Vec<Arc<Value>> = {
            let store = self.api.store.lock();
            self.version = store.version();
            let objects = store.objects(self.kind).values();
            objects
                .filter(|object| self.filter.admits(object))
                .map(Arc::clone)
                .collect()
        };
        for object in &objects {
            self.send_object("ADDED", object).await?;
        }
        match initial {
            true => self.send_bookmark(true).await,
            false => Ok(()),
        }
    }

    async fn send_bookmark(&self, initial_end: bool) -> Result<(), End> {
        let own = self.api.store.lock().kind(self.kind).clone();
        let mut metadata =
            json!({"resourceVersion": self.version.to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object =
            json!({"kind": own.kind, "apiVersion": own.api_version(), "metadata": metadata});
        self.send("BOOKMARK", &object).await
    }

    /// What happened since the last time, and up to which version; `None` where that is forgotten.
    fn changes(&self) -> Option<(Vec<Told>, u64)> {
        let store = self.api.store.lock();
        let mut events = Vec::new();
        for change in store
            .since(self.version)?
            .filter(|change| change.kind == self.kind)
        {
            let admits = |object: &&Arc<Value>| self.filter.admits(object);
            let before = change.before.as_ref().filter(admits);
            let after = change.after.as_ref().filter(admits);
            match (before, after) {
                (None, Some(after)) => events.push(("ADDED", Arc::clone(after))),
                (Some(_), Some(after)) => events.push(("MODIFIED", Arc::clone(after))),
                (Some(before), None) => {
                    let last = change.after.as_ref().unwrap_or(before);
                    events.push(("DELETED", Arc::clone(last)));
                }
                (None, None) => {}
            }
        }
        Some((events, store.version()))
    }

    /// What happened since the last time. An object that a selector does not select any more is
    /// gone for this watch.
    async fn send_changes(&mut self) -> Result<(), End> {
        let Some((events, version)) = self.changes() else {
            self.send("ERROR", &status(410, "Expired", "too old resource version"))
                .await?;
            return Err(End::Over);
        };
        for (kind, object) in &events {
            self.send_object(kind, object).await?;
        }
        self.version = version;
        Ok(())
    }
}
