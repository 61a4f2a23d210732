//! Roles, their bindings and service accounts; watched only where `--resources` names them.

use super::family::{Rule, alpha, annotations, created, labels, version};
use super::object::flag_text;
use super::resource::{NAMESPACE, Resource, UID, clustered, namespaced};

pub(super) const ROLES: Resource = namespaced(
    "roles",
    ("rbac.authorization.k8s.io", "v1", "Role"),
    &[NAMESPACE, ("role", "metadata.name")],
    &[
        annotations("kube_role_annotations"),
        labels("kube_role_labels").unstable(),
        alpha("kube_role_info", "A role.", Rule::One),
        created("kube_role_created").unstable(),
        version("kube_role_metadata_resource_version"),
    ],
)
.by_wish();

pub(super) const CLUSTER_ROLES: Resource = clustered(
    "clusterroles",
    ("rbac.authorization.k8s.io", "v1", "ClusterRole"),
    &[("clusterrole", "metadata.name")],
    &[
        annotations("kube_clusterrole_annotations"),
        labels("kube_clusterrole_labels").unstable(),
        alpha("kube_clusterrole_info", "A role of the cluster.", Rule::One),
        created("kube_clusterrole_created").unstable(),
        version("kube_clusterrole_metadata_resource_version"),
    ],
)
.by_wish();

pub(super) const ROLE_BINDINGS: Resource = namespaced(
    "rolebindings",
    ("rbac.authorization.k8s.io", "v1", "RoleBinding"),
    &[NAMESPACE, ("rolebinding", "metadata.name")],
    &[
        annotations("kube_rolebinding_annotations"),
        labels("kube_rolebinding_labels").unstable(),
        alpha(
            "kube_rolebinding_info",
            "A binding and its role.",
            Rule::Info(&[
                ("roleref_kind", "roleRef.kind"),
                ("roleref_name", "roleRef.name"),
            ]),
        ),
        created("kube_rolebinding_created").unstable(),
        version("kube_rolebinding_metadata_resource_version"),
    ],
)
.by_wish();

pub(super) const CLUSTER_ROLE_BINDINGS: Resource = clustered(
    "clusterrolebindings",
    ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding"),
    &[("clusterrolebinding", "metadata.name")],
    &[
        annotations("kube_clusterrolebinding_annotations"),
        labels("kube_clusterrolebinding_labels").unstable(),
        alpha(
            "kube_clusterrolebinding_info",
            "A binding of the cluster and its role.",
            Rule::Info(&[
                ("roleref_kind", "roleRef.kind"),
                ("roleref_name", "roleRef.name"),
            ]),
        ),
        created("kube_clusterrolebinding_created").unstable(),
        version("kube_clusterrolebinding_metadata_resource_version"),
    ],
)
.by_wish();

pub(super) const SERVICE_ACCOUNTS: Resource = namespaced(
    "serviceaccounts",
    ("", "v1", "ServiceAccount"),
    &[NAMESPACE, ("serviceaccount", "metadata.name"), UID],
    &[
        alpha(
            "kube_serviceaccount_info",
            "A service account and whether its token is mounted.",
            Rule::Of(|object, rows| {
                let mounts = flag_text(object, "automountServiceAccountToken");
                rows.put(&[("automount_token", mounts)], 1.0);
            }),
        ),
        created("kube_serviceaccount_created").unstable(),
        alpha(
            "kube_serviceaccount_deleted",
            "When its deletion was asked for, in seconds since 1970.",
            Rule::Time("metadata.deletionTimestamp"),
        ),
        alpha(
            "kube_serviceaccount_secret",
            "Secrets of a service account.",
            Rule::Each("secrets", &[("name", "name")]),
        ),
        alpha(
            "kube_serviceaccount_image_pull_secret",
            "Secrets with which a service account pulls images.",
            Rule::Each("imagePullSecrets", &[("name", "name")]),
        ),
        annotations("kube_serviceaccount_annotations"),
        labels("kube_serviceaccount_labels").unstable(),
    ],
)
.by_wish();
