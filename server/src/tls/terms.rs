//! On what terms a listener speaks TLS, as a configuration has them.
//!
//! Invariant: a certificate of a client is believed only where [`ClientMode::verifies`]; nothing
//! older than TLS 1.2 is spoken.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use obs_wire::x509;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme, SupportedProtocolVersion,
};

use super::{AnyOwner, certificates_in, provider, read};
use crate::config::TlsVersion;

/// Something in PEM.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Pem {
    /// In the configuration.
    Inline(String),
    /// In a file.
    File(PathBuf),
}

/// A key may be inline, so that no text is shown.
impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("<inline>"),
            Self::File(path) => path.fmt(f),
        }
    }
}

impl Pem {
    /// The file, where it is in one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Self::Inline(_) => None,
            Self::File(path) => Some(path),
        }
    }

    async fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Inline(text) => Ok(text.clone().into_bytes()),
            Self::File(path) => read(path).await,
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Inline(_) => "the inline text".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

/// What is asked of clients; the words of Go's `tls.ClientAuthType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientMode {
    /// Nothing.
    None,
    /// A certificate, if they have one.
    Request,
    /// Any certificate.
    RequireAny,
    /// If they show one, one that is signed.
    VerifyIfGiven,
    /// One that is signed.
    RequireAndVerify,
}

impl ClientMode {
    /// Whether a certificate that is shown is signed by who is believed.
    pub(crate) fn verifies(self) -> bool {
        matches!(self, Self::VerifyIfGiven | Self::RequireAndVerify)
    }
}

/// On what terms a listener speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) cert: Pem,
    pub(crate) key: Pem,
    /// Who signs the certificates of clients.
    pub(crate) ca: Option<Pem>,
    pub(crate) clients: ClientMode,
    /// One of these must be among the names of a client's certificate, where there are some.
    pub(crate) sans: Vec<String>,
    /// The oldest and the newest version.
    pub(crate) versions: (TlsVersion, TlsVersion),
    /// Names of suites of TLS 1.2; all that are safe where empty.
    pub(crate) suites: Vec<String>,
    pub(crate) http2: bool,
}

/// Terms that hold, with certificates read.
#[derive(Debug)]
pub(crate) struct Agreed {
    pub(crate) config: Arc<ServerConfig>,
    /// Until when the certificate is valid, in seconds since 1970.
    pub(crate) not_after: i64,
}

impl Terms {
    /// Files that these terms are in.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        let all = [Some(&self.cert), Some(&self.key), self.ca.as_ref()];
        all.into_iter().flatten().filter_map(Pem::file)
    }

    /// Reads the certificates.
    pub(crate) async fn agreed(&self) -> anyhow::Result<Agreed> {
        let mut provider = (*provider()).clone();
        if !self.suites.is_empty() {
            let suites = &self.suites;
            provider.cipher_suites.retain(|suite| {
                let version = suite.version().version;
                // Those of TLS 1.3 are not chosen, as in Go.
                let newest = version == rustls::ProtocolVersion::TLSv1_3;
                newest
                    || suites
                        .iter()
                        .any(|name| same_suite(name, suite.suite().as_str()))
            });
        }
        let mut versions: Vec<&'static SupportedProtocolVersion> = Vec::new();
        if self.versions.0 <= TlsVersion::Tls12 {
            versions.push(&rustls::version::TLS12);
        }
        if self.versions.1 >= TlsVersion::Tls13 {
            versions.push(&rustls::version::TLS13);
        }
        let chain = certificates_in(&self.cert.bytes().await?);
        let chain = chain.with_context(|| self.cert.shown())?;
        let decoded = chain.first().and_then(|own| x509::Certificate::decode(own));
        let not_after = decoded.map_or(0, |own| own.not_after);
        let key = PrivateKeyDer::from_pem_slice(&self.key.bytes().await?);
        let key = key.with_context(|| format!("{}: expected a key in PEM", self.key.shown()))?;
        let certified = CertifiedKey::from_der(chain, key, &provider).with_context(|| {
            format!(
                "certificate {} and key {}",
                self.cert.shown(),
                self.key.shown()
            )
        })?;
        let provider = Arc::new(provider);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_protocol_versions(&versions)?;
        let resolver = Arc::new(SingleCertAndKey::from(certified));
        let mut config = match self.clients {
            ClientMode::None => builder.with_no_client_auth(),
            ClientMode::Request => {
                builder.with_client_cert_verifier(Arc::new(AnyOwner::new(provider, false)))
            }
            ClientMode::RequireAny => {
                builder.with_client_cert_verifier(Arc::new(AnyOwner::new(provider, true)))
            }
            ClientMode::VerifyIfGiven | ClientMode::RequireAndVerify => {
                builder.with_client_cert_verifier(self.verifier(provider).await?)
            }
        }
        .with_cert_resolver(resolver);
        config.alpn_protocols = match self.http2 {
            true => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            false => vec![b"http/1.1".to_vec()],
        };
        Ok(Agreed {
            config: Arc::new(config),
            not_after,
        })
    }

    async fn verifier(
        &self,
        provider: Arc<rustls::crypto::CryptoProvider>,
    ) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
        let ca = self
            .ca
            .as_ref()
            .context("expected who signs the certificates of clients")?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates_in(&ca.bytes().await?).with_context(|| ca.shown())? {
            roots.add(certificate)?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = match self.clients {
            ClientMode::VerifyIfGiven => builder.allow_unauthenticated().build()?,
            _ => builder.build()?,
        };
        Ok(match self.sans.is_empty() {
            true => verifier,
            false => Arc::new(Named {
                verifier,
                names: self.sans.clone(),
            }),
        })
    }
}

/// Go's names of suites and those of the standard: `TLS_ECDHE_RSA_WITH_…` and
/// `TLS_ECDHE_RSA_WITH_…_SHA256` are one for ChaCha20.
fn same_suite(name: &str, own: Option<&str>) -> bool {
    let stem = |name: &str| name.trim_end_matches("_SHA256").to_owned();
    own.is_some_and(|own| own == name || own.contains("CHACHA20") && stem(own) == stem(name))
}

/// Of certificates that are signed, those with one of these names.
#[derive(Debug)]
struct Named {
    verifier: Arc<dyn ClientCertVerifier>,
    names: Vec<String>,
}

impl Named {
    fn has_name(&self, der: &CertificateDer<'_>) -> bool {
        let Some(found) = x509::Certificate::decode(der) else {
            return false;
        };
        let texts = [&found.dns_names, &found.uris, &found.emails];
        let mut texts = texts.into_iter().flatten();
        let is_listed = |address: &IpAddr| self.names.contains(&address.to_string());
        texts.any(|name| self.names.contains(name)) || found.addresses.iter().any(is_listed)
    }
}

impl ClientCertVerifier for Named {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.verifier.verify_client_cert(own, above, now)?;
        match self.has_name(own) {
            true => Ok(verified),
            false => Err(Error::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            )),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
