//! `obs.kubernetes`: the API server that obs speaks to, and what of it is shown.
//!
//! Invariant: the keys of `kube_state` are those of kube-state-metrics' own configuration file.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use obs_kubernetes::Access;
use obs_kubernetes::state::{AllowLists, CustomConfig, Settings};
use serde::Deserialize;

/// `obs.kubernetes`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KubernetesConfig {
    /// The way to the API server; without it the service account of the pod.
    pub kubeconfig_file: Option<PathBuf>,
    /// Metrics of the state of objects, scraped as the job `kube-state-metrics`.
    pub kube_state: Option<KubeStateConfig>,
}

/// `obs.kubernetes.kube_state`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KubeStateConfig {
    /// Whether the state is followed at all.
    pub enable: bool,
    /// Where the metrics are served.
    pub listen: SocketAddr,
    /// Where it is told how they are made.
    pub telemetry_listen: SocketAddr,
    /// Resources; empty stands for the default ones.
    pub resources: Vec<String>,
    /// Namespaces; empty stands for all.
    pub namespaces: Vec<String>,
    /// Namespaces that are left out.
    pub namespaces_denylist: Vec<String>,
    /// Patterns of families that are made; empty stands for all.
    pub metric_allowlist: Vec<String>,
    /// Patterns of families that are not made.
    pub metric_denylist: Vec<String>,
    /// Patterns of families that are made by wish only.
    pub metric_opt_in_list: Vec<String>,
    /// Labels that become labels of metrics, by resource.
    pub labels_allow_list: BTreeMap<String, Vec<String>>,
    /// Annotations that become labels of metrics, by resource.
    pub annotations_allow_list: BTreeMap<String, Vec<String>>,
    /// Metrics of custom resources.
    pub custom_resource_state_config_file: Option<PathBuf>,
    /// No other metrics than those.
    pub custom_resources_only: bool,
    /// Lists may be as old as the API server's cache.
    pub use_api_server_cache: bool,
}

impl Default for KubeStateConfig {
    fn default() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            enable: true,
            listen: any,
            telemetry_listen: any,
            resources: Vec::new(),
            namespaces: Vec::new(),
            namespaces_denylist: Vec::new(),
            metric_allowlist: Vec::new(),
            metric_denylist: Vec::new(),
            metric_opt_in_list: Vec::new(),
            labels_allow_list: BTreeMap::new(),
            annotations_allow_list: BTreeMap::new(),
            custom_resource_state_config_file: None,
            custom_resources_only: false,
            use_api_server_cache: false,
        }
    }
}

impl KubernetesConfig {
    /// The way to the API server; `folder` is what relative paths start from.
    pub(crate) fn access(&self, folder: &Path) -> Access {
        match &self.kubeconfig_file {
            Some(file) => Access::Kubeconfig {
                file: folder.join(file),
                context: None,
            },
            None => Access::InCluster,
        }
    }

    /// The state of objects, where it is wanted.
    pub(crate) fn wanted_state(&self) -> Option<&KubeStateConfig> {
        self.kube_state.as_ref().filter(|state| state.enable)
    }
}

impl KubeStateConfig {
    /// What is shown; `folder` is what relative paths start from.
    #[expect(
        clippy::disallowed_methods,
        reason = "the configuration is read once, before the server starts"
    )]
    pub(crate) fn settings(&self, folder: &Path) -> anyhow::Result<Settings> {
        let custom = match &self.custom_resource_state_config_file {
            None => CustomConfig::default(),
            Some(file) => {
                let file = folder.join(file);
                let text = std::fs::read_to_string(&file);
                let text = text.with_context(|| format!("read {}", file.display()))?;
                CustomConfig::parse(&text).with_context(|| format!("{}", file.display()))?
            }
        };
        Ok(Settings {
            resources: self.resources.clone(),
            namespaces: self.namespaces.clone(),
            namespaces_denylist: self.namespaces_denylist.clone(),
            metric_allowlist: self.metric_allowlist.clone(),
            metric_denylist: self.metric_denylist.clone(),
            metric_opt_in_list: self.metric_opt_in_list.clone(),
            labels: AllowLists::new(self.labels_allow_list.clone())?,
            annotations: AllowLists::new(self.annotations_allow_list.clone())?,
            use_apiserver_cache: self.use_api_server_cache,
            custom,
            custom_only: self.custom_resources_only,
            ..Settings::default()
        })
    }
}
