//! `obs.kubernetes.kube_state`: metrics of the state of objects.
//!
//! Invariant: the keys are those of kube-state-metrics' own configuration file.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;

/// `obs.kubernetes.kube_state`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
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
