//! Lists and single objects, whole, as metadata, or as tables.

use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use obs_kubernetes::selector::Selector;
use serde_json::{Value, json};

use super::route::{Asked, Place, refuse, reply};
use super::store::{Key, Store};
use super::{Api, table};

/// Which objects are asked for.
#[derive(Debug)]
pub(super) struct Filter {
    namespace: Option<String>,
    name: Option<String>,
    labels: Selector,
    fields: Selector,
}

impl Filter {
    pub(super) fn new(asked: &Asked, place: &Place) -> Result<Self, String> {
        Ok(Self {
            namespace: place.namespace.clone(),
            name: place.name.clone(),
            labels: Selector::labels(asked.param("labelSelector"))?,
            fields: Selector::fields(asked.param("fieldSelector"))?,
        })
    }

    pub(super) fn admits(&self, object: &Value) -> bool {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let in_place = |wanted: &Option<String>, pointer: &str| {
            wanted
                .as_deref()
                .is_none_or(|wanted| text(pointer) == Some(wanted))
        };
        in_place(&self.namespace, "/metadata/namespace")
            && in_place(&self.name, "/metadata/name")
            && self.labels.matches_by(|name| {
                object["metadata"]["labels"][name]
                    .as_str()
                    .map(str::to_owned)
            })
            && self.fields.matches_by(|name| {
                let pointer = format!("/{}", name.replace('.', "/"));
                // A field that is not set is empty.
                Some(text(&pointer).unwrap_or("").to_owned())
            })
    }
}

/// How objects are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Whole,
    Metadata,
    Table,
}

impl Shape {
    /// As the first media type says that is known.
    pub(super) fn of(accept: &str) -> Self {
        for part in accept.split(',') {
            if part.contains("as=Table") {
                return Self::Table;
            }
            if part.contains("as=PartialObjectMetadata") {
                return Self::Metadata;
            }
            if !part.contains(";as=") {
                return Self::Whole;
            }
        }
        Self::Whole
    }

    /// An object as it is shown in a list or an event.
    pub(super) fn show(self, object: &Value) -> Value {
        match self {
            Self::Whole | Self::Table => object.clone(),
            Self::Metadata => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                "metadata": object["metadata"]})
            }
        }
    }
}

pub(super) fn one(api: &Arc<Api>, asked: &Asked, place: &Place) -> Response {
    if place.subresource.as_deref() == Some("log") {
        return log(api, asked, place);
    }
    let store = api.store.lock();
    let Some(object) = store.get(place.kind, &key(place)) else {
        return missing(&store, place);
    };
    let kind = store.kind(place.kind);
    match Shape::of(asked.accept()) {
        Shape::Table => reply(StatusCode::OK, &table::of(kind, &[object], "", "")),
        shape => reply(StatusCode::OK, &shape.show(&object)),
    }
}

pub(super) fn key(place: &Place) -> Key {
    let namespace = place.namespace.clone().unwrap_or_default();
    (namespace, place.name.clone().unwrap_or_default())
}

pub(super) fn missing(store: &Store, place: &Place) -> Response {
    let kind = store.kind(place.kind);
    let resource = match kind.group.as_str() {
        "" => kind.plural.clone(),
        group => format!("{}.{group}", kind.plural),
    };
    let name = place.name.clone().unwrap_or_default();
    refuse(404, "NotFound", &format!("{resource} {name:?} not found"))
}

fn log(api: &Arc<Api>, asked: &Asked, place: &Place) -> Response {
    let (namespace, pod) = key(place);
    let logs = api.logs.lock();
    let wanted = asked.param("container");
    let found = logs
        .iter()
        .find(|((n, p, c), _)| *n == namespace && *p == pod && (wanted.is_empty() || c == wanted));
    let Some((_, text)) = found else {
        return refuse(404, "NotFound", "no log");
    };
    let lines: Vec<&str> = text.lines().collect();
    let tail = asked.param("tailLines").parse().unwrap_or(lines.len());
    let text: String = lines[lines.len().saturating_sub(tail)..]
        .iter()
        .map(|line| format!("{line}\n"))
        .collect();
    ([(header::CONTENT_TYPE, "text/plain")], text).into_response()
}

/// A mark from which a list goes on: its version and the last object.
fn continue_token(version: u64, last: &Key) -> String {
    let text = json!([version, last.0, last.1]).to_string();
    base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(text)
}

fn parse_token(token: &str) -> Option<(u64, Key)> {
    let bytes = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
    let (version, namespace, name): (u64, String, String) = serde_json::from_slice(&bytes).ok()?;
    Some((version, (namespace, name)))
}

pub(super) fn answer(api: &Arc<Api>, asked: &Asked, place: &Place) -> Response {
    let filter = match Filter::new(asked, place) {
        Ok(filter) => filter,
        Err(fault) => return refuse(400, "BadRequest", &fault),
    };
    let store = api.store.lock();
    let limit = asked.param("limit").parse().unwrap_or(usize::MAX).max(1);
    let token = asked.param("continue");
    let (version, after) = match token {
        "" => (store.version(), None),
        token => match parse_token(token) {
            None => return refuse(400, "BadRequest", "continue key is not valid"),
            Some((version, _)) if store.is_forgotten(version) => {
                return refuse(
                    410,
                    "Expired",
                    "The provided continue parameter is too old to display a consistent list result.",
                );
            }
            Some((version, after)) => (version, Some(after)),
        },
    };
    if asked.param("resourceVersionMatch") == "Exact"
        && asked
            .param("resourceVersion")
            .parse()
            .is_ok_and(|wanted| store.is_forgotten(wanted))
    {
        return refuse(
            410,
            "Expired",
            "The resourceVersion for the provided list is too old.",
        );
    }
    let objects = store.objects(place.kind).iter();
    let mut objects = objects
        .filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after))
        .filter(|(_, object)| filter.admits(object))
        .map(|(key, object)| (key, Arc::clone(object)));
    let page: Vec<(&Key, Arc<Value>)> = objects.by_ref().take(limit).collect();
    let more = objects.next().is_some();
    let next = match page.last() {
        Some((last, _)) if more => continue_token(version, last),
        _ => String::new(),
    };
    let page: Vec<Arc<Value>> = page.into_iter().map(|(_, object)| object).collect();
    let kind = store.kind(place.kind);
    let version = version.to_string();
    let shape = Shape::of(asked.accept());
    if shape == Shape::Table {
        return reply(StatusCode::OK, &table::of(kind, &page, &version, &next));
    }
    let items: Vec<Value> = page.iter().map(|object| shape.show(object)).collect();
    let mut metadata = json!({"resourceVersion": version});
    if !next.is_empty() {
        metadata["continue"] = json!(next);
    }
    let list = match shape {
        Shape::Metadata => {
            json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
            "metadata": metadata, "items": items})
        }
        Shape::Whole | Shape::Table => json!({"kind": format!("{}List", kind.kind),
            "apiVersion": kind.api_version(), "metadata": metadata, "items": items}),
    };
    reply(StatusCode::OK, &list)
}
