//! `kubernetes_sd_configs`: all of Prometheus' keys and rules, and how they become a discovery.

use std::path::{Path, PathBuf};

use obs_kubernetes::Access;
use obs_kubernetes::client;
use obs_kubernetes::discovery::{Attach, Config, Role, RoleSelector};
use serde::Deserialize;
use serde::de::Deserializer;

use super::client::{Auth, ClientConfig, Credential, RawClient, with_client_keys};
use super::values::from_text;
use crate::http_client::shown;

/// A role by its name.
#[derive(Clone, Copy, Debug)]
struct RoleWord(Role);

impl<'de> Deserialize<'de> for RoleWord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a role of Kubernetes", |text| {
            let found = Role::parse(text).map(Self);
            found.ok_or_else(|| format!("unknown Kubernetes SD role {text:?}"))
        })
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Namespaces {
    own_namespace: bool,
    names: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SelectorConfig {
    role: RoleWord,
    #[serde(default)]
    label: String,
    #[serde(default)]
    field: String,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AttachMetadata {
    node: bool,
    namespace: bool,
    deployment: bool,
    job: bool,
    cronjob: bool,
}

with_client_keys! {
    /// One entry of `kubernetes_sd_configs` as written.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct KubernetesDiscovery {
        role: Option<RoleWord>,
        api_server: Option<String>,
        kubeconfig_file: Option<PathBuf>,
        #[serde(default)]
        namespaces: Namespaces,
        #[serde(default)]
        selectors: Vec<SelectorConfig>,
        #[serde(default)]
        attach_metadata: AttachMetadata,
    }
}

impl KubernetesDiscovery {
    /// Checks what Prometheus checks.
    pub(super) fn check(mut self, folder: &Path) -> Result<Config, String> {
        let Some(RoleWord(role)) = self.role else {
            return Err(
                "role missing (one of: pod, service, endpoints, endpointslice, node, ingress)"
                    .to_owned(),
            );
        };
        let raw = self.take_client();
        let mut http = raw.check()?;
        let is_own = http != RawClient::default().check()?;
        http.join_paths(folder);
        let url = self.api_server.filter(|url| !url.is_empty());
        let file = self
            .kubeconfig_file
            .filter(|file| !file.as_os_str().is_empty());
        let access = match (url, file) {
            (Some(_), Some(_)) => {
                return Err(
                    "cannot use 'kubeconfig_file' and 'api_server' simultaneously".to_owned(),
                );
            }
            (None, Some(_)) if is_own => {
                return Err(
                    "cannot use a custom HTTP client configuration together with 'kubeconfig_file'"
                        .to_owned(),
                );
            }
            (None, None) if is_own => {
                return Err("to use custom HTTP client configuration please provide the 'api_server' URL explicitly".to_owned());
            }
            (None, None) => Access::InCluster,
            (None, Some(file)) => Access::Kubeconfig {
                file: folder.join(file),
                context: None,
            },
            (Some(url), None) => Access::Server(Box::new(server(url, http)?)),
        };
        let selector = |selector: SelectorConfig| RoleSelector {
            role: selector.role.0,
            label: selector.label,
            field: selector.field,
        };
        let attach = self.attach_metadata;
        let config = Config {
            access,
            role,
            namespaces: self.namespaces.names,
            own_namespace: self.namespaces.own_namespace,
            selectors: self.selectors.into_iter().map(selector).collect(),
            attach: Attach {
                node: attach.node,
                namespace: attach.namespace,
                deployment: attach.deployment,
                job: attach.job,
                cronjob: attach.cronjob,
            },
        };
        config.check()?;
        Ok(config)
    }
}

/// The API server behind an address and the options of an HTTP client.
fn server(url: String, http: ClientConfig) -> Result<client::Server, String> {
    let parsed =
        reqwest::Url::parse(&url).map_err(|e| format!("api_server {:?}: {e}", shown(&url)))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(format!(
            "api_server {:?} is neither http nor https",
            shown(&url)
        ));
    }
    if http.no_proxy.is_some() || http.proxy_from_environment {
        return Err("no_proxy and proxy_from_environment are not supported for the API server, set proxy_url".to_owned());
    }
    if !http.proxy_connect_header.is_empty() {
        return Err("proxy_connect_header is not supported for the API server".to_owned());
    }
    let inline = |text: String| client::Credential::Inline(client::Secret::new(text));
    let credential = |credential: Credential| match credential {
        Credential::Inline(secret) => inline(secret.reveal().to_owned()),
        Credential::File(path) => client::Credential::File(path),
    };
    let auth = match http.auth {
        Auth::None => client::Auth::None,
        Auth::Oauth2(_) => {
            return Err("oauth2 is not supported for the API server".to_owned());
        }
        Auth::Basic { username, password } => client::Auth::Basic {
            username: credential(username),
            password: password.map(credential),
        },
        Auth::Header {
            kind,
            credential: own,
        } if kind.eq_ignore_ascii_case("bearer") => client::Auth::Bearer(credential(own)),
        Auth::Header {
            kind,
            credential: own,
        } => client::Auth::Other {
            kind,
            credential: credential(own),
        },
    };
    let tls = http.tls;
    if tls.min_version.is_some() || tls.max_version.is_some() {
        return Err("min_version and max_version are not supported for the API server".to_owned());
    }
    let either = |text: Option<String>, file: Option<PathBuf>| {
        text.map(inline).or(file.map(client::Credential::File))
    };
    let mut headers = Vec::new();
    for (name, values) in http.headers {
        let secrets = values
            .secrets
            .iter()
            .map(|secret| secret.reveal().to_owned());
        let texts = values.values.into_iter().chain(secrets).map(inline);
        let files = values.files.into_iter().map(client::Credential::File);
        headers.extend(texts.chain(files).map(|value| (name.clone(), value)));
    }
    let key = tls.key.map(|key| key.reveal().to_owned());
    Ok(client::Server {
        url: url.trim_end_matches('/').to_owned(),
        auth,
        tls: client::Tls {
            ca: either(tls.ca, tls.ca_file),
            cert: either(tls.cert, tls.cert_file),
            key: either(key, tls.key_file),
            server_name: tls.server_name,
            insecure: tls.insecure_skip_verify,
        },
        headers,
        proxy_url: http.proxy_url,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(yaml: &str, expect: Result<&str, &str>) {
        let parsed: Result<KubernetesDiscovery, _> = serde_yaml_ng::from_str(yaml);
        let checked = parsed
            .map_err(|e| e.to_string())
            .and_then(|config| config.check(Path::new("/etc/obs")));
        match (checked, expect) {
            (Ok(config), Ok(expect)) => {
                let text = format!("{config:?}");
                assert!(text.contains(expect), "{yaml}: {text}");
            }
            (Err(fault), Err(expect)) => assert!(fault.contains(expect), "{yaml}: {fault}"),
            (got, expect) => panic!("{yaml}: {got:?}, expected {expect:?}"),
        }
    }

    #[test]
    fn rules_are_those_of_prometheus() {
        check(
            "{role: pod}",
            Ok("access: InCluster, role: Pod, namespaces: []"),
        );
        check(
            "{role: node, kubeconfig_file: kc}",
            Ok("file: \"/etc/obs/kc\""),
        );
        check(
            "{role: pod, api_server: 'https://h:6443/', bearer_token: secret-token, tls_config: {ca_file: ca.pem}}",
            Ok(
                "url: \"https://h:6443\", auth: Bearer(Inline(<secret>)), tls: Tls { ca: Some(File(\"/etc/obs/ca.pem\"))",
            ),
        );
        check(
            "{role: pod, namespaces: {names: [a], own_namespace: true}, selectors: [{role: pod, label: 'a=b'}], attach_metadata: {node: true, deployment: true}}",
            Ok("own_namespace: true"),
        );
        check("{}", Err("role missing"));
        check("{role: pods}", Err("unknown Kubernetes SD role \"pods\""));
        check(
            "{role: pod, kubeconfig_file: a, api_server: 'http://x'}",
            Err("simultaneously"),
        );
        check(
            "{role: pod, kubeconfig_file: a, bearer_token: b}",
            Err("cannot use a custom HTTP client configuration together with 'kubeconfig_file'"),
        );
        check(
            "{role: pod, bearer_token: b}",
            Err("please provide the 'api_server' URL explicitly"),
        );
        check(
            "{role: pod, api_server: 'ftp://x'}",
            Err("neither http nor https"),
        );
        check(
            "{role: node, selectors: [{role: pod}]}",
            Err("node role supports only node selectors"),
        );
        check("{role: pod, colour: red}", Err("unknown field `colour`"));
    }
}
