//! `obs.collector.node_problems`: what is looked for in the logs of a node, and who is told.
//!
//! Invariant: programs run only with `allow_commands`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::problems::definition::File;

/// `obs.collector.node_problems`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeProblemsConfig {
    /// Whether obs' own rules on the kernel's messages hold; they do.
    pub default_rules: Option<bool>,
    /// Files with monitors in node-problem-detector's format.
    pub config_files: Vec<PathBuf>,
    /// Monitors in the same format.
    pub(crate) monitors: Vec<File>,
    /// Whether monitors may run programs.
    pub allow_commands: bool,
    node_name: Option<String>,
    /// Whether the API server is told: events, and conditions of the node. Where nothing is said it
    /// is, in a cluster.
    pub kubernetes: Option<bool>,
    /// Labels of the lines.
    pub labels: BTreeMap<String, String>,
}

impl NodeProblemsConfig {
    /// The name of the node: as configured, as the process was told, or that of the machine.
    pub fn node_name(&self, told: Option<&str>) -> String {
        let names = [self.node_name.as_deref(), told];
        let mut names = names.into_iter().flatten();
        match names.find(|name| !name.is_empty()) {
            Some(name) => name.to_owned(),
            None => rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
        }
    }
}
