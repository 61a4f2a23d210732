//! TLS on a connection of one's own, as `tls_config` says it: for mail and for probes.
//!
//! Invariant: nobody is trusted beyond what the settings say; only `insecure_skip_verify` trusts
//! everybody.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::configured::Certificates;
use super::{choose_provider, server_name};
use crate::config::TlsConfig;
use crate::decode::Decoder;

/// Who the machine trusts, read once as Go's programs do, off the event loop: certificates are some
/// 200 KB of text. A machine that trusts nobody is asked again.
static TRUSTED: OnceCell<Arc<dyn ServerCertVerifier>> = OnceCell::const_new();

async fn trusted(provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let read = async || {
        let provider = Arc::clone(provider);
        let load = move || server_name::verifier(None, &provider);
        let read = Decoder::new(1).run(usize::MAX, load).await;
        read.map_err(|e| format!("certificates of this machine: {e}"))?
    };
    TRUSTED.get_or_try_init(read).await.cloned()
}

/// Begins TLS on a connection to a host.
pub async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    tls: &TlsConfig,
    host: &str,
) -> Result<TlsStream<S>, String> {
    handshake_for(stream, (tls, host), &[]).await
}

/// The same for one of these protocols. The name is the configured one, else that of the host.
pub(crate) async fn handshake_for<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    (tls, host): (&TlsConfig, &str),
    protocols: &[&[u8]],
) -> Result<TlsStream<S>, String> {
    choose_provider();
    let certificates = Certificates::read(tls).await?;
    let provider = CryptoProvider::get_default().cloned();
    let provider = provider.ok_or("nobody does the cryptography of TLS")?;
    let verifier: Arc<dyn ServerCertVerifier> = match &certificates.trusted {
        _ if tls.insecure_skip_verify => Arc::new(Anyone(provider)),
        Some(pem) => server_name::verifier(Some(pem), &provider)?,
        None => trusted(&provider).await?,
    };
    let mut config = server_name::verified_by(verifier, tls, &certificates)?;
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let name = tls.server_name.as_deref().unwrap_or(host).to_owned();
    let name = ServerName::try_from(name).map_err(|e| format!("{host:?}: {e}"))?;
    let shaken = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await;
    shaken.map_err(|e| format!("TLS handshake failed: {e}"))
}

/// Trusts any certificate, because the configuration says so.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
