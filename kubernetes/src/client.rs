//! The client of one API server: who it is, and requests with deadlines and bounds.
//!
//! What `kube` does here is reading kubeconfig files and service accounts, credentials that change
//! (token files, exec plugins), and the connection. Requests, bounds, lists and watches are this
//! room's own, so that each has a limit and is counted.
//!
//! Invariants: every request ends by its deadline; a body is never read beyond its bound; lists
//! are read by at most [`LISTS_AT_ONCE`] at a time, so that a start with many watches stays small.

mod access;

use std::sync::{Arc, Once};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use kube::client::Body;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

pub use access::{Access, Auth, Credential, Secret, Server, Tls};

use crate::error::Error;
use crate::resource::Query;

/// How long a request for one object or one page of a list may take.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(60);
/// Largest answer to such a request: a page of 250 objects of the largest size that etcd takes
/// would be more, but no such page was seen; it is an error that names the bound.
pub const ANSWER_BYTES_MAX: usize = 128 << 20;
/// Largest answer that says what is wrong.
const FAULT_BYTES_MAX: usize = 64 << 10;
/// Longest time that a server may ask to be left alone; one that asks for more is asked again then.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);
/// Lists that are read at one time by one client.
pub const LISTS_AT_ONCE: usize = 4;

const JSON: &str = "application/json";
const METADATA_LIST: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
const METADATA: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// A client of one API server. Clones share connections and bounds.
#[derive(Clone)]
pub struct Client {
    kube: kube::Client,
    /// Where it came from, for messages.
    place: Arc<str>,
    lists: Arc<Semaphore>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Client").field(&self.place).finish()
    }
}

/// `Status` as far as it is read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StatusBody {
    message: String,
    reason: String,
    details: Option<StatusDetails>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct StatusDetails {
    retry_after_seconds: u64,
}

