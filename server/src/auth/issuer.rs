//! Who issues JWTs: their keys, found by discovery, kept, and asked for anew when a token names one
//! that is not known.
//!
//! Invariants: what tokens say makes at most one request in [`PAUSE`], whatever they say; a request
//! has a deadline and a bound; keys that cannot be had anew hold for a day; an identity is the
//! issuer's prefix and a claim that the issuer vouches for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use obs_collector::config::{Auth, ClientConfig, TlsConfig};
use obs_collector::http_client::{HttpClient, Use};
use obs_model::Timestamp;
use obs_model::time::NANOS_PER_SECOND;
use parking_lot::RwLock;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use super::identity::{How, Identity, prefixed};
use super::jwt::{Key, Token, keys};
use crate::clock;
use crate::config::OidcConfig;

/// Shortest time between two requests, in nanoseconds.
const PAUSE: i64 = 10 * NANOS_PER_SECOND;
/// After which keys are asked for anew.
const FRESH: i64 = 3600 * NANOS_PER_SECOND;
/// After which keys are not believed any more.
const STALE: i64 = 24 * FRESH;
/// Longest wait for an answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// Longest answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Groups and claims of one identity.
const GROUPS_MAX: usize = 1000;

/// Where keys come from.
#[derive(Debug)]
enum Source {
    /// Found by discovery.
    Issuer,
    Url(String),
    File(PathBuf),
}

/// Keys, and when they were had.
type Known = Option<(Arc<[Key]>, Timestamp)>;

/// Who issues tokens.
#[derive(Debug)]
pub(super) struct Issuer {
    config: OidcConfig,
    source: Source,
    client: HttpClient,
    known: RwLock<Known>,
    /// When keys were asked for last; held by who asks.
    asked: Mutex<Option<Timestamp>>,
}

/// Why a token is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is wrong.
    Wrong(String),
    /// It cannot be checked now.
    Unavailable(String),
}

#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    jwks_uri: String,
}

impl Issuer {
    pub(super) async fn new(config: OidcConfig, folder: &std::path::Path) -> anyhow::Result<Self> {
        let settings = ClientConfig {
            tls: TlsConfig {
                ca_file: config.ca_file.as_ref().map(|file| folder.join(file)),
                ..TlsConfig::default()
            },
            auth: Auth::None,
            follow_redirects: false,
            http2: true,
            proxy_url: None,
            no_proxy: None,
            proxy_from_environment: true,
            proxy_connect_header: BTreeMap::new(),
            headers: BTreeMap::new(),
            // An administrator says where the issuer is.
            addresses: None,
        };
        let client = HttpClient::new(&settings, Use::default()).await;
        let source = match (&config.jwks_url, &config.jwks_file) {
            (Some(url), _) => Source::Url(url.clone()),
            (None, Some(file)) => Source::File(folder.join(file)),
            (None, None) => Source::Issuer,
        };
        Ok(Self {
            client: client.map_err(anyhow::Error::msg)?,
            config,
            source,
            known: RwLock::default(),
            asked: Mutex::default(),
        })
    }

    /// Whether a token says that it is of this one.
    pub(super) fn issued(&self, token: &Token<'_>) -> bool {
        token.text("iss") == Some(self.config.issuer.as_str())
    }

    /// Who a token of this issuer is of.
    pub(super) async fn holder(&self, token: &Token<'_>) -> Result<Identity, Fault> {
        let wrong = |text: &str| Fault::Wrong(text.to_owned());
        if !self.config.algorithms.contains(&token.algorithm) {
            return Err(wrong("the token is signed in a way that is not allowed"));
        }
        let now = clock::now();
        let (seconds, leeway) = (now.millis() / 1000, self.config.leeway / NANOS_PER_SECOND);
        let checked = token.check(&self.config.audience, seconds, leeway);
        checked.map_err(Fault::Wrong)?;
        if !self.is_signed(token, now).await? {
            return Err(wrong("the token's signature is of no key of its issuer"));
        }
        let name = token.text(&self.config.name_claim);
        let name = name.filter(|name| !name.is_empty());
        let name = name
            .ok_or_else(|| Fault::Wrong(format!("the token has no {}", self.config.name_claim)))?;
        let claims = token.claims.iter().flat_map(|(name, value)| {
            let texts: Vec<&str> = match value {
                Value::String(text) => vec![text],
                Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
                _ => Vec::new(),
            };
            texts
                .into_iter()
                .map(|text| (name.clone(), text.to_owned()))
        });
        let mut groups = token.texts(&self.config.groups_claim);
        groups.truncate(GROUPS_MAX);
        Ok(Identity {
            name: format!("{}{name}", self.config.prefix),
            groups: prefixed(groups, &self.config.prefix),
            claims: claims.take(GROUPS_MAX).collect(),
            how: How::Jwt,
        })
    }

