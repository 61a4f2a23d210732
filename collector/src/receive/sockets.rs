//! Listeners for logs beside HTTP: syslog, Fluentd's forward protocol, GELF. They are bound before
//! anything else starts, and serve once the stores are open.
//!
//! Invariants: a listener holds at most [`CONNECTIONS_MAX`] connections, the others wait in the
//! kernel; a connection whose other side is silent for [`IDLE`] is closed; after a stop what was
//! read is stored, and nothing more is read.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use obs_model::Tenant;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Receiver, datagrams, fluent, lines};
use crate::config::{FluentConfig, GelfConfig, SyslogConfig, TlsListenConfig};

/// Most connections of one listener. Each may hold a message that is not whole yet.
const CONNECTIONS_MAX: usize = 1024;
/// How long the other side may be silent. Agents keep connections open over quiet nights.
pub(super) const IDLE: Duration = Duration::from_secs(3600);
/// How long a handshake may take.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);
/// Pause after a connection could not be taken, as when there are no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What is to be listened on.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Syslog.
    pub syslog: Option<&'a SyslogConfig>,
    /// Fluentd's forward protocol.
    pub fluent: Option<&'a FluentConfig>,
    /// GELF.
    pub gelf: Option<&'a GelfConfig>,
    /// What relative paths start from.
    pub folder: &'a Path,
}

/// Why a listener is not there.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The address cannot be had.
    #[error("listen on {address} for {name}: {error}")]
    Listen {
        /// What for.
        name: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// A file of the configuration.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Settings that do not go together.
    #[error("{0}")]
    Settings(String),
}

/// Messages that are cut out of a stream or come one in a datagram.
#[derive(Clone, Debug)]
pub(super) enum Speech {
    Syslog(TimeZone),
    Gelf,
}

enum Service {
    Lines(TcpListener, Option<TlsAcceptor>, Speech),
    Datagrams(UdpSocket, Speech),
    Fluent(TcpListener, Arc<fluent::Setting>),
}

struct Socket {
    name: &'static str,
    address: SocketAddr,
    tenant: Tenant,
    service: Service,
}

/// Listeners that are bound.
#[derive(Default)]
pub struct Sockets {
    all: Vec<Socket>,
}

impl std::fmt::Debug for Sockets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.addresses()).finish()
    }
}

impl Sockets {
    /// Binds everything that is wanted.
    pub async fn bind(wanted: Wanted<'_>) -> Result<Self, SocketError> {
        let mut sockets = Self::default();
        if let Some(config) = wanted.syslog {
            sockets.syslog(config, wanted.folder).await?;
        }
        if let Some(config) = wanted.fluent {
            let setting = Arc::new(fluent::Setting::new(config, wanted.folder).await?);
            let (listener, address) = tcp("fluent", config.listen).await?;
            let service = Service::Fluent(listener, setting);
            sockets.add("fluent", address, &config.tenant, service);
        }
        if let Some(config) = wanted.gelf {
            if let Some(address) = config.tcp {
                let (listener, address) = tcp("gelf_tcp", address).await?;
                let service = Service::Lines(listener, None, Speech::Gelf);
                sockets.add("gelf_tcp", address, &config.tenant, service);
            }
            if let Some(address) = config.udp {
                let (socket, address) = udp("gelf_udp", address).await?;
                let service = Service::Datagrams(socket, Speech::Gelf);
                sockets.add("gelf_udp", address, &config.tenant, service);
            }
        }
        Ok(sockets)
    }

    async fn syslog(&mut self, config: &SyslogConfig, folder: &Path) -> Result<(), SocketError> {
        let speech = || Speech::Syslog(config.timezone.0.clone());
        if let Some(address) = config.tcp {
            let (listener, address) = tcp("syslog_tcp", address).await?;
            let service = Service::Lines(listener, None, speech());
            self.add("syslog_tcp", address, &config.tenant, service);
        }
        if let Some(tls) = &config.tls {
            let acceptor = acceptor(tls, folder).await?;
            let (listener, address) = tcp("syslog_tls", tls.listen).await?;
            let service = Service::Lines(listener, Some(acceptor), speech());
            self.add("syslog_tls", address, &config.tenant, service);
        }
        if let Some(address) = config.udp {
            let (socket, address) = udp("syslog_udp", address).await?;
            let service = Service::Datagrams(socket, speech());
            self.add("syslog_udp", address, &config.tenant, service);
        }
        Ok(())
    }

