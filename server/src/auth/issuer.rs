//! Who issues JWTs: their keys, found by discovery, kept, and asked for anew when a token names one
//! that is not known.
//!
//! Invariants: what tokens say makes one request at a time and [`PAUSE`] between them, whatever they
//! say; only who comes before there are keys waits for them; a request has a deadline and a bound; keys that cannot be had anew hold for a day; an identity is the
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
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio_util::task::TaskTracker;

use super::identity::{How, Identity, prefixed};
use super::jwt::{Key, Token, keys};
use crate::clock;
use crate::config::OidcConfig;

/// Shortest time from the end of a request to the next, in nanoseconds.
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
    had: Arc<Had>,
    /// What asks for keys.
    tasks: TaskTracker,
}

/// The keys that were had, and how more are.
#[derive(Debug)]
struct Had {
    issuer: String,
    source: Source,
    client: HttpClient,
    known: RwLock<Known>,
    /// When a request for keys ended last; held by who asks.
    asked: Arc<Mutex<Option<Timestamp>>>,
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
        let had = Had {
            issuer: config.issuer.clone(),
            source,
            client: client.map_err(anyhow::Error::msg)?,
            known: RwLock::default(),
            asked: Arc::default(),
        };
        Ok(Self {
            config,
            had: Arc::new(had),
            tasks: TaskTracker::new(),
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
        let (known, had) = match self.had.current(now) {
            Some((known, had)) => (known, had),
            None => self.first().await?,
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
                self.renew();
            }
            return Ok(true);
        }
        let is_new = token.key.is_some() && known.iter().all(|key| key.id != token.key);
        // Nobody is kept waiting, and who has a new token tries again.
        match is_new && self.renew() {
            true => Err(Fault::Unavailable(
                "the keys of the token's issuer are being asked for anew".to_owned(),
            )),
            false => Ok(false),
        }
    }

    /// The keys where there are none: waits for whoever asks for them.
    async fn first(&self) -> Result<(Arc<[Key]>, Timestamp), Fault> {
        self.renew();
        drop(self.had.asked.lock().await);
        self.had.current(clock::now()).ok_or_else(|| {
            Fault::Unavailable("the keys of the token's issuer are not known".to_owned())
        })
    }

    /// Begins to ask for the keys, unless that was done a moment ago; whether they are asked for now.
    fn renew(&self) -> bool {
        let Ok(asked) = Arc::clone(&self.had.asked).try_lock_owned() else {
            return true;
        };
        let now = clock::now();
        if asked.is_some_and(|then| now - then < PAUSE && then <= now) {
            return false;
        }
        // Whoever began it may go away meanwhile.
        let had = Arc::clone(&self.had);
        self.tasks.spawn(async move { had.renew(asked).await });
        true
    }
}

impl Had {
    fn current(&self, now: Timestamp) -> Option<(Arc<[Key]>, Timestamp)> {
        let known = self.known.read();
        let (keys, had) = known.as_ref()?;
        (now - *had < STALE).then(|| (Arc::clone(keys), *had))
    }

    async fn renew(&self, mut asked: OwnedMutexGuard<Option<Timestamp>>) {
        let found = tokio::time::timeout(DEADLINE, self.ask()).await;
        let found = found.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        let now = clock::now();
        match found {
            Ok(keys) => *self.known.write() = Some((keys.into(), now)),
            Err(fault) => {
                let issuer = &self.issuer;
                tracing::warn!(issuer, fault, "the keys of an issuer are not had");
            }
        }
        *asked = Some(now);
    }

    async fn ask(&self) -> Result<Vec<Key>, String> {
        let bytes = match &self.source {
            Source::File(file) => {
                let read = tokio::fs::read(file).await;
                read.map_err(|e| format!("{}: {e}", file.display()))?
            }
            Source::Url(url) => self.get(url).await?,
            Source::Issuer => {
                let base = self.issuer.trim_end_matches('/');
                let url = format!("{base}/.well-known/openid-configuration");
                let bytes = self.get(&url).await?;
                let found: Discovered =
                    serde_json::from_slice(&bytes).map_err(|e| format!("{url}: {e}"))?;
                if found.issuer != self.issuer {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keys_are_asked_for_once_in_a_while() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = "obs: {auth: {oidc: [{issuer: a, audience: b, jwks_file: keys}], grants: [{user: \
                    t, tenants: '*', role: read}]}}";
        let config = crate::config::parse(text).expect("valid");
        let mut all = config.obs.auth.expect("there").oidc;
        let issuer = Issuer::new(all.remove(0), folder.path()).await;
        let issuer = issuer.expect("made");
        // There is no file: everybody is told so, and it is looked for once.
        for _ in 0..2 {
            let fault = issuer.first().await.err();
            assert!(matches!(fault, Some(Fault::Unavailable(_))), "{fault:?}");
        }
        assert!(!issuer.renew());
        // The pause is over.
        *issuer.had.asked.lock().await = None;
        let key = "A".repeat(43);
        let keys = format!(r#"{{"keys": [{{"kty": "OKP", "crv": "Ed25519", "x": "{key}"}}]}}"#);
        tokio::fs::write(folder.path().join("keys"), keys)
            .await
            .expect("written");
        assert!(issuer.renew());
        // Who comes meanwhile begins no other request.
        assert!(issuer.renew());
        drop(issuer.had.asked.lock().await);
        assert!(issuer.had.current(clock::now()).is_some());
        assert!(!issuer.renew());
    }
}
