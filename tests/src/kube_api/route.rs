//! From a request to what answers it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::review::User;
use super::{Api, Fault, Seen, discovery, list, proxy, review, watch, write};

/// Largest body.
const BODY_BYTES_MAX: usize = 8 << 20;

/// A request, taken apart.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: BTreeMap<String, String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) user: User,
}

/// What an address of objects leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) kind: usize,
    /// `None` for all namespaces, or for objects of the cluster.
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) subresource: Option<String>,
}

impl Asked {
    pub(super) fn param(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        matches!(self.param(name), "true" | "1")
    }

    pub(super) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    pub(super) fn accept(&self) -> &str {
        self.header(header::ACCEPT.as_str())
    }
}

pub(super) fn router(api: Arc<Api>) -> Router {
    Router::new().fallback(answer).with_state(api)
}

/// JSON with a status.
pub(super) fn reply(status: StatusCode, value: &Value) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (status, kind, value.to_string()).into_response()
}

/// A `Status` object that says what is wrong.
pub(super) fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code})
}

pub(super) fn refuse(code: u16, reason: &str, message: &str) -> Response {
    let status_code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply(status_code, &status(code, reason, message))
}

async fn answer(State(api): State<Arc<Api>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let uri = head.uri.clone();
    let full = uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
    let accept = head.headers.get(header::ACCEPT);
    let user = api.access.lock().user(&head.headers);
    api.seen.lock().push(Seen {
        method: head.method.to_string(),
        path: full.clone(),
        accept: accept
            .and_then(|a| a.to_str().ok())
            .unwrap_or("")
            .to_owned(),
        user: user
            .as_ref()
            .map_or(String::new(), |user| user.name.clone()),
    });
    if let Some(answer) = fault(&api, &full).await {
        return answer;
    }
    let Ok(body) = axum::body::to_bytes(body, BODY_BYTES_MAX).await else {
        return refuse(413, "RequestEntityTooLarge", "request is too large");
    };
    let Some(user) = user else {
        return refuse(401, "Unauthorized", "Unauthorized");
    };
    let query = form_urlencoded::parse(uri.query().unwrap_or("").as_bytes());
    let asked = Asked {
        method: head.method,
        path: uri.path().to_owned(),
        query: query.into_owned().collect(),
        headers: head.headers,
        body,
        user,
    };
    if let Some(aggregated) = proxy::find(&api, &asked.path) {
        return proxy::forward(&aggregated, asked, &full).await;
    }
    serve(&api, &asked).await
}

/// The fault that is injected here.
async fn fault(api: &Api, path: &str) -> Option<Response> {
    Some(match api.faults.take(path)? {
        Fault::Status(code) => refuse(code, "InternalError", "injected fault"),
        Fault::TooMany(seconds) => {
            let mut answer = refuse(429, "TooManyRequests", "injected fault");
            answer
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
            answer
        }
        Fault::Gone => refuse(410, "Expired", "injected fault: too old resource version"),
        Fault::Slow(time) => {
            tokio::time::sleep(time).await;
            return None;
        }
        Fault::Garbage => (StatusCode::OK, "<html>not JSON</html>").into_response(),
        Fault::Cut => {
            let broken = Err::<Bytes, _>(std::io::Error::other("injected fault"));
            let body = watch::Events::ended_by(broken);
            Response::new(Body::new(body))
        }
    })
}

async fn serve(api: &Arc<Api>, asked: &Asked) -> Response {
    if let Some(answer) = discovery::answer(api, asked) {
        return answer;
    }
    if asked.method == Method::POST
        && let Some(answer) = review::answer(api, asked)
    {
        return answer;
    }
    let Some(place) = place(api, &asked.path) else {
        return refuse(
            404,
            "NotFound",
            "the server could not find the requested resource",
        );
    };
    if let Some(answer) = review::check(api, asked, &place) {
        return answer;
    }
    match (&asked.method, &place.name) {
        (&Method::GET, Some(_)) if asked.is_set("watch") => watch::answer(api, asked, &place),
        (&Method::GET, Some(_)) => list::one(api, asked, &place),
        (&Method::GET, None) if asked.is_set("watch") => watch::answer(api, asked, &place),
        (&Method::GET, None) => list::answer(api, asked, &place),
        (&Method::POST, None) => write::create(api, asked, &place),
        (&Method::POST, Some(_)) if place.subresource.is_some() => {
            write::subresource(api, asked, &place)
        }
        (&Method::PUT, Some(_)) => write::replace(api, asked, &place),
        (&Method::PATCH, Some(_)) => write::patch(api, asked, &place),
        (&Method::DELETE, Some(_)) => write::delete(api, asked, &place),
        (&Method::DELETE, None) => write::delete_many(api, asked, &place),
        _ => refuse(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        ),
    }
}

/// Takes the address of objects apart.
fn place(api: &Api, path: &str) -> Option<Place> {
    let decode = |part: &str| {
        let text = part.replace('+', "%2B");
        let mut pairs = form_urlencoded::parse(text.as_bytes());
        pairs
            .next()
            .map(|(name, _)| name.into_owned())
            .unwrap_or_default()
    };
    let parts: Vec<String> = path.trim_matches('/').split('/').map(decode).collect();
    let mut parts = parts.into_iter();
    let (group, version) = match parts.next()?.as_str() {
        "api" => (String::new(), parts.next()?),
        "apis" => (parts.next()?, parts.next()?),
        _ => return None,
    };
    let mut rest: Vec<String> = parts.collect();
    let store = api.store.lock();
    let mut namespace = None;
    // `namespaces/NAME/status` is a part of the namespace, all other third parts are resources.
    let is_scope = rest.len() > 2
        && rest[0] == "namespaces"
        && !["status", "finalize"].contains(&rest[2].as_str());
    if is_scope {
        namespace = Some(rest[1].clone());
        rest.drain(..2);
    }
    let mut rest = rest.into_iter();
    let kind = store.find(&group, &version, &rest.next()?)?;
    let place = Place {
        kind,
        namespace,
        name: rest.next(),
        subresource: rest.next(),
    };
    rest.next().is_none().then_some(place)
}
