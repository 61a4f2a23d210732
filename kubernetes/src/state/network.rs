//! Services, endpoints, ingresses and network policies.

use serde_json::Value;

use super::family::{Rule, alpha, annotations, created, deletion, labels, stable, version};
use super::object::{
    at, flag_text, integer_text, is_set, items, number, seconds_or_zero, text, text_if, texts,
};
use super::resource::{NAMESPACE, Resource, UID, clustered, namespaced};
use super::rows::Rows;

pub(super) const SERVICES: Resource = namespaced(
    "services",
    ("", "v1", "Service"),
    &[NAMESPACE, ("service", "metadata.name"), UID],
    &[
        stable(
            "kube_service_info",
            "A service and its addresses.",
            Rule::Info(&[
                ("cluster_ip", "spec.clusterIP"),
                ("external_name", "spec.externalName"),
                ("load_balancer_ip", "spec.loadBalancerIP"),
                ("external_traffic_policy", "spec.externalTrafficPolicy"),
            ]),
        ),
        created("kube_service_created"),
        stable(
            "kube_service_spec_type",
            "The type of a service.",
            Rule::Info(&[("type", "spec.type")]),
        ),
        annotations("kube_service_annotations"),
        labels("kube_service_labels"),
        stable(
            "kube_service_spec_external_ip",
            "External addresses of a service.",
            Rule::EachText("spec.externalIPs", "external_ip"),
        ),
        stable(
            "kube_service_status_load_balancer_ingress",
            "Addresses of a service's load balancer.",
            Rule::Each(
                "status.loadBalancer.ingress",
                &[("ip", "ip"), ("hostname", "hostname")],
            ),
        ),
        deletion("kube_service_deletion_timestamp"),
    ],
);

pub(super) const ENDPOINTS: Resource = namespaced(
    "endpoints",
    ("", "v1", "Endpoints"),
    &[NAMESPACE, ("endpoint", "metadata.name")],
    &[
        stable("kube_endpoint_info", "Endpoints of a service.", Rule::One),
        created("kube_endpoint_created"),
        annotations("kube_endpoint_annotations"),
        labels("kube_endpoint_labels"),
        stable(
            "kube_endpoint_address",
            "Addresses of endpoints with each of their ports.",
            Rule::Of(endpoint_addresses),
        ),
        stable(
            "kube_endpoint_ports",
            "(Deprecated since v2.14.0) Ports of endpoints.",
            Rule::Of(|object, rows| {
                for subset in items(object, "subsets") {
                    ports(subset, "0", rows);
                }
            }),
        ),
    ],
)
.by_wish();

fn endpoint_addresses(object: &Value, rows: &mut Rows) {
    for subset in items(object, "subsets") {
        for port in items(subset, "ports") {
            let number = integer_text(port, "port").unwrap_or_else(|| "0".to_owned());
            for (list, ready) in [("addresses", "true"), ("notReadyAddresses", "false")] {
                for address in items(subset, list) {
                    let labels = [
                        ("port_protocol", text(port, "protocol")),
                        ("port_number", &number),
                        ("port_name", text(port, "name")),
                        ("ip", text(address, "ip")),
                        ("ready", ready),
                    ];
                    rows.put(&labels, 1.0);
                }
            }
        }
    }
}

/// Ports of a list named `ports`; `absent` is what a port without number is told as.
fn ports(holder: &Value, absent: &str, rows: &mut Rows) {
    for port in items(holder, "ports") {
        let number = integer_text(port, "port");
        let labels = [
            ("port_name", text(port, "name")),
            ("port_protocol", text(port, "protocol")),
            ("port_number", number.as_deref().unwrap_or(absent)),
        ];
        rows.put(&labels, 1.0);
    }
}

pub(super) const ENDPOINT_SLICES: Resource = namespaced(
    "endpointslices",
    ("discovery.k8s.io", "v1", "EndpointSlice"),
    &[("endpointslice", "metadata.name"), NAMESPACE],
    &[
        alpha(
            "kube_endpointslice_info",
            "A slice of endpoints.",
            Rule::Info(&[("addresstype", "addressType")]),
        ),
        created("kube_endpointslice_created").unstable(),
        alpha(
            "kube_endpointslice_endpoints_hints",
            "Zones that an endpoint is meant for.",
            Rule::Of(hints),
        ),
        alpha(
            "kube_endpointslice_endpoints",
            "Endpoints of a slice.",
            Rule::Of(endpoints),
        ),
        alpha(
            "kube_endpointslice_ports",
            "Ports of a slice.",
            Rule::Of(|object, rows| ports(object, "", rows)),
        ),
        annotations("kube_endpointslice_annotations"),
        labels("kube_endpointslice_labels").unstable(),
    ],
);

fn hints(object: &Value, rows: &mut Rows) {
    for endpoint in items(object, "endpoints") {
        let Some(address) = texts(endpoint, "addresses").next() else {
            continue;
        };
        for zone in items(endpoint, "hints.forZones") {
            rows.put(
                &[("address", address), ("for_zone", text(zone, "name"))],
                1.0,
            );
        }
    }
}

