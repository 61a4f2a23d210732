//! Who asks, what they may do, and the reviews that say so.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

use super::Api;
use super::route::{Asked, Place, refuse, reply};
use super::store::text;

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The groups.
    pub groups: Vec<String>,
}

impl User {
    /// A user.
    pub fn new(name: &str, groups: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        }
    }
}

/// What somebody may do. `*` stands for everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// A user or a group.
    pub subject: String,
    /// `get`, `list`, …
    pub verb: String,
    /// `pods`, `nodes/metrics`, or a path like `/metrics`.
    pub resource: String,
    /// The namespace; empty for objects of the cluster.
    pub namespace: String,
}

impl Rule {
    /// A rule of these four.
    pub fn new(subject: &str, verb: &str, resource: &str, namespace: &str) -> Self {
        let own = str::to_owned;
        Self {
            subject: own(subject),
            verb: own(verb),
            resource: own(resource),
            namespace: own(namespace),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Access {
    tokens: BTreeMap<String, User>,
    required: bool,
    rules: Option<Vec<Rule>>,
}

impl Access {
    pub(super) fn add_token(&mut self, token: &str, user: User) {
        self.tokens.insert(token.to_owned(), user);
    }

    pub(super) fn require_token(&mut self) {
        self.required = true;
    }

    pub(super) fn allow(&mut self, rule: Rule) {
        self.rules.get_or_insert_default().push(rule);
    }

    /// Who sent these headers; `None` where that is nobody who is known.
    pub(super) fn user(&self, headers: &HeaderMap) -> Option<User> {
        let value = headers
            .get(header::AUTHORIZATION)
            .and_then(|v| v.to_str().ok());
        let token = value.and_then(|value| value.strip_prefix("Bearer "));
        match token {
            Some(token) => match self.tokens.get(token) {
                Some(user) => Some(user.clone()),
                None if self.tokens.is_empty() => Some(User::new("admin", &["system:masters"])),
                None => None,
            },
            None if self.required => None,
            None => Some(User::new("system:anonymous", &["system:unauthenticated"])),
        }
    }

    fn allows(&self, user: &User, verb: &str, resource: &str, namespace: &str) -> bool {
        let Some(rules) = &self.rules else {
            return true;
        };
        let fits = |rule: &str, value: &str| rule == "*" || rule == value;
        rules.iter().any(|rule| {
            let subject = rule.subject == user.name
                || user.groups.contains(&rule.subject)
                || rule.subject == "*";
            subject
                && fits(&rule.verb, verb)
                && fits(&rule.resource, resource)
                && fits(&rule.namespace, namespace)
        })
    }
}

/// Refuses what the rules do not allow.
pub(super) fn check(api: &Api, asked: &Asked, place: &Place) -> Option<Response> {
    let kind = api.store.lock().kind(place.kind).clone();
    let verb = match (&asked.method, &place.name) {
        (&Method::GET, _) if asked.is_set("watch") => "watch",
        (&Method::GET, Some(_)) => "get",
        (&Method::GET, None) => "list",
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, Some(_)) => "delete",
        _ => "deletecollection",
    };
    let resource = match &place.subresource {
        Some(subresource) => format!("{}/{subresource}", kind.plural),
        None => kind.plural.clone(),
    };
    let namespace = place.namespace.as_deref().unwrap_or("");
    if api
        .access
        .lock()
        .allows(&asked.user, verb, &resource, namespace)
    {
        return None;
    }
    let scope = match namespace {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {namespace:?}"),
    };
    let message = format!(
        "{resource} is forbidden: User {:?} cannot {verb} resource {resource:?} in API group {:?} {scope}",
        asked.user.name, kind.group
    );
    Some(refuse(403, "Forbidden", &message))
}

/// Answers a review.
pub(super) fn answer(api: &Arc<Api>, asked: &Asked) -> Option<Response> {
    let kind = match asked.path.as_str() {
        "/apis/authentication.k8s.io/v1/tokenreviews" => "TokenReview",
        "/apis/authorization.k8s.io/v1/subjectaccessreviews" => "SubjectAccessReview",
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" => "SelfSubjectAccessReview",
        "/apis/authentication.k8s.io/v1/selfsubjectreviews" => "SelfSubjectReview",
        _ => return None,
    };
    let Ok(review) = serde_json::from_slice::<Value>(&asked.body) else {
        return Some(refuse(400, "BadRequest", "the body is not JSON"));
    };
    let access = api.access.lock();
    let group = if kind == "TokenReview" || kind == "SelfSubjectReview" {
        "authentication"
    } else {
        "authorization"
    };
    let mut answer = json!({"kind": kind, "apiVersion": format!("{group}.k8s.io/v1"), "metadata": {}, "spec": review["spec"]});
    answer["status"] = match kind {
        "TokenReview" => match access.tokens.get(text(&review, "/spec/token")) {
            Some(user) => {
                json!({"authenticated": true, "user": {"username": user.name, "groups": user.groups},
                "audiences": review["spec"]["audiences"]})
            }
            None => json!({"authenticated": false, "error": "token is not known"}),
        },
        "SelfSubjectReview" => {
            json!({"userInfo": {"username": asked.user.name, "groups": asked.user.groups}})
        }
        kind => {
            let groups = review["spec"]["groups"].as_array().into_iter().flatten();
            let user = match kind {
                "SubjectAccessReview" => User {
                    name: text(&review, "/spec/user").to_owned(),
                    groups: groups
                        .filter_map(|g| g.as_str().map(str::to_owned))
                        .collect(),
                },
                _ => asked.user.clone(),
            };
            json!({"allowed": allowed(&access, &user, &review["spec"])})
        }
    };
    Some(reply(StatusCode::CREATED, &answer))
}

fn allowed(access: &Access, user: &User, spec: &Value) -> bool {
    if spec["nonResourceAttributes"].is_object() {
        let of = |name: &str| text(&spec["nonResourceAttributes"], name);
        return access.allows(user, of("/verb"), of("/path"), "");
    }
    let of = |name: &str| text(&spec["resourceAttributes"], name);
    let resource = match of("/subresource") {
        "" => of("/resource").to_owned(),
        subresource => format!("{}/{subresource}", of("/resource")),
    };
    access.allows(user, of("/verb"), &resource, of("/namespace"))
}
