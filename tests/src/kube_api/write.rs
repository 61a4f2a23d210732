//! Writes: create, replace, patch, delete, and what belongs to objects.

use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

use super::list::{Filter, key, missing};
use super::route::{Asked, Place, refuse, reply};
use super::store::{Refusal, Store, text};
use super::{Api, patch as patches};

fn body(asked: &Asked) -> Result<Value, Box<Response>> {
    // YAML is what server-side apply sends, and JSON is YAML.
    let parsed: Result<Value, _> = serde_yaml_ng::from_slice(&asked.body);
    match parsed {
        Ok(value) if value.is_object() || value.is_array() => Ok(value),
        Ok(_) => Err(Box::new(refuse(
            400,
            "BadRequest",
            "the body is not an object",
        ))),
        Err(fault) => Err(Box::new(refuse(
            400,
            "BadRequest",
            &format!("the body cannot be read: {fault}"),
        ))),
    }
}

fn refusal(store: &Store, place: &Place, name: &str, refusal: Refusal) -> Response {
    let plural = &store.kind(place.kind).plural;
    match refusal {
        Refusal::Exists => refuse(
            409,
            "AlreadyExists",
            &format!("{plural} {name:?} already exists"),
        ),
        Refusal::Conflict => refuse(
            409,
            "Conflict",
            &format!(
                "Operation cannot be fulfilled on {plural} {name:?}: the object has been modified; please apply your changes to the latest version and try again"
            ),
        ),
        Refusal::NotFound => missing(store, place),
        Refusal::Invalid(fault) => refuse(422, "Invalid", &fault),
    }
}

/// Puts an object where its address says.
fn set_place(object: &mut Value, place: &Place) {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    if let Some(namespace) = &place.namespace {
        object["metadata"]["namespace"] = json!(namespace);
    }
    if let Some(name) = &place.name {
        object["metadata"]["name"] = json!(name);
    }
}

pub(super) fn create(api: &Arc<Api>, asked: &Asked, place: &Place) -> Response {
    let mut object = match body(asked) {
        Ok(object) => object,
        Err(answer) => return *answer,
    };
    set_place(&mut object, place);
    let answer = {
        let mut store = api.store.lock();
        let own = store.kind(place.kind).clone();
        if text(&object, "/kind") != own.kind {
            return refuse(400, "BadRequest", &format!("the object is no {}", own.kind));
        }
        if own.namespaced && text(&object, "/metadata/namespace").is_empty() {
            object["metadata"]["namespace"] = json!("default");
        }
        let name = text(&object, "/metadata/name").to_owned();
        match store.create(place.kind, object) {
            Ok(object) => {
                let created = own.kind == "CustomResourceDefinition";
                if created {
                    add_custom(&mut store, &object);
                }
                reply(StatusCode::CREATED, &object)
            }
            Err(fault) => refusal(&store, place, &name, fault),
        }
    };
    api.wake();
    answer
}

/// Adds the resource that a definition defines.
fn add_custom(store: &mut Store, definition: &Value) {
    let versions = definition
        .pointer("/spec/versions")
        .and_then(Value::as_array);
    for version in versions.into_iter().flatten() {
        let names = &definition["spec"]["names"];
        let short = names["shortNames"].as_array().into_iter().flatten();
        store.add_kind(super::Kind {
            group: text(definition, "/spec/group").to_owned(),
            version: text(version, "/name").to_owned(),
            kind: text(names, "/kind").to_owned(),
            plural: text(names, "/plural").to_owned(),
            namespaced: text(definition, "/spec/scope") == "Namespaced",
            short: short
                .filter_map(|s| s.as_str().map(str::to_owned))
                .collect(),
        });
    }
}

pub(super) fn replace(api: &Arc<Api>, asked: &Asked, place: &Place) -> Response {
    let mut object = match body(asked) {
        Ok(object) => object,
        Err(answer) => return *answer,
    };
    set_place(&mut object, place);
    write(api, place, object)
}

