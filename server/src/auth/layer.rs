//! The layer over the routes.
//!
//! Invariants: it decides on the route that matched, and addresses that could be read in two ways
//! are refused; what comes behind it reads the tenants that were admitted and no header of the
//! client; a request that changes something and that a page of another site made is refused where
//! browsers send the credentials by themselves.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::connect_info::ConnectInfo;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::{HeaderValue, Method, header};
use obs_collector::receive::TENANT_HEADER;
use obs_collector::{ErrorKind, HttpError};

use super::access::{Denied, decide};
use super::audit::{Event, Note};
use super::class::{Class, class, is_known};
use super::identity::Identity;
use super::{Auth, Refused, refusal};
use crate::api;
use crate::start::Peer;

/// The end of routes whose paths hold a secret.
const KEY: &str = "{*key}";
/// What exporters tell everybody.
const HEALTH: [&str; 6] = [
    "/healthz",
    "/livez",
    "/readyz",
    "/-/healthy",
    "/-/ready",
    "/ready",
];

/// The layer of one listener.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    auth: Arc<Auth>,
    /// What all routes ask for, where the table does not say it.
    only: Option<Class>,
}

impl Guard {
    /// Of a listener whose routes are those of the table.
    pub(crate) fn new(auth: &Arc<Auth>) -> Self {
        Self {
            auth: Arc::clone(auth),
            only: None,
        }
    }

    /// Of a listener of an exporter: everything is for who may see the server, and this process may.
    pub(crate) fn of_exporter(auth: &Arc<Auth>) -> Self {
        Self {
            only: Some(Class::ServerRead),
            ..Self::new(auth)
        }
    }
}

/// Routes with the layer before them.
pub(crate) fn guarded(guard: Guard, routes: Router) -> Router {
    routes.layer(from_fn_with_state(guard, stand))
}

/// Routes that this process alone may ask.
pub(crate) fn own_only(auth: &Arc<Auth>, routes: Router) -> Router {
    routes.layer(from_fn_with_state(Arc::clone(auth), own))
}

async fn own(State(auth): State<Arc<Auth>>, request: Request, next: Next) -> Response {
    if is_own(&auth, &request) {
        return next.run(request).await;
    }
    let error = HttpError::new(ErrorKind::Unauthorized, "this is for obs itself");
    let place = (request.uri().path(), "");
    refusal::response(&error, place, auth.wants())
}

/// Whether this process asks itself; how long it takes tells nothing, for digests are compared.
fn is_own(auth: &Auth, request: &Request) -> bool {
    let shown = request.headers().get(header::AUTHORIZATION);
    let shown = shown.and_then(|value| value.to_str().ok());
    let shown = shown.and_then(|value| value.strip_prefix("Bearer "));
    shown.is_some_and(|shown| super::fingerprint(shown) == super::fingerprint(auth.own()))
}

async fn stand(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let auth = Arc::clone(&guard.auth);
    let mut response = guard.let_in(request, next).await;
    for (name, value) in &auth.live().headers {
        response.headers_mut().insert(name.clone(), value.clone());
    }
    response
}

/// What of a request is noted and told, kept while the request itself goes on.
struct Seen {
    method: Method,
    path: String,
    /// The type of the body.
    kind: String,
    route: String,
    class: Option<Class>,
    source: Option<IpAddr>,
}

impl Guard {
    fn seen(&self, request: &Request) -> Seen {
        let matched = request.extensions().get::<MatchedPath>();
        let route = matched.map_or("", MatchedPath::as_str).to_owned();
        let peer = request.extensions().get::<ConnectInfo<Peer>>();
        Seen {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            kind: {
                let kind = request.headers().get(header::CONTENT_TYPE);
                let kind = kind.and_then(|kind| kind.to_str().ok());
                kind.unwrap_or_default().to_owned()
            },
            class: match self.only {
                // Paths of exporters are chosen by people; health alone is told to everybody.
                Some(_) if HEALTH.contains(&route.as_str()) => Some(Class::Public),
                Some(only) => Some(only),
                None => class(request.method(), &route),
            },
            route,
            source: peer.map(|ConnectInfo(peer)| peer.address().ip().to_canonical()),
        }
    }

