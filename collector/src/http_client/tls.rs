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
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::configured::Certificates;
use super::{choose_provider, server_name};
use crate::config::TlsConfig;

/// Begins TLS on a connection to a host.
pub async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    tls: &TlsConfig,
    host: &str,
) -> Result<TlsStream<S>, String> {
    choose_provider();
    let certificates = Certificates::read(tls).await?;
    let provider = CryptoProvider::get_default().cloned();
    let provider = provider.ok_or("nobody does the cryptography of TLS")?;
    let verifier: Arc<dyn ServerCertVerifier> = match tls.insecure_skip_verify {
        true => Arc::new(Anyone(provider)),
        false => server_name::verifier(certificates.trusted.as_deref(), &provider)?,
    };
    let config = server_name::verified_by(verifier, tls, &certificates)?;
    let name = tls.server_name.as_deref().unwrap_or(host).to_owned();
    let name = ServerName::try_from(name).map_err(|e| format!("{host:?}: {e}"))?;
    let shaken = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await;
    shaken.map_err(|e| format!("TLS handshake failed: {e}"))
}

/// Trusts any certificate, because the configuration says so.
#[derive(Debug)]
pub(crate) struct Anyone(pub(crate) Arc<CryptoProvider>);

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
