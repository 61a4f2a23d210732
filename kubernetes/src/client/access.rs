//! Ways to an API server: a kubeconfig file, the service account of the pod, or an address with
//! the options of an HTTP client.
//!
//! Invariant: credentials are never printed.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kube::config::{
    AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster,
    NamedContext,
};

use super::chain;
use crate::error::Error;

const CONNECT_DEADLINE: Duration = Duration::from_secs(15);
const WRITE_DEADLINE: Duration = Duration::from_secs(30);

/// A way to an API server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Access {
    /// The service account of the pod that this runs in.
    #[default]
    InCluster,
    /// A kubeconfig file.
    Kubeconfig {
        /// The file.
        file: PathBuf,
        /// The context; the file's current one where `None`.
        context: Option<String>,
    },
    /// An address.
    Server(Box<Server>),
}

/// An address and how it is spoken to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Server {
    /// `https://host:port`
    pub url: String,
    /// Who asks.
    pub auth: Auth,
    /// TLS.
    pub tls: Tls,
    /// More headers.
    pub headers: Vec<(String, Credential)>,
    /// A proxy.
    pub proxy_url: Option<String>,
}

/// A text that is not printed.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// A secret, or the file that it is in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Credential {
    /// The secret.
    Inline(Secret),
    /// The file.
    File(PathBuf),
}

impl Credential {
    async fn read(&self) -> Result<String, String> {
        match self {
            Self::Inline(secret) => Ok(secret.0.clone()),
            Self::File(path) => {
                let text = tokio::fs::read_to_string(path).await;
                let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
                Ok(text.trim_end_matches(['\r', '\n']).to_owned())
            }
        }
    }

    fn path(&self) -> Option<String> {
        match self {
            Self::Inline(_) => None,
            Self::File(path) => Some(path.display().to_string()),
        }
    }

    /// Base 64, as kubeconfig files have it.
    fn encoded(&self) -> Option<String> {
        match self {
            Self::Inline(secret) => Some(BASE64_STANDARD.encode(&secret.0)),
            Self::File(_) => None,
        }
    }
}

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Auth {
    /// Nobody in particular.
    #[default]
    None,
    /// User name and password.
    Basic {
        /// The name.
        username: Credential,
        /// The password.
        password: Option<Credential>,
    },
    /// A bearer token; a file is read again when it changes.
    Bearer(Credential),
    /// The header `Authorization` of another kind.
    Other {
        /// Its first word.
        kind: String,
        /// The rest.
        credential: Credential,
    },
}

/// TLS towards an API server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tls {
    /// Certificates to trust, in PEM.
    pub ca: Option<Credential>,
    /// The certificate of this client, in PEM.
    pub cert: Option<Credential>,
    /// Its key, in PEM.
    pub key: Option<Credential>,
    /// The name that the server's certificate must have.
    pub server_name: Option<String>,
    /// Trust any certificate.
    pub insecure: bool,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InCluster => f.write_str("the service account"),
            Self::Kubeconfig { file, .. } => write!(f, "{}", file.display()),
            Self::Server(server) => f.write_str(&server.url),
        }
    }
}

impl Access {
    /// What `kube` needs to know.
    pub(super) async fn config(&self) -> Result<kube::Config, Error> {
        let fault = |fault: String| Error::Config {
            place: self.to_string(),
            fault,
        };
        let found = match self {
            Self::InCluster => kube::Config::incluster().map_err(|e| fault(chain(&e))),
            Self::Kubeconfig { file, context } => {
                let kubeconfig = Kubeconfig::read_from(file).map_err(|e| fault(chain(&e)))?;
                let options = KubeConfigOptions {
                    context: context.clone(),
                    ..KubeConfigOptions::default()
                };
                let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
                config.map_err(|e| fault(chain(&e)))
            }
            Self::Server(server) => {
                let options = KubeConfigOptions::default();
                let kubeconfig = server.kubeconfig().await.map_err(fault)?;
                let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
                config.map_err(|e| fault(chain(&e)))
            }
        };
        let mut config = found?;
        if let Self::Server(server) = self {
            for (name, value) in server.all_headers().await.map_err(fault)? {
                let parsed: http::HeaderName = name
                    .parse()
                    .map_err(|_| fault(format!("{name:?} is not the name of a header")))?;
                let value = value
                    .parse()
                    .map_err(|_| fault(format!("header {name} has no valid value")))?;
                config.headers.push((parsed, value));
            }
        }
        if config.cluster_url.scheme_str() != Some("https") && config.root_cert.is_none() {
            // No certificate is looked at: a machine without any can still speak plain HTTP.
            config.root_cert = Some(Vec::new());
        }
        config.connect_timeout = Some(CONNECT_DEADLINE);
        config.write_timeout = Some(WRITE_DEADLINE);
        // Deadlines of reading are those of requests and watches.
        config.read_timeout = None;
        config.default_retry = false;
        Ok(config)
    }
}

