//! Whether somebody may ask this: the API server decides, and its word holds for ten seconds, as
//! for other servers behind the aggregation layer.

use http::{Method, Uri};
use obs_kubernetes::Client;
use obs_kubernetes::client::Sent;
use serde::Deserialize;
use serde_json::{Value, json};

use super::status::Status;
use crate::remembered::Remembered;
use crate::token_review::User;

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
/// Who may do everything.
const MASTERS: &str = "system:masters";

/// What is asked for, as the API server's rules name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    verb: &'static str,
    group: String,
    version: String,
    namespace: String,
    resource: String,
    subresource: String,
    name: String,
    /// Documents that tell what there is.
    path: Option<String>,
}

impl Asked {
    /// Reads a request as the API server does.
    pub(super) fn of(method: &Method, uri: &Uri) -> Result<Self, Status> {
        if method != Method::GET && method != Method::HEAD {
            return Err(Status::method_not_allowed());
        }
        let mut parts = uri.path().trim_matches('/').split('/').map(decoded);
        let document = || Self {
            verb: "get",
            path: Some(uri.path().to_owned()),
            ..Self::default()
        };
        let (Some("apis"), Some(group), Some(version), Some(first)) = (
            parts.next().as_deref(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) else {
            return Ok(document());
        };
        let mut asked = Self {
            verb: "list",
            group,
            version,
            ..Self::default()
        };
        let mut rest = vec![first];
        rest.extend(parts);
        // `namespaces/NS/pods…`; `namespaces/NS` and `namespaces/NS/metrics/M` are of the namespace.
        if rest[0] == "namespaces" && rest.len() > 1 {
            asked.namespace = rest[1].clone();
            let is_of_namespace = rest.len() == 2 || rest[2] == "metrics";
            if !is_of_namespace {
                rest.drain(..2);
            }
        }
        let mut rest = rest.into_iter();
        asked.resource = rest.next().unwrap_or_default();
        if let Some(name) = rest.next() {
            asked.verb = "get";
            asked.name = name;
        }
        asked.subresource = rest.next().unwrap_or_default();
        Ok(asked)
    }

    fn attributes(&self) -> (&'static str, Value) {
        match &self.path {
            Some(path) => (
                "nonResourceAttributes",
                json!({"path": path, "verb": self.verb}),
            ),
            None => (
                "resourceAttributes",
                json!({
                    "verb": self.verb,
                    "group": self.group,
                    "version": self.version,
                    "namespace": self.namespace,
                    "resource": self.resource,
                    "subresource": self.subresource,
                    "name": self.name,
                }),
            ),
        }
    }

    /// As the API server words a refusal.
    fn refusal(&self, user: &User, why: &str) -> String {
        let mut text = match &self.path {
            Some(path) => {
                format!("forbidden: User {:?} cannot get path {path:?}", user.name)
            }
            None => {
                let mut resource = format!("{}.{}", self.resource, self.group);
                if !self.name.is_empty() {
                    resource.push_str(&format!(" {:?}", self.name));
                }
                let place = match self.namespace.as_str() {
                    "" => " at the cluster scope".to_owned(),
                    namespace => format!(" in the namespace {namespace:?}"),
                };
                let mut kind = self.resource.clone();
                if !self.subresource.is_empty() {
                    kind = format!("{kind}/{}", self.subresource);
                }
                format!(
                    "{resource} is forbidden: User {:?} cannot {} resource {kind:?} in API group \
                     {:?}{place}",
                    user.name, self.verb, self.group
                )
            }
        };
        if !why.is_empty() {
            text.push_str(&format!(": {why}"));
        }
        text
    }
}

/// A piece of a path without its escapes.
fn decoded(piece: &str) -> String {
    let spaced = piece.replace('+', "%2B");
    let pair = form_urlencoded::parse(spaced.as_bytes()).next();
    pair.map_or_else(String::new, |(name, value)| match value.is_empty() {
        true => name.into_owned(),
        false => format!("{name}={value}"),
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Review {
    status: ReviewStatus,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct ReviewStatus {
    allowed: bool,
    reason: String,
}

/// Asks the API server who may do what.
#[derive(Debug)]
pub(super) struct Access {
    client: Option<Client>,
    known: Remembered<(User, Asked), ReviewStatus>,
}

impl Access {
    pub(super) fn new(client: Option<Client>) -> Self {
        Self {
            client,
            known: Remembered::default(),
        }
    }

    /// Is an error unless the user may do this.
    pub(super) async fn check(&self, user: &User, asked: &Asked) -> Result<(), Status> {
        if user.groups.iter().any(|group| group == MASTERS) {
            return Ok(());
        }
        let Some(client) = &self.client else {
            // No cluster is configured: the API server that the front proxy belongs to has let the
            // request through, and nobody else can be asked about.
            return match user.proxied {
                true => Ok(()),
                false => Err(Status::forbidden(
                    asked.refusal(user, "no API server to ask"),
                )),
            };
        };
        let key = (user.clone(), asked.clone());
        let status = match self.known.get(&key) {
            Some(known) => known,
            None => {
                let status = review(client, user, asked).await?;
                self.known.put(key, status.clone());
                status
            }
        };
        match status.allowed {
            true => Ok(()),
            false => Err(Status::forbidden(asked.refusal(user, &status.reason))),
        }
    }
}

async fn review(client: &Client, user: &User, asked: &Asked) -> Result<ReviewStatus, Status> {
    let (kind, attributes) = asked.attributes();
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            kind: attributes,
            "user": user.name,
            "uid": user.uid,
            "groups": user.groups,
            "extra": user.extra,
        },
    });
    let answer = client.ask(Method::POST, REVIEWS, Sent::Json(&review)).await;
    let answer: Review = answer.map_err(|error| {
        tracing::warn!(%error, "the API server does not review access");
        Status::unavailable("the API server does not review access")
    })?;
    Ok(answer.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_the_api_server_reads_them() {
        let check = |path: &str, expect: [&str; 6]| {
            let asked = Asked::of(&Method::GET, &path.parse().unwrap()).unwrap();
            let found = [
                asked.verb,
                &asked.namespace,
                &asked.resource,
                &asked.name,
                &asked.subresource,
                asked.path.as_deref().unwrap_or_default(),
            ];
            assert_eq!(found, expect, "{path}");
        };
        let metrics = "/apis/metrics.k8s.io/v1beta1";
        check(metrics, ["get", "", "", "", "", metrics]);
        check("/apis", ["get", "", "", "", "", "/apis"]);
        check(
            &format!("{metrics}/nodes"),
            ["list", "", "nodes", "", "", ""],
        );
        check(
            &format!("{metrics}/nodes/n1"),
            ["get", "", "nodes", "n1", "", ""],
        );
        check(
            &format!("{metrics}/namespaces/a/pods?labelSelector=x"),
            ["list", "a", "pods", "", "", ""],
        );
        check(
            &format!("{metrics}/namespaces/a/pods/p"),
            ["get", "a", "pods", "p", "", ""],
        );
        let custom = "/apis/custom.metrics.k8s.io/v1beta2";
        check(
            &format!("{custom}/namespaces/a/pods/%2A/http_requests"),
            ["get", "a", "pods", "*", "http_requests", ""],
        );
        check(
            &format!("{custom}/namespaces/a/metrics/queue"),
            ["get", "a", "namespaces", "a", "metrics", ""],
        );
        check(
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/a/queue",
            ["list", "a", "queue", "", "", ""],
        );
        let refused = Asked::of(&Method::POST, &"/apis".parse().unwrap());
        assert_eq!(refused, Err(Status::method_not_allowed()));
    }
}
