//! A server whose answers a test decides, over TCP, TLS or a unix socket: scraped targets, proxies,
//! token servers, APIs of discoveries. It remembers what it was asked.
//!
//! Invariants: each connection answers one request; whatever a client sends does not end it; it
//! ends with the process.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use obs_tests::kube_api::{CA, SERVER};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;

/// Most bytes of a request's body.
const BODY_MAX: usize = 1 << 20;

/// What was asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// As it stood in the first line: with the host where a proxy was asked.
    pub(crate) target: String,
    /// By names in lower case; values of one name are joined.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Asked {
    /// A header, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Closed without a word.
    pub(crate) silent: bool,
}

impl Reply {
    /// Status 200 with a content type.
    pub(crate) fn typed(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            body: body.into(),
            silent: false,
        }
    }

    /// Metrics as text.
    pub(crate) fn text(body: &str) -> Self {
        Self::typed("text/plain; version=0.0.4", body)
    }

    /// Metrics as OpenMetrics.
    pub(crate) fn open(body: &str) -> Self {
        Self::typed(
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            body,
        )
    }

    /// JSON.
    pub(crate) fn json(body: &str) -> Self {
        Self::typed("application/json", body)
    }

    /// A status without a body.
    pub(crate) fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::typed("text/plain", "")
        }
    }

    /// The end of the connection.
    pub(crate) fn silence() -> Self {
        Self {
            silent: true,
            ..Self::status(200)
        }
    }

    /// With a further header.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

type Answer = Arc<dyn Fn(&Asked) -> Reply + Send + Sync>;

/// The server.
pub(crate) struct Peer {
    /// Host and port; empty for a socket.
    pub(crate) address: String,
    shared: Arc<Shared>,
}

struct Shared {
    answer: Mutex<Answer>,
    asked: Mutex<Vec<Asked>>,
}

/// How it listens beside plain TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    /// With the certificate of the tests' server.
    Server,
    /// The same, and clients need one by the same authority.
    Both,
}

impl Peer {
    /// Plain HTTP.
    pub(crate) fn serve(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let (listener, peer) = Self::bound(answer);
        let shared = Arc::clone(&peer.shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || shared.talk(stream));
            }
        });
        peer
    }

    /// HTTPS.
    pub(crate) fn secure(
        tls: Tls,
        answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let (listener, peer) = Self::bound(answer);
        let (shared, config) = (Arc::clone(&peer.shared), tls_config(tls));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, config) = (Arc::clone(&shared), Arc::clone(&config));
                std::thread::spawn(move || {
                    if let Ok(connection) = rustls::ServerConnection::new(config) {
                        shared.talk(rustls::StreamOwned::new(connection, stream));
                    }
                });
            }
        });
        peer
    }

    /// Over a unix socket.
    pub(crate) fn socket(
        path: &Path,
        answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = UnixListener::bind(path).expect("the path is free");
        let peer = Self::new(String::new(), answer);
        let shared = Arc::clone(&peer.shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || shared.talk(stream));
            }
        });
        peer
    }

    fn bound(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> (TcpListener, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        (listener, Self::new(address, answer))
    }

    fn new(address: String, answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared {
            answer: Mutex::new(Arc::new(answer)),
            asked: Mutex::default(),
        });
        Self { address, shared }
    }

    /// Answers differently from now on.
    pub(crate) fn say(&self, answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) {
        *self.shared.answer.lock().expect("no thread panicked") = Arc::new(answer);
    }

    /// Everything that it was asked.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared
            .asked
            .lock()
            .expect("no thread panicked")
            .clone()
    }
}

impl Shared {
    fn talk(&self, stream: impl Read + Write) {
        let mut reader = BufReader::new(stream);
        // Whoever says no more needs no answer.
        let Some(asked) = read_request(&mut reader) else {
            return;
        };
        self.asked
            .lock()
            .expect("no thread panicked")
            .push(asked.clone());
        let answer = Arc::clone(&self.answer.lock().expect("no thread panicked"));
        let reply = answer(&asked);
        if reply.silent {
            return;
        }
        let mut head = format!("HTTP/1.1 {} Said\r\nconnection: close\r\n", reply.status);
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", reply.body.len()));
        let stream = reader.get_mut();
        let said = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(&reply.body))
            .and_then(|()| stream.flush());
        // Whoever left does not want the rest.
        drop(said);
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Asked> {
    let mut asked = Asked::default();
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    asked.method = words.next()?.to_owned();
    asked.target = words.next()?.to_owned();
    loop {
        line.clear();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        let joined = asked.headers.entry(name.to_lowercase()).or_default();
        if !joined.is_empty() {
            joined.push_str(", ");
        }
        joined.push_str(value.trim());
    }
    let length = asked.header("content-length").parse::<usize>().unwrap_or(0);
    let mut body = vec![0; length.min(BODY_MAX)];
    reader.read_exact(&mut body).ok()?;
    asked.body = String::from_utf8_lossy(&body).into_owned();
    Some(asked)
}

fn tls_config(tls: Tls) -> Arc<rustls::ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certs = CertificateDer::pem_slice_iter(SERVER.cert.as_bytes());
    let certs = certs.collect::<Result<Vec<_>, _>>().expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(SERVER.key.as_bytes()).expect("a key");
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions");
    let builder = match tls {
        Tls::Server => builder.with_no_client_auth(),
        Tls::Both => {
            let mut roots = rustls::RootCertStore::empty();
            for ca in CertificateDer::pem_slice_iter(CA.as_bytes()) {
                roots.add(ca.expect("a certificate")).expect("an authority");
            }
            let made = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(made.build().expect("there is an authority"))
        }
    };
    let config = builder.with_single_cert(certs, key);
    Arc::new(config.expect("key and certificate belong together"))
}