impl Server {
    async fn all_headers(&self) -> Result<Vec<(String, String)>, String> {
        let mut all = Vec::new();
        for (name, value) in &self.headers {
            all.push((name.clone(), value.read().await?));
        }
        if let Auth::Other { kind, credential } = &self.auth {
            let value = format!("{kind} {}", credential.read().await?);
            all.push(("authorization".to_owned(), value));
        }
        Ok(all)
    }

    /// The same as a kubeconfig, which is what `kube` has checks and credentials for.
    async fn kubeconfig(&self) -> Result<Kubeconfig, String> {
        let name = "obs".to_owned();
        let Tls { ca, cert, key, .. } = &self.tls;
        let path = |of: &Option<Credential>| of.as_ref().and_then(Credential::path);
        let encoded = |of: &Option<Credential>| of.as_ref().and_then(Credential::encoded);
        let cluster = Cluster {
            server: Some(self.url.clone()),
            insecure_skip_tls_verify: self.tls.insecure.then_some(true),
            certificate_authority: path(ca),
            certificate_authority_data: encoded(ca),
            proxy_url: self.proxy_url.clone(),
            tls_server_name: self.tls.server_name.clone(),
            ..Cluster::default()
        };
        let mut user = AuthInfo {
            client_certificate: path(cert),
            client_certificate_data: encoded(cert),
            client_key: path(key),
            client_key_data: encoded(key).map(Into::into),
            ..AuthInfo::default()
        };
        match &self.auth {
            Auth::None | Auth::Other { .. } => {}
            Auth::Basic { username, password } => {
                user.username = Some(username.read().await?);
                let password = match password {
                    Some(password) => password.read().await?,
                    None => String::new(),
                };
                user.password = Some(password.into());
            }
            Auth::Bearer(Credential::Inline(token)) => {
                user.token = Some(token.expose().to_owned().into());
            }
            Auth::Bearer(Credential::File(file)) => {
                user.token_file = Some(file.display().to_string());
            }
        }
        Ok(Kubeconfig {
            clusters: vec![NamedCluster {
                name: name.clone(),
                cluster: Some(cluster),
                ..NamedCluster::default()
            }],
            auth_infos: vec![NamedAuthInfo {
                name: name.clone(),
                auth_info: Some(user),
                ..NamedAuthInfo::default()
            }],
            contexts: vec![NamedContext {
                name: name.clone(),
                context: Some(Context {
                    cluster: name.clone(),
                    user: Some(name.clone()),
                    ..Context::default()
                }),
                ..NamedContext::default()
            }],
            current_context: Some(name),
            ..Kubeconfig::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    }

    #[test]
    fn faults_name_the_place_and_no_secret() {
        let access = Access::Kubeconfig {
            file: "/does/not/exist".into(),
            context: None,
        };
        let error = runtime().block_on(access.config()).unwrap_err().to_string();
        assert!(
            error.starts_with("kubernetes client from /does/not/exist: "),
            "{error}"
        );
        let server = Server {
            url: "http://127.0.0.1:1".to_owned(),
            auth: Auth::Bearer(Credential::Inline(Secret::new("hidden-token"))),
            headers: vec![(
                "x y".to_owned(),
                Credential::Inline(Secret::new("hidden-value")),
            )],
            ..Server::default()
        };
        let access = Access::Server(Box::new(server));
        assert!(!format!("{access:?}").contains("hidden"), "{access:?}");
        let error = runtime().block_on(access.config()).unwrap_err().to_string();
        assert!(
            error.contains("\"x y\" is not the name of a header"),
            "{error}"
        );
    }

    #[test]
    fn a_kubeconfig_file_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        let text = "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters:\n- name: c\n  cluster: {server: 'http://127.0.0.1:8001'}\ncontexts:\n- name: a\n  context: {cluster: c, user: u, namespace: shop}\nusers:\n- name: u\n  user: {token: t}\n";
        #[expect(clippy::disallowed_methods, reason = "a file of the test")]
        std::fs::write(&file, text).unwrap();
        let access = Access::Kubeconfig {
            file,
            context: None,
        };
        let config = runtime().block_on(access.config()).unwrap();
        assert_eq!(config.cluster_url, "http://127.0.0.1:8001");
        assert_eq!(config.default_namespace, "shop");
        assert!(!config.default_retry);
    }
}
