//! What of the settings is in files, and is read anew when they change: tokens, hashes of passwords,
//! `web.yml`, certificates.
//!
//! Invariants: what is read was the same before and after, so that no change is missed; a file with
//! a fault leaves everything as it was, and is told once; what cannot change
//! while connections live (whether clients' certificates are verified, whether anybody is asked who
//! they are) waits for the next start.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use http::{HeaderName, HeaderValue};
use ring::digest::{SHA256, digest};

use super::identity::{How, Identity};
use super::passwords::Hash;
use super::web::{self, Web};
use crate::config::{AuthConfig, ClientAuth, TlsServerConfig, TlsVersion, TokenConfig};
use crate::tls::{Agreed, ClientMode, Pem, Terms};

/// Fewest characters of a token, which anybody may try to guess.
const TOKEN_CHARS_MIN: usize = 16;
/// Most bytes of a file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// How often files are read that change meanwhile.
const READS_MAX: usize = 3;

/// A digest of a token.
type Digest = [u8; 32];

/// A user with a password.
#[derive(Debug)]
pub(super) struct User {
    pub(super) hash: Hash,
    pub(super) identity: Arc<Identity>,
}

/// What the files say.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub(super) tokens: HashMap<Digest, Arc<Identity>>,
    pub(super) users: HashMap<String, User>,
    /// On every answer.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) tls: Option<Agreed>,
    /// What is asked of clients' certificates.
    pub(super) clients: Option<ClientMode>,
    /// Whether who shows no certificate is asked for one: not where `web.yml` only lets them show one.
    certificates_ask: bool,
    /// Whether `web.yml` has users: then a certificate alone does not say who asks.
    pub(super) web_users: bool,
}

/// The files, as they were when they were read.
pub(super) type Stamps = Vec<(PathBuf, Option<Stamp>)>;

/// How a file is told from what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: Option<std::time::SystemTime>,
    size: u64,
    inode: u64,
}

/// The digest under which a token is known.
pub(super) fn fingerprint(token: &str) -> Digest {
    let mut out = Digest::default();
    out.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    out
}

/// Where settings are.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) config: AuthConfig,
    /// What relative paths of the configuration start from.
    pub(super) folder: PathBuf,
    /// `web.yml`
    pub(super) web: Option<PathBuf>,
}

impl Places {
    /// Reads all files; what is said of them was so before and after.
    pub(super) async fn read(&self) -> anyhow::Result<(Live, Stamps)> {
        for _ in 0..READS_MAX {
            let mut before = Stamps::new();
            let live = self.live(&mut before).await?;
            let files = before.iter().map(|(path, _)| path.clone()).collect();
            if stamps(files).await == before {
                return Ok((live, before));
            }
        }
        anyhow::bail!("files change while they are read")
    }

    /// Reads all files, each after it was noted how it is.
    async fn live(&self, files: &mut Stamps) -> anyhow::Result<Live> {
        let mut live = Live::default();
        for (index, token) in self.config.tokens.iter().enumerate() {
            let place = || format!("obs.auth.tokens[{index}]");
            let (known, digest) = self.token(token, files).await.with_context(place)?;
            live.tokens.insert(digest, Arc::new(known));
        }
        for (index, user) in self.config.users.iter().enumerate() {
            let place = || format!("obs.auth.users[{index}]");
            let text = match (&user.password_hash, &user.password_hash_file) {
                (Some(hash), _) => hash.reveal().to_owned(),
                (None, Some(file)) => self.text(file, files).await.with_context(place)?,
                (None, None) => String::new(),
            };
            let hash = Hash::parse(&text).map_err(anyhow::Error::msg);
            let hash = hash.with_context(place)?;
            live.add(&user.name, hash, user.groups.clone());
        }
        let web = self.web(files).await?;
        for notice in &web.notices {
            tracing::warn!("web.yml: {notice}");
        }
        for (name, value) in web.headers {
            let told = || format!("web.yml: header {name}");
            let value = HeaderValue::try_from(value).with_context(told)?;
            let name = HeaderName::try_from(&name).with_context(told)?;
            live.headers.push((name, value));
        }
        live.web_users = !web.users.is_empty();
        for (name, hash) in web.users {
            live.add(&name, hash, Vec::new());
        }
        let own = self.config.tls.as_ref().map(|tls| self.terms(tls));
        anyhow::ensure!(
            own.is_none() || web.tls.is_none(),
            "obs.auth.tls and tls_server_config of web.yml exclude each other"
        );
        let is_own = own.is_some();
        if let Some(terms) = own.or(web.tls) {
            live.certificates_ask = is_own || terms.clients == ClientMode::RequireAndVerify;
            let paths = terms.files().map(Path::to_owned).collect();
            files.extend(stamps(paths).await);
            live.clients = Some(terms.clients);
            live.tls = Some(terms.agreed().await.context("TLS of the listeners")?);
        }
        Ok(live)
    }

