//! OAuth 2.0 with client credentials (RFC 6749, section 4.4): the token that requests carry.
//!
//! Invariants: a token is asked for once, however many requests wait for it, and used until shortly
//! before it ends; the client's secret is read anew for each token.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderValue};
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::chain;
use super::configured::{body, reveal, secret_value};
use crate::config::Oauth2;

/// Tokens are not used any more this long before they end.
const MARGIN: Duration = Duration::from_secs(10);
/// How long a request for a token may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// The tokens of one client.
#[derive(Debug)]
pub(super) struct Tokens {
    client: Client,
    config: Oauth2,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    token: Option<(HeaderValue, Option<Instant>)>,
    /// Where the server wants the client's credentials, once it is known.
    place: Option<Place>,
}

/// Where the credentials of the client are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Header,
    Body,
}

#[derive(Debug, Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    token_type: String,
    expires_in: Option<serde_json::Value>,
}

impl Granted {
    /// The number may be a text, too.
    fn seconds(&self) -> Option<f64> {
        let value = self.expires_in.as_ref()?;
        let text = || value.as_str().and_then(|text| text.parse().ok());
        let seconds: f64 = value.as_f64().or_else(text)?;
        (seconds.is_finite() && seconds > 0.0).then_some(seconds.min(1e9))
    }

    fn header(&self) -> Result<HeaderValue, String> {
        let kind = match self.token_type.to_ascii_lowercase().as_str() {
            "" | "bearer" => "Bearer",
            "mac" => "MAC",
            "basic" => "Basic",
            _ => &self.token_type,
        };
        secret_value(&format!("{kind} {}", self.access_token))
    }
}

/// Why there is no token.
enum Fault {
    /// The server does not take the request as it is.
    Refused(String),
    Other(String),
}

impl Tokens {
    pub(super) fn new(client: Client, config: &Oauth2) -> Self {
        Self {
            client,
            config: config.clone(),
            state: Mutex::default(),
        }
    }

    /// The value of `Authorization`.
    pub(super) async fn header(&self) -> Result<HeaderValue, String> {
        let mut state = self.state.lock().await;
        if let Some((header, until)) = &state.token
            && until.is_none_or(|until| Instant::now() < until)
        {
            return Ok(header.clone());
        }
        let places = match state.place {
            Some(place) => vec![place],
            None => vec![Place::Header, Place::Body],
        };
        let mut last = String::new();
        for place in places {
            match self.ask(place).await {
                Ok(granted) => {
                    let header = granted.header()?;
                    let life = granted.seconds().map(Duration::from_secs_f64);
                    let until = life.map(|life| Instant::now() + life.saturating_sub(MARGIN));
                    state.place = Some(place);
                    state.token = Some((header.clone(), until));
                    return Ok(header);
                }
                Err(Fault::Refused(fault)) => last = fault,
                Err(Fault::Other(fault)) => return Err(fault),
            }
        }
        Err(last)
    }

    fn form(&self, place: Place, secret: &str) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if !self.config.scopes.is_empty() {
            form.append_pair("scope", &self.config.scopes.join(" "));
        }
        form.extend_pairs(&self.config.params);
        if place == Place::Body {
            form.append_pair("client_id", &self.config.client_id);
            if !secret.is_empty() {
                form.append_pair("client_secret", secret);
            }
        }
        form.finish()
    }

    async fn ask(&self, place: Place) -> Result<Granted, Fault> {
        let told = |fault: String| Fault::Other(format!("oauth2: cannot fetch token: {fault}"));
        let secret = match &self.config.secret {
            Some(secret) => reveal(secret).await.map_err(told)?,
            None => String::new(),
        };
        let mut request = self.client.post(&self.config.token_url).timeout(TIMEOUT);
        if place == Place::Header {
            let encode = |text: &str| -> String {
                form_urlencoded::byte_serialize(text.as_bytes()).collect()
            };
            let id = encode(&self.config.client_id);
            let pair = STANDARD.encode(format!("{id}:{}", encode(&secret)));
            let value = secret_value(&format!("Basic {pair}")).map_err(told)?;
            request = request.header(header::AUTHORIZATION, value);
        }
        let request = request
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(self.form(place, &secret));
        let response = request.send().await.map_err(|e| told(chain(&e)))?;
        let status = response.status();
        let answer = body(response, ANSWER_BYTES_MAX).await.map_err(told)?;
        if !status.is_success() {
            let shown = String::from_utf8_lossy(&answer);
            let shown: String = shown.trim().chars().take(200).collect();
            let fault = format!("oauth2: cannot fetch token: {status}: {shown}");
            let refused = matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED);
            return Err(match refused {
                true => Fault::Refused(fault),
                false => Fault::Other(fault),
            });
        }
        let granted: Granted =
            serde_json::from_slice(&answer).map_err(|e| told(format!("the answer: {e}")))?;
        match granted.access_token.is_empty() {
            true => Err(told("the server gave no access_token".to_owned())),
            false => Ok(granted),
        }
    }
}
