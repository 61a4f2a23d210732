//! TLS of listeners: certificates that are read anew, handshakes beside each other, and what a
//! client showed.
//!
//! Invariants: a certificate that a client shows is only believed to be its own (it has the key);
//! who signed it is for [`Authorities`] to say. A handshake has a deadline and holds up no other;
//! a file that cannot be read leaves the certificate as it was.

mod listener;
mod terms;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use parking_lot::RwLock;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

pub(crate) use listener::{Peer, TlsListener};
pub(crate) use terms::{Agreed, ClientMode, Pem, Terms};

/// How often the files of a certificate are looked at.
const RELOAD_EVERY: Duration = Duration::from_secs(30);

/// The files of a server's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The certificate and those above it, in PEM.
    pub cert_file: PathBuf,
    /// Its key, in PEM.
    pub key_file: PathBuf,
}

impl CertificateFiles {
    /// With paths that start from `folder`.
    pub(crate) fn below(&self, folder: &Path) -> Self {
        Self {
            cert_file: folder.join(&self.cert_file),
            key_file: folder.join(&self.key_file),
        }
    }
}

/// A certificate that is read anew when its files change.
#[derive(Debug)]
pub(crate) struct Certificate {
    files: CertificateFiles,
    current: RwLock<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read()))
    }
}

impl Certificate {
    /// Reads the files.
    pub(crate) async fn read(files: CertificateFiles) -> anyhow::Result<Arc<Self>> {
        let current = RwLock::new(Arc::new(certified(&files).await?));
        Ok(Arc::new(Self { files, current }))
    }

    /// Reads the files again and again until `stop` is cancelled.
    pub(crate) async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let mut turns = tokio::time::interval(RELOAD_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = turns.tick() => {}
            }
            match certified(&self.files).await {
                Ok(new) if new.cert != self.current.read().cert => {
                    tracing::info!(file = %self.files.cert_file.display(), "a new certificate");
                    *self.current.write() = Arc::new(new);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "a certificate is not read anew, the old one stays");
                }
            }
        }
    }

    /// How connections are accepted: a client may show a certificate.
    pub(crate) fn server(self: &Arc<Self>) -> anyhow::Result<Arc<ServerConfig>> {
        let provider = provider();
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(Arc::new(AnyOwner::new(provider, false)))
            .with_cert_resolver(Arc::<Self>::clone(self));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

async fn certified(files: &CertificateFiles) -> anyhow::Result<CertifiedKey> {
    let chain = certificates(&files.cert_file).await?;
    let shown = || format!("{}: expected a key in PEM", files.key_file.display());
    let key = read(&files.key_file).await?;
    let key = PrivateKeyDer::from_pem_slice(&key).with_context(shown)?;
    CertifiedKey::from_der(chain, key, &provider()).with_context(|| {
        let (cert, key) = (files.cert_file.display(), files.key_file.display());
        format!("certificate {cert} and key {key}")
    })
}

async fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let read = tokio::fs::read(path).await;
    read.with_context(|| format!("read {}", path.display()))
}

/// Certificates of a file in PEM; at least one.
pub(crate) async fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let bytes = read(path).await?;
    certificates_in(&bytes).with_context(|| format!("{}", path.display()))
}

/// Certificates in PEM; at least one.
pub(crate) fn certificates_in(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.context("expected certificates in PEM")?;
    anyhow::ensure!(
        !found.is_empty(),
        "expected certificates in PEM, found none"
    );
    Ok(found)
}

/// Those whose signature under a client's certificate is believed.
#[derive(Debug)]
pub(crate) struct Authorities(Arc<dyn ClientCertVerifier>);

impl Authorities {
    /// Of these certificates.
    pub(crate) fn new(certificates: Vec<CertificateDer<'static>>) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(certificate)?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        Ok(Self(verifier.build()?))
    }

    /// Whether the first of these was signed by one of them, is for clients, and is valid now.
    pub(crate) fn signed(&self, shown: &[CertificateDer<'_>]) -> bool {
        let Some((own, above)) = shown.split_first() else {
            return false;
        };
        let verified = self.0.verify_client_cert(own, above, UnixTime::now());
        if let Err(error) = &verified {
            tracing::debug!(%error, "a client's certificate");
        }
        verified.is_ok()
    }
}

/// Takes any certificate whose key the client has: connections of strangers are told what is wrong
/// by an answer, as the API server does, and not by a handshake that fails.
#[derive(Debug)]
struct AnyOwner {
    provider: Arc<CryptoProvider>,
    must_show: bool,
}

impl AnyOwner {
    fn new(provider: Arc<CryptoProvider>, must_show: bool) -> Self {
        Self {
            provider,
            must_show,
        }
    }
}

impl ClientCertVerifier for AnyOwner {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        self.must_show
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
