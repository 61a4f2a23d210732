//! Discovery of targets: `kubernetes_sd_configs` with Prometheus' roles and labels.
//!
//! How: one watch for each resource that the role needs (and for each namespace, where some are
//! named) fills one world of trimmed objects in one task; groups whose objects changed are built
//! again and sent on in batches. What an object becomes is decided by pure functions in `build`.
//!
//! Invariants: nothing is sent before every first list is complete, and the first batch has
//! everything; a watch that fails changes nothing; groups are sent only when what they are made of
//! changed.

mod build;
mod names;
mod run;
mod world;

use std::fmt;

use crate::client::Access;
use crate::selector::Selector;

pub use run::run;

/// What targets are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The kubelet of each node.
    Node,
    /// Each port of each container of each pod.
    Pod,
    /// Each port of each service.
    Service,
    /// Each address of each service, and the other ports of its pods.
    Endpoints,
    /// The same from endpoint slices.
    EndpointSlice,
    /// Each path of each ingress.
    Ingress,
}

const ROLES: [(Role, &str); 6] = [
    (Role::Node, "node"),
    (Role::Pod, "pod"),
    (Role::Service, "service"),
    (Role::Endpoints, "endpoints"),
    (Role::EndpointSlice, "endpointslice"),
    (Role::Ingress, "ingress"),
];

impl Role {
    /// The role of this name.
    pub fn parse(name: &str) -> Option<Self> {
        ROLES
            .iter()
            .find(|(_, n)| *n == name)
            .map(|(role, _)| *role)
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        let found = ROLES.iter().find(|(role, _)| *role == self);
        found.map_or("", |(_, name)| name)
    }

    /// The roles of selectors that may stand beside it.
    fn selectors(self) -> &'static [Self] {
        match self {
            Self::Node => &[Self::Node],
            Self::Pod => &[Self::Pod, Self::Node],
            Self::Service => &[Self::Service],
            Self::Endpoints => &[Self::Pod, Self::Service, Self::Endpoints],
            Self::EndpointSlice => &[Self::Pod, Self::Service, Self::EndpointSlice],
            Self::Ingress => &[Self::Ingress],
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Metadata of other objects that targets get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attach {
    /// Of the node.
    pub node: bool,
    /// Of the namespace.
    pub namespace: bool,
    /// The name of the deployment.
    pub deployment: bool,
    /// The name of the job.
    pub job: bool,
    /// The name of the cron job.
    pub cronjob: bool,
}

/// Which objects of one resource count.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RoleSelector {
    /// The resource.
    pub role: Role,
    /// Label selector.
    pub label: String,
    /// Field selector.
    pub field: String,
}

/// One entry of `kubernetes_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// The API server.
    pub access: Access,
    /// What targets are made of.
    pub role: Role,
    /// Namespaces; all where this is empty.
    pub namespaces: Vec<String>,
    /// Whether the namespace of the pod that this runs in is one of them.
    pub own_namespace: bool,
    /// Selectors.
    pub selectors: Vec<RoleSelector>,
    /// Metadata of other objects.
    pub attach: Attach,
}

impl Config {
    /// All objects of a role.
    pub fn new(access: Access, role: Role) -> Self {
        Self {
            access,
            role,
            namespaces: Vec::new(),
            own_namespace: false,
            selectors: Vec::new(),
            attach: Attach::default(),
        }
    }

    /// Prometheus' rules for selectors.
    pub fn check(&self) -> Result<(), String> {
        let in_cluster = self.access == Access::InCluster;
        if self.own_namespace && !in_cluster {
            let key = match self.access {
                Access::Kubeconfig { .. } => "kubeconfig_file",
                Access::Server(_) | Access::InCluster => "api_server",
            };
            return Err(format!(
                "cannot use '{key}' and 'namespaces.own_namespace' simultaneously"
            ));
        }
        for (index, selector) in self.selectors.iter().enumerate() {
            let role = selector.role;
            if self.selectors[..index]
                .iter()
                .any(|other| other.role == role)
            {
                return Err(format!("duplicated selector role: {role}"));
            }
            let allowed = self.role.selectors();
            if !allowed.contains(&role) {
                let names: Vec<&str> = allowed.iter().map(|role| role.as_str()).collect();
                return Err(format!(
                    "{} role supports only {} selectors",
                    self.role,
                    names.join(", ")
                ));
            }
            Selector::fields(&selector.field)?;
            Selector::labels(&selector.label)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
