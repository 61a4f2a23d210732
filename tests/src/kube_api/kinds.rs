//! The resources that there are.

/// A resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// API group; empty for the core group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Kind of its objects.
    pub kind: String,
    /// Name in addresses.
    pub plural: String,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// Short names for `kubectl`.
    pub short: Vec<String>,
}

impl Kind {
    /// A resource in namespaces, named after its kind.
    pub fn new(api_version: &str, kind: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            plural: plural(kind),
            namespaced: true,
            short: Vec::new(),
        }
    }

    /// The same for the cluster.
    pub fn of_cluster(mut self) -> Self {
        self.namespaced = false;
        self
    }

    /// `apps/v1`
    pub fn api_version(&self) -> String {
        match self.group.as_str() {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }
}

fn plural(kind: &str) -> String {
    let lower = kind.to_lowercase();
    if lower.ends_with("endpoints") {
        lower
    } else if let Some(stem) = lower.strip_suffix('y') {
        format!("{stem}ies")
    } else if lower.ends_with('s') {
        format!("{lower}es")
    } else {
        format!("{lower}s")
    }
}

/// Group and version, then kinds; `!` before a kind of the cluster, `=short` after it.
const BUILTIN: &[(&str, &str)] = &[
    (
        "v1",
        "!Namespace=ns !Node=no Pod=po Service=svc Endpoints=ep ConfigMap=cm Secret Event=ev ServiceAccount=sa ReplicationController=rc PersistentVolumeClaim=pvc !PersistentVolume=pv LimitRange=limits ResourceQuota=quota PodTemplate",
    ),
    (
        "apps/v1",
        "Deployment=deploy ReplicaSet=rs StatefulSet=sts DaemonSet=ds ControllerRevision",
    ),
    ("batch/v1", "Job CronJob=cj"),
    ("autoscaling/v2", "HorizontalPodAutoscaler=hpa"),
    (
        "networking.k8s.io/v1",
        "Ingress=ing !IngressClass NetworkPolicy=netpol",
    ),
    ("discovery.k8s.io/v1", "EndpointSlice"),
    ("events.k8s.io/v1", "Event=ev"),
    ("coordination.k8s.io/v1", "Lease"),
    ("policy/v1", "PodDisruptionBudget=pdb"),
    (
        "storage.k8s.io/v1",
        "!StorageClass=sc !VolumeAttachment !CSIDriver !CSINode",
    ),
    ("certificates.k8s.io/v1", "!CertificateSigningRequest=csr"),
    (
        "rbac.authorization.k8s.io/v1",
        "Role RoleBinding !ClusterRole !ClusterRoleBinding",
    ),
    (
        "admissionregistration.k8s.io/v1",
        "!MutatingWebhookConfiguration !ValidatingWebhookConfiguration !ValidatingAdmissionPolicy !ValidatingAdmissionPolicyBinding !MutatingAdmissionPolicy !MutatingAdmissionPolicyBinding",
    ),
    ("apiextensions.k8s.io/v1", "!CustomResourceDefinition=crd"),
    ("apiregistration.k8s.io/v1", "!APIService"),
    (
        "monitoring.coreos.com/v1",
        "ServiceMonitor=smon PodMonitor=pmon Probe=prb PrometheusRule=promrule",
    ),
    ("monitoring.coreos.com/v1alpha1", "ScrapeConfig=scfg"),
];

pub(super) fn builtin() -> Vec<Kind> {
    let mut kinds = Vec::new();
    for (api_version, words) in BUILTIN {
        for word in words.split(' ') {
            let (name, short) = word.split_once('=').unwrap_or((word, ""));
            let bare = name.trim_start_matches('!');
            let mut kind = Kind::new(api_version, bare);
            kind.namespaced = bare == name;
            kind.short = short.split_terminator(' ').map(str::to_owned).collect();
            kinds.push(kind);
        }
    }
    kinds
}
