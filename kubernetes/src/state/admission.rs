//! Admission policies, their bindings and webhooks.

use super::family::{Rule, alpha, created, version};
use super::resource::{NAMESPACE, Resource, clustered};

const GROUP: &str = "admissionregistration.k8s.io";

/// What a webhook is called by.
const SERVICE: Rule = Rule::Each(
    "webhooks",
    &[
        ("webhook_name", "name"),
        ("service_name", "clientConfig.service.name"),
        ("service_namespace", "clientConfig.service.namespace"),
    ],
);

/// What a binding binds.
const BINDING: Rule = Rule::Info(&[
    ("policy_name", "spec.policyName"),
    ("param_name", "spec.paramRef.name"),
    ("param_namespace", "spec.paramRef.namespace"),
    (
        "param_not_found_action",
        "spec.paramRef.parameterNotFoundAction",
    ),
]);

pub(super) const MUTATING_WEBHOOKS: Resource = clustered(
    "mutatingwebhookconfigurations",
    (GROUP, "v1", "MutatingWebhookConfiguration"),
    &[NAMESPACE, ("mutatingwebhookconfiguration", "metadata.name")],
    &[
        alpha(
            "kube_mutatingwebhookconfiguration_info",
            "A configuration of mutating webhooks.",
            Rule::One,
        ),
        created("kube_mutatingwebhookconfiguration_created").unstable(),
        version("kube_mutatingwebhookconfiguration_metadata_resource_version"),
        alpha(
            "kube_mutatingwebhookconfiguration_webhook_clientconfig_service",
            "The service of a mutating webhook.",
            SERVICE,
        ),
    ],
);

pub(super) const VALIDATING_WEBHOOKS: Resource = clustered(
    "validatingwebhookconfigurations",
    (GROUP, "v1", "ValidatingWebhookConfiguration"),
    &[
        NAMESPACE,
        ("validatingwebhookconfiguration", "metadata.name"),
    ],
    &[
        alpha(
            "kube_validatingwebhookconfiguration_info",
            "A configuration of validating webhooks.",
            Rule::One,
        ),
        created("kube_validatingwebhookconfiguration_created").unstable(),
        version("kube_validatingwebhookconfiguration_metadata_resource_version"),
        alpha(
            "kube_validatingwebhookconfiguration_webhook_clientconfig_service",
            "The service of a validating webhook.",
            SERVICE,
        ),
    ],
);

pub(super) const MUTATING_POLICIES: Resource = clustered(
    "mutatingadmissionpolicies",
    (GROUP, "v1", "MutatingAdmissionPolicy"),
    &[NAMESPACE, ("mutatingadmissionpolicy", "metadata.name")],
    &[
        alpha(
            "kube_mutatingadmissionpolicy_info",
            "A mutating policy.",
            Rule::Info(&[
                ("param_api_version", "spec.paramKind.apiVersion"),
                ("param_kind", "spec.paramKind.kind"),
                ("failure_policy", "spec.failurePolicy"),
                ("reinvocation_policy", "spec.reinvocationPolicy"),
            ]),
        ),
        created("kube_mutatingadmissionpolicy_created").unstable(),
    ],
);

pub(super) const MUTATING_POLICY_BINDINGS: Resource = clustered(
    "mutatingadmissionpolicybindings",
    (GROUP, "v1", "MutatingAdmissionPolicyBinding"),
    &[
        NAMESPACE,
        ("mutatingadmissionpolicybinding", "metadata.name"),
    ],
    &[
        alpha(
            "kube_mutatingadmissionpolicybinding_info",
            "A binding of a mutating policy.",
            BINDING,
        ),
        created("kube_mutatingadmissionpolicybinding_created").unstable(),
    ],
);

pub(super) const VALIDATING_POLICIES: Resource = clustered(
    "validatingadmissionpolicies",
    (GROUP, "v1", "ValidatingAdmissionPolicy"),
    &[NAMESPACE, ("validatingadmissionpolicy", "metadata.name")],
    &[
        alpha(
            "kube_validatingadmissionpolicy_info",
            "A validating policy.",
            Rule::Info(&[
                ("param_api_version", "spec.paramKind.apiVersion"),
                ("param_kind", "spec.paramKind.kind"),
                ("failure_policy", "spec.failurePolicy"),
            ]),
        ),
        created("kube_validatingadmissionpolicy_created").unstable(),
    ],
);

pub(super) const VALIDATING_POLICY_BINDINGS: Resource = clustered(
    "validatingadmissionpolicybindings",
    (GROUP, "v1", "ValidatingAdmissionPolicyBinding"),
    &[
        NAMESPACE,
        ("validatingadmissionpolicybinding", "metadata.name"),
    ],
    &[
        alpha(
            "kube_validatingadmissionpolicybinding_info",
            "A binding of a validating policy.",
            BINDING,
        ),
        created("kube_validatingadmissionpolicybinding_created").unstable(),
        alpha(
            "kube_validatingadmissionpolicybinding_validation_action",
            "What a binding does where the policy is broken.",
            Rule::EachText("spec.validationActions", "action"),
        ),
    ],
);