fn endpoints(object: &Value, rows: &mut Rows) {
    for endpoint in items(object, "endpoints") {
        for address in texts(endpoint, "addresses") {
            let labels = [
                ("ready", flag_text(endpoint, "conditions.ready")),
                ("serving", flag_text(endpoint, "conditions.serving")),
                ("hostname", text(endpoint, "hostname")),
                ("terminating", flag_text(endpoint, "conditions.terminating")),
                ("targetref_kind", text(endpoint, "targetRef.kind")),
                ("targetref_name", text(endpoint, "targetRef.name")),
                ("targetref_namespace", text(endpoint, "targetRef.namespace")),
                ("endpoint_nodename", text(endpoint, "nodeName")),
                ("endpoint_zone", text(endpoint, "zone")),
                ("address", address),
            ];
            rows.put(&labels, 1.0);
        }
    }
}

pub(super) const INGRESSES: Resource = namespaced(
    "ingresses",
    ("networking.k8s.io", "v1", "Ingress"),
    &[NAMESPACE, ("ingress", "metadata.name")],
    &[
        stable(
            "kube_ingress_info",
            "An ingress and its class.",
            Rule::Of(ingress_info),
        ),
        annotations("kube_ingress_annotations"),
        labels("kube_ingress_labels"),
        created("kube_ingress_created"),
        version("kube_ingress_metadata_resource_version"),
        stable(
            "kube_ingress_path",
            "Paths of an ingress and what is behind them.",
            Rule::Of(ingress_paths),
        ),
        stable(
            "kube_ingress_tls",
            "Hosts of an ingress and the secrets of their certificates.",
            Rule::Of(|object, rows| {
                for tls in items(object, "spec.tls") {
                    for host in texts(tls, "hosts") {
                        let labels = [("tls_host", host), ("secret", text(tls, "secretName"))];
                        rows.put(&labels, 1.0);
                    }
                }
            }),
        ),
    ],
);

fn ingress_info(object: &Value, rows: &mut Rows) {
    let annotation = at(object, "metadata.annotations").get("kubernetes.io/ingress.class");
    let class = annotation
        .and_then(Value::as_str)
        .or_else(|| text_if(object, "spec.ingressClassName"));
    rows.put(&[("ingressclass", class.unwrap_or("_default"))], 1.0);
}

fn ingress_paths(object: &Value, rows: &mut Rows) {
    for rule in items(object, "spec.rules") {
        for path in items(rule, "http.paths") {
            let first = [
                ("host", text(rule, "host")),
                ("path", text(path, "path")),
                ("path_type", text(path, "pathType")),
            ];
            let service = at(path, "backend.service");
            let resource = at(path, "backend.resource");
            if is_set(path, "backend.service") {
                // A port that is named has no number.
                let port = number(service, "port.number").unwrap_or(0.0).to_string();
                let last = [
                    ("service_name", text(service, "name")),
                    ("service_port", &port),
                ];
                rows.put(&[&first[..], &last[..]].concat(), 1.0);
            } else if resource.is_object() {
                let last = [
                    ("resource_api_group", text(resource, "apiGroup")),
                    ("resource_kind", text(resource, "kind")),
                    ("resource_name", text(resource, "name")),
                ];
                rows.put(&[&first[..], &last[..]].concat(), 1.0);
            }
        }
    }
}

pub(super) const INGRESS_CLASSES: Resource = clustered(
    "ingressclasses",
    ("networking.k8s.io", "v1", "IngressClass"),
    &[("ingressclass", "metadata.name")],
    &[
        alpha(
            "kube_ingressclass_info",
            "A class of ingresses and its controller.",
            Rule::Info(&[("controller", "spec.controller")]),
        ),
        created("kube_ingressclass_created").unstable(),
        annotations("kube_ingressclass_annotations"),
        labels("kube_ingressclass_labels").unstable(),
    ],
)
.by_wish();

pub(super) const NETWORK_POLICIES: Resource = namespaced(
    "networkpolicies",
    ("networking.k8s.io", "v1", "NetworkPolicy"),
    &[NAMESPACE, ("networkpolicy", "metadata.name")],
    &[
        alpha(
            "kube_networkpolicy_created",
            "When a network policy was created, in seconds since 1970.",
            Rule::OfMetadata(|object, rows| {
                rows.put(&[], seconds_or_zero(object, "metadata.creationTimestamp"));
            }),
        ),
        annotations("kube_networkpolicy_annotations"),
        labels("kube_networkpolicy_labels").unstable(),
        alpha(
            "kube_networkpolicy_spec_ingress_rules",
            "Rules of a network policy for what comes in.",
            Rule::Count("spec.ingress"),
        ),
        alpha(
            "kube_networkpolicy_spec_egress_rules",
            "Rules of a network policy for what goes out.",
            Rule::Count("spec.egress"),
        ),
    ],
);