    fn terms(&self, tls: &TlsServerConfig) -> Terms {
        let pem = |path: &PathBuf| Pem::File(self.folder.join(path));
        Terms {
            cert: pem(&tls.cert_file),
            key: pem(&tls.key_file),
            ca: tls.client_ca_file.as_ref().map(pem),
            clients: match (&tls.client_ca_file, tls.client_auth) {
                (None, _) => ClientMode::None,
                (Some(_), ClientAuth::Optional) => ClientMode::VerifyIfGiven,
                (Some(_), ClientAuth::Required) => ClientMode::RequireAndVerify,
            },
            sans: Vec::new(),
            versions: (tls.min_version, TlsVersion::Tls13),
            suites: Vec::new(),
            http2: true,
        }
    }

    async fn token(
        &self,
        token: &TokenConfig,
        files: &mut Stamps,
    ) -> anyhow::Result<(Identity, Digest)> {
        let identity = Identity {
            name: token.name.clone(),
            groups: token.groups.clone(),
            claims: Vec::new(),
            how: How::Token,
        };
        if let Some(digits) = &token.sha256 {
            let digest = from_hex(digits).context("sha256: expected 64 hexadecimal digits")?;
            return Ok((identity, digest));
        }
        let text = match (&token.token, &token.token_file) {
            (Some(token), _) => token.reveal().to_owned(),
            (None, Some(file)) => self.text(file, files).await?,
            (None, None) => String::new(),
        };
        anyhow::ensure!(
            text.chars().count() >= TOKEN_CHARS_MIN,
            "expected a token of at least {TOKEN_CHARS_MIN} characters"
        );
        Ok((identity, fingerprint(&text)))
    }

    /// A secret in a file, without the white space around it.
    async fn text(&self, file: &Path, files: &mut Stamps) -> anyhow::Result<String> {
        let path = self.folder.join(file);
        let shown = || format!("read {}", path.display());
        files.extend(stamps(vec![path.clone()]).await);
        let size = tokio::fs::metadata(&path).await.with_context(shown)?.len();
        anyhow::ensure!(size <= FILE_BYTES_MAX, "{}: too large", path.display());
        let text = tokio::fs::read_to_string(&path).await.with_context(shown)?;
        Ok(text.trim().to_owned())
    }

    async fn web(&self, files: &mut Stamps) -> anyhow::Result<Web> {
        let Some(path) = &self.web else {
            return Ok(Web::default());
        };
        let text = self.text(path, files).await?;
        let path = self.folder.join(path);
        let folder = path.parent().unwrap_or(Path::new("."));
        let web = web::parse(&text, folder).map_err(anyhow::Error::msg);
        web.with_context(|| format!("{}", path.display()))
    }
}

impl Live {
    fn add(&mut self, name: &str, hash: Hash, groups: Vec<String>) {
        let identity = Arc::new(Identity {
            name: name.to_owned(),
            groups,
            claims: Vec::new(),
            how: How::Password,
        });
        self.users.insert(name.to_owned(), User { hash, identity });
    }

