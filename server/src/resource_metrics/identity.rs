//! Who asks: somebody the front proxy speaks for, somebody with a certificate of the cluster, or
//! somebody with a token.

use std::path::Path;

use anyhow::Context;
use http::{HeaderMap, header};
use obs_kubernetes::Client;
use obs_wire::x509;
use serde::Deserialize;

use super::config::ResourceMetricsConfig;
use super::status::Status;
use crate::tls::{Authorities, Peer, certificates, certificates_in};
use crate::token_review::{Reviewer, Unanswered, User};

/// Where the API server says whose word it gives.
const FRONT_PROXY: &str =
    "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";

/// Whom is believed what.
#[derive(Debug)]
pub(super) struct Identities {
    /// Who signs the certificate of the front proxy, and the names it may have (any where empty).
    front: Option<(Authorities, Vec<String>)>,
    /// Who signs the certificates of users.
    users: Option<Authorities>,
    client: Option<Client>,
    reviewer: Option<Reviewer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ConfigMap {
    data: std::collections::BTreeMap<String, String>,
}

impl Identities {
    /// What the configuration says.
    pub(super) async fn configured(
        settings: &ResourceMetricsConfig,
        folder: &Path,
        client: Option<Client>,
    ) -> anyhow::Result<Self> {
        let users = match &settings.client_ca_file {
            None => None,
            Some(path) => Some(Authorities::new(certificates(&folder.join(path)).await?)?),
        };
        let front = match &settings.requestheader {
            None => None,
            Some(front) => {
                let signers = certificates(&folder.join(&front.client_ca_file)).await;
                let signers = signers.context("requestheader.client_ca_file")?;
                Some((Authorities::new(signers)?, front.allowed_names.clone()))
            }
        };
        anyhow::ensure!(
            front.is_some() || client.is_some(),
            "requestheader is missing, and no cluster to ask for it: set \
             requestheader.client_ca_file or obs.kubernetes.kubeconfig_file"
        );
        Ok(Self {
            front,
            users,
            reviewer: match &client {
                Some(client) => Some(Reviewer::new(client.clone(), Vec::new())?),
                None => None,
            },
            client,
        })
    }

    /// Asks the API server for what the configuration does not say.
    pub(super) async fn complete(&mut self) -> anyhow::Result<()> {
        let Some(client) = self.client.as_ref().filter(|_| self.front.is_none()) else {
            return Ok(());
        };
        let map: ConfigMap = client.get(FRONT_PROXY).await.context(
            "read who the front proxy is, from the ConfigMap extension-apiserver-authentication",
        )?;
        let text = |name: &str| map.data.get(name).filter(|text| !text.is_empty());
        let signers = text("requestheader-client-ca-file");
        let signers = signers.context("requestheader-client-ca-file is missing")?;
        let names = text("requestheader-allowed-names");
        let names = names.map_or(Ok(Vec::new()), |names| serde_json::from_str(names));
        let names = names.context("requestheader-allowed-names")?;
        if self.users.is_none()
            && let Some(pem) = text("client-ca-file")
        {
            self.users = Some(Authorities::new(certificates_in(pem.as_bytes())?)?);
        }
        let signers = certificates_in(signers.as_bytes())?;
        self.front = Some((Authorities::new(signers)?, names));
        Ok(())
    }

    /// Who a request is from.
    pub(super) async fn of(&self, peer: &Peer, headers: &HeaderMap) -> Result<User, Status> {
        if let Some(user) = self.proxied(peer, headers) {
            return Ok(user);
        }
        if let Some(user) = self.certified(peer) {
            return Ok(user);
        }
        let token = headers.get(header::AUTHORIZATION);
        let token = token.and_then(|value| value.to_str().ok());
        let token = token.and_then(|value| value.split_once(' '));
        match token {
            Some((kind, token)) if kind.eq_ignore_ascii_case("bearer") => {
                let user = self.holder(token.trim()).await?;
                user.ok_or_else(Status::unauthorized)
            }
            _ => Err(Status::unauthorized()),
        }
    }

    /// The user that the front proxy speaks for.
    fn proxied(&self, peer: &Peer, headers: &HeaderMap) -> Option<User> {
        let (authorities, names) = self.front.as_ref()?;
        let own = x509::Certificate::decode(peer.0.first()?)?;
        let named = names.is_empty() || names.contains(&own.common_name);
        if !named || !authorities.signed(&peer.0) {
            return None;
        }
        user_of(headers)
    }

    /// The user that a certificate of the cluster names.
    fn certified(&self, peer: &Peer) -> Option<User> {
        let own = x509::Certificate::decode(peer.0.first()?)?;
        let known = self.users.as_ref()?.signed(&peer.0) && !own.common_name.is_empty();
        known.then(|| {
            let mut groups = own.organizations;
            groups.push("system:authenticated".to_owned());
            User {
                name: own.common_name,
                groups,
                ..User::default()
            }
        })
    }

    /// The user that a token is of, as the API server says.
    async fn holder(&self, token: &str) -> Result<Option<User>, Status> {
        let Some(reviewer) = &self.reviewer else {
            return Ok(None);
        };
        let holder = reviewer.holder(token).await;
        holder.map_err(|Unanswered| Status::unavailable("the API server does not review tokens"))
    }
}

/// The user of the front proxy's headers; nobody where they name none.
fn user_of(headers: &HeaderMap) -> Option<User> {
    let texts = |name: &str| {
        let values = headers.get_all(name).into_iter();
        let values = values.filter_map(|value| value.to_str().ok());
        values.map(str::to_owned).collect::<Vec<_>>()
    };
    let name = texts("x-remote-user").into_iter().next()?;
    let mut user = User {
        name,
        uid: texts("x-remote-uid").into_iter().next().unwrap_or_default(),
        groups: texts("x-remote-group"),
        proxied: true,
        ..User::default()
    };
    for name in headers.keys() {
        if let Some(extra) = name.as_str().strip_prefix("x-remote-extra-") {
            let values = texts(name.as_str());
            user.extra.insert(extra.to_owned(), values);
        }
    }
    (!user.name.is_empty()).then_some(user)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_front_proxy_names_users_in_headers() {
        let mut headers = HeaderMap::new();
        assert_eq!(user_of(&headers), None);
        headers.insert("X-Remote-User", HeaderValue::from_static("jane"));
        headers.append("X-Remote-Group", HeaderValue::from_static("dev"));
        headers.append("X-Remote-Group", HeaderValue::from_static("ops"));
        headers.append("X-Remote-Extra-Scopes", HeaderValue::from_static("all"));
        let user = user_of(&headers).unwrap();
        assert_eq!(user.name, "jane");
        assert_eq!(user.groups, ["dev", "ops"]);
        assert_eq!(user.extra["scopes"], ["all"]);
        assert!(user.proxied);
        headers.insert("X-Remote-User", HeaderValue::from_static(""));
        assert_eq!(user_of(&headers), None);
    }
}
