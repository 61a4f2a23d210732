//! Who asks, and whether they may: a layer over every route of every listener over HTTP and gRPC.
//!
//! How: [`layer`] stands before the handlers. It takes the class of the route that matched
//! ([`class`]), finds out who asks ([`identity`], [`passwords`], [`jwt`] and [`issuer`], the API
//! server's TokenReview, the certificate of the connection), decides ([`access`]), tells refusals in
//! the words of the route ([`refusal`]) and notes changes and refusals ([`audit`]).
//!
//! Invariants: without settings nothing is asked; with them a route is closed unless its class says
//! otherwise; a secret is kept as a digest or an HMAC and never shown.

mod access;
mod audit;
pub(crate) mod class;
mod identity;
mod issuer;
mod jwt;
mod layer;
mod live;
mod lockout;
mod passwords;
mod refusal;
#[cfg(test)]
mod tests;
mod web;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use http::HeaderMap;
use obs_kubernetes::Client;
use obs_model::Labels;
use obs_model::family::Family;
use obs_model::metrics::MetricKind::{Counter, Gauge};
use parking_lot::RwLock;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::access::Grant;
use self::audit::Audit;
use self::identity::{Identity, Shown};
use self::issuer::{Fault, Issuer};
use self::jwt::Token;
use self::live::{Live, Places, Stamps, fingerprint, stamps};
use self::lockout::Lockout;
use self::passwords::{Login, Passwords, nobody};
use self::refusal::Asks;
use crate::clock;
use crate::config::{CertificateNames, Config, TokenReviewConfig};
use crate::token_review::{Reviewer, Unanswered, may_be_known};

pub(crate) use layer::{Guard, guarded, own_only};

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Who may ask what, for all listeners.
#[derive(Debug)]
pub(crate) struct Auth {
    places: Places,
    grants: Vec<Grant>,
    live: RwLock<Arc<Live>>,
    stamps: RwLock<Stamps>,
    passwords: Passwords,
    lockout: Lockout,
    issuers: Vec<Issuer>,
    reviewer: Option<(Reviewer, TokenReviewConfig)>,
    certificates: CertificateNames,
    audit: Audit,
    /// What this process shows to itself.
    own: String,
    /// Origins of pages that may send telemetry.
    origins: Vec<String>,
    outcomes: Outcomes,
}

/// Requests by how they were decided.
#[derive(Debug, Default)]
struct Outcomes {
    admitted: AtomicU64,
    refused: AtomicU64,
    denied: AtomicU64,
    locked: AtomicU64,
}

/// Why somebody is not known.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    /// Nothing was shown.
    Nothing,
    /// What was shown is wrong.
    Wrong(String),
    /// Too many logins failed; again after so many seconds.
    Locked(u64),
    /// It cannot be checked now.
    Unavailable(String),
}

impl Auth {
    /// What the configuration asks for; `web` is the flag's `web.yml`. Nothing where nothing is
    /// asked for.
    pub(crate) async fn configured(
        config: &Config,
        folder: &Path,
        web: Option<&Path>,
    ) -> anyhow::Result<Option<Arc<Self>>> {
        // A flag is relative to where the server was started, a key to its file.
        let web = match web {
            Some(path) => Some(std::path::absolute(path).context("--web.config.file")?),
            None => None,
        };
        let settings = config.obs.auth.clone();
        if settings.is_none() && web.is_none() {
            return Ok(None);
        }
        let settings = settings.unwrap_or_default();
        let places = Places {
            web: web.or_else(|| settings.web_config_file.clone()),
            config: settings.clone(),
            folder: folder.to_owned(),
        };
        let (live, stamps) = places.read().await?;
        let grants = match settings.grants.is_empty() {
            true => vec![Grant::everything()],
            false => {
                let grants = settings.grants.iter().map(Grant::try_from);
                grants
                    .collect::<Result<_, _>>()
                    .map_err(anyhow::Error::msg)?
            }
        };
        let mut issuers = Vec::new();
        for (index, issuer) in settings.oidc.iter().enumerate() {
            let issuer = Issuer::new(issuer.clone(), folder).await;
            issuers.push(issuer.with_context(|| format!("obs.auth.oidc[{index}]"))?);
        }
        let file = settings.audit_file.as_ref().map(|file| folder.join(file));
        let auth = Self {
            grants,
            live: RwLock::new(Arc::new(live)),
            stamps: RwLock::new(stamps),
            passwords: Passwords::new()?,
            lockout: Lockout::new(settings.lockout),
            issuers,
            reviewer: reviewer(config, folder, settings.token_review.as_ref()).await?,
            certificates: settings.client_certificates.clone(),
            audit: Audit::open(file).await.context("obs.auth.audit_file")?,
            own: secret()?,
            origins: config.obs.traces.cors_allowed_origins.clone(),
            outcomes: Outcomes::default(),
            places,
        };
        anyhow::ensure!(
            settings.grants.is_empty() || auth.asks(),
            "obs.auth.grants: there is no way to log in, so that everybody could do everything"
        );
        Ok(Some(Arc::new(auth)))
    }