    /// Whether a certificate that a client shows says who asks.
    pub(super) fn certificates_name(&self) -> bool {
        self.clients.is_some_and(ClientMode::verifies) && !self.web_users
    }

    /// Whether something of it says who asks.
    pub(super) fn has_credentials(&self) -> bool {
        let certificates = self.certificates_ask && self.certificates_name();
        !self.tokens.is_empty() || !self.users.is_empty() || certificates
    }

    /// Why this may not take the place of `old` while the server runs.
    pub(super) fn waits_for_a_start(&self, old: &Self) -> Option<&'static str> {
        let verifies = |live: &Self| live.clients.is_some_and(ClientMode::verifies);
        if self.tls.is_some() != old.tls.is_some() {
            return Some("TLS is switched on and off at a start only");
        }
        if verifies(self) != verifies(old) {
            return Some("certificates of clients begin and cease to be verified at a start only");
        }
        // Without them certificates would name who may do everything, or nobody be asked at all: a
        // file that is emptied, or written in parts, must not do that.
        if old.web_users && !self.web_users {
            return Some("the last user of web.yml is taken away at a start only");
        }
        if old.has_credentials() && !self.has_credentials() {
            return Some("authentication is switched off at a start only");
        }
        None
    }
}

fn from_hex(digits: &str) -> Option<Digest> {
    let digits = digits.trim();
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    let mut out = Digest::default();
    for (index, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(out)
}

/// How files are now.
pub(super) async fn stamps(files: Vec<PathBuf>) -> Stamps {
    use std::os::unix::fs::MetadataExt;
    let mut all = Vec::new();
    for path in files {
        let found = tokio::fs::metadata(&path).await.ok();
        let stamp = found.map(|found| Stamp {
            modified: found.modified().ok(),
            size: found.len(),
            inode: found.ino(),
        });
        all.push((path, stamp));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_of_tokens() {
        let digits = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(from_hex(digits), Some(fingerprint("abc")));
        for wrong in ["", "ba78", &"x".repeat(64), &"é".repeat(32)] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn users_of_web_yml_do_not_vanish_while_the_server_runs() {
        let live = |web_users: bool, clients: Option<ClientMode>| Live {
            web_users,
            clients,
            ..Live::default()
        };
        let check = |new: Live, old: Live, expect: &str| {
            let why = new.waits_for_a_start(&old).unwrap_or_default();
            assert!(why.contains(expect) && why.is_empty() == expect.is_empty());
        };
        let verifies = Some(ClientMode::VerifyIfGiven);
        check(live(false, verifies), live(true, verifies), "web.yml");
        check(live(false, None), live(true, None), "web.yml");
        check(live(true, None), live(true, None), "");
        check(live(true, None), live(false, None), "");
    }

    #[tokio::test]
    async fn secrets_are_read_from_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = async |name: &str, text: &str| {
            tokio::fs::write(folder.path().join(name), text)
                .await
                .expect("written");
        };
        write("token", "a-token-of-a-file\n").await;
        write("web.yml", "basic_auth_users: {}\n").await;
        let text = "obs: {auth: {tokens: [{name: t, token_file: token}], grants: [{user: t, \
                    tenants: '*', role: read}]}}";
        let config = crate::config::parse(text)
            .expect("valid")
            .obs
            .auth
            .expect("there");
        let places = Places {
            config,
            folder: folder.path().to_owned(),
            web: Some("web.yml".into()),
        };
        let (live, stamps) = places.read().await.expect("read");
        assert!(live.tokens.contains_key(&fingerprint("a-token-of-a-file")));
        assert_eq!(stamps.len(), 2);
        write("token", "short").await;
        let fault = places.read().await.expect_err("too short");
        assert!(format!("{fault:#}").starts_with("obs.auth.tokens[0]: expected a token"));
        write("token", "a-token-of-a-file").await;
        write("web.yml", "basic_auth_users: {a: b}").await;
        let fault = places.read().await.expect_err("no hash");
        assert!(format!("{fault:#}").contains("web.yml: basic_auth_users: a: expected a hash"));
    }
}