    async fn let_in(&self, mut request: Request, next: Next) -> Response {
        let auth = &self.auth;
        let seen = self.seen(&request);
        if !auth.asks() {
            let response = next.run(request).await;
            auth.note_change(&seen, None, "", response.status().as_u16());
            return response;
        }
        if !is_canonical(request.uri().path()) {
            let text = "the path is not canonical: it has an empty part, `.` or `..`";
            return auth.tell(&seen, &HttpError::bad_data(text));
        }
        if seen.class == Some(Class::Public) || self.only.is_some() && is_own(auth, &request) {
            return next.run(request).await;
        }
        let peer = request.extensions().get::<ConnectInfo<Peer>>();
        let certificates = peer.map(|ConnectInfo(peer)| peer.certificates());
        let shown = certificates.as_ref().and_then(|all| all.first());
        let source = seen.source.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        let identity = match auth.identify(request.headers(), shown, source).await {
            Ok(identity) => identity,
            Err((why, said)) => return auth.refuse(&seen, &why, &said),
        };
        let Some(class) = seen.class else {
            return auth.unlisted(&seen, &identity, request, next).await;
        };
        // What a socket tells a page of elsewhere no browser holds back.
        let guarded = class.changes() || request.headers().contains_key(header::UPGRADE);
        if guarded && identity.how.is_ambient() && !auth.is_trusted_page(&request, class) {
            let text = "a page of another site may not do this with the credentials of a browser";
            return auth.deny(&seen, &identity, ErrorKind::Forbidden, text);
        }
        let named = request
            .headers()
            .get(TENANT_HEADER)
            .map(HeaderValue::to_str);
        let named = match named.transpose() {
            Ok(named) => named,
            Err(_) => Some("\u{0}"),
        };
        let admitted = match decide(&auth.grants, &identity, class, named) {
            Ok(admitted) => admitted,
            Err(Denied::Malformed(text)) => {
                return auth.deny(&seen, &identity, ErrorKind::BadData, &text);
            }
            Err(Denied::Forbidden(text)) => {
                return auth.deny(&seen, &identity, ErrorKind::Forbidden, &text);
            }
        };
        auth.outcomes.admitted.fetch_add(1, Ordering::Relaxed);
        if let Ok(tenants) = HeaderValue::try_from(&admitted.tenants) {
            request.headers_mut().insert(TENANT_HEADER, tenants);
        }
        request.extensions_mut().insert(admitted.enforced);
        let response = next.run(request).await;
        let status = response.status().as_u16();
        auth.note_change(&seen, Some(&identity), &admitted.tenants, status);
        response
    }
}

impl Auth {
    /// What the table does not list: where there is no route that is answered, and where there is one
    /// by other methods, too; a route that was forgotten is closed.
    async fn unlisted(
        &self,
        seen: &Seen,
        identity: &Identity,
        request: Request,
        next: Next,
    ) -> Response {
        if seen.route.is_empty() {
            return next.run(request).await;
        }
        if is_known(&seen.route) {
            let text = format!("method {} is not allowed", seen.method);
            return self.tell(seen, &HttpError::new(ErrorKind::MethodNotAllowed, text));
        }
        let text = "this route has no class: it is closed";
        self.deny(seen, identity, ErrorKind::Forbidden, text)
    }

    /// Whether no browser says that a page of elsewhere made the request, or says that it is one
    /// that may send telemetry, and it does.
    fn is_trusted_page(&self, request: &Request, class: Class) -> bool {
        let origin = request.headers().get(header::ORIGIN);
        let origin = origin.and_then(|origin| origin.to_str().ok());
        let listed = |origin: &str| self.origins.iter().any(|own| own == origin || own == "*");
        let sends = class == Class::Write && origin.is_some_and(listed);
        sends || !api::is_foreign(request.headers(), request.uri())
    }