    /// Whether anybody is asked who they are.
    pub(crate) fn asks(&self) -> bool {
        let others = !self.issuers.is_empty() || self.reviewer.is_some();
        others || self.live.read().has_credentials()
    }

    /// Whether the listeners speak TLS.
    pub(crate) fn has_tls(&self) -> bool {
        self.live.read().tls.is_some()
    }

    /// The terms of TLS that hold now.
    pub(crate) fn tls(&self) -> Option<Arc<ServerConfig>> {
        let live = self.live.read();
        live.tls.as_ref().map(|agreed| Arc::clone(&agreed.config))
    }

    /// What this process shows to its own listeners.
    pub(crate) fn own(&self) -> &str {
        &self.own
    }

    fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read())
    }

    /// Begins to follow the files and to write the audit log.
    pub(crate) fn start(self: &Arc<Self>, tasks: &TaskTracker, stop: &CancellationToken) {
        self.audit.start(tasks, stop.clone());
        let (auth, stop) = (Arc::clone(self), stop.clone());
        tasks.spawn(async move {
            let mut turns = tokio::time::interval(LOOK_EVERY);
            turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = turns.tick() => auth.look().await,
                }
            }
        });
    }

    /// Reads the files again if they changed.
    async fn look(&self) {
        let before = self.stamps.read().clone();
        let files: Vec<PathBuf> = before.iter().map(|(path, _)| path.clone()).collect();
        let now = stamps(files).await;
        if now == before {
            return;
        }
        // Told once: only another change is a reason to read again.
        *self.stamps.write() = now;
        match self.places.read().await {
            Ok((live, stamps)) => match live.waits_for_a_start(&self.live()) {
                Some(why) => tracing::warn!("files of obs.auth changed: {why}"),
                None => {
                    *self.live.write() = Arc::new(live);
                    *self.stamps.write() = stamps;
                    tracing::info!("files of obs.auth are read anew");
                }
            },
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, "files of obs.auth are not read anew");
            }
        }
    }

    /// What a `401` asks for.
    fn wants(&self) -> Asks {
        let live = self.live.read();
        let others = !self.issuers.is_empty() || self.reviewer.is_some();
        Asks {
            basic: !live.users.is_empty(),
            bearer: others || !live.tokens.is_empty(),
        }
    }

    /// Who asks; with the name that was said where that is not known.
    async fn identify(
        &self,
        headers: &HeaderMap,
        shown: Option<&CertificateDer<'_>>,
        source: IpAddr,
    ) -> Result<Arc<Identity>, (Refused, String)> {
        let wrong = |text: &str| Refused::Wrong(text.to_owned());
        match Shown::of(headers) {
            Shown::Basic { user, password } => {
                let found = self.login(&user, &password, source).await;
                found.map_err(|why| (why, user))
            }
            Shown::Token(token) => {
                let found = self.token(&token).await;
                found.map_err(|why| (why, String::new()))
            }
            Shown::Unknown => {
                let text = "the header Authorization is of no kind that is known here";
                Err((wrong(text), String::new()))
            }
            Shown::Nothing if self.live().certificates_name() => {
                let found = shown.and_then(|der| identity::of_certificate(der, &self.certificates));
                let found = found.map(Arc::new);
                found.ok_or((Refused::Nothing, String::new()))
            }
            Shown::Nothing => Err((Refused::Nothing, String::new())),
        }
    }

    async fn login(
        &self,
        user: &str,
        password: &str,
        source: IpAddr,
    ) -> Result<Arc<Identity>, Refused> {
        let live = self.live();
        let known = live.users.get(user);
        let login = Login {
            source,
            user,
            password,
        };
        let known_already = || {
            let known = known.filter(|user| self.passwords.is_remembered(login, &user.hash));
            known.map(|known| Arc::clone(&known.identity))
        };
        let locked = || match self.lockout.waits(source, user, clock::now()) {
            Some(seconds) => Err(Refused::Locked(seconds)),
            None => Ok(()),
        };
        if let Some(identity) = known_already() {
            return Ok(identity);
        }
        locked()?;
        let place = self.passwords.place().await;
        let place = place.ok_or_else(|| {
            Refused::Unavailable("too many logins are checked at this moment".to_owned())
        })?;
        // Meanwhile the same login may have been found good, or others have failed. What fails is
        // counted before the place is given back, so that no more is tried than may fail.
        if let Some(identity) = known_already() {
            return Ok(identity);
        }
        locked()?;
        // A name that nobody has takes as long as one that somebody has.
        let (nobody, stand_in) = (nobody(), live.users.values().next());
        let hash = known.or(stand_in).map_or(&nobody, |user| &user.hash);
        let fits = self.passwords.check(&place, login, hash).await;
        match known.filter(|_| fits) {
            Some(known) => {
                self.lockout.succeeded(source, user);
                Ok(Arc::clone(&known.identity))
            }
            None => {
                self.lockout.failed(source, user, clock::now());
                Err(Refused::Wrong(
                    "the name or the password is wrong".to_owned(),
                ))
            }
        }
    }

    async fn token(&self, token: &str) -> Result<Arc<Identity>, Refused> {
        if let Some(known) = self.live().tokens.get(&fingerprint(token)) {
            return Ok(Arc::clone(known));
        }
        if let Some(parsed) = Token::parse(token) {
            let mut issuers = self.issuers.iter();
            if let Some(issuer) = issuers.find(|issuer| issuer.issued(&parsed)) {
                return match issuer.holder(&parsed).await {
                    Ok(identity) => Ok(Arc::new(identity)),
                    Err(Fault::Wrong(why)) => Err(Refused::Wrong(why)),
                    Err(Fault::Unavailable(why)) => Err(Refused::Unavailable(why)),
                };
            }
        }
        if let Some((reviewer, config)) = &self.reviewer
            && may_be_known(token, clock::now().millis() / 1000)
        {
            let holder = reviewer.holder(token).await;
            let holder = holder.map_err(|Unanswered| {
                Refused::Unavailable("the API server does not review tokens".to_owned())
            })?;
            if let Some(user) = holder {
                return Ok(Arc::new(identity::of_cluster(user, &config.prefix)));
            }
        }
        Err(Refused::Wrong("the token is not known".to_owned()))
    }

    /// What is told of it.
    pub(crate) fn families(&self) -> Vec<Family> {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        let mut requests = Family::new(
            "obs_auth_requests_total",
            Counter,
            "Requests by how authentication decided.",
        );
        for (outcome, counter) in [
            ("admitted", &self.outcomes.admitted),
            ("refused", &self.outcomes.refused),
            ("denied", &self.outcomes.denied),
            ("locked", &self.outcomes.locked),
        ] {
            requests.push(Labels::from_pairs([("outcome", outcome)]), count(counter));
        }
        let (noted, dropped) = self.audit.counts();
        let mut lines = Family::new(
            "obs_audit_lines_total",
            Counter,
            "Lines of the audit log, and those that were left out.",
        );
        for (outcome, number) in [("noted", noted), ("left_out", dropped)] {
            lines.push(Labels::from_pairs([("outcome", outcome)]), number as f64);
        }
        let mut all = vec![requests, lines];
        if let Some(agreed) = &self.live.read().tls {
            let family = Family::new(
                "obs_tls_certificate_not_after_timestamp_seconds",
                Gauge,
                "Until when the certificate of the listeners is valid.",
            );
            all.push(family.with(agreed.not_after as f64));
        }
        all
    }
}

async fn reviewer(
    config: &Config,
    folder: &Path,
    wanted: Option<&TokenReviewConfig>,
) -> anyhow::Result<Option<(Reviewer, TokenReviewConfig)>> {
    let Some(wanted) = wanted else {
        return Ok(None);
    };
    let cluster = config.cluster(folder).map_err(anyhow::Error::msg)?;
    let client = Client::new(&cluster.access()).await;
    let client = client.context("obs.auth.token_review: the cluster of obs.kubernetes")?;
    let reviewer = Reviewer::new(client, wanted.audiences.clone())?;
    Ok(Some((reviewer, wanted.clone())))
}

/// A secret of this process.
fn secret() -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
