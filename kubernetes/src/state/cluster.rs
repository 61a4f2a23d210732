//! Namespaces, configuration, secrets, leases and certificate requests.

use serde_json::Value;

use super::family::{Rule, alpha, annotations, created, labels, stable, version};
use super::object::{items, seconds, text};
use super::resource::{NAMESPACE, Resource, clustered, namespaced};
use super::rows::Rows;

pub(super) const NAMESPACES: Resource = clustered(
    "namespaces",
    ("", "v1", "Namespace"),
    &[("namespace", "metadata.name")],
    &[
        created("kube_namespace_created"),
        annotations("kube_namespace_annotations"),
        labels("kube_namespace_labels"),
        stable(
            "kube_namespace_status_phase",
            "The phase of a namespace.",
            Rule::StateAlways("status.phase", "phase", &["Active", "Terminating"]),
        ),
        alpha(
            "kube_namespace_status_condition",
            "Conditions of a namespace.",
            Rule::Conditions,
        ),
    ],
);

pub(super) const CONFIG_MAPS: Resource = namespaced(
    "configmaps",
    ("", "v1", "ConfigMap"),
    &[NAMESPACE, ("configmap", "metadata.name")],
    &[
        annotations("kube_configmap_annotations"),
        labels("kube_configmap_labels"),
        stable("kube_configmap_info", "A config map.", Rule::One),
        created("kube_configmap_created"),
        version("kube_configmap_metadata_resource_version"),
    ],
);

pub(super) const SECRETS: Resource = namespaced(
    "secrets",
    ("", "v1", "Secret"),
    &[NAMESPACE, ("secret", "metadata.name")],
    &[
        stable("kube_secret_info", "A secret.", Rule::One),
        stable(
            "kube_secret_type",
            "The type of a secret.",
            Rule::Info(&[("type", "type")]),
        ),
        annotations("kube_secret_annotations"),
        labels("kube_secret_labels"),
        created("kube_secret_created"),
        version("kube_secret_metadata_resource_version"),
        alpha("kube_secret_owner", "Owners of a secret.", Rule::Owners),
    ],
);

pub(super) const LEASES: Resource = namespaced(
    "leases",
    ("coordination.k8s.io", "v1", "Lease"),
    &[("lease", "metadata.name")],
    &[
        alpha(
            "kube_lease_owner",
            "Owners of a lease and who holds it.",
            Rule::Of(lease_owner),
        ),
        alpha(
            "kube_lease_renew_time",
            "When a lease was last renewed, in seconds since 1970.",
            Rule::Of(|object, rows| {
                if let Some(time) = seconds(object, "spec.renewTime") {
                    rows.put(&[("namespace", text(object, "metadata.namespace"))], time);
                }
            }),
        ),
    ],
);

fn lease_owner(object: &Value, rows: &mut Rows) {
    let mut put = |owner: &Value| {
        let labels = [
            ("owner_kind", text(owner, "kind")),
            ("owner_name", text(owner, "name")),
            ("namespace", text(object, "metadata.namespace")),
            ("lease_holder", text(object, "spec.holderIdentity")),
        ];
        rows.put(&labels, 1.0);
    };
    let owners = items(object, "metadata.ownerReferences");
    if owners.is_empty() {
        put(&Value::Null);
    }
    owners.iter().for_each(put);
}

pub(super) const CERTIFICATE_SIGNING_REQUESTS: Resource = clustered(
    "certificatesigningrequests",
    ("certificates.k8s.io", "v1", "CertificateSigningRequest"),
    &[
        ("certificatesigningrequest", "metadata.name"),
        ("signer_name", "spec.signerName"),
    ],
    &[
        annotations("kube_certificatesigningrequest_annotations"),
        labels("kube_certificatesigningrequest_labels"),
        created("kube_certificatesigningrequest_created"),
        stable(
            "kube_certificatesigningrequest_condition",
            "How often a request was approved, denied, or failed.",
            Rule::Of(request_conditions),
        ),
        stable(
            "kube_certificatesigningrequest_cert_length",
            "Length of the certificate that was issued.",
            Rule::Of(certificate_length),
        ),
    ],
);

fn request_conditions(object: &Value, rows: &mut Rows) {
    for (kind, label) in [
        ("Approved", "approved"),
        ("Denied", "denied"),
        ("Failed", "failed"),
    ] {
        let conditions = items(object, "status.conditions").iter();
        let count = conditions.filter(|c| text(c, "type") == kind).count();
        rows.put(&[("condition", label)], count as f64);
    }
}

/// The certificate is base64, whose length tells that of the bytes.
fn certificate_length(object: &Value, rows: &mut Rows) {
    let encoded = text(object, "status.certificate");
    let padding = encoded.bytes().rev().take_while(|b| *b == b'=').count();
    let length = (encoded.len() / 4 * 3).saturating_sub(padding);
    rows.put(&[], length as f64);
}