    fn tell(&self, seen: &Seen, error: &HttpError) -> Response {
        refusal::response(error, (&seen.path, &seen.kind), self.wants())
    }

    /// Nobody knows who asks.
    fn refuse(&self, seen: &Seen, why: &Refused, said: &str) -> Response {
        let counter = match why {
            Refused::Locked(_) => &self.outcomes.locked,
            _ => &self.outcomes.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let error = match why {
            Refused::Nothing => HttpError::new(ErrorKind::Unauthorized, "credentials are missing"),
            Refused::Wrong(text) => HttpError::new(ErrorKind::Unauthorized, text.clone()),
            Refused::Locked(seconds) => {
                let text = "too many logins failed, try again later";
                HttpError::new(ErrorKind::TooMany, text).retry_after(*seconds)
            }
            Refused::Unavailable(text) => HttpError::unavailable(text.clone(), 5),
        };
        // Who shows nothing has not tried to log in: browsers and clients learn so what is asked.
        if *why != Refused::Nothing || seen.class.is_some_and(Class::is_noted) {
            let note = seen.note(Event::Refused, None, "", error.status().as_u16());
            self.audit.note(&Note {
                who: said,
                why: &error.message,
                ..note
            });
        }
        self.tell(seen, &error)
    }

    /// Somebody may not.
    fn deny(&self, seen: &Seen, identity: &Identity, kind: ErrorKind, text: &str) -> Response {
        self.outcomes.denied.fetch_add(1, Ordering::Relaxed);
        let error = HttpError::new(kind, text);
        let note = seen.note(Event::Denied, Some(identity), "", error.status().as_u16());
        self.audit.note(&Note { why: text, ..note });
        self.tell(seen, &error)
    }

    /// Notes what changes something that people made, and what is for administrators.
    fn note_change(&self, seen: &Seen, who: Option<&Identity>, tenant: &str, status: u16) {
        if seen.class.is_some_and(Class::is_noted) {
            self.audit
                .note(&seen.note(Event::Change, who, tenant, status));
        }
    }
}

impl Seen {
    fn note<'a>(
        &'a self,
        event: Event,
        who: Option<&'a Identity>,
        tenant: &'a str,
        status: u16,
    ) -> Note<'a> {
        Note {
            event,
            who: who.map_or("", |who| &who.name),
            how: who.map_or("", |who| who.how.name()),
            tenant,
            action: self.class.map_or("", Class::name),
            method: self.method.as_str(),
            route: &self.route,
            // Some senders put their key into the path.
            path: match self.route.ends_with(KEY) {
                true => &self.route,
                false => &self.path,
            },
            status,
            source: self.source,
            why: "",
        }
    }
}

/// Whether a path can be read in one way only. Names in paths may hold encoded slashes; parts that
/// lead elsewhere may not be hidden by encoding.
fn is_canonical(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else {
        return path == "*" || path.is_empty();
    };
    let mut parts = rest.split('/').peekable();
    while let Some(part) = parts.next() {
        let plain = part.replace("%2e", ".").replace("%2E", ".");
        if plain == "." || plain == ".." || part.is_empty() && parts.peek().is_some() {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_in_one_way() {
        for path in [
            "/", "/a", "/a/", "/a/b%2Fc", "/a/.b", "/a/...", "*", "/a/b..c",
        ] {
            assert!(is_canonical(path), "{path}");
        }
        for path in [
            "//",
            "/a//b",
            "//a",
            "/a/./b",
            "/a/..",
            "/%2e%2E/a",
            "/a/.%2e",
            "a",
        ] {
            assert!(!is_canonical(path), "{path}");
        }
    }
}