    async fn is_signed(&self, token: &Token<'_>, now: Timestamp) -> Result<bool, Fault> {
        let (known, had) = match self.current(now) {
            Some((known, had)) => (known, had),
            None => self.renewed(now).await?,
        };
        let signs = |keys: &[Key]| {
            let mut named = keys.iter().filter(|key| match (&key.id, &token.key) {
                (Some(own), Some(wanted)) => own == wanted,
                _ => true,
            });
            named.any(|key| token.is_signed_by(key))
        };
        if signs(&known) {
            if now - had >= FRESH {
                // For the next one; what holds now holds.
                drop(self.renewed(now).await);
            }
            return Ok(true);
        }
        let is_new = token.key.is_some() && known.iter().all(|key| key.id != token.key);
        if !is_new {
            return Ok(false);
        }
        let (known, _) = self.renewed(now).await?;
        Ok(signs(&known))
    }

    fn current(&self, now: Timestamp) -> Option<(Arc<[Key]>, Timestamp)> {
        let known = self.known.read();
        let (keys, had) = known.as_ref()?;
        (now - *had < STALE).then(|| (Arc::clone(keys), *had))
    }

    /// Asks for the keys, unless that was done a moment ago.
    async fn renewed(&self, now: Timestamp) -> Result<(Arc<[Key]>, Timestamp), Fault> {
        let mut asked = self.asked.lock().await;
        let recent = |then: Timestamp| now - then < PAUSE && then <= clock::now();
        if !asked.is_some_and(recent) {
            *asked = Some(clock::now());
            let found = tokio::time::timeout(DEADLINE, self.ask()).await;
            let found = found.unwrap_or_else(|_| Err("no answer in time".to_owned()));
            match found {
                Ok(keys) => *self.known.write() = Some((keys.into(), clock::now())),
                Err(fault) => {
                    let issuer = &self.config.issuer;
                    tracing::warn!(issuer, fault, "the keys of an issuer are not had");
                }
            }
        }
        self.current(now).ok_or_else(|| {
            Fault::Unavailable("the keys of the token's issuer are not known".to_owned())
        })
    }

    async fn ask(&self) -> Result<Vec<Key>, String> {
        let bytes = match &self.source {
            Source::File(file) => {
                let read = tokio::fs::read(file).await;
                read.map_err(|e| format!("{}: {e}", file.display()))?
            }
            Source::Url(url) => self.get(url).await?,
            Source::Issuer => {
                let base = self.config.issuer.trim_end_matches('/');
                let url = format!("{base}/.well-known/openid-configuration");
                let bytes = self.get(&url).await?;
                let found: Discovered =
                    serde_json::from_slice(&bytes).map_err(|e| format!("{url}: {e}"))?;
                if found.issuer != self.config.issuer {
                    return Err(format!("{url} is of another issuer: {}", found.issuer));
                }
                self.get(&found.jwks_uri).await?
            }
        };
        keys(&bytes)
    }

    async fn get(&self, url: &str) -> Result<Vec<u8>, String> {
        let request = http::Request::get(url).body(Bytes::new());
        let request = request.map_err(|e| format!("{url}: {e}"))?;
        let answer = self.client.exchange(request, ANSWER_BYTES_MAX).await;
        let answer = answer.map_err(|e| format!("{url}: {e}"))?;
        match answer.status {
            200 => Ok(answer.body.to_vec()),
            status => Err(format!("{url} answered {status}")),
        }
    }
}
