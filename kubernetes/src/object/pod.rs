//! What is read of a pod: enough for discovery and for what is told of its logs.
//!
//! Invariant: nothing else of a pod is allocated; environment variables before all, which hold
//! secrets.

use serde::Deserialize;

use super::{Meta, or_default};

/// A pod as the API has it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct PodObject {
    pub(crate) metadata: Meta,
    pub(crate) spec: PodSpec,
    pub(crate) status: PodStatus,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodSpec {
    pub(crate) node_name: Box<str>,
    pub(crate) host_network: bool,
    #[serde(deserialize_with = "or_default")]
    pub(crate) containers: Box<[ContainerSpec]>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) init_containers: Box<[ContainerSpec]>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) ephemeral_containers: Box<[ContainerSpec]>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct ContainerSpec {
    pub(crate) name: Box<str>,
    pub(crate) image: Box<str>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) ports: Box<[ContainerPort]>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ContainerPort {
    pub(crate) name: Box<str>,
    pub(crate) container_port: u32,
    pub(crate) protocol: Box<str>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodStatus {
    pub(crate) phase: Box<str>,
    #[serde(rename = "podIP")]
    pub(crate) pod_ip: Box<str>,
    #[serde(rename = "podIPs", deserialize_with = "or_default")]
    pub(crate) pod_ips: Box<[PodIp]>,
    #[serde(rename = "hostIP")]
    pub(crate) host_ip: Box<str>,
    pub(crate) start_time: Option<Box<str>>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) conditions: Box<[Condition]>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) container_statuses: Box<[ContainerStatus]>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) init_container_statuses: Box<[ContainerStatus]>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) ephemeral_container_statuses: Box<[ContainerStatus]>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct PodIp {
    pub(crate) ip: Box<str>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    pub(crate) kind: Box<str>,
    pub(crate) status: Box<str>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ContainerStatus {
    pub(crate) name: Box<str>,
    #[serde(rename = "containerID")]
    pub(crate) container_id: Box<str>,
    pub(crate) restart_count: u32,
}
