//! Whose a token of a cluster is: the API server says.
//!
//! Invariants: tokens are remembered as HMACs under a key of this process alone, so that nothing
//! that leaks from memory can be sent; without an answer nobody is known.

use std::collections::BTreeMap;

use http::Method;
use obs_kubernetes::Client;
use obs_kubernetes::client::Sent;
use ring::hmac;
use ring::rand::SystemRandom;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::remembered::Remembered;

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
/// Questions at one time: strangers may make up as many tokens as they like.
const ASKED_MAX: usize = 16;
/// Longest token that is asked about.
const TOKEN_BYTES_MAX: usize = 64 << 10;

/// A user of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default)]
pub(crate) struct User {
    #[serde(rename = "username")]
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) groups: Vec<String>,
    pub(crate) extra: BTreeMap<String, Vec<String>>,
    /// The API server let the request through already.
    #[serde(skip)]
    pub(crate) proxied: bool,
}

/// The API server does not answer.
#[derive(Debug)]
pub(crate) struct Unanswered;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TokenReview {
    status: TokenStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TokenStatus {
    authenticated: bool,
    user: User,
    /// Absent, or null, where none were asked about.
    audiences: Option<Vec<String>>,
}

/// Asks the API server about tokens.
#[derive(Debug)]
pub(crate) struct Reviewer {
    client: Client,
    audiences: Vec<String>,
    key: hmac::Key,
    known: Remembered<Vec<u8>, Option<User>>,
    places: Semaphore,
}

impl Reviewer {
    /// Asks through this client; one of the audiences must be the token's, where there are some.
    pub(crate) fn new(client: Client, audiences: Vec<String>) -> anyhow::Result<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        let key = key.map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
        Ok(Self {
            client,
            audiences,
            key,
            known: Remembered::default(),
            places: Semaphore::new(ASKED_MAX),
        })
    }

    /// Whose a token is; nobody's where the API server does not know it.
    pub(crate) async fn holder(&self, token: &str) -> Result<Option<User>, Unanswered> {
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return Ok(None);
        }
        let key = hmac::sign(&self.key, token.as_bytes()).as_ref().to_vec();
        if let Some(known) = self.known.get(&key) {
            return Ok(known);
        }
        let Ok(_place) = self.places.try_acquire() else {
            return Err(Unanswered);
        };
        let mut spec = json!({"token": token});
        if !self.audiences.is_empty() {
            spec["audiences"] = json!(self.audiences);
        }
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": spec,
        });
        let answer = self.client.ask(Method::POST, REVIEWS, Sent::Json(&review));
        let answer: TokenReview = answer.await.map_err(|error| {
            tracing::warn!(%error, "the API server does not review tokens");
            Unanswered
        })?;
        let status = answer.status;
        let wanted = &self.audiences;
        let meant = wanted.is_empty()
            || status
                .audiences
                .iter()
                .flatten()
                .any(|one| wanted.contains(one));
        let user = (status.authenticated && meant).then_some(status.user);
        self.known.put(key, user.clone());
        Ok(user)
    }
}
