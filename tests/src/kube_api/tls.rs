//! TLS with certificates of a test's own authority.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::serve::Listener;
use base64::Engine;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A certificate and its key, in PEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The certificate.
    pub cert: &'static str,
    /// The key.
    pub key: &'static str,
}

macro_rules! pair {
    ($name:literal) => {
        Pair {
            cert: include_str!(concat!("../../fixtures/kube_api/", $name, ".pem")),
            key: include_str!(concat!("../../fixtures/kube_api/", $name, ".key")),
        }
    };
}

/// The authority of server and clients.
pub const CA: &str = include_str!("../../fixtures/kube_api/ca.pem");
/// The authority of the front proxy.
pub const FRONT_PROXY_CA: &str = include_str!("../../fixtures/kube_api/front-proxy-ca.pem");
/// For `127.0.0.1`, `localhost`, `kubernetes.default.svc` and `obs.monitoring.svc`.
pub const SERVER: Pair = pair!("server");
/// A client, by [`CA`].
pub const CLIENT: Pair = pair!("client");
/// The front proxy, `front-proxy-client`, by [`FRONT_PROXY_CA`].
pub const FRONT_PROXY: Pair = pair!("front-proxy");
/// Somebody else by the same authority.
pub const IMPOSTOR: Pair = pair!("impostor");

/// As kubeconfig files have it.
pub(super) fn encoded(pem: &str) -> String {
    base64::prelude::BASE64_STANDARD.encode(pem)
}

/// Accepts connections that speak TLS.
pub(super) struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl TlsListener {
    pub(super) fn new(listener: TcpListener) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let certs: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(SERVER.cert.as_bytes()).collect();
        let key = PrivateKeyDer::from_pem_slice(SERVER.key.as_bytes()).expect("the key is a key");
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has the default versions")
            .with_no_client_auth()
            .with_single_cert(certs.expect("the certificate is one"), key)
            .expect("key and certificate belong together");
        Self {
            listener,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        }
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let Ok((stream, address)) = self.listener.accept().await else {
                tokio::task::yield_now().await;
                continue;
            };
            // Clients of tests shake hands at once or fail.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