fn write(api: &Arc<Api>, place: &Place, object: Value) -> Response {
    let status = place.subresource.as_deref() == Some("status");
    let answer = {
        let mut store = api.store.lock();
        let name = text(&object, "/metadata/name").to_owned();
        match store.update(place.kind, object, status) {
            Ok(object) => reply(StatusCode::OK, &object),
            Err(fault) => refusal(&store, place, &name, fault),
        }
    };
    api.wake();
    answer
}

pub(super) fn patch(api: &Arc<Api>, asked: &Asked, place: &Place) -> Response {
    let patch = match body(asked) {
        Ok(patch) => patch,
        Err(answer) => return *answer,
    };
    let before = api.store.lock().get(place.kind, &key(place));
    let kind = asked.header(header::CONTENT_TYPE.as_str());
    let kind = kind.split(';').next().unwrap_or("").trim().to_owned();
    let Some(before) = before else {
        if kind == "application/apply-patch+yaml" {
            return create(
                api,
                asked,
                &Place {
                    name: None,
                    ..place.clone()
                },
            );
        }
        return missing(&api.store.lock(), place);
    };
    let mut object = (*before).clone();
    let patched = match kind.as_str() {
        "application/merge-patch+json" => {
            patches::merge(&mut object, &patch);
            Ok(())
        }
        "application/strategic-merge-patch+json" | "application/apply-patch+yaml" => {
            patches::strategic(&mut object, &patch);
            Ok(())
        }
        "application/json-patch+json" => patches::json(&mut object, &patch),
        other => {
            return refuse(
                415,
                "UnsupportedMediaType",
                &format!("{other:?} is not a patch"),
            );
        }
    };
    if let Err(fault) = patched {
        return refuse(422, "Invalid", &fault);
    }
    // Only a patch that names the version wants it to be checked.
    if patch.pointer("/metadata/resourceVersion").is_none()
        && let Some(metadata) = object["metadata"].as_object_mut()
    {
        metadata.remove("resourceVersion");
    }
    set_place(&mut object, place);
    write(api, place, object)
}

pub(super) fn delete(api: &Arc<Api>, asked: &Asked, place: &Place) -> Response {
    let answer = {
        let mut store = api.store.lock();
        let dry = !asked.param("dryRun").is_empty();
        let key = key(place);
        let gone = if dry {
            store.get(place.kind, &key)
        } else {
            store.delete(place.kind, &key)
        };
        match gone {
            Some(object) => reply(
                StatusCode::OK,
                &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                    "details": {"name": place.name, "kind": store.kind(place.kind).plural,
                        "uid": object["metadata"]["uid"]}}),
            ),
            None => missing(&store, place),
        }
    };
    api.wake();
    answer
}

pub(super) fn delete_many(api: &Arc<Api>, asked: &Asked, place: &Place) -> Response {
    let filter = match Filter::new(asked, place) {
        Ok(filter) => filter,
        Err(fault) => return refuse(400, "BadRequest", &fault),
    };
    {
        let mut store = api.store.lock();
        let objects = store.objects(place.kind).iter();
        let keys: Vec<_> = objects
            .filter(|(_, o)| filter.admits(o))
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            store.delete(place.kind, &key);
        }
    }
    api.wake();
    reply(
        StatusCode::OK,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}),
    )
}

/// `pods/eviction`, `pods/binding`, `serviceaccounts/token`.
pub(super) fn subresource(api: &Arc<Api>, asked: &Asked, place: &Place) -> Response {
    match place.subresource.as_deref() {
        Some("eviction") => delete(api, asked, place),
        Some("token") => reply(
            StatusCode::CREATED,
            &json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
                "status": {"token": format!("token-of-{}", place.name.as_deref().unwrap_or(""))}}),
        ),
        _ => refuse(
            404,
            "NotFound",
            "the server could not find the requested resource",
        ),
    }
}
