//! Whose a token of a cluster is: the API server says.
//!
//! Invariants: tokens are remembered as HMACs under a key of this process alone, so that nothing
//! that leaks from memory can be sent; without an answer nobody is known.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use obs_kubernetes::Client;
use obs_kubernetes::client::Sent;
use ring::hmac;
use ring::rand::SystemRandom;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use crate::remembered::Remembered;

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
/// Questions at one time: strangers may make up as many tokens as they like.
const ASKED_MAX: usize = 16;
/// How long a question waits for others.
const PLACE_WAIT: Duration = Duration::from_secs(2);
/// How far clocks may differ, in seconds.
const LEEWAY: i64 = 60;
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
    known: Remembered<Vec<u8>, User>,
    /// Of nobody: apart, so that what strangers make up takes no place of what is known.
    unknown: Remembered<Vec<u8>, ()>,
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
            unknown: Remembered::default(),
            places: Semaphore::new(ASKED_MAX),
        })
    }

    /// Whose a token is; nobody's where the API server does not know it.
    pub(crate) async fn holder(&self, token: &str) -> Result<Option<User>, Unanswered> {
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return Ok(None);
        }
        let key = hmac::sign(&self.key, token.as_bytes()).as_ref().to_vec();
        // Its user, or that it is of nobody.
        let remembered = || match self.known.get(&key) {
            Some(user) => Some(Some(user)),
            None => self.unknown.get(&key).map(|()| None),
        };
        if let Some(known) = remembered() {
            return Ok(known);
        }
        let place = tokio::time::timeout(PLACE_WAIT, self.places.acquire()).await;
        let Ok(Ok(_place)) = place else {
            return Err(Unanswered);
        };
        // Meanwhile somebody else may have asked the same.
        if let Some(known) = remembered() {
            return Ok(known);
        }
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
        match &user {
            Some(user) => self.known.put(key, user.clone()),
            None => self.unknown.put(key, ()),
        }
        Ok(user)
    }
}

/// Whether a token has the form of those that clusters issue, JWTs, and is not over at `now`, in
/// seconds: nothing else is worth a question.
pub(crate) fn may_be_known(token: &str, now: i64) -> bool {
    let mut parts = token.split('.');
    let (Some(head), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let is_digit = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let has_form = |part: &str| !part.is_empty() && part.bytes().all(is_digit);
    if token.len() > TOKEN_BYTES_MAX || !has_form(head) || !has_form(signature) {
        return false;
    }
    let claims = URL_SAFE_NO_PAD.decode(claims).ok();
    let claims: Option<Map<String, Value>> =
        claims.and_then(|claims| serde_json::from_slice(&claims).ok());
    let Some(claims) = claims else {
        return false;
    };
    match claims.get("exp").and_then(Value::as_f64) {
        Some(end) => end > now.saturating_sub(LEEWAY) as f64,
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_a_token_is_asked_about() {
        let part = |claims: &str| URL_SAFE_NO_PAD.encode(claims);
        let of = |claims: &str| format!("e30.{}.c2ln", part(claims));
        for (token, expect) in [
            (of("{}"), true),
            (of(r#"{"exp": 1000}"#), true),
            (of(r#"{"exp": 950}"#), true),
            (of(r#"{"exp": 900}"#), false),
            (of("[]"), false),
            (of("junk"), false),
            ("e30.e30.".to_owned(), false),
            ("e30.e30".to_owned(), false),
            ("e30.e30.c2ln.c2ln".to_owned(), false),
            ("e30.e30.c2l+".to_owned(), false),
            ("nobody".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(may_be_known(&token, 1000), expect, "{token}");
        }
    }
}