/// The body that is sent along.
#[derive(Debug)]
pub enum Sent<'a> {
    /// None.
    Nothing,
    /// An object.
    Json(&'a serde_json::Value),
    /// A merge patch.
    MergePatch(&'a serde_json::Value),
    /// A strategic merge patch.
    StrategicPatch(&'a serde_json::Value),
}

impl Client {
    /// A client for this way in. Reads files, but asks the server nothing.
    pub async fn new(access: &Access) -> Result<Self, Error> {
        choose_provider();
        let place: Arc<str> = access.to_string().into();
        let config = access.config().await?;
        let kube = kube::Client::try_from(config).map_err(|error| Error::Config {
            place: place.to_string(),
            fault: chain(&error),
        })?;
        Ok(Self {
            kube,
            place,
            lists: Arc::new(Semaphore::new(LISTS_AT_ONCE)),
        })
    }

    /// Where its configuration came from.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The namespace of the kubeconfig's context or of the service account.
    pub fn own_namespace(&self) -> &str {
        self.kube.default_namespace()
    }

    /// Asks for one object or document.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.ask(Method::GET, path, Sent::Nothing).await
    }

    /// Asks something of the server and reads its answer.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        sent: Sent<'_>,
    ) -> Result<T, Error> {
        let bytes = self.bytes(method, path, sent, JSON).await?;
        serde_json::from_slice(&bytes).map_err(|error| malformed(path, &error))
    }

    /// One page of a list, as bytes.
    pub(crate) async fn page(
        &self,
        query: &Query,
        parameters: &[(&str, &str)],
    ) -> Result<Bytes, Error> {
        let path = query.address(parameters);
        let accept = match query.metadata_only {
            true => METADATA_LIST,
            false => JSON,
        };
        let _turn = self.lists.acquire().await;
        self.bytes(Method::GET, &path, Sent::Nothing, accept).await
    }

    /// A stream of events.
    pub(crate) async fn watch(
        &self,
        query: &Query,
        parameters: &[(&str, &str)],
    ) -> Result<Response<Body>, Error> {
        let path = query.address(parameters);
        let accept = match query.metadata_only {
            true => METADATA,
            false => JSON,
        };
        let deadline = Instant::now() + REQUEST_DEADLINE;
        self.open(Method::GET, &path, Sent::Nothing, accept, deadline)
            .await
    }

    async fn bytes(
        &self,
        method: Method,
        path: &str,
        sent: Sent<'_>,
        accept: &str,
    ) -> Result<Bytes, Error> {
        let deadline = Instant::now() + REQUEST_DEADLINE;
        let response = self.open(method, path, sent, accept, deadline).await?;
        read(path, response.into_body(), ANSWER_BYTES_MAX, deadline).await
    }

    /// Sends a request and waits for the head of a good answer.
    async fn open(
        &self,
        method: Method,
        path: &str,
        sent: Sent<'_>,
        accept: &str,
        deadline: Instant,
    ) -> Result<Response<Body>, Error> {
        let request = request(method, path, sent, accept)?;
        let Ok(answer) = timeout_at(deadline, self.kube.send(request)).await else {
            return Err(timed_out(path));
        };
        let response = answer.map_err(|error| Error::Unreachable {
            path: path.to_owned(),
            fault: chain(&error),
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let body = read(path, body, FAULT_BYTES_MAX, deadline).await;
        Err(refused(
            path,
            head.status,
            &head.headers,
            &body.unwrap_or_default(),
        ))
    }
}

fn request(
    method: Method,
    path: &str,
    sent: Sent<'_>,
    accept: &str,
) -> Result<Request<Body>, Error> {
    let (kind, body) = match sent {
        Sent::Nothing => (None, Vec::new()),
        Sent::Json(value) => (Some(JSON), value.to_string().into_bytes()),
        Sent::MergePatch(value) => (
            Some("application/merge-patch+json"),
            value.to_string().into_bytes(),
        ),
        Sent::StrategicPatch(value) => (
            Some("application/strategic-merge-patch+json"),
            value.to_string().into_bytes(),
        ),
    };
    let mut builder = Request::builder()
        .method(method)
        .uri(path)
        .header(header::ACCEPT, accept)
        .header(
            header::USER_AGENT,
            concat!("obs/", env!("CARGO_PKG_VERSION")),
        );
    if let Some(kind) = kind {
        builder = builder.header(header::CONTENT_TYPE, kind);
    }
    builder
        .body(Body::from(body))
        .map_err(|error| Error::Malformed {
            path: path.to_owned(),
            fault: format!("not a request: {error}"),
        })
}

/// Reads a body to its end, its bound or the deadline.
async fn read(path: &str, mut body: Body, limit: usize, deadline: Instant) -> Result<Bytes, Error> {
    let mut bytes = Vec::new();
    loop {
        let Ok(frame) = timeout_at(deadline, body.frame()).await else {
            return Err(timed_out(path));
        };
        let frame = match frame {
            None => return Ok(bytes.into()),
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                return Err(Error::Unreachable {
                    path: path.to_owned(),
                    fault: error.to_string(),
                });
            }
        };
        if let Ok(data) = frame.into_data() {
            if data.len() > limit - bytes.len() {
                return Err(Error::TooLarge {
                    path: path.to_owned(),
                    limit,
                });
            }
            bytes.extend_from_slice(&data);
        }
    }
}

fn refused(path: &str, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    let parsed: StatusBody = serde_json::from_slice(body).unwrap_or_default();
    let message = match parsed.message {
        text if text.is_empty() => String::from_utf8_lossy(body)
            .trim()
            .chars()
            .take(300)
            .collect(),
        text => text,
    };
    // A list that goes on after its resource version is gone is told so in the same way.
    if status == StatusCode::GONE {
        return Error::Expired {
            path: path.to_owned(),
            message,
        };
    }
    let seconds = headers.get(header::RETRY_AFTER);
    let seconds = seconds.and_then(|value| value.to_str().ok()?.parse().ok());
    let in_body = parsed.details.map(|details| details.retry_after_seconds);
    let retry_after = seconds.or(in_body.filter(|seconds| *seconds > 0));
    Error::Refused {
        path: path.to_owned(),
        status: status.as_u16(),
        reason: parsed.reason,
        message,
        retry_after: retry_after.map(|asked| Duration::from_secs(asked).min(RETRY_AFTER_MAX)),
    }
}

fn timed_out(path: &str) -> Error {
    Error::TimedOut {
        path: path.to_owned(),
        deadline: REQUEST_DEADLINE,
    }
}

pub(crate) fn malformed(path: &str, error: &serde_json::Error) -> Error {
    Error::Malformed {
        path: path.to_owned(),
        fault: format!("answer is not the JSON that was expected: {error}"),
    }
}

/// Chooses who does the cryptography of TLS; the first call of the process counts.
fn choose_provider() {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // An error means that another part of the process has chosen a provider already.
        drop(rustls::crypto::ring::default_provider().install_default());
    });
}

/// An error with all that caused it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, headers: &[(header::HeaderName, &str)], body: &str, expect: &str) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(name, value.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        let error = refused("/api/v1/pods", status, &map, body.as_bytes());
        let retry = error.retry_after().map(|d| d.as_secs());
        assert_eq!(format!("{error} {retry:?}"), expect);
    }

    #[test]
    fn refusals_are_told_apart() {
        check(
            403,
            &[],
            r#"{"kind":"Status","message":"pods is forbidden","reason":"Forbidden"}"#,
            "/api/v1/pods: API server answered 403 Forbidden: pods is forbidden None",
        );
        check(
            410,
            &[],
            r#"{"kind":"Status","message":"too old resource version","reason":"Expired"}"#,
            "/api/v1/pods: too old resource version None",
        );
        check(
            429,
            &[(header::RETRY_AFTER, "7")],
            "slow down",
            "/api/v1/pods: API server answered 429: slow down Some(7)",
        );
        check(
            429,
            &[(header::RETRY_AFTER, "18446744073709551615")],
            "go away",
            "/api/v1/pods: API server answered 429: go away Some(600)",
        );
        check(
            503,
            &[],
            r#"{"message":"later","reason":"ServiceUnavailable","details":{"retryAfterSeconds":3}}"#,
            "/api/v1/pods: API server answered 503 ServiceUnavailable: later Some(3)",
        );
    }
}