    fn add(
        &mut self,
        name: &'static str,
        address: SocketAddr,
        tenant: &Option<Tenant>,
        service: Service,
    ) {
        let tenant = tenant.clone().unwrap_or_else(Tenant::anonymous);
        self.all.push(Socket {
            name,
            address,
            tenant,
            service,
        });
    }

    /// Names and addresses, for tools.
    pub fn addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        self.all.iter().map(|s| (s.name, s.address)).collect()
    }

    /// Serves until the token is cancelled.
    pub fn serve(self, receiver: &Receiver, tasks: &TaskTracker, stop: &CancellationToken) {
        for socket in self.all {
            let way = Way {
                receiver: receiver.clone(),
                tenant: socket.tenant,
                stop: stop.clone(),
            };
            match socket.service {
                Service::Lines(listener, tls, speech) => {
                    tasks.spawn(accept(listener, way.stop.clone(), move |stream, peer| {
                        lines::connection(stream, peer, tls.clone(), speech.clone(), way.clone())
                    }));
                }
                Service::Fluent(listener, setting) => {
                    tasks.spawn(accept(listener, way.stop.clone(), move |stream, _| {
                        fluent::connection(stream, Arc::clone(&setting), way.clone())
                    }));
                }
                Service::Datagrams(socket, speech) => {
                    tasks.spawn(datagrams::serve(socket, speech, way));
                }
            }
        }
    }
}

/// Where what a listener hears goes, and by what it ends.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) receiver: Receiver,
    pub(super) tenant: Tenant,
    pub(super) stop: CancellationToken,
}

pub(super) async fn tcp(
    name: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), SocketError> {
    let fault = |error| SocketError::Listen {
        name,
        address,
        error,
    };
    let listener = TcpListener::bind(address).await.map_err(fault)?;
    let bound = listener.local_addr().map_err(fault)?;
    Ok((listener, bound))
}

pub(super) async fn udp(
    name: &'static str,
    address: SocketAddr,
) -> Result<(UdpSocket, SocketAddr), SocketError> {
    let fault = |error| SocketError::Listen {
        name,
        address,
        error,
    };
    let socket = UdpSocket::bind(address).await.map_err(fault)?;
    let bound = socket.local_addr().map_err(fault)?;
    Ok((socket, bound))
}

/// Takes connections until the stop, then waits for those that are there.
pub(super) async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    stop: CancellationToken,
    serve: impl Fn(TcpStream, IpAddr) -> F,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            next = next => next,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = serve(stream, peer.ip());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

/// Reads a file of the configuration.
pub(super) async fn read(folder: &Path, path: &Path) -> Result<Vec<u8>, SocketError> {
    let path = folder.join(path);
    let read = tokio::fs::read(&path).await;
    read.map_err(|error| SocketError::File {
        path,
        reason: error.to_string(),
    })
}

/// A secret in a file, without the line end behind it.
pub(super) async fn read_secret(folder: &Path, path: &Path) -> Result<String, SocketError> {
    let text = String::from_utf8(read(folder, path).await?);
    let text = text.map(|text| text.trim_end_matches(['\n', '\r']).to_owned());
    text.ok()
        .filter(|text| !text.is_empty())
        .ok_or_else(|| SocketError::File {
            path: folder.join(path),
            reason: "expected a secret in UTF-8".to_owned(),
        })
}

async fn acceptor(config: &TlsListenConfig, folder: &Path) -> Result<TlsAcceptor, SocketError> {
    let chain = certificates(folder, &config.cert_file).await?;
    let key = read(folder, &config.key_file).await?;
    let fault = |path: &Path, reason: String| SocketError::File {
        path: folder.join(path),
        reason,
    };
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|error| fault(&config.key_file, format!("expected a key in PEM: {error}")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| fault(&config.cert_file, error.to_string()))?;
    let builder = match &config.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            let authorities = certificates(folder, path).await?;
            for certificate in authorities {
                let added = roots.add(certificate);
                added.map_err(|error| fault(path, error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = verifier.build();
            builder.with_client_cert_verifier(
                verifier.map_err(|error| fault(path, error.to_string()))?,
            )
        }
    };
    let server = builder.with_single_cert(chain, key);
    let server = server.map_err(|error| fault(&config.cert_file, error.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(server)))
}

async fn certificates(
    folder: &Path,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, SocketError> {
    let text = read(folder, path).await?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    all.ok()
        .filter(|all| !all.is_empty())
        .ok_or_else(|| SocketError::File {
            path: folder.join(path),
            reason: "expected certificates in PEM".to_owned(),
        })
}
