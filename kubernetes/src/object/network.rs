//! What is read of nodes, services, endpoints, endpoint slices and ingresses.

use serde::Deserialize;

use super::pod::Condition;
use super::{Meta, Pairs, or_default};

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct NodeObject {
    pub(crate) metadata: Meta,
    pub(crate) spec: NodeSpec,
    pub(crate) status: NodeStatus,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct NodeSpec {
    #[serde(rename = "providerID")]
    pub(crate) provider_id: Box<str>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct NodeStatus {
    #[serde(deserialize_with = "or_default")]
    pub(crate) addresses: Box<[NodeAddress]>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) conditions: Box<[Condition]>,
    pub(crate) daemon_endpoints: DaemonEndpoints,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct NodeAddress {
    #[serde(rename = "type")]
    pub(crate) kind: Box<str>,
    pub(crate) address: Box<str>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct DaemonEndpoints {
    pub(crate) kubelet_endpoint: DaemonEndpoint,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct DaemonEndpoint {
    #[serde(rename = "Port")]
    pub(crate) port: i32,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct ServiceObject {
    pub(crate) metadata: Meta,
    pub(crate) spec: ServiceSpec,
    pub(crate) status: ServiceStatus,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ServiceSpec {
    #[serde(rename = "type")]
    pub(crate) kind: Box<str>,
    #[serde(rename = "clusterIP")]
    pub(crate) cluster_ip: Box<str>,
    pub(crate) external_name: Box<str>,
    #[serde(rename = "loadBalancerIP")]
    pub(crate) load_balancer_ip: Box<str>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) ports: Box<[ServicePort]>,
    pub(crate) ip_family_policy: Option<Box<str>>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) ip_families: Box<[Box<str>]>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct ServicePort {
    pub(crate) name: Box<str>,
    pub(crate) port: i32,
    pub(crate) protocol: Box<str>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ServiceStatus {
    pub(crate) load_balancer: LoadBalancer,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct LoadBalancer {
    #[serde(deserialize_with = "or_default")]
    pub(crate) ingress: Box<[LoadBalancerIngress]>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct LoadBalancerIngress {
    pub(crate) ip: Box<str>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct EndpointsObject {
    pub(crate) metadata: Meta,
    #[serde(deserialize_with = "or_default")]
    pub(crate) subsets: Box<[Subset]>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Subset {
    #[serde(deserialize_with = "or_default")]
    pub(crate) addresses: Box<[EndpointAddress]>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) not_ready_addresses: Box<[EndpointAddress]>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) ports: Box<[EndpointPort]>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct EndpointAddress {
    pub(crate) ip: Box<str>,
    pub(crate) hostname: Box<str>,
    pub(crate) node_name: Option<Box<str>>,
    pub(crate) target_ref: Option<TargetRef>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct TargetRef {
    pub(crate) kind: Box<str>,
    pub(crate) namespace: Box<str>,
    pub(crate) name: Box<str>,
}

/// A port of endpoints or of an endpoint slice, where everything may be left out.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct EndpointPort {
    pub(crate) name: Option<Box<str>>,
    pub(crate) port: Option<u32>,
    pub(crate) protocol: Option<Box<str>>,
    pub(crate) app_protocol: Option<Box<str>>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct SliceObject {
    pub(crate) metadata: Meta,
    pub(crate) address_type: Box<str>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) endpoints: Box<[SliceEndpoint]>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) ports: Box<[EndpointPort]>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct SliceEndpoint {
    #[serde(deserialize_with = "or_default")]
    pub(crate) addresses: Box<[Box<str>]>,
    pub(crate) conditions: EndpointConditions,
    pub(crate) hostname: Option<Box<str>>,
    pub(crate) node_name: Option<Box<str>>,
    pub(crate) zone: Option<Box<str>>,
    pub(crate) target_ref: Option<TargetRef>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) deprecated_topology: Pairs,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct EndpointConditions {
    pub(crate) ready: Option<bool>,
    pub(crate) serving: Option<bool>,
    pub(crate) terminating: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct IngressObject {
    pub(crate) metadata: Meta,
    pub(crate) spec: IngressSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct IngressSpec {
    pub(crate) ingress_class_name: Option<Box<str>>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) rules: Box<[IngressRule]>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) tls: Box<[IngressTls]>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct IngressRule {
    pub(crate) host: Box<str>,
    pub(crate) http: Option<IngressPaths>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct IngressPaths {
    #[serde(deserialize_with = "or_default")]
    pub(crate) paths: Box<[IngressPath]>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct IngressPath {
    pub(crate) path: Box<str>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct IngressTls {
    #[serde(deserialize_with = "or_default")]
    pub(crate) hosts: Box<[Box<str>]>,
}
