//! `tls_config.server_name`: the name that the certificate of the other side must hold, whatever
//! the address is.
//!
//! Invariant: all else of TLS is as without it: who is trusted, versions, this client's certificate.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion};

use super::configured::Certificates;
use crate::config::{ClientConfig, TlsConfig, TlsVersion};

/// Asks another verifier about a name of its own.
#[derive(Debug)]
struct Named {
    name: ServerName<'static>,
    inner: Arc<dyn ServerCertVerifier>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let inner = &self.inner;
        inner.verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

pub(super) fn verifier(
    trusted: Option<&[u8]>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let Some(pem) = trusted else {
        let system = rustls_platform_verifier::Verifier::new(Arc::clone(provider));
        return Ok(Arc::new(system.map_err(|e| e.to_string())?));
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|e| format!("tls_config.ca: {e}"))?;
        let added = roots.add(certificate);
        added.map_err(|e| format!("tls_config.ca: {e}"))?;
    }
    let provider = Arc::clone(provider);
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    Ok(built.map_err(|e| format!("tls_config.ca: {e}"))?)
}

/// TLS for a client whose other side must have this name.
pub(super) fn config(
    name: &str,
    client: &ClientConfig,
    certificates: &Certificates,
) -> Result<rustls::ClientConfig, String> {
    let provider = CryptoProvider::get_default().cloned();
    let provider = provider.ok_or("nobody does the cryptography of TLS")?;
    let named = ServerName::try_from(name.to_owned());
    let named = Named {
        name: named.map_err(|_| format!("tls_config.server_name {name:?} is not a name"))?,
        inner: verifier(certificates.trusted.as_deref(), &provider)?,
    };
    let mut config = verified_by(Arc::new(named), &client.tls, certificates)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if client.http2 {
        config.alpn_protocols.insert(0, b"h2".to_vec());
    }
    Ok(config)
}

/// TLS with this verifier, and all else as the settings say.
pub(super) fn verified_by(
    verifier: Arc<dyn ServerCertVerifier>,
    tls: &TlsConfig,
    certificates: &Certificates,
) -> Result<rustls::ClientConfig, String> {
    let provider = CryptoProvider::get_default().cloned();
    let provider = provider.ok_or("nobody does the cryptography of TLS")?;
    let older = tls.max_version != Some(TlsVersion::Tls12);
    let newer = tls.min_version != Some(TlsVersion::Tls13);
    let versions: Vec<&'static SupportedProtocolVersion> = [
        (older, &rustls::version::TLS13),
        (newer, &rustls::version::TLS12),
    ]
    .into_iter()
    .filter_map(|(wanted, version)| wanted.then_some(version))
    .collect();
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&versions);
    let builder = builder.map_err(|e| format!("tls_config: {e}"))?;
    let builder = builder.dangerous();
    let builder = builder.with_custom_certificate_verifier(verifier);
    Ok(match &certificates.identity {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            let chain = chain.map_err(|e| format!("tls_config.cert: {e}"))?;
            let key = PrivateKeyDer::from_pem_slice(pem);
            let key = key.map_err(|e| format!("tls_config.key: {e}"))?;
            let built = builder.with_client_auth_cert(chain, key);
            built.map_err(|e| format!("tls_config.cert: {e}"))?
        }
    })
}
