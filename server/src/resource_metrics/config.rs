//! `obs.resource_metrics`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use obs_model::{Tenant, duration};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::rules::{AdapterConfig, Rule};
use crate::tls::CertificateFiles;

/// The resource-metrics APIs of Kubernetes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceMetricsConfig {
    /// Where they are served.
    pub listen: SocketAddr,
    /// The certificate of the listener, read anew when it changes.
    pub tls: CertificateFiles,
    /// Who the front proxy of the API server is; asked of the cluster where it is left out.
    #[serde(default)]
    pub requestheader: Option<RequestHeaderConfig>,
    /// Who signs the certificates of users that ask directly; asked of the cluster likewise.
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,
    /// Whose series are told; `anonymous`.
    #[serde(default, deserialize_with = "tenant")]
    pub tenant: Option<Tenant>,
    /// How far back the two samples of a counter may be that make a usage.
    #[serde(default)]
    pub window: Window,
    /// A configuration of prometheus-adapter: its rules of custom and external metrics.
    #[serde(default)]
    pub adapter_file: Option<PathBuf>,
    /// The same inline.
    #[serde(default)]
    pub adapter: Option<AdapterConfig>,
}

/// The front proxy.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestHeaderConfig {
    /// Who signs its certificate.
    pub client_ca_file: PathBuf,
    /// The common names that it may have; any where there are none.
    #[serde(default)]
    pub allowed_names: Vec<String>,
}

/// A length of time, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(pub i64);

impl Default for Window {
    fn default() -> Self {
        Self(300 * obs_model::time::NANOS_PER_SECOND)
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let nanos = duration::parse(&text);
        let nanos = nanos.ok_or_else(|| D::Error::custom("expected a duration, such as 5m"))?;
        match nanos > 0 {
            true => Ok(Self(nanos)),
            false => Err(D::Error::custom("expected a duration above 0, such as 5m")),
        }
    }
}

fn tenant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Tenant>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Tenant::new(&text).map(Some).map_err(D::Error::custom)
}

impl ResourceMetricsConfig {
    /// The rules of custom and external metrics; those of prometheus-adapter's chart where none are
    /// given.
    pub(super) async fn adapter(&self, folder: &Path) -> anyhow::Result<(Vec<Rule>, Vec<Rule>)> {
        let given = match (&self.adapter, &self.adapter_file) {
            (Some(_), Some(_)) => {
                anyhow::bail!("obs.resource_metrics: adapter and adapter_file exclude each other")
            }
            (Some(inline), None) => inline.clone(),
            (None, Some(path)) => {
                let path = folder.join(path);
                let shown = || format!("{}", path.display());
                let text = tokio::fs::read_to_string(&path).await.with_context(shown)?;
                serde_yaml_ng::from_str(&text).with_context(shown)?
            }
            (None, None) => AdapterConfig::usual(),
        };
        given.compiled().context("obs.resource_metrics: rules")
    }
}
