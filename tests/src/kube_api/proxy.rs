//! APIs of others: requests go on over TLS with the front proxy's certificate and the user in
//! headers, as the aggregator of the real server sends them.

use std::time::Duration;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::route::{Asked, refuse};
use super::tls::{CA, FRONT_PROXY};
use super::{Api, Pair};

/// An APIService.
#[derive(Clone, Debug)]
pub struct Aggregated {
    /// Its group.
    pub group: String,
    /// Its version.
    pub version: String,
    /// Where requests go: `https://127.0.0.1:PORT`.
    pub url: String,
    /// The certificate that is shown there; [`FRONT_PROXY`] but in tests of impostors.
    pub identity: Pair,
}

impl Aggregated {
    /// An APIService behind this address.
    pub fn new(group: &str, version: &str, url: &str) -> Self {
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            url: url.to_owned(),
            identity: FRONT_PROXY,
        }
    }
}

pub(super) fn find(api: &Api, path: &str) -> Option<Aggregated> {
    let aggregated = api.aggregated.lock();
    let found = aggregated.iter().find(|a| {
        let own = format!("/apis/{}/{}", a.group, a.version);
        path.strip_prefix(&own)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    found.cloned()
}

fn client(identity: Pair) -> reqwest::Result<reqwest::Client> {
    let pem = format!("{}{}", identity.cert, identity.key);
    reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(CA.as_bytes())?])
        .identity(reqwest::Identity::from_pem(pem.as_bytes())?)
        .timeout(Duration::from_secs(30))
        .build()
}

pub(super) async fn forward(to: &Aggregated, asked: Asked, path: &str) -> Response {
    let unavailable = |fault: &dyn std::fmt::Display| {
        refuse(
            503,
            "ServiceUnavailable",
            &format!("error trying to reach service: {fault}"),
        )
    };
    // An error means that there is a provider already.
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = match client(to.identity) {
        Ok(client) => client,
        Err(fault) => return unavailable(&fault),
    };
    let mut request = client.request(asked.method.clone(), format!("{}{path}", to.url));
    for name in [header::ACCEPT, header::CONTENT_TYPE] {
        if let Some(value) = asked.headers.get(&name) {
            request = request.header(name, value);
        }
    }
    request = request.header("X-Remote-User", &asked.user.name);
    for group in &asked.user.groups {
        request = request.header("X-Remote-Group", group);
    }
    let answer = match request.body(asked.body).send().await {
        Ok(answer) => answer,
        Err(fault) => return unavailable(&fault),
    };
    let (status, kind) = (
        answer.status(),
        answer.headers().get(header::CONTENT_TYPE).cloned(),
    );
    match answer.bytes().await {
        Ok(bytes) => {
            let mut response = (status, Body::from(bytes)).into_response();
            if let Some(kind) = kind {
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
            }
            response
        }
        Err(fault) => unavailable(&fault),
    }
}
